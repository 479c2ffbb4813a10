"""What a student wrote in an earlier lab, for a later one to build upon."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from labcheck.inside.loading import Cell, run

_MOST = 200  # characters of what an error says


def earlier(lab: str, *names: str, folder: Path | str = "..") -> SimpleNamespace:
    """Definitions from another lab's notebook, as grading would load them: its training is not run, no plot is shown.

    Args:
        lab: the other lab's name; its notebook is looked for as ``folder/LAB/LAB.ipynb``, then as ``LAB.ipynb``
            in this notebook's own folder, where Colab puts what is uploaded.
        names: what is wanted of it.
        folder: where the labs' folders stand, seen from this notebook.

    Returns:
        The wanted definitions, as attributes.

    Raises:
        FileNotFoundError: the notebook is not there.
        NotebookError: the file is not a notebook.
        NameError: it does not define one of the names; the message says what could not be run.
    """
    from labcheck.cells import defined, grade_id, is_answer
    from labcheck.notebooks import read  # nbformat, which it needs, is at hand where there is a notebook

    places = [Path(folder) / lab / f"{lab}.ipynb", Path(f"{lab}.ipynb")]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise FileNotFoundError(
            f"{places[0]} is not there; expected your notebook of {lab}, in a folder beside this one's "
            "or in this one's own"
        )
    cells = [
        Cell(f"{lab}-{grade_id(cell) or number}", cell.source, is_answer(cell))
        for number, cell in enumerate(read(path).cells)
        if cell.cell_type == "code"
    ]
    namespace: dict[str, Any] = {"__name__": lab}
    before = _open_figures()
    problems = run(cells, namespace, names)
    for figure in _open_figures() - before:  # of an assignment like ``fig, ax = plt.subplots()``
        sys.modules["matplotlib.pyplot"].close(figure)
    missing = sorted(set(names) - set(namespace))
    if missing:
        found = {cell.name: defined(cell.source) for cell in cells}
        theirs = [p for p in problems if set(missing) & (found[p.cell].names | found[p.cell].broken)]
        why = next(map(str, theirs or problems), "no cell does")  # others follow from it, mostly
        raise NameError(f"{path} does not define {', '.join(missing)} ({why})")
    return SimpleNamespace(**{name: namespace[name] for name in names})


def in_a_line(error: BaseException) -> str:
    """What an error says, in one line, and which function that `earlier` gave raised it: the innermost one."""
    codes = [frame.f_code for frame, _line in traceback.walk_tb(error.__traceback__)]
    theirs = [code for code in codes if code.co_filename.startswith("<cell ")]
    said = next(iter(str(error).splitlines()), "")[:_MOST]
    if not theirs:
        return said or type(error).__name__
    name = theirs[-1].co_qualname.split(".")[0]
    if isinstance(error, NotImplementedError) and theirs[-1] is codes[-1]:
        return f"`{name}` is not written yet"
    return f"`{name}` raises {type(error).__name__}" + (f": {said}" if said else "")


def _open_figures() -> set[int]:
    """The numbers of matplotlib's open figures; none where it is not loaded."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    return set(pyplot.get_fignums()) if pyplot else set()
