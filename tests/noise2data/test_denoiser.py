"""Denoisers of networks whose answers are known."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from noise2data.denoiser import (
    CONVERTED,
    PRECONDITIONED,
    Denoiser,
    consistency_coefficients,
    edm_precondition,
    in_steps,
)
from noise2data.mixtures import eight_gaussians
from noise2data.paths import EDM, VE, Discrete, Linear, VPCosine, VPLinear
from noise2data.schedules import linear_alpha_bar, rescale_zero_terminal_snr

F64 = torch.float64
MIXTURE = eight_gaussians()
PATHS = {
    "vp_linear": VPLinear(),
    "vp_cosine": VPCosine(),
    "ve": VE(),
    "edm": EDM(),
    "linear": Linear(),
    "discrete": Discrete(linear_alpha_bar(100, 1e-3, 0.2)),
    "zero_snr": Discrete(rescale_zero_terminal_snr(linear_alpha_bar(100, 1e-3, 0.2))),
}
each_path = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())


def randn(*shape, seed=0, dtype=F64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def constant(value):
    return lambda x, c, *y: torch.full_like(x, value)


@each_path
@pytest.mark.parametrize("predicts", CONVERTED)
def test_a_perfect_network_gives_the_exact_denoiser_whatever_it_predicts(path, predicts):
    x, t = randn(2, 2), torch.tensor([0.15, 0.85], dtype=F64)

    def net(x, c):
        assert c.shape == (2,) and c.dtype == x.dtype
        return path.convert(MIXTURE.denoise(x, c, path), x, c, "x0", predicts)

    for time in (t, 0.3, torch.tensor(0.7, dtype=F64)):
        got = Denoiser(net, path, predicts)(x, time)
        torch.testing.assert_close(got, MIXTURE.denoise(x, time, path), rtol=1e-8, atol=1e-8)


@each_path
@pytest.mark.parametrize("sigma_data", [0.5, 1.3])
def test_edm_is_the_papers_preconditioning_of_x_over_alpha(path, sigma_data):
    """Table 1 of Karras et al., at y = x / alpha and the noise level sigma / alpha, B == d."""
    x, t, seen = randn(3, 3), torch.tensor([0.2, 0.5, 0.9], dtype=F64), []

    def net(x, c):
        seen.append((x, c))
        return x.sin() + c[:, None]

    got = Denoiser(net, path, "edm", sigma_data=sigma_data)(x, t)
    for i in range(3):
        sigma, y = path.sigma(t[i]) / path.alpha(t[i]), x[i] / path.alpha(t[i])
        total = sigma**2 + sigma_data**2
        noise, scaled = sigma.log() / 4, y / total.sqrt()
        torch.testing.assert_close(seen[0][0][i], scaled)
        torch.testing.assert_close(seen[0][1][i], noise)
        want = sigma_data**2 / total * y + sigma * sigma_data / total.sqrt() * (scaled.sin() + noise)
        torch.testing.assert_close(got[i], want)


@each_path
def test_the_preconditioned_network_sees_and_must_learn_unit_variance(path):
    """For data N(0, sigma_data^2): the network's input has variance 1, and so has the target that gives x0 back."""
    sigma_data, seen = 0.7, []
    for t in (0.05, 0.5, 0.95):
        alpha, sigma = path.alpha(t), path.sigma(t)
        x0, eps = torch.tensor([[sigma_data], [0.0]], dtype=F64), torch.tensor([[0.0], [1.0]], dtype=F64)
        x = alpha * x0 + sigma * eps  # the two independent parts of x_t
        denoiser = Denoiser(lambda x, c: seen.append(x) or torch.zeros_like(x), path, "edm", sigma_data=sigma_data)
        skip = denoiser(x, t)
        torch.testing.assert_close(seen[-1].square().sum(), torch.tensor(1.0, dtype=F64))
        c_out = Denoiser(constant(1.0), path, "edm", sigma_data=sigma_data)(torch.zeros_like(x), t)
        target = (x0 - skip) / c_out
        torch.testing.assert_close(target.square().sum(), torch.tensor(1.0, dtype=F64), rtol=1e-6, atol=0)


