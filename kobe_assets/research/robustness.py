"""How far a walk-forward result bends: costs, lag, hindsight, and every parameter set over the whole span.

A `Plan` holds what traded each fold, so that the same decisions can be simulated again under other assumptions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from kobe_assets.research.costs import Costs
from kobe_assets.research.entry_queue import Feed, interleave, price_entries
from kobe_assets.research.metrics import chain_returns, daily_returns, sharpe
from kobe_assets.research.panel import ROW_DIVIDEND, ROW_FACTOR, Floats, Ints, Panel
from kobe_assets.research.parallel import in_threads
from kobe_assets.research.signals import Readable
from kobe_assets.research.simulation import LATE_BARS, equity_curves, terms_of
from kobe_assets.research.strategies import Params, Strategy
from kobe_assets.research.walk_forward import Fold, Found, Market, find_signals

COST_STEPS_BPS = (0.0, 5.0, 10.0, 20.0, 40.0)
BREAK_EVEN_LIMIT_BPS = 500.0
BREAK_EVEN_PRECISION_BPS = 0.05
FIRST_SEARCH_STEP_BPS = 40.0
MOST_SEARCH_STEPS = 12


@dataclass(frozen=True)
class Plan:
    """What traded: one parameter set a fold, of one strategy; `beside`: of each further strategy of the book.

    weights: of the strategy, then of those beside it.
    """

    strategy: Strategy
    folds: tuple[Fold, ...]
    params: tuple[Params, ...]
    beside: tuple[tuple[Strategy, tuple[Params, ...]], ...] = ()
    weights: tuple[float, ...] = (1.0,)

    @property
    def parts(self) -> tuple[tuple[Strategy, tuple[Params, ...]], ...]:
        """(strategy, parameter set a fold) of all strategies, in order."""
        return ((self.strategy, self.params), *self.beside)


class Rehearsal:
    """A plan on a market, to be simulated again and again: its signals are looked for once, since no cost changes them."""

    def __init__(
        self, market: Market, plan: Plan, readable: Readable | None = None, found: Mapping[str, Found] | None = None
    ) -> None:
        """found: strategy → its signals on this market at the plan's parameters, and maybe others; looked for without."""
        self.market, self.plan = market, plan
        if found is None:
            readable = readable or market.readable()
            found = {strategy.name: find_signals(market, readable, strategy, params) for strategy, params in plan.parts}
        self._found = [found[strategy.name].of(params) for strategy, params in plan.parts]
        self._unseen: dict[float, Floats] = {}

    def out_of_sample(self, slippage_bps: float | None = None) -> Floats:
        """The daily returns of the test windows, one after the other; simulated once for each cost.

        slippage_bps: the cost of a fill; none: the market's.
        """
        costs = self.market.costs
        if slippage_bps is not None:
            costs = costs._replace(slippage=slippage_bps / 10_000.0)
        if costs.slippage not in self._unseen:
            rules = costs, self.market.limits, self.market.auction, self.plan.weights

            def priced(k: int) -> Feed:
                return self._tests[k]._replace(entries=price_entries(self._tests[k].entries, *rules))

            windows = [(fold.test_start, fold.test_end) for fold in self.plan.folds]
            self._unseen[costs.slippage] = self._simulate(windows, priced, costs)
        return self._unseen[costs.slippage]

    @cached_property
    def _tests(self) -> list[Feed]:
        """(folds) the entries of each test window, without prices: no cost changes which they are."""

        def one(k: int) -> Feed:
            fold = self.plan.folds[k]
            return self._book([found.window(k, fold.test_start, fold.test_end) for found in self._found])

        return in_threads(one, range(len(self.plan.folds)))

    def in_training(self) -> Floats:
        """The daily returns of the train windows, one after the other, at the parameters that then traded."""
        windows, market = [(fold.train_start, fold.train_end) for fold in self.plan.folds], self.market
        feeds = [
            found.priced(market, weight).feeds(range(len(windows)), trial=len(self._found) == 1)
            for found, weight in zip(self._found, self.plan.weights, strict=True)
        ]
        return self._simulate(windows, lambda k: self._book([own[k] for own in feeds]), market.costs)

    def leaves(self, k: int) -> NDArray[np.uint8]:
        """(strategies, bars) when a position wants out at the parameters of fold `k` (counted from 0), as `Feed.leave`."""
        own = [found.leaves[found.place[k]][None] for found in self._found]
        return own[0] if len(own) == 1 else np.concatenate(own)

    def _book(self, own: list[Feed]) -> Feed:
        return own[0] if len(own) == 1 else interleave(self.market.panel, own)

    def _simulate(self, windows: Sequence[tuple[int, int]], book: Callable[[int], Feed], costs: Costs) -> Floats:
        """book: fold (counted from 0) → the feed of its window."""

        def one(k: int) -> Floats:
            terms = terms_of([params[k] for _, params in self.plan.parts], self.plan.weights)[None]
            curve: Floats = equity_curves(book(k), *windows[k], terms, costs, self.market.limits, self.market.auction)[0]
            return curve

        curves = in_threads(one, range(len(windows)))
        return chain_returns(np.concatenate([daily_returns(equity, costs.initial_cash) for equity in curves]))


def cost_sensitivity(rehearsal: Rehearsal) -> list[dict[str, float | None]]:
    """Sharpe ratio and profit (dollars) of the chained curve at every step of cost, the same decisions throughout."""
    rows = []
    for bps in COST_STEPS_BPS:
        returns = rehearsal.out_of_sample(bps)
        profit = rehearsal.market.costs.initial_cash * float(np.prod(1.0 + returns) - 1.0)
        rows.append({"bps": bps, "sharpe": _known(sharpe(returns)), "net_pnl": profit})
    return rows


