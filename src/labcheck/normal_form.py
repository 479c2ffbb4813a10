"""A syntax tree written down so that names, comments and layout make no difference."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Iterator

_SKIPPED = (ast.expr_context, ast.Pass, ast.type_ignore)
_STATEMENTS = (ast.stmt, ast.excepthandler, ast.match_case)
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def normal_form(tree: ast.AST, known: frozenset[str] = frozenset()) -> list[tuple[str, int]]:
    """A syntax tree's nodes in preorder as (text, line), the same for trees that differ in names and layout only.

    Names that the code binds, and those that nobody else knows, are numbered by their first appearance in each
    statement: so a statement stays the same when others are put before it or change places with it. Numbers
    and strings are kept: an unusual one tells much, and changing one changes only the fragments around it.
    Docstrings, comments, annotations and ``pass`` are left out.

    Args:
        tree: a module, or any node.
        known: names defined elsewhere that are kept, beside Python's builtins.
    """
    bound, attributes, imported = _bindings(tree)
    kept = (known | set(dir(builtins))) - bound
    numbers: dict[str, int] = {}

    def name(text: str) -> str:
        if text in imported:
            return imported[text]
        return text if text in kept else f"v{numbers.setdefault(text, len(numbers))}"

    found, todo, line = [], [tree], 1
    while todo:  # not recursive: a tree may be deeper than Python's stack
        node = todo.pop()
        if isinstance(node, _SKIPPED) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            continue
        if isinstance(node, _STATEMENTS):
            numbers.clear()
        line = getattr(node, "lineno", line)
        found.append((_text(node, name, bound, attributes), line))
        todo += reversed(list(_children(node)))
    return found


def _text(node: ast.AST, name: Callable[[str], str], bound: set[str], attributes: set[str]) -> str:
    kind = type(node).__name__.replace("AnnAssign", "Assign")
    match node:
        case ast.Name(id=label) | ast.arg(arg=label):
            return f"{kind} {name(label)}"
        case ast.Attribute(attr=label):
            return f"{kind} {'own' if label in attributes else label}"
        case ast.keyword(arg=str(label)):
            return f"{kind} {name(label) if label in bound else label}"
        case ast.Constant(value=value):
            return f"{kind} {_constant(value)}"
        case ast.alias(name=label):
            return f"{kind} {label}"
    return kind


def _constant(value: object) -> str:
    if isinstance(value, (str, bytes)):
        return repr(value[:80])
    if isinstance(value, int) and abs(value) >= 2**64:  # Python refuses to write the longest ones
        return "int"
    return repr(float(value)) if isinstance(value, int) else repr(value)


def _children(node: ast.AST) -> Iterator[ast.AST]:
    for field, value in ast.iter_fields(node):
        if field not in ("annotation", "returns"):
            values = value if isinstance(value, list) else [value]
            yield from (child for child in values if isinstance(child, ast.AST))


def _bindings(tree: ast.AST) -> tuple[set[str], set[str], dict[str, str]]:
    """Names and attributes that code binds, and the full names behind those that it imports."""
    bound, attributes, imported = set(), set(), {}
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=label, ctx=ast.Store() | ast.Del()) | ast.arg(arg=label):
                bound.add(label)
            case ast.Attribute(attr=label, ctx=ast.Store()):
                attributes.add(label)
            case ast.alias(name=label, asname=alias):
                imported[alias or label.split(".")[0]] = label if alias else label.split(".")[0]
            case _ if isinstance(name := getattr(node, "name", None), str):
                bound.add(name)
        if isinstance(node, ast.ClassDef):
            attributes |= {inner.name for inner in node.body if isinstance(inner, _SCOPES)}
    return bound, attributes, {alias: label for alias, label in imported.items() if alias not in bound}
