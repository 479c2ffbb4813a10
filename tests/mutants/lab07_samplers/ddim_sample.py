"""Answers to ddim_sample, wrong and right."""

from itertools import pairwise

import torch


def _step(x, eps, k, j, abar, eta, generator, noise=None):
    a, b = abar[j], abar[k]
    sigma = eta * ((1 - a) / (1 - b) * (1 - b / a)).sqrt()
    x0 = (x - (1 - b).sqrt().to(x) * eps) / b.sqrt().to(x)
    out = a.sqrt().to(x) * x0 + (1 - a - sigma**2).clamp(min=0).sqrt().to(x) * eps
    if eta == 0:
        return out
    if noise is None:
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
    return out + sigma.to(x) * noise


def _levels(x, k):
    return torch.full((len(x),), k, dtype=torch.int64)


@torch.no_grad()
def wrong_asks_at_the_next_step(net, x, steps, abar, eta, generator):
    """net(x, j): the step that x goes to."""
    for k, j in pairwise(steps):
        x = _step(x, net(x, _levels(x, j)), k, j, abar, eta, generator)
    return x


@torch.no_grad()
def wrong_asks_at_zero_too(net, x, steps, abar, eta, generator):
    """One more call, at 0, whose eps is thrown away."""
    for k, j in zip(steps, [*steps[1:], 0], strict=True):
        eps = net(x, _levels(x, k))
        x = _step(x, eps, k, j, abar, eta, generator) if k else x
    return x


@torch.no_grad()
def wrong_asks_at_k_minus_1(net, x, steps, abar, eta, generator):
    """Zero-based steps for the network."""
    for k, j in pairwise(steps):
        x = _step(x, net(x, _levels(x, k - 1)), k, j, abar, eta, generator)
    return x


@torch.no_grad()
def wrong_alpha_bar_off_by_one(net, x, steps, abar, eta, generator):
    """abar[k - 1] for level k (0 stays 0): training and sampling one step apart."""
    shifted = torch.cat([abar[:1], abar[:-1]])
    for k, j in pairwise(steps):
        x = x if shifted[k] == 1 else _step(x, net(x, _levels(x, k)), k, j, shifted, eta, generator)
    return x


@torch.no_grad()
def wrong_noise_at_the_last_step(net, x, steps, abar, eta, generator):
    """The step to 0 adds the noise of a step to 1."""
    for k, j in pairwise(steps):
        x = _step(x, net(x, _levels(x, k)), k, j, abar, eta, generator)
    noise = torch.randn(x.shape, generator=generator, dtype=x.dtype) if eta else 0
    return x + eta * (1 - abar[2]).sqrt().to(x) * noise


@torch.no_grad()
def wrong_eta_twice(net, x, steps, abar, eta, generator):
    """eta squared."""
    for k, j in pairwise(steps):
        x = _step(x, net(x, _levels(x, k)), k, j, abar, eta**2, generator)
    return x


@torch.no_grad()
def wrong_final_alpha_bar(net, x, steps, abar, eta, generator):
    """abar[1] at the end in place of 1."""
    abar = torch.cat([abar[1:2], abar[1:]])
    for k, j in pairwise(steps):
        x = _step(x, net(x, _levels(x, k)), k, j, abar, eta, generator)
    return x


@torch.no_grad()
def wrong_stops_before_zero(net, x, steps, abar, eta, generator):
    """The last step is left out."""
    for k, j in pairwise(steps[:-1]):
        x = _step(x, net(x, _levels(x, k)), k, j, abar, eta, generator)
    return x


@torch.no_grad()
def wrong_starts_at_T(net, x, steps, abar, eta, generator):
    """x is taken for the state at T, whatever steps[0] is."""
    for k, j in pairwise([len(abar) - 1, *steps[1:]]):
        x = _step(x, net(x, _levels(x, k)), k, j, abar, eta, generator)
    return x


@torch.no_grad()
def wrong_walks_every_step(net, x, steps, abar, eta, generator):
    """All steps from steps[0] down to 0."""
    for k in range(steps[0], 0, -1):
        x = _step(x, net(x, _levels(x, k)), k, k - 1, abar, eta, generator)
    return x


@torch.no_grad()
def wrong_clips(net, x, steps, abar, eta, generator):
    """The end clipped to [-1, 1]."""
    for k, j in pairwise(steps):
        x = _step(x, net(x, _levels(x, k)), k, j, abar, eta, generator)
    return x.clamp(-1, 1)


@torch.no_grad()
def wrong_asks_twice(net, x, steps, abar, eta, generator):
    """The network is called twice for a step."""
    for k, j in pairwise(steps):
        eps = (net(x, _levels(x, k)) + net(x, _levels(x, k))) / 2
        x = _step(x, eps, k, j, abar, eta, generator)
    return x


@torch.no_grad()
def wrong_number_for_the_network(net, x, steps, abar, eta, generator):
    """net(x, k) with a Python int."""
    for k, j in pairwise(steps):
        x = _step(x, net(x, k), k, j, abar, eta, generator)
    return x


