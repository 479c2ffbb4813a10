"""The hidden checks of lab 2: other shapes, dtypes, directions of time, gradients, arguments left alone."""

from __future__ import annotations

import math

import torch

from labcheck import Battery, expect, expect_close
from noise2data.checks.arguments import integer, normal, number, seeded, uneven_grid, uniform
from noise2data.checks.expectations import expect_gradient, expect_untouched
from noise2data.checks.hints import EARLIER, advice, recognise
from noise2data.checks.lab02_sdes import (
    MANY,
    expect_shape,
    one_step_of,
    ou_by_exponentials,
    pair,
    states,
)
from noise2data.checks.statistics import SHARED, expect_gaussian, expect_standard, expect_uncorrelated

lab = Battery("lab02_sdes", hidden=True)


def _zeros(*shape):
    return torch.zeros(shape, dtype=torch.float64)


def _requires_graph(seen, what):
    expect(seen.requires_grad, f"{what} has parameters that require gradients, but the result is cut off from them")


# ---- euler_maruyama_step


@lab.check("euler_maruyama_step")
def takes_a_diffusion_of_any_shape(answer, rng):
    """diffusion(x, t) may be a number or a tensor that broadcasts against x: (), (d,), (B, 1) or like x."""
    x, v, noise, s = normal(rng, 5, 3), normal(rng, 3), normal(rng, 5, 3), number(rng, 0.2, 0.6)
    drift = answer.fixture("constant_field", v=v)
    for g in (number(rng, 0.5, 2), *(uniform(rng, 0.5, 2, *shape) for shape in ((), (3,), (5, 1), (5, 3)))):
        got = answer.euler_maruyama_step(drift, answer.fixture("noise_strength", g=g), x, 0.1, s**2, noise)
        kind = f"a tensor of shape {tuple(g.shape)}" if isinstance(g, torch.Tensor) else "a number"
        expect_close(got, x + s**2 * v + s * g * noise, what=f"the step where diffusion(x, t) is {kind}")


@lab.check("euler_maruyama_step")
def takes_a_time_per_sample(answer, rng):
    """A (B,) tensor t has one time for each sample, also if B = d; it is handed on to both coefficients."""
    x, v, noise, g = normal(rng, 4, 4), normal(rng, 4), normal(rng, 4, 4), number(rng, 0.5, 2)
    t, s = uniform(rng, 0.2, 0.9, 4), number(rng, 0.2, 0.6)
    drift, diffusion = answer.fixture("constant_field", v=v, c=2.0), answer.fixture("noise_strength", g=g, c=3.0)
    want = x + s**2 * (1 + 2 * t)[:, None] * v + s * g * (1 + 3 * t)[:, None] * noise
    expect_close(answer.euler_maruyama_step(drift, diffusion, x, t, s**2, noise), want, hint="pass t on as it is")


@lab.check("euler_maruyama_step")
def steps_whole_images(answer, rng):
    """A batch of float32 images gives float32 images, dt may be a 0-d tensor, and no argument is changed."""
    A, s = normal(rng, 4, 4), number(rng, 0.2, 0.6)
    x, noise = normal(rng, 3, 2, 5, 4, dtype=torch.float32), normal(rng, 3, 2, 5, 4, dtype=torch.float32)
    drift, diffusion = answer.fixture("affine_field", A=A, b=_zeros(4)), answer.fixture("noise_strength", g=0.5)
    for sign in (1, -1):
        dt = torch.tensor(sign * s**2, dtype=torch.float64)
        seen = answer.observe("euler_maruyama_step", drift, diffusion, x, torch.tensor(0.5), dt, noise)
        want = x.double() @ (torch.eye(4, dtype=torch.float64) + dt * A).T + 0.5 * s * noise.double()
        expect_close(seen.value, want.float())
        expect_untouched(seen, None, None, x, None, dt, noise)


