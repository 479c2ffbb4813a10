"""The visible checks of lab 9, flow matching.

Wanted values come by another route than the student's. A line is made from a point on it and its direction, so that
both of its ends follow. Fields of Gaussians come from the moments of their marginals, Euler's ends from sums and powers
of matrices, optimal orders by trying all of them, bending from curves whose integrals are known.
"""

from __future__ import annotations

from functools import partial

import torch

from labcheck import Battery, expect, expect_close, expect_type
from labcheck.answer import Answer
from noise2data.checks.arguments import integer, normal, number, on_batch_axis, signs, uniform
from noise2data.checks.expectations import (
    expect_gradient,
    expect_loss,
    expect_near,
    expect_parameter_gradient,
    expect_scalar,
    two,
    with_rows,
)
from noise2data.checks.flow_matching import (
    CAST,
    COLUMN,
    ONE,
    Gaussian,
    best_order,
    expect_bending,
    expect_entries,
    expect_kept,
    expect_logit_normal,
    expect_n_calls,
    expect_order,
    expect_times_and_dtype,
    flipped,
    line,
    padding,
    with_times,
)
from noise2data.checks.hints import EARLIER, advice, differs_little, is_right, recognise

lab = Battery(
    "lab09_flow_matching",
    fixtures="noise2data.checks.fixtures",
    forbidden=[
        "noise2data.denoiser",
        "noise2data.flows",
        "noise2data.objectives",
        "noise2data.odes",
        "noise2data.paths",
        "noise2data.samplers",
    ],
)

EXCHANGED = "are v and x exchanged? The order is (v, x, t)"
ORDER = "the pair is (x0_hat, eps), in this order"


# ---- linear_path


@lab.check("linear_path")
def runs_from_data_to_noise(answer: Answer, rng: torch.Generator) -> None:
    """A straight line at even speed: x0 at t = 0, eps at t = 1, and in between in proportion."""
    x0, eps = normal(rng, 5, 3), normal(rng, 5, 3)
    for t in (number(rng, 0.2, 0.4), 0, 1):
        got = answer.linear_path(x0, eps, t)
        hint = recognise(
            got,
            {"time is turned round: here t = 0 is the data and t = 1 the noise": torch.lerp(eps, x0, t),
             "these factors belong to a variance-preserving path; here they are 1 - t and t":
                 (1 - t**2) ** 0.5 * x0 + t * eps,
             "the factors have no square roots: they are 1 - t and t": (1 - t) ** 0.5 * x0 + t**0.5 * eps,
             "x0 keeps its size; its factor is 1 - t": x0 + t * eps},
            "(1 - t)·x0 + t·eps",
        )  # fmt: skip
        expect_near(got, torch.lerp(x0, eps, t), what=f"x_t at t = {t:.3g}", hint=hint)


@lab.check("linear_path")
def takes_a_time_per_sample(answer: Answer, rng: torch.Generator) -> None:
    """Each point or image is on its line at its own time t[i]; float32 in, float32 out, also where t is float64."""
    t = uniform(rng, 0.0, 1.0, 6)
    for shape in ((6, 2), (6, 1, 3, 2)):
        x0, eps, xt, _ = line(rng, t, *shape)
        expect_times_and_dtype(answer.linear_path, x0, eps, t, xt)


# ---- velocity_target


@lab.check("velocity_target")
def points_from_data_to_noise(answer: Answer, rng: torch.Generator) -> None:
    """It is dx_t/dt of the straight line: what is gained from t = 0 to t = 1."""
    x0, eps, _, v = line(rng, number(rng, 0.2, 0.8), 5, 3)
    got = answer.velocity_target(x0, eps)
    hint = recognise(
        got,
        {"the sign is turned round: that is the velocity of a clock that runs from noise to data": -v,
         "this is the noise alone; x0 shrinks on the way": eps,
         "this is a unit vector; the velocity has the length of the line": v / v.norm(dim=1, keepdim=True)},
        "differentiate (1 - t)·x0 + t·eps by t",
    )  # fmt: skip
    expect_close(got, v, rtol=1e-5, atol=1e-5, hint=hint)


