"""diffusers' schedulers against the same formulas here.

Conventions. Its arrays start at the first noisy step: alphas_cumprod[i] is our abar[i + 1], its timestep i our step
i + 1, and so t = (i + 1) / T. Its "sigma" schedulers (Euler, Heun) hold x_t / alpha and measure sigma / alpha, but show
the network x_t; DPM-Solver and DDIM hold x_t. It computes in float32; where a test asks for more than 1e-5, it first
gives the scheduler our schedule in float64.
"""

from functools import partial
from itertools import pairwise

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EDMEulerScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    HeunDiscreteScheduler,
)
from diffusers.models.embeddings import get_timestep_embedding
from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr as peers_rescale

from noise2data.denoiser import Denoiser, edm_precondition
from noise2data.networks.embeddings import timestep_embedding
from noise2data.paths import EDM, Discrete, Linear
from noise2data.samplers import (
    ancestral,
    ddim,
    dpmpp_2m,
    euler,
    heun,
    karras,
    karras_sigmas,
    sample,
    spaced,
    spaced_steps,
)
from noise2data.schedules import (
    betas_from_alpha_bar,
    cosine_alpha_bar,
    linear_alpha_bar,
    rescale_zero_terminal_snr,
)

T = 1000
ABAR = linear_alpha_bar(T)
PATH = Discrete(ABAR)
FLOAT32 = {"rtol": 1e-5, "atol": 1e-6}  # what is computed in single precision
FLOAT64 = {"rtol": 1e-10, "atol": 1e-10}


def wide(scheduler):
    """The scheduler with our schedule, in float64."""
    scheduler.alphas_cumprod = ABAR[1:].clone()
    return scheduler


def time(i):
    """The path's time at diffusers' timestep i; -1 is the data."""
    return (int(i) + 1) / T


# Schedules ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "abar"), [("linear", linear_alpha_bar(T)), ("squaredcos_cap_v2", cosine_alpha_bar(T))]
)
def test_alphas_cumprod_is_our_schedule_without_its_first_entry(name, abar):
    theirs = DDPMScheduler(num_train_timesteps=T, beta_schedule=name)
    torch.testing.assert_close(theirs.alphas_cumprod.double(), abar[1:], **FLOAT32)
    torch.testing.assert_close(theirs.betas.double(), betas_from_alpha_bar(abar), **FLOAT32)


def test_zero_terminal_snr_keeps_their_first_noisy_step_and_our_clean_one():
    theirs = torch.cumprod(1 - peers_rescale(betas_from_alpha_bar(ABAR)), 0)
    ours = rescale_zero_terminal_snr(ABAR)
    assert ours[0] == 1 and ours[-1] == 0 and theirs[-1] == 0
    torch.testing.assert_close(theirs, ours[1:] * ABAR[1] / ours[1], **FLOAT64)


@pytest.mark.parametrize("spacing", ["linspace", "leading", "trailing"])
@pytest.mark.parametrize("n", [10, 20, 50, 1000])
def test_timesteps_are_our_steps_counted_from_zero(spacing, n):
    theirs = DDIMScheduler(num_train_timesteps=T, timestep_spacing=spacing)
    theirs.set_timesteps(n)
    assert [int(i) + 1 for i in theirs.timesteps] == spaced_steps(T, n, spacing)[:-1]


def test_karras_sigmas_agree():
    theirs = EulerDiscreteScheduler(num_train_timesteps=T, beta_schedule="linear", use_karras_sigmas=True)
    theirs.set_timesteps(25)
    # Between their own ends: 1 - alphas_cumprod in float32 leaves the lowest with three digits.
    low, high = theirs.sigmas[-2].item(), theirs.sigmas[0].item()
    assert low == pytest.approx(float(PATH.sigma(1 / T) / PATH.alpha(1 / T)), rel=1e-3)
    torch.testing.assert_close(theirs.sigmas.double(), karras_sigmas(25, low, high), **FLOAT32)