@lab.check("euler_maruyama_step")
def lets_gradients_through(answer, rng):
    """The step is differentiable in x, through both coefficients, and in the noise."""
    x, noise, weight = normal(rng, 5, 3), normal(rng, 5, 3), normal(rng, 5, 3)
    c, s = number(rng, 0.5, 1.5), number(rng, 0.2, 0.6)
    drift, diffusion = answer.fixture("cubic_field"), answer.fixture("noise_in_proportion", c=c)
    seen = answer.gradient("euler_maruyama_step", drift, diffusion, x, 0.0, s**2, noise, wrt=[2, 5], cotangent=weight)
    expect_gradient(seen, 0, weight * (1 - 3 * s**2 * x**2 + c * s * noise), "x")
    expect_gradient(seen, 1, weight * c * s * x, "noise")


@lab.check("euler_maruyama_step")
def keeps_the_graph_to_parameters(answer, rng):
    """Where the drift has parameters, the step can be differentiated by them."""
    W, V, x, noise = normal(rng, 5, 3), normal(rng, 3, 5), normal(rng, 4, 3), normal(rng, 4, 3)
    s = number(rng, 0.2, 0.6)
    drift, diffusion = answer.fixture("trainable_sine_field", W=W, V=V), answer.fixture("noise_strength", g=1.0)
    seen = answer.observe("euler_maruyama_step", drift, diffusion, x, 0.0, s**2, noise)
    expect_close(seen.value, x + s**2 * torch.sin(x @ W.T) @ V.T + s * noise)
    _requires_graph(seen, "the drift")


# ---- simulate_sde


@lab.check("simulate_sde")
def follows_a_drift_that_depends_on_x(answer, rng):
    """Each step starts where the one before has ended."""
    A, x, ts = normal(rng, 3, 3), normal(rng, 5, 3), uneven_grid(rng, 0.0, 0.8, 5)
    drift = answer.fixture("affine_field", A=A, b=_zeros(3))
    got = states(answer, drift, answer.fixture("noise_strength", g=0.0), x, ts, seeded(rng))
    eye, want = torch.eye(3, dtype=torch.float64), [x]
    for dt in ts.diff():
        want.append(want[-1] @ (eye + dt * A).T)
    expect_close(got, torch.stack(want), hint="without noise this is Euler's method")


@lab.check("simulate_sde")
def takes_the_diffusion_at_the_start_of_each_step(answer, rng):
    """The noise of an interval has the strength diffusion(x, t) of the state and the time at which it begins."""
    ts = uneven_grid(rng, 0.0, 1.0, 3)
    x, drift = 1 + uniform(rng, 0, 1, MANY, 2), answer.fixture("constant_field", v=_zeros(2))
    got = states(answer, drift, answer.fixture("noise_strength", g=0.5, c=6.0), x, ts, seeded(rng))
    z = got.diff(dim=0) / (0.5 * (1 + 6 * ts[:-1]) * ts.diff().sqrt())[:, None, None]
    for i in range(3):
        expect_standard(z[i], f"the noise of interval {i}, where g depends on t", "diffusion(x, ts[i])")
    c = number(rng, 0.6, 0.9)
    got = states(answer, drift, answer.fixture("noise_in_proportion", c=c), x, ts[:2], seeded(rng))
    z = (got[1] / x - 1) / (c * ts[1].sqrt())
    expect_standard(z, "the noise of the first interval, where g depends on x", "diffusion(x, t) at the state x")
    skew = (z**3).mean().item()  # of normal numbers: 0 ± sqrt(15/n)
    expect(
        abs(skew) < 6 * math.sqrt(15 / z.numel()),
        f"where g depends on x the noise is skewed ({skew:.2f}); Euler's and Maruyama's step is linear in the noise",
    )


