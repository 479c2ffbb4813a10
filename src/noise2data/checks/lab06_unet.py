"""The visible checks of lab 6, the U-Net.

Modules are known by what they do: their layers, names and initial values are the student's own. So
all parameters are first filled at random (zero-initialised layers are right, and say nothing), and
what is asked is how the output answers to changes of the input, the embedding and the parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch.nn import functional as F

from labcheck import Battery, expect, expect_close, expect_type
from labcheck.answer import Answer, AnswerError, ModuleHandle, Observation
from noise2data.checks.arguments import integer, normal, number
from noise2data.checks.hints import EARLIER, recognise

lab = Battery(
    "lab06_unet",
    fixtures="noise2data.checks.fixtures",
    forbidden=["noise2data.networks", "noise2data.training", "noise2data.checkpoints"],
)

FLOAT = torch.float32
DEAF = (
    "is it used? A group norm with one channel in each group takes away all that was added to its input "
    "alike at every position"
)


# ---- what the checks of modules share


def made(answer: Answer, name: str, *args: object) -> ModuleHandle:
    """A new module of the student's class."""
    return answer.module(getattr(answer, name)(*args))


def filled(answer: Answer, rng: torch.Generator, name: str, *args: object) -> ModuleHandle:
    """A module of the student's class in evaluation mode, all its parameters random."""
    module = made(answer, name, *args)
    module.fill(integer(rng, 0, 2**31))
    module.train(False)
    return module


@contextmanager
def layers_named_apart() -> Iterator[None]:
    """Python's message on a layer that has the name of one of nn.Module's methods gets the reason."""
    try:
        yield
    except AnswerError as error:
        said = str(error)
        if "'method'" not in said and not ("Module." in said and "() takes" in said):
            raise
        why = "has a layer the name of a method of nn.Module, such as double, half, float, type or to? The method wins"
        raise AnswerError(f"{said} — {why}", error.status) from None


def set_parameters(module: ModuleHandle, change: Callable[[str, torch.Tensor], torch.Tensor]) -> None:
    """Replace every parameter by change(name, parameter)."""
    values = {name: change(name, value) for name, value in module.parameters().items()}
    module.load_state({**module.state(), **values})


def zero_all(module: ModuleHandle) -> None:
    """Set every parameter to 0."""
    set_parameters(module, lambda name, value: torch.zeros_like(value))


def images(rng: torch.Generator, *shape: int) -> torch.Tensor:
    """Standard normal float32 images."""
    return normal(rng, *shape, dtype=FLOAT)


def change_of(got: object, other: object, what: str = "the result") -> float:
    """How far apart two results are, relative to the size of the second."""
    expect_type(got, torch.Tensor, what)
    expect_type(other, torch.Tensor, what)
    assert isinstance(got, torch.Tensor) and isinstance(other, torch.Tensor)
    expect(got.shape == other.shape, f"{what} has the shapes {tuple(got.shape)} and {tuple(other.shape)} by turns")
    expect(got.isfinite().all() and other.isfinite().all(), f"{what} is not finite")
    size = other.double().norm().clamp(min=1e-30)
    return float((got.double() - other.double()).norm() / size)


def expect_shape(got: object, shape: tuple[int, ...], what: str) -> None:
    """Fail unless a value is a finite float32 tensor of a shape."""
    expect_type(got, torch.Tensor, what)
    assert isinstance(got, torch.Tensor)
    expect(tuple(got.shape) == shape, f"{what} has shape {tuple(got.shape)}; expected {shape}")
    expect(got.dtype == FLOAT, f"{what} has dtype {str(got.dtype)[6:]}; the input has float32")
    expect(got.isfinite().all(), f"{what} is not finite")


def expect_every_gradient(seen: Observation) -> None:
    """Fail unless every parameter is part of the graph, and none of the weights has a gradient of zeros.

    Of biases only the first is asked: some right ones have no influence, as that of the keys in attention.
    """
    expect(seen.parameter_grads, "it has no parameters")
    for name, grad in seen.parameter_grads.items():
        if grad is None:
            expect(False, f"no gradient reaches the parameter `{name}`: is it used, and is nothing detached or frozen?")
        elif grad.ndim > 1:
            expect(grad.isfinite().all(), f"the gradient of `{name}` is not finite")
            expect(grad.abs().max() > 0, f"the gradient of `{name}` is 0 although all parameters are random")


