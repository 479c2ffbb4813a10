"""The visible checks of lab 10, guidance.

Wanted values come by another route than the student's. Two predictions are a middle and a half-difference, of which
guidance is a multiple. A network of labels is affine, and so is the guided one. The classifier's push is compared with
the conditional model of Gaussians in closed form. What is rescaled has a standard deviation by its making.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from labcheck import Battery, expect, expect_close, expect_type
from labcheck.answer import Answer, AnswerError
from noise2data.checks.arguments import (
    distinct_levels,
    integer,
    normal,
    number,
    on_batch_axis,
    random_angles,
    seeded,
    uniform,
)
from noise2data.checks.expectations import expect_rows, with_rows
from noise2data.checks.hints import CAST_LAST, EARLIER, advice, differs_little, recognise
from noise2data.checks.statistics import SIX

lab = Battery("lab10_guidance", fixtures="noise2data.checks.fixtures", forbidden=["noise2data.guidance"])

PER_BATCH = "either all labels are dropped or none: draw a number for each sample, not one for the whole batch"
ON_BATCH_AXIS = "give the factor of each sample the shape (B, 1, ..., 1)"
REASONS = {  # part of what torch says -> what it means here
    "Boolean value of Tensor": "t may be (B,), where `if` has no answer: compare with torch, choose with `torch.where`",
    "Dimension out of range": "data may be (B, d), too: count the axes, do not number them; all but the first",
}


def plain(rng: torch.Generator, low: float, high: float) -> float:
    """A random number in low..high with so few binary digits that torch.tensor of it, in float32, loses none."""
    return round(number(rng, low, high) * 64) / 64


def explained(call: Callable[..., Any], *args: Any) -> Any:
    """call(*args); what torch says of some mistakes gets the reason."""
    try:
        return with_rows(call, *args)
    except AnswerError as error:
        for words, reason in REASONS.items():
            if words in str(error):
                raise AnswerError(f"{error} — {reason}", error.status) from None
        raise


# ---- drop_labels


def labels(rng: torch.Generator, n: int, low: int = 0, high: int = 9) -> torch.Tensor:
    """Random labels low..high, (n,) int64."""
    return torch.randint(low, high + 1, (n,), generator=rng)


def expect_kept_or_null(got: Any, y: torch.Tensor, null: int) -> torch.Tensor:
    """Which labels became null, (B,) bool; fails unless all others are the old ones in their old places."""
    expect_type(got, torch.Tensor)
    expect(got.shape == y.shape, f"the result has shape {tuple(got.shape)}; expected that of y, {tuple(y.shape)}")
    dropped: torch.Tensor = got == null
    strange = (~dropped & (got != y)).nonzero().flatten()
    if len(strange):
        i = int(strange[0])
        expect(False, f"entry {i} is {got[i].item()}; expected the label {y[i].item()} that stood there, or {null}")
    return dropped


def expect_share(dropped: torch.Tensor, p: float, what: str = "of the labels") -> None:
    """Fail unless a share p is dropped, up to six standard errors."""
    n, share = dropped.numel(), dropped.double().mean().item()
    scatter = SIX * math.sqrt(p * (1 - p) / n)
    if abs(share - p) <= scatter:
        return
    hint = "p is the probability of null, not that of being kept" if abs(share - 1 + p) <= scatter else ""
    hint = PER_BATCH if share in (0, 1) else hint
    expect(False, f"{share:.1%} {what} became null; expected {p:.1%}" + (f" — {hint}" if hint else ""))


@lab.check("drop_labels")
def keeps_the_others_in_their_places(answer: Answer, rng: torch.Generator) -> None:
    """Some entries become null, and all others are the labels that stood there."""
    y, p = labels(rng, 400), number(rng, 0.3, 0.6)
    dropped = expect_kept_or_null(answer.drop_labels(y, p, 10, seeded(rng)), y, 10)
    count = int(dropped.sum())
    expect(0 < count < len(y), f"{count} of {len(y)} labels became null with p = {p:.2f} — {PER_BATCH}")


@lab.check("drop_labels")
def drops_with_probability_p(answer: Answer, rng: torch.Generator) -> None:
    """Of many labels, a share p becomes null."""
    y, p = labels(rng, 20_000), number(rng, 0.08, 0.4)
    expect_share(expect_kept_or_null(answer.drop_labels(y, p, 10, seeded(rng)), y, 10), p)


@lab.check("drop_labels")
def decides_for_each_sample_alone(answer: Answer, rng: torch.Generator) -> None:
    """Over many batches, the number of nulls scatters as it does when each label is decided by itself."""
    p, y, batches = number(rng, 0.25, 0.4), labels(rng, 40), 120
    draws = torch.stack(
        [expect_kept_or_null(answer.drop_labels(y, p, 10, seeded(rng)), y, 10) for _ in range(batches)]
    ).double()
    # The variance of a count is 40 p (1 - p); its estimate scatters by a factor of 1 +- 0.13.
    ratio = draws.sum(1).var().item() / (len(y) * p * (1 - p))
    together = f"the number of nulls in a batch has {ratio:.1f} times the variance that it should have"
    expect(ratio < 2.2, f"{together} — several labels are dropped together: draw a number for each sample")
    expect(ratio > 0.2, "all batches have equally many nulls; each label is dropped by itself, with probability p")
    expect_share(draws, p, f"of the labels in {batches} batches")
    farthest = (draws.mean(0) - p).abs().max().item()
    expect(
        farthest < SIX * math.sqrt(p * (1 - p) / batches),
        "some places in the batch are dropped far more often than others; all should be alike",
    )


@lab.check("drop_labels")
def leaves_y_as_it_is(answer: Answer, rng: torch.Generator) -> None:
    """The labels that were given are the same after the call; those with null are a new tensor."""
    y, p = labels(rng, 300), number(rng, 0.3, 0.6)
    seen = answer.observe("drop_labels", y, p, 10, seeded(rng))
    after = seen.args[0]
    same = isinstance(after, torch.Tensor) and torch.equal(after, y)
    expect(same, "y itself was changed: assign to the entries of a copy, or choose between null and y with torch.where")
    expect(expect_kept_or_null(seen.value, y, 10).any(), f"none of {len(y)} labels became null with p = {p:.2f}")


@lab.check("drop_labels")
def is_repeatable(answer: Answer, rng: torch.Generator) -> None:
    """Equal generators give equal results, different ones differ, and no other generator is used."""
    y, seed = labels(rng, 200), integer(rng, 0, 10**6)
    first, second, third = (
        answer.observe("drop_labels", y, 0.5, 10, torch.Generator().manual_seed(s)) for s in (seed, seed, seed + 1)
    )
    expect_kept_or_null(first.value, y, 10)
    expect(not first.global_draws, "the global generator is used; pass generator=generator to torch.rand")
    expect(torch.equal(first.value, second.value), "two calls with equal generators differ")
    expect(not torch.equal(first.value, third.value), "calls with different generators are equal: nothing is drawn")


# ---- cfg_combine


class Pair:
    """cond and uncond, made of a middle and a half-difference, of which guidance is a multiple."""

    def __init__(self, rng: torch.Generator, *shape: int, size: float = 1.0) -> None:
        self.middle, self.half = size * normal(rng, *shape), size * normal(rng, *shape)
        self.cond, self.uncond = self.middle + self.half, self.middle - self.half

    def guided(self, w: float | torch.Tensor) -> torch.Tensor:
        """What cfg_combine should return for a weight or for (B,) weights."""
        return self.middle + on_batch_axis(torch.as_tensor(2 * w - 1, dtype=torch.float64), self.half) * self.half


def combination_mistakes(c: torch.Tensor, u: torch.Tensor, w: float) -> dict[str, torch.Tensor]:
    """Well-known wrong combinations."""
    return {
        "this is the paper's (1 + w) cond - w uncond; here w = 1 is the conditional model and w = 0 the unconditional":
            c + w * (c - u),
        "the sign before uncond is wrong: its factor is 1 - w, and the two factors sum to 1": w * c + (w - 1) * u,
        "cond and uncond are exchanged": c + w * (u - c),
        "the difference is turned round: it points from uncond to cond": u + w * (u - c),
        "uncond is not subtracted: w multiplies the difference cond - uncond": u + w * c,
        "w is not used": c,
    }  # fmt: skip


@lab.check("cfg_combine")
def goes_w_times_the_difference(answer: Answer, rng: torch.Generator) -> None:
    """From uncond it goes w times the way to cond, between the two and beyond."""
    for w in (plain(rng, 1.5, 8.0), plain(rng, 0.2, 0.4)):
        pair = Pair(rng, 5, 3)
        got = answer.cfg_combine(pair.cond, pair.uncond, w)
        hint = recognise(got, combination_mistakes(pair.cond, pair.uncond, w), "uncond + w (cond - uncond)")
        what = f"the combination for w = {w:.2f}"
        expect_close(got, pair.guided(w), rtol=1e-7, dtype=False, what=what, hint=hint)


@lab.check("cfg_combine")
def meets_both_models(answer: Answer, rng: torch.Generator) -> None:
    """w = 0 is uncond, w = 1 is cond; and where the two agree, no weight changes anything."""
    c, u = normal(rng, 4, 3), normal(rng, 4, 3)
    for w, want, name in ((0.0, u, "uncond"), (1.0, c, "cond"), (0, u, "uncond"), (1, c, "cond")):
        got = answer.cfg_combine(c, u, w)
        expect_close(got, want, rtol=1e-7, dtype=False, what=f"w = {w}", hint=f"w = {w} is {name}")
    got = answer.cfg_combine(c, c, plain(rng, 2.0, 9.0))
    hint = "guidance of nothing changes nothing: the factors of cond and uncond sum to 1"
    expect_close(got, c, rtol=1e-7, dtype=False, what="the combination for cond = uncond", hint=hint)


@lab.check("cfg_combine")
def guides_every_channel(answer: Answer, rng: torch.Generator) -> None:
    """Images of four or five channels are guided in all of them."""
    for channels in (4, 5):
        pair, w = Pair(rng, 3, channels, 6, 6), plain(rng, 2.0, 6.0)
        got, want = answer.cfg_combine(pair.cond, pair.uncond, w), pair.guided(w)
        first = isinstance(got, torch.Tensor) and got.shape == want.shape and differs_little(got[:, :3], want[:, :3])
        hint = advice("the first three channels are right, the others are not; latents have four", first)
        expect_close(got, want, rtol=1e-7, dtype=False, what=f"the combination of {channels} channels", hint=hint)


@lab.check("cfg_combine")
def takes_a_weight_per_sample(answer: Answer, rng: torch.Generator) -> None:
    """With w of shape (B,), row i is guided with its own w[i]."""
    pair, w = Pair(rng, 6, 2), uniform(rng, 0.0, 8.0, 6)
    expect_rows(answer.cfg_combine, (pair.cond, pair.uncond, w), 2, pair.guided(w), hint=ON_BATCH_AXIS)


# ---- guided_eps


class LabelNet:
    """A network net(x, k, y) of 5 labels and 20 levels, whose answers are affine in x, and so are the guided ones.

    Each call of `guide` makes it anew, since its answers depend on how often it is called; `sizes` has its batches'.
    """

    def __init__(self, answer: Answer, rng: torch.Generator, null: int = 4, strict: bool = False) -> None:
        self.answer, self.null = answer, null
        self.scale, self.shift = normal(rng, 5, 21), normal(rng, 5, 21)
        self.labels = torch.tensor([label for label in range(5) if label != null])
        self.settings = {"per_call": number(rng, 0.2, 0.4), "strict": strict}
        self.sizes: list[int] = []

    def batch(self, rng: torch.Generator, *shape: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """x of a shape, levels 1..20, all different, and labels other than null."""
        y = self.labels[torch.randint(len(self.labels), shape[:1], generator=rng)]
        return normal(rng, *shape), distinct_levels(rng, 20, shape[0]), y

    def guide(self, x: torch.Tensor, k: int | torch.Tensor, y: torch.Tensor, null: int, w: float | torch.Tensor) -> Any:
        """What the student's guided_eps returns."""
        net = self.answer.fixture("label_net", scale=self.scale, shift=self.shift, **self.settings)
        got = self.answer.guided_eps(net, x, k, y, null, w)
        self.sizes = self.answer.attribute(net, "seen")
        return got

    def wanted(self, x: torch.Tensor, k: int | torch.Tensor, y: torch.Tensor, w: float) -> torch.Tensor:
        """The guided answer: the two tables are guided, and x goes through what comes of them."""
        scale, shift = (torch.lerp(table[self.null, k], table[y, k], w) for table in (self.scale, self.shift))
        return on_batch_axis(scale, x) * x + on_batch_axis(shift, x)


