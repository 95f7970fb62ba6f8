"""Rules section 5: the windows of a walk-forward, and its two modes.

Readings
- Fold k exists where its test window has at least one session; a train window is never shortened.
- `canonical` folds also carry the train Sharpe of the canonical parameters.
- A grid sets the parameters it names; the others stay canonical.
- Sharpes of two parameter sets tie when the floats are equal.
"""

from __future__ import annotations

import itertools
from typing import Any

from tests.support.reference.figures import daily_returns, sharpe
from tests.support.reference.signals import signals_of
from tests.support.reference.simulate import simulate


def windows(sessions: list[Any], warmup: int, train: int, test: int, anchored: bool) -> list[dict[str, Any]]:
    folds = []
    for k in itertools.count():
        first_test = warmup + k * test + train
        if first_test >= len(sessions):
            return folds
        first_train = warmup if anchored else warmup + k * test
        folds.append(
            {
                "fold": k + 1,
                "train_start": sessions[first_train],
                "train_end": sessions[first_test - 1],
                "test_start": sessions[first_test],
                "test_end": sessions[min(first_test + test, len(sessions)) - 1],
            }
        )
    return folds


def parameter_sets(grid: dict[str, list[float]]) -> list[dict[str, float]]:
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def run_fold(
    market: dict[str, Any],
    indicators: dict[str, Any],
    strategy: str,
    p: dict[str, Any],
    grid: dict[str, list[float]] | None,
    fold: dict[str, Any],
    selected: set[str] | None = None,
    released: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """One fold with its params, train_sharpe, trials and test run: without a grid `canonical`, else `optimized`."""

    def run(own: dict[str, Any], start: Any, end: Any) -> dict[str, Any]:
        signals = signals_of(market, indicators, strategy, own, selected, released)
        return simulate(market, indicators, signals, strategy, own, start, end, released)

    def train_sharpe(own: dict[str, Any]) -> float | None:
        trained = run(own, fold["train_start"], fold["train_end"])
        return sharpe(daily_returns([value for _, value in trained["equity"]], own["initial_cash"]))

    chosen, best, trials = dict(p), None, []
    for overrides in parameter_sets(grid) if grid else []:
        own = p | overrides
        result = train_sharpe(own)
        trials.append((overrides, result))
        if result is not None and (best is None or result > best):
            chosen, best = own, result
    if not grid:
        best = train_sharpe(p)
    test = run(chosen, fold["test_start"], fold["test_end"])
    return fold | {"params": chosen, "train_sharpe": best, "trials": trials, "test": test}
