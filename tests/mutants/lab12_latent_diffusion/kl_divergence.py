"""Answers to kl_divergence, wrong and right."""

import math

import torch


def _each(mu, logvar):
    return 0.5 * (mu**2 + logvar.exp() - 1 - logvar)


def wrong_averages_latents(mu, logvar):
    """The mean over a sample, where the reconstruction is summed."""
    return _each(mu, logvar).flatten(1).mean(1)


def wrong_averages_the_batch(mu, logvar):
    """One number for all samples."""
    return _each(mu, logvar).flatten(1).sum(1).mean()


def wrong_sums_everything(mu, logvar):
    """The sum over the batch, too."""
    return _each(mu, logvar).sum()


def wrong_without_half(mu, logvar):
    """The factor 1/2 is lost."""
    return 2 * _each(mu, logvar).flatten(1).sum(1)


def wrong_sign(mu, logvar):
    """The bound's term, which is minus the divergence."""
    return -_each(mu, logvar).flatten(1).sum(1)


def wrong_other_direction(mu, logvar):
    """KL(N(0, I) || q)."""
    return 0.5 * ((1 + mu**2) * torch.exp(-logvar) - 1 + logvar).flatten(1).sum(1)


def wrong_log_sigma(mu, logvar):
    """logvar taken for log sigma."""
    return _each(mu, 2 * logvar).flatten(1).sum(1)


def wrong_exp_of_half(mu, logvar):
    """exp(logvar / 2), the standard deviation, where the variance belongs."""
    return 0.5 * (mu**2 + torch.exp(logvar / 2) - 1 - logvar).flatten(1).sum(1)


def wrong_bits(mu, logvar):
    """In bits."""
    return _each(mu, logvar).flatten(1).sum(1) / math.log(2)


def wrong_first_axis_only(mu, logvar):
    """Sums the channels and leaves rows and columns."""
    return _each(mu, logvar).sum(1)


def wrong_last_axis_only(mu, logvar):
    """Sums the last axis, averages the others."""
    out = _each(mu, logvar).sum(-1)
    return out.flatten(1).mean(1) if out.ndim > 1 else out


def wrong_mean_not_squared(mu, logvar):
    """mu for mu squared."""
    return 0.5 * (mu + logvar.exp() - 1 - logvar).flatten(1).sum(1)


def wrong_without_one(mu, logvar):
    """The -1 is lost, so that N(0, I) is not at 0."""
    return 0.5 * (mu**2 + logvar.exp() - logvar).flatten(1).sum(1)


def wrong_clamps(mu, logvar):
    """logvar between -30 and 10."""
    return _each(mu, logvar.clamp(-30, 10)).flatten(1).sum(1)


def wrong_log_with_an_epsilon(mu, logvar):
    """log(var + 1e-8)."""
    var = logvar.exp()
    return 0.5 * (mu**2 + var - 1 - torch.log(var + 1e-8)).flatten(1).sum(1)


def wrong_without_a_graph(mu, logvar):
    """Under no_grad."""
    with torch.no_grad():
        return _each(mu, logvar).flatten(1).sum(1)


def wrong_promotes(mu, logvar):
    """In float64, and it stays there."""
    return _each(mu.double(), logvar.double()).flatten(1).sum(1)


def wrong_in_place(mu, logvar):
    """Squares the caller's means."""
    square = mu.detach().pow_(2)
    return 0.5 * (square + logvar.exp() - 1 - logvar).flatten(1).sum(1)


def wrong_squeezes(mu, logvar):
    """A batch of one loses its axis."""
    return _each(mu, logvar).flatten(1).sum(1).squeeze()


def right_expm1(mu, logvar):
    """With expm1, and a sum over named axes."""
    return (mu.square() + torch.expm1(logvar) - logvar).sum(tuple(range(1, mu.ndim))) / 2


def right_distributions(mu, logvar):
    """torch.distributions knows it."""
    q = torch.distributions.Normal(mu, torch.exp(logvar / 2), validate_args=False)
    p = torch.distributions.Normal(torch.zeros_like(mu), torch.ones_like(mu))
    return torch.distributions.kl_divergence(q, p).reshape(len(mu), -1).sum(-1)


def right_by_sigma(mu, logvar):
    """Three sums."""
    s = torch.exp(0.5 * logvar)
    parts = 0.5 * mu * mu, 0.5 * s * s - 0.5, -0.5 * logvar
    return sum(part.flatten(1).sum(dim=1) for part in parts)
