"""nbgrader's own commands with our judge in them, by the course's nbgrader_config.py alone."""

import copy
import html
import json
import re
import shutil
import subprocess

import nbformat
import pytest
from nbformat.v4 import new_code_cell
from nbgrader.api import Gradebook

from labcheck.course import Course

LAB = "lab01_numbers"
LOUD = """
import sys, warnings
warnings.warn("on loading")
print("on loading")
def double(x):
    warnings.warn("careful")
    print("a" * 1000)
    sys.stderr.write("red text")
    return x + x
"""
CHEAT = """
import sys, torch
torch.allclose = torch.equal = lambda *a, **k: True
gradebook = open("GRADEBOOK", "w")
solution = open("SOLUTION").read()
get_ipython().input_transformers_cleanup.append(lambda lines: [])
def double(x):
    return x
4.0
"""


def nbgrader(root, *arguments) -> str:
    """Run nbgrader in the course's folder; what it says."""
    done = subprocess.run(["nbgrader", *arguments], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def damaged(notebook, answers):
    """Right answers, without metadata, with a copied and a deleted check cell and one of the student's own."""
    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:
        cell.source = answers.get(cell.id, cell.source)
    cells = [cell for cell in notebook.cells if cell.id != "check-apply_twice"]
    cells += [copy.deepcopy(cell) for cell in cells if cell.id == "check-double"] + [new_code_cell("1 / 0")]
    for number, cell in enumerate(cells):
        cell.metadata, cell.id = {}, f"other-{number}"
    notebook.cells = cells
    return notebook


@pytest.fixture(scope="module")
def graded(course, tmp_path_factory, hand_in, right_answers) -> Course:
    """Three submissions, graded by nbgrader's commands."""
    root = tmp_path_factory.mktemp("graded") / "course"
    shutil.copytree(course.root, root)
    course = Course.find(root)
    cheat = CHEAT.replace("GRADEBOOK", str(root / "gradebook.db"))
    cheat = cheat.replace("SOLUTION", str(course.solutions / LAB / f"{LAB}.ipynb"))
    hand_in(course, "ada", {**right_answers, "double": LOUD, "open-question": "It is linear."})
    path = hand_in(course, "bob", {})
    nbformat.write(damaged(nbformat.read(path, as_version=4), right_answers), path)
    hand_in(course, "eve", {"double": cheat, "apply_twice": "from tinycourse.answers import apply_twice"})
    nbgrader(root, "generate_assignment", LAB, "--create", "--force")
    nbgrader(root, "autograde", LAB, "--create")
    nbgrader(root, "generate_feedback", LAB)
    return course


def scores(course, student) -> dict:
    with Gradebook(f"sqlite:///{course.root}/gradebook.db") as gradebook:
        notebook = gradebook.find_submission_notebook(LAB, LAB, student)
        return {grade.name: grade.score for grade in notebook.grades}


def verdict(course, student) -> dict:
    path = course.root / "autograded" / student / LAB / f"{LAB}.ipynb"
    return nbformat.read(path, as_version=4).metadata.labcheck


@pytest.mark.grading
def test_warnings_prints_and_stderr_cost_nothing(graded):
    assert scores(graded, "ada") == {"check-double": 3, "check-apply_twice": 1, "open-question": 0}


@pytest.mark.grading
def test_a_damaged_notebook_costs_nothing(graded):
    assert scores(graded, "bob") == {"check-double": 3, "check-apply_twice": 1, "open-question": 0}


@pytest.mark.grading
def test_cheats_gain_nothing_and_harm_nobody(graded):
    assert scores(graded, "eve") == {"check-double": 0, "check-apply_twice": 0, "open-question": 0}
    by_check = {check["check"]: check["status"] for check in verdict(graded, "eve")["checks"]}
    assert by_check == {"doubles_a_vector": "failed", "keeps_the_dtype": "failed", "applies_in_order": "forbidden"}
    problems = json.dumps(verdict(graded, "eve")["problems"])
    assert "FileNotFoundError" in problems
    with Gradebook(f"sqlite:///{graded.root}/gradebook.db") as gradebook:
        assert {student.id for student in gradebook.students} == {"ada", "bob", "eve"}


@pytest.mark.grading
def test_the_text_waits_for_a_human(graded):
    with Gradebook(f"sqlite:///{graded.root}/gradebook.db") as gradebook:
        assert gradebook.find_submission(LAB, "ada").needs_manual_grade
        grade = gradebook.find_grade("open-question", LAB, LAB, "ada")
        assert grade.needs_manual_grade and grade.max_score == 2
        assert not gradebook.find_grade("check-double", LAB, LAB, "ada").needs_manual_grade


@pytest.mark.grading
def test_the_verdict_is_stored_with_the_grade(graded):
    kept = verdict(graded, "ada")
    assert kept["sandboxed"] is True and kept["score"] == 4 and kept["problems"] == []
    assert set(kept["versions"]) == {"checks", "tinycourse", "torch", "numpy"}
    assert kept["seed"] != verdict(graded, "bob")["seed"], "each submission has a secret seed of its own"


@pytest.mark.grading
def test_feedback_has_the_sentences_and_never_a_hidden_check(graded):
    page = html.unescape((graded.root / "feedback" / "eve" / LAB / f"{LAB}.html").read_text())
    text = " ".join(re.sub(r"<[^>]+>", " ", page).split())
    assert "✗ 0/2 Twice each entry. double : the result is off by up to" in text and "multiply by two" in text
    assert "✗ 0/1 A tensor of float64 gives float64, an empty one an empty one. double : the result is off" in text
    assert "imports tinycourse.answers, which is not available while it is graded" in text
    for secret in ("keeps_the_dtype", "expect_close", "rng", "torch.randn", "torch.empty", "FACTOR * x", "hidden.py"):
        assert secret not in page
    right = html.unescape((graded.root / "feedback" / "ada" / LAB / f"{LAB}.html").read_text())
    assert "✓ 2/2" in right and "✗" not in right


@pytest.mark.grading
def test_a_regrade_keeps_the_manual_score_and_repeats_the_verdict(graded):
    with Gradebook(f"sqlite:///{graded.root}/gradebook.db") as gradebook:
        grade = gradebook.find_grade("open-question", LAB, LAB, "ada")
        grade.manual_score, grade.needs_manual_grade = 1.5, False
        gradebook.db.commit()
    before = verdict(graded, "ada")
    nbgrader(graded.root, "autograde", LAB, "--student=ada", "--force", f"--Judge.seed={before['seed']}")
    assert scores(graded, "ada") == {"check-double": 3, "check-apply_twice": 1, "open-question": 1.5}
    assert json.dumps(verdict(graded, "ada")) == json.dumps(before)
    nbgrader(graded.root, "generate_feedback", LAB, "--student=ada", "--force")
    page = (graded.root / "feedback" / "ada" / LAB / f"{LAB}.html").read_text()
    assert "1.5" in page and "5.5" in page
