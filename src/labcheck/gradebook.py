"""nbgrader's gradebook and pages of feedback, written by nbgrader in this process.

nbgrader says what it has done in a log. It takes Ctrl+C for a failure of the submission at hand and goes on,
which is why an interrupt waits here until it is done.
"""

from __future__ import annotations

import contextlib
import re
import signal
import tempfile
import threading
from collections.abc import Iterator
from typing import Any, cast

from nbgrader.api import Gradebook, MissingEntry
from nbgrader.apps import NbGraderAPI
from nbgrader.converters import Autograde
from nbgrader.converters.base import NbGraderException
from nbgrader.utils import capture_log, temp_attrs
from traitlets.config import Config

from labcheck.cells import grade_id
from labcheck.course import Course, CourseError
from labcheck.judge import Limits
from labcheck.notebooks import read
from labcheck.pipeline import generate_assignment, nbgrader_config

_OTHER_CELLS = "nbgrader cannot take its release into the gradebook, which has submissions of one with other cells"
_PENALTIES = "AssignLatePenalties"
_RAISED = re.compile(r"[\w.]+(Error|Exception|Unavailable|Broken)\b")


class Nbgrader:
    """nbgrader's commands for one lab; the judge takes the verdicts that are kept already.

    Args:
        course: the course, in an instructor's working folder.
        lab: the lab's name.
        walls, seed, limits: as of `labcheck.grader.Grader`; the kept verdicts are of these.
    """

    def __init__(self, course: Course, lab: str, *, walls: bool, seed: int | None, limits: Limits) -> None:
        self.course = course
        self.lab = lab
        self.config = nbgrader_config(course)
        self.config.Judge.walls, self.config.Judge.seed = walls, seed
        self.config.Judge.seconds, self.config.Judge.memory = limits.seconds, limits.memory
        self.config.Judge.processes = limits.processes
        if "preprocessors" in self.config.GenerateFeedback:
            # A grade has its penalty by then, and the gradebook has one writer, which is not who writes feedback.
            kept = [name for name in self.config.GenerateFeedback.preprocessors if not name.endswith(_PENALTIES)]
            self.config.GenerateFeedback.preprocessors = kept
        self.api = NbGraderAPI(config=self.config)

    def register(self) -> None:
        """Make the lab known to the gradebook; nbgrader writes its release, which is thrown away.

        Raises:
            CourseError: the gradebook has submissions of a release with other cells.
        """
        if self._is_registered():
            return
        with tempfile.TemporaryDirectory(prefix="release-", dir=self.course.root / ".labcheck") as scratch:
            config = cast(Config, self.config.copy())
            config.CourseDirectory.release_directory = scratch
            config.CourseDirectory.assignment_id = self.lab
            try:
                generate_assignment(config)
            except (NbGraderException, SystemExit):
                raise CourseError(f"{self.lab}: {_OTHER_CELLS}") from None

    def _is_registered(self) -> bool:
        """Whether the gradebook has all cells of the release, with their points; a killed run may leave a part."""
        with Gradebook(self.api.coursedir.db_url) as gradebook:
            try:
                notebook = gradebook.find_notebook(self.lab, self.lab)
            except MissingEntry:
                return False
            known = {cell.name for cell in notebook.source_cells}
            points = {cell.name: cell.max_score for cell in notebook.grade_cells}
        cells = {grade_id(c): c.metadata.nbgrader for c in read(self.course.released(self.lab)).cells if grade_id(c)}
        return known >= set(cells) and points == {name: float(c.points) for name, c in cells.items() if c.grade}

    def write_grade(self, student: str) -> str:
        """Write a submission's grade; why it could not be done, or nothing."""
        with temp_attrs(self.api.coursedir, assignment_id=self.lab, student_id=student), _interrupted_later():
            result = capture_log(_Autograde(coursedir=self.api.coursedir, parent=self.api, force=True))
        if not result["success"]:
            return _reason(result)
        return "" if self.score(student) else "nbgrader found no submission"

    def write_feedback(self, student: str) -> str:
        """Write a submission's page of feedback, from the gradebook; why it could not be done, or nothing."""
        with _interrupted_later():
            result = self.api.generate_feedback(self.lab, student, force=True)
        return "" if result["success"] else _reason(result)

    def score(self, student: str) -> tuple[float, float] | None:
        """A submission's score and the highest possible one, None where the gradebook has no such submission."""
        with Gradebook(self.api.coursedir.db_url) as gradebook:
            try:
                submission = gradebook.find_submission(self.lab, student)
            except MissingEntry:
                return None
            return submission.score, submission.max_score


class _Autograde(Autograde):
    """nbgrader's, also for a submission without a notebook: `labcheck.intake` puts a blank one there."""

    def start(self) -> None:
        try:
            super().start()
        finally:
            getattr(self.exporter, "discard", lambda: None)()  # at once: there is one for each submission

    def init_notebooks(self) -> None:
        with contextlib.suppress(NbGraderException):
            super().init_notebooks()


@contextlib.contextmanager
def _interrupted_later() -> Iterator[None]:
    """Let Ctrl+C wait: nbgrader takes it for a failure of the submission at hand, and goes on."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    caught = []
    before = signal.signal(signal.SIGINT, lambda *_: caught.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if caught:
        raise KeyboardInterrupt


def _reason(result: dict[str, Any]) -> str:
    """nbgrader's own words: the last line of the first traceback, which its closing advice follows."""
    lines = [line.strip() for line in (result.get("log") or result.get("error") or "").splitlines()]
    raised = [line for line in lines if _RAISED.match(line) and "the above" not in line]
    return raised[0] if raised else "; ".join(lines[-1:]) or "nbgrader gave no reason"
