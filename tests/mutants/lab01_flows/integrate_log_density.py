"""Answers to `integrate_log_density`."""

import itertools

import torch


def _run(f, divergence, x, ts, second=None, sign=-1, dts=None, states=False):
    """Heun steps with the parts that the wrong answers change.

    second: (predictor, corrected, x, t, s) -> the divergence's second value, by default at (predictor, s).
    """
    second = second or (lambda predictor, corrected, x, t, s: divergence(predictor, s))
    delta, path = torch.zeros(len(x), dtype=x.dtype), [x]
    for i, (t, s) in enumerate(itertools.pairwise(ts)):
        dt = s - t if dts is None else dts[i]
        slope = f(x, t)
        predictor = x + dt * slope
        corrected = x + dt / 2 * (slope + f(predictor, s))
        delta = delta + sign * dt / 2 * (divergence(x, t) + second(predictor, corrected, x, t, s))
        x = corrected
        path.append(x)
    return (torch.stack(path) if states else x), delta


def wrong_sign(f, divergence, x, ts):
    """Adds the divergence: log p grows where the flow expands."""
    return _run(f, divergence, x, ts, sign=1)


def wrong_left_end_only(f, divergence, x, ts):
    """The divergence by Euler, the state by Heun."""
    return _run(f, divergence, x, ts, second=lambda p, c, x, t, s: divergence(x, t))


def wrong_second_time(f, divergence, x, ts):
    """The second divergence at the start time."""
    return _run(f, divergence, x, ts, second=lambda p, c, x, t, s: divergence(p, t))


def wrong_second_place(f, divergence, x, ts):
    """The second divergence where the step starts."""
    return _run(f, divergence, x, ts, second=lambda p, c, x, t, s: divergence(x, s))


def wrong_at_the_corrected_state(f, divergence, x, ts):
    """The second divergence at Heun's result: not one Heun step of the joint system."""
    return _run(f, divergence, x, ts, second=lambda p, c, x, t, s: divergence(c, s))


def wrong_standing_still(f, divergence, x, ts):
    """Integrates the divergence over time at the point where the flow starts."""
    end, _ = _run(f, divergence, x, ts)
    delta = torch.zeros(len(x), dtype=x.dtype)
    for t, s in itertools.pairwise(ts):
        delta = delta - (s - t) / 2 * (divergence(x, t) + divergence(x, s))
    return end, delta


def wrong_absolute_dt(f, divergence, x, ts):
    """Always goes forwards."""
    return _run(f, divergence, x, ts, dts=ts.diff().abs())


def wrong_uniform_dt(f, divergence, x, ts):
    """Evens out the grid."""
    n = len(ts) - 1
    return _run(f, divergence, x, ts, dts=[(ts[-1] - ts[0]) / max(n, 1)] * n)


def wrong_trajectory(f, divergence, x, ts):
    """Returns all states instead of the last."""
    return _run(f, divergence, x, ts, states=True)


def wrong_order_of_the_pair(f, divergence, x, ts):
    """Returns (delta_logp, x_end)."""
    return _run(f, divergence, x, ts)[::-1]


def wrong_total_over_the_batch(f, divergence, x, ts):
    """One number for all samples."""
    end, delta = _run(f, divergence, x, ts)
    return end, delta.sum()


def wrong_integral_only(f, divergence, x, ts):
    """Forgets dt in the density."""
    end, delta = x, torch.zeros(len(x), dtype=x.dtype)
    for t, s in itertools.pairwise(ts):
        delta = delta - divergence(end, t)
        end, _ = _run(f, divergence, end, torch.stack([t, s]))
    return end, delta


def wrong_euler(f, divergence, x, ts):
    """Euler steps of the joint system."""
    delta = torch.zeros(len(x), dtype=x.dtype)
    for t, s in itertools.pairwise(ts):
        x, delta = x + (s - t) * f(x, t), delta - (s - t) * divergence(x, t)
    return x, delta


def wrong_dtype_of_the_density(f, divergence, x, ts):
    """Accumulates in float32."""
    end, delta = _run(f, divergence, x, ts)
    return end, delta.float()


def wrong_without_half(f, divergence, x, ts):
    """Adds both divergences without averaging."""
    return _run(f, divergence, x, ts, sign=-2)


def wrong_density_outside_the_graph(f, divergence, x, ts):
    """The change of the log-density is detached, so no likelihood can be trained with it."""
    end, delta = _run(f, divergence, x, ts)
    return end, delta.detach()


def right_joint_state(f, divergence, x, ts):
    """Appends log p to the state as one more column, and takes Heun steps of that."""

    def joint(z, t):
        return torch.cat([f(z[:, :-1], t), -divergence(z[:, :-1], t)[:, None]], 1)

    z = torch.cat([x, torch.zeros_like(x[:, :1])], 1)
    for t, s in itertools.pairwise(ts):
        predictor = z + (s - t) * joint(z, t)
        z = (z + predictor + (s - t) * joint(predictor, s)) / 2
    return z[:, :-1], z[:, -1]


def right_trapezoidal_weights(f, divergence, x, ts):
    """Collects both divergences of all intervals, and sums them at the end."""
    y, values = x, [torch.zeros_like(x[:, 0])]
    for t, s in zip(ts[:-1].tolist(), ts[1:].tolist(), strict=True):
        predictor = y + (s - t) * f(y, t)
        values += [(t - s) / 2 * divergence(y, t), (t - s) / 2 * divergence(predictor, s)]
        y = (y + predictor + (s - t) * f(predictor, s)) / 2
    return [y, torch.stack(values).sum(0)]
