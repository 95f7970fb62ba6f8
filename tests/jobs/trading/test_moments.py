"""The moments of a session: before the open auction and limit orders go out, after it they are resolved and protected."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kobe_assets.research.strategies import STRATEGIES
from kobe_jobs.trading.bare_positions import find_lifted, find_unguarded
from kobe_jobs.trading.context import SessionContext, open_session
from kobe_jobs.trading.market_snapshot import MarketSnapshot, Split
from kobe_jobs.trading.moments import RunMoment, stand_of
from kobe_jobs.trading.reconcile.compare import reconcile_account
from kobe_jobs.trading.reporting.summary import RunSummary
from kobe_jobs.trading.session import trade_session
from kobe_resources.broker.exchange.embedded import EmbeddedBroker
from kobe_resources.broker.protocol import Clock, TradingDay
from kobe_resources.calendar import NEW_YORK
from kobe_resources.order_ledger import OrderLedger
from kobe_resources.order_ledger import orders as book
from kobe_resources.order_ledger.positions import open_positions
from kobe_resources.order_ledger.sessions import claim_of
from tests.support.builders import small_market as market
from tests.support.builders.replay_market import with_limit
from tests.support.drivers import crash_child

ACCOUNT = "simulated:PA0EMBEDDED0"
DAY_BEFORE, EXIT_DAY = market.ENTRY_DAY, market.EXIT_DAY


def days_of(*days: dt.date) -> list[TradingDay]:
    return [TradingDay(day, at(day, 9, 30), at(day, 16, 0)) for day in days]


def at(day: dt.date, hour: int, minute: int) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(hour, minute), NEW_YORK).astimezone(dt.UTC)


FRIDAY, MONDAY, TUESDAY = dt.date(2024, 3, 8), dt.date(2024, 3, 11), dt.date(2024, 3, 12)


@pytest.mark.parametrize(
    ("day", "hour", "minute", "session", "moment"),
    [
        (FRIDAY, 18, 59, FRIDAY, RunMoment.AFTER_CLOSE),
        (FRIDAY, 19, 0, MONDAY, RunMoment.BEFORE_OPEN),
        (dt.date(2024, 3, 9), 12, 0, MONDAY, RunMoment.BEFORE_OPEN),
        (MONDAY, 9, 27, MONDAY, RunMoment.BEFORE_OPEN),
        (MONDAY, 9, 28, MONDAY, RunMoment.SHUT),
        (MONDAY, 9, 30, MONDAY, RunMoment.OPEN),
        (MONDAY, 16, 0, MONDAY, RunMoment.AFTER_CLOSE),
    ],
)
def test_a_run_stands_in_the_session_and_moment_of_the_clock(
    day: dt.date, hour: int, minute: int, session: dt.date, moment: RunMoment
) -> None:
    now = at(day, hour, minute)
    is_open = day in (FRIDAY, MONDAY) and at(day, 9, 30) <= now < at(day, 16, 0)
    stand = stand_of(Clock(now, is_open, now, now), days_of(dt.date(2024, 3, 7), FRIDAY, MONDAY, TUESDAY), before_open=True)
    assert stand is not None
    assert (stand.hours.session, stand.moment) == (session, moment)


class Day:
    """A folder in which the entry day was traded at the quote; the runs of the exit day go out by auction."""

    def __init__(self, folder: Path, embedded: EmbeddedBroker) -> None:
        self.folder, self.embedded = folder, embedded

    def run(self, entry: str = "opg", **changes: Any) -> RunSummary:
        settings = market.make_settings(entry)
        adapter = market.speak_to(self.embedded.url, settings)
        rig = market.make_context(self.folder, adapter, settings, **changes)
        try:
            return trade_session(rig)
        finally:
            rig.ledger.close()
            adapter.close()

    @contextlib.contextmanager
    def looking(self, snapshot: MarketSnapshot) -> Iterator[SessionContext]:
        settings = market.make_settings()
        adapter = market.speak_to(self.embedded.url, settings)
        rig = market.make_context(self.folder, adapter, settings, snapshot)
        with contextlib.closing(rig.ledger), contextlib.closing(adapter):
            yield open_session(rig, "rsi2", any_day=True)

    def to(self, phase: Any, session: dt.date = EXIT_DAY) -> None:
        self.embedded.advance_to(session, phase)

    def orders(self, session: dt.date = EXIT_DAY) -> list[tuple[str, str, str, str]]:
        with OrderLedger(self.folder / "orders.sqlite") as ledger:
            found = book.of_session(ledger, ACCOUNT, session)
        return [(i.symbol, i.tag, i.time_in_force, str(i.state)) for i in found if i.purpose != book.STOP and i.posts]

    def stops(self) -> dict[str, float]:
        rows = self.embedded.book.state.rows(
            "SELECT symbol, qty - filled_qty AS rest FROM orders WHERE kind = 'stop' AND status IN ('new', 'accepted')"
        )
        return {row["symbol"]: row["rest"] for row in rows}

    def held(self) -> dict[str, float]:
        return {row["symbol"]: row["qty"] for row in self.embedded.book.state.positions()}

    def ledger_state(self) -> tuple[str, dict[str, float]]:
        with OrderLedger(self.folder / "orders.sqlite") as ledger:
            claim = claim_of(ledger, ACCOUNT, EXIT_DAY)
            held = {p.symbol: float(p.qty) for p in open_positions(ledger, ACCOUNT)}
            assert ledger.verify_audit().holds
        return claim.state if claim else "", held


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The entry day traded, its close and evening not reached yet."""
    folder = tmp_path_factory.mktemp("moments")
    settings = market.make_settings()
    with market.start_broker(folder) as embedded:
        embedded.advance_to(DAY_BEFORE, "open")
        adapter = market.speak_to(embedded.url, settings)
        rig = market.make_context(folder, adapter, settings)
        assert trade_session(rig).is_clean
        rig.ledger.close()
        adapter.close()
    return folder


