"""A class of any size that hands in lab 4: right, partial, wrong, hung, damaged and hostile, in stated shares.

Each submission carries what its answer to every task deserves: all points for a right one, none for one that is
missing, hangs or is hostile, and for a wrong one of the bank in tests/mutants what the checks give it at the
submission's own seed. The same number and seed make the same class.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from demo.damaged_files import DAMAGES, HOSTILE_FILES
from demo.example_class import CLASS, HANG, LAB, with_answers
from demo.hostile_answers import HOSTILE
from labcheck.answer import local
from labcheck.checks import Battery, generator_for, run_check
from labcheck.course import Course
from labcheck.inside.session import Session
from labcheck.mutants import Mutant, bank
from labcheck.notebooks import grade_id, read

SHARES = {"right": 8, "partial": 4, "wrong": 3, "hung": 1, "damaged": 2, "hostile": 2}  # of every 20 submissions
PATH = Path(LAB, f"{LAB}.ipynb")

_EXAMPLES = {submission.student: submission for submission in CLASS}
_HANGS = {
    "loops": HANG,
    "loops_when_loaded": "while True:\n    pass\n\n\ndef {task}(*arguments, **options):\n    return 0.0\n",
    "sleeps_when_loaded": "import time\n\ntime.sleep(10**6)\n\n\ndef {task}(*arguments, **options):\n    return 0.0\n",
}


@dataclass
class Submission:
    """One student's submission.

    Attributes:
        student: the name of the folder.
        kind: one of `SHARES`.
        variant: what it is among its kind.
        notebook: what is handed in, unless ``write`` makes something else of it.
        deserves: by task: True for all points, False for none, or the wrong answer of the bank that it gives.
        write: (notebook, path at which it is to be handed in) → the files.
    """

    student: str
    kind: str
    variant: str
    notebook: NotebookNode
    deserves: dict[str, bool | Mutant]
    write: Callable[[NotebookNode, Path], None] = field(default=nbformat.write)

    def points(self, battery: Battery, seed: int) -> dict[str, float]:
        """The points that each task deserves, where the checks draw their arguments from this seed."""
        return {task: _points(battery, task, answer, seed) for task, answer in self.deserves.items()}


def generate(course: Course, number: int, seed: int = 0) -> list[Submission]:
    """A class of a number of submissions; its shares are exact where the number is a multiple of 20."""
    kinds = [kind for kind, share in SHARES.items() for _ in range(share)]
    kinds = [kinds[at % len(kinds)] for at in range(number)]
    random.Random(seed).shuffle(kinds)
    makers = {
        "right": _right, "partial": _partial, "wrong": _wrong, "hung": _hung, "damaged": _damaged, "hostile": _hostile,
    }  # fmt: skip
    material = _Material(course)
    seen = dict.fromkeys(SHARES, 0)
    submissions = []
    for at, kind in enumerate(kinds):
        draft = _Draft(material, random.Random(f"{seed}/{at}"), seen[kind])
        seen[kind] += 1
        variant = makers[kind](draft)
        submissions.append(Submission(f"student{at:03}", kind, variant, draft.notebook, draft.deserves, draft.write))
    return submissions


def hand_in(submissions: list[Submission], folder: Path) -> None:
    """Write all submissions as ``FOLDER/STUDENT/LAB/LAB.ipynb``, or what stands in its place."""
    for submission in submissions:
        path = folder / submission.student / PATH
        path.parent.mkdir(parents=True)
        submission.write(submission.notebook, path)


class _Material:
    """What submissions are made of."""

    def __init__(self, course: Course):
        self.course = course
        self.tasks = course.battery(LAB).tasks
        self.solution = read(course.solutions / LAB / f"{LAB}.ipynb")
        self.blank = {grade_id(cell): cell.source for cell in read(course.released(LAB)).cells}
        self.bank = bank(course, LAB)

    def answers(self, task: str, right: bool) -> list[Mutant]:
        return [mutant for mutant in self.bank if (mutant.task, mutant.right) == (task, right)]


class _Draft:
    """A submission while it is made; it begins with right answers of the bank.

    Attributes:
        turn: how many submissions of its kind there were before, so that all variants have their turn.
    """

    def __init__(self, material: _Material, rng: random.Random, turn: int):
        self.material, self.rng, self.turn = material, rng, turn
        self.write = nbformat.write
        self.deserves = dict.fromkeys(material.tasks, True)
        sources = {task: rng.choice(material.answers(task, right=True)).source() for task in material.tasks}
        self.notebook = with_answers(copy.deepcopy(material.solution), sources)

    def some(self, most: int) -> list[str]:
        """One or more tasks."""
        return self.rng.sample(self.material.tasks, self.rng.randint(1, most))

    def put(self, sources: dict[str, str], deserve: bool = False) -> None:
        """Give other answers."""
        with_answers(self.notebook, sources)
        self.deserves |= dict.fromkeys(sources, deserve)

    def variant(self, variants: dict):
        """The variant whose turn it is: its name and itself."""
        return list(variants.items())[self.turn % len(variants)]

    def be_like(self, student: str) -> None:
        """Do what a student of the example class does, who deserves nothing or everything."""
        example = _EXAMPLES[student]
        self.notebook = example.make(self.notebook, self.material.course)
        if example.lost == "all":
            self.lose_all()

    def lose_all(self) -> None:
        self.deserves = dict.fromkeys(self.deserves, False)


def _right(draft) -> str:
    name, change = draft.variant(_RIGHTS)
    change(draft)
    return name


def _partial(draft) -> str:
    draft.put({task: draft.material.blank[task] for task in draft.some(len(draft.material.tasks))})
    return "not written yet"


def _wrong(draft) -> str:
    for task in draft.some(len(draft.material.tasks)):
        mutant = draft.rng.choice(draft.material.answers(task, right=False))
        draft.put({task: mutant.source()}, mutant)
    return "of the bank"


def _hung(draft) -> str:
    name, source = draft.variant(_HANGS)
    task = min(draft.material.tasks, key=draft.material.course.battery(LAB).points)  # each check takes its time
    draft.put({task: source.format(task=task)})
    return name


def _damaged(draft) -> str:
    name, change = draft.variant(DAMAGES)
    change(draft)
    return name


def _hostile(draft) -> str:
    variants = {
        **{name: lambda draft, name=name: draft.be_like(name) for name in ("patches", "imports")},
        **{name: lambda draft, source=source: _put_hostile(draft, source) for name, source in HOSTILE.items()},
        **HOSTILE_FILES,
    }
    name, change = draft.variant(variants)
    change(draft)
    return name


def _put_hostile(draft, source) -> None:
    task = draft.rng.choice(draft.material.tasks)
    draft.put({task: source.replace("@TASK@", task)})


# ---- Right, each in its own way


def _solution(draft) -> None:
    draft.notebook = copy.deepcopy(draft.material.solution)


def _further_cells(draft) -> None:
    draft.notebook.cells[2:2] = [
        nbformat.v4.new_code_cell("import warnings\n\nprint('seen')\nwarnings.warn('careful')"),
        nbformat.v4.new_markdown_cell("My own notes."),
    ]


_RIGHTS = {"of_the_bank": lambda draft: None, "solution": _solution, "further_cells": _further_cells}


def _points(battery, task, answer, seed) -> float:
    if isinstance(answer, bool):
        return battery.points(task) if answer else 0.0
    name_of = {task: answer.function}  # the bank is the course's own code, so it needs no sandbox
    return sum(
        run_check(check, local(Session(name_of, battery.fixtures)), generator_for(seed, battery.lab, check)).score
        for check in battery.of(task)
    )
