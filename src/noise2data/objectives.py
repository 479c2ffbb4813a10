"""Training losses. There is one, and a weight decides from whose paper it is:

    loss = mean of weight(t) * (denoiser(x_t, t) - x0)^2,      x_t = alpha x0 + sigma eps.                       (1)

Given x_t, every prediction is an affine function of x0_hat, so that its squared error is that of x0_hat times a
function of t: if x0_hat is off by e, then eps is off by -alpha / sigma e, v by -(alpha^2 + sigma^2) / sigma e and the
velocity by (alpha' - alpha sigma' / sigma) e. With SNR = alpha^2 / sigma^2, equation (1) is

    weight                                                      the mean squared error of       in
    x0_weight             1                                     x0
    eps_weight            SNR                                   eps, or of sigma * score        DDPM, NCSN
    v_weight              (alpha^2 + sigma^2)^2 / sigma^2       v                               Salimans and Ho
    velocity_weight       (alpha' - alpha sigma' / sigma)^2     velocity                        flow matching
    edm_weight            SNR + 1 / sigma_data^2                the preconditioned network      EDM
    vlb_weight            -SNR' / 2                             (a bound on -log p)             VDM
    min_snr_weight        min(SNR, gamma)                       (eps, less near the data)       Hang et al.
    truncated_snr_weight  max(SNR, 1)                           (the worse of x0 and eps)       Salimans and Ho

The denoiser that minimises (1) is E[x0 | x_t] for any of them. They differ in what they make of the errors that remain.
A weight is a function (path, t) -> (B,), your own included; functools.partial binds its settings. What else there is to
choose is the times: uniform, stratified, logit-normal, or EDM's.

Derived in the book: chapter 3, equation (3.13); chapter 5, equations (5.10), (5.13) and (5.17).
Sources: Ho, Jain and Abbeel (DDPM), 2020; Song and Ermon (NCSN), 2019; Salimans and Ho, "Progressive Distillation",
2022; Lipman et al., "Flow Matching", 2023; Karras et al. (EDM), 2022; Kingma et al., "Variational Diffusion Models"
(VDM), 2021; Hang et al., "Efficient Diffusion Training via Min-SNR Weighting Strategy", 2023.
"""

import math
from collections.abc import Callable
from typing import Protocol

import torch

from noise2data.paths import Path, Time, per_sample, seen, wide

Weight = Callable[[Path, torch.Tensor], torch.Tensor]


class OnPath(Protocol):
    """What a loss asks of a denoiser: its path, and x0_hat = denoiser(x, t, y)."""

    @property
    def path(self) -> Path: ...

    def __call__(self, x: torch.Tensor, t: Time, y: torch.Tensor | None = None, /) -> torch.Tensor: ...


# Weights: functions of (path, t) that answer in t's shape ---------------------------------------------------


def x0_weight(path: Path, t: torch.Tensor) -> torch.Tensor:
    """1: the error of x0 as it is."""
    return torch.ones_like(t)


def eps_weight(path: Path, t: torch.Tensor) -> torch.Tensor:
    """SNR: the squared error of eps, which is that of the score times sigma^2. Infinite where sigma = 0.

    Sources: Ho et al., 2020, equation (14), "simple" loss; Song and Ermon, "Generative Modeling by Estimating Gradients
    of the Data Distribution", 2019, equation (6), with lambda = sigma^2.
    """
    return path.log_snr(t).exp()


def v_weight(path: Path, t: torch.Tensor) -> torch.Tensor:
    """(alpha^2 + sigma^2)^2 / sigma^2: the squared error of v; SNR + 1 on a variance-preserving path.

    Infinite where sigma = 0. Source: Salimans and Ho, 2022, section 4 ("SNR + 1 weighting").
    """
    variance = path.sigma(t) ** 2
    return (path.alpha(t) ** 2 + variance) ** 2 / variance


def velocity_weight(path: Path, t: torch.Tensor) -> torch.Tensor:
    """(alpha' - alpha sigma' / sigma)^2: the squared error of the velocity; 1 / t^2 on the straight path.

    Not finite where sigma = 0. Source: Lipman et al., 2023, equation (9) (conditional flow matching).
    """
    return (path.dalpha(t) - path.alpha(t) * path.dvariance(t) / (2 * path.sigma(t) ** 2)) ** 2


def edm_weight(path: Path, t: torch.Tensor, sigma_data: float = 0.5) -> torch.Tensor:
    """SNR + 1 / sigma_data^2: the squared error of the network in an "edm" denoiser. Infinite where sigma = 0.

    EDM writes (sigma^2 + sigma_data^2) / (sigma sigma_data)^2, with sigma / alpha for sigma.
    Raises ValueError unless sigma_data > 0. Source: Karras et al., 2022, equation (8) and table 1.
    """
    if not 0 < sigma_data < math.inf:
        raise ValueError(f"sigma_data is {sigma_data}; expected a number > 0")
    return eps_weight(path, t) + 1 / sigma_data**2


