"""The hidden checks of lab 6: other sizes, skips, heads, labels, batches, gradients, and what must stay as it is."""

from __future__ import annotations

import torch

from labcheck import Battery, expect, expect_close
from noise2data.checks.arguments import integer, normal, number
from noise2data.checks.expectations import expect_gradient, expect_untouched
from noise2data.checks.hints import advice, is_right
from noise2data.checks.lab06_unet import (
    angles_of,
    change_of,
    expect_every_gradient,
    expect_own_row,
    expect_shape,
    filled,
    images,
    kept_share,
    made,
    pair_to_average,
    set_parameters,
    waves_of,
    zero_all,
)

lab = Battery("lab06_unet", hidden=True)


def expect_samples_apart(seen, names: list[str]) -> None:
    """Fail unless the gradient of sample 0's output is 0 for the arguments of all other samples."""
    for name, grad in zip(names, seen.grads, strict=True):
        expect(grad is not None, f"no gradient flows from the output to {name}")
        expect(grad[0].abs().max() > 0, f"the output of a sample does not depend on its own {name}")
        spilt = (grad[1:].abs().max() / grad[0].abs().max()).item()
        expect(
            spilt < 1e-6,
            f"in train mode the output of a sample depends on {name} of the others: "
            "no batch norm, and no attention along the batch",
        )


def first_row_only(rng: torch.Generator, *shape: int) -> torch.Tensor:
    """A cotangent that looks at sample 0 alone."""
    weight = torch.zeros(shape)
    weight[0] = images(rng, *shape[1:])
    return weight


# ---- timestep_embedding


def expect_waves(answer, t: torch.Tensor, dim: int, hint: str, atol: float = 1e-4, period: float = 10000.0) -> None:
    """Fail unless the embedding of t is right; the hint is shown where the embedding of a few whole steps is."""
    few = torch.arange(1, 6)
    got = answer.timestep_embedding(t, dim, max_period=period)
    in_general = is_right(lambda: answer.timestep_embedding(few, 8), waves_of(angles_of(few, 8)))
    want = waves_of(angles_of(t, dim, period))
    expect_close(got, want, rtol=0.0, atol=atol, hint=advice(hint, in_general))


@lab.check("timestep_embedding")
def takes_fractional_times(answer, rng):
    """t may lie between two steps; it is neither rounded nor rescaled."""
    t, dim = (normal(rng, 6).abs() * 3 + 0.1).float(), 2 * integer(rng, 3, 12)
    expect_waves(answer, t, dim, "t is used as it is, also between two steps and in [0, 1]")


@lab.check("timestep_embedding")
def is_exact_at_large_times(answer, rng):
    """Thousands of steps are right to 2e-3."""
    t, dim = torch.randint(1000, 4000, (6,), generator=rng), 2 * integer(rng, 8, 40)
    expect_waves(answer, t, dim, "compute the angles in float32 at least", atol=2e-3)


@lab.check("timestep_embedding")
def uses_max_period(answer, rng):
    """Another max_period gives other waves."""
    t, dim, period = torch.arange(1, 40, 6), 2 * integer(rng, 4, 12), number(rng, 20.0, 500.0)
    hint = f"freqs[i] = max_period**(-i/half), here with max_period = {period:.4g}"
    expect_waves(answer, t, dim, hint, period=period)


@lab.check("timestep_embedding")
def has_one_wave_if_dim_is_two(answer, rng):
    """dim = 2 is one wave: cos t and sin t."""
    expect_waves(answer, torch.randint(1, 50, (4,), generator=rng), 2, "half = 1, and i runs from 0 to half - 1")


@lab.check("timestep_embedding")
def returns_float32_for_every_dtype(answer, rng):
    """Times in int32 and float64 give float32 too."""
    t, dim = torch.randint(1, 50, (4,), generator=rng), 2 * integer(rng, 2, 9)
    for dtype in (torch.int32, torch.float64):
        hint = f"t has dtype {str(dtype)[6:]}; the result is float32 whatever it is"
        expect_waves(answer, t.to(dtype), dim, hint)


