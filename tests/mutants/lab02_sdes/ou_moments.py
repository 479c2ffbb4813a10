"""Answers to `ou_moments`."""

import math

import torch


def _tensors(*args):
    """All as tensors of the dtype of the first tensor among them (float64 if there is none)."""
    first = next((a for a in args if isinstance(a, torch.Tensor)), torch.zeros((), dtype=torch.float64))
    return [torch.as_tensor(a, dtype=first.dtype, device=first.device) for a in args]


def wrong_stationary_variance(m0, v0, t, theta, sigma):
    """sigma^2/theta for sigma^2/(2 theta)."""
    m0, v0, t, theta, sigma = _tensors(m0, v0, t, theta, sigma)
    decay = torch.exp(-theta * t)
    return decay * m0, decay**2 * v0 + sigma**2 / theta * (1 - decay**2)


def wrong_sigma_not_squared(m0, v0, t, theta, sigma):
    """sigma/(2 theta)."""
    m0, v0, t, theta, sigma = _tensors(m0, v0, t, theta, sigma)
    decay = torch.exp(-theta * t)
    return decay * m0, decay**2 * v0 + sigma / (2 * theta) * (1 - decay**2)


def wrong_slow_variance(m0, v0, t, theta, sigma):
    """v0 decays like the mean."""
    m0, v0, t, theta, sigma = _tensors(m0, v0, t, theta, sigma)
    decay = torch.exp(-theta * t)
    return decay * m0, decay * v0 + sigma**2 / (2 * theta) * (1 - decay**2)


def wrong_slow_everything(m0, v0, t, theta, sigma):
    """exp(-theta t) in both parts of the variance."""
    m0, v0, t, theta, sigma = _tensors(m0, v0, t, theta, sigma)
    decay = torch.exp(-theta * t)
    return decay * m0, decay * v0 + sigma**2 / (2 * theta) * (1 - decay)


def wrong_standard_deviation(m0, v0, t, theta, sigma):
    """The standard deviation in place of the variance."""
    m0, v0, t, theta, sigma = _tensors(m0, v0, t, theta, sigma)
    decay = torch.exp(-theta * t)
    return decay * m0, (decay**2 * v0 + sigma**2 / (2 * theta) * (1 - decay**2)).sqrt()


def wrong_v0_is_a_deviation(m0, v0, t, theta, sigma):
    """v0 squared."""
    m0, v0, t, theta, sigma = _tensors(m0, v0, t, theta, sigma)
    decay = torch.exp(-theta * t)
    return decay * m0, decay**2 * v0**2 + sigma**2 / (2 * theta) * (1 - decay**2)


def wrong_without_v0(m0, v0, t, theta, sigma):
    """A fixed start."""
    m0, v0, t, theta, sigma = _tensors(m0, v0, t, theta, sigma)
    decay = torch.exp(-theta * t)
    return decay * m0, sigma**2 / (2 * theta) * (1 - decay**2) + 0 * v0


def wrong_stationary_at_once(m0, v0, t, theta, sigma):
    """The stationary variance at all times."""
    m0, v0, t, theta, sigma = _tensors(m0, v0, t, theta, sigma)
    return torch.exp(-theta * t) * m0, sigma**2 / (2 * theta) + 0 * (v0 + t)


def wrong_fast_mean(m0, v0, t, theta, sigma):
    """The mean decays twice as fast."""
    m0, v0, t, theta, sigma = _tensors(m0, v0, t, theta, sigma)
    decay = torch.exp(-2 * theta * t)
    return decay * m0, decay * v0 + sigma**2 / (2 * theta) * (1 - decay)


def wrong_one_euler_step(m0, v0, t, theta, sigma):
    """One step of size t."""
    m0, v0, t, theta, sigma = _tensors(m0, v0, t, theta, sigma)
    return (1 - theta * t) * m0, (1 - theta * t) ** 2 * v0 + sigma**2 * t


def wrong_scalars_only(m0, v0, t, theta, sigma):
    """math.exp: tensors of one entry only."""
    decay = math.exp(torch.as_tensor(-theta * t).detach())
    return decay * m0, decay**2 * v0 + sigma**2 / (2 * theta) * (1 - decay**2)


def wrong_tensors_only(m0, v0, t, theta, sigma):
    """torch.exp of what may be a number."""
    decay = torch.exp(-theta * t)
    return decay * m0, decay**2 * v0 + sigma**2 / (2 * theta) * (1 - decay**2)


def wrong_float64(m0, v0, t, theta, sigma):
    """Everything in float64."""
    m0, v0, t, theta, sigma = (torch.as_tensor(a, dtype=torch.float64) for a in (m0, v0, t, theta, sigma))
    decay = torch.exp(-theta * t)
    return decay * m0, decay**2 * v0 + sigma**2 / (2 * theta) * (1 - decay**2)


def wrong_cut_off(m0, v0, t, theta, sigma):
    """Copies by torch.tensor: no gradients."""
    m0, v0, t, theta, sigma = (a.detach() for a in _tensors(m0, v0, t, theta, sigma))
    decay = torch.exp(-theta * t)
    return decay * m0, decay**2 * v0 + sigma**2 / (2 * theta) * (1 - decay**2)


def wrong_drift_outwards(m0, v0, t, theta, sigma):
    """The sign of theta."""
    m0, v0, t, theta, sigma = _tensors(m0, v0, t, theta, sigma)
    grow = torch.exp(theta * t)
    return grow * m0, grow**2 * v0 + sigma**2 / (2 * theta) * (grow**2 - 1)


def wrong_zero_start_divides(m0, v0, t, theta, sigma):
    """The decay read off a ratio with v0: NaN for a fixed start."""
    m0, v0, t, theta, sigma = _tensors(m0, v0, t, theta, sigma)
    decay = torch.exp(-theta * t)
    stationary = sigma**2 / (2 * theta)
    return decay * m0, v0 * (decay**2 + stationary * (1 - decay**2) / v0)


def wrong_in_place(m0, v0, t, theta, sigma):
    """Multiplies the decay into the arguments."""
    args = _tensors(m0, v0, t, theta, sigma)
    m0, v0, t, theta, sigma = args
    decay = torch.exp(-theta * t)
    m0.data, v0.data = m0.data * decay, v0.data * decay**2
    return m0, v0 + sigma**2 / (2 * theta) * (1 - decay**2)


def right_expm1(m0, v0, t, theta, sigma):
    """With expm1, which is exact for short times."""
    m0, v0, t, theta, sigma = _tensors(m0, v0, t, theta, sigma)
    loss = -torch.expm1(-2 * theta * t)
    return m0 * torch.exp(-theta * t), v0 + loss * (sigma.square() / (2 * theta) - v0)


def right_powers_of_e(m0, v0, t, theta, sigma):
    """Powers of the number e: works on numbers and tensors alike."""
    e = math.e
    stationary = sigma**2 / theta / 2
    return m0 * e ** (-theta * t), stationary + (v0 - stationary) * e ** (-2 * theta * t)
