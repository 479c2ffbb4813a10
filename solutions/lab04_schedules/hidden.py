"""The hidden checks of lab 4: other shapes, dtypes, ends, precision, gradients, arguments left alone."""

from __future__ import annotations

import math

import torch

from labcheck import Battery, expect, expect_close, expect_type
from noise2data.checks.arguments import (
    abar_of,
    distinct_levels,
    integer,
    normal,
    on_batch_axis,
    random_angles,
    random_schedule,
    uniform,
)
from noise2data.checks.expectations import expect_gradient, expect_rows, expect_untouched, with_rows
from noise2data.checks.hints import advice, differs_little, is_right
from noise2data.checks.lab04_schedules import cosine_by_definition, linear_betas

lab = Battery("lab04_schedules", hidden=True)


def expect_close_logs(got, want: torch.Tensor, hint: str) -> None:
    """Fail unless a schedule is right to nine digits, its smallest entries too."""
    expect_type(got, torch.Tensor)
    expect(got.dtype == torch.float64, f"the result has dtype {str(got.dtype)[6:]}; a schedule is made in float64")
    # Rounding leaves the first entry at 1; an error of the logarithm is relative to each entry.
    rounded = got.shape == want.shape and bool(got[0] == 1 and (got.log() - want.log()).abs().max() < 1e-3)
    expect_close(got.log(), want.log(), rtol=0.0, atol=1e-9, what="log(abar)", hint=advice(hint, rounded))


# ---- linear_alpha_bar


@lab.check("linear_alpha_bar")
def has_one_step(answer, rng):
    """With T = 1 the only beta is beta_start."""
    start, end = uniform(rng, 0.01, 0.1).item(), uniform(rng, 0.2, 0.4).item()
    got = answer.linear_alpha_bar(1, start, end)
    expect_close(got, torch.tensor([1, 1 - start], dtype=torch.float64), rtol=1e-6, dtype=False)


@lab.check("linear_alpha_bar")
def is_not_rescaled_with_T(answer, rng):
    """The default betas are the same for every T: a short schedule keeps much signal."""
    T = integer(rng, 10, 400)
    want = abar_of(linear_betas(T, 1e-4, 0.02))
    got = answer.linear_alpha_bar(T)
    at_1000 = is_right(lambda: answer.linear_alpha_bar(1000), abar_of(linear_betas(1000, 1e-4, 0.02)), 1e-6)
    hint = advice("beta_start and beta_end are used as they are, whatever T", at_1000)
    expect_close(got, want, rtol=1e-4, atol=1e-9, dtype=False, hint=hint)


@lab.check("linear_alpha_bar")
def is_exact_in_float64(answer, rng):
    """Every step of the computation is in float64, for long schedules too."""
    T = integer(rng, 1000, 3000)
    hint = "torch.linspace makes float32 unless it is told dtype=torch.float64"
    expect_close_logs(answer.linear_alpha_bar(T), abar_of(linear_betas(T, 1e-4, 0.02)), hint)


# ---- cosine_alpha_bar


@lab.check("cosine_alpha_bar")
def uses_s(answer, rng):
    """Another offset s gives another schedule."""
    T, s = integer(rng, 20, 200), uniform(rng, 0.02, 0.2).item()
    got = answer.cosine_alpha_bar(T, s=s)
    expect_type(got, torch.Tensor)
    want = cosine_by_definition(T, s, 0.999)
    expect_close(got[:-1], want[:-1], rtol=1e-3, atol=1e-8, dtype=False, what="abar[:-1]", hint=f"s = {s:.3g}, T = {T}")


@lab.check("cosine_alpha_bar")
def uses_max_beta(answer, rng):
    """A smaller max_beta clips many steps, and abar is the product of the clipped ones."""
    T, max_beta = integer(rng, 30, 200), uniform(rng, 0.1, 0.6).item()
    got = answer.cosine_alpha_bar(T, max_beta=max_beta)
    unclipped = is_right(lambda: answer.cosine_alpha_bar(T)[:-1], cosine_by_definition(T, 0.008, 0.999)[:-1])
    hint = advice("clip the betas, then multiply the 1 - beta up again", unclipped)
    expect_close(got, cosine_by_definition(T, 0.008, max_beta), rtol=1e-3, atol=1e-12, dtype=False, hint=hint)


