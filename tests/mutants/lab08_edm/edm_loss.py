"""Answers to edm_loss, wrong and right."""

import torch


def _column(values, x):
    return values.reshape(-1, *[1] * (x.ndim - 1))


def _levels(sigma, x0):
    return torch.as_tensor(sigma, dtype=x0.dtype, device=x0.device).expand(len(x0))


def _parts(sigma, sigma_data):
    total = sigma**2 + sigma_data**2
    return sigma_data**2 / total, sigma * sigma_data / total.sqrt(), 1 / total.sqrt(), sigma.log() / 4


def _errors(net, x0, sigma, eps, sigma_data, told=None, shown=None):
    """The squared errors of D, and the levels, both to be weighted."""
    sigma = _levels(sigma, x0)
    skip, out, scale, c_noise = _parts(sigma, sigma_data)
    x = x0 + _column(sigma, x0) * eps
    see = _column(scale, x) * x if shown is None else shown(x)
    F = net(see, c_noise if told is None else told(sigma))
    D = _column(skip, x) * x + _column(out, x) * F
    return (D - x0) ** 2, sigma


def _weight(sigma, sigma_data, x0):
    return _column((sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2, x0)


def wrong_unweighted(net, x0, sigma, eps, sigma_data):
    """The plain error of D."""
    return _errors(net, x0, sigma, eps, sigma_data)[0].mean()


def wrong_weight_upside_down(net, x0, sigma, eps, sigma_data):
    """Multiplied by c_out²."""
    errors, sigma = _errors(net, x0, sigma, eps, sigma_data)
    return (errors / _weight(sigma, sigma_data, x0)).mean()


def wrong_sum_in_the_weight(net, x0, sigma, eps, sigma_data):
    """(sigma + sigma_data)² below the line."""
    errors, sigma = _errors(net, x0, sigma, eps, sigma_data)
    return (_column((sigma**2 + sigma_data**2) / (sigma + sigma_data) ** 2, x0) * errors).mean()


def wrong_noise_weight(net, x0, sigma, eps, sigma_data):
    """1/sigma², as in DDPM."""
    errors, sigma = _errors(net, x0, sigma, eps, sigma_data)
    return (errors / _column(sigma, x0) ** 2).mean()


def wrong_root_of_the_weight(net, x0, sigma, eps, sigma_data):
    """1/c_out."""
    errors, sigma = _errors(net, x0, sigma, eps, sigma_data)
    return (_weight(sigma, sigma_data, x0).sqrt() * errors).mean()


def wrong_half(net, x0, sigma, eps, sigma_data):
    """A factor 1/2 in front."""
    return right_of_D(net, x0, sigma, eps, sigma_data) / 2


def wrong_sum_over_features(net, x0, sigma, eps, sigma_data):
    """A mean over the batch of sums over the rest."""
    errors, sigma = _errors(net, x0, sigma, eps, sigma_data)
    return (_weight(sigma, sigma_data, x0) * errors).flatten(1).sum(1).mean()


def wrong_per_sample(net, x0, sigma, eps, sigma_data):
    """One loss for each sample."""
    errors, sigma = _errors(net, x0, sigma, eps, sigma_data)
    return (_weight(sigma, sigma_data, x0) * errors).flatten(1).mean(1)


def wrong_raw_sigma(net, x0, sigma, eps, sigma_data):
    """The network is told sigma."""
    errors, sigma = _errors(net, x0, sigma, eps, sigma_data, told=lambda s: s)
    return (_weight(sigma, sigma_data, x0) * errors).mean()


def wrong_whole_logarithm(net, x0, sigma, eps, sigma_data):
    """The network is told ln(sigma)."""
    errors, sigma = _errors(net, x0, sigma, eps, sigma_data, told=torch.log)
    return (_weight(sigma, sigma_data, x0) * errors).mean()


def wrong_unscaled_input(net, x0, sigma, eps, sigma_data):
    """The network sees x."""
    errors, sigma = _errors(net, x0, sigma, eps, sigma_data, shown=lambda x: x)
    return (_weight(sigma, sigma_data, x0) * errors).mean()


def wrong_network_as_denoiser(net, x0, sigma, eps, sigma_data):
    """D = net(c_in x, c_noise)."""
    sigma = _levels(sigma, x0)
    _, _, scale, told = _parts(sigma, sigma_data)
    D = net(_column(scale, x0) * (x0 + _column(sigma, x0) * eps), told)
    return (_weight(sigma, sigma_data, x0) * (D - x0) ** 2).mean()


def wrong_variance_times_noise(net, x0, sigma, eps, sigma_data):
    """x = x0 + sigma² eps."""
    sigma = _levels(sigma, x0)
    return right_of_D(net, x0, sigma, _column(sigma, x0) * eps, sigma_data)


def wrong_mean_of_the_weights(net, x0, sigma, eps, sigma_data):
    """The weights are averaged over the batch before they meet the errors."""
    errors, sigma = _errors(net, x0, sigma, eps, sigma_data)
    return _weight(sigma, sigma_data, x0).mean() * errors.mean()


def wrong_levels_on_the_last_axis(net, x0, sigma, eps, sigma_data):
    """A (B,) sigma left to broadcast."""
    told = _parts(_levels(sigma, x0), sigma_data)[3]
    sigma = torch.as_tensor(sigma, dtype=x0.dtype)
    skip, out, scale, _ = _parts(sigma, sigma_data)
    x = x0 + sigma * eps
    D = skip * x + out * net(scale * x, told)
    return ((D - x0) ** 2 / out**2).mean()


def wrong_points_only(net, x0, sigma, eps, sigma_data):
    """sigma[:, None]: right for points, not for images."""
    sigma = _levels(sigma, x0)
    skip, out, scale, told = (part[:, None] for part in _parts(sigma, sigma_data))
    x = x0 + sigma[:, None] * eps
    return ((skip * x + out * net(scale * x, told[:, 0]) - x0) ** 2 / out**2).mean()


def wrong_batches_only(net, x0, sigma, eps, sigma_data):
    """A number has no reshape."""
    skip, out, scale, told = (_column(part, x0) for part in _parts(sigma, sigma_data))
    x = x0 + _column(sigma, x0) * eps
    return ((skip * x + out * net(scale * x, told.flatten()) - x0) ** 2 / out**2).mean().to(x0.dtype)


def wrong_single_level_for_the_network(net, x0, sigma, eps, sigma_data):
    """For one level for all, c_noise stays 0-d."""
    sigma = torch.as_tensor(sigma, dtype=x0.dtype)
    told = sigma.log() / 4
    skip, out, scale, _ = (_column(part, x0) for part in _parts(_levels(sigma, x0), sigma_data))
    x = x0 + _column(_levels(sigma, x0), x0) * eps
    return ((skip * x + out * net(scale * x, told) - x0) ** 2 / out**2).mean()


def wrong_float64_loss(net, x0, sigma, eps, sigma_data):
    """float64 levels make a float64 loss."""
    sigma = torch.as_tensor(sigma).double().expand(len(x0))
    return right_of_D(net, x0.double(), sigma, eps.double(), sigma_data)


def wrong_clamped_levels(net, x0, sigma, eps, sigma_data):
    """sigma is held between 0.02 and 50."""
    return right_of_D(net, x0, torch.as_tensor(sigma, dtype=x0.dtype).clamp(0.02, 50.0), eps, sigma_data)


def wrong_capped_weight(net, x0, sigma, eps, sigma_data):
    """lambda is at most 100."""
    errors, sigma = _errors(net, x0, sigma, eps, sigma_data)
    return (_weight(sigma, sigma_data, x0).clamp(max=100.0) * errors).mean()


def wrong_outside_the_graph(net, x0, sigma, eps, sigma_data):
    """Under no_grad."""
    with torch.no_grad():
        return right_of_D(net, x0, sigma, eps, sigma_data)


def wrong_fixed_target(net, x0, sigma, eps, sigma_data):
    """The data are detached."""
    return right_of_D(net, x0.detach(), sigma, eps.detach(), sigma_data)


def wrong_in_place(net, x0, sigma, eps, sigma_data):
    """Scales eps inside itself."""
    levels = _levels(sigma, x0)
    before = eps.clone()
    loss = right_of_D(net, x0, levels, before, sigma_data)
    eps.data.mul_(_column(levels, x0))
    return loss


def wrong_own_noise(net, x0, sigma, eps, sigma_data):
    """Draws eps anew."""
    return right_of_D(net, x0, sigma, torch.randn_like(x0), sigma_data)


def wrong_sigma_data_of_the_paper(net, x0, sigma, eps, sigma_data):
    """0.5, whatever is given."""
    return right_of_D(net, x0, sigma, eps, 0.5)


def right_of_D(net, x0, sigma, eps, sigma_data):
    """The weighted error of the denoiser."""
    errors, sigma = _errors(net, x0, sigma, eps, sigma_data)
    return (_weight(sigma, sigma_data, x0) * errors).mean()


def right_of_F(net, x0, sigma, eps, sigma_data):
    """The plain error of the network on its own target."""
    B = x0.shape[0]
    sigma = torch.as_tensor(sigma, dtype=x0.dtype, device=x0.device) * torch.ones(B, dtype=x0.dtype, device=x0.device)
    skip, out, scale, told = _parts(sigma, sigma_data)
    shape = (B,) + (1,) * (x0.ndim - 1)
    x = x0 + sigma.view(shape) * eps
    target = (x0 - skip.view(shape) * x) / out.view(shape)
    return torch.nn.functional.mse_loss(net(scale.view(shape) * x, told), target)


def right_flat(net, x0, sigma, eps, sigma_data):
    """Everything computed on (B, features), but for the network, which sees its own shape."""
    levels = torch.as_tensor(sigma).to(x0).broadcast_to(x0.shape[:1])
    flat, noise, s = x0.flatten(1), eps.flatten(1), levels[:, None]
    total = s.square() + sigma_data**2
    x = flat + s * noise
    F = net((x * total.rsqrt()).reshape(x0.shape), torch.log(levels) / 4).flatten(1)
    D = (sigma_data**2 * x + sigma_data * s * total.sqrt() * F) / total
    return ((1 / s**2 + sigma_data**-2) * (D - flat).square()).mean()
