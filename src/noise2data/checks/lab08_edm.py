"""The visible checks of lab 8, the design space.

Wanted values come by another route than the student's. Preconditioning is a rotation by the angle whose tangent is
sigma / sigma_data. Runs come in closed form: for Gaussian data a step is a multiplication, and for denoisers that do
not look at x it is a sum. Orders are measured against an integral that is known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Generator, Tensor

from labcheck import Battery, expect, expect_close, expect_type
from labcheck.answer import Answer
from labcheck.inside.wire import Handle
from noise2data.checks.arguments import integer, normal, number, on_batch_axis, uniform
from noise2data.checks.expectations import expect_near, expect_parameter_gradient, expect_scalar, with_rows
from noise2data.checks.hints import EARLIER, advice, differs_little, is_right, recognise

lab = Battery(
    "lab08_edm",
    fixtures="noise2data.checks.fixtures",
    forbidden=["noise2data.samplers", "noise2data.denoiser", "noise2data.objectives", "noise2data.paths"],
)

Level = float | Tensor


# ---- karras_sigmas


def ladder(n: int, low: float, high: float, rho: float) -> Tensor:
    """n levels, evenly spaced in the rho-th root, and 0; float64. They are high times powers of a weighted 1."""
    share = torch.arange(n, dtype=torch.float64) / max(n - 1, 1)
    levels = high * torch.exp(rho * torch.log1p(share * math.expm1(math.log(low / high) / rho)))
    return torch.cat([levels, levels.new_zeros(1)])


def expect_levels(answer: Answer, n: int, low: float, high: float, *rho: float) -> None:
    """Fail unless the levels are right; their dtype is another check's matter."""
    got, p = answer.karras_sigmas(n, low, high, *rho), rho[0] if rho else 7.0
    share, a, b = torch.arange(n, dtype=torch.float64) / max(n - 1, 1), high ** (1 / p), low ** (1 / p)
    want, zero = ladder(n, low, high, p), torch.zeros(1, dtype=torch.float64)
    mistakes = {
        "this is the geometric ladder, the limit of rho to infinity, which is often given under Karras's name":
            high * (low / high) ** share,
        "the outer power is missing: raise the sum to rho": a + share * (b - a),
        "the share is i/n; with i/(n - 1) the last level before 0 is sigma_min": ladder(n + 1, low, high, p)[:n],
        "the levels rise; a sampler starts at sigma_max": want[:-1].flip(0),
        "rho is 7 here, whatever was asked for": ladder(n, low, high, 7.0)[:-1],
    }  # fmt: skip
    wrong = {sentence: torch.cat([levels, zero]) for sentence, levels in mistakes.items()}
    hint = recognise(got, wrong, "n levels, evenly spaced in sigma^(1/rho), and 0")
    if differs_little(got, want, 1e-4) and got[-1] == 0:
        hint = "computed in float32; torch.linspace and the like need dtype=torch.float64"
    what = f"the result for n = {n}, sigma_min = {low:.3g}, sigma_max = {high:.3g}, rho = {p:.3g}"
    expect_close(got, want, rtol=1e-9, atol=1e-12 * low, dtype=False, what=what, hint=hint)


@lab.check("karras_sigmas")
def ends_in_zero(answer: Answer, rng: Generator) -> None:
    """n + 1 falling levels in float64, of which the last is 0."""
    n, low, high = integer(rng, 5, 20), number(rng, 0.001, 0.01), number(rng, 20.0, 100.0)
    got, hint = answer.karras_sigmas(n, low, high), f"n = {n} levels, and then a 0, in float64"
    expect_close(got, ladder(n, low, high, 7.0), atol=100.0, hint=hint)
    expect((got[1:] < got[:-1]).all(), "the levels do not fall strictly from sigma_max to 0")
    expect(got[-1] == 0, f"the last entry is {got[-1].item():.3g}; expected exactly 0")


@lab.check("karras_sigmas")
def goes_from_sigma_max_to_sigma_min(answer: Answer, rng: Generator) -> None:
    """The first level is sigma_max, and the last before the 0 is sigma_min."""
    low, high = number(rng, 0.001, 0.01), number(rng, 20.0, 100.0)
    want, hint = torch.tensor([high, low, 0.0], dtype=torch.float64), "[sigma_max, sigma_min, 0], whatever rho"
    got = answer.karras_sigmas(2, low, high)
    expect_close(got, want, rtol=1e-5, dtype=False, what="the result for n = 2", hint=hint)


