"""The visible checks of lab 3, scores.

Wanted values come by another route than the student's: posterior means from Bayes' rule component by component,
scores by differentiating log-densities, minima of the losses from designs of points whose moments are exact.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch

from labcheck import Battery, expect, expect_close, expect_type
from labcheck.answer import Answer, AnswerError, Observation
from labcheck.checks import CheckFunction
from noise2data.checks.arguments import integer, normal, number, signs, uniform
from noise2data.checks.expectations import (
    expect_loss,
    expect_near,
    expect_parameter_gradient,
    expect_rows,
    expect_scalar,
    with_rows,
)
from noise2data.checks.hints import EARLIER, advice, differs_little, is_right, recognise

lab = Battery(
    "lab03_scores",
    fixtures="noise2data.checks.fixtures",
    forbidden=["noise2data.mixtures", "noise2data.paths", "noise2data.objectives", "noise2data.denoiser"],
)

Level = torch.Tensor | float
ONE = torch.ones((), dtype=torch.float64)
CAST = "cast alpha and sigma to the dtype of the data before you multiply"
ROWS = "row i belongs to entry i of alpha and sigma"
SQUARE = "only the square trains the network: keep the derivative's own graph, create_graph=True"
CURVATURE = "only the derivative trains the network: the square is outside the graph"


# ---- what several tasks need


def level(rng: torch.Generator, *shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    """alpha and sigma of some noise level, or of one for each sample: neither is 1, nor is alpha² + sigma²."""
    return uniform(rng, 0.3, 0.9, *shape), uniform(rng, 0.4, 1.5, *shape)


def columns(*levels: Level) -> tuple[torch.Tensor, ...]:
    """Numbers and (B,) tensors as (1 or B, 1), in float64."""
    return tuple(torch.as_tensor(value, dtype=torch.float64).reshape(-1, 1) for value in levels)


class Mixture:
    """sum_k weights[k] N(means[k], std² I) for a check: random, its components overlapping after noise."""

    def __init__(self, rng: torch.Generator, K: int, d: int, std: float | None = None) -> None:
        self.means = 1.5 * normal(rng, K, d)
        self.std = number(rng, 0.3, 0.8) if std is None else std
        weights = uniform(rng, 0.2, 1.0, K)
        self.weights = weights / weights.sum()

    def around(self, rng: torch.Generator, alpha: Level, n: int) -> torch.Tensor:
        """n points near the means times alpha, (n, d)."""
        k = torch.randint(len(self.means), (n,), generator=rng)
        return columns(alpha)[0] * self.means[k] + 0.8 * normal(rng, n, self.means.shape[1])

    def noisy_score(self, x: torch.Tensor, alpha: Level, sigma: Level) -> torch.Tensor:
        """The gradient of the log-density of alpha x0 + sigma eps, by automatic differentiation."""
        x = x.detach().requires_grad_()
        a, s = columns(alpha, sigma)
        square = (x[:, None] - a[:, :, None] * self.means).square().sum(2)
        logs = self.weights.log() - square / (2 * ((a * self.std) ** 2 + s**2))  # up to what is the same for all x
        return torch.autograd.grad(logs.logsumexp(1).sum(), x)[0]

    def posterior_mean(self, x: torch.Tensor, alpha: Level, sigma: Level) -> torch.Tensor:
        """E[x0 | x] by Bayes' rule: each component is updated by itself, in precisions; the updates are averaged."""
        a, s = columns(alpha, sigma)
        logs, updates = [], []
        for mean, weight in zip(self.means, self.weights, strict=True):
            evidence = torch.distributions.Normal(a * mean, (a**2 * self.std**2 + s**2).sqrt())
            logs.append(weight.log() + evidence.log_prob(x).sum(1))
            updates.append((mean / self.std**2 + a * x / s**2) / (1 / self.std**2 + a**2 / s**2))
        shares = torch.stack(logs) - torch.logsumexp(torch.stack(logs), 0)
        return (shares.exp()[:, :, None] * torch.stack(updates)).sum(0)


def expect_no_slope(seen: Observation, hint: str) -> None:
    """Fail unless the gradients with respect to the parameters A and b of an affine network are there and are 0."""
    for name in ("A", "b"):
        grad = seen.parameter_grads.get(name)
        what = f"the gradient with respect to the network's parameter {name}"
        expect(grad is not None, f"{what} is missing: something in between is detached, or under no_grad")
        size = grad.abs().max().item() if grad is not None else math.inf
        expect(size < 1e-5, f"{what} is {size:.3g} at the true score, where it should be 0 — {hint}")


def row_advice(call: Callable[..., Any], alpha: torch.Tensor, sigma: torch.Tensor, want: torch.Tensor) -> str:
    """That rows are mixed up, where the first sample is right: call(alpha, sigma) of it with numbers gives want."""
    return advice(ROWS, is_right(lambda: call(alpha[0].item(), sigma[0].item()), want))