# ---- cfm_loss


@lab.check("cfm_loss")
def is_the_mean_square_of_the_velocity_for_a_network_that_says_0(answer: Answer, rng: torch.Generator) -> None:
    """A network that returns 0 has the loss mean((eps - x0)²), at every time: no weight, no 1/2."""
    net = answer.fixture("affine_score", A=torch.zeros(3, 3).double(), b=torch.zeros(3).double())
    for t in (number(rng, 0.1, 0.3), number(rng, 0.7, 0.9)):
        x0, eps, _, v = line(rng, t, 5, 3)
        got, want = answer.cfm_loss(net, x0, eps, t), v.square().mean()
        hint = recognise(
            got,
            {"there is no factor 1/2 in this loss": want / 2,
             "average over the features as well; here they are summed": 3 * want,
             "average over all elements; here they are summed": 15 * want,
             "this is the root of the mean square": want.sqrt(),
             "this is the mean of the absolute error; square it": v.abs().mean(),
             "the target is eps alone": eps.square().mean(),
             "the target is eps + x0": (eps + x0).square().mean(),
             "this is the error of eps; take that of the velocity": (1 - t) ** 2 * want},
            "the mean of (net(x_t, t) - (eps - x0))² over all elements",
        )  # fmt: skip
        expect_loss(got, want, what=f"the loss at t = {t:.3g}", hint=hint)


@lab.check("cfm_loss")
def asks_on_the_line_and_compares_with_its_velocity(answer: Answer, rng: torch.Generator) -> None:
    """The network is asked at x_t and t, and compared with eps - x0."""
    A, b, c, t = normal(rng, 3, 3), normal(rng, 3), number(rng, 1.0, 2.0), number(rng, 0.15, 0.35)
    x0, eps, xt, v = line(rng, t, 5, 3)
    got = answer.cfm_loss(answer.fixture("affine_score", A=A, b=b, c=c), x0, eps, t)

    def loss(at: torch.Tensor, told: float, target: torch.Tensor) -> torch.Tensor:
        return ((1 + c * told) * (at @ A.T + b) - target).square().mean()

    other = x0 + eps - xt  # the point at 1 - t
    want = loss(xt, t, v)
    hint = recognise(
        got,
        {"the sign of the target is turned round: it is eps - x0": loss(xt, t, -v),
         "x_t is (1 - t)·x0 + t·eps; here the factors are exchanged": loss(other, t, v),
         "this is the loss of the other clock, where t = 0 is noise": loss(other, t, -v),
         "the network is told 1 - t": loss(xt, 1 - t, v),
         "the network is told 1000 t; it takes t": loss(xt, 1000 * t, v),
         "the network is not told the time": loss(xt, 0.0, v),
         "the network is asked at x0; it should see x_t": loss(x0, t, v),
         "the network is asked at eps; it should see x_t": loss(eps, t, v),
         "the target is eps alone, as for a network of noise": loss(xt, t, eps),
         "the target is eps - x0, not x_t - x0": loss(xt, t, xt - x0)},
        "the mean of (net(x_t, t) - (eps - x0))²",
    )  # fmt: skip
    expect_loss(got, want, hint=hint)


@lab.check("cfm_loss", points=2)
def is_least_at_the_marginal_velocity(answer: Answer, rng: torch.Generator) -> None:
    """For N(m, v) data the exact field leaves v/((1-t)²v + t²), and no change of the network lowers it."""
    t = number(rng, 0.3, 0.8)
    flow = Gaussian(rng, t)
    m, v = flow.mean[:2], flow.var
    design = signs(4)  # x0 and eps with the moments of independent standard normals
    x0, eps = m + v**0.5 * design[:, :2], design[:, 2:]
    A, b = flow.growth * torch.eye(2, dtype=torch.float64), -m - flow.growth * (1 - t) * m
    net = answer.fixture("affine_score", A=A, b=b)
    seen = answer.gradient("cfm_loss", net, x0, eps, t, wrt=[], cotangent=ONE, parameters=net)
    expect_scalar(seen.value)
    hint = "if an earlier check fails too, mend that one first; what is left is the disagreement of lines that cross"
    expect_close(seen.value, v / flow.spread, rtol=1e-5, what="the loss", hint=hint)
    for name, like in (("A", A), ("b", b)):
        expect_parameter_gradient(seen, name, torch.zeros_like(like), hint=hint)


