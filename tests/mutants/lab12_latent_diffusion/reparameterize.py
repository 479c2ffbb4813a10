"""Answers to reparameterize, wrong and right."""

import torch


def wrong_variance(mu, logvar, noise):
    """exp(logvar) where the standard deviation belongs."""
    return mu + logvar.exp() * noise


def wrong_logvar_is_log_sigma(mu, logvar, noise):
    """The network's second output taken for the standard deviation itself."""
    return mu + logvar * noise


def wrong_forgets_exp(mu, logvar, noise):
    """Half of logvar, without exp."""
    return mu + logvar / 2 * noise


def wrong_sign_of_the_exponent(mu, logvar, noise):
    """Divides by the standard deviation."""
    return mu + torch.exp(-logvar / 2) * noise


def wrong_stretches_the_mean(mu, logvar, noise):
    """(mu + noise) times sigma."""
    return (mu + noise) * torch.exp(logvar / 2)


def wrong_only_the_mean(mu, logvar, noise):
    """No noise at all."""
    return mu + 0 * noise * logvar


def wrong_own_noise(mu, logvar, noise):
    """Draws its own noise in place of the one given."""
    return mu + torch.exp(logvar / 2) * torch.randn_like(mu)


def wrong_samples_without_a_gradient(mu, logvar, noise):
    """The draw is detached, as torch.distributions' sample() does it."""
    return (mu + torch.exp(logvar / 2) * noise).detach()


def wrong_spread_without_a_gradient(mu, logvar, noise):
    """Sigma is detached, so that only the mean is trained."""
    return mu + torch.exp(logvar / 2).detach() * noise


def wrong_adds_to_the_variance(mu, logvar, noise):
    """sqrt(exp(logvar) + 1e-6), for safety."""
    return mu + torch.sqrt(logvar.exp() + 1e-6) * noise


def wrong_clamps(mu, logvar, noise):
    """logvar between -30 and 10."""
    return mu + torch.exp(logvar.clamp(-30, 10) / 2) * noise


def wrong_clamps_from_below(mu, logvar, noise):
    """logvar between -30 and 20, as many an autoencoder does it."""
    return mu + torch.exp(logvar.clamp(-30, 20) / 2) * noise


def wrong_promotes(mu, logvar, noise):
    """Works in float64 and stays there."""
    return mu.double() + torch.exp(logvar.double() / 2) * noise.double()


def wrong_in_place(mu, logvar, noise):
    """Multiplies the caller's noise."""
    with torch.no_grad():
        noise *= torch.exp(logvar / 2)
    return mu + noise


def wrong_one_spread_for_a_sample(mu, logvar, noise):
    """The mean of logvar over a sample."""
    mean = logvar.flatten(1).mean(1).reshape(-1, *[1] * (mu.ndim - 1))
    return mu + torch.exp(mean / 2) * noise


def right_square_root(mu, logvar, noise):
    """The root of the variance."""
    return mu + logvar.exp().sqrt() * noise


def right_distribution(mu, logvar, noise):
    """An affine transform of torch.distributions."""
    move = torch.distributions.transforms.AffineTransform(mu, (0.5 * logvar).exp())
    return move(noise)


def right_addcmul(mu, logvar, noise):
    """One fused operation."""
    return torch.addcmul(mu, noise, torch.exp(0.5 * logvar))
