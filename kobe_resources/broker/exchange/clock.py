"""The embedded market's time and prices: what the clock and the quotes say at a phase of a session. No state, no I/O.

A session has six phases: `pre_open` (shut, after the night's splits), `open` (the opening quote), `midday` (what rested has met
the bar; the opening price stands, since nothing tells the path), `close` (the closing quote; open yet), `after` (shut), and
`evening`, from which on orders for the next opening auction are taken.
"""

from __future__ import annotations

import bisect
import datetime as dt
from dataclasses import dataclass
from typing import Literal, NamedTuple

from kobe_resources.broker.exchange.bars import Bar, ExchangeDividend, ExchangeSplit, StoredBars
from kobe_resources.broker.exchange.billing import FREE, Billing
from kobe_resources.broker.exchange.faults import FaultScript
from kobe_resources.broker.exchange.strictness import PROMPT, Strictness
from kobe_resources.broker.protocol import TradingDay
from kobe_resources.calendar import NEW_YORK
from kobe_resources.errors import UsageError

Phase = Literal["pre_open", "open", "midday", "close", "after", "evening"]
PHASES: tuple[Phase, ...] = ("pre_open", "open", "midday", "close", "after", "evening")
OPEN_PHASES = ("open", "midday", "close")
CLOSED_BAR = ("close", "after", "evening")
"""Phases that know the session's close."""

BEFORE_OPEN = dt.timedelta(hours=1)
AFTER_OPEN = dt.timedelta(seconds=1)
BEFORE_CLOSE = dt.timedelta(seconds=30)
AFTER_CLOSE = dt.timedelta(minutes=5)
EVENING = dt.time(19, 5)
AUCTION_FROM, AUCTION_UNTIL = dt.time(19, 0), dt.time(9, 28)
"""New York's hours between which orders for the opening auction are taken."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How the embedded broker trades.

    slippage_bps: half the spread around the bar's price, and what a triggered stop loses (rules, section 4).
    fractional: take fractional IOC, stop and short orders, which the real Alpaca refuses; a simulation without whole
    shares could not be replayed otherwise. initial_cash, vendor and account_number count when the state is created, never
    later. key_id: the key without which it answers nothing; None: it takes any. strictness: where a fault script begins.
    billing: what fills and shorts cost.
    """

    initial_cash: float = 100_000.0
    slippage_bps: float = 5.0
    fractional: bool = False
    shorting_enabled: bool = True
    account_number: str = "PA0EMBEDDED0"
    key_id: str | None = None
    vendor: str = ""
    strictness: Strictness = PROMPT
    billing: Billing = FREE

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
        """Whether the market is open."""
        return self.phase in OPEN_PHASES

    @property
    def order(self) -> tuple[dt.date, int]:
        """Sorts by time."""
        return self.session, PHASES.index(self.phase)


def first_moment(bars: StoredBars) -> Moment:
    """Where the clock of a new account stands: before the opening of the first session."""
    return Moment(bars.days[0].session, "pre_open")


class MarketQuote(NamedTuple):
    """Bid and ask in dollars, and when they stood."""

    bid: float
    ask: float
    at: dt.datetime


