"""Stored bars as a file: what is stored comes out, raw or adjusted, and a file is never half written."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from kobe_resources.errors import KobeError, UsageError
from kobe_resources.market_data.export import export_bars
from kobe_resources.warehouse.store import Warehouse, insert

DAYS = [dt.date(2024, 3, day) for day in (4, 5, 6)]


@pytest.fixture
def warehouse(home: Path) -> Warehouse:
    """Three bars of A, which splits 2 for 1 on the last, and one of B."""
    rows = [("A", day, price) for day, price in zip(DAYS, (100.0, 104.0, 52.0), strict=True)] + [("B", DAYS[1], 7.0)]
    bars = pd.DataFrame(rows, columns=["symbol", "session", "close"])
    bars = bars.assign(open=bars["close"], high=bars["close"], low=bars["close"], volume=1000.0, vwap=None, trades=None)
    splits = pd.DataFrame({"symbol": ["A"], "execution_date": [DAYS[2]], "split_from": [1.0], "split_to": [2.0]})
    stored = Warehouse()
    with stored.transaction() as connection:
        insert(connection, "daily_bars", bars.assign(source="test", fetched_at=dt.datetime.now(dt.UTC)))
        insert(connection, "splits", splits.assign(source="test"))
    return stored


@pytest.mark.parametrize("name", ["bars.csv", "bars.parquet"])
def test_raw_bars_come_out_as_they_are_stored(warehouse: Warehouse, tmp_path: Path, name: str) -> None:
    assert export_bars(warehouse, tmp_path / "new" / name) == 4
    found = duckdb.sql(f"SELECT symbol, session, close FROM '{tmp_path / 'new' / name}' ORDER BY ALL").fetchall()
    assert found == [("A", DAYS[0], 100.0), ("A", DAYS[1], 104.0), ("A", DAYS[2], 52.0), ("B", DAYS[1], 7.0)]
    assert [path.name for path in (tmp_path / "new").iterdir()] == [name], "no draft is left"


def test_adjusted_bars_of_some_symbols_and_days(warehouse: Warehouse, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    assert export_bars(warehouse, path, ["A"], DAYS[1], DAYS[2], adjusted=True) == 2
    found = duckdb.sql(f"SELECT session, close, volume, factor FROM '{path}' ORDER BY ALL").fetchall()
    assert found == [(DAYS[1], 52.0, 2000.0, 0.5), (DAYS[2], 52.0, 1000.0, 1.0)]


@pytest.mark.parametrize(("name", "symbols", "said"), [("bars.xls", [], "ends neither"), ("b.csv", ["C"], "C has no stored")])
def test_what_cannot_be_written_is_refused_and_nothing_is_left(
    warehouse: Warehouse, tmp_path: Path, name: str, symbols: list[str], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        export_bars(warehouse, tmp_path / name, symbols)
    assert not (tmp_path / name).exists()


def test_a_window_without_bars_is_refused_and_what_is_there_stays(warehouse: Warehouse, tmp_path: Path) -> None:
    path = tmp_path / "b.csv"
    export_bars(warehouse, path, ["B"])
    kept = path.read_bytes()
    with pytest.raises(UsageError, match="no stored bar lies in that window"):
        export_bars(warehouse, path, ["B"], start=DAYS[2])
    assert path.read_bytes() == kept


def test_what_is_there_stays_and_no_draft_is_left_where_the_file_cannot_be_written(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    (tmp_path / "bars.csv").mkdir()
    (tmp_path / "taken").write_text("older")
    for path in (tmp_path / "bars.csv", tmp_path / "taken" / "bars.csv"):
        with pytest.raises(KobeError, match="cannot be written"):
            export_bars(warehouse, path)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "home") == ["bars.csv", "taken"]
    assert (tmp_path / "taken").read_text() == "older"


def test_a_symbol_that_a_spreadsheet_would_run_is_written_as_parquet_only(warehouse: Warehouse, tmp_path: Path) -> None:
    warehouse.rows("UPDATE daily_bars SET symbol = '=B1' WHERE symbol = 'B'")
    with pytest.raises(UsageError, match="run the symbol '=B1' as a formula"):
        export_bars(warehouse, tmp_path / "bars.csv")
    assert export_bars(warehouse, tmp_path / "a.csv", ["A"]) == 3
    assert export_bars(warehouse, tmp_path / "bars.parquet") == 4
