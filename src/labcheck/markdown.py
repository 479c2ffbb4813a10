"""Students' texts on the pages of feedback and form grader, without what a browser would run."""

from __future__ import annotations

import html

import jinja2
import jinja2.runtime
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath


@jinja2.pass_context
def safe_markdown(context: jinja2.runtime.Context, source: str) -> str:
    """HTML of a cell's Markdown, a filter of nbconvert's templates in place of its ``markdown2html``.

    HTML in the text is shown as it was written, and links lead nowhere but to pages: else a submission could act in
    the browser of the instructor who grades it. A text that cannot be rendered is shown as it was written.
    """
    attachments = context.get("cell", {}).get("attachments", {})
    renderer = IPythonRenderer(escape=True, allow_harmful_protocols=False, attachments=attachments)
    try:
        return MarkdownWithMath(renderer=renderer).render(source)
    except Exception:  # a renderer for many kinds of text fails in many ways
        return f"<pre>{html.escape(source)}</pre>"
