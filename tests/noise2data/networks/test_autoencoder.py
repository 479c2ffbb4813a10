"""The Gaussian in the middle against torch.distributions and quadrature, and the network by shapes and symmetries."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Independent, Normal, kl

from noise2data.networks.autoencoder import (
    Autoencoder,
    decode,
    encode,
    kl_divergence,
    latent_scale,
    reparameterize,
    vae_loss,
)

F64 = torch.float64
SHAPES = st.lists(st.integers(1, 4), min_size=2, max_size=4).map(tuple)


def randn(*shape, seed=0, dtype=F64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


# Draws --------------------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(shape=SHAPES, dtype=st.sampled_from([torch.float32, F64]))
def test_reparameterize_is_the_affine_map_of_the_noise(shape, dtype):
    mu, logvar, noise = (randn(*shape, seed=seed, dtype=dtype) for seed in range(3))
    want = Normal(mu, logvar.exp().sqrt()).icdf(Normal(torch.zeros_like(mu), 1.0).cdf(noise.double()).to(dtype))
    got = reparameterize(mu, logvar, noise)
    assert got.dtype == dtype and torch.equal(reparameterize(mu, logvar, 0 * noise), mu)
    torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(got, mu + noise * logvar.exp().sqrt())


def test_gradients_go_through_the_draw():
    mu, logvar = randn(2, 3).requires_grad_(), randn(2, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda mu, logvar: reparameterize(mu, logvar, randn(2, 3, seed=2)), (mu, logvar))


def test_draws_have_the_variance_that_logvar_says():
    """n noise^2 / (n - 1) sums to chi-square: 40,000 draws, three components, a limit of 6 standard deviations.

    The normal approximation gives 2e-9 for each of six numbers: a false-alarm rate of 1.2e-8.
    """
    n, mu, logvar = 40_000, torch.tensor([0.0, 3.0, -1.0], dtype=F64), torch.tensor([0.0, -2.0, 1.5], dtype=F64)
    z = reparameterize(mu.expand(n, 3), logvar.expand(n, 3), randn(n, 3))
    error = (z.mean(0) - mu) / (logvar / 2).exp() * math.sqrt(n)
    assert error.abs().max() < 6
    assert ((z.var(0) / logvar.exp() - 1) * math.sqrt(n / 2)).abs().max() < 6


# The divergence -----------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(shape=SHAPES, scale=st.floats(0.01, 3.0))
def test_kl_is_that_of_torch_distributions(shape, scale):
    mu, logvar = scale * randn(*shape), scale * randn(*shape, seed=1)
    q = Independent(Normal(mu, (logvar / 2).exp()), len(shape) - 1)
    p = Independent(Normal(torch.zeros_like(mu), torch.ones_like(mu)), len(shape) - 1)
    got = kl_divergence(mu, logvar)
    assert got.shape == shape[:1]
    torch.testing.assert_close(got, kl.kl_divergence(q, p), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("mu", "logvar"), [(0.0, 0.0), (1.5, -2.0), (-0.3, 1.0), (0.0, -6.0)])
def test_kl_is_the_integral(mu, logvar):
    """By the trapezoidal rule, out to 12 standard deviations."""
    mu, logvar = (torch.tensor([[value]], dtype=F64) for value in (mu, logvar))
    std = (logvar / 2).exp()
    z = mu + std * torch.linspace(-12, 12, 20_001, dtype=F64)
    log_q, log_p = Normal(mu, std).log_prob(z), Normal(0 * mu, 1.0).log_prob(z)
    want = torch.trapezoid(log_q.exp() * (log_q - log_p), z)
    torch.testing.assert_close(kl_divergence(mu, logvar), want, rtol=1e-9, atol=1e-9)


def test_kl_is_zero_at_the_prior_only_and_keeps_its_digits_there():
    """Near it, KL = mu^2 / 2 + logvar^2 / 4, also where exp(logvar) - 1 has few digits left."""
    zero = torch.zeros(2, 3)
    assert torch.equal(kl_divergence(zero, zero), torch.zeros(2))
    small = torch.full((1, 1), 1e-3)
    torch.testing.assert_close(kl_divergence(0 * small, small), small[0] ** 2 / 4, rtol=2e-3, atol=0)
    torch.testing.assert_close(kl_divergence(small, 0 * small), small[0] ** 2 / 2)
    mu, logvar = randn(50, 4), randn(50, 4, seed=1)
    assert (kl_divergence(mu, logvar) > 0).all()


def test_kl_sums_over_features_and_not_over_samples():
    mu, logvar = randn(3, 2, 2, 2), randn(3, 2, 2, 2, seed=1)
    whole = kl_divergence(mu, logvar)
    torch.testing.assert_close(whole, kl_divergence(mu[:, :1], logvar[:, :1]) + kl_divergence(mu[:, 1:], logvar[:, 1:]))
    torch.testing.assert_close(whole[1:2], kl_divergence(mu[1:2], logvar[1:2]))


# The loss -----------------------------------------------------------------------------------------------------------


def loss_inputs(b=3):
    return randn(b, 2, 4, 4), randn(b, 2, 4, 4, seed=1), randn(b, 5, seed=2), randn(b, 5, seed=3)


def test_vae_loss_is_a_log_likelihood_and_a_divergence():
    """The negative evidence lower bound at decoder variance beta / 2, times beta and up to its constant."""
    recon, x, mu, logvar = loss_inputs()
    for beta in (0.25, 1.0, 4.0):
        log_p = Normal(recon, math.sqrt(beta / 2)).log_prob(x).flatten(1).sum(1)
        constant = x[0].numel() * math.log(math.pi * beta) / 2
        want = beta * (kl_divergence(mu, logvar) - log_p - constant).mean()
        torch.testing.assert_close(vae_loss(recon, x, mu, logvar, beta), want)


def test_vae_loss_is_a_mean_over_the_batch_and_a_sum_over_pixels():
    recon, x, mu, logvar = loss_inputs()
    loss = vae_loss(recon, x, mu, logvar, 0.3)
    assert loss.shape == ()
    each = [vae_loss(*(v[i : i + 1] for v in (recon, x, mu, logvar)), 0.3) for i in range(3)]
    torch.testing.assert_close(loss, torch.stack(each).mean())
    wide = vae_loss(
        torch.cat([recon, recon], 3), torch.cat([x, x], 3), torch.cat([mu, mu], 1), logvar.repeat(1, 2), 0.3
    )
    torch.testing.assert_close(wide, 2 * loss)
    torch.testing.assert_close(vae_loss(recon, x, mu, logvar, 0.0), (recon - x).square().sum() / 3)


def test_vae_loss_is_differentiable_in_everything():
    recon, x, mu, logvar = (value.requires_grad_() for value in loss_inputs(2))
    assert torch.autograd.gradcheck(lambda *v: vae_loss(*v, 0.7), (recon, x, mu, logvar))


def test_shapes_that_do_not_fit_are_named():
    mu = randn(2, 3)
    with pytest.raises(ValueError, match=r"logvar has shape \(2, 1\); expected mu's, \(2, 3\)"):
        kl_divergence(mu, randn(2, 1))
    with pytest.raises(ValueError, match="logvar has shape"):
        reparameterize(mu, randn(3), mu)
    with pytest.raises(ValueError, match="noise has shape"):
        reparameterize(mu, mu, randn(1, 3))
    with pytest.raises(ValueError, match="recon has shape"):
        vae_loss(randn(2, 1, 4, 4), randn(2, 1, 4, 1), mu, mu, 1.0)


# The scale of latents -----------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), shape=SHAPES, size=st.floats(1e-3, 1e3), offset=st.floats(-10.0, 10.0))
def test_scaled_latents_have_variance_one(seed, shape, size, offset):
    """All elements together, and the mean has no part in it."""
    z = size * randn(2, *shape, seed=seed) + offset
    scale = latent_scale(z)
    assert scale.shape == () and scale.dtype == F64
    torch.testing.assert_close((scale * z).var(correction=0), torch.tensor(1.0, dtype=F64), rtol=1e-9, atol=0)
    torch.testing.assert_close(latent_scale(5 * z + 1), scale / 5, rtol=1e-9, atol=0)


def test_latent_scale_is_the_populations_also_far_from_zero():
    assert latent_scale(torch.tensor([[-1.0, 1.0]])) == 1.0  # the sample's standard deviation would be sqrt(2)
    z = 1e4 + randn(1000, 8)
    torch.testing.assert_close(latent_scale(z.float()).double(), latent_scale(z.float().double()), rtol=1e-7, atol=0)


def test_latents_without_a_scale_are_refused():
    for z in (torch.ones(3, 2), torch.tensor([[1.0, math.nan]]), torch.tensor([[1.0, math.inf]])):
        with pytest.raises(ValueError, match="z has standard deviation .*expected latents that are finite"):
            latent_scale(z)


class Halves:
    """An autoencoder whose halves are known: mu = 2 x + 1, logvar = x, and back."""

    def encode(self, x):
        return 2 * x + 1, x

    def decode(self, z):
        return (z - 1) / 2


def test_encoding_scales_and_decoding_undoes_it():
    x, noise = randn(2, 3, 4, 4), randn(2, 3, 4, 4, seed=1)
    for scale in (0.3, torch.tensor(1.7, dtype=F64)):
        torch.testing.assert_close(encode(Halves(), x, scale), scale * (2 * x + 1))
        torch.testing.assert_close(encode(Halves(), x, scale, noise), scale * (2 * x + 1 + noise * (x / 2).exp()))
        torch.testing.assert_close(decode(Halves(), encode(Halves(), x, scale), scale), x)
    torch.testing.assert_close(decode(Halves(), 100 * x, 2.0), (50 * x - 1) / 2)  # nothing is clipped


# The network --------------------------------------------------------------------------------------------------------


@settings(max_examples=12, deadline=None)
@given(
    b=st.integers(1, 3),
    in_ch=st.integers(1, 3),
    latent_ch=st.integers(1, 4),
    downsample=st.sampled_from([2, 4, 8]),
    h=st.integers(1, 2),
    w=st.integers(1, 3),
    dtype=st.sampled_from([torch.float32, F64, torch.bfloat16]),
)
def test_shapes_are_the_ones_it_names(b, in_ch, latent_ch, downsample, h, w, dtype):
    vae = Autoencoder(in_ch, 8, latent_ch, downsample, size=(h * downsample, w * downsample)).to(dtype)
    x = randn(b, in_ch, h * downsample, w * downsample).to(dtype)
    mu, logvar = vae.encode(x)
    assert mu.shape == logvar.shape == (b, *vae.latent_shape) == (b, latent_ch, h, w)
    assert vae.decode(mu).shape == x.shape and vae.decode(mu).dtype == mu.dtype == dtype


def test_samples_do_not_mix_also_in_training():
    vae = Autoencoder(1, 8, 3, 4, size=8).double().train()
    x = randn(3, 1, 8, 8)
    mu, logvar = vae.encode(x)
    recon = vae.decode(mu)
    for i in range(3):
        one = vae.encode(x[i : i + 1])
        torch.testing.assert_close(one[0], mu[i : i + 1])
        torch.testing.assert_close(one[1], logvar[i : i + 1])
        torch.testing.assert_close(vae.decode(one[0]), recon[i : i + 1])


def test_every_parameter_and_every_pixel_has_a_gradient():
    torch.manual_seed(0)
    vae, x = Autoencoder(3, 8, 2, 4, size=8), randn(2, 3, 8, 8, dtype=torch.float32).requires_grad_()
    mu, logvar = vae.encode(x)
    z = reparameterize(mu, logvar, randn(*mu.shape, dtype=torch.float32))
    vae_loss(vae.decode(z), x.detach(), mu, logvar, 0.1).backward()
    assert (x.grad != 0).all()
    assert all(p.grad.abs().max() > 0 for p in vae.parameters())


def test_weights_do_not_depend_on_the_size():
    vae = Autoencoder(1, 8, 2, 4, size=8)
    larger = Autoencoder(1, 8, 2, 4, size=(16, 32))
    larger.load_state_dict(vae.state_dict())
    assert larger.latent_shape == (2, 4, 8) and Autoencoder(1, 8, 2, 4).latent_shape == (2, 8, 8)


def test_a_runaway_encoder_keeps_a_finite_loss():
    vae = Autoencoder(1, 8, 2, 2, size=4)
    with torch.no_grad():
        vae.encoder[-1].bias[2:] = torch.tensor([500.0, -500.0])
    mu, logvar = vae.encode(torch.zeros(1, 1, 4, 4))
    assert logvar[:, 0].max() == 20 and logvar[:, 1].min() == -30
    assert kl_divergence(mu, logvar).isfinite().all()


def test_bad_autoencoders_are_named():
    for arguments, message in (
        ((1, 8, 2, 1), "downsample is 1; expected 2, 4, 8"),
        ((1, 8, 2, 6), "downsample is 6"),
        ((0, 8, 2, 2), "in_ch is 0; expected at least 1"),
        ((1, 0, 2, 2), "base_ch is 0"),
        ((1, 8, 0, 2), "latent_ch is 0"),
        ((1, 8, 2, 4, 10), "size is 10; expected a height and width divisible by downsample = 4"),
        ((1, 8, 2, 4, (8, 0)), r"size is \(8, 0\)"),
    ):
        with pytest.raises(ValueError, match=message):
            Autoencoder(*arguments)


def test_bad_images_and_latents_are_named():
    vae = Autoencoder(1, 8, 2, 4, size=8)
    for x in (torch.zeros(2, 3, 8, 8), torch.zeros(2, 1, 16, 16), torch.zeros(1, 8, 8)):
        with pytest.raises(ValueError, match=r"x has shape .*expected \(B, 1, 8, 8\)"):
            vae.encode(x)
    for z in (torch.zeros(2, 3, 2, 2), torch.zeros(2, 2, 4, 4)):
        with pytest.raises(ValueError, match=r"z has shape .*expected \(B, 2, 2, 2\)"):
            vae.decode(z)