def expect_own_row(before: torch.Tensor, after: torch.Tensor, row: int, what: str) -> None:
    """Fail unless `what` of one sample was changed and changed the output of this sample, and of no other."""
    heard = change_of(after[row], before[row])
    expect(heard > 1e-4, f"{what} of a sample was changed, and its output only by {heard:.1g} of its size")
    others = [i for i in range(len(before)) if i != row]
    spilt = change_of(after[others], before[others])
    expect(spilt < 1e-4, f"{what} of sample {row} was changed, and the output of other samples changed too")


# ---- timestep_embedding


def angles_of(t: torch.Tensor, dim: int, max_period: float = 10000.0) -> torch.Tensor:
    """t * max_period**(-i / half), i = 0..half-1, as products of one ratio: (B, dim / 2) float64."""
    half = dim // 2
    ratio = torch.full((half,), max_period ** (-1 / half), dtype=torch.float64)
    ratio[0] = 1
    return t.double()[:, None] * ratio.cumprod(0)


def waves_of(angles: torch.Tensor) -> torch.Tensor:
    """Cosines, then sines: real and imaginary parts of points on the circle. (B, dim) float32."""
    circle = torch.polar(torch.ones_like(angles), angles)
    return torch.cat([circle.real, circle.imag], 1).float()


def _embedding_mistakes(t: torch.Tensor, dim: int) -> dict[str, torch.Tensor]:
    angles, half = angles_of(t, dim), dim // 2
    ends = t.double()[:, None] * torch.logspace(0, -4, half, dtype=torch.float64)
    mistakes = {
        "the sines stand before the cosines": waves_of(angles).roll(half, 1),
        "sines and cosines alternate; all cosines come first, then all sines":
            torch.stack([angles.sin(), angles.cos()], 2).flatten(1).float(),
        "cosines and sines alternate; all cosines come first, then all sines":
            torch.stack([angles.cos(), angles.sin()], 2).flatten(1).float(),
        "the exponent is -i/half, not -i/(half - 1): the slowest wave stops short of max_period": waves_of(ends),
        "the exponent is -i/half, not -2i/half": waves_of(t.double()[:, None] * (angles_of(torch.ones(1), dim) ** 2)),
    }  # fmt: skip
    for factor in (1000.0, 1e-3):
        mistakes[f"t is used as it is: here it is multiplied by {factor:g}"] = waves_of(factor * angles)
    return mistakes


@lab.check("timestep_embedding")
def has_one_row_for_each_time(answer: Answer, rng: torch.Generator) -> None:
    """Times of shape (B,), integer or float, give (B, dim) float32."""
    for t in (torch.arange(5), torch.rand(3, generator=rng), torch.tensor([7.0])):
        dim = 2 * integer(rng, 2, 20)
        got = answer.timestep_embedding(t, dim)
        expect_type(got, torch.Tensor)
        what = f"for t of shape {tuple(t.shape)} and dim = {dim} the result"
        expect(tuple(got.shape) == (len(t), dim), f"{what} has shape {tuple(got.shape)}; expected {(len(t), dim)}")
        expect(got.dtype == FLOAT, f"{what} has dtype {str(got.dtype)[6:]}; expected float32, for integer t too")


@lab.check("timestep_embedding")
def starts_with_the_cosines(answer: Answer, rng: torch.Generator) -> None:
    """At t = 0 the first half, the cosines, is 1 and the second half, the sines, is 0."""
    half = integer(rng, 2, 20)
    want = torch.cat([torch.ones(2, half), torch.zeros(2, half)], 1)
    hint = "all cosines come first, then all sines"
    expect_close(answer.timestep_embedding(torch.zeros(2), 2 * half), want, rtol=0.0, atol=1e-6, hint=hint)


