"""Walk-forward: folds, and for each the canonical and the best-in-training parameters on unseen sessions (rules, section 5).

Every simulation of every fold reads the same arrays; threads share them, since the kernel releases the GIL.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kobe_assets.research.costs import Costs
from kobe_assets.research.entry_queue import (
    SUSPECT,
    Feed,
    find_entries,
    interleave,
    make_feed,
    price_entries,
    select,
    within,
)
from kobe_assets.research.indicators import Indicators
from kobe_assets.research.panel import Bools, Floats, Panel
from kobe_assets.research.parallel import in_threads
from kobe_assets.research.signals import Readable, find_candidates_of_sets, leave_flags, make_readable
from kobe_assets.research.simulation import Outcome, simulate, terms_of, train_sharpes
from kobe_assets.research.strategies import MECHANICAL, Params, Strategy
from kobe_assets.research.strategies.base import Noted, bad_values, too_many_sets
from kobe_resources.policy_gate import ACCEPTED, Limits

CANONICAL, OPTIMIZED = "canonical", "optimized"


@dataclass(frozen=True)
class Fold:
    """Session indices, all included; `number` counts from 1."""

    number: int
    train_start: int
    train_end: int
    test_start: int
    test_end: int


@dataclass(frozen=True)
class Market:
    """What every simulation of a study reads.

    tradable: (bars) may this bar signal. lag: bars. min_price: dollars as traded. suspect: (bars) bars from which no profit
    comes, None: none. auction: entries go into the opening auction. found: the signals last looked for, by strategy; a report
    asks for those of its folds again.
    """

    panel: Panel
    indicators: Indicators
    tradable: Bools
    lag: int
    min_price: float
    costs: Costs
    limits: Limits
    suspect: Bools | None = None
    auction: bool = False
    found: dict[str, tuple[Strategy, Found]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        """Everything but what was found: a worker that is sent the market looks for its own signals."""
        return {**self.__dict__, "found": {}}

    def readable(self) -> Readable:
        """Bars as strategies read them."""
        return make_readable(self.panel, self.indicators, self.tradable, self.lag, self.min_price)


@dataclass(frozen=True)
class FoldResult:
    """One fold of one strategy and mode on its test window."""

    fold: Fold
    params: dict[str, float]
    train_sharpe: float | None
    outcome: Outcome


@dataclass(frozen=True)
class Study:
    """One strategy over all folds. trials: (folds, parameter sets) train Sharpe, NaN where there is none."""

    strategy: Strategy
    folds: tuple[Fold, ...]
    sets: tuple[dict[str, float], ...]
    trials: Floats
    canonical: tuple[FoldResult, ...]
    optimized: tuple[FoldResult, ...]


def make_folds(sessions: int, warmup: int, train: int, test: int, anchored: bool) -> tuple[Fold, ...]:
    """The folds of `sessions` sessions; the last may be shorter, down to one session.

    Raises ValueError when not even one session is left to test on.
    """
    if sessions < warmup + train + 1:
        raise ValueError(f"{sessions} sessions are fewer than warmup {warmup} + train {train} + 1")
    folds: list[Fold] = []
    for k in itertools.count():
        begin = warmup + k * test
        test_start = begin + train
        if test_start >= sessions:
            return tuple(folds)
        folds.append(
            Fold(k + 1, warmup if anchored else begin, test_start - 1, test_start, min(test_start + test, sessions) - 1)
        )
    raise AssertionError("unreachable")


def grid_sets(
    strategy: Strategy, canonical: Params, grid: Mapping[str, Sequence[float]] | None
) -> tuple[dict[str, float], ...]:
    """Every parameter set of a grid laid over the canonical one, last factor fastest.

    Raises ValueError on a parameter that the strategy does not have, and on an empty or senseless list of values.
    """
    chosen = grid if grid is not None else strategy.grid
    for name, values in chosen.items():
        if name not in canonical:
            raise ValueError(f"{strategy.name} has no parameter {name!r}; it has {', '.join(sorted(canonical))}")
        if why := bad_values(name, values):
            raise ValueError(f"the grid of {strategy.name} for {name!r}: {why}")
    if why := too_many_sets(chosen):
        raise ValueError(f"the grid of {strategy.name}: {why}")
    names = list(chosen)
    return tuple(
        {**canonical, **dict(zip(names, (float(v) for v in values), strict=True))}
        for values in itertools.product(*(chosen[name] for name in names))
    )


@dataclass(frozen=True)
class Found:
    """The signals of several parameter sets of one strategy, before any cost or limit.

    union: the feed of the signals of any set. mine, leaves: by distinct set, which entries are its own and when a position
    wants out. place: (sets) each set's distinct one; sets that differ in mechanical exits only share theirs. known: what
    makes a set distinct → its place among them.
    """

    union: Feed
    mine: tuple[Bools, ...]
    leaves: tuple[NDArray[np.uint8], ...]
    place: tuple[int, ...]
    known: Mapping[tuple[tuple[str, float], ...], int]
    has_limit: bool = False

    def of(self, sets: Sequence[Params]) -> Found:
        """The same for some of its sets, in their own order: what has been found is not looked for again."""
        return replace(self, place=tuple(self.known[_distinct(params)] for params in sets))

    def priced(self, market: Market, weight: float = 1.0) -> Priced:
        """The same at the market's costs and limits, for feeds of any of its sets. weight: the strategy's in its book."""
        entries = price_entries(self.union.entries, market.costs, market.limits, market.auction, [weight])
        return Priced(self, self.union._replace(entries=entries))

    def window(self, k: int, first: int, last: int) -> Feed:
        """The feed of set `k` with the entries of the sessions `first`..`last` only, to be priced at any cost."""
        key, begin, end = self.place[k], self.union.first[max(first - 1, 0)], self.union.first[last]
        return select(within(self.union, first, last), self.mine[key][begin:end], self.leaves[key])


@dataclass(frozen=True)
class Priced:
    """Signals with the gate's word on each order alone, `union`."""

    found: Found
    union: Feed

    def feeds(self, sets: Iterable[int], trial: bool = False) -> list[Feed]:
        """The feed of each of some sets, one object for sets that share their signals.

        trial: only what can become an order, because a trial counts no refusals.
        """
        found = self.found
        # A limit that a parameter moves is priced by the kernel, set by set.
        allow = self.union.entries.code == ACCEPTED if trial and not found.has_limit else None
        keys = [found.place[k] for k in sets]
        distinct = list(dict.fromkeys(keys))

        def one(key: int) -> Feed:
            mine = found.mine[key] if allow is None else found.mine[key] & allow
            return select(self.union, mine, found.leaves[key])

        made = dict(zip(distinct, in_threads(one, distinct), strict=True))
        return [made[key] for key in keys]


