"""nbgrader's autograder with our judge in it: two preprocessors, set in nbgrader_config.py.

nbgrader keeps its gradebook, form grader and feedback. `Reanchor` puts a submission back into the
released shape; `Judge` stands where nbgrader would execute the notebook, and writes each task's score and
feedback into the outputs of its check cell. Both find the course from the working folder, which nbgrader sets
to the course's root.
"""

from __future__ import annotations

from typing import Any

from nbformat import NotebookNode
from nbformat.v4 import new_output
from nbgrader.preprocessors import NbGraderPreprocessor
from traitlets import Bool, Float, Integer

from labcheck.cells import grade_id
from labcheck.checks import CheckResult
from labcheck.course import Course
from labcheck.expect import code_html
from labcheck.grader import Grader
from labcheck.judge import Limits, Verdict
from labcheck.notebooks import read, reanchor
from labcheck.pipeline import nbgrader_config

Resources = dict[str, Any]  # what nbconvert hands from step to step


class Reanchor(NbGraderPreprocessor):
    """Rebuilds a submitted notebook on the released one."""

    def preprocess(self, nb: NotebookNode, resources: Resources) -> tuple[NotebookNode, Resources]:
        released = read(Course.find().released(resources["nbgrader"]["notebook"]))
        return reanchor(nb, released), resources


class Judge(NbGraderPreprocessor):
    """Grades a notebook in the sandbox; student code never runs in this process."""

    walls = Bool(True, help="False runs student code unprotected, which the grade records.").tag(config=True)
    seed = Integer(None, allow_none=True, help="Seed of the checks; by default a submission's own.").tag(config=True)
    seconds = Float(Limits.seconds, help="Processor seconds that one check may take.").tag(config=True)
    memory = Integer(Limits.memory, help="Bytes that a submission may take beyond what torch takes.").tag(config=True)
    processes = Integer(Limits.processes, help="Processes that a submission may have at once.").tag(config=True)

    @property
    def limits(self) -> Limits:
        """Of the students' code."""
        return Limits(self.seconds, self.memory, self.processes)

    def preprocess(self, nb: NotebookNode, resources: Resources) -> tuple[NotebookNode, Resources]:
        names = resources["nbgrader"]
        with Grader(Course.find(), names["notebook"], walls=self.walls, limits=self.limits, seed=self.seed) as grader:
            key, verdict = grader.verdict(names["student"], nb)
        annotate(nb, verdict)
        nb.metadata["labcheck"]["key"] = key
        return nb, resources


def limits_of(course: Course) -> Limits:
    """What nbgrader_config.py lets students' code take (``c.Judge``)."""
    return Judge(config=nbgrader_config(course)).limits


def annotate(notebook: NotebookNode, verdict: Verdict) -> None:
    """Write a verdict into a notebook: as metadata, and each task's score and feedback as outputs."""
    notebook.metadata["labcheck"] = verdict.as_dict()
    for cell in notebook.cells:
        name = grade_id(cell) or ""
        if cell.cell_type != "code":
            continue
        cell.outputs = []
        if name.startswith("check-") and cell.metadata.nbgrader.get("grade"):
            results = verdict.of(name.removeprefix("check-"))
            score = sum(result.score for result in results)
            feedback = {"text/html": feedback_html(results), "text/plain": feedback_text(results)}
            cell.outputs = [
                new_output("display_data", data=feedback),
                # nbgrader reads partial credit from a cell's result; without one it would give full marks.
                new_output("execute_result", data={"text/plain": repr(score)}, execution_count=1),
            ]


def feedback_text(results: list[CheckResult]) -> str:
    """What each check found, as lines of text."""
    return "\n".join(f"{_mark(r)}  {_sentence(r)}" for r in results)


def feedback_html(results: list[CheckResult]) -> str:
    """What each check found, as an HTML list; hidden checks by their purpose alone, never their source."""
    items = "".join(
        f'<li style="color:{"#15803d" if r.status == "passed" else "#b91c1c"}">'
        f"<strong>{_mark(r)}</strong> {code_html(_sentence(r))}</li>"
        for r in results
    )
    return f'<ul style="list-style:none;padding-left:0">{items}</ul>'


def _mark(result: CheckResult) -> str:
    return f"{'✓' if result.status == 'passed' else '✗'} {result.score:g}/{result.points:g}"


def _sentence(result: CheckResult) -> str:
    return result.purpose if result.status == "passed" else f"{result.purpose} {result.message}"
