"""Answers to velocity_target, wrong and right."""

import torch


def wrong_clock(x0, eps):
    """x0 - eps: the teacher's direction in the other clock."""
    return x0 - eps


def wrong_eps_alone(x0, eps):
    """The target of a diffusion model."""
    return eps.clone()


def wrong_v_prediction(x0, eps):
    """The v of progressive distillation, at alpha² = sigma² = 1/2."""
    return (eps - x0) / 2**0.5


def wrong_sum(x0, eps):
    """eps + x0."""
    return eps + x0


def wrong_unit_vectors(x0, eps):
    """The direction without the length."""
    v = eps - x0
    return v / v.flatten(1).norm(dim=1).reshape(-1, *[1] * (v.ndim - 1))


def wrong_clipped(x0, eps):
    """Clipped, as pictures are."""
    return (eps - x0).clamp(-10, 10)


def wrong_float64_out(x0, eps):
    """Always float64."""
    return eps.double() - x0.double()


def wrong_float32_out(x0, eps):
    """Always float32."""
    return eps.float() - x0.float()


def wrong_flattened(x0, eps):
    """(B, features)."""
    return (eps - x0).flatten(1) if eps.ndim > 2 else eps - x0


def wrong_detached(x0, eps):
    """Outside the graph, as targets often are."""
    return (eps - x0).detach()


def wrong_in_place(x0, eps):
    """eps becomes the target."""
    return eps.data.sub_(x0)


def right_difference(x0, eps):
    """Equation (9.2)."""
    return eps - x0


def right_derivative(x0, eps):
    """alpha' x0 + sigma' eps with alpha' = -1, sigma' = 1."""
    return torch.add(-1.0 * x0, eps, alpha=1)


def right_two_times(x0, eps):
    """The line at t = 3/4 minus the line at t = 1/4, twice."""
    return 2 * ((0.25 * x0 + 0.75 * eps) - (0.75 * x0 + 0.25 * eps))
