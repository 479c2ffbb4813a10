"""The one loss under every weight: identities, exact expectations on mixtures, gradients, times.

Expectations are exact: for a mixture in one dimension, those over x0 and eps are Gauss-Hermite sums, whose nodes make
one batch. What an equation says is asserted to 1e-10.
"""

import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from noise2data import objectives
from noise2data.denoiser import Denoiser, edm_precondition
from noise2data.mixtures import GaussianMixture
from noise2data.objectives import (
    denoising_loss,
    dsm_loss,
    edm_weight,
    eps_weight,
    flow_matching_loss,
    logit_normal_times,
    lognormal_times,
    min_snr_weight,
    sliced_score_loss,
    step_times,
    stratified_times,
    truncated_snr_weight,
    uniform_times,
    v_weight,
    velocity_weight,
    vlb_weight,
    x0_weight,
)
from noise2data.paths import VE, Discrete, Linear, VPCosine, VPLinear, per_sample
from noise2data.schedules import betas_from_alpha_bar, cosine_alpha_bar, linear_alpha_bar

F64 = torch.float64
PATHS = {
    "vp_linear": VPLinear(),
    "vp_cosine": VPCosine(),
    "ve": VE(0.02, 5.0),
    "linear": Linear(),
    "discrete": Discrete(cosine_alpha_bar(20)),
}
each_path = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
WEIGHTS = [
    x0_weight, eps_weight, v_weight, velocity_weight, edm_weight, vlb_weight, min_snr_weight, truncated_snr_weight
]  # fmt: skip
each_weight = pytest.mark.parametrize("weight", WEIGHTS, ids=lambda w: w.__name__)
MIXTURE = GaussianMixture([[-1.0], [0.3], [1.2]], [0.2, 0.5, 0.3], [0.5, 0.6, 0.45])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def randn(*shape, seed=0, dtype=F64):
    return torch.randn(*shape, generator=generator(seed), dtype=dtype)


class On:
    """Any function of (x, t) as a denoiser on a path; it remembers the labels it was given."""

    def __init__(self, path, function):
        self.path, self.function, self.labels = path, function, None

    def __call__(self, x, t, y=None):
        self.labels = y
        return self.function(x, t)


def wrong(path):
    """A denoiser that is no one's optimum."""
    return On(path, lambda x, t: torch.sin(x) + per_sample(t, x) * x**2 / 3)


class Net(torch.nn.Module):
    """Smooth and small, in float64."""

    def __init__(self, d=2, seed=0):
        super().__init__()
        self.first, self.last = torch.nn.Linear(d + 1, 4), torch.nn.Linear(4, d)
        self.double()
        with torch.no_grad():
            for i, parameter in enumerate(self.parameters()):
                parameter.copy_(randn(*parameter.shape, seed=seed + i) / 2)

    def forward(self, x, c, y=None):
        out = self.last(torch.tanh(self.first(torch.cat([x, c[:, None]], 1))))
        return out if y is None else out * (1 + y[:, None])


# One loss, many papers ----------------------------------------------------------------------------------------


def truth(path, name, x0, eps, t):
    """The named prediction by its definition."""
    a, s, da, ds = (per_sample(f(t), x0) for f in (path.alpha, path.sigma, path.dalpha, path.dsigma))
    return {"x0": x0, "eps": eps, "v": a * eps - s * x0, "velocity": da * x0 + ds * eps, "score": -eps / s}[name]


@each_path
@pytest.mark.parametrize("B", [2, 7])  # B = d too
@pytest.mark.parametrize(
    ("prediction", "weight"), [("x0", x0_weight), ("eps", eps_weight), ("v", v_weight), ("velocity", velocity_weight)]
)
def test_a_weighted_x0_loss_is_the_squared_error_of_the_other_prediction(path, B, prediction, weight):
    x0, eps, t = randn(B, 2), randn(B, 2, seed=1), torch.linspace(0.07, 0.93, B, dtype=F64)
    model, x = wrong(path), path.mix(x0, eps, t)
    want = (path.convert(model(x, t), x, t, "x0", prediction) - truth(path, prediction, x0, eps, t)).square().mean()
    torch.testing.assert_close(denoising_loss(model, x0, t, eps, weight=weight), want, rtol=1e-10, atol=0)


