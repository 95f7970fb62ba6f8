"""Own files that are bad are refused with file, line and mend before anything is stored."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from kobe_resources.market_data import MarketDataError
from kobe_resources.market_data.local.files import bars_file
from kobe_resources.warehouse.store import Warehouse
from tests.support.builders import frames
from tests.support.builders.bar_files import GOOD, HEADER, NEXT, SPLITS_HEADER, parquet_row, vendor, write, write_parquet

pytestmark = pytest.mark.usefixtures("warehouses_stay_open")


TABLES = ("daily_bars", "splits", "candidates", "option_evidence", "bar_loads")


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
    "all but the close adjusted": (
        [HEADER, *[f"A,{day},10,11,9,12,1" for day in frames.days(30)], f"A,{frames.days(31)[30]},10,11,9,10,1"],
        "30 rows the close lies over the high: open, high and low look adjusted",
    ),
    "high and low exchanged": (
        [HEADER, *[f"A,{day},10,9,11,9.5,1" for day in frames.days(30)]],
        "in 30 rows the close lies between a low and a high that are exchanged",
    ),
    "pence": ([HEADER + ",currency", GOOD + ",GBX"], "line 2: the prices are in 'GBX', not in dollars"),
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


def test_a_refusal_names_the_symbol_and_the_day_of_the_row(held: Held, tmp_path: Path) -> None:
    assert "more shares than there are [A 2020-01-03]" in refusal(write(tmp_path / "r", HEADER, GOOD, NEXT + "e20"), held)


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


@pytest.mark.parametrize(
    ("stem", "text"),
    [
        ("dividends", "ticker,date,dividend\nA,2020-01-03,0.2\n"),
        ("splits", "symbol;execution_date;split_from;split_to\nA;2020-01-03;1;2\n"),
    ],
)
def test_a_companion_in_another_shape_names_the_import(held: Held, tmp_path: Path, stem: str, text: str) -> None:
    message = refusal(write(tmp_path / "c", HEADER, GOOD, **{stem: text}), held)
    assert "this looks like a table of splits or dividends" in message
    assert f"`kobe bars import {tmp_path / 'c' / stem}.csv` reads it" in message


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
