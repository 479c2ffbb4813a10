"""Answers to `observed_order`."""

import math
import statistics

import numpy as np
import torch


def _logs(errors, step_sizes):
    return [math.log(float(h)) for h in step_sizes], [math.log(float(e)) for e in errors]


def wrong_end_points(errors, step_sizes):
    """Uses the first and the last point only."""
    h, e = _logs(errors, step_sizes)
    return (e[-1] - e[0]) / (h[-1] - h[0])


def wrong_mean_of_local_slopes(errors, step_sizes):
    """Averages the slopes between neighbours."""
    h, e = _logs(errors, step_sizes)
    return float(np.mean(np.diff(e) / np.diff(h)))


def wrong_without_intercept(errors, step_sizes):
    """Forces the line through C = 1."""
    h, e = map(np.array, _logs(errors, step_sizes))
    return float((h * e).sum() / (h * h).sum())


def wrong_axes_swapped(errors, step_sizes):
    """The slope of log step size over log error."""
    h, e = _logs(errors, step_sizes)
    return statistics.linear_regression(e, h).slope


def wrong_inverse_of_the_other_slope(errors, step_sizes):
    """Fits the wrong variable, then inverts."""
    h, e = _logs(errors, step_sizes)
    return 1 / statistics.linear_regression(e, h).slope


def wrong_sign(errors, step_sizes):
    """The slope over the number of steps."""
    h, e = _logs(errors, step_sizes)
    return -statistics.linear_regression(h, e).slope


def wrong_without_logs(errors, step_sizes):
    """A line through the raw numbers."""
    return statistics.linear_regression([float(h) for h in step_sizes], [float(e) for e in errors]).slope


def wrong_halving_assumed(errors, step_sizes):
    """log2 of the last ratio of errors."""
    return math.log2(float(errors[-2]) / float(errors[-1]))


def wrong_tensor(errors, step_sizes):
    """Returns a 0-d tensor."""
    h, e = (torch.as_tensor(v, dtype=torch.float64).log() for v in (step_sizes, errors))
    return ((h - h.mean()) * (e - e.mean())).sum() / (h - h.mean()).square().sum()


def wrong_rounded(errors, step_sizes):
    """The nearest whole number."""
    h, e = _logs(errors, step_sizes)
    return float(round(statistics.linear_regression(h, e).slope))


def right_standard_library(errors, step_sizes):
    """statistics.linear_regression."""
    h, e = _logs(errors, step_sizes)
    return statistics.linear_regression(h, e).slope


def right_polyfit(errors, step_sizes):
    """numpy's polynomial fit, in base 10."""
    h, e = (np.log10(np.asarray(v, dtype=np.float64)) for v in (step_sizes, errors))
    return float(np.polyfit(h, e, 1)[0])


def right_least_squares(errors, step_sizes):
    """torch.linalg.lstsq with a column of ones."""
    h, e = (torch.as_tensor(v, dtype=torch.float64).log2() for v in (step_sizes, errors))
    return torch.linalg.lstsq(torch.stack([h, torch.ones_like(h)], 1), e[:, None]).solution[0, 0].item()
