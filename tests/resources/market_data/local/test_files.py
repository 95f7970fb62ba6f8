"""Own files come in exactly, or are refused with file, line and mend before anything is stored."""

from __future__ import annotations

import datetime as dt
import random
from pathlib import Path
from typing import NamedTuple

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kobe_resources.market_data import MarketDataError
from kobe_resources.market_data.local.files import FilesVendor, bars_file
from kobe_resources.market_data.symbols import identity, wrong_symbol
from kobe_resources.settings.models import DataSettings, FilesData
from kobe_resources.warehouse.store import Warehouse
from tests.support.builders import frames

pytestmark = pytest.mark.usefixtures("warehouses_stay_open")

HEADER = "symbol,session,open,high,low,close,volume"
GOOD = "A,2020-01-02,10,11,9,10.5,1000"
NEXT = "A,2020-01-03,10,11,9,10.5,1000"
TABLES = ("daily_bars", "splits", "candidates", "option_evidence", "bar_loads")
DAY1, DAY2 = dt.date(2020, 1, 2), dt.date(2020, 1, 3)


def vendor(path: Path, **span: dt.date) -> FilesVendor:
    return FilesVendor(DataSettings(vendor="files", files=FilesData(path=path), **span))  # type: ignore[arg-type]


def write(folder: Path, *lines: str, name: str = "bars.csv", end: str = "\n", **also: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes((end.join(lines) + end).encode())
    for stem, text in also.items():
        (folder / f"{stem}.csv").write_text(text, encoding="utf-8")
    return folder


def write_parquet(folder: Path, select: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as connection:
        connection.sql(select).write_parquet(str(folder / "bars.parquet"))
    return folder


class Held(NamedTuple):
    """A loaded warehouse, and the version of its content."""

    warehouse: Warehouse
    version: str


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Held:
    """One warehouse for all refusals: none of them may change it."""
    folder = tmp_path_factory.mktemp("held")
    warehouse = Warehouse(folder / "kobe.duckdb")
    vendor(write(folder, HEADER, GOOD)).sync(warehouse)
    return Held(warehouse, warehouse.content_version(*TABLES))


def refusal(path: Path, held: Held) -> str:
    """The one line of the refusal; the store must not have changed."""
    with pytest.raises(MarketDataError) as caught:
        vendor(path).sync(held.warehouse)
    assert held.warehouse.content_version(*TABLES) == held.version
    line = str(caught.value)
    assert "\n" not in line
    assert caught.value.hint
    return line


BAD_BARS = {
    "no column": ([HEADER.replace("close,", ""), "A,2020-01-02,10,11,9,1000"], "line 1: no column close (found: symbol"),
    "empty file": ([], "line 1: the file is empty"),
    "header only": ([HEADER], "holds no bars"),
    "data for a header": ([GOOD, NEXT], "line 1: no column symbol, session"),
    "semicolons": ([HEADER.replace(",", ";"), GOOD.replace(",", ";")], "its cells are separated by semicolons"),
    "yfinance": (
        ["Price,Close,High,Low,Open,Volume", "Ticker,A,A,A,A,A", "Date,,,,,"],
        "three header lines (Price, Ticker, Date)",
    ),
    "blank first line": (["", HEADER, GOOD], "line 1: is blank"),
    "two byte order marks": (["\ufeff\ufeff" + HEADER, GOOD], "(found: \\ufeffsymbol"),
    "column twice": ([HEADER + ",close", GOOD + ",1"], "line 1: column 'close' appears 2 times"),
    "bad date": (
        [HEADER, GOOD, "A,03/01/2020,10,11,9,10,1"],
        "line 3: session is '03/01/2020', which is no date [A]: write it as YYYY",
    ),
    "impossible date": ([HEADER, "A,2020-02-30,10,11,9,10,1"], "line 2: session is 2020-02-30, which is no date"),
    "endless date": ([HEADER, "A,infinity,10,11,9,10,1"], "session is 'infinity', which is no date"),
    "year nought": ([HEADER, "A,0000-01-01,10,11,9,10,1"], "line 2: session is 0000-01-01, before 1900-01-01"),
    "year 9999": (
        [HEADER, GOOD, "A,9999-12-31,10,11,9,10,1"],
        "line 3: session is 9999-12-31, before 1900-01-01",
    ),
    "time of day": ([HEADER, "A,2020-01-02 16:00:00,10,11,9,10,1"], "which is no date"),
    "bad number": ([HEADER, GOOD, "A,2020-01-03,ten,11,9,10,1"], "line 3: open is 'ten', which is no number"),
    "decimal comma": ([HEADER, 'A,2020-01-03,"10,5",11,9,10,1'], "open is '10,5', which is no number"),
    "underscore": ([HEADER, "A,2020-01-03,1_0,11,9,10,1"], "open is '1_0', which is no number"),
    "NaN": ([HEADER, "A,2020-01-03,nan,11,9,10,1"], "open is 'nan', which is not finite"),
    "infinite": ([HEADER, "A,2020-01-03,10,inf,9,10,1"], "high is 'inf', which is not finite"),
    "overflow": ([HEADER, "A,2020-01-03,10,1e999,9,10,1"], "high is 1e999, which is not finite"),
    "zero price": ([HEADER, "A,2020-01-03,10,11,0,10,1"], "low is 0, which is not positive"),
    "negative price": ([HEADER, "A,2020-01-03,-10,11,9,10,1"], "open is -10, which is not positive"),
    "negative volume": ([HEADER, "A,2020-01-03,10,11,9,10,-1"], "volume is -1, which is negative"),
    "empty price": ([HEADER, "A,2020-01-03,10,,9,10,1"], "high is empty"),
    "empty volume": ([HEADER, "A,2020-01-03,10,11,9,10,"], "volume is empty"),
    "empty symbol": ([HEADER, ",2020-01-03,10,11,9,10,1"], "line 2: symbol is empty"),
    "blank symbol": ([HEADER, '" ",2020-01-03,10,11,9,10,1'], "line 2: symbol is empty"),
    "high under low": ([HEADER, "A,2020-01-03,10,8,9,10,1"], "line 2: high 8 is below low 9"),
    "high under close": ([HEADER, "A,2020-01-03,10,11,9,11.01,1"], "high 11 is below open 10 or close 11.01"),
    "low over open": ([HEADER, "A,2020-01-03,8.99,11,9,10,1"], "low 9 is above open 8.99 or close 10"),
    "twice, otherwise": (
        [HEADER, GOOD, NEXT, GOOD.replace("1000", "999")],
        "line 2: 'A 2020-01-02' is given otherwise in line 4 (and 1 more bad rows); line 4: 'A 2020-01-02' was already given",
    ),
    "more shares than there are": ([HEADER, *[GOOD] * 300, "A,2020-01-03,10,11,9,10,1e16"], "line 302: volume is 1e16, more"),
    "made by a spreadsheet": ([HEADER, GOOD, GOOD.replace("A,", "1-Mar,")], "symbol '1-Mar' is what a spreadsheet made"),
    "the close alone adjusted": (
        [HEADER, *[f"A,{day},10,11,9,8,1" for day in frames.days(30)], f"A,{frames.days(31)[30]},10,11,9,10,1"],
        "30 rows the close lies under the low: it looks adjusted",
    ),
    "control character": ([HEADER, GOOD, "A\x07B,2020-01-02,10,11,9,10,1"], "line 3: symbol 'A\\x07B' holds a control"),
    "null character": ([HEADER, "A\x00B,2020-01-02,10,11,9,10,1"], "symbol 'A\\x00B' holds a control"),
    "reversed writing": ([HEADER, "A\u202eB,2020-01-02,10,11,9,10,1"], "holds a control"),
    "spaces around": ([HEADER, GOOD, " A,2020-01-02,10,11,9,10,1"], "line 3: symbol ' A' has spaces around it"),
    "cell too few": ([HEADER, GOOD, "A,2020-01-03,10,11,9,10"], "line 3: has 6 cells where the header has 7"),
    "cell too many": ([HEADER, GOOD, NEXT + ",5"], "line 3: has 8 cells where the header has 7"),
    "open quote": ([HEADER, GOOD, '"A,2020-01-03,10,11,9,10,1'], "line 3: has a quote that never ends"),
    "bad vwap": ([HEADER + ",vwap", GOOD + ",x"], "vwap is 'x', which is no number"),
    "half a trade": ([HEADER + ",trades", GOOD + ",1.5"], "trades is 1.5, which is no whole number"),
    "many": ([HEADER, *["A,2020-01-03,0,11,9,10,1"] * 4], "open is 0, which is not positive (and 3 more bad rows)"),
}


@pytest.mark.parametrize(("lines", "expected"), BAD_BARS.values(), ids=BAD_BARS)
def test_a_bad_csv_is_refused_by_line_and_nothing_is_stored(
    held: Held, tmp_path: Path, lines: list[str], expected: str
) -> None:
    folder = write(tmp_path / "bad", *lines)
    line = refusal(folder, held)
    assert str(folder / "bars.csv") in line
    assert expected in line


def test_the_line_is_the_editors_whatever_the_line_ends_blank_lines_and_quotes(held: Held, tmp_path: Path) -> None:
    bad = "B,2020-01-02,0,11,9,10,1"
    windows = write(tmp_path / "windows", HEADER, GOOD, "", bad, end="\r\n")
    assert "line 4: open is 0" in refusal(windows, held)
    wrapped = write(tmp_path / "wrapped", HEADER + ",note", GOOD + ',"two\nlines"', "", bad + ",x")
    assert "line 5: open is 0" in refusal(wrapped, held)


def test_mixed_line_ends_are_refused_by_name(held: Held, tmp_path: Path) -> None:
    folder = write(tmp_path / "mixed", HEADER, GOOD)
    with (folder / "bars.csv").open("ab") as stream:
        stream.write(f"{NEXT}\r\n".encode())
    assert "bars.csv line 3: mixes line ends: save the file with one kind" in refusal(folder, held)


def test_a_file_in_another_encoding_is_refused_by_line(held: Held, tmp_path: Path) -> None:
    folder = write(tmp_path / "latin", HEADER, GOOD)
    with (folder / "bars.csv").open("ab") as stream:
        stream.write("\xc4,2020-01-02,10,11,9,10,1\n".encode("latin-1"))
    assert "line 3: is no UTF-8 text" in refusal(folder, held)
    (folder / "bars.csv").write_bytes(f"{HEADER}\n{GOOD}\n".encode("utf-16"))
    assert "is no UTF-8 text" in refusal(folder, held)


def parquet_row(**columns: str) -> str:
    """SQL for one sound bar with some columns' SQL replaced."""
    sound = {"symbol": "'A'", "session": "DATE '2020-01-02'", "open": "10", "high": "11.0", "low": "9", "close": "10.5"}
    return "SELECT " + ", ".join(f"{sql} AS {name}" for name, sql in {**sound, "volume": "1000", **columns}.items())


BAD_PARQUET = {
    "price": (
        parquet_row(session="DATE '2020-01-02' + i::INT", low="CASE WHEN i = 4 THEN -1 ELSE 9 END") + " FROM range(9) t(i)",
        "row 5: low is -1, which is not positive",
    ),
    "NaN": (parquet_row(open="'nan'::DOUBLE"), "row 1: open is 'nan', which is not finite"),
    "null": (parquet_row(symbol="NULL::VARCHAR"), "row 1: symbol is empty"),
    "year 2262": (parquet_row(session="DATE '2262-05-01'"), "row 1: session is 2262-05-01, before 1900-01-01"),
    "intraday": (parquet_row(session="TIMESTAMP '2020-01-02 16:00'"), "session is '2020-01-02 16:00:00', which is no date"),
    "zoned": (
        parquet_row(session="TIMESTAMPTZ '2020-01-02 00:00+00'"),
        "has the type TIMESTAMP WITH TIME ZONE: store it as DATE",
    ),
    "type": (parquet_row(symbol="7"), "column 'symbol' has the type INTEGER: store it as VARCHAR"),
    "missing": ("SELECT 'A' AS symbol, 1.0 AS open", "no column session, high, low, close, volume"),
    "twice": (
        parquet_row(volume="i * 10") + " FROM range(2) t(i)",
        "row 1: 'A 2020-01-02' is given otherwise in row 2",
    ),
    "none": (parquet_row() + " LIMIT 0", "holds no bars"),
}


@pytest.mark.parametrize(("select", "expected"), BAD_PARQUET.values(), ids=BAD_PARQUET)
def test_a_bad_parquet_is_refused_by_row_or_column(held: Held, tmp_path: Path, select: str, expected: str) -> None:
    assert expected in refusal(write_parquet(tmp_path / "bad", select), held)


def test_a_damaged_parquet_is_refused(held: Held, tmp_path: Path) -> None:
    (tmp_path / "bars.parquet").write_bytes(b"PAR1 and then nothing of use PAR1")
    assert "cannot be read as Parquet" in refusal(tmp_path, held)


SPLITS_HEADER = "symbol,execution_date,split_from,split_to\n"
BAD_BESIDE = {
    "ratio": ({"splits": SPLITS_HEADER + "A,2020-01-03,0,2\n" * 4}, "splits.csv line 2: split_from is 0"),
    "split date": ({"splits": SPLITS_HEADER + "A,soon,1,2\n" * 4}, "execution_date is 'soon'"),
    "split columns": ({"splits": "symbol,date,ratio\nA,2020-01-03,2\n"}, "no column execution_date, split_from, split_to"),
    "empty splits": ({"splits": ""}, "splits.csv line 1: the file is empty"),
    "flag": ({"candidates": "symbol,has_options\nB,maybe\n"}, "candidates.csv line 2: has_options is 'maybe'"),
    "splits beyond reason": ({"splits": SPLITS_HEADER + "A,2020-01-02,1,2\nA,2020-01-03,1,2e5\n"}, "line 3: split_to is 2e5"),
    "no symbol": ({"candidates": "symbol\n\n\n"}, "candidates.csv line 2: symbol is empty"),
    "dividend columns": ({"dividends": "symbol,date\nA,2020-01-03\n"}, "no column ex_date, amount"),
    "amount": ({"dividends": "symbol,ex_date,amount\n" + "A,2020-01-03,0\n" * 4}, "dividends.csv line 2: amount is 0"),
    "no candidate": ({"candidates": "symbol,has_options\n"}, "candidates.csv names no candidates"),
    "candidate again": ({"candidates": "symbol,has_options\nA,1\nA,0\n"}, "line 2: 'A' is given otherwise in line 3"),
}  # fmt: skip


@pytest.mark.parametrize(("also", "expected"), BAD_BESIDE.values(), ids=BAD_BESIDE)
def test_bad_files_beside_the_bars_are_refused(held: Held, tmp_path: Path, also: dict[str, str], expected: str) -> None:
    assert expected in refusal(write(tmp_path / "bad", HEADER, GOOD, **also), held)


FEW_BESIDE = {
    "no ratio": ("splits", SPLITS_HEADER + "A,2020-01-03,0,2\n", "split_from is 0, which is not positive"),
    "ratio in words": ("splits", SPLITS_HEADER + "A,2020-01-03,4:1,\n", "split_from is '4:1', which is no number"),
    "under zero": ("dividends", "symbol,ex_date,amount\nA,2020-01-03,-1\n", "amount is -1, which is not positive"),
    "euros": ("dividends", "symbol,ex_date,amount,currency\nA,2020-01-03,1,EUR\n", "the amount is in 'EUR', not in dollars"),
    "no fall": (
        "dividends",
        "symbol,ex_date,amount\nA,2020-01-03,5\n",
        "is 48% of the close before",
    ),
}


@pytest.mark.parametrize(("name", "text", "reason"), FEW_BESIDE.values(), ids=FEW_BESIDE)
def test_a_bad_row_beside_the_bars_stops_nobody_and_is_named(
    warehouse: Warehouse, tmp_path: Path, name: str, text: str, reason: str
) -> None:
    assert vendor(write(tmp_path / "few", HEADER, GOOD, NEXT, **{name: text})).sync(warehouse).bars == 2
    ((symbol, session, told),) = warehouse.rows("SELECT symbol, session, reason FROM set_aside")
    assert (symbol, session, reason in told) == ("A", DAY2, True)
    assert warehouse.rows(f"SELECT 1 FROM {name}") == []


def test_candidates_without_bars_are_named_and_spellings_are_those_of_the_bars(warehouse: Warehouse, tmp_path: Path) -> None:
    also = {"candidates": "symbol,has_options\na,1\nZULU,1\n"}
    vendor(write(tmp_path / "c", HEADER, GOOD, NEXT, **also)).sync(warehouse)
    assert warehouse.rows("SELECT symbol FROM candidates ORDER BY symbol") == [("A",), ("ZULU",)]
    assert warehouse.rows("SELECT symbol FROM option_evidence ORDER BY symbol") == [("A",), ("ZULU",)]
    assert warehouse.rows("SELECT reason FROM set_aside ORDER BY reason") == [
        ("candidates.csv: a is read as A, as the bars spell it",),
        ("candidates.csv: no bars of ZULU",),
    ]


def test_tickers_in_small_letters_are_read_in_capitals_everywhere(warehouse: Warehouse, tmp_path: Path) -> None:
    small = [line.replace("A,", "alfa,") for line in (GOOD, NEXT)]
    also = {"candidates": "symbol\nalfa\n", "splits": SPLITS_HEADER + "alfa,2020-01-03,1,2\n"}
    vendor(write(tmp_path / "c", HEADER, *small, NEXT.replace("A,", "BACpL,"), **also)).sync(warehouse)
    assert warehouse.rows("SELECT DISTINCT symbol FROM daily_bars ORDER BY symbol") == [("ALFA",), ("BACpL",)]
    assert warehouse.rows("SELECT symbol FROM candidates") == warehouse.rows("SELECT symbol FROM splits") == [("ALFA",)]
    assert ("alfa is read as ALFA",) in warehouse.rows("SELECT reason FROM set_aside")


def test_the_same_moving_prices_are_one_company_whatever_the_volume(warehouse: Warehouse, tmp_path: Path) -> None:
    rows = [
        f"{name},{day},10,{12 + n},9,{10 + n},{k}" for k, name in enumerate("AB", 5) for n, day in enumerate(frames.days(60))
    ]
    flat = [f"{name},{day},10,11,9,10,{k}" for k, name in enumerate("CD", 5) for day in frames.days(60)]
    vendor(write(tmp_path / "v", HEADER, *rows, *flat)).sync(warehouse)
    assert warehouse.rows("SELECT DISTINCT symbol FROM daily_bars ORDER BY symbol") == [("A",), ("C",), ("D",)]


def test_a_row_of_too_many_or_too_few_cells_costs_itself(warehouse: Warehouse, tmp_path: Path) -> None:
    days = frames.days(300)
    rows = [f"A,{day},10,11,9,10.5,1000" for day in days]
    rows[7], rows[290] = rows[7].removesuffix("1000") + "1,234,567", "A," + str(days[290])
    rows[291] = rows[291].replace(",9,", ",-9,")
    vendor(write(tmp_path / "torn", HEADER, *rows)).sync(warehouse)
    assert warehouse.rows("SELECT count(*) FROM daily_bars") == [(297,)]
    assert warehouse.rows("SELECT line, symbol, session, reason FROM set_aside ORDER BY line") == [
        (9, "A", days[7], "bars.csv: has 9 cells where the header has 7"),
        (292, "A", days[290], "bars.csv: has 2 cells where the header has 7"),
        (293, "A", days[291], "bars.csv: low is -9, which is not positive"),
    ]


def test_a_large_dividend_that_the_price_fell_by_is_paid(warehouse: Warehouse, tmp_path: Path) -> None:
    fallen = "A,2020-01-03,6,6.5,5.5,6,1000"
    also = {"dividends": "symbol,ex_date,amount\nA,2020-01-03,5\n"}
    vendor(write(tmp_path / "d", HEADER, GOOD, fallen, **also)).sync(warehouse)
    assert warehouse.rows("SELECT amount FROM dividends") == [(5.0,)]


def test_a_refusal_names_the_symbol_and_the_day_of_the_row(held: Held, tmp_path: Path) -> None:
    assert "more shares than there are [A 2020-01-03]" in refusal(write(tmp_path / "r", HEADER, GOOD, NEXT + "e20"), held)


def test_a_bad_row_spoils_one_row_and_is_kept_with_its_line_and_reason(warehouse: Warehouse, tmp_path: Path) -> None:
    good = [f"A,{day},10,11,9,10.5,{1000 + n}" for n, day in enumerate(frames.days(300))]
    again, empty = good[50], f"B,{DAY1},,11,9,10,1"
    rough = f"B,{DAY2},10,10.5,9,{10.5 * (1 + 1e-9)!r},1"
    folder = write(tmp_path / "one", HEADER, *good[:100], again, *good[100:], empty, rough)
    report = vendor(folder).sync(warehouse)
    assert (report.bars, report.added) == (301, 301)
    rows = warehouse.rows("SELECT symbol, session, reason, line, row->>'volume' FROM set_aside ORDER BY line")
    day = frames.days(51)[50]
    assert rows == [
        ("A", day, f"bars.csv: 'A {day}' was already given in line 52; counted once", 102, "1050"),
        ("B", DAY1, "bars.csv: open is empty", 303, "1"),
    ]
    assert warehouse.rows("SELECT high = close FROM daily_bars WHERE symbol = 'B'") == [(True,)]


def test_of_two_rows_of_one_session_the_one_without_prices_goes(warehouse: Warehouse, tmp_path: Path) -> None:
    good = [f"A,{day},10,11,9,10.5,{1000 + n}" for n, day in enumerate(frames.days(300))]
    vendor(write(tmp_path / "two", HEADER, *good, f"A,{DAY1},,,,,")).sync(warehouse)
    assert warehouse.rows("SELECT count(*) FROM daily_bars") == [(300,)]
    assert warehouse.rows("SELECT session, line FROM set_aside") == [(DAY1, 302)]


def test_rows_outside_the_span_stop_nothing(warehouse: Warehouse, tmp_path: Path) -> None:
    folder = write(tmp_path / "span", HEADER, "A,2019-12-31,-5,11,9,10,1e99", GOOD)
    assert vendor(folder, start=DAY1).sync(warehouse).bars == 1
    assert warehouse.rows("SELECT count(*) FROM set_aside") == [(0,)]


def test_options_that_cannot_be_read_set_that_candidate_aside(warehouse: Warehouse, tmp_path: Path) -> None:
    vendor(write(tmp_path / "o", HEADER, GOOD, candidates="symbol,has_options\nA,true\nB,maybe\n")).sync(warehouse)
    assert warehouse.rows("SELECT symbol FROM candidates") == [("A",)]
    assert warehouse.rows("SELECT symbol, line FROM set_aside") == [("B", 3)]


def test_days_without_a_session_and_bars_without_volume_are_set_aside(warehouse: Warehouse, tmp_path: Path) -> None:
    rows = [f"A,{day},10,11,9,10.5,{0 if n == 7 else 1000}" for n, day in enumerate(frames.days(300))]
    index = [f"IX,{day},10,11,9,10.5,0" for day in frames.days(300)]
    stray = ["A,2020-01-04,10,11,9,10.5,1", "A,2199-01-02,10,11,9,10,1"]
    vendor(write(tmp_path / "s", HEADER, *rows, *index, *stray)).sync(warehouse)
    assert warehouse.rows("SELECT symbol, count(*) FROM daily_bars GROUP BY ALL ORDER BY ALL") == [("A", 299), ("IX", 300)]
    assert warehouse.rows("SELECT session, reason FROM set_aside ORDER BY ALL") == [
        (dt.date(2020, 1, 4), "no session of the exchange"),
        (frames.days(8)[7], "nobody traded (volume 0)"),
        (dt.date(2199, 1, 2), "the session was not over"),
    ]


def test_a_day_that_half_of_ten_symbols_traded_is_the_calendars_error(warehouse: Warehouse, tmp_path: Path) -> None:
    days = {k: [*frames.days(60), *([dt.date(2020, 1, 4)] if k < 10 else [])] for k in range(20)}
    rows = [f"S{k},{day},10,11,9,10.5,{k + 1}" for k, own in days.items() for day in own]
    vendor(write(tmp_path / "c", HEADER, *rows)).sync(warehouse)
    assert warehouse.rows("SELECT count(*) FROM daily_bars WHERE session = '2020-01-04'") == [(10,)]


def test_dates_a_day_early_are_refused_with_the_reason(warehouse: Warehouse, tmp_path: Path) -> None:
    early = [f"E,{day - dt.timedelta(days=1)},10,11,9,10.5,1" for day in frames.days(300)]
    sound = [f"S{k},{day},10,11,9,10.5,{k + 1}" for k in range(12) for day in frames.days(300)]
    vendor(write(tmp_path / "one", HEADER, *sound, *early)).sync(warehouse)
    assert warehouse.rows("SELECT count(*) FROM daily_bars WHERE symbol = 'E'") == [(0,)]
    assert "dates look a day early" in warehouse.rows("SELECT reason FROM set_aside LIMIT 1")[0][0]
    with pytest.raises(MarketDataError, match=r"were no session, as that of E on .*: see whether the dates are a day early"):
        vendor(write(tmp_path / "all", HEADER, *early)).sync(warehouse)


def test_dates_of_many_symbols_a_day_early_are_no_errors_of_the_calendar(warehouse: Warehouse, tmp_path: Path) -> None:
    days = [day - dt.timedelta(days=1) for day in frames.days(120)]
    early = [f"S{k},{day},10,11,9,10.5,{k + 1}" for k in range(12) for day in days]
    with pytest.raises(MarketDataError, match=r"were no session, as that of S0 on .*: see whether the dates are a day early"):
        vendor(write(tmp_path / "early", HEADER, *early)).sync(warehouse)


def test_weekly_bars_of_saturdays_are_said_to_be_weekly(warehouse: Warehouse, tmp_path: Path) -> None:
    weeks = [dt.date(2019, 1, 5) + dt.timedelta(days=7 * n) for n in range(40)]
    rows = [f"S{k},{day},10,11,9,10.5,{k + 1}" for k in range(3) for day in weeks]
    with pytest.raises(MarketDataError, match="a Saturday, 7 days apart: these are weekly or monthly bars, not daily"):
        vendor(write(tmp_path / "w", HEADER, *rows)).sync(warehouse)


def test_weekly_bars_of_other_days_are_said_to_be_weekly(warehouse: Warehouse, tmp_path: Path) -> None:
    # Mondays, of which holidays are no sessions; and of one symbol beside daily ones, Sundays.
    weeks = [dt.date(2019, 1, 6) + dt.timedelta(days=7 * n) for n in range(100)]
    mondays = [f"S{k},{day + dt.timedelta(days=1)},10,11,9,10.5,{k + 1}" for k in range(3) for day in weeks]
    with pytest.raises(MarketDataError, match="a Monday, 7 days apart: these are weekly or monthly bars, not daily"):
        vendor(write(tmp_path / "w", HEADER, *mondays)).sync(warehouse)
    sound = [f"S{k},{day},10,11,9,10.5,{k + 1}" for k in range(12) for day in frames.days(500)]
    vendor(write(tmp_path / "one", HEADER, *sound, *[f"W,{day},10,11,9,10.5,7" for day in weeks])).sync(warehouse)
    assert "they lie 7 days apart, weekly or monthly bars" in warehouse.rows("SELECT reason FROM set_aside LIMIT 1")[0][0]


def test_a_stock_that_is_a_day_early_in_winter_is_told_so(warehouse: Warehouse, tmp_path: Path) -> None:
    days = frames.days(500)
    moved = [day - dt.timedelta(days=1) if day.month in (11, 12, 1, 2) else day for day in days]
    early = [f"E,{day},10,11,9,10.5,50" for day in dict.fromkeys(moved)]
    sound = [f"S{k},{day},10,11,9,10.5,{k + 1}" for k in range(12) for day in days]
    vendor(write(tmp_path / "one", HEADER, *sound, *early)).sync(warehouse)
    assert warehouse.rows("SELECT count(*) FROM daily_bars WHERE symbol = 'E'")[0][0] > 400
    assert {row[0] for row in warehouse.rows("SELECT reason FROM set_aside")} == {
        "no session of the exchange; E: dates look a day early in part"
    }


def test_a_stock_that_is_a_day_early_at_the_end_is_told_so(warehouse: Warehouse, tmp_path: Path) -> None:
    days = frames.days(300)
    early = [f"E,{day - dt.timedelta(days=day > days[-30])},10,11,9,10.5,50" for day in days[:-30] + days[-29:]]
    sound = [f"S{k},{day},10,11,9,10.5,{k + 1}" for k in range(12) for day in days]
    vendor(write(tmp_path / "one", HEADER, *sound, *early)).sync(warehouse)
    reason = "no session of the exchange; E: dates look a day early in part"
    assert warehouse.rows("SELECT DISTINCT reason FROM set_aside") == [(reason,)]


def test_one_company_under_two_names_is_loaded_once(warehouse: Warehouse, tmp_path: Path) -> None:
    rows = [f"{name},{day},10,11,9,10.5,{n + 1}" for name in ("BRK-B", "BRK.B") for n, day in enumerate(frames.days(60))]
    vendor(write(tmp_path / "b", HEADER, *rows)).sync(warehouse)
    assert warehouse.rows("SELECT DISTINCT symbol FROM daily_bars") == [("BRK-B",)]
    assert warehouse.rows("SELECT symbol FROM set_aside") == [("BRK.B",)]


def test_one_company_of_two_sources_is_loaded_once_where_one_rounds(warehouse: Warehouse, tmp_path: Path) -> None:
    closes = [60.1234 + n * 0.3137 for n in range(120)]
    days = frames.days(120)
    exact = [f"OLD,{day},{c},{c * 1.01},{c * 0.99},{c},{n}" for n, (day, c) in enumerate(zip(days, closes, strict=True), 1)]
    rounded = [
        f"NEW,{day},{c:.2f},{c * 1.01:.2f},{c * 0.99:.2f},{c:.2f},{n}"
        for n, (day, c) in enumerate(zip(days, closes, strict=True), 9)
    ]
    other = [f"X,{day},{c + 1},{c + 2},{c},{c + 1},{n}" for n, (day, c) in enumerate(zip(days, closes, strict=True), 1)]
    vendor(write(tmp_path / "b", HEADER, *exact[:100], *rounded, *other)).sync(warehouse)
    assert warehouse.rows("SELECT DISTINCT symbol FROM daily_bars ORDER BY 1") == [("NEW",), ("X",)]
    assert warehouse.rows("SELECT reason FROM set_aside") == [
        ("the bars of OLD are those of NEW: one company under two names",)
    ]


def test_companions_in_capitals_are_read_and_others_named(warehouse: Warehouse, tmp_path: Path) -> None:
    split = SPLITS_HEADER + "a,2020-01-03,1,2\nZ,2020-01-03,1,2\n"
    vendor(write(tmp_path / "k", HEADER, GOOD, Splits=split, candidate="symbol\nA\n")).sync(warehouse)
    assert warehouse.rows("SELECT symbol FROM splits") == [("A",)]
    reasons = {row[0] for row in warehouse.rows("SELECT reason FROM set_aside")}
    assert {"Splits.csv: a is read as A, as the bars spell it", "Splits.csv: no bars of Z"} <= reasons
    assert any("candidate.csv is not read" in reason for reason in reasons)


@pytest.mark.parametrize(
    ("name", "named"),
    [
        *(("stock_splits", True), ("splits_new", True), ("dividends - Copy", True), ("bars (1)", True), ("my bars", True)),
        *(("actions", True), ("spin-offs", True)),
        *(("notes", False), ("sidebars", False), ("splitting", False)),
    ],
)
def test_a_file_that_looks_like_a_companion_is_named(warehouse: Warehouse, tmp_path: Path, name: str, named: bool) -> None:
    vendor(write(tmp_path / "k", HEADER, GOOD, **{name: "x\n"})).sync(warehouse)
    assert [f"{name}.csv is not read" in row[0] for row in warehouse.rows("SELECT reason FROM set_aside")] == [True] * named


def test_taking_back_a_tenth_of_the_store_is_asked_for(warehouse: Warehouse, tmp_path: Path) -> None:
    rows = [f"A,{day},10,11,9,10.5,1000" for day in frames.days(300)]
    vendor(write(tmp_path / "t", HEADER, *rows)).sync(warehouse)
    with pytest.raises(MarketDataError, match=r"has 5 bars, the store 300: 295 of them would be taken back: `kobe bars "):
        vendor(write(tmp_path / "t", HEADER, *rows[-5:])).sync(warehouse)
    assert vendor(tmp_path / "t").sync(warehouse, force=True).bars == 5


def test_a_path_that_names_no_bars_is_refused_with_what_is_wanted(held: Held, tmp_path: Path) -> None:
    assert "does not exist: set data.files.path" in refusal(tmp_path / "nowhere", held)
    (tmp_path / "empty").mkdir()
    assert "holds neither bars.csv nor bars.parquet" in refusal(tmp_path / "empty", held)
    (tmp_path / "bars.txt").write_text("x")
    assert "neither .csv nor .parquet" in refusal(tmp_path / "bars.txt", held)
    both = write(tmp_path / "both", HEADER, GOOD)
    write_parquet(both, "SELECT 1 AS symbol")
    assert "holds both" in refusal(both, held)
    assert bars_file(both / "bars.csv") == both / "bars.csv"


def test_whatever_else_is_in_a_symbol_is_data(warehouse: Warehouse, tmp_path: Path) -> None:
    names = [
        "'; DROP TABLE daily_bars; --",
        'say "hi"',
        "<script>alert(1)</script>",
        "../../etc",
        "Ünï",
        "NULL",
        "nan",
        "BRK B",
        "日経",
        "a,b",
    ]
    quoted = ['"' + name.replace('"', '""') + '",2020-01-02,10,11,9,10.5,1000' for name in names]
    vendor(write(tmp_path / "odd", HEADER, *quoted)).sync(warehouse)
    assert {row[0] for row in warehouse.rows("SELECT symbol FROM daily_bars")} == set(names)


@pytest.mark.parametrize("folder", ["plain", "year=2020", "a[1]*?", "with space"])
def test_the_folders_name_is_only_a_name(warehouse: Warehouse, tmp_path: Path, folder: str) -> None:
    report = vendor(write(tmp_path / folder, HEADER, GOOD)).sync(warehouse)
    assert report.bars == 1
    parquet = write_parquet(tmp_path / "p" / folder, parquet_row())
    assert vendor(parquet).sync(warehouse).unchanged == 1


def test_header_case_byte_order_mark_extra_columns_and_midnight_do_not_matter(warehouse: Warehouse, tmp_path: Path) -> None:
    lines = [
        "\ufeffSYMBOL, Session ,open,HIGH,low,close,volume,Exchange,vwap,trades",
        "A,2020-01-02 00:00:00,10,11,9,10.5,1e3,XNYS,10.2,7",
    ]
    vendor(write(tmp_path / "loose", *lines)).sync(warehouse)
    rows = warehouse.rows("SELECT symbol, session, open, volume, vwap, trades FROM daily_bars")
    assert rows == [("A", DAY1, 10.0, 1000.0, 10.2, 7)]


def test_splits_and_candidates_beside_the_bars_are_stored(warehouse: Warehouse, tmp_path: Path) -> None:
    splits = "split_to,symbol,execution_date,split_from\n3,A,2020-01-03,2\n3,A,2020-01-03,2\n"
    candidates = "symbol,has_options,name\nA,true,Alpha\nB,No,\nC,,<b>\n"
    vendor(write(tmp_path / "all", HEADER, GOOD, splits=splits, candidates=candidates)).sync(warehouse)
    assert warehouse.rows("SELECT symbol, execution_date, split_from, split_to FROM splits") == [("A", DAY2, 2.0, 3.0)]
    assert warehouse.rows("SELECT symbol, name FROM candidates ORDER BY ALL") == [("A", "Alpha"), ("B", None), ("C", "<b>")]
    assert warehouse.rows("SELECT symbol, has_options FROM option_evidence ORDER BY ALL") == [("A", True), ("B", False)]


def test_row_order_and_file_format_change_nothing(warehouse: Warehouse, tmp_path: Path) -> None:
    rows = [f"{symbol},{day},{10 + n / 7},{12 + n / 7},{9 + n / 7},{10.1 + n / 7},{1000 + n}"
            for symbol in ("B", "A", "C") for n, day in enumerate(frames.days(40))]  # fmt: skip
    splits = ["A,2020-01-10,1,2", "B,2020-01-10,1,3"]
    tables = ("daily_bars", "splits", "candidates")

    def version(folder: Path) -> str:
        there = Warehouse(folder / "kobe.duckdb")
        vendor(folder).sync(there)
        return there.content_version(*tables)

    head = "symbol,execution_date,split_from,split_to\n"
    first = version(write(tmp_path / "one", HEADER, *rows, splits=head + "\n".join(splits)))
    random.Random(3).shuffle(rows)
    shuffled = write(tmp_path / "two", HEADER, *rows, splits=head + "\n".join(splits[::-1]))
    assert version(shuffled) == first
    typed = f"SELECT * REPLACE (session::DATE AS session) FROM read_csv('{shuffled}/bars.csv')"
    parquet = write_parquet(tmp_path / "three", typed)
    (parquet / "splits.csv").write_text((shuffled / "splits.csv").read_text())
    assert version(parquet) == first
    rows[0] = rows[0].replace(",10", ",9.9", 1) if ",10" in rows[0] else rows[0] + "1"
    assert version(write(tmp_path / "four", HEADER, *rows)) != first


def test_a_changed_file_replaces_and_an_unchanged_one_is_not_read_again(warehouse: Warehouse, tmp_path: Path) -> None:
    folder = write(tmp_path / "bars", HEADER, GOOD)
    vendor(folder).sync(warehouse)
    moved = tmp_path / "moved"
    folder.rename(moved)
    assert vendor(moved).sync(warehouse).skipped
    write(moved, HEADER, GOOD.replace("10.5", "10.6"), NEXT)
    report = vendor(moved).sync(warehouse)
    assert (report.skipped, report.changed, report.added, report.revisions) == (False, 1, 1, 1)
    write(
        moved,
        HEADER,
        GOOD.replace("10.5", "10.6"),
        NEXT,
        splits="symbol,execution_date,split_from,split_to\nA,2020-01-03,1,2\n",
    )
    assert not vendor(moved).sync(warehouse).skipped
    narrowed = vendor(moved, end=DAY1).sync(warehouse)
    assert (narrowed.removed, narrowed.bars) == (1, 1)


names = st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"]), min_size=1, max_size=6).filter(
    lambda s: identity(s) == s and wrong_symbol(s) is None
)
prices = st.floats(0.0001, 1e7)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.tuples(names, st.dates(dt.date(1990, 1, 1), dt.date(2030, 1, 1))),
        st.tuples(prices, prices, prices),
        min_size=1,
        max_size=8,
    )
)
def test_any_sound_bars_come_back_bit_for_bit(tmp_path: Path, content: dict) -> None:
    lines, expected = [HEADER], []
    for (symbol, day), (one, two, volume) in content.items():
        low, high = min(one, two), max(one, two)
        lines.append('"' + symbol.replace('"', '""') + f'",{day},{low!r},{high!r},{low!r},{high!r},{volume!r}')
        expected.append((symbol, day, low, high, low, high, volume))
    folder = write(tmp_path / "any", *lines)
    read = vendor(folder).read().bars
    got = [(row.symbol, row.session.date(), row.open, row.high, row.low, row.close, row.volume) for row in read.itertuples()]
    assert sorted(got) == sorted(expected)


