"""Samplers against each other, against their papers' formulas, and at both ends of time."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from noise2data import odes
from noise2data.mixtures import GaussianMixture
from noise2data.paths import EDM, VE, Discrete, Linear, VPCosine, VPLinear
from noise2data.samplers import (
    ancestral,
    consistency,
    ddim,
    dpmpp_2m,
    euler,
    euler_maruyama,
    heun,
    karras,
    karras_sigmas,
    line,
    log_snr,
    sample,
    start,
    trajectory,
    uniform,
)
from noise2data.schedules import cosine_alpha_bar, linear_alpha_bar, rescale_zero_terminal_snr

F64 = torch.float64
MIXTURE = GaussianMixture([[-1.0, 0.5], [0.8, 0.3], [0.2, -0.9]], [0.5, 0.3, 0.2], [0.3, 0.4, 0.25])
PATHS = {
    "vp_linear": VPLinear(),
    "vp_cosine": VPCosine(),
    "ve": VE(0.02, 20.0),
    "edm": EDM(20.0),
    "linear": Linear(),
    "discrete": Discrete(linear_alpha_bar(1000)),
}
ZERO_SNR = Discrete(rescale_zero_terminal_snr(cosine_alpha_bar(10)))
DETERMINISTIC = {"ddim": ddim, "euler": euler, "heun": heun, "dpmpp_2m": dpmpp_2m}
STOCHASTIC = {
    "ancestral": ancestral,
    "ancestral_half": partial(ancestral, eta=0.5),
    "consistency": consistency,
    "euler_maruyama": euler_maruyama,
}
STEPS = DETERMINISTIC | STOCHASTIC
each_path = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())


def randn(*shape, seed=0, dtype=F64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def exact(path, mixture=MIXTURE):
    """The mixture's E[x0 | x_t] as a function of (x, t)."""
    return lambda x, t: mixture.denoise(x, t, path)


# One line ----------------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(
    levels=st.lists(st.floats(0.01, 50.0), min_size=2, max_size=2, unique=True).map(sorted),
    seed=st.integers(0, 1000),
)
def test_ddim_on_vp_euler_on_edm_and_euler_on_the_straight_path_are_one_step(levels, seed):
    """Map a state to each path at the same noise level and by its alpha; step there; map back: the same to 1e-10."""
    y, x0_hat = randn(4, 4, seed=seed), randn(4, 4, seed=seed + 1)
    results = []
    for path, step in ((VPCosine(), ddim), (VPLinear(), ddim), (EDM(80.0), euler), (Linear(), euler), (Linear(), ddim)):
        t, s = (path.inverse_log_snr(-2 * math.log(level)) for level in reversed(levels))
        x_s = step(lambda x, t: x0_hat, path, path.alpha(t) * y, t, s)
        results.append(x_s / path.alpha(s))
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=1e-10, atol=1e-10)


@each_path
def test_the_line_is_the_paths_own_mixture_of_the_two_estimates(path):
    x, x0_hat = randn(3, 3), randn(3, 3, seed=1)
    eps_hat = path.convert(x0_hat, x, 0.7, "x0", "eps")
    torch.testing.assert_close(line(path, x, x0_hat, 0.7, 0.2), path.mix(x0_hat, eps_hat, 0.2))
    torch.testing.assert_close(ddim(lambda x, t: x0_hat, path, x, 0.7, 0.2), path.mix(x0_hat, eps_hat, 0.2))


