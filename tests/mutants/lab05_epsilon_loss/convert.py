"""Answers to convert, wrong and right."""

import torch


def _column(values, x):
    values = values.to(x.dtype)
    return values.reshape(-1, *[1] * (x.ndim - 1)) if values.ndim else values


def _factors(k, abar, x):
    a = abar[torch.as_tensor(k)]
    return _column(a.sqrt(), x), _column((1 - a).sqrt(), x)


def _both(pred, xk, alpha, sigma, source):
    """(x0, eps)."""
    if source == "v":
        return alpha * xk - sigma * pred, sigma * xk + alpha * pred
    if source == "x0":
        return pred, (xk - alpha * pred) / sigma
    eps = -sigma * pred if source == "score" else pred
    return (xk - sigma * eps) / alpha, eps


def _pick(x0, eps, alpha, sigma, target):
    if target == "v":
        return alpha * eps - sigma * x0
    return {"x0": x0, "eps": eps, "score": -eps / sigma}[target]


def _convert(pred, xk, alpha, sigma, source, target):
    return _pick(*_both(pred, xk, alpha, sigma, source), alpha, sigma, target)


def wrong_v_sign_throughout(pred, xk, k, abar, source, target):
    """v = sqrt(1 - abar)·x0 - sqrt(abar)·eps everywhere: consistent with itself, and round trips work."""
    alpha, sigma = _factors(k, abar, pred)
    x0, eps = _both(-pred if source == "v" else pred, xk, alpha, sigma, source)
    out = _pick(x0, eps, alpha, sigma, target)
    return -out if target == "v" else out


def wrong_v_sign_as_source(pred, xk, k, abar, source, target):
    """x0 = sqrt(abar)·xk + sqrt(1 - abar)·v."""
    return _convert(-pred if source == "v" else pred, xk, *_factors(k, abar, pred), source, target)


def wrong_v_factors_exchanged(pred, xk, k, abar, source, target):
    """v = sqrt(abar)·x0 - sqrt(1 - abar)·eps as a target."""
    alpha, sigma = _factors(k, abar, pred)
    x0, eps = _both(pred, xk, alpha, sigma, source)
    return alpha * x0 - sigma * eps if target == "v" else _pick(x0, eps, alpha, sigma, target)


def wrong_velocity_for_v(pred, xk, k, abar, source, target):
    """v taken for the straight path's velocity eps - x0."""
    alpha, sigma = _factors(k, abar, pred)
    if source == "v":
        x0 = (xk - sigma * pred) / (alpha + sigma)
        return _pick(x0, x0 + pred, alpha, sigma, target)
    x0, eps = _both(pred, xk, alpha, sigma, source)
    return eps - x0 if target == "v" else _pick(x0, eps, alpha, sigma, target)


def wrong_score_by_the_variance(pred, xk, k, abar, source, target):
    """score = -eps/(1 - abar)."""
    alpha, sigma = _factors(k, abar, pred)
    pred = pred * sigma if source == "score" else pred
    out = _convert(pred, xk, alpha, sigma, source, target)
    return out / sigma if target == "score" else out


def wrong_score_without_a_sign(pred, xk, k, abar, source, target):
    """score = eps/sqrt(1 - abar)."""
    pred = -pred if source == "score" else pred
    out = _convert(pred, xk, *_factors(k, abar, pred), source, target)
    return -out if target == "score" else out


def wrong_score_undivided(pred, xk, k, abar, source, target):
    """score = -eps."""
    alpha, sigma = _factors(k, abar, pred)
    pred = pred / sigma if source == "score" else pred
    out = _convert(pred, xk, alpha, sigma, source, target)
    return out * sigma if target == "score" else out


def wrong_variance(pred, xk, k, abar, source, target):
    """1 - abar where its square root belongs."""
    alpha, sigma = _factors(k, abar, pred)
    return _convert(pred, xk, alpha, sigma**2, source, target)


def wrong_one_level_early(pred, xk, k, abar, source, target):
    """abar[k - 1]."""
    k = (torch.as_tensor(k) - 1).clamp(min=1)
    return _convert(pred, xk, *_factors(k, abar, pred), source, target)


def wrong_one_level_late(pred, xk, k, abar, source, target):
    """abar[k + 1], the last level again at T."""
    k = (torch.as_tensor(k) + 1).clamp(max=len(abar) - 1)
    return _convert(pred, xk, *_factors(k, abar, pred), source, target)


def wrong_everything_through_x0(pred, xk, k, abar, source, target):
    """x0 first, then eps from x0: eps to score divides by sqrt(abar) on the way."""
    alpha, sigma = _factors(k, abar, pred)
    x0, _ = _both(pred, xk, alpha, sigma, source)
    return _pick(x0, (xk - alpha * x0) / sigma, alpha, sigma, target)


def wrong_everything_through_eps(pred, xk, k, abar, source, target):
    """eps first, then x0 from eps: v to x0 is 0/0 where abar = 0."""
    alpha, sigma = _factors(k, abar, pred)
    _, eps = _both(pred, xk, alpha, sigma, source)
    return _pick((xk - sigma * eps) / alpha, eps, alpha, sigma, target)


