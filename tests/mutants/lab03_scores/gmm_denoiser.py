"""Answers to gmm_denoiser, wrong and right."""

import math

import torch


def _column(value, x):
    """(1 or B, 1) in x's dtype."""
    return torch.as_tensor(value, dtype=x.dtype, device=x.device).reshape(-1, 1)


def _mix(xt, a, s, means, std, weights, variance=None, gain=None, centre=None, scale=0.5):
    """The answer, with parts that can be replaced; the parts have the shape (1 or B, 1)."""
    c = a**2 * std**2 + s**2
    centres = (a if centre is None else centre)[:, :, None] * means
    square = (xt[:, None] - centres).square().sum(2)
    r = torch.softmax(weights.log() - scale * square / (c if variance is None else variance), 1)
    gain = (a * std**2 / c if gain is None else gain)[:, :, None]
    return (r[:, :, None] * (means + gain * (xt[:, None] - a[:, :, None] * means))).sum(1)


def wrong_nearest_mean_average(xt, alpha, sigma, means, std, weights):
    """Averages the means and leaves out the move inside each component."""
    a, s = _column(alpha, xt), _column(sigma, xt)
    return _mix(xt, a, s, means, std, weights, gain=torch.zeros_like(a))


def wrong_without_weights(xt, alpha, sigma, means, std, weights):
    """Equal weights."""
    return _mix(xt, _column(alpha, xt), _column(sigma, xt), means, std, torch.ones_like(weights))


def wrong_weights_without_logarithm(xt, alpha, sigma, means, std, weights):
    """Adds the weights, not their logarithms, to the exponents."""
    return _mix(xt, _column(alpha, xt), _column(sigma, xt), means, std, weights.exp())


def wrong_variance_of_the_data(xt, alpha, sigma, means, std, weights):
    """Responsibilities with std², as if xt were clean."""
    a, s = _column(alpha, xt), _column(sigma, xt)
    return _mix(xt, a, s, means, std, weights, variance=0 * a + std**2)


def wrong_variance_of_the_noise(xt, alpha, sigma, means, std, weights):
    """Responsibilities with sigma²: right for data that are points."""
    a, s = _column(alpha, xt), _column(sigma, xt)
    return _mix(xt, a, s, means, std, weights, variance=s**2)


def wrong_standard_deviations_added(xt, alpha, sigma, means, std, weights):
    """(alpha·std + sigma)² in place of alpha²·std² + sigma²."""
    a, s = _column(alpha, xt), _column(sigma, xt)
    c = (a * std + s) ** 2
    return _mix(xt, a, s, means, std, weights, variance=c, gain=a * std**2 / c)


def wrong_standard_deviation_for_variance(xt, alpha, sigma, means, std, weights):
    """The exponent is divided by a standard deviation."""
    a, s = _column(alpha, xt), _column(sigma, xt)
    return _mix(xt, a, s, means, std, weights, variance=(a**2 * std**2 + s**2).sqrt())


def wrong_std_for_variance(xt, alpha, sigma, means, std, weights):
    """std where std² belongs."""
    return _mix(xt, _column(alpha, xt), _column(sigma, xt), means, std**0.5, weights)


def wrong_centres_not_scaled(xt, alpha, sigma, means, std, weights):
    """Compares xt with the means of x0."""
    a, s = _column(alpha, xt), _column(sigma, xt)
    return _mix(xt, a, s, means, std, weights, centre=torch.ones_like(a))


def wrong_half_forgotten(xt, alpha, sigma, means, std, weights):
    """exp(-|·|²/c)."""
    return _mix(xt, _column(alpha, xt), _column(sigma, xt), means, std, weights, scale=1.0)


def wrong_distance_averaged_over_features(xt, alpha, sigma, means, std, weights):
    """The squared distance is a mean over the features."""
    scale = 0.5 / means.shape[1]
    return _mix(xt, _column(alpha, xt), _column(sigma, xt), means, std, weights, scale=scale)


def wrong_move_from_the_mean_of_x0(xt, alpha, sigma, means, std, weights):
    """Inside a component the move starts at m_k."""
    a, s = _column(alpha, xt), _column(sigma, xt)
    gain = a * std**2 / (a**2 * std**2 + s**2)
    centre = _mix(xt, a, s, means, std, weights, gain=torch.zeros_like(a))
    return centre + gain * (xt - centre)


