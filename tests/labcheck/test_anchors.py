"""Cells merged, split, re-tagged and saved by other editors: the last definition of a function is the one graded."""

import ast
import copy
import random

import nbformat
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_markdown_cell, new_raw_cell

from labcheck.cells import normal
from labcheck.inside.loading import run
from labcheck.notebooks import code_cells, grade_id, reanchor

RIGHT_DOUBLE = "def double(x):\n    return x + x"
RIGHT_APPLY = "def apply_twice(f, x):\n    return f(f(x))"
WRONG_DOUBLE = "def double(x):\n    return 5 * x"


def at(notebook, name) -> int:
    """The place of the cell with this grade_id or id."""
    return next(i for i, cell in enumerate(notebook.cells) if name in (grade_id(cell), cell.id))


def cell_of(notebook, name):
    return notebook.cells[at(notebook, name)]


def clear(notebook, *names):
    """Take cells out."""
    notebook.cells = [cell for cell in notebook.cells if grade_id(cell) not in names]


def functions(rebuilt, released) -> dict:
    """What the sandbox would have after loading the cells."""
    namespace = {}
    run(code_cells(rebuilt, released), namespace, wanted=("FACTOR", "OTHER", "EDITED"))
    return namespace


def assert_shape(rebuilt, released):
    """Each released cell once, in order, with its own metadata and id; locked ones as released; unique ids."""
    originals = {cell.id: cell for cell in released.cells}
    kept = [cell for cell in rebuilt.cells if cell.id in originals]
    assert [cell.id for cell in kept] == list(originals)
    for cell in kept:
        original = originals[cell.id]
        assert (cell.metadata, cell.cell_type) == (original.metadata, original.cell_type)
        if original.metadata.get("nbgrader", {}).get("locked"):
            assert cell.source == original.source
    assert all(cell.metadata == {} for cell in rebuilt.cells if cell.id not in originals)
    assert len({cell.id for cell in rebuilt.cells}) == len(rebuilt.cells)
    nbformat.validate(rebuilt)


def assert_nothing_lost(submitted, released):
    rebuilt = reanchor(submitted, released)
    assert_shape(rebuilt, released)
    names = functions(rebuilt, released)
    assert names["double"](3) == 6
    assert names["apply_twice"](lambda x: x + 1, 0) == 2
    assert cell_of(rebuilt, "open-question").source == "Because it is."
    assert reanchor(rebuilt, released) == rebuilt, "re-anchoring again changes nothing"
    return rebuilt


@pytest.mark.parametrize("metadata", ["first", "last", "none"])
def test_answers_merged_with_all_between_them_fill_each_of_their_cells(metadata, solved, released):
    first, last = at(solved, "double"), at(solved, "apply_twice")
    merged = new_code_cell("\n\n".join(cell.source for cell in solved.cells[first : last + 1]))
    if metadata != "none":
        kept = solved.cells[first if metadata == "first" else last]
        merged.metadata, merged.id = kept.metadata, kept.id
    solved.cells[first : last + 1] = [merged]
    rebuilt = assert_nothing_lost(solved, released)
    assert cell_of(rebuilt, "double").source == cell_of(rebuilt, "apply_twice").source == merged.source


@pytest.mark.parametrize("name", ["top-2", "check-double", "check-apply_twice"])
def test_answers_merged_into_a_cell_that_is_none_count(name, solved, released):
    cell_of(solved, name).source += f"\n\n{RIGHT_DOUBLE}\n\n{RIGHT_APPLY}"
    clear(solved, "double", "apply_twice")
    rebuilt = assert_nothing_lost(solved, released)
    assert functions(rebuilt, released)["FACTOR"] == 2


def test_a_text_cell_turned_into_code_and_merged_costs_its_own_cell_only(solved, released):
    cell_of(solved, "double").source = f"Doubling is adding.\n\n{RIGHT_DOUBLE}"
    rebuilt = reanchor(solved, released)
    assert_shape(rebuilt, released)
    assert "Doubling is adding." in cell_of(rebuilt, "double").source
    names = functions(rebuilt, released)
    assert "double" not in names and names["apply_twice"](lambda x: x + 1, 0) == 2


def test_a_merged_cell_that_is_not_python_costs_the_tasks_in_it_only(solved, released):
    cell_of(solved, "double").source = f"{RIGHT_DOUBLE}\n\ndef apply_twice(f, x:\n    return"
    clear(solved, "apply_twice")
    rebuilt = reanchor(solved, released)
    assert_shape(rebuilt, released)
    names = functions(rebuilt, released)
    assert "double" not in names and "apply_twice" not in names and names["FACTOR"] == 2


