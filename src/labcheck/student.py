"""``check("name")`` in a student's notebook: the visible checks, at once, with what is wrong."""

from __future__ import annotations

import dis
import functools
import html
import inspect
import secrets
import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from labcheck.answer import local
from labcheck.checks import Battery, CheckResult, generator_for, run_check
from labcheck.expect import CheckFailed, code_html
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
        """(passed, sentence) of each check: what held, or what is wrong and what should hold.

        What several checks find wrong alike stands once, alone.
        """
        messages = [r.message for r in self.results]
        lines = []
        for r in self.results:
            if r.status == "passed":
                lines.append((True, f"`{r.task}`: {r.purpose}"))
            elif messages.count(r.message) > 1:
                lines.append((False, r.message))
            else:
                stop = "" if r.message.endswith((".", "?", "!")) else "."
                lines.append((False, f"{r.message}{stop} What should hold: {r.purpose}"))
        return list(dict.fromkeys(lines))

    @property
    def failure(self) -> str:
        """What is wrong if that is one thing, else how many checks failed, and what should hold."""
        failed = [r for r in self.results if r.status != "passed"]
        if len({r.message for r in failed}) == 1:
            return failed[0].message
        which = "".join(f"\n- {r.purpose}" for r in failed)
        return f"`{failed[0].task}`: {len(failed)} of {len(self.results)} checks failed. What should hold:{which}"

    def __repr__(self) -> str:
        text = "\n".join(f"{'✓' if good else '✗'} {line}" for good, line in self.lines())
        return text + (f"\n{self.note}" if self.note else "")

    def _repr_html_(self) -> str:
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

    def __init__(self, battery: Battery, namespace: dict[str, Any]) -> None:
        self.battery = battery
        self.namespace = namespace

    def __call__(self, task: str, seed: int | None = None) -> Report:
        """Run the visible checks of a task on fresh random arguments.

        Args:
            task: the graded name.
            seed: the arguments' seed; a new one each time if None.

        Returns:
            What came of each check, with a note of the modules that the answer draws on and that
            cannot be imported while it is graded.

        Raises:
            KeyError: the lab has no such task.
            CheckFailed: what should hold and does not, and the note; what is wrong is displayed.
        """
        report = self._report(task, secrets.randbits(48) if seed is None else seed)
        if report.passed:
            return report
        _display(report)
        raise CheckFailed("\n".join([report.failure, *([report.note] if report.note else [])]))

    def summary(self) -> Report:
        """All visible checks of the lab; raises nothing."""
        reports = [self._report(task, 0) for task in self.battery.tasks]
        results = [result for report in reports for result in report.results]
        return Report(results, "\n".join(report.note for report in reports if report.note))

    def _report(self, task: str, seed: int) -> Report:
        results = []
        for check in self.battery.of(task):
            answer = local(Session(self.namespace, self.battery.fixtures))
            results.append(run_check(check, answer, generator_for(seed, self.battery.lab, check)))
        return Report(results, self._forbidden_note(task))

    def _forbidden_note(self, task: str) -> str:
        """Names the modules that an answer draws on and that cannot be imported when it is graded."""
        found = _drawn_on(self.namespace.get(task), self.namespace, self.battery.forbidden)
        if not found:
            return ""
        return f"When {task} is graded, {', '.join(found)} cannot be imported: it contains the answer."


def _drawn_on(answer: Any, namespace: dict[str, Any], modules: Sequence[str]) -> list[str]:
    """Those of the modules that a definition draws on, itself or through others of its notebook; sorted.

    Seen are imports, and what the global variables, closures, defaults, methods and base classes
    that it uses come from; an import by a computed name is not.
    """
    used: set[str] = set()
    seen, waiting = set(), [answer]
    while waiting:
        thing = waiting.pop()
        if id(thing) not in seen:
            seen.add(id(thing))
            used |= _homes(thing, modules)
            waiting += _parts(thing, namespace)
    return sorted(name for name in modules if any(home == name or home.startswith(name + ".") for home in used))


def _homes(thing: Any, modules: Sequence[str]) -> set[str]:
    """Dotted names of the modules that an object is, comes from, or reaches by imports and attributes."""
    if _is(thing, types.ModuleType):
        return {thing.__name__}
    if _is(thing, types.FunctionType):
        names, imported = _names(thing.__code__)
        used = (thing.__globals__.get(name) for name in names)
        imported |= {value.__name__ for value in used if _is(value, types.ModuleType)}
        paths = ((name, root) for name in modules for root in imported if name.startswith(root + "."))
        reached = {name for name, root in paths if names.issuperset(name.removeprefix(root + ".").split("."))}
        return {str(thing.__module__)} | imported | reached
    return {str((thing if _is(thing, type, types.BuiltinFunctionType) else type(thing)).__module__)}


def _parts(thing: Any, namespace: dict[str, Any]) -> list[Any]:
    """The objects that one of the notebook's own definitions uses."""
    if _is(thing, types.FunctionType) and thing.__globals__ is namespace:
        names, _ = _names(thing.__code__)
        defaults = [*(thing.__defaults__ or ()), *(thing.__kwdefaults__ or {}).values()]
        return [
            *(namespace[name] for name in names if name in namespace),
            *(value for cell in thing.__closure__ or () for value in _contents(cell)),
            *defaults,
            inspect.getattr_static(thing, "__wrapped__", None),
        ]
    if _is(thing, type) and thing.__module__ == namespace.get("__name__"):
        return [*thing.__bases__, *vars(thing).values()]
    if _is(thing, types.MethodType):
        return [thing.__func__, thing.__self__]
    if _is(thing, staticmethod, classmethod):
        return [thing.__func__]
    if _is(thing, property):
        return [thing.fget, thing.fset]
    if _is(thing, functools.partial):
        return [thing.func, *thing.args, *thing.keywords.values()]
    return [type(thing), inspect.getattr_static(thing, "__wrapped__", None)]  # the latter of functools.cache


def _is(thing: object, *kinds: type[Any]) -> bool:
    return issubclass(type(thing), kinds)  # isinstance would ask the object's own __class__, which may raise


def _contents(cell: types.CellType) -> list[Any]:
    try:
        return [cell.cell_contents]
    except ValueError:  # a variable of the function around it that has no value
        return []


def _names(code: types.CodeType) -> tuple[set[str], set[str]]:
    """Names that a code object and those nested in it use, and the modules that they import."""
    names = set(code.co_names)
    imported = {step.argval for step in dis.get_instructions(code) if step.opname == "IMPORT_NAME"}
    for inner in code.co_consts:
        if _is(inner, types.CodeType):
            more_names, more_imported = _names(inner)
            names |= more_names
            imported |= more_imported
    return names, imported


def _display(report: Report) -> None:
    try:
        from IPython.display import display
    except ImportError:
        print(report)
    else:
        display(report)
