"""What came of a cheat in one column of the table, and what became of everybody else."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

from nbgrader.api import Gradebook, MissingEntry
from sqlalchemy.exc import SQLAlchemyError

from tests.labcheck.cheats.submission import FULL, LAB

HONEST = "a-honest"  # graded before all cheats


@dataclass(frozen=True)
class Outcome:
    """One cheat under one grader.

    Attributes:
        points: what the cheat got; None if its submission was not graded.
        harm: what else happened, in words.
        error: the grader's own words on a submission that it did not grade.
    """

    points: float | None
    harm: tuple[str, ...] = ()
    error: str = ""

    def __str__(self):
        points = "not graded" if self.points is None else f"{self.points:g}"
        return ", ".join((points, *self.harm))


def student(cheat) -> str:
    """The name of the folder of a cheat's submission."""
    return f"c-{cheat.name}"


def accomplice(cheat) -> str:
    """The name of the folder of the submission that helps a cheat; it is graded before all cheats."""
    return f"b-{cheat.name}"


def points_of(root: Path, name: str) -> float | None:
    """A student's points in the gradebook, None where there are none or the gradebook is gone."""
    try:
        with Gradebook(f"sqlite:///{root}/gradebook.db") as gradebook:
            return gradebook.find_submission(LAB, name).score
    except (MissingEntry, SQLAlchemyError):
        return None


def fingerprint(root: Path, *also: str) -> str:
    """Digest of what no submission may change: the course's files, an honest student's work, and further folders."""
    digest = hashlib.sha256()
    folders = [root / name for name in ("solutions", "labs", "tinycourse", f"submitted/{HONEST}", *also)]
    files = [path for folder in folders for path in folder.rglob("*") if path.suffix in (".py", ".md", ".ipynb")]
    for path in sorted([*files, root / "nbgrader_config.py", *root.glob("cheated*")]):
        digest.update(str(path.relative_to(root)).encode())
        digest.update(path.read_bytes() if path.is_file() else b"missing")
    return digest.hexdigest()


def harm(root: Path, before: str, *also: str) -> tuple[str, ...]:
    """What has become of the others since a fingerprint of the same folders."""
    grade = points_of(root, HONEST)
    found = [] if grade == FULL else ["peer's grade lost" if grade is None else "peer's grade changed"]
    return (*found, *(["files of the course changed"] if fingerprint(root, *also) != before else []))


def scripts(page: Path) -> bool:
    """Whether a page runs what the bank's cheats call: ``cheated()`` in a script, a handler or an address."""
    if not page.is_file():
        return False
    finder = _Scripts()
    finder.feed(page.read_text(errors="replace"))
    return finder.found


class _Scripts(HTMLParser):
    found = False
    script = False

    def handle_starttag(self, tag, attributes):
        self.script = tag == "script"
        for name, value in attributes:
            risky = name.startswith("on") or (value or "").lower().lstrip().startswith(
                ("javascript:", "data:text/html")
            )
            self.found = self.found or (risky and "cheated" in (value or ""))

    def handle_endtag(self, tag):
        self.script = False

    def handle_data(self, data):
        self.found = self.found or (self.script and "cheated()" in data)
