"""The executor alone: what counts as protection, what a duplicate proves, how often it asks."""

from __future__ import annotations

import dataclasses
from decimal import Decimal
from typing import Any

import pytest

from kobe_jobs.trading import executor
from kobe_jobs.trading.context import SessionContext, TradingContext, open_session
from kobe_jobs.trading.session import trade_session
from kobe_resources.broker.exchange.embedded import EmbeddedBroker
from kobe_resources.broker.protocol import BrokerUnavailable, OrderStatus, Unresolved
from kobe_resources.order_ledger import LedgerOrder, OrderState
from kobe_resources.order_ledger import orders as book
from tests.jobs.trading.test_resuming import Around
from tests.jobs.trading.test_session import ACCOUNT, orders, posts, rewrite
from tests.support.builders import small_market as market

BY_ID = {"method": "GET", "path": "/v2/orders:*"}


@pytest.fixture
def context(rig: TradingContext) -> SessionContext:
    """The context after the entries of the first day: five positions, five stops."""
    assert trade_session(rig).is_clean
    return open_session(rig, "rsi2")


def stops(context: SessionContext) -> list[LedgerOrder]:
    return [order for order in book.of_session(context.ledger, ACCOUNT, market.ENTRY_DAY) if order.purpose == book.STOP]


def calls(embedded: EmbeddedBroker, method: str, path: str) -> int:
    return sum(request[0] == method and request[1].startswith(path) for request in embedded.requests())


def telling(context: SessionContext, status: OrderStatus, *, absent: bool = False) -> SessionContext:
    """The context before a broker whose stops have another status."""

    class Odd(Around):
        def order_by_client_id(self, client_order_id: str) -> Any:
            found = self.inner.order_by_client_id(client_order_id)
            return dataclasses.replace(found, status=status, raw_status=str(status)) if found.kind == "stop" else found

        def orders(self, *scope: Any, **more: Any) -> Any:
            listed = self.inner.orders(*scope, **more)
            found = [dataclasses.replace(row, status=status, raw_status=str(status)) for row in listed if row.kind == "stop"]
            return [] if absent else found

    return dataclasses.replace(context, broker=Odd(context))  # type: ignore[arg-type]


@pytest.mark.parametrize("status", ["pending_new", "pending_cancel", "pending_replace", "suspended", "unknown"])
@pytest.mark.parametrize("absent", [False, True])
def test_a_stop_protects_only_where_the_broker_shows_it_at_rest(
    context: SessionContext, embedded: EmbeddedBroker, status: str, absent: bool
) -> None:
    waiting = executor.resolve(telling(context, OrderStatus(status), absent=absent), 0.2)
    assert {order.state for order in waiting} == {OrderState.UNKNOWN}
    assert len(waiting) == 5
    assert executor.resolve(context) == []
    assert {order.state for order in stops(context)} == {OrderState.ACCEPTED}


@pytest.mark.parametrize("status", ["new", "accepted", "held"])
def test_a_stop_at_rest_is_left_alone(context: SessionContext, embedded: EmbeddedBroker, status: str) -> None:
    before = len(context.ledger.rows("SELECT seq FROM audit"))
    assert executor.resolve(telling(context, OrderStatus(status)), 0.2) == []
    assert len(context.ledger.rows("SELECT seq FROM audit")) == before


def test_an_order_that_does_not_fit_keeps_no_other_from_being_settled(
    context: SessionContext, embedded: EmbeddedBroker
) -> None:
    entries = [order for order in book.of_session(context.ledger, ACCOUNT, market.ENTRY_DAY) if order.purpose == book.ENTRY]
    odd, *others = (order for order in entries if order.filled_qty)
    unknown = "state = 'UNKNOWN', broker_order_id = NULL, filled_qty = '0', spent = '0'"
    rewrite(
        context,
        f"UPDATE intents SET {unknown} WHERE leg = 'entry' AND filled_qty <> '0'",
        "DELETE FROM fills",
        "DELETE FROM positions",
    )
    resized = "UPDATE orders SET status = 'new', qty = 7, filled_qty = 0 WHERE client_order_id = ?"
    embedded.book.state.run(resized, (odd.client_order_id,))
    assert [order.client_order_id for order in executor.resolve(context, 0.2)] == [odd.client_order_id]
    assert {book.get(context.ledger, order.client_order_id).state for order in others} == {OrderState.FILLED}
    assert any("another size" in note for note in context.notes)


def test_resting_stops_cost_one_list_and_not_a_look_up_each(context: SessionContext, embedded: EmbeddedBroker) -> None:
    by_id, listed = calls(embedded, "GET", "/v2/orders:"), calls(embedded, "GET", "/v2/orders")
    assert executor.resolve(context) == []
    assert calls(embedded, "GET", "/v2/orders:") == by_id
    assert calls(embedded, "GET", "/v2/orders") - listed <= 2


def test_a_cancel_whose_answer_is_lost_leaves_a_stop_that_counts_as_nothing(
    context: SessionContext, embedded: EmbeddedBroker
) -> None:
    stop = stops(context)[0]
    embedded.faults.add({"match": {"method": "DELETE"}, "when": "after", "kind": "reset"})
    embedded.faults.add({"match": {**BY_ID, "times": None}, "kind": "504"})
    assert executor.cancel(context, stop, 0.3).state is OrderState.UNKNOWN
    waiting = executor.resolve(context, 0.2)
    assert [order.client_order_id for order in waiting] == [stop.client_order_id]
    embedded.faults.clear()
    assert executor.cancel(context, stop).state is OrderState.CANCELED


