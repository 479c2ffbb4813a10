"""The built book, opened page by page in headless Chromium as a reader would: on a desk, on a phone, in the dark."""

import functools
import re
import subprocess
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import pytest
import yaml

sync_api = pytest.importorskip("playwright.sync_api")

ROOT = Path(__file__).resolve().parents[2]
HTML = ROOT / "_build" / "html"
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
PAGES = [TOC["root"], *(page["file"] for part in TOC["parts"] for page in part["chapters"])]
CHAPTERS = [page for page in PAGES if re.match(r"\d\d_", page)]
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 375, "height": 740}

pytestmark = [pytest.mark.browser, pytest.mark.book]

# Contrast of every visible piece of text in the article with what lies behind it, by WCAG 2.2 (1.4.3): at least
# 4.5, and 3 for large text. Returns the pieces below. Formulas inherit the text's colour and are left out.
LOW_CONTRAST = """() => {
  const parse = c => { const v = c.match(/[\\d.]+/g).map(Number);
                       return c.startsWith('color(srgb') ? [...v.slice(0, 3).map(x => 255 * x), v[3] ?? 1]
                                                         : [...v.slice(0, 3), v[3] ?? 1]; };
  const over = (top, under) => [0, 1, 2].map(i => top[3] * top[i] + (1 - top[3]) * under[i]).concat(1);
  const behind = e => { const layers = [];
    for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
                                     if (c[3] > 0) layers.push(c); if (c[3] === 1) break; }
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255, 1]); };
  const luminance = c => { const [r, g, b] = c.map(x => { x /= 255;
    return x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const low = [];
  const walk = document.createTreeWalker(document.querySelector('.bd-article'), NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement, text = walk.currentNode.textContent.trim();
    if (!text || !e.checkVisibility() || e.closest('mjx-container, .headerlink, script, style')) continue;
    const style = getComputedStyle(e), size = parseFloat(style.fontSize), back = behind(e);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    const [a, b] = [luminance(over(parse(style.color), back)), luminance(back)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < (large ? 3 : 4.5)) low.push(`${ratio.toFixed(2)} ${e.tagName}.${e.className} ${text.slice(0, 40)}`);
  }
  return low;
}"""


@pytest.fixture(scope="session")
def site():
    """Address of the built book, served on a free port; built first where there is none."""
    if not (HTML / "index.html").is_file():
        subprocess.run(["make", "book"], cwd=ROOT, check=True)

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(HTML)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture
def visit(site, browser):
    """Open a page and wait until it stands still; what went wrong meanwhile is in page.trouble."""
    contexts = []

    def visit(name, viewport=DESK, **options):
        contexts.append(browser.new_context(viewport=viewport, **options))
        page = contexts[-1].new_page()
        page.trouble = []
        page.on("console", lambda m: page.trouble.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: page.trouble.append(str(error)))
        page.on("requestfailed", lambda request: page.trouble.append(f"failed: {request.url}"))
        page.on("response", lambda r: page.trouble.append(f"{r.status}: {r.url}") if r.status >= 400 else None)
        page.on(
            "request",
            lambda r: (
                None if r.url.startswith((site, "data:", "blob:")) else page.trouble.append(f"another host: {r.url}")
            ),
        )
        page.goto(f"{site}{name}.html", wait_until="load")
        if options.get("java_script_enabled", True):
            page.evaluate(
                "async () => { if (window.MathJax?.startup) await MathJax.startup.promise; await document.fonts.ready }"
            )
        page.wait_for_load_state("networkidle")
        return page

    yield visit
    for context in contexts:
        context.close()


@pytest.mark.parametrize("name", [*PAGES, "search", "genindex"])
def test_a_page_opens_without_trouble_and_from_one_host(visit, name):
    page = visit(name)
    assert page.trouble == []
    assert page.locator("h1").count() >= 1


