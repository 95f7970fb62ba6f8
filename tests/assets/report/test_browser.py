"""The page in a real browser: every chart drawn, choices obeyed, no error, nothing from the data runs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from kobe_assets.report.analysis import trade_spans
from kobe_assets.report.analysis.inputs import DATA, ReportInputs
from kobe_assets.report.analysis.results import books_of
from kobe_assets.report.page import packed_data as packed_data_module
from kobe_assets.report.page.page import build_report, write_report
from tests.support.builders.fabricate import CASH, NOW
from tests.support.drivers.page import Watched

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHARTS = (
    "equity", "at_work", "months", "years", "rolling", "scatter", "path", "flow", "r", "exits", "held", "excursions",
    "without_best", "symbols", "costs", "capacity", "regimes", "pbo", "fan", "worst_falls", "ends", "permutation", "heat_map",
    "correlation",
)  # fmt: skip


STATIC = Path(packed_data_module.__file__).with_name("static")
EVIL = "</script><script>window.hacked=1</script><img src=x onerror=window.hacked=1>"


def test_every_chart_is_drawn_without_a_complaint_or_a_request(wide: Watched, page_file: Path) -> None:
    ids = wide.page.evaluate("[...document.querySelectorAll('main .chart')].map((place) => place.id)")
    assert sorted(ids) == sorted(f"chart-{name}" for name in CHARTS)
    for key in ("rsi2|canonical", "ibs|optimized", "rsi2_ibs|optimized"):
        wide.choose(key)
        assert wide.undrawn() == []
    assert wide.page.locator("main .chart.blank").count() == 0
    assert wide.complaints == []
    assert [url for url in wide.requests if url != page_file.as_uri() and not url.startswith("data:")] == []


def test_a_chart_that_fails_says_so_and_leaves_the_others_alone(browser: Browser, page_file: Path) -> None:
    watched = Watched(browser, page_file)
    watched.see("#chart-equity")
    watched.page.evaluate(
        """() => { const react = Plotly.react;
             window.mended = () => { Plotly.react = react; };
             Plotly.react = (place, ...rest) => {
               if (place.id === "chart-equity") throw new Error("planted");
               return react(place, ...rest);
             };
           }"""
    )
    watched.choose("ibs|optimized")
    assert watched.undrawn() == []
    assert watched.page.locator("main .chart.blank").all_inner_texts() == [
        "This chart could not be drawn; its figures are in the tables."
    ]
    assert watched.complaints == ["planted"]
    watched.page.evaluate("window.mended()")
    watched.choose("rsi2|canonical")
    assert watched.undrawn() == []
    assert watched.page.locator("#chart-equity.blank").count() == 0
    watched.page.close()


def test_axes_of_few_whole_numbers_name_each_once(browser: Browser, inputs: ReportInputs, tmp_path: Path) -> None:
    few = inputs.trades.groupby(["strategy", "mode"], observed=True).head(2)
    file = tmp_path / "few.html"
    file.write_text(build_report(dataclasses.replace(inputs, trades=few.reset_index(drop=True)), NOW), encoding="utf-8")
    page = Watched(browser, file)
    page.choose("rsi2|canonical")
    for name, side in (("held", "y"), ("r", "y"), ("exits", "x"), ("capacity", "y")):
        texts = page.chart(name, f"[...gd.querySelectorAll('.{side}tick text')].map((tick) => tick.textContent)")
        assert len(set(texts)) == len(texts) > 1, (name, texts)


def test_it_opens_with_what_the_trading_job_would_trade(wide: Watched) -> None:
    assert wide.page.locator(".verdict:visible strong").inner_text() == "rsi2 · fixed parameters"
    assert wide.page.locator("input[name=strategy]:checked").get_attribute("value") == "rsi2"


def test_choosing_a_strategy_and_mode_changes_verdict_tables_and_charts(wide: Watched, inputs: ReportInputs) -> None:
    own = inputs.equity[(inputs.equity["strategy"] == "ibs") & (inputs.equity["mode"] == "optimized")]
    end = CASH * (1 + own["daily_return"]).prod()
    wide.page.locator("#pick-strategy label", has_text="ibs").first.click()
    wide.page.locator("#pick-mode label", has_text="chosen in training").click()
    wide.settle()
    assert wide.page.locator(".verdict:visible strong").inner_text() == "ibs · chosen in training"
    assert wide.page.locator("#account .scope").inner_text() == "ibs · chosen in training · all test windows"
    shown = wide.chart("equity", "gd.data.find((trace) => trace.name === 'out of sample').y.at(-1)")
    assert shown == pytest.approx(end, rel=1e-5)
    assert wide.page.locator("#windows caption").inner_text() == "Test windows of ibs · chosen in training"
    assert (
        wide.page.locator("table.figures td.chosen").count() == wide.page.locator("table.figures tbody tr:not(.group)").count()
    )


def test_choosing_a_fold_narrows_curve_trades_and_waterfall(wide: Watched, inputs: ReportInputs) -> None:
    own = inputs.trades[(inputs.trades["strategy"] == "rsi2") & (inputs.trades["mode"] == "canonical")]
    folds = inputs.folds[(inputs.folds["strategy"] == "rsi2") & (inputs.folds["mode"] == "canonical")].set_index("fold")
    whole = wide.chart("r", "gd.data[0].y.reduce((sum, n) => sum + n, 0)")
    assert whole == len(own)
    wide.fold(3)
    mine = own[own["fold"] == 3]
    assert wide.chart("r", "gd.data[0].y.reduce((sum, n) => sum + n, 0)") == len(mine)
    assert wide.page.locator("#trade-line").inner_text().startswith(f"{len(mine)} trades")
    since, until = (str(folds.loc[3, name])[:10] for name in ("test_start", "test_end"))
    assert [str(day)[:10] for day in wide.chart("equity", "gd.layout.xaxis.range")] == [since, until]
    refused = json.loads(folds.loc[3, "refused"])
    assert wide.chart("flow", "gd.data[0].x[0]") == len(mine) + sum(refused.values())
    wide.see_trades()
    best = wide.page.locator("#list-best tbody tr td:last-child").all_inner_texts()
    assert best[0] == f"${mine['pnl'].max():.2f}"


def test_a_test_window_of_one_session_is_marked_by_its_day(browser: Browser, inputs: ReportInputs, tmp_path: Path) -> None:
    """The last window may be one session long; a range without width was marked in parts of a second."""
    folds = inputs.folds.copy()
    folds.loc[folds["fold"] == 3, "test_start"] = folds["test_end"]
    file = tmp_path / "short.html"
    file.write_text(build_report(dataclasses.replace(inputs, folds=folds), NOW), encoding="utf-8")
    watched = Watched(browser, file)
    watched.fold(3)
    day = str(folds.loc[folds["fold"] == 3, "test_end"].iloc[0])[:10]
    for name in ("equity", "at_work"):
        assert watched.chart(name, "gd.layout.xaxis.tickvals") == [day]
        since, until = watched.chart(name, "gd.layout.xaxis.range")
        assert str(since)[:10] < day < str(until)[:10]
    watched.page.close()


def test_the_fold_table_chooses_a_fold_too_and_again_none(wide: Watched) -> None:
    button = wide.page.locator("#windows [data-fold-choose='2']")
    button.click()
    wide.settle()
    assert wide.page.locator("#pick-fold").input_value() == "2"
    button.click()
    wide.settle()
    assert wide.page.locator("#pick-fold").input_value() == "0"


def test_a_trade_opens_its_bars_with_entry_exit_stop_and_indicators(wide: Watched) -> None:
    wide.see_trades()
    row = wide.page.locator("#list-worst tbody tr").first
    profit = row.locator("td").last.inner_text()
    row.locator("a").click()
    dialog = wide.page.locator("#trade-dialog")
    dialog.wait_for(state="visible")
    assert profit in wide.page.locator("#trade-facts").inner_text()
    wide.page.wait_for_selector("#chart-trade .main-svg")
    names = wide.chart("trade", "gd.data.map((trace) => trace.name)")
    assert {"bar", "entry", "exit", "stop", "200-day average", "rsi2"} <= set(names)
    inside = wide.chart(
        "trade",
        """(() => { const [bars, entry] = ["bar", "entry"].map((name) => gd.data.find((trace) => trace.name === name));
             const i = bars.x.indexOf(entry.x[0]), price = entry.y[0];
             return [bars.x.length, bars.low[i] <= price, bars.high[i] * 1.01 >= price]; })()""",
    )
    assert inside[0] > 25
    assert inside[1:] == [True, True]
    wide.page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    wide.page.wait_for_url(lambda url: "trade=" not in url)
    assert wide.complaints == []


def test_a_trade_without_a_stop_tells_of_no_risk(browser: Browser, inputs: ReportInputs, tmp_path: Path) -> None:
    file = tmp_path / "bare.html"
    bare = dataclasses.replace(inputs, trades=inputs.trades.assign(signal_atr=float("nan")))
    file.write_text(build_report(bare, NOW), encoding="utf-8")
    watched = Watched(browser, file)
    watched.see_trades()
    watched.page.locator("#list-worst tbody tr a").first.click()
    watched.page.wait_for_selector("#chart-trade .main-svg")
    facts = watched.page.locator("#trade-facts").inner_text()
    assert "without a stop. Result " in facts
    assert "–" not in facts
    assert "against" not in facts
    watched.page.close()


def test_a_trade_shows_the_indicators_its_strategy_reads_with_the_levels_of_its_fold(
    wide: Watched, inputs: ReportInputs
) -> None:
    folds = inputs.folds[inputs.folds["mode"] == "optimized"].set_index(["strategy", "fold"])
    for strategy, names in (("ibs", {"ibs": 1}), ("rsi2", {"rsi2": 100}), ("rsi2_ibs", {"rsi2": 100, "ibs": 1})):
        wide.choose(f"{strategy}|optimized")
        wide.see_trades()
        row = wide.page.locator("#list-best tbody tr").first
        row.locator("a").click()
        wide.page.wait_for_selector("#chart-trade .main-svg")
        facts = wide.page.locator("#trade-facts").inner_text()
        assert facts.startswith(f"{strategy} · chosen in training, test window ")
        fold = int(facts.split("window ")[1].split(".")[0])
        params = json.loads(folds.loc[(strategy, fold), "params"])
        long = ", long," in wide.page.locator("#trade-title").inner_text()
        panes = "gd.data.filter((trace) => /^y[2-9]$/.test(trace.yaxis))"
        shown = wide.chart("trade", f"{panes}.map((trace) => [trace.name, Math.min(...trace.y), Math.max(...trace.y)])")
        assert [name for name, _, _ in shown] == list(names)
        assert all(0 <= low < high <= names[name] for name, low, high in shown)
        levels = wide.chart("trade", "gd.layout.shapes.filter((shape) => /^y[2-9]$/.test(shape.yref)).map((shape) => shape.y0)")
        wanted = [
            params[level] if long else top - params[level]
            for name, top in names.items()
            for level in (f"{name[:3]}_entry", f"{name[:3]}_exit")
            if level in params
        ]
        assert levels == pytest.approx(wanted)
        assert wide.chart(
            "trade", "gd.data.every((trace) => trace.name !== 'ibs' || trace.y.every((v) => v === null || (v >= 0 && v <= 1)))"
        )
        wide.page.keyboard.press("Escape")
    assert wide.complaints == []


def test_a_share_that_is_nearly_nothing_or_all_is_not_written_as_it(browser: Browser) -> None:
    page = browser.new_page()
    page.add_script_tag(path=STATIC / "basics.js")
    shares = [[299 / 300, 0], [1 / 300, 0], [0.995, 0], [0.9996, 1], [-0.99996, 1], [0.0004, 1], [0.123, 1], [1, 1], [0, 0]]
    written = page.evaluate("shares => shares.map(([share, digits]) => write.percent(share, digits))", shares)
    page.close()
    assert written == ["99.7 %", "0.3 %", "99.5 %", "99.96 %", "−99.996 %", "0.04 %", "12.3 %", "100.0 %", "0 %"]


def test_tables_sort_by_number_and_back_with_mouse_and_key(wide: Watched) -> None:
    table = wide.page.locator("#windows")
    head = table.locator("th", has=wide.page.locator("button", has_text="Net profit"))

    def profits() -> list[float]:
        cells = table.locator("tbody tr td:nth-child(6)")
        return [float(value) for value in cells.evaluate_all("cells => cells.map((cell) => cell.dataset.sort)")]

    given = profits()
    head.locator("button").click()
    assert profits() == sorted(given, reverse=True)
    assert head.get_attribute("aria-sort") == "descending"
    head.locator("button").press("Enter")
    assert profits() == sorted(given)
    assert head.get_attribute("aria-sort") == "ascending"


def test_a_word_leads_to_its_meaning(wide: Watched) -> None:
    wide.page.locator("table.figures a", has_text="Deflated Sharpe").click()
    wide.page.locator("#w-dsr").wait_for(state="visible")
    assert "Bailey" in wide.page.locator("#w-dsr").inner_text()


def test_an_account_that_hardly_moves_still_has_an_axis(browser: Browser, inputs: ReportInputs, tmp_path: Path) -> None:
    equity = inputs.equity.assign(daily_return=inputs.equity["daily_return"] / 50)
    file = tmp_path / "still.html"
    file.write_text(build_report(dataclasses.replace(inputs, equity=equity), NOW), encoding="utf-8")
    watched = Watched(browser, file)
    for name, axis in (("equity", "y2"), ("years", "y")):
        ticks = watched.chart(name, f"[...gd.querySelectorAll('.{axis}tick text')].map((one) => one.textContent)")
        assert len(ticks) > 2
        assert len(set(ticks)) == len(ticks), ticks
    watched.page.close()


def test_going_back_from_a_word_lets_go_of_its_place(browser: Browser, page_file: Path) -> None:
    watched = Watched(browser, page_file)
    watched.page.locator('a[href="#g-deflated"]:visible').click()
    watched.page.wait_for_function("location.hash.includes('g-deflated') && scrollY > 2000")
    watched.page.go_back()
    watched.page.wait_for_function("!location.hash.includes('g-deflated')")
    watched.see("#chart-years")
    place = watched.page.evaluate("document.getElementById('chart-years').getBoundingClientRect().top")
    assert 0 <= place <= watched.page.viewport_size["height"]
    watched.page.close()


def test_the_address_carries_strategy_mode_window_and_trade_and_back_and_forward_work(
    browser: Browser, page_file: Path
) -> None:
    watched = Watched(browser, page_file)
    shown = watched.page.locator(".verdict:visible strong")
    watched.choose("ibs|optimized")
    watched.fold(3)
    watched.see_trades()
    watched.page.locator("#list-best a").first.click()
    dialog = watched.page.locator("#trade-dialog")
    dialog.wait_for(state="visible")
    title, address = watched.page.locator("#trade-title").inner_text(), watched.page.url
    assert all(f"{name}=" in address for name in ("strategy=ibs&mode", "mode=optimized&fold", "fold=3&trade"))
    watched.page.go_back()
    dialog.wait_for(state="hidden")
    watched.page.go_back()
    watched.settle()
    assert watched.page.locator("#pick-fold").input_value() == "0"
    watched.page.go_back()
    assert shown.inner_text() == "rsi2 · fixed parameters"
    watched.page.go_forward()
    assert shown.inner_text() == "ibs · chosen in training"
    watched.page.close()
    linked = Watched(browser, page_file, link=address[address.index("#") :])
    linked.page.locator("#trade-dialog").wait_for(state="visible")
    assert linked.page.locator("#trade-title").inner_text() == title
    assert linked.page.locator("#pick-fold").input_value() == "3"
    assert linked.complaints == []
    linked.page.close()


def test_every_trade_can_be_searched_filtered_sorted_and_saved(wide: Watched, inputs: ReportInputs) -> None:
    own = inputs.trades[(inputs.trades["strategy"] == "rsi2") & (inputs.trades["mode"] == "canonical")]
    wide.see_trades()
    count = wide.page.locator("#trades-count")
    assert f"of {len(own):,} trades" in count.inner_text()
    wide.page.fill("#trades-search", "rsi S003")  # words in any order
    wide.page.select_option("#trades-result", "lost")
    found = own[(own["symbol"] == "S003") & (own["pnl"] <= 0)]
    wide.page.wait_for_function(f"document.getElementById('trades-count').textContent.includes('of {len(found)} trades')")
    wide.page.locator("#all-trades th button", has_text="Profit").click()
    wide.page.wait_for_function(
        "document.querySelector('#all-trades th[aria-sort=descending] button').textContent === 'Profit'"
    )
    column = wide.page.locator("#all-trades thead th").all_inner_texts().index("Profit") + 1
    cells = wide.page.locator(f"#all-trades tbody td:nth-child({column})")
    shown = [float(value) for value in cells.evaluate_all("cells => cells.map((cell) => cell.dataset.sort)")]
    assert shown == sorted((round(pnl, 4) for pnl in found["pnl"]), reverse=True)[:50]
    with wide.page.expect_download() as download:
        wide.page.locator("#trades-csv").click()
    saved = pd.read_csv(download.value.path())
    assert len(saved) == len(found)
    assert {"entered_by", "fees", "dividends", "exit_reason", "pnl"} <= set(saved.columns)
    assert saved["pnl"].sum() == pytest.approx(found["pnl"].sum(), abs=0.01 * len(found))
    wide.page.fill("#trades-search", "")
    wide.page.select_option("#trades-result", "")


def test_longs_shorts_and_symbols_stand_apart_with_the_figures_of_their_trades(wide: Watched, inputs: ReportInputs) -> None:
    own = inputs.trades[(inputs.trades["strategy"] == "rsi2") & (inputs.trades["mode"] == "canonical")]
    wide.see_trades()
    rows = {row.split("\t")[0]: row.split("\t") for row in wide.page.locator("#by-symbol tbody tr").all_inner_texts()}
    assert set(rows) == set(own["symbol"].astype(str))
    for symbol, part in own.groupby("symbol", observed=True):
        assert rows[str(symbol)][1] == str(len(part))
        assert float(rows[str(symbol)][3].replace("$", "").replace("−", "-").replace(",", "")) == pytest.approx(
            part["pnl"].sum(), abs=0.005 * len(part) + 0.01
        )
    assert wide.page.locator("#sides tbody tr").all_inner_texts()[0].startswith(f"long\t{len(own)}\t")


def test_trades_and_bars_that_do_not_fit_are_read_from_beside_the_page(
    browser: Browser, inputs: ReportInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_data_module, "TRADES_INSIDE", 0)
    monkeypatch.setattr(packed_data_module, "BARS_INSIDE", 10)
    monkeypatch.setattr(trade_spans, "MAX_BARS", 0)
    monkeypatch.setattr(trade_spans, "LISTED", 1)
    books = books_of(inputs)
    packed = packed_data_module.packed_data(inputs, books, "rsi2|canonical")
    page = write_report(build_report(inputs, NOW, books, packed), tmp_path, packed)
    watched = Watched(browser, page)
    watched.choose("ibs|optimized")
    watched.see_trades()
    first = watched.page.locator("#all-trades a").first
    name = first.inner_text()
    first.click()
    watched.page.wait_for_selector("#chart-trade .main-svg")
    assert watched.page.locator("#trade-title").inner_text().startswith(f"{name}, ")
    assert watched.chart("trade", "gd.data[0].x.length") > 25
    assert watched.complaints == []
    address = watched.page.url
    watched.page.close()
    for file in (tmp_path / packed.folder).iterdir():
        file.unlink()
    alone = Watched(browser, page, link=address[address.index("#") :].split("&trade")[0])
    alone.see("#trade-lists")
    problem = alone.page.locator("#trade-lists .problem", has_text="kobe report --force")
    problem.wait_for(state="visible")
    alone.page.close()


@pytest.mark.parametrize("slower", [1, 4])
def test_a_click_is_answered_soon_after_the_page_is_asked_for(browser: Browser, page_file: Path, slower: int) -> None:
    """In the processor time of the page itself, which a machine that is busy with other things does not stretch."""
    page = browser.new_page()
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    session.send("Emulation.setCPUThrottlingRate", {"rate": slower})
    page.goto(page_file.as_uri())
    page.locator("#windows tbody tr").first.wait_for(state="attached")
    page.evaluate("document.querySelector('[data-choose=\"ibs|optimized\"]').click()")
    assert page.locator(".verdict:visible strong").inner_text() == "ibs · chosen in training"
    spent = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}["TaskDuration"]
    assert spent < (1.0 if slower == 1 else 3.0)
    page.close()


def test_long_trades_without_a_stop_are_told_as_such(browser: Browser, inputs: ReportInputs, tmp_path: Path) -> None:
    """A chart ends somewhere: its last bar holds what was longer, and says so. Without a stop an average is of dollars."""
    file = tmp_path / "long.html"
    trades = inputs.trades.assign(bars_held=59, signal_atr=float("nan"))
    file.write_text(build_report(dataclasses.replace(inputs, trades=trades), NOW), encoding="utf-8")
    own = trades[(trades["strategy"] == "rsi2") & (trades["mode"] == "canonical")]
    watched = Watched(browser, file)
    assert watched.chart("held", "gd.data[0].customdata.at(-1)") == "20 or more"
    assert watched.chart("held", "gd.layout.xaxis.ticktext.at(-1)") == "20+"
    assert watched.chart("held", "gd.data[0].y.at(-1)") == len(own)
    mean = own["pnl"].mean()
    assert f" average {'−' if mean < 0 else ''}${abs(mean):,.2f}, " in watched.page.locator("#trade-line").inner_text()
    watched.page.close()


def test_strings_of_the_data_never_run(browser: Browser, inputs: ReportInputs, tmp_path: Path) -> None:
    checks = [{"name": EVIL, "severity": "ERROR", "passed": False, "count": 1, "description": EVIL}]
    hostile = dataclasses.replace(
        inputs,
        trades=inputs.trades.assign(symbol=EVIL, exit_reason=EVIL),
        folds=inputs.folds.assign(refused=json.dumps({EVIL: 3})),
        universe=inputs.universe.assign(symbol=EVIL, reason=EVIL),
        bars=inputs.bars.assign(symbol=EVIL).drop_duplicates(["symbol", "session"]),
        evidence={**inputs.evidence, DATA: {"checks": checks, "quarantine": [{"symbol": EVIL, "session": "", "ratio": 2}]}},
    )
    file = tmp_path / "hostile.html"
    file.write_text(build_report(hostile, NOW), encoding="utf-8")
    watched = Watched(browser, file, link="#trade-0")
    assert watched.page.evaluate("window.hacked") is None
    watched.page.locator("#trade-dialog").wait_for(state="visible")
    assert EVIL in watched.page.locator("#trade-title").inner_text()
    watched.page.keyboard.press("Escape")
    watched.see_trades()
    assert watched.page.locator("#list-best a").first.inner_text() == EVIL
    assert watched.page.locator("main img, main svg a").count() == 0
    assert watched.complaints == []
    assert watched.undrawn() == []
    watched.page.close()


def test_even_a_script_that_slipped_through_could_not_run(browser: Browser, page_file: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    broken.write_text(page_file.read_text(encoding="utf-8").replace("<footer>", f"{EVIL[9:]}<footer>"), encoding="utf-8")
    watched = Watched(browser, broken)
    assert watched.page.evaluate("window.hacked") is None
    assert any("Content Security Policy" in complaint for complaint in watched.complaints)
    watched.page.close()


@pytest.mark.parametrize("empty", [("trades", "kpis"), ("folds", "trades", "equity", "kpis")])
def test_a_page_of_missing_pieces_still_works(
    browser: Browser, inputs: ReportInputs, tmp_path: Path, empty: tuple[str, ...]
) -> None:
    bare = dataclasses.replace(inputs, evidence={}, **{name: getattr(inputs, name).iloc[:0] for name in empty})
    file = tmp_path / "bare.html"
    file.write_text(build_report(bare, NOW), encoding="utf-8")
    watched = Watched(browser, file, 400)
    assert watched.complaints == []
    assert watched.undrawn() == []
    assert watched.overflow() == 0
    watched.page.close()