def test_a_stop_is_in_doubt_before_its_cancel_is_sent(context: SessionContext, embedded: EmbeddedBroker) -> None:
    class Dies(Around):
        def cancel(self, order_id: str) -> None:
            raise InterruptedError

    stop = stops(context)[0]
    with pytest.raises(InterruptedError):
        executor.cancel(dataclasses.replace(context, broker=Dies(context)), stop)  # type: ignore[arg-type]
    assert book.get(context.ledger, stop.client_order_id).state is OrderState.UNKNOWN


def test_a_cancel_under_way_is_asked_for_once(context: SessionContext, embedded: EmbeddedBroker) -> None:
    asked = []

    class Slow(Around):
        def cancel(self, order_id: str) -> None:
            asked.append(order_id)

    slow = dataclasses.replace(context, broker=Slow(context))  # type: ignore[arg-type]
    executor.cancel(slow, stops(context)[0], 0.5)
    assert len(asked) == 1


def test_a_cancel_without_an_answer_is_repeated_only_behind_a_look_up(
    context: SessionContext, embedded: EmbeddedBroker
) -> None:
    class Mute(Around):
        def __init__(self, context: SessionContext) -> None:
            super().__init__(context)
            self.calls: list[str] = []

        def cancel(self, order_id: str) -> None:
            self.calls.append("cancel")
            if len(self.calls) > 1:
                self.inner.cancel(order_id)
                return
            raise Unresolved("timeout")

        def order_by_client_id(self, client_order_id: str) -> Any:
            self.calls.append("look")
            if self.calls.count("look") < 4:
                raise BrokerUnavailable("silence")
            return self.inner.order_by_client_id(client_order_id)

    broker = Mute(context)
    ended = executor.cancel(dataclasses.replace(context, broker=broker), stops(context)[0])  # type: ignore[arg-type]
    assert ended.state is OrderState.CANCELED
    assert broker.calls[:7] == ["cancel", "look", "look", "look", "look", "cancel", "look"]
    assert set(broker.calls[7:]) <= {"look"}, "a cancel that was taken is waited for"


def hide_the_first_entry(rig: TradingContext, embedded: EmbeddedBroker, seconds: float) -> None:
    """It is accepted behind a 504, seen only after a while, and named a duplicate when it is sent again."""
    entry = {"method": "POST", "path": "/v2/orders", "symbol": "S00"}
    embedded.faults.add({"match": entry, "kind": "late_visibility", "seconds": seconds, "answer": "504"})


def test_a_duplicate_proves_that_the_order_is_there(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    hurried = rig.settings.trading.model_copy(update={"resolve_timeout_s": 2.0})
    rig = dataclasses.replace(rig, settings=rig.settings.model_copy(update={"trading": hurried}))
    # Not filled yet: shares of nobody's would halt the run before the order is sent again.
    embedded.faults.add({"settings": {"no_offer_until_s": 0, "fill_after_s": 60.0}})
    hide_the_first_entry(rig, embedded, 3600.0)
    summary = trade_session(rig)
    first = book.of_session(rig.ledger, ACCOUNT, market.ENTRY_DAY)[0]
    assert (first.symbol, first.state, first.acknowledged) == ("S00", OrderState.UNKNOWN, True)
    assert not summary.is_clean
    assert summary.unsettled == 1
    assert [symbol for symbol, *_ in orders(embedded)].count("S00") == 1


def test_a_duplicate_that_the_broker_did_not_mean_is_sent_in_the_end(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    match = {"method": "POST", "path": "/v2/orders", "symbol": "S00"}
    embedded.faults.add({"match": match, "kind": "duplicate_id"})
    summary = trade_session(rig)
    assert summary.is_clean, summary
    assert [symbol for symbol, *_ in orders(embedded)].count("S00") == 1
    assert {"S00"} <= {symbol for symbol, *_ in orders(embedded, "stop")}
    assert posts(embedded) == 11


def test_the_clock_is_asked_once_for_all_fills_of_a_moment(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    embedded.faults.add({"settings": {"no_offer_until_s": 0}})
    before = calls(embedded, "GET", "/v2/clock")
    trade_session(rig)
    # One for each order that is sent, ten, and a handful for the run.
    assert calls(embedded, "GET", "/v2/clock") - before <= 10 + 8


def test_entries_carry_no_more_than_the_brokers_buying_power(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    class Poor(Around):
        def account(self) -> Any:
            return dataclasses.replace(self.inner.account(), buying_power=Decimal(140))

    summary = trade_session(dataclasses.replace(rig, broker_or_error=Poor(rig)))  # type: ignore[arg-type]
    assert summary.filled == 2
    assert summary.refused["insufficient_cash"] >= 1


def test_a_rejection_carries_the_brokers_words(
    rig: TradingContext, embedded: EmbeddedBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    from kobe_jobs.cli.output import show_summary

    match = {"method": "POST", "path": "/v2/orders", "symbol": "S00"}
    embedded.faults.add({"match": match, "kind": "insufficient_buying_power"})
    summary = trade_session(rig)
    assert "insufficient buying power" in next(row for row in summary.as_json()["orders"] if row["symbol"] == "S00")["detail"]
    show_summary(summary, as_json=False)
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("insufficient", "buying", "power")), "a narrow column wraps by word"
