"""The hidden checks of lab 9: other shapes and dtypes, ends, gradients, larger batches, arguments left alone."""

from __future__ import annotations

import math
from functools import partial

import torch

from labcheck import Battery, expect, expect_close, expect_type
from noise2data import odes
from noise2data.checks.arguments import integer, normal, number, on_batch_axis, uniform
from noise2data.checks.expectations import (
    expect_gradient,
    expect_loss,
    expect_near,
    expect_parameter_gradient,
    expect_scalar,
    expect_untouched,
    with_rows,
)
from noise2data.checks.flow_matching import (
    COLUMN,
    ONE,
    cost,
    drawn_times,
    expect_logit_normal,
    expect_n_calls,
    expect_order,
    expect_times,
    flipped,
    line,
    padding,
)
from noise2data.checks.hints import EARLIER, advice, is_right
from noise2data.checks.lab09_flow_matching import pair

lab = Battery("lab09_flow_matching", hidden=True)

SHAPES = ((4, 4), (3, 3, 3, 3), (5, 1, 2, 5), (4, 2, 3, 2, 2))


def expect_rows_of_all_shapes(answer, rng, name, values, low=0.0):
    """Fail unless a function puts (B,) times on the batch axis, of points and of images, and takes 0-d times.

    values: from a line (x0, eps, x_t, v) and t beside it, the two arguments before t, and what is wanted.
    """
    for shape in SHAPES:
        t = uniform(rng, low, 1.0, shape[0])
        a, b, want = values(line(rng, t, *shape), on_batch_axis(t, torch.zeros(shape)))
        what = f"the result for samples of shape {shape} and (B,) times"
        expect_times(getattr(answer, name), a, b, t, want, what=what)
    t = uniform(rng, low, 1.0)
    a, b, want = values(line(rng, t, 5, 3), t)
    expect_near(getattr(answer, name)(a, b, t), want, what="the result for a 0-d t")


def expect_gradients_and_untouched(answer, rng, name, values, slopes, names):
    """Fail unless gradients reach the two arguments before t, and no argument is changed.

    slopes: from t beside a line, the factors by which the result depends on the two.
    """
    t, weight = uniform(rng, 0.2, 0.9, 4), normal(rng, 4, 3)
    column = t[:, None]
    a, b, want = values(line(rng, t, 4, 3), column)
    seen = answer.gradient(name, a, b, t, wrt=[0, 1], cotangent=weight)
    for i, slope in enumerate(slopes(column)):
        expect_gradient(seen, i, slope * weight, names[i])
    seen = with_rows(answer.observe, name, a, b, t)
    expect_near(seen.value, want)
    expect_untouched(seen, a, b, t)


# ---- linear_path


def path_values(parts, t):
    x0, eps, xt, _ = parts
    return x0, eps, xt


@lab.check("linear_path")
def walks_points_and_images(answer, rng):
    """A (B,) tensor t belongs to the batch, of points and of images, also when B equals another axis; t may be 0-d."""
    expect_rows_of_all_shapes(answer, rng, "linear_path", path_values)


@lab.check("linear_path")
def lets_gradients_through(answer, rng):
    """x_t is differentiable in x0 and eps, and no argument is changed."""
    expect_gradients_and_untouched(answer, rng, "linear_path", path_values, lambda t: (1 - t, t), ("x0", "eps"))


# ---- velocity_target


@lab.check("velocity_target")
def is_a_difference_in_float32_too(answer, rng):
    """float32 images in, float32 images out, not clipped and not scaled."""
    x0, eps, _, v = line(rng, number(rng, 0.2, 0.8), 3, 1, 4, 2)
    expect_close(answer.velocity_target(30 * x0.float(), 30 * eps.float()), 30 * v.float(), rtol=1e-4, atol=1e-3)


@lab.check("velocity_target")
def keeps_data_and_noise_as_they_are(answer, rng):
    """The target is differentiable in x0 and eps, and neither is changed."""
    x0, eps, _, v = line(rng, number(rng, 0.2, 0.8), 4, 3)
    weight = normal(rng, 4, 3)
    seen = answer.gradient("velocity_target", x0, eps, wrt=[0, 1], cotangent=weight)
    expect_gradient(seen, 0, -weight, "x0")
    expect_gradient(seen, 1, weight, "eps")
    seen = answer.observe("velocity_target", x0, eps)
    expect_near(seen.value, v)
    expect_untouched(seen, x0, eps)


