"""Which submissions of a lab resemble each other: a page for a human to judge, on which no grade depends.

Answers are compared as syntax trees, so that names, comments, docstrings, type annotations and layout do not
matter. A tree is written down node by node and cut into fragments, as Schleimer, Wilkerson and Aiken ("Winnowing",
SIGMOD 2003) cut text; a fragment that two answers share counts by its rarity in the class, as terms do in
information retrieval (Spärck Jones, 1972), so that what everybody writes counts nothing. Nothing is ever run.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast

import jinja2
import markupsafe
import numpy as np
from nbformat import NotebookNode
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import norm
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.metrics.pairwise import cosine_similarity
from tqdm.auto import tqdm

from labcheck.cells import grade_id, is_answer, is_free, normal, tree_of
from labcheck.course import Course
from labcheck.expect import code_html
from labcheck.inside.loading import defined_names, imported_names
from labcheck.normal_form import normal_form
from labcheck.notebooks import NotebookError, read, reanchor
from labcheck.submissions import receive

RUN = 5  # nodes (in text: words) of a fragment: two operations with their operands
MAX_SOURCE, MAX_NODES = 50_000, 5_000  # characters of one answer that are parsed, nodes of it that are compared
SHOWN = 0.5  # overlap from which two answers are put side by side
FURTHER = "further cells"  # what students added to the notebook or changed outside the answers

Nodes = list[tuple[str, int]]  # of a syntax tree, or words of a text: what stands there, and its line


@dataclass(frozen=True)
class Shared:
    """What two answers to one task have in common.

    Attributes:
        task: the graded name, or `FURTHER`.
        overlap: the cosine of the two answers as vectors of rarity-weighted fragments: 1 if all that is not in
            everybody's answer is in both, 0 if none of it is.
        score: the task's part of the pair's score.
    """

    task: str
    overlap: float
    score: float


@dataclass(frozen=True)
class Pair:
    """Two submissions that share fragments which are not in everybody's.

    Attributes:
        one, other: the students' names.
        score: the sum of the tasks' overlaps, each times the square root of the rarity (in bits, geometric mean of
            the two) of all that was written there: agreeing in a long answer tells more than in a short one.
        times: the score in units of a typical student's closest pair (the median, over the class, of each
            student's highest score); infinity where that is 0.
        overlap: the mean of the tasks' overlaps with the same weights, over the tasks that both answered; 0 to 1.
        tasks: the tasks that make up the score, the largest part first.
    """

    one: str
    other: str
    score: float
    times: float
    overlap: float
    tasks: tuple[Shared, ...]


@dataclass(frozen=True)
class _Task:
    """All answers to one task, cut into fragments: one row of ``weights`` for each student of ``rows``."""

    rows: dict[str, int]
    sources: list[str]
    nodes: list[Nodes]
    fragments: dict[str, int]
    bits: np.ndarray  # rarity of each fragment: -log2 of the part of the answers that have it
    weights: csr_matrix  # (answers, fragments): the root of its rarity where the answer has it, so that squares add up

    @cached_property
    def overlaps(self) -> np.ndarray:
        overlaps: np.ndarray = cosine_similarity(self.weights)
        return overlaps

    @cached_property
    def sizes(self) -> np.ndarray:
        """(answers, answers): what an overlap of 1 would add to a pair's score."""
        root = norm(self.weights, axis=1) ** 0.5
        sizes: np.ndarray = np.outer(root, root)
        return sizes

    @property
    def scores(self) -> np.ndarray:
        scores: np.ndarray = self.overlaps * self.sizes
        return scores


