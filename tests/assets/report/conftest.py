"""One small invented market, its page and one browser for the report's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kobe_assets.report.analysis.inputs import ReportInputs
from kobe_assets.report.page.page import build_report
from tests.support.browser import MISSING, browser_path
from tests.support.builders.fabricate import NOW, Tables, fabricate, inputs_from, settings_for
from tests.support.drivers.page import Watched

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SYMBOLS = 8


@pytest.fixture(scope="session")
def tables() -> Tables:
    """The invented tables; tests that change one make a copy first."""
    return fabricate(symbols=SYMBOLS)


@pytest.fixture(scope="session")
def inputs(tables: Tables, tmp_path_factory: pytest.TempPathFactory) -> ReportInputs:
    """The invented tables as the report reads them from a warehouse."""
    return inputs_from(tables, tmp_path_factory.mktemp("report"), settings_for(SYMBOLS))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real Chromium, one a module."""
    from playwright.sync_api import sync_playwright

    found = browser_path()
    if found is None:
        pytest.fail(MISSING)
    with sync_playwright() as play:
        launched = play.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def page_file(inputs: ReportInputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the invented tables."""
    file = tmp_path_factory.mktemp("page") / "kpi_report.html"
    file.write_text(build_report(inputs, NOW), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def wide_page(browser: Browser, page_file: Path) -> Watched:
    """The page on a laptop, opened once a module."""
    return Watched(browser, page_file)


@pytest.fixture
def wide(wide_page: Watched) -> Iterator[Watched]:
    """The page on a laptop, back at its first choices after each test."""
    yield wide_page
    wide_page.page.evaluate("document.getElementById('trade-dialog').close()")
    if wide_page.page.locator("#pick-fold").input_value() != "0":
        wide_page.fold(0)
    if wide_page.page.locator(".verdict:visible strong").inner_text() != "rsi2 · fixed parameters":
        wide_page.choose("rsi2|canonical")
