"""Adapters: nothing when new, a gradient all the same, and the sums that define them when filled at random."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from noise2data.networks.adapters import ControlNet, LoRALinear, ZeroConv2d, lora_, prior_preservation_loss
from noise2data.networks.dit import DiT
from noise2data.networks.unet import UNet

F64 = torch.float64


def randn(*shape, seed=0, dtype=F64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def filled(module, seed=0, std=0.3):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0.0, std, generator=generator)
    return module


def state(module):
    return copy.deepcopy(module.state_dict())


def descend(module, rate):
    """One step of gradient descent on what trains."""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.grad is not None:
                parameter -= rate * parameter.grad
                parameter.grad = None


def same_state(module, before):
    return all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


# LoRA ---------------------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(
    n_in=st.integers(1, 6),
    n_out=st.integers(1, 6),
    rank=st.integers(1, 4),
    bias=st.booleans(),
    dtype=st.sampled_from([torch.float32, F64, torch.bfloat16]),
)
def test_a_new_lora_is_its_layer_and_trains_few_numbers(n_in, n_out, rank, bias, dtype):
    base = nn.Linear(n_in, n_out, bias=bias).to(dtype)
    x, before = randn(5, n_in).to(dtype), state(base)
    want = base(x)
    layer = LoRALinear(base, rank, alpha=7.0)
    assert torch.equal(layer(x), want) and layer(x).dtype == dtype
    assert same_state(base, before) and not any(p.requires_grad for p in base.parameters())
    assert sum(p.numel() for p in layer.parameters() if p.requires_grad) == rank * (n_in + n_out)


def test_a_new_lora_learns_at_its_zero_factor():
    layer, x = LoRALinear(nn.Linear(6, 4), 2, 1.0), randn(5, 6, dtype=torch.float32)
    layer(x).square().sum().backward()
    assert layer.B.grad.abs().max() > 0 and torch.equal(layer.A.grad, torch.zeros_like(layer.A))
    assert layer.linear.weight.grad is None


def test_lora_is_the_sum_of_two_layers():
    """W x + b + alpha / rank B A x; twice the alpha, or half the rank, is twice the change."""
    base = filled(nn.Linear(6, 4).double())
    layer, x = filled(LoRALinear(base, 2, 3.0), seed=1), randn(5, 7, 6)
    change = 1.5 * x @ layer.A.T @ layer.B.T
    torch.testing.assert_close(layer(x), x @ base.weight.T + base.bias + change)
    for rank, alpha, factor in ((2, 6.0, 2.0), (1, 3.0, 2.0), (4, 3.0, 0.5)):
        other = LoRALinear(base, rank, alpha)
        other.A, other.B = layer.A, layer.B
        torch.testing.assert_close(other(x) - base(x), factor * change)


@pytest.mark.parametrize("bias", [True, False])
def test_merging_gives_one_plain_layer(bias):
    base = nn.Linear(6, 4, bias=bias).double()
    layer, x = filled(LoRALinear(base, 2, 3.0)), randn(5, 6)
    before = state(layer)
    merged = layer.merge()
    assert type(merged) is nn.Linear and (merged.bias is not None) == bias
    torch.testing.assert_close(merged(x), layer(x))
    assert torch.linalg.matrix_rank(merged.weight - base.weight) == 2
    assert same_state(layer, before) and not base.weight.requires_grad
    assert all(p.requires_grad for p in merged.parameters())
    filled(merged, seed=5)
    assert same_state(layer, before)  # nothing is shared


def test_merging_rounds_once():
    """In bfloat16 the merged weight is the exact sum, rounded: not a sum of rounded products."""
    layer = filled(LoRALinear(nn.Linear(64, 32).bfloat16(), 8, 3.0))
    exact = layer.linear.weight.double() + 3 / 8 * layer.B.double() @ layer.A.double()
    assert torch.equal(layer.merge().weight, exact.bfloat16())


def test_bad_loras_are_named():
    with pytest.raises(ValueError, match="rank is 0; expected at least 1"):
        LoRALinear(nn.Linear(3, 3), 0, 1.0)
    with pytest.raises(ValueError, match=r"linear is a Conv2d; expected an nn.Linear"):
        LoRALinear(nn.Conv2d(3, 3, 1), 1, 1.0)


def test_lora_puts_itself_where_it_is_told():
    net = filled(DiT(1, 4, dim=8, depth=2, heads=2))
    x, c = randn(2, 1, 4, 4, dtype=torch.float32), torch.tensor([0.2, 0.7])
    want, before = net(x, c), state(net)
    assert lora_(net, 2, 4.0, lambda name: "attention" in name) is net
    names = [name for name, module in net.named_modules() if isinstance(module, LoRALinear)]
    assert names == [f"blocks.{i}.attention.{layer}" for i in (0, 1) for layer in ("query_key_value", "out")]
    torch.testing.assert_close(net(x, c), want, rtol=0, atol=0)
    trainable = {name for name, p in net.named_parameters() if p.requires_grad}
    assert trainable == {f"{name}.{factor}" for name in names for factor in "AB"}
    net(x, c).square().sum().backward()
    descend(net, 0.1)
    assert (net(x, c) - want).abs().max() > 0
    after = {name.replace(".linear.", "."): value for name, value in net.state_dict().items()}
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_lora_everywhere_keeps_what_is_shared_shared():
    layer = nn.Linear(4, 4)
    model = nn.Sequential(layer, nn.SiLU(), layer, nn.Linear(4, 2))
    lora_(model, 1, 1.0)
    assert model[0] is model[2] and isinstance(model[0], LoRALinear) and isinstance(model[3], LoRALinear)
    assert isinstance(model[1], nn.SiLU)


def test_attention_of_pytorch_keeps_working():
    """Its output layer is a subclass of nn.Linear whose weight it reads itself; it is left alone."""
    model = nn.ModuleDict({"attention": nn.MultiheadAttention(4, 2, batch_first=True), "head": nn.Linear(4, 4)})
    lora_(model, 1, 1.0)
    x = randn(1, 3, 4, dtype=torch.float32)
    assert model["head"](model["attention"](x, x, x)[0]).shape == x.shape


def test_lora_that_finds_no_layer_says_so():
    model = nn.Sequential(nn.Linear(3, 3))
    for bad, where in ((model, lambda name: name == "1"), (nn.Sequential(nn.SiLU()), lambda name: True)):
        with pytest.raises(ValueError, match="where chooses no linear layer of model"):
            lora_(bad, 1, 1.0, where)
    assert all(p.requires_grad for p in model.parameters())
    with pytest.raises(ValueError, match="model contains LoRALinear layers"):
        lora_(lora_(model, 1, 1.0), 1, 1.0)


# Zero convolutions --------------------------------------------------------------------------------------------------


def test_a_zero_convolution_is_nothing_that_learns():
    layer, x = ZeroConv2d(3), randn(2, 3, 4, 5, dtype=torch.float32)
    assert torch.equal(layer(x), torch.zeros_like(x))
    assert {tuple(p.shape) for p in layer.parameters()} == {(3, 3, 1, 1), (3,)}
    (layer(x) - x).square().sum().backward()
    assert layer.weight.grad.abs().max() > 0 and layer.bias.grad.abs().max() > 0


def test_a_zero_convolution_mixes_channels_of_one_pixel():
    layer, x = filled(ZeroConv2d(3).double()), randn(2, 3, 4, 5)
    want = torch.einsum("oc,bchw->bohw", layer.weight[:, :, 0, 0], x) + layer.bias[:, None, None]
    torch.testing.assert_close(layer(x), want)
    layer.reset_parameters()
    assert torch.equal(layer(x), torch.zeros_like(x))


# ControlNet ---------------------------------------------------------------------------------------------------------


class TinyUNet(nn.Module):
    """A U-Net of two levels and a middle, with the interface that ControlNet takes."""

    def __init__(self):
        super().__init__()
        self.in_ch, self.channels = 2, [4, 6, 6]
        self.down = nn.ModuleList([nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 6, 2, stride=2), nn.Conv2d(6, 6, 1)])
        self.up = nn.ModuleList([nn.Conv2d(4, 2, 3, padding=1), nn.Conv2d(6, 4, 1), nn.Conv2d(6, 6, 1)])
        self.time, self.label = nn.Linear(1, 4), nn.Embedding(3, 4)

    def encode(self, x, t, y=None):
        emb = self.time(t.to(x.dtype)[:, None]) + (0 if y is None else self.label(y))
        hs = [torch.tanh(self.down[0](x) + emb[:, :, None, None])]
        for layer in self.down[1:]:
            hs.append(torch.tanh(layer(hs[-1])))
        return hs

    def decode(self, hs, t, y=None):
        h = self.up[2](hs[2]) + hs[1]
        h = self.up[1](F.interpolate(h, scale_factor=2)) + hs[0] * t[:, None, None, None]
        return self.up[0](h)

    def forward(self, x, t, y=None):
        return self.decode(self.encode(x, t, y), t, y)


def control(seed=0):
    unet = filled(TinyUNet().double(), seed)
    return unet, ControlNet(unet)


def inputs(b=3):
    return randn(b, 2, 4, 6), torch.linspace(0.2, 0.9, b, dtype=F64), randn(b, 2, 4, 6, seed=1), torch.arange(b) % 3


def test_a_new_controlnet_is_the_unet_whatever_the_picture():
    unet, net = control()
    x, t, cond, y = inputs()
    for picture in (cond, 100 * cond, 0 * cond):
        assert torch.equal(net(x, t, picture), unet(x, t))
        assert torch.equal(net(x, t, picture, y), unet(x, t, y))


def test_a_new_controlnet_learns_at_its_zeros_and_the_unet_never():
    unet, net = control()
    x, t, cond, y = inputs()
    before = state(unet)
    assert not any(p.requires_grad for p in unet.parameters())
    assert all(torch.equal(a, b) for a, b in zip(net.copy.parameters(), unet.parameters(), strict=True))
    start = state(net.copy)
    for step in range(3):
        (net(x, t, cond, y) - x).square().mean().backward()
        assert all(zero.weight.grad.abs().max() > 0 for zero in net.zeros)
        if step == 1:  # the outer zeros have moved; now the copy and the picture are heard
            assert net.zero_in.weight.grad.abs().max() > 0
            assert all(layer.weight.grad.abs().max() > 0 for layer in net.copy.down)
        descend(net, 0.01)
    assert same_state(unet, before) and not same_state(net.copy, start)
    assert (net(x, t, cond, y) - net(x, t, -cond, y)).abs().max() > 0


def test_controlnet_is_equation_1():
    unet, net = control()
    filled(net.zero_in, 1), filled(net.zeros, 2), filled(net.copy, 3)
    x, t, cond, y = inputs()
    seen = x + torch.einsum("oc,bchw->bohw", net.zero_in.weight[:, :, 0, 0], cond) + net.zero_in.bias[:, None, None]
    twin = filled(TinyUNet().double(), 3)
    hs = [h + zero(e) for h, e, zero in zip(unet.encode(x, t, y), twin.encode(seen, t, y), net.zeros, strict=True)]
    torch.testing.assert_close(net(x, t, cond, y), unet.decode(hs, t, y))
    one = [net(*(v[i : i + 1] for v in (x, t, cond, y))) for i in range(3)]
    torch.testing.assert_close(torch.cat(one), net(x, t, cond, y))  # no mixing across the batch


def test_a_controlnet_of_the_packages_unet_copies_its_encoder_only():
    """Every number that trains has a gradient, once the zeros have moved; a new one is the UNet."""
    unet = filled(UNet(2, 8, (1, 2), num_classes=3, stem=2), std=0.1)
    net = ControlNet(unet)
    x, t, cond, y = inputs()
    x, t, cond = F.pad(x, (0, 2)).float(), t.float(), F.pad(cond, (0, 2)).float()
    assert torch.equal(net(x, t, cond, y), unet(x, t, y))
    trains = {name for name, p in net.named_parameters() if p.requires_grad}
    assert {name.split(".")[0] for name in trains} == {"copy", "zero_in", "zeros"}
    filled(net.zero_in, 1), filled(net.zeros, 2)
    net(x, t, cond, y).square().mean().backward()
    assert {name for name, p in net.named_parameters() if p.grad is not None and p.grad.any()} == trains


def test_a_bound_controlnet_is_a_network():
    """net(x, c) and net(x, c, y), also for the doubled batch of guidance."""
    _, net = control()
    filled(net, 4)
    x, t, cond, y = inputs()
    bound = net.bind(cond)
    torch.testing.assert_close(bound(x, t), net(x, t, cond))
    torch.testing.assert_close(bound(x, t, y), net(x, t, cond, y))
    twice = bound(torch.cat([x, -x]), torch.cat([t, t]), torch.cat([y, y]))
    torch.testing.assert_close(twice, torch.cat([net(x, t, cond, y), net(-x, t, cond, y)]))
    with pytest.raises(ValueError, match="cond has shape"):
        bound(x[:2], t[:2])


def test_bad_pictures_are_named():
    _, net = control()
    x, t, cond, _ = inputs()
    for bad in (cond[:, :1], cond[:1], cond[..., :4]):
        with pytest.raises(ValueError, match=r"cond has shape .*expected x's, \(3, 2, 4, 6\)"):
            net(x, t, bad)


# Prior preservation -------------------------------------------------------------------------------------------------


def test_prior_preservation_is_a_weighted_sum_with_gradients_to_both():
    instance, prior = torch.tensor(2.0, requires_grad=True), torch.tensor(3.0, requires_grad=True)
    loss = prior_preservation_loss(instance, prior, 0.5)
    assert loss.shape == () and loss.item() == 3.5
    loss.backward()
    assert instance.grad == 1 and prior.grad == 0.5
    assert prior_preservation_loss(instance, prior, 0.0).item() == 2


def test_losses_of_a_batch_are_refused():
    with pytest.raises(ValueError, match=r"loss_prior has shape \(2,\); expected a 0-d tensor"):
        prior_preservation_loss(torch.tensor(1.0), torch.zeros(2), 1.0)
    with pytest.raises(ValueError, match="loss_instance has shape"):
        prior_preservation_loss(torch.zeros(1), torch.tensor(1.0), 1.0)
