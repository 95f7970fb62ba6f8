"""One small invented market and one browser for the report's tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from kobe_assets.report.analysis.inputs import ReportInputs
from tests.support.browser import MISSING, browser_path
from tests.support.builders.fabricate import Tables, fabricate, inputs_from, settings_for

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
