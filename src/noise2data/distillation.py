"""Distillation: students that take in one step what their teacher takes in many.

The losses are those of objectives.py, (student(x_t, t) - target)^2 with a weight, and only the target is new. Let
line(x, x0_hat, t, s) be the samplers' step from t to s. Then the target is

    progressive     the x0_hat with which one line from t to u ends where the teacher's two, by way of s, end;
    consistency     what the student itself says at s < t, at the point line(x_t, x0_hat, t, s): along a trajectory of
                    the probability flow all points are to have the same answer, its end. x0_hat is the teacher's
                    (distillation), or x0 itself (training without a teacher).

Derived in the book: chapter 14, equations (14.4) to (14.6), (14.9), (14.10), (14.12), (14.15) and (14.16).

Sources: Salimans and Ho, "Progressive Distillation for Fast Sampling of Diffusion Models", 2022; Song et al.,
"Consistency Models", 2023; Song and Dhariwal, "Improved Techniques for Training Consistency Models" (iCT), 2023.
"""

import math
from collections.abc import Callable

import torch

from noise2data.objectives import OnPath, Weight, truncated_snr_weight, weighted_loss
from noise2data.paths import Path, Time, per_sample, seen, wide
from noise2data.samplers import line

Distance = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


# Two steps as one -------------------------------------------------------------------------------------------


@torch.no_grad()
def progressive_target(
    teacher: Callable[[torch.Tensor, Time], torch.Tensor], path: Path, x: torch.Tensor, t: Time, s: Time, u: Time
) -> torch.Tensor:
    """The x0_hat with which one DDIM step from t to u ends where the teacher's two, t to s to u, end.

    teacher: denoise(x, t). x: (B, ...) at time t. t > s > u: numbers, 0-d or (B,) tensors. Like x, without a graph.
    As a velocity on the straight path it is the average (x_u - x) / (u - t).
    Raises ValueError unless t > s > u.
    Source: Salimans and Ho, 2022, algorithm 2.
    """
    t, s, u = wide(t), wide(s), wide(u)
    if seen((t <= s) | (s <= u)):
        raise ValueError(f"t, s, u are {t.tolist()}, {s.tolist()}, {u.tolist()}; expected t > s > u")
    x_s = line(path, x, teacher(x, t), t, s)
    return one_line(path, x, line(path, x_s, teacher(x_s, s), s, u), t, u)


def one_line(path: Path, x: torch.Tensor, x_u: torch.Tensor, t: Time, u: Time) -> torch.Tensor:
    """The x0_hat with which one DDIM step from x at time t ends in x_u at time u < t. Like x."""
    t, u = wide(t), wide(u)
    ratio = path.sigma(u) / path.sigma(t)
    return (x_u - per_sample(ratio, x) * x) / per_sample(path.alpha(u) - ratio * path.alpha(t), x)


def progressive_distillation_loss(
    student: OnPath,
    x0: torch.Tensor,
    t: Time,
    eps: torch.Tensor,
    y: torch.Tensor | None = None,
    *,
    teacher: Callable[..., torch.Tensor],
    s: Time,
    u: Time,
    weight: Weight = truncated_snr_weight,
) -> torch.Tensor:
    """`denoising_loss` with `progressive_target` in place of x0: the student learns two of the teacher's steps as one.

    teacher: called as the student is, with (x, t, y); it gets no gradient. t > s > u: numbers, 0-d or (B,) tensors.
    Source: Salimans and Ho, 2022, algorithm 2.
    """
    x = student.path.mix(x0, eps, t)
    target = progressive_target(lambda x, t: teacher(x, t, y), student.path, x, t, s, u)
    return weighted_loss(student, x, t, y, target, weight)


# Consistency ------------------------------------------------------------------------------------------------


