"""Couplings against brute force and exact flows, straightness by hand."""

import itertools
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from noise2data import samplers
from noise2data.denoiser import Denoiser
from noise2data.flows import flip_time, minibatch_ot, reflow_pairs, straightness
from noise2data.mixtures import GaussianMixture, eight_gaussians
from noise2data.paths import VE, Linear

F64 = torch.float64


def randn(*shape, seed=0, dtype=F64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def cost(x0, eps):
    return (x0 - eps).square().sum().item()


# Pairs ----------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), B=st.integers(1, 5), shape=st.sampled_from([(2,), (1, 2, 2), (5,)]))
def test_optimal_pairs_are_those_of_brute_force(seed, B, shape):
    x0, eps = randn(B, *shape, seed=seed), randn(B, *shape, seed=seed + 1)
    before = x0.clone(), eps.clone()
    got = minibatch_ot(x0, eps)
    best = min(itertools.permutations(range(B)), key=lambda order: cost(x0, eps[list(order)]))
    assert torch.equal(got, eps[list(best)])
    assert torch.equal(x0, before[0]) and torch.equal(eps, before[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_on_a_line_optimal_pairs_are_sorted_alike(dtype):
    x0, eps = randn(300, 1, dtype=F64).to(dtype), randn(300, 1, seed=1).to(dtype)
    got = minibatch_ot(x0, eps)
    assert got.dtype == dtype and torch.equal(got.sort(0).values, eps.sort(0).values)
    assert (
        abs(cost(x0.double(), got.double()) / cost(x0.double().sort(0).values, eps.double().sort(0).values) - 1) < 1e-9
    )


def test_reflow_pairs_are_the_samplers_and_leave_the_noise_alone():
    mixture, path, eps, grid = eight_gaussians(), Linear(), randn(50, 2), samplers.uniform(20)
    denoise = lambda x, t: mixture.denoise(x, t, path)  # noqa: E731
    x0, given_back = reflow_pairs(denoise, path, eps, grid)
    assert given_back is eps and torch.equal(x0, samplers.sample(denoise, path, eps, grid))
    better, _ = reflow_pairs(denoise, path, eps, grid, samplers.heun)
    assert not torch.equal(better, x0)


def test_reflow_pairs_of_a_gaussian_are_the_exact_map():
    """Of N(m, s^2 I) the flow takes eps to m + s eps; on VE up to the end's noise, and the start's mean."""
    mixture, eps = GaussianMixture([[1.0, -2.0]], [1.0], 0.5), randn(20, 2)
    x0, _ = reflow_pairs(partial(mixture.denoise, path=Linear()), Linear(), eps, samplers.uniform(400), samplers.heun)
    torch.testing.assert_close(x0, mixture.means + 0.5 * eps, rtol=0, atol=1e-4)
    path = VE(1e-4, 1e4)
    x0, _ = reflow_pairs(partial(mixture.denoise, path=path), path, eps, samplers.uniform(400), samplers.heun)
    torch.testing.assert_close(x0, mixture.means + 0.5 * eps, rtol=0, atol=1e-3)


def test_reflow_straightens():
    """The lines of reflow's pairs have a flow of their own; where they do not cross, its trajectories are the lines."""
    mixture, path, eps = GaussianMixture([[0.0]], [1.0], 0.2), Linear(), randn(50, 1)
    grid = samplers.uniform(50)
    curved = samplers.trajectory(partial(mixture.denoise, path=path), path, eps, grid)
    x0, _ = reflow_pairs(partial(mixture.denoise, path=path), path, eps, samplers.uniform(800), samplers.heun)

    def learnt(x, t):  # x_t = (1 - t) 0.2 eps + t eps determines eps, hence x0
        return 0.2 * x / (0.2 * (1 - t) + t)

    straight = samplers.trajectory(learnt, path, eps, grid)
    torch.testing.assert_close(straight[-1], x0, rtol=0, atol=1e-4)
    assert straightness(curved) > 0.05 and straightness(straight) < 1e-20


# Straightness -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (2,), (1, 3, 3)])
def test_straight_lines_at_even_speed_have_straightness_zero(shape):
    start, end = randn(4, *shape), randn(4, *shape, seed=1)
    u = torch.linspace(0, 1, 8, dtype=F64).reshape(-1, *[1] * start.ndim)
    assert straightness(torch.lerp(start, end, u)) < 1e-25
    uneven = straightness(torch.lerp(start, end, u**2))
    # Step i of n has (2 i + 1) / n times the mean speed.
    factor = sum((1 - (2 * i + 1) / 7) ** 2 for i in range(7)) / 7
    torch.testing.assert_close(uneven, factor * (end - start).square().sum() / 4)
    assert uneven.shape == ()


def test_straightness_of_a_corner_by_hand():
    corner = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])[:, None].requires_grad_()
    loss = straightness(corner)  # (1, 1) - 2 (1, 0) and (1, 1) - 2 (0, 1): both of squared length 2
    loss.backward()
    assert loss == 2 and corner.grad is not None


# The other clock ----------------------------------------------------------------------------------------------------


def test_flipped_fields_follow_our_clock():
    """With x_t = t x0 + (1 - t) eps the field is x0 - eps at 1 - t: E[x0 | x] comes out the same."""
    mixture, path, x, t = eight_gaussians(), Linear(), randn(6, 2), torch.linspace(0.1, 0.9, 6, dtype=F64)

    def theirs(x, tau):  # d/dtau of tau x0 + (1 - tau) eps
        return -mixture.velocity(x, 1 - tau, path)

    torch.testing.assert_close(flip_time(theirs)(x, t), mixture.velocity(x, t, path), rtol=1e-12, atol=1e-12)
    denoiser = Denoiser(flip_time(theirs), path, "velocity")
    torch.testing.assert_close(denoiser(x, t), mixture.denoise(x, t, path), rtol=1e-10, atol=1e-10)


def test_flipping_keeps_parameters_and_labels():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = torch.nn.Embedding(3, 2)

        def forward(self, x, t, y):
            return x * t[:, None] + self.embed(y)

    net, y = Net(), torch.tensor([0, 2])
    flipped, x, t = flip_time(net), randn(2, 2).float(), torch.tensor([0.25, 0.5])
    out = flipped(x, t, y)
    torch.testing.assert_close(out, -net(x, 1 - t, y))
    out.sum().backward()
    assert list(flipped.parameters()) == list(net.parameters()) and net.embed.weight.grad is not None


# Bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: minibatch_ot(randn(3, 2), randn(4, 2)), r"eps has shape \(4, 2\); expected x0's, \(3, 2\)"),
        (lambda: minibatch_ot(randn(3, 2), randn(3, 2) / 0), "eps contains -?inf; expected finite numbers"),
        (lambda: straightness(randn(1, 3, 2)), r"trajectory has shape \(1, 3, 2\); expected \(n \+ 1, B, ...\)"),
        (lambda: straightness(randn(5)), r"trajectory has shape \(5,\)"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
