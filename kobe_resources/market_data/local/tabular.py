"""Tables from people's CSV and Parquet files: typed rows, the rows that cannot be true, or a refusal with line and mend.

Trusts nothing in the file. A CSV is UTF-8 (a byte order mark is fine), comma-separated, header in the first line; column
names count without case and surrounding spaces; further columns are ignored. Line numbers are those of a text editor,
Parquet rows count from 1. What is in a symbol is data, except control characters and surrounding spaces.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import duckdb

from kobe_resources.market_data.importing.recognition import how_to_import
from kobe_resources.market_data.local.columns import DATES, BadFile, Check, Column, Rule, checks_of, value_sql
from kobe_resources.market_data.local.opening import (
    Source,
    TornRow,
    is_csv,
    lines_of,
    literal,
    open_csv,
    open_parquet,
    place_of,
    unreadable,
    visible,
    without_torn,
)
from kobe_resources.market_data.symbols import wrong_symbol
from kobe_resources.warehouse.store import quoted

if TYPE_CHECKING:
    import pandas as pd

SHOWN_FAULTS = 20
"""Kinds of bad rows that a refusal names."""
COMMAS = "mend the row's commas"
SHOWN = 40
"""Characters of a bad value that an error shows."""


class RefusedLine(NamedTuple):
    """A row that is refused, and the file's cells of it.

    bad: it cannot be true (else it only says again what is known). is_unread: as of its `Rule`.
    """

    record: int
    what: str
    hint: str
    fatal: bool = False
    bad: bool = True
    cells: dict[str, Any] = {}  # noqa: RUF012
    is_unread: bool = False


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
        source = open_csv(path, columns) if is_csv(path) else open_parquet(connection, path, columns)
        present = [column for column in columns if column.name in source.types]
        checks: list[Check] = [check for column in present for check in checks_of(column, source.types[column.name])]
        checks += [(rule, None) for rule in rules if rule.column is None or rule.column in source.types]
        broken = [rule.broken for rule, _ in checks]
        source, torn = _load_parted(connection, source, present, broken, span)
        rows = int(connection.execute("SELECT count(*) FROM typed").fetchall()[0][0]) + len(torn)
        faults = _faults(connection, source, present, checks, key)
        wrong = [fault for fault in faults if fault.bad]
        fatal = [fault for fault in wrong if fault.fatal]
        count = len(wrong) + len(torn)
        if fatal or count > most_bad * rows or (count == rows and rows > few):
            raise _torn(path, torn) if torn and not fatal else _refused(source, fatal or wrong, count, explain)
        names = ", ".join(quoted(column.name) for column in present)
        order = ", ".join(quoted(name) for name in key) or "record"
        frame = connection.execute(f"SELECT {names} FROM typed WHERE record NOT IN (SELECT record FROM bad) ORDER BY {order}")  # noqa: S608
        lines = lines_of(source, [fault.record for fault in faults])
        aside = [BadRow(lines[f.record], f.what, f.hint, f.bad, f.cells) for f in faults]
        aside += [BadRow(row.line, row.what, COMMAS, True, row.cells) for row in torn]
        return ReadTable(frame.df(), sorted(aside, key=lambda row: row.line), rows)
    except duckdb.Error as error:
        raise unreadable(path, error) from None
    finally:
        connection.close()


def _torn(path: Path, torn: list[TornRow]) -> BadFile:
    more = f" (and {len(torn) - 1:,} more rows so)" if len(torn) > 1 else ""
    return BadFile(f"{path} line {torn[0].line}: {torn[0].what}{more}", COMMAS)


def _refused(source: Source, faults: list[RefusedLine], count: int, explain: Callable[[list[dict[str, Any]]], str]) -> BadFile:
    first = faults[0]
    more = f" (and {count - 1:,} more bad rows)" if count > 1 else ""
    shapes: dict[str, RefusedLine] = {}
    for fault in faults[1:]:
        shapes.setdefault(fault.what, fault)
    shapes.pop(first.what, None)
    others = list(shapes.values())[:SHOWN_FAULTS]
    also = "".join(f"; {place_of(source, fault.record)}: {fault.what}{_whose(fault)}" for fault in others)
    why = explain([fault.cells for fault in faults])
    # Kobe's columns with another program's dates or numbers: what one import understands as a whole.
    hint = how_to_import(source.path) if is_csv(source.path) and first.is_unread else ""
    return BadFile(
        f"{source.path} {place_of(source, first.record)}: {first.what}{more}{_whose(first)}{also}{why}", first.hint + hint
    )


def _whose(fault: RefusedLine) -> str:
    """The symbol and the date of the row, where the fault does not say them."""
    held = [str(fault.cells[name]) for name in ("symbol", *DATES) if fault.cells.get(name)]
    named = " ".join(cell for cell in held if cell not in fault.what)
    return f" [{visible(named[:SHOWN])}]" if named else ""


def _load_parted(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    columns: Sequence[Column],
    broken: Sequence[str],
    span: tuple[str, str, str] | None,
) -> tuple[Source, list[TornRow]]:
    """Table `typed` (see `_load`) without the rows whose cells cannot be parted; what it was read from, and these rows."""
    try:
        _load(connection, source, columns, broken, span)
    except duckdb.Error as error:
        parted = without_torn(connection, source, error)
        if parted is None:
            raise
        _load(connection, parted[0], columns, broken, span)
        return parted
    return source, []


def _load(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    columns: Sequence[Column],
    broken: Sequence[str],
    span: tuple[str, str, str] | None,
) -> None:
    """Table `typed`: record, the columns, and the number of the first check a row breaks (NULL: none)."""
    values = ", ".join(f"{value_sql(column, source.types[column.name])} AS {quoted(column.name)}" for column in columns)
    cases = " ".join(f"WHEN {test} THEN {number}" for number, test in enumerate(broken))
    names = ", ".join(quoted(column.name) for column in columns)
    within = f"WHERE {quoted(span[0])} IS NULL OR {quoted(span[0])} BETWEEN '{span[1]}' AND '{span[2]}'" if span else ""
    sql = (
        f"CREATE TABLE typed AS SELECT record, {names}, CASE {cases} END AS fault FROM ("  # noqa: S608
        f"SELECT record, {values}, cell FROM ({source.sql}) AS cell) {within}"
    )
    connection.execute(sql, [literal(source.path)])


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
        [literal(source.path)],
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
        yield RefusedLine(record, rule.what.replace("{}", f"{{{name}}}"), rule.hint, rule.fatal, is_unread=rule.is_unread)


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
    lines = lines_of(source, [record for *_, records, _ in groups for record in records])
    unit = "line" if is_csv(source.path) else "row"
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


def _shown(value: Any) -> str:
    if re.fullmatch(r"[-+0-9.eE]+", str(value)):
        return str(value)[:SHOWN]
    text = repr(str(value))
    return text if len(text) <= SHOWN + 2 else text[:SHOWN] + "…'"
