"""Damaged notebooks: a right answer costs nothing, a wrong one gains nothing."""

import copy
import json

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_raw_cell

from labcheck.inside.loading import run
from labcheck.notebooks import NotebookError, code_cells, grade_id, read, reanchor, top_level_imports

RIGHT_DOUBLE = "def double(x):\n    return x + x"
RIGHT_APPLY = "def apply_twice(f, x):\n    return f(f(x))"
TEXT = "Because it is."


def at(notebook, name) -> int:
    """The place of the cell with this grade_id or id."""
    return next(i for i, cell in enumerate(notebook.cells) if name in (grade_id(cell), cell.id))


def blank_of(released, name):
    cell = copy.deepcopy(released.cells[at(released, name)])
    cell.id = "pasted"
    return cell


def functions(notebook, released) -> dict:
    """What the sandbox would have after loading the cells."""
    namespace = {}
    run(code_cells(notebook, released), namespace, wanted=("FACTOR",))
    return namespace


def sources(notebook) -> dict:
    return {grade_id(cell): cell.source for cell in notebook.cells if grade_id(cell)}


def assert_released_shape(rebuilt, released):
    """Each released cell once, in order, with its own metadata; locked ones as released; unique ids."""
    named = [cell for cell in rebuilt.cells if grade_id(cell)]
    assert [grade_id(cell) for cell in named] == [grade_id(c) for c in released.cells if grade_id(c)]
    for cell, original in zip(named, (c for c in released.cells if grade_id(c)), strict=True):
        assert cell.metadata == original.metadata
        if cell.metadata.nbgrader.locked:
            assert cell.source == original.source
    ids = [cell.id for cell in rebuilt.cells]
    assert len(set(ids)) == len(ids)
    nbformat.validate(rebuilt)


# Damages: each changes a solved notebook in place, and costs nothing.
def untouched(notebook, released):
    pass


def one_check_cell_deleted(notebook, released):
    del notebook.cells[at(notebook, "check-double")]


def all_check_cells_deleted(notebook, released):
    notebook.cells = [cell for cell in notebook.cells if not (grade_id(cell) or "").startswith("check-")]


def check_cell_copied(notebook, released):
    place = at(notebook, "check-double")
    notebook.cells.insert(place, copy.deepcopy(notebook.cells[place]))


def check_cell_edited(notebook, released):
    notebook.cells[at(notebook, "check-double")].source = "print('all is well')\n3.0"


def answer_cell_copied(notebook, released):
    place = at(notebook, "double")
    notebook.cells.append(copy.deepcopy(notebook.cells[place]))


def blank_pasted_after_the_right_answer(notebook, released):
    notebook.cells.insert(at(notebook, "double") + 1, blank_of(released, "double"))


def blank_pasted_before_the_right_answer(notebook, released):
    notebook.cells.insert(at(notebook, "double"), blank_of(released, "double"))


def blank_text_pasted_after_the_answer(notebook, released):
    notebook.cells.append(blank_of(released, "open-question"))


def blank_pasted_at_the_end_without_metadata(notebook, released):
    notebook.cells.append(new_code_cell(blank_of(released, "double").source))


def right_answer_in_a_new_cell_after_the_blank(notebook, released):
    place = at(notebook, "double")
    notebook.cells[place] = copy.deepcopy(released.cells[at(released, "double")])
    notebook.cells.insert(place + 1, new_code_cell(RIGHT_DOUBLE))


def right_answer_in_a_new_cell_before_the_blank(notebook, released):
    place = at(notebook, "double")
    notebook.cells[place] = copy.deepcopy(released.cells[at(released, "double")])
    notebook.cells.insert(place, new_code_cell(RIGHT_DOUBLE))


def answer_cell_deleted_and_written_anew(notebook, released):
    del notebook.cells[at(notebook, "double")]
    notebook.cells.append(new_code_cell(RIGHT_DOUBLE))


def both_answers_in_one_cell(notebook, released):
    notebook.cells[at(notebook, "double")].source = f"{RIGHT_DOUBLE}\n\n{RIGHT_APPLY}"
    notebook.cells[at(notebook, "apply_twice")] = copy.deepcopy(released.cells[at(released, "apply_twice")])


