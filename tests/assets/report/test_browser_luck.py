"""The parts about luck, the grid and the strategies together in a real browser: the figures that it draws are Python's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kobe_assets.report.analysis.heat_map import Grid, heat_map, stored_grids
from kobe_assets.report.analysis.inputs import ReportInputs
from kobe_assets.report.page.page import build_report
from tests.support.builders.fabricate import NOW

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHARTS = ("fan", "worst_falls", "ends", "permutation", "heat_map", "correlation")


@pytest.fixture(scope="module")
def complaints() -> list[str]:
    return []


@pytest.fixture(scope="module")
def page(
    browser: Browser, inputs: ReportInputs, complaints: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Page]:
    path: Path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(build_report(inputs, NOW), encoding="utf-8")
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.goto(path.as_uri())
    for name in CHARTS:
        drawn(opened, name)
    yield opened
    opened.close()


def drawn(page: Page, name: str) -> Any:
    """The first trace of a chart, once it is drawn: charts may wait until they come into view."""
    page.locator(f"#chart-{name}").scroll_into_view_if_needed()
    # A function, because the page's policy lets no text be evaluated.
    page.wait_for_function("id => document.getElementById(id).data !== undefined", arg=f"chart-{name}", timeout=60_000)
    return page.evaluate(f"document.getElementById('chart-{name}').data[0]")


def test_every_part_is_drawn_with_words_for_a_screen_reader(page: Page, complaints: list[str]) -> None:
    assert complaints == []
    for name in CHARTS:
        label = page.get_attribute(f"#chart-{name}", "aria-label") or ""
        assert any(sign.isdigit() for sign in label), name


def test_the_map_is_pythons_for_every_pair_source_and_fixed_value(page: Page, inputs: ReportInputs) -> None:
    strategy = str(page.evaluate("document.getElementById('payload').dataset.book")).split("|")[0]
    grid: Grid = next(grid for grid in stored_grids(inputs.evidence) if grid.strategy == strategy)
    for across, down in grid.pairs():
        page.select_option("[name=grid-pair]", f"{across}|{down}")
        (other,) = set(grid.axes) - {across, down}
        for place in ("", "1"):
            page.select_option(f"[name=grid-fixed-{other}]", place)
            fixed = {other: grid.axes[other][int(place)]} if place else {}
            found = heat_map(grid, across, down, fixed)
            for source, cells in (("mean", found.mean), ("unseen", found.unseen)):
                page.select_option("[name=grid-source]", source)
                page.wait_for_selector("html[data-drawn=yes]", state="attached")
                shown = drawn(page, "heat_map")["z"]
                flat = [value for row in cells for value in row]
                assert [value for row in shown for value in row] == pytest.approx(flat, nan_ok=True), (
                    across,
                    down,
                    place,
                    source,
                )
            text = page.inner_text("#grid-plateau")
            assert "mean ratio of the test windows that chose it and traded" in text
            assert text.startswith("No plateau") if found.plateau is None else f"Plateau {found.plateau:.2f}" in text


def test_another_book_shows_its_own(page: Page) -> None:
    before = drawn(page, "permutation")["x"], drawn(page, "fan")["y"]
    page.evaluate("document.querySelector('[data-choose=\"ibs|optimized\"]').click()")
    page.wait_for_selector("html[data-drawn=yes]", state="attached")
    assert drawn(page, "fan")["y"] != before[1]
    assert page.locator('#chance [data-book="ibs|optimized"]').is_visible()
