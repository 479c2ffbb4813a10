"""The hidden checks of lab 3: other shapes, dtypes, extreme levels, gradients, arguments left alone."""

from __future__ import annotations

import torch

from labcheck import Battery, expect, expect_close, expect_type
from noise2data.checks.arguments import integer, normal, number, on_batch_axis, uniform
from noise2data.checks.expectations import (
    expect_gradient,
    expect_loss,
    expect_near,
    expect_parameter_gradient,
    expect_rows,
    expect_scalar,
    expect_untouched,
    with_rows,
)
from noise2data.checks.hints import advice, differs_little, is_right
from noise2data.checks.lab03_scores import (
    ROWS,
    Mixture,
    columns,
    explained_errors,
    gaussian_posterior_mean,
    level,
)

lab = Battery("lab03_scores", hidden=True)

ONE = torch.ones((), dtype=torch.float64)
COLUMN = "give alpha and sigma the shape (B, 1, ..., 1)"


# ---- score_from_eps


@lab.check("score_from_eps")
def puts_sigma_on_the_batch_axis(answer, rng):
    """A (B,) tensor sigma belongs to the batch, also when B equals another axis, and for images."""
    B = integer(rng, 3, 6)
    for shape in ((B, B), (B, B, B, B), (B, 1, 2, B)):
        score, sigma = normal(rng, *shape), uniform(rng, 0.2, 3.0, B)
        eps = -on_batch_axis(sigma, score) * score
        what, hint = (
            f"the result for eps of shape {shape} and sigma of shape ({B},)",
            "give sigma the shape (B, 1, ...)",
        )
        expect_rows(answer.score_from_eps, (eps, sigma), 1, score, what=what, hint=hint)


@lab.check("score_from_eps")
def divides_by_small_sigmas(answer, rng):
    """A 0-d sigma, however small, is used as it is: nothing is added to it, and it is not clamped."""
    target = normal(rng, 4, 3)
    usual = is_right(lambda: answer.score_from_eps(-target, 1.0), target)
    for power in (-9, -5, -2):
        score, sigma = normal(rng, 4, 3), 10.0**power * uniform(rng, 1.0, 9.0)
        got = answer.score_from_eps(-sigma * score, sigma)
        hint = advice("sigma needs no guard here", usual)
        expect_near(got, score, what=f"the result at sigma = {sigma.item():.2g}", hint=hint)


@lab.check("score_from_eps")
def lets_gradients_through_eps_and_sigma(answer, rng):
    """The score is differentiable in eps and sigma."""
    eps, sigma, weight = normal(rng, 4, 3), uniform(rng, 0.3, 2.0, 4), normal(rng, 4, 3)
    seen = answer.gradient("score_from_eps", eps, sigma, wrt=[0, 1], cotangent=weight)
    expect_gradient(seen, 0, -weight / sigma[:, None], "eps")
    expect_gradient(seen, 1, (weight * eps).sum(1) / sigma**2, "sigma")


@lab.check("score_from_eps")
def leaves_eps_and_sigma_alone(answer, rng):
    """No argument is changed, and nothing is drawn."""
    score, sigma = normal(rng, 4, 3), uniform(rng, 0.3, 2.0, 4)
    eps = -sigma[:, None] * score
    seen = with_rows(answer.observe, "score_from_eps", eps, sigma)
    expect_near(seen.value, score)
    expect_untouched(seen, eps, sigma)


# ---- sliced_score_loss


@lab.check("sliced_score_loss")
def sums_over_all_features_of_images(answer, rng):
    """For images the products v·(...) sum over channels and pixels, and the mean is over the batch alone."""
    shape = (4, 2, 3, 3)
    A, b, x, v = normal(rng, 3, 3), normal(rng, 3), normal(rng, *shape), normal(rng, *shape)
    with explained_errors():
        got = answer.sliced_score_loss(answer.fixture("affine_score", A=A, b=b), x, v)
    curvature = torch.einsum("bchi,ij,bchj->b", v, A, v)
    along = torch.einsum("bchi,bchi->b", v, torch.einsum("ij,bchj->bchi", A, x) + b)
    hint = f"x is {shape} here: sum over all axes but the first"
    points = is_right(
        lambda: answer.sliced_score_loss(answer.fixture("affine_score", A=A, b=b), x[0, 0], v[0, 0]),
        (torch.einsum("hi,ij,hj->h", v[0, 0], A, v[0, 0]) + (v[0, 0] * (x[0, 0] @ A.T + b)).sum(1) ** 2 / 2).mean(),
    )
    want = (curvature + along**2 / 2).mean()
    expect_loss(got, want, hint=advice(hint, points))


