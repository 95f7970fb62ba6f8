"""Walk-forward: folds, and for each the canonical and the best-in-training parameters on unseen sessions (rules, section 5).

Every simulation of every fold reads the same arrays; threads share them, since the kernel releases the GIL.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from kobe_assets.research.indicators import Indicators
from kobe_assets.research.panel import Bools, Floats, Panel
from kobe_assets.research.parallel import CORES
from kobe_assets.research.signals import Readable, find_candidates_of_sets, leave_flags, make_readable
from kobe_assets.research.simulation import Costs, Feed, Outcome, placeable_only, select, simulate, size_signals, train_sharpe
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
class Feeds:
    """Kernel feeds by parameter set: `whole` counts every refusal, `trial` holds only what can become an order."""

    whole: list[Feed]
    trial: list[Feed]


def make_feeds(market: Market, readable: Readable, strategy: Strategy, sets: Sequence[Params]) -> Feeds:
    """Feeds for every parameter set; sets that differ in mechanical exits only share theirs."""
    keys = [tuple(sorted((k, v) for k, v in params.items() if k not in MECHANICAL)) for params in sets]
    distinct: list[Params] = [dict(key) for key in dict.fromkeys(keys)]
    panel = market.panel
    found, mine = find_candidates_of_sets(panel, readable, strategy, distinct)
    leaves = [leave_flags(panel, readable, strategy, params) for params in distinct]
    union = size_signals(panel, found, market.indicators.atr14, market.lag, market.costs, market.limits, leaves[0])
    whole = [select(union, keep, leave) for keep, leave in zip(mine, leaves, strict=True)]
    trial = [placeable_only(union, keep, leave) for keep, leave in zip(mine, leaves, strict=True)]
    at = [list(dict.fromkeys(keys)).index(key) for key in keys]
    return Feeds([whole[k] for k in at], [trial[k] for k in at])


def run_trials(
    market: Market,
    folds: Sequence[Fold],
    feeds: Sequence[Feed],
    sets: Sequence[Params],
    done: Callable[[int], None] = lambda _: None,
) -> Floats:
    """(folds, sets) the Sharpe ratio of every parameter set on every fold's train window."""
    sharpe = np.empty((len(folds), len(sets)))

    def one_fold(index: int) -> None:
        fold = folds[index]
        for s, (feed, params) in enumerate(zip(feeds, sets, strict=True)):
            sharpe[index, s] = train_sharpe(
                feed,
                fold.train_start,
                fold.train_end,
                params["atr_stop"],
                int(params["time_stop"]),
                market.costs,
                market.limits,
            )
        done(len(sets))

    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(one_fold, range(len(folds))))
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
    readable = readable or market.readable()
    base = {name: float(value) for name, value in canonical.items()}
    sets = grid_sets(strategy, base, grid)
    feeds = make_feeds(market, readable, strategy, [base, *sets])
    if trials is None:
        trials = run_trials(market, folds, feeds.trial[1:], sets)
    canonical_results, optimized_results = [], []
    for fold, row in zip(folds, trials, strict=True):
        trained = _train(market, feeds.trial[0], base, fold)
        canonical_results.append(_test(market, feeds.whole[0], base, fold, None if math.isnan(trained) else trained))
        best = choose(row)
        if best is None:
            optimized_results.append(_test(market, feeds.whole[0], base, fold, None))
        else:
            optimized_results.append(_test(market, feeds.whole[best + 1], sets[best], fold, float(row[best])))
    return Study(strategy, tuple(folds), sets, trials, tuple(canonical_results), tuple(optimized_results))


def _train(market: Market, feed: Feed, params: Params, fold: Fold) -> float:
    return train_sharpe(
        feed,
        fold.train_start,
        fold.train_end,
        float(params["atr_stop"]),
        int(params["time_stop"]),
        market.costs,
        market.limits,
    )


def _test(market: Market, feed: Feed, params: Params, fold: Fold, sharpe: float | None) -> FoldResult:
    outcome = simulate(
        feed, fold.test_start, fold.test_end, params["atr_stop"], int(params["time_stop"]), market.costs, market.limits
    )
    return FoldResult(fold, dict(params), sharpe, outcome)
