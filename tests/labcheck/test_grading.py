"""A whole class: every submission is graded once, whatever ends a run, and none costs another anything."""

import contextlib
import json
import multiprocessing
import os
import signal
import sqlite3
import threading
import time

import nbformat
import psutil
import pytest
from nbgrader.api import Gradebook

import labcheck.gradebook
import labcheck.grader
import labcheck.grading
from labcheck.bubblewrap import SandboxUnavailable
from labcheck.cli import main
from labcheck.course import Course, CourseError
from labcheck.gradebook import _reason
from labcheck.grading import Busy, Graded, _alone, _Work, grade_class
from labcheck.judge import Limits, judge
from labcheck.notebooks import NotebookError, read

LAB = "lab01_numbers"
LOG = """INFO start
Traceback (most recent call last):
  File x
labcheck.course.CourseError: lab: wrong
During handling of the above exception, another exception occurred:
RuntimeError: advice
Check it."""


@pytest.fixture
def submitted(working_copy, hand_in, right_answers) -> Course:
    hand_in(working_copy, "amy", {**right_answers, "open-question": "Because it is."})
    hand_in(working_copy, "bad", "this is no notebook")
    (working_copy.root / "submitted" / "cat" / LAB).mkdir(parents=True)
    hand_in(working_copy, "dan", {"double": right_answers["double"]})
    hand_in(working_copy, "late", right_answers).with_name("timestamp.txt").write_text("no time at all")
    return working_copy


SCORES = {"amy": 4.0, "bad": 0.0, "cat": 0.0, "dan": 3.0, "late": 4.0}


@pytest.fixture
def judged(monkeypatch):
    """The seeds of the submissions that this process has judged."""
    seeds = []

    def counting(*args, **kwargs):
        seeds.append(kwargs["seed"])
        return judge(*args, **kwargs)

    monkeypatch.setattr(labcheck.grader, "judge", counting)
    return seeds


def scores(graded) -> dict:
    assert [g.error for g in graded] == [""] * len(graded)
    return {g.student: g.score for g in graded}


def written(course, student="") -> dict:
    """When each file was written that grading writes, of one student or of all."""
    folders = [course.root / name for name in ("autograded", "feedback", ".labcheck/" + LAB)]
    paths = [path for folder in folders for path in folder.rglob("*") if path.is_file() and student in str(path)]
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}


@pytest.mark.grading
@pytest.mark.parametrize("jobs", [1, 2])
def test_each_submission_is_graded_once_and_broken_ones_are_told_why(submitted, tmp_path, capsys, jobs):
    command = ["--course", str(submitted.root), "grade", LAB, "--seed", "5", "--jobs", str(jobs)]
    assert main(command) == 0
    lines = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert lines == {student: f"{score:g} of 6 points" for student, score in SCORES.items()}
    with Gradebook(f"sqlite:///{submitted.root}/gradebook.db") as gradebook:
        assert {s.student.id: s.score for s in gradebook.assignment_submissions(LAB)} == SCORES
    for student, words in {"bad": "no Jupyter notebook", "cat": f"there is no `{LAB}.ipynb`"}.items():
        notice = read(submitted.root / "autograded" / student / LAB / f"{LAB}.ipynb").cells[0].source
        assert "could not be graded" in notice and words in notice
        assert "could not be graded" in (submitted.root / "feedback" / student / LAB / f"{LAB}.html").read_text()
    assert main(["--course", str(submitted.root), "report", LAB, "--output", str(tmp_path / "report.html")]) == 0
    page = (tmp_path / "report.html").read_text()
    assert 'data-student="amy">4 of 4<' in page and 'data-student="dan">3 of 4<' in page
    assert f'href="course/feedback/amy/{LAB}/{LAB}.html"' in page

    before = written(submitted)
    assert main(command) == 0
    assert written(submitted) == before
    assert sorted(path.name for path in (submitted.root / ".labcheck").iterdir()) == [LAB, "lock", "secret"]


@pytest.mark.grading
def test_the_writer_finds_the_verdict_on_every_notebook_however_awkward(working_copy, right_answers, hand_in, judged):
    released = read(working_copy.released(LAB))
    for number, (student, change) in enumerate(AWKWARD.items()):
        path = hand_in(working_copy, student, {**right_answers, "open-question": f"Reason {number}."})
        change(nbformat.from_dict(json.loads(path.read_text())), path)
    graded = scores(grade_class(working_copy, LAB))
    assert graded == dict.fromkeys(AWKWARD, 4.0)
    assert len(judged) == len(set(judged)) == len(AWKWARD)
    names = [cell.id for cell in released.cells]
    for student in AWKWARD:
        notebook = read(working_copy.root / "autograded" / student / LAB / f"{LAB}.ipynb")
        assert [cell.id for cell in notebook.cells if cell.id in names] == names
    grade_class(working_copy, LAB)
    assert len(judged) == len(AWKWARD), "nor is any of them taken for a new one"


