"""Stage shadow rehearses whole days: orders, fills, stops, exits and profit are the simulation's, and nothing is sent."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kobe_jobs.trading.account import AccountView, look_at_account, simulated_curve
from kobe_jobs.trading.context import TradingContext, open_session, open_trading_context
from kobe_jobs.trading.on_record import ledger_to_look_at
from kobe_jobs.trading.reconcile.compare import reconcile_account
from kobe_jobs.trading.reporting.summary import RunSummary
from kobe_jobs.trading.through import gap_between, trade_through
from kobe_resources.errors import UsageError
from kobe_resources.order_ledger import OrderLedger
from kobe_resources.settings.models import Settings
from kobe_resources.settings.secrets import Secrets
from kobe_resources.warehouse.store import Warehouse
from tests.support.builders.traded_home import BEFORE_THE_END, market_settings


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
    with pytest.raises(UsageError, match="keeps its own time"):
        trade_through(remote, dt.date(2024, 3, 4))
