"""How far are samples from data? Distances between two sets of samples, and a classifier that judges digits.

A set of samples is (n, ...), one sample a row; two sets may differ in size. Everything is computed in float64
(float32 on Apple's MPS) and comes back as a Python float, or as a tensor where there is one number a sample.

- Of points: sliced_wasserstein, energy_distance, mmd.
- Of features: frechet_of_features (with Inception's features this is FID), kid, precision_recall.
- Against the training set: nearest_training_distance, nearest_neighbour_ratio. They find copies.
- The judge: a small network that says which digit it sees, and whose features serve the second group.

What is estimated from n samples depends on n, some of it also on average (FID falls as n grows): compare
figures at equal n.
"""

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from noise2data.paths import wide

_Kernel = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def _rows(name: str, x: torch.Tensor, least: int = 1) -> torch.Tensor:
    """(n, ...) as (n, d) in float64."""
    if x.ndim == 0 or len(x) < least or not x.is_floating_point():
        raise ValueError(f"{name} has shape {tuple(x.shape)} and {x.dtype}; expected (n, ...) floats, n >= {least}")
    rows: torch.Tensor = wide(x.detach()).reshape(len(x), -1)
    if not bool(rows.isfinite().all()):
        raise ValueError(f"{name} contains inf or nan; expected finite numbers")
    return rows


def _pair(name: str, x: torch.Tensor, other: str, y: torch.Tensor, least: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    a, b = _rows(name, x, least), _rows(other, y, least)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"{name} and {other} have shapes {tuple(x.shape)} and {tuple(y.shape)}; expected like samples")
    return a, b


