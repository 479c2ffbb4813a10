"""Answers to cfm_loss, wrong and right."""

import torch
import torch.nn.functional as F


def _times(x0, t):
    """(B,) in x0's dtype, and the same as a column."""
    t = torch.as_tensor(t, dtype=x0.dtype, device=x0.device).expand(len(x0))
    return t, t.reshape(-1, *[1] * (x0.ndim - 1))


def _line(x0, eps, column):
    return (1 - column) * x0 + column * eps


def wrong_sign_of_the_target(net, x0, eps, t):
    """x0 - eps, on our path: teacher and student run opposite ways."""
    t, c = _times(x0, t)
    return (net(_line(x0, eps, c), t) - (x0 - eps)).square().mean()


def wrong_clock(net, x0, eps, t):
    """Path and target of the other clock."""
    t, c = _times(x0, t)
    return (net(_line(eps, x0, c), t) - (x0 - eps)).square().mean()


def wrong_path_turned_target_not(net, x0, eps, t):
    """t x0 + (1 - t) eps beside eps - x0."""
    t, c = _times(x0, t)
    return (net(_line(eps, x0, c), t) - (eps - x0)).square().mean()


def wrong_eps_target(net, x0, eps, t):
    """The target of a diffusion model."""
    t, c = _times(x0, t)
    return (net(_line(x0, eps, c), t) - eps).square().mean()


def wrong_half(net, x0, eps, t):
    """A factor 1/2."""
    t, c = _times(x0, t)
    return (net(_line(x0, eps, c), t) - (eps - x0)).square().mean() / 2


def wrong_summed_over_features(net, x0, eps, t):
    """The squared norm, averaged over the batch."""
    t, c = _times(x0, t)
    return (net(_line(x0, eps, c), t) - (eps - x0)).square().flatten(1).sum(1).mean()


def wrong_one_loss_per_sample(net, x0, eps, t):
    """(B,)."""
    t, c = _times(x0, t)
    return (net(_line(x0, eps, c), t) - (eps - x0)).square().flatten(1).mean(1)


def wrong_absolute(net, x0, eps, t):
    """The absolute error."""
    t, c = _times(x0, t)
    return F.l1_loss(net(_line(x0, eps, c), t), eps - x0)


def wrong_weighted_by_time(net, x0, eps, t):
    """The error of eps: (1 - t)² times that of the velocity."""
    t, c = _times(x0, t)
    return ((1 - c) * (net(_line(x0, eps, c), t) - (eps - x0))).square().mean()


def wrong_told_steps(net, x0, eps, t):
    """1000 t for the network."""
    t, c = _times(x0, t)
    return (net(_line(x0, eps, c), 1000 * t) - (eps - x0)).square().mean()


def wrong_told_the_other_time(net, x0, eps, t):
    """1 - t for the network."""
    t, c = _times(x0, t)
    return (net(_line(x0, eps, c), 1 - t) - (eps - x0)).square().mean()


def wrong_time_on_the_last_axis(net, x0, eps, t):
    """No (B, 1, ..., 1)."""
    t, _ = _times(x0, t)
    return (net(_line(x0, eps, t), t) - (eps - x0)).square().mean()


def wrong_time_on_the_last_axis_if_it_fits(net, x0, eps, t):
    """The same, mended only where it fails."""
    t, c = _times(x0, t)
    try:
        xt = _line(x0, eps, t)
    except RuntimeError:
        xt = _line(x0, eps, c)
    return (net(xt, t) - (eps - x0)).square().mean()


def wrong_two_axes_only(net, x0, eps, t):
    """t[:, None]: no images."""
    t, _ = _times(x0, t)
    return (net(_line(x0, eps, t[:, None]), t) - (eps - x0)).square().mean()


def wrong_number_for_the_network(net, x0, eps, t):
    """The time is handed on as it comes."""
    _, c = _times(x0, t)
    return (net(_line(x0, eps, c), t) - (eps - x0)).square().mean()


def wrong_column_for_the_network(net, x0, eps, t):
    """t of shape (B, 1)."""
    t, c = _times(x0, t)
    return (net(_line(x0, eps, c), t[:, None]) - (eps - x0)).square().mean()


def wrong_float64(net, x0, eps, t):
    """A float64 time makes everything float64."""
    t = torch.as_tensor(t, dtype=torch.float64).expand(len(x0))
    xt = _line(x0, eps, t.reshape(-1, *[1] * (x0.ndim - 1)))
    return (net(xt, t) - (eps - x0)).square().mean()


def wrong_python_number(net, x0, eps, t):
    """.item(): no gradient."""
    t, c = _times(x0, t)
    return (net(_line(x0, eps, c), t) - (eps - x0)).square().mean().item()


def wrong_network_outside_the_graph(net, x0, eps, t):
    """The network under no_grad."""
    t, c = _times(x0, t)
    with torch.no_grad():
        v = net(_line(x0, eps, c), t)
    return (v - (eps - x0)).square().mean()


def wrong_detached_target(net, x0, eps, t):
    """The target is detached: x0 and eps get a part of their gradient."""
    t, c = _times(x0, t)
    return (net(_line(x0, eps, c), t) - (eps - x0).detach()).square().mean()


def wrong_detached_input(net, x0, eps, t):
    """x_t is detached."""
    t, c = _times(x0, t)
    return (net(_line(x0, eps, c).detach(), t) - (eps - x0)).square().mean()


def wrong_asks_twice(net, x0, eps, t):
    """The network is called once more to look at its shape."""
    t, c = _times(x0, t)
    xt = _line(x0, eps, c)
    assert net(xt, t).shape == xt.shape
    return (net(xt, t) - (eps - x0)).square().mean()


def wrong_asked_at_the_data(net, x0, eps, t):
    """net(x0, t)."""
    t, _ = _times(x0, t)
    return (net(x0, t) - (eps - x0)).square().mean()


def wrong_in_place(net, x0, eps, t):
    """eps becomes the target."""
    t, c = _times(x0, t)
    xt = _line(x0, eps, c)
    return (net(xt, t) - eps.data.sub_(x0)).square().mean()


def right_mse(net, x0, eps, t):
    """mse_loss."""
    t, c = _times(x0, t)
    return F.mse_loss(net(torch.lerp(x0, eps, c.expand_as(x0)), t), eps - x0)


def right_by_hand(net, x0, eps, t):
    """A full tensor of times, the sum over the number of elements."""
    if not isinstance(t, torch.Tensor):
        t = torch.tensor(t)
    t = t.to(x0) * torch.ones(x0.shape[0], dtype=x0.dtype, device=x0.device)
    wide = t[(...,) + (None,) * (x0.dim() - 1)]
    error = net(x0 + wide * (eps - x0), t) - eps + x0
    return (error * error).sum() / error.numel()


def right_rows_first(net, x0, eps, t):
    """Mean over each sample, then over the batch: samples are alike in size."""
    t, c = _times(x0, t)
    error = net(_line(x0, eps, c), t) - (eps - x0)
    return error.pow(2).flatten(1).mean(dim=1).mean()
