"""``check("name")`` in a student's notebook: the visible checks, at once, with what is wrong."""

from __future__ import annotations

import html
import inspect
import secrets
import textwrap
from dataclasses import dataclass

from labcheck.answer import local
from labcheck.checks import Battery, CheckResult, generator_for, run_check
from labcheck.expect import CheckFailed, code_html
from labcheck.inside.loading import Cell, forbidden_imports, parse
from labcheck.inside.session import Session

# Green and vermillion that pass WCAG AA on JupyterLab's light and dark backgrounds.
_COLOURS = {True: "#15803d", False: "#c2410c"}


@dataclass(frozen=True)
class Report:
    """The results of visible checks, as text and as HTML."""

    results: list[CheckResult]
    note: str = ""

    @property
    def passed(self) -> bool:
        return all(result.status == "passed" for result in self.results)

    def lines(self) -> list[tuple[bool, str]]:
        """(passed, sentence) of each check; a sentence that several checks say stands once."""
        pairs = ((r.status == "passed", r) for r in self.results)
        return list(dict.fromkeys((good, f"`{r.task}`: {r.purpose}" if good else r.message) for good, r in pairs))

    def __repr__(self):
        text = "\n".join(f"{'✓' if good else '✗'} {line}" for good, line in self.lines())
        return text + (f"\n{self.note}" if self.note else "")

    def _repr_html_(self):
        rows = "".join(
            f'<div class="labcheck-{"passed" if good else "failed"}" style="color:{_COLOURS[good]};margin:2px 0">'
            f"<strong>{'✓' if good else '✗'}</strong> {code_html(line)}</div>"
            for good, line in self.lines()
        )
        return rows + (f"<div>{html.escape(self.note)}</div>" if self.note else "")


class Checker:
    """The ``check`` of a notebook.

    Args:
        battery: the lab's visible checks.
        namespace: the notebook's ``globals()``.
    """

    def __init__(self, battery: Battery, namespace: dict):
        self.battery = battery
        self.namespace = namespace

    def __call__(self, task: str, seed: int | None = None) -> Report:
        """Run the visible checks of a task on fresh random arguments.

        Args:
            task: the graded name.
            seed: the arguments' seed; a new one each time if None.

        Raises:
            KeyError: the lab has no such task.
            CheckFailed: with one sentence for each check that failed.
        """
        seed = secrets.randbits(48) if seed is None else seed
        results = []
        for check in self.battery.of(task):
            answer = local(Session(self.namespace, self.battery.fixtures))
            results.append(run_check(check, answer, generator_for(seed, self.battery.lab, check)))
        report = Report(results, self._forbidden_note(task))
        if report.passed:
            return report
        _display(report)
        failed = [message for good, message in report.lines() if not good]
        raise CheckFailed("\n".join(dict.fromkeys(failed)))

    def summary(self) -> Report:
        """All visible checks of the lab; raises nothing."""
        results = []
        for task in self.battery.tasks:
            try:
                results += self(task, seed=0).results
            except CheckFailed as error:
                results.append(CheckResult(task, "", False, 0.0, 0.0, "failed", str(error)))
        return Report(results)

    def _forbidden_note(self, task):
        """Names the modules in an answer's source that cannot be imported when it is graded."""
        answer = self.namespace.get(task)
        try:
            source = textwrap.dedent(inspect.getsource(answer))
            found = forbidden_imports(parse(Cell(task, source)), self.battery.forbidden)
        except (OSError, TypeError, SyntaxError):  # no source, or part of a line
            found = []
        module = getattr(answer, "__module__", "") or ""
        found = sorted({*found, *(name for name in self.battery.forbidden if module.startswith(name))})
        if not found:
            return ""
        return f"When {task} is graded, {', '.join(found)} cannot be imported: it contains the answer."


def _display(report: Report) -> None:
    try:
        from IPython.display import display
    except ImportError:
        print(report)
    else:
        display(report)
