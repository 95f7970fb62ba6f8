"""The simulation: one portfolio, one strategy, a window of sessions, starting flat (rules, section 4, step by step).

The kernel visits open positions and the day's signals only, so its cost follows the trades and not the universe.
Entries are sized and judged by the policy gate, by the code that judges live orders.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kobe_assets.research.figures import daily_returns, sharpe
from kobe_assets.research.panel import (
    ROW_CLOSE,
    ROW_FACTOR,
    ROW_HIGH,
    ROW_LOW,
    ROW_OPEN,
    ROW_SESSION,
    Bools,
    Floats,
    Indices,
    Ints,
    Panel,
)
from kobe_assets.research.signals import Candidates
from kobe_resources.jit import njit
from kobe_resources.policy_gate import (
    ACCEPTED,
    EXCEEDS_DAILY_BUDGET,
    REASONS,
    Limits,
    admit_entry,
    round_to_tick,
    size_entry,
)

STOP, LEAVE, TIME_STOP, DELISTED, WINDOW_END = 1, 2, 3, 4, 5
EXIT_REASONS = ("", "stop", "leave", "time_stop", "delisted", "window_end")
"""Exit codes; `leave` carries the strategy's own `leave_reason` in tables."""

# Columns of a trade's numbers.
ENTRY_PRICE, EXIT_PRICE, SHARES, QTY, PNL, MAE, MFE = range(7)
# Columns of a trade's indices.
T_SYMBOL, T_SIDE, T_SIGNAL, T_ENTRY, T_EXIT, T_REASON, T_HELD = range(7)


# Columns of an open position.
SYMBOL, SIDE, HOLDING, ORDERED, ENTRY, STOP_PRICE, LAST_CLOSE, LOWEST, HIGHEST, ENTERED, HELD, FLAG, BAR = range(13)


class Journal(NamedTuple):
    """Where trades are written: (trades, 7) numbers and (trades, 7) indices."""

    numbers: Floats
    places: Ints


class Costs(NamedTuple):
    """What a fill costs and a portfolio starts with: dollars, and slippage as a fraction of the price."""

    initial_cash: float
    slippage: float


class Feed(NamedTuple):
    """A panel and one parameter set's signals as the kernel takes them; shared, never copied, between simulations.

    entry_*: (signals) in trading order: the flat bar of the next session's open (-1: no bar), and the sized order.
    cheapest: the smallest notional (dollars) of the sized orders. leave: (bars) bit 1 a long, bit 2 a short wants out.
    """

    rows: Floats
    last_session: Ints
    entry_first: Ints
    entry_symbol: Indices
    entry_side: NDArray[np.int8]
    entry_bar: Ints
    entry_atr: Floats
    entry_code: NDArray[np.int8]
    entry_qty: Floats
    entry_notional: Floats
    cheapest: float
    leave: NDArray[np.uint8]


@dataclass(frozen=True)
class Outcome:
    """What a simulation yields.

    equity, exposure: (sessions of the window) dollars and fraction of equity. numbers: (trades, 7) entry and exit price
    (adjusted dollars), shares (adjusted), qty (as traded at entry), pnl (dollars), mae and mfe (fractions of the entry
    price, against and for the position). places: (trades, 7) symbol, side, signal, entry and exit session index, exit
    reason, bars held. refused: by index of `REASONS`; index 0 counts the accepted.
    """

    equity: Floats
    exposure: Floats
    numbers: Floats
    places: Ints
    refused: Ints

    def refusals(self) -> dict[str, int]:
        """Reason → count, of the reasons that occurred."""
        return {REASONS[code]: int(n) for code, n in enumerate(self.refused) if code != ACCEPTED and n}


