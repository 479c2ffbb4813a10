"""Samplers: from noise to data, one step at a time. The course on one page.

At x_t a denoiser estimates the data, and what is left of x_t estimates the noise. To go to another time s, mix the two
again as the path mixes them at s:

    x_s = alpha_s * x0_hat + sigma_s * (x_t - alpha_t * x0_hat) / sigma_t,      x0_hat = denoise(x_t, t)         (1)

This one line is DDIM on a variance-preserving path, Euler's rule on EDM's path and Euler's rule on the straight path of
flow matching. They are the same because x / alpha obeys the same equation everywhere, with the noise level
sigma / alpha for its clock: d(x / alpha) / d(sigma / alpha) = eps_hat, and (1) is its Euler step. Better and noisier
samplers differ from (1) only in what they put in for the data or for the noise:

    ddim             line (1)                                                                   order 1
    heun             x0_hat corrected by a second look, from where (1) arrived                  order 2
    dpmpp_2m         x0_hat extrapolated from the last two looks                                order 2
    ancestral        part of the noise is fresh (DDPM)                                          order 1, in law
    consistency      all of the noise is fresh: jump to the data, then noise again

Two more follow the path's own equations in its own time:

    euler            the ordinary one, probability flow                                         order 1
    euler_maruyama   the stochastic one, the reverse of the noising                             order 1, in law

A step is ``step(denoise, path, x, t, s)`` and returns the state at s. Here ``denoise(x, t)`` returns x0_hat like x,
x is (B, ...) at time t, and t and s are numbers, 0-d or (B,) tensors, in [0, 1]. The result has x's shape, dtype and
device. What else a step needs it names in its signature, and `sample` hands it over: ``noise``, fresh N(0, I) like x,
or ``past``, a list that the steps of one run share. Going from data to noise (s > t) is inversion: the same call.

Derived in the book: chapter 7, equations (7.11) to (7.14), and (7.2) and (7.5) for the last two steps; chapter 8,
equations (8.13) for heun and (8.17) for dpmpp_2m; chapter 14, equation (14.17) for consistency.
"""

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

import torch

from noise2data.paths import Path, Time, per_sample, seen, wide

Denoise = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Step = Callable[..., torch.Tensor]
Past = list[tuple[Time, torch.Tensor]]


def line(path: Path, x_t: torch.Tensor, x0_hat: torch.Tensor, t: Time, s: Time) -> torch.Tensor:
    """Equation (1): keep the estimates of data and noise, change their mixture from that of time t to that of s.

    x_t, x0_hat: (B, ...), alike. Where sigma_t = 0 the noise is not determined, and 0, the limit of E[eps | x_t] for
    data that have a density, is taken for it.
    Sources: Song, Meng and Ermon, "Denoising Diffusion Implicit Models", 2021, equation (12) with its sigma = 0, and
    equation (13) for x / alpha.
    """
    t, s = wide(t), wide(s)
    alpha_t, alpha_s = per_sample(path.alpha(t), x_t), per_sample(path.alpha(s), x_t)
    sigma_t, sigma_s = per_sample(path.sigma(t), x_t), per_sample(path.sigma(s), x_t)
    sigma_t = sigma_t.masked_fill(sigma_t == 0, torch.inf)
    return alpha_s * x0_hat + sigma_s * (x_t - alpha_t * x0_hat) / sigma_t


# Steps ----------------------------------------------------------------------------------------------------------------


def ddim(denoise: Denoise, path: Path, x: torch.Tensor, t: Time, s: Time) -> torch.Tensor:
    """Equation (1) itself. One call of denoise, order 1.

    Source: Song, Meng and Ermon, 2021, equation (12) with eta = 0; on other paths see the module's docstring.
    """
    t, s = wide(t), wide(s)
    return line(path, x, denoise(x, t), t, s)


def heun(denoise: Denoise, path: Path, x: torch.Tensor, t: Time, s: Time) -> torch.Tensor:
    """Heun's rule for x / alpha as a function of r = sigma / alpha. Two calls of denoise, order 2.

    The average of the slopes at both ends of the step, (y - D) / r with y = x / alpha, is line (1) with x0_hat replaced
    by D_t + r_t / (2 r_s) (D_s - D_t). Where r_s = 0 or r_t is infinite (no noise, no signal), it is line (1) alone, at
    one call.
    Source: Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models", 2022, algorithm 1.
    """
    t, s = wide(t), wide(s)
    x0_hat = denoise(x, t)
    x_s = line(path, x, x0_hat, t, s)
    weight = _finite(_level(path, t) / _level(path, s) / 2)
    if not bool(weight.any()):
        return x_s
    second = denoise(x_s, s)
    return line(path, x, x0_hat + per_sample(weight, x) * (second - x0_hat), t, s)


