"""The hidden checks of lab 5: batch axes, images, precision, ends, gradients, and how a training step draws."""

from __future__ import annotations

import math

import torch

from labcheck import Battery, expect, expect_close, expect_type
from noise2data.checks.arguments import (
    abar_of,
    distinct_levels,
    integer,
    normal,
    number,
    on_batch_axis,
    random_angles,
    random_schedule,
    seeded,
    uniform,
)
from noise2data.checks.expectations import expect_gradient, expect_rows, expect_untouched, with_rows
from noise2data.checks.hints import advice, is_right
from noise2data.checks.lab05_epsilon_loss import (
    PREDICTIONS,
    WITHOUT_NOISE,
    all_predictions,
    conditioned_chain,
    is_nan,
    min_snr,
    pair,
    spread_out,
)
from noise2data.checks.trainee import Trainee, moments_loss

lab = Battery("lab05_epsilon_loss", hidden=True)

DEVIATIONS = 5.5  # a normal statistic is beyond this once in 2.6e7 runs
SHAPES = ((3, 3, 3, 3), (5, 1, 2, 5), (4, 2, 3, 2, 2))


# ---- q_posterior


@lab.check("q_posterior")
def puts_levels_on_the_batch_axis(answer, rng):
    """A (B,) tensor k belongs to the batch, also when B equals the width, and for images."""
    betas, abar = random_schedule(rng, 15)
    a, b, variance = conditioned_chain(betas)
    B = integer(rng, 3, 6)
    for shape in ((B, B), *SHAPES):
        x0, xk, k = normal(rng, *shape), normal(rng, *shape), distinct_levels(rng, 15, shape[0])
        a_k, b_k, var_k = (on_batch_axis(values[k - 1], x0) for values in (a, b, variance))
        mean, var = pair(with_rows(answer.q_posterior, x0, xk, k, abar))
        what, hint = (
            f"for x0 of shape {shape} and k of shape ({shape[0]},)",
            "give k's factors the shape (B, 1, ..., 1)",
        )
        expect_close(mean, a_k * x0 + b_k * xk, rtol=1e-7, dtype=False, what=f"the mean {what}", hint=hint)
        expect_close(spread_out(var, x0), var_k.expand(shape), rtol=1e-7, dtype=False, what=f"var {what}", hint=hint)


@lab.check("q_posterior")
def takes_a_zero_dimensional_level(answer, rng):
    """k may be a 0-d tensor, and x0 an image batch."""
    betas, abar = random_schedule(rng, 12)
    a, b, _ = conditioned_chain(betas)
    x0, xk = normal(rng, 3, 2, 4, 5), normal(rng, 3, 2, 4, 5)
    for k in (2, 12):
        mean, var = pair(answer.q_posterior(x0, xk, torch.tensor(k), abar))
        expect_close(mean, a[k - 1] * x0 + b[k - 1] * xk, rtol=1e-7, dtype=False, what="the mean")
        spread_out(var, x0)


@lab.check("q_posterior")
def computes_coefficients_in_float64(answer, rng):
    """With betas of 1e-9 the factors are ratios of numbers that float32 cannot tell from 0."""
    betas = uniform(rng, 0.5e-9, 2e-9, 6)
    abar, total = abar_of(betas), betas.cumsum(0)
    x0, xk, k = torch.zeros(4, 3), normal(rng, 4, 3, dtype=torch.float32), 1 + distinct_levels(rng, 5, 4)
    before = (total[k - 2] / total[k - 1])[:, None]
    mean, var = pair(with_rows(answer.q_posterior, x0, xk, k, abar))
    double = is_right(lambda: pair(answer.q_posterior(x0.double(), xk.double(), k, abar))[0], before * xk)
    hint = advice("1 - abar is lost in float32; cast after the coefficients are made", double)
    expect_close(mean, before * xk, rtol=1e-3, dtype=False, what="the mean", hint=hint)
    want = (betas[k - 1, None] * before).expand(4, 3)
    expect_close(spread_out(var, x0), want, rtol=1e-3, atol=0.0, dtype=False, what="the variance", hint=hint)


