"""Rows that are no bars: off the calendar, of a session that is not over, without volume (rules, section 1); kept apart.

A vendor's frame goes through `judge_bars` before it is stored; what is set aside is recorded in the transaction that stores
the rest. Trusts its caller for frames of typed columns with one row a (symbol, session).
"""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kobe_resources import calendar
from kobe_resources.market_data.protocol import MarketDataError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    import duckdb
    import pandas as pd

FEWEST_SYMBOLS = 10
"""Symbols with a bar on a date off the calendar from which the calendar may be what is wrong."""
CALENDAR_ERRORS = 3
"""Dates that the calendar may lack: with more of them it is the dates that are wrong, of many symbols alike."""
HALF = 0.5
MOST_OF_SYMBOL, MOST_OF_FILE = 0.10, 0.02
"""Shares of bars off the calendar above which a symbol, or a whole source, has wrong dates."""
ALONE_DAYS, FAR = 30, 10**9
"""Days without a bar on both sides of a day that stands alone; more days than a date can lie from another."""
A_HOLIDAY = 4
"""Days from the bar before to that of a holiday, at most: both may lie about a weekend."""
A_WEEK = 6
"""Usual days between bars from which they are not daily."""
FEWEST_STRANGE, ONE_WEEKDAY = 5, 0.75
"""Bars of a symbol off the calendar, and their share on one day of the weekend, from which a part of its dates is a day off."""
FEW_SYMBOLS = 3
"""Symbols of a source from which a day that only one of them has may be a slip of its date."""
FEWEST_BARS = 20
"""Bars of a part of a source from which a symbol's share says something of the symbol."""
COLUMNS = ("symbol", "session", "reason", "line", "row")
OFF_CALENDAR, UNFINISHED, NO_VOLUME = "no session of the exchange", "the session was not over", "nobody traded (volume 0)"
ALONE = f"the only bar of all symbols within {ALONE_DAYS} days: is its year right"
READ_AS = "read as "
"""What the reason of a name that is spelled otherwise says: its rows are stored."""
DAY_EARLY, DAY_LATE = "dates look a day early", "dates look a day late"
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


class Judged(NamedTuple):
    """Bars that may be stored, and rows of COLUMNS that may not."""

    bars: pd.DataFrame
    aside: pd.DataFrame


def aside_rows(rows: Iterable[tuple[str, Any, str, int | None, dict[str, Any]]]) -> pd.DataFrame:
    """A frame of COLUMNS from (symbol, session or None, reason, line or None, the row's own fields)."""
    import pandas as pd

    given = [(symbol, session, reason, line, _json(row)) for symbol, session, reason, line, row in rows]
    frame = pd.DataFrame(given, columns=list(COLUMNS))
    return frame.astype({"symbol": object, "reason": object, "row": object, "line": "Int64"}).assign(
        session=pd.to_datetime(frame["session"])
    )


