"""Guidance on Gaussian mixtures, whose conditional and unconditional models are exact, against closed forms."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from noise2data import odes
from noise2data.denoiser import Denoiser
from noise2data.guidance import classifier_guided, drop_labels, guided, interval_weight, rescale, with_labels
from noise2data.mixtures import GaussianMixture
from noise2data.paths import VE, Linear
from tests.noise2data.every_path import each_path

F64 = torch.float64

# Two labels, 0 and 1; label 2 stands for none.
NULL = 2
MEANS, WEIGHTS, STDS = [[1.0, 2.0], [-1.5, 0.3], [0.2, -1.0]], [0.5, 0.3, 0.2], [0.3, 0.8, 0.2]
EVERYTHING = GaussianMixture(MEANS, WEIGHTS, STDS)
PRIOR = [0.5, 0.5]
CLASSES = [GaussianMixture(MEANS[:1], [1.0], STDS[:1]), GaussianMixture(MEANS[1:], [0.6, 0.4], STDS[1:])]


class Exact:
    """The model that training would end in, and a list of the batches that it was asked for."""

    def __init__(self, path, everything=EVERYTHING, classes=CLASSES):
        self.path, self.mixtures, self.everything, self.calls = path, [*classes, everything], everything, []

    def __call__(self, x, t, y=None):
        self.calls.append(len(x))
        if y is None:
            return self.everything.denoise(x, t, self.path)
        out = torch.empty_like(x)
        for label, mixture in enumerate(self.mixtures):
            rows = y == label
            times = t[rows] if isinstance(t, torch.Tensor) and t.ndim else t
            out[rows] = mixture.denoise(x[rows], times, self.path)
        return out


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def points(B=6, d=2, seed=0):
    return 2 * torch.randn(B, d, generator=generator(seed), dtype=F64)


def labels(B=6):
    return torch.arange(B) % 2


def tilted_score(path, x, t, y, w):
    """The gradient of w log p_t(x | y) + (1 - w) log p_t(x), by autograd through the densities."""
    x = x.clone().requires_grad_()
    log_p = torch.stack([mixture.marginal(t, path).log_prob(x) for mixture in (*CLASSES, EVERYTHING)])
    (score,) = torch.autograd.grad((w * log_p[y, torch.arange(len(x))] + (1 - w) * log_p[2]).sum(), x)
    return score


# Classifier-free ----------------------------------------------------------------------------------------------


@each_path
@pytest.mark.parametrize("B", [2, 6])  # B = d too
def test_guided_score_is_that_of_the_tilted_density_at_each_time(path, B):
    x, y = points(B), labels(B)
    w = torch.linspace(0, 4, B, dtype=F64)
    for t in (0.05, 0.4, 0.9):
        score = path.convert(guided(Exact(path), w, y, NULL)(x, t), x, t, "x0", "score")
        torch.testing.assert_close(score, tilted_score(path, x, t, y, w), rtol=1e-8, atol=1e-8)


@each_path
@pytest.mark.parametrize("prediction", ["eps", "v", "score", "velocity"])
def test_guiding_any_prediction_guides_all(path, prediction):
    model, x, y, t = Exact(path), points(), labels(), torch.linspace(0.1, 0.9, 6, dtype=F64)
    cond, uncond = (path.convert(p, x, t, "x0", prediction) for p in (model(x, t, y), model(x, t)))
    got = path.convert(guided(model, 2.5, y, NULL)(x, t), x, t, "x0", prediction)
    torch.testing.assert_close(got, uncond + 2.5 * (cond - uncond), rtol=1e-9, atol=1e-9)


def test_weight_one_is_the_conditional_model_itself_in_one_call():
    model, x, y = Exact(Linear()), points(), labels()
    for w in (1, 1.0, torch.tensor(1.0), torch.ones(6)):
        model.calls.clear()
        assert torch.equal(guided(model, w, y, NULL)(x, 0.5), with_labels(model, y)(x, 0.5))
        assert model.calls == [6, 6]  # guided, then with_labels
    assert torch.equal(with_labels(model, y)(x, 0.5), model(x, 0.5, y))


def test_both_halves_run_as_one_batch():
    model, x, y = Exact(Linear()), points(), labels()
    for t in (0.5, torch.tensor(0.5), torch.full((6,), 0.5, dtype=F64)):
        model.calls.clear()
        got = guided(model, 3.0, y, NULL)(x, t)
        assert model.calls == [12]
        torch.testing.assert_close(got, 3 * model(x, t, y) - 2 * model(x, t), rtol=1e-12, atol=1e-12)
    model.calls.clear()
    torch.testing.assert_close(guided(model, 3.0, y)(x, 0.5), got, rtol=1e-12, atol=1e-12)
    assert model.calls == [6, 6]  # without a null label: two calls


def test_weight_zero_is_the_unconditional_model():
    model, x = Exact(Linear()), points()
    torch.testing.assert_close(guided(model, 0.0, labels(), NULL)(x, 0.5), model(x, 0.5), rtol=1e-13, atol=0)


def test_mixed_weights_go_with_their_samples():
    model, x, y = Exact(Linear()), points(), labels()
    got = guided(model, torch.tensor([1.0, 0.0, 1.0, 0.0, 2.0, 5.0]), y, NULL)(x, 0.5)
    cond, uncond = model(x, 0.5, y), model(x, 0.5)
    torch.testing.assert_close(got[[0, 2]], cond[[0, 2]], rtol=1e-14, atol=0)
    torch.testing.assert_close(got[[1, 3]], uncond[[1, 3]], rtol=1e-14, atol=0)
    torch.testing.assert_close(got[5], 5 * cond[5] - 4 * uncond[5], rtol=1e-12, atol=1e-12)


def test_interval_guides_only_inside():
    model, x, y = Exact(Linear()), points(), labels()
    denoise = guided(model, 3.0, y, NULL, interval=(0.3, 0.7))
    for t, inside in ((0.29, False), (0.3, True), (0.5, True), (torch.tensor(0.7), True), (0.71, False)):
        model.calls.clear()
        got = denoise(x, t)
        assert model.calls == ([12] if inside else [6])
        torch.testing.assert_close(got, guided(model, 3.0 if inside else 1.0, y, NULL)(x, t), rtol=0, atol=0)
    t = torch.tensor([0.1, 0.5, 0.9, 0.4, 0.2, 0.6], dtype=F64)
    want = guided(model, torch.tensor([1.0, 3, 1, 3, 1, 3]), y, NULL)(x, t)
    torch.testing.assert_close(denoise(x, t), want, rtol=1e-14, atol=0)


def test_interval_weight_is_closed_and_keeps_dtype():
    t = torch.tensor([0.0, 0.3, 0.5, 0.7, 1.0])
    got = interval_weight(t, 4.0, 0.3, 0.7)
    assert got.dtype == torch.float32 and got.tolist() == [1, 4, 4, 4, 1]
    assert interval_weight(0.5, 4.0, 0.5, 0.5).tolist() == 4.0
    assert interval_weight(0.5, torch.tensor([2.0, 3.0]), 0, 1).tolist() == [2, 3]


def test_text_is_guided_as_labels_are():
    """y may be (B, L, d), as embedded captions; null is then one empty caption."""
    y, null = torch.randn(4, 3, 2, generator=generator()), torch.zeros(3, 2)
    model = lambda x, t, y: x + y.mean(1)  # noqa: E731
    x = torch.randn(4, 2, generator=generator(1))
    torch.testing.assert_close(guided(model, 2.0, y, null)(x, 0.5), x + 2 * y.mean(1))


def test_a_network_is_guided_with_gradients_and_in_its_dtype():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.mix, self.embed = torch.nn.Linear(3, 2), torch.nn.Embedding(3, 2)

        def forward(self, x, c, y=None):
            return self.mix(torch.cat([x, c[:, None]], 1)) + (0 if y is None else self.embed(y))

    denoiser = Denoiser(Net(), Linear(), "velocity")
    x, before = points().float(), points().float()
    out = guided(denoiser, torch.full((6,), 2.0, dtype=F64), labels(), NULL, phi=0.5)(x, torch.full((6,), 0.5))
    assert out.dtype == torch.float32 and torch.equal(x, before)
    out.square().sum().backward()
    assert denoiser.net.embed.weight.grad.abs().sum(1).gt(0).all()  # both classes and the null label


# What guidance samples ------------------------------------------------------------------------------------------


def flow(denoise, path, x, steps):
    """The probability-flow ODE from t = 1 to 0, by the classical Runge-Kutta rule."""

    def velocity(x, t):
        return path.convert(denoise(x, t), x, t, "x0", "velocity")

    return odes.integrate(velocity, x, torch.linspace(1, 0, steps + 1, dtype=F64), odes.rk4_step)[-1]


@pytest.mark.parametrize(("w", "guided_variance", "tilted_variance"), [(1.0, 1 / 4, 1 / 4), (3.0, 1 / 64, 1 / 10)])
def test_guided_gaussians_are_narrower_than_the_tilted_posterior(w, guided_variance, tilted_variance):
    """p(x) = N(0, 1), p(x | y) = N(m, 1/4): the guided flow is affine, so that three points measure its variance.

    At w = 3 the samples' variance is s^6 / S^4 = 1/64, that of p(x) p(y | x)^3 is 1/10.
    """
    path = VE(1e-3, 1e3)
    s2, S2, m = 0.25, 1.0, 0.7
    model = Exact(path, GaussianMixture([[0.0]], [1.0], 1.0), [GaussianMixture([[m]], [1.0], 0.5)] * 2)
    x = torch.tensor([[-1.0], [0.0], [1.0]], dtype=F64) * path.sigma_max
    end = flow(guided(model, w, labels(3), NULL), path, x, 250)[:, 0]
    torch.testing.assert_close(end[2] - end[1], end[1] - end[0], rtol=1e-9, atol=0)
    variance = (end[2] - end[1]).item() ** 2
    # The same by hand: d log(slope) / d(sigma^2) is half of w / (s^2 + sigma^2) + (1 - w) / (S^2 + sigma^2).
    by_hand = path.sigma_max**2
    for share, v in ((w, s2), (1 - w, S2)):
        by_hand *= ((v + path.sigma_min**2) / (v + path.sigma_max**2)) ** share
    assert abs(variance / by_hand - 1) < 1e-4
    assert abs(variance / guided_variance - 1) < 1e-4
    assert abs(1 / (w / s2 + (1 - w) / S2) - tilted_variance) < 1e-12
    if w == 1:
        assert abs(end[1].item() - m) < 1e-3  # the data's mean


def wasserstein(w):
    """W1 between what guidance samples and p(x) p(y | x)^w, for two classes at +1 and -1, by quantiles.

    In one dimension the flow is increasing, so it carries the quantiles of N(0, sigma_max^2) to those of its samples:
    no sampling, only 400 quantiles and a grid for the tilted density.
    """
    path = VE(1e-3, 100.0)
    classes = [GaussianMixture([[m]], [1.0], 0.6) for m in (1.0, -1.0)]
    both = GaussianMixture([[1.0], [-1.0]], [0.5, 0.5], 0.6)
    u = (torch.arange(400, dtype=F64) + 0.5) / 400
    start = both.marginal(1.0, path).stds[0] * torch.special.ndtri(u)
    y = torch.zeros(400, dtype=torch.int64)
    got = flow(guided(Exact(path, both, classes), w, y, NULL), path, start[:, None], 100)[:, 0]
    assert (got.diff() > 0).all()
    grid = torch.linspace(-6, 8, 20_001, dtype=F64)
    log_density = w * classes[0].log_prob(grid[:, None]) + (1 - w) * both.log_prob(grid[:, None])
    cdf = log_density.exp().cumsum(0)
    tilted = grid[torch.searchsorted(cdf / cdf[-1], u)]
    return (got - tilted).abs().mean().item()


def test_guided_samples_of_a_mixture_are_not_the_tilted_posterior():
    """At w = 1, the control, both are p(x | y). At w = 2 and 4 they are 0.30 and 0.67 apart, where the class itself has
    standard deviation 0.6."""
    assert wasserstein(1.0) < 0.01
    assert 0.29 < wasserstein(2.0) < 0.32
    assert 0.65 < wasserstein(4.0) < 0.69


# By a classifier --------------------------------------------------------------------------------------------------


def classifier(path, y):
    """log p(y | x_t) of the exact model, by Bayes' rule."""

    def log_prob(x, t):
        log_p = torch.stack(
            [
                math.log(prior) + mixture.marginal(t, path).log_prob(x)
                for prior, mixture in zip(PRIOR, CLASSES, strict=True)
            ]
        )
        return log_p.log_softmax(0)[y, torch.arange(len(x))]

    return log_prob


