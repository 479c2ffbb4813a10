"""Which submissions resemble each other: copies come first, however they were disguised."""

import ast
import json
import random
import re
import textwrap
from itertools import pairwise
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labcheck.course import Course, CourseError
from labcheck.normal_form import normal_form
from labcheck.notebooks import NotebookError
from labcheck.similarity import FURTHER, compare, write_similarity
from labcheck.submissions import receive

LAB = "lab05_series"
HEADS = {
    "double": "def double(x):",
    "moving_average": "def moving_average(values, width):",
    "longest_run": "def longest_run(values):",
    "bisect_root": "def bisect_root(f, low, high, tolerance=1e-9):",
    "tally": "def tally(text):",
}
# Ways to write each function, as students do. ⟨one|other⟩ is a choice, so that hardly two answers agree in all of them.
WAYS = {
    "double": [
        """
        return ⟨2 * x|x * 2|x + x⟩
        """,
        """
        y = ⟨2 * x|x * 2|x + x⟩
        return y
        """,
    ],
    "moving_average": [
        """
        means = []
        for start in range(⟨len(values) - width + 1|0, len(values) - width + 1|1 + len(values) - width⟩):
            window = ⟨values[start : start + width]|values[start:][:width]|[values[start + i] for i in range(width)]⟩
            ⟨means.append(sum(window) / width)
            |means += [sum(window) / len(window)]
            |means.append(sum(window) / float(width))⟩
        return means
        """,
        """
        ⟨n = len(values)
        |n = values.__len__()
        |assert width > 0
        n = len(values)⟩
        return [
            ⟨sum(values[i : i + width])|sum(values[i : width + i])|sum(values[j] for j in range(i, i + width))⟩ / width
            for i in range(⟨n - width + 1|0, n + 1 - width⟩)
        ]
        """,
        """
        ⟨total, out = sum(values[:width]), []
        |total = sum(values[:width])
        out = list()
        |out = []
        total = 0
        for v in values[:width]:
            total += v⟩
        ⟨out.append(total / width)|out = [total / width]|out += [total / width]⟩
        for ⟨i in range(width, len(values))|i, _ in enumerate(values[width:], start=width)⟩:
            ⟨total += values[i] - values[i - width]
            |total = total + values[i] - values[i - width]
            |total -= values[i - width]
            total += values[i]⟩
            out.append(⟨total / width|total * (1 / width)⟩)
        return out
        """,
        """
        sums = [0]
        for v in values:
            sums.append(⟨sums[-1] + v|v + sums[-1]|sum((sums[-1], v))⟩)
        pairs = zip(⟨sums, sums[width:]|sums[:-width], sums[width:]⟩)
        return [⟨(b - a) / width|(b - a) * width**-1⟩ for a, b in pairs]
        """,
        """
        means, i = [], ⟨0|width⟩
        while ⟨i + width <= len(values)|not i + width > len(values)|len(values) - i >= width⟩:
            means.append(⟨sum(values[i : i + width]) / width|sum(values[i : i + width]) / len(values[i : i + width])⟩)
            ⟨i += 1|i = i + 1⟩
        return means
        """,
    ],
    "longest_run": [
        """
        best = ⟨0|1 if values else 0|min(len(values), 1)⟩
        run = 0
        previous = ⟨None|object()⟩
        for value in values:
            ⟨run = run + 1 if value == previous else 1
            |if value == previous:
                run += 1
            else:
                run = 1
            |if value != previous:
                run = 0
            run += 1⟩
            ⟨best = max(best, run)
            |best = max(run, best)
            |if run > best:
                best = run⟩
            previous = value
        return best
        """,
        """
        if ⟨not values|len(values) == 0⟩:
            return 0
        best = run = 1
        for i in range(1, len(values)):
            if ⟨values[i] == values[i - 1]|values[i - 1] == values[i]|not values[i] != values[i - 1]⟩:
                ⟨run += 1|run = run + 1⟩
                ⟨best = max(best, run)
                |if run > best:
                    best = run⟩
            else:
                run = 1
        return best
        """,
        """
        from itertools import groupby
        lengths = [⟨len(list(group)) for _, group|sum(1 for _ in group) for key, group⟩ in groupby(values)]
        return ⟨max(lengths, default=0)|max(lengths) if lengths else 0|max([0] + lengths)|sorted([0, *lengths])[-1]⟩
        """,
        """
        best, start = 0, 0
        while start < len(values):
            end = start
            while ⟨end < len(values) and values[end] == values[start]
            |end <= len(values) - 1 and values[start] == values[end]⟩:
                ⟨end += 1|end = end + 1⟩
            ⟨best = max(best, end - start)
            |best = end - start if end - start > best else best
            |if best < end - start:
                best = end - start⟩
            ⟨start = end|start += end - start⟩
        return best
        """,
        """
        runs = ⟨[]|list()⟩
        for value in values:
            if ⟨runs and runs[-1][0] == value|len(runs) > 0 and runs[-1][0] == value⟩:
                ⟨runs[-1][1] += 1|runs[-1] = [value, runs[-1][1] + 1]⟩
            else:
                ⟨runs.append([value, 1])|runs += [[value, 1]]⟩
        return max(⟨(count for _, count in runs)|[run[1] for run in runs]|map(lambda run: run[1], runs)⟩, default=0)
        """,
    ],
    "bisect_root": [
        """
        while ⟨high - low > tolerance|abs(high - low) > tolerance|tolerance < high - low⟩:
            middle = ⟨(low + high) / 2|low + (high - low) / 2|0.5 * (low + high)⟩
            if ⟨f(low) * f(middle) <= 0|f(middle) * f(low) <= 0|f(low) * f(middle) < 0 or f(middle) == 0⟩:
                high = middle
            else:
                low = middle
        return ⟨(low + high) / 2|middle|low⟩
        """,
        """
        if ⟨f(low) > f(high)|f(low) > 0⟩:
            low, high = high, low
        for ⟨_ in range(200)|step in range(100)|_ in range(64)⟩:
            mid = ⟨(low + high) / 2|(high + low) * 0.5⟩
            ⟨low, high = (mid, high) if f(mid) < 0 else (low, mid)
            |if f(mid) < 0:
                low = mid
            else:
                high = mid⟩
            ⟨if abs(high - low) < tolerance:
                break
            |if abs(low - high) <= tolerance:
                return mid⟩
        return ⟨mid|(low + high) / 2⟩
        """,
        """
        middle = ⟨(low + high) / 2|0.5 * (high + low)⟩
        if ⟨high - low <= tolerance|abs(low - high) < tolerance|high - low < 2 * tolerance⟩:
            return middle
        ⟨if f(low) * f(middle) <= 0:
            return bisect_root(f, low, middle, tolerance)
        return bisect_root(f, middle, high, tolerance)
        |same = f(low) * f(middle) > 0
        bounds = (middle, high) if same else (low, middle)
        return bisect_root(f, *bounds, tolerance)⟩
        """,
        """
        sign = ⟨1 if f(high) > 0 else -1|-1 if f(low) > 0 else 1⟩
        width = high - low
        while width > tolerance:
            ⟨width /= 2|width = width / 2|width *= 0.5⟩
            if ⟨sign * f(low + width) <= 0|f(low + width) * sign <= 0⟩:
                ⟨low += width|low = low + width⟩
        return ⟨low + width / 2|low⟩
        """,
        """
        from math import ceil, log2
        halvings = log2((high - low) / tolerance)
        steps = ⟨ceil(halvings)|int(halvings) + 1|max(1, ceil(halvings))⟩
        left = f(low)
        for _ in range(⟨steps|steps + 1⟩):
            point = ⟨(low + high) / 2|low / 2 + high / 2⟩
            value = f(point)
            ⟨if value == 0:
                return point
            |pass⟩
            if ⟨left * value < 0|value * left < 0|(left < 0) != (value < 0)⟩:
                high = point
            else:
                ⟨low, left = point, value
                |low = point
                left = value⟩
        return ⟨low|high|(low + high) / 2⟩
        """,
    ],
    "tally": [
        """
        counts = ⟨{}|dict()⟩
        for word in ⟨text.lower().split()|text.split()|str.split(text.lower())⟩:
            word = word.strip(⟨'.,!?'|".,;:!?"|',.'⟩)
            ⟨counts[word] = counts.get(word, 0) + 1
            |if word in counts:
                counts[word] += 1
            else:
                counts[word] = 1
            |if word not in counts:
                counts[word] = 0
            counts[word] += 1⟩
        return counts
        """,
        """
        from collections import Counter
        words = ⟨[word.strip('.,') for word in text.lower().split()]
        |(w.strip('.,!') for w in text.lower().split())
        |map(lambda w: w.strip('.,'), text.lower().split())⟩
        return ⟨dict(Counter(words))|Counter(words)|{word: count for word, count in Counter(words).items()}⟩
        """,
        """
        import re
        words = ⟨re.findall(r'\\w+', text.lower())
        |re.split(r'\\W+', text.lower().strip())
        |[m.group() for m in re.finditer('[a-z]+', text.lower())]⟩
        return ⟨{word: words.count(word) for word in set(words)}
        |{w: words.count(w) for w in words}
        |{word: sum(other == word for other in words) for word in words}⟩
        """,
        """
        from collections import defaultdict
        clean = ⟨''.join(c for c in text.lower() if c.isalpha() or c == ' ')
        |''.join(c if c.isalpha() else ' ' for c in text).lower()⟩
        counts = defaultdict(⟨int|lambda: 0⟩)
        for word in ⟨clean.split()|sorted(clean.split())⟩:
            counts[word] += 1
        return ⟨dict(counts)|{**counts}|counts⟩
        """,
    ],
}
_CHOICE = re.compile(r"⟨([^⟨⟩]*)⟩")