def _raw(notebook, path, minor=5):
    """Write what nbformat would refuse to."""
    path.write_text(json.dumps({**notebook, "nbformat_minor": minor}))


def _without_ids(notebook, path):
    for number, cell in enumerate(notebook.cells):
        cell.metadata = {"id": f"c/{number}"}
        del cell["id"]
    _raw(notebook, path, 0)


def _same_ids(notebook, path):
    for cell in notebook.cells:
        cell.id = "one and the same!"
    _raw(notebook, path)


def _line_ends(notebook, path):
    for cell in notebook.cells:
        cell.source = cell.source.replace("\n", "\r\n") + "  \r\n\r\n"
    _raw(notebook, path)


def _odd_characters(notebook, path):
    notebook.cells += [
        nbformat.v4.new_code_cell("y = '\ud800\0'"),
        nbformat.v4.new_code_cell("x = '\x0b\x0c\x1c\x85\u2028\u2029'\n\n"),
        nbformat.v4.new_code_cell(""), nbformat.v4.new_code_cell("\n"), nbformat.v4.new_raw_cell("raw\r\x0ctext"),
        nbformat.v4.new_markdown_cell("text\u2028text\x0b"), nbformat.v4.new_code_cell("z = (", id="x" * 64),
        nbformat.v4.new_code_cell("%matplotlib inline\n!ls\nw = 3"),
    ]  # fmt: skip
    notebook.cells[-1].id = "c/1"
    _raw(notebook, path)


def _odd_cells(notebook, path):
    cells = [{"cell_type": "code"}, {"cell_type": 3, "source": 4}, "cell", None, {"cell_type": "code", "source": {}}]
    notebook.cells = [*cells, *notebook.cells, {"cell_type": "heading", "level": 2, "source": ["a ", "b"]}]
    _raw({**notebook, "metadata": []}, path)


AWKWARD = {
    "as_it_is": nbformat.write,
    "without_ids": _without_ids,
    "same_ids": _same_ids,
    "line_ends": _line_ends,
    "odd_characters": _odd_characters,
    "odd_cells": _odd_cells,
    "old": lambda notebook, path: nbformat.write(notebook, path, version=3),
    "renamed": lambda notebook, path: path.rename(path.with_name("Copy of it.ipynb")),
}


@pytest.mark.grading
def test_what_was_handed_in_anew_is_written_anew_and_judged_where_its_code_changed(
    submitted, hand_in, right_answers, judged
):
    (submitted.root / "submitted" / "amy" / LAB / "picture.txt").write_text("one")
    assert scores(grade_class(submitted, LAB)) == SCORES
    changes = {
        "amy": lambda folder: (folder / "picture.txt").write_text("two"),
        "dan": lambda folder: hand_in(submitted, "dan", {"double": right_answers["double"], "open-question": "Since."}),
        "late": lambda folder: (folder / "timestamp.txt").write_text("2030-01-01 10:00:00 UTC"),
    }
    for student, change in changes.items():
        before, count = written(submitted), len(judged)
        change(submitted.root / "submitted" / student / LAB)
        assert scores(grade_class(submitted, LAB)) == SCORES
        assert len(judged) == count, "the code is the same"
        changed = {path for path, when in written(submitted).items() if before.get(path) != when}
        assert {path.parts[-3] for path in changed} == {student}
    autograded = submitted.root / "autograded"
    assert (autograded / "amy" / LAB / "picture.txt").read_text() == "two"
    assert "Since." in (autograded / "dan" / LAB / f"{LAB}.ipynb").read_text()
    with Gradebook(f"sqlite:///{submitted.root}/gradebook.db") as gradebook:
        assert gradebook.find_submission(LAB, "late").timestamp.year == 2030

    count = len(judged)
    hand_in(submitted, "dan", right_answers)
    assert scores(grade_class(submitted, LAB)) == {**SCORES, "dan": 4.0}
    assert len(judged) == count + 1


@pytest.mark.grading
def test_grading_again_judges_everybody_and_gives_the_same_verdicts(submitted, judged):
    def verdicts():
        return {path.name: path.read_bytes() for path in (submitted.root / ".labcheck" / LAB).iterdir()}

    grade_class(submitted, LAB)
    before, first = verdicts(), sorted(judged)
    assert len(before) == len(SCORES)
    assert scores(grade_class(submitted, LAB, again=True)) == SCORES
    assert verdicts() == before and sorted(judged) == sorted(first * 2)


