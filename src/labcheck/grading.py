"""Grading a class: many judges, and one writer of nbgrader's gradebook.

A submission is judged by a function of the submission, the lab and the seed, which shares nothing with any
other (`Grader.verdict`), so any number of processes may do it. Each verdict is kept as soon as there is
one; this process alone then has nbgrader write the gradebook from the kept verdicts. A run that was
interrupted or killed is resumed by the same command: what has a verdict is not judged again, and what stands
in the gradebook is not written again.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import multiprocessing.util
import re
import shutil
import signal
import warnings
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from nbgrader.api import Gradebook, MissingEntry
from nbgrader.apps import NbGraderAPI
from nbgrader.coursedir import CourseDirectory
from sqlalchemy.exc import SAWarning
from tqdm.auto import tqdm

from labcheck.course import Course
from labcheck.grader import Grader
from labcheck.judge import Limits
from labcheck.notebooks import NotebookError, read, reanchor
from labcheck.pipeline import generate_assignment, nbgrader_config
from labcheck.sandbox import require_bubblewrap
from labcheck.submissions import receive

_RAISED = re.compile(r"[\w.]+(Error|Exception|Unavailable|Broken)\b")
_ATTEMPTS = 3  # at a submission during which a judge's process ended
_PR_SET_PDEATHSIG = 1


class Busy(RuntimeError):
    """Another run is grading in the same folder."""


@dataclass(frozen=True)
class Graded:
    """What came of one submission: its score before manual grading, or why there is none."""

    student: str
    score: float | None
    max_score: float | None
    error: str = ""


def grade_class(
    course: Course,
    lab: str,
    *,
    jobs: int = 1,
    walls: bool = True,
    seed: int | None = None,
    limits: Limits | None = None,
    again: bool = False,
) -> list[Graded]:
    """Autograde every submission of a lab and write its feedback.

    Args:
        course: the course; submissions lie in ``submitted/STUDENT/LAB/LAB.ipynb``.
        lab: the lab's name.
        jobs: processes that judge; with one, this process does all, one submission after the other.
        walls: False runs student code unprotected, which each grade records.
        seed: of the checks' arguments; a secret one for each submission if None.
        limits: of the students' code.
        again: grade also what is graded and unchanged.

    Returns:
        One entry a submission, by student. A submission that cannot be graded is one with an error; it costs
        no other submission anything.

    Raises:
        SandboxUnavailable: no sandbox can be had.
        NotebookError: nothing has been handed in.
        Busy: another run is grading in the same folder.
        ValueError: ``jobs`` is not positive.
    """
    if jobs < 1:
        raise ValueError(f"jobs is {jobs}; expected at least 1")
    if walls:
        require_bubblewrap()
    limits = limits or Limits()
    students = sorted(path.parent.name for path in (course.root / "submitted").glob(f"*/{lab}"))
    if not students:
        raise NotebookError(f"{course.root / 'submitted'}: no folder STUDENT/{lab} with a submission in it")
    options = {"walls": walls, "seed": seed, "limits": limits, "again": again}
    with _alone(course), warnings.catch_warnings():
        warnings.simplefilter("ignore", SAWarning)  # nbgrader's own queries warn on every submission
        writer = _Writer(course, lab, walls=walls, seed=seed, limits=limits)
        pools = _Pools(jobs, course.root, lab, options)
        with pools, tqdm(total=len(students), desc=f"grading {lab}", unit="submission") as bar:
            graded = {}
            for student, result in _in_parallel(pools, students, writer):
                graded[student] = result
                bar.update()
    return [graded[student] for student in students]


def _in_parallel(pools, students, writer):
    """Judge, then write, then give feedback; yield (student, Graded) as they are done."""
    waiting, running, attempts = list(reversed(students)), {}, dict.fromkeys(students, 0)
    while waiting or running:
        while waiting and len(running) < 2 * pools.jobs:
            student = waiting.pop()
            running[pools.submit(_judge, student)] = (student, _judge)
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            student, step = running.pop(future)
            try:
                outcome = future.result()
            except BrokenProcessPool:
                attempts[student] += 1
                if attempts[student] < _ATTEMPTS:
                    waiting.append(student)
                else:
                    yield student, Graded(student, None, None, "the judge's process ended")
                continue
            except Exception as error:
                yield student, Graded(student, None, None, f"{type(error).__name__}: {error}")
                continue
            if step is _judge and outcome is None:
                yield student, writer.score(student)
            elif step is _judge and (why := writer.write(student)):
                yield student, Graded(student, None, None, why)
            elif step is _judge:
                running[pools.submit(_give_feedback, student)] = (student, _give_feedback)
            else:
                yield student, Graded(student, None, None, outcome) if outcome else writer.score(student)


class _Writer:
    """The one writer of the gradebook: nbgrader's autograder, with verdicts that are there already."""

    def __init__(self, course, lab, *, walls, seed, limits):
        config = nbgrader_config(course)
        config.Judge.walls, config.Judge.seed = walls, seed
        config.Judge.seconds, config.Judge.memory = limits.seconds, limits.memory
        config.Judge.processes = limits.processes
        _register(config, lab)
        self.lab = lab
        self.api = NbGraderAPI(config=config)

    def write(self, student) -> str:
        """Write a submission's grade; why it could not be done, or nothing."""
        result = self.api.autograde(self.lab, student, force=True, create=True)
        return "" if result["success"] else _reason(result)

    def score(self, student) -> Graded:
        with Gradebook(self.api.coursedir.db_url) as gradebook:
            submission = gradebook.find_submission(self.lab, student)
            return Graded(student, submission.score, submission.max_score)


