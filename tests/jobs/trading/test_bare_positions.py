"""Health names a position that lost its stop after the session, asked of the broker of the stage; it imports no strategy."""

from __future__ import annotations

import dataclasses
import datetime as dt
import subprocess
import sys
from pathlib import Path

import pytest

from kobe_jobs.ops.health import checks
from kobe_jobs.ops.health.checks import ask_protection
from kobe_jobs.trading.bare_positions import ask_broker_state
from kobe_jobs.trading.context import TradingContext, open_session
from kobe_jobs.trading.protection import judge
from kobe_jobs.trading.reconcile.compare import compare, reconcile_account
from kobe_jobs.trading.run_lock import trading_lock
from kobe_jobs.trading.session import trade_session
from kobe_resources.broker.exchange.embedded import EmbeddedBroker
from kobe_resources.settings.models import Settings
from tests.jobs.trading.test_resuming import Around, Died
from tests.jobs.trading.test_session import second_day


@pytest.fixture
def settings(rig: TradingContext, embedded: EmbeddedBroker) -> Settings:
    """A traded session at a broker that is reached by its address."""
    trade_session(rig)
    return rig.settings.model_copy(update={"broker": rig.settings.broker.model_copy(update={"base_url": embedded.url})})


def lose_a_stop(rig: TradingContext, embedded: EmbeddedBroker) -> str:
    stop = next(order for order in rig.broker.orders("open") if order.kind == "stop")
    embedded.book.cancel(stop.id)
    return stop.symbol


def test_every_position_behind_its_stop_is_well(settings: Settings) -> None:
    answer = ask_protection(settings)
    assert answer.ok
    assert answer.metrics == {"positions_unguarded": 0}


def test_a_stop_lost_after_the_session_is_named_with_the_mend(
    settings: Settings, rig: TradingContext, embedded: EmbeddedBroker
) -> None:
    symbol = lose_a_stop(rig, embedded)
    answer = ask_protection(settings)
    assert not answer.ok
    assert f"{symbol} has no protective stop" in answer.seen
    assert "`kobe trade`" in answer.seen
    assert answer.metrics == {"positions_unguarded": 1}


@pytest.mark.parametrize("left", [0, 1])
def test_reconciliation_is_the_mend_where_the_shares_differ(
    settings: Settings, rig: TradingContext, embedded: EmbeddedBroker, left: int
) -> None:
    symbol = next(order for order in rig.broker.orders("open") if order.kind == "stop").symbol
    change = "UPDATE positions SET qty = 1 WHERE symbol = ?" if left else "DELETE FROM positions WHERE symbol = ?"
    embedded.book.state.run(change, (symbol,))
    answer = ask_protection(settings)
    assert not answer.ok
    assert symbol in answer.seen
    assert "`kobe reconcile`" in answer.seen
    assert "`kobe trade`" not in answer.seen, "no run touches the stop of what differs"


def test_a_stop_whose_cancel_is_under_way_protects_no_more(
    settings: Settings, rig: TradingContext, embedded: EmbeddedBroker
) -> None:
    stop = next(order for order in rig.broker.orders("open") if order.kind == "stop")
    embedded.book.state.run("UPDATE orders SET status = 'pending_cancel' WHERE id = ?", (stop.id,))
    assert stop.symbol in ask_protection(settings).seen


@pytest.mark.parametrize("change", ["status = 'canceled'", "stop_price = stop_price / 2", "qty = qty - 1", "side = 'buy'"])
def test_health_reconciliation_and_the_run_call_the_same_position_bare(
    settings: Settings, rig: TradingContext, embedded: EmbeddedBroker, change: str
) -> None:
    stop = next(order for order in rig.broker.orders("open") if order.kind == "stop" and order.qty > 1)
    embedded.book.state.run(f"UPDATE orders SET {change} WHERE id = ?", (stop.id,))
    context = open_session(rig, "rsi2")
    bare = {row.what for row in compare(context, promote=False, stops=True).differences if row.kind == "stop"}
    found = judge(context, ask_broker_state(rig.broker, rig.ledger, context.account))
    assert bare == {*found.bare, *found.orphans} == {stop.symbol}
    assert f"{stop.symbol} has no protective stop" in ask_protection(settings).seen


def test_an_exit_that_a_killed_run_never_sent_excuses_no_missing_stop(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    second_day(rig, embedded)

    class Dying(Around):
        def submit(self, *_: object) -> None:
            raise Died

    with pytest.raises(Died):
        trade_session(dataclasses.replace(rig, broker_or_error=Dying(rig)))  # type: ignore[arg-type]
    found = reconcile_account(open_session(rig, "rsi2"), "test")
    assert [(row.kind, row.what) for row in found.differences if row.halts] == [("stop", "S01")]


def test_while_a_run_is_at_work_it_is_the_run_that_protects(
    settings: Settings, rig: TradingContext, embedded: EmbeddedBroker
) -> None:
    lose_a_stop(rig, embedded)
    with trading_lock(rig.ledger):
        assert "a run is at work" in ask_protection(settings).seen
    assert not ask_protection(settings).ok


def test_a_run_at_work_that_hangs_excuses_no_missing_stop(
    settings: Settings, rig: TradingContext, embedded: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    symbol = lose_a_stop(rig, embedded)
    monkeypatch.setattr(checks, "QUIET_AT_MOST", dt.timedelta(0))
    with trading_lock(rig.ledger):
        answer = ask_protection(settings)
    assert not answer.ok
    assert all(words in answer.seen for words in (symbol, "has written nothing", "`kobe trade`"))


def test_a_home_that_never_traded_is_asked_nothing(home: Path) -> None:
    assert ask_protection(Settings(broker={"stage": "paper"})).seen == "nothing is held"
    assert not home.exists()


def test_the_question_imports_no_strategy() -> None:
    code = (
        "import sys, kobe_jobs.trading.bare_positions, kobe_jobs.trading.known_heads\n"
        "sys.exit(any('strateg' in name for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
