"""The hidden checks of lab 14: other shapes and dtypes, ends, gradients, longer runs, arguments left alone."""

from __future__ import annotations

import torch

from labcheck import Battery, expect, expect_close, expect_type
from noise2data import odes
from noise2data.checks.arguments import integer, normal, number, on_batch_axis, seeded, uniform
from noise2data.checks.expectations import (
    expect_loss,
    expect_near,
    expect_rows,
    expect_untouched,
    with_rows,
)
from noise2data.checks.few_steps import (
    COLUMN,
    away,
    coefficients,
    expect_levels,
    expect_like,
    falling,
    mean_rate,
    mean_square,
    pair_on_a_line,
    sine,
    span_of,
    three_times,
    triangle,
    two_levels,
)
from noise2data.checks.hints import advice, is_right
from noise2data.checks.statistics import expect_standard, expect_uncorrelated

lab = Battery("lab14_few_steps", hidden=True)

SHAPES = ((4, 4), (3, 3, 3, 3), (5, 1, 2, 5), (4, 2, 3, 2, 2))


# ---- progressive_target


@lab.check("progressive_target")
def has_times_for_each_sample(answer, rng):
    """(B,) tensors t, s and u belong to the batch, of points and of images, also when B equals another axis."""
    for shape in SHAPES:
        t, s, u = three_times(rng, shape[0])
        v, c, x = normal(rng, shape[-1]), number(rng, 1.0, 2.0), normal(rng, *shape)
        want = on_batch_axis(mean_rate(c, t, s, u), x) * v.expand(shape)
        teacher = answer.fixture("constant_field", v=v, c=c)
        what = f"the target for samples of shape {shape} and (B,) times"
        expect_rows(answer.progressive_target, (teacher, x, t, s, u), 2, want, what=what, hint=COLUMN)


@lab.check("progressive_target")
def takes_times_of_every_kind(answer, rng):
    """t, s and u may be Python numbers, 0-d or (B,) tensors, of different kinds in one call, and u may be 0."""
    A, x = normal(rng, 2, 2), normal(rng, 4, 2)
    teacher = answer.fixture("affine_field", A=A, b=torch.zeros(2).double(), c=0.0)
    t, s = number(rng, 0.6, 0.9), number(rng, 0.1, 0.4)
    middle = x + (s - t) * x @ A.T
    want = (middle - s * middle @ A.T - x) / -t
    zeros = torch.zeros(4, dtype=torch.float64)
    for given in (
        (t, torch.tensor(s).double(), 0),
        (torch.tensor(t).double(), s, 0.0),
        (torch.full((4,), t).double(), s, zeros),
        (t, torch.full((4,), s).double(), torch.zeros(())),
    ):
        expect_near(with_rows(answer.progressive_target, teacher, x, *given), want)


@lab.check("progressive_target")
def keeps_float32_images_as_they_are(answer, rng):
    """float32 images give a float32 target, also where times are float64 tensors; no argument is changed."""
    x, v, c = normal(rng, 3, 1, 4, 2, dtype=torch.float32), normal(rng, 2), number(rng, 0.5, 1.5)
    for shape in ((), (3,)):
        t, s, u = three_times(rng, *shape)
        teacher = answer.fixture("strict_velocity_net", v=v, c=c)
        seen = with_rows(answer.observe, "progressive_target", teacher, x, t, s, u)
        rate = mean_rate(c, t, s, u)
        want = (on_batch_axis(rate, x) if shape else rate) * v.expand(x.shape)
        expect_close(seen.value, want.float(), rtol=1e-4, atol=1e-4)
        expect_untouched(seen, None, x, t, s, u)


@lab.check("progressive_target")
def chains_into_many_steps(answer, rng):
    """Sixteen steps with the target are thirty-two of the teacher."""
    W, V, x, n = normal(rng, 4, 3), normal(rng, 3, 4), normal(rng, 5, 3), 16
    want = odes.integrate(sine(W, V), x, torch.linspace(1, 0, 2 * n + 1, dtype=torch.float64), odes.euler_step)[-1]
    teacher = answer.fixture("sine_field", W=W, V=V, c=1.5)
    for i in range(n):
        got = answer.progressive_target(teacher, x, 1 - i / n, 1 - (i + 0.5) / n, 1 - (i + 1) / n)
        expect_like(got, x)
        x = x - got / n
    expect_near(x, want, what="the end of the steps")


# ---- consistency_coefficients


