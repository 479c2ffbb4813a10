"""A class of 200 gets what it deserves, and a run that is killed again and again ends with the same gradebook."""

import contextlib
import json
import os
import random
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from nbgrader.api import Gradebook

from demo.example_class import LAB, working_folder
from demo.generated_class import SHARES, generate, hand_in
from labcheck.course import Course
from labcheck.notebooks import read

SUBMISSIONS = 200
KILLED = 60  # of them, graded once more in a run that is killed
SEED = 4
DUE = "2026-03-01 12:00:00"
LATE = range(3, SUBMISSIONS, 10)  # the numbers of those that hand in after that
CONFIG = "c.PerDay.share = 0.1\n"

HOME = Course.find()
BATTERY = HOME.battery(LAB)

pytestmark = pytest.mark.grading


@dataclass
class Run:
    """A working folder in which everything was graded, and what was seen meanwhile.

    Attributes:
        samples: now and then, the number of kept verdicts and the resident bytes of each process, by its id and start.
    """

    course: Course
    seconds: float
    samples: list[tuple[int, dict]]
    left: list[str]


@pytest.fixture(scope="module")
def submissions():
    return generate(HOME, SUBMISSIONS, SEED)


@pytest.fixture(scope="module")
def undisturbed(submissions, tmp_path_factory) -> Run:
    course = _class_in(tmp_path_factory.mktemp("undisturbed"), submissions)
    start = time.monotonic()
    samples = []
    with _grade(course) as process:
        while process.poll() is None:
            samples.append((len(_verdicts(course)), _sizes(process.pid)))
            time.sleep(0.3)
    assert process.returncode == 0, (course.root / "errors.txt").read_text()[-2000:]
    return Run(course, time.monotonic() - start, samples, _still_there(course))


