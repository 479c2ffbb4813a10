"""The visible checks of lab 2, diffusions.

Steps that are given their noise are compared number by number. Functions that draw are compared in distribution: with
coefficients that are known, the standard normal numbers that a path was made of can be read off the path. Every
statistic is allowed six standard errors, so that a right answer fails by accident less than once in a million runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from labcheck import Battery, expect, expect_close, expect_type
from labcheck.answer import Answer, AnswerError
from labcheck.expect import CheckFailed
from labcheck.inside.wire import Handle
from noise2data.checks.arguments import integer, normal, number, seeded, uneven_grid, uniform
from noise2data.checks.expectations import two
from noise2data.checks.hints import EARLIER, advice, differs_little, is_right, recognise
from noise2data.checks.statistics import (
    SHARED,
    SIX,
    expect_gaussian,
    expect_standard,
    expect_uncorrelated,
)

lab = Battery(
    "lab02_sdes",
    fixtures="noise2data.checks.fixtures",
    forbidden=["noise2data.mixtures", "noise2data.samplers"],
)

pair = partial(two, names="(mean, var)")

Number = float | torch.Tensor

MANY = 10_000  # samples where a distribution is looked at

DRAWN = "random numbers were drawn; `noise` is all the noise there is"
LAST = "the last x alone is returned"
ROUNDED = "right to some seven digits: did a float64 number go through float32, or was a small constant added?"


def expect_shape(got: Any, shape: Sequence[int], hint: str = "") -> None:
    """Fail unless a value is a tensor of this shape."""
    expect_type(got, torch.Tensor)
    expect(
        tuple(got.shape) == tuple(shape),
        f"the result has shape {tuple(got.shape)}; expected {tuple(shape)}" + (f" — {hint}" if hint else ""),
    )


def expect_value(got: Any, want: torch.Tensor, hint: str, what: str = "the result", rtol: float | None = None) -> None:
    """As `expect_close`, but what misses by float32's rounding alone is told so."""
    expect_close(got, want, hint=ROUNDED if differs_little(got, want, 1e-6) else hint, what=what, rtol=rtol)


def expect_real(got: Any, what: str) -> None:
    """Fail unless a value is a tensor of finite real numbers."""
    expect_type(got, torch.Tensor, what)
    expect(not got.is_complex(), f"{what} has dtype {str(got.dtype)[6:]}; expected real numbers")
    expect(got.isfinite().all(), f"{what} is not finite")


def backwards(call: Callable[[int], Any], rule: str) -> Any:
    """call(-1), where time runs backwards. The rule is told where that fails and call(1) does not."""
    try:
        return call(-1)
    except CheckFailed as error:
        try:
            call(1)
        except CheckFailed:
            raise error from None
        message = f"{error} — {rule}"
        raise (AnswerError(message, error.status) if isinstance(error, AnswerError) else CheckFailed(message)) from None


def states(answer: Answer, drift: Handle, diffusion: Handle, x: torch.Tensor, ts: torch.Tensor, seed: Any) -> Any:
    """What simulate_sde returns, if its shape is right."""
    got = answer.simulate_sde(drift, diffusion, x, ts, seed)
    expect_shape(got, (len(ts), *x.shape), "(len(ts), B, d): x itself is row 0, then one state after each interval")
    expect_real(got, "the result")
    return got.double()


# ---- euler_maruyama_step


@lab.check("euler_maruyama_step")
def is_exact_for_constant_coefficients(answer: Answer, rng: torch.Generator) -> None:
    """With constant coefficients f and g the step is x + f dt + g sqrt(dt) noise."""
    x, v, noise, g, s = normal(rng, 5, 3), normal(rng, 3), normal(rng, 5, 3), number(rng, 1.5, 3), number(rng, 0.2, 0.4)
    drift, diffusion = answer.fixture("constant_field", v=v), answer.fixture("noise_strength", g=g)
    got = answer.euler_maruyama_step(drift, diffusion, x, 0.3, s**2, noise)
    move = x + s**2 * v
    hint = recognise(
        got,
        {"the noise is multiplied by dt; its factor is the standard deviation sqrt(dt)": move + g * s**2 * noise,
         "the noise is not scaled with sqrt(dt)": move + g * noise,
         "diffusion(x, t) is g itself: do not square it": move + g**2 * s * noise,
         "diffusion(x, t) is g, not the variance g²: take no square root of it": move + math.sqrt(g) * s * noise,
         "sqrt(2 dt) belongs to Langevin's equation; here g says how strong the noise is":
             move + math.sqrt(2) * g * s * noise,
         "drift and noise are both multiplied by sqrt(dt); the drift grows with dt": x + s * v + g * s * noise,
         "the noise is missing": move},
        "drift(x, t) * dt, and diffusion(x, t) * sqrt(dt) * noise",
    )  # fmt: skip
    expect_value(got, x + s**2 * v + g * s * noise, hint)


