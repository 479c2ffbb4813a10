"""Answers to ddim_step, wrong and right."""

import torch


def _sigma(k, j, abar, eta):
    return eta * ((1 - abar[j]) / (1 - abar[k]) * (1 - abar[k] / abar[j])).sqrt()


def _x0(xk, eps, k, abar):
    return (xk - (1 - abar[k]).sqrt().to(xk.dtype) * eps) / abar[k].sqrt().to(xk.dtype)


def _mixed(x0, eps, a, left, sigma, noise):
    out = a.sqrt().to(x0.dtype) * x0 + left.clamp(min=0).sqrt().to(x0.dtype) * eps
    return out if noise is None else out + sigma.to(x0.dtype) * noise


def wrong_sigma_for_the_direction(xk, eps, k, j, abar, eta, noise):
    """sigma where sqrt(1 - abar_j - sigma²) belongs."""
    sigma = _sigma(k, j, abar, eta)
    return _mixed(_x0(xk, eps, k, abar), eps, abar[j], sigma**2, sigma, noise)


def wrong_eta_twice(xk, eps, k, j, abar, eta, noise):
    """eta is in sigma already, and multiplies the noise once more."""
    sigma = _sigma(k, j, abar, eta)
    return _mixed(_x0(xk, eps, k, abar), eps, abar[j], 1 - abar[j] - sigma**2, eta * sigma, noise)


def wrong_eta_twice_in_both_places(xk, eps, k, j, abar, eta, noise):
    """sigma = eta · eta · ... throughout."""
    sigma = eta * _sigma(k, j, abar, eta)
    return _mixed(_x0(xk, eps, k, abar), eps, abar[j], 1 - abar[j] - sigma**2, sigma, noise)


def wrong_final_alpha_bar(xk, eps, k, j, abar, eta, noise):
    """At the last step abar[1] stands for abar[0] = 1."""
    j = max(int(j), 1)
    if k == j:
        return _x0(xk, eps, k, abar) * abar[1].sqrt() + (1 - abar[1]).sqrt() * eps
    sigma = _sigma(k, j, abar, eta)
    return _mixed(_x0(xk, eps, k, abar), eps, abar[j], 1 - abar[j] - sigma**2, sigma, noise)


def wrong_sigma_not_taken_away(xk, eps, k, j, abar, eta, noise):
    """Noise is added, and the direction keeps its full length."""
    return _mixed(_x0(xk, eps, k, abar), eps, abar[j], 1 - abar[j], _sigma(k, j, abar, eta), noise)


def wrong_sigma_not_squared(xk, eps, k, j, abar, eta, noise):
    """sqrt(1 - abar_j - sigma)."""
    sigma = _sigma(k, j, abar, eta)
    return _mixed(_x0(xk, eps, k, abar), eps, abar[j], 1 - abar[j] - sigma, sigma, noise)


def wrong_clipped_without_deriving_eps_anew(xk, eps, k, j, abar, eta, noise):
    """x0 clipped to [-1, 1], and the old eps kept beside it."""
    sigma = _sigma(k, j, abar, eta)
    return _mixed(_x0(xk, eps, k, abar).clamp(-1, 1), eps, abar[j], 1 - abar[j] - sigma**2, sigma, noise)


def wrong_clipped_far_out(xk, eps, k, j, abar, eta, noise):
    """x0 clipped to [-10, 10], eps derived anew: right for small data, and still clipping."""
    sigma, x0 = _sigma(k, j, abar, eta), _x0(xk, eps, k, abar).clamp(-10, 10)
    eps = (xk - abar[k].sqrt().to(xk.dtype) * x0) / (1 - abar[k]).sqrt().to(xk.dtype)
    return _mixed(x0, eps, abar[j], 1 - abar[j] - sigma**2, sigma, noise)


def wrong_alpha_bar_off_by_one(xk, eps, k, j, abar, eta, noise):
    """All levels one lower (0 stays 0)."""
    abar = torch.cat([abar[:1], abar[:-1]])
    if abar[k] == 1:
        return xk
    sigma = _sigma(k, j, abar, eta)
    return _mixed(_x0(xk, eps, k, abar), eps, abar[j], 1 - abar[j] - sigma**2, sigma, noise)


def wrong_posterior_of_neighbours(xk, eps, k, j, abar, eta, noise):
    """sigma as for j = k - 1, whatever j is."""
    j_before = int(k) - 1
    sigma = _sigma(k, j_before, abar, eta).clamp(max=(1 - abar[j]).sqrt())
    return _mixed(_x0(xk, eps, k, abar), eps, abar[j], 1 - abar[j] - sigma**2, sigma, noise)


def wrong_nan_beyond_eta_1(xk, eps, k, j, abar, eta, noise):
    """No clamp under the root."""
    sigma = _sigma(k, j, abar, eta)
    a = abar[j]
    left = (1 - a - sigma**2).sqrt().to(xk.dtype) if j else 0.0
    out = a.sqrt().to(xk.dtype) * _x0(xk, eps, k, abar) + left * eps
    return out if noise is None else out + sigma.to(xk.dtype) * noise


