"""A replay is the simulation in each entry mode: the opening auction, limit orders, and several strategies in one account."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from kobe_assets.graph.inputs import load_market, load_panel, parts_of
from kobe_assets.research.strategies import STRATEGIES
from kobe_jobs.trading.parity.replay import replay, simulate_window
from kobe_resources.warehouse.store import Warehouse
from tests.support.builders.replay_market import compute, random_warehouse, with_limit

pytestmark = pytest.mark.usefixtures("warehouses_stay_open")

SESSIONS = 290
RICH = {"initial_cash": 1e6}
"""Before the open nothing has been sold yet, so that cash must not bind."""
# (seed, sessions to replay, what trades, other parameters)
AUCTION = {**RICH, "entry": "opg", "open_limit_bps": 100.0}
UNBOUND = {"max_notional_per_order": None, "max_daily_notional": None}
BOTH = {"ibs": 1.0, "rsi2": 0.5}
BY_EQUITY = {
    **RICH, "entry": "ioc", "mode": "equity", "fraction": 0.02, "whole_shares": False, **UNBOUND,
    "commission_per_order": 40.0, "borrow_rate": 0.5,
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
    # A stop fills on the eve of a split, and is booked after it.
    (62, 30, {"ibs": 1.0}, {**AUCTION, "allow_shorts": True, "mode": "risk", "fraction": 0.01, **UNBOUND}),
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


@pytest.mark.parametrize("entry", ["ioc", "opg", "patient"])
def test_a_replay_is_the_simulation_over_bars_that_are_doubted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str
) -> None:
    monkeypatch.setitem(STRATEGIES, "patient", with_limit(STRATEGIES["ibs"], 0.3, name="patient"))
    name = "patient" if entry == "patient" else "ibs"
    changes = {**RICH, "entry": "opg" if entry == "opg" else "ioc", "allow_shorts": True}
    settings, warehouse = random_warehouse(tmp_path, 41, SESSIONS, strategies={name: 1.0}, **changes)
    market = load_market(warehouse, settings)
    days = market.panel.sessions[-28:].tolist()
    clean, _ = simulate_window(market, settings, parts_of(settings), SESSIONS - 28, SESSIONS - 1)
    both = [[trade for trade in clean if trade.side == side][:6] for side in ("long", "short")]
    # Bars held and bars of the entry; a gain that is doubted spares the stop that the same bar's range reaches.
    for place, trade in enumerate(both[0] + both[1]):
        held = [day for day in days if trade.entry_session <= day <= (trade.exit_session or days[-1])]
        is_gain = place % 4 != 1
        misprint(warehouse, trade.symbol, held[0 if place % 3 == 0 else len(held) // 2], is_gain == (trade.side == "short"))
    compute(settings, warehouse)
    result = replay(settings, warehouse, days[0], days[-1])
    assert result.agrees, result.mismatches
    assert {trade.side for trade in result.live if trade.exit_reason == "suspect"} == {"long", "short"}
    assert len(result.simulated) < len(clean), "a doubted bar ends the signals of its listing"


def misprint(warehouse: Warehouse, symbol: str, session: dt.date, is_down: bool) -> None:
    """Let a bar's close jump, and its range reach far to both sides, on the volume of any other day."""
    with warehouse.transaction() as connection:
        connection.execute(
            "UPDATE daily_bars SET close = close * ?1, low = least(low, close * ?1, open) * 0.9,"
            " high = greatest(high, close * ?1, open) * 1.1 WHERE symbol = ?2 AND session = ?3",
            [0.6 if is_down else 1.6, symbol, session],
        )