@lab.check("q_posterior")
def is_differentiable_and_leaves_arguments_alone(answer, rng):
    """The mean is differentiable in x0, xk and abar, and no argument is changed."""
    betas, abar = random_schedule(rng, 10)
    a, b, _ = conditioned_chain(betas)
    x0, xk, k = normal(rng, 4, 3), normal(rng, 4, 3), 1 + distinct_levels(rng, 9, 4)
    a, b = (values[k - 1][:, None] for values in (a, b))
    seen = with_rows(answer.observe, "q_posterior", x0, xk, k, abar)
    mean, var = pair(seen.value)
    expect_close(mean, a * x0 + b * xk, rtol=1e-5, dtype=False, what="the mean")
    expect_untouched(seen, x0, xk, k, abar)
    weight, nothing = normal(rng, 4, 3), torch.zeros_like(var)
    seen = answer.gradient("q_posterior", x0, xk, k, abar, wrt=[0, 1, 3], cotangent=[weight, nothing])
    expect_gradient(seen, 0, a * weight, "x0")
    expect_gradient(seen, 1, b * weight, "xk")
    expect(seen.grads[2] is not None, "no gradient flows from the mean to abar: .item() and .tolist() detach it")


# ---- convert


@lab.check("convert")
def puts_levels_of_convert_on_the_batch_axis(answer, rng):
    """A (B,) tensor k belongs to the batch, also when B equals the width."""
    B = integer(rng, 3, 6)
    phi, abar = random_angles(rng, 15)
    k = distinct_levels(rng, 15, B)
    known = all_predictions(phi[k][:, None], normal(rng, B, B), normal(rng, B, B))
    for source, target in (("eps", "v"), ("x0", "score"), ("v", "x0"), ("score", "eps")):
        args = (known[source], known["xk"], k, abar, source, target)
        what = f'"{source}" to "{target}" for shape {(B, B)} and k of shape {(B,)}'
        expect_rows(answer.convert, args, 2, known[target], what=what, hint="give k's factors the shape (B, 1)")


@lab.check("convert")
def converts_images(answer, rng):
    """A (B,) tensor k belongs to the batch of images, and of anything else that is (B, ...); k may be 0-d."""
    phi, abar = random_angles(rng, 15)
    pairs = (("eps", "x0"), ("x0", "eps"), ("score", "x0"))
    for shape, (source, target) in zip(SHAPES, pairs, strict=True):
        k = distinct_levels(rng, 15, shape[0])
        x0, eps = normal(rng, *shape), normal(rng, *shape)
        known = all_predictions(on_batch_axis(phi[k], x0), x0, eps)
        args = (known[source], known["xk"], k, abar, source, target)
        what, hint = f'"{source}" to "{target}" for shape {shape}', "give k's factors the shape (B, 1, ..., 1)"
        expect_rows(answer.convert, args, 2, known[target], what=what, hint=hint)
        known = all_predictions(phi[9], x0, eps)
        got = answer.convert(known[source], known["xk"], torch.tensor(9), abar, source, target)
        expect_close(got, known[target], rtol=1e-6, dtype=False, what=f"{what} at a 0-d level")


@lab.check("convert", points=2)
def is_finite_at_zero_snr(answer, rng):
    """Where abar[k] = 0 all that is asked of "v" and of "x0" is known, and eps and score still give each other."""
    phi, abar = random_angles(rng, 8)
    phi[-1], abar[-1] = math.pi / 2, 0
    x0, eps = normal(rng, 4, 3), normal(rng, 4, 3)
    allowed = [(source, target) for source in ("v", "x0") for target in PREDICTIONS if source != target]
    for k in (8, torch.tensor([8, 3, 8, 5])):
        angle = phi[torch.as_tensor(k)].reshape(-1, 1)
        known = all_predictions(angle, x0, eps)
        for source, target in (*allowed, ("eps", "score"), ("score", "eps")):
            got = with_rows(answer.convert, known[source], known["xk"], k, abar, source, target)
            infinite = isinstance(got, torch.Tensor) and not bool(got.isfinite().all())
            hint = advice("v is -x0 and xk is eps there; do not divide by sqrt(abar) on the way", infinite)
            what = f'"{source}" to "{target}" where abar is 0'
            expect_close(got, known[target], rtol=1e-6, atol=1e-9, dtype=False, what=what, hint=hint)


