"""Answers to q_sample, wrong and right."""

import torch


def _column(values, x):
    values = values.to(x.dtype)
    return values.reshape(-1, *[1] * (x.ndim - 1)) if values.ndim else values


def _mix(x0, a, eps):
    return _column(a.sqrt(), x0) * x0 + _column((1 - a).sqrt(), x0) * eps


def wrong_variance(x0, k, eps, abar):
    """sqrt(abar)·x0 + (1 - abar)·eps: a variance where the standard deviation belongs."""
    a = abar[torch.as_tensor(k)]
    return _column(a.sqrt(), x0) * x0 + _column(1 - a, x0) * eps


def wrong_signal_not_square_rooted(x0, k, eps, abar):
    """abar·x0 + sqrt(1 - abar)·eps."""
    a = abar[torch.as_tensor(k)]
    return _column(a, x0) * x0 + _column((1 - a).sqrt(), x0) * eps


def wrong_noise_coefficient_one_minus_root(x0, k, eps, abar):
    """1 - sqrt(abar) for the noise: a cross-fade."""
    root = abar[torch.as_tensor(k)].sqrt()
    return _column(root, x0) * x0 + _column(1 - root, x0) * eps


def wrong_one_level_early(x0, k, eps, abar):
    """abar[k - 1], as with a tensor that has no level 0; k = 0 wraps round to the last."""
    return _mix(x0, abar[torch.as_tensor(k) - 1], eps)


def wrong_one_level_late(x0, k, eps, abar):
    """abar[k + 1], the last level again at T."""
    return _mix(x0, abar[(torch.as_tensor(k) + 1).clamp(max=len(abar) - 1)], eps)


def wrong_one_step(x0, k, eps, abar):
    """The one-step ratio in place of abar[k]: right at k = 1 only."""
    k = torch.as_tensor(k)
    return _mix(x0, abar[k] / abar[(k - 1).clamp(min=0)], eps)


def wrong_trailing_axis(x0, k, eps, abar):
    """(B,) coefficients broadcast as they are: against the last axis, silently when B equals it."""
    a = abar[torch.as_tensor(k)]
    if a.ndim and a.shape[0] != x0.shape[-1]:
        a = a.reshape(-1, *[1] * (x0.ndim - 1))
    return a.sqrt().to(x0.dtype) * x0 + (1 - a).sqrt().to(x0.dtype) * eps


def wrong_only_for_vectors(x0, k, eps, abar):
    """[:, None]: right for (B, d), wrong for images."""
    a = abar[torch.as_tensor(k)]
    a = a[:, None] if a.ndim else a
    return a.sqrt().to(x0.dtype) * x0 + (1 - a).sqrt().to(x0.dtype) * eps


def wrong_only_for_images(x0, k, eps, abar):
    """view(-1, 1, 1, 1): right for images, turns (B, d) into (B, 1, B, d)."""
    a = abar[torch.as_tensor(k)].reshape(-1, 1, 1, 1)
    return a.sqrt().to(x0.dtype) * x0 + (1 - a).sqrt().to(x0.dtype) * eps


def wrong_promotes_to_float64(x0, k, eps, abar):
    """No cast: a (B,) tensor of abar turns float32 data into float64."""
    a = abar[torch.as_tensor(k)]
    a = a.reshape(-1, *[1] * (x0.ndim - 1)) if a.ndim else a
    return a.sqrt() * x0 + (1 - a).sqrt() * eps


def wrong_casts_abar_first(x0, k, eps, abar):
    """abar cast to x0's dtype before 1 - abar: little noise vanishes in float32."""
    return _mix(x0, abar.to(x0.dtype)[torch.as_tensor(k)], eps)


def wrong_in_place(x0, k, eps, abar):
    """Mixes into the argument x0."""
    a = abar[torch.as_tensor(k)]
    x0.detach().mul_(_column(a.sqrt(), x0))
    return x0 + _column((1 - a).sqrt(), x0) * eps


def wrong_draws_its_own_noise(x0, k, eps, abar):
    """torch.randn in place of the eps that was given."""
    return _mix(x0, abar[torch.as_tensor(k)], torch.randn_like(x0))


def wrong_outside_the_graph(x0, k, eps, abar):
    """The coefficients as Python floats: no gradient reaches abar."""
    return _mix(x0, torch.as_tensor(abar.tolist(), dtype=torch.float64)[torch.as_tensor(k)], eps)


def wrong_guards_level_0(x0, k, eps, abar):
    """abar kept off 0 and 1 "for stability": k = 0 is noisy, and abar = 0 is not pure noise."""
    return _mix(x0, abar[torch.as_tensor(k)].clamp(1e-4, 1 - 1e-4), eps)


def wrong_variance_exploding(x0, k, eps, abar):
    """x0 + sqrt((1 - abar)/abar)·eps: the same SNR, another scale."""
    a = abar[torch.as_tensor(k)]
    return x0 + _column(((1 - a) / a).sqrt(), x0) * eps


def right_angles(x0, k, eps, abar):
    """abar = cos²(phi): noising is a rotation; written without arccos, which has no derivative at 1."""
    a = abar[torch.as_tensor(k)].view(-1, *[1] * (x0.ndim - 1)) if isinstance(k, torch.Tensor) and k.ndim else abar[k]
    cos, sin = a**0.5, (1 - a) ** 0.5
    return cos.to(x0) * x0 + sin.to(x0) * eps


def right_einsum(x0, k, eps, abar):
    """Levels expanded to (B,), the batch axis named in einsum."""
    a = abar[torch.as_tensor(k).expand(x0.shape[0])]
    scale = lambda c, x: torch.einsum("b,b...->b...", c.to(x.dtype), x)  # noqa: E731
    return scale(a.sqrt(), x0) + scale((1 - a).sqrt(), eps)


def right_transposed(x0, k, eps, abar):
    """The batch axis turned to the end, where broadcasting begins."""
    a = abar[torch.as_tensor(k)]
    signal, spread = a.sqrt().to(x0.dtype), (1 - a).sqrt().to(x0.dtype)
    return (x0.movedim(0, -1) * signal + eps.movedim(0, -1) * spread).movedim(-1, 0)


def right_vmap(x0, k, eps, abar):
    """torch.vmap over samples and levels."""
    levels = torch.as_tensor(k).expand(x0.shape[0])
    return torch.vmap(lambda a, x, e: a.sqrt().to(x.dtype) * x + (1 - a).sqrt().to(x.dtype) * e)(abar[levels], x0, eps)