@lab.check("cosine_alpha_bar")
def has_no_lower_clip(answer, rng):
    """In a long schedule the first betas are far below 1e-4, and stay so."""
    T = integer(rng, 3000, 5000)
    got = answer.cosine_alpha_bar(T)
    expect_type(got, torch.Tensor)
    betas, want = (1 - a[1:9] / a[:8] for a in (got, cosine_by_definition(T, 0.008, 0.999)))
    larger = betas.shape == want.shape and bool((betas > 0.99 * want).all() and (betas > 2 * want).any())
    hint = advice("no beta is made larger than the formula says", larger)
    expect_close(betas, want, rtol=1e-3, atol=0.0, dtype=False, what="one of the first betas", hint=hint)


@lab.check("cosine_alpha_bar")
def has_one_cosine_step(answer, rng):
    """With T = 1 the only beta is max_beta."""
    max_beta = uniform(rng, 0.9, 0.99).item()
    got = answer.cosine_alpha_bar(1, max_beta=max_beta)
    expect_close(got, torch.tensor([1, 1 - max_beta], dtype=torch.float64), rtol=1e-5, dtype=False)


@lab.check("cosine_alpha_bar")
def is_exact_in_float64_to_the_end(answer, rng):
    """Every step of the computation is in float64: the smallest abar are right too."""
    T = integer(rng, 900, 2000)
    hint = "torch.arange and torch.linspace need dtype=torch.float64"
    expect_close_logs(answer.cosine_alpha_bar(T), cosine_by_definition(T, 0.008, 0.999), hint)


# ---- betas_from_alpha_bar


@lab.check("betas_from_alpha_bar")
def clips_nothing(answer, rng):
    """Betas near 0 and near 1 come back as they are."""
    betas = torch.cat([uniform(rng, 1e-7, 1e-6, 3), uniform(rng, 0.1, 0.3, 3), uniform(rng, 0.9993, 0.9999, 2)])
    got = answer.betas_from_alpha_bar(abar_of(betas))
    expect_type(got, torch.Tensor)
    hint = advice("nothing is clipped here", differs_little(got[3:6], betas[3:6]))
    expect_close(got, betas, rtol=1e-5, atol=0.0, dtype=False, hint=hint)


@lab.check("betas_from_alpha_bar")
def keeps_the_dtype_of_abar(answer, rng):
    """float32 in, float32 out; float64 in, float64 out."""
    betas, abar = random_schedule(rng, 12)
    expect_close(answer.betas_from_alpha_bar(abar), betas)
    expect_close(answer.betas_from_alpha_bar(abar.float()), betas.float(), rtol=1e-4)


@lab.check("betas_from_alpha_bar")
def is_differentiable_and_leaves_abar_alone(answer, rng):
    """Gradients reach abar, and abar is not changed."""
    _, abar = random_schedule(rng, 9)
    weight = normal(rng, 9)
    want = torch.zeros_like(abar)
    want[1:] -= weight / abar[:-1]
    want[:-1] += weight * abar[1:] / abar[:-1] ** 2
    expect_gradient(answer.gradient("betas_from_alpha_bar", abar, wrt=[0], cotangent=weight), 0, want, "abar")
    expect_untouched(answer.observe("betas_from_alpha_bar", abar), abar)


# ---- q_step


@lab.check("q_step")
def puts_levels_on_the_batch_axis(answer, rng):
    """A (B,) tensor k belongs to the batch, also when B equals the width."""
    B = integer(rng, 3, 6)
    betas, abar = random_schedule(rng, 15)
    x, noise, k = normal(rng, B, B), normal(rng, B, B), distinct_levels(rng, 15, B)
    b = betas[k - 1][:, None]
    what, hint = f"the result for x of shape {(B, B)} and k of shape {(B,)}", "give k's factors the shape (B, 1)"
    want = (1 - b).sqrt() * x + b.sqrt() * noise
    expect_rows(answer.q_step, (x, k, noise, abar), 1, want, what=what, hint=hint)


