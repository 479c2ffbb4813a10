"""Answers to `gmm_score`."""

import math

import torch


def _logits(x, means, std, weights):
    return weights.log() - (x[:, None] - means).square().sum(2) / (2 * std**2)


def _weighted(r, x, means, std):
    return (r @ means - x) / std**2


def wrong_no_log_sum_exp(x, means, std, weights):
    """Densities themselves: 0/0 far away."""
    p = weights * torch.exp(-(x[:, None] - means).square().sum(2) / (2 * std**2))
    return _weighted(p / p.sum(1, keepdim=True), x, means, std)


def wrong_clamped_density(x, means, std, weights):
    """A small number added below: finite far away, and 0 there."""
    p = weights * torch.exp(-(x[:, None] - means).square().sum(2) / (2 * std**2))
    pull = (p[:, :, None] * (means - x[:, None])).sum(1) / std**2
    return pull / (p.sum(1, keepdim=True) + 1e-12)


def wrong_guarded_sum(x, means, std, weights):
    """A small number added to the sum of the shares: all shares are 0 far away, and the pull is to the origin."""
    p = weights * torch.exp(-(x[:, None] - means).square().sum(2) / (2 * std**2))
    return _weighted(p / (p.sum(1, keepdim=True) + 1e-12), x, means, std)


def wrong_nan_to_num(x, means, std, weights):
    """NaN replaced by 0."""
    return torch.nan_to_num(wrong_no_log_sum_exp(x, means, std, weights))


def wrong_std_for_variance(x, means, std, weights):
    """Divided by std."""
    return _weighted(_logits(x, means, std, weights).softmax(1), x, means, std) * std


def wrong_std_in_the_exponent(x, means, std, weights):
    """std where the variance belongs in the exponent."""
    logits = weights.log() - (x[:, None] - means).square().sum(2) / (2 * std)
    return _weighted(logits.softmax(1), x, means, std)


def wrong_missing_half(x, means, std, weights):
    """|x - m|^2/std^2 in the exponent."""
    logits = weights.log() - (x[:, None] - means).square().sum(2) / std**2
    return _weighted(logits.softmax(1), x, means, std)


def wrong_distance_not_squared(x, means, std, weights):
    """The distance in the exponent."""
    logits = weights.log() - (x[:, None] - means).norm(dim=2) / (2 * std**2)
    return _weighted(logits.softmax(1), x, means, std)


def wrong_sign(x, means, std, weights):
    """Points away from the means."""
    return -_weighted(_logits(x, means, std, weights).softmax(1), x, means, std)


def wrong_without_weights(x, means, std, weights):
    """All Gaussians alike."""
    return _weighted(_logits(x, means, std, torch.ones_like(weights)).softmax(1), x, means, std)


def wrong_weights_as_logits(x, means, std, weights):
    """Weights added where their logarithms belong."""
    logits = weights - (x[:, None] - means).square().sum(2) / (2 * std**2)
    return _weighted(logits.softmax(1), x, means, std)


def wrong_weights_alone(x, means, std, weights):
    """The mixture of the scores in place of the score of the mixture."""
    return _weighted(weights.expand(len(x), -1), x, means, std)


def wrong_nearest_mean(x, means, std, weights):
    """Only the nearest Gaussian counts."""
    nearest = (x[:, None] - means).square().sum(2).argmin(1)
    return (means[nearest] - x) / std**2


def wrong_softmax_over_the_batch(x, means, std, weights):
    """softmax over the samples."""
    return _weighted(_logits(x, means, std, weights).softmax(0), x, means, std)


def wrong_axes_when_square(x, means, std, weights):
    """Differences by plain broadcasting where the sizes allow it."""
    if len(x) == len(means) == x.shape[1]:
        logits = (weights.log() - (x[:, None] - means).square().sum(2) / (2 * std**2)).T
        return _weighted(logits.softmax(1), x, means, std)
    return _weighted(_logits(x, means, std, weights).softmax(1), x, means, std)


def wrong_two_dimensions_only(x, means, std, weights):
    """Distances from the first two features."""
    logits = weights.log() - (x[:, None, :2] - means[:, :2]).square().sum(2) / (2 * std**2)
    return _weighted(logits.softmax(1), x, means, std)


def wrong_gradient_of_the_density(x, means, std, weights):
    """The gradient of p, not of log p."""
    p = torch.exp(_logits(x, means, std, weights))
    return (p[:, :, None] * (means - x[:, None])).sum(1) / std**2


def wrong_detached_shares(x, means, std, weights):
    """The shares without a graph."""
    r = _logits(x, means, std, weights).softmax(1).detach()
    return _weighted(r, x, means, std)


def wrong_float64(x, means, std, weights):
    """Everything in float64."""
    x, means, weights = x.double(), means.double(), weights.double()
    return _weighted(_logits(x, means, std, weights).softmax(1), x, means, std)


def wrong_autograd_without_graph(x, means, std, weights):
    """Automatic differentiation that cannot be differentiated again."""
    x = x.detach().requires_grad_()
    return torch.autograd.grad(torch.logsumexp(_logits(x, means, std, weights), 1).sum(), x)[0]


def wrong_in_place(x, means, std, weights):
    """Normalises the weights inside the argument."""
    weights.data *= 2
    return _weighted(_logits(x, means, std, weights).softmax(1), x, means, std)


def right_logsumexp(x, means, std, weights):
    """Shares as exp(log-joint minus logsumexp), offsets kept."""
    offsets = means[None] - x[:, None]
    log_joint = torch.log(weights) - torch.einsum("bkd,bkd->bk", offsets, offsets) / (2 * std * std)
    shares = (log_joint - torch.logsumexp(log_joint, 1, keepdim=True)).exp()
    return torch.einsum("bk,bkd->bd", shares, offsets) / std**2


def right_autograd(x, means, std, weights):
    """The gradient of log p by automatic differentiation, as part of the graph."""
    with torch.enable_grad():
        y = x if x.requires_grad else x.detach().requires_grad_()
        d = x.shape[1]
        parts = weights.log() - (y[:, None] - means).pow(2).sum(-1) / (2 * std**2)
        log_p = torch.logsumexp(parts - d / 2 * math.log(2 * math.pi * std**2), 1)
        return torch.autograd.grad(log_p.sum(), y, create_graph=True)[0]


def right_largest_subtracted(x, means, std, weights):
    """The largest exponent subtracted by hand, one sample at a time."""
    rows = []
    for point in x:
        exponents = -((means - point) ** 2).sum(1) / (2 * std**2) + weights.log()
        p = torch.exp(exponents - exponents.max())
        rows.append((p[:, None] * (means - point)).sum(0) / p.sum() / std**2)
    return torch.stack(rows)
