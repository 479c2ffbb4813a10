"""The visible checks of lab 14, few steps.

Wanted values come by another route than the student's. Two steps of a teacher are a product of matrices, or a sum of
known velocities. The coefficients are sides of a right-angled triangle. Both ends of a consistency step are points of
the straight line through the denoiser's answer. Noise is solved for from samples of an affine f, and the number of
levels is found with whole numbers alone, without a logarithm.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from labcheck import Battery, expect, expect_close, expect_type
from labcheck.answer import Answer
from noise2data import odes
from noise2data.checks.arguments import integer, normal, number, on_batch_axis, seeded, uniform
from noise2data.checks.expectations import (
    expect_gradient,
    expect_loss,
    expect_near,
    expect_parameter_gradient,
    expect_scalar,
    expect_untouched,
    with_rows,
)
from noise2data.checks.few_steps import (
    COLUMN,
    affine,
    away,
    coefficients,
    expect_calls,
    expect_known,
    expect_levels,
    expect_like,
    falling,
    mean_rate,
    mean_square,
    pair_on_a_line,
    points,
    sine,
    three_times,
    triangle,
    two_levels,
)
from noise2data.checks.hints import EARLIER, advice, differs_little, is_right, recognise
from noise2data.checks.statistics import expect_gaussian, expect_standard

lab = Battery(
    "lab14_few_steps",
    fixtures="noise2data.checks.fixtures",
    forbidden=[
        "noise2data.denoiser",
        "noise2data.distillation",
        "noise2data.objectives",
        "noise2data.odes",
        "noise2data.samplers",
    ],
)

CAST = "cast levels and times to the dtype of the data before you multiply"
ONE = torch.ones((), dtype=torch.float64)


# ---- progressive_target


@lab.check("progressive_target", points=2)
def averages_the_velocities_of_two_steps(answer: Answer, rng: torch.Generator) -> None:
    """It is the average velocity of the teacher's steps from t to s and from s to u, each asked where it starts."""
    v, c, x = normal(rng, 3), number(rng, 1.0, 2.0), normal(rng, 5, 3)
    t, s, u = map(float, three_times(rng))
    got = with_rows(answer.progressive_target, answer.fixture("constant_field", v=v, c=c), x, t, s, u)

    def times(rate: float) -> torch.Tensor:
        return (rate * v).expand(5, 3)

    want = times(mean_rate(c, t, s, u))
    expect_known(got, want, {
        "the sign is turned round: teacher and student would run opposite ways. Divide by u - t, which is negative":
            -want,
        "this is x_u - x, the way itself; divide it by u - t": (u - t) * want,
        "the way is divided by t; it takes from t to u": -want * (u - t) / t,
        "this is the plain mean of two velocities; the steps have different lengths": times(1 + c * (t + s) / 2),
        "this is the teacher's velocity at t alone; the second step asks at s": times(1 + c * t),
        "the teacher is asked at the ends of its steps; ask where each starts, at t and at s":
            times(1 + c * (s * (s - t) + u * (u - s)) / (u - t)),
        "the teacher is asked at 1 - t and 1 - s; its clock is yours: ask at t and s":
            times(1 + c - (mean_rate(c, t, s, u) - 1)),
        "the teacher is turned round as one of the other clock, -v(x, 1 - t); its clock is yours":
            -times(1 + c - (mean_rate(c, t, s, u) - 1)),
    }, "(x_u - x)/(u - t), after one Euler step from t to s and one from s to u")  # fmt: skip


@lab.check("progressive_target")
def takes_the_second_step_from_where_the_first_led(answer: Answer, rng: torch.Generator) -> None:
    """The teacher is asked at x and then at x_s: in a linear field the two steps multiply x by two matrices."""
    A, x = normal(rng, 3, 3), normal(rng, 5, 3)
    t, s, u = map(float, three_times(rng))
    one = torch.eye(3, dtype=torch.float64)
    teacher = answer.fixture("affine_field", A=A, b=torch.zeros(3).double())
    got = with_rows(answer.progressive_target, teacher, x, t, s, u)
    want = (x @ ((one + (u - s) * A) @ (one + (s - t) * A)).T - x) / (u - t)
    back = (x @ ((one - (u - s) * A) @ (one - (s - t) * A)).T - x) / (t - u)
    expect_known(got, want, {
        "the teacher is asked at x both times; the second time ask at x_s": x @ A.T,
        "the sign is turned round: divide by u - t, which is negative": -want,
        "the teacher's steps go the wrong way: their length s - t is negative": back,
        "the teacher's velocity has its sign turned round; or its steps go the wrong way, and so does the division":
            -back,
    }, "the second velocity is teacher(x_s, s), x_s the end of the first step")  # fmt: skip


