"""Cheats by the notebook's cells and metadata, rather than by what its code does."""

import copy

import nbformat

from tests.labcheck.cheats.submission import LAB, POINTS, RIGHT, TASKS, Cheat

_ONE = TASKS[:1]
_SCRIPT = "<script>cheated()</script><img src=x onerror=cheated()><a href='javascript:cheated()'>here</a>"


def _checks(submission):
    return [submission.cell(f"check-{task}") for task in TASKS]


def _each_check(change):
    """A change of every check cell."""

    def apply(submission):
        for cell in _checks(submission):
            change(cell)

    return apply


def _settings(**changes):
    return _each_check(lambda cell: cell.metadata.nbgrader.update(changes))


def _retype(kind):
    def change(cell):
        cell.cell_type = kind
        for name in ("outputs", "execution_count"):
            cell.pop(name, None)

    return _each_check(change)


def _forged_outputs(submission):
    for cell in _checks(submission):
        result = nbformat.v4.new_output("execute_result", data={"text/plain": "3.0"}, execution_count=1)
        cell.update(outputs=[result], execution_count=1)
        cell.metadata["labcheck"] = {"score": POINTS, "status": "passed"}
    verdict = {"lab": LAB, "score": 12.0, "max": 12.0, "sandboxed": True, "checks": [], "problems": [], "versions": {}}
    submission.notebook.metadata["labcheck"] = {**verdict, "seed": 1}


def _delete_checks(submission):
    submission.notebook.cells = [cell for cell in submission.notebook.cells if cell not in _checks(submission)]


def _copy_check(submission):
    cells = submission.notebook.cells
    place = cells.index(submission.cell("check-spread"))
    cells.insert(place, copy.deepcopy(cells[place]))
    cells[place].id = "a-copy"


def _copy_passed(submission):
    """The check of the right answer, under the names of all others."""
    passed = submission.cell(f"check-{TASKS[0]}").source
    for cell in _checks(submission):
        cell.source = passed


def _swap_ids(submission):
    checks = _checks(submission)
    names = [cell.metadata.nbgrader.grade_id for cell in checks]
    for cell, name in zip(checks, [*names[1:], names[0]], strict=True):
        cell.metadata.nbgrader.grade_id = name
    checks[0].metadata.nbgrader.points = 100


def _rename_all(submission):
    """All four names for the one answer that is right."""
    submission.answer(TASKS[0], RIGHT[TASKS[0]] + "\n\nmoving_average = running_mean = spread = standardise")
    for task in TASKS[1:]:
        submission.cell(task).metadata.nbgrader.grade_id = TASKS[0]


def _look_alikes(submission):
    """Full-width letters, which Python reads as ordinary ones, and Cyrillic ones, which it does not."""
    for task in TASKS:
        wide = "".join(chr(ord(letter) + 0xFEE0) if letter != "_" else letter for letter in task)
        submission.answer(task, f"def {wide}(*arguments):\n    return 0.0\n\n{task.replace('a', 'а')} = 1.0")
        cell = copy.deepcopy(submission.cell(f"check-{task}"))
        cell.id, cell.source = f"{cell.id}-again", "pass"
        cell.metadata.nbgrader.update(grade_id=cell.metadata.nbgrader.grade_id.replace("a", "а"), points=100)
        submission.notebook.cells.append(cell)


def _strip_metadata(submission):
    for number, cell in enumerate(submission.notebook.cells):
        cell.metadata.pop("nbgrader", None)
        cell.id = f"saved-elsewhere-{number}"


def _every_answer(source):
    def change(submission):
        for task in TASKS:
            submission.answer(task, source)

    return change


def _markup(submission):
    """Markup in texts, raw cells, magics, printed lines, names, docstrings and errors."""
    new = nbformat.v4
    source = f"%%javascript\ncheated()\n# {_SCRIPT}"
    submission.notebook.cells += [
        new.new_markdown_cell(f"My report {_SCRIPT}\n\n<svg onload=cheated()></svg>\n\n[here](javascript:cheated())"),
        new.new_raw_cell(_SCRIPT, metadata={"format": "text/html", "raw_mimetype": "text/html"}),
        new.new_code_cell(source),
        new.new_code_cell(f"from IPython.display import HTML, display\ndisplay(HTML({_SCRIPT!r}))\nprint({_SCRIPT!r})"),
    ]
    lines = f'    """{_SCRIPT}"""\n    print({_SCRIPT!r})\n    raise ValueError({_SCRIPT!r})'
    submission.answer("spread", f"def spread(x):\n{lines}\n")
    submission.answer("running_mean", f"running_mean = type({_SCRIPT!r}, (), {{}})\n")