@lab.check("cfm_loss")
def takes_a_time_for_each_sample(answer: Answer, rng: torch.Generator) -> None:
    """With t of shape (B,), each sample, point or image, is at its own time, and the network is told so."""
    A, b, t = normal(rng, 2, 2), normal(rng, 2), uniform(rng, 0.0, 1.0, 6)
    net = answer.fixture("affine_score", A=A, b=b, c=0.7)
    for shape in ((6, 2), (6, 1, 3, 2)):
        x0, eps, xt, v = line(rng, t, *shape)
        got = with_rows(answer.cfm_loss, net, x0, eps, t)
        by_row = ((1 + 0.7 * on_batch_axis(t, x0)) * (xt @ A.T + b) - v).square().flatten(1).mean(1)
        first = is_right(partial(answer.cfm_loss, net, x0[:1], eps[:1], t[0].item()), by_row[0])
        expect_loss(got, by_row.mean(), hint=advice("sample i belongs to t[i]: " + COLUMN, first))


@lab.check("cfm_loss")
def is_a_scalar_in_the_dtype_of_x0(answer: Answer, rng: torch.Generator) -> None:
    """A 0-d tensor; float32 data give a float32 loss, and the network gets t as a float32 tensor of shape (B,)."""
    v = normal(rng, 3)
    for t in (number(rng, 0.2, 0.8), uniform(rng, 0.2, 0.8, 4)):
        x0, eps, _, target = line(rng, t, 4, 3)
        net = answer.fixture("strict_velocity_net", v=v, c=0.5)
        got = with_rows(answer.cfm_loss, net, x0.float(), eps.float(), t)
        expect_scalar(got)
        time = on_batch_axis(torch.as_tensor(t, dtype=torch.float64), x0)
        want = ((1 + 0.5 * time) * v - target).square().mean()
        expect_close(got, want.float(), rtol=1e-4, hint=advice(CAST, differs_little(got, want)))


# ---- euler_flow_sample


@lab.check("euler_flow_sample")
def asks_at_the_start_of_each_step(answer: Answer, rng: torch.Generator) -> None:
    """n equal steps from t = 1 to 0; the i-th asks at t = 1 - i/n, where it starts. With one step that is at t = 1."""
    v, c, x1 = normal(rng, 3), number(rng, 0.5, 1.5), normal(rng, 5, 3)
    net = answer.fixture("constant_field", v=v, c=c)

    def end(mean_time: float, length: float = 1.0) -> torch.Tensor:
        return x1 - length * (1 + c * mean_time) * v

    for n in (1, integer(rng, 3, 7)):
        early, late = (n + 1) / (2 * n), (n - 1) / (2 * n)  # the mean time of the starts, and of the ends
        got = answer.euler_flow_sample(net, x1, n)
        hint = recognise(
            got,
            {"the network is asked at the end of each step; ask where the step starts": end(late),
             "the times average 1/2, as midpoints and linspace(1, 0, n) do; ask where each step starts": end(0.5),
             "the step goes the wrong way: from t = 1 to t = 0, so dt is -1/n": end(early, -1.0),
             "this runs from t = 0 to t = 1; x1 is the state at t = 1": end(late, -1.0),
             "a step is missing: n steps of 1/n": x1 - ((n - 1) / n + c * (n - 1) * (n + 2) / (2 * n * n)) * v,
             "the times are linspace(1, 0, n), with n - 1 intervals; n steps have n + 1 times":
                 end(n / (2 * max(n - 1, 1)))},
            "n steps of length 1/n, at t = 1, 1 - 1/n, ..., 1/n",
        )  # fmt: skip
        expect_near(got, end(early), what=f"the end of n_steps = {n}", hint=hint)


