"""The density that a denoiser assigns to data, by the change of variables along its probability-flow ODE.

The ODE dx/dt = v(x, t), v = E[alpha' x0 + sigma' eps | x_t], carries data to noise, whose density is known. On the way
the log-density changes by -div v, so that

    log p(x) = log p_noise(x_1) + integral of div v(x_t, t) dt  from t_min to t_max.                             (1)

Derived in the book: chapter 1, equation (1.19).
Source: Song et al., "Score-Based Generative Modeling through SDEs", 2021, section 4.3 and appendix D.2.
"""

import math
from collections.abc import Callable

import torch

from noise2data import odes
from noise2data.paths import Path, Time, wide
from noise2data.samplers import Denoise

Divergence = Callable[[Callable[[torch.Tensor, Time], torch.Tensor], torch.Tensor, Time], torch.Tensor]


@torch.no_grad()
def log_likelihood(
    denoise: Denoise,
    path: Path,
    x: torch.Tensor,
    grid: torch.Tensor,
    divergence: Divergence = odes.divergence,
    prior: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> torch.Tensor:
    """log p(x) in nats, one number for each sample: (B,), in x's dtype. Error O(h^2) in the steps of the grid.

    denoise(x, t) returns x0_hat. x: (B, ...), at time grid[-1]. grid: (n + 1,) falling times, as for a sampler; they
    are followed upwards, by Heun's rule, with 2n calls of the velocity and of divergence. The last must leave some
    noise (sigma > 0), so that x0_hat determines the velocity: this is the density of x_t at t = grid[-1].
    divergence(f, x, t) returns (B,): odes.divergence is exact, at one backward pass for each dimension;
    ``lambda f, x, t: odes.hutchinson(f, x, t, probe)`` estimates it in one.
    prior: the log-density at grid[0], (B, ...) to (B,); N(0, sigma^2 I) if None. Builds no graph.
    Raises ValueError unless grid is 1-D, falls, and ends with sigma > 0.
    """
    times = wide(grid)
    if times.ndim != 1 or len(times) < 2 or not bool((times.diff() < 0).all()):
        raise ValueError(f"grid is {times.tolist()}; expected at least two falling times")
    if path.sigma(times[-1]) == 0:
        raise ValueError(f"grid ends at {times[-1].item():g}, where sigma is 0; expected a last time with some noise")

    def velocity(x: torch.Tensor, t: Time) -> torch.Tensor:
        return path.convert(denoise(x, wide(t)), x, t, "x0", "velocity")

    noise, change = odes.integrate_log_density(velocity, lambda x, t: divergence(velocity, x, t), x, times.flip(0))
    return (prior(noise) if prior is not None else _log_normal(noise, path.sigma(times[0]))) - change


def _log_normal(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """log N(x; 0, sigma^2 I), summed over all axes but the first."""
    sigma = sigma.to(x)
    square = (x / sigma).flatten(1).square()
    return -(square / 2 + sigma.log() + math.log(2 * math.pi) / 2).sum(1)
