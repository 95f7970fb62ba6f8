"""The moments of a session: before the open, while the market is open, and after the close; which one a run stands in.

Orders for the opening auction, and limit orders of the day, go out before the open: from 19:00 of the evening before to 09:28
in New York. Each moment is a run that does what is due and is harmless to repeat.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from kobe_resources.broker.protocol import Clock, TradingDay
from kobe_resources.calendar import NEW_YORK

AUCTION_FROM = dt.time(19, 0)
AUCTION_ENDS = dt.timedelta(minutes=2)
"""Orders for the auction are taken until so long before the open."""


class RunMoment(StrEnum):
    """Where in a session a run stands. SHUT: before the open as well, and no order for it is taken."""

    BEFORE_OPEN = "before the open"
    SHUT = "shut"
    OPEN = "open"
    AFTER_CLOSE = "after the close"


@dataclass(frozen=True, slots=True)
class Stand:
    """The session that a run works on: its hours, the session before and after it, and the moment."""

    hours: TradingDay
    before: dt.date
    after: dt.date | None
    moment: RunMoment


def stand_of(clock: Clock, days: Sequence[TradingDay], before_open: bool) -> Stand | None:
    """Where a run stands at `clock`; None where the exchange's days end before it.

    days: the exchange's, in order, from some before the clock's to some after it. before_open: are orders sent before the
    open? Then the session to come is meant from the evening before on; else from midnight on, and over days without a session.
    """
    today = clock.timestamp.astimezone(NEW_YORK).date()
    for place in range(1, len(days)):
        day, previous = days[place], days[place - 1]
        is_due = auction_begins(previous) <= clock.timestamp < auction_ends(day)
        if not clock.is_open and before_open and is_due:
            return _stand(days, place, RunMoment.BEFORE_OPEN)
        if day.session == today and not (before_open and clock.timestamp >= auction_begins(day)):
            return _stand(days, place, _moment_of(clock, day))
        if previous.session < today < day.session:
            return _stand(days, place, RunMoment.SHUT)
    return None


def stand_on(session: dt.date, clock: Clock, days: Sequence[TradingDay]) -> Stand | None:
    """The stand in a session that the clock's day has, whatever the hour; None where there is none."""
    place = next((n for n, day in enumerate(days) if day.session == session), 0)
    if not place:
        return None
    return _stand(days, place, _moment_of(clock, days[place]))


def auction_begins(previous: TradingDay) -> dt.datetime:
    """When orders for the auction after the session `previous` are first taken."""
    return dt.datetime.combine(previous.session, AUCTION_FROM, NEW_YORK).astimezone(dt.UTC)


def auction_ends(day: TradingDay) -> dt.datetime:
    """From when on no order for the auction of `day` is taken."""
    return day.open - AUCTION_ENDS


def _moment_of(clock: Clock, day: TradingDay) -> RunMoment:
    if clock.is_open or day.open <= clock.timestamp < day.close:
        return RunMoment.OPEN
    return RunMoment.AFTER_CLOSE if clock.timestamp >= day.close else RunMoment.SHUT


def _stand(days: Sequence[TradingDay], place: int, moment: RunMoment) -> Stand:
    after = days[place + 1].session if place + 1 < len(days) else None
    return Stand(days[place], days[place - 1].session, after, moment)
