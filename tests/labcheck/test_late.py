"""Late penalties, alone and through nbgrader's gradebook."""

import math
import shutil
import subprocess

import nbformat
import pytest
from nbgrader.api import Gradebook
from nbgrader.preprocessors import AssignLatePenalties
from traitlets import TraitError
from traitlets.config import Config

from labcheck.late import PerDay, outdated

pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")  # of nbgrader's own queries

LAB = "lab01_numbers"
HOUR, DAY = 3600, 86400
SETTINGS = """
c.AssignLatePenalties.plugin_class = "labcheck.late.PerDay"
c.PerDay.share = 0.1
c.PerDay.grace_hours = 2
c.GenerateFeedback.preprocessors = [
    "nbgrader.preprocessors.AssignLatePenalties",
    "nbgrader.preprocessors.GetGrades",
    "nbconvert.preprocessors.CSSHTMLHeaderPreprocessor",
]
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A gradebook: one assignment of two notebooks, each with a task of 10 points and a text of 10."""
    path = tmp_path_factory.mktemp("late") / "gradebook.db"
    with Gradebook(f"sqlite:///{path}") as gradebook:
        gradebook.add_assignment("lab", duedate="2026-03-01 23:59 Europe/Berlin")
        for notebook in ("one", "two"):
            gradebook.add_notebook(notebook, "lab")
            gradebook.add_grade_cell("task", notebook, "lab", max_score=10, cell_type="code")
            gradebook.add_grade_cell("text", notebook, "lab", max_score=10, cell_type="markdown")
            gradebook.add_solution_cell("text", notebook, "lab")
        gradebook.add_student("ada")
    return path


@pytest.fixture
def url(template, tmp_path) -> str:
    """A copy of that gradebook, for one test."""
    return f"sqlite:///{shutil.copy(template, tmp_path)}"


def hand_in(url, timestamp, *, task=10.0):
    """A submission as the autograder leaves it: tasks scored, texts waiting for a grader."""
    with Gradebook(url) as gradebook:
        gradebook.update_or_create_submission("lab", "ada", timestamp=timestamp)
        for notebook in ("one", "two"):
            grade = gradebook.find_grade("task", notebook, "lab", "ada")
            grade.auto_score, grade.needs_manual_grade = task, False
        gradebook.db.commit()


def grade_text(url, points, notebook="one"):
    """What the form grader does when a grader types a score."""
    with Gradebook(url) as gradebook:
        grade = gradebook.find_grade("text", notebook, "lab", "ada")
        grade.manual_score, grade.needs_manual_grade = points, False
        gradebook.db.commit()


def assign(url, **settings) -> list:
    """Run nbgrader's preprocessor over both notebooks; the penalties that the gradebook has then."""
    config = Config(PerDay=settings, AssignLatePenalties={"plugin_class": "labcheck.late.PerDay"})
    for notebook in ("one", "two"):
        about = {"notebook": notebook, "assignment": "lab", "student": "ada", "db_url": url}
        AssignLatePenalties(config=config).preprocess(nbformat.v4.new_notebook(), {"nbgrader": about})
    with Gradebook(url) as gradebook:
        return [notebook.late_submission_penalty for notebook in gradebook.find_submission("lab", "ada").notebooks]


def is_outdated(url, **settings) -> bool:
    with Gradebook(url) as gradebook:
        return outdated(gradebook.find_submission("lab", "ada"), PerDay(**settings))


@pytest.mark.parametrize(
    ("seconds", "penalty"),
    [(1, None), (2 * HOUR, None), (2 * HOUR + 1, 2), (2 * HOUR + DAY, 2), (2 * HOUR + DAY + 0.001, 4), (30 * DAY, 10)],
)
def test_each_day_begun_after_the_grace_period_costs_a_share_up_to_the_cap(seconds, penalty):
    plugin = PerDay(share=0.1, grace_hours=2, cap=0.5)
    assert plugin.late_submission_penalty("ada", 20.0, seconds) == (None if penalty is None else pytest.approx(penalty))


def test_without_a_cap_the_whole_score_can_go_and_no_more():
    plugin = PerDay(share=0.4)
    assert [plugin.late_submission_penalty("ada", 5.0, days * DAY) for days in (1, 2, 3, 9)] == [2, 4, 5, 5]
    assert plugin.late_submission_penalty("ada", 0.0, DAY) == 0


def test_nothing_is_taken_unless_a_share_is_set():
    assert PerDay().late_submission_penalty("ada", 10.0, 99 * DAY) is None
    assert PerDay(share=0.1, cap=0).late_submission_penalty("ada", 10.0, 99 * DAY) is None


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("share", 10, "a share of the score from 0 to 1 (0.1 for 10 %)"),
        ("share", -0.1, "a share of the score from 0 to 1 (0.1 for 10 %)"),
        ("share", math.nan, "a share of the score from 0 to 1 (0.1 for 10 %)"),
        ("cap", 1.5, "a share of the score from 0 to 1 (0.1 for 10 %)"),
        ("grace_hours", -1, "hours, zero or more"),
        ("grace_hours", math.inf, "hours, zero or more"),
    ],
)
def test_a_wrong_setting_is_named_with_its_value(name, value, expected):
    with pytest.raises(TraitError) as error:
        PerDay(config=Config(PerDay={name: value}))
    assert str(error.value) == f"PerDay.{name} is {value:g}: expected {expected}"