@lab.check("karras_sigmas")
def is_evenly_spaced_in_the_root(answer: Answer, rng: Generator) -> None:
    """With rho left at 7 the seventh roots of the levels are evenly spaced."""
    expect_levels(answer, integer(rng, 5, 20), number(rng, 0.001, 0.01), number(rng, 20.0, 100.0))


@lab.check("karras_sigmas")
def obeys_rho(answer: Answer, rng: Generator) -> None:
    """Another rho spaces them evenly in sigma^(1/rho)."""
    expect_levels(answer, integer(rng, 5, 20), number(rng, 0.01, 0.1), number(rng, 2.0, 10.0), number(rng, 2.0, 5.0))


# ---- edm_precondition

NAMES = ("c_skip", "c_out", "c_in", "c_noise")


def four(got: Any) -> list[Tensor]:
    """The four entries of a result, or a message that says what came instead."""
    expect_type(got, (tuple, list))
    expect(len(got) == 4, f"the result has {len(got)} entries; expected ({', '.join(NAMES)})")
    for entry, name in zip(got, NAMES, strict=True):
        expect_type(entry, Tensor, name)
    return list(got)


def rotation(sigma: Level, sigma_data: float) -> Tensor:
    """The angle phi with tan(phi) = sigma / sigma_data, float64."""
    return torch.atan2(torch.as_tensor(sigma, dtype=torch.float64), torch.tensor(sigma_data, dtype=torch.float64))


def coefficients(sigma: Level, sigma_data: float) -> list[Tensor]:
    """c_skip, c_out, c_in and c_noise by the angle."""
    phi = rotation(sigma, sigma_data)
    log_level = phi.tan().log() + math.log(sigma_data)
    return [phi.cos() ** 2, sigma_data * phi.sin(), phi.cos() / sigma_data, log_level / 4]


def expect_coefficient(answer: Answer, rng: Generator, index: int, mistakes: Callable[..., dict[str, Tensor]]) -> None:
    """Fail unless one of the four is right, for (B,) levels. mistakes(s, d): from sigma and sigma_data."""
    sigma, d, name = uniform(rng, -5.0, 4.0, 6).exp(), number(rng, 0.6, 3.0), NAMES[index]
    got, right = four(answer.edm_precondition(sigma, d))[index], dict(zip(NAMES, coefficients(sigma, d), strict=True))
    want, order = right.pop(name), ", ".join(NAMES)
    wrong = mistakes(sigma, d) | {f"this is {other}; the order is {order}": value for other, value in right.items()}
    wrong |= {
        f"this is the square of {name}": want**2,
        f"this is 1/{name}": 1 / want,
        f"this is 1 - {name}": 1 - want,
        "sigma_data is 0.5 here, whatever was asked for": coefficients(sigma, 0.5)[index],
    }
    expect_close(got, want, rtol=1e-6, atol=0.0, dtype=False, what=name, hint=recognise(got, wrong))


@lab.check("edm_precondition")
def has_four_of_sigmas_shape(answer: Answer, rng: Generator) -> None:
    """Four tensors: 0-d for a number or a 0-d sigma, (B,) for one of shape (B,)."""
    value, sigma_data = number(rng, 0.2, 3.0), number(rng, 0.3, 2.0)
    for sigma in (value, torch.tensor(value, dtype=torch.float64), uniform(rng, 0.2, 3.0, 5)):
        given = f"a sigma of shape {tuple(sigma.shape)}" if isinstance(sigma, Tensor) else "a Python number"
        want = tuple(torch.as_tensor(sigma).shape)
        for got, name in zip(four(answer.edm_precondition(sigma, sigma_data)), NAMES, strict=True):
            expect(got.shape == want, f"for {given} {name} has shape {tuple(got.shape)}; expected {want}")
            expect(got.isfinite().all(), f"for {given} {name} is not finite")


@lab.check("edm_precondition")
def scales_inputs_to_variance_one(answer: Answer, rng: Generator) -> None:
    """c_in is 1 over the standard deviation of x = x0 + sigma eps."""
    expect_coefficient(answer, rng, 2, lambda s, d: {
        "this is 1 over sigma + sigma_data; variances add, standard deviations do not": 1 / (s + d),
        "divided by sigma_data as if it were 1": 1 / (s**2 + 1).sqrt(),
    })  # fmt: skip