@lab.check("convert")
def computes_its_coefficients_in_float64(answer, rng):
    """At abar = 1 - 1e-9 there is noise of standard deviation 3e-5, which a float32 abar does not show."""
    betas = uniform(rng, 0.5e-9, 2e-9, 6)
    abar = abar_of(betas)
    k = distinct_levels(rng, 6, 5)
    sigma = betas.cumsum(0).sqrt()[k - 1][:, None]
    eps, zeros = normal(rng, 5, 3, dtype=torch.float32), torch.zeros(5, 3)
    exact = {"score": -eps / sigma, "x0": -sigma * eps, "eps": eps.double()}
    for source, target in (("eps", "score"), ("score", "eps"), ("eps", "x0"), ("score", "x0")):
        pred = exact[source].float()
        got = with_rows(answer.convert, pred, zeros, k, abar, source, target)
        double = is_right(
            lambda p=pred, s=source, t=target: answer.convert(p.double(), zeros.double(), k, abar, s, t), exact[target]
        )
        hint = advice("1 - abar is lost in float32; cast after the square roots", double)
        what = f'"{source}" to "{target}"'
        expect_close(got, exact[target], rtol=1e-3, atol=0.0, dtype=False, what=what, hint=hint)


@lab.check("convert")
def clips_nothing(answer, rng):
    """Large values come back as they are, and a conversion to the same name changes nothing."""
    phi, abar = random_angles(rng, 10)
    k = integer(rng, 3, 7)
    known = all_predictions(phi[k], 100 * normal(rng, 4, 3), 100 * normal(rng, 4, 3))
    for source in ("eps", "x0", "score"):
        for target in ("eps", "x0", "score"):
            got = answer.convert(known[source], known["xk"], k, abar, source, target)
            what, hint = f'"{source}" to "{target}" for values of about 100', "nothing is clipped to [-1, 1]"
            small = all_predictions(phi[k], normal(rng, 4, 3) / 9, normal(rng, 4, 3) / 9)
            args = (small[source], small["xk"], k, abar, source, target)
            usual = is_right(lambda args=args: answer.convert(*args), small[target])
            expect_close(got, known[target], rtol=1e-6, dtype=False, what=what, hint=advice(hint, usual))


@lab.check("convert")
def is_differentiable_and_leaves_its_arguments_alone(answer, rng):
    """Gradients reach pred, xk and abar, and no argument is changed."""
    phi, abar = random_angles(rng, 10)
    k = integer(rng, 3, 8)
    cos, sin = phi[k].cos(), phi[k].sin()
    x0, eps, weight = normal(rng, 4, 3), normal(rng, 4, 3), normal(rng, 4, 3)
    known = all_predictions(phi[k], x0, eps)
    slopes = {  # of the target by the source and by xk
        ("eps", "x0"): (-sin / cos, 1 / cos),
        ("x0", "score"): (cos / sin**2, -1 / sin**2),
        ("score", "x0"): (sin**2 / cos, 1 / cos),
    }
    for (source, target), (by_pred, by_xk) in slopes.items():
        args = (known[source], known["xk"], k, abar, source, target)
        seen = answer.observe("convert", *args)
        expect_close(seen.value, known[target], rtol=1e-5, dtype=False, what=f'"{source}" to "{target}"')
        expect_untouched(seen, *args)
        seen = answer.gradient("convert", *args, wrt=[0, 1, 3], cotangent=weight)
        expect_gradient(seen, 0, by_pred * weight, "pred")
        expect_gradient(seen, 1, by_xk * weight, "xk")
        expect(seen.grads[2] is not None, "no gradient flows to abar: .item() and .tolist() detach it")


# ---- eps_loss


@lab.check("eps_loss")
def puts_levels_on_the_batch_axis_of_the_loss(answer, rng):
    """A (B,) tensor k belongs to the batch, also when B equals the width, and for images."""
    phi, abar = random_angles(rng, 15)
    scale, shift = uniform(rng, 0.3, 0.8, 16), uniform(rng, 0.5, 1.0, 16)
    net = answer.fixture("level_net", scale=scale, shift=shift)
    B = integer(rng, 3, 6)
    for shape in ((B, B), *SHAPES):
        x0, eps, k = 1 + normal(rng, *shape), normal(rng, *shape), distinct_levels(rng, 15, shape[0])
        want = moments_loss(phi[k].cos(), phi[k].sin(), scale[k], shift[k], x0, eps).item()
        got = with_rows(answer.eps_loss, net, x0, k, eps, abar)
        hint = "give k's factors the shape (B, 1, ..., 1), and average over all axes"
        expect_type(got, torch.Tensor)
        expect_close(got, want, rtol=1e-6, what=f"the loss for x0 of shape {shape}", hint=hint)


