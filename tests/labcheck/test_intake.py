"""nbgrader's own commands on what is no notebook, and on links and pipes: one notice, no secret, no hang."""

import html
import os
import re
import shutil
import subprocess

import nbformat
import pytest
from nbgrader.api import Gradebook
from nbgrader.apps import NbGraderAPI

from labcheck.course import Course
from labcheck.pipeline import nbgrader_config

LAB = "lab01_numbers"
FULL = {"check-double": 3, "check-apply_twice": 1, "open-question": 0}
NONE = dict.fromkeys(FULL, 0)


def nbgrader(root, *arguments) -> str:
    """Run nbgrader in the course's folder; what it says."""
    done = subprocess.run(["nbgrader", *arguments], cwd=root, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def graded(course, tmp_path_factory, hand_in, right_answers):
    """Seven submissions, one of them proper, graded by nbgrader's commands; what autograde said."""
    root = tmp_path_factory.mktemp("graded") / "course"
    shutil.copytree(course.root, root)
    course = Course.find(root)
    nbgrader(root, "generate_assignment", LAB, "--create", "--force")
    proper = hand_in(course, "ada", {**right_answers, "open-question": "It is linear."})
    (proper.parent / "picture.png").write_bytes(b"a picture")
    proper.with_name("timestamp.txt").write_text("2030-01-01 10:00:00 UTC")

    hand_in(course, "broken", "<<<<<<< HEAD\n{")
    hand_in(course, "linked", "").unlink()
    folder = root / "submitted" / "linked" / LAB
    (folder / f"{LAB}.ipynb").symlink_to(proper)
    os.mkfifo(folder / "timestamp.txt")

    folder = hand_in(course, "thief", {**right_answers, "open-question": "YOUR ANSWER HERE"}).parent
    targets = {
        "gradebook.txt": root / "gradebook.db", "hidden.txt": course.solutions / LAB / "hidden.py",
        "peer.txt": proper, "peers": root / "submitted", "zeros": "/dev/zero", "nothing": root / "missing",
    }  # fmt: skip
    for name, target in targets.items():
        (folder / name).symlink_to(target)
    os.mkfifo(folder / "pipe")
    (folder / "timestamp.txt").write_text("yesterday")

    hand_in(course, "renamed", right_answers).rename(root / "submitted" / "renamed" / LAB / f"Kopie von {LAB}.ipynb")
    hand_in(course, "empty", "").rename(root / "submitted" / "empty" / LAB / "answers.pdf")
    (root / "submitted" / "twin").symlink_to(root / "submitted" / "ada")
    before = listing(root / "submitted")
    said = nbgrader(root, "autograde", LAB)
    nbgrader(root, "generate_feedback", LAB)
    assert listing(root / "submitted") == before, "what was handed in is not changed"
    return course, said


def listing(folder) -> dict:
    return {path: (path.lstat().st_mode, path.lstat().st_mtime_ns, path.lstat().st_size) for path in folder.rglob("*")}


def scores(course, student) -> dict:
    with Gradebook(f"sqlite:///{course.root}/gradebook.db") as gradebook:
        return {grade.name: grade.score for grade in gradebook.find_submission_notebook(LAB, LAB, student).grades}


def waits_for_a_human(course, student) -> bool:
    with Gradebook(f"sqlite:///{course.root}/gradebook.db") as gradebook:
        return gradebook.find_submission(LAB, student).needs_manual_grade


def page(course, student) -> str:
    """The text of a feedback page."""
    source = (course.root / "feedback" / student / LAB / f"{LAB}.html").read_text()
    body = re.sub(r"<(style|script).*?</\1>", " ", source, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


@pytest.mark.grading
def test_a_proper_submission_is_graded_without_a_notice(graded):
    course, _ = graded
    assert scores(course, "ada") == FULL and waits_for_a_human(course, "ada")
    assert "handed in" not in page(course, "ada")
    for folder in ("autograded", "feedback"):
        assert (course.root / folder / "ada" / LAB / "picture.png").read_bytes() == b"a picture"
    assert (course.root / "autograded" / "ada" / LAB / "timestamp.txt").read_text() == "2030-01-01 10:00:00 UTC"


@pytest.mark.grading
@pytest.mark.parametrize(
    ("student", "reason"),
    [
        ("broken", "the file is no Jupyter notebook (it is not valid JSON at line 1, column 1)."),
        ("linked", f"{LAB}.ipynb is a symbolic link, not a file."),
        ("twin", "the folder twin is a symbolic link."),
        ("empty", f"there is no {LAB}.ipynb ."),
    ],
)
def test_what_is_no_notebook_gets_no_points_and_a_page_that_starts_with_the_reason(student, reason, graded):
    course, said = graded
    assert scores(course, student) == NONE and not waits_for_a_human(course, student)
    text = page(course, student)
    notice = f"The notebook handed in could not be graded: {reason} It was graded as if nothing had been written. "
    assert notice + "Open it in JupyterLab, save it and hand it in again." in text
    assert text.index(notice) < text.index("double"), "before the first cell of the lab"
    assert f"submitted/{student}/{LAB}: **The notebook handed in could not be graded:**" in said


@pytest.mark.grading
def test_links_and_pipes_cost_nothing_and_lead_nowhere(graded):
    course, said = graded
    assert scores(course, "thief") == FULL
    for folder in ("autograded", "feedback"):
        found = {path.name for path in (course.root / folder / "thief" / LAB).rglob("*")}
        assert found == {f"{LAB}.{'ipynb' if folder == 'autograded' else 'html'}"}
    for name in ("gradebook.txt", "hidden.txt", "peer.txt", "peers", "zeros", "nothing"):
        assert f"{name} (a symbolic link)" in page(course, "thief")
    assert "pipe (a pipe)" in page(course, "thief")
    assert "timestamp.txt is no date and time: taken as handed in in time" in said


@pytest.mark.grading
def test_a_renamed_notebook_is_graded(graded):
    course, _ = graded
    assert scores(course, "renamed") == FULL
    assert f"was handed in as Kopie von {LAB}.ipynb instead of {LAB}.ipynb ; it counts." in page(course, "renamed")


@pytest.mark.grading
def test_nothing_of_a_peer_or_of_the_instructor_reaches_a_student(graded):
    course, _ = graded
    secrets = [b"SQLite format 3", b"keeps_the_dtype", b"It is linear."]
    for folder in ("autograded", "feedback"):
        for path in (course.root / folder).rglob("*"):
            assert not path.is_symlink()
            if path.is_file() and "ada" not in path.parts:
                content = path.read_bytes()
                for secret in secrets if folder == "feedback" else secrets[::2]:  # a verdict names hidden checks
                    assert secret not in content, path


@pytest.mark.grading
def test_the_copies_are_gone_after_the_run(graded):
    course, _ = graded
    assert list((course.root / ".labcheck").glob("received-*")) == []


@pytest.mark.grading
def test_the_form_graders_button_grades_a_pipe_as_nothing(graded, tmp_path):
    course, _ = graded
    root = tmp_path / "course"
    shutil.copytree(course.root, root, ignore=shutil.ignore_patterns("submitted", "autograded", "feedback"))
    folder = root / "submitted" / "eve" / LAB
    folder.mkdir(parents=True)
    os.mkfifo(folder / f"{LAB}.ipynb")
    config = nbgrader_config(Course.find(root))
    api = NbGraderAPI(config=config)
    result = api.autograde(LAB, "eve")
    assert result["success"], result
    assert f"`{LAB}.ipynb` is a pipe, not a file." in result["log"]
    assert api.coursedir.submitted_directory == "submitted", "the settings of the form grader are as they were"
    assert scores(Course.find(root), "eve") == NONE
    graded_cells = nbformat.read(root / "autograded" / "eve" / LAB / f"{LAB}.ipynb", as_version=4).cells
    assert "is a pipe, not a file" in graded_cells[0].source and graded_cells[0].metadata == {}


@pytest.mark.grading
def test_a_folder_that_the_file_system_does_not_give_is_an_error_and_no_grade(
    graded, tmp_path, hand_in, right_answers, monkeypatch
):
    def refuse(*arguments, **options):
        raise PermissionError("Permission denied: the file system refuses")

    course, _ = graded
    root = tmp_path / "course"
    shutil.copytree(course.root, root, ignore=shutil.ignore_patterns("submitted", "autograded", "feedback"))
    hand_in(Course.find(root), "zoe", right_answers)
    monkeypatch.setattr("labcheck.intake.receive", refuse)
    result = NbGraderAPI(config=nbgrader_config(Course.find(root))).autograde(LAB, "zoe")
    assert not result["success"]
    assert f"submitted/zoe/{LAB} cannot be read, and is not graded" in result["log"]
    assert "Permission denied: the file system refuses" in result["log"]
    assert not (root / "autograded" / "zoe" / LAB).exists()
