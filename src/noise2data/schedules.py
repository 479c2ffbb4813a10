"""Discrete noise schedules: the numbers abar[0..T] of DDPM.

A schedule is a float64 tensor ``abar`` of length T + 1: abar[0] = 1 is the clean data, abar[T] is near 0, and the
state after k noisy steps is

    x_k = sqrt(abar[k]) x0 + sqrt(1 - abar[k]) eps,        eps ~ N(0, I).                          (1)

``betas`` has length T, and betas[i] takes step i to i + 1. ``paths.Discrete`` makes a path of a schedule, known at the
times t = k / T.

Derived in the book: chapter 4, equations (4.2) to (4.6), and (4.15) for the last step.
"""

import math

import torch


def check_schedule(abar: torch.Tensor) -> torch.Tensor:
    """abar as a tensor; ValueError unless it is 1-D, of length T + 1 >= 2, in [0, 1], and starts with 1."""
    abar = torch.as_tensor(abar)
    if abar.ndim != 1 or len(abar) < 2 or not abar.is_floating_point():
        raise ValueError(f"abar has shape {tuple(abar.shape)} and {abar.dtype}; expected T + 1 >= 2 floats")
    if abar[0] != 1 or not bool(((abar >= 0) & (abar <= 1)).all()):
        raise ValueError(
            f"abar runs from {abar[0].item():g} to {abar[-1].item():g}; "
            "expected values in [0, 1] that start with abar[0] = 1 (the clean data)"
        )
    return abar


def _steps(T: int) -> int:
    if not isinstance(T, int) or T < 1:
        raise ValueError(f"T is {T!r}; expected a whole number of steps >= 1")
    return T


def _alpha_bar(betas: torch.Tensor) -> torch.Tensor:
    return torch.cat([torch.ones(1, dtype=torch.float64), torch.cumprod(1 - betas, 0)])


def linear_alpha_bar(T: int, beta_start: float = 1e-4, beta_end: float = 0.02) -> torch.Tensor:
    """abar of T equally spaced betas, both ends included: (T + 1,) float64, abar[0] = 1.

    The betas are those of T = 1000 and are not rescaled with T: a short schedule ends far from noise.
    Raises ValueError unless T >= 1 and 0 < beta < 1 at both ends.
    Source: Ho, Jain and Abbeel, "Denoising Diffusion Probabilistic Models", 2020, section 4.
    """
    for name, beta in (("beta_start", beta_start), ("beta_end", beta_end)):
        if not 0 < beta < 1:
            raise ValueError(f"{name} is {beta}; expected a number between 0 and 1")
    return _alpha_bar(torch.linspace(beta_start, beta_end, _steps(T), dtype=torch.float64))


def cosine_alpha_bar(T: int, s: float = 0.008, max_beta: float = 0.999) -> torch.Tensor:
    """abar of beta_k = min(1 - f(k) / f(k - 1), max_beta), f(k) = cos^2((k/T + s) / (1 + s) * pi/2): (T + 1,)
    float64.

    Without the clip the last beta would be 1 and abar[T] exactly 0.
    Raises ValueError unless T >= 1, s >= 0 and 0 < max_beta <= 1.
    Source: Nichol and Dhariwal, "Improved Denoising Diffusion Probabilistic Models", 2021, equation (17).
    """
    if not s >= 0:
        raise ValueError(f"s is {s}; expected a number >= 0")
    if not 0 < max_beta <= 1:
        raise ValueError(f"max_beta is {max_beta}; expected a number in (0, 1]")
    k = torch.arange(_steps(T) + 1, dtype=torch.float64)
    f = torch.cos((k / T + s) / (1 + s) * math.pi / 2) ** 2
    return _alpha_bar((1 - f[1:] / f[:-1]).clamp(max=max_beta))


def betas_from_alpha_bar(abar: torch.Tensor) -> torch.Tensor:
    """beta_k = 1 - abar[k] / abar[k - 1], k = 1..T: (T,) in abar's dtype; betas[i] takes step i to i + 1.

    Raises ValueError if abar is no schedule, or is 0 before its last entry.
    """
    abar = check_schedule(abar)
    if bool((abar[:-1] == 0).any()):
        raise ValueError("abar is 0 before its last entry; the next beta would be 0 / 0")
    return 1 - abar[1:] / abar[:-1]


def rescale_zero_terminal_snr(abar: torch.Tensor) -> torch.Tensor:
    """Shift and stretch sqrt(abar) linearly so that abar[0] stays exactly 1 and abar[T] becomes exactly 0.

    abar: (T + 1,). Returns the same shape and dtype. Raises ValueError if abar is no schedule, or abar[T] =
    1.
    Source: Lin et al., "Common Diffusion Noise Schedules and Sample Steps are Flawed", 2024, algorithm 1. The
    paper, whose arrays start at the first noisy step, keeps that one (our entry 1); we keep the clean entry
    0.
    """
    root = check_schedule(abar).sqrt()
    if root[-1] == 1:
        raise ValueError("abar[-1] is 1; a schedule without noise cannot be rescaled")
    return ((root - root[-1]) / (1 - root[-1])) ** 2


def log_snr_of(abar: torch.Tensor) -> torch.Tensor:
    """log(abar / (1 - abar)), natural and not halved: abar's shape and dtype, +inf at step 0, -inf where abar
    = 0.

    Raises ValueError if abar is no schedule.
    """
    return torch.logit(check_schedule(abar))