def test_the_sigma_at_a_timestep_is_sigma_over_alpha():
    theirs = EulerDiscreteScheduler(num_train_timesteps=T, beta_schedule="linear", timestep_spacing="trailing")
    theirs.set_timesteps(20)
    grid = spaced(T, 20)
    torch.testing.assert_close(theirs.sigmas.double(), PATH.sigma(grid) / PATH.alpha(grid), **FLOAT32)
    torch.testing.assert_close(theirs.timesteps.double() + 1, grid[:-1] * T)


# The path -----------------------------------------------------------------------------------------------------


def test_add_noise_and_get_velocity_are_mix_and_v(randn):
    theirs = wide(DDPMScheduler(num_train_timesteps=T))
    x0, eps, i = randn(3, 3), randn(3, 3), torch.tensor([0, 499, 999])
    t = (i + 1) / T
    x = PATH.mix(x0, eps, t)
    torch.testing.assert_close(theirs.add_noise(x0, eps, i), x, rtol=1e-6, atol=1e-6)
    # What they call velocity is v; in this course the velocity is d x_t / dt.
    v = PATH.convert(eps, x, t, "eps", "v")
    torch.testing.assert_close(theirs.get_velocity(x0, eps, i), v, rtol=1e-6, atol=1e-6)


def test_the_timestep_embedding_is_theirs_with_its_cosines_first_and_no_shift():
    t = torch.tensor([0.0, 1.0, 17.5, 999.0])
    theirs = get_timestep_embedding(t, 64, flip_sin_to_cos=True, downscale_freq_shift=0)
    torch.testing.assert_close(timestep_embedding(t, 64), theirs, rtol=1e-5, atol=1e-4)  # t * frequency in float32


