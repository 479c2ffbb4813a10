"""Answers to `simulate_sde`."""

import itertools
import math

import torch


def _draw(x, generator):
    return torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)


def _walk(drift, diffusion, x, ts, draw, factor=lambda dt: abs(dt) ** 0.5):
    out = [x]
    for t, s in itertools.pairwise(ts):
        dt = s - t
        x = x + drift(x, t) * dt + diffusion(x, t) * factor(dt) * draw(x)
        out.append(x)
    return torch.stack(out)


def wrong_two_normals(drift, diffusion, x, ts, generator):
    """Noise times noise: the variance of every step is right, its kurtosis is 9."""
    return _walk(drift, diffusion, x, ts, lambda x: _draw(x, generator) * _draw(x, generator))


def wrong_random_diffusion(drift, diffusion, x, ts, generator):
    """The diffusion coefficient already random, one normal factor for each sample."""

    def draw(x):
        strength = torch.randn(len(x), 1, generator=generator, dtype=x.dtype)
        return strength * _draw(x, generator)

    return _walk(drift, diffusion, x, ts, draw)


def wrong_coin_flips(drift, diffusion, x, ts, generator):
    """Signs: the right mean and variance, and kurtosis 1."""
    return _walk(drift, diffusion, x, ts, lambda x: _draw(x, generator).sign())


def wrong_uniform_noise(drift, diffusion, x, ts, generator):
    """Uniform noise of variance 1."""

    def draw(x):
        return math.sqrt(12) * (torch.rand(x.shape, generator=generator, dtype=x.dtype) - 0.5)

    return _walk(drift, diffusion, x, ts, draw)


def wrong_root_of_negative(drift, diffusion, x, ts, generator):
    """sqrt(dt) of a negative dt."""
    return _walk(drift, diffusion, x, ts, lambda x: _draw(x, generator), lambda dt: dt.sqrt())


def wrong_absolute_dt_in_the_drift(drift, diffusion, x, ts, generator):
    """|dt| in front of the drift too."""
    out = [x]
    for t, s in itertools.pairwise(ts):
        dt = abs(s - t)
        x = x + drift(x, t) * dt + diffusion(x, t) * dt**0.5 * _draw(x, generator)
        out.append(x)
    return torch.stack(out)


def wrong_math_sqrt(drift, diffusion, x, ts, generator):
    """math.sqrt(dt) of a negative dt."""
    return _walk(drift, diffusion, x, ts, lambda x: _draw(x, generator), lambda dt: math.sqrt(dt))


def wrong_sorted_times(drift, diffusion, x, ts, generator):
    """Always forwards."""
    return _walk(drift, diffusion, x, ts.sort().values, lambda x: _draw(x, generator))


def wrong_variance(drift, diffusion, x, ts, generator):
    """dt in front of the noise."""
    return _walk(drift, diffusion, x, ts, lambda x: _draw(x, generator), lambda dt: abs(dt))


def wrong_squared_diffusion(drift, diffusion, x, ts, generator):
    """g squared."""
    return _walk(drift, lambda x, t: diffusion(x, t) ** 2, x, ts, lambda x: _draw(x, generator))


def wrong_end_time(drift, diffusion, x, ts, generator):
    """Coefficients at the end of each interval."""
    out = [x]
    for t, s in itertools.pairwise(ts):
        x = x + drift(x, s) * (s - t) + diffusion(x, s) * abs(s - t) ** 0.5 * _draw(x, generator)
        out.append(x)
    return torch.stack(out)


def wrong_diffusion_at_the_end(drift, diffusion, x, ts, generator):
    """The diffusion at the end time of each interval, the drift at its start."""
    out = [x]
    for t, s in itertools.pairwise(ts):
        x = x + drift(x, t) * (s - t) + diffusion(x, s) * abs(s - t) ** 0.5 * _draw(x, generator)
        out.append(x)
    return torch.stack(out)


def wrong_stratonovich(drift, diffusion, x, ts, generator):
    """Stratonovich's reading: the diffusion averaged over both ends of the noise."""
    out = [x]
    for t, s in itertools.pairwise(ts):
        dw = abs(s - t) ** 0.5 * _draw(x, generator)
        ahead = x + diffusion(x, t) * dw
        x = x + drift(x, t) * (s - t) + (diffusion(x, t) + diffusion(ahead, t)) / 2 * dw
        out.append(x)
    return torch.stack(out)