@each_path
def test_songs_sigma_squared_weight_of_the_score_is_the_eps_loss(path):
    x0, eps, t = randn(7, 2), randn(7, 2, seed=1), torch.linspace(0.07, 0.93, 7, dtype=F64)
    model, x = wrong(path), path.mix(x0, eps, t)
    error = path.convert(model(x, t), x, t, "x0", "score") - truth(path, "score", x0, eps, t)
    want = (per_sample(path.sigma(t), x0) * error).square().mean()
    torch.testing.assert_close(denoising_loss(model, x0, t, eps, weight=eps_weight), want, rtol=1e-10, atol=0)


def test_dsm_loss_is_the_eps_loss_on_the_ve_path():
    path, x0, eps, t = VE(), randn(6, 3), randn(6, 3, seed=1), torch.linspace(0.1, 0.9, 6, dtype=F64)
    model, sigma = wrong(path), path.sigma(t)

    def score_net(x, sigma):
        return path.convert(model(x, t), x, t, "x0", "score")

    want = denoising_loss(model, x0, t, eps, weight=eps_weight)
    torch.testing.assert_close(dsm_loss(score_net, x0, sigma, eps), want, rtol=1e-10, atol=0)


@each_path
def test_edms_weight_makes_the_network_see_a_plain_squared_error(path):
    """lambda = (s^2 + d^2) / (s d)^2 at the level s = sigma / alpha, and lambda c_out^2 = 1."""
    t = torch.linspace(0.05, 0.95, 9, dtype=F64)
    s, d = path.sigma(t) / path.alpha(t), 0.7
    torch.testing.assert_close(edm_weight(path, t, d), (s**2 + d**2) / (s * d) ** 2, rtol=1e-10, atol=0)
    torch.testing.assert_close(edm_weight(path, t, d) * edm_precondition(s, d)[1] ** 2, torch.ones(9, dtype=F64))


@pytest.mark.parametrize("predicts", ["eps", "x0", "v", "velocity"])
def test_the_loss_of_a_network_in_its_own_prediction(predicts):
    """Denoiser and weight together: the network's output against its target, and nothing else."""
    path, net = VPCosine(), Net()
    x0, eps, t = randn(5, 2), randn(5, 2, seed=1), torch.linspace(0.1, 0.9, 5, dtype=F64)
    weight = getattr(objectives, f"{predicts}_weight")
    want = (net(path.mix(x0, eps, t), t) - truth(path, predicts, x0, eps, t)).square().mean()
    got = denoising_loss(Denoiser(net, path, predicts), x0, t, eps, weight=weight)
    torch.testing.assert_close(got, want, rtol=1e-10, atol=0)
    if predicts == "velocity":
        torch.testing.assert_close(flow_matching_loss(Denoiser(net, path, predicts), x0, t, eps), want)


def test_weights_in_their_papers_words():
    t = torch.linspace(0.05, 0.95, 19, dtype=F64)
    torch.testing.assert_close(velocity_weight(Linear(), t), 1 / t**2, rtol=1e-12, atol=0)
    for path in (VPLinear(), VPCosine(), Discrete(linear_alpha_bar(19))):
        snr = path.log_snr(t).exp()
        torch.testing.assert_close(v_weight(path, t), snr + 1, rtol=1e-10, atol=0)
        torch.testing.assert_close(truncated_snr_weight(path, t), torch.maximum(snr, snr**0), rtol=1e-12, atol=0)
        for gamma in (1.0, 5.0):  # Hang et al.: the weight of each prediction's own error
            got = min_snr_weight(path, t, gamma)
            torch.testing.assert_close(got / snr, (gamma / snr).clamp(max=1), rtol=1e-12, atol=0)
            torch.testing.assert_close(got / v_weight(path, t), snr.clamp(max=gamma) / (snr + 1), rtol=1e-10, atol=0)


