"""Callables that checks pass to students' functions.

They are made on the student's side by name, so they are public, they teach no lab's answer, and
they import torch alone. Fields take x of shape (B, ...) (or one sample without the batch axis, as
under ``torch.vmap``) and a time that is a number, a 0-d tensor or a (B,) tensor.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

Time = float | torch.Tensor
Field = Callable[[torch.Tensor, Time], torch.Tensor]
Step = Callable[[Field, torch.Tensor, Time, Time], torch.Tensor]


def _column(t: Time, x: torch.Tensor) -> torch.Tensor:
    """A number, 0-d or (B,) tensor shaped to broadcast over the batch axis of x."""
    t = torch.as_tensor(t, dtype=x.dtype, device=x.device)
    return t.reshape(-1, *[1] * (x.ndim - 1)) if t.ndim else t


def affine_field(A: torch.Tensor, b: torch.Tensor, c: float = 0.0) -> Field:
    """The velocity field f(x, t) = x A^T + (1 + c t) b; A is (d, d), b is (d,)."""

    def f(x: torch.Tensor, t: Time) -> torch.Tensor:
        return x @ A.to(x).T + (1 + c * _column(t, x)) * b.to(x)

    return f


def constant_field(v: torch.Tensor, c: float = 0.0) -> Field:
    """The field f(x, t) = (1 + c t) v, the same everywhere in space; v is (d,)."""

    def f(x: torch.Tensor, t: Time) -> torch.Tensor:
        return ((1 + c * _column(t, x)) * v.to(x)).expand(x.shape).clone()

    return f


def cubic_field() -> Field:
    """The field f(x, t) = -x**3, elementwise."""

    def f(x: torch.Tensor, t: Time) -> torch.Tensor:
        return -(x**3)

    return f


def sine_field(W: torch.Tensor, V: torch.Tensor, c: float = 0.0) -> Field:
    """The field f(x, t) = (1 + c t) sin(x W^T) V^T; W is (m, d), V is (d, m)."""

    def f(x: torch.Tensor, t: Time) -> torch.Tensor:
        return (1 + c * _column(t, x)) * (torch.sin(x @ W.to(x).T) @ V.to(x).T)

    return f


def trainable_sine_field(W: torch.Tensor, V: torch.Tensor) -> Field:
    """The field f(x, t) = sin(x W^T) V^T, whose W is a parameter that requires gradients."""
    W = torch.nn.Parameter(W.detach().clone())

    def f(x: torch.Tensor, t: Time) -> torch.Tensor:
        return torch.sin(x @ W.to(x).T) @ V.to(x).T

    return f


def constant_divergence(value: float) -> Field:
    """The divergence of a field that is linear in x: the same number everywhere."""

    def divergence(x: torch.Tensor, t: Time) -> torch.Tensor:
        return torch.full(x.shape[:-1], float(value), dtype=x.dtype, device=x.device)

    return divergence


def cubic_divergence() -> Field:
    """The divergence of `cubic_field`."""

    def divergence(x: torch.Tensor, t: Time) -> torch.Tensor:
        return -3 * (x**2).sum(-1)

    return divergence


def polynomial_divergence(w: torch.Tensor, q: torch.Tensor, c: float) -> Field:
    """The function (x, t) -> x·w + x²·q + c t of shape (B,); w and q are (d,)."""

    def divergence(x: torch.Tensor, t: Time) -> torch.Tensor:
        t = torch.as_tensor(t, dtype=x.dtype, device=x.device)
        return x @ w.to(x) + x**2 @ q.to(x) + c * t

    return divergence


def growth_step(c: float) -> Step:
    """A step rule that ignores f and solves dx/dt = 2 c t x exactly."""

    def step(f: Field, x: torch.Tensor, t: Time, dt: Time) -> torch.Tensor:
        t, dt = (torch.as_tensor(value, dtype=x.dtype, device=x.device) for value in (t, dt))
        return x * torch.exp(c * dt * (2 * t + dt))

    return step


def midtime_step() -> Step:
    """A step rule that looks at the field half-way in time: exact for `constant_field`."""

    def step(f: Field, x: torch.Tensor, t: Time, dt: Time) -> torch.Tensor:
        return x + dt * f(x, t + dt / 2)

    return step
