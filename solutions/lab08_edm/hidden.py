"""The hidden checks of lab 8: other shapes, dtypes, ends, precision, gradients, arguments left alone."""

from __future__ import annotations

import torch

from labcheck import Battery, expect_close, expect_type
from noise2data import odes
from noise2data.checks.arguments import integer, normal, number, uniform
from noise2data.checks.expectations import expect_gradient, expect_untouched
from noise2data.checks.hints import differs_little
from noise2data.checks.lab08_edm import (
    NAMES,
    NET,
    coefficients,
    euler_step,
    exact_loss,
    expect_end,
    expect_levels,
    expect_rows_of_levels,
    falling_levels,
    four,
    gaussian,
    heun_run,
    log_line,
    rotation,
    two_m_run,
)

lab = Battery("lab08_edm", hidden=True)

SHAPES = ((4, 4), (3, 3, 3, 3), (5, 1, 2, 5), (4, 2, 3, 2, 2))
KEEP = "the result has the dtype of x; cast the factors that come from sigmas, which is float64"


# ---- karras_sigmas


@lab.check("karras_sigmas")
def takes_a_single_level(answer, rng):
    """n = 1 is [sigma_max, 0]."""
    low, high = number(rng, 0.001, 0.01), number(rng, 20.0, 100.0)
    got, want = answer.karras_sigmas(1, low, high), torch.tensor([high, 0.0], dtype=torch.float64)
    hint = "n = 1 is [sigma_max, 0]; i/(n - 1) is 0/0 there"
    expect_close(got, want, rtol=1e-9, dtype=False, what="the result for n = 1", hint=hint)


@lab.check("karras_sigmas")
def takes_few_levels_and_many(answer, rng):
    """There may be two, three and a thousand."""
    low, high = number(rng, 0.001, 0.01), number(rng, 20.0, 100.0)
    for n in (2, 3, 1000):
        expect_levels(answer, n, low, high)


@lab.check("karras_sigmas")
def is_even_in_sigma_at_rho_1(answer, rng):
    """rho = 1 spaces them evenly in sigma; 0.5, one that is not whole and a large one are right, too."""
    n, low, high = integer(rng, 4, 12), number(rng, 0.01, 0.1), number(rng, 2.0, 10.0)
    for rho in (1.0, 1, 0.5, 0.7, 2.5, 60.0):
        expect_levels(answer, n, low, high, rho)


@lab.check("karras_sigmas")
def is_exact_to_float64(answer, rng):
    """The levels have the precision of float64, not only its name, and sigma_max and sigma_min may be close."""
    n, low = integer(rng, 5, 9), number(rng, 0.5, 1.0)
    # So close together, the levels are even in any power of sigma, up to 1e-12.
    want = torch.cat([torch.linspace(low + 1e-6, low, n, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)])
    hint = "computed in float32? torch.linspace and the like need dtype=torch.float64"
    what = "the result for two close ends"
    expect_close(answer.karras_sigmas(n, low, low + 1e-6), want, rtol=0.0, atol=1e-10, what=what, hint=hint)


# ---- edm_precondition


def expect_four(answer, sigma, sigma_data, given, hint="", dtype=None, rtol=1e-6, atol=0.0):
    """Fail unless all four coefficients are right; the dtype is looked at where one is named."""
    got, want = four(answer.edm_precondition(sigma, sigma_data)), coefficients(sigma, sigma_data)
    for value, wanted, name in zip(got, want, NAMES, strict=True):
        wanted, what = wanted.to(dtype or torch.float64), f"{name} for {given}"
        expect_close(value, wanted, rtol=rtol, atol=atol, dtype=dtype is not None, what=what, hint=hint)


@lab.check("edm_precondition")
def keeps_the_dtype_of_sigma(answer, rng):
    """float32 levels give float32 coefficients, and float64 levels float64 ones of that precision."""
    sigma, sigma_data = uniform(rng, 0.1, 5.0, 5), number(rng, 0.3, 2.0)
    expect_four(answer, sigma.float(), sigma_data, "float32 levels", "", torch.float32, 1e-5, 1e-6)
    expect_four(answer, sigma, sigma_data, "float64 levels", "", torch.float64, 1e-11, 1e-12)