def find_signals(market: Market, readable: Readable, strategy: Strategy, sets: Sequence[Params]) -> Found:
    """The signals and exits of every parameter set; what this market was asked before is not looked for again."""
    keys, has_limit = [_distinct(params) for params in sets], any("limit_atr" in params for params in sets)
    of, known = market.found.get(strategy.name, (None, None))
    if of is strategy and known is not None and known.has_limit == has_limit and known.known.keys() >= set(keys):
        return known.of(sets)
    distinct: list[Params] = [dict(key) for key in dict.fromkeys(keys)]
    candidates, mine = find_candidates_of_sets(market.panel, readable, strategy, distinct)
    # Most grids vary the entry only: exits that are equal are made, and cached by the processor, once.
    made: list[tuple[Noted, NDArray[np.uint8]]] = []
    leaves: list[NDArray[np.uint8]] = []
    for params in distinct:
        flags = next((own for noted, own in made if noted.answers(params)), None)
        if flags is None:
            asked = Noted(params)
            flags = leave_flags(market.panel, readable, strategy, asked)
            made.append((asked, flags))
            if market.suspect is not None:
                flags[market.suspect] |= SUSPECT
        leaves.append(flags)
    at = {key: k for k, key in enumerate(dict.fromkeys(keys))}
    stop = None if strategy.stop is None else market.indicators[strategy.stop]
    limit = market.indicators[strategy.limit] if has_limit and strategy.limit is not None else None
    entries = find_entries(market.panel, candidates, stop, limit, market.lag)
    union = make_feed(market.panel, candidates.first, entries, leaves[0])
    found = Found(union, tuple(mine), tuple(leaves), tuple(at[key] for key in keys), at, has_limit)
    market.found[strategy.name] = strategy, found
    return found


def _distinct(params: Params) -> tuple[tuple[str, float], ...]:
    """What the signals and exits of a parameter set depend on."""
    return tuple(sorted((k, v) for k, v in params.items() if k not in MECHANICAL))


def feed_of(market: Market, strategy: Strategy, params: Params, readable: Readable | None = None, weight: float = 1.0) -> Feed:
    """The feed of one parameter set, refused signals included. weight: the strategy's in its book."""
    return find_signals(market, readable or market.readable(), strategy, [params]).priced(market, weight).feeds([0])[0]


def simulate_window(market: Market, strategy: Strategy, params: Params, first: int, last: int) -> Outcome:
    """One simulation of the sessions `first`..`last` (indices)."""
    terms = terms_of([params])
    return simulate(feed_of(market, strategy, params), first, last, terms, market.costs, market.limits, market.auction)


@dataclass(frozen=True)
class Part:
    """One strategy of a book that several trade together, and the weight of its orders' size."""

    strategy: Strategy
    weight: float


@dataclass(frozen=True)
class PortfolioStudy:
    """The book of several strategies over all folds; `params` of its results are named `strategy.parameter`."""

    parts: tuple[Part, ...]
    folds: tuple[Fold, ...]
    canonical: tuple[FoldResult, ...]
    optimized: tuple[FoldResult, ...]