@lab.check("timestep_embedding")
def is_differentiable_in_t(answer, rng):
    """A gradient reaches fractional t."""
    t, half = (5 * normal(rng, 4).abs()).float(), integer(rng, 3, 8)
    weight, angles = normal(rng, 4, 2 * half), angles_of(t, 2 * half)
    freqs = angles_of(torch.ones(1), 2 * half)
    want = (freqs * (weight[:, half:] * angles.cos() - weight[:, :half] * angles.sin())).sum(1)
    seen = answer.gradient("timestep_embedding", t, 2 * half, wrt=[0], cotangent=weight.float())
    expect_gradient(seen, 0, want, "t")


@lab.check("timestep_embedding")
def leaves_t_alone(answer, rng):
    """t is not changed in place, and nothing is drawn."""
    t = 100 * torch.rand(5, generator=rng)
    seen = answer.observe("timestep_embedding", t, 8)
    expect_close(seen.value, waves_of(angles_of(t, 8)), rtol=0.0, atol=1e-3)
    expect_untouched(seen, t)


# ---- ResBlock


@lab.check("ResBlock")
def gives_each_sample_its_own_embedding(answer, rng):
    """Another embedding for one sample changes this sample only, also where B, channels, H and W are equal."""
    for B, out_ch in ((8, 8), (3, 16)):
        block = filled(answer, rng, "ResBlock", 8, out_ch, 10)
        x, emb = images(rng, B, 8, 8, 8), images(rng, B, 10)
        row, other = integer(rng, 0, B - 1), emb.clone()
        other[row] = images(rng, 10)
        before, after = block(x, emb), block(x, other)
        expect_shape(before, (B, out_ch, 8, 8), "the result")
        expect_own_row(before, after, row, "the embedding")


@lab.check("ResBlock")
def has_a_pointwise_shortcut(answer, rng):
    """Where in_ch and out_ch differ, x reaches the sum through a learned 1x1 convolution of its own."""
    block = filled(answer, rng, "ResBlock", 8, 16, 12)
    random, found = block.parameters(), False
    x, emb = torch.zeros(1, 8, 5, 6), images(rng, 1, 12)
    x[0, :, 2, 3] = images(rng, 8)
    for name in [name for name, value in random.items() if value.ndim > 1]:
        set_parameters(block, lambda n, v, only=name: random[n] if n == only else torch.zeros_like(v))
        got = block(x, emb)
        expect_shape(got, (1, 16, 5, 6), "the result")
        inside, total = got[0, :, 2, 3].norm(), got.norm()
        found = found or (inside > 1e-3 and abs(total - inside) < 1e-5 * total)
    expect(
        found,
        "with all other parameters 0, no weight of the block carries x, pixel by pixel, to the output: "
        "where in_ch and out_ch differ, the shortcut is a 1x1 convolution of x itself",
    )


@lab.check("ResBlock")
def is_zero_without_parameters_where_channels_differ(answer, rng):
    """With in_ch unlike out_ch and all parameters 0 the result is 0: the shortcut is learned."""
    for in_ch, out_ch in ((8, 16), (16, 8)):
        block = made(answer, "ResBlock", in_ch, out_ch, 12)
        zero_all(block)
        got = block(images(rng, 2, in_ch, 3, 4), images(rng, 2, 12))
        hint = "all of the sum passes through weights where the numbers of channels differ"
        expect_close(got, torch.zeros(2, out_ch, 3, 4), atol=1e-6, hint=hint)


@lab.check("ResBlock")
def keeps_samples_apart(answer, rng):
    """In train mode no sample's output depends on another sample; a batch of one works."""
    block = filled(answer, rng, "ResBlock", 8, 16, 12)
    block.train()
    expect_shape(block(images(rng, 1, 8, 4, 4), images(rng, 1, 12)), (1, 16, 4, 4), "the result for a batch of one")
    x, emb, weight = images(rng, 4, 8, 4, 5), images(rng, 4, 12), first_row_only(rng, 4, 16, 4, 5)
    expect_samples_apart(answer.gradient(block, x, emb, wrt=[0, 1], cotangent=weight), ["x", "emb"])


