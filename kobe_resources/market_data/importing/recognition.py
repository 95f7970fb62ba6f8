"""A file in a foreign shape that lies where Kobe's own is read: what it is, and the command that reads it."""

from __future__ import annotations

import shlex
from pathlib import Path

import duckdb

from kobe_resources.market_data.importing.headers import Header, header_of, parquet_names, table_header
from kobe_resources.market_data.importing.pieces import BOOKS, TEXTS, Piece, is_book
from kobe_resources.market_data.importing.shapes import KOBE_ADJUSTED, exporter, is_actions, is_bars, understand

MARKS = {";": "semicolons", "\t": "tabs", "|": "bars"}
LOOKED_AT = 20
"""Files of a folder that are looked into."""


def foreign_shape(path: Path) -> str | None:
    """What shape of bars the file has, in words; None where it is none that is known."""
    try:
        if path.suffix.lower() in BOOKS or is_book(path):
            return "an Excel workbook"
        with path.open("rb") as source:
            head = source.read(4)
        if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return "text in UTF-16"
        if head == b"PAR1":
            with duckdb.connect() as connection:
                header: Header | None = table_header(parquet_names(connection, path))
        else:
            header = header_of(Piece(str(path), path.stem, path, "text", True))
    except (OSError, duckdb.Error):
        return None
    places = understand(header.names).places if header else {}
    if header and is_actions(places) and "symbol" in places:
        return "a table of splits or dividends" + _parted(header)
    return shape_of(header) if header and is_bars(places) else None


def shape_of(header: Header) -> str:
    """A table's shape in words: the exporter, or how its cells are parted."""
    if header.levels > 1:
        return "yfinance (three header lines: Price, Ticker, Date)"
    if header.tickers:
        return "a table with the symbol in the names of its columns"
    shape = exporter(header.names)
    if shape and shape.name != "Kobe":
        return shape.name + _parted(header)
    return "a table of bars" + _parted(header)


def _parted(header: Header) -> str:
    return f", its cells separated by {MARKS[header.delimiter]}" if header.delimiter in MARKS else ""


def how_to_import(path: Path) -> str:
    """The end of a refusal: what the file looks like and the command that reads it; empty where no import would."""
    shape = foreign_shape(path)
    return f"; this looks like {shape}: `kobe bars import {shlex.quote(str(path))}` reads it" if shape else ""


def factored_row(path: Path) -> str:
    """The first row that `kobe bars export --adjusted` wrote with a factor; empty where it wrote none, or not the file."""
    is_csv = path.suffix.lower() == ".csv"
    source = "read_csv(?, all_varchar = true, header = true, delim = ',')" if is_csv else "read_parquet(?)"
    try:
        with duckdb.connect() as connection:
            names = [row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM {source}", [str(path)]).fetchall()]  # noqa: S608
            shape = exporter(names)
            if shape is None or shape.name != KOBE_ADJUSTED:
                return ""
            sql = f"SELECT symbol, left(session::VARCHAR, 10), factor::DOUBLE FROM {source} WHERE factor::DOUBLE <> 1 LIMIT 1"  # noqa: S608
            rows = connection.execute(sql, [str(path)]).fetchall()
    except duckdb.Error:
        # Who reads the bars says what is wrong with the file.
        return ""
    return "".join(f"{symbol} on {day} by {factor:g}" for symbol, day, factor in rows)


def files_to_import(folder: Path) -> str:
    """The end of a refusal of a folder without a bars file: which of its files look like bars; empty where none does."""
    held = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    likely = [path for path in held if path.suffix.lower() in (*TEXTS, *BOOKS, ".zip", ".gz", ".parquet")]
    for path in likely[:LOOKED_AT]:
        packed = path.suffix.lower() in (".zip", ".gz", ".parquet")
        shape = "bars" if packed else foreign_shape(path)
        if shape:
            more = f" and {len(likely) - 1:,} more" if len(likely) > 1 else ""
            return f"; {path.name}{more} may be {shape}: `kobe bars import {shlex.quote(str(folder))}` reads them"
    return ""