def _page_metadata(submission):
    """Markup in the notebook's title, its authors, its language and the names of its cells."""
    submission.notebook.metadata.update(
        title=_SCRIPT, authors=[{"name": _SCRIPT}], language_info={"name": _SCRIPT, "pygments_lexer": _SCRIPT}
    )
    submission.notebook.metadata.kernelspec = {"name": "python3", "display_name": _SCRIPT, "language": _SCRIPT}
    picture = {
        "x.svg": {"image/svg+xml": f"<svg onload=cheated()>{_SCRIPT}</svg>"},
        f"'>{_SCRIPT}": {"image/png": _SCRIPT},
    }
    text = nbformat.v4.new_markdown_cell("![x](attachment:x.svg)", metadata={"name": _SCRIPT, "tags": [_SCRIPT]})
    submission.notebook.cells.append(nbformat.NotebookNode({**text, "attachments": picture}))


def _other_kernel(submission):
    submission.notebook.metadata.kernelspec = {"name": "../../../tmp/kernel", "display_name": "Mine", "argv": ["true"]}


EDITING = (
    Cheat("raises_points", "Writes 100 points into the metadata of the check of its right answer.",
          lambda s: s.cell("check-standardise").metadata.nbgrader.update(points=100), right=_ONE),
    Cheat("edits_checks", "Replaces the source of every check cell by `pass`.",
          _each_check(lambda cell: cell.update(source="pass"))),
    Cheat("unlocks_checks", "Unlocks every check cell and replaces its source.",
          lambda s: (_settings(locked=False)(s), _each_check(lambda cell: cell.update(source="3.0"))(s))),
    Cheat("deletes_checks", "Deletes every check cell.", _delete_checks),
    Cheat("copies_a_check", "Right, with one check cell copied by accident.", _copy_check, right=TASKS),
    Cheat("strips_metadata", "Right, with all metadata stripped by another editor.", _strip_metadata, right=TASKS),
    Cheat("copies_the_passed_check",
          "Puts the check of its right answer into all check cells.", _copy_passed, right=_ONE),
    Cheat("swaps_grade_ids", "Swaps the names of check cells, so that the right answer is paid as another.", _swap_ids,
          right=_ONE),
    Cheat("one_answer_for_all", "Gives all answers the name of the one that is right.", _rename_all, right=_ONE),
    Cheat("look_alike_names",
          "Adds check cells with look-alike letters in their names, worth 100 points.", _look_alikes),
    Cheat("manual_checks", "Marks every check cell as an answer to be graded by hand.", _settings(solution=True)),
    Cheat("ungraded_checks", "Marks every check cell as not graded, and as a task.", _settings(grade=False, task=True)),
    Cheat("markdown_checks", "Turns every check cell into text.", _retype("markdown")),
    Cheat("raw_checks", "Turns every check cell into a raw cell.", _retype("raw")),
    Cheat("skip_tag", "Tags every check cell `skip-execution`: a cell that has not run has not failed.",
          _each_check(lambda cell: cell.metadata.update(tags=["skip-execution"]))),
    Cheat("raises_tag", "Tags every check cell `raises-exception`, so that errors are expected.",
          _each_check(lambda cell: cell.metadata.update(tags=["raises-exception", "remove-output"]))),
    Cheat("forged_outputs", "Hands in outputs and metadata that say that all checks have passed.", _forged_outputs),
    Cheat("other_kernel", "Names a kernel of its own, which runs nothing.", _other_kernel),
    Cheat("run_magic",
          "Runs the instructor's notebook by `%run`.", _every_answer("%run @ROOT@/solutions/@LAB@/@LAB@.ipynb")),
    Cheat("shell_lines", "Reads the answers by a shell line.",
          _every_answer('lines = !cat @ROOT@/tinycourse/series.py\nexec("\\n".join(lines))')),
    Cheat("cell_magics", "Writes and reads the answers by `%%writefile` and `%%bash`.",
          lambda s: (s.notebook.cells.insert(0, nbformat.v4.new_code_cell(
              s.filled("%%bash\ncp @ROOT@/tinycourse/series.py stolen.py"))),
              _every_answer("from stolen import *")(s))),
    Cheat("markup",
          "Puts scripts into texts, prints, errors and names, for whoever opens the feedback.", _markup, page=True),
    Cheat("page_metadata",
          "Puts scripts into the notebook's title, authors, language and pictures.", _page_metadata, page=True),
)  # fmt: skip
