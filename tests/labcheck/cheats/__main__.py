"""Grade every cheat by stock nbgrader and by labcheck, and print both columns as Markdown."""

import argparse
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path

from tests.labcheck.cheats import ours, stock
from tests.labcheck.cheats.bank import CHEATS
from tests.labcheck.cheats.table import gained, prepare, table


def main() -> int:
    """Return 0 if no cheat gained or harmed under labcheck, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m tests.labcheck.cheats", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="CHEAT", help="grade these alone (default: all)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the table here, too")
    args = parser.parse_args()
    cheats = tuple(cheat for cheat in CHEATS if not args.names or cheat.name in args.names)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(prefix="cheats-", ignore_cleanup_errors=True) as folder:
        course = prepare(Path(folder))
        sys.path.insert(0, str(course.root))
        os.environ["PYTHONPATH"] = str(course.root)
        times = [time.monotonic()]
        by_stock = stock.grade(course, cheats, Path(folder))
        times.append(time.monotonic())
        by_us, others = ours.grade(course, cheats, Path(folder))
        times.append(time.monotonic())
    text = table(by_stock, by_us)
    print(text)
    print(f"stock {times[1] - times[0]:.0f} s, labcheck {times[2] - times[1]:.0f} s; others: {others}", file=sys.stderr)
    for cheat in cheats:
        if by_us[cheat.name].error:
            print(f"{cheat.name}: {by_us[cheat.name].error}", file=sys.stderr)
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(text, encoding="utf-8")
    return int(any(gained(cheat, by_us[cheat.name]) or by_us[cheat.name].harm for cheat in cheats))


if __name__ == "__main__":
    sys.exit(main())
