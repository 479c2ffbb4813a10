"""A later lab takes up what a student wrote in an earlier one."""

import nbformat
import pytest

from labcheck.earlier import earlier
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


def test_a_missing_notebook_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"{LAB}\.ipynb is not there; expected your notebook of {LAB}"):
        earlier(LAB, "f", folder=tmp_path)


def test_a_missing_name_is_named_with_what_went_wrong(labs):
    folder = labs("def f(:\n    return 1", "def g():\n    return 2")
    with pytest.raises(NameError, match=r"does not define f \(cell 'lab02_makers-0', line 1: SyntaxError"):
        earlier(LAB, "f", "g", folder=folder)
    with pytest.raises(NameError, match=r"does not define h \("):
        earlier(LAB, "h", folder=folder)


def test_what_is_no_notebook_is_named(labs):
    folder = labs("f = 1")
    (folder / LAB / f"{LAB}.ipynb").write_text("not JSON")
    with pytest.raises(NotebookError, match=LAB):
        earlier(LAB, "f", folder=folder)