@lab.check("progressive_target")
def lets_one_step_end_where_two_end(answer: Answer, rng: torch.Generator) -> None:
    """One Euler step with the target ends where the teacher's two end, in a curved field and down to u = 0."""
    W, V, x = normal(rng, 4, 3), normal(rng, 3, 4), normal(rng, 5, 3)
    for u in (number(rng, 0.1, 0.3), 0.0):
        ts = torch.tensor([u + 0.5, u + number(rng, 0.1, 0.2), u], dtype=torch.float64)
        teacher = answer.fixture("sine_field", W=W, V=V, c=1.5)
        got = with_rows(answer.progressive_target, teacher, x, *ts.tolist())
        expect_type(got, torch.Tensor)
        end = odes.integrate(sine(W, V), x, ts, odes.euler_step)[-1]
        hint = f"t, s, u are {', '.join(f'{value:.2g}' for value in ts.tolist())}"
        expect_near(x - 0.5 * got, end, what="the end of one step with the target", hint=hint)


@lab.check("progressive_target")
def carries_no_graph(answer: Answer, rng: torch.Generator) -> None:
    """The target is data for the student: no gradient flows from it to the teacher's parameters, or to x."""
    A, b, x = normal(rng, 2, 2), normal(rng, 2), normal(rng, 4, 2)
    t, s, u = map(float, three_times(rng))
    teacher = answer.fixture("affine_score", A=A, b=b)
    args = ("progressive_target", teacher, x, t, s, u)
    seen = with_rows(lambda *args: answer.gradient(*args, wrt=[1], cotangent=x, parameters=teacher), *args)
    middle = x + (s - t) * (x @ A.T + b)
    expect_near(seen.value, (middle + (u - s) * (middle @ A.T + b) - x) / (u - t), hint=EARLIER)
    held = any(grad is not None for grad in (*seen.grads, *seen.parameter_grads.values()))
    expect(not held, "the target still holds a graph: use torch.no_grad(), or detach()")


@lab.check("progressive_target")
def asks_the_teacher_twice(answer: Answer, rng: torch.Generator) -> None:
    """The teacher is called exactly twice, with the time as a (B,) tensor in x's dtype, which the target has too."""
    a, per_call, x = number(rng, 0.5, 1.5), number(rng, 0.5, 0.9), normal(rng, 4, 2)
    t, s, u = map(float, three_times(rng))
    teacher = answer.fixture("table_net", table=torch.tensor([a, a], dtype=torch.float64), per_call=per_call)
    got = with_rows(answer.progressive_target, teacher, x, t, s, u)
    expect_calls(answer, teacher, "the teacher", 2)
    # Its first answer is a, its second a (1 + per_call).
    hint = "the teacher's first velocity counts from t to s, the second from s to u"
    expect_near(got, torch.full_like(x, a * (1 + per_call * (u - s) / (u - t))), hint=hint)
    teacher = answer.fixture("strict_velocity_net", v=normal(rng, 2), c=0.5)
    for given in (x, x.float()):
        got = answer.progressive_target(teacher, given, t, s, u)
        expect(got.dtype == given.dtype, f"x is {given.dtype}, the target {got.dtype}; they should be alike")


# ---- consistency_coefficients


def least_level(rng: torch.Generator) -> float:
    """A sigma_min that float32 knows exactly."""
    return integer(rng, 2, 90) / 1024


@lab.check("consistency_coefficients", points=2)
def leaves_x_alone_at_sigma_min(answer: Answer, rng: torch.Generator) -> None:
    """At sigma_min the pair is (1, 0), so that f(x, sigma_min) = x whatever the network says: c_out is exactly 0."""
    low, data = least_level(rng), number(rng, 0.4, 2.0)
    given: tuple[Any, ...] = (low, torch.tensor(low), torch.full((3,), low), torch.full((3,), low).double())
    for sigma in given:
        c_skip, c_out = (torch.as_tensor(c) for c in coefficients(answer.consistency_coefficients(sigma, data, low)))
        kind = "a number" if isinstance(sigma, float) else f"a {str(sigma.dtype)[6:]} tensor"
        edm = differs_little(c_out.double().reshape(-1)[0], torch.tensor(data * low / (data**2 + low**2) ** 0.5))
        hint = " — these are EDM's coefficients, which are (1, 0) at sigma = 0" if edm else ""
        worst = c_out.abs().max().item()
        expect(worst == 0, f"at sigma_min, {kind}, c_out is {worst:.3g}; expected exactly 0{hint}")
        rounding = 4 * torch.finfo(c_skip.dtype if c_skip.is_floating_point() else torch.float64).eps
        worst = (c_skip.double() - 1).abs().max().item()
        expect(worst <= rounding, f"at sigma_min, {kind}, c_skip differs from 1 by {worst:.3g}{hint}")


