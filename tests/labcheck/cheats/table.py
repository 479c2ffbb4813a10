"""Both columns side by side, as Markdown."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat

from labcheck.course import Course
from labcheck.pipeline import execute, from_text, release
from tests.labcheck.cheats.bank import KINDS
from tests.labcheck.cheats.outcome import Outcome
from tests.labcheck.cheats.submission import FULL, LAB

_COURSE = Path(__file__).parents[1] / "course"


def prepare(room: Path) -> Course:
    """A copy of the example course in a folder, with the lab that is cheated on executed and released."""
    root = room / "course"
    shutil.copytree(_COURSE, root, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(Path(__file__).parents[3] / "nbgrader_config.py", root)
    course = Course.find(root)
    text = course.solutions / LAB / f"{LAB}.md"
    nbformat.write(execute(from_text(text, course.repository), text.parent), text.with_suffix(".ipynb"))
    release(course, LAB)
    return course


def table(stock: dict[str, Outcome], ours: dict[str, Outcome]) -> str:
    """One folded table for each kind of cheat, one row for each cheat that both have graded."""
    parts = []
    for kind, cheats in KINDS.items():
        rows = [cheat for cheat in cheats if cheat.name in stock and cheat.name in ours]
        lines = [
            f"| {cheat.name.replace('_', ' ')} | {cheat.tries} | {cheat.without - cheat.costs:g} "
            f"| {_bold(cheat, stock)} | {_bold(cheat, ours)} |"
            for cheat in rows
        ]
        if lines:
            head = ["| Cheat | What it tries | Deserves | Stock nbgrader | labcheck |", "|---|---|--:|---|---|"]
            parts.append("\n".join([f":::{{dropdown}} {kind}: {len(rows)}\n", *head, *lines, ":::"]))
    both = [cheat for cheats in KINDS.values() for cheat in cheats if cheat.name in stock and cheat.name in ours]
    won = [sum(gained(c, outcomes[c.name]) or bool(outcomes[c.name].harm) for c in both) for outcomes in (stock, ours)]
    head = (
        f"Of {len(both)} cheats, {won[0]} gain points or harm somebody else under stock nbgrader, and {won[1]} under "
        f"labcheck. Points of {FULL:g}; bold where a cheat gains, or where somebody else is harmed."
    )
    return "\n\n".join([head, *parts]) + "\n"


def gained(cheat, outcome: Outcome) -> bool:
    """Whether a cheat got more than the same submission without it."""
    return (outcome.points or 0.0) > cheat.without - cheat.costs


def _bold(cheat, outcomes) -> str:
    outcome = outcomes[cheat.name]
    return f"**{outcome}**" if gained(cheat, outcome) or outcome.harm else str(outcome)
