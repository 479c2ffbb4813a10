"""The times that samplers visit."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from noise2data.paths import EDM, VE, Discrete, Linear, VPCosine, VPLinear
from noise2data.samplers import karras, karras_sigmas, log_snr, spaced, spaced_steps, uniform
from noise2data.schedules import linear_alpha_bar

F64 = torch.float64
PATHS = [VPLinear(), VPCosine(), VE(), EDM(), Linear(), Discrete(linear_alpha_bar(1000))]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: type(path).__name__)
@pytest.mark.parametrize("grid", [karras, log_snr])
@pytest.mark.parametrize("n", [1, 2, 18, 50])
def test_grids_start_at_the_noisiest_time_fall_and_end_at_the_data(path, grid, n):
    times = grid(path, n)
    assert times.shape == (n + 1,) and times.dtype == F64
    assert times[0] == 1 and times[-1] == 0 and (times.diff() < 0).all()
    below = grid(path, n, 0.01, 10.0)
    torch.testing.assert_close(path.sigma(below[0]) / path.alpha(below[0]), torch.tensor(10.0, dtype=F64))
    assert below[-1] == 0 and (below.diff() < 0).all()


@given(n=st.integers(1, 60), ends=st.tuples(st.floats(0, 1), st.floats(0, 1)).filter(lambda e: e[0] < e[1]))
def test_uniform_steps_are_equal_and_hit_both_ends(n, ends):
    times = uniform(n, t_max=ends[1], t_min=ends[0])
    assert times.shape == (n + 1,) and times.dtype == F64 and times[0] == ends[1] and times[-1] == ends[0]
    torch.testing.assert_close(
        times.diff(), torch.full((n,), (ends[0] - ends[1]) / n, dtype=F64), rtol=1e-6, atol=1e-15
    )


@pytest.mark.parametrize("n", [1, 2, 18])
@pytest.mark.parametrize("rho", [1.0, 7.0])
def test_karras_sigmas_are_equation_5_with_a_0_after_them(n, rho):
    got = karras_sigmas(n, 0.002, 80.0, rho)
    assert got.dtype == F64 and len(got) == n + 1 and got[-1] == 0
    for i in range(n):
        place = i / (n - 1) if n > 1 else 0.0
        want = (80 ** (1 / rho) + place * (0.002 ** (1 / rho) - 80 ** (1 / rho))) ** rho
        assert got[i].item() == pytest.approx(want, rel=1e-12)


def test_karras_on_edms_path_are_its_sigmas_and_elsewhere_the_same_levels():
    sigmas = karras_sigmas(10, 0.002, 80.0)
    torch.testing.assert_close(80 * karras(EDM(), 10), sigmas, rtol=1e-9, atol=0)
    for path in (Linear(), VPCosine(), VPLinear()):
        times = karras(path, 10, 0.002, 80.0)
        torch.testing.assert_close(path.sigma(times) / path.alpha(times), sigmas, rtol=1e-7, atol=0)
    noisy = karras(VE(0.05, 30.0), 10)  # ends at a level of 0.05: no step to 0 is to be had
    torch.testing.assert_close(VE(0.05, 30.0).sigma(noisy), karras_sigmas(11, 0.05, 30.0)[:-1], rtol=1e-9, atol=0)


def test_log_snr_steps_are_equal():
    times = log_snr(Linear(), 12, 0.01, 50.0)
    steps = Linear().log_snr(times[:-1]).diff()
    torch.testing.assert_close(steps, steps[:1].expand(11), rtol=1e-7, atol=0)
    assert karras_sigmas(3, 0.01, 1.0, math.inf)[1].item() == pytest.approx(0.1)


@settings(max_examples=200)
@given(T=st.integers(1, 1200), share=st.floats(0, 1), spacing=st.sampled_from(["linspace", "leading", "trailing"]))
def test_spaced_steps_fall_strictly_to_0(T, share, spacing):
    n = max(1, round(share * T))
    steps = spaced_steps(T, n, spacing)
    assert len(steps) == n + 1 and steps[-1] == 0 and all(type(k) is int for k in steps)
    assert steps[0] <= T and all(k > j for k, j in zip(steps[:-1], steps[1:], strict=True))
    if spacing != "leading":
        assert steps[0] == T
    assert torch.equal(spaced(T, n, spacing), torch.tensor(steps, dtype=F64) / T)


def test_spaced_steps_by_hand():
    assert spaced_steps(1000, 4) == spaced_steps(1000, 4, "trailing") == [1000, 750, 500, 250, 0]
    assert spaced_steps(1000, 4, "leading") == [751, 501, 251, 1, 0]
    assert spaced_steps(1000, 4, "linspace") == [1000, 667, 334, 1, 0]
    assert spaced_steps(10, 4) == [10, 8, 5, 2, 0]  # halves to even: 7.5 and 2.5
    assert spaced_steps(5, 3, "linspace") == [5, 3, 1, 0] and spaced_steps(7, 1, "linspace") == [7, 0]
    assert spaced_steps(6, 6, "leading") == spaced_steps(6, 6) == [6, 5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: uniform(0), "n is 0; expected a whole number of steps >= 1"),
        (lambda: uniform(2.5), "n is 2.5"),
        (lambda: uniform(3, 0.2, 0.4), "t_min, t_max are 0.4, 0.2; expected 0 <= t_min < t_max <= 1"),
        (lambda: karras_sigmas(3, 0.0, 1.0), "sigma_min, sigma_max are 0.0, 1.0"),
        (lambda: karras_sigmas(3, 0.1, 1.0, rho=0.0), "rho is 0.0; expected a number > 0"),
        (lambda: karras(EDM(5.0), 3, sigma_max=6.0), "sigma_max is 6.0; expected at most .*, 5"),
        (lambda: log_snr(Linear(), 3, 2.0, 1.0), "sigma_min, sigma_max are 2.0, 1.0"),
        (lambda: spaced_steps(10, 11), "n is 11; expected a whole number between 1 and T = 10"),
        (lambda: spaced_steps(10, 2, "even"), "spacing is 'even'; expected linspace, leading or trailing"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
