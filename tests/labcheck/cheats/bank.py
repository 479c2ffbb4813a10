"""The bank: every cheat, in the order of the table."""

from tests.labcheck.cheats.editing import EDITING
from tests.labcheck.cheats.files import FILES
from tests.labcheck.cheats.harming import HARMING
from tests.labcheck.cheats.leaving import LEAVING
from tests.labcheck.cheats.looking_inside import LOOKING_INSIDE
from tests.labcheck.cheats.looking_round import LOOKING_ROUND
from tests.labcheck.cheats.submission import Cheat
from tests.labcheck.cheats.tampering import TAMPERING
from tests.labcheck.cheats.values import VALUES

KINDS: dict[str, tuple[Cheat, ...]] = {
    "Tampering with tests": TAMPERING,
    "Looking for answers in memory": LOOKING_INSIDE,
    "Looking for answers elsewhere": LOOKING_ROUND,
    "Leaving something behind": LEAVING,
    "Returning what pleases or hurts": VALUES,
    "Editing the notebook": EDITING,
    "Files": FILES,
    "Harming the run": HARMING,
}
CHEATS: tuple[Cheat, ...] = tuple(cheat for cheats in KINDS.values() for cheat in cheats)
