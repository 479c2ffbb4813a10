"""Answers to edm_precondition, wrong and right."""

import torch


def _wide(sigma):
    return torch.as_tensor(sigma)


def _right(sigma, sigma_data):
    sigma = _wide(sigma)
    total = sigma**2 + sigma_data**2
    return sigma_data**2 / total, sigma * sigma_data / total.sqrt(), 1 / total.sqrt(), sigma.log() / 4


def _with(index, value, sigma, sigma_data):
    parts = list(_right(sigma, sigma_data))
    parts[index] = value
    return tuple(parts)


def wrong_raw_sigma(sigma, sigma_data):
    """c_noise is sigma itself."""
    return _with(3, _wide(sigma), sigma, sigma_data)


def wrong_whole_logarithm(sigma, sigma_data):
    """c_noise = ln(sigma)."""
    return _with(3, _wide(sigma).log(), sigma, sigma_data)


def wrong_log10(sigma, sigma_data):
    """The logarithm to base 10."""
    return _with(3, _wide(sigma).log10() / 4, sigma, sigma_data)


def wrong_relative_level(sigma, sigma_data):
    """ln(sigma / sigma_data) / 4."""
    return _with(3, (_wide(sigma) / sigma_data).log() / 4, sigma, sigma_data)


def wrong_variance_in_c_in(sigma, sigma_data):
    """c_in without the root."""
    return _with(2, 1 / (_wide(sigma) ** 2 + sigma_data**2), sigma, sigma_data)


def wrong_added_deviations(sigma, sigma_data):
    """sigma + sigma_data wherever the root of the sum of squares belongs."""
    sigma = _wide(sigma)
    total = sigma + sigma_data
    return sigma_data / total, sigma * sigma_data / total, 1 / total, sigma.log() / 4


def wrong_skip_of_noise(sigma, sigma_data):
    """c_skip is the noise's share."""
    return _with(0, 1 - _right(sigma, sigma_data)[0], sigma, sigma_data)


def wrong_out_without_root(sigma, sigma_data):
    """c_out = sigma sigma_data / (sigma² + sigma_data²)."""
    sigma = _wide(sigma)
    return _with(1, sigma * sigma_data / (sigma**2 + sigma_data**2), sigma, sigma_data)


def wrong_out_squared(sigma, sigma_data):
    """c_out² for c_out."""
    return _with(1, _right(sigma, sigma_data)[1] ** 2, sigma, sigma_data)


def wrong_eps_prediction(sigma, sigma_data):
    """c_skip = 1 and c_out = -sigma: the network predicts the noise."""
    sigma = _wide(sigma)
    return torch.ones_like(sigma), -sigma, _right(sigma, sigma_data)[2], sigma.log() / 4


def wrong_sigma_data_of_the_paper(sigma, sigma_data):
    """0.5, whatever is given."""
    return _right(sigma, 0.5)


def wrong_order(sigma, sigma_data):
    """c_in first, as the paper lists them elsewhere."""
    skip, out, scale, told = _right(sigma, sigma_data)
    return scale, skip, out, told


def wrong_three(sigma, sigma_data):
    """c_noise is forgotten."""
    return _right(sigma, sigma_data)[:3]


def wrong_column(sigma, sigma_data):
    """Shaped for images here already: (B, 1, 1, 1)."""
    return tuple(part.reshape(-1, 1, 1, 1) for part in _right(sigma, sigma_data))


def wrong_clamped(sigma, sigma_data):
    """Levels outside EDM's range are moved to its ends."""
    return _right(_wide(sigma).clamp(0.002, 80.0), sigma_data)


def wrong_small_number_added(sigma, sigma_data):
    """1e-4 under the logarithm, against minus infinity."""
    return _with(3, (_wide(sigma) + 1e-4).log() / 4, sigma, sigma_data)


def wrong_float32(sigma, sigma_data):
    """Everything in float32."""
    return _right(_wide(sigma).float(), sigma_data)


def wrong_float64(sigma, sigma_data):
    """Everything in float64."""
    return _right(torch.as_tensor(sigma, dtype=torch.float64), sigma_data)


def wrong_numbers_only(sigma, sigma_data):
    """math.log takes one number."""
    return _right(float(sigma), sigma_data)


def wrong_tensors_only(sigma, sigma_data):
    """A Python number has no .log()."""
    total = sigma**2 + sigma_data**2
    return sigma_data**2 / total, sigma * sigma_data / total**0.5, 1 / total**0.5, sigma.log() / 4


def wrong_outside_the_graph(sigma, sigma_data):
    """Under no_grad."""
    with torch.no_grad():
        return _right(sigma, sigma_data)


def wrong_new_tensor(sigma, sigma_data):
    """torch.tensor of a tensor cuts the graph."""
    return _right(_wide(sigma).detach().clone(), sigma_data)


def wrong_in_place(sigma, sigma_data):
    """Squares sigma inside itself."""
    sigma = _wide(sigma)
    told = sigma.log() / 4
    root = (sigma**2 + sigma_data**2).sqrt()
    out = sigma * sigma_data / root
    sigma.data.mul_(sigma.data)
    return sigma_data**2 / root**2, out, 1 / root, told


def right_plainly(sigma, sigma_data):
    """Table 1 of the paper."""
    return _right(sigma, sigma_data)


def right_by_the_angle(sigma, sigma_data):
    """A rotation by the angle whose tangent is sigma / sigma_data."""
    sigma = torch.as_tensor(sigma)
    phi = torch.atan(sigma / sigma_data)
    skip = 1 / (1 + (sigma / sigma_data) ** 2)  # cos², which for large sigma a squared cosine does not reach
    scale = 1 / torch.hypot(sigma, torch.full_like(sigma, sigma_data))
    return [skip, sigma_data * torch.sin(phi), scale, torch.log(sigma) / 4]


def right_one_after_another(sigma, sigma_data):
    """c_out from c_in, c_skip from c_in, numbers in float64."""
    if not isinstance(sigma, torch.Tensor):
        sigma = torch.tensor(sigma, dtype=torch.float64)
    c_in = torch.rsqrt(sigma.square() + sigma_data * sigma_data)
    return (sigma_data * c_in) ** 2, sigma * sigma_data * c_in, c_in, 0.25 * torch.log(sigma)
