"""What the warehouse knows about the Polygon load: coverage of symbols, marks, refused rows.

Every write happens inside the transaction of the rows it speaks of, which is its caller's.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from kobe_resources.market_data.polygon_plan import Span
from kobe_resources.market_data.store import current_source
from kobe_resources.warehouse import insert

if TYPE_CHECKING:
    import duckdb

    from kobe_resources.market_data.polygon_rows import Refusal

VENDOR = "polygon"


class Mark(NamedTuple):
    """A list that was read, or a load that was finished."""

    key: str
    span: Span
    rows: int
    done_at: dt.datetime


@dataclass
class State:
    """Where the load stands. candidates: symbol → is it active. asked: symbols whose options are known."""

    coverage: dict[str, Span] = field(default_factory=dict)
    marks: dict[str, Mark] = field(default_factory=dict)
    candidates: list[str] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)


def read_state(connection: duckdb.DuckDBPyConnection) -> State:
    """The state of this vendor's load; an empty one where the store holds another source's bars."""
    source = current_source(connection)
    if source is None or source[0] != VENDOR:
        return State()
    rows = connection.execute(
        "SELECT kind, key, span_from, span_to, rows, done_at FROM bar_checkpoints WHERE vendor = ? AND kind <> 'day'", [VENDOR]
    ).fetchall()
    return State(
        {row[1]: Span(row[2], row[3]) for row in rows if row[0] == "symbol"},
        {row[0]: Mark(row[1], Span(row[2], row[3]), row[4], row[5]) for row in rows if row[0] != "symbol"},
        [row[0] for row in connection.execute("SELECT symbol FROM candidates ORDER BY symbol").fetchall()],
        {row[0] for row in connection.execute("SELECT symbol FROM option_evidence").fetchall()},
    )


def forget(connection: duckdb.DuckDBPyConnection) -> None:
    """Drop every checkpoint: the rows they spoke of are gone."""
    connection.execute("DELETE FROM bar_checkpoints WHERE vendor = ?", [VENDOR])
    connection.execute("DELETE FROM bar_refusals WHERE vendor = ?", [VENDOR])


def save_coverage(
    connection: duckdb.DuckDBPyConnection, coverage: Mapping[str, Span], rows: Mapping[str, int], done_at: dt.datetime
) -> None:
    """Replace the coverage of some symbols; `rows` (none: 0) are added to what was counted before."""
    _save(connection, "symbol", {symbol: (span, rows.get(symbol, 0)) for symbol, span in coverage.items()}, done_at)


def save_days(connection: duckdb.DuckDBPyConnection, rows: Mapping[dt.date, int], done_at: dt.datetime) -> None:
    """Note that these days of the market were read, and how many rows of candidates each gave."""
    _save(connection, "day", {str(day): (Span(day, day), count) for day, count in rows.items()}, done_at, add=False)


def save_mark(connection: duckdb.DuckDBPyConnection, kind: str, mark: Mark) -> None:
    """Replace the one mark of a kind."""
    connection.execute("DELETE FROM bar_checkpoints WHERE vendor = ? AND kind = ?", [VENDOR, kind])
    connection.execute(
        "INSERT INTO bar_checkpoints VALUES (?, ?, ?, ?, ?, ?, ?)",
        [VENDOR, kind, mark.key, mark.span.first, mark.span.last, mark.rows, mark.done_at],
    )


def save_refusals(connection: duckdb.DuckDBPyConnection, refusals: Iterable[Refusal], seen_at: dt.datetime) -> None:
    """Name refused rows, each once however often the vendor sends it."""
    for refusal in dict.fromkeys(refusals):
        values = [VENDOR, refusal.symbol, refusal.session, refusal.reason]
        connection.execute(
            "INSERT INTO bar_refusals SELECT $1, $2, $3, $4, $5 WHERE NOT EXISTS (SELECT 1 FROM bar_refusals "
            "WHERE vendor = $1 AND symbol = $2 AND session IS NOT DISTINCT FROM $3 AND reason = $4)",
            [*values, seen_at],
        )


def _save(
    connection: duckdb.DuckDBPyConnection,
    kind: str,
    spans: Mapping[str, tuple[Span, int]],
    done_at: dt.datetime,
    add: bool = True,
) -> None:
    import pandas as pd

    if not spans:
        return
    frame = pd.DataFrame(
        {
            "vendor": VENDOR,
            "kind": kind,
            "key": list(spans),
            "span_from": pd.to_datetime([span.first for span, _ in spans.values()]),
            "span_to": pd.to_datetime([span.last for span, _ in spans.values()]),
            "rows": [count for _, count in spans.values()],
            "done_at": done_at,
        }
    )
    connection.register("incoming_checkpoints", frame)
    try:
        if add:
            counted = dict(connection.execute(_COUNTED, [VENDOR, kind]).fetchall())
            frame["rows"] = [count + counted.get(key, 0) for key, count in zip(frame["key"], frame["rows"], strict=True)]
        connection.execute(_DELETE, [VENDOR, kind])
    finally:
        connection.unregister("incoming_checkpoints")
    insert(connection, "bar_checkpoints", frame)


_COUNTED = (
    "SELECT key, rows FROM bar_checkpoints SEMI JOIN incoming_checkpoints USING (key) "
    "WHERE bar_checkpoints.vendor = ? AND bar_checkpoints.kind = ?"
)
_DELETE = "DELETE FROM bar_checkpoints WHERE vendor = ? AND kind = ? AND key IN (SELECT key FROM incoming_checkpoints)"
