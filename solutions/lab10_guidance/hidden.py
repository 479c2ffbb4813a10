"""The hidden checks of lab 10: other shapes, dtypes, ends, precision, gradients, draws, arguments left alone."""

from __future__ import annotations

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
    seeded,
    uniform,
)
from noise2data.checks.expectations import expect_gradient, expect_rows, expect_untouched
from noise2data.checks.hints import CAST_LAST, EARLIER, advice, differs_little, is_right
from noise2data.checks.lab10_guidance import (
    ON_BATCH_AXIS,
    LabelNet,
    Pair,
    expect_kept_or_null,
    expect_share,
    explained,
    labels,
    of_known_spread,
    of_likeness,
    plain,
    rescaled,
    weights,
)
from noise2data.checks.statistics import expect_uncorrelated

lab = Battery("lab10_guidance", hidden=True)

SHAPES = ((4, 4), (3, 3, 3, 3), (5, 1, 2, 5), (4, 2, 3, 2, 2))


# ---- drop_labels


@lab.check("drop_labels")
def is_exact_at_0_and_1(answer, rng):
    """p = 0 keeps every label, p = 1 drops every one."""
    y = labels(rng, 300)
    for p, want in ((1.0, torch.full_like(y, 10)), (0.0, y), (1, torch.full_like(y, 10)), (0, y)):
        got = answer.drop_labels(y, p, 10, seeded(rng))
        expect_close(got, want, rtol=0.0, atol=0.0, dtype=False, what=f"the result for p = {p}")


@lab.check("drop_labels")
def keeps_the_dtype_and_leaves_y_alone(answer, rng):
    """int64 gives int64 and int32 gives int32; y itself is not changed; a batch of one works."""
    for dtype in (torch.int64, torch.int32):
        y = labels(rng, 60).to(dtype)
        seen = answer.observe("drop_labels", y, 0.5, 10, seeded(rng))
        dropped = expect_kept_or_null(seen.value, y, 10)
        expect(seen.value.dtype == dtype, f"the result has dtype {seen.value.dtype}; expected y's, {dtype}")
        expect(0 < int(dropped.sum()) < 60, f"{int(dropped.sum())} of 60 labels became null with p = 0.5")
        expect_untouched(seen, y)
    y = labels(rng, 1)
    got = answer.drop_labels(y, 1.0, 10, seeded(rng))
    expect_close(got, torch.full_like(y, 10), rtol=0.0, atol=0.0, what="the result for a batch of one and p = 1")


@lab.check("drop_labels")
def takes_any_null(answer, rng):
    """null may be 0, negative, or far above all labels."""
    for null, low in ((0, 1), (-1, 0), (1000, 0)):
        y, p = labels(rng, 4000, low), number(rng, 0.2, 0.5)
        expect_share(expect_kept_or_null(answer.drop_labels(y, p, null, seeded(rng)), y, null), p)


@lab.check("drop_labels")
def treats_all_labels_and_neighbours_alike(answer, rng):
    """Each label is dropped as often as the others, and no sample's fate depends on its neighbour's."""
    y, p = labels(rng, 20_000), number(rng, 0.2, 0.4)
    dropped = expect_kept_or_null(answer.drop_labels(y, p, 10, seeded(rng)), y, 10)
    for label in range(10):
        expect_share(dropped[y == label], p, f"of the labels {label}")
    of = dropped.double()
    for apart in (1, 2):
        expect_uncorrelated(of[:-apart], of[apart:], f"samples {apart} apart in the batch are dropped together")


# ---- cfg_combine


@lab.check("cfg_combine")
def combines_any_shape(answer, rng):
    """Points and images of any shape, with a weight for each sample, a 0-d weight and a number."""
    for shape in SHAPES:
        pair, w = Pair(rng, *shape), uniform(rng, -1.0, 8.0, shape[0])
        what = f"the combination for shape {shape} and (B,) weights"
        expect_rows(answer.cfg_combine, (pair.cond, pair.uncond, w), 2, pair.guided(w), what=what, hint=ON_BATCH_AXIS)
        got = answer.cfg_combine(pair.cond, pair.uncond, w[0])
        expect_close(got, pair.guided(w[0]), rtol=1e-7, dtype=False, what="the combination for a 0-d w")


@lab.check("cfg_combine")
def keeps_the_dtype_of_cond(answer, rng):
    """float32 in, float32 out, also where w is float64."""
    pair, w = Pair(rng, 4, 3), uniform(rng, 1.5, 6.0, 4)
    for weight in (w, w[0], w[0].item()):
        got = answer.cfg_combine(pair.cond.float(), pair.uncond.float(), weight)
        expect_close(got, pair.guided(weight).float(), rtol=1e-4, atol=1e-5, hint="cast w to cond's dtype")