@lab.check("edm_precondition")
def skips_the_best_multiple_of_x(answer: Answer, rng: Generator) -> None:
    """c_skip is the share of the data in the variance of x: 1 without noise, 0 for noise alone."""
    expect_coefficient(answer, rng, 0, lambda s, d: {
        "standard deviations are added here; variances add": d / (s + d),
        "the data's share is sigma_data² over the sum, not 1": 1 / (s**2 + d**2),
    })  # fmt: skip


@lab.check("edm_precondition")
def scales_the_network_by_what_is_unknown(answer: Answer, rng: Generator) -> None:
    """c_out is the standard deviation of what c_skip x leaves unexplained; it stays below sigma and sigma_data."""
    expect_coefficient(answer, rng, 1, lambda s, d: {
        "the denominator is the root of sigma² + sigma_data²": s * d / (s**2 + d**2),
        "standard deviations are added here; variances add": s * d / (s + d),
        "the factor sigma_data is missing": s / (s**2 + d**2).sqrt(),
        "with c_out = -sigma the network predicts the noise; that is not EDM's choice": -s,
    })  # fmt: skip


@lab.check("edm_precondition")
def tells_the_level_by_its_logarithm(answer: Answer, rng: Generator) -> None:
    """c_noise is a quarter of the natural logarithm of sigma."""
    expect_coefficient(answer, rng, 3, lambda s, d: {
        "this is sigma itself": s,
        "this is log sigma; a quarter of it is asked for": s.log(),
        "the logarithm here has base 10": s.log10() / 4,
        "sigma is divided by sigma_data first": (s / d).log() / 4,
    })  # fmt: skip


# ---- edm_loss

NET = {"a": 0.3, "b": 0.2, "w": 0.5}  # a network that uses all it is given


def exact_loss(
    sigma: Level, sigma_data: float, x0: Tensor, eps: Tensor, a: Level = 0.0, b: Level = 0.0, w: Level = 0.0
) -> Tensor:
    """The EDM loss of (a + w c) x + b. In u = x0 / sigma_data and eps the network sees one rotated coordinate,
    cos u + sin eps, and its target is the other, sin u - cos eps."""
    phi, told = rotation(sigma, sigma_data), torch.as_tensor(sigma, dtype=torch.float64).log() / 4
    cos, sin, told = (on_batch_axis(f.expand(len(x0)), x0) for f in (phi.cos(), phi.sin(), told))
    u = x0.double() / sigma_data
    return ((a + w * told) * (cos * u + sin * eps) + b - (sin * u - cos * eps)).square().mean()


def expect_part(answer: Answer, rng: Generator, hint: str, a: float, w: float, mistakes: Callable[..., Any]) -> None:
    """Fail unless the loss of the network (a + w c) x at one level is right. What is wrong with D is another network's
    loss: mistakes(s, d, c_skip, c_out, c_in) has for each sentence its factor of x, and a factor of the loss."""
    x0, eps, d = normal(rng, 5, 3), normal(rng, 5, 3), number(rng, 0.4, 2.0)
    s = torch.tensor(number(rng, 1.5, 4.0), dtype=torch.float64)
    net, zero = (answer.fixture("conditioned_net", a=p, w=q, strict=q != 0) for p, q in ((a, w), (0.0, 0.0)))
    got, want = with_rows(answer.edm_loss, net, x0, s, eps, d), exact_loss(s, d, x0, eps, a, w=w)
    cases, told = mistakes(s, d, *coefficients(s, d)[:3]).items(), "a x" if a else "w c x" if w else "0"
    wrong = {sentence: size * exact_loss(s, d, x0, eps, factor) for sentence, (factor, size) in cases}
    wrong["x is x0 + sigma² eps here; sigma is a standard deviation"] = exact_loss(s, d, x0, s * eps, a, w=w)
    weighed = not (a or w) or is_right(lambda: answer.edm_loss(zero, x0, s, eps, d), exact_loss(s, d, x0, eps))
    hint, what = recognise(got, wrong, advice(hint, weighed)), f"the loss of a network that returns {told}"
    expect_close(got, want, rtol=1e-6, dtype=False, what=what, hint=hint)


