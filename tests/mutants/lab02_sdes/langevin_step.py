"""Answers to `langevin_step`."""

import math

import torch


def wrong_root_h(score, x, h, noise):
    """sqrt(h) for sqrt(2h): half the temperature."""
    return x + h * score(x) + h**0.5 * noise


def wrong_half_step(score, x, h, noise):
    """The step of the other convention, h/2 and sqrt(h)."""
    return x + h / 2 * score(x) + h**0.5 * noise


def wrong_half_score(score, x, h, noise):
    """h/2 in front of the score beside sqrt(2h)."""
    return x + h / 2 * score(x) + (2 * h) ** 0.5 * noise


def wrong_variance(score, x, h, noise):
    """2h in front of the noise: a variance for a standard deviation."""
    return x + h * score(x) + 2 * h * noise


def wrong_two_outside_the_root(score, x, h, noise):
    """2 sqrt(h)."""
    return x + h * score(x) + 2 * h**0.5 * noise


def wrong_downhill(score, x, h, noise):
    """The score subtracted."""
    return x - h * score(x) + (2 * h) ** 0.5 * noise


def wrong_gradient_ascent(score, x, h, noise):
    """No noise."""
    return x + h * score(x)


def wrong_noise_first(score, x, h, noise):
    """The score at the noisy point."""
    x = x + (2 * h) ** 0.5 * noise
    return x + h * score(x)


def wrong_second_normal(score, x, h, noise):
    """Noise times a fresh normal."""
    return x + h * score(x) + (2 * h) ** 0.5 * noise * torch.randn(x.shape, dtype=x.dtype)


def wrong_draws_its_own(score, x, h, noise):
    """torch.randn_like in place of the noise that was given."""
    return x + h * score(x) + (2 * h) ** 0.5 * torch.randn_like(x)


def wrong_float64(score, x, h, noise):
    """Everything in float64."""
    x = x.double()
    return x + h * score(x) + (2 * h) ** 0.5 * noise.double()


def wrong_metropolis(score, x, h, noise):
    """Large moves are refused."""
    move = h * score(x) + (2 * h) ** 0.5 * noise
    return x + move.clamp(-0.5, 0.5)


def wrong_in_place(score, x, h, noise):
    """Moves the argument."""
    x.data += (h * score(x) + (2 * h) ** 0.5 * noise).data
    return x


def wrong_detached_score(score, x, h, noise):
    """The score is cut off."""
    return x + h * score(x).detach() + (2 * h) ** 0.5 * noise


def wrong_under_no_grad(score, x, h, noise):
    """Nothing can be differentiated."""
    with torch.no_grad():
        return x + h * score(x) + (2 * h) ** 0.5 * noise


def right_mean_and_std(score, x, h, noise):
    """A Gaussian with this mean and this standard deviation."""
    mean, std = torch.add(x, score(x), alpha=float(h)), math.sqrt(2 * float(h))
    return mean + std * noise


def right_by_tensors(score, x, h, noise):
    """h as a tensor of x's dtype."""
    h = torch.as_tensor(h, dtype=x.dtype, device=x.device)
    return x + h * score(x) + torch.sqrt(h + h) * noise
