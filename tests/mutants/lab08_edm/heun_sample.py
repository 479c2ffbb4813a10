"""Answers to heun_sample, wrong and right."""

from itertools import pairwise

import torch


def _slope(denoise, x, sigma):
    return (x - denoise(x, torch.full((len(x),), sigma, dtype=x.dtype))) / sigma


def _run(x, sigmas, step):
    for now, then in pairwise(sigmas.tolist()):
        x = step(x, now, then)
    return x


def wrong_euler(denoise, x, sigmas):
    """The first slope alone."""
    return _run(x, sigmas, lambda x, now, then: x + (then - now) * _slope(denoise, x, now))


def wrong_second_slope_at_the_old_level(denoise, x, sigmas):
    """denoise(x', sigma_i)."""

    def step(x, now, then):
        d = _slope(denoise, x, now)
        guess = x + (then - now) * d
        return guess if then == 0 else x + (then - now) * (d + _slope(denoise, guess, now)) / 2

    return _run(x, sigmas, step)


def wrong_second_slope_over_the_old_level(denoise, x, sigmas):
    """(x' - D')/sigma_i."""

    def step(x, now, then):
        d = _slope(denoise, x, now)
        guess = x + (then - now) * d
        return guess if then == 0 else x + (then - now) * (d + _slope(denoise, guess, then) * then / now) / 2

    return _run(x, sigmas, step)


def wrong_second_slope_at_the_old_place(denoise, x, sigmas):
    """The denoiser is asked for x, not for x', at the new level."""

    def step(x, now, then):
        d = _slope(denoise, x, now)
        return x + (then - now) * (d if then == 0 else (d + _slope(denoise, x, then)) / 2)

    return _run(x, sigmas, step)


def wrong_second_slope_alone(denoise, x, sigmas):
    """The mean is left out."""

    def step(x, now, then):
        guess = x + (then - now) * _slope(denoise, x, now)
        return guess if then == 0 else x + (then - now) * _slope(denoise, guess, then)

    return _run(x, sigmas, step)


def wrong_without_half(denoise, x, sigmas):
    """The sum of the slopes."""

    def step(x, now, then):
        d = _slope(denoise, x, now)
        guess = x + (then - now) * d
        return guess if then == 0 else x + (then - now) * (d + _slope(denoise, guess, then))

    return _run(x, sigmas, step)


def wrong_from_the_guess(denoise, x, sigmas):
    """The corrected step starts at x'."""

    def step(x, now, then):
        d = _slope(denoise, x, now)
        guess = x + (then - now) * d
        return guess if then == 0 else guess + (then - now) * (d + _slope(denoise, guess, then)) / 2

    return _run(x, sigmas, step)


def _heun(denoise, x, now, then):
    d = _slope(denoise, x, now)
    guess = x + (then - now) * d
    return guess if then == 0 else x + (then - now) * (d + _slope(denoise, guess, then)) / 2


def wrong_scaled_start(denoise, x, sigmas):
    """x is multiplied by sigmas[0], as if it were N(0, I)."""
    return _run(x * sigmas[0].item(), sigmas, lambda x, now, then: _heun(denoise, x, now, then))


def wrong_divides_by_zero(denoise, x, sigmas):
    """The second slope at sigma = 0 as well."""

    def step(x, now, then):
        d = _slope(denoise, x, now)
        level = torch.full((len(x),), then, dtype=x.dtype)
        guess = x + (then - now) * d
        return x + (then - now) * (d + (guess - denoise(guess, level)) / level[0]) / 2

    return _run(x, sigmas, step)


def wrong_second_look_at_zero(denoise, x, sigmas):
    """At sigma = 0 the denoiser is asked once more, and its answer thrown away."""

    def step(x, now, then):
        if then == 0:
            guess = x - now * _slope(denoise, x, now)
            denoise(guess, torch.full((len(x),), 1e-3, dtype=x.dtype))
            return guess
        return _heun(denoise, x, now, then)

    return _run(x, sigmas, step)


def wrong_small_number_for_zero(denoise, x, sigmas):
    """0 is moved to 1e-3, so that nothing is divided by 0."""
    sigmas = sigmas.clamp(min=1e-3)
    return _run(x, sigmas, lambda x, now, then: _heun(denoise, x, now, then))


def wrong_last_step_always_euler(denoise, x, sigmas):
    """The last step is Euler's, also where it does not go to 0."""
    x = _run(x, sigmas[:-1], lambda x, now, then: _heun(denoise, x, now, then))
    now, then = sigmas[-2].item(), sigmas[-1].item()
    return x + (then - now) * _slope(denoise, x, now)


