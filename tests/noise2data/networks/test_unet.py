"""The U-Net and its blocks: shapes, what each part may and must depend on, gradients, layouts and half precision."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from noise2data.networks.unet import GroupNorm, ResBlock, SelfAttention2d, UNet

F64 = torch.float64


def randn(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def filled(net, seed=0, std=0.2):
    """The network with all parameters random, the zeros of a new one included."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(0, std, generator=generator)
    return net


def with_zeros(net):
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
    return net


def alone(net, *arguments):
    """The answers to samples given one at a time."""
    rows = [[None if a is None else a[i : i + 1] for a in arguments] for i in range(len(arguments[0]))]
    return torch.cat([net(*row) for row in rows])


def assert_gradients_everywhere(net, loss):
    loss.backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


# Group norm ---------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(channels=st.integers(1, 512))
def test_no_group_has_fewer_than_four_channels_if_there_are_four_and_there_are_at_most_32(channels):
    groups = GroupNorm(channels).num_groups
    assert channels % groups == 0 and channels // groups >= min(4, channels) and groups <= 32


def test_group_norm_does_not_cancel_what_an_embedding_added():
    """The erratum: with one channel per group, x and x + emb look the same."""
    x, emb = randn(2, 16, 3, 3), randn(2, 16, 1, 1, seed=1)
    torch.testing.assert_close(F.group_norm(x + emb, 16), F.group_norm(x, 16), rtol=0, atol=1e-5)
    norm = GroupNorm(16)
    assert (norm(x + emb) - norm(x)).abs().max() > 0.5


def test_group_norm_is_pytorchs_and_half_precision_is_normalised_in_float32():
    norm, x = filled(GroupNorm(12), std=1.0), 5 + randn(3, 12, 4, 5)
    torch.testing.assert_close(norm(x), F.group_norm(x, norm.num_groups, norm.weight, norm.bias))
    half = norm(x.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half, norm(x.bfloat16().float()).bfloat16(), rtol=0, atol=0)


# Blocks -------------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    in_ch=st.integers(1, 12),
    out_ch=st.integers(2, 12),
    emb_dim=st.integers(1, 6),
    h=st.integers(1, 5),
    w=st.integers(1, 5),
)
def test_a_block_maps_any_channels_and_treats_each_sample_alone(in_ch, out_ch, emb_dim, h, w):
    block = filled(ResBlock(in_ch, out_ch, emb_dim)).double().train()
    x, emb = randn(3, in_ch, h, w, dtype=F64), randn(3, emb_dim, seed=1, dtype=F64)
    out = block(x, emb)
    assert out.shape == (3, out_ch, h, w)
    torch.testing.assert_close(out, alone(block, x, emb), rtol=1e-7, atol=1e-9)


def test_a_new_block_is_the_identity_or_its_one_by_one_convolution():
    x, emb = randn(2, 8, 4, 4), randn(2, 5)
    assert torch.equal(ResBlock(8, 8, 5)(x, emb), x)
    block = ResBlock(8, 12, 5)
    torch.testing.assert_close(block(x, emb), F.conv2d(x, block.skip.weight, block.skip.bias))


def test_a_block_hears_its_embedding_and_a_gradient_reaches_all_of_it():
    block, x = filled(ResBlock(8, 12, 5)), randn(2, 8, 4, 4)
    emb = randn(2, 5).requires_grad_()
    assert (block(x, emb) - block(x, emb + 1)).abs().max() > 1e-3
    assert_gradients_everywhere(block, block(x, emb).square().sum())
    assert emb.grad.abs().max() > 0


