"""Answers to ddpm_step, wrong and right."""

import torch


def _shaped(values, x):
    values = values.to(x.dtype)
    return values.reshape(-1, *[1] * (x.ndim - 1)) if values.ndim else values


def _parts(k, abar):
    """keep = 1 - beta, beta and the posterior's variance at the levels k."""
    k = torch.as_tensor(k)
    keep = abar[k] / abar[k - 1]
    return k, keep, 1 - keep, (1 - keep) * (1 - abar[k - 1]) / (1 - abar[k])


def _mean(xk, eps, k, abar):
    k, keep, beta, _ = _parts(k, abar)
    return (xk - _shaped(beta / (1 - abar[k]).sqrt(), xk) * eps) / _shaped(keep.sqrt(), xk)


def wrong_noise_at_the_last_step(xk, eps, k, abar, noise):
    """beta for the variance, and noise at k = 1 too."""
    beta = _parts(k, abar)[2]
    return _mean(xk, eps, k, abar) + (0 if noise is None else _shaped(beta.sqrt(), xk) * noise)


def wrong_beta(xk, eps, k, abar, noise):
    """The variance is beta, with no noise at k = 1."""
    k, _, beta, _ = _parts(k, abar)
    noise = 0 if noise is None else noise
    return _mean(xk, eps, k, abar) + _shaped(torch.where(k > 1, beta, 0).sqrt(), xk) * noise


def wrong_noise_if_any_sample_needs_it(xk, eps, k, abar, noise):
    """In a mixed batch the samples at k = 1 get the clipped variance of k = 2, as published code has it."""
    k, _, _, var = _parts(k, abar)
    clipped = var.clamp(min=_parts(2, abar)[3])
    mean = _mean(xk, eps, k, abar)
    return mean if bool((k == 1).all()) else mean + _shaped(clipped.sqrt(), xk) * noise


def wrong_no_noise_if_one_sample_is_done(xk, eps, k, abar, noise):
    """In a mixed batch nobody gets noise once one sample is at k = 1."""
    k, _, _, var = _parts(k, abar)
    mean = _mean(xk, eps, k, abar)
    return mean if bool((k == 1).any()) else mean + _shaped(var.sqrt(), xk) * noise


def wrong_alpha_bar_off_by_one(xk, eps, k, abar, noise):
    """abar[k - 1] and abar[k - 2] (0 at the start), as where abar has no clean entry in front."""
    k = torch.as_tensor(k)
    now, before = abar[k - 1], abar[(k - 2).clamp(min=0)]
    keep = now / before
    inner = torch.where(now < 1, (1 - keep) / (1 - now).clamp(min=1e-30).sqrt(), 0)
    var = torch.where(now < 1, (1 - keep) * (1 - before) / (1 - now).clamp(min=1e-30), 0)
    mean = (xk - _shaped(inner, xk) * eps) / _shaped(keep.sqrt(), xk)
    return mean if noise is None else mean + _shaped(var.sqrt(), xk) * noise


def wrong_variance_for_std(xk, eps, k, abar, noise):
    """The posterior's variance in front of the noise, without the root."""
    var = _parts(k, abar)[3]
    return _mean(xk, eps, k, abar) + (0 if noise is None else _shaped(var, xk) * noise)


def wrong_eps_over_the_variance(xk, eps, k, abar, noise):
    """beta/(1 - abar) in front of eps: the root is missing."""
    k, keep, beta, var = _parts(k, abar)
    mean = (xk - _shaped(beta / (1 - abar[k]), xk) * eps) / _shaped(keep.sqrt(), xk)
    return mean if noise is None else mean + _shaped(var.sqrt(), xk) * noise


def wrong_divided_by_root_alpha_bar(xk, eps, k, abar, noise):
    """1/sqrt(abar[k]) in front, as for x0, where 1/sqrt(1 - beta) belongs."""
    k, _, beta, var = _parts(k, abar)
    mean = (xk - _shaped(beta / (1 - abar[k]).sqrt(), xk) * eps) / _shaped(abar[k].sqrt(), xk)
    return mean if noise is None else mean + _shaped(var.sqrt(), xk) * noise


def wrong_deterministic(xk, eps, k, abar, noise):
    """The mean alone."""
    return _mean(xk, eps, k, abar)


def wrong_ddim_with_noise_on_top(xk, eps, k, abar, noise):
    """The deterministic DDIM step, and the posterior's noise added to it."""
    k, _, _, var = _parts(k, abar)
    x0 = (xk - _shaped((1 - abar[k]).sqrt(), xk) * eps) / _shaped(abar[k].sqrt(), xk)
    x = _shaped(abar[k - 1].sqrt(), xk) * x0 + _shaped((1 - abar[k - 1]).sqrt(), xk) * eps
    return x if noise is None else x + _shaped(var.sqrt(), xk) * noise