@lab.check("simulate_sde")
def returns_x_alone_for_a_single_time(answer, rng):
    """A grid with one time has no interval: the result is x with a leading axis of length 1."""
    x, ts = normal(rng, 4, 2), torch.tensor([0.7], dtype=torch.float64)
    got = answer.simulate_sde(
        answer.fixture("cubic_field"), answer.fixture("noise_strength", g=1.0), x, ts, seeded(rng)
    )
    expect_close(got, x[None], hint="no step, one row")


@lab.check("simulate_sde")
def keeps_the_dtype_of_x(answer, rng):
    """States keep the dtype of x, whatever the dtype of ts; x and ts are not changed."""
    v, g = 4 + uniform(rng, 0, 1, 2), number(rng, 0.5, 2)
    drift, diffusion = answer.fixture("constant_field", v=v), answer.fixture("noise_strength", g=g)
    for dtype, other in ((torch.float32, torch.float64), (torch.float64, torch.float32)):
        x, ts = normal(rng, MANY, 2, dtype=dtype), uneven_grid(rng, 0.0, 1.0, 2).to(other)
        seen = answer.observe("simulate_sde", drift, diffusion, x, ts, seeded(rng))
        expect_shape(seen.value, (3, MANY, 2))
        expect(seen.value.dtype == dtype, f"the result has dtype {str(seen.value.dtype)[6:]}; x has {str(dtype)[6:]}")
        dt = ts.double().diff()[:, None, None]
        z = (seen.value.double().diff(dim=0) - dt * v) / (g * dt.sqrt())
        expect_standard(z, "the noise", EARLIER)
        expect_untouched(seen, None, None, x, ts)


# ---- ou_moments


@lab.check("ou_moments")
def starts_at_m0_and_v0(answer, rng):
    """At t = 0 nothing has happened; a short time later the variance has grown by sigma² t - 2 theta v0 t."""
    m0, v0 = normal(rng, 5), uniform(rng, 0.1, 3, 5)
    theta, sigma = number(rng, 0.5, 2), number(rng, 0.5, 2)
    mean, var = pair(answer.ou_moments(m0, v0, 0.0, theta, sigma))
    expect_close(mean, m0, rtol=1e-6, what="the mean at t = 0")
    expect_close(var, v0, rtol=1e-6, what="the variance at t = 0")
    t = 1e-4
    _, var = pair(answer.ou_moments(m0, v0, t, theta, sigma))
    want = sigma**2 - 2 * theta * v0
    expect_close((var - v0) / t, want, rtol=0.0, atol=0.05, what="the growth of the variance at t = 0")


@lab.check("ou_moments")
def is_the_same_in_two_legs(answer, rng):
    """Going on for a time t from the moments at time s gives the moments at s + t."""
    m0, v0 = normal(rng, 4), uniform(rng, 0.1, 3, 4)
    s, t, theta, sigma = number(rng, 0.1, 1), number(rng, 0.1, 1), number(rng, 0.5, 2), number(rng, 0.5, 2)
    middle = pair(answer.ou_moments(m0, v0, s, theta, sigma))
    mean, var = pair(answer.ou_moments(*middle, t, theta, sigma))
    want_mean, want_var = ou_by_exponentials(m0, v0, s + t, theta, sigma)
    expect_close(mean, want_mean, rtol=1e-5, what="the mean after two legs")
    expect_close(var, want_var, rtol=1e-5, what="the variance after two legs")


@lab.check("ou_moments")
def takes_five_numbers(answer, rng):
    """Five Python numbers are fine, and v0 may be 0: a fixed start."""
    for v0 in (0.0, number(rng, 0.5, 2)):
        m0, t, theta, sigma = normal(rng).item(), number(rng, 0.1, 2), number(rng, 0.5, 2), number(rng, 0.5, 2)
        mean, var = pair(answer.ou_moments(m0, v0, t, theta, sigma))
        want_mean, want_var = ou_by_exponentials(m0, v0, t, theta, sigma)
        expect_close(mean, want_mean.item(), rtol=1e-4, atol=1e-6, what="the mean of numbers")
        expect_close(var, want_var.item(), rtol=1e-4, atol=1e-6, what="the variance of numbers")


