"""A page on what each submission of a lab got, and why; made from the autograded notebooks."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import markupsafe

from labcheck.course import Course
from labcheck.expect import code_html
from labcheck.notebooks import NotebookError, read


@dataclass(frozen=True)
class Picture:
    """A picture on the page: its file, what is in it for who cannot see it, and its caption."""

    file: Path
    alt: str
    caption: str


def collect(course: Course, lab: str) -> list[dict[str, Any]]:
    """Each autograded submission's verdict, by student: ``{"student": ..., "verdict": ..., "tasks": ..., ...}``.

    Raises:
        NotebookError: nothing of this lab has been autograded.
    """
    submissions = []
    for path in sorted((course.root / "autograded").glob(f"*/{lab}/{lab}.ipynb")):
        notebook = read(path)
        verdict = notebook.metadata.get("labcheck")
        if verdict:
            feedback = course.root / "feedback" / path.parent.parent.name / lab / f"{lab}.html"
            by_hand = sum(
                cell.metadata.nbgrader.points
                for cell in notebook.cells
                if cell.metadata.get("nbgrader", {}).get("grade") and cell.metadata.nbgrader.solution
            )
            submissions.append(
                {
                    "student": path.parent.parent.name,
                    "verdict": verdict,
                    "tasks": _by_task(verdict["checks"]),
                    "by_hand": by_hand,
                    "feedback": feedback if feedback.exists() else None,
                }
            )
    if not submissions:
        raise NotebookError(f"{course.root / 'autograded'}: no graded submission of {lab}; run labcheck grade {lab}")
    return submissions


def write_report(
    course: Course,
    lab: str,
    output: Path,
    notes: dict[str, str] | None = None,
    picture: Picture | None = None,
) -> None:
    """Write the page.

    Args:
        course: the course.
        lab: the lab's name.
        output: the file to write; links to feedback are relative to its folder.
        notes: student → a sentence shown with the name.
        picture: shown below the table.
    """
    environment = jinja2.Environment(loader=jinja2.PackageLoader("labcheck"), autoescape=True, trim_blocks=True)
    environment.filters["relative"] = lambda path: Path(os.path.relpath(path, output.parent)).as_posix()
    environment.filters["code"] = lambda text: markupsafe.Markup(code_html(text))
    page = environment.get_template("report.html").render(
        lab=lab, submissions=collect(course, lab), notes=notes or {}, picture=picture
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(page, encoding="utf-8")


def _by_task(checks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The checks of each task, with the task's points and the sentences on what is wrong, each once."""
    tasks = []
    for task in dict.fromkeys(check["task"] for check in checks):
        own = [check for check in checks if check["task"] == task]
        reasons = dict.fromkeys(f"{check['status']}: {check['message']}" for check in own if check["message"])
        tasks.append(
            {
                "name": task,
                "score": sum(check["score"] for check in own),
                "points": sum(check["points"] for check in own),
                "passed": sum(check["status"] == "passed" for check in own),
                "checks": len(own),
                "reasons": list(reasons),
            }
        )
    return tasks
