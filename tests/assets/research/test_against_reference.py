"""The kernel against the plain reference, signal by signal and trade by trade, on hundreds of random small markets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kobe_assets.research.walk_forward import FoldResult, make_folds, walk_forward
from tests.support.drivers.agreement import difference_of_figures, difference_of_runs, difference_of_signals, same_number
from tests.support.drivers.product import Product, from_panel, from_warehouse, outcome_of, panel_of, with_limit
from tests.support.reference.figures import figures_of_run
from tests.support.reference.folds import parameter_sets, run_fold, windows
from tests.support.reference.indicators import indicators_of
from tests.support.reference.market import build_market, symbol_of
from tests.support.reference.parameters import CANONICAL, DEFAULT_GRIDS, STRATEGIES
from tests.support.reference.random_markets import random_market, random_sessions, random_terms
from tests.support.reference.signals import signals_of
from tests.support.reference.simulate import simulate, simulate_book

pytestmark = pytest.mark.usefixtures("warehouses_stay_open")

MARKETS = 240
BATCH = 30
WAREHOUSES = 24
WALKS = 20
INDICATORS = ("rsi2", "sma200", "atr14", "ibs")


@dataclass(frozen=True)
class Reference:
    """The reference's view of one random market."""

    given: dict[str, Any]
    market: dict[str, Any]
    indicators: dict[str, Any]
    p: dict[str, Any]

    def signals(self, strategy: str) -> dict[Any, list[dict[str, Any]]]:
        return signals_of(self.market, self.indicators, strategy, self.p, self.given["selected"], self.released)

    def run(self, strategy: str, start: Any = None, end: Any = None) -> dict[str, Any]:
        days = self.market["sessions"]
        return simulate(
            self.market,
            self.indicators,
            self.signals(strategy),
            strategy,
            self.p,
            start or days[0],
            end or days[-1],
            self.released,
        )

    @property
    def released(self) -> frozenset[str]:
        """In every third market a person has lifted the quarantine of the first symbol."""
        return frozenset(
            sorted({symbol_of(name) for name in self.market["bars"]})[:1] if len(self.given["raw_bars"]) % 3 == 0 else []
        )


def reference(seed: int, p: dict[str, Any] | None = None) -> Reference:
    given = random_market(seed, away=True)
    market = build_market(given["raw_bars"], given["splits"], given["dividends"])
    indicators = {symbol: indicators_of(bars) for symbol, bars in market["bars"].items()}
    return Reference(given, market, indicators, p or random_terms(seed))