@lab.check("ResBlock")
def leaves_x_and_emb_alone(answer, rng):
    """Neither x nor emb is changed in place, also where in_ch = out_ch."""
    for out_ch in (8, 16):
        block = filled(answer, rng, "ResBlock", 8, out_ch, 12)
        x, emb = images(rng, 2, 8, 4, 5), images(rng, 2, 12)
        seen = answer.observe(block, x, emb)
        expect_shape(seen.value, (2, out_ch, 4, 5), "the result")
        expect_untouched(seen, x, emb)


# ---- SelfAttention2d


@lab.check("SelfAttention2d")
def averages_over_positions(answer, rng):
    """When every position stands there twice, the result at each is the same: weights over the keys sum to 1."""
    for heads in (1, 4):
        attention = filled(answer, rng, "SelfAttention2d", 16, heads)
        x = images(rng, 2, 16, 3, 4)
        got, twice = attention(x), attention(torch.cat([x, x], 2))
        expect_shape(twice, (2, 16, 6, 4), "the result")
        hint = "softmax goes over the positions that are looked at, not over heads, channels or nothing"
        expect_close(twice, torch.cat([got, got], 2), rtol=1e-4, atol=1e-4, hint=hint)


@lab.check("SelfAttention2d")
def has_heads(answer, rng):
    """With the same parameters, one head and four heads give different results."""
    seed, x = integer(rng, 0, 2**31), images(rng, 2, 16, 3, 4)
    results = []
    for heads in (1, 4):
        attention = made(answer, "SelfAttention2d", 16, heads)
        attention.fill(seed)
        attention.train(False)
        results.append(attention(x))
        expect_shape(results[-1], (2, 16, 3, 4), "the result")
    expect(change_of(*results) > 1e-3, "one head and four heads give the same result: `heads` is not used")


@lab.check("SelfAttention2d")
def keeps_images_apart(answer, rng):
    """In train mode no image looks at another image of the batch; a batch of one works."""
    attention = filled(answer, rng, "SelfAttention2d", 8, 2)
    attention.train()
    expect_shape(attention(images(rng, 1, 8, 3, 2)), (1, 8, 3, 2), "the result for a batch of one")
    x, weight = images(rng, 4, 8, 3, 5), first_row_only(rng, 4, 8, 3, 5)
    expect_samples_apart(answer.gradient(attention, x, wrt=[0], cotangent=weight), ["x"])


@lab.check("SelfAttention2d")
def swaps_height_and_width_alike(answer, rng):
    """A picture that lies on its side gives the result on its side."""
    attention = filled(answer, rng, "SelfAttention2d", 8, 2)
    x = images(rng, 2, 8, 2, 7)
    got, lying = attention(x), attention(x.mT.contiguous())
    expect_shape(got, (2, 8, 2, 7), "the result")
    hint = "positions go back to their own row and column: (B, channels, H, W) in this order"
    expect_close(lying, got.mT, rtol=1e-4, atol=1e-4, hint=hint)


@lab.check("SelfAttention2d")
def lets_gradients_reach_every_weight(answer, rng):
    """A gradient reaches every parameter."""
    attention = filled(answer, rng, "SelfAttention2d", 16, 4)
    x, weight = images(rng, 2, 16, 3, 4), images(rng, 2, 16, 3, 4)
    expect_every_gradient(answer.gradient(attention, x, wrt=[0], cotangent=weight, parameters=attention))


@lab.check("SelfAttention2d")
def leaves_x_alone(answer, rng):
    """x is not changed in place."""
    attention = filled(answer, rng, "SelfAttention2d", 8, 2)
    x = images(rng, 2, 8, 3, 4)
    seen = answer.observe(attention, x)
    expect_shape(seen.value, (2, 8, 3, 4), "the result")
    expect_untouched(seen, x)


# ---- UNet


