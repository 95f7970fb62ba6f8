"""Exits: what a fault between cancel and sale, or a price beyond the stop, leaves at the broker."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from kobe_jobs.trading.context import TradingContext
from kobe_jobs.trading.session import trade_session
from kobe_resources.broker.exchange.embedded import EmbeddedBroker
from kobe_resources.broker.protocol import BrokerUnavailable, Refused
from kobe_resources.order_ledger.orders import of_session
from kobe_resources.order_ledger.positions import all_positions
from tests.jobs.trading.test_protection import bare, orphans, trade
from tests.jobs.trading.test_resuming import Around
from tests.jobs.trading.test_session import ACCOUNT, orders, second_day
from tests.support.builders import small_market as market

pytestmark = pytest.mark.usefixtures("only_waiting_takes_time")


def stop_of(embedded: EmbeddedBroker, symbol: str) -> list[str]:
    return [status for name, *_, status in orders(embedded, "stop") if name == symbol]


def after_the_cancel(rig: TradingContext, happens: Callable[[Any], None]) -> Any:
    """A broker at which something happens once, when the first stop was cancelled."""

    class Cancelled(Around):
        did = False

        def cancel(self, order_id: str) -> None:
            self.inner.cancel(order_id)
            if not self.did:
                self.did = True
                happens(self)

    return Cancelled(rig)


def test_the_kill_switch_lets_through_the_stop_that_replaces_a_lifted_one(
    rig: TradingContext, embedded: EmbeddedBroker
) -> None:
    second_day(rig, embedded)
    summary = trade(rig, after_the_cancel(rig, lambda _: rig.kill_switch.turn_on("while the stop was away")))
    assert "while the stop was away" in summary.halted
    assert stop_of(embedded, "S01") == ["canceled", "new"]
    assert bare(embedded) == []


def test_a_market_that_closes_between_cancel_and_exit_leaves_the_stop_in_place(
    rig: TradingContext, embedded: EmbeddedBroker
) -> None:
    second_day(rig, embedded)

    class Shutting(Around):
        is_shut = False

        def cancel(self, order_id: str) -> None:
            self.inner.cancel(order_id)
            self.is_shut = True

        def clock(self) -> Any:
            return dataclasses.replace(self.inner.clock(), is_open=not self.is_shut)

    summary = trade(rig, Shutting(rig), resolve_timeout_s=0.3)
    assert "the market is shut" in summary.halted
    assert stop_of(embedded, "S01") == ["canceled", "new"]
    assert bare(embedded) == []


@pytest.mark.parametrize("forever", [True, False])
def test_a_clock_that_fails_between_cancel_and_exit_leaves_the_stop_in_place(
    rig: TradingContext, embedded: EmbeddedBroker, forever: bool
) -> None:
    second_day(rig, embedded)

    class Timeless(Around):
        questions = -1

        def cancel(self, order_id: str) -> None:
            self.inner.cancel(order_id)
            self.questions = max(self.questions, 0)

        def clock(self) -> Any:
            if self.questions >= 0:
                self.questions += 1
                if forever or self.questions == 1:
                    raise BrokerUnavailable("no clock", "wait")
            return self.inner.clock()

    summary = trade(rig, Timeless(rig), resolve_timeout_s=0.3)
    assert not summary.is_clean
    assert bare(embedded) == []
    assert trade_session(rig).is_clean
    assert bare(embedded) == orphans(embedded) == []
    assert ("S01", "sell", 3.0, "filled") in orders(embedded)


def test_a_defect_with_one_exit_keeps_nobody_else_from_leaving_and_nothing_bare(
    rig: TradingContext, embedded: EmbeddedBroker
) -> None:
    second_day(rig, embedded)

    class Broken(Around):
        def submit(self, request: Any) -> Any:
            if request.symbol == "S01" and request.kind == "limit":
                raise ValueError("a defect")
            return self.inner.submit(request)

    summary = trade(rig, Broken(rig), resolve_timeout_s=0.5)
    assert "a defect" in summary.halted
    assert ("S02", "sell", 3.0, "filled") in orders(embedded)
    assert bare(embedded) == []
    assert trade_session(rig).is_clean


def refuse_stops_below(rig: TradingContext, embedded: EmbeddedBroker, symbol: str) -> Any:
    """A broker whose market has fallen through the stop of one symbol as soon as it was bought."""

    class Fallen(Around):
        def submit(self, request: Any) -> Any:
            if request.symbol == symbol and request.kind == "stop":
                raise Refused(42210000, "stop price must be less than current price", "request")
            return self.inner.submit(request)

    return Fallen(rig)


def test_a_stop_that_the_market_has_passed_leaves_at_the_quote(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    summary = trade(rig, refuse_stops_below(rig, embedded, "S01"))
    assert summary.is_clean, summary
    assert ("S01", "sell", 3.0, "filled") in orders(embedded)
    assert bare(embedded) == orphans(embedded) == []
    gone = next(held for held in all_positions(rig.ledger, ACCOUNT) if held.symbol == "S01")
    assert (gone.is_open, gone.exit_reason) == (False, "stop")


def test_a_quote_beyond_the_stop_leaves_without_asking_for_one(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    class Fallen(Around):
        def quotes(self, symbols: Any) -> Any:
            found = self.inner.quotes(symbols)
            if len(orders(embedded)) < 5:
                return found
            low = {"bid": Decimal(12), "ask": Decimal("12.01")}
            return {s: dataclasses.replace(quote, **low) if s == "S01" else quote for s, quote in found.items()}

    summary = trade(rig, Fallen(rig))
    assert summary.is_clean, summary
    assert stop_of(embedded, "S01") == []
    assert ("S01", "sell", 3.0, "filled") in orders(embedded)


@pytest.mark.parametrize("refusals", [1, 2])
def test_an_exit_beyond_the_stop_that_met_no_buyer_is_followed_by_the_stop(
    rig: TradingContext, embedded: EmbeddedBroker, refusals: int
) -> None:
    class Fleeting(Around):
        refused = 0

        def quotes(self, symbols: Any) -> Any:
            found = self.inner.quotes(symbols)
            if self.refused != 1 or "S01" not in found:
                return found
            gone = {"bid": found["S01"].bid * 2, "ask": found["S01"].ask * 2}
            return found | {"S01": dataclasses.replace(found["S01"], **gone)}

        def submit(self, request: Any) -> Any:
            if request.symbol == "S01" and request.kind == "stop" and self.refused < refusals:
                self.refused += 1
                raise Refused(42210000, "stop price must be less than current price", "request")
            return self.inner.submit(request)

    broker = Fleeting(rig)
    summary = trade(rig, broker)
    assert summary.is_clean, summary
    assert bare(embedded) == orphans(embedded) == []
    assert broker.refused == refusals
    ends = [status for symbol, side, _, status in orders(embedded) if (symbol, side) == ("S01", "sell")]
    assert ends == ["canceled", "filled"][:refusals]


def test_an_exit_that_met_no_buyer_is_followed_by_the_stop_though_the_quote_is_beyond_it(
    rig: TradingContext, embedded: EmbeddedBroker
) -> None:
    second_day(rig, embedded)
    leaving = market.LEAVING[0]

    class Falling(Around):
        def quotes(self, symbols: Any) -> Any:
            found = self.inner.quotes(symbols)
            if leaving not in found:
                return found
            has_tried = (leaving, "sell") in [(symbol, side) for symbol, side, *_ in orders(embedded)]
            price = {"bid": Decimal(1), "ask": Decimal("1.01")} if has_tried else {"bid": Decimal(99), "ask": Decimal("99.01")}
            return found | {leaving: dataclasses.replace(found[leaving], **price)}

    assert trade(rig, Falling(rig)).exits_filled == len(market.LEAVING) - 1
    assert [status for symbol, side, _, status in orders(embedded) if (symbol, side) == (leaving, "sell")] == ["canceled"]
    assert stop_of(embedded, leaving) == ["canceled", "new"]
    assert bare(embedded) == orphans(embedded) == []


def test_an_exit_beyond_the_stop_gives_the_market_room(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    assert trade(rig, refuse_stops_below(rig, embedded, "S01")).is_clean
    left = next(order for order in of_session(rig.ledger, ACCOUNT, market.ENTRY_DAY) if order.tag == "exit.stop")
    assert left.limit_price is not None
    assert 0.94 < float(left.limit_price) / float(left.decision["bid"]) < 0.96


def test_a_bid_below_a_tick_is_sold_at_one_tick(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    second_day(rig, embedded)

    class Penny(Around):
        def quotes(self, symbols: Any) -> Any:
            low = {"bid": Decimal("0.0001"), "ask": Decimal("0.0002")}
            found = self.inner.quotes(symbols)
            return {s: dataclasses.replace(quote, **low) if s in market.LEAVING else quote for s, quote in found.items()}

    summary = trade(rig, Penny(rig))
    assert summary.exits_filled == 2
    assert bare(embedded) == []
