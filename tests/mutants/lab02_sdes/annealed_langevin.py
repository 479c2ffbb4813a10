"""Answers to `annealed_langevin`."""

import torch


def _draw(x, generator):
    return torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)


def _levels(sigmas):
    return [float(sigma) for sigma in sigmas]


def _anneal(score, x, sigmas, n_steps, step_scale, draw, drift=1.0, noise=2.0):
    for sigma in _levels(sigmas):
        h = step_scale * sigma**2
        for _ in range(n_steps):
            x = x + drift * h * score(x, sigma) + (noise * h) ** 0.5 * draw(x)
    return x


def wrong_two_normals(score, x, sigmas, n_steps, step_scale, generator):
    """Noise times noise: right in variance, kurtosis 9."""
    return _anneal(score, x, sigmas, n_steps, step_scale, lambda x: _draw(x, generator) * _draw(x, generator))


def wrong_uniform_noise(score, x, sigmas, n_steps, step_scale, generator):
    """Uniform noise of variance 1."""

    def draw(x):
        return 12**0.5 * (torch.rand(x.shape, generator=generator, dtype=x.dtype) - 0.5)

    return _anneal(score, x, sigmas, n_steps, step_scale, draw)


def wrong_root_h(score, x, sigmas, n_steps, step_scale, generator):
    """sqrt(h) for sqrt(2h)."""
    return _anneal(score, x, sigmas, n_steps, step_scale, lambda x: _draw(x, generator), noise=1.0)


def wrong_half_step(score, x, sigmas, n_steps, step_scale, generator):
    """The paper's step, h/2 and sqrt(h)."""
    return _anneal(score, x, sigmas, n_steps, step_scale, lambda x: _draw(x, generator), drift=0.5, noise=1.0)


def wrong_final_denoising(score, x, sigmas, n_steps, step_scale, generator):
    """The posterior mean at the end, x + sigma^2 score."""
    x = _anneal(score, x, sigmas, n_steps, step_scale, lambda x: _draw(x, generator))
    last = _levels(sigmas)[-1]
    return x + last**2 * score(x, last)


def wrong_no_noise_at_the_last_step(score, x, sigmas, n_steps, step_scale, generator):
    """The very last step without noise."""
    levels = _levels(sigmas)
    for i, sigma in enumerate(levels):
        h = step_scale * sigma**2
        for j in range(n_steps):
            last = i == len(levels) - 1 and j == n_steps - 1
            noise = torch.zeros_like(x) if last else _draw(x, generator)
            x = x + h * score(x, sigma) + (2 * h) ** 0.5 * noise
    return x


def wrong_no_noise_at_the_last_step_of_each_level(score, x, sigmas, n_steps, step_scale, generator):
    """The last step of each level without noise."""
    for sigma in _levels(sigmas):
        h = step_scale * sigma**2
        for j in range(n_steps):
            noise = torch.zeros_like(x) if j == n_steps - 1 else _draw(x, generator)
            x = x + h * score(x, sigma) + (2 * h) ** 0.5 * noise
    return x


def wrong_extra_step_without_noise(score, x, sigmas, n_steps, step_scale, generator):
    """One more step, without noise, at the last level."""
    x = _anneal(score, x, sigmas, n_steps, step_scale, lambda x: _draw(x, generator))
    last = _levels(sigmas)[-1]
    return x + step_scale * last**2 * score(x, last)


def wrong_sigma_not_squared(score, x, sigmas, n_steps, step_scale, generator):
    """h = step_scale * sigma."""
    for sigma in _levels(sigmas):
        h = step_scale * sigma
        for _ in range(n_steps):
            x = x + h * score(x, sigma) + (2 * h) ** 0.5 * _draw(x, generator)
    return x


def wrong_relative_to_the_last(score, x, sigmas, n_steps, step_scale, generator):
    """The paper's step size, relative to the last level: step_scale * sigma^2 / sigma_L^2."""
    scale = step_scale / max(_levels(sigmas)[-1] ** 2, 1e-12)
    return _anneal(score, x, sigmas, n_steps, scale, lambda x: _draw(x, generator))


def wrong_constant_step(score, x, sigmas, n_steps, step_scale, generator):
    """h = step_scale at all levels."""
    for sigma in _levels(sigmas):
        for _ in range(n_steps):
            x = x + step_scale * score(x, sigma) + (2 * step_scale) ** 0.5 * _draw(x, generator)
    return x


def wrong_sorted_levels(score, x, sigmas, n_steps, step_scale, generator):
    """From the largest level to the smallest, whatever is given."""
    levels = sorted(_levels(sigmas), reverse=True)
    return _anneal(score, x, levels, n_steps, step_scale, lambda x: _draw(x, generator))


def wrong_reversed_levels(score, x, sigmas, n_steps, step_scale, generator):
    """From the last to the first."""
    return _anneal(score, x, _levels(sigmas)[::-1], n_steps, step_scale, lambda x: _draw(x, generator))


def wrong_steps_in_total(score, x, sigmas, n_steps, step_scale, generator):
    """One step at each level."""
    return _anneal(score, x, sigmas, 1, step_scale, lambda x: _draw(x, generator))


