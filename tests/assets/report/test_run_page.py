"""The page of one backtest opens offline, draws the account and each symbol's trades, and says what was cut."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from kobe_assets import backtest
from kobe_assets.report.analysis.one_run import BookRun
from kobe_assets.report.page import run_page
from kobe_assets.report.page.run_page import build_run_page, run_payload
from kobe_assets.research.language import Strategy, rsi

if TYPE_CHECKING:
    from playwright.sync_api import Browser

HELD = {"final_equity": 1234.5, "sharpe": 0.5, "cagr": 0.07, "max_drawdown": -0.3}
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


@pytest.fixture(scope="module")
def run() -> BookRun:
    days = pd.bdate_range("2015-01-01", periods=260)
    parts = []
    for k, name in enumerate(("AAA", EVIL)):
        close = (40 + 10 * k) * np.exp(0.001 * np.arange(260) + 0.04 * np.sin(np.arange(260) / (2 + k)))
        bars = {"session": days, "open": close, "high": close * 1.01, "low": close * 0.99, "close": close, "volume": 1e6}
        parts.append(pd.DataFrame(bars).assign(symbol=name))
    return backtest(SWING, pd.concat(parts), start="2015-02-02", check=False).run


def test_the_payload_holds_the_curve_and_every_trade_with_its_bars(run: BookRun) -> None:
    told = run_payload(run)
    assert np.cumsum(told["curve"]["days"])[0] == (dt.date(2015, 2, 2) - dt.date(1970, 1, 1)).days
    assert told["curve"]["equity"][-1] == pytest.approx(run.outcome.equity[-1], abs=1e-6)
    assert min(told["curve"]["drawdown"]) == pytest.approx(run.figures["max_drawdown"], abs=1e-6)
    assert sum(len(one["trades"]) for one in told["symbols"]) == len(run.trades) > 20
    for one in told["symbols"]:
        assert len(one["days"]) == len(one["close"]) == len(run.equity)
        assert one["pnl"] == pytest.approx(sum(trade[-1] for trade in one["trades"]), abs=0.01)


def test_of_a_large_run_the_symbols_that_moved_most_are_drawn_and_it_says_so(
    run: BookRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_page, "MOST_BARS", 300)
    (drawn,) = run_payload(run)["symbols"]
    totals = run.trades["pnl"].abs().groupby(run.trades["symbol"].astype(str)).sum()
    assert drawn["name"] == totals.idxmax()
    html = build_run_page(run, HELD, [], "", [], NOW)
    assert "Drawn are the 1 of 2 symbols that won or lost most; every trade is in trade_list.csv" in html


def test_it_says_what_was_cut_and_whether_it_reads_the_future(run: BookRun) -> None:
    good = build_run_page(run, HELD, ["the window begins late"], "", [{"name": "gaps", "text": "3 <bars>"}], NOW)
    assert "No lookahead found" in good
    assert "<li>The window begins late.</li>" in good
    assert "<li>gaps: 3 &lt;bars&gt;</li>" in good
    bad = build_run_page(run, HELD, [], "the entries of swing change", [], NOW)
    assert "It reads the future, so its figures mean nothing: the entries of swing change." in bad


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
def test_it_opens_offline_and_draws_everything(run: BookRun, browser: Browser, tmp_path: Path, width: int, theme: Any) -> None:
    path = tmp_path / "backtest.html"
    path.write_text(build_run_page(run, HELD, [f"a note {EVIL}"], EVIL, [], NOW), encoding="utf-8")
    page = browser.new_page(viewport={"width": width, "height": 850}, color_scheme=theme)
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-drawn=yes]", state="attached")
    for name in ("equity", "drawdown", "exposure", "symbol"):
        page.wait_for_selector(f"#chart-{name} .plot-container", state="attached")
    assert page.evaluate("document.getElementById('chart-drawdown').layout.yaxis.tickformat") == ".2~%"
    assert page.locator("#symbol option").count() == 2
    own = int(page.locator("#trade-list tbody tr").count())
    page.locator("#trade-list button").first.click()
    shown = page.evaluate("document.getElementById('chart-symbol').layout.xaxis.range")
    assert shown[0] <= str(run.trades["entry_session"].min().date()) < shown[1] < "2015-07-01"
    page.select_option("#symbol", "1")
    assert own + int(page.locator("#trade-list tbody tr").count()) == len(run.trades)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.click("#theme")
    assert page.evaluate("document.documentElement.dataset.theme") == ("light" if theme == "dark" else "dark")
    assert (said, [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]) == ([], [])
    assert page.evaluate("window.hacked") is None
    page.close()


def test_one_session_is_drawn_as_a_point_on_its_day(browser: Browser, tmp_path: Path) -> None:
    days = pd.bdate_range("2015-01-01", periods=60)
    close = 40 * np.exp(0.04 * np.sin(np.arange(60) / 2))
    bars = {"session": days, "open": close, "high": close * 1.01, "low": close * 0.99, "close": close, "volume": 1e6}
    day = str(days[30].date())
    found = backtest(SWING, pd.DataFrame(bars).assign(symbol="AAA"), start=day, end=day, check=False).run
    path = tmp_path / "backtest.html"
    path.write_text(build_run_page(found, HELD, [], "none found", [], NOW), encoding="utf-8")
    page = browser.new_page()
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-drawn=yes]", state="attached")
    page.wait_for_selector("#chart-equity .plot-container", state="attached")
    assert page.locator("h1").inner_text().endswith(" in 1 session")
    assert page.evaluate("document.getElementById('chart-equity').data[0].mode") == "markers"
    assert page.evaluate("document.getElementById('chart-equity').layout.xaxis.tickvals") == [day]
    page.close()