def dpmpp_2m(denoise: Denoise, path: Path, x: torch.Tensor, t: Time, s: Time, past: Past | None = None) -> torch.Tensor:
    """DPM-Solver++(2M): x0_hat at the middle of the step, on the line in log-SNR through the last two estimates.

    One call of denoise, order 2. past: holds the (time, x0_hat) of the step before, and then this step's. Without one,
    and where the log-SNR at an end is infinite, it is line (1): order 1 at the start and into sigma = 0.
    Source: Lu et al., "DPM-Solver++", 2022, algorithm 2.
    """
    t, s = wide(t), wide(s)
    estimate = x0_hat = denoise(x, t)
    if past:
        ((before, x0_before),) = past
        h, h_before = path.log_snr(s) - path.log_snr(t), path.log_snr(t) - path.log_snr(before)
        estimate = x0_hat + per_sample(_finite(h / (2 * h_before)), x) * (x0_hat - x0_before)
    if past is not None:
        past[:] = [(t, x0_hat)]
    return line(path, x, estimate, t, s)


def ancestral(
    denoise: Denoise, path: Path, x: torch.Tensor, t: Time, s: Time, noise: torch.Tensor, eta: float = 1.0
) -> torch.Tensor:
    """Line (1) with a share eta^2 (1 - SNR_t / SNR_s) of the noise's variance fresh. One call of denoise, s <= t.

    Old and new noise together have variance 1, so that x_s given x0 has the path's own mean and variance, whatever the
    path. eta = 1 is the posterior q(x_s | x_t, x0) of the noising process, on a discrete path DDPM's step; eta = 0 is
    ddim. Raises ValueError for s > t, eta outside [0, 1] and noise unlike x.
    Sources: Song, Meng and Ermon, 2021, equations (12) and (16); Ho et al., 2020, equations (6)-(7); Kingma et al.,
    "Variational Diffusion Models", 2021, appendix A.2, for the posterior of any path.
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"eta is {eta}; expected a number in [0, 1]")
    t, s = wide(t), wide(s)
    _check_noise(noise, x)
    _check_towards_data(t, s)
    share = eta**2 * -torch.expm1(path.log_snr(t) - path.log_snr(s))
    x0_hat = denoise(x, t)
    eps_hat = path.convert(x0_hat, x, t, "x0", "eps")
    eps = per_sample((1 - share).sqrt(), x) * eps_hat + per_sample(share.sqrt(), x) * noise
    return path.mix(x0_hat, eps, s)


def consistency(denoise: Denoise, path: Path, x: torch.Tensor, t: Time, s: Time, noise: torch.Tensor) -> torch.Tensor:
    """Jump to the data and noise it again: line (1) with all of the noise fresh. One call of denoise.

    It draws from the right law if denoise(x, t) is where the probability flow from (x, t) ends, as a consistency model
    learns it; with E[x0 | x_t] instead it does not. Raises ValueError for noise unlike x.
    Source: Song et al., "Consistency Models", 2023, algorithm 1 (there, on a path that starts at sigma_min).
    """
    _check_noise(noise, x)
    return path.mix(denoise(x, wide(t)), noise, wide(s))


def euler(denoise: Denoise, path: Path, x: torch.Tensor, t: Time, s: Time) -> torch.Tensor:
    """Euler's rule for the probability-flow ODE dx/dt = E[alpha' x0 + sigma' eps | x_t]. One call, order 1.

    On the straight path and on EDM's it is line (1). Raises ValueError at sigma_t = 0, where x0_hat does not determine
    the velocity.
    Sources: Song et al., "Score-Based Generative Modeling through SDEs", 2021, equation (13); Lipman et al., "Flow
    Matching for Generative Modeling", 2023.
    """
    t, s = wide(t), wide(s)
    if seen(path.sigma(t) == 0):
        raise ValueError("t contains 0, where sigma is 0 and x0_hat does not determine the velocity; use ddim there")
    velocity = path.convert(denoise(x, t), x, t, "x0", "velocity")
    return x + per_sample(s - t, x) * velocity


def euler_maruyama(
    denoise: Denoise, path: Path, x: torch.Tensor, t: Time, s: Time, noise: torch.Tensor
) -> torch.Tensor:
    """The Euler-Maruyama rule for the reverse SDE dx = (f x - g^2 score) dt + g dW. One call, s <= t.

    f = alpha' / alpha and g^2 = (sigma^2)' - 2 f sigma^2 belong to the noising process dx = f x dt + g dW. Raises
    ValueError for s > t, where f is infinite (alpha_t = 0), where the score is not determined (sigma_t = 0), and for
    noise unlike x.
    Sources: Song et al., "Score-Based Generative Modeling through SDEs", 2021, equation (6); Kingma et al., 2021, for f
    and g of any path.
    """
    t, s = wide(t), wide(s)
    _check_noise(noise, x)
    _check_towards_data(t, s)
    if seen((path.alpha(t) == 0) | (path.sigma(t) == 0)):
        raise ValueError(
            f"t contains {t.max().item():g}, where alpha or sigma is 0 and the reverse SDE has no finite drift; "
            "expected a grid that starts at an earlier time"
        )
    f = path.dalpha(t) / path.alpha(t)
    g2 = path.dvariance(t) - 2 * f * path.sigma(t) ** 2
    score = path.convert(denoise(x, t), x, t, "x0", "score")
    drift = per_sample(f, x) * x - per_sample(g2, x) * score
    return x + per_sample(s - t, x) * drift + per_sample((g2 * (t - s)).sqrt(), x) * noise


def _level(path: Path, t: Time) -> torch.Tensor:
    """The noise level sigma / alpha."""
    return path.sigma(t) / path.alpha(t)


def _finite(weight: torch.Tensor) -> torch.Tensor:
    """0 where an infinite level or step makes a second-order weight meaningless."""
    return weight.masked_fill(~weight.isfinite(), 0.0)


def _check_noise(noise: torch.Tensor, x: torch.Tensor) -> None:
    if noise.shape != x.shape:
        raise ValueError(f"noise has shape {tuple(noise.shape)}; expected x's, {tuple(x.shape)}")


def _check_towards_data(t: torch.Tensor, s: torch.Tensor) -> None:
    if seen(s > t):
        raise ValueError(f"s is {s.max().item():g}, later than t, {t.min().item():g}; expected a step towards the data")


# Runs -----------------------------------------------------------------------------------------------------------------


def start(path: Path, shape: Sequence[int], t: Time = 1.0, generator: torch.Generator | None = None) -> torch.Tensor:
    """The noise to start from at time t (a grid's first): sigma(t) N(0, I), float32, on the generator's device.

    It leaves out alpha(t) x0, which is exact where alpha(t) = 0 and the usual approximation elsewhere.
    """
    device = generator.device if generator is not None else None
    return path.sigma(t).to(device, torch.float32) * torch.randn(tuple(shape), generator=generator, device=device)


def _states(
    denoise: Denoise, path: Path, x: torch.Tensor, grid: torch.Tensor, step: Step, generator: torch.Generator | None
) -> Iterator[torch.Tensor]:
    """x and, after it, the state at every later time of the grid."""
    times = wide(grid).cpu()
    if times.ndim != 1 or len(times) == 0:
        raise ValueError(f"grid has shape {tuple(times.shape)}; expected a 1-D sequence of at least one time")
    names = inspect.signature(step).parameters
    past: Past = []
    yield x
    for t, s in pairwise(times):
        given: dict[str, Any] = {"past": past} if "past" in names else {}
        if "noise" in names:
            device = generator.device if generator is not None else x.device
            given["noise"] = torch.randn(x.shape, generator=generator, device=device, dtype=x.dtype).to(x.device)
        x = step(denoise, path, x, t, s, **given)
        yield x


@torch.no_grad()
def sample(
    denoise: Denoise,
    path: Path,
    x: torch.Tensor,
    grid: torch.Tensor,
    step: Step = ddim,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Take x, the state at grid[0], through the times of the grid: the state at grid[-1], like x.

    x: (B, ...), for instance from `start`. grid: (n + 1,) times, from one of the functions below, or flipped to go from
    data to noise. step: any step above, or your own; settings are bound with functools.partial, as in
    ``partial(ancestral, eta=0.5)``. generator: feeds the noise of the steps that take any; the others draw nothing.
    Raises ValueError unless grid is 1-D and not empty. Builds no graph.
    """
    for state in _states(denoise, path, x, grid, step, generator):
        x = state
    return x


@torch.no_grad()
def trajectory(
    denoise: Denoise,
    path: Path,
    x: torch.Tensor,
    grid: torch.Tensor,
    step: Step = ddim,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """As `sample`, but all states on the way: (n + 1, B, ...), of which the first is x."""
    return torch.stack(list(_states(denoise, path, x, grid, step, generator)))


# Grids: which times to visit. All fall strictly, and are (n + 1,) float64: n steps ------------------------------------


def uniform(n: int, t_max: float = 1.0, t_min: float = 0.0) -> torch.Tensor:
    """Equal steps in time from t_max to t_min. Raises ValueError unless n >= 1 and 0 <= t_min < t_max <= 1."""
    if not 0 <= t_min < t_max <= 1:
        raise ValueError(f"t_min, t_max are {t_min}, {t_max}; expected 0 <= t_min < t_max <= 1")
    return torch.linspace(t_max, t_min, _count(n) + 1, dtype=torch.float64)


def karras_sigmas(n: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> torch.Tensor:
    """n noise levels from sigma_max to sigma_min, equally spaced in sigma^(1/rho), and then 0. n = 1: [sigma_max, 0].

    rho = infinity spaces them equally in log sigma. Raises ValueError unless n >= 1, 0 < sigma_min < sigma_max and
    rho > 0.
    Source: Karras et al., 2022, equation (5).
    """
    if not 0 < sigma_min < sigma_max < math.inf:
        raise ValueError(f"sigma_min, sigma_max are {sigma_min}, {sigma_max}; expected 0 < sigma_min < sigma_max")
    if not rho > 0:
        raise ValueError(f"rho is {rho}; expected a number > 0")
    if rho == math.inf:
        levels = torch.linspace(math.log(sigma_max), math.log(sigma_min), _count(n), dtype=torch.float64).exp()
    else:
        levels = torch.linspace(sigma_max ** (1 / rho), sigma_min ** (1 / rho), _count(n), dtype=torch.float64) ** rho
    return torch.cat([levels, levels.new_zeros(1)])


def karras(
    path: Path, n: int, sigma_min: float = 0.002, sigma_max: float | None = None, rho: float = 7.0
) -> torch.Tensor:
    """The times at which sigma / alpha takes the values of `karras_sigmas`, on any path.

    sigma_max: None starts at t = 1, where the level may be infinite; the second time is then that of a ladder from 80.
    On a path that has noise at t = 0 already (VE), the grid ends there, in place of 0.
    Raises ValueError as karras_sigmas, and for levels that the path does not have.
    """
    lowest, highest = _level(path, 0.0).item(), _level(path, 1.0).item()
    top = sigma_max if sigma_max is not None else (80.0 if highest == math.inf else highest)
    if top > highest:
        raise ValueError(f"sigma_max is {sigma_max}; expected at most the path's highest sigma / alpha, {highest:g}")
    noisy_end = lowest >= sigma_min
    levels = karras_sigmas(n + 1, lowest, top, rho)[:-1] if noisy_end else karras_sigmas(n, sigma_min, top, rho)
    times = path.inverse_log_snr(-2 * levels.log())
    times[-1] = 0.0
    if sigma_max is None:
        times[0] = 1.0
    return times


def log_snr(path: Path, n: int, sigma_min: float = 0.002, sigma_max: float | None = None) -> torch.Tensor:
    """Equal steps in log-SNR between the noise levels sigma_max and sigma_min, then one to t = 0; else as `karras`.

    Source: Lu et al., "DPM-Solver", 2022, section 3.
    """
    return karras(path, n, sigma_min, sigma_max, rho=math.inf)


def spaced_steps(T: int, n: int, spacing: str = "trailing") -> list[int]:
    """n of the steps T..1 of a discrete schedule, and 0 at the end: n + 1 strictly falling ints.

    spacing: "linspace" includes T and 1; "leading" starts at 1 + (n - 1) (T // n), which may be far from T;
    "trailing" includes T and divides T evenly. Halves are rounded to even. Raises ValueError unless 1 <= n <= T.
    Source: Lin et al., "Common Diffusion Noise Schedules and Sample Steps are Flawed", 2024, table 2 and section 3.3.
    """
    if not 1 <= _count(n) <= T:
        raise ValueError(f"n is {n}; expected a whole number between 1 and T = {T}")
    if spacing == "linspace":
        steps = [round(T - Fraction(i * (T - 1), max(n - 1, 1))) for i in range(n)]
    elif spacing == "leading":
        steps = [1 + (T // n) * i for i in reversed(range(n))]
    elif spacing == "trailing":
        steps = [round(T - Fraction(i * T, n)) for i in range(n)]
    else:
        raise ValueError(f"spacing is {spacing!r}; expected linspace, leading or trailing")
    return [*steps, 0]


def spaced(T: int, n: int, spacing: str = "trailing") -> torch.Tensor:
    """`spaced_steps` as times k / T, for paths.Discrete and networks that were trained on T steps."""
    return torch.tensor(spaced_steps(T, n, spacing), dtype=torch.float64) / T


def _count(n: int) -> int:
    if not isinstance(n, int) or n < 1:
        raise ValueError(f"n is {n!r}; expected a whole number of steps >= 1")
    return n