@lab.check("cfg_combine")
def sends_gradients_to_both(answer, rng):
    """Gradients reach cond, uncond and a tensor w, and no argument is changed."""
    pair = Pair(rng, 4, 3)
    c, u, w, cotangent = pair.cond, pair.uncond, uniform(rng, 1.5, 6.0, 4), normal(rng, 4, 3)
    seen = answer.gradient("cfg_combine", c, u, w, wrt=[0, 1, 2], cotangent=cotangent)
    expect_gradient(seen, 0, w[:, None] * cotangent, "cond")
    expect_gradient(seen, 1, cotangent - w[:, None] * cotangent, "uncond")
    expect_gradient(seen, 2, 2 * (pair.half * cotangent).sum(1), "w")
    expect_untouched(answer.observe("cfg_combine", c, u, w), c, u, w)


@lab.check("cfg_combine")
def clips_nothing(answer, rng):
    """Predictions far outside [-1, 1], weights below 0 and large ones are taken as they are."""
    pair = Pair(rng, 4, 3, size=50)
    c, u = pair.cond, pair.uncond
    for w in (plain(rng, -3.0, -1.0), plain(rng, 30.0, 60.0)):
        got = answer.cfg_combine(c, u, w)
        small = is_right(lambda: 50 * answer.cfg_combine(c / 500, u / 500, 0.5), (c + u) / 20)
        hint = advice("nothing is clipped in this lab, neither predictions nor weights", small)
        expect_close(got, pair.guided(w), rtol=1e-7, dtype=False, what=f"the combination for w = {w:.1f}", hint=hint)


# ---- guided_eps


@lab.check("guided_eps")
def guides_images_of_any_shape(answer, rng):
    """Points and images of any shape, the batch axis equal to another or not; k and w may be 0-d, and w below 0."""
    for shape in SHAPES:
        model, w = LabelNet(answer, rng), plain(rng, 1.5, 6.0)
        x, k, y = model.batch(rng, *shape)
        what = f"the guided eps for x of shape {shape}"
        got = model.guide(x, k, y, 4, w)
        expect_close(got, model.wanted(x, k, y, w), rtol=1e-7, dtype=False, what=f"{what} and (B,) levels")
        got = model.guide(x, k[0], y, 4, torch.tensor(-w, dtype=torch.float64))
        expect_close(got, model.wanted(x, k[0], y, -w), rtol=1e-7, dtype=False, what=f"{what}, 0-d k and w")


@lab.check("guided_eps")
def gives_what_x_is(answer, rng):
    """float32 in, float32 out, also where w is a 0-d float64 tensor."""
    model, w = LabelNet(answer, rng), plain(rng, 1.5, 6.0)
    x, k, y = model.batch(rng, 4, 3)
    want = model.wanted(x, k, y, w).float()
    for weight in (w, torch.tensor(w, dtype=torch.float64)):
        expect_close(model.guide(x.float(), k, y, 4, weight), want, rtol=1e-4, atol=1e-4, hint="the result is like x")


@lab.check("guided_eps")
def takes_any_null_label(answer, rng):
    """null may be 0 or any other label, and a sample whose own label is null gets the unconditional answer."""
    for null in (0, 2):
        model, k = LabelNet(answer, rng, null=null), integer(rng, 1, 20)
        x, _, y = model.batch(rng, 6, 3)
        y[integer(rng, 0, 5)] = null
        w = plain(rng, 2.0, 6.0)
        got = model.guide(x, k, y, null, w)
        expect_close(got, model.wanted(x, k, y, w), rtol=1e-7, dtype=False, what=f"the guided eps for null = {null}")


