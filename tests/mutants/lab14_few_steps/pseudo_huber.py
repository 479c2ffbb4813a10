"""Answers to pseudo_huber, wrong and right."""

import torch


def _square(a, b):
    return (a - b).square().flatten(1).sum(1)


def wrong_without_minus_c(a, b, c):
    """Equal samples have the distance c."""
    return (_square(a, b) + c**2).sqrt()


def wrong_mean_over_features(a, b, c):
    """The squares are averaged."""
    return ((a - b).square().flatten(1).mean(1) + c**2).sqrt() - c


def wrong_mean_over_batch(a, b, c):
    """One number."""
    return ((_square(a, b) + c**2).sqrt() - c).mean()


def wrong_by_element(a, b, c):
    """The function of each entry, summed."""
    return (((a - b) ** 2 + c**2).sqrt() - c).flatten(1).sum(1)


def wrong_c_not_squared(a, b, c):
    """c under the root."""
    return (_square(a, b) + c).sqrt() - c


def wrong_huber(a, b, c):
    """Huber's own function: quadratic up to c, linear beyond."""
    r = _square(a, b).sqrt()
    return torch.where(r < c, _square(a, b) / (2 * c), r - c / 2)


def wrong_squared_error(a, b, c):
    """c is not used."""
    return _square(a, b)


def wrong_norm(a, b, c):
    """The distance alone."""
    return (a - b).flatten(1).norm(dim=1)


def wrong_no_root(a, b, c):
    """The root is missing."""
    return _square(a, b) + c**2 - c


def wrong_norm_not_squared(a, b, c):
    """||a - b|| + c² under the root."""
    return ((a - b).flatten(1).norm(dim=1) + c**2).sqrt() - c


def wrong_last_axis_only(a, b, c):
    """The norm over the last axis."""
    return ((a - b).square().sum(-1) + c**2).sqrt() - c


def wrong_last_axis_then_mean(a, b, c):
    """The norm over the last axis, the mean over the others."""
    values = ((a - b).square().sum(-1) + c**2).sqrt() - c
    return values if values.ndim == 1 else values.flatten(1).mean(1)


def wrong_norm_of_a_root(a, b, c):
    """Squares a root: NaN for the gradient of equal samples."""
    return (_square(a, b).sqrt() ** 2 + c**2).sqrt() - c


def wrong_detached_b(a, b, c):
    """b is taken for a target."""
    return (_square(a, b.detach()) + c**2).sqrt() - c


def wrong_own_c(a, b, c):
    """The paper's c, 0.00054 sqrt(d), whatever was asked for."""
    c = 0.00054 * a[0].numel() ** 0.5
    return (_square(a, b) + c**2).sqrt() - c


def wrong_charbonnier_scale(a, b, c):
    """c² (sqrt(1 + (r/c)²) - 1)."""
    return c**2 * ((1 + _square(a, b) / c**2).sqrt() - 1)


def wrong_float64(a, b, c):
    """float64 out."""
    return (_square(a.double(), b.double()) + c**2).sqrt() - c


def wrong_in_place(a, b, c):
    """Subtracts in the caller's a."""
    value = (_square(a, b) + c**2).sqrt() - c
    a.data.sub_(b)
    return value


def right_plainly(a, b, c):
    """With a norm over all axes but the first."""
    axes = tuple(range(1, a.ndim))
    return torch.sqrt(((a - b) ** 2).sum(dim=axes) + c * c) - c


def right_without_cancellation(a, b, c):
    """r²/(sqrt(r² + c²) + c)."""
    square = torch.einsum("bi,bi->b", (a - b).flatten(1), (a - b).flatten(1))
    return square / ((square + c**2).sqrt() + c)


def right_as_a_norm(a, b, c):
    """The length of a - b with c as one more entry."""
    way = torch.cat([(a - b).flatten(1), a.new_full((len(a), 1), c)], 1)
    return torch.linalg.vector_norm(way, dim=1) - c
