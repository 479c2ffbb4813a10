"""Steps and flows against exact solutions: the matrix exponential, and Gaussian mixtures carried by their own field."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from noise2data.mixtures import GaussianMixture
from noise2data.odes import (
    divergence,
    euler_step,
    heun_step,
    hutchinson,
    integrate,
    integrate_log_density,
    observed_order,
    rk4_step,
)
from noise2data.paths import Linear, VPCosine

F64 = torch.float64
STEPS = [(euler_step, 1, 1), (heun_step, 2, 2), (rk4_step, 4, 4)]
each_step = pytest.mark.parametrize(("step", "order", "calls"), STEPS, ids=["euler", "heun", "rk4"])


def randn(*shape, seed=0, dtype=F64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


A = torch.tensor([[-0.3, 2.0, 0.1], [-1.5, -0.2, 0.4], [0.2, -0.7, 0.5]], dtype=F64)


def linear_field(x, t):
    return x @ A.T


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 3)).double()


# Steps and trajectories ---------------------------------------------------------------------------------------


@each_step
@pytest.mark.parametrize("ends", [(0.0, 1.0), (1.0, 0.2)], ids=["forwards", "backwards"])
def test_order_on_a_linear_ode(step, order, calls, ends):
    """The slope of the error against exp(A t) x is the order."""
    x, span = randn(4, 3), ends[1] - ends[0]
    exact = x @ torch.linalg.matrix_exp(A * span).T
    counts = [40, 80, 160, 320]
    errors = [
        (integrate(linear_field, x, torch.linspace(*ends, n + 1, dtype=F64), step)[-1] - exact).norm().item()
        for n in counts
    ]
    assert abs(observed_order(errors, [abs(span) / n for n in counts]) - order) < 0.06


@each_step
def test_order_where_the_field_depends_on_time(step, order, calls):
    """dx/dt = -2 t x ends at exp(-1) x; a slope taken at a wrong time would cost the order."""
    x = randn(4, 2)
    counts = [40, 80, 160, 320]
    errors = [
        (
            integrate(lambda x, t: -2 * t * x, x, torch.linspace(0, 1, n + 1, dtype=F64), step)[-1] - x * math.exp(-1)
        ).norm()
        for n in counts
    ]
    assert abs(observed_order(torch.stack(errors), [1 / n for n in counts]) - order) < 0.1


@each_step
def test_one_step_is_the_taylor_polynomial_of_its_order(step, order, calls):
    """For dx/dt = A x these steps are exactly the truncated exponential series."""
    x, dt, seen = randn(4, 3), 0.3, []
    term = want = x
    for i in range(1, order + 1):
        term = dt / i * term @ A.T
        want = want + term

    def f(x, t):
        seen.append(t)
        return linear_field(x, t)

    torch.testing.assert_close(step(f, x, 0.5, dt), want, rtol=1e-13, atol=1e-13)
    assert len(seen) == calls


def test_integrate_keeps_every_state():
    x, ts = randn(5, 3), torch.tensor([0.0, 0.1, 0.15, 0.7], dtype=F64)
    before = x.clone()
    rows = integrate(linear_field, x, ts, heun_step)
    assert rows.shape == (4, 5, 3) and torch.equal(rows[0], x) and torch.equal(x, before)
    torch.testing.assert_close(rows[2], heun_step(linear_field, rows[1], ts[1], ts[2] - ts[1]))
    torch.testing.assert_close(rows[3], heun_step(linear_field, rows[2], ts[2], ts[3] - ts[2]))


def test_integrate_one_time_lists_and_images():
    x = randn(2, 1, 4, 4, dtype=torch.float32)
    rows = integrate(lambda x, t: -x, x, [0.0, 0.5, 1.0], euler_step)
    assert rows.shape == (3, 2, 1, 4, 4) and rows.dtype == torch.float32
    torch.testing.assert_close(rows[-1], x / 4)
    assert torch.equal(integrate(linear_field, randn(2, 3), [0.4], euler_step), randn(2, 3)[None])
    assert integrate(lambda x, t: -x, x, torch.linspace(0, 1, 3, dtype=F64), rk4_step).dtype == torch.float32
    torch.testing.assert_close(integrate(lambda x, t: x * 0 + 1, x, [0, 2], euler_step)[-1], x + 2)


def test_times_in_a_list_are_not_rounded_to_single_precision():
    x = torch.zeros(1, 1, dtype=F64)
    assert integrate(lambda x, t: torch.ones_like(x), x, [0.0, 0.1], euler_step)[-1].item() == 0.1


def test_there_and_back_again():
    x, ts = randn(3, 3), torch.linspace(0, 1, 101, dtype=F64)
    end = integrate(linear_field, x, ts, rk4_step)[-1]
    torch.testing.assert_close(integrate(linear_field, end, ts.flip(0), rk4_step)[-1], x, rtol=1e-7, atol=1e-7)


def test_trajectories_are_differentiable():
    x = randn(2, 3).requires_grad_()
    ts = torch.linspace(0, 1, 5, dtype=F64)
    assert torch.autograd.gradcheck(lambda x: integrate(linear_field, x, ts, heun_step)[-1], x)


@pytest.mark.parametrize("ts", [torch.tensor(0.5), torch.zeros(2, 2), torch.zeros(0)])
def test_bad_grids_are_named(ts):
    for call in (
        lambda: integrate(linear_field, randn(2, 3), ts, euler_step),
        lambda: integrate_log_density(linear_field, lambda x, t: x.sum(1), randn(2, 3), ts),
    ):
        with pytest.raises(ValueError, match="ts has shape .*expected a 1-D sequence"):
            call()


# Divergence ---------------------------------------------------------------------------------------------------


def test_divergence_is_the_trace_of_the_jacobian():
    net, x, t = network(), randn(6, 3), 0.3

    def f(x, t):
        return net(x) * (1 + t)

    want = torch.stack([torch.func.jacrev(lambda y: f(y, t))(row).trace() for row in x])
    for t_given in (t, torch.tensor(t, dtype=F64), torch.full((6, 1), t, dtype=F64)):
        torch.testing.assert_close(divergence(f, x, t_given), want)
    with torch.no_grad():
        quiet = divergence(f, x, t)
    torch.testing.assert_close(quiet, want)
    assert not quiet.requires_grad and not x.requires_grad


def test_divergence_of_linear_and_image_fields():
    torch.testing.assert_close(divergence(linear_field, randn(4, 3), 0.0), A.trace().expand(4))
    x = randn(2, 1, 3, 3)
    torch.testing.assert_close(divergence(lambda x, t: x**3, x, 0.0), (3 * x**2).sum((1, 2, 3)))


@pytest.mark.parametrize("context", [torch.enable_grad, torch.no_grad])
def test_divergence_of_constant_fields_is_zero(context):
    x, bias = randn(4, 3), nn.Parameter(randn(3))
    with context():
        for f in (lambda x, t: torch.ones_like(x), lambda x, t: bias.expand(4, 3)):
            assert torch.equal(divergence(f, x, 0.0), torch.zeros(4, dtype=F64))
            assert torch.equal(hutchinson(f, x, 0.0, torch.ones_like(x)), torch.zeros(4, dtype=F64))


def test_divergences_are_differentiable_in_x_and_in_parameters():
    net, x, probe = network(), randn(4, 3).requires_grad_(), randn(4, 3, seed=1)

    def f(x, t):
        return net(x)

    assert torch.autograd.gradcheck(lambda x: divergence(f, x, 0.0), x)
    assert torch.autograd.gradcheck(lambda x: hutchinson(f, x, 0.0, probe), x)
    for value in (divergence(f, x.detach(), 0.0), hutchinson(f, x.detach(), 0.0, probe)):
        (gradient,) = torch.autograd.grad(value.sum(), net[0].weight)
        assert gradient.abs().max() > 0
    (y,) = torch.autograd.grad(divergence(f, 2 * x, 0.0).sum(), x)  # x need not be a leaf
    assert y.abs().max() > 0


def test_hutchinson_is_exact_for_a_diagonal_jacobian_and_signs():
    x = randn(50, 4)
    signs = torch.randint(0, 2, x.shape, generator=torch.Generator().manual_seed(1)).double() * 2 - 1
    torch.testing.assert_close(hutchinson(lambda x, t: torch.sin(x) * t, x, 0.7, signs), 0.7 * x.cos().sum(1))


def test_hutchinson_is_the_quadratic_form_and_its_mean_over_all_signs_is_the_trace():
    x, probe = randn(5, 3), randn(5, 3, seed=1)
    want = torch.einsum("bi,ij,bj->b", probe, A, probe)
    torch.testing.assert_close(hutchinson(linear_field, x, 0.0, probe), want)
    with torch.no_grad():
        torch.testing.assert_close(hutchinson(linear_field, x, 0.0, probe), want)
    net = network()
    estimates = [
        hutchinson(lambda x, t: net(x), x, 0.0, torch.tensor(signs, dtype=F64).expand(5, 3))
        for signs in itertools.product((-1.0, 1.0), repeat=3)
    ]
    torch.testing.assert_close(torch.stack(estimates).mean(0), divergence(lambda x, t: net(x), x, 0.0))


def test_bad_shapes_are_named():
    x = randn(4, 3)
    with pytest.raises(ValueError, match=r"f returned shape \(4, 1\); expected x's, \(4, 3\)"):
        divergence(lambda x, t: x[:, :1], x, 0.0)
    with pytest.raises(ValueError, match=r"f returned shape"):
        hutchinson(lambda x, t: x[:, :1], x, 0.0, x)
    with pytest.raises(ValueError, match=r"probe has shape \(3,\); expected x's, \(4, 3\)"):
        hutchinson(linear_field, x, 0.0, randn(3))
    with pytest.raises(ValueError, match=r"divergence returned shape \(\); expected one number for each sample"):
        integrate_log_density(linear_field, lambda x, t: torch.tensor(0.0), x, [0.0, 1.0])


# Densities ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ends", [(0.0, 1.0), (1.0, 0.3)])
def test_a_linear_flow_changes_the_density_by_the_trace(ends):
    x, ts = randn(4, 3), torch.linspace(*ends, 9, dtype=F64)
    end, delta = integrate_log_density(linear_field, lambda x, t: divergence(linear_field, x, t), x, ts)
    torch.testing.assert_close(delta, (-A.trace() * (ends[1] - ends[0])).expand(4))
    torch.testing.assert_close(end, integrate(linear_field, x, ts, heun_step)[-1])


def test_a_gaussian_under_a_linear_flow():
    """N(m, S) at t = 0 is N(E m, E S E^T) with E = exp(A) at t = 1."""
    normal = torch.distributions.MultivariateNormal
    m, root = randn(3, seed=3), 0.5 * randn(3, 3, seed=4) + torch.eye(3, dtype=F64)
    E = torch.linalg.matrix_exp(A)
    start, end = normal(m, root @ root.T), normal(E @ m, E @ root @ root.T @ E.T)
    x = randn(5, 3)
    y, delta = integrate_log_density(
        linear_field, lambda x, t: divergence(linear_field, x, t), x, torch.linspace(0, 1, 801, dtype=F64)
    )
    torch.testing.assert_close(start.log_prob(x) + delta, end.log_prob(y), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("path", [Linear(), VPCosine()], ids=["linear", "vp_cosine"])
@pytest.mark.parametrize("components", [1, 2])
def test_probability_flow_carries_the_exact_density_to_second_order(path, components):
    """Along the marginal velocity log p_t is known in closed form at both ends; Heun's error falls like h^2."""
    mixture = GaussianMixture([[1.0, -0.5], [-1.0, 0.4]][:components], [1 / components] * components, 0.6)

    def f(x, t):
        return mixture.velocity(x, t, path)

    x, t0, t1 = randn(6, 2), 0.9, 0.1
    errors, counts = [], [20, 40, 80]
    for n in counts:
        y, delta = integrate_log_density(
            f, lambda x, t: divergence(f, x, t), x, torch.linspace(t0, t1, n + 1, dtype=F64)
        )
        want = mixture.marginal(t1, path).log_prob(y) - mixture.marginal(t0, path).log_prob(x)
        errors.append((delta - want).abs().max().item())
    assert errors[-1] < 0.005
    assert abs(observed_order(errors, [1 / n for n in counts]) - 2) < 0.35


