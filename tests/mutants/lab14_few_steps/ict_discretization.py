"""Answers to ict_discretization, wrong and right."""

import math


def _span(K, s0, s1):
    return math.floor(K / (math.log2(math.floor(s1 / s0)) + 1))


def wrong_without_plus_1(k, K, s0, s1):
    """s levels, not s + 1."""
    return min(s0 * 2 ** (k // _span(K, s0, s1)), s1)


def wrong_plus_1_inside(k, K, s0, s1):
    """min(s0 2^... + 1, s1)."""
    return min(s0 * 2 ** (k // _span(K, s0, s1)) + 1, s1)


def wrong_s0_plus_1_doubled(k, K, s0, s1):
    """(s0 + 1) 2^...: the added 1 is doubled too."""
    return min((s0 + 1) * 2 ** (k // _span(K, s0, s1)), s1 + 1)


def wrong_one_step_early(k, K, s0, s1):
    """Counts from 1."""
    return min(s0 * 2 ** ((k + 1) // _span(K, s0, s1)), s1) + 1


def wrong_one_step_late(k, K, s0, s1):
    """floor((k - 1)/K')."""
    return min(s0 * 2 ** (max(k - 1, 0) // _span(K, s0, s1)), s1) + 1


def wrong_rounded(k, K, s0, s1):
    """Rounds k/K'."""
    return min(s0 * 2 ** round(k / _span(K, s0, s1)), s1) + 1


def wrong_ceiling(k, K, s0, s1):
    """Takes the ceiling of k/K'."""
    return min(s0 * 2 ** math.ceil(k / _span(K, s0, s1)), s1) + 1


def wrong_span_without_plus_1(k, K, s0, s1):
    """K' = K/log2(s1/s0): the last doubling is never reached."""
    span = math.floor(K / max(math.log2(math.floor(s1 / s0)), 1))
    return min(s0 * 2 ** (k // span), s1) + 1


def wrong_natural_logarithm(k, K, s0, s1):
    """ln for log2."""
    span = math.floor(K / (math.log(math.floor(s1 / s0)) + 1))
    return min(s0 * 2 ** (k // span), s1) + 1


def wrong_span_not_floored(k, K, s0, s1):
    """K' is not rounded down."""
    return min(s0 * 2 ** math.floor(k / (K / (math.log2(math.floor(s1 / s0)) + 1))), s1) + 1


def wrong_span_rounded_up(k, K, s0, s1):
    """K' is rounded up."""
    return min(s0 * 2 ** (k // math.ceil(K / (math.log2(math.floor(s1 / s0)) + 1))), s1) + 1


def wrong_span_rounded(k, K, s0, s1):
    """K' is rounded to the nearest whole number."""
    return min(s0 * 2 ** (k // max(round(K / (math.log2(math.floor(s1 / s0)) + 1)), 1)), s1) + 1


def wrong_ratio_not_floored(k, K, s0, s1):
    """log2(s1/s0) without the floor."""
    span = math.floor(K / (math.log2(s1 / s0) + 1))
    return min(s0 * 2 ** (k // span), s1) + 1


def wrong_without_limit(k, K, s0, s1):
    """s1 is not respected."""
    return s0 * 2 ** (k // _span(K, s0, s1)) + 1


def wrong_linear(k, K, s0, s1):
    """Grows in equal steps."""
    return round(s0 + (s1 - s0) * k / max(K - 1, 1)) + 1


def wrong_schedule_of_the_first_paper(k, K, s0, s1):
    """Song et al. (2023): the root of a line."""
    return math.ceil(math.sqrt(k / K * ((s1 + 1) ** 2 - s0**2) + s0**2) - 1) + 1


def wrong_float(k, K, s0, s1):
    """A float."""
    return float(min(s0 * 2 ** (k // _span(K, s0, s1)), s1) + 1)


def wrong_squared(k, K, s0, s1):
    """s0 to the power 2^...: squares, does not double."""
    return min(s0 ** (2 ** min(k // _span(K, s0, s1), 8)), s1) + 1


def right_loop(k, K, s0, s1):
    """Doubles in a loop."""
    span, s = int(K / (math.log2(s1 // s0) + 1)), s0
    for _ in range(k // span):
        s = min(2 * s, s1)
    return s + 1


def right_shift(k, K, s0, s1):
    """Shifts bits."""
    return 1 + min(s0 << (k // int(K // (1 + math.log2(s1 // s0)))), s1)


def right_floats_inside(k, K, s0, s1):
    """As the formula is written, with floats on the way."""
    span = math.floor(K / (math.log2(math.floor(s1 / s0)) + 1.0))
    return int(min(s0 * 2.0 ** math.floor(k / span), s1)) + 1