def wrong_clips_the_guess(xk, eps, k, abar, noise):
    """x0 clipped to [-20, 20] on the way, and eps left as it was."""
    k, keep, beta, var = _parts(k, abar)
    x0 = (xk - _shaped((1 - abar[k]).sqrt(), xk) * eps) / _shaped(abar[k].sqrt(), xk)
    by_x0, by_x = abar[k - 1].sqrt() * beta / (1 - abar[k]), keep.sqrt() * (1 - abar[k - 1]) / (1 - abar[k])
    mean = _shaped(by_x0, xk) * x0.clamp(-20, 20) + _shaped(by_x, xk) * xk
    return mean if noise is None else mean + _shaped(var.sqrt(), xk) * noise


def wrong_needs_noise(xk, eps, k, abar, noise):
    """Multiplies noise that is None."""
    return _mean(xk, eps, k, abar) + _shaped(_parts(k, abar)[3].sqrt(), xk) * noise


def wrong_tests_a_number_only(xk, eps, k, abar, noise):
    """`if k == 1` for a tensor of many levels."""
    mean = _mean(xk, eps, k, abar)
    return mean if k == 1 else mean + _shaped(_parts(k, abar)[3].sqrt(), xk) * noise


def wrong_draws_its_own_noise(xk, eps, k, abar, noise):
    """torch.randn in place of the noise that was given."""
    return _mean(xk, eps, k, abar) + _shaped(_parts(k, abar)[3].sqrt(), xk) * torch.randn_like(xk)


def wrong_casts_abar_first(xk, eps, k, abar, noise):
    """abar in x's dtype before the differences."""
    abar = abar.to(xk.dtype)
    var = _parts(k, abar)[3]
    mean = _mean(xk, eps, k, abar)
    return mean if noise is None else mean + _shaped(var.sqrt(), xk) * noise


def wrong_promotes_to_float64(xk, eps, k, abar, noise):
    """No cast of (B,) factors."""
    k, keep, beta, var = _parts(k, abar)
    inner, keep, std = (
        v.reshape(-1, *[1] * (xk.ndim - 1)) for v in (beta / (1 - abar[k]).sqrt(), keep.sqrt(), var.sqrt())
    )
    mean = (xk - inner * eps) / keep
    return mean if noise is None else mean + std * noise


def wrong_only_for_points(xk, eps, k, abar, noise):
    """[:, None]: right for (B, d), wrong for images."""
    k, keep, beta, var = _parts(k, abar)
    inner, keep, std = (
        (v[:, None] if v.ndim else v).to(xk.dtype) for v in (beta / (1 - abar[k]).sqrt(), keep.sqrt(), var.sqrt())
    )
    mean = (xk - inner * eps) / keep
    return mean if noise is None else mean + std * noise


def wrong_in_place(xk, eps, k, abar, noise):
    """Scales the noise that was given inside itself."""
    if noise is not None:
        noise.data.mul_(_shaped(_parts(k, abar)[3].sqrt(), xk))
    return _mean(xk, eps, k, abar) + (0 if noise is None else noise)


def wrong_outside_the_graph(xk, eps, k, abar, noise):
    """Under no_grad."""
    with torch.no_grad():
        mean = _mean(xk, eps, k, abar)
        return mean if noise is None else mean + _shaped(_parts(k, abar)[3].sqrt(), xk) * noise


def right_through_x0(xk, eps, k, abar, noise):
    """The posterior's mean as a mixture of the guess of x0 and x_k."""
    k = torch.as_tensor(k)
    now, before = abar[k], abar[k - 1]
    beta = (before - now) / before
    x0 = (xk - _shaped((1 - now).sqrt(), xk) * eps) / _shaped(now.sqrt(), xk)
    by_x0, by_x = before.sqrt() * beta / (1 - now), (now / before).sqrt() * (1 - before) / (1 - now)
    mean = _shaped(by_x0, xk) * x0 + _shaped(by_x, xk) * xk
    if noise is None:
        return mean
    return mean + _shaped((beta * (1 - before) / (1 - now)).sqrt(), xk) * noise


def right_zeros_for_noise(xk, eps, k, abar, noise):
    """Noise set to zero where k = 1."""
    if noise is None:
        noise = torch.zeros_like(xk)
    levels = torch.as_tensor(k).expand(len(xk))
    noise = torch.where((levels > 1).reshape(-1, *[1] * (xk.ndim - 1)), noise, 0)
    return _mean(xk, eps, levels, abar) + _shaped(_parts(levels, abar)[3].sqrt(), xk) * noise


def right_as_ddim_with_eta_1(xk, eps, k, abar, noise):
    """The guess of x0, what is left of eps, and noise."""
    k, _, _, var = _parts(k, abar)
    x0 = (xk - _shaped((1 - abar[k]).sqrt(), xk) * eps) / _shaped(abar[k].sqrt(), xk)
    left = (1 - abar[k - 1] - var).clamp(min=0).sqrt()
    x = _shaped(abar[k - 1].sqrt(), xk) * x0 + _shaped(left, xk) * eps
    return x if noise is None else x + _shaped(var.sqrt(), xk) * noise