@lab.check("eps_loss")
def keeps_the_dtype_of_the_data(answer, rng):
    """float32 data are noised with factors made in float64, and net sees float32."""
    betas = uniform(rng, 0.5e-9, 2e-9, 6)
    abar = abar_of(betas)
    k, eps = distinct_levels(rng, 6, 5), normal(rng, 5, 3, dtype=torch.float32)
    sigma = betas.cumsum(0).sqrt()
    scale = torch.cat([torch.ones(1, dtype=torch.float64), 0.5 / sigma])
    net = answer.fixture("level_net", scale=scale, shift=torch.zeros(7, dtype=torch.float64))
    got = with_rows(answer.eps_loss, net, torch.zeros(5, 3), k, eps, abar)
    seen = answer.attribute(net, "seen")
    expect(len(seen) > 0, "net is not called")
    expect(seen[0][0].dtype == torch.float32, f"net sees {str(seen[0][0].dtype)[6:]} for float32 data")
    expect_type(got, torch.Tensor)
    expect(got.dtype == torch.float32, f"the loss of float32 data has dtype {str(got.dtype)[6:]}")
    hint = "1 - abar is lost in float32; cast after the square roots"
    expect_close(got, eps.double().square().mean().item() / 4, rtol=1e-3, what="the loss near level 0", hint=hint)


@lab.check("eps_loss")
def lets_gradients_through_to_the_data(answer, rng):
    """The loss is differentiable in x0, eps and abar too, and leaves its arguments alone."""
    phi, abar = random_angles(rng, 9)
    k = distinct_levels(rng, 9, 5)
    x0, eps = normal(rng, 5, 3), normal(rng, 5, 3)
    scale, shift = uniform(rng, 0.3, 0.8, 10), uniform(rng, 0.5, 1.0, 10)
    net = answer.fixture("level_net", scale=scale, shift=shift)
    one = torch.ones((), dtype=torch.float64)
    seen = answer.gradient("eps_loss", net, x0, k, eps, abar, wrt=[1, 3, 4], cotangent=one)
    p, q = ((scale[k] * phi[k].cos())[:, None], (scale[k] * phi[k].sin() - 1)[:, None])
    slope = 2 * (p * x0 + q * eps + shift[k][:, None]) / x0.numel()
    expect_gradient(seen, 0, p * slope, "x0")
    expect_gradient(seen, 1, q * slope, "eps", hint="eps enters twice, in xk and as the target; detach neither")
    expect(seen.grads[2] is not None, "no gradient flows from the loss to abar: .item() and .tolist() detach it")
    expect_untouched(answer.observe("eps_loss", net, x0, k, eps, abar), None, x0, k, eps, abar)


# ---- vlb_weight


@lab.check("vlb_weight")
def is_exact_in_the_dtype_of_abar(answer, rng):
    """With betas of 1e-7 the weights are right to four digits; the dtype is abar's."""
    betas = uniform(rng, 0.5e-7, 2e-7, 30)
    abar, total = abar_of(betas), betas.cumsum(0)
    k = torch.arange(2, 31)
    want = betas[k - 1] / (2 * total[k - 2])  # but for a part in a million
    got = answer.vlb_weight(k, abar)
    expect_close(got, want, rtol=1e-4, hint="stay in float64 until the end, and add no small number to a denominator")
    _, abar = random_schedule(rng, 12)
    log_snr = abar.log() - torch.log1p(-abar)
    want = torch.expm1(log_snr[1:-1] - log_snr[2:]) / 2
    expect_close(answer.vlb_weight(torch.arange(2, 13), abar.float()), want.float(), rtol=1e-3, atol=1e-6)


