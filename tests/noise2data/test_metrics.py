"""Distances between sets of samples against scipy, closed forms and exact averages; the judge on held-out digits."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg, stats

from noise2data import metrics
from noise2data.data import digits

F64 = torch.float64


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def randn(*shape, seed=0, dtype=F64):
    return torch.randn(*shape, generator=generator(seed), dtype=dtype)


# On the line and in slices ------------------------------------------------------------------------------------

SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(0, 10_000))


@settings(max_examples=60, deadline=None)
@given(sizes=SIZES, ties=st.booleans())
def test_wasserstein_on_the_line_is_scipys(sizes, ties):
    n, m, seed = sizes
    x, y = randn(n, 3, seed=seed), 2 * randn(m, 3, seed=seed + 1) + 0.5
    if ties:
        x, y = x.round(), y.round()
    want = [stats.wasserstein_distance(x[:, i].numpy(), y[:, i].numpy()) for i in range(3)]
    np.testing.assert_allclose(metrics.wasserstein_1d(x, y).numpy(), want, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, 4.0])
def test_wasserstein_pairs_sorted_samples_and_moves_with_them(p):
    x, y = randn(30, 2), randn(30, 2, seed=1)
    want = (x.sort(0).values - y.sort(0).values).abs().pow(p).mean(0).pow(1 / p)
    torch.testing.assert_close(metrics.wasserstein_1d(x, y, p), want, rtol=1e-12, atol=0)
    torch.testing.assert_close(metrics.wasserstein_1d(x, x + 3, p), torch.full((2,), 3.0, dtype=F64))
    repeated = metrics.wasserstein_1d(x.repeat(2, 1), y.repeat(3, 1), p)  # the same distributions
    torch.testing.assert_close(repeated, want, rtol=1e-12, atol=0)


def test_slices_of_a_shift_have_their_closed_form():
    """A shift by s moves the slice along theta by |<s, theta>|: on average 2 |s| / pi in the plane (p = 1), and
    |s| / sqrt(d) in the mean square. Bounds are six standard deviations of 4000 directions; rate 2e-9."""
    x, s = randn(20, 2), torch.tensor([3.0, 4.0], dtype=F64)
    assert abs(metrics.sliced_wasserstein(x, x + s, 4000, generator()) - 10 / math.pi) < 6 * 1.54 / math.sqrt(4000)
    x, s = randn(20, 1, 8), torch.full((1, 8), 0.5, dtype=F64)
    square = metrics.sliced_wasserstein(x, x + s, 4000, generator(), p=2.0) ** 2
    assert abs(square - 2 / 8) < 6 * 0.34 / math.sqrt(4000)


def test_slices_are_drawn_with_the_generator_alone():
    x, y = randn(50, 3), randn(40, 3, seed=1)
    state = torch.get_rng_state()
    first = metrics.sliced_wasserstein(x, y, generator=generator())
    assert first == metrics.sliced_wasserstein(x, y, generator=generator())
    assert first != metrics.sliced_wasserstein(x, y, generator=generator(1))
    assert torch.equal(state, torch.get_rng_state())
    assert metrics.sliced_wasserstein(x, y) > 0
    assert metrics.sliced_wasserstein(x, x.flip(0)) == pytest.approx(0, abs=1e-15)
    one = randn(9, 1), randn(7, 1, seed=1)
    assert metrics.sliced_wasserstein(*one, 5) == pytest.approx(metrics.wasserstein_1d(*one).item(), rel=1e-12)


# Energy and kernels -------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(sizes=SIZES)
def test_energy_distance_is_scipys_on_the_line(sizes):
    n, m, seed = sizes
    x, y = randn(n, seed=seed), randn(m, seed=seed + 1) + 0.3
    assert metrics.energy_distance(x, y) == pytest.approx(stats.energy_distance(x, y), rel=1e-6, abs=1e-7)


def test_energy_distance_in_the_plane():
    """Two points a distance 5 apart: sqrt(2 * 5 - 0 - 0)."""
    x, y = torch.zeros(4, 2), torch.tensor([[3.0, 4.0]])
    assert metrics.energy_distance(x, y) == pytest.approx(math.sqrt(10))
    assert metrics.energy_distance(randn(30, 2), randn(30, 2).flip(0)) == pytest.approx(0, abs=1e-7)


def test_large_sets_are_averaged_in_blocks():
    x, y = randn(2100, 2), randn(2200, 2, seed=1) + 1
    mean = [torch.cdist(a, b).mean() for a, b in ((x, y), (x, x), (y, y))]
    want = torch.sqrt(2 * mean[0] - mean[1] - mean[2]).item()
    assert metrics.energy_distance(x, y) == pytest.approx(want, rel=1e-6)

    def gaussian(a, b):
        return torch.exp(-torch.cdist(a, b).square() / 2)

    within = sum((gaussian(a, a).sum() - len(a)) / (len(a) * (len(a) - 1)) for a in (x, y))
    want = (within - 2 * gaussian(x, y).mean()).item()
    assert metrics.mmd(x, y, bandwidth=1.0) == pytest.approx(want, rel=1e-6)


POINTS = torch.tensor([[0.0, 1.0], [2.0, -1.0], [0.5, 0.5]], dtype=F64)


def average(distance, weights_x, weights_y, n=2, m=3):
    """The exact mean of distance(X, Y) over samples of sizes n and m from distributions on POINTS."""
    total = 0.0
    for i in itertools.product(range(3), repeat=n):
        for j in itertools.product(range(3), repeat=m):
            p = math.prod(weights_x[k] for k in i) * math.prod(weights_y[k] for k in j)
            total += p * distance(POINTS[list(i)], POINTS[list(j)])
    return total


@pytest.mark.parametrize(
    ("distance", "kernel"),
    [
        (metrics.kid, (POINTS @ POINTS.T / 2 + 1) ** 3),
        (lambda x, y: metrics.mmd(x, y, 0.7), torch.exp(-(torch.cdist(POINTS, POINTS) ** 2) / (2 * 0.7**2))),
    ],
    ids=["kid", "mmd"],
)
@pytest.mark.parametrize("q", [[0.2, 0.5, 0.3], [0.6, 0.3, 0.1]], ids=["equal", "different"])
def test_kernel_estimates_are_unbiased(distance, kernel, q):
    """Averaged over all samples there are, the estimate is (p - q)^T K (p - q), to rounding."""
    p = [0.2, 0.5, 0.3]
    gap = torch.tensor(p, dtype=F64) - torch.tensor(q, dtype=F64)
    assert average(distance, p, q) == pytest.approx((gap @ kernel @ gap).item(), abs=1e-12)


def test_kid_by_hand():
    """d = 1, x = {0, 1}, y = {1, 2, 3}: within 1 and (27 + 64 + 343) / 3, across (1 + 1 + 1 + 8 + 27 + 64) / 6."""
    x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[1.0], [2.0], [3.0]])
    assert metrics.kid(x, y) == pytest.approx(1 + 434 / 3 - 2 * 102 / 6, rel=1e-14)
    x = randn(20, 6)
    assert metrics.kid(x, x) < 0  # its own points cost nothing, and it is not clipped
    assert metrics.kid(x.reshape(20, 2, 3), x + 1) == pytest.approx(metrics.kid(x, x + 1))


def test_mmd_of_gaussians_has_its_closed_form():
    """N(0, I) and N(mu, I): 2 c (1 - exp(-|mu|^2 / (2 (s^2 + 2)))), c = (s^2 / (s^2 + 2))^(d / 2). Student's t over
    60 independent estimates; the bound of 6.5 has the rate 2e-8."""
    s, mu = 1.5, torch.tensor([0.8, -0.3], dtype=F64)
    want = 2 * s**2 / (s**2 + 2) * (1 - math.exp(-mu.square().sum().item() / (2 * (s**2 + 2))))
    got = [metrics.mmd(randn(80, 2, seed=i), randn(60, 2, seed=1000 + i) + mu, s) for i in range(60)]
    assert abs(stats.ttest_1samp(got, want).statistic) < 6.5


def test_the_bandwidth_is_the_median_distance():
    x, y = randn(40, 2), randn(30, 2, seed=1)
    pooled = torch.cat([x, y])
    distances = torch.cdist(pooled, pooled)[torch.triu_indices(70, 70, 1).unbind()]
    assert metrics.mmd(x, y) == pytest.approx(metrics.mmd(x, y, distances.median().item()), rel=1e-9)
    assert metrics.mmd(10 * x, 10 * y) == pytest.approx(metrics.mmd(x, y), rel=1e-9)  # so it has no unit
    with pytest.raises(ValueError, match="bandwidth is 0.0; expected a positive number"):
        metrics.mmd(torch.zeros(4, 2), torch.zeros(5, 2))


# Frechet ------------------------------------------------------------------------------------------------------


def covariance(d, seed=0, rank=None):
    a = randn(rank or d + 2, d, seed=seed)
    return a.T @ a


@settings(max_examples=30, deadline=None)
@given(d=st.integers(1, 6), seed=st.integers(0, 10_000))
def test_frechet_distance_is_scipys_matrix_root(d, seed):
    mu1, mu2, c1, c2 = randn(d, seed=seed), randn(d, seed=seed + 1), covariance(d, seed + 2), covariance(d, seed + 3)
    root = linalg.sqrtm((c1 @ c2).numpy()).real.trace()
    want = (mu1 - mu2).square().sum() + c1.trace() + c2.trace() - 2 * root
    assert metrics.frechet_distance(mu1, c1, mu2, c2) == pytest.approx(want.item(), rel=1e-7, abs=1e-7)
    assert metrics.frechet_distance(mu2, c2, mu1, c1) == pytest.approx(want.item(), rel=1e-7, abs=1e-7)


def test_frechet_distance_of_covariances_that_commute():
    """Standard deviations are compared axis by axis: sum (a_i - b_i)^2, in any rotated frame."""
    a, b, zero = torch.tensor([1.0, 2.0, 0.0], dtype=F64), torch.tensor([3.0, 0.5, 0.7], dtype=F64), torch.zeros(3)
    frame = torch.linalg.qr(randn(3, 3)).Q
    got = metrics.frechet_distance(zero, frame @ (a**2).diag() @ frame.T, zero, frame @ (b**2).diag() @ frame.T)
    assert got == pytest.approx((a - b).square().sum().item(), rel=1e-12)
    assert metrics.frechet_distance(zero, zero.diag(), 2 + zero, zero.diag()) == 12  # two points


def test_frechet_distance_of_singular_covariances():
    """Lines along u and v: |u|^2 + |v|^2 - 2 |u . v|. A covariance is at 0 from itself."""
    u, v, zero = randn(8), randn(8, seed=1), torch.zeros(8, dtype=F64)
    want = (u.square().sum() + v.square().sum() - 2 * (u @ v).abs()).item()
    assert metrics.frechet_distance(zero, u.outer(u), zero, v.outer(v)) == pytest.approx(want, rel=1e-12)
    for rank in (1, 3, 20):
        c = covariance(20, rank=rank)
        assert metrics.frechet_distance(torch.ones(20), c, torch.ones(20), c) <= 1e-13 * c.trace()
    left, right = (torch.zeros(20, 20, dtype=F64) for _ in range(2))
    left[:9, :9], right[9:, 9:] = covariance(9), covariance(11, seed=1)  # nothing in common
    zero = torch.zeros(20)
    assert metrics.frechet_distance(zero, left, zero, right) == pytest.approx((left + right).trace().item(), rel=1e-12)


def test_frechet_of_features_is_that_of_their_moments():
    x, y = randn(30, 2, 3, dtype=torch.float32), randn(40, 2, 3, seed=1, dtype=torch.float32) + 1
    a, b = x.reshape(30, 6).double().numpy(), y.reshape(40, 6).double().numpy()
    moments = [torch.from_numpy(v) for v in (a.mean(0), np.cov(a.T), b.mean(0), np.cov(b.T))]
    assert metrics.frechet_of_features(x, y) == pytest.approx(metrics.frechet_distance(*moments), rel=1e-10)
    line = metrics.frechet_of_features(torch.tensor([0.0, 2.0]), torch.tensor([3.0, 7.0]))
    assert line == pytest.approx(16 + (math.sqrt(2) - math.sqrt(8)) ** 2)
    few = metrics.frechet_of_features(randn(5, 50), randn(6, 50, seed=1))  # fewer samples than features
    many = metrics.frechet_of_features(randn(500, 50), randn(600, 50, seed=1))
    assert few > 10 * many > 0  # its bias, which is why n belongs to the figure


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mu1": torch.zeros(2, 3)}, r"mu1 has shape \(2, 3\)"),
        ({"mu2": torch.zeros(2)}, r"mu2 has shape \(2,\); expected \(3,\)"),
        ({"cov1": torch.ones(3)}, r"cov1 has shape \(3,\); expected \(3, 3\)"),
        ({"cov2": torch.ones(3, 3).triu()}, "cov2 is not symmetric and finite"),
        ({"cov2": torch.full((3, 3), math.nan)}, "cov2 is not symmetric and finite"),
        ({"cov1": -torch.eye(3)}, "cov1 has the eigenvalue -1; expected none below 0"),
    ],
)
def test_what_is_no_gaussian_is_refused(change, message):
    gaussians = {"mu1": torch.zeros(3), "cov1": torch.eye(3), "mu2": torch.zeros(3), "cov2": torch.eye(3)}
    assert metrics.frechet_distance(**gaussians) == 0
    with pytest.raises(ValueError, match=message):
        metrics.frechet_distance(**gaussians | change)


# Precision and recall -----------------------------------------------------------------------------------------


def test_balls_are_closed_and_reach_to_the_kth_other_point():
    real = torch.tensor([[0.0], [1.0], [2.0], [3.0]], dtype=F64)
    fake = torch.tensor([[4.0], [4.001], [-1.0], [1.5]], dtype=F64)  # 4 and -1 are on the border for k = 1
    precision, recall = metrics.precision_recall(real, fake, 1)
    assert precision == 3 / 4
    assert recall == 4 / 4  # the fake at 1.5 has radius 2.5
    assert metrics.precision_recall(real, fake, 2)[0] == 1


def test_any_ball_will_do_not_just_the_nearest():
    real = torch.tensor([[0.0], [10.0], [11.0]])
    fake = torch.tensor([[8.5], [8.6]])  # nearest to 10, whose radius is 1, but within 10 of 0
    assert metrics.precision_recall(real, fake, 1) == (1.0, 0.0)


def test_copies_count_as_inside_also_of_points_of_radius_zero():
    real = torch.cat([randn(20, 30), randn(20, 30)])  # each twice, so that all radii are 0 for k = 1
    assert metrics.precision_recall(real, real[:20] + 0.0, 1)[0] == 1
    assert metrics.precision_recall(real, real + 1e-3, 1) == (0, 0)


def test_lost_modes_cost_recall_and_wrong_samples_cost_precision():
    left, right = 0.1 * randn(100, 2), 0.1 * randn(100, 2, seed=1) + 5
    precision, recall = metrics.precision_recall(torch.cat([left, right]), 0.1 * randn(100, 2, seed=2))
    assert precision > 0.8 and 0.4 < recall <= 0.5
    precision, recall = metrics.precision_recall(left, torch.cat([0.1 * randn(100, 2, seed=2), right]))
    assert recall > 0.8 and 0.4 < precision <= 0.5


def test_precision_and_recall_of_large_sets_are_those_of_the_definition():
    real, fake = randn(2200, 2), 1.3 * randn(2100, 2, seed=1)
    across = torch.cdist(real, fake)
    radii = [torch.cdist(a, a).kthvalue(4, 1).values for a in (real, fake)]  # the first is the point itself
    want = (across <= radii[0][:, None]).any(0).double().mean(), (across <= radii[1]).any(1).double().mean()
    assert metrics.precision_recall(real, fake, 3) == pytest.approx(tuple(v.item() for v in want), abs=1e-12)


@pytest.mark.parametrize("k", [0, 5, 9])
def test_a_k_without_a_kth_neighbour_is_refused(k):
    with pytest.raises(ValueError, match=f"k is {k}; expected 1 <= k < 5"):
        metrics.precision_recall(randn(9, 2), randn(5, 2), k)


# Copies -------------------------------------------------------------------------------------------------------


def test_nearest_training_distance_is_the_definition():
    fake, train = randn(50, 1, 4, 4, dtype=torch.float32), randn(3000, 1, 4, 4, seed=1, dtype=torch.float32)
    want = torch.cdist(fake.flatten(1).double(), train.flatten(1).double(), compute_mode="donot_use_mm_for_euclid_dist")
    got = metrics.nearest_training_distance(fake, train)
    assert got.shape == (50,) and got.dtype == torch.float32
    torch.testing.assert_close(got, want.min(1).values.float(), rtol=1e-6, atol=0)


def test_copies_are_at_distance_zero_and_near_copies_keep_their_digits():
    train = 100 + randn(200, 16)
    step = torch.zeros(16, dtype=F64)
    step[3] = 2.0**-20
    assert (metrics.nearest_training_distance(train[50:60].clone(), train) == 0).all()
    got = metrics.nearest_training_distance(train[50:60] + step, train)
    torch.testing.assert_close(got, torch.full((10,), 2.0**-20, dtype=F64), rtol=1e-7, atol=0)


def test_the_ratio_is_one_for_fresh_samples_and_zero_for_copies():
    """Fresh and test samples are drawn alike. The standard deviation of the ratio is 0.03: rate 6e-11."""
    train, test, fresh = randn(500, 4), randn(500, 4, seed=1), randn(500, 4, seed=2)
    assert abs(metrics.nearest_neighbour_ratio(fresh, train, test) - 1) < 0.2
    assert metrics.nearest_neighbour_ratio(train[:40], train, test) == 0
    assert metrics.nearest_neighbour_ratio(fresh + 9, train, test) > 10
    with pytest.raises(ValueError, match="test is a part of train"):
        metrics.nearest_neighbour_ratio(fresh, train, train[:9])


# Bad input ----------------------------------------------------------------------------------------------------

PAIRS = [
    (metrics.sliced_wasserstein, "x", "y", 1),
    (metrics.energy_distance, "x", "y", 1),
    (metrics.mmd, "x", "y", 2),
    (metrics.frechet_of_features, "x", "y", 2),
    (metrics.kid, "x", "y", 2),
    (metrics.precision_recall, "real", "fake", 1),
    (metrics.nearest_training_distance, "fake", "train", 1),
]


@pytest.mark.parametrize(("distance", "first", "second", "least"), PAIRS, ids=[pair[0].__name__ for pair in PAIRS])
def test_sets_that_cannot_be_compared_are_refused(distance, first, second, least):
    good = randn(9, 4)
    with pytest.raises(ValueError, match=rf"{first} and {second} have shapes \(9, 4\) and \(9, 3\)"):
        distance(good, randn(9, 3))
    with pytest.raises(ValueError, match=rf"{first} has shape \({least - 1}, 4\).*n >= {least}"):
        distance(good[: least - 1], good)
    with pytest.raises(ValueError, match=rf"{second} has shape .* torch.int64; expected \(n, ...\) floats"):
        distance(good, torch.ones(9, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match=f"{second} contains inf or nan"):
        distance(good, good / 0)
    x, y = randn(9, 4).requires_grad_(), randn(8, 4, seed=1)
    kept = x.detach().clone(), y.clone()
    distance(x, y)
    assert torch.equal(x, kept[0]) and torch.equal(y, kept[1]) and x.requires_grad


def test_other_arguments_out_of_range_are_refused():
    x = randn(5, 2)
    with pytest.raises(ValueError, match=r"x and y have shapes \(5,\) and \(5, 2\)"):
        metrics.wasserstein_1d(x[:, 0], x)
    for p in (0.5, math.inf, math.nan):
        with pytest.raises(ValueError, match=f"p is {p}; expected 1 <= p < inf"):
            metrics.wasserstein_1d(x, x, p)
    with pytest.raises(ValueError, match="n_projections is 0; expected at least 1"):
        metrics.sliced_wasserstein(x, x, 0)
    with pytest.raises(ValueError, match="bandwidth is -1.0; expected a positive number"):
        metrics.mmd(x, x, -1.0)


# The judge ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def split():
    """The digits, shuffled: four fifths to train on, and the rest."""
    images, labels = digits(generator())
    return (images[:1437], labels[:1437]), (images[1437:], labels[1437:])


@pytest.fixture(scope="module")
def judge(split):
    return metrics.train_judge(*split[0], generator(), steps=500)


def test_the_judge_knows_digits_that_it_has_not_seen(judge, split):
    assert metrics.judge_accuracy(judge, *split[1]) >= 0.985
    assert metrics.judge_accuracy(judge, *split[0]) >= 0.985
    noise = torch.randn(split[1][0].shape, generator=generator())
    assert metrics.judge_accuracy(judge, noise, split[1][1]) < 0.3


def test_its_features_tell_digits_from_what_only_looks_like_them(judge, split):
    (train, _), (test, labels) = split
    with torch.no_grad():
        of_train, of_test, of_blurred = (
            judge.features(x) for x in (train, test, torch.nn.functional.avg_pool2d(test, 3, 1, 1))
        )
        torch.testing.assert_close(judge(test), judge.logits(test))
    torch.testing.assert_close(of_test.var(1, correction=0), torch.ones(360), rtol=1e-3, atol=0)
    floor = metrics.frechet_of_features(of_train, of_test)
    assert floor < 1.5 and metrics.frechet_of_features(of_train, of_blurred) > 5 * floor
    assert metrics.frechet_of_features(of_train, of_test[labels < 5]) > 5 * floor
    assert metrics.kid(of_train, of_test) < 0.05 < metrics.kid(of_train, of_blurred)
    assert min(metrics.precision_recall(of_train, of_test)) > 0.7
    assert metrics.nearest_neighbour_ratio(test, train, test) == 1


def test_training_a_judge_is_repeatable_and_leaves_the_global_generator_alone(split):
    images, labels = split[0]
    state = torch.get_rng_state()
    first, again, other = (metrics.train_judge(images, labels, generator(seed), steps=2) for seed in (0, 0, 1))
    assert torch.equal(state, torch.get_rng_state())
    for a, b, c in zip(first.parameters(), again.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b) and not torch.equal(a, c)
    assert not first.training


def test_a_judge_takes_other_images():
    images = torch.rand(12, 3, 11, 8, generator=generator()) * 2 - 1
    judge = metrics.train_judge(images, torch.arange(12) % 3, generator(), steps=1)
    assert judge.features(images).shape == (12, 64) and judge.logits(images).shape == (12, 3)
    with pytest.raises(ValueError, match=r"x has shape \(1, 1, 8, 8\); expected \(B, 3, 11, 8\)"):
        judge(torch.zeros(1, 1, 8, 8))


def test_labels_must_fit_the_images(judge):
    images = torch.zeros(3, 1, 8, 8)
    for labels in (torch.zeros(2, dtype=torch.int64), torch.zeros(3)):
        with pytest.raises(ValueError, match="images and labels have shapes"):
            metrics.judge_accuracy(judge, images, labels)
        with pytest.raises(ValueError, match="images and labels have shapes"):
            metrics.train_judge(images, labels)
    with pytest.raises(ValueError, match="steps is 0; expected at least 1"):
        metrics.train_judge(images, torch.zeros(3, dtype=torch.int64), steps=0)
