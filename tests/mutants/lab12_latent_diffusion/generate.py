"""Answers to generate, wrong and right."""

import itertools

import torch


def _guided(net, z, k, y, w):
    k = torch.full((len(z),), k, dtype=torch.int64)
    cond, uncond = net(z, k, y), net(z, k, torch.full_like(y, net.null))
    return uncond + w * (cond - uncond)


def _roots(abar, k, z):
    return abar[k].sqrt().to(z.dtype), (1 - abar[k]).sqrt().to(z.dtype)


def _step(z, eps, k, j, abar):
    (a, s), (a_next, s_next) = _roots(abar, k, z), _roots(abar, j, z)
    return a_next * (z - s * eps) / a + s_next * eps


def _noise(vae, y, generator, **options):
    return torch.randn(len(y), *vae.latent_shape, generator=generator, **options)


def _run(net, vae, y, steps, abar, w, z, step=_step, guide=_guided):
    for k, j in zip(steps[:-1], steps[1:], strict=True):
        z = step(z, guide(net, z, k, y, w), k, j, abar)
    return z


@torch.no_grad()
def wrong_decodes_without_scale(net, vae, y, steps, abar, scale, w, generator):
    """The latents are decoded as they are."""
    return vae.decode(_run(net, vae, y, steps, abar, w, _noise(vae, y, generator)))


@torch.no_grad()
def wrong_multiplies_by_scale(net, vae, y, steps, abar, scale, w, generator):
    """The latents are multiplied once more."""
    return vae.decode(_run(net, vae, y, steps, abar, w, _noise(vae, y, generator)) * scale)


@torch.no_grad()
def wrong_stable_diffusions_scale(net, vae, y, steps, abar, scale, w, generator):
    """0.18215 whatever the scale is."""
    return vae.decode(_run(net, vae, y, steps, abar, w, _noise(vae, y, generator)) / 0.18215)


@torch.no_grad()
def wrong_returns_latents(net, vae, y, steps, abar, scale, w, generator):
    """The decoder is forgotten."""
    return _run(net, vae, y, steps, abar, w, _noise(vae, y, generator)) / scale


@torch.no_grad()
def wrong_scales_the_noise(net, vae, y, steps, abar, scale, w, generator):
    """The first noise is scaled as latents are."""
    return vae.decode(_run(net, vae, y, steps, abar, w, scale * _noise(vae, y, generator)) / scale)


@torch.no_grad()
def wrong_papers_weight(net, vae, y, steps, abar, scale, w, generator):
    """(1 + w) cond - w uncond."""
    return vae.decode(_run(net, vae, y, steps, abar, w + 1, _noise(vae, y, generator)) / scale)


@torch.no_grad()
def wrong_sign_of_uncond(net, vae, y, steps, abar, scale, w, generator):
    """w cond + (w - 1) uncond."""

    def guide(net, z, k, y, w):
        k = torch.full((len(z),), k)
        return w * net(z, k, y) + (w - 1) * net(z, k, torch.full_like(y, net.null))

    return vae.decode(_run(net, vae, y, steps, abar, w, _noise(vae, y, generator), guide=guide) / scale)


@torch.no_grad()
def wrong_no_guidance(net, vae, y, steps, abar, scale, w, generator):
    """The conditional model, whatever w is."""
    return vae.decode(_run(net, vae, y, steps, abar, 1.0, _noise(vae, y, generator)) / scale)


@torch.no_grad()
def wrong_guides_first_channels(net, vae, y, steps, abar, scale, w, generator):
    """Guides all channels but the last."""

    def guide(net, z, k, y, w):
        k = torch.full((len(z),), k)
        cond, uncond = net(z, k, y), net(z, k, torch.full_like(y, net.null))
        out = uncond + w * (cond - uncond)
        return torch.cat([out[:, :-1], cond[:, -1:]], 1)

    return vae.decode(_run(net, vae, y, steps, abar, w, _noise(vae, y, generator), guide=guide) / scale)


@torch.no_grad()
def wrong_null_is_zero(net, vae, y, steps, abar, scale, w, generator):
    """zeros_like(y) for the null label."""

    def guide(net, z, k, y, w):
        k = torch.full((len(z),), k)
        cond, uncond = net(z, k, y), net(z, k, torch.zeros_like(y))
        return uncond + w * (cond - uncond)

    return vae.decode(_run(net, vae, y, steps, abar, w, _noise(vae, y, generator), guide=guide) / scale)


@torch.no_grad()
def wrong_null_is_the_last(net, vae, y, steps, abar, scale, w, generator):
    """Label 3 for the null label."""

    def guide(net, z, k, y, w):
        k = torch.full((len(z),), k)
        cond, uncond = net(z, k, y), net(z, k, torch.full_like(y, 3))
        return uncond + w * (cond - uncond)

    return vae.decode(_run(net, vae, y, steps, abar, w, _noise(vae, y, generator), guide=guide) / scale)