@lab.check("q_step")
def takes_levels_of_images(answer, rng):
    """A (B,) tensor k belongs to the batch of images, and of anything else that is (B, ...)."""
    betas, abar = random_schedule(rng, 15)
    for shape in ((3, 3, 3, 3), (5, 1, 2, 5), (4, 2, 3, 2, 2)):
        x, noise, k = normal(rng, *shape), normal(rng, *shape), distinct_levels(rng, 15, shape[0])
        b = on_batch_axis(betas[k - 1], x)
        what = f"the result for x of shape {shape} and k of shape ({shape[0]},)"
        hint = "give k's factors the shape (B, 1, ..., 1)"
        want = (1 - b).sqrt() * x + b.sqrt() * noise
        expect_rows(answer.q_step, (x, k, noise, abar), 1, want, what=what, hint=hint)


@lab.check("q_step")
def takes_a_zero_dimensional_level(answer, rng):
    """k may be a 0-d tensor, and x an image batch."""
    T = integer(rng, 5, 12)
    betas, abar = random_schedule(rng, T)
    x, noise = normal(rng, 3, 2, 4, 5), normal(rng, 3, 2, 4, 5)
    for k in (1, T):
        want = (1 - betas[k - 1]).sqrt() * x + betas[k - 1].sqrt() * noise
        expect_close(answer.q_step(x, torch.tensor(k), noise, abar), want, rtol=1e-7, dtype=False)


@lab.check("q_step")
def ends_in_pure_noise_at_zero_snr(answer, rng):
    """Where abar[T] = 0 a step to T returns the noise itself, and the steps before it do not."""
    betas, abar = random_schedule(rng, 8)
    betas[-1], abar[-1] = 1, 0
    x, noise, k = normal(rng, 4, 3), normal(rng, 4, 3), torch.tensor([8, 7, 3, 8])
    b = betas[k - 1][:, None]
    want = (1 - b).sqrt() * x + b.sqrt() * noise
    ends = {8: "beta is 1 in the last step"}
    expect_rows(answer.q_step, (x, k, noise, abar), 1, want, hint="row i belongs to k[i]", ends=ends)


@lab.check("q_step")
def computes_coefficients_in_float64(answer, rng):
    """A beta of 1e-9 still adds noise of standard deviation 3e-5 to a float32 x."""
    betas = uniform(rng, 0.5e-9, 2e-9, 6)
    abar = abar_of(betas)
    x, noise, k = torch.zeros(5, 3), normal(rng, 5, 3, dtype=torch.float32), distinct_levels(rng, 6, 5)
    want = betas[k - 1].sqrt()[:, None] * noise
    got = with_rows(answer.q_step, x, k, noise, abar)
    in_float64 = is_right(lambda: answer.q_step(x.double(), k, noise.double(), abar), want)
    hint = advice("the ratio of two abar near 1 is lost in float32; cast after the square roots", in_float64)
    expect_close(got, want, rtol=1e-3, dtype=False, hint=hint)


@lab.check("q_step")
def leaves_its_arguments_alone(answer, rng):
    """No argument is changed, and the noise is the one that was given."""
    betas, abar = random_schedule(rng, 10)
    x, noise, k = normal(rng, 4, 3), normal(rng, 4, 3), distinct_levels(rng, 10, 4)
    seen = with_rows(answer.observe, "q_step", x, k, noise, abar)
    b = betas[k - 1][:, None]
    expect_close(seen.value, (1 - b).sqrt() * x + b.sqrt() * noise, rtol=1e-5, dtype=False)
    expect_untouched(seen, x, k, noise, abar)


