"""Cheats by the files of a submission: links, pipes, modules and settings beside it, and damaged notebooks."""

import json
import os

import nbformat

from tests.labcheck.cheats.submission import LAB, TASKS, Cheat, spying

_SHADOW = """
import os, sys
here = os.path.dirname(os.path.abspath(__file__))
saved, sys.path[:] = sys.path[:], [path for path in sys.path if os.path.abspath(path or ".") != here]
del sys.modules["numpy"]
import numpy
numpy.testing.assert_allclose = lambda *a, **k: None
numpy.allclose = lambda *a, **k: True
sys.path[:] = saved
"""


def _link_to(target):
    """The notebook handed in is a symbolic link."""

    def change(submission):
        submission.path.symlink_to(submission.filled(target))
        submission.notebook = None

    return change


def _beside(**files):
    """Further files in the submission's folder; dots are written as two underscores."""

    def change(submission):
        for name, text in files.items():
            (submission.path.parent / name.replace("__", ".")).write_text(text)

    return change


def _links_beside(submission):
    for name, target in {"notes.db": "gradebook.db", "notes.ipynb": f"solutions/{LAB}/{LAB}.ipynb", "all": "."}.items():
        (submission.path.parent / name).symlink_to(submission.root / target)


def _linked_folder(submission):
    submission.path.parent.rmdir()
    submission.path.parent.symlink_to(submission.root / "submitted" / "a-honest" / LAB)
    submission.notebook = None


def _pipe(submission):
    os.mkfifo(submission.path)
    submission.notebook = None


def _odd_names(submission):
    for name in ("-rf", "..\\..\\gradebook.db", "a\nb.txt", "<img src=x onerror=cheated()>.txt", "*", "x" * 250):
        (submission.path.parent / name).write_text("x")
    (submission.path.parent / "..." / "gradebook.db").parent.mkdir()
    (submission.path.parent / "..." / "gradebook.db").write_text("x")
    os.mkfifo(submission.path.parent / "pipe")


def _sparse(submission):
    with open(submission.path.parent / "data.bin", "wb") as file:
        file.truncate(400 * 2**20)


def _text(text):
    """The file handed in is this text."""

    def change(submission):
        submission.path.write_text(text() if callable(text) else text)
        submission.notebook = None

    return change


def _cell(source):
    """A further code cell, which comes first."""
    return lambda submission: submission.notebook.cells.insert(0, nbformat.v4.new_code_cell(source()))


def _many_cells(submission):
    submission.notebook.cells += [nbformat.v4.new_code_cell("x = 1", id=f"n{number}") for number in range(3000)]


def _with_text(change):
    """The notebook's text is changed as no notebook library would write it."""

    def apply(submission):
        submission.notebook.cells.append(nbformat.v4.new_code_cell("# @@"))
        submission.path.write_text(change(nbformat.writes(submission.notebook)))
        submission.notebook = None

    return apply


def _modules(submission):
    _beside(numpy__py=_SHADOW)(submission)
    folder = submission.path.parent / "labcheck"
    folder.mkdir()
    (folder / "__init__.py").write_text("def __getattr__(name):\n    return lambda *a, **k: None\n")


def _settings(submission):
    judge = "c = get_config()\nc.Autograde.autograde_preprocessors = []\nc.Execute.enabled = False\n"
    start = "c = get_config()\nc.InteractiveShellApp.exec_lines = ['import sys; sys.mine = True']\n"
    _beside(nbgrader_config__py=judge, ipython_config__py=start, ipython_kernel_config__py=start,
            sitecustomize__py="import sys; sys.mine = True", pyproject__toml="[tool.labcheck]\nchecks = 'mine'\n",
            hidden__py="lab = None", timestamp__txt="2001-01-01 00:00:00 UTC")(submission)  # fmt: skip