@lab.check("edm_precondition")
def takes_numbers_and_single_levels(answer, rng):
    """A Python number and a 0-d tensor give the coefficients of that level."""
    value, sigma_data = number(rng, 0.2, 5.0), number(rng, 0.3, 2.0)
    expect_four(answer, value, sigma_data, "a number", rtol=1e-5, atol=1e-6)
    expect_four(answer, torch.tensor(value, dtype=torch.float64), sigma_data, "a 0-d tensor")


@lab.check("edm_precondition")
def holds_at_extreme_levels(answer, rng):
    """From 1e-5 to 1e4 every coefficient is right to six digits, in float64: nothing is clipped or added."""
    sigma = torch.tensor([1e-5, 1e-3, 1e3, 1e4], dtype=torch.float64) * number(rng, 0.5, 2.0)
    hint = "no clamp, and no small number added to a denominator or under the logarithm"
    expect_four(answer, sigma, number(rng, 0.3, 2.0), "extreme levels", hint)


@lab.check("edm_precondition")
def is_differentiable_and_leaves_sigma_alone(answer, rng):
    """Gradients of all four reach sigma, and sigma is not changed."""
    sigma, sigma_data = uniform(rng, 0.2, 3.0, 4), number(rng, 0.3, 2.0)
    cotangents = [normal(rng, 4) for _ in range(4)]
    seen = answer.gradient("edm_precondition", sigma, sigma_data, wrt=[0], cotangent=cotangents)
    phi = rotation(sigma, sigma_data)
    turn = phi.cos() ** 2 / sigma_data  # dphi/dsigma
    slopes = (
        -2 * phi.cos() * phi.sin() * turn,
        sigma_data * phi.cos() * turn,
        -phi.sin() / sigma_data * turn,
        1 / (4 * sigma),
    )
    want = sum(cotangent * slope for cotangent, slope in zip(cotangents, slopes, strict=True))
    expect_gradient(seen, 0, want, "sigma")
    expect_untouched(answer.observe("edm_precondition", sigma, sigma_data), sigma, None)


# ---- edm_loss


@lab.check("edm_loss")
def puts_levels_on_the_batch_axis(answer, rng):
    """A (B,) sigma belongs to the batch, of points and of images, also when B equals another axis."""
    for shape in SHAPES:
        expect_rows_of_levels(answer, rng, shape)


@lab.check("edm_loss")
def takes_one_level_for_all(answer, rng):
    """sigma may be a number or a 0-d tensor; the network still hears of it as (B,)."""
    x0, eps, value, d = normal(rng, 3, 1, 4, 2), normal(rng, 3, 1, 4, 2), number(rng, 0.3, 3.0), number(rng, 0.4, 2.0)
    want = exact_loss(value, d, x0, eps, **NET)
    for sigma, given in ((value, "a number"), (torch.tensor(value, dtype=torch.float64), "a 0-d tensor")):
        got = answer.edm_loss(answer.fixture("conditioned_net", **NET, strict=True), x0, sigma, eps, d)
        expect_close(got, want, rtol=1e-4, dtype=False, what=f"the loss where sigma is {given}")


@lab.check("edm_loss")
def keeps_float32(answer, rng):
    """float32 data give a float32 loss, and the network sees float32, also for float64 levels."""
    x0, eps, sigma, d = normal(rng, 4, 3), normal(rng, 4, 3), uniform(rng, 0.2, 4.0, 4), number(rng, 0.4, 2.0)
    want = exact_loss(sigma, d, x0, eps, **NET).float()
    for levels in (sigma.float(), sigma):
        net = answer.fixture("conditioned_net", **NET, strict=True)
        got = answer.edm_loss(net, x0.float(), levels, eps.float(), d)
        what = f"the loss for float32 data and {str(levels.dtype)[6:]} levels"
        hint = "cast the coefficients to x0's dtype" if differs_little(got, want) else ""
        expect_close(got, want, rtol=1e-4, what=what, hint=hint)


