"""The index of many reports and two of them side by side, on a phone: all of it in view, and nothing for axe to mend."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe

from kobe_assets.report.analysis.inputs import ReportInputs
from kobe_assets.report.page.page import build_report
from kobe_resources.runtime.report_index import comparison_page, index_page
from tests.support.builders.fabricate import NOW

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NAMES = ("dear.html", "usual.html")


@pytest.fixture(scope="module")
def folder(inputs: ReportInputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("reports")
    dear = inputs.settings.model_copy(update={"costs": inputs.settings.costs.model_copy(update={"slippage_bps": 9.0})})
    for name, settings in zip(NAMES, (dear, inputs.settings), strict=True):
        (found / name).write_text(build_report(dataclasses.replace(inputs, settings=settings), NOW), encoding="utf-8")
    return found


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("which", ["index", "comparison"])
def test_a_phone_shows_every_report_whole(browser: Browser, folder: Path, tmp_path: Path, which: str, theme: str) -> None:
    file = tmp_path / "page.html"
    file.write_text(index_page(folder, "made") if which == "index" else comparison_page(folder, *NAMES), encoding="utf-8")
    page = browser.new_page(viewport={"width": 400, "height": 850}, color_scheme=theme)  # type: ignore[arg-type]
    page.goto(file.as_uri())
    beyond = "[...document.querySelectorAll('td, th, button')].filter((one) => one.getBoundingClientRect().right > innerWidth)"
    assert page.evaluate(f"{beyond}.map((one) => one.textContent)") == []
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []
    if which == "index":
        assert page.locator("td:visible", has_text="costs.slippage_bps = 9.0").count() == 1
        assert page.locator("input:visible").count() == 2 * len(NAMES)
    page.close()
