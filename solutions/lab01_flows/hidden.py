"""Hidden checks of lab 1: other shapes, dtypes, times and directions, and what a function leaves behind."""

from __future__ import annotations

import torch

from labcheck.checks import Battery
from labcheck.expect import expect, expect_close, expect_type
from noise2data.checks.arguments import normal, number, uneven_grid, uniform
from noise2data.checks.expectations import expect_gradient, expect_untouched
from noise2data.checks.lab01_flows import TWO_SLOPES, pair, scattered_power_law, sine_divergence

lab = Battery("lab01_flows", hidden=True)


def _zeros(n):
    return torch.zeros(n, dtype=torch.float64)


# euler_step


@lab.check("euler_step")
def steps_backwards_at_each_samples_own_time(answer, rng):
    """A negative dt steps back in time, and a (B,) tensor of times belongs to the batch, also if B = d."""
    x, v, t, dt = normal(rng, 3, 3), normal(rng, 3), uniform(rng, 0.2, 0.9, 3), -number(rng, 0.1, 0.3)
    got = answer.euler_step(answer.fixture("constant_field", v=v, c=2.0), x, t, dt)
    expect_close(got, x + dt * (1 + 2 * t)[:, None] * v, hint="x + dt * f(x, t), with dt < 0 as it is")


@lab.check("euler_step")
def keeps_shape_and_dtype_and_leaves_x_alone(answer, rng):
    """A batch of float32 images gives a batch of float32 images, and x is not changed."""
    A, x, dt = normal(rng, 4, 4), normal(rng, 2, 1, 4, 4, dtype=torch.float32), torch.tensor(0.2, dtype=torch.float64)
    f = answer.fixture("affine_field", A=A, b=_zeros(4))
    observation = answer.observe("euler_step", f, x, torch.tensor(0.5), dt)
    want = (x.double() @ (torch.eye(4, dtype=torch.float64) + dt * A).T).float()
    expect_close(observation.value, want)
    expect_untouched(observation, f, x)


@lab.check("euler_step")
def lets_gradients_through(answer, rng):
    """The step can be differentiated by x."""
    A, x, dt, cotangent = normal(rng, 3, 3), normal(rng, 5, 3), number(rng, 0.1, 0.3), normal(rng, 5, 3)
    f = answer.fixture("affine_field", A=A, b=normal(rng, 3))
    observation = answer.gradient("euler_step", f, x, 0.0, dt, wrt=[1], cotangent=cotangent)
    expect_gradient(observation, 0, cotangent @ (torch.eye(3, dtype=torch.float64) + dt * A), "x")


# heun_step


@lab.check("heun_step")
def steps_backwards_at_each_samples_own_time_too(answer, rng):
    """A negative dt steps back in time, and a (B,) tensor of times belongs to the batch, also if B = d."""
    x, v, t, dt = normal(rng, 4, 4), normal(rng, 4), uniform(rng, 0.2, 0.9, 4), -number(rng, 0.1, 0.2)
    got = answer.heun_step(answer.fixture("constant_field", v=v, c=2.0), x, t, dt)
    integral = dt + ((t + dt) ** 2 - t**2)
    expect_close(got, x + integral[:, None] * v, hint=f"{TWO_SLOPES}, also for dt < 0")


@lab.check("heun_step")
def keeps_shape_and_dtype_and_leaves_x_unchanged(answer, rng):
    """A batch of float32 images gives a batch of float32 images, and x is not changed."""
    A, x, dt = normal(rng, 4, 4), normal(rng, 2, 3, 2, 4, dtype=torch.float32), torch.tensor(0.2, dtype=torch.float64)
    f = answer.fixture("affine_field", A=A, b=_zeros(4))
    observation = answer.observe("heun_step", f, x, torch.tensor(0.5), dt)
    step = torch.eye(4, dtype=torch.float64) + dt * A + (dt * A) @ (dt * A) / 2
    expect_close(observation.value, (x.double() @ step.T).float())
    expect_untouched(observation, f, x)