@lab.check("consistency_coefficients")
def goes_from_the_least_level_to_the_largest(answer, rng):
    """From sigma_min to 10,000, in float64 to nine digits: no clamp, and no small number added anywhere."""
    for low in (number(rng, 1e-4, 1e-2), number(rng, 0.1, 0.5)):
        data = number(rng, 0.3, 3.0)
        sigma = low * (1 + torch.logspace(-4, 6, 21, dtype=torch.float64))
        got = coefficients(answer.consistency_coefficients(sigma, data, low))
        for c, want, name in zip(got, triangle(sigma, data, low), ("c_skip", "c_out"), strict=True):
            expect_close(c, want, rtol=1e-8, atol=1e-12, what=name)


@lab.check("consistency_coefficients")
def is_edms_pair_where_sigma_min_is_0(answer, rng):
    """With sigma_min = 0 it is EDM's pair, for numbers and tensors."""
    data = number(rng, 0.4, 2.0)
    for sigma in (uniform(rng, 0.1, 5.0, 4), number(rng, 0.1, 5.0)):
        c_skip, c_out = (
            torch.as_tensor(c).double() for c in coefficients(answer.consistency_coefficients(sigma, data, 0.0))
        )
        # cos² and data·sin of one angle: they lie on a parabola, and their ratio is that of the levels.
        expect_close(
            c_skip + (c_out / data) ** 2, torch.ones_like(c_skip), rtol=1e-6, what="c_skip + (c_out/sigma_data)²"
        )
        ratio = torch.as_tensor(sigma, dtype=torch.float64) / data
        expect_close((1 - c_skip) / c_skip, ratio**2, rtol=1e-5, what="(1 - c_skip)/c_skip")
        expect(bool((c_out > 0).all()), "c_out is not above 0 where sigma > sigma_min")


# ---- consistency_distillation_loss


def cubic(a, b, c):
    """What the fixture `cubic_score` computes."""
    return lambda x, sigma: (1 + c * sigma) * (a * x + b * x**3)


def three_functions(answer, rng, shape):
    """f, f_ema and denoise as fixtures on samples of a shape, and the same here."""
    fixtures, functions = [], []
    for size in (0.5, 0.5, 0.3):
        a, b = size * normal(rng, *shape), 0.05 * size * normal(rng, *shape)
        fixtures.append(answer.fixture("cubic_score", a=a, b=b, c=0.3))
        functions.append(cubic(a, b, 0.3))
    return fixtures, functions


@lab.check("consistency_distillation_loss")
def distils_images(answer, rng):
    """Images and points, B equal to another axis, levels for each sample or 0-d ones: the mean is over all elements."""
    for shape in SHAPES[:3]:
        for many in ((shape[0],), ()):
            hi, lo = two_levels(rng, *many)
            x0, eps = normal(rng, *shape), normal(rng, *shape)
            fixtures, (F, G, D) = three_functions(answer, rng, shape[1:])
            high, low = (on_batch_axis(level, x0) if many else level for level in (hi, lo))
            x, x_lo = pair_on_a_line(D, x0, eps, high, low)
            want = mean_square(F(x, high) - G(x_lo, low))
            got = with_rows(answer.consistency_distillation_loss, *fixtures, x0, eps, hi, lo)
            what = f"the loss for x0 of shape {shape} and levels of shape {many}"
            first = [(level[:1] if many else level).reshape(()) for level in (hi, lo)]
            y, y_lo = pair_on_a_line(D, x0[:1], eps[:1], *first)
            alone = mean_square(F(y, first[0]) - G(y_lo, first[1]))
            numbers = [level.item() for level in first]
            one = is_right(lambda: answer.consistency_distillation_loss(*fixtures, x0[:1], eps[:1], *numbers), alone)  # noqa: B023
            expect_loss(got, want, what=what, hint=advice(COLUMN, one))


