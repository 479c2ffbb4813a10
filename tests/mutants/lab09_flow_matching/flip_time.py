"""Answers to flip_time, wrong and right."""

import torch


def wrong_sign_only(net):
    """-net(x, t)."""
    return lambda x, t: -net(x, t)


def wrong_time_only(net):
    """net(x, 1 - t)."""
    return lambda x, t: net(x, 1 - t)


def wrong_as_it_came(net):
    """The network itself."""
    return lambda x, t: net(x, t)


def wrong_negative_time(net):
    """-net(x, -t)."""
    return lambda x, t: -net(x, -t)


def wrong_reflected_in_space(net):
    """net(-x, 1 - t): right for fields that are odd in x alone."""
    return lambda x, t: net(-x, 1 - t)


def wrong_tensors_only(net):
    """t.neg(): no Python numbers."""
    return lambda x, t: -net(x, t.neg() + 1)


def wrong_numbers_only(net):
    """float(t): one time for all samples."""
    return lambda x, t: -net(x, 1 - float(t))


def wrong_first_time_for_all(net):
    """The first sample's time for all."""

    def g(x, t):
        t = torch.as_tensor(t, dtype=x.dtype)
        return -net(x, 1 - t.reshape(-1)[0])

    return g


def wrong_without_a_graph(net):
    """Under no_grad."""
    return torch.no_grad()(lambda x, t: -net(x, 1 - t))


def wrong_detached(net):
    """The answer is detached."""
    return lambda x, t: -net(x, 1 - t).detach()


def wrong_asks_twice(net):
    """The mean of two calls."""
    return lambda x, t: -(net(x, 1 - t) + net(x, 1 - t)) / 2


def wrong_remembers(net):
    """The first answer is kept for ever."""
    kept = []

    def g(x, t):
        if not kept:
            kept.append(-net(x, 1 - t))
        return kept[0]

    return g


def wrong_returns_a_value(net):
    """Called at once, at a made-up point."""
    return -net(torch.zeros(1, 3), torch.zeros(1))


def wrong_in_place(net):
    """The time is turned inside the caller's tensor."""

    def g(x, t):
        if isinstance(t, torch.Tensor):
            t = t.neg_().add_(1)
            return -net(x, t)
        return -net(x, 1 - t)

    return g


def right_lambda(net):
    """Equation (9.22)."""
    return lambda x, t: -net(x, 1 - t)


def right_module(net):
    """A module, as the package has it."""

    class Flipped(torch.nn.Module):
        def forward(self, x, t):
            return net(x, 1 - t).neg()

    return Flipped()


def right_function(net):
    """A named function that makes tensors of times."""

    def g(x, t):
        t = torch.as_tensor(t, dtype=x.dtype, device=x.device)
        return -1.0 * net(x, torch.ones_like(t) - t)

    return g