@lab.check("heun_step")
def lets_gradients_through_both_slopes(answer, rng):
    """The step can be differentiated by x, through both slopes."""
    A, x, dt, cotangent = normal(rng, 3, 3), normal(rng, 5, 3), number(rng, 0.2, 0.4), normal(rng, 5, 3)
    f = answer.fixture("affine_field", A=A, b=normal(rng, 3))
    observation = answer.gradient("heun_step", f, x, 0.0, dt, wrt=[1], cotangent=cotangent)
    step = torch.eye(3, dtype=torch.float64) + dt * A + (dt * A) @ (dt * A) / 2
    expect_gradient(observation, 0, cotangent @ step, "x", hint="a slope is detached from x")


# integrate


@lab.check("integrate")
def runs_backwards_in_time(answer, rng):
    """A decreasing grid is followed backwards, in the order in which it is given."""
    x, ts, c = normal(rng, 3, 3), uneven_grid(rng, 1.0, 0.1, 6), number(rng, 0.5, 1.0)
    got = answer.integrate(answer.fixture("cubic_field"), x, ts, answer.fixture("growth_step", c=c))
    want = x * torch.exp(c * (ts**2 - ts[0] ** 2))[:, None, None]
    expect_close(got, want, hint="dt = ts[i+1] - ts[i] is negative on a decreasing grid")


@lab.check("integrate")
def returns_x_alone_for_a_single_time(answer, rng):
    """A grid with one time has no interval: the result is x with a leading axis of length 1."""
    x, step = normal(rng, 4, 2), answer.fixture("growth_step", c=1.0)
    got = answer.integrate(answer.fixture("cubic_field"), x, torch.tensor([0.7], dtype=torch.float64), step)
    expect_close(got, x[None], hint="no step, one row")
    expect(answer.calls(step) == 0, "a step is taken although the grid has one time only")


@lab.check("integrate")
def keeps_the_dtype_of_x(answer, rng):
    """States keep their dtype, whatever the dtype of ts, and x and ts are not changed."""
    c = number(rng, 0.5, 1.0)
    for dtype, other in ((torch.float32, torch.float64), (torch.float64, torch.float32)):
        x, ts = normal(rng, 5, 2, dtype=dtype), uneven_grid(rng, 0.0, 1.0, 4).to(other)
        f, step = answer.fixture("cubic_field"), answer.fixture("growth_step", c=c)
        observation = answer.observe("integrate", f, x, ts, step)
        want = (x.double() * torch.exp(c * (ts.double() ** 2))[:, None, None]).to(dtype)
        expect_close(observation.value, want, rtol=1e-5, atol=1e-5)
        expect_untouched(observation, f, x, ts)


@lab.check("integrate")
def lets_gradients_through_all_rows(answer, rng):
    """Every row can be differentiated by x."""
    x, ts, c, cotangent = normal(rng, 4, 2), uneven_grid(rng, 0.0, 1.0, 5), number(rng, 0.5, 1.0), normal(rng, 6, 4, 2)
    f, step = answer.fixture("cubic_field"), answer.fixture("growth_step", c=c)
    observation = answer.gradient("integrate", f, x, ts, step, wrt=[1], cotangent=cotangent)
    want = (cotangent * torch.exp(c * ts**2)[:, None, None]).sum(0)
    expect_gradient(observation, 0, want, "x")


# observed_order


@lab.check("observed_order")
def accepts_tensors(answer, rng):
    """Tensors of float32 or float64 are accepted, and the result is still a Python float."""
    for dtype in (torch.float32, torch.float64):
        errors, steps, p = scattered_power_law(rng, 9)
        got = answer.observed_order(errors.to(dtype), steps.to(dtype))
        expect_close(got, p, rtol=1e-3, hint="the least-squares slope of log(error) over log(step size)")
        expect_type(got, float)


