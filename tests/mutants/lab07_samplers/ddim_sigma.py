"""Answers to ddim_sigma, wrong and right."""

import torch


def wrong_variance(k, j, abar, eta):
    """The variance: no root."""
    return eta * (1 - abar[j]) / (1 - abar[k]) * (1 - abar[k] / abar[j])


def wrong_eta_squared(k, j, abar, eta):
    """eta applied twice."""
    return eta**2 * ((1 - abar[j]) / (1 - abar[k]) * (1 - abar[k] / abar[j])).sqrt()


def wrong_eta_under_the_root(k, j, abar, eta):
    """eta under the root."""
    return (eta * (1 - abar[j]) / (1 - abar[k]) * (1 - abar[k] / abar[j])).sqrt()


def wrong_without_eta(k, j, abar, eta):
    """Always as for eta = 1, but for eta = 0."""
    return ((1 - abar[j]) / (1 - abar[k]) * (1 - abar[k] / abar[j])).sqrt() * (eta != 0)


def wrong_ratio_turned_round(k, j, abar, eta):
    """The two variances exchanged."""
    return eta * ((1 - abar[k]) / (1 - abar[j]) * (1 - abar[k] / abar[j])).sqrt()


def wrong_beta(k, j, abar, eta):
    """sqrt(beta) alone, not the posterior's."""
    return eta * (1 - abar[k] / abar[j]).sqrt()


def wrong_beta_of_one_step(k, j, abar, eta):
    """beta_k of one step of training where the step goes further."""
    return eta * ((1 - abar[j]) / (1 - abar[k]) * (1 - abar[k] / abar[k - 1])).sqrt()


def wrong_level_before(k, j, abar, eta):
    """Off by one: both levels one lower (0 stays 0)."""
    a, b = abar[max(int(j) - 1, 0)], abar[int(k) - 1]
    if b == 1:
        return torch.zeros_like(b)
    return eta * ((1 - a) / (1 - b) * (1 - b / a)).sqrt()


def wrong_final_alpha_bar(k, j, abar, eta):
    """abar[1] stands for the level 0, as with set_alpha_to_one = False."""
    a, b = abar[max(int(j), 1)], abar[k]
    return eta * ((1 - a) / (1 - b) * (1 - b / a)).sqrt()


def wrong_python_float(k, j, abar, eta):
    """A Python number: abar is left behind."""
    a, b = abar[j].item(), abar[k].item()
    return float(eta) * ((1 - a) / (1 - b) * (1 - b / a)) ** 0.5


def wrong_float32(k, j, abar, eta):
    """Everything in float32."""
    a, b = abar[j].float(), abar[k].float()
    return eta * ((1 - a) / (1 - b) * (1 - b / a)).sqrt()


def wrong_shape(k, j, abar, eta):
    """One entry, with an axis of its own."""
    return (eta * ((1 - abar[j]) / (1 - abar[k]) * (1 - abar[k] / abar[j])).sqrt()).reshape(1)


def wrong_guarded(k, j, abar, eta):
    """1e-10 under the root: no longer 0 at the ends."""
    return eta * ((1 - abar[j]) / (1 - abar[k]) * (1 - abar[k] / abar[j]) + 1e-10).sqrt()


def wrong_detached(k, j, abar, eta):
    """Outside the graph."""
    abar = abar.detach()
    return eta * ((1 - abar[j]) / (1 - abar[k]) * (1 - abar[k] / abar[j])).sqrt()


def wrong_first_entries_set(k, j, abar, eta):
    """abar changed in place, to be sure of its first entry."""
    sigma = eta * ((1 - abar[j]) / (1 - abar[k]) * (1 - abar[k] / abar[j])).sqrt()
    abar.data[1:] *= 0.999
    return sigma


def right_two_roots(k, j, abar, eta):
    """As the paper writes it: two roots."""
    return eta * torch.sqrt((1 - abar[j]) / (1 - abar[k])) * torch.sqrt(1 - abar[k] / abar[j])


def right_one_fraction(k, j, abar, eta):
    """One fraction."""
    a, b = abar[torch.as_tensor(j)], abar[torch.as_tensor(k)]
    return (((1 - a) * (a - b)) / ((1 - b) * a)).sqrt() * eta


def right_from_the_posterior(k, j, abar, eta):
    """1/variance is the sum of what x_k and what x0 say about x_j (which is all where j = 0)."""
    a, keep = abar[j], abar[k] / abar[j]
    var = 1 / (keep / (1 - keep) + 1 / (1 - a)) if a < 1 else 0 * a
    return eta * torch.sqrt(var)