def expect_coefficient(
    answer: Answer, rng: torch.Generator, index: int, mistakes: Callable[..., dict[str, Any]]
) -> None:
    """Fail unless one of the two is right for (B,) levels. mistakes(s, d, m): from sigma, sigma_data, sigma_min."""
    low, data = number(rng, 0.1, 0.5), number(rng, 0.6, 3.0)
    sigma = low + uniform(rng, -2.0, 3.0, 6).exp()
    pair, want = coefficients(answer.consistency_coefficients(sigma, data, low)), triangle(sigma, data, low)[index]
    named = mistakes(sigma, data, low)
    named["sigma_data is 0.5 here, whatever was asked for"] = triangle(sigma, 0.5, low)[index]
    named["sigma_min is 0.002 here, whatever was asked for"] = triangle(sigma, data, 0.002)[index]
    swapped = differs_little(pair[1 - index], want)
    hint = "the order is (c_skip, c_out)" if swapped else recognise(pair[index], named)
    expect_close(pair[index], want, rtol=1e-6, atol=0.0, dtype=False, what=("c_skip", "c_out")[index], hint=hint)


@lab.check("consistency_coefficients")
def skips_as_far_as_the_level_is_above_sigma_min(answer: Answer, rng: torch.Generator) -> None:
    """c_skip is sigma_data² / ((sigma - sigma_min)² + sigma_data²)."""
    expect_coefficient(answer, rng, 0, lambda s, d, m: {
        "sigma_min is left out: these are EDM's coefficients": d**2 / (s**2 + d**2),
        "the squares are missing": d / ((s - m) + d),
        "this is the other share, 1 - c_skip": (s - m) ** 2 / ((s - m) ** 2 + d**2),
        "sigma_min is subtracted after squaring": d**2 / (s**2 - m**2 + d**2),
        "sigma_min is added; it is subtracted": d**2 / ((s + m) ** 2 + d**2),
        "the numerator is sigma_data², not 1": 1 / ((s - m) ** 2 + d**2),
    })  # fmt: skip


@lab.check("consistency_coefficients")
def lets_the_network_in_above_sigma_min(answer: Answer, rng: torch.Generator) -> None:
    """c_out is sigma_data (sigma - sigma_min) / sqrt(sigma_data² + sigma²)."""
    expect_coefficient(answer, rng, 1, lambda s, d, m: {
        "sigma_min is left out: these are EDM's coefficients": s * d / (s**2 + d**2).sqrt(),
        "under the root stands sigma², without sigma_min": (s - m) * d / ((s - m) ** 2 + d**2).sqrt(),
        "the root is missing": (s - m) * d / (s**2 + d**2),
        "the factor sigma_data is missing": (s - m) / (s**2 + d**2).sqrt(),
        "the factor sigma - sigma_min is missing": d / (s**2 + d**2).sqrt(),
        "the sign is turned round": (m - s) * d / (s**2 + d**2).sqrt(),
    })  # fmt: skip


@lab.check("consistency_coefficients")
def has_sigmas_shape_and_dtype(answer: Answer, rng: torch.Generator) -> None:
    """A tensor sigma keeps its shape and dtype; for a number each of the two is a number or a 0-d tensor."""
    low, data, value = number(rng, 0.01, 0.1), number(rng, 0.4, 2.0), number(rng, 0.3, 3.0)
    for sigma in (torch.tensor(value).double(), uniform(rng, 0.3, 3.0, 5), uniform(rng, 0.3, 3.0, 5).float()):
        got = coefficients(answer.consistency_coefficients(sigma, data, low))
        for c, want, name in zip(got, triangle(sigma, data, low), ("c_skip", "c_out"), strict=True):
            expect_close(c, want.to(sigma.dtype), rtol=1e-5, atol=1e-6, what=name)
    got = coefficients(answer.consistency_coefficients(value, data, low))
    for c, want in zip(got, triangle(value, data, low), strict=True):
        expect_close(c, want.item(), rtol=1e-5, what="a coefficient for a Python number")


@lab.check("consistency_coefficients")
def can_be_differentiated(answer: Answer, rng: torch.Generator) -> None:
    """Gradients reach a tensor sigma, which is not changed; nothing is drawn."""
    low, data, sigma = number(rng, 0.05, 0.3), number(rng, 0.4, 2.0), uniform(rng, 0.4, 3.0, 5)
    weights = [uniform(rng, 0.5, 1.5, 5) for _ in range(2)]
    seen = answer.gradient("consistency_coefficients", sigma, data, low, wrt=[0], cotangent=weights)
    above, root = sigma - low, (sigma**2 + data**2).sqrt()
    skip = -2 * above * data**2 / (above**2 + data**2) ** 2
    out = data * (data**2 + low * sigma) / root**3
    expect_gradient(seen, 0, weights[0] * skip + weights[1] * out, "sigma", hint=EARLIER)
    seen = answer.observe("consistency_coefficients", sigma, data, low)
    for c, want in zip(coefficients(seen.value), triangle(sigma, data, low), strict=True):
        expect_near(c, want, hint=EARLIER)
    expect_untouched(seen, sigma)


