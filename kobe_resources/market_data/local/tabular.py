"""Tables from people's CSV and Parquet files: typed rows, the rows that cannot be true, or a refusal with line and mend.

Trusts nothing in the file. A CSV is UTF-8 (a byte order mark is fine), comma-separated, header in the first line; column
names count without case and surrounding spaces; further columns are ignored. Line numbers are those of a text editor,
Parquet rows count from 1. What is in a symbol is data, except control characters and surrounding spaces.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TextIO

import duckdb

from kobe_resources.market_data.importing.recognition import how_to_import
from kobe_resources.market_data.protocol import MarketDataError
from kobe_resources.market_data.symbols import UNSAFE_CATEGORIES, wrong_symbol
from kobe_resources.warehouse.store import quoted

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["symbol", "date", "price", "volume", "ratio", "number", "count", "flag", "text"]
NUMBERS = ("price", "volume", "ratio", "number", "count")
TRUE_VALUE = "drop the row or give the true value"
DATES = ("session", "execution_date", "ex_date")
EARLIEST, LATEST = "1900-01-01", "2199-12-31"
"""Dates beyond are slips, and clocks that count nanoseconds end in 2262."""
MOST_SHARES, MOST_RATIO, MOST_PRICE = 1e15, 1e5, 1e9
"""No day has more shares, no split a larger ratio, no share costs more dollars: beyond is a slip that spoils averages."""
SHOWN_FAULTS = 20
"""Kinds of bad rows that a refusal names."""
SHOWN = 40
"""Characters of a bad value that an error shows."""


class BadFile(MarketDataError):
    """A file that is refused; nothing of it was stored."""


@dataclass(frozen=True)
class Column:
    """A column to read. `required`: its absence is refused; an empty cell is, too, except in optional columns."""

    name: str
    kind: Kind
    required: bool = True


class Rule(NamedTuple):
    """Something no row may do: SQL over the typed columns, what it means, and what mends it."""

    broken: str
    what: str
    hint: str
    fatal: bool = False
    """One such row makes the whole file doubtful."""
    column: str | None = None
    """An optional column without which there is nothing to break."""


class RefusedLine(NamedTuple):
    """A row that is refused, and the file's cells of it. bad: it cannot be true (else it only says again what is known)."""

    record: int
    what: str
    hint: str
    fatal: bool = False
    bad: bool = True
    cells: dict[str, Any] = {}  # noqa: RUF012


class BadRow(NamedTuple):
    """A row that is set aside: where it stands, what is wrong with it, and its cells as the file has them."""

    line: int
    reason: str
    hint: str
    bad: bool
    cells: dict[str, Any]


class ReadTable(NamedTuple):
    """The sound rows of a file, sorted by key; the others in order; how many rows there were."""

    frame: pd.DataFrame
    aside: list[BadRow]
    rows: int


Check = tuple[Rule, str | None]
"""A rule, and the column that it is about (None: it names its columns itself)."""


class Source(NamedTuple):
    """A file as DuckDB reads it: `sql` (one parameter, the path) gives `record`, from 1, and the columns as they lie there."""

    path: Path
    sql: str
    types: dict[str, str]