def wrong_hard_assignment(xt, alpha, sigma, means, std, weights):
    """The most likely component alone."""
    a, s = _column(alpha, xt), _column(sigma, xt)
    c = a**2 * std**2 + s**2
    log = weights.log() - (xt[:, None] - a[:, :, None] * means).square().sum(2) / (2 * c)
    chosen = means[log.argmax(1)]
    return chosen + a * std**2 / c * (xt - a * chosen)


def wrong_noise_in_place_of_data(xt, alpha, sigma, means, std, weights):
    """The gain of E[eps | xt]."""
    a, s = _column(alpha, xt), _column(sigma, xt)
    return _mix(xt, a, s, means, std, weights, gain=s / (a**2 * std**2 + s**2))


def wrong_underflows(xt, alpha, sigma, means, std, weights):
    """Densities themselves: 0/0 far from the means."""
    a, s = _column(alpha, xt), _column(sigma, xt)
    c = a**2 * std**2 + s**2
    density = weights * torch.exp(-(xt[:, None] - a[:, :, None] * means).square().sum(2) / (2 * c))
    r = (density / density.sum(1, keepdim=True))[:, :, None]
    gain = (a * std**2 / c)[:, :, None]
    return (r * (means + gain * (xt[:, None] - a[:, :, None] * means))).sum(1)


def wrong_guarded_densities(xt, alpha, sigma, means, std, weights):
    """Adds 1e-12 to each density: finite, and wrong, far from the means."""
    a, s = _column(alpha, xt), _column(sigma, xt)
    c = a**2 * std**2 + s**2
    density = weights * torch.exp(-(xt[:, None] - a[:, :, None] * means).square().sum(2) / (2 * c)) + 1e-12
    r = (density / density.sum(1, keepdim=True))[:, :, None]
    gain = (a * std**2 / c)[:, :, None]
    return (r * (means + gain * (xt[:, None] - a[:, :, None] * means))).sum(1)


def wrong_guarded_denominator(xt, alpha, sigma, means, std, weights):
    """Adds 1e-8 to the sum of the densities: far from the means all responsibilities are 0."""
    a, s = _column(alpha, xt), _column(sigma, xt)
    c = a**2 * std**2 + s**2
    density = weights * torch.exp(-(xt[:, None] - a[:, :, None] * means).square().sum(2) / (2 * c))
    r = (density / (density.sum(1, keepdim=True) + 1e-8))[:, :, None]
    gain = (a * std**2 / c)[:, :, None]
    return (r * (means + gain * (xt[:, None] - a[:, :, None] * means))).sum(1)


def wrong_clamped_exponent(xt, alpha, sigma, means, std, weights):
    """Exponents clamped at -80: all components equal far away."""
    a, s = _column(alpha, xt), _column(sigma, xt)
    c = a**2 * std**2 + s**2
    log = weights.log() + (-(xt[:, None] - a[:, :, None] * means).square().sum(2) / (2 * c)).clamp(min=-80)
    r = log.softmax(1)[:, :, None]
    gain = (a * std**2 / c)[:, :, None]
    return (r * (means + gain * (xt[:, None] - a[:, :, None] * means))).sum(1)


def wrong_softmax_over_the_batch(xt, alpha, sigma, means, std, weights):
    """softmax along the samples."""
    a, s = _column(alpha, xt), _column(sigma, xt)
    c = a**2 * std**2 + s**2
    log = weights.log() - (xt[:, None] - a[:, :, None] * means).square().sum(2) / (2 * c)
    r = log.softmax(0)[:, :, None]
    gain = (a * std**2 / c)[:, :, None]
    return (r * (means + gain * (xt[:, None] - a[:, :, None] * means))).sum(1)


