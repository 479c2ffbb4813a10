"""Answers to euler_flow_sample, wrong and right."""

import torch


def _full(x, t):
    return torch.full((len(x),), float(t), dtype=x.dtype)


def _walk(net, x, times):
    for t, s in zip(times[:-1], times[1:], strict=True):
        x = x + (s - t) * net(x, _full(x, t))
    return x


def wrong_direction(net, x1, n_steps):
    """x + v/n: away from the data."""
    x = x1
    for i in range(n_steps):
        x = x + net(x, _full(x, 1 - i / n_steps)) / n_steps
    return x


def wrong_clock(net, x1, n_steps):
    """From t = 0 to t = 1."""
    return _walk(net, x1, [i / n_steps for i in range(n_steps + 1)])


def wrong_asks_at_the_end_of_the_step(net, x1, n_steps):
    """net(x, s): the time that x goes to."""
    x = x1
    for i in range(n_steps):
        x = x - net(x, _full(x, 1 - (i + 1) / n_steps)) / n_steps
    return x


def wrong_asks_in_the_middle(net, x1, n_steps):
    """net(x, (t + s)/2)."""
    x = x1
    for i in range(n_steps):
        x = x - net(x, _full(x, 1 - (i + 0.5) / n_steps)) / n_steps
    return x


def wrong_asks_always_at_1(net, x1, n_steps):
    """The time never moves."""
    x = x1
    for _ in range(n_steps):
        x = x - net(x, _full(x, 1)) / n_steps
    return x


def wrong_asks_at_x1(net, x1, n_steps):
    """The network sees the start in every step."""
    x = x1
    for i in range(n_steps):
        x = x - net(x1, _full(x, 1 - i / n_steps)) / n_steps
    return x


def wrong_n_times(net, x1, n_steps):
    """linspace(1, 0, n): n - 1 steps."""
    return _walk(net, x1, torch.linspace(1, 0, n_steps, dtype=x1.dtype).tolist()) + 0


def wrong_last_step_missing(net, x1, n_steps):
    """It stops at t = 1/n."""
    return _walk(net, x1, [1 - i / n_steps for i in range(n_steps)]) + 0


def wrong_stops_early(net, x1, n_steps):
    """It ends at t = 0.01, for safety."""
    return _walk(net, x1, torch.linspace(1, 0.01, n_steps + 1, dtype=x1.dtype).tolist())


def wrong_starts_late(net, x1, n_steps):
    """It starts at t = 0.99."""
    return _walk(net, x1, torch.linspace(0.99, 0, n_steps + 1, dtype=x1.dtype).tolist())


def wrong_heun(net, x1, n_steps):
    """Heun's rule: two calls for each step."""
    x, dt = x1, 1 / n_steps
    for i in range(n_steps):
        t = 1 - i * dt
        v = net(x, _full(x, t))
        x = x - dt * (v + net(x - dt * v, _full(x, t - dt))) / 2
    return x


def wrong_one_call_more(net, x1, n_steps):
    """A last call at t = 0, thrown away."""
    x = _walk(net, x1, [1 - i / n_steps for i in range(n_steps + 1)])
    net(x, _full(x, 0))
    return x


def wrong_trajectory(net, x1, n_steps):
    """All states."""
    states = [x1]
    for i in range(n_steps):
        states.append(states[-1] - net(states[-1], _full(x1, 1 - i / n_steps)) / n_steps)
    return torch.stack(states)


def wrong_number_for_the_network(net, x1, n_steps):
    """The network gets a Python number."""
    x = x1
    for i in range(n_steps):
        x = x - net(x, 1 - i / n_steps) / n_steps
    return x


def wrong_zero_dimensional_time(net, x1, n_steps):
    """The network gets a 0-d tensor."""
    x = x1
    for i in range(n_steps):
        x = x - net(x, torch.tensor(1 - i / n_steps, dtype=x.dtype)) / n_steps
    return x


def wrong_float32_times(net, x1, n_steps):
    """Times in float32, whatever x1 is."""
    x = x1
    for i in range(n_steps):
        x = x - net(x, torch.full((len(x),), 1 - i / n_steps)) / n_steps
    return x


def wrong_adds_noise(net, x1, n_steps):
    """A little noise after each step, from the global generator."""
    x = x1
    for i in range(n_steps):
        x = x - net(x, _full(x, 1 - i / n_steps)) / n_steps + 0.01 * torch.randn_like(x)
    return x


def wrong_clipped(net, x1, n_steps):
    """The end clipped to [-1, 1]."""
    return _walk(net, x1, [1 - i / n_steps for i in range(n_steps + 1)]).clamp(-1, 1)


def wrong_in_place(net, x1, n_steps):
    """The states are written into x1."""
    for i in range(n_steps):
        x1 -= net(x1, _full(x1, 1 - i / n_steps)) / n_steps
    return x1.clone()


@torch.no_grad()
def wrong_in_place_by_another_name(net, x1, n_steps):
    """x is x1, so that x -= ... changes x1: the next samples start from the data."""
    x = x1
    for i in range(n_steps):
        x -= net(x, _full(x, 1 - i / n_steps)) / n_steps
    return x


@torch.no_grad()
def right_walk(net, x1, n_steps):
    """Pairs of times."""
    return _walk(net, x1, [1 - i / n_steps for i in range(n_steps + 1)])


def right_with_a_graph(net, x1, n_steps):
    """Times counted down, without no_grad."""
    x, h = x1, 1.0 / n_steps
    for k in range(n_steps, 0, -1):
        x = x - h * net(x, x.new_full((x.shape[0],), k * h))
    return x


def right_in_one_column(net, x1, n_steps):
    """All times at once, a row for each step."""
    times = torch.arange(n_steps, 0, -1, dtype=x1.dtype)[:, None].expand(-1, len(x1)) / n_steps
    with torch.inference_mode():
        x = x1.clone()
        for t in times:
            x = torch.sub(x, net(x, t), alpha=1 / n_steps)
    return x.clone()
