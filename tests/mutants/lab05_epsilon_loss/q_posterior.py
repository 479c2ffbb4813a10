"""Answers to q_posterior, wrong and right."""

import torch


def _column(values, x):
    values = values.to(x.dtype)
    return values.reshape(-1, *[1] * (x.ndim - 1)) if values.ndim else values


def _levels(k, abar):
    k = torch.as_tensor(k)
    now, before = abar[k], abar[k - 1]
    return now, before, 1 - now / before


def _mean(x0, xk, now, before, beta):
    a, b = before.sqrt() * beta / (1 - now), (1 - beta).sqrt() * (1 - before) / (1 - now)
    return _column(a, x0) * x0 + _column(b, x0) * xk


def wrong_variance_of_the_forward_step(x0, xk, k, abar):
    """beta_k in place of the smaller posterior variance."""
    now, before, beta = _levels(k, abar)
    return _mean(x0, xk, now, before, beta), _column(beta, x0)


def wrong_standard_deviation(x0, xk, k, abar):
    """The square root of the variance."""
    now, before, beta = _levels(k, abar)
    return _mean(x0, xk, now, before, beta), _column((beta * (1 - before) / (1 - now)).sqrt(), x0)


def wrong_clipped_variance(x0, xk, k, abar):
    """The variance kept above 1e-20 for a logarithm, and replaced by that of k = 2 at k = 1, as libraries do."""
    now, before, beta = _levels(torch.as_tensor(k).clamp(min=2), abar)
    var = beta * (1 - before) / (1 - now)
    return _mean(x0, xk, *_levels(k, abar)), _column(var, x0)


def wrong_one_level_early(x0, xk, k, abar):
    """Every level one too low, as with a tensor that has no level 0."""
    now, before, beta = _levels((torch.as_tensor(k) - 1).clamp(min=1), abar)
    return _mean(x0, xk, now, before, beta), _column(beta * (1 - before) / (1 - now), x0)


def wrong_one_level_late(x0, xk, k, abar):
    """abar[k + 1] and abar[k], the last step twice."""
    now, before, beta = _levels((torch.as_tensor(k) + 1).clamp(max=len(abar) - 1), abar)
    return _mean(x0, xk, now, before, beta), _column(beta * (1 - before) / (1 - now), x0)


def wrong_signal_of_this_level(x0, xk, k, abar):
    """sqrt(abar_k) in the factor of x0, where sqrt(abar_{k-1}) belongs."""
    now, before, beta = _levels(k, abar)
    a, b = now.sqrt() * beta / (1 - now), (1 - beta).sqrt() * (1 - before) / (1 - now)
    return _column(a, x0) * x0 + _column(b, x0) * xk, _column(beta * (1 - before) / (1 - now), x0)


def wrong_whole_way_in_the_factor_of_xk(x0, xk, k, abar):
    """sqrt(abar_k) where the square root of one step's alpha_k belongs."""
    now, before, beta = _levels(k, abar)
    a, b = before.sqrt() * beta / (1 - now), now.sqrt() * (1 - before) / (1 - now)
    return _column(a, x0) * x0 + _column(b, x0) * xk, _column(beta * (1 - before) / (1 - now), x0)


def wrong_factors_exchanged(x0, xk, k, abar):
    """x0 and xk change places."""
    now, before, beta = _levels(k, abar)
    return _mean(xk, x0, now, before, beta), _column(beta * (1 - before) / (1 - now), x0)


def wrong_roots_missing(x0, xk, k, abar):
    """abar and alpha where their square roots belong."""
    now, before, beta = _levels(k, abar)
    a, b = before * beta / (1 - now), (1 - beta) * (1 - before) / (1 - now)
    return _column(a, x0) * x0 + _column(b, x0) * xk, _column(beta * (1 - before) / (1 - now), x0)


def wrong_roots_exchanged(x0, xk, k, abar):
    """sqrt(alpha_k) in the factor of x0, sqrt(abar_{k-1}) in that of xk."""
    now, before, beta = _levels(k, abar)
    a, b = (1 - beta).sqrt() * beta / (1 - now), before.sqrt() * (1 - before) / (1 - now)
    return _column(a, x0) * x0 + _column(b, x0) * xk, _column(beta * (1 - before) / (1 - now), x0)


def wrong_root_missing_in_the_factor_of_x0(x0, xk, k, abar):
    """abar_{k-1} itself."""
    now, before, beta = _levels(k, abar)
    a, b = before * beta / (1 - now), (1 - beta).sqrt() * (1 - before) / (1 - now)
    return _column(a, x0) * x0 + _column(b, x0) * xk, _column(beta * (1 - before) / (1 - now), x0)


def wrong_root_missing_in_the_factor_of_xk(x0, xk, k, abar):
    """alpha_k itself."""
    now, before, beta = _levels(k, abar)
    a, b = before.sqrt() * beta / (1 - now), (1 - beta) * (1 - before) / (1 - now)
    return _column(a, x0) * x0 + _column(b, x0) * xk, _column(beta * (1 - before) / (1 - now), x0)


