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
