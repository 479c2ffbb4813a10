"""Paths against their definitions, autograd and their own algebra."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from noise2data.paths import (
    EDM,
    PREDICTIONS,
    VE,
    Discrete,
    Linear,
    VPCosine,
    VPLinear,
    per_sample,
)
from noise2data.schedules import cosine_alpha_bar, linear_alpha_bar, log_snr_of, rescale_zero_terminal_snr

F64 = torch.float64
PATHS = {
    "vp_linear": VPLinear(),
    "vp_constant": VPLinear(beta_min=5.0, beta_max=5.0),
    "vp_cosine": VPCosine(),
    "vp_cosine_s0": VPCosine(s=0.0),
    "ve": VE(),
    "edm": EDM(8.0),
    "linear": Linear(),
    "discrete": Discrete(linear_alpha_bar(20, 0.01, 0.4)),
    "discrete_zero_snr": Discrete(rescale_zero_terminal_snr(cosine_alpha_bar(12))),
    "discrete_one_step": Discrete(torch.tensor([1.0, 0.0])),
}
VARIANCE_PRESERVING = [name for name in PATHS if name.startswith(("vp", "discrete"))]
each_path = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())


def randn(*shape, seed=0, dtype=F64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def inner_times(n=41):
    """Times inside (0, 1) that are no knot of a discrete schedule above."""
    return torch.linspace(0.0137, 0.9871, n, dtype=F64)


def truth(path, name, x0, eps, t):
    """The named prediction by its definition, equation (2) of the module."""
    a, s, da, ds = (per_sample(f(t), x0) for f in (path.alpha, path.sigma, path.dalpha, path.dsigma))
    return {
        "eps": eps,
        "x0": x0,
        "v": a * eps - s * x0,
        "score": -eps / s,
        "velocity": da * x0 + ds * eps,
    }[name]


# Schedules of the paths ---------------------------------------------------------------------------------------


def test_vp_linear_is_the_integral_of_beta():
    path, t = VPLinear(0.3, 7.0), torch.linspace(0, 1, 100_001, dtype=F64)
    integral = torch.cumulative_trapezoid(path.beta(t), t)  # exact for a beta that is linear in t
    torch.testing.assert_close(path.alpha(t)[1:] ** 2, torch.exp(-integral), rtol=1e-12, atol=0)
    assert path.beta(0.0) == 0.3 and path.beta(1.0) == 7.0


def test_vp_linear_is_the_limit_of_ddpm():
    """The gap between prod(1 - beta(k / T) / T) and the path halves as T doubles."""
    path, gaps = VPLinear(), []
    for T in (1000, 2000, 4000):
        abar = linear_alpha_bar(T, 0.1 / T, 20.0 / T)
        gaps.append((abar[T // 2] - path.alpha(0.5) ** 2).abs().item())
    assert gaps[0] < 0.001
    assert 1.9 < gaps[0] / gaps[1] < 2.1 and 1.9 < gaps[1] / gaps[2] < 2.1


def test_vp_cosine_is_the_papers_formula():
    path, t = VPCosine(s=0.02), inner_times()
    f = torch.cos((t + 0.02) / 1.02 * math.pi / 2) ** 2 / math.cos(0.02 / 1.02 * math.pi / 2) ** 2
    torch.testing.assert_close(path.alpha(t) ** 2, f, rtol=1e-11, atol=0)
    torch.testing.assert_close(path.sigma(t) ** 2, 1 - f, rtol=1e-11, atol=0)
    abar = cosine_alpha_bar(50, s=0.02, max_beta=1.0)
    torch.testing.assert_close(path.alpha(torch.arange(51, dtype=F64) / 50) ** 2, abar, rtol=1e-10, atol=1e-15)


def test_ve_is_geometric_and_linear_is_linear():
    t = torch.linspace(0, 1, 11, dtype=F64)
    torch.testing.assert_close(VE(0.01, 50.0).sigma(t), torch.logspace(-2, math.log10(50), 11, dtype=F64))
    assert torch.equal(VE().alpha(t), torch.ones_like(t))
    assert torch.equal(Linear().alpha(t), 1 - t) and torch.equal(Linear().sigma(t), t)


@each_path
def test_ends(path):
    assert path.alpha(0.0) == 1
    assert path.sigma(0.0) == (path.sigma_min if isinstance(path, VE) else 0)
    if isinstance(path, (VE, EDM)):
        assert path.sigma(1.0) == path.sigma_max
    if isinstance(path, (VPCosine, Linear)) or path in (PATHS["discrete_zero_snr"], PATHS["discrete_one_step"]):
        assert path.alpha(1.0) == 0 and path.sigma(1.0) == 1
        assert path.log_snr(1.0) == -math.inf


@pytest.mark.parametrize("name", VARIANCE_PRESERVING)
def test_variance_is_preserved(name):
    path, t = PATHS[name], torch.linspace(0, 1, 1001, dtype=F64)
    torch.testing.assert_close(path.alpha(t) ** 2 + path.sigma(t) ** 2, torch.ones_like(t), rtol=1e-12, atol=0)


@each_path
def test_derivatives_agree_with_autograd(path):
    t = inner_times().requires_grad_()
    for value, derivative in (
        (path.alpha(t), path.dalpha(t)),
        (path.sigma(t), path.dsigma(t)),
        (path.sigma(t) ** 2, path.dvariance(t)),
    ):
        if not value.requires_grad:  # VE's alpha is constant
            assert (derivative == 0).all()
            continue
        (want,) = torch.autograd.grad(value.sum(), t)
        torch.testing.assert_close(derivative.detach(), want, rtol=1e-9, atol=1e-11)


@each_path
def test_variance_grows_at_a_finite_rate_at_both_ends(path):
    """dsigma may be infinite at t = 0, dvariance is not: it matches a one-sided difference of sigma^2."""
    h = 1e-7
    for t, s in ((0.0, h), (1.0, 1.0 - h)):
        difference = (path.sigma(s) ** 2 - path.sigma(t) ** 2) / (s - t)
        assert path.dvariance(t).isfinite()
        torch.testing.assert_close(path.dvariance(t), difference, rtol=1e-4, atol=1e-4)


@each_path
def test_log_snr_falls_and_is_the_logarithm_of_the_ratio(path):
    t = torch.linspace(0, 1, 301, dtype=F64)
    level = path.log_snr(t)
    assert (level.diff() < 0).all()
    inside = inner_times()
    ratio = (path.alpha(inside) / path.sigma(inside)) ** 2
    torch.testing.assert_close(path.log_snr(inside), ratio.log(), rtol=1e-10, atol=1e-10)


@each_path
def test_log_snr_and_its_inverse(path):
    t = torch.linspace(0, 1, 301, dtype=F64)
    torch.testing.assert_close(path.inverse_log_snr(path.log_snr(t)), t, rtol=0, atol=1e-12)
    low, high = path.log_snr(1.0).clamp(min=-30).item(), path.log_snr(0.0).clamp(max=20).item()
    levels = torch.linspace(low, high, 101, dtype=F64)[1:-1]
    # Near t = 0 a rounding of t by 1e-16 is one of 1e-16 / t in the level.
    times = path.inverse_log_snr(levels)
    torch.testing.assert_close(path.log_snr(times), levels, rtol=1e-9, atol=1e-6)
    assert path.inverse_log_snr(math.inf) == 0 and path.inverse_log_snr(-math.inf) == 1
    assert path.inverse_log_snr(1e6) == 0 and path.inverse_log_snr(-1e6) == 1
    assert path.inverse_log_snr(levels.float()).dtype == torch.float32


def test_vp_linear_inverse_near_data_keeps_its_digits():
    path = VPLinear()
    t = torch.logspace(-12, -1, 12, dtype=F64)
    torch.testing.assert_close(path.inverse_log_snr(path.log_snr(t)), t, rtol=1e-9, atol=0)


@pytest.mark.parametrize("T", [1, 2, 7, 1000])
@pytest.mark.parametrize("make", [linear_alpha_bar, cosine_alpha_bar])
@pytest.mark.parametrize("zero", [False, True])
def test_discrete_hits_its_schedule_at_every_step(make, T, zero):
    abar = rescale_zero_terminal_snr(make(T)) if zero else make(T)
    path, k = Discrete(abar), torch.arange(T + 1, dtype=F64)
    torch.testing.assert_close(path.alpha(k / T) ** 2, abar, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(path.sigma(k / T) ** 2, 1 - abar, rtol=1e-11, atol=1e-13)
    assert path.T == T and path.alpha(0.0) == 1 and path.sigma(0.0) == 0
    if zero:
        assert path.alpha(1.0) == 0 and path.sigma(1.0) == 1


def test_discrete_runs_linearly_in_log_snr_between_its_steps():
    abar = rescale_zero_terminal_snr(linear_alpha_bar(10, 0.05, 0.5))
    path, level = Discrete(abar), log_snr_of(abar)
    for k in range(1, 9):
        for u in (0.25, 0.5, 0.9):
            want = (1 - u) * level[k] + u * level[k + 1]
            torch.testing.assert_close(path.log_snr((k + u) / 10), want, rtol=1e-10, atol=1e-10)
    # the two intervals without such a line
    torch.testing.assert_close(path.sigma(0.05) ** 2, (1 - abar[1]) / 2, rtol=1e-12, atol=0)
    torch.testing.assert_close(path.alpha(0.95), abar[9].sqrt() / 2, rtol=1e-12, atol=0)


def test_discrete_has_the_log_snr_of_its_schedule():
    path = PATHS["discrete"]
    torch.testing.assert_close(
        path.log_snr(torch.arange(21, dtype=F64) / 20), log_snr_of(path.abar), rtol=1e-9, atol=1e-9
    )


def test_discrete_is_continuous_and_finite_in_its_gradient():
    path = PATHS["discrete_zero_snr"]
    knots = torch.arange(1, 12, dtype=F64) / 12
    for f in (path.alpha, path.sigma):
        torch.testing.assert_close(f(knots - 1e-10), f(knots + 1e-10), rtol=1e-7, atol=1e-8)
    t = torch.tensor([0.5 / 12, 0.5, 11.5 / 12, 1.0], dtype=F64, requires_grad=True)
    (path.alpha(t) + path.sigma(t)).sum().backward()
    assert t.grad.isfinite().all()


# Times --------------------------------------------------------------------------------------------------------


@each_path
def test_answers_have_the_shape_and_dtype_of_t(path):
    for method in (path.alpha, path.sigma, path.dalpha, path.dsigma, path.dvariance, path.log_snr):
        assert method(0.3).shape == () and method(0.3).dtype == F64
        for dtype in (F64, torch.float32, torch.bfloat16):
            t = torch.tensor([0.25, 0.75], dtype=dtype)
            assert method(t).shape == (2,) and method(t).dtype == dtype
            assert method(t[0]).shape == ()
            torch.testing.assert_close(method(t)[1], method(0.75).to(dtype))


@pytest.mark.parametrize("t", [500, -0.01, 1.001, torch.tensor([0.5, 2.0]), torch.tensor([float("nan")])])
def test_times_outside_the_unit_interval_are_refused(t):
    with pytest.raises(ValueError, match=r"t contains .*expected times in \[0, 1\]"):
        VPLinear().alpha(t)


def test_integer_steps_are_refused_as_times():
    with pytest.raises(ValueError, match="t is a tensor of torch.int64.*step k is k / T"):
        Linear().alpha(torch.tensor([0, 1, 1]))


def test_rounding_at_the_ends_is_forgiven():
    assert Linear().sigma(-1e-9) == 0 and Linear().alpha(1 + 1e-9) == 0
    assert VPLinear().sigma(torch.tensor([-1e-9])).item() == 0


def test_schedules_work_under_vmap():
    t = inner_times()
    torch.testing.assert_close(torch.func.vmap(VPCosine().alpha)(t), VPCosine().alpha(t))


def test_per_sample_belongs_to_the_batch_axis():
    x, t = randn(3, 3), torch.tensor([1.0, 2.0, 3.0])
    assert per_sample(t, x).shape == (3, 1)
    assert per_sample(t, randn(3, 3, 3, 3)).shape == (3, 1, 1, 1)
    assert per_sample(t, randn(3)).shape == (3,)
    assert per_sample(0.5, x).shape == per_sample(torch.tensor(0.5), x).shape == ()
    assert per_sample(t.double(), x.float()).dtype == torch.float32
    for bad in (torch.ones(2), torch.ones(1), torch.ones(3, 1)):
        with pytest.raises(ValueError, match="t has shape"):
            per_sample(bad, x)


@each_path
@pytest.mark.parametrize("shape", [(4, 4), (4, 3, 4, 4), (4,)])
def test_mix_is_the_definition_also_where_b_equals_another_axis(path, shape):
    x0, eps, t = randn(*shape), randn(*shape, seed=1), torch.tensor([0.0, 0.3, 0.7, 1.0], dtype=F64)
    copies = x0.clone(), eps.clone(), t.clone()
    got = path.mix(x0, eps, t)
    for i in range(4):
        want = path.alpha(t[i]) * x0[i] + path.sigma(t[i]) * eps[i]
        torch.testing.assert_close(got[i], want)
        torch.testing.assert_close(path.mix(x0, eps, t[i].item())[i], want)
        torch.testing.assert_close(path.mix(x0, eps, t[i])[i], want)
    assert all(torch.equal(a, b) for a, b in zip(copies, (x0, eps, t), strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, F64])
def test_mix_keeps_the_datas_dtype(dtype):
    x0 = randn(5, 2).to(dtype)
    for t in (0.5, torch.full((5,), 0.5), torch.full((5,), 0.5, dtype=F64)):
        assert VPLinear().mix(x0, x0, t).dtype == dtype
        assert VPLinear().convert(x0, x0, t, "eps", "velocity").dtype == dtype


def test_mix_refuses_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"eps has shape \(3, 2\); expected x0's, \(4, 2\)"):
        Linear().mix(randn(4, 2), randn(3, 2), 0.5)
    with pytest.raises(ValueError, match="t has shape"):
        Linear().mix(randn(4, 2), randn(4, 2), torch.full((2,), 0.5))


# Conversions --------------------------------------------------------------------------------------------------


@each_path
@pytest.mark.parametrize("source", PREDICTIONS)
@pytest.mark.parametrize("target", PREDICTIONS)
def test_conversion_gives_the_definition(path, source, target):
    """All 25, on one time each for the batch, with B equal to the other axes."""
    x0, eps = randn(4, 4, 4), randn(4, 4, 4, seed=1)
    t = torch.tensor([0.03, 0.31, 0.77, 0.97], dtype=F64)
    x = path.mix(x0, eps, t)
    got = path.convert(truth(path, source, x0, eps, t), x, t, source, target)
    torch.testing.assert_close(got, truth(path, target, x0, eps, t), rtol=1e-7, atol=1e-7)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(list(PATHS)),
    source=st.sampled_from(PREDICTIONS),
    target=st.sampled_from(PREDICTIONS),
    t=st.floats(0.02, 0.98),
    seed=st.integers(0, 1000),
)
def test_conversions_round_trip(name, source, target, t, seed):
    """Whatever the prediction, not only one that belongs to an (x0, eps): there and back is where it was."""
    path = PATHS[name]
    pred, x = randn(3, 3, seed=seed), randn(3, 3, seed=seed + 1)
    there = path.convert(pred, x, t, source, target)
    torch.testing.assert_close(path.convert(there, x, t, target, source), pred, rtol=1e-6, atol=1e-6)


@each_path
@pytest.mark.parametrize("t", [0.0, 1.0])
def test_conversions_at_both_ends(path, t):
    """Where the source determines the target the answer is right; where it does not, none is made up."""
    x0, eps = randn(3, 3), randn(3, 3, seed=1)
    x, alpha, sigma = path.mix(x0, eps, t), path.alpha(t), path.sigma(t)
    for source, target in itertools.product(PREDICTIONS, PREDICTIONS):
        pred, want = truth(path, source, x0, eps, t), truth(path, target, x0, eps, t)
        if source == target:
            assert path.convert(pred, x, t, source, target) is pred
            continue
        if not pred.isfinite().all():
            continue
        got = path.convert(pred, x, t, source, target)
        undetermined = (alpha == 0 and source in ("eps", "score") and target not in ("eps", "score")) or (
            sigma == 0 and source == "x0"
        )
        if undetermined or not want.isfinite().all():
            assert not got.isfinite().any(), (source, target)
        else:
            torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9, msg=f"{source} to {target}")


@each_path
@pytest.mark.parametrize("t", [0.0, 1.0])
def test_v_round_trips_through_x0_and_eps_together_at_both_ends(path, t):
    v, x = randn(3, 3), randn(3, 3, seed=1)
    x0, eps = (path.convert(v, x, t, "v", name) for name in ("x0", "eps"))
    torch.testing.assert_close(path.mix(x0, eps, t), x)
    torch.testing.assert_close(path.alpha(t) * eps - path.sigma(t) * x0, v)


def test_velocity_round_trips_at_both_ends_of_the_straight_path():
    velocity, x = randn(3, 3), randn(3, 3, seed=1)
    for t in (0.0, 1.0, torch.tensor([0.0, 0.5, 1.0], dtype=F64)):
        there = Linear().convert(velocity, x, t, "velocity", "v")
        torch.testing.assert_close(Linear().convert(there, x, t, "v", "velocity"), velocity)


def test_a_finite_score_gives_tweedies_answer_at_the_data_end():
    x, score = randn(3, 2), randn(3, 2, seed=1)
    assert torch.equal(VPLinear().convert(score, x, 0.0, "score", "x0"), x)
    t = 0.4
    alpha, sigma = VPLinear().alpha(t), VPLinear().sigma(t)
    torch.testing.assert_close(VPLinear().convert(score, x, t, "score", "x0"), (x + sigma**2 * score) / alpha)


def test_straight_path_velocity_is_eps_minus_x0():
    x0, eps, t = randn(5, 2), randn(5, 2, seed=1), torch.rand(5, dtype=F64)
    x = Linear().mix(x0, eps, t)
    torch.testing.assert_close(Linear().convert(x0, x, t, "x0", "velocity"), eps - x0)


@each_path
def test_single_precision_conversions_are_as_good_as_their_input(path):
    x0, eps = randn(6, 2, dtype=torch.float32), randn(6, 2, seed=1, dtype=torch.float32)
    t = torch.tensor([0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
    x = path.mix(x0, eps, t)
    for source, target in itertools.permutations(("eps", "x0", "v", "velocity"), 2):
        pred = truth(path, source, x0, eps, t)
        got, exact = (path.convert(pred.to(d), x.to(d), t.to(F64), source, target) for d in (torch.float32, F64))
        torch.testing.assert_close(got.double(), exact, rtol=1e-4, atol=1e-4)


def test_conversions_are_differentiable():
    pred, x = randn(2, 2).requires_grad_(), randn(2, 2, seed=1).requires_grad_()
    t = torch.tensor([0.3, 0.6], dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *a: VPLinear().convert(*a, "eps", "velocity"), (pred, x, t))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("noise", "x0"), "source is 'noise'; expected one of eps, x0, v, score, velocity"),
        (("eps", "x_0"), "target is 'x_0'; expected one of"),
    ],
)
def test_unknown_predictions_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Linear().convert(randn(2, 2), randn(2, 2), 0.5, *arguments)


def test_conversion_refuses_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"pred has shape \(2, 3\); expected x's, \(2, 2\)"):
        Linear().convert(randn(2, 3), randn(2, 2), 0.5, "eps", "x0")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VPLinear(0.0, 20.0), "beta_min, beta_max are 0.0, 20.0"),
        (lambda: VPLinear(3.0, 2.0), "expected 0 < beta_min <= beta_max"),
        (lambda: VPCosine(-0.1), "s is -0.1; expected a number >= 0"),
        (lambda: VE(1.0, 0.1), "expected 0 < sigma_min < sigma_max"),
        (lambda: EDM(-1.0), "sigma_max is -1.0; expected a number > 0"),
        (lambda: Discrete(torch.tensor([1.0, 0.5, 0.5])), "abar does not fall at step 2"),
        (lambda: Discrete(torch.tensor([0.9, 0.5])), "abar runs from 0.9"),
        (lambda: Discrete(torch.tensor([[1.0, 0.5]])), "abar has shape"),
    ],
)
def test_bad_parameters_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
