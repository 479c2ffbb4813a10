"""torchcfm and flow_matching against the same formulas here.

Conventions. Both run time from noise to data: their t is our 1 - t, their x_0 our eps, their x_1 our x0, and their
velocity minus ours. flow_matching's "snr" is alpha / sigma, the square root of ours.
"""

import pytest
import torch
from flow_matching.path import AffineProbPath
from flow_matching.path.scheduler import CondOTScheduler, CosineScheduler, VPScheduler
from flow_matching.solver import ODESolver
from torchcfm.conditional_flow_matching import (
    ConditionalFlowMatcher,
    TargetConditionalFlowMatcher,
    VariancePreservingConditionalFlowMatcher,
)
from torchcfm.models.unet.nn import timestep_embedding as peers_embedding
from torchcfm.optimal_transport import OTPlanSampler

from noise2data.flows import flip_time, minibatch_ot
from noise2data.likelihood import log_likelihood
from noise2data.networks.embeddings import timestep_embedding
from noise2data.odes import euler_step, integrate
from noise2data.paths import Linear, VPCosine, VPLinear
from noise2data.samplers import ddim, euler, sample, uniform

FLOAT64 = {"rtol": 1e-10, "atol": 1e-10}
TIMES = torch.linspace(0.02, 0.97, 5, dtype=torch.float64)
PATHS = [
    (CondOTScheduler(), Linear()),
    (CosineScheduler(), VPCosine(s=0.0)),
    (VPScheduler(0.1, 20.0), VPLinear(0.1, 20.0)),
]
each_path = pytest.mark.parametrize(("theirs", "ours"), PATHS, ids=["linear", "cosine", "vp"])


# flow_matching ------------------------------------------------------------------------------------------------


@each_path
def test_a_scheduler_is_a_path_in_reversed_time(theirs, ours):
    out = theirs(1 - TIMES)
    torch.testing.assert_close(out.alpha_t, ours.alpha(TIMES), **FLOAT64)
    torch.testing.assert_close(out.sigma_t, ours.sigma(TIMES), **FLOAT64)
    torch.testing.assert_close(out.d_alpha_t, -ours.dalpha(TIMES), **FLOAT64)
    torch.testing.assert_close(out.d_sigma_t, -ours.dsigma(TIMES), **FLOAT64)


@each_path
def test_their_snr_is_the_root_of_ours(theirs, ours):
    ratio = torch.tensor([0.05, 0.4, 1.0, 9.0], dtype=torch.float64)
    torch.testing.assert_close(1 - theirs.snr_inverse(ratio), ours.inverse_log_snr(2 * ratio.log()), **FLOAT64)


@each_path
def test_a_path_sample_is_mix_and_minus_the_velocity(theirs, ours, randn):
    x0, eps = randn(5, 2), randn(5, 2)
    drawn = AffineProbPath(theirs).sample(x_0=eps, x_1=x0, t=1 - TIMES)
    x = ours.mix(x0, eps, TIMES)
    torch.testing.assert_close(drawn.x_t, x, **FLOAT64)
    torch.testing.assert_close(drawn.dx_t, -ours.convert(x0, x, TIMES, "x0", "velocity"), rtol=1e-8, atol=1e-8)


@each_path
@pytest.mark.parametrize(
    ("name", "source", "target"),
    [
        ("target_to_velocity", "x0", "velocity"),
        ("epsilon_to_velocity", "eps", "velocity"),
        ("velocity_to_target", "velocity", "x0"),
        ("epsilon_to_target", "eps", "x0"),
        ("velocity_to_epsilon", "velocity", "eps"),
        ("target_to_epsilon", "x0", "eps"),
    ],
)
def test_conversions_agree(theirs, ours, randn, name, source, target):
    pred, x = randn(4, 2), randn(4, 2)
    signs = [-1 if name == "velocity" else 1 for name in (source, target)]
    for t in TIMES:  # one time a call: theirs do not shape a batch of times
        got = signs[1] * getattr(AffineProbPath(theirs), name)(signs[0] * pred, x, 1 - t)
        torch.testing.assert_close(ours.convert(pred, x, t, source, target), got, rtol=1e-9, atol=1e-9)


def test_their_euler_solver_ends_where_ours_ends(mixture, randn):
    path, noise = Linear(), randn(16, 2)

    def velocity(x, t):  # in their time
        return -mixture.velocity(x, 1 - t, path)

    theirs = ODESolver(velocity).sample(
        x_init=noise, step_size=0.1, method="euler", time_grid=torch.tensor([0.0, 1.0]).double()
    )
    grid = uniform(10)
    for step in (ddim, euler):
        ours = sample(lambda x, t: mixture.denoise(x, t, path), path, noise, grid, step)
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(
        integrate(flip_time(velocity), noise, grid, euler_step)[-1], theirs, rtol=1e-9, atol=1e-9
    )


def test_likelihoods_agree(mixture):
    path, x = Linear(), mixture.sample(8, torch.Generator().manual_seed(1))
    noise_log_prob = torch.distributions.Independent(
        torch.distributions.Normal(torch.zeros(2).double(), 1.0), 1
    ).log_prob
    solver = ODESolver(lambda x, t: -mixture.velocity(x, 1 - t, path))
    _, theirs = solver.compute_likelihood(x, noise_log_prob, step_size=0.02, method="midpoint", exact_divergence=True)
    start = 1e-4  # ours needs some noise to begin with
    ours = log_likelihood(lambda x, t: mixture.denoise(x, t, path), path, (1 - start) * x, uniform(300, t_min=start))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-3)
    torch.testing.assert_close(theirs, mixture.log_prob(x), rtol=0, atol=2e-3)


# torchcfm -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("matcher", "path"),
    [
        (ConditionalFlowMatcher(sigma=0.0), Linear()),
        (TargetConditionalFlowMatcher(sigma=0.0), Linear()),
        (VariancePreservingConditionalFlowMatcher(sigma=0.0), VPCosine(s=0.0)),
    ],
    ids=["independent", "target", "variance_preserving"],
)
def test_a_matcher_is_a_path_in_reversed_time(matcher, path, randn):
    x0, eps = randn(5, 2), randn(5, 2)
    x, t = path.mix(x0, eps, TIMES), 1 - TIMES
    if isinstance(matcher, TargetConditionalFlowMatcher):  # the noise is its epsilon; the mean is that of x_1 alone
        got = matcher.sample_xt(torch.zeros_like(eps), x0, t, eps)
    else:
        got = matcher.sample_xt(eps, x0, t, torch.zeros_like(eps))
    torch.testing.assert_close(got, x, **FLOAT64)
    flow = matcher.compute_conditional_flow(eps, x0, t[:, None], x)
    torch.testing.assert_close(flow, -path.convert(x0, x, TIMES, "x0", "velocity"), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", [(2, 2), (40, 2), (16, 1, 4, 4)])
def test_the_transport_plan_is_our_permutation(randn, shape):
    x0, eps = randn(*shape), randn(*shape)
    plan = torch.from_numpy(OTPlanSampler(method="exact").get_map(x0, eps))
    assert torch.equal(minibatch_ot(x0, eps), eps[plan.argmax(1)])


def test_the_timestep_embedding_agrees():
    t = torch.tensor([0.0, 1.0, 17.5, 999.0])
    torch.testing.assert_close(timestep_embedding(t, 64), peers_embedding(t, 64), rtol=1e-5, atol=1e-4)