@lab.check("UNet")
def takes_integer_and_float_times(answer, rng):
    """t = 7 and t = 7.0 are the same, and 7.5 is neither 7 nor 8."""
    net = filled(answer, rng, "UNet", 1, 8, (1, 2))
    k = torch.randint(0, 900, (3,), generator=rng)
    x = images(rng, 3, 1, 4, 6)
    whole = net(x, k)
    expect_shape(whole, (3, 1, 4, 6), "the result for integer t")
    expect_close(net(x, k.float()), whole, rtol=1e-4, atol=1e-4, hint="integer and float times are the same times")
    between, after = net(x, k + 0.5), net(x, k + 1)
    apart = min(change_of(between, whole), change_of(between, after))
    expect(apart > 1e-5, "half a step changes nothing: t is not rounded")


@lab.check("UNet")
def adds_no_label_for_none(answer, rng):
    """y = None adds no embedding: no label's embedding, nor the null label's, takes part."""
    n = integer(rng, 3, 6)
    net = filled(answer, rng, "UNet", 1, 8, (1, 2), n)
    x, t, y = images(rng, n, 1, 4, 6), torch.randint(0, 900, (n,), generator=rng), torch.arange(n)
    weight = images(rng, n, 1, 4, 6)
    with_y = answer.gradient(net, x, t, y, wrt=[0], cotangent=weight, parameters=net).parameter_grads
    without = answer.gradient(net, x, t, wrt=[0], cotangent=weight, parameters=net).parameter_grads

    def heard(grad):
        return grad is not None and bool(grad.abs().max() > 0)

    of_labels = [name for name in with_y if heard(with_y[name]) and not heard(without.get(name))]
    expect(of_labels, "with y = None the labels' embedding still takes part: None is no label, nor the null label")
    set_parameters(net, lambda name, value: torch.zeros_like(value) if name in of_labels else value)
    hint = "the label's embedding is added to the time's"
    what = "the result with labels whose embedding is 0"
    expect_close(net(x, t, y), net(x, t), rtol=1e-4, atol=1e-4, what=what, hint=hint)


@lab.check("UNet")
def gives_each_sample_its_own_label(answer, rng):
    """Another label for one sample changes the output of this sample, and of no other."""
    net = filled(answer, rng, "UNet", 2, 8, (1, 2), 5)
    x, t, y = images(rng, 4, 2, 4, 6), torch.randint(0, 900, (4,), generator=rng), torch.tensor([4, 1, 2, 0])
    row, other = integer(rng, 0, 3), y.clone()
    other[row] = 3
    expect_own_row(net(x, t, y), net(x, t, other), row, "the label")


def silence(net, channels: int) -> None:
    """Set all convolutions to 0 that read or write this number of channels."""
    set_parameters(
        net, lambda name, value: torch.zeros_like(value) if value.ndim > 2 and channels in value.shape[:2] else value
    )


@lab.check("UNet", points=2)
def reads_the_finest_features(answer, rng):
    """The decoder reads the encoder at full size: x still matters when the deepest level's convolutions are 0."""
    net = filled(answer, rng, "UNet", 1, 8, (1, 8))
    silence(net, 64)
    t = torch.randint(0, 900, (2,), generator=rng)
    one, other = (net(images(rng, 2, 1, 4, 6), t) for _ in range(2))
    expect_shape(one, (2, 1, 4, 6), "the result")
    expect(
        change_of(one, other) > 1e-3,
        "with the convolutions of the deepest level at 0 the output no longer depends on x: "
        "a skip connection at full size is missing",
    )


@lab.check("UNet", points=2)
def reads_the_features_between(answer, rng):
    """With three levels the decoder reads what the middle level's encoder block puts out, too."""
    net = filled(answer, rng, "UNet", 1, 8, (1, 2, 8))
    silence(net, 64)
    x, t = images(rng, 2, 1, 8, 12), torch.randint(0, 900, (2,), generator=rng)
    seen = answer.gradient(net, x, t, wrt=[0], cotangent=images(rng, 2, 1, 8, 12), parameters=net)
    expect(seen.parameter_grads, "it has no parameters")
    expect(seen.grads[0] is not None and seen.grads[0].abs().max() > 0, "the output does not depend on x")
    shapes = {name: tuple(value.shape) for name, value in net.parameters().items()}
    downwards = [name for name, shape in shapes.items() if len(shape) > 2 and shape[:2] == (16, 8)]
    for name in downwards:
        grad = seen.parameter_grads[name]
        expect(
            grad is not None and grad.abs().max() > 0,
            f"with the convolutions of the deepest level at 0 no gradient reaches `{name}`, which leads to the "
            "middle level: the decoder does not read the encoder's features there",
        )


