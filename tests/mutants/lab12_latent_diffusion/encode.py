"""Answers to encode, wrong and right."""

import torch


def wrong_without_scale(vae, x, scale, noise):
    """The scale is forgotten."""
    mu, logvar = vae.encode(x)
    return mu if noise is None else mu + torch.exp(logvar / 2) * noise


def wrong_divides(vae, x, scale, noise):
    """Divides by the scale, as by a standard deviation."""
    mu, logvar = vae.encode(x)
    return (mu if noise is None else mu + torch.exp(logvar / 2) * noise) / scale


def wrong_scales_the_mean_alone(vae, x, scale, noise):
    """The noise is added after the scale."""
    mu, logvar = vae.encode(x)
    return scale * mu if noise is None else scale * mu + torch.exp(logvar / 2) * noise


def wrong_always_the_mean(vae, x, scale, noise):
    """The noise is not used."""
    return scale * vae.encode(x)[0]


def wrong_draws_without_noise(vae, x, scale, noise):
    """Draws where noise is None."""
    mu, logvar = vae.encode(x)
    noise = torch.randn_like(mu) if noise is None else noise
    return scale * (mu + torch.exp(logvar / 2) * noise)


def wrong_variance(vae, x, scale, noise):
    """exp(logvar) times the noise."""
    mu, logvar = vae.encode(x)
    return scale * mu if noise is None else scale * (mu + torch.exp(logvar) * noise)


def wrong_stable_diffusions_scale(vae, x, scale, noise):
    """0.18215 whatever the scale is."""
    mu, logvar = vae.encode(x)
    return 0.18215 * (mu if noise is None else mu + torch.exp(logvar / 2) * noise)


def wrong_truth_of_noise(vae, x, scale, noise):
    """Noise that is 0 everywhere in its first sample's place is taken for none."""
    mu, logvar = vae.encode(x)
    return scale * (mu if noise is None or not noise[-1].any() else mu + torch.exp(logvar / 2) * noise)


def wrong_adds_one_to_everything(vae, x, scale, noise):
    """Without noise it adds the standard deviation, as if noise were 1."""
    mu, logvar = vae.encode(x)
    return scale * (mu + torch.exp(logvar / 2) * (1.0 if noise is None else noise))


def wrong_without_a_graph(vae, x, scale, noise):
    """Under no_grad, so that nobody can train the encoder through it."""
    with torch.no_grad():
        mu, logvar = vae.encode(x)
        return scale * (mu if noise is None else mu + torch.exp(logvar / 2) * noise)


def wrong_freezes(vae, x, scale, noise):
    """Freezes the caller's autoencoder."""
    vae.requires_grad_(False)
    mu, logvar = vae.encode(x)
    return scale * (mu if noise is None else mu + torch.exp(logvar / 2) * noise)


def wrong_eval_mode(vae, x, scale, noise):
    """Puts the caller's autoencoder into another mode."""
    mu, logvar = vae.eval().encode(x)
    return scale * (mu if noise is None else mu + torch.exp(logvar / 2) * noise)


def wrong_in_place(vae, x, scale, noise):
    """Stretches the caller's noise."""
    mu, logvar = vae.encode(x)
    if noise is None:
        return scale * mu
    with torch.no_grad():
        noise *= torch.exp(logvar / 2)
    return scale * (mu + noise)


def wrong_promotes(vae, x, scale, noise):
    """A scale of shape (1,) in float64 makes float32 latents float64."""
    mu, logvar = vae.encode(x)
    scale = torch.as_tensor(scale, dtype=torch.float64).reshape(1)
    return scale * (mu if noise is None else mu + torch.exp(logvar / 2) * noise)


def wrong_flat(vae, x, scale, noise):
    """Latents as vectors."""
    mu, logvar = vae.encode(x)
    return (scale * (mu if noise is None else mu + torch.exp(logvar / 2) * noise)).flatten(1)


def right_two_terms(vae, x, scale, noise):
    """Scales both terms."""
    mu, logvar = vae.encode(x)
    z = mu * scale
    if noise is not None:
        z = z + scale * noise * logvar.mul(0.5).exp()
    return z


def right_zero_noise(vae, x, scale, noise):
    """None is noise 0."""
    mu, logvar = vae.encode(x)
    noise = torch.zeros_like(mu) if noise is None else noise
    return torch.addcmul(mu, noise, logvar.exp().sqrt()).mul(scale)