@each_path
def test_the_true_classifier_turns_the_unconditional_model_into_the_conditional_and_guided_ones(path):
    model, x, y = Exact(path), points(), labels()
    for t in (0.05, 0.5, 0.95):
        with torch.no_grad():
            got = classifier_guided(model, classifier(path, y), path)(x, t)
        torch.testing.assert_close(got, model(x, t, y), rtol=1e-8, atol=1e-8)
        scale = torch.linspace(0, 3, 6, dtype=F64)
        got = classifier_guided(model, classifier(path, y), path, scale)(x, t)
        torch.testing.assert_close(got, guided(model, scale, y, NULL)(x, t), rtol=1e-8, atol=1e-8)


@each_path
def test_a_classifier_shifts_eps_as_its_paper_says(path):
    """eps - scale * sigma * grad: algorithm 2 of Dhariwal and Nichol, with sigma = sqrt(1 - alpha-bar)."""
    model, x, y, t = Exact(path), points(), labels(), 0.6
    at = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(classifier(path, y)(at, t).sum(), at)
    eps = path.convert(model(x, t), x, t, "x0", "eps")
    got = path.convert(classifier_guided(model, classifier(path, y), path, 4.0)(x, t), x, t, "x0", "eps")
    torch.testing.assert_close(got, eps - 4 * path.sigma(t) * gradient, rtol=1e-9, atol=1e-9)


