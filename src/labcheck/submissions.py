"""What students hand in, read without trust: a notebook that is none, links, pipes and huge files cost nothing else."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from labcheck.cells import grade_id, source_of
from labcheck.notebooks import CELL_ID, NotebookError

MAX_BYTES = 100 * 2**20  # of a notebook's file
MAX_VALUES = 2_000_000  # in a notebook's JSON: what bounds the memory that it takes once read
MAX_CELLS = 5_000
MAX_CODE, MAX_ALL_CODE = 2**18, 2**20  # characters of one code cell, and of all: what bounds the time to parse them
MAX_TEXT = 2**22  # characters of one text cell
MAX_FILES = 200  # further files of a submission
MAX_TOLD = 20  # names in a notice
MAX_DEPTH = 8  # folders below a submission
NOTICE = "labcheck-notice"  # id of the cell that tells what was wrong with a submission

_AGAIN = "It was graded as if nothing had been written. Open it in JupyterLab, save it and hand it in again."


@dataclass(frozen=True)
class Submission:
    """A submission that is safe to grade and to copy.

    Attributes:
        notebook: the cells' sources, without outputs; the released notebook where none could be read. What was
            wrong stands in a text cell above, whose id is `NOTICE`.
        files: the further files that may be copied, relative to the folder.
        notice: what was wrong, as Markdown; empty if nothing was.
    """

    notebook: NotebookNode
    files: list[Path]
    notice: str


def receive(folder: Path, lab: str, released: NotebookNode, *, root: Path, max_size: int = MAX_BYTES) -> Submission:
    """Read a submission's folder; nothing in it is changed.

    A notebook that cannot be read, and one that is missing, becomes the released one, so that it gets no
    points. If the folder holds no ``LAB.ipynb`` but one other notebook, that one is taken.

    Args:
        folder: the submission's folder.
        lab: the lab's name.
        released: the lab's released notebook.
        root: the folder of all submissions, below which no link is followed.
        max_size: bytes that the further files may have in all.

    Raises:
        OSError: the file system refuses to read what was handed in properly.
    """
    notices: list[str] = []
    files: list[Path] = []
    try:
        _require_folder(folder, root)
        files, left_out = _further_files(folder, max_size)
        if left_out:
            told = left_out if len(left_out) <= MAX_TOLD else [*left_out[:MAX_TOLD], "and further ones"]
            notices.append(f"Not everything that was handed in could be kept. Left out: {'; '.join(told)}.")
        path = _notebook_of(folder, lab)
        if path.stem != lab:
            notices.append(f"The notebook was handed in as {_shown(path.name)} instead of `{lab}.ipynb`; it counts.")
        notebook = read_submission(path)
    except NotebookError as error:
        notices.insert(0, f"**The notebook handed in could not be graded:** {error} {_AGAIN}")
        notebook = nbformat.from_dict(released)
    notice = "\n\n".join(notices)
    if notice:
        cell = nbformat.v4.new_markdown_cell(notice, id=NOTICE)
        notebook = nbformat.v4.new_notebook(
            metadata=notebook.metadata, cells=[cell, *(c for c in notebook.cells if c.id != NOTICE)]
        )
    return Submission(notebook, files, notice)


def read_submission(path: Path) -> NotebookNode:
    """Read the cells of a notebook of any nbformat version, without outputs.

    Of each cell its type, source, id, grade_id and attachments are kept; ids that are missing, not allowed or
    not unique are made from the cell's place, so that the same file always gives the same notebook.

    Raises:
        NotebookError: a sentence on why this is no notebook, for the student.
        OSError: the file system refuses.
    """
    data = _bytes(path)
    if not data.strip():
        raise NotebookError("the file is empty.")
    if sum(data.count(mark) for mark in (b"{", b"[", b",")) > MAX_VALUES:
        raise NotebookError(f"the file holds more than {MAX_VALUES:,} values; clear the outputs of all cells.")
    try:
        tree = json.loads(data)
    except json.JSONDecodeError as error:
        reason = f"it is not valid JSON at line {error.lineno}, column {error.colno}"
        raise NotebookError(f"the file is no Jupyter notebook ({reason}).") from None
    except (ValueError, RecursionError) as error:  # bytes that are no text, a number or a depth that no notebook has
        reason = "its brackets are nested too deeply" if isinstance(error, RecursionError) else "it is not valid JSON"
        raise NotebookError(f"the file is no Jupyter notebook ({reason}).") from None
    found = _cells_of(tree)
    if len(found) > MAX_CELLS:
        raise NotebookError(f"the notebook has {len(found):,} cells; {MAX_CELLS:,} can be graded.")
    cells = [_cell(cell) for cell in found if isinstance(cell, dict) and isinstance(cell.get("cell_type"), str)]
    if not cells:
        raise NotebookError("the file is no Jupyter notebook, or one without cells.")
    if sum(len(cell.source) for cell in cells if cell.cell_type == "code") > MAX_ALL_CODE:
        raise NotebookError(f"the code of the notebook is longer than {MAX_ALL_CODE:,} characters.")
    _name(cells)
    notebook: NotebookNode = nbformat.v4.new_notebook(cells=cells)
    return notebook


def _bytes(path: Path) -> bytes:
    """A regular file's content; links are never followed, pipes and devices never waited for."""
    kind = stat.S_IFMT(path.lstat().st_mode)
    if kind != stat.S_IFREG:
        raise NotebookError(f"{_shown(path.name)} is {_KINDS_OF_FILE.get(kind, 'a device')}, not a file.")
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        if os.fstat(file.fileno()).st_size > MAX_BYTES:
            raise NotebookError(f"the file is larger than {MAX_BYTES // 2**20} MB; clear the outputs of all cells.")
        return file.read(MAX_BYTES)


