"""labcheck: grading of notebook labs by a judge that never runs student code.

The package is in two halves. ``labcheck.inside`` is what a sandbox contains: it loads a
student's cells and computes what it is asked to compute. Everything else is the judge's side:
checks, the sandbox's walls, re-anchoring of notebooks, and the way into nbgrader's gradebook.
"""

from labcheck.checks import Battery
from labcheck.expect import CheckFailed, expect, expect_close, expect_type

__all__ = ["Battery", "CheckFailed", "expect", "expect_close", "expect_type"]