@lab.check("guided_eps")
def guides_a_network_with_known_answers(answer: Answer, rng: torch.Generator) -> None:
    """Each sample gets the network's answer for null, plus w times the way to its answer for y."""
    model, k, w = LabelNet(answer, rng), integer(rng, 1, 20), plain(rng, 1.5, 6.0)
    x, _, y = model.batch(rng, 6, 3)
    got = model.guide(x, k, y, 4, w)
    c, u = model.wanted(x, k, y, 1.0), model.wanted(x, k, y, 0.0)
    mistakes = combination_mistakes(c, u, w) | {"this is the network's answer for null alone": u}
    hint = recognise(got, mistakes, "mind which half of the batch has the labels, and that x, k and y go together")
    hint = "the network is to be called once, with both halves in one batch" if len(model.sizes) != 1 else hint
    what = f"the guided eps for w = {w:.2f}"
    expect_close(got, model.wanted(x, k, y, w), rtol=1e-7, dtype=False, what=what, hint=hint)


@lab.check("guided_eps")
def asks_once_with_twice_the_batch(answer: Answer, rng: torch.Generator) -> None:
    """The network is called exactly once, with a batch of 2B, whatever w is."""
    for w in (plain(rng, 1.5, 6.0), 1.0, 0.0):
        model = LabelNet(answer, rng)
        x, _, y = model.batch(rng, 5, 2)
        got = model.guide(x, 7, y, 4, w)
        rows = " and ".join(map(str, model.sizes))
        found = f"is called {len(model.sizes)} times, with {rows} rows" if rows else "is not called"
        why = "one batch has both halves: x twice, k twice, and the labels y beside B times null"
        expect(model.sizes == [10], f"for w = {w:.2g} net {found}; expected one call with 2B = 10 rows — {why}")
        expect_close(got, model.wanted(x, 7, y, w), rtol=1e-7, dtype=False, what=f"w = {w:.2g}", hint=EARLIER)