def answer(task: str, rng: random.Random) -> str:
    """One way to write a function, drawn at random."""
    body = _CHOICE.sub(lambda found: rng.choice(found[1].split("|")).rstrip(), rng.choice(WAYS[task]))
    return f"{HEADS[task]}\n{textwrap.indent(textwrap.dedent(body).strip(chr(10)), '    ')}"


def answers(rng: random.Random) -> dict[str, str]:
    return {task: answer(task, rng) for task in WAYS}


def renamed(source: str, new=lambda name: f"my_{name}") -> str:
    """With other names for its variables and arguments."""
    tree = ast.parse(source)
    bound = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    bound |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    names = {name: new(name) for name in sorted(bound)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            node.id = names.get(node.id, node.id)
        elif isinstance(node, ast.arg):
            node.arg = names[node.arg]
    return ast.unparse(tree)


def laid_out_anew(source: str) -> str:
    """With other quotes, brackets and blanks, and a comment on every line."""
    lines = ast.unparse(ast.parse(source)).split("\n")
    return "\n\n".join(f"{line}  # step {number}" for number, line in enumerate(lines))


def documented(source: str) -> str:
    """With a docstring and type annotations."""
    head, _, body = source.partition("\n")
    head = re.sub(r"\((\w+)", r"(\1: object", head).replace("):", ") -> object:")
    return f'{head}\n    """My very own explanation of what this does."""\n{body}'


def swapped(source: str) -> str:
    """With two neighbouring statements exchanged that have no name in common, if there are any."""
    tree = ast.parse(source)
    blocks = [getattr(node, field) for node in ast.walk(tree) for field in ("body", "orelse") if hasattr(node, field)]
    for block in (block for block in blocks if isinstance(block, list)):
        for place, two in enumerate(pairwise(block)):
            names = [{name.id for name in ast.walk(node) if isinstance(name, ast.Name)} for node in two]
            if all(isinstance(node, (ast.Assign, ast.AugAssign)) for node in two) and not names[0] & names[1]:
                block[place : place + 2] = reversed(two)
                return ast.unparse(tree)
    return source


def altered(source: str) -> str:
    """With one expression written in another way."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            node.left = ast.BinOp(node.left, ast.Add(), ast.Constant(0))
            return ast.unparse(tree)
        if isinstance(node, ast.BinOp):
            node.right = ast.BinOp(node.right, ast.Mult(), ast.Constant(1.0))
            return ast.unparse(tree)
    return source


DISGUISES = {
    "verbatim": str, "renamed": renamed, "laid out anew": laid_out_anew, "documented": documented,
    "swapped": swapped, "altered": altered,
}  # fmt: skip


def cell(kind: str, source: str, name: str | None = None, **extra):
    make = nbformat.v4.new_code_cell if kind == "code" else nbformat.v4.new_markdown_cell
    nbgrader = {"grade_id": name, "solution": True, "grade": False, "locked": False, "schema_version": 3, "task": False}
    return make(source, id=name or "setup", metadata={"nbgrader": nbgrader | extra} if name else {})


def blank(task: str) -> str:
    return f"{HEADS[task]}\n    # YOUR CODE HERE\n    raise NotImplementedError"


def notebook(written: dict[str, str], further: tuple[str, ...] = ()) -> dict:
    """The lab with these answers, and with further cells at its end."""
    cells = [cell("code", "import numpy as np\nSIZE = 10")]
    cells += [cell("code", written.get(task, blank(task)), task) for task in WAYS]
    cells += [nbformat.v4.new_markdown_cell("Why is the last one slow?", id="question")]
    cells += [cell("markdown", written.get("why", "YOUR ANSWER HERE"), "why", grade=True, points=2)]
    cells += [nbformat.v4.new_code_cell(source, id=f"more-{i}") for i, source in enumerate(further)]
    return nbformat.v4.new_notebook(cells=cells)


@pytest.fixture
def class_of(tmp_path, unbuilt):
    """``class_of({student: answers, notebook or text}, solution)``: a course in which these have been handed in."""

    def write(path, content):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))

    def make(handed_in: dict, solution: dict | None = None) -> Course:
        folders = {name: tmp_path / name for name in ("solutions", "labs")}
        course = Course(**{**vars(unbuilt), **folders, "root": tmp_path})
        write(course.solutions / LAB / f"{LAB}.md", "")
        write(course.released(LAB), notebook({}))
        if solution:
            write(course.solutions / LAB / f"{LAB}.ipynb", notebook(solution))
        for student, content in handed_in.items():
            if isinstance(content, dict) and "cells" not in content:
                content = notebook(content)
            write(tmp_path / "submitted" / student / LAB / f"{LAB}.ipynb", content)
        return course

    return make


def form(source: str, known=()) -> list[str]:
    return [text for text, _ in normal_form(ast.parse(source), frozenset(known))]


@settings(deadline=None)
@given(st.sampled_from(sorted(WAYS)), st.randoms(use_true_random=False), st.data())
def test_renaming_every_variable_never_changes_the_normal_form(task, rng, data):
    source = answer(task, rng)
    names = st.from_regex(r"[a-z_]{1,3}_[0-9]{1,3}", fullmatch=True) | st.sampled_from(["torch_", "x", "été", "l0"])
    taken: set[str] = {HEADS[task][4:].split("(")[0]}

    def new(name):
        taken.add(chosen := data.draw(names.filter(lambda fresh: fresh not in taken)))
        return chosen

    assert form(renamed(source, new)) == form(source)


@pytest.mark.parametrize("disguise", ["renamed", "laid out anew", "documented"])
def test_what_is_no_syntax_never_changes_the_normal_form(disguise):
    rng = random.Random(1)
    for task in WAYS:
        source = answer(task, rng)
        assert DISGUISES[disguise](source) != source
        assert form(DISGUISES[disguise](source)) == form(source)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("def f(a):\n    sum = a\n    return sum", "def f(a):\n    total = a\n    return total"),
        ("def g(a):\n    return h(a)\ndef h(b):\n    return b", "def g(a):\n    return k(a)\ndef k(b):\n    return b"),
        ("def f(a):\n    return helper_of_mine(a)", "def f(a):\n    return another(a)"),
        ("import torch as t\nt.ones(3)", "import torch\ntorch.ones(3)"),
        ("class A:\n    def run(s):\n        s.x = s.go()\n    def go(s): return",
         "class B:\n    def run(self):\n        self.y = self.now()\n    def now(self): return"),
        ("def f(a):\n    x: int = (a\n)\n    return x", "def f(a):\n    x = a\n    return x"),
        ("def f(a, size): return a\nf(1, size=2)", "def f(b, width): return b\nf(1, width=2)"),
        ("try:\n    f()\nexcept E as e: print(e)", "try:\n    f()\nexcept E as error: print(error)"),
        ("x = 2", "x = 2.0"),
    ],
)  # fmt: skip
def test_names_of_ones_own_do_not_matter(one, other):
    assert form(one, known=["E"]) == form(other, known=["E"])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("def f(a, b): return a + b", "def f(a, b): return a - b"),
        ("def f(a, b): return a / b", "def f(a, b): return a / a"),
        ("def f(a): return a.sum()", "def f(a): return a.mean()"),
        ("def f(a): return np.sum(a)", "def f(a): return math.sum(a)"),
        ("def f(a): return f(a, dim=0)", "def f(a): return f(a, axis=0)"),
        ("def f(a): return 1e-5 * a", "def f(a): return 1e-6 * a"),
        ("def f(a): return a == 'x'", "def f(a): return a == 'y'"),
        ("def f(a): return len(a)", "def f(a): return max(a)"),
    ],
)
def test_what_code_does_matters(one, other):
    known = ["np", "math"]
    assert form(one, known) != form(other, known)


def test_a_statement_is_the_same_wherever_it_stands():
    def statements(source):
        nodes = normal_form(ast.parse(source))[1:]  # without the module
        return {tuple(text for text, at in nodes if at == line) for line in {at for _, at in nodes}}

    one = statements("first = f(1)\nsecond = g(first, 2)")
    other = statements("second = g(first, 2)\nnew = 0\nfirst = f(1)")
    assert len(one) == 2 and len(other) == 3 and one < other


def test_trees_of_any_depth_and_constants_of_any_length_are_written_down():
    tree = ast.Constant(1)
    for _ in range(20_000):
        tree = ast.UnaryOp(ast.USub(), tree)
    assert len(normal_form(tree)) == 40_001
    assert form(f"x = 0x{'f' * 30_000}")[-1] == "Constant int"
    assert len(form(f"x = '{'y' * 10_000}'")[-1]) < 100


@pytest.mark.parametrize("seed", range(4))
def test_copies_rank_above_all_independent_pairs_whatever_their_disguise(class_of, seed):
    rng = random.Random(seed)
    handed_in = {f"s{number:02}": answers(rng) for number in range(30)}
    copies = {}
    for name, disguise in DISGUISES.items():
        for student in sorted(handed_in.keys() - {victim for victim, _ in copies}):
            copy = {task: disguise(source) for task, source in handed_in[student].items()}
            if copy != handed_in[student] or name == "verbatim":
                break
        copies[student, f"t-{name}"] = name
        handed_in[f"t-{name}"] = copy
    similarity = compare(class_of(handed_in, solution=answers(rng)), LAB)
    found = similarity.pairs(top=1000)
    independent = max(pair.score for pair in found if (pair.one, pair.other) not in copies)
    assert {(pair.one, pair.other) for pair in found[:6]} == copies.keys()
    for pair in found[:6]:
        assert pair.score > independent and pair.times > 1
        assert pair.score == pytest.approx(sum(task.score for task in pair.tasks))
        assert pair.times == pytest.approx(pair.score / similarity.typical)
        if copies[pair.one, pair.other] not in ("swapped", "altered"):
            assert pair.overlap == pytest.approx(1)
    assert all(0 < pair.overlap < 1 + 1e-9 and pair.one < pair.other for pair in found)
    assert [pair.score for pair in found] == sorted((pair.score for pair in found), reverse=True)
    assert not similarity.notes


def test_the_obvious_line_of_many_counts_less_than_the_rare_lines_of_two(class_of):
    obvious = f"{HEADS['double']}\n    return 2 * x"
    strange = f"{HEADS['double']}\n    half = x / 4\n    return sum([half] * 8) if half != 0 else x"
    handed_in = {f"s{number:02}": {"double": obvious} for number in range(10)}
    handed_in |= {"u": {"double": strange}, "v": {"double": renamed(strange)}}
    similarity = compare(class_of(handed_in, solution={"double": obvious}), LAB)
    first, second, *_ = similarity.pairs(top=1000)
    assert (first.one, first.other, first.overlap) == ("u", "v", pytest.approx(1))
    assert first.score > 4 * second.score


def test_the_solution_makes_the_expected_answer_less_rare(class_of):
    expected, other = ({"tally": answer("tally", random.Random(seed))} for seed in (0, 1))
    handed_in = {"ann": expected, "ben": expected, "cem": other, "dan": other}
    without = compare(class_of(handed_in), LAB).pair(0, 1).score
    assert compare(class_of(handed_in, solution=expected), LAB).pair(0, 1).score < 0.9 * without


def test_what_was_released_counts_nothing(class_of):
    comment = {task: f"{blank(task)}  # I do not know" for task in WAYS}
    little = {"tally": "# nothing", "why": "Yes."}
    course = class_of({"ann": {}, "ben": {}, "cem": comment, "dan": comment, "eve": little})
    similarity = compare(course, LAB)
    assert similarity.students == ["ann", "ben", "cem", "dan", "eve"]
    assert similarity.pairs(top=10) == [] and similarity.typical == 0


def test_a_copied_task_and_further_cells_and_text_are_told_by_name(class_of):
    rng = random.Random(6)
    handed_in = {f"s{number:02}": answers(rng) for number in range(12)}
    helper = "def show(d):\n    for key in d:\n        print(key, d[key] ** 2, sep=' -> ')\n    return len(d)"
    reason = "Because the mean of a window forgets\nwhat lies before it, unlike a running sum."
    handed_in["x"] = notebook({"why": reason}, (helper,))
    handed_in["y"] = notebook({"why": reason.upper()}, ("%time 1", renamed(helper).replace("show", "display_all")))
    handed_in["s01"]["tally"] = renamed(handed_in["s00"]["tally"])
    similarity = compare(class_of(handed_in), LAB)
    assert not similarity.notes
    shared = {task.task: task.overlap for task in similarity.pair(12, 13).tasks}
    assert shared.keys() == {"why", FURTHER}
    assert shared["why"] == pytest.approx(1) and shared[FURTHER] > 0.9
    assert {task.task: task.overlap for task in similarity.pair(0, 1).tasks}["tally"] == pytest.approx(1)


HOSTILE = {
    "deep": "x = " + "-" * 40_000 + "1",
    "brackets": "(" * 40_000,
    "chain": "x" + ".a" * 20_000,
    "long": "a = 1\n" * 40_000,
    "wide": "x = [" + "0x1f," * 9_000 + "]",
    "null": "x = '\0'",
    "magics": "%load secret\n" * 200,
    "surrogate": r"x = '\ud800' + '\udfff' + y ** 2 / 3",
}


def test_sources_of_bad_will_cost_only_themselves(class_of):
    rng = random.Random(7)
    good = {f"s{number:02}": answers(rng) for number in range(8)}
    good["s01"] = {task: renamed(source) for task, source in good["s00"].items()}
    bad = {name: notebook({"tally": source, "why": source}, (source,)) for name, source in HOSTILE.items()}
    bad |= {"none": "this is no notebook", "empty": "", "list": "[[[1]]]"}
    course = class_of(good | bad)
    for name in ("absent", "link"):
        (course.root / "submitted" / name / LAB).mkdir(parents=True)
    (course.root / "submitted" / "link" / LAB / f"{LAB}.ipynb").symlink_to("/dev/zero")
    similarity = compare(course, LAB)
    best = similarity.pairs(top=1)[0]
    assert (best.one, best.other, best.overlap) == ("s00", "s01", pytest.approx(1))
    told = {student for student, _ in similarity.notes}
    assert told == {"none", "empty", "list", "absent", "link", "deep", "brackets", "chain", "long", "null", "magics"}
    notes = dict(similarity.notes)
    assert "is no Jupyter notebook" in notes["none"] and "is a symbolic link" in notes["link"]
    assert ("brackets", "`tally` is not compared: not Python, or over 50,000 characters") in similarity.notes


def test_a_file_that_may_not_be_read_is_told(class_of, monkeypatch):
    def refuse(folder, *args, **kwargs):
        if "ben" in str(folder):
            raise PermissionError(13, "Permission denied", str(folder))
        return receive(folder, *args, **kwargs)

    monkeypatch.setattr("labcheck.similarity.receive", refuse)
    similarity = compare(class_of({"ann": {}, "ben": {}}), LAB)
    assert [student for student, _ in similarity.notes] == ["ben"]
    assert similarity.notes[0][1].startswith("cannot be read: [Errno 13] Permission denied")


def test_student_code_is_never_run(class_of, tmp_path):
    touch = f"open({str(tmp_path / 'was-run')!r}, 'w').write(str(1 + 2 - 3))"
    source = f"{touch}\n{HEADS['tally']}\n    {touch}"
    course = class_of({"ann": {"tally": source}, "ben": {"tally": source}, "cem": {"tally": "1 + 2 + 3 + 4"}})
    assert compare(course, LAB).pairs(top=1)
    assert not (tmp_path / "was-run").exists()


@pytest.fixture
def page(class_of, tmp_path):
    rng = random.Random(8)
    handed_in = {f"s{number:02}": answers(rng) for number in range(12)}
    original = handed_in.pop("s03")
    original["tally"] = (
        f"{HEADS['tally']}\n    '<b>mine</b>'\n    return {{w: len(w) ** 3 % 7 for w in text if w < '<i>'}}"
    )
    handed_in |= {"zoe": original, "yan": {task: renamed(source) for task, source in original.items()}}
    handed_in |= {"bad": "no <u>notebook</u>", "syn": {"tally": "def tally(:"}}
    output = tmp_path / "new" / "folder" / "similar.html"
    pairs = write_similarity(class_of(handed_in), LAB, output, top=3)
    return SimpleNamespace(pairs=pairs, html=output.read_text())


def test_the_page_shows_the_pairs_side_by_side_and_says_that_it_proves_nothing(page):
    assert len(page.pairs) == 3 and (page.pairs[0].one, page.pairs[0].other) == ("yan", "zoe")
    assert page.html.count('<section id="pair-') == 3
    assert "Similarity is no proof." in page.html and "No grade depends on it." in page.html
    first = page.html.partition('<section id="pair-1">')[2].partition("</section>")[0]
    assert f"Resemblance {page.pairs[0].times:.1f}×" in first and "100\N{NO-BREAK SPACE}%" in first
    assert "<mark>    return {w: len(w) ** 3" in first and "<mark>    return {my_w: len(my_w)" in first
    for number, pair in enumerate(page.pairs, start=1):
        section = page.html.partition(f'<section id="pair-{number}">')[2].partition("</section>")[0]
        alike = [task for task in pair.tasks if task.overlap >= 0.5 or task is pair.tasks[0]]
        assert section.count("<figure>") == 2 * len(alike)
        assert ("Less alike: " in section) == (len(alike) < len(pair.tasks))
    assert any(len([task for task in pair.tasks if task.overlap >= 0.5]) < len(pair.tasks) for pair in page.pairs)
    assert "<strong>bad</strong>: The notebook handed in could not be graded" in page.html
    assert "<strong>syn</strong>: <code>tally</code> is not compared" in page.html


def test_the_page_is_escaped_and_loads_nothing(page):
    assert "&lt;b&gt;mine&lt;/b&gt;" in page.html and "&lt;i&gt;" in page.html
    for forbidden in ("<b>", "<i>", "<u>", "<script", "http:", "https:", "url(", "@import", " src="):
        assert forbidden not in page.html


def test_a_small_class_and_one_without_pairs_are_told(class_of, tmp_path):
    output = tmp_path / "similar.html"
    one, other = answers(random.Random(9)), answers(random.Random(10))
    assert write_similarity(class_of({"ann": one, "ben": one, "cem": other}), LAB, output)[0].one == "ann"
    assert "fewer than ten submissions" in output.read_text()
    assert write_similarity(class_of({"ann": one, "ben": {}, "cem": {}}), LAB, output) == []
    assert "No two submissions share anything" in output.read_text()


def test_a_pair_in_a_class_that_else_shares_nothing_has_nothing_ordinary_to_be_compared_with(class_of, tmp_path):
    copied = {"tally": answer("tally", random.Random(3))}
    handed_in = {"ann": copied, "ben": copied}
    handed_in |= {"cem": {"double": "import os\nx = os.sep"}, "dan": {"double": "while True: print(1 if SIZE else 2)"}}
    handed_in |= {"eve": {"double": "[lambda q: q @ q, {3: 4}]"}}
    output = tmp_path / "similar.html"
    (pair,) = write_similarity(class_of(handed_in), LAB, output)
    assert (pair.one, pair.other, pair.times) == ("ann", "ben", np.inf)
    assert '<td class="number">—</td>' in output.read_text() and "inf×" not in output.read_text()


def test_bad_input_is_one_clear_error(class_of, tmp_path):
    course = class_of({"ann": {}})
    with pytest.raises(ValueError, match="top: 0 pairs cannot be shown; expected 1 or more"):
        write_similarity(course, LAB, tmp_path / "page.html", top=0)
    with pytest.raises(CourseError, match="no lab is named 'lab99'"):
        compare(course, "lab99")
    (tmp_path / "submitted").rename(tmp_path / "elsewhere")
    with pytest.raises(NotebookError, match=rf"submitted: no folder STUDENT/{LAB} with a submission in it"):
        compare(course, LAB)
    assert not (tmp_path / "page.html").exists()
