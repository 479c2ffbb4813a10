"""Batteries: points, generators, and what a check makes of whatever it gets."""

import pytest
import torch

from labcheck import Battery, CheckFailed, expect
from labcheck.answer import AnswerError, local
from labcheck.checks import STATUSES, generator_for, run_check
from labcheck.inside.session import Session


@pytest.fixture
def battery():
    lab = Battery("lab00", forbidden=["course.answers"])

    @lab.check("f", points=2)
    def is_positive(answer, rng):
        """Above zero.

        More on it.
        """
        expect(answer.f(1.0) > 0, "is not positive")

    @lab.check("f")
    def without_docstring(answer, rng):
        answer.f(0.0)

    @lab.check("g", points=0.5)
    def g_is_there(answer, rng):
        """g can be called."""
        answer.g()

    return lab


def result_of(function, source="def f(x):\n    return x"):
    lab = Battery("lab00")
    lab.check("f", points=2)(function)
    namespace = {}
    exec(source, namespace)
    return run_check(lab.checks[0], local(Session(namespace)), torch.Generator())


def test_a_battery_knows_its_tasks_and_points(battery):
    assert battery.tasks == ["f", "g"]
    assert battery.points() == 3.5
    assert (battery.points("f"), battery.points("g"), battery.points("h")) == (3, 0.5, 0)
    assert [check.name for check in battery.of("f")] == ["is_positive", "without_docstring"]
    assert [check.purpose for check in battery.checks] == ["Above zero.", "without_docstring", "g can be called."]
    assert battery.forbidden == ("course.answers",)


def test_an_unknown_task_is_refused_with_the_known_ones(battery):
    with pytest.raises(KeyError, match="lab00 has no task 'h'; its tasks are: f, g"):
        battery.of("h")


def test_two_checks_of_a_task_cannot_share_a_name(battery):
    def is_positive(answer, rng):
        pass

    with pytest.raises(ValueError, match=r"lab00: task 'f' has two checks named 'is_positive'"):
        battery.check("f")(is_positive)
    battery.check("g")(is_positive)  # of another task they can


def test_batteries_add_up(battery):
    hidden = Battery("lab00", hidden=True)
    hidden.check("h", points=4)(lambda answer, rng: None)
    both = battery + hidden
    assert both.tasks == ["f", "g", "h"]
    assert [check.hidden for check in both.checks] == [False, False, False, True]
    assert both.forbidden == battery.forbidden
    assert (battery.points(), both.points()) == (3.5, 7.5)
    with pytest.raises(ValueError, match="'lab01' cannot be added to those of 'lab00'"):
        battery + Battery("lab01")


def test_the_digest_changes_with_the_file_of_a_check(tmp_path):
    def digest(text):
        path = tmp_path / "checks_of_digest.py"
        path.write_text(text)
        lab, namespace = Battery("lab00"), {}
        exec(compile(text, path, "exec"), namespace)
        lab.check("f")(namespace["c"])
        return lab.digest()

    first = digest("def c(answer, rng):\n    pass\n")
    assert len(first) == 12 and int(first, 16) >= 0
    assert digest("def c(answer, rng):\n    return 1\n") != first
    assert digest("def c(answer, rng):\n    pass\n") == first


def test_each_check_has_a_generator_of_its_own(battery):
    def draw(seed, lab, check):
        return torch.rand(2, dtype=torch.float64, generator=generator_for(seed, lab, check)).tolist()

    first, second, third = battery.checks
    assert draw(1, "lab00", first) == draw(1, "lab00", first)
    others = [draw(2, "lab00", first), draw(1, "lab01", first), draw(1, "lab00", second), draw(1, "lab00", third)]
    assert all(other != draw(1, "lab00", first) for other in others)


def test_seeds_of_any_size_work(battery):
    for seed in (0, -1, 2**63, 10**30):
        generator_for(seed, "lab00", battery.checks[0])


def test_a_check_that_raises_nothing_gives_its_points():
    result = result_of(lambda answer, rng: answer.f(1))
    assert (result.status, result.score, result.points, result.message) == ("passed", 2.0, 2.0, "")


def test_a_failed_check_names_its_task_once():
    def says(text):
        def check(answer, rng):
            raise CheckFailed(text)

        return result_of(check).message

    assert says("is wrong") == "`f`: is wrong"
    assert says("`f` is wrong") == "`f` is wrong"


@pytest.mark.parametrize(
    ("source", "status"),
    [
        ("", "missing"),
        ("def f(x):\n    raise NotImplementedError", "missing"),
        ("def f(x):\n    raise ValueError", "error"),
        ("def f(x):\n    raise SystemExit", "error"),
        ("def f(x):\n    raise MemoryError", "memory"),
        ("class ForbiddenImport(ImportError): ...\ndef f(x):\n    raise ForbiddenImport('imports x')", "forbidden"),
        ("f = 5", "error"),
        ("def f():\n    return 1", "error"),
    ],
)
def test_every_way_to_have_no_answer_gives_no_points(source, status):
    result = result_of(lambda answer, rng: answer.f(1), source)
    assert (result.status, result.score) == (status, 0)
    assert result.message.startswith("`f`")
    assert status in STATUSES


@pytest.mark.parametrize(
    "value", ["None", "'text'", "[]", "{}", "object()", "lambda: 1", "float('nan')", "(1, 2)", "{1, 2}", "2**63 - 1"]
)
def test_an_answer_of_a_type_that_the_author_did_not_think_of_is_a_failed_check(value):
    def check(answer, rng):
        expect(answer.f(1).mean().item() + 1 > 0, "unused")

    result = result_of(check, f"def f(x):\n    return {value}")
    assert (result.status, result.score) == ("failed", 0)
    assert "`f` returned something that the check could not use" in result.message
    assert len(result.message) <= 500


def test_an_error_with_an_unknown_status_is_an_error():
    with pytest.raises(AnswerError) as caught:
        raise AnswerError("because")
    assert caught.value.status == "error"


@pytest.mark.parametrize("task", ["fixture", "gradient", "module"])
def test_a_task_cannot_have_the_name_of_what_checks_call_on_an_answer(task):
    with pytest.raises(ValueError, match=f"cannot be named '{task}'"):
        Battery("lab").check(task)(lambda answer, rng: None)
