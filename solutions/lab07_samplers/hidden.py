"""The hidden checks of lab 7: other shapes, dtypes, ends, precision, gradients, distributions, arguments left alone."""

from __future__ import annotations

import torch

from labcheck import Battery, expect, expect_close
from noise2data.checks.arguments import (
    abar_of,
    distinct_levels,
    integer,
    normal,
    number,
    on_batch_axis,
    random_angles,
    uniform,
)
from noise2data.checks.expectations import expect_gradient, expect_rows, expect_untouched, with_rows
from noise2data.checks.hints import advice, is_right
from noise2data.checks.lab07_samplers import (
    IN_FLOAT64,
    ddim_parts,
    expect_like,
    expect_steps,
    falling_steps,
    has_halves,
    mixed,
    posterior,
)

lab = Battery("lab07_samplers", hidden=True)

SHAPES = ((4, 4), (3, 3, 3, 3), (5, 1, 2, 5), (4, 2, 3, 2, 2))


def gentle_schedule(rng, T):
    """Betas of about 1e-9: the sums betas.cumsum (T,), which are 1 - abar to nine digits, and abar (T+1,)."""
    betas = uniform(rng, 0.5e-9, 2e-9, T)
    return betas.cumsum(0), abar_of(betas)


# ---- predict_x0


@lab.check("predict_x0")
def clips_no_guess(answer, rng):
    """Guesses far outside [-1, 1] come back as they are."""
    phi, abar = random_angles(rng, 12)
    x0, eps, k = 30 * normal(rng, 4, 3), normal(rng, 4, 3), integer(rng, 2, 12)
    inside = is_right(lambda: answer.predict_x0(mixed(phi, k, 0 * x0, eps), eps, k, abar) + x0, x0)
    hint = advice("nothing is clipped in this lab", inside)
    expect_close(answer.predict_x0(mixed(phi, k, x0, eps), eps, k, abar), x0, rtol=1e-7, dtype=False, hint=hint)


@lab.check("predict_x0")
def puts_levels_on_the_batch_axis(answer, rng):
    """A (B,) tensor k belongs to the batch, of points and of images, also when B equals another axis; k may be 0-d."""
    phi, abar = random_angles(rng, 15)
    for shape in SHAPES:
        x0, eps, k = normal(rng, *shape), normal(rng, *shape), distinct_levels(rng, 15, shape[0])
        what, hint = f"the guess for x_k of shape {shape} and (B,) levels", "give k's factors the shape (B, 1, ..., 1)"
        expect_rows(answer.predict_x0, (mixed(phi, k, x0, eps), eps, k, abar), 2, x0, what=what, hint=hint)
    k = integer(rng, 1, 15)
    got = answer.predict_x0(mixed(phi, k, x0, eps), eps, torch.tensor(k), abar)
    expect_close(got, x0, rtol=1e-7, dtype=False, what="the guess for a 0-d k")


@lab.check("predict_x0")
def computes_coefficients_in_float64(answer, rng):
    """abar = 1 - 1e-9 still takes away noise of standard deviation 3e-5 from a float32 x_k."""
    sums, abar = gentle_schedule(rng, 6)
    xk, eps, k = torch.zeros(5, 3), normal(rng, 5, 3, dtype=torch.float32), distinct_levels(rng, 6, 5)
    want = -sums[k - 1].sqrt()[:, None] * eps
    got = with_rows(answer.predict_x0, xk, eps, k, abar)
    in_float64 = is_right(lambda: answer.predict_x0(xk.double(), eps.double(), k, abar), want)
    expect_close(got, want, rtol=1e-3, dtype=False, hint=advice(IN_FLOAT64, in_float64))


@lab.check("predict_x0")
def is_differentiable_and_leaves_arguments_alone(answer, rng):
    """Gradients reach x_k, eps and abar, and no argument is changed."""
    phi, abar = random_angles(rng, 10)
    k = integer(rng, 2, 9)
    xk, eps, weight = normal(rng, 4, 3), normal(rng, 4, 3), normal(rng, 4, 3)
    seen = answer.gradient("predict_x0", xk, eps, k, abar, wrt=[0, 1, 3], cotangent=weight)
    cos, sin = phi[k].cos(), phi[k].sin()
    expect_gradient(seen, 0, weight / cos, "x_k")
    expect_gradient(seen, 1, -weight * sin / cos, "eps")
    slope = torch.zeros_like(abar)  # of (x_k - sin eps)/cos by cos² = abar
    slope[k] = (weight * (eps / sin / cos - (xk - sin * eps) / cos**3)).sum() / 2
    # At entry 0 a square root of 1 - abar has an infinite slope, which a table of all roots makes 0 · inf.
    expect_gradient(seen, 2, slope, "abar", part=slice(1, None))
    levels = distinct_levels(rng, 10, 4)
    expect_untouched(with_rows(answer.observe, "predict_x0", xk, eps, levels, abar), xk, eps, levels, abar)


