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
import gc
import multiprocessing.util
import os
import shutil
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from nbformat import NotebookNode
from nbgrader.utils import parse_utc
from sqlalchemy.exc import SAWarning
from tqdm.auto import tqdm

from labcheck.bubblewrap import require_bubblewrap
from labcheck.course import Course
from labcheck.gradebook import Nbgrader
from labcheck.grader import Grader
from labcheck.judge import Limits
from labcheck.nbgrader import limits_of
from labcheck.notebooks import NotebookError, read, reanchor
from labcheck.submissions import receive

_ATTEMPTS = 3  # at a submission during which a judge's process ended
_STALE = 24 * 3600.0  # seconds after which what a killed run has left half written is nobody's any more
_FOLDER = ".labcheck"
_TIMESTAMP = Path("timestamp.txt")
_PR_SET_PDEATHSIG = 1
_Step = Callable[[str], bool | str]  # of a student's submission: `_judge` or `_give_feedback`


class Busy(OSError):
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
    feedback: bool = True,
) -> list[Graded]:
    """Autograde every submission of a lab and write its feedback.

    Args:
        course: the course; submissions lie in ``submitted/STUDENT/LAB/LAB.ipynb``.
        lab: the lab's name.
        jobs: processes that judge; with one, this process does all, one submission after the other.
        walls: False runs student code unprotected, which each grade records.
        seed: of the checks' arguments; a secret one for each submission if None.
        limits: of the students' code; those of the course's nbgrader_config.py if None.
        again: grade also what is graded and unchanged.
        feedback: write each submission's page; False leaves that to nbgrader, after grading by hand, say.

    Returns:
        One entry a submission, by student. A submission that cannot be graded is one with an error; it costs
        no other submission anything.

    Raises:
        SandboxUnavailable: no sandbox can be had.
        NotebookError: nothing has been handed in.
        CourseError: the release is older than the checks, and carries other points.
        Busy: another run is grading in the same folder.
        ValueError: ``jobs`` is not positive.
    """
    if jobs < 1:
        raise ValueError(f"jobs is {jobs}; expected at least 1")
    if walls:
        require_bubblewrap()
    limits = limits or limits_of(course)
    students = sorted(path.parent.name for path in (course.root / "submitted").glob(f"[!.]*/{lab}"))
    if not students:
        raise NotebookError(f"{course.root / 'submitted'}: no folder STUDENT/{lab} with a submission in it")
    with _alone(course), warnings.catch_warnings():
        warnings.simplefilter("ignore", SAWarning)  # nbgrader's own queries warn on every submission
        _sweep(course)
        _here["work"] = work = _Work(course, lab, feedback, again, walls=walls, seed=seed, limits=limits)
        try:
            with _Pools(jobs) as pools:  # forks before there are threads and files
                work.nbgrader.register()
                graded = {}
                with tqdm(total=len(students), desc=f"grading {lab}", unit="submission") as bar:
                    for student, result in _in_parallel(pools, students, work):
                        graded[student] = result
                        bar.update()
        finally:
            _end()
    return [graded[student] for student in students]


def _in_parallel(pools: _Pools, students: list[str], work: _Work) -> Iterator[tuple[str, Graded]]:
    """Judge, then write, then give feedback; yield (student, Graded) as they are done."""
    waiting, attempts = list(reversed(students)), dict.fromkeys(students, 0)
    running: dict[Future[Any], tuple[str, _Step]] = {}

    def may_start() -> bool:
        # What may have ended a process is tried again alone, so that it takes nobody else with it.
        suspect = any(attempts[student] for student in (waiting[-1], *(student for student, _ in running.values())))
        return len(running) < (1 if suspect else 2 * pools.jobs)

    while waiting or running:
        while waiting and may_start():
            student = waiting.pop()
            running[pools.submit(_judge, student)] = (student, _judge)
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in [future for future in running if future in done]:  # in the order of the students
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
            if step is _judge and not (outcome and work.nbgrader.score(student)):
                why = work.nbgrader.write_grade(student)
                if not why and work.feedback:
                    running[pools.submit(_give_feedback, student)] = (student, _give_feedback)
                    continue
            else:
                why = outcome if step is _give_feedback else ""
            if why:
                yield student, Graded(student, None, None, why)
                continue
            score = work.nbgrader.score(student)
            assert score is not None  # it stands in the gradebook
            yield student, Graded(student, *score)


