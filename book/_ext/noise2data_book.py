"""The book's own Sphinx extension.

It reads the repository's public address from pyproject.toml and everything else from the folders, so that no
page repeats what another file says:

* ``{chapters}``: the plan of the course as a table; a row links to its chapter if that is in the table of contents;
* ``{lab}``: a box with the links into a lab (open in Colab, download, view the source); the first is also the rocket
  at the top of the chapter's page;
* ``{repo}``: a role that links to a file or folder of the repository;
* ``{shell}``: commands to copy, in which ``{repository}`` is the address and ``{name}`` the folder that a clone makes;
* chapter numbers from file names: figures, equations and theorems of ``04_schedules`` are 4.1, 4.2, ...;
* all ``references/*.bib`` together are the bibliography, and a citation shows its title when pointed at.

Chapter ``NN_name`` belongs to lab ``labNN_name``.
"""

import os
import re
import tomllib
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment.collectors.toctree import TocTreeCollector
from sphinx.errors import ConfigError
from sphinx.util.docutils import SphinxDirective, SphinxRole
from sphinx.util.nodes import make_refnode

ROOT = Path(__file__).resolve().parents[2]
CHAPTER = re.compile(r"(\d\d)_\w+")
LAB = re.compile(r"lab\d\d_\w+")


def repository_url() -> str:
    """The public address, from the one place where it stands: pyproject.toml, [project.urls] Repository."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    url = project["urls"]["Repository"].rstrip("/")
    if not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", url):
        raise ConfigError(f"pyproject.toml: Repository is {url!r}, expected 'https://github.com/OWNER/NAME'")
    return url


def chapter_number(docname: str) -> int | None:
    """``04_schedules`` -> 4; None for a page that is not a chapter."""
    match = CHAPTER.fullmatch(docname)
    return int(match[1]) if match else None


def notebook_of(lab: str) -> str:
    """Path of a lab's released notebook, relative to the repository."""
    return f"labs/{lab}/{lab}.ipynb"


def source_url(config, path: str) -> str:
    """Address of a file or folder on the repository's web site."""
    options = config.html_theme_options
    return f"{options['repository_url']}/blob/{options['repository_branch']}/{path}"


def colab_url(config, lab: str) -> str:
    """Address that opens a lab's released notebook in Google Colab."""
    return source_url(config, notebook_of(lab)).replace(
        "https://github.com/", "https://colab.research.google.com/github/"
    )


# ---------------------------------------------------------------------------------------------- configuration


def configure(app: Sphinx, config) -> None:
    url = repository_url()
    owner, name = url.split("/")[-2:]
    config.html_theme_options["repository_url"] = url
    config.html_baseurl = f"https://{owner.lower()}.github.io/{name}/"
    merged = Path(app.outdir).parent / "references.bib"
    text = merge_references(sorted(Path(app.srcdir).glob("references/*.bib")))
    if not merged.exists() or merged.read_text(encoding="utf-8") != text:
        merged.write_text(text, encoding="utf-8")
    config.bibtex_bibfiles = [os.path.relpath(merged, app.srcdir)]


