"""Answers to consistency_distillation_loss, wrong and right."""

import torch
from torch.nn import functional as F


def _levels(x0, *levels):
    """Each level as (B,) in x0's dtype, and as a column."""
    rows = [torch.as_tensor(level, dtype=x0.dtype, device=x0.device).expand(len(x0)) for level in levels]
    return rows, [row.reshape(-1, *[1] * (x0.ndim - 1)) for row in rows]


def _ends(denoise, x0, eps, sigma_hi, sigma_lo):
    """x_hi, x_lo, and both levels as (B,)."""
    (hi, lo), (high, low) = _levels(x0, sigma_hi, sigma_lo)
    x = x0 + high * eps
    with torch.no_grad():
        x_lo = x + (low - high) * (x - denoise(x, hi)) / high
    return x, x_lo, hi, lo


def wrong_gradient_to_the_target(f, f_ema, denoise, x0, eps, sigma_hi, sigma_lo):
    """f_ema gets a gradient."""
    x, x_lo, hi, lo = _ends(denoise, x0, eps, sigma_hi, sigma_lo)
    return (f(x, hi) - f_ema(x_lo, lo)).square().mean()


def wrong_gradient_to_the_teacher(f, f_ema, denoise, x0, eps, sigma_hi, sigma_lo):
    """denoise gets a gradient, through f_ema's input."""
    (hi, lo), (high, low) = _levels(x0, sigma_hi, sigma_lo)
    x = x0 + high * eps
    x_lo = x + (low - high) * (x - denoise(x, hi)) / high
    return (f(x, hi) - f_ema(x_lo, lo)).square().mean()


def wrong_no_gradient(f, f_ema, denoise, x0, eps, sigma_hi, sigma_lo):
    """All under no_grad."""
    x, x_lo, hi, lo = _ends(denoise, x0, eps, sigma_hi, sigma_lo)
    with torch.no_grad():
        return (f(x, hi) - f_ema(x_lo, lo)).square().mean()


def wrong_f_ema_frozen(f, f_ema, denoise, x0, eps, sigma_hi, sigma_lo):
    """f_ema is frozen for good, and f with it where they are the same."""
    if isinstance(f_ema, torch.nn.Module):
        f_ema.requires_grad_(False)
    x, x_lo, hi, lo = _ends(denoise, x0, eps, sigma_hi, sigma_lo)
    return (f(x, hi) - f_ema(x_lo, lo).detach()).square().mean()


def wrong_student_is_the_target(f, f_ema, denoise, x0, eps, sigma_hi, sigma_lo):
    """f_ema is asked at sigma_hi, f is the target."""
    x, x_lo, hi, lo = _ends(denoise, x0, eps, sigma_hi, sigma_lo)
    with torch.no_grad():
        target = f(x_lo, lo)
    return (f_ema(x, hi) - target).square().mean()


def wrong_detached_student(f, f_ema, denoise, x0, eps, sigma_hi, sigma_lo):
    """f at sigma_hi is the constant, f at sigma_lo learns: information runs from noise to data."""
    x, x_lo, hi, lo = _ends(denoise, x0, eps, sigma_hi, sigma_lo)
    with torch.no_grad():
        target = f_ema(x, hi)
    return (f(x_lo, lo) - target).square().mean()


def wrong_student_both_times(f, f_ema, denoise, x0, eps, sigma_hi, sigma_lo):
    """f_ema is not used."""
    x, x_lo, hi, lo = _ends(denoise, x0, eps, sigma_hi, sigma_lo)
    with torch.no_grad():
        target = f(x_lo, lo)
    return (f(x, hi) - target).square().mean()


def wrong_without_teacher(f, f_ema, denoise, x0, eps, sigma_hi, sigma_lo):
    """Consistency training: x_lo = x0 + sigma_lo eps."""
    x, _, hi, lo = _ends(denoise, x0, eps, sigma_hi, sigma_lo)
    with torch.no_grad():
        target = f_ema(x0 + _levels(x0, lo)[1][0] * eps, lo)
    return (f(x, hi) - target).square().mean()


def wrong_levels_exchanged(f, f_ema, denoise, x0, eps, sigma_hi, sigma_lo):
    """f is told sigma_lo, f_ema sigma_hi."""
    x, x_lo, hi, lo = _ends(denoise, x0, eps, sigma_hi, sigma_lo)
    with torch.no_grad():
        target = f_ema(x_lo, hi)
    return (f(x, lo) - target).square().mean()


def wrong_target_told_sigma_hi(f, f_ema, denoise, x0, eps, sigma_hi, sigma_lo):
    """f_ema is told sigma_hi."""
    x, x_lo, hi, _ = _ends(denoise, x0, eps, sigma_hi, sigma_lo)
    with torch.no_grad():
        target = f_ema(x_lo, hi)
    return (f(x, hi) - target).square().mean()


