"""A diffusion transformer (DiT): patches as tokens, and a noise level that modulates every layer.

An image is cut into patches, each of which is one token; a fixed code tells tokens where they are. Self-attention lets
every token see every other one, and the noise level enters through adaptive layer norm ("adaLN-Zero"): a linear layer
W of the condition c gives each block two triples (shift, scale, gate), with which

    x <- x + gate_1 * attention(norm(x) * (1 + scale_1) + shift_1)
    x <- x + gate_2 * feed_forward(norm(x) * (1 + scale_2) + shift_2)                                          (1)

W starts at zero, so that every block starts as the identity and learns first how far to open its gates.

A caption enters by cross-attention: the image's tokens ask, the words answer. Its output starts at zero, too.

Sources: Peebles and Xie, "Scalable Diffusion Models with Transformers", 2023, section 3.2 and figure 3; for the
captions, Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", 2022, section 3.3, and Chen et
al., "PixArt-alpha", 2024.
"""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from noise2data.networks.embeddings import sincos_2d, timestep_embedding
from noise2data.paths import wide

# Images and tokens --------------------------------------------------------------------------------------------------


def patchify(x: torch.Tensor, p: int) -> torch.Tensor:
    """Cut images into p x p patches, row by row; inside a token the order is (row, column, channel).

    x: (B, C, H, W), H and W divisible by p. Returns (B, (H/p) (W/p), p p C). Raises ValueError if p does not fit.
    Source: Dosovitskiy et al., "An Image is Worth 16x16 Words", 2021, section 3.1.
    """
    if x.ndim != 4 or p < 1 or x.shape[2] % p or x.shape[3] % p:
        raise ValueError(f"x has shape {tuple(x.shape)}; expected (B, C, H, W) with H and W divisible by p = {p}")
    b, ch, h, w = len(x), x.shape[1], x.shape[2] // p, x.shape[3] // p
    return x.reshape(b, ch, h, p, w, p).permute(0, 2, 4, 3, 5, 1).reshape(b, h * w, p * p * ch)


def unpatchify(tokens: torch.Tensor, p: int, h: int, w: int) -> torch.Tensor:
    """The inverse of `patchify`: h rows of w patches become images.

    tokens: (B, h w, p p C). Returns (B, C, h p, w p). Raises ValueError if the tokens are not h w or not p p C wide.
    """
    if tokens.ndim != 3 or tokens.shape[1] != h * w or tokens.shape[2] % p**2:
        raise ValueError(
            f"tokens has shape {tuple(tokens.shape)}; expected (B, h * w, p * p * C) with p = {p}, h = {h}, w = {w}"
        )
    b, ch = len(tokens), tokens.shape[2] // p**2
    return tokens.reshape(b, h, w, p, p, ch).permute(0, 5, 1, 3, 2, 4).reshape(b, ch, h * p, w * p)


# Layers -------------------------------------------------------------------------------------------------------------


def linear(in_features: int, out_features: int, zero: bool = False) -> nn.Linear:
    """A linear layer that starts with Xavier's uniform weights, or with zeros, and a bias of zeros."""
    layer = nn.Linear(in_features, out_features)
    nn.init.zeros_(layer.weight) if zero else nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def norm(x: torch.Tensor) -> torch.Tensor:
    """Layer norm over the features, without weights: each token gets mean 0 and variance 1. x: (..., D)."""
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)


