"""The simulation: one portfolio, its strategies, a window of sessions, starting flat (rules, section 4, step by step).

The kernel visits open positions and the day's signals only, so its cost follows the trades and not the universe.
Entries are sized and judged by the policy gate, by the code that judges live orders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from kobe_assets.research.costs import DAYS_A_YEAR, Charges, Costs, charges_of, fill_fees
from kobe_assets.research.entry_queue import LONG_OUT, SHORT_OUT, SUSPECT, Feed
from kobe_assets.research.fills import exit_price, is_stopped, met_at_limit, stop_fill, stop_level
from kobe_assets.research.metrics import daily_returns, sharpe_of_each
from kobe_assets.research.panel import (
    ROW_CLOSE,
    ROW_DIVIDEND,
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
    ALREADY_OPEN,
    AT_LIMIT,
    AT_OPENING_AUCTION,
    AT_QUOTE,
    BY_EQUITY,
    BY_RISK,
    NO_BAR,
    NO_STOP,
    REASONS,
    Limits,
    Proposal,
    Standing,
    admit_entry,
    price_entry,
    size_entry,
)
from kobe_resources.runtime.jit import njit_lean, njit_part, prefetch

STOPPED, LEFT, TIME_STOPPED, DELISTED, WINDOW_END, SUSPECTED, RUINED = range(1, 8)
EXIT_REASONS = ("", "stop", "leave", "time_stop", "delisted", "window_end", "suspect", "ruin")
"""Exit codes; `leave` carries the strategy's own `leave_reason` in tables."""

BARS_AHEAD = 6
"""Bars of a new position that are on their way to the cache while other positions live through theirs."""
SIDE_BY_SIDE = 9
"""Simulations that go through a window together: more were not faster, and take memory for each."""
LATE_BARS = 10
"""A listing whose last bar lies this many sessions back, or fewer, has not ended: its bars are late."""

# Columns of a trade's numbers.
ENTRY_PRICE, EXIT_PRICE, SHARES, QTY, FEES, DIVIDENDS, PNL, MAE, MFE = range(9)
# Columns of a trade's indices.
T_SYMBOL, T_SIDE, T_STRATEGY, T_SIGNAL, T_ENTRY, T_EXIT, T_REASON, T_HELD = range(8)

# Columns of an open position; what every bar reads comes first, so that it shares a cache line. NEXT_BAR is the flat bar
# that follows the last one seen, NEXT_SESSION its session: read a day ahead, so that by then it lies in the cache.
NEXT_BAR, NEXT_SESSION, SIDE, HOLDING, STOP_PRICE, LAST_CLOSE, HELD, FLAG = range(8)
STRATEGY, SYMBOL, ORDERED, ENTRY, LOWEST, HIGHEST, ENTERED, PAID, RECEIVED = range(8, 17)
POSITION_COLUMNS = 24
DIVIDEND_DUE = -2.0
"""`FLAG` of a position whose next bar pays a dividend; an exit's reason, which outranks it, is above zero."""
FILLED_LATE = -1.0
"""`FLAG` of a position that was filled after the open, in its entry bar."""
OPEN = 1 << 62
"""`held_until` of a symbol with an open position: later than any session."""

# Columns of a strategy's terms.
ATR_STOP, TIME_STOP, LIMIT_ATR, WEIGHT = range(4)


class Journal(NamedTuple):
    """Where trades are written: (trades, 9) numbers and (trades, 8) indices."""

    numbers: Floats
    places: Ints


class PositionBook(NamedTuple):
    """What a portfolio holds: a row a position, the rows in order of entry, and what is known of each symbol.

    rows: (rows, 24), those of other portfolios among them. order: (symbols) rows of its own; the first so many are open
    positions, the rest are free. held_until: (symbols) OPEN while the symbol is held, else the last session in which it may not
    be bought again.
    """

    rows: Floats
    order: Ints
    held_until: Ints


class Accounts(NamedTuple):
    """Portfolios that go through a window side by side.

    books: the rows of all of them; order and held_until: (portfolios, symbols). positions: (portfolios) how many are open.
    cash, worth: (portfolios) dollars; at zero or less worth a portfolio is ruined.
    """

    books: PositionBook
    positions: Ints
    cash: Floats
    worth: Floats