def wrong_last_level_left_out(score, x, sigmas, n_steps, step_scale, generator):
    """Without the last level."""
    levels = _levels(sigmas)
    return _anneal(score, x, levels[:-1] or levels, n_steps, step_scale, lambda x: _draw(x, generator))


def wrong_variance_to_the_score(score, x, sigmas, n_steps, step_scale, generator):
    """score(x, sigma^2)."""
    return _anneal(lambda x, sigma: score(x, sigma**2), x, sigmas, n_steps, step_scale, lambda x: _draw(x, generator))


def wrong_index_to_the_score(score, x, sigmas, n_steps, step_scale, generator):
    """score(x, i)."""
    for i, sigma in enumerate(_levels(sigmas)):
        h = step_scale * sigma**2
        for _ in range(n_steps):
            x = x + h * score(x, float(i)) + (2 * h) ** 0.5 * _draw(x, generator)
    return x


def wrong_score_without_sigma(score, x, sigmas, n_steps, step_scale, generator):
    """score(x)."""
    return _anneal(lambda x, sigma: score(x), x, sigmas, n_steps, step_scale, lambda x: _draw(x, generator))


def wrong_scaled_start(score, x, sigmas, n_steps, step_scale, generator):
    """x multiplied by the first level."""
    return _anneal(score, x * _levels(sigmas)[0], sigmas, n_steps, step_scale, lambda x: _draw(x, generator))


def wrong_starts_from_noise(score, x, sigmas, n_steps, step_scale, generator):
    """A start of its own."""
    x = _levels(sigmas)[0] * _draw(x, generator)
    return _anneal(score, x, sigmas, n_steps, step_scale, lambda x: _draw(x, generator))


def wrong_same_noise(score, x, sigmas, n_steps, step_scale, generator):
    """Drawn once."""
    noise = _draw(x, generator)
    return _anneal(score, x, sigmas, n_steps, step_scale, lambda x: noise)


def wrong_same_noise_at_a_level(score, x, sigmas, n_steps, step_scale, generator):
    """Drawn once for each level."""
    for sigma in _levels(sigmas):
        h, noise = step_scale * sigma**2, _draw(x, generator)
        for _ in range(n_steps):
            x = x + h * score(x, sigma) + (2 * h) ** 0.5 * noise
    return x


def wrong_same_noise_for_the_batch(score, x, sigmas, n_steps, step_scale, generator):
    """One noise for all samples."""

    def draw(x):
        return torch.randn(x.shape[1:], generator=generator, dtype=x.dtype).expand(x.shape)

    return _anneal(score, x, sigmas, n_steps, step_scale, draw)


def wrong_global_generator(score, x, sigmas, n_steps, step_scale, generator):
    """torch.randn_like."""
    return _anneal(score, x, sigmas, n_steps, step_scale, torch.randn_like)


def wrong_fixed_seed(score, x, sigmas, n_steps, step_scale, generator):
    """A generator of its own."""
    generator = torch.Generator().manual_seed(0)
    return _anneal(score, x, sigmas, n_steps, step_scale, lambda x: _draw(x, generator))


def wrong_whole_trajectory(score, x, sigmas, n_steps, step_scale, generator):
    """All states."""
    out = [x]
    for sigma in _levels(sigmas):
        out.append(_anneal(score, out[-1], [sigma], n_steps, step_scale, lambda x: _draw(x, generator)))
    return torch.stack(out)


def wrong_float64(score, x, sigmas, n_steps, step_scale, generator):
    """Everything in float64."""
    return _anneal(score, x.double(), sigmas, n_steps, step_scale, lambda x: _draw(x, generator))


def wrong_tensors_of_levels_only(score, x, sigmas, n_steps, step_scale, generator):
    """Levels must be a tensor."""
    return _anneal(score, x, sigmas.tolist(), n_steps, step_scale, lambda x: _draw(x, generator))


def wrong_in_place(score, x, sigmas, n_steps, step_scale, generator):
    """Moves the argument along."""
    for sigma in _levels(sigmas):
        h = step_scale * sigma**2
        for _ in range(n_steps):
            x += h * score(x, sigma) + (2 * h) ** 0.5 * _draw(x, generator)
    return x


def right_levels_repeated(score, x, sigmas, n_steps, step_scale, generator):
    """One loop over the levels, each repeated; (B,) levels for the score."""
    levels = torch.as_tensor(sigmas, dtype=x.dtype, device=x.device).repeat_interleave(n_steps)
    for sigma in levels:
        h = step_scale * sigma.square()
        x = x + h * score(x, sigma.expand(len(x))) + torch.sqrt(2 * h) * _draw(x, generator)
    return x


def right_all_noise_first(score, x, sigmas, n_steps, step_scale, generator):
    """All noise drawn at once, without a graph."""
    noise = torch.randn((len(sigmas), n_steps, *x.shape), generator=generator, dtype=x.dtype, device=x.device)
    with torch.no_grad():
        for i, sigma in enumerate(sigmas):
            root = (2 * step_scale) ** 0.5 * sigma
            for j in range(n_steps):
                x = x + root**2 / 2 * score(x, sigma) + root * noise[i, j]
    return x