@lab.check("ou_moments")
def broadcasts_all_five_arguments(answer, rng):
    """Each of the five may be a tensor; they broadcast against each other."""
    m0, v0 = normal(rng, 4, 3), uniform(rng, 0.1, 2, 3)
    t, theta, sigma = uniform(rng, 0, 1, 6, 1, 1), uniform(rng, 0.5, 2, 4, 1), uniform(rng, 0.5, 2, 3)
    mean, var = pair(answer.ou_moments(m0, v0, t, theta, sigma))
    want_mean, want_var = ou_by_exponentials(m0, v0, t, theta, sigma)
    for got, want, what in ((mean, want_mean, "the mean"), (var, want_var, "the variance")):
        expect(isinstance(got, torch.Tensor), f"{what} should be a tensor where arguments are tensors")
        fits = got.ndim <= 3 and all(
            a in (1, b) for a, b in zip(reversed(got.shape), reversed(want.shape), strict=False)
        )
        expect(fits, f"{what} has shape {tuple(got.shape)}, which does not broadcast to {tuple(want.shape)}")
        expect_close(got.expand(want.shape), want, rtol=1e-5, what=what)


@lab.check("ou_moments")
def keeps_dtypes_and_arguments(answer, rng):
    """float32 tensors give float32, float64 tensors float64, and no argument is changed."""
    for dtype in (torch.float32, torch.float64):
        args = [normal(rng, 5), *(uniform(rng, 0.5, 2, 5) for _ in range(4))]
        args = [a.to(dtype) for a in args]
        seen = answer.observe("ou_moments", *args)
        for got, want in zip(pair(seen.value), ou_by_exponentials(*args), strict=True):
            expect_close(got, want.to(dtype), rtol=1e-4)
        expect_untouched(seen, *args)


@lab.check("ou_moments")
def can_be_differentiated(answer, rng):
    """Gradients reach all five arguments where they are tensors."""
    m0, v0, t, theta, sigma = normal(rng, 4), *(uniform(rng, 0.5, 1.5, 4) for _ in range(4))
    a, b = normal(rng, 4), normal(rng, 4)
    seen = answer.gradient("ou_moments", m0, v0, t, theta, sigma, wrt=range(5), cotangent=[a, b])
    pair(seen.value)
    mean, var = ou_by_exponentials(m0, v0, t, theta, sigma)
    decay = torch.exp(-2 * theta * t)
    expect_gradient(seen, 0, a * decay.sqrt(), "m0")
    expect_gradient(seen, 1, b * decay, "v0")
    expect_gradient(seen, 2, -a * theta * mean + b * (sigma**2 - 2 * theta * var), "t")
    slope = -2 * t * decay * v0 - sigma**2 / (2 * theta**2) * (1 - decay) + sigma**2 / theta * t * decay
    expect_gradient(seen, 3, -a * t * mean + b * slope, "theta")
    expect_gradient(seen, 4, b * sigma / theta * (1 - decay), "sigma")


# ---- gmm_score


def mixture_log_density(x, means, std, weights):
    """log p up to a constant, by logsumexp: the score is its gradient."""
    return torch.logsumexp(weights.log() - (x[:, None] - means).square().sum(2) / (2 * std**2), 1)


def score_by_autograd(x, means, std, weights):
    x = x.detach().double().requires_grad_()
    return torch.autograd.grad(mixture_log_density(x, means.double(), std, weights.double()).sum(), x)[0]


def random_mixture(rng, K, d, spread=1.0):
    w = uniform(rng, 0.2, 1, K)
    return spread * normal(rng, K, d), w / w.sum()