@pytest.mark.grading
def test_what_is_missing_is_written_again_without_judging(submitted, judged):
    grade_class(submitted, LAB)
    count = len(judged)
    (submitted.root / "feedback" / "amy" / LAB / f"{LAB}.html").unlink()
    (submitted.root / "autograded" / "dan" / LAB / f"{LAB}.ipynb").write_text("{")
    with contextlib.closing(sqlite3.connect(submitted.root / "gradebook.db")) as book:
        book.execute("DELETE FROM source_cell WHERE id IN (SELECT id FROM base_cell WHERE name = 'open-question')")
        book.commit()
    assert scores(grade_class(submitted, LAB)) == SCORES
    assert (submitted.root / "feedback" / "amy" / LAB / f"{LAB}.html").is_file()
    (submitted.root / "gradebook.db").unlink()
    assert scores(grade_class(submitted, LAB)) == SCORES
    assert len(judged) == count


@pytest.mark.grading
def test_a_judges_process_that_is_killed_costs_nobody_anything(working_copy, hand_in, right_answers):
    slow = f"import time\ntime.sleep(1)\n\n{right_answers['double']}"
    for number in range(6):
        hand_in(working_copy, f"s{number}", {**right_answers, "double": slow})
    killed = []

    def kill():
        while len(killed) < 2:
            time.sleep(0.2)
            judged = list((working_copy.root / ".labcheck").glob(f"{LAB}/s*.json"))
            processes = multiprocessing.active_children()  # none while a new pool is made
            if len(judged) > len(killed) and processes:
                processes[-1].kill()
                killed.append(processes[-1])

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    assert scores(grade_class(working_copy, LAB, jobs=2)) == {f"s{number}": 4.0 for number in range(6)}
    thread.join(1)
    assert len(killed) == 2


@pytest.mark.grading
def test_a_submission_that_ends_every_process_takes_nobody_with_it(submitted, monkeypatch):
    receive = labcheck.grading.receive

    def deadly(folder, *args, **kwargs):
        return os.kill(os.getpid(), signal.SIGKILL) if folder.parent.name == "cat" else receive(folder, *args, **kwargs)

    monkeypatch.setattr(labcheck.grading, "receive", deadly)
    graded = {g.student: g for g in grade_class(submitted, LAB, jobs=2)}
    assert graded.pop("cat") == Graded("cat", None, None, "the judge's process ended")
    assert scores(graded.values()) == {student: score for student, score in SCORES.items() if student != "cat"}


@pytest.mark.grading
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_ends_quietly_and_the_same_command_goes_on(submitted, monkeypatch, capfd, jobs, interruptible):
    hand_over = labcheck.gradebook.Nbgrader.write_grade

    def interrupted(self, student):
        why = hand_over(self, student)
        if student == "bad":
            os.kill(os.getpid(), signal.SIGINT)
        return why

    command = ["--course", str(submitted.root), "grade", LAB, "--jobs", jobs]
    with monkeypatch.context() as patch:
        patch.setattr(labcheck.gradebook.Nbgrader, "write_grade", interrupted)
        assert main(command) == 130
    assert multiprocessing.active_children() == []
    err = capfd.readouterr().err
    assert err.endswith("\nlabcheck: interrupted; the same command goes on where it was\n") and "Traceback" not in err
    before = written(submitted)
    assert main(command) == 0
    assert {path: when for path, when in written(submitted).items() if path in before}.items() >= {
        path: when for path, when in before.items() if path.suffix == ".json"
    }.items()


