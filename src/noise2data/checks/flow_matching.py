"""What the checks of lab 9 compute by another route than the student's, and what several of them expect."""

from __future__ import annotations

import itertools
from typing import Any

import torch

from labcheck import expect, expect_close, expect_type
from labcheck.answer import Answer, AnswerError, Observation
from labcheck.inside.wire import Handle
from noise2data.checks.arguments import integer, normal, number, on_batch_axis
from noise2data.checks.expectations import (
    expect_near,
    expect_rows,
    with_rows,
)
from noise2data.checks.hints import advice, differs_little, recognise
from noise2data.checks.statistics import expect_gaussian, expect_standard

CAST = "cast t to the dtype of the data before you multiply"
COLUMN = "give t the shape (B, 1, ..., 1)"
ONE = torch.ones((), dtype=torch.float64)
Line = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def line(rng: torch.Generator, t: float | torch.Tensor, *shape: int) -> Line:
    """x0, eps, x_t and velocity of lines that pass random points at time t, a number or (B,), in random directions."""
    xt, v = normal(rng, *shape), normal(rng, *shape)
    time = on_batch_axis(torch.as_tensor(t, dtype=torch.float64), xt)
    return xt - time * v, xt + (1 - time) * v, xt, v


def expect_times(
    call: Any, a: torch.Tensor, b: torch.Tensor, t: torch.Tensor, want: torch.Tensor, what: str = "the result"
) -> None:
    """Fail unless call(a, b, t) is the wanted value to five digits, row i of it at its time t[i]."""
    hint = "row i belongs to t[i]: " + COLUMN
    expect_rows(call, (a, b, t), 2, want, hint=hint, what=what, rtol=1e-5, atol=1e-5)


def expect_times_and_dtype(call: Any, a: torch.Tensor, b: torch.Tensor, t: torch.Tensor, want: torch.Tensor) -> None:
    """The same, and float32 in has to be float32 out."""
    expect_times(call, a, b, t, want)
    got = with_rows(call, a.float(), b.float(), t)
    expect_close(got, want.float(), rtol=1e-4, atol=1e-4, hint=advice(CAST, differs_little(got, want)))


class Gaussian:
    """The flow of N(mean, var I) data, in closed form: the marginal at time t is N((1 - t) mean, spread I)."""

    def __init__(self, rng: torch.Generator, t: float) -> None:
        self.mean, self.var = normal(rng, 3), number(rng, 0.3, 2.0)
        self.centre, self.spread = (1 - t) * self.mean, (1 - t) ** 2 * self.var + t**2
        # A Gaussian cloud keeps its shape: each point keeps its place in it, so many deviations from the centre.
        self.growth = (t - (1 - t) * self.var) / self.spread
        self.x = self.centre + self.spread**0.5 * normal(rng, 5, 3)
        self.v = -self.mean + self.growth * (self.x - self.centre)

    def score(self) -> torch.Tensor:
        score: torch.Tensor = -(self.x - self.centre) / self.spread
        return score

    def posterior_mean(self, t: float) -> torch.Tensor:
        """The mean of N(x0; mean, var) N(x; (1 - t) x0, t²), normalised: weighted by precisions."""
        prior, evidence = 1 / self.var, (1 - t) ** 2 / t**2
        mean: torch.Tensor = (prior * self.mean + evidence * self.x / (1 - t)) / (prior + evidence)
        return mean


def expect_kept(seen: Observation, given: torch.Tensor, name: str) -> None:
    """Fail if a sampler wrote into the state that it starts from, its second argument."""
    after = seen.args[1]
    kept = isinstance(after, torch.Tensor) and torch.equal(after, given)
    expect(kept, f"{name} was changed in place; write x = x - ..., not x -= ...")