@lab.check("euler_flow_sample")
def steps_from_where_it_is(answer: Answer, rng: torch.Generator) -> None:
    """In a field that is linear in x, n steps multiply x1 by (I - A/n) n times; x1 itself is left as it is."""
    A, x1, n = normal(rng, 3, 3), normal(rng, 5, 3), integer(rng, 3, 7)
    net = answer.fixture("affine_field", A=A, b=torch.zeros(3).double())
    seen = answer.observe("euler_flow_sample", net, x1, n)
    one = torch.eye(3, dtype=torch.float64)
    hint = recognise(
        seen.value,
        {"the network is asked at x1 in every step; ask at the state that the last step has reached": x1 @ (one - A).T},
        "x becomes x - net(x, t)/n in each step",
    )  # fmt: skip
    want = x1 @ torch.linalg.matrix_power(one - A / n, n).T
    expect_near(seen.value, want, what=f"the end of {n} steps", hint=hint)
    expect_kept(seen, x1, "x1")


@lab.check("euler_flow_sample")
def asks_n_times(answer: Answer, rng: torch.Generator) -> None:
    """The network is called exactly n_steps times, with t as a (B,) tensor in x1's dtype."""
    expect_n_calls(answer, rng, answer.euler_flow_sample)


# ---- velocity_to_x0


@lab.check("velocity_to_x0")
def follows_the_line_to_the_data(answer: Answer, rng: torch.Generator) -> None:
    """From a point of a line and the line's velocity it is the data end, x0."""
    for t in (number(rng, 0.2, 0.4), number(rng, 0.6, 0.8)):
        x0, eps, xt, v = line(rng, t, 5, 3)
        got = answer.velocity_to_x0(v, xt, t)
        hint = recognise(
            got,
            {"the sign is turned round: the velocity points to the noise": xt + t * v,
             "this is the other end of the line, the noise": eps,
             "the way back to t = 0 has the length t, not 1 - t": xt - (1 - t) * v,
             "the way back is t, not the whole line": xt - v,
             "this is (1 - t)·x0": (1 - t) * x0,
             EXCHANGED: v - t * xt,
             "nothing is divided by 1 - t: x_t = x0 + t·v": x0 / (1 - t)},
            "solve x_t = x0 + t·v for x0",
        )  # fmt: skip
        expect_near(got, x0, what=f"x0 at t = {t:.3g}", hint=hint)


@lab.check("velocity_to_x0")
def gives_the_posterior_mean_of_a_gaussian(answer: Answer, rng: torch.Generator) -> None:
    """With the exact velocity of Gaussian data it is E[x0 | x_t], which Bayes' rule gives as well."""
    t = number(rng, 0.2, 0.8)
    flow = Gaussian(rng, t)
    expect_near(answer.velocity_to_x0(flow.v, flow.x, t), flow.posterior_mean(t), hint="x - t·v")


@lab.check("velocity_to_x0")
def keeps_rows_and_dtype(answer: Answer, rng: torch.Generator) -> None:
    """With t of shape (B,), row i has its own time; float32 in, float32 out, also where t is float64."""
    t = uniform(rng, 0.0, 1.0, 6)
    x0, _, xt, v = line(rng, t, 6, 2)
    expect_times_and_dtype(answer.velocity_to_x0, v, xt, t, x0)


# ---- velocity_to_score