def size_signals(
    panel: Panel, candidates: Candidates, atr: Floats, lag: int, costs: Costs, limits: Limits, leave: NDArray[np.uint8]
) -> Feed:
    """What the kernel reads of a panel and its signals; every order is sized once, by the policy gate.

    atr: (bars) unlagged ATR, read `lag` bars before each signal's bar. leave: (bars) flags of the exits by condition.
    """
    symbol = panel.symbol[candidates.bar]
    bar, code, qty, notional = _size(panel.rows, panel.start, candidates.bar, symbol, candidates.side, costs.slippage, limits)
    placeable = notional[code == ACCEPTED]
    return Feed(
        rows=panel.rows,
        last_session=panel.last_session_of(),
        entry_first=candidates.first,
        entry_symbol=symbol,
        entry_side=candidates.side,
        entry_bar=bar,
        entry_atr=atr[candidates.bar - lag],
        entry_code=code,
        entry_qty=qty,
        entry_notional=notional,
        cheapest=float(placeable.min()) if len(placeable) else 0.0,
        leave=leave,
    )


def placeable_only(feed: Feed, mine: Bools, leave: NDArray[np.uint8]) -> Feed:
    """The signals of one parameter set that can become orders: all that a trial needs, since it counts no refusals."""
    keep = mine & (feed.entry_code == ACCEPTED)
    return select(feed, keep, leave)


def select(feed: Feed, keep: Bools, leave: NDArray[np.uint8]) -> Feed:
    """The same feed with some of its signals and another set's exits."""
    counts = np.concatenate([[0], np.cumsum(keep)])
    columns = ("entry_symbol", "entry_side", "entry_bar", "entry_atr", "entry_code", "entry_qty", "entry_notional")
    return feed._replace(
        entry_first=counts[feed.entry_first], leave=leave, **{name: getattr(feed, name)[keep] for name in columns}
    )


@njit
def _size(
    rows: Floats, start: Ints, bars: Ints, symbol: Indices, side: NDArray[np.int8], slip: float, limits: Limits
) -> tuple[Ints, NDArray[np.int8], Floats, Floats]:
    n = len(bars)
    bar, code, qty, notional = np.full(n, -1, np.int64), np.zeros(n, np.int8), np.zeros(n), np.zeros(n)
    for j in range(n):
        after = bars[j] + 1
        if after < start[symbol[j] + 1] and rows[after, ROW_SESSION] == rows[bars[j], ROW_SESSION] + 1.0:
            bar[j] = after
            raw = rows[after, ROW_OPEN] * (1.0 + side[j] * slip) / rows[after, ROW_FACTOR]
            code[j], qty[j], _, notional[j] = size_entry(limits, side[j] > 0, raw)
    return bar, code, qty, notional


def simulate(feed: Feed, first: int, last: int, atr_stop: float, time_stop: int, costs: Costs, limits: Limits) -> Outcome:
    """Simulate the sessions `first`..`last` (indices, both included) and keep every trade."""
    return Outcome(*_run(feed, first, last, float(atr_stop), int(time_stop), costs, limits, True))


def train_sharpe(feed: Feed, first: int, last: int, atr_stop: float, time_stop: int, costs: Costs, limits: Limits) -> float:
    """The annualised Sharpe ratio of the window's daily returns; NaN where there is none. No trade is kept."""
    equity = _run(feed, first, last, float(atr_stop), int(time_stop), costs, limits, False)[0]
    return sharpe(daily_returns(equity, costs.initial_cash))


