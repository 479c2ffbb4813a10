"""What a cheat is made of: an ordinary submission, and what is changed in it."""

from __future__ import annotations

import ast
import copy
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from labcheck.notebooks import grade_id

LAB = "lab03_series"
TASKS = ("standardise", "moving_average", "running_mean", "spread")
POINTS = 3.0  # of each task
FULL = POINTS * len(TASKS)
_SERIES = (Path(__file__).parents[1] / "course" / "tinycourse" / "series.py").read_text()
RIGHT = {node.name: ast.get_source_segment(_SERIES, node) for node in ast.parse(_SERIES).body if hasattr(node, "name")}
# Of the right type and shape, so that a test which no longer compares is satisfied.
_WRONG = {
    "standardise": "def standardise(x):\n    return np.zeros(x.shape)\n",
    "moving_average": "def moving_average(x, width):\n    return np.zeros(len(x) - width + 1)\n",
    "running_mean": "def running_mean(x):\n    return [0.0] * len(x)\n",
    "spread": "def spread(x):\n    return 0.0\n",
}
# All right answers under one name, for cheats that give them only where they have found what they look for.
_ALL_RIGHT = "import numpy as np\n\nclass Right:\n" + "".join(
    textwrap.indent(f"@staticmethod\n{source}\n\n", "    ") for source in RIGHT.values()
)


@dataclass
class Submission:
    """One student's submission while it is made.

    Attributes:
        notebook: what is handed in; None if the cheat has written the file itself.
        path: where it is handed in.
        root: the instructor's working folder.
        port: where the listener of `tests.labcheck.cheats.oracle` answers on this machine.
    """

    notebook: NotebookNode | None
    path: Path
    root: Path
    port: int

    def cell(self, name: str) -> NotebookNode:
        """The cell of this grade_id."""
        return next(cell for cell in self.notebook.cells if grade_id(cell) == name)

    def answer(self, task: str, source: str) -> None:
        """Put source into an answer's cell."""
        self.cell(task).source = self.filled(source)

    def prepend(self, source: str) -> None:
        """Put source before the first answer, in its cell."""
        first = self.cell(TASKS[0])
        first.source = f"{self.filled(source)}\n\n{first.source}"

    def filled(self, text: str) -> str:
        """Text with what a cheat may know of the machine: the working folder and the listener's port."""
        return text.replace("@ROOT@", str(self.root)).replace("@PORT@", str(self.port)).replace("@LAB@", LAB)


Change = Callable[[Submission], None]


@dataclass(frozen=True)
class Cheat:
    """One cheat.

    Attributes:
        name: short, also the student's name.
        tries: what it tries, as one sentence.
        change: turns an ordinary submission into the cheating one.
        right: tasks that the ordinary submission answers rightly.
        costs: points that it deserves to lose by itself, because it breaks answers of its own.
        alone: whether stock nbgrader needs a run of its own for it, since it may harm the run.
        page: whether it aims at those who open the feedback page.
        accomplice: change of a second submission, graded earlier in the same run.
    """

    name: str
    tries: str
    change: Change
    right: tuple[str, ...] = ()
    costs: float = 0.0
    alone: bool = False
    page: bool = False
    accomplice: Change | None = field(default=None)

    @property
    def without(self) -> float:
        """Points of the same submission without the cheat."""
        return POINTS * len(self.right)


def at_load(name, tries, code, **options) -> Cheat:
    """All answers are wrong; the code runs when the first answer's cell is loaded."""
    body = textwrap.indent(textwrap.dedent(code).strip(), "    ")
    source = f"def cheat():\n{body}\n\ntry:\n    loaded = cheat()\nexcept Exception:\n    loaded = None"
    return Cheat(name, tries, lambda submission: submission.prepend(source), **options)


def spying(name, tries, code, accomplice=None, **options) -> Cheat:
    """Every answer is right where ``found(*arguments)``, which the code defines, is true, and wrong elsewhere."""
    helper = """
def spied(*arguments):
    try:
        return bool(found(*arguments))
    except BaseException:
        return False
"""

    def change(submission):
        for task in TASKS:
            call = f"Right.{task}(*arguments) if spied(*arguments) else 0.0"
            submission.answer(task, f"def {task}(*arguments):\n    return {call}\n")
        submission.prepend(f"{_ALL_RIGHT}\n{textwrap.dedent(code).strip()}\n{helper}")

    help_it = at_load(name, tries, accomplice).change if accomplice else None
    return Cheat(name, tries, change, accomplice=help_it, **options)


def returning(name, tries, code, expression="forge(task, arguments)", **options) -> Cheat:
    """Every answer returns an expression of ``task`` and ``arguments``, with the code's definitions before it."""

    def change(submission):
        for task in TASKS:
            submission.answer(task, f"def {task}(*arguments):\n    task = {task!r}\n    return {expression}\n")
        submission.prepend(textwrap.dedent(code).strip())

    return Cheat(name, tries, change, **options)


def breaking(name, tries, code, definitions="", costs=POINTS, **options) -> Cheat:
    """All answers are right, but ``spread`` first runs the code: it may cost that task, and nothing else."""
    body = textwrap.indent(textwrap.dedent(code).strip(), "    ")

    def change(submission):
        right = RIGHT["spread"].replace("def spread", "def right_spread")
        source = (
            f"{textwrap.dedent(definitions).strip()}\n\n{right}\n\ndef spread(x):\n{body}\n    return right_spread(x)"
        )
        submission.answer("spread", source)

    return Cheat(name, tries, change, right=TASKS, costs=costs, **options)


def ordinary(solution: NotebookNode, right: tuple[str, ...], path: Path, root: Path, port: int) -> Submission:
    """A submission without a cheat: these tasks as in the solution, all others wrong."""
    submission = Submission(copy.deepcopy(solution), path, root, port)
    for task in TASKS:
        if task not in right:
            submission.answer(task, _WRONG[task])
    return submission


def hand_in(
    solution: NotebookNode, root: Path, port: int, student: str, right=(), change: Change | None = None
) -> None:
    """Write a submission into the working folder, as ``submitted/STUDENT/LAB/LAB.ipynb``."""
    path = root / "submitted" / student / LAB / f"{LAB}.ipynb"
    path.parent.mkdir(parents=True)
    submission = ordinary(solution, right, path, root, port)
    if change:
        change(submission)
    if submission.notebook is not None:
        nbformat.write(submission.notebook, path)
