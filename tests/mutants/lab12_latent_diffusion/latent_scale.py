"""Answers to latent_scale, wrong and right."""

import torch


def wrong_stable_diffusions(z):
    """0.18215, of another autoencoder."""
    return torch.tensor(0.18215, dtype=z.dtype)


def wrong_std(z):
    """The standard deviation itself."""
    return z.std(correction=0)


def wrong_variance(z):
    """One over the variance."""
    return 1 / z.var(correction=0)


def wrong_unbiased(z):
    """Divides by n - 1, which is torch's default."""
    return 1 / z.std()


def wrong_root_mean_square(z):
    """The mean is not subtracted."""
    return z.square().mean().rsqrt()


def wrong_by_channel(z):
    """A scale for each channel."""
    return 1 / z.transpose(0, 1).flatten(1).std(1, correction=0)


def wrong_mean_of_channels(z):
    """The mean of the channels' standard deviations."""
    return 1 / z.transpose(0, 1).flatten(1).std(1, correction=0).mean()


def wrong_mean_of_samples(z):
    """The mean of the samples' standard deviations."""
    return 1 / z.flatten(1).std(1, correction=0).mean()


def wrong_centres_each_channel(z):
    """Each channel's own mean is subtracted."""
    axes = (0, *range(2, z.ndim))
    return 1 / (z - z.mean(axes, keepdim=True)).square().mean().sqrt()


def wrong_first_sample(z):
    """The first latent alone."""
    return 1 / z[0].std(correction=0)


def wrong_largest(z):
    """One over the largest number."""
    return 1 / z.abs().max()


def wrong_adds_an_epsilon(z):
    """std + 1e-6."""
    return 1 / (z.std(correction=0) + 1e-6)


def wrong_in_place(z):
    """Centres the caller's latents."""
    z -= z.mean()
    return 1 / z.square().mean().sqrt()


def wrong_noisy(z):
    """Of a random half of the numbers."""
    flat = z.flatten()
    return 1 / flat[torch.randperm(len(flat))[: (len(flat) + 1) // 2]].std(correction=0)


def right_float(z):
    """A Python float."""
    return 1.0 / float(z.double().flatten().std(unbiased=False))


def right_by_hand(z):
    """The mean square of what is left without the mean."""
    return (z - z.mean()).pow(2).mean().pow(-0.5)


def right_variance(z):
    """The variance of everything, and rsqrt."""
    return torch.var(z.reshape(-1), correction=0).rsqrt()