def test_which_weights_are_finite_at_the_data_and_that_all_are_at_noise():
    ends = torch.tensor([0.0, 1.0], dtype=F64)
    for path in (VPCosine(), Linear()):
        assert min_snr_weight(path, ends).tolist() == [5.0, 0.0]
        assert x0_weight(path, ends).tolist() == [1.0, 1.0]
        for weight in (eps_weight, v_weight, velocity_weight, edm_weight, truncated_snr_weight, vlb_weight):
            start, end = weight(path, ends).tolist()
            assert not math.isfinite(start) and math.isfinite(end)


# The variational bound ----------------------------------------------------------------------------------------


def test_vlb_weight_of_ddpm_is_the_factor_of_its_bound():
    """beta_k^2 / (2 sigma_k^2 alpha_k (1 - abar_k)) of the eps error, sigma_k^2 the posterior variance, k = 2..T; the T
    terms of the bound are T times their mean."""
    T = 50
    abar = linear_alpha_bar(T, 0.001, 0.2)
    k, betas = torch.arange(2, T + 1), betas_from_alpha_bar(abar)
    beta = betas[k - 1]
    posterior = beta * (1 - abar[k - 1]) / (1 - abar[k])
    want = beta**2 / (2 * posterior * (1 - beta) * (1 - abar[k]))
    path = Discrete(abar)
    got = vlb_weight(path, k.double() / T, T) / eps_weight(path, k.double() / T)
    torch.testing.assert_close(got, T * want, rtol=1e-9, atol=0)


@each_path
def test_continuous_vlb_weight_is_the_derivative_of_snr_and_the_limit_of_many_steps(path):
    t = torch.linspace(0.113, 0.887, 9, dtype=F64).requires_grad_()
    (slope,) = torch.autograd.grad(path.log_snr(t).exp().sum(), t)
    torch.testing.assert_close(vlb_weight(path, t), -slope / 2, rtol=1e-8, atol=0)
    t = t.detach()
    if path is not PATHS["discrete"]:  # its derivative jumps at the steps
        gaps = [(vlb_weight(path, t, T) / vlb_weight(path, t) - 1).abs().max().item() for T in (2000, 4000)]
        assert gaps[0] < 0.02 and 1.9 < gaps[0] / gaps[1] < 2.1


@each_path
def test_continuous_vlb_weight_is_songs_likelihood_weighting(path):
    """g^2 / 2 times the squared score error, with g of the forward SDE."""
    t = torch.linspace(0.07, 0.93, 9, dtype=F64)
    g2 = path.dvariance(t) - 2 * path.dalpha(t) / path.alpha(t) * path.sigma(t) ** 2
    of_score = path.alpha(t) ** 2 / path.sigma(t) ** 4
    torch.testing.assert_close(vlb_weight(path, t), g2 / 2 * of_score, rtol=1e-9, atol=0)


@pytest.mark.parametrize("path", [VPLinear(), Linear(), VE(0.01, 20.0)], ids=["vp_linear", "linear", "ve"])
def test_the_bounds_integral_is_information(path):
    """For N(0, s^2) and its exact denoiser: the integral of the expected loss is I(x0; x_t) - I(x0; x_1), in nats.

    I(x0; x_t) = log(1 + s^2 SNR) / 2 (Guo, Shamai and Verdu, 2005). Integrated over log t by a Gauss-Legendre rule.
    """
    s, low, high = 0.8, 0.05, 0.95
    mixture = GaussianMixture([[0.0]], [1.0], s)
    model = On(path, partial(mixture.denoise, path=path))
    nodes, node_weights = np.polynomial.legendre.leggauss(40)
    total = 0.0
    for node, weight in zip(nodes, node_weights, strict=True):
        t = low * (high / low) ** ((node + 1) / 2)
        total += weight / 2 * math.log(high / low) * t * expected(model, t, vlb_weight, mixture).item()
    information = [math.log1p(s**2 * path.log_snr(t).exp().item()) / 2 for t in (low, high)]
    assert abs(total - (information[0] - information[1])) < 1e-10