@pytest.mark.parametrize(
    ("timestamp", "penalties"),
    [
        ("2026-03-01 22:59:00.000000 UTC", [None, None]),  # the due date itself
        ("2026-03-01 22:59:01.000000 UTC", [1, 1]),
        ("2026-03-01 23:30:00+01:00", [None, None]),
        ("2026-03-01 23:30:00-01:00", [1, 1]),
        ("2026-03-02 23:00:00 UTC", [2, 2]),
        (None, [None, None]),
    ],
)
def test_lateness_is_counted_across_time_zones(url, timestamp, penalties):
    hand_in(url, timestamp)
    assert assign(url, share=0.1) == penalties


def test_due_dates_are_read_as_the_docstring_says(url):
    def due(text):
        with Gradebook(url) as gradebook:
            return gradebook.update_or_create_assignment("lab", duedate=text).duedate.strftime("%d %H:%M:%S")

    assert due("2026-03-01 23:59") == "01 23:59:00"
    assert due("2026-03-01 23:59+01:00") == due("2026-03-01 23:59 Europe/Berlin") == "01 22:59:00"
    assert due("2026-03-01 23:59 +0100") == "01 23:57:20", "nbgrader's reading, which the docstring warns of"
    assert due("2026-03-01 23:59 Berlin") == "01 23:59:00", "nbgrader's reading, which the docstring warns of"


def test_a_score_of_zero_stays_zero(url):
    hand_in(url, "2026-04-01 12:00 UTC", task=0.0)
    assert assign(url, share=1.0) == [0, 0]


def test_an_extension_takes_the_penalty_back_when_it_is_computed_again(url):
    hand_in(url, "2026-03-03 12:00 UTC")
    assert assign(url, share=0.1) == [2, 2]
    with Gradebook(url) as gradebook:
        gradebook.grant_extension("lab", "ada", days=1)
    assert is_outdated(url, share=0.1)
    assert assign(url, share=0.1) == [1, 1]
    with Gradebook(url) as gradebook:
        gradebook.grant_extension("lab", "ada", days=2)
    assert assign(url, share=0.1) == [None, None]
    assert not is_outdated(url, share=0.1)


def test_a_manual_score_counts_once_the_penalty_is_computed_again(url):
    hand_in(url, "2026-03-02 12:00 UTC")
    assert assign(url, share=0.1) == [1, 1]
    assert not is_outdated(url, share=0.1)
    grade_text(url, 5.0)
    assert is_outdated(url, share=0.1), "the form grader leaves the penalty as it was"
    assert assign(url, share=0.1) == [1.5, 1]
    assert not is_outdated(url, share=0.1)
    with Gradebook(url) as gradebook:
        submission = gradebook.find_submission("lab", "ada")
        assert (submission.score, submission.late_submission_penalty) == (25, 2.5)


def test_other_settings_make_a_penalty_outdated(url):
    hand_in(url, "2026-03-02 12:00 UTC")
    assign(url, share=0.1)
    assert is_outdated(url, share=0.2) and is_outdated(url) and not is_outdated(url, share=0.1, grace_hours=1)


@pytest.mark.grading
def test_nbgraders_commands_take_the_penalty_and_feedback_brings_it_up_to_date(working_copy, hand_in, right_answers):
    """From timestamp.txt to the feedback page: 4 points and a text of 2, a day and three hours late."""
    root = working_copy.root
    with (root / "nbgrader_config.py").open("a") as file:
        file.write(SETTINGS)
    path = hand_in(working_copy, "ada", {**right_answers, "open-question": "It is linear."})
    (path.parent / "timestamp.txt").write_text("2026-03-03 01:59:00.000000 UTC")
    shutil.copytree(path.parent, root / "submitted" / "bob" / LAB)
    (root / "submitted" / "bob" / LAB / "timestamp.txt").write_text("2026-03-02 00:58:00.000000 UTC")

    def nbgrader(*arguments):
        done = subprocess.run(["nbgrader", *arguments], cwd=root, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    def penalty(student):
        with Gradebook(f"sqlite:///{root}/gradebook.db") as gradebook:
            return gradebook.find_submission(LAB, student).late_submission_penalty

    nbgrader("generate_assignment", LAB, "--create", "--force")
    nbgrader("db", "assignment", "add", LAB, "--duedate=2026-03-01 23:59+01:00")
    nbgrader("autograde", LAB, "--create")
    assert penalty("ada") == pytest.approx(0.8), "two days begun, of the 4 points of the tasks"
    assert penalty("bob") == 0, "within the grace period"
    with Gradebook(f"sqlite:///{root}/gradebook.db") as gradebook:
        for student in ("ada", "bob"):
            grade = gradebook.find_grade("open-question", LAB, LAB, student)
            grade.manual_score, grade.needs_manual_grade = 2.0, False
        gradebook.db.commit()
    nbgrader("generate_feedback", LAB)
    assert penalty("ada") == pytest.approx(1.2) and penalty("bob") == 0
    page = (root / "feedback" / "ada" / LAB / f"{LAB}.html").read_text()
    assert "Late submission penalty (Score: -1.2)" in page and "(Score: 4.8 / 6.0)" in page
    assert "Late submission penalty" not in (root / "feedback" / "bob" / LAB / f"{LAB}.html").read_text()