@lab.check("gmm_score")
def is_the_gradient_of_the_log_density(answer, rng):
    """In any dimension, with any number of Gaussians, it is the gradient of log p."""
    for B, K, d in ((7, 4, 3), (5, 6, 1), (1, 3, 2), (4, 2, 64)):
        std = number(rng, 0.6, 1.2)
        means, weights = random_mixture(rng, K, d)
        x = normal(rng, B, d)
        got = answer.gmm_score(x, means, std, weights)
        expect_close(got, score_by_autograd(x, means, std, weights), rtol=1e-6, what=f"the score for {B=}, {K=}, {d=}")


@lab.check("gmm_score")
def keeps_samples_gaussians_and_features_apart(answer, rng):
    """With as many samples as Gaussians as features the axes are not mixed up."""
    for n in (2, 3, 5):
        std = number(rng, 0.6, 1.2)
        means, weights = random_mixture(rng, n, n)
        x = normal(rng, n, n)
        got = answer.gmm_score(x, means, std, weights)
        what = f"the score for {n} samples, {n} Gaussians, {n} features"
        expect_close(got, score_by_autograd(x, means, std, weights), rtol=1e-6, what=what)


@lab.check("gmm_score")
def is_finite_between_narrow_gaussians(answer, rng):
    """Half-way between Gaussians that are hundreds of standard deviations apart, both still pull by their weights."""
    std, w = number(rng, 0.005, 0.01), number(rng, 0.1, 0.4)
    m = normal(rng, 1, 3)
    m = m / m.norm()
    weights = torch.tensor([w, 1 - w], dtype=torch.float64)
    x = normal(rng, 6, 3)
    x = x - (x @ m.T) * m + uniform(rng, -2e-5, 2e-5, 6, 1) * m
    got = answer.gmm_score(x, torch.cat([m, -m]), std, weights)
    hint = "every density underflows to 0 here: work with logarithms"
    elsewhere = not isinstance(got, torch.Tensor) or not bool(got.isfinite().all())
    want = (m * torch.tanh(x @ m.T / std**2 + math.log(w / (1 - w)) / 2) - x) / std**2
    expect_close(got, want, rtol=1e-5, hint=advice(hint, elsewhere))


@lab.check("gmm_score")
def keeps_float32(answer, rng):
    """float32 in, float32 out, near the means and far from them; no argument is changed."""
    std = number(rng, 0.3, 0.6)
    means, weights = random_mixture(rng, 3, 2)
    means, weights, x = means.float(), weights.float(), normal(rng, 5, 2, dtype=torch.float32)
    seen = answer.observe("gmm_score", x, means, std, weights)
    expect_close(seen.value, score_by_autograd(x, means, std, weights).float(), rtol=1e-3)
    expect_untouched(seen, x, means, std, weights)
    far = 100 * (x / x.norm(dim=1, keepdim=True))
    got = answer.gmm_score(far, means, std, weights)
    expect_close(got, score_by_autograd(far, means, std, weights).float(), rtol=0.05, what="the score far away")


@lab.check("gmm_score")
def lets_all_gradients_through(answer, rng):
    """The score is differentiable in x, in the means and in the weights."""
    std = number(rng, 0.6, 1.2)
    means, weights = random_mixture(rng, 3, 2)
    x, cotangent = normal(rng, 5, 2), normal(rng, 5, 2)
    seen = answer.gradient("gmm_score", x, means, std, weights, wrt=[0, 1, 3], cotangent=cotangent)
    leaves = [a.clone().requires_grad_() for a in (x, means, weights)]
    log_density = mixture_log_density(leaves[0], leaves[1], std, leaves[2]).sum()
    (score,) = torch.autograd.grad(log_density, leaves[0], create_graph=True)
    wants = torch.autograd.grad((score * cotangent).sum(), leaves)
    expect_gradient(seen, 0, wants[0], "x")
    expect_gradient(seen, 1, wants[1], "the means")
    # weights sum to 1: only the part of the gradient along such changes is fixed
    got = seen.grads[2]
    shifted = None if got is None else got - (got @ weights)
    seen.grads[2] = shifted
    expect_gradient(seen, 2, wants[2] - (wants[2] @ weights), "the weights")