def break_even_bps(rehearsal: Rehearsal, steps: Sequence[Mapping[str, float | None]]) -> float | None:
    """The slippage (bps, to 0.05) at which the out-of-sample Sharpe ratio falls through 0; negative where free fills lose too.

    None where the ratio is undefined, rises through zero between two of the measured `steps`, since then no single cost
    parts gain from loss, or keeps its sign between -500 and 500 bps. The measured steps are the first bracket.
    """

    def value_at(bps: float) -> float:
        return sharpe(rehearsal.out_of_sample(bps))

    known = sorted((float(step["bps"] or 0.0), step["sharpe"]) for step in steps if step["sharpe"] is not None)
    gains, losses = [point for point in known if point[1] >= 0], [point for point in known if point[1] < 0]
    if gains and losses:
        return _root(gains[-1], losses[0], value_at) if gains[-1] < losses[0] else None
    if not known:
        return None
    (edge, way), step = (gains[-1], 1.0) if gains else (losses[0], -1.0), FIRST_SEARCH_STEP_BPS
    while abs(edge[0]) < BREAK_EVEN_LIMIT_BPS:
        bps = float(np.clip(edge[0] + way * step, -BREAK_EVEN_LIMIT_BPS, BREAK_EVEN_LIMIT_BPS))
        beyond = bps, value_at(bps)
        if np.isnan(beyond[1]):
            return None
        if (beyond[1] >= 0) != (edge[1] >= 0):
            return _root(min(edge, beyond), max(edge, beyond), value_at)
        edge, step = beyond, step * 2
    return None


def _root(low: tuple[float, float], high: tuple[float, float], value_at: Callable[[float], float]) -> float | None:
    """Where a nearly straight, falling line crosses zero, by secant steps kept inside the bracket; None where it has a gap."""
    for _ in range(MOST_SEARCH_STEPS):
        if high[0] - low[0] <= BREAK_EVEN_PRECISION_BPS:
            break
        share = low[1] / (low[1] - high[1])
        middle = low[0] + min(max(share, 0.02), 0.98) * (high[0] - low[0])
        value = value_at(middle)
        if np.isnan(value):
            return None
        if abs(value) < 1e-4:
            return middle
        low, high = ((middle, value), high) if value >= 0 else (low, (middle, value))
    return low[0] + (high[0] - low[0]) * low[1] / (low[1] - high[1])


def whole_span(market: Market, found: Found, sets: Sequence[Params], first: int, last: int) -> Floats:
    """(sessions, sets) daily returns of every parameter set over the sessions `first`..`last`, flat at the start.

    found: the signals of the sets, and maybe of others.
    """
    feeds = found.of(sets).priced(market).feeds(range(len(sets)), trial=True)

    def one(k: int) -> Floats:
        terms = terms_of([sets[k]])[None]
        equity = equity_curves(feeds[k], first, last, terms, market.costs, market.limits, market.auction)
        return daily_returns(equity[0], market.costs.initial_cash)

    return np.column_stack(in_threads(one, range(len(sets))))


def buy_and_hold(panel: Panel, bought: int, last: int, symbols: Sequence[int], distrusted: Ints) -> Floats:
    """(last + 1 sessions) growth of $1 put in equal parts into `symbols` at the close of session `bought`, and left alone.

    Only those are bought that have a bar then and have not ended with it: nothing else can be held on from its close. What
    ends later stays in cash at its last close. A dividend is reinvested in its stock at the close of its first bar from the
    ex-date on. No costs. Before `bought` the curve only tells the market's state, so equal parts are weighted anew every
    session. distrusted: flat indices of bars whose move does not count, since a missed split is no loss; their dividends
    do.
    """
    columns = np.asarray(symbols, dtype=np.int64)
    if not len(columns):
        return np.ones(last + 1)
    move = np.ones(panel.bars)
    np.divide(panel.close[1:], panel.close[:-1], out=move[1:])
    move[panel.start[:-1]] = 1.0
    move[distrusted] = 1.0
    # A dividend as traded is worth `factor` times as much a share of today, and buys its stock at the close.
    paid = np.setdiff1d(np.flatnonzero(panel.rows[:, ROW_DIVIDEND]), panel.start[:-1])
    move[paid] *= 1.0 + panel.rows[paid, ROW_DIVIDEND] * panel.rows[paid, ROW_FACTOR] / panel.close[paid]
    at = panel.bar_at[: last + 1, columns]
    moves = np.where(at >= 0, move[at], 1.0)
    begun, ended = panel.session[panel.start[columns]], panel.last_session_of()[columns]
    day = np.arange(bought + 1)[:, None]
    alive = (begun < day) & (day <= ended)
    count, total = alive.sum(axis=1), np.where(alive, moves[: bought + 1], 0.0).sum(axis=1)
    before = np.cumprod(np.where(count > 0, total / np.maximum(count, 1), 1.0))
    has_ended = (ended == bought) & (len(panel.sessions) - 1 - ended > LATE_BARS)
    held = (at[bought] >= 0) & ~has_ended
    after = np.cumprod(moves[bought + 1 :, held], axis=0).mean(axis=1) if held.any() else np.ones(last - bought)
    return np.concatenate([before, before[-1] * after])


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value