@torch.no_grad()
def wrong_sigma_for_direction(net, vae, y, steps, abar, scale, w, generator):
    """1 - abar_j, without the root, before eps."""

    def step(z, eps, k, j, abar):
        (a, s), (a_next, s_next) = _roots(abar, k, z), _roots(abar, j, z)
        return a_next * (z - s * eps) / a + s_next**2 * eps

    return vae.decode(_run(net, vae, y, steps, abar, w, _noise(vae, y, generator), step) / scale)


@torch.no_grad()
def wrong_ends_at_one(net, vae, y, steps, abar, scale, w, generator):
    """The last alpha-bar is abar[1] in place of 1."""

    def step(z, eps, k, j, abar):
        return _step(z, eps, k, max(j, 1), abar)

    return vae.decode(_run(net, vae, y, steps, abar, w, _noise(vae, y, generator), step) / scale)


@torch.no_grad()
def wrong_off_by_one(net, vae, y, steps, abar, scale, w, generator):
    """abar[k - 1] belongs to k."""

    def step(z, eps, k, j, abar):
        return _step(z, eps, k - 1, max(j - 1, 0), abar) if k > 1 else z

    return vae.decode(_run(net, vae, y, steps, abar, w, _noise(vae, y, generator), step) / scale)


@torch.no_grad()
def wrong_clips_x0(net, vae, y, steps, abar, scale, w, generator):
    """x0 is clipped to [-1, 1], as pictures are."""

    def step(z, eps, k, j, abar):
        (a, s), (a_next, s_next) = _roots(abar, k, z), _roots(abar, j, z)
        return a_next * ((z - s * eps) / a).clamp(-1, 1) + s_next * eps

    return vae.decode(_run(net, vae, y, steps, abar, w, _noise(vae, y, generator), step) / scale)


@torch.no_grad()
def wrong_clips_x0_and_finds_eps_anew(net, vae, y, steps, abar, scale, w, generator):
    """x0 is clipped to [-1, 1], and eps is what then belongs to it."""

    def step(z, eps, k, j, abar):
        (a, s), (a_next, s_next) = _roots(abar, k, z), _roots(abar, j, z)
        x0 = ((z - s * eps) / a).clamp(-1, 1)
        return a_next * x0 + s_next * (z - a * x0) / s

    return vae.decode(_run(net, vae, y, steps, abar, w, _noise(vae, y, generator), step) / scale)


@torch.no_grad()
def wrong_clips_large_latents(net, vae, y, steps, abar, scale, w, generator):
    """Only latents beyond 50 are clipped, and those at the end alone."""
    return vae.decode(_run(net, vae, y, steps, abar, w, _noise(vae, y, generator)).clamp(-50, 50) / scale)


@torch.no_grad()
def wrong_clips_pictures(net, vae, y, steps, abar, scale, w, generator):
    """The pictures are clipped."""
    return vae.decode(_run(net, vae, y, steps, abar, w, _noise(vae, y, generator)) / scale).clamp(-1, 1)


@torch.no_grad()
def wrong_adds_noise(net, vae, y, steps, abar, scale, w, generator):
    """Ancestral noise at every step but the last."""

    def step(z, eps, k, j, abar):
        z = _step(z, eps, k, j, abar)
        return z + 0.1 * torch.randn(z.shape, generator=generator) if j else z

    return vae.decode(_run(net, vae, y, steps, abar, w, _noise(vae, y, generator), step) / scale)


@torch.no_grad()
def wrong_global_generator(net, vae, y, steps, abar, scale, w, generator):
    """torch.randn without the generator."""
    return vae.decode(_run(net, vae, y, steps, abar, w, _noise(vae, y, None)) / scale)


@torch.no_grad()
def wrong_float64_noise(net, vae, y, steps, abar, scale, w, generator):
    """float64 noise, and float64 pictures."""
    return vae.decode(_run(net, vae, y, steps, abar, w, _noise(vae, y, generator, dtype=torch.float64)) / scale)


@torch.no_grad()
def wrong_one_noise_for_all(net, vae, y, steps, abar, scale, w, generator):
    """One noise for the whole batch."""
    z = torch.randn(1, *vae.latent_shape, generator=generator).expand(len(y), *vae.latent_shape)
    return vae.decode(_run(net, vae, y, steps, abar, w, z) / scale)


