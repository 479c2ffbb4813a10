"""The picture that the demo draws, and the copy of it that the README shows."""

import re

import matplotlib.image
import numpy as np
import pytest

from demo import latents
from labcheck.course import Course

ROOT = Course.find().root


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The file and its caption."""
    file = tmp_path_factory.mktemp("latents") / "latents.png"
    return file, latents.draw(file)


def test_nearly_all_pictures_show_what_was_asked_for(drawn):
    right, asked = map(int, re.search(r"(\d+) of (\d+)", drawn[1]).groups())
    assert asked == 30 and right >= 27


def test_the_copy_in_the_readme_is_what_the_command_draws(drawn):
    """Not to the last bit: other processors round sums in another order."""
    again, copy = (matplotlib.image.imread(file) for file in (drawn[0], ROOT / "demo" / "latents.png"))
    assert again.shape == copy.shape
    assert np.abs(again - copy).mean() < 0.01


def test_the_readme_says_of_it_what_the_command_says(drawn):
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"![{latents.ALT}](demo/latents.png)" in readme
    assert drawn[1] in readme