@each_path
def test_ancestral_without_fresh_noise_is_ddim_and_with_nothing_else_is_consistency(path):
    x, noise = randn(3, 2), randn(3, 2, seed=1)
    none = ancestral(exact(path), path, x, 0.6, 0.3, noise, eta=0.0)
    torch.testing.assert_close(none, ddim(exact(path), path, x, 0.6, 0.3), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(
        consistency(exact(path), path, x, 0.6, 0.3, noise), path.mix(exact(path)(x, 0.6), noise, 0.3)
    )


@pytest.mark.parametrize("zero", [False, True])
def test_ancestral_on_a_discrete_path_is_ddpms_posterior(zero):
    """Ho et al., equations (6)-(7), from the betas."""
    abar = linear_alpha_bar(20, 0.01, 0.4)
    abar = rescale_zero_terminal_snr(abar) if zero else abar
    x, x0_hat, noise = randn(3, 2), randn(3, 2, seed=1), randn(3, 2, seed=2)
    for k in range(1, 21):
        beta = 1 - abar[k] / abar[k - 1]
        mean = (
            abar[k - 1].sqrt() * beta / (1 - abar[k]) * x0_hat
            + (1 - beta).sqrt() * (1 - abar[k - 1]) / (1 - abar[k]) * x
        )
        variance = (1 - abar[k - 1]) / (1 - abar[k]) * beta
        got = ancestral(lambda x, t: x0_hat, Discrete(abar), x, k / 20, (k - 1) / 20, noise)
        torch.testing.assert_close(got, mean + variance.sqrt() * noise, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_ancestral_on_a_discrete_path_is_ddim_with_its_eta(eta):
    """Song, Meng and Ermon, equations (12) and (16), over several steps at once."""
    abar, path = linear_alpha_bar(20, 0.01, 0.4), Discrete(linear_alpha_bar(20, 0.01, 0.4))
    x, x0_hat, noise = randn(3, 2), randn(3, 2, seed=1), randn(3, 2, seed=2)
    for k, j in [(20, 13), (13, 12), (12, 1), (1, 0)]:
        eps_hat = (x - abar[k].sqrt() * x0_hat) / (1 - abar[k]).sqrt()
        sigma = eta * ((1 - abar[j]) / (1 - abar[k])).sqrt() * (1 - abar[k] / abar[j]).sqrt()
        want = abar[j].sqrt() * x0_hat + (1 - abar[j] - sigma**2).sqrt() * eps_hat + sigma * noise
        got = ancestral(lambda x, t: x0_hat, path, x, k / 20, j / 20, noise, eta)
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


def test_heun_on_edms_path_is_algorithm_1():
    path, sigmas = EDM(10.0), karras_sigmas(9, 0.02, 10.0)
    want = x = 10 * randn(5, 2)
    for i in range(9):
        slope = (want - exact(path)(want, sigmas[i] / 10)) / sigmas[i]
        guess = want + (sigmas[i + 1] - sigmas[i]) * slope
        if sigmas[i + 1] > 0:
            slope = (slope + (guess - exact(path)(guess, sigmas[i + 1] / 10)) / sigmas[i + 1]) / 2
        want = want + (sigmas[i + 1] - sigmas[i]) * slope
    torch.testing.assert_close(sample(exact(path), path, x, sigmas / 10, heun), want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("end", [0.0, 0.05])
def test_dpmpp_2m_is_algorithm_2(end):
    """In the paper's exponential form, on EDM's path; at a step to 0 and at the first one of first order."""
    path, sigmas = EDM(10.0), torch.tensor([10.0, 6.0, 2.0, 0.7, 0.2, end], dtype=F64)
    want, old = 10 * randn(5, 2), None
    x = want
    for i in range(5):
        estimate = new = exact(path)(want, sigmas[i] / 10)
        h = (sigmas[i] / sigmas[i + 1]).log()
        if old is not None and sigmas[i + 1] > 0:
            r = (sigmas[i - 1] / sigmas[i]).log() / h
            estimate = (1 + 1 / (2 * r)) * new - old / (2 * r)
        want, old = sigmas[i + 1] / sigmas[i] * want - torch.expm1(-h) * estimate, new
    torch.testing.assert_close(sample(exact(path), path, x, sigmas / 10, dpmpp_2m), want, rtol=1e-10, atol=1e-10)


def test_euler_maruyama_on_vp_is_the_reverse_sde_of_the_paper():
    path, t, s = VPLinear(), 0.5, 0.45
    x, noise, beta = randn(5, 2), randn(5, 2, seed=1), VPLinear().beta(0.5)
    score = MIXTURE.marginal(t, path).score(x)
    want = x + (s - t) * (-beta / 2 * x - beta * score) + (beta * (t - s)).sqrt() * noise
    torch.testing.assert_close(euler_maruyama(exact(path), path, x, t, s, noise), want)


# Both ends ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [VPCosine(), Linear(), EDM(5.0), ZERO_SNR])
@pytest.mark.parametrize("name", [name for name in STEPS if name != "euler_maruyama"])
def test_the_last_step_ends_at_the_estimate_of_the_data(path, name):
    """At t = 0 the noise is exactly 0: nothing of it is left, fresh or old, and nothing is infinite."""
    last = []

    def denoise(x, t):
        last.append(exact(path)(x, t))
        return last[-1]

    got = sample(denoise, path, randn(4, 2), torch.tensor([1.0, 0.5, 0.1, 0.0], dtype=F64), STEPS[name])
    assert got.isfinite().all()
    exactly_the_end = name != "euler" or isinstance(path, (Linear, EDM))  # elsewhere Euler in time is not line (1)
    if exactly_the_end:
        torch.testing.assert_close(got, last[-1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("path", [VPCosine(), Linear(), VPLinear(), EDM(5.0)])
def test_inversion_returns_to_the_noise_it_came_from(path):
    """DDIM upwards from the data, t = 0, is the same call with s > t; the way there and back closes at order 1."""
    x, gaps, counts = MIXTURE.sample(8, torch.Generator().manual_seed(0)), [], (100, 200)
    for n in counts:
        grid = karras(path, n, 0.01)
        noise = sample(exact(path), path, x, grid.flip(0))
        assert noise.isfinite().all()
        gaps.append((sample(exact(path), path, noise, grid) - x).norm().item())
    assert odes.observed_order(gaps, [1 / n for n in counts]) == pytest.approx(1, abs=0.15)


def test_where_there_is_no_noise_the_line_takes_the_limit_of_its_estimate():
    x = randn(3, 2)
    torch.testing.assert_close(ddim(lambda x, t: x, Linear(), x, 0.0, 0.25), 0.75 * x)


# Tensors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STEPS)
@each_path
def test_a_time_of_its_own_for_each_sample_also_where_b_equals_d(path, name):
    x, noise = randn(2, 2), randn(2, 2, seed=1)
    t, s = torch.tensor([0.8, 0.4], dtype=F64), torch.tensor([0.5, 0.1], dtype=F64)
    given = {"noise": noise} if name in STOCHASTIC else {}
    got = STEPS[name](exact(path), path, x, t, s, **given)
    for i in range(2):
        alone = {key: value[i : i + 1] for key, value in given.items()}
        want = STEPS[name](exact(path), path, x[i : i + 1], t[i].item(), s[i].item(), **alone)
        torch.testing.assert_close(got[i : i + 1], want, rtol=1e-10, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    path=st.sampled_from(list(PATHS.values())),
    name=st.sampled_from(list(STEPS)),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, F64]),
    shape=st.sampled_from([(1, 2), (3, 1, 4, 4), (5, 5), (2, 0)]),
)
def test_samples_keep_shape_and_dtype_and_nothing_is_modified(path, name, dtype, shape):
    x, grid = randn(*shape).to(dtype), uniform(3, 0.9, 0.1)
    copies = x.clone(), grid.clone()
    calls = []

    def denoise(x, t):
        calls.append((x.dtype, t.shape, t.dtype))
        return 0.5 * x

    got = sample(denoise, path, x, grid, STEPS[name], torch.Generator().manual_seed(0))
    assert got.shape == shape and got.dtype == dtype and not got.requires_grad
    assert calls == [(dtype, (), F64)] * (6 if name == "heun" else 3)
    assert torch.equal(x, copies[0]) and torch.equal(grid, copies[1])


def test_a_trajectory_is_the_sample_and_all_before_it():
    path, x, grid = VPCosine(), randn(4, 2), uniform(5)
    rows = trajectory(exact(path), path, x, grid, ancestral, torch.Generator().manual_seed(0))
    assert rows.shape == (6, 4, 2) and torch.equal(rows[0], x)
    assert torch.equal(rows[-1], sample(exact(path), path, x, grid, ancestral, torch.Generator().manual_seed(0)))
    assert torch.equal(trajectory(exact(path), path, x, grid[:1]), x[None])


@pytest.mark.parametrize("name", STEPS)
def test_the_generator_alone_feeds_the_noise(name):
    path, x, grid, state = Linear(), randn(4, 2), uniform(4, 0.9), torch.get_rng_state()
    runs = [sample(exact(path), path, x, grid, STEPS[name], torch.Generator().manual_seed(i)) for i in (0, 0, 1)]
    assert torch.equal(runs[0], runs[1])
    assert torch.equal(runs[0], runs[2]) == (name in DETERMINISTIC)
    assert torch.equal(torch.get_rng_state(), state)
    if name in DETERMINISTIC:
        generator = torch.Generator().manual_seed(0)
        sample(exact(path), path, x, grid, STEPS[name], generator)
        assert torch.equal(generator.get_state(), torch.Generator().manual_seed(0).get_state())


def test_two_runs_of_a_multistep_sampler_share_no_memory():
    path, x = VPCosine(), randn(4, 2)
    first = sample(exact(path), path, x, uniform(6), dpmpp_2m)
    assert torch.equal(sample(exact(path), path, x, uniform(6), dpmpp_2m), first)
    alone = dpmpp_2m(exact(path), path, x, 0.8, 0.5)
    torch.testing.assert_close(alone, ddim(exact(path), path, x, 0.8, 0.5))


@pytest.mark.parametrize("name", STEPS)
def test_steps_are_differentiable(name):
    path, x = Linear(), randn(2, 2).requires_grad_()
    given = {"noise": randn(2, 2, seed=1)} if name in STOCHASTIC else {}
    assert torch.autograd.gradcheck(lambda x: STEPS[name](lambda x, t: x.sin(), path, x, 0.7, 0.4, **given), x)


def test_a_step_of_your_own_is_a_function_of_five_arguments():
    halve = lambda denoise, path, x, t, s: x / 2  # noqa: E731
    assert torch.equal(sample(None, Linear(), torch.ones(2, 2), uniform(3), halve), torch.full((2, 2), 0.125))


@each_path
def test_single_precision_is_as_good_as_its_digits(path):
    x = randn(8, 2, dtype=torch.float32)
    grid = log_snr(path, 30, 0.02, 15.0)
    for step in (ddim, heun, dpmpp_2m):
        single, double = (sample(exact(path), path, path.sigma(grid[0]) * x.to(d), grid, step) for d in (x.dtype, F64))
        torch.testing.assert_close(single.double(), double, rtol=1e-3, atol=1e-4)


def test_the_start_has_the_paths_own_scale():
    x = start(VE(0.01, 50.0), (3, 1, 2), generator=torch.Generator().manual_seed(0))
    assert x.shape == (3, 1, 2) and x.dtype == torch.float32
    torch.testing.assert_close(x, 50 * torch.randn(3, 1, 2, generator=torch.Generator().manual_seed(0)))
    half = start(Linear(), (3, 1, 2), 0.5, torch.Generator().manual_seed(0))
    torch.testing.assert_close(half, x / 100)
    assert start(Linear(), (4, 2)).shape == (4, 2)


# Bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: ancestral(None, Linear(), x, 0.5, 0.2, x, eta=1.5), r"eta is 1.5; expected a number in \[0, 1\]"),
        (lambda x: ancestral(None, Linear(), x, 0.5, 0.7, x), "s is 0.7, later than t, 0.5"),
        (lambda x: ancestral(None, Linear(), x, 0.5, 0.2, x[:1]), r"noise has shape \(1, 2\); expected x's, \(3, 2\)"),
        (lambda x: consistency(None, Linear(), x, 0.5, 0.2, x[:1]), r"noise has shape \(1, 2\)"),
        (lambda x: euler_maruyama(None, Linear(), x, 0.5, 0.2, x[:1]), r"noise has shape \(1, 2\)"),
        (lambda x: euler_maruyama(None, Linear(), x, 1.0, 0.5, x), "t contains 1, where alpha or sigma is 0"),
        (lambda x: euler_maruyama(None, VPLinear(), x, 0.5, 0.6, x), "s is 0.6, later than t"),
        (lambda x: euler(None, VPLinear(), x, 0.0, 0.5), "t contains 0, where sigma is 0 .*; use ddim there"),
        (lambda x: sample(None, Linear(), x, uniform(4)[None]), r"grid has shape \(1, 5\); expected a 1-D"),
        (lambda x: trajectory(None, Linear(), x, torch.tensor([])), r"grid has shape \(0,\)"),
        (lambda x: sample(exact(Linear()), Linear(), x, [0.5, 1.5]), "t contains 1.5; expected times in"),
        (lambda x: ddim(exact(Linear()), Linear(), x, torch.tensor([0.5, 0.6]), 0.1), r"t has shape \(2,\)"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(randn(3, 2))