class _Pools:
    """Processes that judge; a new pool of them where one of them was killed. One job needs no process."""

    def __init__(self, jobs: int, root: Path, lab: str, options: dict):
        self.jobs = jobs
        self.start = (root, lab, options)
        self.pool: Executor | None = None

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)

    def submit(self, function, student) -> Future:
        for _ in range(2):
            self.pool = self.pool or self._new()
            try:
                return self.pool.submit(function, student)
            except BrokenProcessPool:
                self.pool = None
        raise RuntimeError("no process for judging can be started")

    def _new(self):
        if self.jobs == 1:
            return _Inline(self.start)
        context = multiprocessing.get_context("forkserver")  # imports torch once, and forks
        context.set_forkserver_preload(["labcheck.grading"])
        return ProcessPoolExecutor(self.jobs, context, initializer=_begin_process, initargs=self.start)


class _Inline(Executor):
    """Does each task when it is submitted, in this process."""

    def __init__(self, start):
        _begin(*start)

    def submit(self, function, /, *args, **kwargs):
        future = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future

    def shutdown(self, wait=True, *, cancel_futures=False):
        _end()


_here: dict = {}  # of a process that judges: its course, lab, grader


def _begin_process(root, lab, options) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is for the parent, which ends this process
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # no judge outlives a run that was killed
    warnings.simplefilter("ignore", SAWarning)
    _begin(root, lab, options)
    multiprocessing.util.Finalize(None, _end, exitpriority=1)


def _begin(root, lab, options) -> None:
    course = Course.find(root)
    _here.update(course=course, lab=lab, again=options["again"], grader=Grader(course, lab, **options))


def _end() -> None:
    _here["grader"].close()
    _here.clear()


def _judge(student: str) -> str | None:
    """Have a verdict on a submission kept; None where it stands in the gradebook already, with feedback."""
    course, lab, grader = _here["course"], _here["lab"], _here["grader"]
    submitted = course.root / "submitted"
    folder = submitted / student / lab
    received = receive(folder, lab, grader.released, root=submitted)
    notebook = reanchor(received.notebook, grader.released)
    key, _ = grader.verdict(student, notebook)
    if not _here["again"] and _is_graded(course, lab, student, key, folder):
        return None
    return key


def _is_graded(course, lab, student, key, folder) -> bool:
    """Whether the last thing that is written for a submission, its feedback, is there, and of this verdict."""
    autograded = course.root / "autograded" / student / lab
    page = course.root / "feedback" / student / lab / f"{lab}.html"
    try:
        graded = read(autograded / f"{lab}.ipynb").metadata.get("labcheck", {})
    except NotebookError:
        return False
    return (
        graded.get("key") == key
        and page.is_file()
        and page.stat().st_mtime >= (autograded / f"{lab}.ipynb").stat().st_mtime
        and _timestamp(autograded) == _timestamp(folder)
    )


def _timestamp(folder) -> str | None:
    path = folder / "timestamp.txt"
    return path.read_text(errors="replace") if path.is_file() else None


def _give_feedback(student: str) -> str:
    """Write a submission's page of feedback, from the gradebook; why it could not be done, or nothing."""
    if "api" not in _here:
        _here["api"] = NbGraderAPI(config=nbgrader_config(_here["course"]))
    result = _here["api"].generate_feedback(_here["lab"], student, force=True)
    return "" if result["success"] else _reason(result)


@contextlib.contextmanager
def _alone(course):
    """Hold the lock of the working folder; the system lets it go however this process ends."""
    folder = course.root / ".labcheck"
    folder.mkdir(mode=0o700, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"{course.root}: another run is grading here; wait for it, or end it") from None
        yield


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