def test_a_right_answer_is_not_lost_to_a_later_attempt_that_is_not_python(solved, released):
    solved.cells.append(new_code_cell("def double(x:\n    return"))
    assert_nothing_lost(solved, released)


@pytest.mark.parametrize("both", [True, False], ids=["both keep the metadata", "the first keeps the metadata"])
def test_an_answer_split_into_a_helper_and_its_function_is_whole(both, solved, released):
    place = at(solved, "double")
    helper, function = copy.deepcopy(solved.cells[place]), copy.deepcopy(solved.cells[place])
    helper.source, function.source = "def add(a, b):\n    return a + b", "def double(x):\n    return add(x, x)"
    function.id = "split"
    if not both:
        function.metadata = {}
    solved.cells[place : place + 1] = [helper, function]
    rebuilt = assert_nothing_lost(solved, released)
    assert cell_of(rebuilt, "double").source == function.source


def test_a_trial_split_off_an_answer_does_not_take_its_place(solved, released):
    trial = copy.deepcopy(cell_of(solved, "double"))
    trial.source, trial.id = "double(3)", "split"
    solved.cells.insert(at(solved, "double") + 1, trial)
    assert cell_of(assert_nothing_lost(solved, released), "double").source == RIGHT_DOUBLE


def test_swapped_tags_are_put_right_by_the_functions(solved, released):
    first, second = cell_of(solved, "double"), cell_of(solved, "apply_twice")
    first.metadata, second.metadata = second.metadata, first.metadata
    first.id, second.id = second.id, first.id
    rebuilt = assert_nothing_lost(solved, released)
    assert cell_of(rebuilt, "double").source == RIGHT_DOUBLE
    assert cell_of(rebuilt, "apply_twice").source == RIGHT_APPLY


def test_an_answer_tagged_as_the_text_is_code_and_the_text_is_found_by_its_place(solved, released):
    text, code = cell_of(solved, "open-question"), cell_of(solved, "double")
    text.metadata, code.metadata = {}, text.metadata
    text.id, code.id = "other", text.id
    assert_nothing_lost(solved, released)


@pytest.mark.parametrize("make", [new_raw_cell, new_markdown_cell])
@pytest.mark.parametrize("tagged", [True, False])
def test_an_answer_turned_into_raw_text_counts(make, tagged, solved, released):
    place = at(solved, "double")
    metadata = solved.cells[place].metadata if tagged else {}
    solved.cells[place] = make(RIGHT_DOUBLE, id="turned", metadata=metadata)
    assert_nothing_lost(solved, released)


@pytest.mark.parametrize("make", [new_raw_cell, new_code_cell])
def test_a_text_answer_turned_into_another_type_counts(make, solved, released):
    place = at(solved, "open-question")
    text = solved.cells[place]
    solved.cells[place] = make(text.source, id=text.id, metadata=text.metadata)
    assert_nothing_lost(solved, released)


def test_a_first_attempt_among_other_answers_does_not_override_the_last_one(solved, released):
    cell_of(solved, "apply_twice").source = f"{WRONG_DOUBLE}\n\n{RIGHT_APPLY}"
    clear(solved, "double")
    solved.cells.append(new_code_cell(RIGHT_DOUBLE))
    assert_nothing_lost(solved, released)


def test_a_first_attempt_further_down_in_the_release_does_not_override_the_last_one(solved, released):
    solved.cells.insert(0, new_code_cell(WRONG_DOUBLE))
    solved.cells.insert(0, solved.cells.pop(at(solved, "check-apply_twice")))
    assert_nothing_lost(solved, released)


def test_a_function_wrapped_afterwards_stays_wrapped(solved, released):
    solved.cells.append(new_code_cell("import functools\ndouble = functools.partial(double)", id="wrap"))
    rebuilt = reanchor(solved, released)
    assert cell_of(rebuilt, "double").source == RIGHT_DOUBLE
    assert type(functions(rebuilt, released)["double"]).__name__ == "partial"


def test_a_helper_written_into_a_check_cell_is_kept_and_the_check_is_as_released(solved, released):
    cell_of(solved, "double").source = "def double(x):\n    return add(x, x)"
    cell_of(solved, "check-double").source = 'def add(a, b):\n    return a + b\n\ncheck("double")'
    rebuilt = assert_nothing_lost(solved, released)
    assert cell_of(rebuilt, "check-double").source == 'check("double")'


