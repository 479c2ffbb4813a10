"""Answers to `timestep_embedding`."""

import math

import torch


def _angles(t, dim, max_period):
    half = dim // 2
    return t.double()[:, None] * torch.exp(-math.log(max_period) * torch.arange(half, dtype=torch.float64) / half)


def wrong_sines_first(t, dim, max_period=10000.0):
    """The sine half before the cosine half."""
    a = _angles(t, dim, max_period)
    return torch.cat([a.sin(), a.cos()], 1).float()


def wrong_time_in_unit_interval(t, dim, max_period=10000.0):
    """Divides t by a thousand first, as if the embedding wanted [0, 1]."""
    a = _angles(t / 1000, dim, max_period)
    return torch.cat([a.cos(), a.sin()], 1).float()


def wrong_rescaled_up(t, dim, max_period=10000.0):
    """Multiplies t by a thousand, as if it came in [0, 1]."""
    a = _angles(t * 1000, dim, max_period)
    return torch.cat([a.cos(), a.sin()], 1).float()


def wrong_half_minus_one(t, dim, max_period=10000.0):
    """The exponent reaches -1, as in tensor2tensor."""
    half = dim // 2
    freqs = max_period ** -(torch.arange(half, dtype=torch.float64) / max(half - 1, 1))
    a = t.double()[:, None] * freqs
    return torch.cat([a.cos(), a.sin()], 1).float()


def wrong_interleaved(t, dim, max_period=10000.0):
    """Cosine and sine of each wave side by side."""
    a = _angles(t, dim, max_period)
    return torch.stack([a.cos(), a.sin()], 2).flatten(1).float()


def wrong_fixed_period(t, dim, max_period=10000.0):
    """10000, whatever max_period is."""
    a = _angles(t, dim, 10000.0)
    return torch.cat([a.cos(), a.sin()], 1).float()


def wrong_half_minus_one_unguarded(t, dim, max_period=10000.0):
    """A step between exponents that is right, but divides by half - 1 on the way: no dim = 2."""
    half = dim // 2
    step = 1 / half * (half - 1) / (half - 1)
    a = t.double()[:, None] * max_period ** -(step * torch.arange(half, dtype=torch.float64))
    return torch.cat([a.cos(), a.sin()], 1).float()


def wrong_float64_out(t, dim, max_period=10000.0):
    """Keeps the float64 of the computation."""
    a = _angles(t, dim, max_period)
    return torch.cat([a.cos(), a.sin()], 1)


def wrong_dtype_of_t(t, dim, max_period=10000.0):
    """float32 for integers, and else the dtype of t."""
    a = _angles(t, dim, max_period)
    return torch.cat([a.cos(), a.sin()], 1).to(t.dtype if t.is_floating_point() else torch.float32)


def wrong_whole_steps(t, dim, max_period=10000.0):
    """Rounds t down to a step."""
    a = _angles(t.long(), dim, max_period)
    return torch.cat([a.cos(), a.sin()], 1).float()


def wrong_half_precision(t, dim, max_period=10000.0):
    """Angles in float16: good for small t only."""
    a = _angles(t, dim, max_period).half().float()
    return torch.cat([a.cos(), a.sin()], 1)


def wrong_in_place(t, dim, max_period=10000.0):
    """Works on t itself."""
    if t.is_floating_point() and not t.requires_grad:
        a = _angles(t.clone(), dim, max_period)
        t.mul_(1000)
    else:
        a = _angles(t, dim, max_period)
    return torch.cat([a.cos(), a.sin()], 1).float()


def wrong_through_python(t, dim, max_period=10000.0):
    """Python's math: no gradient reaches t."""
    half = dim // 2
    rows = [[v * max_period ** (-i / half) for i in range(half)] for v in t.tolist()]
    return torch.tensor([[math.cos(a) for a in row] + [math.sin(a) for a in row] for row in rows])


def right_logarithms_in_float32(t, dim, max_period=10000.0):
    """exp of logarithms in float32, as most code has it."""
    half = dim // 2
    freqs = torch.exp(-math.log(max_period) * torch.arange(half, dtype=torch.float32) / half).to(t.device)
    args = t[:, None].float() * freqs[None]
    return torch.cat([torch.cos(args), torch.sin(args)], dim=-1)


def right_complex(t, dim, max_period=10000.0):
    """Powers of points on the unit circle."""
    half = dim // 2
    freqs = torch.logspace(0, math.log10(max_period) * (1 / half - 1), half, dtype=torch.float64)
    z = torch.exp(1j * t.double()[:, None] * freqs)
    return torch.cat([z.real, z.imag], 1).to(torch.float32)


def right_shifted_sine(t, dim, max_period=10000.0):
    """Cosines as sines a quarter of a turn ahead."""
    half = dim // 2
    a = torch.einsum("b,i->bi", t.double(), max_period ** (-torch.arange(half).double() / half))
    return torch.sin(torch.cat([a + math.pi / 2, a], 1)).float()