@njit
def _run(
    feed: Feed, first: int, last: int, atr_stop: float, time_stop: int, costs: Costs, limits: Limits, keep: bool
) -> tuple[Floats, Floats, Floats, Ints, Ints]:
    symbols, days = len(feed.last_session), last - first + 1
    equity, exposure = np.empty(days), np.empty(days)
    refused = np.zeros(len(REASONS), np.int64)
    wanted = feed.entry_first[last] - feed.entry_first[max(first - 1, 0)] if keep else 0
    journal = Journal(np.empty((wanted, 7)), np.empty((wanted, 7), np.int64))
    # One row an open position, in order of entry; `out_at` is the session at whose open a symbol was last sold.
    book, is_open, out_at = np.empty((symbols, 13)), np.zeros(symbols, np.bool_), np.full(symbols, -1, np.int64)
    positions, trades, cash = 0, 0, costs.initial_cash
    for d in range(first, last + 1):
        positions, trades, cash = _exits_at_open(
            feed, book, positions, is_open, out_at, d, cash, costs.slippage, keep, journal, trades
        )
        positions, cash = _entries_at_open(
            feed, book, positions, is_open, out_at, d, cash, costs.slippage, atr_stop, limits, refused, keep
        )
        positions, trades, cash = _through_the_bar(
            feed, book, positions, is_open, d, d == last, cash, costs.slippage, time_stop, keep, journal, trades
        )
        worth, gross = cash, 0.0
        for p in range(positions):
            value = book[p, HOLDING] * book[p, LAST_CLOSE]
            worth += book[p, SIDE] * value
            gross += value
        equity[d - first] = worth
        exposure[d - first] = gross / worth
    return equity, exposure, journal.numbers[:trades], journal.places[:trades], refused


@njit
def _bar_of(rows: Floats, book: Floats, p: int, d: int) -> int:
    """The flat bar of position `p` at session `d`, or -1; a position never outlives its symbol's last bar."""
    after = int(book[p, BAR]) + 1
    return after if after < len(rows) and rows[after, ROW_SESSION] == d else -1


@njit
def _exits_at_open(
    feed: Feed, book: Floats, positions: int, is_open: Bools, out_at: Ints, d: int, cash: float, slip: float,
    keep: bool, journal: Journal, trades: int,
) -> tuple[int, int, float]:  # fmt: skip
    """Step 1: flagged positions leave at the open; without a bar the flag stays."""
    kept = 0
    for p in range(positions):
        bar = _bar_of(feed.rows, book, p, d) if book[p, FLAG] != 0.0 else -1
        if bar >= 0:
            symbol, side = int(book[p, SYMBOL]), book[p, SIDE]
            quote = feed.rows[bar, ROW_OPEN]
            price = quote * (1.0 - side * slip)
            cash += side * book[p, HOLDING] * price
            is_open[symbol] = False
            out_at[symbol] = d
            if keep:
                _see(book, p, quote, quote)
                _record(journal, trades, book, p, d, price, int(book[p, FLAG]))
                trades += 1
        else:
            _move(book, p, kept)
            kept += 1
    return kept, trades, cash


@njit
def _entries_at_open(
    feed: Feed, book: Floats, positions: int, is_open: Bools, out_at: Ints, d: int, cash: float, slip: float,
    atr_stop: float, limits: Limits, refused: Ints, keep: bool,
) -> tuple[int, float]:  # fmt: skip
    """Step 2: the signals of the session before, in order, each through the gate."""
    spent, cash_after_exits = 0.0, cash
    if d == 0:
        return positions, cash
    for j in range(feed.entry_first[d - 1], feed.entry_first[d]):
        symbol, bar, notional = feed.entry_symbol[j], feed.entry_bar[j], feed.entry_notional[j]
        was_held = is_open[symbol] or out_at[symbol] == d
        code = admit_entry(limits, was_held, bar >= 0, feed.entry_code[j], notional, spent, cash_after_exits)
        refused[code] += 1
        if code != ACCEPTED:
            if not keep and code == EXCEEDS_DAILY_BUDGET and spent + feed.cheapest > limits.max_daily_notional * 1.000001:
                break
            continue
        side, qty = float(feed.entry_side[j]), feed.entry_qty[j]
        fill, factor = feed.rows[bar, ROW_OPEN] * (1.0 + side * slip), feed.rows[bar, ROW_FACTOR]
        spent += notional
        cash -= side * qty * (fill / factor)
        is_open[symbol] = True
        stop = round_to_tick((fill - side * atr_stop * feed.entry_atr[j]) / factor, side < 0.0) * factor
        row = book[positions]
        row[SYMBOL], row[SIDE], row[HOLDING], row[ORDERED] = symbol, side, qty / factor, qty
        row[ENTRY], row[STOP_PRICE], row[LAST_CLOSE], row[LOWEST], row[HIGHEST] = fill, stop, fill, fill, fill
        # The bar before the entry's: `_through_the_bar` moves on to the entry's own.
        row[ENTERED], row[HELD], row[FLAG], row[BAR] = d, 0.0, 0.0, bar - 1
        positions += 1
    return positions, cash