@lab.check("euler_maruyama_step")
def uses_the_noise_that_it_is_given(answer: Answer, rng: torch.Generator) -> None:
    """The noise is the argument, standard normal already: nothing is drawn, and no second random factor comes in."""
    x, noise, g, s = normal(rng, 4, 2), normal(rng, 4, 2), number(rng, 0.5, 2), number(rng, 0.2, 0.6)
    drift = answer.fixture("constant_field", v=torch.zeros(2, dtype=torch.float64))
    diffusion = answer.fixture("noise_strength", g=g)
    seen = answer.observe("euler_maruyama_step", drift, diffusion, x, 0.5, s**2, noise)
    expect(not seen.global_draws, DRAWN)
    expect_type(seen.value, torch.Tensor)
    expect_value(seen.value - x, g * s * noise, "g * sqrt(dt) * noise", "the move without a drift")


@lab.check("euler_maruyama_step")
def takes_the_coefficients_at_the_start(answer: Answer, rng: torch.Generator) -> None:
    """Both coefficients are evaluated at the time t at which the step begins, not at t + dt."""
    x, v, noise, g = normal(rng, 5, 3), normal(rng, 3), normal(rng, 5, 3), number(rng, 0.5, 2)
    t, s = number(rng, 0.2, 0.5), number(rng, 0.3, 0.6)
    drift = answer.fixture("constant_field", v=v, c=2.0)
    diffusion = answer.fixture("noise_strength", g=g, c=3.0)
    got = answer.euler_maruyama_step(drift, diffusion, x, t, s**2, noise)

    def step(t_drift: float, t_diffusion: float) -> torch.Tensor:
        return x + s**2 * (1 + 2 * t_drift) * v + s * (1 + 3 * t_diffusion) * g * noise

    end = t + s**2
    late = "the coefficients are taken at t + dt; a step uses what is known when it begins"
    middle = "a coefficient is taken in the middle of the step; Itô's rule is the start"
    hint = recognise(
        got,
        {late: step(end, end), "the drift is taken at t + dt": step(end, t), middle: step(t + s**2 / 2, t + s**2 / 2),
         "the diffusion is taken at t + dt": step(t, end)},
        "drift(x, t) and diffusion(x, t)",
    )  # fmt: skip
    expect_value(got, step(t, t), hint)


@lab.check("euler_maruyama_step")
def takes_the_coefficients_at_x(answer: Answer, rng: torch.Generator) -> None:
    """Both coefficients are evaluated at x: neither after the noise, nor after the drift, and each enters once."""
    A, x, noise = normal(rng, 3, 3), normal(rng, 6, 3), normal(rng, 6, 3)
    c, s = number(rng, 0.5, 1.5), number(rng, 0.2, 0.6)
    drift = answer.fixture("affine_field", A=A, b=torch.zeros(3, dtype=torch.float64))
    got = answer.euler_maruyama_step(drift, answer.fixture("noise_in_proportion", c=c), x, 0.0, s**2, noise)
    pushed, shaken = x + s**2 * x @ A.T, x + c * s * x * noise
    want = pushed + shaken - x
    hint = recognise(
        got,
        {"the drift is taken after the noise was added; take it at x": shaken + s**2 * shaken @ A.T,
         "the diffusion is taken after the drift's move; take it at x": pushed + c * s * pushed * noise,
         "this is Milstein's step": want + c**2 * s**2 / 2 * x * (noise**2 - 1)},
        "drift(x, t) and diffusion(x, t), once each",
    )  # fmt: skip
    expect_value(got, want, hint)


@lab.check("euler_maruyama_step")
def can_step_back_in_time(answer: Answer, rng: torch.Generator) -> None:
    """With dt < 0 the drift changes its sign, and the noise keeps its factor, sqrt(|dt|)."""
    x, v, noise, g, s = normal(rng, 5, 2), normal(rng, 2), normal(rng, 5, 2), number(rng, 0.5, 2), number(rng, 0.2, 0.6)
    drift, diffusion = answer.fixture("constant_field", v=v), answer.fixture("noise_strength", g=g)
    rule = f"here dt = {-(s**2):.2f} is negative: the noise's factor is the root of |dt|, the drift alone changes sign"

    def step(sign: int) -> Any:
        got = answer.euler_maruyama_step(drift, diffusion, x, 0.9, sign * s**2, noise)
        expect_real(got, "the result")
        return got

    got = backwards(step, rule)
    hint = recognise(
        got,
        {"drift uses |dt| too; only the noise does": x + s**2 * v + g * s * noise,
         "the noise changes its sign too; only the drift does": x - s**2 * v - g * s * noise,
         "the noise vanishes; its factor is sqrt(|dt|)": x - s**2 * v},
        advice(rule, is_right(lambda: step(1), x + s**2 * v + g * s * noise)),
    )  # fmt: skip
    expect_value(got, x - s**2 * v + g * s * noise, hint)


