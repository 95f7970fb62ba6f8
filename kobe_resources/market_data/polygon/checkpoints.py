"""What the warehouse knows about a load by calls (Polygon, Alpaca): coverage of symbols, marks, refused rows.

Every write happens inside the caller's transaction of the rows it concerns.
"""

from __future__ import annotations

import ast
import datetime as dt
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from kobe_resources.errors import UsageError
from kobe_resources.market_data.changes import sql
from kobe_resources.market_data.polygon.plan import Span
from kobe_resources.market_data.set_aside import aside_rows, record_set_aside
from kobe_resources.market_data.store import current_source

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

    from kobe_resources.market_data.polygon.rows import RefusedRow
    from kobe_resources.warehouse.store import Warehouse

VENDOR = "polygon"
LONGEST_ROW = 2000
MISDATED_BARS = 40
"""Bars from which one traded on some Monday and some Friday, unless its dates are a day off."""


class Mark(NamedTuple):
    """A list that was read, or a load that was finished."""

    key: str
    span: Span
    rows: int
    done_at: dt.datetime


@dataclass
class LoadState:
    """Where the load stands. asked: symbols whose options are known. last_split: the newest one stored."""

    coverage: dict[str, Span] = field(default_factory=dict)
    marks: dict[str, Mark] = field(default_factory=dict)
    candidates: list[str] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)
    last_split: dt.date | None = None


def read_state(connection: duckdb.DuckDBPyConnection, vendor: str = VENDOR) -> LoadState:
    """The state of this vendor's load; an empty one where the store holds another source's bars."""
    source = current_source(connection)
    if source is None or source[0] != vendor:
        return LoadState()
    covered = connection.execute(
        "SELECT key, span_from, span_to FROM bar_checkpoints WHERE vendor = ? AND kind = 'symbol'", [vendor]
    ).fetchall()
    marks = connection.execute(
        "SELECT kind, key, span_from, span_to, rows, done_at FROM bar_checkpoints "
        "WHERE vendor = ? AND kind NOT IN ('symbol', 'day')",
        [vendor],
    ).fetchall()
    return LoadState(
        {symbol: Span(first, last) for symbol, first, last in covered},
        {kind: Mark(key, Span(first, last), rows, done_at) for kind, key, first, last, rows, done_at in marks},
        [row[0] for row in connection.execute("SELECT symbol FROM candidates ORDER BY symbol").fetchall()],
        {row[0] for row in connection.execute("SELECT symbol FROM option_evidence").fetchall()},
        connection.execute("SELECT max(execution_date) FROM splits").fetchall()[0][0],
    )


def forget(connection: duckdb.DuckDBPyConnection, vendor: str = VENDOR) -> None:
    """Drop every checkpoint: the rows they spoke of are gone."""
    connection.execute("DELETE FROM bar_checkpoints WHERE vendor = ?", [vendor])
    connection.execute("DELETE FROM bar_refusals WHERE vendor = ?", [vendor])


def forget_bars(warehouse: Warehouse, symbols: Collection[str], vendor: str) -> None:
    """Let the next load ask for all bars of these candidates again. Raises UsageError for one that is none."""
    with warehouse.transaction() as connection:
        known = {row[0] for row in connection.execute("SELECT symbol FROM candidates").fetchall()}
        if unknown := sorted(set(symbols) - known):
            raise UsageError(f"{unknown[0]} is no candidate of {vendor}", "`kobe universe show --all` lists them")
        connection.execute(
            "DELETE FROM bar_checkpoints WHERE vendor = $vendor "
            "AND (kind = 'load' OR (kind = 'symbol' AND list_contains($symbols::VARCHAR[], key)))",
            {"vendor": vendor, "symbols": list(symbols)},
        )


def save_coverage(
    connection: duckdb.DuckDBPyConnection,
    coverage: Mapping[str, Span],
    rows: Mapping[str, int],
    done_at: dt.datetime,
    vendor: str = VENDOR,
) -> None:
    """Replace the coverage of some symbols; `rows` (none: 0) are added to what was counted before."""
    _save(connection, "symbol", {symbol: (span, rows.get(symbol, 0)) for symbol, span in coverage.items()}, done_at, vendor)


def clip_coverage(connection: duckdb.DuckDBPyConnection, first: dt.date) -> None:
    """Let no symbol be covered before `first`: the plan gives nothing earlier."""
    connection.execute(sql("polygon_clip_checkpoints"), {"vendor": VENDOR, "first": first})


def save_days(connection: duckdb.DuckDBPyConnection, rows: Mapping[dt.date, int], done_at: dt.datetime) -> None:
    """Note that these days of the market were read, and how many rows of candidates they gave, all readings together."""
    _save(connection, "day", {str(day): (Span(day, day), count) for day, count in rows.items()}, done_at, VENDOR)