def _spying_settings():
    spy = spying("settings_beside", "Hands in settings of nbgrader, IPython, Python and labcheck beside its notebook.",
                 "import sys\ndef found(*arguments):\n    return getattr(sys, 'mine', False)")  # fmt: skip
    return Cheat(spy.name, spy.tries, lambda submission: (spy.change(submission), _settings(submission)))


def _spying_links():
    code = """
import os
def found(*arguments):
    return any(os.path.exists(name) for name in ("notes.db", "notes.ipynb", "all/gradebook.db", "all/solutions"))
"""
    spy = spying(
        "links_beside", "Hands in symbolic links to the gradebook and the solutions beside its notebook.", code
    )
    return Cheat(spy.name, spy.tries, lambda submission: (spy.change(submission), _links_beside(submission)))


FILES = (
    Cheat("link_to_the_solution", "Hands in a symbolic link to the instructor's notebook.",
          _link_to("@ROOT@/solutions/@LAB@/@LAB@.ipynb")),
    Cheat("link_to_a_peer", "Hands in a symbolic link to another student's notebook.",
          _link_to("../../a-honest/@LAB@/@LAB@.ipynb")),
    Cheat("linked_folder", "Hands in a symbolic link to another student's folder.", _linked_folder),
    _spying_links(),
    _spying_settings(),
    Cheat("modules_beside", "Hands in a false `numpy` and a false `labcheck` beside its notebook.", _modules),
    Cheat("pipe", "Hands in a named pipe, which never ends, as its notebook.", _pipe, alone=True),
    Cheat("odd_names",
          "Hands in files with names such as `-rf` and `..\\..\\gradebook.db`, and a named pipe, beside its notebook.",
          _odd_names, page=True),
    Cheat("sparse_file", "Hands in a file of 400 MB that takes no room where it is, but where it is copied.", _sparse),
    Cheat("not_json", "Hands in a picture under the notebook's name.", _text("\x89PNG\r\n")),
    Cheat("nested_json", "Hands in JSON nested 100,000 deep.", _text(lambda: "[" * 100_000 + "]" * 100_000)),
    Cheat("zip_bomb", "Hands in a notebook of 40 MB, most of it one output.", _text(lambda: json.dumps({
        "nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [
            {"cell_type": "code", "id": "a", "metadata": {}, "execution_count": 1, "source": "x = 1",
             "outputs": [{"output_type": "stream", "name": "stdout", "text": "0" * 40_000_000}]}]}))),
    Cheat("many_cells", "Right, with 3,000 further cells.", _many_cells, right=TASKS),
    Cheat("deep_metadata", "Right, with metadata nested 900 deep.",
          _with_text(lambda text: text.replace('"metadata": {}', f'"metadata": {{"deep": {"[" * 900}{"]" * 900}}}', 1)),
          right=TASKS),
    Cheat("lone_surrogate", "Right, with half a character, which no text file can hold, in a comment.",
          _with_text(lambda text: text.replace("@@", "\\ud800")), right=TASKS),
    Cheat("deep_expression", "A cell with an expression nested 50,000 deep, for whoever parses it.",
          _cell(lambda: "x = " + "-" * 50_000 + "1\ny = " + "1 + " * 50_000 + "1\nz = " + "(" * 5_000)),
    Cheat("parse_bomb", "A cell of one megabyte with 99 magics, parsed anew for each by whoever leaves them out.",
          _cell(lambda: "\n".join(["%magic x"] * 99 + ["x = 1"] * 150_000))),
    Cheat("regular_expression_bomb", "Cells with lines on which regular expressions take long.",
          _cell(lambda: "x = 1 " + "= " * 50_000 + "\n" + "?" * 50_000 + " " * 50_000 + "x\ny = !" + "\\\n" * 1_000)),
    Cheat("old_format", "A notebook of a format that is not known yet, with numbers of 4,000 digits.",
          _with_text(lambda text: text.replace('"nbformat_minor": 5', '"nbformat_minor": ' + "9" * 4000))),
)  # fmt: skip