def wrong_same_noise_in_each_step(drift, diffusion, x, ts, generator):
    """Drawn once, before the loop."""
    noise = _draw(x, generator)
    return _walk(drift, diffusion, x, ts, lambda x: noise)


def wrong_same_noise_for_the_batch(drift, diffusion, x, ts, generator):
    """One noise for all samples."""

    def draw(x):
        return torch.randn(x.shape[1:], generator=generator, dtype=x.dtype).expand(x.shape)

    return _walk(drift, diffusion, x, ts, draw)


def wrong_same_noise_for_the_features(drift, diffusion, x, ts, generator):
    """One number for each sample."""

    def draw(x):
        return torch.randn(len(x), 1, generator=generator, dtype=x.dtype).expand(x.shape)

    return _walk(drift, diffusion, x, ts, draw)


def wrong_uniform_dt(drift, diffusion, x, ts, generator):
    """The first interval's dt for all."""
    out = [x]
    for i in range(len(ts) - 1):
        dt = ts[1] - ts[0]
        x = x + drift(x, ts[i]) * dt + diffusion(x, ts[i]) * abs(dt) ** 0.5 * _draw(x, generator)
        out.append(x)
    return torch.stack(out)


def wrong_global_generator(drift, diffusion, x, ts, generator):
    """torch.randn_like."""
    return _walk(drift, diffusion, x, ts, torch.randn_like)


def wrong_fixed_seed(drift, diffusion, x, ts, generator):
    """A generator of its own with a fixed seed."""
    generator = torch.Generator().manual_seed(0)
    return _walk(drift, diffusion, x, ts, lambda x: _draw(x, generator))


def wrong_last_state_only(drift, diffusion, x, ts, generator):
    """Returns where the paths end."""
    return _walk(drift, diffusion, x, ts, lambda x: _draw(x, generator))[-1]


def wrong_without_the_first_row(drift, diffusion, x, ts, generator):
    """Leaves x out."""
    return _walk(drift, diffusion, x, ts, lambda x: _draw(x, generator))[1:]


def wrong_always_from_x(drift, diffusion, x, ts, generator):
    """The drift of the starting point in every step."""
    start, out = x, [x]
    for t, s in itertools.pairwise(ts):
        x = x + drift(start, t) * (s - t) + diffusion(x, t) * abs(s - t) ** 0.5 * _draw(x, generator)
        out.append(x)
    return torch.stack(out)


def wrong_dtype_of_ts(drift, diffusion, x, ts, generator):
    """States in the dtype of ts."""
    return _walk(drift, diffusion, x.to(ts.dtype), ts, lambda x: _draw(x, generator))


def wrong_in_place(drift, diffusion, x, ts, generator):
    """Moves the argument along."""
    out = [x.clone()]
    for t, s in itertools.pairwise(ts):
        x += drift(x, t) * (s - t) + diffusion(x, t) * abs(s - t) ** 0.5 * _draw(x, generator)
        out.append(x.clone())
    return torch.stack(out)


def right_all_noise_first(drift, diffusion, x, ts, generator):
    """One draw for all steps, in a tensor of the final shape."""
    dt = ts.diff()
    noise = torch.randn((len(dt), *x.shape), generator=generator, dtype=x.dtype, device=x.device)
    out = torch.empty((len(ts), *x.shape), dtype=x.dtype, device=x.device)
    out[0] = x
    for i in range(len(dt)):
        step = dt[i].item()
        out[i + 1] = out[i] + step * drift(out[i], ts[i]) + diffusion(out[i], ts[i]) * math.sqrt(abs(step)) * noise[i]
    return out


def right_a_fold(drift, diffusion, x, ts, generator):
    """itertools.accumulate, with the increments of Brownian motion drawn as such."""

    def step(x, interval):
        t, dt = interval
        increment = torch.empty_like(x).normal_(0, math.sqrt(abs(dt)), generator=generator)
        return x + dt * drift(x, t) + diffusion(x, t) * increment

    intervals = zip(ts[:-1].tolist(), ts.diff().tolist(), strict=True)
    return torch.stack(list(itertools.accumulate(intervals, step, initial=x)))


def right_sample_by_sample_noise(drift, diffusion, x, ts, generator):
    """Noise drawn feature by feature, in another order."""

    def draw(x):
        return torch.stack(
            [torch.randn(len(x), generator=generator, dtype=x.dtype) for _ in range(x[0].numel())], 1
        ).reshape(x.shape)

    return _walk(drift, diffusion, x, ts, draw)