@lab.check("velocity_to_score")
def gives_the_score_of_a_gaussian(answer: Answer, rng: torch.Generator) -> None:
    """With the exact velocity of Gaussian data it is the score of their marginal at time t."""
    for t in (number(rng, 0.2, 0.4), number(rng, 0.6, 0.8)):
        flow = Gaussian(rng, t)
        x, v = flow.x, flow.v
        got, want = answer.velocity_to_score(v, x, t), flow.score()
        hint = recognise(
            got,
            {"the sign is turned round: the score points against the noise": -want,
             "this is -eps; divide by t, the standard deviation of the noise": t * want,
             "it is divided by t²; one t is enough": want / t,
             "eps is x + (1 - t)·v; here it is x + v": -(x + v) / t,
             "eps is x + (1 - t)·v; here the sign of v is turned round": -(x - (1 - t) * v) / t,
             "this takes the velocity for eps": -v / t,
             EXCHANGED: -(v + (1 - t) * x) / t,
             "this takes x0 for eps": -(x - t * v) / t,
             "time is turned round: noise has the standard deviation t": -(x + t * v) / (1 - t)},
            padding(got, -t * want, t) or "eps = x + (1 - t)·v, and the score is -eps/t",
        )  # fmt: skip
        expect_near(got, want, what=f"the score at t = {t:.3g}", hint=hint)


@lab.check("velocity_to_score")
def is_minus_x_at_pure_noise(answer: Answer, rng: torch.Generator) -> None:
    """At t = 1 it is -x, whatever the velocity: a number, and in a (B,) tensor."""
    x, v = normal(rng, 4, 3), normal(rng, 4, 3)
    half = is_right(lambda: answer.velocity_to_score(v, x, 0.5), -(2 * x + v))
    hint = advice("nothing may be divided by 1 - t: compute eps as x + (1 - t)·v", half)
    for t in (1, 1.0, torch.ones(4, dtype=torch.float64)):
        got = with_times(answer.velocity_to_score, v, x, t)
        expect_near(got, -x, what="the score at t = 1", hint=padding(got, x, 1.0) or hint)


@lab.check("velocity_to_score")
def is_finite_at_the_data(answer: Answer, rng: torch.Generator) -> None:
    """At t = 0 it is finite, any value; the other rows of the batch are as exact as ever."""
    t = uniform(rng, 0.2, 0.8, 4)
    t[integer(rng, 0, 3)] = 0.0
    _, eps, xt, v = line(rng, t, 4, 3)
    got = with_times(answer.velocity_to_score, v, xt, t)
    expect_type(got, torch.Tensor)
    expect(got.shape == xt.shape, f"the result has shape {tuple(got.shape)}; expected {tuple(xt.shape)}")
    bad = "at t = 0 the result is not finite: divide by t clamped from below, by something less than 1e-3"
    expect(got.isfinite().all(), bad)
    later = t > 0
    want = (-eps / t[:, None])[later]
    alone = is_right(lambda: answer.velocity_to_score(v[later], xt[later], t[later]), want)
    spoilt = advice("a row with t = 0 spoils the others: decide for each row, with torch.where or clamp", alone)
    hint = padding(got[later], eps[later], t[later, None]) or spoilt
    expect_near(got[later], want, what="the score where t > 0", hint=hint)
    for zero in (0, 0.0, torch.zeros(())):
        for x in (xt, xt.float()):
            got = answer.velocity_to_score(v.to(x), x, zero)
            expect_type(got, torch.Tensor)
            expect(got.isfinite().all(), bad)


@lab.check("velocity_to_score")
def keeps_its_digits_close_to_the_data(answer: Answer, rng: torch.Generator) -> None:
    """At t = 0.001 it is exact in float64, and in float32 right to 1e-5 of the largest entry."""
    _, eps, xt, v = line(rng, 1e-3, 100, 3)
    want = -eps / 1e-3
    got = answer.velocity_to_score(v, xt, 1e-3)
    hint = padding(got, eps, 1e-3) or EARLIER
    expect_close(got, want, rtol=1e-6, atol=1e-4, dtype=False, what="the score at t = 0.001", hint=hint)
    got = answer.velocity_to_score(v.float(), xt.float(), 1e-3)
    lost = "in float64 it is right, so digits are lost on the way: eps is x + (1 - t)·v, without x0, and divided once"
    scale = want.abs().max().item()
    expect_close(got, want, rtol=0, atol=1e-5 * scale, dtype=False, what="the float32 score at t = 0.001", hint=lost)