@lab.check("observed_order")
def needs_two_points_only(answer, rng):
    """With two points it is the slope between them, whatever their ratio."""
    p, h = number(rng, 0.5, 4.0), number(rng, 0.01, 0.1)
    ratio = number(rng, 2.5, 7.0)
    got = answer.observed_order((2.0 * h**p, 2.0 * (h / ratio) ** p), (h, h / ratio))
    expect_close(got, p, rtol=1e-6, hint="the step sizes are given: nothing says that they halve")


@lab.check("observed_order")
def does_not_depend_on_order_or_units(answer, rng):
    """The order of the entries and the units of step size and error do not matter."""
    errors, steps, p = scattered_power_law(rng, 6)
    order = torch.randperm(6, generator=rng)
    got = answer.observed_order((1e4 * errors[order]).tolist(), (1e3 * steps[order]).tolist())
    expect_close(got, p, rtol=1e-5, hint="fit a line with an intercept: errors are C h^p with an unknown C")


# exact_divergence


@lab.check("exact_divergence")
def gives_each_sample_its_own_time(answer, rng):
    """A (B,) tensor of times belongs to the batch, also if B = d."""
    W, V, x, t = normal(rng, 5, 4), normal(rng, 4, 5), normal(rng, 4, 4), uniform(rng, 0.2, 0.9, 4)
    got = answer.exact_divergence(answer.fixture("sine_field", W=W, V=V, c=3.0), x, t)
    expect_close(got, sine_divergence(W, V, 3.0, x, t))


@lab.check("exact_divergence")
def is_zero_for_a_constant_field(answer, rng):
    """A field that does not depend on x has divergence 0."""
    x = normal(rng, 5, 3)
    got = answer.exact_divergence(answer.fixture("constant_field", v=normal(rng, 3)), x, 0.5)
    expect_close(got, _zeros(5), hint="f(x, t) then does not require gradients: its divergence is 0")


@lab.check("exact_divergence")
def leaves_its_argument_alone(answer, rng):
    """x and its requires_grad are as before, and a float32 x gives a float32 result."""
    W, V, x = normal(rng, 4, 2), normal(rng, 2, 4), normal(rng, 6, 2, dtype=torch.float32)
    f = answer.fixture("sine_field", W=W, V=V, c=1.0)
    observation = answer.observe("exact_divergence", f, x, 0.5)
    expect_close(observation.value, sine_divergence(W, V, 1.0, x.double(), 0.5).float(), rtol=1e-4, atol=1e-4)
    expect_untouched(observation, f, x)


@lab.check("exact_divergence")
def can_be_differentiated_again(answer, rng):
    """If x requires gradients, the divergence can be differentiated by it, as training a flow does."""
    W, V, x, cotangent = normal(rng, 5, 3), normal(rng, 3, 5), normal(rng, 4, 3), normal(rng, 4)
    f = answer.fixture("sine_field", W=W, V=V)
    observation = answer.gradient("exact_divergence", f, x, 0.5, wrt=[1], cotangent=cotangent)
    want = -cotangent[:, None] * ((torch.sin(x @ W.T) * (W @ V).diagonal()) @ W)
    expect_gradient(observation, 0, want, "x")


@lab.check("exact_divergence")
def keeps_the_graph_to_the_parameters_of_f(answer, rng):
    """If f has parameters, the divergence can be differentiated by them, even where x requires no gradients."""
    W, V, x = normal(rng, 5, 3), normal(rng, 3, 5), normal(rng, 4, 3)
    observation = answer.observe("exact_divergence", answer.fixture("trainable_sine_field", W=W, V=V), x, 0.5)
    expect_close(observation.value, sine_divergence(W, V, 0.0, x, 0.5))
    expect(
        observation.requires_grad,
        "f has parameters that require gradients, but the result is cut off from them: "
        "create_graph=True whatever x requires",
    )


# hutchinson_divergence


