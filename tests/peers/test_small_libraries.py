"""smalldiffusion and denoising-diffusion-pytorch against the same formulas here.

Conventions. smalldiffusion's schedule is a tensor of noise levels sigma / alpha from the first noisy step on, its state
is x / alpha, and its grids end at the lowest level, not at 0. denoising-diffusion-pytorch counts steps from 0 (its step
i is our i + 1), and its "linear" betas are divided by T / 1000, so that they suit any T.
"""

from functools import partial

import pytest
import torch
from denoising_diffusion_pytorch import GaussianDiffusion, Unet
from denoising_diffusion_pytorch.denoising_diffusion_pytorch import cosine_beta_schedule, linear_beta_schedule
from smalldiffusion import ModelMixin, ScheduleCosine, ScheduleDDPM, get_sigma_embeds, samples

from noise2data.networks.embeddings import timestep_embedding
from noise2data.paths import Discrete
from noise2data.samplers import ancestral, ddim, sample, spaced_steps
from noise2data.schedules import betas_from_alpha_bar, cosine_alpha_bar, linear_alpha_bar

T = 1000
ABAR = linear_alpha_bar(T)
PATH = Discrete(ABAR)
FLOAT64 = {"rtol": 1e-10, "atol": 1e-10}


def level(t):
    return PATH.sigma(t) / PATH.alpha(t)


# smalldiffusion -----------------------------------------------------------------------------------------------


class ExactEps(ModelMixin):
    """Their model interface: eps at x / alpha and a noise level."""

    input_dims = (2,)

    def __init__(self, mixture):
        self.mixture = mixture

    def eval(self):
        return self

    def __call__(self, x, sigma, cond=None):
        t = PATH.inverse_log_snr(-2 * sigma.log())
        x = PATH.alpha(t) * x
        return PATH.convert(self.mixture.denoise(x, t, PATH), x, t, "x0", "eps")


@pytest.mark.parametrize(
    ("schedule", "abar"), [(ScheduleDDPM(T), ABAR), (ScheduleCosine(T), cosine_alpha_bar(T))], ids=["linear", "cosine"]
)
def test_a_schedule_is_sigma_over_alpha_at_the_steps(schedule, abar):
    theirs = 1 / (1 + schedule.sigmas.double() ** 2)  # the lowest levels themselves have three digits in float32
    torch.testing.assert_close(abar[1:], theirs, rtol=1e-5, atol=1e-8)


def test_sample_sigmas_are_the_trailing_steps_and_then_the_lowest_level():
    schedule = ScheduleDDPM(T)
    steps = torch.tensor([*spaced_steps(T, 20, "trailing")[:-1], 1])
    assert torch.equal(schedule.sample_sigmas(20), schedule.sigmas[steps - 1])


@pytest.mark.parametrize(("mu", "eta"), [(0.0, 0.0), (0.5, 1.0)], ids=["ddim", "ddpm"])
def test_a_run_ends_where_ours_ends(mixture, randn, monkeypatch, mu, eta):
    grid = torch.tensor([*spaced_steps(T, 20)[:-1], 1], dtype=torch.float64) / T
    start, noises = randn(16, 2), randn(20, 16, 2)
    model, draws = ExactEps(mixture), iter(noises)
    model.rand_input = lambda batchsize: next(draws)
    *_, theirs = samples(model, level(grid), gam=1.0, mu=mu, xt=start / PATH.alpha(1.0))

    draws, denoise = iter(noises), partial(mixture.denoise, path=PATH)
    if eta:

        def step(denoise, path, x, t, s):
            return ancestral(denoise, path, x, t, s, next(draws), eta=eta)
    else:
        step = ddim
    ours = sample(denoise, PATH, start, grid, step)
    torch.testing.assert_close(ours / PATH.alpha(grid[-1]), theirs, rtol=1e-8, atol=1e-8)


def test_their_noise_embedding_is_ours_with_the_sine_first():
    sigma = torch.tensor([0.01, 0.3, 5.0])
    cos, sin = timestep_embedding(2 * sigma.log() / 4, 2).unbind(1)
    torch.testing.assert_close(torch.stack([sin, cos], 1), get_sigma_embeds(3, sigma))


# denoising-diffusion-pytorch ----------------------------------------------------------------------------------


def test_beta_schedules_agree():
    torch.testing.assert_close(betas_from_alpha_bar(linear_alpha_bar(T)), linear_beta_schedule(T), **FLOAT64)
    torch.testing.assert_close(betas_from_alpha_bar(cosine_alpha_bar(T)), cosine_beta_schedule(T), **FLOAT64)


def test_their_linear_betas_grow_for_fewer_steps_and_ours_do_not():
    torch.testing.assert_close(betas_from_alpha_bar(linear_alpha_bar(250, 4e-4, 0.08)), linear_beta_schedule(250))


@pytest.fixture(scope="module")
def diffusion():
    net = Unet(8, dim_mults=(1,), channels=1, attn_dim_head=4, attn_heads=1)
    return GaussianDiffusion(net, image_size=8, timesteps=T, beta_schedule="linear", objective="pred_noise").double()


def test_the_posterior_is_an_ancestral_step(diffusion, randn):
    x0, x, noise = randn(4, 1, 2, 2), randn(4, 1, 2, 2), randn(4, 1, 2, 2)
    i = torch.tensor([1, 10, 500, 999])
    mean, variance, _ = diffusion.q_posterior(x0, x, i)
    ours = ancestral(lambda x, t: x0, PATH, x, (i + 1) / T, i / T, noise)
    torch.testing.assert_close(ours, mean + variance.sqrt() * noise, rtol=1e-5, atol=1e-6)  # its buffers are float32


def test_q_sample_and_v_agree(diffusion, randn):
    x0, eps, i = randn(4, 1, 2, 2), randn(4, 1, 2, 2), torch.tensor([0, 10, 500, 999])
    x = PATH.mix(x0, eps, (i + 1) / T)
    torch.testing.assert_close(diffusion.q_sample(x0, i, eps), x, rtol=1e-6, atol=1e-6)
    v = PATH.convert(x0, x, (i + 1) / T, "x0", "v")
    torch.testing.assert_close(diffusion.predict_v(x0, i, eps), v, rtol=1e-6, atol=1e-6)
