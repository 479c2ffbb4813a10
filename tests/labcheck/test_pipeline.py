"""From text to notebooks: fixed ids, same bytes, the points of the checks."""

import json
import shutil

import nbformat
import pytest

from labcheck.course import Course, CourseError
from labcheck.notebooks import grade_id, require_points
from labcheck.pipeline import build_solution, from_text, nbgrader_config, release, same_sources

LAB = "lab01_numbers"


def text_of(course):
    return course.solutions / LAB / f"{LAB}.md"


@pytest.fixture
def notebook(unbuilt):
    return from_text(text_of(unbuilt), unbuilt.repository)


def test_ids_come_from_grade_ids_and_are_the_same_each_time(notebook, unbuilt):
    assert [cell.id for cell in notebook.cells] == [
        "top-1", "top-2", "double", "check-double", "apply_twice", "check-apply_twice", "check-apply_twice-1",
        "open-question",
    ]  # fmt: skip
    assert from_text(text_of(unbuilt), unbuilt.repository) == notebook


def test_the_public_address_is_filled_in(notebook):
    assert notebook.cells[0].source == "# Numbers\n\nFrom https://example.org/tinycourse."
    assert "@REPOSITORY@" not in json.dumps(notebook)


def test_outputs_are_no_difference_and_sources_are(notebook, unbuilt):
    other = from_text(text_of(unbuilt), unbuilt.repository)
    other.cells[1].outputs = [nbformat.v4.new_output("stream", text="5")]
    other.cells[1].execution_count = 7
    assert same_sources(notebook, other)
    other.cells[1].source += " "
    assert not same_sources(notebook, other)


def test_check_cells_carry_the_points_of_their_checks(notebook, unbuilt):
    battery = unbuilt.battery(LAB)
    require_points(battery, notebook)
    notebook.cells[3].metadata.nbgrader.points = 5
    with pytest.raises(CourseError, match=r"lab01_numbers: .*double: cell 5\.0, checks 3\.0"):
        require_points(battery, notebook)
    del notebook.cells[3]
    with pytest.raises(CourseError, match=r"double: cell None, checks 3\.0"):
        require_points(battery, notebook)


def test_a_course_without_nbgraders_settings_is_refused(course_folder, tmp_path):
    shutil.copytree(course_folder, tmp_path / "course")
    (tmp_path / "course" / "nbgrader_config.py").unlink()
    with pytest.raises(CourseError, match=r"nbgrader_config.py is missing"):
        nbgrader_config(Course.find(tmp_path / "course"))


def test_nbgraders_settings_are_rooted_at_the_course(unbuilt):
    config = nbgrader_config(unbuilt)
    assert config.CourseDirectory.root == str(unbuilt.root)
    assert "labcheck.nbgrader.Judge" in config.Autograde.autograde_preprocessors


@pytest.mark.grading
def test_the_solution_is_executed_and_its_checks_pass(course):
    solution = nbformat.read(text_of(course).with_suffix(".ipynb"), as_version=4)
    outputs = {cell.id: cell.outputs for cell in solution.cells if cell.cell_type == "code"}
    assert outputs["check-double"][0].data["text/plain"] == "✓ `double`: Twice each entry."
    assert "labcheck-passed" in outputs["check-apply_twice"][0].data["text/html"]
    assert not any(out.output_type == "error" for outs in outputs.values() for out in outs)
    assert "execution" not in json.dumps([cell.metadata for cell in solution.cells]), "no time of day"


@pytest.mark.grading
def test_nothing_is_executed_twice_and_the_bytes_are_the_same(working_copy):
    path = text_of(working_copy).with_suffix(".ipynb")
    before = path.read_bytes(), working_copy.released(LAB).read_bytes()
    assert build_solution(working_copy, LAB) is False
    assert build_solution(working_copy, LAB, force=True) is True
    release(working_copy, LAB)
    assert (path.read_bytes(), working_copy.released(LAB).read_bytes()) == before
    assert not list(working_copy.root.rglob("*.part"))


@pytest.mark.grading
def test_students_get_no_answer_no_hidden_check_and_every_task(course):
    released = course.released(LAB)
    assert [path.name for path in released.parent.iterdir()] == [released.name]
    text = released.read_text()
    assert "FACTOR * x" not in text and "keeps_the_dtype" not in text and "SOLUTION" not in text
    cells = {grade_id(cell): cell for cell in nbformat.read(released, as_version=4).cells}
    assert cells["double"].source.endswith("# YOUR CODE HERE\n    raise NotImplementedError")
    assert cells["open-question"].source == "YOUR ANSWER HERE"
    assert not cells["check-double"].outputs


@pytest.mark.grading
def test_a_lab_whose_points_differ_is_not_built(working_copy):
    text = text_of(working_copy)
    text.write_text(text.read_text().replace("points: 3", "points: 7"))
    before = text.with_suffix(".ipynb").read_bytes()
    with pytest.raises(CourseError, match=r"double: cell 7\.0, checks 3\.0"):
        build_solution(working_copy, LAB)
    assert text.with_suffix(".ipynb").read_bytes() == before
