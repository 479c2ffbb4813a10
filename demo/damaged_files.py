"""What editors, file systems and hasty hands make of a notebook, and files that are meant to do harm.

Each function changes a draft of `demo.generated_class`: its notebook, what it deserves and how it is written.
"""

from __future__ import annotations

import json
from pathlib import Path

import nbformat

from demo.example_class import LAB
from labcheck.notebooks import grade_id


def _saved_by_colab(draft) -> None:
    """No ids and no metadata of nbgrader's; cells' names in the metadata."""
    for number, cell in enumerate(draft.notebook.cells):
        cell.metadata = nbformat.from_dict({"id": f"Xy{number}", "outputId": "a0"})
        del cell["id"]
    draft.notebook.nbformat_minor = 0
    draft.write = _as_json


def _merged(draft) -> None:
    """Two answers in the first one's cell, and the second one's cell deleted."""
    tasks = draft.material.tasks
    first, second = tasks[draft.turn % len(tasks)], tasks[(draft.turn + 1) % len(tasks)]
    cells = {grade_id(cell): cell for cell in draft.notebook.cells}
    cells[first].source += f"\n\n\n{cells[second].source}"
    draft.notebook.cells.remove(cells[second])


def _misspelt(draft) -> None:
    """A syntax error in one answer."""
    task = draft.rng.choice(draft.material.tasks)
    draft.put({task: f"def {task}(*arguments, **options)\n    return 0.0\n"})


def _blanks_pasted(draft) -> None:
    """After all answers stand copies of the blank cells."""
    blanks = [nbformat.v4.new_code_cell(draft.material.blank[task]) for task in draft.material.tasks]
    draft.notebook.cells += blanks


def _old_format(draft) -> None:
    draft.write = lambda notebook, path: nbformat.write(notebook, path, version=3)


def _renamed(draft) -> None:
    draft.write = lambda notebook, path: nbformat.write(notebook, path.with_name("lab4 final (2).ipynb"))


def _cut_off(draft) -> None:
    def write(notebook, path):
        text = nbformat.writes(notebook)
        path.write_text(text[: len(text) // 2])

    draft.lose_all()
    draft.write = write


def _empty(draft) -> None:
    draft.lose_all()
    draft.write = lambda notebook, path: path.touch()


def _as_json(notebook, path) -> None:
    path.write_text(json.dumps(notebook))  # nbformat would not write what is not valid


DAMAGES = {
    "stripped": lambda draft: draft.be_like("damaged"), "saved_by_colab": _saved_by_colab, "merged": _merged,
    "misspelt": _misspelt, "blanks_pasted": _blanks_pasted, "old_format": _old_format, "renamed": _renamed,
    "cut_off": _cut_off, "empty": _empty,
}  # fmt: skip


# ---- Hostile by its files


def _link(draft) -> None:
    """The notebook is a link to the first student's."""
    draft.lose_all()
    draft.write = lambda notebook, path: path.symlink_to(Path("../../student000", LAB, f"{LAB}.ipynb"))


def _nested(draft) -> None:
    draft.lose_all()
    draft.write = lambda notebook, path: path.write_text("[" * 200_000)


def _many_values(draft) -> None:
    """A small file that is large once it is read."""
    draft.lose_all()
    draft.write = lambda notebook, path: path.write_text(f'{{"cells": [{"[]," * 3_000_000}[]]}}')


def _links_beside(draft) -> None:
    """A right notebook, with links beside it to what others own."""

    def write(notebook, path):
        nbformat.write(notebook, path)
        path.with_name("peers").symlink_to("../..")
        path.with_name("book.txt").symlink_to("../../../gradebook.db")

    draft.write = write


HOSTILE_FILES = {"link": _link, "nested": _nested, "many_values": _many_values, "links_beside": _links_beside}