# ---- ddpm_step


@lab.check("ddpm_step")
def mixes_first_steps_with_others(answer, rng):
    """In a batch with levels of its own for each sample, those with k = 1 get no noise and the others do."""
    phi, abar = random_angles(rng, 15)
    for shape in SHAPES:
        x0, eps, noise = normal(rng, *shape), normal(rng, *shape), normal(rng, *shape)
        k = distinct_levels(rng, 15, shape[0], first=2)
        k[integer(rng, 0, shape[0] - 1)] = 1
        xk = mixed(phi, k, x0, eps)
        mean, var = posterior(phi, k - 1, k, x0, xk)
        what = f"the step for x_k of shape {shape} and (B,) levels"
        hint, ends = "give k's factors the shape (B, 1, ..., 1)", {1: "a sample with k = 1 gets no noise"}
        want = mean + var.sqrt() * noise
        expect_rows(answer.ddpm_step, (xk, eps, k, abar, noise), 2, want, what=what, hint=hint, ends=ends)


@lab.check("ddpm_step")
def needs_no_noise_at_k_1(answer, rng):
    """With k = 1 for the whole batch noise may be None: a number, a 0-d tensor, and (B,) ones."""
    phi, abar = random_angles(rng, 10)
    x0, eps = normal(rng, 4, 3), normal(rng, 4, 3)
    x1 = mixed(phi, 1, x0, eps)
    for k in (1, torch.tensor(1), torch.ones(4, dtype=torch.int64)):
        got = answer.ddpm_step(x1, eps, k, abar, None)
        expect_close(got, x0, rtol=1e-7, dtype=False, what="the step from k = 1 with noise = None")
    noise, x5 = normal(rng, 4, 3), mixed(phi, 5, x0, eps)
    mean, var = posterior(phi, 4, 5, x0, x5)
    got = answer.ddpm_step(x5, eps, torch.tensor(5), abar, noise)
    expect_close(got, mean + var.sqrt() * noise, rtol=1e-7, dtype=False, what="the step for a 0-d k")


@lab.check("ddpm_step")
def keeps_float32_and_computes_in_float64(answer, rng):
    """float32 in, float32 out; betas of 1e-9 still count."""
    sums, abar = gentle_schedule(rng, 8)
    k = distinct_levels(rng, 8, 5, first=2)
    xk, noise = torch.zeros(5, 3), normal(rng, 5, 3, dtype=torch.float32)
    now, before = sums[k - 1], sums[k - 2]
    want = ((now - before) * before / now).sqrt()[:, None] * noise
    got = with_rows(answer.ddpm_step, xk, torch.zeros(5, 3), k, abar, noise)
    in_float64 = is_right(lambda: answer.ddpm_step(xk.double(), xk.double(), k, abar, noise.double()), want)
    expect_close(got, want.float(), rtol=1e-3, atol=1e-9, hint=advice(IN_FLOAT64, in_float64))


@lab.check("ddpm_step")
def clips_no_guess_on_the_way(answer, rng):
    """The guess of x0 inside the step is not clipped."""
    phi, abar = random_angles(rng, 12)
    x0, eps, k = 30 * normal(rng, 4, 3), normal(rng, 4, 3), integer(rng, 2, 12)
    xk = mixed(phi, k, x0, eps)
    want, _ = posterior(phi, k - 1, k, x0, xk)
    small = mixed(phi, k, 0.01 * x0, eps)
    inside = is_right(
        lambda: answer.ddpm_step(small, eps, k, abar, 0 * eps), posterior(phi, k - 1, k, 0.01 * x0, small)[0]
    )
    got = answer.ddpm_step(xk, eps, k, abar, torch.zeros_like(xk))
    expect_close(got, want, rtol=1e-7, dtype=False, hint=advice("nothing is clipped in this lab", inside))