@lab.check("guided_eps")
def reaches_the_network_with_gradients(answer, rng):
    """Gradients reach x and the network's parameters, and no argument is changed."""
    model, k, w = LabelNet(answer, rng), integer(rng, 1, 20), plain(rng, 1.5, 6.0)
    x, _, y = model.batch(rng, 5, 3)
    cotangent = normal(rng, 5, 3)
    net = answer.fixture("label_net", scale=model.scale, shift=model.shift)
    seen = answer.gradient("guided_eps", net, x, k, y, 4, w, wrt=[1], cotangent=cotangent, parameters=net)
    scale = (1 - w) * model.scale[4, k] + w * model.scale[y, k]
    expect_gradient(seen, 0, scale[:, None] * cotangent, "x")
    by_shift = torch.zeros_like(model.shift)
    by_shift[4, k] = (1 - w) * cotangent.sum()
    for row, label in enumerate(y):
        by_shift[label, k] += w * cotangent[row].sum()
    got = seen.parameter_grads.get("shift")
    expect(got is not None, "no gradient flows to the network's parameters: its answers are detached, or under no_grad")
    expect_close(got, by_shift, rtol=1e-6, dtype=False, what="the gradient of a parameter of the network")
    levels, weight = distinct_levels(rng, 20, 5), torch.tensor(w, dtype=torch.float64)
    seen = answer.observe("guided_eps", net, x, levels, y, 4, weight)
    expect_untouched(seen, None, x, levels, y, None, weight)


# ---- classifier_guided_eps


@lab.check("classifier_guided_eps")
def shifts_any_shape(answer, rng):
    """Points and images of any shape, the batch axis equal to another or not; k and scale may be 0-d."""
    phi, abar = random_angles(rng, 15)
    for shape in SHAPES:
        eps, g, s = normal(rng, *shape), normal(rng, *shape), plain(rng, 1.5, 4.0)
        k = distinct_levels(rng, 15, shape[0])
        want = eps - s * on_batch_axis(phi[k].sin(), eps) * g
        what = f"the shifted eps for shape {shape} and (B,) levels"
        expect_rows(answer.classifier_guided_eps, (eps, g, k, abar, s), 2, want, what=what, hint=ON_BATCH_AXIS)
        got = answer.classifier_guided_eps(eps, g, k[0], abar, torch.tensor(s, dtype=torch.float64))
        want = eps - s * phi[k[0]].sin() * g
        expect_close(got, want, rtol=1e-7, dtype=False, what="the shifted eps for 0-d k and scale")


@lab.check("classifier_guided_eps")
def keeps_the_dtype_of_eps(answer, rng):
    """float32 in, float32 out, for a number and for a (B,) tensor k, although abar is float64."""
    phi, abar = random_angles(rng, 10)
    eps, g = normal(rng, 4, 3), normal(rng, 4, 3)
    for k in (torch.tensor(5), distinct_levels(rng, 10, 4)):
        want = eps - 2 * on_batch_axis(phi[k].sin(), eps) * g
        got = answer.classifier_guided_eps(eps.float(), g.float(), k if k.ndim else 5, abar, 2.0)
        expect_close(got, want.float(), rtol=1e-4, atol=1e-5, hint=advice(CAST_LAST, differs_little(got, want)))


@lab.check("classifier_guided_eps")
def computes_the_factor_in_float64(answer, rng):
    """With abar = 1 - 1e-9, a float32 gradient is still multiplied by about 3e-5."""
    betas = uniform(rng, 0.5e-9, 2e-9, 6)
    sums, abar = betas.cumsum(0), abar_of(betas)
    g, k, s = normal(rng, 5, 3, dtype=torch.float32), distinct_levels(rng, 6, 5), plain(rng, 1.5, 4.0)
    want = -s * sums[k - 1].sqrt()[:, None] * g
    got = answer.classifier_guided_eps(torch.zeros(5, 3), g, k, abar, s)
    in_float64 = is_right(
        lambda: answer.classifier_guided_eps(torch.zeros(5, 3, dtype=torch.float64), g.double(), k, abar, s), want
    )
    hint = advice("1 - abar is lost in float32; compute the factor in abar's dtype and cast it last", in_float64)
    expect_close(got, want.float(), rtol=1e-3, atol=1e-9, hint=hint)


@lab.check("classifier_guided_eps")
def meets_both_ends(answer, rng):
    """At k = 0 nothing is shifted; where abar is 0 the whole gradient is; scale 0 changes nothing, -1 turns round."""
    _, abar = random_angles(rng, 10)
    abar = torch.cat([abar, torch.zeros(1, dtype=torch.float64)])
    eps, g = 30 * normal(rng, 4, 3), 30 * normal(rng, 4, 3)
    for k, scale, want in (
        (11, 1.0, eps - g),
        (11, -1.0, eps + g),
        (11, 0.0, eps),
        (0, 3.0, eps),
        (11, 2, eps - 2 * g),
    ):
        got = answer.classifier_guided_eps(eps, g, k, abar, scale)
        what = f"eps at abar[k] = {abar[k].item():g} with scale {scale}"
        expect_close(got, want, rtol=1e-7, dtype=False, what=what)


