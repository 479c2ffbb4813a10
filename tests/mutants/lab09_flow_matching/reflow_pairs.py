"""Answers to reflow_pairs, wrong and right."""

import torch


def _full(x, t):
    return torch.full((len(x),), float(t), dtype=x.dtype)


def _flow(net, x, n_steps):
    for i in range(n_steps):
        x = x - net(x, _full(x, 1 - i / n_steps)) / n_steps
    return x


@torch.no_grad()
def wrong_order(net, eps, n_steps):
    """(eps, x0_hat)."""
    return eps, _flow(net, eps, n_steps)


@torch.no_grad()
def wrong_fresh_noise(net, eps, n_steps):
    """New noise beside x0_hat: independent pairs again."""
    return _flow(net, eps, n_steps), torch.randn_like(eps)


@torch.no_grad()
def wrong_shuffled_noise(net, eps, n_steps):
    """The noises shuffled, as a data loader may do."""
    return _flow(net, eps, n_steps), eps.roll(1, 0)


@torch.no_grad()
def wrong_own_noise(net, eps, n_steps):
    """x0_hat from noise of its own, eps given back."""
    return _flow(net, torch.randn_like(eps), n_steps), eps


def wrong_with_a_graph(net, eps, n_steps):
    """x0_hat holds the graph of the teacher."""
    return _flow(net, eps, n_steps), eps


@torch.no_grad()
def wrong_clock(net, eps, n_steps):
    """From t = 0 to t = 1."""
    x = eps
    for i in range(n_steps):
        x = x + net(x, _full(x, i / n_steps)) / n_steps
    return x, eps


@torch.no_grad()
def wrong_direction(net, eps, n_steps):
    """Along the velocity, away from the data."""
    x = eps
    for i in range(n_steps):
        x = x + net(x, _full(x, 1 - i / n_steps)) / n_steps
    return x, eps


@torch.no_grad()
def wrong_one_step(net, eps, n_steps):
    """n_steps is ignored."""
    return eps - net(eps, _full(eps, 1)), eps


@torch.no_grad()
def wrong_last_step_missing(net, eps, n_steps):
    """n - 1 steps."""
    x = eps
    for i in range(n_steps - 1):
        x = x - net(x, _full(x, 1 - i / n_steps)) / n_steps
    return x, eps


@torch.no_grad()
def wrong_midpoints(net, eps, n_steps):
    """The network is asked in the middle of each step."""
    x = eps
    for i in range(n_steps):
        x = x - net(x, _full(x, 1 - (i + 0.5) / n_steps)) / n_steps
    return x, eps


@torch.no_grad()
def wrong_x0_alone(net, eps, n_steps):
    """No pair."""
    return _flow(net, eps, n_steps)


@torch.no_grad()
def wrong_stacked(net, eps, n_steps):
    """One tensor of both, three axes."""
    return torch.stack([_flow(net, eps, n_steps), eps, eps])


@torch.no_grad()
def wrong_sorted_by_cost(net, eps, n_steps):
    """The noises reordered once more: the nearest first."""
    x = _flow(net, eps, n_steps)
    order = eps.flatten(1).sum(1).argsort()
    return x, eps[order]


@torch.no_grad()
def wrong_number_for_the_network(net, eps, n_steps):
    """The network gets a Python number."""
    x = eps
    for i in range(n_steps):
        x = x - net(x, 1 - i / n_steps) / n_steps
    return x, eps


@torch.no_grad()
def wrong_in_place(net, eps, n_steps):
    """eps becomes x0_hat; a copy is given back as noise."""
    noise = eps.clone()
    for i in range(n_steps):
        eps -= net(eps, _full(eps, 1 - i / n_steps)) / n_steps
    return eps.clone(), noise


@torch.no_grad()
def wrong_in_place_twice(net, eps, n_steps):
    """eps becomes x0_hat, and is given back as noise."""
    x = eps
    for i in range(n_steps):
        x -= net(x, _full(x, 1 - i / n_steps)) / n_steps
    return x, eps


@torch.no_grad()
def right_no_grad(net, eps, n_steps):
    """Under no_grad."""
    return _flow(net, eps, n_steps), eps


def right_detached(net, eps, n_steps):
    """Detached at the end, as a list."""
    return [_flow(net, eps.detach(), n_steps).detach(), eps]


def right_copy(net, eps, n_steps):
    """Times counted down; the noise as a copy."""
    x = eps.clone()
    for k in reversed(range(1, n_steps + 1)):
        with torch.no_grad():
            x = torch.sub(x, net(x, x.new_full((len(x),), k / n_steps)), alpha=1 / n_steps)
    return x, eps.clone()
