"""Ordinary differential equations dx/dt = f(x, t): steps, trajectories, and what a flow does to a density.

Everywhere f(x, t) returns a tensor like x, x is (B, ...) with the batch first, and f treats each sample on
its own.
Steps may go backwards (dt < 0). All functions are differentiable in x and in whatever f contains.

Derived in the book: chapter 1, equations (1.7) and (1.9) for the steps, (1.17) and (1.20) for the density.
"""

from collections.abc import Callable, Sequence

import torch

Time = float | torch.Tensor  # a number, or a tensor that f understands
Field = Callable[[torch.Tensor, Time], torch.Tensor]  # f(x, t), like x
Divergence = Callable[[torch.Tensor, Time], torch.Tensor]  # div f(x, t), (B,)
Step = Callable[[Field, torch.Tensor, Time, Time], torch.Tensor]  # step(f, x, t, dt), like x


def euler_step(f: Field, x: torch.Tensor, t: Time, dt: Time) -> torch.Tensor:
    """x + dt f(x, t): global error O(dt). One call of f. Returns a tensor like x.

    Source: Hairer, Norsett and Wanner, "Solving Ordinary Differential Equations I", 1993, section II.1.
    """
    return x + dt * f(x, t)


def heun_step(f: Field, x: torch.Tensor, t: Time, dt: Time) -> torch.Tensor:
    """The trapezoidal rule with Euler's guess of the end point: global error O(dt^2). Two calls of f.

    Source: Hairer, Norsett and Wanner, 1993, section II.1; algorithm 1 of Karras et al. (2022) in a
    diffusion's terms.
    """
    start = f(x, t)
    end = f(x + dt * start, t + dt)
    return x + dt * (start + end) / 2


def rk4_step(f: Field, x: torch.Tensor, t: Time, dt: Time) -> torch.Tensor:
    """The classical Runge-Kutta step: global error O(dt^4). Four calls of f.

    Source: Hairer, Norsett and Wanner, 1993, section II.1, table 1.2.
    """
    k1 = f(x, t)
    k2 = f(x + dt / 2 * k1, t + dt / 2)
    k3 = f(x + dt / 2 * k2, t + dt / 2)
    k4 = f(x + dt * k3, t + dt)
    return x + dt * (k1 + 2 * k2 + 2 * k3 + k4) / 6


