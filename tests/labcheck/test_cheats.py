"""No cheat gains a point, sees what it should not, or costs anybody else one; stock nbgrader stands beside."""

import re
from pathlib import Path

import pytest

from tests.labcheck.cheats import ours, stock
from tests.labcheck.cheats.bank import CHEATS, KINDS
from tests.labcheck.cheats.outcome import Outcome, scripts
from tests.labcheck.cheats.submission import FULL, POINTS, TASKS
from tests.labcheck.cheats.table import gained, prepare, table

COMMITTED = Path(__file__).parents[2] / "book" / "tables" / "cheats.md"


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    return tmp_path_factory.mktemp("cheats")


@pytest.fixture(scope="module")
def lab(room, course_folder):
    """The example course with the lab that is cheated on; its package is on the path (`course_folder`)."""
    return prepare(room)


@pytest.fixture(scope="module")
def by_us(lab, room):
    return ours.grade(lab, CHEATS, room, jobs=2)


@pytest.fixture(scope="module")
def committed():
    """The cells of each row of the book's table, by the cheat's name: what it deserves, stock nbgrader, labcheck."""
    rows = [line.strip("| ").split(" | ") for line in COMMITTED.read_text(encoding="utf-8").splitlines()]
    return {row[0].replace(" ", "_"): [cell.strip("*") for cell in row[2:]] for row in rows if len(row) == 5}


def test_the_bank_is_large_and_says_of_each_cheat_what_it_tries():
    assert len(CHEATS) >= 35 and all(KINDS.values())
    assert len({cheat.name for cheat in CHEATS}) == len({cheat.tries for cheat in CHEATS}) == len(CHEATS)
    assert all(re.fullmatch(r"[a-z0-9_]+", cheat.name) and cheat.tries.endswith(".") for cheat in CHEATS)
    assert all(set(cheat.right) <= set(TASKS) and 0 <= cheat.costs <= POINTS for cheat in CHEATS)


@pytest.mark.grading
def test_honest_students_before_between_and_after_the_cheats_get_their_points(by_us):
    _outcomes, others = by_us
    assert others == {**dict.fromkeys(ours.HONEST_ONES, FULL), "c-nothing-right": 0.0, "c-one-right": POINTS}


@pytest.mark.grading
@pytest.mark.parametrize("cheat", CHEATS, ids=lambda cheat: cheat.name)
def test_a_cheat_gains_nothing_and_harms_nobody(by_us, cheat):
    outcome = by_us[0][cheat.name]
    assert outcome.harm == ()
    if outcome.points is None:
        assert outcome.error and cheat.without == 0, "only what cannot be read is not graded, and is told why"
    else:
        assert outcome.points == cheat.without - cheat.costs


@pytest.mark.grading
def test_the_table_of_the_book_has_every_cheat_with_our_points(by_us, committed):
    assert {cheat.name for cheat in CHEATS} <= committed.keys()
    assert {cheat.name: str(by_us[0][cheat.name]) for cheat in CHEATS} == {c.name: committed[c.name][2] for c in CHEATS}


@pytest.mark.grading
def test_stock_nbgrader_gives_cheats_the_points_that_the_book_says(lab, room, committed):
    """Those that gain, without those that harm or hang the run, of which the outcome depends on the machine's speed."""
    gaining = tuple(c for c in CHEATS if not c.alone and committed[c.name][0] != committed[c.name][1].split(",")[0])
    gaining = tuple(c for c in gaining if committed[c.name][1].split(",")[0].isdigit())
    outcomes = stock.grade(lab, gaining, room, workers=2, cell_seconds=30)  # a busy machine changes no outcome
    assert {c.name: str(outcomes[c.name]) for c in gaining} == {c.name: committed[c.name][1] for c in gaining}
    assert sum(gained(cheat, outcomes[cheat.name]) for cheat in gaining) >= 50


@pytest.mark.parametrize(
    ("page", "found"),
    [
        ("<p>cheated()</p>", False),
        ("<p>&lt;script&gt;cheated()&lt;/script&gt;</p>", False),
        ("<script>other()</script><p>cheated()</p>", False),
        ("<script>cheated()</script>", True),
        ("<img src=x onerror=cheated()>", True),
        ("<a href=' JavaScript:cheated()'>x</a>", True),
        ("<a title='cheated()'>x</a>", False),
    ],
)
def test_a_script_on_a_page_is_told_from_its_text(tmp_path, page, found):
    (tmp_path / "page.html").write_text(page)
    assert scripts(tmp_path / "page.html") is found
    assert scripts(tmp_path / "missing.html") is False


def test_the_table_marks_what_gains_and_what_harms():
    first, second, *_ = CHEATS
    outcomes = {first.name: Outcome(FULL), second.name: Outcome(0.0, ("run died",))}
    text = table(outcomes, {first.name: Outcome(0.0), second.name: Outcome(None, error="no notebook")})
    rows = [line for line in text.splitlines() if line.startswith(f"| {first.name.split('_')[0]}")]
    assert rows[0].endswith("| 0 | **12** | 0 |") and rows[1].endswith("| 0 | **0, run died** | not graded |")
    assert len([line for line in text.splitlines() if line.startswith("| ")]) == 3
