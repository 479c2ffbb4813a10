"""Which statements of a notebook are run, and what an error costs."""

import ast
import re

import pytest

from labcheck.inside.loading import (
    Cell,
    defined_names,
    forbidden_imports,
    imported_modules,
    imported_names,
    parse,
    run,
)


def loaded(*sources, answer=False):
    """The namespace and problems of cells named a, b, c, ..., every name in which is wanted."""
    namespace = {}
    cells = [Cell("abcdefgh"[i], source, answer) for i, source in enumerate(sources)]
    problems = run(cells, namespace, re.findall(r"\w+", " ".join(sources)))
    return {k: v for k, v in namespace.items() if k != "__builtins__"}, problems


@pytest.mark.parametrize(
    "source",
    [
        "import math",
        "from math import pi as name",
        "def name(): ...",
        "async def name(): ...",
        "class name: ...",
        "name = 3",
        "name: int = 3",
        "name = [1, {'a': (2, 3)}]",
        "import math\nname = math.sqrt(2)",
        "import numpy as np\nname = np.random.default_rng(0).normal(size=3)",
        "try:\n    import math as name\nexcept ImportError:\n    name = None",
        "if True:\n    name = 1\nelse:\n    import math as name",
        "name = 1\nname += 1",
    ],
)
def test_definitions_imports_and_plain_assignments_are_run(source):
    namespace, problems = loaded(source)
    assert "name" in namespace or "math" in namespace
    assert not problems


@pytest.mark.parametrize(
    "source",
    [
        "name()",
        "for i in range(3):\n    name = i",
        "while True:\n    pass",
        "with open('file') as name:\n    pass",
        "name = train()",
        "name = [train(x) for x in (1, 2)]",
        "name = train().mean()",
        "name = (lambda: 5)()",
        "if True:\n    name = train()",
        "try:\n    name = train()\nfinally:\n    pass",
        "del train",
        "raise ValueError",
        "import sys\nfor i in range(2):\n    name = sys.exit()",
    ],
)
def test_what_a_grader_does_not_need_is_left_out(source):
    def train(*_):
        raise AssertionError("was called")

    namespace = {"train": train}
    assert run([Cell("a", source)], namespace, {"name"}) == []
    assert "name" not in namespace


def test_an_answer_keeps_every_assignment_but_no_loop_and_no_call():
    source = (
        "def half(x):\n    return x / 2\ntable = [half(i) for i in range(3)]\nfor i in table:\n    late = 1\nprint(1)"
    )
    assert set(loaded(source)[0]) == {"half"}
    assert loaded(source, answer=True)[0]["table"] == [0, 0.5, 1]
    assert "late" not in loaded(source, answer=True)[0]


def test_imports_of_one_cell_count_in_the_next():
    assert loaded("import math as m", "root = m.sqrt(4)")[0]["root"] == 2


def test_an_error_costs_its_own_statement_only():
    namespace, problems = loaded(
        "import nowhere_to_be_found\nx = 1", "def f(:\n    pass", "y = x + 1\nz = y / 0\nw = 3"
    )
    assert {key: namespace[key] for key in ("x", "y", "w")} == {"x": 1, "y": 2, "w": 3}
    assert [(p.cell, p.line) for p in problems] == [("a", 1), ("b", 1), ("c", 2)]
    assert str(problems[0]) == "cell 'a', line 1: ModuleNotFoundError: No module named 'nowhere_to_be_found'"
    assert "SyntaxError" in problems[1].message
    assert problems[2].message == "ZeroDivisionError: division by zero"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("SystemExit(3)", "SystemExit: 3"),
        ("KeyboardInterrupt()", "KeyboardInterrupt: "),
        ("type('Mute', (Exception,), {'__str__': lambda self: 1 / 0})()", "Mute: "),
        ("ValueError('a' * 5000)", "ValueError: " + "a" * 488),
        ("ValueError('\\ud800')", "ValueError: ?"),
    ],
)
def test_whatever_a_statement_raises_is_a_problem(error, message):
    source = f"class Bad:\n    raise {error}\nx = 1"
    namespace, problems = loaded(source)
    assert namespace["x"] == 1
    assert [p.message for p in problems] == [message]


@pytest.mark.parametrize("source", ["\0", "x = " + "(" * 300 + ")" * 300, "x = " + "-" * 100_000 + "1", "é = 'ü"])
def test_what_is_not_python_costs_its_cell_only(source):
    namespace, problems = loaded(source, "y = 1")
    assert namespace["y"] == 1
    assert [p.cell for p in problems] == ["a"]


@pytest.mark.parametrize(
    "line",
    [
        "%matplotlib inline", "!pip install torch", "?print", "print?", "print??", "%time double(3)", "!echo (",
        "!echo it's", "files = !ls", "where = %pwd", "!pip install \\\n    torch \\\n    numpy", "%%notacellmagic",
    ],
)  # fmt: skip
def test_lines_for_ipython_are_left_out(line):
    namespace, problems = loaded(f"def double(x):\n    return 2 * x\n{line}\nfactor = 5")
    assert namespace["double"](3) == 6
    assert namespace["factor"] == 5
    assert not problems