LEAF = "x need not require gradients when it comes: differentiate at `x.detach().requires_grad_()` then"
NUMBER = "levels, std and var may be Python numbers; torch.as_tensor makes tensors of them"
REASONS = {  # what to do about an error, by a part of its message
    "a second time": "the first gradient frees its graph: pass create_graph=True to torch.autograd.grad",
    "does not require grad": LEAF,
    "not have been used in the graph": LEAF,
    "implicitly created only for scalar": "differentiate one number: the sum over the batch",
    "'float' object has no attribute": NUMBER,
    "must be Tensor, not float": NUMBER,
}


@contextlib.contextmanager
def explained_errors() -> Iterator[None]:
    """An error of a known kind says what to do."""
    try:
        yield
    except AnswerError as error:
        hint = next((f" — {hint}" for part, hint in REASONS.items() if part in str(error)), "")
        raise AnswerError(f"{error}{hint}", error.status) from None


def check(task: str, points: float = 1.0) -> Callable[[CheckFunction], CheckFunction]:
    """The decorator of the lab's checks; errors of a known kind say what to do."""

    def add(function: CheckFunction) -> CheckFunction:
        @functools.wraps(function)
        def explained(answer: Answer, rng: torch.Generator) -> None:
            with explained_errors():
                function(answer, rng)

        return lab.check(task, points)(explained)

    return add


# ---- score_from_eps


@check("score_from_eps")
def points_against_the_noise(answer: Answer, rng: torch.Generator) -> None:
    """It is minus eps over the standard deviation sigma."""
    eps, sigma = normal(rng, 5, 3), number(rng, 0.3, 0.8)
    got = answer.score_from_eps(eps, sigma)
    hint = recognise(
        got,
        {"the sign is turned round: the score points away from the noise": eps / sigma,
         "eps is divided by the variance; one sigma is enough": -eps / sigma**2,
         "eps is multiplied by sigma; divide": -sigma * eps,
         "eps is not divided by sigma": -eps,
         "eps is divided by sqrt(sigma)": -eps / sigma**0.5},
        "the score of N(·; alpha·x0, sigma² I) at xt is -(xt - alpha·x0)/sigma²",
    )  # fmt: skip
    expect_near(got, -eps / sigma, hint=hint)


@check("score_from_eps")
def takes_a_sigma_per_sample(answer: Answer, rng: torch.Generator) -> None:
    """With sigma of shape (B,), row i is divided by its own sigma."""
    score, sigma = normal(rng, 6, 2), uniform(rng, 0.2, 3.0, 6)
    eps = -sigma[:, None] * score
    expect_rows(answer.score_from_eps, (eps, sigma), 1, score, hint="row i belongs to sigma[i]")


@check("score_from_eps")
def keeps_the_dtype_of_eps(answer: Answer, rng: torch.Generator) -> None:
    """float32 in, float32 out, for a number and for a (B,) tensor sigma in float64."""
    score = normal(rng, 4, 3)
    for sigma in (number(rng, 0.3, 2.0), uniform(rng, 0.3, 2.0, 4)):
        eps = -score * columns(sigma)[0]
        got = with_rows(answer.score_from_eps, eps.float(), sigma)
        hint = advice("cast sigma to the dtype of eps before you divide", differs_little(got, score))
        expect_close(got, score.float(), hint=hint)


# ---- sliced_score_loss


@check("sliced_score_loss")
def is_right_for_an_affine_network(answer: Answer, rng: torch.Generator) -> None:
    """For s(x) = A x + b it is the mean over the batch of v·A v + (v·s)²/2, v being the sample's probe."""
    A, b, x, v = normal(rng, 4, 4), normal(rng, 4), normal(rng, 6, 4), normal(rng, 6, 4)
    got = answer.sliced_score_loss(answer.fixture("affine_score", A=A, b=b), x, v)
    curvature = torch.einsum("bi,ij,bj->b", v, A, v).mean()
    s = torch.einsum("ij,bj->bi", A, x) + b
    square = torch.einsum("bi,bi->b", v, s).square().mean()
    half, want = square / 2, curvature + square / 2
    total, (B, d) = "the sum of v·s over the batch", x.shape
    mistakes = {
        "this is the variance-reduced form, with |s|²; asked for is (v·s)²": curvature + s.square().sum(1).mean() / 2,
        "the factor 1/2 of the square is missing": curvature + square,
        "the factor 1/2 belongs to the square alone": want / 2,
        "sum over the features; here they are averaged": want / d,
        "sum over the features in v·s; here they are averaged": curvature / d + half / d**2,
        "sum over the features in both products; here they are averaged": curvature / d**2 + half / d**2,
        "sum over the features in v·∇(v·s); here they are averaged": curvature / d + half,
        "average over the batch; here it is summed": B * want,
        f"the derivative is B times too small: differentiate {total}, and average at the end": curvature / B + half,
        "the square has the wrong sign": curvature - half,
        "the derivative has the wrong sign": half - curvature,
        "the derivative v·∇(v·s) is missing": half,
        "the square is missing": curvature,
        "v·∇(v·s) is v·J v: multiply the gradient of v·s by v again": (v @ A).sum(1).mean() + half,
        "this uses the whole divergence; asked for is v·∇(v·s)": A.trace() + half,
    }
    expect_loss(got, want, hint=recognise(got, mistakes, "the mean over the batch of v·∇(v·s) + (v·s)²/2"))