@lab.check("sliced_score_loss")
def is_the_mean_over_the_batch(answer, rng):
    """The loss of a batch is the mean of the losses of its samples, whatever its size."""
    W, V = normal(rng, 5, 3), normal(rng, 3, 5)
    x, v = normal(rng, 7, 3), normal(rng, 7, 3)
    jacobian = torch.einsum("im,bm,mj->bij", V, torch.cos(x @ W.T), W)
    by_sample = torch.einsum("bi,bij,bj->b", v, jacobian, v) + (v * (torch.sin(x @ W.T) @ V.T)).sum(1) ** 2 / 2
    for n in (1, 3, 7):
        with explained_errors():
            got = answer.sliced_score_loss(answer.fixture("sine_score", W=W, V=V), x[:n], v[:n])
        expect_loss(got, by_sample[:n].mean(), what=f"the loss of {n} samples")


@lab.check("sliced_score_loss", points=2)
def trains_a_curved_network_through_both_terms(answer, rng):
    """For s(x) = V sin(W x) the gradients with respect to W and V hold second derivatives."""
    W, V, x, v = normal(rng, 4, 3), normal(rng, 3, 4), normal(rng, 5, 3), normal(rng, 5, 3)
    net = answer.fixture("sine_score", W=W, V=V)
    with explained_errors():
        seen = answer.gradient("sliced_score_loss", net, x, v, wrt=[], cotangent=ONE, parameters=net)
    expect_scalar(seen.value)
    # v·J v = sum_m cos(w_m·x) (w_m·v) (v·V_m), and v·s = sum_m sin(w_m·x) (v·V_m)
    angle, p, q = x @ W.T, v @ W.T, v @ V
    along = (angle.sin() * q).sum(1, keepdim=True)
    want_V = torch.einsum("bi,bm->im", v, angle.cos() * p + along * angle.sin()) / 5
    want_W = torch.einsum("bm,bj->mj", q * angle.cos(), v)
    want_W = (want_W + torch.einsum("bm,bj->mj", q * (along * angle.cos() - angle.sin() * p), x)) / 5
    hint = "differentiate v·s with create_graph=True, and keep both terms in the graph"
    expect_parameter_gradient(seen, "V", want_V, hint)
    expect_parameter_gradient(seen, "W", want_W, hint)


@lab.check("sliced_score_loss")
def can_be_differentiated_in_x_and_probe(answer, rng):
    """Where x and probe require gradients, these arrive."""
    a, b, x, v = normal(rng, 3), normal(rng, 3), normal(rng, 5, 3), normal(rng, 5, 3)
    net = answer.fixture("cubic_score", a=a, b=b)
    with explained_errors():
        seen = answer.gradient("sliced_score_loss", net, x, v, wrt=[1, 2], cotangent=ONE)
    expect_scalar(seen.value)
    score, slope = a * x + b * x**3, a + 3 * b * x**2
    along = (v * score).sum(1, keepdim=True)
    expect_gradient(seen, 0, (6 * b * x * v**2 + along * v * slope) / 5, "x")
    expect_gradient(seen, 1, (2 * v * slope + along * score) / 5, "probe")


@lab.check("sliced_score_loss")
def leaves_x_and_probe_alone(answer, rng):
    """x, probe and their requires_grad stay as they are, and the probe is the one that was given."""
    A, b, x, v = normal(rng, 3, 3), normal(rng, 3), normal(rng, 5, 3), normal(rng, 5, 3)
    net = answer.fixture("affine_score", A=A, b=b)
    with explained_errors():
        seen = answer.observe("sliced_score_loss", net, x, v)
    want = torch.stack([vi @ A @ vi + (vi @ (A @ xi + b)) ** 2 / 2 for xi, vi in zip(x, v, strict=True)]).mean()
    expect_loss(seen.value, want)
    expect_untouched(seen, None, x, v)