@lab.check("ddpm_step")
def can_be_differentiated_and_leaves_arguments_alone(answer, rng):
    """Gradients reach x_k, eps and noise, and no argument is changed."""
    phi, abar = random_angles(rng, 10)
    k = integer(rng, 2, 9)
    xk, eps, noise, weight = (normal(rng, 4, 3) for _ in range(4))
    seen = answer.gradient("ddpm_step", xk, eps, k, abar, noise, wrt=[0, 1, 4], cotangent=weight)
    one = torch.ones(1, 1, dtype=torch.float64)
    # The step is linear: the mean at x_k = 1 and eps = 0, that is x0 = 1/cos, and at x_k = 0 and eps = 1.
    by_x, var = posterior(phi, k - 1, k, one / phi[k].cos(), one)
    by_eps, _ = posterior(phi, k - 1, k, -one * phi[k].tan(), 0 * one)
    expect_gradient(seen, 0, by_x * weight, "x_k")
    expect_gradient(seen, 1, by_eps * weight, "eps")
    expect_gradient(seen, 2, var.sqrt() * weight, "noise")
    levels = distinct_levels(rng, 10, 4)
    seen = with_rows(answer.observe, "ddpm_step", xk, eps, levels, abar, noise)
    expect_untouched(seen, xk, eps, levels, abar, noise)


# ---- spaced_steps


@lab.check("spaced_steps")
def visits_every_step_when_n_is_T(answer, rng):
    """With n = T each spacing is T, T - 1, ..., 1, 0, and goes nowhere beyond."""
    for T in (1, 2, integer(rng, 5, 60), 1000):
        for spacing in ("linspace", "leading", "trailing"):
            expect_steps(answer, T, T, spacing, "with n = T every step is visited")


@lab.check("spaced_steps")
def takes_a_single_step(answer, rng):
    """With n = 1, "linspace" and "trailing" are [T, 0], and "leading" is [1, 0]."""
    T = integer(rng, 5, 900)
    for spacing in ("linspace", "leading", "trailing"):
        expect_steps(answer, T, 1, spacing, 'n = 1 is [T, 0], but for "leading", which is [1, 0]')


@lab.check("spaced_steps")
def rounds_halves_to_even(answer, rng):
    """Numbers half-way between two integers go to the even one, as Python's round does."""
    m = integer(rng, 3, 40)
    for T, n in ((4 * m + 2, 4), (8 * m + 4, 8)):  # T/n = m + 1/2, exactly, also in binary
        expect_steps(answer, T, n, "trailing", "halves are rounded to the even neighbour")
    for T, n in ((4 * m + 3, 5), (8 * m + 5, 9)):  # and so is (T - 1)/(n - 1)
        assert has_halves(T, n)
        expect_steps(answer, T, n, "linspace", "halves are rounded to the even neighbour")


# ---- ddim_sigma


@lab.check("ddim_sigma")
def is_exactly_zero_at_the_ends(answer, rng):
    """The step to j = 0 has no noise, whatever eta, and neither has any step with eta = 0; elsewhere there is some."""
    _, abar = random_angles(rng, 10)
    k, eta = integer(rng, 2, 10), number(rng, 0.3, 1.0)
    for first, j, share in ((k, 0, eta), (1, 0, 1.0), (k, 1, 0.0)):
        got = answer.ddim_sigma(first, j, abar, share)
        expect_close(got, 0.0, rtol=0.0, atol=0.0, what=f"sigma from {first} to {j} at eta = {share:.2g}")
    expect(float(answer.ddim_sigma(k, 1, abar, eta)) > 0, f"sigma from {k} to 1 at eta = {eta:.2g} should be above 0")


@lab.check("ddim_sigma")
def takes_tensors_and_is_exact(answer, rng):
    """k, j and eta may be 0-d tensors, and betas of 1e-9 are not lost."""
    sums, abar = gentle_schedule(rng, 8)
    k, j, eta = integer(rng, 5, 8), integer(rng, 1, 4), number(rng, 0.3, 1.0)
    now, then = sums[k - 1], sums[j - 1]
    want = eta * (then / now * (now - then)).sqrt().item()
    got = answer.ddim_sigma(torch.tensor(k), torch.tensor(j), abar, torch.tensor(eta, dtype=torch.float64))
    expect_close(got, want, rtol=1e-5, atol=0.0)