# ---- simulate_sde


@lab.check("simulate_sde")
def returns_every_state_of_an_uneven_grid(answer: Answer, rng: torch.Generator) -> None:
    """Without noise row i is Euler's state at ts[i], also on an uneven grid; row 0 is x."""
    x, v, ts = normal(rng, 5, 2), normal(rng, 2), uneven_grid(rng, 0.2, 1.3, 6)
    drift = answer.fixture("constant_field", v=v, c=3.0)
    got = answer.simulate_sde(drift, answer.fixture("noise_strength", g=0.0), x, ts, seeded(rng))
    expect_shape(got, (7, 5, 2), "(len(ts), B, d): x itself is row 0, then one state after each interval")
    expect_value(got[0], x, "the first row is x, before any step", "row 0")
    travelled = torch.cat([torch.zeros(1, dtype=torch.float64), (ts.diff() * (1 + 3 * ts[:-1])).cumsum(0)])
    hint = "step i starts at ts[i], with the drift of that time, and has dt = ts[i+1] - ts[i]"
    expect_value(got, x + travelled[:, None, None] * v, hint)


@lab.check("simulate_sde")
def adds_noise_of_variance_g2_dt(answer: Answer, rng: torch.Generator) -> None:
    """Over an interval dt the noise has variance g² dt, in each interval of an uneven grid."""
    g, ts = number(rng, 1.6, 2.2), uneven_grid(rng, 0.1, 1.0, 4)
    x = normal(rng, MANY, 2)
    drift = answer.fixture("constant_field", v=torch.zeros(2, dtype=torch.float64))
    got = states(answer, drift, answer.fixture("noise_strength", g=g), x, ts, seeded(rng))
    for i, dt in enumerate(ts.diff().tolist()):
        mistakes = {
            "the noise is scaled with dt; its standard deviation is g sqrt(dt)": dt,
            "the noise is not scaled with sqrt(dt)": 1 / dt,
            "diffusion(x, t) is g itself: do not square it": g**2,
            "diffusion(x, t) is g, not the variance g²: take no square root of it": 1 / g,
            "sqrt(2 dt) belongs to Langevin's equation": 2.0,
        }
        z = (got[i + 1] - got[i]) / (g * math.sqrt(dt))
        expect(z.abs().max() > 1e-6, f"there is no noise in the interval from ts[{i}] to ts[{i + 1}]")
        hint = "g sqrt(dt) times a standard normal number, with the dt of this interval"
        expect_standard(z, f"the noise of the interval from ts[{i}] to ts[{i + 1}]", hint, mistakes)


@lab.check("simulate_sde", points=2)
def adds_gaussian_noise(answer: Answer, rng: torch.Generator) -> None:
    """The noise of one interval is normal: its kurtosis is 3, and not only its variance is right."""
    g, ts = number(rng, 0.5, 2), uneven_grid(rng, 0.0, 1.0, 2)
    x = normal(rng, 2 * MANY, 2)
    drift = answer.fixture("constant_field", v=torch.zeros(2, dtype=torch.float64))
    got = states(answer, drift, answer.fixture("noise_strength", g=g), x, ts, seeded(rng))
    for i in range(2):
        z = got[i + 1] - got[i]
        expect(z.abs().max() > 1e-6, "there is no noise")
        expect(z.std(0).min() > 1e-6, SHARED)
        expect_gaussian((z - z.mean()) / z.std(), f"the noise of interval {i}")


@lab.check("simulate_sde")
def draws_fresh_noise_everywhere(answer: Answer, rng: torch.Generator) -> None:
    """Each step, each sample and each feature has noise of its own."""
    ts = uneven_grid(rng, 0.0, 1.0, 3)
    x = normal(rng, MANY, 2)
    drift = answer.fixture("constant_field", v=torch.zeros(2, dtype=torch.float64))
    got = states(answer, drift, answer.fixture("noise_strength", g=1.0), x, ts, seeded(rng))
    z = got.diff(dim=0) / ts.diff().sqrt()[:, None, None]
    expect(z.isfinite().all() and z.std() > 0, "there is no noise, or it is not finite")
    expect(z.std(1).min() > 1e-6, SHARED)
    expect_uncorrelated(z[:, :, 0], z[:, :, 1], "the features of a sample share their noise")
    expect_uncorrelated(z[:-1], z[1:], "the same noise comes in several steps; draw anew in each")
    expect_uncorrelated(z[0], z[-1], "the same noise comes in several steps; draw anew in each")
    expect_uncorrelated(z[:, 0::2], z[:, 1::2], "neighbouring samples share their noise")