def test_log_density_leaves_its_arguments_alone_and_keeps_the_dtype():
    x = randn(4, 3, dtype=torch.float32)
    before = x.clone()
    end, delta = integrate_log_density(lambda x, t: -x, lambda x, t: -3.0 * torch.ones(len(x)), x, [0.0, 0.5, 1.0])
    assert end.dtype == delta.dtype == torch.float32 and delta.shape == (4,) and torch.equal(x, before)
    torch.testing.assert_close(delta, torch.full((4,), 3.0))
    same, none = integrate_log_density(linear_field, lambda x, t: x.sum(1), x.double(), [0.3])
    assert torch.equal(same, x.double()) and torch.equal(none, torch.zeros(4, dtype=F64))


# Order --------------------------------------------------------------------------------------------------------


def test_observed_order_is_the_slope_of_a_power_law():
    sizes = torch.tensor([0.5, 0.2, 0.05])
    for order in (-1.0, 0.0, 1.0, 2.5):
        got = observed_order(3 * sizes**order, sizes)
        assert isinstance(got, float) and abs(got - order) < 1e-5
    assert abs(observed_order([1e-3, 2.5e-4], [0.2, 0.1]) - 2) < 1e-12


def test_observed_order_is_the_least_squares_slope():
    sizes, errors = 0.5 ** np.arange(6), np.exp(np.random.default_rng(0).normal(size=6))
    want = np.polyfit(np.log(sizes), np.log(errors), 1)[0]
    assert abs(observed_order(errors, sizes) - want) < 1e-10
    assert abs(observed_order(errors.tolist(), torch.from_numpy(sizes)) - want) < 1e-10


@pytest.mark.parametrize(
    ("errors", "sizes", "message"),
    [
        ([1.0, 0.0], [0.1, 0.2], "errors contains 0"),
        ([1.0, 2.0], [0.1, -0.2], "step_sizes contains -0.2"),
        ([1.0, float("nan")], [0.1, 0.2], "errors contains nan"),
        ([1.0], [0.1], "at least 2"),
        ([1.0, 2.0], [0.1, 0.2, 0.3], "expected the same length"),
        ([1.0, 2.0], [0.1, 0.1], "step_sizes are all 0.1"),
    ],
)
def test_observed_order_names_bad_input(errors, sizes, message):
    with pytest.raises(ValueError, match=message):
        observed_order(errors, sizes)
