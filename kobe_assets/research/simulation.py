"""The simulation: one portfolio, one strategy, a window of sessions, starting flat (rules, section 4, step by step).

The kernel visits open positions and the day's signals only, so its cost follows the trades and not the universe.
Entries are sized and judged by the policy gate, by the code that judges live orders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from kobe_assets.research.entry_queue import Costs, Feed
from kobe_assets.research.metrics import daily_returns, sharpe_of_each
from kobe_assets.research.panel import (
    ROW_CLOSE,
    ROW_FACTOR,
    ROW_HIGH,
    ROW_LOW,
    ROW_OPEN,
    ROW_SESSION,
    Floats,
    Ints,
)
from kobe_resources.policy_gate import (
    ACCEPTED,
    EXCEEDS_DAILY_BUDGET,
    REASONS,
    Limits,
    admit_entry,
    round_to_tick,
)
from kobe_resources.runtime.jit import njit, njit_part, prefetch

STOP, LEAVE, TIME_STOP, DELISTED, WINDOW_END = 1, 2, 3, 4, 5
EXIT_REASONS = ("", "stop", "leave", "time_stop", "delisted", "window_end")
"""Exit codes; `leave` carries the strategy's own `leave_reason` in tables."""

# Columns of a trade's numbers.
ENTRY_PRICE, EXIT_PRICE, SHARES, QTY, PNL, MAE, MFE = range(7)
# Columns of a trade's indices.
T_SYMBOL, T_SIDE, T_SIGNAL, T_ENTRY, T_EXIT, T_REASON, T_HELD = range(7)

# Columns of an open position; what every bar reads comes first, so that it shares a cache line. NEXT_BAR is the flat bar
# that follows the last one seen, NEXT_SESSION its session: read a day ahead, so that by then it lies in the cache.
NEXT_BAR, NEXT_SESSION, SIDE, HOLDING, STOP_PRICE, LAST_CLOSE, HELD, FLAG = range(8)
SYMBOL, ORDERED, ENTRY, LOWEST, HIGHEST, ENTERED = range(8, 14)
POSITION_COLUMNS = 16
OPEN = 1 << 62
"""`held_until` of a symbol with an open position: later than any session."""
BARS_AHEAD = 6
"""Bars of a new position that are on their way to the cache while other positions live through theirs."""


class Journal(NamedTuple):
    """Where trades are written: (trades, 7) numbers and (trades, 7) indices."""

    numbers: Floats
    places: Ints


class Books(NamedTuple):
    """What a portfolio holds: a row a position, the rows in order of entry, and what is known of each symbol.

    rows: (symbols, 16). order: the first so many are the rows of open positions, the rest are free. held_until: (symbols)
    OPEN while the symbol is held, else the last session in which it may not be bought again.
    """

    rows: Floats
    order: Ints
    held_until: Ints


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


def simulate(feed: Feed, first: int, last: int, atr_stop: float, time_stop: int, costs: Costs, limits: Limits) -> Outcome:
    """Simulate the sessions `first`..`last` (indices, both included) and keep every trade.

    Raises ValueError where they are no window of the panel.
    """
    _check_window(feed, first, last)
    wanted = int(feed.entry_first[last] - feed.entry_first[max(first - 1, 0)])
    journal = Journal(np.empty((wanted, 7)), np.empty((wanted, 7), np.int64))
    exits = np.array([[atr_stop, time_stop]], dtype=np.float64)
    equity, exposure, refused = np.empty((1, last - first + 1)), np.empty(last - first + 1), np.zeros(len(REASONS), np.int64)
    trades = _run(feed, first, last, exits, costs, limits, True, _books(feed), equity, exposure, refused, journal)
    return Outcome(equity[0], exposure, journal.numbers[:trades].copy(), journal.places[:trades].copy(), refused)


def equity_curves(
    feed: Feed, first: int, last: int, exits: Sequence[tuple[float, int]], costs: Costs, limits: Limits
) -> Floats:
    """(exits, sessions) the equity of the window at each (atr_stop, time_stop); no trade is kept, no refusal counted."""
    _check_window(feed, first, last)
    equity = np.empty((len(exits), last - first + 1))
    each = np.array(exits, dtype=np.float64)
    _run(feed, first, last, each, costs, limits, False, _books(feed), equity, NONE, NOTHING, NOWHERE)
    return equity


def train_sharpes(
    feed: Feed, first: int, last: int, exits: Sequence[tuple[float, int]], costs: Costs, limits: Limits
) -> Floats:
    """(exits) the annualised Sharpe ratio of the window's returns at each (atr_stop, time_stop); NaN where there is none."""
    return sharpe_of_each(daily_returns(equity_curves(feed, first, last, exits, costs, limits), costs.initial_cash))


