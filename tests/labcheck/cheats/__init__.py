"""A bank of cheats, graded by stock nbgrader and by labcheck in one run: ``python -m tests.labcheck.cheats``."""
