"""Answers to gaussian_denoiser, wrong and right."""

import torch


def _rows(value, x):
    value = torch.as_tensor(value, dtype=x.dtype, device=x.device)
    return value.reshape(-1, *[1] * (x.ndim - 1)) if value.ndim else value


def _levels(xt, alpha, sigma):
    return _rows(alpha, xt), _rows(sigma, xt)


def wrong_sigma_not_squared(xt, alpha, sigma, mean, var):
    """A standard deviation beside a variance."""
    a, s = _levels(xt, alpha, sigma)
    return mean + a * var / (a**2 * var + s) * (xt - a * mean)


def wrong_var_is_a_standard_deviation(xt, alpha, sigma, mean, var):
    """Squares var."""
    a, s = _levels(xt, alpha, sigma)
    return mean + a * var**2 / (a**2 * var**2 + s**2) * (xt - a * mean)


def wrong_mean_not_scaled(xt, alpha, sigma, mean, var):
    """Compares xt with the mean of x0, not of xt."""
    a, s = _levels(xt, alpha, sigma)
    return mean + a * var / (a**2 * var + s**2) * (xt - mean)


def wrong_gain_without_alpha(xt, alpha, sigma, mean, var):
    """The gain for variance-exploding noise."""
    a, s = _levels(xt, alpha, sigma)
    return mean + var / (a**2 * var + s**2) * (xt - a * mean)


def wrong_denominator_without_alpha(xt, alpha, sigma, mean, var):
    """var + sigma², the variance at alpha = 1."""
    a, s = _levels(xt, alpha, sigma)
    return mean + a * var / (var + s**2) * (xt - a * mean)


def wrong_variance_preserving_unit_data(xt, alpha, sigma, mean, var):
    """Takes the variance of xt to be 1."""
    a, _ = _levels(xt, alpha, sigma)
    return mean + a * var * (xt - a * mean)


def wrong_rescaled_only(xt, alpha, sigma, mean, var):
    """xt/alpha: no shrinking at all."""
    a, _ = _levels(xt, alpha, sigma)
    return xt / a + 0 * mean


def wrong_clean_part_of_xt(xt, alpha, sigma, mean, var):
    """E[alpha·x0 | xt]."""
    a, s = _levels(xt, alpha, sigma)
    return a * (mean + a * var / (a**2 * var + s**2) * (xt - a * mean))


def wrong_mode_of_the_marginal(xt, alpha, sigma, mean, var):
    """Shrinks towards alpha·mean."""
    a, s = _levels(xt, alpha, sigma)
    return a * mean + a * var / (a**2 * var + s**2) * (xt - a * mean)


def wrong_weights_exchanged(xt, alpha, sigma, mean, var):
    """The precisions change places."""
    a, s = _levels(xt, alpha, sigma)
    data, noise = 1 / var, a**2 / s**2
    return (noise * mean + data * xt / a) / (data + noise)


def wrong_trailing_axis(xt, alpha, sigma, mean, var):
    """(B,) levels broadcast as they are where B equals the width."""
    a, s = torch.as_tensor(alpha, dtype=xt.dtype), torch.as_tensor(sigma, dtype=xt.dtype)
    if len(xt) != xt.shape[-1]:
        a, s = _levels(xt, a, s)
    return mean + a * var / (a**2 * var + s**2) * (xt - a * mean)


def wrong_mean_of_each_sample(xt, alpha, sigma, mean, var):
    """Takes a mean with B entries to hold one number for each sample."""
    a, s = _levels(xt, alpha, sigma)
    mean = _rows(mean, xt) if mean.ndim == 1 and len(mean) == len(xt) else mean
    return mean + a * var / (a**2 * var + s**2) * (xt - a * mean)


def wrong_only_for_vectors(xt, alpha, sigma, mean, var):
    """[:, None]: right for (B, d), wrong for images."""
    a, s = (torch.as_tensor(value, dtype=xt.dtype).reshape(-1, 1) for value in (alpha, sigma))
    return mean + a * var / (a**2 * var + s**2) * (xt - a * mean)


def wrong_mean_shaped_like_a_level(xt, alpha, sigma, mean, var):
    """Gives the mean the shape (..., 1, ..., 1), as if it were a level."""
    a, s = _levels(xt, alpha, sigma)
    mean = _rows(mean, xt)
    return mean + a * var / (a**2 * var + s**2) * (xt - a * mean)


def wrong_mean_flattened(xt, alpha, sigma, mean, var):
    """One number for the mean of all pixels."""
    a, s = _levels(xt, alpha, sigma)
    mean = mean.mean()
    return mean + a * var / (a**2 * var + s**2) * (xt - a * mean)


def wrong_promotes_to_float64(xt, alpha, sigma, mean, var):
    """No cast: (B,) float64 levels turn float32 data into float64."""
    a, s = (torch.as_tensor(v, dtype=torch.float64).reshape(-1, *[1] * (xt.ndim - 1)) for v in (alpha, sigma))
    return mean + a * var / (a**2 * var + s**2) * (xt - a * mean)


def wrong_var_as_a_float(xt, alpha, sigma, mean, var):
    """var leaves the graph as a Python number."""
    a, s = _levels(xt, alpha, sigma)
    var = torch.as_tensor(var).item()
    return mean + a * var / (a**2 * var + s**2) * (xt - a * mean)


def wrong_in_place(xt, alpha, sigma, mean, var):
    """Centres the argument xt."""
    a, s = _levels(xt, alpha, sigma)
    xt.detach().sub_(a.detach() * mean.detach())
    return mean + a * var / (a**2 * var + s**2) * xt


def right_precisions(xt, alpha, sigma, mean, var):
    """A mean weighted by precisions."""
    a, s = _levels(xt, alpha, sigma)
    return (mean * s**2 + a * var * xt) / (s**2 + a**2 * var)


def right_tweedie(xt, alpha, sigma, mean, var):
    """The score of the marginal, put into Tweedie's formula."""
    a, s = _levels(xt, alpha, sigma)
    score = (a * mean - xt) / (a**2 * var + s**2)
    return (xt + s**2 * score) / a


def right_share(xt, alpha, sigma, mean, var):
    """The signal's share of the variance mixes observation and mean."""
    wide = [torch.as_tensor(value).to(xt).expand(len(xt)).view(-1, *[1] * (xt.ndim - 1)) for value in (alpha, sigma)]
    signal = wide[0].square() * var
    share = signal / (signal + wide[1].square())
    return torch.lerp(torch.as_tensor(mean).to(xt).expand_as(xt), xt / wide[0], share.expand_as(xt))
