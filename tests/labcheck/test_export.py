"""Grades for Canvas and Moodle, from small gradebooks and by nbgrader's command."""

import csv
import logging
import shutil
import subprocess
from pathlib import Path

import pytest
from nbgrader.api import Gradebook
from traitlets.config import Config

from labcheck.export import CampusExport, Canvas, Moodle, neutral, points

pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")  # of nbgrader's own queries

LATE = {"AssignLatePenalties": {"plugin_class": "labcheck.late.PerDay"}, "PerDay": {"share": 0.1}}
STUDENTS = {
    "ada": {"first_name": "Ada", "last_name": "Lovelace", "email": "ada@x.edu", "lms_user_id": "101"},
    "bob": {"first_name": "Bob", "last_name": "Álvarez, Jr", "email": "bob@x.edu", "lms_user_id": "102"},
    "cy": {"first_name": "=HYPERLINK(1)", "last_name": "", "email": "cy@x.edu"},
}


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """Two labs of a task (10) and a text (5).

    Ada has both finished, the first a day late; Bob's second text is not graded; Cy handed in nothing.
    """
    path = tmp_path_factory.mktemp("export") / "gradebook.db"
    with Gradebook(f"sqlite:///{path}") as gradebook:
        for student, about in STUDENTS.items():
            gradebook.add_student(student, **about)
        for number, lab in enumerate(("lab01", "lab02"), 1):
            gradebook.add_assignment(lab, duedate=f"2026-03-0{number} 12:00 UTC")
            gradebook.add_notebook(lab, lab)
            gradebook.add_grade_cell("task", lab, lab, max_score=10, cell_type="code")
            gradebook.add_grade_cell("text", lab, lab, max_score=5, cell_type="markdown")
        hand_in(
            gradebook, "lab01", "ada", task=8, text=4.5, extra=0.25, timestamp="2026-03-02 11:00 UTC", penalty=1.275
        )
        hand_in(gradebook, "lab02", "ada", task=10 / 3, text=0)
        hand_in(gradebook, "lab01", "bob", task=0, text=0)
        hand_in(gradebook, "lab02", "bob", task=9, text=None)
    return path


@pytest.fixture
def path(template, tmp_path):
    """A copy of that gradebook, for one test."""
    return Path(shutil.copy(template, tmp_path))


def hand_in(gradebook, lab, student, *, task, text, extra=None, timestamp="2026-02-28 12:00 UTC", penalty=None):
    """A submission as the autograder and a grader leave it; a text of None waits for the grader."""
    submission = gradebook.add_submission(lab, student, timestamp=timestamp)
    submission.notebooks[0].late_submission_penalty = penalty
    grade = gradebook.find_grade("task", lab, lab, student)
    grade.auto_score, grade.needs_manual_grade = task, False
    grade = gradebook.find_grade("text", lab, lab, student)
    grade.manual_score, grade.extra_credit, grade.needs_manual_grade = text, extra, text is None
    gradebook.db.commit()


def export(kind, path, settings=None, **options):
    """What the exporter writes about a gradebook, as rows."""
    target = path.parent / "out.csv"
    exporter = kind(config=Config(LATE | (settings or {})), to=str(target), log=logging.getLogger("export"), **options)
    with Gradebook(f"sqlite:///{path}") as gradebook:
        exporter.export(gradebook)
    return list(csv.reader(target.open(encoding="utf-8", newline="")))


def refusal(caplog, kind, path, settings=None, **options) -> str:
    """The one line that a refused export says; nothing may have been written."""
    with pytest.raises(SystemExit) as end:
        export(kind, path, settings, **options)
    assert end.value.code == 1 and not (path.parent / "out.csv").exists()
    (record,) = (record for record in caplog.records if record.levelname == "ERROR")
    return record.getMessage().removeprefix("Nothing exported: ")


def change(path, student, **about):
    with Gradebook(f"sqlite:///{path}") as gradebook:
        gradebook.update_or_create_student(student, **about)


def test_canvas_gets_its_columns_the_points_and_a_row_for_each_student(path):
    assert export(Canvas, path) == [
        ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "lab01", "lab02"],
        ["    Points Possible", "", "", "", "", "15", "15"],
        ["'=HYPERLINK(1)", "", "", "cy", "", "", ""],
        ["Lovelace, Ada", "101", "", "ada", "", "11.475", "3.33333"],
        ["Álvarez, Jr, Bob", "102", "", "bob", "", "0", ""],
    ]


