"""Draws of students' functions, compared in distribution.

Every statistic is allowed six standard errors, so that a right answer fails by accident less than once in a
million runs.
"""

from __future__ import annotations

import math

import torch

from labcheck import expect

SIX = 6.0  # standard errors: a right answer leaves them with probability 2e-9

RANDOM_FACTOR = (
    "a normal number was multiplied by a second random number: its variance may be right, its kurtosis is not. One "
    "fresh normal number for each entry and step is all the noise there is"
)
SHARED = "all samples of the batch get the same noise; draw a tensor of x's shape"


def expect_standard(
    z: torch.Tensor, what: str, hint: str = "", mistakes: dict[str, float] | None = None, of_mean: str | None = None
) -> None:
    """Fail unless numbers have mean 0 and variance 1.

    hint: shown where the variance is wrong, unless it is that of one of the mistakes, sentence -> variance.
    of_mean: shown where the mean is wrong; the same by default.
    """
    expect(z.isfinite().all(), f"{what} is not finite" + (f" — {hint}" if hint else ""))
    shared = z.ndim > 1 and z.abs().max() > 1e-6 and z.std(-2).max() < 1e-6
    expect(not shared, SHARED)
    n, mean = z.numel(), z.mean().item()
    variance = z.square().mean().item() - mean**2
    if abs(variance - 1) > SIX * math.sqrt(2 / n):
        for sentence, ratio in (mistakes or {}).items():
            if math.isclose(variance, ratio, rel_tol=SIX * math.sqrt(2 / n), abs_tol=1e-6):
                hint = sentence
        expect(
            False,
            f"{what} has {variance:.3g} times the variance that it should have" + (f" — {hint}" if hint else ""),
        )
    expect(
        abs(mean) < SIX / math.sqrt(n),
        f"{what} is off by {mean:.3g} standard deviations on average — {hint if of_mean is None else of_mean}",
    )


def expect_gaussian(z: torch.Tensor, what: str) -> None:
    """Fail unless numbers have the kurtosis and the distribution function of N(0, 1)."""
    z = z.flatten()
    kurtosis = (z**4).mean().item() / (z**2).mean().item() ** 2
    expect(
        abs(kurtosis - 3) < 0.5,  # twenty standard errors of 40,000 normal numbers
        f"{what} has kurtosis {kurtosis:.1f}; normal noise has 3 — "
        + (RANDOM_FACTOR if kurtosis > 3 else "the draws are not normal: torch.randn"),
    )
    ordered, n = z.sort().values, len(z)
    exact = 0.5 * (1 + torch.erf(ordered / math.sqrt(2)))
    gap = (exact - torch.arange(1, n + 1, dtype=torch.float64) / n).abs().max().item()
    # Kolmogorov and Smirnov: P(gap > 3.5 / sqrt(n)) < 5e-11
    expect(gap < 3.5 / math.sqrt(n) + 1 / n, f"{what} has kurtosis 3, but not the distribution N(0, 1)")


def expect_uncorrelated(a: torch.Tensor, b: torch.Tensor, message: str) -> None:
    """Fail if two lists of numbers are correlated."""
    a, b = a.flatten() - a.mean(), b.flatten() - b.mean()
    correlation = (a @ b / (a.norm() * b.norm()).clamp(min=1e-300)).item()
    expect(abs(correlation) < SIX / math.sqrt(len(a)), f"{message} (correlation {correlation:.2f})")
