"""Walk-forward: folds, and for each the canonical and the best-in-training parameters on unseen sessions (rules, section 5).

Every simulation of every fold reads the same arrays; threads share them, since the kernel releases the GIL.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kobe_assets.research.entry_queue import Costs, Feed, Offers, fetch_offers, placeable_only, select, size_offers
from kobe_assets.research.indicators import Indicators
from kobe_assets.research.panel import Bools, Floats, Panel
from kobe_assets.research.parallel import in_threads
from kobe_assets.research.signals import Readable, find_candidates_of_sets, leave_flags, make_readable
from kobe_assets.research.simulation import Outcome, simulate, train_sharpes
from kobe_assets.research.strategies import MECHANICAL, Params, Strategy
from kobe_resources.policy_gate import Limits

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

    tradable: (bars) may this bar signal. lag: bars. min_price: dollars as traded.
    """

    panel: Panel
    indicators: Indicators
    tradable: Bools
    lag: int
    min_price: float
    costs: Costs
    limits: Limits

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
        if not len(values) or any(not math.isfinite(value) or value <= 0 for value in values):
            raise ValueError(f"the grid of {strategy.name} needs positive numbers for {name!r}")
        if name == "time_stop" and any(value != int(value) for value in values):
            raise ValueError(f"the grid of {strategy.name} needs whole bars for 'time_stop'")
    names = list(chosen)
    return tuple(
        {**canonical, **dict(zip(names, (float(v) for v in values), strict=True))}
        for values in itertools.product(*(chosen[name] for name in names))
    )


@dataclass(frozen=True)
class Found:
    """Signals of several parameter sets before any cost: what stays the same at every slippage and limit.

    offers: of any set. mine, leaves: by distinct set, which offers are its own and when a position wants out.
    place: (sets) each set's distinct one; sets that differ in mechanical exits only share theirs.
    """

    offers: Offers
    mine: tuple[Bools, ...]
    leaves: tuple[NDArray[np.uint8], ...]
    place: tuple[int, ...]


class FeedList:
    """One kernel feed a parameter set, each distinct one made at its first use and kept."""

    def __init__(self, place: tuple[int, ...], make: Callable[[int], Feed]) -> None:
        self._place, self._make = place, make
        self._made: dict[int, Feed] = {}

    def __len__(self) -> int:
        return len(self._place)

    def __getitem__(self, k: int) -> Feed:
        return self.of([k])[0]

    def of(self, sets: Iterable[int]) -> list[Feed]:
        """The feeds of some sets, those that are not made yet made on all cores."""
        keys = [self._place[k] for k in sets]
        new = [key for key in dict.fromkeys(keys) if key not in self._made]
        self._made.update(zip(new, in_threads(self._make, new), strict=True))
        return [self._made[key] for key in keys]


@dataclass(frozen=True)
class Feeds:
    """Kernel feeds by parameter set: `whole` counts every refusal, `trial` holds only what can become an order."""

    whole: FeedList
    trial: FeedList


def find_signals(market: Market, readable: Readable, strategy: Strategy, sets: Sequence[Params]) -> Found:
    """The signals and exits of every parameter set."""
    keys = [tuple(sorted((k, v) for k, v in params.items() if k not in MECHANICAL)) for params in sets]
    distinct: list[Params] = [dict(key) for key in dict.fromkeys(keys)]
    candidates, mine = find_candidates_of_sets(market.panel, readable, strategy, distinct)
    leaves: list[NDArray[np.uint8]] = []
    for params in distinct:
        flags = leave_flags(market.panel, readable, strategy, params)
        # Most grids vary the entry only: exits that are equal are kept, and cached by the processor, once.
        leaves.append(next((known for known in leaves[:1] if np.array_equal(known, flags)), flags))
    at = {key: k for k, key in enumerate(dict.fromkeys(keys))}
    offers = fetch_offers(market.panel, candidates, market.indicators.atr14, market.lag)
    return Found(offers, tuple(mine), tuple(leaves), tuple(at[key] for key in keys))


def size_found(market: Market, found: Found) -> Feeds:
    """Feeds at the market's costs and limits."""
    leaves, mine = found.leaves, found.mine
    union = size_offers(market.panel, found.offers, market.costs, market.limits, leaves[0])
    return Feeds(
        FeedList(found.place, lambda k: select(union, mine[k], leaves[k])),
        FeedList(found.place, lambda k: placeable_only(union, mine[k], leaves[k])),
    )


def make_feeds(market: Market, readable: Readable, strategy: Strategy, sets: Sequence[Params]) -> Feeds:
    """Feeds for every parameter set."""
    return size_found(market, find_signals(market, readable, strategy, sets))


def run_trials(
    market: Market,
    folds: Sequence[Fold],
    feeds: Sequence[Feed],
    sets: Sequence[Params],
    done: Callable[[int], None] = lambda _: None,
) -> Floats:
    """(folds, sets) the Sharpe ratio of every parameter set on every fold's train window.

    done: told how many simulations have ended, once a fold, from several threads.
    """
    sharpe = np.empty((len(folds), len(sets)))
    alike: dict[int, list[int]] = {}
    for s, feed in enumerate(feeds):
        alike.setdefault(id(feed), []).append(s)
    groups = [(feeds[own[0]], own, [exits_of(sets[s]) for s in own]) for own in alike.values()]

    def one_fold(index: int) -> None:
        fold = folds[index]
        for feed, own, exits in groups:
            sharpe[index, own] = train_sharpes(feed, fold.train_start, fold.train_end, exits, market.costs, market.limits)
        done(len(sets))

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
    trials: Floats | None = None,
) -> Study:
    """Both modes of one strategy over all folds; trials already known (a sweep's) are not run again."""
    base = {name: float(value) for name, value in canonical.items()}
    sets = grid_sets(strategy, base, grid)
    everything = sets if base in sets else (*sets, base)
    home = everything.index(base)
    feeds = make_feeds(market, readable or market.readable(), strategy, everything)
    if trials is None:
        trials = run_trials(market, folds, feeds.trial.of(range(len(sets))), sets)
    trained = trials[:, home] if home < len(sets) else run_trials(market, folds, [feeds.trial[home]], [base])[:, 0]
    best = [choose(row) for row in trials]
    traded = dict.fromkeys([(k, home) for k in range(len(folds))])
    traded.update(dict.fromkeys((k, s) for k, s in enumerate(best) if s is not None))

    feed_of = dict(zip(traded, feeds.whole.of(s for _, s in traded), strict=True))

    def one_window(which: tuple[int, int]) -> Outcome:
        fold, exits = folds[which[0]], exits_of(everything[which[1]])
        return simulate(feed_of[which], fold.test_start, fold.test_end, *exits, market.costs, market.limits)

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


def exits_of(params: Params) -> tuple[float, int]:
    """The mechanical exits, atr_stop and time_stop."""
    return float(params["atr_stop"]), int(params["time_stop"])
