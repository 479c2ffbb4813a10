"""JupyterLab as `make lab` starts it, used in headless Chromium as a student would: run, answer, check, validate."""

import os
import re
import shlex
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest

from labcheck.notebooks import grade_id, is_answer

sync_api = pytest.importorskip("playwright.sync_api")
expect = sync_api.expect

ROOT = Path(__file__).resolve().parents[2]
LAB, TASK = "lab04_schedules", "linear_alpha_bar"
RELEASED, SOLUTION = (ROOT / side / LAB / f"{LAB}.ipynb" for side in ("labs", "solutions"))
SECONDS = 60  # for one step of the student's, on a machine that has other work
ERROR = '[data-mime-type="application/vnd.jupyter.stderr"]'  # JupyterLab's name of tracebacks and of stderr

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A copy of the released lab: LAB.ipynb as it is, and filled.ipynb with every answer of the solution."""
    folder = tmp_path_factory.mktemp("labs")
    shutil.copy(RELEASED, folder)
    notebook, answers = nbformat.read(RELEASED, as_version=4), _sources(SOLUTION)
    for cell in notebook.cells:
        if is_answer(cell):
            cell.source = answers[grade_id(cell)]
    nbformat.write(notebook, folder / "filled.ipynb")
    return folder


@pytest.fixture(scope="module")
def lab(folder, tmp_path_factory):
    """Address of a JupyterLab, started by the recipe of `make lab` but on the copy and with settings of its own."""
    recipe = ["make", "--no-print-directory", "--dry-run", "lab"]
    recipe = subprocess.run(recipe, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()[-1]
    assert "--notebook-dir=labs" in recipe
    command = shlex.split(recipe.replace("--notebook-dir=labs", f"--notebook-dir={folder}"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command += ["--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}", "--IdentityProvider.token="]
    home = tmp_path_factory.mktemp("home")
    rooms = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    environment = os.environ | {room: str(home / room) for room in rooms}
    environment["OMP_NUM_THREADS"] = "1"
    environment["PATH"] = f"{ROOT / '.venv' / 'bin'}{os.pathsep}{environment['PATH']}"
    log = home / "log"
    with log.open("w") as stream:
        server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=stream, stderr=subprocess.STDOUT)
    try:
        address = f"http://127.0.0.1:{port}"
        _wait(lambda: server.poll() is not None or _answers(f"{address}/api"), "JupyterLab does not start")
        assert server.poll() is None, log.read_text()
        yield address
    finally:
        server.terminate()
        server.wait(SECONDS)


@pytest.fixture
def visit(lab, browser):
    """Open a notebook and wait for its kernel."""
    contexts = []

    def visit(name):
        contexts.append(browser.new_context(viewport={"width": 1280, "height": 900}))
        page = contexts[-1].new_page()
        page.set_default_timeout(1000 * SECONDS)
        page.goto(f"{lab}/lab/workspaces/{Path(name).stem}/tree/{name}")
        expect(page.get_by_text("Python 3 (ipykernel) | Idle")).to_be_visible(timeout=1000 * SECONDS)
        return page

    yield visit
    for context in contexts:
        context.close()


def test_a_student_answers_a_task(visit, folder):
    path = folder / f"{LAB}.ipynb"
    names = [grade_id(cell) for cell in nbformat.read(path, as_version=4).cells]
    answer, check = names.index(TASK), names.index(f"check-{TASK}")
    page = visit(path.name)

    # Run everything up to the first check: the check alone fails, and names its task.
    _cell(page, 0).locator(".jp-InputPrompt").click()
    for index in range(check + 1):
        _run(page, index)
        expect(_cell(page, index).locator(ERROR)).to_have_count(int(index == check))
    failed, error = _cell(page, check).locator(".labcheck-failed"), _cell(page, check).locator(ERROR)
    expect(failed.first).to_contain_text(TASK)
    expect(error).to_contain_text(TASK)

    # Replace the blank by a right answer: the check turns green.
    solution = _sources(SOLUTION)[TASK]
    _cell(page, answer).locator(".cm-content").click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(solution)
    for index in (answer, check):
        _run(page, index)
    passed = _cell(page, check).locator(".labcheck-passed")
    expect(passed.first).to_contain_text("✓")
    expect(passed.first).to_contain_text(TASK)
    red, green, _ = map(int, re.findall(r"\d+", passed.first.evaluate("e => getComputedStyle(e).color")))
    assert green > 2 * red
    expect(failed).to_have_count(0)
    expect(error).to_have_count(0)

    page.keyboard.press("Control+S")
    _wait(lambda: "labcheck-passed" in path.read_text(), f"{path.name} was not saved")
    assert _sources(path)[TASK] == solution

    # Validate lists what is still to do, and not what is done.
    dialog = _validate(page)
    expect(dialog.locator(".validation-failed")).to_be_visible()
    listed = set(re.findall(r'check\("(\w+)"\)', dialog.inner_text()))
    assert listed == {name.removeprefix("check-") for name in names if name and name.startswith("check-")} - {TASK}
    expect(dialog).to_contain_text("You did not provide a response.")


def test_a_finished_lab_validates(visit):
    dialog = _validate(visit("filled.ipynb"))
    expect(dialog.locator(".validation-success")).to_have_text("Success! Your notebook passes all the tests.")


def _sources(path):
    """The source of each named cell of a notebook."""
    return {grade_id(cell): cell.source for cell in nbformat.read(path, as_version=4).cells if grade_id(cell)}


def _cell(page, index):
    return page.locator(f'.jp-Notebook .jp-Cell[data-windowed-list-index="{index}"]')


def _run(page, index):
    """Shift+Enter on a cell, which has the focus or gets it: runs it, waits for its end, moves on to the next."""
    cell = _cell(page, index)
    expect(cell).to_have_class(re.compile("jp-mod-active"))
    before = cell.locator(".jp-InputPrompt").inner_text()
    page.keyboard.press("Shift+Enter")
    if "jp-CodeCell" in cell.get_attribute("class"):
        numbered = re.compile(rf"^(?!{re.escape(before)}$)\[\d+\]:$")
        expect(cell.locator(".jp-InputPrompt")).to_have_text(numbered, timeout=1000 * SECONDS)


def _validate(page):
    """Click nbgrader's button and wait for its dialog."""
    page.locator(".jp-NotebookPanel-toolbar").get_by_text("Validate", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Validation Results", timeout=2000 * SECONDS)
    return dialog


def _answers(address):
    try:
        return urllib.request.urlopen(address, timeout=5).status == 200
    except OSError:
        return False


def _wait(condition, message):
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, message
        time.sleep(0.2)
