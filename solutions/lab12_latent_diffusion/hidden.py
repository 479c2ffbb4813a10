"""The hidden checks of lab 12: other shapes, dtypes, ends, precision, draws, arguments and autoencoders left alone."""

from __future__ import annotations

import torch

from labcheck import Battery, expect, expect_close
from noise2data.checks.arguments import distinct_levels, integer, normal, number
from noise2data.checks.expectations import expect_loss, expect_untouched
from noise2data.checks.hints import EARLIER, advice, is_right
from noise2data.checks.lab12_latent_diffusion import expect_kl, expect_scale, of_known_spread
from noise2data.checks.latents import (
    Bound,
    Guided,
    Stage2,
    Vae,
    expect_left_alone,
    expect_noise,
    kl_of,
    log_spread,
    near_level_0,
)

lab = Battery("lab12_latent_diffusion", hidden=True)

SHAPES = ((4, 4), (3, 3, 3, 3), (1, 4, 2, 5), (2, 3, 1, 2, 2))


# ---- reparameterize


@lab.check("reparameterize")
def draws_latents_of_any_shape(answer, rng):
    """Vectors and latents of any shape; each number has its own mean, variance and noise."""
    for shape in SHAPES:
        mu, noise, (logvar, s) = normal(rng, *shape), normal(rng, *shape), log_spread(rng, *shape)
        got = answer.reparameterize(mu, logvar, noise)
        expect_close(got, mu + s * noise, rtol=1e-7, dtype=False, what=f"the draw for shape {shape}")


@lab.check("reparameterize")
def keeps_float32(answer, rng):
    """float32 in, float32 out."""
    mu, noise, (logvar, s) = normal(rng, 4, 3), normal(rng, 4, 3), log_spread(rng, 4, 3)
    got = answer.reparameterize(mu.float(), logvar.float(), noise.float())
    expect_close(got, (mu + s * noise).float(), rtol=1e-4, atol=1e-5)


@lab.check("reparameterize")
def draws_nothing_of_its_own(answer, rng):
    """The noise that is given is all there is: nothing is drawn, and no argument is changed."""
    mu, noise, (logvar, s) = normal(rng, 4, 3), normal(rng, 4, 3), log_spread(rng, 4, 3)
    seen = answer.observe("reparameterize", mu, logvar, noise)
    expect_untouched(seen, mu, logvar, noise)
    expect_close(seen.value, mu + s * noise, rtol=1e-7, dtype=False, hint=EARLIER)


# ---- kl_divergence


@lab.check("kl_divergence")
def sums_latents_of_any_shape(answer, rng):
    """Vectors and latents of any shape, a batch of one, and a batch as long as another axis."""
    for shape in SHAPES:
        expect_kl(answer, rng, *shape)


@lab.check("kl_divergence")
def stays_finite_far_away(answer, rng):
    """Variances of exp(-90) and exp(20) and means of 1000 have the divergence of the formula: nothing is clamped."""
    mu = torch.tensor([[0.0, 0.0], [0.0, 0.0], [1000.0, 0.0]], dtype=torch.float64)
    logvar = torch.tensor([[-90.0, 0.0], [20.0, 0.0], [0.0, -90.0]], dtype=torch.float64)
    want = torch.tensor([44.5, (torch.tensor(20.0).double().exp().item() - 21) / 2, 500_000 + 44.5]).double()
    got = answer.kl_divergence(mu, logvar)
    hint = "logvar is taken as it is: nothing is clamped, and nothing added under a logarithm"
    expect_close(got, want, rtol=1e-6, dtype=False, hint=hint)


@lab.check("kl_divergence")
def keeps_float32_and_its_arguments(answer, rng):
    """float32 in, float32 out, and no argument is changed."""
    mu, (logvar, s) = normal(rng, 4, 2, 3), log_spread(rng, 4, 2, 3)
    seen = answer.observe("kl_divergence", mu.float(), logvar.float())
    expect_close(seen.value, kl_of(mu, s).flatten(1).sum(1).float(), rtol=1e-4, atol=1e-5)
    expect_untouched(seen, mu.float(), logvar.float())


# ---- vae_loss


