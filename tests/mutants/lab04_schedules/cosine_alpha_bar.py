"""Answers to cosine_alpha_bar, wrong and right."""

import math

import numpy as np
import torch


def _f(T, s, dtype=torch.float64):
    k = torch.arange(T + 1, dtype=dtype)
    return torch.cos((k / T + s) / (1 + s) * math.pi / 2) ** 2


def _product(betas):
    return torch.cat([torch.ones(1, dtype=betas.dtype), torch.cumprod(1 - betas, 0)])


def wrong_no_clip(T, s=0.008, max_beta=0.999):
    """f(k)/f(0) without the beta clip: abar[T] is 0 up to rounding."""
    f = _f(T, s)
    return f / f[0]


def wrong_lower_clip(T, s=0.008, max_beta=0.999):
    """The betas clipped to 1e-4..max_beta, as a much-read tutorial does."""
    f = _f(T, s)
    return _product((1 - f[1:] / f[:-1]).clamp(1e-4, max_beta))


def wrong_without_s(T, s=0.008, max_beta=0.999):
    """No offset: cos²(k/T · pi/2)."""
    f = _f(T, 0.0)
    return _product((1 - f[1:] / f[:-1]).clamp(max=max_beta))


def wrong_s_not_normalised(T, s=0.008, max_beta=0.999):
    """k/T + s without the division by 1 + s: the last betas run past pi/2."""
    k = torch.arange(T + 1, dtype=torch.float64)
    f = torch.cos((k / T + s) * math.pi / 2) ** 2
    return _product((1 - f[1:] / f[:-1]).clamp(max=max_beta))


def wrong_cosine_not_squared(T, s=0.008, max_beta=0.999):
    """cos in place of cos²."""
    f = _f(T, s).sqrt()
    return _product((1 - f[1:] / f[:-1]).clamp(max=max_beta))


def wrong_without_level_0(T, s=0.008, max_beta=0.999):
    """T entries: every index is off by one."""
    f = _f(T, s)
    return torch.cumprod((f[1:] / f[:-1]).clamp(min=1 - max_beta), 0)


def wrong_clips_abar(T, s=0.008, max_beta=0.999):
    """abar itself clipped from below, not the betas."""
    f = _f(T, s)
    return (f / f[0]).clamp(min=1 - max_beta)


def wrong_max_beta_hard_coded(T, s=0.008, max_beta=0.999):
    """0.999 in the body, whatever is asked for."""
    f = _f(T, s)
    return _product((1 - f[1:] / f[:-1]).clamp(max=0.999))


def wrong_clips_the_last_step_only(T, s=0.008, max_beta=0.999):
    """Only the last factor is clipped; with a smaller max_beta many should be."""
    f = _f(T, s)
    abar = f / f[0]
    abar[-1] = abar[-2] * (1 - max_beta)
    return abar


def wrong_float32(T, s=0.008, max_beta=0.999):
    """torch.arange(...)/T is float32."""
    f = _f(T, s, torch.float32)
    return _product((1 - f[1:] / f[:-1]).clamp(max=max_beta))


def wrong_float32_cast_at_the_end(T, s=0.008, max_beta=0.999):
    """Computed in float32 and cast."""
    f = _f(T, s, torch.float32)
    return _product((1 - f[1:] / f[:-1]).clamp(max=max_beta)).double()


def wrong_not_divided_by_f0(T, s=0.008, max_beta=0.999):
    """abar = f, so that abar[0] is a little below 1."""
    f = _f(T, s)
    betas = (1 - f[1:] / f[:-1]).clamp(max=max_beta)
    return torch.cat([f[:1], f[0] * torch.cumprod(1 - betas, 0)])


def right_loop(T, s=0.008, max_beta=0.999):
    """Python floats, one step after the other."""
    abar = [1.0]
    for k in range(1, T + 1):
        now, before = (math.cos((j / T + s) / (1 + s) * math.pi / 2) ** 2 for j in (k, k - 1))
        abar.append(abar[-1] * (1 - min(1 - now / before, max_beta)))
    return torch.tensor(abar, dtype=torch.float64)


def right_numpy(T, s=0.008, max_beta=0.999):
    """numpy, with the double-angle form of cos²."""
    angle = (np.linspace(0, 1, T + 1) + s) / (1 + s) * np.pi / 2
    f = np.cos(angle) ** 2
    betas = np.minimum(1 - f[1:] / f[:-1], max_beta)
    return torch.from_numpy(np.append(1.0, np.cumprod(1 - betas)))


def right_sines(T, s=0.008, max_beta=0.999):
    """cos of an angle as the sine of what is left to pi/2; ratios clipped from below."""
    left = (T - torch.arange(T + 1, dtype=torch.float64)) / T / (1 + s) * torch.pi / 2
    keep = torch.maximum((left[1:].sin() / left[:-1].sin()).square(), torch.tensor(1 - max_beta, dtype=torch.float64))
    return torch.nn.functional.pad(keep.cumprod(0), (1, 0), value=1.0)
