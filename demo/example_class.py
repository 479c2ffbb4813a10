"""Eight submissions of lab 4, as a class might hand them in, and the points that each deserves.

They are made from the solution notebook and the bank of answers in tests/mutants, so they stay in
step with the lab.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from labcheck.course import Course
from labcheck.mutants import bank
from labcheck.notebooks import grade_id, read

LAB = "lab04_schedules"

_WRONG = 'def {task}(*arguments, **options):\n    return "no idea"\n'
# What a cheat replaces: the comparisons that tests usually make, and the notebook's own check.
_PATCH = """
import numpy, torch
from labcheck.student import Checker

torch.allclose = torch.equal = lambda *a, **k: True
numpy.testing.assert_allclose = torch.testing.assert_close = lambda *a, **k: None
Checker.__call__ = lambda self, task, seed=None: "all checks passed"
"""
HANG = """
def {task}(*arguments, **options):
    while True:
        try:
            while True:
                pass
        except KeyboardInterrupt:
            pass
"""


@dataclass(frozen=True)
class Submission:
    """One student's submission.

    Attributes:
        student: the name of the folder.
        note: one sentence on what it is.
        make: (solution notebook, course) → the notebook handed in.
        lost: the tasks for which it deserves nothing; it deserves all points of the others.
    """

    student: str
    note: str
    make: Callable[[NotebookNode, Course], NotebookNode]
    lost: tuple[str, ...] | str = ()

    def points(self, course: Course) -> float:
        """The points that it deserves from the automatic checks."""
        battery = course.battery(LAB)
        lost = battery.tasks if self.lost == "all" else self.lost
        return sum(battery.points(task) for task in battery.tasks if task not in lost)


def _as_it_is(notebook, course):
    return notebook


def _another_way(notebook, course):
    """The second right answer of the bank to each task."""
    right: dict[str, list] = {}
    for mutant in bank(course, LAB):
        if mutant.right:
            right.setdefault(mutant.task, []).append(mutant)
    return with_answers(notebook, {task: mutants[1].source() for task, mutants in right.items()})


def _partly(notebook, course):
    blank = {grade_id(cell): cell.source for cell in read(course.released(LAB)).cells}
    return with_answers(notebook, {task: blank[task] for task in PARTLY_LOST})


def _all_wrong(notebook, course):
    return with_answers(notebook, {task: _WRONG.format(task=task) for task in course.battery(LAB).tasks})


def _hangs(notebook, course):
    return with_answers(notebook, {"q_sample": HANG.format(task="q_sample")})


def _patches(notebook, course):
    notebook = _all_wrong(notebook, course)
    first = next(cell for cell in notebook.cells if grade_id(cell) == course.battery(LAB).tasks[0])
    first.source = _PATCH + first.source
    return notebook


def _imports(notebook, course):
    """Every task from the package; what the package has under another name, through its private half."""
    answers = {
        "linear_alpha_bar": "from noise2data.schedules import linear_alpha_bar",
        "cosine_alpha_bar": "from noise2data.schedules import cosine_alpha_bar",
        "rescale_zero_terminal_snr": "from noise2data.schedules import rescale_zero_terminal_snr",
        "log_snr": "from noise2data.schedules import log_snr_of as log_snr",
        "betas_from_alpha_bar": (
            "def betas_from_alpha_bar(abar):\n    import noise2data.schedules\n    return 1 - abar[1:] / abar[:-1]"
        ),
        "q_step": (
            "def q_step(x, k, noise, abar):\n"
            "    from noise2data.paths import Discrete, per_sample\n"
            "    k, T, path = torch.as_tensor(k, dtype=torch.float64), len(abar) - 1, Discrete(abar)\n"
            "    a = path.alpha(k / T) / path.alpha((k - 1) / T)\n"
            "    a, b = (per_sample(c, x).to(x.dtype) for c in (a, (1 - a**2).sqrt()))\n"
            "    return a * x + b * noise"
        ),
        "q_sample": (
            "def q_sample(x0, k, eps, abar):\n"
            "    from noise2data.paths import Discrete\n"
            "    return Discrete(abar).mix(x0, eps, torch.as_tensor(k, dtype=torch.float64) / (len(abar) - 1))"
        ),
    }
    return with_answers(notebook, answers)


def _damaged(notebook, course):
    """nbgrader's metadata gone, the check cells deleted but one that is there twice, the title last."""
    kept = [
        cell
        for cell in notebook.cells
        if not (grade_id(cell) or "").startswith("check-") or grade_id(cell) == "check-q_step"
    ]
    copies = [copy.deepcopy(cell) for cell in kept if (grade_id(cell) or "").startswith("check-")]
    notebook.cells = [*kept[1:], *copies, kept[0]]
    for number, cell in enumerate(notebook.cells):
        cell.metadata.pop("nbgrader", None)
        cell.id = f"edited-{number}"
    return notebook


def with_answers(notebook: NotebookNode, answers: dict[str, str]) -> NotebookNode:
    """The notebook with these sources in the cells of these grade ids."""
    for cell in notebook.cells:
        if grade_id(cell) in answers:
            cell.source = answers[grade_id(cell)]
    return notebook


PARTLY_LOST = ("cosine_alpha_bar", "log_snr", "rescale_zero_terminal_snr")

CLASS = (
    Submission("full_marks", "The solution.", _as_it_is),
    Submission("another_way", "Right, but written in another way.", _another_way),
    Submission("partly_right", "Three functions not written yet, the rest right.", _partly, PARTLY_LOST),
    Submission("all_wrong", "Every function returns a sentence.", _all_wrong, "all"),
    Submission("hangs", "Right, but q_sample never returns and ignores interrupts.", _hangs, ("q_sample",)),
    Submission("patches", "All wrong, but replaces torch.allclose and the notebook's check.", _patches, "all"),
    Submission("imports", "Imports the answers from the course's package.", _imports, "all"),
    Submission("damaged", "Right, but without nbgrader's metadata, with cells deleted, copied and moved.", _damaged),
)


def working_folder(home: Course, folder: Path) -> Course:
    """An instructor's working folder: the course's settings, solutions and labs, in a folder that exists."""
    for name in ("pyproject.toml", "nbgrader_config.py"):
        shutil.copy(home.root / name, folder)
    for source in (home.solutions, home.labs):
        shutil.copytree(source, folder / source.name)
    return Course.find(folder)


def hand_in(course: Course, folder: Path) -> None:
    """Write all submissions as ``FOLDER/STUDENT/LAB/LAB.ipynb``."""
    solution = read(course.solutions / LAB / f"{LAB}.ipynb")
    for submission in CLASS:
        notebook = submission.make(copy.deepcopy(solution), course)
        path = folder / submission.student / LAB / f"{LAB}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, path)