def vlb_weight(path: Path, t: torch.Tensor, T: int | None = None) -> torch.Tensor:
    """The weight of the variational bound: (1) times the number of elements of x0, in expectation over t, is its
    diffusion part in nats.

    In continuous time, t uniform on (0, 1): -SNR'(t) / 2, which is also Song et al.'s likelihood weighting lambda = g^2
    of the score. In T steps, t = k / T with k uniform on 1..T: T / 2 (SNR(t - 1 / T) - SNR(t)), of which the first is
    infinite where sigma(0) = 0 (DDPM's bound has another term there).
    Raises ValueError unless T >= 1.
    Source: Kingma et al., 2021, section 4 for T steps and section 5 for the limit.
    """
    if T is None:
        alpha, variance = path.alpha(t), path.sigma(t) ** 2
        return alpha * (alpha * path.dvariance(t) / 2 - path.dalpha(t) * variance) / variance**2
    if not isinstance(T, int) or T < 1:
        raise ValueError(f"T is {T!r}; expected a whole number of steps >= 1")
    return T / 2 * (eps_weight(path, (t - 1 / T).clamp(min=0)) - eps_weight(path, t))


def min_snr_weight(path: Path, t: torch.Tensor, gamma: float = 5.0) -> torch.Tensor:
    """min(SNR, gamma): eps_weight, but no more than gamma near the data. Finite at both ends.

    Of the squared error of eps it is min(1, gamma / SNR), of that of v min(SNR, gamma) / (SNR + 1).
    Raises ValueError unless gamma > 0. Source: Hang et al., 2023, section 3.
    """
    if not gamma > 0:
        raise ValueError(f"gamma is {gamma}; expected a number > 0")
    return eps_weight(path, t).clamp(max=gamma)


def truncated_snr_weight(path: Path, t: torch.Tensor) -> torch.Tensor:
    """max(SNR, 1): the larger of the errors of x0 and eps, so that no time goes unlearnt. Infinite where sigma = 0.

    Source: Salimans and Ho, 2022, section 4.
    """
    return eps_weight(path, t).clamp(min=1)


# Losses -----------------------------------------------------------------------------------------------------


def denoising_loss(
    denoiser: OnPath,
    x0: torch.Tensor,
    t: Time,
    eps: torch.Tensor,
    y: torch.Tensor | None = None,
    weight: Weight = eps_weight,
) -> torch.Tensor:
    """Equation (1), the mean over all elements of the batch: a 0-d tensor.

    denoiser: a `denoiser.Denoiser`, or anything with a `path` that answers denoiser(x, t, y). x0, eps: (B, ...), alike.
    t: a number, 0-d or (B,) tensor of times. y: (B,) labels, or None. weight: one of those above.
    Raises ValueError for shapes that do not fit and for times at which the weight is not finite.
    """
    return weighted_loss(denoiser, denoiser.path.mix(x0, eps, t), t, y, x0, weight)


def flow_matching_loss(
    denoiser: OnPath, x0: torch.Tensor, t: Time, eps: torch.Tensor, y: torch.Tensor | None = None
) -> torch.Tensor:
    """The mean squared error of the velocity alpha' x0 + sigma' eps; eps - x0 on the straight path. Else as above.

    The conditional velocity stands for E[velocity | x_t]: the loss is larger by a constant, its gradients are the same.
    Source: Lipman et al., 2023, equation (9) and theorem 2.
    """
    return denoising_loss(denoiser, x0, t, eps, y, velocity_weight)


def weighted_loss(
    denoiser: OnPath, x: torch.Tensor, t: Time, y: torch.Tensor | None, target: torch.Tensor, weight: Weight
) -> torch.Tensor:
    """Equation (1) for a given x_t, and for whatever target stands in for x0, such as a teacher's. Else as above."""
    w = weight(denoiser.path, wide(t))
    if seen(~w.isfinite()):
        raise ValueError(f"t contains {wide(t).min().item():g}, where the weight is not finite; expected later times")
    return (per_sample(w, x) * (denoiser(x, t, y) - target) ** 2).mean()


# Score matching ---------------------------------------------------------------------------------------------


