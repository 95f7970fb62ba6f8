"""Second opinions on limit entries, commissions and dividends: backtesting.py and bt on real bars of the sample."""

from __future__ import annotations

import dataclasses
import math
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
import talib

from kobe_assets import backtest
from kobe_assets.research import language as say
from kobe_resources.market_data.local.sample import SampleVendor
from kobe_resources.settings.models import DataSettings

CASH, DOLLARS = 1e7, 5000.0
PER_ORDER, PER_SHARE, MINIMUM = 0.35, 0.011, 1.5
LIMIT_ATR, TIME_STOP, ENTRY, EXIT = 0.4, 4, 25.0, 60.0
OPEN_DOORS = {
    "simulation.initial_cash": CASH,
    "sizing.mode": "fixed", "sizing.order_notional": DOLLARS, "sizing.whole_shares": True,
    "costs.slippage_bps": 0.0, "costs.regulatory_fees": False, "costs.commission_per_order": PER_ORDER,
    "costs.commission_per_share": PER_SHARE, "costs.commission_minimum": MINIMUM,
    "policy.max_notional_per_order": 1e6, "policy.max_daily_notional": 1e7, "policy.min_price": 0.01, "policy.max_gap": None,
    "strategy.min_price": 0.01, "strategy.indicator_lag_bars": 1,
}  # fmt: skip
PULLBACK = say.Strategy(
    name="pullback",
    summary="For tests: a limit under the close after a fall",
    indicators={"rsi3": say.rsi(3), "atr10": say.atr(10)},
    parameters={"limit_atr": LIMIT_ATR, "time_stop": TIME_STOP},
    long=lambda at, p: at.rsi3 < ENTRY,
    score_long=lambda at: at.rsi3,
    leave_long=lambda at, p: at.rsi3 > EXIT,
    limit="atr10",
)


@pytest.fixture(scope="module")
def sample() -> pd.DataFrame:
    """The sample's bars as they are: what a one-symbol engine sees."""
    return SampleVendor(DataSettings()).read().bars


def commission(size: float, price: float) -> float:
    return max(PER_ORDER + PER_SHARE * abs(size), MINIMUM)


@cache
def one_symbol() -> Any:
    """A strategy of backtesting.py, which is imported late: each worker that collects would wait seconds for it."""
    from backtesting import Strategy

    class OneSymbol(Strategy):
        """The same in the words of backtesting.py and on TA-Lib's indicators; a limit order lives for one session."""

        def init(self) -> None:
            d = self.data
            self.rsi = self.I(talib.RSI, d.Close, 3)
            self.atr = self.I(talib.ATR, d.High, d.Low, d.Close, 10)

        def next(self) -> None:
            for order in self.orders:
                order.cancel()
            if self.position:
                held = len(self.data) - 1 - self.trades[0].entry_bar + 1
                if self.rsi[-2] > EXIT or held >= TIME_STOP:
                    self.position.close()
            elif self.rsi[-2] < ENTRY and self.atr[-2] == self.atr[-2]:
                ticks = round((self.data.Close[-1] - LIMIT_ATR * self.atr[-2]) * 100, 6)
                limit = math.floor(ticks) / 100
                # Kobe's limit fills only where the market trades through it, theirs where it is touched.
                self.buy(size=int(DOLLARS / limit + 1e-9), limit=limit - 1e-9)

    return OneSymbol


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("symbol", ["AAPL", "GOOG", "IBM", "MSFT"])
def test_backtesting_py_fills_the_same_limit_entries_at_the_same_commissions(sample: pd.DataFrame, symbol: str) -> None:
    from backtesting import Backtest

    bars = sample[sample["symbol"] == symbol].tail(1500)
    run = backtest(PULLBACK, bars, settings=OPEN_DOORS, check=False)
    assert run.refused["not_reached"] > 20
    frame = bars.set_index(pd.DatetimeIndex(bars["session"]))[["open", "high", "low", "close", "volume"]]
    engine = Backtest(
        frame.rename(columns=str.capitalize), one_symbol(), cash=CASH, commission=commission, finalize_trades=True
    )
    theirs: Any = engine.run()["_trades"].sort_values("EntryBar")
    # A position still open at the end is closed by either in its own way.
    ours = run.trades[run.trades["exit_reason"] != "window_end"].sort_values("entry_session")
    assert len(ours) > 40
    theirs = theirs.head(len(ours))
    for mine, other in (("entry_session", "EntryTime"), ("exit_session", "ExitTime"), ("shares", "Size")):
        assert list(ours[mine]) == list(theirs[other]), mine
    np.testing.assert_allclose(ours["entry_price"], theirs["EntryPrice"], atol=2e-9)
    np.testing.assert_allclose(ours["exit_price"], theirs["ExitPrice"], atol=2e-9)
    np.testing.assert_allclose(ours["fees"], theirs["Commission"], atol=1e-9)
    np.testing.assert_allclose(ours["pnl"], theirs["PnL"], atol=1e-4)
    inside = ours["entry_price"].to_numpy() < frame["open"].reindex(ours["entry_session"]).to_numpy()
    assert 10 < inside.sum() < len(ours), "some entries filled at the limit, some at a lower open"


DIVIDENDS = 0.37


def test_bt_ends_with_the_same_money_after_dividends_and_commissions(sample: pd.DataFrame) -> None:
    """bt holds what Kobe traded, at the opens at which it traded, and is paid coupons where Kobe is paid dividends."""
    import bt

    bars = sample[sample["symbol"].isin(["AAPL", "IBM"]) & (sample["session"] >= "2009-01-01")].reset_index(drop=True)
    bars["dividend"] = np.where(bars["session"].dt.day < 8, DIVIDENDS, 0.0)
    doors = {**OPEN_DOORS, "costs.slippage_bps": 0.0}
    held = dataclasses.replace(PULLBACK, name="held", limit=None, parameters={"time_stop": 15})
    run = backtest(held, bars, settings=doors, check=False)
    opens = bars.pivot(index="session", columns="symbol", values="open")
    assert len(run.trades) > 50
    assert run.trades["dividends"].sum() > 100
    ended = run.trades["exit_reason"] == "window_end"
    trades = run.trades[~ended]
    orders = [(t.entry_session, t.symbol, t.qty) for t in trades.itertuples()]
    orders += [(t.exit_session, t.symbol, -t.qty) for t in trades.itertuples()]

    def trade(target: Any) -> bool:
        for day, symbol, quantity in orders:
            if day == target.now:
                target.transact(quantity, child=symbol)
        return True

    children = [bt.CouponPayingSecurity(symbol, fixed_income=False) for symbol in opens]
    book = bt.Strategy("kobe", [trade], children=children)
    # A coupon of theirs goes, a session later, to who holds at the end of its own: the holder over the night before an ex-date.
    coupons = bars.pivot(index="session", columns="symbol", values="dividend").shift(-1).fillna(0.0)
    engine = bt.Backtest(
        book, opens, initial_capital=CASH, commissions=commission, integer_positions=False, progress_bar=False,
        additional_data={"coupons": coupons},
    )  # fmt: skip
    engine.run()
    assert engine.strategy.capital == pytest.approx(CASH + trades["pnl"].sum(), abs=1e-6)