# ---- dsm_loss


@lab.check("dsm_loss")
def puts_sigma_on_the_batch_axis_of_x0(answer, rng):
    """A (B,) tensor sigma belongs to the batch, also when B equals the width."""
    B = integer(rng, 3, 6)
    A, b, sigma = normal(rng, B, B), normal(rng, B), uniform(rng, 0.2, 2.0, B)
    x0, eps, s = normal(rng, B, B), normal(rng, B, B), sigma[:, None]
    got = with_rows(answer.dsm_loss, answer.fixture("affine_score", A=A, b=b, c=0.4), x0, sigma, eps)
    want = (s * (1 + 0.4 * s) * ((x0 + s * eps) @ A.T + b) + eps).square().mean()
    hint = "give sigma the shape (B, 1) in xt, in eps/sigma and in the weight"
    expect_loss(got, want, what=f"the loss for x0 of shape {(B, B)}", hint=hint)


@lab.check("dsm_loss")
def takes_noise_levels_of_images(answer, rng):
    """Images, with a sigma for each sample or a 0-d one: the mean is over pixels and channels, too."""
    for shape in ((3, 3, 3, 3), (5, 1, 2, 5), (4, 2, 3, 2)):
        for sigma in (uniform(rng, 0.2, 2.0, shape[0]), uniform(rng, 0.2, 2.0)):
            x0, eps = normal(rng, *shape), normal(rng, *shape)
            a, b = normal(rng, *shape[1:]), 0.1 * normal(rng, *shape[1:])
            s = on_batch_axis(sigma, x0)
            got = with_rows(answer.dsm_loss, answer.fixture("cubic_score", a=a, b=b, c=0.4), x0, sigma, eps)
            xt = x0 + s * eps
            want = (s * (1 + 0.4 * s) * (a * xt + b * xt**3) + eps).square().mean()
            what = f"the loss for x0 of shape {shape} and sigma of shape {tuple(sigma.shape)}"
            expect_loss(got, want, what=what, hint="give sigma the shape (B, 1, ..., 1)")


@lab.check("dsm_loss")
def trains_the_network(answer, rng):
    """Gradients reach the network's parameters, each sample with its own weight."""
    A, b, sigma = normal(rng, 3, 3), normal(rng, 3), uniform(rng, 0.2, 2.0, 5)
    x0, eps, s = normal(rng, 5, 3), normal(rng, 5, 3), sigma[:, None]
    net = answer.fixture("affine_score", A=A, b=b, c=0.4)
    seen = answer.gradient("dsm_loss", net, x0, sigma, eps, wrt=[], cotangent=ONE, parameters=net)
    expect_scalar(seen.value)
    gain, xt = s * (1 + 0.4 * s), x0 + s * eps
    slope = 2 / 15 * gain * (gain * (xt @ A.T + b) + eps)
    expect_parameter_gradient(seen, "A", slope.T @ xt)
    expect_parameter_gradient(seen, "b", slope.sum(0))


@lab.check("dsm_loss")
def can_be_differentiated_in_all_tensors(answer, rng):
    """Gradients reach x0, eps and sigma, through the network's input as well."""
    A, b, x0, eps = normal(rng, 3, 3), normal(rng, 3), normal(rng, 5, 3), normal(rng, 5, 3)
    sigma = uniform(rng, 0.3, 1.5)
    net = answer.fixture("affine_score", A=A, b=b)
    seen = answer.gradient("dsm_loss", net, x0, sigma, eps, wrt=[1, 2, 3], cotangent=ONE)
    score = (x0 + sigma * eps) @ A.T + b
    slope = 2 / 15 * (sigma * score + eps)
    expect_gradient(seen, 0, sigma * slope @ A, "x0")
    expect_gradient(seen, 1, (slope * (score + sigma * eps @ A.T)).sum(), "sigma", part=...)
    expect_gradient(seen, 2, slope + sigma**2 * slope @ A, "eps")