@lab.check("vlb_weight")
def takes_one_level(answer, rng):
    """k may be a number or a 0-d tensor: one weight comes back."""
    T = integer(rng, 6, 20)
    _, abar = random_schedule(rng, T)
    log_snr = abar.log() - torch.log1p(-abar)
    for k in (2, T):
        want = math.expm1(log_snr[k - 1] - log_snr[k]) / 2
        for given in (k, torch.tensor(k)):
            got = answer.vlb_weight(given, abar)
            expect_type(got, torch.Tensor)
            expect_close(got, want, rtol=1e-6, what=f"the weight at k = {k}")


@lab.check("vlb_weight")
def has_infinite_and_finite_rows(answer, rng):
    """In a batch with k = 1 that row is +inf, and no other is touched by it."""
    _, abar = random_schedule(rng, 15)
    k = torch.cat([torch.tensor([1]), 1 + distinct_levels(rng, 14, 4), torch.tensor([1])])
    log_snr = abar.log() - torch.log1p(-abar)
    want = torch.expm1(log_snr[k - 1] - log_snr[k]) / 2
    expect_close(answer.vlb_weight(k, abar), want, rtol=1e-6, hint="where sigma² = 0 the quotient is inf by itself")


@lab.check("vlb_weight")
def is_differentiable_and_leaves_abar_alone(answer, rng):
    """Gradients reach abar, and no argument is changed."""
    _, abar = random_schedule(rng, 9)
    k, weight = 1 + distinct_levels(rng, 8, 4), normal(rng, 4)
    snr = abar / (1 - abar)
    want = torch.zeros_like(abar)
    slope = 1 / (1 - abar) ** 2  # of SNR
    want.index_add_(0, k - 1, weight * slope[k - 1] / (2 * snr[k]))
    want.index_add_(0, k, -weight * snr[k - 1] / (2 * snr[k] ** 2) * slope[k])
    seen = answer.gradient("vlb_weight", k, abar, wrt=[1], cotangent=weight)
    expect_gradient(seen, 0, want, "abar", part=slice(1, None))
    expect_untouched(answer.observe("vlb_weight", k, abar), k, abar)


# ---- min_snr_weight


@lab.check("min_snr_weight")
def is_finite_without_noise(answer, rng):
    """At level 0 SNR is infinite: 0 for "eps" and for "v", gamma for "x0"."""
    _, abar = random_schedule(rng, integer(rng, 3, 12))
    gamma = number(rng, 2, 8)
    for prediction, want in (("x0", gamma), ("eps", 0.0), ("v", 0.0)):
        got = answer.min_snr_weight(0, abar, gamma, prediction)
        hint = advice("take the minimum before you divide: inf/inf is NaN, gamma/inf is 0", is_nan(got))
        expect_close(got, want, atol=1e-9, what=f'the weight of "{prediction}" at SNR = inf', hint=hint)


@lab.check("min_snr_weight")
def weighs_a_batch_of_both_ends(answer, rng):
    """Levels of a batch, both ends among them, have the weights that they have alone; gamma may be 0-d."""
    l = uniform(rng, -4, 4, 6).sort(descending=True).values  # noqa: E741
    ends = torch.tensor([1.0, 0.0], dtype=torch.float64)
    abar = torch.cat([ends[:1], torch.sigmoid(l), ends[1:]])
    gamma = number(rng, 0.5, 3)
    k = torch.cat([torch.tensor([7, 0]), distinct_levels(rng, 6, 4)])
    for prediction, at_0, at_inf in (("eps", 1.0, 0.0), ("x0", 0.0, gamma), ("v", 0.0, 0.0)):
        inner = min_snr(l[k[2:] - 1].exp(), gamma, prediction)
        want = torch.cat([torch.tensor([at_0, at_inf], dtype=torch.float64), inner])
        for given in (gamma, torch.tensor(gamma, dtype=torch.float64)):
            got = answer.min_snr_weight(k, abar, given, prediction)
            expect_close(got, want, rtol=1e-6, atol=1e-9, dtype=False, what=f'the weights of "{prediction}"')