@lab.check("edm_loss")
def weighs_the_error(answer: Answer, rng: Generator) -> None:
    """With a network that returns 0: the mean over all elements of lambda(sigma) (D - x0)²."""
    hint = "the mean of (sigma² + sigma_d²)/(sigma sigma_d)² (D - x0)²"
    expect_part(answer, rng, hint, 0.0, 0.0, lambda s, d, skip, out, scale: {
        "the weight lambda is missing": (0.0, out**2),
        "the weight is turned upside down": (0.0, out**4),
        "the weight's denominator is a product: (sigma · sigma_data)²": (0.0, (s * d / (s + d)) ** 2),
        "this is the weight 1/sigma² of the noise's error": (0.0, (out / s) ** 2),
        "there is no factor 1/2": (0.0, 0.5),
        "sums over the features here; the mean is over all elements": (0.0, 3.0),
        "c_skip x is left out of D": (-skip / (out * scale), 1.0),
    })  # fmt: skip


@lab.check("edm_loss")
def shows_the_network_a_scaled_input(answer: Answer, rng: Generator) -> None:
    """With a network that returns a multiple of its input: it is shown c_in x, and its answer is scaled by c_out."""
    a, hint = number(rng, 0.5, 1.5), "D = c_skip x + c_out net(c_in x, c_noise)"
    expect_part(answer, rng, hint, a, 0.0, lambda s, d, skip, out, scale: {
        "the network is shown x; show it c_in x": (a / scale, 1.0),
        "the network's answer is not multiplied by c_out": (a / out, 1.0),
        "the network is taken for the denoiser itself": ((a * scale - skip) / (out * scale), 1.0),
    })  # fmt: skip


@lab.check("edm_loss")
def tells_the_network_c_noise(answer: Answer, rng: Generator) -> None:
    """With a network that multiplies by its second argument: that is c_noise = ln(sigma)/4, of shape (B,)."""
    w, hint = number(rng, 0.5, 1.5), "the second argument is c_noise = ln(sigma)/4"
    expect_part(answer, rng, hint, 0.0, w, lambda s, d, *_: {
        "the network is told sigma; tell it c_noise": (w * s, 1.0),
        "the network is told log sigma; a quarter of it is c_noise": (w * s.log(), 1.0),
        "the network is told log(sigma/sigma_data)/4": (w * (s / d).log() / 4, 1.0),
    })  # fmt: skip


def expect_rows_of_levels(answer: Answer, rng: Generator, shape: tuple[int, ...]) -> None:
    """Fail unless row i of data of a shape has the level sigma[i]."""
    x0, eps, sigma, d = normal(rng, *shape), normal(rng, *shape), uniform(rng, 0.2, 4.0, shape[0]), number(rng, 0.4, 2)
    net, first = answer.fixture("conditioned_net", **NET), exact_loss(sigma[0], d, x0, eps, **NET)
    as_number = is_right(lambda: answer.edm_loss(net, x0, sigma[0].item(), eps, d), first)
    hint = advice(f"x0 has shape {shape}; give row i its level and weight, shaped (B, 1, ..., 1)", as_number)
    got, want = with_rows(answer.edm_loss, net, x0, sigma, eps, d), exact_loss(sigma, d, x0, eps, **NET)
    expect_close(got, want, rtol=1e-6, dtype=False, what="the loss", hint=hint)


@lab.check("edm_loss")
def takes_a_level_per_sample(answer: Answer, rng: Generator) -> None:
    """With sigma of shape (B,), row i has its own level sigma[i]."""
    expect_rows_of_levels(answer, rng, (6, 2))


@lab.check("edm_loss")
def trains_the_network(answer: Answer, rng: Generator) -> None:
    """A 0-d tensor through which gradients reach the network's parameters."""
    x0, eps, sigma, d = normal(rng, 6, 3), normal(rng, 6, 3), uniform(rng, 0.2, 4.0, 6), number(rng, 0.4, 2.0)
    net, one = answer.fixture("conditioned_net", **NET), torch.ones((), dtype=torch.float64)
    gradient = partial(answer.gradient, wrt=[], cotangent=one, parameters=net)
    seen = with_rows(gradient, "edm_loss", net, x0, sigma, eps, d)
    expect_scalar(seen.value)
    leaves = {name: torch.tensor(value, dtype=torch.float64, requires_grad=True) for name, value in NET.items()}
    slopes = torch.autograd.grad(exact_loss(sigma, d, x0, eps, **leaves), list(leaves.values()))
    for name, want in zip(NET, slopes, strict=True):
        expect_parameter_gradient(seen, name, want, EARLIER)


# ---- what both samplers are asked

