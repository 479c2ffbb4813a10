"""Answers to vlb_weight, wrong and right."""

import torch


def _parts(k, abar):
    """beta_k, alpha_k, abar_k, abar_{k-1}."""
    k = torch.as_tensor(k)
    alpha = abar[k] / abar[k - 1]
    return 1 - alpha, alpha, abar[k], abar[k - 1]


def wrong_without_the_half(k, abar):
    """The 2 of the divergence is missing."""
    beta, alpha, now, before = _parts(k, abar)
    return beta**2 / (beta * (1 - before) / (1 - now) * alpha * (1 - now))


def wrong_beta_for_the_variance(k, abar):
    """sigma² = beta_k, the other choice of DDPM: finite at k = 1."""
    beta, alpha, now, _ = _parts(k, abar)
    return beta / (2 * alpha * (1 - now))


def wrong_standard_deviation(k, abar):
    """sigma where sigma² belongs."""
    beta, alpha, now, before = _parts(k, abar)
    return beta**2 / (2 * (beta * (1 - before) / (1 - now)).sqrt() * alpha * (1 - now))


def wrong_whole_way_for_alpha(k, abar):
    """abar_k where the one step's alpha_k belongs."""
    beta, _, now, before = _parts(k, abar)
    return beta**2 / (2 * beta * (1 - before) / (1 - now) * now * (1 - now))


def wrong_alpha_missing(k, abar):
    """alpha_k left out, as if it were 1."""
    beta, _, now, before = _parts(k, abar)
    return beta**2 / (2 * beta * (1 - before) / (1 - now) * (1 - now))


def wrong_beta_not_squared(k, abar):
    """beta_k in the numerator."""
    beta, alpha, now, before = _parts(k, abar)
    return beta / (2 * beta * (1 - before) / (1 - now) * alpha * (1 - now))


def wrong_one_level_early(k, abar):
    """Everything at k - 1."""
    beta, alpha, _, before = _parts((torch.as_tensor(k) - 1).clamp(min=1), abar)
    return beta / (2 * alpha * (1 - before))


def wrong_one_level_late(k, abar):
    """Everything at k + 1: finite at k = 1."""
    beta, alpha, _, before = _parts((torch.as_tensor(k) + 1).clamp(max=len(abar) - 1), abar)
    return beta / (2 * alpha * (1 - before))


def wrong_weight_of_x0(k, abar):
    """(SNR_{k-1} - SNR_k)/2, the factor of the squared error of x0."""
    _, _, now, before = _parts(k, abar)
    return (before / (1 - before) - now / (1 - now)) / 2


def wrong_snr_turned_over(k, abar):
    """(SNR_k/SNR_{k-1} - 1)/2, from SNR = noise over signal: negative, and -1/2 at k = 1."""
    _, _, now, before = _parts(k, abar)
    return (now / (1 - now) * (1 - before) / before - 1) / 2


def wrong_finite_at_1(k, abar):
    """k = 1 gets the weight of k = 2, as with a clipped posterior variance."""
    beta, alpha, _, before = _parts(torch.as_tensor(k).clamp(min=2), abar)
    return beta / (2 * alpha * (1 - before))


def wrong_guarded(k, abar):
    """1e-8 in the denominator."""
    beta, alpha, _, before = _parts(k, abar)
    return beta / (2 * alpha * (1 - before) + 1e-8)


def wrong_float32(k, abar):
    """Computed in float32, cast back."""
    beta, alpha, _, before = _parts(k, abar.float())
    return (beta / (2 * alpha * (1 - before))).to(abar.dtype)


def wrong_dtype(k, abar):
    """Returned in float32."""
    beta, alpha, _, before = _parts(k, abar)
    return (beta / (2 * alpha * (1 - before))).float()


def wrong_sorted(k, abar):
    """All weights of the schedule are made and masked: rows come in the order of the levels."""
    beta, alpha, _, before = _parts(torch.as_tensor(k).sort().values, abar)
    return beta / (2 * alpha * (1 - before))


def wrong_mean_over_the_batch(k, abar):
    """One number for the batch."""
    beta, alpha, _, before = _parts(k, abar)
    return (beta / (2 * alpha * (1 - before))).mean()


def wrong_nan_at_1(k, abar):
    """0/0 at k = 1: divided by 1 - abar_{k-1} above and below."""
    beta, alpha, now, before = _parts(k, abar)
    var = beta * (1 - before) / (1 - now)
    return beta**2 * (1 - before) / (2 * var * alpha * (1 - now) * (1 - before))


def wrong_needs_a_batch(k, abar):
    """Indexes k itself: a number has no length."""
    return torch.stack([_parts(level, abar)[0] / (2 * _parts(level, abar)[1] * (1 - abar[level - 1])) for level in k])


def wrong_outside_the_graph(k, abar):
    """A result without a graph."""
    beta, alpha, _, before = _parts(k, abar)
    return (beta / (2 * alpha * (1 - before))).detach()


def wrong_in_place(k, abar):
    """Writes 1 - abar over abar."""
    beta, alpha, _, before = _parts(k, abar)
    noise = 1 - before
    abar.detach().mul_(-1).add_(1)
    return beta / (2 * alpha * noise)


def right_definition(k, abar):
    """As the bound is written, with the posterior variance."""
    beta, alpha, now, before = _parts(k, abar)
    var = beta * (1 - before) / (1 - now)
    return beta**2 / (2 * var * alpha * (1 - now))


def right_snr(k, abar):
    """Half of the relative drop of the SNR."""
    odds = abar / (1 - abar)
    k = torch.as_tensor(k)
    return (odds[k - 1] / odds[k] - 1) / 2


def right_ratio(k, abar):
    """(1 - alpha_k)/(2 (alpha_k - abar_k)): one fraction."""
    k = torch.as_tensor(k)
    alpha = abar[k].div(abar[k - 1])
    return (1 - alpha) / (1 - abar[k - 1]) / alpha / 2
