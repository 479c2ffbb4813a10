"""A later lab takes up what a student wrote in an earlier one."""

import os
import subprocess
import sys

import matplotlib.pyplot as plt
import nbformat
import pytest

from labcheck.earlier import earlier, in_a_line
from labcheck.notebooks import NotebookError

LAB = "lab02_makers"


@pytest.fixture
def labs(tmp_path):
    """A folder of labs with one notebook; returns a function that writes its cells."""

    def write(*sources):
        (tmp_path / LAB).mkdir(exist_ok=True)
        cells = [nbformat.v4.new_code_cell(source) for source in sources]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / LAB / f"{LAB}.ipynb")
        return tmp_path

    return write


def test_definitions_come_with_what_they_use(labs):
    folder = labs("%matplotlib inline\nimport math", "TWICE = 2", "def double(x):\n    return TWICE * math.floor(x)")
    assert earlier(LAB, "double", folder=folder).double(3.5) == 6


def test_loops_and_calls_are_not_run(labs):
    folder = labs("def f():\n    return 1", "while True:\n    pass", "raise SystemExit", "f = None if f() else f")
    assert earlier(LAB, "f", folder=folder).f() == 1


def test_where_no_folder_is_named_labs_stand_side_by_side(labs, monkeypatch):
    folder = labs("def f():\n    return 1")
    (folder / "lab03_series").mkdir()
    monkeypatch.chdir(folder / "lab03_series")
    assert earlier(LAB, "f").f() == 1


def test_a_notebook_may_stand_in_the_own_folder(labs, monkeypatch):
    folder = labs("def f():\n    return 1")
    monkeypatch.chdir(folder / LAB)
    assert earlier(LAB, "f", folder="nowhere").f() == 1


def test_figures_that_assignments_open_are_closed_and_others_are_not(labs):
    other = plt.figure()
    folder = labs(
        "import matplotlib.pyplot as plt", "fig, axes = plt.subplots()\nSIZE = 2", "def f():\n    return axes"
    )
    before = plt.get_fignums()
    assert earlier(LAB, "f", folder=folder).f() is not None
    assert plt.get_fignums() == before
    plt.close(other)


def test_matplotlib_is_not_needed(labs):
    folder = labs("def f():\n    return 1")
    code = f"import sys; from labcheck.earlier import earlier; earlier({LAB!r}, 'f', folder={str(folder)!r}); "
    code += "assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ)


def test_a_missing_notebook_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"{LAB}\.ipynb is not there; expected your notebook of {LAB}"):
        earlier(LAB, "f", folder=tmp_path)


def test_a_missing_name_is_named_with_what_went_wrong(labs):
    folder = labs("def f(:\n    return 1", "def g():\n    return 2")
    with pytest.raises(NameError, match=r"does not define f \(cell 'lab02_makers-0', line 1: SyntaxError"):
        earlier(LAB, "f", "g", folder=folder)
    with pytest.raises(NameError, match=r"does not define h \("):
        earlier(LAB, "h", folder=folder)


def test_of_many_problems_the_one_that_cost_the_name_is_told(labs):
    folder = labs("HALF = 1 / 0", "THIRD = HALF / 3", "def f(x=THIRD):\n    return x", "SIXTH = THIRD / 2", "S = SIXTH")
    with pytest.raises(NameError) as caught:
        earlier(LAB, "f", folder=folder)
    assert str(caught.value).endswith("(cell 'lab02_makers-2', line 1: NameError: name 'THIRD' is not defined)")


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("def f():\n    raise NotImplementedError", "`f` is not written yet"),
        ("def f():\n    return g()\n\n\ndef g():\n    raise NotImplementedError", "`g` is not written yet"),
        ("class f:\n    def __init__(self):\n        raise NotImplementedError", "`f` is not written yet"),
        ("def f():\n    return 1 + 'a\\nb'.index('c')", "`f` raises ValueError: substring not found"),
        ("def f():\n    raise KeyError", "`f` raises KeyError"),
        ("def f():\n    raise ValueError('one\\ntwo' + 'x' * 999)", "`f` raises ValueError: one"),
        (
            "import torch\n\n\ndef f():\n    torch.nn.Module()(1)",
            '`f` raises NotImplementedError: Module [Module] is missing the required "forward" function',
        ),
    ],
)
def test_an_error_is_told_in_a_line_with_the_function_that_raised_it(labs, source, wanted):
    theirs = earlier(LAB, "f", folder=labs(source))
    with pytest.raises(Exception) as caught:
        theirs.f()
    assert in_a_line(caught.value) == wanted


def test_an_error_of_nobodys_function_is_told_without_one():
    assert in_a_line(ValueError("the first line\nthe second")) == "the first line"
    assert in_a_line(AssertionError()) == "AssertionError"


def test_what_is_no_notebook_is_named(labs):
    folder = labs("f = 1")
    (folder / LAB / f"{LAB}.ipynb").write_text("not JSON")
    with pytest.raises(NotebookError, match=LAB):
        earlier(LAB, "f", folder=folder)