def _check_window(feed: Feed, first: int, last: int) -> None:
    sessions = len(feed.entry_first) - 1
    if not 0 <= first <= last < sessions:
        raise ValueError(f"the sessions {first}..{last} are no window of {sessions} sessions")


NONE, NOTHING = np.empty(0), np.empty(0, np.int64)
NOWHERE = Journal(np.empty((0, 7)), np.empty((0, 7), np.int64))


def _books(feed: Feed) -> Books:
    symbols = len(feed.last_session)
    return Books(np.empty((symbols, POSITION_COLUMNS)), np.arange(symbols), np.empty(symbols, np.int64))


@njit
def _run(
    feed: Feed, first: int, last: int, exits: Floats, costs: Costs, limits: Limits, keep: bool, books: Books,
    equity: Floats, exposure: Floats, refused: Ints, journal: Journal,
) -> int:  # fmt: skip
    """One simulation a row of `exits` (atr_stop, time_stop), each into its row of `equity`; trades written.

    keep: fill `exposure`, `refused` and `journal` too; then there is one row of `exits`.
    """
    # To the compiler a plain 0 is a type of its own, for which it would compile every part again.
    zero = int(np.int64(0))
    trades = zero
    for k in range(len(exits)):
        for symbol in range(len(books.held_until)):
            books.held_until[symbol] = -1
        positions, cash = zero, costs.initial_cash
        for d in range(first, last + 1):
            positions, trades, cash = _exits_at_open(feed, books, positions, d, cash, costs.slippage, keep, journal, trades)
            positions, cash = _entries_at_open(
                feed, books, positions, d, cash, costs.slippage, exits[k, 0], limits, refused, keep
            )
            positions, trades, cash = _through_the_bar(
                feed, books, positions, d, d == last, cash, costs.slippage, exits[k, 1], keep, journal, trades
            )
            worth, gross = cash, 0.0
            for p in range(positions):
                row = books.order[p]
                value = books.rows[row, HOLDING] * books.rows[row, LAST_CLOSE]
                worth += books.rows[row, SIDE] * value
                gross += value
            equity[k, d - first] = worth
            if keep:
                exposure[d - first] = gross / worth
    return trades


@njit_part
def _exits_at_open(
    feed: Feed, books: Books, positions: int, d: int, cash: float, slip: float, keep: bool, journal: Journal, trades: int
) -> tuple[int, int, float]:
    """Step 1: flagged positions leave at the open; without a bar the flag stays."""
    book, order = books.rows, books.order
    kept = 0
    for p in range(positions):
        row = order[p]
        if book[row, FLAG] != 0.0 and book[row, NEXT_SESSION] == d:
            side, quote = book[row, SIDE], feed.rows[int(book[row, NEXT_BAR]), ROW_OPEN]
            price = quote * (1.0 - side * slip)
            cash += side * book[row, HOLDING] * price
            books.held_until[int(book[row, SYMBOL])] = d
            if keep:
                _see(book, row, quote, quote)
                _record(journal, trades, book, row, d, price, int(book[row, FLAG]))
                trades += 1
        else:
            order[p], order[kept] = order[kept], row
            kept += 1
    return kept, trades, cash


@njit_part
def _entries_at_open(
    feed: Feed, books: Books, positions: int, d: int, cash: float, slip: float, atr_stop: float, limits: Limits,
    refused: Ints, keep: bool,
) -> tuple[int, float]:  # fmt: skip
    """Step 2: the signals of the session before, in order, each through the gate."""
    spent, cash_after_exits = 0.0, cash
    if d == 0:
        return positions, cash
    for j in range(feed.entry_first[d - 1], feed.entry_first[d]):
        symbol, bar, notional = feed.entry_symbol[j], feed.entry_bar[j], feed.entry_notional[j]
        was_held = books.held_until[symbol] >= d
        code = admit_entry(limits, was_held, bar >= 0, feed.entry_code[j], notional, spent, cash_after_exits)
        if keep:
            refused[code] += 1
        if code != ACCEPTED:
            if not keep and code == EXCEEDS_DAILY_BUDGET and spent + feed.cheapest > limits.max_daily_notional * 1.000001:
                break
            continue
        side, qty = float(feed.entry_side[j]), feed.entry_qty[j]
        fill, factor = feed.rows[bar, ROW_OPEN] * (1.0 + side * slip), feed.rows[bar, ROW_FACTOR]
        spent += notional
        cash -= side * qty * (fill / factor)
        books.held_until[symbol] = OPEN
        stop = round_to_tick((fill - side * atr_stop * feed.entry_atr[j]) / factor, side < 0.0) * factor
        book, row = books.rows, books.order[positions]
        # The next bar is the entry's own: `_through_the_bar` lives through it today.
        book[row, NEXT_BAR], book[row, NEXT_SESSION] = bar, d
        book[row, SIDE], book[row, HOLDING], book[row, STOP_PRICE] = side, qty / factor, stop
        book[row, LAST_CLOSE], book[row, HELD], book[row, FLAG], book[row, SYMBOL] = fill, 0.0, 0.0, symbol
        book[row, ORDERED], book[row, ENTRY], book[row, LOWEST], book[row, HIGHEST] = qty, fill, fill, fill
        book[row, ENTERED] = d
        for ahead in range(1, BARS_AHEAD):
            prefetch(feed.rows, bar + ahead)
        positions += 1
    return positions, cash