def test_film_scales_and_shifts_after_the_norm():
    """With the second convolution the identity and the rest zero, the block adds silu(shift): silu(norm(0) + shift)."""
    block, x = with_zeros(ResBlock(4, 4, 2)), randn(1, 4, 3, 3)
    with torch.no_grad():
        block.film.bias[4:] = torch.tensor([0.5, -1.0, 2.0, 0.0])
        block.conv2.weight[:, :, 1, 1] = torch.eye(4)
    want = x + F.silu(torch.tensor([0.5, -1.0, 2.0, 0.0]))[:, None, None]
    torch.testing.assert_close(block(x, torch.zeros(1, 2)), want)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_attention_is_pytorchs_softmax_attention_over_all_positions(heads):
    layer, x = filled(SelfAttention2d(8, heads)).double(), randn(2, 8, 3, 5, dtype=F64)
    tokens = layer.norm(x).reshape(2, 8, 15).mT
    q, k, v = (z.reshape(2, 15, heads, -1).transpose(1, 2) for z in layer.query_key_value(tokens).split(8, 2))
    attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(2, 15, 8)
    want = x + layer.out(attended).mT.reshape(2, 8, 3, 5)
    torch.testing.assert_close(layer(x), want, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(layer(x), alone(layer, x), rtol=1e-10, atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(h=st.integers(1, 5), w=st.integers(1, 5), seed=st.integers(0, 1000))
def test_attention_commutes_with_any_permutation_of_the_positions(h, w, seed):
    layer, x = filled(SelfAttention2d(8, 2)).double(), randn(2, 8, h, w, dtype=F64, seed=seed)
    order = torch.randperm(h * w, generator=torch.Generator().manual_seed(seed))

    def permuted(z):
        return z.flatten(2)[:, :, order].reshape(z.shape)

    torch.testing.assert_close(layer(permuted(x)), permuted(layer(x)), rtol=1e-9, atol=1e-9)


def test_attention_reaches_every_position_and_is_the_identity_when_new_or_zero():
    x = randn(1, 8, 3, 4).requires_grad_()
    layer = filled(SelfAttention2d(8, 2))
    (grad,) = torch.autograd.grad(layer(x)[0, :, 0, 0].square().sum(), x)
    assert (grad.abs().amax(1) > 0).all()
    assert torch.equal(SelfAttention2d(8, 2)(x), x)
    assert torch.equal(with_zeros(layer)(x), x)


def test_a_gradient_reaches_all_of_the_attention():
    layer = filled(SelfAttention2d(8, 4))
    assert_gradients_everywhere(layer, layer(randn(2, 8, 3, 4)).square().sum())


# The network --------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    in_ch=st.integers(1, 3),
    base_ch=st.sampled_from([8, 9, 10, 16]),
    mults=st.sampled_from([(1,), (1, 2), (2, 1), (1, 2, 2)]),
    stem=st.integers(1, 3),
    rows=st.integers(1, 3),
    columns=st.integers(1, 3),
    labels=st.booleans(),
)
def test_the_answer_is_like_x_for_any_size_and_treats_each_sample_alone(
    in_ch, base_ch, mults, stem, rows, columns, labels
):
    net = filled(UNet(in_ch, base_ch, mults, num_classes=4 if labels else None, stem=stem)).double().train()
    factor = stem * 2 ** (len(mults) - 1)
    x, t = randn(3, in_ch, rows * factor, columns * factor, dtype=F64), torch.tensor([0.0, 0.3, 1.0], dtype=F64)
    y = torch.tensor([3, 0, 1]) if labels else None
    out = net(x, t, y)
    assert out.shape == x.shape and out.dtype == F64
    torch.testing.assert_close(out, alone(net, x, t, y), rtol=1e-6, atol=1e-8 * out.abs().max().item())


@pytest.mark.parametrize("stem", [1, 2])
def test_a_new_network_and_one_of_zeros_return_zero(stem):
    net, x, t = UNet(3, 8, (1, 2), stem=stem), randn(2, 3, 8, 4), torch.rand(2)
    assert torch.equal(net(x, t), torch.zeros_like(x))
    assert torch.equal(with_zeros(net)(x, t), torch.zeros_like(x))


@pytest.mark.parametrize("stem", [1, 2])
def test_a_gradient_reaches_every_parameter_and_x_and_t(stem):
    net = filled(UNet(2, 8, (1, 2, 2), num_classes=4, stem=stem))
    x, t = randn(4, 2, 8, 16).requires_grad_(), torch.rand(4).requires_grad_()
    assert_gradients_everywhere(net, net(x, t, torch.arange(4)).square().mean())
    assert x.grad.abs().max() > 0 and t.grad.abs().max() > 0


def test_every_feature_map_has_its_channels_and_size_and_is_read_by_the_decoder():
    net, x, t = filled(UNet(3, 8, (1, 3, 2), stem=2)), randn(2, 3, 16, 24), torch.rand(2)
    hs = net.encode(x, t)
    assert [h.shape[1] for h in hs] == net.channels == [8, 24, 16, 16]
    assert [tuple(h.shape[2:]) for h in hs] == [(8, 12), (4, 6), (2, 3), (2, 3)]
    assert net.in_ch == 3
    whole = net.decode(hs, t)
    torch.testing.assert_close(whole, net(x, t), rtol=0, atol=0)
    for i in range(len(hs)):
        changed = [h + (i == j) * randn(*h.shape) for j, h in enumerate(hs)]
        assert (net.decode(changed, t) - whole).abs().max() > 1e-3


def test_the_answer_is_unbounded():
    net = filled(UNet(1, 8, (1, 2)))
    with torch.no_grad():
        net.last.weight *= 1e6
    assert net(randn(1, 1, 4, 4), torch.tensor([0.5])).abs().max() > 1e5


def test_time_and_label_are_heard_and_no_label_adds_none():
    net, x, t = filled(UNet(1, 8, (1, 2), num_classes=3)), randn(2, 1, 4, 4), torch.tensor([0.2, 0.7])
    assert (net(x, t) - net(x, t + 0.01)).abs().max() > 1e-4
    zero, one = torch.zeros(2, dtype=torch.int64), torch.ones(2, dtype=torch.int64)
    assert (net(x, t, zero) - net(x, t, one)).abs().max() > 1e-4
    with torch.no_grad():
        net.embed_label.weight[0] = 0
    assert torch.equal(net(x, t, zero), net(x, t))


def test_one_time_for_each_sample_also_where_the_batch_is_as_large_as_another_axis():
    net, x = filled(UNet(4, 8, (1,))), randn(4, 4, 4, 4)
    t = torch.tensor([0.1, 0.4, 0.6, 0.9])
    torch.testing.assert_close(net(x, t), alone(net, x, t), rtol=1e-4, atol=1e-5)


def test_steps_are_times_at_another_scale_and_may_be_integers():
    net, x, k = filled(UNet(1, 8, (1,), time_scale=1.0)), randn(3, 1, 4, 4), torch.tensor([0, 250, 1000])
    assert torch.equal(net(x, k), net(x, k.float()))
    net.time_scale = 1000.0
    torch.testing.assert_close(net(x, k / 1000), filled(UNet(1, 8, (1,), time_scale=1.0))(x, k), rtol=1e-4, atol=1e-4)


def test_the_features_run_with_channels_last_and_the_weights_stay_contiguous():
    """Contiguous, so that they can be saved as they are."""
    net = UNet(1, 16, (1, 2))
    for h in net.encode(randn(2, 1, 8, 8), torch.rand(2)):
        assert h.is_contiguous(memory_format=torch.channels_last)
    assert all(value.is_contiguous() for value in net.state_dict().values())


def test_the_layout_of_x_and_of_the_weights_does_not_change_the_answer():
    net, x, t = filled(UNet(3, 8, (1, 2), stem=2)), randn(2, 3, 8, 8), torch.rand(2)
    want = net(x, t)
    torch.testing.assert_close(net(x.to(memory_format=torch.channels_last), t), want, rtol=1e-4, atol=1e-4)
    net = net.to(memory_format=torch.channels_last)
    torch.testing.assert_close(net(x, t), want, rtol=1e-4, atol=1e-4)


def test_bfloat16_stays_near_float32_under_autocast_and_alone():
    net, x, t = filled(UNet(1, 16, (1, 2), num_classes=3), std=0.1), randn(4, 1, 8, 8), torch.rand(4)
    y = torch.tensor([0, 1, 2, 0])
    want = net(x, t, y)
    with torch.autocast("cpu", torch.bfloat16):
        auto = net(x, t, y)
        auto.float().square().mean().backward()
    half = net.bfloat16()(x.bfloat16(), t, y)
    assert half.dtype == torch.bfloat16
    for got in (auto, half):
        assert (got - want).square().mean().sqrt() < 0.03 * want.square().mean().sqrt()
    assert all(parameter.grad.isfinite().all() for parameter in net.parameters())


def test_nothing_that_is_given_is_modified():
    net, x, t, y = filled(UNet(1, 8, (1, 2), num_classes=3)), randn(2, 1, 4, 4), torch.rand(2), torch.tensor([2, 1])
    hs = net.encode(x, t, y)
    kept = [z.clone() for z in (x, t, y, *hs)]
    net(x, t, y)
    net.decode(hs, t, y)
    assert all(torch.equal(a, b) for a, b in zip(kept, (x, t, y, *hs), strict=True))


def test_a_stem_of_two_takes_a_quarter_of_the_operations():
    flops = {}
    for stem in (1, 2):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            UNet(1, 32, (1, 2), stem=stem)(torch.zeros(1, 1, 16, 16), torch.zeros(1))
        flops[stem] = counter.get_total_flops()
    assert 3.5 < flops[1] / flops[2] < 4.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 8, (1,)), "in_ch is 0; expected at least 1"),
        ((1, 0, (1,)), "base_ch is 0"),
        ((1, 8, (1,), 0), "num_classes is 0"),
        ((1, 8, ()), r"mults is \(\); expected at least one multiplier"),
        ((1, 8, (1, 0)), r"mults is \(1, 0\)"),
    ],
)
def test_bad_sizes_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        UNet(*arguments)


