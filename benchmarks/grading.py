"""``make bench-grading``: what grading a submission costs, beside ``nbgrader autograde`` on the same submissions.

The submissions of lab 4 are honest: the solution, with right answers from the bank in tests/mutants. Processor time is
that of all processes, sandboxes included; each figure is the median over the rounds, in which the runs alternate.
Below them stands what the walls alone cost: a check that asks nothing, as many times as the lab has checks.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import ctypes
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat

from demo.example_class import LAB, with_answers, working_folder
from labcheck.checks import Battery, Check
from labcheck.course import Course
from labcheck.judge import judge, sandbox_for
from labcheck.mutants import bank
from labcheck.notebooks import read, top_level_imports

_PR_SET_CHILD_SUBREAPER = 36
_EMPTY_CHECKS = 200
_STOCK = "\ndel c.Autograde\n"  # nbgrader as it comes: it executes the notebook with its tests in one process


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-grading", description=__doc__)
    parser.add_argument("--submissions", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--stock", type=int, default=3, help="submissions that nbgrader grades, once (default: 3)")
    args = parser.parse_args()
    # What the sandbox starts becomes a child of this process when its parent ends, and so is counted.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    sizes = {(jobs, n) for jobs in (1, 2) for n in (1, args.submissions)}
    runs = [{(jobs, n): _measure(n, jobs) for jobs, n in sizes} for _ in range(args.rounds)]
    ours = {size: [statistics.median(run[size][i] for run in runs) for i in (0, 1)] for size in sizes}
    print(_table(args, ours, _measure(args.stock, 0)))
    checks = len(Course.find().battery(LAB).checks)
    walls = statistics.median(_empty_check() for _ in range(args.rounds))
    print(
        f"the walls alone: {1e3 * walls:.1f} ms of CPU a check, {checks * walls:.2f} s for the {checks} checks of {LAB}"
    )


def _measure(submissions: int, jobs: int) -> tuple[float, float]:
    """Wall and processor seconds of grading a number of submissions; with 0 jobs by nbgrader alone."""
    with tempfile.TemporaryDirectory() as room:
        course = working_folder(Course.find(), Path(room))
        if not jobs:
            with open(course.root / "nbgrader_config.py", "a") as config:
                config.write(_STOCK)
        _hand_in(course, submissions)
        _run(course, "nbgrader", "generate_assignment", LAB)
        start, used = time.perf_counter(), _processor_seconds()
        if jobs:
            _run(course, "labcheck", "grade", LAB, "--no-feedback", "--jobs", str(jobs))
        else:
            _run(course, "nbgrader", "autograde", LAB)
        wall = time.perf_counter() - start
        _wait_for_all()
        return wall, _processor_seconds() - used


def _empty_check() -> float:
    """Processor seconds of a check that asks nothing: forking the process that has loaded the cells, and ending it."""
    course = Course.find()
    warm = top_level_imports(read(course.released(LAB)))
    used = []
    for n in (1, 1 + _EMPTY_CHECKS):
        battery = Battery(LAB, fixtures=course.battery(LAB).fixtures)
        battery.checks = [Check("nothing", f"check{i}", 1.0, False, lambda answer, rng: None) for i in range(n)]
        before = _processor_seconds()
        with sandbox_for(battery, packages=[course.package], warm=warm) as sandbox:
            verdict = judge(battery, [], sandbox)
        assert verdict.score == n, verdict
        _wait_for_all()
        used.append(_processor_seconds() - before)
    return (used[1] - used[0]) / _EMPTY_CHECKS


def _hand_in(course: Course, submissions: int) -> None:
    solution = read(course.solutions / LAB / f"{LAB}.ipynb")
    home = Course.find()
    right: dict[str, list] = {}
    for mutant in bank(home, LAB):
        if mutant.right:
            right.setdefault(mutant.task, []).append(mutant.source())
    for number in range(submissions):
        answers = {task: sources[number % len(sources)] for task, sources in right.items()} if number else {}
        notebook = with_answers(copy.deepcopy(solution), answers)
        path = course.root / "submitted" / f"student{number:03}" / LAB / f"{LAB}.ipynb"
        path.parent.mkdir(parents=True)
        nbformat.write(notebook, path)


def _run(course: Course, command: str, *arguments: str) -> None:
    program = shutil.which(command, path=Path(sys.executable).parent)
    done = subprocess.run([program, *arguments], cwd=course.root, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{command} {' '.join(arguments)} failed:\n{done.stderr}")


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _wait_for_all() -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


def _table(args, ours, stock) -> str:
    """The figures, and what each submission costs: everything counted, and beyond the first."""
    n = args.submissions
    rows = [
        f"{n} honest submissions of {LAB}, median of {args.rounds} rounds; {args.stock} for nbgrader autograde, once",
        f"{'':24}{'wall s':>9}{'CPU s':>9}{'CPU s each':>12}{'CPU s each further':>20}",
    ]
    for jobs in (1, 2):
        (wall, used), (_, first) = ours[jobs, n], ours[jobs, 1]
        further = (used - first) / (n - 1)
        rows.append(f"{f'labcheck, {jobs} jobs':24}{wall:9.2f}{used:9.2f}{used / n:12.2f}{further:20.2f}")
    rows.append(f"{'nbgrader autograde':24}{stock[0]:9.2f}{stock[1]:9.2f}{stock[1] / args.stock:12.2f}")
    walls = {jobs: ours[jobs, n][0] for jobs in (1, 2)}
    further = {jobs: ours[jobs, n][0] - ours[jobs, 1][0] for jobs in (1, 2)}
    each = stock[0] / args.stock
    rows += [
        f"the second core: {walls[1] / walls[2]:.2f} times as fast; {further[1] / further[2]:.2f} beyond the first",
        *(f"throughput, {jobs} jobs: {each / (walls[jobs] / n):.1f} times nbgrader autograde's" for jobs in (1, 2)),
    ]
    return "\n".join(rows)


if __name__ == "__main__":
    main()
