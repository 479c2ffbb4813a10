"""Distillation against the exact flow of a Gaussian and the samplers' own steps."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from noise2data import objectives, samplers
from noise2data.denoiser import Denoiser
from noise2data.distillation import (
    consistency_distillation_loss,
    consistency_training_loss,
    ict_discretization,
    progressive_distillation_loss,
    progressive_target,
    pseudo_huber,
    squared_error,
)
from noise2data.mixtures import GaussianMixture
from noise2data.paths import VE, Linear, VPCosine, per_sample
from tests.noise2data.every_path import PATHS, each_path, randn

F64 = torch.float64
S = 0.6  # the data of most tests: N(0, S^2 I) in the plane
MIXTURE = GaussianMixture([[0.0, 0.0]], [1.0], S)


class On:
    """A function of (x, t) as a model on a path; it remembers its calls."""

    def __init__(self, path, function):
        self.path, self.function, self.calls = path, function, []

    def __call__(self, x, t, y=None):
        self.calls.append((x, t, y))
        return self.function(x, t)


def exact_denoiser(path):
    return On(path, partial(MIXTURE.denoise, path=path))


def flow_map(path):
    """Where the probability flow of N(0, S^2 I) from (x, t) ends: x / std(x_t) is constant along it."""

    def end(x, t):
        t = torch.as_tensor(t, dtype=F64)
        return per_sample(S / torch.hypot(S * path.alpha(t), path.sigma(t)), x) * x

    return On(path, end)


class Net(torch.nn.Module):
    def __init__(self, seed=0):
        super().__init__()
        self.first, self.last = torch.nn.Linear(3, 4), torch.nn.Linear(4, 2)
        self.double()
        with torch.no_grad():
            for i, parameter in enumerate(self.parameters()):
                parameter.copy_(randn(*parameter.shape, seed=seed + i) / 2)

    def forward(self, x, c, y=None):
        out = self.last(torch.tanh(self.first(torch.cat([x, c[:, None]], 1))))
        return out if y is None else out * (1 + y[:, None])


def times(B, *ends):
    """(B,) times around each of the given ones."""
    return [t + torch.linspace(-0.04, 0.04, B, dtype=F64) for t in ends]


# Two steps as one -----------------------------------------------------------------------------------------------


@each_path
@pytest.mark.parametrize("B", [2, 5])  # B = d too
def test_one_step_with_the_target_ends_where_the_teachers_two_end(path, B):
    mixture = GaussianMixture([[1.0, 0.0], [-1.0, 0.5]], [0.4, 0.6], 0.3)
    teacher, x, (t, s, u) = partial(mixture.denoise, path=path), randn(B, 2), times(B, 0.8, 0.5, 0.2)
    target = progressive_target(teacher, path, x, t, s, u)
    two = samplers.ddim(teacher, path, samplers.ddim(teacher, path, x, t, s), s, u)
    one = samplers.ddim(lambda x, t: target, path, x, t, u)
    torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-10)


def test_on_the_straight_path_the_target_is_the_average_velocity():
    path, net, x, (t, s, u) = Linear(), Net(), randn(4, 2), times(4, 0.8, 0.5, 0.2)
    teacher = Denoiser(net, path, "velocity")
    t[0], u[-1] = 1.0, 0.0  # both ends of time
    target = progressive_target(teacher, path, x, t, s, u)
    x_s = x + (s - t)[:, None] * net(x, t)
    x_u = x_s + (u - s)[:, None] * net(x_s, s)
    average = (x_u - x) / (u - t)[:, None]
    torch.testing.assert_close(path.convert(target, x, t, "x0", "velocity"), average, rtol=1e-10, atol=1e-10)
    assert not target.requires_grad


def test_progressive_loss_is_the_denoising_loss_with_the_teachers_target():
    path, x0, eps, y = VPCosine(), randn(4, 2), randn(4, 2, seed=1), torch.arange(4)
    t, s, u = times(4, 0.8, 0.5, 0.2)
    teacher, student = Denoiser(Net(1), path, "v"), Denoiser(Net(), path, "v")
    x = path.mix(x0, eps, t)
    target = progressive_target(lambda x, t: teacher(x, t, y), path, x, t, s, u)
    for weight in (objectives.truncated_snr_weight, objectives.v_weight):
        loss = progressive_distillation_loss(student, x0, t, eps, y, teacher=teacher, s=s, u=u, weight=weight)
        want = (weight(path, t)[:, None] * (student(x, t, y) - target) ** 2).mean()
        torch.testing.assert_close(loss, want, rtol=1e-12, atol=0)
    loss.backward()
    assert all(p.grad.abs().sum() > 0 for p in student.parameters())
    assert all(p.grad is None for p in teacher.parameters())


# Consistency ------------------------------------------------------------------------------------------------------


@each_path
def test_the_flow_map_is_what_consistency_distillation_is_after(path):
    """With the exact teacher and the exact map for student and target, what remains is the error of one DDIM step: of
    order h^2, and the loss of order h^4."""
    f, x0, eps = flow_map(path), S * randn(6, 2), randn(6, 2, seed=1)
    t = 0.52 if path is PATHS["discrete"] else 0.6  # within one interval of the discrete schedule
    losses = [
        consistency_distillation_loss(f, x0, t, eps, f_ema=f, teacher=exact_denoiser(path), s=t - h).item()
        for h in (0.01, 0.005)
    ]
    assert losses[0] < 1e-5 and 14 < losses[0] / losses[1] < 18
    worse = On(path, lambda x, t: 1.05 * f.function(x, t) if t == 0.6 or t == 0.52 else f.function(x, t))
    assert consistency_distillation_loss(worse, x0, t, eps, f_ema=f, teacher=exact_denoiser(path), s=t - 0.01) > 1e-4


def test_consistency_distillation_is_the_labs_formula_on_edms_path():
    """x_hi = x0 + sigma_hi eps, one Euler step of dx/dsigma = (x - D) / sigma, and the mean squared error."""
    path, x0, eps = VE(), randn(5, 2), randn(5, 2, seed=1)
    hi, lo = torch.tensor([0.5, 1, 3, 10, 50], dtype=F64), torch.tensor([0.3, 0.5, 2, 5, 10], dtype=F64)
    t, s = (path.inverse_log_snr(-2 * sigma.log()) for sigma in (hi, lo))
    f, f_ema, teacher = (Denoiser(Net(i), path, "consistency") for i in range(3))
    x = x0 + hi[:, None] * eps
    x_lo = x + (lo - hi)[:, None] * (x - teacher(x, t)) / hi[:, None]
    want = (f(x, t) - f_ema(x_lo, s)).square().mean()
    loss = consistency_distillation_loss(f, x0, t, eps, f_ema=f_ema, teacher=teacher, s=s)
    torch.testing.assert_close(loss, want, rtol=1e-9, atol=0)
    loss.backward()
    assert all(p.grad.abs().sum() > 0 for p in f.parameters())
    assert all(p.grad is None for m in (f_ema, teacher) for p in m.parameters())


@each_path
def test_consistency_training_compares_two_mixtures_of_the_same_noise(path):
    """iCT's loss by hand: f against itself at a neighbouring level, pseudo-Huber, weight 1 / (sigma_t - sigma_s)."""
    f, x0, eps, y = Denoiser(Net(), path, "consistency"), randn(5, 2), randn(5, 2, seed=1), torch.arange(5)
    t, s = times(5, 0.6, 0.5)
    distance = partial(pseudo_huber, c=0.03)
    level_t, level_s = (path.sigma(a) / path.alpha(a) for a in (t, s))
    weight = 1 / (level_t - level_s)
    loss = consistency_training_loss(f, x0, t, eps, y, f_ema=f, s=s, distance=distance, weight=weight)
    each = distance(f(path.mix(x0, eps, t), t, y), f(path.mix(x0, eps, s), s, y).detach())
    torch.testing.assert_close(loss, (weight * each).mean(), rtol=1e-9, atol=0)


