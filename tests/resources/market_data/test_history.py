"""What the store knew at a moment can be read again, whatever came after."""

from __future__ import annotations

import datetime as dt
import tempfile
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kobe_resources.market_data import MarketDataError
from kobe_resources.market_data.changes import Load
from kobe_resources.market_data.companions import replace_splits
from kobe_resources.market_data.history import (
    bars_as_of,
    describe_revisions,
    dividends_as_of,
    export_as_of,
    revisions,
    splits_as_of,
)
from kobe_resources.market_data.local.files import FilesVendor
from kobe_resources.market_data.store import replace_all, upsert_bars
from kobe_resources.settings.models import DataSettings, FilesData
from kobe_resources.warehouse.store import Warehouse
from tests.support.builders import frames
from tests.support.builders.frames import NOON, bar, load, splits

pytestmark = pytest.mark.usefixtures("warehouses_stay_open")

DAYS = frames.days(3)
HOUR = dt.timedelta(hours=1)

cells = st.dictionaries(
    st.tuples(st.sampled_from("AB"), st.sampled_from(DAYS)),
    st.tuples(st.sampled_from([10.0, 11.0]), st.sampled_from([None, 10.5])),
    min_size=1,
    max_size=6,
)
split_sets = st.sets(st.tuples(st.sampled_from("AB"), st.sampled_from(DAYS), st.just(1.0), st.sampled_from([2.0, 3.0])))
steps = st.lists(st.tuples(st.booleans(), cells, split_sets), min_size=1, max_size=4)


def as_load(content: dict, split_rows: set) -> Load:
    rows = [
        bar(symbol, day, close, vwap=float("nan") if vwap is None else vwap) for (symbol, day), (close, vwap) in content.items()
    ]
    return load(rows, splits(*sorted(split_rows)))


def held(frame: pd.DataFrame) -> list[tuple[object, ...]]:
    plain = frame.astype(object).where(frame.notna(), None)
    return sorted((tuple(row) for row in plain.itertuples(index=False)), key=repr)


@settings(max_examples=12, deadline=None)
@given(steps)
def test_every_past_state_is_read_back_exactly(history: list) -> None:
    with tempfile.TemporaryDirectory() as folder:
        warehouse = Warehouse(Path(folder) / "kobe.duckdb")
        seen = []
        for number, (complete, content, split_rows) in enumerate(history):
            at, offered = NOON + number * HOUR, as_load(content, split_rows)
            if complete or number == 0:
                replace_all(warehouse, offered, "files", "files", "print", at)
            else:
                with warehouse.transaction() as connection:
                    upsert_bars(connection, offered.bars, "files", at)
                    replace_splits(connection, offered.splits, "files", at, since=DAYS[1])
            bars = warehouse.frame("SELECT symbol, session, open, high, low, close, volume, vwap, trades FROM daily_bars")
            seen.append((at, held(bars), held(warehouse.frame("SELECT * EXCLUDE (source) FROM splits"))))
        for at, bars_then, splits_then in seen:
            assert held(bars_as_of(warehouse, at)) == bars_then
            assert held(splits_as_of(warehouse, at + HOUR / 2)) == splits_then


def test_a_moment_before_the_source_was_loaded_is_refused(warehouse: Warehouse) -> None:
    with pytest.raises(MarketDataError, match="the store is empty"):
        bars_as_of(warehouse, NOON)
    replace_all(warehouse, load([bar("A", DAYS[0])]), "files", "one", "print", NOON)
    replace_all(warehouse, load([bar("A", DAYS[0])]), "files", "two", "print", NOON + HOUR)
    with pytest.raises(MarketDataError, match="the store holds two since"):
        bars_as_of(warehouse, NOON + HOUR / 2)
    with pytest.raises(MarketDataError, match="no time zone"):
        bars_as_of(warehouse, dt.datetime(2024, 6, 3, 14))
    assert len(bars_as_of(warehouse, NOON + HOUR)) == 1


def test_revisions_are_listed_newest_first_and_by_symbol(warehouse: Warehouse) -> None:
    for number, close in enumerate((10.0, 11.0, 12.0)):
        rows = [bar("A", DAYS[0], 10.0, volume=close), bar("B", DAYS[0], 10.0, volume=close)]
        replace_all(warehouse, load(rows), "files", "files", "print", NOON + number * HOUR)
    of_b = revisions(warehouse, "B")
    assert list(of_b["old"]) == [11.0, 10.0]
    assert len(revisions(warehouse)) == 4
    assert len(revisions(warehouse, "nobody")) == 0


