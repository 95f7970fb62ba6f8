"""Stage shadow rehearses whole days: orders, fills, stops, exits and profit are the simulation's, and nothing is sent."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kobe_assets.graph.inputs import load_market
from kobe_assets.research.strategies import STRATEGIES
from kobe_jobs.research_run.strategies import parts_named
from kobe_jobs.trading.account import AccountView, look_at_account, simulated_curve
from kobe_jobs.trading.context import TradingContext, open_session, open_trading_context
from kobe_jobs.trading.market_snapshot import load_market_snapshot
from kobe_jobs.trading.on_record import ledger_to_look_at
from kobe_jobs.trading.parity.replay import simulate_window
from kobe_jobs.trading.parity.trades import ledger_trade
from kobe_jobs.trading.reconcile.compare import reconcile_account
from kobe_jobs.trading.reporting.summary import RunSummary
from kobe_jobs.trading.session_series import gap_between, trade_through
from kobe_resources.errors import UsageError
from kobe_resources.order_ledger import OrderLedger
from kobe_resources.order_ledger.positions import all_positions
from kobe_resources.settings.models import Settings
from kobe_resources.settings.secrets import Secrets
from kobe_resources.warehouse.store import Warehouse
from tests.support.builders.replay_market import with_limit
from tests.support.builders.traded_home import BEFORE_THE_END, market_settings

pytestmark = pytest.mark.usefixtures("warehouses_stay_open")


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A folder in which stage shadow traded the last sessions in a row, and what it sent to the broker."""
    home = tmp_path_factory.mktemp("shadow") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KOBE_HOME", str(home))
        plain = market_settings(home).model_dump()
        plain["broker"]["stage"] = "shadow"
        settings = Settings.model_validate(plain)
        stored = [row[0] for row in Warehouse().rows("SELECT DISTINCT session FROM daily_bars ORDER BY session")]
        days = stored[-BEFORE_THE_END:]
        with open_trading_context(settings, Secrets(), leave_clock=True) as trading:
            with pytest.raises(UsageError, match="--session"):
                trade_through(trading, days[-1])
            first = trade_through(trading, days[3], days[0])
            rest = trade_through(trading, days[-1])
            again = trade_through(trading, days[-1])
            asked = trading.broker.embedded.requests()  # type: ignore[attr-defined]
            compared = reconcile_account(open_session(trading, "ibs", any_day=True), "by hand")
        yield {
            "home": home, "settings": settings, "days": days, "runs": [*first, *rest], "again": again, "asked": asked,
            "compared": compared,
        }  # fmt: skip


