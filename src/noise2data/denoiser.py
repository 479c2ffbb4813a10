"""Denoisers: any network, whatever it predicts, as an estimate of E[x0 | x_t].

Samplers and losses see one kind of function, ``denoise(x, t) -> x0_hat``. A `Denoiser` makes it of a network on a path
x_t = alpha x0 + sigma eps. Most networks predict a linear combination of x0 and eps, and `Path.convert` solves for x0.
The preconditioning of Karras et al. lets the network F predict a mixture of x0 and eps that is of unit variance at
every noise level, here for any path and for data of standard deviation sigma_data:

    x0_hat = alpha sigma_data^2 / S x + sigma sigma_data / sqrt(S) F(x / sqrt(S), c_noise),
    S = alpha^2 sigma_data^2 + sigma^2  (the variance of x_t),    c_noise = ln(sigma / alpha) / 4.          (1)

It is their preconditioning of x / alpha at the noise level sigma / alpha, written so that it stays finite at both ends.
On a variance-preserving path with sigma_data = 1 it says x0_hat = alpha x + sigma F: the network predicts -v.

Derived in the book: chapter 8, equations (8.3), (8.4) and (8.7).

Source: Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models" (EDM), 2022, equation (7) and
table 1.
"""

import math
from collections.abc import Callable

import torch
from torch import nn

from noise2data.paths import Path, Time, per_sample, seen, wide

CONVERTED = ("eps", "x0", "v", "velocity")
PRECONDITIONED = ("edm", "consistency")

# The network hears of noise levels sigma / alpha between 1e-6 and 1e6 only: c_noise must be finite at both ends.
_MAX_C_NOISE = math.log(1e6) / 4


class Denoiser(nn.Module):
    """x0_hat(x, t) from a network that predicts something else.

    net: `net(x, c)`, or `net(x, c, y)` where labels are given; x (B, ...), c (B,) in x's dtype, y (B,) int64; it
    returns x's shape. c is the time t, or c_noise of equation (1) for the last two of
    predicts: "eps", "x0", "v", "velocity" (as in `Path.convert`), "edm" (the preconditioned F of equation (1)) or
    "consistency" (the same, shifted such that x0_hat = x at t = 0 also where the path starts with some noise).
    sigma_data: the data's standard deviation, > 0; of use to the preconditioned two only.

    Raises ValueError for any other `predicts` or `sigma_data`.
    """

    def __init__(self, net: Callable[..., torch.Tensor], path: Path, predicts: str, *, sigma_data: float = 0.5) -> None:
        super().__init__()
        if predicts not in CONVERTED + PRECONDITIONED:
            raise ValueError(f"predicts is {predicts!r}; expected one of {', '.join(CONVERTED + PRECONDITIONED)}")
        self.net, self.path, self.predicts, self.sigma_data = net, path, predicts, _positive(sigma_data)

    def forward(self, x: torch.Tensor, t: Time, y: torch.Tensor | None = None) -> torch.Tensor:
        """E[x0 | x_t = x] by the network's account: x's shape, dtype and device.

        x: (B, ...). t: a number, 0-d or (B,) tensor in [0, 1]. y: (B,) labels, or None.
        Raises ValueError where t or the network's answer does not fit x, where a network that predicts eps is asked at
        alpha = 0 (pure noise says nothing of the data, so x0 = (x - sigma eps) / alpha is 0 / 0), and where one that
        predicts the velocity is asked at a time at which it is infinite (t = 0 of variance-preserving paths).
        """
        per_sample(t, x)  # checks that t fits x
        t = wide(t)
        if self.predicts in CONVERTED:
            if self.predicts == "eps" and seen(self.path.alpha(t) == 0):
                raise ValueError(
                    f"t contains {t.max().item():g}, where alpha is 0 and eps says nothing of x0; "
                    "expected a grid that starts at an earlier time, or a network that predicts v, x0 or velocity"
                )
            if self.predicts == "velocity" and seen(self.path.dsigma(t).isinf()):
                raise ValueError(
                    f"t contains {t.min().item():g}, where this path's velocity is infinite; expected a later time"
                )
            return self.path.convert(self._net(x, t, y), x, t, self.predicts, "x0")
        alpha, sigma = self.path.alpha(t), self.path.sigma(t)
        floor = self.path.sigma(0.0) / self.path.alpha(0.0) if self.predicts == "consistency" else 0.0
        c_skip, c_out, c_in = _precondition(alpha, sigma, self.sigma_data, floor)
        c_noise = (-self.path.log_snr(t) / 8).clamp(-_MAX_C_NOISE, _MAX_C_NOISE)
        return per_sample(c_skip, x) * x + per_sample(c_out, x) * self._net(per_sample(c_in, x) * x, c_noise, y)

    def _net(self, x: torch.Tensor, c: torch.Tensor, y: torch.Tensor | None) -> torch.Tensor:
        c = c.to(device=x.device, dtype=x.dtype).expand(len(x))
        out = self.net(x, c) if y is None else self.net(x, c, y)
        if out.shape != x.shape:
            raise ValueError(f"net returned shape {tuple(out.shape)}; expected x's, {tuple(x.shape)}")
        return out.to(x.dtype)


