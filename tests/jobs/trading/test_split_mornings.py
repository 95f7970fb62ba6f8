"""Stops through a split whose evening run was missed: any run before the open lifts them, judged from the broker's book."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kobe_jobs.trading import run_steps
from kobe_jobs.trading.bare_positions import find_unguarded, still_lifted
from kobe_jobs.trading.context import MarketShut
from kobe_jobs.trading.market_snapshot import Split
from kobe_jobs.trading.readiness.preflight import preflight
from kobe_jobs.trading.session import trade_session
from kobe_resources.broker.exchange.bars import ExchangeSplit
from kobe_resources.broker.protocol import Clock
from kobe_resources.kill_switch import KillSwitchOn
from kobe_resources.order_ledger import OrderLedger
from kobe_resources.order_ledger.positions import open_positions
from kobe_resources.settings.secrets import Secrets
from tests.jobs.trading import test_moments
from tests.jobs.trading.test_moments import ACCOUNT, DAY_BEFORE, EXIT_DAY, Day, at
from tests.support.builders import small_market as market

SPLIT = "S00"
template = test_moments.template
SNAPSHOT = dataclasses.replace(market.make_snapshot(), splits={SPLIT: (Split(SPLIT, EXIT_DAY, 1.0, 2.0),)})


@pytest.fixture
def day(tmp_path: Path, template: Path) -> Iterator[Day]:
    """The evening after the entry day, in which no run came; a stock that is held splits 2-for-1 over the night."""
    folder = tmp_path / "day"
    shutil.copytree(template, folder)
    with market.start_broker(folder, [ExchangeSplit(SPLIT, EXIT_DAY, 2.0)]) as embedded:
        day = Day(folder, embedded)
        assert day.stops()[SPLIT] == day.held()[SPLIT]
        yield day


def assert_followed(day: Day, entered: tuple[float, float]) -> None:
    """A run after the open sets every stop, that of the split stock for twice the shares at half the price of `entered`."""
    with rig_at(day, entry="opg") as rig:
        after = trade_session(rig)
        assert after.is_clean, after
    assert stop_of(day) == (entered[0] * 2, pytest.approx(entered[1] / 2, abs=0.01))
    assert day.stops() == day.held()


def stop_of(day: Day) -> tuple[float, float] | None:
    """(shares, price) of the stop of the split stock in the broker's book."""
    rows = day.embedded.book.state.rows(
        "SELECT qty, stop_price FROM orders WHERE kind = 'stop' AND symbol = ? AND status IN ('new', 'accepted')", (SPLIT,)
    )
    assert len(rows) <= 1
    return (rows[0]["qty"], rows[0]["stop_price"]) if rows else None


@contextlib.contextmanager
def rig_at(day: Day, now: dt.datetime | None = None, entry: str = "ioc", **changes: Any) -> Iterator[Any]:
    """A run's tools whose broker says that it is `now`, and that the market is shut."""
    settings = market.make_settings(entry)
    adapter = market.speak_to(day.embedded.url, settings)

    class Elsewhen:
        def __getattr__(self, name: str) -> Any:
            return getattr(adapter, name)

        def clock(self) -> Clock:
            clock = adapter.clock()
            return clock if now is None else dataclasses.replace(clock, timestamp=now, is_open=False)

    rig = market.make_context(day.folder, Elsewhen(), settings, SNAPSHOT, **changes)  # type: ignore[arg-type]
    with contextlib.closing(rig.ledger), contextlib.closing(adapter):
        yield rig


def test_in_the_session_before_a_split_the_stop_is_one_of_the_day_so_that_no_other_run_has_to_come(day: Day) -> None:
    entered, held = stop_of(day), day.held()
    with rig_at(day) as rig:
        summary = trade_session(rig)
        assert summary.is_clean, summary
        assert f"{SPLIT} splits at the open of {EXIT_DAY}: its stop ends with the close before it" in str(summary.notes)
    rows = day.embedded.book.state.rows("SELECT symbol, time_in_force FROM orders WHERE kind = 'stop' AND status = 'new'")
    assert {row["symbol"] for row in rows if row["time_in_force"] == "day"} == {SPLIT}
    assert stop_of(day) == entered
    assert day.stops() == held
    with rig_at(day) as rig:
        assert trade_session(rig).is_clean
        assert stop_of(day) == entered, "one is enough"
        missing = "UPDATE orders SET status = 'canceled' WHERE kind = 'stop' AND status = 'new' AND symbol = ?"
        day.embedded.book.state.run(missing, (SPLIT,))
        assert SPLIT in str(find_unguarded(rig.ledger, ACCOUNT, rig.broker)), "until the close it is missed"
        assert trade_session(rig).is_clean
        assert stop_of(day) == entered
    day.to("after", DAY_BEFORE)
    assert stop_of(day) is None
    with rig_at(day) as rig:
        assert find_unguarded(rig.ledger, ACCOUNT, rig.broker) == []
    day.to("open")
    with rig_at(day) as rig:
        assert trade_session(rig).is_clean
    assert entered is not None
    assert stop_of(day) == (entered[0] * 2, pytest.approx(entered[1] / 2, abs=0.01))


