"""A copy of the example course, on the path of this process and of those that it starts."""

import copy
import json
import os
import shutil
import sys
from pathlib import Path

import nbformat
import pytest

from labcheck.answer import local
from labcheck.course import Course
from labcheck.inside.session import Session

LAB = "lab01_numbers"
FIXTURES = "tinycourse.checks.fixtures"


@pytest.fixture(scope="session", autouse=True)
def course_folder(tmp_path_factory) -> Path:
    """The example course, as its authors wrote it: nothing built."""
    root = tmp_path_factory.mktemp("tiny") / "course"
    shutil.copytree(Path(__file__).parent / "course", root, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(Path(__file__).parents[2] / "nbgrader_config.py", root)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(root)
        patch.setenv("PYTHONPATH", str(root))  # kernels and nbgrader run in processes of their own
        patch.setenv("PATH", os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield root


@pytest.fixture(scope="session")
def unbuilt(course_folder) -> Course:
    return Course.find(course_folder)


@pytest.fixture(scope="session")
def course(course_folder, tmp_path_factory) -> Course:
    """The example course with its first lab executed and released."""
    from labcheck.pipeline import build_solution, release

    root = tmp_path_factory.mktemp("built") / "course"
    shutil.copytree(course_folder, root)
    course = Course.find(root)
    assert build_solution(course, LAB)
    release(course, LAB)
    return course


@pytest.fixture
def working_copy(course, tmp_path) -> Course:
    """A copy of the built course, for a test to write into."""
    shutil.copytree(course.root, tmp_path / "course")
    return Course.find(tmp_path / "course")


@pytest.fixture
def released():
    """A small released notebook, made by hand: what re-anchoring needs, without a kernel."""
    cells = [
        nbformat.v4.new_markdown_cell("# Numbers", id="top-1"),
        nbformat.v4.new_code_cell("import torch\nFACTOR = 2", id="top-2"),
        _cell("code", "double", "def double(x):\n    # YOUR CODE HERE\n    raise NotImplementedError", solution=True),
        _cell("code", "check-double", 'check("double")', grade=True, points=3, locked=True),
        _cell(
            "code", "apply_twice", "def apply_twice(f, x):\n    # YOUR CODE HERE\n    raise NotImplementedError",
            solution=True,
        ),
        _cell("code", "check-apply_twice", 'check("apply_twice")', grade=True, points=1, locked=True),
        nbformat.v4.new_markdown_cell("Why is doubling linear?", id="check-apply_twice-1"),
        _cell("markdown", "open-question", "YOUR ANSWER HERE", solution=True, grade=True, points=2),
    ]  # fmt: skip
    return nbformat.v4.new_notebook(cells=cells)


@pytest.fixture(scope="session")
def right_answers() -> dict:
    """Right answers to the first lab's tasks, by name."""
    return {
        "double": "def double(x):\n    return x + x",
        "apply_twice": "def apply_twice(f, x):\n    return f(f(x))",
    }


@pytest.fixture
def solved(released, right_answers):
    """The small notebook with right answers."""
    return answered(released, {**right_answers, "open-question": "Because it is."})


@pytest.fixture(scope="session")
def answer_of():
    """``answer_of(source)``: an Answer to plain Python, in this process."""

    def make(source: str, fixtures: str = FIXTURES):
        namespace = {}
        exec(compile(source, "<cell answer>", "exec"), namespace)
        return local(Session(namespace, fixtures))

    return make


def answered(notebook, answers: dict):
    """A copy of a notebook with other sources in the cells of these grade ids."""
    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:
        name = cell.metadata.get("nbgrader", {}).get("grade_id")
        cell.source = answers.get(name, cell.source)
    return notebook


@pytest.fixture(scope="session")
def hand_in():
    """``hand_in(course, student, answers or notebook or text)`` writes a submission of the first lab."""

    def write(course: Course, student: str, content):
        path = course.root / "submitted" / student / LAB / f"{LAB}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, dict) and "cells" not in content:
            content = answered(nbformat.read(course.released(LAB), as_version=4), content)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


def _cell(kind, name, source, *, solution=False, grade=False, points=None, locked=False):
    settings = {"grade_id": name, "solution": solution, "grade": grade, "locked": locked, "schema_version": 3}
    settings |= {"task": False} | ({"points": points} if points is not None else {})
    make = nbformat.v4.new_code_cell if kind == "code" else nbformat.v4.new_markdown_cell
    return make(source, id=name, metadata={"nbgrader": settings})
