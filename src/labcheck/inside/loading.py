"""Which statements of a notebook are run before its functions are called, and running them.

A grader needs a student's definitions, not the training loops and plots between them. Of every
cell it keeps imports, functions, classes, and assignments that only compute with imported
modules and literals; a loop, a bare call or an assignment that calls the student's own code is
left out, and so is an assignment to what no answer reads, itself or through what it uses. In a cell that
holds an answer every assignment is kept.
"""

from __future__ import annotations

import ast
import linecache
import re
import types
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_IMPORTS = (ast.Import, ast.ImportFrom)
_ASSIGNMENTS = (ast.Assign, ast.AnnAssign, ast.AugAssign)
# Lines that IPython understands and Python does not: %magic, !shell, ?help, help?, x = %magic, x = !shell.
_MAGIC = re.compile(r"^\s*[%!?]|\?\s*$|=\s*[%!]")
_MAX_MAGICS = 100
_MAX_PARSED = 2**20  # characters that are parsed for one cell, each magic being one more time
_RUNS_ITS_CELL = ("%%time", "%%capture", "%%prun")  # other cell magics do not define what stands below them


@dataclass(frozen=True)
class Cell:
    """One code cell: its name (grade id or cell id), its source, and whether it holds an answer."""

    name: str
    source: str
    answer: bool = False


@dataclass(frozen=True)
class Problem:
    """A statement or cell that could not be run: the cell's name, the line, and Python's message."""

    cell: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"cell {self.cell!r}, line {self.line}: {self.message}"


