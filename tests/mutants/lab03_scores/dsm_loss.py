"""Answers to dsm_loss, wrong and right."""

import torch


def _rows(value, x):
    value = torch.as_tensor(value, dtype=x.dtype, device=x.device)
    return value.reshape(-1, *[1] * (x.ndim - 1)) if value.ndim else value


def wrong_unweighted(score_net, x0, sigma, eps):
    """The weight sigma² is missing."""
    s = _rows(sigma, x0)
    return (score_net(x0 + s * eps, sigma) + eps / s).square().mean()


def wrong_weight_sigma(score_net, x0, sigma, eps):
    """Weighted by sigma."""
    s = _rows(sigma, x0)
    return (s * (score_net(x0 + s * eps, sigma) + eps / s).square()).mean()


def wrong_sign_of_the_target(score_net, x0, sigma, eps):
    """Learns the direction of the noise."""
    s = _rows(sigma, x0)
    return (s * score_net(x0 + s * eps, sigma) - eps).square().mean()


def wrong_half(score_net, x0, sigma, eps):
    """A factor 1/2, as in Vincent's paper."""
    s = _rows(sigma, x0)
    return (s * score_net(x0 + s * eps, sigma) + eps).square().mean() / 2


def wrong_summed_over_features(score_net, x0, sigma, eps):
    """A sum over the features, averaged over the batch."""
    s = _rows(sigma, x0)
    return (s * score_net(x0 + s * eps, sigma) + eps).square().flatten(1).sum(1).mean()


def wrong_asked_at_x0(score_net, x0, sigma, eps):
    """The network sees the clean data."""
    s = _rows(sigma, x0)
    return (s * score_net(x0, sigma) + eps).square().mean()


def wrong_variance_for_standard_deviation(score_net, x0, sigma, eps):
    """xt = x0 + sigma²·eps."""
    s = _rows(sigma, x0)
    return (s * score_net(x0 + s**2 * eps, sigma) + eps).square().mean()


def wrong_target_over_the_variance(score_net, x0, sigma, eps):
    """The target -eps/sigma²."""
    s = _rows(sigma, x0)
    return (s * score_net(x0 + s * eps, sigma) + eps / s).square().mean()


def wrong_variance_preserving(score_net, x0, sigma, eps):
    """xt = sqrt(1 - sigma²)·x0 + sigma·eps, with sigma kept below 1."""
    s = _rows(sigma, x0)
    return (s * score_net((1 - s**2).clamp(min=0).sqrt() * x0 + s * eps, sigma) + eps).square().mean()


def wrong_sigma_squared_to_the_network(score_net, x0, sigma, eps):
    """Tells the network the variance."""
    s = _rows(sigma, x0)
    return (s * score_net(x0 + s * eps, sigma**2) + eps).square().mean()


def wrong_sigma_reshaped_for_the_network(score_net, x0, sigma, eps):
    """Hands on sigma as it was shaped for its own arithmetic."""
    s = _rows(sigma, x0)
    return (s * score_net(x0 + s * eps, s) + eps).square().mean()


def wrong_sigma_kept_from_the_network(score_net, x0, sigma, eps):
    """score_net(xt): one network for all levels, told of none."""
    s = _rows(sigma, x0)
    return (s * score_net(x0 + s * eps) + eps).square().mean()


def wrong_predicts_eps(score_net, x0, sigma, eps):
    """Compares the network with eps."""
    return (score_net(x0 + _rows(sigma, x0) * eps, sigma) - eps).square().mean()


def wrong_constant_dropped(score_net, x0, sigma, eps):
    """Leaves out mean(eps²), which no gradient sees."""
    s = _rows(sigma, x0)
    return (s * score_net(x0 + s * eps, sigma) + eps).square().mean() - eps.square().mean()


def wrong_mean_weight(score_net, x0, sigma, eps):
    """One weight for the whole batch, the mean of sigma²."""
    s = _rows(sigma, x0)
    return (s**2).mean() * (score_net(x0 + s * eps, sigma) + eps / s).square().mean()


