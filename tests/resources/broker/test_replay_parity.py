"""The rules' simulation, and the same rules driven order by order over HTTP, give the same trades and the same equity.

The expected side is the plain reference of tests/support/reference, which shares no code with the product.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from kobe_resources.broker.exchange.bars import ExchangeSplit
from kobe_resources.broker.exchange.embedded import EXACT, EmbeddedBroker, StoredBars, Terms
from tests.resources.broker.conftest import speak_to
from tests.support.drivers.replay_driver import Driver, replay
from tests.support.reference.indicators import indicators_of
from tests.support.reference.market import build_market
from tests.support.reference.random_markets import random_market, random_parameters
from tests.support.reference.signals import signals_of
from tests.support.reference.simulate import simulate

pytestmark = pytest.mark.usefixtures("warehouses_stay_open")

SESSIONS = 290
WARMUP = 200
SAME = {"rel": 1e-9, "abs": 1e-9}
# (seed, strategy, sessions until the end of the window). Together: every exit reason, both sides, whole and fractional shares,
# splits of held positions, no offset, a window that ends where a held symbol has no bar, and one that ends on its split.
CASES = [
    (2, "ibs", 234),
    (6, "ibs", 250),
    (9, "ibs", 270),
    (16, "ibs", 259),
    (29, "ibs", 290),
    (34, "ibs", 265),
    (41, "ibs", 250),
    (47, "rsi2", 290),
    (47, "rsi2_ibs", 267),
]


@pytest.mark.parametrize(("seed", "strategy", "until"), CASES)
def test_a_replay_over_http_is_the_simulation(tmp_path: Path, seed: int, strategy: str, until: int) -> None:
    drawn, p = random_market(seed, SESSIONS), random_parameters(seed) | {"regulatory_fees": False}
    market = build_market(drawn["raw_bars"], drawn["splits"])
    indicators = {symbol: indicators_of(bars) for symbol, bars in market["bars"].items()}
    signals = signals_of(market, indicators, strategy, p, drawn["selected"])
    window = market["sessions"][WARMUP:until]
    expected = simulate(market, indicators, signals, strategy, p, window[0], window[-1])
    factors = {(symbol, bar["session"]): bar["factor"] for symbol, bars in market["bars"].items() for bar in bars}

    rows = [tuple(bar[name] for name in ("symbol", "session", "open", "high", "low", "close")) for bar in drawn["raw_bars"]]
    splits = [ExchangeSplit(s["symbol"], s["execution_date"], s["split_to"] / s["split_from"]) for s in drawn["splits"]]
    terms = Terms(p["initial_cash"], p["slippage_bps"], fractional=not p["whole_shares"], strictness=EXACT)
    with EmbeddedBroker(tmp_path, StoredBars.of_rows(rows, splits), terms) as server:
        driver = Driver(speak_to(server.url), server, p, factors)
        equity = replay(driver, market, indicators, signals, strategy, window)

    assert len(expected["trades"]) > 3
    assert dict(driver.refused) == expected["refused"]
    assert equity == pytest.approx([value for _, value in expected["equity"]], **SAME)
    trades = sorted(driver.trades, key=lambda trade: (trade["entry_session"], trade["symbol"]))
    assert [_identity(trade) for trade in trades] == [_identity(trade) for trade in expected["trades"]]
    for trade, wanted in zip(trades, expected["trades"], strict=True):
        entry = factors[trade["symbol"], trade["entry_session"]]
        leaving = _factor(splits, trade["symbol"], trade["exit_session"], market["sessions"][-1])
        assert trade["entry_price"] * entry == pytest.approx(wanted["entry_price"], **SAME)
        assert trade["qty"] / entry == pytest.approx(wanted["shares"], **SAME)
        assert trade["exit_price"] * leaving == pytest.approx(wanted["exit_price"], **SAME)


def _identity(trade: dict[str, Any]) -> tuple[Any, ...]:
    names = ("symbol", "side", "signal_session", "entry_session", "exit_session", "exit_reason", "bars_held")
    return tuple(trade[name] for name in names)


def _factor(splits: list[ExchangeSplit], symbol: str, session: dt.date, last: dt.date) -> float:
    """The adjustment of a price of `session`, whether or not the symbol has a bar there."""
    factor = 1.0
    for split in splits:
        if split.symbol == symbol and session < split.execution_date <= last:
            factor /= split.ratio
    return factor
