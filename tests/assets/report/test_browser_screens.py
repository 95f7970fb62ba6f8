"""The page on a phone, a laptop and paper, light and dark, by keyboard, for a screen reader and without scripts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.support.drivers.page import DRAWN, FILLED, Watched

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CONTRAST = """(() => {
  const probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const parse = (color) => {
    probe.fillStyle = color;
    probe.fillRect(0, 0, 1, 1);
    return [...probe.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const light = (rgb) => rgb.map((v) => linear(v / 255)).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const contrast = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
  const worst = (trace) => trace.colorscale.map(([, color]) => contrast(parse(color), parse(trace.textfont.color)));
  return Math.min(...gd.data.flatMap(worst));
})()"""


def test_the_keyboard_reaches_the_choices(wide: Watched) -> None:
    wide.page.locator("input[name=strategy]:checked").focus()
    wide.page.keyboard.press("ArrowRight")
    wide.settle()
    assert wide.page.locator(".verdict:visible strong").inner_text() == "rsi2_ibs · fixed parameters"


def test_charts_and_landmarks_have_names_for_a_screen_reader(wide: Watched) -> None:
    assert wide.page.locator("main .chart:not([aria-label])").count() == 0
    wide.see("#chart-equity")
    assert "Growth of $1,000 to" in (wide.page.locator("#chart-equity").get_attribute("aria-label") or "")
    assert wide.page.locator("main, nav[aria-label]:visible, h1").count() == 3
    assert wide.page.locator("table:not(:has(caption)):visible").count() <= 1
    assert wide.page.locator(".scroll:not([tabindex='0'])").count() == 0


def test_a_laptop_shows_the_verdict_of_every_strategy_whole(wide: Watched) -> None:
    table = wide.page.locator(".books").locator("..")
    assert table.evaluate("box => box.scrollWidth - box.clientWidth") == 0


def test_a_laptop_page_does_not_scroll_sideways(wide: Watched) -> None:
    assert wide.overflow() == 0


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_shows_every_chart_without_scrolling_sideways(browser: Browser, page_file: Path, theme: str) -> None:
    watched = Watched(browser, page_file, 400, theme)
    assert watched.overflow() == 0
    assert watched.undrawn() == []
    watched.choose("rsi2_ibs|optimized")
    assert watched.overflow() == 0
    covered = """(() => {
      const boxes = (query) => [...gd.querySelectorAll(query)].map((one) => one.getBoundingClientRect());
      const names = boxes(".ytick text");
      return boxes(".annotation").some((a) => names.some((b) => a.left < b.right && a.top < b.bottom && b.top < a.bottom));
    })()"""
    assert watched.chart("flow", "gd.querySelectorAll('.annotation').length") > 2
    assert watched.chart("flow", covered) is False
    beside = """() => {
      const heads = [...document.querySelectorAll(".figures thead th")];
      const chosen = heads.find((head) => head.classList.contains("chosen")).getBoundingClientRect();
      return [heads[0].getBoundingClientRect().right, chosen.left, chosen.right];
    }"""
    name_ends, column_begins, column_ends = watched.page.evaluate(beside)
    assert name_ends - 1 <= column_begins
    assert column_ends <= 400
    dots = watched.page.evaluate(
        """() => [...document.querySelectorAll(".dots")].map((row) => [...row.querySelectorAll("i")].map((dot) => {
             const box = dot.getBoundingClientRect();
             return [Math.round(box.width), Math.round(box.height), box.right <= innerWidth];
           }))"""
    )
    assert {tuple(dot) for row in dots for dot in row} == {(9, 9, True)}, "each gate is a dot that can be seen"
    assert watched.complaints == []
    watched.page.close()


def test_the_theme_follows_the_system_and_the_toggle_and_a_narrowed_window_redraws(browser: Browser, page_file: Path) -> None:
    watched = Watched(browser, page_file, theme="dark")

    def look() -> tuple[str, str]:
        return watched.page.evaluate("getComputedStyle(document.body).backgroundColor"), watched.chart(
            "equity", "gd.layout.font.color"
        )

    dark = look()
    assert dark[0] == "rgb(19, 20, 22)"
    assert watched.undrawn() == []
    watched.page.locator("#theme").click()
    watched.settle()
    light = look()
    assert light[0] == "rgb(251, 250, 247)"
    assert dark[1] != light[1]
    watched.page.set_viewport_size({"width": 400, "height": 850})
    watched.page.wait_for_timeout(300)
    watched.settle()
    assert watched.overflow() == 0
    assert watched.undrawn() == []
    assert watched.complaints == []
    watched.page.close()


def test_a_heading_stops_under_the_header_and_a_phone_has_contents(browser: Browser, page_file: Path) -> None:
    watched = Watched(browser, page_file, 400)
    watched.page.locator(".contents summary").click()
    watched.page.locator(".contents a", has_text="The trades").click()
    watched.page.wait_for_function("() => /at=trades/.test(location.hash)")
    for width in (400, 1280):
        watched.page.set_viewport_size({"width": width, "height": 850})
        watched.page.wait_for_timeout(100)
        watched.page.evaluate("location.hash = '#data'")
        watched.page.wait_for_timeout(500)
        watched.settle()
        bar, head = watched.page.evaluate(
            """(() => {
              const box = (query) => document.querySelector(query).getBoundingClientRect();
              return [box(".bar").bottom, box("#data-title").top];
            })()"""
        )
        assert bar <= head < 400
    watched.page.set_viewport_size({"width": 400, "height": 850})
    verdict = watched.page.locator(".books tbody tr").first.locator("td").last
    verdict.scroll_into_view_if_needed()
    box = verdict.bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= 400
    watched.page.close()


def test_a_browser_that_cannot_unpack_says_so_and_shows_the_words(browser: Browser, page_file: Path) -> None:
    page = browser.new_page()
    page.add_init_script("delete window.DecompressionStream")
    page.goto(page_file.as_uri())
    page.wait_for_selector(DRAWN, state="attached")
    assert page.locator("#cannot-unpack").is_visible()
    assert page.locator(".verdict:visible strong").inner_text() == "rsi2 · fixed parameters"
    assert page.locator(FILLED).count() == 0
    page.close()


def test_without_scripts_a_sentence_says_what_is_missing_and_nothing_stands_empty(browser: Browser, page_file: Path) -> None:
    page = browser.new_page(java_script_enabled=False)
    page.goto(page_file.as_uri())
    assert page.locator("noscript p").is_visible()
    assert page.locator(".verdict:visible strong").inner_text() == "rsi2 · fixed parameters"
    assert page.locator(FILLED).count() == 0
    page.close()


def test_a_dark_page_is_printed_light_with_every_chart_and_is_dark_again(browser: Browser, page_file: Path) -> None:
    watched = Watched(browser, page_file, theme="dark")
    watched.see("#chart-equity")
    paper = "getComputedStyle(document.body).backgroundColor"
    dark = watched.page.evaluate(paper)
    watched.page.emulate_media(media="print")
    watched.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert watched.page.evaluate(paper) == "rgb(251, 250, 247)"
    assert watched.page.locator("main .chart:not(.blank):not(:has(svg.main-svg))").count() == 0
    assert watched.page.locator(".filters:visible, .unpacked[data-stale]:visible").count() == 0
    watched.page.evaluate("dispatchEvent(new Event('afterprint'))")
    watched.page.emulate_media(media="screen")
    assert watched.page.evaluate(paper) == dark
    assert watched.complaints == []
    watched.page.close()


def test_an_unread_page_is_printed_with_its_charts_and_every_verdict(browser: Browser, page_file: Path) -> None:
    watched = Watched(browser, page_file)
    watched.page.wait_for_function("() => typeof Plotly !== 'undefined'", timeout=6_000)
    watched.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    watched.page.emulate_media(media="print")
    a4_between_margins = 718
    watched.page.set_viewport_size({"width": a4_between_margins, "height": 1000})
    assert watched.page.locator("main .chart:not(.blank):not(:has(svg.main-svg))").count() == 0
    right = "Math.max(...[...document.querySelectorAll('.books .whole')].map((cell) => cell.getBoundingClientRect().right))"
    assert watched.page.locator(".books thead").evaluate("head => getComputedStyle(head).position") == "static"
    assert watched.page.evaluate(right) <= a4_between_margins
    watched.page.close()


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (400, "dark")])
def test_axe_finds_nothing_to_mend(browser: Browser, page_file: Path, width: int, theme: str) -> None:
    watched = Watched(browser, page_file, width, theme)
    assert watched.undrawn() == []
    rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
    found = Axe().run(watched.page, options={"runOnly": rules, "resultTypes": ["violations"]}).response["violations"]
    assert [(one["id"], [node["html"] for node in one["nodes"][:3]]) for one in found] == []
    watched.page.close()


SMALL = """(() => {
  const targets = [...document.querySelectorAll("a, button, input, select, summary")].filter((one) => one.offsetWidth);
  const shown = targets.filter((one) => !one.matches(".skip, label input"));
  const alone = shown.filter((one) => !one.closest("p, li, dd, dt, td, caption") || one.matches(".gate-name"));
  return alone.filter((one) => one.offsetWidth < 24 || one.offsetHeight < 24).map((one) => one.outerHTML);
})()"""


@pytest.mark.parametrize("width", [1280, 400])
def test_what_can_be_clicked_outside_a_sentence_is_24_px_high_and_wide(browser: Browser, page_file: Path, width: int) -> None:
    watched = Watched(browser, page_file, width)
    watched.see_trades()
    watched.page.evaluate("document.querySelectorAll('main details').forEach((folded) => { folded.open = true; })")
    assert watched.page.evaluate(SMALL) == []
    watched.page.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_month_is_readable_on_its_colour(browser: Browser, page_file: Path, theme: str) -> None:
    watched = Watched(browser, page_file, 400, theme)
    worst = watched.chart(
        "months",
        CONTRAST,
    )
    assert worst >= 4.5
    totals = watched.chart("months", "gd.data[1].z.map((row) => row[12])")
    assert totals == watched.chart("months", "gd.data[1].z.map((row) => row.at(-1))")
    assert len(totals) == len(watched.chart("months", "gd.data[0].y"))
    watched.page.close()