@lab.check("classifier_guided_eps")
def passes_gradients_and_leaves_arguments_alone(answer, rng):
    """Gradients reach eps, grad_log_p and abar, and no argument is changed."""
    phi, abar = random_angles(rng, 10)
    k, s = integer(rng, 2, 9), plain(rng, 1.5, 4.0)
    eps, g, cotangent = normal(rng, 4, 3), normal(rng, 4, 3), normal(rng, 4, 3)
    seen = answer.gradient("classifier_guided_eps", eps, g, k, abar, s, wrt=[0, 1, 3], cotangent=cotangent)
    sin = phi[k].sin()
    expect_gradient(seen, 0, cotangent, "eps")
    expect_gradient(seen, 1, -s * sin * cotangent, "grad_log_p")
    by_abar = torch.zeros_like(abar)
    by_abar[k] = (s / (2 * sin) * g * cotangent).sum()
    expect_gradient(seen, 2, by_abar, "abar", part=slice(1, None))  # at entry 0 the root's slope is infinite
    levels = distinct_levels(rng, 10, 4)
    expect_untouched(answer.observe("classifier_guided_eps", eps, g, levels, abar, s), eps, g, levels, abar)


# ---- interval_weight


@lab.check("interval_weight")
def takes_any_weight(answer, rng):
    """w may be 0, below 0 or between 0 and 1."""
    t = uniform(rng, 0.0, 1.0, 30)
    for w in (0.0, plain(rng, -2.0, -0.5), plain(rng, 0.2, 0.8), integer(rng, 2, 6)):
        got = answer.interval_weight(t, w, 0.3, 0.7)
        expect_close(got, weights(t, float(w), 0.3, 0.7), rtol=1e-7, dtype=False, what=f"the weight for w = {w:g}")


@lab.check("interval_weight")
def takes_a_number_t(answer, rng):
    """t may be a Python number: then the result is one number."""
    w = plain(rng, 2.0, 6.0)
    for t, want in ((0.5, w), (0.25, w), (0.75, w), (0.1, 1.0), (0.9, 1.0), (1, 1.0), (0, 1.0)):
        got = answer.interval_weight(t, w, 0.25, 0.75)
        as_float = isinstance(t, int) and is_right(
            lambda: torch.as_tensor(answer.interval_weight(float(t), w, 0.25, 0.75)),  # noqa: B023
            torch.tensor(want),
        )
        hint = f"{float(t)} is right: a tensor made of an int is int64, and cuts off what stands after the point"
        hint = hint if as_float else EARLIER
        expect_close(got, want, rtol=1e-6, what=f"the weight for the number t = {t}", hint=hint)


@lab.check("interval_weight")
def takes_intervals_of_any_length(answer, rng):
    """lo = hi is an interval of one time, and [0, 1] is all times, both ends included."""
    w, j = plain(rng, 2.0, 6.0), integer(rng, 2, 14)
    t = torch.arange(17, dtype=torch.float64) / 16
    for lo, hi in ((j / 16, j / 16), (0.0, 1.0), (0.0, j / 16), (j / 16, 1.0)):
        got = answer.interval_weight(t, w, lo, hi)
        expect_close(got, weights(t, w, lo, hi), rtol=1e-7, dtype=False, what=f"the weight for [{lo:g}, {hi:g}]")


@lab.check("interval_weight")
def takes_tensors_and_leaves_them_alone(answer, rng):
    """w, lo and hi may be 0-d tensors, in float64 beside a float32 t, and no argument is changed."""
    w, t = plain(rng, 2.0, 6.0), uniform(rng, 0.0, 1.0, 20).float()
    w0, lo, hi = (torch.tensor(value, dtype=torch.float64) for value in (w, 0.25, 0.75))
    seen = answer.observe("interval_weight", t, w0, lo, hi)
    expect_type(seen.value, torch.Tensor)
    want = weights(t, w, 0.25, 0.75)
    expect_close(seen.value, want, rtol=1e-6, hint=of_likeness(seen.value, want))
    expect_untouched(seen, t, w0, lo, hi)


# ---- rescale_guided


def one_by_one(answer, g, c, phi):
    """The student's rescale_guided, each sample a batch of its own."""
    return torch.cat([answer.rescale_guided(g[i : i + 1], c[i : i + 1], phi) for i in range(len(g))])