@pytest.fixture
def day(tmp_path: Path, template: Path) -> Iterator[Day]:
    folder = tmp_path / "day"
    shutil.copytree(template, folder)
    with market.start_broker(folder) as embedded:
        yield Day(folder, embedded)


@pytest.mark.parametrize(("session", "phase"), [(DAY_BEFORE, "evening"), (EXIT_DAY, "pre_open")])
def test_exits_and_entries_go_into_the_auction_and_are_protected_after_it(day: Day, session: dt.date, phase: Any) -> None:
    day.to(phase, session)
    before = day.run()
    assert before.is_clean, before
    assert (before.session, before.working, before.submitted) == (EXIT_DAY, before.submitted, before.submitted)
    sent = day.orders()
    assert {(symbol, tag) for symbol, tag, _, _ in sent} >= {(symbol, "exit") for symbol in market.LEAVING}
    assert {(tif, state) for _, _, tif, state in sent} == {("opg", "ACCEPTED")}
    assert set(day.stops()) == set(day.held()) - set(market.LEAVING)
    assert day.ledger_state()[0] == "halted"
    again = day.run()
    assert again.is_clean
    assert day.orders() == sent
    day.to("open")
    after = day.run()
    assert after.is_clean, after
    assert {state for *_, state in day.orders()} == {"FILLED"}
    assert day.stops() == day.held() == day.ledger_state()[1]
    assert not set(market.LEAVING) & set(day.held())
    assert day.ledger_state()[0] == "done"


def test_what_paper_lets_expire_leaves_at_the_quote_and_is_protected_meanwhile(day: Day) -> None:
    day.embedded.faults.add({"settings": {"auction_share": 0.0}})
    day.to("pre_open")
    day.run()
    day.to("open")
    after = day.run()
    assert after.is_clean, after
    ended = day.orders()
    assert [
        (tag, tif, state) for symbol, tag, tif, state in ended if symbol == market.LEAVING[0] and tag.startswith("exit")
    ] == [
        ("exit", "opg", "EXPIRED"),
        ("exit.2", "ioc", "FILLED"),
    ]
    assert {state for _, tag, tif, state in ended if tag == "entry"} == {"EXPIRED"}
    assert day.stops() == day.held() == day.ledger_state()[1]


def test_an_auction_that_was_missed_sells_at_the_quote_and_buys_nothing(day: Day) -> None:
    day.to("open")
    after = day.run()
    assert after.is_clean, after
    assert {(tag, tif) for _, tag, tif, _ in day.orders()} == {("exit", "ioc")}
    assert after.refused["auction_over"] > 0
    assert day.stops() == day.held()


