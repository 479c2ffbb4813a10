"""Answers to velocity_to_score, wrong and right."""

import torch


def _column(t, x):
    return torch.as_tensor(t, dtype=x.dtype, device=x.device).reshape(-1, *[1] * (x.ndim - 1))


def _guarded(t, x, least=1e-6):
    return _column(t, x).clamp(min=least)


def wrong_zero_division(v, x, t):
    """No guard: not finite at t = 0."""
    t = _column(t, x)
    return -(x + (1 - t) * v) / t


def wrong_sign(v, x, t):
    """eps / t."""
    return (x + (1 - _column(t, x)) * v) / _guarded(t, x)


def wrong_variance(v, x, t):
    """Divided by t²."""
    return -(x + (1 - _column(t, x)) * v) / _guarded(t, x, 1e-5) ** 2


def wrong_not_divided(v, x, t):
    """-eps."""
    return -(x + (1 - _column(t, x)) * v)


def wrong_sign_of_v(v, x, t):
    """eps as x - (1 - t) v, from a velocity of the other clock."""
    return -(x - (1 - _column(t, x)) * v) / _guarded(t, x)


def wrong_clock(v, x, t):
    """Time turned round."""
    t = _column(t, x)
    return -(x + t * v) / (1 - t).clamp(min=1e-6)


def wrong_v_is_eps(v, x, t):
    """-v / t."""
    return -v / _guarded(t, x)


def wrong_bias_of_a_hundredth(v, x, t):
    """t + 0.01 for t, for safety."""
    t = _column(t, x)
    return -(x + (1 - t) * v) / (t + 1e-2)


def wrong_bias_of_a_millionth(v, x, t):
    """t + 1e-6 for t: a tenth of a percent at t = 0.001."""
    t = _column(t, x)
    return -(x + (1 - t) * v) / (t + 1e-6)


def wrong_clamped_too_early(v, x, t):
    """t is not let below 0.01."""
    return -(x + (1 - _column(t, x)) * v) / _guarded(t, x, 1e-2)


def wrong_bias_of_a_hundred_thousandth(v, x, t):
    """t + 1e-5 for t: a percent at t = 0.001."""
    t = _column(t, x)
    return -(x + (1 - t) * v) / (t + 1e-5)


def wrong_clamped_throughout(v, x, t):
    """t is not let below 0.01, in front of v either."""
    t = _guarded(t, x, 1e-2)
    return -(x + (1 - t) * v) / t


def wrong_through_x0_and_mended(v, x, t):
    """By x0, with 0/0 made 0 afterwards."""
    t = _column(t, x)
    return -((x - (1 - t) * (x - t * v)) / t / t).nan_to_num()


def wrong_all_rows_for_one(v, x, t):
    """One time of 0 makes the whole batch 0."""
    t = _column(t, x)
    return torch.zeros_like(x) if (t == 0).any() else -(x + (1 - t) * v) / t


def wrong_if_for_a_batch(v, x, t):
    """A (B,) time has no truth value."""
    if t == 0:
        return torch.zeros_like(x)
    return -(x + (1 - _column(t, x)) * v) / _column(t, x)


def wrong_exchanged(x, v, t):
    """v and x in the other order."""
    return -(x + (1 - _column(t, x)) * v) / _guarded(t, x)


def wrong_through_x0(v, x, t):
    """eps = (x - (1 - t) x0)/t with x0 = x - t v: two divisions by t."""
    c, t = _column(t, x), _guarded(t, x)
    return -((x - (1 - c) * (x - c * v)) / t) / t


def wrong_through_x0_and_back(v, x, t):
    """x0 = (x - t eps)/(1 - t): 0/0 at t = 1."""
    c, t = _column(t, x), _guarded(t, x)
    x0 = (x - c * (x + (1 - c) * v)) / (1 - c)
    return -(x - (1 - c) * x0) / t**2


def wrong_time_on_the_last_axis_if_it_fits(v, x, t):
    """(B, 1) only where plain broadcasting fails."""
    c = torch.as_tensor(t, dtype=x.dtype)
    try:
        return -(x + (1 - c) * v) / c.clamp(min=1e-6)
    except RuntimeError:
        return -(x + (1 - _column(t, x)) * v) / _guarded(t, x)


def wrong_float64_out(v, x, t):
    """A float64 time makes the result float64."""
    t = torch.as_tensor(t, dtype=torch.float64).reshape(-1, *[1] * (x.ndim - 1))
    return -(x + (1 - t) * v) / t.clamp(min=1e-6)


def wrong_needs_a_tensor(v, x, t):
    """t.clamp: no Python numbers."""
    c = t.to(x).reshape(-1, *[1] * (x.ndim - 1))
    return -(x + (1 - c) * v) / c.clamp(min=1e-6)


def wrong_detached(v, x, t):
    """Outside the graph."""
    return (-(x + (1 - _column(t, x)) * v) / _guarded(t, x)).detach()


def wrong_in_place(v, x, t):
    """t is clamped inside itself."""
    if isinstance(t, torch.Tensor):
        t.clamp_(min=1e-6)
    x.data.add_((1 - _column(t, x)) * v)
    return -x / _guarded(t, x)


def right_clamped(v, x, t):
    """The divisor clamped."""
    return -(x + (1 - _column(t, x)) * v) / _guarded(t, x)


def right_zero_at_zero(v, x, t):
    """0 where t is 0."""
    t = _column(t, x)
    safe = torch.where(t == 0, torch.ones_like(t), t)
    return torch.where(t == 0, torch.zeros_like(x), -(x + (1 - t) * v) / safe)


def right_in_float64(v, x, t):
    """All in float64, even with the detour, and cast at the end."""
    t = torch.as_tensor(t, dtype=torch.float64).reshape(-1, *[1] * (x.ndim - 1))
    x0 = x.double() - t * v.double()
    guarded = t.clamp(min=1e-4)
    return (((1 - t) * x0 - x.double()) / guarded**2).to(x.dtype)