def modulate(x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """x * (1 + scale) + shift, the same for all tokens of a sample. x: (B, N, D); shift, scale: (B, D).

    Returns x's shape. Raises ValueError for other shapes, which broadcasting might take for the wrong axis.
    """
    for name, value in (("shift", shift), ("scale", scale)):
        if x.ndim != 3 or value.shape != (x.shape[0], x.shape[2]):
            raise ValueError(f"{name} has shape {tuple(value.shape)}; expected (B, D) for x of {tuple(x.shape)}")
    return x * (1 + scale[:, None]) + shift[:, None]


def attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """softmax(q k^T / sqrt(D / heads)) v in each head, the heads side by side.

    q: (B, N, D). k, v: (B, M, D). mask: bool (B, M), True where a key may be seen; a sample without any such key sees
    them all, which keeps the softmax finite (what comes of it is the caller's to drop). Returns (B, N, D).
    Source: Vaswani et al., "Attention Is All You Need", 2017, equation (1) and section 3.2.2.
    """
    b, _, d = q.shape
    q, k, v = (z.reshape(b, -1, heads, d // heads).transpose(1, 2) for z in (q, k, v))
    # shape: (B, heads, N or M, D / heads)
    if mask is not None:
        mask = (mask | ~mask.any(1, keepdim=True))[:, None, None]  # shape: (B, 1, 1, M)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)


def _check_heads(dim: int, heads: int) -> None:
    if heads < 1 or dim < 1 or dim % heads:
        raise ValueError(f"heads is {heads}; expected a divisor of dim = {dim}")


class SelfAttention(nn.Module):
    """Attention of a sequence to itself. Raises ValueError unless heads divides dim."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        _check_heads(dim, heads)
        self.heads = heads
        self.query_key_value = linear(dim, 3 * dim)
        self.out = linear(dim, dim)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """x: (B, N, dim); mask as in `attention`. Returns (B, N, dim), without norm or residual."""
        q, k, v = self.query_key_value(x).chunk(3, dim=2)
        out: torch.Tensor = self.out(attention(q, k, v, self.heads, mask))
        return out


class CrossAttention(nn.Module):
    """Attention of the image's tokens, which ask, to the words, which answer.

    dim: width of the tokens. ctx_dim: width of the words. zero: start with an output of 0.
    Raises ValueError unless heads divides dim.
    """

    def __init__(self, dim: int, ctx_dim: int, heads: int, zero: bool = False) -> None:
        super().__init__()
        _check_heads(dim, heads)
        self.heads = heads
        self.query = linear(dim, dim)
        self.key_value = linear(ctx_dim, 2 * dim)
        self.out = linear(dim, dim, zero)

    def forward(self, x: torch.Tensor, ctx: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """x: (B, N, dim). ctx: (B, M, ctx_dim). mask: bool (B, M), True where there is a word. Returns (B, N, dim).

        No norm and no residual inside. A sample without a word gets 0.
        Raises ValueError for a ctx of another length or without words, and a mask of another shape or dtype.
        """
        if ctx.ndim != 3 or len(ctx) != len(x) or not ctx.shape[1]:
            raise ValueError(f"ctx has shape {tuple(ctx.shape)}; expected ({len(x)}, M, ctx_dim) with M >= 1")
        if mask is not None and (mask.dtype != torch.bool or mask.shape != ctx.shape[:2]):
            raise ValueError(
                f"mask has shape {tuple(mask.shape)} and {mask.dtype}; expected bool {tuple(ctx.shape[:2])}, "
                "True where there is a word"
            )
        k, v = self.key_value(ctx).chunk(2, dim=2)
        out: torch.Tensor = self.out(attention(self.query(x), k, v, self.heads, mask))
        return out if mask is None else mask.any(1)[:, None, None] * out


def feed_forward(dim: int) -> nn.Sequential:
    """The two layers that treat each token on its own: dim -> 4 dim -> dim, with a GELU between them."""
    return nn.Sequential(linear(dim, 4 * dim), nn.GELU(), linear(4 * dim, dim))


class AdaLNZeroBlock(nn.Module):
    """Equation (1): a transformer block whose norms and gates the condition sets, and which starts as the identity.

    dim: width of the tokens. heads: a divisor of it. cond_dim: width of the condition.
    Raises ValueError unless heads divides dim.
    """

    def __init__(self, dim: int, heads: int, cond_dim: int) -> None:
        super().__init__()
        self.attention = SelfAttention(dim, heads)
        self.feed_forward = feed_forward(dim)
        self.modulation = linear(cond_dim, 6 * dim, zero=True)

    def forward(self, x: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        """x: (B, N, dim). c: (B, cond_dim). Returns (B, N, dim)."""
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = self.modulation(F.silu(c)).chunk(6, dim=1)
        x = x + gate_1[:, None] * self.attention(modulate(norm(x), shift_1, scale_1))
        x = x + gate_2[:, None] * self.feed_forward(modulate(norm(x), shift_2, scale_2))
        return x


# The network --------------------------------------------------------------------------------------------------------


class DiT(nn.Module):
    """The diffusion transformer as a network `net(x, c, y=None)`: the same shape out as in, 0 when new.

    in_ch: channels of x. size: its height and width, or one number for both. patch: side of a patch, a divisor of both.
    dim: width of the tokens, divisible by 4 (for the positions) and by heads. depth: number of blocks.
    num_classes: number of labels y, the null label included if one is used; None for no labels.
    ctx_dim: width of the words of a caption; None for no captions.
    time_scale: what c is multiplied by before its embedding: 1000 for c in [0, 1], 1 for c in steps.

    Raises ValueError for a size that patch, or a dim that 4 or heads, does not divide, and for other numbers below 1.
    """

    positions: torch.Tensor

    def __init__(
        self,
        in_ch: int,
        size: int | Sequence[int],
        patch: int = 2,
        dim: int = 128,
        depth: int = 4,
        heads: int = 4,
        num_classes: int | None = None,
        ctx_dim: int | None = None,
        *,
        time_scale: float = 1000.0,
    ) -> None:
        super().__init__()
        height, width = (size, size) if isinstance(size, int) else size
        if patch < 1 or height < 1 or width < 1 or height % patch or width % patch:
            raise ValueError(f"size is {size}; expected a height and width divisible by patch = {patch}")
        if dim % 4:
            raise ValueError(f"dim is {dim}; expected a number divisible by 4")
        for name, value in (("in_ch", in_ch), ("depth", depth), ("num_classes", num_classes), ("ctx_dim", ctx_dim)):
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; expected at least 1")
        self.in_ch, self.height, self.width, self.patch, self.dim = in_ch, height, width, patch, dim
        self.time_scale = time_scale
        self.embed_patch = linear(patch**2 * in_ch, dim)
        self.register_buffer("positions", sincos_2d(height // patch, width // patch, dim), persistent=False)
        self.embed_time = nn.Sequential(linear(dim, dim), nn.SiLU(), linear(dim, dim))
        self.embed_label = None if num_classes is None else nn.Embedding(num_classes, dim)
        self.blocks = nn.ModuleList(AdaLNZeroBlock(dim, heads, dim) for _ in range(depth))
        self.readers = nn.ModuleList(
            CrossAttention(dim, ctx_dim, heads, zero=True) for _ in range(depth) if ctx_dim is not None
        )
        self.modulation = linear(dim, 2 * dim, zero=True)
        self.out = linear(dim, patch**2 * in_ch, zero=True)

    def forward(
        self,
        x: torch.Tensor,
        c: torch.Tensor,
        y: torch.Tensor | None = None,
        ctx: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The network's prediction: x's shape.

        x: (B, in_ch, height, width). c: (B,), the time or noise level. y: (B,) int64 labels. ctx: (B, M, ctx_dim), the
        words of a caption, and mask: bool (B, M), True where there is one. Without y no label is added and without ctx
        nothing is read, which is what a caption without words does as well.
        Raises ValueError for an x, c or y of another shape, and for y or ctx in a network that was made without them.
        """
        if x.shape[1:] != (self.in_ch, self.height, self.width):
            raise ValueError(
                f"x has shape {tuple(x.shape)}; expected (B, {self.in_ch}, {self.height}, {self.width}), "
                "as the network was made with in_ch and size"
            )
        if c.shape != x.shape[:1]:
            raise ValueError(f"c has shape {tuple(c.shape)}; expected one number for each sample, ({len(x)},)")
        tokens = self.embed_patch(patchify(x, self.patch)) + self.positions
        cond = self.embed_time(timestep_embedding(self.time_scale * wide(c), self.dim).to(x.dtype))
        if y is not None:
            if self.embed_label is None:
                raise ValueError("y is given; expected None, as the network was made without num_classes")
            if y.shape != c.shape:
                raise ValueError(f"y has shape {tuple(y.shape)}; expected one label for each sample, ({len(x)},)")
            cond = cond + self.embed_label(y)
        if ctx is not None and not self.readers:
            raise ValueError("ctx is given; expected None, as the network was made without ctx_dim")
        for i, block in enumerate(self.blocks):
            if ctx is not None:
                tokens = tokens + self.readers[i](norm(tokens), ctx, mask)
            tokens = block(tokens, cond)
        shift, scale = self.modulation(F.silu(cond)).chunk(2, dim=1)
        tokens = self.out(modulate(norm(tokens), shift, scale))
        return unpatchify(tokens, self.patch, self.height // self.patch, self.width // self.patch)
