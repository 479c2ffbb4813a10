"""Answers to consistency_sample, wrong and right."""

import torch


def _told(x, sigma):
    return torch.as_tensor(sigma, dtype=x.dtype, device=x.device).expand(len(x))


def _noise(x, generator):
    return torch.randn(x.shape, generator=generator, device=generator.device, dtype=x.dtype).to(x.device)


def _run(f, x, sigmas, generator, renoise):
    levels = sigmas.tolist()
    x = f(x, _told(x, levels[0]))
    for before, sigma in zip(levels, levels[1:], strict=False):
        x = f(renoise(x, before, sigma, _noise(x, generator)), _told(x, sigma))
    return x


def _right(x, before, sigma, z):
    return x + sigma * z


@torch.no_grad()
def wrong_noise_at_the_end(f, x, sigmas, generator):
    """Noise of the last level after the last jump."""
    x = _run(f, x, sigmas, generator, _right)
    return x + sigmas[-1].item() * _noise(x, generator) if generator is not None else x


@torch.no_grad()
def wrong_last_jump_missing(f, x, sigmas, generator):
    """Noise of the last level, and no jump from there."""
    x = f(x, _told(x, sigmas[0]))
    for sigma, after in zip(sigmas[1:], [*sigmas[2:], None], strict=True):
        x = x + sigma.item() * _noise(x, generator)
        if after is not None:
            x = f(x, _told(x, sigma))
    return x


@torch.no_grad()
def wrong_level_before(f, x, sigmas, generator):
    """Noise of the level before."""
    return _run(f, x, sigmas, generator, lambda x, before, sigma, z: x + before * z)


@torch.no_grad()
def wrong_difference_of_variances(f, x, sigmas, generator):
    """sqrt(before² - sigma²), as if part of the noise were still there."""
    return _run(f, x, sigmas, generator, lambda x, before, sigma, z: x + (before**2 - sigma**2) ** 0.5 * z)


@torch.no_grad()
def wrong_variance(f, x, sigmas, generator):
    """sqrt(sigma) z."""
    return _run(f, x, sigmas, generator, lambda x, before, sigma, z: x + sigma**0.5 * z)


@torch.no_grad()
def wrong_squared(f, x, sigmas, generator):
    """sigma² z."""
    return _run(f, x, sigmas, generator, lambda x, before, sigma, z: x + sigma**2 * z)


@torch.no_grad()
def wrong_no_noise(f, x, sigmas, generator):
    """f again and again."""
    return _run(f, x, sigmas, generator, lambda x, before, sigma, z: x)


@torch.no_grad()
def wrong_straight_path(f, x, sigmas, generator):
    """(1 - sigma) x + sigma z: the straight path's mixture."""
    return _run(f, x, sigmas, generator, lambda x, before, sigma, z: (1 - sigma) * x + sigma * z)


@torch.no_grad()
def wrong_noise_on_the_start(f, x, sigmas, generator):
    """The noise is added to the state before the jump."""
    levels = sigmas.tolist()
    out = f(x, _told(x, levels[0]))
    for sigma in levels[1:]:
        x = x + sigma * _noise(x, generator)
        out = f(x, _told(x, sigma))
    return out


@torch.no_grad()
def wrong_scaled_start(f, x, sigmas, generator):
    """x is multiplied by sigmas[0]."""
    return _run(f, x * sigmas[0].item(), sigmas, generator, _right)


@torch.no_grad()
def wrong_old_level_told(f, x, sigmas, generator):
    """f is told sigmas[0] every time."""
    return _run(lambda y, s: f(y, _told(y, sigmas[0])), x, sigmas, generator, _right)


@torch.no_grad()
def wrong_level_before_told(f, x, sigmas, generator):
    """f is told the level before."""
    told = iter([sigmas[0], *sigmas[:-1]])
    return _run(lambda y, s: f(y, _told(y, next(told))), x, sigmas, generator, _right)


@torch.no_grad()
def wrong_same_noise(f, x, sigmas, generator):
    """One draw for all levels."""
    if len(sigmas) == 1:
        return f(x, _told(x, sigmas[0]))
    z = _noise(x, generator)
    return _run(f, x, sigmas, generator, lambda x, before, sigma, _: x + sigma * z)


