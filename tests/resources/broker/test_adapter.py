"""The adapter's questions and orders, through the real alpaca-py, over HTTP."""

from __future__ import annotations

import dataclasses
import datetime as dt
from decimal import Decimal

import pytest

from kobe_resources.broker.alpaca.adapter import AlpacaBroker
from kobe_resources.broker.alpaca.transport import Answer
from kobe_resources.broker.exchange.embedded import EmbeddedBroker
from kobe_resources.broker.protocol import (
    DuplicateClientOrderId,
    OrderRequest,
    OrderStatus,
    Refused,
    Unauthorized,
    WrongAccount,
)
from tests.resources.broker.conftest import FIRST, SESSIONS, limit_order, speak_to, stop_order


def test_the_clock_is_the_brokers_and_aware_of_utc(broker: AlpacaBroker, embedded: EmbeddedBroker) -> None:
    clock = broker.clock()
    assert clock.is_open
    assert clock.timestamp == dt.datetime(2024, 7, 1, 13, 30, 1, tzinfo=dt.UTC)
    assert clock.next_close == dt.datetime(2024, 7, 1, 20, 0, tzinfo=dt.UTC)
    assert clock.next_open == dt.datetime(2024, 7, 2, 13, 30, tzinfo=dt.UTC)
    assert clock.timestamp.tzinfo is dt.UTC
    embedded.advance_to(FIRST, "after")
    assert not broker.clock().is_open


def test_the_calendar_knows_half_days_and_holidays(broker: AlpacaBroker) -> None:
    days = broker.calendar(dt.date(2024, 7, 2), dt.date(2024, 7, 5))
    assert [day.session.day for day in days] == [2, 3, 5]
    assert days[1].close == dt.datetime(2024, 7, 3, 17, 0, tzinfo=dt.UTC)
    assert days[2].close == dt.datetime(2024, 7, 5, 20, 0, tzinfo=dt.UTC)


def test_the_calendar_goes_on_past_the_last_stored_session(broker: AlpacaBroker) -> None:
    days = broker.calendar(SESSIONS[-1], SESSIONS[-1] + dt.timedelta(days=5))
    assert [day.session for day in days] == [SESSIONS[-1], *(dt.date(2024, 7, day) for day in (15, 16, 17))]


def test_account_assets_and_quotes(broker: AlpacaBroker) -> None:
    account = broker.account()
    assert (account.cash, account.equity, account.buying_power) == (Decimal(10_000), Decimal(10_000), Decimal(10_000))
    assert account.may_trade
    assert account.number.startswith("PA")
    assert [asset.symbol for asset in broker.assets()] == ["KO", "PEP"]
    asset = broker.asset("KO")
    assert asset is not None
    assert asset.tradable
    assert asset.has_options
    assert broker.asset("NOPE") is None
    assert broker.asset("A/B") is None
    quotes = broker.quotes(["KO", "NOPE"])
    assert set(quotes) == {"KO"}
    assert quotes["KO"].bid == Decimal(repr(100.0 * (1 - 0.0005)))
    assert quotes["KO"].ask == Decimal(repr(100.0 * (1 + 0.0005)))
    assert quotes["KO"].timestamp == broker.clock().timestamp


def test_many_symbols_are_asked_for_in_several_calls(broker: AlpacaBroker, embedded: EmbeddedBroker) -> None:
    quotes = broker.quotes([*(f"X{i}" for i in range(450)), "PEP"])
    assert set(quotes) == {"PEP"}
    assert [path for _, path in embedded.requests()].count("/v2/stocks/quotes/latest") == 3


