"""From the text that instructors edit to the notebooks that students open.

``solutions/LAB/LAB.md`` (MyST, jupytext) becomes the executed ``solutions/LAB/LAB.ipynb``, and
nbgrader makes ``labs/LAB/LAB.ipynb`` of that. The same text gives the same bytes.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbgrader.converters import GenerateAssignment
from nbgrader.coursedir import CourseDirectory
from traitlets.config import Config
from traitlets.config.loader import PyFileConfigLoader

from labcheck.cells import grade_id
from labcheck.course import Course, CourseError
from labcheck.notebooks import require_points

_ADDRESS = "@REPOSITORY@"
_CELL_SECONDS = 600
_KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


def from_text(path: Path, repository: str) -> NotebookNode:
    """A lab's notebook without outputs: fixed cell ids and metadata, the public address filled in."""
    notebook: NotebookNode = jupytext.read(path)
    notebook.metadata = NotebookNode(kernelspec=_KERNEL, language_info={"name": "python"})
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    last, since = "top", 0
    for cell in notebook.cells:
        name = grade_id(cell)
        last, since = (name, 0) if name else (last, since + 1)
        cell.id = name or f"{last}-{since}"
        cell.source = cell.source.replace(_ADDRESS, repository)
    nbformat.validate(notebook)
    return notebook


def same_sources(one: NotebookNode, other: NotebookNode) -> bool:
    """Whether two notebooks have the same cells, outputs and execution counts aside."""
    return [_without_outputs(c) for c in one.cells] == [_without_outputs(c) for c in other.cells]


def execute(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """Run a notebook in a folder and keep its outputs, without what changes from run to run."""
    os.environ["TQDM_DISABLE"] = "1"
    resources = {"metadata": {"path": folder}}
    NotebookClient(notebook, timeout=_CELL_SECONDS, record_timing=False, resources=resources).execute()
    notebook.metadata = NotebookNode(kernelspec=_KERNEL, language_info={"name": "python"})
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [out for out in cell.outputs if not _passing(out)]
    return notebook


def _passing(output: NotebookNode) -> bool:
    """Whether an output is for the moment only: stderr, or a live widget such as a progress bar."""
    return output.get("name") == "stderr" or "application/vnd.jupyter.widget-view+json" in output.get("data", {})


def build_solution(course: Course, lab: str, force: bool = False) -> bool:
    """Bring a lab's executed notebook up to date with its text.

    Args:
        course: the course.
        lab: the lab's name.
        force: execute although the text has not changed.

    Returns:
        Whether the notebook was executed.
    """
    text = course.solutions / lab / f"{lab}.md"
    target = text.with_suffix(".ipynb")
    notebook = from_text(text, course.repository)
    require_points(course.battery(lab), notebook)
    if target.exists() and not force and same_sources(nbformat.read(target, as_version=4), notebook):
        return False
    notebook = execute(notebook, text.parent)
    _write(notebook, target)
    return True


def release(course: Course, lab: str, folder: Path | None = None) -> Path:
    """Make the students' notebook with nbgrader.

    Args:
        course: the course.
        lab: the lab's name.
        folder: where to put ``LAB/LAB.ipynb``; the course's folder of labs if None.

    Returns:
        The path of the released notebook.
    """
    folder = course.labs if folder is None else folder
    with tempfile.TemporaryDirectory() as room:
        config = nbgrader_config(course)
        config.CourseDirectory.db_url = f"sqlite:///{room}/gradebook.db"
        config.CourseDirectory.release_directory = str(Path(room) / "release")
        config.CourseDirectory.assignment_id = lab
        generate_assignment(config)
        made = Path(room) / "release" / lab / f"{lab}.ipynb"
        notebook = nbformat.read(made, as_version=4)
        target = folder / lab / f"{lab}.ipynb"
        target.parent.mkdir(parents=True, exist_ok=True)
        _write(notebook, target)
    return target


def generate_assignment(config: Config) -> None:
    """``nbgrader generate_assignment --create --force`` in this process.

    Raises:
        SystemExit: nbgrader refused; it has logged why.
    """
    log = logging.getLogger("labcheck.nbgrader")
    log.setLevel(logging.WARNING)
    converter = GenerateAssignment(coursedir=CourseDirectory(config=config), config=config, log=log)
    converter.force = True
    converter.create_assignment = True
    converter.start()


def nbgrader_config(course: Course) -> Config:
    """The course's nbgrader_config.py, rooted at the course."""
    path = course.root / "nbgrader_config.py"
    if not path.is_file():
        raise CourseError(f"{path} is missing: nbgrader's settings of the course")
    config: Config = PyFileConfigLoader(path.name, path=str(course.root)).load_config()
    config.CourseDirectory.root = str(course.root)
    return config


def _without_outputs(cell: NotebookNode) -> dict[str, Any]:
    return {key: value for key, value in cell.items() if key not in ("outputs", "execution_count")}


def _write(notebook: NotebookNode, target: Path) -> None:
    """Write beside the target, then move: an interrupted run leaves no half-written notebook."""
    beside = target.with_suffix(".ipynb.part")
    nbformat.write(notebook, beside)
    shutil.move(beside, target)
