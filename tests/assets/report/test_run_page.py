"""The page of one backtest opens offline, draws the account and each symbol's trades, and says what was cut."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from kobe_assets import backtest
from kobe_assets.report.analysis.day_returns import beside_holding, worst_days
from kobe_assets.report.analysis.one_run import BookRun
from kobe_assets.report.analysis.trade_stats import wins_and_losses
from kobe_assets.report.page import run_page
from kobe_assets.report.page.run_page import build_run_page, run_payload
from kobe_assets.research.language import Strategy, rsi
from kobe_resources.settings.models import Settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NOW = dt.datetime(2026, 1, 2, 3, 4, tzinfo=dt.UTC)
EVIL = "</script><script>window.hacked=1</script><img src=x onerror=window.hacked=1>"
SWING = Strategy(
    name="swing",
    summary="For tests",
    indicators={"rsi3": rsi(3)},
    parameters={"time_stop": 4},
    long=lambda at, p: at.rsi3 < 30,
    score_long=lambda at: at.rsi3,
)


def page_of(run: BookRun, notes: Sequence[str] = (), lookahead: str = "", warnings: Sequence[Mapping[str, str]] = ()) -> str:
    return build_run_page(run, run.holding(Settings()), notes, lookahead, warnings, NOW)


def payload_of(run: BookRun) -> dict[str, Any]:
    return run_payload(run, run.holding(Settings()))


@pytest.fixture(scope="module")
def run() -> BookRun:
    days = pd.bdate_range("2015-01-01", periods=260)
    parts = []
    for k, name in enumerate(("AAA", EVIL)):
        close = (40 + 10 * k) * np.exp(0.001 * np.arange(260) + 0.04 * np.sin(np.arange(260) / (2 + k)))
        bars = {"session": days, "open": close, "high": close * 1.01, "low": close * 0.99, "close": close, "volume": 1e6}
        parts.append(pd.DataFrame(bars).assign(symbol=name))
    return backtest(SWING, pd.concat(parts), start="2015-02-02", check=False).run


def test_the_payload_holds_the_curve_and_the_bars_of_every_symbol(run: BookRun) -> None:
    told = payload_of(run)
    assert np.cumsum(told["curve"]["days"])[0] == (dt.date(2015, 2, 2) - dt.date(1970, 1, 1)).days
    assert told["curve"]["equity"][-1] == pytest.approx(run.outcome.equity[-1], abs=1e-6)
    assert min(told["curve"]["drawdown"]) == pytest.approx(run.figures["max_drawdown"], abs=1e-6)
    assert told["curve"]["holding"][-1] == pytest.approx(run.held(run.holding(Settings()))["final_equity"], abs=0.01)
    for one in told["symbols"]:
        assert len(one["days"]) == len(one["close"]) == len(run.equity)
        own = run.trades["symbol"].astype(str) == one["name"]
        assert one["pnl"] == pytest.approx(run.trades.loc[own, "pnl"].sum(), abs=0.01)


def test_months_years_and_falls_are_those_of_the_curve(run: BookRun) -> None:
    told, equity = payload_of(run), run.equity.set_index("session")["equity"]
    for names, name in ((["months"], "ME"), (["years"], "YE")):
        ends = equity.resample(name).last()
        grown = ends / np.append(run.initial_cash, ends[:-1]) - 1
        rows = told[names[0]]
        assert [row[0] for row in rows] == ends.index.year.tolist()
        assert [row[2] if name == "ME" else row[1] for row in rows] == pytest.approx(grown.tolist(), rel=1e-3)
    assert [row[1] for row in told["months"]] == [*range(2, 13)]
    falls, peak, since = [], run.initial_cash, 0
    for place, worth in enumerate([*equity, np.inf]):
        if worth >= peak:
            if place > since:
                over = place < len(equity)
                falls.append((min(equity.iloc[since:place]) / peak - 1, place - since + over))
            peak, since = worth, place + 1
    deepest = sorted(falls)
    assert len(deepest) > 3
    assert [row[3] for row in told["drawdowns"]] == pytest.approx([depth for depth, _ in deepest[:10]], rel=1e-3)
    assert [row[4] + row[5] for row in told["drawdowns"]] == [sessions for _, sessions in deepest[:10]]
    assert run.more_figures["longest_underwater"] == max(sessions for _, sessions in falls)
    assert told["drawdowns"][0][3] == pytest.approx(run.figures["max_drawdown"], rel=1e-3)


def test_the_tail_and_the_likeness_to_holding_are_those_of_the_daily_returns(run: BookRun) -> None:
    equity = np.append(run.initial_cash, run.equity["equity"])
    holding = np.append(run.initial_cash, run.holding(Settings()))
    own, held = np.diff(equity) / equity[:-1], np.diff(holding) / holding[:-1]
    worst = sorted(own)[: math.ceil(len(own) / 20)]
    assert run.more_figures["value_at_risk"] == pytest.approx(worst[-1])
    assert run.more_figures["expected_shortfall"] == pytest.approx(sum(worst) / len(worst))
    slope, correlation = np.polyfit(held, own, 1)[0], np.corrcoef(own, held)[0, 1]
    assert run.against(run.holding(Settings())) == pytest.approx({"beta": slope, "correlation": correlation})


def test_what_is_too_short_or_never_moves_has_no_tail_and_no_likeness() -> None:
    assert worst_days(np.full(19, -0.01)) == {"value_at_risk": None, "expected_shortfall": None}
    assert worst_days(np.array([-0.05, *np.zeros(19)])) == {"value_at_risk": -0.05, "expected_shortfall": -0.05}
    assert worst_days(np.array([-0.05, -0.03, *np.zeros(19)])) == pytest.approx(
        {"value_at_risk": -0.03, "expected_shortfall": -0.04}
    )
    moved, still = np.array([0.01, -0.02, 0.03]), np.zeros(3)
    assert beside_holding(moved, still) == {"beta": None, "correlation": None}
    assert beside_holding(still, moved) == {"beta": 0.0, "correlation": None}


def test_exits_symbols_wins_and_losses_are_those_of_the_trades(run: BookRun) -> None:
    told, trades = payload_of(run), run.trades
    for name, column in (("exits", "exit_reason"), ("by_symbol", "symbol")):
        parts = trades.groupby(trades[column].astype(str))["pnl"].agg(["size", "sum"])
        assert {row[0]: row[1] for row in told[name]} == parts["size"].to_dict()
        assert {row[0]: row[2] for row in told[name]} == pytest.approx(parts["sum"].to_dict(), abs=0.006)
    assert [row[2] for row in told["by_symbol"]] == sorted((row[2] for row in told["by_symbol"]), reverse=True)
    assert run.more_figures["average_win"] == pytest.approx(trades.loc[trades["pnl"] > 0, "pnl"].mean())
    assert run.more_figures["average_loss"] == pytest.approx(trades.loc[trades["pnl"] <= 0, "pnl"].mean())
    assert run.more_figures["final_equity"] == run.equity["equity"].iloc[-1]


@pytest.mark.parametrize(("pnl", "longest"), [([], 0), ([1, 2], 0), ([-1, 0, -2, 3, -1], 3), ([1, -1, 2, -1, -1], 2)])
def test_the_longest_losing_run_counts_trades_in_a_row_that_made_nothing(pnl: list[float], longest: int) -> None:
    assert wins_and_losses(np.array(pnl, dtype=float))["longest_losing_run"] == longest


def test_of_a_large_run_the_symbols_that_moved_most_are_drawn_and_it_says_so(
    run: BookRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_page, "MOST_BARS", 300)
    (drawn,) = payload_of(run)["symbols"]
    totals = run.trades["pnl"].abs().groupby(run.trades["symbol"].astype(str)).sum()
    assert drawn["name"] == totals.idxmax()
    html = page_of(run)
    assert "Drawn are the 1 of 2 symbols that won or lost most" in html


def test_it_says_what_was_cut_and_whether_it_reads_the_future(run: BookRun) -> None:
    good = page_of(run, ["the window begins late"], "", [{"name": "gaps", "text": "3 <bars>"}])
    assert "No lookahead found" in good
    assert "<li>The window begins late.</li>" in good
    assert "<li>gaps: 3 &lt;bars&gt;</li>" in good
    bad = page_of(run, [], "the entries of swing change", [])
    assert "It reads the future, so its figures mean nothing: the entries of swing change." in bad


def look_through_the_trades(page: Page, run: BookRun) -> None:
    """Every trade is in the one table, sorted and filtered; a symbol leads to its trade on its bars."""
    cents = [f"{'−' if profit < 0 else ''}${abs(profit):,.2f}" for profit in run.trades["pnl"].sort_values()]
    assert page.locator("#trades-count").inner_text().startswith(f"1 to {len(run.trades)} of {len(run.trades)} trades, ")
    assert "R" not in page.locator("#all-trades thead th").all_inner_texts()
    page.click("#all-trades [data-trades-by=pnl]")
    page.click("#all-trades [data-trades-by=pnl]")
    column = page.locator("#all-trades thead th").all_inner_texts().index("Profit") + 1
    shown = page.locator(f"#all-trades tbody td:nth-child({column})").all_inner_texts()
    assert shown == cents
    assert page.locator("#trades-next").is_disabled()
    page.select_option("#trades-result", "lost")
    assert f" of {int((run.trades['pnl'] <= 0).sum())} trades" in page.locator("#trades-count").inner_text()
    page.locator("#all-trades tbody a").first.click()
    worst = run.trades.loc[run.trades["pnl"].idxmin()]
    page.wait_for_function("document.getElementById('chart-symbol').layout.xaxis.range[1] < '2016'")
    zoomed = page.evaluate("document.getElementById('chart-symbol').layout.xaxis.range")
    assert zoomed[0] <= str(worst["entry_session"].date()) <= str(worst["exit_session"].date()) <= zoomed[1]
    assert (
        page.locator("#symbol-title").inner_text().startswith(f"{worst['symbol']}: long from {worst['entry_session'].date()}")
    )
    page.select_option("#symbol", "1")
    assert " trades, " in page.locator("#symbol-title").inner_text()


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
def test_it_opens_offline_and_draws_everything(run: BookRun, browser: Browser, tmp_path: Path, width: int, theme: Any) -> None:
    path = tmp_path / "backtest.html"
    path.write_text(page_of(run, [f"a note {EVIL}"], EVIL, []), encoding="utf-8")
    page = browser.new_page(viewport={"width": width, "height": 850}, color_scheme=theme)
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-drawn=yes]", state="attached")
    for name in ("equity", "drawdown", "exposure", "months", "symbol"):
        page.wait_for_selector(f"#chart-{name} .plot-container", state="attached")
    assert page.evaluate("document.getElementById('chart-drawdown').layout.yaxis.tickformat") == ".2~%"
    assert page.locator("#symbol option").count() == 2
    cells = page.evaluate("document.getElementById('chart-months').data.flatMap((grid) => grid.z.flat())")
    assert sum(cell is not None for cell in cells) == len(payload_of(run)["months"]) + 1
    assert page.locator("#drawdowns tbody tr").count() == len(payload_of(run)["drawdowns"])
    for table, column in (("exits", "exit_reason"), ("by-symbol", "symbol")):
        counts = page.locator(f"#{table} tbody td:nth-child(2)").all_inner_texts()
        assert sorted(counts) == sorted(map(str, run.trades[column].astype(str).value_counts()))
    page.click("#exits th:nth-child(3) button")
    shown = page.locator("#exits tbody td:nth-child(3)").all_inner_texts()
    sums = sorted(run.trades.groupby(run.trades["exit_reason"].astype(str))["pnl"].sum(), reverse=True)
    assert shown == [f"{'−' if profit < 0 else ''}${abs(profit):,.2f}" for profit in sums]
    labels = ("Final equity", "Longest time under water", "Average win", "Average loss", "Longest losing run", "Value at risk")
    for label in (*labels, "Expected shortfall", "Beta to holding", "Correlation with holding"):
        assert page.locator("#run tbody tr", has_text=label).count() == 1
    assert page.evaluate("document.getElementById('chart-equity').data.map((line) => [line.name, line.visible])") == [
        ["swing", None],
        ["Holding", "legendonly"],
    ]
    look_through_the_trades(page, run)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.click("#theme")
    assert page.evaluate("document.documentElement.dataset.theme") == ("light" if theme == "dark" else "dark")
    assert (said, [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]) == ([], [])
    assert page.evaluate("window.hacked") is None
    page.close()


def test_a_dark_page_is_printed_light_with_its_charts_and_is_dark_again(run: BookRun, browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "backtest.html"
    path.write_text(page_of(run), encoding="utf-8")
    page = browser.new_page(color_scheme="dark")
    page.goto(path.as_uri())
    page.wait_for_selector("#chart-symbol .plot-container", state="attached")
    seen = "[getComputedStyle(document.body).color, document.getElementById('chart-equity')._fullLayout.legend.font.color]"
    dark = page.evaluate(seen)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.evaluate(seen) == ["rgb(29, 28, 26)", "#1d1c1a"] != dark
    page.emulate_media(media="screen")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate(seen) == dark
    page.click("#theme")
    page.click("#theme")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(29, 28, 26)", "no event, as of a page without script"
    page.close()


def test_without_a_trade_it_says_so_and_draws_what_there_is(browser: Browser, tmp_path: Path) -> None:
    days = pd.bdate_range("2015-01-01", periods=60)
    bars = {"session": days, "open": 40.0, "high": 41.0, "low": 39.0, "close": 40.0, "volume": 1e6}
    idle = backtest(SWING, pd.DataFrame(bars).assign(symbol="AAA"), check=False).run
    assert idle.trades.empty
    path = tmp_path / "backtest.html"
    path.write_text(page_of(idle), encoding="utf-8")
    page = browser.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-drawn=yes]", state="attached")
    page.wait_for_selector("#chart-months .plot-container", state="attached")
    assert page.locator("#drawdowns tbody").inner_text() == "It never fell."
    assert "There was no trade." in page.locator("#trades").inner_text()
    figures = dict(zip(*(page.locator(f"#run tbody {kind}").all_inner_texts() for kind in ("th", "td.num")), strict=True))
    assert (figures["Average win"], figures["Average loss"], figures["Longest losing run"]) == ("–", "–", "0 trades")
    assert figures["Longest time under water"] == "0 sessions"
    assert (figures["Beta to holding"], figures["Correlation with holding"], figures["Value at risk"]) == ("–", "–", "0.0 %")
    assert said == []
    page.close()


def test_one_session_is_drawn_as_a_point_on_its_day(browser: Browser, tmp_path: Path) -> None:
    days = pd.bdate_range("2015-01-01", periods=60)
    close = 40 * np.exp(0.04 * np.sin(np.arange(60) / 2))
    bars = {"session": days, "open": close, "high": close * 1.01, "low": close * 0.99, "close": close, "volume": 1e6}
    day = str(days[30].date())
    found = backtest(SWING, pd.DataFrame(bars).assign(symbol="AAA"), start=day, end=day, check=False).run
    path = tmp_path / "backtest.html"
    path.write_text(page_of(found, [], "none found", []), encoding="utf-8")
    page = browser.new_page()
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-drawn=yes]", state="attached")
    page.wait_for_selector("#chart-equity .plot-container", state="attached")
    assert page.locator("h1").inner_text().endswith(" in 1 session")
    assert page.evaluate("document.getElementById('chart-equity').data[0].mode") == "markers"
    assert page.evaluate("document.getElementById('chart-equity').layout.xaxis.tickvals") == [day]
    page.wait_for_selector("#chart-months .plot-container", state="attached")
    assert page.locator("#drawdowns tbody tr").count() == 1
    page.close()
