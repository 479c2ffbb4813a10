"""Answers to logit_normal_times, wrong and right."""

import torch


def wrong_uniform(n, mean, std, generator):
    """Uniform times."""
    return torch.rand(n, generator=generator)


def wrong_sign_of_the_mean(n, mean, std, generator):
    """The other clock: mean > 0 leans to data."""
    return torch.sigmoid(-(mean + std * torch.randn(n, generator=generator)))


def wrong_variance(n, mean, std, generator):
    """std taken for a variance."""
    return torch.sigmoid(mean + std**0.5 * torch.randn(n, generator=generator))


def wrong_squared(n, mean, std, generator):
    """std squared."""
    return torch.sigmoid(mean + std**2 * torch.randn(n, generator=generator))


def wrong_log_odds(n, mean, std, generator):
    """The sigmoid is forgotten."""
    return mean + std * torch.randn(n, generator=generator)


def wrong_log_normal(n, mean, std, generator):
    """EDM's noise levels, exp for sigmoid."""
    return torch.exp(mean + std * torch.randn(n, generator=generator))


def wrong_mean_after_the_sigmoid(n, mean, std, generator):
    """mean is added to the time."""
    return (torch.sigmoid(std * torch.randn(n, generator=generator)) + mean).clamp(0.001, 0.999)


def wrong_mean_scaled_too(n, mean, std, generator):
    """std (mean + z)."""
    return torch.sigmoid(std * (mean + torch.randn(n, generator=generator)))


def wrong_logistic(n, mean, std, generator):
    """Logistic noise of the right variance for normal noise."""
    u = torch.rand(n, generator=generator, dtype=torch.float64).clamp(1e-9, 1 - 1e-9)
    return torch.sigmoid(mean + std * torch.logit(u) * 3**0.5 / torch.pi)


def wrong_normal_cdf(n, mean, std, generator):
    """The normal distribution function for the sigmoid."""
    z = mean + std * torch.randn(n, generator=generator, dtype=torch.float64)
    return (0.5 * (1 + torch.erf(z / 2**0.5))).clamp(1e-12, 1 - 1e-12)


def wrong_clamped(n, mean, std, generator):
    """Cut to [0.2, 0.8]."""
    return torch.sigmoid(mean + std * torch.randn(n, generator=generator)).clamp(0.2, 0.8)


def wrong_one_time_for_all(n, mean, std, generator):
    """One draw for the whole batch."""
    return torch.sigmoid(mean + std * torch.randn(1, generator=generator)).expand(n).clone()


def wrong_global_generator(n, mean, std, generator):
    """The generator is not used."""
    return torch.sigmoid(mean + std * torch.randn(n))


def wrong_seeded_inside(n, mean, std, generator):
    """The generator is seeded anew."""
    return torch.sigmoid(mean + std * torch.randn(n, generator=generator.manual_seed(0)))


def wrong_column(n, mean, std, generator):
    """(n, 1)."""
    return torch.sigmoid(mean + std * torch.randn(n, 1, generator=generator))


def right_sigmoid(n, mean, std, generator):
    """Equation (9.14)."""
    return torch.sigmoid(mean + std * torch.randn(n, generator=generator))


def right_exponential(n, mean, std, generator):
    """1 / (1 + exp(-...)), in float64."""
    z = torch.randn(n, generator=generator, dtype=torch.float64)
    return 1 / (1 + torch.exp(-mean - std * z))


def right_quantiles(n, mean, std, generator):
    """Normal draws from uniform ones."""
    u = torch.rand(n, generator=generator, dtype=torch.float64).clamp(1e-15, 1 - 1e-15)
    return (mean + std * 2**0.5 * torch.erfinv(2 * u - 1)).sigmoid()