@lab.check("vae_loss")
def takes_pictures_of_any_shape(answer, rng):
    """Pictures and latents of any shape, a batch of one, and a beta that is a tensor without axes."""
    shapes = ((4, 4), (4, 2)), ((1, 3, 2, 5), (1, 4, 2, 1)), ((3, 3, 3, 3), (3, 3, 3, 3)), ((2, 1, 6), (2, 7))
    for image, latent in shapes:
        bound, beta = Bound(rng, image, latent), number(rng, 0.3, 0.9)
        want = (bound.squares + beta * bound.kl).mean()
        for value in (beta, torch.tensor(beta, dtype=torch.float64)):
            got = answer.vae_loss(*bound.args, value)
            expect_loss(got, want, what=f"the loss for pictures {image} and latents {latent}")


@lab.check("vae_loss")
def weighs_kl_with_any_beta(answer, rng):
    """beta may be tiny or large, and the loss is linear in it."""
    bound = Bound(rng)
    for beta in (1e-6, 1, 250.0):
        got, want = answer.vae_loss(*bound.args, beta), (bound.squares + beta * bound.kl).mean()
        expect_close(got, want, rtol=1e-9, dtype=False, what=f"the loss for beta = {beta:g}")


@lab.check("vae_loss")
def clips_no_picture(answer, rng):
    """Pictures far outside [-1, 1] are compared as they are."""
    bound, beta = Bound(rng), number(rng, 0.3, 0.9)
    recon, x, mu, logvar = bound.args

    def want(size):
        return (size**2 * bound.squares + beta * bound.kl).mean()

    def call(size):
        return answer.vae_loss(size * recon, size * x, mu, logvar, beta)

    hint = advice("neither recon nor x is clipped", is_right(lambda: call(0.05), want(0.05)))
    expect_loss(call(40), want(40), hint)


@lab.check("vae_loss")
def keeps_the_dtype_and_the_arguments(answer, rng):
    """float32 in, float32 out, and no argument is changed."""
    bound, beta = Bound(rng), number(rng, 0.3, 0.9)
    args = [part.float() for part in bound.args]
    seen = answer.observe("vae_loss", *args, beta)
    expect_close(seen.value, (bound.squares + beta * bound.kl).mean().float(), rtol=1e-4, atol=0.0)
    expect_untouched(seen, *args)


# ---- latent_scale


@lab.check("latent_scale")
def measures_latents_of_any_shape(answer, rng):
    """Vectors and latents of any shape, in float64 and in float32."""
    for shape in ((40, 2), (3, 3, 3, 3), (1, 4, 8, 8), (2, 5, 4)):
        z, _, s = of_known_spread(rng, *shape)
        expect_scale(answer, z, 1 / s, f"for shape {shape}")
        expect_scale(answer, z.float(), 1 / s, f"for shape {shape} in float32", rtol=1e-4)


@lab.check("latent_scale")
def measures_small_and_large_latents(answer, rng):
    """Nothing is added to the standard deviation: latents of size 1e-7 get a scale of about 1e7."""
    for size in (1e-7, 1e5):
        z, _, s = of_known_spread(rng, 4, 3, 2)
        expect_scale(answer, size * z, 1 / (size * s), f"of latents of size {size:g}")


@lab.check("latent_scale")
def leaves_latents_alone(answer, rng):
    """The latents are not changed, and nothing is drawn."""
    z, _, s = of_known_spread(rng, 4, 3, 2)
    seen = answer.observe("latent_scale", z)
    expect_close(seen.value, 1 / s, rtol=1e-7, hint=EARLIER)
    expect_untouched(seen, z)


# ---- encode, decode

VAES = (((3, 4, 4), (4, 2, 2)), ((1, 5, 2), (3, 1, 2)), ((3, 8, 8), (1, 2, 2)))


@lab.check("encode")
def takes_other_autoencoders(answer, rng):
    """Images and latents of other shapes, a batch of one, and a scale that is a number or a tensor without axes."""
    for image, latent in VAES:
        vae = Vae(answer, rng, image, latent)
        for batch in (1, latent[0]):
            x, noise, scale = normal(rng, batch, *image), normal(rng, batch, *latent), number(rng, 0.2, 3.0)
            for value in (scale, torch.tensor(scale, dtype=torch.float64)):
                got = answer.encode(vae.handle, x, value, noise)
                want = scale * (vae.mean(x) + vae.spread(x) * noise)
                expect_close(got, want, rtol=1e-7, dtype=False, what=f"the latent of shape {latent} for B = {batch}")
                got = answer.encode(vae.handle, x, value, None)
                expect_close(got, scale * vae.mean(x), rtol=1e-7, dtype=False, what=f"the mean of shape {latent}")