# Steps --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prediction", [("epsilon", "eps"), ("sample", "x0"), ("v_prediction", "v")])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_a_ddim_step_is_ancestral_with_its_eta(mixture, randn, prediction, eta, spacing):
    theirs = wide(
        DDIMScheduler(
            T, clip_sample=False, timestep_spacing=spacing, prediction_type=prediction[0], set_alpha_to_one=True
        )
    )
    theirs.set_timesteps(20)
    denoise = partial(mixture.denoise, path=PATH)
    for i in theirs.timesteps[[0, 7, 19]]:
        t, s = time(i), time(max(i - T // 20, -1))
        x, noise = randn(5, 2), randn(5, 2)
        out = PATH.convert(denoise(x, t), x, t, "x0", prediction[1])
        got = theirs.step(out, i, x, eta=eta, variance_noise=noise).prev_sample
        torch.testing.assert_close(ancestral(denoise, PATH, x, t, s, noise, eta=eta), got, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_a_ddim_run_ends_where_ours_ends(mixture, randn, spacing):
    theirs = wide(DDIMScheduler(T, clip_sample=False, timestep_spacing=spacing, set_alpha_to_one=True))
    theirs.final_alpha_cumprod = torch.ones((), dtype=torch.float64)
    theirs.set_timesteps(50)
    start = x = randn(16, 2)
    for i in theirs.timesteps:
        eps = PATH.convert(mixture.denoise(x, time(i), PATH), x, time(i), "x0", "eps")
        x = theirs.step(eps, i, x).prev_sample
    ours = sample(partial(mixture.denoise, path=PATH), PATH, start, spaced(T, 50, spacing), ddim)
    torch.testing.assert_close(ours, x, **FLOAT64)


@pytest.mark.parametrize("n", [20, 1000])
def test_a_ddpm_step_is_ancestral(mixture, randn, n):
    theirs = wide(DDPMScheduler(T, clip_sample=False, variance_type="fixed_small", timestep_spacing="trailing"))
    theirs.one = torch.ones((), dtype=torch.float64)
    theirs.set_timesteps(n)
    denoise = partial(mixture.denoise, path=PATH)
    for i, j in [*pairwise(theirs.timesteps), (theirs.timesteps[-1], -1)][:: n // 10]:
        x, t, s = randn(5, 2), time(i), time(j)
        eps = PATH.convert(denoise(x, t), x, t, "x0", "eps")
        got = theirs.step(eps, i, x, generator=torch.Generator().manual_seed(3)).prev_sample
        noise = torch.randn(5, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        torch.testing.assert_close(ancestral(denoise, PATH, x, t, s, noise), got, **FLOAT64)


def peers_run(scheduler, mixture, x, n, holds):
    """A run of a scheduler with the exact eps. holds: "x" or "x / alpha", what its states are. Ends at the data."""
    scheduler.set_timesteps(n)
    x = (x / PATH.alpha(1.0) if holds == "x / alpha" else x).float()
    for i in scheduler.timesteps:
        seen = scheduler.scale_model_input(x, i)
        eps = PATH.convert(mixture.denoise(seen, time(i), PATH), seen, time(i), "x0", "eps")
        x = scheduler.step(eps, i, x).prev_sample
    return x.double()


@pytest.mark.parametrize(
    ("scheduler", "holds", "step"),
    [
        (EulerDiscreteScheduler, "x / alpha", ddim),
        (HeunDiscreteScheduler, "x / alpha", heun),
        (partial(DPMSolverMultistepScheduler, algorithm_type="dpmsolver++", solver_order=2), "x", dpmpp_2m),
    ],
    ids=["euler", "heun", "dpmpp_2m"],
)
@pytest.mark.parametrize("n", [8, 20])
def test_a_run_ends_where_ours_ends(mixture, randn, scheduler, holds, step, n):
    theirs = scheduler(num_train_timesteps=T, beta_start=1e-4, beta_end=0.02, timestep_spacing="trailing")
    start = randn(16, 2)
    ours = sample(partial(mixture.denoise, path=PATH), PATH, start, spaced(T, n), step)
    torch.testing.assert_close(ours, peers_run(theirs, mixture, start, n, holds), rtol=1e-5, atol=1e-5)


def test_the_edm_scheduler_preconditions_and_steps_as_ours(randn):
    path = EDM(80.0)
    weights = randn(2, 2)

    def net(x, c):
        return torch.tanh(x @ weights.to(x)) * torch.cos(c)[:, None]

    theirs = EDMEulerScheduler(sigma_min=0.002, sigma_max=80.0, sigma_data=0.5)
    theirs.set_timesteps(18)
    start = 80 * randn(8, 2)
    torch.testing.assert_close(theirs.sigmas.double(), karras_sigmas(18, 0.002, 80.0), **FLOAT32)
    torch.testing.assert_close(theirs.timesteps, edm_precondition(theirs.sigmas[:-1], 0.5)[3], **FLOAT32)

    x = start.float()
    for c in theirs.timesteps:
        x = theirs.step(net(theirs.scale_model_input(x, c), c.expand(8)), c, x).prev_sample
    denoiser = Denoiser(net, path, "edm", sigma_data=0.5)
    for step in (ddim, euler):  # the same on this path
        ours = sample(denoiser, path, start, karras(path, 18, 0.002, 80.0), step)
        torch.testing.assert_close(ours, x.double(), rtol=1e-5, atol=1e-5)


def test_the_flow_matching_scheduler_is_euler_on_the_straight_path(mixture, randn):
    path = Linear()
    theirs = FlowMatchEulerDiscreteScheduler(T, shift=1.0)
    theirs.set_timesteps(sigmas=torch.linspace(1, 1 / 10, 10).tolist())
    start = randn(16, 2)
    x = start.float()
    for i in theirs.timesteps:  # counts like ours from 1 to T: no shift
        x = theirs.step(mixture.velocity(x, float(i) / T, path), i, x).prev_sample
    grid = torch.linspace(1, 0, 11, dtype=torch.float64)
    for step in (ddim, euler):
        ours = sample(partial(mixture.denoise, path=path), path, start, grid, step)
        torch.testing.assert_close(ours, x.double(), rtol=1e-5, atol=1e-5)