def both_answers_in_one_new_cell(notebook, released):
    for name in ("double", "apply_twice"):
        notebook.cells[at(notebook, name)] = copy.deepcopy(released.cells[at(released, name)])
    notebook.cells.append(new_code_cell(f"{RIGHT_DOUBLE}\n\n{RIGHT_APPLY}"))


def answer_written_into_the_check_cell(notebook, released):
    notebook.cells[at(notebook, "check-double")].source = f'{RIGHT_DOUBLE}\ncheck("double")'
    notebook.cells[at(notebook, "double")] = copy.deepcopy(released.cells[at(released, "double")])


def metadata_stripped(notebook, released):
    for cell in notebook.cells:
        cell.metadata = {}
    notebook.metadata = {}


def ids_changed(notebook, released):
    for number, cell in enumerate(notebook.cells):
        cell.id = f"other-{number}"


def ids_dropped(notebook, released):
    notebook.nbformat_minor = 4
    for cell in notebook.cells:
        del cell["id"]


def metadata_stripped_and_ids_changed(notebook, released):
    metadata_stripped(notebook, released)
    ids_changed(notebook, released)


def metadata_that_makes_no_sense(notebook, released):
    settings = ["text", None, {"grade_id": ["a"]}, {"grade_id": {}}, 5]
    for number, cell in enumerate(notebook.cells):
        cell.metadata = nbformat.from_dict({"nbgrader": settings[number % len(settings)]})


def ids_that_are_not_allowed(notebook, released):
    for number, cell in enumerate(notebook.cells):
        cell.id = [5, "with spaces", "", "a" * 100][number % 4]
    notebook.cells[0:0] = [{**new_code_cell("extra = 1"), "id": 5}, {**new_code_cell("extra = 2"), "id": 5}]
    notebook.cells = [nbformat.from_dict(cell) for cell in notebook.cells]


def all_ids_equal(notebook, released):
    notebook.cells.append(new_code_cell("extra = 1"))
    for cell in notebook.cells:
        cell.id = "double"


def cells_moved(notebook, released):
    notebook.cells = notebook.cells[5:7] + notebook.cells[4:5] + notebook.cells[7:] + notebook.cells[:4]


def metadata_of_two_answers_swapped(notebook, released):
    first, second = (notebook.cells[at(notebook, name)] for name in ("double", "apply_twice"))
    first.metadata, second.metadata = second.metadata, first.metadata
    first.id, second.id = second.id, first.id


def cells_of_the_students_added(notebook, released):
    notebook.cells[2:2] = [new_markdown_cell("A plan."), new_code_cell("import math"), new_raw_cell("raw")]
    notebook.cells.append(new_code_cell("double(3)"))


def setup_deleted(notebook, released):
    del notebook.cells[:2]