@lab.check("min_snr_weight")
def keeps_the_dtype_of_abar(answer, rng):
    """float32 in, float32 out; float64 in, float64 out, also where SNR is far above or below gamma."""
    l = torch.tensor([18.0, 9.0, 0.5, -9.0, -18.0]).double() * uniform(rng, 0.9, 1.1, 5)  # noqa: E741
    abar = torch.cat([torch.ones(1, dtype=torch.float64), torch.sigmoid(l)])
    k = distinct_levels(rng, 5, 5)
    snr = l[k - 1].exp()
    for prediction in ("eps", "x0", "v"):
        want, what = min_snr(snr, 5.0, prediction), f'the weights of "{prediction}"'
        expect_close(answer.min_snr_weight(k, abar, 5.0, prediction), want, rtol=1e-6, atol=1e-14, what=what)
        large = k[l[k - 1] < 6]  # float32 cannot hold the SNR of the others
        want = min_snr(l[large - 1].exp(), 5.0, prediction).float()
        got = answer.min_snr_weight(large, abar.float(), 5.0, prediction)
        expect_close(got, want, rtol=1e-3, atol=1e-10, what=what)


@lab.check("min_snr_weight")
def leaves_its_arguments_alone(answer, rng):
    """No argument is changed."""
    l = uniform(rng, -4, 4, 6).sort(descending=True).values  # noqa: E741
    abar = torch.cat([torch.ones(1, dtype=torch.float64), torch.sigmoid(l)])
    k = distinct_levels(rng, 6, 4)
    for prediction in ("eps", "x0", "v"):
        seen = answer.observe("min_snr_weight", k, abar, 2.0, prediction)
        expect_close(seen.value, min_snr(l[k - 1].exp(), 2.0, prediction), rtol=1e-6, dtype=False)
        expect_untouched(seen, k, abar)


# ---- training_step