@lab.check("encode")
def takes_zero_noise_for_noise(answer, rng):
    """Noise that is 0 in all or many places is noise like any other; only None asks for the mean."""
    vae, x, scale = Vae(answer, rng), normal(rng, 3, 3, 2, 4), number(rng, 2.0, 4.0)
    noise = torch.zeros(3, *vae.latent_shape, dtype=torch.float64)
    noise[0] = normal(rng, *vae.latent_shape)
    for given in (noise, noise[1:2].expand_as(noise).contiguous()):
        got, want = answer.encode(vae.handle, x, scale, given), scale * (vae.mean(x) + vae.spread(x) * given)
        expect_close(got, want, rtol=1e-7, dtype=False, hint="test `noise is None`, not the truth of a tensor")


@lab.check("encode")
def encodes_in_float32_and_leaves_all_alone(answer, rng):
    """float32 in, float32 out; neither the arguments nor the autoencoder are changed, and nothing is drawn."""
    vae, x, scale = Vae(answer, rng), normal(rng, 3, 3, 2, 4).float(), torch.tensor(number(rng, 2.0, 4.0)).double()
    noise = normal(rng, 3, *vae.latent_shape).float()
    seen = answer.observe("encode", vae.handle, x, scale, noise)
    want = scale * (vae.mean(x) + vae.spread(x) * noise)
    expect_close(seen.value, want.float(), rtol=1e-4, atol=1e-4)
    expect_untouched(seen, None, x, scale, noise)
    vae.expect_left_alone()


@lab.check("decode")
def decodes_other_latents(answer, rng):
    """Images and latents of other shapes, a batch of one, and a scale that is a number or a tensor without axes."""
    for image, latent in VAES:
        vae = Vae(answer, rng, image, latent)
        for batch in (1, latent[0]):
            z, scale = normal(rng, batch, *latent), number(rng, 0.2, 3.0)
            for value in (scale, torch.tensor(scale, dtype=torch.float64)):
                got = answer.decode(vae.handle, z, value)
                what = f"the picture of a latent of shape {latent} for B = {batch}"
                expect_close(got, vae.picture(z / scale), rtol=1e-7, dtype=False, what=what)


@lab.check("decode")
def decodes_in_float32(answer, rng):
    """float32 in, float32 out, also where scale is a float64 tensor without axes."""
    vae, scale = Vae(answer, rng), torch.tensor(number(rng, 2.0, 4.0)).double()
    z = normal(rng, 3, *vae.latent_shape)
    got = answer.decode(vae.handle, z.float(), scale)
    expect_close(got, vae.picture(z / scale).float(), rtol=1e-4, atol=1e-4)


@lab.check("decode")
def leaves_latents_and_autoencoder_alone(answer, rng):
    """Neither the arguments nor the autoencoder are changed."""
    vae, scale = Vae(answer, rng), torch.tensor(number(rng, 2.0, 4.0)).double()
    z = normal(rng, 3, *vae.latent_shape)
    seen = answer.observe("decode", vae.handle, z, scale)
    expect_close(seen.value, vae.picture(z / scale), rtol=1e-7, dtype=False, hint=EARLIER)
    expect_untouched(seen, None, z, scale)
    vae.expect_left_alone()


# ---- latent_eps_loss


@lab.check("latent_eps_loss")
def meets_pure_noise(answer, rng):
    """Where abar[k] is 0 net is shown eps itself."""
    stage = Stage2(answer, rng)
    stage.abar = torch.cat([stage.abar[:-1], torch.zeros(1, dtype=torch.float64)])
    stage.phi = torch.cat([stage.phi[:-1], torch.full((1,), torch.pi / 2, dtype=torch.float64)])
    got = stage.call(stage.T)
    expect_close(stage.seen[0][0], stage.eps, rtol=1e-7, atol=1e-9, dtype=False, what="what net is shown at abar = 0")
    expect_loss(got, stage.wanted(stage.T), what="the loss at abar = 0")


@lab.check("latent_eps_loss")
def computes_the_factors_in_float64(answer, rng):
    """With abar = 1 - 1e-9 at levels (B,), each float32 latent still gets its own noise of about 3e-5."""
    stage, noise = near_level_0(answer, rng)
    expect_noise(stage, noise, distinct_levels(rng, stage.T, 5))