@lab.check("simulate_sde")
def runs_backwards_in_time(answer: Answer, rng: torch.Generator) -> None:
    """On a decreasing grid dt is negative in front of the drift, and the noise has variance g² |dt|."""
    g, v, x = number(rng, 0.5, 1.5), 4 + uniform(rng, 0, 1, 2), normal(rng, MANY, 2)
    widths = torch.tensor([0.12, 0.25, 0.4], dtype=torch.float64) * uniform(rng, 0.9, 1.1, 3)
    ts = 1 - torch.cat([torch.zeros(1, dtype=torch.float64), widths.cumsum(0)])
    drift, diffusion = answer.fixture("constant_field", v=v), answer.fixture("noise_strength", g=g)
    rule = "the times decrease here, so dt < 0: dt itself in front of the drift, sqrt(|dt|) in front of the noise"
    got = backwards(lambda sign: states(answer, drift, diffusion, x, ts if sign < 0 else ts.flip(0), seeded(rng)), rule)
    moves = got.diff(dim=0)

    def drifted(dt: torch.Tensor) -> bool:
        off = moves.mean(1) - dt[:, None] * v
        return bool((off.abs() < SIX * g * math.sqrt(0.44 / MANY)).all())

    expect(moves.std(1).min() > 1e-6, "all samples move alike where dt < 0: there is no noise, or one for all")
    hint = "dt = ts[i+1] - ts[i] in front of the drift"
    if drifted(widths):
        hint = "the drift uses |dt| too; only the noise does"
    elif drifted(widths.flip(0)):
        hint = "the times are sorted; take them in the order in which they come"
    expect(drifted(-widths), f"where the times decrease the drift moves the samples wrongly — {hint}")
    z = (moves + widths[:, None, None] * v) / (g * widths.sqrt()[:, None, None])
    expect_standard(z, "the noise on a decreasing grid", rule)


@lab.check("simulate_sde")
def draws_from_the_generator_alone(answer: Answer, rng: torch.Generator) -> None:
    """Equal generators give equal paths, different ones different paths, and the global generator is not used."""
    x, ts, seed = normal(rng, 6, 2), uneven_grid(rng, 0.0, 1.0, 3), integer(rng, 0, 10**6)
    drift, diffusion = answer.fixture("cubic_field"), answer.fixture("noise_strength", g=1.0)

    def run(seed: int) -> Any:
        generator = torch.Generator().manual_seed(seed)
        seen = answer.observe("simulate_sde", drift, diffusion, x, ts, generator)
        expect(not seen.global_draws, "random numbers were drawn from the global generator; pass `generator` on")
        expect_shape(seen.value, (4, 6, 2))
        return seen.value

    first, again, other = run(seed), run(seed), run(seed + 1)
    expect(torch.equal(first, again), "two runs with equal generators differ")
    expect(not torch.allclose(first, other), "runs with different generators are the same: where does the noise go?")


# ---- ou_moments


def ou_by_exponentials(
    m0: Number, v0: Number, t: Number, theta: Number, sigma: Number
) -> tuple[torch.Tensor, torch.Tensor]:
    """The moments by the moment equations m' = -theta m, v' = -2 theta v + sigma², as matrix exponentials."""
    as_given = (torch.as_tensor(a, dtype=torch.float64) for a in (m0, v0, t, theta, sigma))
    start, spread, times, pull, shake = torch.broadcast_tensors(*as_given)
    zero = torch.zeros_like(times)
    rows = [torch.stack([-2 * pull, shake**2], -1), torch.stack([zero, zero], -1)]
    flow = torch.linalg.matrix_exp(times[..., None, None] * torch.stack(rows, -2))  # of (v, 1)
    mean = torch.linalg.matrix_exp(-(times * pull)[..., None, None])[..., 0, 0] * start
    return mean, flow[..., 0, 0] * spread + flow[..., 0, 1]


@lab.check("ou_moments")
def forgets_its_start_exponentially(answer: Answer, rng: torch.Generator) -> None:
    """The mean falls to zero like exp(-theta t)."""
    m0, v0 = normal(rng, 6), uniform(rng, 0.5, 2, 6)
    t, theta, sigma = number(rng, 0.3, 1), number(rng, 1.2, 2), number(rng, 0.5, 2)
    mean, _ = pair(answer.ou_moments(m0, v0, t, theta, sigma))
    want, _ = ou_by_exponentials(m0, v0, t, theta, sigma)
    hint = recognise(
        mean,
        {"the mean decays like exp(-theta t); exp(-2 theta t) belongs to the variance": want**2 / m0,
         "this is one Euler step: solve m' = -theta m": (1 - theta * t) * m0,
         "the mean grows; the drift pulls back to zero": m0**2 / want},
        "m' = -theta m",
    )  # fmt: skip
    expect_close(mean, want, rtol=1e-5, what="the mean", hint=hint)