@lab.check("hutchinson_divergence")
def gives_each_sample_its_own_time_and_probe(answer, rng):
    """Times of shape (B,) and probes belong to the batch, also if B = d."""
    W, V, x, t, probe = (
        normal(rng, 5, 4),
        normal(rng, 4, 5),
        normal(rng, 4, 4),
        uniform(rng, 0.2, 0.9, 4),
        normal(rng, 4, 4),
    )
    got = answer.hutchinson_divergence(answer.fixture("sine_field", W=W, V=V, c=3.0), x, t, probe)
    want = (1 + 3 * t) * ((probe @ W.T) * torch.cos(x @ W.T) * (probe @ V)).sum(1)
    expect_close(got, want)


@lab.check("hutchinson_divergence")
def is_zero_where_the_field_is_constant(answer, rng):
    """A field that does not depend on x gives 0."""
    x, probe = normal(rng, 5, 3), normal(rng, 5, 3)
    got = answer.hutchinson_divergence(answer.fixture("constant_field", v=normal(rng, 3)), x, 0.5, probe)
    expect_close(got, _zeros(5), hint="f(x, t) then does not require gradients: its divergence is 0")


@lab.check("hutchinson_divergence")
def leaves_its_arguments_alone(answer, rng):
    """x, probe and their requires_grad are as before, nothing is drawn, and float32 stays float32."""
    A, x, probe = normal(rng, 3, 3), *normal(rng, 2, 6, 3, dtype=torch.float32)
    f = answer.fixture("affine_field", A=A, b=normal(rng, 3))
    observation = answer.observe("hutchinson_divergence", f, x, 0.5, probe)
    want = torch.einsum("bi,ij,bj->b", probe.double(), A, probe.double()).float()
    expect_close(observation.value, want, rtol=1e-4, atol=1e-4)
    expect_untouched(observation, f, x, 0.5, probe)


@lab.check("hutchinson_divergence")
def can_be_differentiated_again_by_x_and_probe(answer, rng):
    """If x requires gradients, the estimate can be differentiated by it and by the probe."""
    W, V, x, probe = normal(rng, 5, 3), normal(rng, 3, 5), normal(rng, 4, 3), normal(rng, 4, 3)
    cotangent = normal(rng, 4)
    f = answer.fixture("sine_field", W=W, V=V)
    observation = answer.gradient("hutchinson_divergence", f, x, 0.5, probe, wrt=[1, 3], cotangent=cotangent)
    left, right, cosine = probe @ V, probe @ W.T, torch.cos(x @ W.T)  # v^T J v = Σ_m left_m cos_m right_m
    want = -cotangent[:, None] * ((left * right * torch.sin(x @ W.T)) @ W)
    expect_gradient(observation, 0, want, "x")
    want = cotangent[:, None] * ((cosine * right) @ V.T + (cosine * left) @ W)
    expect_gradient(observation, 1, want, "probe")


@lab.check("hutchinson_divergence")
def keeps_the_estimates_graph_to_the_parameters_of_f(answer, rng):
    """If f has parameters, the estimate can be differentiated by them, even where x and probe require no gradients."""
    W, V, x, probe = normal(rng, 5, 3), normal(rng, 3, 5), normal(rng, 4, 3), normal(rng, 4, 3)
    f = answer.fixture("trainable_sine_field", W=W, V=V)
    observation = answer.observe("hutchinson_divergence", f, x, 0.5, probe)
    expect_close(observation.value, ((probe @ W.T) * torch.cos(x @ W.T) * (probe @ V)).sum(1))
    expect(
        observation.requires_grad,
        "f has parameters that require gradients, but the result is cut off from them: "
        "create_graph=True whatever x requires",
    )


# integrate_log_density


@lab.check("integrate_log_density")
def takes_the_second_divergence_at_the_predictor(answer, rng):
    """The second divergence is evaluated at the Euler predictor of each interval."""
    A, x, ts = normal(rng, 2, 2), normal(rng, 5, 2), uneven_grid(rng, 0.0, 0.6, 2)
    w, q = normal(rng, 2), 1 + torch.rand(2, generator=rng, dtype=torch.float64)
    f = answer.fixture("affine_field", A=A, b=_zeros(2))
    _, delta = pair(answer.integrate_log_density(f, answer.fixture("polynomial_divergence", w=w, q=q, c=1.0), x, ts))
    eye, state, want = torch.eye(2, dtype=torch.float64), x, _zeros(5)
    for t, dt in zip(ts.tolist(), ts.diff().tolist(), strict=False):
        for y, time in ((state, t), (state @ (eye + dt * A).T, t + dt)):
            want = want - dt / 2 * (y @ w + y**2 @ q + time)
        state = state @ (eye + dt * A + (dt * A) @ (dt * A) / 2).T
    expect_close(delta, want, what="delta_logp", hint="one Heun step of the joint system: its predictor is Euler's")


