"""Answers to q_step, wrong and right."""

import torch


def _column(values, x):
    values = values.to(x.dtype)
    return values.reshape(-1, *[1] * (x.ndim - 1)) if values.ndim else values


def _keep(k, abar):
    k = torch.as_tensor(k)
    return abar[k] / abar[k - 1]


def wrong_variance(x, k, noise, abar):
    """The noise multiplied by beta, a variance."""
    keep = _keep(k, abar)
    return _column(keep.sqrt(), x) * x + _column(1 - keep, x) * noise


def wrong_signal_not_square_rooted(x, k, noise, abar):
    """x multiplied by 1 - beta."""
    keep = _keep(k, abar)
    return _column(keep, x) * x + _column((1 - keep).sqrt(), x) * noise


def wrong_whole_way(x, k, noise, abar):
    """abar[k] in place of the ratio: a jump from x_0 applied to x_{k-1}."""
    keep = abar[torch.as_tensor(k)]
    return _column(keep.sqrt(), x) * x + _column((1 - keep).sqrt(), x) * noise


def wrong_next_step(x, k, noise, abar):
    """Off by one: the step from k to k + 1 (the last level again at T)."""
    k = torch.as_tensor(k)
    keep = abar[(k + 1).clamp(max=len(abar) - 1)] / abar[k]
    return _column(keep.sqrt(), x) * x + _column((1 - keep).sqrt(), x) * noise


def wrong_betas_indexed_by_k(x, k, noise, abar):
    """Off by one: betas[k], where betas[k - 1] takes step k - 1 to k."""
    betas = torch.cat([1 - abar[1:] / abar[:-1], abar.new_zeros(1)])
    b = betas[torch.as_tensor(k)]
    return _column((1 - b).sqrt(), x) * x + _column(b.sqrt(), x) * noise


def wrong_trailing_axis(x, k, noise, abar):
    """(B,) coefficients broadcast as they are: against the last axis, silently when B equals it."""
    keep = _keep(k, abar)
    if keep.ndim and keep.shape[0] != x.shape[-1]:
        keep = keep.reshape(-1, *[1] * (x.ndim - 1))
    return keep.sqrt().to(x.dtype) * x + (1 - keep).sqrt().to(x.dtype) * noise


def wrong_only_for_vectors(x, k, noise, abar):
    """[:, None]: right for (B, d), wrong for images."""
    keep = _keep(k, abar)
    keep = keep[:, None] if keep.ndim else keep
    return keep.sqrt().to(x.dtype) * x + (1 - keep).sqrt().to(x.dtype) * noise


def wrong_promotes_to_float64(x, k, noise, abar):
    """No cast: a (B,) tensor of abar turns float32 data into float64."""
    keep = _keep(k, abar)
    keep = keep.reshape(-1, *[1] * (x.ndim - 1)) if keep.ndim else keep
    return keep.sqrt() * x + (1 - keep).sqrt() * noise


def wrong_casts_abar_first(x, k, noise, abar):
    """abar cast to x's dtype before the ratio: small betas vanish in float32."""
    keep = _keep(k, abar.to(x.dtype))
    return _column(keep.sqrt(), x) * x + _column((1 - keep).sqrt(), x) * noise


def wrong_draws_its_own_noise(x, k, noise, abar):
    """torch.randn in place of the noise that was given."""
    keep = _keep(k, abar)
    return _column(keep.sqrt(), x) * x + _column((1 - keep).sqrt(), x) * torch.randn_like(x)


def wrong_in_place(x, k, noise, abar):
    """Multiplies inside the argument x."""
    keep = _keep(k, abar)
    x.detach().mul_(_column(keep.sqrt(), x))
    return x + _column((1 - keep).sqrt(), x) * noise


def wrong_outside_the_graph(x, k, noise, abar):
    """Under no_grad: nothing can be learnt through the step."""
    with torch.no_grad():
        keep = _keep(k, abar)
        return _column(keep.sqrt(), x) * x + _column((1 - keep).sqrt(), x) * noise


def wrong_adds_without_shrinking(x, k, noise, abar):
    """Variance-exploding: x is not scaled."""
    return x + _column((1 - _keep(k, abar)).sqrt(), x) * noise


def wrong_level_as_a_list_index(x, k, noise, abar):
    """int(k): one level for the whole batch, the first sample's."""
    k = int(torch.as_tensor(k).reshape(-1)[0])
    keep = abar[k] / abar[k - 1]
    return (keep.sqrt() * x + (1 - keep).sqrt() * noise).to(x.dtype)


def right_betas(x, k, noise, abar):
    """All betas first, then the one of the step, view as (B, 1, ..., 1)."""
    betas = (abar[:-1] - abar[1:]) / abar[:-1]
    b = betas[torch.as_tensor(k) - 1]
    b = b.view(b.shape + (1,) * (x.ndim - 1)) if b.ndim == 1 else b
    return (1 - b).sqrt().to(x) * x + b.sqrt().to(x) * noise


def right_transposed(x, k, noise, abar):
    """The batch axis turned to the end, where broadcasting begins."""
    k = torch.as_tensor(k)
    keep = abar[k] / abar[k - 1]
    shrink, spread = keep.sqrt().to(x.dtype), (1 - keep).sqrt().to(x.dtype)
    last = (x.movedim(0, -1) * shrink + noise.movedim(0, -1) * spread).movedim(-1, 0)
    return last


def right_one_sample_at_a_time(x, k, noise, abar):
    """A loop over the batch."""
    ks = torch.as_tensor(k).expand(len(x)).tolist()
    rows = [
        (abar[j] / abar[j - 1]).sqrt() * a + ((abar[j - 1] - abar[j]) / abar[j - 1]).sqrt() * n
        for j, a, n in zip(ks, x, noise, strict=True)
    ]
    return torch.stack(rows).to(x.dtype)