@check("sliced_score_loss")
def averages_over_signs_to_score_matching(answer: Answer, rng: torch.Generator) -> None:
    """Averaged over all sign vectors v, it is Hyvärinen's div s + |s|²/2, for a curved network too."""
    W, V = normal(rng, 5, 3), normal(rng, 3, 5)
    v = signs(3)
    x = normal(rng, 1, 3).expand(8, 3).clone()
    got = answer.sliced_score_loss(answer.fixture("sine_score", W=W, V=V), x, v)
    divergence = (torch.cos(W @ x[0]) * (W @ V).diagonal()).sum()
    expect_loss(got, divergence + (V @ torch.sin(W @ x[0])).square().sum() / 2, hint=EARLIER)


@check("sliced_score_loss", points=2)
def is_least_at_the_score_of_the_data(answer: Answer, rng: torch.Generator) -> None:
    """For N(m, S) data the score S⁻¹(m - x) has the loss -trace(S⁻¹)/2, and no change of the network lowers it."""
    d = 2
    m, root = normal(rng, d), torch.diag(uniform(rng, 0.6, 1.5, d))
    root[1, 0] = number(rng, 0.3, 0.8)
    precision = torch.linalg.inv(root @ root.T)
    design = signs(2 * d)  # of the data and of the probes: exact moments, and independent
    x, v = m + design[:, :d] @ root.T, design[:, d:]
    net = answer.fixture("affine_score", A=-precision, b=precision @ m)
    seen = answer.gradient("sliced_score_loss", net, x, v, wrt=[], cotangent=ONE, parameters=net)
    expect_scalar(seen.value)
    expect_close(seen.value, -precision.trace().item() / 2, rtol=1e-5, what="the loss", hint=EARLIER)
    slope = torch.eye(d, dtype=torch.float64)  # that of the derivative with respect to A; the square's cancels it
    hint = recognise(seen.parameter_grads.get("A"), {CURVATURE: slope, SQUARE: -slope}, EARLIER)
    expect_no_slope(seen, hint)


@check("sliced_score_loss")
def trains_the_network_through_both_terms(answer: Answer, rng: torch.Generator) -> None:
    """For s(x) = a x + b x³ the gradients with respect to a and b hold a part from each term."""
    a, b, x, v = normal(rng, 3), normal(rng, 3), normal(rng, 5, 3), normal(rng, 5, 3)
    net = answer.fixture("cubic_score", a=a, b=b)
    seen = answer.gradient("sliced_score_loss", net, x, v, wrt=[], cotangent=ONE, parameters=net)
    expect_scalar(seen.value)
    along = (v * (a * x + b * x**3)).sum(1, keepdim=True)
    for name, basis, slope in (("a", x, torch.ones_like(x)), ("b", x**3, 3 * x**2)):
        square, curvature = (along * v * basis).mean(0), (v**2 * slope).mean(0)
        hint = recognise(seen.parameter_grads.get(name), {SQUARE: square, CURVATURE: curvature}, EARLIER)
        expect_parameter_gradient(seen, name, square + curvature, hint)


@check("sliced_score_loss")
def is_a_scalar_in_the_dtype_of_x(answer: Answer, rng: torch.Generator) -> None:
    """A 0-d tensor, of points and of images; float32 data give a float32 loss."""
    for shape in ((4, 3), (4, 1, 2, 3)):
        A, b, x, v = normal(rng, 3, 3), normal(rng, 3), normal(rng, *shape), normal(rng, *shape)
        got = answer.sliced_score_loss(answer.fixture("affine_score", A=A.float(), b=b.float()), x.float(), v.float())
        what = f"the loss for x of shape {shape}"
        expect_scalar(got, what)
        curvature, along = (v * (v @ A.T)).flatten(1).sum(1), (v * (x @ A.T + b)).flatten(1).sum(1)
        # Points come first: where images alone are wrong, their axes are at fault.
        hint = advice("of images the products sum over channels and pixels, all axes but the first", x.ndim > 2)
        expect_close(got, (curvature + along**2 / 2).mean().float(), rtol=1e-4, atol=1e-4, what=what, hint=hint)


# ---- dsm_loss


