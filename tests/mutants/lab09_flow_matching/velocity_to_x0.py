"""Answers to velocity_to_x0, wrong and right."""

import torch


def _column(t, x):
    return torch.as_tensor(t, dtype=x.dtype, device=x.device).reshape(-1, *[1] * (x.ndim - 1))


def wrong_sign(v, x, t):
    """Towards the noise."""
    return x + _column(t, x) * v


def wrong_exchanged(x, v, t):
    """v and x in the other order."""
    return x - _column(t, x) * v


def wrong_end(v, x, t):
    """The noise end: x + (1 - t) v."""
    return x + (1 - _column(t, x)) * v


def wrong_clock(v, x, t):
    """The other clock's formula, x + (1 - t) v with v pointing to the data, as x - (1 - t) v."""
    return x - (1 - _column(t, x)) * v


def wrong_whole_way(v, x, t):
    """A step of length 1, whatever t."""
    return x - v


def wrong_v_prediction(v, x, t):
    """alpha x - sigma v: right for the v of a variance-preserving path."""
    t = _column(t, x)
    return (1 - t) * x - t * v


def wrong_divided(v, x, t):
    """(x - t v)/(1 - t), as from eps."""
    t = _column(t, x)
    return (x - t * v) / (1 - t)


def wrong_through_eps(v, x, t):
    """eps first, then (x - t eps)/(1 - t): 0/0 at t = 1."""
    t = _column(t, x)
    return (x - t * (x + (1 - t) * v)) / (1 - t)


def wrong_time_on_the_last_axis_if_it_fits(v, x, t):
    """(B, 1) only where plain broadcasting fails."""
    t = torch.as_tensor(t, dtype=x.dtype)
    try:
        return x - t * v
    except RuntimeError:
        return x - _column(t, x) * v


def wrong_two_axes_only(v, x, t):
    """t[:, None]: no images."""
    t = torch.as_tensor(t, dtype=x.dtype)
    return x - (t[:, None] if t.ndim else t) * v


def wrong_clipped(v, x, t):
    """Clipped to [-1, 1]."""
    return (x - _column(t, x) * v).clamp(-1, 1)


def wrong_float64_out(v, x, t):
    """A float64 time makes the result float64."""
    t = torch.as_tensor(t, dtype=torch.float64).reshape(-1, *[1] * (x.ndim - 1))
    return x - t * v


def wrong_detached(v, x, t):
    """Outside the graph."""
    return (x - _column(t, x) * v).detach()


def wrong_in_place(v, x, t):
    """x becomes x0."""
    return x.data.sub_(_column(t, x) * v)


def right_plainly(v, x, t):
    """Equation (9.9)."""
    return x - _column(t, x) * v


def right_addcmul(v, x, t):
    """torch.addcmul."""
    return torch.addcmul(x, _column(t, x).expand_as(x), v, value=-1)


def right_batch_last(v, x, t):
    """The batch axis moved to the end, where a (B,) time broadcasts by itself."""
    t = torch.as_tensor(t).to(x)
    return (x.movedim(0, -1) - t * v.movedim(0, -1)).movedim(-1, 0)