def make_accounts(count: int, symbols: int) -> Accounts:
    """Room for `count` portfolios; a kernel opens them."""
    books = PositionBook(
        np.empty((count * symbols, POSITION_COLUMNS)),
        np.arange(count * symbols).reshape(count, symbols),
        np.empty((count, symbols), np.int64),
    )
    return Accounts(books, np.empty(count, np.int64), np.empty(count), np.empty(count))


@dataclass(frozen=True)
class Outcome:
    """What a simulation yields.

    equity, exposure, positions: (sessions of the window) dollars, fraction of equity, open positions at the close. numbers:
    (trades, 9) entry and exit price (adjusted dollars), shares (adjusted), qty (as traded at entry), fees, dividends and pnl
    (dollars), mae and mfe (fractions of the entry price, against and for the position). places: (trades, 8) symbol, side,
    strategy, signal, entry and exit session index, exit reason, bars held. refused: by index of `REASONS`; index 0 counts
    the accepted.
    """

    equity: Floats
    exposure: Floats
    positions: Ints
    numbers: Floats
    places: Ints
    refused: Ints

    def refusals(self) -> dict[str, int]:
        """Reason → count, of the reasons that occurred."""
        return {REASONS[code]: int(n) for code, n in enumerate(self.refused) if code != ACCEPTED and n}


def terms_of(params: Sequence[Mapping[str, float]], weights: Sequence[float] = (1.0,)) -> Floats:
    """(strategies, 4) what the kernel asks of each strategy: atr_stop, time_stop, limit_atr (NaN without) and weight."""
    names = ("atr_stop", "time_stop", "limit_atr")
    rows = [[own.get(name, np.nan) for name in names] + [weight] for own, weight in zip(params, weights, strict=True)]
    return np.array(rows, dtype=np.float64)


def simulate(feed: Feed, first: int, last: int, terms: Floats, costs: Costs, limits: Limits, auction: bool = False) -> Outcome:
    """Simulate the sessions `first`..`last` (indices, both included) and keep every trade.

    terms: (strategies, 4), see `terms_of`. auction: enter in the opening auction. Raises ValueError where the sessions are no
    window of the panel.
    """
    _check_window(feed, first, last)
    wanted = int(feed.first[last] - feed.first[max(first - 1, 0)])
    journal = Journal(np.empty((wanted, 9)), np.empty((wanted, 8), np.int64))
    sessions = last - first + 1
    equity, exposure, open_at = np.empty((1, sessions)), np.zeros(sessions), np.zeros(sessions, np.int64)
    refused, account = np.zeros(len(REASONS), np.int64), make_accounts(1, len(feed.last_session))
    trades = _run(
        feed, first, last, terms[None], costs, limits, auction, True, account, equity, exposure, open_at, refused, journal
    )
    return Outcome(equity[0], exposure, open_at, journal.numbers[:trades].copy(), journal.places[:trades].copy(), refused)


def equity_curves(
    feed: Feed, first: int, last: int, terms: Floats, costs: Costs, limits: Limits, auction: bool = False
) -> Floats:
    """(sets, sessions) the equity of the window at each set's terms; no trade is kept, no refusal counted.

    terms: (sets, strategies, 4).
    """
    _check_window(feed, first, last)
    equity = np.empty((len(terms), last - first + 1))
    accounts = make_accounts(min(len(terms), SIDE_BY_SIDE), len(feed.last_session))
    _run(feed, first, last, terms, costs, limits, auction, False, accounts, equity, NONE, NOTHING, NOTHING, NOWHERE)
    return equity


def train_sharpes(
    feed: Feed, first: int, last: int, terms: Floats, costs: Costs, limits: Limits, auction: bool = False
) -> Floats:
    """(sets) the annualised Sharpe ratio of the window's returns at each set's terms; NaN where there is none."""
    return sharpe_of_each(daily_returns(equity_curves(feed, first, last, terms, costs, limits, auction), costs.initial_cash))


def _check_window(feed: Feed, first: int, last: int) -> None:
    sessions = len(feed.first) - 1
    if not 0 <= first <= last < sessions:
        raise ValueError(f"the sessions {first}..{last} are no window of {sessions} sessions")