def squared_error(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The mean squared difference of each sample: (B,)."""
    return ((a - b) ** 2).flatten(1).mean(1)


def pseudo_huber(a: torch.Tensor, b: torch.Tensor, c: float) -> torch.Tensor:
    """sqrt(||a - b||^2 + c^2) - c of each sample, the norm over all axes but the batch: (B,).

    c: > 0; a squared error for differences much smaller than c, an absolute one for larger. Song and Dhariwal take
    0.00054 sqrt(d) for d elements a sample. Raises ValueError for other c and for shapes that differ.
    Source: Song and Dhariwal, "Improved Techniques for Training Consistency Models" (iCT), 2023, section 3.3.
    """
    if a.shape != b.shape:
        raise ValueError(f"a has shape {tuple(a.shape)}; expected b's, {tuple(b.shape)}")
    if not c > 0:
        raise ValueError(f"c is {c}; expected a number > 0")
    square = ((a - b) ** 2).flatten(1).sum(1)
    return square / (torch.sqrt(square + c**2) + c)  # the same without cancellation


def consistency_distillation_loss(
    f: OnPath,
    x0: torch.Tensor,
    t: Time,
    eps: torch.Tensor,
    y: torch.Tensor | None = None,
    *,
    f_ema: Callable[..., torch.Tensor],
    teacher: Callable[..., torch.Tensor],
    s: Time,
    distance: Distance = squared_error,
    weight: Time = 1.0,
) -> torch.Tensor:
    """What f says at time t is to be what it says at s < t, one DDIM step of the teacher nearer to the data. 0-d.

    f: the student, a Denoiser with predicts = "consistency". f_ema: its slow copy, the target; f_ema and teacher get no
    gradient. s: a number, 0-d or (B,) tensor. distance: two batches to (B,), `squared_error` or a `pseudo_huber` with
    its c bound. weight: a number or one for each sample. Else as `denoising_loss`. Raises ValueError unless s < t.
    Source: Song et al., "Consistency Models", 2023, algorithm 2; with Euler's rule on EDM's path, which is DDIM.
    """
    path, x = f.path, f.path.mix(x0, eps, t)
    if seen(wide(s) >= wide(t)):
        raise ValueError(f"s is {wide(s).tolist()} and t is {wide(t).tolist()}; expected s < t, nearer to the data")
    with torch.no_grad():
        goal = f_ema(line(path, x, teacher(x, t, y), t, s), s, y)
    each = distance(f(x, t, y), goal)
    if torch.as_tensor(weight).shape not in ((), each.shape):
        raise ValueError(f"weight is {weight}; expected a number or one for each of the {len(x)} samples of x0")
    return (per_sample(weight, each) * each).mean()


def consistency_training_loss(
    f: OnPath,
    x0: torch.Tensor,
    t: Time,
    eps: torch.Tensor,
    y: torch.Tensor | None = None,
    *,
    f_ema: Callable[..., torch.Tensor],
    s: Time,
    distance: Distance = squared_error,
    weight: Time = 1.0,
) -> torch.Tensor:
    """The same without a teacher: x0 itself, of which E[x0 | x_t] is the mean, stands in, and x_s = mix(x0, eps, s).

    iCT takes f itself for f_ema, pseudo_huber, and weight = 1 / (sigma_t - sigma_s).
    Source: Song et al., 2023, algorithm 3.
    """
    return consistency_distillation_loss(
        f, x0, t, eps, y, f_ema=f_ema, teacher=lambda x, t, y: x0, s=s, distance=distance, weight=weight
    )


def ict_discretization(k: int, K: int, s0: int, s1: int) -> int:
    """How many noise levels to use at training step k of K: it doubles from s0 + 1 until s1 + 1.

    min(s0 * 2^floor(k / K'), s1) + 1, with K' = floor(K / (log2(floor(s1 / s0)) + 1)).
    Raises ValueError unless 0 <= k < K, 1 <= s0 <= s1 and K' >= 1.
    Source: Song and Dhariwal, 2023, section 3.4; s0 = 10 and s1 = 1280 there.
    """
    if not 0 <= k < K:
        raise ValueError(f"k is {k}; expected a step in 0..{K - 1}")
    if not 1 <= s0 <= s1:
        raise ValueError(f"s0, s1 are {s0}, {s1}; expected 1 <= s0 <= s1")
    span = math.floor(K / (math.log2(s1 // s0) + 1))
    if span < 1:
        raise ValueError(f"K is {K}; expected at least a step for each of the doublings from s0 to s1")
    return int(min(s0 * 2 ** (k // span), s1)) + 1
