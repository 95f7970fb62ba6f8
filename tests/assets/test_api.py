"""Kobe from a notebook: the same trades as the command line, on stored bars and on given ones, and faults in one line."""

from __future__ import annotations

import datetime as dt
import doctest
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import kobe_assets
from kobe_assets import api, backtest, walk_forward
from kobe_assets.report.analysis.metrics_glossary import FOLD_FIGURES, RUN_FIGURES
from kobe_assets.research.language import Strategy, atr, custom, rsi, sma
from kobe_jobs.research_run.backtest import run_backtest
from kobe_resources.errors import KobeError, UsageError
from kobe_resources.settings.models import Settings
from kobe_resources.warehouse.notebook import open_warehouse
from kobe_resources.warehouse.store import Warehouse
from tests.support.builders.replay_market import random_warehouse


@pytest.fixture(scope="module", name="home_and_settings")
def _home(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Path]:
    folder = tmp_path_factory.mktemp("api")
    return random_warehouse(folder, 10, 330)[0], folder


@pytest.fixture(autouse=True)
def home(home_and_settings: tuple[Settings, Path], monkeypatch: pytest.MonkeyPatch) -> Settings:
    settings, folder = home_and_settings
    monkeypatch.setenv("KOBE_HOME", str(folder))
    monkeypatch.chdir(folder)
    return settings


@pytest.fixture
def bars() -> pd.DataFrame:
    """Two symbols that swing about a rise."""
    days = pd.bdate_range("2015-01-01", periods=400, name="Date")
    parts = []
    for k, name in enumerate(("AAA", "BBB")):
        close = (40 + 10 * k) * np.exp(0.001 * np.arange(400) + 0.04 * np.sin(np.arange(400) / (2 + k)))
        columns = {"Open": close * 0.999, "High": close * 1.01, "Low": close * 0.99, "Close": close, "Volume": 1e6}
        parts.append(pd.DataFrame(columns, index=days).assign(Ticker=name))
    return pd.concat(parts)


SWING = Strategy(
    name="swing",
    summary="For tests",
    indicators={"rsi3": rsi(3), "atr14": atr(14)},
    parameters={"entry": 30.0, "atr_stop": 3.0, "time_stop": 4},
    long=lambda at, p: at.rsi3 < p["entry"],
    score_long=lambda at: at.rsi3,
    stop="atr14",
    grid={"entry": (20, 30, 40)},
)


