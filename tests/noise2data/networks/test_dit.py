"""The transformer's parts against what defines them: index arithmetic, explicit softmaxes, symmetries."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from noise2data.denoiser import Denoiser
from noise2data.networks.dit import (
    AdaLNZeroBlock,
    CrossAttention,
    DiT,
    SelfAttention,
    attention,
    feed_forward,
    modulate,
    norm,
    patchify,
    unpatchify,
)
from noise2data.paths import Linear

F64 = torch.float64


def randn(*shape, seed=0, dtype=F64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def filled(module, seed=0, std=0.3):
    """The module in float64 with every parameter drawn at random: what starts at zero hides nothing any more."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0.0, std, generator=generator)
    return module


# Images and tokens --------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(b=st.integers(1, 3), ch=st.integers(1, 4), p=st.integers(1, 4), h=st.integers(1, 4), w=st.integers(1, 4))
def test_every_pixel_lands_in_its_place(b, ch, p, h, w):
    """Row by row, and inside a token (row, column, channel); every pixel is a different number."""
    x = torch.arange(b * ch * h * p * w * p, dtype=torch.float32).reshape(b, ch, h * p, w * p)
    n, c, i, j = torch.meshgrid(*(torch.arange(size) for size in x.shape), indexing="ij")
    want = torch.empty(b, h * w, p * p * ch)
    want[n, (i // p) * w + j // p, ((i % p) * p + j % p) * ch + c] = x
    tokens = patchify(x, p)
    assert torch.equal(tokens, want)
    assert torch.equal(unpatchify(tokens, p, h, w), x)


def test_a_linear_layer_on_patches_is_a_strided_convolution():
    x, p = randn(2, 3, 6, 9), 3
    conv = nn.Conv2d(3, 5, p, stride=p).double()
    weight = conv.weight.permute(0, 2, 3, 1).flatten(1)  # channel fastest
    tokens = nn.functional.linear(patchify(x, p), weight, conv.bias)
    torch.testing.assert_close(tokens, conv(x).flatten(2).transpose(1, 2))


def test_bad_patches_are_named():
    for x, p in ((randn(2, 3, 6, 8), 4), (randn(2, 3, 8, 6), 4), (randn(3, 6, 8), 2), (randn(2, 3, 6, 8), 0)):
        with pytest.raises(ValueError, match=f"x has shape .*expected .* divisible by p = {p}"):
            patchify(x, p)
    for tokens, h, w in ((randn(2, 6, 12), 2, 2), (randn(2, 6, 10), 2, 3), (randn(6, 12), 2, 3)):
        with pytest.raises(ValueError, match=f"tokens has shape .*with p = 2, h = {h}, w = {w}"):
            unpatchify(tokens, 2, h, w)


# Layers -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2, 3, 4), (3, 3, 3), (1, 1, 5)])
def test_modulation_belongs_to_the_sample_and_the_feature(shape):
    """Also where batch, tokens and features are equally many."""
    x, shift, scale = randn(*shape), randn(shape[0], shape[2], seed=1), randn(shape[0], shape[2], seed=2)
    got = modulate(x, shift, scale)
    for b in range(shape[0]):
        for n in range(shape[1]):
            torch.testing.assert_close(got[b, n], x[b, n] * (1 + scale[b]) + shift[b])
    assert torch.equal(modulate(x, 0 * shift, 0 * scale), x)


def test_bad_modulations_are_named():
    x, good = randn(2, 3, 4), randn(2, 4)
    for bad in (randn(4), randn(2, 3), randn(2, 1, 4), randn(1, 4)):
        with pytest.raises(ValueError, match="shift has shape"):
            modulate(x, bad, good)
        with pytest.raises(ValueError, match="scale has shape"):
            modulate(x, good, bad)
    with pytest.raises(ValueError, match=r"shift has shape .*x of \(2, 4\)"):
        modulate(good, good, good)


def test_norm_gives_each_token_mean_zero_and_variance_one():
    got = norm(7 + 100 * randn(2, 3, 16))
    torch.testing.assert_close(got.mean(2), torch.zeros(2, 3, dtype=F64), rtol=0, atol=1e-12)
    torch.testing.assert_close(got.var(2, correction=0), torch.ones(2, 3, dtype=F64), rtol=1e-6, atol=0)


def softmax_attention(q, k, v, heads, mask=None):
    """One head, one sample and one question at a time."""
    out = torch.zeros_like(q)
    width = q.shape[2] // heads
    for b in range(len(q)):
        seen = torch.ones(k.shape[1], dtype=torch.bool) if mask is None else mask[b]
        for head in range(heads):
            s = slice(head * width, (head + 1) * width)
            for n in range(q.shape[1]):
                weight = torch.softmax(k[b, seen][:, s] @ q[b, n, s] / math.sqrt(width), 0)
                out[b, n, s] = weight @ v[b, seen][:, s]
    return out


@pytest.mark.parametrize("heads", [1, 2, 3])
def test_attention_is_a_softmax_in_each_head(heads):
    q, k, v = randn(3, 4, 6), randn(3, 5, 6, seed=1), randn(3, 5, 6, seed=2)
    mask = torch.tensor([[1, 1, 0, 1, 0], [0, 0, 1, 0, 0], [1, 1, 1, 1, 1]], dtype=torch.bool)
    torch.testing.assert_close(attention(q, k, v, heads), softmax_attention(q, k, v, heads))
    torch.testing.assert_close(attention(q, k, v, heads, mask), softmax_attention(q, k, v, heads, mask))
    torch.testing.assert_close(attention(q, k, v, heads, mask & False), attention(q, k, v, heads))


def test_heads_must_divide_the_width():
    for make in (
        lambda: SelfAttention(8, 3),
        lambda: CrossAttention(8, 5, 3),
        lambda: AdaLNZeroBlock(8, 3, 5),
        lambda: DiT(1, 8, dim=8, heads=3),
    ):
        with pytest.raises(ValueError, match="heads is 3; expected a divisor of dim = 8"):
            make()
    with pytest.raises(ValueError, match="heads is 0"):
        SelfAttention(8, 0)


# adaLN-Zero ---------------------------------------------------------------------------------------------------------


def test_a_new_block_is_the_identity():
    block, x, c = AdaLNZeroBlock(8, 2, 5), randn(3, 4, 8, dtype=torch.float32), randn(3, 5, dtype=torch.float32)
    assert torch.equal(block(x, c), x)


def test_a_new_block_learns_at_its_zero_layer_from_what_it_sees():
    """The gradient is there at once, and another input gives another one."""
    block, c, gradients = AdaLNZeroBlock(8, 2, 5).double(), randn(3, 5), []
    for seed in (0, 1):
        x = randn(3, 4, 8, seed=seed)
        gradients.append(torch.autograd.grad((block(x, c) * randn(3, 4, 8, seed=2)).sum(), block.modulation.weight)[0])
        gate_1, gate_2 = gradients[-1].chunk(6)[2], gradients[-1].chunk(6)[5]
        assert gate_1.abs().max() > 1e-3 and gate_2.abs().max() > 1e-3
    assert (gradients[0] - gradients[1]).abs().max() > 1e-3


def test_a_block_is_equation_1():
    """From the block's own weights, with the attention by hand and PyTorch's layer norm."""
    block, x, c = filled(AdaLNZeroBlock(8, 2, 5)), randn(3, 4, 8), randn(3, 5, seed=1)
    shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = (
        part[:, None] for part in block.modulation(c * torch.sigmoid(c)).chunk(6, 1)
    )
    ln = nn.LayerNorm(8, eps=1e-6, elementwise_affine=False)
    inside = ln(x) * (1 + scale_1) + shift_1
    q, k, v = block.attention.query_key_value(inside).chunk(3, 2)
    x1 = x + gate_1 * block.attention.out(softmax_attention(q, k, v, 2))
    want = x1 + gate_2 * block.feed_forward(ln(x1) * (1 + scale_2) + shift_2)
    torch.testing.assert_close(block(x, c), want)
    assert [tuple(p.shape) for p in feed_forward(8).parameters()] == [(32, 8), (32,), (8, 32), (8,)]


def test_a_constant_added_to_all_features_passes_through():
    """Layer norm without weights forgets it inside, the residual keeps it: block(x + a) = block(x) + a."""
    block, x, c = filled(AdaLNZeroBlock(8, 2, 5)), randn(3, 4, 8), randn(3, 5, seed=1)
    for a in (3.0, randn(3, 4, 1, seed=2)):
        torch.testing.assert_close(block(x + a, c), block(x, c) + a)


def test_a_block_is_equivariant_in_its_tokens_and_keeps_samples_apart():
    block, x, c = filled(AdaLNZeroBlock(8, 2, 5)), randn(4, 6, 8), randn(4, 5, seed=1)
    order, want = torch.tensor([3, 0, 5, 1, 4, 2]), block(x, c)
    torch.testing.assert_close(block(x[:, order], c), want[:, order])
    torch.testing.assert_close(torch.cat([block(x[i : i + 1], c[i : i + 1]) for i in range(4)]), want)
    assert (block(x, c.flip(0)) - want).abs().amax((1, 2)).min() > 1e-3  # the condition reaches every sample
    moved = x.clone()
    moved[:, 0] += randn(8, seed=3)
    assert (block(moved, c) - want).abs().amax(2).min() > 1e-4  # and a token every other one


# Cross-attention ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_cross_attention_is_a_softmax_over_the_words(heads):
    layer, x, ctx = filled(CrossAttention(8, 5, heads)), randn(3, 4, 8), randn(3, 6, 5, seed=1)
    mask = torch.tensor([[1, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1]], dtype=torch.bool)
    k, v = layer.key_value(ctx).chunk(2, 2)
    for m in (None, mask):
        torch.testing.assert_close(layer(x, ctx, m), layer.out(softmax_attention(layer.query(x), k, v, heads, m)))


def test_a_single_word_is_the_answer_to_every_question():
    layer, x, ctx = filled(CrossAttention(8, 5, 2)), randn(3, 4, 8), randn(3, 1, 5, seed=1)
    want = layer.out(layer.key_value(ctx)[..., 8:])
    torch.testing.assert_close(layer(x, ctx), want.expand(3, 4, 8))


def test_words_are_a_set_and_masked_ones_do_not_exist():
    layer, x, ctx = filled(CrossAttention(8, 5, 2)), randn(2, 4, 8), randn(2, 6, 5, seed=1)
    mask = torch.tensor([[1, 0, 1, 1, 0, 0], [0, 1, 1, 0, 1, 0]], dtype=torch.bool)
    order, want = torch.tensor([2, 5, 0, 1, 4, 3]), layer(x, ctx, mask)
    torch.testing.assert_close(layer(x, ctx[:, order], mask[:, order]), want)
    torch.testing.assert_close(layer(x, torch.where(mask[..., None], ctx, 1e3), mask), want)
    for i in range(2):
        torch.testing.assert_close(layer(x[i : i + 1], ctx[i : i + 1, mask[i]]), want[i : i + 1])
    torch.testing.assert_close(layer(x, ctx, torch.ones_like(mask)), layer(x, ctx))
    shuffle = torch.tensor([3, 1, 0, 2])
    torch.testing.assert_close(layer(x[:, shuffle], ctx, mask), want[:, shuffle])


@pytest.mark.parametrize("dtype", [torch.float32, F64, torch.bfloat16])
def test_a_sample_without_words_gets_nothing_and_disturbs_nobody(dtype):
    layer = filled(CrossAttention(8, 5, 2)).to(dtype)
    x, ctx = randn(3, 4, 8).to(dtype).requires_grad_(), randn(3, 6, 5, seed=1).to(dtype).requires_grad_()
    mask = torch.tensor([[1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0]], dtype=torch.bool)
    got = layer(x, ctx, mask)
    assert got.dtype == dtype and got.isfinite().all() and (got[1] == 0).all()
    keep = torch.tensor([0, 2])
    torch.testing.assert_close(got[keep], layer(x[keep], ctx[keep], mask[keep]))
    got.square().sum().backward()
    for gradient in (x.grad, ctx.grad, *(p.grad for p in layer.parameters())):
        assert gradient.isfinite().all()
    assert (ctx.grad[1] == 0).all() and ctx.grad[0].abs().max() > 0


def test_bad_words_and_masks_are_named():
    layer, x, ctx = CrossAttention(8, 5, 2).double(), randn(2, 4, 8), randn(2, 6, 5)
    for mask in (torch.ones(2, 5, dtype=torch.bool), torch.ones(2, 6, dtype=torch.int64), torch.ones(6) > 0):
        with pytest.raises(ValueError, match=r"mask has shape .*expected bool \(2, 6\), True where there is a word"):
            layer(x, ctx, mask)
    for bad in (ctx[:1], ctx[:, :0], ctx[0]):
        with pytest.raises(ValueError, match=r"ctx has shape .*expected \(2, M, ctx_dim\) with M >= 1"):
            layer(x, bad)


# The network --------------------------------------------------------------------------------------------------------


def network(seed=0, **kwargs):
    return filled(DiT(3, (4, 8), patch=2, dim=8, depth=2, heads=2, **kwargs), seed)


def inputs(b=3):
    return randn(b, 3, 4, 8), torch.linspace(0.1, 0.9, b, dtype=F64)


def test_a_new_network_is_zero_and_learns_at_once():
    torch.manual_seed(0)
    net = DiT(3, (4, 8), dim=8, depth=2, heads=2, num_classes=4, ctx_dim=5)
    x, c = (value.float() for value in inputs())
    for kwargs in ({}, {"y": torch.tensor([0, 1, 3])}, {"ctx": randn(3, 6, 5, dtype=torch.float32)}):
        assert torch.equal(net(x, c, **kwargs), torch.zeros_like(x))
    (net(x, c) - x).square().sum().backward()
    assert net.out.weight.grad.abs().max() > 0


def test_every_parameter_has_a_gradient():
    net, (x, c) = network(num_classes=4, ctx_dim=5), inputs()
    net(x, c, torch.tensor([0, 1, 3]), randn(3, 6, 5), torch.ones(3, 6, dtype=torch.bool)).square().sum().backward()
    assert all(p.grad.abs().max() > 0 for p in net.parameters())


@settings(max_examples=15, deadline=None)
@given(
    b=st.integers(1, 4),
    ch=st.integers(1, 3),
    h=st.integers(1, 3),
    w=st.integers(1, 3),
    patch=st.integers(1, 3),
    dtype=st.sampled_from([torch.float32, F64, torch.bfloat16]),
)
def test_shapes_and_dtypes_are_those_of_x(b, ch, h, w, patch, dtype):
    net = filled(DiT(ch, (h * patch, w * patch), patch, dim=8, depth=1, heads=2, num_classes=b, ctx_dim=3)).to(dtype)
    x, c = randn(b, ch, h * patch, w * patch).to(dtype), torch.rand(b).to(dtype)
    before = x.clone()
    got = net(x, c, torch.arange(b), randn(b, 2, 3).to(dtype), torch.ones(b, 2, dtype=torch.bool))
    assert got.shape == x.shape and got.dtype == dtype and got.isfinite().all() and torch.equal(x, before)


def test_samples_do_not_mix():
    """Each with its own time, label and caption, also where the batch is as large as the channels."""
    net, (x, c) = network(num_classes=4, ctx_dim=5), inputs()
    y, ctx, mask = torch.tensor([2, 0, 3]), randn(3, 6, 5), torch.arange(6) < torch.tensor([[2], [0], [6]])
    rows = [net(*(value[i : i + 1] for value in (x, c, y, ctx, mask))) for i in range(3)]
    torch.testing.assert_close(net(x, c, y, ctx, mask), torch.cat(rows))


def test_time_label_and_caption_are_heard():
    net, (x, c) = network(num_classes=4, ctx_dim=5), inputs()
    y, ctx = torch.tensor([2, 0, 3]), randn(3, 6, 5)
    want = net(x, c, y, ctx)
    for other in (net(x, c + 0.05, y, ctx), net(x, c, (y + 1) % 4, ctx), net(x, c, y, ctx.flip(0))):
        assert (other - want).abs().amax((1, 2, 3))[::2].min() > 1e-4


def test_no_label_adds_nothing_and_no_word_says_nothing():
    net, (x, c) = network(num_classes=4, ctx_dim=5), inputs()
    with torch.no_grad():
        net.embed_label.weight[3] = 0
    torch.testing.assert_close(net(x, c), net(x, c, torch.full((3,), 3)))
    torch.testing.assert_close(net(x, c), net(x, c, ctx=randn(3, 6, 5), mask=torch.zeros(3, 6, dtype=torch.bool)))


def test_only_the_positions_tell_patches_apart():
    """Without them the network is equivariant in its patches, with them it is not."""
    net, (x, c) = network(), inputs()
    order = torch.tensor([5, 2, 7, 0, 1, 6, 3, 4])

    def shuffled(x):
        return unpatchify(patchify(x, 2)[:, order], 2, 2, 4)

    assert (net(shuffled(x), c) - shuffled(net(x, c))).abs().max() > 1e-3
    net.positions.zero_()
    torch.testing.assert_close(net(shuffled(x), c), shuffled(net(x, c)))


def test_positions_are_fixed_and_not_in_the_checkpoint():
    net = network()
    assert "positions" not in net.state_dict() and not net.positions.requires_grad
    larger = DiT(3, 16, patch=2, dim=8, depth=2, heads=2).double()
    larger.load_state_dict(net.state_dict())  # no weight depends on the size
    assert larger(randn(1, 3, 16, 16), torch.rand(1)).shape == (1, 3, 16, 16)


def test_time_scale_is_the_unit_of_c():
    """Times with 1000 are steps of 1000 with 1; and times 0.001 apart are told apart."""
    in_time, (x, c) = network(), inputs()
    in_steps = network(time_scale=1.0)
    torch.testing.assert_close(in_time(x, c), in_steps(x, 1000 * c), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(in_steps(x, torch.tensor([3, 500, 999])), in_steps(x, torch.tensor([3.0, 500.0, 999.0])))
    fine, coarse = ((net(x, c + 0.001) - net(x, c)).abs().max() for net in (in_time, in_steps))
    assert fine > 100 * coarse


def test_a_denoiser_takes_the_network():
    """A velocity of 0 says x0_hat = x, on the straight path."""
    denoiser, x = Denoiser(DiT(3, (4, 8), dim=8, depth=1, heads=2, num_classes=4), Linear(), "velocity"), inputs()[0]
    x = x.float()
    for t in (0.3, torch.tensor([0.0, 0.5, 1.0])):
        torch.testing.assert_close(denoiser(x, t, torch.tensor([0, 1, 2])), x)


def test_bad_networks_are_named():
    for kwargs, message in (
        ({"size": 9}, "size is 9; expected a height and width divisible by patch = 2"),
        ({"size": (8, 9)}, r"size is \(8, 9\)"),
        ({"size": 0}, "size is 0"),
        ({"size": 8, "patch": 0}, "size is 8; .* patch = 0"),
        ({"size": 8, "dim": 30, "heads": 2}, "dim is 30; expected a number divisible by 4"),
        ({"size": 8, "depth": 0}, "depth is 0; expected at least 1"),
        ({"size": 8, "num_classes": 0}, "num_classes is 0; expected at least 1"),
        ({"size": 8, "ctx_dim": 0}, "ctx_dim is 0; expected at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            DiT(1, **kwargs)


def test_bad_calls_are_named():
    net, (x, c) = network(), inputs()
    for bad in (x[:, :2], x[..., :4], x[0]):
        with pytest.raises(ValueError, match=r"x has shape .*expected \(B, 3, 4, 8\)"):
            net(bad, c)
    for bad in (c[:2], c[:, None], torch.tensor(0.5)):
        with pytest.raises(ValueError, match=r"c has shape .*expected one number for each sample, \(3,\)"):
            net(x, bad)
    with pytest.raises(ValueError, match="y is given; .*made without num_classes"):
        net(x, c, torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="ctx is given; .*made without ctx_dim"):
        net(x, c, ctx=randn(3, 6, 5))
    with pytest.raises(ValueError, match=r"y has shape \(3, 3\); expected one label for each sample, \(3,\)"):
        network(num_classes=4)(x, c, torch.zeros(3, 3, dtype=torch.int64))
