"""Answers to `euler_maruyama_step`."""

import math

import torch


def wrong_second_normal(drift, diffusion, x, t, dt, noise):
    """The diffusion made random a second time: noise times a fresh normal, right in variance."""
    again = torch.randn(x.shape, dtype=x.dtype)
    return x + drift(x, t) * dt + diffusion(x, t) * again * abs(dt) ** 0.5 * noise


def wrong_draws_its_own(drift, diffusion, x, t, dt, noise):
    """torch.randn_like in place of the noise that was given: right in distribution."""
    return x + drift(x, t) * dt + diffusion(x, t) * abs(dt) ** 0.5 * torch.randn_like(x)


def wrong_root_of_negative(drift, diffusion, x, t, dt, noise):
    """sqrt(dt): NaN backwards in time."""
    dt = torch.as_tensor(dt, dtype=x.dtype)
    return x + drift(x, t) * dt + diffusion(x, t) * torch.sqrt(dt) * noise


def wrong_power_of_negative(drift, diffusion, x, t, dt, noise):
    """dt**0.5: complex backwards in time."""
    return x + drift(x, t) * dt + diffusion(x, t) * dt**0.5 * noise


def wrong_math_sqrt(drift, diffusion, x, t, dt, noise):
    """math.sqrt(dt): an error backwards in time."""
    return x + drift(x, t) * dt + diffusion(x, t) * math.sqrt(dt) * noise


def wrong_noise_turns_round(drift, diffusion, x, t, dt, noise):
    """The sign of dt in front of the noise too: right in distribution, but not the step that is asked for."""
    sign = 1 if dt > 0 else -1
    return x + drift(x, t) * dt + sign * diffusion(x, t) * abs(dt) ** 0.5 * noise


def wrong_through_float32(drift, diffusion, x, t, dt, noise):
    """The noise through float32: right to seven digits."""
    return x + drift(x, t) * dt + diffusion(x, t) * abs(dt) ** 0.5 * noise.float().to(x.dtype)


def wrong_negative_noise_clamped(drift, diffusion, x, t, dt, noise):
    """No noise backwards in time."""
    return x + drift(x, t) * dt + diffusion(x, t) * max(float(dt), 0.0) ** 0.5 * noise


def wrong_absolute_dt_in_the_drift(drift, diffusion, x, t, dt, noise):
    """|dt| in front of the drift too."""
    dt = abs(dt)
    return x + drift(x, t) * dt + diffusion(x, t) * dt**0.5 * noise


def wrong_variance(drift, diffusion, x, t, dt, noise):
    """dt where its root belongs: a variance for a standard deviation."""
    return x + drift(x, t) * dt + diffusion(x, t) * abs(dt) * noise


def wrong_squared_diffusion(drift, diffusion, x, t, dt, noise):
    """g squared, as if diffusion were the standard deviation of a variance."""
    return x + drift(x, t) * dt + diffusion(x, t) ** 2 * abs(dt) ** 0.5 * noise


def wrong_root_of_diffusion(drift, diffusion, x, t, dt, noise):
    """diffusion taken for g squared."""
    g = torch.as_tensor(diffusion(x, t), dtype=x.dtype)
    return x + drift(x, t) * dt + (g.abs() * abs(dt)) ** 0.5 * noise


def wrong_end_time(drift, diffusion, x, t, dt, noise):
    """Coefficients at t + dt."""
    return x + drift(x, t + dt) * dt + diffusion(x, t + dt) * abs(dt) ** 0.5 * noise


def wrong_diffusion_at_the_end_time(drift, diffusion, x, t, dt, noise):
    """The diffusion alone at t + dt."""
    return x + drift(x, t) * dt + diffusion(x, t + dt) * abs(dt) ** 0.5 * noise


def wrong_diffusion_after_the_drift(drift, diffusion, x, t, dt, noise):
    """The diffusion at the point to which the drift has moved."""
    x = x + drift(x, t) * dt
    return x + diffusion(x, t) * abs(dt) ** 0.5 * noise


def wrong_drift_after_the_noise(drift, diffusion, x, t, dt, noise):
    """The drift at the point to which the noise has moved."""
    x = x + diffusion(x, t) * abs(dt) ** 0.5 * noise
    return x + drift(x, t) * dt


def wrong_langevin_factor(drift, diffusion, x, t, dt, noise):
    """sqrt(2 dt)."""
    return x + drift(x, t) * dt + diffusion(x, t) * (2 * abs(dt)) ** 0.5 * noise


def wrong_one_time_for_all(drift, diffusion, x, t, dt, noise):
    """The first sample's time for the whole batch."""
    t = torch.as_tensor(t).reshape(-1)[0]
    return x + drift(x, t) * dt + diffusion(x, t) * abs(dt) ** 0.5 * noise


def wrong_diffusion_as_a_number(drift, diffusion, x, t, dt, noise):
    """One strength for all: the mean of the diffusion."""
    g = torch.as_tensor(diffusion(x, t), dtype=x.dtype).mean()
    return x + drift(x, t) * dt + g * abs(dt) ** 0.5 * noise


def wrong_strength_per_sample(drift, diffusion, x, t, dt, noise):
    """One strength for each sample, the first feature's."""
    g = torch.as_tensor(diffusion(x, t), dtype=x.dtype)
    g = g[..., :1] if g.ndim > 1 else g
    return x + drift(x, t) * dt + g * abs(dt) ** 0.5 * noise


def wrong_default_dtype(drift, diffusion, x, t, dt, noise):
    """Everything in float64."""
    x = x.double()
    return x + drift(x, t) * dt + diffusion(x, t) * abs(dt) ** 0.5 * noise.double()


def wrong_in_place(drift, diffusion, x, t, dt, noise):
    """Moves the argument."""
    move = drift(x, t) * dt + diffusion(x, t) * abs(dt) ** 0.5 * noise
    x.data += move.data
    return x


def wrong_without_a_graph(drift, diffusion, x, t, dt, noise):
    """Under no_grad."""
    with torch.no_grad():
        return x + drift(x, t) * dt + diffusion(x, t) * abs(dt) ** 0.5 * noise


def right_in_two_parts(drift, diffusion, x, t, dt, noise):
    """The increment of Brownian motion first, by math.sqrt."""
    increment = math.sqrt(abs(float(dt))) * noise
    return torch.add(x, drift(x, t), alpha=float(dt)) + increment * diffusion(x, t)


def right_by_tensors(drift, diffusion, x, t, dt, noise):
    """dt and the diffusion as tensors of x's dtype."""
    dt = torch.as_tensor(dt, dtype=x.dtype, device=x.device)
    g = torch.as_tensor(diffusion(x, t), dtype=x.dtype, device=x.device)
    mean, std = x + dt * drift(x, t), g * dt.abs().sqrt()
    return mean + std * noise