@check("dsm_loss")
def is_the_mean_square_of_eps_for_a_network_that_says_0(answer: Answer, rng: torch.Generator) -> None:
    """The weight sigma² cancels that of the target: a network that returns 0 has the loss mean(eps²) at every sigma."""
    net = answer.fixture("affine_score", A=torch.zeros(3, 3).double(), b=torch.zeros(3).double())
    for sigma in (number(rng, 0.1, 0.5), number(rng, 2.0, 5.0)):
        x0, eps = normal(rng, 5, 3), normal(rng, 5, 3)
        got = answer.dsm_loss(net, x0, sigma, eps)
        want = eps.square().mean()
        hint = recognise(
            got,
            {"the weight sigma² is missing, or the target is eps/sigma², not eps/sigma": want / sigma**2,
             "the weight is sigma²; here it is sigma": want / sigma,
             "there is no factor 1/2 in this loss": want / 2,
             "average over the features as well; here they are summed": 3 * want,
             "average over all elements; here they are summed": 15 * want,
             "the weight sigma² is there twice": want * sigma**2},
            "the mean of sigma²·(score_net(xt, sigma) + eps/sigma)²",
        )  # fmt: skip
        expect_loss(got, want, what=f"the loss at sigma = {sigma:.3g}", hint=hint)


@check("dsm_loss")
def compares_the_network_with_the_score_of_the_noise(answer: Answer, rng: torch.Generator) -> None:
    """The network is asked at xt = x0 + sigma·eps, and compared with -eps/sigma."""
    A, b, x0, eps = normal(rng, 3, 3), normal(rng, 3), normal(rng, 5, 3), normal(rng, 5, 3)
    sigma = number(rng, 0.3, 0.8)
    got = answer.dsm_loss(answer.fixture("affine_score", A=A, b=b), x0, sigma, eps)

    def loss(at: torch.Tensor, sign: float = 1.0) -> torch.Tensor:
        return (sigma * at @ A.T + sigma * b + sign * eps).square().mean()

    want = loss(x0 + sigma * eps)
    hint = recognise(
        got,
        {"the sign of eps/sigma is turned round: the target is -eps/sigma": loss(x0 + sigma * eps, -1.0),
         "the network is asked at x0; it should see xt": loss(x0),
         "the noise in xt has the standard deviation sigma, not sigma²": loss(x0 + sigma**2 * eps),
         "the noise is subtracted in xt; add it": loss(x0 - sigma * eps),
         "this is variance-preserving noise; here xt = x0 + sigma·eps": loss((1 - sigma**2) ** 0.5 * x0 + sigma * eps)},
        "the mean of sigma²·(score_net(xt, sigma) + eps/sigma)²",
    )  # fmt: skip
    expect_loss(got, want, hint=hint)


@check("dsm_loss", points=2)
def is_least_at_the_score_of_the_noisy_data(answer: Answer, rng: torch.Generator) -> None:
    """For N(m, v) data the score of N(m, v + sigma²) leaves v/(v + sigma²), and no change of the network lowers it."""
    d, m, v, sigma = 2, normal(rng, 2), number(rng, 0.5, 2.0), number(rng, 0.3, 1.5)
    design = signs(2 * d)  # x0 and eps with the moments of independent standard normals
    x0, eps = m + v**0.5 * design[:, :d], design[:, d:]
    A, b = -torch.eye(d, dtype=torch.float64) / (v + sigma**2), m / (v + sigma**2)
    net = answer.fixture("affine_score", A=A, b=b)
    seen = answer.gradient("dsm_loss", net, x0, sigma, eps, wrt=[], cotangent=ONE, parameters=net)
    expect_scalar(seen.value)
    at_clean = (sigma * ((m - x0) / (v + sigma**2)) + eps).square().mean()
    hint = recognise(seen.value, {"the network is asked at x0; it should see xt": at_clean}, EARLIER)
    expect_close(seen.value, v / (v + sigma**2), rtol=1e-5, what="the loss", hint=hint)
    expect_no_slope(seen, EARLIER)


@check("dsm_loss")
def tells_the_network_sigma(answer: Answer, rng: torch.Generator) -> None:
    """The network is called as score_net(xt, sigma), and sigma keeps its shape on the way to it."""
    A, b, x0, eps = normal(rng, 3, 3), normal(rng, 3), normal(rng, 5, 3), normal(rng, 5, 3)
    sigma, c = number(rng, 0.3, 1.5), number(rng, 1.0, 2.0)
    got = answer.dsm_loss(answer.fixture("affine_score", A=A, b=b, c=c), x0, sigma, eps)
    x = x0 + sigma * eps

    def loss(factor: float) -> torch.Tensor:
        return (sigma * factor * (x @ A.T + b) + eps).square().mean()

    simple = answer.fixture("affine_score", A=A, b=b)
    earlier = is_right(lambda: answer.dsm_loss(simple, x0, sigma, eps), loss(1.0))
    hint = recognise(
        got,
        {"the network is called without sigma": loss(1.0),
         "the network is told sigma²; it takes sigma": loss(1 + c * sigma**2),
         "the network is told log(sigma); it takes sigma": loss(1 + c * math.log(sigma))},
        advice("it is right for a network that looks at xt alone; call score_net(xt, sigma)", earlier),
    )  # fmt: skip
    expect_loss(got, loss(1 + c * sigma), hint=hint)
    net = answer.fixture("level_net", scale=torch.zeros(8), shift=torch.zeros(8))  # keeps what it is called with
    with_rows(answer.dsm_loss, net, x0, uniform(rng, 0.3, 1.5, 5), eps)
    for xt, told in answer.attribute(net, "seen"):
        got, given = tuple(told.shape), (len(xt),)
        message = f"the network got sigma of shape {got}; hand on sigma as you were given it, {given}"
        expect(got in ((), given), message)