# ---- consistency_distillation_loss


@lab.check("consistency_distillation_loss", points=2)
def is_the_mean_square_of_what_changes_in_a_step(answer: Answer, rng: torch.Generator) -> None:
    """If both f return their x, the loss is the mean square of the Euler step from sigma_hi to sigma_lo."""
    v, (x0, eps, hi, lo) = normal(rng, 3), points(rng)
    f, g = (answer.fixture("affine_score", A=torch.eye(3).double(), b=torch.zeros(3).double()) for _ in range(2))
    denoise = answer.fixture("constant_field", v=v)
    got = with_rows(answer.consistency_distillation_loss, f, g, denoise, x0, eps, hi, lo)
    expect_scalar(got)
    x, x_lo = pair_on_a_line(lambda x, sigma: v.expand(x.shape), x0, eps, hi, lo)
    want, step = mean_square(x_lo - x), lo - hi
    expect_known(got, want, {
        "there is no factor 1/2 in this loss": want / 2,
        "average over the features as well; here they are summed": 3 * want,
        "average over all elements; here they are summed": 15 * want,
        "the loss has weight 1; here it is divided by the step": -want / step,
        "x at sigma_lo is x0 + sigma_lo·eps here: that is training without a teacher. Take one step with denoise":
            mean_square(step * eps),
        "the step has the length sigma_lo - sigma_hi; here it goes all the way to 0": mean_square(x - v),
        "the slope is (x - D)/sigma_hi; here it is divided by sigma_lo": mean_square(step * (x - v) / lo),
        "the slope (x - D) is not divided by sigma_hi": mean_square(step * (x - v)),
        "denoise returns D, a guess of x0; here it is taken for the slope": mean_square(step * v.expand(x.shape)),
        "x at sigma_hi is x0 + sigma_hi·eps; x0 keeps its size on this path":
            mean_square(step * (x - hi * x0 - v) / hi),
        "f_ema is asked at x of sigma_hi: nothing has moved": 0 * want,
    }, "the mean over all elements of (f(x_hi, sigma_hi) - f_ema(x_lo, sigma_lo))²")  # fmt: skip


@lab.check("consistency_distillation_loss")
def asks_each_f_at_its_own_level(answer: Answer, rng: torch.Generator) -> None:
    """f is told sigma_hi, f_ema sigma_lo: seen with functions that look at the level alone."""
    v, w, (x0, eps, hi, lo) = normal(rng, 3), normal(rng, 3), points(rng)
    c, e = number(rng, 1.0, 2.0), number(rng, 1.0, 2.0)
    f, g = answer.fixture("constant_field", v=v, c=c), answer.fixture("constant_field", v=w, c=e)
    got = answer.consistency_distillation_loss(f, g, answer.fixture("constant_field", v=0 * v), x0, eps, hi, lo)
    expect_scalar(got)

    def loss(told: float, other: float) -> torch.Tensor:
        return mean_square((1 + c * told) * v - (1 + e * other) * w)

    expect_known(got, loss(hi, lo), {
        "f and f_ema, or their levels, are exchanged: f is told sigma_hi, f_ema sigma_lo": loss(lo, hi),
        "both are told sigma_hi; f_ema belongs to sigma_lo": loss(hi, hi),
        "both are told sigma_lo; f belongs to sigma_hi": loss(lo, lo),
        "f is asked both times": mean_square((hi - lo) * c * v),
        "f_ema is asked both times": mean_square((hi - lo) * e * w),
    }, "f(x_hi, sigma_hi) against f_ema(x_lo, sigma_lo)")  # fmt: skip


