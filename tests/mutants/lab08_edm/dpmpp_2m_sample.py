"""Answers to dpmpp_2m_sample, wrong and right."""

import math

import torch


def _ask(denoise, x, sigma):
    return denoise(x, torch.full((len(x),), sigma, dtype=x.dtype))


def _run(denoise, x, sigmas, guess):
    """guess(D, old, now, then, before) is what the step aims at; old and before are None in the first step."""
    levels, old = sigmas.tolist(), None
    for i, (now, then) in enumerate(zip(levels[:-1], levels[1:], strict=True)):
        D = _ask(denoise, x, now)
        aim = guess(D, old, now, then, levels[i - 1] if i else None)
        x = then / now * x + (1 - then / now) * aim
        old = D
    return x


def _aim(D, old, now, then, before):
    if old is None or then == 0:
        return D
    r = math.log(before / now) / math.log(now / then)
    return (1 + 1 / (2 * r)) * D - old / (2 * r)


def wrong_first_order(denoise, x, sigmas):
    """DDIM."""
    return _run(denoise, x, sigmas, lambda D, *rest: D)


def wrong_r_upside_down(denoise, x, sigmas):
    """r = h_i / h_{i-1}."""

    def aim(D, old, now, then, before):
        if old is None or then == 0:
            return D
        r = math.log(now / then) / math.log(before / now)
        return (1 + 1 / (2 * r)) * D - old / (2 * r)

    return _run(denoise, x, sigmas, aim)


def wrong_without_half(denoise, x, sigmas):
    """The line is followed to the end of the step."""

    def aim(D, old, now, then, before):
        if old is None or then == 0:
            return D
        r = math.log(before / now) / math.log(now / then)
        return (1 + 1 / r) * D - old / r

    return _run(denoise, x, sigmas, aim)


def wrong_sign(denoise, x, sigmas):
    """Between the two answers, not beyond the last."""

    def aim(D, old, now, then, before):
        return D if old is None or then == 0 else 2 * D - _aim(D, old, now, then, before)

    return _run(denoise, x, sigmas, aim)


def wrong_equal_steps(denoise, x, sigmas):
    """3/2 and -1/2, whatever the steps' lengths."""
    return _run(
        denoise, x, sigmas, lambda D, old, now, then, before: D if old is None or then == 0 else 1.5 * D - 0.5 * old
    )


def wrong_steps_in_sigma(denoise, x, sigmas):
    """h is a difference of sigma."""

    def aim(D, old, now, then, before):
        if old is None or then == 0:
            return D
        r = (before - now) / (now - then)
        return (1 + 1 / (2 * r)) * D - old / (2 * r)

    return _run(denoise, x, sigmas, aim)


def wrong_extends_into_zero(denoise, x, sigmas):
    """In a step to 0 the line is followed to the middle of a step as long as the one before."""

    def aim(D, old, now, then, before):
        if old is not None and then == 0:
            return 1.5 * D - 0.5 * old
        return _aim(D, old, now, then, before)

    return _run(denoise, x, sigmas, aim)


def wrong_nan_at_zero(denoise, x, sigmas):
    """log(sigma / 0) in the step to 0."""
    levels, old = sigmas.to(x), None
    for i in range(len(levels) - 1):
        D = _ask(denoise, x, levels[i].item())
        h = (levels[i] / levels[i + 1]).log()
        aim = D
        if old is not None:
            r = (levels[i - 1] / levels[i]).log() / h
            aim = (1 + 1 / (2 * r)) * D - old / (2 * r)
        x, old = levels[i + 1] / levels[i] * x - torch.expm1(-h) * aim, D
    return x


def wrong_last_step_always_first_order(denoise, x, sigmas):
    """As with few steps in the paper's code: the last step is of order 1, wherever it goes."""
    last = sigmas[-1].item()

    def aim(D, old, now, then, before):
        return D if then == last else _aim(D, old, now, then, before)

    return _run(denoise, x, sigmas, aim)


def wrong_second_step_first_order(denoise, x, sigmas):
    """The past is used from the third step on."""
    calls = 0

    def aim(D, old, now, then, before):
        nonlocal calls
        calls += 1
        return D if calls < 3 else _aim(D, old, now, then, before)

    return _run(denoise, x, sigmas, aim)


def wrong_keeps_the_guess(denoise, x, sigmas):
    """The extrapolated guess is remembered in place of the denoiser's answer."""
    levels, old = sigmas.tolist(), None
    for i, (now, then) in enumerate(zip(levels[:-1], levels[1:], strict=True)):
        aim = _aim(_ask(denoise, x, now), old, now, then, levels[i - 1] if i else None)
        x, old = then / now * x + (1 - then / now) * aim, aim
    return x


