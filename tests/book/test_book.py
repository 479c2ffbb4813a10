"""The book's sources: what every page and every chapter must have. Nothing is built or executed here."""

import importlib
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"
CHAPTERS = sorted(BOOK.glob("[0-9][0-9]_*.md"))

chapters = pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)


def toc_pages() -> list[str]:
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    return [toc["root"], *(page["file"] for part in toc["parts"] for page in part["chapters"])]


def plan() -> list[list[str]]:
    """The rows of the front page's table: name, title, result."""
    body = re.search(r"```\{chapters\}\n(.*?)```", (BOOK / "index.md").read_text(encoding="utf-8"), re.DOTALL)[1]
    return [[cell.strip() for cell in line.split("|")] for line in body.splitlines()]


def code_cells(text: str) -> list[str]:
    return re.findall(r"^```\{code-cell\}[^\n]*\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def blocks(text: str, directive: str) -> list[str]:
    """Bodies of a directive's blocks, title included, for fences of three or more backticks or colons."""
    pattern = rf"^(`{{3,}}|:{{3,}})\{{{directive}\}}(.*?)^\1$"
    return [match[2] for match in re.finditer(pattern, text, re.DOTALL | re.MULTILINE)]


def prose(text: str) -> str:
    """What a reader reads as words: no code, no formulas, no markup."""
    text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)
    text = re.sub(r"^```(?:\{code-cell\}|\w+)[^\n]*\n.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"\$\$.*?\$\$(?: *\([\w-]+\))?", "", text, flags=re.DOTALL)
    text = re.sub(r"\$[^$]+\$", "", text)
    text = re.sub(r"^\s*:[\w-]+:.*$|^\s*[`:]{3,}(?:\{[^}]*\})?|^\([\w-]+\)=$", "", text, flags=re.MULTILINE)
    text = re.sub(r"\{[\w:]+\}`[^`]*`|`[^`]*`", "", text)
    return text


def test_every_page_of_the_contents_exists():
    assert [page for page in toc_pages() if not (BOOK / f"{page}.md").is_file()] == []


def test_every_page_is_in_the_contents():
    assert {path.stem for path in BOOK.glob("*.md")} == set(toc_pages())


def test_chapters_stand_in_order_and_in_the_plan():
    names = [row[0] for row in plan()]
    assert [name[:2] for name in names] == [f"{number:02d}" for number in range(1, 17)]
    published = [page for page in toc_pages() if re.match(r"\d\d_", page)]
    assert published == sorted(published)
    assert set(published) <= set(names)


def test_the_plan_has_the_titles_of_the_chapters():
    titles = {row[0]: row[1] for row in plan()}
    for chapter in CHAPTERS:
        assert re.search(r"^# (.*)$", chapter.read_text(encoding="utf-8"), re.MULTILINE)[1] == titles[chapter.stem]


@chapters
def test_a_chapter_begins_with_its_question(chapter):
    opening = re.split(r"^## ", chapter.read_text(encoding="utf-8"), flags=re.MULTILINE)[0]
    assert "?" in prose(opening)


@chapters
def test_a_chapter_shows_errors_conventions_and_systems(chapter):
    text = chapter.read_text(encoding="utf-8")
    assert re.search(r"^## Where tutorials go wrong$", text, re.MULTILINE)
    boxes = blocks(text, "admonition")
    by_class = {name: [b for b in boxes if f":class: {name}" in b] for name in ("erratum", "conventions", "systems")}
    assert all(by_class.values()), by_class
    assert all("{cite" in box for box in by_class["systems"])
    errata = re.split(r"^## Where tutorials go wrong$", text, flags=re.MULTILINE)[1].split("\n## ")[0]
    assert code_cells(errata), "a mistake is shown in numbers"


@chapters
def test_quick_questions_have_one_right_answer_each(chapter):
    text = chapter.read_text(encoding="utf-8")
    section = re.split(r"^## Quick questions$", text, flags=re.MULTILINE)[1].split("\n## ")[0]
    questions = [body for body in blocks(section, "admonition") if ":class: quiz" in body]
    assert 3 <= len(questions) <= 6
    for question in questions:
        options = blocks(question, "dropdown")
        kinds = [re.search(r":class-container: quiz-(right|wrong)", option)[1] for option in options]
        assert kinds.count("right") == 1 and kinds.count("wrong") >= 1
        assert all(len(prose(option).split()) >= 5 for option in options), "every option explains itself"


@chapters
def test_exercises_have_folded_solutions(chapter):
    text = chapter.read_text(encoding="utf-8")
    exercises = blocks(text, "exercise") + blocks(text, "exercise-start")
    labels = [re.search(r":label: (\S+)", body)[1] for body in exercises]
    solutions = {body.split()[0]: body for body in blocks(text, "solution") + blocks(text, "solution-start")}
    assert 3 <= len(labels) <= 5
    assert set(solutions) == set(labels)
    assert all(":class: dropdown" in body for body in solutions.values())
    assert any("on paper" in body.lower() for body in exercises)


@chapters
def test_a_chapter_leads_into_its_own_lab(chapter):
    labs = re.findall(r"^[`:]{3,}\{lab\} (\S+)$", chapter.read_text(encoding="utf-8"), re.MULTILINE)
    assert labs == [f"lab{chapter.stem}"]


def sections(chapter: Path) -> dict[str, list[str]]:
    """Headings and theorems of a chapter, each with the numbers of the equations that stand under it.

    The book numbers labelled equations through a chapter: (7.1), (7.2), ... A heading has those of its subsections,
    too, and those of its theorems.
    """
    chapter_number, count = int(chapter.stem[:2]), 0
    found: dict[str, list[str]] = {}
    opened: list[tuple[int, str]] = []  # the headings above, each with its depth
    text = re.sub(r"^```\{code-cell\}.*?^```$", "", chapter.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for mark, heading, theorem, label in re.findall(
        r"^(#+) (.*)$|^`{3,}\{prf:\w+\} (.*)$|\$\$ ?\(([\w-]+)\)$", text, re.MULTILINE
    ):
        if label:
            count += 1
            for _, title in opened:
                found[title].append(f"{chapter_number}.{count}")
            continue
        depth = len(mark) or 7  # a theorem is open until the next heading or theorem
        opened = [*((above, title) for above, title in opened if above < depth), (depth, heading or theorem)]
        found.setdefault(heading or theorem, [])
    return found


def citing() -> list[Path]:
    return [*sorted(ROOT.glob("solutions/*/*.md")), *sorted(ROOT.glob("src/noise2data/**/*.py"))]


def test_what_labs_cite_of_a_chapter_is_there():
    """chapter 4, "Linear and cosine", equation (4.6): a heading or theorem begins so, and the equation is under it."""
    published = {int(chapter.stem[:2]): sections(chapter) for chapter in CHAPTERS}
    missing, cited = [], 0
    for source in citing():
        text = " ".join(source.read_text(encoding="utf-8").split())
        pattern = r"""[Cc]hapter (\d+),? (?:the theorem )?["*“]([^"*”]+)["*”](?:, equation \(([\d.]+)\))?"""
        for number, title, equation in re.findall(pattern, text):
            cited += 1
            there = [numbers for known, numbers in published.get(int(number), {}).items() if known.startswith(title)]
            if int(number) in published and not (there and (not equation or any(equation in those for those in there))):
                missing.append((source.name, int(number), title, equation))
    assert cited and missing == []


def test_every_equation_of_the_book_that_is_cited_exists():
    """Numbers with the chapter in front, (7.13), are the book's; a paper's have none."""
    known = {number for chapter in CHAPTERS for numbers in sections(chapter).values() for number in numbers}
    written = {f"{int(chapter.stem[:2])}" for chapter in CHAPTERS}
    cited = [
        (source.name, number)
        for source in citing()
        for line in source.read_text(encoding="utf-8").splitlines()
        if "equation" in line
        for number in re.findall(r"\((\d+\.\d+)\)", line)
    ]
    assert len(cited) > 40
    assert [cite for cite in cited if cite[1].split(".")[0] in written and cite[1] not in known] == []


@chapters
def test_a_chapter_has_figures_computed_by_its_cells(chapter):
    text = chapter.read_text(encoding="utf-8")
    assert 4 <= sum("mystnb:" in cell and "figure:" in cell for cell in code_cells(text)) <= 8
    assert not re.search(r"!\[|\{image\}|\{figure\}", text), "a pasted picture"


@pytest.mark.parametrize("page", sorted(BOOK.glob("*.md")), ids=lambda path: path.stem)
def test_every_figure_has_alt_text_and_caption(page):
    for cell in code_cells(page.read_text(encoding="utf-8")):
        if "mystnb:" in cell:
            options = re.match(r"---\n(.*?)\n---\n", cell, re.DOTALL)
            settings = yaml.safe_load(options[1])["mystnb"]
            assert len(settings["image"]["alt"].split()) >= 8
            assert settings["figure"]["name"] and settings["figure"]["caption"]
        else:
            assert "plt.show()" not in cell, "a figure without alt text"


@chapters
def test_a_chapter_has_the_length_of_a_chapter(chapter):
    assert 2500 <= len(re.findall(r"[^\W\d_][\w’'-]*", prose(chapter.read_text(encoding="utf-8")))) <= 4500


def test_the_address_stands_in_one_place():
    """Only pyproject.toml holds it. Notebooks are generated, and carry it for Colab."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    address = project["urls"]["Repository"].removeprefix("https://")
    command = ["git", "grep", "--untracked", "--fixed-strings", "--files-with-matches", address]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert [file for file in found if not file.endswith(".ipynb")] == ["pyproject.toml"]


def test_no_source_of_the_book_names_a_cdn():
    hosts = r"unpkg\.com|jsdelivr|cdnjs|cloudflare|googleapis|gstatic|bootstrapcdn|mathjax\.org|mybinder|esm\.sh"
    sources = [
        path for path in BOOK.rglob("*") if path.suffix in {".md", ".py", ".css", ".js", ".svg", ".html", ".bib"}
    ]
    sources += [ROOT / "_config.yml", ROOT / "_toc.yml"]
    assert [path.name for path in sources if re.search(hosts, path.read_text(encoding="utf-8"))] == []


@pytest.fixture
def extension(monkeypatch):
    """The book's own Sphinx extension."""
    monkeypatch.syspath_prepend(BOOK / "_ext")
    return importlib.import_module("noise2data_book")


def test_lists_of_references_are_merged(extension, tmp_path):
    entry = "@article{KEY,\n  title = {TITLE},\n  year = {2020}\n}\n"
    first, second = tmp_path / "first.bib", tmp_path / "second.bib"
    first.write_text(entry.replace("KEY", "a").replace("TITLE", "On {Noise}"), encoding="utf-8")
    second.write_text(first.read_text() + entry.replace("KEY", "b").replace("TITLE", "On Data"), encoding="utf-8")
    assert re.findall(r"@article\{(\w+)", extension.merge_references([first, second])) == ["a", "b"]


@pytest.mark.parametrize(("key", "title", "complaint"), [("a", "Another", "two titles"), ("b", "On noise", "one key")])
def test_lists_of_references_that_disagree_are_refused(extension, tmp_path, key, title, complaint):
    first, second = tmp_path / "first.bib", tmp_path / "second.bib"
    first.write_text("@article{a,\n  title = {On {Noise}}\n}\n", encoding="utf-8")
    second.write_text(f"@article{{{key},\n  title = {{{title}}}\n}}\n", encoding="utf-8")
    with pytest.raises(extension.ConfigError, match=f"second.bib: {key} .*{complaint}"):
        extension.merge_references([first, second])


def test_the_books_own_lists_agree(extension):
    text = extension.merge_references(sorted((BOOK / "references").glob("*.bib")))
    cited = set()
    for page in BOOK.glob("*.md"):
        for keys in re.findall(r"\{cite:?\w*\}`([^`]+)`", page.read_text(encoding="utf-8")):
            cited |= {key.strip() for key in keys.split(",")}
    assert cited == set(re.findall(r"^@\w+\{([^,]+),", text, re.MULTILINE)), "cited, but not listed, or the reverse"