@lab.check("dsm_loss")
def leaves_data_and_noise_alone(answer, rng):
    """No argument is changed, and the noise is the one that was given."""
    A, b, sigma = normal(rng, 3, 3), normal(rng, 3), uniform(rng, 0.2, 2.0, 5)
    x0, eps, s = normal(rng, 5, 3), normal(rng, 5, 3), sigma[:, None]
    net = answer.fixture("affine_score", A=A, b=b)
    seen = with_rows(answer.observe, "dsm_loss", net, x0, sigma, eps)
    want = (s * ((x0 + s * eps) @ A.T + b) + eps).square().mean()
    expect_loss(seen.value, want)
    expect_untouched(seen, None, x0, sigma, eps)


# ---- tweedie_denoise


@lab.check("tweedie_denoise")
def puts_levels_on_the_batch_axis(answer, rng):
    """(B,) tensors belong to the batch, also when B equals the width; one of them may be a number."""
    B = integer(rng, 3, 6)
    y, xt = normal(rng, B, B), normal(rng, B, B)
    (a0, s0), (a, s) = level(rng), level(rng, B)
    for alpha, sigma in ((a, s), (a0.item(), s), (a, s0.item())):
        rows, spread = columns(alpha, sigma)
        score = (rows * y - xt) / spread**2
        got = with_rows(answer.tweedie_denoise, xt, score, alpha, sigma)
        shapes = " and ".join("a number" if isinstance(value, float) else f"({B},)" for value in (alpha, sigma))
        what = f"the result for xt of shape {(B, B)}, alpha and sigma being {shapes},"
        expect_near(got, y, what=what, hint=COLUMN)


@lab.check("tweedie_denoise")
def takes_levels_of_images(answer, rng):
    """Images, and anything else that is (B, ...), with levels for each sample or 0-d."""
    for shape in ((3, 3, 3, 3), (5, 1, 2, 5), (4, 2, 3, 2, 2)):
        for alpha, sigma in (level(rng, shape[0]), level(rng)):
            y, xt = normal(rng, *shape), normal(rng, *shape)
            a, s = on_batch_axis(alpha, xt), on_batch_axis(sigma, xt)
            got = with_rows(answer.tweedie_denoise, xt, (a * y - xt) / s**2, alpha, sigma)
            what = f"the result for xt of shape {shape} and alpha, sigma of shape {tuple(alpha.shape)}"
            expect_near(got, y, what=what, hint=COLUMN)


@lab.check("tweedie_denoise")
def lets_gradients_through(answer, rng):
    """The result is differentiable in xt, score, alpha and sigma."""
    alpha, sigma = level(rng, 4)
    xt, score, weight = normal(rng, 4, 3), normal(rng, 4, 3), normal(rng, 4, 3)
    seen = answer.gradient("tweedie_denoise", xt, score, alpha, sigma, wrt=[0, 1, 2, 3], cotangent=weight)
    a, s = alpha[:, None], sigma[:, None]
    expect_gradient(seen, 0, weight / a, "xt")
    expect_gradient(seen, 1, weight * s**2 / a, "score")
    expect_gradient(seen, 2, -(weight * (xt + s**2 * score)).sum(1) / alpha**2, "alpha")
    expect_gradient(seen, 3, 2 * sigma / alpha * (weight * score).sum(1), "sigma")


@lab.check("tweedie_denoise")
def leaves_its_arguments_alone(answer, rng):
    """No argument is changed, and nothing is drawn."""
    alpha, sigma = level(rng, 4)
    y, xt = normal(rng, 4, 3), normal(rng, 4, 3)
    score = (alpha[:, None] * y - xt) / sigma[:, None] ** 2
    seen = with_rows(answer.observe, "tweedie_denoise", xt, score, alpha, sigma)
    expect_near(seen.value, y)
    expect_untouched(seen, xt, score, alpha, sigma)


# ---- gaussian_denoiser


@lab.check("gaussian_denoiser")
def keeps_levels_and_mean_apart(answer, rng):
    """With B = d, alpha and sigma belong to the rows while a (d,) mean belongs to the columns."""
    B = integer(rng, 3, 6)
    alpha, sigma = level(rng, B)
    xt, mean, var = normal(rng, B, B), normal(rng, B), number(rng, 0.2, 2.0)
    want = gaussian_posterior_mean(xt, alpha[:, None], sigma[:, None], mean, var)
    got = with_rows(answer.gaussian_denoiser, xt, alpha, sigma, mean, var)
    expect_near(got, want, what=f"the result for xt of shape {(B, B)}", hint=COLUMN)