def test_shares_are_as_stated(submissions):
    kinds = Counter(submission.kind for submission in submissions)
    assert kinds == {kind: share * SUBMISSIONS // 20 for kind, share in SHARES.items()}
    assert len({(s.kind, s.variant) for s in submissions}) >= 25


def test_every_score_is_as_intended(undisturbed, submissions):
    scores = {student: _points(entry) for student, entry in _gradebook(undisturbed.course).items()}
    deserved = {s.student: s.points(BATTERY, _verdict(undisturbed.course, s.student)["seed"]) for s in submissions}
    assert scores == deserved
    lost = [s.student for s in submissions if s.kind == "wrong" and sum(scores[s.student].values()) < BATTERY.points()]
    assert len(lost) == SHARES["wrong"] * SUBMISSIONS // 20, "each wrong answer loses points"


def test_everything_is_written_for_every_student(undisturbed, submissions):
    course = undisturbed.course
    everybody = {submission.student for submission in submissions}
    for name in ("autograded/*/*/*.ipynb", "feedback/*/*/*.html"):
        assert {path.parts[-3] for path in course.root.glob(name)} == everybody
    assert set(_gradebook(course)) == everybody
    assert {path.stem for path in _verdicts(course)} == everybody
    assert len({_verdict(course, student)["seed"] for student in everybody}) == SUBMISSIONS
    lines = (course.root / "scores.txt").read_text().splitlines()
    assert {line.split(":")[0] for line in lines} == everybody and all(line.endswith("points") for line in lines)


def test_a_broken_notebook_is_told_what_is_wrong_with_it(undisturbed, submissions):
    broken = [s for s in submissions if s.variant in ("cut_off", "empty", "link", "nested", "many_values")]
    assert broken
    for submission in broken:
        notebook = read(undisturbed.course.root / "autograded" / submission.student / LAB / f"{LAB}.ipynb")
        assert "could not be graded" in notebook.cells[0].source


def test_those_who_are_late_get_a_penalty(undisturbed):
    late = {student for student, entry in _gradebook(undisturbed.course).items() if entry["penalty"]}
    scored = {student for student, entry in _gradebook(undisturbed.course).items() if entry["score"]}
    assert late == {f"student{number:03}" for number in LATE} & scored


def test_nothing_is_left_of_a_run(undisturbed):
    assert undisturbed.left == []
    assert _unfinished(undisturbed.course) == []
    assert not list((undisturbed.course.root / "tmp").glob("labcheck-*"))


def test_memory_stays_flat(undisturbed):
    """Of what lasts as long as the run: its command, the processes that judge, their sandboxes with a warm driver.

    That is while there is something left to judge; at the end, processes that tidy up read what they never needed.
    Each peaks in the last third of the submissions at no more than 1.05 times its peak in the first third, and what it
    holds in the median has grown by less than 256 kB a submission, where a notebook that is read and kept takes a
    megabyte. Both leave room for nbgrader's feedback, whose memory settles after some fifty pages; judging alone has
    a stricter test (tests/labcheck/test_grading.py).
    """
    thirds = [
        [sizes for count, sizes in undisturbed.samples if start < count <= end]
        for start, end in ((SUBMISSIONS // 12, SUBMISSIONS // 3), (SUBMISSIONS * 2 // 3, SUBMISSIONS - 1))
    ]
    lasting = thirds[0][0].keys() & thirds[1][0].keys()
    first, last = ({name: [s[name] for s in part if name in s] for name in lasting} for part in thirds)
    assert sum(max(first[name]) > 2e8 for name in lasting) == 5, "the command, two that judge, two drivers with torch"
    for name in lasting:
        assert max(last[name]) <= 1.05 * max(first[name])
        assert statistics.median(last[name]) - statistics.median(first[name]) <= 256e3 * SUBMISSIONS * 2 / 3


def test_what_is_graded_is_not_graded_again(undisturbed):
    before = _written(undisturbed.course)
    start = time.monotonic()
    with _grade(undisturbed.course) as process:
        assert process.wait(600) == 0
    assert _written(undisturbed.course) == before
    assert time.monotonic() - start < undisturbed.seconds / 4


def test_a_run_that_is_killed_again_and_again_ends_with_the_same_gradebook(undisturbed, submissions, tmp_path):
    course = _class_in(tmp_path, submissions[:KILLED])
    shutil.copy(undisturbed.course.root / ".labcheck" / "secret", tmp_path / ".labcheck" / "secret")
    rng = random.Random(9)  # kills between the start and the last third of the submissions
    kept = {}
    for number, count in enumerate(sorted(rng.choices(range(KILLED - 10), k=5))):
        with _grade(course) as process:
            while len(_verdicts(course)) < count and process.poll() is None:
                time.sleep(0.05)
            time.sleep(rng.uniform(0, 1))
            tree = _tree(process.pid)
            assert process.poll() is None, "it was to be killed before its end"
            (os.killpg if number == 2 else os.kill)(process.pid, signal.SIGKILL)
        _wait_until(lambda tree=tree: not any(map(_runs, tree)) and not _still_there(course))
        kept = _kept(course, kept)
    with _grade(course) as process:
        assert process.wait(600) == 0
    assert len(_kept(course, kept)) == KILLED
    _require_same(course, undisturbed.course)


def _require_same(course, other):
    students = sorted(path.name for path in (course.root / "submitted").iterdir())
    entries = _gradebook(other)
    assert _gradebook(course) == {student: entries[student] for student in students}
    for student in students:
        for name in (
            f".labcheck/{LAB}/{student}.json",
            f"autograded/{student}/{LAB}/{LAB}.ipynb",
            f"feedback/{student}/{LAB}/{LAB}.html",
        ):
            assert (course.root / name).read_bytes() == (other.root / name).read_bytes(), name
    with contextlib.closing(sqlite3.connect(course.root / "gradebook.db")) as book:
        assert book.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        counts = {table: book.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in _TABLES}
    cells = [cell.metadata.nbgrader for cell in read(course.released(LAB)).cells if "nbgrader" in cell.metadata]
    graded = sum(cell.grade for cell in cells)
    solutions = sum(cell.solution for cell in cells)
    assert counts == {
        "student": len(students), "submitted_assignment": len(students), "submitted_notebook": len(students),
        "grade": len(students) * graded, "comment": len(students) * solutions,
    }  # fmt: skip


_TABLES = ("student", "submitted_assignment", "submitted_notebook", "grade", "comment")


def _class_in(folder, submissions) -> Course:
    course = working_folder(HOME, folder)
    with open(folder / "nbgrader_config.py", "a") as config:
        config.write(CONFIG)
    hand_in(submissions, folder / "submitted")
    for number in range(len(submissions)):
        day = 2 if number in LATE else 1
        timestamp = folder / "submitted" / f"student{number:03}" / LAB / "timestamp.txt"
        timestamp.write_text(f"2026-03-0{day} 11:00:00 UTC")
    for name in ("tmp", ".labcheck"):
        (folder / name).mkdir()
    with Gradebook(f"sqlite:///{folder}/gradebook.db") as gradebook:
        gradebook.add_assignment(LAB, duedate=DUE)
    return course


@contextlib.contextmanager
def _grade(course):
    """The command, in a session of its own."""
    command = [sys.executable, "-m", "labcheck.cli", "grade", LAB, "--jobs", "2", "--seconds", "1"]
    environment = {**os.environ, "TMPDIR": str(course.root / "tmp"), "OMP_NUM_THREADS": "1"}
    with (
        open(course.root / "scores.txt", "w") as scores,
        open(course.root / "errors.txt", "w") as errors,
        subprocess.Popen(
            command, cwd=course.root, env=environment, stdout=scores, stderr=errors, start_new_session=True
        ) as process,
    ):
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()


def _tree(pid) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return [p for p in (process, *process.children(recursive=True)) if _runs(p)]
    return []


def _runs(process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _sizes(pid) -> dict:
    """The resident bytes of a process and all below it, by their ids and starts."""
    sizes = {}
    for process in _tree(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            sizes[process.pid, process.create_time()] = process.memory_info().rss
    return sizes


def _still_there(course) -> list[str]:
    """Processes that have to do with a working folder; sandboxes have their files in its tmp."""
    found = []
    for process in filter(_runs, psutil.process_iter()):
        words = []
        for ask in (process.cmdline, lambda process=process: [process.cwd()]):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                words += ask()
        if str(course.root) in " ".join(words):
            found.append(" ".join(words))
    return found


def _wait_until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _verdicts(course) -> list[Path]:
    return list((course.root / ".labcheck" / LAB).glob("[!.]*.json"))


def _verdict(course, student) -> dict:
    return json.loads((course.root / ".labcheck" / LAB / f"{student}.json").read_text())["verdict"]


def _kept(course, before) -> dict:
    """The verdicts and when each was written; those that were there before are as they were."""
    kept = {path.stem: (path.stat().st_ino, path.stat().st_mtime_ns) for path in _verdicts(course)}
    assert {student: kept.get(student) for student in before} == before, "no verdict is given twice"
    return kept


def _unfinished(course) -> list[Path]:
    folder = course.root / ".labcheck"
    return [*folder.glob("received-*"), *folder.glob("release-*"), *folder.rglob(".part-*")]


def _written(course) -> dict:
    """When each file was written that grading writes."""
    folders = (course.root / name for name in ("autograded", "feedback", f".labcheck/{LAB}"))
    paths = [path for folder in folders for path in folder.rglob("*")]
    return {path: path.stat().st_mtime_ns for path in [*paths, course.root / "gradebook.db"]}


def _gradebook(course) -> dict[str, dict]:
    """By student: all that grading has written into the gradebook."""
    entries = {}
    with Gradebook(f"sqlite:///{course.root}/gradebook.db") as gradebook:
        for submission in gradebook.assignment_submissions(LAB):
            (notebook,) = submission.notebooks
            entries[submission.student.id] = {
                "timestamp": submission.timestamp,
                "score": submission.score,
                "max_score": submission.max_score,
                "needs_manual_grade": submission.needs_manual_grade,
                "penalty": notebook.late_submission_penalty,
                "failed_tests": notebook.failed_tests,
                "grades": {
                    grade.name: (grade.auto_score, grade.manual_score, grade.max_score, grade.needs_manual_grade)
                    for grade in notebook.grades
                },
                "comments": {
                    comment.name: (comment.auto_comment, comment.manual_comment) for comment in notebook.comments
                },
            }
    return entries


def _points(entry) -> dict[str, float]:
    """By task: the points from the checks."""
    grades = entry["grades"].items()
    return {name.removeprefix("check-"): grade[0] for name, grade in grades if name.startswith("check-")}
