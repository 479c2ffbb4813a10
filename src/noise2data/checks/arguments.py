"""Random arguments for students' functions, all drawn from the generator that a check is given."""

from __future__ import annotations

import itertools
import math

import torch


def integer(rng: torch.Generator, low: int, high: int) -> int:
    """A random integer in low..high, both included."""
    return int(torch.randint(low, high + 1, (), generator=rng))


def number(rng: torch.Generator, low: float, high: float) -> float:
    """One Python number in [low, high)."""
    return uniform(rng, low, high).item()


def uniform(rng: torch.Generator, low: float, high: float, *shape: int) -> torch.Tensor:
    """Uniform float64 draws in [low, high)."""
    return low + (high - low) * torch.rand(shape, generator=rng, dtype=torch.float64)


def normal(rng: torch.Generator, *shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Standard normal draws; the same numbers in every dtype, but for rounding."""
    return torch.randn(shape, generator=rng, dtype=torch.float64).to(dtype)


def uneven_grid(rng: torch.Generator, start: float, end: float, n: int) -> torch.Tensor:
    """n + 1 times from start to end, (n+1,) float64: intervals differ by up to a factor of three."""
    widths = uniform(rng, 0.5, 1.5, n)
    inner = torch.cumsum(widths, 0) / widths.sum()
    return start + (end - start) * torch.cat([torch.zeros(1, dtype=torch.float64), inner])


def abar_of(betas: torch.Tensor) -> torch.Tensor:
    """The schedule with these betas, (T,) → (T+1,) float64, as a sum of logarithms."""
    logs = torch.log1p(-betas.double()).cumsum(0)
    return torch.cat([torch.ones(1, dtype=torch.float64), logs.exp()])


def random_schedule(
    rng: torch.Generator, T: int, low: float = 0.02, high: float = 0.3
) -> tuple[torch.Tensor, torch.Tensor]:
    """Random betas (T,) and their alpha-bar (T+1,), both float64."""
    betas = uniform(rng, low, high, T)
    return betas, abar_of(betas)


def random_angles(rng: torch.Generator, T: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Angles 0 = phi_0 < ... < phi_T < pi/2 and abar = cos²(phi): then sqrt(1 - abar) is sin(phi)."""
    steps = uniform(rng, 0.5, 1.5, T).cumsum(0)
    phi = torch.cat([torch.zeros(1, dtype=torch.float64), steps / steps[-1] * 0.95 * math.pi / 2])
    return phi, phi.cos() ** 2


def distinct_levels(rng: torch.Generator, T: int, n: int, first: int = 1) -> torch.Tensor:
    """n different levels of first..T in random order, (n,) int64."""
    return first + torch.randperm(T + 1 - first, generator=rng)[:n]


def on_batch_axis(values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """(B,) values as (B, 1, ..., 1), to stand beside x."""
    return values.reshape(-1, *[1] * (x.ndim - 1))


def signs(d: int) -> torch.Tensor:
    """All vectors of d signs, (2^d, d) float64: their mean is 0 and their covariance the identity, exactly."""
    return torch.tensor(list(itertools.product([-1.0, 1.0], repeat=d)), dtype=torch.float64)


def seeded(rng: torch.Generator) -> torch.Generator:
    """A generator for the student's draws, with a seed of its own."""
    return torch.Generator().manual_seed(integer(rng, 0, 2**31 - 1))
