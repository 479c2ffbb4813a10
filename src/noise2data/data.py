"""Data sets: points in the plane, digits that ship with scikit-learn, and image sets through torchvision.

Toy sets are (n, 2) float32, around the origin and about as wide as N(0, I). Images are (N, C, H, W) float32
in [-1, 1]. What draws, takes a `generator`, on whose device the points are made.
"""

import math
from pathlib import Path

import torch

from noise2data import mixtures

IMAGE_SETS = ("MNIST", "FashionMNIST", "CIFAR10")


def _count(n: int) -> int:
    if not isinstance(n, int) or n < 1:
        raise ValueError(f"n is {n!r}; expected a whole number >= 1")
    return n


def _uniform(n: int, generator: torch.Generator | None) -> torch.Tensor:
    device = generator.device if generator is not None else None
    return torch.rand(_count(n), generator=generator, device=device)


def _normal(n: int, generator: torch.Generator | None) -> torch.Tensor:
    device = generator.device if generator is not None else None
    return torch.randn(_count(n), 2, generator=generator, device=device)


def eight_gaussians_sample(n: int, generator: torch.Generator | None = None) -> torch.Tensor:
    """n points of mixtures.eight_gaussians(): (n, 2)."""
    points = mixtures.eight_gaussians().sample(_count(n), generator).float()
    return points if generator is None else points.to(generator.device)


def checkerboard(n: int, generator: torch.Generator | None = None) -> torch.Tensor:
    """n points, uniform on the eight dark squares of a 4 x 4 board over [-2, 2]^2: (n, 2)."""
    x = 4 * _uniform(n, generator) - 2
    row = torch.floor(2 * _uniform(n, generator))  # which of the two dark squares of this column
    y = _uniform(n, generator) + 2 * row + torch.floor(x).remainder(2) - 2
    return torch.stack([x, y], 1)


def two_moons(n: int, generator: torch.Generator | None = None, noise: float = 0.1) -> torch.Tensor:
    """n points on two interleaved half circles, blurred by N(0, noise^2 I): (n, 2)."""
    angle = math.pi * _uniform(n, generator)
    side = torch.where(_uniform(n, generator) < 0.5, 1.0, -1.0)
    arc = torch.stack([angle.cos() - 0.5, angle.sin() - 0.25], 1)
    return 1.5 * side[:, None] * arc + noise * _normal(n, generator)


def spiral(n: int, generator: torch.Generator | None = None, turns: float = 2.0, noise: float = 0.05) -> torch.Tensor:
    """n points on an Archimedean spiral out to radius 2, blurred by N(0, noise^2 I): (n, 2)."""
    radius = torch.sqrt(_uniform(n, generator))  # arc length grows like radius^2
    angle = 2 * math.pi * turns * radius
    return 2 * radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1) + noise * _normal(n, generator)


def digits(generator: torch.Generator | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """The 1797 handwritten digits that scikit-learn ships: (images, labels), (N, 1, 8, 8) and (N,) int64.

    In scikit-learn's order, or shuffled if a generator is given. Works offline.
    Source: Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998.
    """
    from sklearn.datasets import load_digits

    raw = load_digits()
    images = torch.from_numpy(raw.images).float()[:, None] / 8 - 1  # 17 grey levels, 0 to 16
    labels = torch.from_numpy(raw.target).long()
    if generator is not None:
        order = torch.randperm(len(labels), generator=generator, device=generator.device).cpu()
        images, labels = images[order], labels[order]
    return images, labels


def torchvision_images(
    name: str, root: str | Path, train: bool = True, download: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """A whole image set in memory: (images, labels), (N, C, H, W) float32 in [-1, 1] and (N,) int64.

    name: "MNIST", "FashionMNIST" or "CIFAR10". root: the folder in which torchvision keeps its files.
    download: fetch them if they are not there.
    Raises ValueError for another name, ImportError without torchvision, FileNotFoundError if the files are
    not (or not intact) in root, and ConnectionError if they cannot be downloaded.
    """
    if name not in IMAGE_SETS:
        raise ValueError(f"name is {name!r}; expected one of {', '.join(IMAGE_SETS)}")
    try:
        from torchvision import datasets
    except ImportError as error:
        raise ImportError(f"{name} is read by torchvision, which is not installed: pip install torchvision") from error
    try:
        dataset = getattr(datasets, name)(str(Path(root).expanduser()), train=train, download=download)
    except (RuntimeError, OSError, AssertionError, ValueError) as error:  # the last two: damaged files
        if download:
            reason = " ".join(str(error).split())
            raise ConnectionError(
                f"{name} could not be downloaded into, or read from, root={str(root)!r} ({reason}). "
                "Check the connection, or copy the files there."
            ) from error
        raise FileNotFoundError(
            f"{name} is not in root={str(root)!r}, or its files are damaged; pass download=True to fetch it"
        ) from error
    images = torch.as_tensor(dataset.data)
    images = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2)
    images = images.float().div_(127.5).sub_(1).contiguous()
    return images, torch.as_tensor(dataset.targets, dtype=torch.int64)