def test_an_exit_that_is_refused_in_the_auction_has_its_stop_again(day: Day) -> None:
    match = {"method": "POST", "path": "/v2/orders", "symbol": market.LEAVING[0]}
    day.embedded.faults.add({"kind": "not_tradable", "match": match})
    day.to("pre_open")
    before = day.run()
    assert before.is_clean, before
    assert set(day.stops()) == set(day.held()) - {market.LEAVING[1]}


def test_between_the_hours_of_the_auction_nothing_is_sent(day: Day) -> None:
    day.to("after", DAY_BEFORE)
    summary = day.run()
    assert "only its protection was looked after" in str(summary.notes)
    assert not summary.untraded, "the session is done"
    assert day.orders() == []


def test_limit_orders_work_through_the_day_and_each_fill_is_protected(day: Day, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STRATEGIES, "rsi2", with_limit(STRATEGIES["rsi2"], 0.1))
    day.to("pre_open")
    before = day.run("ioc")
    assert before.is_clean, before
    assert {(tag, tif, state) for _, tag, tif, state in day.orders()} == {("entry", "day", "ACCEPTED")}
    day.to("open")
    opened = day.run("ioc")
    assert opened.is_clean, opened
    assert opened.working == before.working > 0
    assert "work until the close" in str(opened.notes)
    assert not set(market.LEAVING) & set(day.held())
    day.to("midday")
    noon = day.run("ioc")
    assert noon.is_clean, noon
    assert noon.filled > 0
    assert day.stops() == day.held() == day.ledger_state()[1]
    day.to("after")
    last = day.run("ioc")
    assert last.is_clean, last
    assert last.working == 0
    assert day.ledger_state()[0] == "done"


def with_split(symbol: str, executed: dt.date) -> Any:
    made = market.make_snapshot()
    return dataclasses.replace(made, splits={symbol: (Split(symbol, executed, 1.0, 2.0),)})


def test_a_stop_is_lifted_the_evening_before_a_split_and_set_again_after_the_open(day: Day) -> None:
    kept = next(symbol for symbol in day.held() if symbol not in (*market.LEAVING, market.STOPPED))
    snapshot = with_split(kept, EXIT_DAY)
    assert snapshot.last_stored >= DAY_BEFORE, "stored bars do not say that the session is over: the broker's clock does"
    open_run = day.run("ioc", snapshot=snapshot)
    assert kept in day.stops()
    assert open_run.is_clean
    day.to("after", DAY_BEFORE)
    evening = day.run("ioc", snapshot=snapshot)
    assert evening.is_clean, evening
    assert kept not in day.stops()
    assert f"{kept} has no stop until the open of {EXIT_DAY}" in str(evening.notes)
    assert set(day.stops()) == set(day.held()) - {kept}
    assert day.run("ioc", snapshot=snapshot).is_clean
    with day.looking(snapshot) as context:
        found = reconcile_account(context, "by hand")
        assert found.agrees, found.describe()
        assert f"{kept} has no stop until the open of {EXIT_DAY}" in str(context.notes)
        assert find_unguarded(context.ledger, ACCOUNT, context.broker) == []
        assert find_lifted(context.ledger, ACCOUNT, context.broker) == {kept: EXIT_DAY}
    day.to("open")
    with day.looking(snapshot) as context:
        assert kept in str(find_unguarded(context.ledger, ACCOUNT, context.broker)), "the open is over, and so is the purpose"


def test_after_the_close_of_a_session_that_no_run_met_stops_are_set_and_nothing_is_traded(day: Day) -> None:
    day.to("after")
    bare = sorted(day.stops())[0]
    day.embedded.book.state.run("UPDATE orders SET status = 'canceled' WHERE kind = 'stop' AND symbol = ?", (bare,))
    assert bare not in day.stops()
    summary = day.run("ioc")
    assert summary.is_clean, summary
    assert f"session {EXIT_DAY} was not traded" in str(summary.notes)
    assert day.stops() == day.held()
    assert (day.orders(), day.ledger_state()[0]) == ([], "")