def parse(cell: Cell) -> ast.Module:
    """Parse a cell as IPython would run it, with magics, shell lines and help lines left out.

    A line is left out only where Python cannot read it: ``% n`` may continue an expression, and a
    comment may end in a question mark.

    Raises:
        SyntaxError, ValueError: the rest is not Python.
    """
    lines = cell.source.split("\n")
    magic = lines[0].split()[:1] if lines[0].lstrip().startswith("%%") else []
    if magic:
        lines = ["", *lines[1:]] if magic[0] in _RUNS_ITS_CELL else []
    for _ in range(max(3, min(_MAX_MAGICS, _MAX_PARSED // (len(cell.source) + 1)))):
        try:
            return ast.parse("\n".join(lines), filename=_filename(cell))
        except SyntaxError as error:
            place = (error.lineno or 0) - 1
            if not 0 <= place < len(lines) or not _MAGIC.search(lines[place]):
                raise
            indent = lines[place][: len(lines[place]) - len(lines[place].lstrip())]
            continues = lines[place].endswith("\\")
            lines[place] = indent + "pass"
            while continues and place + 1 < len(lines):
                place += 1
                continues = lines[place].endswith("\\")
                lines[place] = ""
    raise SyntaxError("too many lines are not Python")


def defined_names(tree: ast.Module) -> set[str]:
    """Names of the functions and classes that a cell defines at its top level, plainly or by assignment."""
    names = {node.name for node in tree.body if isinstance(node, _DEFINITIONS)}
    for node in tree.body:
        if isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


def imported_names(tree: ast.Module) -> set[str]:
    """Names that the imports at a cell's top level bind."""
    return {
        (alias.asname or alias.name).split(".")[0]
        for node in tree.body
        if isinstance(node, _IMPORTS)
        for alias in node.names
    }


def imported_modules(tree: ast.AST) -> set[str]:
    """Dotted names of everything that a tree imports, at any depth: ``from a import b`` gives a and a.b."""
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return modules


def forbidden_imports(tree: ast.AST, forbidden: Iterable[str]) -> list[str]:
    """Those of the forbidden modules (dotted names) that a tree imports, sorted."""
    modules = imported_modules(tree)
    return sorted(name for name in forbidden if any(m == name or m.startswith(name + ".") for m in modules))


def kept_statements(tree: ast.Module, answer: bool, modules: set[str]) -> list[ast.stmt]:
    """The statements of a cell that are run for grading.

    Args:
        tree: the parsed cell.
        answer: whether the cell holds an answer, in which case all its assignments are kept.
        modules: names bound by imports so far, whose attributes an assignment may call.
    """
    kept = []
    for node in tree.body:
        inner = _branches(node) if isinstance(node, (ast.Try, ast.If)) else [node]
        if all(_is_kept(statement, answer, modules) for statement in inner):
            kept.append(node)
    return kept


def run(
    cells: list[Cell],
    namespace: dict[str, Any],
    wanted: Iterable[str] = (),
    before: Callable[[Cell], object] = lambda cell: None,
) -> list[Problem]:
    """Run the kept statements of the cells in order; an error costs its own statement only.

    Args:
        cells: the notebook's code cells.
        namespace: the global variables, changed in place.
        wanted: names that will be called; answers always are.
        before: called with each cell before it is run.

    Returns:
        What could not be run.
    """
    trees, problems, modules = {}, [], set()
    for cell in cells:
        try:
            trees[cell] = parse(cell)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            trees[cell] = ast.Module([], [])
            problems.append(Problem(cell.name, getattr(error, "lineno", 0) or 0, f"{type(error).__name__}: {error}"))
    needed = _needed_names(trees, wanted)
    for cell, tree in trees.items():
        before(cell)
        filename = _filename(cell)
        linecache.cache[filename] = (len(cell.source), None, cell.source.splitlines(True), filename)
        modules |= imported_names(tree)
        for node in kept_statements(tree, cell.answer, modules):
            if not cell.answer and not _is_definition(node) and not _stored_names(node) & needed:
                continue
            try:
                exec(compile(ast.Module([node], []), filename, "exec"), namespace)
            except BaseException as error:  # a student's code may raise anything, SystemExit too
                problems.append(Problem(cell.name, node.lineno, f"{type(error).__name__}: {said(error)}"[:500]))
    places = {cell.name: place for place, cell in enumerate(cells)}
    return sorted(problems, key=lambda problem: places[problem.cell])


def _needed_names(trees: dict[Cell, ast.Module], wanted: Iterable[str]) -> set[str]:
    """Global names that the wanted ones and the answers read, and that what is bound to these reads in turn."""
    needed, others = set(wanted), []
    for cell, tree in trees.items():
        for node in tree.body:
            if cell.answer:
                needed |= _global_names(_code(node, cell))
            else:
                others.append((_stored_names(node), _global_names(_code(node, cell))))
    while further := [read for stored, read in others if stored & needed]:
        others = [(stored, read) for stored, read in others if not stored & needed]
        needed |= set().union(*further)
    return needed


def _code(node: ast.stmt, cell: Cell) -> types.CodeType | None:
    try:
        return compile(ast.Module([node], []), _filename(cell), "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # ``return`` outside a function, and the like
        return None


def _global_names(code: types.CodeType | None) -> set[str]:
    """Names that code looks up outside its functions; attributes are among them, local variables are not."""
    if code is None:
        return set()
    inner = (const for const in code.co_consts if isinstance(const, types.CodeType))
    return set(code.co_names).union(*map(_global_names, inner))


def _stored_names(node: ast.stmt) -> set[str]:
    """Names that a statement binds: its own, if it is a definition, or all that are assigned to below it."""
    if isinstance(node, _DEFINITIONS):
        return {node.name}
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def _is_definition(node: ast.stmt) -> bool:
    return isinstance(node, (*_DEFINITIONS, *_IMPORTS))


def said(error: BaseException) -> str:
    """An exception's message, cut and fit to be sent; its ``__str__`` may be a student's, and raise."""
    try:
        return str(error)[:500].encode("utf-8", "replace").decode()
    except BaseException:
        return ""


def _filename(cell: Cell) -> str:
    return f"<cell {cell.name}>"


def _is_kept(node: ast.stmt, answer: bool, modules: set[str]) -> bool:
    if isinstance(node, (*_DEFINITIONS, *_IMPORTS, ast.Pass)):
        return True
    return isinstance(node, _ASSIGNMENTS) and (answer or _only_calls(node, modules))


def _branches(node: ast.Try | ast.If) -> list[ast.stmt]:
    if isinstance(node, ast.If):
        return node.body + node.orelse
    return node.body + node.orelse + node.finalbody + [inner for handler in node.handlers for inner in handler.body]


def _only_calls(node: ast.AST, modules: set[str]) -> bool:
    """Whether every call below a node is to an attribute of an imported module."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Call):
            root = inner.func
            while isinstance(root, (ast.Attribute, ast.Call)):
                root = root.value if isinstance(root, ast.Attribute) else root.func
            if not (isinstance(root, ast.Name) and root.id in modules):
                return False
    return True
