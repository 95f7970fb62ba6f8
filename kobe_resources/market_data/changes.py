"""What a load brings, what became of it, and what the store holds afterwards: the values that vendors and store exchange."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kobe_resources.market_data.protocol import SyncReport
from kobe_resources.runtime.sql_files import read_sql

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

HERE = Path(__file__).parent / "sql"


@dataclass(frozen=True)
class Load:
    """All that one source has.

    bars: symbol, session, open, high, low, close, volume and optionally vwap, trades; one row a (symbol, session).
    splits: symbol, execution_date, split_from, split_to. candidates: symbol and optionally name, type, active.
    options: symbol, has_options; only symbols for which the source knows.
    dividends: symbol, ex_date, amount and optionally kind, pay_date; None where the source has none. aside: rows of
    `set_aside.COLUMNS` that are not stored; None: none. widened: bars whose high or low was set to an open or close that
    rounding had put outside.
    """

    bars: pd.DataFrame
    splits: pd.DataFrame
    candidates: pd.DataFrame
    options: pd.DataFrame
    dividends: pd.DataFrame | None = None
    aside: pd.DataFrame | None = None
    widened: int = 0


@dataclass(frozen=True)
class Changes:
    """Rows by what became of them, and rows written to `bar_revisions`."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0
    revisions: int = 0

    def __add__(self, other: Changes) -> Changes:
        return Changes(
            self.added + other.added,
            self.changed + other.changed,
            self.unchanged + other.unchanged,
            self.removed + other.removed,
            self.revisions + other.revisions,
        )


@dataclass(frozen=True)
class StoredLoad:
    """The last finished load of the source whose bars the store holds."""

    vendor: str
    fingerprint: str
    loaded_at: dt.datetime


@dataclass(frozen=True)
class StoreTotals:
    """What the store holds."""

    symbols: int
    sessions: int
    bars: int
    first_session: dt.date | None
    last_session: dt.date | None


def report_of(
    vendor: str, changes: Changes, totals: StoreTotals, seconds: float, *, skipped: bool, notes: tuple[str, ...], calls: int = 0
) -> SyncReport:
    """What one sync came to; where it was skipped, every stored bar is unchanged."""
    return SyncReport(
        vendor,
        added=changes.added,
        changed=changes.changed,
        unchanged=totals.bars if skipped else changes.unchanged,
        removed=changes.removed,
        revisions=changes.revisions,
        symbols=totals.symbols,
        sessions=totals.sessions,
        bars=totals.bars,
        first_session=totals.first_session,
        last_session=totals.last_session,
        calls=calls,
        seconds=seconds,
        skipped=skipped,
        notes=notes,
    )


def rows_written(result: duckdb.DuckDBPyConnection) -> int:
    return int(sum(row[0] for row in result.fetchall()))


def sql(name: str) -> str:
    """The text of a .sql file of this package."""
    return read_sql(HERE, name)
