"""A trace in words: shares and prices of one line belong together."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from kobe_jobs.trading.reporting.trace_prose import prose_of_simulated

TRADE: dict[str, Any] = {
    "entered_by": "ibs", "symbol": "KO", "side": "long", "signal_session": dt.date(2002, 10, 18),
    "entry_session": dt.date(2002, 10, 21), "entry_price": 26.0, "exit_session": dt.date(2002, 10, 25), "exit_price": 26.5,
    "exit_reason": "time_stop", "qty": 1.5, "pnl": 1.5, "bars_held": 5,
}  # fmt: skip


@pytest.mark.parametrize(
    ("shares", "fill", "left"),
    [
        (3.0, "1.5 shares at $52.00 on 2002-10-21, $26.00 adjusted for later splits.", "at $26.50 adjusted (time stop)"),
        (1.5, "1.5 shares at $26.00 on 2002-10-21.", "at $26.50 (time stop)"),
    ],
)
def test_a_simulated_fill_is_told_in_shares_and_dollars_as_traded(shares: float, fill: str, left: str) -> None:
    lines = prose_of_simulated({**TRADE, "shares": shares}, None)
    assert lines[4] == f"Fill: {fill}"
    assert left in lines[5]


@pytest.mark.parametrize(
    ("declared", "reading"),
    [
        (("rsi2", "sma200", "atr14"), "close $50.00, RSI(2) 4.0, its 200-day average $40.00, ATR $1.00"),
        (("ibs",), "close $50.00, IBS 0.10"),
        (("own",), "close $50.00, own 7"),
        (None, "close $50.00, RSI(2) 4.0, IBS 0.10, its 200-day average $40.00, ATR $1.00"),
    ],
)
def test_of_the_usual_indicators_those_are_told_that_the_strategy_reads(declared: Any, reading: str) -> None:
    signal: dict[str, Any] = {"close": 50.0, "raw_close": 50.0, "rsi2": 4.0, "ibs": 0.1, "sma200": 40.0, "atr14": 1.0}
    own = {"values": {"own": 7.0}} if declared == ("own",) else {}
    assert prose_of_simulated({**TRADE, "shares": 1.5}, {**signal, **own}, declared)[1] == f"Reading: {reading}."
