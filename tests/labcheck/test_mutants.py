"""The bank of wrong and right answers, and its table."""

import shutil

import pytest

from labcheck.cli import main
from labcheck.course import Course
from labcheck.inside.loading import Cell, run
from labcheck.mutants import bank, kills, survey, table

LAB = "lab01_numbers"


@pytest.fixture(scope="module")
def results(unbuilt):
    return list(survey(unbuilt, LAB, seeds=3))


def test_the_bank_holds_each_answer_once_by_task_and_place(unbuilt):
    mutants = bank(unbuilt, LAB)
    assert [(m.task, m.name, m.right) for m in mutants] == [
        ("apply_twice", "wrong_applies_once", False),
        ("apply_twice", "wrong_calls_too_often", False),
        ("apply_twice", "right_loops", True),
        ("double", "wrong_triples", False),
        ("double", "wrong_casts_to_float32", False),
        ("double", "right_adds", True),
        ("double", "right_subtracts", True),
    ]
    assert mutants[0].purpose == "f of x."
    assert mutants[-1].purpose == "right_subtracts", "one without a docstring goes by its name"


def test_a_lab_without_a_bank_has_no_mutants(unbuilt):
    assert bank(unbuilt, "lab02_makers") == []


def test_a_mutant_is_a_file_of_answers(unbuilt):
    for mutant in bank(unbuilt, LAB):
        namespace = {}
        assert run([Cell("answers.py", mutant.source(), answer=True)], namespace) == []
        assert namespace[mutant.task].__name__ == mutant.name


def test_every_answer_gets_what_it_deserves(results):
    assert all(result.as_intended for result in results)
    assert [result.lost for result in results] == [3, 3, 0, 3, 3, 0, 0]
    by_name = {result.mutant.name: result.by_check for result in results}
    assert by_name["wrong_casts_to_float32"] == {"doubles_a_vector": 0, "keeps_the_dtype": 3}
    assert by_name["wrong_calls_too_often"] == {"applies_in_order": 3}


def test_the_table_shows_who_kills_whom(results):
    text = table(results)
    assert "| double | wrong_casts_to_float32 | 3 of 3 | keeps_the_dtype 3 |" in text
    assert "| double | right_adds | 0 of 3 | — |" in text
    assert "not as intended" not in text
    assert "Checks that kill nothing: none." in text
    single = "wrong_applies_once, wrong_calls_too_often, wrong_casts_to_float32"
    assert f"Wrong answers that one check alone kills: {single}." in text


def test_answers_that_surprise_are_marked(unbuilt, tmp_path):
    shutil.copytree(unbuilt.root, tmp_path / "course")
    course = Course.find(tmp_path / "course")
    path = course.mutants / LAB / "double.py"
    path.write_text("def wrong_is_right(x):\n    return 2 * x\n\ndef right_is_wrong(x):\n    return x\n")
    surprising = [kills(course.battery(LAB), mutant, 2) for mutant in bank(course, LAB) if mutant.task == "double"]
    assert [result.as_intended for result in surprising] == [False, False]
    text = table(surprising)
    assert text.count("**not as intended**") == 2
    assert "Checks that kill nothing: double.doubles_a_vector, double.keeps_the_dtype." in text
    assert main(["--course", str(course.root), "mutants", LAB, "--seeds", "1"]) == 1


def test_a_wrong_answer_that_only_sometimes_loses_is_not_as_intended(unbuilt, tmp_path):
    shutil.copytree(unbuilt.root, tmp_path / "course")
    course = Course.find(tmp_path / "course")
    half = "calls = []\ndef wrong_half(x):\n    calls.append(1)\n    return x * (3 if len(calls) <= 3 else 2)\n"
    (course.mutants / LAB / "double.py").write_text(half)
    (mutant,) = (m for m in bank(course, LAB) if m.task == "double")
    result = kills(course.battery(LAB), mutant, 4)
    assert 0 < result.lost < 4 and not result.as_intended


def test_a_verdict_needs_not_every_check_at_every_seed(unbuilt):
    battery = unbuilt.battery(LAB)
    for mutant in bank(unbuilt, LAB):
        full, quick = kills(battery, mutant, 3), kills(battery, mutant, 3, every_check=False)
        assert (quick.lost, quick.as_intended) == (full.lost, full.as_intended)
        assert sum(quick.by_check.values()) == (full.lost and sum(full.by_check.values()) // 3 + 2)


def test_the_command_prints_a_table_of_each_lab(unbuilt, capsys):
    assert main(["--course", str(unbuilt.root), "mutants", "--seeds", "1"]) == 0
    printed = capsys.readouterr().out
    assert "## lab01_numbers" in printed and "## lab02_makers" in printed
    assert "| double | wrong_triples | 1 of 1 | doubles_a_vector 1, keeps_the_dtype 1 |" in printed