@lab.check("timestep_embedding")
def has_the_right_waves(answer: Answer, rng: torch.Generator) -> None:
    """Wave i turns by max_period**(-i/half) each step; the first by 1."""
    t, dim = torch.randint(1, 30, (5,), generator=rng), 2 * integer(rng, 4, 16)
    got = answer.timestep_embedding(t, dim)
    hint = recognise(got, _embedding_mistakes(t, dim), "freqs[i] = max_period**(-i/half), half = dim/2")
    expect_close(got, waves_of(angles_of(t, dim)), rtol=0.0, atol=1e-4, hint=hint)


# ---- ResBlock


@lab.check("ResBlock")
def keeps_height_and_width(answer: Answer, rng: torch.Generator) -> None:
    """(B, in_ch, H, W) becomes (B, out_ch, H, W), for H and W that differ, and for out_ch equal to in_ch or not."""
    for in_ch, out_ch, B in ((8, 8, 2), (8, 16, 1), (32, 8, 3)):
        block = filled(answer, rng, "ResBlock", in_ch, out_ch, 12)
        H, W = integer(rng, 3, 5), integer(rng, 6, 9)
        got = block(images(rng, B, in_ch, H, W), images(rng, B, 12))
        expect_shape(got, (B, out_ch, H, W), f"ResBlock({in_ch}, {out_ch}, 12) of a {H} x {W} image")


@lab.check("ResBlock")
def hears_the_embedding(answer: Answer, rng: torch.Generator) -> None:
    """Another embedding gives another output, for 8, 16 and 32 channels."""
    for out_ch in (8, 16, 32):
        block = filled(answer, rng, "ResBlock", 8, out_ch, 12)
        x, emb, other = images(rng, 2, 8, 6, 5), images(rng, 2, 12), images(rng, 2, 12)
        heard = change_of(block(x, other), block(x, emb))
        expect(heard > 1e-3, f"out_ch = {out_ch}: another `emb` changes the output by {heard:.1g} of its size — {DEAF}")


@lab.check("ResBlock")
def adds_x_itself(answer: Answer, rng: torch.Generator) -> None:
    """With in_ch = out_ch and all parameters 0, the block returns x."""
    block = made(answer, "ResBlock", 16, 16, 12)
    zero_all(block)
    x = images(rng, 2, 16, 5, 4)
    seen = answer.observe(block, x, images(rng, 2, 12))
    after = seen.args[0]
    if isinstance(after, torch.Tensor) and not torch.equal(after, x):
        hint = "`x` was changed in place (by `inplace=True`, say) before it was added"
    else:
        nothing = "it is 0: nothing is added to the body, or `x` goes through layers on its way"
        touched = {f"it is {f.__name__}(x); the shortcut takes `x` before that": f(x) for f in (F.silu, F.gelu, F.relu)}
        hint = recognise(seen.value, {nothing: torch.zeros_like(x), **touched}, "the shortcut is `x` itself")
    expect_close(seen.value, x, hint=hint)


@lab.check("ResBlock")
def lets_gradients_reach_all(answer: Answer, rng: torch.Generator) -> None:
    """A gradient reaches every parameter, with in_ch equal to out_ch or not."""
    for out_ch in (8, 16):
        block = filled(answer, rng, "ResBlock", 8, out_ch, 12)
        x, weight = images(rng, 2, 8, 4, 5), images(rng, 2, out_ch, 4, 5)
        seen = answer.gradient(block, x, images(rng, 2, 12), wrt=[0], cotangent=weight, parameters=block)
        expect_every_gradient(seen)


# ---- SelfAttention2d


@lab.check("SelfAttention2d")
def returns_the_shape_of_x(answer: Answer, rng: torch.Generator) -> None:
    """The result has the shape of x, for H and W that differ and for any number of heads that divides channels."""
    for channels, heads in ((8, 1), (16, 4), (8, 8)):
        attention = filled(answer, rng, "SelfAttention2d", channels, heads)
        shape = (integer(rng, 1, 3), channels, integer(rng, 2, 4), integer(rng, 5, 7))
        got = attention(images(rng, *shape))
        expect_shape(got, shape, f"SelfAttention2d({channels}, {heads}) of x of shape {shape}")