@lab.check("edm_loss")
def counts_every_level_alike(answer, rng):
    """At every level a network that returns 0 has a loss of about 1 on data of standard deviation sigma_data."""
    d = number(rng, 0.3, 3.0)
    for sigma in (0.01, 0.5, 80.0):
        x0, eps = d * normal(rng, 2000, 3), normal(rng, 2000, 3)
        levels = torch.full((2000,), sigma, dtype=torch.float64)
        got = answer.edm_loss(answer.fixture("conditioned_net", a=0.0), x0, levels, eps, d)
        # The wanted value is exact; that it is about 1 is what the weight is for.
        what, hint = f"the loss at sigma = {sigma}", "neither a level nor a weight is clipped"
        expect_close(got, exact_loss(levels, d, x0, eps), rtol=1e-5, dtype=False, what=what, hint=hint)


@lab.check("edm_loss")
def is_differentiable_in_the_data(answer, rng):
    """Gradients reach x0 and eps."""
    x0, eps, sigma, d = normal(rng, 4, 3), normal(rng, 4, 3), uniform(rng, 0.3, 3.0, 4), number(rng, 0.4, 2.0)
    net, one = answer.fixture("conditioned_net", **NET), torch.ones((), dtype=torch.float64)
    seen = answer.gradient("edm_loss", net, x0, sigma, eps, d, wrt=[1, 3], cotangent=one)
    leaves = [tensor.clone().requires_grad_() for tensor in (x0, eps)]
    want = torch.autograd.grad(exact_loss(sigma, d, *leaves, **NET), leaves)
    for index, name in enumerate(("x0", "eps")):
        expect_gradient(seen, index, want[index], name)


@lab.check("edm_loss")
def leaves_its_arguments_alone(answer, rng):
    """No argument is changed, and nothing is drawn."""
    x0, eps, sigma, d = normal(rng, 4, 3), normal(rng, 4, 3), uniform(rng, 0.3, 3.0, 4), number(rng, 0.4, 2.0)
    seen = answer.observe("edm_loss", answer.fixture("conditioned_net", **NET), x0, sigma, eps, d)
    expect_close(seen.value, exact_loss(sigma, d, x0, eps, **NET), rtol=1e-6, dtype=False)
    expect_untouched(seen, None, x0, sigma, eps, None)


# ---- heun_sample, dpmpp_2m_sample


def expect_images(answer, rng, sampler, run):
    """Fail unless float32 images come out as float32 images, and shapes of any kind as they went in."""
    for shape in SHAPES:
        x, sigmas = normal(rng, *shape), falling_levels(rng, 4, 0.2)
        denoise, says = log_line(answer, rng, *shape[1:])
        for dtype, tolerance in ((torch.float64, 1e-5), (torch.float32, 1e-4)):
            got, want = sampler(denoise, x.to(dtype), sigmas), run(x, sigmas, says).to(dtype)
            hint = KEEP if differs_little(got, want) else ""
            what = f"the end for x of shape {shape} in {str(dtype)[6:]}"
            expect_close(got, want, rtol=tolerance, atol=tolerance, what=what, hint=hint)


def expect_bare(answer, rng, name, run):
    """Fail if a sampler changes an argument, draws random numbers, clips, or keeps something from run to run."""
    x, sigmas, (denoise, says) = 40 * normal(rng, 4, 3), falling_levels(rng, 4, 0.2), gaussian(answer, rng, 30.0)
    seen = answer.observe(name, denoise, x, sigmas)
    expect_untouched(seen, None, x, sigmas)
    expect_type(seen.value, torch.Tensor)
    again = answer.observe(name, denoise, x, sigmas).value
    expect_close(again, seen.value, rtol=1e-12, what="a second run with the same arguments", hint="a run has no past")
    what = "the end for data around 30"
    expect_close(seen.value, run(x, sigmas, says), rtol=1e-5, dtype=False, what=what, hint="nothing is clipped")


