"""Answers to `SelfAttention2d`."""

import torch
from torch import nn
from torch.nn import functional as F


class _Attention(nn.Module):
    """Attention in small steps, each of which a wrong answer may replace."""

    def __init__(self, channels, heads):
        super().__init__()
        self.heads = heads
        self.norm = self.make_norm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    def make_norm(self, channels):
        return nn.GroupNorm(1, channels)

    def split(self, z):
        """(B, C, H, W) to (B, heads, H W, C / heads)."""
        return z.flatten(2).unflatten(1, (self.heads, -1)).transpose(2, 3)

    def merge(self, z, shape):
        return z.transpose(2, 3).reshape(shape)

    def weights(self, q, k):
        return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)

    def mix(self, q, k, v):
        return self.weights(q, k) @ v

    def body(self, x):
        q, k, v = (self.split(z) for z in self.qkv(self.norm(x)).chunk(3, 1))
        return self.out(self.merge(self.mix(q, k, v), x.shape))

    def forward(self, x):
        return x + self.body(x)


class wrong_softmax_over_queries(_Attention):
    """The weights of each key sum to one."""

    def weights(self, q, k):
        return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-2)


class wrong_softmax_over_heads(_Attention):
    """The weights of all heads sum to one."""

    def weights(self, q, k):
        return (q @ k.mT / q.shape[-1] ** 0.5).softmax(1)


class wrong_no_softmax(_Attention):
    """Bare scores as weights."""

    def weights(self, q, k):
        return q @ k.mT / q.shape[-1] ** 0.5


class wrong_equal_weights(_Attention):
    """Every position gets the same weight: pooling."""

    def weights(self, q, k):
        return (0 * q @ k.mT).softmax(-1)


class wrong_no_scale(_Attention):
    """Scores are not divided by the root of d."""

    def weights(self, q, k):
        return (q @ k.mT).softmax(-1)


class wrong_channels_attend(_Attention):
    """Channels look at channels."""

    def mix(self, q, k, v):
        return ((q.mT @ k / q.shape[-2] ** 0.5).softmax(-1) @ v.mT).mT


class wrong_view_for_transpose(_Attention):
    """The axes are relabelled, not swapped."""

    def split(self, z):
        return z.reshape(len(z), self.heads, -1, z.shape[1] // self.heads)

    def merge(self, z, shape):
        return z.reshape(shape)


class wrong_merge_without_transpose(_Attention):
    """Heads are put back in the wrong order of axes."""

    def merge(self, z, shape):
        return z.reshape(shape)


class wrong_rows_only(_Attention):
    """Each row of the picture for itself."""

    def body(self, x):
        B, C, H, W = x.shape
        z = self.qkv(self.norm(x)).movedim(2, 1).reshape(B * H, -1, 1, W)
        q, k, v = (self.split(part) for part in z.chunk(3, 1))
        return self.out(self.merge(self.mix(q, k, v), (B * H, C, 1, W)).reshape(B, H, C, W).movedim(1, 2))


class wrong_no_residual(_Attention):
    """Only what attention says."""

    def forward(self, x):
        return self.body(x)


class wrong_residual_of_the_norm(_Attention):
    """Adds to the normalised x."""

    def forward(self, x):
        return self.norm(x) + self.body(x)


class wrong_positional_code(_Attention):
    """Adds a ramp, so that positions are told apart."""

    def body(self, x):
        return super().body(x + torch.linspace(-1, 1, x.shape[2] * x.shape[3]).reshape(x.shape[2:]))


class wrong_height_for_width(_Attention):
    """Puts positions back column by column."""

    def merge(self, z, shape):
        B, C, H, W = shape
        return z.transpose(2, 3).reshape(B, C, W, H).mT


class wrong_one_head(_Attention):
    """heads is accepted and not used."""

    def __init__(self, channels, heads):
        super().__init__(channels, 1)


class wrong_batch_norm(_Attention):
    """Batch norm in front."""

    def make_norm(self, channels):
        return nn.BatchNorm2d(channels)


class wrong_in_place(_Attention):
    """x += ..."""

    def forward(self, x):
        if x.requires_grad:
            return super().forward(x)
        x += self.body(x)
        return x


class wrong_unused_projection(_Attention):
    """The output projection is made and forgotten."""

    def body(self, x):
        q, k, v = (self.split(z) for z in self.qkv(self.norm(x)).chunk(3, 1))
        return self.merge(self.mix(q, k, v), x.shape)


class wrong_batch_as_sequence(nn.Module):
    """torch's layer without batch_first: pictures look at each other."""

    def __init__(self, channels, heads):
        super().__init__()
        self.norm = nn.GroupNorm(1, channels)
        self.attention = nn.MultiheadAttention(channels, heads)

    def forward(self, x):
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        return x + self.attention(tokens, tokens, tokens)[0].transpose(1, 2).reshape(x.shape)


class wrong_square_only(_Attention):
    """The side as the root of the number of positions."""

    def merge(self, z, shape):
        side = int(z.shape[2] ** 0.5)
        return z.transpose(2, 3).reshape(shape[0], shape[1], side, side)


class right_torch_layer(nn.Module):
    """torch's layer with the batch first."""

    def __init__(self, channels, heads):
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.attention = nn.MultiheadAttention(channels, heads, batch_first=True)

    def forward(self, x):
        tokens = self.norm(x.flatten(2).transpose(1, 2))
        return x + self.attention(tokens, tokens, tokens, need_weights=False)[0].mT.reshape(x.shape)


class right_fused(nn.Module):
    """Three convolutions without biases, torch's fused product, an output that starts at zero."""

    def __init__(self, channels, heads):
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(8, channels)
        self.q, self.k, self.v, self.o = (nn.Conv1d(channels, channels, 1, bias=False) for _ in range(4))
        nn.init.zeros_(self.o.weight)

    def forward(self, x):
        z = self.norm(x).flatten(2)
        q, k, v = (f(z).reshape(len(x), self.heads, -1, z.shape[2]).mT for f in (self.q, self.k, self.v))
        out = F.scaled_dot_product_attention(q, k, v).mT.reshape(z.shape)
        return (x.flatten(2) + self.o(out)).reshape(x.shape)


class right_head_by_head(nn.Module):
    """A loop over heads, each with layers of its own, scores in einsum, scaled by the root of all channels."""

    def __init__(self, channels, heads):
        super().__init__()
        d = channels // heads
        self.qkv = nn.ModuleList(nn.Linear(channels, 3 * d) for _ in range(heads))
        self.out = nn.Linear(channels, channels)

    def forward(self, x):
        B, C, H, W = x.shape
        tokens = x.permute(0, 2, 3, 1).reshape(B, H * W, C)
        heads = []
        for layer in self.qkv:
            q, k, v = layer(tokens).chunk(3, dim=-1)
            scores = torch.einsum("bqd,bkd->bqk", q, k) / C**0.5
            heads.append(torch.einsum("bqk,bkd->bqd", scores.softmax(dim=2), v))
        out = self.out(torch.cat(heads, dim=-1))
        return x + out.reshape(B, H, W, C).permute(0, 3, 1, 2)
