"""Answers to predict_x0, wrong and right."""

import torch


def _at(values, k, x):
    """values[k] in x's dtype, one for each sample."""
    picked = values[torch.as_tensor(k)].to(x.dtype)
    return picked.reshape(-1, *[1] * (x.ndim - 1)) if picked.ndim else picked


def wrong_level_before(xk, eps, k, abar):
    """Off by one: abar[k - 1], as where abar has no clean entry in front."""
    k = torch.as_tensor(k) - 1
    return (xk - _at((1 - abar).sqrt(), k, xk) * eps) / _at(abar.sqrt(), k, xk)


def wrong_level_after(xk, eps, k, abar):
    """Off by one the other way: abar[k + 1] (the last again at T)."""
    k = (torch.as_tensor(k) + 1).clamp(max=len(abar) - 1)
    return (xk - _at((1 - abar).sqrt(), k, xk) * eps) / _at(abar.sqrt(), k, xk)


def wrong_variance(xk, eps, k, abar):
    """eps multiplied by 1 - abar, a variance."""
    return (xk - _at(1 - abar, k, xk) * eps) / _at(abar.sqrt(), k, xk)


def wrong_divided_by_abar(xk, eps, k, abar):
    """Divided by abar instead of its root."""
    return (xk - _at((1 - abar).sqrt(), k, xk) * eps) / _at(abar, k, xk)


def wrong_not_divided(xk, eps, k, abar):
    """The noise is taken away, and the signal stays shrunk."""
    return xk - _at((1 - abar).sqrt(), k, xk) * eps


def wrong_clipped(xk, eps, k, abar):
    """Clipped to [-1, 1], as libraries do for images."""
    return ((xk - _at((1 - abar).sqrt(), k, xk) * eps) / _at(abar.sqrt(), k, xk)).clamp(-1, 1)


def wrong_clipped_at_ten(xk, eps, k, abar):
    """Clipped far out, where only large guesses are hit."""
    return ((xk - _at((1 - abar).sqrt(), k, xk) * eps) / _at(abar.sqrt(), k, xk)).clamp(-10, 10)


def wrong_one_step(xk, eps, k, abar):
    """The coefficients of one step: alpha_k where abar_k belongs."""
    k = torch.as_tensor(k)
    keep = torch.cat([abar[:1], abar[1:] / abar[:-1]])
    return (xk - _at((1 - keep).sqrt(), k, xk) * eps) / _at(keep.sqrt(), k, xk)


def wrong_trailing_axis(xk, eps, k, abar):
    """(B,) factors broadcast as they are where B equals the last axis."""
    a = abar[torch.as_tensor(k)].to(xk.dtype)
    if a.ndim and a.shape[0] != xk.shape[-1]:
        a = a.reshape(-1, *[1] * (xk.ndim - 1))
    return (xk - (1 - a).sqrt() * eps) / a.sqrt()


def wrong_only_for_points(xk, eps, k, abar):
    """[:, None]: right for (B, d), wrong for images."""
    a = abar[torch.as_tensor(k)]
    a = a[:, None] if a.ndim else a
    return ((xk - (1 - a).sqrt().to(xk.dtype) * eps) / a.sqrt().to(xk.dtype)).to(xk.dtype)


def wrong_promotes_to_float64(xk, eps, k, abar):
    """No cast: a (B,) tensor of abar turns float32 into float64."""
    a = abar[torch.as_tensor(k)]
    a = a.reshape(-1, *[1] * (xk.ndim - 1)) if a.ndim else a
    return (xk - (1 - a).sqrt() * eps) / a.sqrt()


def wrong_casts_abar_first(xk, eps, k, abar):
    """abar cast to float32 before 1 - abar: nothing is left near level 0."""
    low = abar.to(xk.dtype)
    return (xk - _at((1 - low).sqrt(), k, xk) * eps) / _at(low.sqrt(), k, xk)


def wrong_in_place(xk, eps, k, abar):
    """Takes the noise away inside x_k."""
    xk.data.sub_(_at((1 - abar).sqrt(), k, xk) * eps)
    return xk / _at(abar.sqrt(), k, xk)


def wrong_outside_the_graph(xk, eps, k, abar):
    """Under no_grad."""
    with torch.no_grad():
        return (xk - _at((1 - abar).sqrt(), k, xk) * eps) / _at(abar.sqrt(), k, xk)


def wrong_guarded(xk, eps, k, abar):
    """1e-8 added under the root of 1 - abar."""
    return (xk - _at((1 - abar + 1e-8).sqrt(), k, xk) * eps) / _at(abar.sqrt(), k, xk)


def right_reciprocals(xk, eps, k, abar):
    """sqrt(1/abar) x - sqrt(1/abar - 1) eps, as in published code."""
    return _at((1 / abar).sqrt(), k, xk) * xk - _at(((1 - abar) / abar).sqrt(), k, xk) * eps


def right_one_sample_at_a_time(xk, eps, k, abar):
    """A loop over the batch, computed in abar's dtype."""
    levels = torch.as_tensor(k).expand(len(xk)).tolist()
    rows = [((x - (1 - abar[i]).sqrt() * e) / abar[i].sqrt()) for i, x, e in zip(levels, xk.to(abar), eps, strict=True)]
    return torch.stack(rows).to(xk.dtype)


def right_batch_axis_last(xk, eps, k, abar):
    """The batch axis turned to the end, where broadcasting begins."""
    a = abar[torch.as_tensor(k)]
    signal, noise = a.sqrt().to(xk.dtype), (1 - a).sqrt().to(xk.dtype)
    return ((xk.movedim(0, -1) - noise * eps.movedim(0, -1)) / signal).movedim(-1, 0)
