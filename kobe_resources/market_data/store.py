"""How bars, splits, candidates and option evidence enter the warehouse, with what changed on the way.

Every function but `replace_all` works inside its caller's transaction, so that a checkpoint is durable as a whole or not
at all. Callers are trusted for clean frames (the vendors refuse bad rows before they come here), except that a frame
which names one bar twice is refused: the store could not tell later which of the two is true.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from kobe_resources.market_data.changes import Changes, Load, StoredLoad, StoreTotals, rows_written, sql
from kobe_resources.market_data.companions import record_options, replace_candidates, replace_dividends, replace_splits
from kobe_resources.market_data.protocol import MarketDataError
from kobe_resources.market_data.set_aside import aside_rows, record_set_aside
from kobe_resources.warehouse.store import Warehouse

if TYPE_CHECKING:
    from collections.abc import Iterable

    import duckdb
    import pandas as pd

    from kobe_resources.settings.models import Settings

OPTIONAL_FIELDS = ("vwap", "trades")
OF_ONE_SOURCE = (
    "daily_bars",
    "splits",
    "dividends",
    "corporate_actions",
    "candidates",
    "option_evidence",
    "bar_refusals",
    "set_aside",
)
"""Tables whose rows go when the store becomes another source's."""
PART_MEMORY = "1GB"
"""What the database may hold in memory while bars come in parts; the rest goes to its file."""


def warehouse_of(settings: Settings) -> Warehouse:
    """The warehouse of the data folder. Raises MarketDataError where its bars are not those of `data.vendor`."""
    warehouse = Warehouse()
    if warehouse.path.is_file():
        refuse_other_source(warehouse, settings.data.vendor)
    return warehouse


def refuse_other_source(warehouse: Warehouse, vendor: str) -> None:
    """Raise MarketDataError where the store holds bars of another vendor.

    A forgotten setting must neither replace them, nor judge by them what it says of others.
    """
    with warehouse.connect() as connection:
        stored = current_source(connection)
        bars = connection.execute("SELECT count(*) FROM daily_bars").fetchall()[0][0]
    held = stored[0].split()[0] if stored else vendor
    if held != vendor and bars:
        raise MarketDataError(
            f"the warehouse holds {bars:,} bars loaded from {held}, and data.vendor is {vendor}",
            f"set KOBE_CONFIG to the settings with {held}, use another KOBE_HOME for {vendor}, "
            "or replace the bars with `kobe bars refresh --force`",
        )


def begin_source(connection: duckdb.DuckDBPyConnection, source: str, began_at: dt.datetime) -> bool:
    """Make the store that of `source`: bars, splits, candidates and options of another one go. True where they did.

    The first statement of a vendor's first transaction. They leave no revisions: they were not wrong, only another's.
    """
    # fetchall: a result not read to its end keeps the connection from registering the caller's frames.
    rows = connection.execute("SELECT epoch, source FROM bar_epochs ORDER BY epoch DESC LIMIT 1").fetchall()
    row = rows[0] if rows else None
    if row and row[1] == source:
        return False
    for table in OF_ONE_SOURCE:
        connection.execute(f"DELETE FROM {table}")  # noqa: S608
    connection.execute("INSERT INTO bar_epochs VALUES (?, ?, ?)", [rows[0][0] + 1 if rows else 1, source, began_at])
    return True


def current_source(connection: duckdb.DuckDBPyConnection) -> tuple[str, dt.datetime] | None:
    """The source whose bars the store holds and since when; None in a new warehouse."""
    rows = connection.execute("SELECT source, began_at FROM bar_epochs ORDER BY epoch DESC LIMIT 1").fetchall()
    return rows[0] if rows else None


def last_load(connection: duckdb.DuckDBPyConnection) -> StoredLoad | None:
    """The last finished load in the current epoch; None where none has finished."""
    rows = connection.execute(
        "SELECT vendor, fingerprint, loaded_at FROM bar_loads "
        "WHERE epoch = (SELECT max(epoch) FROM bar_epochs) ORDER BY rowid DESC LIMIT 1"
    ).fetchall()
    return StoredLoad(*rows[0]) if rows else None


def record_load(
    connection: duckdb.DuckDBPyConnection, vendor: str, fingerprint: str, changes: Changes, loaded_at: dt.datetime
) -> None:
    """Record the state of the source that the store now holds; the last statement of a load's last transaction."""
    counts = [changes.added, changes.changed, changes.unchanged, changes.removed]
    connection.execute(
        "INSERT INTO bar_loads SELECT max(epoch), ?, ?, ?, ?, ?, ?, ? FROM bar_epochs",
        [vendor, fingerprint, loaded_at, *counts],
    )


def replace_all(
    warehouse: Warehouse,
    load: Load,
    vendor: str,
    source: str,
    fingerprint: str,
    fetched_at: dt.datetime,
    most_removed: float = 1.0,
) -> Changes:
    """Make the store hold `load` and nothing else, in one transaction.

    source: names one stream of bars (`synthetic seed 7` and `synthetic seed 8` are two). Where the stored bars came from
    it too, differing and vanished ones go to `bar_revisions` first and unchanged ones keep their `fetched_at`. most_removed:
    the share of the stored bars above which taking them back is refused (MarketDataError), and nothing is changed.
    """
    with warehouse.transaction() as connection:
        begin_source(connection, source, fetched_at)
        drop_stored_duplicates(connection)
        changes = upsert_bars(connection, load.bars, vendor, fetched_at, complete=True)
        held = changes.changed + changes.unchanged + changes.removed
        if changes.removed > most_removed * held:
            raise MarketDataError(
                f"{vendor} has {len(load.bars):,} bars, the store {held:,}: {changes.removed:,} of them would be taken back",
                "`kobe bars refresh --force` takes them back; `kobe bars as-of` gives the old ones",
            )
        replace_splits(connection, load.splits, vendor, fetched_at)
        replace_dividends(connection, load.dividends, vendor, fetched_at)
        replace_candidates(connection, load.candidates, vendor)
        connection.execute("DELETE FROM option_evidence")
        record_options(connection, load.options, vendor, fetched_at)
        record_set_aside(connection, vendor, aside_rows([]) if load.aside is None else load.aside, fetched_at, whole=True)
        record_load(connection, vendor, fingerprint, changes, fetched_at)
    return changes


