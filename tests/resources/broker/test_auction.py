"""The opening auction, limit orders through the day, dividends and fees: the embedded broker by rules.md, section 4."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
import requests

from kobe_resources.broker.alpaca.adapter import AlpacaBroker
from kobe_resources.broker.exchange.bars import ExchangeDividend
from kobe_resources.broker.exchange.billing import Billing
from kobe_resources.broker.exchange.embedded import Moment
from kobe_resources.broker.fees import FeeRate, fee_rates
from kobe_resources.broker.protocol import OrderRequest, OrderStatus, Refused
from tests.resources.broker.conftest import SESSIONS, Open, flat_rows, stop_order

D1, D2, D3 = SESSIONS[:3]
SLIP = 0.0005


@pytest.fixture
def opened(opened: Open) -> Open:
    """The same, on the evening of the first session."""
    return partial(opened, phase="evening")


def order(client_id: str, side: Any = "buy", limit: str | None = None, tif: Any = "opg", symbol: str = "A") -> OrderRequest:
    """One share, in the auction unless said otherwise; a market order without a limit."""
    price = None if limit is None else Decimal(limit)
    return OrderRequest(client_id, symbol, side, Decimal(1), "market" if price is None else "limit", tif, limit_price=price)


def found(broker: AlpacaBroker, client_id: str) -> tuple[OrderStatus, float | None]:
    """Status and average of an order."""
    seen = broker.order_by_client_id(client_id)
    assert seen is not None
    return seen.status, None if seen.filled_avg_price is None else float(seen.filled_avg_price)


@pytest.mark.parametrize("phase", ["pre_open", "evening"])
def test_an_auction_order_is_taken_from_the_evening_to_the_morning(opened: Open, phase: Any) -> None:
    embedded, broker = opened(*flat_rows("A"))
    embedded.advance_to(D2, phase)
    broker.submit(order("in"))
    assert found(broker, "in") == (OrderStatus.ACCEPTED, None)


@pytest.mark.parametrize("phase", ["open", "midday", "close", "after"])
def test_an_auction_order_is_refused_at_other_hours_in_alpacas_words(opened: Open, phase: Any) -> None:
    embedded, broker = opened(*flat_rows("A"))
    embedded.advance_to(D2, phase)
    with pytest.raises(Refused, match="opg orders must be submitted after 7:00pm and before 9:28am"):
        broker.submit(order("in"))


def test_the_evening_is_after_seven_in_new_york(opened: Open) -> None:
    embedded, broker = opened()
    assert embedded.moment[:2] == (D1, "evening")
    assert broker.clock().timestamp.astimezone(dt.timezone(dt.timedelta(hours=-4))).time() >= dt.time(19)


@pytest.mark.parametrize(
    ("side", "limit", "opens", "price"),
    [
        ("buy", None, 100.0, 100.0 * (1 + SLIP)),
        ("buy", "100.00", 100.0, 100.0 * (1 + SLIP)),
        ("buy", "99.99", 100.0, None),
        ("sell", "100.00", 100.0, 100.0 * (1 - SLIP)),
        ("sell", "100.01", 100.0, None),
    ],
)
def test_the_auction_fills_at_the_open_what_its_limit_allows_and_ends_the_rest(
    opened: Open, side: Any, limit: str | None, opens: float, price: float | None
) -> None:
    embedded, broker = opened(("A", D1, 100.0, 100.0, 100.0, 100.0), ("A", D2, opens, 120.0, 80.0, 100.0))
    broker.submit(order("in", side, limit))
    embedded.advance_to(D2, "open")
    assert found(broker, "in") == ((OrderStatus.EXPIRED, None) if price is None else (OrderStatus.FILLED, price))


def test_an_auction_of_a_symbol_that_does_not_trade_fills_nothing(opened: Open) -> None:
    embedded, broker = opened(("A", D1, 100.0, 100.0, 100.0, 100.0), ("A", D3, 100.0, 100.0, 100.0, 100.0))
    broker.submit(order("in"))
    embedded.advance_to(D2, "open")
    assert found(broker, "in") == (OrderStatus.EXPIRED, None)


def test_on_alpacas_paper_auction_orders_expire(opened: Open) -> None:
    embedded, broker = opened(*flat_rows("A"), settings={"auction_share": 0.0})
    broker.submit(order("in"))
    embedded.advance_to(D2, "open")
    assert found(broker, "in") == (OrderStatus.EXPIRED, None)


def test_shares_behind_a_stop_cannot_be_sold_in_the_auction(opened: Open) -> None:
    embedded, broker = opened(*flat_rows("A"))
    broker.submit(order("in"))
    embedded.advance_to(D2, "open")
    stop = broker.submit(stop_order("stop", symbol="A", stop="90.00"))
    embedded.advance_to(D2, "evening")
    with pytest.raises(Refused, match="insufficient qty"):
        broker.submit(order("out", "sell"))
    broker.cancel(stop.id)
    broker.submit(order("out", "sell"))
    embedded.advance_to(D3, "open")
    assert found(broker, "out")[0] is OrderStatus.FILLED


@pytest.mark.parametrize(
    ("bar", "limit", "at_the_open", "price"),
    [
        ((100.0, 101.0, 95.0, 99.0), "101.00", True, 100.0 * (1 + SLIP)),
        ((100.0, 101.0, 95.0, 99.0), "100.02", True, 100.02),
        ((100.0, 101.0, 95.0, 99.0), "100.00", True, 100.0),
        ((100.0, 101.0, 95.0, 99.0), "96.00", False, 96.0),
        ((100.0, 101.0, 95.0, 99.0), "95.00", False, None),
        ((100.0, 101.0, 95.0, 99.0), "94.00", False, None),
    ],
)
@pytest.mark.parametrize("is_long", [True, False])
def test_a_limit_order_works_through_the_day_as_the_rules_say(
    opened: Open, bar: tuple[float, ...], limit: str, at_the_open: bool, price: float | None, is_long: bool
) -> None:
    open_, high, low, close = bar
    if not is_long:
        # The mirror image about 100.
        open_, high, low, close = 200 - open_, 200 - low, 200 - high, 200 - close
        limit = str(200 - Decimal(limit))
        price = None if price is None else 200 - price
    embedded, broker = opened(("A", D1, 100.0, 100.0, 100.0, 100.0), ("A", D2, open_, high, low, close))
    broker.submit(order("in", "buy" if is_long else "sell", limit, "day"))
    embedded.advance_to(D2, "open")
    assert (found(broker, "in")[0] is OrderStatus.FILLED) is at_the_open
    embedded.advance_to(D2, "midday")
    status, average = found(broker, "in")
    assert (status, average) == ((OrderStatus.NEW, None) if price is None else (OrderStatus.FILLED, pytest.approx(price)))
    embedded.advance_to(D2, "after")
    assert found(broker, "in")[0] is (OrderStatus.EXPIRED if price is None else OrderStatus.FILLED)


@pytest.mark.parametrize(("close", "is_out"), [(94.0, True), (95.5, False)])
def test_a_stop_set_after_a_fill_in_the_bar_triggers_at_its_own_price_where_the_close_lies_beyond(
    opened: Open, close: float, is_out: bool
) -> None:
    embedded, broker = opened(("A", D1, 100.0, 100.0, 100.0, 100.0), ("A", D2, 100.0, 101.0, 90.0, close))
    broker.submit(order("in", limit="97.00", tif="day"))
    embedded.advance_to(D2, "midday")
    broker.submit(stop_order("stop", symbol="A", stop="95.00"))
    embedded.advance_to(D2, "close")
    assert found(broker, "stop") == ((OrderStatus.FILLED, 95.0 * (1 - SLIP)) if is_out else (OrderStatus.NEW, None))


def test_who_enters_on_the_ex_date_is_not_paid(opened: Open) -> None:
    embedded, broker = opened(*flat_rows("A"), paid=(ExchangeDividend("A", D2, 0.5),))
    broker.submit(order("in"))
    embedded.advance_to(D3, "open")
    assert len(broker.positions()) == 1
    assert broker.activities() == []


def test_a_dividend_is_an_activity_of_the_account(opened: Open) -> None:
    paid = (ExchangeDividend("A", D3, 0.5), ExchangeDividend("B", D3, 0.25))
    embedded, broker = opened(*flat_rows("A"), *flat_rows("B", 50.0), paid=paid)
    broker.submit(order("in"))
    broker.submit(order("short", "sell", symbol="B"))
    embedded.advance_to(D2, "open")
    before = broker.account().cash
    embedded.advance_to(D3, "pre_open")
    assert [(row.kind, row.symbol, row.amount) for row in broker.activities()] == [
        ("DIV", "A", Decimal("0.5")),
        ("DIV", "B", Decimal("-0.25")),
    ]
    assert broker.account().cash - before == Decimal("0.25")


def test_fills_and_shorts_are_billed_by_the_price_list(opened: Open) -> None:
    rates = (FeeRate("sec", D1, 20.0, 0.0), FeeRate("taf", D1, 0.0002, 8.3))
    billing = Billing(per_order=1.0, borrow_rate=0.36, rates=rates)
    embedded, broker = opened(*flat_rows("A"), billing=billing)
    broker.submit(order("short", "sell"))
    embedded.advance_to(D2, "open")
    price = 100.0 * (1 - SLIP)
    (fee,) = broker.activities()
    assert float(fee.amount) == pytest.approx(-(1.0 + 20.0 / 1e6 * price + 0.0002))
    embedded.advance_to(D2, "after")
    borrowed = broker.activities()[-1]
    assert (borrowed.kind, float(borrowed.amount)) == ("FEE", pytest.approx(-0.36 / 360 * 102.0))
    cash = 10_000.0 + price + float(fee.amount + borrowed.amount)
    assert float(broker.account().cash) == pytest.approx(cash)


def test_regulatory_fees_are_those_of_their_day() -> None:
    billing = Billing(rates=fee_rates())
    assert billing.of_order(False, 10, 100.0, dt.date(2026, 10, 2)) == 0.0
    assert billing.of_order(True, 10, 100.0, dt.date(2026, 10, 2)) == pytest.approx(20.60 / 1e6 * 1000.0)
    assert billing.of_order(True, 10, 100.0, dt.date(2019, 1, 2)) == pytest.approx(22.10 / 1e6 * 1000.0 + 0.00166)


def test_an_order_that_took_the_place_of_ours_is_reported_under_our_id(opened: Open) -> None:
    embedded, broker = opened(*flat_rows("A"))
    broker.submit(order("in"))
    embedded.advance_to(D2, "open")
    stop = broker.submit(stop_order("stop", symbol="A", stop="90.00"))
    key = {"APCA-API-KEY-ID": "k"}
    moved = requests.patch(f"{embedded.url}/v2/orders/{stop.id}", json={"stop_price": "91.00"}, headers=key, timeout=5).json()
    assert moved["client_order_id"] != "stop"
    seen = broker.order_by_client_id("stop")
    assert seen is not None
    assert (seen.id, seen.status, seen.stop_price) == (moved["id"], OrderStatus.NEW, Decimal(91))
    assert [(row.client_order_id, row.id) for row in broker.orders("open")] == [("stop", moved["id"])]
    assert [row.client_order_id for row in broker.orders("all")] == ["in", "stop"]
    requests.patch(f"{embedded.url}/v2/orders/{moved['id']}", json={"qty": "2"}, headers=key, timeout=5)
    stranger = broker.orders("open")
    assert [row.client_order_id == "stop" for row in stranger] == [False]
    ended = broker.order_by_client_id("stop")
    assert ended is not None
    assert ended.status is OrderStatus.REPLACED


def test_the_clock_can_stand_at_midday_and_in_the_evening(opened: Open) -> None:
    embedded, broker = opened()
    embedded.advance_to(D2, "midday")
    assert (embedded.moment, broker.clock().is_open) == (Moment(D2, "midday"), True)
