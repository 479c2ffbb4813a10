"""Order of the stages: what is fast first, then what takes longest, so that two processes end together."""

import shutil

import pytest

STAGES = ("grading", "book", "browser", "notebooks")


def pytest_collection_modifyitems(items):
    """Fast tests, then grading, book, browser, notebooks (nbval's cells too); the order within a stage is kept."""

    def stage(item):
        if item.path.suffix == ".ipynb":
            return STAGES.index("notebooks") + 1
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
