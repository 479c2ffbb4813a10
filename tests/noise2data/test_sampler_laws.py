"""What samplers draw, on every path: the law of an exact mixture, reached at the order that each promises."""

import math
from functools import cache, partial

import pytest
import torch

from noise2data import odes
from noise2data.mixtures import GaussianMixture
from noise2data.paths import EDM, VE, Discrete, Linear, VPCosine, VPLinear
from noise2data.samplers import ancestral, consistency, ddim, dpmpp_2m, euler, euler_maruyama, heun, log_snr, sample
from noise2data.schedules import linear_alpha_bar

F64 = torch.float64
MIXTURE = GaussianMixture([[-1.0, 0.5], [0.8, 0.3], [0.2, -0.9]], [0.5, 0.3, 0.2], [0.3, 0.4, 0.25])
GAUSSIAN = GaussianMixture([[0.7]], [1.0], [0.6])
PATHS = {
    "vp_linear": VPLinear(),
    "vp_cosine": VPCosine(),
    "ve": VE(0.02, 20.0),
    "edm": EDM(20.0),
    "linear": Linear(),
    "discrete": Discrete(linear_alpha_bar(100, 1e-3, 0.2)),
}
STEPS = {
    "ddim": ddim,
    "euler": euler,
    "heun": heun,
    "dpmpp_2m": dpmpp_2m,
    "ancestral": ancestral,
    "ancestral_half": partial(ancestral, eta=0.5),
    "consistency": consistency,
    "euler_maruyama": euler_maruyama,
}
each_path = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())


def exact(path, mixture=MIXTURE):
    """The mixture's E[x0 | x_t] as a function of (x, t)."""
    return lambda x, t: mixture.denoise(x, t, path)


def levels(path, n, high=4.0, low=0.2):
    """n + 1 times at equal steps in log-SNR between two noise levels: smooth, with neither end of time in it."""
    return path.inverse_log_snr(torch.linspace(-2 * math.log(high), -2 * math.log(low), n + 1, dtype=F64))


# Marginals ---------------------------------------------------------------------------------------------------------


def largest_cdf_gap(x, mixture):
    """The largest Kolmogorov distance of x (N, 2) to the mixture, over its projections on four directions."""
    gaps = []
    for u in torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [0.8, -0.6]], dtype=F64):
        values = (x @ u).sort().values
        cdf = (mixture.weights * torch.special.ndtr((values[:, None] - mixture.means @ u) / mixture.stds)).sum(1)
        steps = torch.arange(len(values) + 1, dtype=F64) / len(values)
        gaps.append(torch.maximum((steps[1:] - cdf).max(), (cdf - steps[:-1]).max()))
    return max(gaps).item()


def noise_level_of_the_test(n):
    """What the distance of n exact draws exceeds with probability 1e-6 at most: the inequality of Dvoretzky, Kiefer,
    Wolfowitz and Massart, and a union over the four directions."""
    return math.sqrt(math.log(2 * 4 / 1e-6) / (2 * n))


def flow_map(path, to):
    """What an ideal consistency model computes: the data's end of the probability flow from (x, t)."""

    def jump(x, t):
        levels = torch.linspace(path.log_snr(t), path.log_snr(to), 21, dtype=F64)
        return sample(exact(path), path, x, path.inverse_log_snr(levels), dpmpp_2m) / path.alpha(to).item()

    return jump


@each_path
@pytest.mark.parametrize("name", STEPS)
def test_every_step_on_every_path_draws_from_the_mixture(path, name):
    """False-alarm rate 1e-6 beside an allowance of 0.015 for the size of the steps."""
    n, generator = 3000, torch.Generator().manual_seed(1)
    counts = {"heun": 30, "dpmpp_2m": 30, "euler": 120, "consistency": 3}
    grid = log_snr(path, counts.get(name, 60), 0.01, 15.0)
    denoise = exact(path)
    if name == "consistency":
        grid = grid[:-1]  # a model of this kind ends where its flow does
        denoise = flow_map(path, grid[-1])
    x = MIXTURE.marginal(grid[0], path).sample(n, generator)
    y = sample(denoise, path, x, grid, STEPS[name], generator)
    assert largest_cdf_gap(y, MIXTURE.marginal(grid[-1], path)) < noise_level_of_the_test(n) + 0.015


def test_the_distance_accepts_the_mixture_and_notices_what_is_not():
    x = MIXTURE.sample(3000, torch.Generator().manual_seed(0))
    allowed = noise_level_of_the_test(3000) + 0.015
    assert largest_cdf_gap(x, MIXTURE) < allowed
    for wrong in (1.4 * x, 0.7 * x, x + 0.25, x.roll(1, 1), x.sign()):
        assert largest_cdf_gap(wrong, MIXTURE) > allowed


# Variances, exactly ------------------------------------------------------------------------------------------------


def affine(step, path, denoise, t, s):
    """(a, b, g) of a step that is a x + b + g noise in one dimension."""
    x, noise = (torch.tensor(values, dtype=F64)[:, None] for values in ([0.0, 1.0, 0.0], [0.0, 0.0, 1.0]))
    b, of_x, of_noise = step(denoise, path, x, t, s, noise=noise)
    return of_x - b, b, of_noise - b


