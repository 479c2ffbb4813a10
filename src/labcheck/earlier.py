"""What a student wrote in an earlier lab, for a later one to build upon."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from labcheck.inside.loading import Cell, run


def earlier(lab: str, *names: str, folder: Path | str = "..") -> SimpleNamespace:
    """Definitions from another lab's notebook, as grading would load them: its training and plots are not run.

    Args:
        lab: the other lab's name; its notebook is looked for as ``folder/LAB/LAB.ipynb``.
        names: what is wanted of it.
        folder: where the labs' folders stand, seen from this notebook.

    Returns:
        The wanted definitions, as attributes.

    Raises:
        FileNotFoundError: the notebook is not there.
        NotebookError: the file is not a notebook.
        NameError: it does not define one of the names; the message says what could not be run.
    """
    from labcheck.cells import grade_id, is_answer
    from labcheck.notebooks import read  # nbformat, which it needs, is at hand where there is a notebook

    path = Path(folder) / lab / f"{lab}.ipynb"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; expected your notebook of {lab}, in a folder beside this one's")
    cells = [
        Cell(f"{lab}-{grade_id(cell) or number}", cell.source, is_answer(cell))
        for number, cell in enumerate(read(path).cells)
        if cell.cell_type == "code"
    ]
    namespace: dict[str, Any] = {"__name__": lab}
    problems = run(cells, namespace, names)
    missing = sorted(set(names) - set(namespace))
    if missing:
        why = "; ".join(map(str, problems)) or "no cell does"
        raise NameError(f"{path} does not define {', '.join(missing)} ({why})")
    return SimpleNamespace(**{name: namespace[name] for name in names})
