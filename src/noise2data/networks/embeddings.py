"""Sines and cosines that tell a network a number: how noisy its input is, or where a token stands.

One number is a poor input: a layer can only scale it. At many frequencies, a geometric ladder of them, fast waves tell
neighbours apart and slow waves give the coarse place, and a linear layer can pick what it needs.

Derived in the book: chapter 6, equations (6.4) and (6.5).
Source: Vaswani et al., "Attention Is All You Need", 2017, section 3.5.
"""

import torch

from noise2data.paths import wide


def _waves(x: torch.Tensor, n: int, max_period: float) -> torch.Tensor:
    """x_j * max_period**(-i / n), i = 0..n-1: the angles of n waves, in float64. x: (m,). Returns (m, n)."""
    x = wide(x)
    exponents = torch.arange(n, dtype=x.dtype, device=x.device) / n
    return x[:, None] * max_period**-exponents


def timestep_embedding(t: torch.Tensor, dim: int, max_period: float = 10000.0) -> torch.Tensor:
    """cos(t f_i), then sin(t f_i), with f_i = max_period**(-i / half), i = 0..half-1, half = dim / 2.

    t: (B,), integer or fractional, in steps: the fastest wave turns by one radian a step, so times in [0, 1] must be
    scaled up first, or nearly all waves stand still. dim: even. max_period: about the steps in which the slowest wave
    turns by one radian, > 0.
    Returns (B, dim), float32, on t's device. Raises ValueError for any other t, dim or max_period.
    Source: Ho, Jain and Abbeel, "Denoising Diffusion Probabilistic Models", 2020, appendix B, after Vaswani et al.
    """
    if t.ndim != 1:
        raise ValueError(f"t has shape {tuple(t.shape)}; expected one number for each sample, (B,)")
    if dim < 2 or dim % 2:
        raise ValueError(f"dim is {dim}; expected an even number >= 2")
    if not max_period > 0:
        raise ValueError(f"max_period is {max_period}; expected a number > 0")
    angles = _waves(t, dim // 2, max_period)
    return torch.cat([angles.cos(), angles.sin()], 1).float()


def sincos_2d(h: int, w: int, dim: int) -> torch.Tensor:
    """A code for each place of an h x w grid: the row in the first dim / 2 columns, the column in the others.

    Each half is sin, then cos, of index * 10000**(-i / (dim / 4)), i = 0..dim/4-1.
    Returns (h * w, dim), float32, places row by row. Raises ValueError if h or w is below 1, or 4 does not divide dim.
    Source: Dosovitskiy et al., "An Image is Worth 16x16 Words", 2021, appendix D.4, for codes of rows and columns side
    by side; Peebles and Xie, "Scalable Diffusion Models with Transformers", 2023, section 3.2, for fixed sines.
    """
    if h < 1 or w < 1:
        raise ValueError(f"h, w are {h}, {w}; expected at least 1")
    if dim < 4 or dim % 4:
        raise ValueError(f"dim is {dim}; expected a number >= 4 that 4 divides")

    def code(index: torch.Tensor) -> torch.Tensor:
        angles = _waves(index, dim // 4, 10000.0)
        return torch.cat([angles.sin(), angles.cos()], 1)

    rows, columns = torch.arange(h).repeat_interleave(w), torch.arange(w).repeat(h)
    return torch.cat([code(rows), code(columns)], 1).float()
