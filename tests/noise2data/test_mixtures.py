"""The exact oracle against autograd, quadrature, scipy and its own samples."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from noise2data.mixtures import GaussianMixture, eight_gaussians, two_moons_mixture
from noise2data.paths import Linear, VPCosine, VPLinear
from tests.noise2data.every_path import PATHS, each_path, randn

F64 = torch.float64


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def uneven(dtype=F64):
    """Three components of different weight and width in the plane."""
    return GaussianMixture(
        torch.tensor([[1.0, 2.0], [-1.5, 0.3], [0.2, -1.0]], dtype=dtype), [0.5, 0.3, 0.2], [0.3, 0.8, 0.1]
    )


# Density and score --------------------------------------------------------------------------------------------


def test_log_prob_is_scipys():
    mixture, x = uneven(), randn(40, 2)
    want = sum(
        w * stats.multivariate_normal(m, s**2 * np.eye(2)).pdf(x.numpy())
        for w, m, s in zip(mixture.weights.tolist(), mixture.means.numpy(), mixture.stds.tolist(), strict=True)
    )
    np.testing.assert_allclose(mixture.log_prob(x).numpy(), np.log(want), rtol=1e-10)


def test_density_integrates_to_one():
    mixture = GaussianMixture([[0.5], [-2.0]], [0.25, 0.75], [0.4, 0.7])
    x = torch.linspace(-12, 12, 20_001, dtype=F64)
    assert abs(torch.trapezoid(mixture.log_prob(x[:, None]).exp(), x).item() - 1) < 1e-10


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), components=st.integers(1, 5), d=st.integers(1, 5), scale=st.floats(0.1, 30))
def test_score_is_the_gradient_of_log_prob(seed, components, d, scale):
    """Also for B = K = d, and well outside the data."""
    g = generator(seed)
    weights = torch.rand(components, generator=g, dtype=F64) + 0.1
    mixture = GaussianMixture(
        torch.randn(components, d, generator=g, dtype=F64),
        weights / weights.sum(),
        torch.rand(components, generator=g, dtype=F64) + 0.05,
    )
    x = (scale * torch.randn(components, d, generator=g, dtype=F64)).requires_grad_()
    (want,) = torch.autograd.grad(mixture.log_prob(x).sum(), x)
    torch.testing.assert_close(mixture.score(x).detach(), want, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("distance", [1e4, 1e8])
def test_far_away_everything_is_finite_and_points_home(dtype, distance):
    mixture = uneven()
    x = distance * torch.tensor([[1.0, 0.0], [-0.6, 0.8], [0.0, -1.0]], dtype=dtype)
    assert mixture.log_prob(x).isfinite().all()
    widest = (mixture.means[1] - x) / 0.8**2
    torch.testing.assert_close(mixture.score(x), widest.to(dtype), rtol=1e-6, atol=0)
    for path in PATHS.values():
        for t in (0.0, 0.5, 1.0):
            assert mixture.denoise(x, t, path).isfinite().all()
            assert mixture.velocity(x, t, path).isfinite().all()
        assert mixture.marginal(0.5, path).score(x).isfinite().all()


# The posterior ------------------------------------------------------------------------------------------------


@each_path
def test_denoise_is_tweedies_formula(path):
    """E[x0 | x] = (x + sigma^2 score_t(x)) / alpha with the score of the marginal."""
    mixture, x = uneven(), 2 * randn(20, 2)
    for t in (0.05, 0.4, 0.8, 0.97):
        alpha, sigma = path.alpha(t), path.sigma(t)
        want = (x + sigma**2 * mixture.marginal(t, path).score(x)) / alpha
        torch.testing.assert_close(mixture.denoise(x, t, path), want, rtol=1e-7, atol=1e-7)


@each_path
@pytest.mark.parametrize("t", [0.1, 0.5, 0.9])
def test_posterior_means_agree_with_brute_force(path, t):
    """In one dimension: integrate x0, and the velocity alpha' x0 + sigma' eps, against p(x0) p(x | x0) on a grid."""
    mixture = GaussianMixture([[0.5], [-2.0], [1.0]], [0.25, 0.6, 0.15], [0.4, 0.7, 0.15])
    alpha, sigma, dalpha, dsigma = (f(t) for f in (path.alpha, path.sigma, path.dalpha, path.dsigma))
    x0 = torch.linspace(-9, 9, 60_001, dtype=F64)
    x = torch.linspace(-3, 3, 7, dtype=F64)
    eps = (x[:, None] - alpha * x0) / sigma
    log_joint = mixture.log_prob(x0[:, None]) - eps**2 / 2
    weight = torch.softmax(log_joint, 1)  # on an even grid whose ends carry no mass, the trapezoidal rule
    denoised, velocity = (weight * x0).sum(1), (weight * (dalpha * x0 + dsigma * eps)).sum(1)
    torch.testing.assert_close(mixture.denoise(x[:, None], t, path)[:, 0], denoised, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(mixture.velocity(x[:, None], t, path)[:, 0], velocity, rtol=1e-7, atol=1e-7)


@each_path
def test_velocity_is_the_converted_denoiser(path):
    mixture, x = uneven(), 2 * randn(5, 2)
    t = torch.tensor([0.03, 0.2, 0.5, 0.8, 0.95], dtype=F64)
    want = path.convert(mixture.denoise(x, t, path), x, t, "x0", "velocity")
    torch.testing.assert_close(mixture.velocity(x, t, path), want, rtol=1e-7, atol=1e-7)


@each_path
def test_ends_of_the_path(path):
    mixture, x = uneven(), randn(6, 2)
    if path.sigma(0.0) == 0:
        torch.testing.assert_close(mixture.denoise(x, 0.0, path), x)
        # The velocity at t = 0 is the limit from inside, although sigma' may be infinite there.
        at, near = (mixture.velocity(x, t, path) for t in (0.0, 1e-7))
        torch.testing.assert_close(at, near, rtol=1e-3, atol=1e-3)
    if path.alpha(1.0) == 0:
        mean = (mixture.weights[:, None] * mixture.means).sum(0)
        torch.testing.assert_close(mixture.denoise(x, 1.0, path), mean.expand(6, 2))
    assert mixture.velocity(x, 1.0, path).isfinite().all()


@each_path
@pytest.mark.parametrize("batch", [2, 3])
def test_times_belong_to_the_batch_also_where_b_equals_d_or_k(path, batch):
    mixture, x = uneven(), randn(batch, 2)
    t = torch.linspace(0.2, 0.9, batch, dtype=F64)
    for f in (mixture.denoise, mixture.velocity):
        rows = torch.cat([f(x[i : i + 1], t[i].item(), path) for i in range(batch)])
        torch.testing.assert_close(f(x, t, path), rows)
        torch.testing.assert_close(f(x, torch.tensor(0.3), path), f(x, 0.3, path), rtol=1e-6, atol=1e-6)


def test_results_have_the_dtype_of_x():
    x = randn(4, 2)
    for dtype in (torch.float32, F64):
        mixture = uneven(dtype)
        assert mixture.sample(3, generator()).dtype == mixture.marginal(0.5, Linear()).means.dtype == dtype
        for got in (
            mixture.score(x.float()),
            mixture.log_prob(x.float()),
            mixture.denoise(x.float(), torch.rand(4, dtype=F64), Linear()),
            mixture.velocity(x.float(), 0.5, VPLinear()),
        ):
            assert got.dtype == torch.float32
        torch.testing.assert_close(mixture.score(x.float()).double(), uneven().score(x), rtol=1e-3, atol=1e-3)


def test_denoiser_is_differentiable():
    x = randn(3, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: uneven().denoise(x, 0.4, VPCosine()), x)
    assert torch.autograd.gradcheck(lambda x: uneven().velocity(x, 0.4, VPCosine()), x)


# Samples ------------------------------------------------------------------------------------------------------


def ks_distance(values, means, stds, weights):
    """The Kolmogorov-Smirnov distance between values and a one-dimensional mixture."""
    x = np.sort(values.numpy())
    cdf = sum(w * stats.norm.cdf(x, m, s) for m, s, w in zip(means, stds, weights, strict=True))
    n = len(x)
    return max((np.arange(1, n + 1) / n - cdf).max(), (cdf - np.arange(n) / n).max())


def ks_limit(n, rate):
    """Exceeded with probability at most `rate`, for every n and law (Dvoretzky, Kiefer, Wolfowitz; Massart 1990)."""
    return math.sqrt(math.log(2 / rate) / (2 * n))


@each_path
def test_samples_and_noised_samples_follow_the_marginal(path):
    """Three projections at four times, each with false-alarm rate 1e-8: 1.2e-7 in all for one path, 6e-7 for five."""
    n, mixture, g = 40_000, uneven(), generator(1)
    x0 = mixture.sample(n, g)
    eps = torch.randn(n, 2, generator=g, dtype=F64)
    for t in (0.0, 0.3, 0.7, 1.0):
        marginal, x = mixture.marginal(t, path), path.mix(x0, eps, t)
        for angle in (0.0, 1.0, 2.2):
            u = torch.tensor([math.cos(angle), math.sin(angle)], dtype=F64)
            distance = ks_distance(x @ u, marginal.means @ u, marginal.stds.numpy(), marginal.weights.numpy())
            assert distance < ks_limit(n, 1e-8)


def test_the_samples_test_has_power():
    """The same limit rejects a mixture whose widths are wrong by a quarter."""
    x = uneven().sample(40_000, generator(1))[:, 0]
    m = uneven()
    assert ks_distance(x, m.means[:, 0], 1.25 * m.stds.numpy(), m.weights.numpy()) > ks_limit(40_000, 1e-8)


def test_sampling_repeats_and_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    a, b, c = (uneven().sample(10, generator(seed)) for seed in (3, 3, 4))
    assert torch.equal(a, b) and not torch.equal(a, c)
    assert torch.equal(state, torch.get_rng_state())
    assert uneven().sample(7).shape == (7, 2)
    with pytest.raises(ValueError, match="n is 0"):
        uneven().sample(0)


# Point masses -------------------------------------------------------------------------------------------------


def test_point_masses_have_the_empirical_denoiser():
    """With all stds 0 the denoiser is the softmax-weighted mean of the points, and near t = 0 the nearest point."""
    points, x = randn(5, 2), randn(8, 2, seed=1)
    mixture, path = GaussianMixture(points, [0.2] * 5, 0.0), VPLinear()
    alpha, sigma = path.alpha(0.4), path.sigma(0.4)
    weight = torch.softmax(-(torch.cdist(x, alpha * points) ** 2) / (2 * sigma**2), 1)
    torch.testing.assert_close(mixture.denoise(x, 0.4, path), weight @ points)
    nearest = points[torch.cdist(x, points).argmin(1)]
    torch.testing.assert_close(mixture.denoise(x, 0.0, path), nearest)
    drawn = mixture.sample(50, generator())
    assert all(any(torch.equal(row, point) for point in points) for row in drawn)
    for f in (mixture.score, mixture.log_prob):
        with pytest.raises(ValueError, match="a point mass has no density"):
            f(x)


# Examples and bad input ---------------------------------------------------------------------------------------


def test_examples():
    eight, moons = eight_gaussians(radius=3.0, std=0.1), two_moons_mixture(n=10)
    torch.testing.assert_close(eight.means.norm(dim=1), torch.full((8,), 3.0, dtype=F64))
    assert eight.means[0].tolist() == [3.0, 0.0] and eight.stds[0] == 0.1
    torch.testing.assert_close(eight.means.mean(0), torch.zeros(2, dtype=F64), rtol=0, atol=1e-12)
    torch.testing.assert_close(moons.means[10:], -moons.means[:10])
    for mixture in (eight, moons):
        assert mixture.means.dtype == F64 and abs(mixture.weights.sum().item() - 1) < 1e-12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, 2.0], [1.0], 1.0), r"means has shape \(2,\)"),
        ((torch.zeros(2, 2, dtype=torch.int64), [0.5, 0.5], 1.0), "means has shape .*torch.int64"),
        (([[0.0], [1.0]], [1.0], 1.0), r"weights has shape \(1,\); expected one for each mean"),
        (([[0.0], [1.0]], [0.5, 0.6], 1.0), "weights are .*expected positive numbers of sum 1"),
        (([[0.0], [1.0]], [1.5, -0.5], 1.0), "weights are"),
        (([[0.0], [1.0]], [0.5, 0.5], [1.0, -1.0]), "stds are"),
        (([[0.0], [1.0]], [0.5, 0.5], [1.0, 1.0, 1.0]), r"stds has shape \(3,\); expected a number or \(2,\)"),
    ],
)
def test_bad_mixtures_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        GaussianMixture(*arguments)


def test_bad_points_and_times_are_named():
    mixture = uneven()
    for x in (randn(4, 3), randn(2), torch.zeros(4, 2, dtype=torch.int64)):
        with pytest.raises(ValueError, match=r"x has shape .*expected \(B, 2\) floats"):
            mixture.score(x)
    with pytest.raises(ValueError, match="t has shape"):
        mixture.denoise(randn(4, 2), torch.rand(3), Linear())
    with pytest.raises(ValueError, match="t has shape .*a mixture has one time"):
        mixture.marginal(torch.rand(3), Linear())