NONE, NOTHING = np.empty(0), np.empty(0, np.int64)
NOWHERE = Journal(np.empty((0, 9)), np.empty((0, 8), np.int64))


@njit_lean
def _run(
    feed: Feed, first: int, last: int, terms: Floats, costs: Costs, limits: Limits, auction: bool, keep: bool,
    accounts: Accounts, equity: Floats, exposure: Floats, open_at: Ints, refused: Ints, journal: Journal,
) -> int:  # fmt: skip
    """One simulation for each of `terms`, each into its row of `equity`; trades written.

    keep: fill `exposure`, `open_at`, `refused` and `journal` too; then there is one of `terms`. Several go through the sessions
    side by side, as many as there are accounts, so that a session's signals and bars are fetched once for all of them.
    """
    # To the compiler a plain 0 is a type of its own, for which it would compile every part again.
    zero = int(np.int64(0))
    trades, (books, positions, cash, worth) = zero, accounts
    for begin in range(0, len(terms), len(cash)):
        books.held_until[:] = -1
        positions[:] = 0
        cash[:], worth[:] = costs.initial_cash, costs.initial_cash
        for d in range(first, last + 1):
            charges, owed = charges_of(costs, d), costs.borrow_rate * costs.nights[d] / DAYS_A_YEAR
            for b in range(min(len(cash), len(terms) - begin)):
                if worth[b] <= 0.0:
                    continue
                k, book = begin + b, PositionBook(books.rows, books.order[b], books.held_until[b])
                held, trades, money = _at_the_open(feed.rows, book, positions[b], d, cash[b], charges, keep, journal, trades)
                held, money = _enter(feed, book, held, d, money, worth[b], charges, terms[k], limits, auction, refused, keep)
                held, trades, money = _through_the_bar(
                    feed, book, held, d, d == last, money, charges, terms[k], keep, journal, trades
                )
                money, worth[b], gross = _mark(book, held, money, owed)
                if worth[b] <= 0.0:
                    trades, money = _close_all(feed, book, held, d, money, charges, keep, journal, trades)
                    equity[k, d - first :] = money
                    continue
                equity[k, d - first] = worth[b]
                positions[b], cash[b] = held, money
                if keep:
                    exposure[d - first], open_at[d - first] = gross / worth[b], held
    return trades


# Functions that run once a signal or a bar take plain numbers: to hand an array on costs more than they do.


@njit_part
def _at_the_open(
    bars: Floats,
    book: PositionBook,
    positions: int,
    d: int,
    cash: float,
    charges: Charges,
    keep: bool,
    journal: Journal,
    trades: int,
) -> tuple[int, int, float]:
    """Step 1: dividends are paid, flagged positions leave at the open; without a bar the flag stays.

    Only what the close before left in `FLAG` is looked at: most positions have nothing due.
    """
    rows, order = book.rows, book.order
    kept = 0
    for p in range(positions):
        row = order[p]
        leaves = False
        if rows[row, FLAG] != 0.0 and rows[row, NEXT_SESSION] == d:
            bar, side = int(rows[row, NEXT_BAR]), rows[row, SIDE]
            received = side * rows[row, HOLDING] * bars[bar, ROW_FACTOR] * bars[bar, ROW_DIVIDEND]
            cash += received
            rows[row, RECEIVED] += received
            leaves = rows[row, FLAG] > 0.0
            if leaves:
                quote = bars[bar, ROW_OPEN]
                price, fees = exit_price(charges, side, quote, rows[row, HOLDING], bars[bar, ROW_FACTOR])
                cash += side * rows[row, HOLDING] * price - fees
                rows[row, PAID] += fees
                book.held_until[int(rows[row, SYMBOL])] = d
                if keep:
                    _see(rows, row, quote, quote)
                    _record(journal, trades, rows, row, d, price, int(rows[row, FLAG]))
                    trades += 1
        if not leaves:
            order[p], order[kept] = order[kept], row
            kept += 1
    return kept, trades, cash