# Expectations on a mixture --------------------------------------------------------------------------------------


def nodes(mixture, n=60):
    """x0, eps and probabilities, (N, 1), (N, 1) and (N,): a Gauss-Hermite rule over the mixture and the noise."""
    z, p = np.polynomial.hermite_e.hermegauss(n)
    z, p = torch.from_numpy(z), torch.from_numpy(p / p.sum())
    k, i, j = (
        a.flatten() for a in torch.meshgrid(torch.arange(len(mixture.weights)), *[torch.arange(n)] * 2, indexing="ij")
    )
    x0 = mixture.means[k, 0] + mixture.stds[k] * z[i]
    return x0[:, None], z[j][:, None], mixture.weights[k] * p[i] * p[j]


def expected(model, t, weight, mixture=MIXTURE):
    """E[denoising_loss] at one time: the nodes are the batch, and their probabilities part of the weight."""
    x0, eps, p = nodes(mixture)
    return denoising_loss(model, x0, t, eps, weight=lambda path, t: weight(path, t) * p * len(p))


@each_path
@each_weight
def test_expected_loss_is_least_for_the_exact_denoiser(path, weight):
    """Moving off E[x0 | x_t] by c h(x) costs exactly c^2 E[weight h^2], at every time."""
    for t in (0.3, 0.8):
        exact = partial(MIXTURE.denoise, path=path)
        least = expected(On(path, exact), t, weight)
        x0, eps, p = nodes(MIXTURE)
        h = torch.cos(path.mix(x0, eps, t))
        w = weight(path, torch.tensor(t, dtype=F64))
        for c in (0.1, -0.7):
            more = expected(On(path, lambda x, t, c=c, exact=exact: exact(x, t) + c * torch.cos(x)), t, weight)
            want = least + c**2 * w * (p[:, None] * h**2).sum()
            torch.testing.assert_close(more, want, rtol=1e-8, atol=1e-10)


@each_path
def test_conditional_flow_matching_has_the_gradient_of_the_marginal_loss(path):
    """The theorem: the losses against eps- and x0-dependent targets and against the marginal field differ by the
    targets' variance, which no parameter enters."""
    x0, eps, p = nodes(MIXTURE)
    t = 0.6
    x = path.mix(x0, eps, t)
    parameters = torch.tensor([0.4, -0.3, 0.2], dtype=F64, requires_grad=True)

    def field(x, t):
        return parameters[0] + parameters[1] * x + parameters[2] * torch.sin(2 * x)

    model = On(path, lambda x, t: path.convert(field(x, t), x, t, "velocity", "x0"))
    conditional = expected(model, t, velocity_weight)
    marginal = (p[:, None] * (field(x, t) - MIXTURE.velocity(x, t, path)) ** 2).sum()
    gradients = [torch.autograd.grad(loss, parameters)[0] for loss in (conditional, marginal)]
    torch.testing.assert_close(*gradients, rtol=1e-8, atol=1e-10)
    target = truth(path, "velocity", x0, eps, torch.tensor(t, dtype=F64))
    variance = (p[:, None] * (target - MIXTURE.velocity(x, t, path)) ** 2).sum()
    torch.testing.assert_close(conditional, marginal + variance, rtol=1e-8, atol=1e-10)