# ---- langevin_step


@lab.check("langevin_step")
def has_the_stationary_variance_of_its_step_size(answer, rng):
    """For the score of N(0, v I) the chain of your steps settles at the variance v/(1 - h/(2v))."""
    v = number(rng, 0.5, 2)
    h, score = number(rng, 0.1, 0.8) * v, answer.fixture("gaussian_pull", mean=_zeros(2), var=v)
    one, zero = torch.ones(3, 2, dtype=torch.float64), _zeros(3, 2)
    keep = answer.langevin_step(score, one, h, zero)
    shake = answer.langevin_step(score, zero, h, one)
    stationary = shake**2 / (1 - keep**2)
    want = torch.full((3, 2), v / (1 - h / (2 * v)), dtype=torch.float64)
    hint = recognise(
        stationary,
        {"it is half of what it should be: sqrt(2h), not sqrt(h)": want / 2, "the noise is missing": 0 * want},
        "x + h * score(x) + sqrt(2h) * noise",
    )
    expect_close(stationary, want, rtol=1e-6, what="the stationary variance", hint=hint)


@lab.check("langevin_step")
def moves_whole_images(answer, rng):
    """A batch of float32 images gives float32 images, h may be a 0-d tensor, and no argument is changed."""
    var, root = number(rng, 0.5, 2), number(rng, 0.2, 0.6)
    x, noise = normal(rng, 3, 1, 4, 5, dtype=torch.float32), normal(rng, 3, 1, 4, 5, dtype=torch.float32)
    score = answer.fixture("gaussian_pull", mean=_zeros(4, 5), var=var)
    for h in (root**2 / 2, torch.tensor(root**2 / 2, dtype=torch.float64)):
        seen = answer.observe("langevin_step", score, x, h, noise)
        want = x.double() * (1 - root**2 / 2 / var) + root * noise.double()
        expect_close(seen.value, want.float())
        expect_untouched(seen, None, x, h, noise)


@lab.check("langevin_step")
def lets_gradients_through_the_score(answer, rng):
    """The step is differentiable in x, through the score, and in the noise."""
    W, V, x, noise = normal(rng, 5, 3), normal(rng, 3, 5), normal(rng, 6, 3), normal(rng, 6, 3)
    h, weight = number(rng, 0.1, 0.5), normal(rng, 6, 3)
    score = answer.fixture("sine_pull", W=W, V=V)
    seen = answer.gradient("langevin_step", score, x, h, noise, wrt=[1, 3], cotangent=weight)
    expect_gradient(seen, 0, weight + h * ((weight @ V) * torch.cos(x @ W.T)) @ W, "x")
    expect_gradient(seen, 1, math.sqrt(2 * h) * weight, "noise")


@lab.check("langevin_step")
def keeps_the_graph_to_the_scores_parameters(answer, rng):
    """Where the score has parameters, the step can be differentiated by them."""
    W, V, x, noise = normal(rng, 5, 3), normal(rng, 3, 5), normal(rng, 4, 3), normal(rng, 4, 3)
    h = number(rng, 0.1, 0.5)
    seen = answer.observe("langevin_step", answer.fixture("trainable_sine_pull", W=W, V=V), x, h, noise)
    expect_close(seen.value, x + h * torch.sin(x @ W.T) @ V.T + math.sqrt(2 * h) * noise)
    _requires_graph(seen, "the score")


# ---- annealed_langevin


@lab.check("annealed_langevin")
def shakes_with_gaussian_noise(answer, rng):
    """The noise of a step is normal: its kurtosis is 3, and not only its variance is right."""
    z, *_ = one_step_of(answer, rng, 2 * MANY)
    expect(z.isfinite().all() and z.std() > 0, "there is no noise, or it is not finite")
    expect(z.std(0).min() > 1e-6, SHARED)
    expect_gaussian((z - z.mean()) / z.std(), "the noise of a step")