@lab.check("consistency_distillation_loss")
def is_0_for_what_is_consistent(answer, rng):
    """Data at a single point m: from level to level x - m shrinks in proportion, and (x - m)/sigma does not change."""
    m, a = normal(rng, 3), number(rng, 0.5, 1.5)
    for n in ((), (5,)):
        hi, lo = two_levels(rng, *n)
        x0, eps = m.expand(5, 3).clone(), normal(rng, 5, 3)
        denoise = answer.fixture("constant_field", v=m)
        same = answer.fixture("affine_score", A=a * torch.eye(3).double(), b=-a * m)
        constant = answer.fixture("constant_field", v=m)
        got = with_rows(answer.consistency_distillation_loss, constant, constant, denoise, x0, eps, hi, lo)
        expect_loss(got, torch.zeros(()).double(), what="the loss of the exact consistency function")
        # f = a (x - m) is not consistent: it loses the share by which x - m shrinks.
        got = with_rows(answer.consistency_distillation_loss, same, same, denoise, x0, eps, hi, lo)
        lost = a * on_batch_axis(hi - lo, eps) * eps if n else a * (hi - lo) * eps
        expect_loss(got, mean_square(lost), what="the loss of f = a (x - m)")


@lab.check("consistency_distillation_loss")
def leaves_arguments_alone(answer, rng):
    """No argument is changed, and nothing is drawn."""
    hi, lo = two_levels(rng, 4)
    x0, eps = normal(rng, 4, 2), normal(rng, 4, 2)
    fixtures, (F, G, D) = three_functions(answer, rng, (2,))
    seen = with_rows(answer.observe, "consistency_distillation_loss", *fixtures, x0, eps, hi, lo)
    x, x_lo = pair_on_a_line(D, x0, eps, hi[:, None], lo[:, None])
    expect_loss(seen.value, mean_square(F(x, hi[:, None]) - G(x_lo, lo[:, None])))
    expect_untouched(seen, None, None, None, x0, eps, hi, lo)


# ---- pseudo_huber


@lab.check("pseudo_huber")
def measures_images(answer, rng):
    """The norm is over all axes but the first, of images of any shape, also when B equals another axis."""
    for shape in SHAPES:
        r, c = uniform(rng, 0.1, 4.0, shape[0]), number(rng, 0.2, 2.0)
        a, b = away(rng, r, *shape)
        want = r**2 / ((r**2 + c**2).sqrt() + c)
        expect_near(answer.pseudo_huber(a, b, c), want, what=f"the result for samples of shape {shape}")


@lab.check("pseudo_huber")
def keeps_float32_and_its_arguments(answer, rng):
    """float32 in, float32 out; a and b are not changed, and exchanging them changes nothing."""
    r, c = uniform(rng, 0.5, 4.0, 3), number(rng, 0.2, 2.0)
    a, b = (part.float() for part in away(rng, r, 3, 2, 4))
    want = ((r**2 + c**2).sqrt() - c).float()
    seen = answer.observe("pseudo_huber", a, b, c)
    expect_close(seen.value, want, rtol=1e-4, atol=1e-4)
    expect_untouched(seen, a, b)
    expect_close(answer.pseudo_huber(b, a, c), want, rtol=1e-4, atol=1e-4, what="the result with a and b exchanged")


# ---- ict_discretization