def expect_n_calls(answer: Answer, rng: torch.Generator, run: Any) -> None:
    """Fail unless run(net, x1, n), the end of n Euler steps, asks the network once a step, with what it needs."""
    a, per_call, x1, n = number(rng, 0.5, 1.5), number(rng, 0.2, 0.4), normal(rng, 4, 2), integer(rng, 3, 7)
    net = answer.fixture("table_net", table=torch.tensor([a, a], dtype=torch.float64), per_call=per_call)
    got = run(net, x1, n)
    calls = answer.calls(net)
    expect(calls == n, f"the network is called {calls} times; expected n_steps = {n}")
    # The i-th call says a (1 + i per_call).
    want = x1 - a * (1 + per_call * (n - 1) / 2)
    expect_near(got, want, what=f"the end of {n} steps", hint="each call counts once, by 1/n")
    net = answer.fixture("strict_velocity_net", v=normal(rng, 2), c=0.5)
    run(net, x1, n)
    run(net, x1.float(), n)


def with_times(call: Any, *args: Any) -> Any:
    """call(*args), of which one is (B,); torch's message on an `if` of a (B,) time gets the reason as well."""
    try:
        return with_rows(call, *args)
    except AnswerError as error:
        if "ambiguous" not in str(error):
            raise
        why = "t may be (B,): decide for each row, with torch.where or clamp"
        raise AnswerError(f"{error} — {why}", error.status) from None


def padding(got: Any, eps: torch.Tensor, t: float | torch.Tensor) -> str:
    """A question where a score is -eps/(t + c), with one small number c > 0 for all entries; otherwise nothing."""
    if not isinstance(got, torch.Tensor) or got.shape != eps.shape or not got.is_floating_point():
        return ""
    got = got.double()
    c = (-((eps + t * got) * got).sum() / got.square().sum()).item()
    without, with_c = (((got * (t + add) + eps).abs().max() / eps.abs().max()).item() for add in (0.0, c))
    padded = 0 < c < 0.1 and without > 1e-6 and with_c < 0.1 * min(without, 1.0)
    return f"eps is divided by t + {c:.1g}: is something added to t, or is t clamped too high?" if padded else ""


def flipped(answer: Answer, net: Handle) -> Handle:
    """The student's flip of a net, or a message where it is no callable."""
    why = "flip_time gets only net and returns a function g(x, t)"
    try:
        got = answer.flip_time(net)
    except AnswerError as error:
        if error.status != "error" or "NotImplementedError" in str(error):
            raise
        raise AnswerError(f"{error} — {why}", error.status) from None
    expect_type(got, Handle, why + "; what it returns")
    handle: Handle = got
    return handle


def expect_entries(got: Any, n: int) -> None:
    """Fail unless a value is an (n,) tensor."""
    expect_type(got, torch.Tensor)
    expect(got.shape == (n,), f"the result has shape {tuple(got.shape)}; expected {(n,)}")


def drawn_times(answer: Answer, n: int, mean: float, std: float, generator: torch.Generator) -> torch.Tensor:
    """The student's draws in float64, or a message where they are no (n,) tensor of times between 0 and 1."""
    got = answer.logit_normal_times(n, mean, std, generator)
    expect_entries(got, n)
    expect(got.is_floating_point(), f"the times have dtype {str(got.dtype)[6:]}; expected floating-point numbers")
    inside = bool(((got > 0) & (got < 1)).all())
    expect(inside, f"times lie between {got.min():.3g} and {got.max():.3g}; expected (0, 1): sigmoid(mean + std·z)")
    times: torch.Tensor = got.double()
    return times


def expect_logit_normal(answer: Answer, rng: torch.Generator, mean: float, std: float) -> None:
    """Fail unless the log-odds of the times are N(mean, std²)."""
    t = drawn_times(answer, 40_000, mean, std, torch.Generator().manual_seed(integer(rng, 0, 2**31 - 1)))
    z = (torch.logit(t) - mean) / std
    what = f"log(t/(1 - t)), less {mean:.2f} and over {std:.2f},"
    mistakes = {"std is a standard deviation; here it is used as a variance": 1 / std, "std is squared here": std**2}
    hint = "logit(t) should be mean + std·z with z standard normal"
    leans = "logit(t) is mean + std·z; mean > 0 leans to noise, t = 1" if abs(mean) > 0.1 else hint
    expect_standard(z, what, hint, mistakes, of_mean=leans)
    expect_gaussian(z, what)


