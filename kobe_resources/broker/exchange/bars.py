"""The bars an embedded broker fills against: raw prices, splits and trading hours, read once and held in memory.

Trusts its caller for bars that are unique per symbol and session.
"""

from __future__ import annotations

import bisect
import datetime as dt
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kobe_resources import calendar
from kobe_resources.broker.protocol import TradingDay
from kobe_resources.calendar import NEW_YORK, REGULAR_CLOSE, REGULAR_OPEN
from kobe_resources.errors import KobeError

if TYPE_CHECKING:
    from kobe_resources.warehouse.store import Warehouse

SESSIONS_AHEAD = 10
EPOCH = dt.date(1970, 1, 1)


class Bar(NamedTuple):
    """Prices as traded, in dollars."""

    session: dt.date
    open: float
    high: float
    low: float
    close: float


class ExchangeSplit(NamedTuple):
    """`ratio` new shares for one old share, from `execution_date` on."""

    symbol: str
    execution_date: dt.date
    ratio: float


class ExchangeDividend(NamedTuple):
    """`amount` dollars a share as traded on `ex_date`."""

    symbol: str
    ex_date: dt.date
    amount: float


class NoBars(KobeError):
    """There is nothing to fill against."""


class StoredBars:
    """Bars in arrays: `bars[symbol] = (days since 1970 ascending, prices[n, 4])`, with splits and dividends beside them."""

    def __init__(
        self,
        bars: dict[str, tuple[np.ndarray, np.ndarray]],
        splits: Iterable[ExchangeSplit] = (),
        dividends: Iterable[ExchangeDividend] = (),
    ) -> None:
        if not bars:
            raise NoBars("there are no stored bars to fill against", "run `kobe report` first")
        self._bars = bars
        self.symbols: Sequence[str] = sorted(bars)
        sessions = [_date(day) for day in np.unique(np.concatenate([days for days, _ in bars.values()]))]
        self.last_session = sessions[-1]
        self.days: Sequence[TradingDay] = trading_days(sessions)
        # A split announced for after the last stored session changes nothing yet (rules, section 1).
        self._splits = sorted((s for s in splits if s.execution_date <= self.last_session), key=lambda s: s.execution_date)
        self._dividends: dict[str, list[ExchangeDividend]] = {}
        for paid in sorted(dividends, key=lambda d: d.ex_date):
            self._dividends.setdefault(paid.symbol, []).append(paid)

    @classmethod
    def of_rows(
        cls, rows: Iterable[Sequence[Any]], splits: Iterable[ExchangeSplit] = (), dividends: Iterable[ExchangeDividend] = ()
    ) -> StoredBars:
        """From (symbol, session, open, high, low, close) rows, in any order."""
        grouped: dict[str, list[tuple[int, list[float]]]] = {}
        for symbol, session, *prices in rows:
            grouped.setdefault(symbol, []).append(((session - EPOCH).days, [float(price) for price in prices]))
        bars = {}
        for symbol, found in grouped.items():
            found.sort()
            bars[symbol] = (np.array([day for day, _ in found]), np.array([prices for _, prices in found]))
        return cls(bars, splits, dividends)

    @classmethod
    def of_warehouse(cls, warehouse: Warehouse) -> StoredBars:
        """Everything in `daily_bars`, `splits` and `dividends`; the file is opened once, and closed again at once."""
        with warehouse.connect():
            counts = warehouse.rows("SELECT symbol, count(*) FROM daily_bars GROUP BY symbol ORDER BY symbol")
            columns = warehouse.arrays(
                "SELECT datediff('day', DATE '1970-01-01', session) AS day, open, high, low, close "
                "FROM daily_bars ORDER BY symbol, session"
            )
            splits = warehouse.rows("SELECT symbol, execution_date, split_to / split_from FROM splits")
            paid = warehouse.rows("SELECT symbol, ex_date, amount FROM dividends")
        prices = np.column_stack([columns[name] for name in ("open", "high", "low", "close")])
        bars = {}
        at = 0
        for symbol, count in counts:
            bars[symbol] = (columns["day"][at : at + count], prices[at : at + count])
            at += count
        return cls(bars, [ExchangeSplit(*row) for row in splits], [ExchangeDividend(*row) for row in paid])

    def last_bar(self, symbol: str, session: dt.date) -> Bar | None:
        """The latest bar at or before `session`."""
        if symbol not in self._bars:
            return None
        days, prices = self._bars[symbol]
        at = int(np.searchsorted(days, (session - EPOCH).days, side="right")) - 1
        return Bar(_date(days[at]), *prices[at].tolist()) if at >= 0 else None

    def last_session_of(self, symbol: str) -> dt.date | None:
        """The session of the symbol's very last bar."""
        return _date(self._bars[symbol][0][-1]) if symbol in self._bars else None

    def splits(self, after: dt.date, through: dt.date) -> list[ExchangeSplit]:
        """Splits executed after `after` and not after `through`, by date."""
        dates = [split.execution_date for split in self._splits]
        return self._splits[bisect.bisect_right(dates, after) : bisect.bisect_right(dates, through)]

    def dividends(self, symbol: str, after: dt.date, through: dt.date) -> list[ExchangeDividend]:
        """A symbol's dividends with an ex-date after `after` and not after `through`, by date."""
        return [paid for paid in self._dividends.get(symbol, ()) if after < paid.ex_date <= through]


def trading_days(sessions: Sequence[dt.date]) -> list[TradingDay]:
    """The hours of `sessions`, the exchange's half days included, and of the exchange's next sessions after them."""
    last = sessions[-1]
    end = last + dt.timedelta(days=2 * SESSIONS_AHEAD + 10)
    known = calendar.sessions(max(sessions[0], calendar.FIRST_DAY), min(end, calendar.LAST_DAY)).tolist()
    coming = [day for day in known if day > last][:SESSIONS_AHEAD]
    of_exchange = frozenset(known)
    return [_hours(day, day in of_exchange) for day in [*sessions, *coming]]


def _hours(day: dt.date, is_known: bool) -> TradingDay:
    """is_known: the exchange's calendar has the day; bars of own files may lie on others."""
    if is_known:
        return TradingDay(day, calendar.open_time(day), calendar.close_time(day))
    return TradingDay(day, _at(day, REGULAR_OPEN), _at(day, REGULAR_CLOSE))


def _at(day: dt.date, hour: dt.time) -> dt.datetime:
    return dt.datetime.combine(day, hour, NEW_YORK).astimezone(dt.UTC)


def _date(day: Any) -> dt.date:
    return EPOCH + dt.timedelta(days=int(day))
