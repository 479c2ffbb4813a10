"""Pictures in one palette.

Colours have one meaning throughout the course: data, noise, model, exact. Figures have a transparent
background and mid-grey text, so that one file is legible on a white and on a dark page. matplotlib is imported by the
functions that use it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes

    from noise2data.odes import Field

PALETTE = {
    "data": "#0072B2",
    "noise": "#D55E00",
    "model": "#009E73",
    "exact": "#7A5195",
    "neutral": "#6B7280",
}


def style() -> None:
    """Set matplotlib's defaults for the rest of the session: palette, grey text and axes, no background."""
    import matplotlib.pyplot as plt
    from cycler import cycler

    grey = PALETTE["neutral"]
    plt.rcParams.update(
        {
            "figure.facecolor": "none",
            "axes.facecolor": "none",
            "savefig.facecolor": "none",
            "legend.facecolor": "none",
            "text.color": grey,
            "axes.labelcolor": grey,
            "axes.edgecolor": grey,
            "axes.titlecolor": grey,
            "xtick.color": grey,
            "ytick.color": grey,
            "grid.color": grey,
            "grid.alpha": 0.25,
            "legend.frameon": False,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.prop_cycle": cycler(color=[PALETTE[k] for k in ("data", "noise", "model", "exact", "neutral")]),
            "figure.figsize": (6.0, 3.6),
            "figure.dpi": 110,
            "figure.constrained_layout.use": True,
            "font.size": 10,
            "axes.titlesize": 10,
            "image.cmap": "gray",
        }
    )


def _array(x: Any) -> Any:
    return x.detach().cpu().numpy() if isinstance(x, torch.Tensor) else x


def _axes(ax: Axes | None, square: bool = True) -> Axes:
    import matplotlib.pyplot as plt

    if ax is None:
        _, ax = plt.subplots(figsize=(4.0, 4.0) if square else None)
    return ax


def show_images(
    batch: torch.Tensor | np.ndarray,
    ax: Axes | None = None,
    ncols: int | None = None,
    titles: Sequence[str] | None = None,
) -> Axes:
    """A grid of images on one axes. batch: (B, C, H, W) in [-1, 1], C = 1 or 3 (values outside are clipped).

    ncols: images per row, by default about as many as rows. titles: one short string for each image.
    Returns the axes. Raises ValueError for other shapes.
    """
    import matplotlib.pyplot as plt

    batch = torch.as_tensor(batch).detach().cpu().float()
    if batch.ndim != 4 or batch.shape[1] not in (1, 3) or len(batch) == 0:
        raise ValueError(f"batch has shape {tuple(batch.shape)}; expected (B, 1, H, W) or (B, 3, H, W)")
    count, _, height, width = batch.shape
    if titles is not None and len(titles) != count:
        raise ValueError(f"titles has {len(titles)} entries; expected one for each of the {count} images")
    ncols = min(count, ncols or math.ceil(math.sqrt(count)))
    nrows = -(-count // ncols)
    gap = max(1, round(0.08 * width))
    above = max(gap, round(0.35 * height)) if titles is not None else gap
    sheet = torch.zeros(nrows * (height + above), ncols * (width + gap), 4)
    pixels = ((batch.clamp(-1, 1) + 1) / 2).permute(0, 2, 3, 1).expand(-1, -1, -1, 3)
    for i, image in enumerate(pixels):
        top, left = i // ncols * (height + above) + above, i % ncols * (width + gap)
        sheet[top : top + height, left : left + width] = torch.cat([image, torch.ones(height, width, 1)], 2)
    if ax is None:
        _, ax = plt.subplots(figsize=(min(8.0, 0.9 * ncols), min(8.0, 0.9 * ncols) * sheet.shape[0] / sheet.shape[1]))
    ax.imshow(sheet.numpy(), interpolation="nearest")
    ax.set_axis_off()
    for i, title in enumerate(titles or ()):
        ax.text(
            i % ncols * (width + gap) + width / 2,
            i // ncols * (height + above) + above - 1,
            title,
            ha="center",
            va="bottom",
            color=PALETTE["neutral"],
        )
    return ax


def plot_points(
    x: torch.Tensor | np.ndarray,
    ax: Axes | None = None,
    color: str = PALETTE["data"],
    label: str | None = None,
    limit: float | None = None,
    **scatter: Any,
) -> Axes:
    """Scatter (n, 2) points on square axes. limit: axes from -limit to limit. Returns the axes."""
    ax = _axes(ax)
    x = _array(x)
    if x.ndim != 2 or x.shape[1] != 2:
        raise ValueError(f"x has shape {tuple(x.shape)}; expected (n, 2)")
    defaults: dict[str, Any] = {"s": 6, "alpha": 0.9, "linewidths": 0, "color": color, "label": label}
    ax.scatter(x[:, 0], x[:, 1], **defaults | scatter)
    _square(ax, limit)
    return ax


def _square(ax: Axes, limit: float | None) -> None:
    ax.set_aspect("equal")
    if limit is not None:
        ax.set_xlim(-limit, limit)
        ax.set_ylim(-limit, limit)


def plot_trajectories(
    trajectory: torch.Tensor | np.ndarray,
    ts: torch.Tensor | np.ndarray | Sequence[float] | None = None,
    ax: Axes | None = None,
    color: str = PALETTE["neutral"],
    limit: float | None = None,
    **line: Any,
) -> Axes:
    """Paths of samples. trajectory: (n, B, d), as from odes.integrate.

    d = 2: curves in the plane, a noise-coloured dot where they start and a data-coloured one where they end.
    d = 1: curves over time; ts: (n,). Returns the axes. Raises ValueError for other shapes.
    """
    path = _array(trajectory)
    if path.ndim != 3 or path.shape[2] not in (1, 2):
        raise ValueError(f"trajectory has shape {tuple(path.shape)}; expected (n, B, 1) or (n, B, 2)")
    defaults: dict[str, Any] = {"color": color, "linewidth": 0.9, "alpha": 0.8}
    line = defaults | line
    if path.shape[2] == 1:
        if ts is None or len(ts) != len(path):
            raise ValueError(f"ts is {ts}; expected the {len(path)} times of a trajectory in one dimension")
        ax = _axes(ax, square=False)
        ax.plot(_array(ts), path[:, :, 0], **line)
        ax.set_xlabel("t")
        return ax
    ax = _axes(ax)
    ax.plot(path[:, :, 0], path[:, :, 1], **line)
    ax.scatter(path[0, :, 0], path[0, :, 1], s=8, color=PALETTE["noise"], zorder=3, linewidths=0)
    ax.scatter(path[-1, :, 0], path[-1, :, 1], s=8, color=PALETTE["data"], zorder=3, linewidths=0)
    _square(ax, limit)
    return ax


def vector_field(
    f: Field,
    t: float = 0.0,
    ax: Axes | None = None,
    limit: float = 3.0,
    n: int = 17,
    color: str = PALETTE["neutral"],
    **quiver: Any,
) -> Axes:
    """Arrows of f(x, t) -> (B, 2) on an n x n grid over [-limit, limit]^2, at one time. Returns the axes."""
    ax = _axes(ax)
    side = torch.linspace(-limit, limit, n)
    grid = torch.cartesian_prod(side, side)
    with torch.no_grad():
        arrows = _array(f(grid, t))
    defaults: dict[str, Any] = {"color": color, "alpha": 0.9, "width": 0.004}
    ax.quiver(*_array(grid).T, arrows[:, 0], arrows[:, 1], **defaults | quiver)
    _square(ax, limit)
    return ax
