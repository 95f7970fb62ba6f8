"""XNYS sessions: which days traded, when they opened and closed (UTC, half days included).

Days are dates, moments are aware datetimes. From exchange_calendars, which is imported and computed at first use only.
Sessions before 1950 and after 2100 are refused: the library's rules do not vouch for them. Future sessions follow
the rules known today; a day of mourning is not among them.
"""

from __future__ import annotations

import datetime as dt
from functools import cache
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

from kobe_resources.errors import KobeError

if TYPE_CHECKING:
    import numpy as np

NEW_YORK = ZoneInfo("America/New_York")
"""The exchange's time zone."""
REGULAR_OPEN, REGULAR_CLOSE = dt.time(9, 30), dt.time(16, 0)
"""The hours of a session in that zone, but for half days."""
FIRST_DAY = dt.date(1950, 1, 1)
LAST_DAY = dt.date(2100, 12, 31)
NEAR_FIRST_DAY = dt.date(1985, 1, 1)
"""The schedule is computed from here to a little past today first, at half the cost of all years; most questions fit in."""
BARS_PUBLISHED_AFTER = dt.timedelta(minutes=30)
"""A session's bars are asked for from this long after its close."""
BARS_EXPECTED_AFTER = dt.timedelta(hours=6)
"""Stored bars that lack a session this long after its close are stale."""


class CalendarError(KobeError):
    """A day the calendar cannot answer for."""


class Schedule(NamedTuple):
    """Sessions (datetime64[D]) with their opens and closes (datetime64[s], UTC), for days `first` to `last`."""

    first: dt.date
    last: dt.date
    days: np.ndarray
    opens: np.ndarray
    closes: np.ndarray


def sessions(start: dt.date, end: dt.date) -> np.ndarray:
    """The sessions from `start` to `end`, both included, as datetime64[D]; empty where end < start."""
    import numpy as np

    schedule = _schedule_for(start, end)
    left, right = np.searchsorted(schedule.days, np.array([start, end], dtype="datetime64[D]") + np.array([0, 1]))
    return schedule.days[left:right].copy()


def is_session(day: dt.date) -> bool:
    """Whether the exchange traded, or will trade, on `day`."""
    return len(sessions(day, day)) == 1


def previous_session(day: dt.date) -> dt.date:
    """The last session before `day`, itself a session or not."""
    return _as_date(sessions(day - dt.timedelta(days=15), day - dt.timedelta(days=1))[-1])


def open_time(session: dt.date) -> dt.datetime:
    """When `session` opens, aware UTC. Raises CalendarError where it is none."""
    schedule, index = _position(session)
    return _as_moment(schedule.opens[index])


def close_time(session: dt.date) -> dt.datetime:
    """When `session` closes, aware UTC; early on half days. Raises CalendarError where it is none."""
    schedule, index = _position(session)
    return _as_moment(schedule.closes[index])


def latest_complete_session(now: dt.datetime, delay: dt.timedelta = dt.timedelta(0)) -> dt.date:
    """The last session that closed at least `delay` before `now` (aware)."""
    moment = _utc(now) - delay
    day = moment.date() + dt.timedelta(days=1)
    while (day := previous_session(day)) and close_time(day) > moment:
        pass
    return day


def open_session(now: dt.datetime) -> dt.date | None:
    """The session whose regular hours hold `now` (aware); None while the exchange is closed."""
    moment = _utc(now)
    day = moment.date()
    if is_session(day) and open_time(day) <= moment < close_time(day):
        return day
    return None


def _position(session: dt.date) -> tuple[Schedule, int]:
    import numpy as np

    schedule = _schedule_for(session, session)
    index = int(np.searchsorted(schedule.days, np.datetime64(session)))
    if index == len(schedule.days) or schedule.days[index] != np.datetime64(session):
        raise CalendarError(f"{session} is no XNYS session", "weekends and exchange holidays do not trade")
    return schedule, index


def _schedule_for(start: dt.date, end: dt.date) -> Schedule:
    near_last = dt.date(dt.datetime.now(dt.UTC).year + 2, 12, 31)
    if start >= NEAR_FIRST_DAY and end <= near_last:
        return _build(NEAR_FIRST_DAY, near_last)
    if start >= FIRST_DAY and end <= LAST_DAY:
        return _build(FIRST_DAY, LAST_DAY)
    outside = start if start < FIRST_DAY else end
    raise CalendarError(f"{outside} lies outside the calendar", f"it knows {FIRST_DAY} to {LAST_DAY}")


@cache
def _build(first: dt.date, last: dt.date) -> Schedule:
    from exchange_calendars.exchange_calendar_xnys import XNYSExchangeCalendar

    schedule = XNYSExchangeCalendar(start=str(first), end=str(last)).schedule
    return Schedule(
        first,
        last,
        schedule.index.to_numpy().astype("datetime64[D]"),
        schedule["open"].dt.tz_localize(None).to_numpy().astype("datetime64[s]"),
        schedule["close"].dt.tz_localize(None).to_numpy().astype("datetime64[s]"),
    )


def _as_date(day: np.datetime64) -> dt.date:
    value: dt.date = day.astype("datetime64[D]").item()
    return value


def _as_moment(moment: np.datetime64) -> dt.datetime:
    value: dt.datetime = moment.astype("datetime64[s]").item()
    return value.replace(tzinfo=dt.UTC)


def _utc(now: dt.datetime) -> dt.datetime:
    if now.tzinfo is None:
        raise CalendarError(f"{now} has no time zone", "pass an aware datetime")
    return now.astimezone(dt.UTC)