def flat(signals: dict[Any, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return [signal for session in sorted(signals) for signal in signals[session]]


def product_of(theirs: Reference) -> Product:
    return from_panel(panel_of(theirs.market), theirs.p, theirs.given["selected"], theirs.released)


@pytest.mark.parametrize("batch", range(MARKETS // BATCH))
def test_signals_trades_refusals_equity_and_figures_agree(batch: int) -> None:
    seen: Counter[str] = Counter()
    for seed in range(batch * BATCH, (batch + 1) * BATCH):
        theirs = reference(seed)
        ours = product_of(theirs)
        # Every other market is simulated from its middle on: the first day trades the signals of the day before.
        days = theirs.market["sessions"]
        start, end = (days[0], days[-1]) if seed % 2 else (days[len(days) * 3 // 4], days[-10])
        for strategy in STRATEGIES:
            where = f"seed {seed}, {strategy}"
            expected_signals = flat(theirs.signals(strategy))
            assert difference_of_signals(ours.signals(strategy), expected_signals) is None, where
            expected, run = theirs.run(strategy, start, end), ours.run(strategy, start, end)
            assert difference_of_runs(run, expected) is None, where
            figures = figures_of_run(expected, theirs.p["initial_cash"])
            assert difference_of_figures(run["figures"], figures, theirs.p["initial_cash"]) is None, where
            seen.update(signals=len(expected_signals), trades=len(expected["trades"]))
        seen["listings"] += sum("#" in name for name in theirs.market["bars"])
    assert seen["signals"] > 1000
    assert seen["trades"] > 100
    assert seen["listings"] >= 5


@pytest.mark.parametrize("seed", range(WAREHOUSES))
def test_raw_bars_and_splits_through_the_warehouse_agree(seed: int, tmp_path: Path) -> None:
    theirs = reference(1000 + seed)
    ours = from_warehouse(tmp_path, theirs.given, theirs.p, theirs.released)
    panel = ours.market.panel
    bars = [bar for symbol in sorted(theirs.market["bars"]) for bar in theirs.market["bars"][symbol]]
    for column, name in enumerate(("open", "high", "low", "close", "factor")):
        np.testing.assert_allclose(panel.rows[:, column], [bar[name] for bar in bars], rtol=1e-13)
    np.testing.assert_allclose(panel.volume, [bar["volume"] for bar in bars], rtol=1e-13)
    assert panel.sessions.tolist() == theirs.market["sessions"]
    for strategy in STRATEGIES:
        assert difference_of_runs(ours.run(strategy), theirs.run(strategy)) is None, strategy


@pytest.mark.parametrize("seed", range(24))
def test_several_strategies_in_one_account_agree(seed: int) -> None:
    theirs = reference(4000 + seed)
    weights = dict(zip(("ibs", "rsi2", "rsi2_ibs")[: 2 + seed % 2], (1.0, 0.5, 2.0), strict=False))
    parts = [(name, theirs.p | {"weight": weight}, theirs.signals(name)) for name, weight in weights.items()]
    days = theirs.market["sessions"]
    expected = simulate_book(theirs.market, theirs.indicators, parts, theirs.p, days[0], days[-1], theirs.released)
    ours = product_of(theirs)
    assert difference_of_runs(ours.run_book(weights), expected) is None
    assert difference_of_runs(ours.run_book({"ibs": 1.0}), ours.run("ibs")) is None


@pytest.mark.parametrize("seed", range(10))
def test_indicators_agree_and_are_undefined_together(seed: int) -> None:
    theirs = reference(2000 + seed)
    ours = product_of(theirs).market
    for name in INDICATORS:
        values = [own for listing in sorted(theirs.market["bars"]) for own in theirs.indicators[listing][name]]
        expected = np.array([np.nan if value is None else value for value in values])
        np.testing.assert_allclose(getattr(ours.indicators, name), expected, rtol=1e-11, atol=1e-11, err_msg=name)


@pytest.mark.parametrize("seed", range(WALKS))
def test_folds_chosen_parameters_and_test_windows_agree(seed: int) -> None:
    p = random_terms(3000 + seed) | {"atr_stop": 2.0, "time_stop": 5} | {"signal_min_price": 1.0, "initial_cash": 2000.0}
    theirs = reference(3000 + seed, p)
    days, market = theirs.market["sessions"], product_of(theirs).market
    warmup, train, test, anchored = 40 + seed, 150, 20 + seed, bool(seed % 2)
    if len(days) < warmup + train + 1:
        warmup, train = 5, 30
    name = STRATEGIES[seed % 3]
    grid = {factor: values[:2] for factor, values in DEFAULT_GRIDS[name].items()}
    expected = windows(days, warmup, train, test, anchored)
    folds = make_folds(len(days), warmup, train, test, anchored)
    found = [(f.number, days[f.train_start], days[f.train_end], days[f.test_start], days[f.test_end]) for f in folds]
    assert found == [tuple(fold.values()) for fold in expected]

    ours = product_of(theirs)
    study = walk_forward(market, with_limit(name), ours.params(name), folds, grid)
    for k, fold in enumerate(expected):
        for mode, result in ((None, study.canonical[k]), (grid, study.optimized[k])):
            with_lift = run_fold(
                theirs.market, theirs.indicators, name, p, mode, fold, theirs.given["selected"], theirs.released
            )
            where = f"fold {fold['fold']}, {'optimized' if mode else 'canonical'}"
            assert_same_fold(ours, name, result, with_lift, where)
            if mode:
                assert [
                    same_number(None if np.isnan(a) else float(a), b, 1e-3)
                    for a, (_, b) in zip(study.trials[k], with_lift["trials"], strict=True)
                ] == [True] * 8, where


def assert_same_fold(ours: Product, strategy: str, result: FoldResult, expected: dict[str, Any], where: str) -> None:
    assert result.params == {name: expected["params"][name] for name in result.params}, where
    assert same_number(result.train_sharpe, expected["train_sharpe"], 1e-3), where
    fold = result.fold
    run = outcome_of(ours.market, strategy, result.outcome, fold.test_start, fold.test_end)
    assert difference_of_runs(run, expected["test"]) is None, where


def bars_of(
    symbol: str, days: list[Any], shape: Callable[[int], tuple[float, float, float, float, float]]
) -> list[dict[str, Any]]:
    names = ("open", "high", "low", "close", "volume")
    return [{"symbol": symbol, "session": day, **dict(zip(names, shape(i), strict=True))} for i, day in enumerate(days)]


def saw(i: int) -> tuple[float, float, float, float, float]:
    """A rising saw: signals on every tooth."""
    close = 10.0 + 0.02 * i + (0.5 if i % 4 < 2 else -0.5)
    return close, close + 0.9, close - 0.1 - 0.2 * (i % 3), close, 1000.0


def flat_close(i: int) -> tuple[float, float, float, float, float]:
    """A close that never moves, in bars that do: the mean of 200 equal closes is that close, neither above nor below."""
    return 10.1, 10.1 + 0.3 * (1 + i % 5), 10.1 - 0.07 * (i % 2), 10.1, 1000.0


EDGES: dict[str, Callable[[list[Any]], list[dict[str, Any]]]] = {
    "one session": lambda days: bars_of("A", days[:1], saw),
    "one bar beside a long history": lambda days: bars_of("A", days, saw) + bars_of("B", days[260:261], saw),
    "first bar on the last session": lambda days: bars_of("A", days, saw) + bars_of("B", days[-1:], saw),
    "all prices equal": lambda days: bars_of("A", days, lambda _: (10.1, 10.1, 10.1, 10.1, 1000.0)),
    "closes equal, ranges not": lambda days: bars_of("A", days, flat_close),
    "no volume": lambda days: bars_of("A", days, lambda i: (*saw(i)[:4], 0.0)),
    "a jump from no volume": lambda days: bars_of("A", days, lambda i: (*(x * (1 + i // 230) for x in saw(i)[:4]), 0.0)),
    "twins": lambda days: bars_of("B", days, saw) + bars_of("A", days, saw),
    "199 bars": lambda days: bars_of("A", days[:199], saw),
    "200 bars, then one to trade": lambda days: bars_of("A", days[:202], saw),
}


@pytest.mark.parametrize("lag", [0, 1, 3, 250])
@pytest.mark.parametrize("edge", EDGES)
def test_the_edges_agree(edge: str, lag: int) -> None:
    days = random_sessions(np.random.default_rng(1), 300)
    given = {"raw_bars": EDGES[edge](days), "splits": [], "selected": {"A", "B"}}
    market = build_market(given["raw_bars"], [])
    p = CANONICAL | {"indicator_lag_bars": lag, "rsi_entry": 40.0, "allow_shorts": True}
    theirs = Reference(given, market, {symbol: indicators_of(bars) for symbol, bars in market["bars"].items()}, p)
    ours = from_panel(panel_of(market), p, {"A", "B"}, theirs.released)
    for strategy in STRATEGIES:
        assert difference_of_signals(ours.signals(strategy), flat(theirs.signals(strategy))) is None
        for start, end in ((None, None), (market["sessions"][-1], market["sessions"][-1])):
            expected = theirs.run(strategy, start, end)
            assert difference_of_runs(ours.run(strategy, start, end), expected) is None
            if edge == "twins" and strategy != "rsi2_ibs" and lag < 250 and start is None:
                assert expected["trades"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_default_grids_and_canonical_parameters_are_those_of_the_rules(strategy: str) -> None:
    declared = with_limit(strategy)
    assert parameter_sets({name: list(values) for name, values in declared.grid.items()}) == parameter_sets(
        DEFAULT_GRIDS[strategy]
    )
    ours = product_of(reference(1, CANONICAL))
    assert dict(ours.params(strategy)) == {name: CANONICAL[name] for name in ours.params(strategy)}
