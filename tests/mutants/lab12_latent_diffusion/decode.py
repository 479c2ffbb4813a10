"""Answers to decode, wrong and right."""

import torch


def wrong_without_scale(vae, z, scale):
    """The scale is forgotten."""
    return vae.decode(z)


def wrong_multiplies(vae, z, scale):
    """Multiplies, as encode does."""
    return vae.decode(z * scale)


def wrong_divides_the_picture(vae, z, scale):
    """The picture in place of the latent."""
    return vae.decode(z) / scale


def wrong_stable_diffusions_scale(vae, z, scale):
    """0.18215 whatever the scale is."""
    return vae.decode(z / 0.18215)


def wrong_clips(vae, z, scale):
    """Clips the picture to [-1, 1]."""
    return vae.decode(z / scale).clamp(-1, 1)


def wrong_tanh(vae, z, scale):
    """tanh after the decoder."""
    return torch.tanh(vae.decode(z / scale))


def wrong_for_the_eye(vae, z, scale):
    """Pictures in [0, 1]."""
    return (vae.decode(z / scale) + 1) / 2


def wrong_clips_latents(vae, z, scale):
    """Latents between -3 and 3 before they are decoded."""
    return vae.decode(z.clamp(-3, 3) / scale)


def wrong_without_a_graph(vae, z, scale):
    """Under no_grad."""
    with torch.no_grad():
        return vae.decode(z / scale)


def wrong_detaches_z(vae, z, scale):
    """z is detached; the decoder's parameters still get gradients."""
    return vae.decode(z.detach() / scale)


def wrong_in_place(vae, z, scale):
    """Divides the caller's latents."""
    with torch.no_grad():
        z /= scale
    return vae.decode(z)


def wrong_freezes(vae, z, scale):
    """Freezes the caller's autoencoder."""
    out = vae.decode(z / scale)
    vae.requires_grad_(False)
    return out


def wrong_promotes(vae, z, scale):
    """A scale of shape (1,) in float64 makes float32 latents float64."""
    return vae.decode(z / torch.as_tensor(scale, dtype=torch.float64).reshape(1))


def wrong_one_by_one(vae, z, scale):
    """Decodes the first latent for all."""
    return vae.decode(z / scale)[:1].expand(len(z), *vae.decode(z[:1]).shape[1:]).clone()


def right_reciprocal(vae, z, scale):
    """Times one over the scale."""
    return vae.decode(z * (1 / scale))


def right_torch_div(vae, z, scale):
    """torch.div into a name."""
    latents = torch.div(z, scale)
    pictures = vae.decode(latents)
    return pictures


def right_each_latent(vae, z, scale):
    """One latent after the other."""
    return torch.cat([vae.decode(latent[None] / scale) for latent in z])
