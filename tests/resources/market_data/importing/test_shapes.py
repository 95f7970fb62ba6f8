"""Every exporter's file gives back the bars that it was made of; what cannot be known is refused."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from kobe_resources.market_data.importing.dates import read_dates
from kobe_resources.market_data.importing.splits import read_splits
from kobe_resources.market_data.importing.tickers import symbol_in_name
from kobe_resources.market_data.protocol import MarketDataError
from kobe_resources.market_data.symbols import identity
from tests.resources.market_data.importing.conftest import Importer, assert_same, put
from tests.support.builders import exports

BARS = exports.market()
ALFA = BARS[BARS["symbol"] == "ALFA"]


@pytest.mark.parametrize("export", exports.MANY.values(), ids=exports.MANY)
def test_a_file_of_many_symbols_gives_back_its_bars(bring: Importer, tmp_path: Path, export: exports.Export) -> None:
    assert_same(bring(put(tmp_path / "in", "export.csv", export(BARS))).bars, BARS)


@pytest.mark.parametrize(("name", "export"), exports.ALONE.values(), ids=exports.ALONE)
def test_a_file_of_one_symbol_gives_back_its_bars(bring: Importer, tmp_path: Path, name: str, export: exports.Export) -> None:
    assert_same(bring(put(tmp_path / "in", name, export(BARS))).bars, ALFA)


def test_the_exporter_and_each_column_are_shown_with_a_row_as_read(bring: Importer, tmp_path: Path) -> None:
    shape = bring(put(tmp_path, "nasdaq_ALFA.csv", exports.nasdaq(BARS))).understood["shapes"][0]
    assert (shape["shape"], shape["dates"]) == ("Nasdaq", "month/day/year")
    newest = ALFA.iloc[-1]
    rows = {row["column"]: (row["meaning"], row["read"]) for row in shape["columns"]}
    assert rows["Close/Last"] == ("close", newest["close"])
    assert rows["Date"] == ("session", newest["session"])
    assert rows["(the file's name)"] == ("symbol", "ALFA")


def test_folders_zip_gz_and_parquet_are_read_together(bring: Importer, tmp_path: Path) -> None:
    bars = exports.market("ALFA BRAV CHAR DELT")
    parts = {symbol: own.drop(columns="symbol") for symbol, own in bars.groupby("symbol")}
    put(tmp_path / "in" / "deep", "ALFA.csv", exports.text(parts["ALFA"]))
    put(tmp_path / "in", "BRAV.csv.gz", gzip.compress(exports.text(parts["BRAV"])))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("../../data/CHAR.csv", exports.text(parts["CHAR"]))
        archive.writestr("readme.md", "words")
    put(tmp_path / "in", "more.zip", stream.getvalue())
    with duckdb.connect() as connection:
        connection.register("delt", parts["DELT"].rename(columns={"session": "Date"}))
        connection.execute(f"COPY (SELECT * REPLACE (Date::DATE AS Date) FROM delt) TO '{tmp_path / 'in' / 'DELT.parquet'}'")
    put(tmp_path / "in", "notes.txt", "nothing of use\n")
    done = bring(tmp_path / "in")
    assert_same(done.bars, bars)
    assert {Path(one["label"]).name for one in done.understood["left_out"]} == {"notes.txt", ["more.zip!readme.md"][-1]}


def test_an_archive_of_one_member_without_an_ending_is_read(bring: Importer, tmp_path: Path) -> None:
    # DataFrame.to_csv("bars.zip") calls the member `bars`.
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("bars", exports.text(exports.market("ALFA BRAV")))
    assert_same(bring(put(tmp_path, "bars.zip", stream.getvalue())).bars, exports.market("ALFA BRAV"))


def test_folders_of_a_data_set_in_parts_name_their_symbols(bring: Importer, tmp_path: Path) -> None:
    bars = exports.market("ALFA BRAV")
    with duckdb.connect() as connection:
        connection.register("bars", bars.assign(year=bars["session"].str[:4], symbol=bars["symbol"].replace("BRAV", "BRK/B")))
        connection.execute(f"COPY bars TO '{tmp_path / 'in'}' (FORMAT parquet, PARTITION_BY (symbol, year))")
    assert (tmp_path / "in" / "symbol=BRK%2FB").is_dir()
    done = bring(tmp_path / "in").bars
    assert_same(done.assign(symbol=done["symbol"].replace("BRK.B", "BRAV")), bars)


def test_a_workbook_is_read_with_its_dates_and_true_as_a_ticker(bring: Importer, tmp_path: Path) -> None:
    serial = (pd.to_datetime(ALFA["session"]) - pd.Timestamp("1899-12-30")).dt.days
    rows = [
        [True, day, *row] for day, row in zip(serial, ALFA[["open", "high", "low", "close", "volume"]].to_numpy(), strict=True)
    ]
    book = exports.workbook([["Symbol", "Date", "Open", "High", "Low", "Close", "Volume"], *rows], date_columns=(1,))
    assert_same(bring(put(tmp_path, "mine.xlsx", book)).bars, ALFA.assign(symbol="TRUE"))


def test_parquet_with_moments_counts_by_the_exchanges_date(bring: Importer, tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    with duckdb.connect() as connection:
        connection.register("bars", BARS)
        connection.execute("SET TimeZone = 'America/New_York'")
        connection.execute(f"COPY (SELECT * REPLACE (session::TIMESTAMPTZ AS session) FROM bars) TO '{path}'")
    assert_same(bring(path).bars, BARS)


def test_words_that_programs_take_for_nothing_stay_tickers(bring: Importer, tmp_path: Path) -> None:
    names = ["NA", "NAN", "TRUE", "NULL", "CON"]
    bars = pd.concat([ALFA.assign(symbol=name, volume=ALFA["volume"] + n) for n, name in enumerate(names)])
    assert_same(bring(put(tmp_path, "x.csv", exports.text(bars))).bars, bars)
    for name in names:
        put(tmp_path / "each", f"{name}.csv", exports.text(bars[bars["symbol"] == name].drop(columns="symbol")))
    assert_same(bring(tmp_path / "each", into=tmp_path / "other").bars, bars)


def test_a_column_can_be_overruled(bring: Importer, tmp_path: Path) -> None:
    odd = exports.one(BARS).rename(columns={"Close": "Adj", "Volume": "Pieces"})
    path = put(tmp_path, "ALFA.csv", exports.text(odd))
    with pytest.raises(MarketDataError, match="no column of close"):
        bring(path)
    assert_same(bring(path, columns={"close": "Adj", "volume": "pie"}).bars, ALFA)
    with pytest.raises(MarketDataError, match="has no column 'Last' for close"):
        bring(path, columns={"close": "Last"})


def test_dividends_and_splits_in_columns_become_files(bring: Importer, tmp_path: Path) -> None:
    bar = exports.one(BARS).assign(dividend=0.0, split=1.0)
    bar.loc[bar.index[30], "dividend"] = 0.25
    before = bar.index < bar.index[40]
    bar.loc[before, ["Open", "High", "Low", "Close"]] *= 4
    bar.loc[bar.index[40], "split"] = 4.0
    done = bring(put(tmp_path, "ALFA.csv", exports.text(bar)))
    days = ALFA["session"].to_list()
    assert (done.folder / "splits.csv").read_text() == (f"symbol,execution_date,split_from,split_to\nALFA,{days[40]},1.0,4.0\n")
    assert (done.folder / "dividends.csv").read_text() == (
        f"symbol,ex_date,amount,kind,pay_date\nALFA,{days[30]},0.25,regular,\n"
    )


def test_actions_alone_are_read_beside_the_bars(bring: Importer, tmp_path: Path) -> None:
    put(tmp_path / "in", "ALFA.csv", exports.text(exports.one(BARS)))
    put(tmp_path / "in", "ALFA_dividends.csv", f"Date,Dividends\n{ALFA['session'].iloc[5]} 00:00:00-05:00,0.5\n")
    done = bring(tmp_path / "in")
    assert done.written.dividends.added == 1
    assert_same(done.bars, ALFA)


def test_splits_by_their_terms_are_read(bring: Importer, tmp_path: Path) -> None:
    put(tmp_path / "in", "ALFA.csv", exports.text(exports.one(BARS)))
    day = ALFA["session"].iloc[5]
    put(tmp_path / "in", "splits.csv", f"Symbol,Date,Numerator,Denominator\nALFA,{day},101,100\n")
    put(tmp_path / "in", "more.csv", f"symbol,ex_date,old_rate,new_rate\nALFA,{ALFA['session'].iloc[9]},100,99\n")
    done = bring(tmp_path / "in")
    rows = (done.folder / "splits.csv").read_text().splitlines()[1:]
    assert rows == [f"ALFA,{day},100.0,101.0", f"ALFA,{ALFA['session'].iloc[9]},100.0,99.0"]


def test_the_order_of_days_and_months_is_known_or_refused() -> None:
    assert read_dates(["03/04/2020", "13/04/2020"], None).how == "day/month/year"
    assert read_dates(["03/04/2020", "04/13/2020"], None).how == "month/day/year"
    with pytest.raises(MarketDataError, match="--dates mdy or --dates dmy"):
        read_dates(["03/04/2020", "05/04/2020"], None)
    assert str(read_dates(["03/04/2020"], "dmy").days["03/04/2020"]) == "2020-04-03"
    assert str(read_dates(["03/04/2020"], None, "mdy").days["03/04/2020"]) == "2020-03-04"
    with pytest.raises(MarketDataError, match="has the day first"):
        read_dates(["13/04/2020", "04/14/2020"], None)
    with pytest.raises(MarketDataError, match="dates of two kinds"):
        read_dates(["2020-03-04", "13/04/2020"], None)


MOMENTS = {
    "2020-01-02T05:00:00Z": "2020-01-02",
    "2020-07-02 04:00:00+00:00": "2020-07-02",
    "2020-01-03 02:00:00+00:00": "2020-01-02",
    "2020-01-02T00:00:00.000Z": "2020-01-02",
    "2020-01-02 00:00:00-05:00": "2020-01-02",
    "2020-01-02 22:00:00+0100": "2020-01-02",
    "2020-01-02 16:00:00": "2020-01-02",
    "1577941200": "2020-01-02",
    "1577941200000": "2020-01-02",
    "1577923200": "2020-01-02",
    "43832": "2020-01-02",
    "43832.0": "2020-01-02",
    "20200102": "2020-01-02",
    "20200102 16:00:00 US/Eastern": "2020-01-02",
    "2020-01-02 19:00:00 America/New_York": "2020-01-02",
    "Thu, Jan 2, 2020": "2020-01-02",
    "2-Jan-20": "2020-01-02",
    "2. März 2020": "2020-03-02",
    "02.01.2020": "2020-01-02",
    "1/2/2020 4:00:00 PM": "2020-01-02",
}


@pytest.mark.parametrize(("text", "day"), MOMENTS.items())
def test_a_moment_is_a_session_of_the_exchange(text: str, day: str) -> None:
    assert str(read_dates([text], None, "mdy").days[text]) == day


def test_a_split_is_read_however_it_is_written() -> None:
    written = ["0", "1.0", "", "2.0", "0.1", "1.5", "4:1", "1/10", "4.000000/1.000000", "3-for-2", "0.333333", "x", "-2"]
    pairs = {text: row for text, *row in read_splits(written)}
    assert [pairs[text][:2] for text in ("0", "1.0", "")] == [[None, None]] * 3
    assert pairs["2.0"] == [1, 2, False]
    assert pairs["0.1"] == [10, 1, False]
    assert pairs["1.5"] == pairs["3-for-2"] == [2, 3, False]
    assert pairs["4:1"] == pairs["4.000000/1.000000"] == [1, 4, False]
    assert pairs["1/10"] == [10, 1, False]
    assert pairs["0.333333"] == [3, 1, False]
    assert pairs["x"][2]
    assert pairs["-2"][2]


def test_a_reverse_split_in_words_and_a_term_of_a_thousand_are_read_or_refused() -> None:
    pairs = {
        "10:1 reverse": [10, 1], "10-for-1 reverse split": [10, 1], "reverse 10-for-1": [10, 1], "1:10 (reverse)": [10, 1],
        "Reverse Split 1-for-10": [10, 1], "1:4 forward": [1, 4], "1-for-1,000": [1000, 1], "1:1,000": [1000, 1],
        "1,000:1": [1, 1000], "1-for-2,500": [2500, 1], "1,5:1": [2, 3], "4,000:1,000": [1, 4],
    }  # fmt: skip
    assert {text: row[:2] for text, *row in read_splits(pairs)} == pairs
    assert [row[3] for row in read_splits(["1:1,500", "4,000:1", "forward 1:4 reverse", "1.000.000:1"])] == [True] * 4


def test_a_files_name_holds_a_symbol_or_none() -> None:
    named = {
        "AAPL": "AAPL", "aapl.us": "aapl", "brk-b.us": "brk-b", "daily_IBM": "IBM", "daily_adjusted_IBM": "IBM",
        "AAPL Historical Data": "AAPL", "AAPL Historical Data (2)": "AAPL", "aapl_us_d": "aapl", "NULL": "NULL",
        "BRK.B": "BRK.B", "^GSPC": "^GSPC", "CON": "CON", "AAPL_2010-2020": "AAPL",
        "aapl_daily_historical-data-01-02-2024": "aapl", "Download Data - STOCK_US_XNAS_AAPL": "AAPL",
        "MacroTrends_Data_Download_AAPL": "AAPL", "NASDAQ_AAPL, 1D": "AAPL", "NASDAQ_DLY_AAPL, 1D": "AAPL",
        "BATS_BRK.B, 1D_c3ab1": "BRK.B",
        "HistoricalData_1700000000000": None,
        "Apple Stock Price History": None, "prices": None, "my best stocks of all": None, "data": None,
    }  # fmt: skip
    assert {stem: symbol_in_name(stem) for stem in named} == named


def test_spellings_of_one_company_have_one_identity() -> None:
    for spelled in ("BRK-B", "BRK/B", "BRK B", "BRK.B", "brk-b", " brk.b ", "BRK-B.US", "BRK_B"):
        assert identity(spelled) == "BRK.B"
    for kept in ("NULL", "^GSPC", "BTC-USD", "BACpL", "../../etc"):
        assert identity(kept) == kept
    assert identity("AAPL.US") == identity("aapl") == "AAPL"


@pytest.mark.parametrize("form", ["gz", "zip"])
def test_a_damaged_archive_is_one_line(bring: Importer, tmp_path: Path, form: str) -> None:
    content = exports.text(exports.market("ALFA BRAV"))
    if form == "zip":
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("bars.csv", content)
        packed = bytearray(stream.getvalue())
    else:
        packed = bytearray(gzip.compress(content))
    middle = len(packed) // 2
    for place in range(middle, middle + 40):
        packed[place] ^= 0xFF
    with pytest.raises(MarketDataError, match=r"bars.*cannot be read"):
        bring(put(tmp_path, f"bars.csv.{form}", bytes(packed)))