@lab.check("velocity_to_score")
def keeps_each_row_and_the_dtype(answer: Answer, rng: torch.Generator) -> None:
    """With t of shape (B,), row i has its own time; float32 in, float32 out, also where t is float64."""
    t = uniform(rng, 0.1, 1.0, 6)
    _, eps, xt, v = line(rng, t, 6, 2)
    score = partial(with_times, answer.velocity_to_score)
    padded = padding(score(v, xt, t), eps, t[:, None])
    expect(not padded, padded)
    expect_times_and_dtype(score, v, xt, t, -eps / t[:, None])


# ---- flip_time


@lab.check("flip_time")
def turns_both_sign_and_time(answer: Answer, rng: torch.Generator) -> None:
    """It returns a function g with g(x, t) = -net(x, 1 - t)."""
    A, b, x, t = normal(rng, 3, 3), normal(rng, 3), normal(rng, 5, 3), number(rng, 0.1, 0.3)

    def field(time: float) -> torch.Tensor:
        return x @ A.T + (1 + 1.5 * time) * b

    got = answer.call(flipped(answer, answer.fixture("affine_field", A=A, b=b, c=1.5)), x, t)
    hint = recognise(
        got,
        {"the sign is turned, the time is not: ask the network of the other clock at 1 - t": -field(t),
         "the time is turned, the sign is not: dx/dt changes its sign with the clock": field(1 - t),
         "this is the network as it came": field(t),
         "the network is asked at -t; the other clock shows 1 - t": -field(-t)},
        "-net(x, 1 - t)",
    )  # fmt: skip
    expect_near(got, -field(1 - t), hint=hint)


@lab.check("flip_time")
def takes_times_of_every_kind(answer: Answer, rng: torch.Generator) -> None:
    """t may be a number, a 0-d tensor or (B,), as for the network itself."""
    v, x, t = normal(rng, 2), normal(rng, 6, 2), uniform(rng, 0.0, 1.0, 6)
    g = flipped(answer, answer.fixture("constant_field", v=v, c=2.0))
    expect_near(answer.call(g, x, t), -(3 - 2 * t[:, None]) * v, what="the result for (B,) times", hint=EARLIER)
    for time in (t[0], t[0].item(), 1, 0):
        want = (-(3 - 2 * float(time)) * v).expand(6, 2)
        expect_near(answer.call(g, x, time), want, what=f"the result for t = {time}", hint=EARLIER)


# ---- logit_normal_times


@lab.check("logit_normal_times")
def has_normal_log_odds(answer: Answer, rng: torch.Generator) -> None:
    """log(t/(1 - t)) is normal, with the mean and the standard deviation that were asked for."""
    expect_logit_normal(answer, rng, number(rng, 0.5, 1.0), number(rng, 0.4, 0.7))


@lab.check("logit_normal_times")
def is_repeatable(answer: Answer, rng: torch.Generator) -> None:
    """Equal generators give equal times, different ones differ, and no other generator is used."""
    seed = integer(rng, 0, 10**6)
    seeds = (seed, seed, seed + 1)
    first, second, third = (
        answer.observe("logit_normal_times", 8, 0.3, 1.0, torch.Generator().manual_seed(s)) for s in seeds
    )
    expect_entries(first.value, 8)
    expect(not first.global_draws, "times are drawn from the global generator; pass generator=generator to randn")
    expect(torch.equal(first.value, second.value), "two runs with equal generators differ")
    expect(not torch.equal(first.value, third.value), "runs with different generators are equal")
    expect(len(set(first.value.tolist())) > 4, "several of the 8 times are equal; each entry needs a draw of its own")


# ---- minibatch_ot


@lab.check("minibatch_ot")
def finds_the_best_of_all_orders(answer: Answer, rng: torch.Generator) -> None:
    """Of all orders of five noises it is the one with the smallest summed squared distance, row by row to x0."""
    for _ in range(3):
        while True:
            x0, eps = normal(rng, 5, 2), normal(rng, 5, 2)
            best = best_order(x0, eps)
            back = torch.tensor(best).argsort().tolist()
            if len({*map(tuple, (best, back, range(5)))}) == 3:  # the order is not its own inverse
                break
        mistakes = {
            "eps comes back as it is": eps,
            "this is the inverse permutation: row i of the result belongs to x0[i]": eps[back],
            "x0 was reordered; its rows stay, those of eps move": x0[back],
        }
        expect_order(answer.minibatch_ot(x0, eps), x0, eps, best, mistakes)