@torch.no_grad()
def wrong_noise_shared_by_the_batch(f, x, sigmas, generator):
    """The first sample's noise for all."""
    return _run(f, x, sigmas, generator, lambda x, before, sigma, z: x + sigma * z[:1])


@torch.no_grad()
def wrong_uniform_noise(f, x, sigmas, generator):
    """Uniform noise of variance 1."""

    def renoise(x, before, sigma, z):
        return x + sigma * 12**0.5 * (torch.rand(x.shape, generator=generator, dtype=x.dtype) - 0.5)

    return _run(f, x, sigmas, generator, renoise)


@torch.no_grad()
def wrong_global_generator(f, x, sigmas, generator):
    """torch.randn_like."""
    return _run(f, x, sigmas, torch.default_generator, _right)


@torch.no_grad()
def wrong_own_generator(f, x, sigmas, generator):
    """A generator of its own, with a fixed seed."""
    return _run(f, x, sigmas, torch.Generator().manual_seed(0), _right)


@torch.no_grad()
def wrong_number_told(f, x, sigmas, generator):
    """The level is a Python number."""
    return _run(lambda y, s: f(y, s[0].item()), x, sigmas, generator, _right)


@torch.no_grad()
def wrong_one_call_more(f, x, sigmas, generator):
    """A last polish at the last level."""
    x = _run(f, x, sigmas, generator, _right)
    return f(x, _told(x, sigmas[-1]))


@torch.no_grad()
def wrong_two_jumps_at_most(f, x, sigmas, generator):
    """The levels between the first and the last are left out."""
    return _run(f, x, sigmas[[0, -1]] if len(sigmas) > 1 else sigmas, generator, _right)


@torch.no_grad()
def wrong_float64_out(f, x, sigmas, generator):
    """Computed in float64, and left there."""
    return _run(f, x.double(), sigmas, generator, _right)


@torch.no_grad()
def wrong_in_place(f, x, sigmas, generator):
    """The result is also written into the caller's x."""
    out = _run(f, x.clone(), sigmas, generator, _right)
    x.data.copy_(out)
    return out


@torch.no_grad()
def wrong_draw_for_the_first_level(f, x, sigmas, generator):
    """A draw for every level, the first included, where it is multiplied by 0."""
    for i, sigma in enumerate(sigmas.tolist()):
        z = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        x = f(x + (i > 0) * sigma * z, _told(x, sigma))
    return x


@torch.no_grad()
def wrong_adds_into_what_f_returned(f, x, sigmas, generator):
    """x += sigma z."""
    for i, sigma in enumerate(sigmas.tolist()):
        if i > 0:
            x += sigma * _noise(x, generator)
        x = f(x, _told(x, sigma))
    return x


@torch.no_grad()
def wrong_float32_noise(f, x, sigmas, generator):
    """randn without a dtype."""
    return _run(f, x, sigmas, generator, lambda x, before, sigma, z: x + sigma * z.float())


def wrong_with_a_graph(f, x, sigmas, generator):
    """Without no_grad."""
    return _run(f, x, sigmas, generator, _right)


@torch.no_grad()
def right_plainly(f, x, sigmas, generator):
    """Algorithm 1 of the paper, with sigma_min = 0."""
    x = f(x, torch.full((x.shape[0],), float(sigmas[0]), dtype=x.dtype))
    for sigma in sigmas[1:]:
        z = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        x = f(x + float(sigma) * z, torch.full((x.shape[0],), float(sigma), dtype=x.dtype))
    return x


@torch.no_grad()
def right_drawn_at_once(f, x, sigmas, generator):
    """All noise in one draw, in float64, before the first jump."""
    n = len(sigmas) - 1
    noise = torch.randn(n, *x.shape, generator=generator, dtype=torch.float64).to(x) if n else []
    x = f(x, sigmas[0].to(x).expand(len(x)))
    for i in range(n):
        sigma = sigmas[i + 1].to(x)
        x = f(x + sigma * noise[i], sigma.expand(len(x)))
    return x


@torch.no_grad()
def right_recursive(f, x, sigmas, generator):
    """A jump, noise, and the rest of the levels."""
    jumped = f(x, x.new_full(x.shape[:1], sigmas[0].item()))
    if len(sigmas) == 1:
        return jumped
    z = torch.empty_like(x).normal_(generator=generator)
    return right_recursive(f, torch.add(jumped, z, alpha=sigmas[1].item()), sigmas[1:], generator)