@check("dsm_loss")
def takes_a_sigma_for_each_sample(answer: Answer, rng: torch.Generator) -> None:
    """With sigma of shape (B,), each sample has its own noise, target and weight."""
    A, b, sigma = normal(rng, 2, 2), normal(rng, 2), uniform(rng, 0.2, 2.0, 6)
    x0, eps = normal(rng, 6, 2), normal(rng, 6, 2)
    net = answer.fixture("affine_score", A=A, b=b, c=0.7)
    got = with_rows(answer.dsm_loss, net, x0, sigma, eps)
    s = sigma[:, None]
    by_row = (s * (1 + 0.7 * s) * ((x0 + s * eps) @ A.T + b) + eps).square().mean(1)
    first = is_right(lambda: answer.dsm_loss(net, x0[:1], sigma[0].item(), eps[:1]), by_row[0])
    expect_loss(got, by_row.mean(), hint=advice("sample i belongs to sigma[i]", first))


@check("dsm_loss")
def is_a_scalar_in_the_dtype_of_x0(answer: Answer, rng: torch.Generator) -> None:
    """A 0-d tensor; float32 data give a float32 loss, also where sigma is a (B,) tensor in float64."""
    A, b = normal(rng, 3, 3), normal(rng, 3)
    x0, eps = normal(rng, 4, 3), normal(rng, 4, 3)
    for sigma in (number(rng, 0.3, 2.0), uniform(rng, 0.3, 2.0, 4)):
        net = answer.fixture("affine_score", A=A.float(), b=b.float())
        got = with_rows(answer.dsm_loss, net, x0.float(), sigma, eps.float())
        expect_scalar(got)
        s = columns(sigma)[0]
        want = (s * ((x0 + s * eps) @ A.T + b) + eps).square().mean()
        hint = "cast sigma to the dtype of x0 before you multiply"
        expect_close(got, want.float(), rtol=1e-4, hint=advice(hint, differs_little(got, want)))


# ---- tweedie_denoise


@check("tweedie_denoise")
def finds_the_only_data_point(answer: Answer, rng: torch.Generator) -> None:
    """If all data are one point, the score pulls straight at alpha times it, and the result is that point."""
    alpha, sigma = (value.item() for value in level(rng))
    y, xt = normal(rng, 3), normal(rng, 5, 3)
    score = (alpha * y - xt) / sigma**2
    got = answer.tweedie_denoise(xt, score, alpha, sigma)
    hint = recognise(
        got,
        {"this is an estimate of alpha·x0: divide by alpha": (alpha * y).expand(5, 3),
         "the score is multiplied by sigma; it takes the variance, sigma²": (xt + sigma * score) / alpha,
         "the score is subtracted; it points uphill, towards the data": (xt - sigma**2 * score) / alpha,
         "only the score's part is divided by alpha": xt + sigma**2 * score / alpha,
         "only xt is divided by alpha": xt / alpha + sigma**2 * score,
         "it is divided by alpha²; one alpha is enough": y.expand(5, 3) / alpha,
         "this treats the score as if it were eps": (xt - sigma * score) / alpha},
        "Tweedie: alpha·E[x0 | xt] = xt + sigma²·score",
    )  # fmt: skip
    expect_near(got, y.expand(5, 3), hint=hint)


@check("tweedie_denoise")
def turns_the_score_of_a_mixture_into_its_posterior_mean(answer: Answer, rng: torch.Generator) -> None:
    """With the exact score of a mixture of Gaussians it is E[x0 | xt], which Bayes' rule gives as well."""
    mixture = Mixture(rng, 3, 2)
    for alpha, sigma in ((1.0, number(rng, 0.5, 1.5)), tuple(value.item() for value in level(rng))):
        xt = mixture.around(rng, alpha, 6)
        want = mixture.posterior_mean(xt, alpha, sigma)
        got = answer.tweedie_denoise(xt, mixture.noisy_score(xt, alpha, sigma), alpha, sigma)
        hint = recognise(got, {"it is clipped to [-1, 1]": want.clamp(-1, 1)}, EARLIER)
        expect_near(got, want, what=f"the result at alpha = {alpha:.3g}, sigma = {sigma:.3g}", hint=hint)


