"""Answers to classifier_guided_eps, wrong and right."""

import torch


def _column(values, x):
    values = torch.as_tensor(values).to(x.dtype)
    return values.reshape(-1, *[1] * (x.ndim - 1)) if values.ndim else values


def _noise(k, abar):
    return 1 - abar[torch.as_tensor(k)]


def wrong_sign(eps, grad_log_p, k, abar, scale):
    """plus for minus: away from the label."""
    return eps + scale * _column(_noise(k, abar).sqrt(), eps) * grad_log_p


def wrong_variance(eps, grad_log_p, k, abar, scale):
    """1 - abar where its square root belongs."""
    return eps - scale * _column(_noise(k, abar), eps) * grad_log_p


def wrong_no_root(eps, grad_log_p, k, abar, scale):
    """The factor of the noise is forgotten."""
    return eps - scale * grad_log_p


def wrong_signal(eps, grad_log_p, k, abar, scale):
    """sqrt(abar), the data's factor."""
    return eps - scale * _column(abar[torch.as_tensor(k)].sqrt(), eps) * grad_log_p


def wrong_divides(eps, grad_log_p, k, abar, scale):
    """Divided by the standard deviation, as the score is."""
    return eps - scale / _column(_noise(k, abar).sqrt(), eps) * grad_log_p


def wrong_shift_of_the_mean(eps, grad_log_p, k, abar, scale):
    """The gradient times the variance of a step, as for the mean of DDPM's posterior."""
    k = torch.as_tensor(k)
    beta = 1 - abar[k] / abar[(k - 1).clamp(min=0)]
    return eps - scale * _column(beta, eps) * grad_log_p


def wrong_one_level_early(eps, grad_log_p, k, abar, scale):
    """abar[k - 1]."""
    return eps - scale * _column(_noise((torch.as_tensor(k) - 1).clamp(min=0), abar).sqrt(), eps) * grad_log_p


def wrong_without_scale(eps, grad_log_p, k, abar, scale):
    """scale is ignored."""
    return eps - _column(_noise(k, abar).sqrt(), eps) * grad_log_p


def wrong_scale_squared(eps, grad_log_p, k, abar, scale):
    """scale twice."""
    return eps - scale**2 * _column(_noise(k, abar).sqrt(), eps) * grad_log_p


def wrong_one_plus_scale(eps, grad_log_p, k, abar, scale):
    """1 + scale, as if eps were conditional and the weight ours."""
    return eps - (1 + scale) * _column(_noise(k, abar).sqrt(), eps) * grad_log_p


def wrong_trailing_axis(eps, grad_log_p, k, abar, scale):
    """(B,) factors broadcast as they are."""
    return eps - scale * _noise(k, abar).sqrt().to(eps.dtype) * grad_log_p


def wrong_only_for_images(eps, grad_log_p, k, abar, scale):
    """view(-1, 1, 1, 1) for all shapes."""
    return eps - scale * _noise(k, abar).sqrt().to(eps.dtype).reshape(-1, 1, 1, 1) * grad_log_p


def wrong_promotes(eps, grad_log_p, k, abar, scale):
    """No cast: float32 becomes float64."""
    factor = _noise(k, abar).sqrt().reshape(-1, *[1] * (eps.ndim - 1))
    return eps - scale * factor * grad_log_p


def wrong_casts_first(eps, grad_log_p, k, abar, scale):
    """abar cast to eps's dtype before 1 - abar."""
    return eps - scale * _column(_noise(k, abar.to(eps.dtype)).sqrt(), eps) * grad_log_p


def wrong_guards(eps, grad_log_p, k, abar, scale):
    """1 - abar kept off 0 "for stability"."""
    return eps - scale * _column(_noise(k, abar).clamp(min=1e-4).sqrt(), eps) * grad_log_p


def wrong_normalises(eps, grad_log_p, k, abar, scale):
    """The gradient brought to unit length for each sample."""
    length = _column(grad_log_p.flatten(1).norm(dim=1), eps)
    return eps - scale * _column(_noise(k, abar).sqrt(), eps) * grad_log_p / length


def wrong_clips(eps, grad_log_p, k, abar, scale):
    """Clipped to [-10, 10]."""
    return (eps - scale * _column(_noise(k, abar).sqrt(), eps) * grad_log_p).clamp(-10, 10)


def wrong_detached_gradient(eps, grad_log_p, k, abar, scale):
    """grad_log_p is detached."""
    return eps - scale * _column(_noise(k, abar).sqrt(), eps) * grad_log_p.detach()


def wrong_detached_schedule(eps, grad_log_p, k, abar, scale):
    """The schedule is taken out of the graph."""
    return eps - scale * _column(_noise(k, abar.detach()).sqrt(), eps) * grad_log_p


def wrong_in_place(eps, grad_log_p, k, abar, scale):
    """Subtracts from the caller's eps."""
    eps.detach().sub_(scale * _column(_noise(k, abar).sqrt(), eps).detach() * grad_log_p.detach())
    return eps * 1


def wrong_score(eps, grad_log_p, k, abar, scale):
    """The guided score is returned."""
    root = _column(_noise(k, abar).sqrt(), eps)
    return -eps / root + scale * grad_log_p


def right_through_the_score(eps, grad_log_p, k, abar, scale):
    """The shift as a product of three, in another order, the batch axis turned to the end."""
    root = torch.sqrt(1 - abar[torch.as_tensor(k)]).to(eps.dtype)
    return (eps.movedim(0, -1) - grad_log_p.movedim(0, -1) * root * scale).movedim(-1, 0)


def right_addcmul(eps, grad_log_p, k, abar, scale):
    """addcmul with a column of factors."""
    factor = (-(scale * (1.0 - abar) ** 0.5)[torch.as_tensor(k)]).to(eps.dtype)
    return torch.addcmul(eps, factor.view(-1, *[1] * (eps.ndim - 1)), grad_log_p)


def right_einsum(eps, grad_log_p, k, abar, scale):
    """Levels expanded to (B,)."""
    root = (1 - abar[torch.as_tensor(k).expand(len(eps))]).sqrt()
    return eps - torch.einsum("b,b...->b...", (scale * root).to(eps.dtype), grad_log_p)
