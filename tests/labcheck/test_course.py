"""Where a course keeps its labs and checks, and what is said when it does not."""

import shutil

import pytest

from labcheck.course import Course, CourseError

LAB = "lab01_numbers"


def test_a_course_is_found_from_any_folder_inside(course_folder):
    course = Course.find(course_folder)
    assert Course.find(course_folder / "solutions" / LAB) == course
    assert Course.find(str(course_folder)) == course
    assert course.root == course_folder.resolve()
    assert (course.package, course.checks) == ("tinycourse", "tinycourse.checks")
    assert course.repository == "https://example.org/tinycourse"
    assert course.released(LAB) == course.root / "labs" / LAB / f"{LAB}.ipynb"


def test_a_folder_in_no_course_is_refused(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'other'\n")
    with pytest.raises(CourseError, match="lies in no course"):
        Course.find(tmp_path)


def test_labs_are_the_folders_with_a_text_of_the_same_name(course_folder, tmp_path):
    shutil.copytree(course_folder, tmp_path / "course")
    course = Course.find(tmp_path / "course")
    (course.solutions / "lab09_empty").mkdir()
    (course.solutions / "notes").mkdir()
    (course.solutions / "notes" / "notes.md").touch()
    (course.solutions / LAB / "lab_rubric.md").touch()
    assert course.lab_names() == ["lab01_numbers", "lab02_makers", "lab03_series"]
    assert course.require(LAB) == LAB


@pytest.mark.parametrize("name", ["lab99", "", "../lab01_numbers", "lab01_numbers/", "solutions"])
def test_an_unknown_lab_is_refused_with_the_known_ones(unbuilt, name):
    for ask in (unbuilt.require, unbuilt.battery, unbuilt.unavailable):
        with pytest.raises(CourseError, match="the labs are: lab01_numbers, lab02_makers, lab03_series"):
            ask(name)


def test_visible_and_hidden_checks_make_one_battery(unbuilt):
    visible, all_of_them = unbuilt.battery(LAB, hidden=False), unbuilt.battery(LAB)
    assert [(c.task, c.name, c.hidden) for c in all_of_them.checks] == [
        ("double", "doubles_a_vector", False),
        ("apply_twice", "applies_in_order", False),
        ("double", "keeps_the_dtype", True),
    ]
    assert [check.name for check in visible.checks] == ["doubles_a_vector", "applies_in_order"]
    assert (visible.points(), all_of_them.points()) == (3, 4)
    assert all_of_them.fixtures == "tinycourse.checks.fixtures"


def test_asking_twice_adds_nothing_twice(unbuilt):
    assert len(unbuilt.battery(LAB).checks) == len(unbuilt.battery(LAB).checks) == 3


def test_a_private_overlay_adds_hidden_checks(course_folder, tmp_path):
    shutil.copytree(course_folder, tmp_path / "course")
    course = Course.find(tmp_path / "course")
    hidden = (course.solutions / LAB / "hidden.py").read_text()
    (course.overlay / LAB).mkdir(parents=True)
    (course.overlay / LAB / "hidden.py").write_text(hidden.replace("keeps_the_dtype", "of_the_overlay"))
    assert [check.name for check in course.battery(LAB).checks][2:] == ["keeps_the_dtype", "of_the_overlay"]
    assert course.battery(LAB).points("double") == 4
    assert len(course.battery(LAB, hidden=False).checks) == 2
    assert course.battery(LAB).digest() != Course.find(course_folder).battery(LAB).digest()


def test_answers_and_all_visible_checks_are_kept_out_of_the_sandbox_but_no_fixture(unbuilt):
    assert unbuilt.unavailable(LAB) == (
        "tinycourse.answers",
        "tinycourse.checks.lab01_numbers",
        "tinycourse.checks.lab02_makers",
        "tinycourse.checks.lab03_series",
    )
    assert "tinycourse.answers" not in unbuilt.unavailable("lab02_makers")