def test_sliced_score_loss_of_a_gaussian_by_hand_and_at_its_minimum():
    """For s(x) = -a x it is -a |v|^2 + a^2 (v . x)^2 / 2; over data of unit variance it is least at a = 1."""
    x, v = randn(5, 3), randn(5, 3, seed=1)
    a = torch.tensor(0.7, dtype=F64, requires_grad=True)
    want = (-a * v.square().sum(1) + a**2 * (v * x).sum(1) ** 2 / 2).mean()
    torch.testing.assert_close(sliced_score_loss(lambda x: -a * x, x, v), want)
    assert torch.autograd.gradcheck(lambda a: sliced_score_loss(lambda x: -a * x, x, v), a)
    z, p = np.polynomial.hermite_e.hermegauss(20)
    z, p = torch.from_numpy(z)[:, None], torch.from_numpy(p / p.sum())
    one = torch.tensor(1.0, dtype=F64, requires_grad=True)
    scaled = z * (p[:, None] * len(p)).sqrt()  # puts the probabilities into the batch mean, for a linear score
    loss = sliced_score_loss(lambda x: -one * x, scaled, torch.ones_like(z))
    (gradient,) = torch.autograd.grad(loss, one)
    assert abs(gradient.item()) < 1e-12 and abs(loss.item() + 0.5) < 1e-12


def test_sliced_score_loss_trains_through_both_terms_and_leaves_x_alone():
    net, x, v = Net(), randn(4, 2), randn(4, 2, seed=1)
    with torch.no_grad():
        score_net = lambda x: net(x, torch.zeros(4, dtype=F64))  # noqa: E731
        loss = sliced_score_loss(score_net, x, v)
    assert loss.shape == () and not x.requires_grad
    jacobian = torch.autograd.functional.jacobian(score_net, x)  # shape: (B, d, B, d)
    along = (v * score_net(x)).sum(1)
    torch.testing.assert_close(loss, (torch.einsum("bi,bibj,bj->b", v, jacobian, v) + along**2 / 2).mean())
    loss.backward()
    assert all(p.grad.abs().sum() > 0 for p in net.parameters())


# Gradients ------------------------------------------------------------------------------------------------------


