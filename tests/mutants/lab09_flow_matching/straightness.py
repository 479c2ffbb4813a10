"""Answers to straightness, wrong and right."""

import torch


def _deviation(states):
    n = len(states) - 1
    return (states[-1] - states[0]) - n * states.diff(dim=0)


def wrong_mean_over_features(trajectory):
    """The mean over all elements."""
    return _deviation(trajectory).square().mean()


def wrong_summed_over_steps(trajectory):
    """Summed over the steps."""
    return _deviation(trajectory).square().flatten(2).sum(2).mean(1).sum()


def wrong_summed_over_the_batch(trajectory):
    """Summed over the batch."""
    return _deviation(trajectory).square().flatten(2).sum(2).mean(0).sum()


def wrong_norm(trajectory):
    """The norm, not its square."""
    return _deviation(trajectory).flatten(2).norm(dim=2).mean()


def wrong_without_n(trajectory):
    """A step compared with the whole way."""
    return ((trajectory[-1] - trajectory[0]) - trajectory.diff(dim=0)).square().flatten(2).sum(2).mean()


def wrong_mean_step(trajectory):
    """Steps against the mean step, not multiplied by n."""
    n = len(trajectory) - 1
    return (_deviation(trajectory) / n).square().flatten(2).sum(2).mean()


def wrong_n_plus_1(trajectory):
    """n + 1 states are taken for n + 1 steps."""
    n = len(trajectory)
    deviation = (trajectory[-1] - trajectory[0]) - n * trajectory.diff(dim=0)
    return deviation.square().flatten(2).sum(2).mean()


def wrong_divides_by_n_plus_1(trajectory):
    """The sum over the steps is divided by the number of states."""
    return _deviation(trajectory).square().flatten(2).sum(2).mean(1).sum() / len(trajectory)


def wrong_distance_from_the_chord(trajectory):
    """Places, not velocities: blind to uneven speed only where it is even."""
    n = len(trajectory) - 1
    s = torch.linspace(0, 1, n + 1, dtype=trajectory.dtype).reshape(-1, *[1] * (trajectory.ndim - 1))
    chord = trajectory[0] + s * (trajectory[-1] - trajectory[0])
    return (trajectory - chord).square().flatten(2).sum(2).mean()


def wrong_length_over_chord(trajectory):
    """Length of the curve over that of the chord, minus 1: 0 for uneven speed."""
    length = trajectory.diff(dim=0).flatten(2).norm(dim=2).sum(0)
    return (length / (trajectory[-1] - trajectory[0]).flatten(1).norm(dim=1) - 1).mean()


def wrong_curvature(trajectory):
    """Second differences: they need two steps."""
    n = len(trajectory) - 1
    return (n**2 * trajectory.diff(n=2, dim=0)).square().flatten(2).sum(2).mean()


def wrong_half(trajectory):
    """A factor 1/2."""
    return _deviation(trajectory).square().flatten(2).sum(2).mean() / 2


def wrong_one_per_sample(trajectory):
    """(B,)."""
    return _deviation(trajectory).square().flatten(2).sum(2).mean(0)


def wrong_points_only(trajectory):
    """The norm over the last axis alone: images are averaged over the others."""
    return _deviation(trajectory).square().sum(-1).mean()


def wrong_in_place(trajectory):
    """The trajectory is made of deviations."""
    deviation = _deviation(trajectory)
    trajectory[1:] = deviation
    return deviation.square().flatten(2).sum(2).mean()


def right_formula(trajectory):
    """Equation (9.15)."""
    return _deviation(trajectory).square().flatten(2).sum(2).mean()


def right_variance_of_velocities(trajectory):
    """The mean velocity is the whole way: the variance of the velocities over the steps."""
    velocities = (len(trajectory) - 1) * (trajectory[1:] - trajectory[:-1])
    return float(velocities.var(0, unbiased=False).flatten(1).sum(1).mean())


def right_loop(trajectory):
    """Step by step."""
    n, total = len(trajectory) - 1, 0.0
    for before, after in zip(trajectory[:-1], trajectory[1:], strict=True):
        gap = trajectory[-1] - trajectory[0] - n * (after - before)
        total = total + (gap * gap).sum() / (n * trajectory.shape[1])
    return total