@lab.check("ddim_sigma")
def reaches_abar_with_gradients(answer, rng):
    """sigma is differentiable in abar, and abar is not changed."""
    _, abar = random_angles(rng, 12)
    k, j, eta = integer(rng, 7, 12), integer(rng, 1, 5), number(rng, 0.3, 1.0)
    # log sigma² = log(1 - a_j) - log(1 - a_k) + log(a_j - a_k) - log a_j
    a, b = abar[j], abar[k]
    sigma = eta * ((1 - a) / (1 - b) * (1 - b / a)).sqrt()
    want = torch.zeros_like(abar)
    want[j] = sigma / 2 * (-1 / (1 - a) + 1 / (a - b) - 1 / a)
    want[k] = sigma / 2 * (1 / (1 - b) - 1 / (a - b))
    seen = answer.gradient("ddim_sigma", k, j, abar, eta, wrt=[2], cotangent=torch.ones((), dtype=torch.float64))
    expect_gradient(seen, 0, want, "abar", part=slice(1, None))
    expect_untouched(answer.observe("ddim_sigma", k, j, abar, eta), None, None, abar)


# ---- ddim_step


@lab.check("ddim_step")
def needs_no_noise_at_eta_0(answer, rng):
    """With eta = 0 noise may be None, and noise that is given has no effect."""
    phi, abar = random_angles(rng, 12)
    x0, eps, k, j = normal(rng, 4, 3), normal(rng, 4, 3), integer(rng, 7, 12), integer(rng, 1, 5)
    xk, want = mixed(phi, k, x0, eps), mixed(phi, j, x0, eps)
    for noise, what in ((None, "noise = None"), (normal(rng, 4, 3), "some noise")):
        got = answer.ddim_step(xk, eps, k, j, abar, 0.0, noise)
        expect_close(got, want, rtol=1e-7, dtype=False, what=f"the step with eta = 0 and {what}")


@lab.check("ddim_step")
def clamps_the_direction_at_zero(answer, rng):
    """Where eta > 1 makes sigma² larger than 1 - abar[j], eps gets the factor 0, not NaN."""
    phi, abar = random_angles(rng, 12)
    x0, eps, noise = normal(rng, 4, 3), normal(rng, 4, 3), normal(rng, 4, 3)
    k, j = 11, integer(rng, 2, 6)
    xk = mixed(phi, k, x0, eps)
    var = posterior(phi, j, k, x0, xk)[1]
    room = phi[j].sin() ** 2
    for factor in (0.5, 1.5):  # of the eta at which sigma² is all of 1 - abar[j]
        eta = (factor * room / var).sqrt().item()
        got = answer.ddim_step(xk, eps, k, j, abar, eta, noise)
        want = ddim_parts(phi[j], x0, eps, noise, factor * room + 0 * var, (1 - factor) * room)
        expect_close(got, want, rtol=1e-6, dtype=False, hint="clamp 1 - abar[j] - sigma² at 0 before the root")


@lab.check("ddim_step")
def steps_images_and_clips_nothing(answer, rng):
    """Images of any shape, guesses far outside [-1, 1], and 0-d tensors for k, j and eta."""
    phi, abar = random_angles(rng, 12)
    for shape in SHAPES:
        x0, eps, noise = 30 * normal(rng, *shape), normal(rng, *shape), normal(rng, *shape)
        k, j, eta = integer(rng, 7, 12), integer(rng, 1, 5), number(rng, 0.3, 1.0)
        xk = mixed(phi, k, x0, eps)
        s2 = eta**2 * posterior(phi, j, k, x0, xk)[1]
        want = ddim_parts(phi[j], x0, eps, noise, s2, phi[j].sin() ** 2 - s2)
        share = torch.tensor(eta, dtype=torch.float64)
        got = answer.ddim_step(xk, eps, torch.tensor(k), torch.tensor(j), abar, share, noise)
        expect_close(got, want, rtol=1e-6, dtype=False, what=f"the step for x_k of shape {shape}")