@pytest.fixture
def interruptible():
    """Ctrl+C as in a terminal, also where the tests were started in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.grading
def test_ctrl_c_waits_until_nbgrader_has_written_a_grade(submitted, monkeypatch, interruptible):
    start = labcheck.gradebook._Autograde.start

    def interrupted(self):
        os.kill(os.getpid(), signal.SIGINT)
        start(self)

    monkeypatch.setattr(labcheck.gradebook._Autograde, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        grade_class(submitted, LAB)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with Gradebook(f"sqlite:///{submitted.root}/gradebook.db") as gradebook:
        assert [(s.student.id, s.score) for s in gradebook.assignment_submissions(LAB)] == [("amy", 4.0)]


@pytest.mark.grading
def test_judging_keeps_nothing_of_a_submission(submitted):
    """Less than 16 kB each, after the first ten."""
    work = _Work(submitted, LAB, True, True, walls=True, seed=None, limits=Limits())
    sizes = []
    try:
        for number in range(60):
            work.judge(list(SCORES)[number % len(SCORES)])
            sizes.append(psutil.Process().memory_info().rss)
    finally:
        work.grader.close()
    assert sizes[-1] - sizes[10] < 50 * 16e3


@pytest.mark.grading
def test_two_runs_at_once_are_one_too_many(submitted, capsys):
    with _alone(submitted):
        with pytest.raises(Busy, match="another run is grading here"):
            grade_class(submitted, LAB)
        assert main(["--course", str(submitted.root), "grade", LAB]) == 2
    assert (
        capsys.readouterr().err == f"labcheck: {submitted.root}: another run is grading here; wait for it, or end it\n"
    )
    assert scores(grade_class(submitted, LAB)) == SCORES, "the lock has gone with who held it"


@pytest.mark.grading
def test_what_a_killed_run_has_left_is_removed_once_it_is_old(submitted):
    folder = submitted.root / ".labcheck"
    old, new = ([folder / f"received-{age}", folder / LAB / f".part-{age}"] for age in ("old", "new"))
    (folder / LAB).mkdir(parents=True)
    for room, part in (old, new):
        (room / "amy").mkdir(parents=True)
        part.touch()
    for path in old:
        os.utime(path, (0, 0))
    grade_class(submitted, LAB)
    assert [path.exists() for path in (*old, *new)] == [False, False, True, True]


@pytest.mark.grading
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_release_with_other_points_than_the_checks_is_one_error(submitted, capsys, jobs):
    path = submitted.released(LAB)
    path.write_text(path.read_text().replace('"points": 3', '"points": 7'))
    with pytest.raises(CourseError, match="the points of check cells are not those of the checks"):
        grade_class(submitted, LAB, jobs=jobs)


@pytest.mark.grading
def test_grading_without_walls_is_recorded_with_the_grade(working_copy, hand_in, right_answers):
    hand_in(working_copy, "amy", right_answers)
    assert grade_class(working_copy, LAB, walls=False, seed=5, limits=Limits(3.0)) == [Graded("amy", 4.0, 6.0)]
    assert read(working_copy.root / "autograded" / "amy" / LAB / f"{LAB}.ipynb").metadata.labcheck.sandboxed is False


@pytest.mark.grading
def test_feedback_can_be_left_for_later(working_copy, hand_in, right_answers):
    hand_in(working_copy, "amy", right_answers)
    for _ in range(2):
        assert scores(grade_class(working_copy, LAB, feedback=False)) == {"amy": 4.0}
    assert not (working_copy.root / "feedback").exists()
    before = written(working_copy)
    assert scores(grade_class(working_copy, LAB)) == {"amy": 4.0}
    assert (working_copy.root / "feedback" / "amy" / LAB / f"{LAB}.html").is_file()
    verdict = working_copy.root / ".labcheck" / LAB / "amy.json"
    assert written(working_copy)[verdict] == before[verdict]


@pytest.mark.grading
def test_a_class_that_handed_in_nothing_is_told_so(working_copy):
    (working_copy.root / "submitted" / ".ipynb_checkpoints" / LAB).mkdir(parents=True)
    with pytest.raises(NotebookError, match=f"no folder STUDENT/{LAB} with a submission in it"):
        grade_class(working_copy, LAB)


def test_no_sandbox_no_grading(unbuilt, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxUnavailable):
        grade_class(unbuilt, LAB)
    assert not (unbuilt.root / "gradebook.db").exists()
    assert main(["--course", str(unbuilt.root), "grade", LAB]) == 2
    assert capsys.readouterr().err.startswith("labcheck: bubblewrap is not installed: install it")


@pytest.mark.parametrize("option", [("--jobs", "0"), ("--jobs", "-2"), ("--seconds", "0"), ("--seconds", "nan")])
def test_numbers_that_make_no_sense_are_refused_by_name(unbuilt, capsys, option):
    with pytest.raises(SystemExit):
        main(["--course", str(unbuilt.root), "grade", LAB, *option])
    assert f"argument {option[0]}: invalid positive" in capsys.readouterr().err
    with pytest.raises(ValueError, match="jobs is 0; expected at least 1"):
        grade_class(unbuilt, LAB, jobs=0)


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ({"log": LOG}, "labcheck.course.CourseError: lab: wrong"),
        ({"log": "one\nlast words"}, "last words"),
        ({"log": "", "error": "ValueError: no"}, "ValueError: no"),
        ({"log": None, "error": None}, "nbgrader gave no reason"),
        ({}, "nbgrader gave no reason"),
    ],
)
def test_the_reason_is_nbgraders_own_words(result, reason):
    assert _reason(result) == reason