def test_training_and_distillation_agree_as_the_levels_close_in():
    """Theorem 2 of the paper, on a Gaussian: x0 instead of E[x0 | x_t] adds a noise of mean zero, so that the expected
    gradients agree ever better, relative to their size. Expectations are Gauss-Hermite sums in one dimension."""
    import numpy as np

    path, data = VE(0.01, 20.0), GaussianMixture([[0.0]], [1.0], S)
    z, p = np.polynomial.hermite_e.hermegauss(30)
    i, j = (a.flatten() for a in torch.meshgrid(torch.arange(30), torch.arange(30), indexing="ij"))
    z, p = torch.from_numpy(z), torch.from_numpy(p / p.sum())
    x0, eps, weight = S * z[i][:, None], z[j][:, None], p[i] * p[j] * len(i)
    parameter = torch.tensor(0.3, dtype=F64, requires_grad=True)
    f = On(path, lambda x, t: x / (1 + path.sigma(torch.as_tensor(t)) ** 2) ** parameter + parameter * torch.tanh(x))
    teacher = On(path, partial(data.denoise, path=path))
    gaps = []
    for h in (0.02, 0.01):
        common = {"f_ema": f, "s": 0.6 - h, "weight": weight / h}
        losses = (
            consistency_training_loss(f, x0, 0.6, eps, **common),
            consistency_distillation_loss(f, x0, 0.6, eps, teacher=teacher, **common),
        )
        training, distillation = (torch.autograd.grad(loss, parameter)[0].item() for loss in losses)
        gaps.append(abs(training - distillation) / abs(distillation))
    assert gaps[0] < 0.1 and 1.8 < gaps[0] / gaps[1] < 2.2