@lab.check("integrate_log_density")
def runs_backwards(answer, rng):
    """On a decreasing grid it is still log p(x_end) - log p(x)."""
    v, w, x, ts = normal(rng, 4), normal(rng, 4), normal(rng, 4, 4), uneven_grid(rng, 1.2, 0.2, 5)
    divergence = answer.fixture("polynomial_divergence", w=w, q=_zeros(4), c=2.0)
    end, delta = pair(answer.integrate_log_density(answer.fixture("constant_field", v=v), divergence, x, ts))
    T = (ts[-1] - ts[0]).item()
    expect_close(end, x + T * v, what="x_end")
    want = -(T * (x @ w) + T**2 / 2 * (v @ w) + (ts[-1] ** 2 - ts[0] ** 2))
    expect_close(delta, want, what="delta_logp", hint="-∫ div f dt, with dt < 0: no absolute value")


@lab.check("integrate_log_density")
def changes_nothing_for_a_single_time(answer, rng):
    """With one time in ts the result is x and zeros of shape (B,)."""
    x = normal(rng, 4, 3)
    f, divergence = answer.fixture("cubic_field"), answer.fixture("cubic_divergence")
    end, delta = pair(answer.integrate_log_density(f, divergence, x, torch.tensor([0.3], dtype=torch.float64)))
    expect_close(end, x, what="x_end")
    expect_close(delta, _zeros(4), what="delta_logp")


@lab.check("integrate_log_density")
def keeps_the_dtype_of_its_points(answer, rng):
    """Both results have x's dtype, whatever the dtype of ts, and the arguments are not changed."""
    for dtype, other in ((torch.float32, torch.float64), (torch.float64, torch.float32)):
        x, ts = normal(rng, 6, 2, dtype=dtype), uneven_grid(rng, 0.5, 1.5, 3).to(other)
        f = answer.fixture("affine_field", A=-torch.eye(2, dtype=torch.float64), b=normal(rng, 2))
        divergence = answer.fixture("constant_divergence", value=-2.0)
        observation = answer.observe("integrate_log_density", f, divergence, x, ts)
        end, delta = pair(observation.value)
        expect(
            isinstance(end, torch.Tensor) and end.shape == x.shape and end.dtype == dtype,
            f"x_end should have x's shape {tuple(x.shape)} and its dtype, {str(dtype).removeprefix('torch.')}",
        )
        expect_close(delta, torch.full((6,), 2.0, dtype=dtype), rtol=1e-5, atol=1e-5, what="delta_logp")
        expect_untouched(observation, f, divergence, x, ts)


@lab.check("integrate_log_density")
def lets_gradients_through_both_results(answer, rng):
    """x_end and delta_logp can both be differentiated by x."""
    v, w, x, ts = normal(rng, 3), normal(rng, 3), normal(rng, 5, 3), uneven_grid(rng, 1.0, 0.1, 4)
    f, divergence = (
        answer.fixture("constant_field", v=v),
        answer.fixture("polynomial_divergence", w=w, q=_zeros(3), c=1.0),
    )
    cotangent = [normal(rng, 5, 3), normal(rng, 5)]
    observation = answer.gradient("integrate_log_density", f, divergence, x, ts, wrt=[2], cotangent=cotangent)
    pair(observation.value)
    want = cotangent[0] - (ts[-1] - ts[0]) * cotangent[1][:, None] * w
    expect_gradient(observation, 0, want, "x")