@check("tweedie_denoise")
def takes_a_level_per_sample(answer: Answer, rng: torch.Generator) -> None:
    """With alpha and sigma of shape (B,), row i has its own."""
    alpha, sigma = level(rng, 6)
    y, xt = normal(rng, 6, 2), normal(rng, 6, 2)
    score = (alpha[:, None] * y - xt) / sigma[:, None] ** 2
    got = with_rows(answer.tweedie_denoise, xt, score, alpha, sigma)
    hint = row_advice(lambda a, s: answer.tweedie_denoise(xt[:1], score[:1], a, s), alpha, sigma, y[:1])
    expect_near(got, y, hint=hint)


@check("tweedie_denoise")
def keeps_the_dtype_of_xt(answer: Answer, rng: torch.Generator) -> None:
    """float32 in, float32 out, for numbers and for (B,) tensors alpha and sigma in float64."""
    y, xt = normal(rng, 4, 3), normal(rng, 4, 3)
    for alpha, sigma in (tuple(value.item() for value in level(rng)), level(rng, 4)):
        a, s = columns(alpha, sigma)
        score = (a * y - xt) / s**2
        got = with_rows(answer.tweedie_denoise, xt.float(), score.float(), alpha, sigma)
        expect_close(got, y.float(), rtol=1e-4, atol=1e-4, hint=advice(CAST, differs_little(got, y)))


# ---- gaussian_denoiser


def gaussian_posterior_mean(xt: torch.Tensor, alpha: Level, sigma: Level, mean: Level, var: float) -> torch.Tensor:
    """The mean of N(x0; mean, var) N(xt; alpha x0, sigma²), normalised: a mean weighted by precisions."""
    data, noise = 1 / var, alpha**2 / sigma**2
    return (data * mean + noise * (xt / alpha)) / (data + noise)


def gaussian_denoised(answer: Answer, *args: Any) -> Any:
    """What the student's function returns; torch's message on sizes that do not match says which argument it is."""
    try:
        return answer.gaussian_denoiser(*args)
    except AnswerError as error:
        if "must match the size" not in str(error):
            raise
        message = str(error)
    with_rows(answer.gaussian_denoiser, *args[:3], torch.ones_like(args[3].sum()), args[4])
    raise AnswerError(
        f"{message} — the levels are fine: leave the shape of mean as it is, (d,) belongs to the features"
    )


@check("gaussian_denoiser")
def is_the_posterior_mean_of_a_gaussian(answer: Answer, rng: torch.Generator) -> None:
    """The data's mean and the rescaled observation are weighted by their precisions, 1/var and alpha²/sigma²."""
    for alpha, sigma in ((1.0, number(rng, 0.5, 1.5)), tuple(value.item() for value in level(rng))):
        xt, mean, var = normal(rng, 5, 3), normal(rng, 3), number(rng, 0.2, 0.8)
        want = gaussian_posterior_mean(xt, alpha, sigma, mean, var)
        got = gaussian_denoised(answer, xt, alpha, sigma, mean, var)
        c = alpha**2 * var + sigma**2
        hint = recognise(
            got,
            {"var is a variance: it is not squared again": gaussian_posterior_mean(xt, alpha, sigma, mean, var**2),
             "sigma is a standard deviation: its square belongs in the denominator":
                 mean + alpha * var / (alpha**2 * var + sigma) * (xt - alpha * mean),
             "the observation is compared with alpha·mean, not with mean": mean + alpha * var / c * (xt - mean),
             "an alpha is missing in the gain alpha·var/(alpha²·var + sigma²)": mean + var / c * (xt - alpha * mean),
             "this is alpha·E[x0 | xt]": alpha * want,
             "in the denominator alpha is squared": mean + alpha * var / (alpha * var + sigma**2) * (xt - alpha * mean),
             "the variance of xt is alpha²·var + sigma², not var + sigma²":
                 mean + alpha * var / (var + sigma**2) * (xt - alpha * mean)},
            "E[x0 | xt] = mean + gain·(xt - alpha·mean)",
        )  # fmt: skip
        expect_near(got, want, what=f"the result at alpha = {alpha:.3g}, sigma = {sigma:.3g}", hint=hint)


