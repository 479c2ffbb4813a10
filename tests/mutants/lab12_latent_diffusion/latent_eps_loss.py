"""Answers to latent_eps_loss, wrong and right."""

import torch
from torch.nn import functional as F


def _means(vae, x, scale):
    with torch.no_grad():
        return scale * vae.encode(x)[0]


def _levels(k, x):
    return torch.as_tensor(k, device=x.device).expand(len(x))


def _noised(z, k, eps, abar):
    a = abar[k].reshape(-1, 1, 1, 1)
    return a.sqrt().to(z.dtype) * z + (1 - a).sqrt().to(z.dtype) * eps


def wrong_without_scale(net, vae, x, k, eps, abar, scale):
    """The latents as the encoder gives them."""
    k = _levels(k, x)
    return (net(_noised(_means(vae, x, 1.0), k, eps, abar), k) - eps).square().mean()


def wrong_divides_by_scale(net, vae, x, k, eps, abar, scale):
    """Divides by the scale."""
    k = _levels(k, x)
    return (net(_noised(_means(vae, x, 1 / scale), k, eps, abar), k) - eps).square().mean()


def wrong_stable_diffusions_scale(net, vae, x, k, eps, abar, scale):
    """0.18215 whatever the scale is."""
    k = _levels(k, x)
    return (net(_noised(_means(vae, x, 0.18215), k, eps, abar), k) - eps).square().mean()


def wrong_scales_noise_too(net, vae, x, k, eps, abar, scale):
    """The noised latent is scaled."""
    k = _levels(k, x)
    return (net(scale * _noised(_means(vae, x, 1.0), k, eps, abar), k) - eps).square().mean()


def wrong_samples_the_posterior(net, vae, x, k, eps, abar, scale):
    """Draws from q(z | x) in place of its mean."""
    k = _levels(k, x)
    with torch.no_grad():
        mu, logvar = vae.encode(x)
        z = scale * (mu + torch.exp(logvar / 2) * torch.randn_like(mu))
    return (net(_noised(z, k, eps, abar), k) - eps).square().mean()


def wrong_variance_for_the_noise(net, vae, x, k, eps, abar, scale):
    """sqrt(abar) z + (1 - abar) eps."""
    k = _levels(k, x)
    a = abar[k].reshape(-1, 1, 1, 1)
    z = a.sqrt().to(eps.dtype) * _means(vae, x, scale) + (1 - a).to(eps.dtype) * eps
    return (net(z, k) - eps).square().mean()


def wrong_without_roots(net, vae, x, k, eps, abar, scale):
    """abar z + (1 - abar) eps."""
    k = _levels(k, x)
    a = abar[k].reshape(-1, 1, 1, 1).to(eps.dtype)
    return (net(a * _means(vae, x, scale) + (1 - a) * eps, k) - eps).square().mean()


def wrong_off_by_one(net, vae, x, k, eps, abar, scale):
    """abar[k - 1], as if abar had T entries."""
    k = _levels(k, x)
    return (net(_noised(_means(vae, x, scale), k - 1, eps, abar), k) - eps).square().mean()


def wrong_predicts_the_latent(net, vae, x, k, eps, abar, scale):
    """The network's answer is compared with z."""
    k, z = _levels(k, x), _means(vae, x, scale)
    return (net(_noised(z, k, eps, abar), k) - z).square().mean()


def wrong_sum(net, vae, x, k, eps, abar, scale):
    """Sums over features."""
    k = _levels(k, x)
    error = net(_noised(_means(vae, x, scale), k, eps, abar), k) - eps
    return error.square().flatten(1).sum(1).mean()


def wrong_half(net, vae, x, k, eps, abar, scale):
    """1/2 in front."""
    k = _levels(k, x)
    return (net(_noised(_means(vae, x, scale), k, eps, abar), k) - eps).square().mean() / 2


def wrong_trains_the_encoder(net, vae, x, k, eps, abar, scale):
    """The autoencoder is part of the graph."""
    k = _levels(k, x)
    z = scale * vae.encode(x)[0]
    return (net(_noised(z, k, eps, abar), k) - eps).square().mean()