@torch.no_grad()
def wrong_first_draw_is_thrown_away(net, vae, y, steps, abar, scale, w, generator):
    """A number is drawn before the noise."""
    torch.rand((), generator=generator)
    return vae.decode(_run(net, vae, y, steps, abar, w, _noise(vae, y, generator)) / scale)


@torch.no_grad()
def wrong_own_steps(net, vae, y, steps, abar, scale, w, generator):
    """As many equal steps of its own from T."""
    n, T = len(steps) - 1, len(abar) - 1
    own = [round(T - i * T / n) for i in range(n + 1)]
    return vae.decode(_run(net, vae, y, own, abar, w, _noise(vae, y, generator)) / scale)


@torch.no_grad()
def wrong_asks_at_zero(net, vae, y, steps, abar, scale, w, generator):
    """Asks the network once more at level 0."""
    z = _run(net, vae, y, steps, abar, w, _noise(vae, y, generator))
    _guided(net, z, 0, y, w)
    return vae.decode(z / scale)


@torch.no_grad()
def wrong_level_as_a_number(net, vae, y, steps, abar, scale, w, generator):
    """The network is told a number."""

    def guide(net, z, k, y, w):
        cond, uncond = net(z, torch.tensor(k), y), net(z, torch.tensor(k), torch.full_like(y, net.null))
        return uncond + w * (cond - uncond)

    return vae.decode(_run(net, vae, y, steps, abar, w, _noise(vae, y, generator), guide=guide) / scale)


def wrong_keeps_the_graph(net, vae, y, steps, abar, scale, w, generator):
    """All steps stay in memory for a gradient that nobody asks for."""
    return vae.decode(_run(net, vae, y, steps, abar, w, _noise(vae, y, generator)) / scale)


def wrong_graph_of_the_decoder(net, vae, y, steps, abar, scale, w, generator):
    """The steps are under no_grad, the decoder is not."""
    with torch.no_grad():
        z = _run(net, vae, y, steps, abar, w, _noise(vae, y, generator))
    return vae.decode(z / scale)


def wrong_freezes_the_network(net, vae, y, steps, abar, scale, w, generator):
    """requires_grad_(False) on both networks."""
    net.requires_grad_(False)
    vae.requires_grad_(False)
    return vae.decode(_run(net, vae, y, steps, abar, w, _noise(vae, y, generator)) / scale)


@torch.no_grad()
def wrong_eats_the_steps(net, vae, y, steps, abar, scale, w, generator):
    """Takes the steps out of the caller's list."""
    z = _noise(vae, y, generator)
    k = steps.pop(0)
    while steps:
        j = steps.pop(0)
        z, k = _step(z, _guided(net, z, k, y, w), k, j, abar), j
    return vae.decode(z / scale)


@torch.no_grad()
def wrong_uncond_below_one(net, vae, y, steps, abar, scale, w, generator):
    """Guidance only for w > 1, else the conditional model."""

    def guide(net, z, k, y, w):
        k = torch.full((len(z),), k)
        return _guided(net, z, int(k[0]), y, w) if w > 1 else net(z, k, y)

    return vae.decode(_run(net, vae, y, steps, abar, w, _noise(vae, y, generator), guide=guide) / scale)


@torch.no_grad()
def right_one_batch(net, vae, y, steps, abar, scale, w, generator):
    """Both halves in one call, and the step in z/alpha."""
    z = torch.randn((y.shape[0], *vae.latent_shape), generator=generator, device=y.device)
    both = torch.cat([y, torch.full_like(y, net.null)])
    ratio = ((1 - abar) / abar).sqrt()
    for k, j in itertools.pairwise(steps):
        levels = torch.full((2 * len(y),), k, dtype=torch.int64, device=y.device)
        cond, uncond = net(torch.cat([z, z]), levels, both).chunk(2)
        eps = w * cond + (1 - w) * uncond
        u = z / abar[k].sqrt().item() + (ratio[j] - ratio[k]).item() * eps
        z = abar[j].sqrt().item() * u
    return vae.decode(z / scale)


def right_inference_without_uncond_at_1(net, vae, y, steps, abar, scale, w, generator):
    """Saves the unconditional half where w is 1."""
    with torch.no_grad():
        z = torch.empty(len(y), *vae.latent_shape).normal_(generator=generator)
        for i in range(len(steps) - 1):
            k, j = steps[i], steps[i + 1]
            levels = torch.tensor([k] * len(y))
            eps = net(z, levels, y)
            if w != 1:
                nothing = net(z, levels, y * 0 + net.null)
                eps = torch.lerp(nothing, eps, float(w))
            x0 = (z - (1 - abar[k]).sqrt().float() * eps) / abar[k].sqrt().float()
            z = abar[j].sqrt().float() * x0 + (1 - abar[j]).sqrt().float() * eps
        return vae.decode(z / float(scale))
