"""Late penalties by the day, as a plugin of nbgrader's ``AssignLatePenalties``.

In a course's ``nbgrader_config.py``::

    c.AssignLatePenalties.plugin_class = "labcheck.late.PerDay"
    c.PerDay.share = 0.1       # of the score, for each day begun
    c.PerDay.grace_hours = 2   # after the due date, free of charge
    c.PerDay.cap = 0.5         # never more than half of the score
    c.GenerateFeedback.preprocessors = [
        "nbgrader.preprocessors.AssignLatePenalties",
        "nbgrader.preprocessors.GetGrades",
        "nbconvert.preprocessors.CSSHTMLHeaderPreprocessor",
    ]

What nbgrader 0.9 does with it:

- **Score.** The plugin is given a notebook's score as it stands: manual scores count once they have been
  given, a text that waits for a grader counts zero. ``autograde`` therefore takes the penalty of a first
  submission off the automatic part alone, and the form grader does not compute it anew. The last setting
  above does, whenever feedback is written; a regrade does so too, but asks for every manual score again.
  `outdated` tells whether a penalty has fallen behind.
- **Limits.** A penalty is between zero and the score, so a score of zero stays zero and none is negative.
- **Time.** Late is the submission's ``timestamp.txt`` after the due date, both in UTC; a submission without a
  timestamp, or an assignment without a due date, is never late. A due date without a time zone is UTC. With
  one it is written ``2026-03-01 23:59+01:00`` or ``2026-03-01 23:59 Europe/Berlin``; nbgrader misreads an
  offset that stands apart (``23:59 +0100`` is 100 seconds) and takes a name that it does not know for UTC.
- **Extensions** (``Gradebook.grant_extension``) move the due date of one student; the next computation heeds them.
"""

from __future__ import annotations

import math
from typing import Any

from nbgrader.api import SubmittedAssignment
from nbgrader.plugins import BasePlugin
from traitlets import Bunch, Float, TraitError, validate

_HOUR, _DAY = 3600, 86400  # seconds


class PerDay(BasePlugin):
    """Takes a share of the score for each day begun after a grace period; no penalty unless a share is set."""

    share = Float(0.0, help="Share of the score, 0 to 1, that each day begun costs.").tag(config=True)
    grace_hours = Float(0.0, help="Hours after the due date that cost nothing; days count from their end.").tag(
        config=True
    )
    cap = Float(1.0, help="Largest share of the score, 0 to 1, that lateness can cost.").tag(config=True)

    @validate("share", "cap")
    def _is_a_share(self, proposal: Bunch) -> Any:
        if not 0 <= proposal.value <= 1:
            self._refuse(proposal, "a share of the score from 0 to 1 (0.1 for 10 %)")
        return proposal.value

    @validate("grace_hours")
    def _is_a_duration(self, proposal: Bunch) -> Any:
        if not 0 <= proposal.value < math.inf:
            self._refuse(proposal, "hours, zero or more")
        return proposal.value

    def _refuse(self, proposal: Bunch, expected: str) -> None:
        raise TraitError(f"{type(self).__name__}.{proposal.trait.name} is {proposal.value:g}: expected {expected}")

    def late_submission_penalty(self, student_id: str, score: float, total_seconds_late: float) -> float | None:
        """The points that lateness costs.

        Args:
            student_id: not used; nbgrader's interface.
            score: of one notebook, before the penalty.
            total_seconds_late: since the due date, extensions counted.

        Returns:
            ``min(cap, share * days) * score``, where a day begun is a day; None for no penalty.
        """
        days = math.ceil((total_seconds_late - _HOUR * self.grace_hours) / _DAY)
        share = min(self.cap, self.share * days)
        return share * score if share > 0 else None


def outdated(submission: SubmittedAssignment, plugin: BasePlugin) -> bool:
    """Whether a late penalty in the gradebook is not the one that the plugin would take now.

    It falls behind when a manual score, an extension, the due date or the plugin's settings change.

    Args:
        submission: of one assignment, from an open gradebook.
        plugin: the course's, as in ``AssignLatePenalties.plugin_class``.
    """
    late = submission.total_seconds_late
    if not late and not submission.late_submission_penalty:
        return False
    for notebook in submission.notebooks:
        score = notebook.score
        penalty = plugin.late_submission_penalty(submission.student.id, score, late) if late > 0 else None
        penalty = min(max(penalty or 0.0, 0.0), score)  # as nbgrader limits it
        if not math.isclose(penalty, notebook.late_submission_penalty or 0.0, abs_tol=1e-6):
            return True
    return False
