"""Where a text's table begins, how its cells are parted, and what its header says: one line of names, or two levels of them."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import duckdb

from kobe_resources.market_data.importing.pieces import Piece, head_of
from kobe_resources.market_data.importing.shapes import PRICES, is_actions, is_bars, meaning_of, normalized, understand

DELIMITERS = (",", ";", "\t", "|")
DEEPEST_HEADER = 30
"""Lines that may stand before a table."""
LEVELS = ("ticker", "tickers", "symbol", "symbols", "price", "attributes", "field", "level0", "level1", "")
DATE_WORDS = ("date", "datetime", "index", "timestamp", "session")
DEFAULT_NAMES = ("date", *PRICES, "volume")
"""The columns of files without a header, as FirstRate, Kibot and others sell them."""
_NUMBER = re.compile(r"[-+$€]?[\d.,]+[KMBT%]?")
_DAY = re.compile(r"\d{8}|\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}.*")


class Header(NamedTuple):
    """How a table is written. tickers: the symbol of each column, '' where it belongs to all rows; () for plain tables.

    skip: lines before the first row of cells. levels: lines of names.
    """

    delimiter: str
    skip: int
    names: tuple[str, ...]
    tickers: tuple[str, ...] = ()
    levels: int = 1

    @property
    def only_ticker(self) -> str | None:
        """The symbol of all columns where they have the same."""
        held = {ticker for ticker in self.tickers if ticker}
        return held.pop() if len(held) == 1 else None


def header_of(piece: Piece, columns: Sequence[str] = (), usual: str | None = None) -> Header | None:
    """The header of a text, or None where nothing in its first lines says what its columns are.

    columns: overruled names. usual: the delimiter of a file that begins alike.
    """
    lines = head_of(piece).splitlines()
    if usual and (alike := _find(lines, usual, columns)):
        return alike
    if lines and (hint := re.fullmatch(r"\"?sep=(.)\"?", lines[0].strip(), re.IGNORECASE)):
        found = _find(["", *lines[1:]], hint[1], columns)
        if found:
            return found
    tried = [found for mark in _delimiters(piece.path) if (found := _find(lines, mark, columns))]
    return max(tried, key=lambda header: len(_known(header, columns)), default=None)


def parquet_names(connection: duckdb.DuckDBPyConnection, path: Path) -> list[str]:
    """The names of a Parquet file's columns as they are written: DuckDB gives `T` another one beside `t`."""
    sql = "DESCRIBE SELECT * FROM read_parquet(?, hive_partitioning = false)"
    described = connection.execute(sql, [str(path)]).fetchall()
    written = connection.execute("SELECT name FROM parquet_schema(?)", [str(path)]).fetchall()[1:]
    # The schema of a table of nested columns has more names than columns.
    return [row[0] for row in (written if len(written) == len(described) else described)]


def table_header(names: Sequence[str]) -> Header:
    """The header of a Parquet file, whose columns have these names."""
    return _flattened(Header("", 0, tuple(names)))


def _delimiters(path: Path) -> list[str]:
    """The delimiter that DuckDB's sniffer finds first, then the others: it knows nothing of what a bar is."""
    with duckdb.connect() as connection:
        try:
            query = "SELECT Delimiter FROM sniff_csv(?, sample_size = 2000, ignore_errors = true, null_padding = true)"
            sniffed = connection.execute(query, [str(path)]).fetchall()[0][0]
        except duckdb.Error:
            return list(DELIMITERS)
    return [sniffed, *(mark for mark in DELIMITERS if mark != sniffed)] if len(sniffed) == 1 else list(DELIMITERS)


def _known(header: Header, columns: Sequence[str]) -> set[str]:
    return set(understand(header.names, {f"column {n}": name for n, name in enumerate(columns)}).places)


def _find(lines: list[str], delimiter: str, columns: Sequence[str]) -> Header | None:
    rows = list(csv.reader(lines[: DEEPEST_HEADER + 3], delimiter=delimiter))
    strange = False
    for place, row in enumerate(rows[:DEEPEST_HEADER]):
        below = [*rows[place + 1 : place + 3], [], []]
        # Filled first: what is left of merged cells would be read as the one ticker whose cells are not empty.
        found = (
            _two_levels(delimiter, place, _filled(row, below[0]), below[0], below[1])
            or _two_levels(delimiter, place, row, below[0], below[1])
            or _one_level(delimiter, place, row, columns)
        )
        if found:
            return found
        if len(row) > 1 and is_data(row):
            # Under a row of unknown names nothing says which column is which.
            return None if strange else _headless(delimiter, place, row)
        strange = strange or len(row) > 1
    return None


def _one_level(delimiter: str, place: int, row: list[str], columns: Sequence[str]) -> Header | None:
    header = _flattened(Header(delimiter, place + 1, tuple(row)))
    known = _known(header, columns)
    named = [name for name in columns if any(normalized(cell) == normalized(name) for cell in row)]
    bars = is_bars(known) or ("session" in known and len(known & {*PRICES}) > 1)
    if bars or is_actions(known) or known >= {"symbol", "has_options"} or (named and len(known) > 1):
        return header
    # Closes without opens, say: a table of known words, of which the caller says what it lacks.
    return header if len(known) > 1 and not is_data(row) else None


