"""The visible checks of lab 5, the ε-loss.

Wanted values come by another route than the student's: the posterior from the covariance of a whole chain, conversions
from angles (abar = cos² of an angle), the bound's weight from an integral, losses from moments, training steps from
what a recording network saw.
"""

from __future__ import annotations

import itertools
import math
from functools import partial
from typing import Any

import torch

from labcheck import Battery, expect, expect_close, expect_type
from labcheck.answer import Answer
from labcheck.expect import CheckFailed, describe
from noise2data.checks.arguments import (
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
from noise2data.checks.expectations import expect_rows, two, with_rows
from noise2data.checks.hints import CAST_LAST, advice, differs_little, is_right, recognise
from noise2data.checks.statistics import expect_gaussian, expect_standard
from noise2data.checks.trainee import Trainee, moments_loss

lab = Battery(
    "lab05_epsilon_loss",
    fixtures="noise2data.checks.fixtures",
    forbidden=[
        "noise2data.denoiser",
        "noise2data.objectives",
        "noise2data.paths",
        "noise2data.samplers",
        "noise2data.training",
    ],
)

pair = partial(two, names="(mean, var)")

PREDICTIONS = ("eps", "x0", "v", "score")


def is_nan(got: Any) -> bool:
    """Whether NaN is among the numbers."""
    return isinstance(got, (torch.Tensor, float)) and bool(torch.as_tensor(got).isnan().any())


# ---- q_posterior


def conditioned_chain(betas: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The law of x_{k-1} given x_k and x0 for k = 1..T, each (T,): factor of x0, factor of x_k, variance.

    The T steps are written as one linear map of (x0, z_1, ..., z_T) to (x_0, ..., x_T); what is left of x_{k-1} when
    x_k is known comes from the covariance of the two. No closed form enters.
    """
    T = len(betas)
    rows = [torch.zeros(T + 1, dtype=torch.float64)]
    rows[0][0] = 1
    for i, beta in enumerate(betas):
        row = (1 - beta).sqrt() * rows[-1]
        row[i + 1] = beta.sqrt()
        rows.append(row)
    chain = torch.stack(rows)
    mean, noise = chain[:, 0], chain[:, 1:]
    cov = noise @ noise.T
    before, after = range(T), range(1, T + 1)
    gain = cov[before, after] / cov[after, after]
    return mean[:-1] - gain * mean[1:], gain, cov[before, before] - gain * cov[before, after]


def spread_out(var: Any, mean: torch.Tensor) -> torch.Tensor:
    """var, broadcast against the mean's shape; a message where that cannot be done."""
    expect_type(var, (torch.Tensor, float, int), "var")
    var = torch.as_tensor(var, dtype=None if isinstance(var, torch.Tensor) else mean.dtype)
    try:
        spread: torch.Tensor = var.expand(mean.shape)
    except RuntimeError:
        shapes = f"{tuple(var.shape)} does not broadcast against the mean's {tuple(mean.shape)}"
        message = f"var's shape {shapes}; one variance for each sample has shape (B, 1, ..., 1)"
        raise CheckFailed(message) from None
    return spread


@lab.check("q_posterior")
def has_the_mean_of_the_conditioned_chain(answer: Answer, rng: torch.Generator) -> None:
    """The mean is that of x_{k-1} when a whole Gaussian chain is conditioned on x0 and x_k."""
    T = integer(rng, 6, 20)
    betas, abar = random_schedule(rng, T)
    a, b, _ = conditioned_chain(betas)
    x0, xk = normal(rng, 5, 3), normal(rng, 5, 3)
    for k in (T // 2, T, 2):
        got, _ = pair(answer.q_posterior(x0, xk, k, abar))
        want = a[k - 1] * x0 + b[k - 1] * xk
        now, before, step = abar[k].sqrt(), abar[k - 1].sqrt(), (1 - betas[k - 1]).sqrt()
        # x0 and xk with their factors, but for the roots
        clean, noisy = betas[k - 1] / (1 - now**2) * x0, (1 - before**2) / (1 - now**2) * xk
        mistakes = {
            "the factors of x0 and xk are exchanged": b[k - 1] * x0 + a[k - 1] * xk,
            "the roots are exchanged: sqrt(alpha_k) goes with xk, sqrt(abar[k-1]) with x0":
                step * clean + before * noisy,
            "the factor of x0 has sqrt(abar[k-1]), not sqrt(abar[k])": now * clean + step * noisy,
            "the factor of xk has sqrt(alpha_k), of this one step, not sqrt(abar[k])": before * clean + now * noisy,
            "the factor of x0 has the root of abar[k-1], not abar[k-1] itself": before**2 * clean + step * noisy,
            "the factor of xk has the root of alpha_k, not alpha_k itself": before * clean + step**2 * noisy,
            "both roots are missing: sqrt(abar[k-1]) and sqrt(alpha_k)": before**2 * clean + step**2 * noisy,
            "this is where the chain would be without knowing xk: sqrt(abar[k-1])·x0": before * x0,
            "this only undoes the shrinking of the step: x0 has to enter": xk / step,
        }  # fmt: skip
        otherwise = "a weighted sum of x0 and xk, with alpha_k = abar[k]/abar[k-1] and beta_k = 1 - alpha_k"
        hint = recognise(got, mistakes, CAST_LAST if differs_little(got, want, 1e-5) else otherwise)
        expect_close(got, want, rtol=1e-7, dtype=False, what=f"the mean at k = {k} of {T}", hint=hint)


@lab.check("q_posterior")
def has_the_variance_of_the_conditioned_chain(answer: Answer, rng: torch.Generator) -> None:
    """The variance is that of x_{k-1} when the chain is conditioned: smaller than beta_k."""
    T = integer(rng, 6, 20)
    betas, abar = random_schedule(rng, T)
    variance = conditioned_chain(betas)[2]
    x0, xk = normal(rng, 5, 3), normal(rng, 5, 3)
    for k in (T // 2, T, 2):
        mean, var = pair(answer.q_posterior(x0, xk, k, abar))
        expect_type(mean, torch.Tensor, "the mean")
        got, want = spread_out(var, mean), variance[k - 1].expand(5, 3)
        mistakes = {
            "this is beta_k, the variance of the step forward; knowing x0 makes it smaller": betas[k - 1].expand(5, 3),
            "this is a standard deviation; the variance is asked for": want.sqrt(),
            "this is the logarithm of it": want.log(),
            "this is turned over: the factor of beta_k is below 1": betas[k - 1] ** 2 / want,
        }
        hint = recognise(got, mistakes, "beta_k·(1 - abar[k-1])/(1 - abar[k])")
        expect_close(got, want, rtol=1e-7, dtype=False, what=f"the variance at k = {k} of {T}", hint=hint)


@lab.check("q_posterior")
def ends_in_x0(answer: Answer, rng: torch.Generator) -> None:
    """At k = 1 nothing is left to guess: the mean is x0 and the variance is 0."""
    _, abar = random_schedule(rng, integer(rng, 3, 12))
    x0, xk = normal(rng, 4, 3), normal(rng, 4, 3)
    mean, var = pair(answer.q_posterior(x0, xk, 1, abar))
    hint = advice("abar[0] is 1 and needs no guard", is_nan(mean) or differs_little(mean, x0))
    expect_close(mean, x0, rtol=1e-7, dtype=False, what="the mean at k = 1", hint=hint)
    zeros = torch.zeros_like(x0)
    expect_close(spread_out(var, x0), zeros, atol=1e-12, dtype=False, what="the variance at k = 1")


@lab.check("q_posterior")
def takes_a_level_per_sample(answer: Answer, rng: torch.Generator) -> None:
    """With k of shape (B,), row i of the mean and of the variance belongs to k[i]."""
    betas, abar = random_schedule(rng, 20)
    a, b, variance = conditioned_chain(betas)
    x0, xk, k = normal(rng, 6, 2), normal(rng, 6, 2), distinct_levels(rng, 20, 6)
    at = (k - 1).tolist()
    want = a[at, None] * x0 + b[at, None] * xk
    args = (x0, xk, k, abar)
    expect_rows(lambda *args: pair(answer.q_posterior(*args))[0], args, 2, want, hint="row i belongs to k[i]")
    mean, var = pair(with_rows(answer.q_posterior, *args))
    got = spread_out(var, mean)
    expect_close(got, variance[at, None].expand(6, 2), rtol=1e-7, dtype=False, what="the variance")


@lab.check("q_posterior")
def keeps_the_dtype_of_x0(answer: Answer, rng: torch.Generator) -> None:
    """float32 in, float32 out, mean and variance, for a number and for a (B,) tensor k, although abar is float64."""
    betas, abar = random_schedule(rng, 10)
    a, b, _ = conditioned_chain(betas)
    x0, xk = normal(rng, 4, 3, dtype=torch.float32), normal(rng, 4, 3, dtype=torch.float32)
    for k in (7, distinct_levels(rng, 10, 4)):
        at = torch.as_tensor(k).reshape(-1) - 1
        mean, var = pair(with_rows(answer.q_posterior, x0, xk, k, abar))
        want = (a[at, None] * x0 + b[at, None] * xk).float()
        expect_close(mean, want, what="the mean", hint=advice(CAST_LAST, differs_little(mean, want)))
        expect(spread_out(var, mean).dtype == torch.float32, f"var has dtype {str(var.dtype)[6:]}; expected float32")


# ---- convert


def all_predictions(angle: torch.Tensor, x0: torch.Tensor, eps: torch.Tensor) -> dict[str, torch.Tensor]:
    """xk and the four predictions of it where sqrt(abar[k]) = cos(angle), by name."""
    cos, sin = angle.cos(), angle.sin()
    v, score = cos * eps - sin * x0, -eps / sin
    return {"xk": cos * x0 + sin * eps, "eps": eps, "x0": x0, "v": v, "score": score}


def _conversion_mistakes(
    angle: torch.Tensor, source: str, target: str, known: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """What the well-known mistakes would return in place of known[target]."""
    cos, sin, pred, xk = angle.cos(), angle.sin(), known[source], known["xk"]

    def of(eps: torch.Tensor, x0: torch.Tensor | None = None, level: torch.Tensor = sin) -> torch.Tensor:
        x0 = (xk - level * eps) / cos if x0 is None else x0
        return {"eps": eps, "x0": x0, "v": cos * eps - sin * x0, "score": -eps / sin}[target]

    mistakes = {"this is the prediction as it was given": pred, "the sign is turned round": -known[target]}
    if target == "v":
        exchanged = cos * known["x0"] - sin * known["eps"]
        mistakes["this is sqrt(abar)·x0 - sqrt(1 - abar)·eps; v has the two exchanged"] = exchanged
    if target == "score":
        mistakes["this is -eps divided by 1 - abar, the variance; divide by its root"] = -known["eps"] / sin**2
        mistakes["this is -eps: the score is that divided by sqrt(1 - abar)"] = -known["eps"]
    if source == "v":
        other_sign = of(sin * xk - cos * pred, cos * xk + sin * pred)
        mistakes["this takes v with the other sign: v = sqrt(abar)·eps - sqrt(1 - abar)·x0"] = other_sign
    if source == "score":
        mistakes["eps is -score times sqrt(1 - abar), not times 1 - abar"] = of(-(sin**2) * pred)
    if source == "eps":
        mistakes["eps is multiplied by 1 - abar; its factor is sqrt(1 - abar)"] = of(pred, level=sin**2)
    return mistakes


def _expect_conversions(pairs: list[tuple[str, str]], answer: Answer, rng: torch.Generator) -> None:
    T = integer(rng, 6, 30)
    phi, abar = random_angles(rng, T)
    x0, eps = normal(rng, 5, 3), normal(rng, 5, 3)
    for (source, target), k in itertools.product(pairs, (T // 2, 1, T)):
        known = all_predictions(phi[k], x0, eps)
        got, want = answer.convert(known[source], known["xk"], k, abar, source, target), known[target]
        hint = f"solve xk = sqrt(abar)·x0 + sqrt(1 - abar)·eps and the definition of {source} for x0 and eps"
        hint = CAST_LAST if differs_little(got, want) else hint
        hint = recognise(got, _conversion_mistakes(phi[k], source, target, known), hint)
        what = f'"{source}" to "{target}" at k = {k} of {T}'
        expect_close(got, want, rtol=1e-6, dtype=False, what=what, hint=hint)


@lab.check("convert")
def converts_eps_and_x0(answer: Answer, rng: torch.Generator) -> None:
    """Between eps and x0: what is left of xk is the other's."""
    _expect_conversions([("eps", "x0"), ("x0", "eps")], answer, rng)


@lab.check("convert")
def converts_the_score(answer: Answer, rng: torch.Generator) -> None:
    """Between the score and eps and x0, both ways."""
    pairs = [("eps", "score"), ("x0", "score"), ("score", "eps"), ("score", "x0")]
    _expect_conversions(pairs, answer, rng)


@lab.check("convert")
def converts_to_v(answer: Answer, rng: torch.Generator) -> None:
    """To v = sqrt(abar)·eps - sqrt(1 - abar)·x0, from each of the others."""
    _expect_conversions([("eps", "v"), ("x0", "v"), ("score", "v")], answer, rng)


@lab.check("convert")
def converts_from_v(answer: Answer, rng: torch.Generator) -> None:
    """From v to each of the others."""
    _expect_conversions([("v", "eps"), ("v", "x0"), ("v", "score")], answer, rng)


@lab.check("convert")
def takes_levels_per_sample(answer: Answer, rng: torch.Generator) -> None:
    """With k of shape (B,), row i is converted at its own level k[i]."""
    phi, abar = random_angles(rng, 20)
    k = distinct_levels(rng, 20, 6)
    known = all_predictions(phi[k][:, None], normal(rng, 6, 2), normal(rng, 6, 2))
    for source, target in (("eps", "x0"), ("x0", "score"), ("score", "x0"), ("x0", "eps")):
        args = (known[source], known["xk"], k, abar, source, target)
        what = f'"{source}" to "{target}"'
        expect_rows(answer.convert, args, 2, known[target], what=what, hint="row i belongs to k[i]")


@lab.check("convert")
def keeps_the_dtype_of_pred(answer: Answer, rng: torch.Generator) -> None:
    """float32 in, float32 out, for a number and for a (B,) tensor k, although abar is float64."""
    phi, abar = random_angles(rng, 10)
    x0, eps = normal(rng, 4, 3), normal(rng, 4, 3)
    for k in (7, distinct_levels(rng, 10, 4)):
        known = all_predictions(phi[torch.as_tensor(k)].reshape(-1, 1), x0, eps)
        known = {name: value.float() for name, value in known.items()}
        for source, target in itertools.permutations(PREDICTIONS, 2):
            got = with_rows(answer.convert, known[source], known["xk"], k, abar, source, target)
            what = f'"{source}" to "{target}"'
            expect_type(got, torch.Tensor, what)
            expect(got.dtype == torch.float32, f"{what} has dtype {str(got.dtype)[6:]}; expected float32: {CAST_LAST}")
            if (source, target) == ("eps", "x0"):
                expect_close(got, known[target], rtol=1e-3, atol=1e-4, what=what)


# ---- eps_loss


def wrong_levels(answer: Answer, net: Any, k: Any, B: int, kind: bool = True) -> str:
    """What is wrong with the levels that net was given last for k; "" if nothing is. kind: of shape and dtype, too."""
    calls = answer.attribute(net, "seen")
    expect(len(calls) > 0, "net is not called")
    levels, want = calls[-1][1], torch.as_tensor(k).expand(B)
    if kind and levels.shape != want.shape:
        return f"net is given k of shape {tuple(levels.shape)}; it gets one level for each sample, shape (B,) = ({B},)"
    same = levels.numel() in (1, B) and bool((levels.reshape(-1) == want).all())
    if levels.dtype != torch.int64 and (kind or not same):
        return f"net is given k as {str(levels.dtype)[6:]}; it gets int64 (B,)" + ("" if same else ", the levels alone")
    return "" if same else f"net is given k = {levels.tolist()}; expected {want.tolist()}"


@lab.check("eps_loss")
def gives_net_one_level_for_each_sample(answer: Answer, rng: torch.Generator) -> None:
    """However k is given, net is called once, with k as an int64 tensor of shape (B,)."""
    _, abar = random_angles(rng, 9)
    x0, eps, many = normal(rng, 5, 3), normal(rng, 5, 3), distinct_levels(rng, 9, 5)
    half = torch.full((10,), 0.5, dtype=torch.float64)
    for k in (4, torch.tensor(4), many):
        net = answer.fixture("level_net", scale=half, shift=half)
        answer.eps_loss(net, x0, k, eps, abar)
        wrong = wrong_levels(answer, net, k, 5)
        expect(not wrong, wrong)
        expect(answer.calls(net) == 1, f"net is called {answer.calls(net)} times; once is asked for")


@lab.check("eps_loss")
def is_zero_for_a_perfect_guess(answer: Answer, rng: torch.Generator) -> None:
    """Where all the data are one point, the network that subtracts it and divides by the noise level loses nothing."""
    T = integer(rng, 6, 20)
    phi, abar = random_angles(rng, T)
    point = normal(rng, 3)
    sin = phi.sin().clamp(min=1e-3)  # level 0 is not asked
    net = answer.fixture("level_net", scale=1 / sin, shift=-(phi.cos() / sin)[:, None] * point)
    x0, eps = point.expand(6, 3).contiguous(), normal(rng, 6, 3)
    for k in (T // 2, 1, T):
        got = answer.eps_loss(net, x0, k, eps, abar)
        expect_type(got, torch.Tensor)
        hint = "net is shown xk = sqrt(abar[k])·x0 + sqrt(1 - abar[k])·eps, and its answer is compared with eps"
        hint = wrong_levels(answer, net, k, 6, kind=False) or hint
        expect_close(got, 0.0, atol=1e-9, what=f"the loss at k = {k} of {T}", hint=hint)


@lab.check("eps_loss")
def is_the_mean_squared_error_of_eps(answer: Answer, rng: torch.Generator) -> None:
    """It is the mean over all elements of the squared error of eps."""
    T, B, d = integer(rng, 6, 20), 5, 3
    phi, abar = random_angles(rng, T)
    scale, shift = uniform(rng, 0.3, 0.8, T + 1), uniform(rng, 0.5, 1.0, T + 1)
    x0, eps = 1 + normal(rng, B, d), normal(rng, B, d)
    net = answer.fixture("level_net", scale=scale, shift=shift)
    for k in (T // 2, 1, T):
        at = [k] * B
        want = moments_loss(phi[at].cos(), phi[at].sin(), scale[at], shift[at], x0, eps)
        got = answer.eps_loss(net, x0, k, eps, abar)
        xk = phi[k].cos() * x0 + phi[k].sin() * eps
        variance = phi[k].cos() * x0 + phi[k].sin() ** 2 * eps
        early = phi[k - 1].cos() * x0 + phi[k - 1].sin() * eps
        guess, targets = scale[k] * xk + shift[k], {"x0": x0, "xk": xk, "v": phi[k].cos() * eps - phi[k].sin() * x0}
        mistakes = {
            "this is the sum over all elements; their mean is asked for": want * B * d,
            "this is the sum over the features, averaged over the batch; the mean over both is asked for": want * d,
            "this is the sum over the batch, averaged over the features; the mean over both is asked for": want * B,
            "there is a factor 1/2 in it": want / 2,
            "this is the square root of the mean squared error": want.sqrt(),
            "this is the mean absolute error; square it": (guess - eps).abs().mean(),
            **{f"the network's answer is compared with {name}; it predicts eps": (guess - target).square().mean()
               for name, target in targets.items()},
            "net is shown noise times 1 - abar, the variance; its factor is a standard deviation":
                (scale[k] * variance + shift[k] - eps).square().mean(),
            "net is shown level k - 1: abar has T + 1 entries, and abar[k] belongs to level k":
                (scale[k] * early + shift[k] - eps).square().mean(),
        }  # fmt: skip
        expect_type(got, torch.Tensor)
        hint = recognise(got, mistakes, "mean over batch and features of (net(xk, k) - eps)²")
        hint = wrong_levels(answer, net, k, B, kind=False) or hint
        expect_close(got, want.item(), rtol=1e-6, what=f"the loss at k = {k} of {T}", hint=hint)


@lab.check("eps_loss")
def takes_a_level_for_each_sample(answer: Answer, rng: torch.Generator) -> None:
    """With k of shape (B,), row i is noised to k[i], and net is told so."""
    phi, abar = random_angles(rng, 20)
    scale, shift = uniform(rng, 0.3, 0.8, 21), uniform(rng, 0.5, 1.0, 21)
    x0, eps, k = 1 + normal(rng, 6, 2), normal(rng, 6, 2), distinct_levels(rng, 20, 6)
    want = moments_loss(phi[k].cos(), phi[k].sin(), scale[k], shift[k], x0, eps)
    net = answer.fixture("level_net", scale=scale, shift=shift)
    got = with_rows(answer.eps_loss, net, x0, k, eps, abar)
    expect_type(got, torch.Tensor)
    told = wrong_levels(answer, net, k, 6, kind=False)
    alone = moments_loss(phi[k].cos()[:1], phi[k].sin()[:1], scale[k[:1]], shift[k[:1]], x0[:1], eps[:1])
    right = is_right(lambda: answer.eps_loss(net, x0[:1], k[0].item(), eps[:1], abar), alone)
    hint = told or advice("row i of x0 and of eps belongs to k[i]", right)
    expect_close(got, want.item(), rtol=1e-6, hint=hint)


@lab.check("eps_loss")
def trains_the_network(answer: Answer, rng: torch.Generator) -> None:
    """It is a 0-d tensor, and its gradient reaches every parameter of net."""
    T, B, d = 8, 6, 3
    phi, abar = random_angles(rng, T)
    scale, shift = uniform(rng, 0.3, 0.8, T + 1), uniform(rng, 0.5, 1.0, T + 1)
    x0, eps, k = normal(rng, B, d), normal(rng, B, d), distinct_levels(rng, T, B)
    net = answer.fixture("level_net", scale=scale, shift=shift)
    one = torch.ones((), dtype=torch.float64)
    seen = answer.gradient("eps_loss", net, x0, k, eps, abar, wrt=[], cotangent=one, parameters=net)
    expect_type(seen.value, torch.Tensor)
    expect(seen.value.ndim == 0, f"the result has shape {tuple(seen.value.shape)}; a loss is a 0-d tensor")
    xk = on_batch_axis(phi[k].cos(), x0) * x0 + on_batch_axis(phi[k].sin(), x0) * eps
    error = on_batch_axis(scale[k], x0) * xk + on_batch_axis(shift[k], x0) - eps
    for name, slope in (("scale", error * xk), ("shift", error)):
        got = seen.parameter_grads[name]
        lost = "no gradient reaches the network's parameters: something is detached, under no_grad, or an .item()"
        expect(got is not None, lost)
        want = torch.zeros(T + 1, dtype=torch.float64).index_add(0, k, 2 * slope.mean(1) / B)
        expect_close(got, want, rtol=1e-5, atol=1e-8, what="the gradient with respect to a parameter of net")


# ---- vlb_weight


def numerical_kl(m1: float, m2: float, var: float) -> float:
    """KL(N(m1, var) || N(m2, var)), integrated on a grid: trapezoids are exact here, far beyond ten digits."""
    std = math.sqrt(var)
    x = torch.linspace(m1 - 12 * std, m1 + 12 * std, 4001, dtype=torch.float64)
    log_p, log_q = (-((x - m) ** 2) / (2 * var) for m in (m1, m2))
    density = log_p.exp() / math.sqrt(2 * math.pi * var)
    return float(torch.trapezoid(density * (log_p - log_q), x))


@lab.check("vlb_weight", points=2)
def is_the_divergence_of_two_gaussians(answer: Answer, rng: torch.Generator) -> None:
    """Times the squared error of eps it is the divergence of two posteriors, integrated numerically."""
    T = integer(rng, 8, 20)
    phi, abar = random_angles(rng, T)
    betas = 1 - abar[1:] / abar[:-1]
    a, b, variance = conditioned_chain(betas)
    x0, eps = normal(rng, 1).item(), normal(rng, 1).item()
    wrong = eps + number(rng, 0.3, 1.0)  # what a network might answer
    for k in (2, T // 2, T):
        cos, sin = phi[k].cos().item(), phi[k].sin().item()
        xk = cos * x0 + sin * eps
        guess = (xk - sin * wrong) / cos  # of x0
        means = [(a[k - 1] * x + b[k - 1] * xk).item() for x in (x0, guess)]
        want = numerical_kl(means[0], means[1], variance[k - 1].item()) / (wrong - eps) ** 2
        got = answer.vlb_weight(k, abar)
        beta = betas[k - 1].item()
        right = torch.tensor(want, dtype=torch.float64)
        mistakes = {
            "the factor 1/2 of the divergence is missing": 2 * right,
            "this has sigma² = beta_k; the posterior variance is asked for": right * variance[k - 1] / beta,
            "this has the posterior's standard deviation where its variance belongs": right * variance[k - 1].sqrt(),
            "beta_k is squared in the numerator": right / beta,
            "alpha_k = 1 - beta_k belongs to the denominator": right * (1 - beta),
            "alpha_k is abar[k]/abar[k-1], not abar[k]": right * (1 - beta) / cos**2,
            "this is turned over": 1 / right,
            "this is the weight of the squared error of x0; that of eps is asked for": right * cos**2 / sin**2,
        }
        flat = got.reshape(()) if isinstance(got, torch.Tensor) and got.numel() == 1 else got
        hint = recognise(flat, mistakes, "KL = |difference of the means|²/(2·variance); write it with eps")
        expect_close(got, want, rtol=1e-5, what=f"the weight at k = {k} of {T}", hint=hint)


@lab.check("vlb_weight")
def is_infinite_at_1(answer: Answer, rng: torch.Generator) -> None:
    """At k = 1 the posterior has no variance, and the weight is +inf; at other levels it is finite."""
    T = integer(rng, 4, 15)
    _, abar = random_schedule(rng, T)
    got = answer.vlb_weight(1, abar)
    expect_type(got, torch.Tensor)
    expect(got.numel() == 1 and got.item() == math.inf, f"the weight at k = 1 is {got.tolist()}; expected inf")
    others = answer.vlb_weight(torch.arange(2, T + 1), abar)
    expect_type(others, torch.Tensor)
    expect(bool(others.isfinite().all() and (others > 0).all()), "the weights of k >= 2 are positive and finite")


@lab.check("vlb_weight")
def weighs_each_level(answer: Answer, rng: torch.Generator) -> None:
    """A (B,) tensor k, in any order, gives (B,) weights in the dtype of abar."""
    T = integer(rng, 12, 30)
    _, abar = random_schedule(rng, T)
    k = 1 + distinct_levels(rng, T - 1, 6)
    log_snr = abar.log() - torch.log1p(-abar)
    want = torch.expm1(log_snr[k - 1] - log_snr[k]) / 2
    got = answer.vlb_weight(k, abar)
    one_each = advice("one weight for each entry of k", getattr(got, "shape", None) != want.shape)
    mistakes = {"these are in the order of the levels; weight i belongs to k[i]": want[k.argsort()]}
    hint = recognise(got, mistakes, "stay in abar's dtype" if differs_little(got, want) else one_each)
    expect_close(got, want, rtol=1e-6, hint=hint)


# ---- min_snr_weight


def min_snr(snr: torch.Tensor, gamma: float, prediction: str) -> torch.Tensor:
    """The weight at finite SNR > 0, as a weight min(SNR, gamma) of the error of x0 divided by that of the prediction.

    An error e of x0 is one of sqrt(SNR) e in eps, and of sqrt(SNR + 1) e in v.
    """
    per_error = {"x0": torch.ones_like(snr), "eps": snr, "v": 1 + snr}[prediction]
    return snr.clamp(max=gamma) / per_error


def _expect_min_snr(prediction: str, answer: Answer, rng: torch.Generator) -> None:
    gamma = number(rng, 2, 8)
    snr = torch.tensor([50.0, 1.6, 1.2, 0.8, 0.5, 0.02]) * gamma * uniform(rng, 0.9, 1.1, 6)
    abar = torch.cat([torch.ones(1, dtype=torch.float64), snr / (1 + snr)])
    k = distinct_levels(rng, 6, 6)
    snr = snr[k - 1]
    want = min_snr(snr, gamma, prediction)
    got = answer.min_snr_weight(k, abar, gamma, prediction)
    noise = 1 / snr
    others = {
        f'this is the weight of the loss of "{other}"': min_snr(snr, gamma, other)
        for other in ("eps", "x0", "v") if other != prediction
    }  # fmt: skip
    mistakes = {
        "SNR is turned over: the signal goes above the line": min_snr(noise, gamma, prediction),
        "SNR is abar/(1 - abar), a ratio of variances; here it is one of standard deviations":
            min_snr(snr.sqrt(), gamma, prediction),
        "this is the larger of the two, SNR and gamma; the smaller is meant":
            want * snr.clamp(min=gamma) / snr.clamp(max=gamma),
        "this is divided by its mean over the batch; nothing is normalised": want / want.mean(),
        "this is min(SNR + 1, gamma)/(SNR + 1): the + 1 belongs below alone": (snr + 1).clamp(max=gamma) / (snr + 1),
        **others,
    }  # fmt: skip
    expect_type(got, torch.Tensor)
    formula = {"eps": "min(1, gamma/SNR)", "x0": "min(SNR, gamma)", "v": "min(SNR, gamma)/(SNR + 1)"}[prediction]
    what = f'the weight of "{prediction}" with gamma = {gamma:.3g}'
    expect_close(got, want, rtol=1e-6, dtype=False, what=what, hint=recognise(got, mistakes, formula))


@lab.check("min_snr_weight")
def weighs_the_loss_of_eps(answer: Answer, rng: torch.Generator) -> None:
    """For "eps" it is 1 at noisy levels, and falls like 1/SNR where SNR is above gamma."""
    _expect_min_snr("eps", answer, rng)


@lab.check("min_snr_weight")
def weighs_the_loss_of_x0(answer: Answer, rng: torch.Generator) -> None:
    """For "x0" it is the SNR, but no more than gamma."""
    _expect_min_snr("x0", answer, rng)


@lab.check("min_snr_weight")
def weighs_the_loss_of_v(answer: Answer, rng: torch.Generator) -> None:
    """For "v" it is min(SNR, gamma) divided by SNR + 1."""
    _expect_min_snr("v", answer, rng)


@lab.check("min_snr_weight")
def is_finite_without_signal(answer: Answer, rng: torch.Generator) -> None:
    """Where abar = 0 there is no signal: 1 for "eps", 0 for "x0" and for "v"."""
    _, abar = random_schedule(rng, integer(rng, 3, 12))
    abar[-1] = 0
    gamma = number(rng, 2, 8)
    for prediction, want in (("eps", 1.0), ("x0", 0.0), ("v", 0.0)):
        got = answer.min_snr_weight(len(abar) - 1, abar, gamma, prediction)
        hint = advice("in gamma/SNR the division by 0 gives inf, which min can take; 0/0 gives NaN", is_nan(got))
        expect_close(got, want, atol=1e-9, what=f'the weight of "{prediction}" at SNR = 0', hint=hint)


# ---- training_step


WITHOUT_NOISE = "k = 0 was drawn; levels are 1..T, as without noise there is nothing to learn"
TWINS_DIFFER = "generators of the same seed gave different draws: draw k and eps with generator=generator"


@lab.check("training_step", points=2)
def moves_the_parameters_down_the_gradient(answer: Answer, rng: torch.Generator) -> None:
    """One step of the optimizer, along the gradient of the mean squared error of eps."""
    B, d = 40, 3
    trainee = Trainee(answer, rng, 6, normal(rng, B, d), size=30.0)  # gradients far above 1, to see them clipped
    step, _ = trainee.step(seeded(rng))
    norm = math.sqrt(sum(due.square().sum().item() for due in step.due.values())) / trainee.lr
    still = all((moved == 0).all() for moved in step.moved.values())
    expect(not still, "the parameters did not move: zero the gradients, call backward, then optimizer.step()")
    expect(step.steps == 1, f"optimizer.step() is called {step.steps} times; once is asked for")
    expect(step.calls == 1, f"net is called {step.calls} times; once is asked for")
    for name, due in step.due.items():
        mistakes = {
            "they moved up the gradient": -due,
            "they moved half as far: there is no factor 1/2 in the loss": due / 2,
            "the loss is a sum; it should be the mean over all elements": due * B * d,
            "the loss sums over the features; it should be the mean over all elements": due * d,
            "the gradients are clipped to norm 1; nothing is to be clipped": due / norm,
            "the gradients are clipped to ±1; nothing is to be clipped": due.clamp(-trainee.lr, trainee.lr),
        }
        moved = step.moved[name]
        hint = recognise(moved, mistakes, "the loss is the mean of (net(xk, k) - eps)², with the eps that made xk")
        expect_close(moved, due, rtol=1e-5, atol=1e-8, what=f"the movement of `{name}`", hint=hint)


@lab.check("training_step")
def returns_the_loss_before_the_update(answer: Answer, rng: torch.Generator) -> None:
    """It returns, as a Python float, the loss that the parameters had before they moved."""
    B, d = 40, 3
    step, _ = Trainee(answer, rng, 6, normal(rng, B, d)).step(seeded(rng))
    expect(isinstance(step.value, float), f"the result should be a Python float, not {describe(step.value)}: .item()")
    expect(bool((step.k > 0).all()), WITHOUT_NOISE)
    due = torch.tensor(step.loss, dtype=torch.float64)
    mistakes = {
        "this is the sum over all elements; their mean is asked for": due * B * d,
        "this is the sum over the features; the mean over all elements is asked for": due * d,
        "there is a factor 1/2 in it": due / 2,
    }
    hint = "mean over all elements of (net(xk, k) - eps)², with the eps that made xk"
    hint = recognise(torch.tensor(step.value, dtype=torch.float64), mistakes, hint)
    expect_close(step.value, step.loss, rtol=1e-6, what="the returned loss", hint=hint)


@lab.check("training_step")
def clears_stale_gradients(answer: Answer, rng: torch.Generator) -> None:
    """Gradients that were left over from before do not move the parameters."""
    x0, state, seed = normal(rng, 30, 2), rng.get_state(), integer(rng, 0, 2**31)
    steps = []
    for stale in (0.0, 7.0):  # twins, but for the old gradients; the tables are drawn from one state
        trainee = Trainee(answer, rng.set_state(state), 6, x0, stale=stale)
        steps.append(trainee.step(torch.Generator().manual_seed(seed))[0])
    expect(torch.equal(steps[0].x, steps[1].x) and torch.equal(steps[0].k, steps[1].k), TWINS_DIFFER)
    for name, value in steps[0].moved.items():
        expect(bool((value != 0).any()), "the parameters did not move")
        added = torch.allclose(steps[1].moved[name], value - 7.0 * trainee.lr, atol=1e-6)
        hint = "the old gradients were added: optimizer.zero_grad() before loss.backward()" if added else ""
        expect_close(steps[1].moved[name], value, rtol=1e-5, atol=1e-8, what=f"the movement of `{name}`", hint=hint)


@lab.check("training_step")
def draws_every_level_alike(answer: Answer, rng: torch.Generator) -> None:
    """Levels are uniform on 1..T: T is among them, 0 never is."""
    T, B = integer(rng, 5, 8), 4000
    step, _ = Trainee(answer, rng, T, normal(rng, B, 1)).step(seeded(rng))
    expect(bool((step.k > 0).all()), WITHOUT_NOISE)
    expect(bool((step.k != step.k[0]).any()), f"all {B} samples have the same level; draw one for each, shape (B,)")
    counts = torch.bincount(step.k.long(), minlength=T + 1)[1:].double()
    never = (1 + (counts == 0).nonzero().flatten()).tolist()
    hint = "; torch.randint excludes its upper end" if never == [T] else ""
    expect(not never, f"of {B} levels none is {', '.join(map(str, never))}; they come from 1..T, here 1..{T}{hint}")
    chi_square = ((counts - B / T) ** 2 / (B / T)).sum().item()  # at most 7 degrees of freedom: above 46 once in 1e7
    listed = ", ".join(f"{level}: {count:g}" for level, count in enumerate(counts.tolist(), 1))
    expect(chi_square < 46, f"levels are not uniform on 1..{T}: of {B} there are {listed}")


@lab.check("training_step")
def draws_normal_noise(answer: Answer, rng: torch.Generator) -> None:
    """The noise is drawn from N(0, I), for every sample its own."""
    step, _ = Trainee(answer, rng, 6, normal(rng, 4000, 10)).step(seeded(rng))
    eps = step.eps[step.k > 0]  # level 0 shows no noise
    expect(len(eps) > 0, WITHOUT_NOISE)
    expect(bool((eps.std(1) > 1e-6).all()), "all features of a sample get the same noise; draw a tensor of x0's shape")
    mistakes = {"torch.rand draws from [0, 1); the normal numbers are torch.randn's": 1 / 12}
    expect_standard(eps, "the noise", "eps is drawn from N(0, I), and scaled when xk is made", mistakes)
    expect_gaussian(eps, "the noise")


@lab.check("training_step")
def draws_from_its_generator(answer: Answer, rng: torch.Generator) -> None:
    """Generators with equal seeds give equal steps, and others have other levels and noise."""
    x0, state, seed = normal(rng, 12, 3), rng.get_state(), integer(rng, 0, 2**31)
    first, again, other = (
        Trainee(answer, rng.set_state(state), 30, x0).step(torch.Generator().manual_seed(seed + more))[0]
        for more in (0, 0, 1)
    )
    expect(torch.equal(first.x, again.x) and torch.equal(first.k, again.k), TWINS_DIFFER)
    hint = "generators with different seeds give the same {}: take them from `generator`, without a seed of your own"
    expect(not torch.equal(first.k, other.k), hint.format("levels"))
    expect(not ((first.eps - other.eps).abs() < 1e-9).any(), hint.format("noise"))  # by chance once in 5e7 runs
