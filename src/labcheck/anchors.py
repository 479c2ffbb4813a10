"""Which submitted cell is which released one, however its metadata, type or place has changed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nbformat import NotebookNode

from labcheck.cells import Defined, defined, grade_id, is_answer, is_free, normal, source_of


@dataclass(frozen=True)
class Placement:
    """Where the cells of a submission belong.

    Attributes:
        chosen: by the index of a released cell, the place of the submitted cell that fills it.
        further: by the index of the released cell that they follow (-1: none), the places of the submitted
            cells that are kept as the student's own, in order. A place can be chosen and further, too.
    """

    chosen: dict[int, int]
    further: dict[int, list[int]]


def place(submitted: list[NotebookNode], released: list[NotebookNode]) -> Placement:
    """Find for each released cell the submitted one that fills it, and a place for the student's further cells.

    Code answers are found by the functions that they define; of several, the last counts, as it does when a
    notebook is run from top to bottom. What defines none, and text, is found by grade_id, else by cell id, else
    by its text, and a text answer else by its place. A cell that holds several answers fills each of them.

    Args:
        submitted: the cells of the submission.
        released: the cells of the released notebook, with unique ids.
    """
    return _Placing(submitted, released).placement()


class _Placing:
    def __init__(self, submitted: list[NotebookNode], released: list[NotebookNode]) -> None:
        self.released = released
        self.sources = [normal(source_of(cell)) for cell in submitted]
        self.originals = [normal(source_of(cell)) for cell in released]
        self.types = [cell.get("cell_type") for cell in submitted]
        self.blanks = {i for i, cell in enumerate(released) if cell.cell_type == "code" and is_answer(cell)}
        self.owner = self._owners()
        self.defined = [self._defined(*cell) for cell in zip(self.types, self.sources, strict=True)]
        self.owns = [self._owned(found.names | found.broken) for found in self.defined]
        self.anchors = [self._anchor(*cell) for cell in zip(submitted, self.defined, strict=True)]

    def placement(self) -> Placement:
        chosen = self._choose_code()
        chosen |= self._choose_tagged(chosen)
        chosen |= self._choose_texts(chosen)
        return Placement(chosen, self._further(chosen))

    def _owners(self) -> dict[str | None, int]:
        """By a function's name, the released answer that it belongs to."""
        owner = {name: i for i in self.blanks for name in defined(self.originals[i]).functions}
        return owner | {grade_id(self.released[i]): i for i in self.blanks}

    def _owned(self, names: Iterable[str]) -> list[int]:
        """The released answers that these names belong to."""
        return sorted({self.owner[name] for name in names if name in self.owner})

    def _defined(self, kind: str | None, source: str) -> Defined:
        """What a cell defines; of text, only the functions of tasks: it may be an answer turned into text."""
        found = defined(source)
        functions = found.functions & self.owner.keys()
        return found if kind == "code" else Defined(functions, functions)

    def _anchor(self, cell: NotebookNode, found: Defined) -> int | None:
        """The released cell that a submitted one is: by the functions that it defines, else by name, id or text."""
        owns = self._owned(found.functions)
        anchor = self._named(cell)
        return anchor if not owns or anchor in owns else owns[-1]

    def _named(self, cell: NotebookNode) -> int | None:
        for i, original in enumerate(self.released):
            if grade_id(original) and grade_id(original) == grade_id(cell):
                return i
        for i, original in enumerate(self.released):
            if original.id == cell.get("id"):
                return i
        source = normal(source_of(cell))
        for i, original in enumerate(self.released):
            if not is_answer(original) and original.cell_type == cell.get("cell_type") and self.originals[i] == source:
                return i
        return None

    def _choose_code(self) -> dict[int, int]:
        best: dict[int, tuple[int, int]] = {}
        for at, source in enumerate(self.sources):
            for i in self.blanks & {*self.owns[at], self.anchors[at]}:
                rank = self._rank(at, i)
                if rank and source != self.originals[i]:
                    best[i] = max(best.get(i, (0, 0)), (rank, at))
        return {i: at for i, (_, at) in best.items()}

    def _rank(self, at: int, i: int) -> int:
        """How surely a submitted cell is the answer of released cell i; 0: it is not."""
        mine = {name for name, owner in self.owner.items() if owner == i}
        found, is_code = self.defined[at], self.types[at] == "code"
        if found.functions & mine:
            return 5 if is_code else 3
        if found.names & mine:
            return 4
        if found.broken & mine:
            return 2
        return int(is_code and not self.owns[at])

    def _choose_tagged(self, chosen: dict[int, int]) -> dict[int, int]:
        """Setup cells and texts that have the name, id or text of a released cell; the last edited one counts."""
        found = {}
        for at, i in enumerate(self.anchors):
            if i is None or i in self.blanks or not is_free(self.released[i]) or self.sources[at] == self.originals[i]:
                continue
            if self.types[at] == self.released[i].cell_type or (is_answer(self.released[i]) and self.sources[at]):
                found[i] = at
        return found

    def _choose_texts(self, chosen: dict[int, int]) -> dict[int, int]:
        """A text answer that is missing or blank: the text in its place, else what was added to its question."""
        found: dict[int, int] = {}
        for i, original in enumerate(self.released):
            if not is_answer(original) or i in self.blanks or i in chosen:
                continue
            before = [(anchor, at) for at, anchor in enumerate(self.anchors) if anchor is not None and anchor < i]
            _, start = max(before, default=(-1, -1))
            after = [at for at, anchor in enumerate(self.anchors) if anchor is not None and anchor > i and at > start]
            for at in range(start + 1, min(after, default=len(self.sources))):
                if self.anchors[at] is None and self.types[at] != "code" and self.sources[at]:
                    self.anchors[at], found[i] = i, at
                    break
            else:
                asked = i and self.released[i - 1].cell_type != "code"
                if asked and before and self.anchors[start] == i - 1 and self._continues(start, i - 1):
                    found[i] = start
        return found

    def _continues(self, at: int, i: int) -> bool:
        return self.sources[at] != self.originals[i] and self.sources[at].startswith(self.originals[i])

    def _further(self, chosen: dict[int, int]) -> dict[int, list[int]]:
        further: dict[int, list[int]] = {}
        filled: dict[int, list[int]] = {}
        for i, at in chosen.items():
            filled.setdefault(at, []).append(i)
        known = {self.sources[at] for at in filled} | set(self.originals) | {""}
        last = -1
        for at, (source, anchor) in enumerate(zip(self.sources, self.anchors, strict=True)):
            if at in filled:
                last = max(last, *filled[at])
                continue
            locked = anchor if anchor is not None and not is_free(self.released[anchor]) else None
            if anchor is not None and (anchor == locked or source == self.originals[anchor]):
                last = max(last, anchor)
            if source in known or (locked is not None and not self._adds(at, locked)):
                continue
            # What a later cell defines anew, or what is locked, must not be overridden by this one.
            later = [i - 1 for i in self.owns[at] if at < chosen.get(i, -1)] + ([] if locked is None else [locked - 1])
            further.setdefault(min([last, *later]), []).append(at)
        self._repeat(chosen, further)
        return further

    def _adds(self, at: int, i: int) -> bool:
        """Whether a locked cell was given functions that it did not have."""
        return self.types[at] == "code" and bool(self.defined[at].functions - defined(self.originals[i]).names)

    def _repeat(self, chosen: dict[int, int], further: dict[int, list[int]]) -> None:
        """An answer that stands before an older definition of its function is repeated after it."""
        for i in sorted(chosen.keys() & self.blanks):
            older = [j for j, at in chosen.items() if j > i and at < chosen[i] and i in self.owns[at]]
            if older and chosen[i] not in further.get(max(older), []):
                further.setdefault(max(older), []).insert(0, chosen[i])