def test_a_magic_in_a_branch_leaves_the_branch():
    namespace, problems = loaded("def f():\n    %time\n    return 1\nif True:\n    %matplotlib inline\nx = 1")
    assert (namespace["f"](), namespace["x"], problems) == (1, 1, [])


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("def f(n):\n    return 2 * n  # is this right?", 6),
        ('def f(n):\n    """What is twice n?\n    It is this?\n    """\n    return 2 * n', 6),
        ("def f(n):\n    return (n\n            % 2)", 1),
        ('text = """\n%s\n!\n"""\ndef f(n):\n    return text % n', "\n3\n!\n"),
        ("%matplotlib inline\ndef f(n):\n    return 2 * n  # really?\nf?", 6),
    ],
)
def test_python_that_looks_like_a_magic_is_python(source, value):
    namespace, problems = loaded(source)
    assert not problems
    assert namespace["f"](3) == value


@pytest.mark.parametrize("magic", ["%%time", "%%capture out", "  %%prun"])
def test_a_cell_magic_that_runs_its_cell_leaves_the_cell(magic):
    namespace, problems = loaded(f"{magic}\ndef f():\n    return 1")
    assert (namespace["f"](), problems) == (1, [])


@pytest.mark.parametrize("magic", ["%%bash", "%%html", "%%writefile f.py", "%%script false"])
def test_any_other_cell_magic_takes_its_cell_along(magic):
    assert loaded(f"{magic}\ndef f():\n    return 1") == ({}, [])


def test_a_cell_of_nothing_but_magics_takes_bounded_time():
    (problem,) = loaded("%a\n" * 5000)[1]
    assert "not Python" in problem.message


def test_before_is_called_with_each_cell_in_order():
    seen = []
    cells = [Cell("a", "x = 1"), Cell("b", "def ("), Cell("c", "")]
    run(cells, {}, before=lambda cell: seen.append(cell.name))
    assert seen == ["a", "b", "c"]


NOTEBOOK = """
import math
def plot(x): return COLOUR, x
COLOUR = math.sqrt(4)
FACTOR = math.sqrt(9)
scale = FACTOR + 1
x = math.sqrt(16)
unused = math.sqrt(25)
"""


@pytest.mark.parametrize(
    ("answer", "wanted", "loaded_names"),
    [
        ("def f(x): return x", (), set()),
        ("def f(x): return FACTOR * x", (), {"FACTOR"}),
        ("def f(y): return scale * y", (), {"scale", "FACTOR"}),
        ("def f(x): return plot(x)", (), {"COLOUR"}),
        ("def f(y):\n    def g():\n        return [x for _ in y]\n    return g", (), {"x"}),
        ("class f:\n    def __call__(self): return FACTOR", (), {"FACTOR"}),
        ("def f(x): return x", ("unused",), {"unused"}),
        ("return 3", (), set()),
    ],
)
def test_assignments_that_no_answer_needs_are_left_out(answer, wanted, loaded_names):
    namespace = {}
    run([Cell("given", NOTEBOOK), Cell("f", answer, answer=True)], namespace, wanted)
    everything = {"COLOUR", "FACTOR", "scale", "x", "unused"}
    assert everything & namespace.keys() == loaded_names
    assert {"math", "plot"} <= namespace.keys()


def test_a_traceback_through_a_cell_shows_its_lines():
    import traceback

    namespace, _ = loaded("def f():\n    return 1 / 0")
    try:
        namespace["f"]()
    except ZeroDivisionError as error:
        (frame,) = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == "<cell a>"]
    assert (frame.lineno, frame.line) == (2, "return 1 / 0")


def test_names_that_a_cell_defines_and_imports():
    tree = parse(
        Cell("a", "import a.b, c as d\nfrom e import f as g, h\ndef i(): k = 1\nclass j: ...\nl = m = 1\nn.o = 1")
    )
    assert defined_names(tree) == {"i", "j", "l", "m"}
    assert imported_names(tree) == {"a", "d", "g", "h"}


def test_imported_modules_are_found_at_any_depth():
    tree = ast.parse("def f():\n    if x:\n        from a.b import c\n    import d.e as g\nfrom . import h")
    assert imported_modules(tree) == {"a.b", "a.b.c", "d.e"}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import course.answers", ["course.answers"]),
        ("import course.answers.deep", ["course.answers"]),
        ("from course import answers", ["course.answers"]),
        ("from course.answers import f", ["course.answers"]),
        ("import course", []),
        ("import course.answers_of_others", []),
        ("def f():\n    import course.paths, course.answers", ["course.answers", "course.paths"]),
    ],
)
def test_forbidden_imports_are_found_by_name(source, found):
    assert forbidden_imports(ast.parse(source), ("course.paths", "course.answers")) == found