def test_dividends_beside_the_bars_are_stored_and_a_changed_file_is_read_again(warehouse: Warehouse, tmp_path: Path) -> None:
    folder = write(tmp_path / "own", HEADER, GOOD, dividends="Symbol,ex_date,amount\nA,2020-01-03,0.25\nA,2020-01-03,0.25\n")
    vendor = FilesVendor(DataSettings(vendor="files", files=FilesData(path=folder)))
    vendor.sync(warehouse)
    stored = "SELECT symbol, ex_date::VARCHAR, amount, kind, pay_date, source FROM dividends"
    assert warehouse.rows(stored) == [("A", "2020-01-03", 0.25, "regular", None, "files")]
    (folder / "dividends.csv").write_text("symbol,ex_date,amount\nA,2020-01-03,0.26\n", encoding="utf-8")
    assert not vendor.sync(warehouse).skipped
    assert warehouse.rows(stored)[0][2] == 0.26


def test_an_amount_that_rounds_another_one_of_its_kind_and_day_is_that_one(warehouse: Warehouse, tmp_path: Path) -> None:
    rows = "A,{0},0.47\nA,{0},0.4712\nA,{1},0.82000001\nA,{1},0.82\nA,{2},0.5\nA,{2},0.6\nA,{2},0.5\n".format(
        *frames.days(4)[1:]
    )
    bars = [f"A,{day},10,11,9,10.5,{n + 1}" for n, day in enumerate(frames.days(30))]
    vendor(write(tmp_path, HEADER, *bars, dividends="symbol,ex_date,amount\n" + rows)).sync(warehouse)
    assert warehouse.rows("SELECT amount FROM dividends ORDER BY ex_date, amount") == [(0.4712,), (0.82000001,), (0.5,), (0.6,)]
    assert "dividends.csv: a dividend of 0.47 rounds that of 0.4712 of the same day; counted once" in {
        row[0] for row in warehouse.rows("SELECT reason FROM set_aside")
    }


