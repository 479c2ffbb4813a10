"""Films and sliders: what is drawn, what a notebook is given, and that nothing needs another host."""

import json
import re

import nbformat
import numpy as np
import pytest
import torch

from noise2data import plots, widgets
from tests.noise2data.pictures import picture, plt, style


@pytest.fixture(autouse=True)
def fresh_style(monkeypatch):
    monkeypatch.delenv("NOISE2DATA_WIDGETS", raising=False)
    with style():
        yield


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: widgets.animate(dot), "frames are "),
        (lambda: widgets.animate(dot, x=[1], y=[2]), r"frames are \['x', 'y'\]; expected one keyword"),
        (lambda: widgets.animate(dot, x=[]), "x is empty"),
        (lambda: widgets.animate(dot, x=[1.0, 2.0], max_bytes=100), "x makes 2 frames and .* bytes"),
        (lambda: widgets.slider(dot), "slider has no control"),
        (lambda: widgets.slider(dot, x=[]), "x is empty"),
        (lambda: widgets.slider(dot, x=[1, 2], start={"x": 3}), "start has x = 3; expected one of"),
        (lambda: widgets.slider(dot, x=[1, 2], start={"z": 3}), r"start has z = 3; expected one of \['x'\]"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# Films --------------------------------------------------------------------------------------------------------


def dot(ax, x, colour="data"):
    """One dot at x on fixed axes: frames that differ in a known way."""
    ax.scatter([x], [0], s=900, color=plots.PALETTE[colour])
    ax.set(xlim=(0, 10), ylim=(-1, 1))
    ax.set_axis_off()


def position(image, colour="data"):
    """The place of the dot along the picture, from 0 to 1."""
    rgb = np.array([int(plots.PALETTE[colour][i : i + 2], 16) for i in (1, 3, 5)])
    hit = (np.abs(image[..., :3].astype(int) - rgb).max(2) < 8) & (image[..., 3] > 200)
    assert hit.any(), "the dot is not in the picture"
    return np.nonzero(hit)[1].mean() / image.shape[1]


def test_a_film_shows_every_frame_and_needs_no_other_host():
    values = torch.linspace(1, 9, 12)
    film = widgets.animate(dot, x=values, figsize=(3.0, 2.0), alt="A dot that walks <right>")
    page = film._repr_mimebundle_()["text/html"]
    frames = [picture(p) for p in json.loads(re.search(r"frames = (\[.*?\]),", page).group(1))]
    assert len(frames) == 12 and {f.shape for f in frames} == {(144, 216, 4)}
    places = [position(f) for f in frames]
    assert all(a < b for a, b in zip(places, places[1:], strict=False))
    assert frames[0][0, 0, 3] == 0, "the background is transparent"
    shown = re.search(r'<img[^>]*src="data:image/png;base64,([^"]*)"', page).group(1)
    np.testing.assert_array_equal(picture(shown), frames[-1])
    assert 'alt="A dot that walks &lt;right&gt;"' in page
    code = re.sub(r"[\w+/=]{100,}", "", page)  # all but the pictures
    assert not re.search(r"https?:|//|<link|@import| src=\"(?!data:)", code)
    assert "$" not in code  # the template is filled in


def test_a_film_has_a_still_for_paper_and_is_reproducible():
    make = lambda: widgets.animate(dot, x=range(1, 10), figsize=(3.0, 2.0))  # noqa: E731
    first, second = make().forms, make().forms
    assert first == second
    assert picture(first["image/png"]).shape[1] > 4 * 150  # four frames side by side
    assert set(first) == {"text/html", "image/png", "text/plain"}


def test_a_film_of_usual_size_is_below_a_megabyte():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(500, 2, generator=g)
    film = widgets.animate(lambda ax, t: plots.plot_points(x * t, ax=ax, limit=3), t=torch.linspace(0, 1, 12))
    assert len(film.forms["text/html"]) / 12 < 1_000_000 / 50  # room for 50 frames
    assert plt.get_fignums() == []  # nothing is left for the notebook to show twice


# Sliders ------------------------------------------------------------------------------------------------------


def test_where_no_widget_runs_a_slider_is_a_picture():
    out = widgets.slider(dot, x=range(1, 10), colour=["noise", "model"], panels=3, figsize=(3.0, 2.0))
    assert out.widget is None and set(out.forms) == {"image/png", "text/plain"}
    panels = np.array_split(picture(out.forms["image/png"]), 3, axis=1)
    places = [position(p, "noise") for p in panels]
    assert places[0] < places[1] < places[2]
    assert plt.get_fignums() == []


def test_a_widget_redraws_and_carries_the_picture_along(monkeypatch):
    monkeypatch.setenv("NOISE2DATA_WIDGETS", "1")
    out = widgets.slider(dot, x=torch.arange(1.0, 10.0), colour=["data", "model"], start={"x": 2.0})
    assert "application/vnd.jupyter.widget-view+json" in out.forms and "image/png" in out.forms
    x, colour, image, message = out.widget.children
    assert (x.description, x.value, colour.value) == ("x", 2.0, "data")
    assert [label for label, _ in x.options][:2] == ["1", "2"]
    before = position(picture(image.value))
    x.value = 8.0
    assert position(picture(image.value)) > before + 0.4
    colour.value = "model"
    assert position(picture(image.value), "model") > before + 0.4
    assert message.value == ""


def test_an_error_while_moving_a_slider_is_shown_and_the_picture_stays(monkeypatch):
    monkeypatch.setenv("NOISE2DATA_WIDGETS", "1")

    def fragile(ax, k):
        if k == 3:
            raise RuntimeError("no <k> = 3")

    out = widgets.slider(fragile, k=[1, 2, 3, 4], panels=2)
    k, image, message = out.widget.children
    k.value = 2
    before = image.value
    k.value = 3
    assert image.value == before and "RuntimeError: no &lt;k&gt; = 3" in message.value
    k.value = 4
    assert message.value == ""
    with pytest.raises(RuntimeError, match="no <k>"):  # the first drawing fails as any cell does
        widgets.slider(fragile, k=[3])


def test_where_widgets_are_available(monkeypatch):
    for variable in ("JPY_SESSION_NAME", "VSCODE_PID"):
        monkeypatch.delenv(variable, raising=False)
    assert not widgets.widgets_available()
    monkeypatch.setenv("JPY_SESSION_NAME", "lab.ipynb")
    assert not widgets.widgets_available()  # no kernel here
    monkeypatch.setattr("IPython.get_ipython", lambda: type("Shell", (), {"kernel": object()})())
    assert widgets.widgets_available()
    monkeypatch.delenv("JPY_SESSION_NAME")
    assert not widgets.widgets_available()
    monkeypatch.setenv("NOISE2DATA_WIDGETS", "1")
    assert widgets.widgets_available()
    monkeypatch.setenv("NOISE2DATA_WIDGETS", "0")
    assert not widgets.widgets_available()
    monkeypatch.setenv("NOISE2DATA_WIDGETS", "yes")
    with pytest.raises(ValueError, match="NOISE2DATA_WIDGETS is 'yes'; expected 0 or 1"):
        widgets.widgets_available()


def test_an_executed_notebook_holds_pictures_and_no_widget_state(monkeypatch):
    """As Jupyter Book and nbgrader run it: through nbclient, with a kernel of its own."""
    from nbclient import NotebookClient

    for variable in ("JPY_SESSION_NAME", "VSCODE_PID"):
        monkeypatch.delenv(variable, raising=False)
    source = (
        "from noise2data import plots, widgets; plots.style()\ndef draw(ax, t): ax.plot([0, t], [0, 1])\n",
        "widgets.slider(draw, t=[0.1, 0.5, 0.9])",
        "widgets.animate(draw, t=[0.1, 0.5, 0.9])",
    )
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(s) for s in source],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )
    NotebookClient(notebook, timeout=120).execute()
    (still,), (film,) = (cell.outputs for cell in notebook.cells[1:])
    assert set(still.data) == {"image/png", "text/plain"} and picture(still.data["image/png"]).shape[2] == 4
    assert set(film.data) == {"text/html", "image/png", "text/plain"}
    assert "widgets" not in notebook.metadata