@lab.check("rescale_guided")
def rescales_any_shape(answer, rng):
    """Points and images of any shape, the batch axis equal to another or not; phi may be 0-d."""
    for shape in SHAPES:
        (g, of_g), (c, of_c), phi = of_known_spread(rng, *shape), of_known_spread(rng, *shape), plain(rng, 0.3, 0.9)
        want = rescaled(g, of_g, of_c, phi)
        for value in (phi, torch.tensor(phi, dtype=torch.float64)):
            got = explained(answer.rescale_guided, g, c, value)
            alone = is_right(lambda: one_by_one(answer, g, c, value), want)  # noqa: B023
            hint = advice("each sample alone is right: it has its own factor, of shape (B, 1, ..., 1)", alone)
            expect_close(got, want, rtol=1e-7, dtype=False, what=f"the result for shape {shape}", hint=hint)


@lab.check("rescale_guided")
def keeps_float32(answer, rng):
    """float32 in, float32 out."""
    (g, of_g), (c, of_c) = of_known_spread(rng, 4, 6), of_known_spread(rng, 4, 6)
    want = rescaled(g, of_g, of_c, 0.7).float()
    expect_close(answer.rescale_guided(g.float(), c.float(), 0.7), want, rtol=1e-4, atol=1e-5)


@lab.check("rescale_guided")
def changes_nothing_at_phi_0(answer, rng):
    """phi = 0 returns guided, phi = 1 rescales fully, and where the spreads agree phi does not matter."""
    (g, of_g), (c, of_c) = of_known_spread(rng, 5, 2, 4), of_known_spread(rng, 5, 2, 4)
    for phi, want in ((1, rescaled(g, of_g, of_c, 1.0)), (0, g), (0.0, g)):
        expect_close(answer.rescale_guided(g, c, phi), want, rtol=1e-7, dtype=False, what=f"the result for phi = {phi}")
    same = g.flip(1, 2) + 3  # another picture of the same standard deviation
    expect_close(answer.rescale_guided(g, same, 0.5), g, rtol=1e-7, dtype=False, what="the result for equal spreads")


@lab.check("rescale_guided")
def takes_spreads_of_all_sizes(answer, rng):
    """Nothing is added to a standard deviation: those of 1e-6 are right, and so is one of 1e6."""
    for small, large in ((1e-6, 1.0), (1.0, 1e-6), (1e6, 1.0)):
        (g, of_g), (c, of_c) = of_known_spread(rng, 4, 5), of_known_spread(rng, 4, 5)
        got = answer.rescale_guided(small * g, large * c, 0.7)
        want = small * rescaled(g, small / large * of_g, of_c, 0.7)
        ordinary = is_right(lambda: answer.rescale_guided(g, c, 0.7), rescaled(g, of_g, of_c, 0.7))  # noqa: B023
        hint = advice("add nothing to a standard deviation, and clamp none: no sample is constant", ordinary)
        expect_close(
            got, want, rtol=1e-5, dtype=False, what=f"with guided's spread about {small:g} the result", hint=hint
        )


@lab.check("rescale_guided")
def sends_gradients_through_both(answer, rng):
    """Gradients reach guided and cond, through their standard deviations, too."""
    (g, of_g), (c, of_c), phi = of_known_spread(rng, 4, 6), of_known_spread(rng, 4, 6), plain(rng, 0.3, 0.9)
    cotangent, n = normal(rng, 4, 6), 6
    seen = answer.gradient("rescale_guided", g, c, phi, wrt=[0, 1], cotangent=cotangent)
    inner = (cotangent * g).sum(1, keepdim=True)
    g_unit, c_unit = ((x - x.mean(1, keepdim=True)) / s[:, None] for x, s in ((g, of_g), (c, of_c)))
    ratio = (of_c / of_g)[:, None]
    # A standard deviation s of n numbers has the derivative (x - mean)/(n s).
    by_g = (1 - phi + phi * ratio) * cotangent - phi * ratio * inner * g_unit / (n * of_g[:, None])
    expect_gradient(seen, 0, by_g, "guided")
    expect_gradient(seen, 1, phi * inner * c_unit / (n * of_g[:, None]), "cond")


@lab.check("rescale_guided")
def leaves_both_alone(answer, rng):
    """The right result, and neither argument is changed."""
    (g, of_g), (c, of_c) = of_known_spread(rng, 4, 3, 2), of_known_spread(rng, 4, 3, 2)
    seen = answer.observe("rescale_guided", g, c, 0.5)
    expect_close(seen.value, rescaled(g, of_g, of_c, 0.5), rtol=1e-7, dtype=False, hint=EARLIER)
    expect_untouched(seen, g, c)
