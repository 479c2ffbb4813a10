"""Gaussian probability paths from data to noise.

A path is a pair of functions (alpha, sigma) of time, t = 0 being data and t = 1 noise:

    x_t = alpha(t) * x0 + sigma(t) * eps,        eps ~ N(0, I)                                  (1)

DDPM, variance-exploding diffusion and flow matching are three choices of the pair. On any of them the five
usual predictions carry the same information, because each is a linear combination of x0 and eps, as x_t
itself is:

    eps,    x0,    v = alpha * eps - sigma * x0,    score = -eps / sigma,
    velocity = d x_t / dt = alpha' * x0 + sigma' * eps                                          (2)

What measures the noise level, whatever the path's clock, is log_snr = log(alpha^2 / sigma^2) (natural
logarithm, not halved; Kingma et al., "Variational Diffusion Models", 2021, section 3.2).

Derived in the book: chapter 4, equations (4.7), (4.8) and (4.20); chapter 5, equation (5.16).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

import torch

from noise2data.schedules import check_schedule

PREDICTIONS = ("eps", "x0", "v", "score", "velocity")

Time = float | torch.Tensor  # a number, a 0-d or a (B,) tensor
_P = TypeVar("_P", bound="Path")


# Times ------------------------------------------------------------------------------------------------------


def wide(value: Time | Sequence[Any], device: torch.device | str | None = None) -> torch.Tensor:
    """`value` (number, sequence or tensor) as a float64 tensor, in which coefficients are computed.

    A tensor keeps its device unless `device` is given. Apple's MPS has no float64 and gets float32.
    """
    device = device if device is not None else getattr(value, "device", torch.device("cpu"))
    dtype = torch.float32 if torch.device(device).type == "mps" else torch.float64
    return torch.as_tensor(value, dtype=dtype, device=device)


def per_sample(t: Time, x: torch.Tensor) -> torch.Tensor:
    """Shape a time, or any coefficient, so that it multiplies `x` sample by sample.

    t: a number, a 0-d tensor or a (B,) tensor. x: (B, ...).
    Returns a tensor in x's dtype and on x's device, of shape () or (B, 1, ..., 1). A (B,) tensor belongs to
    the batch axis, also where B equals another axis and plain broadcasting would pick the wrong one.
    Raises ValueError for any other shape.
    """
    t = torch.as_tensor(t).to(device=x.device, dtype=x.dtype)
    if t.ndim == 0:
        return t
    if t.ndim == 1 and x.ndim >= 1 and len(t) == len(x):
        return t.reshape(-1, *[1] * (x.ndim - 1))
    raise ValueError(
        f"t has shape {tuple(t.shape)}; expected a number, a 0-d tensor or one value for each sample "
        f"of x, which has shape {tuple(x.shape)}"
    )


def seen(bad: torch.Tensor) -> bool:
    """Whether any entry of a mask is True: what a check of values may ask.

    False where there is nothing to look at (under vmap and torch.compile) or looking would stall (on a GPU).
    """
    if bad.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    try:
        return bool(bad.any())
    except RuntimeError:  # under vmap
        return False


def _times(t: Time) -> tuple[torch.Tensor, torch.dtype]:
    """t in float64, within [0, 1] (rounding forgiven), and the dtype in which to answer."""
    dtype = t.dtype if isinstance(t, torch.Tensor) and t.is_floating_point() else torch.float64
    if isinstance(t, torch.Tensor) and t.ndim and not t.is_floating_point():
        raise ValueError(f"t is a tensor of {t.dtype}; expected times in [0, 1] as floats (step k is k / T)")
    t = wide(t)
    outside = ~((t >= -1e-6) & (t <= 1 + 1e-6))
    if seen(outside):
        raise ValueError(f"t contains {t[outside][0].item():g}; expected times in [0, 1] (step k is k / T)")
    return t.clamp(0.0, 1.0), dtype


def _of_time(method: Callable[[_P, torch.Tensor], torch.Tensor]) -> Callable[[_P, Time], torch.Tensor]:
    """Let a schedule see float64 times in [0, 1]; its answer gets the dtype of t."""

    @wraps(method)
    def wrapped(self: _P, t: Time) -> torch.Tensor:
        t, dtype = _times(t)
        return method(self, t).to(dtype)

    return wrapped


def _of_level(method: Callable[[_P, torch.Tensor], torch.Tensor]) -> Callable[[_P, Time], torch.Tensor]:
    """The same for functions of log_snr. They answer with a time, which is kept in [0, 1]."""

    @wraps(method)
    def wrapped(self: _P, l: Time) -> torch.Tensor:  # noqa: E741
        dtype = l.dtype if isinstance(l, torch.Tensor) and l.is_floating_point() else torch.float64
        return method(self, wide(l)).clamp(0.0, 1.0).to(dtype)

    return wrapped


# Paths ------------------------------------------------------------------------------------------------------


class Path(ABC):
    """What all paths share. Times are numbers, 0-d or (B,) tensors in [0, 1].

    The schedule methods answer in t's shape, dtype and device (float64 for a Python number) and are
    differentiable in t. ValueError for times outside [0, 1].
    """

    @abstractmethod
    def alpha(self, t: Time) -> torch.Tensor:
        """The factor of the data in x_t."""

    @abstractmethod
    def sigma(self, t: Time) -> torch.Tensor:
        """The factor, a standard deviation, of the noise in x_t."""

    @abstractmethod
    def dalpha(self, t: Time) -> torch.Tensor:
        """d alpha / dt."""

    @abstractmethod
    def dsigma(self, t: Time) -> torch.Tensor:
        """d sigma / dt. Infinite at t = 0 where sigma starts like sqrt(t)."""

    @abstractmethod
    def inverse_log_snr(self, l: Time) -> torch.Tensor:  # noqa: E741
        """The time at which log_snr equals `l`; levels that the path never reaches give its nearest end."""

    @_of_time
    def dvariance(self, t: torch.Tensor) -> torch.Tensor:
        """d sigma^2 / dt = 2 sigma sigma', which stays finite where dsigma does not."""
        return 2 * self.sigma(t) * self.dsigma(t)

    @_of_time
    def log_snr(self, t: torch.Tensor) -> torch.Tensor:
        """log(alpha^2 / sigma^2); +inf where sigma = 0 and -inf where alpha = 0."""
        return 2 * (self.alpha(t).log() - self.sigma(t).log())

    def mix(self, x0: torch.Tensor, eps: torch.Tensor, t: Time) -> torch.Tensor:
        """x_t of equation (1). x0, eps: (B, ...), alike. Returns x0's shape, dtype and device.

        Raises ValueError if the shapes of x0 and eps differ or t fits neither a number nor the batch.
        """
        _same_shape("eps", eps, "x0", x0)
        t = wide(t)
        return per_sample(self.alpha(t), x0) * x0 + per_sample(self.sigma(t), x0) * eps

    def convert(self, pred: torch.Tensor, x: torch.Tensor, t: Time, source: str, target: str) -> torch.Tensor:
        """Turn a prediction at (x, t) into another: "eps", "x0", "v", "score" or "velocity".

        pred, x: (B, ...), alike; x is x_t. Returns pred's shape and dtype, without clipping.

        With x = alpha x0 + sigma eps and pred = p x0 + q eps, two equations determine (x0, eps), and every
        conversion is one linear combination of x and pred. Where they determine nothing, the result is not
        finite rather than made up: from "x0" at sigma = 0, from "eps" or "score" at alpha = 0; and "score"
        (and on most variance-preserving paths "velocity") is itself infinite at sigma = 0. From "v" all else
        is finite at both ends, and so it is from "velocity" on the linear path.

        Raises ValueError for an unknown name, and for shapes that do not fit.
        """
        for argument, name in (("source", source), ("target", target)):
            if name not in PREDICTIONS:
                raise ValueError(f"{argument} is {name!r}; expected one of {', '.join(PREDICTIONS)}")
        _same_shape("pred", pred, "x", x)
        if source == target:
            return pred
        t = wide(t)
        alpha, sigma = self.alpha(t), self.sigma(t)
        # The score is eps in other units. Going through eps keeps the two convertible where alpha = 0.
        if source == "score":
            return self.convert(per_sample(-sigma, pred) * pred, x, t, "eps", target)
        if target == "score":
            return self.convert(pred, x, t, source, "eps") / per_sample(-sigma, pred)
        p, q = self._row(source, t)
        to_p, to_q = self._row(target, t)
        determinant = alpha * q - sigma * p
        of_x = (to_p * q - to_q * p) / determinant
        of_pred = (to_q * alpha - to_p * sigma) / determinant
        return (per_sample(of_x, x) * x + per_sample(of_pred, pred) * pred).to(pred.dtype)

    def _row(self, name: str, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(p, q) such that the named prediction is p * x0 + q * eps: equation (2)."""
        zero, one = torch.zeros_like(t), torch.ones_like(t)
        if name == "eps":
            return zero, one
        if name == "x0":
            return one, zero
        if name == "v":
            return -self.sigma(t), self.alpha(t)
        return self.dalpha(t), self.dsigma(t)


def _same_shape(name: str, value: torch.Tensor, other_name: str, other: torch.Tensor) -> None:
    if value.shape != other.shape:
        raise ValueError(f"{name} has shape {tuple(value.shape)}; expected {other_name}'s, {tuple(other.shape)}")


class VariancePreserving(Path):
    """Paths with alpha^2 + sigma^2 = 1: sigma' follows from alpha'."""

    @_of_time
    def dsigma(self, t: torch.Tensor) -> torch.Tensor:
        return self.dvariance(t) / (2 * self.sigma(t))

    @_of_time
    def dvariance(self, t: torch.Tensor) -> torch.Tensor:
        return -2 * self.alpha(t) * self.dalpha(t)


@dataclass(frozen=True)
class VPLinear(VariancePreserving):
    """The continuous limit of DDPM: alpha^2 = exp(-B(t)), B the integral of beta(t), which grows linearly.

    beta_min, beta_max: beta(0) and beta(1), per unit of time, 0 < beta_min <= beta_max.
    Source: Song et al., "Score-Based Generative Modeling through SDEs", 2021, equations (32)-(33). DDPM's
    beta_start = 1e-4 and beta_end = 0.02 with T = 1000 are 0.1 and 20 here.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        if not 0 < self.beta_min <= self.beta_max < math.inf:
            raise ValueError(
                f"beta_min, beta_max are {self.beta_min}, {self.beta_max}; expected 0 < beta_min <= beta_max"
            )

    @_of_time
    def beta(self, t: torch.Tensor) -> torch.Tensor:
        """The rate beta(t) of the forward SDE dx = -beta/2 x dt + sqrt(beta) dW."""
        return self.beta_min + (self.beta_max - self.beta_min) * t

    def _integral(self, t: torch.Tensor) -> torch.Tensor:
        return self.beta_min * t + (self.beta_max - self.beta_min) * t**2 / 2

    @_of_time
    def alpha(self, t: torch.Tensor) -> torch.Tensor:
        return torch.exp(-self._integral(t) / 2)

    @_of_time
    def sigma(self, t: torch.Tensor) -> torch.Tensor:
        return torch.sqrt(-torch.expm1(-self._integral(t)))

    @_of_time
    def dalpha(self, t: torch.Tensor) -> torch.Tensor:
        return -self.beta(t) * self.alpha(t) / 2

    @_of_time
    def log_snr(self, t: torch.Tensor) -> torch.Tensor:
        integral = self._integral(t)
        return -integral - torch.log(-torch.expm1(-integral))

    @_of_level
    def inverse_log_snr(self, l: torch.Tensor) -> torch.Tensor:  # noqa: E741
        integral = torch.nn.functional.softplus(-l)
        # The root of the quadratic in the form that does not cancel, and that allows beta_min = beta_max.
        root = torch.sqrt(self.beta_min**2 + 2 * (self.beta_max - self.beta_min) * integral)
        return torch.where(integral.isinf(), 1.0, 2 * integral / (self.beta_min + root))


@dataclass(frozen=True)
class VPCosine(VariancePreserving):
    """alpha^2 = f(t) / f(0), f(t) = cos^2((t + s) / (1 + s) * pi / 2).

    s: offset that keeps the first steps from being too small, s >= 0. With s = 0, alpha and sigma are the
    cosine and sine of pi t / 2.
    Source: Nichol and Dhariwal, "Improved Denoising Diffusion Probabilistic Models", 2021, equation (17).
    With a = pi / 2 / (1 + s) this is alpha = sin(a (1 - t)) / sin(a), which is exactly 0 at t = 1.
    """

    s: float = 0.008

    def __post_init__(self) -> None:
        if not 0 <= self.s < math.inf:
            raise ValueError(f"s is {self.s}; expected a number >= 0")

    @property
    def _a(self) -> float:
        return math.pi / 2 / (1 + self.s)

    @_of_time
    def alpha(self, t: torch.Tensor) -> torch.Tensor:
        return torch.sin(self._a * (1 - t)) / math.sin(self._a)

    @_of_time
    def sigma(self, t: torch.Tensor) -> torch.Tensor:
        if self.s == 0:
            return torch.sin(math.pi / 2 * t)
        # sin^2 a - sin^2 b = sin(a + b) sin(a - b) avoids the cancellation of 1 - alpha^2 near t = 0.
        return torch.sqrt(torch.sin(self._a * (2 - t)) * torch.sin(self._a * t)) / math.sin(self._a)

    @_of_time
    def dalpha(self, t: torch.Tensor) -> torch.Tensor:
        return -self._a * torch.cos(self._a * (1 - t)) / math.sin(self._a)

    @_of_time
    def dsigma(self, t: torch.Tensor) -> torch.Tensor:
        if self.s == 0:
            return math.pi / 2 * torch.cos(math.pi / 2 * t)
        return super().dsigma(t)

    @_of_level
    def inverse_log_snr(self, l: torch.Tensor) -> torch.Tensor:  # noqa: E741
        # Near t = 0 the arcsine alone loses digits; its cosine^2 is cos^2 a + sigma^2 sin^2 a, a sum.
        sine = torch.sigmoid(l).sqrt() * math.sin(self._a)
        cosine = torch.sqrt(math.cos(self._a) ** 2 + torch.sigmoid(-l) * math.sin(self._a) ** 2)
        return 1 - torch.atan2(sine, cosine) / self._a


@dataclass(frozen=True)
class VE(Path):
    """alpha = 1 and sigma = sigma_min * (sigma_max / sigma_min)**t, a geometric ladder that starts above 0.

    sigma_min, sigma_max: the noise's standard deviation at t = 0 and 1, 0 < sigma_min < sigma_max.
    Source: Song et al., "Score-Based Generative Modeling through SDEs", 2021, appendix C, equation (30). It
    is not the spacing of Karras et al. (2022), which is a grid on the same path.
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0

    def __post_init__(self) -> None:
        if not 0 < self.sigma_min < self.sigma_max < math.inf:
            raise ValueError(
                f"sigma_min, sigma_max are {self.sigma_min}, {self.sigma_max}; expected 0 < sigma_min < sigma_max"
            )

    @property
    def _rate(self) -> float:
        return math.log(self.sigma_max / self.sigma_min)

    @_of_time
    def alpha(self, t: torch.Tensor) -> torch.Tensor:
        return torch.ones_like(t)

    @_of_time
    def sigma(self, t: torch.Tensor) -> torch.Tensor:
        return self.sigma_min ** (1 - t) * self.sigma_max**t

    @_of_time
    def dalpha(self, t: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(t)

    @_of_time
    def dsigma(self, t: torch.Tensor) -> torch.Tensor:
        return self._rate * self.sigma(t)

    @_of_level
    def inverse_log_snr(self, l: torch.Tensor) -> torch.Tensor:  # noqa: E741
        return (-l / 2 - math.log(self.sigma_min)) / self._rate


@dataclass(frozen=True)
class EDM(Path):
    """alpha = 1 and sigma = sigma_max * t: the noise level itself is the clock, from exactly 0.

    sigma_max: the noise's standard deviation at t = 1, > 0.
    Source: Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models", 2022, section 3, which
    argues for sigma(t) = t. The spacing of their steps is a grid, on this path or any other.
    """

    sigma_max: float = 80.0

    def __post_init__(self) -> None:
        if not 0 < self.sigma_max < math.inf:
            raise ValueError(f"sigma_max is {self.sigma_max}; expected a number > 0")

    @_of_time
    def alpha(self, t: torch.Tensor) -> torch.Tensor:
        return torch.ones_like(t)

    @_of_time
    def sigma(self, t: torch.Tensor) -> torch.Tensor:
        return self.sigma_max * t

    @_of_time
    def dalpha(self, t: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(t)

    @_of_time
    def dsigma(self, t: torch.Tensor) -> torch.Tensor:
        return torch.full_like(t, self.sigma_max)

    @_of_level
    def inverse_log_snr(self, l: torch.Tensor) -> torch.Tensor:  # noqa: E741
        return torch.exp(-l / 2) / self.sigma_max


@dataclass(frozen=True)
class Linear(Path):
    """alpha = 1 - t, sigma = t: the straight path of flow matching and rectified flow; the velocity is eps -
    x0.

    Sources: Lipman et al., "Flow Matching for Generative Modeling", 2023; Liu et al., "Flow Straight and
    Fast", 2023. Both papers run time the other way (t = 1 is their data).
    """

    @_of_time
    def alpha(self, t: torch.Tensor) -> torch.Tensor:
        return 1 - t

    @_of_time
    def sigma(self, t: torch.Tensor) -> torch.Tensor:
        return t

    @_of_time
    def dalpha(self, t: torch.Tensor) -> torch.Tensor:
        return -torch.ones_like(t)

    @_of_time
    def dsigma(self, t: torch.Tensor) -> torch.Tensor:
        return torch.ones_like(t)

    @_of_level
    def inverse_log_snr(self, l: torch.Tensor) -> torch.Tensor:  # noqa: E741
        return torch.sigmoid(-l / 2)


@dataclass(frozen=True, eq=False)
class Discrete(VariancePreserving):
    """A discrete schedule as a path: alpha(k / T)^2 = abar[k], and between the steps log_snr runs linearly.

    abar: (T + 1,), strictly decreasing from abar[0] = 1; the last entry may be 0.
    An interval that ends in an infinite log_snr has no such line. In the first one sigma^2 grows linearly
    instead, as it does under a constant beta to first order; in a last one that ends in abar = 0, alpha falls
    linearly.
    The derivatives jump at the steps.
    """

    abar: torch.Tensor

    def __post_init__(self) -> None:
        object.__setattr__(self, "abar", wide(check_schedule(self.abar)))
        if not bool((self.abar.diff() < 0).all()):
            k = int((self.abar.diff() >= 0).nonzero()[0]) + 1
            raise ValueError(f"abar does not fall at step {k}; expected a strictly decreasing schedule")

    @property
    def T(self) -> int:
        """The number of steps."""
        return len(self.abar) - 1

    def _interval(self, t: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Of each time's interval: the place u in it, abar and log_snr at both ends, and whose rule holds."""
        abar = self.abar.to(t)
        levels = torch.logit(abar).clamp(-700, 700)  # the infinite ones are not used, but must not make NaN
        k = (t * self.T).floor().long().clamp(max=self.T - 1)
        last = abar[k + 1] == 0
        return t * self.T - k, abar[k], abar[k + 1], levels[k], levels[k + 1], (k == 0) & ~last, last

    @_of_time
    def alpha(self, t: torch.Tensor) -> torch.Tensor:
        u, left, right, level, next_level, first, last = self._interval(t)
        line = torch.sigmoid(torch.lerp(level, next_level, u)).sqrt()
        alpha = torch.where(first, torch.sqrt(1 - first * u * (1 - right)), line)
        return torch.where(last, left.sqrt() * (1 - u), alpha)

    @_of_time
    def sigma(self, t: torch.Tensor) -> torch.Tensor:
        u, left, right, level, next_level, first, last = self._interval(t)
        variance = torch.sigmoid(-torch.lerp(level, next_level, u))
        variance = torch.where(first, u * (1 - right), variance)
        return torch.where(last, 1 - left * (1 - u) ** 2, variance).sqrt()

    @_of_time
    def dalpha(self, t: torch.Tensor) -> torch.Tensor:
        _, left, right, level, next_level, first, last = self._interval(t)
        alpha = self.alpha(t)
        dalpha = alpha * self.sigma(t) ** 2 * (next_level - level) / 2
        dalpha = torch.where(first, (right - 1) / (2 * alpha), dalpha)
        return self.T * torch.where(last, -left.sqrt(), dalpha)

    @_of_level
    def inverse_log_snr(self, l: torch.Tensor) -> torch.Tensor:  # noqa: E741
        abar = self.abar.to(l)
        levels = torch.logit(abar)
        k = torch.searchsorted(-levels, -l, right=True).sub(1).clamp(0, self.T - 1)
        u = (l - levels[k]) / (levels[k + 1] - levels[k])
        u = torch.where(k == 0, torch.sigmoid(-l) / (1 - abar[1]), u)
        u = torch.where(abar[k + 1] == 0, 1 - torch.sqrt(torch.sigmoid(l) / abar[k]), u)
        return (k + u.clamp(0.0, 1.0)) / self.T