Says = Callable[[Tensor, float], Tensor]  # what a fixture's denoiser says, computed here


def gaussian(answer: Answer, rng: Generator, mean: float) -> tuple[Handle, Says]:
    """The denoiser of data N(mean, var)."""
    var = number(rng, 0.3, 1.0)
    return answer.fixture("shrinking_denoiser", mean=mean, var=var), lambda x, s: mean + (x - mean) * var / (var + s**2)


def log_line(answer: Answer, rng: Generator, *shape: int) -> tuple[Handle, Says]:
    """A denoiser p + q log(sigma), whatever x is; p and q have a shape."""
    p, q = uniform(rng, 0.5, 1.5, *shape), uniform(rng, 0.5, 1.5, *shape)
    return answer.fixture("log_level_denoiser", p=p, q=q), lambda x, s: p + q * math.log(s) + 0 * x


def falling_levels(rng: Generator, n: int, last: float = 0.0) -> Tensor:
    """n random levels from about 6 down to about 0.4, and the last one; float64."""
    widths = uniform(rng, 0.6, 1.4, n)
    logs = number(rng, 1.6, 2.0) - 2.8 * (widths.cumsum(0) - widths) / widths.sum()
    return torch.cat([logs.exp(), torch.tensor([last], dtype=torch.float64)])


def expect_end(
    call: Callable[..., Any], denoise: Handle, x: Tensor, sigmas: Tensor, want: Tensor, hint: str = "",
    wrong: Mapping[str, Tensor] | None = None,
) -> None:  # fmt: skip
    """Fail unless a run of a sampler ends where it should."""
    got, n = call(denoise, x, sigmas), len(sigmas) - 1
    what, hint = f"the end of {n} step{'s' * (n > 1)} to {sigmas[-1]:.2g}", recognise(got, dict(wrong or {}), hint)
    expect_near(got, want, what=what, hint=hint)


def expect_calls(answer: Answer, rng: Generator, name: str, run: Callable[..., Tensor], due: str, *counts: int) -> None:
    """Fail unless denoise is called as often as is due in 4 steps, to 0 and not to 0, and each answer used."""
    for last, count in zip((0.0, 0.2), counts, strict=True):
        sigmas, values, x = falling_levels(rng, 4, last), uniform(rng, -1.0, 1.0, 12), normal(rng, 4, 2)
        denoise, told = answer.fixture("numbered_denoiser", values=values), iter(values)
        got, calls = getattr(answer, name)(denoise, x, sigmas), answer.calls(denoise)
        expect(calls == count, f"denoise is called {calls} times in 4 steps to {last}; expected {count}: {due}")
        want, what = run(x, sigmas, lambda *_, told=told: next(told)), f"the end of 4 steps to {last}"
        expect_close(got, want, rtol=1e-6, dtype=False, what=what, hint=EARLIER)


def expect_order_two(answer: Answer, rng: Generator, name: str, hint: str) -> None:
    """Fail unless the distance to an exact flow falls as the square of the step size.

    With D = p + q log(sigma) the flow is an integral of D by 1/sigma, and the errors of all steps have one sign.
    """
    p, q, x = uniform(rng, -1.0, 1.0, 3), uniform(rng, 0.5, 1.5, 3), 4 * normal(rng, 5, 3)
    denoise = answer.fixture("log_level_denoiser", p=p, q=q)
    high, low, errors = number(rng, 4.0, 6.0), number(rng, 0.3, 0.5), []
    ends = [(p + q * (1 + math.log(level))) / level for level in (high, low)]
    exact = low * (x / high + ends[1] - ends[0])
    for n in (40, 80):
        sigmas = torch.linspace(math.log(high), math.log(low), n + 1, dtype=torch.float64).exp()
        got = getattr(answer, name)(denoise, x, sigmas)
        expect_close(got, exact, atol=0.1, dtype=False, what=f"the end of {n} short steps", hint=EARLIER)
        errors.append(max((got.double() - exact).abs().max().item(), 1e-15))
    order = math.log2(errors[0] / errors[1])
    told = f"from 40 to 80 steps the error goes from {errors[0]:.2g} to {errors[1]:.2g}: order {order:.1f}"
    expect(1.7 < order < 2.3, f"{told}, expected 2 — {hint}; {EARLIER}")


# ---- heun_sample