@lab.check("guided_eps")
def takes_a_level_per_sample(answer: Answer, rng: torch.Generator) -> None:
    """With k of shape (B,), row i belongs to level k[i], in both halves."""
    model, w = LabelNet(answer, rng), plain(rng, 1.5, 6.0)
    x, k, y = model.batch(rng, 6, 2)
    expect_rows(model.guide, (x, k, y, 4, w), 1, model.wanted(x, k, y, w), hint="k has to be doubled in the order of x")


@lab.check("guided_eps")
def hands_the_network_int64(answer: Answer, rng: torch.Generator) -> None:
    """The network receives k and y as int64 tensors with an entry for each of its 2B rows, also where k is a number."""
    for k in (integer(rng, 1, 20), torch.tensor(integer(rng, 1, 20))):
        model, w = LabelNet(answer, rng, strict=True), plain(rng, 1.5, 6.0)
        x, _, y = model.batch(rng, 5, 2)
        got = model.guide(x, k, y, 4, w)
        expect_close(got, model.wanted(x, k, y, w), rtol=1e-7, dtype=False, hint=EARLIER)


# ---- classifier_guided_eps


@lab.check("classifier_guided_eps")
def shifts_against_the_gradient(answer: Answer, rng: torch.Generator) -> None:
    """eps minus scale times the standard deviation of the noise times the gradient."""
    T = integer(rng, 6, 30)
    phi, abar = random_angles(rng, T)
    eps, g, s = normal(rng, 5, 3), normal(rng, 5, 3), plain(rng, 1.5, 4.0)
    for k in (T // 2, 1, T):
        sin, cos = phi[k].sin(), phi[k].cos()
        mistakes = {
            "the sign is turned round: the score goes up by the gradient, and eps is minus sigma times the score":
                eps + s * sin * g,
            "1 - abar[k] is the variance; the gradient's factor is its square root": eps - s * sin**2 * g,
            "the factor sqrt(1 - abar[k]) is missing": eps - s * g,
            "the gradient's factor is sqrt(1 - abar[k]), of the noise; this is sqrt(abar[k])": eps - s * cos * g,
            "the gradient is divided by sqrt(1 - abar[k]); it is to be multiplied": eps - s / sin * g,
            "scale is not used": eps - sin * g,
            "this is level k - 1: abar has T + 1 entries, and abar[k] belongs to x_k": eps - s * phi[k - 1].sin() * g,
            "eps is not shifted": eps,
            "eps is scaled, too; only the gradient's term is": s * (eps - sin * g),
        }  # fmt: skip
        got, want = answer.classifier_guided_eps(eps, g, k, abar, s), eps - s * sin * g
        hint = recognise(got, mistakes, "eps - scale · sqrt(1 - abar[k]) · grad_log_p")
        hint = CAST_LAST if differs_little(got, want) else hint
        expect_close(got, want, rtol=1e-7, dtype=False, what=f"the shifted eps at k = {k} of {T}", hint=hint)


@lab.check("classifier_guided_eps")
def turns_the_unconditional_model_into_the_conditional(answer: Answer, rng: torch.Generator) -> None:
    """With scale 1, the exact eps of a Gaussian and the exact classifier give the exact eps given the label."""
    T = integer(rng, 6, 30)
    phi, abar = random_angles(rng, T)
    m, V, R = number(rng, 0.5, 2.0), number(rng, 0.5, 1.5), number(rng, 0.2, 0.6)
    x, label = normal(rng, 5, 3), normal(rng, 5, 3)  # data N(m, V); the label is x0 plus noise of variance R
    for k in (T // 2, T, 1):
        cos, sin = phi[k].cos(), phi[k].sin()
        spread = cos**2 * V + sin**2
        gain, left = cos * V / spread, V * sin**2 / spread  # of E[x0 | x_k] in x, and the variance that is left
        slope = gain * (label - m - gain * (x - cos * m)) / (left + R)
        narrow = 1 / (1 / V + 1 / R)
        mean = narrow * (m / V + label / R)
        got = answer.classifier_guided_eps(sin * (x - cos * m) / spread, slope, k, abar, 1.0)
        want = sin * (x - cos * mean) / (cos**2 * narrow + sin**2)
        expect_close(got, want, rtol=1e-6, dtype=False, what=f"eps with the classifier at k = {k} of {T}", hint=EARLIER)


@lab.check("classifier_guided_eps")
def takes_a_noise_level_per_sample(answer: Answer, rng: torch.Generator) -> None:
    """With k of shape (B,), row i is shifted by the noise of its own level k[i]."""
    phi, abar = random_angles(rng, 20)
    eps, g, k, s = normal(rng, 6, 2), normal(rng, 6, 2), distinct_levels(rng, 20, 6), plain(rng, 1.5, 4.0)
    want = eps - s * phi[k].sin()[:, None] * g
    expect_rows(answer.classifier_guided_eps, (eps, g, k, abar, s), 2, want, hint=ON_BATCH_AXIS)


# ---- interval_weight


def weights(t: torch.Tensor, w: float, lo: float, hi: float) -> torch.Tensor:
    """What interval_weight should return, entry by entry."""
    return torch.tensor([w if lo <= time <= hi else 1.0 for time in t.tolist()], dtype=t.dtype)


@lab.check("interval_weight")
def is_w_inside_and_1_outside(answer: Answer, rng: torch.Generator) -> None:
    """Times in the interval get w, and all others 1, which is the conditional model."""
    t, w = uniform(rng, 0.0, 1.0, 40), plain(rng, 2.0, 6.0)
    lo, hi = number(rng, 0.2, 0.4), number(rng, 0.6, 0.8)
    got, want = explained(answer.interval_weight, t, w, lo, hi), weights(t, w, lo, hi)
    inside = want != 1
    hint = recognise(
        got,
        {"outside stands 0, the unconditional model; the weight that leaves the conditional model alone is 1":
             torch.where(inside, w, 0.0),
         "inside and outside are exchanged": torch.where(inside, 1.0, w),
         "w is everywhere": 0 * t + w,
         "inside stands 1 + w; w itself is the weight": torch.where(inside, 1 + w, 1.0),
         "hi is not used": torch.where(t >= lo, w, 1.0), "lo is not used": torch.where(t <= hi, w, 1.0)},
        "w where lo <= t <= hi, and 1 elsewhere",
    )  # fmt: skip
    expect_close(got, want, rtol=1e-7, dtype=False, hint=hint)


@lab.check("interval_weight")
def closes_the_interval(answer: Answer, rng: torch.Generator) -> None:
    """Both ends belong to the interval, and what lies just beyond them does not."""
    lo, hi, w = integer(rng, 8, 24) / 64, integer(rng, 40, 56) / 64, plain(rng, 2.0, 6.0)
    t = torch.tensor([lo, hi, lo - 1e-3, hi + 1e-3, lo + 1e-3, hi - 1e-3], dtype=torch.float64)
    got, want = explained(answer.interval_weight, t, w, lo, hi), weights(t, w, lo, hi)
    hint = ""
    if isinstance(got, torch.Tensor) and got.shape == want.shape:
        ends = ((0, "lo belongs to the interval"), (1, "hi belongs to the interval"))
        hint = "; ".join(sentence for i, sentence in ends if not differs_little(got[i], want[i]))
    expect_close(got, want, rtol=1e-7, dtype=False, hint=hint or EARLIER)


def of_likeness(got: torch.Tensor, want: torch.Tensor) -> str:
    """What to say of a result that has not t's shape or not its dtype; of one that has both, to look earlier."""
    if got.shape != want.shape:
        return "one weight for each time"
    if got.dtype == want.dtype:
        return EARLIER
    of_numbers = got.dtype == torch.float32
    return "the result is like t" + ("; torch.where of two Python numbers is always float32" if of_numbers else "")


@lab.check("interval_weight")
def is_like_t(answer: Answer, rng: torch.Generator) -> None:
    """The result has t's shape and dtype: float64 for float64, float32 for float32, (B,) and 0-d."""
    w, times = plain(rng, 2.0, 6.0), uniform(rng, 0.0, 1.0, 12)
    for dtype in (torch.float64, torch.float32):
        t = times.to(dtype)
        want = weights(t, w, 0.3, 0.7)
        for given, wanted in ((t, want), (t[0], want[0])):
            what = f"the result for a {dtype} t of shape {tuple(given.shape)}"
            got = explained(answer.interval_weight, given, w, 0.3, 0.7)
            expect_type(got, torch.Tensor, what)
            expect_close(got, wanted, rtol=1e-6, what=what, hint=of_likeness(got, wanted))


# ---- rescale_guided


def of_known_spread(rng: torch.Generator, *shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Samples of a shape and their standard deviations (B,), which differ; their means are not 0."""
    z = normal(rng, *shape).flatten(1)
    z = z - z.mean(1, keepdim=True)
    z = z / z.norm(dim=1, keepdim=True) * math.sqrt(z.shape[1])
    spread = uniform(rng, 0.4, 3.0, shape[0])
    return (uniform(rng, 0.5, 1.5, shape[0], 1) + spread[:, None] * z).reshape(shape), spread


def rescaled(g: torch.Tensor, of_g: torch.Tensor, of_c: torch.Tensor, phi: float) -> torch.Tensor:
    """What rescale_guided should return, from the standard deviations."""
    return on_batch_axis(1 + phi * (of_c / of_g - 1), g) * g


def rescale_mistakes(g: torch.Tensor, c: torch.Tensor, phi: float) -> dict[str, torch.Tensor]:
    """Well-known wrong rescalings."""
    every = tuple(range(1, g.ndim))
    of_c, mean = c.std(every, keepdim=True), g.mean(every, keepdim=True)
    ratio = of_c / g.std(every, keepdim=True)
    full = {
        "one standard deviation for the whole batch; each sample has its own": g * c.std() / g.std(),
        "the ratio is turned over: divide by the standard deviation of guided": g / ratio,
        "this is the ratio of variances": g * ratio**2,
        "this is the root of the mean square; a standard deviation takes the mean away first":
            g * (c.square().mean(every, keepdim=True) / g.square().mean(every, keepdim=True)).sqrt(),
        "guided is multiplied by cond's standard deviation, and not divided by its own": g * of_c,
        "the mean is kept, and only what deviates from it rescaled; all of guided is": mean + (g - mean) * ratio,
        "this mixes guided with cond; what is mixed is guided, rescaled and not": c,
    }  # fmt: skip
    if g.ndim > 2:
        inner = every[1:]
        by_channel = "a standard deviation for each channel; a sample has one, over all axes but the batch"
        full[by_channel] = g * c.std(inner, keepdim=True) / g.std(inner, keepdim=True)
    return {sentence: phi * value + (1 - phi) * g for sentence, value in full.items()} | {
        "guided comes back as it is; phi = 1 rescales fully, phi = 0 not at all": g,
        "phi is turned round: phi = 1 rescales fully": phi * g + (1 - phi) * g * ratio,
        "phi is not used": g * ratio,
    }


ADDED = "this is as if a small number were added to a standard deviation, or under its root; nothing may be"


def is_with_something_added(
    got: torch.Tensor, g: torch.Tensor, of_g: torch.Tensor, of_c: torch.Tensor, phi: float
) -> bool:
    """Whether the same number, added to guided's standard deviations (or to both, or to the variances), gives this."""
    ratio = ((got / g).flatten(1).mean(1) - (1 - phi)) / phi
    alone, both = of_c / ratio - of_g, (of_c - ratio * of_g) / (ratio - 1)
    squared = (of_c / ratio).square() - of_g.square()
    return any(bool(e.min() > 0 and e.max() < 1.05 * e.min()) for e in (alone, both, squared))


def expect_rescaled(answer: Answer, rng: torch.Generator, phi: float, *shape: int) -> None:
    """Fail unless guided and cond of a shape give what they should."""
    (g, of_g), (c, of_c) = of_known_spread(rng, *shape), of_known_spread(rng, *shape)
    got, want = explained(answer.rescale_guided, g, c, phi), rescaled(g, of_g, of_c, phi)
    hint = recognise(got, rescale_mistakes(g, c, phi), "guided · std(cond) / std(guided), a number for each sample")
    if isinstance(got, torch.Tensor) and got.shape != want.shape:
        hint = ON_BATCH_AXIS
    elif differs_little(got, want):  # nearer than any of those mistakes
        hint = ADDED if is_with_something_added(got, g, of_g, of_c, phi) else ""
    what = f"the result for phi = {phi:.2g} and shape {shape}"
    expect_close(got, want, rtol=1e-7, dtype=False, what=what, hint=hint)


@lab.check("rescale_guided")
def gives_back_the_spread_at_phi_1(answer: Answer, rng: torch.Generator) -> None:
    """With phi = 1 each sample is guided's, times the number that gives it the standard deviation of cond's."""
    expect_rescaled(answer, rng, 1.0, 5, 8)


@lab.check("rescale_guided")
def rescales_a_share_phi(answer: Answer, rng: torch.Generator) -> None:
    """The share phi is rescaled, and the rest, 1 - phi, stays as it was."""
    expect_rescaled(answer, rng, plain(rng, 0.2, 0.4), 5, 8)


@lab.check("rescale_guided")
def takes_one_spread_for_an_image(answer: Answer, rng: torch.Generator) -> None:
    """An image has one standard deviation, over channels, rows and columns together."""
    expect_rescaled(answer, rng, plain(rng, 0.6, 0.9), 3, 3, 4, 5)
