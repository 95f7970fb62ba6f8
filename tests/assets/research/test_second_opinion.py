"""Other people's engines on the real bars of the sample: TA-Lib for indicators, backtesting.py for whole runs of one symbol.

The golden hash at the end was taken after the list had been read, and while the reference agreed with every line of it.
"""

from __future__ import annotations

import hashlib
import math
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
import talib

from kobe_assets.research.metrics import curve_figures, daily_returns
from kobe_resources.market_data.local.sample import SampleVendor
from kobe_resources.settings.load import load_settings
from kobe_resources.settings.models import DataSettings
from tests.support.drivers.agreement import difference_of_runs
from tests.support.drivers.product import Product, from_panel, panel_of, settings_of
from tests.support.reference.indicators import indicators_of
from tests.support.reference.market import build_market
from tests.support.reference.parameters import CANONICAL, STRATEGIES
from tests.support.reference.signals import signals_of
from tests.support.reference.simulate import simulate

LONG_LIVED = {"AAPL", "GOOG", "IBM", "MSFT"}
"""Those of the sample with the 8 years that its universe asks for."""
SAMPLE = CANONICAL | {"initial_cash": 1000.0, "whole_shares": False}
"""The sample's own defaults."""
OPEN_DOORS = CANONICAL | {
    "initial_cash": 1e7,
    "order_notional": 5000.0,
    "max_notional_per_order": 1e5,
    "max_daily_notional": 1e6,
    "limit_offset_bps": 0.0,
    "slippage_bps": 10.0,
    "signal_min_price": 0.01,
    "min_price": 0.01,
    "regulatory_fees": False,
    "max_gap": None,
}
GOLDEN = "2d1d710d3cbf9a6721cf0f6d44ba77875079d5479ead8de236c1f78c80b25143"


@cache
def sample() -> dict[str, Any]:
    """The sample's bars and splits, adjusted by the reference."""
    load = SampleVendor(DataSettings()).read()
    bars = load.bars.assign(session=load.bars["session"].dt.date).to_dict("records")
    return build_market(bars, load.splits.to_dict("records"))


def adjusted_frame(symbol: str) -> pd.DataFrame:
    """Adjusted bars with the column names of backtesting.py."""
    bars = pd.DataFrame(sample()["bars"][symbol])
    frame = bars.set_index(pd.to_datetime(bars["session"]))
    return frame[["open", "high", "low", "close", "volume"]].rename(columns=str.capitalize)


def alone(symbol: str, p: dict[str, Any]) -> Product:
    """The product on one symbol whose bars are adjusted beforehand: what a one-symbol engine sees."""
    bars = [bar | {"factor": 1.0} for bar in sample()["bars"][symbol]]
    market = {"sessions": [bar["session"] for bar in bars], "bars": {symbol: bars}}
    return from_panel(panel_of(market), p, {symbol})