def test_canvas_can_know_students_by_another_number_and_login(path):
    change(path, "bob", lms_user_id="s-102")
    rows = export(Canvas, path, {"Canvas": {"lms_user_id": "SIS User ID", "login": "email"}})
    assert [row[1:4] for row in rows[3:]] == [["", "101", "ada@x.edu"], ["", "s-102", "bob@x.edu"]]


def test_a_number_that_canvas_would_take_for_another_student_is_refused(path, caplog):
    change(path, "bob", lms_user_id="101b")
    assert refusal(caplog, Canvas, path) == (
        "lms_user_id is not Canvas's number of a user (bob: '101b'); "
        "set Canvas.lms_user_id = 'SIS User ID' if it is that"
    )


def test_a_name_cannot_pass_for_the_row_of_possible_points(path):
    change(path, "cy", first_name="Points Possible")
    assert [row[0] for row in export(Canvas, path)] == [
        "Student", "    Points Possible", "cy", "Lovelace, Ada", "Álvarez, Jr, Bob",
    ]  # fmt: skip


def test_moodle_gets_the_identity_first_and_a_dash_for_no_score(path):
    assert export(Moodle, path) == [
        ["Username", "First name", "Last name", "lab01", "lab02"],
        ["cy", "'=HYPERLINK(1)", "", "-", "-"],
        ["ada", "Ada", "Lovelace", "11.475", "3.33333"],
        ["bob", "Bob", "Álvarez, Jr", "0", "-"],
    ]


def test_moodle_is_told_of_no_student_that_it_cannot_know(path, caplog):
    rows = export(Moodle, path, {"Moodle": {"identity": "lms_user_id"}})
    assert [row[0] for row in rows] == ["ID number", "101", "102"]
    assert "Left out, the gradebook has no lms_user_id that Moodle could know: cy" in caplog.messages
    change(path, "ada", email="=1+1@x.edu")
    rows = export(Moodle, path, {"Moodle": {"identity": "email"}})
    assert [row[0] for row in rows] == ["Email address", "cy@x.edu", "bob@x.edu"]
    assert "Left out, the gradebook has no email that Moodle could know: ada" in caplog.messages


def test_moodles_grade_items_need_their_maxima_which_are_said(path, caplog):
    caplog.set_level("INFO")
    export(Moodle, path)
    assert "Maximum grades: lab01 15, lab02 15" in caplog.messages


@pytest.mark.parametrize(("kind", "empty"), [(Canvas, ""), (Moodle, "-")])
def test_an_unfinished_score_is_not_exported_and_named(path, caplog, kind, empty):
    assert export(kind, path)[-1][-1] == empty
    assert caplog.messages == ["No score exported, manual grading is not finished: lab02: bob"]
    caplog.clear()
    with Gradebook(f"sqlite:///{path}") as gradebook:
        grade = gradebook.find_grade("text", "lab02", "lab02", "bob")
        grade.manual_score, grade.needs_manual_grade = 2.5, False
        gradebook.db.commit()
    assert export(kind, path)[-1][-1] == "11.5" and caplog.messages == []


def test_a_penalty_older_than_its_score_is_named(path, caplog):
    with Gradebook(f"sqlite:///{path}") as gradebook:
        gradebook.find_grade("text", "lab01", "lab01", "ada").manual_score = 5.0
        gradebook.db.commit()
    assert export(Canvas, path, student=["ada"])[-1][5] == "11.975", "the gradebook's penalty, not a new one"
    (message,) = caplog.messages
    assert message.startswith("Late penalties are older than the scores, extensions or settings: lab01: ada. ")


def test_without_a_late_plugin_nothing_is_said_of_a_submission_in_time(path, caplog):
    stock = {"AssignLatePenalties": {"plugin_class": "nbgrader.plugins.LateSubmissionPlugin"}}
    assert export(Canvas, path, stock, assignment=["lab02"], student=["ada"])[-1][-1] == "3.33333"
    assert caplog.messages == []


def test_assignments_students_and_titles_can_be_chosen(path):
    titles = {"CampusExport": {"titles": {"lab02": "Lab 2: Samplers (4711)", "lab09": "Lab 9"}}}
    assert export(Canvas, path, titles, assignment=["lab02"], student=["bob", "cy"]) == [
        ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "Lab 2: Samplers (4711)"],
        ["    Points Possible", "", "", "", "", "15"],
        ["'=HYPERLINK(1)", "", "", "cy", "", ""],
        ["Álvarez, Jr, Bob", "102", "", "bob", "", ""],
    ]
    assert export(Moodle, path, titles, assignment=["lab02"])[0][3:] == ["Lab 2: Samplers (4711)"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"assignment": ["lab1"]}, "--assignment: the gradebook does not have lab1, but lab01, lab02"),
        ({"student": ["ada", "zoe", 7]}, "--student: the gradebook does not have 7, zoe, but "),
        ({"titles": {"lab01": "lab02"}}, "the same title stands for more than one: lab02"),
    ],
)
def test_a_wrong_choice_is_one_line(path, caplog, options, message):
    assert refusal(caplog, Canvas, path, **options).startswith(message)