@each_path
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ancestral_steps_keep_the_mean_and_variance_given_the_data(path, eta):
    """If x0 is known, a step from q(x_t | x0) ends in q(x_s | x0) = N(alpha_s x0, sigma_s^2)."""
    for t, s in [(1.0, 0.7), (0.6, 0.2), (0.1, 0.0)]:
        a, b, g = affine(partial(ancestral, eta=eta), path, lambda x, t: torch.full_like(x, 1.3), t, s)
        torch.testing.assert_close(a * path.alpha(t) * 1.3 + b, path.alpha(s)[None] * 1.3, rtol=1e-10, atol=1e-12)
        variance = (a * path.sigma(t)) ** 2 + g**2
        torch.testing.assert_close(variance, path.sigma(s)[None] ** 2, rtol=1e-10, atol=1e-12)


@each_path
@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_ancestral_noise_keeps_the_marginal_of_gaussian_data(path, eta):
    """All that a step lacks of the marginal's variance is what it lost by taking the mean of x0 for a draw of x0: the
    law of total variance, and nothing else."""
    step = partial(ancestral, eta=eta)
    for t, s in [(1.0, 0.8), (0.9, 0.3), (0.5, 0.49), (0.2, 0.01), (0.05, 0.0)]:
        before, after = GAUSSIAN.marginal(t, path), GAUSSIAN.marginal(s, path)
        a, b, g = affine(step, path, exact(path, GAUSSIAN), t, s)
        torch.testing.assert_close(a * before.means[0] + b, after.means[0], rtol=1e-10, atol=1e-12)
        of_x = affine(step, path, lambda x, t: torch.zeros_like(x), t, s)[0]
        of_x0 = path.alpha(s) - of_x * path.alpha(t)
        lost = (of_x0 * 0.6 * path.sigma(t) / before.stds) ** 2  # times the variance of x0 given x_t
        torch.testing.assert_close((a * before.stds) ** 2 + g**2 + lost, after.stds**2, rtol=1e-10, atol=1e-12)


@each_path
@pytest.mark.parametrize("name", ["ancestral", "ancestral_half", "euler_maruyama"])
def test_stochastic_steps_converge_in_law_at_order_1(path, name):
    """The variance at the end on Gaussian data, carried along exactly, without sampling."""
    errors, counts = [], (80, 160) if name == "euler_maruyama" else (30, 60)
    for n in counts:
        times = levels(path, n, 2.0, 0.3)
        variance = GAUSSIAN.marginal(times[0], path).stds ** 2
        for t, s in zip(times[:-1], times[1:], strict=True):
            a, _, g = affine(STEPS[name], path, exact(path, GAUSSIAN), t, s)
            variance = a**2 * variance + g**2
        errors.append((variance - GAUSSIAN.marginal(times[-1], path).stds ** 2).abs().item())
    assert errors[-1] < 0.05
    assert odes.observed_order(errors, [1 / n for n in counts]) == pytest.approx(1, abs=0.15)


# Orders ------------------------------------------------------------------------------------------------------------


@cache
def reference():
    """Where the probability flow from 8 states takes y = x / alpha between two noise levels r. It is one ODE for all
    paths, dy / d ln r = y - E[x0], solved here by Runge-Kutta of order 4 with 200 steps."""
    path, start = EDM(5.0), 4 * torch.randn(8, 2, generator=torch.Generator().manual_seed(0), dtype=F64)
    log_r = torch.linspace(math.log(4.0), math.log(0.2), 201, dtype=F64)
    flow = odes.integrate(lambda y, at: y - MIXTURE.denoise(y, at.exp() / 5, path), start, log_r, odes.rk4_step)
    return start, flow[-1]


def test_the_reference_is_exact_enough():
    start, end = reference()
    path = EDM(5.0)
    times = torch.logspace(math.log10(4.0), math.log10(0.2), 401, dtype=F64) / 5
    other = odes.integrate(lambda x, t: MIXTURE.velocity(x, t, path), start, times, odes.rk4_step)[-1]
    torch.testing.assert_close(other, end, rtol=0, atol=1e-6)


@each_path
@pytest.mark.parametrize(("name", "order"), [("ddim", 1), ("euler", 1), ("heun", 2), ("dpmpp_2m", 2)])
def test_deterministic_steps_converge_at_their_order(path, name, order):
    """Slopes measured: ddim 0.96, euler 0.96 to 1.00, heun and dpmpp_2m 2.00."""
    (start, end), errors, counts = reference(), [], (80, 160)
    for n in counts:
        times = levels(path, n)
        y = sample(exact(path), path, path.alpha(times[0]) * start, times, STEPS[name]) / path.alpha(times[-1])
        errors.append((y - end).norm().item())
    assert errors[-1] < {1: 0.1, 2: 5e-4}[order]
    assert odes.observed_order(errors, [1 / n for n in counts]) == pytest.approx(order, abs=0.1)