def test_a_marketable_ioc_order_fills_at_the_quote_and_its_answer_does_not_say_so(broker: AlpacaBroker) -> None:
    answered = broker.submit(limit_order("a", qty="2"))
    assert answered.status is OrderStatus.PENDING_NEW
    assert answered.filled_qty == 0
    assert answered.request_id
    found = broker.order_by_client_id("a")
    assert found is not None
    assert found.is_terminal
    assert (found.status, found.filled_qty, found.filled_avg_price) == (
        OrderStatus.FILLED,
        Decimal(2),
        Decimal(repr(100.0 * 1.0005)),
    )
    assert (found.id, found.limit_price, found.qty, found.kind) == (answered.id, Decimal(101), Decimal(2), "limit")
    (fill,) = broker.fills()
    assert (fill.order_id, fill.qty, fill.price, fill.side) == (found.id, Decimal(2), found.filled_avg_price, "buy")
    (position,) = broker.positions()
    assert (position.symbol, position.qty, position.avg_entry_price) == ("KO", Decimal(2), found.filled_avg_price)
    assert broker.account().cash == Decimal(repr(10_000.0 - 2 * (100.0 * 1.0005)))


def test_an_order_that_is_not_marketable_is_cancelled_unfilled(broker: AlpacaBroker) -> None:
    broker.submit(limit_order("low", limit="99.00"))
    found = broker.order_by_client_id("low")
    assert found is not None
    assert (found.status, found.filled_qty, found.filled_avg_price) == (OrderStatus.CANCELED, Decimal(0), None)
    assert broker.positions() == []


def test_an_unknown_client_id_is_none(broker: AlpacaBroker) -> None:
    assert broker.order_by_client_id("never-sent") is None


def test_prices_and_quantities_reach_the_wire_as_exact_text(broker: AlpacaBroker) -> None:
    broker.submit(
        OrderRequest("exact", "KO", "buy", Decimal("0.123456789"), "market", "day"),
    )
    found = broker.order_by_client_id("exact")
    assert found is not None
    assert found.qty == Decimal("0.123456789")


def test_a_second_use_of_a_client_id_is_a_duplicate_and_no_second_order(broker: AlpacaBroker) -> None:
    broker.submit(limit_order("once"))
    with pytest.raises(DuplicateClientOrderId):
        broker.submit(limit_order("once"))
    assert len(broker.orders()) == 1


def test_a_stop_rests_holds_its_shares_and_can_be_cancelled_once(broker: AlpacaBroker) -> None:
    broker.submit(limit_order("in", qty="3"))
    stop = broker.submit(stop_order("stop", qty="2"))
    assert [order.client_order_id for order in broker.orders("open")] == ["stop"]
    assert broker.positions()[0].qty_available == Decimal(1)
    with pytest.raises(Refused, match="insufficient qty available") as refused:
        broker.submit(limit_order("out", "sell", "3", "99.00"))
    assert refused.value.code == 40310000
    assert refused.value.request_id
    broker.cancel(stop.id)
    found = broker.order_by_client_id("stop")
    assert found is not None
    assert found.status is OrderStatus.CANCELED
    with pytest.raises(Refused, match="already in"):
        broker.cancel(stop.id)
    with pytest.raises(Refused, match="not found"):
        broker.cancel("00000000-0000-0000-0000-000000000000")
    broker.submit(limit_order("out", "sell", "3", "99.00"))
    assert broker.positions() == []


