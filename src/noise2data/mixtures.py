"""Gaussian mixtures: the exact oracle of the course.

For data p(x0) = sum_k w_k N(m_k, s_k^2 I) everything that a network would have to learn has a closed form. On
a path x_t = alpha x0 + sigma eps the marginal is again a mixture, with component k at alpha m_k and of
variance c_k = alpha^2 s_k^2 + sigma^2, and given x_t and the component, x0 and eps are Gaussian with means

    E[x0 | x_t, k] = m_k + alpha s_k^2 / c_k * (x_t - alpha m_k),                              (1)
    E[eps | x_t, k] =         sigma   / c_k * (x_t - alpha m_k).                               (2)

Averages over k use the posterior r_k of the components, computed as a softmax of log-densities, so that
nothing underflows far from the data. All arithmetic is in float64 (float32 on Apple's MPS); results have x's
dtype.

Derived in the book: chapter 3, equations (3.18) to (3.20).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from noise2data.paths import Path, Time, per_sample, wide

# Stands for the variance 0 of a point mass: squared distances over it stay finite in float64.
_TINY = 1e-200


@dataclass(frozen=True, eq=False, init=False)
class GaussianMixture:
    """sum_k weights[k] N(means[k], stds[k]^2 I) in d dimensions.

    means: (K, d). weights: (K,), positive, of sum 1. stds: (K,) or one number for all, >= 0; a std of 0 is a
    point mass, which has a denoiser but no density.
    Tensors keep their dtype, other sequences become float64. Raises ValueError for anything else.
    """

    means: torch.Tensor
    weights: torch.Tensor
    stds: torch.Tensor

    def __init__(
        self,
        means: torch.Tensor | Sequence[Any],
        weights: torch.Tensor | Sequence[float],
        stds: torch.Tensor | Sequence[float] | float,
    ) -> None:
        means = means if isinstance(means, torch.Tensor) else wide(means)
        if means.ndim != 2 or len(means) == 0 or not means.is_floating_point():
            raise ValueError(f"means has shape {tuple(means.shape)} and {means.dtype}; expected (K, d) floats")
        weights = torch.as_tensor(weights, dtype=means.dtype, device=means.device)
        if weights.shape != means.shape[:1]:
            raise ValueError(f"weights has shape {tuple(weights.shape)}; expected one for each mean, ({len(means)},)")
        if not bool((weights > 0).all()) or abs(weights.sum().item() - 1) > 1e-5:
            raise ValueError(f"weights are {weights.tolist()}; expected positive numbers of sum 1")
        stds = torch.as_tensor(stds, dtype=means.dtype, device=means.device)
        if stds.ndim > 1 or (stds.ndim == 1 and len(stds) != len(means)):
            raise ValueError(f"stds has shape {tuple(stds.shape)}; expected a number or ({len(means)},)")
        if not bool((stds >= 0).all() & stds.isfinite().all()):
            raise ValueError(f"stds are {stds.tolist()}; expected numbers >= 0")
        for name, value in (("means", means), ("weights", weights), ("stds", stds.expand(len(means)))):
            object.__setattr__(self, name, value)

    def sample(self, n: int, generator: torch.Generator | None = None) -> torch.Tensor:
        """n independent draws: (n, d), in the dtype and on the device of means. ValueError if n < 1."""
        if n < 1:
            raise ValueError(f"n is {n}; expected at least 1")
        device = generator.device if generator is not None else self.means.device
        k = torch.multinomial(self.weights.to(device), n, replacement=True, generator=generator).to(self.means.device)
        noise = torch.randn(n, self.means.shape[1], generator=generator, device=device, dtype=self.means.dtype)
        return self.means[k] + self.stds[k, None] * noise.to(self.means.device)

    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        """log p(x). x: (B, d); returns (B,). ValueError for a mixture with point masses."""
        offsets, variances = self._components(x)
        return torch.logsumexp(self._log_joint(offsets, self._density(variances)), 1).to(x.dtype)

    def score(self, x: torch.Tensor) -> torch.Tensor:
        """grad log p = sum_k r_k(x) (m_k - x) / s_k^2. x: (B, d); returns (B, d). ValueError as log_prob."""
        offsets, variances = self._components(x)
        r = self._log_joint(offsets, self._density(variances)).softmax(1)
        return -torch.einsum("bk,bkd->bd", r / variances, offsets).to(x.dtype)

    def marginal(self, t: Time, path: Path) -> "GaussianMixture":
        """The GaussianMixture of x_t at one time t, a number or 0-d tensor; ValueError for other shapes."""
        t = wide(t, self.means.device)
        if t.ndim:
            raise ValueError(f"t has shape {tuple(t.shape)}; expected one number, as a mixture has one time")
        alpha, sigma = path.alpha(t).to(self.means), path.sigma(t).to(self.means)
        return GaussianMixture(alpha * self.means, self.weights, torch.hypot(alpha * self.stds, sigma))

    def denoise(self, x: torch.Tensor, t: Time, path: Path) -> torch.Tensor:
        """E[x0 | x_t = x], the best denoiser there is: equation (1) averaged over r_k(x).

        x: (B, d). t: a number, 0-d or (B,) tensor. Returns x's shape and dtype, finite at both ends of the
        path.
        """
        r, offsets, gain, _, _ = self._posterior(x, t, path)
        means = wide(self.means, x.device)
        return (r @ means + torch.einsum("bk,bkd->bd", r * gain, offsets)).to(x.dtype)

    def velocity(self, x: torch.Tensor, t: Time, path: Path) -> torch.Tensor:
        """E[alpha' x0 + sigma' eps | x_t = x], the field whose ODE has the path's marginals (probability
        flow).

        x: (B, d). t: a number, 0-d or (B,) tensor. Returns x's shape and dtype. Finite also where sigma' is
        not (t = 0 of a variance-preserving path), unless the mixture has point masses.
        Source: Lipman et al., "Flow Matching for Generative Modeling", 2023, equation (8); with (2), sigma'
        enters only as sigma sigma' = (sigma^2)' / 2.
        """
        r, offsets, gain, variances, t = self._posterior(x, t, path)
        means = wide(self.means, x.device)
        dalpha, half = path.dalpha(t).reshape(-1, 1), path.dvariance(t).reshape(-1, 1) / 2
        along = torch.einsum("bk,bkd->bd", r * (dalpha * gain + half / variances), offsets)
        return (dalpha * (r @ means) + along).to(x.dtype)

    # shapes inside: B samples, K components, d dimensions

    def _components(self, x: torch.Tensor, alpha: Time = 1.0, sigma: Time = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
        """x - alpha m_k, (B, K, d), and alpha^2 s_k^2 + sigma^2, (1 or B, K), in float64."""
        d = self.means.shape[1]
        if x.ndim != 2 or x.shape[1] != d or not x.is_floating_point():
            raise ValueError(f"x has shape {tuple(x.shape)} and {x.dtype}; expected (B, {d}) floats")
        x, means, stds = wide(x), wide(self.means, x.device), wide(self.stds, x.device)
        alpha, sigma = wide(alpha, x.device).reshape(-1, 1), wide(sigma, x.device).reshape(-1, 1)
        return x[:, None] - alpha[:, :, None] * means, alpha**2 * stds**2 + sigma**2

    def _log_joint(self, offsets: torch.Tensor, variances: torch.Tensor) -> torch.Tensor:
        """log(w_k N(x; alpha m_k, c_k I)), (B, K)."""
        d = offsets.shape[2]
        square = offsets.square().sum(2)
        return (
            wide(self.weights, offsets.device).log() - (square / variances + d * torch.log(2 * math.pi * variances)) / 2
        )

    def _density(self, variances: torch.Tensor) -> torch.Tensor:
        if not bool((variances > 0).all()):
            raise ValueError("stds contains 0; a point mass has no density (take the marginal at some t > 0)")
        return variances

    def _posterior(self, x: torch.Tensor, t: Time, path: Path) -> tuple[torch.Tensor, ...]:
        """r (B, K), offsets (B, K, d), gain alpha s^2 / c and c (1 or B, K), and t in float64."""
        t = wide(t, x.device)
        per_sample(t, x)  # checks that t fits x
        alpha, sigma = path.alpha(t), path.sigma(t)
        offsets, variances = self._components(x, alpha, sigma)
        variances = variances.clamp(min=_TINY)
        gain = alpha.reshape(-1, 1) * wide(self.stds, x.device) ** 2 / variances
        return self._log_joint(offsets, variances).softmax(1), offsets, gain, variances, t


def eight_gaussians(radius: float = 2.0, std: float = 0.2) -> GaussianMixture:
    """Eight equal Gaussians on a circle, in float64: the smallest data set on which modes can be lost."""
    angle = torch.arange(8, dtype=torch.float64) * math.pi / 4
    means = radius * torch.stack([angle.cos(), angle.sin()], 1)
    return GaussianMixture(means, torch.full((8,), 1 / 8, dtype=torch.float64), std)


def two_moons_mixture(n: int = 16, std: float = 0.15) -> GaussianMixture:
    """Two interleaved half circles, each of n equal Gaussians, in float64: curved data, exact score."""
    angle = (torch.arange(n, dtype=torch.float64) + 0.5) / n * math.pi
    upper = torch.stack([angle.cos() - 0.5, angle.sin() - 0.25], 1)
    means = 1.5 * torch.cat([upper, -upper])
    return GaussianMixture(means, torch.full((2 * n,), 1 / (2 * n), dtype=torch.float64), std)
