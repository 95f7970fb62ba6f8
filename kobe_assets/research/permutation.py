"""Entry permutation: as many entries a session as a book made, drawn from all that could have been traded.

Exits, sizing, costs and the gate are the simulation's own, so that a drawn run differs in nothing but what it enters.
It trusts its caller for wanted entries that lie in their windows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from kobe_assets.research.costs import DAYS_A_YEAR, Charges, Costs, charges_of
from kobe_assets.research.entry_queue import Entries, Feed, find_entries, make_feed, price_entries
from kobe_assets.research.fills import met_at_limit
from kobe_assets.research.metrics import chain_returns, daily_returns, sharpe_of_each
from kobe_assets.research.panel import ROW_HIGH, ROW_LOW, Floats, Ints
from kobe_assets.research.parallel import in_threads
from kobe_assets.research.robustness import Rehearsal
from kobe_assets.research.signals import LONG, Candidates, Readable
from kobe_assets.research.simulation import (
    ATR_STOP,
    HOLDING,
    LAST_CLOSE,
    LIMIT_ATR,
    NOWHERE,
    WEIGHT,
    Accounts,
    Journal,
    PositionBook,
    _at_the_open,
    _close_all,
    _is_full,
    _least_notional,
    _mark,
    _open,
    _through_the_bar,
    make_accounts,
    terms_of,
)
from kobe_assets.research.strategies import Strategy
from kobe_assets.research.walk_forward import Fold, Market
from kobe_resources.policy_gate import (
    ACCEPTED,
    AT_LIMIT,
    AT_OPENING_AUCTION,
    AT_QUOTE,
    BY_RISK,
    Limits,
    Proposal,
    Standing,
    admit_entry,
    price_entry,
    size_entry,
)
from kobe_resources.runtime.jit import njit_lean, njit_part, prefetch

SIDE_BY_SIDE = 34
"""Runs that go through a window together: few enough for what they hold to stay in the cache beside a session's bars."""

ROUNDING = 1e-9
"""Annual Sharpe ratios nearer than this are equal: a run that drew what the book entered is as good as the book."""
TRIES = 10
"""Drawn orders that the session's budgets refuse before they count as used up: the last dollars fit one order in hundreds."""


@dataclass(frozen=True)
class Entered:
    """What a book entered, fold by fold: (entries) session index, strategy of the plan and side (+1 or -1), by session."""

    session: tuple[Ints, ...]
    strategy: tuple[Ints, ...]
    side: tuple[Ints, ...]


@dataclass(frozen=True)
class Permuted:
    """Drawn runs of one book. sharpe: (runs) annual, of the chained test windows; 0 where a run never varies.

    entries: (runs) how many were filled, of the `wanted` that the book made. picked: (runs, wanted) the flat bar of each
    drawn entry in the order of `Entered`, -1 where nothing was left to draw; None where it was not asked for.
    """

    sharpe: Floats
    entries: Ints
    wanted: int
    picked: Ints | None = None


class Pool(NamedTuple):
    """What could have been traded, by kind of entry: of one strategy on one side.

    rows: (entries, 8) symbol, bar, limit as traded, open, factor, values that stop and limit are multiples of, close: one cache
    line an entry, since entries are drawn from anywhere; kind after kind, within it by session. side: (kinds). first: (kinds,
    sessions of the window + 1) offsets by session of entry.
    strategy: (kinds). wanted: (wanted) the kind of each entry to draw, equal ones of a session together; wanted_first:
    (sessions of the window + 1) offsets.
    """

    rows: Floats
    side: Ints
    first: Ints
    strategy: Ints
    wanted: Ints
    wanted_first: Ints


P_SYMBOL, P_BAR, P_PRICE, P_OPEN, P_FACTOR, P_STOP, P_LIMIT, P_CLOSE = range(8)


class Room(NamedTuple):
    """Scratch of a draw. places: 0, 1, 2, … as many as the largest session offers. swaps: the draws of a session."""

    places: Ints
    swaps: Ints