DAMAGES = [
    untouched, one_check_cell_deleted, all_check_cells_deleted, check_cell_copied, check_cell_edited,
    answer_cell_copied,
    blank_text_pasted_after_the_answer,
    blank_pasted_after_the_right_answer, blank_pasted_before_the_right_answer, blank_pasted_at_the_end_without_metadata,
    right_answer_in_a_new_cell_after_the_blank, right_answer_in_a_new_cell_before_the_blank,
    answer_cell_deleted_and_written_anew, both_answers_in_one_cell, both_answers_in_one_new_cell,
    answer_written_into_the_check_cell, metadata_stripped, ids_changed, ids_dropped, metadata_stripped_and_ids_changed,
    metadata_that_makes_no_sense, ids_that_are_not_allowed, all_ids_equal, cells_moved, metadata_of_two_answers_swapped,
    cells_of_the_students_added, setup_deleted,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_notebook_keeps_its_right_answers(damage, solved, released):
    before = copy.deepcopy(released)
    damage(solved, released)
    rebuilt = reanchor(solved, released)
    assert_released_shape(rebuilt, released)
    names = functions(rebuilt, released)
    assert names["double"](3) == 6
    assert names["apply_twice"](lambda x: x + 1, 0) == 2
    assert names["FACTOR"] == 2
    assert sources(rebuilt)["open-question"] == TEXT
    assert released == before, "the released notebook itself is not changed"


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_re_anchoring_again_changes_nothing(damage, solved, released):
    damage(solved, released)
    once = reanchor(solved, released)
    assert reanchor(once, released) == once


@pytest.mark.parametrize("name", ["double", "apply_twice"])
def test_a_deleted_answer_is_the_blank_one(name, solved, released):
    del solved.cells[at(solved, name)]
    rebuilt = reanchor(solved, released)
    assert_released_shape(rebuilt, released)
    assert sources(rebuilt)[name] == sources(released)[name]
    with pytest.raises(NotImplementedError):
        functions(rebuilt, released)[name](*[1] * (1 if name == "double" else 2))


def test_a_deleted_text_is_the_blank_one(solved, released):
    del solved.cells[at(solved, "open-question")]
    rebuilt = reanchor(solved, released)
    assert_released_shape(rebuilt, released)
    assert sources(rebuilt)["open-question"] == "YOUR ANSWER HERE"


def test_the_last_of_two_different_answers_counts(solved, released):
    again = copy.deepcopy(solved.cells[at(solved, "double")])
    again.source = "def double(x):\n    return 5 * x"
    solved.cells.append(again)
    assert functions(reanchor(solved, released), released)["double"](3) == 15


def test_a_text_is_found_by_its_place(solved, released):
    place = at(solved, "open-question")
    solved.cells[place] = new_markdown_cell("A text of its own.", id="other")
    assert sources(reanchor(solved, released))["open-question"] == "A text of its own."


def test_a_text_elsewhere_is_the_students_own(solved, released):
    del solved.cells[at(solved, "open-question")]
    solved.cells.insert(1, new_markdown_cell("A text of its own.", id="other"))
    rebuilt = reanchor(solved, released)
    assert sources(rebuilt)["open-question"] == "YOUR ANSWER HERE"
    assert [cell.source for cell in rebuilt.cells][1] == "A text of its own."


def test_an_answer_turned_into_text_is_an_answer_unless_there_is_one_in_code(solved, released):
    place = at(solved, "double")
    cell = new_markdown_cell(RIGHT_DOUBLE, id="double", metadata=solved.cells[place].metadata)
    solved.cells[place] = cell
    rebuilt = reanchor(solved, released)
    assert_released_shape(rebuilt, released)
    assert sources(rebuilt)["double"] == RIGHT_DOUBLE
    solved.cells.insert(0, new_code_cell("def double(x):\n    return 5 * x"))
    assert functions(reanchor(solved, released), released)["double"](3) == 15


def test_an_edited_setup_cell_is_kept(solved, released):
    solved.cells[1].source = "import torch\nimport math\nFACTOR = 7"
    names = functions(reanchor(solved, released), released)
    assert names["FACTOR"] == 7 and "math" in names


def test_no_student_can_add_a_graded_cell(solved, released):
    settings = {"grade": True, "grade_id": "check-bonus", "locked": False, "points": 100, "solution": False}
    solved.cells.append(new_code_cell("100.0", metadata={"nbgrader": settings}))
    more = copy.deepcopy(solved.cells[at(solved, "check-double")])
    more.metadata.nbgrader.points = 100
    solved.cells.append(more)
    rebuilt = reanchor(solved, released)
    assert_released_shape(rebuilt, released)
    bonus = [cell for cell in rebuilt.cells if cell.source == "100.0"]
    assert [dict(cell.metadata) for cell in bonus] == [{}]


def test_cells_of_the_students_stay_where_they_were(solved, released):
    solved.cells.insert(0, new_code_cell("first = 1"))
    solved.cells.insert(at(solved, "check-double"), new_code_cell("def helper():\n    return 1"))
    order = [grade_id(cell) or cell.source.split("\n")[0] for cell in reanchor(solved, released).cells]
    assert order == [
        "first = 1", "# Numbers", "import torch", "double", "def helper():", "check-double", "apply_twice",
        "check-apply_twice", "Why is doubling linear?", "open-question",
    ]  # fmt: skip


def test_outputs_do_not_come_along(solved, released):
    solved.cells[at(solved, "double")].outputs = [nbformat.v4.new_output("stream", text="a" * 100)]
    rebuilt = reanchor(solved, released)
    assert not any(cell.get("outputs") for cell in rebuilt.cells)


def test_code_cells_have_names_and_know_answers(solved, released):
    solved.cells.append(new_code_cell("extra = 1", id="mine"))
    cells = code_cells(reanchor(solved, released), released)
    assert [(cell.name, cell.answer) for cell in cells] == [
        ("top-2", False), ("double", True), ("apply_twice", True), ("mine", True),
    ]  # fmt: skip


def test_a_blank_is_left_out_only_where_another_cell_defines_its_name(solved, released):
    blank = released.cells[at(released, "double")].source
    solved.cells[at(solved, "double")].source = blank
    assert "double" in [cell.name for cell in code_cells(reanchor(solved, released), released)]
    solved.cells.insert(1, new_code_cell("double = lambda x: 2 * x", id="mine"))
    rebuilt = reanchor(solved, released)
    assert functions(rebuilt, released)["double"](3) == 6


def test_a_blank_with_other_whitespace_is_a_blank(solved, released):
    blank = released.cells[at(released, "double")].source
    solved.cells[at(solved, "double")].source = "\n" + blank.replace("\n", "   \n") + "\n\n"
    solved.cells.insert(1, new_code_cell(RIGHT_DOUBLE))
    assert functions(reanchor(solved, released), released)["double"](3) == 6


def test_an_answer_that_is_graded_by_hand_is_loaded_too(solved, released):
    for notebook in (solved, released):
        settings = notebook.cells[at(notebook, "double")].metadata.nbgrader
        notebook.cells[at(notebook, "double")].metadata.nbgrader = {**settings, "grade": True, "points": 1}
    assert functions(reanchor(solved, released), released)["double"](3) == 6


def test_an_answer_that_is_not_python_stays_as_it_is(solved, released):
    solved.cells[at(solved, "double")].source = "def double(x:\n  return"
    rebuilt = reanchor(solved, released)
    assert sources(rebuilt)["double"] == "def double(x:\n  return"
    assert functions(rebuilt, released)["apply_twice"](lambda x: x + 1, 0) == 2


def test_top_level_imports_are_those_outside_functions(released):
    notebook = copy.deepcopy(released)
    notebook.cells.append(new_code_cell("import os.path as p\nfrom math import pi\ndef f():\n    import secret"))
    notebook.cells.append(new_code_cell("not python ("))
    assert top_level_imports(notebook) == ["math", "math.pi", "os.path", "torch"]


def test_a_notebook_is_read_as_it_was_written(solved, tmp_path):
    path = tmp_path / "lab.ipynb"
    nbformat.write(solved, path)
    assert read(path) == solved
    assert read(str(path)) == solved


def test_a_notebook_of_version_3_is_read(tmp_path):
    cell = {"cell_type": "code", "input": "x = 1", "outputs": [], "language": "python", "metadata": {}}
    old = {
        "nbformat": 3,
        "nbformat_minor": 0,
        "metadata": {"name": ""},
        "worksheets": [{"cells": [cell], "metadata": {}}],
    }
    (tmp_path / "lab.ipynb").write_text(json.dumps(old))
    assert [cell.source for cell in read(tmp_path / "lab.ipynb").cells] == ["x = 1"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "no such file"),
        ("", "not a Jupyter notebook"),
        ("just text", "not a Jupyter notebook"),
        ("[1, 2]", "not a Jupyter notebook"),
        ("{}", "not a Jupyter notebook"),
        ('{"nbformat": 4, "nbformat_minor": 5, "metadata": {}}', "not a Jupyter notebook"),
        ('{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": 5}', "not a Jupyter notebook"),
        ('{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{}]}', "not a Jupyter notebook"),
        ('{"nbformat": 99, "nbformat_minor": 0, "metadata": {}, "cells": []}', "not a Jupyter notebook"),
        ('{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []}', "a notebook without cells"),
        ("\ud800".encode("utf-8", "surrogatepass"), "not a Jupyter notebook"),
    ],
    ids=lambda value: str(value)[:60],
)  # fmt: skip
def test_a_file_that_is_no_notebook_is_refused_in_one_line(content, reason, tmp_path):
    path = tmp_path / "lab.ipynb"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(NotebookError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: {reason}")
    assert "\n" not in message and len(message) < len(str(path)) + 300


def test_a_folder_is_no_notebook(tmp_path):
    with pytest.raises(NotebookError, match="not a Jupyter notebook"):
        read(tmp_path)