@pytest.mark.parametrize("bars_file", ["bars.parquet", "bars.csv"])
def test_an_export_as_of_a_moment_loads_as_own_files(warehouse: Warehouse, tmp_path: Path, bars_file: str) -> None:
    first = load([bar("A,\"'", DAYS[0], 10.25), bar("B", DAYS[1], 7.0)], splits(("B", DAYS[2], 2, 3)), {"B": True})
    replace_all(warehouse, first, "files", "files", "print", NOON)
    version = warehouse.content_version("daily_bars", "splits", "candidates", "option_evidence")
    replace_all(warehouse, load([bar("B", DAYS[1], 8.0)]), "files", "files", "other", NOON + HOUR)
    warehouse_then = Warehouse(tmp_path / "then.duckdb")
    assert export_as_of(warehouse, NOON, tmp_path / "out", bars_file) == 2
    assert (tmp_path / "out" / bars_file).is_file()
    FilesVendor(DataSettings(vendor="files", files=FilesData(path=tmp_path / "out"))).sync(warehouse_then)
    bars_then = warehouse_then.rows("SELECT symbol, session, close FROM daily_bars ORDER BY ALL")
    assert bars_then == [("A,\"'", DAYS[0], 10.25), ("B", DAYS[1], 7.0)]
    assert warehouse_then.content_version("daily_bars", "splits") != ""
    assert warehouse_then.rows("SELECT * EXCLUDE (source) FROM splits") == [("B", DAYS[2], 2.0, 3.0)]
    assert version != warehouse.content_version("daily_bars", "splits", "candidates", "option_evidence")
    with pytest.raises(MarketDataError, match="is there already"):
        export_as_of(warehouse, NOON, tmp_path / "out")


def test_dividends_are_read_as_they_were_known(warehouse: Warehouse, tmp_path: Path) -> None:
    first = pd.DataFrame({"symbol": ["A"], "ex_date": [DAYS[1]], "amount": [0.25], "pay_date": [DAYS[2]]})
    offered = load([bar("A", day) for day in DAYS])
    replace_all(warehouse, replace(offered, dividends=first), "files", "files", "one", NOON)
    replace_all(warehouse, replace(offered, dividends=first.assign(amount=0.26)), "files", "files", "two", NOON + HOUR)
    replace_all(warehouse, offered, "files", "files", "three", NOON + 2 * HOUR)
    known = [dividends_as_of(warehouse, NOON + number * HOUR)["amount"].tolist() for number in range(3)]
    assert known == [[0.25], [0.26], []]
    export_as_of(warehouse, NOON + HOUR, tmp_path / "then")
    again = FilesVendor(DataSettings(vendor="files", files=FilesData(path=tmp_path / "then"))).read().dividends
    assert again is not None
    assert again[["symbol", "amount", "kind"]].to_numpy().tolist() == [["A", 0.26, "regular"]]
    assert [day.date() for day in (again["ex_date"][0], again["pay_date"][0])] == DAYS[1:3]


def test_what_loads_restated_is_summed_up_by_symbol(warehouse: Warehouse) -> None:
    first = [bar(symbol, day) for symbol in "AB" for day in DAYS]
    replace_all(warehouse, load(first), "files", "files", "one", NOON)
    later = [bar("A", day, 2.5) for day in DAYS] + [bar("B", DAYS[0], 10.1), bar("B", DAYS[1], 12.0)]
    replace_all(warehouse, load(later), "files", "files", "two", NOON + HOUR)
    lines = ["3 bars of A restated by 0.25", "2 bars of B restated, 1 bars of B taken back"]
    assert describe_revisions(warehouse) == describe_revisions(warehouse, NOON + HOUR) == lines
    assert describe_revisions(warehouse, symbol="B") == lines[1:]
    assert describe_revisions(warehouse, most=1) == [lines[0], "and bars of 1 more symbols: see `kobe bars revisions`"]
    assert describe_revisions(warehouse, NOON + 2 * HOUR) == []


def test_splits_and_dividends_that_a_load_takes_back_or_gives_otherwise_are_described(warehouse: Warehouse) -> None:
    rows = [bar("A", day) for day in DAYS]

    def paid(*amounts: float) -> pd.DataFrame:
        given = [("A", day, amount) for day, amount in zip(DAYS, amounts, strict=False)]
        return pd.DataFrame(given, columns=["symbol", "ex_date", "amount"])

    first = replace(load(rows, splits(("A", DAYS[1], 1, 2))), dividends=paid(0.1, 0.2))
    replace_all(warehouse, first, "files", "files", "one", NOON)
    assert describe_revisions(warehouse) == []
    replace_all(warehouse, replace(load(rows), dividends=paid(0.1, 0.3)), "files", "files", "two", NOON + HOUR)
    assert describe_revisions(warehouse) == ["1 dividends of A restated", "1 splits of A taken back"]
