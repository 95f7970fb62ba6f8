"""Input that makes no sense: a clear error, or a result that says so; never a crash or a number that looks like one."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kobe_assets.graph.inputs import folds_of, grid_of, load_panel
from kobe_assets.report.analysis.correlation import without_each
from kobe_assets.research.metrics import FIGURES, WHY_UNDEFINED, daily_returns, why_undefined
from kobe_assets.research.robustness import Plan, Rehearsal, break_even_bps, cost_sensitivity
from kobe_assets.research.simulation import EXIT_PRICE, EXIT_REASONS, T_HELD, T_REASON, T_SYMBOL, simulate, terms_of
from kobe_assets.research.strategies import STRATEGIES, Strategy
from kobe_assets.research.walk_forward import feed_of, find_signals, make_folds, simulate_window, walk_forward
from kobe_resources.errors import KobeError, UsageError
from kobe_resources.settings.models import Settings
from kobe_resources.warehouse.store import Warehouse
from tests.support.drivers.product import Product, from_panel, from_warehouse, panel_of
from tests.support.reference.market import build_market
from tests.support.reference.parameters import CANONICAL
from tests.support.reference.random_markets import random_market

MONDAY = dt.date(2015, 1, 5)
"""First day of the markets made here."""


def bars(symbol: str, closes: list[float], first: int = 0) -> list[dict[str, Any]]:
    """Raw bars on days in a row from the `first` on, each from the close before to its own and a little beyond."""
    rows = []
    for k, close in enumerate(closes):
        opened = closes[max(k - 1, 0)]
        wide = 0.0 if len(set(closes)) == 1 else 0.001
        day = MONDAY + dt.timedelta(days=first + k)
        high, low = max(opened, close) * (1.0 + wide), min(opened, close) * (1.0 - wide)
        rows.append({"symbol": symbol, "session": day, "volume": 1e6, "open": opened, "high": high, "low": low, "close": close})
    return rows


def waves(sessions: int, level: float = 50.0) -> list[float]:
    """Closes that rise for years and fall for days: something to buy."""
    return [level * 1.001**k * (1.0 + 0.05 * np.sin(k / 1.7)) for k in range(sessions)]


def product(raw: list[dict[str, Any]], **changes: Any) -> Product:
    return from_panel(panel_of(build_market(raw, [])), CANONICAL | changes, {row["symbol"] for row in raw})


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ({"rsi2": {"rsi_entri": [5.0]}}, "rsi2 has no parameter 'rsi_entri'; it has atr_stop, rsi_entry"),
        ({"rsi2": {"ibs_entry": [0.1]}}, "rsi2 has no parameter 'ibs_entry'"),
        ({"rsi3": {"rsi_entry": [5.0]}}, "names no strategy"),
        ({"rsi2": {"rsi_entry": []}}, "the grid of rsi2 for 'rsi_entry': give a list of numbers"),
        ({"rsi2": {"atr_stop": [2.0, -1.0]}}, "for 'atr_stop': -1: give a number above 0"),
        ({"rsi2": {"atr_stop": [float("nan")]}}, "for 'atr_stop': nan is no number"),
        ({"rsi2": {"atr_stop": [float("inf")]}}, "for 'atr_stop': inf is no number"),
        ({"rsi2": {"time_stop": [2.5]}}, "for 'time_stop': 2.5: give whole bars"),
        ({"rsi2": {"time_stop": [2, 2]}}, "for 'time_stop': 2 stands in it twice"),
        ({"rsi2": {"rsi_entry": [5.0, 500.0]}}, "rsi2 tries rsi_entry = 500: Input should be less than 100"),
        ({"rsi2": {"rsi_exit": [100.0]}}, "rsi2 tries rsi_exit = 100: Input should be less than 100"),
    ],
)
def test_a_grid_that_makes_no_sense_is_refused_with_its_name(grid: dict[str, Any], words: str) -> None:
    settings = Settings.model_validate({"walk_forward": {"grid": grid}})
    with pytest.raises(UsageError, match=words):
        grid_of(settings, STRATEGIES["rsi2"])


def test_a_position_of_a_listing_with_late_bars_is_not_valued_by_the_listing_after_it() -> None:
    raw = bars("A", waves(296)) + bars("B", [500.0, 510.0], first=298)
    market = product(raw, time_stop=5).market
    always = Strategy(
        name="always", summary="", indicators={}, parameters={"time_stop": 50.0}, long=lambda at, p: at.close > 0,
        score_long=lambda at: at.close,
    )  # fmt: skip
    outcome = simulate_window(market, always, always.parameters, 292, len(market.panel.sessions) - 1)
    (trade,) = [k for k, symbol in enumerate(outcome.places[:, T_SYMBOL]) if symbol == 0]
    last = market.panel.close[295] * (1.0 - market.costs.slippage)
    assert outcome.numbers[trade, EXIT_PRICE] == pytest.approx(last, rel=1e-12)
    assert EXIT_REASONS[outcome.places[trade, T_REASON]] == "window_end"
    assert outcome.places[trade, T_HELD] == 4


@pytest.mark.parametrize("window", [(5, 4), (-1, 3), (0, 300), (300, 300)])
def test_a_window_without_sessions_is_refused(window: tuple[int, int]) -> None:
    ours = product(bars("A", waves(300)))
    params = ours.params("rsi2")
    feed = feed_of(ours.market, STRATEGIES["rsi2"], params)
    with pytest.raises(ValueError, match="no window of 300 sessions"):
        simulate(feed, *window, terms_of([dict(params)]), ours.market.costs, ours.market.limits)


@pytest.mark.parametrize("ratio", [(1, 2), (1, 3), (2, 3), (100, 103), (7, 3)])
def test_a_close_at_the_lowest_price_may_signal_whatever_split_comes_later(ratio: tuple[int, int]) -> None:
    cents = [k / 100 for k in range(301, 699)]
    raw, later = bars("A", cents), {"symbol": "A", "split_from": ratio[0], "split_to": ratio[1]}
    market = build_market(raw, [later | {"execution_date": raw[-1]["session"]}])
    panel = panel_of(market)
    assert panel.raw_close.tolist() == cents
    ours = from_panel(panel, CANONICAL | {"indicator_lag_bars": 0}, {"A"}).market.readable()
    assert cents[199] == 5.0
    assert ours.eligible[:-1].tolist() == [k >= 199 for k in range(len(cents) - 1)]


def test_a_window_of_one_session_trades_and_has_no_ratio() -> None:
    run = product(bars("A", waves(300))).run("rsi2", MONDAY, MONDAY)
    assert [value for _, value in run["equity"]] == [100_000.0]
    assert run["figures"]["sharpe"] is None
    assert run["figures"]["net_pnl"] == 0.0


def test_fewer_sessions_than_one_fold_are_refused_in_words() -> None:
    ours = product(bars("A", waves(452)))
    with pytest.raises(KobeError, match=r"no fold fits: 452 sessions are fewer than warmup 200 \+ train 252 \+ 1: load more"):
        folds_of(Settings(), ours.market.panel)
    (only,) = folds_of(Settings(), product(bars("A", waves(453))).market.panel)
    assert (only.test_start, only.test_end) == (452, 452)


def test_a_symbol_with_one_bar_changes_nothing_for_the_others() -> None:
    alone = product(bars("A", waves(400)))
    joined = product(bars("A", waves(400)) + bars("ONE", [70.0], first=250))
    for name in STRATEGIES:
        trades = joined.run(name)["trades"]
        assert trades
        assert trades == alone.run(name)["trades"]
    assert np.isnan(joined.market.indicators.rsi2[-1])


@pytest.mark.parametrize("first", [0, 250, 399])
def test_a_market_of_one_bar_is_a_market_without_trades(first: int) -> None:
    ours = product(bars("ONE", [70.0], first=first))
    for name in STRATEGIES:
        run = ours.run(name)
        assert run["trades"] == []
        assert [value for _, value in run["equity"]] == [100_000.0]


def test_prices_that_never_move_give_no_signal_and_figures_without_a_value() -> None:
    ours = product(bars("FLAT", [20.0] * 500) + bars("ALSO", [30.0] * 500))
    indicators = ours.market.indicators
    assert np.isnan(indicators.rsi2).all()
    assert np.isnan(indicators.ibs).all()
    assert set(indicators.sma200[199:500]) == {30.0}
    assert set(indicators.atr14[14:500]) == {0.0}
    for name in STRATEGIES:
        run = ours.run(name)
        assert (run["trades"], run["refused"]) == ([], {})
        without = {figure for figure in FIGURES if run["figures"][figure] is None}
        assert without == {"sharpe", "sortino", "calmar", "win_rate", "profit_factor", "expectancy"}
        assert without <= WHY_UNDEFINED.keys()
        assert why_undefined("profit_factor", has_trades=False) == "no trade"
        assert why_undefined("profit_factor", has_trades=True) == "no losing trade"
        assert run["figures"]["cagr"] == run["figures"]["max_drawdown"] == run["figures"]["net_pnl"] == 0.0


def test_where_no_set_has_a_ratio_the_canonical_one_trades_and_nothing_is_made_up() -> None:
    ours = product(bars("FLAT", [20.0] * 500))
    folds = make_folds(500, 200, 100, 60, False)
    for strategy in STRATEGIES.values():
        params = ours.params(strategy.name)
        study = walk_forward(ours.market, strategy, params, folds, None)
        assert np.isnan(study.trials).all()
        assert [result.params for result in study.optimized] == [dict(params)] * len(folds)
        assert [result.train_sharpe for result in (*study.optimized, *study.canonical)] == [None] * 2 * len(folds)
        rehearsal = Rehearsal(ours.market, Plan(strategy, folds, (params,) * len(folds)))
        steps = cost_sensitivity(rehearsal)
        assert {step["sharpe"] for step in steps} == {None}
        assert break_even_bps(rehearsal, steps) is None


def test_the_windows_of_a_rehearsal_hold_what_the_whole_feed_holds_at_any_cost() -> None:
    ours = product(bars("A", waves(500, 10.0)) + bars("B", waves(500, 40.0)))
    folds, strategy, costs = make_folds(500, 200, 100, 60, False), STRATEGIES["rsi2"], ours.market.costs
    params = [ours.params("rsi2") | {"rsi_entry": 10.0 + 5.0 * k} for k in range(len(folds))]
    rehearsal = Rehearsal(ours.market, Plan(strategy, folds, tuple(params)))
    for bps in (None, 0.0, 40.0):
        dear = costs if bps is None else costs._replace(slippage=bps / 10_000.0)
        market = replace(ours.market, costs=dear)
        runs = [
            simulate_window(market, strategy, own, fold.test_start, fold.test_end)
            for own, fold in zip(params, folds, strict=True)
        ]
        whole = np.concatenate([daily_returns(run.equity, dear.initial_cash) for run in runs])
        assert np.any(whole)
        assert rehearsal.out_of_sample(bps).tolist() == whole.tolist()


def test_a_book_of_one_strategy_at_half_the_size_is_measured_and_nothing_is_left_without_it() -> None:
    ours = product(bars("A", waves(500, 10.0)))
    folds, strategy = make_folds(500, 200, 100, 60, False), STRATEGIES["rsi2"]
    plan = Plan(strategy, folds, (ours.params("rsi2"),) * len(folds), weights=(0.5,))
    found = find_signals(ours.market, ours.market.readable(), strategy, [ours.params("rsi2")])
    details = without_each(ours.market, plan, {"rsi2": found})
    assert (details["whole"]["sharpe"] is not None, details["without"]) == (True, {})


@pytest.mark.parametrize("column", ["open", "high", "low", "close", "volume"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), -1.0])
def test_a_value_that_is_no_price_never_reaches_the_panel(column: str, value: float) -> None:
    raw = bars("A", waves(300)) + bars("B", waves(300, 80.0))
    raw[420] = raw[420] | {column: value}
    with pytest.raises(ValueError, match=rf"1 bars with an impossible {column}, the first {value} of B at 2015-05-05"):
        product(raw)


def test_a_price_of_nothing_is_no_price_and_a_volume_of_nothing_is_one() -> None:
    raw = bars("A", waves(300))
    raw[7] = raw[7] | {"volume": 0.0}
    assert product(raw).market.panel.bars == 300
    raw[7] = raw[7] | {"low": 0.0}
    with pytest.raises(ValueError, match="impossible low"):
        product(raw)


def test_a_stored_price_that_is_no_number_stops_the_load_by_name(tmp_path: Path) -> None:
    from_warehouse(tmp_path, {"raw_bars": bars("A", waves(300)), "splits": [], "selected": {"A"}}, CANONICAL)
    warehouse = Warehouse(tmp_path / "kobe.duckdb")
    with warehouse.transaction() as connection:
        connection.execute("UPDATE daily_bars SET close = 'nan'::DOUBLE WHERE session = DATE '2015-01-10'")
    with pytest.raises(KobeError, match=r"impossible close, the first nan of A at 2015-01-10.*see the checks of daily_bars"):
        load_panel(warehouse)


def test_a_bar_stored_twice_stops_the_load(tmp_path: Path) -> None:
    given = {"raw_bars": [*bars("A", waves(300)), *bars("A", waves(1), 4)], "splits": [], "selected": {"A"}}
    with pytest.raises(KobeError, match="1 bars repeat"):
        from_warehouse(tmp_path, given, CANONICAL)


def test_a_lag_longer_than_the_market_reads_nothing() -> None:
    run = product(bars("A", waves(30)), indicator_lag_bars=50).run("rsi2")
    assert run["trades"] == []


SMALL_RUN = """
from kobe_resources.runtime.jit import cache_folder
from tests.support.reference.market import build_market
from tests.support.reference.parameters import CANONICAL
from tests.support.reference.random_markets import random_market
from tests.support.drivers.product import from_panel, panel_of
given = random_market(3)
panel = panel_of(build_market(given["raw_bars"], given["splits"]))
ours = from_panel(panel, CANONICAL | {"rsi_entry": 35.0}, given["selected"])
print(cache_folder(), len(ours.run("rsi2")["trades"]))
"""


def test_where_no_cache_folder_can_be_written_the_engine_still_runs(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way of a folder")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SMALL_RUN],
        cwd=Path(__file__).parents[3],
        # What is compiled for one run need not be optimised.
        env={**os.environ, "NUMBA_CACHE_DIR": str(blocked / "cache"), "NUMBA_OPT": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    given = random_market(3)
    panel = panel_of(build_market(given["raw_bars"], given["splits"]))
    expected = len(from_panel(panel, CANONICAL | {"rsi_entry": 35.0}, given["selected"]).run("rsi2")["trades"])
    assert done.stdout.split() == ["None", str(expected)]
