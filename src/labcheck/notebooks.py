"""Notebooks as students hand them in, put back into the shape in which they were released."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from labcheck.anchors import place
from labcheck.cells import defined, grade_id, is_answer, normal, source_of, tree_of
from labcheck.checks import Battery
from labcheck.course import CourseError
from labcheck.inside.loading import Cell, imported_modules

CELL_ID = re.compile(r"[a-zA-Z0-9-_]{1,64}")  # of a cell, as nbformat allows it


class NotebookError(ValueError):
    """A file that is no notebook, or one with no cells; the message names it."""


def read(path: Path | str) -> NotebookNode:
    """Read a notebook of any nbformat version as version 4.

    Raises:
        NotebookError: the file is missing, is not a notebook, or has no cells.
    """
    path = Path(path)
    try:
        notebook: NotebookNode = nbformat.read(path, as_version=4)
        cells = notebook.cells
    except FileNotFoundError:
        raise NotebookError(f"{path}: no such file") from None
    except Exception as error:  # nbformat raises many types for many kinds of damage
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise NotebookError(f"{path}: not a Jupyter notebook ({reason})") from None
    if not cells:
        raise NotebookError(f"{path}: a notebook without cells; was an empty file handed in?")
    return notebook


def require_points(battery: Battery, notebook: NotebookNode) -> None:
    """Return if each task has a check cell that carries the points which the task's checks sum to.

    Raises:
        CourseError: names what differs.
    """
    cells = {
        name.removeprefix("check-"): float(cell.metadata.nbgrader.points)
        for cell in notebook.cells
        if (name := grade_id(cell) or "").startswith("check-")
    }
    checks = {task: battery.points(task) for task in battery.tasks}
    if cells != checks:
        wrong = sorted({task for task, _ in set(cells.items()) ^ set(checks.items())})
        told = "; ".join(f"{task}: cell {cells.get(task)}, checks {checks.get(task)}" for task in wrong)
        raise CourseError(f"{battery.lab}: the points of check cells are not those of the checks ({told})")


def reanchor(submitted: NotebookNode, released: NotebookNode) -> NotebookNode:
    """Rebuild a submission on the released notebook.

    Every released cell is there once, in order, with its own metadata; a locked one as released, any other
    with what the student made of it (see `labcheck.anchors.place`). The student's further cells follow the
    released cell that they followed, without nbgrader's metadata. So cells that were deleted, copied, edited,
    merged, split, re-tagged or stripped neither cost a right answer nor gain a wrong one.
    """
    placement = place(submitted.cells, released.cells)
    taken = {cell.id for cell in released.cells}

    def further(index: int) -> list[NotebookNode]:
        return [_plain(submitted.cells[at], taken) for at in placement.further.get(index, [])]

    cells = further(-1)
    for index, original in enumerate(released.cells):
        cell = NotebookNode(original)
        if index in placement.chosen:
            cell.update(_content(submitted.cells[placement.chosen[index]], original.cell_type))
        cells += [cell, *further(index)]
    rebuilt: NotebookNode = nbformat.v4.new_notebook(metadata=released.metadata, cells=cells)
    rebuilt.nbformat_minor = max(released.nbformat_minor, 5)
    return rebuilt


def code_cells(notebook: NotebookNode, released: NotebookNode) -> list[Cell]:
    """The code cells of a re-anchored notebook, as the sandbox loads them.

    An answer that is still as released is left out where another cell defines the same name: a
    copied blank costs nothing, and an answer written into a new cell counts.
    """
    blanks = {
        normal(cell.source): grade_id(cell) for cell in released.cells if cell.cell_type == "code" and is_answer(cell)
    }
    cells = [
        Cell(grade_id(cell) or cell.id, cell.source, is_answer(cell) or grade_id(cell) is None)
        for cell in notebook.cells
        if cell.cell_type == "code" and (is_answer(cell) or not cell.metadata.get("nbgrader", {}).get("grade", False))
    ]
    own = {name for cell in cells if normal(cell.source) not in blanks for name in defined(normal(cell.source)).names}
    released_ids = {cell.id for cell in released.cells}
    return [
        Cell(cell.name, cell.source, cell.name in blanks.values() or cell.name not in released_ids)
        for cell in cells
        if blanks.get(normal(cell.source)) not in own
    ]


def top_level_imports(notebook: NotebookNode) -> list[str]:
    """Dotted names of the modules that a notebook imports outside functions."""
    names: set[str] = set()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            tree = tree_of(cell.source)
            body = [node for node in tree.body if type(node).__name__ in ("Import", "ImportFrom")] if tree else []
            for node in body:
                names |= imported_modules(node)
    return sorted(names)


def _plain(cell: NotebookNode, taken: set[str]) -> NotebookNode:
    """A student's further cell without metadata, under its own id where that is allowed and not taken."""
    base = cell.get("id")
    base = name = base if isinstance(base, str) and CELL_ID.fullmatch(base) else "extra"
    number = 1
    while name in taken:
        number += 1
        name = f"{base[:58]}-{number}"
    taken.add(name)
    kinds = {"code": nbformat.v4.new_code_cell, "markdown": nbformat.v4.new_markdown_cell}
    make: Callable[..., NotebookNode] = kinds.get(cell.cell_type, nbformat.v4.new_raw_cell)
    plain = make(id=name)
    plain.update(_content(cell, plain.cell_type))
    return plain


def _content(cell: NotebookNode, kind: str) -> dict[str, Any]:
    """What the student wrote into a cell: its source and, in text, the pictures pasted into it."""
    pictures = cell.get("attachments")
    return {"source": source_of(cell)} | ({"attachments": pictures} if pictures and kind != "code" else {})