@pytest.fixture
def view(rehearsed: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> AccountView:
    monkeypatch.setenv("KOBE_HOME", str(rehearsed["home"]))
    with ledger_to_look_at() as ledger:
        return look_at_account(rehearsed["settings"], ledger, Warehouse())


def test_every_session_is_traded_in_turn_and_nothing_is_sent(rehearsed: dict[str, Any]) -> None:
    runs: list[RunSummary] = rehearsed["runs"]
    assert [run.session for run in runs] == rehearsed["days"]
    assert rehearsed["again"] == [], "a second time there is nothing left"
    assert {method for method, _ in rehearsed["asked"]} == {"GET"}
    assert all(run.is_clean and run.submitted == 0 for run in runs)
    assert sum(run.would_send for run in runs) > 4
    assert sum(run.exits_filled for run in runs) > 1
    assert all(run.signals == sum(run.refused.values()) + run.would_send for run in runs)


def test_what_would_be_sent_has_limit_stop_and_dollars(rehearsed: dict[str, Any]) -> None:
    with OrderLedger(rehearsed["home"] / "orders.sqlite") as ledger:
        rows = ledger.rows("SELECT * FROM intents WHERE state = 'WOULD_SEND' AND leg = 'entry'")
        stops = {row["position_id"]: row for row in ledger.rows("SELECT * FROM intents WHERE leg = 'stop'")}
        assert ledger.verify_audit().holds
    assert rows
    for row in rows:
        assert float(row["limit_price"]) > 0
        assert float(row["spent"]) == pytest.approx(float(row["qty"]) * float(row["filled_avg_price"]))
        assert float(stops[row["client_order_id"]]["stop_price"]) > 0


def test_its_book_is_worth_what_the_simulation_is(rehearsed: dict[str, Any], view: AccountView) -> None:
    assert view.started is not None
    days = dt.date.fromisoformat(view.started), dt.date.fromisoformat(view.as_of)
    simulated = simulated_curve(rehearsed["settings"], Warehouse(), *days)
    assert simulated is not None
    assert view.positions, "what the simulation sells at the end of its window, the account still holds"
    assert list(view.curve) == pytest.approx(simulated, rel=1e-4)
    assert {row.purpose for row in view.fills} >= {"entry", "exit"}


def test_its_cash_and_shares_are_its_worth_after_costs(view: AccountView, rehearsed: dict[str, Any]) -> None:
    worth = math.fsum((1 if held.side == "long" else -1) * held.worth for held in view.positions)
    assert view.equity == pytest.approx(view.cash + worth, abs=1e-6)
    with ledger_to_look_at() as ledger:
        paid = ledger.rows("SELECT CAST(qty AS REAL) * price AS worth, side FROM fills")
    filled = math.fsum((1 if row["side"] == "sell" else -1) * row["worth"] for row in paid)
    assert view.cash < rehearsed["settings"].simulation.initial_cash + filled, "fees are paid"


def test_limit_entries_and_their_stops_fill_on_paper_as_the_simulation_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KOBE_HOME", str(tmp_path))
    monkeypatch.setitem(STRATEGIES, "ibs", with_limit(STRATEGIES["ibs"], 0.02))
    plain = market_settings(tmp_path).model_dump()
    plain["broker"]["stage"], plain["costs"]["slippage_bps"] = "shadow", 20.0
    settings = Settings.model_validate(plain)
    days = [row[0] for row in Warehouse().rows("SELECT DISTINCT session FROM daily_bars ORDER BY session")][-BEFORE_THE_END:]
    with open_trading_context(settings, Secrets(), leave_clock=True) as trading:
        runs = trade_through(trading, days[-1], days[0])
        account = runs[0].account
        held = [p for p in all_positions(trading.ledger, account) if p.entry_session < days[-2]]
        symbols = {p.symbol for p in held}
        snapshot = load_market_snapshot(Warehouse(), ["ibs"], days[-1], days[-1], symbols)
        mine = {(p.entry_session, p.symbol): ledger_trade(p, snapshot) for p in held}
    market = load_market(Warehouse(), settings)
    first = int(np.searchsorted(market.panel.sessions, np.datetime64(days[0])))
    trades, _ = simulate_window(market, settings, list(parts_named(settings)), first, len(market.panel.sessions) - 1)
    theirs = {(t.entry_session, t.symbol): t for t in trades if t.entry_session < days[-2]}
    assert set(mine) == set(theirs)
    assert len(theirs) > 5
    for key, trade in theirs.items():
        assert mine[key].entry_price == pytest.approx(trade.entry_price, rel=1e-6), key
        if trade.exit_session is not None and trade.exit_session < days[-1]:
            assert (mine[key].exit_session, mine[key].exit_reason) == (trade.exit_session, trade.exit_reason), key
            assert mine[key].exit_price == pytest.approx(trade.exit_price, rel=1e-6)


def test_a_paper_book_has_no_other_side_to_differ_from(rehearsed: dict[str, Any]) -> None:
    assert rehearsed["compared"].agrees


def test_a_gap_is_named() -> None:
    before, after = dt.date(2024, 3, 4), dt.date(2024, 3, 7)
    assert gap_between(before, after) == "not traded between 2024-03-04 and 2024-03-07: 2024-03-05, 2024-03-06"
    assert gap_between(before, dt.date(2024, 3, 5)) == ""
    assert gap_between(dt.date(2024, 3, 8), dt.date(2024, 3, 11)) == "", "a weekend is no gap"
    assert "and 14 more" in gap_between(before, dt.date(2024, 4, 2))
    assert gap_between(None, after) == ""


def test_a_broker_with_a_time_of_its_own_trades_today_alone(home: Path) -> None:
    remote = TradingContext(Settings(), "paper", object(), ledger=None)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="has a real clock"):
        trade_through(remote, dt.date(2024, 3, 4))