@njit_part
def _enter(
    feed: Feed, book: PositionBook, positions: int, d: int, cash: float, equity: float, charges: Charges, terms: Floats,
    limits: Limits, auction: bool, refused: Ints, keep: bool,
) -> tuple[int, float]:  # fmt: skip
    """Step 2: the signals of the session before, in order, each through the gate, then through the market."""
    if d == 0 or feed.first[d - 1] == feed.first[d]:
        return positions, cash
    entries, held_until = feed.entries, book.held_until
    spent, accepted, open_before, cash_after_exits, gross = 0.0, 0, positions, cash, 0.0
    if limits.max_gross_exposure < np.inf:
        for p in range(positions):
            row = book.order[p]
            gross += book.rows[row, HOLDING] * book.rows[row, LAST_CLOSE]
    least, usual = _least_notional(limits, terms, equity), AT_OPENING_AUCTION if auction else AT_QUOTE
    for j in range(feed.first[d - 1], feed.first[d]):
        symbol, strategy, code, limit, kind = (
            entries.symbol[j],
            entries.strategy[j],
            int(entries.code[j]),
            entries.price[j],
            usual,
        )
        account = Standing(held_until[symbol] >= d, equity, open_before + accepted, spent, gross, cash_after_exits)
        qty, notional = entries.qty[j], 0.0
        if account.held:
            code = ALREADY_OPEN
        elif terms[strategy, LIMIT_ATR] == terms[strategy, LIMIT_ATR] and code != NO_BAR:
            kind = AT_LIMIT
            away, risk = terms[strategy, LIMIT_ATR] * entries.limit[j], terms[strategy, ATR_STOP] * entries.stop[j]
            is_long, factor = entries.side[j] > 0, entries.factor[j]
            order = Proposal(is_long, kind, True, 0.0, entries.close[j] / factor, away / factor, risk, 1.0)
            code, limit = price_entry(limits, order)
            qty = np.nan
        elif limits.mode == BY_RISK and code != NO_BAR and not terms[strategy, ATR_STOP] * entries.stop[j] > 0.0:
            code = NO_STOP
        if code == ACCEPTED and qty == qty:
            notional = qty * limit
        elif code == ACCEPTED:
            per_share = terms[strategy, ATR_STOP] * entries.stop[j] / entries.factor[j] if limits.mode == BY_RISK else 0.0
            code, qty, notional = size_entry(limits, terms[strategy, WEIGHT], per_share, limit, equity)
        if code == ACCEPTED:
            code = admit_entry(limits, account, notional)
        if code != ACCEPTED:
            if keep:
                refused[code] += 1
            elif code != ALREADY_OPEN and _is_full(limits, account, least):
                break
            continue
        accepted += 1
        spent += notional
        held_until[symbol] = d
        bar, side, opened, factor = entries.bar[j], float(entries.side[j]), entries.open[j], entries.factor[j]
        fill, in_the_bar = opened * (1.0 + side * charges.slippage), False
        if kind != AT_QUOTE:
            best = feed.rows[bar, ROW_LOW] if side > 0.0 else feed.rows[bar, ROW_HIGH]
            code, fill, in_the_bar = met_at_limit(kind, side, opened, best, fill, factor, limit)
        if keep:
            refused[code] += 1
        if code != ACCEPTED:
            continue
        distance = terms[strategy, ATR_STOP] * entries.stop[j]
        cash -= _open(
            feed.rows, book, positions, d, charges, bar, symbol, strategy, side, qty, fill, factor, distance, in_the_bar
        )
        positions += 1
    return positions, cash