def wrong_sign_of_the_step(f, f_ema, denoise, x0, eps, sigma_hi, sigma_lo):
    """The step goes up in noise."""
    x, x_lo, hi, lo = _ends(denoise, x0, eps, sigma_hi, sigma_lo)
    with torch.no_grad():
        target = f_ema(2 * x - x_lo, lo)
    return (f(x, hi) - target).square().mean()


def wrong_slope_over_sigma_lo(f, f_ema, denoise, x0, eps, sigma_hi, sigma_lo):
    """(x - D)/sigma_lo."""
    (hi, lo), (high, low) = _levels(x0, sigma_hi, sigma_lo)
    x = x0 + high * eps
    with torch.no_grad():
        target = f_ema(x + (low - high) * (x - denoise(x, hi)) / low, lo)
    return (f(x, hi) - target).square().mean()


def wrong_step_to_the_data(f, f_ema, denoise, x0, eps, sigma_hi, sigma_lo):
    """f_ema is shown the denoiser's answer."""
    (hi, lo), (high, _) = _levels(x0, sigma_hi, sigma_lo)
    x = x0 + high * eps
    with torch.no_grad():
        target = f_ema(denoise(x, hi), lo)
    return (f(x, hi) - target).square().mean()


def wrong_denoiser_is_the_target(f, f_ema, denoise, x0, eps, sigma_hi, sigma_lo):
    """f learns E[x0 | x]."""
    (hi, _), (high, _) = _levels(x0, sigma_hi, sigma_lo)
    x = x0 + high * eps
    with torch.no_grad():
        target = denoise(x, hi)
    return (f(x, hi) - target).square().mean()


def wrong_data_is_the_target(f, f_ema, denoise, x0, eps, sigma_hi, sigma_lo):
    """f learns x0."""
    (hi, _), (high, _) = _levels(x0, sigma_hi, sigma_lo)
    return (f(x0 + high * eps, hi) - x0).square().mean()


def wrong_denoiser_told_sigma_lo(f, f_ema, denoise, x0, eps, sigma_hi, sigma_lo):
    """denoise(x_hi, sigma_lo)."""
    (hi, lo), (high, low) = _levels(x0, sigma_hi, sigma_lo)
    x = x0 + high * eps
    with torch.no_grad():
        target = f_ema(x + (low - high) * (x - denoise(x, lo)) / high, lo)
    return (f(x, hi) - target).square().mean()


def wrong_heun(f, f_ema, denoise, x0, eps, sigma_hi, sigma_lo):
    """Heun's step, as in the paper's experiments; two calls of denoise."""
    x, x_lo, hi, lo = _ends(denoise, x0, eps, sigma_hi, sigma_lo)
    _, (high, low) = _levels(x0, sigma_hi, sigma_lo)
    with torch.no_grad():
        slope = ((x - x_lo) / (high - low) + (x_lo - denoise(x_lo, lo)) / low) / 2
        target = f_ema(x + (low - high) * slope, lo)
    return (f(x, hi) - target).square().mean()


def wrong_straight_path(f, f_ema, denoise, x0, eps, sigma_hi, sigma_lo):
    """x at sigma_hi is (1 - sigma_hi) x0 + sigma_hi eps."""
    (_, _), (high, _) = _levels(x0, sigma_hi, sigma_lo)
    x, x_lo, hi, lo = _ends(denoise, (1 - high) * x0, eps, sigma_hi, sigma_lo)
    with torch.no_grad():
        target = f_ema(x_lo, lo)
    return (f(x, hi) - target).square().mean()


def wrong_half(f, f_ema, denoise, x0, eps, sigma_hi, sigma_lo):
    """A factor 1/2."""
    x, x_lo, hi, lo = _ends(denoise, x0, eps, sigma_hi, sigma_lo)
    with torch.no_grad():
        target = f_ema(x_lo, lo)
    return (f(x, hi) - target).square().mean() / 2


def wrong_sum_over_features(f, f_ema, denoise, x0, eps, sigma_hi, sigma_lo):
    """The squared norm, averaged over the batch."""
    x, x_lo, hi, lo = _ends(denoise, x0, eps, sigma_hi, sigma_lo)
    with torch.no_grad():
        target = f_ema(x_lo, lo)
    return (f(x, hi) - target).square().flatten(1).sum(1).mean()


def wrong_weight(f, f_ema, denoise, x0, eps, sigma_hi, sigma_lo):
    """iCT's weight 1/(sigma_hi - sigma_lo)."""
    x, x_lo, hi, lo = _ends(denoise, x0, eps, sigma_hi, sigma_lo)
    with torch.no_grad():
        target = f_ema(x_lo, lo)
    weight = 1 / (_levels(x0, hi)[1][0] - _levels(x0, lo)[1][0])
    return (weight * (f(x, hi) - target).square()).mean()