@lab.check("SelfAttention2d")
def has_the_residual_inside(answer: Answer, rng: torch.Generator) -> None:
    """With all parameters 0 it returns x."""
    attention = made(answer, "SelfAttention2d", 16, 2)
    zero_all(attention)
    x = images(rng, 2, 16, 3, 5)
    expect_close(attention(x), x, hint="add x itself, as it came in and before any norm, at the end")


@lab.check("SelfAttention2d")
def knows_no_positions(answer: Answer, rng: torch.Generator) -> None:
    """When the positions of x are shuffled, the result is shuffled the same way and not changed otherwise."""
    attention = filled(answer, rng, "SelfAttention2d", 16, 4)
    x = images(rng, 2, 16, 3, 5)
    order = torch.randperm(15, generator=rng)
    got, shuffled = attention(x), attention(x.flatten(2)[:, :, order].reshape(x.shape))
    expect_shape(got, (2, 16, 3, 5), "the result")
    hint = "all H·W positions are one set of tokens; `transpose` swaps axes, `reshape` and `view` mix them"
    expect_close(shuffled, got.flatten(2)[:, :, order].reshape(x.shape), rtol=1e-4, atol=1e-4, hint=hint)


@lab.check("SelfAttention2d")
def weighs_what_it_looks_at(answer: Answer, rng: torch.Generator) -> None:
    """What positions say in sum depends on where they look: each query's weights sum to 1, not each key's."""
    attention = filled(answer, rng, "SelfAttention2d", 16, 2)
    x = images(rng, 2, 16, 4, 5)
    # Each channel shuffled for itself keeps all means and variances, and changes who stands beside whom.
    mixed = torch.stack([x[:, c].flatten(1)[:, torch.randperm(20, generator=rng)] for c in range(16)], 1)
    sums = []
    for value in (x, mixed.reshape(x.shape)):
        got = attention(value)
        expect_shape(got, (2, 16, 4, 5), "the result")
        sums.append((got - value).sum((2, 3)))
    expect(
        change_of(sums[1], sums[0]) > 1e-3,
        "the sum of the result over all positions does not depend on queries and keys: either every position gets the "
        "same weight, or softmax goes over the queries; of (queries x keys) it goes over the last axis",
    )


def others_heard(answer: Answer, rng: torch.Generator, size: float) -> float:
    """How many of the 63 other positions one position hears; size: of the weights, 1-D parameters being 1.

    It is the inverse of the sum of squared shares, as the chapter counts keys.
    """
    attention = filled(answer, rng, "SelfAttention2d", 128, 1)
    set_parameters(attention, lambda name, value: size * value if value.ndim > 1 else torch.ones_like(value))
    x, weight = images(rng, 8, 128, 8, 8), torch.zeros(8, 128, 8, 8)
    weight[:, :, 3, 4] = images(rng, 8, 128)
    seen = answer.gradient(attention, x, wrt=[0], cotangent=weight)
    expect_shape(seen.value, (8, 128, 8, 8), "the result")
    grad = seen.grads[0]
    expect(grad is not None, "no gradient flows from the result to x")
    assert grad is not None
    heard = grad.double().square().sum(1)
    heard[:, 3, 4] = 0
    return (heard.sum((1, 2)) ** 2 / heard.square().sum((1, 2)).clamp(min=1e-300)).mean().item()


@lab.check("SelfAttention2d")
def divides_by_the_root_of_d(answer: Answer, rng: torch.Generator) -> None:
    """Scores are divided by √d: with small weights and d = 128 each position hears many others."""
    heard = others_heard(answer, rng, 0.3)
    if heard > 18:  # right answers give about 42, spread 3; those without √d about 2
        return
    divided = others_heard(answer, rng, 0.3 * 128**-0.5)  # what keys differ by is smaller by √128 here
    hint = "divide the scores by √d before softmax, or it picks one position alone" if divided > 18 else EARLIER
    expect(False, f"each position hears only {heard:.1f} of 63 others — {hint}")


# ---- UNet