def read_table(
    path: Path,
    columns: Sequence[Column],
    rules: Sequence[Rule] = (),
    key: Sequence[str] = (),
    most_bad: float = 1.0,
    span: tuple[str, str, str] | None = None,
    explain: Callable[[list[dict[str, Any]]], str] = lambda cells: "",
    few: int = 0,
) -> ReadTable:
    """The rows of `path`, typed, sorted by `key` (no two rows share one), and those that cannot be true.

    most_bad: the share of bad rows above which the whole file is refused, as it is where every row of more than `few` is bad
    (fewer say nothing of the file's shape). span: (column,
    first, last) of the only rows that count. explain: what the bad rows' cells have in common, in words. Absent optional
    columns are left out. Raises BadFile naming the first bad line or row.
    """
    connection = duckdb.connect()
    try:
        source = _open_csv(path, columns) if _is_csv(path) else _open_parquet(connection, path, columns)
        present = [column for column in columns if column.name in source.types]
        checks: list[Check] = [check for column in present for check in _checks(column, source.types[column.name])]
        checks += [(rule, None) for rule in rules if rule.column is None or rule.column in source.types]
        _load(connection, source, present, [rule.broken for rule, _ in checks], span)
        rows = int(connection.execute("SELECT count(*) FROM typed").fetchall()[0][0])
        faults = _faults(connection, source, present, checks, key)
        wrong = [fault for fault in faults if fault.bad]
        fatal = [fault for fault in wrong if fault.fatal]
        if fatal or len(wrong) > most_bad * rows or (len(wrong) == rows and rows > few):
            raise _refused(source, fatal or wrong, len(wrong), explain)
        names = ", ".join(quoted(column.name) for column in present)
        order = ", ".join(quoted(name) for name in key) or "record"
        frame = connection.execute(f"SELECT {names} FROM typed WHERE record NOT IN (SELECT record FROM bad) ORDER BY {order}")  # noqa: S608
        lines = _lines_of(source, [fault.record for fault in faults])
        aside = [BadRow(lines[f.record], f.what, f.hint, f.bad, f.cells) for f in faults]
        return ReadTable(frame.df(), aside, rows)
    except duckdb.Error as error:
        raise _unreadable(path, error) from None
    finally:
        connection.close()


def _refused(source: Source, faults: list[RefusedLine], count: int, explain: Callable[[list[dict[str, Any]]], str]) -> BadFile:
    first = faults[0]
    more = f" (and {count - 1:,} more bad rows)" if count > 1 else ""
    shapes: dict[str, RefusedLine] = {}
    for fault in faults[1:]:
        shapes.setdefault(fault.what, fault)
    shapes.pop(first.what, None)
    others = list(shapes.values())[:SHOWN_FAULTS]
    also = "".join(f"; {_place(source, fault.record)}: {fault.what}{_whose(fault)}" for fault in others)
    why = explain([fault.cells for fault in faults])
    # Kobe's columns with another program's dates or numbers: what one import understands as a whole.
    hint = how_to_import(source.path) if _is_csv(source.path) and re.search("no date|no number", first.what) else ""
    return BadFile(
        f"{source.path} {_place(source, first.record)}: {first.what}{more}{_whose(first)}{also}{why}", first.hint + hint
    )


def _whose(fault: RefusedLine) -> str:
    """The symbol and the date of the row, where the fault does not say them."""
    held = [str(fault.cells[name]) for name in ("symbol", *DATES) if fault.cells.get(name)]
    told = " ".join(cell for cell in held if cell not in fault.what)
    return f" [{_visible(told[:SHOWN])}]" if told else ""


def _is_csv(path: Path) -> bool:
    if path.suffix.lower() in (".csv", ".parquet"):
        return path.suffix.lower() == ".csv"
    hint = how_to_import(path) if path.is_file() else ""
    raise BadFile(f"{path} is neither .csv nor .parquet{hint}", "name a file with one of these endings, or a folder")


def _open_csv(path: Path, columns: Sequence[Column]) -> Source:
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
        told = f"{path} line 1: is no UTF-8 text with a CSV header{how_to_import(path)}"
        raise BadFile(told, "save the file as CSV in UTF-8") from None


def _lines(path: Path) -> TextIO:
    return path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")