def wrong_loss_per_sample(score_net, x0, sigma, eps):
    """One number for each sample."""
    s = _rows(sigma, x0)
    return (s * score_net(x0 + s * eps, sigma) + eps).square().flatten(1).mean(1)


def wrong_trailing_axis(score_net, x0, sigma, eps):
    """A (B,) sigma broadcast as it is where B equals the width."""
    s = torch.as_tensor(sigma, dtype=x0.dtype)
    s = s if len(x0) == x0.shape[-1] else _rows(s, x0)
    return (s * score_net(x0 + s * eps, sigma) + eps).square().mean()


def wrong_only_for_vectors(score_net, x0, sigma, eps):
    """[:, None]: right for (B, d), wrong for images."""
    s = torch.as_tensor(sigma, dtype=x0.dtype).reshape(-1, 1)
    return (s * score_net(x0 + s * eps, sigma) + eps).square().mean()


def wrong_promotes_to_float64(score_net, x0, sigma, eps):
    """No cast: a (B,) float64 sigma turns everything into float64."""
    s = torch.as_tensor(sigma, dtype=torch.float64).reshape(-1, *[1] * (x0.ndim - 1))
    return (s * score_net(x0 + s * eps, sigma) + eps).square().mean()


def wrong_detached(score_net, x0, sigma, eps):
    """.item(): a number to print, which trains nothing."""
    s = _rows(sigma, x0)
    return torch.tensor((s * score_net(x0 + s * eps, sigma) + eps).square().mean().item(), dtype=x0.dtype)


def wrong_network_under_no_grad(score_net, x0, sigma, eps):
    """The network is outside the graph."""
    s = _rows(sigma, x0)
    with torch.no_grad():
        score = score_net(x0 + s * eps, sigma)
    return (s * score + eps).square().mean()


def wrong_input_detached(score_net, x0, sigma, eps):
    """xt is cut off: gradients reach the parameters, not the data."""
    s = _rows(sigma, x0)
    return (s * score_net((x0 + s * eps).detach(), sigma) + eps).square().mean()


def wrong_own_noise(score_net, x0, sigma, eps):
    """Draws its own noise."""
    s, eps = _rows(sigma, x0), torch.randn_like(x0)
    return (s * score_net(x0 + s * eps, sigma) + eps).square().mean()


def wrong_in_place(score_net, x0, sigma, eps):
    """Adds the noise to the argument x0."""
    s = _rows(sigma, x0)
    x0.detach().add_(s.detach() * eps.detach())
    return (s * score_net(x0, sigma) + eps).square().mean()


def right_literal(score_net, x0, sigma, eps):
    """The formula as it stands in the task."""
    s = _rows(sigma, x0)
    return (s**2 * (score_net(x0 + s * eps, sigma) + eps / s) ** 2).mean()


def right_as_a_denoiser(score_net, x0, sigma, eps):
    """Tweedie's denoiser compared with x0, divided by sigma²."""
    s = torch.as_tensor(sigma).to(x0).expand(len(x0)).view(-1, *[1] * (x0.ndim - 1))
    xt = x0 + s * eps
    return torch.nn.functional.mse_loss((xt + s**2 * score_net(xt, s.flatten()) - x0) / s, torch.zeros_like(x0))


def right_as_a_mean_of_norms(score_net, x0, sigma, eps):
    """Squared norms of samples, divided by the number of features."""
    s = torch.as_tensor(sigma, dtype=x0.dtype, device=x0.device).expand(len(x0))
    xt = (x0.movedim(0, -1) + s * eps.movedim(0, -1)).movedim(-1, 0)
    residual = (score_net(xt, s).movedim(0, -1) * s).movedim(-1, 0) + eps
    return torch.linalg.vector_norm(residual.flatten(1), dim=1).pow(2).sum() / residual.numel()