@torch.no_grad()
def wrong_float_levels(net, x, steps, abar, eta, generator):
    """k in x's dtype."""
    for k, j in pairwise(steps):
        x = _step(x, net(x, torch.full((len(x),), float(k), dtype=x.dtype)), k, j, abar, eta, generator)
    return x


@torch.no_grad()
def wrong_zero_dimensional_level(net, x, steps, abar, eta, generator):
    """k as a 0-d tensor."""
    for k, j in pairwise(steps):
        x = _step(x, net(x, torch.tensor(k)), k, j, abar, eta, generator)
    return x


@torch.no_grad()
def wrong_global_generator(net, x, steps, abar, eta, generator):
    """randn_like: the generator is not used."""
    for k, j in pairwise(steps):
        x = _step(x, net(x, _levels(x, k)), k, j, abar, eta, None)
    return x


@torch.no_grad()
def wrong_same_noise_at_every_step(net, x, steps, abar, eta, generator):
    """The noise is drawn once, before the loop."""
    noise = torch.randn(x.shape, generator=generator, dtype=x.dtype) if eta else None
    for k, j in pairwise(steps):
        x = _step(x, net(x, _levels(x, k)), k, j, abar, eta, generator, noise)
    return x


@torch.no_grad()
def wrong_same_noise_for_all_samples(net, x, steps, abar, eta, generator):
    """One draw for the whole batch."""
    for k, j in pairwise(steps):
        noise = torch.randn(x.shape[1:], generator=generator, dtype=x.dtype) if eta else None
        x = _step(x, net(x, _levels(x, k)), k, j, abar, eta, generator, noise)
    return x


@torch.no_grad()
def wrong_same_noise_for_all_coordinates(net, x, steps, abar, eta, generator):
    """One number for each sample."""
    for k, j in pairwise(steps):
        shape = (len(x), *[1] * (x.ndim - 1))
        noise = torch.randn(shape, generator=generator, dtype=x.dtype) if eta else None
        x = _step(x, net(x, _levels(x, k)), k, j, abar, eta, generator, noise)
    return x


@torch.no_grad()
def wrong_uniform_noise(net, x, steps, abar, eta, generator):
    """rand for randn."""
    for k, j in pairwise(steps):
        noise = torch.rand(x.shape, generator=generator, dtype=x.dtype) if eta else None
        x = _step(x, net(x, _levels(x, k)), k, j, abar, eta, generator, noise)
    return x


@torch.no_grad()
def wrong_always_deterministic(net, x, steps, abar, eta, generator):
    """eta is ignored."""
    for k, j in pairwise(steps):
        x = _step(x, net(x, _levels(x, k)), k, j, abar, 0.0, generator)
    return x


@torch.no_grad()
def wrong_always_draws(net, x, steps, abar, eta, generator):
    """With eta = 0 it still draws, from the global generator where none is given."""
    for k, j in pairwise(steps):
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        x = _step(x, net(x, _levels(x, k)), k, j, abar, eta, generator, noise)
    return x


@torch.no_grad()
def wrong_float64_noise(net, x, steps, abar, eta, generator):
    """The noise in float64 makes float32 samples float64."""
    for k, j in pairwise(steps):
        noise = torch.randn(x.shape, generator=generator, dtype=torch.float64) if eta else None
        x = _step(x, net(x, _levels(x, k)), k, j, abar, eta, generator, noise)
    return x


@torch.no_grad()
def wrong_pops_the_steps(net, x, steps, abar, eta, generator):
    """The caller's list is used up."""
    while len(steps) > 1:
        k = steps.pop(0)
        x = _step(x, net(x, _levels(x, k)), k, steps[0], abar, eta, generator)
    return x


@torch.no_grad()
def wrong_in_place(net, x, steps, abar, eta, generator):
    """The states are written into the caller's x."""
    for k, j in pairwise(steps):
        x.copy_(_step(x, net(x, _levels(x, k)), k, j, abar, eta, generator))
    return x.clone()


@torch.no_grad()
def right_pairs(net, x, steps, abar, eta, generator):
    """Pairs of neighbours."""
    for k, j in pairwise(steps):
        x = _step(x, net(x, _levels(x, k)), k, j, abar, eta, generator)
    return x


def right_with_a_graph(net, x, steps, abar, eta, generator):
    """By position, without no_grad, and k on x's device from new_full."""
    for i in range(len(steps) - 1):
        k = x.new_full((x.shape[0],), steps[i], dtype=torch.long)
        x = _step(x, net(x, k), steps[i], steps[i + 1], abar, eta, generator)
    return x


def right_all_noise_first(net, x, steps, abar, eta, generator):
    """All noise is drawn in one piece before the first step."""
    count = len(steps) - 1
    noises = torch.randn(count, *x.shape, generator=generator, dtype=x.dtype) if eta > 0 else [None] * count
    with torch.inference_mode():
        for k, j, noise in zip(steps[:-1], steps[1:], noises, strict=True):
            x = _step(x, net(x, torch.tensor([k] * len(x))), k, j, abar, eta, generator, noise)
    return x.clone()
