"""Point-in-time membership: who would have been in the universe on each day, judged by what was known the day before.

At the first session of every month the list is drawn up anew from the bars up to the session before:
- bars for `universe.membership_min_years`, counted from the listing's first bar to then;
- a bar at 80 % of the last 252 sessions (fewer at the start of the data) and at one of the last 10;
- the median dollar volume of these bars at `universe.min_adv_usd` or more;
- the `universe.cap` largest by that median, ties by symbol.
Delisted symbols are members for as long as they qualified. `require_options` is not asked: who had options then is not
known. Nothing here reads a later bar, which a test shows by cutting the bars off.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kobe_assets.selection.barred import barred_symbols
from kobe_resources.runtime.sql_files import read_sql

if TYPE_CHECKING:
    import pandas as pd

    from kobe_resources.settings.models import Settings, UniverseSettings
    from kobe_resources.warehouse.store import Warehouse

HERE = Path(__file__).parent
TRAILING = 252
PRESENT_SHARE = 0.8
ALIVE_WITHIN = 10


def build_membership(warehouse: Warehouse, settings: Settings) -> pd.DataFrame:
    """The universe_membership table: symbol, "from", "to" (both included; "to" empty: still a member), no overlaps."""
    with warehouse.connect() as connection:
        # A ticker that another company bears now has the years of that company alone (rules, section 1).
        connection.execute(read_sql(HERE, "membership_listings"))
        symbols = connection.execute("SELECT symbol FROM member_listings ORDER BY place").fetchall()
        days = connection.execute("SELECT DISTINCT session FROM daily_bars ORDER BY session").fetchnumpy()["session"]
        columns = connection.execute(read_sql(HERE, "membership")).fetchnumpy()
    sessions = np.asarray(days, dtype="datetime64[D]")
    dollars = np.full((len(sessions), len(symbols)), np.nan)
    dollars[columns["session"], columns["symbol"]] = columns["dollars"]
    names = np.array([row[0] for row in symbols], dtype=object)
    dollars[:, np.isin(names, list(barred_symbols(warehouse)))] = np.nan
    return membership_spans(names, sessions, dollars, settings.universe)


def membership_spans(
    symbols: NDArray[np.object_],
    sessions: NDArray[np.datetime64],
    dollars: NDArray[np.float64],
    wanted: UniverseSettings,
) -> pd.DataFrame:
    """Membership from dollar volumes. symbols, sessions: sorted. dollars: (sessions, symbols), NaN where there is no bar."""
    import pandas as pd

    first = np.where(np.isnan(dollars).all(axis=0), len(sessions), np.argmin(np.isnan(dollars), axis=0))
    months = sessions.astype("datetime64[M]")
    begins = np.flatnonzero(months[1:] != months[:-1]) + 1
    open_since: dict[int, int] = {}
    spans: list[tuple[int, int, int]] = []
    for begin in begins.tolist():
        members = set(_qualified(sessions, dollars, first, begin, wanted).tolist())
        for symbol in open_since.keys() - members:
            spans.append((symbol, open_since.pop(symbol), begin - 1))
        for symbol in members - open_since.keys():
            open_since[symbol] = begin
    spans += [(symbol, since, len(sessions)) for symbol, since in open_since.items()]
    spans.sort()
    until = np.append(sessions, np.datetime64("NaT"))
    return pd.DataFrame(
        {
            "symbol": symbols[[span[0] for span in spans]],
            "from": sessions[[span[1] for span in spans]],
            "to": until[[span[2] for span in spans]],
        }
    )


def _qualified(
    sessions: NDArray[np.datetime64],
    dollars: NDArray[np.float64],
    first: NDArray[np.int64],
    begin: int,
    wanted: UniverseSettings,
) -> NDArray[np.int64]:
    """Places of the symbols that qualify at session number `begin`; rows from `begin` on are not read."""
    past = dollars[max(0, begin - TRAILING) : begin]
    known = np.flatnonzero(first < begin)
    past = past[:, known]
    years = (sessions[begin - 1] - sessions[first[known]]).astype(np.int64) / 365.25
    present = ~np.isnan(past)
    enough: NDArray[np.bool_] = years >= wanted.membership_min_years
    enough &= present.sum(axis=0) >= PRESENT_SHARE * len(past)
    enough &= present[-ALIVE_WITHIN:].any(axis=0)
    known, past = known[enough], past[:, enough]
    if not len(known):
        return known
    median = np.nanmedian(past, axis=0)
    order: NDArray[np.int64] = np.lexsort((known, -median))
    order = order[median[order] >= wanted.min_adv_usd]
    return known[order[: wanted.cap]]