@njit_part
def _open(
    bars: Floats, book: PositionBook, positions: int, d: int, charges: Charges, bar: int, symbol: int, strategy: int,
    side: float, qty: float, fill: float, factor: float, distance: float, in_the_bar: bool,
) -> float:  # fmt: skip
    """Put a filled entry behind the `positions` open ones; the dollars that it takes from the cash.

    qty: as traded; fill, distance: adjusted dollars. in_the_bar: filled after the open.
    """
    for ahead in range(BARS_AHEAD):
        prefetch(bars, bar + ahead)
    rows, row = book.rows, book.order[positions]
    fees = fill_fees(charges, side < 0.0, qty, fill / factor)
    book.held_until[symbol] = OPEN
    # The next bar is the entry's own: `_through_the_bar` lives through it today.
    rows[row, NEXT_BAR], rows[row, NEXT_SESSION] = bar, d
    rows[row, SIDE], rows[row, HOLDING], rows[row, LAST_CLOSE] = side, qty / factor, fill
    rows[row, STOP_PRICE] = stop_level(side, fill, distance, factor)
    rows[row, HELD], rows[row, FLAG] = 0.0, FILLED_LATE if in_the_bar else 0.0
    rows[row, STRATEGY], rows[row, SYMBOL], rows[row, ORDERED], rows[row, ENTERED] = strategy, symbol, qty, d
    rows[row, ENTRY], rows[row, LOWEST], rows[row, HIGHEST] = fill, fill, fill
    rows[row, PAID], rows[row, RECEIVED] = fees, 0.0
    return side * qty * (fill / factor) + fees


@njit_part
def _least_notional(limits: Limits, terms: Floats, equity: float) -> float:
    """Dollars that every order of the session carries at least: whole shares of N dollars carry more than half of N."""
    if limits.mode == BY_RISK:
        return 0.0
    dollars = limits.fraction * equity if limits.mode == BY_EQUITY else limits.order_notional
    lightest = np.inf
    for s in range(len(terms)):
        lightest = min(lightest, terms[s, WEIGHT])
    return 0.5 * dollars * lightest


@njit_part
def _is_full(limits: Limits, account: Standing, least: float) -> bool:
    """No further order of the session can pass the gate, whatever its signal."""
    wanted = account.spent + least
    most = min(limits.max_daily_notional, limits.max_daily_fraction * account.equity, account.cash)
    return (
        account.positions >= limits.max_positions
        or wanted > most * 1.000001
        or account.gross + wanted > limits.max_gross_exposure * account.equity * 1.000001
    )


@njit_part
def _through_the_bar(
    feed: Feed, book: PositionBook, positions: int, d: int, is_last: bool, cash: float, charges: Charges, terms: Floats,
    keep: bool, journal: Journal, trades: int,
) -> tuple[int, int, float]:  # fmt: skip
    """Steps 3 to 7: suspect bars, the protective stop, the close's flags, the end of a listing, the end of the window."""
    rows, order, bars = book.rows, book.order, feed.rows
    may_end = len(feed.first) - 2 - d > LATE_BARS
    kept = 0
    for p in range(positions):
        row = order[p]
        reason, quote = 0, rows[row, LAST_CLOSE]
        if rows[row, NEXT_SESSION] == d:
            bar, side = int(rows[row, NEXT_BAR]), rows[row, SIDE]
            # After a listing's last bar lie another's, whether the listing has ended or its bars are late.
            is_over = feed.last_session[int(rows[row, SYMBOL])] == d
            rows[row, NEXT_BAR] = bar + 1
            rows[row, NEXT_SESSION] = -1.0 if is_over else bars[bar + 1, ROW_SESSION]
            low, high, close = bars[bar, ROW_LOW], bars[bar, ROW_HIGH], bars[bar, ROW_CLOSE]
            strategy = int(rows[row, STRATEGY])
            wishes, is_late = feed.leave[strategy, bar], rows[row, FLAG] == FILLED_LATE
            if (wishes & SUSPECT) != 0 and side * (close - quote) > 0.0:
                reason = SUSPECTED
            elif is_stopped(side, low, high, close, rows[row, STOP_PRICE], is_late):
                reason, quote = STOPPED, stop_fill(side, bars[bar, ROW_OPEN], rows[row, STOP_PRICE])
            else:
                quote = close
                rows[row, LAST_CLOSE] = close
                rows[row, HELD] += 1.0
                if (wishes & (LONG_OUT if side > 0.0 else SHORT_OUT)) != 0:
                    rows[row, FLAG] = LEFT
                elif rows[row, HELD] >= terms[strategy, TIME_STOP]:
                    rows[row, FLAG] = TIME_STOPPED
                elif not is_over and bars[bar + 1, ROW_DIVIDEND] != 0.0:
                    rows[row, FLAG] = DIVIDEND_DUE
                else:
                    rows[row, FLAG] = 0.0
                if may_end and is_over:
                    reason = DELISTED
                if keep:
                    _see(rows, row, low, high)
        if reason == 0 and is_last:
            reason = WINDOW_END
        if reason == 0:
            order[p], order[kept] = order[kept], row
            kept += 1
            continue
        # Without a bar of this session the last one's factor holds.
        factor = bars[int(rows[row, NEXT_BAR]) - 1, ROW_FACTOR]
        price, fees = exit_price(charges, rows[row, SIDE], quote, rows[row, HOLDING], factor)
        cash += rows[row, SIDE] * rows[row, HOLDING] * price - fees
        rows[row, PAID] += fees
        book.held_until[int(rows[row, SYMBOL])] = d
        if keep:
            if reason in (STOPPED, SUSPECTED):
                _see(rows, row, price, price)
            _record(journal, trades, rows, row, d, price, reason)
            trades += 1
    return kept, trades, cash


