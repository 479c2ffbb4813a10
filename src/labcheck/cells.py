"""One cell of a notebook: nbgrader's name for it, whether students write into it, and what it defines."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from nbformat import NotebookNode

from labcheck.inside.loading import Cell, defined_names, parse

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_HEAD = re.compile(r"^(?:async[ \t]+def|def|class)[ \t]+(\w+)", re.MULTILINE)


@dataclass(frozen=True)
class Defined:
    """What a source defines at its top level.

    Attributes:
        functions: names of its functions and classes.
        names: those and the names that it assigns.
        broken: names of the functions and classes that it would define if it were Python.
    """

    functions: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    broken: frozenset[str] = frozenset()


def grade_id(cell: Mapping[str, Any]) -> str | None:
    """nbgrader's name of a cell, None for a cell that has none."""
    name = _settings(cell).get("grade_id")
    return name if isinstance(name, str) else None


def is_answer(cell: NotebookNode) -> bool:
    """Whether students write into this cell."""
    settings = _settings(cell)
    return bool(settings.get("solution")) and not settings.get("locked", False)


def is_free(cell: NotebookNode) -> bool:
    """Whether students may edit a cell: an answer, or one that nbgrader does not know."""
    return is_answer(cell) or not _settings(cell)


def source_of(cell: Mapping[str, Any]) -> str:
    """A cell's source as one string with Unix line endings."""
    source = cell.get("source", "")
    source = "".join(map(str, source)) if isinstance(source, list) else source
    return source.replace("\r\n", "\n").replace("\r", "\n") if isinstance(source, str) else ""


def normal(source: str) -> str:
    """A source without what editors change unasked: blanks at line ends, empty lines at both ends."""
    return "\n".join(line.rstrip() for line in source.strip().split("\n"))


@lru_cache(maxsize=128)
def defined(source: str) -> Defined:
    """What a code cell's source defines, without running it."""
    tree = tree_of(source)
    if tree is None:
        return Defined(broken=frozenset(_HEAD.findall(source)))
    functions = frozenset(node.name for node in tree.body if isinstance(node, _FUNCTIONS))
    return Defined(functions, frozenset(defined_names(tree)))


def tree_of(source: str) -> ast.Module | None:
    """A source's syntax tree, None where it is not Python."""
    try:
        return parse(Cell("", source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _settings(cell: Mapping[str, Any]) -> dict[str, Any]:
    settings = cell.get("metadata", {}).get("nbgrader", {})
    return settings if isinstance(settings, dict) else {}
