"""A variational autoencoder with a KL term, for diffusion in its latent space.

The encoder gives each image a Gaussian q(z | x) = N(mu, exp(logvar)), the decoder turns a draw of it back into an
image, and both are trained on the negative evidence lower bound

    E_q ||decode(z) - x||^2 + beta * KL(q(z | x) || N(0, I)),        z = mu + exp(logvar / 2) * noise.          (1)

Both terms are sums over a sample: with a mean in one and a sum in the other, beta would change its meaning with the
size of the image. As there is no factor 1/2 in front of the squared error, (1) is, up to a constant and the factor
beta, the bound for a decoder of variance beta / 2.

A diffusion model expects data of unit variance. What the latents have depends on the autoencoder and its data, so
their scale is measured (`latent_scale`); the 0.18215 in much published code belongs to one particular autoencoder.

Derived in the book: chapter 12, equations (12.3) to (12.5), and (12.10) for the scale.

Sources: Kingma and Welling, "Auto-Encoding Variational Bayes", 2014, section 2.4 and appendix B; Higgins et al.,
"beta-VAE", 2017, for beta; Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", 2022,
section 3.1, and its appendix on autoencoder models for the scale.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import nn

from noise2data.networks.unet import GroupNorm
from noise2data.paths import wide

# The Gaussian in the middle -----------------------------------------------------------------------------------------


def _same_shape(name: str, value: torch.Tensor, other_name: str, other: torch.Tensor) -> None:
    if value.shape != other.shape:
        raise ValueError(f"{name} has shape {tuple(value.shape)}; expected {other_name}'s, {tuple(other.shape)}")


def reparameterize(mu: torch.Tensor, logvar: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """mu + exp(logvar / 2) * noise: a draw of N(mu, exp(logvar)) through which gradients reach both.

    mu, logvar, noise: (B, ...), alike, noise ~ N(0, I). Returns mu's shape. Raises ValueError if the shapes differ.
    Source: Kingma and Welling, 2014, section 2.4.
    """
    _same_shape("logvar", logvar, "mu", mu)
    _same_shape("noise", noise, "mu", mu)
    return mu + torch.exp(logvar / 2) * noise


def kl_divergence(mu: torch.Tensor, logvar: torch.Tensor) -> torch.Tensor:
    """KL(N(mu, exp(logvar)) || N(0, I)) of each sample, in nats: 1/2 sum (mu^2 + exp(logvar) - 1 - logvar).

    mu, logvar: (B, ...), alike. Returns (B,), summed over all other axes. Raises ValueError if the shapes differ.
    Source: Kingma and Welling, 2014, appendix B.
    """
    _same_shape("logvar", logvar, "mu", mu)
    # expm1 keeps the digits that exp - 1 loses near logvar = 0.
    return (mu.square() + torch.expm1(logvar) - logvar).flatten(1).sum(1) / 2


def vae_loss(
    recon: torch.Tensor, x: torch.Tensor, mu: torch.Tensor, logvar: torch.Tensor, beta: float | torch.Tensor
) -> torch.Tensor:
    """Equation (1), averaged over the batch: the summed squared error, without a factor 1/2, plus beta * KL.

    recon, x: (B, C, H, W), alike. mu, logvar: (B, ...), alike. beta: a number >= 0. Returns a 0-d tensor.
    Raises ValueError if shapes differ.
    """
    _same_shape("recon", recon, "x", x)
    return ((recon - x).square().flatten(1).sum(1) + beta * kl_divergence(mu, logvar)).mean()


# Latents at unit scale ----------------------------------------------------------------------------------------------


class VAE(Protocol):
    """What the functions below need of an autoencoder."""

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]: ...

    def decode(self, z: torch.Tensor) -> torch.Tensor: ...


def latent_scale(z: torch.Tensor) -> torch.Tensor:
    """1 / standard deviation of all elements of z together, their mean subtracted: latents times it have variance 1.

    z: (B, ...), latents of much of the training set, at least two elements; the standard deviation is the
    population's. Returns a 0-d tensor of z's dtype. Raises ValueError for constant latents, and for some not finite.
    Source: Rombach et al., 2022, appendix on autoencoder models (they take the latents of the first batch).
    """
    std = wide(z).std(correction=0)
    if not (0 < std < torch.inf):
        raise ValueError(f"z has standard deviation {std.item():g}; expected latents that are finite and not all equal")
    return (1 / std).to(z.dtype)


def encode(vae: VAE, x: torch.Tensor, scale: float | torch.Tensor, noise: torch.Tensor | None = None) -> torch.Tensor:
    """scale * z with z ~ q(z | x) made of `noise`, or the posterior's mean where that is None. x: (B, C, H, W)."""
    mu, logvar = vae.encode(x)
    return scale * (mu if noise is None else reparameterize(mu, logvar, noise))