def test_a_regular_dividend_stays_beside_a_special_one_that_was_never_paid(warehouse: Warehouse, tmp_path: Path) -> None:
    bars = [
        f"{name},{day},10,{high},9,10.5,{n + 1}"
        for n, day in enumerate(frames.days(30))
        for name, high in (("A", 11), ("B", 12))
    ]
    day = frames.days(20)[-1]
    rows = f"A,{day},4,special\nA,{day},0.1,regular\nB,{day},1.5,special\nB,{day},1.2,regular\n"
    vendor(write(tmp_path, HEADER, *bars, dividends="symbol,ex_date,amount,kind\n" + rows)).sync(warehouse)
    assert warehouse.rows("SELECT symbol, amount FROM dividends") == [("A", 0.1)]
    assert {(row[0], row[1][:36]) for row in warehouse.rows("SELECT symbol, reason FROM set_aside")} == {
        ("A", "dividends.csv: a dividend of 4 is 38"),
        ("B", "dividends.csv: a dividend of 2.7 is "),
    }


@pytest.mark.parametrize(
    ("stem", "text"),
    [
        ("dividends", "ticker,date,dividend\nA,2020-01-03,0.2\n"),
        ("splits", "symbol;execution_date;split_from;split_to\nA;2020-01-03;1;2\n"),
    ],
)
def test_a_companion_in_another_shape_names_the_import(held: Held, tmp_path: Path, stem: str, text: str) -> None:
    told = refusal(write(tmp_path / "c", HEADER, GOOD, **{stem: text}), held)
    assert "this looks like a table of splits or dividends" in told
    assert f"`kobe bars import {tmp_path / 'c' / stem}.csv` reads it" in told