def heun_aim(x: Tensor, first: Tensor, second: Tensor, ratio: float) -> Tensor:
    """The guess towards which a step goes, by x, both answers and the ratio of the levels: equation (8.14)."""
    return first + ratio / 2 * (second - first)


HEUN_MISTAKES: dict[str, Callable[..., Tensor]] = {
    "this is Euler's method: the second slope is not used": lambda x, a, b, ratio: a,
    "only the second slope is used; take the mean of both": lambda x, a, b, ratio: a + ratio * (b - a),
    "the mean of the two slopes needs a 1/2": lambda x, a, b, ratio: 2 * a - x + ratio * (b - a),
    "the corrected step starts from Euler's end, not x": lambda x, a, b, ratio: 2 * a - x + ratio / 2 * (b - a),
}


def heun_run(x: Tensor, sigmas: Tensor, says: Says, aim: Callable[..., Tensor] = heun_aim) -> Tensor:
    """Where Heun's rule ends, each step being one on the straight line to a guess."""
    for now, then in pairwise(sigmas.tolist()):
        guess = first = says(x, now)
        if then > 0:
            guess = aim(x, first, says(first + then / now * (x - first), then), now / then)
        x = guess + then / now * (x - guess)
    return x


def euler_step(x: Tensor, D: Tensor, sigmas: Tensor) -> Tensor:
    """The last step, along the denoiser's answer alone."""
    return D + sigmas[-1] / sigmas[-2] * (x - D)


@lab.check("heun_sample", points=2)
def follows_the_flow_of_a_gaussian(answer: Answer, rng: Generator) -> None:
    """With the exact denoiser of a Gaussian each step to a level above 0 is Heun's; several steps, and one."""
    x, (denoise, says) = 4 * normal(rng, 5, 3), gaussian(answer, rng, number(rng, -1.0, 1.0))
    hint = "the mean of the slopes (x - D)/sigma at both ends of the step, the second at Euler's end and the new level"
    for n, last in ((4, 0.1), (1, 1.0)):
        sigmas = falling_levels(rng, n, last)
        wrong = {sentence: heun_run(x, sigmas, says, aim) for sentence, aim in HEUN_MISTAKES.items()}
        wrong["x is multiplied by sigmas[0]; it is at that level already"] = heun_run(x * sigmas[0], sigmas, says)
        if n > 1:
            before = heun_run(x, sigmas[:-1], says)
            sentence = "the last step is Euler's here, and the others are Heun's; only a step to 0 is Euler's"
            wrong[sentence] = euler_step(before, says(before, sigmas[-2].item()), sigmas)
        expect_end(answer.heun_sample, denoise, x, sigmas, heun_run(x, sigmas, says), hint, wrong)


@lab.check("heun_sample")
def lands_on_the_denoisers_answer(answer: Answer, rng: Generator) -> None:
    """The step to 0 is Euler's: it ends at the denoiser's answer, and divides nothing by 0."""
    x, sigmas, (denoise, says) = 3 * normal(rng, 5, 3), falling_levels(rng, 1), gaussian(answer, rng, 0.5)
    hint = "a step to 0 ends at D = denoise(x, sigma); a second slope would be (x - D)/0"
    expect_end(answer.heun_sample, denoise, x, sigmas, says(x, sigmas[0].item()), hint)


@lab.check("heun_sample")
def looks_twice_in_each_step(answer: Answer, rng: Generator) -> None:
    """Two calls of denoise in each step, one in a step to 0."""
    expect_calls(answer, rng, "heun_sample", heun_run, "two in each step, one in a step to 0", 7, 8)


@lab.check("heun_sample")
def is_of_second_order(answer: Answer, rng: Generator) -> None:
    """Twice as many steps make a quarter of the error."""
    expect_order_two(answer, rng, "heun_sample", "order 1 remains where the second slope is wrong, or not used")


# ---- dpmpp_2m_sample


def past_weight(before: float, now: float, then: float) -> float:
    """How much of the last change of D is added in a step, by the levels of it and of the step before."""
    return math.log(now / then) / (2 * math.log(before / now))


TWO_M_MISTAKES: dict[str, Callable[..., float]] = {
    "this is order 1 throughout: the last D is not used": lambda *_: 0.0,
    "r is turned upside down: it is h_{i-1}/h_i": lambda *levels: 1 / (4 * past_weight(*levels)),
    "the 1/2 is missing: the line is followed to the middle of the step": lambda *levels: 2 * past_weight(*levels),
    "the signs are exchanged: 1 + 1/(2r) belongs to the new D": lambda *levels: -past_weight(*levels),
    "this takes all steps for equally long: r is h_{i-1}/h_i": lambda *_: 0.5,
    "h is a difference of log sigma, not of sigma": lambda before, now, then: (now - then) / (2 * (before - now)),
}