@lab.check("ou_moments")
def follows_the_variance_equation(answer: Answer, rng: torch.Generator) -> None:
    """The variance solves v' = -2 theta v + sigma² from v0."""
    m0, v0 = normal(rng, 6), uniform(rng, 1.5, 4, 6)
    t, theta, sigma = number(rng, 0.2, 0.6), number(rng, 1.2, 2), number(rng, 1.2, 2)
    _, var = pair(answer.ou_moments(m0, v0, t, theta, sigma))
    _, want = ou_by_exponentials(m0, v0, t, theta, sigma)
    decay, rest = math.exp(-2 * theta * t), sigma**2 / (2 * theta)
    hint = recognise(
        var,
        {"the noise's share is sigma²/(2 theta), not sigma²/theta": decay * v0 + 2 * rest * (1 - decay),
         "sigma is a standard deviation: its square drives the variance": decay * v0 + rest / sigma * (1 - decay),
         "v0 decays twice as fast as the mean: exp(-2 theta t)": math.sqrt(decay) * v0 + rest * (1 - decay),
         "v0 and the noise's share both decay with exp(-2 theta t), not exp(-theta t)":
             math.sqrt(decay) * v0 + rest * (1 - math.sqrt(decay)),
         "this is a standard deviation; the variance is asked for": want.sqrt(),
         "v0 is a variance already: do not square it": decay * v0**2 + rest * (1 - decay),
         "the start's variance v0 is missing": rest * (1 - decay) + 0 * v0,
         "this is the stationary variance; at a finite t part of v0 is left": rest + 0 * v0},
        "v' = -2 theta v + sigma²",
    )  # fmt: skip
    expect_close(var, want, rtol=1e-5, what="the variance", hint=hint)


@lab.check("ou_moments")
def settles_at_the_stationary_variance(answer: Answer, rng: torch.Generator) -> None:
    """After a long time the mean is 0 and the variance sigma²/(2 theta), wherever it started."""
    m0, v0 = normal(rng, 4), uniform(rng, 0.0, 9, 4)
    theta, sigma = number(rng, 0.6, 3), number(rng, 0.3, 3)
    mean, var = pair(answer.ou_moments(m0, v0, 60.0, theta, sigma))
    want = torch.full((4,), sigma**2 / (2 * theta), dtype=torch.float64)
    hint = recognise(
        var,
        {"sigma²/theta is twice the stationary variance: 0 = -2 theta v + sigma²": 2 * want,
         "this is the stationary standard deviation": want.sqrt()},
        "0 = -2 theta v + sigma²",
    )  # fmt: skip
    expect_close(var, want, rtol=1e-5, what="the variance at t = 60", hint=hint)
    expect_close(mean, torch.zeros(4, dtype=torch.float64), atol=1e-9, what="the mean at t = 60")


# ---- gmm_score

OVER_SAMPLES = "the shares sum to 1 over the samples; they must sum to 1 over k, for each sample"


def pull_of_two(x: torch.Tensor, m: torch.Tensor, std: float, logit: float, temperature: float = 1.0) -> torch.Tensor:
    """The score of Gaussians at m and -m, (1, d), whose weights have this log-ratio.

    The weighted mean of the means is m tanh(m·x/std² + half the log-ratio).
    """
    pulled: torch.Tensor = (m * torch.tanh(temperature * (x @ m.T) / std**2 + logit / 2) - x) / std**2
    return pulled


@lab.check("gmm_score")
def points_to_the_mean_of_one_gaussian(answer: Answer, rng: torch.Generator) -> None:
    """For one Gaussian the score is (mean - x)/std²."""
    x, mean, std = normal(rng, 6, 3), normal(rng, 1, 3), number(rng, 0.3, 0.8)
    got = answer.gmm_score(x, mean, std, torch.ones(1, dtype=torch.float64))
    want = (mean - x) / std**2
    over_samples = (-(x - mean).square().sum(1, keepdim=True) / (2 * std**2)).softmax(0)
    hint = recognise(
        got,
        {"the sign is turned round: the score points uphill, to the mean": -want,
         "divide by the variance std², not by std": want * std,
         "this is not divided by std²": want * std**2,
         "the factor 1/2 of the exponent cancels against the derivative of the square": want / 2,
         OVER_SAMPLES: (over_samples * mean - x) / std**2},
        recognise(got, {OVER_SAMPLES: over_samples * want}, "the gradient of -|x - m|²/(2 std²)"),
    )  # fmt: skip
    near = mean + std * (x - mean) / (x - mean).norm(dim=1, keepdim=True)
    if is_right(lambda: answer.gmm_score(near, mean, std, torch.ones(1, dtype=torch.float64)), (mean - near) / std**2):
        hint = "right near the mean, wrong further away: the small densities there must neither be rounded nor added to"
    expect_value(got, want, hint)


