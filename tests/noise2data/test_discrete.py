"""Chains against enumeration and their matrix exponential; masked diffusion against exact distributions."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from noise2data.discrete import (
    absorbing_transition,
    d3pm_posterior,
    d3pm_reverse,
    mask_forward,
    masked_loss,
    reverse_rate,
    uniform_transition,
    unmask,
    unmask_step,
)

F64 = torch.float64
BETAS = [0.1, 0.35, 0.6, 0.9]
CHAINS = {
    "uniform": lambda beta, V: uniform_transition(beta, V),
    "absorbing": lambda beta, V: absorbing_transition(beta, V, V - 1),
}
each_chain = pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS.keys())


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def data_distribution(V, seed=0, mask=False):
    """A distribution over V states; with mask, the last one, the mask, has no mass."""
    p = torch.rand(V, generator=generator(seed), dtype=F64) ** 3 + 0.02
    if mask:
        p[-1] = 0
    return p / p.sum()


# Transition matrices ------------------------------------------------------------------------------------------


def test_transitions_by_their_definition():
    torch.testing.assert_close(
        uniform_transition(0.3, 3), torch.tensor([[8, 1, 1], [1, 8, 1], [1, 1, 8]]).double() / 10
    )
    torch.testing.assert_close(
        absorbing_transition(0.25, 3, 1), torch.tensor([[3, 1, 0], [0, 4, 0], [0, 1, 3]]).double() / 4
    )


@settings(max_examples=40, deadline=None)
@given(a=st.floats(0, 1), b=st.floats(0, 1), V=st.integers(1, 7), data=st.data())
def test_rows_sum_to_one_and_steps_compose(a, b, V, data):
    """Equation (2) of the module, and the two ends."""
    mask = data.draw(st.integers(0, V - 1))
    for chain in (uniform_transition, lambda beta, V: absorbing_transition(beta, V, mask)):
        Q = chain(a, V)
        assert Q.shape == (V, V) and Q.dtype == F64 and (Q >= 0).all()
        torch.testing.assert_close(Q.sum(1), torch.ones(V, dtype=F64), rtol=0, atol=1e-14)
        torch.testing.assert_close(Q @ chain(b, V), chain(1 - (1 - a) * (1 - b), V), rtol=0, atol=1e-14)
        assert torch.equal(chain(0, V), torch.eye(V, dtype=F64))
        torch.testing.assert_close(chain(1, V), chain(1, V)[:1].expand(V, V), rtol=0, atol=0)
    assert absorbing_transition(a, V, mask)[mask].tolist() == [float(i == mask) for i in range(V)]


@each_chain
def test_rate_matrix_generates_the_chain(chain):
    rate = chain(1.0, 5) - torch.eye(5, dtype=F64)
    for b in (0.0, 0.3, 2.0):
        torch.testing.assert_close(torch.linalg.matrix_exp(b * rate), chain(1 - math.exp(-b), 5), rtol=0, atol=1e-13)


@each_chain
def test_reverse_rate_runs_the_marginals_back(chain):
    """d/db p = p R forwards, so -d/db p = p R_reverse, and the flow of probability along each edge is the same."""
    V = 5
    rate = chain(1.0, V) - torch.eye(V, dtype=F64)
    p = data_distribution(V, mask=False) @ chain(0.4, V)
    back = reverse_rate(rate, p)
    torch.testing.assert_close(back.sum(1), torch.zeros(V, dtype=F64), rtol=0, atol=1e-14)
    torch.testing.assert_close(p @ back, -(p @ rate), rtol=0, atol=1e-14)
    off = ~torch.eye(V, dtype=torch.bool)
    torch.testing.assert_close((p[:, None] * back)[off], (p[:, None] * rate).T[off], rtol=0, atol=1e-15)
    # A short step back by the rates is the posterior of a short step, to second order.
    gaps = []
    for h in (1e-3, 5e-4):
        before = p @ torch.linalg.inv(torch.linalg.matrix_exp(h * rate))
        step = (before[:, None] * torch.linalg.matrix_exp(h * rate)).T / p[:, None]  # P(before | now)
        gaps.append((step - torch.linalg.matrix_exp(h * back)).abs().max().item())
    assert gaps[0] < 1e-4 and 3.8 < gaps[0] / gaps[1] < 4.2


# D3PM -----------------------------------------------------------------------------------------------------------


def enumerate_chain(Qs, V):
    """P(path | x0) for all paths (x0, x1, ..., xT), by multiplying step probabilities."""
    for path in itertools.product(range(V), repeat=len(Qs) + 1):
        yield path, math.prod(Q[i, j].item() for Q, i, j in zip(Qs, path[:-1], path[1:], strict=True))


@each_chain
def test_posterior_is_that_of_the_enumerated_chain(chain):
    V, k = 3, 3
    Qs = [chain(beta, V) for beta in BETAS[:k]]
    before = torch.linalg.multi_dot(Qs[:-1])
    joint = torch.zeros(V, V, V, dtype=F64)  # over x0, x_{k-1}, x_k
    for path, p in enumerate_chain(Qs, V):
        joint[path[0], path[-2], path[-1]] += p
    torch.testing.assert_close(joint.sum((1, 2)), torch.ones(V, dtype=F64))
    x0, xt = (joint.sum(1) > 0).nonzero().unbind(1)
    got = d3pm_posterior(xt, x0, Qs[-1], before)
    torch.testing.assert_close(got, joint[x0, :, xt] / joint.sum(1)[x0, xt, None], rtol=1e-12, atol=1e-15)
    first = d3pm_posterior(xt, xt, Qs[0], torch.eye(V, dtype=F64))
    assert torch.equal(first, torch.eye(V, dtype=F64)[xt])  # the first step comes from x0 itself


def joint_parameterisation(xt, p0, Q_t, Q_bar_prev):
    """D3PM's equation (4), which averages q(x_{t-1}, x_t | x_0) instead of the posterior."""
    step = Q_t.T[xt] * (p0 @ Q_bar_prev)
    return step / step.sum(1, keepdim=True)


