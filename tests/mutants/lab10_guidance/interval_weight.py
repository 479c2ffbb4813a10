"""Answers to interval_weight, wrong and right."""

import torch


def _like(t):
    return t if isinstance(t, torch.Tensor) else torch.tensor(float(t), dtype=torch.float64)


def _put(inside, t, w):
    return torch.where(inside, torch.as_tensor(w, dtype=t.dtype), torch.ones((), dtype=t.dtype))


def wrong_zero_outside(t, w, lo, hi):
    """0, the unconditional model, outside."""
    t = _like(t)
    return ((t >= lo) & (t <= hi)).to(t.dtype) * w


def wrong_open_at_lo(t, w, lo, hi):
    """lo does not belong."""
    t = _like(t)
    return _put((t > lo) & (t <= hi), t, w)


def wrong_open_at_hi(t, w, lo, hi):
    """hi does not belong."""
    t = _like(t)
    return _put((t >= lo) & (t < hi), t, w)


def wrong_outside(t, w, lo, hi):
    """Guides outside and leaves the interval alone."""
    t = _like(t)
    return _put((t < lo) | (t > hi), t, w)


def wrong_everywhere(t, w, lo, hi):
    """w at all times."""
    t = _like(t)
    return torch.full_like(t, float(w))


def wrong_only_above(t, w, lo, hi):
    """hi is ignored."""
    t = _like(t)
    return _put(t >= lo, t, w)


def wrong_only_below(t, w, lo, hi):
    """lo is ignored."""
    t = _like(t)
    return _put(t <= hi, t, w)


def wrong_other_clock(t, w, lo, hi):
    """t = 1 taken for data."""
    t = _like(t)
    return _put((1 - t >= lo) & (1 - t <= hi), t, w)


def wrong_one_plus_w(t, w, lo, hi):
    """The paper's weight: 1 + w inside."""
    t = _like(t)
    return _put((t >= lo) & (t <= hi), t, 1 + w)


def wrong_dtype(t, w, lo, hi):
    """torch.where of two numbers: always float32."""
    t = _like(t)
    return torch.where((t >= lo) & (t <= hi), float(w), 1.0)


def wrong_float64(t, w, lo, hi):
    """Always float64."""
    return _put((_like(t) >= lo) & (_like(t) <= hi), _like(t).double(), float(w))


def wrong_at_least_1(t, w, lo, hi):
    """max(w, 1) inside: guidance is only ever strengthened."""
    t = _like(t)
    return (((t >= lo) & (t <= hi)).to(t.dtype) * float(w)).clamp(min=1)


def wrong_truth_of_w(t, w, lo, hi):
    """`w or 1`: a weight of 0 counts as none."""
    t = _like(t)
    return _put((t >= lo) & (t <= hi), t, w or 1.0)


def wrong_all_or_none(t, w, lo, hi):
    """One answer for the batch: guided if all times lie inside."""
    t = _like(t)
    return _put(((t >= lo) & (t <= hi)).all().expand(t.shape), t, w)


def wrong_needs_a_batch(t, w, lo, hi):
    """Loops over t: a number or a 0-d tensor has no entries."""
    return torch.stack([_put((time >= lo) & (time <= hi), time, w) for time in t])


def wrong_half_open_widened(t, w, lo, hi):
    """The ends are widened by a hundredth, against rounding."""
    t = _like(t)
    return _put((t >= lo - 0.01) & (t <= hi + 0.01), t, w)


def wrong_in_place(t, w, lo, hi):
    """Writes the weights into t."""
    t = _like(t)
    inside = (t >= lo) & (t <= hi)
    t.fill_(1.0)
    t[inside] = float(w)
    return t


def wrong_ramp(t, w, lo, hi):
    """The weight rises and falls linearly inside the interval."""
    t = _like(t)
    middle, half = (lo + hi) / 2, max(float(hi - lo) / 2, 1e-9)
    return 1 + (w - 1) * (1 - (t - middle).abs() / half).clamp(min=0)


def wrong_levels(t, w, lo, hi):
    """A list of Python floats."""
    times = t.reshape(-1).tolist() if isinstance(t, torch.Tensor) else [t]
    return [float(w) if lo <= time <= hi else 1.0 for time in times]


def wrong_integer_times(t, w, lo, hi):
    """A tensor of t as it comes, and all in its dtype: an int t is int64, and so are the ends."""
    t = torch.as_tensor(t)
    lo, hi, w = (torch.as_tensor(value, dtype=t.dtype) for value in (lo, hi, w))
    return torch.where((t >= lo) & (t <= hi), w, torch.ones_like(t))


def wrong_python_if(t, w, lo, hi):
    """Python's if, which one time has an answer for, and several have not."""
    weight = w if lo <= t <= hi else 1.0
    return torch.full_like(t, float(weight)) if isinstance(t, torch.Tensor) else weight


def right_in_the_dtype_of_t(t, w, lo, hi):
    """The ends cast to t's dtype before they are compared."""
    t = _like(t)
    lo, hi = (torch.as_tensor(value, dtype=t.dtype) for value in (lo, hi))
    return _put((t >= lo) & (t <= hi), t, w)


def right_in_float64(t, w, lo, hi):
    """Times and ends compared in float64."""
    t = _like(t)
    return _put((t.double() >= lo) & (t.double() <= hi), t, w)


def right_masked_fill(t, w, lo, hi):
    """Ones like t, then a mask."""
    t = _like(t)
    out = torch.ones_like(t)
    return out.masked_fill(torch.logical_and(t >= lo, t <= hi), float(w))


def right_arithmetic(t, w, lo, hi):
    """1 + (w - 1) times an indicator."""
    t = _like(t)
    inside = (torch.ge(t, lo) * torch.le(t, hi)).to(t)
    return 1 + inside * (torch.as_tensor(w).to(t) - 1)


def right_number_for_a_number(t, w, lo, hi):
    """A Python float for a Python number, a tensor for a tensor."""
    if not isinstance(t, torch.Tensor):
        return float(w) if lo <= t <= hi else 1.0
    outside = (t < lo) | (t > hi)
    return torch.full_like(t, float(w)).masked_fill(outside, 1.0)