def permute_entries(
    books: Mapping[Any, tuple[Rehearsal, Entered]],
    readable: Readable,
    runs: int,
    seeds: Mapping[Any, int],
    keep: bool = False,
    meanwhile: Callable[[], None] = lambda: None,
) -> dict[Any, Permuted]:
    """`runs` drawn runs of every book over its test windows; a fold of a book draws from a generator of its own.

    The books share market and folds, so the bars of a fold are looked for once. seeds: by book. keep: give `picked` too.
    meanwhile: what the caller's thread does while the others draw (see `in_threads`).
    """
    if not books:
        meanwhile()
        return {}
    some = next(iter(books.values()))[0]
    folds = some.plan.folds

    def one_fold(k: int) -> dict[Any, tuple[Floats, Ints, Ints]]:
        offered = Offered(some.market, readable, folds[k])
        made = {}
        for name, (rehearsal, entered) in books.items():
            rng = np.random.default_rng([seeds[name], folds[k].number])
            made[name] = _permute_fold(rehearsal, entered, k, offered, runs, rng, keep)
        return made

    parts = in_threads(one_fold, range(len(folds)), meanwhile)
    found = {}
    for name, (_, entered) in books.items():
        own = [part[name] for part in parts]
        chained = chain_returns(np.concatenate([returns for returns, _, _ in own], axis=1))
        sharpe = np.nan_to_num(sharpe_of_each(chained))
        filled = np.sum([count for _, count, _ in own], axis=0)
        picked = np.concatenate([some for _, _, some in own], axis=1) if keep else None
        found[name] = Permuted(sharpe, filled, sum(map(len, entered.session)), picked)
    return found


def p_value(own: float, drawn: Floats) -> float:
    """Share of runs at least as good as `own`, itself counted among them, so that it is never 0 (Phipson & Smyth 2010)."""
    return (1 + int(np.count_nonzero(drawn >= own - ROUNDING))) / (1 + len(drawn))


def _permute_fold(
    rehearsal: Rehearsal, entered: Entered, k: int, offered: Offered, runs: int, rng: np.random.Generator, keep: bool
) -> tuple[Floats, Ints, Ints]:
    """(runs, sessions) returns of the fold, (runs) entries filled, (runs, wanted) bars drawn."""
    market, fold = rehearsal.market, rehearsal.plan.folds[k]
    terms = terms_of([own[k] for _, own in rehearsal.plan.parts], rehearsal.plan.weights)
    pool = _pool(offered, entered, k, terms, [strategy for strategy, _ in rehearsal.plan.parts])
    wanted = len(pool.wanted)
    feed = make_feed(market.panel, np.zeros(len(market.panel.sessions) + 1, np.int64), offered.none(), rehearsal.leaves(k))
    symbols, largest = len(market.panel.symbols), int(np.diff(pool.first, axis=1).max(initial=0))
    room, accounts = Room(np.arange(largest), np.empty(largest, np.int64)), make_accounts(SIDE_BY_SIDE, symbols)
    equity = np.empty((runs, fold.test_end - fold.test_start + 1))
    filled, picked = np.zeros(runs, np.int64), np.full((runs, wanted) if keep else (0, 0), -1, np.int64)
    _run_drawn(
        feed, pool, fold.test_start, fold.test_end, terms, market.costs, market.limits, market.auction, rng, accounts, room,
        equity, filled, picked, NOWHERE,
    )  # fmt: skip
    return daily_returns(equity, market.costs.initial_cash), filled, picked


class Offered:
    """What could have been traded in a fold's test window, side by side; made once for all books that ask."""

    def __init__(self, market: Market, readable: Readable, fold: Fold) -> None:
        self.market, self.first_session = market, fold.test_start
        self.window = np.maximum(np.arange(fold.test_start - 1, fold.test_end + 1), 0)
        panel = market.panel
        self._made: dict[Any, tuple[Floats, Ints]] = {}
        bars = panel.bar_at[max(fold.test_start - 1, 0) : fold.test_end].T
        eligible = np.zeros(panel.bars + 1, np.bool_)
        eligible[readable.lag : panel.bars] = readable.eligible
        by_bar = bars[eligible[bars]].astype(np.int64)
        order = np.argsort(panel.session[by_bar], kind="stable")
        n, first = len(by_bar), np.searchsorted(panel.session[by_bar[order]], np.arange(len(panel.sessions) + 1))
        candidates = Candidates(np.ones(n, np.int8), np.zeros(n), first, by_bar, order)
        self._first, self._candidates = first, candidates
        self._long: dict[tuple[str | None, str | None], Entries] = {}

    def long(self, stop: str | None, limit: str | None) -> Entries:
        """The entries with the distances of two indicators, bought; read once for all strategies that name the same."""
        if (stop, limit) not in self._long:
            away, below = (None if name is None else self.market.indicators[name] for name in (stop, limit))
            self._long[stop, limit] = find_entries(self.market.panel, self._candidates, away, below, self.market.lag)
        return self._long[stop, limit]

    def _levels(self, stop: str | None, limit: str | None) -> tuple[str | None, str | None]:
        """The indicators to read: without a stop nothing asks how far it is, and what was read for another strategy serves."""
        known = (made for made in self._long if stop is None and made[1] == limit)
        return next(known, (stop, limit))

    def none(self) -> Entries:
        """No entries: a drawn run has no signals; `of` was asked before."""
        columns: list[Any] = [column[:0] for column in next(iter(self._long.values()))]
        return Entries(*columns)

    def of(self, strategy: Strategy, side: int, has_limit: bool, weight: float) -> tuple[Floats, Ints]:
        """The rows (as in Pool) of one side that the gate may accept, and (sessions of the window + 1) offsets by session."""
        levels = self._levels(strategy.stop, strategy.limit if has_limit else None)
        key = *levels, side, weight
        if key not in self._made:
            market, long = self.market, self.long(*levels)
            sided = long._replace(side=np.full(len(long.bar), side, np.int8))
            priced = price_entries(sided, market.costs, market.limits, market.auction, [weight])
            kept = np.flatnonzero(priced.bar >= 0 if has_limit else priced.code == ACCEPTED)
            columns: list[Any] = [priced.symbol, priced.bar, priced.price, priced.open]
            columns += [priced.factor, priced.stop, priced.limit, priced.close]
            rows = np.empty((len(kept), len(columns)))
            for at, column in enumerate(columns):
                rows[:, at] = column[kept]
            self._made[key] = rows, np.searchsorted(kept, self._first[self.window])
        return self._made[key]