@lab.check("minibatch_ot")
def minimises_squared_distances_of_the_whole_batch(answer: Answer, rng: torch.Generator) -> None:
    """It is the sum of the squares that is least, not that of the distances, and not each row by itself."""
    h, far = number(rng, 0.3, 0.7), 20 * normal(rng, 2)
    turn, _ = torch.linalg.qr(normal(rng, 2, 2))
    # Squares: 2 (1 + h²) as it is, 4 if exchanged; distances: 2 (1 + h²)**0.5 as it is, 2 if exchanged.
    # The first row of x0 lies on a noise: a greedy choice, row by row or by pairs, takes that one.
    x0 = torch.tensor([[1.0, 0.0], [0.0, h]], dtype=torch.float64) @ turn.T + far
    eps = torch.tensor([[2.0, h], [1.0, 0.0]], dtype=torch.float64) @ turn.T + far
    order = [1, 0] if integer(rng, 0, 1) else [0, 1]
    given = eps[order]
    best = torch.tensor(order).argsort().tolist()
    other = "this is the best order for distances that are not squared, and what a greedy choice takes"
    mistakes = {other: eps[[1, 0]]}
    expect_order(answer.minibatch_ot(x0, given), x0, given, best, mistakes)


@lab.check("minibatch_ot")
def takes_images_that_require_gradients(answer: Answer, rng: torch.Generator) -> None:
    """Images are compared as flattened vectors; arguments may require gradients, which reach eps."""
    x0, eps, weight = normal(rng, 6, 2, 2, 2), normal(rng, 6, 2, 2, 2), normal(rng, 6, 2, 2, 2)
    best = best_order(x0, eps)
    mistakes = {"eps comes back as it is": eps}
    expect_order(answer.minibatch_ot(x0, eps), x0, eps, best, mistakes)
    seen = answer.gradient("minibatch_ot", x0, eps, wrt=[0, 1], cotangent=weight)
    expect_order(seen.value, x0, eps, best, mistakes)
    expect_gradient(seen, 1, weight[torch.tensor(best).argsort()], "eps")


# ---- reflow_pairs

pair = partial(two, names="(x0_hat, eps)")


@lab.check("reflow_pairs")
def pairs_each_noise_with_its_own_end(answer: Answer, rng: torch.Generator) -> None:
    """x0_hat is where n Euler steps lead from eps at t = 1, row by row."""
    A, eps, n = normal(rng, 3, 3), normal(rng, 5, 3), integer(rng, 2, 6)
    v, c = normal(rng, 3), number(rng, 0.5, 1.5)
    power = torch.linalg.matrix_power(torch.eye(3, dtype=torch.float64) - A / n, n)
    for net, want in (
        (answer.fixture("affine_field", A=A, b=torch.zeros(3).double()), eps @ power.T),
        (answer.fixture("constant_field", v=v, c=c), eps - (1 + c * (n + 1) / (2 * n)) * v),
    ):
        got = pair(answer.reflow_pairs(net, eps, n))[0]
        hint = recognise(
            got,
            {ORDER: eps,
             "the flow runs from t = 1, noise, to t = 0: dt is -1/n": 2 * eps - want},
            "as euler_flow_sample from eps",
        )  # fmt: skip
        expect_near(got, want, what="x0_hat", hint=hint)