def _filled(row: list[str], second: list[str]) -> list[str]:
    """A first level with the words of its merged cells in each of them; [] where it has none."""
    empty = [bool(n and row[n - 1].strip() and not cell.strip()) for n, cell in enumerate(row)]
    if len(second) != len(row) or not any(empty[2:]):
        return []
    filled = row[:2]
    for cell, below in zip(row[2:], second[2:], strict=True):
        filled.append(cell if cell.strip() or not below.strip() else filled[-1])
    return filled


def _two_levels(delimiter: str, place: int, row: list[str], second: list[str], third: list[str]) -> Header | None:
    """Fields over tickers, or tickers over fields, as pandas writes columns of two levels."""
    if len(row) < 2 or len(second) != len(row) or normalized(second[0]) not in LEVELS:
        return None
    if normalized(row[0]) not in (*LEVELS, *DATE_WORDS):
        return None
    own = [n for n in range(1, len(row)) if row[n].strip() and second[n].strip()]
    if len(own) < len(PRICES) or any(_NUMBER.fullmatch(second[n]) and meaning_of(row[n]) for n in own[:1]):
        return None
    for fields, tickers in ((row, second), (second, row)):
        # Tickers may be called Low or Open; the level of the fields is the one that has all four prices.
        priced = [n for n in own if meaning_of(fields[n])]
        others = {tickers[n] for n in own} - {tickers[n] for n in priced}
        if _has_prices(fields[n] for n in priced) and not others:
            # A column that is no field of a ticker keeps whatever of its two names there is.
            flat = tuple(fields[n] if n in own else row[n].strip() or second[n].strip() for n in range(len(row)))
            dated = len(third) == len(row) and normalized(third[0]) in DATE_WORDS and not any(third[n].strip() for n in own)
            if normalized(flat[0]) in LEVELS and not any(normalized(name) in DATE_WORDS for name in flat[1:]):
                flat = ("date", *flat[1:])
            return Header(
                delimiter,
                place + (3 if dated else 2),
                flat,
                tuple(tickers[n].strip() if n in own else "" for n in range(len(row))),
                3 if dated else 2,
            )
    return None


def _has_prices(names: Iterable[str]) -> bool:
    held = {(meaning_of(name) or "").removeprefix("adjusted_").removeprefix("raw_") for name in names}
    return held >= {*PRICES}


def _flattened(header: Header) -> Header:
    """With the tickers out of names such as `AAPL.Open`, `Close_MSFT` and `('Close', 'AAPL')`, where all columns have one."""
    if is_bars(understand(header.names).places):
        return header
    parted = [_parts(name) for name in header.names]
    if sum(1 for part in parted if part) < len(PRICES):
        return header
    names = tuple(part[0] if part else name for part, name in zip(parted, header.names, strict=True))
    tickers = tuple(part[1] if part else "" for part in parted)
    return header._replace(names=names, tickers=tickers) if is_bars(understand(names).places) else header


def _parts(name: str) -> tuple[str, str] | None:
    """(field, ticker) of a column's name that holds both."""
    if meaning_of(name):
        return None
    pair = re.fullmatch(r"\(\s*'([^']+)'\s*,\s*'([^']+)'\s*\)", name.strip())
    choices = [(pair[1], pair[2]), (pair[2], pair[1])] if pair else []
    for mark in (".", "_", " ", "-", "/"):
        first, _, rest = name.strip().partition(mark)
        begin, _, last = name.strip().rpartition(mark)
        choices += [(last, begin), (first, rest)]
    for field, ticker in choices:
        # `Open (cents)` names a unit.
        if len(field) > 1 and ticker and "(" not in ticker and meaning_of(field) and not meaning_of(ticker):
            return field, ticker
    return None


def is_data(row: Sequence[str]) -> bool:
    """Whether the row holds a day and numbers enough for a bar."""
    return sum(bool(_NUMBER.fullmatch(cell.strip())) for cell in row) >= len(PRICES) and any(
        _DAY.fullmatch(c.strip()) for c in row
    )


def _headless(delimiter: str, place: int, row: list[str]) -> Header | None:
    """The header that a row of a date, four prices and a volume lacks; a symbol may stand before the date."""
    cells = [cell.strip() for cell in row]
    first = next((n for n in range(2) if _DAY.fullmatch(cells[n])), None)
    if first is None or len(cells) - first not in (len(DEFAULT_NAMES), len(DEFAULT_NAMES) + 1):
        return None
    rest = cells[first + 1 : first + len(DEFAULT_NAMES)]
    beyond = cells[first + len(DEFAULT_NAMES) :]
    more = any(cell.strip("0.") and _NUMBER.fullmatch(cell) for cell in beyond)
    # One more number may be the volume, after an adjusted close. Stooq's open interest is 0.
    if not all(_NUMBER.fullmatch(cell) for cell in rest) or (more and not _counts_shares(rest[-1], rest[1])):
        return None
    names = (*("symbol",) * first, *DEFAULT_NAMES)
    return Header(delimiter, place, (*names, *("",) * (len(cells) - len(names))), (), 0)


def _counts_shares(cell: str, high: str) -> bool:
    """Whether the number is whole and of more digits than the price, as no close of that day is."""
    whole, is_whole = re.sub(r"\.0*$", "", cell), re.fullmatch(r"\d+(\.0*)?", cell)
    return bool(is_whole) and len(whole) > len(re.sub(r"[.,]\d*$", "", high))
