"""Visible checks of lab 1: steps, integration, order of convergence, divergence, log-density."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from labcheck.answer import Answer, AnswerError
from labcheck.checks import Battery
from labcheck.expect import expect, expect_close, expect_type
from noise2data.checks.arguments import normal, number, uneven_grid
from noise2data.checks.expectations import two

lab = Battery(
    "lab01_flows",
    fixtures="noise2data.checks.fixtures",
    forbidden=["noise2data.odes"],
)

pair = partial(two, names="(x_end, delta_logp)")


# euler_step


@lab.check("euler_step")
def follows_a_constant_field(answer: Answer, rng: torch.Generator) -> None:
    """In a constant field one step moves every point by dt times the field."""
    x, v, dt = normal(rng, 5, 3), normal(rng, 3), number(rng, 0.1, 0.4)
    got = answer.euler_step(answer.fixture("constant_field", v=v), x, number(rng, 0, 1), dt)
    expect_type(got, torch.Tensor)
    if got.shape == x.shape:
        expect(
            not torch.allclose(got.double(), dt * v.expand(5, 3)), "the increment is right, but x has to be added to it"
        )
        expect(not torch.allclose(got.double(), x - dt * v), "it moves against the field: x + dt * f, for dt > 0")
    expect_close(got, x + dt * v, hint="x + dt * f(x, t)")


@lab.check("euler_step")
def is_linear_on_a_linear_field(answer: Answer, rng: torch.Generator) -> None:
    """For f(x, t) = A x one step multiplies x by I + dt A."""
    A, x, dt = normal(rng, 4, 4), normal(rng, 6, 4), number(rng, 0.05, 0.3)
    f = answer.fixture("affine_field", A=A, b=torch.zeros(4, dtype=torch.float64))
    step = torch.eye(4, dtype=torch.float64) + dt * A
    expect_close(answer.euler_step(f, x, 0.0, dt), x @ step.T, hint="evaluate f at x, and step by dt times it")


@lab.check("euler_step")
def looks_once_at_the_start(answer: Answer, rng: torch.Generator) -> None:
    """It calls f exactly once, at the time t at which the step starts."""
    x, v, t, dt = normal(rng, 4, 2), normal(rng, 2), number(rng, 0.2, 0.8), number(rng, 0.05, 0.2)
    f = answer.fixture("constant_field", v=v, c=3.0)
    got = answer.euler_step(f, x, t, dt)
    expect_close(got, x + dt * (1 + 3 * t) * v, hint="f is evaluated at the time t, where the step starts")
    expect(answer.calls(f) == 1, f"f is called {answer.calls(f)} times; Euler needs it exactly once")


# heun_step

TWO_SLOPES = "the mean of two slopes: the first at (x, t), the second at the Euler predictor and t + dt"


@lab.check("heun_step")
def is_second_order_on_a_linear_field(answer: Answer, rng: torch.Generator) -> None:
    """For f(x, t) = A x one step multiplies x by I + dt A + (dt A)²/2."""
    A, x, dt = normal(rng, 3, 3), normal(rng, 6, 3), number(rng, 0.1, 0.4)
    f = answer.fixture("affine_field", A=A, b=torch.zeros(3, dtype=torch.float64))
    got = answer.heun_step(f, x, 0.0, dt)
    eye = torch.eye(3, dtype=torch.float64)
    if isinstance(got, torch.Tensor) and got.shape == x.shape:
        expect(
            not torch.allclose(got.double(), x @ (eye + dt * A).T, rtol=1e-9, atol=1e-9),
            "this is an Euler step: the second slope is missing",
        )
    want = x @ (eye + dt * A + (dt * A) @ (dt * A) / 2).T
    expect_close(got, want, hint="average the slope at x and the slope at the Euler predictor")


@lab.check("heun_step")
def takes_the_second_slope_at_the_end_time(answer: Answer, rng: torch.Generator) -> None:
    """The second slope is evaluated at t + dt: a field linear in time is integrated exactly."""
    x, v = normal(rng, 4, 3), normal(rng, 3)
    t, dt = number(rng, 0.2, 0.6), number(rng, 0.1, 0.3)
    got = answer.heun_step(answer.fixture("constant_field", v=v, c=2.0), x, t, dt)
    integral = dt + ((t + dt) ** 2 - t**2)  # of 1 + 2 t
    expect_close(got, x + integral * v, hint=TWO_SLOPES)


@lab.check("heun_step")
def averages_the_slopes_of_both_ends(answer: Answer, rng: torch.Generator) -> None:
    """For f(x, t) = -x³ the step is the average of the slopes at x and at the Euler predictor."""
    x, dt = normal(rng, 8, 2), number(rng, 0.1, 0.3)
    # The average of x³ and (x - dt x³)³, expanded in powers of dt.
    want = x - dt * x**3 + 1.5 * dt**2 * x**5 - 1.5 * dt**3 * x**7 + 0.5 * dt**4 * x**9
    got = answer.heun_step(answer.fixture("cubic_field"), x, 0.0, dt)
    middle = x - dt * (x - dt / 2 * x**3) ** 3
    if isinstance(got, torch.Tensor) and got.shape == x.shape:
        expect(
            not torch.allclose(got.double(), middle, rtol=1e-9, atol=1e-9),
            "this is the midpoint method: Heun averages the slopes at both ends of a full Euler step",
        )
    expect_close(got, want, hint="dt/2 times the sum of the slopes at x and at x + dt * f(x, t)")


@lab.check("heun_step")
def calls_the_field_twice(answer: Answer, rng: torch.Generator) -> None:
    """It calls f exactly twice."""
    f = answer.fixture("affine_field", A=normal(rng, 2, 2), b=normal(rng, 2))
    answer.heun_step(f, normal(rng, 3, 2), 0.5, 0.1)
    expect(
        answer.calls(f) == 2, f"f is called {answer.calls(f)} times; Heun needs it exactly twice: keep the first slope"
    )


# integrate


@lab.check("integrate")
def returns_every_state_on_an_uneven_grid(answer: Answer, rng: torch.Generator) -> None:
    """Row i is the state at ts[i], also on an uneven grid; row 0 is x."""
    x, ts, c = normal(rng, 5, 2), uneven_grid(rng, 0.2, 1.3, 7), number(rng, 0.5, 1.0)
    f = answer.fixture("cubic_field")  # the step rule ignores it
    got = answer.integrate(f, x, ts, answer.fixture("growth_step", c=c))
    want = x * torch.exp(c * (ts**2 - ts[0] ** 2))[:, None, None]
    expect_type(got, torch.Tensor)
    expect(
        got.shape == want.shape,
        f"the result has shape {tuple(got.shape)}; expected (len(ts), B, d) = {tuple(want.shape)}: x itself is row 0",
    )
    expect_close(got[0], x, what="row 0", hint="the first row is x, before any step")
    expect_close(got, want, hint="step i starts at ts[i] and has dt = ts[i+1] - ts[i]")


@lab.check("integrate")
def hands_the_field_to_the_step(answer: Answer, rng: torch.Generator) -> None:
    """The step rule receives f, the state, the time and dt, in this order."""
    x, v, ts = normal(rng, 4, 3), normal(rng, 3), uneven_grid(rng, 0.0, 1.0, 5)
    got = answer.integrate(answer.fixture("constant_field", v=v, c=1.5), x, ts, answer.fixture("midtime_step"))
    want = x + (ts + 0.75 * ts**2)[:, None, None] * v
    expect_close(got, want, hint="x = step(f, x, ts[i], ts[i+1] - ts[i]), with the step that is passed in")


@lab.check("integrate")
def takes_one_step_per_interval(answer: Answer, rng: torch.Generator) -> None:
    """It takes one step for each of the len(ts) - 1 intervals."""
    n = int(torch.randint(3, 9, (), generator=rng))
    step = answer.fixture("growth_step", c=1.0)
    answer.integrate(answer.fixture("cubic_field"), normal(rng, 3, 2), uneven_grid(rng, 0.0, 1.0, n), step)
    calls = answer.calls(step)
    expect(
        calls == n, f"`step` is called {calls} times for {n + 1} times; expected one call for each of the {n} intervals"
    )


# observed_order


@lab.check("observed_order")
def reads_the_exponent_of_a_power_law(answer: Answer, rng: torch.Generator) -> None:
    """If the errors are exactly C h^p, the result is p, as a Python float."""
    p, C = number(rng, 0.5, 4.0), number(rng, 0.1, 10.0)
    steps = [0.5, 0.25, 0.125, 0.0625]
    got = answer.observed_order([C * h**p for h in steps], steps)
    expect_close(got, p, rtol=1e-6, hint="the slope of log(error) over log(step size)")
    expect_type(got, float)


@lab.check("observed_order")
def is_a_least_squares_slope(answer: Answer, rng: torch.Generator) -> None:
    """If the errors scatter about C h^p, the result is the slope of the least-squares line through all of them."""
    errors, steps, p = scattered_power_law(rng, 7)
    got = answer.observed_order(errors.tolist(), steps.tolist())
    expect_close(got, p, rtol=1e-5, hint="fit log(error) = p log(h) + constant to all points, not to the two ends")


def scattered_power_law(rng: torch.Generator, n: int) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Errors about C h^p whose least-squares slope in log-log is p exactly.

    The scatter is orthogonal to the constant and to log h, so that it leaves the fitted line where it is.

    Returns:
        errors (n,), step sizes (n,), p.
    """
    p = number(rng, 0.7, 3.0)
    log_h = -torch.cumsum(0.3 + torch.rand(n, generator=rng, dtype=torch.float64), 0)
    basis, _ = torch.linalg.qr(torch.stack([torch.ones_like(log_h), log_h], 1))
    noise = normal(rng, n)
    noise = noise - basis @ (basis.T @ noise)
    noise = 0.5 * noise / noise.norm()
    return torch.exp(p * log_h + number(rng, 0.5, 2.0) + noise), torch.exp(log_h), p


