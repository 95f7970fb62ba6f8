"""Numbers as files write them, decided over whole columns: decimal points or commas, thousands marks, currency, `1.2M`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kobe_resources.market_data.protocol import MarketDataError

if TYPE_CHECKING:
    import duckdb

BLANKS = ("", "null", "nan", "n/a", "na", "none", "-", "--", "—", "#n/a", "nat", "<na>")
"""What stands in a cell of numbers for nothing."""
MARKS = r"[\s\x{A0}\x{202F}\x{2009}''\x{2019}$€£¥+]"
"""Blanks and quotes between thousands, and currencies."""
FACTORS = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}


def blank(cell: str) -> str:
    """SQL: whether the cell holds nothing."""
    words = ", ".join(f"'{word}'" for word in BLANKS)
    return f"({cell} IS NULL OR lower(trim({cell})) IN ({words}))"


def plain_number(cell: str) -> str:
    """SQL: the cell as a program writes numbers; NULL where it is none."""
    # DuckDB reads 1_000 as a thousand; in a file of prices it is a slip.
    return f"CASE WHEN NOT contains({cell}, '_') THEN try_cast(trim({cell}) AS DOUBLE) END"


def number(cell: str, decimal: str | None) -> str:
    """SQL: the cell as a person's program writes numbers with this decimal mark; None: as any program does."""
    if decimal is None:
        return plain_number(cell)
    thousands = "," if decimal == "." else "."
    other, mark = ("\\" + sign if sign == "." else sign for sign in (thousands, decimal))
    bare = f"regexp_replace(upper({cell}), '{MARKS}', '', 'g')"
    digits = f"regexp_replace({bare}, '[KMBT]$', '')"
    # In India by lakh and crore: 12,34,567.
    grouped = f"[1-9][0-9]{{0,2}}({other}[0-9]{{3}})+|[0-9]{{1,2}}({other}[0-9]{{2}})+{other}[0-9]{{3}}"
    whole = f"-?([0-9]*|{grouped})({mark}[0-9]*)?(E[+-]?[0-9]+)?"
    value = f"replace(replace({digits}, '{thousands}', ''), '{decimal}', '.')"
    factors = " ".join(f"WHEN '{letter}' THEN {factor}" for letter, factor in FACTORS.items())
    return (
        f"CASE WHEN regexp_full_match({digits}, '{whole}') THEN "
        f"try_cast({value} AS DOUBLE) * CASE right({bare}, 1) {factors} ELSE 1 END END"
    )


def decimal_mark(
    connection: duckdb.DuckDBPyConnection, table: str, columns: Sequence[str], wanted: str | None, usual: str | None
) -> str | None:
    """The decimal mark of the columns, by all their cells; None where every program reads them alike.

    wanted: as the person says; usual: where the cells leave it open. Raises MarketDataError where they contradict each
    other, or where `1,234` may be a thousand or one and a bit.
    """
    if not columns:
        return wanted or usual
    cells = " UNION ALL ".join(f"SELECT {name} AS cell FROM {table}" for name in columns)  # noqa: S608
    odd = " AND ".join((f"NOT {blank('cell')}", f"({plain_number('cell')}) IS NULL"))
    if wanted is None and not connection.execute(f"SELECT 1 FROM ({cells}) WHERE {odd} LIMIT 1").fetchall():  # noqa: S608
        return usual if usual == "," and not _dots(connection, cells) else None
    if wanted:
        return wanted
    comma = r"(,\d{1,2}|,\d{4,}|\.\d{3},\d+)[KMBT%]?"
    point = r"(\.\d{1,2}|\.\d{4,}|,\d{3}\.\d+)[KMBT%]?"
    tests = {
        ",": rf"-?\d*{comma}|-?\d{{1,3}}(\.\d{{3}}){{2,}}|-?\d{{1,3}}(\.\d{{3}})+,\d*[KMBT]?",
        ".": rf"-?\d*{point}|-?\d{{1,3}}(,\d{{3}}){{2,}}|-?\d{{1,3}}(,\d{{3}})+\.\d*[KMBT]?|-?\d{{1,2}}(,\d{{2}})+,\d{{3}}",
        "?": r"-?\d{1,3},\d{3}",
    }
    asked = ", ".join(
        f"count(*) FILTER (regexp_full_match(x, '{test}')), any_value(x) FILTER (regexp_full_match(x, '{test}'))"
        for test in tests.values()
    )
    sql = f"SELECT {asked} FROM ({_bare(table, columns)})"  # noqa: S608
    commas, comma_cell, points, point_cell, unsure, unsure_cell = connection.execute(sql).fetchall()[0]
    if commas and points:
        return _of_two(commas, comma_cell, points, point_cell)
    if commas or points:
        return "," if commas else "."
    if unsure and not usual:
        raise MarketDataError(
            f"{unsure_cell} may be more than a thousand, or less than a thousand with a decimal comma",
            "say --decimal . or --decimal ,",
        )
    return usual or "."