@dataclass(frozen=True)
class Similarity:
    """How a class's submissions of one lab resemble each other.

    Attributes:
        lab: the lab's name.
        students: everybody who handed in, in order.
        scores: (students, students) scores of all pairs; 0 on the diagonal.
        typical: the median of the students' highest scores, over those who wrote anything.
        notes: (student, sentence) on what could not be read or compared.
    """

    lab: str
    students: list[str]
    scores: np.ndarray
    typical: float
    notes: list[tuple[str, str]]
    tasks: dict[str, _Task]

    def pairs(self, top: int) -> list[Pair]:
        """The ``top`` pairs with the highest scores above 0, highest first; the order of students breaks ties."""
        rows, columns = np.triu_indices(len(self.students), k=1)
        best = np.argsort(-self.scores[rows, columns], kind="stable")[:top]
        return [self.pair(rows[i], columns[i]) for i in best if self.scores[rows[i], columns[i]] > 0]

    def pair(self, i: int, j: int) -> Pair:
        """What the students at two places have in common."""
        one, other = self.students[i], self.students[j]
        tasks, whole = [], 0.0
        for name, task in self.tasks.items():
            if one in task.rows and other in task.rows:
                at = task.rows[one], task.rows[other]
                tasks.append(Shared(name, float(task.overlaps[at]), float(task.scores[at])))
                whole += float(task.sizes[at])
        score = float(self.scores[i, j])
        times = score / self.typical if self.typical else np.inf
        shared = sorted((task for task in tasks if task.score > 0), key=lambda task: -task.score)
        return Pair(one, other, score, times, score / whole if whole else 0.0, tuple(shared))

    def lines(self, pair: Pair, name: str) -> list[list[tuple[bool, str]]]:
        """Both answers to a task as lines, each with whether it holds shared code that few others have."""
        task = self.tasks[name]
        a, b = task.rows[pair.one], task.rows[pair.other]
        both = task.weights[a].multiply(task.weights[b]).tocsr().indices
        rare = min(2.0, task.bits.max() / 2)  # in a quarter of the class, or fewer where it is small
        few = {i for i in both if task.bits[i] >= rare}
        return [self._marked(task, row, few) for row in (a, b)]

    @staticmethod
    def _marked(task: _Task, row: int, few: set[int]) -> list[tuple[bool, str]]:
        nodes = task.nodes[row]
        ends = enumerate(_fragments(nodes), start=RUN - 1)
        marked = {nodes[end][1] for end, fragment in ends if task.fragments[fragment] in few}
        lines = task.sources[row].split("\n")
        return [(number in marked, line) for number, line in enumerate(lines, start=1)]


def write_similarity(course: Course, lab: str, output: Path, top: int = 20) -> list[Pair]:
    """Write the page on the submissions of a lab that resemble each other most.

    Args:
        course: the course; submissions lie in ``submitted/STUDENT/LAB/``.
        lab: the lab's name.
        output: the HTML file to write.
        top: how many pairs to show at most.

    Returns:
        The pairs shown, the highest score first.

    Raises:
        CourseError: the course has no lab of this name.
        NotebookError: nothing has been handed in, or the lab has not been released.
        ValueError: ``top`` is less than 1.
    """
    if top < 1:
        raise ValueError(f"top: {top} pairs cannot be shown; expected 1 or more")
    similarity = compare(course, lab)
    pairs = similarity.pairs(top)
    environment = jinja2.Environment(loader=jinja2.PackageLoader("labcheck"), autoescape=True, trim_blocks=True)
    environment.filters["code"] = lambda text: markupsafe.Markup(code_html(text))
    page = environment.get_template("similarity.html").render(similarity=similarity, pairs=pairs, run=RUN, shown=SHOWN)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(page, encoding="utf-8", errors="replace")
    return pairs


def compare(course: Course, lab: str) -> Similarity:
    """Compare all submissions of a lab with each other.

    The instructor's solution, where there is one, counts as one more answer of the class; fragments of the
    released notebook count nothing. A submission that cannot be read is taken as one in which nothing was
    written, with a note.

    Args:
        course: the course; submissions lie in ``submitted/STUDENT/LAB/``.
        lab: the lab's name.

    Raises:
        CourseError: the course has no lab of this name.
        NotebookError: nothing has been handed in, or the lab has not been released.
    """
    course.require(lab)
    released = read(course.released(lab))
    folder = course.root / "submitted"
    students = sorted(path.parent.name for path in folder.glob(f"*/{lab}"))
    if not students:
        raise NotebookError(f"{folder}: no folder STUDENT/{lab} with a submission in it")
    known, unchanged, notes = _known(released), {normal(cell.source) for cell in released.cells}, []
    blanks = {task: _nodes(*written, known) or [] for task, written in _written(released).items()}
    answers: dict[str, dict[str, tuple[str, Nodes]]] = {task: {} for task in blanks}
    for student in tqdm(students, desc=f"reading {lab}", unit="submission"):
        try:
            submission = receive(folder / student / lab, lab, released, root=folder)
        except OSError as error:
            notes.append((student, f"cannot be read: {error}"))
            continue
        if submission.notice:
            notes.append((student, submission.notice.replace("**", "")))
        for task, (kind, source) in _written(reanchor(submission.notebook, released), unchanged).items():
            nodes = _nodes(kind, source, known)
            if nodes is None:
                notes.append((student, f"`{task}` is not compared: not Python, or over {MAX_SOURCE:,} characters"))
            elif _tokens(nodes) != _tokens(blanks[task]):
                answers[task][student] = source, nodes
    solution = course.solutions / lab / f"{lab}.ipynb"
    solved = _written(reanchor(read(solution), released), unchanged) if solution.is_file() else {}
    tasks = {}
    for task, found in ((task, found) for task, found in answers.items() if found):
        model = _nodes(*solved[task], known) if task in solved else None
        made = _task(found, [blanks[task], *([model] if model else [])])
        if made:
            tasks[task] = made
    return _similarity(lab, students, tasks, notes)


