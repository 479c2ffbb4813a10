"""The trusted side: runs a lab's checks against a student's cells that live in a sandbox."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from labcheck.answer import Answer, AnswerError, ended
from labcheck.checks import Battery, Check, CheckResult, generator_for, run_check
from labcheck.inside.loading import Cell, Problem, defined_names, forbidden_imports, imported_names, parse
from labcheck.inside.wire import END, Message, WireError, pack
from labcheck.sandbox import Sandbox, SandboxBroken

_MARGIN = 5.0  # seconds that the judge waits longer than the driver, which then has something to say
_RESTARTS = 5  # of one submission's sandbox, should student code break the driver


@dataclass(frozen=True)
class Limits:
    """What student code may take; a busy machine costs nobody a point.

    Attributes:
        seconds: of processor time, for loading the cells and again for each check.
        memory: bytes of a submission's processes together, beyond what torch takes.
        processes: of a submission at once.
    """

    seconds: float = 5.0
    memory: int = 2 * 2**30
    processes: int = 32

    @property
    def patience(self) -> float:
        """Wall seconds for each cell to load and for all calls of a check, which end what sleeps."""
        return 6 * self.seconds

    @property
    def submission(self) -> float:
        """Wall seconds for all of a submission's code."""
        return 60 * self.seconds


@dataclass
class Verdict:
    """What came of grading one submission of one lab.

    Attributes:
        lab: the lab's name.
        seed: of the arguments; the same seed gives the same verdict.
        sandboxed: whether the student's code ran behind walls.
        checks: one result a check.
        problems: cells or statements of the student's that could not be run.
        versions: of the packages that decide a result.
    """

    lab: str
    seed: int
    sandboxed: bool
    checks: list[CheckResult] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def score(self) -> float:
        return sum(check.score for check in self.checks)

    @property
    def max(self) -> float:
        return sum(check.points for check in self.checks)

    def of(self, task: str) -> list[CheckResult]:
        """The results of one task's checks."""
        return [check for check in self.checks if check.task == task]

    def as_dict(self) -> dict[str, Any]:
        """The verdict as plain data, as ``labcheck run --json`` prints it."""
        return {
            "lab": self.lab,
            "seed": self.seed,
            "score": self.score,
            "max": self.max,
            "sandboxed": self.sandboxed,
            "versions": self.versions,
            "problems": [asdict(problem) for problem in self.problems],
            "checks": [{k: v for k, v in asdict(check).items() if k != "purpose"} for check in self.checks],
        }


def new_seed() -> int:
    """A seed that nobody can guess."""
    return secrets.randbits(63)


def sandbox_for(
    battery: Battery,
    *,
    packages: Sequence[str] = (),
    unavailable: Sequence[str] = (),
    warm: Sequence[str] = (),
    walls: bool = True,
) -> Sandbox:
    """The sandbox of a lab, for any number of submissions, one after the other.

    Args:
        battery: the lab's checks.
        packages: names of the course's packages, mounted without the unavailable modules.
        unavailable: dotted names of modules that cannot be imported.
        warm: dotted names of modules imported before any student code.
        walls: False runs student code unprotected, which the verdicts record.
    """
    return Sandbox(
        battery.lab, fixtures=battery.fixtures, forbidden=unavailable, packages=packages, warm=warm, walls=walls
    )


def judge(
    battery: Battery,
    cells: list[Cell],
    sandbox: Sandbox,
    *,
    seed: int | None = None,
    only: str | None = None,
    limits: Limits | None = None,
    released: frozenset[str] = frozenset(),
) -> Verdict:
    """Grade a student's cells.

    Args:
        battery: visible and hidden checks.
        cells: the notebook's code cells, in order.
        sandbox: an entered sandbox of the lab (`sandbox_for`).
        seed: of the arguments; a new secret one if None.
        only: a task; its checks alone are run.
        limits: of the student's code.
        released: sources of cells that students did not write; what cannot be run there is no problem of theirs.

    Returns:
        A Verdict with one result a check, whatever the student's code does; the same for the same seed.

    Raises:
        KeyError: ``only`` names no task of the lab.
        SandboxBroken: the sandbox cannot be started again.
    """
    seed = new_seed() if seed is None else seed
    checks = battery.of(only) if only else battery.checks
    trial = _Trial(battery, cells, seed, limits or Limits(), sandbox)
    verdict = Verdict(battery.lab, seed, sandbox.walls, versions=versions(battery, sandbox.packages))
    verdict.checks = [trial.run(check) for check in checks]
    trial.close()
    verdict.problems = [p for p in trial.problems if trial.source_of(p.cell) not in released]
    return verdict