def check_gradients(loss, net):
    """Autograd against central differences in float64, for every parameter."""
    names, values = zip(*net.named_parameters(), strict=True)
    values = tuple(v.detach().clone().requires_grad_() for v in values)

    def of(*values):
        return loss(lambda x, c, *y: torch.func.functional_call(net, dict(zip(names, values, strict=True)), (x, c, *y)))

    assert torch.autograd.gradcheck(of, values, eps=1e-6, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("predicts", ["eps", "x0", "v", "velocity", "edm", "consistency"])
@pytest.mark.parametrize("weight", [eps_weight, edm_weight, min_snr_weight], ids=lambda w: w.__name__)
def test_gradients_of_losses_are_finite_differences(predicts, weight):
    x0, eps, t = randn(3, 2), randn(3, 2, seed=1), torch.tensor([0.2, 0.5, 0.8], dtype=F64)
    y = torch.tensor([0, 1, 2])
    check_gradients(lambda f: denoising_loss(Denoiser(f, VPCosine(), predicts), x0, t, eps, y, weight), Net())


def test_gradients_of_flow_matching_and_dsm_are_finite_differences():
    x0, eps, t = randn(3, 2), randn(3, 2, seed=1), torch.tensor([0.2, 0.5, 0.8], dtype=F64)
    check_gradients(lambda f: flow_matching_loss(Denoiser(f, Linear(), "velocity"), x0, t, eps), Net())
    check_gradients(lambda f: dsm_loss(lambda x, s: f(x, s), x0, t, eps), Net())


@settings(max_examples=30, deadline=None)
@given(
    shape=st.sampled_from([(1, 1), (3, 3), (2, 1, 4, 4), (5,)]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    per_sample_time=st.booleans(),
)
def test_losses_keep_dtype_and_modify_nothing(shape, dtype, per_sample_time):
    x0, eps = randn(*shape, dtype=dtype), randn(*shape, seed=1, dtype=dtype)
    t = torch.full((shape[0],), 0.4) if per_sample_time else 0.4
    before, state = (x0.clone(), eps.clone()), torch.get_rng_state()
    model = On(Linear(), lambda x, t: x / 2)
    loss = denoising_loss(model, x0, t, eps, torch.zeros(shape[0], dtype=torch.int64))
    assert loss.shape == () and loss.dtype == dtype and model.labels is not None
    assert torch.equal(x0, before[0]) and torch.equal(eps, before[1]) and torch.equal(state, torch.get_rng_state())


# Times ------------------------------------------------------------------------------------------------------------

N = 20_000


@pytest.mark.parametrize(
    ("times", "distribution"),
    [
        (uniform_times, stats.uniform().cdf),
        (partial(uniform_times, t_min=0.2, t_max=0.7), stats.uniform(0.2, 0.5).cdf),
        (stratified_times, stats.uniform().cdf),
        (
            partial(logit_normal_times, mean=0.5, std=0.8),
            lambda t: stats.norm(0.5, 0.8).cdf(np.log(t / (1 - t))),
        ),
    ],
    ids=["uniform", "part", "stratified", "logit_normal"],
)
def test_times_have_their_distribution(times, distribution):
    """Kolmogorov-Smirnov; false-alarm rate 1e-7."""
    state = torch.get_rng_state()
    t = times(N, generator=generator())
    assert t.shape == (N,) and t.dtype == F64 and t.min() >= 0 and t.max() <= 1
    assert stats.kstest(t.numpy(), distribution).pvalue > 1e-7
    assert torch.equal(t, times(N, generator=generator())) and not torch.equal(t, times(N, generator=generator(1)))
    assert torch.equal(state, torch.get_rng_state())


def test_stratified_times_have_one_in_each_part():
    t = stratified_times(100, generator())
    assert (t * 100).floor().tolist() == list(range(100))
    part = stratified_times(10, generator(), 0.5, 0.75)
    assert ((part - 0.5) * 40).floor().tolist() == list(range(10))


@each_path
def test_lognormal_times_have_edms_noise_levels(path):
    """ln(sigma / alpha) is normal, but for the share that the path does not reach. False-alarm rate 1e-7."""
    t = lognormal_times(N, path, -1.2, 1.2, generator())
    inside = (t > 0) & (t < 1)
    level = (-path.log_snr(t[inside]) / 2).numpy()
    low, high = (stats.norm(-1.2, 1.2).cdf(-path.log_snr(end) / 2) for end in (0.0, 1.0))
    assert abs(inside.double().mean().item() - (high - low)) < 0.02
    assert stats.kstest(level, lambda a: (stats.norm(-1.2, 1.2).cdf(a) - low) / (high - low)).pvalue > 1e-7


def test_step_times_are_the_steps_one_to_t():
    """Chi-square over 10 steps; false-alarm rate 1e-7."""
    t = step_times(N, 10, generator())
    k = (t * 10).round().long()
    assert torch.equal(k.double() / 10, t) and k.min() == 1 and k.max() == 10
    assert stats.chisquare(k.bincount(minlength=11)[1:].numpy()).pvalue > 1e-7


# Bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: denoising_loss(wrong(Linear()), x, 0.0, x), "t contains 0, where the weight is not finite"),
        (lambda x: denoising_loss(wrong(Linear()), x, torch.rand(3), x), r"t has shape \(3,\)"),
        (lambda x: denoising_loss(wrong(Linear()), x, 0.5, x[:2]), r"eps has shape \(2, 2\); expected x0's"),
        (lambda x: edm_weight(Linear(), torch.tensor(0.5), 0.0), "sigma_data is 0.0; expected a number > 0"),
        (lambda x: min_snr_weight(Linear(), torch.tensor(0.5), -1), "gamma is -1; expected a number > 0"),
        (lambda x: vlb_weight(Linear(), torch.tensor(0.5), 0), "T is 0; expected a whole number of steps >= 1"),
        (lambda x: step_times(3, 2.5), "T is 2.5; expected a whole number"),
        (lambda x: uniform_times(3, None, 0.5, 0.2), "t_min, t_max are 0.5, 0.2; expected 0 <= t_min <= t_max <= 1"),
        (lambda x: logit_normal_times(3, 0.0, -1.0), "std is -1.0; expected a number >= 0"),
        (lambda x: sliced_score_loss(lambda x: x, x, x[:2]), r"probe has shape \(2, 2\); expected x's, \(4, 2\)"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(randn(4, 2))