def test_a_locked_cell_that_was_changed_is_not_graded(solved, released):
    lines = "def given(x):\n    return x"
    for notebook in (solved, released):
        settings = {"grade_id": "given", "solution": False, "grade": False, "locked": True, "schema_version": 3}
        settings["task"] = False
        notebook.cells.insert(2, new_code_cell(lines, id="given", metadata={"nbgrader": settings}))
    cell_of(solved, "given").source = "def given(x):\n    return 0\nOTHER = 1"
    names = functions(assert_nothing_lost(solved, released), released)
    assert names["given"](7) == 7 and "OTHER" not in names
    cell_of(solved, "given").source += "\ndef helper():\n    return 1"
    names = functions(assert_nothing_lost(solved, released), released)
    assert names["given"](7) == 7 and names["helper"]() == 1


def test_a_text_written_below_the_blank_is_the_answer(solved, released):
    cell_of(solved, "open-question").source = "YOUR ANSWER HERE"
    solved.cells.append(new_markdown_cell("Because it is."))
    assert_nothing_lost(solved, released)


def test_a_text_merged_with_its_question_is_the_answer(solved, released):
    clear(solved, "open-question")
    solved.cells[-1].source = "Why is doubling linear?\n\nBecause it is."
    rebuilt = reanchor(solved, released)
    assert_shape(rebuilt, released)
    assert cell_of(rebuilt, "open-question").source.endswith("Because it is.")


def test_each_of_two_texts_without_metadata_is_found(solved, released):
    for notebook, text in ((released, "YOUR ANSWER HERE"), (solved, "YOUR ANSWER HERE")):
        second = copy.deepcopy(cell_of(notebook, "open-question"))
        second.metadata.nbgrader["grade_id"], second.id, second.source = "second", "second", text
        notebook.cells += [new_markdown_cell("And why additive?", id="question-2"), second]
    cell_of(solved, "open-question").source, cell_of(solved, "second").source = "YOUR ANSWER HERE", "By definition."
    for number, cell in enumerate(solved.cells):
        cell.metadata, cell.id = {}, f"other-{number}"
    rebuilt = reanchor(solved, released)
    assert cell_of(rebuilt, "second").source == "By definition."
    assert cell_of(rebuilt, "open-question").source == "YOUR ANSWER HERE"


def test_a_picture_pasted_into_a_text_is_kept(solved, released):
    picture = {"a.png": {"image/png": "iVBORw0KGgo="}}
    cell_of(solved, "open-question").attachments = picture
    solved.cells.insert(0, nbformat.from_dict({**new_markdown_cell("My own."), "attachments": picture}))
    rebuilt = assert_nothing_lost(solved, released)
    assert cell_of(rebuilt, "open-question").attachments == rebuilt.cells[0].attachments == picture


def test_windows_line_ends_change_nothing(solved, released):
    for cell in solved.cells:
        cell.source = cell.source.replace("\n", "\r\n")
    rebuilt = assert_nothing_lost(solved, released)
    assert not any("\r" in cell.source for cell in rebuilt.cells)


# Random damages. Each changes a notebook in place, with choices made by a generator of random numbers.
def strip_a_cell(notebook, rng):
    rng.choice(notebook.cells).metadata = nbformat.from_dict({})


def strip_all(notebook, rng):
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({})


def change_ids(notebook, rng):
    for cell in notebook.cells:
        cell.id = f"id-{rng.randrange(10**9)}"


def delete_what_is_no_answer(notebook, rng):
    cell = rng.choice(notebook.cells)
    if "def " not in cell.source:
        notebook.cells.remove(cell)


def copy_a_cell(notebook, rng):
    notebook.cells.insert(rng.randrange(len(notebook.cells) + 1), copy.deepcopy(rng.choice(notebook.cells)))


def move_a_cell(notebook, rng):
    cell = notebook.cells.pop(rng.randrange(len(notebook.cells)))
    notebook.cells.insert(rng.randrange(len(notebook.cells) + 1), cell)


def paste_a_blank(notebook, rng):
    stub = "def double(x):\n    # YOUR CODE HERE\n    raise NotImplementedError"
    notebook.cells.insert(rng.randrange(len(notebook.cells) + 1), new_code_cell(stub))


def paste_another_answer(notebook, rng):
    source = f"def double(x):\n    return {rng.randrange(3, 9)} * x"
    notebook.cells.insert(rng.randrange(len(notebook.cells) + 1), new_code_cell(source))