@lab.check("UNet")
def has_the_channels_that_were_asked_for(answer, rng):
    """Level i has base_ch * mults[i] channels, whatever the multipliers are."""
    for mults in ((1, 16), (2, 1)):
        shapes = [tuple(value.shape) for value in made(answer, "UNet", 1, 8, mults).parameters().values()]
        widths = {shape[0] for shape in shapes if len(shape) > 2}
        for level, mult in enumerate(mults):
            expect(
                8 * mult in widths,
                f"UNet(1, 8, {mults}) has no convolution with {8 * mult} output channels; level {level} has "
                f"base_ch * {mult}",
            )


@lab.check("UNet")
def has_a_modest_number_of_parameters(answer, rng):
    """UNet(1, 32, (1, 2, 4)) has at most ten million parameters."""
    count = made(answer, "UNet", 1, 32, (1, 2, 4)).parameter_count()
    expect(count > 0, "it has no parameters; are its layers in a plain list? Use nn.ModuleList")
    expect(count <= 10_000_000, f"UNet(1, 32, (1, 2, 4)) has {count:,} parameters; at most 10,000,000 were asked for")


@lab.check("UNet")
def is_unbounded(answer, rng):
    """The output may be of any size: nothing squashes it."""
    net = filled(answer, rng, "UNet", 1, 8, (1, 2))
    set_parameters(net, lambda name, value: 4 * value)
    got = net(images(rng, 4, 1, 6, 8), torch.randint(0, 900, (4,), generator=rng))
    expect_shape(got, (4, 1, 6, 8), "the result")
    largest = got.abs().max().item()
    expect(largest > 1.5, f"with large parameters the output is at most {largest:.3g}: no tanh or clamp at the end")


@lab.check("UNet")
def keeps_pictures_apart(answer, rng):
    """In train mode no sample's output depends on another sample; a batch of one works."""
    net = filled(answer, rng, "UNet", 1, 8, (1, 2), 3)
    net.train()
    one = net(images(rng, 1, 1, 4, 6), torch.tensor([5]), torch.tensor([2]))
    expect_shape(one, (1, 1, 4, 6), "the result for a batch of one")
    x, t, y = images(rng, 3, 1, 6, 8), torch.randint(0, 900, (3,), generator=rng).float(), torch.tensor([0, 1, 2])
    weight = first_row_only(rng, 3, 1, 6, 8)
    expect_samples_apart(answer.gradient(net, x, t, y, wrt=[0], cotangent=weight), ["x"])


@lab.check("UNet")
def works_at_every_size(answer, rng):
    """The same network takes pictures of all sizes that its levels divide."""
    net = filled(answer, rng, "UNet", 3, 16, (1, 1, 2))
    for H, W in ((8, 8), (12, 20), (16, 8)):
        got = net(images(rng, 2, 3, H, W), torch.tensor([1.0, 900.0]))
        expect_shape(got, (2, 3, H, W), f"the result of {H} x {W} pictures")


@lab.check("UNet")
def leaves_its_arguments_alone(answer, rng):
    """x, t and y are not changed in place, and nothing is drawn in evaluation mode."""
    net = filled(answer, rng, "UNet", 1, 8, (1, 2), 3)
    x, t, y = images(rng, 2, 1, 4, 6), 900 * torch.rand(2, generator=rng), torch.tensor([2, 0])
    seen = answer.observe(net, x, t, y)
    expect_shape(seen.value, (2, 1, 4, 6), "the result")
    expect_untouched(seen, x, t, y)


# ---- ema_update


