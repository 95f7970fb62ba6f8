"""What can be wrong with the list of stored sessions: stale, thin, or far from all others."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import numpy as np

from kobe_assets.checks.findings import FEW_ROWS, USUAL_DAYS, DataFinding, data_finding
from kobe_assets.research.panel import LISTING_GAP
from kobe_resources import calendar
from kobe_resources.market_data import AGING

if TYPE_CHECKING:
    import duckdb

    from kobe_resources.settings.models import Settings

A_MONTH = 31
"""Days in a row that are never without a session."""
LONE_SHARE = 0.02
"""Share of all bars under which a stretch of sessions apart from the others is a slip of dates."""


def find_thin_sessions(days: np.ndarray, counts: np.ndarray) -> DataFinding:
    """Sessions with far fewer bars than those before them: a load that broke off, a feed that lost symbols."""
    import pandas as pd

    short = counts[USUAL_DAYS:] < FEW_ROWS * _median_before(counts) if len(counts) > USUAL_DAYS else np.zeros(0, bool)
    thin = np.flatnonzero(short) + USUAL_DAYS
    usual = _median_before(counts)[thin - USUAL_DAYS] if len(thin) else np.zeros(0)
    frame = pd.DataFrame({"session": days[thin], "bars": counts[thin], "usual": usual})
    worst = frame.assign(share=frame["bars"] / frame["usual"]).sort_values(["share", "session"])
    return data_finding("thin_sessions", worst, len(frame), f"{len(frame):,} sessions have few bars")


def find_lone_sessions(connection: duckdb.DuckDBPyConnection, days: np.ndarray, counts: np.ndarray) -> DataFinding:
    """Stretches of sessions with few bars, beyond a hole of sessions without any: dates with a slip in the year, mostly.

    They are sessions of every run all the same: the folds, and their symbol's years, count from them.
    """
    import pandas as pd

    known = np.asarray(calendar.sessions(max(days[0].item(), calendar.FIRST_DAY), min(days[-1].item(), calendar.LAST_DAY)))
    place = np.searchsorted(known, days)
    # Of days before the calendar begins it knows no session.
    apart = (np.diff(place) > LISTING_GAP + 1) | (np.diff(days).astype(np.int64) > A_MONTH)
    starts = np.append(0, np.flatnonzero(apart) + 1)
    held = np.add.reduceat(counts, starts)
    ends = np.append(starts[1:], len(days)) - 1
    lone = np.flatnonzero(held < LONE_SHARE * counts.sum())
    rows = []
    for k in lone:
        first, last = days[starts[k]].item(), days[ends[k]].item()
        symbols = "SELECT symbol FROM daily_bars WHERE session BETWEEN ? AND ? GROUP BY symbol ORDER BY count(*) DESC, symbol"
        named = connection.execute(symbols, [first, last]).fetchall()
        rows.append((named[0][0], pd.Timestamp(first), pd.Timestamp(last), len(named), int(held[k])))
    frame = pd.DataFrame(rows, columns=["symbol", "session", "until", "symbols", "bars"]).sort_values("bars", kind="stable")
    words = f"{len(frame):,} stretches of sessions lie far from all others, with few bars: is the year of their dates right"
    return data_finding("lone_sessions", frame, len(frame), words)


def find_stale(last: dt.date, settings: Settings, now: dt.datetime) -> DataFinding:
    """Whether the last stored session is the one that the vendor should have by `now`; a fixed history is never stale."""
    import pandas as pd

    expected = _expected_last_session(settings, now)
    if expected is None or last >= expected:
        words = f"the last stored session is {last}" + ("" if expected else f": {settings.data.vendor} is a fixed history")
        return data_finding("stale_last_session", pd.DataFrame(), 0, words)
    behind = len(calendar.sessions(last, expected)) - 1
    frame = pd.DataFrame({"last_session": [last], "expected": [expected], "sessions_behind": [behind]})
    words = f"the last stored session is {last}, {behind} behind {expected}: run `kobe bars refresh`"
    return data_finding("stale_last_session", frame, behind, words)


def _expected_last_session(settings: Settings, now: dt.datetime) -> dt.date | None:
    data = settings.data
    if data.vendor not in AGING:
        return None
    latest = calendar.latest_complete_session(now, calendar.BARS_EXPECTED_AFTER)
    return calendar.previous_session(data.end + dt.timedelta(days=1)) if data.end and data.end < latest else latest


def _median_before(counts: np.ndarray) -> np.ndarray:
    medians: np.ndarray = np.median(np.lib.stride_tricks.sliding_window_view(counts[:-1], USUAL_DAYS), axis=1)
    return medians
