"""Answers to eps_loss, wrong and right."""

import torch


def _column(values, x):
    values = values.to(x.dtype)
    return values.reshape(-1, *[1] * (x.ndim - 1)) if values.ndim else values


def _noised(x0, k, eps, abar):
    a = abar[torch.as_tensor(k)]
    return _column(a.sqrt(), x0) * x0 + _column((1 - a).sqrt(), x0) * eps


def _each(k, x0):
    return torch.as_tensor(k, dtype=torch.int64).expand(len(x0))


def _loss(net, x0, k, eps, abar):
    return (net(_noised(x0, k, eps, abar), _each(k, x0)) - eps).square().mean()


def wrong_variance(net, x0, k, eps, abar):
    """sqrt(abar)·x0 + (1 - abar)·eps: a variance where the standard deviation belongs."""
    a = abar[torch.as_tensor(k)]
    xk = _column(a.sqrt(), x0) * x0 + _column(1 - a, x0) * eps
    return (net(xk, _each(k, x0)) - eps).square().mean()


def wrong_one_level_early(net, x0, k, eps, abar):
    """Noised to level k - 1, the network told k: nothing fails, and samples look fine."""
    xk = _noised(x0, torch.as_tensor(k) - 1, eps, abar)
    return (net(xk, _each(k, x0)) - eps).square().mean()


def wrong_level_told(net, x0, k, eps, abar):
    """Noised to level k, the network told k - 1, as where steps count from 0."""
    return (net(_noised(x0, k, eps, abar), _each(k, x0) - 1) - eps).square().mean()


def wrong_sum(net, x0, k, eps, abar):
    """Summed over everything."""
    return (net(_noised(x0, k, eps, abar), _each(k, x0)) - eps).square().sum()


def wrong_sum_over_features(net, x0, k, eps, abar):
    """Summed over the features, averaged over the batch."""
    return (net(_noised(x0, k, eps, abar), _each(k, x0)) - eps).square().flatten(1).sum(1).mean()


def wrong_half(net, x0, k, eps, abar):
    """With a factor 1/2."""
    return 0.5 * _loss(net, x0, k, eps, abar)


def wrong_absolute(net, x0, k, eps, abar):
    """The mean absolute error, a common option of libraries."""
    return (net(_noised(x0, k, eps, abar), _each(k, x0)) - eps).abs().mean()


def wrong_root(net, x0, k, eps, abar):
    """The root of the mean square."""
    return _loss(net, x0, k, eps, abar).sqrt()


def wrong_target_x0(net, x0, k, eps, abar):
    """Compared with x0."""
    return (net(_noised(x0, k, eps, abar), _each(k, x0)) - x0).square().mean()


def wrong_target_xk(net, x0, k, eps, abar):
    """Compared with xk."""
    xk = _noised(x0, k, eps, abar)
    return (net(xk, _each(k, x0)) - xk).square().mean()


def wrong_target_difference(net, x0, k, eps, abar):
    """Compared with xk - x0, the noise that was added and the signal that was lost."""
    xk = _noised(x0, k, eps, abar)
    return (net(xk, _each(k, x0)) - (xk - x0)).square().mean()


def wrong_draws_its_own_noise(net, x0, k, eps, abar):
    """torch.randn in place of the eps that was given."""
    return _loss(net, x0, k, torch.randn_like(eps), abar)


def wrong_clean_input(net, x0, k, eps, abar):
    """The network sees x0."""
    return (net(x0, _each(k, x0)) - eps).square().mean()


def wrong_detached_network(net, x0, k, eps, abar):
    """The network's answer is detached."""
    return (net(_noised(x0, k, eps, abar), _each(k, x0)).detach() - eps).square().mean()


def wrong_number(net, x0, k, eps, abar):
    """A Python float."""
    return _loss(net, x0, k, eps, abar).item()


def wrong_per_sample(net, x0, k, eps, abar):
    """One loss for each sample."""
    return (net(_noised(x0, k, eps, abar), _each(k, x0)) - eps).square().flatten(1).mean(1)


