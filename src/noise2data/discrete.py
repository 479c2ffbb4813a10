"""Diffusion of discrete tokens: Markov chains that forget, and masked language models.

A token is one of V states. One noising step multiplies its distribution, a row vector, by a transition matrix,

    Q[i, j] = P(next = j | now = i),    rows of sum 1,        q(x_k | x_0) = row x_0 of Q_1 Q_2 ... Q_k.        (1)

Both chains below keep a token with probability 1 - beta and else draw it anew, from the uniform distribution or from
the mask alone: Q(beta) = (1 - beta) I + beta P, where P = Q(1) draws anew for sure. As P P = P, the rest has closed
forms:

    Q(a) Q(b) = Q(1 - (1 - a)(1 - b)),      so that  Q_1 ... Q_k = Q(1 - prod(1 - beta_i)),                     (2)
    exp(b (P - I)) = Q(1 - exp(-b)),        so that  P - I is the rate matrix of the chain in continuous time.  (3)

Masked diffusion is the second chain with beta chosen such that at time t in [0, 1] (t = 0 is data, t = 1 all mask) a
token is masked with probability t. Its posterior has one line: a masked token is revealed between t and s < t with
probability (t - s) / t, as the model's guess of x_0, and a visible one never changes.

Sources: Austin et al., "Structured Denoising Diffusion Models in Discrete State-Spaces" (D3PM), 2021; Campbell et al.,
"A Continuous Time Framework for Discrete Denoising Models", 2022; Sahoo et al., "Simple and Effective Masked Diffusion
Language Models" (MDLM), 2024; Shi et al., "Simplified and Generalized Masked Diffusion for Discrete Data", 2024.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F

from noise2data.paths import Time, per_sample, seen, wide

# Chains -----------------------------------------------------------------------------------------------------


def uniform_transition(beta: float, V: int) -> torch.Tensor:
    """(1 - beta) I + beta / V 11^T: with probability beta the token is drawn anew, uniformly.

    beta: in [0, 1]. V: the number of states, >= 1. Returns (V, V) float64. ValueError for other arguments.
    Source: D3PM, section 3.1 and appendix A.2. A token that is drawn anew may come back as itself: it changes with
    probability beta (V - 1) / V.
    """
    return _lazy(beta, torch.full((_count(V), V), 1 / V, dtype=torch.float64))


def absorbing_transition(beta: float, V: int, mask_id: int) -> torch.Tensor:
    """(1 - beta) I + beta 1 e_mask^T: with probability beta the token becomes the mask, and stays it.

    beta: in [0, 1]. V: the number of states, the mask among them. mask_id: in 0..V-1. Returns (V, V) float64.
    Raises ValueError for other arguments.
    Source: D3PM, section 3.1 and appendix A.2.
    """
    anew = torch.zeros(_count(V), V, dtype=torch.float64)
    if not 0 <= mask_id < V:
        raise ValueError(f"mask_id is {mask_id}; expected one of the V = {V} states, 0 to {V - 1}")
    anew[:, mask_id] = 1
    return _lazy(beta, anew)


def _count(V: int) -> int:
    if not isinstance(V, int) or V < 1:
        raise ValueError(f"V is {V!r}; expected a whole number of states >= 1")
    return V


def _lazy(beta: float, anew: torch.Tensor) -> torch.Tensor:
    if not 0 <= beta <= 1:
        raise ValueError(f"beta is {beta}; expected a probability in [0, 1]")
    return torch.lerp(torch.eye(len(anew), dtype=anew.dtype), anew, float(beta))


def d3pm_posterior(xt: torch.Tensor, x0: torch.Tensor, Q_t: torch.Tensor, Q_bar_prev: torch.Tensor) -> torch.Tensor:
    """q(x_{t-1} | x_t, x_0), proportional to Q_t[:, x_t] * Q_bar_prev[x_0, :]: (B, V), rows of sum 1.

    xt, x0: (B,) int64. Q_t: (V, V), the step to t. Q_bar_prev: (V, V), the product of the steps before; the identity
    for the first. Returns Q_t's dtype.
    Raises ValueError for other shapes, and for a pair (x_0, x_t) that the chain never makes.
    Source: D3PM, equation (3).
    """
    _same_size(Q_t, Q_bar_prev)
    for name, value in (("xt", xt), ("x0", x0)):
        if value.ndim != 1 or len(value) != len(xt):
            raise ValueError(f"{name} has shape {tuple(value.shape)}; expected (B,), alike for xt and x0")
    joint = Q_t.T[xt] * Q_bar_prev[x0]  # shape: (B, V), over x_{t-1}
    total = joint.sum(1, keepdim=True)
    if seen(total <= 0):
        i = int((total <= 0).flatten().nonzero()[0])
        raise ValueError(f"xt is {int(xt[i])} where x0 is {int(x0[i])}; the chain never goes from the one to the other")
    return joint / total


def d3pm_reverse(xt: torch.Tensor, p0: torch.Tensor, Q_t: torch.Tensor, Q_bar_prev: torch.Tensor) -> torch.Tensor:
    """p(x_{t-1} | x_t) = sum over x_0 of q(x_{t-1} | x_t, x_0) p0(x_0 | x_t): one step of sampling, (B, V).

    p0: (B, V), the model's distribution of the clean token given x_t; mass on an x_0 from which x_t cannot come is
    passed on to the others. xt, Q_t, Q_bar_prev: as in `d3pm_posterior`. With the true p0 the reverse chain is exact.
    Raises ValueError for other shapes, and where p0 leaves no x_0 from which x_t can come.
    Source: D3PM, section 3.3, with one difference. The paper's equation (4) averages q(x_{t-1}, x_t | x_0), the joint,
    where this averages the posterior. With the joint, the output that makes the chain exact is not p(x_0 | x_t).
    """
    _same_size(Q_t, Q_bar_prev)
    if p0.ndim != 2 or p0.shape != (len(xt), len(Q_t)):
        raise ValueError(f"p0 has shape {tuple(p0.shape)}; expected (B, V) = {(len(xt), len(Q_t))}")
    likelihood = (Q_bar_prev @ Q_t).T[xt]  # q(x_t | x_0), shape: (B, V), over x_0
    ratio = torch.where(likelihood > 0, p0 / likelihood, 0.0)
    step = Q_t.T[xt] * (ratio.to(Q_bar_prev) @ Q_bar_prev)  # shape: (B, V), over x_{t-1}
    total = step.sum(1, keepdim=True)
    if seen(total <= 0):
        i = int((total <= 0).flatten().nonzero()[0])
        raise ValueError(f"p0[{i}] is 0 on every x0 from which xt = {int(xt[i])} can come; expected some mass there")
    return step / total


def _same_size(Q_t: torch.Tensor, Q_bar_prev: torch.Tensor) -> None:
    for name, Q in (("Q_t", Q_t), ("Q_bar_prev", Q_bar_prev)):
        if Q.ndim != 2 or Q.shape != (len(Q_t), len(Q_t)):
            raise ValueError(f"{name} has shape {tuple(Q.shape)}; expected (V, V), alike for Q_t and Q_bar_prev")


def reverse_rate(rate: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    """The rate matrix of the chain run backwards: from x to y != x at the rate rate[y, x] p[y] / p[x].

    rate: (V, V), rates from row to column, rows of sum 0, as P - I of equation (3). p: (V,), the marginal at this time,
    positive. Returns (V, V) in rate's dtype, rows of sum 0. The ratios p[y] / p[x] are to tokens what the score is to
    numbers. Raises ValueError for other shapes and for a p that is not positive.
    Source: Campbell et al., 2022, proposition 1; the ratios as a network's target: Lou, Meng and Ermon, "Discrete
    Diffusion Modeling by Estimating the Ratios of the Data Distribution", 2024.
    """
    if p.ndim != 1 or rate.shape != (len(p), len(p)):
        raise ValueError(f"rate and p have shapes {tuple(rate.shape)} and {tuple(p.shape)}; expected (V, V) and (V,)")
    if seen(p <= 0):
        raise ValueError(f"p contains {p.min().item():g}; expected positive probabilities (take a time inside (0, 1))")
    p = p.to(rate)
    away = rate.T * p / p[:, None]
    away = away - torch.diag(away.diagonal())
    return away - torch.diag(away.sum(1))


# Masked diffusion -------------------------------------------------------------------------------------------


def mask_forward(x0: torch.Tensor, t: Time, mask_id: int, generator: torch.Generator | None = None) -> torch.Tensor:
    """Replace each token of x0 by the mask, independently with probability t: q(x_t | x_0).

    x0: (B, L), integers. t: a number, 0-d or (B,) tensor in [0, 1]; 0 masks nothing and 1 everything. Returns a new
    tensor of x0's shape and dtype. Raises ValueError for other times.
    Source: MDLM, section 3, with the schedule alpha_t = 1 - t.
    """
    u = _uniform(x0, generator)
    return torch.where(u < per_sample(_times("t", t), u), mask_id, x0)


def masked_loss(logits: torch.Tensor, x0: torch.Tensor, xt: torch.Tensor, t: Time, mask_id: int) -> torch.Tensor:
    """Cross-entropy of the masked tokens, divided by t; the mean over all B * L tokens, masked or not. 0-d.

    logits: (B, L, V), used as given. x0, xt: (B, L), int64. t: a number, 0-d or (B,) tensor in (0, 1], the mask
    probability that made xt. The result is 0 when nothing is masked. L times its expectation, over xt and over t
    uniform on (0, 1], is the negative ELBO of a sequence in nats.
    Raises ValueError for other shapes or times.
    Source: MDLM, section 3, the bound in continuous time: its weight -alpha'_t / (1 - alpha_t) is 1 / t for
    alpha_t = 1 - t.
    """
    if logits.ndim != 3 or not logits.shape[:2] == x0.shape == xt.shape:
        raise ValueError(
            f"logits, x0 and xt have shapes {tuple(logits.shape)}, {tuple(x0.shape)} and {tuple(xt.shape)}; "
            "expected (B, L, V), (B, L) and (B, L)"
        )
    nats = F.cross_entropy(logits.flatten(0, 1), x0.flatten(), reduction="none").reshape(x0.shape)
    return (torch.where(xt == mask_id, nats, 0.0) / per_sample(_times("t", t, zero=False), nats)).mean()


def unmask_step(
    probs: torch.Tensor,
    xt: torch.Tensor,
    t: Time,
    s: Time,
    mask_id: int,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """From x_t to x_s, s <= t: each mask is revealed independently with probability (t - s) / t, and sampled.

    probs: (B, L, V), the model's distribution of each clean token, of sum 1 and 0 at mask_id. xt: (B, L), integers.
    t, s: numbers, 0-d or (B,) tensors, 0 <= s <= t <= 1, t > 0; s = 0 reveals all. Visible tokens never change.
    Returns a new tensor of xt's shape and dtype.
    Raises ValueError for other shapes or times, and for probs that are negative, of another sum, or on the mask.
    Source: MDLM, section 3. Draws are in float64: in float32 the categorical draw favours likely tokens, as if at a
    lower temperature (Zheng et al., "Masked Diffusion Models are Secretly Time-Agnostic Masked Models and Exploit
    Inaccurate Categorical Sampling", 2025).
    """
    if probs.ndim != 3 or probs.shape[:2] != xt.shape:
        raise ValueError(
            f"probs and xt have shapes {tuple(probs.shape)} and {tuple(xt.shape)}; expected (B, L, V) and (B, L)"
        )
    now, then = _times("t", t, zero=False), _times("s", s)
    if seen(then.to(now) > now):
        raise ValueError(f"s is {then.tolist()} and t is {now.tolist()}; expected s <= t: time runs down to the data")
    u = _uniform(xt, generator)
    revealed = (xt == mask_id) & (u < per_sample((now - then.to(now)) / now, u))
    rows = wide(probs[revealed])  # shape: (n, V)
    fine = (rows >= 0).all() & (rows[:, mask_id] == 0).all() & ((rows.sum(1) - 1).abs() < 1e-2).all()
    if seen(~fine):
        raise ValueError(f"probs are no probabilities, or not 0 at mask_id = {mask_id}; expected rows of sum 1")
    x = xt.clone()
    if len(rows):
        device = generator.device if generator is not None else rows.device
        tokens = torch.multinomial(rows.to(device), 1, generator=generator)[:, 0]
        x[revealed] = tokens.to(x)
    return x


def unmask(
    predict: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    xt: torch.Tensor,
    grid: torch.Tensor,
    mask_id: int,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Reveal the masks of xt along the times of grid, one `unmask_step` for each interval.

    predict: `predict(xt, t)` -> probs as in `unmask_step`, t a (B,) float64 tensor. xt: (B, L), at time grid[0]; its
    visible tokens are a prompt that stays. grid: (n + 1,), descending in [0, 1]; it ends in 0 if all is to be revealed.
    Tokens revealed in the same step are drawn independently of each other. That is the only error which a perfect
    predictor leaves, and it falls like 1 / n.
    Returns (B, L) like xt, without a graph. Raises ValueError for a grid that does not descend.
    Source: MDLM, section 3.
    """
    grid = wide(grid, xt.device)
    if grid.ndim != 1 or not bool((grid.diff() < 0).all()):
        raise ValueError(f"grid is {grid.tolist()}; expected (n + 1,) descending times")
    with torch.no_grad():
        for t, s in zip(grid[:-1], grid[1:], strict=True):
            xt = unmask_step(predict(xt, t.expand(len(xt))), xt, t, s, mask_id, generator)
    return xt


def _times(name: str, t: Time, zero: bool = True) -> torch.Tensor:
    """t in float64; ValueError outside [0, 1], or (0, 1] where t divides."""
    times = wide(t)
    if seen(~((times <= 1) & (times >= 0 if zero else times > 0))):
        raise ValueError(f"{name} is {times.tolist()}; expected times in {'[0, 1]' if zero else '(0, 1]'}")
    return times


def _uniform(x: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    """A uniform float64 for each token of x, drawn where the generator lives."""
    device = generator.device if generator is not None else x.device
    return torch.rand(x.shape, generator=generator, device=device, dtype=wide(0.0, device).dtype).to(x.device)