@lab.check("q_step")
def lets_gradients_through(answer, rng):
    """The step is differentiable in x, noise and abar."""
    betas, abar = random_schedule(rng, 10)
    k = integer(rng, 2, 9)
    x, noise, weight = normal(rng, 4, 3), normal(rng, 4, 3), normal(rng, 4, 3)
    seen = answer.gradient("q_step", x, k, noise, abar, wrt=[0, 2, 3], cotangent=weight)
    b = betas[k - 1]
    expect_gradient(seen, 0, (1 - b).sqrt() * weight, "x")
    expect_gradient(seen, 1, b.sqrt() * weight, "noise")
    # d/dr of sqrt(r) x + sqrt(1 - r) noise, with r = abar[k]/abar[k-1] = 1 - b
    slope = (weight * (x / (1 - b).sqrt() - noise / b.sqrt())).sum() / 2
    want = torch.zeros_like(abar)
    want[k], want[k - 1] = slope / abar[k - 1], -slope * abar[k] / abar[k - 1] ** 2
    expect_gradient(seen, 2, want, "abar")


# ---- q_sample


@lab.check("q_sample")
def puts_levels_on_the_batch_axis_of_x0(answer, rng):
    """A (B,) tensor k belongs to the batch, also when B equals the width."""
    B = integer(rng, 3, 6)
    phi, abar = random_angles(rng, 15)
    x0, eps, k = normal(rng, B, B), normal(rng, B, B), distinct_levels(rng, 15, B)
    angle = phi[k][:, None]
    what, hint = f"the result for x0 of shape {(B, B)} and k of shape {(B,)}", "give k's factors the shape (B, 1)"
    want = angle.cos() * x0 + angle.sin() * eps
    expect_rows(answer.q_sample, (x0, k, eps, abar), 1, want, what=what, hint=hint)


@lab.check("q_sample")
def takes_levels_of_a_batch_of_images(answer, rng):
    """A (B,) tensor k belongs to the batch of images, and of anything else that is (B, ...)."""
    phi, abar = random_angles(rng, 15)
    for shape in ((3, 3, 3, 3), (5, 1, 2, 5), (4, 2, 3, 2, 2)):
        x0, eps, k = normal(rng, *shape), normal(rng, *shape), distinct_levels(rng, 15, shape[0], first=0)
        angle = on_batch_axis(phi[k], x0)
        what = f"the result for x0 of shape {shape} and k of shape ({shape[0]},)"
        hint = "give k's factors the shape (B, 1, ..., 1)"
        want = angle.cos() * x0 + angle.sin() * eps
        ends = {0: "abar[0] is 1 and needs no guard"}
        expect_rows(answer.q_sample, (x0, k, eps, abar), 1, want, what=what, hint=hint, ends=ends)


@lab.check("q_sample")
def takes_a_zero_dimensional_level_of_images(answer, rng):
    """k may be a 0-d tensor, and x0 an image batch."""
    phi, abar = random_angles(rng, 12)
    x0, eps = normal(rng, 3, 2, 4, 5), normal(rng, 3, 2, 4, 5)
    k = integer(rng, 2, 11)
    want = phi[k].cos() * x0 + phi[k].sin() * eps
    expect_close(answer.q_sample(x0, torch.tensor(k), eps, abar), want, rtol=1e-7, dtype=False)


@lab.check("q_sample")
def reaches_both_ends(answer, rng):
    """k = 0 returns x0 exactly; where abar[T] = 0, k = T returns eps exactly."""
    phi, abar = random_angles(rng, 8)
    abar[-1] = 0
    x0, eps = normal(rng, 4, 3, dtype=torch.float32), normal(rng, 4, 3, dtype=torch.float32)
    got = answer.q_sample(x0, 0, eps, abar)
    between = is_right(lambda: answer.q_sample(x0, 4, eps, abar), phi[4].cos() * x0 + phi[4].sin() * eps)
    hint = advice("abar[0] is 1 and needs no guard", between)
    expect_close(got, x0, rtol=0.0, atol=0.0, dtype=False, what="q_sample at k = 0", hint=hint)
    expect_close(answer.q_sample(x0, 8, eps, abar), eps, rtol=0.0, atol=0.0, dtype=False, what="q_sample at abar = 0")