def wrong_extrapolates_x(denoise, x, sigmas):
    """Two calls: Heun's correction in the clock of 2M."""

    def aim(D, old, now, then, before):
        if then == 0:
            return D
        return (D + _ask(denoise, then / now * x + (1 - then / now) * D, then)) / 2

    levels = sigmas.tolist()
    for now, then in zip(levels[:-1], levels[1:], strict=True):
        x = then / now * x + (1 - then / now) * aim(_ask(denoise, x, now), None, now, then, None)
    return x


def wrong_asks_at_the_next_level(denoise, x, sigmas):
    """denoise(x, sigma_{i+1}), but for a step to 0."""
    return _run(lambda y, s: denoise(y, s), x, sigmas, _aim) if len(sigmas) < 2 else _run_at_next(denoise, x, sigmas)


def _run_at_next(denoise, x, sigmas):
    levels, old = sigmas.tolist(), None
    for i, (now, then) in enumerate(zip(levels[:-1], levels[1:], strict=True)):
        D = _ask(denoise, x, then or now)
        aim = _aim(D, old, now, then, levels[i - 1] if i else None)
        x, old = then / now * x + (1 - then / now) * aim, D
    return x


def wrong_scaled_start(denoise, x, sigmas):
    """x is multiplied by sigmas[0]."""
    return _run(denoise, x * sigmas[0].item(), sigmas, _aim)


def wrong_stops_early(denoise, x, sigmas):
    """The last step is left out."""
    return _run(denoise, x, sigmas[:-1], _aim)


def wrong_one_more_look(denoise, x, sigmas):
    """The denoiser is asked at the end as well, where its answer is of no use."""
    x = _run(denoise, x, sigmas, _aim)
    _ask(denoise, x, max(sigmas[-1].item(), 1e-3))
    return x


_memory = []


def wrong_past_of_the_last_run(denoise, x, sigmas):
    """The past lies in a global list that is never emptied."""
    levels = sigmas.tolist()
    for now, then in zip(levels[:-1], levels[1:], strict=True):
        D = _ask(denoise, x, now)
        aim = D
        if _memory and _memory[-1][1].shape == D.shape and then > 0 and _memory[-1][0] != now:
            before, old = _memory[-1]
            r = math.log(before / now) / math.log(now / then)
            aim = (1 + 1 / (2 * r)) * D - old / (2 * r)
        _memory[:] = [(now, D)]
        x = then / now * x + (1 - then / now) * aim
    return x


def wrong_clips(denoise, x, sigmas):
    """Clips the denoiser's answers to [-1, 1]."""
    return _run(lambda y, s: denoise(y, s).clamp(-1, 1), x, sigmas, _aim)


def wrong_clips_far_out(denoise, x, sigmas):
    """Clips the answers to [-20, 20]."""
    return _run(lambda y, s: denoise(y, s).clamp(-20, 20), x, sigmas, _aim)


def wrong_float64_out(denoise, x, sigmas):
    """Computed in float64, and left there."""
    return _run(denoise, x.double(), sigmas, _aim)


def wrong_adds_noise(denoise, x, sigmas):
    """A little fresh noise after each step, as in the SDE solver of the same name."""

    def aim(D, old, now, then, before):
        return _aim(D, old, now, then, before) + 0.01 * torch.randn_like(D)

    return _run(denoise, x, sigmas, aim)


def wrong_in_place(denoise, x, sigmas):
    """Writes the end into the caller's x."""
    end = _run(denoise, x, sigmas, _aim)
    x.data.copy_(end)
    return end


def right_plainly(denoise, x, sigmas):
    """Algorithm 2 of the paper."""
    return _run(denoise, x, sigmas, _aim)


@torch.no_grad()
def right_with_exponentials(denoise, x, sigmas):
    """In lambda = -ln(sigma), tensors throughout; a step to 0 has exp(-infinity) = 0."""
    clock = -sigmas.log()
    old = None
    for i in range(len(sigmas) - 1):
        h = clock[i + 1] - clock[i]
        D = denoise(x, sigmas[i])
        slope = torch.zeros_like(x)
        if old is not None and torch.isfinite(h):
            slope = (D - old) / (clock[i] - clock[i - 1]).to(x)
        half = (h / 2).to(x) if torch.isfinite(h) else 0.0
        x = torch.exp(-h).to(x) * x - torch.expm1(-h).to(x) * (D + half * slope)
        old = D
    return x


def right_by_the_noise(denoise, x, sigmas):
    """The state as a guess of the data and a guess of the noise; the answers are kept in a list."""
    levels = [float(level) for level in sigmas]
    answers = []
    for i in range(1, len(levels)):
        answers.append(denoise(x, torch.full(x.shape[:1], levels[i - 1]).to(x)))
        D = answers[-1]
        if i > 1 and levels[i] > 0:
            share = math.log(levels[i - 1] / levels[i]) / math.log(levels[i - 2] / levels[i - 1]) / 2
            D = torch.lerp(answers[-2], answers[-1], 1 + share)
        x = D + levels[i] * (x - D) / levels[i - 1]
    return x
