"""What a run loads once is what it would load again, and nothing else is taken for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kobe_assets.graph import inputs
from kobe_assets.graph.bar_table import BAR_NUMBERS, forget_bar_tables, read_bar_tables
from kobe_assets.graph.frames import indicators_frame
from kobe_assets.graph.inputs import keep_indicators, load_indicators, load_market, load_panel
from kobe_assets.research.indicators import compute_indicators
from kobe_assets.research.signals import leave_flags
from kobe_assets.research.strategies import STRATEGIES
from kobe_assets.research.walk_forward import find_signals
from kobe_resources.market_data.local.synthetic import SyntheticVendor
from kobe_resources.settings.models import Settings
from kobe_resources.warehouse.store import Warehouse

pytestmark = pytest.mark.usefixtures("warehouses_stay_open")

SETTINGS = Settings.model_validate(
    {
        "data": {"vendor": "synthetic", "synthetic": {"symbols": 12, "sessions": 420}},
        "universe": {"min_symbols": 1, "min_years": 1.0, "require_options": False},
    }
)
RSI2 = STRATEGIES["rsi2"]


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    warehouse = Warehouse(tmp_path / "kobe.duckdb")
    SyntheticVendor(SETTINGS.data).sync(warehouse)
    panel = load_panel(warehouse)
    universe = pd.DataFrame({"symbol": list(panel.names), "selected": True})
    warehouse.replace({"indicators": indicators_frame(panel, compute_indicators(panel)), "universe": universe})
    return warehouse


def test_bars_that_were_read_whole_serve_every_later_reader_until_they_change(warehouse: Warehouse) -> None:
    whole = list(read_bar_tables(warehouse))
    again, last, some = (list(read_bar_tables(warehouse, last_bars=n, in_panel=p)) for n, p in ((None, 0), (5, 0), (None, 1)))
    assert again[0] is last[0] is some[0] is whole[0]
    forget_bar_tables()
    fewer = list(read_bar_tables(warehouse, last_bars=5))
    assert sum(len(table.symbol) for table in fewer) < sum(len(table.symbol) for table in whole)
    list(read_bar_tables(warehouse))
    warehouse.rows("UPDATE daily_bars SET close = low WHERE session = (SELECT max(session) FROM daily_bars)")
    (changed,) = read_bar_tables(warehouse)
    assert not np.array_equal(changed.close, whole[0].close)


def test_bars_read_in_parts_are_kept_as_one_table(warehouse: Warehouse) -> None:
    (whole,) = read_bar_tables(warehouse)
    forget_bar_tables()
    parts = list(read_bar_tables(warehouse, most=1_000))
    assert len(parts) > 3
    (kept,) = read_bar_tables(warehouse, most=1_000)
    assert kept.symbols == whole.symbols
    for name in ("start", "symbol", "session", *BAR_NUMBERS):
        assert np.array_equal(getattr(kept, name), getattr(whole, name)), name
    for part, first in zip(parts, np.cumsum([0, *(len(part.symbol) for part in parts)]), strict=False):
        assert part.symbols == kept.symbols[kept.symbol[first] :][: len(part.symbols)]
        assert np.array_equal(part.close, kept.close[first : first + len(part.close)])


def test_a_panel_of_kept_bars_is_the_panel_of_bars_read_for_it(warehouse: Warehouse) -> None:
    chosen = pd.DataFrame({"symbol": list(load_panel(warehouse).names[2:7])})
    warehouse.replace({"panel_symbols": chosen})
    forget_bar_tables()
    read = load_panel(warehouse)
    inputs._kept.clear()
    list(read_bar_tables(warehouse))
    kept = load_panel(warehouse)
    assert kept is not read
    assert kept.names == read.names == tuple(chosen["symbol"])
    for name in ("rows", "high", "low", "close", "volume", "raw_close", "bar_at", "session", "start"):
        assert np.array_equal(getattr(kept, name), getattr(read, name)), name


def test_indicators_that_were_just_stored_are_those_that_would_be_read_back(warehouse: Warehouse) -> None:
    panel = load_panel(warehouse)
    stored = load_indicators(warehouse, panel)
    computed = compute_indicators(panel)
    keep_indicators(warehouse, panel, computed, warehouse.content_version("indicators"))
    kept = load_indicators(warehouse, panel)
    assert kept.rsi2 is computed.rsi2
    for name in stored.names:
        assert np.array_equal(kept[name], stored[name], equal_nan=True), name
    # Kept under the version of rows that are not there, they are not given out.
    keep_indicators(warehouse, panel, computed, "another")
    assert load_indicators(warehouse, panel).rsi2 is not computed.rsi2


def test_kept_indicators_are_no_other_panel_s_though_it_takes_the_place_in_memory(warehouse: Warehouse) -> None:
    panel = load_panel(warehouse)
    kept = compute_indicators(panel)
    version = warehouse.content_version("indicators")
    places = set()
    for _ in range(50):
        # The copy is gone after each line, and the next one mostly lies where it lay.
        keep_indicators(warehouse, replace(panel, rows=panel.rows.copy()), kept, version)
        later = replace(panel, rows=panel.rows.copy())
        places.add(id(later.rows))
        assert load_indicators(warehouse, later).rsi2 is not kept.rsi2
        del later
    assert len(places) < 50


def test_an_indicator_may_be_called_day(warehouse: Warehouse) -> None:
    panel = load_panel(warehouse)
    warehouse.rows("ALTER TABLE indicators ADD COLUMN day DOUBLE")
    warehouse.rows("UPDATE indicators SET day = dayofmonth(session)")
    dates = panel.sessions[panel.session].astype("datetime64[D]")
    stored = load_indicators(warehouse, panel, ["day"])["day"]
    np.testing.assert_array_equal(stored, (dates - dates.astype("datetime64[M]")).astype(int) + 1)


def test_the_market_is_made_anew_where_settings_universe_or_bars_change(warehouse: Warehouse) -> None:
    market = load_market(warehouse, SETTINGS)
    assert load_market(warehouse, SETTINGS.model_copy(deep=True)) is market
    warehouse.rows("UPDATE universe SET selected = false WHERE symbol = ?", [market.panel.names[0]])
    assert load_market(warehouse, SETTINGS).tradable.sum() < market.tradable.sum()
    dearer = SETTINGS.model_copy(update={"costs": SETTINGS.costs.model_copy(update={"slippage_bps": 50.0})})
    assert load_market(warehouse, dearer).costs.slippage == 0.005
    warehouse.rows("UPDATE indicators SET ibs = 0.5")
    assert (load_market(warehouse, SETTINGS).indicators.ibs == 0.5).all()


def test_signals_that_were_found_before_are_those_of_a_fresh_search(warehouse: Warehouse) -> None:
    market = load_market(warehouse, SETTINGS)
    sets = [dict(RSI2.parameters) | {"rsi_entry": entry} for entry in (5.0, 10.0, 15.0, 20.0)]
    found = find_signals(market, market.readable(), RSI2, sets)
    some = find_signals(market, market.readable(), RSI2, [sets[2], sets[0]])
    assert some.union is found.union, "not looked for again"
    market.found.clear()
    fresh = find_signals(market, market.readable(), RSI2, [sets[2], sets[0]])
    assert fresh.union is not found.union
    for kept, own in zip(some.priced(market).feeds(range(2)), fresh.priced(market).feeds(range(2)), strict=True):
        assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(kept.entries, own.entries, strict=True))
        assert np.array_equal(kept.first, own.first)
        assert np.array_equal(kept.leave, own.leave)
    beyond = find_signals(market, market.readable(), RSI2, [dict(RSI2.parameters) | {"rsi_entry": 30.0}])
    assert beyond.union is not fresh.union, "a set that was not asked for is looked for"


@pytest.mark.parametrize(
    "asks",
    [
        lambda p: p["rsi_exit"],
        lambda p: p.get("rsi_exit"),
        lambda p: {**p}["rsi_exit"],
        lambda p: (p | {})["rsi_exit"],
        lambda p: ({} | p)["rsi_exit"],
        lambda p: p.copy()["rsi_exit"],
        lambda p: max(value for name, value in p.items() if name == "rsi_exit"),
    ],
)
def test_exits_are_made_once_for_all_sets_that_give_them_the_same_parameters(warehouse: Warehouse, asks: Any) -> None:
    market = load_market(warehouse, SETTINGS)
    strategy = replace(RSI2, leave_long=lambda at, p: at.rsi2 >= asks(p), leave_short=None)
    plain = dict(RSI2.parameters)
    sets = [plain, plain | {"rsi_entry": 5.0}, plain | {"rsi_exit": 50.0}]
    exits = [feed.leave[0] for feed in find_signals(market, market.readable(), strategy, sets).priced(market).feeds(range(3))]
    alone = [leave_flags(market.panel, market.readable(), strategy, own) for own in sets]
    assert all(np.array_equal(found, own) for found, own in zip(exits, alone, strict=True))
    assert not np.array_equal(exits[0], exits[2])


def test_exits_are_kept_once_where_the_grid_varies_the_entry_only(warehouse: Warehouse) -> None:
    market = load_market(warehouse, SETTINGS)
    sets = [dict(RSI2.parameters) | {"rsi_entry": entry} for entry in (5.0, 10.0)]
    leaves = find_signals(market, market.readable(), RSI2, sets).leaves
    assert leaves[0] is leaves[1]
