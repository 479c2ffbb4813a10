"""Answers to score_from_eps, wrong and right."""

import torch


def _rows(value, x):
    value = torch.as_tensor(value, dtype=x.dtype, device=x.device)
    return value.reshape(-1, *[1] * (x.ndim - 1)) if value.ndim else value


def wrong_sign(eps, sigma):
    """The noise itself, rescaled."""
    return eps / _rows(sigma, eps)


def wrong_variance(eps, sigma):
    """Divides by the variance."""
    return -eps / _rows(sigma, eps) ** 2


def wrong_multiplied(eps, sigma):
    """Multiplies by sigma, the way back."""
    return -eps * _rows(sigma, eps)


def wrong_not_divided(eps, sigma):
    """Minus the noise: right at sigma = 1 only."""
    return -eps


def wrong_sigma_is_a_variance(eps, sigma):
    """Takes the root of sigma, as if it were 1 - abar."""
    return -eps / _rows(sigma, eps).sqrt()


def wrong_guarded(eps, sigma):
    """Adds 1e-5 "for stability"."""
    return -eps / (_rows(sigma, eps) + 1e-5)


def wrong_clamped(eps, sigma):
    """Keeps sigma above 1e-3."""
    return -eps / _rows(sigma, eps).clamp(min=1e-3)


def wrong_trailing_axis(eps, sigma):
    """A (B,) sigma broadcast as it is where B equals the width."""
    s = torch.as_tensor(sigma, dtype=eps.dtype)
    return -eps / (s if len(eps) == eps.shape[-1] else _rows(s, eps))


def wrong_only_for_vectors(eps, sigma):
    """[:, None]: right for (B, d), wrong for images."""
    return -eps / torch.as_tensor(sigma, dtype=eps.dtype).reshape(-1, 1)


def wrong_promotes_to_float64(eps, sigma):
    """No cast: a (B,) float64 sigma turns float32 into float64."""
    return -eps / torch.as_tensor(sigma, dtype=torch.float64).reshape(-1, *[1] * (eps.ndim - 1))


def wrong_in_place(eps, sigma):
    """Divides the argument eps."""
    return eps.detach().div_(-_rows(sigma, eps))


def wrong_detached(eps, sigma):
    """Outside the graph."""
    return -eps.detach() / _rows(sigma, eps)


def wrong_sigma_as_floats(eps, sigma):
    """sigma leaves the graph as Python numbers."""
    s = torch.as_tensor(sigma.tolist() if isinstance(sigma, torch.Tensor) else sigma, dtype=torch.float64)
    return -eps / _rows(s, eps)


def right_transposed(eps, sigma):
    """The batch axis turned to the end, where broadcasting begins."""
    return (eps.movedim(0, -1) / -torch.as_tensor(sigma).to(eps)).movedim(-1, 0)


def right_flattened(eps, sigma):
    """Each sample as one row."""
    s = torch.as_tensor(sigma, dtype=eps.dtype, device=eps.device).expand(len(eps))
    return (eps.flatten(1) * s.reciprocal().neg()[:, None]).view_as(eps)
