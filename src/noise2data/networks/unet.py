"""The U-Net: convolutions at several scales, and skips that carry detail past the coarse ones.

    x -> stem -> [block, halve] -> ... -> block ---------------> block + attention    (encode)
                     |                       |                        |
    out <- head <- [block, double] <- ... <- block <------------------+               (decode)

On the way down each level halves height and width, which makes distant pixels neighbours; on the way up each level adds
the features that the encoder had at its scale, so that nothing fine is lost. The noise level c and the label y become
one vector that sets scale and shift inside every block (FiLM).

This one is lean, so that two processor cores can train it. The stem may move 2 x 2 pixels into channels, so that
nothing runs at full size; there is one block a level with one norm in it, the skips are added rather than concatenated,
and only the middle, which has the fewest positions, has attention. Nearly all of the time then goes into 3x3
convolutions, and these run with their channels last in memory, the layout in which they are fastest.

The last layer of each residual, and that of the network, starts at zero: a new block is the identity (or its 1x1
convolution), and a new network returns 0.

Sources: Ronneberger, Fischer and Brox, "U-Net", 2015; Ho, Jain and Abbeel, "Denoising Diffusion Probabilistic Models",
2020, appendix B; for the embedding, Perez et al., "FiLM", 2018, and Dhariwal and Nichol, "Diffusion Models Beat GANs on
Image Synthesis", 2021, section 3.1; for pixels as channels, Shi et al., "Real-Time Single Image and Video
Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural Network", 2016.
"""

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from noise2data.networks.embeddings import timestep_embedding
from noise2data.paths import wide

_TIME_DIM = 64  # sines and cosines in the embedding of the noise level