def _grid(ts: Sequence[float] | torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """ts as a 1-D tensor on x's device; ValueError otherwise."""
    dtype = ts.dtype if isinstance(ts, torch.Tensor) and ts.is_floating_point() else x.dtype
    ts = torch.as_tensor(ts, device=x.device, dtype=dtype)
    if ts.ndim != 1 or len(ts) == 0:
        raise ValueError(f"ts has shape {tuple(ts.shape)}; expected a 1-D sequence of at least one time")
    return ts


def integrate(f: Field, x: torch.Tensor, ts: Sequence[float] | torch.Tensor, step: Step) -> torch.Tensor:
    """Follow dx/dt = f(x, t) from x at ts[0] through the times ts, one `step` for each interval.

    x: (B, ...). ts: (n,), increasing or decreasing, not necessarily uniform. step: euler_step, heun_step,
    rk4_step.
    Returns (n, B, ...), whose first row is x. Raises ValueError unless ts is 1-D and not empty.
    """
    ts = _grid(ts, x)
    rows = [x]
    for t, s in zip(ts[:-1], ts[1:], strict=True):
        rows.append(step(f, rows[-1], t, s - t))
    return torch.stack(rows)


def integrate_log_density(
    f: Field, divergence: Divergence, x: torch.Tensor, ts: Sequence[float] | torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Carry samples and their log-density along the flow: d log p(x_t) / dt = -div f(x_t, t).

    One Heun step for each interval on the joint system (x, log p). divergence(x, t) returns (B,); for an
    exact one, pass ``lambda x, t: odes.divergence(f, x, t)``. x: (B, ...). ts: (n,), in either direction.
    Returns (x_end, delta_logp), like x and (B,), with delta_logp = log p_end(x_end) - log p_start(x).
    Raises ValueError unless ts is 1-D and not empty and the divergence is (B,).
    Source: Chen et al., "Neural Ordinary Differential Equations", 2018, theorem 1.
    """
    ts = _grid(ts, x)
    delta = x.new_zeros(len(x))
    for t, s in zip(ts[:-1], ts[1:], strict=True):
        dt = s - t
        start, start_div = f(x, t), divergence(x, t)
        if start_div.shape != delta.shape:
            raise ValueError(
                f"divergence returned shape {tuple(start_div.shape)}; expected one number for each "
                f"sample, {tuple(delta.shape)}"
            )
        guess = x + dt * start
        end, end_div = f(guess, s), divergence(guess, s)
        x = x + dt * (start + end) / 2
        delta = delta - dt * (start_div + end_div) / 2
    return x, delta


def _evaluate(f: Field, x: torch.Tensor, t: Time) -> tuple[torch.Tensor, torch.Tensor]:
    """(x, f(x, t)) with a graph between them, also under no_grad, and without touching the caller's x."""
    x = x if x.requires_grad else x.detach().requires_grad_()
    out = f(x, t)
    if out.shape != x.shape:
        raise ValueError(f"f returned shape {tuple(out.shape)}; expected x's, {tuple(x.shape)}")
    return x, out


def divergence(f: Field, x: torch.Tensor, t: Time) -> torch.Tensor:
    """Exact div f(x, t), the trace of each sample's Jacobian, by one backward pass for each dimension: (B,).

    x: (B, ...). Works under no_grad (the result then has no graph) and for constant f.
    Raises ValueError if f does not return x's shape.
    """
    keep = torch.is_grad_enabled()
    with torch.enable_grad():
        x, out = _evaluate(f, x, t)
        total = x.new_zeros(len(x))
        if not out.requires_grad:  # f is constant
            return total
        columns = out.flatten(1)
        for i in range(columns.shape[1]):
            (row,) = torch.autograd.grad(
                columns[:, i].sum(), x, retain_graph=True, create_graph=keep, materialize_grads=True
            )
            total = total + row.flatten(1)[:, i]
    return total


def hutchinson(f: Field, x: torch.Tensor, t: Time, probe: torch.Tensor) -> torch.Tensor:
    """The estimate v^T J v of div f(x, t), one backward pass whatever the dimension: (B,).

    probe: v, like x, of mean 0 and covariance I. With v = +-1 (Rademacher) the estimate is exact for a
    diagonal J.
    Raises ValueError if the shapes of probe, f(x, t) and x differ.
    Sources: Hutchinson, "A stochastic estimator of the trace of the influence matrix", 1989; Grathwohl et
    al., "FFJORD", 2019, equation (7).
    """
    if probe.shape != x.shape:
        raise ValueError(f"probe has shape {tuple(probe.shape)}; expected x's, {tuple(x.shape)}")
    keep = torch.is_grad_enabled()
    with torch.enable_grad():
        x, out = _evaluate(f, x, t)
        if not out.requires_grad:
            return x.new_zeros(len(x))
        (product,) = torch.autograd.grad((out * probe).sum(), x, create_graph=keep, materialize_grads=True)
        return (product * probe).flatten(1).sum(1)


def observed_order(errors: Sequence[float] | torch.Tensor, step_sizes: Sequence[float] | torch.Tensor) -> float:
    """The order of convergence: least-squares slope, with intercept, of log error on log step size. A float.

    errors, step_sizes: positive sequences or 1-D tensors of the same length >= 2; not all step sizes equal.
    Raises ValueError otherwise.
    """
    errors = torch.as_tensor(errors, dtype=torch.float64).detach().cpu()
    sizes = torch.as_tensor(step_sizes, dtype=torch.float64).detach().cpu()
    if errors.ndim != 1 or errors.shape != sizes.shape or len(errors) < 2:
        raise ValueError(
            f"errors and step_sizes have shapes {tuple(errors.shape)} and {tuple(sizes.shape)}; "
            "expected the same length, at least 2"
        )
    for name, values in (("errors", errors), ("step_sizes", sizes)):
        if not bool((values > 0).all()):
            raise ValueError(f"{name} contains {values.min().item():g}; expected positive numbers")
    h = sizes.log() - sizes.log().mean()
    if not bool(h.abs().max() > 0):
        raise ValueError(f"step_sizes are all {sizes[0].item():g}; a slope needs two different ones")
    return ((h * errors.log()).sum() / (h * h).sum()).item()