SHUT_HOURS = {
    "the morning, without orders for the open": (None, "ioc"),
    "the morning, with orders for the open": (None, "opg"),
    "the last two minutes, when the auction takes no more": (at(EXIT_DAY, 9, 29), "opg"),
    "the small hours": (at(EXIT_DAY, 0, 30), "ioc"),
}


@pytest.mark.parametrize("name", SHUT_HOURS)
def test_any_run_before_the_open_lifts_the_stop_and_the_first_one_after_it_sets_it_anew(day: Day, name: str) -> None:
    now, entry = SHUT_HOURS[name]
    entered = stop_of(day)
    day.to("pre_open")
    with rig_at(day, now, entry) as rig:
        before = trade_session(rig)
        assert before.is_clean, before
        assert f"{SPLIT} has no stop until the open of {EXIT_DAY}" in str(before.notes)
        assert find_unguarded(rig.ledger, ACCOUNT, rig.broker) == []
        lines = {line.name: line for line in preflight(rig, Secrets(_env_file=None))}  # type: ignore[call-arg]
        assert lines["splits"].ok
        assert "its stop is gone by then" in lines["splits"].seen
    assert stop_of(day) is None
    assert set(day.stops()) == set(day.held()) - ({SPLIT, *market.LEAVING} if now is None and entry == "opg" else {SPLIT})
    with rig_at(day, now, entry) as rig:
        assert trade_session(rig).is_clean, "harmless to repeat"
    day.to("open")
    with rig_at(day, entry=entry) as rig:
        after = trade_session(rig)
        assert after.is_clean, after
        assert still_lifted(rig.ledger, ACCOUNT) == []
    assert entered is not None
    assert stop_of(day) == (entered[0] * 2, pytest.approx(entered[1] / 2, abs=0.01))
    day.to("after")
    assert day.held()[SPLIT] == entered[0] * 2, "the old price sold nothing"


def test_a_split_that_the_broker_books_late_halts_no_entries_before_the_open(day: Day) -> None:
    entered = stop_of(day)
    assert entered is not None
    day.to("pre_open")
    day.embedded.book.state.run("UPDATE positions SET qty = qty / 2 WHERE symbol = ?", (SPLIT,))
    for _ in range(2):
        with rig_at(day, entry="opg") as rig:
            before = trade_session(rig)
            assert before.is_clean, before
            assert before.working > 0
            assert f"the broker has not booked the split of {SPLIT} yet" in str(before.notes)
            lines = {line.name: line for line in preflight(rig, Secrets(_env_file=None))}  # type: ignore[call-arg]
            assert lines["positions"].ok, lines["positions"]
        assert stop_of(day) is None
    day.to("open")
    with rig_at(day, entry="opg") as rig:
        late = trade_session(rig)
        assert f"position {SPLIT}: ledger" in late.halted
        assert "has not booked the split yet" in late.halted
    day.embedded.book.state.run("UPDATE positions SET qty = qty * 2 WHERE symbol = ?", (SPLIT,))
    assert_followed(day, entered)


@pytest.mark.parametrize("phase", ["after", "evening"])
def test_a_split_that_the_broker_books_the_evening_before_is_followed_and_halts_nothing(day: Day, phase: Any) -> None:
    entered = stop_of(day)
    assert entered is not None
    day.to(phase, DAY_BEFORE)
    day.embedded.book.state.run("UPDATE positions SET qty = qty * 2 WHERE symbol = ?", (SPLIT,))
    with rig_at(day, entry="opg") as rig:
        before = trade_session(rig)
        assert before.is_clean, before
        assert f"{SPLIT} has no stop until the open of {EXIT_DAY}" in str(before.notes)
        held = {p.symbol: p.qty for p in open_positions(rig.ledger, ACCOUNT)}
        assert held[SPLIT] == entered[0] * 2
    assert stop_of(day) is None
    day.to("open")
    day.embedded.book.state.run("UPDATE positions SET qty = qty / 2 WHERE symbol = ?", (SPLIT,))
    assert_followed(day, entered)


