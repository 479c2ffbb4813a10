"""``check("name")`` in a student's notebook."""

import linecache

import pytest

from labcheck import Battery, CheckFailed, expect
from labcheck.student import Checker


@pytest.fixture
def checker(unbuilt):
    """``checker(source)``: the check of a notebook in which this has been run."""

    def make(source):
        from tinycourse.checks import lab01_numbers

        name = f"<cell {abs(hash(source))}>"
        linecache.cache[name] = (len(source), None, source.splitlines(True), name)
        namespace = {"__name__": "__main__"}
        exec(compile(source, name, "exec"), namespace)
        return Checker(lab01_numbers.lab, namespace)

    return make


def test_a_right_answer_is_green(checker):
    report = checker("def double(x):\n    return 2 * x")("double")
    assert report.passed
    assert repr(report) == "✓ `double`: Twice each entry."
    html = report._repr_html_()
    assert 'class="labcheck-passed"' in html and "#15803d" in html and "Twice each entry." in html
    assert "labcheck-failed" not in html


def test_a_wrong_answer_raises_with_what_is_wrong_and_shows_it(checker, capsys):
    with pytest.raises(CheckFailed, match=r"^`double`: the result is off by up to .* — multiply by two$"):
        checker("def double(x):\n    return 3 * x")("double")
    assert "✗ `double`: the result is off" in capsys.readouterr().out


def test_html_of_a_failure_is_escaped():
    lab = Battery("lab00")

    @lab.check("f")
    def c(answer, rng):
        """1 < 2."""
        expect(answer.f() == 1, "<script>")

    checker = Checker(lab, {"f": lambda: 2})
    html = checker.summary()._repr_html_()
    assert "&lt;script&gt;" in html and "<script>" not in html and "#c2410c" in html


def test_what_is_not_written_yet_names_the_task(checker):
    with pytest.raises(CheckFailed, match=r"^`double` is not implemented yet: replace the line"):
        checker("def double(x):\n    raise NotImplementedError")("double")
    with pytest.raises(CheckFailed, match=r"^`double` is not defined$"):
        checker("")("double")


def test_an_error_names_the_students_line(checker):
    where = r"^`double` raised ZeroDivisionError: division by zero \(line 3: return x / n\)$"
    with pytest.raises(CheckFailed, match=where):
        checker("def double(x):\n    n, x = 0, 1\n    return x / n")("double")


def test_each_message_stands_once(checker):
    lab = Battery("lab00")
    for name in ("a", "b"):
        check = lambda answer, rng: expect(False, "is wrong")  # noqa: E731
        check.__name__ = name
        lab.check("f")(check)
    with pytest.raises(CheckFailed) as caught:
        Checker(lab, {})("f")
    assert str(caught.value) == "`f`: is wrong"


def test_what_is_wrong_stands_beside_what_should_hold(capsys):
    lab = Battery("lab00")
    for purpose, message in (("It is even.", "is odd"), ("It is small.", "is large"), ("It is there.", "")):
        check = lambda answer, rng, message=message: expect(not message, message)  # noqa: E731
        check.__name__, check.__doc__ = purpose.split()[-1], purpose
        lab.check("f")(check)
    with pytest.raises(CheckFailed) as caught:
        Checker(lab, {})("f")
    assert str(caught.value) == "`f`: 2 of 3 checks failed. What should hold:\n- It is even.\n- It is small."
    shown = capsys.readouterr().out
    assert "✗ `f`: is odd. What should hold: It is even.\n" in shown and "✓ `f`: It is there." in shown


@pytest.mark.parametrize("message", ["is odd", "is odd.", "is it even?"])
def test_what_is_wrong_ends_in_one_stop(message, capsys):
    lab = Battery("lab00")
    for name, wrong in (("even", message), ("small", "is large")):
        check = lambda answer, rng, wrong=wrong: expect(False, wrong)  # noqa: E731
        check.__name__, check.__doc__ = name, f"It is {name}."
        lab.check("f")(check)
    with pytest.raises(CheckFailed):
        Checker(lab, {})("f")
    stop = "" if message[-1] in ".?" else "."
    assert f"✗ `f`: {message}{stop} What should hold: It is even.\n" in capsys.readouterr().out


def test_an_unknown_task_is_refused(checker):
    with pytest.raises(KeyError, match="has no task 'treble'; its tasks are: double, apply_twice"):
        checker("")("treble")


def test_arguments_are_new_each_time_and_repeatable_by_seed():
    seen = []
    lab = Battery("lab00")

    @lab.check("f")
    def c(answer, rng):
        seen.append(rng.initial_seed())

    checker = Checker(lab, {})
    for seed in (None, None, 3, 3):
        checker("f", seed)
    assert seen[0] != seen[1] and seen[2] == seen[3]


def test_hidden_draws_and_changed_arguments_cannot_leak_into_the_notebook(checker):
    run = checker("calls = []\ndef double(x):\n    calls.append(x)\n    return x.mul_(2)")
    assert run("double", seed=1).passed
    assert len(run.namespace["calls"]) == 1


def test_the_summary_has_every_task_and_raises_nothing(checker):
    report = checker("def double(x):\n    return 2 * x").summary()
    assert not report.passed
    assert [good for good, _ in report.lines()] == [True, False]
    assert "`apply_twice` is not defined" in repr(report)
    assert checker("def double(x):\n    return 2 * x\ndef apply_twice(f, x):\n    return f(f(x))").summary().passed


