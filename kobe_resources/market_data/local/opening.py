"""A file as DuckDB reads it, with its columns found, or refused by file and line; and where its records stand in it."""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

import duckdb

from kobe_resources.market_data.importing.recognition import how_to_import
from kobe_resources.market_data.local.columns import BadFile, Column, simple_type, types_for
from kobe_resources.market_data.symbols import UNSAFE_CATEGORIES
from kobe_resources.warehouse.store import quoted


class Source(NamedTuple):
    """A file as DuckDB reads it: `sql` (one parameter, the path) gives `record`, from 1, and the columns as they lie there."""

    path: Path
    sql: str
    types: dict[str, str]
    width: int = 0
    """Cells of the header, where rows of other lengths are passed over; 0: there are none."""


class TornRow(NamedTuple):
    """A row of a CSV whose cells are not those of the header: its line, what is wrong, and the cells as they lie."""

    line: int
    what: str
    cells: dict[str, str]


def is_csv(path: Path) -> bool:
    if path.suffix.lower() in (".csv", ".parquet"):
        return path.suffix.lower() == ".csv"
    hint = how_to_import(path) if path.is_file() else ""
    raise BadFile(f"{path} is neither .csv nor .parquet{hint}", "name a file with one of these endings, or a folder")


def open_csv(path: Path, columns: Sequence[Column]) -> Source:
    header = _csv_header(path)
    names = [name.strip().lower() for name in header]
    _require(path, columns, names)
    layout = ", ".join(f"'c{number}': 'VARCHAR'" for number in range(len(names)))
    wanted = {column.name: names.index(column.name) for column in columns if column.name in names}
    select = ", ".join(f"c{number} AS {quoted(name)}" for name, number in wanted.items())
    # No sniffing: DuckDB's sniffer takes a broken header for data and drops lines it does not understand.
    sql = (
        f"SELECT row_number() OVER () AS record, {select} FROM read_csv(?, auto_detect = false, columns = {{{layout}}}, "  # noqa: S608
        "header = true, delim = ',', quote = '\"', escape = '\"', hive_partitioning = false, max_line_size = 16777216)"
    )
    return Source(path, sql, dict.fromkeys(wanted, "VARCHAR"))


def _csv_header(path: Path) -> list[str]:
    try:
        with _lines(path) as lines:
            header = next(csv.reader(lines), [])
            # What is no UTF-8 further down is left to DuckDB, which names the line.
            "".join(header).encode()
            return header
    except OSError as error:
        raise BadFile(f"{path} cannot be read ({error.strerror})", "check data.files.path and the file's permissions") from None
    except (UnicodeError, csv.Error):
        reason = f"{path} line 1: is no UTF-8 text with a CSV header{how_to_import(path)}"
        raise BadFile(reason, "save the file as CSV in UTF-8") from None


def _lines(path: Path) -> TextIO:
    return path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")


def open_parquet(connection: duckdb.DuckDBPyConnection, path: Path, columns: Sequence[Column]) -> Source:
    if not path.is_file():
        raise BadFile(f"{path} is not a file", "check data.files.path")
    described = connection.execute("DESCRIBE SELECT * FROM read_parquet(?, hive_partitioning = false)", [literal(path)])
    found = {row[0]: str(row[1]) for row in described.fetchall()}
    names = [name.strip().lower() for name in found]
    _require(path, columns, names)
    by_name = dict(zip(names, found, strict=True))
    wanted = {column.name: by_name[column.name] for column in columns if column.name in by_name}
    types = {name: simple_type(found[original]) for name, original in wanted.items()}
    for column in columns:
        if column.name in types and types[column.name] not in types_for(column.kind):
            raise BadFile(
                f"{path}: column {column.name!r} has the type {found[wanted[column.name]]}",
                f"store it as {types_for(column.kind)[0]}",
            )
    select = ", ".join(
        f"{quoted(original)}{'::VARCHAR' if types[name] == 'VARCHAR' else ''} AS {quoted(name)}"
        for name, original in wanted.items()
    )
    sql = (
        f"SELECT file_row_number + 1 AS record, {select} "  # noqa: S608
        "FROM read_parquet(?, hive_partitioning = false, file_row_number = true)"
    )
    return Source(path, sql, types)


def _require(path: Path, columns: Sequence[Column], names: Sequence[str]) -> None:
    missing = [column.name for column in columns if column.required and column.name not in names]
    wanted = ", ".join(column.name for column in columns if column.required)
    line = " line 1" if is_csv(path) else ""
    if not names and line and path.stat().st_size > len("\r\n"):
        raise BadFile(f"{path}{line}: is blank", "begin the file with its header")
    if not names:
        raise BadFile(f"{path}{line}: the file is empty", f"it needs the columns {wanted}")
    if missing:
        here = visible(", ".join(names))[:200]
        shape = _shape(names) + how_to_import(path)
        raise BadFile(f"{path}{line}: no column {', '.join(missing)} (found: {here}){shape}", f"it needs the columns {wanted}")
    twice = [column.name for column in columns if names.count(column.name) > 1]
    if twice:
        raise BadFile(f"{path}{line}: column {twice[0]!r} appears {names.count(twice[0])} times", "keep one of them")


