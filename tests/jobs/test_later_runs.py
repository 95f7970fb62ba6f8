"""The sensors ask for each moment of a session: before the open, after it, while orders work, and before a split."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from kobe_jobs import trading_job
from kobe_jobs.trading.due_runs import auction_session, bare_after_split, splits_ahead, why_unfinished
from kobe_jobs.trading_job import orders_working, signals_landed
from kobe_resources.calendar import NEW_YORK
from kobe_resources.kill_switch import KillSwitch
from kobe_resources.order_ledger import OrderLedger
from kobe_resources.order_ledger import orders as book
from kobe_resources.order_ledger.positions import enter
from kobe_resources.order_ledger.sessions import DONE, HALTED, claim_session, end_session
from kobe_resources.settings.models import Settings
from kobe_resources.warehouse.store import Warehouse
from tests.jobs.test_trading_job import land_signals
from tests.support.builders.trading import order_plan

TUESDAY, WEDNESDAY, THURSDAY = (dt.date(2024, 3, day) for day in (5, 6, 7))
ACCOUNT = "paper:PA1"


def at(day: dt.date, hour: int, minute: int) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(hour, minute), NEW_YORK).astimezone(dt.UTC)


def paper(entry: str = "opg") -> Settings:
    return Settings(broker={"stage": "paper"}, execution={"entry": entry})


def ask(sensor: Any, instance: dg.DagsterInstance, settings: Settings, cursor: str | None = None) -> Any:
    with dg.build_sensor_context(instance=instance, cursor=cursor, resources={"settings": settings}) as context:
        return sensor(context)


def begin(home: Path, seen: dt.datetime, state: str = HALTED, working: bool = False) -> None:
    """A session that a run has begun, and looked at last at `seen`."""
    with OrderLedger(home / "orders.sqlite") as ledger, ledger.write() as write:
        claim_session(write, ACCOUNT, WEDNESDAY, "rsi2", "me")
        end_session(write, ACCOUNT, WEDNESDAY, state, "waits")
        write.execute("UPDATE session_claims SET ended_at = ?", (seen.isoformat(),))
        if working:
            planned = book.plan(write, order_plan(account=ACCOUNT, session=WEDNESDAY, time_in_force="day"))
            write.execute("UPDATE intents SET state = 'ACCEPTED' WHERE client_order_id = ?", (planned.client_order_id,))


@pytest.mark.parametrize(
    ("now", "session"),
    [
        (at(TUESDAY, 18, 59), None),
        (at(TUESDAY, 19, 0), WEDNESDAY),
        (at(WEDNESDAY, 9, 27), WEDNESDAY),
        (at(WEDNESDAY, 9, 28), None),
        (at(dt.date(2024, 3, 9), 12, 0), dt.date(2024, 3, 11)),
    ],
)
def test_the_auction_of_the_coming_session_takes_orders_from_the_evening_on(now: dt.datetime, session: dt.date | None) -> None:
    assert auction_session(now) == session


@pytest.mark.parametrize(("entry", "asks"), [("opg", True), ("ioc", False)])
def test_signals_of_the_evening_ask_for_the_run_before_the_open(
    instance: dg.DagsterInstance, home: Path, monkeypatch: pytest.MonkeyPatch, entry: str, asks: bool
) -> None:
    monkeypatch.setattr(trading_job, "_now", lambda: at(TUESDAY, 20, 0))
    land_signals(instance)
    answer = ask(signals_landed, instance, paper(entry), "0")
    if asks:
        assert answer.run_key == "trade:paper:2024-03-06"
    else:
        assert "shut" in answer.skip_message


STATES = {
    "before the open nothing more is due": (at(WEDNESDAY, 9, 29), at(WEDNESDAY, 9, 0), HALTED, True, ""),
    "after the open what went out before it is looked at": (at(WEDNESDAY, 9, 31), at(WEDNESDAY, 9, 0), HALTED, False, "open"),
    "while orders work they are tended": (at(WEDNESDAY, 12, 0), at(WEDNESDAY, 11, 58), HALTED, True, "1 orders work"),
    "a session that is done is left alone": (at(WEDNESDAY, 12, 0), at(WEDNESDAY, 11, 58), DONE, False, ""),
    "after the close the last look is due": (at(WEDNESDAY, 16, 5), at(WEDNESDAY, 15, 58), HALTED, True, "close"),
    "and only once": (at(WEDNESDAY, 16, 30), at(WEDNESDAY, 16, 6), HALTED, True, ""),
}


@pytest.mark.parametrize("name", STATES)
def test_a_session_that_was_begun_is_brought_to_its_end(
    instance: dg.DagsterInstance, home: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    now, seen, state, working, why = STATES[name]
    begin(home, seen, state, working)
    monkeypatch.setattr(trading_job, "_now", lambda: now)
    answer = ask(orders_working, instance, paper())
    if why:
        assert why in why_unfinished("paper", WEDNESDAY, now)
        assert answer.run_config["ops"]["trade"]["config"]["session"] == "2024-03-06"
    else:
        assert isinstance(answer, dg.SkipReason)


def test_a_live_session_that_nobody_confirmed_is_left_to_a_person(home: Path) -> None:
    begin(home, at(WEDNESDAY, 9, 0))
    assert why_unfinished("live", WEDNESDAY, at(WEDNESDAY, 10, 0)) == ""


def test_the_evening_before_a_split_of_something_held_asks_for_a_run(
    instance: dg.DagsterInstance, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = at(WEDNESDAY, 20, 0)
    with OrderLedger(home / "orders.sqlite") as ledger, ledger.write() as write:
        planned = book.plan(write, order_plan(account=ACCOUNT))
        enter(write, planned, Decimal(1), Decimal(60))
    with Warehouse().transaction() as connection:
        connection.execute("INSERT INTO splits VALUES ('KO', DATE '2024-03-07', 1, 2, 'test')")
    assert splits_ahead("paper", now) == (WEDNESDAY, ["KO"])
    assert splits_ahead("paper", at(WEDNESDAY, 12, 0)) is None
    assert splits_ahead("paper", at(THURSDAY, 20, 0)) is None
    # Where that run was missed, any hour before the open will do: the run is then the coming session's.
    for morning in (at(THURSDAY, 0, 5), at(THURSDAY, 9, 29)):
        assert splits_ahead("paper", morning) == (THURSDAY, ["KO"])
    assert splits_ahead("paper", at(THURSDAY, 9, 30)) is None
    monkeypatch.setattr(trading_job, "_now", lambda: now)
    assert ask(orders_working, instance, paper("ioc")).run_key == "trade:paper:2024-03-06"
    # A run that failed to lift it is followed by another one, after a pause.
    tags = {"kobe/stage": "paper", "kobe/session": "2024-03-06"}
    instance.add_run(dg.DagsterRun(job_name="trade_session", tags=tags, status=dg.DagsterRunStatus.FAILURE))
    assert "asked for again in" in ask(orders_working, instance, paper("ioc")).skip_message
    monkeypatch.setattr(trading_job, "_now", lambda: dt.datetime.now(dt.UTC) + dt.timedelta(minutes=2))
    monkeypatch.setattr("kobe_jobs.trading.due_runs.splits_ahead", lambda *_: (WEDNESDAY, ["KO"]))
    assert ask(orders_working, instance, paper("ioc")).run_key == "trade:paper:2024-03-06:2"


def test_a_stop_that_was_lifted_for_a_split_asks_for_no_other_run(home: Path) -> None:
    with OrderLedger(home / "orders.sqlite") as ledger, ledger.write() as write:
        planned = book.plan(write, order_plan(account=ACCOUNT))
        enter(write, planned, Decimal(1), Decimal(60))
        write.audit("stop_lifted", position=planned.client_order_id, symbol="KO", until=THURSDAY)
    with Warehouse().transaction() as connection:
        connection.execute("INSERT INTO splits VALUES ('KO', DATE '2024-03-07', 1, 2, 'test')")
    assert splits_ahead("paper", at(WEDNESDAY, 20, 0)) is None
    assert splits_ahead("paper", at(THURSDAY, 8, 0)) is None


def test_a_split_of_a_weekend_asks_for_the_run_of_monday(home: Path) -> None:
    with OrderLedger(home / "orders.sqlite") as ledger, ledger.write() as write:
        enter(write, book.plan(write, order_plan(account=ACCOUNT)), Decimal(1), Decimal(60))
    with Warehouse().transaction() as connection:
        connection.execute("INSERT INTO splits VALUES ('KO', DATE '2024-03-09', 1, 2, 'test')")
    assert splits_ahead("paper", at(dt.date(2024, 3, 9), 12, 0)) == (dt.date(2024, 3, 11), ["KO"])
    assert splits_ahead("paper", at(dt.date(2024, 3, 8), 20, 0)) == (dt.date(2024, 3, 8), ["KO"])


def test_a_stop_that_is_not_back_after_its_split_asks_for_a_run_even_with_the_kill_switch_on(
    instance: dg.DagsterInstance, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    KillSwitch().turn_on("testing")
    with OrderLedger(home / "orders.sqlite") as ledger, ledger.write() as write:
        held = book.plan(write, order_plan(account=ACCOUNT))
        enter(write, held, Decimal(1), Decimal(60))
        write.audit("stop_lifted", position=held.client_order_id, symbol="KO", until=THURSDAY)
    assert bare_after_split("paper", at(THURSDAY, 9, 29)) is None
    assert bare_after_split("paper", at(THURSDAY, 10, 0)) == (THURSDAY, ["KO"])
    monkeypatch.setattr(trading_job, "_now", lambda: at(THURSDAY, 10, 0))
    assert ask(orders_working, instance, paper("ioc")).run_key == "trade:paper:2024-03-07"
    with OrderLedger(home / "orders.sqlite") as ledger, ledger.write() as write:
        stop = order_plan(account=ACCOUNT, tag="stop", kind="stop", side="sell", position_id=held.client_order_id)
        planned = book.plan(write, stop)
        write.execute("UPDATE intents SET acknowledged = 1 WHERE client_order_id = ?", (planned.client_order_id,))
    assert bare_after_split("paper", at(THURSDAY, 10, 0)) is None