@pytest.mark.parametrize("kind", [Canvas, Moodle])
def test_two_students_of_one_identity_are_refused(path, caplog, kind):
    change(path, "cy", lms_user_id="101")
    message = refusal(caplog, kind, path, {"Moodle": {"identity": "lms_user_id"}})
    assert message == "the same lms_user_id stands for more than one: 101"


def test_a_gradebook_without_assignments_is_refused(tmp_path, caplog):
    assert refusal(caplog, Moodle, tmp_path / "empty.db") == "the gradebook has no assignments"


def test_a_wrong_late_setting_is_one_line(path, caplog):
    message = refusal(caplog, Canvas, path, {"PerDay": {"share": 10}})
    assert message == "PerDay.share is 10: expected a share of the score from 0 to 1 (0.1 for 10 %)"


def test_a_file_that_cannot_be_written_is_one_line(path, caplog):
    with Gradebook(f"sqlite:///{path}") as gradebook, pytest.raises(SystemExit):
        Canvas(to=str(path.parent / "none" / "x.csv"), log=logging.getLogger("export")).export(gradebook)
    assert "No such file or directory" in caplog.messages[-1] and "none/x.csv" in caplog.messages[-1]


def test_each_campus_system_has_to_say_what_its_table_is(path):
    with pytest.raises(NotImplementedError):
        export(CampusExport, path)


@pytest.mark.parametrize(
    "start", ["=", "+", "-", "@", "\t=", "\r\n=", "  =", "\u200b=", "\ufeff@", "＝", "＋", "－", "＠"]
)
def test_no_text_can_become_a_formula(start):
    made = neutral(f"{start}cmd|' /C calc'!A1")
    assert made.startswith("'") and "\n" not in made and "\r" not in made and "\t" not in made


@pytest.mark.parametrize("text", ["", "Ada", "O'Neill", "Ana-María", "Lab 1 (= 3)", "7", "李雷", "a@x.edu"])
def test_ordinary_text_stays_as_it_is(text):
    assert neutral(text) == text


@pytest.mark.parametrize(
    ("score", "text"),
    [
        (0.0, "0"),
        (-0.5, "0"),
        (12.0, "12"),
        (100.0, "100"),
        (0.1 + 0.2, "0.3"),
        (10 / 3, "3.33333"),
        (1234.56, "1234.56"),
    ],
)
def test_scores_are_plain_decimals(score, text):
    assert points(score) == text


@pytest.mark.grading
def test_nbgraders_command_exports_to_both(path):
    """Without a word of SQLAlchemy's, and with the lists that nbgrader's flags take."""
    config = "c = get_config()\nc.AssignLatePenalties.plugin_class = 'labcheck.late.PerDay'\nc.PerDay.share = 0.1\n"
    (path.parent / "nbgrader_config.py").write_text(config)

    def nbgrader_export(*arguments):
        command = ["nbgrader", "export", *arguments]
        return subprocess.run(command, cwd=path.parent, capture_output=True, text=True)

    done = nbgrader_export("--exporter=labcheck.export.Canvas", "--to=canvas.csv", "--student=['ada', 'bob']")
    assert done.returncode == 0, done.stderr
    assert "No score exported, manual grading is not finished: lab02: bob" in done.stderr
    assert "Warning" not in done.stderr and "Grades written to canvas.csv" in done.stderr
    rows = (path.parent / "canvas.csv").read_text(encoding="utf-8").splitlines()
    assert rows[2:] == ['"Lovelace, Ada",101,,ada,,11.475,3.33333', '"Álvarez, Jr, Bob",102,,bob,,0,']

    done = nbgrader_export("--exporter=labcheck.export.Moodle", "--assignment=['lab02']", "--Moodle.identity=email")
    assert done.returncode == 0, done.stderr
    assert (path.parent / "moodle.csv").read_text(encoding="utf-8").splitlines() == [
        "Email address,First name,Last name,lab02",
        "cy@x.edu,'=HYPERLINK(1),,-",
        "ada@x.edu,Ada,Lovelace,3.33333",
        'bob@x.edu,Bob,"Álvarez, Jr",-',
    ]

    done = nbgrader_export("--exporter=labcheck.export.Moodle", "--assignment=['lab03']")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "Nothing exported: --assignment: the gradebook does not have lab03, but lab01, lab02" in done.stderr
