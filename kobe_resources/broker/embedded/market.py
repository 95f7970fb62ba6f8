"""The embedded market's time and prices: what the clock and the quotes say at a phase of a session. No state, no I/O.

A session has four phases: `pre_open` (shut), `open` (the opening quote), `close` (the closing quote; open yet), `after` (shut).
"""

from __future__ import annotations

import bisect
import datetime as dt
from dataclasses import dataclass
from typing import Literal, NamedTuple

from kobe_resources.broker.embedded.bars import Bar, BarSource
from kobe_resources.broker.protocol import TradingDay
from kobe_resources.errors import UsageError

Phase = Literal["pre_open", "open", "close", "after"]
PHASES: tuple[Phase, ...] = ("pre_open", "open", "close", "after")

BEFORE_OPEN = dt.timedelta(hours=1)
AFTER_OPEN = dt.timedelta(seconds=1)
BEFORE_CLOSE = dt.timedelta(seconds=30)
AFTER_CLOSE = dt.timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Terms:
    """How the embedded broker trades.

    slippage_bps: half the spread around the bar's price, and what a triggered stop loses (rules, section 4).
    fractional: take fractional IOC, stop and short orders, which the real Alpaca refuses; a simulation without whole
    shares could not be replayed otherwise. initial_cash counts when the state is created, never later.
    """

    initial_cash: float = 100_000.0
    slippage_bps: float = 5.0
    fractional: bool = False
    shorting_enabled: bool = True
    account_number: str = "PA0EMBEDDED0"
    key_id: str | None = None

    @property
    def slip(self) -> float:
        """Slippage as a share of the price."""
        return self.slippage_bps / 10_000


class Moment(NamedTuple):
    """Where the simulated clock stands; `ticks` microseconds have passed since the phase began."""

    session: dt.date
    phase: Phase
    ticks: int = 0

    @property
    def is_open(self) -> bool:
        """The market is open."""
        return self.phase in ("open", "close")

    @property
    def order(self) -> tuple[dt.date, int]:
        """Sorts by time."""
        return self.session, PHASES.index(self.phase)


class MarketQuote(NamedTuple):
    """Bid and ask in dollars, and when they stood."""

    bid: float
    ask: float
    at: dt.datetime


class Market:
    """Hours and prices of `bars`."""

    def __init__(self, bars: BarSource, slip: float) -> None:
        self.bars = bars
        self.slip = slip
        self._days = {day.session: day for day in bars.days}
        self._opens = [day.open for day in bars.days]
        self._closes = [day.close for day in bars.days]
        self._sessions = [day.session for day in bars.days]

    def day(self, session: dt.date) -> TradingDay:
        """The hours of `session`; UsageError where it is none."""
        if session not in self._days:
            raise UsageError(f"{session} is no session of the stored bars", "choose a session that has bars")
        return self._days[session]

    def instant(self, moment: Moment) -> dt.datetime:
        """The time at `moment`."""
        day = self.day(moment.session)
        start = {
            "pre_open": day.open - BEFORE_OPEN,
            "open": day.open + AFTER_OPEN,
            "close": day.close - BEFORE_CLOSE,
            "after": day.close + AFTER_CLOSE,
        }[moment.phase]
        return start + dt.timedelta(microseconds=moment.ticks)

    def within_bar(self, session: dt.date) -> dt.datetime:
        """When a stop of that session is said to have triggered: somewhere between its quotes."""
        day = self.day(session)
        return day.open + (day.close - day.open) / 2

    def next_open(self, now: dt.datetime) -> dt.datetime:
        """The next opening after `now`."""
        return _next(self._opens, now)

    def next_close(self, now: dt.datetime) -> dt.datetime:
        """The next closing after `now`."""
        return _next(self._closes, now)

    def step_after(self, moment: Moment) -> Moment:
        """The phase that follows."""
        if moment.phase != "after":
            return Moment(moment.session, PHASES[PHASES.index(moment.phase) + 1])
        return Moment(self._sessions[bisect.bisect_right(self._sessions, moment.session)], "pre_open")

    def quote(self, symbol: str, moment: Moment) -> MarketQuote | None:
        """Bid and ask = the bar's price × (1 ∓ slip).

        At `open` only a bar of this very session quotes. Otherwise the last close stands, with the time at which it stood, so
        that a symbol without a bar has an old quote, as with the real Alpaca.
        """
        if moment.phase == "open":
            bar = self.bars.bar(symbol, moment.session)
            return self._around(bar.open, self.instant(Moment(moment.session, "open"))) if bar else None
        bar = self._last_closed(symbol, moment)
        if bar is None:
            return None
        return self._around(self._carried(symbol, bar, moment.session), self.instant(Moment(bar.session, "close")))

    def price(self, symbol: str, moment: Moment) -> float | None:
        """The last price: this session's open at `open`, else the last close; split-adjusted to `moment`."""
        if moment.phase == "open":
            bar = self.bars.bar(symbol, moment.session)
            if bar is not None:
                return bar.open
        closed = self._last_closed(symbol, moment)
        return None if closed is None else self._carried(symbol, closed, moment.session)

    def is_listed(self, symbol: str, moment: Moment) -> bool:
        """The symbol has bars, and did not end before `moment.session` while others went on."""
        last = self.bars.last_session_of(symbol)
        return last is not None and (moment.session <= last or last == self.bars.last_session)

    def _last_closed(self, symbol: str, moment: Moment) -> Bar | None:
        if moment.phase in ("close", "after"):
            return self.bars.last_bar(symbol, moment.session)
        return self.bars.last_bar(symbol, moment.session - dt.timedelta(days=1))

    def _carried(self, symbol: str, bar: Bar, session: dt.date) -> float:
        price = bar.close
        for split in self.bars.splits(bar.session, session):
            if split.symbol == symbol:
                price /= split.ratio
        return price

    def _around(self, price: float, at: dt.datetime) -> MarketQuote:
        return MarketQuote(price * (1.0 - self.slip), price * (1.0 + self.slip), at)


def _next(times: list[dt.datetime], now: dt.datetime) -> dt.datetime:
    at = bisect.bisect_right(times, now)
    if at < len(times):
        return times[at]
    # Past the last known session: a weekday later is as good a guess as any, nothing is stored there to trade against.
    return times[-1] + dt.timedelta(days=7)