def test_a_strategy_object_reads_a_stored_symbol_that_may_not_trade(
    home: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(Warehouse(read_only=True).path, tmp_path)
    monkeypatch.setenv("KOBE_HOME", str(tmp_path))
    warehouse = Warehouse()
    names = sorted(symbol for (symbol,) in warehouse.rows("SELECT DISTINCT symbol FROM daily_bars"))
    guide = next(name for name in names if name != names[0])
    indicators = {**SWING.indicators, "guide": sma(5).of(guide)}
    reading = replace(SWING, indicators=indicators, long=lambda at, p: (at.guide > 0.0) & (at.rsi3 < p["entry"]))
    others = [name for name in names if name != guide]
    universe = warehouse.frame("SELECT * FROM universe").assign(selected=lambda rows: rows["symbol"] != guide)
    warehouse.replace({"universe": universe, "panel_symbols": pd.DataFrame({"symbol": names})})
    known = backtest(reading, settings=home, check=False)
    assert len(known.trades) > 5
    warehouse.replace({"panel_symbols": pd.DataFrame({"symbol": others})})
    run = backtest(reading, settings=home, check=False)
    pd.testing.assert_frame_equal(run.trades, known.trades)
    assert guide not in set(run.trades["symbol"])
    assert not [note for note in run.notes if "no bars of" in note]


def test_the_book_of_several_is_told_where_it_is_run() -> None:
    with pytest.raises(UsageError, match="several in one account: run `kobe backtest --strategy portfolio`"):
        backtest("portfolio")


def test_numbers_of_numpy_are_parameters(home: Settings) -> None:
    of_python = backtest(SWING, params={"time_stop": 2}, settings=home, check=False)
    of_numpy = backtest(SWING, params={"time_stop": np.int64(2)}, settings=home, check=False)
    pd.testing.assert_frame_equal(of_python.trades, of_numpy.trades)


def test_the_example_of_the_docstring_runs() -> None:
    found = doctest.testmod(api)
    assert (found.attempted > 8, found.failed) == (True, 0)


def test_a_backtest_is_that_of_the_command_line(home: Settings, tmp_path: Path) -> None:
    ours = backtest("ibs", settings=home)
    summary = run_backtest(home, "ibs", None, None, tmp_path / "out")
    written = pd.read_csv(tmp_path / "out" / "trade_list.csv")
    assert len(ours.trades) == len(written) > 5
    np.testing.assert_allclose(ours.trades["pnl"], written["pnl"])
    assert (list(ours.trades["symbol"]), ours.refused) == (list(written["symbol"]), summary["refused"])
    assert set(ours.figures) == {*FOLD_FIGURES, *RUN_FIGURES}
    assert ours.figures == {name: summary[name] for name in ours.figures}
    assert ours.equity["equity"].iloc[-1] == ours.figures["final_equity"]


def test_the_stored_bars_given_as_a_frame_make_the_same_trades(home: Settings) -> None:
    warehouse = Warehouse()
    chosen = [symbol for (symbol,) in warehouse.rows("SELECT symbol FROM universe WHERE selected")]
    frame = open_warehouse().adjusted_bars(chosen).assign(dividend=0.0)
    for symbol, day, amount in warehouse.rows("SELECT symbol, ex_date, amount FROM dividends"):
        since = frame[(frame["symbol"] == symbol) & (frame["session"] >= pd.Timestamp(day))]
        frame.loc[since.index[:1], "dividend"] += amount
    given, stored = backtest("ibs", frame, settings=home), backtest("ibs", settings=home)
    assert len(given.trades) > 5
    for name in ("symbol", "entry_session", "exit_reason"):
        assert list(given.trades[name]) == list(stored.trades[name])
    np.testing.assert_allclose(given.trades["pnl"], stored.trades["pnl"])
    assert given.trades["dividends"].abs().sum() > 0


def test_it_writes_nothing_and_counts_no_try(home: Settings) -> None:
    before = Warehouse().content_version("daily_bars", "wf_trials")
    backtest("ibs", settings=home, params={"time_stop": 2}, check=False)
    assert Warehouse().content_version("daily_bars", "wf_trials") == before


def test_parameters_and_settings_are_laid_over_those_in_force(bars: pd.DataFrame) -> None:
    plain, dear = (backtest(SWING, bars, settings={"costs.slippage_bps": bps}, check=False) for bps in (0, 50))
    assert len(plain.trades) == len(dear.trades) > 20
    assert (plain.figures["net_pnl"] or 0.0) > (dear.figures["net_pnl"] or 0.0)
    short = backtest(SWING, bars, params={"time_stop": 1}, check=False)
    assert (short.params["time_stop"], short.trades["bars_held"].max(), SWING.parameters["time_stop"]) == (1.0, 1, 4)


def test_a_window_is_the_sessions_asked_for_and_what_is_missing_is_said(bars: pd.DataFrame) -> None:
    run = backtest(SWING, bars, start="2010-01-01", end=dt.date(2015, 6, 30), check=False)
    assert (run.equity.index[0], run.equity.index[-1]) == (pd.Timestamp("2015-01-01"), pd.Timestamp("2015-06-30"))
    assert run.notes[0] == ("the window begins on 2015-01-01 and not on 2010-01-01: the bars run from 2015-01-01 to 2016-07-13")
    assert run.trades["exit_session"].max() <= pd.Timestamp("2015-06-30")


def test_refused_signals_are_noted_by_reason(bars: pd.DataFrame) -> None:
    run = backtest(SWING, bars, settings={"policy.max_positions": 1}, check=False)
    assert run.refused["too_many_positions"] > 0
    assert any(f"too_many_positions {run.refused['too_many_positions']}" in note for note in run.notes)


def test_a_strategy_that_looks_ahead_is_warned_of(bars: pd.DataFrame) -> None:
    ahead = Strategy(
        name="ahead",
        summary="For tests",
        indicators={"tomorrow": custom(lambda b: np.append(b.close[3:], np.full(3, np.nan)) / b.close)},
        parameters={"time_stop": 1},
        long=lambda at, p: at.tomorrow > 1.0,
        score_long=lambda at: -at.tomorrow,
    )
    with pytest.warns(api.LookaheadWarning, match="the indicator tomorrow of"):
        run = backtest(ahead, bars)
    assert "tomorrow" in (run.lookahead or "")
    assert backtest(SWING, bars).lookahead == ""
    assert backtest(SWING, bars, check=False).lookahead is None


def test_a_walk_forward_chains_the_folds_of_both_modes(bars: pd.DataFrame) -> None:
    windows = {"walk_forward.warmup": 20, "walk_forward.train": 100, "walk_forward.test": 60}
    found = walk_forward(SWING, bars, settings={**windows, "simulation.initial_cash": 5000.0}, check=False)
    assert len(found.folds) == 2 * len(found.study.folds) == 10
    assert (found.trials.shape, set(found.figures)) == ((5, 3), {"canonical", "optimized"})
    for mode, own in found.equity.groupby("mode"):
        folds = found.folds[found.folds["mode"] == mode]
        growth = (1 + folds["net_pnl"] / 5000.0).prod()
        assert own["equity"].iloc[-1] == pytest.approx(5000.0 * growth)
        assert found.figures[str(mode)]["net_pnl"] == pytest.approx(5000.0 * growth - 5000.0)
        assert own["session"].is_monotonic_increasing
    assert walk_forward(SWING, bars, grid={"time_stop": (1, 2)}, settings=windows, check=False).trials.shape == (5, 2)


def test_a_walk_forward_tells_what_the_gate_refused_with_the_mend(bars: pd.DataFrame) -> None:
    windows = {"walk_forward.warmup": 20, "walk_forward.train": 100, "walk_forward.test": 60}
    bare = replace(SWING, stop=None, parameters={k: v for k, v in SWING.parameters.items() if k != "atr_stop"})
    found = walk_forward(bare, bars, settings={**windows, "sizing.mode": "risk"}, check=False)
    assert len(found.trades) == 0
    refused = sum(json.loads(text).get("no_stop", 0) for text in found.folds.loc[found.folds["mode"] == "canonical", "refused"])
    assert refused > 10
    line = f"{refused:,} of {refused:,} signals were refused: no_stop {refused:,}; give the strategy a stop, or set sizing.mode"
    assert found.notes[0].startswith(f"canonical: {line}")


def test_a_walk_forward_counts_the_signals_without_a_score(bars: pd.DataFrame) -> None:
    windows = {"walk_forward.warmup": 20, "walk_forward.train": 100, "walk_forward.test": 60}
    never = replace(SWING, long=lambda at, p: at.close > 0.0, score_long=lambda at: np.where(at.close > 42.0, np.nan, 1.0))
    found = walk_forward(never, bars, settings=windows, check=False)
    missing, first, last = 0, found.study.folds[0].test_start, found.study.folds[-1].test_end
    for _, own in bars.groupby("Ticker"):
        missing += int((own["Close"].to_numpy()[first : last + 1] > 42.0).sum())
    assert missing > 100
    assert found.notes[0] == f"{missing:,} times swing wanted in and gave no signal: its score is no number there"
    assert not any("score" in note for note in walk_forward(SWING, bars, settings=windows, check=False).notes)


def test_charts_show_the_account_and_a_symbol_with_its_trades(bars: pd.DataFrame) -> None:
    run = backtest(SWING, bars, check=False)
    assert len(run.plot().data[0].x) == 400
    assert run.plot().layout.yaxis2.tickformat == ".2~%", "a fall of less than one percent has digits"
    chart = run.plot("AAA")
    own = run.trades[run.trades["symbol"] == "AAA"]
    assert [trace.type for trace in chart.data] == ["candlestick", "scatter", "scatter"]
    assert len(chart.data[1].x) == len(chart.data[2].x) == len(own) > 5
    with pytest.raises(UsageError, match="there are no bars of ZZZ: there are AAA, BBB"):
        run.plot("ZZZ")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.drop(columns="Close"), "no column close"),
        (lambda f: f.assign(Close="dear"), "the column close of the given bars holds what is no number"),
        (lambda f: f.assign(Close=np.where(np.arange(len(f)) == 7, np.nan, f["Close"])), "1 bars with an impossible close"),
        (lambda f: f.assign(High=np.where(np.arange(len(f)) == 7, 1.0, f["High"])), "1 of the given bars have a low above"),
        (lambda f: pd.concat([f, f.tail(2)]), r"2 bars repeat a \(symbol, session\)"),
        (lambda f: f.head(0), "have no row"),
        (lambda f: f.reset_index(drop=True), "no column session"),
        (lambda f: f.reset_index(drop=True).assign(session="one day"), "no dates"),
        (lambda f: f.assign(close=1.0), "have the column close twice"),
        (lambda f: f.to_dict(), "no DataFrame"),
    ],
)
def test_bars_that_make_no_sense_are_refused_in_one_line(bars: pd.DataFrame, change: object, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        backtest(SWING, change(bars), check=False)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"params": {"entri": 3}}, r"no parameter 'entri' \(did you mean entry\?\): it has atr_stop, entry, time_stop"),
        ({"params": {"time_stop": 0.5}}, "give whole bars"),
        ({"params": {"entry": float("nan")}}, "no number"),
        ({"settings": {"costs.slipage_bps": 1}}, "did you mean slippage_bps"),
        ({"settings": {"costs": 1}}, "names no single setting"),
        ({"settings": {"costs.slippage_bps": -1}}, "costs.slippage_bps = -1"),
        ({"settings": {"policy.min_price": 9.0, "policy.max_price": 8.0}}, "policy.min_price is above policy.max_price"),
        ({"start": "2030-01-01"}, "no session lies between 2030-01-01 and 2016-07-13"),
        ({"start": "soon"}, "'soon' is no date"),
    ],
)
def test_options_that_make_no_sense_are_refused_in_one_line(bars: pd.DataFrame, options: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        backtest(SWING, bars, check=False, **options)  # type: ignore[arg-type]


def test_an_unknown_name_and_an_empty_store_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"there is no strategy 'rsi3' \(did you mean rsi2\?\): use one of ibs, rsi2, rsi2_ibs"
    ):
        backtest("rsi3")
    monkeypatch.setenv("KOBE_HOME", str(tmp_path))
    with pytest.raises(KobeError, match="run `kobe report`"):
        backtest("rsi2")
    assert list(tmp_path.iterdir()) == []


def test_the_package_gives_nothing_else() -> None:
    assert kobe_assets.backtest is api.backtest
    with pytest.raises(AttributeError, match="no attribute 'backtests'"):
        _ = kobe_assets.backtests