@lab.check("ddim_step")
def keeps_coefficients_in_float64(answer, rng):
    """With abar = 1 - 1e-9 the factors of eps and noise, of about 3e-5, are still right for a float32 x_k."""
    sums, abar = gentle_schedule(rng, 8)
    k, j, eta = integer(rng, 6, 8), integer(rng, 2, 4), number(rng, 0.4, 0.8)
    now, then = sums[k - 1], sums[j - 1]
    s2 = eta**2 * then / now * (now - then)
    xk, eps, noise = torch.zeros(5, 3), *(normal(rng, 5, 3, dtype=torch.float32) for _ in range(2))
    want = -now.sqrt() * eps + (then - s2).sqrt() * eps + s2.sqrt() * noise  # x0 is -sqrt(1 - abar[k]) eps
    got = answer.ddim_step(xk, eps, k, j, abar, eta, noise)
    double = [part.double() for part in (xk, eps, noise)]
    in_float64 = is_right(lambda: answer.ddim_step(*double[:2], k, j, abar, eta, double[2]), want)
    scale = want.abs().max().item()
    expect_close(got, want, rtol=0.0, atol=1e-3 * scale, dtype=False, hint=advice(IN_FLOAT64, in_float64))


@lab.check("ddim_step")
def passes_gradients_and_leaves_arguments_alone(answer, rng):
    """Gradients reach x_k, eps and noise, also at eta = 0, and no argument is changed."""
    phi, abar = random_angles(rng, 10)
    k, j = integer(rng, 6, 10), integer(rng, 1, 4)
    xk, eps, noise, weight = (normal(rng, 4, 3) for _ in range(4))
    for eta in (0.0, number(rng, 0.3, 0.9)):
        s2 = eta**2 * posterior(phi, j, k, xk[:1, :1], xk[:1, :1])[1]
        seen = answer.gradient("ddim_step", xk, eps, k, j, abar, eta, noise, wrt=[0, 1], cotangent=weight)
        expect_gradient(seen, 0, phi[j].cos() / phi[k].cos() * weight, "x_k")
        by_eps = (phi[j].sin() ** 2 - s2).sqrt() - phi[j].cos() * phi[k].tan()
        expect_gradient(seen, 1, by_eps * weight, "eps")
    seen = answer.gradient("ddim_step", xk, eps, k, j, abar, eta, noise, wrt=[6], cotangent=weight)
    expect_gradient(seen, 0, s2.sqrt() * weight, "noise")
    seen = answer.observe("ddim_step", xk, eps, k, j, abar, eta, noise)
    expect_untouched(seen, xk, eps, None, None, abar, None, noise)


# ---- ddim_sample


@lab.check("ddim_sample")
def follows_the_exact_network_of_two_points(answer, rng):
    """From a step below T, on an uneven grid: x is the state at steps[0], and the exact eps of two points leads it."""
    T, a = integer(rng, 16, 25), number(rng, 0.6, 1.2)
    phi, abar = random_angles(rng, T)
    x, steps = normal(rng, 6, 2), falling_steps(rng, T - 4, 5)
    net = answer.fixture("two_point_eps_net", abar=abar, a=a)
    got = answer.ddim_sample(net, x, steps, abar, 0.0, None)
    y, r = x / phi[steps[0]].cos(), phi[torch.tensor(steps)].tan()
    for now, then in zip(r[:-1], r[1:], strict=True):  # y = x/cos = x0 + r eps
        y = y + (then - now) * (y - a * torch.tanh(a * y / now**2)) / now
    expect_close(got, y, rtol=1e-6, dtype=False, hint=f"x is the state at steps[0] = {steps[0]} of T = {T}")