@pytest.mark.parametrize("loss", ["distillation", "training", "progressive"])
def test_gradients_are_finite_differences(loss):
    path, x0, eps = VPCosine(), randn(3, 2), randn(3, 2, seed=1)
    t, s, u = times(3, 0.8, 0.5, 0.2)
    net, other = Net(), Denoiser(Net(1), path, "v")
    names, values = zip(*net.named_parameters(), strict=True)
    values = tuple(v.detach().clone().requires_grad_() for v in values)

    def of(*values):
        call = lambda x, c: torch.func.functional_call(net, dict(zip(names, values, strict=True)), (x, c))  # noqa: E731
        if loss == "progressive":
            return progressive_distillation_loss(Denoiser(call, path, "v"), x0, t, eps, teacher=other, s=s, u=u)
        f, huber = Denoiser(call, path, "consistency"), partial(pseudo_huber, c=0.1)
        if loss == "training":
            return consistency_training_loss(f, x0, t, eps, f_ema=other, s=s, distance=huber)
        return consistency_distillation_loss(f, x0, t, eps, f_ema=other, teacher=other, s=s)

    assert torch.autograd.gradcheck(of, values, eps=1e-6, atol=1e-6, rtol=1e-5)


def test_labels_reach_student_target_and_teacher():
    f, y = flow_map(Linear()), torch.tensor([3, 1])
    f_ema, teacher = flow_map(Linear()), exact_denoiser(Linear())
    consistency_distillation_loss(f, randn(2, 2), 0.5, randn(2, 2), y, f_ema=f_ema, teacher=teacher, s=0.4)
    assert all(len(m.calls) == 1 and m.calls[0][2] is y for m in (f, f_ema, teacher))


# Distances and how many levels -------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(c=st.floats(1e-4, 10), shape=st.sampled_from([(2, 2), (3, 1, 4, 4), (1, 5)]), scale=st.floats(1e-3, 1e3))
def test_pseudo_huber_by_its_formula(c, shape, scale):
    a, b = scale * randn(*shape), scale * randn(*shape, seed=1)
    got, square = pseudo_huber(a, b, c), (a - b).flatten(1).norm(dim=1) ** 2
    assert got.shape == shape[:1]
    torch.testing.assert_close(got, torch.sqrt(square + c**2) - c, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(squared_error(a, b), square / math.prod(shape[1:]))


def test_pseudo_huber_near_zero_keeps_its_digits_and_its_gradient():
    a = torch.full((1, 4), 1e-5, requires_grad=True)  # float32: the formula as written would give 0
    got = pseudo_huber(a, torch.zeros(1, 4), 1.0)
    torch.testing.assert_close(got, torch.tensor([2e-10]), rtol=1e-5, atol=0)
    zero = torch.zeros(1, 4, requires_grad=True)
    pseudo_huber(zero, torch.zeros(1, 4), 1.0).sum().backward()
    assert torch.equal(zero.grad, torch.zeros(1, 4))


def test_levels_double_from_first_to_last():
    """The paper's s0 = 10, s1 = 1280: seven doublings, eight spans."""
    K = 800
    counts = [ict_discretization(k, K, 10, 1280) for k in range(K)]
    assert all(isinstance(n, int) for n in counts)
    assert [counts[100 * i] for i in range(8)] == [10 * 2**i + 1 for i in range(8)]
    assert [counts[100 * i + 99] for i in range(8)] == [10 * 2**i + 1 for i in range(8)]
    assert ict_discretization(802, 803, 10, 1280) == 1281  # the rest of an uneven division stays at s1
    assert {ict_discretization(k, 7, 5, 5) for k in range(7)} == {6}


# Bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda f, x: progressive_target(f, Linear(), x, 0.5, 0.5, 0.2),
            "t, s, u are 0.5, 0.5, 0.2; expected t > s > u",
        ),
        (
            lambda f, x: consistency_training_loss(f, x, 0.5, x, f_ema=f, s=0.6),
            "s is 0.6 and t is 0.5; expected s < t",
        ),
        (
            lambda f, x: consistency_training_loss(f, x, 0.5, x, f_ema=f, s=0.4, weight=torch.ones(3)),
            "weight is tensor.*; expected a number or one for each of the 4 samples",
        ),
        (lambda f, x: pseudo_huber(x, x[:2], 1.0), r"a has shape \(4, 2\); expected b's, \(2, 2\)"),
        (lambda f, x: pseudo_huber(x, x, 0.0), "c is 0.0; expected a number > 0"),
        (lambda f, x: ict_discretization(5, 5, 1, 2), r"k is 5; expected a step in 0..4"),
        (lambda f, x: ict_discretization(0, 5, 4, 2), "s0, s1 are 4, 2; expected 1 <= s0 <= s1"),
        (lambda f, x: ict_discretization(0, 2, 1, 8), "K is 2; expected at least a step for each"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(flow_map(Linear()), randn(4, 2))