@lab.check("gaussian_denoiser")
def takes_levels_of_pictures(answer, rng):
    """Images with levels for each sample or 0-d, a mean picture, and var as a 0-d tensor."""
    for shape in ((3, 3, 3, 3), (5, 1, 2, 5), (4, 2, 3, 2, 2)):
        for alpha, sigma in (level(rng, shape[0]), level(rng)):
            xt, mean, var = normal(rng, *shape), normal(rng, *shape[1:]), uniform(rng, 0.2, 2.0)
            a, s = on_batch_axis(alpha, xt), on_batch_axis(sigma, xt)
            got = with_rows(answer.gaussian_denoiser, xt, alpha, sigma, mean, var)
            what = f"the result for xt of shape {shape} and alpha, sigma of shape {tuple(alpha.shape)}"
            want = gaussian_posterior_mean(xt, a, s, mean, var)
            expect_near(got, want, what=what, hint=COLUMN)


@lab.check("gaussian_denoiser")
def can_be_fitted(answer, rng):
    """The result is differentiable in xt, mean and var: a model could learn its prior."""
    alpha, sigma = (value.item() for value in level(rng))
    xt, mean, var, weight = normal(rng, 4, 3), normal(rng, 3), uniform(rng, 0.3, 2.0), normal(rng, 4, 3)
    seen = answer.gradient("gaussian_denoiser", xt, alpha, sigma, mean, var, wrt=[0, 3, 4], cotangent=weight)
    c = alpha**2 * var + sigma**2
    expect_gradient(seen, 0, weight * alpha * var / c, "xt")
    expect_gradient(seen, 1, weight.sum(0) * sigma**2 / c, "mean")
    expect_gradient(seen, 2, alpha * sigma**2 / c**2 * (weight * (xt - alpha * mean)).sum(), "var", part=...)


@lab.check("gaussian_denoiser")
def leaves_all_arguments_alone(answer, rng):
    """No argument is changed, and nothing is drawn."""
    alpha, sigma = level(rng, 4)
    xt, mean, var = normal(rng, 4, 3), normal(rng, 3), uniform(rng, 0.3, 2.0)
    seen = with_rows(answer.observe, "gaussian_denoiser", xt, alpha, sigma, mean, var)
    want = gaussian_posterior_mean(xt, alpha[:, None], sigma[:, None], mean, var)
    expect_near(seen.value, want)
    expect_untouched(seen, xt, alpha, sigma, mean, var)


# ---- gmm_denoiser


@lab.check("gmm_denoiser")
def keeps_samples_components_and_features_apart(answer, rng):
    """With B = K = d no axis is taken for another; one of alpha and sigma may be a number."""
    n = integer(rng, 3, 5)
    mix, (a0, s0), (a, s) = Mixture(rng, n, n), level(rng), level(rng, n)
    for alpha, sigma in ((a, s), (a0.item(), s), (a, s0.item())):
        xt = mix.around(rng, alpha, n)
        want = mix.posterior_mean(xt, alpha, sigma)
        got = with_rows(answer.gmm_denoiser, xt, alpha, sigma, mix.means, mix.std, mix.weights)
        shapes = " and ".join("a number" if isinstance(value, float) else f"({n},)" for value in (alpha, sigma))
        what = f"the result for B = K = d = {n}, alpha and sigma being {shapes},"
        expect_near(got, want, what=what, hint=ROWS)


@lab.check("gmm_denoiser")
def weighs_equally_near_components_by_their_weights(answer, rng):
    """Half-way between two means the responsibilities are the weights, whatever the noise."""
    m, w = normal(rng, 3), number(rng, 0.1, 0.4)
    means, weights = torch.stack([m, -m]), torch.tensor([w, 1 - w], dtype=torch.float64)
    std = number(rng, 0.3, 1.0)
    for sigma in (0.5, 3.0):
        alpha = number(rng, 0.3, 0.9)
        got = answer.gmm_denoiser(torch.zeros(1, 3).double(), alpha, sigma, means, std, weights)
        want = (2 * w - 1) * m * sigma**2 / (alpha**2 * std**2 + sigma**2)
        hint = "the responsibilities are proportional to weights[k] times the density"
        expect_near(got, want[None], what=f"the result at sigma = {sigma}", hint=hint)