@njit_part
def _through_the_bar(
    feed: Feed, books: Books, positions: int, d: int, is_last: bool, cash: float, slip: float, time_stop: float,
    keep: bool, journal: Journal, trades: int,
) -> tuple[int, int, float]:  # fmt: skip
    """Steps 3 to 6: the protective stop, the close's flags, the end of a listing, the end of the window."""
    book, order = books.rows, books.order
    final = len(feed.entry_first) - 2
    kept = 0
    for p in range(positions):
        row = order[p]
        symbol, side = int(book[row, SYMBOL]), book[row, SIDE]
        reason, price = 0, 0.0
        if book[row, NEXT_SESSION] == d:
            bar = int(book[row, NEXT_BAR])
            # A position never outlives its symbol's last bar, so the next symbol's first one is never taken for its own.
            book[row, NEXT_BAR] = bar + 1
            book[row, NEXT_SESSION] = feed.rows[bar + 1, ROW_SESSION] if bar + 1 < len(feed.rows) else -1.0
            opened, low, high = feed.rows[bar, ROW_OPEN], feed.rows[bar, ROW_LOW], feed.rows[bar, ROW_HIGH]
            stop = book[row, STOP_PRICE]
            if side > 0.0 and low <= stop:
                reason, price = STOP, min(opened, stop) * (1.0 - slip)
            elif side < 0.0 and high >= stop:
                reason, price = STOP, max(opened, stop) * (1.0 + slip)
            else:
                book[row, LAST_CLOSE] = feed.rows[bar, ROW_CLOSE]
                book[row, HELD] += 1.0
                if feed.leave[bar] & (1 if side > 0.0 else 2):
                    book[row, FLAG] = LEAVE
                elif book[row, HELD] >= time_stop:
                    book[row, FLAG] = TIME_STOP
                if feed.last_session[symbol] == d and d < final:
                    reason, price = DELISTED, book[row, LAST_CLOSE] * (1.0 - side * slip)
            if keep:
                _see(book, row, price if reason == STOP else low, price if reason == STOP else high)
        if reason == 0 and is_last:
            reason, price = WINDOW_END, book[row, LAST_CLOSE] * (1.0 - side * slip)
        if reason != 0:
            cash += side * book[row, HOLDING] * price
            books.held_until[symbol] = d
            if keep:
                _record(journal, trades, book, row, d, price, reason)
                trades += 1
        else:
            order[p], order[kept] = order[kept], row
            kept += 1
    return kept, trades, cash


@njit_part
def _see(book: Floats, row: int, low: float, high: float) -> None:
    """Widen the range of prices that a position has lived through."""
    book[row, LOWEST] = min(book[row, LOWEST], low)
    book[row, HIGHEST] = max(book[row, HIGHEST], high)


@njit_part
def _record(journal: Journal, t: int, book: Floats, row: int, d: int, price: float, reason: int) -> None:
    number, place = journal.numbers, journal.places
    side, entry, entered = book[row, SIDE], book[row, ENTRY], int(book[row, ENTERED])
    down, up = book[row, LOWEST] / entry - 1.0, book[row, HIGHEST] / entry - 1.0
    number[t, ENTRY_PRICE], number[t, EXIT_PRICE] = entry, price
    number[t, SHARES], number[t, QTY] = book[row, HOLDING], book[row, ORDERED]
    number[t, PNL] = side * book[row, HOLDING] * (price - entry)
    number[t, MAE], number[t, MFE] = (down, up) if side > 0.0 else (-up, -down)
    place[t, T_SYMBOL], place[t, T_SIDE], place[t, T_SIGNAL] = int(book[row, SYMBOL]), int(side), entered - 1
    place[t, T_ENTRY], place[t, T_EXIT], place[t, T_REASON], place[t, T_HELD] = entered, d, reason, int(book[row, HELD])
