"""Answers to spaced_steps, wrong and right."""

import math
from fractions import Fraction

import numpy as np
import torch


def _linspace(T, n):
    return [round(T - i * (T - 1) / max(n - 1, 1)) for i in range(n)]


def _leading(T, n):
    return [1 + (T // n) * i for i in reversed(range(n))]


def _trailing(T, n):
    return [round(T - i * T / n) for i in range(n)]


def _all(T, n, spacing, **other):
    made = {"linspace": _linspace, "leading": _leading, "trailing": _trailing} | other
    return [*made[spacing](T, n), 0]


def wrong_zero_based_leading(T, n, spacing):
    """Leading steps 0, T//n, ...: for T = 1000 and n = 50 it starts at 980."""
    return _all(T, n, spacing, leading=lambda T, n: [T // n * i for i in reversed(range(n))])


def wrong_leading_overruns(T, n, spacing):
    """Leading steps end with their interval: 1 + T when n = T."""
    return _all(T, n, spacing, leading=lambda T, n: [1 + T // n * (i + 1) for i in reversed(range(n))])


def wrong_leading_by_range(T, n, spacing):
    """range(1, T + 1, T // n): more than n steps where n does not divide T."""
    return _all(T, n, spacing, leading=lambda T, n: list(range(1, T + 1, T // n))[::-1])


def wrong_leading_rounded(T, n, spacing):
    """Leading steps with the interval T / n, rounded at the end."""
    return _all(T, n, spacing, leading=lambda T, n: [1 + round(T / n * i) for i in reversed(range(n))])


def wrong_trailing_minus_1(T, n, spacing):
    """Zero-based trailing steps: it starts at T - 1."""
    return _all(T, n, spacing, trailing=lambda T, n: [step - 1 for step in _trailing(T, n)])


def wrong_trailing_in_whole_intervals(T, n, spacing):
    """Trailing steps with the interval T // n."""
    return _all(T, n, spacing, trailing=lambda T, n: [T - T // n * i for i in range(n)])


def wrong_truncated(T, n, spacing):
    """int() in place of round()."""
    return _all(
        T, n, spacing,
        trailing=lambda T, n: [int(T - i * T / n) for i in range(n)],
        linspace=lambda T, n: [int(T - i * (T - 1) / max(n - 1, 1)) for i in range(n)],
    )  # fmt: skip


def wrong_half_up(T, n, spacing):
    """Halves rounded up, floor(x + 1/2): the rounding to even is ignored."""
    return _all(
        T, n, spacing,
        trailing=lambda T, n: [math.floor(T - i * T / n + 0.5) for i in range(n)],
        linspace=lambda T, n: [math.floor(T - i * (T - 1) / max(n - 1, 1) + 0.5) for i in range(n)],
    )  # fmt: skip


def wrong_half_down_in_trailing(T, n, spacing):
    """Halves rounded down in one of the spacings."""
    return _all(T, n, spacing, trailing=lambda T, n: [math.ceil(T - i * T / n - 0.5) for i in range(n)])


def wrong_linspace_to_zero(T, n, spacing):
    """n + 1 numbers from T to 0: 1 is not visited."""
    return _all(T, n, spacing, linspace=lambda T, n: [round(T - i * T / n) for i in range(n)])


def wrong_linspace_divides_by_zero(T, n, spacing):
    """T - 1 over n - 1, also for n = 1."""
    return _all(T, n, spacing, linspace=lambda T, n: [round(T - i * (T - 1) / (n - 1)) for i in range(n)])


def wrong_linspace_of_n_plus_1(T, n, spacing):
    """n + 1 numbers and then 0: one call of the network too many."""
    return _all(T, n, spacing, linspace=lambda T, n: [round(T - i * (T - 1) / n) for i in range(n + 1)])


def wrong_without_zero(T, n, spacing):
    """The last 0 is missing."""
    return _all(T, n, spacing)[:-1]


def wrong_ascending(T, n, spacing):
    """From 0 up to T, the order of training."""
    return _all(T, n, spacing)[::-1]


def wrong_tensor(T, n, spacing):
    """A tensor in place of a list."""
    return torch.tensor(_all(T, n, spacing))


def wrong_floats(T, n, spacing):
    """Floats, as from torch.linspace(...).round().tolist()."""
    return [float(step) for step in _all(T, n, spacing)]


def wrong_zero_dimensional_tensors(T, n, spacing):
    """A list of 0-d tensors."""
    return list(torch.tensor(_all(T, n, spacing)).unbind())


def wrong_same_for_all(T, n, spacing):
    """The name of the spacing is not looked at."""
    return _all(T, n, "trailing")


def right_numpy(T, n, spacing):
    """As libraries do it, with numpy, whose round goes to even too."""
    if spacing == "linspace":
        steps = np.linspace(1, T, n).round()[::-1] if n > 1 else np.array([T])
    elif spacing == "leading":
        steps = (np.arange(n) * (T // n))[::-1] + 1
    else:
        steps = (T * np.arange(n, 0, -1) / n).round()
    return [int(step) for step in steps] + [0]


def right_torch(T, n, spacing):
    """torch.linspace, whose rounding goes to even too; float32 is enough for a thousand steps."""
    steps = {
        "linspace": torch.linspace(T, 1, n),
        "leading": torch.arange(n - 1, -1, -1) * (T // n) + 1.0,
        "trailing": torch.linspace(T, T / n, n),
    }[spacing]
    return [*steps.round().int().tolist(), 0]


def right_fractions(T, n, spacing):
    """Exact fractions."""
    if spacing == "leading":
        return [*range(1 + (n - 1) * (T // n), 0, -(T // n)), 0]
    width = Fraction(T, n) if spacing == "trailing" else Fraction(T - 1, max(1, n - 1))
    return [round(T - i * width) for i in range(n)] + [0]