@lab.check("reflow_pairs")
def gives_the_noise_back(answer: Answer, rng: torch.Generator) -> None:
    """The second of the pair is the very eps that x0_hat was made from: not drawn anew, not shuffled, not changed."""
    v, eps = normal(rng, 3), normal(rng, 6, 3)
    seen = answer.observe("reflow_pairs", answer.fixture("constant_field", v=v), eps, 3)
    x0, noise = pair(seen.value)
    expect_near(x0, eps - v, what="x0_hat", hint=recognise(x0, {ORDER: eps}, EARLIER))
    expect_kept(seen, eps, "eps")
    expect_type(noise, torch.Tensor, "the noise")
    shuffled = noise.shape == eps.shape and torch.equal(noise.sort(0).values, eps.sort(0).values)
    hint = "the rows are shuffled: each x0_hat has lost its noise" if shuffled else "return eps as it came"
    expect_close(noise, eps, rtol=0, atol=0, what="the noise", hint=hint)
    expect(not seen.global_draws, "random numbers are drawn: reflow keeps each noise with its own end")


@lab.check("reflow_pairs")
def carries_no_graph(answer: Answer, rng: torch.Generator) -> None:
    """x0_hat is data for the next network: no gradient flows from it to the parameters of this one."""
    A, b, eps = normal(rng, 2, 2), normal(rng, 2), normal(rng, 4, 2)
    net = answer.fixture("affine_score", A=A, b=b)
    seen = answer.gradient("reflow_pairs", net, eps, 2, wrt=[], cotangent=[eps, eps], parameters=net)
    step = eps - (eps @ A.T + b) / 2
    x0 = pair(seen.value)[0]
    expect_near(x0, step - (step @ A.T + b) / 2, what="x0_hat", hint=recognise(x0, {ORDER: eps}, EARLIER))
    held = any(grad is not None for grad in seen.parameter_grads.values())
    expect(not held, "x0_hat still holds the graph of the network that made it: use torch.no_grad(), or detach()")


# ---- straightness


@lab.check("straightness")
def is_zero_for_straight_lines_at_even_speed_alone(answer: Answer, rng: torch.Generator) -> None:
    """Straight lines at even speed have 0; a curve with the same ends has not."""
    n = integer(rng, 4, 8)
    s = torch.linspace(0, 1, n + 1, dtype=torch.float64)[:, None, None]
    start, way, bend = normal(rng, 9, 3), normal(rng, 9, 3), normal(rng, 9, 3)
    expect_bending(answer, start + s * way, 0.0, "for straight lines at even speed it")
    want = bend.square().sum(1).mean().item() * (n * n - 1) / (3 * n * n)
    expect_bending(answer, start + s * way + s * (1 - s) * bend, want, "for parabolas it")


@lab.check("straightness")
def sees_uneven_speed(answer: Answer, rng: torch.Generator) -> None:
    """A straight line that is run through unevenly is not 0: the states 1, 0.6, 0 have 0.04."""
    states = torch.tensor([1.0, 0.6, 0.0], dtype=torch.float64)[:, None, None]
    expect_bending(answer, states, 0.04, "for the states 1, 0.6, 0 it")
    n, way, a = integer(rng, 3, 6), normal(rng, 7, 3), number(rng, 0.3, 0.9)
    s = torch.linspace(0, 1, n + 1, dtype=torch.float64)[:, None, None]
    want = a**2 * way.square().sum(1).mean().item() * (n * n - 1) / (3 * n * n)
    expect_bending(answer, (s + a * s * (s - 1)) * way, want, "for straight lines at uneven speed it")


@lab.check("straightness")
def averages_over_steps_and_batch_and_sums_over_features(answer: Answer, rng: torch.Generator) -> None:
    """The mean over steps and batch of a squared norm, a sum over all axes of a point or an image; no 1/2, no root."""
    n, B, d = 3, 5, 4
    first, second = normal(rng, B, d), normal(rng, B, d)  # departures from the mean step; the third balances them
    departures = torch.stack([first, second, -first - second])
    start, mean_step = normal(rng, B, d), normal(rng, B, d)
    states = torch.cat([start[None], start + (mean_step + departures).cumsum(0)])
    want = n**2 * departures.square().sum(2).mean().item()
    expect_bending(answer, states, want, "for points it")
    expect_bending(answer, states.reshape(n + 1, B, 1, 2, 2), want, "for images it")