# ---- cfm_loss


@lab.check("cfm_loss")
def matches_flows_of_images(answer, rng):
    """Images and points with B equal to another axis, a time for each sample or a 0-d one: the mean is over all."""
    for shape in SHAPES[:3]:
        for t in (uniform(rng, 0.0, 1.0, shape[0]), uniform(rng, 0.0, 1.0)):
            x0, eps, xt, v = line(rng, t, *shape)
            a, b = normal(rng, *shape[1:]), 0.1 * normal(rng, *shape[1:])
            net = answer.fixture("cubic_score", a=a, b=b, c=0.4)
            got = with_rows(answer.cfm_loss, net, x0, eps, t)
            want = ((1 + 0.4 * on_batch_axis(t, x0)) * (a * xt + b * xt**3) - v).square().mean()
            what = f"the loss for x0 of shape {shape} and t of shape {tuple(t.shape)}"
            first = t.reshape(-1)[0].item()
            alone = ((1 + 0.4 * first) * (a * xt[:1] + b * xt[:1] ** 3) - v[:1]).square().mean()
            one = is_right(partial(answer.cfm_loss, net, x0[:1], eps[:1], first), alone)
            expect_loss(got, want, what=what, hint=advice(COLUMN, one))


@lab.check("cfm_loss")
def trains_the_network(answer, rng):
    """Gradients reach the network's parameters, and it is called once."""
    A, b, t = normal(rng, 3, 3), normal(rng, 3), uniform(rng, 0.0, 1.0, 5)
    x0, eps, xt, v = line(rng, t, 5, 3)
    net = answer.fixture("affine_score", A=A, b=b, c=0.4)
    seen = answer.gradient("cfm_loss", net, x0, eps, t, wrt=[], cotangent=ONE, parameters=net)
    expect_scalar(seen.value)
    gain = 1 + 0.4 * t[:, None]
    slope = 2 / 15 * gain * (gain * (xt @ A.T + b) - v)
    expect_parameter_gradient(seen, "A", slope.T @ xt)
    expect_parameter_gradient(seen, "b", slope.sum(0))
    calls = answer.calls(net)
    expect(calls == 1, f"the network is called {calls} times; once is enough")


@lab.check("cfm_loss")
def can_be_differentiated_and_leaves_arguments_alone(answer, rng):
    """Gradients reach x0 and eps, through the network's input as well; no argument is changed."""
    A, b, t = normal(rng, 3, 3), normal(rng, 3), uniform(rng, 0.0, 1.0, 5)
    x0, eps, xt, v = line(rng, t, 5, 3)
    net, time = answer.fixture("affine_score", A=A, b=b, c=0.4), t[:, None]
    seen = answer.gradient("cfm_loss", net, x0, eps, t, wrt=[1, 2], cotangent=ONE)
    expect_scalar(seen.value)
    gain = 1 + 0.4 * time
    error = 2 / 15 * (gain * (xt @ A.T + b) - v)
    through = gain * error @ A
    expect_gradient(seen, 0, (1 - time) * through + error, "x0")
    expect_gradient(seen, 1, time * through - error, "eps")
    seen = with_rows(answer.observe, "cfm_loss", net, x0, eps, t)
    expect_loss(seen.value, (gain * (xt @ A.T + b) - v).square().mean())
    expect_untouched(seen, None, x0, eps, t)


# ---- euler_flow_sample


@lab.check("euler_flow_sample")
def follows_a_curved_field(answer, rng):
    """In a field that bends and changes with time it ends where Euler's method ends."""
    W, V, x1, n = normal(rng, 4, 3), normal(rng, 3, 4), normal(rng, 5, 3), integer(rng, 8, 40)

    def field(x, t):
        return (1 + 1.5 * t) * (torch.sin(x @ W.T) @ V.T)

    want = odes.integrate(field, x1, torch.linspace(1, 0, n + 1, dtype=torch.float64), odes.euler_step)[-1]
    got = answer.euler_flow_sample(answer.fixture("sine_field", W=W, V=V, c=1.5), x1, n)
    expect_near(got, want, what=f"the end of {n} steps")