def wrong_needs_noise(xk, eps, k, j, abar, eta, noise):
    """Multiplies noise that is None."""
    sigma = _sigma(k, j, abar, eta)
    out = _mixed(_x0(xk, eps, k, abar), eps, abar[j], 1 - abar[j] - sigma**2, sigma, None)
    return out + sigma.to(xk.dtype) * noise


def wrong_always_deterministic(xk, eps, k, j, abar, eta, noise):
    """eta is ignored."""
    return _mixed(_x0(xk, eps, k, abar), eps, abar[j], 1 - abar[j], abar[0], None)


def wrong_eta_means_noise_or_not(xk, eps, k, j, abar, eta, noise):
    """Any eta above 0 counts as 1."""
    sigma = _sigma(k, j, abar, float(eta > 0))
    return _mixed(_x0(xk, eps, k, abar), eps, abar[j], 1 - abar[j] - sigma**2, sigma, noise)


def wrong_noise_of_another_variance_at_eta_1(xk, eps, k, j, abar, eta, noise):
    """sqrt(beta) for sigma: the larger variance of ancestral sampling."""
    sigma = eta * (1 - abar[k] / abar[j]).sqrt() * float(j > 0)
    return _mixed(_x0(xk, eps, k, abar), eps, abar[j], 1 - abar[j] - sigma**2, sigma, noise)


def wrong_float64_out(xk, eps, k, j, abar, eta, noise):
    """Computed in float64, and left there."""
    sigma, xk = _sigma(k, j, abar, eta), xk.double()
    return _mixed(_x0(xk, eps, k, abar), eps, abar[j], 1 - abar[j] - sigma**2, sigma, noise)


def wrong_casts_abar_first(xk, eps, k, j, abar, eta, noise):
    """abar in x's dtype before the differences."""
    abar = abar.to(xk.dtype)
    sigma = _sigma(k, j, abar, eta)
    return _mixed(_x0(xk, eps, k, abar), eps, abar[j], 1 - abar[j] - sigma**2, sigma, noise)


def wrong_draws_its_own_noise(xk, eps, k, j, abar, eta, noise):
    """torch.randn in place of the noise that was given."""
    sigma = _sigma(k, j, abar, eta)
    return _mixed(_x0(xk, eps, k, abar), eps, abar[j], 1 - abar[j] - sigma**2, sigma, torch.randn_like(xk))


def wrong_in_place(xk, eps, k, j, abar, eta, noise):
    """Scales eps inside itself."""
    sigma, x0 = _sigma(k, j, abar, eta), _x0(xk, eps, k, abar)
    eps.data.mul_((1 - abar[j] - sigma**2).clamp(min=0).sqrt().to(xk.dtype))
    out = abar[j].sqrt().to(xk.dtype) * x0 + eps
    return out if noise is None else out + sigma.to(xk.dtype) * noise


def wrong_outside_the_graph(xk, eps, k, j, abar, eta, noise):
    """Under no_grad, as samplers run."""
    with torch.no_grad():
        sigma = _sigma(k, j, abar, eta)
        return _mixed(_x0(xk, eps, k, abar), eps, abar[j], 1 - abar[j] - sigma**2, sigma, noise)


def right_plainly(xk, eps, k, j, abar, eta, noise):
    """Equation (12) of the paper."""
    sigma = _sigma(k, j, abar, eta)
    return _mixed(_x0(xk, eps, k, abar), eps, abar[j], 1 - abar[j] - sigma**2, sigma, noise)


def right_two_coefficients(xk, eps, k, j, abar, eta, noise):
    """x_k scaled, and one factor for eps."""
    a, b = abar[j], abar[k]
    var = eta**2 * (1 - a) * (a - b) / ((1 - b) * a)
    by_eps = torch.relu(1 - a - var).sqrt() - (a * (1 - b) / b).sqrt()
    out = (a / b).sqrt().to(xk) * xk + by_eps.to(xk) * eps
    return out + var.sqrt().to(xk) * noise if noise is not None else out


def right_in_abars_dtype(xk, eps, k, j, abar, eta, noise):
    """Everything in float64, cast once at the end; noise is looked at only where eta is not 0."""
    a, b = abar[torch.as_tensor(j)], abar[torch.as_tensor(k)]
    x, e = xk.to(abar.dtype), eps.to(abar.dtype)
    std = eta * torch.sqrt((1 - a) / (1 - b)) * torch.sqrt(1 - b / a)
    out = torch.sqrt(a) * (x - torch.sqrt(1 - b) * e) / torch.sqrt(b)
    out = out + torch.sqrt(torch.clamp(1 - a - std * std, min=0)) * e
    if eta:
        out = out + std * noise.to(abar.dtype)
    return out.to(xk.dtype)
