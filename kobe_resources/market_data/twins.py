"""A company that a network vendor gives under two names, loaded once: its bars are equal to the last digit."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import TYPE_CHECKING

from kobe_resources.market_data.changes import Changes, sql
from kobe_resources.market_data.polygon.checkpoints import save_refusals
from kobe_resources.market_data.polygon.plan import DAY
from kobe_resources.market_data.polygon.rows import RefusedRow
from kobe_resources.market_data.store import take_back

if TYPE_CHECKING:
    import duckdb

REASON = "the same bars as {heir}, which keeps them"
TWIN_BARS = 20
"""So many bars that are equal to the last digit are no chance. A name that was given up has been seen to answer with 27."""


def drop_twins(connection: duckdb.DuckDBPyConnection, vendor: str, at: dt.datetime) -> tuple[Changes, Counter[str]]:
    """Take back the bars that a symbol shares with one that goes on longer; what that changed, and bars by what is to be said.

    Runs in the caller's transaction, after a load of all bars: no name change joins the two symbols.
    """
    changes, counted = Changes(), Counter[str]()
    for loser, heir, last, shared in connection.execute(sql("twins"), {"least": TWIN_BARS}).fetchall():
        changes += take_back(connection, loser, last + DAY, at)
        save_refusals(connection, [RefusedRow(loser, last, REASON.format(heir=heir))], at, vendor)
        counted[f"bars of {loser} left out, since {heir} has the very same"] += shared
    return changes, counted


def known_twins(connection: duckdb.DuckDBPyConnection, vendor: str) -> set[str]:
    """The symbols that `drop_twins` left without a bar: a later load need not ask for them, and would store a few of each.

    A name that another company took up after the first has bars of its own, and is no such symbol.
    """
    rows = connection.execute(
        "SELECT symbol FROM bar_refusals ANTI JOIN daily_bars USING (symbol) WHERE vendor = ? AND reason LIKE ?",
        [vendor, REASON.format(heir="%")],
    ).fetchall()
    return {symbol for (symbol,) in rows}


def forget_twins(connection: duckdb.DuckDBPyConnection, vendor: str) -> None:
    """Let the next load ask for all symbols, to be judged by what it brings."""
    connection.execute("DELETE FROM bar_refusals WHERE vendor = ? AND reason LIKE ?", [vendor, REASON.format(heir="%")])
