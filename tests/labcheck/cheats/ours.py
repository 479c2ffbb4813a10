"""labcheck's column: the whole class of cheats in one run, with honest students before, between and after them."""

from __future__ import annotations

import shutil
from pathlib import Path

from labcheck.course import Course
from labcheck.grading import grade_class
from labcheck.judge import Limits
from labcheck.notebooks import read
from labcheck.report import write_report
from tests.labcheck.cheats.oracle import Oracle
from tests.labcheck.cheats.outcome import HONEST, Outcome, accomplice, fingerprint, harm, points_of, scripts, student
from tests.labcheck.cheats.submission import LAB, TASKS, Cheat, hand_in

HONEST_ONES = (HONEST, "c-honest", "d-honest")
BASES = {"c-nothing-right": (), "c-one-right": TASKS[:1]}  # what cheats are made of
_LIMITS = Limits(seconds=1.0)


def grade(
    course: Course, cheats: tuple[Cheat, ...], room: Path, **options
) -> tuple[dict[str, Outcome], dict[str, float | None]]:
    """Grade the class.

    Args:
        course: the example course, with the lab built and released; it is not changed.
        cheats: the cheats.
        room: an empty folder.
        options: of `labcheck.grading.grade_class`.

    Returns:
        Outcomes by the cheat's name, and the points of those who do not cheat by their own.
    """
    root = room / "ours"
    shutil.copytree(course.root, root)
    solution = read(course.solutions / LAB / f"{LAB}.ipynb")
    with Oracle() as oracle:
        for name in HONEST_ONES:
            hand_in(solution, root, oracle.port, name, right=TASKS)
        for name, right in BASES.items():
            hand_in(solution, root, oracle.port, name, right=right)
        for cheat in cheats:
            hand_in(solution, root, oracle.port, student(cheat), right=cheat.right, change=cheat.change)
            if cheat.accomplice:
                hand_in(solution, root, oracle.port, accomplice(cheat), change=cheat.accomplice)
        before = fingerprint(root)
        graded = {g.student: g for g in grade_class(Course.find(root), LAB, limits=_LIMITS, **options)}
        asked = oracle.asked
    report = root / "report.html"
    write_report(Course.find(root), LAB, report)
    everybody = harm(root, before) + (("the network was reached",) if asked else ())
    everybody += ("script in the report",) if scripts(report) else ()
    outcomes = {}
    for cheat in cheats:
        one = graded.get(student(cheat))
        page = root / "feedback" / student(cheat) / LAB / f"{LAB}.html"
        words = (*everybody, *(("script in the feedback page",) if scripts(page) else ()))
        if one is None:
            words = ("lost from the run", *words)
        outcomes[cheat.name] = Outcome(
            points_of(root, student(cheat)) if one and not one.error else None, words, one.error if one else ""
        )
    return outcomes, {name: graded[name].score if name in graded else None for name in (*HONEST_ONES, *BASES)}