@lab.check("euler_flow_sample")
def flows_images_and_leaves_x1_alone(answer, rng):
    """float32 images come back as float32 images; x1 is not changed, and nothing is drawn."""
    x1, v, c, n = (
        normal(rng, 3, 1, 4, 3, dtype=torch.float32),
        normal(rng, 3),
        number(rng, 0.5, 1.5),
        integer(rng, 2, 9),
    )
    seen = answer.observe("euler_flow_sample", answer.fixture("constant_field", v=v, c=c), x1, n)
    want = x1 - ((1 + c * (n + 1) / (2 * n)) * v).float()
    expect_close(seen.value, want, rtol=1e-4, atol=1e-4)
    expect_untouched(seen, None, x1)


# ---- velocity_to_x0


def x0_values(parts, t):
    x0, _, xt, v = parts
    return v, xt, x0


@lab.check("velocity_to_x0")
def finds_the_data_of_points_and_images(answer, rng):
    """A (B,) tensor t belongs to the batch, of points and of images, also when B equals another axis; t may be 0-d."""
    expect_rows_of_all_shapes(answer, rng, "velocity_to_x0", x0_values)
    x, v = normal(rng, 4, 3), normal(rng, 4, 3)
    for t, want in ((0, x), (1, x - v)):
        expect_near(answer.velocity_to_x0(v, x, t), want, what=f"the result at t = {t}")


@lab.check("velocity_to_x0")
def lets_gradients_reach_v_and_x(answer, rng):
    """The result is differentiable in v and x, and no argument is changed."""
    expect_gradients_and_untouched(answer, rng, "velocity_to_x0", x0_values, lambda t: (-t, 1 + 0 * t), ("v", "x"))


# ---- velocity_to_score


def score_values(parts, t):
    _, eps, xt, v = parts
    return v, xt, -eps / t


@lab.check("velocity_to_score")
def scores_points_and_images(answer, rng):
    """A (B,) tensor t belongs to the batch, of points and of images, also when B equals another axis; t may be 0-d."""
    expect_rows_of_all_shapes(answer, rng, "velocity_to_score", score_values, low=0.1)


@lab.check("velocity_to_score")
def is_exact_close_to_the_data(answer, rng):
    """At t = 0.001 it is as exact as anywhere, in float64 and, to 1e-5 of the largest entry, in float32."""
    for t in (1e-3, torch.full((200,), 1e-3, dtype=torch.float64)):
        _, eps, xt, v = line(rng, t, 200, 3)
        want = -eps / 1e-3
        got = with_rows(answer.velocity_to_score, v, xt, t)
        hint = padding(got, eps, 1e-3) or EARLIER
        expect_close(got, want, rtol=1e-6, atol=1e-4, dtype=False, what="the score at t = 0.001", hint=hint)
        got = with_rows(answer.velocity_to_score, v.float(), xt.float(), t)
        detour = advice(
            "digits are lost on a detour by x0, which divides by t twice: take eps = x + (1 - t)·v",
            is_right(partial(answer.velocity_to_score, v, xt, t), want, 1e-6),
        )
        scale = want.abs().max().item()
        expect_close(got, want, rtol=0, atol=1e-5 * scale, dtype=False, what="the float32 score at t = 0.001",
                     hint=detour)  # fmt: skip


@lab.check("velocity_to_score")
def sends_gradients_to_v_and_x(answer, rng):
    """The score is differentiable in v and x, and no argument is changed."""
    expect_gradients_and_untouched(
        answer, rng, "velocity_to_score", score_values, lambda t: (-(1 - t) / t, -1 / t), ("v", "x")
    )


# ---- flip_time


@lab.check("flip_time")
def undoes_itself(answer, rng):
    """A network that bends in x is flipped at every point and time; flipped twice, it is what it was."""
    W, V = normal(rng, 4, 3), normal(rng, 3, 4)
    once = flipped(answer, answer.fixture("sine_field", W=W, V=V, c=1.5))
    twice = flipped(answer, once)
    for t in (number(rng, 0.1, 0.4), number(rng, 0.6, 0.9)):
        x = normal(rng, 4, 3)
        shape = torch.sin(x @ W.T) @ V.T
        expect_near(answer.call(once, x, t), -(1 + 1.5 * (1 - t)) * shape, what=f"at t = {t:.3g}, it")
        expect_near(answer.call(twice, x, t), (1 + 1.5 * t) * shape, what=f"flipped twice, at t = {t:.3g}, it")


