"""A second import adds and restates; files are whole or as they were; a foreign file gives way and is kept."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pandas as pd
import pytest

from kobe_resources.market_data.importing import folder as folder_room
from kobe_resources.market_data.importing.folder import Tally
from kobe_resources.market_data.local.files import FilesVendor
from kobe_resources.market_data.protocol import MarketDataError
from kobe_resources.settings.models import DataSettings, FilesData
from kobe_resources.warehouse.store import Warehouse
from tests.resources.market_data.importing.conftest import Importer, assert_same, put, stored
from tests.support.builders import exports

BARS = exports.market()


def test_a_second_import_adds_and_restates_and_says_how_many(bring: Importer, tmp_path: Path) -> None:
    first = BARS[BARS["session"] < "2020-03-01"]
    assert bring(put(tmp_path, "a.csv", exports.text(first))).written.bars == Tally(added=len(first))
    later = BARS[BARS["session"] >= "2020-02-03"].copy()
    later.loc[later.index[0], "volume"] += 1
    done = bring(put(tmp_path, "b.csv", exports.text(later)))
    again = int((later["session"] < "2020-03-01").sum())
    assert done.written.bars == Tally(len(later) - again, 1, again - 1, len(BARS) - len(later))
    assert_same(done.bars, pd.concat([BARS[BARS["session"] < "2020-02-03"], later]))


def test_what_an_import_left_out_is_known_after_the_load_until_it_comes(
    bring: Importer, tmp_path: Path, warehouse: Warehouse
) -> None:
    days = BARS["session"].to_list()
    spoiled = BARS.assign(close=BARS["close"].where(BARS.index != 3, -1.0))
    put(tmp_path / "in", "x.csv", exports.text(spoiled))
    put(tmp_path / "in", "CHAR.csv", "")
    bring(tmp_path / "in")
    vendor = FilesVendor(DataSettings(vendor="files", files=FilesData(path=tmp_path / "bars")))
    vendor.sync(warehouse)
    asked = "SELECT symbol, session::VARCHAR, line, reason FROM set_aside ORDER BY symbol"
    assert warehouse.rows(asked) == [
        ("", None, None, f"import: {tmp_path / 'in' / 'CHAR.csv'} left out: is empty"),
        ("ALFA", days[3], 5, "import: close is -1.0, which is not positive"),
    ]
    (tmp_path / "in" / "CHAR.csv").unlink()
    bring(put(tmp_path / "in", "x.csv", exports.text(BARS)))
    vendor.sync(warehouse)
    assert [row[0] for row in warehouse.rows(asked)] == [""]


def test_a_csv_stays_a_csv_and_other_spellings_join(bring: Importer, tmp_path: Path) -> None:
    put(tmp_path / "bars", "bars.csv", exports.text(BARS.replace({"symbol": {"ALFA": "ALF-A"}})))
    done = bring(put(tmp_path, "b.csv", exports.text(BARS.replace({"symbol": {"ALFA": "ALF/A"}}))))
    assert done.written.path == tmp_path / "bars" / "bars.csv"
    assert_same(done.bars, BARS.replace({"symbol": {"ALFA": "ALF.A"}}))
    assert done.written.bars == Tally(unchanged=len(BARS))


def test_a_foreign_file_where_files_reads_is_named_with_its_command_and_replaced(
    bring: Importer, tmp_path: Path, warehouse: Warehouse
) -> None:
    path = put(tmp_path / "bars", "bars.csv", exports.yfinance(BARS))
    vendor = FilesVendor(DataSettings(vendor="files", files=FilesData(path=tmp_path / "bars")))
    with pytest.raises(MarketDataError, match=rf"yfinance.*kobe bars import {path}"):
        vendor.sync(warehouse)
    with pytest.raises(MarketDataError, match="is there already, in another shape"):
        bring(put(tmp_path, "x.csv", exports.text(BARS)))
    done = bring(path)
    assert done.written.moved == path.with_name("bars.csv.original")
    assert done.written.moved.read_bytes() == exports.yfinance(BARS)
    assert vendor.sync(warehouse).bars == len(BARS)
    assert bring(tmp_path / "bars", put(tmp_path, "y.csv", exports.text(BARS))).written.bars.unchanged == len(BARS)


NAMED = {
    "Stooq": exports.stooq,
    "separated by semicolons": exports.decimal_commas,
    "UTF-16": exports.tabs_in_utf16,
    "Alpaca": exports.alpaca,
    "Excel workbook": lambda bars: exports.workbook([["a"]]),
}


@pytest.mark.parametrize(("shape", "export"), NAMED.items(), ids=NAMED)
def test_files_names_the_shape_and_the_command(
    tmp_path: Path, warehouse: Warehouse, shape: str, export: exports.Export
) -> None:
    put(tmp_path / "bars", "bars.csv", export(BARS))
    with pytest.raises(MarketDataError, match=rf"{shape}.*`kobe bars import "):
        FilesVendor(DataSettings(vendor="files", files=FilesData(path=tmp_path / "bars"))).sync(warehouse)


@pytest.mark.parametrize(
    ("columns", "shape"),
    [
        ("symbol, session::TIMESTAMP AS timestamp, open, high, low, close, volume, 1 AS trade_count, 1.5 AS vwap", "Alpaca"),
        ("session::TIMESTAMP AS timestamp, open, high, low, close, volume, 1.5 AS vwap, 1 AS transactions", "Polygon"),
        ("session::DATE AS Date, open AS Open_A, high AS High_A, low AS Low_A, close AS Close_A", "a table with the symbol"),
    ],
)
def test_files_names_the_shape_of_a_parquet_file_too(tmp_path: Path, warehouse: Warehouse, columns: str, shape: str) -> None:
    path = tmp_path / "bars.parquet"
    with duckdb.connect() as connection:
        connection.register("bars", BARS)
        connection.execute(f"COPY (SELECT {columns} FROM bars) TO '{path}'")
    with pytest.raises(MarketDataError, match=rf"no column .*{shape}.*`kobe bars import "):
        FilesVendor(DataSettings(vendor="files", files=FilesData(path=path))).sync(warehouse)


def test_a_folder_of_foreign_files_is_named_too(tmp_path: Path, warehouse: Warehouse, bring: Importer) -> None:
    put(tmp_path / "bars", "ALFA.csv", exports.text(exports.one(BARS)))
    put(tmp_path / "bars", "BRAV.csv", exports.text(exports.one(BARS)))
    vendor = FilesVendor(DataSettings(vendor="files", files=FilesData(path=tmp_path / "bars")))
    with pytest.raises(MarketDataError, match=r"ALFA.csv and 1 more may be .*`kobe bars import "):
        vendor.sync(warehouse)
    assert bring(tmp_path / "bars").written.symbols == 2
    assert vendor.sync(warehouse).symbols == 1


def test_a_disk_that_fails_leaves_what_was_there(bring: Importer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path / "bars", "bars.csv", exports.text(BARS))

    def fail(place: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder_room, "_durable", fail)
    with pytest.raises(MarketDataError, match=r"cannot be written .*No space left"):
        bring(put(tmp_path, "b.csv", exports.text(BARS.assign(volume=1))))
    assert [one.name for one in path.parent.iterdir()] == ["bars.csv"]
    assert_same(stored(path), BARS)


def test_an_export_of_kobes_own_comes_in_with_its_companions(bring: Importer, tmp_path: Path) -> None:
    own = tmp_path / "own"
    put(own, "bars.csv", exports.text(BARS))
    put(own, "splits.csv", "symbol,execution_date,split_from,split_to\nALFA,2020-02-03,100,101\n")
    put(own, "dividends.csv", "symbol,ex_date,amount,kind,pay_date\nALFA,2020-02-04,0.5,special,2020-03-01\n")
    put(own, "candidates.csv", "symbol,has_options\nALFA,true\n")
    done = bring(own)
    assert_same(done.bars, BARS)
    for name in ("splits.csv", "dividends.csv", "candidates.csv"):
        pd.testing.assert_frame_equal(pd.read_csv(done.folder / name), pd.read_csv(own / name), check_dtype=False)
