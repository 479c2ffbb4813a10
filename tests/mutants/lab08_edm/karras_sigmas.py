"""Answers to karras_sigmas, wrong and right."""

import math

import torch


def _share(n):
    return torch.arange(n, dtype=torch.float64) / max(n - 1, 1)


def _levels(share, low, high, rho):
    a, b = high ** (1 / rho), low ** (1 / rho)
    return (a + share * (b - a)) ** rho


def _with_zero(levels):
    return torch.cat([levels, torch.zeros(1, dtype=levels.dtype)])


def wrong_geometric(n, sigma_min, sigma_max, rho=7.0):
    """The geometric ladder under Karras's name."""
    return _with_zero(sigma_max * (sigma_min / sigma_max) ** _share(n))


def wrong_without_outer_power(n, sigma_min, sigma_max, rho=7.0):
    """Interpolated in sigma^(1/rho), and left there."""
    a, b = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    return _with_zero(a + _share(n) * (b - a))


def wrong_share_of_n(n, sigma_min, sigma_max, rho=7.0):
    """i/n for i/(n - 1)."""
    return _with_zero(_levels(torch.arange(n, dtype=torch.float64) / n, sigma_min, sigma_max, rho))


def wrong_without_zero(n, sigma_min, sigma_max, rho=7.0):
    """The list stops at sigma_min."""
    return _levels(_share(n), sigma_min, sigma_max, rho)


def wrong_zero_within_n(n, sigma_min, sigma_max, rho=7.0):
    """n entries in all, the last of them 0."""
    return _with_zero(_levels(_share(n)[:-1], sigma_min, sigma_max, rho))


def wrong_one_level_more(n, sigma_min, sigma_max, rho=7.0):
    """n + 1 levels from sigma_max to sigma_min, and no 0."""
    return _levels(_share(n + 1), sigma_min, sigma_max, rho)


def wrong_rho_ignored(n, sigma_min, sigma_max, rho=7.0):
    """7, whatever is asked for."""
    return _with_zero(_levels(_share(n), sigma_min, sigma_max, 7.0))


def wrong_rho_whole(n, sigma_min, sigma_max, rho=7.0):
    """rho cut to a whole number, at least 1."""
    return _with_zero(_levels(_share(n), sigma_min, sigma_max, max(int(rho), 1)))


def wrong_large_rho_as_geometric(n, sigma_min, sigma_max, rho=7.0):
    """From 50 on the limit is taken for the thing itself."""
    if rho >= 50:
        return wrong_geometric(n, sigma_min, sigma_max)
    return _with_zero(_levels(_share(n), sigma_min, sigma_max, rho))


def wrong_root_and_power_exchanged(n, sigma_min, sigma_max, rho=7.0):
    """Evenly spaced in sigma^rho."""
    return _with_zero(_levels(_share(n), sigma_min, sigma_max, 1 / rho))


def wrong_rising(n, sigma_min, sigma_max, rho=7.0):
    """From sigma_min up."""
    return _with_zero(_levels(_share(n), sigma_max, sigma_min, rho))


def wrong_nan_for_one(n, sigma_min, sigma_max, rho=7.0):
    """0/0 for n = 1."""
    share = torch.arange(n, dtype=torch.float64) / (torch.tensor(n, dtype=torch.float64) - 1)
    return _with_zero(_levels(share, sigma_min, sigma_max, rho))


def wrong_one_is_sigma_min(n, sigma_min, sigma_max, rho=7.0):
    """n = 1 is [sigma_min, 0]: the levels are counted from below."""
    levels = _levels(_share(n), sigma_max, sigma_min, rho).flip(0)
    return _with_zero(levels)


def wrong_float32(n, sigma_min, sigma_max, rho=7.0):
    """torch.linspace without a dtype."""
    levels = torch.linspace(sigma_max ** (1 / rho), sigma_min ** (1 / rho), n) ** rho
    return torch.cat([levels, torch.zeros(1)])


def wrong_float64_in_name(n, sigma_min, sigma_max, rho=7.0):
    """Computed in float32, and cast at the end."""
    return wrong_float32(n, sigma_min, sigma_max, rho).double()


def wrong_at_most_a_hundred(n, sigma_min, sigma_max, rho=7.0):
    """Built by repeated differences that are rounded to eight digits, which adds up over many levels."""
    a, b = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    step = round((b - a) / max(n - 1, 1), 8)
    return _with_zero((a + step * torch.arange(n, dtype=torch.float64)) ** rho)


def wrong_tiny_end(n, sigma_min, sigma_max, rho=7.0):
    """1e-8 in place of 0, so that nothing is divided by 0."""
    return torch.cat([_levels(_share(n), sigma_min, sigma_max, rho), torch.tensor([1e-8], dtype=torch.float64)])


def right_linspace(n, sigma_min, sigma_max, rho=7.0):
    """torch.linspace in float64, and new_zeros."""
    levels = torch.linspace(sigma_max ** (1 / rho), sigma_min ** (1 / rho), n, dtype=torch.float64) ** rho
    return torch.cat([levels, levels.new_zeros(1)])


def right_numbers(n, sigma_min, sigma_max, rho=7.0):
    """Python numbers, one by one."""
    a, b = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    shares = [i / (n - 1) if n > 1 else 0.0 for i in range(n)]
    return torch.tensor([math.pow((1 - s) * a + s * b, rho) for s in shares] + [0.0], dtype=torch.float64)


def right_relative(n, sigma_min, sigma_max, rho=7.0):
    """sigma_max times powers of a number that falls from 1; 0 is what a vector of zeros holds to begin with."""
    sigmas = torch.zeros(n + 1, dtype=torch.float64)
    end = (sigma_min / sigma_max) ** (1 / rho)
    sigmas[:n] = sigma_max * torch.linspace(1.0, end, n, dtype=torch.float64).pow(rho)
    return sigmas
