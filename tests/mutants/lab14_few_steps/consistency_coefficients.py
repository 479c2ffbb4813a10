"""Answers to consistency_coefficients, wrong and right."""

import math

import torch


def _pair(sigma, sigma_data, sigma_min):
    sigma = torch.as_tensor(sigma)
    above = sigma - sigma_min
    return sigma_data**2 / (above**2 + sigma_data**2), sigma_data * above / (sigma**2 + sigma_data**2).sqrt()


def wrong_edm(sigma, sigma_data, sigma_min):
    """EDM's coefficients, (1, 0) at sigma = 0 and not at sigma_min."""
    return _pair(sigma, sigma_data, 0.0)


def wrong_c_out_edm(sigma, sigma_data, sigma_min):
    """sigma_min in c_skip alone."""
    return _pair(sigma, sigma_data, sigma_min)[0], _pair(sigma, sigma_data, 0.0)[1]


def wrong_c_skip_edm(sigma, sigma_data, sigma_min):
    """sigma_min in c_out alone."""
    return _pair(sigma, sigma_data, 0.0)[0], _pair(sigma, sigma_data, sigma_min)[1]


def wrong_root(sigma, sigma_data, sigma_min):
    """(sigma - sigma_min)² under the root."""
    return _pair(torch.as_tensor(sigma) - sigma_min, sigma_data, 0.0)


def wrong_squares_subtracted(sigma, sigma_data, sigma_min):
    """sigma² - sigma_min² for (sigma - sigma_min)²."""
    sigma = torch.as_tensor(sigma)
    _, c_out = _pair(sigma, sigma_data, sigma_min)
    return sigma_data**2 / (sigma**2 - sigma_min**2 + sigma_data**2), c_out


def wrong_order(sigma, sigma_data, sigma_min):
    """(c_out, c_skip)."""
    return _pair(sigma, sigma_data, sigma_min)[::-1]


def wrong_no_root(sigma, sigma_data, sigma_min):
    """c_out without its root."""
    sigma = torch.as_tensor(sigma)
    c_skip, _ = _pair(sigma, sigma_data, sigma_min)
    return c_skip, sigma_data * (sigma - sigma_min) / (sigma**2 + sigma_data**2)


def wrong_no_sigma_data(sigma, sigma_data, sigma_min):
    """c_out without the factor sigma_data."""
    c_skip, c_out = _pair(sigma, sigma_data, sigma_min)
    return c_skip, c_out / sigma_data


def wrong_sign(sigma, sigma_data, sigma_min):
    """c_out has the sign turned round."""
    c_skip, c_out = _pair(sigma, sigma_data, sigma_min)
    return c_skip, -c_out


def wrong_clamped(sigma, sigma_data, sigma_min):
    """Never divides by less than 0.01, never lets c_out be 0."""
    c_skip, c_out = _pair(sigma, sigma_data, sigma_min)
    return c_skip, c_out.clamp(min=1e-3)


def wrong_small_number_added(sigma, sigma_data, sigma_min):
    """1e-5 is added to every denominator."""
    sigma = torch.as_tensor(sigma)
    above = sigma - sigma_min
    return (
        sigma_data**2 / (above**2 + sigma_data**2 + 1e-5),
        sigma_data * above / ((sigma**2 + sigma_data**2).sqrt() + 1e-5),
    )


def wrong_sigma_data_of_the_paper(sigma, sigma_data, sigma_min):
    """sigma_data is 0.5."""
    return _pair(sigma, 0.5, sigma_min)


def wrong_sigma_min_of_the_paper(sigma, sigma_data, sigma_min):
    """sigma_min is 0.002."""
    return _pair(sigma, sigma_data, 0.002)


def wrong_float64(sigma, sigma_data, sigma_min):
    """float64, whatever sigma is."""
    return _pair(torch.as_tensor(sigma, dtype=torch.float64), sigma_data, sigma_min)


def wrong_image_shape(sigma, sigma_data, sigma_min):
    """A (B,) sigma gives (B, 1) coefficients."""
    return tuple(c[:, None] if c.ndim else c for c in _pair(sigma, sigma_data, sigma_min))


def wrong_detached(sigma, sigma_data, sigma_min):
    """Through numpy, without gradients."""
    return tuple(c.detach() for c in _pair(sigma, sigma_data, sigma_min))


def wrong_stacked(sigma, sigma_data, sigma_min):
    """Three entries: EDM's c_in comes along."""
    sigma = torch.as_tensor(sigma)
    return (*_pair(sigma, sigma_data, sigma_min), 1 / (sigma**2 + sigma_data**2).sqrt())


def wrong_in_place(sigma, sigma_data, sigma_min):
    """Subtracts sigma_min from the caller's sigma."""
    if isinstance(sigma, torch.Tensor):
        pair = _pair(sigma, sigma_data, sigma_min)
        sigma.data.sub_(sigma_min)
        return pair
    return _pair(sigma, sigma_data, sigma_min)


def right_plain(sigma, sigma_data, sigma_min):
    """The formula as it stands; a number stays a number."""
    c_skip = sigma_data**2 / ((sigma - sigma_min) ** 2 + sigma_data**2)
    c_out = sigma_data * (sigma - sigma_min) / (sigma_data**2 + sigma**2) ** 0.5
    return c_skip, c_out


def right_by_ratios(sigma, sigma_data, sigma_min):
    """In units of sigma_data, with hypot."""
    sigma = torch.as_tensor(sigma)
    above = (sigma - sigma_min) / sigma_data
    return [1 / (1 + above**2), sigma_data * above / torch.hypot(torch.ones_like(sigma), sigma / sigma_data)]


def right_by_cases(sigma, sigma_data, sigma_min):
    """Numbers by the math module, tensors by torch."""
    if isinstance(sigma, torch.Tensor):
        data = torch.full_like(sigma, sigma_data)
        above = sigma - sigma_min
        return data.square() / (above.square() + data.square()), data * above * (sigma.square() + data.square()).rsqrt()
    above = sigma - sigma_min
    return (sigma_data / math.hypot(above, sigma_data)) ** 2, sigma_data * above / math.hypot(sigma, sigma_data)
