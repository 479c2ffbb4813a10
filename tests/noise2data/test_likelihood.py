"""Likelihood by the probability-flow ODE against the mixture's own."""

import math
from functools import partial

import pytest
import torch

from noise2data import odes
from noise2data.likelihood import log_likelihood
from noise2data.mixtures import GaussianMixture
from noise2data.paths import EDM, VE, Discrete, Linear, VPCosine, VPLinear
from noise2data.samplers import log_snr, uniform
from noise2data.schedules import linear_alpha_bar

F64 = torch.float64
MIXTURE = GaussianMixture([[-1.0, 0.5], [0.8, 0.3], [0.2, -0.9]], [0.5, 0.3, 0.2], [0.3, 0.4, 0.25])
PATHS = {
    "vp_linear": VPLinear(),
    "vp_cosine": VPCosine(),
    "ve": VE(0.01, 20.0),
    "edm": EDM(20.0),
    "linear": Linear(),
    "discrete": Discrete(linear_alpha_bar(100, 1e-3, 0.2)),
}


def exact(path):
    return lambda x, t: MIXTURE.denoise(x, t, path)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
def test_it_is_the_mixtures_on_every_path_with_error_of_order_2(path):
    """The marginals at both ends are known, so that nothing but the size of the steps is wrong."""
    errors, counts = [], (40, 80)
    for n in counts:
        low, high = 2 * math.log(10.0), -2 * math.log(4.0)
        grid = path.inverse_log_snr(torch.linspace(high, low, n + 1, dtype=F64))
        x = MIXTURE.marginal(grid[-1], path).sample(8, torch.Generator().manual_seed(0))
        got = log_likelihood(exact(path), path, x, grid, prior=MIXTURE.marginal(grid[0], path).log_prob)
        want = MIXTURE.marginal(grid[-1], path).log_prob(x)
        errors.append((got - want).abs().max().item())
    assert errors[-1] < 0.01
    if not isinstance(path, Discrete):  # whose velocity jumps at every step
        assert odes.observed_order(errors, [1 / n for n in counts]) > 1.8


@pytest.mark.parametrize("path", [Linear(), VPCosine()])
def test_from_pure_noise_with_the_normal_prior(path):
    """The whole path at once: N(0, I) is exact at t = 1, and at the other end a noise of 0.002 is left."""
    grid = log_snr(path, 150)[:-1]
    x = MIXTURE.sample(8, torch.Generator().manual_seed(1))
    got = log_likelihood(exact(path), path, x, grid)
    torch.testing.assert_close(got, MIXTURE.log_prob(x), rtol=0, atol=0.02)


def test_hutchinsons_estimate_is_right_on_average():
    """Over all four sign vectors of the plane the estimate of a trace is exact, and so is the mean over them."""
    path, grid = Linear(), uniform(30, 0.9, 0.1)
    x = MIXTURE.marginal(0.1, path).sample(4, torch.Generator().manual_seed(0))
    want = log_likelihood(exact(path), path, x, grid)
    signs = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]], dtype=F64)
    probes = [sign.expand(4, 2).clone() for sign in signs]
    got = [log_likelihood(exact(path), path, x, grid, partial(odes.hutchinson, probe=probe)) for probe in probes]
    torch.testing.assert_close(torch.stack(got).mean(0), want)
    assert (got[0] - want).abs().max() > 1e-3


def test_the_result_belongs_to_each_sample_keeps_the_dtype_and_has_no_graph():
    x, grid = torch.randn(2, 1, 2, 2, generator=torch.Generator().manual_seed(0)).requires_grad_(), uniform(5, 1.0, 0.1)
    got = log_likelihood(lambda x, t: 0.3 * x, Linear(), x, grid)
    assert got.shape == (2,) and got.dtype == torch.float32 and not got.requires_grad
    alone = log_likelihood(lambda x, t: 0.3 * x, Linear(), x[1:], grid)
    torch.testing.assert_close(got[1:], alone)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (uniform(4), "grid ends at 0, where sigma is 0; expected a last time with some noise"),
        (uniform(4).flip(0), r"grid is \[0.0, 0.25, .*; expected at least two falling times"),
        (torch.tensor([1.0]), "expected at least two falling times"),
        (torch.ones(2, 2), "expected at least two falling times"),
    ],
)
def test_bad_grids_are_named(grid, message):
    with pytest.raises(ValueError, match=message):
        log_likelihood(exact(Linear()), Linear(), torch.zeros(2, 2, dtype=F64), grid)