def two_m_run(
    x: Tensor, sigmas: Tensor, says: Says, weight: Callable[..., float] = past_weight, kept: str = "D"
) -> Tensor:
    """Where 2M ends: x / sigma changes by (1/then - 1/now) times each guess, and these changes are summed."""
    levels, total, D = sigmas.tolist(), x / sigmas[0], [x]
    for i, (now, then) in enumerate(pairwise(levels)):
        D.append(says(now * total, now))
        if then == 0:
            return D[-1].expand(x.shape)
        past = weight(levels[i - 1], now, then) * (D[-1] - D[-2]) if i else 0.0
        total = total + (1 / then - 1 / now) * (D[-1] + past)
        if kept == "bar D":
            D[-1] = D[-1] + past
    return total * sigmas[-1]


@lab.check("dpmpp_2m_sample")
def begins_with_the_one_line(answer: Answer, rng: Generator) -> None:
    """The first step has no past: x moves towards D by the share 1 - sigmas[1]/sigmas[0] of its distance."""
    x, sigmas = 4 * normal(rng, 5, 3), falling_levels(rng, 1, number(rng, 0.5, 2.0))
    denoise, says = gaussian(answer, rng, number(rng, -1.0, 1.0))
    D, ratio = says(x, sigmas[0].item()), sigmas[1] / sigmas[0]
    wrong = {
        "the shares are exchanged: x keeps sigmas[1]/sigmas[0]": ratio * D + (1 - ratio) * x,
        "this is the denoiser's answer; the step goes only as far as sigmas[1]": D,
        "x is multiplied by sigmas[0]; it is at that level already": two_m_run(x * sigmas[0], sigmas, says),
    }
    hint = "x = (sigma_1/sigma_0) x + (1 - sigma_1/sigma_0) D, with D = denoise(x, sigma_0)"
    expect_end(answer.dpmpp_2m_sample, denoise, x, sigmas, D + ratio * (x - D), hint, wrong)


@lab.check("dpmpp_2m_sample", points=2)
def extends_the_line_through_the_last_two_answers(answer: Answer, rng: Generator) -> None:
    """From the second step on D is continued along a line in log sigma, to the middle of a step of any length."""
    x, sigmas, (denoise, says) = normal(rng, 5, 3), falling_levels(rng, 5, 0.1), log_line(answer, rng, 3)
    wrong = {sentence: two_m_run(x, sigmas, says, weight) for sentence, weight in TWO_M_MISTAKES.items()}
    wrong["what is kept for the next step is bar D here; keep the denoiser's own answer D_i"] = two_m_run(
        x, sigmas, says, kept="bar D"
    )
    hint = "bar D = (1 + 1/(2r)) D_i - D_{i-1}/(2r), with r = h_{i-1}/h_i"
    expect_end(answer.dpmpp_2m_sample, denoise, x, sigmas, two_m_run(x, sigmas, says), hint, wrong)


@lab.check("dpmpp_2m_sample")
def ends_at_the_denoisers_answer(answer: Answer, rng: Generator) -> None:
    """The step to 0 is of order 1: it returns D itself, without the one before, and is finite."""
    for n in (1, 2, 5):
        x, sigmas, (denoise, says) = normal(rng, 5, 3), falling_levels(rng, n), log_line(answer, rng, 3)
        hint = "log(sigma/0) is infinite: in a step to 0 take D as it is"
        expect_end(answer.dpmpp_2m_sample, denoise, x, sigmas, says(x, sigmas[-2].item()), hint)


@lab.check("dpmpp_2m_sample")
def looks_once_in_each_step(answer: Answer, rng: Generator) -> None:
    """One call of denoise in each step."""
    expect_calls(answer, rng, "dpmpp_2m_sample", two_m_run, "one in each step", 4, 4)


@lab.check("dpmpp_2m_sample")
def is_of_second_order_too(answer: Answer, rng: Generator) -> None:
    """Twice as many steps make a quarter of the error."""
    expect_order_two(answer, rng, "dpmpp_2m_sample", "order 1 remains where the past is wrong, or not used")
