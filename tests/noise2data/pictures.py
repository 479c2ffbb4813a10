"""Pictures as arrays, and matplotlib as the course sets it up, for the tests of plots and widgets."""

import base64
import io
from contextlib import contextmanager

import matplotlib
import numpy as np
from PIL import Image

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from noise2data import plots


def picture(blob):
    """PNG bytes or their base64 text as an (H, W, 4) array."""
    raw = base64.b64decode(blob) if isinstance(blob, str) else blob
    return np.asarray(Image.open(io.BytesIO(raw)).convert("RGBA"))


def png(figure, dpi):
    """A figure as PNG bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


@contextmanager
def style():
    """The course's style inside the block; every figure closed after it."""
    with plt.rc_context():
        plots.style()
        yield
    plt.close("all")
