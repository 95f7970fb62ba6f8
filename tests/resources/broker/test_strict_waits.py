"""Orders at Alpaca take a while: what a broker shows between an order, its fill and its cancel, over HTTP."""

from __future__ import annotations

from decimal import Decimal

import pytest
import requests

from kobe_resources.broker.protocol import OrderRequest, OrderStatus, Refused
from tests.resources.broker.conftest import SESSIONS, Open, limit_order, order, status, stop_order
from tests.support.waiting import until

D1 = SESSIONS[0]
KEY = {"APCA-API-KEY-ID": "k"}
SOON_S = 0.15
NEVER_S = 3600.0


def test_an_order_is_pending_then_new_then_filled(opened: Open) -> None:
    _, broker = opened(settings={"new_after_s": SOON_S, "fill_after_s": SOON_S})
    answer = broker.submit(OrderRequest("in", "KO", "buy", Decimal(1), "limit", "day", Decimal("101.00")))
    assert answer.status is OrderStatus.PENDING_NEW
    seen = [status(broker, "in")]

    def look() -> bool:
        found = status(broker, "in")
        if found is not seen[-1]:
            seen.append(found)
        return found is OrderStatus.FILLED

    until(look)
    assert seen == [OrderStatus.PENDING_NEW, OrderStatus.NEW, OrderStatus.FILLED]
    broker.submit(stop_order("stop"))
    assert status(broker, "stop") is OrderStatus.PENDING_NEW
    until(lambda: status(broker, "stop") is OrderStatus.NEW)


def test_what_waits_is_done_before_the_clock_moves(opened: Open) -> None:
    embedded, broker = opened(settings={"new_after_s": NEVER_S, "cancel_after_s": NEVER_S})
    broker.submit(limit_order("in", qty="2"))
    assert (status(broker, "in"), broker.positions()) == (OrderStatus.PENDING_NEW, [])
    assert {found.client_order_id for found in broker.orders("open")} == {"in"}
    embedded.advance_to(D1, "close")
    assert order(broker, "in").filled_avg_price == Decimal(repr(100.0 * (1 + 0.0005)))


def test_an_ioc_order_that_meets_nothing_ends_after_its_while(opened: Open) -> None:
    embedded, broker = opened(settings={"new_after_s": NEVER_S})
    broker.submit(limit_order("in", limit="90.00"))
    assert status(broker, "in") is OrderStatus.PENDING_NEW
    answer = requests.post(f"{embedded.url}/embedded/settle", headers=KEY, timeout=5)
    assert answer.status_code == 200
    assert status(broker, "in") is OrderStatus.CANCELED


def test_a_cancel_takes_a_while_and_cannot_be_asked_twice(opened: Open) -> None:
    _, broker = opened(settings={"cancel_after_s": SOON_S})
    broker.submit(limit_order("in"))
    stop = broker.submit(stop_order("stop"))
    broker.cancel(stop.id)
    assert status(broker, "stop") is OrderStatus.PENDING_CANCEL
    assert broker.positions()[0].qty_available == 0
    with pytest.raises(Refused, match="pending cancel"):
        broker.cancel(stop.id)
    until(lambda: status(broker, "stop") is OrderStatus.CANCELED)
    assert broker.positions()[0].qty_available == 1
    with pytest.raises(Refused, match='already in "canceled" state'):
        broker.cancel(stop.id)


def test_a_fill_may_overtake_a_cancel(opened: Open) -> None:
    embedded, broker = opened()
    broker.submit(limit_order("in"))
    stop = broker.submit(stop_order("stop"))
    embedded.faults.add({"kind": "fill_on_cancel", "seconds": NEVER_S, "match": {"method": "DELETE"}})
    broker.cancel(stop.id)
    assert status(broker, "stop") is OrderStatus.PENDING_CANCEL
    embedded.settle()
    assert (status(broker, "stop"), broker.positions()) == (OrderStatus.FILLED, [])


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        ("late_reject", OrderStatus.NEW, OrderStatus.REJECTED),
        ("late_cancel", OrderStatus.NEW, OrderStatus.CANCELED),
        ("slow_new", OrderStatus.PENDING_NEW, OrderStatus.NEW),
    ],
)
def test_an_accepted_stop_may_come_to_nothing_later(opened: Open, kind: str, before: OrderStatus, after: OrderStatus) -> None:
    embedded, broker = opened()
    broker.submit(limit_order("in"))
    embedded.faults.add({"kind": kind, "seconds": NEVER_S, "match": {"method": "POST", "symbol": "KO"}})
    stop = broker.submit(stop_order("stop"))
    assert status(broker, "stop") is before
    embedded.settle()
    assert status(broker, "stop") is after
    body = requests.get(f"{embedded.url}/v2/orders/{stop.id}", headers=KEY, timeout=5).json()
    assert (body["failed_at"] is not None) == (kind == "late_reject")
    assert broker.positions()[0].qty_available == (1 if after is not OrderStatus.NEW else 0)


def test_a_slow_fill_meets_the_market_later(opened: Open) -> None:
    embedded, broker = opened()
    embedded.faults.add({"kind": "slow_fill", "seconds": NEVER_S, "match": {"method": "POST"}})
    broker.submit(limit_order("in"))
    assert status(broker, "in") is OrderStatus.NEW
    embedded.settle()
    assert status(broker, "in") is OrderStatus.FILLED


def test_a_partly_filled_order_stays_pending_cancel_until_its_cancel_is_done(opened: Open) -> None:
    embedded, broker = opened(settings={"cancel_after_s": NEVER_S})
    embedded.faults.add({"kind": "partial_fill", "share": 0.5, "match": {"method": "POST"}})
    sent = broker.submit(OrderRequest("in", "KO", "buy", Decimal(4), "limit", "day", Decimal("101.00")))
    assert status(broker, "in") is OrderStatus.PARTIALLY_FILLED
    broker.cancel(sent.id)
    assert (status(broker, "in"), order(broker, "in").filled_qty) == (OrderStatus.PENDING_CANCEL, 2)
    embedded.settle()
    assert (status(broker, "in"), order(broker, "in").filled_qty) == (OrderStatus.CANCELED, 2)