@lab.check("gmm_score")
def weighs_two_gaussians(answer: Answer, rng: torch.Generator) -> None:
    """Between two Gaussians of unequal weights it is a weighted mean of both pulls."""
    std, m, x = number(rng, 0.6, 1.0), normal(rng, 1, 2), normal(rng, 40, 2)
    m = m / m.norm()
    w = number(rng, 0.1, 0.3)
    weights = torch.tensor([w, 1 - w], dtype=torch.float64)
    got = answer.gmm_score(x, torch.cat([m, -m]), std, weights)

    pull = partial(pull_of_two, x, m, std)
    logit = math.log(w / (1 - w))
    logs = weights.log() - torch.cat([(x - m).square().sum(1, True), (x + m).square().sum(1, True)], 1) / (2 * std**2)
    first, second = logs.softmax(0).unbind(1)
    hint = recognise(
        got,
        {"the weights are not used": pull(0.0),
         "the weights are used, but not the distances: nearer Gaussians count more":
             (m * math.tanh(logit / 2) - x) / std**2,
         "only the nearest Gaussian pulls; all do, by their share of the density": (m * (x @ m.T).sign() - x) / std**2,
         "the exponent is |x - m|²/(2 std²): the 2 is missing": pull(logit, 2.0),
         "the exponent is |x - m|²/(2 std²): std is not squared": pull(logit, std),
         "add the logarithms of the weights to the exponents, not the weights": pull(w - (1 - w)),
         OVER_SAMPLES: ((first - second)[:, None] * m - x) / std**2},
        "sum over k of r_k (m_k - x)/std², r_k = share of Gaussian k in the density at x",
    )  # fmt: skip
    expect_value(got, pull(logit), hint, rtol=1e-6)


@lab.check("gmm_score")
def is_finite_far_away(answer: Answer, rng: torch.Generator) -> None:
    """Hundreds of standard deviations away the density is 0 in floating point, and the score is still right."""
    std, w, m = number(rng, 0.2, 0.5), number(rng, 0.1, 0.3), normal(rng, 1, 2)
    m = m / m.norm()
    direction = normal(rng, 8, 2)
    x = direction / direction.norm(dim=1, keepdim=True) * uniform(rng, 100, 1000, 8, 1)
    weights = torch.tensor([w, 1 - w], dtype=torch.float64)
    got = answer.gmm_score(x, torch.cat([m, -m]), std, weights)
    expect_shape(got, (8, 2))
    logit = math.log(w / (1 - w))
    want = pull_of_two(x, m, std, logit)
    underflow = "every exp(-|x - m|²/(2 std²)) underflows to 0 here; softmax or logsumexp of the logarithms does not"
    hint, near = EARLIER, std * direction
    if bool((~got.isfinite() | (got == 0)).any()):
        hint = underflow
    elif is_right(lambda: answer.gmm_score(near, torch.cat([m, -m]), std, weights), pull_of_two(near, m, std, logit)):
        hint = recognise(got, {f"all shares r_k are 0: {underflow}": -x / std**2}, EARLIER)
    expect_value(got, want, hint, "the score far away", rtol=1e-6)


# ---- langevin_step


@lab.check("langevin_step")
def climbs_and_shakes(answer: Answer, rng: torch.Generator) -> None:
    """The step is x + h score(x) + sqrt(2h) noise."""
    x, m, noise = normal(rng, 6, 3), normal(rng, 3), normal(rng, 6, 3)
    var, root = number(rng, 0.5, 2), number(rng, 0.2, 0.6)
    h = root**2 / 2  # sqrt(2h) is root
    got = answer.langevin_step(answer.fixture("gaussian_pull", mean=m, var=var), x, h, noise)
    s = (m - x) / var
    hint = recognise(
        got,
        {"the factor of the noise is sqrt(2h), not sqrt(h)": x + h * s + math.sqrt(h) * noise,
         "this is the step for h/2: half the move needs sqrt(h), the whole move sqrt(2h)":
             x + h / 2 * s + math.sqrt(h) * noise,
         "h is halved in front of the score, but not below the root": x + h / 2 * s + root * noise,
         "the factor of the noise is a standard deviation, sqrt(2h), not 2h": x + h * s + 2 * h * noise,
         "the 2 belongs below the root": x + h * s + 2 * math.sqrt(h) * noise,
         "the score is subtracted: this walks downhill": x - h * s + root * noise,
         "the noise is missing: this is gradient ascent, which ends in the modes": x + h * s,
         "the score is multiplied by sqrt(2h) too": x + root * s + root * noise},
        "x + h * score(x) + sqrt(2h) * noise",
    )  # fmt: skip
    expect_value(got, x + h * s + root * noise, hint)