class _Work:
    """What a process needs to judge submissions and to give feedback; made once, before processes are forked.

    Args:
        course, lab, feedback, again: as of `grade_class`.
        options: of the grader and the gradebook, walls, seed and limits.
    """

    def __init__(self, course: Course, lab: str, feedback: bool, again: bool, **options: Any) -> None:
        self.course, self.lab, self.feedback, self.again = course, lab, feedback, again
        self.grader = Grader(course, lab, again=again, **options)
        self.nbgrader = Nbgrader(course, lab, **options)

    def judge(self, student: str) -> bool:
        """Have a verdict on a submission kept; whether all that follows from it is written already."""
        submitted = self.course.root / "submitted"
        received = receive(submitted / student / self.lab, self.lab, self.grader.released, root=submitted)
        notebook = reanchor(received.notebook, self.grader.released)
        key, _ = self.grader.verdict(student, notebook)
        return not self.again and self._is_written(student, key, notebook, received.files)

    def _is_written(self, student: str, key: str, notebook: NotebookNode, files: list[Path]) -> bool:
        """Whether the last things that are written for a submission are there, and of this submission and verdict."""
        folders = (self.course.root / name / student / self.lab for name in ("submitted", "autograded", "feedback"))
        submitted, autograded, feedback = folders
        path = autograded / f"{self.lab}.ipynb"
        try:
            graded = read(path)
        except NotebookError:
            return False
        return (
            graded.metadata.get("labcheck", {}).get("key") == key
            and _content(graded) == _content(notebook)
            and all(_is_newer(autograded / file, submitted / file) for file in files if file != _TIMESTAMP)
            and _timestamp(autograded) == (_timestamp(submitted) if _TIMESTAMP in files else None)
            and (not self.feedback or _is_newer(feedback / f"{self.lab}.html", path))
        )


class _Pools:
    """Processes that judge; a new pool of them where one of them was killed. One job needs no process."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self.processes: list[multiprocessing.process.BaseProcess] = []

    def __enter__(self) -> Self:
        gc.collect()
        gc.freeze()  # what is here stays: collecting costs little then, and copies no page of a forked process
        self.pool = self._new()
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        if kind is not None:  # Ctrl+C, say: nobody waits for what is being judged
            for process in self.processes:
                process.kill()
        self.pool.shutdown(cancel_futures=True)
        gc.unfreeze()

    def submit(self, function: _Step, student: str) -> Future[Any]:
        try:
            return self.pool.submit(function, student)
        except BrokenProcessPool:
            self.pool = self._new()
            return self.pool.submit(function, student)

    def _new(self) -> Executor:
        if self.jobs == 1:
            return _Inline()
        context = multiprocessing.get_context("fork")  # so that torch, which is here, is not imported again
        pool = ProcessPoolExecutor(self.jobs, context, initializer=_begin_process, initargs=(os.getpid(),))
        others = multiprocessing.active_children()
        pool.submit(int)  # the first task makes it start its processes
        self.processes = [process for process in multiprocessing.active_children() if process not in others]
        return pool


class _Inline(Executor):
    """Does each task when it is submitted, in this process."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


_here: dict[str, _Work] = {}  # the work of this process, under "work"


def _begin_process(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is for the parent, which ends this process
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # no judge outlives a run that was killed
    if os.getppid() != parent:  # killed before the call
        os._exit(1)
    multiprocessing.util.Finalize(None, _end, exitpriority=1)


def _end() -> None:
    _here.pop("work").grader.close()


def _judge(student: str) -> bool:
    return _here["work"].judge(student)


def _give_feedback(student: str) -> str:
    return _here["work"].nbgrader.write_feedback(student)


def _content(notebook: NotebookNode) -> list[tuple[Any, ...]]:
    """What the student may have written, text included."""
    return [(cell.cell_type, cell.source, cell.get("attachments")) for cell in notebook.cells]


def _is_newer(path: Path, other: Path) -> bool:
    """Whether a file was written after another was put where it is, which its own times may not tell."""
    return path.is_file() and path.stat().st_mtime >= other.stat().st_ctime


def _timestamp(folder: Path) -> datetime | None:
    """When a submission was handed in, if that can be read; `labcheck.intake` passes on nothing else."""
    try:
        handed_in: datetime = parse_utc((folder / _TIMESTAMP).read_text(errors="replace").strip())
        return handed_in
    except (OSError, ValueError, OverflowError):
        return None


@contextlib.contextmanager
def _alone(course: Course) -> Iterator[None]:
    """Hold the lock of the working folder; the system lets it go however this process ends."""
    folder = course.root / _FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    with open(folder / "lock", "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"{course.root}: another run is grading here; wait for it, or end it") from None
        yield


def _sweep(course: Course) -> None:
    """Remove what runs that were killed have left half written, but nothing that nbgrader may be writing just now."""
    for pattern in ("received-*", "*/.part-*", ".part-*", "release-*"):
        for path in (course.root / _FOLDER).glob(pattern):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.lstat().st_mtime > _STALE:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