# exact_divergence


@lab.check("exact_divergence")
def is_the_trace_of_a_linear_field(answer: Answer, rng: torch.Generator) -> None:
    """For f(x, t) = A x + b the divergence of every sample is the trace of A."""
    A, x = normal(rng, 4, 4), normal(rng, 6, 4)
    with explained_errors():
        got = answer.exact_divergence(answer.fixture("affine_field", A=A, b=normal(rng, 4)), x, 0.5)
    if isinstance(got, torch.Tensor) and got.shape == (6,):
        expect(
            not torch.allclose(got.double(), A.sum().expand(6)),
            "this is the sum of all entries of the Jacobian: only its diagonal belongs to the divergence",
        )
    expect_close(got, A.trace().expand(6), hint="one number per sample: the sum of df_i/dx_i over i")


@lab.check("exact_divergence")
def follows_a_curved_field(answer: Answer, rng: torch.Generator) -> None:
    """For a non-linear, time-dependent field it is the divergence at each sample and at the time t."""
    W, V, x, t = normal(rng, 5, 3), normal(rng, 3, 5), normal(rng, 7, 3), number(rng, 0.2, 0.9)
    with explained_errors():
        got = answer.exact_divergence(answer.fixture("sine_field", W=W, V=V, c=2.0), x, t)
    expect_close(got, sine_divergence(W, V, 2.0, x, t), hint="each sample has its own Jacobian diagonal")


