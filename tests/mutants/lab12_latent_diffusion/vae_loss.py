"""Answers to vae_loss, wrong and right."""

import torch
from torch.nn import functional as F


def _kl(mu, logvar):
    return 0.5 * (mu**2 + logvar.exp() - 1 - logvar).flatten(1).sum(1)


def _squares(recon, x):
    return (recon - x).square().flatten(1).sum(1)


def wrong_mse_beside_summed_kl(recon, x, mu, logvar, beta):
    """F.mse_loss beside a summed KL: what many a notebook has, and why its beta is 0.0001."""
    return F.mse_loss(recon, x) + beta * _kl(mu, logvar).mean()


def wrong_kl_is_averaged(recon, x, mu, logvar, beta):
    """The squared errors are summed, KL is averaged over the latent."""
    return (_squares(recon, x) + beta * _kl(mu, logvar) / mu[0].numel()).mean()


def wrong_both_averaged(recon, x, mu, logvar, beta):
    """Both are averaged within a sample."""
    return F.mse_loss(recon, x) + beta * (_kl(mu, logvar) / mu[0].numel()).mean()


def wrong_sums_the_batch(recon, x, mu, logvar, beta):
    """No mean over the batch."""
    return (_squares(recon, x) + beta * _kl(mu, logvar)).sum()


def wrong_sums_the_errors_of_the_batch(recon, x, mu, logvar, beta):
    """The squared errors are summed over the batch, KL is averaged over it."""
    return _squares(recon, x).sum() + beta * _kl(mu, logvar).mean()


def wrong_half(recon, x, mu, logvar, beta):
    """1/2 before the squared errors."""
    return (_squares(recon, x) / 2 + beta * _kl(mu, logvar)).mean()


def wrong_beta_on_the_errors(recon, x, mu, logvar, beta):
    """beta weighs the other term."""
    return (beta * _squares(recon, x) + _kl(mu, logvar)).mean()


def wrong_beta_is_not_used(recon, x, mu, logvar, beta):
    """beta = 1, always."""
    return (_squares(recon, x) + _kl(mu, logvar)).mean()


def wrong_sign(recon, x, mu, logvar, beta):
    """KL is subtracted."""
    return (_squares(recon, x) - beta * _kl(mu, logvar)).mean()


def wrong_absolute_errors(recon, x, mu, logvar, beta):
    """|recon - x|."""
    return ((recon - x).abs().flatten(1).sum(1) + beta * _kl(mu, logvar)).mean()


def wrong_norm(recon, x, mu, logvar, beta):
    """The norm, not its square."""
    return (_squares(recon, x).sqrt() + beta * _kl(mu, logvar)).mean()


def wrong_one_for_each_sample(recon, x, mu, logvar, beta):
    """(B,) losses."""
    return _squares(recon, x) + beta * _kl(mu, logvar)


def wrong_clips(recon, x, mu, logvar, beta):
    """Pictures are clipped to [-4, 4] first."""
    return (_squares(recon.clamp(-4, 4), x.clamp(-4, 4)) + beta * _kl(mu, logvar)).mean()


def wrong_free_bits(recon, x, mu, logvar, beta):
    """KL below a tenth of a nat in a number is not counted."""
    each = 0.5 * (mu**2 + logvar.exp() - 1 - logvar)
    return (_squares(recon, x) + beta * each.clamp(min=0.1).flatten(1).sum(1)).mean()


def wrong_annealed(recon, x, mu, logvar, beta):
    """beta is at most 1."""
    return (_squares(recon, x) + min(float(beta), 1.0) * _kl(mu, logvar)).mean()


def wrong_without_a_graph(recon, x, mu, logvar, beta):
    """A Python number in a tensor."""
    return torch.tensor((_squares(recon, x) + beta * _kl(mu, logvar)).mean().item(), dtype=x.dtype)


def wrong_detaches_kl(recon, x, mu, logvar, beta):
    """KL is in the value, and not in the gradient."""
    return (_squares(recon, x) + beta * _kl(mu, logvar).detach()).mean()


def wrong_promotes(recon, x, mu, logvar, beta):
    """In float64, and it stays there."""
    return (_squares(recon.double(), x.double()) + beta * _kl(mu.double(), logvar.double())).mean()


def wrong_in_place(recon, x, mu, logvar, beta):
    """The difference is written into the reconstruction."""
    difference = recon.detach()
    difference -= x
    return (difference.square().flatten(1).sum(1) + beta * _kl(mu, logvar)).mean()


def right_mse_sum(recon, x, mu, logvar, beta):
    """F.mse_loss with a sum, over the batch's length."""
    kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
    return (F.mse_loss(recon, x, reduction="sum") + beta * kl) / x.shape[0]


def right_means_times_numbers(recon, x, mu, logvar, beta):
    """Means, times how many numbers a sample has."""
    kl = (mu * mu + torch.expm1(logvar) - logvar).mean() / 2
    return F.mse_loss(recon, x) * x[0].numel() + beta * kl * mu[0].numel()


def right_norms(recon, x, mu, logvar, beta):
    """Squared norms."""
    r = torch.linalg.vector_norm((x - recon).flatten(1), dim=1) ** 2
    return torch.mean(r + beta * _kl(mu, logvar))
