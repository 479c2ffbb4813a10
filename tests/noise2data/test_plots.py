"""Pictures: what is drawn, and that it is legible on both themes."""

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from noise2data import plots
from tests.noise2data.pictures import picture, plt, png, style


@pytest.fixture(autouse=True)
def fresh_style():
    with style():
        yield


def luminance(colour):
    """Relative luminance of WCAG 2.2, from 0 (black) to 1 (white)."""
    c = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]


# Style --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", plots.PALETTE)
@pytest.mark.parametrize("page", ["#ffffff", "#121212"])
def test_colours_are_legible_on_both_themes(name, page):
    """Contrast of at least 2.5 with a page, drawn in full strength; lines and large marks, not small print."""
    light, dark = sorted((luminance(plots.PALETTE[name]), luminance(page)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) > 2.5


def test_figures_are_transparent_with_grey_text():
    figure, ax = plt.subplots()
    ax.set_title("title")
    corner = picture(png(figure, 50))[0, 0]
    assert corner[3] == 0
    assert to_hex(ax.title.get_color()).upper() == to_hex(ax.spines["left"].get_edgecolor()).upper() == "#6B7280"
    (line,) = ax.plot([0, 1])
    assert line.get_color() == plots.PALETTE["data"]


# Pictures -----------------------------------------------------------------------------------------------------


def test_show_images_puts_every_pixel_where_it_belongs():
    batch = torch.linspace(-1, 1, 5 * 4 * 6).reshape(5, 1, 4, 6)
    ax = plots.show_images(batch, ncols=3)
    sheet = np.asarray(ax.images[0].get_array())
    assert sheet.shape == (2 * 5, 3 * 7, 4)  # one pixel between images
    for i in range(5):
        top, left = 5 * (i // 3) + 1, 7 * (i % 3)
        tile = sheet[top : top + 4, left : left + 6]
        np.testing.assert_allclose(tile[..., 0], (batch[i, 0].numpy() + 1) / 2, atol=1e-6)
        np.testing.assert_allclose(tile[..., 3], 1)
    assert sheet[..., 3].sum() == 5 * 4 * 6  # everything else is transparent


def test_show_images_in_colour_with_titles_and_on_given_axes():
    _, ax = plt.subplots()
    batch = torch.tensor([[-1.0, 0.0, 5.0], [1.0, -7.0, 0.0]])[:, :, None, None].expand(2, 3, 8, 8)
    assert plots.show_images(batch, ax=ax, titles=["one", "two"]) is ax
    sheet = np.asarray(ax.images[0].get_array())
    colours = {tuple(c) for c in sheet[sheet[..., 3] == 1].tolist()}
    assert colours == {(0, 0.5, 1, 1), (1, 0, 0.5, 1)}  # values beyond [-1, 1] are clipped
    assert [t.get_text() for t in ax.texts] == ["one", "two"]


def test_point_trajectory_and_field_plots_draw_their_arguments():
    x = torch.randn(20, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    ax = plots.plot_points(x, limit=3, label="data")
    np.testing.assert_array_equal(ax.collections[0].get_offsets(), x.detach())
    assert ax.get_xlim() == ax.get_ylim() == (-3, 3)

    trajectory = torch.stack([x, x / 2, x / 4])
    ax = plots.plot_trajectories(trajectory)
    assert len(ax.lines) == 20
    np.testing.assert_array_equal(ax.lines[3].get_xydata(), trajectory[:, 3].detach())
    start, end = ax.collections
    np.testing.assert_array_equal(start.get_offsets(), x.detach())
    np.testing.assert_array_equal(end.get_offsets(), x.detach() / 4)
    assert to_hex(start.get_facecolor()[0]).upper() == plots.PALETTE["noise"]
    assert to_hex(end.get_facecolor()[0]).upper() == plots.PALETTE["data"]

    ax = plots.plot_trajectories(trajectory[:, :, :1], ts=torch.tensor([0.0, 0.5, 1.0]))
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), [0.0, 0.5, 1.0])

    ax = plots.vector_field(lambda x, t: -x * t, t=0.5, limit=2, n=5)
    quiver = ax.collections[0]
    np.testing.assert_allclose(quiver.U, -quiver.X / 2, atol=1e-6)
    assert len(quiver.U) == 25 and quiver.X.max() == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plots.show_images(torch.zeros(4, 8, 8)), r"batch has shape \(4, 8, 8\); expected \(B, 1, H, W\)"),
        (lambda: plots.show_images(torch.zeros(4, 2, 8, 8)), "batch has shape"),
        (lambda: plots.show_images(torch.zeros(2, 1, 8, 8), titles=["a"]), "titles has 1 entries"),
        (lambda: plots.plot_points(torch.zeros(5)), r"x has shape \(5,\); expected \(n, 2\)"),
        (lambda: plots.plot_trajectories(torch.zeros(5, 2)), "trajectory has shape"),
        (lambda: plots.plot_trajectories(torch.zeros(5, 2, 1)), "ts is None; expected the 5 times"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