def _positive(sigma_data: float) -> float:
    if not 0 < sigma_data < math.inf:
        raise ValueError(f"sigma_data is {sigma_data}; expected a number > 0")
    return sigma_data


def _precondition(
    alpha: Time, sigma: torch.Tensor, sigma_data: float, floor: Time
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """c_skip, c_out and c_in of equation (1), for which x0_hat = x at the level sigma / alpha = floor."""
    excess = sigma - floor * alpha
    root = torch.sqrt(alpha**2 * sigma_data**2 + sigma**2)
    return alpha * sigma_data**2 / (alpha**2 * sigma_data**2 + excess**2), sigma_data * excess / root, 1 / root


def edm_precondition(sigma: Time, sigma_data: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """(c_skip, c_out, c_in, c_noise) at the noise level sigma > 0: equation (1) with alpha = 1.

    sigma: a number or tensor. sigma_data: > 0. Four tensors of sigma's shape and dtype (float64 for a number).
    Raises ValueError for a sigma_data that is not positive.
    Source: EDM, table 1, the column "Ours".
    """
    dtype = sigma.dtype if isinstance(sigma, torch.Tensor) else torch.float64
    level = wide(sigma)
    c_skip, c_out, c_in = _precondition(1.0, level, _positive(sigma_data), 0.0)
    return c_skip.to(dtype), c_out.to(dtype), c_in.to(dtype), (level.log() / 4).to(dtype)


def consistency_coefficients(sigma: Time, sigma_data: float, sigma_min: float) -> tuple[torch.Tensor, torch.Tensor]:
    """(c_skip, c_out) of f(x) = c_skip x + c_out F, for which f(x) = x at sigma = sigma_min.

    sigma: a number or tensor. sigma_data: > 0. Two tensors of sigma's shape and dtype (float64 for a number). With
    sigma_min = 0 they are EDM's. Raises ValueError for a sigma_data that is not positive.
    Source: Song et al., "Consistency Models", 2023, appendix C.
    """
    dtype = sigma.dtype if isinstance(sigma, torch.Tensor) else torch.float64
    c_skip, c_out, _ = _precondition(1.0, wide(sigma), _positive(sigma_data), sigma_min)
    return c_skip.to(dtype), c_out.to(dtype)


class _InSteps(nn.Module):
    """A module of its own, so that the parameters of a wrapped network are found."""

    def __init__(self, net: Callable[..., torch.Tensor], T: int) -> None:
        super().__init__()
        self.net, self.T = net, T

    def forward(self, x: torch.Tensor, t: torch.Tensor, *y: torch.Tensor) -> torch.Tensor:
        if torch.finfo(t.dtype).eps * self.T >= 2:
            raise ValueError(f"t is {t.dtype}, which cannot tell {self.T} steps apart; expected x and t in float32")
        return self.net(x, (t * self.T).round().long(), *y)


def in_steps(net: Callable[..., torch.Tensor], T: int) -> nn.Module:
    """A network of discrete steps, `net(x, k)` or `net(x, k, y)` with k (B,) int64 in 0..T, as one of time t = k / T.

    Times between two steps go to the nearer one, so that it may be asked at any time. Raises ValueError unless T is a
    whole number >= 1, and when called with times of a dtype too coarse for T steps.
    """
    if not isinstance(T, int) or T < 1:
        raise ValueError(f"T is {T!r}; expected a whole number of steps >= 1")
    return _InSteps(net, T)