@lab.check("ict_discretization")
def follows_the_papers_table(answer, rng):
    """The paper's 10 and 1280 levels over its 400,000 steps, and 600,000."""
    for K in (400_000, 600_000):
        for k in (0, K // 8 - 1, K // 8, 3 * (K // 8), integer(rng, 0, K - 1), K - 1):
            got = answer.ict_discretization(k, K, 10, 1280)
            want = 10 * 2 ** (k // (K // 8)) + 1  # seven doublings, eight spans of K/8 steps
            expect_type(got, int, f"ict_discretization({k}, {K}, 10, 1280)")
            expect(got == want, f"ict_discretization({k}, {K}, 10, 1280) is {got}; expected {want}")


@lab.check("ict_discretization")
def works_where_nothing_divides(answer, rng):
    """s1 no multiple of s0, K no multiple of anything, s0 = s1: floors as in the formula, never more than s1 + 1."""
    for _ in range(6):
        s0, K = integer(rng, 3, 9), integer(rng, 300, 900)
        s1 = integer(rng, 3, 8) * s0 + integer(rng, 1, s0 - 1)
        span = span_of(K, s0, s1)
        for k in (0, span - 1, span, 2 * span - 1, 2 * span, K - 1):
            expect_levels(answer, k, K, s0, s1)
    s, K = integer(rng, 2, 50), integer(rng, 1, 20)
    for k in (0, K - 1):
        expect_levels(answer, k, K, s, s, "where s0 = s1 nothing is doubled")


# ---- consistency_sample


@lab.check("consistency_sample")
def draws_anew_at_every_level(answer, rng):
    """With several levels each has noise of its own, and that of one sample has nothing to do with the next one's."""
    n, sigmas = 20_000, falling(rng, 4)
    a, b, x = number(rng, 0.7, 1.2), normal(rng, 2), normal(rng, n, 2)
    f = answer.fixture("affine_score", A=a * torch.eye(2).double(), b=b)
    got = answer.consistency_sample(f, x, sigmas, seeded(rng))
    expect_like(got, x)
    mean, variance, together = x, 0.0, 0.0
    for i, sigma in enumerate(sigmas.tolist()):
        if i:
            variance, together = variance + sigma**2, together + sigma
        mean, variance, together = a * mean + b, a**2 * variance, a * together
    z = (got - mean) / variance**0.5
    hint = "draw new noise for every level, and add it to what f returned"
    same = {"the same noise is added at every level; draw it anew": together**2 / variance}
    expect_standard(z, "the sum of all noises, each shrunk by the jumps after it,", hint, same)
    expect_uncorrelated(z[:-1], z[1:], "neighbours in the batch get related noise")
    expect_uncorrelated(z[:, 0], z[:, 1], "the entries of a sample get related noise")


@lab.check("consistency_sample")
def tells_f_each_level(answer, rng):
    """The i-th jump is at sigmas[i], for any number of levels: seen where each level scales what came before."""
    A, c = 0.5 * normal(rng, 2, 2), number(rng, 0.5, 1.0)
    n = 5000
    sigmas, x = falling(rng, 3), normal(rng, 1, 2).expand(n, 2).clone()
    f = answer.fixture("affine_score", A=A, b=normal(rng, 2), c=c)
    got = answer.consistency_sample(f, x, sigmas, seeded(rng))
    expect_like(got, x)
    mean, cov = x[:1], torch.zeros(2, 2, dtype=torch.float64)
    for i, sigma in enumerate(sigmas.tolist()):
        gain = (1 + c * sigma) * A
        if i:
            cov = cov + sigma**2 * torch.eye(2).double()
        zero = answer.call(f, torch.zeros(1, 2).double(), torch.full((1,), sigma).double())
        mean, cov = mean @ gain.T + zero, gain @ cov @ gain.T
    root = torch.linalg.cholesky(cov)
    z = torch.linalg.solve_triangular(root, (got - mean).T, upper=False).T
    expect_standard(z, "what three levels make of one point, whitened,", "f is told sigmas[0], sigmas[1], ... in turn")


@lab.check("consistency_sample")
def samples_images_and_leaves_arguments_alone(answer, rng):
    """float32 images come back as float32 images, also with float64 levels; x and sigmas are not changed."""
    x, v, c, sigmas = normal(rng, 3, 1, 4, 2, dtype=torch.float32), normal(rng, 2), 0.7, falling(rng, 3)
    seen = answer.observe("consistency_sample", answer.fixture("constant_field", v=v, c=c), x, sigmas, seeded(rng))
    want = ((1 + c * sigmas[-1]) * v).expand(x.shape).float()
    expect_close(seen.value, want, rtol=1e-4, atol=1e-4)
    expect_untouched(seen, None, x, sigmas)
    one = answer.observe("consistency_sample", answer.fixture("constant_field", v=v, c=c), x, sigmas[:1], None)
    expect_close(one.value, ((1 + c * sigmas[0]) * v).expand(x.shape).float(), rtol=1e-4, atol=1e-4)
    expect_untouched(one, None, x, sigmas[:1])


@lab.check("consistency_sample")
def draws_in_xs_dtype_and_builds_no_graph(answer, rng):
    """The noise of float64 samples has the digits of float64; the result carries no graph, of f or of x."""
    sigmas, eye = torch.tensor([2.0, 1.0], dtype=torch.float64), torch.eye(3).double()
    f = answer.fixture("affine_score", A=eye, b=torch.zeros(3).double())
    x = torch.zeros(40, 3).double()
    seen = answer.gradient(
        "consistency_sample", f, x, sigmas, seeded(rng), wrt=[1], cotangent=torch.ones_like(x), parameters=f
    )
    expect_like(seen.value, x)
    held = any(grad is not None for grad in (*seen.grads, *seen.parameter_grads.values()))
    expect(not held, "the result carries a graph: sample under torch.no_grad()")
    coarse = torch.equal(seen.value.float().double(), seen.value)
    expect(not coarse, "the noise has the digits of float32, x those of float64: pass dtype=x.dtype to randn")
