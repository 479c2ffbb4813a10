"""The visible checks of lab 7, samplers.

Wanted values come by another route than the student's. Schedules come from angles (abar = cos² of an angle), so that
a deterministic step turns the angle. The posterior of a step comes by conditioning one Gaussian on another. Whole
runs come from x / alpha as a function of sigma / alpha, and drifts from the moments of a Gaussian.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import Any

import torch

from labcheck import Battery, expect, expect_close, expect_type
from labcheck.answer import Answer, AnswerError
from noise2data.checks.arguments import (
    distinct_levels,
    integer,
    normal,
    number,
    on_batch_axis,
    random_angles,
    seeded,
    uniform,
)
from noise2data.checks.expectations import expect_rows, with_rows
from noise2data.checks.hints import CAST_LAST, EARLIER, advice, differs_little, is_right, recognise
from noise2data.checks.statistics import expect_standard

lab = Battery(
    "lab07_samplers",
    fixtures="noise2data.checks.fixtures",
    forbidden=["noise2data.samplers", "noise2data.paths", "noise2data.denoiser"],
)

Levels = int | torch.Tensor
Call = Callable[..., Any]
IN_FLOAT64 = "1 - abar is lost in float32; compute the factors in abar's dtype and cast them last"


def posterior(
    phi: torch.Tensor, j: Levels, k: Levels, x0: torch.Tensor, xk: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance of x_j given x0 and x_k, j < k, each level one for all samples or (B,).

    x_j is N(cos x0, sin²) and x_k = r x_j + noise of variance 1 - r²; then x_j is conditioned on x_k.
    """
    cos, sin2 = (on_batch_axis(f, x0) for f in (phi[j].cos(), phi[j].sin() ** 2))
    r = on_batch_axis(phi[k].cos(), x0) / cos
    gain = sin2 * r / (sin2 * r**2 + 1 - r**2)
    return cos * x0 + gain * (xk - r * cos * x0), sin2 * (1 - gain * r)


def mixed(phi: torch.Tensor, k: Levels, x0: torch.Tensor, eps: torch.Tensor) -> torch.Tensor:
    """x_k of x0 and eps, k one for all samples or (B,)."""
    return on_batch_axis(phi[k].cos(), x0) * x0 + on_batch_axis(phi[k].sin(), x0) * eps


@contextmanager
def explained(why: str, part: str = "") -> Iterator[None]:
    """Add a reason to the message of an error whose message has this part."""
    try:
        yield
    except AnswerError as error:
        if part not in str(error):
            raise
        raise AnswerError(f"{error} — {why}", error.status) from None


def expect_float64_factors(step: Call, factor: torch.Tensor, rng: torch.Generator) -> None:
    """Fail unless step(x_k, eps) is the factor times eps, x_k being zeros in float32; levels are near 0."""
    eps = normal(rng, 4, 3)
    hint = advice(IN_FLOAT64, is_right(lambda: step(0 * eps, eps), factor * eps))
    got, what = (
        step(torch.zeros(4, 3), eps.float()),
        "the result for a float32 x_k of zeros, 1 - abar being about 1e-8,",
    )
    expect_close(got, factor * eps, rtol=1e-3, atol=0, dtype=False, what=what, hint=hint)


def expect_like(got: Any, x: torch.Tensor) -> None:
    """Fail unless a value is a tensor of x's shape."""
    expect_type(got, torch.Tensor)
    expect(got.shape == x.shape, f"the result has shape {tuple(got.shape)}; expected {tuple(x.shape)}")


# ---- predict_x0