@pytest.mark.parametrize("name", PAGES)
def test_formulas_are_rendered(visit, name):
    page = visit(name)
    formulas = page.locator(".bd-article .math").count()
    assert page.locator(".bd-article .math mjx-container").count() >= formulas
    assert page.locator("mjx-merror, [data-mjx-error]").count() == 0
    if name in CHAPTERS:
        assert formulas > 20
    shown = page.locator(".bd-article").inner_text()
    assert "\\(" not in shown and "\\[" not in shown


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_text_is_legible_in_both_themes(visit, name, scheme):
    page = visit(name, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.locator("html").get_attribute("data-theme") == scheme
    assert page.evaluate(LOW_CONTRAST) == []
    figures = page.locator(".bd-article .cell_output img")
    looks = figures.evaluate_all(
        "images => images.map(i => [i.matches('.pictures'), getComputedStyle(i).filter,"
        " getComputedStyle(i).backgroundColor])"
    )
    # Transparent in both; brighter on the dark page, where the grey of the labels is dim, but for pictures in colour.
    for picture, brightness, background in looks:
        assert brightness == ("brightness(1.35)" if scheme == "dark" and not picture else "none")
        assert background == "rgba(0, 0, 0, 0)"


def test_the_reader_can_switch_the_theme(visit):
    page = visit("index", color_scheme="light")
    seen = {page.locator("html").get_attribute("data-theme")}
    for _ in range(3):
        page.locator(".theme-switch-button:visible").first.click()
        seen.add(page.locator("html").get_attribute("data-theme"))
    assert seen == {"light", "dark"}


def test_a_dark_page_is_printed_light(visit):
    page = visit("index", color_scheme="dark")
    theme = page.locator("html")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert theme.get_attribute("data-theme") == "light"
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert theme.get_attribute("data-theme") == "dark"


@pytest.mark.parametrize("name", PAGES)
def test_a_phone_needs_no_sideways_scrolling(visit, name):
    page = visit(name, viewport=PHONE)
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate("document.scrollingElement.scrollWidth") <= PHONE["width"]


@pytest.mark.parametrize("name", PAGES)
def test_every_picture_has_alt_text(visit, name):
    page = visit(name)
    assert page.locator("img:not([alt])").count() == 0
    alts = page.locator(".bd-article img").evaluate_all("images => images.map(i => i.alt)")
    assert all(len(alt.split()) >= 4 for alt in alts)


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_quick_question_answers_from_the_keyboard(visit, name):
    page = visit(name)
    for kind, mark in (("right", "✓ right"), ("wrong", "✗ wrong")):
        option = page.locator(f"details.quiz-{kind}").first
        assert option.get_attribute("open") is None
        option.locator("summary").focus()
        page.keyboard.press("Enter")
        assert option.get_attribute("open") is not None
        label = option.locator(".sd-summary-text").evaluate("e => getComputedStyle(e, '::after').content")
        assert label.strip('"') == mark


@pytest.mark.parametrize("name", CHAPTERS)
def test_figures_and_formulas_are_numbered_by_chapter(visit, name):
    page = visit(name)
    number = str(int(name[:2]))
    captions = page.locator(".bd-article figcaption .caption-number").all_inner_texts()
    equations = page.locator(".bd-article .eqno").all_inner_texts()
    assert [text.strip() for text in captions] == [f"Fig. {number}.{i + 1}" for i in range(len(captions))]
    assert captions and equations
    assert all(text.startswith(f"({number}.") for text in equations)


@pytest.mark.parametrize("name", CHAPTERS)
def test_the_links_into_the_lab(visit, name):
    page = visit(name)
    links = page.locator(".admonition.lab .lab-links a").evaluate_all("links => links.map(a => a.href)")
    colab, download, source = links
    notebook = f"labs/lab{name}/lab{name}.ipynb"
    assert colab.startswith("https://colab.research.google.com/github/") and colab.endswith(notebook)
    assert source.endswith(notebook)
    assert page.request.get(download).body() == (ROOT / notebook).read_bytes()
    assert page.locator(".header-article__inner, .bd-header-article").locator(f'a[href="{colab}"]').count() >= 1


def test_the_front_page_links_exactly_the_published_chapters(visit):
    page = visit("index")
    rows = page.locator("table.plan tbody tr")
    links = page.locator("table.plan tbody td:nth-child(2) a").evaluate_all(
        "links => links.map(a => a.getAttribute('href'))"
    )
    assert rows.count() == 16
    assert links == [f"{chapter}.html" for chapter in CHAPTERS]


def test_search_finds_a_word(visit):
    page = visit("index")
    page.keyboard.press("Control+k")
    page.locator("#pst-search-dialog input[type=search]").fill("variance")
    page.keyboard.press("Enter")
    page.wait_for_selector("#search-results ul.search li")
    assert any(
        "conventions" in (href or "")
        for href in page.locator("#search-results a").evaluate_all("links => links.map(a => a.getAttribute('href'))")
    )
    assert page.trouble == []


def test_a_page_is_readable_without_scripts(visit):
    page = visit("conventions", java_script_enabled=False)
    assert page.locator(".bd-article h1").is_visible()
    assert page.locator(".bd-article table").first.is_visible()


def test_every_internal_link_and_anchor_exists(visit, site):
    """Links are resolved against the files, anchors against the ids in them."""
    ids, broken = {}, []

    def anchors(path):
        if path not in ids:
            ids[path] = set(re.findall(r'\bid="([^"]+)"', path.read_text(encoding="utf-8")))
        return ids[path]

    for name in PAGES:
        source = HTML / f"{name}.html"
        for href in re.findall(r'<a\b[^>]*\bhref="([^"]*)"', source.read_text(encoding="utf-8")):
            target, fragment = urldefrag(urljoin(f"{site}{name}.html", href.replace("&amp;", "&")))
            if not target.startswith(site):
                continue
            path = HTML / unquote(urlsplit(target).path).lstrip("/")
            path = path / "index.html" if path.is_dir() else path
            if not path.is_file() or (fragment and path.suffix == ".html" and unquote(fragment) not in anchors(path)):
                broken.append(f"{name}: {href}")
    assert broken == []
