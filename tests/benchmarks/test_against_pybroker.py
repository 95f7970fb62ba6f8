"""How fast the engine is beside PyBroker, whose rules are Python called for every symbol and bar: a job of fewer symbols."""

from __future__ import annotations

import statistics
import sys
import time
from typing import Any

import pandas as pd
import pytest

from kobe_assets.research.walk_forward import Market
from kobe_resources.warehouse.store import Warehouse
from tests.benchmarks.test_engine_speed import load_market, say, stored_market, whole_run

FEW = 20
BARS = "SELECT symbol, session AS date, open, high, low, close, volume FROM adjusted_bars ORDER BY symbol, session"


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """A market of few symbols, stored."""
    return stored_market(tmp_path_factory.mktemp("few"), FEW)


@pytest.mark.filterwarnings("ignore")
def test_rsi2_against_pybroker_doing_the_same_job_warm(benchmark: Any, few: Warehouse) -> None:
    """The same job: RSI, mean and ATR (by TA-Lib there), entries, exits, stop and time stop, one account, equity, trades.

    What PyBroker has no word for is left out in its favour: the daily budget and shorts. They take turns, so that what else the
    machine does falls on both.
    """
    market, bars = load_market(few), few.frame(BARS)
    theirs: list[float] = []

    def their_turn() -> None:
        began = time.perf_counter()
        assert _by_pybroker(bars, market) > 100
        theirs.append(time.perf_counter() - began)

    their_turn()
    assert len(whole_run(market, "rsi2").numbers) > 100
    theirs.clear()
    benchmark.pedantic(lambda: whole_run(market, "rsi2"), setup=their_turn, rounds=3)
    ours = benchmark.stats.stats
    count = market.panel.bars
    say(f"rsi2 by PyBroker, {FEW} symbols", min(theirs), count, 0)
    say(f"rsi2 here, {FEW} symbols", ours.min, count, 0)
    medians = f"(of medians {statistics.median(theirs) / ours.median:,.0f} ×)"
    sys.stderr.write(f"\n  {'ratio of the best':<46} {min(theirs) / ours.min:9,.0f} × {medians}")


def _by_pybroker(bars: pd.DataFrame, market: Market) -> int:
    """Trades of a backtest from bars to metrics; read a bar late, filled at the next open."""
    import pybroker
    import talib
    from pybroker.common import PriceType

    pybroker.disable_logging()
    pybroker.disable_progress_bar()
    read = [
        pybroker.indicator("rsi2", lambda data: talib.RSI(data.close, 2)),
        pybroker.indicator("sma200", lambda data: talib.SMA(data.close, 200)),
        pybroker.indicator("atr14", lambda data: talib.ATR(data.high, data.low, data.close, 14)),
    ]

    def rule(at: Any) -> None:
        if at.bars < 202:
            return
        rsi, mean, atr = (at.indicator(one.name) for one in read)
        if at.long_pos():
            if rsi[-2] >= 70:
                at.sell_fill_price = PriceType.OPEN
                at.sell_all_shares()
        elif rsi[-2] <= 10 and at.close[-2] > mean[-2] and at.close[-2] >= market.min_price:
            at.buy_fill_price = PriceType.OPEN
            at.buy_shares = market.limits.order_notional // at.close[-1]
            at.stop_loss = 2 * atr[-2]
            at.hold_bars = 5

    first, last = bars["date"].min().to_pydatetime(), bars["date"].max().to_pydatetime()
    config = pybroker.StrategyConfig(initial_cash=market.costs.initial_cash)
    strategy = pybroker.Strategy(bars, first, last, config)
    strategy.add_execution(rule, sorted(bars["symbol"].unique()), indicators=read)
    found = strategy.backtest()
    assert len(found.portfolio) > 2_000
    return len(found.trades)
