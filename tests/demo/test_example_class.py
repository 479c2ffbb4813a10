"""The example class gets exactly what it deserves; what stock nbgrader gives the same notebooks stands beside."""

import pytest
from nbgrader.api import Gradebook
from nbgrader.apps import NbGraderAPI

from demo.example_class import CLASS, LAB, hand_in, working_folder
from labcheck.course import Course
from labcheck.grading import grade_class
from labcheck.judge import Limits
from labcheck.notebooks import grade_id, read
from labcheck.pipeline import generate_assignment, nbgrader_config
from labcheck.report import collect, write_report

HOME = Course.find()
FULL = HOME.battery(LAB).points()

# What nbgrader 0.9.6 gives without our judge; None where it gives up and the submission has no grade.
# It runs every test in the student's own process, so a cheat that replaces the comparison, or imports the answers,
# gets all points; a loop that ignores interrupts, or a missing check cell, costs the whole submission.
STOCK = {
    "full_marks": FULL,
    "another_way": FULL,
    "partly_right": next(s for s in CLASS if s.student == "partly_right").points(HOME),
    "all_wrong": 0.0,
    "hangs": None,
    "patches": FULL,
    "imports": FULL,
    "damaged": 0.0,
}

pytestmark = pytest.mark.grading


def _class_in(folder):
    course = working_folder(HOME, folder)
    hand_in(HOME, folder / "submitted")
    return course


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    course = _class_in(tmp_path_factory.mktemp("ours"))
    return course, {graded.student: graded for graded in grade_class(course, LAB, limits=Limits(seconds=2.0))}


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    """Points by nbgrader's own autograder, from the automatic tests; None where it gave no grade."""
    course = _class_in(tmp_path_factory.mktemp("stock"))
    config = nbgrader_config(course)
    del config.Autograde
    config.Execute.timeout = 20
    config.CourseDirectory.assignment_id = LAB
    generate_assignment(config)
    api, points = NbGraderAPI(config=config), {}
    for submission in CLASS:
        done = api.autograde(LAB, submission.student, force=True, create=True)["success"]
        points[submission.student] = _auto_score(api, submission.student) if done else None
    return points


def _auto_score(api, student):
    with Gradebook(api.coursedir.db_url) as gradebook:
        return sum(grade.auto_score or 0.0 for grade in gradebook.find_submission_notebook(LAB, LAB, student).grades)


@pytest.mark.parametrize("submission", CLASS, ids=lambda submission: submission.student)
def test_each_submission_gets_what_it_deserves(ours, submission):
    _course, graded = ours
    assert graded[submission.student].error == ""
    assert graded[submission.student].score == submission.points(HOME)


def test_stock_nbgrader_on_the_same_notebooks(ours, stock):
    _course, graded = ours
    print(f"\n{'submission':<14}{'deserves':>10}{'labcheck':>10}{'nbgrader':>10}")
    for s in CLASS:
        print(f"{s.student:<14}{s.points(HOME):>10g}{graded[s.student].score:>10g}{stock[s.student]!s:>10}")
    assert stock == STOCK


def test_report_shows_points_and_reasons(ours, tmp_path):
    course, _graded = ours
    write_report(course, LAB, tmp_path / "index.html", notes={s.student: s.note for s in CLASS})
    page = (tmp_path / "index.html").read_text()
    for submission in CLASS:
        assert f'data-student="{submission.student}">{submission.points(HOME):g} of {FULL:g}<' in page
    assert "timeout: <code>q_sample</code> used up its processor time" in page
    assert "which is not available while" in page
    assert "http" not in page, "the page loads nothing from another host"


def test_feedback_names_no_hidden_source(ours):
    course, _graded = ours
    hidden = (HOME.solutions / LAB / "hidden.py").read_text()
    lines = [line.strip() for line in hidden.splitlines() if line.strip().startswith(("got =", "want =", "expect"))]
    assert len(lines) > 10
    for submission in CLASS:
        page = (course.root / "feedback" / submission.student / LAB / f"{LAB}.html").read_text()
        assert not [line for line in lines if line in page]


def test_verdicts_are_recorded_with_seed_and_versions(ours):
    course, _graded = ours
    for entry in collect(course, LAB):
        assert entry["verdict"]["sandboxed"] is True
        assert {"checks", "noise2data", "torch"} <= entry["verdict"]["versions"].keys()
    seeds = [entry["verdict"]["seed"] for entry in collect(course, LAB)]
    assert len(set(seeds)) == len(seeds)


def test_damaged_notebook_is_rebuilt_in_the_released_shape(ours):
    course, _graded = ours
    rebuilt = read(course.root / "autograded" / "damaged" / LAB / f"{LAB}.ipynb")
    released = read(course.released(LAB))
    names = [grade_id(cell) for cell in released.cells if grade_id(cell)]
    assert [grade_id(cell) for cell in rebuilt.cells if grade_id(cell)] == names