def test_other_columns_are_not_read_whatever_they_hold(warehouse: Warehouse, tmp_path: Path) -> None:
    vendor(write(tmp_path, f"{HEADER},factor,listing", f"{GOOD},much,2020-01-02", f"{NEXT},,")).sync(warehouse)
    assert warehouse.rows("SELECT count(*) FROM daily_bars") == [(2,)]


def test_spellings_of_one_symbol_are_joined_with_a_line(warehouse: Warehouse, tmp_path: Path) -> None:
    spelled = ["alfa" if n < 30 else "ALFA" for n in range(60)]
    rows = [f"{name},{day},10,11,9,10.5,{n + 1}" for n, (name, day) in enumerate(zip(spelled, frames.days(60), strict=True))]
    vendor(write(tmp_path / "s", HEADER, *rows)).sync(warehouse)
    assert warehouse.rows("SELECT symbol, count(*) FROM daily_bars GROUP BY ALL") == [("ALFA", 60)]
    assert warehouse.rows("SELECT symbol, reason FROM set_aside") == [
        ("alfa", "ALFA, alfa are one symbol spelled otherwise: read as ALFA")
    ]


def test_spellings_that_contradict_each_other_keep_one(warehouse: Warehouse, tmp_path: Path) -> None:
    days = frames.days(60)
    rows = [f"BRK.B,{day},10,11,9,10.5,{n + 1}" for n, day in enumerate(days)]
    rows += [f"BRK-B,{day},20,21,19,20.5,{n + 1}" for n, day in enumerate(days[:50])]
    vendor(write(tmp_path / "s", HEADER, *rows)).sync(warehouse)
    assert warehouse.rows("SELECT symbol, count(*) FROM daily_bars GROUP BY ALL") == [("BRK.B", 60)]
    assert "with different bars: only BRK.B is kept" in warehouse.rows("SELECT reason FROM set_aside")[0][0]


def test_a_new_name_that_repeats_the_old_ones_history_is_one_company(warehouse: Warehouse, tmp_path: Path) -> None:
    rows = [f"META,{day},10,11,9,10.5,{n + 1}" for n, day in enumerate(frames.days(60))]
    rows += [f"FB,{day},10,11,9,10.5,{n + 1}" for n, day in enumerate(frames.days(40))]
    vendor(write(tmp_path / "s", HEADER, *rows)).sync(warehouse)
    assert warehouse.rows("SELECT DISTINCT symbol FROM daily_bars") == [("META",)]
    assert warehouse.rows("SELECT symbol FROM set_aside") == [("FB",)]


@pytest.mark.parametrize(
    ("row", "splits"),
    [
        ("A,2020-01-03,10,1e10,9,10,1", ""),
        (NEXT, "symbol,execution_date,split_from,split_to\nA,2020-01-02,1,2\nA,2020-01-03,0.001,99999\n"),
    ],
)
def test_prices_and_splits_beyond_reason_are_refused(held: Held, tmp_path: Path, row: str, splits: str) -> None:
    also = {"splits": splits} if splits else {}
    assert "more than any" in refusal(write(tmp_path / "b", HEADER, GOOD, row, **also), held)
