"""Answers to linear_alpha_bar, wrong and right."""

import math

import numpy as np
import torch


def _product(betas):
    return torch.cat([torch.ones(1, dtype=betas.dtype), torch.cumprod(1 - betas, 0)])


def wrong_without_level_0(T, beta_start=1e-4, beta_end=0.02):
    """T entries: abar[0] is the first noisy level, so every index is off by one."""
    return torch.cumprod(1 - torch.linspace(beta_start, beta_end, T, dtype=torch.float64), 0)


def wrong_float32(T, beta_start=1e-4, beta_end=0.02):
    """torch.linspace in its default float32."""
    return _product(torch.linspace(beta_start, beta_end, T))


def wrong_float32_cast_at_the_end(T, beta_start=1e-4, beta_end=0.02):
    """Computed in float32 and cast to float64: the dtype is right and the digits are not."""
    return _product(torch.linspace(beta_start, beta_end, T)).double()


def wrong_cumulative_sum(T, beta_start=1e-4, beta_end=0.02):
    """One minus the sum of the betas in place of the product of 1 - beta."""
    betas = torch.linspace(beta_start, beta_end, T, dtype=torch.float64)
    return torch.cat([torch.ones(1, dtype=torch.float64), 1 - betas.cumsum(0)])


def wrong_exponential_of_the_integral(T, beta_start=1e-4, beta_end=0.02):
    """The continuous-time formula exp(-sum of betas), close to the product and not equal."""
    betas = torch.linspace(beta_start, beta_end, T, dtype=torch.float64)
    return torch.cat([torch.ones(1, dtype=torch.float64), torch.exp(-betas.cumsum(0))])


def wrong_rescaled_with_T(T, beta_start=1e-4, beta_end=0.02):
    """The betas multiplied by 1000/T, as improved-diffusion does."""
    scale = 1000 / T
    return _product(torch.linspace(scale * beta_start, scale * beta_end, T, dtype=torch.float64))


def wrong_without_the_last_beta(T, beta_start=1e-4, beta_end=0.02):
    """np.arange style: the upper end is left out."""
    return _product(beta_start + (beta_end - beta_start) * torch.arange(T, dtype=torch.float64) / T)


def wrong_linear_in_the_square_root(T, beta_start=1e-4, beta_end=0.02):
    """Stable Diffusion's "scaled linear" betas."""
    return _product(torch.linspace(beta_start**0.5, beta_end**0.5, T, dtype=torch.float64) ** 2)


def wrong_square_root(T, beta_start=1e-4, beta_end=0.02):
    """Returns sqrt(abar), the factor of x0."""
    return _product(torch.linspace(beta_start, beta_end, T, dtype=torch.float64)).sqrt()


def wrong_one_beta_too_many(T, beta_start=1e-4, beta_end=0.02):
    """T + 1 betas, and abar[0] = 1 - beta_start."""
    return torch.cumprod(1 - torch.linspace(beta_start, beta_end, T + 1, dtype=torch.float64), 0)


def wrong_first_beta_zero(T, beta_start=1e-4, beta_end=0.02):
    """T + 1 betas with the first replaced by 0: the right length and start, the wrong spacing."""
    betas = torch.linspace(beta_start, beta_end, T + 1, dtype=torch.float64)
    betas[0] = 0
    return torch.cumprod(1 - betas, 0)


def wrong_ignores_its_arguments(T, beta_start=1e-4, beta_end=0.02):
    """The defaults written into the body."""
    return _product(torch.linspace(1e-4, 0.02, T, dtype=torch.float64))


def wrong_division_by_zero_at_one_step(T, beta_start=1e-4, beta_end=0.02):
    """The spacing divided by T - 1 without thinking of T = 1."""
    i = torch.arange(T, dtype=torch.float64)
    return _product(beta_start + (beta_end - beta_start) * i / (T - 1))


def right_loop(T, beta_start=1e-4, beta_end=0.02):
    """One multiplication after the other in Python floats."""
    abar = [1.0]
    for i in range(T):
        beta = beta_start if T == 1 else beta_start + (beta_end - beta_start) * i / (T - 1)
        abar.append(abar[-1] * (1 - beta))
    return torch.tensor(abar, dtype=torch.float64)


def right_numpy(T, beta_start=1e-4, beta_end=0.02):
    """numpy's linspace and cumprod."""
    return torch.from_numpy(np.cumprod(np.r_[1.0, 1 - np.linspace(beta_start, beta_end, T)]))


def right_logarithms(T, beta_start=1e-4, beta_end=0.02):
    """The sum of log1p(-beta)."""
    betas = torch.linspace(beta_start, beta_end, T, dtype=torch.float64)
    return torch.nn.functional.pad(torch.log1p(-betas).cumsum(0), (1, 0)).exp()


def right_exact_sums(T, beta_start=1e-4, beta_end=0.02):
    """Logarithms summed with math.fsum."""
    step = (beta_end - beta_start) / max(T - 1, 1)
    logs = [math.log1p(-(beta_start + i * step)) for i in range(T)]
    return torch.tensor([math.exp(math.fsum(logs[:k])) for k in range(T + 1)], dtype=torch.float64)