def decode(vae: VAE, z: torch.Tensor, scale: float | torch.Tensor) -> torch.Tensor:
    """The image of a scaled latent, decode(z / scale), with no clipping after it. z: (B, *latent_shape)."""
    return vae.decode(z / scale)


# The network --------------------------------------------------------------------------------------------------------


class ResidualBlock(nn.Module):
    """x + two 3x3 convolutions, a group norm and SiLU in front of each. x: (B, channels, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            GroupNorm(channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            GroupNorm(channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, channels, H, W). Returns x's shape."""
        x = x + self.layers(x)
        return x


class Autoencoder(nn.Module):
    """A small convolutional autoencoder for images of one size.

    in_ch: channels of an image. base_ch: channels of the first level, doubled at each further one.
    latent_ch: channels of a latent. downsample: side of an image over that of its latent: 2, 4, 8, ...
    size: height and width of the images, or one number for both. No weight depends on it.

    Each level halves the sides by moving 2 x 2 pixels into channels, so that no convolution runs at full size, and
    nothing is lost before a layer decides what to drop.

    Raises ValueError for a channel number below 1, a downsample that is no power of two from 2 on, and a size that
    downsample does not divide.
    """

    def __init__(
        self, in_ch: int, base_ch: int, latent_ch: int, downsample: int, size: int | Sequence[int] = 32
    ) -> None:
        super().__init__()
        if downsample < 2 or downsample & (downsample - 1):
            raise ValueError(f"downsample is {downsample}; expected 2, 4, 8, ...")
        for name, value in (("in_ch", in_ch), ("base_ch", base_ch), ("latent_ch", latent_ch)):
            if value < 1:
                raise ValueError(f"{name} is {value}; expected at least 1")
        height, width = (size, size) if isinstance(size, int) else size
        if height < 1 or width < 1 or height % downsample or width % downsample:
            raise ValueError(f"size is {size}; expected a height and width divisible by downsample = {downsample}")
        self.image_shape = (in_ch, height, width)
        self.latent_shape = (latent_ch, height // downsample, width // downsample)

        channels = [base_ch * 2**i for i in range(downsample.bit_length() - 1)]
        down: list[nn.Module] = []
        up: list[nn.Module] = []
        for outer, inner in zip([in_ch, *channels[:-1]], channels, strict=True):
            down += [nn.PixelUnshuffle(2), nn.Conv2d(4 * outer, inner, 3, padding=1), ResidualBlock(inner)]
            up = [ResidualBlock(inner), nn.Conv2d(inner, 4 * outer, 3, padding=1), nn.PixelShuffle(2), *up]
        self.encoder = nn.Sequential(*down, nn.Conv2d(channels[-1], 2 * latent_ch, 3, padding=1))
        self.decoder = nn.Sequential(nn.Conv2d(latent_ch, channels[-1], 3, padding=1), *up)

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(mu, logvar) of q(z | x), (B, *latent_shape) each. x: (B, in_ch, H, W) of the size given; else ValueError."""
        if x.shape[1:] != self.image_shape:
            raise ValueError(f"x has shape {tuple(x.shape)}; expected (B, {', '.join(map(str, self.image_shape))})")
        mu, logvar = self.encoder(x).chunk(2, dim=1)
        # Bounds that a trained encoder never reaches; without them one bad step of training overflows exp(logvar).
        return mu, logvar.clamp(-30.0, 20.0)

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Images (B, in_ch, H, W), unbounded. z: (B, *latent_shape); else ValueError."""
        if z.shape[1:] != self.latent_shape:
            raise ValueError(f"z has shape {tuple(z.shape)}; expected (B, {', '.join(map(str, self.latent_shape))})")
        x: torch.Tensor = self.decoder(z)
        return x
