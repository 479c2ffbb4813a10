"""The trusted side: runs a lab's checks against a student's cells that live in a sandbox."""

from __future__ import annotations

import secrets
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version

from labcheck.answer import Answer, AnswerError, ended
from labcheck.checks import Battery, Check, CheckResult, generator_for, run_check
from labcheck.inside.loading import Cell, Problem, defined_names, forbidden_imports, imported_names, parse
from labcheck.sandbox import Sandbox, SandboxBroken

_MARGIN = 5.0  # seconds that the judge waits longer than the driver, which then has something to say
_RESTARTS = 5  # of one submission's sandbox, should student code break the driver


@dataclass(frozen=True)
class Limits:
    """What one check may take.

    Attributes:
        seconds: of processor time, for loading the cells and all calls; a busy machine costs nobody a point.
        memory: bytes beyond what torch takes.
    """

    seconds: float = 5.0
    memory: int = 2 * 2**30

    @property
    def patience(self) -> float:
        """Wall seconds for each cell to load and for each call, which end what sleeps."""
        return 6 * self.seconds


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

    def as_dict(self) -> dict:
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


def judge(
    battery: Battery,
    cells: list[Cell],
    *,
    packages=(),
    unavailable=(),
    warm=(),
    seed: int | None = None,
    only: str | None = None,
    walls: bool = True,
    limits: Limits | None = None,
    released: frozenset[str] = frozenset(),
) -> Verdict:
    """Grade a student's cells.

    Args:
        battery: visible and hidden checks.
        cells: the notebook's code cells, in order.
        packages: names of the course's packages, mounted without the unavailable modules.
        unavailable: dotted names of modules that cannot be imported.
        warm: dotted names of modules imported before any student code.
        seed: of the arguments; a new secret one if None.
        only: a task; its checks alone are run.
        walls: False runs student code unprotected, which the verdict records.
        limits: of one check.
        released: sources of cells that students did not write; what cannot be run there is no problem of theirs.

    Returns:
        A Verdict with one result a check, whatever the student's code does.

    Raises:
        SandboxUnavailable: no sandbox can be had.
        KeyError: ``only`` names no task of the lab.
    """
    seed = new_seed() if seed is None else seed
    checks = battery.of(only) if only else battery.checks
    verdict = Verdict(battery.lab, seed, walls, versions=_versions(battery, packages))
    trial = _Trial(battery, cells, seed, limits or Limits())
    sandbox = Sandbox(
        battery.lab, fixtures=battery.fixtures, forbidden=unavailable, packages=packages, warm=warm, walls=walls
    )
    left = list(checks)
    for _ in range(1 + _RESTARTS):
        if not left:
            break
        with sandbox:
            while left:
                try:
                    verdict.checks.append(trial.run(sandbox, left[0]))
                except SandboxBroken as error:
                    verdict.checks.append(_lost(left[0], str(error)))
                    left.pop(0)
                    break
                left.pop(0)
    verdict.checks += [_lost(check, "the code ended its sandbox too often") for check in left]
    verdict.problems = [p for p in trial.problems if trial.source_of(p.cell) not in released]
    return verdict


class _Trial:
    """Runs checks of one submission, and remembers which of its cells cannot be loaded at all."""

    def __init__(self, battery, cells, seed, limits):
        self.battery = battery
        self.cells = list(cells)
        self.all_cells = tuple(cells)
        self.seed = seed
        self.limits = limits
        self.forbidden = _forbidden_by_task(battery, cells)
        self.fatal: list[Problem] = []
        self.loading: list[Problem] = []

    @property
    def problems(self):
        return self.fatal + self.loading

    def source_of(self, name):
        return next((cell.source for cell in self.all_cells if cell.name == name), None)

    def run(self, sandbox: Sandbox, check: Check) -> CheckResult:
        rng = generator_for(self.seed, self.battery.lab, check)
        patience = self.limits.patience + _MARGIN
        broken = []

        def ask(request):
            try:
                return sandbox.request(request, patience)
            except SandboxBroken as error:
                broken.append(error)
                raise AnswerError("ended its sandbox") from None

        if not self._begin(sandbox, rng.initial_seed() % 2**31):
            return _lost(check, "none of the notebook's cells can be loaded")
        result = run_check(check, Answer(ask), rng)
        if broken:
            raise broken[0]
        sandbox.send({"op": "end"}, patience)
        modules = self.forbidden.get(check.task)
        if result.status in ("error", "missing") and modules:
            message = f"`{check.task}`: imports {', '.join(modules)}, which is not available while it is graded"
            result = CheckResult(**{**asdict(result), "status": "forbidden", "message": message})
        return result

    def _begin(self, sandbox, seed) -> bool:
        """Start a check's process; leave out, from now on, a cell that ends the process by being loaded."""
        while True:
            request = {
                "op": "begin",
                "cells": [[cell.name, cell.source, cell.answer] for cell in self.cells],
                "seed": seed,
                "seconds": self.limits.seconds,
                "patience": self.limits.patience,
                "memory": self.limits.memory,
            }
            reply = sandbox.request(request, self.limits.patience * (1 + len(self.cells)) + _MARGIN)
            if isinstance(reply, dict) and isinstance(reply.get("loaded"), list):
                self.loading = _problems(reply["loaded"])
                return True
            sandbox.send({"op": "end"}, _MARGIN)
            name = reply.get("cell") if isinstance(reply, dict) else None
            rest = [cell for cell in self.cells if cell.name != name]
            if len(rest) == len(self.cells):
                return False
            why = ended(reply["ended"]) if isinstance(reply.get("ended"), str) else "it ended the process"
            self.fatal.append(Problem(name, 0, f"left out: {why}"))
            self.cells = rest


def _problems(rows) -> list[Problem]:
    """Problems as the sandbox reports them; a malformed row is dropped."""
    problems = []
    for row in rows[:100]:
        if isinstance(row, list) and len(row) == 3 and isinstance(row[0], str) and isinstance(row[2], str):
            line = row[1] if isinstance(row[1], int) else 0
            problems.append(Problem(row[0][:200], line, row[2][:500]))
    return problems


def _forbidden_by_task(battery, cells) -> dict[str, list[str]]:
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


def _lost(check: Check, why: str) -> CheckResult:
    message = f"`{check.task}`: {why}"
    return CheckResult(check.task, check.name, check.hidden, check.points, 0.0, "error", message, check.purpose)


def _versions(battery, packages) -> dict[str, str]:
    """What a regrade needs to be the same: the packages' versions, and a digest of the checks' files."""
    versions = {"checks": battery.digest()}
    for name in dict.fromkeys((*packages, "torch", "numpy")):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:  # a course may be a plain folder on the path
            versions[name] = "not installed"
    return versions