def wrong_huber(f, f_ema, denoise, x0, eps, sigma_hi, sigma_lo):
    """A robust distance for the square."""
    x, x_lo, hi, lo = _ends(denoise, x0, eps, sigma_hi, sigma_lo)
    with torch.no_grad():
        target = f_ema(x_lo, lo)
    return F.smooth_l1_loss(f(x, hi), target)


def wrong_fresh_noise(f, f_ema, denoise, x0, eps, sigma_hi, sigma_lo):
    """New noise at sigma_lo: the two points lie on different trajectories."""
    x, _, hi, lo = _ends(denoise, x0, eps, sigma_hi, sigma_lo)
    with torch.no_grad():
        target = f_ema(x0 + _levels(x0, lo)[1][0] * torch.randn_like(eps), lo)
    return (f(x, hi) - target).square().mean()


def wrong_one_loss_per_sample(f, f_ema, denoise, x0, eps, sigma_hi, sigma_lo):
    """(B,)."""
    x, x_lo, hi, lo = _ends(denoise, x0, eps, sigma_hi, sigma_lo)
    with torch.no_grad():
        target = f_ema(x_lo, lo)
    return (f(x, hi) - target).square().flatten(1).mean(1)


def wrong_points_only(f, f_ema, denoise, x0, eps, sigma_hi, sigma_lo):
    """Levels of shape (B, 1) beside images."""
    (hi, lo), _ = _levels(x0, sigma_hi, sigma_lo)
    x = x0 + hi[:, None] * eps
    with torch.no_grad():
        target = f_ema(x + (lo - hi)[:, None] * (x - denoise(x, hi)) / hi[:, None], lo)
    return (f(x, hi) - target).square().mean()


def wrong_numbers_told(f, f_ema, denoise, x0, eps, sigma_hi, sigma_lo):
    """The functions get the levels as they came."""
    _, (high, low) = _levels(x0, sigma_hi, sigma_lo)
    x = x0 + high * eps
    with torch.no_grad():
        target = f_ema(x + (low - high) * (x - denoise(x, sigma_hi)) / high, sigma_lo)
    return (f(x, sigma_hi) - target).square().mean()


def wrong_float64(f, f_ema, denoise, x0, eps, sigma_hi, sigma_lo):
    """A float64 loss."""
    x, x_lo, hi, lo = _ends(denoise, x0.double(), eps.double(), sigma_hi, sigma_lo)
    with torch.no_grad():
        target = f_ema(x_lo, lo)
    return (f(x, hi) - target).square().mean()


def wrong_in_place(f, f_ema, denoise, x0, eps, sigma_hi, sigma_lo):
    """Adds the noise to the caller's x0."""
    x, x_lo, hi, lo = _ends(denoise, x0.clone(), eps, sigma_hi, sigma_lo)
    x0.data.copy_(x)
    with torch.no_grad():
        target = f_ema(x_lo, lo)
    return (f(x, hi) - target).square().mean()


def right_detached(f, f_ema, denoise, x0, eps, sigma_hi, sigma_lo):
    """Target computed with a graph and detached; torch's own mean squared error."""
    shape = (-1,) + (1,) * (x0.ndim - 1)
    hi = torch.as_tensor(sigma_hi).to(x0).expand(x0.shape[0])
    lo = torch.as_tensor(sigma_lo).to(x0).expand(x0.shape[0])
    noisy = torch.addcmul(x0, hi.reshape(shape), eps)
    slope = (noisy - denoise(noisy, hi)) / hi.reshape(shape)
    target = f_ema(noisy + slope * (lo - hi).reshape(shape), lo)
    return F.mse_loss(f(noisy, hi), target.detach())


@torch.enable_grad()
def right_line(f, f_ema, denoise, x0, eps, sigma_hi, sigma_lo):
    """The point at sigma_lo as a mixture of x and the denoiser's answer."""
    (hi, lo), (high, low) = _levels(x0, sigma_hi, sigma_lo)
    x = x0 + high * eps
    with torch.no_grad():
        D = denoise(x, hi)
        target = f_ema(D + low / high * (x - D), lo)
    difference = f(x, hi) - target
    return (difference * difference).sum() / difference.numel()


def right_constant_input(f, f_ema, denoise, x0, eps, sigma_hi, sigma_lo):
    """Everything but f itself under no_grad."""
    with torch.no_grad():
        x, x_lo, hi, lo = _ends(denoise, x0, eps, sigma_hi, sigma_lo)
        target = f_ema(x_lo, lo)
    return F.mse_loss(f(x, hi), target, reduction="mean")