@check("gaussian_denoiser")
def broadcasts_the_mean_against_xt(answer: Answer, rng: torch.Generator) -> None:
    """The mean may be one number for all, one picture for all samples, or one for each sample."""
    alpha, sigma = (value.item() for value in level(rng))
    xt, var = normal(rng, 4, 1, 3, 5), number(rng, 0.2, 2.0)
    for mean in (normal(rng), normal(rng, 1, 3, 5), normal(rng, 4, 1, 3, 5)):
        want = gaussian_posterior_mean(xt, alpha, sigma, mean, var)
        got = gaussian_denoised(answer, xt, alpha, sigma, mean, var)
        what = f"the result for xt of shape {tuple(xt.shape)} and mean of shape {tuple(mean.shape)}"
        hint = advice("leave the shape of mean as it is: torch lines it up with xt", mean.ndim > 0)
        expect_near(got, want, what=what, hint=hint)  # the 0-d mean comes first: with others its shape is at fault


@check("gaussian_denoiser")
def takes_levels_per_sample(answer: Answer, rng: torch.Generator) -> None:
    """With alpha and sigma of shape (B,), row i has its own; the mean (d,) is that of all rows."""
    alpha, sigma = level(rng, 6)
    xt, mean, var = normal(rng, 6, 2), normal(rng, 2), number(rng, 0.2, 2.0)
    want = gaussian_posterior_mean(xt, alpha[:, None], sigma[:, None], mean, var)
    got = gaussian_denoised(answer, xt, alpha, sigma, mean, var)
    hint = row_advice(lambda a, s: answer.gaussian_denoiser(xt[:1], a, s, mean, var), alpha, sigma, want[:1])
    expect_near(got, want, hint=hint)


@check("gaussian_denoiser")
def keeps_the_dtype_of_the_observation(answer: Answer, rng: torch.Generator) -> None:
    """float32 in, float32 out, for numbers and for (B,) tensors alpha and sigma in float64."""
    xt, mean, var = normal(rng, 4, 3), normal(rng, 3), number(rng, 0.2, 2.0)
    for alpha, sigma in (tuple(value.item() for value in level(rng)), level(rng, 4)):
        a, s = columns(alpha, sigma)
        want = gaussian_posterior_mean(xt, a, s, mean, var)
        got = gaussian_denoised(answer, xt.float(), alpha, sigma, mean.float(), var)
        expect_close(got, want.float(), rtol=1e-4, hint=advice(CAST, differs_little(got, want)))


# ---- gmm_denoiser


@check("gmm_denoiser", points=2)
def is_the_posterior_mean_of_a_mixture(answer: Answer, rng: torch.Generator) -> None:
    """It is E[x0 | xt], as the gradient of the log-density of xt gives it by Tweedie's formula."""
    for alpha, sigma in ((1.0, number(rng, 0.5, 1.0)), tuple(value.item() for value in level(rng))):
        mix = Mixture(rng, 4, 3)
        xt = mix.around(rng, alpha, 6)
        want = (xt + sigma**2 * mix.noisy_score(xt, alpha, sigma)) / alpha
        got = answer.gmm_denoiser(xt, alpha, sigma, mix.means, mix.std, mix.weights)
        hint = recognise(got, _mixture_mistakes(mix, xt, alpha, sigma), "average the K posterior means by r_k(xt)")
        expect_near(got, want, what=f"the result at alpha = {alpha:.3g}, sigma = {sigma:.3g}", hint=hint)


def _mixture_mistakes(mix: Mixture, xt: torch.Tensor, alpha: float, sigma: float) -> dict[str, torch.Tensor]:
    """What comes of well-known mistakes."""
    c = alpha**2 * mix.std**2 + sigma**2
    right: dict[str, Any] = dict(
        logs=mix.weights.log(), variance=c, at=alpha, gain=alpha * mix.std**2 / c, start=alpha, axis=1
    )

    def answer(logs: Any, variance: Any, at: Any, gain: Any, start: Any, axis: Any) -> torch.Tensor:
        r: torch.Tensor = (logs - (xt[:, None] - at * mix.means).square().sum(2) / (2 * variance)).softmax(axis)
        updates = mix.means + gain * (xt[:, None] - start * mix.means)
        return torch.einsum("bk,bkd->bd", r, updates)

    after = "after noise the variance is alpha²·std² + sigma²"
    wide = alpha**2 * mix.std + sigma**2
    mistakes: dict[str, dict[str, Any]] = {
        "this is the average of the means: add the move inside each component, gain·(xt - alpha·m_k)": dict(gain=0.0),
        "the responsibilities leave out the weights": dict(logs=0.0),
        "the exponent takes the logarithm of the weights; here it takes the weights": dict(logs=mix.weights),
        "softmax belongs to the components, axis 1; here it runs over the samples": dict(axis=0),
        f"the responsibilities use std² alone; {after}": dict(variance=mix.std**2),
        f"the responsibilities use sigma² alone; {after}": dict(variance=sigma**2),
        f"{after}; the responsibilities use its square root": dict(variance=c**0.5),
        "std is a standard deviation: square it": dict(variance=wide, gain=alpha * mix.std / wide),
        "std is a standard deviation: square it in the variance": dict(variance=wide, gain=alpha * mix.std**2 / wide),
        "the responsibilities compare xt with m_k; after noise the centre is alpha·m_k": dict(at=1.0),
        "the move inside a component starts at alpha·m_k; here it starts at m_k": dict(start=1.0),
        "after noise the centre is alpha·m_k, in the responsibilities and in the move": dict(at=1.0, start=1.0),
        "the exponent is -|xt - alpha·m_k|²/(2c): a 2 is missing": dict(variance=c / 2),
        "the squared distance sums over the features; here they are averaged": dict(variance=c * xt.shape[1]),
        "the gain is alpha·std²/c; an alpha is missing": dict(gain=mix.std**2 / c),
        "the gain takes std², not std": dict(gain=alpha * mix.std / c),
    }
    return {sentence: answer(**(right | how)) for sentence, how in mistakes.items()}