@lab.check("annealed_langevin")
def shakes_each_step_and_sample_anew(answer, rng):
    """Each step, each sample and each feature has noise of its own."""
    z, *_ = one_step_of(answer, rng, MANY)
    expect(z.isfinite().all() and z.std() > 0, "there is no noise, or it is not finite")
    expect(z.std(0).min() > 1e-6, SHARED)
    z = z - z.mean(0)
    expect_uncorrelated(z[:, 0], z[:, 1], "the features of a sample share their noise")
    expect_uncorrelated(z[0::2], z[1::2], "neighbouring samples share their noise")
    x, n, scale, sigma = normal(rng, MANY, 2), integer(rng, 3, 6), number(rng, 0.1, 0.2), number(rng, 0.5, 2)
    score = answer.fixture("gaussian_pull", mean=_zeros(2), var=1e12)
    for sigmas, steps in (([sigma], n), ([sigma] * n, 1)):
        got = answer.annealed_langevin(score, x, torch.tensor(sigmas, dtype=torch.float64), steps, scale, seeded(rng))
        expect_shape(got, x.shape, "the last x alone is returned")
        total = (got.double() - x) / math.sqrt(2 * n * scale * sigma**2)
        mistakes = {"the same noise comes in each step; draw anew": float(n)}
        expect_standard(total, f"the noise of {n} steps together", EARLIER, mistakes)


@lab.check("annealed_langevin")
def ends_without_denoising(answer, rng):
    """After the last step nothing is added: a low last level leaves its own noise in x."""
    m, scale, var = 2 + normal(rng, 2), number(rng, 0.3, 0.5), 1e-3
    x, sigmas = normal(rng, MANY, 2), torch.tensor([1.0, 0.3], dtype=torch.float64)
    score = answer.fixture("gaussian_pull", mean=m, var=var)
    got = answer.annealed_langevin(score, x, sigmas, 40, scale, seeded(rng))
    expect_shape(got, x.shape, "the last x alone is returned")
    h = scale * 0.09
    level = var + 0.09
    stationary = level / (1 - h / (2 * level))  # forty steps forget where they began
    z = (got.double() - m) / math.sqrt(stationary)
    mistakes = {
        "a step without noise follows the last one: every step has noise": (1 - h / level) ** 2,
        "a denoising step, x + sigma² score, follows the last one": (1 - 0.09 / level) ** 2,
    }
    expect_standard(z, "the last x", EARLIER, mistakes)


@lab.check("annealed_langevin")
def anneals_float32_images(answer, rng):
    """Images of float32 stay float32, sigmas may be a list or a tensor of any dtype, and no argument is changed."""
    size, n, scale, sigma = 4000, integer(rng, 2, 3), number(rng, 0.1, 0.2), number(rng, 1, 2)
    x = normal(rng, size, 1, 2, 3, dtype=torch.float32)
    score = answer.fixture("gaussian_pull", mean=_zeros(2, 3), var=1.0)
    for sigmas in ([sigma, 0.5], torch.tensor([sigma, 0.5], dtype=torch.float64), torch.tensor([sigma, 0.5])):
        seen = answer.observe("annealed_langevin", score, x, sigmas, n, scale, seeded(rng))
        expect_shape(seen.value, x.shape, "the last x alone is returned, of any shape (B, ...)")
        got = seen.value
        expect(got.dtype == torch.float32, f"the result has dtype {str(got.dtype)[6:]}; x has float32")
        left, variance = 1.0, 0.0
        for s in [sigma] * n + [0.5] * n:
            h = scale * s**2
            keep = 1 - h / (1 + s**2)
            left, variance = left * keep, variance * keep**2 + 2 * h
        expect_standard((got.double() - left * x.double()) / math.sqrt(variance), "the noise in the last x", EARLIER)
        expect_untouched(seen, None, x, sigmas)
