"""The law of protection, asserted from the broker's book: every position with its stop, or a run that says so."""

from __future__ import annotations

import dataclasses
from decimal import Decimal
from typing import Any

import pytest

from kobe_jobs.trading.context import TradingContext
from kobe_jobs.trading.session import trade_session
from kobe_resources.broker.alpaca import parse
from kobe_resources.broker.exchange.embedded import EmbeddedBroker
from kobe_resources.broker.protocol import BrokerFill, BrokerOrder, BrokerUnavailable, OrderStatus, Refused
from kobe_resources.order_ledger.orders import of_session
from kobe_resources.order_ledger.positions import all_positions, open_positions
from kobe_resources.order_ledger.sessions import claim_of
from kobe_resources.order_ledger.states import UNSETTLED
from tests.jobs.trading.test_resuming import Around
from tests.jobs.trading.test_session import ACCOUNT, orders, posts, second_day
from tests.support.builders import small_market as market

pytestmark = pytest.mark.usefixtures("only_waiting_takes_time")

ENDED = ("filled", "canceled", "expired", "rejected")


def bare(embedded: EmbeddedBroker) -> list[str]:
    """Symbols held at the broker without one stop for all their shares."""
    stops = {symbol: qty for symbol, _, qty, status in orders(embedded, "stop") if status not in ENDED}
    return [row["symbol"] for row in embedded.book.state.positions() if stops.get(row["symbol"]) != abs(row["qty"])]


def orphans(embedded: EmbeddedBroker) -> list[str]:
    """Symbols with a stop and no position."""
    held = {row["symbol"] for row in embedded.book.state.positions()}
    return [symbol for symbol, *_, status in orders(embedded, "stop") if status not in ENDED and symbol not in held]


def trade(rig: TradingContext, broker: Any, **trading: Any) -> Any:
    """A run with another broker around the rig's."""
    changes = {"settings": market.make_settings(**trading)} if trading else {}
    return trade_session(dataclasses.replace(rig, broker_or_error=broker, **changes))


def cancel_stop(embedded: EmbeddedBroker, symbol: str) -> None:
    """What a person, or the broker for a corporate action, does."""
    stop = embedded.book.state.row("SELECT id FROM orders WHERE kind = 'stop' AND symbol = ? AND status = 'new'", (symbol,))
    assert stop is not None
    embedded.book.cancel(stop["id"])


def test_a_stop_that_is_gone_after_the_session_is_set_again_and_nothing_else_is_done(
    rig: TradingContext, embedded: EmbeddedBroker
) -> None:
    assert trade_session(rig).is_clean
    cancel_stop(embedded, "S01")
    before = posts(embedded)
    summary = trade_session(rig)
    assert summary.is_clean, summary
    assert posts(embedded) == before + 1
    assert bare(embedded) == []


def test_a_stop_for_which_a_person_s_order_leaves_no_shares_is_named_and_not_sent(
    rig: TradingContext, embedded: EmbeddedBroker
) -> None:
    assert trade_session(rig).is_clean
    cancel_stop(embedded, "S01")
    embedded.settle()
    fields = {"client_order_id": "hand", "symbol": "S01", "side": "sell", "type": "limit", "time_in_force": "gtc"}
    embedded.book.submit({**fields, "qty": "2", "limit_price": "9999.00"})
    before = posts(embedded)
    summary = trade_session(rig)
    assert not summary.is_clean
    assert posts(embedded) == before, "the broker would refuse it, each round anew"
    assert any("an order to sell S01 that Kobe did not send" in note for note in summary.notes)
    embedded.book.cancel(next(order.id for order in rig.broker.orders("open") if order.client_order_id == "hand"))
    assert trade_session(rig).is_clean
    assert bare(embedded) == []


def test_a_done_session_whose_stop_cannot_be_set_is_not_clean_and_stays_done(
    rig: TradingContext, embedded: EmbeddedBroker
) -> None:
    assert trade_session(rig).is_clean
    cancel_stop(embedded, "S01")
    rig.kill_switch.turn_on("now")
    summary = trade_session(rig)
    assert summary.unprotected == ("S01",)
    assert "kill switch" in summary.halted
    assert "S01 has no protective stop" in summary.halted
    claim = claim_of(rig.ledger, ACCOUNT, market.ENTRY_DAY)
    assert claim is not None
    assert claim.state == "done"


