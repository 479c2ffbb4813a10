"""Order of the stages: what is fast first, what needs the built book or a browser last."""

import shutil

import pytest

STAGES = ("notebooks", "grading", "book", "browser")


def pytest_collection_modifyitems(items):
    """Fast tests, then notebooks (nbval's cells too), grading, book, browser; the order within a stage is kept."""

    def stage(item):
        if item.path.suffix == ".ipynb":
            return 1
        return max((STAGES.index(mark.name) + 1 for mark in item.iter_markers() if mark.name in STAGES), default=0)

    items.sort(key=stage)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of Debian's Chromium."""
    path = shutil.which("chromium")
    assert path, "chromium is not installed: apt install chromium"
    return path


@pytest.fixture(scope="session")
def browser(chromium):
    """Headless Chromium, one for all tests: Playwright cannot be started twice in a process."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()
