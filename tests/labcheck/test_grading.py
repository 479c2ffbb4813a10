"""A whole class: one submission that cannot be read costs only itself."""

import pytest
from nbgrader.api import Gradebook

from labcheck.cli import main
from labcheck.course import Course
from labcheck.grading import Graded, _reason, grade_class
from labcheck.judge import Limits
from labcheck.notebooks import NotebookError
from labcheck.sandbox import SandboxUnavailable

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
    hand_in(working_copy, "amy", right_answers)
    hand_in(working_copy, "bad", "this is no notebook")
    (working_copy.root / "submitted" / "cat" / LAB).mkdir(parents=True)
    hand_in(working_copy, "dan", {"double": right_answers["double"]})
    hand_in(working_copy, "late", right_answers)
    (working_copy.root / "submitted" / "late" / LAB / "timestamp.txt").write_text("no time at all")
    return working_copy


@pytest.mark.grading
def test_each_submission_is_graded_or_has_one_line_on_why_not(submitted, tmp_path, capsys):
    assert main(["--course", str(submitted.root), "grade", LAB, "--seed", "5"]) == 1
    lines = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert lines["amy"] == "4 of 6 points" and lines["dan"] == "3 of 6 points"
    assert "not a Jupyter notebook" in lines["bad"] and f"bad/{LAB}/{LAB}.ipynb" in lines["bad"]
    assert "no such file" in lines["cat"]
    assert "no time at all" in lines["late"]
    assert set(lines) == {"amy", "bad", "cat", "dan", "late"}
    with Gradebook(f"sqlite:///{submitted.root}/gradebook.db") as gradebook:
        assert {s.student.id: s.score for s in gradebook.assignment_submissions(LAB)}.items() >= {
            ("amy", 4.0), ("dan", 3.0),
        }  # fmt: skip
    assert sorted(path.name for path in (submitted.root / "feedback").iterdir()) == ["amy", "dan"]
    assert not (submitted.root / ".labcheck-release").exists()
    assert main(["--course", str(submitted.root), "report", LAB, "--output", str(tmp_path / "report.html")]) == 0
    page = (tmp_path / "report.html").read_text()
    assert 'data-student="amy">4 of 4<' in page and 'data-student="dan">3 of 4<' in page
    assert f'href="course/feedback/amy/{LAB}/{LAB}.html"' in page


@pytest.mark.grading
def test_grading_without_walls_is_recorded_with_the_grade(working_copy, hand_in, right_answers):
    import nbformat

    hand_in(working_copy, "amy", right_answers)
    assert grade_class(working_copy, LAB, walls=False, seed=5, limits=Limits(3.0)) == [Graded("amy", 4.0, 6.0)]
    path = working_copy.root / "autograded" / "amy" / LAB / f"{LAB}.ipynb"
    assert nbformat.read(path, as_version=4).metadata.labcheck.sandboxed is False


@pytest.mark.grading
def test_a_class_that_handed_in_nothing_is_told_so(working_copy):
    with pytest.raises(NotebookError, match=f"no folder STUDENT/{LAB} with a submission in it"):
        grade_class(working_copy, LAB)


def test_no_sandbox_no_grading(unbuilt, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxUnavailable):
        grade_class(unbuilt, LAB)
    assert not (unbuilt.root / "gradebook.db").exists()
    assert main(["--course", str(unbuilt.root), "grade", LAB]) == 2
    assert capsys.readouterr().err.startswith("labcheck: bubblewrap is not installed: install it")


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
