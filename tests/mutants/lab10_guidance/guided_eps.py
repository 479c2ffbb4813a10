"""Answers to guided_eps, wrong and right."""

import torch


def _column(w, x):
    w = torch.as_tensor(w, dtype=x.dtype)
    return w.reshape(-1, *[1] * (x.ndim - 1)) if w.ndim else w


def _combine(c, u, w):
    return u + _column(w, c) * (c - u)


def _levels(k, x):
    return torch.as_tensor(k, dtype=torch.int64).expand(len(x))


def _ask(net, x, k, y, null):
    """(cond, uncond) in one call."""
    k = _levels(k, x)
    return net(torch.cat([x, x]), torch.cat([k, k]), torch.cat([y, torch.full_like(y, null)])).chunk(2)


def wrong_two_calls(net, x, k, y, null, w):
    """Two calls with B rows each."""
    k = _levels(k, x)
    return _combine(net(x, k, y), net(x, k, torch.full_like(y, null)), w)


def wrong_halves_exchanged(net, x, k, y, null, w):
    """The first half is taken for the unconditional one."""
    c, u = _ask(net, x, k, y, null)
    return _combine(u, c, w)


def wrong_papers_scale(net, x, k, y, null, w):
    """(1 + w)·c - w·u."""
    c, u = _ask(net, x, k, y, null)
    return c + _column(w, c) * (c - u)


def wrong_sign(net, x, k, y, null, w):
    """w·c + (w - 1)·u."""
    c, u = _ask(net, x, k, y, null)
    w = _column(w, c)
    return w * c + (w - 1) * u


def wrong_interleaved_labels(net, x, k, y, null, w):
    """x is stacked and the labels are interleaved: rows and labels do not belong together."""
    k = _levels(k, x)
    both = torch.stack([y, torch.full_like(y, null)], 1).flatten()
    c, u = net(torch.cat([x, x]), torch.cat([k, k]), both).chunk(2)
    return _combine(c, u, w)


def wrong_interleaved_answers(net, x, k, y, null, w):
    """Halves are stacked and read as if they were interleaved."""
    k = _levels(k, x)
    out = net(torch.cat([x, x]), torch.cat([k, k]), torch.cat([y, torch.full_like(y, null)]))
    return _combine(out[0::2], out[1::2], w)


def wrong_only_conditional_at_1(net, x, k, y, null, w):
    """At w = 1 the unconditional half is saved; the task asks for one batch of 2B always."""
    if not isinstance(w, torch.Tensor) and w == 1:
        return net(x, _levels(k, x), y)
    return _combine(*_ask(net, x, k, y, null), w)


def wrong_null_is_the_last(net, x, k, y, null, w):
    """null is taken to be 4, wherever it is."""
    return _combine(*_ask(net, x, k, y, 4), w)


def wrong_null_is_zero(net, x, k, y, null, w):
    """zeros_like(y) for the null labels."""
    return _combine(*_ask(net, x, k, y, 0), w)


def wrong_levels_once(net, x, k, y, null, w):
    """k is not doubled: a (B,) tensor stays (B,)."""
    k = torch.as_tensor(k)
    k = k if k.ndim else k.expand(2 * len(x))
    c, u = net(torch.cat([x, x]), k, torch.cat([y, torch.full_like(y, null)])).chunk(2)
    return _combine(c, u, w)


def wrong_number_for_the_network(net, x, k, y, null, w):
    """A number k is handed on as it is."""
    k = torch.cat([k, k]) if isinstance(k, torch.Tensor) and k.ndim else k
    c, u = net(torch.cat([x, x]), k, torch.cat([y, torch.full_like(y, null)])).chunk(2)
    return _combine(c, u, w)


def wrong_float_levels(net, x, k, y, null, w):
    """k in x's dtype."""
    k = _levels(k, x).to(x.dtype)
    c, u = net(torch.cat([x, x]), torch.cat([k, k]), torch.cat([y, torch.full_like(y, null)])).chunk(2)
    return _combine(c, u, w)


def wrong_one_level_for_all(net, x, k, y, null, w):
    """The first sample's level for the whole batch."""
    k = _levels(k, x)[:1].expand(len(x))
    return _combine(*_ask(net, x, k, y, null), w)


def wrong_repeat_interleave(net, x, k, y, null, w):
    """k.repeat_interleave(2) beside x stacked."""
    c, u = net(torch.cat([x, x]), _levels(k, x).repeat_interleave(2), torch.cat([y, torch.full_like(y, null)])).chunk(2)
    return _combine(c, u, w)


def wrong_promotes(net, x, k, y, null, w):
    """A float64 weight makes float32 answers float64."""
    c, u = _ask(net, x, k, y, null)
    w = torch.as_tensor(w, dtype=torch.float64)
    return u + w.reshape(-1, *[1] * (x.ndim - 1)) * (c - u)


def wrong_without_a_graph(net, x, k, y, null, w):
    """Under no_grad."""
    with torch.no_grad():
        return _combine(*_ask(net, x, k, y, null), w)


def wrong_uncond_without_a_graph(net, x, k, y, null, w):
    """The unconditional half is detached."""
    c, u = _ask(net, x, k, y, null)
    return _combine(c, u.detach(), w)


def wrong_writes_null_into_y(net, x, k, y, null, w):
    """The caller's labels become null."""
    own = y.clone()
    y.fill_(null)
    k = _levels(k, x)
    c, u = net(torch.cat([x, x]), torch.cat([k, k]), torch.cat([own, y])).chunk(2)
    return _combine(c, u, w)


def wrong_only_cond(net, x, k, y, null, w):
    """No guidance at all."""
    c, _ = _ask(net, x, k, y, null)
    return c


def wrong_first_three_channels(net, x, k, y, null, w):
    """Guides the first three entries of the axis after the batch, and passes cond on in the others."""
    c, u = _ask(net, x, k, y, null)
    out = _combine(c, u, w)
    return torch.cat([out[:, :3], c[:, 3:]], 1)


def right_other_order(net, x, k, y, null, w):
    """The unconditional half first."""
    k = _levels(k, x)
    out = net(x.repeat(2, *[1] * (x.ndim - 1)), k.repeat(2), torch.cat([torch.full_like(y, null), y]))
    u, c = out[: len(x)], out[len(x) :]
    w = _column(w, x)
    return (1 - w) * u + w * c


def right_interleaved(net, x, k, y, null, w):
    """Each row beside its own null row."""
    k = _levels(k, x)
    labels = torch.stack([y, torch.full_like(y, null)], 1).flatten()
    out = net(x.repeat_interleave(2, 0), k.repeat_interleave(2), labels)
    return _combine(out[0::2], out[1::2], w)


def right_new_full(net, x, k, y, null, w):
    """A number k becomes a tensor by new_full; the weights through einsum."""
    n = len(x)
    k = k if isinstance(k, torch.Tensor) and k.ndim else y.new_full((n,), int(k))
    both = net(torch.cat((x, x), 0), torch.cat((k, k)), torch.cat((y, y.new_full((n,), null))))
    c, u = both.split(n)
    w = torch.as_tensor(w).to(x).expand(n)
    return u + torch.einsum("b,b...->b...", w, c - u)


def right_plain_weight(net, x, k, y, null, w):
    """w is a number or 0-d: no axes to think of."""
    c, u = _ask(net, x, k, y, null)
    return u + w * (c - u)