def _shape(names: Sequence[str]) -> str:
    """What else the header may be, in words."""
    joined = "".join(names)
    if names[0] == "price" and "close" in names:
        return "; these are the three header lines (Price, Ticker, Date) of yfinance"
    for mark, word in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if len(names) < joined.count(mark) + 1 and mark in joined:
            return f"; its cells are separated by {word}: save the file with commas between cells and decimal points"
    if any(unicodedata.category(letter) in UNSAFE_CATEGORIES for letter in joined):
        return "; the header holds invisible characters (a second byte order mark?): take them out"
    return ""


def visible(text: str) -> str:
    """The text with what cannot be seen written out."""
    return "".join(f"\\u{ord(c):04x}" if unicodedata.category(c) in UNSAFE_CATEGORIES else c for c in text)


def place_of(source: Source, record: int) -> str:
    return f"line {_line_of(source, record)}" if is_csv(source.path) else f"row {record}"


def _line_of(source: Source, record: int) -> int:
    return lines_of(source, [record])[record]


def lines_of(source: Source, records: Sequence[int]) -> dict[int, int]:
    """Record number → the line on which it begins (blank lines are no records), or itself where the file has no lines."""
    if not records or not is_csv(source.path):
        return {record: record for record in records}
    wanted, found, begins = set(records), {}, 0
    for number, begins, _ in _records(source.path, source.width):
        if number in wanted:
            found[number] = begins
            if len(found) == len(wanted):
                break
    return {record: found.get(record, begins) for record in records}


def without_torn(
    connection: duckdb.DuckDBPyConnection, source: Source, error: duckdb.Error
) -> tuple[Source, list[TornRow]] | None:
    """The CSV read without its rows of too many or too few cells, and those; None where something else is wrong, too."""
    if not is_csv(source.path) or "Expected Number of Columns" not in str(error):
        return None
    header = [name.strip().lower() for name in _csv_header(source.path)]
    torn, whole = [], 0
    for _, line, row in _records(source.path, 0):
        whole += len(row) == len(header)
        if len(row) != len(header):
            what = f"has {len(row)} cells where the header has {len(header)}"
            torn.append(TornRow(line, what, dict(zip(header, row, strict=False))))
    sql = source.sql.replace("max_line_size", "ignore_errors = true, max_line_size")
    read = connection.execute(f"SELECT count(*) FROM ({sql})", [literal(source.path)]).fetchall()[0][0]  # noqa: S608
    return (source._replace(sql=sql, width=len(header)), torn) if read == whole else None


def _records(path: Path, width: int) -> Iterator[tuple[int, int, list[str]]]:
    """Number, first line and cells of each record; with a width only of those that have so many cells."""
    single = _csv_columns(path) == 1
    with _lines(path) as lines:
        reader = csv.reader(lines)
        next(reader)
        begins, number = reader.line_num + 1, 0
        for row in reader:
            if (row or single) and (not width or len(row) == width):
                number += 1
                yield number, begins, row
            begins = reader.line_num + 1


def _csv_columns(path: Path) -> int:
    return len(_csv_header(path))


def literal(path: Path) -> str:
    """The path with its own glob characters made literal, because DuckDB reads paths as patterns."""
    return re.sub(r"[*?\[]", lambda found: f"[{found[0]}]", str(path))


def _other_line_end(path: Path) -> int:
    """The first line that does not end as the first one does."""
    number, kind = 0, b""
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            end = b"\r\n" if line.endswith(b"\r\n") else b"\n" if line.endswith(b"\n") else kind
            # A lone carriage return ends a line for an editor, and not for this loop.
            if (kind and end != kind) or b"\r" in line.removesuffix(b"\r\n"):
                return number
            kind = end
    return number


def unreadable(path: Path, error: duckdb.Error) -> BadFile:
    text = str(error)
    line = re.search(r"CSV Error on Line: (\d+)", text)
    reasons = (
        (r"Expected Number of Columns: (\d+) Found: (\d+)", "has {1} cells where the header has {0}", "mend the row's commas"),
        (r"unterminated quote", "has a quote that never ends", "close the quote, or double it inside a quoted cell"),
        (r"not utf-8", "is no UTF-8 text", "save the file as CSV in UTF-8"),
        (r"Maximum line size", "is longer than 16 MB", "check the file's line ends"),
    )
    if not line and "invalid state" in text:
        return BadFile(f"{path} line {_other_line_end(path)}: mixes line ends", "save the file with one kind of them")
    where = f"{path} line {line[1]}" if line else str(path)
    for pattern, what, hint in reasons:
        found = re.search(pattern, text)
        if found:
            return BadFile(f"{where}: {what.format(*found.groups())}", hint)
    kind = "CSV" if path.suffix.lower() == ".csv" else "Parquet"
    return BadFile(f"{where} cannot be read as {kind} ({text.splitlines()[0]})", f"write the {kind} file again")
