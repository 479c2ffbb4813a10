"""nbgrader's settings: the course's folders, and a judge that keeps student code in a sandbox."""

import os
import sys
from pathlib import Path

# nbgrader starts alembic by name: let it find the one of this environment.
os.environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))

c = get_config()  # noqa: F821 (nbgrader defines it)

c.CourseDirectory.root = str(Path(__file__).parent)
c.CourseDirectory.course_id = "noise2data"
c.CourseDirectory.source_directory = "solutions"
c.CourseDirectory.release_directory = "labs"
# Students get the notebook and nothing of what stands beside its source.
c.CourseDirectory.ignore = [".ipynb_checkpoints", "__pycache__", "*.pyc", "hidden.py", "*.md"]
# The released notebooks stand in the repository; the command is what makes them known to the gradebook.
c.GenerateAssignment.force = True
c.ClearSolutions.code_stub = {"python": "# YOUR CODE HERE\nraise NotImplementedError"}

# Autograde safe copies of what was handed in: nbgrader follows links, and gives no grade for a broken notebook.
c.Autograde.exporter_class = "labcheck.intake.Intake"
c.Autograde.sanitize_preprocessors = [
    "labcheck.nbgrader.Reanchor",
    "nbgrader.preprocessors.ClearOutput",
    "nbgrader.preprocessors.OverwriteKernelspec",
    "nbgrader.preprocessors.OverwriteCells",
    "nbgrader.preprocessors.CheckCellMetadata",
]
c.Autograde.autograde_preprocessors = [
    "labcheck.nbgrader.Judge",
    "nbgrader.preprocessors.SaveAutoGrades",
    "nbgrader.preprocessors.AssignLatePenalties",
    "nbgrader.preprocessors.CheckCellMetadata",
]

# Takes nothing until a share is set, say: c.PerDay.share = 0.1; c.PerDay.grace_hours = 24
c.AssignLatePenalties.plugin_class = "labcheck.late.PerDay"
# Penalties once more whenever feedback is written: by then the scores given by hand are in.
c.GenerateFeedback.preprocessors = [
    "nbgrader.preprocessors.AssignLatePenalties",
    "nbgrader.preprocessors.GetGrades",
    "nbconvert.preprocessors.CSSHTMLHeaderPreprocessor",
]

# Feedback and form grader show what students wrote; nothing of it runs in the reader's browser.
c.HTMLExporter.filters = {"markdown2html": "labcheck.markdown.safe_markdown"}

# Validate runs the whole notebook, training included; nbgrader's default is 30 s a cell.
c.Execute.timeout = 600
