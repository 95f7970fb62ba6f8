"""Files that are nearly in a known shape: read where nothing is in doubt, else named with what is wrong with them."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest

from kobe_resources.market_data.local.files import FilesVendor
from kobe_resources.market_data.protocol import MarketDataError
from kobe_resources.settings.models import DataSettings, FilesData
from tests.resources.market_data.importing.conftest import Importer, assert_same, put
from tests.support.builders import exports

BARS = exports.market()
ALFA = BARS[BARS["symbol"] == "ALFA"]
ONE = exports.one(BARS)
DAYS = ALFA["session"].to_list()


def with_actions(bars: pd.DataFrame) -> bytes:
    """yfinance.download(actions=True, repair=True).to_csv(): fields that no bar has."""
    table = exports.wide(bars)
    for name in ("Dividends", "Stock Splits", "Capital Gains", "Repaired?"):
        for ticker in dict.fromkeys(bars["symbol"]):
            table[name, ticker] = 0.0
    return table.sort_index(axis=1).to_csv().encode()


def test_yfinance_with_actions_and_a_ticker_named_like_a_field(bring: Importer, tmp_path: Path) -> None:
    low = BARS.assign(symbol=BARS["symbol"].map({"ALFA": "LOW", "BRAV": "OPEN"}))
    assert_same(bring(put(tmp_path, "a.csv", with_actions(BARS)), into=tmp_path / "1").bars, BARS)
    assert_same(bring(put(tmp_path, "b.csv", exports.yfinance(low)), into=tmp_path / "2").bars, low)
    only = low[low["symbol"] == "LOW"]
    assert_same(bring(put(tmp_path, "c.csv", exports.yfinance(only)), into=tmp_path / "3").bars, only)


def test_yfinances_workbook_whose_first_level_is_merged_cells(bring: Importer, tmp_path: Path) -> None:
    table = exports.wide(BARS)
    for name, by_ticker in (("fields", table), ("tickers", table.swaplevel(axis=1).sort_index(axis=1))):
        first, second = (list(by_ticker.columns.get_level_values(level)) for level in (0, 1))
        # to_excel() merges equal cells of a level: all but the first of them are empty.
        merged = [word if n == 0 or word != first[n - 1] else "" for n, word in enumerate(first)]
        rows = [[f"{day:%Y-%m-%d}", *row] for day, row in zip(by_ticker.index, by_ticker.to_numpy().tolist(), strict=True)]
        book = exports.workbook([["Price", *merged], ["Ticker", *second], ["Date", *[""] * len(first)], *rows])
        assert_same(bring(put(tmp_path, f"{name}.xlsx", book), into=tmp_path / name).bars, BARS)


def test_a_workbook_whose_symbols_are_merged_downwards(bring: Importer, tmp_path: Path) -> None:
    # set_index(["symbol", "session"]).to_excel() merges equal cells of an index: all but the first of them are empty.
    cells = BARS[["symbol", "session", "open", "high", "low", "close", "volume"]].to_numpy().tolist()
    count = len(DAYS)
    merged = [[row[0] if n % count == 0 else "", *row[1:]] for n, row in enumerate(cells)]
    ranges = tuple(f"A{2 + n * count}:A{1 + (n + 1) * count}" for n in range(len(cells) // count))
    book = exports.workbook([["Symbol", "Date", "Open", "High", "Low", "Close", "Volume"], *merged], merged=ranges)
    assert_same(bring(put(tmp_path, "mine.xlsx", book)).bars, BARS)


def test_a_capital_t_is_a_ticker_beside_a_small_t_that_is_a_time(bring: Importer, tmp_path: Path) -> None:
    # The rows of Polygon's grouped day as they come.
    noon = pd.to_datetime(BARS["session"] + " 16:00").dt.tz_localize("America/New_York")
    named = {"T": "symbol", "v": "volume", "o": "open", "c": "close", "h": "high", "l": "low"}
    raw = pd.DataFrame({short: BARS[name] for short, name in named.items()}).assign(
        t=[int(one.timestamp() * 1000) for one in noon]
    )
    assert_same(bring(put(tmp_path / "a", "results.csv", exports.text(raw)), into=tmp_path / "1").bars, BARS)
    # DuckDB takes no such names; pandas' writers do.
    path = tmp_path / "results.parquet"
    with duckdb.connect() as connection:
        connection.register("raw", raw.rename(columns={"T": "X"}))
        connection.execute(f"COPY raw TO '{path}' (COMPRESSION uncompressed)")
    schema = path.read_bytes()
    assert schema.count(b"\x01X") >= 1
    path.write_bytes(schema.replace(b"\x01X", b"\x01T"))
    assert_same(bring(path, into=tmp_path / "2").bars, BARS)


def test_lines_with_commas_may_stand_before_the_table(bring: Importer, tmp_path: Path) -> None:
    text = b"Daily data\nDISCLAIMER: no warranty, of any kind, is given\n\n" + exports.text(ONE)
    assert_same(bring(put(tmp_path, "ALFA.csv", text)).bars, ALFA)
    unknown = exports.text(ONE.set_axis(["Tag", *"RSWXY"], axis=1))
    with pytest.raises(MarketDataError, match=r"says nowhere what its columns are \(it begins with 'Tag,R,S,W,X,Y"):
        bring(put(tmp_path, "BRAV.csv", unknown))


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "ALFA.csv": gzip.compress,
    "ALFA.csv.bz2": bz2.compress,
    "ALFA.csv.xz": lzma.compress,
    "ALFA.xls": bytes,
}


@pytest.mark.parametrize(("name", "pack"), PACKED.items(), ids=PACKED)
def test_a_file_is_what_its_bytes_say(bring: Importer, tmp_path: Path, name: str, pack: Callable[[bytes], bytes]) -> None:
    assert_same(bring(put(tmp_path / "in", name, pack(exports.text(ONE)))).bars, ALFA)


def test_tables_under_a_texts_name_and_texts_under_a_tables(bring: Importer, tmp_path: Path) -> None:
    with duckdb.connect() as connection:
        connection.register("bars", BARS)
        connection.execute(f"COPY (FROM bars) TO '{tmp_path / 'x.csv'}' (FORMAT PARQUET)")
    assert_same(bring(tmp_path / "x.csv").bars, BARS)
    with pytest.raises(MarketDataError, match=r"x\.parquet cannot be read as Parquet"):
        bring(put(tmp_path, "x.parquet", exports.text(BARS)))


def test_a_few_bad_rows_of_a_short_file_cost_themselves(bring: Importer, tmp_path: Path) -> None:
    lines = exports.text(ONE).split(b"\n")
    torn = b"\n".join([*lines[:5], lines[5] + b",7", *lines[6:]])
    done = bring(put(tmp_path, "ALFA.csv", torn.replace(b"\n" + lines[9] + b"\n", b"\n" + DAYS[8].encode() + b",,,,,-\n")))
    assert_same(done.bars, ALFA[~ALFA["session"].isin([DAYS[4], DAYS[8]])])
    assert {row["place"] for row in done.understood["set_aside"]} == {"line 6", "line 9"}


def test_a_quote_that_never_ends_is_refused_with_its_line(bring: Importer, tmp_path: Path) -> None:
    text = exports.text(BARS).replace(f"BRAV,{DAYS[3]}".encode(), f'"BRAV,{DAYS[3]}'.encode())
    with pytest.raises(MarketDataError, match=r"x\.csv: line 75: has a quote that never ends, and what follows is not read"):
        bring(put(tmp_path, "x.csv", text))


def test_files_that_were_put_one_under_the_other_keep_their_headers_to_themselves(bring: Importer, tmp_path: Path) -> None:
    parts = [exports.text(BARS.iloc[first : first + 20]) for first in range(0, len(BARS), 20)]
    done = bring(put(tmp_path, "x.csv", b"".join(parts)))
    assert_same(done.bars, BARS)
    assert done.understood["mapped"] == {}


def test_files_of_other_columns_that_were_put_one_under_the_other_are_refused(bring: Importer, tmp_path: Path) -> None:
    turned = ONE.iloc[40:].rename(columns={"Open": "Close", "Close": "Open"})
    both = exports.text(ONE.iloc[:40]) + exports.text(turned)
    with pytest.raises(MarketDataError, match=r"x\.csv has a header among its rows, with Close where Open is read"):
        bring(put(tmp_path, "x.csv", both))


def test_an_amount_beside_prices_is_money_that_was_traded(bring: Importer, tmp_path: Path) -> None:
    done = bring(put(tmp_path, "ALFA.csv", exports.text(ONE.assign(Amount=ONE["Close"] * ONE["Volume"]))))
    assert_same(done.bars, ALFA)
    assert not (done.folder / "dividends.csv").exists()


def test_a_table_without_a_header_and_with_a_number_too_many_is_refused(bring: Importer, tmp_path: Path) -> None:
    prices = ONE[["Date", "Open", "High", "Low", "Close"]]
    table = prices.assign(adjusted=ONE["Close"] * 0.9, volume=ONE["Volume"])
    with pytest.raises(MarketDataError, match="says nowhere what its columns are"):
        bring(put(tmp_path / "in", "ALFA.csv", exports.text(table, header=False)))
    interest = prices.assign(volume=ONE["Volume"], interest=0)
    assert_same(bring(put(tmp_path / "in", "ALFA.csv", exports.text(interest, header=False))).bars, ALFA)
    counted = prices.assign(volume=ONE["Volume"].astype(float), traded=ONE["Close"] * ONE["Volume"])
    assert_same(bring(put(tmp_path / "in", "ALFA.csv", exports.text(counted, header=False))).bars, ALFA)


def test_files_with_days_and_months_in_another_order_are_said_to_be_several(bring: Importer, tmp_path: Path) -> None:
    for name, order in (("ALFA", "%m/%d/%Y"), ("BRAV", "%d/%m/%Y")):
        written = ONE.assign(Date=pd.to_datetime(ONE["Date"]).dt.strftime(order))
        put(tmp_path / "in", f"{name}.csv", exports.text(written))
    with pytest.raises(MarketDataError, match=r"ALFA\.csv and 1 more file like it: .* has the day first") as refused:
        bring(tmp_path / "in")
    assert "import the files of each kind by themselves" in refused.value.hint


@pytest.mark.parametrize(("unit", "read"), [("USD", True), ("cents", False)])
def test_a_unit_in_the_name_of_a_column_is_no_symbol(bring: Importer, tmp_path: Path, unit: str, read: bool) -> None:
    named = ONE.rename(columns={name: f"{name} ({unit})" for name in ("Open", "High", "Low", "Close")})
    file = put(tmp_path, "ALFA.csv", exports.text(named))
    if read:
        assert_same(bring(file).bars, ALFA)
        return
    with pytest.raises(MarketDataError, match="has no column of open, high, low, close"):
        bring(file)


@pytest.mark.parametrize("names", ["Volume (USD)|Volume", "Volume|Volume [usd]", "Close (USD)|Volume", "Volume (USD)"])
def test_a_column_in_dollars_takes_no_other_s_place(bring: Importer, tmp_path: Path, names: str) -> None:
    more = {name: ONE["Volume"] if name == "Volume" else ONE["Close"] * 1.1 for name in names.split("|")}
    table = pd.DataFrame({"Date": ONE["Date"], **more, **ONE[["Open", "High", "Low", "Close"]]})
    done = bring(put(tmp_path, "ALFA.csv", exports.text(table))).bars
    assert_same(done, ALFA if "Volume" in more else ALFA.assign(volume=0.0))


def test_a_byte_order_mark_in_the_middle_of_joined_files_is_part_of_nothing(bring: Importer, tmp_path: Path) -> None:
    mark = b"\xef\xbb\xbf"
    parts = [mark + exports.text(ONE.iloc[first : first + 20]) for first in range(0, len(ONE), 20)]
    headless = mark + exports.text(ONE.iloc[:5], header=False)
    done = bring(put(tmp_path, "ALFA.csv", b"".join([*parts[1:], headless, exports.text(ONE.iloc[5:20], header=False)])))
    assert_same(done.bars, ALFA)
    assert {row["reason"] for row in done.understood["set_aside"]} <= {"is no row of the table"}


def test_what_cannot_be_seen_is_written_out(bring: Importer, tmp_path: Path) -> None:
    odd = exports.text(ONE).replace(DAYS[5].encode(), "20\u200b20".encode())
    rows = bring(put(tmp_path, "ALFA.csv", odd)).understood["set_aside"]
    assert [row["reason"] for row in rows] == [r"the date 20\u200b20 cannot be read"]


def test_a_file_of_which_nothing_is_left_is_named(bring: Importer, tmp_path: Path) -> None:
    commas = "\n".join(",".join(str(value).replace(".", ",") for value in row) for row in BARS.to_numpy())
    with pytest.raises(MarketDataError, match=r"x\.csv: line 2: 140 of 140 rows cannot be true.*columns"):
        bring(put(tmp_path, "x.csv", "symbol,session,open,high,low,close,volume\n" + commas + "\n"))
    put(tmp_path / "in", "ALFA.csv", exports.text(ONE))
    put(tmp_path / "in", "BRAV.csv", "Date,Open,High,Low,Close,Volume\n")
    put(tmp_path / "in", "CHAR.csv", "")
    left = {Path(one["label"]).name: one["reason"] for one in bring(tmp_path / "in").understood["left_out"]}
    assert left == {"BRAV.csv": "holds no row under its header", "CHAR.csv": "is empty"}


def test_a_column_whose_name_stands_twice_is_refused(bring: Importer, tmp_path: Path) -> None:
    twice = ONE.assign(other=ONE["Close"] * 2).set_axis([*ONE.columns, "close"], axis=1)
    with pytest.raises(MarketDataError, match=r"has 2 columns 'Close' \(close\)"):
        bring(put(tmp_path, "ALFA.csv", exports.text(twice)))


def test_equal_rows_of_one_session_over_and_over_are_parts_of_a_day(bring: Importer, tmp_path: Path) -> None:
    minutes = pd.concat([BARS.assign(session=BARS["session"] + f" 09:{minute}:00") for minute in range(30, 40)])
    with pytest.raises(MarketDataError, match="10 rows a session, up to 10: these are bars of parts of a day"):
        bring(put(tmp_path, "x.csv", exports.text(minutes)))


def test_one_company_spelled_in_many_ways_is_no_part_of_a_day(bring: Importer, tmp_path: Path) -> None:
    spelled = pd.concat([ALFA.assign(symbol=name) for name in ("BRK-B", "BRK.B", "BRK B", "BRK/B", "brk.b")])
    assert_same(bring(put(tmp_path, "x.csv", exports.text(spelled))).bars, ALFA.assign(symbol="BRK.B"))


def test_bars_of_holidays_are_noted_before_a_load_refuses_them(bring: Importer, tmp_path: Path) -> None:
    days = pd.bdate_range("2020-01-02", "2020-07-31").strftime("%Y-%m-%d")
    bars = pd.DataFrame({"Date": days, "Open": 10.0, "High": 11.0, "Low": 9.0, "Close": 10.5, "Volume": range(len(days))})
    (note,) = bring(put(tmp_path, "ALFA.csv", exports.text(bars))).understood["notes"]
    assert note.startswith(
        "5 of 152 bars lie on weekdays that were no session, as that of ALFA on 2020-01-20: a load sets them"
    )


def test_dates_of_one_symbol_off_the_week_are_noted_before_anything_is_written(bring: Importer, tmp_path: Path) -> None:
    many = exports.market(" ".join(f"S{n}" for n in range(12)))
    mine = many["symbol"] == "S7"
    early = (pd.to_datetime(many.loc[mine, "session"]) - pd.Timedelta(days=1)).dt.strftime("%Y-%m-%d")
    many.loc[mine, "session"] = early
    (note,) = bring(put(tmp_path, "x.csv", exports.text(many))).understood["notes"]
    assert "bars of S7 lie on a Saturday or Sunday" in note


def test_actions_that_cannot_be_true_or_are_of_nobody_are_named(bring: Importer, tmp_path: Path) -> None:
    put(tmp_path / "in", "bars.csv", exports.text(BARS.assign(dividend=[-0.5, *[0.0] * 139])))
    put(tmp_path / "in", "splits.csv", f"symbol,execution_date,split_from,split_to\nALFA,{DAYS[0]},0,4\nZULU,{DAYS[0]},1,4\n")
    rows = f"ALFA,{DAYS[3]},1,EUR\nALFA,{DAYS[4]},0.5,USD\nALFA,{DAYS[5]},,USD\n"
    put(tmp_path / "in", "dividends.csv", "symbol,ex_date,amount,currency\n" + rows)
    done = bring(tmp_path / "in")
    reasons = {row["reason"]: row["rows"] for row in done.understood["set_aside"]}
    assert reasons == {"a split of 0.0 to 4.0 is none": 1, "is not in dollars": 1, "dividend is empty": 1}
    assert done.understood["notes"] == [
        "no bars of ZULU: splits and dividends of theirs count for nothing",
        f"1 dividends under zero are left out, as of ALFA on {DAYS[0]}",
    ]
    assert (done.folder / "dividends.csv").read_text().splitlines()[1:] == [f"ALFA,{DAYS[4]},0.5,regular,"]


def test_kobes_own_adjusted_export_is_turned_back_with_its_splits(bring: Importer, tmp_path: Path) -> None:
    raw = BARS.copy()
    factor = pd.Series(1.0, index=raw.index)
    for symbol, day, split in (("ALFA", 30, 0.5), ("BRAV", 50, 10.0)):
        before = (raw["symbol"] == symbol) & (raw["session"] < DAYS[day])
        raw.loc[before, ["open", "high", "low", "close"]] = (raw.loc[before, ["open", "high", "low", "close"]] / split).round(2)
        factor[before] = split
    adjusted = raw.assign(listing=1, volume=raw["volume"] / factor, factor=factor)
    adjusted[["open", "high", "low", "close"]] = raw[["open", "high", "low", "close"]].mul(factor, axis=0)
    path = put(tmp_path / "in", "bars.csv", exports.text(adjusted))
    done = bring(path)
    assert_same(done.bars, raw)
    assert (done.folder / "splits.csv").read_text().splitlines()[1:] == [
        f"ALFA,{DAYS[30]},1.0,2.0",
        f"BRAV,{DAYS[50]},10.0,1.0",
    ]
    # A split that left no trace in the prices as traded is a wrong split, and turns nothing back once more.
    flat = adjusted[adjusted["symbol"] == "BRAV"]
    flat = flat.assign(factor=np.where(flat["session"] < DAYS[20], 0.5, 1.0))
    for wishes in ({}, {"adjusted": True}):
        again = bring(put(tmp_path / "flat", "bars.csv", exports.text(flat)), into=tmp_path / f"flat{len(wishes)}", **wishes)
        by_factor = flat[exports.PRICES].div(flat["factor"], axis=0)
        assert np.allclose(again.bars[exports.PRICES], by_factor)
    with pytest.raises(MarketDataError, match=r"holds adjusted prices, of ALFA .*: `kobe bars import"):
        FilesVendor(DataSettings(vendor="files", files=FilesData(path=path))).read()