def test_a_stop_that_is_only_pending_protects_nothing(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    class Pending(Around):
        def orders(self, *arguments: Any, **after: Any) -> Any:
            found = self.inner.orders(*arguments, **after)
            return [
                dataclasses.replace(order, status=OrderStatus.PENDING_NEW, raw_status="pending_new")
                if order.symbol == "S01" and order.kind == "stop" else order
                for order in found
            ]  # fmt: skip

    summary = trade(rig, Pending(rig), resolve_timeout_s=0.3)
    assert summary.unprotected == ("S01",)
    assert not summary.is_clean
    assert trade_session(rig).is_clean


@pytest.mark.parametrize("question", ["orders", "positions"])
def test_without_an_answer_to_the_last_question_no_session_is_done(
    rig: TradingContext, embedded: EmbeddedBroker, question: str
) -> None:
    class Silent(Around):
        is_silent = False

        def fills(self, *arguments: Any) -> Any:
            # The comparison after the orders is the last but the last question.
            self.is_silent |= len(orders(embedded, "stop")) == 5
            return self.inner.fills(*arguments)

        def ask(self, name: str, *arguments: Any) -> Any:
            if self.is_silent and name == question and arguments != ("all",):
                raise BrokerUnavailable("silence", "wait")
            return getattr(self.inner, name)(*arguments)

        def orders(self, status: str = "all", **after: Any) -> Any:
            return self.inner.orders(status, **after) if status == "all" else self.ask("orders", status)

        def positions(self) -> Any:
            return self.ask("positions")

    summary = trade(rig, Silent(rig), resolve_timeout_s=0.3)
    assert not summary.is_clean
    assert trade_session(rig).is_clean


def test_a_defect_in_a_step_leaves_no_session_claimed(
    rig: TradingContext, embedded: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("a defect")

    second_day(rig, embedded)
    cancel_stop(embedded, "S04")
    with monkeypatch.context() as patch:
        patch.setattr("kobe_jobs.trading.run_steps.age_positions", broken)
        summary = trade_session(rig)
    assert "RuntimeError: a defect" in summary.halted
    assert bare(embedded) == []
    claim = claim_of(rig.ledger, ACCOUNT, market.EXIT_DAY)
    assert claim is not None
    assert claim.state == "halted"


def test_a_look_up_that_tells_a_fill_without_its_price_is_asked_again(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    class Odd(Around):
        left = 2

        def order_by_client_id(self, client_id: str) -> Any:
            order = self.inner.order_by_client_id(client_id)
            if order is not None and order.filled_qty and self.left:
                self.left -= 1
                return dataclasses.replace(order, filled_avg_price=None)
            return order

    summary = trade(rig, Odd(rig))
    assert summary.is_clean, summary
    assert bare(embedded) == []


class Priced(Around):
    """A broker that gives every fill another average; by_executions: its executions say the same."""

    def __init__(self, rig: TradingContext, price: str, by_executions: bool = False) -> None:
        super().__init__(rig)
        self._price, self._by_executions = Decimal(price), by_executions

    def _changed(self, order: BrokerOrder) -> BrokerOrder:
        return dataclasses.replace(order, filled_avg_price=self._price) if order.filled_qty else order

    def order_by_client_id(self, client_order_id: str) -> BrokerOrder | None:
        order = self.inner.order_by_client_id(client_order_id)
        return None if order is None else self._changed(order)

    def orders(self, *asked: Any, **how: Any) -> list[BrokerOrder]:
        return [self._changed(order) for order in self.inner.orders(*asked, **how)]

    def fills(self, *asked: Any) -> list[BrokerFill]:
        changes = {"price": self._price} if self._by_executions else {}
        return [dataclasses.replace(fill, **changes) for fill in self.inner.fills(*asked)]


@pytest.mark.parametrize("price", ["0.0001", "1e9"])
def test_an_entry_is_booked_at_no_price_far_from_its_limit_that_its_executions_do_not_bear_out(
    rig: TradingContext, embedded: EmbeddedBroker, price: str
) -> None:
    """A stop hangs on it: of the one it would never be met, of the other it would sell at once."""
    first = trade(rig, Priced(rig, price))
    assert f"is said to have filled at {Decimal(price)}, with a limit of " in first.halted
    assert open_positions(rig.ledger, ACCOUNT) == []
    assert trade(rig, rig.broker).halted == ""
    held = open_positions(rig.ledger, ACCOUNT)
    assert {position.symbol for position in held} == {row.symbol for row in rig.broker.positions()} != set()
    assert all(0.8 < position.stop_price / position.entry_price < 1 for position in held)
    assert bare(embedded) == []


def test_an_entry_far_under_its_limit_is_booked_where_its_executions_say_the_same(rig: TradingContext) -> None:
    trade(rig, Priced(rig, "5", by_executions=True))
    held = open_positions(rig.ledger, ACCOUNT)
    assert {position.entry_price for position in held} == {Decimal(5)}


@pytest.mark.parametrize("body", [{"qty": "NaN"}, {"filled_avg_price": "-"}, {"qty": None, "filled_qty": "0"}])
def test_an_order_of_which_no_answer_can_be_read_is_not_ended_by_one(
    rig: TradingContext, embedded: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch, body: dict[str, Any]
) -> None:
    whole = parse.parse_order

    def read(raw: Any, request_id: str | None = None) -> Any:
        is_odd = isinstance(raw, dict) and raw.get("symbol") == "S00" and raw.get("status") == "filled"
        return whole({**raw, **body} if is_odd else raw, request_id)

    with monkeypatch.context() as patch:
        patch.setattr(parse, "parse_order", read)
        assert not trade(rig, rig.broker, resolve_timeout_s=1.0).is_clean
    entry = next(order for order in of_session(rig.ledger, ACCOUNT, market.ENTRY_DAY) if order.symbol == "S00")
    assert entry.state in UNSETTLED, "its shares are at the broker, and no answer has shown them yet"
    assert trade_session(rig).is_clean
    assert bare(embedded) == []


def test_an_order_that_only_the_list_shows_is_settled_by_the_list(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    second_day(rig, embedded)

    class WithoutLookUps(Around):
        def order_by_client_id(self, client_id: str) -> None:
            return None

    summary = trade(rig, WithoutLookUps(rig))
    assert summary.is_clean, summary
    assert bare(embedded) == orphans(embedded) == []
    assert {held.symbol for held in all_positions(rig.ledger, ACCOUNT) if not held.is_open} >= set(market.LEAVING)


def test_no_entry_goes_out_beside_a_bare_position(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    second_day(rig, embedded)
    cancel_stop(embedded, "S04")

    class Stubborn(Around):
        def submit(self, request: Any) -> Any:
            if request.symbol == "S04":
                raise Refused(40310000, "not today", "request")
            return self.inner.submit(request)

    summary = trade(rig, Stubborn(rig), resolve_timeout_s=0.3)
    assert (summary.submitted, summary.exits_filled) == (0, 2)
    assert summary.unprotected == ("S04",)
    assert "no entries beside a position without its stop" in summary.halted
    later = trade_session(rig)
    assert later.is_clean, later
    assert later.submitted >= 4


def test_a_cancel_that_stays_pending_leaves_the_session_open(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    second_day(rig, embedded)

    class Slow(Around):
        def cancel(self, order_id: str) -> None:
            self.asked = order_id

        def orders(self, *arguments: Any, **after: Any) -> Any:
            found = self.inner.orders(*arguments, **after)
            return [self.pending(order) for order in found]

        def order_by_client_id(self, client_id: str) -> Any:
            order = self.inner.order_by_client_id(client_id)
            return self.pending(order) if order else None

        def pending(self, order: Any) -> Any:
            if order.symbol in market.LEAVING and order.kind == "stop":
                return dataclasses.replace(order, status=OrderStatus.PENDING_CANCEL, raw_status="pending_cancel")
            return order

    summary = trade(rig, Slow(rig), resolve_timeout_s=0.3)
    assert not summary.is_clean
    assert set(summary.unprotected) == set(market.LEAVING)
    assert "S01 shall leave and was not sold" in summary.halted
    assert trade_session(rig).is_clean
    assert bare(embedded) == orphans(embedded) == []
