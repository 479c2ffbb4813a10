"""The network for points: shapes, gradients, what it may depend on, and that it learns."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from noise2data.denoiser import Denoiser
from noise2data.mixtures import GaussianMixture
from noise2data.networks.mlp import MLP
from noise2data.paths import VE

F64 = torch.float64


def randn(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def filled(net, seed=0):
    """The network with all parameters random, the zeros of a new one included."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(0, 0.3, generator=generator)
    return net


@settings(max_examples=30, deadline=None)
@given(
    batch=st.integers(1, 6),
    dim=st.integers(1, 6),
    depth=st.integers(1, 4),
    labels=st.booleans(),
    dtype=st.sampled_from([torch.float32, F64]),
)
def test_the_answer_is_like_x_for_any_shape_also_at_b_equal_d(batch, dim, depth, labels, dtype):
    net = filled(MLP(dim, width=16, depth=depth, num_classes=3 if labels else None)).to(dtype)
    x, c = randn(batch, dim, dtype=dtype), torch.rand(batch, dtype=dtype)
    y = torch.arange(batch) % 3 if labels else None
    out = net(x, c, y)
    assert out.shape == x.shape and out.dtype == dtype
    one_by_one = [net(x[i : i + 1], c[i : i + 1], None if y is None else y[i : i + 1]) for i in range(batch)]
    torch.testing.assert_close(out, torch.cat(one_by_one), rtol=1e-4, atol=1e-5)


def test_a_new_network_returns_zero():
    assert torch.equal(MLP(2)(randn(5, 2), torch.rand(5)), torch.zeros(5, 2))


def test_a_gradient_reaches_every_parameter_and_x_and_c():
    net = filled(MLP(2, width=16, depth=3, num_classes=4))
    x, c = randn(6, 2).requires_grad_(), torch.rand(6).requires_grad_()
    net(x, c, torch.arange(6) % 4).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
    assert x.grad.abs().max() > 0 and c.grad.abs().max() > 0


def test_time_and_label_are_heard_and_no_label_adds_none():
    net, x, c = filled(MLP(2, num_classes=3)), randn(4, 2), torch.rand(4)
    assert not torch.equal(net(x, c), net(x, c + 0.1))
    zero, one = torch.zeros(4, dtype=torch.int64), torch.ones(4, dtype=torch.int64)
    assert not torch.equal(net(x, c, zero), net(x, c, one))
    with torch.no_grad():
        net.embed_label.weight[0] = 0
    assert torch.equal(net(x, c, zero), net(x, c))


def test_steps_may_be_integers():
    net, x, k = filled(MLP(2, time_scale=1.0)), randn(4, 2), torch.tensor([0, 1, 500, 1000])
    assert torch.equal(net(x, k), net(x, k.float()))


def test_with_scale_two_and_two_numbers_it_hears_half_the_log_of_the_noise_level():
    """What a Denoiser of kind "edm" gives, ln(sigma) / 4, becomes the cosine and sine of ln(sigma) / 2."""
    net, heard = MLP(2, time_scale=2.0, time_dim=2), []
    net.first.register_forward_pre_hook(lambda module, inputs: heard.append(inputs[0]))
    path, x, t = VE(0.02, 20.0), randn(3, 2), torch.tensor([0.1, 0.5, 0.9])
    Denoiser(net, path, "edm")(x, t)
    half = path.sigma(t).log() / 2
    torch.testing.assert_close(heard[0][:, 2:], torch.stack([half.cos(), half.sin()], 1), rtol=0, atol=2e-6)


def test_it_learns_to_denoise_as_the_exact_mixture_does():
    torch.manual_seed(0)
    mixture, path = GaussianMixture([[1.5, 0.0], [-1.5, 0.0]], [0.5, 0.5], 0.1), VE(0.05, 5.0)
    denoiser = Denoiser(MLP(2, width=64, depth=3, time_scale=2.0, time_dim=2), path, "edm", sigma_data=1.06)
    optimizer = torch.optim.Adam(denoiser.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)

    def error(n):
        t = torch.rand(n, generator=generator)
        x = path.mix(mixture.sample(n, generator).float(), torch.randn(n, 2, generator=generator), t)
        return (denoiser(x, t) - mixture.denoise(x, t, path)).square().mean()

    new = error(2000).item()
    for _ in range(150):
        optimizer.zero_grad()
        error(256).backward()
        optimizer.step()
    assert error(2000).item() < 0.1 * new


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dim": 0}, "dim is 0; expected at least 1"),
        ({"dim": 2, "width": 0}, "width is 0"),
        ({"dim": 2, "depth": 0}, "depth is 0"),
        ({"dim": 2, "num_classes": 0}, "num_classes is 0"),
        ({"dim": 2, "time_dim": 3}, "time_dim is 3; expected an even number"),
    ],
)
def test_bad_sizes_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        MLP(**arguments)


@pytest.mark.parametrize(
    ("x", "c", "y", "message"),
    [
        (torch.zeros(2, 3), torch.zeros(2), None, r"x has shape \(2, 3\); expected \(B, 2\)"),
        (torch.zeros(2), torch.zeros(2), None, r"x has shape \(2,\)"),
        (torch.zeros(2, 2), torch.zeros(3), None, r"c has shape \(3,\); expected one number for each sample, \(2,\)"),
        (torch.zeros(2, 2), torch.tensor(0.0), None, r"c has shape \(\)"),
        (torch.zeros(2, 2), torch.zeros(2), torch.zeros(2, dtype=torch.int64), "y is given; expected None"),
    ],
)
def test_bad_input_is_named(x, c, y, message):
    with pytest.raises(ValueError, match=message):
        MLP(2)(x, c, y)