@lab.check("latent_eps_loss")
def stays_in_float32(answer, rng):
    """float32 pictures and noise give net float32 latents, and a float32 loss."""
    stage, k = Stage2(answer, rng), integer(rng, 2, 18)
    want = stage.wanted(k).float()
    stage.x, stage.eps = stage.x.float(), stage.eps.float()
    for levels in (k, torch.full((5,), k)):
        got = stage.call(levels)
        shown = stage.seen[0][0].dtype
        expect(shown == torch.float32, f"net is shown {str(shown)[6:]}; cast the factors to the latents' dtype")
        expect_close(got, want, rtol=1e-3, atol=0.0, what="the loss")


@lab.check("latent_eps_loss")
def draws_nothing_and_changes_nothing(answer, rng):
    """The posterior's mean needs no draw; no argument is changed, nor the autoencoder."""
    stage, k = Stage2(answer, rng), distinct_levels(rng, 20, 5)
    seen = answer.observe("latent_eps_loss", *stage.args(k))
    expect_loss(seen.value, stage.wanted(k), EARLIER)
    expect_untouched(seen, None, None, stage.x, k, stage.eps, stage.abar, None)
    stage.vae.expect_left_alone()


# ---- generate


@lab.check("generate")
def hands_the_network_int64(answer, rng):
    """net receives k and y as int64 tensors with an entry for each row."""
    model = Guided(answer, rng, strict=True)
    y, steps = model.labels(rng, 5), [model.T, 7, 2, 0]
    model.expect(model.observe(y, steps, 2.5).value, y, steps, 2.5, "the picture")


@lab.check("generate")
def asks_the_network_for_its_null(answer, rng):
    """The label for none is `net.null`, whichever it is; a sample that has it already gets the unconditional answer."""
    for null in (0, 1):
        model = Guided(answer, rng, null=null)
        y, steps, w = model.labels(rng, 4), [model.T, 5, 0], number(rng, 2.0, 4.0)
        y[integer(rng, 0, 3)] = null
        model.expect(model.observe(y, steps, w).value, y, steps, w, f"for net.null = {null} the picture")


@lab.check("generate")
def takes_any_weight_and_scale(answer, rng):
    """w may be below 0, and w and scale may be tensors without axes."""
    model = Guided(answer, rng)
    y, steps = model.labels(rng, 4), [model.T, 5, 0]
    scale = torch.tensor(model.scale, dtype=torch.float64)
    for w in (number(rng, -2.0, -0.5), number(rng, 1.2, 6.0)):
        for value in (w, torch.tensor(w, dtype=torch.float64)):
            model.expect(model.observe(y, steps, value, scale).value, y, steps, w, f"for w = {w:.2f} the picture")


@lab.check("generate")
def clips_no_latent(answer, rng):
    """Latents far outside [-1, 1] stay what they are, at every step and at the end."""
    model = Guided(answer, rng, size=60.0)
    y, steps = model.labels(rng, 4), [model.T, 8, 4, 1, 0]
    small = Guided(answer, rng, size=0.2)
    fits = is_right(lambda: small.observe(y, steps, 2.0).value, small.wanted(y, steps, 2.0))
    hint = advice("small latents are right, large ones are not: nothing is clipped, x0 is no exception", fits)
    model.expect(model.observe(y, steps, 2.0).value, y, steps, 2.0, "with latents of size 100 the picture", hint)


@lab.check("generate")
def starts_at_the_first_of_the_steps(answer, rng):
    """steps may start below T, be one alone, or be all of them; the noise is the state at steps[0]."""
    model = Guided(answer, rng)
    y, T = model.labels(rng, 3), model.T
    for steps in ([T - 5, 4, 0], [T - 3, 0], list(range(T, -1, -1))):
        model.expect(model.observe(y, steps, 1.5).value, y, steps, 1.5, f"for {len(steps) - 1} steps the picture")


@lab.check("generate")
def leaves_its_arguments_alone(answer, rng):
    """Labels, steps and abar stay as they are, and so do both networks; a batch of one works."""
    model = Guided(answer, rng)
    y, steps = model.labels(rng, 1), [model.T, 6, 0]
    seen = model.observe(y, list(steps), 2.0)
    model.expect(seen.value, y, steps, 2.0, "the picture")
    expect_untouched(seen, None, None, y, None, model.abar)
    expect(seen.args[3] == steps, "the list of steps was changed; the caller may need it again")
    expect_left_alone(answer, model.net, model.tables, "the network")
    model.vae.expect_left_alone()
