"""nbgrader's autograder on submissions as `labcheck.submissions.receive` makes them safe, by its settings alone.

nbgrader copies whatever lies beside a submitted notebook into ``autograded/`` and ``feedback/``, through symbolic
links, waits for pipes, and gives no grade where a notebook cannot be read. `Intake` is set as its exporter, which
it makes once a run, after it has looked for submissions and before it opens any of them.
"""

from __future__ import annotations

import copy
import glob
import os
import re
import shutil
import tempfile
import weakref
from logging import Logger
from pathlib import Path
from typing import Any

import nbformat
from nbconvert.exporters import NotebookExporter
from nbgrader.converters import Autograde
from nbgrader.coursedir import CourseDirectory
from nbgrader.utils import parse_utc

from labcheck.course import Course
from labcheck.notebooks import read
from labcheck.submissions import receive


class Intake(NotebookExporter):
    """The exporter of ``nbgrader autograde``: points it at safe copies of the submissions that it was to grade.

    A copy has the notebook without outputs, under its right name, and links to the further files that may be
    copied. The copies lie in ``.labcheck/`` and go with the exporter; the submissions are never changed.
    """

    def __init__(self, parent: Any = None, **kwargs: Any) -> None:
        super().__init__(parent=parent, **kwargs)  # type: ignore[no-untyped-call]  # nbconvert is typed in part
        if isinstance(parent, Autograde):
            copies = _room(Path(parent.coursedir.root))
            self.discard = weakref.finalize(self, shutil.rmtree, copies, ignore_errors=True)
            parent.coursedir = _copies_of(parent.coursedir, copies, parent.log)
            parent.init_notebooks()


def _room(root: Path) -> Path:
    # Below the root: nbgrader makes a regular expression of a submission's path, and escapes the root's alone.
    (root / ".labcheck").mkdir(mode=0o700, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix="received-", dir=root / ".labcheck"))


def _copies_of(coursedir: CourseDirectory, copies: Path, log: Logger) -> CourseDirectory:
    """Copy the submissions that nbgrader's settings name; the settings with the copies in the originals' place."""
    submitted, lab = coursedir.submitted_directory, coursedir.assignment_id
    released = read(Course.find(coursedir.root).released(lab))
    safe = copy.copy(coursedir)
    safe.submitted_directory = os.path.relpath(copies, coursedir.root)
    named = re.compile(coursedir.format_path(submitted, "(?P<student>.*)", lab, escape=True))
    for folder in sorted(glob.glob(coursedir.format_path(submitted, coursedir.student_id, lab))):
        found = named.fullmatch(folder)
        assert found is not None  # one pattern is made of the other
        student = found["student"]
        target = Path(safe.format_path(safe.submitted_directory, student, lab))
        target.mkdir(parents=True)
        try:
            submission = receive(
                Path(folder), lab, released,
                root=Path(coursedir.root, submitted), max_size=1000 * coursedir.max_dir_size,
            )  # fmt: skip
        except OSError:
            log.error("%s cannot be read, and is not graded", folder, exc_info=True)
            (target / f"{lab}.ipynb").touch()  # over an empty file nbgrader reports an error and goes on
            continue
        if submission.notice:
            log.warning("%s: %s", folder, " ".join(submission.notice.split()))
        nbformat.write(submission.notebook, target / f"{lab}.ipynb")
        for file in submission.files:
            if file == Path("timestamp.txt") and not _is_time(Path(folder, file)):
                log.warning("%s is no date and time: taken as handed in in time", Path(folder, file))
                continue
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            (target / file).symlink_to(Path(folder, file).absolute())
    return safe


def _is_time(path: Path) -> bool:
    with open(path, errors="replace") as file:
        text = file.read(200).strip()
    try:
        return not text or bool(parse_utc(text))
    except (ValueError, OverflowError):
        return False