def wrong_marginal(x0, xk, k, abar):
    """q(x_{k-1} | x0): xk is not used."""
    _, before, _ = _levels(k, abar)
    return _column(before.sqrt(), x0) * x0 + 0 * xk, _column(1 - before, x0)


def wrong_trailing_axis(x0, xk, k, abar):
    """(B,) coefficients broadcast as they are: against the last axis, silently when B equals it."""
    now, before, beta = _levels(k, abar)
    a, b = before.sqrt() * beta / (1 - now), (1 - beta).sqrt() * (1 - before) / (1 - now)
    var = beta * (1 - before) / (1 - now)
    if a.ndim and len(a) != x0.shape[-1]:
        a, b, var = (c.reshape(-1, *[1] * (x0.ndim - 1)) for c in (a, b, var))
    return a.to(x0.dtype) * x0 + b.to(x0.dtype) * xk, var.to(x0.dtype)


def wrong_flat_variance(x0, xk, k, abar):
    """The variance as (B,), which does not stand beside the mean."""
    now, before, beta = _levels(k, abar)
    return _mean(x0, xk, now, before, beta), (beta * (1 - before) / (1 - now)).to(x0.dtype)


def wrong_promotes_to_float64(x0, xk, k, abar):
    """No cast: float32 data come back as float64."""
    now, before, beta = _levels(k, abar)
    c = [
        _column(v, x0.double())
        for v in (before.sqrt() * beta / (1 - now), (1 - beta).sqrt() * (1 - before) / (1 - now))
    ]
    return c[0] * x0 + c[1] * xk, _column(beta * (1 - before) / (1 - now), x0.double())


def wrong_casts_abar_first(x0, xk, k, abar):
    """abar cast to x0's dtype before the differences are taken."""
    now, before, beta = _levels(k, abar.to(x0.dtype))
    return _mean(x0, xk, now, before, beta), _column(beta * (1 - before) / (1 - now), x0)


def wrong_in_place(x0, xk, k, abar):
    """Scales the argument xk where it lies."""
    now, before, beta = _levels(k, abar)
    a, b = before.sqrt() * beta / (1 - now), (1 - beta).sqrt() * (1 - before) / (1 - now)
    xk.detach().mul_(_column(b, x0))
    return _column(a, x0) * x0 + xk, _column(beta * (1 - before) / (1 - now), x0)


def wrong_guarded_denominator(x0, xk, k, abar):
    """1e-5 added to 1 - abar_k: k = 1 does not end in x0."""
    now, before, beta = _levels(k, abar)
    a, b = before.sqrt() * beta / (1 - now + 1e-5), (1 - beta).sqrt() * (1 - before) / (1 - now + 1e-5)
    return _column(a, x0) * x0 + _column(b, x0) * xk, _column(beta * (1 - before) / (1 - now + 1e-5), x0)


def wrong_outside_the_graph(x0, xk, k, abar):
    """A mean without a graph."""
    now, before, beta = _levels(k, abar)
    return _mean(x0, xk, now, before, beta).detach(), _column(beta * (1 - before) / (1 - now), x0)


def right_bayes(x0, xk, k, abar):
    """A Gaussian prior around sqrt(abar_{k-1}) x0 and one noisy look at it: gain and residual."""
    _, before, beta = _levels(k, abar)
    prior, step = 1 - before, (1 - beta).sqrt()
    gain = step * prior / (step**2 * prior + beta)
    guess = _column(before.sqrt(), x0) * x0
    mean = guess + _column(gain, x0) * (xk - _column(step, x0) * guess)
    return mean, _column(prior * (1 - gain * step), x0)


def right_einsum(x0, xk, k, abar):
    """Levels expanded to (B,), the batch axis named in einsum, the variance in full."""
    k = torch.as_tensor(k).expand(x0.shape[0])
    alpha, before = abar[k] / abar[k - 1], abar[k - 1]
    rest = 1 - alpha * before
    a, b = before.sqrt() * (1 - alpha) / rest, alpha.sqrt() * (1 - before) / rest
    mean = sum(torch.einsum("b,b...->b...", c.to(x), x) for c, x in ((a, x0), (b, xk)))
    var = torch.einsum("b,b...->b...", ((1 - alpha) * (1 - before) / rest).to(x0), torch.ones_like(x0))
    return mean, var


def right_vmap(x0, xk, k, abar):
    """torch.vmap over samples; a list of two."""
    levels = torch.as_tensor(k).expand(x0.shape[0])

    def one(now, before, x, y):
        beta = 1 - now / before
        a, b = before.sqrt() * beta / (1 - now), (now / before).sqrt() * (1 - before) / (1 - now)
        return a.to(x.dtype) * x + b.to(x.dtype) * y, (beta * (1 - before) / (1 - now)).to(x.dtype).expand(x.shape)

    return list(torch.vmap(one)(abar[levels], abar[levels - 1], x0, xk))
