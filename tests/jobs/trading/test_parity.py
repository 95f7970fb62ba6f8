"""Parity: equal lists have no difference, and each way to differ has its class; a replay is the simulation."""

from __future__ import annotations

import dataclasses
import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kobe_assets.graph.inputs import load_panel
from kobe_jobs.trading.parity import replay as replay_module
from kobe_jobs.trading.parity.compare import Fate, Trade, compare_trades
from kobe_jobs.trading.parity.replay import replay
from kobe_resources.errors import UsageError
from tests.support.builders.replay_market import random_warehouse

pytestmark = pytest.mark.usefixtures("warehouses_stay_open")

DAY = dt.date(2024, 3, 5)
SIGNAL = DAY - dt.timedelta(1)
TRADE = Trade("KO", "long", SIGNAL, DAY, 60.0, 1.25, DAY + dt.timedelta(3), 61.0, "rsi_exit")
SESSIONS = 290
# (seed, strategy, sessions to replay): splits of held positions, gaps, delistings, shorts, parts of shares, every exit reason.
REPLAYS = [(10, "ibs", 40), (29, "ibs", 30), (41, "ibs", 40), (6, "rsi2", 40)]


def changed(**changes: Any) -> Trade:
    return dataclasses.replace(TRADE, **changes)


days = st.dates(dt.date(2020, 1, 1), dt.date(2020, 2, 1))
trades = st.lists(
    st.builds(
        Trade, st.sampled_from(["A", "B", "C"]), st.sampled_from(["long", "short"]), days, days, st.floats(1, 500),
        st.floats(0.1, 9), days, st.floats(1, 500), st.sampled_from(["stop", "time_stop", "window_end"]),
    ),
    unique_by=lambda trade: trade.key,
)  # fmt: skip


@given(trades, st.randoms())
def test_the_same_trades_in_any_order_have_no_difference(some: list[Trade], dice: Any) -> None:
    shuffled = list(some)
    dice.shuffle(shuffled)
    assert compare_trades(some, shuffled, {}) == []


CLASSES: dict[str, tuple[list[Trade], list[Trade], dict[Any, Fate], str, str]] = {
    "an order without a fill": ([TRADE], [], {TRADE.key: Fate("CANCELED")}, "no_fill", "trade"),
    "an order that never arrived": ([TRADE], [], {TRADE.key: Fate("NOT_PLACED")}, "no_fill", "trade"),
    "a veto": ([TRADE], [], {TRADE.key: Fate("VETOED", "not_tradable")}, "veto", "trade"),
    "a signal that was not there": ([TRADE], [], {}, "data_revision", "trade"),
    "a signal that is not there any more": ([], [TRADE], {}, "data_revision", "trade"),
    "another side": ([TRADE], [changed(side="short")], {}, "data_revision", "side"),
    "a worse entry": ([TRADE], [changed(entry_price=60.01)], {}, "slippage", "entry_price"),
    "a better exit": ([TRADE], [changed(exit_price=61.5)], {}, "slippage", "exit_price"),
    "fewer shares": ([TRADE], [changed(shares=1.0)], {}, "size", "shares"),
    "a later exit": ([TRADE], [changed(exit_session=DAY + dt.timedelta(4))], {}, "timing", "exit"),
    "another reason": ([TRADE], [changed(exit_reason="stop")], {}, "timing", "exit"),
    "an exit that met no bid": (
        [TRADE],
        [changed(exit_session=DAY + dt.timedelta(4))],
        {TRADE.key: Fate("FILLED", "", frozenset({DAY + dt.timedelta(3)}))},
        "no_fill",
        "exit",
    ),
    "a later entry": ([TRADE], [changed(entry_session=DAY + dt.timedelta(1))], {}, "timing", "entry_session"),
    "still open": ([TRADE], [changed(exit_session=None, exit_price=None, exit_reason=None)], {}, "timing", "exit"),
}


@pytest.mark.parametrize("name", CLASSES)
def test_a_difference_is_found_and_classed(name: str) -> None:
    simulated, live, fates, kind, what = CLASSES[name]
    assert [(row.kind, row.what) for row in compare_trades(simulated, live, fates, [])] == [(kind, what)]


def test_a_live_trade_that_the_simulation_refused_is_a_veto() -> None:
    assert [row.kind for row in compare_trades([], [TRADE], {}, [TRADE.key])] == ["veto"]


def test_a_position_that_the_window_cut_off_may_still_be_open() -> None:
    still = changed(exit_session=None, exit_price=None, exit_reason=None)
    assert compare_trades([changed(exit_reason="window_end")], [still], {}) == []


def test_shares_may_differ_by_the_smallest_part_that_can_be_ordered_and_no_more() -> None:
    assert compare_trades([TRADE], [changed(shares=1.25 - 1e-9, share_step=1e-9)], {}) == []
    assert compare_trades([TRADE], [changed(shares=1.25 - 3e-9, share_step=1e-9)], {}) != []


@pytest.mark.parametrize(("seed", "strategy", "sessions"), REPLAYS)
def test_a_replay_through_the_live_path_is_the_simulation(tmp_path: Path, seed: int, strategy: str, sessions: int) -> None:
    settings, warehouse = random_warehouse(tmp_path, seed, SESSIONS)
    window = load_panel(warehouse).sessions[-sessions:].tolist()
    result = replay(settings, warehouse, window[0], window[-1], strategy)
    assert result.agrees, result.mismatches
    assert result.refused == result.simulated_refused
    assert len(result.live) > 3


def test_a_replay_notices_when_the_live_path_trades_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without this test a comparison of nothing with nothing would pass for parity."""
    settings, warehouse = random_warehouse(tmp_path, 10, SESSIONS)
    window = load_panel(warehouse).sessions[-40:].tolist()
    wider = replay_module.embedded_terms

    def dearer(given: Any) -> Any:
        return dataclasses.replace(wider(given), slippage_bps=given.costs.slippage_bps + 1)

    monkeypatch.setattr(replay_module, "embedded_terms", dearer)
    result = replay(settings, warehouse, window[0], window[-1], "ibs")
    assert not result.agrees
    assert {row.kind for row in result.mismatches} >= {"slippage"}


def test_a_window_without_sessions_is_refused(tmp_path: Path) -> None:
    settings, warehouse = random_warehouse(tmp_path, 10, SESSIONS)
    with pytest.raises(UsageError, match="no stored session"):
        replay(settings, warehouse, dt.date(1990, 1, 1), dt.date(1990, 2, 1), "ibs")
    with pytest.raises(UsageError, match="no strategy"):
        replay(settings, warehouse, dt.date(1990, 1, 1), dt.date(2030, 2, 1), "momentum")