@lab.check("UNet")
def returns_images_like_x(answer: Answer, rng: torch.Generator) -> None:
    """The result has the shape of x, with one, two and three levels, one and three channels, and H unlike W."""
    for in_ch, mults, B in ((1, (1,), 1), (3, (1, 2), 2), (1, (2, 1, 1), 3)):
        factor = 2 ** (len(mults) - 1)
        shape = (B, in_ch, 2 * factor, 3 * factor + (factor == 1) * 2)
        with layers_named_apart():
            net = filled(answer, rng, "UNet", in_ch, 8, mults)
            got = net(images(rng, *shape), torch.randint(0, 1000, (B,), generator=rng))
        expect_shape(got, shape, f"UNet({in_ch}, 8, {mults}) of x of shape {shape}")


@lab.check("UNet")
def is_zero_without_parameters(answer: Answer, rng: torch.Generator) -> None:
    """With all parameters 0 the result is 0: x is not added to it."""
    net = made(answer, "UNet", 2, 8, (1, 2))
    zero_all(net)
    x = images(rng, 2, 2, 4, 6)
    got = net(x, torch.tensor([3, 500]))
    hint = recognise(got, {"x is added to the result": x}, "the last layer is linear, and x is not added to it")
    expect_close(got, torch.zeros_like(x), atol=1e-6, hint=hint)


@lab.check("UNet")
def hears_each_samples_time(answer: Answer, rng: torch.Generator) -> None:
    """Another time for one sample changes the output of this sample, and of no other."""
    for mults in ((1,), (1, 2)):
        net = filled(answer, rng, "UNet", 1, 8, mults)
        x, t = images(rng, 3, 1, 6, 8), torch.randint(0, 400, (3,), generator=rng)
        row, later = integer(rng, 0, 2), t.clone()
        later[row] += integer(rng, 200, 500)
        expect_own_row(net(x, t), net(x, later), row, "the time")


@lab.check("UNet")
def tells_neighbouring_steps_apart(answer: Answer, rng: torch.Generator) -> None:
    """Step k and step k + 1 are told apart: t goes into the embedding in steps."""
    one_step = many_steps = 0.0
    for _ in range(3):
        net = filled(answer, rng, "UNet", 1, 8, (1, 2))
        k = torch.randint(50, 450, (8,), generator=rng)
        x = images(rng, 1, 1, 6, 8).expand(24, -1, -1, -1).clone()
        got = net(x, torch.cat([k, k + 1, k + 500]))
        expect_shape(got, (24, 1, 6, 8), "the result")
        here, near, far = got.chunk(3)
        one_step += change_of(near, here)
        many_steps += change_of(far, here)
    expect(many_steps > 1e-4, f"500 steps change nothing: is the time heard? {DEAF}")
    ratio = one_step / many_steps
    expect(
        ratio > 0.01,
        f"one step changes the output {1 / max(ratio, 1e-6):.0f} times less than 500 steps do: is t divided by "
        "the number of steps before its embedding?",
    )


@lab.check("UNet")
def has_all_layers_among_its_parameters(answer: Answer, rng: torch.Generator) -> None:
    """No layer stands outside of the network's parameters: with all of them frozen, the result needs no gradient."""
    net = filled(answer, rng, "UNet", 1, 8, (1, 2, 1), 3)
    x, t = images(rng, 2, 1, 4, 8), torch.randint(0, 900, (2,), generator=rng)
    answer.call(answer.attribute(net, "requires_grad_"), False)
    seen = answer.observe(net, x, t, torch.tensor([2, 0]))
    expect_shape(seen.value, (2, 1, 4, 8), "the result")
    expect(
        not seen.requires_grad,
        "all that `parameters()` lists was frozen, and the result still requires a gradient: some layers are not in "
        "that list, so that no optimizer would train them. A plain list or dict hides its layers; use nn.ModuleList",
    )


@lab.check("UNet")
def lets_gradients_reach_every_parameter(answer: Answer, rng: torch.Generator) -> None:
    """A gradient reaches every parameter, with three levels and labels."""
    net = filled(answer, rng, "UNet", 2, 8, (1, 2, 1), 4)
    x, t, y = images(rng, 4, 2, 8, 12), torch.randint(0, 900, (4,), generator=rng), torch.arange(4)
    seen = answer.gradient(net, x, t, y, wrt=[0], cotangent=images(rng, 4, 2, 8, 12), parameters=net)
    expect_every_gradient(seen)