@lab.check("exact_divergence")
def works_without_grad(answer: Answer, rng: torch.Generator) -> None:
    """It works inside torch.no_grad() as well."""
    A, x = normal(rng, 3, 3), normal(rng, 4, 3)
    f = answer.fixture("affine_field", A=A, b=normal(rng, 3))
    got = call_without_grad(answer, "exact_divergence", f, x, 0.1)
    expect_close(got, A.trace().expand(4), what="the result inside torch.no_grad()")


@contextlib.contextmanager
def explained_errors() -> Iterator[None]:
    """An error that comes from a freed graph says what to do."""
    try:
        yield
    except AnswerError as error:
        if "backward through the graph a second time" not in str(error):
            raise
        hint = "the graph is freed after the first of the d gradients: pass create_graph=True"
        raise AnswerError(f"{error} — {hint}", error.status) from None


def call_without_grad(answer: Answer, name: str, *args: Any) -> Any:
    """Call under torch.no_grad(); an error says so, and what to do."""
    try:
        with explained_errors():
            return answer.without_grad(name, *args)
    except AnswerError as error:
        if error.status != "error":
            raise
        missing_graph = "does not require grad" in str(error)
        hint = " — open a torch.enable_grad() block inside, or use torch.func" if missing_graph else ""
        raise AnswerError(f"inside torch.no_grad() it {error}{hint}", error.status) from None