def _known(released: NotebookNode) -> frozenset[str]:
    """Names that the released notebook binds outside functions."""
    trees = [tree_of(cell.source) for cell in released.cells if cell.cell_type == "code"]
    return frozenset().union(*(defined_names(tree) | imported_names(tree) for tree in trees if tree))


def _written(notebook: NotebookNode, unchanged: set[str] | frozenset[str] = frozenset()) -> dict[str, tuple[str, str]]:
    """What students write into a re-anchored notebook: (cell type, source) by task, and their further code."""
    own = [cell for cell in notebook.cells if is_answer(cell)]
    answers = {cast(str, grade_id(cell)): (cell.cell_type, normal(cell.source)) for cell in own}
    free = [cell for cell in notebook.cells if cell.cell_type == "code" and is_free(cell) and not is_answer(cell)]
    further = [source for cell in free if (source := normal(cell.source)) not in unchanged and tree_of(source)]
    return answers | {FURTHER: ("code", "\n\n".join(further))}


def _nodes(kind: str, source: str, known: frozenset[str]) -> Nodes | None:
    """The nodes of code or the words of text, with their lines; None where code cannot be read."""
    if len(source) > MAX_SOURCE:
        return None
    if kind != "code":
        lines = enumerate(source.lower().split("\n"), start=1)
        return [(word, number) for number, line in lines for word in re.findall(r"\w+", line)][:MAX_NODES]
    tree = tree_of(source)
    return normal_form(tree, known)[:MAX_NODES] if tree else None


def _tokens(nodes: Nodes) -> list[str]:
    return [text for text, _ in nodes]


def _fragments(nodes: Nodes) -> list[str]:
    tokens = _tokens(nodes)
    return ["\n".join(tokens[start : start + RUN]) for start in range(len(tokens) - RUN + 1)]


def _task(found: dict[str, tuple[str, Nodes]], base: list[Nodes]) -> _Task | None:
    """Count fragments over the class's answers and the base (blank, solution); None where there are none."""
    nodes = [nodes for _, nodes in found.values()]
    vectorizer = CountVectorizer(analyzer=_fragments, binary=True, dtype=np.float64)
    try:
        counts = vectorizer.fit_transform([*nodes, *base])
    except ValueError:  # no answer has as many nodes as a fragment
        return None
    bits = np.log2(counts.shape[0] / np.asarray(counts.sum(axis=0)).ravel())
    bits[counts[len(nodes)].indices] = 0  # released
    weights = csr_matrix(counts[: len(nodes)].multiply(np.sqrt(bits)))
    weights.eliminate_zeros()
    rows = {student: row for row, student in enumerate(found)}
    return _Task(rows, [source for source, _ in found.values()], nodes, vectorizer.vocabulary_, bits, weights)


def _similarity(lab: str, students: list[str], tasks: dict[str, _Task], notes: list[tuple[str, str]]) -> Similarity:
    scores = np.zeros((len(students), len(students)))
    place = {student: i for i, student in enumerate(students)}
    for task in tasks.values():
        rows = [place[student] for student in task.rows]
        scores[np.ix_(rows, rows)] += task.scores
    wrote = scores.diagonal() > 0
    np.fill_diagonal(scores, 0)
    typical = float(np.median(scores.max(axis=1)[wrote])) if wrote.any() else 0.0
    return Similarity(lab, students, scores, typical, notes, tasks)
