"""k-diffusion, which is EDM's formulas with samplers as functions, against the same here.

Conventions. Its clock is the noise level sigma, its state x0 + sigma eps: our path EDM(sigma_max) at t = sigma /
sigma_max. `model(x, sigma)` returns x0_hat, as a denoise does. EDM's c_noise = ln(sigma) / 4 is left to its networks,
which are called with sigma itself; ours get c_noise.
"""

import math
from functools import partial

import pytest
import torch

from noise2data.denoiser import Denoiser, edm_precondition
from noise2data.objectives import denoising_loss, edm_weight
from noise2data.paths import EDM, Discrete, VPCosine, VPLinear
from noise2data.samplers import ancestral, ddim, dpmpp_2m, euler, heun, karras, karras_sigmas, sample
from noise2data.schedules import linear_alpha_bar

PATH = EDM(80.0)
FLOAT32 = {"rtol": 1e-5, "atol": 1e-6}
FLOAT64 = {"rtol": 1e-10, "atol": 1e-10}


@pytest.fixture
def tanh_net(randn):
    """A network of (x, sigma), as k-diffusion calls it."""
    weights = randn(2, 2)
    return lambda x, sigma: torch.tanh(x @ weights) * torch.cos(sigma.log())[:, None]


# Noise levels -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 10, 50])
def test_karras_sigmas_agree(k_diffusion, n):
    theirs = k_diffusion("sampling").get_sigmas_karras(n, 0.002, 80.0)
    torch.testing.assert_close(karras_sigmas(n, 0.002, 80.0), theirs.double(), **FLOAT32)


def test_exponential_sigmas_are_karras_sigmas_of_infinite_rho(k_diffusion):
    theirs = k_diffusion("sampling").get_sigmas_exponential(20, 0.02, 80.0)
    torch.testing.assert_close(karras_sigmas(20, 0.02, 80.0, rho=math.inf), theirs.double(), **FLOAT32)


def test_vp_sigmas_are_sigma_over_alpha(k_diffusion):
    theirs = k_diffusion("sampling").get_sigmas_vp(20, beta_d=19.9, beta_min=0.1, eps_s=1e-3)[:-1].double()
    path, t = VPLinear(0.1, 20.0), torch.linspace(1, 1e-3, 20, dtype=torch.float64)
    # As alpha^2: the lowest levels themselves, exp(small) - 1 in float32, have three digits.
    torch.testing.assert_close(path.alpha(t) ** 2, 1 / (1 + theirs**2), **FLOAT32)


def test_discrete_levels_are_interpolated_as_on_the_discrete_path(k_diffusion):
    abar = linear_alpha_bar(1000)
    path = Discrete(abar)
    theirs = k_diffusion("external").DiscreteEpsDDPMDenoiser(None, abar[1:], quantize=False)
    i = torch.tensor([0.0, 0.25, 17.5, 998.75, 999.0])  # zero-based: our step i + 1
    t = (i.double() + 1) / 1000
    torch.testing.assert_close(path.sigma(t) / path.alpha(t), theirs.t_to_sigma(i), rtol=1e-6, atol=0)
    torch.testing.assert_close(theirs.sigma_to_t(path.sigma(t) / path.alpha(t)), i.double(), rtol=1e-6, atol=1e-6)


# Denoisers and losses -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma_data", [0.5, 1.0])
def test_the_preconditioning_agrees(k_diffusion, tanh_net, randn, sigma_data):
    theirs = k_diffusion("layers").Denoiser(tanh_net, sigma_data=sigma_data)
    sigma = torch.tensor([0.002, 0.1, 0.5, 7.0, 80.0], dtype=torch.float64)
    c_skip, c_out, c_in, c_noise = edm_precondition(sigma, sigma_data)
    for ours, peers in zip((c_skip, c_out, c_in), theirs.get_scalings(sigma), strict=True):
        torch.testing.assert_close(ours, peers, **FLOAT64)
    torch.testing.assert_close(c_noise, sigma.log() / 4)

    ours = Denoiser(lambda x, c: tanh_net(x, (4 * c).exp()), PATH, "edm", sigma_data=sigma_data)
    x = randn(5, 2)
    torch.testing.assert_close(ours(x, sigma / 80), theirs(x, sigma), **FLOAT64)


def test_the_weighted_loss_agrees(k_diffusion, tanh_net, randn):
    theirs = k_diffusion("layers").Denoiser(tanh_net, sigma_data=0.5)
    ours = Denoiser(lambda x, c: tanh_net(x, (4 * c).exp()), PATH, "edm", sigma_data=0.5)
    x0, eps, sigma = randn(6, 2), randn(6, 2), torch.exp(1.2 * randn(6) - 1.2)
    loss = denoising_loss(ours, x0, sigma / 80, eps, weight=partial(edm_weight, sigma_data=0.5))
    torch.testing.assert_close(loss, theirs.loss(x0, eps, sigma).mean(), **FLOAT64)


def test_a_v_network_denoises_alike(k_diffusion, tanh_net, randn):
    path = VPCosine(s=0.0)  # their time: sigma / alpha = tan(pi t / 2)
    t = torch.tensor([0.01, 0.3, 0.5, 0.9, 0.999], dtype=torch.float64)
    theirs = k_diffusion("external").VDenoiser(tanh_net)
    sigma = theirs.t_to_sigma(t)
    torch.testing.assert_close(path.sigma(t) / path.alpha(t), sigma, **FLOAT64)
    x = path.mix(randn(5, 2), randn(5, 2), t)
    ours = Denoiser(tanh_net, path, "v")
    torch.testing.assert_close(ours(x, t), theirs(x / path.alpha(t)[:, None], sigma), **FLOAT64)


# Samplers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "step"),
    [("sample_euler", ddim), ("sample_euler", euler), ("sample_heun", heun), ("sample_dpmpp_2m", dpmpp_2m)],
)
@pytest.mark.parametrize("n", [1, 2, 12])
def test_a_run_ends_where_ours_ends(k_diffusion, mixture, randn, name, step, n):
    start, sigmas = 80 * randn(16, 2), karras_sigmas(n, 0.002, 80.0)

    def model(x, sigma):
        return mixture.denoise(x, sigma / 80, PATH)

    theirs = getattr(k_diffusion("sampling"), name)(model, start, sigmas, disable=True)
    ours = sample(partial(mixture.denoise, path=PATH), PATH, start, karras(PATH, n, 0.002, 80.0), step)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_an_ancestral_step_agrees(k_diffusion, mixture, randn, eta):
    x, noise = 3 * randn(16, 2), randn(16, 2)
    sigmas = torch.tensor([3.0, 1.2], dtype=torch.float64)
    theirs = k_diffusion("sampling").sample_euler_ancestral(
        lambda x, sigma: mixture.denoise(x, sigma / 80, PATH),
        x,
        sigmas,
        eta=eta,
        noise_sampler=lambda *levels: noise,
        disable=True,
    )
    ours = ancestral(partial(mixture.denoise, path=PATH), PATH, x, 3 / 80, 1.2 / 80, noise, eta=eta)
    torch.testing.assert_close(ours, theirs, **FLOAT64)