def _blocks(rows: int, columns: int) -> range:
    """Where to begin blocks of rows, so that a block of a (rows, columns) matrix has about 4 M entries."""
    return range(0, rows, max(1, 2**22 // columns))


def _distances(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Euclidean distances (n, m) of (n, d) and (m, d), by subtraction: equal points are at distance 0 exactly."""
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


def _mean(kernel: _Kernel, x: torch.Tensor, y: torch.Tensor, diagonal: bool = True) -> float:
    """The mean of kernel(x_i, y_j) over all pairs, or without those of i = j."""
    starts, total = _blocks(len(x), len(y)), 0.0
    for i in starts:
        block = kernel(x[i : i + starts.step], y)
        if not diagonal:
            block.diagonal(i).zero_()
        total += block.sum().item()
    return total / (len(x) * (len(y) if diagonal else len(y) - 1))


# Distances of points ------------------------------------------------------------------------------------------


def wasserstein_1d(x: torch.Tensor, y: torch.Tensor, p: float = 1.0) -> torch.Tensor:
    """W_p on the line, column by column: (k,) float64. x: (n, k). y: (m, k). p: 1 <= p < inf.

    W_p^p is the integral over levels q in (0, 1) of |F^-1(q) - G^-1(q)|^p, in which both quantile functions are
    constant from each of the levels i/n and j/m to the next. Raises ValueError for other shapes and p.
    Source: Peyre and Cuturi, "Computational Optimal Transport", 2019, section 2.6.
    """
    if x.ndim != 2 or y.ndim != 2:
        raise ValueError(f"x and y have shapes {tuple(x.shape)} and {tuple(y.shape)}; expected (n, k) and (m, k)")
    a, b = _pair("x", x, "y", y)
    if not 1 <= p < math.inf:
        raise ValueError(f"p is {p}; expected 1 <= p < inf")
    n, m = len(a), len(b)
    # Counted in units of 1 / (n m), which are whole numbers, no level is missed or doubled by rounding.
    levels = torch.cat([m * torch.arange(n, device=a.device), n * torch.arange(m + 1, device=a.device)]).sort().values
    widths = levels.diff().to(a.dtype) / (n * m)
    start = levels[:-1]
    gaps = (a.sort(0).values[start // m] - b.sort(0).values[start // n]).abs()
    return torch.matmul(widths, gaps.pow(p)).pow(1 / p)


def sliced_wasserstein(
    x: torch.Tensor, y: torch.Tensor, n_projections: int = 200, generator: torch.Generator | None = None, p: float = 1.0
) -> float:
    """W_p of the projections onto a random direction, averaged: (mean of W_p^p)^(1/p).

    x: (n, ...). y: (m, ...). Directions are uniform on the sphere; in high dimension figures vary with them, so
    compare those of equally seeded generators. Raises ValueError for n_projections < 1, for p as wasserstein_1d
    does, and for samples that differ in size.
    Source: Bonneel et al., "Sliced and Radon Wasserstein Barycenters of Measures", 2015.
    """
    a, b = _pair("x", x, "y", y)
    if n_projections < 1:
        raise ValueError(f"n_projections is {n_projections}; expected at least 1")
    device = generator.device if generator is not None else None
    directions = torch.randn(a.shape[1], n_projections, generator=generator, device=device).to(a)
    directions = directions / directions.norm(dim=0)
    return wasserstein_1d(a @ directions, b @ directions, p).pow(p).mean().pow(1 / p).item()


def energy_distance(x: torch.Tensor, y: torch.Tensor) -> float:
    """sqrt(2 E|X - Y| - E|X - X'| - E|Y - Y'|) of the two empirical distributions; 0 for equal ones.

    x: (n, ...). y: (m, ...). In one dimension this is scipy.stats.energy_distance.
    Raises ValueError for samples that differ in size.
    Source: Szekely and Rizzo, "Energy statistics: A class of statistics based on distances", 2013.
    """
    a, b = _pair("x", x, "y", y)
    square = 2 * _mean(_distances, a, b) - _mean(_distances, a, a) - _mean(_distances, b, b)
    return math.sqrt(max(square, 0.0))


def _mmd(kernel: _Kernel, x: torch.Tensor, y: torch.Tensor) -> float:
    """E k(X, X') + E k(Y, Y') - 2 E k(X, Y), estimated without bias: X' is another point of the set than X."""
    return _mean(kernel, x, x, diagonal=False) + _mean(kernel, y, y, diagonal=False) - 2 * _mean(kernel, x, y)


def mmd(x: torch.Tensor, y: torch.Tensor, bandwidth: float | None = None) -> float:
    """The squared maximum mean discrepancy with the kernel exp(-|a - b|^2 / (2 bandwidth^2)), estimated without
    bias, so that it may be negative.

    x: (n, ...). y: (m, ...). n, m >= 2. bandwidth: by default the median distance between two samples of the pool
    of both sets, of which at most 2000 are looked at, evenly spaced.
    Raises ValueError for fewer samples, samples that differ in size and a bandwidth that is not positive.
    Source: Gretton et al., "A Kernel Two-Sample Test", 2012, equation (3); the median in section 8.
    """
    a, b = _pair("x", x, "y", y, least=2)
    if bandwidth is None:
        pool = torch.cat([a, b])
        pool = pool[:: -(-len(pool) // 2000)]
        bandwidth = F.pdist(pool).median().item()
    if not 0 < bandwidth < math.inf:
        raise ValueError(f"bandwidth is {bandwidth}; expected a positive number (the median of distances may be 0)")
    return _mmd(lambda u, v: torch.exp(-((_distances(u, v) / bandwidth) ** 2) / 2), a, b)


# Distances of features ----------------------------------------------------------------------------------------


def frechet_distance(mu1: torch.Tensor, cov1: torch.Tensor, mu2: torch.Tensor, cov2: torch.Tensor) -> float:
    """The squared 2-Wasserstein distance of two Gaussians, which FID reports:

        |mu1 - mu2|^2 + tr(cov1 + cov2 - 2 (cov1 cov2)^(1/2))

    mu1, mu2: (d,). cov1, cov2: (d, d), symmetric, positive semi-definite, possibly singular.
    With cov = A^T A for each, the trace of the root is the sum of the singular values of A1 A2^T: no square root of
    a matrix that is not symmetric, nothing complex, and no added multiple of the identity.
    Raises ValueError for shapes that do not fit and for a covariance that is not one.
    Source: Dowson and Landau, "The Frechet Distance between Multivariate Normal Distributions", 1982; Heusel et
    al., "GANs Trained by a Two Time-Scale Update Rule ...", 2017, equation (6).
    """
    m1, m2, c1, c2 = (wide(value) for value in (mu1, mu2, cov1, cov2))
    d = m1.numel()
    for name, value, shape in (("mu1", m1, (d,)), ("mu2", m2, (d,)), ("cov1", c1, (d, d)), ("cov2", c2, (d, d))):
        if value.shape != shape:
            raise ValueError(f"{name} has shape {tuple(value.shape)}; expected {shape}")
    root = torch.linalg.svdvals(_factor("cov1", c1) @ _factor("cov2", c2).T).sum()
    return max(0.0, float((m1 - m2).square().sum() + c1.trace() + c2.trace() - 2 * root))


def _factor(name: str, cov: torch.Tensor) -> torch.Tensor:
    """A with A^T A = cov. Eigenvalues that are zero but for rounding are zero."""
    scale = cov.abs().max()
    # Covariances are often computed in float32, whose rounding must pass.
    if not bool(cov.isfinite().all()) or not torch.allclose(cov, cov.T, rtol=0, atol=1e-5 * scale.item()):
        raise ValueError(f"{name} is not symmetric and finite; expected a covariance")
    values, vectors = torch.linalg.eigh((cov + cov.T) / 2)
    if values[0] < -1e-4 * scale:
        raise ValueError(f"{name} has the eigenvalue {values[0].item():g}; expected none below 0")
    values = torch.where(values > len(cov) * torch.finfo(cov.dtype).eps * values[-1], values, 0)
    factor: torch.Tensor = values.sqrt()[:, None] * vectors.T
    return factor


def frechet_of_features(x: torch.Tensor, y: torch.Tensor) -> float:
    """frechet_distance of the means and (unbiased) covariances of two sets of features, n, m >= 2.

    x: (n, ...). y: (m, ...). Biased upwards by about 1/n + 1/m, the more the more features there are.
    Raises ValueError for fewer samples and samples that differ in size.
    """
    a, b = _pair("x", x, "y", y, least=2)
    d = a.shape[1]
    return frechet_distance(a.mean(0), a.T.cov().reshape(d, d), b.mean(0), b.T.cov().reshape(d, d))


def kid(x: torch.Tensor, y: torch.Tensor) -> float:
    """The kernel inception distance: squared MMD with the kernel (a . b / d + 1)^3, estimated without bias, so
    that it may be negative; neither clipped nor scaled.

    x: (n, ...) features, d of them. y: (m, ...). n, m >= 2.
    Raises ValueError for fewer samples and samples that differ in size.
    Source: Binkowski et al., "Demystifying MMD GANs", 2018, section 4.
    """
    a, b = _pair("x", x, "y", y, least=2)
    return _mmd(lambda u, v: (u @ v.T / u.shape[1] + 1) ** 3, a, b)


def precision_recall(real: torch.Tensor, fake: torch.Tensor, k: int = 3) -> tuple[float, float]:
    """The share of fakes that lie in the real manifold, and of reals that lie in the fake one.

    A set's manifold is the union of closed balls around its points, each out to the k-th nearest other point of
    the set. real: (n, ...) features. fake: (m, ...). k: at least 1, less than n and m.
    Raises ValueError for other k and for samples that differ in size.
    Source: Kynkaanniemi et al., "Improved Precision and Recall Metric for Assessing Generative Models", 2019,
    section 2.
    """
    a, b = _pair("real", real, "fake", fake)
    if not 1 <= k < min(len(a), len(b)):
        raise ValueError(f"k is {k}; expected 1 <= k < {min(len(a), len(b))}, the size of the smaller set")
    return _share_inside(b, a, k), _share_inside(a, b, k)


def _share_inside(points: torch.Tensor, centres: torch.Tensor, k: int) -> float:
    """The share of points that lie in a ball around one of the centres."""
    radii = torch.empty(len(centres), dtype=centres.dtype, device=centres.device)
    starts = _blocks(len(centres), len(centres))
    for i in starts:
        block = _distances(centres[i : i + starts.step], centres)
        block.diagonal(i).fill_(math.inf)
        radii[i : i + starts.step] = block.kthvalue(k, dim=1).values
    starts = _blocks(len(points), len(centres))
    inside = [(_distances(points[i : i + starts.step], centres) <= radii).any(1).sum().item() for i in starts]
    return sum(inside) / len(points)


# Against the training set -------------------------------------------------------------------------------------


def nearest_training_distance(fake: torch.Tensor, train: torch.Tensor) -> torch.Tensor:
    """The Euclidean distance of each fake to the nearest training sample: (n_fake,), in fake's dtype.

    fake: (n_fake, ...). train: (n_train, ...). Raises ValueError for samples that differ in size.
    """
    a, b = _pair("fake", fake, "train", train)
    # Matrix products find the neighbour, for |a - b|^2 = |a|^2 + 2 (|b|^2 / 2 - a . b), but would lose half of the
    # digits of a small distance; that is taken by subtraction. Rounding depends on the length of what is multiplied.
    a, b = a - b.mean(0), b - b.mean(0)
    half = b.square().sum(1) / 2
    starts = _blocks(len(a), len(b))
    nearest = torch.cat([(half - a[i : i + starts.step] @ b.T).argmin(1) for i in starts])
    distances: torch.Tensor = torch.linalg.vector_norm(a - b[nearest], dim=1)
    return distances.to(fake.dtype)


def nearest_neighbour_ratio(fake: torch.Tensor, train: torch.Tensor, test: torch.Tensor) -> float:
    """Mean distance of fakes to the training set over that of test samples: 1 for a model that draws as fresh
    data would be, 0 for copies of the training set, above 1 for samples that are off the data.

    fake, train, test: (n, ...). Raises ValueError for samples that differ in size, and if every test sample is
    itself in the training set.
    """
    fresh = nearest_training_distance(test, train).double().mean().item()
    if fresh == 0:
        raise ValueError("test is a part of train; expected samples that the model has not seen")
    return nearest_training_distance(fake, train).double().mean().item() / fresh


# The judge ----------------------------------------------------------------------------------------------------


class Judge(nn.Module):
    """A small classifier of images: two convolutions, a feature layer, and a linear layer on top.

    image_shape: (C, H, W) of its images. num_classes: how many classes it tells apart. width: channels of the first
    convolution. feature_dim: the length of its feature vectors.
    The features of an image are standardised (mean 0 and variance 1 over the vector), so that distances between
    features of two judges are on the same scale.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int] = (1, 8, 8),
        num_classes: int = 10,
        width: int = 32,
        feature_dim: int = 64,
    ) -> None:
        super().__init__()
        self.image_shape = tuple(image_shape)
        channels, height, breadth = image_shape
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, 2 * width, 3, padding=1, stride=2),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(2 * width * -(-height // 2) * -(-breadth // 2), feature_dim),
            nn.LayerNorm(feature_dim, elementwise_affine=False),
        )
        self.head = nn.Linear(feature_dim, num_classes)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) to (B, feature_dim). Raises ValueError for images of another shape."""
        if x.shape[1:] != self.image_shape:
            raise ValueError(f"x has shape {tuple(x.shape)}; expected (B, {', '.join(map(str, self.image_shape))})")
        features: torch.Tensor = self.body(x)
        return features

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) to (B, num_classes)."""
        logits: torch.Tensor = self.head(self.features(x))
        return logits

    forward = logits


def train_judge(
    images: torch.Tensor, labels: torch.Tensor, generator: torch.Generator | None = None, steps: int = 1000
) -> Judge:
    """A judge of these images, in eval mode. On four fifths of the digits: 8 s on one core, .99 on the others.

    images: (N, C, H, W) in [-1, 1]. labels: (N,) int64 in 0..num_classes - 1. Batches are of 128, each image moved
    by up to one pixel. The generator, on the CPU, decides initial weights, batches and shifts; the global one is left
    as it is. Raises ValueError for shapes that do not fit and steps < 1.
    """
    _check_labels(images, labels)
    if steps < 1:
        raise ValueError(f"steps is {steps}; expected at least 1")
    channels, height, width = images.shape[1:]
    seed = int(torch.randint(2**31, (), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        judge = Judge((channels, height, width), int(labels.max()) + 1).to(images)
    optimizer = torch.optim.AdamW(judge.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=steps + 1)
    moved = F.pad(images, (1, 1, 1, 1), value=-1).unfold(2, height, 1).unfold(3, width, 1)  # (N, C, 3, 3, H, W)
    for _ in range(steps):
        i = torch.randint(len(images), (128,), generator=generator)
        down, right = torch.randint(3, (2, 128), generator=generator)
        loss = F.cross_entropy(judge(moved[i, :, down, right]), labels[i], label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return judge.eval()


def _check_labels(images: torch.Tensor, labels: torch.Tensor) -> None:
    if images.ndim != 4 or labels.shape != (len(images),) or len(images) == 0 or labels.dtype != torch.int64:
        raise ValueError(
            f"images and labels have shapes {tuple(images.shape)} and {tuple(labels.shape)} ({labels.dtype}); "
            "expected (N, C, H, W) and (N,) int64"
        )


@torch.no_grad()
def judge_accuracy(judge: Judge, images: torch.Tensor, labels: torch.Tensor) -> float:
    """The share of images in which the judge sees the label. images: (N, C, H, W). labels: (N,) int64.

    Raises ValueError for shapes that do not fit.
    """
    _check_labels(images, labels)
    return float((judge.logits(images).argmax(1) == labels).double().mean())