def test_on_a_variance_preserving_path_with_unit_data_the_network_predicts_minus_v():
    path, x, answer = VPCosine(), randn(4, 2), randn(4, 2, seed=1)
    edm = Denoiser(lambda x, c: answer, path, "edm", sigma_data=1.0)
    v = Denoiser(lambda x, c: -answer, path, "v")
    torch.testing.assert_close(edm(x, 0.4), v(x, 0.4))


@each_path
@pytest.mark.parametrize("predicts", ["edm", "consistency", "v", "x0"])
def test_both_ends_of_time_are_finite(path, predicts):
    heard = []
    denoiser = Denoiser(lambda x, c: heard.append(c) or x.sin(), path, predicts)
    for t in (0.0, 1.0, torch.tensor([0.0, 1.0], dtype=F64)):
        assert denoiser(randn(2, 2), t).isfinite().all() and heard[-1].isfinite().all()


@each_path
def test_a_consistency_model_returns_x_at_the_start_of_time_whatever_the_network(path):
    x = randn(3, 2)
    torch.testing.assert_close(Denoiser(constant(100.0), path, "consistency")(x, 0.0), x, rtol=1e-12, atol=1e-12)
    inside = Denoiser(constant(1.0), path, "consistency")(x, 0.6)
    if not isinstance(path, VE):  # alone it has noise at t = 0
        torch.testing.assert_close(inside, Denoiser(constant(1.0), path, "edm")(x, 0.6))
        return
    c_skip, c_out = consistency_coefficients(path.sigma(0.6), 0.5, path.sigma_min)
    torch.testing.assert_close(inside, c_skip * x + c_out)


@given(sigma=st.floats(1e-3, 1e3), sigma_data=st.floats(0.1, 3.0))
def test_the_coefficients_are_those_of_the_papers(sigma, sigma_data):
    c_skip, c_out, c_in, c_noise = edm_precondition(sigma, sigma_data)
    total = sigma**2 + sigma_data**2
    assert c_skip.item() == pytest.approx(sigma_data**2 / total)
    assert c_out.item() == pytest.approx(sigma * sigma_data / math.sqrt(total))
    assert c_in.item() == pytest.approx(1 / math.sqrt(total))
    assert c_noise.item() == pytest.approx(math.log(sigma) / 4)
    c_skip, c_out = consistency_coefficients(sigma, sigma_data, 0.001)
    assert c_skip.item() == pytest.approx(sigma_data**2 / ((sigma - 0.001) ** 2 + sigma_data**2))
    assert c_out.item() == pytest.approx(sigma_data * (sigma - 0.001) / math.sqrt(total))


@settings(max_examples=40, deadline=None)
@given(
    path=st.sampled_from(list(PATHS.values())),
    predicts=st.sampled_from(CONVERTED + PRECONDITIONED),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, F64]),
    shape=st.sampled_from([(2, 2), (2, 1, 3, 3), (2, 0)]),
    answer=st.sampled_from([torch.float32, F64]),
)
def test_shape_and_dtype_are_those_of_x_whatever_the_network_answers_in(path, predicts, dtype, shape, answer):
    x = randn(*shape).to(dtype)
    copy = x.clone()
    for t in (0.5, torch.tensor([0.25, 0.5]), torch.tensor(0.5, dtype=F64)):
        got = Denoiser(lambda x, c: x.to(answer), path, predicts)(x, t)
        assert got.shape == shape and got.dtype == dtype
    assert torch.equal(x, copy)
    for sigma in (torch.tensor([0.5, 2.0], dtype=dtype), torch.tensor(1.0, dtype=dtype)):
        assert all(c.dtype == dtype and c.shape == sigma.shape for c in edm_precondition(sigma, 0.5))
        assert all(c.dtype == dtype and c.shape == sigma.shape for c in consistency_coefficients(sigma, 0.5, 0.002))


