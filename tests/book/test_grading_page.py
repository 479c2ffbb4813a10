"""The page "Grading your class": its commands run as they stand, and what it says of labcheck is so."""

import importlib
import re
import shlex
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import nbformat
import pytest
from traitlets.config import Config, PyFileConfigLoader

import labcheck
from labcheck import answer, cli, submissions
from labcheck.checks import STATUSES
from labcheck.course import Course
from labcheck.inside import limits, wire
from labcheck.judge import Limits
from labcheck.mutants import bank

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "book" / "grading.md").read_text(encoding="utf-8")
LAB = "lab04_schedules"
ELSEWHERE = ("make", "sudo")  # begin what is no command in a course's folder

BLOCKS = re.findall(r"^( *)```\{shell\}\n(.*?)^\1```$", PAGE, re.DOTALL | re.MULTILINE)
BLOCKS = [re.sub(rf"^{indent}", "", body, flags=re.MULTILINE) for indent, body in BLOCKS]
RUNNABLE = [body for body in BLOCKS if not body.startswith(ELSEWHERE)]


def commands(program: str) -> list[list[str]]:
    """The words of each line of a shell block that begins with a program, and of such pieces of code in the text."""
    lines = [line for body in BLOCKS for line in body.splitlines()] + re.findall(r"`([^`\n]+)`", PAGE)
    return [words for line in lines if (words := shlex.split(line, comments=True))[:1] == [program]]


def test_the_example_course_has_commands_of_its_own():
    assert sum("lab01_numbers" in body for body in RUNNABLE) >= 2
    assert len(RUNNABLE) >= 10


@pytest.mark.parametrize("words", [w for w in commands("labcheck") if len(w) > 2], ids=" ".join)
def test_labcheck_knows_the_command(words):
    parsed = cli._parser().parse_args(words[1:])
    assert callable(parsed.command)


@pytest.mark.parametrize("words", [w for w in commands("make") if len(w) == 2], ids=" ".join)
def test_make_knows_the_target(words):
    assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_every_option_that_stands_alone_is_one_of_labcheck_or_nbgrader():
    grade = subprocess.run(
        [sys.executable, "-m", "labcheck.cli", "grade", "--help"], capture_output=True, text=True, check=True
    ).stdout
    shown = {option for option in re.findall(r"`(--[a-z-]+)[ `]", PAGE) if option != "--security-opt"}
    others = shown - set(re.findall(r"--[a-z-]+", grade))
    assert {"--again", "--jobs", "--no-sandbox"} <= shown
    assert others == {"--assignment", "--student"}, "these are nbgrader export's"


def test_the_table_of_cheats_is_there():
    (name,) = re.findall(r"^```\{include\} (\S+)$", PAGE, re.MULTILINE)
    text = (ROOT / "book" / name).read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| Cheat")]
    assert len(rows) >= 35
    assert "Stock nbgrader | labcheck |" in text


@pytest.mark.parametrize("path", re.findall(r"\{literalinclude\} (\S+)", PAGE))
def test_what_is_shown_from_a_file_is_there(path):
    start, end = (
        re.search(rf"literalinclude\}} {re.escape(path)}\n(?: *:.*\n)*? *:{option}: \"(.*)\"", PAGE)
        for option in ("start-at", "end-before")
    )
    text = (ROOT / "book" / path).read_text(encoding="utf-8")
    assert start[1] in text
    assert end is None or text.index(end[1]) > text.index(start[1])


def test_the_limits_are_those_of_the_code():
    table = PAGE.split("### Limits of a submission")[1].split("\n\n")[2]
    rows = {cells[0]: cells[1] for line in table.splitlines() if (cells := [c.strip() for c in line.split("|")[1:-1]])}
    mib, default = 2**20, Limits()
    assert rows == {
        "limit": "default",
        "---": "---",
        "processor time": f"{default.seconds:g} s to load the cells, and {default.seconds:g} s for each check",
        "waiting": f"{default.patience:g} s for each cell and for each check",
        "all of a submission's code": f"{default.submission:g} s",
        "memory": f"{default.memory // 2**30} GiB for all its processes, beyond what torch takes",
        "processes": f"{default.processes} at once",
        "files": f"{limits._FILE_BYTES // mib} MiB in `/tmp`, emptied after each check; {limits._OPEN_FILES} open",
        "a returned value": f"{wire.MAX_MESSAGE // mib} MiB, {wire.MAX_ITEMS:,} items, {wire.MAX_DEPTH} levels deep, "
        f"strings of {wire.MAX_TEXT:,} characters",
        "a cell": f"{submissions.MAX_CODE:,} characters of code, {submissions.MAX_TEXT:,} of text",
        "a notebook": f"{submissions.MAX_BYTES // mib} MiB, {submissions.MAX_CELLS:,} cells, "
        f"{submissions.MAX_VALUES:,} values, {submissions.MAX_ALL_CODE:,} characters of code",
        "further files": f"{submissions.MAX_FILES}, in all {submissions.MAX_BYTES // 10**6 // 100 * 100} MB, "
        f"{submissions.MAX_DEPTH} folders deep",
    }
    assert (default.patience, default.submission) == (6 * default.seconds, 60 * default.seconds)


def test_the_statuses_are_those_of_checks():
    sentence = re.search(r"message and status: (.*?)\.", PAGE, re.DOTALL)[1]
    assert tuple(re.findall(r"`(\w+)`", sentence)) == STATUSES