def _pool(offered: Offered, entered: Entered, k: int, terms: Floats, strategies: Sequence[Strategy]) -> Pool:
    asked = list(zip(entered.strategy[k].tolist(), entered.side[k].tolist(), strict=True))
    kinds = sorted(set(asked)) or [(0, LONG)]
    parts: list[tuple[Floats, Ints]] = []
    for strategy, side in kinds:
        has_limit = not np.isnan(terms[strategy, LIMIT_ATR])
        parts.append(offered.of(strategies[strategy], side, bool(has_limit), float(terms[strategy, WEIGHT])))
    begin = np.cumsum([0, *(len(part[0]) for part in parts[:-1])])
    number = {kind: at for at, kind in enumerate(kinds)}
    wanted = np.array([number[kind] for kind in asked], np.int64)
    order = np.lexsort((wanted, entered.session[k]))
    return Pool(
        parts[0][0] if len(parts) == 1 else np.concatenate([rows for rows, _ in parts]),
        np.array([side for _, side in kinds]),
        np.array([first + at for at, (_, first) in zip(begin, parts, strict=True)]),
        np.array([strategy for strategy, _ in kinds]),
        wanted[order],
        np.searchsorted(
            entered.session[k][order], np.arange(offered.first_session, offered.first_session + len(offered.window))
        ),
    )


@njit_lean
def _run_drawn(
    feed: Feed, pool: Pool, first: int, last: int, terms: Floats, costs: Costs, limits: Limits, auction: bool,
    rng: np.random.Generator, accounts: Accounts, room: Room, equity: Floats, filled: Ints, picked: Ints,
    nowhere: Journal,
) -> None:  # fmt: skip
    """Sessions `first`..`last` once for each row of `equity`; the steps are those of `simulation._run`, with drawn entries.

    Runs go through the sessions side by side, as many as there are accounts, so that a session's bars, which all of them read,
    stay in the cache.
    """
    zero, (books, positions, cash, worth) = int(np.int64(0)), accounts
    for begin in range(0, len(equity), len(cash)):
        block = min(len(cash), len(equity) - begin)
        books.held_until[:] = -1
        positions[:] = 0
        cash[:], worth[:] = costs.initial_cash, costs.initial_cash
        for d in range(first, last + 1):
            charges, owed = charges_of(costs, d), costs.borrow_rate * costs.nights[d] / DAYS_A_YEAR
            _fetch_ahead(feed.rows, pool, d - first)
            for b in range(block):
                run = begin + b
                if worth[b] > 0.0:
                    book = PositionBook(books.rows, books.order[b], books.held_until[b])
                    held, money = positions[b], cash[b]
                    held, _, money = _at_the_open(feed.rows, book, held, d, money, charges, False, nowhere, zero)
                    account = Standing(False, worth[b], held, 0.0, _gross(book, held, limits), money)
                    drawn, money = _enter_drawn(
                        feed.rows, pool, d, d - first, terms, charges, limits, auction, account, rng, book, room, run, picked
                    )
                    held += drawn
                    filled[run] += drawn
                    held, _, money = _through_the_bar(
                        feed, book, held, d, d == last, money, charges, terms, False, nowhere, zero
                    )
                    money, worth[b], _ = _mark(book, held, money, owed)
                    if worth[b] <= 0.0:
                        _, money = _close_all(feed, book, held, d, money, charges, False, nowhere, zero)
                        held, worth[b] = zero, min(money, 0.0)
                        equity[run, d - first :] = money
                    else:
                        equity[run, d - first] = worth[b]
                    positions[b], cash[b] = held, money