def wrong_trailing_axis(xt, alpha, sigma, means, std, weights):
    """(B,) levels are taken for levels of the components where B = K."""
    a, s = torch.as_tensor(alpha, dtype=xt.dtype), torch.as_tensor(sigma, dtype=xt.dtype)
    if len(xt) != len(means):
        return _mix(xt, a.reshape(-1, 1), s.reshape(-1, 1), means, std, weights)
    c = a**2 * std**2 + s**2
    offsets = xt[:, None] - (a[..., None] * means)
    r = torch.softmax(weights.log() - offsets.square().sum(2) / (2 * c), 1)
    return (r[:, :, None] * (means + (a * std**2 / c).reshape(-1, 1) * offsets)).sum(1)


def wrong_one_level_for_all(xt, alpha, sigma, means, std, weights):
    """Uses the first sample's level for the whole batch."""
    return _mix(xt, _column(alpha, xt)[:1], _column(sigma, xt)[:1], means, std, weights)


def wrong_float64(xt, alpha, sigma, means, std, weights):
    """Computes in float64 and stays there."""
    a, s = _column(alpha, xt.double()), _column(sigma, xt.double())
    return _mix(xt.double(), a, s, means.double(), std, weights.double())


def wrong_detached(xt, alpha, sigma, means, std, weights):
    """Outside the graph."""
    return _mix(xt.detach(), _column(alpha, xt), _column(sigma, xt), means, std, weights)


def wrong_responsibilities_detached(xt, alpha, sigma, means, std, weights):
    """The responsibilities have no graph."""
    a, s = _column(alpha, xt), _column(sigma, xt)
    c = a**2 * std**2 + s**2
    offsets = xt[:, None] - a[:, :, None] * means
    r = torch.softmax(weights.log() - offsets.square().sum(2) / (2 * c), 1).detach()[:, :, None]
    return (r * (means + (a * std**2 / c)[:, :, None] * offsets)).sum(1) + 0 * weights.sum()


def wrong_in_place(xt, alpha, sigma, means, std, weights):
    """Normalises the argument weights in place, after doubling them."""
    weights.detach().mul_(2)
    return _mix(xt, _column(alpha, xt), _column(sigma, xt), means, std, weights)


def right_by_tweedie(xt, alpha, sigma, means, std, weights):
    """The mixture's score in closed form, put into Tweedie's formula."""
    a, s = _column(alpha, xt), _column(sigma, xt)
    c = (a * std) ** 2 + s**2
    pulls = a[:, :, None] * means - xt[:, None]
    log = weights.log() - pulls.square().sum(2) / (2 * c) - means.shape[1] / 2 * (2 * math.pi * c).log()
    r = (log - log.logsumexp(1, keepdim=True)).exp()
    score = torch.einsum("bk,bkd->bd", r, pulls) / c
    return (xt + s**2 * score) / a


def right_with_distributions(xt, alpha, sigma, means, std, weights):
    """torch.distributions for the responsibilities."""
    n = len(xt)
    a, s = (torch.as_tensor(value).to(xt).expand(n).view(n, 1, 1) for value in (alpha, sigma))
    c = a**2 * std**2 + s**2
    log = torch.distributions.Normal(a * means, c.sqrt()).log_prob(xt[:, None]).sum(-1) + weights.log()
    posterior = (means * s**2 + a * std**2 * xt[:, None]) / c
    return torch.einsum("bk,bkd->bd", log.softmax(-1), posterior)


def right_loop_over_components(xt, alpha, sigma, means, std, weights):
    """One component after the other, with the largest exponent subtracted by hand."""
    a, s = _column(alpha, xt), _column(sigma, xt)
    c = a * a * std * std + s * s
    logs = torch.cat(
        [w.log() - ((xt - a * m) ** 2).sum(1, keepdim=True) / c / 2 for m, w in zip(means, weights, strict=True)], 1
    )
    share = torch.exp(logs - logs.max(1, keepdim=True).values)
    share = share / share.sum(1, keepdim=True)
    parts = [share[:, k : k + 1] * (m + a * std * std / c * (xt - a * m)) for k, m in enumerate(means)]
    return torch.stack(parts).sum(0)


def right_in_float64_and_back(xt, alpha, sigma, means, std, weights):
    """Everything in float64, cast back at the end."""
    x = xt.double()
    return _mix(x, _column(alpha, x), _column(sigma, x), means.double(), std, weights.double()).to(xt.dtype)
