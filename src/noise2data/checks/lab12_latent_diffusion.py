"""The visible checks of lab 12, latent diffusion.

Wanted values come by another route than the student's. Gaussians are made from standard deviations, of which the
logarithm is taken, so that KL is a formula in these. Pictures lie at known distances. The autoencoder is affine, the
noised latents are sines and cosines, and a network that is affine in x leads along a line that is computed in x/cos.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from labcheck import Battery, expect, expect_close, expect_type
from labcheck.answer import Answer
from noise2data.checks.arguments import distinct_levels, integer, normal, number
from noise2data.checks.expectations import (
    expect_gradient,
    expect_loss,
    expect_parameter_gradient,
    expect_rows,
    expect_scalar,
)
from noise2data.checks.hints import EARLIER, is_right, recognise
from noise2data.checks.latents import Bound, Guided, Stage2, Vae, expect_noise, kl_of, log_spread, near_level_0

lab = Battery(
    "lab12_latent_diffusion",
    fixtures="noise2data.checks.fixtures",
    forbidden=["noise2data.networks.autoencoder", "noise2data.guidance", "noise2data.samplers"],
)


# ---- reparameterize


@lab.check("reparameterize")
def moves_noise_to_the_gaussian(answer: Answer, rng: torch.Generator) -> None:
    """The noise is stretched by the standard deviation, which logvar tells, and moved to mu."""
    mu, noise, (logvar, s) = normal(rng, 5, 3), normal(rng, 5, 3), log_spread(rng, 5, 3)
    got = answer.reparameterize(mu, logvar, noise)
    mistakes = {
        "the noise has to be multiplied by the standard deviation; exp(logvar) is the variance": mu + s**2 * noise,
        "logvar is the logarithm of a variance, not a standard deviation": mu + 2 * s.log() * noise,
        "this is half of logvar, the logarithm of the standard deviation: take exp": mu + s.log() * noise,
        "this divides by the standard deviation": mu + noise / s,
        "mu is stretched, too; only the noise is": (mu + noise) * s,
        "mu is left out": s * noise,
        "the noise is left out": mu,
    }
    hint = recognise(got, mistakes, "mu + exp(logvar / 2) · noise")
    expect_close(got, torch.addcmul(mu, s, noise), rtol=1e-7, dtype=False, hint=hint)


@lab.check("reparameterize")
def takes_any_variance(answer: Answer, rng: torch.Generator) -> None:
    """Where logvar is -80 the noise counts e^-40 times, where it is 20, e^10 times: nothing is clamped or added."""
    noise = normal(rng, 4, 3)

    def stretched(level: float) -> torch.Tensor:
        z: torch.Tensor = answer.reparameterize(torch.zeros_like(noise), torch.full_like(noise, level), noise)
        return z

    for level in (-80.0, 20.0, 0.0):
        got, want = stretched(level), noise * math.exp(level / 2)
        hint = limit_of(stretched, got, noise, level)
        what = f"with mu = 0 and logvar = {level:g} the draw"
        expect_close(got, want, rtol=1e-9, atol=0.0, dtype=False, what=what, hint=hint)
    mu, logvar = normal(rng, 4, 3), torch.tensor([-80.0, 0.0, 20.0], dtype=torch.float64).expand(4, 3).clone()
    s = torch.tensor([math.exp(-40), 1.0, math.exp(10)], dtype=torch.float64)
    got = answer.reparameterize(mu, logvar, noise)
    what = "for logvar = -80, 0 and 20 side by side the draw"
    expect_close(got, mu + noise * s, rtol=1e-9, atol=1e-12, dtype=False, what=what, hint=EARLIER)


def limit_of(stretched: Callable[[float], torch.Tensor], got: torch.Tensor, noise: torch.Tensor, level: float) -> str:
    """What keeps the noise from being stretched by exp(level / 2), from a call at the level that was stretched to."""
    if not isinstance(got, torch.Tensor) or got.shape != noise.shape or not bool((got.double() / noise > 0).all()):
        return EARLIER
    reached = 2 * (got.double() / noise).median().log().item()
    if abs(reached - level) > 0.01:
        side = "below" if reached > level else "above"
        for factor, sentence in (
            (1.0, f"logvar is clamped from {side}, at {reached:.3g}; take it as it is"),
            (2**0.5, "something is added to the variance"),
            (2.0, "something is added to the standard deviation"),
        ):
            if is_right(lambda: stretched(reached), factor * got):
                return sentence
    return EARLIER


@lab.check("reparameterize")
def lets_gradients_through(answer: Answer, rng: torch.Generator) -> None:
    """Gradients reach mu, logvar and the noise; that is what the trick is for."""
    mu, noise, (logvar, s), cotangent = normal(rng, 4, 3), normal(rng, 4, 3), log_spread(rng, 4, 3), normal(rng, 4, 3)
    seen = answer.gradient("reparameterize", mu, logvar, noise, wrt=[0, 1, 2], cotangent=cotangent)
    expect_gradient(seen, 0, cotangent, "mu")
    expect_gradient(seen, 1, cotangent * noise * s / 2, "logvar")
    expect_gradient(seen, 2, cotangent * s, "noise")


# ---- kl_divergence


@lab.check("kl_divergence")
def measures_known_gaussians(answer: Answer, rng: torch.Generator) -> None:
    """0 nats for N(0, I); half a nat where one mean is 1; (e² - 3)/2 where one variance is e²."""
    mu, logvar = torch.zeros(3, 4, dtype=torch.float64), torch.zeros(3, 4, dtype=torch.float64)
    where = integer(rng, 0, 3)
    mu[1, where], logvar[2, where] = 1.0, 2.0
    want = torch.tensor([0.0, 0.5, (math.exp(2) - 3) / 2], dtype=torch.float64)
    got = answer.kl_divergence(mu, logvar)
    hint = recognise(got, kl_mistakes(mu, (logvar / 2).exp()), "½ Σ (mu² + exp(logvar) - 1 - logvar) in each row")
    expect_close(got, want, rtol=1e-9, atol=1e-12, dtype=False, hint=hint)


def kl_mistakes(mu: torch.Tensor, s: torch.Tensor) -> dict[str, torch.Tensor]:
    """Well-known wrong divergences."""
    each, axes = kl_of(mu, s), tuple(range(1, mu.ndim))
    total = each.sum(axes)
    return {
        "this is the mean over the latent's numbers; the divergence of a sample is their sum": each.mean(axes),
        "this is one number for the whole batch; each sample has its own, shape (B,)": total.mean(),
        "this is the sum over the whole batch; each sample has its own, shape (B,)": total.sum(),
        "the factor ½ is missing": 2 * total,
        "the sign is turned round: a divergence is never negative": -total,
        "this is the divergence of N(0, I) from the Gaussian, the other way round":
            (s.log() + (1 + mu**2) / (2 * s**2) - 0.5).sum(axes),
        "logvar is the logarithm of the variance, not of the standard deviation": kl_of(mu, s**2).sum(axes),
        "these are bits; nats are natural logarithms": total / math.log(2),
        "the sum runs over one axis alone; a sample's latents have several": each.sum(1),
        "mu is not squared": ((mu + s**2 - 1) / 2 - s.log()).sum(axes),
        "the -1 is missing": (each + 0.5).sum(axes),
    }  # fmt: skip


def expect_kl(answer: Answer, rng: torch.Generator, *shape: int) -> None:
    """Fail unless kl_divergence is right for random Gaussians of a shape."""
    mu, (logvar, s) = normal(rng, *shape), log_spread(rng, *shape)
    got, want = answer.kl_divergence(mu, logvar), kl_of(mu, s).flatten(1).sum(1)
    hint = recognise(got, kl_mistakes(mu, s), "½ Σ (mu² + exp(logvar) - 1 - logvar) over all axes but the first")
    expect_close(got, want, rtol=1e-8, dtype=False, what=f"the divergence for shape {shape}", hint=hint)


@lab.check("kl_divergence")
def sums_the_numbers_of_a_vector(answer: Answer, rng: torch.Generator) -> None:
    """For mu of shape (B, d) it sums over the d numbers, and gives one number in nats for each sample."""
    expect_kl(answer, rng, 5, 3)


@lab.check("kl_divergence")
def sums_all_axes_of_a_latent(answer: Answer, rng: torch.Generator) -> None:
    """For latents (B, C, h, w) it sums over channels, rows and columns."""
    expect_kl(answer, rng, 4, 2, 3, 2)


@lab.check("kl_divergence")
def pulls_towards_the_standard_normal(answer: Answer, rng: torch.Generator) -> None:
    """Gradients reach mu and logvar: mu itself, and (variance - 1)/2."""
    mu, (logvar, s), cotangent = normal(rng, 4, 3), log_spread(rng, 4, 3), normal(rng, 4)
    seen = answer.gradient("kl_divergence", mu, logvar, wrt=[0, 1], cotangent=cotangent)
    expect_type(seen.value, torch.Tensor)
    expect(
        seen.value.shape == (4,), f"the result has shape {tuple(seen.value.shape)}; expected (4,), one for each sample"
    )
    expect_gradient(seen, 0, cotangent[:, None] * mu, "mu")
    expect_gradient(seen, 1, cotangent[:, None] * (s**2 - 1) / 2, "logvar")


# ---- vae_loss


@lab.check("vae_loss")
def adds_two_sums(answer: Answer, rng: torch.Generator) -> None:
    """The mean over the batch of the summed squared errors plus beta times KL, a tensor without axes."""
    bound, beta = Bound(rng), number(rng, 0.3, 0.9)
    got, want = answer.vae_loss(*bound.args, beta), (bound.squares + beta * bound.kl).mean()
    hint = recognise(got, bound.mistakes(beta), "the mean over samples of Σ (recon - x)² + beta · KL")
    expect_loss(got, want, hint)


@lab.check("vae_loss")
def has_two_terms_of_its_own(answer: Answer, rng: torch.Generator) -> None:
    """With beta = 0 the squared errors remain; where the reconstruction is perfect, beta times KL."""
    bound, beta = Bound(rng), number(rng, 2.0, 4.0)
    got = answer.vae_loss(*bound.args, 0.0)
    hint = recognise(got, bound.mistakes(0.0), EARLIER)
    expect_loss(got, bound.squares.mean(), hint, "the loss for beta = 0")
    _, x, mu, logvar = bound.args
    got = answer.vae_loss(x, x, mu, logvar, beta)
    mistakes = {
        "beta is not used": bound.kl.mean(),
        "KL is subtracted": -beta * bound.kl.mean(),
        "KL is averaged over a latent's numbers; it is a sum over a sample": beta * bound.kl.mean() / bound.numbers,
    }
    expect_loss(got, beta * bound.kl.mean(), recognise(got, mistakes, EARLIER), "the loss for recon = x")


@lab.check("vae_loss")
def means_the_same_for_larger_pictures(answer: Answer, rng: torch.Generator) -> None:
    """A picture or a latent that is stacked with zeros has the same loss, and so has a batch that is repeated."""
    bound, beta = Bound(rng), number(rng, 0.3, 0.9)
    want = (bound.squares + beta * bound.kl).mean()
    recon, x, mu, logvar = bound.args
    more = [torch.cat([part, torch.zeros_like(part)], 1) for part in bound.args]
    repeated = [torch.cat([part] * 3) for part in bound.args]
    for args, sizes, what in (
        (bound.args, (1, 1, 1), "before anything is stacked"),
        ([*more[:2], mu, logvar], (2, 1, 1), "with as many zeros again in recon and x"),
        ([recon, x, *more[2:]], (1, 2, 1), "with as many zeros again in mu and logvar"),
        (repeated, (1, 1, 3), "for a batch that is repeated three times"),
    ):
        got = answer.vae_loss(*args, beta)
        expect_loss(got, want, recognise(got, bound.mistakes(beta, *sizes), EARLIER), f"the loss {what}")


@lab.check("vae_loss")
def trains_both_halves(answer: Answer, rng: torch.Generator) -> None:
    """Gradients reach the reconstruction, mu and logvar."""
    bound, beta = Bound(rng), number(rng, 0.3, 0.9)
    one = torch.ones((), dtype=torch.float64)
    seen = answer.gradient("vae_loss", *bound.args, beta, wrt=[0, 2, 3], cotangent=one)
    expect_scalar(seen.value)
    expect_gradient(seen, 0, 2 * bound.away / 5, "recon")
    expect_gradient(seen, 1, beta * bound.args[2] / 5, "mu")
    expect_gradient(seen, 2, beta * (bound.s**2 - 1) / 10, "logvar")


# ---- latent_scale


def of_known_spread(rng: torch.Generator, *shape: int) -> tuple[torch.Tensor, float, float]:
    """Numbers of a shape, with the mean and the (population's) standard deviation that they were made to have."""
    z, mean, s = normal(rng, *shape), number(rng, 0.5, 2.0), number(rng, 2.0, 6.0)
    z = z - z.mean()
    return mean + s * z / z.square().mean().sqrt(), mean, s


def scale_mistakes(z: torch.Tensor) -> dict[str, torch.Tensor]:
    """Well-known wrong scales."""
    s, n = z.std(correction=0), z.numel()
    return {
        "this is the standard deviation; the factor that makes it 1 is one over it": s,
        "this is one over the variance": s**-2,
        "this divides by n - 1; take the population's standard deviation, correction=0": s**-1 * ((n - 1) / n) ** 0.5,
        "the mean is not subtracted": z.square().mean() ** -0.5,
        "0.18215 belongs to one autoencoder, and this is another": torch.tensor(0.18215),
        "this is the mean of the channels' scales; take all numbers together": (
            1 / z.transpose(0, 1).flatten(1).std(1, correction=0)
        ).mean(),
        "this is the mean of the samples' scales; take all numbers together": (
            1 / z.flatten(1).std(1, correction=0)
        ).mean(),
    }


def expect_scale(answer: Answer, z: torch.Tensor, want: float, what: str, rtol: float = 1e-7) -> None:
    """Fail unless latent_scale of z is the wanted number."""
    got = answer.latent_scale(z)
    value = torch.as_tensor(got) if isinstance(got, float) else got
    hint = recognise(value, scale_mistakes(z.double()), "one over the standard deviation of all numbers together")
    expect_close(got, want, rtol=rtol, atol=0.0, what=f"the scale {what}", hint=hint)


@lab.check("latent_scale")
def is_one_over_the_standard_deviation(answer: Answer, rng: torch.Generator) -> None:
    """One over the standard deviation of all numbers, whatever their mean; one number comes back."""
    z, _, s = of_known_spread(rng, 6, 3, 4, 4)
    expect_scale(answer, z, 1 / s, "of latents with known standard deviation")


@lab.check("latent_scale")
def takes_all_channels_together(answer: Answer, rng: torch.Generator) -> None:
    """Channels with means and spreads of their own still get one common scale."""
    channels = [of_known_spread(rng, 5, 1, 3, 3) for _ in range(3)]
    means, spreads = (torch.tensor([channel[i] for channel in channels], dtype=torch.float64) for i in (1, 2))
    variance = spreads.square().mean() + means.square().mean() - means.mean() ** 2
    z = torch.cat([z for z, _, _ in channels], 1)
    expect_scale(answer, z, variance.item() ** -0.5, "of channels that differ")


@lab.check("latent_scale")
def is_the_populations(answer: Answer, rng: torch.Generator) -> None:
    """Of two numbers it is two over their distance: the standard deviation divides by n, not by n - 1."""
    a, apart = number(rng, 0.5, 2.0), number(rng, 2.0, 6.0)
    expect_scale(answer, torch.tensor([[a], [a + apart]], dtype=torch.float64), 2 / apart, "of two numbers")


# ---- encode, decode


@lab.check("encode")
def gives_the_scaled_mean(answer: Answer, rng: torch.Generator) -> None:
    """Without noise it is scale times the posterior's mean, and nothing is drawn."""
    vae, x, scale = Vae(answer, rng), normal(rng, 4, 3, 2, 4), number(rng, 2.0, 4.0)
    seen, mu = answer.observe("encode", vae.handle, x, scale, None), vae.mean(x)
    expect(not seen.global_draws, "noise=None is the posterior's mean: draw nothing")
    mistakes = {
        "the mean is not multiplied by scale": mu,
        "the mean is divided by scale; the scale is one over a standard deviation, so multiply": mu / scale,
        "this adds the standard deviation; without noise it is the mean alone": scale * (mu + vae.spread(x)),
    }
    hint = recognise(seen.value, mistakes, "scale · mu, with (mu, logvar) = vae.encode(x)")
    expect_close(seen.value, scale * mu, rtol=1e-7, dtype=False, what="the latent for noise=None", hint=hint)


@lab.check("encode")
def draws_from_the_posterior(answer: Answer, rng: torch.Generator) -> None:
    """With noise it is scale times the draw that the noise makes of mu and logvar."""
    vae, x, scale = Vae(answer, rng), normal(rng, 4, 3, 2, 4), number(rng, 2.0, 4.0)
    noise, mu, s = normal(rng, 4, *vae.latent_shape), vae.mean(x), vae.spread(x)
    got = answer.encode(vae.handle, x, scale, noise)
    mistakes = {
        "only the mean is multiplied by scale; the whole draw is": scale * mu + s * noise,
        "the draw is not multiplied by scale": mu + s * noise,
        "the draw is divided by scale; multiply": (mu + s * noise) / scale,
        "the noise is not used": scale * mu,
        "exp(logvar) is the variance; the noise takes the standard deviation": scale * (mu + s**2 * noise),
    }
    hint = recognise(got, mistakes, "scale · (mu + exp(logvar / 2) · noise)")
    expect_close(got, scale * (mu + s * noise), rtol=1e-7, dtype=False, what="the latent", hint=hint)


@lab.check("encode")
def reaches_the_encoder_with_gradients(answer: Answer, rng: torch.Generator) -> None:
    """Gradients reach x, the noise and the autoencoder's parameters: who trains it later decides what to freeze."""
    vae, x, scale = Vae(answer, rng), normal(rng, 4, 3, 2, 4), number(rng, 2.0, 4.0)
    noise, cotangent = normal(rng, 4, *vae.latent_shape), normal(rng, 4, *vae.latent_shape)
    args = (vae.handle, x, scale, noise)
    seen = answer.gradient("encode", *args, wrt=[1, 3], cotangent=cotangent, parameters=vae.handle)
    by_mu, by_logvar = (scale * cotangent).flatten(1), (scale * cotangent * vae.spread(x) * noise / 2).flatten(1)
    expect_gradient(
        seen, 0, (by_mu @ vae.tables["encoder_weight"] + by_logvar @ vae.tables["spread_weight"]).reshape(x.shape), "x"
    )
    expect_gradient(seen, 1, scale * cotangent * vae.spread(x), "noise")
    expect_parameter_gradient(seen, "encoder_weight", by_mu.T @ x.flatten(1), hint=EARLIER)


@lab.check("decode")
def undoes_the_scale_first(answer: Answer, rng: torch.Generator) -> None:
    """The decoder sees z / scale: what was multiplied by the scale is divided by it."""
    vae, scale = Vae(answer, rng), number(rng, 2.0, 4.0)
    z = normal(rng, 4, *vae.latent_shape)
    got = answer.decode(vae.handle, z, scale)
    mistakes = {
        "the decoder sees z itself; divide by scale first": vae.picture(z),
        "z is multiplied by scale; divide": vae.picture(scale * z),
        "the picture is divided, not the latent": vae.picture(z) / scale,
        "this divides by 0.18215, whatever scale is": vae.picture(z / 0.18215),
    }
    want = vae.picture(z / scale)
    hint = recognise(got, mistakes | afterwards(want), "the decoder is shown z / scale")
    expect_close(got, want, rtol=1e-7, dtype=False, what="the picture", hint=hint)


def afterwards(picture: torch.Tensor) -> dict[str, torch.Tensor]:
    """What is often done to a decoder's picture, and should not be here."""
    return {
        "the picture is clipped": picture.clamp(-1, 1),
        "the picture is brought to [0, 1]": (picture + 1) / 2,
        "the picture goes through tanh": picture.tanh(),
    }


@lab.check("decode")
def does_nothing_afterwards(answer: Answer, rng: torch.Generator) -> None:
    """What the decoder says is returned as it is, also far outside [-1, 1]."""
    vae, scale = Vae(answer, rng), number(rng, 0.2, 0.4)
    z = 30 * normal(rng, 4, *vae.latent_shape)
    got, want = answer.decode(vae.handle, z, scale), vae.picture(z / scale)
    hint = recognise(got, afterwards(want), EARLIER)
    expect_close(got, want, rtol=1e-7, dtype=False, what="the picture", hint=hint)


@lab.check("decode")
def reaches_the_decoder_with_gradients(answer: Answer, rng: torch.Generator) -> None:
    """Gradients reach z and the autoencoder's parameters."""
    vae, scale = Vae(answer, rng), number(rng, 2.0, 4.0)
    z, cotangent = normal(rng, 4, *vae.latent_shape), normal(rng, 4, *vae.image_shape)
    seen = answer.gradient("decode", vae.handle, z, scale, wrt=[1], cotangent=cotangent, parameters=vae.handle)
    back = cotangent.flatten(1)
    expect_gradient(seen, 0, (back @ vae.tables["decoder_weight"] / scale).reshape(z.shape), "z")
    expect_parameter_gradient(seen, "decoder_weight", back.T @ z.flatten(1) / scale, hint=EARLIER)


# ---- latent_eps_loss


@lab.check("latent_eps_loss")
def shows_the_network_noised_latents(answer: Answer, rng: torch.Generator) -> None:
    """What net is shown is the scaled posterior mean, noised to level k."""
    stage, k = Stage2(answer, rng), integer(rng, 6, 14)
    got, mu, angle = stage.shown(k), stage.vae.mean(stage.x), stage.phi[k]
    mistakes = {
        "the latents are not multiplied by scale": stage.noised(k, mu),
        "the latents are divided by scale; multiply": stage.noised(k, mu / stage.scale),
        "abar is the square of the signal's factor, and 1 - abar that of the noise's: take roots":
            angle.cos() ** 2 * stage.z + angle.sin() ** 2 * stage.eps,
        "1 - abar is the noise's variance; take its root": angle.cos() * stage.z + angle.sin() ** 2 * stage.eps,
        "this is level k - 1: abar has T + 1 entries, and abar[k] belongs to z_k":
            stage.phi[k - 1].cos() * stage.z + stage.phi[k - 1].sin() * stage.eps,
        "the latents are not noised": stage.z,
        "signal and noise are exchanged": angle.sin() * stage.z + angle.cos() * stage.eps,
        "z and eps are noised together, and scaled after": stage.scale * stage.noised(k, mu),
    }  # fmt: skip
    hint = "sqrt(abar[k]) · scale · mu + sqrt(1 - abar[k]) · eps; mu is the posterior's mean, and nothing is drawn"
    hint = recognise(got, mistakes, hint)
    expect_close(got, stage.noised(k), rtol=1e-7, dtype=False, what="what net is shown", hint=hint)


@lab.check("latent_eps_loss")
def is_the_mean_squared_error_of_the_noise(answer: Answer, rng: torch.Generator) -> None:
    """The loss is the mean over all elements of the squared error of the guessed noise, a tensor without axes."""
    stage, k = Stage2(answer, rng), integer(rng, 2, 18)
    got, error = stage.call(k), stage.answers(k) - stage.eps
    mistakes = {
        "this is the sum; take the mean over batch and features": error.square().sum(),
        "this is a sum over features; the mean runs over them, too": error.square().flatten(1).sum(1).mean(),
        "there is no factor ½ here": error.square().mean() / 2,
        "these are absolute errors; square them": error.abs().mean(),
        "net guesses eps; this compares its answer with the latents": (stage.answers(k) - stage.z).square().mean(),
        "net guesses eps; this compares its answer with z_k": (stage.answers(k) - stage.noised(k)).square().mean(),
    }
    hint = recognise(got, mistakes, "what net is shown has a check of its own; then (net(z_k, k) - eps)², averaged")
    expect_loss(got, stage.wanted(k), hint, f"the loss at k = {k}")


@lab.check("latent_eps_loss")
def noises_each_sample_to_its_level(answer: Answer, rng: torch.Generator) -> None:
    """With k of shape (B,), latent i is noised to level k[i]; also where B equals another axis."""
    for batch in (5, 3, 2):  # latents are (B, 2, 1, 3)
        stage = Stage2(answer, rng, batch)
        k = distinct_levels(rng, stage.T, batch)
        hint, what = (
            "give the factor of each sample the shape (B, 1, 1, 1)",
            f"what net is shown for B = {batch} levels",
        )
        expect_rows(stage.shown_plainly, (k,), 0, stage.noised(k), hint=hint, what=what)
        expect_loss(stage.call(k), stage.wanted(k), EARLIER, f"the loss for B = {batch} levels")


@lab.check("latent_eps_loss")
def keeps_the_noise_near_level_0(answer: Answer, rng: torch.Generator) -> None:
    """With abar[k] = 1 - 1e-9, float32 latents still get noise of about 3e-5."""
    stage, noise = near_level_0(answer, rng)
    expect_noise(stage, noise, integer(rng, 1, stage.T))


@lab.check("latent_eps_loss")
def tells_the_network_levels(answer: Answer, rng: torch.Generator) -> None:
    """net is called once, with k as an int64 tensor of shape (B,), also where k is a number or 0-d."""
    stage = Stage2(answer, rng)
    for k in (integer(rng, 1, 20), torch.tensor(integer(rng, 1, 20)), distinct_levels(rng, 20, 5)):
        got = stage.call(k)
        expect(len(stage.seen) == 1, f"net is called {len(stage.seen)} times; once is enough")
        told = stage.seen[0][1]
        expect(told.shape == (5,), f"net is told k of shape {tuple(told.shape)}; it needs (B,), here (5,)")
        expect(told.dtype == torch.int64, f"net is told k in {str(told.dtype)[6:]}; an embedding of steps needs int64")
        expect(torch.equal(told, stage.levels(k)), "net is told other levels than those of its latents")
        expect_loss(got, stage.wanted(k), EARLIER)


@lab.check("latent_eps_loss")
def trains_the_network_alone(answer: Answer, rng: torch.Generator) -> None:
    """Gradients reach the network's parameters and none the autoencoder's, whose requires_grad stays as it is."""
    stage, k, one = Stage2(answer, rng), integer(rng, 2, 18), torch.ones((), dtype=torch.float64)
    args = stage.args(k)
    seen = answer.gradient("latent_eps_loss", *args, wrt=[], cotangent=one, parameters=args[0])
    by_shift = torch.zeros_like(stage.phi)
    by_shift[k] = 2 * (stage.answers(k) - stage.eps).mean()
    expect_parameter_gradient(seen, "shift", by_shift, hint=EARLIER)
    seen = answer.gradient("latent_eps_loss", *args, wrt=[], cotangent=one, parameters=args[1])
    for grad in seen.parameter_grads.values():
        reached = grad is not None and bool((grad != 0).any())
        expect(not reached, "gradients reach the autoencoder: encode under torch.no_grad(), or detach the latents")
    stage.vae.expect_left_alone()


# ---- generate


@lab.check("generate")
def draws_one_float32_noise(answer: Answer, rng: torch.Generator) -> None:
    """It starts from torch.randn of shape (B, *vae.latent_shape) in float32, drawn at once from the generator."""
    model = Guided(answer, rng)
    model.tables = {name: 0 * table for name, table in model.tables.items()}  # then z is divided by cos, no more
    y = model.labels(rng, 5)
    got, T = model.observe(y, [model.T, 0], 1.0).value, model.T
    hint = "z = torch.randn(len(y), *vae.latent_shape, generator=generator), the first draw and unscaled"
    model.expect(got, y, [T, 0], 1.0, "with a network that says 0, the picture", hint)


@lab.check("generate")
def follows_ddim_to_the_picture(answer: Answer, rng: torch.Generator) -> None:
    """With w = 1 it follows the conditional network, step by step without noise, and decodes where it ends."""
    model = Guided(answer, rng)
    y, T = model.labels(rng, 4), model.T
    steps = [T, T - 4, T - 7, 3, 2, 0]
    hint = "each step: x0 from eps at level k, then sqrt(abar[j]) x0 + sqrt(1 - abar[j]) eps; the last j is 0"
    model.expect(model.observe(y, steps, 1.0).value, y, steps, 1.0, "with w = 1 the picture", hint)


@lab.check("generate")
def guides_towards_the_labels(answer: Answer, rng: torch.Generator) -> None:
    """At every step it goes w times the way from the network's answer for `net.null` to that for y."""
    model = Guided(answer, rng)
    y, T = model.labels(rng, 4), model.T
    for w in (number(rng, 2.0, 4.0), 0.0, number(rng, 0.3, 0.7)):
        steps = [T, T - 5, 4, 0]
        got = model.observe(y, steps, w).value
        model.expect(got, y, steps, w, f"with w = {w:.2f} the picture", "uncond + w (cond - uncond)")


@lab.check("generate")
def is_repeatable(answer: Answer, rng: torch.Generator) -> None:
    """Equal generators give equal pictures, others differ, and torch's own generator is not used."""
    model = Guided(answer, rng)
    y, steps = model.labels(rng, 4), [model.T, 6, 0]
    first, second = (model.observe(y, steps, 2.0) for _ in range(2))
    third = model.observe(y, steps, 2.0, seed=model.seed + 1)
    expect_type(first.value, torch.Tensor)
    expect(first.value.shape == (4, *model.vae.image_shape), f"the result has shape {tuple(first.value.shape)}")
    expect(not first.global_draws, "numbers are drawn from the global generator; give torch.randn generator=generator")
    expect(torch.equal(first.value, second.value), "two calls with equal generators differ")
    expect(not torch.equal(first.value, third.value), "calls with different generators are equal: nothing is drawn")


@lab.check("generate")
def asks_at_the_steps_alone(answer: Answer, rng: torch.Generator) -> None:
    """The network is asked at each of the steps but the last, 0, once with y and once with net.null."""
    model = Guided(answer, rng)
    y, T = model.labels(rng, 4), model.T
    steps = [T, *sorted(distinct_levels(rng, T - 1, 4).tolist(), reverse=True), 0]
    got = model.observe(y, steps, 3.0).value
    expect(len(model.levels) > 0, "net is not called")
    told = list(dict.fromkeys(k for levels in model.levels for k in levels))
    expect(told == steps[:-1], f"for steps {steps} net is asked at {told}; expected {steps[:-1]}")
    rows, due = sum(model.sizes), 2 * len(y) * (len(steps) - 1)
    expect(rows <= due, f"for {len(steps) - 1} steps and {len(y)} labels net is given {rows} rows; {due} are enough")
    model.expect(got, y, steps, 3.0, "the picture")


@lab.check("generate")
def keeps_no_graph(answer: Answer, rng: torch.Generator) -> None:
    """The pictures are right, and no graph hangs on them, although both networks have parameters."""
    model = Guided(answer, rng)
    y, steps = model.labels(rng, 4), [model.T, 6, 0]
    seen = model.observe(y, steps, 2.0)
    model.expect(seen.value, y, steps, 2.0, "the picture")
    expect(not seen.requires_grad, "the pictures are part of a graph, which fills memory: work under torch.no_grad()")
    model.vae.expect_left_alone()