@lab.check("langevin_step")
def asks_the_score_at_x(answer: Answer, rng: torch.Generator) -> None:
    """The score is evaluated at x itself, before the noise is added."""
    W, V, x, noise, h = normal(rng, 5, 3), normal(rng, 3, 5), normal(rng, 7, 3), normal(rng, 7, 3), number(rng, 0.1, 1)
    got = answer.langevin_step(answer.fixture("sine_pull", W=W, V=V), x, h, noise)

    def step(at: torch.Tensor) -> torch.Tensor:
        return x + h * torch.sin(at @ W.T) @ V.T + math.sqrt(2 * h) * noise

    noisy = x + math.sqrt(2 * h) * noise
    rule = "x + h * score(x) + sqrt(2h) * noise, the score once and at x itself"
    hint = recognise(got, {"the score is taken at the noisy point; take it at x": step(noisy)}, rule)
    expect_value(got, step(x), hint)


@lab.check("langevin_step")
def draws_nothing_itself(answer: Answer, rng: torch.Generator) -> None:
    """The noise is the argument, standard normal already: nothing is drawn, and no second random factor comes in."""
    x, noise, h = normal(rng, 4, 2), normal(rng, 4, 2), number(rng, 0.1, 0.5)
    score = answer.fixture("gaussian_pull", mean=torch.zeros(2, dtype=torch.float64), var=1e12)
    seen = answer.observe("langevin_step", score, x, h, noise)
    expect(not seen.global_draws, DRAWN)
    expect_type(seen.value, torch.Tensor)
    expect_value(seen.value - x, math.sqrt(2 * h) * noise, "sqrt(2h) * noise", "the move without a score", rtol=1e-6)


# ---- annealed_langevin


def one_step_of(
    answer: Answer, rng: torch.Generator, size: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, float]:
    """One step at one level: the standard normal numbers in it, (size, 2), what came, the start, and the level."""
    sigma, scale = number(rng, 2.6, 3.4), number(rng, 0.1, 0.2)
    x, v = normal(rng, size, 2), uniform(rng, 1, 2, 1).expand(2)
    score = answer.fixture("level_push", v=v)  # needs sigma, and is sigma v everywhere
    got = answer.annealed_langevin(score, x, torch.tensor([sigma], dtype=torch.float64), 1, scale, seeded(rng))
    expect_shape(got, x.shape, LAST)
    h = scale * sigma**2
    return (got.double() - x - h * sigma * v) / math.sqrt(2 * h), got.double(), x, sigma


@lab.check("annealed_langevin")
def takes_a_langevin_step(answer: Answer, rng: torch.Generator) -> None:
    """One level with one step is one Langevin step with h = step_scale sigma², with noise and with nothing after it."""
    z, got, x, sigma = one_step_of(answer, rng, MANY)
    expect_real(got, "the result")
    expect(not torch.equal(got, x), "x comes back as it was: no step was taken")
    expect(z.abs().max() > 1e-6, "this step had no noise; every step has noise, the last one too")
    expect(z.std(0).min() > 1e-6, "all samples move alike: there is no noise, or one for all; draw it in x's shape")
    factor = ((x * got).sum() / x.square().sum()).item()  # of x in the result, here 1
    here = f"comes into the result times {factor:.2g} (sigma is {sigma:.2g})"
    here = here if abs(factor) > 0.1 else "does not come into the result"
    expect_uncorrelated(z, x, f"x is where the walkers start, as it is, and here it {here}")
    hint = f"one step with h = step_scale * sigma**2 (sigma = {sigma:.2g} here), and no step without noise at the end"
    mistakes = {
        "the factor of the noise is sqrt(2h), not sqrt(h)": 0.5,
        "sigma is not squared in h = step_scale * sigma**2": 1 / sigma,
        "h is step_scale itself; it should be step_scale * sigma**2": 1 / sigma**2,
    }
    of_mean = "h * score(x, sigma), with h = step_scale * sigma**2 and the sigma of the level"
    expect_standard(z, "the noise of the only step", hint, mistakes, of_mean)


Steps = list[tuple[float, float, bool]]  # of each: its h, the level at which the score is asked, whether it has noise


def ways_to_anneal(levels: list[float], n: int, scale: float) -> dict[str, Steps]:
    """The steps that are asked for, under the empty sentence, and those of well-known mistakes."""

    def at(levels: list[float], n: int = n, quiet: Sequence[int] = ()) -> Steps:
        every = [sigma for sigma in levels for _ in range(n)]
        return [(scale * sigma**2, sigma, i not in quiet) for i, sigma in enumerate(every)]

    last = len(levels) * n
    return {
        "": at(levels),
        "the levels are sorted; take them in the order in which they come": at(sorted(levels, reverse=True)),
        "the levels are taken from the last to the first": at(levels[::-1]),
        "one step is taken at each level; n_steps are asked for": at(levels, 1),
        "the last level is left out": at(levels[:-1]),
        "the last step of a level is left out": at(levels, n - 1),
        "the last step of each level had no noise; every step has noise": at(levels, n, range(n - 1, last, n)),
        "the last step had no noise; every step has noise, the last one too": at(levels, n, [last - 1]),
        "a step without noise follows the last one": [*at(levels), *at(levels[-1:], 1, [0])],
        "h is step_scale * sigma; step_scale * sigma**2 is asked for": [(h / s, s, True) for h, s, _ in at(levels)],
        "the score is asked without sigma": [(h, 0.0, True) for h, _, _ in at(levels)],
    }


