"""The commands that README and book give to instructors, run as they stand there."""

import csv
import shutil
import subprocess

import pytest

from demo.example_class import LAB, working_folder
from labcheck.course import Course
from labcheck.notebooks import read

HOME = Course.find()


@pytest.mark.grading
def test_nbgrader_grades_by_configuration_alone(tmp_path):
    working_folder(HOME, tmp_path)
    handed_in = tmp_path / "submitted" / "ada" / LAB / f"{LAB}.ipynb"
    handed_in.parent.mkdir(parents=True)
    shutil.copy(HOME.solutions / LAB / f"{LAB}.ipynb", handed_in)

    def nbgrader(*words):
        done = subprocess.run(["nbgrader", *words], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    nbgrader("generate_assignment", LAB)
    assert (tmp_path / "labs" / LAB / f"{LAB}.ipynb").read_bytes() == HOME.released(LAB).read_bytes()
    nbgrader("autograde", LAB)
    nbgrader("generate_feedback", LAB)
    nbgrader("export")
    (row,) = csv.DictReader((tmp_path / "grades.csv").open())
    assert row["student_id"] == "ada" and float(row["score"]) == HOME.battery(LAB).points()
    assert read(tmp_path / "autograded" / "ada" / LAB / f"{LAB}.ipynb").metadata.labcheck.sandboxed is True
    assert (tmp_path / "feedback" / "ada" / LAB / f"{LAB}.html").is_file()