def simulate_book(
    market: Market, parts: Sequence[Part], params: Sequence[Params], first: int, last: int, readable: Readable | None = None
) -> Outcome:
    """One simulation of several strategies in one account over the sessions `first`..`last` (indices)."""
    readable = readable or market.readable()
    feeds = [feed_of(market, part.strategy, own, readable, part.weight) for part, own in zip(parts, params, strict=True)]
    terms = terms_of(params, [part.weight for part in parts])
    book = feeds[0] if len(feeds) == 1 else interleave(market.panel, feeds)
    return simulate(book, first, last, terms, market.costs, market.limits, market.auction)


def walk_portfolio(market: Market, parts: Sequence[Part], studies: Sequence[Study], readable: Readable) -> PortfolioStudy:
    """Both modes of a book over the folds of its strategies' own studies, each at its own choice of the fold.

    studies: of the parts' strategies, in their order.
    """
    weights = [part.weight for part in parts]

    def results(mode: str) -> tuple[FoldResult, ...]:
        own = [getattr(study, mode) for study in studies]
        sets = [[result.params for result in results] for results in own]
        found = [find_signals(market, readable, p.strategy, mine) for p, mine in zip(parts, sets, strict=True)]
        feeds = [
            some.priced(market, weight).feeds(range(len(mine))) for some, weight, mine in zip(found, weights, sets, strict=True)
        ]

        def one(k: int) -> FoldResult:
            fold, params = own[0][k].fold, [mine[k] for mine in sets]
            book = interleave(market.panel, [some[k] for some in feeds])
            terms = terms_of(params, weights)
            rules = market.costs, market.limits, market.auction
            trained = float(train_sharpes(book, fold.train_start, fold.train_end, terms[None], *rules)[0])
            outcome = simulate(book, fold.test_start, fold.test_end, terms, *rules)
            named = {f"{p.strategy.name}.{key}": v for p, mine in zip(parts, params, strict=True) for key, v in mine.items()}
            return FoldResult(fold, named, None if math.isnan(trained) else trained, outcome)

        return tuple(in_threads(one, range(len(own[0]))))

    return PortfolioStudy(tuple(parts), studies[0].folds, results(CANONICAL), results(OPTIMIZED))


def run_trials(market: Market, folds: Sequence[Fold], feeds: Sequence[Feed], sets: Sequence[Params]) -> Floats:
    """(folds, sets) the Sharpe ratio of every parameter set on every fold's train window."""
    sharpe = np.empty((len(folds), len(sets)))
    alike: dict[int, list[int]] = {}
    for s, feed in enumerate(feeds):
        alike.setdefault(id(feed), []).append(s)
    groups = [(feeds[own[0]], own, np.array([terms_of([sets[s]]) for s in own])) for own in alike.values()]

    def one_fold(index: int) -> None:
        fold = folds[index]
        for feed, own, terms in groups:
            window = fold.train_start, fold.train_end
            sharpe[index, own] = train_sharpes(feed, *window, terms, market.costs, market.limits, market.auction)

    in_threads(one_fold, range(len(folds)))
    return sharpe


def choose(trials: Floats) -> int | None:
    """The index of the highest train Sharpe, the earlier one on a tie; None where no set has one."""
    return None if np.isnan(trials).all() else int(np.nanargmax(trials))


def walk_forward(
    market: Market,
    strategy: Strategy,
    canonical: Params,
    folds: Sequence[Fold],
    grid: Mapping[str, Sequence[float]] | None,
    readable: Readable | None = None,
) -> Study:
    """Both modes of one strategy over all folds."""
    base = {name: float(value) for name, value in canonical.items()}
    sets = grid_sets(strategy, base, grid)
    everything = sets if base in sets else (*sets, base)
    home = everything.index(base)
    found = find_signals(market, readable or market.readable(), strategy, everything).priced(market)
    trials = run_trials(market, folds, found.feeds(range(len(sets)), trial=True), sets)
    known = trials[:, home] if home < len(sets) else None
    trained = run_trials(market, folds, found.feeds([home], trial=True), [base])[:, 0] if known is None else known
    best = [choose(row) for row in trials]
    traded = dict.fromkeys([(k, home) for k in range(len(folds))])
    traded.update(dict.fromkeys((k, s) for k, s in enumerate(best) if s is not None))

    feed_of = dict(zip(traded, found.feeds((s for _, s in traded)), strict=True))

    def one_window(which: tuple[int, int]) -> Outcome:
        fold, terms = folds[which[0]], terms_of([everything[which[1]]])
        window = fold.test_start, fold.test_end
        return simulate(feed_of[which], *window, terms, market.costs, market.limits, market.auction)

    outcomes = dict(zip(traded, in_threads(one_window, traded), strict=True))

    def result(k: int, s: int, sharpe: float) -> FoldResult:
        return FoldResult(folds[k], dict(everything[s]), None if math.isnan(sharpe) else sharpe, outcomes[k, s])

    return Study(
        strategy,
        tuple(folds),
        sets,
        trials,
        tuple(result(k, home, float(trained[k])) for k in range(len(folds))),
        tuple(result(k, home, math.nan) if s is None else result(k, s, float(trials[k, s])) for k, s in enumerate(best)),
    )
