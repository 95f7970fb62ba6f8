"""A symbol that was gone for more than ten sessions comes back as a stock of its own."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd

from kobe_assets.graph.frames import indicators_frame
from kobe_assets.graph.inputs import load_panel
from kobe_assets.research.indicators import compute_indicators
from kobe_assets.research.panel import ROW_DIVIDEND
from kobe_assets.selection.eligibility import build_universe
from kobe_resources.market_data.store import replace_all
from kobe_resources.settings.models import Settings
from kobe_resources.warehouse.store import Warehouse
from tests.support.builders.frames import NOON, bar, days, load, splits

DAYS = days(600)


def stored(folder: Path, gap: int, dividends: pd.DataFrame | None = None) -> Warehouse:
    """A is gone for `gap` sessions from number 300 on, B never; A splits before and after."""
    rows = [bar("A", DAYS[n], 10.0 + n % 7) for n in range(600) if not 300 <= n < 300 + gap]
    rows += [bar("B", DAYS[n], 20.0 + n % 5) for n in range(600)]
    content = load(rows, splits(("A", DAYS[100], 1, 2), ("A", DAYS[400], 1, 4)))
    warehouse = Warehouse(folder / "kobe.duckdb")
    replace_all(warehouse, dataclasses.replace(content, dividends=dividends), "files", "files", "print", NOON)
    return warehouse


def test_more_than_ten_missing_sessions_begin_another_listing_and_ten_do_not(tmp_path: Path) -> None:
    assert load_panel(stored(tmp_path / "ten", 10)).symbols == ("A", "B")
    panel = load_panel(stored(tmp_path / "eleven", 11))
    assert panel.symbols == ("A", "A", "B")
    assert panel.names == ("A", "B")
    assert panel.start.tolist() == [0, 300, 589, 1189]
    assert panel.last_session_of().tolist() == [299, 599, 599]
    assert panel.bars_at(np.array([0, 0, 0, 1]), np.array([0, 305, 599, 305])).tolist() == [0, -1, 588, 589 + 305]
    assert panel.spans == {"A": slice(0, 589), "B": slice(589, 1189)}


def test_a_split_counts_for_the_bars_of_its_listing_and_indicators_start_anew(tmp_path: Path) -> None:
    warehouse = stored(tmp_path, 11)
    panel = load_panel(warehouse)
    factor = panel.raw_close / panel.close
    assert (factor[50], factor[200], factor[320], factor[588]) == (2.0, 1.0, 4.0, 1.0)
    sql = "SELECT listing, count(*), max(factor), min(factor) FROM adjusted_bars WHERE symbol = 'A' GROUP BY 1 ORDER BY 1"
    assert warehouse.rows(sql) == [(1, 300, 1.0, 0.5), (2, 289, 1.0, 0.25)]
    sma = compute_indicators(panel).sma200
    assert np.isnan(sma[300:499]).all()
    assert not np.isnan(sma[499:589]).any()
    frame = indicators_frame(panel, compute_indicators(panel))
    assert frame["symbol"].astype(str).value_counts().to_dict() == {"A": 589, "B": 600}


def test_a_dividend_is_paid_by_its_own_symbol_where_another_before_it_came_back(tmp_path: Path) -> None:
    paid = [("A", 100, 0.1), ("A", 305, 0.2), ("A", 400, 0.3), ("B", 0, 0.4), ("B", 50, 0.5), ("B", 305, 0.6), ("B", 599, 0.7)]
    dividends = pd.DataFrame([(name, DAYS[n], amount) for name, n, amount in paid], columns=["symbol", "ex_date", "amount"])
    panel = load_panel(stored(tmp_path, 11, dividends))
    bars = np.flatnonzero(panel.rows[:, ROW_DIVIDEND])
    found = [(panel.symbols[panel.symbol[k]], int(panel.session[k]), float(panel.rows[k, ROW_DIVIDEND])) for k in bars]
    # Nobody held A in the gap, or B before its first bar.
    assert found == [("A", 100, 0.1), ("A", 400, 0.3), ("B", 50, 0.5), ("B", 305, 0.6), ("B", 599, 0.7)]


def test_the_universe_speaks_of_the_last_listing(tmp_path: Path) -> None:
    universe = build_universe(stored(tmp_path, 11), Settings()).set_index("symbol")
    assert universe.loc["A", "first_session"].date() == DAYS[311]
    assert universe.loc["A", "sessions"] == 289
    assert universe.loc["B", "sessions"] == 600