def zeroed(layer: nn.Module) -> nn.Module:
    """The layer with all of its parameters set to zero."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


# Blocks -------------------------------------------------------------------------------------------------------------


class GroupNorm(nn.GroupNorm):
    """Group norm with at least four channels in a group, and at most 32 groups. x: (B, channels, H, W).

    Never one channel a group: that takes from each channel its own mean, and with it whatever an embedding added just
    before, alike at all positions; the network goes blind to the noise level, and nothing fails.
    Source: Wu and He, "Group Normalization", 2018.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(math.gcd(32, max(1, channels // 4), channels), channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns x's shape and dtype. Half precision is normalised in float32: more exact and, on a CPU, faster."""
        dtype = torch.promote_types(x.dtype, torch.float32)
        weight, bias = self.weight.to(dtype), self.bias.to(dtype)
        return F.group_norm(x.to(dtype), self.num_groups, weight, bias, self.eps).to(x.dtype)


class ResBlock(nn.Module):
    """x + conv(silu(film(norm(conv(silu(x)))))): two 3x3 convolutions, and between them what the embedding says.

    FiLM is h * (1 + scale) + shift, one scale and shift for each sample and channel. It comes after the norm, which
    would undo part of it. Where in_ch and out_ch differ, x goes through a 1x1 convolution.
    Source: Dhariwal and Nichol, 2021, section 3.1 (theirs has a norm in front of the first convolution, too).
    """

    def __init__(self, in_ch: int, out_ch: int, emb_dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_ch, out_ch, 3, padding=1)
        self.norm = GroupNorm(out_ch)
        self.film = nn.Linear(emb_dim, 2 * out_ch)
        self.conv2 = zeroed(nn.Conv2d(out_ch, out_ch, 3, padding=1))
        self.skip = nn.Identity() if in_ch == out_ch else nn.Conv2d(in_ch, out_ch, 1)

    def forward(self, x: torch.Tensor, emb: torch.Tensor) -> torch.Tensor:
        """x: (B, in_ch, H, W). emb: (B, emb_dim). Returns (B, out_ch, H, W)."""
        scale, shift = self.film(F.silu(emb))[:, :, None, None].chunk(2, dim=1)  # shape: (B, out_ch, 1, 1)
        h = self.norm(self.conv1(F.silu(x)))
        out: torch.Tensor = self.conv2(F.silu(h * (1 + scale) + shift)) + self.skip(x)
        return out


class SelfAttention2d(nn.Module):
    """x + attention of all positions to each other. Which position is which it is not told.

    Raises ValueError unless heads divides channels.
    Sources: Vaswani et al., "Attention Is All You Need", 2017, equation (1); Ho, Jain and Abbeel, 2020, appendix B.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        if heads < 1 or channels % heads:
            raise ValueError(f"heads is {heads}; expected a divisor of channels = {channels}")
        self.heads = heads
        self.norm = GroupNorm(channels)
        self.query_key_value = nn.Linear(channels, 3 * channels)
        self.out = zeroed(nn.Linear(channels, channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, channels, H, W). Returns x's shape."""
        tokens = self.norm(x).flatten(2).transpose(1, 2)  # shape: (B, H W, channels), no copy if channels come last
        q, k, v = (
            z.unflatten(2, (self.heads, -1)).transpose(1, 2)  # shape: (B, heads, H W, channels / heads)
            for z in self.query_key_value(tokens).chunk(3, dim=2)
        )
        # Written out: for few positions in bfloat16 on a CPU, PyTorch's fused function takes ten times as long.
        weights = (q * q.shape[-1] ** -0.5 @ k.mT).softmax(dim=-1)
        out: torch.Tensor = self.out((weights @ v).transpose(1, 2).flatten(2))
        return x + out.transpose(1, 2).reshape(x.shape)


# The network --------------------------------------------------------------------------------------------------------


class UNet(nn.Module):
    """The U-Net as a network `net(x, c, y=None)`: x's shape out, 0 when new.

    in_ch: channels of x. base_ch, mults: level i has base_ch * mults[i] channels and 1/2**i of the size after the stem.
    num_classes: number of labels y, the null label included if one is used; None for no labels.
    heads: of the attention in the middle, a divisor of its channels; by default 4, or their common divisor with 4.
    stem: side of the squares of pixels that become channels; 1 for none (small images), 2 quarters the work at 32 x 32.
    time_scale: what c is multiplied by before its embedding: 1000 for c in [0, 1], 1 for c in steps.

    Raises ValueError for a channel number, multiplier, num_classes or stem below 1, and if heads does not divide.
    """

    def __init__(
        self,
        in_ch: int,
        base_ch: int,
        mults: Sequence[int],
        num_classes: int | None = None,
        *,
        heads: int | None = None,
        stem: int = 1,
        time_scale: float = 1000.0,
    ) -> None:
        super().__init__()
        for name, value in (("in_ch", in_ch), ("base_ch", base_ch), ("num_classes", num_classes), ("stem", stem)):
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; expected at least 1")
        if not mults or min(mults) < 1:
            raise ValueError(f"mults is {tuple(mults)}; expected at least one multiplier, each at least 1")
        self.in_ch, self.stem, self.time_scale = in_ch, stem, time_scale
        levels = [base_ch * mult for mult in mults]
        self.channels = [*levels, levels[-1]]  # of what encode returns
        emb_dim = 4 * base_ch

        self.embed_time = nn.Sequential(nn.Linear(_TIME_DIM, emb_dim), nn.SiLU(), nn.Linear(emb_dim, emb_dim))
        self.embed_label = None if num_classes is None else nn.Embedding(num_classes, emb_dim)
        self.first = nn.Conv2d(in_ch * stem**2, levels[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(ResBlock(ch, ch, emb_dim) for ch in levels)
        self.downsample = nn.ModuleList(
            nn.Conv2d(*pair, 2, stride=2) for pair in zip(levels[:-1], levels[1:], strict=True)
        )
        self.middle = ResBlock(levels[-1], levels[-1], emb_dim)
        self.attention = SelfAttention2d(levels[-1], math.gcd(levels[-1], 4) if heads is None else heads)
        self.up_blocks = nn.ModuleList(ResBlock(ch, ch, emb_dim) for ch in levels)
        self.upsample = nn.ModuleList(
            nn.ConvTranspose2d(inner, outer, 2, stride=2) for outer, inner in zip(levels[:-1], levels[1:], strict=True)
        )
        self.norm = GroupNorm(levels[0])
        self.last = zeroed(nn.Conv2d(levels[0], in_ch * stem**2, 3, padding=1))

    def forward(self, x: torch.Tensor, t: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        """The network's prediction: x's shape.

        x: (B, in_ch, H, W), H and W divisible by stem * 2**(len(mults) - 1). t: (B,), the time or noise level, integers
        too. y: (B,) int64 labels; None adds no embedding of a label.
        Raises ValueError for other shapes, and for a y in a network that was made without num_classes.
        """
        return self.decode(self.encode(x, t, y), t, y)

    def encode(self, x: torch.Tensor, t: torch.Tensor, y: torch.Tensor | None = None) -> list[torch.Tensor]:
        """The features of each level, finest first, and of the middle; their channels are `self.channels`.

        Arguments and errors: as for the network.
        """
        factor = self.stem * 2 ** len(self.downsample)
        if x.ndim != 4 or x.shape[1] != self.in_ch or x.shape[2] % factor or x.shape[3] % factor:
            raise ValueError(
                f"x has shape {tuple(x.shape)}; expected (B, {self.in_ch}, H, W) with H and W divisible by {factor}"
            )
        if t.shape != x.shape[:1]:
            raise ValueError(f"t has shape {tuple(t.shape)}; expected one number for each sample, ({len(x)},)")
        emb = self._embed(t, y)
        h = self.first(F.pixel_unshuffle(x, self.stem)).contiguous(memory_format=torch.channels_last)
        hs = []
        for i, block in enumerate(self.down_blocks):
            h = block(h if i == 0 else self.downsample[i - 1](h), emb)
            hs.append(h)
        return [*hs, self.attention(self.middle(h, emb))]

    def decode(self, hs: Sequence[torch.Tensor], t: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        """The prediction (B, in_ch, H, W) from the features that `encode` returns, whatever was added to them.

        Raises ValueError for another number of features.
        """
        if len(hs) != len(self.channels):
            raise ValueError(f"hs has {len(hs)} feature maps; expected {len(self.channels)}, as encode returns")
        emb = self._embed(t, y)
        h = hs[-1]
        for i in reversed(range(len(self.up_blocks))):
            h = self.up_blocks[i](h + hs[i], emb)
            if i > 0:
                h = self.upsample[i - 1](h)
        out: torch.Tensor = self.last(F.silu(self.norm(h)))
        return F.pixel_shuffle(out, self.stem)

    def _embed(self, t: torch.Tensor, y: torch.Tensor | None) -> torch.Tensor:
        """What the blocks hear of noise level and label: (B, emb_dim)."""
        waves = timestep_embedding(self.time_scale * wide(t), _TIME_DIM)
        emb: torch.Tensor = self.embed_time(waves.to(self.first.weight.dtype))
        if y is not None:
            if self.embed_label is None:
                raise ValueError("y is given; expected None, as the network was made without num_classes")
            emb = emb + self.embed_label(y)
        return emb
