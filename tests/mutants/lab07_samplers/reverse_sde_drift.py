"""Answers to reverse_sde_drift, wrong and right."""

import torch


def _beta(beta, t, x):
    """beta(t) in x's dtype, one for each sample."""
    b = torch.as_tensor(beta(t)).to(x.dtype)
    return b.reshape(-1, *[1] * (x.ndim - 1)) if b.ndim else b


def wrong_sign(x, score, t, beta):
    """The drift of time run the other way: for steps with dt > 0."""
    b = _beta(beta, t, x)
    return b * x / 2 + b * score(x, t)


def wrong_score_added(x, score, t, beta):
    """Plus the score."""
    b = _beta(beta, t, x)
    return -b * x / 2 + b * score(x, t)


def wrong_half_of_the_drift_forgotten(x, score, t, beta):
    """beta x without the 1/2."""
    b = _beta(beta, t, x)
    return -b * x - b * score(x, t)


def wrong_share_of_the_score(x, score, t, beta):
    """The score's share of the other equation: half for all, or all for half."""
    b = _beta(beta, t, x)
    return -b * x / 2 - 0.5 * b * score(x, t)


def wrong_score_without_beta(x, score, t, beta):
    """The score is not multiplied by beta."""
    return -_beta(beta, t, x) * x / 2 - score(x, t)


def wrong_beta_squared(x, score, t, beta):
    """g is taken for beta, so g² is beta²."""
    b = _beta(beta, t, x)
    return -b * x / 2 - b**2 * score(x, t)


def wrong_sqrt_of_beta(x, score, t, beta):
    """g in front of the score where g² belongs."""
    b = _beta(beta, t, x)
    return -b * x / 2 - b.sqrt() * score(x, t)


def wrong_without_score(x, score, t, beta):
    """The drift of the noising alone."""
    score(x, t)
    return -_beta(beta, t, x) * x / 2


def wrong_time_reversed(x, score, t, beta):
    """Both at 1 - t, for a clock on which the data are at 1."""
    b = _beta(beta, 1 - t, x)
    return -b * x / 2 - b * score(x, 1 - t)


def wrong_trailing_axis(x, score, t, beta):
    """(B,) betas broadcast as they are where B equals the last axis."""
    b = torch.as_tensor(beta(t)).to(x.dtype)
    if b.ndim and b.shape[0] != x.shape[-1]:
        b = b.reshape(-1, *[1] * (x.ndim - 1))
    return -b * x / 2 - b * score(x, t)


def wrong_only_for_points(x, score, t, beta):
    """[:, None]: right for (B, d), wrong for images."""
    b = torch.as_tensor(beta(t)).to(x.dtype)
    b = b[:, None] if b.ndim else b
    return -b * x / 2 - b * score(x, t)


def wrong_one_time_for_all(x, score, t, beta):
    """The first sample's time for the whole batch."""
    b = torch.as_tensor(beta(t)).to(x.dtype).reshape(-1)[0]
    return -b * x / 2 - b * score(x, t)


def wrong_promotes_to_float64(x, score, t, beta):
    """float64 times make float32 points float64."""
    b = torch.as_tensor(beta(t), dtype=torch.float64).reshape(-1, *[1] * (x.ndim - 1))
    return -b * x / 2 - b * score(x, t)


def wrong_in_place(x, score, t, beta):
    """x is scaled inside itself."""
    b = _beta(beta, t, x)
    s = score(x, t)
    x.data.mul_(b / 2)
    return -x - b * s


def wrong_detached_score(x, score, t, beta):
    """The score under no_grad: no gradient through it."""
    b = _beta(beta, t, x)
    with torch.no_grad():
        s = score(x, t)
    return -b * x / 2 - b * s


def wrong_outside_the_graph(x, score, t, beta):
    """All of it under no_grad."""
    with torch.no_grad():
        b = _beta(beta, t, x)
        return -b * x / 2 - b * score(x, t)


def right_in_one_bracket(x, score, t, beta):
    """beta in front of a bracket."""
    return -_beta(beta, t, x) * (0.5 * x + score(x, t))


def right_times_of_the_batch(x, score, t, beta):
    """t made (B,) first."""
    t = torch.as_tensor(t, dtype=x.dtype, device=x.device).expand(len(x))
    rate = beta(t).view(-1, *[1] * (x.ndim - 1))
    return -rate * x / 2 - rate * score(x, t)


def right_batch_axis_last(x, score, t, beta):
    """The batch axis turned to the end, where broadcasting begins."""
    rate = torch.as_tensor(beta(t), dtype=x.dtype)
    inner = (x + 2 * score(x, t)).movedim(0, -1)
    return (-(rate * inner) / 2).movedim(-1, 0)