def test_over_a_weekend_the_stop_is_lifted_for_the_session_to_come(day: Day) -> None:
    day.to("after", DAY_BEFORE)
    saturday = dt.date(2024, 3, 9)
    monday = dataclasses.replace(SNAPSHOT, splits={SPLIT: (Split(SPLIT, saturday, 1.0, 2.0),)})
    with rig_at(day, at(saturday, 12, 0)) as rig:
        summary = trade_session(dataclasses.replace(rig, snapshot=monday), dt.date(2024, 3, 11))
        assert f"{SPLIT} has no stop until the open of 2024-03-11" in str(summary.notes)
    assert stop_of(day) is None


def test_with_the_kill_switch_on_the_stop_is_lifted_and_set_again(day: Day) -> None:
    with rig_at(day) as rig:
        rig.kill_switch.turn_on("testing")
        trade_session(rig)
    resting = day.embedded.book.state.rows(
        "SELECT time_in_force AS tif FROM orders WHERE symbol = ? AND kind = 'stop'", (SPLIT,)
    )
    assert [row["tif"] for row in resting] == ["gtc"], "nothing is put in the place of what protects"
    day.to("pre_open")
    with rig_at(day, entry="opg") as rig:
        with pytest.raises(KillSwitchOn):
            trade_session(rig)
        assert stop_of(day) is None
        day.to("open")
        with pytest.raises(KillSwitchOn):
            trade_session(rig)
    assert stop_of(day) is not None
    assert day.stops() == day.held()


def test_a_switch_thrown_in_the_middle_of_a_run_stops_that_run_and_the_next_one_protects(
    day: Day, monkeypatch: pytest.MonkeyPatch
) -> None:
    with rig_at(day) as rig:
        trade_session(rig)
    day.to("open")
    with rig_at(day) as rig:
        monkeypatch.setattr(run_steps, "follow_renames", lambda _: rig.kill_switch.turn_on("testing"))
        assert "kill switch" in trade_session(rig).halted
        assert stop_of(day) is None
        with pytest.raises(KillSwitchOn):
            trade_session(rig)
    assert day.stops() == day.held()


def test_stale_signals_do_not_keep_the_stop_from_being_lifted(day: Day) -> None:
    day.to("pre_open")
    with rig_at(day, entry="opg") as rig:
        late = dataclasses.replace(rig, snapshot=dataclasses.replace(SNAPSHOT, computed=frozenset()))
        with pytest.raises(Exception, match="stale_signal"):
            trade_session(late)
    assert stop_of(day) is None


@pytest.mark.parametrize(("shares", "lifts"), [(1, True), (3, False)])
def test_a_stop_is_not_touched_where_shares_differ_for_another_reason_than_the_split(
    day: Day, shares: int, lifts: bool
) -> None:
    """The broker may split a position later than midnight; anything else is a difference that a person looks at first."""
    day.to("pre_open")
    day.embedded.book.state.run("UPDATE positions SET qty = qty / 2 * ? WHERE symbol = ?", (shares, SPLIT))
    with rig_at(day) as rig:
        summary = trade_session(rig)
    assert (stop_of(day) is None) == lifts
    assert summary.is_clean == lifts
    assert lifts or f"differ on {SPLIT}" in str(summary.halted)


def test_before_the_open_a_stop_that_is_gone_is_set_and_nothing_is_traded(day: Day) -> None:
    day.to("pre_open")
    bare = next(symbol for symbol in day.stops() if symbol != SPLIT)
    day.embedded.book.state.run("UPDATE orders SET status = 'canceled' WHERE kind = 'stop' AND symbol = ?", (bare,))
    summary = day.run("ioc", snapshot=SNAPSHOT)
    assert "the market is shut until 2024-03-07 14:30 UTC: only its protection was looked after" in str(summary.notes)
    assert summary.untraded == "the market is shut until 2024-03-07 14:30 UTC"
    assert set(day.stops()) == set(day.held()) - {SPLIT}
    assert (day.orders(), day.ledger_state()[0]) == ([], "")


def test_before_the_open_there_is_nothing_to_do_where_nothing_is_held(tmp_path: Path) -> None:
    with market.start_broker(tmp_path) as embedded:
        embedded.advance_to(market.ENTRY_DAY, "pre_open")
        with pytest.raises(MarketShut, match="the market is shut at"):
            Day(tmp_path, embedded).run("ioc")
        with OrderLedger(tmp_path / "orders.sqlite") as ledger:
            assert ledger.rows("SELECT count(*) FROM session_claims")[0][0] == 0