def save_mark(connection: duckdb.DuckDBPyConnection, kind: str, mark: Mark, vendor: str = VENDOR) -> None:
    """Replace the one mark of a kind."""
    connection.execute("DELETE FROM bar_checkpoints WHERE vendor = ? AND kind = ?", [vendor, kind])
    connection.execute(
        "INSERT INTO bar_checkpoints VALUES (?, ?, ?, ?, ?, ?, ?)",
        [vendor, kind, mark.key, mark.span.first, mark.span.last, mark.rows, mark.done_at],
    )


def save_refusals(
    connection: duckdb.DuckDBPyConnection, refusals: Iterable[RefusedRow], seen_at: dt.datetime, vendor: str = VENDOR
) -> None:
    """Name refused rows, each once however often the vendor sends it."""
    for refusal in dict.fromkeys(refusals):
        values = [vendor, refusal.symbol, refusal.session, refusal.reason]
        connection.execute(
            "INSERT INTO bar_refusals SELECT $1, $2, $3, $4, $5 WHERE NOT EXISTS (SELECT 1 FROM bar_refusals "
            "WHERE vendor = $1 AND symbol = $2 AND session IS NOT DISTINCT FROM $3 AND reason = $4)",
            [*values, seen_at],
        )


def save_bad_rows(
    connection: duckdb.DuckDBPyConnection, refusals: Sequence[RefusedRow], seen_at: dt.datetime, vendor: str = VENDOR
) -> None:
    """Set rows aside that are no bars, each as the vendor sent it."""
    rows = [(row.symbol, row.session, row.reason, None, _as_sent(row.row)) for row in dict.fromkeys(refusals)]
    if rows:
        record_set_aside(connection, vendor, aside_rows(rows), seen_at, whole=False)


def _as_sent(text: str) -> dict[str, Any]:
    """The fields of a row; what is no dictionary, or too long for one, as its text."""
    try:
        fields = ast.literal_eval(text) if len(text) <= LONGEST_ROW else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        fields = None
    return fields if isinstance(fields, dict) else {"row": text[:LONGEST_ROW]}


def symbols_with_gaps(connection: duckdb.DuckDBPyConnection, sessions: Sequence[dt.date]) -> list[str]:
    """The candidates whose stored bars lack some of `sessions` that others have, or all of them."""
    return [row[0] for row in connection.execute(sql("polygon_gaps"), {"sessions": sessions}).fetchall()]


def misdated_symbols(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """The candidates with MISDATED_BARS stored bars and more of which none is of a Monday, or none of a Friday."""
    return [row[0] for row in connection.execute(sql("polygon_misdated"), {"fewest": MISDATED_BARS}).fetchall()]


def empty_sessions(connection: duckdb.DuckDBPyConnection, sessions: Sequence[dt.date]) -> list[dt.date]:
    """Those of `sessions` on which no bar is stored."""
    stored = {row[0] for row in connection.execute("SELECT DISTINCT session FROM daily_bars").fetchall()}
    return [session for session in sessions if session not in stored]


def keep_known_optional(connection: duckdb.DuckDBPyConnection, frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with the stored vwap and trades where it has none: a field left out is not a field restated."""
    if not len(frame) or not frame[["vwap", "trades"]].isna().to_numpy().any():
        return frame
    connection.register("incoming_optional", frame)
    try:
        return connection.execute(sql("polygon_known_optional")).df()
    finally:
        connection.unregister("incoming_optional")


def _save(
    connection: duckdb.DuckDBPyConnection,
    kind: str,
    spans: Mapping[str, tuple[Span, int]],
    done_at: dt.datetime,
    vendor: str,
) -> None:
    """Insert or replace checkpoints of a kind; the rows of one that stands are counted on."""
    import numpy as np
    import pandas as pd

    if not spans:
        return
    days = {day: np.datetime64(day, "s") for span, _ in spans.values() for day in span}
    frame = pd.DataFrame(
        {
            "key": pd.Series(list(spans), dtype=object),
            "span_from": np.array([days[span.first] for span, _ in spans.values()]),
            "span_to": np.array([days[span.last] for span, _ in spans.values()]),
            "rows": [count for _, count in spans.values()],
        }
    )
    connection.register("incoming_checkpoints", frame)
    try:
        connection.execute(sql("polygon_update_checkpoints"), {"vendor": vendor, "kind": kind, "done_at": done_at})
        connection.execute(sql("polygon_insert_checkpoints"), {"vendor": vendor, "kind": kind, "done_at": done_at})
    finally:
        connection.unregister("incoming_checkpoints")