def _open_parquet(connection: duckdb.DuckDBPyConnection, path: Path, columns: Sequence[Column]) -> Source:
    if not path.is_file():
        raise BadFile(f"{path} is not a file", "check data.files.path")
    described = connection.execute("DESCRIBE SELECT * FROM read_parquet(?, hive_partitioning = false)", [_literal(path)])
    found = {row[0]: str(row[1]) for row in described.fetchall()}
    names = [name.strip().lower() for name in found]
    _require(path, columns, names)
    by_name = dict(zip(names, found, strict=True))
    wanted = {column.name: by_name[column.name] for column in columns if column.name in by_name}
    types = {name: _simple_type(found[original]) for name, original in wanted.items()}
    for column in columns:
        if column.name in types and types[column.name] not in _types_for(column.kind):
            raise BadFile(
                f"{path}: column {column.name!r} has the type {found[wanted[column.name]]}",
                f"store it as {_types_for(column.kind)[0]}",
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
    line = " line 1" if _is_csv(path) else ""
    if not names and line and path.stat().st_size > len("\r\n"):
        raise BadFile(f"{path}{line}: is blank", "begin the file with its header")
    if not names:
        raise BadFile(f"{path}{line}: the file is empty", f"it needs the columns {wanted}")
    if missing:
        here = _visible(", ".join(names))[:200]
        shape = _shape(names) + (how_to_import(path) if line else "")
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


def _visible(text: str) -> str:
    """The text with what cannot be seen written out."""
    return "".join(f"\\u{ord(c):04x}" if unicodedata.category(c) in UNSAFE_CATEGORIES else c for c in text)


def _simple_type(declared: str) -> str:
    base = declared.split("(")[0].upper()
    if base == "ENUM":
        return "VARCHAR"
    if base in ("TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "DATETIME"):
        return "TIMESTAMP"
    integers = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
    if base in ("FLOAT", "DECIMAL", *integers):
        return "DOUBLE"
    return base


def _types_for(kind: Kind) -> tuple[str, ...]:
    if kind in NUMBERS:
        return ("DOUBLE", "VARCHAR")
    return {"date": ("DATE", "TIMESTAMP", "VARCHAR"), "flag": ("BOOLEAN", "VARCHAR", "DOUBLE")}.get(kind, ("VARCHAR",))


def _value(column: Column, kind_of_cell: str) -> str:
    """SQL for the typed value of a cell; NULL where the cell cannot be read."""
    cell = quoted(column.name)
    if column.kind in NUMBERS:
        # DuckDB reads 1_000 as a thousand; in a file of prices it is a slip.
        text = f"CASE WHEN NOT contains({cell}, '_') THEN try_cast({cell} AS DOUBLE) END"
        return text if kind_of_cell == "VARCHAR" else f"{cell}::DOUBLE"
    if column.kind == "date":
        if kind_of_cell == "TIMESTAMP":
            return f"CASE WHEN {cell} = date_trunc('day', {cell}) THEN {cell}::DATE END"
        day = r"'[0-9]{4}-[0-9]{2}-[0-9]{2}([ T]00:00(:00(\.0+)?)?)?'"
        text = f"CASE WHEN regexp_full_match({cell}, {day}) THEN try_cast(left({cell}, 10) AS DATE) END"
        return text if kind_of_cell == "VARCHAR" else cell
    if column.kind == "flag":
        word = f"lower(trim({cell}::VARCHAR))"
        yes, no = "('true', 't', 'yes', 'y', '1', '1.0')", "('false', 'f', 'no', 'n', '0', '0.0')"
        return f"CASE WHEN {word} IN {yes} THEN true WHEN {word} IN {no} THEN false END"
    return cell


def _checks(column: Column, kind_of_cell: str) -> Iterator[Check]:
    """What a cell may not be, in the order in which it is looked at; `cell.x` is the file's, `x` the typed value."""
    name = column.name
    value, cell = quoted(name), f"cell.{quoted(name)}"
    empty = f"({cell} IS NULL OR trim({cell}) = '')" if kind_of_cell == "VARCHAR" else f"{cell} IS NULL"
    if column.required:
        yield Rule(empty, f"{name} is empty", "fill it in or drop the row"), name
    if column.kind in NUMBERS:
        yield Rule(f"NOT {empty} AND {value} IS NULL", f"{name} is {{}}, which is no number", "write it like 1234.5"), name
        yield (
            Rule(f"NOT isfinite({value})", f"{name} is {{}}, which is not finite", TRUE_VALUE),
            name,
        )
    if column.kind in ("price", "ratio"):
        yield Rule(f"{value} <= 0", f"{name} is {{}}, which is not positive", TRUE_VALUE), name
    if column.kind in ("volume", "count"):
        yield Rule(f"{value} < 0", f"{name} is {{}}, which is negative", TRUE_VALUE), name
    if column.kind == "volume":
        yield Rule(f"{value} > {MOST_SHARES}", f"{name} is {{}}, more shares than there are", TRUE_VALUE, fatal=True), name
    if column.kind in ("count", "number"):
        yield Rule(f"abs({value}) > {MOST_SHARES}", f"{name} is {{}}, more than there can be", TRUE_VALUE, fatal=True), name
    if column.kind == "price":
        yield Rule(f"{value} > {MOST_PRICE}", f"{name} is {{}}, more than any share costs", TRUE_VALUE, fatal=True), name
    if column.kind == "ratio":
        yield Rule(f"{value} > {MOST_RATIO}", f"{name} is {{}}, more than any split", TRUE_VALUE, fatal=True), name
    if column.kind == "count":
        yield Rule(f"{value} <> floor({value})", f"{name} is {{}}, which is no whole number", "give the true count"), name
    if column.kind == "date":
        unread = f"NOT {empty} AND ({value} IS NULL OR NOT isfinite({value}))"
        yield Rule(unread, f"{name} is {{}}, which is no date", "write it as YYYY-MM-DD"), name
        strange = f"{value} NOT BETWEEN DATE '{EARLIEST}' AND DATE '{LATEST}'"
        yield Rule(strange, f"{name} is {{}}, before {EARLIEST} or after {LATEST}", TRUE_VALUE), name
    if column.kind == "flag":
        yield Rule(f"NOT {empty} AND {value} IS NULL", f"{name} is {{}}, neither true nor false", "write true or false"), name


def _load(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    columns: Sequence[Column],
    broken: Sequence[str],
    span: tuple[str, str, str] | None,
) -> None:
    """Table `typed`: record, the columns, and the number of the first check a row breaks (NULL: none)."""
    values = ", ".join(f"{_value(column, source.types[column.name])} AS {quoted(column.name)}" for column in columns)
    cases = " ".join(f"WHEN {test} THEN {number}" for number, test in enumerate(broken))
    names = ", ".join(quoted(column.name) for column in columns)
    within = f"WHERE {quoted(span[0])} IS NULL OR {quoted(span[0])} BETWEEN '{span[1]}' AND '{span[2]}'" if span else ""
    sql = (
        f"CREATE TABLE typed AS SELECT record, {names}, CASE {cases} END AS fault FROM ("  # noqa: S608
        f"SELECT record, {values}, cell FROM ({source.sql}) AS cell) {within}"
    )
    connection.execute(sql, [_literal(source.path)])


def _faults(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    columns: Sequence[Column],
    checks: Sequence[Check],
    key: Sequence[str],
) -> list[RefusedLine]:
    """Every row that is not kept, in the file's order; table `bad` holds their records."""
    found: dict[int, RefusedLine] = {}
    for fault in (*_bad_symbols(connection, columns), *_broken(connection, checks)):
        found.setdefault(fault.record, fault)
    connection.execute("CREATE TABLE bad (record BIGINT)")
    _mark(connection, found)
    again = list(_repeated(connection, source, columns, key))
    _mark(connection, [fault.record for fault in again])
    templates = set(found)
    found |= {fault.record: fault for fault in again}
    if not found:
        return []
    result = connection.execute(
        f"SELECT cell.* FROM ({source.sql}) AS cell WHERE record IN (SELECT record FROM bad) ORDER BY record",  # noqa: S608
        [_literal(source.path)],
    )
    names = [item[0] for item in result.description or []]
    faults = []
    for values in result.fetchall():
        cells = dict(zip(names, values, strict=True))
        fault = found[cells.pop("record")]
        what = _worded(fault.what, cells) if fault.record in templates else fault.what
        faults.append(fault._replace(what=what, cells=cells))
    return faults


def _mark(connection: duckdb.DuckDBPyConnection, records: Collection[int]) -> None:
    if records:
        connection.execute("INSERT INTO bad SELECT unnest(?::BIGINT[])", [list(records)])


def _worded(what: str, cells: dict[str, Any]) -> str:
    """The fault with the file's own cells in it, where it names them: {name}."""
    return re.sub(r"\{(\w+)\}", lambda found: _shown(cells.get(found[1])), what)


def _broken(connection: duckdb.DuckDBPyConnection, checks: Sequence[Check]) -> Iterator[RefusedLine]:
    for record, number in connection.execute("SELECT record, fault FROM typed WHERE fault IS NOT NULL").fetchall():
        rule, name = checks[number]
        yield RefusedLine(record, rule.what.replace("{}", f"{{{name}}}"), rule.hint, rule.fatal)


def _bad_symbols(connection: duckdb.DuckDBPyConnection, columns: Sequence[Column]) -> Iterator[RefusedLine]:
    for column in columns:
        if column.kind != "symbol":
            continue
        name = quoted(column.name)
        for (symbol,) in connection.execute(f"SELECT DISTINCT {name} FROM typed WHERE {name} IS NOT NULL").fetchall():  # noqa: S608
            wrong = _wrong_symbol(symbol)
            if wrong:
                for (record,) in connection.execute(f"SELECT record FROM typed WHERE {name} = ?", [symbol]).fetchall():  # noqa: S608
                    yield RefusedLine(record, f"{column.name} {{{column.name}}} {wrong[0]}", wrong[1])


def _wrong_symbol(symbol: str) -> tuple[str, str] | None:
    """What is wrong with a symbol, and its mend."""
    wrong = wrong_symbol(symbol)
    if wrong is None and symbol.strip() and symbol != symbol.strip():
        return "has spaces around it", "take them out"
    return wrong


def _repeated(
    connection: duckdb.DuckDBPyConnection, source: Source, columns: Sequence[Column], key: Sequence[str]
) -> Iterator[RefusedLine]:
    """Rows of one key: equal ones count once, those that differ are all refused."""
    if not key:
        return
    names = ", ".join(quoted(name) for name in key)
    rest = ", ".join(quoted(column.name) for column in columns if column.name not in key)
    distinct = f"count(DISTINCT ({rest},))" if rest else "1"
    groups = connection.execute(
        f"SELECT {names}, list(record ORDER BY record) AS records, {distinct} AS kinds FROM typed "  # noqa: S608
        f"WHERE record NOT IN (SELECT record FROM bad) GROUP BY {names} HAVING count(*) > 1"
    ).fetchall()
    lines = _lines_of(source, [record for *_, records, _ in groups for record in records])
    unit = "line" if _is_csv(source.path) else "row"
    for *parts, records, kinds in groups:
        what = _shown(" ".join(str(part) for part in parts))
        first, second = lines[records[0]], lines[records[1]]
        if kinds == 1:
            for record in records[1:]:
                yield RefusedLine(record, f"{what} was already given in {unit} {first}; counted once", "keep one", bad=False)
            continue
        yield RefusedLine(records[0], f"{what} is given otherwise in {unit} {second}", "keep the true one of the two rows")
        for record in records[1:]:
            yield RefusedLine(record, f"{what} was already given in {unit} {first}", "keep the true one of the two rows")


def _place(source: Source, record: int) -> str:
    return f"line {_line_of(source, record)}" if _is_csv(source.path) else f"row {record}"


def _line_of(source: Source, record: int) -> int:
    return _lines_of(source, [record])[record]


def _lines_of(source: Source, records: Sequence[int]) -> dict[int, int]:
    """Record number → the line on which it begins (blank lines are no records), or itself where the file has no lines."""
    if not records or not _is_csv(source.path):
        return {record: record for record in records}
    single, wanted, found = _csv_columns(source.path) == 1, set(records), {}
    with _lines(source.path) as lines:
        reader = csv.reader(lines)
        next(reader)
        begins, number = reader.line_num + 1, 0
        for row in reader:
            if row or single:
                number += 1
                if number in wanted:
                    found[number] = begins
                    if len(found) == len(wanted):
                        break
            begins = reader.line_num + 1
    return {record: found.get(record, begins) for record in records}


def _csv_columns(path: Path) -> int:
    return len(_csv_header(path))


def _shown(value: Any) -> str:
    if re.fullmatch(r"[-+0-9.eE]+", str(value)):
        return str(value)[:SHOWN]
    text = repr(str(value))
    return text if len(text) <= SHOWN + 2 else text[:SHOWN] + "…'"


def _literal(path: Path) -> str:
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


def _unreadable(path: Path, error: duckdb.Error) -> BadFile:
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