NOTE = "When double is graded, tinycourse.answers cannot be imported: it contains the answer."
DRAWS_ON_THE_ANSWERS = {
    "imported": "from tinycourse.answers import double",
    "assigned": "import tinycourse.answers\ndouble = tinycourse.answers.double",
    "imported within": "def double(x):\n    from tinycourse.answers import double as d\n    return d(x)",
    "module imported within": "def double(x):\n    import tinycourse.answers\n    return tinycourse.answers.double(x)",
    "submodule imported within": "def double(x):\n    from tinycourse import answers as a\n    return a.double(x)",
    "module above": "import tinycourse.answers as a\ndef double(x):\n    return a.double(x)",
    "submodule above": "from tinycourse import answers\ndef double(x):\n    return answers.double(x)",
    "package above": "import tinycourse.answers\ndef double(x):\n    return tinycourse.answers.double(x)",
    "function above": "from tinycourse.answers import double as helper\ndef double(x):\n    return helper(x)",
    "star above": "from tinycourse.answers import *\nhelper = double\ndef double(x):\n    return helper(x)",
    "in a lambda": "import tinycourse.answers as a\ndef double(x):\n    return (lambda: a.double(x))()",
    "in a comprehension": (
        "import torch\nfrom tinycourse.answers import double as d\n"
        "def double(x):\n    return torch.stack([d(y) for y in x])"
    ),
    "through a helper": (
        "import tinycourse.answers as a\ndef helper(x):\n    return a.double(x)\n"
        "def other(x):\n    return helper(x)\ndef double(x):\n    return other(x)"
    ),
    "in a closure": (
        "def make():\n    from tinycourse.answers import double as d\n    return lambda x: d(x)\ndouble = make()"
    ),
    "as a default": "import tinycourse.answers as a\ndef double(x, f=a.double, *, n=1):\n    return f(x)",
    "as a keyword default": "import tinycourse.answers as a\ndef double(x, *, f=a.double):\n    return f(x)",
    "in a partial": (
        "import functools, tinycourse.answers as a\ndouble = functools.partial(a.apply_twice, lambda x: x * 2**0.5)"
    ),
    "below a decorator": (
        "import torch, tinycourse.answers as a\n@torch.no_grad()\ndef double(x):\n    return a.double(x)"
    ),
    "below a cache": (
        "import functools, tinycourse.answers as a\n@functools.cache\ndef double(x):\n    return a.double(x)"
    ),
    "in a method": (
        "import tinycourse.answers as a\nclass Doubler:\n    def __call__(self, x):\n        return a.double(x)\n"
        "double = Doubler()"
    ),
    "in a static method": (
        "import tinycourse.answers as a\nclass Tools:\n    @staticmethod\n    def double(x):\n"
        "        return a.double(x)\ndef double(x):\n    return Tools.double(x)"
    ),
    "in a bound method": (
        "import tinycourse.answers as a\nclass Tools:\n    def double(self, x):\n        return a.double(x)\n"
        "double = Tools().double"
    ),
    "in a property": (
        "import tinycourse.answers as a\nclass Tools:\n    @property\n    def double(self):\n        return a.double\n"
        "def double(x):\n    return Tools().double(x)"
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", DRAWS_ON_THE_ANSWERS)
def test_an_answer_that_draws_on_a_forbidden_module_passes_here_with_a_note(checker, way):
    report = checker(DRAWS_ON_THE_ANSWERS[way])("double")
    assert report.note == NOTE
    assert NOTE in repr(report) and NOTE in report._repr_html_()


def test_the_note_stands_in_the_error_of_a_wrong_answer_too(checker, capsys):
    with pytest.raises(CheckFailed) as caught:
        checker("import tinycourse.answers as a\ndef double(x):\n    return a.double(x) + 1")("double")
    first, last = str(caught.value).splitlines()
    assert first.startswith("`double`: the result is off by up to") and last == NOTE
    assert NOTE in capsys.readouterr().out


def test_the_summary_has_the_note_of_each_task_that_deserves_one(checker):
    right = "def double(x):\n    return x + x\n"
    report = checker(right + "from tinycourse.answers import apply_twice").summary()
    assert report.passed and report.note == NOTE.replace("double", "apply_twice")
    assert checker(right).summary().note == ""


@pytest.mark.parametrize(
    "source",
    [
        "double = lambda x: 2 * x",
        "import operator\ndouble = operator.methodcaller('mul', 2)",
        "import tinycourse.answers as a\ndef double(x):\n    return x + x",
        "import tinycourse\ndef double(x):\n    tinycourse.__name__\n    return x + x",
        "def double(x):\n    answers = 2\n    return answers * x",
        "def make():\n    def double(x):\n        return 2 * x if True else later\n    return double\n"
        "    later = 1\ndouble = make()",
        "class E:\n    def __getattribute__(self, name):\n        raise SystemExit\ne = E()\n"
        "def double(x):\n    e\n    return 2 * x",
        "def double(x):\n    return x + x if len(x.shape) else double(double(x) / 2)",
    ],
)
def test_an_answer_that_draws_on_none_has_no_note(checker, source):
    assert checker(source)("double").note == ""


def test_a_module_whose_name_begins_alike_is_not_forbidden(monkeypatch):
    lab = Battery("lab00", forbidden=("tinycourse.ans",))
    lab.check("double")(lambda answer, rng: None)
    from tinycourse.answers import double

    assert Checker(lab, {"double": double})("double").note == ""