def standardised(got: torch.Tensor, x: torch.Tensor, m: torch.Tensor, var: float, steps: Steps) -> torch.Tensor:
    """The noise in the result of these steps with `gaussian_pull`, from N(0, 1) if they are what was done."""
    left, variance = 1.0, 0.0  # how much of the way to m is left, and the variance of the noise
    for h, level, noisy in steps:
        keep = 1 - h / (var + level**2)
        left, variance = left * keep, variance * keep**2 + 2 * h * noisy
    return (got.double() - m - left * (x - m)) / math.sqrt(variance)


@lab.check("annealed_langevin", points=2)
def takes_n_steps_at_each_level_in_order(answer: Answer, rng: torch.Generator) -> None:
    """It takes n_steps steps at each of the levels, in the order in which they are given."""
    var = 0.5
    runs: list[dict[str, torch.Tensor]] = []
    for order in ([1.0, 3.0, 0.5], [0.5, 1.0, 3.0]):
        x, m, n, scale = normal(rng, MANY, 2), 4 + uniform(rng, 0, 1, 2), integer(rng, 2, 4), number(rng, 0.1, 0.2)
        sigmas = torch.tensor(order, dtype=torch.float64) * uniform(rng, 0.9, 1.1, 3)
        score = answer.fixture("gaussian_pull", mean=m, var=var)
        got = answer.annealed_langevin(score, x, sigmas, n, scale, seeded(rng))
        expect_shape(got, x.shape, LAST)
        ways = ways_to_anneal(sigmas.tolist(), n, scale)
        runs.append({sentence: standardised(got, x, m, var, steps) for sentence, steps in ways.items()})

    def fits(z: torch.Tensor) -> bool:
        n, mean = z.numel(), z.mean().item()
        off = z.square().mean().item() - mean**2 - 1
        return abs(off) < SIX * math.sqrt(2 / n) and abs(mean) < SIX / math.sqrt(n)

    fitting = [sentence for sentence in runs[0] if all(fits(run[sentence]) for run in runs)]
    rule = "for each sigma, in the order given: n_steps Langevin steps with h = step_scale * sigma**2"
    for run in runs:
        expect_standard(run[""], "the noise in the last x", fitting[0] if len(fitting) == 1 else rule)


@lab.check("annealed_langevin")
def hands_the_level_to_the_score(answer: Answer, rng: torch.Generator) -> None:
    """The score is asked as score(x, sigma), with the sigma of the step."""
    x, v, n, scale = normal(rng, MANY, 2), uniform(rng, 5, 6, 1).expand(2), integer(rng, 2, 4), number(rng, 0.02, 0.04)
    sigmas = uniform(rng, 0.5, 2.5, 3)
    got = answer.annealed_langevin(answer.fixture("level_push", v=v), x, sigmas, n, scale, seeded(rng))
    expect_shape(got, x.shape, LAST)
    h = scale * sigmas**2
    z = (got.double() - x - n * (h * sigmas).sum() * v) / math.sqrt(2 * n * h.sum().item())
    hint = "score(x, sigma) with the current sigma: not its square, not its place in the list"
    expect_standard(z, "the last x", EARLIER, of_mean=hint)


@lab.check("annealed_langevin")
def draws_from_its_generator_alone(answer: Answer, rng: torch.Generator) -> None:
    """Equal generators give equal results, different ones different results, and the global generator is not used."""
    x, sigmas, seed = normal(rng, 6, 2), uniform(rng, 0.5, 2, 3), integer(rng, 0, 10**6)
    score = answer.fixture("gaussian_pull", mean=normal(rng, 2), var=1.0)

    def run(seed: int) -> Any:
        generator = torch.Generator().manual_seed(seed)
        seen = answer.observe("annealed_langevin", score, x, sigmas, 2, 0.1, generator)
        expect(not seen.global_draws, "random numbers were drawn from the global generator; pass `generator` on")
        expect_shape(seen.value, x.shape, LAST)
        return seen.value

    first, again, other = run(seed), run(seed), run(seed + 1)
    expect(torch.equal(first, again), "two runs with equal generators differ")
    expect(not torch.allclose(first, other), "runs with different generators are the same: where does the noise go?")
