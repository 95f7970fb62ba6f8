"""In memory is what may trade: the panel holds the selected symbols and those held, and every figure stays as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kobe_assets.graph.bar_table import BarTable, read_bar_tables
from kobe_assets.graph.inputs import load_panel
from kobe_assets.research.indicators import compute_indicators
from kobe_assets.research.language import rank, roc
from kobe_assets.research.lookahead import truncate
from kobe_assets.research.panel import Panel
from kobe_jobs.research_run.stale import bring_up_to_date
from kobe_resources.order_ledger import OrderLedger
from kobe_resources.settings.load import load_settings
from kobe_resources.warehouse.store import Warehouse
from tests.assets.checks.test_bars import calm, store
from tests.support.builders.frames import load

pytestmark = pytest.mark.usefixtures("warehouses_stay_open")

TARGETS = ("daily_bars", "universe", "indicators", "signals")


@pytest.fixture
def market(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve invented symbols of which three may trade."""
    for name, value in {
        "DATA__VENDOR": "synthetic",
        "DATA__SYNTHETIC__SYMBOLS": "12",
        "DATA__SYNTHETIC__SESSIONS": "300",
        "UNIVERSE__MIN_YEARS": "0",
        "UNIVERSE__REQUIRE_OPTIONS": "false",
        "UNIVERSE__CAP": "3",
    }.items():
        monkeypatch.setenv(f"KOBE_{name}", value)
    return home


def test_only_what_may_trade_or_is_held_is_in_memory(market: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bring_up_to_date(load_settings(), targets=TARGETS)
    warehouse = Warehouse()
    selected = sorted(row[0] for row in warehouse.rows("SELECT symbol FROM universe WHERE selected"))
    panel = load_panel(warehouse)
    assert list(panel.names) == selected
    assert len(selected) == 3
    assert [row[0] for row in warehouse.rows("SELECT DISTINCT symbol FROM indicators ORDER BY 1")] == selected
    stored = warehouse.rows("SELECT count(DISTINCT session) FROM daily_bars")
    assert stored == [(len(panel.sessions),)], "who may not trade makes sessions all the same"
    before = warehouse.frame("SELECT * FROM signals ORDER BY ALL")

    (held,) = warehouse.rows("SELECT symbol FROM universe WHERE NOT selected AND sessions > 200 ORDER BY symbol LIMIT 1")
    with OrderLedger() as ledger:
        # Only the position counts here, not the order that it came from.
        ledger.connection.execute("PRAGMA foreign_keys = OFF")
        given = {"id": "x", "symbol": held[0], "side": "long", "is_open": 1}
        values = [given.get(row["name"], "0") for row in ledger.rows("PRAGMA table_info(positions)")]
        with ledger.write() as write:
            write.execute(f"INSERT INTO positions VALUES ({', '.join('?' * len(values))})", values)
    monkeypatch.setenv("KOBE_UNIVERSE__MIN_SYMBOLS", "2")
    bring_up_to_date(load_settings(), targets=TARGETS)
    assert set(load_panel(warehouse).names) == {*selected, *held}
    assert warehouse.rows("SELECT count(*) FROM indicators WHERE symbol = ?", list(held)) != [(0,)]
    assert warehouse.frame("SELECT * FROM signals ORDER BY ALL").equals(before), "being held gives no signals"


def test_who_may_not_trade_stands_in_no_rank_but_has_one(market: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a benchmark, a position or what another strategy reads would change every rank, and the trades with it."""

    def ranked(panel: Panel) -> dict[str, np.ndarray]:
        column = compute_indicators(panel, {"strength": rank(roc(5))}).others["strength"]
        return {name: column[panel.spans[name]] for name in panel.names}

    bring_up_to_date(load_settings(), targets=("daily_bars", "universe"))
    warehouse = Warehouse()
    few = load_panel(warehouse)
    before = ranked(few)
    ((other,),) = warehouse.rows("SELECT symbol FROM universe WHERE NOT selected AND sessions > 200 ORDER BY symbol LIMIT 1")
    monkeypatch.setenv("KOBE_REPORT__BENCHMARK", other)
    bring_up_to_date(load_settings(), targets=("daily_bars", "universe"))
    panel = load_panel(warehouse)
    assert set(panel.names) == {*few.names, other}
    after = ranked(panel)
    assert all(np.array_equal(before[name], after[name], equal_nan=True) for name in few.names)
    assert np.nanmin(after[other]) == 0.0
    assert np.nanmax(after[other]) == 1.0
    shortened = ranked(truncate(panel, 250))
    assert all(
        np.array_equal(before[name][: len(own)], own, equal_nan=True) for name, own in shortened.items() if name != other
    )


def test_the_panel_of_a_few_is_the_panel_of_all_without_the_others(market: Path) -> None:
    bring_up_to_date(load_settings(), targets=("daily_bars", "universe"))
    warehouse = Warehouse()
    few = load_panel(warehouse)
    warehouse.rows("DELETE FROM panel_symbols")
    everybody = load_panel(warehouse)
    assert len(everybody.names) == 12
    for name in few.names:
        mine, same = few.spans[name], everybody.spans[name]
        assert np.array_equal(few.rows[mine], everybody.rows[same])
        assert np.array_equal(few.sessions[few.session[mine]], everybody.sessions[everybody.session[same]])


def test_bars_read_in_parts_are_the_bars_read_at_once(tmp_path: Path) -> None:
    rows = [*calm("A", 60, skip=tuple(range(20, 35))), *calm("B", 10), *calm("C", 50, start=5), *calm("D", 3)]
    warehouse = store(tmp_path, load(rows))
    (whole,) = read_bar_tables(warehouse)
    parts = list(read_bar_tables(warehouse, most=40))
    assert [len(part.session) for part in parts] == [45, 10, 50, 3]
    assert [len(part.session) for part in read_bar_tables(warehouse, most=60)] == [55, 53]
    assert whole.symbols == ("A", "A", "B", "C", "D"), "two listings of A"
    assert sum((part.symbols for part in parts), ()) == whole.symbols

    def joined(name: str) -> list[object]:
        return np.concatenate([getattr(part, name) for part in parts]).tolist()

    for name in ("session", "open", "high", "low", "close", "volume", "factor"):
        assert joined(name) == getattr(whole, name).tolist()
    assert _lives(whole) == [life for part in parts for life in _lives(part)]
    assert list(read_bar_tables(Warehouse(tmp_path / "empty.duckdb"))) == []


def _lives(table: BarTable) -> list[tuple[str, int]]:
    return list(zip(table.symbols, np.diff(table.start).tolist(), strict=True))
