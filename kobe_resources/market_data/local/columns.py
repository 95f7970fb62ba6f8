"""What a column of a file may hold: its type as SQL reads it, and what no cell may be."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from kobe_resources.market_data.protocol import MarketDataError
from kobe_resources.warehouse.store import quoted

Kind = Literal["symbol", "date", "price", "volume", "ratio", "number", "count", "flag", "text"]
NUMBERS = ("price", "volume", "ratio", "number", "count")
TRUE_VALUE = "drop the row or give the true value"
DATES = ("session", "execution_date", "ex_date")
DECIMALS = dt.date(2001, 5, 1)
"""Exchanges quoted in fractions of a dollar before; their closes lie between cents, though raw."""
FEWEST_CLOSES, MOST_BETWEEN = 60, 0.6
"""Closes of a symbol that tell, and the share of the older ones between cents from which they are adjusted."""
DOLLARS = ("", "usd", "us dollar", "us dollars", "$", "us$")
"""What a column of currencies says of dollars, in small letters."""
EARLIEST, LATEST = "1900-01-01", "2199-12-31"
"""Dates beyond are slips, and clocks that count nanoseconds end in 2262."""
MOST_SHARES, MOST_RATIO, MOST_PRICE = 1e15, 1e5, 1e9
"""No day has more shares, no split a larger ratio, no share costs more dollars: beyond is a slip that spoils averages."""


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
    is_unread: bool = False
    """A cell is no number, or no date, as Kobe writes them: another program may have written the file."""


Check = tuple[Rule, str | None]
"""A rule, and the column that it is about (None: it names its columns itself)."""


def simple_type(declared: str) -> str:
    base = declared.split("(")[0].upper()
    if base == "ENUM":
        return "VARCHAR"
    if base in ("TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "DATETIME"):
        return "TIMESTAMP"
    integers = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
    if base in ("FLOAT", "DECIMAL", *integers):
        return "DOUBLE"
    return base


def types_for(kind: Kind) -> tuple[str, ...]:
    if kind in NUMBERS:
        return ("DOUBLE", "VARCHAR")
    return {"date": ("DATE", "TIMESTAMP", "VARCHAR"), "flag": ("BOOLEAN", "VARCHAR", "DOUBLE")}.get(kind, ("VARCHAR",))


def value_sql(column: Column, kind_of_cell: str) -> str:
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


def checks_of(column: Column, kind_of_cell: str) -> Iterator[Check]:
    """What a cell may not be, in the order in which it is looked at; `cell.x` is the file's, `x` the typed value."""
    name = column.name
    value, cell = quoted(name), f"cell.{quoted(name)}"
    empty = f"({cell} IS NULL OR trim({cell}) = '')" if kind_of_cell == "VARCHAR" else f"{cell} IS NULL"
    if column.required:
        yield Rule(empty, f"{name} is empty", "fill it in or drop the row"), name
    if column.kind in NUMBERS:
        unread = f"NOT {empty} AND {value} IS NULL"
        yield Rule(unread, f"{name} is {{}}, which is no number", "write it like 1234.5", is_unread=True), name
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
        yield Rule(unread, f"{name} is {{}}, which is no date", "write it as YYYY-MM-DD", is_unread=True), name
        strange = f"{value} NOT BETWEEN DATE '{EARLIEST}' AND DATE '{LATEST}'"
        yield Rule(strange, f"{name} is {{}}, before {EARLIEST} or after {LATEST}", TRUE_VALUE), name
    if column.kind == "flag":
        yield Rule(f"NOT {empty} AND {value} IS NULL", f"{name} is {{}}, neither true nor false", "write true or false"), name