def merge_references(files: list[Path]) -> str:
    """One list of references out of many: each chapter has its own, and several may hold the same work.

    Raises ConfigError where one key names two works, or one work has two keys.
    """
    entries, keys = {}, {}
    for file in files:
        for entry in re.findall(r"^@\w+\{.*?^\}", file.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            key = re.match(r"@\w+\{\s*([^,\s]+)", entry)[1]
            title = re.sub(r"[^a-z0-9]", "", re.search(r"\btitle\s*=\s*(.*)", entry)[1].lower())
            if keys.setdefault(title, key) != key:
                raise ConfigError(f"{file.name}: {key} has the title of {keys[title]}; expected one key for one work")
            if entries.get(key, (title,))[0] != title:
                raise ConfigError(f"{file.name}: {key} has two titles; expected the same work under the same key")
            entries.setdefault(key, (title, entry))
    return "\n\n".join(entry for _, entry in entries.values()) + "\n"


def remove_thebe(app: Sphinx) -> None:
    """Jupyter Book always loads sphinx_thebe, which names another host in every page; nothing here uses it."""
    for event, listeners in app.events.listeners.items():
        app.events.listeners[event] = [
            listener for listener in listeners if not listener.handler.__module__.startswith("sphinx_thebe")
        ]
    app.registry.css_files = [file for file in app.registry.css_files if file[0] != "sphinx-thebe.css"]


# ------------------------------------------------------------------------------------------------------ roles


class RepoRole(SphinxRole):
    """``{repo}`path``` or ``{repo}`text <path>```: a link to a file or folder of the repository."""

    def run(self):
        match = re.fullmatch(r"(.+?)\s*<(.+)>", self.text)
        text, path = match.groups() if match else (self.text, self.text)
        if not (ROOT / path).exists():
            message = self.inliner.reporter.warning(f"repo: no such path in the repository: {path}", line=self.lineno)
            return [], [message]
        shown = nodes.Text(text) if match else nodes.literal(text, text)
        return [nodes.reference("", "", shown, refuri=source_url(self.config, path))], []


class Shell(SphinxDirective):
    """``{shell}``: commands to copy, with the repository's address filled in."""

    has_content = True

    def run(self):
        url = self.config.html_theme_options["repository_url"]
        text = "\n".join(self.content).replace("{repository}", url).replace("{name}", url.split("/")[-1])
        return [nodes.literal_block(text, text, language="bash")]


class Lab(SphinxDirective):
    """``{lab} labNN_name``: the links into a lab; the optional body says what its numbers should look like."""

    required_arguments = 1
    has_content = True

    def run(self):
        lab = self.arguments[0]
        if not LAB.fullmatch(lab):
            raise self.error(f"lab: {lab!r} is not the name of a lab, expected 'labNN_name'")
        notebook = notebook_of(lab)
        title = f"Lab {int(lab[3:5])}: {lab}"
        box = nodes.admonition("", nodes.title("", title), classes=["lab"])
        buttons = nodes.paragraph(classes=["lab-links"])
        buttons += nodes.reference("", "Open in Colab", refuri=colab_url(self.config, lab))
        buttons += nodes.Text(" ")
        buttons += addnodes.download_reference(
            "", "", nodes.inline("", "Download the notebook"), reftarget=f"/../{notebook}", refdoc=self.env.docname
        )
        buttons += nodes.Text(" ")
        buttons += nodes.reference("", "View the source", refuri=source_url(self.config, notebook))
        self.state.nested_parse(self.content, self.content_offset, box)
        box += buttons
        return [box]


# ------------------------------------------------------------------------------------------- the plan, a table


class chapters_table(nodes.General, nodes.Element):
    """Place of the table; filled when all pages are known, because only then is it known which exist."""


class Chapters(SphinxDirective):
    """``{chapters}``: one line per chapter, ``NN_name | title | what the reader can build after it``."""

    has_content = True

    def run(self):
        rows = [[cell.strip() for cell in line.split("|")] for line in self.content if line.strip()]
        for row in rows:
            if len(row) != 3 or chapter_number(row[0]) is None:
                raise self.error(f"chapters: {' | '.join(row)!r}, expected 'NN_name | title | result'")
        return [chapters_table(rows=rows)]


def fill_chapters(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    for place in list(doctree.findall(chapters_table)):
        place.replace_self(plan(app, docname, place["rows"]))


def plan(app: Sphinx, docname: str, rows: list[list[str]]) -> list[nodes.Node]:
    """The sentence that says which chapters are published, and the table."""
    published = [row for row in rows if row[0] in app.env.found_docs]
    body = nodes.tbody()
    for name, title, result in rows:
        chapter, lab = nodes.Text(title), nodes.Text("–")
        if name in app.env.found_docs:
            chapter = make_refnode(app.builder, docname, name, "", nodes.Text(title))
            lab = nodes.reference("", "Open in Colab", refuri=colab_url(app.config, f"lab{name}"))
        lines = nodes.line_block("", nodes.line("", "", nodes.strong("", "", chapter)), nodes.line("", result))
        body += row(nodes.Text(str(chapter_number(name))), lines, lab)
    head = row(nodes.Text(""), nodes.Text("Chapter, and what you can do after it"), nodes.Text("Lab"))
    group = nodes.tgroup("", *(nodes.colspec(colwidth=w) for w in (1, 12, 3)), nodes.thead("", head), body, cols=3)
    sentence = f"{len(published)} of the {len(rows)} chapters are published, each with its lab: the linked rows."
    return [nodes.paragraph("", sentence), nodes.table("", group, classes=["plan"])]


def row(*cells: nodes.Node) -> nodes.row:
    blocks = (cell if isinstance(cell, nodes.line_block) else nodes.paragraph("", "", cell) for cell in cells)
    return nodes.row("", *(nodes.entry("", block) for block in blocks))


# -------------------------------------------------------------------------------------------- chapter numbers


def number_chapters(app: Sphinx, env) -> list[str]:
    """Number a chapter by its file name, and what stands in it as chapter.item; runs after Sphinx's own numbering."""
    for docname in env.found_docs:
        if (number := chapter_number(docname)) is None or docname not in env.tocs:
            continue
        links = list(env.tocs[docname].findall(nodes.reference))
        env.toc_secnumbers[docname] = {link["anchorname"]: () for link in links} | {"": (number,)}  # sections have none
        links[0]["secnumber"] = env.titles[docname]["secnumber"] = (number,)
    return TocTreeCollector().assign_figure_numbers(env)


# ------------------------------------------------------------------------------------------------------ pages


def citation_titles(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Give each citation link the title of what it cites, shown when pointed at."""
    entries = {citation.citation_id: citation.entry for citation in app.env.get_domain("cite").citations}
    for link in doctree.findall(nodes.reference):
        entry = entries.get(link.get("refid") or link.get("refuri", "").partition("#")[2])
        if entry is not None:
            link["reftitle"] = re.sub(r"[{}]", "", entry.fields.get("title", ""))


def launch_button(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    """The rocket at the top of a chapter opens its lab in Colab."""
    if chapter_number(pagename) is None or doctree is None:
        return
    lab = f"lab{pagename}"
    context["header_buttons"].insert(
        0,
        {
            "type": "link",
            "text": "Lab",
            "tooltip": f"Open {lab} in Colab",
            "icon": "fas fa-rocket",
            "url": colab_url(app.config, lab),
            "label": "launch-lab",
        },
    )


def setup(app: Sphinx) -> dict:
    remove_thebe(app)
    app.add_node(chapters_table)
    app.add_directive("chapters", Chapters)
    app.add_directive("lab", Lab)
    app.add_directive("shell", Shell)
    app.add_role("repo", RepoRole())
    app.connect("config-inited", configure, priority=100)
    app.connect("env-get-updated", number_chapters, priority=900)
    app.connect("doctree-resolved", fill_chapters)
    app.connect("doctree-resolved", citation_titles, priority=900)
    app.connect("html-page-context", launch_button, priority=600)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