def reverse_chain(chain, step):
    """The exact distribution of x0 when the true p(x0 | xt) is put into `step` from k = T down to 1; and the data's."""
    V = 4
    data = data_distribution(V, mask=chain is CHAINS["absorbing"])
    Qs = [chain(beta, V) for beta in BETAS]
    bars = [torch.eye(V, dtype=F64)]
    for Q in Qs:
        bars.append(bars[-1] @ Q)
    p = data @ bars[-1]
    xt = torch.arange(V)
    for k in range(len(Qs), 0, -1):
        given = bars[k] * data[:, None]  # over x0, xk
        reachable = (given.sum(0) > 0)[:, None]
        p0 = torch.where(reachable, (given / given.sum(0)).T, 1 / V)
        p = p @ step(xt, p0, Qs[k - 1], bars[k - 1])
        torch.testing.assert_close(p.sum(), torch.tensor(1.0, dtype=F64))
        if step is d3pm_reverse:
            torch.testing.assert_close(p, data @ bars[k - 1], rtol=1e-12, atol=1e-15)
    return p, data


@each_chain
def test_reverse_chain_recovers_the_data_exactly(chain):
    got, data = reverse_chain(chain, d3pm_reverse)
    torch.testing.assert_close(got, data, rtol=1e-12, atol=1e-15)


def test_averaging_the_joint_needs_another_output_than_the_posterior_of_x0():
    """With p(x0 | xt) the paper's form misses the data on the uniform chain and hits it on the absorbing one, where
    q(xt | x0) is the same for every x0 that is still possible."""
    got, data = reverse_chain(CHAINS["uniform"], joint_parameterisation)
    assert (got - data).abs().sum() / 2 > 0.05
    V = 4
    data = data_distribution(V)
    Q, before = uniform_transition(0.4, V), uniform_transition(0.3, V)
    xt = torch.arange(V)
    exact = (Q * (data @ before)[:, None] / (data @ before @ Q)).T  # P(x_{t-1} | x_t)
    torch.testing.assert_close(joint_parameterisation(xt, data.expand(V, V), Q, before), exact, rtol=1e-12, atol=0)
    got, data = reverse_chain(CHAINS["absorbing"], joint_parameterisation)
    torch.testing.assert_close(got, data, rtol=1e-12, atol=1e-15)


def test_reverse_step_ignores_clean_tokens_that_cannot_be():
    Q, before = absorbing_transition(0.5, 3, 2), absorbing_transition(0.2, 3, 2)
    got = d3pm_reverse(torch.tensor([0]), torch.tensor([[0.3, 0.6, 0.1]], dtype=F64), Q, before)
    assert got.tolist() == [[1.0, 0.0, 0.0]]
    got = d3pm_reverse(torch.tensor([0, 2]), torch.tensor([[0.5, 0.5, 0.0]] * 2), Q, before)  # float32 from a network
    assert got.dtype == F64 and torch.equal(got.sum(1), torch.ones(2, dtype=F64))