@lab.check("flip_time")
def asks_when_it_is_asked(answer, rng):
    """flip_time itself calls nothing; each call of g calls the network once, keeps x's dtype and changes nothing."""
    a, per_call = number(rng, 0.5, 1.5), number(rng, 0.2, 0.4)
    net = answer.fixture("table_net", table=torch.tensor([a, a], dtype=torch.float64), per_call=per_call)
    g = flipped(answer, net)
    expect(answer.calls(net) == 0, "the network is called before g is: there is no x yet")
    for i in range(3):
        x, t = normal(rng, 3, 1, 2, 4, dtype=torch.float32), uniform(rng, 0.1, 0.9, 3)
        seen = answer.observe(g, x, t)
        calls = answer.calls(net)
        expect(calls == i + 1, f"the network is called {calls} times in {i + 1} call{'s' * (i > 0)} of g")
        expect_close(seen.value, torch.full_like(x, -a * (1 + per_call * i)), rtol=1e-4)
        expect_untouched(seen, x, t)


@lab.check("flip_time")
def lets_gradients_reach_the_network(answer, rng):
    """Gradients flow through g to x and to the parameters of the network."""
    A, b = normal(rng, 3, 3), normal(rng, 3)
    x, weight, t = normal(rng, 4, 3), normal(rng, 4, 3), number(rng, 0.1, 0.9)
    net = answer.fixture("affine_score", A=A, b=b, c=0.5)
    seen = answer.gradient(flipped(answer, net), x, t, wrt=[0], cotangent=weight, parameters=net)
    gain = -(1 + 0.5 * (1 - t))
    expect_gradient(seen, 0, gain * weight @ A, "x")
    expect_parameter_gradient(seen, "A", gain * weight.T @ x)
    expect_parameter_gradient(seen, "b", gain * weight.sum(0))


# ---- logit_normal_times


@lab.check("logit_normal_times")
def leans_to_noise_for_a_positive_mean(answer, rng):
    """Half of the times lie beyond sigmoid(mean): mean > 0 leans to t = 1, the noise, mean < 0 to the data."""
    for sign in (1, -1):
        mean = sign * number(rng, 0.8, 1.5)
        t = drawn_times(answer, 20_000, mean, 1.0, torch.Generator().manual_seed(integer(rng, 0, 10**6)))
        middle = torch.sigmoid(torch.tensor(mean, dtype=torch.float64)).item()
        beyond = (t > middle).double().mean().item()
        message = f"{beyond:.0%} of the times lie beyond sigmoid({mean:.2f}) = {middle:.2f}; expected half of them"
        expect(abs(beyond - 0.5) < 0.0215, message)  # six standard errors


@lab.check("logit_normal_times")
def draws_wide_and_narrow_times(answer, rng):
    """The law is right for SD3's (0, 1), for EDM's (-1.2, 1.2) and for a narrow one; n may be 1."""
    for mean, std in ((0.0, 1.0), (-1.2, 1.2), (number(rng, -2, 2), 0.15)):
        expect_logit_normal(answer, rng, mean, std)
    drawn_times(answer, 1, 0.0, 1.0, torch.Generator().manual_seed(integer(rng, 0, 10**6)))


# ---- minibatch_ot


@lab.check("minibatch_ot")
def sorts_points_on_a_line(answer, rng):
    """In one dimension the smallest goes with the smallest, the next with the next, in a batch of sixty."""
    x0, eps = normal(rng, 60, 1), normal(rng, 60, 1)
    rank = x0[:, 0].argsort().argsort()
    best = eps[:, 0].argsort()[rank].tolist()
    mistakes = {"eps comes back as it is": eps, "eps comes back sorted; row i belongs to x0[i]": eps.sort(0).values}
    expect_order(answer.minibatch_ot(x0, eps), x0, eps, best, mistakes)