def two_points(answer, rng):
    """The denoiser of data a and -a, which is not linear in x."""
    a = number(rng, 0.6, 1.2)
    return answer.fixture("two_sided_denoiser", a=a), lambda x, sigma: a * torch.tanh(a * x / sigma**2)


@lab.check("heun_sample")
def follows_the_flow_of_two_points(answer, rng):
    """With a denoiser that is not linear in x, on an uneven grid, to 0."""
    x, sigmas, (denoise, says) = 4 * normal(rng, 6, 2), falling_levels(rng, 6), two_points(answer, rng)
    # By noise2data.odes, which knows nothing of denoisers; the step to 0 ends at the denoiser's answer.
    before = odes.integrate(lambda y, s: (y - says(y, s)) / s, x, sigmas[:-1], odes.heun_step)[-1]
    expect_end(answer.heun_sample, denoise, x, sigmas, says(before, sigmas[-2]))


@lab.check("heun_sample")
def corrects_the_last_step_too(answer, rng):
    """A last step that does not go to 0 is a step like the others."""
    for n in (1, 2, 3):
        x, sigmas = 4 * normal(rng, 5, 3), falling_levels(rng, n, number(rng, 0.05, 0.2))
        denoise, says = gaussian(answer, rng, number(rng, -1.0, 1.0))
        before = heun_run(x, sigmas[:-1], says)
        wrong = {"only a step to 0 is Euler's": euler_step(before, says(before, sigmas[-2]), sigmas)}
        expect_end(answer.heun_sample, denoise, x, sigmas, heun_run(x, sigmas, says), wrong=wrong)


@lab.check("heun_sample")
def samples_images_in_their_dtype(answer, rng):
    """Images of any shape; float32 in, float32 out, although sigmas is float64."""
    expect_images(answer, rng, answer.heun_sample, heun_run)


@lab.check("heun_sample")
def is_deterministic_and_clips_nothing(answer, rng):
    """No churn and no draws; data far outside [-1, 1] stay there; x and sigmas are as before."""
    expect_bare(answer, rng, "heun_sample", heun_run)


@lab.check("dpmpp_2m_sample")
def extends_the_last_step_too(answer, rng):
    """A last step that does not go to 0 uses the past like the others, also the second of two."""
    for n in (2, 3):
        x, sigmas = normal(rng, 5, 3), falling_levels(rng, n, number(rng, 0.05, 0.2))
        denoise, says = log_line(answer, rng, 3)
        before = two_m_run(x, sigmas[:-1], says)
        end = euler_step(before, says(before, sigmas[-2]), sigmas)
        wrong = {"only the first step and a step to 0 are of order 1": end}
        expect_end(answer.dpmpp_2m_sample, denoise, x, sigmas, two_m_run(x, sigmas, says), wrong=wrong)


@lab.check("dpmpp_2m_sample")
def follows_a_denoiser_that_looks_at_x(answer, rng):
    """On an uneven grid with a denoiser that is not linear in x, to 0."""
    x, sigmas, (denoise, says) = 4 * normal(rng, 6, 2), falling_levels(rng, 6), two_points(answer, rng)
    expect_end(answer.dpmpp_2m_sample, denoise, x, sigmas, two_m_run(x, sigmas, says))


@lab.check("dpmpp_2m_sample")
def samples_images_in_the_dtype_of_x(answer, rng):
    """Images of any shape; float32 in, float32 out, although sigmas is float64."""
    expect_images(answer, rng, answer.dpmpp_2m_sample, two_m_run)


@lab.check("dpmpp_2m_sample")
def has_no_past_and_clips_nothing(answer, rng):
    """Each run starts anew; data far outside [-1, 1] stay there; x and sigmas are as before, and nothing is drawn."""
    expect_bare(answer, rng, "dpmpp_2m_sample", two_m_run)