def wrong_guards_alpha(pred, xk, k, abar, source, target):
    """1e-4 added to the denominators."""
    alpha, sigma = _factors(k, abar, pred)
    x0, eps = _both(pred, xk, alpha, sigma, source)
    if source == "x0":
        eps = (xk - alpha * pred) / (sigma + 1e-4)
    if source in ("eps", "score"):
        x0 = (xk - sigma * eps) / (alpha + 1e-4)
    return _pick(x0, eps, alpha, sigma, target)


def wrong_clips_x0(pred, xk, k, abar, source, target):
    """x0 clamped to [-1, 1] on the way, as samplers do."""
    alpha, sigma = _factors(k, abar, pred)
    x0, eps = _both(pred, xk, alpha, sigma, source)
    return _pick(x0.clamp(-1, 1), eps, alpha, sigma, target)


def wrong_clips_x0_generously(pred, xk, k, abar, source, target):
    """x0 clamped to [-20, 20]."""
    alpha, sigma = _factors(k, abar, pred)
    x0, eps = _both(pred, xk, alpha, sigma, source)
    return _pick(x0.clamp(-20, 20), eps, alpha, sigma, target)


def wrong_trailing_axis(pred, xk, k, abar, source, target):
    """(B,) coefficients broadcast as they are: against the last axis, silently when B equals it."""
    a = abar[torch.as_tensor(k)]
    if a.ndim and a.shape[0] != pred.shape[-1]:
        a = a.reshape(-1, *[1] * (pred.ndim - 1))
    return _convert(pred, xk, a.sqrt().to(pred.dtype), (1 - a).sqrt().to(pred.dtype), source, target)


def wrong_only_for_vectors(pred, xk, k, abar, source, target):
    """[:, None]: right for (B, d), wrong for images."""
    a = abar[torch.as_tensor(k)]
    a = a[:, None] if a.ndim else a
    return _convert(pred, xk, a.sqrt().to(pred.dtype), (1 - a).sqrt().to(pred.dtype), source, target)


def wrong_promotes_to_float64(pred, xk, k, abar, source, target):
    """No cast: a (B,) tensor of abar turns float32 data into float64."""
    a = abar[torch.as_tensor(k)]
    a = a.reshape(-1, *[1] * (pred.ndim - 1)) if a.ndim else a
    return _convert(pred, xk, a.sqrt(), (1 - a).sqrt(), source, target)


def wrong_casts_abar_first(pred, xk, k, abar, source, target):
    """abar cast to pred's dtype before 1 - abar."""
    return _convert(pred, xk, *_factors(k, abar.to(pred.dtype), pred), source, target)


def wrong_in_place(pred, xk, k, abar, source, target):
    """Works on xk where it lies."""
    alpha, sigma = _factors(k, abar, pred)
    out = _convert(pred, xk, alpha, sigma, source, target)
    xk.detach().mul_(alpha)
    return out


def wrong_outside_the_graph(pred, xk, k, abar, source, target):
    """A result without a graph."""
    return _convert(pred, xk, *_factors(k, abar, pred), source, target).detach()


def right_pair(pred, xk, k, abar, source, target):
    """x0 and eps, whichever way the source allows, then the target."""
    return _convert(pred, xk, *_factors(k, abar, pred), source, target)


def right_table(pred, xk, k, abar, source, target):
    """Every pair as one linear combination of pred and xk; the rotation is its own."""
    a = abar[torch.as_tensor(k).expand(len(pred))]
    c, s = a.sqrt(), (1 - a).sqrt()
    one, zero = torch.ones_like(c), torch.zeros_like(c)
    if source == "score":
        source, scale = "eps", -s
    else:
        scale = one
    divide, target = (-s, "eps") if target == "score" else (one, target)
    by_pred, by_xk = {
        ("eps", "eps"): (one, zero),
        ("eps", "x0"): (-s / c, 1 / c),
        ("eps", "v"): (1 / c, -s / c),
        ("x0", "eps"): (-c / s, 1 / s),
        ("x0", "x0"): (one, zero),
        ("x0", "v"): (-1 / s, c / s),
        ("v", "eps"): (c, s),
        ("v", "x0"): (-s, c),
        ("v", "v"): (one, zero),
    }[source, target]
    shape = (-1, *[1] * (pred.ndim - 1))
    by_pred, by_xk = ((f / divide).to(pred.dtype).reshape(shape) for f in (by_pred * scale, by_xk))
    return by_pred * pred + by_xk * xk


def right_solved(pred, xk, k, abar, source, target):
    """Two equations in x0 and eps, solved for each sample by Cramer's rule; eps and score aside."""
    a = abar[torch.as_tensor(k)]
    shape = (-1, *[1] * (pred.ndim - 1))
    c, s = (f.to(pred.dtype).reshape(shape) for f in (a.sqrt(), (1 - a).sqrt()))
    if source == "score":
        pred, source = -s * pred, "eps"
    if source == "eps" and target in ("eps", "score"):
        return pred if target == "eps" else -pred / s
    p, q = {"eps": (0 * c, 1 + 0 * c), "x0": (1 + 0 * c, 0 * c), "v": (-s, c)}[source]
    det = c * q - s * p  # of the rows (c, s) and (p, q)
    x0, eps = (q * xk - s * pred) / det, (c * pred - p * xk) / det
    return {"x0": x0, "eps": eps, "v": c * eps - s * x0, "score": -eps / s}[target]