@check("gmm_denoiser")
def is_linear_for_one_component(answer: Answer, rng: torch.Generator) -> None:
    """With K = 1 it is the denoiser of a Gaussian with variance std²."""
    alpha, sigma = (value.item() for value in level(rng))
    mean, std, xt = normal(rng, 1, 3), number(rng, 0.4, 1.5), normal(rng, 5, 3)
    got = answer.gmm_denoiser(xt, alpha, sigma, mean, std, torch.ones(1, dtype=torch.float64))
    want = gaussian_posterior_mean(xt, alpha, sigma, mean, std**2)
    expect_near(got, want, hint="within one component: mean + alpha·std²/(alpha²·std² + sigma²)·(xt - alpha·mean)")


@check("gmm_denoiser")
def is_finite_far_from_the_means(answer: Answer, rng: torch.Generator) -> None:
    """A thousand standard deviations away, where every density underflows, one component has all of the weight."""
    mix = Mixture(rng, 3, 2, std=0.2)
    alpha, sigma = 0.8, number(rng, 0.1, 0.2)
    far = 300.0 * torch.nn.functional.normalize(normal(rng, 6, 2), dim=1)
    got = answer.gmm_denoiser(far, alpha, sigma, mix.means, mix.std, mix.weights)
    expect_type(got, torch.Tensor)
    expect(
        got.isfinite().all(),
        "the result is not finite far from the means: exp underflows to 0 for all components, and 0/0 follows. "
        "Work with logarithms and use torch.softmax or torch.logsumexp",
    )
    want, rest = mix.posterior_mean(far, alpha, sigma), (mix.means, mix.std, mix.weights)
    near = alpha * mix.means.repeat(2, 1) + 0.2 * normal(rng, 6, 2)
    wanted = mix.posterior_mean(near, alpha, sigma)
    elsewhere = is_right(lambda: answer.gmm_denoiser(near, alpha, sigma, *rest), wanted)
    parts = torch.stack([gaussian_posterior_mean(far, alpha, sigma, mean, mix.std**2) for mean in mix.means])
    hint = recognise(
        got,
        {"all r_k are 0 there, where their sum should be 1: no number belongs into the denominator": 0 * want,
         "all r_k are equal there: no density is to be clamped, and nothing added to it": parts.mean(0),
         "the r_k are the weights there: no exponent is to be clamped": torch.tensordot(mix.weights, parts, 1)},
        "which component is nearest is still known from the logarithms",
    )  # fmt: skip
    expect_near(got, want, hint=advice(f"{hint}. Use torch.softmax of the logarithms", elsewhere))


@check("gmm_denoiser")
def takes_a_noise_level_per_sample(answer: Answer, rng: torch.Generator) -> None:
    """With alpha and sigma of shape (B,), row i has its own."""
    mix, (alpha, sigma) = Mixture(rng, 3, 2), level(rng, 6)
    xt = mix.around(rng, alpha, 6)
    want, rest = mix.posterior_mean(xt, alpha, sigma), (mix.means, mix.std, mix.weights)
    got = with_rows(answer.gmm_denoiser, xt, alpha, sigma, *rest)
    hint = row_advice(lambda a, s: answer.gmm_denoiser(xt[:1], a, s, *rest), alpha, sigma, want[:1])
    expect_near(got, want, hint=hint)


@check("gmm_denoiser")
def has_the_dtype_of_the_observation(answer: Answer, rng: torch.Generator) -> None:
    """float32 in, float32 out, for numbers and for (B,) tensors alpha and sigma in float64."""
    mix = Mixture(rng, integer(rng, 2, 5), 3)
    for alpha, sigma in (tuple(value.item() for value in level(rng)), level(rng, 4)):
        xt = mix.around(rng, alpha, 4)
        want = mix.posterior_mean(xt, alpha, sigma)
        means, weights = mix.means.float(), mix.weights.float()
        got = with_rows(answer.gmm_denoiser, xt.float(), alpha, sigma, means, mix.std, weights)
        expect_close(got, want.float(), rtol=1e-3, atol=1e-4, hint=advice(CAST, differs_little(got, want)))