def test_labels_reach_the_network_only_if_there_are_any():
    calls = []

    def net(x, c, *y):
        calls.append(y)
        return x

    y = torch.tensor([3, 1])
    denoiser = Denoiser(net, Linear(), "v")
    denoiser(randn(2, 2), 0.5)
    denoiser(randn(2, 2), 0.5, y)
    assert calls[0] == () and calls[1][0] is y


def test_a_denoiser_is_a_module_with_its_networks_parameters_and_gradients():
    linear = nn.Linear(2, 2).double()

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = linear

        def forward(self, x, k):
            assert k.dtype == torch.int64
            return self.linear(x)

    denoiser = Denoiser(in_steps(Net(), 10), Linear(), "velocity")
    assert {id(p) for p in denoiser.parameters()} == {id(p) for p in linear.parameters()}
    assert denoiser.predicts == "velocity" and denoiser.path == Linear() and isinstance(denoiser.net, nn.Module)
    denoiser(randn(3, 2), 0.5).sum().backward()
    assert linear.weight.grad.abs().sum() > 0


def test_a_network_of_steps_hears_the_step():
    heard = []
    net = in_steps(lambda x, k, *y: heard.append((k, *y)) or x, 1000)
    denoiser, steps = Denoiser(net, VPLinear(), "x0"), torch.arange(1001)
    for dtype in (F64, torch.float32, torch.float16):
        denoiser(torch.zeros(1001, 2, dtype=dtype), steps.double() / 1000)
        assert torch.equal(heard[-1][0], steps)
    denoiser(randn(2, 2), 0.123456, torch.tensor([0, 1]))
    assert heard[-1][0].tolist() == [123, 123] and heard[-1][1].tolist() == [0, 1]


def test_a_denoiser_gives_the_same_numbers_under_vmap():
    path, x, t = VPCosine(), randn(3, 2), torch.tensor([0.2, 0.5, 0.8], dtype=F64)
    denoiser = Denoiser(lambda x, c: x.sin(), path, "eps")
    got = torch.func.vmap(lambda x, t: denoiser(x[None], t)[0])(x, t)
    torch.testing.assert_close(got, denoiser(x, t))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda x: Denoiser(None, Linear(), "noise"),
            "predicts is 'noise'; expected one of eps, x0, v, velocity, edm, c",
        ),
        (lambda x: Denoiser(None, Linear(), "edm", sigma_data=0.0), "sigma_data is 0.0; expected a number > 0"),
        (lambda x: edm_precondition(1.0, -1.0), "sigma_data is -1.0"),
        (lambda x: consistency_coefficients(1.0, math.inf, 0.0), "sigma_data is inf"),
        (lambda x: Denoiser(constant(0.0), Linear(), "v")(x, torch.ones(2)), r"t has shape \(2,\)"),
        (lambda x: Denoiser(constant(0.0), Linear(), "v")(x, 1.5), "t contains 1.5"),
        (
            lambda x: Denoiser(constant(0.0), Linear(), "eps")(x, 1.0),
            "t contains 1, where alpha is 0 and eps says nothing",
        ),
        (
            lambda x: Denoiser(lambda x, c: x[:1], Linear(), "v")(x, 0.5),
            r"net returned shape \(1, 2\); expected x's, \(3, 2\)",
        ),
        (lambda x: Denoiser(lambda x, c: x[:1], Linear(), "edm")(x, 0.5), r"net returned shape \(1, 2\)"),
        (
            lambda x: Denoiser(constant(0.0), VPLinear(), "velocity")(x, 0.0),
            "t contains 0, where .* is infinite",
        ),
        (lambda x: in_steps(None, 0), "T is 0; expected a whole number of steps >= 1"),
        (lambda x: Denoiser(in_steps(None, 1000), Linear(), "v")(x.bfloat16(), 0.5), "cannot tell 1000 steps apart"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(randn(3, 2))