@lab.check("consistency_distillation_loss")
def asks_the_denoiser_at_the_start_of_the_step(answer: Answer, rng: torch.Generator) -> None:
    """The teacher is asked at x_hi and sigma_hi, and f_ema sees where its step ends."""
    A, b, c, (x0, eps, hi, lo) = normal(rng, 3, 3), normal(rng, 3), number(rng, 0.5, 1.0), points(rng)
    D, zero, one = affine(A, b, c), torch.zeros(3, 3).double(), torch.eye(3).double()
    f, g = (answer.fixture("affine_score", A=matrix, b=zero[0]) for matrix in (zero, one))
    got = answer.consistency_distillation_loss(f, g, answer.fixture("affine_score", A=A, b=b, c=c), x0, eps, hi, lo)
    expect_scalar(got)
    x, x_lo = pair_on_a_line(D, x0, eps, hi, lo)

    def after(denoised: torch.Tensor) -> torch.Tensor:
        return mean_square(torch.lerp(denoised, x, lo / hi))

    heun = x + (lo - hi) * ((x - D(x, hi)) / hi + (x_lo - D(x_lo, lo)) / lo) / 2
    expect_known(got, mean_square(x_lo), {
        "the denoiser is told sigma_lo; the step starts at sigma_hi": after(D(x, lo)),
        "the denoiser is shown x0; it should see x_hi": after(D(x0, hi)),
        "the sign of the step is turned round: from sigma_hi down to sigma_lo, d sigma is negative":
            mean_square(2 * x - x_lo),
        "f_ema is shown x_hi": mean_square(x),
        "f_ema is shown the denoiser's answer; it should see the point at sigma_lo": mean_square(D(x, hi)),
        "this is Heun's step; one Euler step is asked for": mean_square(heun),
    }, "x_lo = x_hi + (sigma_lo - sigma_hi)·(x_hi - denoise(x_hi, sigma_hi))/sigma_hi")  # fmt: skip


@lab.check("consistency_distillation_loss", points=2)
def trains_f_alone(answer: Answer, rng: torch.Generator) -> None:
    """Gradients reach f's parameters; none reaches f_ema or denoise, also not where f_ema is f itself."""
    x0, eps, hi, lo = points(rng)
    weights = [(normal(rng, 3, 3), normal(rng, 3), number(rng, 0.2, 0.6)) for _ in range(3)]
    for shared in (False, True):
        f, g, denoise = (answer.fixture("affine_score", A=A, b=b, c=c) for A, b, c in weights)
        F, G, D = (affine(*parts) for parts in weights)
        if shared:
            g, G = f, F

        def gradient(module: Any, *functions: Any) -> Any:
            args = (*functions, x0, eps, hi, lo)
            return answer.gradient("consistency_distillation_loss", *args, wrt=[], cotangent=ONE, parameters=module)

        seen = gradient(f, f, g, denoise)
        x, x_lo = pair_on_a_line(D, x0, eps, hi, lo)
        difference = F(x, hi) - G(x_lo, lo)
        expect_loss(seen.value, mean_square(difference), EARLIER)
        arrives = seen.parameter_grads.get("A") is not None
        expect(arrives, "no gradient reaches f's parameters: what f says at sigma_hi is detached or under "
                        "torch.no_grad(), or requires_grad was switched off")  # fmt: skip
        pull = (1 + weights[0][2] * hi) * difference * 2 / difference.numel()
        why = "the target f_ema(x_lo, sigma_lo) is a constant: compute it under torch.no_grad()" if shared else ""
        expect_parameter_gradient(seen, "A", pull.T @ x, why)
        expect_parameter_gradient(seen, "b", pull.sum(0), why)
        for name, module in (("denoise", denoise),) if shared else (("denoise", denoise), ("f_ema", g)):
            seen = gradient(module, f, g, denoise)
            held = any(grad is not None and bool(grad.any()) for grad in seen.parameter_grads.values())
            expect(not held, f"a gradient reaches {name}: compute the target under torch.no_grad()")


@lab.check("consistency_distillation_loss")
def takes_a_pair_of_levels_for_each_sample(answer: Answer, rng: torch.Generator) -> None:
    """With sigma_hi and sigma_lo of shape (B,), each sample has its own step."""
    hi, lo = two_levels(rng, 6)
    x0, eps = normal(rng, 6, 2), normal(rng, 6, 2)
    weights = [(normal(rng, 2, 2), normal(rng, 2), 0.4) for _ in range(3)]
    functions = [answer.fixture("affine_score", A=A, b=b, c=c) for A, b, c in weights]
    F, G, D = (affine(*parts) for parts in weights)
    x, x_lo = pair_on_a_line(D, x0, eps, hi[:, None], lo[:, None])
    by_row = (F(x, hi[:, None]) - G(x_lo, lo[:, None])).square().mean(1)
    got = with_rows(answer.consistency_distillation_loss, *functions, x0, eps, hi, lo)
    first = (*functions, x0[:1], eps[:1], hi[0].item(), lo[0].item())
    one = is_right(lambda: answer.consistency_distillation_loss(*first), by_row[0])
    expect_loss(got, by_row.mean(), hint=advice("sample i belongs to sigma_hi[i] and sigma_lo[i]: " + COLUMN, one))