def test_a_bad_stem_and_bad_heads_are_named():
    with pytest.raises(ValueError, match="stem is 0; expected at least 1"):
        UNet(1, 8, (1,), stem=0)
    with pytest.raises(ValueError, match="heads is 3; expected a divisor of channels = 16"):
        UNet(1, 8, (1, 2), heads=3)
    with pytest.raises(ValueError, match="heads is 0"):
        SelfAttention2d(8, 0)


@pytest.mark.parametrize(
    ("x", "t", "y", "message"),
    [
        (torch.zeros(2, 1, 8, 6), torch.zeros(2), None, r"x has shape \(2, 1, 8, 6\); expected .* divisible by 4"),
        (torch.zeros(2, 1, 6, 8), torch.zeros(2), None, r"x has shape \(2, 1, 6, 8\)"),
        (torch.zeros(2, 3, 8, 8), torch.zeros(2), None, r"x has shape \(2, 3, 8, 8\); expected \(B, 1, H, W\)"),
        (torch.zeros(1, 8, 8), torch.zeros(1), None, r"x has shape \(1, 8, 8\)"),
        (
            torch.zeros(2, 1, 8, 8),
            torch.zeros(()),
            None,
            r"t has shape \(\); expected one number for each sample, \(2,\)",
        ),
        (torch.zeros(2, 1, 8, 8), torch.zeros(8), None, r"t has shape \(8,\)"),
        (torch.zeros(2, 1, 8, 8), torch.zeros(2), torch.zeros(2, dtype=torch.int64), "y is given; expected None"),
    ],
)
def test_bad_input_is_named(x, t, y, message):
    with pytest.raises(ValueError, match=message):
        UNet(1, 8, (1, 2), stem=2)(x, t, y)


def test_a_wrong_number_of_features_is_named():
    net = UNet(1, 8, (1, 2))
    hs = net.encode(torch.zeros(1, 1, 4, 4), torch.zeros(1))
    with pytest.raises(ValueError, match="hs has 2 feature maps; expected 3"):
        net.decode(hs[:2], torch.zeros(1))
