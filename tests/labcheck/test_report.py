"""The page on what each submission got, and why."""

import copy

import nbformat
import pytest

from labcheck.checks import CheckResult
from labcheck.cli import main
from labcheck.course import Course
from labcheck.inside.loading import Problem
from labcheck.judge import Verdict
from labcheck.nbgrader import annotate, feedback_html, feedback_text
from labcheck.notebooks import NotebookError, grade_id
from labcheck.report import Picture, collect, write_report

LAB = "lab01_numbers"


def verdict_of(double: str, sandboxed: bool = True) -> Verdict:
    passed = double == "passed"
    checks = [
        CheckResult("double", "one", False, 2.0, 2.0 * passed, double, "" if passed else "`double`: <b> & x", "Twice."),
        CheckResult("double", "two", True, 1.0, 1.0 * passed, double, "" if passed else "`double`: <b> & x", "Hidden."),
        CheckResult("apply_twice", "three", False, 1.0, 1.0, "passed", "", "Of f."),
    ]
    problems = [] if passed else [Problem("double", 3, "NameError: <oops>")]
    return Verdict(LAB, 12345, sandboxed, checks, problems, {"torch": "9.9", "checks": "abc"})


@pytest.fixture
def graded(tmp_path, unbuilt, released):
    """A course in which two submissions have been autograded, one of them with feedback."""
    course = Course.find(unbuilt.root)
    course = Course(**{**vars(course), "root": tmp_path})
    for student, verdict in (("ada", verdict_of("passed")), ("bob", verdict_of("failed", sandboxed=False))):
        notebook = copy.deepcopy(released)
        annotate(notebook, verdict)
        path = tmp_path / "autograded" / student / LAB / f"{LAB}.ipynb"
        path.parent.mkdir(parents=True)
        nbformat.write(notebook, path)
    (tmp_path / "feedback" / "ada" / LAB).mkdir(parents=True)
    (tmp_path / "feedback" / "ada" / LAB / f"{LAB}.html").touch()
    return course


def test_a_verdict_is_written_into_the_notebook(released):
    notebook = copy.deepcopy(released)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [nbformat.v4.new_output("stream", name="stderr", text="a student's own output")]
    annotate(notebook, verdict_of("failed"))
    assert notebook.metadata.labcheck == verdict_of("failed").as_dict()
    outputs = {grade_id(cell): cell.outputs for cell in notebook.cells if cell.get("outputs")}
    assert sorted(outputs) == ["check-apply_twice", "check-double"]
    shown, result = outputs["check-double"]
    assert result.output_type == "execute_result" and result.data["text/plain"] == "0.0"
    assert outputs["check-apply_twice"][1].data["text/plain"] == "1.0"
    assert shown.data["text/plain"] == feedback_text(verdict_of("failed").of("double"))
    nbformat.validate(notebook)


def test_a_task_without_a_result_gets_nothing(released):
    notebook = copy.deepcopy(released)
    annotate(notebook, Verdict(LAB, 1, True))
    scores = [cell.outputs[1].data["text/plain"] for cell in notebook.cells if cell.get("outputs")]
    assert [float(score) for score in scores] == [0, 0]


def test_feedback_has_points_purpose_and_message_escaped():
    results = verdict_of("failed").checks
    assert feedback_text(results).splitlines() == [
        "✗ 0/2  Twice. `double`: <b> & x",
        "✗ 0/1  Hidden. `double`: <b> & x",
        "✓ 1/1  Of f.",
    ]
    page = feedback_html(results)
    assert page.count("<li") == 3 and "&lt;b&gt; &amp; x" in page and "<b>" not in page


def test_each_submission_is_collected(graded):
    ada, bob = collect(graded, LAB)
    assert (ada["student"], bob["student"]) == ("ada", "bob")
    assert ada["verdict"]["score"] == 4 and bob["verdict"]["score"] == 1
    assert ada["by_hand"] == 2
    assert ada["feedback"].is_file() and bob["feedback"] is None
    double, apply_twice = bob["tasks"]
    assert double == {
        "name": "double", "score": 0.0, "points": 3.0, "passed": 0, "checks": 2,
        "reasons": ["failed: `double`: <b> & x"],
    }  # fmt: skip
    assert (apply_twice["passed"], apply_twice["reasons"]) == (1, [])


def test_the_page_shows_scores_reasons_and_facts(graded, tmp_path):
    page = tmp_path / "out" / "deep" / "report.html"
    write_report(graded, LAB, page, notes={"bob": "Bob's <note>"})
    text = page.read_text()
    assert 'data-student="ada">4 of 4<' in text and 'data-student="bob">1 of 4<' in text
    assert "2 submissions" in text and "2 more" in text
    assert f'href="../../feedback/ada/{LAB}/{LAB}.html"' in text
    assert "Bob&#39;s &lt;note&gt;" in text
    assert "failed: <code>double</code>: &lt;b&gt; &amp; x" in text and "<b>" not in text
    assert "NameError: &lt;oops&gt;" in text
    assert "seed 12345; in a sandbox; checks abc, torch 9.9" in text
    assert "WITHOUT a sandbox; checks" in text


def test_a_picture_has_its_caption_and_its_words(graded, tmp_path):
    page = tmp_path / "out" / "report.html"
    write_report(graded, LAB, page, picture=Picture(tmp_path / "out" / "a.png", "Six <shapes>.", "Drawn by Ada & Bob."))
    figure = '<img src="a.png" alt="Six &lt;shapes&gt;."><figcaption>Drawn by Ada &amp; Bob.</figcaption>'
    assert figure in page.read_text()


def test_a_page_of_nothing_is_refused(tmp_path, graded):
    with pytest.raises(NotebookError, match="no graded submission of lab02_makers; run labcheck grade lab02_makers"):
        write_report(graded, "lab02_makers", tmp_path / "report.html")


def test_the_command_refuses_too(unbuilt, tmp_path, capsys):
    assert main(["--course", str(unbuilt.root), "report", LAB, "--output", str(tmp_path / "r.html")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "r.html").exists()
