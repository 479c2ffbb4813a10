"""What the checks of lab 14 compute by another route than the student's, and what several of them expect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from labcheck import expect, expect_type
from labcheck.answer import Answer
from noise2data.checks.arguments import normal, on_batch_axis, uniform
from noise2data.checks.expectations import expect_near, two
from noise2data.checks.hints import recognise

Function = Callable[[torch.Tensor, Any], torch.Tensor]

COLUMN = "give levels and times the shape (B, 1, ..., 1) before you multiply"


def expect_known(got: Any, want: torch.Tensor, mistakes: dict[str, torch.Tensor], otherwise: str) -> None:
    """Fail unless a value is the wanted one to five digits; a well-known mistake gets its sentence."""
    expect_near(got, want, hint=recognise(got, mistakes, otherwise))


def expect_calls(answer: Answer, handle: Any, name: str, want: int) -> None:
    """Fail unless a function that was passed in was called so often."""
    calls = answer.calls(handle)
    expect(calls == want, f"{name} is called {calls} times; expected {want}")


def affine(A: torch.Tensor, b: torch.Tensor, c: float = 0.0) -> Function:
    """What the fixture `affine_score` computes."""
    return lambda x, sigma: (1 + c * sigma) * (x @ A.T + b)


def sine(W: torch.Tensor, V: torch.Tensor) -> Function:
    """What the fixture `sine_field` computes with c = 1.5."""
    return lambda x, t: (1 + 1.5 * t) * (torch.sin(x @ W.T) @ V.T)


# ---- progressive_target


def three_times(rng: torch.Generator, *shape: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """t > s > u > 0, float64, s never half-way between the others."""
    u = uniform(rng, 0.05, 0.25, *shape)
    return u + uniform(rng, 0.45, 0.7, *shape), u + uniform(rng, 0.08, 0.18, *shape), u


def mean_rate(c: float, t: Any, s: Any, u: Any) -> Any:
    """The average of 1 + c·time over the two steps t → s → u, asked at their starts."""
    return 1 + c * (t * (s - t) + s * (u - s)) / (u - t)


# ---- consistency_coefficients


def triangle(sigma: Any, sigma_data: float, sigma_min: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The pair by angles, float64: cos² of the one that sigma - sigma_min and sigma_data make, and sigma - sigma_min
    times the cosine of that of sigma and sigma_data."""
    sigma, data = torch.as_tensor(sigma, dtype=torch.float64), torch.tensor(sigma_data, dtype=torch.float64)
    c_skip: torch.Tensor = torch.atan2(sigma - sigma_min, data).cos() ** 2
    return c_skip, (sigma - sigma_min) * torch.atan2(sigma, data).cos()


def coefficients(value: Any) -> tuple[Any, Any]:
    """The student's pair, or a message that says what came instead."""
    pair = two(value, "(c_skip, c_out)")
    for got, name in zip(pair, ("c_skip", "c_out"), strict=True):
        expect_type(got, (float, int, torch.Tensor), name)
    return pair


# ---- consistency_distillation_loss


def two_levels(rng: torch.Generator, *shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    """sigma_hi > sigma_lo > 0, float64."""
    low = uniform(rng, 0.2, 0.8, *shape)
    return low + uniform(rng, 0.5, 1.5, *shape), low


def points(rng: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, float, float]:
    """x0 and eps, (5, 3), and two levels, a number each."""
    hi, lo = two_levels(rng)
    return normal(rng, 5, 3), normal(rng, 5, 3), hi.item(), lo.item()


def pair_on_a_line(
    D: Function, x0: torch.Tensor, eps: torch.Tensor, high: Any, low: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """x at sigma_hi, and at sigma_lo: on the straight line from the denoiser's answer D(x, sigma_hi) through x."""
    x = x0 + high * eps
    return x, torch.lerp(D(x, high), x, (low / high) * torch.ones_like(x))


def mean_square(difference: torch.Tensor) -> torch.Tensor:
    """Over all elements."""
    return difference.square().mean()


# ---- pseudo_huber


def away(rng: torch.Generator, length: Any, *shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    """a and b of which each sample differs by so much in all its entries together."""
    way = normal(rng, *shape)
    way = way / on_batch_axis(way.flatten(1).norm(dim=1), way)
    b = normal(rng, *shape)
    return b + on_batch_axis(torch.as_tensor(length, dtype=torch.float64), b) * way, b


# ---- ict_discretization


def span_of(K: int, s0: int, s1: int) -> int:
    """K', the largest m with m (log2(floor(s1/s0)) + 1) <= K: in whole numbers, (2 floor(s1/s0))^m <= 2^K."""
    base, low, high = 2 * (s1 // s0), 1, K
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if base**middle <= 2**K else (low, middle - 1)
    return low


def levels_at(k: int, K: int, s0: int, s1: int) -> int:
    """The number of levels at step k: doubled once for every K' steps that are over, while that is less than s1."""
    levels, over = s0, k // span_of(K, s0, s1)
    while over and levels < s1:
        levels, over = 2 * levels, over - 1
    return min(levels, s1) + 1


def expect_levels(answer: Answer, k: int, K: int, s0: int, s1: int, hint: str = "") -> None:
    """Fail unless the number of levels is right, an int."""
    got, want, span = answer.ict_discretization(k, K, s0, s1), levels_at(k, K, s0, s1), span_of(K, s0, s1)
    what = f"ict_discretization({k}, {K}, {s0}, {s1})"
    expect_type(got, (int, float, torch.Tensor), what)
    expect(not isinstance(got, torch.Tensor) or got.numel() == 1, f"{what} is a tensor; expected an int")
    value, hint = float(got), hint or f"K' is {span}"
    if value == want - 1:
        hint = "s levels of which each has a neighbour are s + 1 levels: add 1 to the smaller of the two"
    expect(value == want, f"{what} is {value:g}; expected {want} — {hint}")
    expect_type(got, int, what)


# ---- consistency_sample


def falling(rng: torch.Generator, n: int) -> torch.Tensor:
    """n levels that fall, the last above 0: (n,) float64."""
    return uniform(rng, 0.4, 0.9, n).cumsum(0).flip(0)


def expect_like(got: Any, x: torch.Tensor) -> None:
    """Fail unless a result is a tensor of x's shape."""
    expect_type(got, torch.Tensor)
    expect(got.shape == x.shape, f"the result has shape {tuple(got.shape)}; expected {tuple(x.shape)}")