def judge_bars(bars: pd.DataFrame, now: dt.datetime, whole: bool, traded: Collection[str] = ()) -> Judged:
    """Part the bars that section 1 of the rules stores from those that it sets aside.

    now: aware. whole: `bars` is all that the source has, so that shares of it mean something. traded: symbols that are known
    to have volume; of others, those without any in `bars` are indices, and kept. Raises MarketDataError where over 2 % of a
    whole source lie off the calendar.
    """
    import pandas as pd

    if not len(bars):
        return Judged(bars, aside_rows([]))
    session = bars["session"].to_numpy().astype("datetime64[D]")
    first = session.min()
    place = (session - first).astype(np.int64)
    held = np.bincount(place)
    days = first + np.flatnonzero(held)
    slot = np.cumsum(held > 0) - 1
    off_day, unfinished_day = days_off(days, held[held > 0], now)
    off, unfinished = off_day[slot][place], unfinished_day[slot][place]
    reason = np.where(unfinished, UNFINISHED, np.where(off, OFF_CALENDAR, "")).astype(object)
    # What a part of a source lacks around a day, its next part may bring.
    if whole and (alone := _alone(days[~(off_day | unfinished_day)], session, now)).any() and _has_symbols(bars):
        reason[alone & (reason == "")] = ALONE
    idle = bars["volume"].to_numpy(np.float64) == 0.0
    if idle.any() or off.any():
        code, names = pd.factorize(bars["symbol"])
        busy = np.bincount(code, weights=~idle, minlength=len(names)) > 0
        busy |= np.isin(np.asarray(names, dtype=object), list(traded)) if len(traded) else False
        reason[(reason == "") & idle & busy[code]] = NO_VOLUME
        count, strange = np.bincount(code), np.bincount(code, weights=off, minlength=len(names))
        wrong = (strange > MOST_OF_SYMBOL * count) & (whole | (count >= FEWEST_BARS))
        for number in np.flatnonzero(wrong):
            mine = code == number
            reason[mine & ~unfinished] = _early(str(names[number]), session[mine], off[mine])
        for number in np.flatnonzero((strange >= FEWEST_STRANGE) & ~wrong):
            mine = off & (code == number)
            if shifted := _shifted(session[mine]):
                reason[mine & ~unfinished] = f"{OFF_CALENDAR}; {names[number]}: {shifted} in part"
    if whole and off.sum() > MOST_OF_FILE * len(bars) and (off & ~_filled(bars)).sum() > MOST_OF_FILE * len(bars):
        raise _off_calendar(str(bars["symbol"].iloc[off.argmax()]), session, off, days)
    aside = reason != ""
    if not aside.any():
        return Judged(bars, aside_rows([]))
    rows = bars[aside]
    fields = rows.drop(columns=["symbol"]).assign(session=session[aside].astype(str)).to_dict(orient="records")
    refused = zip(rows["symbol"], session[aside], reason[aside], [None] * len(rows), fields, strict=True)
    return Judged(bars[~aside], aside_rows(refused))


def _filled(bars: pd.DataFrame) -> np.ndarray:
    """Whether each bar repeats that of the days before, between Monday and Friday: a program filled the holidays in."""
    session = bars["session"].to_numpy().astype("datetime64[D]")
    order = np.lexsort((session, bars["symbol"].to_numpy()))
    ordered = bars.iloc[order][["symbol", "open", "high", "low", "close", "volume"]]
    same = (ordered.to_numpy() == ordered.shift().to_numpy()).all(axis=1)
    apart = np.diff(session[order], prepend=session[order][:1]).astype(np.int64)
    filled = np.empty(len(bars), bool)
    filled[order] = same & (apart <= A_HOLIDAY)
    filled &= np.is_busday(session)
    return filled


def _off_calendar(symbol: str, session: np.ndarray, off: np.ndarray, days: np.ndarray) -> MarketDataError:
    """Why a whole source is refused whose bars lie on days that were no session. symbol: of the first of them."""
    day = session[off.argmax()]
    what = (
        f"{int(off.sum()):,} of {len(off):,} bars lie on days that were no session, as that of {symbol} on {day}, "
        f"a {_weekday(day)}"
    )
    if (apart := _apart(days)) >= A_WEEK:
        why = f"{what}, {apart:.0f} days apart: these are weekly or monthly bars, not daily"
        return MarketDataError(why, "load daily bars")
    mend = "see whether the dates are a day early or late (midnight of another time zone), or of another exchange"
    return MarketDataError(what, mend)