def edit_a_check(notebook, rng):
    checks = [cell for cell in notebook.cells if (grade_id(cell) or "").startswith("check-")]
    if checks:
        rng.choice(checks).source = "EDITED = 3.0"


def merge_two(notebook, rng):
    place = rng.randrange(len(notebook.cells))
    pair = notebook.cells[place : place + 2]
    if len(pair) == 2 and pair[0].cell_type == pair[1].cell_type == "code":
        merged = copy.deepcopy(rng.choice(pair))
        merged.source = "\n\n".join(cell.source for cell in pair)
        notebook.cells[place : place + 2] = [merged]


def split_one(notebook, rng):
    place = rng.randrange(len(notebook.cells))
    cell = notebook.cells[place]
    parts = statements(cell)
    if len(parts) > 1:
        first, second = copy.deepcopy(cell), copy.deepcopy(cell)
        middle = rng.randrange(1, len(parts))
        first.source, second.source = ("\n\n".join(map(ast.unparse, part)) for part in (parts[:middle], parts[middle:]))
        if rng.random() < 0.5:
            second.metadata = nbformat.from_dict({})
        notebook.cells[place : place + 1] = [first, second]


def swap_tags(notebook, rng):
    first, second = rng.choice(notebook.cells), rng.choice(notebook.cells)
    first.metadata, second.metadata = second.metadata, first.metadata


def break_a_cell(notebook, rng):
    rng.choice(notebook.cells).source += "\ndef (:"


def turn_into_text(notebook, rng):
    place = rng.randrange(len(notebook.cells))
    cell = notebook.cells[place]
    make = rng.choice([new_raw_cell, new_markdown_cell])
    notebook.cells[place] = make(cell.source, id=cell.id, metadata=cell.metadata)


CHANGES = [
    strip_a_cell, strip_all, change_ids, delete_what_is_no_answer, copy_a_cell, move_a_cell, paste_a_blank,
    paste_another_answer, edit_a_check, merge_two, split_one, swap_tags, break_a_cell, turn_into_text,
]  # fmt: skip


def statements(cell) -> list[ast.stmt]:
    """The statements of a code cell, none where it is not Python."""
    try:
        return ast.parse(cell.source).body if cell.cell_type == "code" else []
    except SyntaxError:
        return []


def last_definitions(notebook, released) -> dict:
    """By task, its last definition in a cell that is no blank: what counts, however the notebook looks."""
    blanks = {normal(cell.source) for cell in released.cells}
    found = {}
    for cell in notebook.cells:
        if normal(cell.source) not in blanks:
            for node in statements(cell):
                if isinstance(node, ast.FunctionDef) and node.name in ("double", "apply_twice"):
                    found[node.name] = ast.unparse(node)
    return found


def changed_content_of_locked_cells(notebook, released) -> set[str]:
    """Sources that stand nowhere but in locked cells and define no function."""
    locked = {grade_id(cell) for cell in released.cells if cell.metadata.get("nbgrader", {}).get("locked")}
    tags = {grade_id(cell) for cell in released.cells}
    inside, outside = set(), {normal(cell.source) for cell in released.cells}
    for cell in notebook.cells:
        name = grade_id(cell) if grade_id(cell) in tags - {None} else cell.id
        own = name not in locked or "def " in cell.source
        (outside if own else inside).add(normal(cell.source))
    return inside - outside


@settings(
    max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(st.sampled_from(CHANGES), st.integers(0, 10**6)), max_size=8))
def test_whatever_is_done_to_the_cells_the_last_definition_is_graded(solved, released, changes):
    notebook = copy.deepcopy(solved)
    for change, seed in changes:
        if notebook.cells:
            change(notebook, random.Random(seed))
    rebuilt = reanchor(notebook, released)
    assert_shape(rebuilt, released)
    cells = code_cells(rebuilt, released)
    loaded = nbformat.v4.new_notebook(cells=[new_code_cell(cell.source) for cell in cells])
    expected = last_definitions(notebook, released)
    got = last_definitions(loaded, released)
    assert {name: got.get(name) for name in expected} == expected
    names = functions(rebuilt, released)
    assert set(expected) <= set(names)
    graded = {normal(cell.source) for cell in cells}
    assert not (changed_content_of_locked_cells(notebook, released) & graded)
    again = reanchor(rebuilt, released)
    assert [cell.source for cell in code_cells(again, released)] == [cell.source for cell in cells]
