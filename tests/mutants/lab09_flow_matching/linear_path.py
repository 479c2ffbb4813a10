"""Answers to linear_path, wrong and right."""

import torch


def _column(t, x):
    return torch.as_tensor(t, dtype=x.dtype, device=x.device).reshape(-1, *[1] * (x.ndim - 1))


def wrong_clock(x0, eps, t):
    """t = 0 is noise and t = 1 is data, as in half of the papers."""
    t = _column(t, x0)
    return t * x0 + (1 - t) * eps


def wrong_time_on_the_last_axis(x0, eps, t):
    """A (B,) time against the features."""
    t = torch.as_tensor(t, dtype=x0.dtype)
    return (1 - t) * x0 + t * eps


def wrong_time_on_the_last_axis_if_it_fits(x0, eps, t):
    """(B, 1, ..., 1) only where plain broadcasting fails: silently wrong when B equals the width."""
    t = torch.as_tensor(t, dtype=x0.dtype)
    try:
        return (1 - t) * x0 + t * eps
    except RuntimeError:
        t = _column(t, x0)
        return (1 - t) * x0 + t * eps


def wrong_variance_preserving(x0, eps, t):
    """alpha² + sigma² = 1."""
    t = _column(t, x0)
    return (1 - t**2).sqrt() * x0 + t * eps


def wrong_square_roots(x0, eps, t):
    """Roots of the factors, as if they were alpha-bars."""
    t = _column(t, x0)
    return (1 - t).sqrt() * x0 + t.sqrt() * eps


def wrong_data_keep_their_size(x0, eps, t):
    """x0 + t eps."""
    return x0 + _column(t, x0) * eps


def wrong_trace_of_noise(x0, eps, t):
    """sigma_min = 1e-3 of noise is left on the data."""
    t = _column(t, x0)
    return (1 - t) * x0 + (t + 1e-3 * (1 - t)) * eps


def wrong_two_axes_only(x0, eps, t):
    """t[:, None]: no images."""
    t = torch.as_tensor(t, dtype=x0.dtype)
    t = t[:, None] if t.ndim else t
    return (1 - t) * x0 + t * eps


def wrong_float64_out(x0, eps, t):
    """A float64 time makes the result float64."""
    t = torch.as_tensor(t, dtype=torch.float64).reshape(-1, *[1] * (x0.ndim - 1))
    return (1 - t) * x0 + t * eps


def wrong_needs_a_tensor(x0, eps, t):
    """t.reshape: no Python numbers."""
    t = t.reshape(-1, *[1] * (x0.ndim - 1)).to(x0)
    return (1 - t) * x0 + t * eps


def wrong_in_place(x0, eps, t):
    """The line is written into x0."""
    t = _column(t, x0)
    return x0.data.mul_(1 - t).add_(t * eps)


def wrong_outside_the_graph(x0, eps, t):
    """Under no_grad."""
    t = _column(t, x0)
    with torch.no_grad():
        return (1 - t) * x0 + t * eps


def wrong_clipped(x0, eps, t):
    """Clipped like a picture."""
    t = _column(t, x0)
    return ((1 - t) * x0 + t * eps).clamp(-1, 1)


def right_by_the_formula(x0, eps, t):
    """Equation (9.1)."""
    t = _column(t, x0)
    return (1 - t) * x0 + t * eps


def right_from_the_data(x0, eps, t):
    """x0 plus t times the way."""
    if isinstance(t, torch.Tensor) and t.ndim == 1:
        t = t.view(t.shape + (1,) * (x0.dim() - 1))
    return (x0 + t * (eps - x0)).to(x0.dtype)


def right_lerp(x0, eps, t):
    """torch.lerp."""
    return torch.lerp(x0, eps, _column(t, x0).expand_as(x0))