def test_classifier_guidance_can_be_differentiated():
    model, y = Exact(Linear()), labels()
    x = points().requires_grad_()
    out = classifier_guided(model, classifier(Linear(), y), Linear(), 2.0)(x, 0.5)
    assert torch.autograd.gradcheck(
        lambda z: classifier_guided(model, classifier(Linear(), y), Linear(), 2.0)(z, 0.5), x
    )
    assert out.requires_grad and x.grad is None


# Rescaling and dropping -------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), phi=st.floats(0, 1), shape=st.sampled_from([(3, 3), (2, 3, 4, 4), (1, 7)]))
def test_rescale_brings_the_spread_towards_the_conditional_one(seed, phi, shape):
    out, cond = (torch.randn(*shape, generator=generator(seed + i), dtype=F64) * (3 - i) for i in range(2))
    have, want = out.flatten(1).std(1), cond.flatten(1).std(1)
    got = rescale(out, cond, phi)
    torch.testing.assert_close(got.flatten(1).std(1), phi * want + (1 - phi) * have)
    assert torch.equal(rescale(cond, cond, phi), cond)
    torch.testing.assert_close(
        got / out, (got / out).flatten(1)[:, :1].reshape(-1, *[1] * (len(shape) - 1)).expand(shape)
    )


def test_rescale_inside_guidance_and_of_constants():
    model, x, y = Exact(Linear()), points(), labels()
    cond, plain = model(x, 0.5, y), guided(model, 5.0, y, NULL)(x, 0.5)
    torch.testing.assert_close(guided(model, 5.0, y, NULL, phi=0.7)(x, 0.5), rescale(plain, cond, 0.7))
    flat = torch.ones(2, 3)
    assert torch.equal(rescale(flat, torch.randn(2, 3, generator=generator()), 1.0), flat)


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.float32])
def test_drop_labels_at_the_ends_and_in_dtype(dtype):
    y, state = torch.tensor([0, 1, 0, 1]).to(dtype), torch.get_rng_state()
    assert torch.equal(drop_labels(y, 0, 2, generator()), y)
    assert drop_labels(y, 1, 2, generator()).tolist() == [2, 2, 2, 2]
    got = drop_labels(y, 0.5, 2, generator())
    assert got.dtype == dtype and torch.equal(got, drop_labels(y, 0.5, 2, generator()))
    assert torch.equal(state, torch.get_rng_state()) and y.tolist() == [0, 1, 0, 1]


