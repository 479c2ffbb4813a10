"""A lab's checks: written once, run in the student's notebook and by the judge."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch

from labcheck.answer import Answer, AnswerError
from labcheck.expect import CheckFailed

CheckFunction = Callable[[Answer, torch.Generator], None]

STATUSES = ("passed", "failed", "error", "timeout", "memory", "missing", "forbidden")


@dataclass(frozen=True)
class Check:
    """One check of one task.

    Attributes:
        task: the graded name that it looks at.
        name: the check's own name.
        points: what it is worth.
        hidden: whether students see it.
        function: ``function(answer, rng)``; raises CheckFailed where the answer is wrong.
    """

    task: str
    name: str
    points: float
    hidden: bool
    function: CheckFunction

    @property
    def purpose(self) -> str:
        """The first line of the docstring: what is expected, in the student's words."""
        return (inspect.getdoc(self.function) or self.name).splitlines()[0]


@dataclass(frozen=True)
class CheckResult:
    """What came of one check. ``status`` is one of `STATUSES`; ``message`` is empty when it passed."""

    task: str
    check: str
    hidden: bool
    points: float
    score: float
    status: str
    message: str
    purpose: str = ""


class Battery:
    """All checks of one lab.

    Args:
        lab: the lab's name, as of its folder.
        fixtures: dotted name of the module whose functions make the callables that checks pass in.
        forbidden: dotted names of modules that teach the answers, not importable while graded.
        hidden: whether the checks added here are hidden from students.
    """

    def __init__(
        self, lab: str, *, fixtures: str | None = None, forbidden: Iterable[str] = (), hidden: bool = False
    ) -> None:
        self.lab = lab
        self.fixtures = fixtures
        self.forbidden = tuple(forbidden)
        self.hidden = hidden
        self.checks: list[Check] = []

    def check(self, task: str, points: float = 1.0) -> Callable[[CheckFunction], CheckFunction]:
        """Decorator: add ``function(answer, rng)`` as a check of a task.

        ``rng`` is a ``torch.Generator`` whose seed depends on the run's secret seed and the check's
        name; every argument that a check makes up is drawn from it.
        """

        def add(function: CheckFunction) -> CheckFunction:
            if hasattr(Answer, task):
                raise ValueError(f"{self.lab}: a task cannot be named {task!r}, which checks call on every answer")
            if any(c.task == task and c.name == function.__name__ for c in self.checks):
                raise ValueError(f"{self.lab}: task {task!r} has two checks named {function.__name__!r}")
            self.checks.append(Check(task, function.__name__, float(points), self.hidden, function))
            return function

        return add

    def __add__(self, other: Battery) -> Battery:
        """Both batteries' checks, with the settings of the left one."""
        if other.lab != self.lab:
            raise ValueError(f"checks of {other.lab!r} cannot be added to those of {self.lab!r}")
        both = Battery(self.lab, fixtures=self.fixtures, forbidden=self.forbidden, hidden=self.hidden)
        both.checks = self.checks + other.checks
        return both

    @property
    def tasks(self) -> list[str]:
        """The graded names, in the order of their first check."""
        return list(dict.fromkeys(check.task for check in self.checks))

    def of(self, task: str) -> list[Check]:
        """The checks of one task.

        Raises:
            KeyError: the lab has no such task.
        """
        if task not in self.tasks:
            raise KeyError(f"{self.lab} has no task {task!r}; its tasks are: {', '.join(self.tasks)}")
        return [check for check in self.checks if check.task == task]

    def digest(self) -> str:
        """Twelve hexadecimal digits that change when a file with checks does."""
        files = sorted({cast(str, inspect.getsourcefile(check.function)) for check in self.checks})
        return hashlib.sha256(b"".join(Path(file).read_bytes() for file in files)).hexdigest()[:12]

    def points(self, task: str | None = None) -> float:
        """Points of one task, or of the whole lab."""
        return sum(check.points for check in self.checks if task in (None, check.task))


def generator_for(seed: int, lab: str, check: Check) -> torch.Generator:
    """The generator of one check's arguments: the same for the same seed, different for each check."""
    digest = hashlib.sha256(f"{seed}/{lab}/{check.task}/{check.name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def run_check(check: Check, answer: Answer, rng: torch.Generator) -> CheckResult:
    """Run one check and say what came of it.

    Whatever a check raises is caught: an answer of a type that the check's author did not think of
    is a failed check, not a crash.
    """
    result = CheckResult(check.task, check.name, check.hidden, check.points, 0.0, "failed", "", check.purpose)
    try:
        check.function(answer, rng)
    except AnswerError as error:
        return replace(result, status=error.status, message=_named(check, error))
    except CheckFailed as error:
        return replace(result, message=_named(check, error))
    except Exception as error:
        message = f"`{check.task}` returned something that the check could not use ({type(error).__name__}: {error})"
        return replace(result, message=message[:500])
    return replace(result, score=check.points, status="passed")


def _named(check: Check, error: CheckFailed) -> str:
    """The message with the task's name before it: "`name` raised ...", "`name`: the result is ..."."""
    message = str(error)
    if message.startswith(f"`{check.task}`"):
        return message
    return f"`{check.task}`{' ' if isinstance(error, AnswerError) else ': '}{message}"