def sine_divergence(W: torch.Tensor, V: torch.Tensor, c: float, x: torch.Tensor, t: float) -> torch.Tensor:
    """The divergence of the fixture `sine_field`: (1 + c t) Σ_m cos(w_m·x) (W V)_mm, shape (B,)."""
    return (1 + c * torch.as_tensor(t, dtype=x.dtype)) * (torch.cos(x @ W.T) @ (W @ V).diagonal())


# hutchinson_divergence


@lab.check("hutchinson_divergence")
def is_the_quadratic_form_of_the_jacobian(answer: Answer, rng: torch.Generator) -> None:
    """For f(x, t) = A x + b the result is v^T A v, with the v that is passed in."""
    A, x, probe = normal(rng, 4, 4), normal(rng, 6, 4), normal(rng, 6, 4)
    got = answer.hutchinson_divergence(answer.fixture("affine_field", A=A, b=normal(rng, 4)), x, 0.5, probe)
    want = torch.einsum("bi,ij,bj->b", probe, A, probe)
    if isinstance(got, torch.Tensor) and got.shape == (6,):
        expect(not torch.allclose(got.double(), want / 4), "sum over the features, do not average over them")
    expect_close(got, want, hint="one number per sample: v^T J v with v = probe as given; draw nothing")


@lab.check("hutchinson_divergence")
def averages_to_the_divergence(answer: Answer, rng: torch.Generator) -> None:
    """Averaged over all sign vectors v in {-1, 1}^d, it is the divergence exactly."""
    W, V, t = normal(rng, 5, 3), normal(rng, 3, 5), number(rng, 0.2, 0.9)
    probe = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=3)), dtype=torch.float64)
    x = normal(rng, 1, 3).expand(8, 3).clone()
    got = answer.hutchinson_divergence(answer.fixture("sine_field", W=W, V=V, c=1.0), x, t, probe)
    expect_type(got, torch.Tensor)
    expect(got.shape == (8,), f"the result has shape {tuple(got.shape)}; expected (B,) = (8,)")
    expect_close(
        got.mean(), sine_divergence(W, V, 1.0, x[:1], t)[0], hint="the mean of v^T J v over signs is the trace of J"
    )


@lab.check("hutchinson_divergence")
def works_without_grad_too(answer: Answer, rng: torch.Generator) -> None:
    """It works inside torch.no_grad() as well."""
    A, x, probe = normal(rng, 3, 3), normal(rng, 4, 3), normal(rng, 4, 3)
    f = answer.fixture("affine_field", A=A, b=normal(rng, 3))
    got = call_without_grad(answer, "hutchinson_divergence", f, x, 0.1, probe)
    want = torch.einsum("bi,ij,bj->b", probe, A, probe)
    expect_close(got, want, what="the result inside torch.no_grad()")


# integrate_log_density