@lab.check("q_sample")
def computes_its_coefficients_in_float64(answer, rng):
    """abar = 1 - 1e-9 still adds noise of standard deviation 3e-5 to a float32 x0."""
    betas = uniform(rng, 0.5e-9, 2e-9, 6)
    abar = abar_of(betas)
    x0, eps, k = torch.zeros(5, 3), normal(rng, 5, 3, dtype=torch.float32), distinct_levels(rng, 6, 5)
    want = betas.cumsum(0)[k - 1].sqrt()[:, None] * eps
    got = with_rows(answer.q_sample, x0, k, eps, abar)
    in_float64 = is_right(lambda: answer.q_sample(x0.double(), k, eps.double(), abar), want)
    hint = advice("1 - abar is lost in float32; cast after the square roots", in_float64)
    expect_close(got, want, rtol=1e-3, dtype=False, hint=hint)


@lab.check("q_sample")
def leaves_arguments_alone(answer, rng):
    """No argument is changed, and the noise is the one that was given."""
    phi, abar = random_angles(rng, 10)
    x0, eps, k = normal(rng, 4, 3), normal(rng, 4, 3), distinct_levels(rng, 10, 4)
    seen = with_rows(answer.observe, "q_sample", x0, k, eps, abar)
    want = phi[k].cos()[:, None] * x0 + phi[k].sin()[:, None] * eps
    expect_close(seen.value, want, rtol=1e-5, dtype=False)
    expect_untouched(seen, x0, k, eps, abar)


@lab.check("q_sample")
def lets_all_gradients_through(answer, rng):
    """The sample is differentiable in x0, eps and abar."""
    phi, abar = random_angles(rng, 10)
    k = integer(rng, 2, 9)
    x0, eps, weight = normal(rng, 4, 3), normal(rng, 4, 3), normal(rng, 4, 3)
    seen = answer.gradient("q_sample", x0, k, eps, abar, wrt=[0, 2, 3], cotangent=weight)
    cos, sin = phi[k].cos(), phi[k].sin()
    expect_gradient(seen, 0, cos * weight, "x0")
    expect_gradient(seen, 1, sin * weight, "eps")
    want = torch.zeros_like(abar)
    want[k] = (weight * (x0 / cos - eps / sin)).sum() / 2
    expect_gradient(seen, 2, want, "abar")


# ---- log_snr


@lab.check("log_snr")
def is_minus_infinite_at_zero_snr(answer, rng):
    """Where abar = 0 there is no signal: -inf, and the other entries are as before."""
    l = uniform(rng, -5, 5, 7).sort(descending=True).values  # noqa: E741
    abar = torch.cat([torch.ones(1, dtype=torch.float64), torch.sigmoid(l), torch.zeros(1, dtype=torch.float64)])
    want = torch.cat([torch.tensor([math.inf]), l, torch.tensor([-math.inf])])
    expect_close(answer.log_snr(abar), want, rtol=1e-6, dtype=False)


@lab.check("log_snr")
def clips_no_level(answer, rng):
    """abar of 1e-25 and of 1 - 1e-12 have finite log-SNRs of their own."""
    small = 10 ** uniform(rng, -28, -20, 3).sort(descending=True).values
    gap = 2.0 ** -torch.arange(42, 36, -2, dtype=torch.float64)  # 1 - gap is a float64, without rounding
    abar = torch.cat([torch.ones(1, dtype=torch.float64), 1 - gap, small])
    want = torch.cat([torch.tensor([math.inf], dtype=torch.float64), torch.log1p(-gap) - gap.log(), small.log()])
    got = answer.log_snr(abar)
    expect_type(got, torch.Tensor)
    l = torch.tensor([2.0, -1.0], dtype=torch.float64)  # noqa: E741
    usual = torch.cat([torch.ones(1, dtype=torch.float64), torch.sigmoid(l)])
    elsewhere = bool(got[0] == math.inf) and is_right(lambda: answer.log_snr(usual)[1:], l)
    hint = advice("nothing is clipped", elsewhere)
    expect_close(got, want, rtol=1e-6, dtype=False, hint=hint)