def record_set_aside(
    connection: duckdb.DuckDBPyConnection, source: str, aside: pd.DataFrame, seen_at: dt.datetime, whole: bool
) -> None:
    """Note what was set aside, each row once. whole: nothing else is set aside of this source any more."""
    if whole:
        connection.execute("DELETE FROM set_aside WHERE source = ?", [source])
    if not len(aside):
        return
    connection.register("incoming_aside", aside)
    try:
        connection.execute(
            "INSERT INTO set_aside SELECT $source, symbol, session::DATE, reason, line, row, $seen_at FROM incoming_aside i "
            "WHERE NOT EXISTS (SELECT 1 FROM set_aside s WHERE s.source = $source AND s.symbol = i.symbol "
            "AND s.session IS NOT DISTINCT FROM i.session::DATE AND s.reason = i.reason "
            "AND s.line IS NOT DISTINCT FROM i.line)",
            {"source": source, "seen_at": seen_at},
        )
    finally:
        connection.unregister("incoming_aside")


def why_no_bars(connection: duckdb.DuckDBPyConnection, source: str) -> str:
    """Why no candidate has a bar of `source` though the vendor sent some; empty where it sent none."""
    count, symbol, session, reason = connection.execute(
        "SELECT count(*), arg_min(symbol, (session, symbol)), min(session), arg_min(reason, (session, symbol)) FROM set_aside "
        "SEMI JOIN candidates USING (symbol) WHERE set_aside.source = ? AND session IS NOT NULL",
        [source],
    ).fetchall()[0]
    return f": {count:,} that it sent are refused, the first, of {symbol} on {session}, for {reason}" if count else ""


def with_wrong_dates(connection: duckdb.DuckDBPyConnection, source: str, symbols: Collection[str]) -> list[str]:
    """Those of `symbols` whose bars of `source` are set aside throughout, since their dates are a day off."""
    rows = connection.execute(
        "SELECT DISTINCT symbol FROM set_aside WHERE source = $source AND list_contains($symbols, symbol) "
        "AND (suffix(reason, $early) OR suffix(reason, $late)) ORDER BY symbol",
        {"source": source, "symbols": list(symbols), "early": f": its {DAY_EARLY}", "late": f": its {DAY_LATE}"},
    ).fetchall()
    return [row[0] for row in rows]


def keep_storable(connection: duckdb.DuckDBPyConnection, bars: pd.DataFrame, source: str, now: dt.datetime) -> pd.DataFrame:
    """The bars of a part of `source` that may be stored; the others are recorded in the caller's transaction."""
    traded: list[str] = []
    if len(bars) and (bars["volume"] == 0).any():
        asked = sorted(set(bars.loc[bars["volume"] == 0, "symbol"]))
        rows = connection.execute(
            "SELECT DISTINCT symbol FROM daily_bars WHERE volume > 0 AND list_contains(?, symbol)", [asked]
        ).fetchall()
        traded = [row[0] for row in rows]
    judged = judge_bars(bars, now, whole=False, traded=traded)
    _forget(connection, source, judged.bars)
    record_set_aside(connection, source, judged.aside, now, whole=False)
    return judged.bars


def _forget(connection: duckdb.DuckDBPyConnection, source: str, stored: pd.DataFrame) -> None:
    """Drop what was set aside of bars that the source gives soundly now."""
    aside = connection.execute("SELECT 1 FROM set_aside WHERE source = ? LIMIT 1", [source]).fetchall()
    if not aside or not len(stored):
        return
    connection.register("sound_bars", stored[["symbol", "session"]])
    try:
        connection.execute(
            "DELETE FROM set_aside s USING sound_bars b "
            "WHERE s.source = ? AND s.symbol = b.symbol AND s.session = b.session::DATE",
            [source],
        )
    finally:
        connection.unregister("sound_bars")