@lab.check("integrate_log_density")
def loses_density_where_the_flow_expands(answer: Answer, rng: torch.Generator) -> None:
    """For f(x, t) = A x the log-density changes by minus trace(A) times the time, whatever the grid."""
    A, x, ts = normal(rng, 3, 3), normal(rng, 5, 3), uneven_grid(rng, 0.1, 0.9, 6)
    A = A + (1.0 - A.trace() / 3) * torch.eye(3, dtype=torch.float64)  # trace 3: it expands
    f = answer.fixture("affine_field", A=A, b=normal(rng, 3))
    divergence = answer.fixture("constant_divergence", value=3.0)
    _, delta = pair(answer.integrate_log_density(f, divergence, x, ts))
    want = torch.full((5,), -3.0 * 0.8, dtype=torch.float64)
    if isinstance(delta, torch.Tensor) and delta.shape == (5,):
        expect(
            not torch.allclose(delta.double(), -want),
            "delta_logp has the wrong sign: where the flow expands, probability thins out",
        )
    expect_close(delta, want, what="delta_logp", hint="delta_logp = -∫ div f dt, one number per sample")


@lab.check("integrate_log_density")
def moves_the_points_by_heun_steps(answer: Answer, rng: torch.Generator) -> None:
    """x_end is the end of one Heun step per interval, of shape (B, d)."""
    A, x, ts = 0.5 * normal(rng, 3, 3), normal(rng, 5, 3), uneven_grid(rng, 0.0, 1.0, 5)
    f = answer.fixture("affine_field", A=A, b=torch.zeros(3, dtype=torch.float64))
    end, _ = pair(answer.integrate_log_density(f, answer.fixture("constant_divergence", value=A.trace().item()), x, ts))
    want = x
    for dt in ts.diff().tolist():
        want = want @ (torch.eye(3, dtype=torch.float64) + dt * A + (dt * A) @ (dt * A) / 2).T
    expect_close(end, want, what="x_end", hint="one Heun step per interval; return the last state only")


@lab.check("integrate_log_density")
def takes_the_divergence_at_both_ends(answer: Answer, rng: torch.Generator) -> None:
    """Along straight lines, a divergence linear in x and t is integrated exactly: both ends count."""
    v, w, x, ts = normal(rng, 2), normal(rng, 2), normal(rng, 6, 2), uneven_grid(rng, 0.3, 1.1, 4)
    divergence = answer.fixture("polynomial_divergence", w=w, q=torch.zeros(2, dtype=torch.float64), c=2.0)
    _, delta = pair(answer.integrate_log_density(answer.fixture("constant_field", v=v), divergence, x, ts))
    T = (ts[-1] - ts[0]).item()
    want = -(T * (x @ w) + T**2 / 2 * (v @ w) + (ts[-1] ** 2 - ts[0] ** 2))
    expect_close(
        delta, want, what="delta_logp", hint="average the divergence at (x, ts[i]) and at (predictor, ts[i+1])"
    )


@lab.check("integrate_log_density")
def converges_to_the_change_of_variables(answer: Answer, rng: torch.Generator) -> None:
    """For dx/dt = -x³, whose flow is known, the error falls fourfold when the steps are halved."""
    x = 0.5 + torch.rand(6, 2, generator=rng, dtype=torch.float64)
    f, divergence = answer.fixture("cubic_field"), answer.fixture("cubic_divergence")
    want = 1.5 * torch.log1p(2 * x**2).sum(1)  # -log |det| of the flow x -> x / sqrt(1 + 2 x²) after time 1
    errors = []
    for n in (64, 128):
        ts = torch.linspace(0.0, 1.0, n + 1, dtype=torch.float64)
        _, delta = pair(answer.integrate_log_density(f, divergence, x, ts))
        expect_close(delta, want, rtol=0.1, what="delta_logp", hint="log p(x_end) - log p(x) = -∫ div f dt")
        errors.append((delta - want).abs().mean().item())
    expect(errors[1] > 0, "delta_logp is exact, which a step of this size cannot be")
    order = math.log2(errors[0] / errors[1])
    expect(1.7 < order < 2.4, f"the error of delta_logp falls with order {order:.2f}; Heun's is 2")