def test_what_a_check_can_ask_exists():
    table = PAGE.split("### Write a check")[1].split("Draw every argument")[0]
    asked = set(re.findall(r"answer\.(\w+)\(", table)) - {"double"}
    assert asked == {name for name in vars(answer.Answer) if not name.startswith("_")}
    (module,) = re.findall(r"^.*answer\.module.*$", table, re.MULTILINE)
    assert set(re.findall(r"`(\w+)\(", module.split("|")[2])) == {
        name for name, thing in vars(answer.ModuleHandle).items() if callable(thing) and not name.startswith("_")
    }
    assert set(re.findall(r"`(expect\w*)\(", table)) == {name for name in labcheck.__all__ if name.startswith("expect")}


@pytest.mark.parametrize("setting", sorted(set(re.findall(r"\bc\.(\w+\.\w+) =", PAGE))))
def test_a_setting_exists_and_takes_the_value(setting):
    owner, name = setting.split(".")
    modules = {
        "Judge": "labcheck.nbgrader", "PerDay": "labcheck.late", "CampusExport": "labcheck.export",
        "Canvas": "labcheck.export",
    }  # fmt: skip
    kind = getattr(importlib.import_module(modules[owner]), owner)
    assert name in kind.class_traits(config=True)
    for text in re.findall(rf"\bc\.{re.escape(setting)} = ([^`\n#]+)", PAGE):
        value = eval(text)
        assert getattr(kind(config=Config({owner: {name: value}})), name) == value


def test_this_course_has_the_settings_that_the_page_relies_on():
    config: Config = PyFileConfigLoader("nbgrader_config.py", path=str(ROOT)).load_config()
    assert config.Autograde.exporter_class == "labcheck.intake.Intake"
    assert "labcheck.nbgrader.Judge" in config.Autograde.autograde_preprocessors
    assert config.AssignLatePenalties.plugin_class == "labcheck.late.PerDay"
    assert "nbgrader.preprocessors.AssignLatePenalties" in config.GenerateFeedback.preprocessors
    assert config.HTMLExporter.filters == {"markdown2html": "labcheck.markdown.safe_markdown"}


@pytest.fixture(scope="module")
def home() -> Course:
    return Course.find(ROOT)


@pytest.fixture(scope="module")
def folder(home, tmp_path_factory) -> Path:
    """A working folder with two submissions of lab 4 and a file of answers; beside it, the example course."""
    from demo.example_class import CLASS, working_folder
    from labcheck.notebooks import read

    root = tmp_path_factory.mktemp("page") / "noise2data"
    root.mkdir()
    course = working_folder(home, root)
    for submission in CLASS[:2]:
        notebook = submission.make(read(course.solutions / LAB / f"{LAB}.ipynb"), home)
        path = root / "submitted" / submission.student / LAB / f"{LAB}.ipynb"
        path.parent.mkdir(parents=True)
        nbformat.write(notebook, path)
    answers = next(mutant for mutant in bank(home, LAB) if mutant.right and mutant.task == "q_sample")
    (root / "ANSWERS.py").write_text(answers.source())
    (root / "students.csv").write_text("id,first_name,last_name,email,lms_user_id\nada,Ada,Lovelace,,101\n")
    example = Path("tests", "labcheck", "course")
    further_labs = shutil.ignore_patterns("__pycache__", "lab02_*", "lab03_*")  # each would start a kernel
    shutil.copytree(ROOT / example, root / example, ignore=further_labs)
    return root


@pytest.fixture(scope="module")
def shell(folder):
    """Run a block of commands, in the example course where it names that course's lab."""

    def run(block: str) -> str:
        place = folder if "lab01_numbers" not in block or "cd ../tinycourse" in block else folder.parent / "tinycourse"
        environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(folder.parent)}
        environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(place), "LANG": "C.UTF-8"}
        done = subprocess.run(
            ["bash", "-euc", block], cwd=place, env=environment, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


@pytest.fixture(scope="module")
def example(shell) -> dict[str, str]:
    """The example course, made by the page's own commands, and what they said."""
    (block,) = [block for block in RUNNABLE if "cd ../tinycourse" in block]
    return {block: shell(block)}


@pytest.mark.grading
def test_every_block_of_commands_runs_as_it_stands(folder, shell, example):
    said = example | {block: shell(block) for block in RUNNABLE if block not in example}
    assert said[next(block for block in RUNNABLE if "--jobs 2" in block)].count("53 of 57 points") == 2
    assert "10 of 10 points (seed 7)" in said[next(block for block in RUNNABLE if "--seed 7" in block)]
    assert "Checks that kill nothing: none." in said["labcheck mutants lab01_numbers\n"]
    for file in ("report.html", "grades.csv", "canvas.csv", "moodle.csv", "similar.html", ".labcheck/secret"):
        assert (folder / file).stat().st_size, file
    assert (folder / "feedback" / "full_marks" / LAB / f"{LAB}.html").is_file()


@pytest.mark.grading
def test_the_private_check_on_the_page_is_one_of_the_lab(folder, shell, example):
    (source,) = re.findall(r"^```python\n(import torch.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    path = folder.parent / "tinycourse" / "overlay" / "lab01_numbers" / "hidden.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    (path.parents[2] / "twice.py").write_text("def double(x):\n    return x.real * 2\n")
    said = shell("labcheck run lab01_numbers twice.py --only double")
    assert "✓ 1/1 double: keeps_the_dtype (hidden)" in said
    assert "✗ 0/1 double: doubles_complex_numbers (hidden)" in said
    path.unlink()


@pytest.mark.grading
def test_the_extension_on_the_page_is_granted(folder, shell, monkeypatch):
    from nbgrader.api import Gradebook

    shell(f"labcheck grade {LAB} --no-feedback")
    (source,) = re.findall(r"^```python\n(from nbgrader\.api.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nbgrader's own queries warn
        exec(source.replace('"ada"', '"full_marks"'), {})
        with Gradebook("sqlite:///gradebook.db") as gradebook:
            assert gradebook.find_submission(LAB, "full_marks").extension.days == 2
