"""Grades as the files that Canvas and Moodle import, by nbgrader's own command.

::

    nbgrader export --exporter=labcheck.export.Canvas --to canvas.csv
    nbgrader export --exporter=labcheck.export.Moodle --to moodle.csv --assignment='["lab01"]'

A score is the gradebook's: automatic, manual and extra points, less the late penalty. No submission is no
score, never a zero, and neither is a submission that still waits for manual grading, which is said in a warning
with the student and the lab. Text that students choose cannot become a formula in a spreadsheet.
"""

from __future__ import annotations

import csv
import io
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from nbgrader.api import Assignment, Gradebook, Student, SubmittedAssignment
from nbgrader.plugins import ExportPlugin
from nbgrader.preprocessors import AssignLatePenalties
from sqlalchemy.exc import SAWarning
from sqlalchemy.orm import undefer
from traitlets import Dict, Enum, TraitError, Unicode

from labcheck.late import outdated

Scores = dict[tuple[str, str], str]  # of (assignment, student), as the file has them


class ExportError(ValueError):
    """The gradebook cannot be exported as asked."""


class CampusExport(ExportPlugin):
    """What the exporters share: which assignments and students, their scores, and the writing of the file."""

    titles = Dict(
        key_trait=Unicode(),
        value_trait=Unicode(),
        help="Names of grade columns there, by the assignment's name here, where they differ.",
    ).tag(config=True)

    file = "grades.csv"
    no_score = ""

    def export(self, gradebook: Gradebook) -> None:
        """Write the file; one line says what could not be done, and ends the command with status 1."""
        target = Path(self.to or self.file)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SAWarning)  # nbgrader's own queries warn
                rows = self._rows(gradebook)
            text = io.StringIO()
            csv.writer(text).writerows(rows)
            target.write_text(text.getvalue(), encoding="utf-8", newline="")
        except (ExportError, TraitError, OSError) as error:
            self.log.error("Nothing exported: %s", error)
            raise SystemExit(1) from None
        self.log.info("Grades written to %s", target)

    def table(self, students: list[Student], assignments: list[Assignment], scores: Scores) -> list[list[str]]:
        """The file's rows, header first."""
        raise NotImplementedError

    def _rows(self, gradebook: Gradebook) -> list[list[str]]:
        assignments = _chosen("assignment", gradebook.assignments, lambda a: a.name, self.assignment)
        students = _chosen("student", gradebook.students, lambda s: s.id, self.student)
        students.sort(key=lambda s: (s.last_name or "", s.first_name or "", s.id))
        _require_unique("title", [self._title(a) for a in assignments])
        return self.table(students, assignments, self._scores(gradebook, students, assignments))

    def _title(self, assignment: Assignment) -> str:
        return neutral(self.titles.get(assignment.name, assignment.name))

    def _scores(self, gradebook: Gradebook, students: list[Student], assignments: list[Assignment]) -> Scores:
        penalties = AssignLatePenalties(parent=self)
        penalties.init_plugin()
        unfinished, behind = [], []
        scores: Scores = {}
        for assignment in assignments:
            submissions = _submissions(gradebook, assignment)
            for student in students:
                submission = submissions.get(student.id)
                where = (assignment.name, student.id)
                scores[where] = self.no_score
                if submission is None:
                    continue
                if submission.needs_manual_grade:
                    unfinished.append(where)
                    continue
                scores[where] = points(submission.score - submission.late_submission_penalty)
                if outdated(submission, penalties.plugin_inst):
                    behind.append(where)
        if unfinished:
            self.log.warning("No score exported, manual grading is not finished: %s", _listed(unfinished))
        if behind:
            self.log.warning(
                "Late penalties are older than the scores, extensions or settings: %s. "
                "Write feedback again (nbgrader generate_feedback ASSIGNMENT --force), then export again",
                _listed(behind),
            )
        return scores


class Canvas(CampusExport):
    """For Canvas's gradebook: Grades, Import.

    Canvas finds a student by ``ID`` (its own number), else by ``SIS User ID``, else by ``SIS Login ID``, else by
    name; a column by its title, or by a title that ends in the assignment's number in brackets. Other titles
    become new assignments with the points of the second row.

    Source: ``lib/gradebook_importer.rb`` of https://github.com/instructure/canvas-lms.
    """

    lms_user_id = Enum(
        ("ID", "SIS User ID"), "ID", help="Which of Canvas's columns the gradebook's lms_user_id is."
    ).tag(config=True)
    login = Enum(("id", "email"), "id", help="What students log in to Canvas with: the gradebook's id or email.").tag(
        config=True
    )

    file = "canvas.csv"

    def table(self, students: list[Student], assignments: list[Assignment], scores: Scores) -> list[list[str]]:
        lms = [s.lms_user_id or "" for s in students]
        logins = [getattr(s, self.login) or "" for s in students]
        if self.lms_user_id == "ID":
            wrong = [f"{s.id}: {n!r}" for s, n in zip(students, lms, strict=True) if n and not _is_number(n)]
            if wrong:  # Canvas reads the digits that such an id begins with, and may find somebody else
                raise ExportError(
                    f"lms_user_id is not Canvas's number of a user ({', '.join(wrong)}); "
                    "set Canvas.lms_user_id = 'SIS User ID' if it is that"
                )
        _require_unique("lms_user_id", lms)
        _require_unique(self.login, logins)
        rows = [
            ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", *map(self._title, assignments)],
            ["    Points Possible", "", "", "", "", *(points(a.max_score) for a in assignments)],
        ]
        for student, number, login in zip(students, lms, logins, strict=True):
            numbers = [number, ""] if self.lms_user_id == "ID" else ["", number]
            identity = [_canvas_name(student), *map(neutral, (*numbers, login)), ""]
            rows.append(identity + [scores[a.name, student.id] for a in assignments])
        return rows


