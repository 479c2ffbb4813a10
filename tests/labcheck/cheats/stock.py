"""Stock nbgrader's column: ``nbgrader autograde`` as it comes, in a box that keeps it from harming this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from nbformat import NotebookNode

from labcheck.course import Course
from labcheck.notebooks import read
from labcheck.pipeline import generate_assignment, nbgrader_config
from tests.labcheck.cheats.oracle import Oracle
from tests.labcheck.cheats.outcome import HONEST, Outcome, accomplice, fingerprint, harm, points_of, scripts, student
from tests.labcheck.cheats.submission import LAB, TASKS, Cheat, hand_in

_REPOSITORY = Path(__file__).parents[3]
_CELL_SECONDS = 10  # nbgrader's default of 30 gives the same grades, and lets what hangs hang longer
_RUN_SECONDS = 90  # for each submission of a run, after which it counts as hung
_TOGETHER = 12  # cheats that harm nobody are graded in runs of this many
_GRADED = f"autograded/{HONEST}"
_MEMORY = 6 * 2**30


def grade(
    course: Course, cheats: tuple[Cheat, ...], room: Path, workers: int = 3, cell_seconds: int = _CELL_SECONDS
) -> dict[str, Outcome]:
    """Grade each cheat by stock nbgrader, beside an honest student graded before.

    Args:
        course: the example course, with the solution executed; it is not changed.
        cheats: the cheats.
        room: an empty folder.
        workers: how many runs at a time.
        cell_seconds: that nbgrader gives a cell.

    Returns:
        Outcomes by the cheat's name.
    """
    solution = read(course.solutions / LAB / f"{LAB}.ipynb")
    template = room / "template"
    shutil.copytree(course.root, template)
    hand_in(solution, template, 0, HONEST, right=TASKS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        generate_assignment(stock_config(template, cell_seconds))
    done = _contained(template, [HONEST], cell_seconds, port=0)
    assert done == {HONEST: True} and points_of(template, HONEST) == 12.0, f"the honest student was not graded: {done}"
    runs = [[cheat] for cheat in cheats if cheat.alone]  # these first: some of them only wait
    harmless = [cheat for cheat in cheats if not cheat.alone]
    runs += [harmless[at : at + _TOGETHER] for at in range(0, len(harmless), _TOGETHER)]
    outcomes: dict[str, Outcome] = {}
    with Oracle() as oracle, ThreadPoolExecutor(workers) as pool:  # the oracle holds the port for those in the boxes
        jobs = [
            pool.submit(_run, template, room / f"run-{n}", solution, run, cell_seconds, oracle.port)
            for n, run in enumerate(runs)
        ]
        for job in jobs:
            outcomes |= job.result()
    return outcomes


def stock_config(root: Path, cell_seconds: int):
    """The course's settings with nbgrader's own autograder."""
    config = nbgrader_config(Course.find(root))
    del config.Autograde
    config.Execute.timeout = cell_seconds
    config.CourseDirectory.assignment_id = LAB
    return config


def _run(
    template: Path, root: Path, solution: NotebookNode, cheats: list[Cheat], cell_seconds: int, port: int
) -> dict[str, Outcome]:
    shutil.copytree(template, root)
    before = fingerprint(root, _GRADED)
    names = []
    for cheat in cheats:
        if cheat.accomplice:
            hand_in(solution, root, port, accomplice(cheat), change=cheat.accomplice)
            names.append(accomplice(cheat))
    for cheat in cheats:
        hand_in(solution, root, port, student(cheat), right=cheat.right, change=cheat.change)
        names.append(student(cheat))
    done = _contained(root, names, cell_seconds, port, pages=[student(cheat) for cheat in cheats if cheat.page])
    harmed = harm(root, before, _GRADED)
    ended = done.pop("ended", "")
    if len(cheats) > 1 and (harmed or ended):
        raise RuntimeError(f"one of {[cheat.name for cheat in cheats]} needs a run of its own: {harmed} {ended}")
    outcomes = {}
    for cheat in cheats:
        graded = done.get(student(cheat), False)
        page = root / "feedback" / student(cheat) / LAB / f"{LAB}.html"
        words = (*((ended,) if ended else ()), *harmed, *(("script in the feedback page",) if scripts(page) else ()))
        outcomes[cheat.name] = Outcome(points_of(root, student(cheat)) if graded else None, words)
    shutil.rmtree(root, ignore_errors=True)
    return outcomes


def _contained(root: Path, students: list[str], cell_seconds: int, port: int, pages=()) -> dict:
    """Run this module in a box; return whether each student was graded, and "ended" if the run did not end well."""
    # What the run needs may itself lie in the folders that are covered.
    visible = [word for path in (str(_REPOSITORY), sys.prefix) for word in ("--ro-bind", path, path)]
    box = [
        "prlimit", f"--as={_MEMORY}", "--core=0", "bwrap", "--unshare-all", "--unshare-user", "--die-with-parent",
        "--new-session", "--cap-drop", "ALL", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc",
        "--tmpfs", "/tmp", "--tmpfs", "/var/tmp", *visible, "--dir", "/tmp/home", "--setenv", "HOME", "/tmp/home",
        "--bind", str(root), str(root), "--setenv", "PYTHONPATH", os.pathsep.join((str(_REPOSITORY), str(root))),
        "--setenv", "OMP_NUM_THREADS", "1", "--chdir", str(root), "--",
        sys.executable, "-m", __name__, str(root), str(cell_seconds), str(port), ",".join(pages), *students,
    ]  # fmt: skip
    process = subprocess.Popen(box, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, errors="replace")
    try:
        out, _ = process.communicate(timeout=_RUN_SECONDS * len(students))
        ended = "" if process.returncode == 0 else "run died"
    except subprocess.TimeoutExpired:
        process.kill()
        out, _ = process.communicate()
        ended = "run hung"
    rows = [line.split() for line in out.splitlines() if line.startswith("graded ")]
    return {name: good == "True" for _, name, good in rows} | ({"ended": ended} if ended else {})


def _main(root: str, cell_seconds: str, port: str, pages: str, *students: str) -> None:
    """Inside the box: autograde these students one after the other."""
    from nbgrader.apps import NbGraderAPI

    warnings.simplefilter("ignore")
    with Oracle(int(port)):
        api = NbGraderAPI(config=stock_config(Path(root), int(cell_seconds)))
        for name in students:
            good = api.autograde(LAB, name, force=True, create=True)["success"]
            if good and name in pages.split(","):
                api.generate_feedback(LAB, name, force=True)
            print("graded", name, good, flush=True)
    os._exit(0)  # a kernel's thread may still wait


if __name__ == "__main__":
    _main(*sys.argv[1:])
