"""Answers to log_snr, wrong and right."""

import math

import torch


def wrong_halved(abar):
    """log(alpha/sigma): the ratio of the standard deviations."""
    return 0.5 * torch.log(abar / (1 - abar))


def wrong_base_10(abar):
    """log10, as in decibels."""
    return torch.log10(abar / (1 - abar))


def wrong_sign(abar):
    """Noise over signal."""
    return torch.log((1 - abar) / abar)


def wrong_not_logarithmic(abar):
    """The SNR itself."""
    return abar / (1 - abar)


def wrong_only_the_signal(abar):
    """log(abar)."""
    return torch.log(abar)


def wrong_clamped(abar):
    """abar clamped off 0 and 1: large finite numbers at the ends."""
    a = abar.clamp(1e-12, 1 - 1e-12)
    return torch.log(a / (1 - a))


def wrong_denominator_guarded(abar):
    """1e-8 added to the noise."""
    return torch.log(abar / (1 - abar + 1e-8))


def wrong_infinities_replaced(abar):
    """nan_to_num."""
    return torch.nan_to_num(torch.log(abar / (1 - abar)))


def wrong_nan_at_zero_snr(abar):
    """log of abar twice: -inf - (-inf) at the end."""
    log = abar.log()
    return torch.where(abar < 1, log - torch.log1p(-abar) + (log - log), math.inf)


def wrong_nan_at_level_0(abar):
    """(1 - abar)·(1/(1 - abar)) is NaN where there is no noise."""
    noise = 1 - abar
    return torch.log(abar / noise) * (noise / noise)


def wrong_infinite_first_entry_only(abar):
    """Entry 0 set to inf, the end guarded: zero SNR is not -inf."""
    out = torch.log(abar.clamp(min=1e-20) / (1 - abar))
    return torch.cat([torch.full_like(out[:1], math.inf), out[1:]])


def wrong_drops_level_0(abar):
    """T entries."""
    return torch.log(abar[1:] / (1 - abar[1:]))


def wrong_amplitudes(abar):
    """sqrt(abar)/(1 - abar): standard deviation over variance."""
    return torch.log(abar.sqrt() / (1 - abar))


def wrong_always_float32(abar):
    """Computed by math.log, in a tensor of the default dtype."""
    ratio = [math.log(a / (1 - a)) if 0 < a < 1 else math.copysign(math.inf, a - 0.5) for a in abar.tolist()]
    return torch.tensor(ratio)


def wrong_in_place(abar):
    """Divides inside the argument."""
    noise = 1 - abar.detach()
    return abar.detach().div_(noise).log()


def right_logit(abar):
    """torch.logit is this very function."""
    return torch.logit(abar)


def right_difference_of_logs(abar):
    """log of the signal minus log of the noise."""
    return abar.log() - torch.log1p(-abar)


def right_twice_the_root(abar):
    """Twice the logarithm of alpha/sigma."""
    return 2 * (abar.sqrt() / (1 - abar).sqrt()).log()