@njit_part
def _fetch_ahead(bars: Floats, pool: Pool, day: int) -> None:
    """Bring what a session offers, and its bars, into the cache: the runs side by side read them at random."""
    for kind in range(len(pool.side)):
        for j in range(pool.first[kind, day], pool.first[kind, day + 1]):
            prefetch(pool.rows, j)
            prefetch(bars, int(pool.rows[j, P_BAR]))


@njit_part
def _gross(book: PositionBook, positions: int, limits: Limits) -> float:
    """Dollars of the open positions at their last closes, where a limit asks for them."""
    gross = 0.0
    if limits.max_gross_exposure < np.inf:
        for p in range(positions):
            gross += book.rows[book.order[p], HOLDING] * book.rows[book.order[p], LAST_CLOSE]
    return gross


@njit_part
def _enter_drawn(
    rows: Floats, pool: Pool, d: int, day: int, terms: Floats, charges: Charges, limits: Limits, auction: bool,
    account: Standing, rng: np.random.Generator, book: PositionBook, room: Room, run: int, picked: Ints,
) -> tuple[int, float]:  # fmt: skip
    """Step 2 with drawn entries, how many and the cash then: a random order of the pool is gone through until as many as wanted
    are there that the gate accepts and the market fills; a symbol that is held, or was drawn already, is passed over."""
    count, spent, cash, w, end = 0, 0.0, account.cash, pool.wanted_first[day], pool.wanted_first[day + 1]
    offers, usual = pool.rows, AT_OPENING_AUCTION if auction else AT_QUOTE
    least, refused = _least_notional(limits, terms, account.equity), 0
    while w < end:
        kind, until = pool.wanted[w], w
        while until < end and pool.wanted[until] == kind:
            until += 1
        strategy, begin, side = pool.strategy[kind], pool.first[kind, day], float(pool.side[kind])
        has_limit = terms[strategy, LIMIT_ATR] == terms[strategy, LIMIT_ATR]
        size, i = pool.first[kind, day + 1] - begin, 0
        while w < until and i < size:
            other = i + min(int(rng.random() * (size - i)), size - i - 1)
            room.places[i], room.places[other] = room.places[other], room.places[i]
            room.swaps[i] = other
            j = begin + room.places[i]
            i += 1
            symbol, bar = int(offers[j, P_SYMBOL]), int(offers[j, P_BAR])
            if book.held_until[symbol] >= d:
                continue
            opened, factor, limit, kind_of = offers[j, P_OPEN], offers[j, P_FACTOR], offers[j, P_PRICE], usual
            risk = terms[strategy, ATR_STOP] * offers[j, P_STOP]
            if has_limit:
                kind_of, away = AT_LIMIT, terms[strategy, LIMIT_ATR] * offers[j, P_LIMIT]
                order = Proposal(side > 0.0, kind_of, True, 0.0, offers[j, P_CLOSE] / factor, away / factor, risk, 1.0)
                code, limit = price_entry(limits, order)
                if code != ACCEPTED:
                    continue
            elif limits.mode == BY_RISK and not risk > 0.0:
                continue
            code, qty, notional = size_entry(limits, terms[strategy, WEIGHT], risk / factor, limit, account.equity)
            if code != ACCEPTED:
                continue
            fill, in_the_bar = opened * (1.0 + side * charges.slippage), False
            if kind_of != AT_QUOTE:
                best = rows[bar, ROW_LOW] if side > 0.0 else rows[bar, ROW_HIGH]
                code, fill, in_the_bar = met_at_limit(kind_of, side, opened, best, fill, factor, limit)
                if code != ACCEPTED:
                    continue
            here = Standing(False, account.equity, account.positions + count, spent, account.gross, account.cash)
            if admit_entry(limits, here, notional) != ACCEPTED:
                refused += 1
                if refused == TRIES or _is_full(limits, here, least):
                    break
                continue
            row = account.positions + count
            cash -= _open(rows, book, row, d, charges, bar, symbol, strategy, side, qty, fill, factor, risk, in_the_bar)
            if len(picked):
                picked[run, w] = bar
            spent += notional
            count += 1
            w += 1
        for back in range(i - 1, -1, -1):
            other = room.swaps[back]
            room.places[back], room.places[other] = room.places[other], room.places[back]
        w = until
    return count, cash