@lab.check("gmm_denoiser")
def is_right_where_one_component_has_all_the_weight(answer, rng):
    """Where all densities underflow, in float64 and far away in float32, the nearest component still decides."""
    mix, alpha, sigma = Mixture(rng, 4, 2, std=0.01), 0.9, 0.01
    angle = number(rng, 0.0, 1.5) + torch.arange(4) * torch.pi / 2 + uniform(rng, -0.3, 0.3, 4)
    mix.means = uniform(rng, 0.9, 1.1, 4, 1) * torch.stack([angle.cos(), angle.sin()], 1)
    for x, dtype, limit in ((normal(rng, 6, 2), torch.float64, 1e-6), (200 * mix.means, torch.float32, 1e-4)):
        want = mix.posterior_mean(x, alpha, sigma)
        got = answer.gmm_denoiser(x.to(dtype), alpha, sigma, mix.means.to(dtype), mix.std, mix.weights.to(dtype))
        expect_type(got, torch.Tensor)
        where = f"for {str(dtype)[6:]} points whose densities underflow"
        expect(got.isfinite().all(), f"the result is not finite {where}")
        expect(differs_little(got, want, limit), f"the result is wrong {where}: compare logarithms, clamp nothing")


@lab.check("gmm_denoiser")
def takes_zero_dimensional_levels(answer, rng):
    """alpha and sigma may be 0-d tensors; one sample, one feature and many components are fine."""
    for B, K, d in ((1, 6, 2), (5, 40, 1), (2, 2, 7)):
        mix, (alpha, sigma) = Mixture(rng, K, d), level(rng)
        xt = mix.around(rng, alpha, B)
        want = mix.posterior_mean(xt, alpha, sigma)
        got = answer.gmm_denoiser(xt, alpha, sigma, mix.means, mix.std, mix.weights)
        expect_near(got, want, what=f"the result for B, K, d = {B}, {K}, {d}")


@lab.check("gmm_denoiser")
def has_the_posterior_variance_as_its_slope(answer, rng):
    """Gradients reach xt, means and weights."""
    mix, (alpha, sigma) = Mixture(rng, 3, 2), level(rng)
    xt, weight = mix.around(rng, alpha, 4), normal(rng, 4, 2)
    alpha, sigma = alpha.item(), sigma.item()
    args = (xt, alpha, sigma, mix.means, mix.std, mix.weights)
    seen = answer.gradient("gmm_denoiser", *args, wrt=[0, 3, 5], cotangent=weight)
    expect_type(seen.value, torch.Tensor)
    inputs = [value.detach().requires_grad_() for value in (xt, mix.means, mix.weights)]
    mix.means, mix.weights = inputs[1:]
    want = torch.autograd.grad((mix.posterior_mean(inputs[0], alpha, sigma) * weight).sum(), inputs)
    expect_gradient(seen, 0, want[0], "xt")
    expect_gradient(seen, 1, want[1], "means")
    # Whether weights are normalised again on the way is free: compare the part along sum(weights) = 1.
    grad = None if seen.grads[2] is None else seen.grads[2] - (seen.grads[2] * mix.weights.detach()).sum()
    expect(grad is not None, "no gradient flows from the result to weights")
    expect_close(grad, want[2] - (want[2] * mix.weights.detach()).sum(), rtol=1e-4, atol=1e-6, dtype=False)


@lab.check("gmm_denoiser")
def leaves_the_mixture_alone(answer, rng):
    """No argument is changed, and nothing is drawn."""
    mix, (alpha, sigma) = Mixture(rng, 3, 2), level(rng, 5)
    xt = mix.around(rng, alpha, 5)
    args = (xt, alpha, sigma, mix.means, mix.std, mix.weights)
    seen = with_rows(answer.observe, "gmm_denoiser", *args)
    expect_near(seen.value, mix.posterior_mean(xt, alpha, sigma))
    expect_untouched(seen, *args)