@lab.check("predict_x0")
def undoes_the_jump(answer: Answer, rng: torch.Generator) -> None:
    """Given the very eps that x_k was made with, it returns the x0 that x_k was made of."""
    T = integer(rng, 6, 30)
    phi, abar = random_angles(rng, T)
    x0, eps = normal(rng, 5, 3), normal(rng, 5, 3)
    for k in (T // 2, 1, T):
        cos, sin = phi[k].cos(), phi[k].sin()
        xk = cos * x0 + sin * eps
        got = answer.predict_x0(xk, eps, k, abar)
        hint = recognise(
            got,
            {"divide by sqrt(abar[k]) at the end": xk - sin * eps,
             "eps is multiplied by 1 - abar, the variance; its factor is a standard deviation":
                 (xk - sin**2 * eps) / cos,
             "this divides by abar[k]; the factor of x0 is its square root": (xk - sin * eps) / cos**2,
             "this is level k - 1: abar has T + 1 entries, and abar[k] belongs to x_k":
                 (xk - phi[k - 1].sin() * eps) / phi[k - 1].cos(),
             "the result is clipped; nothing is clipped here": x0.clamp(-1, 1)},
            "solve x_k = sqrt(abar[k]) x0 + sqrt(1 - abar[k]) eps for x0",
        )  # fmt: skip
        hint = CAST_LAST if differs_little(got, x0) else hint
        expect_close(got, x0, rtol=1e-7, dtype=False, what=f"the guess at k = {k} of {T}", hint=hint)


@lab.check("predict_x0")
def takes_a_level_per_sample(answer: Answer, rng: torch.Generator) -> None:
    """With k of shape (B,), row i is undone from its own level k[i]."""
    phi, abar = random_angles(rng, 20)
    x0, eps, k = normal(rng, 6, 2), normal(rng, 6, 2), distinct_levels(rng, 20, 6)
    args = (mixed(phi, k, x0, eps), eps, k, abar)
    expect_rows(answer.predict_x0, args, 2, x0, hint="row i belongs to k[i]")


@lab.check("predict_x0")
def keeps_the_dtype_of_xk(answer: Answer, rng: torch.Generator) -> None:
    """float32 in, float32 out, for a number and for a (B,) tensor k; near level 0 the factor of eps is not lost."""
    phi, abar = random_angles(rng, 10)
    x0, eps = normal(rng, 4, 3), normal(rng, 4, 3)
    for k in (5, distinct_levels(rng, 8, 4)):
        call = answer.predict_x0 if isinstance(k, int) else partial(with_rows, answer.predict_x0)
        got = call(mixed(phi, k, x0, eps).float(), eps.float(), k, abar)
        expect_close(got, x0.float(), rtol=1e-4, atol=1e-5, hint=advice(CAST_LAST, differs_little(got, x0)))
    low = 1e-4 * phi
    expect_float64_factors(lambda xk, eps: answer.predict_x0(xk, eps, 5, low.cos() ** 2), -low[5].tan(), rng)


# ---- ddpm_step


@lab.check("ddpm_step")
def steps_to_the_posterior_mean(answer: Answer, rng: torch.Generator) -> None:
    """With noise 0 the step goes to the mean of q(x_{k-1} | x_k, x0), x0 being the one that eps implies."""
    T = integer(rng, 6, 30)
    phi, abar = random_angles(rng, T)
    x0, eps = normal(rng, 5, 3), normal(rng, 5, 3)
    for k in (T // 2, 2, T):
        xk = mixed(phi, k, x0, eps)
        want, _ = posterior(phi, k - 1, k, x0, xk)
        keep, sin = abar[k] / abar[k - 1], phi[k].sin()
        got = answer.ddpm_step(xk, eps, k, abar, torch.zeros_like(xk))
        hint = recognise(
            got,
            {"the factor 1/sqrt(1 - beta) in front is missing": xk - (1 - keep) / sin * eps,
             "beta is divided by 1 - abar; its square root belongs there":
                 (xk - (1 - keep) / sin**2 * eps) / keep.sqrt(),
             "this is divided by sqrt(abar[k]); sqrt(abar[k]/abar[k-1]) belongs there":
                 (xk - (1 - keep) / sin * eps) / abar[k].sqrt(),
             "this is a DDIM step, as without noise; the mean of the posterior is asked for":
                 mixed(phi, k - 1, x0, eps),
             "this is the guess of x0, not of x_{k-1}": x0},
            "the posterior's mean at k, from abar[k] and abar[k-1]",
        )  # fmt: skip
        hint = CAST_LAST if differs_little(got, want) else hint
        expect_close(got, want, rtol=1e-7, dtype=False, what=f"the step from k = {k} of {T}, without noise", hint=hint)


@lab.check("ddpm_step")
def adds_noise_of_the_posterior_variance(answer: Answer, rng: torch.Generator) -> None:
    """The noise is multiplied by the standard deviation of q(x_{k-1} | x_k, x0)."""
    T = integer(rng, 6, 30)
    phi, abar = random_angles(rng, T)
    x0, eps, noise = normal(rng, 5, 3), normal(rng, 5, 3), normal(rng, 5, 3)
    for k in (T // 2, 2, T):
        xk = mixed(phi, k, x0, eps)
        _, var = posterior(phi, k - 1, k, x0, xk)
        beta = 1 - abar[k] / abar[k - 1]
        moved = answer.ddpm_step(xk, eps, k, abar, noise)
        still = answer.ddpm_step(xk, eps, k, abar, torch.zeros_like(xk))
        expect_like(moved, xk)
        expect_like(still, xk)
        got = moved.double() - still.double()
        hint = recognise(
            got,
            {"this is the posterior's variance; the noise's factor is a standard deviation": var * noise,
             "the variance here is beta, of the step forward; the posterior's is smaller": beta.sqrt() * noise,
             "no noise is added": 0 * noise,
             "the variance here is 1 - abar[k-1], of the whole way": phi[k - 1].sin() * noise},
            "the variance is beta_k (1 - abar[k-1])/(1 - abar[k])",
        )  # fmt: skip
        hint = CAST_LAST if differs_little(got, var.sqrt() * noise) else hint
        what = f"what the noise adds at k = {k} of {T}"
        expect_close(got, var.sqrt() * noise, rtol=1e-6, atol=1e-7, dtype=False, what=what, hint=hint)


@lab.check("ddpm_step")
def adds_no_noise_at_the_last_step(answer: Answer, rng: torch.Generator) -> None:
    """The step from k = 1 returns the guess of x0, whatever noise is given; noise may be None."""
    phi, abar = random_angles(rng, 10)
    x0, eps = normal(rng, 4, 3), normal(rng, 4, 3)
    x1 = mixed(phi, 1, x0, eps)
    got = answer.ddpm_step(x1, eps, 1, abar, normal(rng, 4, 3))
    still = is_right(lambda: answer.ddpm_step(x1, eps, 1, abar, 0 * eps), x0)
    hint = "x_0 gets no noise" if still else "it is the guess of x0"
    expect_close(got, x0, rtol=1e-7, dtype=False, what="the step from k = 1", hint=hint)
    with explained("this was the step from k = 1 with noise = None"):
        got = answer.ddpm_step(x1, eps, 1, abar, None)
    expect_close(got, x0, rtol=1e-7, dtype=False, what="the step from k = 1 with noise = None")


@lab.check("ddpm_step")
def takes_a_step_per_sample(answer: Answer, rng: torch.Generator) -> None:
    """With k of shape (B,), row i takes the step from its own level k[i]."""
    phi, abar = random_angles(rng, 20)
    x0, eps, noise, k = normal(rng, 6, 2), normal(rng, 6, 2), normal(rng, 6, 2), distinct_levels(rng, 20, 6, first=2)
    xk = mixed(phi, k, x0, eps)
    mean, var = posterior(phi, k - 1, k, x0, xk)
    args = (xk, eps, k, abar, noise)
    with explained("k may be (B,), and then `k == 1` is (B,) too: use torch.where, not if", "Boolean value of Tensor"):
        expect_rows(answer.ddpm_step, args, 2, mean + var.sqrt() * noise, hint="row i belongs to k[i]")


# ---- spaced_steps


def rounded(numerator: int, denominator: int) -> int:
    """numerator / denominator to the nearest integer, halves to the even one, in whole numbers."""
    below, rest = divmod(numerator, denominator)
    return below + (2 * rest > denominator or (2 * rest == denominator and below % 2 == 1))


def steps_of(T: int, n: int, spacing: str) -> list[int]:
    """What `spaced_steps` should return."""
    if spacing == "leading":
        return [*range(1 + (n - 1) * (T // n), 0, -(T // n)), 0]
    if spacing == "trailing":
        return [*(rounded(T * (n - i), n) for i in range(n)), 0]
    return [*(rounded(T * (n - 1) - i * (T - 1), n - 1) for i in range(n)), 0] if n > 1 else [T, 0]


def has_halves(T: int, n: int) -> bool:
    """Whether a step lies half-way between two integers, where a rounding error could decide."""
    return any(2 * i * a % m == 0 and i * a % m for a, m in ((T, n), (T - 1, max(n - 1, 1))) for i in range(n))


def random_counts(rng: torch.Generator, most: int = 1000) -> tuple[int, int]:
    """T and 1 < n < T, so that no step is half-way between two integers and n does not divide T."""
    while True:
        T = integer(rng, 20, most)
        n = integer(rng, 3, min(T - 2, 60))
        if not has_halves(T, n) and T % n:
            return T, n


def expect_steps(answer: Answer, T: int, n: int, spacing: str, hint: str) -> None:
    """Fail unless the numbers are right; whether they are ints in a list is another check's matter."""
    got = answer.spaced_steps(T, n, spacing)
    want = steps_of(T, n, spacing)
    expect_type(got, (list, tuple, torch.Tensor))
    values = [float(value) for value in (got.tolist() if isinstance(got, torch.Tensor) else got)]
    given = f"spaced_steps({T}, {n}, {spacing!r})"
    expect(
        len(values) == n + 1,
        f"{given} has {len(values)} entries; expected {n + 1}: n steps at which the network is called, and 0",
    )
    wrong = [i for i in range(n + 1) if values[i] != want[i]]
    if wrong:
        i = wrong[0]
        expect(False, f"entry {i} of {given} is {values[i]:g}; expected {want[i]} — {hint}")


@lab.check("spaced_steps")
def is_a_falling_list_of_ints(answer: Answer, rng: torch.Generator) -> None:
    """n + 1 Python ints in a list, each less than the one before, the last 0."""
    T, n = random_counts(rng)
    for spacing in ("linspace", "leading", "trailing"):
        got = answer.spaced_steps(T, n, spacing)
        expect_type(got, list, f"the result for {spacing!r}")
        expect(len(got) == n + 1, f"{spacing!r} has {len(got)} entries; expected {n + 1}: n steps, and 0")
        for value in got:
            expect_type(value, int, f"an entry for {spacing!r}")
        expect(got[-1] == 0, f"{spacing!r} ends in {got[-1]}; the last entry is 0, the data")
        expect(all(a > b for a, b in zip(got, got[1:], strict=False)), f"{spacing!r} does not fall strictly")
        expect(got[0] <= T, f"{spacing!r} starts at {got[0]}, beyond T = {T}")


@lab.check("spaced_steps")
def spaces_linearly(answer: Answer, rng: torch.Generator) -> None:
    """ "linspace": n evenly spaced numbers from T to 1, both included, rounded."""
    for T, n in ((1000, 10), random_counts(rng)):
        expect_steps(answer, T, n, "linspace", "T and 1 are both visited, then 0")


@lab.check("spaced_steps")
def leads_from_1(answer: Answer, rng: torch.Generator) -> None:
    """ "leading": 1, 1 + T//n, 1 + 2 (T//n), ... from the last to the first, however far from T that starts."""
    for T, n in ((1000, 50), random_counts(rng)):
        expect_steps(answer, T, n, "leading", "the steps are 1 + (T//n)·i, with i from n - 1 down to 0")


@lab.check("spaced_steps")
def trails_from_T(answer: Answer, rng: torch.Generator) -> None:
    """ "trailing": T, T - T/n, T - 2 T/n, ... rounded, down to T/n."""
    for T, n in ((1000, 50), random_counts(rng)):
        expect_steps(answer, T, n, "trailing", "the steps are T - i·T/n, with i from 0 to n - 1, rounded at the end")


# ---- ddim_sigma


@lab.check("ddim_sigma")
def is_the_posteriors_at_eta_1(answer: Answer, rng: torch.Generator) -> None:
    """With eta = 1 its square is the variance of q(x_j | x_k, x0), for neighbours and for longer steps."""
    T = integer(rng, 8, 30)
    phi, abar = random_angles(rng, T)
    one = torch.ones((), dtype=torch.float64)
    for k, j in ((T // 2, T // 2 - 1), (T - 1, 2), (T, 1)):
        _, var = posterior(phi, j, k, one, one)
        ratio, keep = phi[j].sin() / phi[k].sin(), abar[k] / abar[j]
        got = answer.ddim_sigma(k, j, abar, 1.0)
        hint = recognise(
            got,
            {"this is the variance; its square root is asked for": var.reshape(()),
             "the second factor belongs to the step: 1 - abar[k]/abar[j]": ratio * (1 - abar[k]).sqrt(),
             "beta of one step stands here; the step from k to j keeps abar[k]/abar[j]":
                 ratio * (1 - abar[k] / abar[k - 1]).sqrt(),
             "the two variances are exchanged: 1 - abar[j] goes above the line": (1 - keep).sqrt() / ratio,
             "the ratio (1 - abar[j])/(1 - abar[k]) is missing": (1 - keep).sqrt()},
            "the square root of (1 - abar[j])/(1 - abar[k]) · (1 - abar[k]/abar[j])",
        )  # fmt: skip
        expect_close(got, var.sqrt().item(), rtol=1e-7, what=f"sigma from k = {k} to j = {j}, eta = 1", hint=hint)


@lab.check("ddim_sigma")
def grows_in_proportion_to_eta(answer: Answer, rng: torch.Generator) -> None:
    """sigma is eta times what it is at eta = 1."""
    T = integer(rng, 8, 30)
    phi, abar = random_angles(rng, T)
    k, j, eta = T - 2, T // 2, number(rng, 0.2, 0.8)
    one = torch.ones((), dtype=torch.float64)
    std = posterior(phi, j, k, one, one)[1].sqrt().reshape(())
    got = answer.ddim_sigma(k, j, abar, eta)
    hint = recognise(
        got,
        {"eta is squared here; sigma itself is proportional to eta": eta**2 * std,
         "the square root of eta stands here": eta**0.5 * std, "eta is not used": std},
        advice("eta in front of the square roots", is_right(lambda: answer.ddim_sigma(k, j, abar, 1.0), std)),
    )  # fmt: skip
    expect_close(got, eta * std.item(), rtol=1e-7, what=f"sigma for eta = {eta:.2f}", hint=hint)


@lab.check("ddim_sigma")
def is_a_scalar_of_abars_dtype(answer: Answer, rng: torch.Generator) -> None:
    """A 0-d tensor: float64 for a float64 abar, float32 for a float32 one."""
    phi, abar = random_angles(rng, 12)
    one = torch.ones((), dtype=torch.float64)
    want = 0.5 * posterior(phi, 4, 9, one, one)[1].sqrt().reshape(())
    expect_close(answer.ddim_sigma(9, 4, abar, 0.5), want, rtol=1e-6)
    expect_close(answer.ddim_sigma(9, 4, abar.float(), 0.5), want.float(), rtol=1e-4)


# ---- ddim_step


@lab.check("ddim_step")
def turns_the_angle(answer: Answer, rng: torch.Generator) -> None:
    """With eta = 0 the same x0 and the same eps are mixed again, as level j mixes them; noise may be None."""
    T = integer(rng, 8, 30)
    phi, abar = random_angles(rng, T)
    x0, eps = normal(rng, 5, 3), normal(rng, 5, 3)
    for k, j in ((T // 2, T // 2 - 1), (T, 1), (T - 1, T // 3)):
        xk, want = mixed(phi, k, x0, eps), mixed(phi, j, x0, eps)
        got = answer.ddim_step(xk, eps, k, j, abar, 0.0, torch.zeros_like(xk))
        hint = recognise(
            got,
            {"sigma stands where sqrt(1 - abar[j] - sigma²) belongs: the direction back to x_k is missing":
                 phi[j].cos() * x0,
             "eps is multiplied by 1 - abar[j], the variance; its factor is a standard deviation":
                 phi[j].cos() * x0 + phi[j].sin() ** 2 * eps,
             "x0 is multiplied by abar[j]; its factor is the square root": phi[j].cos() ** 2 * x0 + phi[j].sin() * eps,
             "this goes to level j - 1": mixed(phi, j - 1, x0, eps),
             "this is x_k again": xk},
            "sqrt(abar[j]) times the guess of x0, plus sqrt(1 - abar[j] - sigma²) times eps, plus sigma times noise",
        )  # fmt: skip
        hint = CAST_LAST if differs_little(got, want) else hint
        expect_close(got, want, rtol=1e-7, dtype=False, what=f"the step from {k} to {j}, eta = 0", hint=hint)
    with explained("this was a step with eta = 0 and noise = None"):
        got = answer.ddim_step(xk, eps, k, j, abar, 0.0, None)
    expect_close(got, want, rtol=1e-7, dtype=False, what="the step with eta = 0 and noise = None")


@lab.check("ddim_step")
def lands_on_the_guess_at_0(answer: Answer, rng: torch.Generator) -> None:
    """The step to j = 0 returns the guess of x0, for every eta: abar[0] = 1 leaves no room for noise."""
    phi, abar = random_angles(rng, 12)
    x0, eps, noise = normal(rng, 4, 3), normal(rng, 4, 3), normal(rng, 4, 3)
    for k, eta in ((5, 0.0), (5, 1.0), (1, number(rng, 0.3, 0.9)), (12, 1.0)):
        got = answer.ddim_step(mixed(phi, k, x0, eps), eps, k, 0, abar, eta, noise)
        hint = "level 0 has abar = 1: sigma is 0 and so is the factor of eps"
        expect_close(got, x0, rtol=1e-7, dtype=False, what=f"the step from {k} to 0, eta = {eta:.2g}", hint=hint)


@lab.check("ddim_step")
def is_ddpms_step_at_eta_1(answer: Answer, rng: torch.Generator) -> None:
    """With eta = 1 and j = k - 1 it is the step of ancestral sampling, noise included."""
    T = integer(rng, 6, 30)
    phi, abar = random_angles(rng, T)
    x0, eps, noise = normal(rng, 5, 3), normal(rng, 5, 3), normal(rng, 5, 3)
    for k in (T // 2, 2, T):
        xk = mixed(phi, k, x0, eps)
        mean, var = posterior(phi, k - 1, k, x0, xk)
        got = answer.ddim_step(xk, eps, k, k - 1, abar, 1.0, noise)
        hint = recognise(
            got,
            {"the noise is added, but eps keeps its full factor: sigma² has to be taken from 1 - abar[j]":
                 mixed(phi, k - 1, x0, eps) + var.sqrt() * noise,
             "no noise is added": mean},
            "sqrt(abar[j]) times the guess of x0, plus sqrt(1 - abar[j] - sigma²) times eps, plus sigma times noise",
        )  # fmt: skip
        hint = CAST_LAST if differs_little(got, mean + var.sqrt() * noise) else hint
        what = f"the step from {k} to {k - 1}, eta = 1"
        expect_close(got, mean + var.sqrt() * noise, rtol=1e-6, dtype=False, what=what, hint=hint)


def ddim_parts(
    at_j: torch.Tensor, x0: torch.Tensor, eps: torch.Tensor, noise: torch.Tensor, s2: torch.Tensor, left: torch.Tensor
) -> torch.Tensor:
    """x_j at the angle at_j: the data, eps of variance `left` (0 where that is negative), noise of variance s2."""
    return at_j.cos() * x0 + left.clamp(min=0).sqrt() * eps + s2.sqrt() * noise


@lab.check("ddim_step")
def trades_eps_for_noise(answer: Answer, rng: torch.Generator) -> None:
    """For eta between 0 and 1 the squares of the factors of eps and noise still sum to 1 - abar[j]."""
    T = integer(rng, 8, 30)
    phi, abar = random_angles(rng, T)
    x0, eps, noise = normal(rng, 5, 3), normal(rng, 5, 3), normal(rng, 5, 3)
    for k, j in ((T, T // 2), (T // 2, 2)):
        eta = number(rng, 0.3, 0.9)
        _, var = posterior(phi, j, k, x0, mixed(phi, k, x0, eps))
        room, step = phi[j].sin() ** 2, partial(ddim_parts, phi[j], x0, eps, noise)
        s2 = eta**2 * var
        got = answer.ddim_step(mixed(phi, k, x0, eps), eps, k, j, abar, eta, noise)
        hint = recognise(
            got,
            {"sigma stands where sqrt(1 - abar[j] - sigma²) belongs": step(s2, s2),
             "eta is applied twice: sigma holds it already": step(eta**2 * s2, room - s2),
             "eta is applied twice, in both places": step(eta**2 * s2, room - eta**2 * s2),
             "sigma is subtracted where sigma² belongs": step(s2, room - s2.sqrt()),
             "eps keeps its full factor: sigma² has to be taken from 1 - abar[j]": step(s2, room + 0 * s2)},
            "sqrt(1 - abar[j] - sigma²) times eps, plus sigma times noise",
        )  # fmt: skip
        want = step(s2, room - s2)
        hint = CAST_LAST if differs_little(got, want) else hint
        expect_close(got, want, rtol=1e-6, dtype=False, what=f"the step from {k} to {j}, eta = {eta:.2f}", hint=hint)


@lab.check("ddim_step")
def keeps_float32(answer: Answer, rng: torch.Generator) -> None:
    """float32 in, float32 out, although abar is float64; near level 0 the factors of eps are not lost."""
    phi, abar = random_angles(rng, 10)
    x0, eps = normal(rng, 4, 3), normal(rng, 4, 3)
    want = mixed(phi, 3, x0, eps)
    got = answer.ddim_step(mixed(phi, 7, x0, eps).float(), eps.float(), 7, 3, abar, 0.0, torch.zeros(4, 3))
    expect_close(got, want.float(), rtol=1e-4, atol=1e-5, hint=advice(CAST_LAST, differs_little(got, want)))
    low = 1e-4 * phi
    factor = low[3].sin() - low[3].cos() * low[7].tan()  # x0 is -tan(low[7]) eps
    expect_float64_factors(lambda xk, eps: answer.ddim_step(xk, eps, 7, 3, low.cos() ** 2, 0.0, 0 * eps), factor, rng)


# ---- ddim_sample


def falling_steps(rng: torch.Generator, T: int, n: int) -> list[int]:
    """n different steps of 1..T, falling, and 0."""
    return [*distinct_levels(rng, T, n).sort(descending=True).values.tolist(), 0]


def gaussian_end(phi: torch.Tensor, x: torch.Tensor, steps: list[int], mean: float, var: float) -> torch.Tensor:
    """Where deterministic DDIM from x at steps[0] ends, the data being N(mean, var) and eps exact.

    y = x/cos - mean as a function of r = tan obeys dy/dr = r y/(var + r²), and the steps are Euler's.
    """
    r = phi[torch.tensor(steps)].tan()
    factor = torch.prod((var + r[1:] * r[:-1]) / (var + r[:-1] ** 2))
    return mean + factor * (x / phi[steps[0]].cos() - mean)


def table_end(phi: torch.Tensor, x: torch.Tensor, steps: list[int], eps: torch.Tensor) -> torch.Tensor:
    """Where deterministic DDIM ends if in its i-th step the network says eps[i] everywhere."""
    r = phi[torch.tensor(steps)].tan()
    return x / phi[steps[0]].cos() + (r.diff() * eps).sum()


@lab.check("ddim_sample")
def follows_the_exact_network_of_a_gaussian(answer: Answer, rng: torch.Generator) -> None:
    """With eta = 0 and the exact eps of a Gaussian the end is known in closed form; one step, and several."""
    T = integer(rng, 12, 25)
    phi, abar = random_angles(rng, T)
    mean, var, x = number(rng, 0.5, 2.0), number(rng, 0.2, 0.6), normal(rng, 5, 3)
    net = answer.fixture("gaussian_eps_net", abar=abar, mean=mean, var=var)
    for steps in ([T, 0], [T, T // 2, 0], falling_steps(rng, T, 6)):
        got = answer.ddim_sample(net, x, steps, abar, 0.0, None)
        hint = "for each pair of neighbours k, j in steps: eps = net(x, k), then the step from k to j"
        want = gaussian_end(phi, x, steps, mean, var)
        expect_close(got, want, rtol=1e-6, dtype=False, what=f"the end of steps = {steps}", hint=hint)


@lab.check("ddim_sample")
def asks_once_per_step_at_the_current_step(answer: Answer, rng: torch.Generator) -> None:
    """The network is called len(steps) - 1 times, at the step where x is, and never at 0."""
    T = integer(rng, 12, 25)
    phi, abar = random_angles(rng, T)
    table, per_call, x = uniform(rng, 0.5, 1.5, T + 1), number(rng, 0.2, 0.4), normal(rng, 4, 2)
    steps = falling_steps(rng, T, 5)
    net = answer.fixture("table_net", table=table, per_call=per_call)
    got = answer.ddim_sample(net, x, steps, abar, 0.0, None)
    expect(
        answer.calls(net) == len(steps) - 1,
        f"the network is called {answer.calls(net)} times; expected len(steps) - 1 = {len(steps) - 1}",
    )
    growth = 1 + per_call * torch.arange(len(steps) - 1, dtype=torch.float64)
    now, then = (table[torch.tensor(part)] for part in (steps[:-1], steps[1:]))
    hint = recognise(
        got,
        {"the network is called with the step that x goes to; call it with the step where x is":
             table_end(phi, x, steps, then * growth)},
        "eps = net(x, k), with k the step where x is",
    )  # fmt: skip
    expect_close(got, table_end(phi, x, steps, now * growth), rtol=1e-6, dtype=False, hint=hint)


@lab.check("ddim_sample")
def hands_the_network_int64_steps(answer: Answer, rng: torch.Generator) -> None:
    """The network receives k as an int64 tensor of shape (B,), as an embedding of steps needs it."""
    phi, abar = random_angles(rng, 12)
    table, x, steps = uniform(rng, 0.5, 1.5, 13), normal(rng, 4, 2), falling_steps(rng, 12, 4)
    net = answer.fixture("strict_table_net", table=table)
    want = table_end(phi, x, steps, table[torch.tensor(steps[:-1])])
    expect_close(answer.ddim_sample(net, x, steps, abar, 0.0, None), want, rtol=1e-6, dtype=False)


@lab.check("ddim_sample")
def is_repeatable(answer: Answer, rng: torch.Generator) -> None:
    """With eta > 0 equal generators give equal samples, different ones differ; no other generator is used."""
    _, abar = random_angles(rng, 15)
    net = answer.fixture("gaussian_eps_net", abar=abar, mean=0.5, var=0.5)
    x, steps = normal(rng, 5, 3), falling_steps(rng, 15, 4)
    seed = integer(rng, 0, 10**6)
    first, second, third = (
        answer.observe("ddim_sample", net, x, steps, abar, 1.0, torch.Generator().manual_seed(s))
        for s in (seed, seed, seed + 1)
    )
    expect_like(first.value, x)
    expect(not first.global_draws, "the noise is drawn from the global generator; pass generator=generator to randn")
    expect(torch.equal(first.value, second.value), "two runs with equal generators differ")
    expect(not torch.equal(first.value, third.value), "runs with different generators are equal: nothing is drawn")
    still = answer.ddim_sample(net, x, steps, abar, 0.0, None)
    expect_like(still, x)
    same = torch.allclose(first.value.double(), still.double())
    expect(not same, "eta = 1 gives the same as eta = 0: no noise is added")


@lab.check("ddim_sample")
def draws_new_noise_in_each_step(answer: Answer, rng: torch.Generator) -> None:
    """With eta = 1 each step adds noise of its own: the variances add up, not the standard deviations."""
    T, x, one = integer(rng, 12, 25), torch.zeros(4000, 5, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    phi, abar = random_angles(rng, T)
    steps = [T - 1, 2 * T // 3, T // 2, T // 3, 0]
    net = answer.fixture("table_net", table=0 * phi)  # eps = 0, so that x/cos moves by the noise alone
    stds = [(posterior(phi, j, k, one, one)[1].sqrt() / phi[j].cos()).item() for k, j in pairwise(steps[:-1])]
    got = answer.ddim_sample(net, x, steps, abar, 1.0, seeded(rng))
    expect_like(got, x)
    z, reused = got.double() / math.hypot(*stds), sum(stds) ** 2 / sum(std**2 for std in stds)
    mistakes = {"one noise is used in all steps; draw it anew in each": reused, "no noise is added": 0.0}
    what = f"what noise adds along steps = {steps}, eta = 1, where the network says 0,"
    expect_standard(z, what, "each step to j > 0 adds fresh noise; the step to 0 adds none", mistakes)


# ---- reverse_sde_drift, probability_flow_drift


def expect_terms(call: Call, answer: Answer, rng: torch.Generator, share: float, others: str) -> None:
    """Fail unless a drift is -½ beta x - share·beta·score; others: the sentence for the other equation's share."""
    A, c, x = normal(rng, 3, 3), normal(rng, 3), normal(rng, 5, 3)
    low, high, t = number(rng, 0.2, 0.8), number(rng, 3.0, 6.0), number(rng, 0.2, 0.9)
    score = answer.fixture("affine_field", A=A, b=c, c=0.5)
    got = call(x, score, t, answer.fixture("linear_rate", low=low, high=high))
    s, b = share * (x @ A.T + (1 + 0.5 * t) * c), low + (high - low) * t
    want = -b * x / 2 - b * s
    mistakes = {
        "the sign is turned round: this is minus the drift; t runs from 1 to 0, and a step has dt < 0 already": -want,
        "the sign of the score's term is wrong": -b * x / 2 + b * s,
        "the score is not multiplied by beta": -b * x / 2 - s,
        "the 1/2 in front of beta x is missing": -b * x - b * s,
        "the 1/2 is missing": 2 * want,
        "the sign of -½ beta x is turned round": b * x / 2 - b * s,
        "this is the drift of the noising alone": -b * x / 2,
        others: -b * x / 2 - b * s * (1.5 - share) / share,
        "beta is squared in front of the score: g² is beta": -b * x / 2 - b**2 * s,
        "sqrt(beta) stands in front of the score: g² is beta": -b * x / 2 - b**0.5 * s,
    }
    term = "beta(t) score(x, t)" if share == 1 else "½ beta(t) score(x, t)"
    expect_close(got, want, rtol=1e-7, dtype=False, hint=recognise(got, mistakes, f"-½ beta(t) x - {term}"))


def expect_gaussian_kept(call: Call, answer: Answer, rng: torch.Generator, noise: float) -> None:
    """Fail unless a drift, beside noise of variance noise·beta, carries N(mean, var I) back as it was noised."""
    mean, var, low, high = normal(rng, 3), number(rng, 0.05, 0.5), number(rng, 0.1, 0.5), number(rng, 3.0, 8.0)
    x, t = normal(rng, 6, 3), number(rng, 0.2, 0.9)
    score = answer.fixture("vp_gaussian_score", mean=mean, var=var, low=low, high=high)
    got = call(x, score, t, answer.fixture("linear_rate", low=low, high=high))
    a2 = math.exp(-low * t - (high - low) * t**2 / 2)
    m, V, b = math.sqrt(a2) * mean, a2 * var + 1 - a2, low + (high - low) * t
    # A drift c (x - m) + d moves the mean by d and the variance by 2cV, to which noise adds -noise·beta, t running
    # back. They have to move by m' = -beta m/2 and V' = beta (1 - V).
    c = (b * (1 - V) + noise * b) / (2 * V)
    expect_close(got, c * (x - m) - b * m / 2, rtol=1e-7, dtype=False, hint=EARLIER)


def expect_time_per_sample(call: Call, answer: Answer, rng: torch.Generator, share: float) -> None:
    """Fail unless row i of a drift with this share of the score belongs to t[i]."""
    A, c, x, t = normal(rng, 2, 2), normal(rng, 2), normal(rng, 6, 2), uniform(rng, 0.1, 0.9, 6)
    score, beta = answer.fixture("affine_field", A=A, b=c, c=0.5), answer.fixture("linear_rate", low=0.3, high=5.0)
    want = -(0.3 + 4.7 * t)[:, None] * (x / 2 + share * (x @ A.T + (1 + 0.5 * t)[:, None] * c))
    expect_rows(call, (x, score, t, beta), 2, want, hint="beta(t) is (B,) too: give it the shape (B, 1, ..., 1)")


@lab.check("reverse_sde_drift")
def is_the_forward_drift_minus_beta_times_the_score(answer: Answer, rng: torch.Generator) -> None:
    """-½ beta(t) x - beta(t) score(x, t), each with its own sign."""
    others = "this is the drift of the probability flow; the reverse SDE has the whole score"
    expect_terms(answer.reverse_sde_drift, answer, rng, 1.0, others)


@lab.check("reverse_sde_drift")
def carries_a_gaussian_back(answer: Answer, rng: torch.Generator) -> None:
    """With the exact score of a Gaussian, steps back in time keep the mean and variance of the noising."""
    expect_gaussian_kept(answer.reverse_sde_drift, answer, rng, 1.0)


@lab.check("reverse_sde_drift")
def takes_a_time_per_sample(answer: Answer, rng: torch.Generator) -> None:
    """With t of shape (B,), row i belongs to its own time t[i]."""
    expect_time_per_sample(answer.reverse_sde_drift, answer, rng, 1.0)


@lab.check("probability_flow_drift")
def has_half_of_the_score(answer: Answer, rng: torch.Generator) -> None:
    """-½ beta(t) (x + score(x, t)): half of the score, where the reverse SDE has all of it."""
    others = "this is the drift of the reverse SDE; the flow has half of the score"
    expect_terms(answer.probability_flow_drift, answer, rng, 0.5, others)


@lab.check("probability_flow_drift")
def moves_points_as_their_gaussian_moves(answer: Answer, rng: torch.Generator) -> None:
    """With the exact score of a Gaussian, a point keeps its place in it: so many deviations from the mean."""
    expect_gaussian_kept(answer.probability_flow_drift, answer, rng, 0.0)


@lab.check("probability_flow_drift")
def takes_a_time_for_each_sample(answer: Answer, rng: torch.Generator) -> None:
    """With t of shape (B,), row i belongs to its own time t[i]."""
    expect_time_per_sample(answer.probability_flow_drift, answer, rng, 0.5)