@pytest.mark.parametrize("symbol", ["AAPL", "FB", "GOOG", "IBM", "MSFT"])
def test_indicators_equal_talib(symbol: str) -> None:
    frame, ours = adjusted_frame(symbol), alone(symbol, CANONICAL).market.indicators
    high, low, close = (frame[name].to_numpy() for name in ("High", "Low", "Close"))
    np.testing.assert_allclose(ours.rsi2, talib.RSI(close, 2), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(ours.sma200, talib.SMA(close, 200), rtol=1e-9)
    np.testing.assert_allclose(ours.atr14, talib.ATR(high, low, close, 14), rtol=1e-9)


def test_a_flat_series_has_no_rsi_here_and_rsi_0_in_talib() -> None:
    days = sample()["sessions"][:40]
    flat = [{"session": day, "open": 9.0, "high": 9.0, "low": 9.0, "close": 9.0, "volume": 1.0, "factor": 1.0} for day in days]
    ours = from_panel(panel_of({"sessions": days, "bars": {"A": flat}}), CANONICAL, {"A"}).market.indicators
    assert np.isnan(ours.rsi2).all()
    assert np.isnan(ours.ibs).all()
    assert (talib.RSI(np.full(40, 9.0), 2)[2:] == 0.0).all()


@cache
def one_symbol() -> Any:
    """A strategy of backtesting.py, which is imported late: each worker that collects would wait seconds for it."""
    from backtesting import Strategy

    class OneSymbol(Strategy):
        """The rules for longs of one symbol, in the words of backtesting.py and on TA-Lib's indicators."""

        kind = "rsi2"
        opens: Any = None

        def init(self) -> None:
            d = self.data
            self.rsi = self.I(talib.RSI, d.Close, 2)
            self.sma = self.I(talib.SMA, d.Close, 200)
            self.atr = self.I(talib.ATR, d.High, d.Low, d.Close, 14)
            self.ibs = self.I(lambda: (d.Close - d.Low) / (d.High - d.Low))

        def next(self) -> None:
            p, i = OPEN_DOORS, len(self.data) - 1
            if self.position:
                held = i - self.trades[0].entry_bar + 1
                leave = self.kind != "ibs" and self.rsi[-2] >= p["rsi_exit"]
                if leave or held >= p["time_stop"]:
                    self.position.close()
                return
            washed_out = {
                "rsi2": self.rsi[-2] <= p["rsi_entry"],
                "ibs": self.ibs[-2] < p["ibs_entry"],
                "rsi2_ibs": self.rsi[-2] <= p["rsi_entry"] and self.ibs[-2] < p["ibs_entry"],
            }[self.kind]
            if not (self.data.Close[-1] > self.sma[-2] and washed_out) or i + 1 == len(self.opens):
                return
            # The engine wants size and stop before it knows the open that both hang from.
            fill = self.opens[i + 1] * (1 + p["slippage_bps"] / 10_000)
            limit = math.ceil(round(fill * 100, 6)) / 100
            stop = math.floor(round((fill - p["atr_stop"] * self.atr[-2]) * 100, 6)) / 100
            # Given with the order, a stop above the last close (as before a gap up) would be refused.
            self.buy(size=int(p["order_notional"] // limit))._replace(sl_price=stop)

    return OneSymbol


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("symbol", sorted(LONG_LIVED))
def test_backtesting_py_makes_the_same_trades(symbol: str, strategy: str) -> None:
    from backtesting import Backtest

    frame = adjusted_frame(symbol)
    # Slippage on both fills is what it calls a commission: the same dollars, beside the price instead of in it.
    rate = OPEN_DOORS["slippage_bps"] / 10_000
    engine = Backtest(frame, one_symbol(), cash=OPEN_DOORS["initial_cash"], commission=rate, finalize_trades=True)
    stats = engine.run(kind=strategy, opens=frame["Open"].to_numpy())
    theirs = stats["_trades"].sort_values("EntryBar")
    trades = alone(symbol, OPEN_DOORS).run(strategy)["trades"]
    # A position still open at the end is closed by either in its own way.
    ours = [t for t in trades if t["exit_reason"] != "window_end"]
    assert len(ours) > 20
    assert len(trades) == len(theirs)
    theirs = theirs.head(len(ours))
    assert [(t["entry_session"], t["exit_session"], t["shares"]) for t in ours] == [
        (entry.date(), out.date(), size)
        for entry, out, size in zip(theirs["EntryTime"], theirs["ExitTime"], theirs["Size"], strict=True)
    ]
    np.testing.assert_allclose([t["entry_price"] for t in ours], theirs["EntryPrice"] * (1 + rate), rtol=1e-12)
    np.testing.assert_allclose([t["exit_price"] for t in ours], theirs["ExitPrice"] * (1 - rate), rtol=1e-12)
    np.testing.assert_allclose([t["pnl"] for t in ours], theirs["PnL"], atol=1e-6)


def test_curve_figures_equal_those_of_empyrical() -> None:
    returns = np.random.default_rng(0).normal(0.0005, 0.01, 500)
    figures = curve_figures(returns)
    # empyrical-reloaded 0.7.1: sharpe_ratio, sortino_ratio, cagr, annual_volatility, max_drawdown, calmar_ratio.
    expected = {
        "sharpe": 0.36157720267638077,
        "sortino": 0.5162264315329447,
        "cagr": 0.04631587067442822,
        "max_drawdown": -0.17446881489905033,
        "calmar": 0.26546790440014806,
    }
    for name, value in expected.items():
        assert figures[name] == pytest.approx(value, rel=1e-12), name
    curve = 1000.0 * np.cumprod(1.0 + returns)
    np.testing.assert_allclose(daily_returns(curve, 1000.0), returns, atol=1e-14)


def sample_run(strategy: str, p: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the product's, the reference's) run over all sessions of the sample."""
    market = sample()
    indicators = {symbol: indicators_of(bars) for symbol, bars in market["bars"].items()}
    signals = signals_of(market, indicators, strategy, p, LONG_LIVED)
    theirs = simulate(market, indicators, signals, strategy, p, market["sessions"][0], market["sessions"][-1])
    return from_panel(panel_of(market), p, LONG_LIVED).run(strategy), theirs


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_reference_agrees_on_the_real_bars_of_the_sample_long_and_short(strategy: str) -> None:
    for p in (
        SAMPLE | {"allow_shorts": True},
        SAMPLE
        | {
            "whole_shares": True,
            "order_notional": 900.0,
            "max_notional_per_order": 900.0,
            "indicator_lag_bars": 0,
            "initial_cash": 1500.0,
        },
    ):
        ours, theirs = sample_run(strategy, p)
        assert difference_of_runs(ours, theirs) is None
        assert len(ours["trades"]) > 100


def trade_list() -> str:
    """Every trade of the sample at its own defaults, one line each."""
    lines = []
    for strategy in STRATEGIES:
        ours, theirs = sample_run(strategy, SAMPLE)
        assert difference_of_runs(ours, theirs) is None
        for t in ours["trades"]:
            words = [strategy] + [str(t[k]) for k in ("symbol", "side", "signal_session", "entry_session", "exit_session")]
            numbers = [f"{t[k]:.6f}" for k in ("entry_price", "exit_price", "shares", "qty", "pnl")]
            lines.append(",".join([*words, *numbers, t["exit_reason"], str(t["bars_held"])]))
    return "\n".join(lines) + "\n"


def test_the_trade_list_of_the_sample_is_the_one_that_was_read() -> None:
    assert hashlib.sha256(trade_list().encode()).hexdigest() == GOLDEN


def test_the_samples_defaults_are_those_the_trade_list_was_taken_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("KOBE_CONFIG", "KOBE_ENV_FILE"):
        monkeypatch.delenv(name, raising=False)
    defaults, used = load_settings(), settings_of(SAMPLE)
    for section in ("strategy", "simulation", "sizing", "execution", "costs", "policy"):
        assert getattr(defaults, section) == getattr(used, section)