def wrong_freezes_the_autoencoder(net, vae, x, k, eps, abar, scale):
    """requires_grad_(False) on the caller's autoencoder."""
    k = _levels(k, x)
    z = scale * vae.requires_grad_(False).encode(x)[0]
    return (net(_noised(z, k, eps, abar), k) - eps).square().mean()


def wrong_without_a_graph(net, vae, x, k, eps, abar, scale):
    """no_grad around the whole."""
    with torch.no_grad():
        k = _levels(k, x)
        return (net(_noised(_means(vae, x, scale), k, eps, abar), k) - eps).square().mean()


def wrong_number_for_the_network(net, vae, x, k, eps, abar, scale):
    """A number k is handed on as it is."""
    z = _noised(_means(vae, x, scale), _levels(k, x), eps, abar)
    return (net(z, k) - eps).square().mean()


def wrong_time_for_the_network(net, vae, x, k, eps, abar, scale):
    """k / T for the network."""
    k = _levels(k, x)
    z = _noised(_means(vae, x, scale), k, eps, abar)
    return (net(z, (k / (len(abar) - 1)).to(x.dtype)) - eps).square().mean()


def wrong_one_level_for_all(net, vae, x, k, eps, abar, scale):
    """The first level for the whole batch."""
    k = _levels(k, x)[:1].expand(len(x))
    return (net(_noised(_means(vae, x, scale), k, eps, abar), k) - eps).square().mean()


def wrong_trailing_axis(net, vae, x, k, eps, abar, scale):
    """(B,) factors broadcast as they are."""
    k = torch.as_tensor(k)
    a = abar[k]
    z = a.sqrt().to(eps.dtype) * _means(vae, x, scale) + (1 - a).sqrt().to(eps.dtype) * eps
    return (net(z, _levels(k, x)) - eps).square().mean()


def wrong_factors_in_float32(net, vae, x, k, eps, abar, scale):
    """abar is cast to float32 first."""
    k = _levels(k, x)
    return (net(_noised(_means(vae, x, scale), k, eps, abar.to(x.dtype)), k) - eps).square().mean()


def wrong_promotes(net, vae, x, k, eps, abar, scale):
    """float64 factors make float32 latents float64."""
    k = _levels(k, x)
    a = abar[k].reshape(-1, 1, 1, 1)
    return (net(a.sqrt() * _means(vae, x, scale) + (1 - a).sqrt() * eps, k) - eps).square().mean()


def wrong_divides_by_the_signal(net, vae, x, k, eps, abar, scale):
    """z + sigma/alpha eps: infinite at abar = 0."""
    k = _levels(k, x)
    a = abar[k].reshape(-1, 1, 1, 1)
    z = a.sqrt().to(eps.dtype) * (_means(vae, x, scale) + ((1 - a) / a).sqrt().to(eps.dtype) * eps)
    return (net(z, k) - eps).square().mean()


def wrong_two_calls(net, vae, x, k, eps, abar, scale):
    """Asks the network twice, and averages."""
    k = _levels(k, x)
    z = _noised(_means(vae, x, scale), k, eps, abar)
    return ((net(z, k) - eps).square().mean() + (net(z, k) - eps).square().mean()) / 2


def right_mse_loss(net, vae, x, k, eps, abar, scale):
    """F.mse_loss on detached latents, factors by indexing."""
    k = torch.full((len(x),), int(k), dtype=torch.int64) if not torch.is_tensor(k) or k.ndim == 0 else k
    z = (vae.encode(x)[0] * scale).detach()
    signal, noise = (f.to(z)[:, None, None, None] for f in (abar[k].sqrt(), (1 - abar[k]).sqrt()))
    return F.mse_loss(net(signal * z + noise * eps, k), eps)


def right_einsum(net, vae, x, k, eps, abar, scale):
    """Tables of factors, einsum, and a sum over the number of elements."""
    with torch.no_grad():
        mean, _ = vae.encode(x)
    levels = torch.zeros(len(x), dtype=torch.int64) + torch.as_tensor(k)
    roots = torch.stack([abar, 1 - abar]).sqrt()[:, levels].to(eps.dtype)
    z = torch.einsum("b,b...->b...", roots[0], scale * mean) + torch.einsum("b,b...->b...", roots[1], eps)
    error = net(z, levels) - eps
    return (error * error).sum() / error.numel()