def wrong_stops_early(denoise, x, sigmas):
    """The last step is left out."""
    return _run(x, sigmas[:-1], lambda x, now, then: _heun(denoise, x, now, then))


def wrong_adds_a_step_to_zero(denoise, x, sigmas):
    """A step to 0 at the end, whatever the last level is."""
    if sigmas[-1] > 0:
        sigmas = torch.cat([sigmas, sigmas.new_zeros(1)])
    return _run(x, sigmas, lambda x, now, then: _heun(denoise, x, now, then))


def wrong_midpoint(denoise, x, sigmas):
    """The slope half-way, between the levels: of order 2 as well, but another method."""

    def step(x, now, then):
        d, middle = _slope(denoise, x, now), (now + then) / 2
        if then == 0:
            return x - now * d
        return x + (then - now) * _slope(denoise, x + (middle - now) * d, middle)

    return _run(x, sigmas, step)


def wrong_churn(denoise, x, sigmas):
    """The stochastic sampler of the paper's algorithm 2."""

    def step(x, now, then):
        up = now * 1.05
        return _heun(denoise, x + (up**2 - now**2) ** 0.5 * torch.randn_like(x), up, then)

    return _run(x, sigmas, step)


def wrong_clips(denoise, x, sigmas):
    """Clips the denoiser's answers to [-1, 1]."""
    return _run(x, sigmas, lambda x, now, then: _heun(lambda y, s: denoise(y, s).clamp(-1, 1), x, now, then))


def wrong_clips_far_out(denoise, x, sigmas):
    """Clips the end to [-20, 20]."""
    return _run(x, sigmas, lambda x, now, then: _heun(denoise, x, now, then)).clamp(-20, 20)


def wrong_float64_out(denoise, x, sigmas):
    """Computed in float64, and left there."""
    return _run(x.double(), sigmas, lambda x, now, then: _heun(denoise, x, now, then))


def wrong_points_only(denoise, x, sigmas):
    """A column of levels beside images."""

    def step(x, now, then):
        level = torch.full((len(x), 1), now, dtype=x.dtype)
        guess = x + (then - now) * (x - denoise(x, level[:, 0])) / level
        if then == 0:
            return guess
        return x + (then - now) * ((x - denoise(x, level[:, 0])) / level + _slope(denoise, guess, then)) / 2

    return _run(x, sigmas, step)


def wrong_in_place(denoise, x, sigmas):
    """Writes the states into the caller's x."""
    for now, then in pairwise(sigmas.tolist()):
        x.data.copy_(_heun(denoise, x.clone(), now, then))
    return x.clone()


def wrong_changes_sigmas(denoise, x, sigmas):
    """Counts the levels down in the caller's tensor."""
    end = _run(x, sigmas, lambda x, now, then: _heun(denoise, x, now, then))
    sigmas[0] = sigmas[1]
    return end


@torch.no_grad()
def right_plainly(denoise, x, sigmas):
    """Algorithm 1 of the paper, without a graph, sigma as 0-d tensors."""
    for i in range(len(sigmas) - 1):
        now, then = sigmas[i], sigmas[i + 1]
        d = (x - denoise(x, now)) / now.to(x)
        guess = x + (then - now).to(x) * d
        if then > 0:
            d = (d + (guess - denoise(guess, then)) / then.to(x)) / 2
            guess = x + (then - now).to(x) * d
        x = guess
    return x


def right_by_the_line(denoise, x, sigmas):
    """The one line with the guess D + now/(2 then) (D' - D)."""
    for now, then in pairwise(sigmas.tolist()):
        D = denoise(x, torch.full(x.shape[:1], now).to(x))
        if then:
            second = denoise(D + then / now * (x - D), torch.full(x.shape[:1], then).to(x))
            D = D + now / (2 * then) * (second - D)
        x = D + then / now * (x - D)
    return x


def right_backwards(denoise, x, sigmas):
    """A recursion over the rest of the levels."""
    if len(sigmas) == 1:
        return x
    now, then = float(sigmas[0]), float(sigmas[1])
    d = (x - denoise(x, now)) / now
    new = x + (then - now) * d
    if then != 0:
        new = x + (then - now) / 2 * (d + (new - denoise(new, then)) / then)
    return right_backwards(denoise, new, sigmas[1:])
