"""The visible checks of lab 4, noise schedules.

Wanted values come by another route than the student's: schedules from random betas or from random
log-SNRs, coefficients from angles (abar = cos² of an angle), products from sums of logarithms.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch

from labcheck import Battery, expect, expect_close, expect_type
from labcheck.answer import Answer
from noise2data.checks.arguments import (
    abar_of,
    distinct_levels,
    integer,
    normal,
    random_angles,
    random_schedule,
    uniform,
)
from noise2data.checks.expectations import expect_rows, with_rows
from noise2data.checks.hints import CAST_LAST, advice, differs_little, recognise

lab = Battery(
    "lab04_schedules",
    fixtures="noise2data.checks.fixtures",
    forbidden=["noise2data.schedules", "noise2data.paths"],
)


def linear_betas(T: int, beta_start: float, beta_end: float) -> torch.Tensor:
    """T equally spaced numbers, written as a weighted mean of the two ends."""
    w = torch.arange(T, dtype=torch.float64) / max(T - 1, 1)
    return (1 - w) * beta_start + w * beta_end


def cosine_by_definition(T: int, s: float, max_beta: float) -> torch.Tensor:
    """Nichol & Dhariwal (2021), equation (17), step after step in Python floats.

    The cosine is written as the sine of the angle that is left to pi/2, which is exact near k = T too.
    """
    f = [math.sin(math.pi / 2 * (1 - k / T) / (1 + s)) ** 2 for k in range(T + 1)]
    abar = [1.0]
    for k in range(1, T + 1):
        abar.append(abar[-1] * max(f[k] / f[k - 1], 1 - max_beta))
    return torch.tensor(abar, dtype=torch.float64)


def expect_schedule(abar: Any, T: int) -> None:
    """Fail unless a value is a (T+1,) float64 tensor that begins with exactly 1."""
    expect_type(abar, torch.Tensor)
    shape = tuple(abar.shape)
    hint = " — abar[0] = 1, the clean picture, belongs to it" if shape == (T,) else ""
    expect(shape == (T + 1,), f"the result has shape {shape}; expected {(T + 1,)}{hint}")
    expect(abar.dtype == torch.float64, f"the result has dtype {str(abar.dtype)[6:]}; a schedule is made in float64")
    expect(abar[0] == 1, f"abar[0] is {abar[0].item():.6g}; level 0 is clean, so it is exactly 1")
    expect(((abar > 0) & (abar <= 1)).all(), "every entry lies between 0 and 1")
    expect((abar.diff() < 0).all(), "abar falls from each level to the next")


# ---- linear_alpha_bar


@lab.check("linear_alpha_bar")
def is_a_schedule(answer: Answer, rng: torch.Generator) -> None:
    """T + 1 falling numbers in float64, the first exactly 1."""
    T = integer(rng, 5, 400)
    expect_schedule(answer.linear_alpha_bar(T), T)


@lab.check("linear_alpha_bar")
def is_the_schedule_of_ddpm(answer: Answer, rng: torch.Generator) -> None:
    """With the default betas and T = 1000 it is the schedule of Ho et al. (2020), down to abar[1000] = 4.04e-5."""
    want = abar_of(linear_betas(1000, 1e-4, 0.02))
    got = answer.linear_alpha_bar(1000)
    hint = recognise(
        got,
        {"these are the betas; asked for is the cumulative product of 1 - beta": linear_betas(1000, 1e-4, 0.02),
         "abar[0] = 1, the clean picture, is missing": want[1:],
         "this is sqrt(abar); abar itself is asked for": want.sqrt()},
        "abar[k] is the product of the first k factors 1 - beta",
    )  # fmt: skip
    expect_close(got, want, rtol=1e-4, atol=1e-9, dtype=False, hint=hint)


@lab.check("linear_alpha_bar")
def has_equally_spaced_betas(answer: Answer, rng: torch.Generator) -> None:
    """The T betas are equally spaced from beta_start to beta_end, both included."""
    T = integer(rng, 4, 60)
    start, end = uniform(rng, 0.001, 0.05).item(), uniform(rng, 0.1, 0.4).item()
    want = abar_of(linear_betas(T, start, end))
    got = answer.linear_alpha_bar(T, beta_start=start, beta_end=end)
    open_end = torch.arange(T, dtype=torch.float64) / T * (end - start) + start
    hint = recognise(
        got,
        {"the last beta is not beta_end: both ends are included": abar_of(open_end),
         "the first step's beta is beta_start": abar_of(open_end + (end - start) / T),
         "the square roots of the betas are equally spaced here, not the betas":
             abar_of(linear_betas(T, start**0.5, end**0.5) ** 2)},
        "beta_start, ..., beta_end are T numbers",
    )  # fmt: skip
    expect_close(got, want, rtol=1e-4, atol=1e-9, dtype=False, hint=hint)


# ---- cosine_alpha_bar


@lab.check("cosine_alpha_bar")
def is_a_cosine_schedule(answer: Answer, rng: torch.Generator) -> None:
    """T + 1 falling numbers in float64, the first exactly 1, the last above 0."""
    T = integer(rng, 5, 400)
    expect_schedule(answer.cosine_alpha_bar(T), T)


@lab.check("cosine_alpha_bar")
def follows_the_squared_cosine(answer: Answer, rng: torch.Generator) -> None:
    """Before the last step abar[k] is f(k)/f(0), with f the squared cosine and s = 0.008."""
    T = integer(rng, 200, 1000)
    want = cosine_by_definition(T, 0.008, 0.999)
    got = answer.cosine_alpha_bar(T)
    expect_type(got, torch.Tensor)
    hint = recognise(
        got,
        {"the offset s is missing": cosine_by_definition(T, 0.0, 0.999),
         "the cosine is not squared": want.sqrt(),
         "abar[0] = 1, the clean picture, is missing": want[1:]},
        "f(k) = cos²(((k/T + s)/(1 + s))·pi/2)",
    )  # fmt: skip
    expect_close(got[:-1], want[:-1], rtol=2e-3, atol=1e-8, dtype=False, what="abar[:-1]", hint=hint)


@lab.check("cosine_alpha_bar")
def clips_the_last_beta(answer: Answer, rng: torch.Generator) -> None:
    """The last beta is 0.999 and not 1: abar[T] = abar[T-1]/1000 stays above 0."""
    T = integer(rng, 50, 1000)
    got = answer.cosine_alpha_bar(T)
    expect_schedule(got, T)
    beta = 1 - (got[-1] / got[-2]).item()
    hint = advice("each beta is at most max_beta", beta > 0.999)
    expect_close(beta, 0.999, rtol=1e-6, what="the last beta", hint=hint)


# ---- betas_from_alpha_bar


@lab.check("betas_from_alpha_bar")
def has_one_beta_per_step(answer: Answer, rng: torch.Generator) -> None:
    """T + 1 levels have T steps between them; each beta lies between 0 and 1."""
    T = integer(rng, 3, 50)
    _, abar = random_schedule(rng, T)
    got = answer.betas_from_alpha_bar(abar)
    expect_type(got, torch.Tensor)
    expect(tuple(got.shape) == (T,), f"the result has shape {tuple(got.shape)}; expected {(T,)}: one beta per step")
    expect(((got > 0) & (got < 1)).all(), "each beta of a falling schedule lies between 0 and 1")


@lab.check("betas_from_alpha_bar")
def gives_back_the_betas(answer: Answer, rng: torch.Generator) -> None:
    """The betas that a schedule was made of come back, betas[i] being the step from level i to i + 1."""
    betas, abar = random_schedule(rng, integer(rng, 3, 50))
    got = answer.betas_from_alpha_bar(abar)
    hint = recognise(
        got,
        {"these are the factors 1 - beta": 1 - betas,
         "this is 1 - abar: the whole way from level 0, not one step": 1 - abar[1:],
         "this is the difference of two abar: divide by the one before the step": -abar.diff()},
        "abar[i+1] = abar[i]·(1 - betas[i])",
    )  # fmt: skip
    expect_close(got, betas, rtol=1e-6, dtype=False, hint=hint)


@lab.check("betas_from_alpha_bar")
def ends_in_one_at_zero_snr(answer: Answer, rng: torch.Generator) -> None:
    """Where abar ends in 0 the last beta is exactly 1."""
    betas, abar = random_schedule(rng, integer(rng, 3, 20))
    abar[-1] = 0
    got = answer.betas_from_alpha_bar(abar)
    expect_close(got[:-1], betas[:-1], rtol=1e-6, dtype=False, what="a beta before the last")
    expect(got[-1] == 1, f"the last beta is {got[-1].item():.12g}; the step to abar = 0 keeps nothing, so it is 1")


# ---- q_step


def _step_mistakes(
    betas: torch.Tensor, abar: torch.Tensor, k: int, x: torch.Tensor, noise: torch.Tensor
) -> dict[str, torch.Tensor]:
    b, keep = betas[k - 1], abar[k]
    return {
        "the noise is multiplied by the variance; its factor is a standard deviation":
            (1 - b).sqrt() * x + b * noise,
        "x is multiplied by 1 - beta; its factor is the square root": (1 - b) * x + b.sqrt() * noise,
        "this uses abar[k], the whole way from x_0; one step uses abar[k]/abar[k-1]":
            keep.sqrt() * x + (1 - keep).sqrt() * noise,
    }  # fmt: skip


@lab.check("q_step")
def is_one_step_of_the_chain(answer: Answer, rng: torch.Generator) -> None:
    """One step shrinks x by sqrt(1 - beta) and adds noise of variance beta: the first, a middle and the last step."""
    T = integer(rng, 6, 30)
    betas, abar = random_schedule(rng, T)
    x, noise = normal(rng, 5, 3), normal(rng, 5, 3)
    for k in (T // 2, 1, T):
        b = betas[k - 1]
        got = answer.q_step(x, k, noise, abar)
        want = (1 - b).sqrt() * x + b.sqrt() * noise
        hint = recognise(
            got, _step_mistakes(betas, abar, k, x, noise), "the step to level k goes from abar[k-1] to abar[k]"
        )
        hint = CAST_LAST if differs_little(got, want) else hint
        expect_close(got, want, rtol=1e-7, dtype=False, what=f"the step to k = {k} of {T}", hint=hint)


@lab.check("q_step")
def takes_a_level_per_sample(answer: Answer, rng: torch.Generator) -> None:
    """With k of shape (B,), row i takes the step to its own level k[i]."""
    betas, abar = random_schedule(rng, 20)
    x, noise, k = normal(rng, 6, 2), normal(rng, 6, 2), distinct_levels(rng, 20, 6)
    b = betas[k - 1][:, None]
    want = (1 - b).sqrt() * x + b.sqrt() * noise
    expect_rows(answer.q_step, (x, k, noise, abar), 1, want, hint="row i belongs to k[i]")


@lab.check("q_step")
def keeps_the_dtype_of_x(answer: Answer, rng: torch.Generator) -> None:
    """float32 in, float32 out, for a number and for a (B,) tensor k, although abar is float64."""
    betas, abar = random_schedule(rng, 10)
    x, noise = normal(rng, 4, 3, dtype=torch.float32), normal(rng, 4, 3, dtype=torch.float32)
    for k in (7, distinct_levels(rng, 10, 4)):
        b = betas[torch.as_tensor(k) - 1].reshape(-1, 1)
        want = ((1 - b).sqrt() * x + b.sqrt() * noise).float()
        call = answer.q_step if isinstance(k, int) else partial(with_rows, answer.q_step)
        got = call(x, k, noise, abar)
        expect_close(got, want, hint=advice(CAST_LAST, differs_little(got, want)))


# ---- q_sample


def _jump_mistakes(phi: torch.Tensor, k: int, x0: torch.Tensor, eps: torch.Tensor) -> dict[str, torch.Tensor]:
    cos, sin = phi[k].cos(), phi[k].sin()
    return {
        "the noise is multiplied by 1 - abar, the variance; its factor is a standard deviation":
            cos * x0 + sin**2 * eps,
        "x0 is multiplied by abar; its factor is the square root": cos**2 * x0 + sin * eps,
        "this is level k - 1: abar has T + 1 entries, and abar[k] belongs to level k":
            phi[k - 1].cos() * x0 + phi[k - 1].sin() * eps,
        "signal and noise are exchanged": sin * x0 + cos * eps,
    }  # fmt: skip


@lab.check("q_sample")
def jumps_to_level_k(answer: Answer, rng: torch.Generator) -> None:
    """From x0 straight to level k: the squares of the two factors sum to 1."""
    T = integer(rng, 6, 30)
    phi, abar = random_angles(rng, T)
    x0, eps = normal(rng, 5, 3), normal(rng, 5, 3)
    for k in (T // 2, 1, T):
        got = answer.q_sample(x0, k, eps, abar)
        want = phi[k].cos() * x0 + phi[k].sin() * eps
        hint = recognise(got, _jump_mistakes(phi, k, x0, eps), "the factors are sqrt(abar[k]) and sqrt(1 - abar[k])")
        hint = CAST_LAST if differs_little(got, want) else hint
        expect_close(got, want, rtol=1e-7, dtype=False, what=f"the sample at k = {k} of {T}", hint=hint)


@lab.check("q_sample")
def takes_a_level_per_sample_from_0(answer: Answer, rng: torch.Generator) -> None:
    """With k of shape (B,), row i goes to its own level k[i]; rows with k = 0 stay x0."""
    phi, abar = random_angles(rng, 20)
    x0, eps = normal(rng, 6, 2), normal(rng, 6, 2)
    k = torch.cat([torch.zeros(1, dtype=torch.int64), distinct_levels(rng, 20, 5)])
    want = phi[k].cos()[:, None] * x0 + phi[k].sin()[:, None] * eps
    ends = {0: "abar[0] is 1 and needs no guard"}
    expect_rows(answer.q_sample, (x0, k, eps, abar), 1, want, hint="row i belongs to k[i]", ends=ends)
    got = answer.q_sample(x0, k, eps, abar)
    expect(torch.equal(got[0].double(), x0[0]), "row 0 has k = 0: it should be x0 itself, without noise")


@lab.check("q_sample")
def keeps_the_dtype_of_x0(answer: Answer, rng: torch.Generator) -> None:
    """float32 in, float32 out, for a number and for a (B,) tensor k, although abar is float64."""
    phi, abar = random_angles(rng, 10)
    x0, eps = normal(rng, 4, 3, dtype=torch.float32), normal(rng, 4, 3, dtype=torch.float32)
    for k in (7, distinct_levels(rng, 10, 4)):
        angle = phi[torch.as_tensor(k)].reshape(-1, 1)
        want = (angle.cos() * x0 + angle.sin() * eps).float()
        call = answer.q_sample if isinstance(k, int) else partial(with_rows, answer.q_sample)
        got = call(x0, k, eps, abar)
        expect_close(got, want, hint=advice(CAST_LAST, differs_little(got, want)))


# ---- log_snr


@lab.check("log_snr")
def is_the_log_of_signal_over_noise(answer: Answer, rng: torch.Generator) -> None:
    """abar = sigmoid(l) has log-SNR l: natural logarithm, not halved."""
    l = uniform(rng, -9, 9, 40).sort(descending=True).values  # noqa: E741
    abar = torch.cat([torch.ones(1, dtype=torch.float64), torch.sigmoid(l)])
    got = answer.log_snr(abar)
    expect_type(got, torch.Tensor)
    expect(got.shape == abar.shape, f"the result has shape {tuple(got.shape)}; expected {tuple(abar.shape)}")
    hint = recognise(
        got[1:],
        {"this is half of it: SNR is the ratio of the variances, abar/(1 - abar)": l / 2,
         "this is the logarithm to base 10; the natural one is asked for": l / math.log(10),
         "this is the logarithm to base 2; the natural one is asked for": l / math.log(2),
         "the sign is turned round: signal goes above the line": -l,
         "this is the SNR; its logarithm is asked for": l.exp(),
         "this is log(abar); the noise is 1 - abar": torch.nn.functional.logsigmoid(l)},
        "log(abar/(1 - abar))",
    )  # fmt: skip
    expect_close(got[1:], l, rtol=1e-6, dtype=False, what="log_snr(abar)[1:]", hint=hint)


@lab.check("log_snr")
def is_infinite_at_level_0(answer: Answer, rng: torch.Generator) -> None:
    """Level 0 has no noise: its log-SNR is +inf, not a large number, not NaN."""
    _, abar = random_schedule(rng, integer(rng, 3, 20))
    got = answer.log_snr(abar)
    expect(got[0] == math.inf, f"entry 0 is {got[0].item():.6g}; there is no noise at level 0, so it is inf")
    expect(got[1:].isfinite().all(), "the entries after the first are finite while abar is above 0")
    expect((got.diff() < 0).all(), "log-SNR falls from each level to the next")


# ---- rescale_zero_terminal_snr


@lab.check("rescale_zero_terminal_snr")
def ends_at_exactly_zero(answer: Answer, rng: torch.Generator) -> None:
    """The last entry is exactly 0, and no other is."""
    for _ in range(20):
        _, abar = random_schedule(rng, integer(rng, 2, 20))
        got = answer.rescale_zero_terminal_snr(abar)
        expect_type(got, torch.Tensor)
        expect(got.shape == abar.shape, f"the result has shape {tuple(got.shape)}; expected {tuple(abar.shape)}")
        expect(got[-1] == 0, f"the last entry is {got[-1].item():.3g}; it should be exactly 0")
        expect((got[:-1] > 0).all(), "only the last entry is 0")


@lab.check("rescale_zero_terminal_snr")
def keeps_level_0_clean(answer: Answer, rng: torch.Generator) -> None:
    """Entry 0 stays exactly 1, to the last bit."""
    for _ in range(100):  # whether a·(1/a) misses 1 depends on a
        _, abar = random_schedule(rng, integer(rng, 2, 20))
        got = answer.rescale_zero_terminal_snr(abar)
        expect_type(got, torch.Tensor)
        expect(got.shape == abar.shape, f"the result has shape {tuple(got.shape)}; expected {tuple(abar.shape)}")
        off = got[0].item() - 1
        why = (
            ", through rounding, so its log-SNR is not inf: a/a is exactly 1, a·(1/a) may miss it"
            if abs(off) < 1e-6
            else ""
        )
        expect(off == 0, f"entry 0 misses 1 by {off:.2g}{why}")
        expect(got[-1] < abar[-1], "the last entry did not fall")


@lab.check("rescale_zero_terminal_snr")
def moves_the_square_root_linearly(answer: Answer, rng: torch.Generator) -> None:
    """sqrt(abar) is shifted and stretched by one linear map, and then squared again."""
    phi, abar = random_angles(rng, integer(rng, 4, 30))
    abar, root = abar[:-1], phi[:-1].cos()
    got = answer.rescale_zero_terminal_snr(abar)
    linear = (root - root[-1]) / (1 - root[-1])
    paper = (root - root[-1]) * root[1] / (root[1] - root[-1])
    hint = recognise(
        got,
        {"this maps abar itself; map its square root": (abar - abar[-1]) / (1 - abar[-1]),
         "this is the square root: square it": linear,
         "this keeps entry 1, as the paper does; here entry 0 is kept": paper**2},
        "which linear map takes sqrt(abar[0]) to 1 and sqrt(abar[T]) to 0?",
    )  # fmt: skip
    expect_close(got, linear**2, rtol=1e-6, atol=1e-9, dtype=False, hint=hint)