@lab.check("training_step")
def draws_each_level_by_itself(answer, rng):
    """The level of a sample says nothing about that of another: no pairs, no order, no even spread."""
    T, B = 40, 4000
    step, _ = Trainee(answer, rng, T, normal(rng, B, 1)).step(seeded(rng))
    k = step.k.long()
    expect(bool((k > 0).all()), WITHOUT_NOISE)
    expect(bool((k != k[0]).any()), f"all {B} samples have the same level; each draws its own")
    u = (k.double() - (T + 1) / 2) / math.sqrt((T**2 - 1) / 12)
    others = {"the next sample": u.roll(1), "the one half a batch away": u.roll(B // 2), "the mirrored one": u.flip(0)}
    for name, other in others.items():
        # In two of the sums each product stands twice, so the standard deviation is at most sqrt(2/B).
        statistic = ((u * other).mean() * math.sqrt(B / 2)).item()
        message = f"the level of a sample depends on that of {name}; draw each independently"
        expect(abs(statistic) < DEVIATIONS, message)
    counts = torch.bincount(k, minlength=T + 1)[1:].double()
    chi_square = ((counts - B / T) ** 2 / (B / T)).sum().item()  # 39 degrees of freedom
    expect(chi_square < 105, f"levels are not uniform on 1..{T}")  # above once in 1e7 runs
    even = f"the {T} levels come {counts.min():g} to {counts.max():g} times: too evenly for independent draws"
    expect(chi_square > 8.5, even)  # below once in 1e7 runs


@lab.check("training_step")
def draws_fresh_noise(answer, rng):
    """The noise is standard normal, another number for each element, independent of the level."""
    T, B, d = 20, 3000, 4
    step, _ = Trainee(answer, rng, T, normal(rng, B, d)).step(seeded(rng))
    noisy = step.k > 0  # level 0 shows no noise
    eps, k = step.eps[noisy], step.k[noisy].double()
    n = eps.numel()
    mean, square, fourth = (((eps**p).mean()).item() for p in (1, 2, 4))
    expect(abs(mean) * math.sqrt(n) < DEVIATIONS, f"the noise has mean {mean:.3f}; expected 0")
    off = abs(square - 1) * math.sqrt(n / 2)
    expect(off < DEVIATIONS + 0.5, f"the noise has variance {square:.3f}; expected 1, at every level")
    off = abs(fourth - 3) * math.sqrt(n / 96)
    expect(off < DEVIATIONS + 2.5, f"the noise is not normal: its fourth moment is {fourth:.2f}; expected 3")
    for axis, name in ((0, "samples"), (1, "features")):
        apart = (eps - eps.roll(1, axis)).square().mean().item()
        message = f"the noise of two {name} is not independent: its mean squared difference is {apart:.2f}; expected 2"
        expect(abs(apart - 2) < 0.5, message)
    level = ((k - (T + 1) / 2) / math.sqrt((T**2 - 1) / 12))[:, None]
    for linked in ((level * eps).mean(), (level * (eps**2 - 1)).mean() / math.sqrt(2)):
        expect(abs(linked.item()) * math.sqrt(n) < DEVIATIONS + 0.5, "the noise depends on the level; it should not")


@lab.check("training_step")
def draws_from_the_generator_alone(answer, rng):
    """Equal generators give equal steps, other generators others, and the global one is not touched."""
    x0, seed = normal(rng, 12, 3), integer(rng, 0, 2**30)
    state = rng.get_state()

    def step(generator):
        """The first step of one and the same network."""
        return Trainee(answer, rng.set_state(state), 30, x0).step(generator)

    first, seen = step(torch.Generator().manual_seed(seed))
    expect(not seen.global_draws, "random numbers were drawn from the global generator, or it was seeded")
    again, _ = step(torch.Generator().manual_seed(seed))
    same = torch.equal(first.x, again.x) and torch.equal(first.k, again.k) and first.value == again.value
    expect(same, "two generators with the same seed give different steps; pass generator=generator to every draw")
    following, _ = step(seen.args[4])  # the generator as the first step left it
    other, _ = step(torch.Generator().manual_seed(seed + 1))
    for name, later in (("generators with different seeds", other), ("two steps with one generator", following)):
        expect(not torch.equal(first.k, later.k), f"{name} give the same levels")
        same = (first.eps - later.eps).abs() < 1e-9  # of 36 right numbers one, once in 5e7 runs
        expect(not same.any(), f"{name} give the same noise")


@lab.check("training_step")
def trains_on_images(answer, rng):
    """x0 may be a float32 batch of images; net is called once, with float32 pictures and int64 levels."""
    for shape in ((5, 3, 4, 5), (4, 4, 4, 4)):
        x0 = normal(rng, *shape, dtype=torch.float32)
        step, _ = Trainee(answer, rng, 9, x0).step(seeded(rng))
        expect(step.calls == 1, f"net is called {step.calls} times; one call gives the loss and its gradient")
        expect(step.x.dtype == torch.float32, f"net is shown {str(step.x.dtype)[6:]} for float32 data")
        expect(step.k.dtype == torch.int64, f"net is given k as {str(step.k.dtype)[6:]}; expected int64")
        expect_close(step.value, step.loss, rtol=1e-3, what="the returned loss")
        for name, due in step.due.items():
            expect_close(step.moved[name], due, rtol=1e-3, atol=1e-4, what=f"the movement of `{name}`")


@lab.check("training_step")
def does_not_clip(answer, rng):
    """Gradients as large as they come move the parameters: nothing is clipped, the loss neither."""
    step, _ = Trainee(answer, rng, 6, normal(rng, 20, 2), size=1000.0).step(seeded(rng))
    moved, due = step.moved["shift"], step.due["shift"]
    clipped = 0 < moved.abs().max().item() < due.abs().max().item() / 10
    hint = advice("the gradient, or the loss, is cut off, which is not asked for", clipped)
    expect_close(moved, due, rtol=1e-5, atol=1e-8, what="the movement of `shift`", hint=hint)
    expect_close(step.value, step.loss, rtol=1e-6, what="the returned loss")


@lab.check("training_step")
def takes_step_after_step(answer, rng):
    """A second step starts from the parameters that the first has left, with nothing left over of its gradients."""
    trainee, generator = Trainee(answer, rng, 6, normal(rng, 30, 2)), seeded(rng)
    for number_of in (1, 2):
        step, seen = trainee.step(generator)
        generator = seen.args[4]
        for name, due in step.due.items():
            what = f"the movement of `{name}` in step {number_of}"
            expect_close(step.moved[name], due, rtol=1e-5, atol=1e-8, what=what)
        expect(step.steps == 1, f"optimizer.step() is called {step.steps} times in step {number_of}")
        expect_untouched(seen, None, None, trainee.x0, trainee.abar)
