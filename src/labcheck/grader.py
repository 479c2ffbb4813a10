"""One lab's grader: takes submissions, gives verdicts."""

from __future__ import annotations

import contextlib
from typing import Self

from nbformat import NotebookNode

from labcheck.course import Course
from labcheck.judge import Limits, Verdict, judge, sandbox_for, versions
from labcheck.notebooks import code_cells, read, require_points, top_level_imports
from labcheck.verdicts import Verdicts, secret_of, seed_for


class Grader:
    """Grades submissions of one lab, one after the other; a context manager.

    Args:
        course: the course, in an instructor's working folder.
        lab: the lab's name.
        walls: False runs student code unprotected, which the verdicts record.
        limits: of the student's code.
        seed: of the checks' arguments; one for each submission if None (`labcheck.verdicts.seed_for`).
        again: judge also what has a kept verdict.

    Raises:
        CourseError: the release is older than the checks, and carries other points.
    """

    def __init__(
        self,
        course: Course,
        lab: str,
        *,
        walls: bool = True,
        limits: Limits | None = None,
        seed: int | None = None,
        again: bool = False,
    ) -> None:
        self.lab = lab
        self.battery = course.battery(lab)
        self.released = read(course.released(lab))
        require_points(self.battery, self.released)
        self.given = frozenset(cell.source for cell in self.released.cells)
        self.walls = walls
        self.limits = limits or Limits()
        self.seed = seed
        self.again = again
        self.secret = secret_of(course.root)
        self.verdicts = Verdicts(course.root, lab)
        self.versions = versions(self.battery, [course.package])
        self._sandbox = sandbox_for(
            self.battery, packages=[course.package], unavailable=course.unavailable(lab),
            warm=top_level_imports(self.released), walls=walls,
        )  # fmt: skip
        self._stack = contextlib.ExitStack()
        self._entered = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End the sandbox."""
        self._stack.close()
        self._entered = False

    def verdict(self, student: str, notebook: NotebookNode) -> tuple[str, Verdict]:
        """The verdict on a submission, from the kept ones or from the judge, and the key that it is kept under.

        Args:
            student: the student's name.
            notebook: the submission in the released shape (`labcheck.anchors.reanchor`).

        Raises:
            SandboxUnavailable: no sandbox can be had.
            SandboxBroken: the sandbox cannot be started again.
        """
        cells = code_cells(notebook, self.released)
        seed = seed_for(self.secret, self.lab, student, cells) if self.seed is None else self.seed
        key = self.verdicts.key(student, cells, seed, self.versions, self.limits, self.walls)
        kept = None if self.again else self.verdicts.get(student, key)
        if kept is not None:
            return key, kept
        if not self._entered:  # a sandbox takes seconds to start, and where all is kept none is needed
            self._stack.enter_context(self._sandbox)
            self._entered = True
        verdict = judge(self.battery, cells, self._sandbox, seed=seed, limits=self.limits, released=self.given)
        self.verdicts.put(student, key, verdict)
        return key, verdict