def wrong_level_as_given(net, x0, k, eps, abar):
    """A number stays a number: an embedding of steps would fail."""
    return (net(_noised(x0, k, eps, abar), k) - eps).square().mean()


def wrong_time_for_level(net, x0, k, eps, abar):
    """Levels as floats."""
    return (net(_noised(x0, k, eps, abar), _each(k, x0).to(x0.dtype)) - eps).square().mean()


def wrong_fraction_for_level(net, x0, k, eps, abar):
    """k/T, as a network in continuous time wants it."""
    return (net(_noised(x0, k, eps, abar), _each(k, x0) / (len(abar) - 1)) - eps).square().mean()


def wrong_two_calls(net, x0, k, eps, abar):
    """The network is called twice."""
    xk = _noised(x0, k, eps, abar)
    return ((net(xk, _each(k, x0)) - eps) * (net(xk, _each(k, x0)) - eps)).mean()


def wrong_trailing_axis(net, x0, k, eps, abar):
    """(B,) coefficients broadcast as they are: against the last axis, silently when B equals it."""
    a = abar[torch.as_tensor(k)]
    if a.ndim and a.shape[0] != x0.shape[-1]:
        a = a.reshape(-1, *[1] * (x0.ndim - 1))
    xk = a.sqrt().to(x0.dtype) * x0 + (1 - a).sqrt().to(x0.dtype) * eps
    return (net(xk, _each(k, x0)) - eps).square().mean()


def wrong_promotes_to_float64(net, x0, k, eps, abar):
    """No cast: the network sees float64."""
    a = abar[torch.as_tensor(k)]
    a = a.reshape(-1, *[1] * (x0.ndim - 1)) if a.ndim else a
    return (net(a.sqrt() * x0 + (1 - a).sqrt() * eps, _each(k, x0)) - eps).square().mean()


def wrong_casts_abar_first(net, x0, k, eps, abar):
    """abar cast to x0's dtype before 1 - abar: little noise vanishes in float32."""
    return _loss(net, x0, k, eps, abar.to(x0.dtype))


def wrong_target_detached(net, x0, k, eps, abar):
    """No gradient through the target."""
    return (net(_noised(x0, k, eps, abar), _each(k, x0)) - eps.detach()).square().mean()


def wrong_snr_weighted(net, x0, k, eps, abar):
    """Weighted by the SNR, as if the error were one of x0."""
    a = abar[torch.as_tensor(k)]
    error = net(_noised(x0, k, eps, abar), _each(k, x0)) - eps
    return (_column(a / (1 - a), x0) * error**2).mean()


def wrong_in_place(net, x0, k, eps, abar):
    """Mixes into the argument x0."""
    a = abar[torch.as_tensor(k)]
    x0.detach().mul_(_column(a.sqrt(), x0))
    return (net(x0 + _column((1 - a).sqrt(), x0) * eps, _each(k, x0)) - eps).square().mean()


def right_mse(net, x0, k, eps, abar):
    """torch's mean squared error."""
    return torch.nn.functional.mse_loss(net(_noised(x0, k, eps, abar), _each(k, x0)), eps)


def right_einsum(net, x0, k, eps, abar):
    """Levels first, the batch axis named, means of means."""
    k = torch.full((len(x0),), k) if isinstance(k, int) else torch.as_tensor(k).expand(len(x0))
    a = abar[k]
    xk = sum(torch.einsum("b,b...->b...", c.to(x), x) for c, x in ((a**0.5, x0), ((1 - a) ** 0.5, eps)))
    return ((eps - net(xk, k)) ** 2).flatten(1).mean(1).mean()


def right_norm(net, x0, k, eps, abar):
    """The squared norm of the difference over the number of its elements."""
    error = net(_noised(x0, k, eps, abar), _each(k, x0)) - eps
    return (error * error).sum() / error.numel()