def store_in_parts(
    warehouse: Warehouse,
    parts: Iterable[tuple[pd.DataFrame, pd.DataFrame]],
    lists: Load,
    vendor: str,
    source: str,
    fingerprint: str,
    fetched_at: dt.datetime,
) -> Changes:
    """Make an empty store, or another source's, that of `source`, in one transaction.

    parts: bars and splits of some symbols each, trusted to name every bar once. lists: candidates and options.
    Raises MarketDataError where there is no bar.
    """
    import pandas as pd

    with warehouse.transaction() as connection:
        begin_source(connection, source, fetched_at)
        added, splits = 0, []
        # What is not committed yet would else pile up in memory.
        connection.execute(f"SET memory_limit = '{PART_MEMORY}'")
        for bars, own in parts:
            added += len(bars)
            splits.append(own)
            connection.register("incoming_bars", _with_optional(bars))
            try:
                connection.execute(sql("insert_bars"), {"source": vendor, "fetched_at": fetched_at})
            finally:
                connection.unregister("incoming_bars")
        connection.execute("RESET memory_limit")
        if not added:
            raise MarketDataError(f"{vendor} has no bars in this span", "widen data.start and data.end")
        replace_splits(connection, pd.concat(splits, ignore_index=True), vendor, fetched_at)
        replace_candidates(connection, lists.candidates, vendor)
        record_options(connection, lists.options, vendor, fetched_at)
        record_load(connection, vendor, fingerprint, Changes(added=added), fetched_at)
    return Changes(added=added)


def upsert_bars(
    connection: duckdb.DuckDBPyConnection,
    bars: pd.DataFrame,
    vendor: str,
    fetched_at: dt.datetime,
    complete: bool = False,
) -> Changes:
    """Add new bars, replace differing ones after keeping the old values in `bar_revisions`, leave equal ones alone.

    complete: `bars` is all the source has, so stored bars it lacks are taken back. NaN in vwap or trades is NULL.
    Raises MarketDataError where `bars` names one (symbol, session) twice.
    """
    parameters = {"source": vendor, "fetched_at": fetched_at}
    connection.register("incoming_bars", _with_optional(bars))
    try:
        _refuse_repeated(connection)
        if not connection.execute("SELECT 1 FROM daily_bars LIMIT 1").fetchall():
            connection.execute(sql("insert_bars"), parameters)
            return Changes(added=len(bars))
        connection.execute(sql("stage_changes"))
        if complete:
            connection.execute(sql("stage_removed"))
    finally:
        connection.unregister("incoming_bars")
    by_change = dict(connection.execute("SELECT change, count(*) FROM bar_changes GROUP BY ALL").fetchall())
    revisions = rows_written(connection.execute(sql("keep_revisions"), {"seen_at": fetched_at}))
    connection.execute(sql("delete_changed"))
    connection.execute(sql("insert_changed"), parameters)
    connection.execute("DROP TABLE bar_changes")
    added, changed, removed = (by_change.get(change, 0) for change in ("added", "changed", "removed"))
    return Changes(added, changed, len(bars) - added - changed, removed, revisions)


def take_back(connection: duckdb.DuckDBPyConnection, symbol: str, before: dt.date, seen_at: dt.datetime) -> Changes:
    """Take the bars of `symbol` before a day out of the store, their values kept in `bar_revisions`."""
    connection.execute(sql("stage_taken_back"), {"symbol": symbol, "before": before})
    removed = connection.execute("SELECT count(*) FROM bar_changes").fetchall()[0][0]
    revisions = rows_written(connection.execute(sql("keep_revisions"), {"seen_at": seen_at}))
    connection.execute(sql("delete_changed"))
    connection.execute("DROP TABLE bar_changes")
    return Changes(removed=removed, revisions=revisions)


def drop_stored_duplicates(connection: duckdb.DuckDBPyConnection) -> int:
    """Leave one row a (symbol, session), the one stored first; rows dropped."""
    repeated = connection.execute("SELECT 1 FROM daily_bars GROUP BY symbol, session HAVING count(*) > 1 LIMIT 1").fetchall()
    return rows_written(connection.execute(sql("delete_repeated"))) if repeated else 0


def store_totals(connection: duckdb.DuckDBPyConnection) -> StoreTotals:
    """Symbols, sessions, bars and span of `daily_bars`."""
    rows = connection.execute(
        "SELECT count(DISTINCT symbol), count(DISTINCT session), count(*), min(session), max(session) FROM daily_bars"
    ).fetchall()
    return StoreTotals(*rows[0])


def _with_optional(bars: pd.DataFrame) -> pd.DataFrame:
    return bars.assign(**{field: float("nan") for field in OPTIONAL_FIELDS if field not in bars.columns})


def _refuse_repeated(connection: duckdb.DuckDBPyConnection) -> None:
    rows = connection.execute(
        "SELECT symbol, session::DATE FROM incoming_bars GROUP BY ALL HAVING count(*) > 1 ORDER BY ALL LIMIT 1"
    ).fetchall()
    if rows:
        symbol, session = rows[0]
        raise MarketDataError(f"the source gives the bar of {symbol!r} on {session} more than once", "keep one of them")