class ExchangeMarket:
    """Hours and prices of `bars`, with the spread and the renames of a fault script.

    For a replay, in which bars from which no profit may come are known (rules, section 4.3): suspect: (symbol, session) of
    them. marks: what a symbol is quoted around at the close instead.
    """

    def __init__(self, bars: StoredBars, slip: float, script: FaultScript) -> None:
        self.bars = bars
        self.slip = slip
        self.script = script
        self.suspect: frozenset[tuple[str, dt.date]] = frozenset()
        self.marks: dict[str, float] = {}
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
            "midday": self.within_bar(moment.session),
            "close": day.close - BEFORE_CLOSE,
            "after": day.close + AFTER_CLOSE,
            "evening": dt.datetime.combine(moment.session, EVENING, NEW_YORK).astimezone(dt.UTC),
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
        if moment.phase != PHASES[-1]:
            return Moment(moment.session, PHASES[PHASES.index(moment.phase) + 1])
        return Moment(self._sessions[bisect.bisect_right(self._sessions, moment.session)], "pre_open")

    def bar(self, symbol: str, session: dt.date) -> Bar | None:
        """The bar of that session, under the symbol's new name where it has one by now."""
        found = self.last_bar(symbol, session)
        return found if found is not None and found.session == session else None

    def last_bar(self, symbol: str, session: dt.date) -> Bar | None:
        """The latest bar at or before `session`, under either name."""
        own = self.bars.last_bar(symbol, session)
        renamed = self.script.strictness.renames.get(symbol)
        other = self.bars.last_bar(renamed, session) if renamed else None
        return max((bar for bar in (own, other) if bar), key=lambda bar: bar.session, default=None)

    def splits(self, after: dt.date, through: dt.date) -> list[ExchangeSplit]:
        """Splits executed after `after` and not after `through`, under the names of the book."""
        found = self.bars.splits(after, through)
        rules = self.script.strictness
        return (
            [split._replace(symbol=rules.inward(split.symbol) or split.symbol) for split in found] if rules.renames else found
        )

    def dividends(self, symbol: str, session: dt.date) -> list[ExchangeDividend]:
        """What is paid to who held the symbol at its bar before that of `session`; nothing on a session without a bar."""
        before = self.last_bar(symbol, session - dt.timedelta(days=1))
        if before is None or self.bar(symbol, session) is None:
            return []
        names = {symbol, self.script.strictness.outward(symbol)}
        return [paid for name in sorted(names) for paid in self.bars.dividends(name, before.session, session)]

    def nights(self, session: dt.date) -> int:
        """Calendar days to the next session that has bars; 0 after the last."""
        at = bisect.bisect_right(self._sessions, session)
        is_last = session >= self.bars.last_session or at >= len(self._sessions)
        return 0 if is_last else (self._sessions[at] - session).days

    def takes_auction_orders(self, moment: Moment) -> bool:
        """From 19:00 to 09:28 New York; never while the market is open."""
        now = self.instant(moment).astimezone(NEW_YORK).time()
        return not moment.is_open and (now >= AUCTION_FROM or now < AUCTION_UNTIL)

    def is_quiet(self, moment: Moment) -> bool:
        """Whether it is one of the first moments after the open, when there is no ask yet."""
        until = self.script.strictness.no_offer_until_s
        if until <= 0.0 or moment.phase != "open":
            return False
        return self.instant(moment) < self.day(moment.session).open + dt.timedelta(seconds=until)

    def quote(self, symbol: str, moment: Moment) -> MarketQuote | None:
        """Bid and ask = the bar's price × (1 ∓ slip), or as far apart as the script says; ask 0 where there is none yet.

        From `open` to `midday` only a bar of this very session quotes. Otherwise the last close stands, with the time at which
        it stood, so that a symbol without a bar has an old quote, as with the real Alpaca.
        """
        if moment.phase in ("open", "midday"):
            bar = self.bar(symbol, moment.session)
            if bar is None:
                return None
            is_quiet = self.is_quiet(moment)
            at = self.instant(moment if is_quiet else moment._replace(ticks=0))
            quote = self._around(bar.open, at)
            return quote._replace(ask=0.0) if is_quiet else quote
        bar = self._last_closed(symbol, moment)
        if bar is None:
            return None
        price = self.marks.get(symbol) or self._carried(symbol, bar, moment.session)
        return self._around(price, self.instant(Moment(bar.session, "close")))

    def price(self, symbol: str, moment: Moment) -> float | None:
        """The last price: this session's open from `open` to `midday`, else the last close; split-adjusted to `moment`."""
        if moment.phase in ("open", "midday"):
            bar = self.bar(symbol, moment.session)
            if bar is not None:
                return bar.open
        closed = self._last_closed(symbol, moment)
        return None if closed is None else self._carried(symbol, closed, moment.session)

    def close_before(self, symbol: str, session: dt.date) -> float | None:
        """The last close before a session, in its shares."""
        bar = self.last_bar(symbol, session - dt.timedelta(days=1))
        return None if bar is None else self._carried(symbol, bar, session)

    def is_listed(self, symbol: str, moment: Moment) -> bool:
        """Whether the symbol has bars, and did not end before `moment.session` while others went on."""
        names = (symbol, self.script.strictness.outward(symbol))
        last = max((found for name in names if (found := self.bars.last_session_of(name))), default=None)
        return last is not None and (moment.session <= last or last == self.bars.last_session)

    def _last_closed(self, symbol: str, moment: Moment) -> Bar | None:
        if moment.phase in CLOSED_BAR:
            return self.last_bar(symbol, moment.session)
        return self.last_bar(symbol, moment.session - dt.timedelta(days=1))

    def _carried(self, symbol: str, bar: Bar, session: dt.date) -> float:
        price = bar.close
        for split in self.splits(bar.session, session):
            if split.symbol == symbol:
                price /= split.ratio
        return price

    def _around(self, price: float, at: dt.datetime) -> MarketQuote:
        spread = self.script.strictness.spread_bps
        half = self.slip if spread is None else spread / 20_000
        return MarketQuote(price * (1.0 - half), price * (1.0 + half), at)


def _next(times: list[dt.datetime], now: dt.datetime) -> dt.datetime:
    at = bisect.bisect_right(times, now)
    if at < len(times):
        return times[at]
    # Past the last known session: a weekday later is as good a guess as any, nothing is stored there to trade against.
    return times[-1] + dt.timedelta(days=7)


def stamp(moment: dt.datetime) -> str:
    """A time as Alpaca writes it: nine digits and a Z; sorts as text."""
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"