@njit
def _through_the_bar(
    feed: Feed, book: Floats, positions: int, is_open: Bools, d: int, is_last: bool, cash: float, slip: float,
    time_stop: int, keep: bool, journal: Journal, trades: int,
) -> tuple[int, int, float]:  # fmt: skip
    """Steps 3 to 6: the protective stop, the close's flags, the end of a listing, the end of the window."""
    final = len(feed.entry_first) - 2
    kept = 0
    for p in range(positions):
        symbol, side = int(book[p, SYMBOL]), book[p, SIDE]
        bar = _bar_of(feed.rows, book, p, d)
        reason, price = 0, 0.0
        if bar >= 0:
            book[p, BAR] = bar
            opened, low, high = feed.rows[bar, ROW_OPEN], feed.rows[bar, ROW_LOW], feed.rows[bar, ROW_HIGH]
            stop = book[p, STOP_PRICE]
            if side > 0.0 and low <= stop:
                reason, price = STOP, min(opened, stop) * (1.0 - slip)
            elif side < 0.0 and high >= stop:
                reason, price = STOP, max(opened, stop) * (1.0 + slip)
            else:
                book[p, LAST_CLOSE] = feed.rows[bar, ROW_CLOSE]
                book[p, HELD] += 1.0
                if feed.leave[bar] & (1 if side > 0.0 else 2):
                    book[p, FLAG] = LEAVE
                elif book[p, HELD] >= time_stop:
                    book[p, FLAG] = TIME_STOP
                if feed.last_session[symbol] == d and d < final:
                    reason, price = DELISTED, book[p, LAST_CLOSE] * (1.0 - side * slip)
            if keep:
                _see(book, p, price if reason == STOP else low, price if reason == STOP else high)
        if reason == 0 and is_last:
            reason, price = WINDOW_END, book[p, LAST_CLOSE] * (1.0 - side * slip)
        if reason != 0:
            cash += side * book[p, HOLDING] * price
            is_open[symbol] = False
            if keep:
                _record(journal, trades, book, p, d, price, reason)
                trades += 1
        else:
            _move(book, p, kept)
            kept += 1
    return kept, trades, cash


@njit
def _move(book: Floats, origin: int, target: int) -> None:
    if target != origin:
        for column in range(book.shape[1]):
            book[target, column] = book[origin, column]


@njit
def _see(book: Floats, p: int, low: float, high: float) -> None:
    """Widen the range of prices that a position has lived through."""
    book[p, LOWEST] = min(book[p, LOWEST], low)
    book[p, HIGHEST] = max(book[p, HIGHEST], high)


@njit
def _record(journal: Journal, t: int, book: Floats, p: int, d: int, price: float, reason: int) -> None:
    row, number, place = book[p], journal.numbers[t], journal.places[t]
    side, entry = row[SIDE], row[ENTRY]
    down, up = row[LOWEST] / entry - 1.0, row[HIGHEST] / entry - 1.0
    number[ENTRY_PRICE], number[EXIT_PRICE], number[SHARES], number[QTY] = entry, price, row[HOLDING], row[ORDERED]
    number[PNL] = side * row[HOLDING] * (price - entry)
    number[MAE], number[MFE] = (down, up) if side > 0.0 else (-up, -down)
    place[T_SYMBOL], place[T_SIDE], place[T_SIGNAL] = int(row[SYMBOL]), int(side), int(row[ENTERED]) - 1
    place[T_ENTRY], place[T_EXIT], place[T_REASON], place[T_HELD] = int(row[ENTERED]), d, reason, int(row[HELD])
