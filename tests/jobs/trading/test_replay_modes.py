"""A replay is the simulation in each entry mode: the opening auction, limit orders, and several strategies in one account."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kobe_assets.graph.inputs import load_panel
from kobe_assets.research.strategies import STRATEGIES
from kobe_jobs.trading.parity.replay import replay
from tests.support.builders.replay_market import random_warehouse, with_limit

SESSIONS = 290
RICH = {"initial_cash": 1e6}
"""Before the open nothing has been sold yet, so that cash must not bind."""
# (seed, sessions to replay, what trades, other parameters)
AUCTION = {**RICH, "entry": "opg", "open_limit_bps": 100.0}
BOTH = {"ibs": 1.0, "rsi2": 0.5}
BY_EQUITY = {
    **RICH, "entry": "ioc", "mode": "equity", "fraction": 0.02, "whole_shares": False, "max_notional_per_order": None,
    "max_daily_notional": None, "commission_per_order": 40.0, "borrow_rate": 0.5,
}  # fmt: skip
"""Fees, dividends and borrowing move the equity, and with it the shares of every later order."""
CASES = [
    (10, 40, {"ibs": 1.0}, AUCTION),
    (41, 40, {"ibs": 1.0}, AUCTION),
    (29, 30, {"ibs": 1.0}, {**AUCTION, "max_daily_notional": 300.0, "max_positions": 6}),
    (10, 40, {"patient": 1.0}, {**RICH, "entry": "ioc"}),
    (41, 40, {"patient": 1.0}, {**RICH, "entry": "opg"}),
    (6, 40, BOTH, {"entry": "ioc"}),
    (10, 40, BOTH, {**AUCTION, "max_daily_notional": 300.0}),
    (29, 30, {"patient": 1.0, "ibs": 0.7}, {**RICH, "entry": "ioc", "max_daily_notional": 300.0}),
    (41, 30, {"ibs": 0.7, "patient": 1.0}, AUCTION),
    (10, 40, {"ibs": 1.0}, BY_EQUITY),
]


@pytest.mark.parametrize(("seed", "sessions", "strategies", "changes"), CASES)
def test_a_replay_is_the_simulation_in_each_entry_mode(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
    sessions: int,
    strategies: dict[str, float],
    changes: dict[str, Any],
) -> None:
    patient = with_limit(STRATEGIES["ibs"], 0.3, name="patient")
    monkeypatch.setitem(STRATEGIES, "patient", patient)
    settings, warehouse = random_warehouse(tmp_path, seed, SESSIONS, strategies=strategies, **changes)
    window = load_panel(warehouse).sessions[-sessions:].tolist()
    result = replay(settings, warehouse, window[0], window[-1])
    assert result.agrees, result.mismatches
    assert len(result.live) > 3
