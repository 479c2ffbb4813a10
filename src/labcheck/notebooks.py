"""Notebooks as students hand them in, put back into the shape in which they were released."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from labcheck.checks import Battery
from labcheck.course import CourseError
from labcheck.inside.loading import Cell, defined_names, imported_modules, parse

_ID = re.compile(r"[a-zA-Z0-9-_]{1,64}")  # of a cell, as nbformat allows it


class NotebookError(ValueError):
    """A file that is no notebook, or one with no cells; the message names it."""


def read(path: Path | str) -> NotebookNode:
    """Read a notebook of any nbformat version as version 4.

    Raises:
        NotebookError: the file is missing, is not a notebook, or has no cells.
    """
    path = Path(path)
    try:
        notebook = nbformat.read(path, as_version=4)
        cells = notebook.cells
    except FileNotFoundError:
        raise NotebookError(f"{path}: no such file") from None
    except Exception as error:  # nbformat raises many types for many kinds of damage
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise NotebookError(f"{path}: not a Jupyter notebook ({reason})") from None
    if not cells:
        raise NotebookError(f"{path}: a notebook without cells; was an empty file handed in?")
    return notebook


def grade_id(cell: NotebookNode) -> str | None:
    """nbgrader's name of a cell, None for a cell that has none."""
    settings = cell.get("metadata", {}).get("nbgrader", {})
    name = settings.get("grade_id") if isinstance(settings, dict) else None
    return name if isinstance(name, str) else None


def is_answer(cell: NotebookNode) -> bool:
    """Whether students write into this cell."""
    settings = cell.metadata.get("nbgrader", {})
    return bool(settings.get("solution")) and not settings.get("locked", False)


def require_points(battery: Battery, notebook: NotebookNode) -> None:
    """Return if each task has a check cell that carries the points which the task's checks sum to.

    Raises:
        CourseError: names what differs.
    """
    cells = {
        grade_id(cell).removeprefix("check-"): float(cell.metadata.nbgrader.points)
        for cell in notebook.cells
        if (grade_id(cell) or "").startswith("check-")
    }
    checks = {task: battery.points(task) for task in battery.tasks}
    if cells != checks:
        wrong = sorted({task for task, _ in set(cells.items()) ^ set(checks.items())})
        told = "; ".join(f"{task}: cell {cells.get(task)}, checks {checks.get(task)}" for task in wrong)
        raise CourseError(f"{battery.lab}: the points of check cells are not those of the checks ({told})")


def _is_free(cell: NotebookNode) -> bool:
    """Whether students may edit a cell: an answer, or one that nbgrader does not know."""
    return is_answer(cell) or "nbgrader" not in cell.metadata


def reanchor(submitted: NotebookNode, released: NotebookNode) -> NotebookNode:
    """Rebuild a submission on the released notebook.

    Every released cell is there once, in order, with its own metadata; a locked one as released, any other
    with what the student made of it. Cells are found by grade_id, else by cell id, else by the functions that
    they define, else (for text) by place. The student's further cells follow the released cell that they
    followed, without nbgrader's metadata. So cells that were deleted, copied, edited, re-tagged or stripped
    neither cost a right answer nor gain a wrong one.
    """
    anchors = _anchors(submitted.cells, released.cells)
    chosen = _choose(submitted.cells, released.cells, anchors)
    extras = _extras(submitted.cells, released.cells, anchors, set(chosen.values()))
    taken = {cell.id for cell in released.cells}
    cells = [_plain(cell, taken) for cell in extras.get(-1, [])]
    for index, original in enumerate(released.cells):
        cell = NotebookNode(original)
        if index in chosen:
            cell = NotebookNode({**original, "source": submitted.cells[chosen[index]].source})
        cells += [cell, *(_plain(extra, taken) for extra in extras.get(index, []))]
    rebuilt = nbformat.v4.new_notebook(metadata=released.metadata, cells=cells)
    rebuilt.nbformat_minor = max(released.nbformat_minor, 5)
    return rebuilt


def code_cells(notebook: NotebookNode, released: NotebookNode) -> list[Cell]:
    """The code cells of a re-anchored notebook, as the sandbox loads them.

    An answer that is still as released is left out where another cell defines the same name: a
    copied blank costs nothing, and an answer written into a new cell counts.
    """
    blanks = {
        _normal(cell.source): grade_id(cell) for cell in released.cells if cell.cell_type == "code" and is_answer(cell)
    }
    cells = [
        Cell(grade_id(cell) or cell.id, cell.source, is_answer(cell) or grade_id(cell) is None)
        for cell in notebook.cells
        if cell.cell_type == "code" and (is_answer(cell) or not cell.metadata.get("nbgrader", {}).get("grade", False))
    ]
    own = {name for cell in cells if _normal(cell.source) not in blanks for name in _defined(cell.source)}
    released_ids = {cell.id for cell in released.cells}
    return [
        Cell(cell.name, cell.source, cell.name in blanks.values() or cell.name not in released_ids)
        for cell in cells
        if blanks.get(_normal(cell.source)) not in own
    ]