class _Trial:
    """Runs checks of one submission, and remembers which of its cells cannot be loaded at all."""

    def __init__(self, battery: Battery, cells: list[Cell], seed: int, limits: Limits, sandbox: Sandbox) -> None:
        self.battery = battery
        self.cells = list(cells)
        self.all_cells = tuple(cells)
        self.seed = seed
        self.limits = limits
        self.sandbox = sandbox
        self.forbidden = _forbidden_by_task(battery, cells)
        self.fatal: list[Problem] = []
        self.loading: list[Problem] = []
        self.left = limits.submission  # wall seconds
        self.starts = 1 + _RESTARTS
        self.ready = False

    @property
    def problems(self) -> list[Problem]:
        return self.fatal + self.loading

    def source_of(self, name: str) -> str | None:
        return next((cell.source for cell in self.all_cells if cell.name == name), None)

    def run(self, check: Check) -> CheckResult:
        try:
            if not self.ready and (why := self._load()):
                return _lost(check, why)
            return self._run(check)
        except (SandboxBroken, WireError) as error:
            self.ready = False
            self.sandbox.restart()
            return _lost(check, str(error))

    def _run(self, check: Check) -> CheckResult:
        rng = generator_for(self.seed, self.battery.lab, check)
        if self.left <= 0:
            return _lost(check, "the submission has used up its time", "timeout")
        patience = min(self.limits.patience, self.left)
        broken: list[str] = []

        def ask(request: Message) -> Any:
            start = time.monotonic()
            try:
                return self.sandbox.request(request, patience + _MARGIN)
            except SandboxBroken as error:
                broken.append(str(error))  # not the error: its frames hold the reply
                raise AnswerError("ended its sandbox") from None
            except WireError as error:
                raise AnswerError(f"gave a malformed answer: {error}") from None
            finally:
                self.left -= time.monotonic() - start

        begin = {"op": "begin", "seed": _student_seed(self.seed, check.task, check.name), "patience": patience}
        self.sandbox.send(pack(begin), _MARGIN)
        result = run_check(check, Answer(ask), rng)
        if broken:
            raise SandboxBroken(broken[0])
        self.sandbox.send(END, _MARGIN)
        modules = self.forbidden.get(check.task)
        if result.status in ("error", "missing") and modules:
            message = f"`{check.task}`: imports {', '.join(modules)}, which is not available while it is graded"
            result = replace(result, status="forbidden", message=message)
        return result

    def _load(self) -> str:
        """Have the cells loaded; leave out a cell that ends the process by being loaded. Why not, or nothing."""
        if not self.starts:
            return "the code ended its sandbox too often"
        self.starts -= 1
        self.sandbox.open()
        while True:
            request = {
                "op": "load",
                "cells": [[cell.name, cell.source, cell.answer] for cell in self.cells],
                "tasks": self.battery.tasks,
                "seed": _student_seed(self.seed),
                "patience": min(self.limits.patience, max(self.left, 0.0)),
                **asdict(self.limits),
            }
            start = time.monotonic()
            reply = self.sandbox.request(request, self.left + _MARGIN)
            self.left -= time.monotonic() - start
            if isinstance(reply, dict) and _are_problems(reply.get("loaded")):
                self.loading = [Problem(cell, line, message[:500]) for cell, line, message in reply["loaded"]]
                self.ready = True
                return ""
            name = reply.get("cell") if isinstance(reply, dict) else None
            rest = [cell for cell in self.cells if not (isinstance(name, str) and cell.name == name)]
            if not isinstance(name, str) or len(rest) == len(self.cells):
                self.close()
                return "none of the notebook's cells can be loaded"
            why = ended(reply["ended"]) if isinstance(reply.get("ended"), str) else "it ended the process"
            self.fatal.append(Problem(name, 0, f"left out: {why}"))
            self.cells = rest

    def close(self) -> None:
        """Have everything of the submission gone from the sandbox."""
        try:
            self.sandbox.close()
        except SandboxBroken:
            self.sandbox.restart()


def _are_problems(rows: object) -> bool:
    """Whether these are rows of a cell's name, a line and a message."""
    kinds = [str, int, str]
    return isinstance(rows, list) and all(isinstance(row, list) and [*map(type, row)] == kinds for row in rows)


def _student_seed(seed: int, *names: str) -> int:
    """A seed for the generators of student code, which tells nothing of the secret one or of a check's arguments."""
    digest = hashlib.sha256("/".join((str(seed), "student", *names)).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def _forbidden_by_task(battery: Battery, cells: list[Cell]) -> dict[str, list[str]]:
    """For each task, the forbidden modules that the cell with its definition, or an import above it, names."""
    found: dict[str, list[str]] = {}
    for cell in cells:
        try:
            tree = parse(cell)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        modules = forbidden_imports(tree, battery.forbidden)
        for task in battery.tasks:
            if modules and (task == cell.name or task in defined_names(tree) | imported_names(tree)):
                found[task] = sorted({*found.get(task, []), *modules})
    return found


def _lost(check: Check, why: str, status: str = "error") -> CheckResult:
    message = f"`{check.task}`: {why}"
    return CheckResult(check.task, check.name, check.hidden, check.points, 0.0, status, message, check.purpose)


def versions(battery: Battery, packages: Sequence[str]) -> dict[str, str]:
    """What a regrade needs to be the same: the packages' versions, and a digest of the checks' files."""
    versions = {"checks": battery.digest()}
    for name in dict.fromkeys((*packages, "torch", "numpy")):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:  # a course may be a plain folder on the path
            versions[name] = "not installed"
    return versions