class Moodle(CampusExport):
    """For Moodle's gradebook: Grades, Import, CSV file.

    Moodle finds a student by the first column, and imports nothing at all if it knows one of them not; a student
    without that column is left out with a warning. No score is a dash, as in Moodle's own exports: older versions
    read an empty cell of a new grade item as zero.

    Source: ``grade/import/csv/classes/load_data.php`` of https://github.com/moodle/moodle.
    """

    identity = Enum(
        ("id", "email", "lms_user_id"),
        "id",
        help="What Moodle knows students by: id (its username), email, or lms_user_id (its ID number).",
    ).tag(config=True)

    file = "moodle.csv"
    no_score = "-"

    def table(self, students: list[Student], assignments: list[Assignment], scores: Scores) -> list[list[str]]:
        header = {"id": "Username", "email": "Email address", "lms_user_id": "ID number"}[self.identity]
        rows, lost = [], []
        for student in students:
            identity = getattr(student, self.identity) or ""
            if not identity or neutral(identity) != identity:
                lost.append(student.id)
                continue
            names = [neutral(student.first_name or ""), neutral(student.last_name or "")]
            rows.append([identity, *names, *(scores[a.name, student.id] for a in assignments)])
        _require_unique(self.identity, [row[0].casefold() for row in rows])
        if lost:
            self.log.warning(
                "Left out, the gradebook has no %s that Moodle could know: %s", self.identity, ", ".join(lost)
            )
        self.log.info("Maximum grades: %s", ", ".join(f"{self._title(a)} {points(a.max_score)}" for a in assignments))
        return [[header, "First name", "Last name", *map(self._title, assignments)], *rows]


def neutral(text: str) -> str:
    """Text that a spreadsheet does not read as a formula, on one line.

    A cell that begins with ``=``, ``+``, ``-`` or ``@`` (full-width forms and what is invisible before them
    included) gets an apostrophe in front. Source: https://owasp.org/www-community/attacks/CSV_Injection.
    """
    text = " ".join(text.split())
    first = next((c for c in unicodedata.normalize("NFKC", text) if c.isprintable() and c != " "), "")
    return f"'{text}" if first and first in "=+-@" else text


def points(score: float) -> str:
    """A score for a file: no less than zero, five decimals at most, which is what Moodle keeps."""
    return f"{max(0.0, score):.5f}".rstrip("0").rstrip(".")


def _canvas_name(student: Student) -> str:
    """``Last, First``; the id where there is none, or one that Canvas would read as the row of possible points."""
    name = ", ".join(filter(None, (student.last_name, student.first_name)))
    return neutral(student.id if not name or "Points Possible" in name else name)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _submissions(gradebook: Gradebook, assignment: Assignment) -> dict[str, SubmittedAssignment]:
    """An assignment's submissions by student, in one query."""
    wanted = ("score", "late_submission_penalty", "needs_manual_grade")
    query = gradebook.db.query(SubmittedAssignment).filter(SubmittedAssignment.assignment_id == assignment.id)
    query = query.options(*(undefer(getattr(SubmittedAssignment, name)) for name in wanted))
    return {submission.student_id: submission for submission in query}


def _chosen(kind: str, entries: Iterable[Any], name: Callable[[Any], str], wanted: Iterable[Any]) -> list[Any]:
    wanted = [str(value) for value in wanted]
    known = [name(entry) for entry in entries]
    if not known:
        raise ExportError(f"the gradebook has no {kind}s")
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        raise ExportError(f"--{kind}: the gradebook does not have {', '.join(unknown)}, but {', '.join(known)}")
    return [entry for entry in entries if not wanted or name(entry) in wanted]


def _require_unique(what: str, values: Iterable[str]) -> None:
    twice = sorted(value for value, times in Counter(values).items() if value and times > 1)
    if twice:
        raise ExportError(f"the same {what} stands for more than one: {', '.join(twice)}")


def _listed(where: list[tuple[str, str]]) -> str:
    """``lab01: ada, bob; lab02: eve``"""
    names: dict[str, list[str]] = {}
    for assignment, student in where:
        names.setdefault(assignment, []).append(student)
    return "; ".join(f"{assignment}: {', '.join(students)}" for assignment, students in names.items())
