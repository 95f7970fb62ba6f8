"""What the report reads from the warehouse."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kobe_assets.report.analysis.from_panel import bars_within
from kobe_assets.report.analysis.inputs import ReportInputs, evidence_frame, finite
from kobe_assets.report.analysis.trade_spans import pick_trades, sorted_trades, windows_of
from kobe_assets.report.page.packed_data import packed_data
from kobe_assets.research.indicators import compute_indicators
from kobe_assets.research.language import custom
from kobe_assets.research.panel import build_panel
from kobe_resources.settings.models import StrategySettings
from kobe_resources.settings.pins import research_pin
from kobe_resources.warehouse.store import Warehouse
from tests.support.builders.fabricate import Tables, inputs_from, settings_for
from tests.support.builders.report_inputs import read_inputs
from tests.support.unpack import column, header_of, unpacked


def test_the_stop_of_a_trade_is_read_from_the_bar_before_its_signal(inputs: ReportInputs, tables: Tables) -> None:
    atr = tables["indicators"].set_index(["symbol", "session"])["atr14"]
    days = sorted(tables["indicators"]["session"].unique())
    before = dict(zip(days[1:], days[:-1], strict=True))
    sample = inputs.trades.iloc[::97]
    expected = [atr[(row.symbol, before[row.signal_session])] for row in sample.itertuples()]
    assert len(sample) > 20
    np.testing.assert_allclose(sample["signal_atr"], expected, rtol=1e-12)


def test_a_lag_of_zero_reads_the_signal_bar_itself(tables: Tables, tmp_path: Path) -> None:
    settings = settings_for(8).model_copy(update={"strategy": StrategySettings(indicator_lag_bars=0)})
    inputs = inputs_from(tables, tmp_path, settings)
    first = inputs.trades.iloc[0]
    bars = tables["indicators"]
    own = bars[(bars["symbol"] == first["symbol"]) & (bars["session"] == first["signal_session"])]
    assert first["signal_atr"] == own["atr14"].iloc[0]


def test_bars_are_read_around_every_listed_trade_and_adjusted_for_splits(inputs: ReportInputs, tables: Tables) -> None:
    listed = inputs.trades.iloc[pick_trades(inputs.trades).rows]
    bars = inputs.bars.set_index(["symbol", "session"])
    for row in listed.itertuples():
        inside = bars.loc[row.symbol].loc[row.signal_session : row.exit_session]
        assert len(inside) >= 2, (row.symbol, row.signal_session)
    split = tables["splits"].iloc[0]
    raw = tables["daily_bars"].set_index(["symbol", "session"])["close"]
    halved = [key for key in bars.index if key[0] == split["symbol"] and key[1] < split["execution_date"]]
    assert halved
    np.testing.assert_allclose([bars.loc[key, "close"] for key in halved], [raw[key] / 2 for key in halved])


def test_dollar_volume_is_the_median_day_of_symbol_and_year(inputs: ReportInputs, tables: Tables) -> None:
    bars = tables["daily_bars"]
    dollars = (bars["close"] * bars["volume"]).groupby([bars["symbol"], bars["session"].dt.year]).median()
    found = inputs.dollar_volume.set_index(["symbol", "year"])["median_usd"]
    assert len(found) == len(dollars)
    np.testing.assert_allclose(found.sort_index().to_numpy(), dollars.sort_index().to_numpy())


def test_evidence_comes_back_as_it_was_given_without_numbers_json_cannot_hold(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path / "kobe.duckdb")
    given = {("rsi2", "canonical"): {"curve": [[pd.Timestamp("2020-01-02"), np.float64(1.5)], ["2020-01-03", float("nan")]]}}
    warehouse.replace({"evidence": evidence_frame(given)})
    read = read_inputs(warehouse, settings_for(1)).evidence
    assert read == {("rsi2", "canonical"): {"curve": [["2020-01-02", 1.5], ["2020-01-03", None]]}}
    assert finite(np.array([np.inf, 1.0])) == [None, 1.0]


def test_an_empty_warehouse_gives_empty_tables_and_the_pins_of_the_settings(tmp_path: Path) -> None:
    settings = settings_for(1)
    inputs = read_inputs(Warehouse(tmp_path / "kobe.duckdb"), settings, {"commit": "abc"})
    frames = [getattr(inputs, f.name) for f in dataclasses.fields(inputs) if isinstance(getattr(inputs, f.name), pd.DataFrame)]
    assert len(frames) == 14
    assert all(frame.empty for frame in frames)
    assert inputs.pins["research"] == research_pin(settings)
    assert inputs.versions["commit"] == "abc"


def test_packed_bars_unpack_to_the_bars_they_came_from(inputs: ReportInputs) -> None:
    header, planes = header_of(unpacked(packed_data(inputs, [], "").bars))
    bars = inputs.bars.set_index(["symbol", "session"]).sort_index()
    compared = 0
    for symbol, (rows, decimals) in header["symbols"].items():
        columns = [column(planes[4 * rows * i :], rows) for i in range(7)]
        planes = planes[4 * rows * 7 :]
        days, close = (np.cumsum(values) for values in columns[:2])
        stored = bars.loc[symbol].loc[days.astype("datetime64[D]")]
        prices = [(close + np.array(near)) / 10.0**decimals for near in ([0] * rows, *columns[2:5])]
        for name, found in zip(("close", "open", "high", "low"), prices, strict=True):
            np.testing.assert_allclose(found, stored[name].to_numpy(), rtol=1e-4)
        average = pd.Series(columns[5], dtype=float).cumsum() / 10.0**decimals
        np.testing.assert_allclose(average, stored["sma200"].to_numpy(), rtol=1e-4)
        compared += rows
    assert compared == len(inputs.bars)


def test_declared_columns_of_the_bars_are_packed_with_digits_of_their_own(inputs: ReportInputs) -> None:
    bars = inputs.bars.assign(tiny=inputs.bars["rsi2"] / 1e4, huge=inputs.bars["close"] * -1e4, bar=np.arange(len(inputs.bars)))
    columns = {name: bars[name].to_numpy() for name in ("tiny", "huge")}
    every = set(inputs.trades["entered_by"])
    changed = dataclasses.replace(inputs, bars=bars, indicators=columns)
    packed = packed_data(changed, [], "", dict.fromkeys(("tiny", "huge", "gone"), every))
    header, planes = header_of(unpacked(packed.bars))
    assert header["declared"] == ["tiny", "huge"]
    symbol, (rows, _, *places) = next(iter(header["symbols"].items()))
    columns = [column(planes[4 * rows * i :], rows) for i in range(9)]
    stored = bars[bars["symbol"] == symbol].sort_values("session")
    for name, values, digits in zip(("tiny", "huge"), columns[7:], places, strict=True):
        found = pd.Series(values, dtype=float).cumsum().to_numpy() / 10.0**digits
        np.testing.assert_allclose(found, stored[name].to_numpy(), rtol=2e-4, atol=1e-4 * stored[name].abs().max())


def test_an_indicator_that_is_called_like_a_price_takes_the_place_of_none(inputs: ReportInputs) -> None:
    levels = {"open": 10.0, "high": 12.0, "low": 9.0, "close": 11.0, "volume": 1e6, "factor": 1.0}
    days, rows = np.datetime64("2020-01-06") + np.arange(5), np.arange(5)
    panel = build_panel(("A",), days, 0 * rows, rows, {name: level + 0.1 * rows for name, level in levels.items()})
    own = {"high": custom(lambda bars: bars.high + 50), "low": custom(lambda bars: bars.low - 8)}
    indicators = compute_indicators(panel, own)
    windows = pd.DataFrame({"symbol": ["A"], "since": [panel.sessions[0]], "until": [panel.sessions[-1]]})
    bars = bars_within(panel, indicators, windows)
    trades = inputs.trades.iloc[[0]].assign(symbol="A", signal_session=panel.sessions[2], exit_session=panel.sessions[3])
    every = set(trades["entered_by"])
    changed = dataclasses.replace(inputs, bars=bars, trades=trades, indicators=indicators.others)
    header, planes = header_of(unpacked(packed_data(changed, [], "", dict.fromkeys(("high", "low"), every)).bars))
    _, decimals, *places = header["symbols"]["A"]
    columns = [column(planes[4 * 5 * k :], 5) for k in range(9)]
    assert header["declared"] == ["high", "low"]
    for values, price in ((columns[3], panel.high), (columns[4], panel.low)):
        np.testing.assert_allclose((np.cumsum(columns[1]) + np.array(values)) / 10.0**decimals, price)
    for values, digits, price in zip(columns[7:], places, (panel.high + 50, panel.low - 8), strict=True):
        np.testing.assert_allclose(np.cumsum(values) / 10.0**digits, price)


def test_bars_are_in_order_whatever_the_order_of_the_windows() -> None:
    days, rows = np.datetime64("2020-01-06") + np.arange(9), np.arange(18)
    prices = {name: 10.0 + level + 0.1 * rows for name, level in {"open": 1, "high": 3, "low": 0, "close": 2}.items()}
    panel = build_panel(("A", "B"), days, rows // 9, rows % 9, {**prices, "volume": 1e6 + rows, "factor": np.ones(18)})
    windows = pd.DataFrame({"symbol": ["B", "A", "B"], "since": days[[6, 2, 0]], "until": days[[8, 3, 1]]})
    bars = bars_within(panel, compute_indicators(panel), windows)
    assert bars["bar"].tolist() == [2, 3, 9, 10, 15, 16, 17]
    assert bars["symbol"].tolist() == ["A"] * 2 + ["B"] * 5
    for name, price in prices.items():
        assert bars[name].tolist() == price[bars["bar"]].tolist()


def test_declared_columns_are_packed_around_the_trades_of_those_that_draw_them(inputs: ReportInputs) -> None:
    by = sorted(set(inputs.trades["entered_by"]))[0]
    days = {name: own.to_numpy().astype("datetime64[D]") for name, own in inputs.bars.groupby("symbol")["session"]}
    mine = inputs.trades[inputs.trades["entered_by"] == by]
    since, until = (mine[f"{name}_session"].to_numpy().astype("datetime64[D]") for name in ("signal", "exit"))
    # Windows that begin and end on bars themselves.
    exact = [{low - 75, high + 25} <= set(days[symbol]) for symbol, low, high in zip(mine["symbol"], since, until, strict=True)]
    some = mine[exact].drop_duplicates("symbol").iloc[1:3]
    assert len(some) == 2
    changed = dataclasses.replace(inputs, indicators={"own": np.ones(inputs.bars["bar"].max() + 1)}, trades=some)
    header, planes = header_of(unpacked(packed_data(changed, [], "", {"own": {by}}).bars))
    windows = {
        row.symbol: (np.datetime64(row.signal_session, "D") - 75, np.datetime64(row.exit_session, "D") + 25)
        for row in some.itertuples()
    }
    for name, (rows, *_) in header["symbols"].items():
        distances, own = (column(planes[4 * rows * i :], rows) for i in (0, 7))
        planes = planes[4 * rows * 8 :]
        every = np.cumsum(distances).astype("datetime64[D]")
        drawn = every[[value is not None for value in own]]
        low, high = windows.get(name, (every[-1] + 1, every[0]))
        assert drawn.tolist() == every[(low <= every) & (every <= high)].tolist()


def test_every_trade_has_its_bars(inputs: ReportInputs) -> None:
    bars = inputs.bars.set_index(["symbol", "session"]).sort_index()
    assert len(inputs.trades) > 0
    for row in inputs.trades.itertuples():
        assert (row.symbol, row.entry_session) in bars.index
        assert (row.symbol, row.exit_session) in bars.index


def test_money_at_work_is_what_the_open_trades_are_worth_at_each_close(inputs: ReportInputs, tables: Tables) -> None:
    own = inputs.holdings[(inputs.holdings["strategy"] == "rsi2") & (inputs.holdings["mode"] == "canonical")]
    trades = inputs.trades[(inputs.trades["strategy"] == "rsi2") & (inputs.trades["mode"] == "canonical")]
    close = inputs.bars.set_index(["symbol", "session"])["close"]
    assert len(own) > 100
    for row in own.iloc[::29].itertuples():
        held = trades[(trades["entry_session"] <= row.session) & (trades["exit_session"] > row.session)]
        assert row.positions == len(held)
        worth = sum(trade.shares * close[(trade.symbol, row.session)] for trade in held.itertuples())
        assert row.invested == pytest.approx(worth)


def test_windows_of_one_symbol_never_overlap_and_listed_trades_do_not_depend_on_row_order(inputs: ReportInputs) -> None:
    trades = sorted_trades(inputs.trades)
    windows = windows_of(trades, pick_trades(trades))
    gaps = windows["since"] > windows.groupby("symbol")["until"].shift()
    assert gaps[windows["symbol"].duplicated()].all()
    shuffled = sorted_trades(trades.sample(frac=1, random_state=1))
    pd.testing.assert_frame_equal(shuffled, trades)


def test_best_are_the_largest_winners_and_worst_the_largest_losers(inputs: ReportInputs) -> None:
    trades = sorted_trades(inputs.trades)
    best, worst = pick_trades(trades).picks[("rsi2", "canonical", 0)]
    own = trades[(trades["strategy"] == "rsi2") & (trades["mode"] == "canonical")]["pnl"]
    assert trades["pnl"].iloc[best].tolist() == own.nlargest(10).tolist()
    assert trades["pnl"].iloc[worst].tolist() == own.nsmallest(10).tolist()