@njit_part
def _mark(book: PositionBook, positions: int, cash: float, owed: float) -> tuple[float, float, float]:
    """Steps 8 and 9: shorts pay `owed` of their worth for borrowing, positions are valued: (cash, equity, gross), dollars."""
    rows = book.rows
    if owed != 0.0:
        for p in range(positions):
            row = book.order[p]
            if rows[row, SIDE] < 0.0:
                owes = owed * rows[row, HOLDING] * rows[row, LAST_CLOSE]
                cash -= owes
                rows[row, PAID] += owes
    net, gross = cash, 0.0
    for p in range(positions):
        row = book.order[p]
        value = rows[row, HOLDING] * rows[row, LAST_CLOSE]
        net += rows[row, SIDE] * value
        gross += value
    return cash, net, gross


@njit_part
def _close_all(
    feed: Feed,
    book: PositionBook,
    positions: int,
    d: int,
    cash: float,
    charges: Charges,
    keep: bool,
    journal: Journal,
    trades: int,
) -> tuple[int, float]:
    """Ruin: everything leaves at its last close; (trades, cash)."""
    rows = book.rows
    for p in range(positions):
        row = book.order[p]
        factor = feed.rows[int(rows[row, NEXT_BAR]) - 1, ROW_FACTOR]
        price, fees = exit_price(charges, rows[row, SIDE], rows[row, LAST_CLOSE], rows[row, HOLDING], factor)
        cash += rows[row, SIDE] * rows[row, HOLDING] * price - fees
        rows[row, PAID] += fees
        if keep:
            _record(journal, trades, rows, row, d, price, RUINED)
            trades += 1
    return trades, cash


@njit_part
def _see(rows: Floats, row: int, low: float, high: float) -> None:
    """Widen the range of prices that a position has lived through."""
    rows[row, LOWEST] = min(rows[row, LOWEST], low)
    rows[row, HIGHEST] = max(rows[row, HIGHEST], high)


@njit_part
def _record(journal: Journal, t: int, rows: Floats, row: int, d: int, price: float, reason: int) -> None:
    number, place = journal.numbers, journal.places
    side, entry, entered = rows[row, SIDE], rows[row, ENTRY], int(rows[row, ENTERED])
    down, up = rows[row, LOWEST] / entry - 1.0, rows[row, HIGHEST] / entry - 1.0
    number[t, ENTRY_PRICE], number[t, EXIT_PRICE] = entry, price
    number[t, SHARES], number[t, QTY] = rows[row, HOLDING], rows[row, ORDERED]
    number[t, FEES], number[t, DIVIDENDS] = rows[row, PAID], rows[row, RECEIVED]
    number[t, PNL] = side * rows[row, HOLDING] * (price - entry) + rows[row, RECEIVED] - rows[row, PAID]
    number[t, MAE], number[t, MFE] = (down, up) if side > 0.0 else (-up, -down)
    place[t, T_SYMBOL], place[t, T_SIDE], place[t, T_STRATEGY] = int(rows[row, SYMBOL]), int(side), int(rows[row, STRATEGY])
    place[t, T_SIGNAL], place[t, T_ENTRY], place[t, T_EXIT] = entered - 1, entered, d
    place[t, T_REASON], place[t, T_HELD] = reason, int(rows[row, HELD])