@lab.check("UNet")
def hears_each_label(answer: Answer, rng: torch.Generator) -> None:
    """Each of the num_classes labels gives another output; y = None is allowed, with num_classes or without."""
    n = integer(rng, 3, 6)
    net, x = filled(answer, rng, "UNet", 1, 8, (1, 2), n), images(rng, 1, 1, 4, 6)
    plain = filled(answer, rng, "UNet", 1, 8, (1, 2))(x, torch.tensor([9]))
    expect_shape(plain, (1, 1, 4, 6), "the result without labels")
    many, t = x.expand(n, -1, -1, -1).clone(), torch.full((n,), 9)
    got, none = net(many, t, torch.arange(n)), net(many, t)
    for i in range(n):
        for j in range(i):
            expect(change_of(got[i], got[j]) > 1e-5, f"the labels {i} and {j} give the same output")
        expect(change_of(got[i], none[i]) > 1e-5, f"the label {i} and y = None give the same output")


# ---- ema_update


def pair_to_average(
    answer: Answer, rng: torch.Generator, *, frozen: bool = False, training: bool = False
) -> tuple[ModuleHandle, ModuleHandle]:
    """(ema_model, model) with random parameters and buffers. frozen, training: of the first; the second trains."""
    width = integer(rng, 2, 5)
    pair = (
        answer.module(answer.fixture("module_to_average", width=width, frozen=frozen, training=training)),
        answer.module(answer.fixture("module_to_average", width=width)),
    )
    for module in pair:
        module.load_state({name: _values_like(rng, value) for name, value in module.state().items()})
    return pair


def _values_like(rng: torch.Generator, value: torch.Tensor) -> torch.Tensor:
    if value.is_floating_point():
        return normal(rng, *value.shape, dtype=value.dtype)
    return torch.randint(0, 1000, value.shape, generator=rng, dtype=value.dtype)


def kept_share(decay: float, old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    """decay * old + (1 - decay) * new."""
    return (new.double() + decay * (old.double() - new.double())).to(old.dtype)


@lab.check("ema_update")
def averages_the_parameters(answer: Answer, rng: torch.Generator) -> None:
    """Every trainable parameter becomes decay·old + (1 - decay)·model."""
    ema, model = pair_to_average(answer, rng)
    old, new, decay = ema.parameters(), model.parameters(), number(rng, 0.1, 0.4)
    answer.ema_update(ema, model, decay)
    for name, got in ema.parameters().items():
        if name == "fixed":
            continue
        mistakes = {
            "decay and 1 - decay are exchanged": kept_share(1 - decay, old[name], new[name]),
            "nothing has changed": old[name],
            "this is the model's value alone": new[name],
        }
        hint = recognise(got, mistakes, "decay is the share of the old value that is kept")
        want = kept_share(decay, old[name], new[name])
        expect_close(got, want, rtol=1e-5, what=f"the average's `{name}`", hint=hint)


@lab.check("ema_update")
def averages_floating_buffers(answer: Answer, rng: torch.Generator) -> None:
    """Floating buffers, such as a batch norm's running mean, are averaged in the same way."""
    ema, model = pair_to_average(answer, rng)
    old, new, decay = ema.state(), model.state(), number(rng, 0.1, 0.4)
    answer.ema_update(ema, model, decay)
    now = ema.state()
    for name in ("norm.running_mean", "norm.running_var", "level"):
        hint = recognise(
            now[name],
            {"buffers are no parameters: go through `buffers()` too": old[name], "it is copied": new[name]},
        )
        what = f"the average's buffer `{name}`"
        expect_close(now[name], kept_share(decay, old[name], new[name]), rtol=1e-5, what=what, hint=hint)


@lab.check("ema_update")
def copies_integer_buffers(answer: Answer, rng: torch.Generator) -> None:
    """Integer buffers, such as a batch norm's counter, are copied from the model."""
    ema, model = pair_to_average(answer, rng)
    new = model.state()
    answer.ema_update(ema, model, number(rng, 0.3, 0.7))
    now = ema.state()
    for name in ("norm.num_batches_tracked", "table"):
        expect_close(now[name], new[name], what=f"the average's buffer `{name}`", hint="integers are copied")