def unsure_files(connection: duckdb.DuckDBPyConnection, table: str, columns: Sequence[str], decimal: str) -> dict[str, str]:
    """Files whose `1,234` the decimal mark of the others would make a thousand, and that say themselves nowhere what it is.

    table: has the column `file`. The values are such cells.
    """
    grouped = r"-?\d{1,3}[" + ("," if decimal == "." else ".") + r"]\d{3}"
    cells = " UNION ALL ".join(f"SELECT file, {name} AS cell FROM {table}" for name in columns)  # noqa: S608
    rows = connection.execute(
        f"SELECT file, any_value(x) FILTER (regexp_full_match(x, '{grouped}')) AS shown "  # noqa: S608
        f"FROM (SELECT file, regexp_replace(cell, '{MARKS}', '', 'g') AS x FROM ({cells})) "
        f"GROUP BY file HAVING shown IS NOT NULL AND NOT bool_or(contains(x, '{decimal}')) ORDER BY file"
    ).fetchall()
    return dict(rows)


def mark_of_points(connection: duckdb.DuckDBPyConnection, table: str, prices: Sequence[str], volumes: Sequence[str]) -> str:
    """The decimal mark of prices whose cells another sign parts: a comma where points mark thousands, else a point.

    Raises MarketDataError where `30.250` may be either, and no volume says which.
    """
    one, several = r"-?[1-9]\d{0,2}\.\d{3}", r"-?\d{1,3}(\.\d{3}){2,}"
    cells = _bare(table, prices)
    grouped, cell, commas = connection.execute(
        f"SELECT count(*) FILTER (regexp_full_match(x, '{one}')), any_value(x) FILTER (regexp_full_match(x, '{one}')), "  # noqa: S608
        f"count(*) FILTER (contains(x, ',') OR regexp_full_match(x, '{several}')) FROM ({cells})"
    ).fetchall()[0]
    if commas or not grouped:
        return ","
    # A count of shares has no decimals: what stands before three of its digits marks thousands.
    points, marked = connection.execute(
        f"SELECT count(*) FILTER (regexp_full_match(x, '{one}|{several}')), "  # noqa: S608
        f"count(*) FILTER (regexp_full_match(x, '{one.replace('.', ',')}|{several.replace('.', ',')}')) "
        f"FROM ({_bare(table, volumes)})"
        if volumes
        else "SELECT 0, 0"
    ).fetchall()[0]
    if bool(points) == bool(marked):
        raise MarketDataError(
            f"{cell} may be more than a thousand, or less than a thousand with three decimals", "say --decimal . or --decimal ,"
        )
    return "," if points else "."


def _bare(table: str, columns: Sequence[str]) -> str:
    """SQL: the cells of the columns as `x`, without blanks and currencies."""
    bare = f"regexp_replace(cell, '{MARKS}', '', 'g')"
    cells = " UNION ALL ".join(f"SELECT {name} AS cell FROM {table}" for name in columns)  # noqa: S608
    return f"SELECT upper({bare}) AS x FROM ({cells})"  # noqa: S608


def _of_two(commas: int, comma_cell: str, points: int, point_cell: str) -> str:
    """A few cells against all the others are bad cells; with more the file is ambiguous."""
    if min(commas, points) > 0.01 * max(commas, points):
        raise MarketDataError(
            f"decimal commas and decimal points in one table, as in {comma_cell} and {point_cell}",
            "export the file again, with one of them",
        )
    return "," if commas > points else "."


def _dots(connection: duckdb.DuckDBPyConnection, cells: str) -> bool:
    """Whether there are points that cannot mark thousands."""
    thousands = r"regexp_full_match(cell, '-?[1-9]\d{0,2}(\.\d{3})+')"
    sql = f"SELECT 1 FROM ({cells}) WHERE contains(cell, '.') AND NOT {thousands} LIMIT 1"  # noqa: S608
    return bool(connection.execute(sql).fetchall())