def test_an_entry_over_a_split_is_not_sent_the_evening_before(day: Day) -> None:
    coming = market.SECOND_ENTRIES[1]
    snapshot = with_split(coming, EXIT_DAY)
    day.to("evening", DAY_BEFORE)
    summary = day.run(snapshot=snapshot)
    assert summary.refused["split_ahead"] == 1
    assert coming not in {symbol for symbol, *_ in day.orders()}


def test_death_at_any_step_before_the_open_loses_nothing_and_doubles_nothing(tmp_path: Path, template: Path) -> None:
    dice = random.Random("moments")
    folder = tmp_path / "whole"
    shutil.copytree(template, folder)
    with market.start_broker(folder) as embedded:
        whole = Day(folder, embedded)
        steps, measure = _lived(whole, 0)
    for number in range(4):
        folder = tmp_path / f"scene-{number}"
        shutil.copytree(template, folder)
        with market.start_broker(folder) as embedded:
            die_at = dice.randint(1, steps)
            assert _lived(Day(folder, embedded), die_at)[1] == measure, f"died at {die_at} of {steps}"


@pytest.mark.parametrize(
    ("phase", "changes"), [("open", {"entry": "opg"}), ("midday", {"limit_atr": 0.1})], ids=["opg", "limit"]
)
def test_death_at_any_step_after_the_open_leaves_every_fill_to_the_next_run(
    tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch, phase: Any, changes: dict[str, Any]
) -> None:
    """What filled while no run was alive is booked and protected; the run that does so is killed, too."""
    if "limit_atr" in changes:
        monkeypatch.setitem(STRATEGIES, "rsi2", with_limit(STRATEGIES["rsi2"], changes["limit_atr"]))
    waiting = tmp_path / "waiting"
    shutil.copytree(template, waiting)
    with market.start_broker(waiting) as embedded:
        day = Day(waiting, embedded)
        day.to("pre_open")
        assert day.run(changes.get("entry", "ioc")).working > 0
    dice, steps, measure = random.Random(f"after {phase}"), 0, {}
    for number in range(3):
        folder = tmp_path / f"scene-{number}"
        shutil.copytree(waiting, folder)
        with market.start_broker(folder) as embedded:
            day = Day(folder, embedded)
            day.to(phase)
            die_at = dice.randint(1, steps) if number else 0
            for deadly in (die_at, 0) if number else (0,):
                process = crash_child.start(folder, embedded.url, deadly, **changes)
                process.join()
                assert process.exitcode == (-9 if deadly else 0)
            outcome = crash_child.outcome(folder)
            assert outcome["clean"], outcome
            steps, measure = (steps, measure) if number else (outcome["steps"], day.held())
            assert day.stops() == day.held() == day.ledger_state()[1] == measure, f"died at {die_at} of {steps}"
            ids = [row["client_order_id"] for row in embedded.book.state.rows("SELECT client_order_id FROM orders")]
            assert len(ids) == len(set(ids))


def _lived(day: Day, die_at: int) -> tuple[int, dict[str, float]]:
    """Both moments of the exit day, the first killed at a step and resumed; (steps of a whole run, what is held)."""
    day.to("pre_open")
    steps = 0
    for deadly in (die_at, 0) if die_at else (0,):
        process = crash_child.start(day.folder, day.embedded.url, deadly, entry="opg")
        process.join()
        assert process.exitcode == (-9 if deadly else 0)
        if not deadly:
            outcome = crash_child.outcome(day.folder)
            assert outcome["clean"], outcome
            steps = outcome["steps"]
    ids = [row["client_order_id"] for row in day.embedded.book.state.rows("SELECT client_order_id FROM orders")]
    assert len(ids) == len(set(ids))
    bought = [
        row["symbol"]
        for row in day.embedded.book.state.rows("SELECT symbol FROM orders WHERE time_in_force = 'opg' AND side = 'buy'")
    ]
    assert len(bought) == len(set(bought))
    rows = day.embedded.book.state.rows(
        "SELECT limit_price * qty AS worth FROM orders WHERE time_in_force = 'opg' AND side = 'buy'"
    )
    assert sum(row["worth"] for row in rows) <= market.BUDGET
    day.to("open")
    assert day.run().is_clean
    assert day.stops() == day.held() == day.ledger_state()[1]
    return steps, day.held()