def days_off(days: np.ndarray, counts: np.ndarray, now: dt.datetime) -> tuple[np.ndarray, np.ndarray]:
    """(days) that were no session, and not over yet. days: sorted, each once. counts: bars of each of `days`."""
    latest = np.datetime64(calendar.latest_complete_session(now, calendar.BARS_PUBLISHED_AFTER))
    low, high = np.datetime64(calendar.FIRST_DAY), np.datetime64(calendar.LAST_DAY)
    inside = (days >= low) & (days <= high)
    # Of other years the calendar says nothing, but a day alone among weeks without a bar is a slip of the date.
    known = ~inside & ~_far_apart(days)
    if inside.any():
        known |= np.isin(days, calendar.sessions(days[inside][0].item(), days[inside][-1].item()))
    unfinished = days > latest
    unknown = ~known & ~unfinished
    off = unknown.copy()
    for number in np.flatnonzero(off):
        before = np.flatnonzero(known[:number])
        usual = counts[before[-1]] if len(before) else 0
        # So many symbols did trade: the calendar does not know of this session.
        if counts[number] >= FEWEST_SYMBOLS and usual and counts[number] >= HALF * usual:
            off[number] = False
    return (unknown if np.count_nonzero(unknown & ~off) > CALENDAR_ERRORS else off), unfinished


def _far_apart(days: np.ndarray) -> np.ndarray:
    """(days) without another one within ALONE_DAYS. days: sorted, each once."""
    gap = np.diff(days.astype("datetime64[D]").astype(np.int64), prepend=-FAR, append=FAR) > ALONE_DAYS
    return np.asarray(gap[:-1] & gap[1:])


def _alone(days: np.ndarray, session: np.ndarray, now: dt.datetime) -> np.ndarray:
    """(bars) alone on their day and around it: a slip of the year, which would be a session for everybody.

    days: those of sound bars, sorted, each once. session: the day of each bar.
    """
    far = _far_apart(days)
    if not far.any() or _apart(days) >= A_WEEK:
        return np.zeros(len(session), dtype=bool)
    # Today's rows after a pause are alone at first, too.
    far[-1] &= bool(days[-1] < np.datetime64(now.date()) - ALONE_DAYS)
    lone, held = np.unique(session[np.isin(session, days[far])], return_counts=True)
    return np.isin(session, lone[held == 1])


def _has_symbols(bars: pd.DataFrame) -> bool:
    return bool(bars["symbol"].nunique() >= FEW_SYMBOLS)


def _shifted(days: np.ndarray) -> str:
    """What a part of a symbol's dates looks like whose days off the calendar are of the weekend, always the same one."""
    weekday = (days.astype("datetime64[D]").astype(np.int64) + 3) % 7
    sundays, saturdays = np.count_nonzero(weekday == 6), np.count_nonzero(weekday == 5)
    if max(sundays, saturdays) < ONE_WEEKDAY * len(days):
        return ""
    return DAY_EARLY if sundays > saturdays else DAY_LATE


def _early(symbol: str, days: np.ndarray, off: np.ndarray) -> str:
    """Why the bars of a symbol are set aside whose `days` are, where `off`, no sessions too often."""
    strange = days[off]
    text = (
        f"{len(strange):,} of {len(days):,} bars of {symbol} lie on days that were no session "
        f"({strange[0]} was a {_weekday(strange[0])}): "
    )
    if (apart := _apart(np.unique(days))) >= A_WEEK:
        return f"{text}they lie {apart:.0f} days apart, weekly or monthly bars, not daily"
    # Fridays written as Saturdays are late; Mondays written as Sundays are early.
    weekday = (strange.astype("datetime64[D]").astype(np.int64) + 3) % 7
    late = np.count_nonzero(weekday == 5) > np.count_nonzero(weekday == 6)
    return f"{text}its {DAY_LATE if late else DAY_EARLY}"


def _apart(days: np.ndarray) -> float:
    """Usual days between the sorted `days`, each once; 0 of a single one."""
    return float(np.median(np.diff(days).astype(np.int64))) if len(days) > 1 else 0.0


def _weekday(day: np.datetime64) -> str:
    return WEEKDAYS[day.astype("datetime64[D]").item().weekday()]


def _json(row: dict[str, Any]) -> str:
    return json.dumps({name: None if value != value else value for name, value in row.items()}, default=str)