@lab.check("minibatch_ot")
def assigns_batches_of_images(answer, rng):
    """float32 images are compared as flattened vectors; pairs that a symmetric positive matrix made are found again."""
    for shape in ((50, 2, 3, 4), (7, 1, 4, 4), (1, 3, 2, 2)):
        x0 = normal(rng, *shape)
        d = x0[0].numel()
        G = normal(rng, d, d)
        # x -> M x is the slope of a convex function, so no order is better than the one that it makes.
        made = (x0.flatten(1) @ (G @ G.T / d + 0.1 * torch.eye(d)) + 0.3).reshape(shape)
        order = torch.randperm(shape[0], generator=rng)
        eps = made[order].float()
        got = answer.minibatch_ot(x0.float(), eps)
        expect_order(got, x0.float(), eps, order.argsort().tolist(), {"eps comes back as it is": eps})


@lab.check("minibatch_ot")
def works_on_tensors_that_need_gradients(answer, rng):
    """Gradients reach eps through the new order; no argument is changed, and nothing is drawn."""
    x0, shuffled = normal(rng, 6, 2), torch.randperm(6, generator=rng)
    eps, weight = (2 * x0 + 1)[shuffled], normal(rng, 6, 2)
    seen = answer.gradient("minibatch_ot", x0, eps, wrt=[0, 1], cotangent=weight)
    expect_type(seen.value, torch.Tensor)
    expect_near(seen.value, 2 * x0 + 1)
    expect_gradient(seen, 1, weight[shuffled], "eps")
    seen = answer.observe("minibatch_ot", x0, eps)
    expect(abs(cost(x0, seen.value) - cost(x0, 2 * x0 + 1)) < 1e-6, "a second call gives another order")
    expect_untouched(seen, x0, eps)


# ---- reflow_pairs


@lab.check("reflow_pairs")
def asks_n_times_for_each_noise(answer, rng):
    """The network is called n_steps times, with t as a (B,) tensor in eps's dtype."""
    expect_n_calls(answer, rng, lambda net, eps, n: pair(answer.reflow_pairs(net, eps, n))[0])


@lab.check("reflow_pairs")
def pairs_images_and_leaves_eps_alone(answer, rng):
    """float32 images, each with its noise; eps is not changed in place."""
    eps, v, n = normal(rng, 3, 1, 4, 3, dtype=torch.float32), normal(rng, 3), integer(rng, 2, 6)
    seen = answer.observe("reflow_pairs", answer.fixture("constant_field", v=v, c=1.0), eps, n)
    x0, noise = pair(seen.value)
    expect_close(x0, eps - ((1 + (n + 1) / (2 * n)) * v).float(), rtol=1e-4, atol=1e-4, what="x0_hat")
    expect_close(noise, eps, rtol=0, atol=0, what="the noise")
    expect_untouched(seen, None, eps)


# ---- straightness


@lab.check("straightness")
def measures_arcs_of_images(answer, rng):
    """Images on arcs of circles, of which the bending is known; a single step is always straight."""
    n, angle = integer(rng, 5, 40), number(rng, 1.0, 5.0)
    theta = torch.linspace(0, angle, n + 1, dtype=torch.float64)
    centre, first = normal(rng, 3, 2, 2, 2), normal(rng, 3, 2, 2, 2)
    second = first.flip(1) * torch.tensor([1.0, -1.0], dtype=torch.float64)[:, None, None]  # at a right angle to it
    shape = (-1, 1, 1, 1, 1)
    arcs = centre + theta.cos().reshape(shape) * first + theta.sin().reshape(shape) * second
    square = first.square().flatten(1).sum(1).mean().item()
    step, chord = 2 * math.sin(angle / n / 2), 2 * math.sin(angle / 2)
    want = square * ((n * step) ** 2 - chord**2)
    expect_close(answer.straightness(arcs), want, rtol=1e-4, what=f"for arcs in {n} steps it")
    expect_close(answer.straightness(arcs[[0, -1]]), 0.0, atol=1e-9, what="for a single step it")


@lab.check("straightness")
def takes_float32_and_changes_nothing(answer, rng):
    """float32 trajectories in either direction; the trajectory is not changed."""
    n, start, way, bend = integer(rng, 4, 8), normal(rng, 5, 3), normal(rng, 5, 3), normal(rng, 5, 3)
    s = torch.linspace(1, 0, n + 1, dtype=torch.float64)[:, None, None]
    states = (start + s * way + s * s * bend).float()
    seen = answer.observe("straightness", states)
    want = bend.square().sum(1).mean().item() * (n * n - 1) / (3 * n * n)
    expect_close(seen.value, want, rtol=1e-4)
    expect_untouched(seen, states)