def test_orders_and_fills_come_in_full_over_many_pages(
    broker: AlpacaBroker, embedded: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kobe_resources.broker.alpaca.adapter.ORDERS_A_PAGE", 7)
    monkeypatch.setattr("kobe_resources.broker.alpaca.adapter.FILLS_A_PAGE", 7)
    sent = [f"o{i:02d}" for i in range(23)]
    for client_id in sent:
        broker.submit(limit_order(client_id))
    listed = broker.orders()
    assert [order.client_order_id for order in listed] == sent
    tenth = listed[9].submitted_at
    assert tenth is not None
    assert [order.client_order_id for order in broker.orders(after=tenth)] == sent[10:]
    fills = broker.fills()
    assert [fill.order_id for fill in fills] == [order.id for order in listed]
    assert [fill.order_id for fill in broker.fills(after=tenth)] == [order.id for order in listed[10:]]
    assert broker.orders("open") == []
    assert len([path for _, path in embedded.requests() if path == "/v2/orders"]) >= 23 + 4


def test_a_page_edge_in_a_tie_loses_no_order(
    broker: AlpacaBroker, embedded: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(9):
        broker.submit(limit_order(f"t{i}"))
    embedded.book.state.run(
        "UPDATE orders SET submitted_at = (SELECT submitted_at FROM orders WHERE seq = 4) WHERE seq IN (5, 6)"
    )
    monkeypatch.setattr("kobe_resources.broker.alpaca.adapter.ORDERS_A_PAGE", 5)
    assert {order.client_order_id for order in broker.orders()} == {f"t{i}" for i in range(9)}


def test_wrong_keys_are_unauthorized_everywhere(embedded: EmbeddedBroker) -> None:
    embedded.book.terms = embedded.terms.__class__(key_id="another")
    adapter = speak_to(embedded.url)
    with pytest.raises(Unauthorized):
        adapter.clock()
    adapter._account_confirmed = True
    with pytest.raises(Unauthorized):
        adapter.submit(limit_order("a"))
    with pytest.raises(Unauthorized):
        adapter.cancel("00000000-0000-0000-0000-000000000000")


def test_nothing_is_sent_to_an_account_that_is_not_a_paper_one(embedded: EmbeddedBroker) -> None:
    embedded.faults.add({"match": {"path": "/v2/account", "times": None}, "kind": "wrong_account"})
    adapter = speak_to(embedded.url)
    with pytest.raises(WrongAccount):
        adapter.submit(limit_order("a"))
    with pytest.raises(WrongAccount):
        adapter.account()
    assert ("POST", "/v2/orders") not in embedded.requests()


def test_a_paper_account_behind_a_live_host_is_refused(embedded: EmbeddedBroker) -> None:
    adapter = speak_to(embedded.url)
    adapter.hosts = adapter.hosts.__class__(embedded.url, embedded.url, is_live=True)
    with pytest.raises(WrongAccount, match="a paper account"):
        adapter.submit(limit_order("a"))
    assert ("POST", "/v2/orders") not in embedded.requests()


def test_the_account_is_confirmed_once(broker: AlpacaBroker, embedded: EmbeddedBroker) -> None:
    for i in range(3):
        broker.submit(limit_order(f"c{i}"))
    assert embedded.requests().count(("GET", "/v2/account")) == 1


def test_an_order_that_makes_no_sense_is_not_built() -> None:
    with pytest.raises(ValueError, match="characters"):
        limit_order("x" * 129)
    with pytest.raises(ValueError, match="positive"):
        limit_order("a", qty="0")
    with pytest.raises(ValueError, match="finite"):
        limit_order("a", limit="NaN")
    with pytest.raises(ValueError, match="prices"):
        OrderRequest("a", "KO", "buy", Decimal(1), "limit", "ioc")
    with pytest.raises(ValueError, match="prices"):
        OrderRequest("a", "KO", "buy", Decimal(1), "market", "day", limit_price=Decimal(1))


@pytest.mark.parametrize("shown", [1, 3])
def test_a_short_page_is_not_the_end_of_a_list(
    broker: AlpacaBroker, embedded: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch, shown: int
) -> None:
    sent = [f"p{i:02d}" for i in range(8)]
    for client_id in sent:
        broker.submit(limit_order(client_id))
    whole = broker._trading.get

    def short(path: str, params: dict[str, str] | None = None) -> Answer:
        answer = whole(path, params)
        if not isinstance(answer.body, list):
            return answer
        # The row of the tie over a page's edge comes again, and does not count as one of the page.
        edge = 1 if path == "/orders" and params is not None and "after" in params else 0
        return dataclasses.replace(answer, body=answer.body[: shown + edge])

    monkeypatch.setattr(broker._trading, "get", short)
    assert [order.client_order_id for order in broker.orders()] == sent
    assert len(broker.fills()) == len(sent)
