"""The bank of wrong and right answers, and what the checks make of each.

``MUTANTS/LAB/TASK.py`` holds answers to one task: every function or class whose name starts with
``wrong_`` must lose points, every one that starts with ``right_`` must get all of them.
"""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from labcheck.answer import local
from labcheck.checks import Battery, generator_for, run_check
from labcheck.course import Course
from labcheck.inside.session import Session


@dataclass(frozen=True)
class Mutant:
    """One answer of the bank.

    Attributes:
        task: the graded name that it answers.
        name: its own name.
        right: whether it deserves all points.
        function: the answer.
        path: its file.
    """

    task: str
    name: str
    right: bool
    function: object
    path: Path

    @property
    def purpose(self) -> str:
        """What it does, in one sentence."""
        return (inspect.getdoc(self.function) or "").splitlines()[0] if inspect.getdoc(self.function) else self.name

    def source(self) -> str:
        """Its file as a file of answers, for ``labcheck run``."""
        return f"{self.path.read_text()}\n\n{self.task} = {self.name}\n"


@dataclass
class Kills:
    """How often each check of the mutant's task failed it, over a number of seeds."""

    mutant: Mutant
    seeds: int
    by_check: dict[str, int] = field(default_factory=dict)
    lost: int = 0

    @property
    def as_intended(self) -> bool:
        """A wrong answer lost points at every seed, a right one at none."""
        return self.lost == (0 if self.mutant.right else self.seeds)


def bank(course: Course, lab: str) -> list[Mutant]:
    """All answers of a lab's bank, by task and then by place in the file."""
    found = []
    for path in sorted((course.mutants / lab).glob("*.py")):
        spec = importlib.util.spec_from_file_location(f"mutants_{lab}_{path.stem}", path)
        assert spec is not None and spec.loader is not None  # the name ends in .py
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for name, thing in vars(module).items():
            if name.startswith(("wrong_", "right_")):
                found.append(Mutant(path.stem, name, name.startswith("right_"), thing, path))
    return found


def kills(battery: Battery, mutant: Mutant, seeds: int, every_check: bool = True) -> Kills:
    """Run a task's checks on a mutant, in this process, over seeds 0, 1, ...

    The bank is the course's own code, so it needs no sandbox.

    Args:
        battery: the lab's checks.
        mutant: the answer.
        seeds: how many.
        every_check: False asks whether it is as intended and no more: after the first seed a wrong answer meets
            its most frequent killers first, and no further check once it has lost points.
    """
    result = Kills(mutant, seeds, {check.name: 0 for check in battery.of(mutant.task)})
    for seed in range(seeds):
        lost = False
        for check in sorted(battery.of(mutant.task), key=lambda check: -result.by_check[check.name]):
            answer = local(Session({mutant.task: mutant.function}, battery.fixtures))
            failed = run_check(check, answer, generator_for(seed, battery.lab, check)).status != "passed"
            result.by_check[check.name] += failed
            lost = lost or failed
            if lost and seed and not (every_check or mutant.right):
                break
        result.lost += lost
    return result


def survey(course: Course, lab: str, seeds: int = 20) -> Iterator[Kills]:
    """The kills of every mutant of a lab, one after the other."""
    battery = course.battery(lab)
    for mutant in bank(course, lab):
        yield kills(battery, mutant, seeds)


def table(results: list[Kills]) -> str:
    """The kill table as Markdown, then the checks that kill nothing and the mutants that one check alone kills."""
    rows = ["| task | answer | lost points | killed by |", "|---|---|---|---|"]
    for r in results:
        by = ", ".join(f"{name} {count}" for name, count in r.by_check.items() if count) or "—"
        mark = "" if r.as_intended else " **not as intended**"
        rows.append(f"| {r.mutant.task} | {r.mutant.name} | {r.lost} of {r.seeds}{mark} | {by} |")
    wrong = [r for r in results if not r.mutant.right]
    idle = sorted(
        f"{r.mutant.task}.{name}"
        for r in wrong
        for name in r.by_check
        if not any(o.by_check.get(name) for o in wrong if o.mutant.task == r.mutant.task)
    )
    single = [r.mutant.name for r in wrong if sum(bool(count) for count in r.by_check.values()) == 1]
    rows += ["", f"Checks that kill nothing: {', '.join(dict.fromkeys(idle)) or 'none'}."]
    rows += [f"Wrong answers that one check alone kills: {', '.join(single) or 'none'}."]
    return "\n".join(rows)