def test_labels_are_dropped_each_on_its_own():
    """Binomial count, and pairs of neighbours; false-alarm rate 1e-7 each."""
    dropped = drop_labels(torch.zeros(40_000, dtype=torch.int64), 0.2, 1, generator())
    assert stats.binomtest(int(dropped.sum()), 40_000, 0.2).pvalue > 1e-7
    assert stats.binomtest(int((dropped[::2] * dropped[1::2]).sum()), 20_000, 0.04).pvalue > 1e-7
    text = drop_labels(torch.ones(1000, 3, 2), 0.3, torch.zeros(3, 2), generator())
    assert set(text.flatten(1).sum(1).tolist()) == {0.0, 6.0}  # a caption goes as a whole


# Bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda m: guided(m, 2.0, labels(5), NULL)(points(), 0.5),
            "y has length 5; expected a label for each of the 6",
        ),
        (
            lambda m: guided(m, torch.ones(4) * 2, labels(), NULL)(points(), 0.5),
            r"w has shape \(4,\); expected a number or a weight",
        ),
        (lambda m: interval_weight(0.5, 2.0, 0.7, 0.3), "lo, hi are 0.7, 0.3; expected times with lo <= hi"),
        (lambda m: rescale(points(), points(5), 0.5), r"guided has shape \(6, 2\); expected cond's, \(5, 2\)"),
        (lambda m: drop_labels(labels(), 1.2, NULL), r"p is 1.2; expected a probability in \[0, 1\]"),
        (
            lambda m: classifier_guided(m, classifier(Linear(), labels()), Linear())(points(), 1.0),
            "t contains 1, where alpha is 0; expected a time with alpha > 0",
        ),
        (
            lambda m: classifier_guided(m, lambda x, t: x, Linear())(points(), 0.5),
            r"log_prob returned shape \(6, 2\); expected one number a sample, \(6,\)",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(Exact(Linear()))
