"""The command line: what it prints, and its exit status."""

import json
import shutil
import subprocess
import sys

import pytest

from labcheck.cli import main
from labcheck.course import Course
from labcheck.judge import Limits

LAB = "lab01_numbers"
ANSWERS = """
def double(x):
    return 2 * x

def apply_twice(f, x):
    return f(x)
"""


@pytest.fixture
def answers(tmp_path):
    path = tmp_path / "answers.py"
    path.write_text(ANSWERS)
    return path


@pytest.fixture
def labcheck(unbuilt, capsys):
    """``labcheck(...)``: (exit status, what it printed, what it printed on stderr)."""

    def run(*arguments):
        status = main(["--course", str(unbuilt.root), *map(str, arguments)])
        return status, *capsys.readouterr()

    return run


@pytest.mark.grading
def test_run_prints_a_line_a_check_and_the_sum(labcheck, answers):
    status, out, err = labcheck("run", LAB, answers, "--seed", "3")
    first, second, third, total = out.splitlines()
    assert (status, err) == (0, "")
    assert first == "✓ 2/2 double: doubles_a_vector"
    assert second.startswith("✗ 0/1 apply_twice: applies_in_order [failed] `apply_twice`: the result is off by up to ")
    assert third == "✓ 1/1 double: keeps_the_dtype (hidden)"
    assert total == "lab01_numbers: 3 of 4 points (seed 3)"


@pytest.mark.grading
def test_run_prints_json_with_the_documented_keys(labcheck, answers):
    answers.write_text(ANSWERS.replace("def apply_twice", "def something_else"))
    status, out, err = labcheck("run", LAB, answers, "--json", "--seed", "3")
    assert (status, err) == (0, "")
    verdict = json.loads(out)
    assert set(verdict) == {"lab", "seed", "score", "max", "checks"} | {"sandboxed", "versions", "problems"}
    assert (verdict["lab"], verdict["seed"], verdict["score"], verdict["max"]) == (LAB, 3, 3.0, 4.0)
    for check in verdict["checks"]:
        assert list(check) == ["task", "check", "hidden", "points", "score", "status", "message"]
    assert verdict["checks"][1] == {
        "task": "apply_twice", "check": "applies_in_order", "hidden": False, "points": 1.0, "score": 0.0,
        "status": "missing", "message": "`apply_twice` is not defined",
    }  # fmt: skip
    assert [check["hidden"] for check in verdict["checks"]] == [False, False, True]


@pytest.mark.grading
def test_run_of_one_task_without_walls_and_without_a_seed(labcheck, answers):
    answers.write_text("import nowhere\n" + ANSWERS)
    status, out, _ = labcheck("run", LAB, answers, "--json", "--only", "double", "--no-sandbox", "--seconds", "5")
    verdict = json.loads(out)
    assert (status, verdict["sandboxed"], verdict["max"]) == (0, False, 3.0)
    assert verdict["seed"] > 2**20
    assert verdict["problems"] == [
        {"cell": "answers.py", "line": 1, "message": "ModuleNotFoundError: No module named 'nowhere'"}
    ]


NO_LAB = "no lab is named 'lab99'; the labs are: lab01_numbers, lab02_makers, lab03_series"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "lab99", "ANSWERS"], NO_LAB),
        (["run", LAB, "ANSWERS", "--only", "x"], "lab01_numbers has no task 'x'; its tasks are: double, apply_twice"),
        (["run", LAB, "nowhere.py"], "[Errno 2] No such file or directory: 'nowhere.py'"),
        (["run", LAB, "FOLDER"], "[Errno 21] Is a directory: 'FOLDER'"),
        (["run", LAB, "LATIN"], "LATIN: not a Python file (its text is not UTF-8)"),
        (["grade", "lab99"], NO_LAB),
        (["report", "lab99"], NO_LAB),
        (["mutants", "lab99"], NO_LAB),
        (["build", "lab99"], NO_LAB),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_one_line_and_status_2(labcheck, answers, arguments, message):
    latin = answers.with_name("latin.py")
    latin.write_bytes("name = 'é'".encode("latin-1"))
    places = {"ANSWERS": answers, "FOLDER": answers.parent, "LATIN": latin}
    for name, path in places.items():
        message = message.replace(name, str(path))
    status, out, err = labcheck(*(places.get(argument, argument) for argument in arguments))
    assert (status, out, err) == (2, "", f"labcheck: {message}\n")


def test_run_refuses_where_there_is_no_sandbox(labcheck, answers, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    status, out, err = labcheck("run", LAB, answers)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("labcheck: bubblewrap is not installed") and "--no-sandbox" in err


def test_a_folder_in_no_course_is_refused(tmp_path, capsys):
    assert main(["--course", str(tmp_path), "run", LAB, "answers.py"]) == 2
    assert "lies in no course" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["run"], ["run", LAB], ["run", LAB, "a.py", "--seed", "x"]])
def test_a_command_that_makes_no_sense_is_explained(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: labcheck" in capsys.readouterr().err


@pytest.mark.parametrize(("option", "seconds"), [([], 7.0), (["--seconds", "9"], 9.0)])
def test_limits_are_those_of_nbgraders_settings_or_of_the_command(labcheck, unbuilt, monkeypatch, option, seconds):
    with (unbuilt.root / "nbgrader_config.py").open("a") as config:
        config.write("c.Judge.seconds = 7\nc.Judge.memory = 2**29\nc.Judge.processes = 3\n")
    used = []
    monkeypatch.setattr("labcheck.grading.grade_class", lambda *_, limits, **__: used.append(limits) or [])
    assert labcheck("grade", LAB, *option) == (0, "", "")
    assert used == [Limits(seconds, 2**29, 3)]


@pytest.mark.grading
def test_build_executes_and_releases_what_has_changed(course, tmp_path):
    shutil.copytree(course.root, tmp_path / "course")
    built = Course.find(tmp_path / "course")
    done = subprocess.run(
        [sys.executable, "-m", "labcheck.cli", "build"], cwd=built.root / "solutions", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "lab01_numbers: unchanged, released as labs/lab01_numbers/lab01_numbers.ipynb",
        "lab02_makers: executed, released as labs/lab02_makers/lab02_makers.ipynb",
        "lab03_series: executed, released as labs/lab03_series/lab03_series.ipynb",
    ]
    assert "YOUR CODE HERE" in built.released("lab02_makers").read_text()