def top_level_imports(notebook: NotebookNode) -> list[str]:
    """Dotted names of the modules that a notebook imports outside functions."""
    names: set[str] = set()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            tree = _tree(cell.source)
            body = [node for node in tree.body if type(node).__name__ in ("Import", "ImportFrom")] if tree else []
            for node in body:
                names |= imported_modules(node)
    return sorted(names)


def _anchors(submitted, released) -> list[int | None]:
    """For each submitted cell, the index of the released cell that it is, or None."""
    by_grade_id = {grade_id(cell): i for i, cell in enumerate(released) if grade_id(cell)}
    by_id = {cell.id: i for i, cell in enumerate(released)}
    by_function = {grade_id(cell): i for i, cell in enumerate(released) if is_answer(cell) and cell.cell_type == "code"}
    by_source = {_normal(cell.source): i for i, cell in enumerate(released)}
    anchors: list[int | None] = []
    for cell in submitted:
        anchor = by_grade_id.get(grade_id(cell), by_id.get(cell.get("id"), by_source.get(_normal(cell.source))))
        if anchor is None or (cell.cell_type == "code" and not is_answer(released[anchor])):
            functions = _defined(cell.source) & by_function.keys() if cell.cell_type == "code" else set()
            if len(functions) == 1:
                anchor = by_function[functions.pop()]
        if anchor is not None and released[anchor].cell_type != cell.cell_type:
            anchor = None
        anchors.append(anchor)
    _place_texts(submitted, released, anchors)
    return anchors


def _place_texts(submitted, released, anchors):
    """A text without a name, right after the released cell before a text answer, is that answer."""
    for index, cell in enumerate(released):
        if cell.cell_type == "markdown" and is_answer(cell) and index and index not in anchors and index - 1 in anchors:
            place = len(anchors) - anchors[::-1].index(index - 1)
            if place < len(submitted) and anchors[place] is None and submitted[place].cell_type == "markdown":
                anchors[place] = index


def _choose(submitted, released, anchors) -> dict[int, int]:
    """For each cell that students may edit, the submitted cell that fills it: the last that differs from the blank."""
    chosen: dict[int, int] = {}
    for place, anchor in enumerate(anchors):
        if anchor is None or not _is_free(released[anchor]):
            continue
        blank = _normal(submitted[place].source) == _normal(released[anchor].source)
        if anchor not in chosen or not blank:
            chosen[anchor] = place
    return chosen


def _extras(submitted, released, anchors, used) -> dict[int, list[NotebookNode]]:
    """Submitted cells that fill no released cell, by the index of the released cell that they follow."""
    extras: dict[int, list[NotebookNode]] = {}
    known = {_normal(submitted[place].source) for place in used} | {_normal(cell.source) for cell in released}
    last = -1
    for place, (cell, anchor) in enumerate(zip(submitted, anchors, strict=True)):
        if anchor is not None:
            last = max(last, anchor) if place in used or not _is_free(released[anchor]) else last
        locked = anchor is not None and not _is_free(released[anchor])
        if place not in used and not locked and _normal(cell.source) not in known:
            extras.setdefault(last, []).append(cell)
    return extras


def _plain(cell: NotebookNode, taken: set[str]) -> NotebookNode:
    """A student's further cell without metadata, under its own id where that is allowed and not taken."""
    base = cell.get("id")
    base = name = base if isinstance(base, str) and _ID.fullmatch(base) else "extra"
    number = 1
    while name in taken:
        number += 1
        name = f"{base[:58]}-{number}"
    taken.add(name)
    make = {"code": nbformat.v4.new_code_cell, "markdown": nbformat.v4.new_markdown_cell}
    return make.get(cell.cell_type, nbformat.v4.new_raw_cell)(cell.source, id=name)


def _normal(source: str) -> str:
    return "\n".join(line.rstrip() for line in source.strip().split("\n"))


def _tree(source: str):
    try:
        return parse(Cell("", source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _defined(source: str) -> set[str]:
    tree = _tree(source)
    return defined_names(tree) if tree else set()