@lab.check("log_snr")
def keeps_the_dtype(answer, rng):
    """float32 in, float32 out; float64 in, float64 out."""
    l = uniform(rng, -5, 2, 9).sort(descending=True).values  # noqa: E741
    abar = torch.cat([torch.ones(1, dtype=torch.float64), torch.sigmoid(l)])
    want = torch.cat([torch.tensor([math.inf], dtype=torch.float64), l])
    expect_close(answer.log_snr(abar), want, rtol=1e-6)
    expect_close(answer.log_snr(abar.float()), want.float(), rtol=1e-4)


@lab.check("log_snr")
def can_be_differentiated_and_leaves_abar_alone(answer, rng):
    """Gradients reach the entries of abar between 0 and 1, and abar is not changed."""
    phi, abar = random_angles(rng, 9)
    weight = normal(rng, 10)
    weight[0] = 0
    want = weight / (abar * phi.sin() ** 2)
    seen = answer.gradient("log_snr", abar, wrt=[0], cotangent=weight)
    expect_gradient(seen, 0, want, "abar", part=slice(1, None))
    expect_untouched(answer.observe("log_snr", abar), abar)


# ---- rescale_zero_terminal_snr


@lab.check("rescale_zero_terminal_snr")
def moves_any_schedule(answer, rng):
    """A schedule with one step, one that stops half-way, and one that ends in 0 already."""
    one = torch.tensor([1.0, 0.3], dtype=torch.float64)
    expect_close(answer.rescale_zero_terminal_snr(one), torch.tensor([1.0, 0.0], dtype=torch.float64), dtype=False)
    phi, abar = random_angles(rng, 40)
    phi, abar = phi[:20], abar[:20]
    want = ((phi[-1].cos() - phi.cos()) / (phi[-1].cos() - 1)) ** 2
    expect_close(answer.rescale_zero_terminal_snr(abar), want, rtol=1e-4, atol=1e-6, dtype=False)
    hint = "a schedule that ends in 0 stays as it is"
    expect_close(answer.rescale_zero_terminal_snr(want), want, rtol=1e-4, atol=1e-6, dtype=False, hint=hint)


@lab.check("rescale_zero_terminal_snr")
def keeps_float32_and_float64(answer, rng):
    """float32 in, float32 out; float64 in, float64 out."""
    phi, abar = random_angles(rng, 12)
    want = ((phi.cos() - phi[-1].cos()) / (1 - phi[-1].cos())) ** 2
    expect_close(answer.rescale_zero_terminal_snr(abar), want, rtol=1e-6, atol=1e-9)
    expect_close(answer.rescale_zero_terminal_snr(abar.float()), want.float(), rtol=1e-4, atol=1e-6)


@lab.check("rescale_zero_terminal_snr")
def does_not_change_abar(answer, rng):
    """A new tensor is returned; the schedule that was given is the same as before."""
    _, abar = random_angles(rng, 15)
    seen = answer.observe("rescale_zero_terminal_snr", abar)
    expect_type(seen.value, torch.Tensor)
    expect(seen.value.shape == abar.shape and seen.value[-1] < abar[-1], "the last entry did not fall")
    expect((seen.value.diff() < 0).all(), "the result no longer falls from each level to the next")
    expect_untouched(seen, abar)


@lab.check("rescale_zero_terminal_snr")
def can_be_differentiated(answer, rng):
    """Gradients reach abar, the last entry included."""
    phi, abar = random_angles(rng, 9)
    root, end, weight = phi.cos(), phi[-1].cos(), normal(rng, 10)
    weight[0] = 0  # entry 0 is 1 whatever abar is
    u = (root - end) / (1 - end)
    want = weight * u / (root * (1 - end))
    want[-1] += (weight * u * (root - 1) / (end * (1 - end) ** 2)).sum()
    seen = answer.gradient("rescale_zero_terminal_snr", abar, wrt=[0], cotangent=weight)
    expect_gradient(seen, 0, want, "abar", part=slice(1, None))