# Masking --------------------------------------------------------------------------------------------------------

MASK = 4


def tokens(B=6, L=5, seed=0, dtype=torch.int64):
    return torch.randint(0, MASK, (B, L), generator=generator(seed), dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
def test_mask_forward_at_both_ends_and_in_dtype(dtype):
    x0, state = tokens(dtype=dtype), torch.get_rng_state()
    before = x0.clone()
    assert torch.equal(mask_forward(x0, 0, MASK, generator()), x0)
    assert (mask_forward(x0, torch.tensor(1.0), MASK, generator()) == MASK).all()
    got = mask_forward(x0, 0.5, MASK, generator())
    assert got.dtype == dtype and torch.equal(got, mask_forward(x0, 0.5, MASK, generator()))
    assert not torch.equal(got, mask_forward(x0, 0.5, MASK, generator(1)))
    assert torch.equal(x0, before) and torch.equal(state, torch.get_rng_state())
    rows = mask_forward(x0[:5], torch.tensor([0.0, 1, 0, 1, 0]), MASK, generator())  # B == L: times go with rows
    assert (rows[1::2] == MASK).all() and torch.equal(rows[::2], x0[:5:2])


def test_masks_are_independent_with_probability_t():
    """Chi-square over the 2^3 patterns of a row, and over both halves of the batch; false-alarm rate 1e-7 each."""
    B, t = 40_000, torch.tensor([0.2, 0.7]).repeat_interleave(20_000)
    masked = mask_forward(torch.zeros(B, 3, dtype=torch.int64), t, MASK, generator()) == MASK
    for half, p in ((masked[:20_000], 0.2), (masked[20_000:], 0.7)):
        counts = torch.bincount(half.long() @ torch.tensor([4, 2, 1]), minlength=8)
        want = [20_000 * p ** bin(i).count("1") * (1 - p) ** (3 - bin(i).count("1")) for i in range(8)]
        assert stats.chisquare(counts.numpy(), np.array(want)).pvalue > 1e-7


def test_masked_loss_by_hand():
    logits = torch.randn(2, 3, 5, generator=generator(), dtype=F64, requires_grad=True)
    x0, t = torch.tensor([[0, 1, 2], [3, 0, 1]]), torch.tensor([0.5, 0.8], dtype=F64)
    xt = torch.tensor([[MASK, 1, MASK], [3, MASK, 1]])
    logp = logits.log_softmax(2)
    want = -((logp[0, 0, 0] + logp[0, 2, 2]) / 0.5 + logp[1, 1, 0] / 0.8) / 6
    loss = masked_loss(logits, x0, xt, t, MASK)
    assert loss.shape == ()
    torch.testing.assert_close(loss, want, rtol=1e-12, atol=0)
    assert torch.autograd.gradcheck(lambda z: masked_loss(z, x0, xt, t, MASK), logits)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert (gradient[xt != MASK] == 0).all() and (gradient[xt == MASK] != 0).all()


def test_masked_loss_is_zero_when_nothing_is_masked_even_for_impossible_logits():
    x0 = torch.tensor([[0, 1]])
    logits = torch.zeros(1, 2, 5, requires_grad=True)
    impossible = logits.masked_fill(torch.nn.functional.one_hot(x0, 5).bool(), -math.inf)
    loss = masked_loss(impossible, x0, x0, 0.5, MASK)
    loss.backward()
    assert loss == 0 and (logits.grad == 0).all()


# Two tokens of three letters, dependent on each other: every conditional is known.
LETTERS, BLANK = 3, 3


def pair_distribution():
    p = torch.rand(LETTERS, LETTERS, generator=generator(7), dtype=F64) ** 3
    return p / p.sum()


def exact_probs(p, xt):
    """p(x0_i = v | xt) of the pair, for masked positions; (B, 2, 4). Visible positions get a uniform filler."""
    probs = torch.zeros(len(xt), 2, LETTERS + 1, dtype=F64)
    probs[..., :LETTERS] = 1 / LETTERS
    for b, (i, j) in enumerate(xt.tolist()):
        if i == BLANK:
            probs[b, 0, :LETTERS] = p.sum(1) if j == BLANK else p[:, j] / p[:, j].sum()
        if j == BLANK:
            probs[b, 1, :LETTERS] = p.sum(0) if i == BLANK else p[i] / p[i].sum()
    return probs


def test_expected_masked_loss_is_the_elbo():
    """With the exact conditionals the bound is tight: L times the loss, in expectation, is the data's entropy.

    The expectation over masks is a sum and that over t, of a polynomial, a Gauss-Legendre rule: no sampling.
    """
    p, total = pair_distribution(), 0.0
    nodes, weights = np.polynomial.legendre.leggauss(4)
    for (i, j), masks in itertools.product(np.ndindex(LETTERS, LETTERS), itertools.product([False, True], repeat=2)):
        x0 = torch.tensor([[i, j]])
        xt = torch.where(torch.tensor([masks]), BLANK, x0)
        logits = exact_probs(p, xt).log()
        for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
            chance = math.prod(node if m else 1 - node for m in masks)
            loss = masked_loss(logits, x0, xt, node, BLANK).item()
            total += p[i, j].item() * weight * chance * 2 * loss
    assert abs(total - (-(p * p.log()).sum().item())) < 1e-10


@pytest.mark.parametrize("n", [1, 2, 4])
def test_sampler_has_exactly_the_error_of_revealing_together(n):
    """Two masks are revealed in the same of n even steps with probability 1/n, and are then independent: the sampler's
    distribution is (1 - 1/n) p + 1/n p_1 p_2. Chi-square over nine cells; false-alarm rate 1e-7."""
    p, B = pair_distribution(), 20_000
    want = (1 - 1 / n) * p + torch.outer(p.sum(1), p.sum(0)) / n
    assert (want - p).abs().sum() > 0.05  # far enough from the data to tell
    table = {xt: exact_probs(p, torch.tensor([xt]))[0] for xt in itertools.product(range(LETTERS + 1), repeat=2)}
    lookup = torch.stack([table[i, j] for i, j in itertools.product(range(LETTERS + 1), repeat=2)])
    times = []

    def predict(xt, t):
        times.append(t)
        return lookup[xt @ torch.tensor([LETTERS + 1, 1])]

    start = torch.full((B, 2), BLANK)
    out = unmask(predict, start, torch.linspace(1, 0, n + 1), BLANK, generator())
    assert len(times) == n and all(t.shape == (B,) and t.dtype == F64 for t in times)
    assert (out < LETTERS).all() and (start == BLANK).all()
    counts = torch.bincount(out @ torch.tensor([LETTERS, 1]), minlength=LETTERS**2)
    assert stats.chisquare(counts.numpy(), (B * want.flatten()).numpy()).pvalue > 1e-7
    assert torch.equal(out, unmask(predict, start, torch.linspace(1, 0, n + 1), BLANK, generator()))


def test_unmask_step_reveals_at_the_right_rate_and_keeps_what_is_visible():
    """Binomial counts of revealed masks; false-alarm rate 1e-7 each."""
    B, L = 4000, 5
    x0 = tokens(B, L)
    xt = mask_forward(x0, 0.8, MASK, generator(1))
    probs = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.0]).expand(B, L, 5)
    before, state = xt.clone(), torch.get_rng_state()
    t, s = torch.full((B,), 0.8), torch.tensor([0.6, 0.2]).repeat_interleave(B // 2)
    xs = unmask_step(probs, xt, t, s, MASK, generator(2))
    assert torch.equal(xt, before) and torch.equal(state, torch.get_rng_state()) and xs.dtype == xt.dtype
    assert torch.equal(xs[xt != MASK], xt[xt != MASK])
    for half, rate in ((slice(None, B // 2), 0.25), (slice(B // 2, None), 0.75)):
        was, now = (xt[half] == MASK), (xs[half] != MASK)
        assert stats.binomtest(int((was & now).sum()), int(was.sum()), rate).pvalue > 1e-7
    drawn = xs[(xt == MASK) & (xs != MASK)]
    counts = torch.bincount(drawn, minlength=5)
    assert counts[MASK] == 0
    assert stats.chisquare(counts[:4].numpy(), len(drawn) * np.array([0.1, 0.2, 0.3, 0.4])).pvalue > 1e-7


def test_unmask_step_at_the_ends():
    xt, probs = torch.full((3, 4), MASK), torch.tensor([0.0, 1, 0, 0, 0]).expand(3, 4, 5)
    assert (unmask_step(probs, xt, 0.7, 0.0, MASK, generator()) == 1).all()  # s = 0 reveals all
    assert (unmask_step(probs, xt, 0.7, 0.7, MASK, generator()) == MASK).all()  # no time passes
    assert torch.equal(unmask_step(probs, tokens(3, 4), 0.7, 0.0, MASK), tokens(3, 4))  # nothing to reveal
    assert unmask_step(probs, xt.to(torch.uint8), 1.0, 0.0, MASK).dtype == torch.uint8


def test_a_prompt_stays():
    prompt = torch.tensor([[2, MASK, MASK, 0]])
    out = unmask(
        lambda xt, t: torch.tensor([0.5, 0.5, 0, 0, 0]).expand(1, 4, 5),
        prompt,
        torch.linspace(1, 0, 5),
        MASK,
        generator(),
    )
    assert out[0, 0] == 2 and out[0, 3] == 0 and (out != MASK).all()


# Bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: uniform_transition(1.5, 3), r"beta is 1.5; expected a probability in \[0, 1\]"),
        (lambda: uniform_transition(0.5, 0), "V is 0; expected a whole number of states >= 1"),
        (lambda: absorbing_transition(0.5, 3.0, 0), "V is 3.0; expected a whole number"),
        (lambda: absorbing_transition(0.5, 3, 3), "mask_id is 3; expected one of the V = 3 states, 0 to 2"),
        (lambda: posterior([0], [1]), "xt is 0 where x0 is 1; the chain never goes"),
        (lambda: posterior([0], [[1]]), r"x0 has shape \(1, 1\); expected \(B,\)"),
        (lambda: posterior([0], [0], before=torch.eye(2)), r"Q_bar_prev has shape \(2, 2\); expected \(V, V\)"),
        (lambda: reverse([0], [[0.0, 1.0, 0.0]]), r"p0\[0\] is 0 on every x0 from which xt = 0 can come"),
        (lambda: reverse([0], [0.0, 1.0, 0.0]), r"p0 has shape \(3,\); expected \(B, V\) = \(1, 3\)"),
        (lambda: reverse_rate(torch.eye(3), torch.ones(2)), r"rate and p have shapes \(3, 3\) and \(2,\)"),
        (lambda: reverse_rate(torch.eye(2), torch.tensor([1.0, 0.0])), "p contains 0; expected positive"),
        (lambda: mask_forward(tokens(), 1.5, MASK), r"t is 1.5; expected times in \[0, 1\]"),
        (lambda: mask_forward(tokens(), torch.zeros(4), MASK), r"t has shape \(4,\)"),
        (lambda: masked_loss(torch.zeros(6, 5, 5), tokens(), tokens(), 0.0, MASK), r"t is 0.0; expected .* \(0, 1\]"),
        (lambda: masked_loss(torch.zeros(6, 5), tokens(), tokens(), 0.5, MASK), "logits, x0 and xt have shapes"),
        (lambda: step(probs=torch.ones(6, 5)), "probs and xt have shapes"),
        (lambda: step(s=0.6), "s is 0.6 and t is 0.5; expected s <= t"),
        (lambda: step(t=0.0, s=0.0), r"t is 0.0; expected times in \(0, 1\]"),
        (lambda: step(s=-0.1), r"s is -0.1; expected times in \[0, 1\]"),
        (lambda: step(probs=torch.full((6, 5, 5), 0.2)), "probs are no probabilities, or not 0 at mask_id = 4"),
        (lambda: step(probs=torch.full((6, 5, 5), math.nan)), "probs are no probabilities"),
        (lambda: unmask(None, tokens(), torch.tensor([0.0, 1.0]), MASK), r"grid is \[0.0, 1.0\]; expected \(n \+ 1,\)"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def posterior(xt, x0, before=None):
    Q = absorbing_transition(0.5, 3, 2)
    return d3pm_posterior(torch.tensor(xt), torch.tensor(x0), Q, Q if before is None else before)


def reverse(xt, p0):
    Q = absorbing_transition(0.5, 3, 2)
    return d3pm_reverse(torch.tensor(xt), torch.tensor(p0), Q, Q)


def step(probs=None, t=0.5, s=0.2):
    probs = torch.tensor([0.25] * 4 + [0.0]).expand(6, 5, 5) if probs is None else probs
    return unmask_step(probs, torch.full((6, 5), MASK), t, s, MASK)