def _cells_of(tree: Any) -> list[Any]:
    """The cells of a notebook's JSON; until nbformat 3 they stood in worksheets."""
    if not isinstance(tree, dict):
        return []
    sheets = tree.get("worksheets")
    sheets = sheets if isinstance(sheets, list) else []
    found = [sheet.get("cells") for sheet in [tree, *sheets] if isinstance(sheet, dict)]
    return [cell for cells in found if isinstance(cells, list) for cell in cells]


def _cell(cell: dict[str, Any]) -> NotebookNode:
    """A cell of any nbformat version with what grading needs of it."""
    kind = {"code": "code", "markdown": "markdown", "heading": "markdown"}.get(cell["cell_type"], "raw")
    source = source_of({"source": cell.get("source", cell.get("input"))})
    if cell["cell_type"] == "heading":
        source = f"{'#' * cell['level'] if cell.get('level') in range(1, 7) else '#'} {source}"
    if len(source) > (MAX_CODE if kind == "code" else MAX_TEXT):
        source = f"# This cell was left out: it is {len(source):,} characters long."
    source = source.encode("utf-8", "replace").decode()  # JSON can name characters that no file can hold
    metadata: dict[str, Any] = cell["metadata"] if isinstance(cell.get("metadata"), dict) else {}
    kept = {"nbgrader": {"grade_id": name}} if (name := grade_id({"metadata": metadata})) else {}
    kinds = {"code": nbformat.v4.new_code_cell, "markdown": nbformat.v4.new_markdown_cell}
    make: Callable[..., NotebookNode] = kinds.get(kind, nbformat.v4.new_raw_cell)
    made = make(source, metadata=nbformat.from_dict(kept))
    made.id = cell.get("id", metadata.get("id"))  # Colab keeps its ids in the metadata
    if kind != "code" and (pictures := _pictures(cell.get("attachments"))):
        made.attachments = nbformat.from_dict(pictures)
    return made


def _pictures(attachments: Any) -> dict[str, dict[str, str]]:
    """The images pasted into a text: by name, by type, as base64."""
    if not isinstance(attachments, dict):
        return {}
    bundles = {name: bundle for name, bundle in attachments.items() if isinstance(bundle, dict)}
    return {
        name: {kind: data for kind, data in bundle.items() if kind.startswith("image/") and isinstance(data, str)}
        for name, bundle in bundles.items()
    }


def _name(cells: list[NotebookNode]) -> None:
    """Give cells whose id is missing, not allowed or not unique one made from their place."""
    taken: set[str] = set()
    for number, cell in enumerate(cells):
        if not isinstance(cell.id, str) or not CELL_ID.fullmatch(cell.id) or cell.id in taken:
            cell.id = f"cell-{number}"
        while cell.id in taken:
            cell.id += "-"
        taken.add(cell.id)


def _require_folder(folder: Path, root: Path) -> None:
    for part in (folder, *folder.parents):
        if part == root:
            break
        if part.is_symlink():
            raise NotebookError(f"the folder {_shown(part.name)} is a symbolic link.")
    if not folder.is_dir():
        raise NotebookError(f"{_shown(folder.name)} is no folder.")


def _notebook_of(folder: Path, lab: str) -> Path:
    path = folder / f"{lab}.ipynb"
    if os.path.lexists(path):
        return path
    others = [path for path in folder.glob("[!.]*.ipynb") if not path.is_symlink() and path.is_file()]
    if len(others) == 1:
        return others[0]
    raise NotebookError(f"there is no `{lab}.ipynb`" + (f" but {len(others)} other notebooks." if others else "."))


def _further_files(folder: Path, max_size: int) -> tuple[list[Path], list[str]]:
    """Regular files beside the notebook, and what was left out and why; names that start with a dot are passed over."""
    kept: list[Path] = []
    left_out: list[str] = []
    size = 0
    for here, folders, names in os.walk(folder):
        depth = len(Path(here).relative_to(folder).parts)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in [*folders, *sorted(name for name in names if not name.startswith("."))]:
            if name.endswith(".ipynb"):
                continue
            if len(kept) >= MAX_FILES or len(left_out) >= MAX_FILES:
                return kept, [*left_out, f"all but the first {MAX_FILES} files"]
            path = Path(here, name)
            try:
                status = path.lstat()
            except PermissionError:
                left_out.append(f"{_shown(name)} (may not be read)")
                continue
            kind = stat.S_IFMT(status.st_mode)
            if kind == stat.S_IFDIR and depth + 1 < MAX_DEPTH:
                continue
            if kind != stat.S_IFREG:
                left_out.append(f"{_shown(name)} ({_KINDS_OF_FILE.get(kind, 'a device')})")
            elif size + status.st_size > max_size:
                left_out.append(f"{_shown(name)} (larger than the {max_size // 10**6} MB that are kept)")
            elif not os.access(path, os.R_OK):
                left_out.append(f"{_shown(name)} (may not be read)")
            else:
                size += status.st_size
                kept.append(path.relative_to(folder))
        folders[:] = [name for name in folders if depth + 1 < MAX_DEPTH and not name.endswith(".ipynb")]
    return kept, left_out


def _shown(name: str) -> str:
    """A file's name in Markdown: as code, whatever it holds."""
    return f"`{ascii(name)[1:-1].replace('`', '_')[:80]}`"


_KINDS_OF_FILE = {
    stat.S_IFLNK: "a symbolic link", stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket",
}  # fmt: skip