def expect_averaged(ema, old, new, decay: float) -> None:
    """Fail unless the trainable parameters of the average are what an update makes of them."""
    for name, got in ema.parameters().items():
        if name != "fixed":
            expect_close(got, kept_share(decay, old[name], new[name]), rtol=1e-5, what=f"the average's `{name}`")


@lab.check("ema_update")
def averages_frozen_parameters(answer, rng):
    """A parameter that requires no gradient is averaged like the others."""
    ema, model = pair_to_average(answer, rng)
    old, new, decay = ema.state(), model.state(), number(rng, 0.3, 0.7)
    answer.ema_update(ema, model, decay)
    hint = "`fixed` has requires_grad=False; all parameters are averaged"
    got = ema.state()["fixed"]
    expect_close(got, kept_share(decay, old["fixed"], new["fixed"]), rtol=1e-5, what="the average's `fixed`", hint=hint)


@lab.check("ema_update")
def leaves_the_model_alone(answer, rng):
    """The model's parameters and buffers, its requires_grad and its mode stay as they are."""
    ema, model = pair_to_average(answer, rng)
    old, new, decay, trainable = ema.state(), model.state(), number(rng, 0.3, 0.7), model.parameter_count(True)
    answer.ema_update(ema, model, decay)
    expect_averaged(ema, old, new, decay)
    for name, value in model.state().items():
        expect(torch.equal(value, new[name]), f"the model's own `{name}` was changed")
    expect(model.parameter_count(True) == trainable, "requires_grad of the model's parameters was changed")
    expect(answer.attribute(model, "training") is True, "the model was put into evaluation mode")


@lab.check("ema_update")
def leaves_flags_alone(answer, rng):
    """requires_grad and the mode of the average stay as they are, whatever they are."""
    for frozen, training in ((False, True), (True, False), (True, True)):
        ema, model = pair_to_average(answer, rng, frozen=frozen, training=training)
        old, new, trainable = ema.state(), model.state(), ema.parameter_count(True)
        answer.ema_update(ema, model, 0.5)
        expect_averaged(ema, old, new, 0.5)
        expect(ema.parameter_count(True) == trainable, "requires_grad of the average's parameters was changed")
        expect(answer.attribute(ema, "training") is training, "the average's train or evaluation mode was changed")


@lab.check("ema_update")
def builds_no_graph(answer, rng):
    """The update is outside of any graph, for an average that requires gradients and for one that does not."""
    for frozen in (True, False):
        ema, model = pair_to_average(answer, rng, frozen=frozen)
        old, new = ema.state(), model.state()
        answer.ema_update(ema, model, 0.5)
        expect_averaged(ema, old, new, 0.5)
        free = answer.call(answer.attribute(ema, "has_no_graph"))
        expect(free is True, "the average is part of a graph now, which grows with every update; use torch.no_grad()")


@lab.check("ema_update")
def works_in_place(answer, rng):
    """The tensors of ema_model are changed, not replaced, and None is returned."""
    ema, model = pair_to_average(answer, rng)
    old, new = ema.state(), model.state()
    got = answer.ema_update(ema, model, 0.5)
    expect_averaged(ema, old, new, 0.5)
    same = answer.call(answer.attribute(ema, "keeps_its_tensors"))
    expect(same is True, "ema_model has new tensors now; change those that it has, in place")
    expect(got is None, "the function returns something; it changes ema_model in place and returns None")


@lab.check("ema_update")
def is_right_at_both_ends(answer, rng):
    """decay = 0 copies the model's parameters; decay = 1 keeps the average's."""
    for decay in (0.0, 1.0):
        ema, model = pair_to_average(answer, rng)
        old, new = ema.state(), model.state()
        answer.ema_update(ema, model, decay)
        expect_averaged(ema, old, new, decay)


@lab.check("ema_update")
def forgets_geometrically(answer, rng):
    """After n updates towards the same model, decay**n of the start is left."""
    ema, model = pair_to_average(answer, rng)
    old, new, decay, n = ema.state(), model.state(), number(rng, 0.5, 0.9), integer(rng, 3, 6)
    for _ in range(n):
        answer.ema_update(ema, model, decay)
    expect_averaged(ema, old, new, decay**n)
