"""Grading a class: submissions through nbgrader's autograder, with a progress bar."""

from __future__ import annotations

import re
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path

from nbgrader.api import Gradebook, MissingEntry
from nbgrader.apps import NbGraderAPI
from nbgrader.coursedir import CourseDirectory
from sqlalchemy.exc import SAWarning
from tqdm.auto import tqdm

from labcheck.course import Course
from labcheck.judge import Limits
from labcheck.notebooks import NotebookError, read
from labcheck.pipeline import generate_assignment, nbgrader_config
from labcheck.sandbox import require_bubblewrap

_RAISED = re.compile(r"[\w.]+(Error|Exception|Unavailable|Broken)\b")


@dataclass(frozen=True)
class Graded:
    """What came of one submission: its score before manual grading, or why there is none."""

    student: str
    score: float | None
    max_score: float | None
    error: str = ""


def grade_class(
    course: Course, lab: str, *, walls: bool = True, seed: int | None = None, limits: Limits | None = None
) -> list[Graded]:
    """Autograde every submission of a lab and write its feedback.

    Args:
        course: the course; submissions lie in ``submitted/STUDENT/LAB/LAB.ipynb``.
        lab: the lab's name.
        walls: False runs student code unprotected, which each grade records.
        seed: of the checks' arguments; a new secret one a submission if None.
        limits: of one check.

    Returns:
        One entry a submission, by student. A submission that cannot be read is one with an error; it costs
        no other submission anything.

    Raises:
        SandboxUnavailable: no sandbox can be had.
        NotebookError: nothing has been handed in.
    """
    if walls:
        require_bubblewrap()
    config = nbgrader_config(course)
    config.Judge.walls = walls
    config.Judge.seed = seed
    if limits:
        config.Judge.seconds, config.Judge.memory = limits.seconds, limits.memory
    _register(config, lab)
    students = sorted(path.parent.name for path in (course.root / "submitted").glob(f"*/{lab}"))
    if not students:
        raise NotebookError(f"{course.root / 'submitted'}: no folder STUDENT/{lab} with a submission in it")
    api = NbGraderAPI(config=config)
    bar = tqdm(students, desc=f"grading {lab}", unit="submission")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SAWarning)  # nbgrader's own queries warn on every submission
        return [_grade_one(api, course, lab, student) for student in bar]


def _grade_one(api, course, lab, student) -> Graded:
    path = course.root / "submitted" / student / lab / f"{lab}.ipynb"
    try:
        read(path)
    except NotebookError as error:
        return Graded(student, None, None, str(error))
    result = api.autograde(lab, student, force=True, create=True)
    if not result["success"]:
        return Graded(student, None, None, _reason(result))
    result = api.generate_feedback(lab, student, force=True)
    if not result["success"]:
        return Graded(student, None, None, _reason(result))
    with Gradebook(api.coursedir.db_url) as gradebook:
        submission = gradebook.find_submission(lab, student)
        return Graded(student, submission.score, submission.max_score)


def _reason(result) -> str:
    """nbgrader's own words: the last line of the first traceback, which its closing advice follows."""
    lines = [line.strip() for line in (result.get("log") or result.get("error") or "").splitlines()]
    raised = [line for line in lines if _RAISED.match(line) and "the above" not in line]
    return raised[0] if raised else "; ".join(lines[-1:]) or "nbgrader gave no reason"


def _register(config, lab) -> None:
    """Make the lab known to the gradebook, once; nbgrader writes its release, which is thrown away."""
    coursedir = CourseDirectory(config=config)
    with Gradebook(coursedir.db_url) as gradebook:
        try:
            if gradebook.find_assignment(lab).notebooks:
                return
        except MissingEntry:
            pass
    scratch = Path(coursedir.root) / ".labcheck-release"
    release = config.copy()
    release.CourseDirectory.release_directory = str(scratch)
    release.CourseDirectory.assignment_id = lab
    try:
        generate_assignment(release)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