@lab.check("consistency_distillation_loss")
def asks_each_function_once(answer: Answer, rng: torch.Generator) -> None:
    """f, f_ema and denoise are each called once, with levels of shape (B,) in x0's dtype; the loss has x0's dtype."""
    v, w, (x0, eps, *numbers) = normal(rng, 3), normal(rng, 3), points(rng)
    for hi, lo in (numbers, two_levels(rng, 5)):
        handles = [answer.fixture("strict_velocity_net", v=value, c=0.5) for value in (v, w, v)]
        got = with_rows(answer.consistency_distillation_loss, *handles, x0.float(), eps.float(), hi, lo)
        expect_scalar(got)
        high, low = (on_batch_axis(torch.as_tensor(value, dtype=torch.float64), x0) for value in (hi, lo))
        want = mean_square((1 + 0.5 * high) * v - (1 + 0.5 * low) * w)
        expect_close(got, want.float(), rtol=1e-4, hint=advice(CAST, differs_little(got, want)))
        for name, handle in zip(("f", "f_ema", "denoise"), handles, strict=True):
            expect_calls(answer, handle, name, 1)


# ---- pseudo_huber


@lab.check("pseudo_huber", points=2)
def is_one_distance_for_each_sample(answer: Answer, rng: torch.Generator) -> None:
    """(B,) numbers sqrt(r² + c²) - c, r the distance of a and b: with r = 3, 8, 15 and c = 4, 15, 8 they are whole."""
    for legs, c, want, shape in (
        ([3.0, 0.0, 3.0], 4.0, [1.0, 0.0, 1.0], (5,)),
        ([15.0], 8.0, [9.0], (5,)),
        ([8.0, 20.0], 15.0, [2.0, 10.0], (1, 4, 3)),
    ):
        r, wanted = torch.tensor(legs).double(), torch.tensor(want).double()
        a, b = away(rng, r, len(legs), *shape)
        got = answer.pseudo_huber(a, b, c)
        hint = recognise(got, {
            "the -c is missing: equal samples have the distance 0": wanted + c,
            "c is squared under the root": (r**2 + c).sqrt() - c,
            "the norm is squared under the root": (r + c**2).sqrt() - c,
            "the norm sums the squares over the features; here they are averaged":
                (r**2 / a[0].numel() + c**2).sqrt() - c,
            "the root is missing": r**2 + c**2 - c,
            "this is the distance itself, without c": r,
            "this is Huber's own function; the pseudo one is smooth": torch.where(r < c, r**2 / 2 / c, r - c / 2),
            "there is no factor c² here": c**2 * ((1 + (r / c) ** 2).sqrt() - 1),
            "one number for each sample, not their mean": wanted.mean(),
            "one number for each sample, not their sum": wanted.sum(),
        }, "sqrt(||a - b||² + c²) - c for each sample: the squares are summed over all axes but the first")  # fmt: skip
        what = f"with c = {c:g} and samples of shape {shape} it"
        expect_close(got, wanted, rtol=1e-6, atol=1e-6, what=what, hint=hint)


@lab.check("pseudo_huber")
def is_square_near_and_straight_far(answer: Answer, rng: torch.Generator) -> None:
    """Much nearer than c it is r²/(2c), much farther it is r - c."""
    c = number(rng, 0.5, 1.5)
    near, far = 1e-3 * c * uniform(rng, 1.0, 2.0, 4), 1e5 * c * uniform(rng, 1.0, 2.0, 4)
    for r, want, where in ((near, near**2 / (2 * c), "near"), (far, far - c, "far")):
        got = answer.pseudo_huber(*away(rng, r, 4, 3), c)
        expect_close(got, want, rtol=1e-5, atol=0.0, dtype=False, what=f"the distance of samples that are {where}")


@lab.check("pseudo_huber")
def is_smooth_where_both_are_equal(answer: Answer, rng: torch.Generator) -> None:
    """Where a = b it is 0, and so is its gradient; elsewhere the gradient is (a - b)/sqrt(r² + c²)."""
    a, c, weight = normal(rng, 4, 3), number(rng, 0.3, 1.0), uniform(rng, 0.5, 1.5, 4)
    b = torch.cat([a[:2], normal(rng, 2, 3)])
    seen = answer.gradient("pseudo_huber", a, b, c, wrt=[0, 1], cotangent=weight)
    root = ((a - b).square().sum(1) + c**2).sqrt()
    expect_near(seen.value, root - c)
    want = weight[:, None] * (a - b) / root[:, None]
    for index, (name, due) in enumerate((("a", want), ("b", -want))):
        grad = seen.grads[index]
        finite = grad is None or bool(grad.isfinite().all())
        hint = "" if finite else "a root was taken where a = b; sum the squares as they are, and add c² before the root"
        expect_gradient(seen, index, due, name, hint=hint)


# ---- ict_discretization