def dsm_loss(
    score_net: Callable[[torch.Tensor, Time], torch.Tensor], x0: torch.Tensor, sigma: Time, eps: torch.Tensor
) -> torch.Tensor:
    """Denoising score matching at x_t = x0 + sigma eps: the mean over all elements of sigma^2 (score + eps / sigma)^2.

    It is equation (1) with eps_weight, on a path with alpha = 1, for a network of scores: score_net(x, sigma). 0-d.
    sigma: a number, 0-d or (B,) tensor.
    Sources: Vincent, "A Connection Between Score Matching and Denoising Autoencoders", 2011; Song and Ermon, 2019,
    equations (5)-(6).
    """
    level = per_sample(sigma, x0)
    return ((level * score_net(x0 + level * eps, sigma) + eps) ** 2).mean()


def sliced_score_loss(
    score_net: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, probe: torch.Tensor
) -> torch.Tensor:
    """Sliced score matching, which needs no noise: the mean over the batch of v^T grad(v^T s) + (v^T s)^2 / 2. 0-d.

    x, probe (v): (B, ...), alike; E[v v^T] = I. Sums over features, so that gradients of parameters pass through both
    terms. Raises ValueError if their shapes differ.
    Source: Song et al., "Sliced Score Matching", 2019, section 3.1.
    """
    if probe.shape != x.shape:
        raise ValueError(f"probe has shape {tuple(probe.shape)}; expected x's, {tuple(x.shape)}")
    with torch.enable_grad():
        x = x if x.requires_grad else x.detach().requires_grad_()
        along = (probe * score_net(x)).flatten(1).sum(1)  # v^T s, shape: (B,)
        (slope,) = torch.autograd.grad(along.sum(), x, create_graph=True)
        return ((probe * slope).flatten(1).sum(1) + along**2 / 2).mean()


# Times ------------------------------------------------------------------------------------------------------


def uniform_times(
    n: int, generator: torch.Generator | None = None, t_min: float = 0.0, t_max: float = 1.0
) -> torch.Tensor:
    """n times, uniform on [t_min, t_max): (n,) float64, on the generator's device. ValueError for other ends."""
    return _between(_rand(n, generator), t_min, t_max)


def stratified_times(
    n: int, generator: torch.Generator | None = None, t_min: float = 0.0, t_max: float = 1.0
) -> torch.Tensor:
    """n times, one uniform in each of n equal parts of [t_min, t_max), rising: (n,) float64.

    Each of them, picked at random, is uniform; their mean has a variance of order n^-3 where n free ones have n^-1. A
    cousin of the low-discrepancy times of Kingma et al., 2021, appendix I. Raises ValueError for other ends.
    """
    u = _rand(n, generator)
    return _between((torch.arange(n, device=u.device) + u) / n, t_min, t_max)


def logit_normal_times(
    n: int, mean: float = 0.0, std: float = 1.0, generator: torch.Generator | None = None
) -> torch.Tensor:
    """sigmoid(mean + std z), z ~ N(0, 1): (n,) float64. mean > 0 leans towards noise.

    Raises ValueError for std < 0.
    Source: Esser et al., "Scaling Rectified Flow Transformers for High-Resolution Image Synthesis", 2024, section 3.1.
    """
    return torch.sigmoid(_normal(n, mean, std, generator))


def lognormal_times(
    n: int, path: Path, mean: float = -1.2, std: float = 1.2, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Times at which ln(sigma / alpha) ~ N(mean, std^2): (n,) float64; levels beyond the path's go to its ends.

    Raises ValueError for std < 0. Source: Karras et al., 2022, table 1, "noise distribution".
    """
    return path.inverse_log_snr(-2 * _normal(n, mean, std, generator))


def step_times(n: int, T: int, generator: torch.Generator | None = None) -> torch.Tensor:
    """k / T with k uniform on {1, ..., T}: (n,) float64, for DDPM's training on paths.Discrete.

    Raises ValueError unless T >= 1. Source: Ho et al., 2020, algorithm 1.
    """
    if not isinstance(T, int) or T < 1:
        raise ValueError(f"T is {T!r}; expected a whole number of steps >= 1")
    return (torch.floor(_rand(n, generator) * T) + 1) / T


def _rand(n: int, generator: torch.Generator | None) -> torch.Tensor:
    device = generator.device if generator is not None else torch.device("cpu")
    return torch.rand(n, generator=generator, device=device, dtype=wide(0.0, device).dtype)


def _normal(n: int, mean: float, std: float, generator: torch.Generator | None) -> torch.Tensor:
    if not 0 <= std < math.inf:
        raise ValueError(f"std is {std}; expected a number >= 0")
    device = generator.device if generator is not None else torch.device("cpu")
    return mean + std * torch.randn(n, generator=generator, device=device, dtype=wide(0.0, device).dtype)


def _between(u: torch.Tensor, t_min: float, t_max: float) -> torch.Tensor:
    if not 0 <= t_min <= t_max <= 1:
        raise ValueError(f"t_min, t_max are {t_min}, {t_max}; expected 0 <= t_min <= t_max <= 1")
    return t_min + (t_max - t_min) * u
