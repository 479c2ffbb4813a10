"""Pictures that move, and pictures under the reader's hand: films and sliders, each with a still for paper.

Both take a function that draws one picture on empty axes, draw(ax, **values). matplotlib, Pillow and ipywidgets are
imported by the functions that use them.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import os
import sys
from collections.abc import Callable
from string import Template
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ipywidgets
    from matplotlib.figure import Figure

Draw = Callable[..., object]  # draw(ax, **values)
Size = tuple[float, float]  # inches


def _png(figure: Figure, dpi: float, colours: int | None = None) -> bytes:
    """A figure as PNG bytes; with `colours`, reduced to a palette, which makes frames three times smaller."""
    from PIL import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    if colours is None:
        return buffer.getvalue()
    reduced, image = io.BytesIO(), Image.open(buffer).convert("RGBA")
    image.quantize(colours, method=Image.Quantize.FASTOCTREE).save(reduced, format="png", optimize=True)
    return reduced.getvalue()


def _picture(draw: Draw, settings: list[dict[str, Any]], figsize: Size) -> Figure:
    """draw(ax, **values) for each of the settings, side by side, on a figure of its own.

    It is not one of pyplot's figures, so that a notebook does not show it a second time.
    """
    from matplotlib.figure import Figure

    width, height = figsize
    scale = 1.0 if len(settings) == 1 else 0.7
    figure = Figure(figsize=(scale * width * len(settings), scale * height), layout="compressed")
    for ax, values in zip(figure.subplots(1, len(settings), squeeze=False)[0], settings, strict=True):
        draw(ax, **values)
        if len(settings) > 1 and not ax.get_title():
            ax.set_title(_caption(values))
    return figure


def _caption(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} = {_text(value)}" for name, value in values.items())


def _text(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _choices(name: str, values: Any) -> list[Any]:
    """The values of a control as a list of Python numbers or strings."""
    choices: list[Any] = values.tolist() if hasattr(values, "tolist") else list(values)
    if not choices:
        raise ValueError(f"{name} is empty; expected at least one value")
    return choices


def _spread(values: list[Any], n: int) -> list[Any]:
    """At most n of the values, evenly spaced, with both ends."""
    n = min(n, len(values))
    return [values[round(i * (len(values) - 1) / max(1, n - 1))] for i in range(n)]


class _Output:
    """What a notebook shows: of the given forms (MIME type -> content) the richest that it can."""

    def __init__(self, forms: dict[str, Any], widget: ipywidgets.Widget | None = None) -> None:
        self.forms = forms
        self.widget = widget

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return self.forms


# Every copy on the page sets itself up; no id, so that the same film may stand in it twice.
_PLAYER = Template("""<div data-film="$key" style="max-width:${width}px">
<img class="dark-light" alt="$alt" src="data:image/png;base64,$last" \
style="width:100%;height:auto;background:none">
<div style="display:none;gap:.6em;align-items:center">
<button type="button" aria-label="Play" style="width:2.4em;height:2.2em;color:inherit;background:none;\
border:1px solid #6B7280;border-radius:4px;cursor:pointer">&#9654;&#65038;</button>
<input type="range" min="0" max="$count" value="$count" aria-label="$name" aria-valuetext="$caption" \
style="flex:1;min-width:0;accent-color:#0072B2">
<span aria-hidden="true" style="min-width:5.5em;font-variant-numeric:tabular-nums">$caption</span>
</div>
<script>
document.querySelectorAll('[data-film="$key"]:not([data-ready])').forEach(film => {
  const frames = $frames, captions = $captions;
  const [picture, bar] = film.children, [button, range, text] = bar.children;
  let timer = null;
  const show = i => {
    picture.src = "data:image/png;base64," + frames[i];
    range.value = i;
    range.setAttribute("aria-valuetext", text.textContent = captions[i]);
  };
  const pause = () => {
    clearInterval(timer);
    timer = null;
    button.innerHTML = "&#9654;&#65038;";
    button.setAttribute("aria-label", "Play");
  };
  const play = () => {
    let i = +range.value < frames.length - 1 ? +range.value : 0;
    show(i);
    timer = setInterval(() => ++i < frames.length ? show(i) : pause(), $interval);
    button.innerHTML = "&#10073;&#10073;";
    button.setAttribute("aria-label", "Pause");
  };
  button.onclick = () => timer === null ? play() : pause();
  range.oninput = () => { pause(); show(+range.value); };
  bar.style.display = "flex";
  film.dataset.ready = "";
});
</script>
</div>""")


def animate(
    draw: Draw,
    *,
    figsize: Size = (4.0, 4.0),
    interval: int = 100,
    dpi: float = 72,
    alt: str | None = None,
    max_bytes: int = 1_000_000,
    **frames: Any,
) -> _Output:
    """A short film with a play button and a slider, in one piece of HTML that needs no other file or host.

    draw(ax, name=value) draws one frame on empty axes and sets their limits, so that frames agree. The one
    further keyword names what changes and gives its values: ``animate(draw, t=torch.linspace(1, 0, 40))``.
    interval: milliseconds between frames. alt: what a reader who cannot see the film is told.
    Nothing moves until the reader asks; before that, and where no script runs, the last frame stands. Where
    HTML cannot be shown (PDF), four frames stand side by side.
    Returns an object for the notebook to show. Raises ValueError unless exactly one sequence is given, or if
    the HTML is larger than max_bytes.
    """
    if len(frames) != 1:
        raise ValueError(f"frames are {sorted(frames)}; expected one keyword: what changes, and its values")
    ((name, values),) = frames.items()
    settings = [{name: value} for value in _choices(name, values)]
    pictures = [base64.b64encode(_png(_picture(draw, [s], figsize), dpi, colours=64)).decode() for s in settings]
    captions = [_caption(s) for s in settings]
    alt = alt or f"Animation over {name}"
    page = _PLAYER.substitute(
        key=hashlib.sha256("".join(pictures).encode()).hexdigest()[:12],
        width=round(96 * figsize[0]),
        alt=html.escape(alt),
        last=pictures[-1],
        count=len(pictures) - 1,
        name=html.escape(name),
        caption=html.escape(captions[-1]),
        frames=json.dumps(pictures),
        interval=int(interval),
        captions=json.dumps(captions).replace("</", "<\\/"),
    )
    if len(page) > max_bytes:
        raise ValueError(
            f"{name} makes {len(settings)} frames and {len(page):,} bytes of HTML; expected at most "
            f"{max_bytes:,} (fewer frames, a smaller figsize or dpi)"
        )
    strip = _png(_picture(draw, _spread(settings, 4), figsize), 100)
    return _Output({"text/html": page, "image/png": base64.b64encode(strip).decode(), "text/plain": alt})


def widgets_available() -> bool:
    """Whether somebody can move a slider: this is a notebook's kernel, and a page is attached to it.

    True in JupyterLab and Notebook (whose server names the session to the kernel), Colab and VS Code; False
    in scripts and wherever notebooks are run unattended (nbclient, and with it nbconvert, Jupyter Book and
    nbgrader).
    The environment variable NOISE2DATA_WIDGETS=0 or 1 decides otherwise.
    """
    wish = os.environ.get("NOISE2DATA_WIDGETS")
    if wish not in (None, ""):
        if wish not in ("0", "1"):
            raise ValueError(f"NOISE2DATA_WIDGETS is {wish!r}; expected 0 or 1")
        return wish == "1"
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if getattr(shell, "kernel", None) is None:
        return False
    return "google.colab" in sys.modules or any(os.environ.get(k) for k in ("JPY_SESSION_NAME", "VSCODE_PID"))


def slider(
    draw: Draw,
    *,
    figsize: Size = (5.0, 3.6),
    dpi: float = 100,
    start: dict[str, Any] | None = None,
    alt: str | None = None,
    panels: int = 4,
    **controls: Any,
) -> _Output:
    """A picture with controls under the reader's hand, or a static one where nobody can move them.

    draw(ax, **values) draws the picture on empty axes, one value for each control. Each further keyword is a
    control with its values: ``slider(draw, k=range(0, 101), schedule=["linear", "cosine"])``; numbers make a
    slider, strings a menu. start: {name: value} to begin with, by default the middle number or the first
    string.
    The static picture shows `panels` values of the first control side by side, the others at their start. It
    is the only output where no widget can run, and stands beside the widget in a notebook that is saved where
    one can.
    Returns an object for the notebook to show. Raises ValueError for a control without values, or a start
    that is not among them.
    """
    if not controls:
        raise ValueError("slider has no control; expected at least one keyword with values, such as t=[0.0, 0.5, 1.0]")
    choices = {name: _choices(name, values) for name, values in controls.items()}
    values = {name: c[0] if isinstance(c[0], str) else c[len(c) // 2] for name, c in choices.items()}
    for name, value in (start or {}).items():
        if value not in choices.get(name, ()):
            raise ValueError(f"start has {name} = {value!r}; expected one of {choices.get(name, sorted(choices))}")
        values[name] = value
    first = next(iter(choices))
    settings = [values | {first: value} for value in _spread(choices[first], panels)]
    alt = alt or f"Picture for several values of {first}"
    static = _png(_picture(draw, settings, figsize), dpi)
    forms = {"image/png": base64.b64encode(static).decode(), "text/plain": alt}
    if not widgets_available():
        return _Output(forms)
    widget = _controls(draw, choices, values, figsize, dpi)
    return _Output(widget._repr_mimebundle_() | forms, widget)


def _controls(
    draw: Draw, choices: dict[str, list[Any]], values: dict[str, Any], figsize: Size, dpi: float
) -> ipywidgets.VBox:
    """The widget of `slider`: controls above a picture, below which an error in draw is shown."""
    import ipywidgets

    def control(name: str, options: list[Any]) -> ipywidgets.Widget:
        labelled = [(_text(value), value) for value in options]
        make = ipywidgets.Dropdown if isinstance(options[0], str) else ipywidgets.SelectionSlider
        return make(options=labelled, value=values[name], description=name)

    boxes = {name: control(name, options) for name, options in choices.items()}
    # Its own size: a box would stretch it to the cell's width.
    layout = {"width": f"{figsize[0] * dpi:.0f}px", "max_width": "100%", "align_self": "flex-start"}
    picture = ipywidgets.Image(format="png", layout=layout)
    message = ipywidgets.HTML()

    def redraw(_: Any = None) -> None:
        try:
            picture.value = _png(_picture(draw, [{name: box.value for name, box in boxes.items()}], figsize), dpi)
            message.value = ""
        except Exception as error:  # an exception in a callback would vanish into the log
            message.value = f"<pre>{html.escape(f'{type(error).__name__}: {error}')}</pre>"

    for box in boxes.values():
        box.observe(redraw, names="value")
    redraw()
    return ipywidgets.VBox([*boxes.values(), picture, message])