def cost(x0: torch.Tensor, eps: torch.Tensor) -> float:
    """The summed squared distance of rows."""
    return (x0.double() - eps.double()).square().sum().item()


def best_order(x0: torch.Tensor, eps: torch.Tensor) -> list[int]:
    """The cheapest of all orders of eps, by trying each."""
    return list(min(itertools.permutations(range(len(eps))), key=lambda order: cost(x0, eps[list(order)])))


def expect_order(got: Any, x0: torch.Tensor, eps: torch.Tensor, best: list[int], mistakes: dict[str, Any]) -> None:
    """Fail unless a value is eps in the best order, to the last bit."""
    expect_type(got, torch.Tensor)
    expect(got.shape == eps.shape, f"the result has shape {tuple(got.shape)}; expected that of eps, {tuple(eps.shape)}")
    expect(got.dtype == eps.dtype, f"the result has dtype {str(got.dtype)[6:]}; expected {str(eps.dtype)[6:]}, eps's")
    hint = recognise(got, {name: value for name, value in mistakes.items() if not torch.equal(value, eps[best])})
    used = [[i for i, row in enumerate(eps) if torch.equal(row, here)] for here in got]
    strange = [i for i, places in enumerate(used) if not places]
    expect(not strange, f"row {strange[:1]} of the result is no row of eps" + (f" — {hint}" if hint else ""))
    most = max(torch.bincount(torch.tensor([places[0] for places in used])).tolist())
    expect(most == 1, f"one noise is used {most} times; in a permutation each is used exactly once")
    right, found = cost(x0, eps[best]), cost(x0, got)
    message = f"the summed squared distance is {found:.5g}; the best order has {right:.5g}"
    expect(found <= right * (1 + 1e-5), message + (f" — {hint}" if hint else ""))


def expect_bending(answer: Answer, states: torch.Tensor, want: float, what: str) -> None:
    """Fail unless the straightness of a trajectory is the wanted number; well-known mistakes are known by theirs."""
    got = answer.straightness(states)
    whole, steps = states[-1] - states[0], states.diff(dim=0)
    n, batch = len(steps), states.shape[1]
    square = (whole - n * steps).square()
    chord = torch.stack([torch.lerp(states[0], states[-1], i / n) for i in range(n + 1)])

    def norms(gap: torch.Tensor) -> torch.Tensor:
        return gap.square().flatten(2).sum(2)

    hint = recognise(
        torch.as_tensor(got) if isinstance(got, float) else got,
        {"a step is compared with the whole way; multiply it by n": norms(whole - steps).mean(),
         "n is the number of steps, len(trajectory) - 1": norms(whole - (n + 1) * steps).mean(),
         "compare velocities, not places": norms(states - chord).mean(),
         "uneven speed counts as well: compare velocities, not directions or lengths": torch.zeros(()),
         "the squares are averaged over the features; the norm sums them": square.mean(),
         "the squares are summed over the last axis alone; sum over all after the batch": square.sum(-1).mean(),
         "the steps are summed; average over them": square.sum() / batch,
         "the batch is summed; average over it": square.sum() / n,
         "steps and batch are summed; average over both": square.sum(),
         "this is the mean of the norms, not of their squares": norms(whole - n * steps).sqrt().mean(),
         "this compares each step with the mean step; multiply both by n": square.sum() / (n**3 * batch),
         "there is no factor 1/2": square.sum() / (2 * n * batch)},
        "the mean over steps and batch of ||(x_n - x_0) - n (x_{i+1} - x_i)||²",
    )  # fmt: skip
    expect_close(got, want, rtol=1e-6, atol=1e-9, what=what, hint=hint)