def schedule(rng: torch.Generator, doublings: int, low: int, high: int) -> tuple[int, int, int]:
    """s0, s1 and K': s1 is s0 so often doubled, K' a length of low..high steps."""
    s0 = integer(rng, 2, 12)
    return s0, s0 * 2**doublings, integer(rng, low, high)


@lab.check("ict_discretization")
def begins_with_s0_and_one(answer: Answer, rng: torch.Generator) -> None:
    """At step 0, and as long as k < K', it is s0 + 1, an int."""
    doublings = integer(rng, 2, 5)
    s0, s1, span = schedule(rng, doublings, 20, 80)
    for k in (0, 1, span - 1):
        K = span * (doublings + 1) + integer(rng, 0, doublings)
        expect_levels(answer, k, K, s0, s1, f"K' = {span} steps have s0 + 1 = {s0 + 1} levels")


@lab.check("ict_discretization", points=2)
def doubles_after_every_span(answer: Answer, rng: torch.Generator) -> None:
    """At k = K', 2K', ... the number less 1 doubles, not a step sooner or later."""
    doublings = integer(rng, 3, 5)
    s0, s1, span = schedule(rng, doublings, 20, 80)
    K = span * (doublings + 1) + integer(rng, 0, doublings)
    for k in (i * span - late for i in range(1, doublings + 1) for late in (1, 0)):
        over = k // span
        parts = f"K' is {span} = floor({K} / ({doublings} + 1)), floor(k/K') is {over}, {s0}·2^{over} + 1 is due"
        expect_levels(answer, k, K, s0, s1, parts)
    for k, s1, ratio, span in ((20, 80, 8, 20), (23, 55, 5, 24), (24, 55, 5, 24)):
        hint = f"floor({s1}/10) is {ratio}, so K' is floor(83/(log2({ratio}) + 1)) = {span}: round down in both places"
        expect_levels(answer, k, 83, 10, s1, hint)


@lab.check("ict_discretization")
def stays_at_s1_and_one(answer: Answer, rng: torch.Generator) -> None:
    """From then on, to the last step K - 1, it is s1 + 1: steps that are left over do not double it again."""
    doublings = integer(rng, 2, 5)
    s0, s1, span = schedule(rng, doublings, 3, 9)
    K = span * (doublings + 1) + doublings
    for k in ((doublings + 1) * span, K - 1):
        expect_levels(answer, k, K, s0, s1, f"never more than s1 + 1 = {s1 + 1}")


# ---- consistency_sample


@lab.check("consistency_sample")
def jumps_once_with_one_level(answer: Answer, rng: torch.Generator) -> None:
    """With one level it is f(x, sigmas[0]): x is there already, nothing is drawn, and generator may be None."""
    A, b, c, x = normal(rng, 3, 3), normal(rng, 3), number(rng, 0.5, 1.0), normal(rng, 5, 3)
    sigma, f = number(rng, 1.5, 4.0), affine(A, b, c)
    handle = answer.fixture("affine_score", A=A, b=b, c=c)
    levels = torch.tensor([sigma]).double()
    seen = answer.observe("consistency_sample", handle, x, levels, None)
    expect_known(seen.value, f(x, sigma), {
        "x is multiplied by sigmas[0]; it is at that level already": f(sigma * x, sigma),
        "f is not told the level": f(x, 0.0),
        "f is called twice": f(f(x, sigma), sigma),
        "x comes back as it is": x,
    }, "f(x, sigmas[0])")  # fmt: skip
    used = answer.observe("consistency_sample", handle, x, levels, torch.Generator())
    drawn = seen.global_draws or not torch.equal(used.args[3].get_state(), torch.Generator().get_state())
    expect(not drawn, "random numbers are drawn with a single level; draw only for the levels after the first")


@lab.check("consistency_sample", points=2)
def ends_with_a_jump(answer: Answer, rng: torch.Generator) -> None:
    """The last thing that happens is f at the last level: no noise after it, and none of its inputs shows through."""
    v, c, x = normal(rng, 3), number(rng, 0.5, 1.0), normal(rng, 400, 3)
    sigmas = falling(rng, integer(rng, 2, 4))
    got = answer.consistency_sample(answer.fixture("constant_field", v=v, c=c), x, sigmas, seeded(rng))
    expect_like(got, x)
    noisy = got.is_floating_point() and bool(got.std(0).mean() > 0.1 * sigmas[-1])
    expect_known(got, ((1 + c * sigmas[-1]) * v).expand(400, 3), {
        "the last level is not used": ((1 + c * sigmas[-2]) * v).expand(400, 3),
        "f is told sigmas[0] every time": ((1 + c * sigmas[0]) * v).expand(400, 3),
        "f is not told the level": v.expand(400, 3),
    }, "noise is added after the last jump: the result is what f returned" if noisy else "the result is "
       "f(x, sigmas[-1])")  # fmt: skip


