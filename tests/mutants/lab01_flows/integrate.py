"""Answers to `integrate`."""

import itertools

import torch


def wrong_uniform_dt(f, x, ts, step):
    """Takes the first interval's dt for all."""
    dt = ts[1] - ts[0] if len(ts) > 1 else 0.0
    states = [x]
    for t in ts[:-1]:
        states.append(step(f, states[-1], t, dt))
    return torch.stack(states)


def wrong_linspace(f, x, ts, step):
    """Keeps the ends of the grid and evens out the rest."""
    states, grid = [x], torch.linspace(float(ts[0]), float(ts[-1]), len(ts), dtype=ts.dtype)
    for t, s in itertools.pairwise(grid):
        states.append(step(f, states[-1], t, s - t))
    return torch.stack(states)


def wrong_absolute_dt(f, x, ts, step):
    """Always goes forwards."""
    states = [x]
    for t, s in itertools.pairwise(ts):
        states.append(step(f, states[-1], t, abs(s - t)))
    return torch.stack(states)


def wrong_sorted_times(f, x, ts, step):
    """Sorts the grid first."""
    states = [x]
    for t, s in itertools.pairwise(ts.sort().values):
        states.append(step(f, states[-1], t, s - t))
    return torch.stack(states)


def wrong_without_the_first_row(f, x, ts, step):
    """Leaves x out."""
    states = []
    for t, s in itertools.pairwise(ts):
        x = step(f, x, t, s - t)
        states.append(x)
    return torch.stack(states) if states else x[:0]


def wrong_last_state_only(f, x, ts, step):
    """Returns where the flow ends."""
    for t, s in itertools.pairwise(ts):
        x = step(f, x, t, s - t)
    return x


def wrong_end_time(f, x, ts, step):
    """Starts each step at the end of its interval."""
    states = [x]
    for t, s in itertools.pairwise(ts):
        states.append(step(f, states[-1], s, s - t))
    return torch.stack(states)


def wrong_index_for_time(f, x, ts, step):
    """Passes i where ts[i] belongs."""
    states = [x]
    for i in range(len(ts) - 1):
        states.append(step(f, states[-1], float(i), ts[i + 1] - ts[i]))
    return torch.stack(states)


def wrong_always_from_x(f, x, ts, step):
    """Every step starts again from x."""
    return torch.stack([x] + [step(f, x, t, s - t) for t, s in itertools.pairwise(ts)])


def wrong_batch_first(f, x, ts, step):
    """Time on the second axis."""
    states = [x]
    for t, s in itertools.pairwise(ts):
        states.append(step(f, states[-1], t, s - t))
    return torch.stack(states, 1)


def wrong_default_dtype(f, x, ts, step):
    """Collects the states in float32."""
    out = torch.zeros(len(ts), *x.shape)
    out[0] = x
    for i in range(len(ts) - 1):
        out[i + 1] = step(f, out[i].to(x.dtype), ts[i], ts[i + 1] - ts[i])
    return out


def wrong_own_step(f, x, ts, step):
    """Ignores the step rule and takes Euler's."""
    states = [x]
    for t, s in itertools.pairwise(ts):
        states.append(states[-1] + (s - t) * f(states[-1], t))
    return torch.stack(states)


def wrong_one_interval_too_many(f, x, ts, step):
    """Takes a last step of size 0 beyond the grid."""
    states = [x]
    for i, t in enumerate(ts):
        dt = ts[i + 1] - t if i + 1 < len(ts) else t - t
        states.append(step(f, states[-1], t, dt))
    return torch.stack(states[: len(ts)])


def wrong_detached(f, x, ts, step):
    """Collects copies without a graph."""
    states = [x.detach()]
    for t, s in itertools.pairwise(ts):
        x = step(f, x, t, s - t)
        states.append(x.detach().clone())
    return torch.stack(states)


def right_accumulate(f, x, ts, step):
    """A fold over the intervals."""
    intervals = zip(ts[:-1].tolist(), ts.diff().tolist(), strict=True)
    return torch.stack(list(itertools.accumulate(intervals, lambda y, i: step(f, y, i[0], i[1]), initial=x)))


def right_preallocated(f, x, ts, step):
    """Fills a tensor of the final shape."""
    out = x.new_empty((len(ts), *x.shape))
    out[0] = x
    for i in range(1, len(ts)):
        x = step(f, x, ts[i - 1], ts[i] - ts[i - 1])
        out[i] = x
    return out


def right_recursive(f, x, ts, step):
    """The first step, and the rest of the way."""
    if len(ts) == 1:
        return x.unsqueeze(0)
    rest = right_recursive(f, step(f, x, ts[0], ts[1] - ts[0]), ts[1:], step)
    return torch.cat([x.unsqueeze(0), rest])
