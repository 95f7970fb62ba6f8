"""What enters the warehouse beside bars: splits, dividends, corporate actions, candidates and option evidence.

Every function works inside its caller's transaction, and trusts it for clean frames.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from kobe_resources.market_data.changes import Changes, rows_written, sql
from kobe_resources.warehouse.store import insert

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

DIVIDEND = ["symbol", "ex_date", "amount", "kind", "pay_date"]
PLAIN_KIND = "regular"
"""The kind of a dividend whose source names none."""


def replace_splits(
    connection: duckdb.DuckDBPyConnection,
    splits: pd.DataFrame,
    vendor: str,
    seen_at: dt.datetime,
    since: dt.date = dt.date(1, 1, 1),
    until: dt.date = dt.date(9999, 12, 31),
) -> Changes:
    """Make `splits` the stored ones with `since` ≤ execution_date ≤ `until`; comings and goings go to `split_revisions`.

    Exact duplicates are stored once and named in `bar_refusals`. Two different splits of one symbol and day are both
    stored, and a blocking check names them: dropping either would pick a factor that no source vouches for.
    """
    connection.register("incoming_frame", splits[["symbol", "execution_date", "split_from", "split_to"]])
    window = {"since": since, "until": until}
    try:
        connection.execute(sql("stage_splits"), window)
        connection.execute(
            "DELETE FROM bar_refusals WHERE vendor = $vendor AND reason LIKE 'split %' AND session BETWEEN $since AND $until",
            {**window, "vendor": vendor},
        )
        connection.execute(sql("name_repeated_splits"), {**window, "vendor": vendor, "seen_at": seen_at})
    finally:
        connection.unregister("incoming_frame")
    return _swap_in(connection, "splits", "execution_date", window, vendor, seen_at)


def replace_dividends(
    connection: duckdb.DuckDBPyConnection,
    dividends: pd.DataFrame | None,
    vendor: str,
    seen_at: dt.datetime,
    since: dt.date = dt.date(1, 1, 1),
    until: dt.date = dt.date(9999, 12, 31),
) -> Changes:
    """Make `dividends` the stored ones with `since` ≤ ex_date ≤ `until`; comings and goings go to `dividend_revisions`.

    dividends: symbol, ex_date, amount and optionally kind, pay_date; None: there are none. An amount of one kind and day is
    stored once; two amounts, or two kinds, on one ex-date are two dividends.
    """
    import pandas as pd

    given = pd.DataFrame(columns=DIVIDEND, dtype=object) if dividends is None else dividends.reindex(columns=DIVIDEND)
    # Dates as objects: a column of nothing but NaT would be read as one of times.
    given = given.assign(kind=given["kind"].astype(object).where(given["kind"].notna(), PLAIN_KIND))
    connection.register("incoming_frame", given)
    window = {"since": since, "until": until}
    try:
        connection.execute(sql("stage_dividends"), window)
    finally:
        connection.unregister("incoming_frame")
    return _swap_in(connection, "dividends", "ex_date", window, vendor, seen_at)


def split_off_impossible(
    connection: duckdb.DuckDBPyConnection, dividends: pd.DataFrame, since: dt.date, until: dt.date
) -> tuple[pd.DataFrame, list[tuple[str, dt.date, str]]]:
    """The dividends (DIVIDEND) that a share can pay, and (symbol, ex_date, reason) of those over the stored close before.

    A holder would be paid more than all of the share is worth. What was refused so of the window before is forgotten.
    """
    connection.execute(
        "DELETE FROM bar_refusals WHERE session BETWEEN ? AND ? AND reason LIKE 'dividend: % is more than%'", [since, until]
    )
    if not len(dividends):
        return dividends, []
    connection.register("incoming_frame", dividends.assign(place=range(len(dividends)))[["place", *DIVIDEND[:3]]])
    try:
        rows = connection.execute(sql("impossible_dividends")).fetchall()
    finally:
        connection.unregister("incoming_frame")
    gone = {row[0] for row in rows}
    refused = [
        (symbol, day, f"dividend: {amount:,.6g} is more than the share itself, {close:,.6g}")
        for _, symbol, day, amount, close in rows
    ]
    return dividends[[place not in gone for place in range(len(dividends))]], refused


def _swap_in(
    connection: duckdb.DuckDBPyConnection, table: str, day: str, window: dict[str, dt.date], vendor: str, seen_at: dt.datetime
) -> Changes:
    """Put the staged rows in the place of the stored ones of the window, what came and went on record; the counts of both."""
    logged = [row[0] for row in connection.execute(sql(f"log_{table}"), {**window, "seen_at": seen_at}).fetchall()]
    connection.execute(f"DELETE FROM {table} WHERE {day} BETWEEN $since AND $until", window)  # noqa: S608
    put = f"INSERT INTO {table} SELECT *, ? FROM incoming_{table} ORDER BY ALL"  # noqa: S608
    kept = rows_written(connection.execute(put, [vendor]))
    connection.execute(f"DROP TABLE incoming_{table}")
    added = logged.count("added")
    return Changes(added=added, removed=logged.count("removed"), unchanged=kept - added)


def replace_actions(
    connection: duckdb.DuckDBPyConnection, actions: pd.DataFrame, vendor: str, since: dt.date, until: dt.date
) -> int:
    """Make `actions` (symbol, ex_date, kind, other_symbol, rate) those with `since` ≤ ex_date ≤ `until`; rows written."""
    connection.execute("DELETE FROM corporate_actions WHERE ex_date BETWEEN ? AND ?", [since, until])
    if not len(actions):
        return 0
    connection.register("incoming_frame", actions)
    try:
        return rows_written(connection.execute(sql("insert_actions"), {"source": vendor, "since": since, "until": until}))
    finally:
        connection.unregister("incoming_frame")


def replace_candidates(connection: duckdb.DuckDBPyConnection, candidates: pd.DataFrame, vendor: str) -> int:
    """Make `candidates` (symbol, optionally name, type, active) the stored ones; rows written."""
    connection.execute("DELETE FROM candidates")
    return insert(connection, "candidates", candidates.assign(source=vendor)) if len(candidates) else 0


def record_options(connection: duckdb.DuckDBPyConnection, options: pd.DataFrame, vendor: str, seen_at: dt.datetime) -> int:
    """Note which symbols have listed options (symbol, has_options); a newer answer replaces the older. Rows written."""
    if not len(options):
        return 0
    connection.register("incoming_options", options)
    try:
        connection.execute("DELETE FROM option_evidence WHERE symbol IN (SELECT symbol FROM incoming_options)")
    finally:
        connection.unregister("incoming_options")
    return insert(connection, "option_evidence", options[["symbol", "has_options"]].assign(source=vendor, seen_at=seen_at))