def expect_spread(answer, rng, eta):
    """Fail unless samples with the exact eps of a Gaussian have the mean and variance of the chain that makes them."""
    T = integer(rng, 8, 12)
    phi, abar = random_angles(rng, T)
    mean, var, start = number(rng, -1, 1), number(rng, 0.3, 0.7), number(rng, -1, 1)
    steps = [T, T // 2 + 1, T // 2, 2, 0]
    centre, spread = torch.tensor(start - phi[T].cos().item() * mean, dtype=torch.float64), 0.0
    one = torch.ones(1, 1, dtype=torch.float64)
    for k, j in zip(steps[:-1], steps[1:], strict=True):
        s2 = eta**2 * posterior(phi, j, k, one, one)[1].item() if j else 0.0
        sin, cos = phi[k].sin(), phi[k].cos()
        total = cos**2 * var + sin**2
        gain = (phi[j].cos() * cos * var + (phi[j].sin() ** 2 - s2).clamp(min=0).sqrt() * sin) / total
        centre, spread = gain * centre, gain**2 * spread + s2
    net = answer.fixture("gaussian_eps_net", abar=abar, mean=mean, var=var)
    x = torch.full((4000, 5), start, dtype=torch.float64)
    generator = torch.Generator().manual_seed(integer(rng, 0, 10**9))
    got = answer.ddim_sample(net, x, steps, abar, eta, generator)
    expect_like(got, x)
    n, got, spread = x.numel(), got.double(), float(spread)
    limit = 5.5 * (spread / n) ** 0.5  # a right answer misses it once in 3e7
    what = f"eta = {eta:.2f}, steps = {steps}"
    expect_close(got.mean().item(), mean + centre.item(), rtol=0, atol=limit, what=f"the mean of {n} samples, {what}")
    hint = "each step to j > 0 adds fresh noise of variance sigma²; the step to 0 adds none"
    ratio = got.var().item() / spread
    expect_close(ratio, 1.0, rtol=0, atol=5.5 * (2 / n) ** 0.5, what=f"variance over exact variance, {what}", hint=hint)


@lab.check("ddim_sample")
def has_the_right_spread(answer, rng):
    """For eta = 1 and for an eta between 0 and 1, samples have the exact mean and variance of the chain."""
    expect_spread(answer, rng, 1.0)
    expect_spread(answer, rng, number(rng, 0.4, 0.7))


@lab.check("ddim_sample")
def draws_fresh_noise_for_every_entry(answer, rng):
    """No two samples and no two coordinates share their noise."""
    _, abar = random_angles(rng, 10)
    net = answer.fixture("gaussian_eps_net", abar=abar, mean=0.0, var=0.5)
    x = torch.zeros(300, 50, dtype=torch.float64)
    got = answer.ddim_sample(net, x, [9, 6, 3, 0], abar, 1.0, torch.Generator().manual_seed(integer(rng, 0, 10**9)))
    expect_like(got, x)
    got = got.double() / got.double().std().clamp(min=1e-9)
    expect(got.abs().max() > 1, "all samples are the same: no noise is added")
    # Means of n independent numbers of variance 1 have the standard deviation n**-0.5; 6.5 of them, 350 times.
    expect(got.mean(0).abs().max() < 6.5 * 300**-0.5, "the samples of a batch share their noise; draw it like x")
    expect(got.mean(1).abs().max() < 6.5 * 50**-0.5, "the coordinates of a sample share their noise; draw it like x")


@lab.check("ddim_sample")
def samples_images_in_float32(answer, rng):
    """float32 images come back as float32 images, with eta = 0 and with eta = 1."""
    phi, abar = random_angles(rng, 12)
    x, steps = normal(rng, 3, 1, 4, 3), falling_steps(rng, 12, 4)
    table = uniform(rng, 0.5, 1.5, 13)
    want = x / phi[steps[0]].cos() + (phi[torch.tensor(steps)].tan().diff() * table[torch.tensor(steps[:-1])]).sum()
    net = answer.fixture("table_net", table=table)
    got = answer.ddim_sample(net, x.float(), steps, abar, 0.0, None)
    expect_close(got, want.float(), rtol=1e-4, atol=1e-4)
    got = answer.ddim_sample(net, x.float(), steps, abar, 1.0, torch.Generator().manual_seed(integer(rng, 0, 10**6)))
    expect_like(got, x)
    expect(got.dtype == torch.float32, f"with eta = 1 the result has dtype {str(got.dtype)[6:]}; expected float32")
    expect(got.isfinite().all(), "with eta = 1 some entries are not finite")


@lab.check("ddim_sample")
def leaves_x_and_steps_alone(answer, rng):
    """Neither x nor the list of steps is changed, and with eta = 0 nothing is drawn."""
    phi, abar = random_angles(rng, 12)
    x, steps, table = normal(rng, 4, 3), falling_steps(rng, 12, 4), uniform(rng, 0.5, 1.5, 13)
    net = answer.fixture("table_net", table=table)
    seen = answer.observe("ddim_sample", net, x, steps, abar, 0.0, None)
    want = x / phi[steps[0]].cos() + (phi[torch.tensor(steps)].tan().diff() * table[torch.tensor(steps[:-1])]).sum()
    expect_close(seen.value, want, rtol=1e-6, dtype=False)
    expect_untouched(seen, None, x, None, abar)
    expect(seen.args[2] == steps, "the list of steps was changed; the caller may need it again")


# ---- reverse_sde_drift, probability_flow_drift


def random_score(answer, rng, shape):
    """x of a shape, (B,) times, the score sin(x W^T) V^T (1 + t/2) as a fixture, beta as one, and x W^T."""
    x, t = normal(rng, *shape), uniform(rng, 0.1, 0.9, shape[0])
    W, V = normal(rng, 3, shape[-1]), normal(rng, shape[-1], 3)
    score = answer.fixture("sine_field", W=W, V=V, c=0.5)
    return x, t, W, V, score, answer.fixture("linear_rate", low=0.3, high=5.0)


def expect_drift(answer, name, rng, half):
    """Fail unless a drift is -½ beta x - half·beta·score for points and images, with (B,) and with 0-d times."""
    call = getattr(answer, name)
    for shape in SHAPES:
        x, t, W, V, score, beta = random_score(answer, rng, shape)
        b, growth = (on_batch_axis(value, x) for value in (0.3 + 4.7 * t, 1 + t / 2))
        want = -b * x / 2 - half * b * growth * (torch.sin(x @ W.T) @ V.T)
        what, hint = f"the drift for x of shape {shape} and (B,) times", "give beta(t) the shape (B, 1, ..., 1)"
        expect_rows(call, (x, score, t, beta), 2, want, what=what, hint=hint)
    time = number(rng, 0.1, 0.9)
    b, growth = 0.3 + 4.7 * time, 1 + time / 2
    want = -b * x / 2 - half * b * growth * (torch.sin(x @ W.T) @ V.T)
    got = call(x, score, torch.tensor(time, dtype=torch.float64), beta)
    expect_close(got, want, rtol=1e-7, dtype=False, what="the drift at a 0-d time")


def expect_float32_drift(answer, name, rng, half):
    """Fail unless a float32 x gives a float32 drift, whatever t is."""
    x, t, W, V, score, beta = random_score(answer, rng, (4, 3))
    x = x.float()
    for times in (t[0].item(), t[0], t):
        column = torch.as_tensor(times, dtype=torch.float64).reshape(-1, 1)
        s = (1 + column / 2) * (torch.sin(x.double() @ W.T) @ V.T)
        want = (-(0.3 + 4.7 * column) * (x / 2 + half * s)).float()
        what = f"the drift of a float32 x, t being {'a number' if isinstance(times, float) else 'float64'}"
        expect_close(getattr(answer, name)(x, score, times, beta), want, rtol=1e-4, atol=1e-4, what=what)


def expect_drift_gradient(answer, name, rng, half):
    """Fail unless gradients reach x, through the score too, and the arguments are left alone."""
    x, t, W, V, score, beta = random_score(answer, rng, (4, 3))
    weight = normal(rng, 4, 3)
    b, growth = (0.3 + 4.7 * t)[:, None], (1 + t / 2)[:, None]
    seen = answer.gradient(name, x, score, t, beta, wrt=[0], cotangent=weight)
    through = (growth * (weight @ V) * torch.cos(x @ W.T)) @ W
    expect_gradient(seen, 0, -b * weight / 2 - half * b * through, "x")
    expect_untouched(answer.observe(name, x, score, t, beta), x, None, t)


@lab.check("reverse_sde_drift")
def drifts_points_and_images(answer, rng):
    """A (B,) tensor t belongs to the batch, of points and of images, also when B equals another axis; t may be 0-d."""
    expect_drift(answer, "reverse_sde_drift", rng, 1.0)


@lab.check("reverse_sde_drift")
def keeps_x_in_float32(answer, rng):
    """float32 in, float32 out, for times that are numbers or float64 tensors."""
    expect_float32_drift(answer, "reverse_sde_drift", rng, 1.0)


@lab.check("reverse_sde_drift")
def lets_gradients_reach_x(answer, rng):
    """The drift is differentiable in x, through the score too, and changes no argument."""
    expect_drift_gradient(answer, "reverse_sde_drift", rng, 1.0)


@lab.check("probability_flow_drift")
def carries_points_and_images(answer, rng):
    """A (B,) tensor t belongs to the batch, of points and of images, also when B equals another axis; t may be 0-d."""
    expect_drift(answer, "probability_flow_drift", rng, 0.5)


@lab.check("probability_flow_drift")
def leaves_x_in_float32(answer, rng):
    """float32 in, float32 out, for times that are numbers or float64 tensors."""
    expect_float32_drift(answer, "probability_flow_drift", rng, 0.5)


@lab.check("probability_flow_drift")
def lets_gradients_reach_x_through_the_score(answer, rng):
    """The drift is differentiable in x, through the score too, and changes no argument."""
    expect_drift_gradient(answer, "probability_flow_drift", rng, 0.5)