@lab.check("consistency_sample", points=2)
def adds_noise_of_the_next_level(answer: Answer, rng: torch.Generator) -> None:
    """Between two jumps it adds sigma·z to what f returned, z fresh and N(0, I), sigma the next level."""
    x, b, a = normal(rng, 20_000, 2), normal(rng, 2), number(rng, 0.5, 1.5)
    sigmas = falling(rng, 2)
    high, low = sigmas.tolist()
    f = answer.fixture("affine_score", A=a * torch.eye(2).double(), b=b)
    got = answer.consistency_sample(f, x, sigmas, seeded(rng))
    expect_like(got, x)
    z = ((got.double() - b) / a - (a * x + b)) / low
    expect_standard(
        z, "the noise, over the next level,", "x becomes f(x, ·) + sigma·z, with sigma the level that comes next",
        {"the noise has the size of the level before; it is the next one": (high / low) ** 2,
         "sigma is a standard deviation; here it is used as a variance": 1 / low,
         "sigma is squared here": low**2,
         "the noise has the size that takes one level down to the next in a sum of variances; after a jump to the "
         "data all of it is new": (high**2 - low**2) / low**2,
         "the noise is not scaled by sigma": 1 / low**2,
         "no noise is added": 0.0},
        of_mean="it is added to what f returned, not to x or to the state before",
    )  # fmt: skip
    expect_gaussian(z, "the noise")


@lab.check("consistency_sample")
def draws_for_each_level_anew(answer: Answer, rng: torch.Generator) -> None:
    """With three levels two noises are added, which have nothing to do with one another."""
    x, b, a = normal(rng, 20_000, 2), normal(rng, 2), number(rng, 0.7, 1.3)
    sigmas = falling(rng, 3)
    _, second, third = sigmas.tolist()
    f = answer.fixture("affine_score", A=a * torch.eye(2).double(), b=b)
    got = answer.consistency_sample(f, x, sigmas, seeded(rng))
    expect_like(got, x)
    early, late = a**2 * second, a * third  # how much of each noise is left at the end
    variance = early**2 + late**2
    z = (got.double() - (a**3 * x + (a**2 + a + 1) * b)) / variance**0.5
    same = {"the same noise is added at both levels; draw it anew": (early + late) ** 2 / variance}
    expect_standard(z, "the sum of both noises, each shrunk by the jumps after it,", EARLIER, same)


@lab.check("consistency_sample")
def leaves_what_f_returned_as_it_is(answer: Answer, rng: torch.Generator) -> None:
    """f may return a tensor that it keeps: nothing is added to it in place."""
    kept = normal(rng, 4, 3)
    f = answer.fixture("noise_strength", g=kept)  # the same tensor at every level
    got = answer.consistency_sample(f, kept + 1, falling(rng, 3), seeded(rng))
    same = torch.equal(answer.call(f, kept, 1.0), kept)
    expect(same, "what f returned was changed in place; make a new tensor, x = x + sigma * z, without +=")
    expect_near(got, kept, hint=EARLIER)


@lab.check("consistency_sample")
def asks_once_for_each_level(answer: Answer, rng: torch.Generator) -> None:
    """f is called len(sigmas) times, with the level as a (B,) tensor in x's dtype."""
    x, values, n = normal(rng, 4, 2), uniform(rng, -1.0, 1.0, 12), integer(rng, 2, 4)
    f = answer.fixture("numbered_denoiser", values=values)
    got = answer.consistency_sample(f, x, falling(rng, n), seeded(rng))
    expect_calls(answer, f, f"with {n} levels f", n)
    expect_near(got, values[n - 1].expand(4, 2), hint=f"the result is the last of the {n} answers of f")
    f = answer.fixture("strict_velocity_net", v=normal(rng, 2), c=0.5)
    for given in (x, x.float()):
        answer.consistency_sample(f, given, falling(rng, n), seeded(rng))


@lab.check("consistency_sample")
def is_repeatable(answer: Answer, rng: torch.Generator) -> None:
    """Equal generators give equal samples, different ones differ, and no other generator is used."""
    x, sigmas, seed = normal(rng, 6, 3), falling(rng, 3), integer(rng, 0, 10**6)
    f = answer.fixture("affine_score", A=torch.eye(3).double(), b=normal(rng, 3))
    first, second, third = (
        answer.observe("consistency_sample", f, x, sigmas, torch.Generator().manual_seed(s))
        for s in (seed, seed, seed + 1)
    )
    expect_like(first.value, x)
    expect(not first.global_draws, "noise is drawn from the global generator; pass generator=generator to randn")
    expect(torch.equal(first.value, second.value), "two runs with equal generators differ")
    expect(not torch.equal(first.value, third.value), "runs with different generators are equal")
