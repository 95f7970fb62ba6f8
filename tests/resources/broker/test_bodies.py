"""Bodies as recorded on Alpaca's wire are read; what Kobe acts on must be there, everything else may change."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from kobe_resources.broker.alpaca import parse
from kobe_resources.broker.protocol import OrderStatus

ACCOUNT: dict[str, Any] = {
    "id": "e6fe16f3-64a4-4921-8928-cadf02f92f98",
    "account_number": "PA3ALBERT01",
    "status": "ACTIVE",
    "currency": "USD",
    "cash": "100005.82",
    "equity": "100005.82",
    "last_equity": "100003.74",
    "buying_power": "400023.28",
    "multiplier": "4",
    "shorting_enabled": True,
    "trading_blocked": False,
    "account_blocked": False,
    "transfers_blocked": False,
    "trade_suspended_by_user": False,
    "portfolio_value": "100005.82",
    "long_market_value": "0",
    "short_market_value": "0",
    "created_at": "2025-01-02T03:04:05.123456Z",
}
ORDER: dict[str, Any] = {
    "id": "61e69015-8549-4bfd-b9c3-01e75843f47d",
    "client_order_id": "eb9e2aaa-f71a-4f51-b5b4-52a6c565dad4",
    "created_at": "2026-10-08T15:10:18.909428548Z",
    "updated_at": "2026-10-08T15:10:18.909428548Z",
    "submitted_at": "2026-10-08T15:10:18.909428548Z",
    "filled_at": None,
    "expired_at": None,
    "canceled_at": None,
    "failed_at": None,
    "replaced_at": None,
    "replaced_by": None,
    "replaces": None,
    "asset_id": "b0b6dd9d-8b9b-48a9-ba46-b9d54906e415",
    "symbol": "KO",
    "asset_class": "us_equity",
    "notional": None,
    "qty": "1",
    "filled_qty": "0",
    "filled_avg_price": None,
    "order_class": "",
    "order_type": "limit",
    "type": "limit",
    "side": "buy",
    "time_in_force": "ioc",
    "limit_price": "86.88",
    "stop_price": None,
    "status": "pending_new",
    "extended_hours": False,
    "legs": None,
    "trail_percent": None,
    "trail_price": None,
    "hwm": None,
    "subtag": None,
    "source": None,
    "position_intent": "buy_to_open",
}
POSITION: dict[str, Any] = {
    "asset_id": "b0b6dd9d-8b9b-48a9-ba46-b9d54906e415",
    "symbol": "KO",
    "exchange": "NYSE",
    "asset_class": "us_equity",
    "avg_entry_price": "86.87",
    "qty": "1",
    "qty_available": "1",
    "side": "long",
    "market_value": "86.87",
    "cost_basis": "86.87",
    "unrealized_pl": "0",
    "unrealized_plpc": "0",
    "current_price": "86.87",
    "lastday_price": "86.5",
    "change_today": "0.0043",
}
FILL: dict[str, Any] = {
    "activity_type": "FILL",
    "id": "20261008111018909::5a1e2f3c-2d1f-4f0e-8a7b-6c5d4e3f2a1b",
    "order_id": "61e69015-8549-4bfd-b9c3-01e75843f47d",
    "symbol": "KO",
    "side": "sell_short",
    "qty": "1",
    "cum_qty": "1",
    "leaves_qty": "0",
    "price": "86.87",
    "order_status": "filled",
    "type": "fill",
    "transaction_time": "2026-10-08T15:10:18.912Z",
}
CLOCK: dict[str, Any] = {
    "timestamp": "2026-10-08T11:10:18.909428548-04:00",
    "is_open": True,
    "next_open": "2026-10-09T09:30:00-04:00",
    "next_close": "2026-10-08T16:00:00-04:00",
}
QUOTE: dict[str, Any] = {
    "t": "2026-10-08T15:10:18.909428548Z",
    "ax": "V",
    "ap": 86.88,
    "as": 2,
    "bx": "V",
    "bp": 86.86,
    "bs": 1,
    "c": ["R"],
    "z": "A",
}
ASSET: dict[str, Any] = {
    "id": "b0b6dd9d-8b9b-48a9-ba46-b9d54906e415",
    "class": "us_equity",
    "exchange": "NYSE",
    "symbol": "KO",
    "name": "Coca-Cola Company",
    "status": "active",
    "tradable": True,
    "marginable": True,
    "shortable": True,
    "easy_to_borrow": True,
    "fractionable": True,
    "attributes": ["fractional_eh_enabled", "has_options"],
}


def test_an_account_is_read_with_its_number_and_exact_dollars() -> None:
    account = parse.parse_account(ACCOUNT)
    assert (account.number, account.cash, account.buying_power) == ("PA3ALBERT01", Decimal("100005.82"), Decimal("400023.28"))
    assert account.may_trade


@pytest.mark.parametrize("field", ["trading_blocked", "account_blocked"])
@pytest.mark.parametrize("value", [True, None, "false", "missing"])
def test_a_block_that_is_given_otherwise_than_false_is_a_block(field: str, value: object) -> None:
    body = {**ACCOUNT, field: value}
    if value == "missing":
        del body[field]
    assert not parse.parse_account(body).may_trade


def test_an_account_without_buying_power_has_none() -> None:
    account = parse.parse_account({**ACCOUNT, "buying_power": None, "equity": None, "daytrade_count": None})
    assert (account.buying_power, account.equity, account.cash) == (0, 0, Decimal("100005.82"))
    with pytest.raises(parse.Malformed, match="cash"):
        parse.parse_account({**ACCOUNT, "cash": None})


@pytest.mark.parametrize("status", ["ACCOUNT_UPDATED", "ONBOARDING", "SOMETHING_NEW"])
def test_an_account_that_is_not_active_may_not_trade(status: str) -> None:
    assert not parse.parse_account({**ACCOUNT, "status": status}).may_trade


def test_an_order_is_read_with_its_request_id() -> None:
    order = parse.parse_order(ORDER, "request-1")
    assert (order.symbol, order.side, order.kind, order.qty, order.limit_price) == (
        "KO",
        "buy",
        "limit",
        Decimal(1),
        Decimal("86.88"),
    )
    assert (order.status, order.filled_qty, order.filled_avg_price) == (OrderStatus.PENDING_NEW, Decimal(0), None)
    assert order.submitted_at == dt.datetime(2026, 10, 8, 15, 10, 18, 909428, tzinfo=dt.UTC)
    assert order.request_id == "request-1"


def test_an_order_with_words_and_fields_of_the_future_is_read() -> None:
    order = parse.parse_order(
        {
            **{name: value for name, value in ORDER.items() if name not in ("order_type", "submitted_at", "filled_qty")},
            "status": "quantum",
            "type": "pegged",
            "order_class": "mystery",
            "time_in_force": "gtx",
            "qty": None,
            "notional": "75",
            "new_field": {"deep": [1]},
        }
    )
    assert (order.status, order.raw_status, order.kind, order.qty) == (OrderStatus.UNKNOWN, "quantum", "pegged", Decimal(0))
    assert order.submitted_at is None
    assert not order.is_terminal


def test_a_status_that_says_unknown_is_not_terminal() -> None:
    assert not parse.parse_order({**ORDER, "status": "unknown"}).is_terminal


@pytest.mark.parametrize("status", ["filled", "canceled", "expired", "rejected", "replaced"])
def test_terminal_statuses(status: str) -> None:
    assert parse.parse_order({**ORDER, "status": status}).is_terminal


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((name, None) for name in ("id", "client_order_id", "symbol", "status", "side")),
        ("status", 3),
        ("side", "hold"),
        ("filled_qty", "NaN"),
        ("filled_qty", "one"),
        ("filled_avg_price", float("inf")),
        ("limit_price", True),
        ("submitted_at", "yesterday"),
        ("submitted_at", "2026-10-08T15:10:18"),
        ("submitted_at", "9999-12-31T23:59:59-12:00"),
    ],
)
def test_an_order_without_what_kobe_acts_on_is_malformed(field: str, value: object) -> None:
    with pytest.raises(parse.Malformed):
        parse.parse_order({**ORDER, field: value})


@pytest.mark.parametrize("parser", [parse.parse_order, parse.parse_account, parse.parse_clock, parse.parse_position])
@pytest.mark.parametrize("raw", [None, [], "text", 3, {}])
def test_what_is_no_object_is_malformed(parser: Any, raw: object) -> None:
    with pytest.raises(parse.Malformed):
        parser(raw)


@pytest.mark.parametrize(
    ("change", "qty", "available"),
    [
        ({}, Decimal(1), Decimal(1)),
        ({"side": "short", "qty": "-3", "qty_available": "-2"}, Decimal(-3), Decimal(2)),
        ({"side": "short", "qty": "3", "qty_available": "2"}, Decimal(-3), Decimal(2)),
        ({"qty_available": None}, Decimal(1), Decimal(1)),
    ],
)
def test_a_positions_sign_follows_its_side(change: dict[str, Any], qty: Decimal, available: Decimal) -> None:
    position = parse.parse_position({**POSITION, **change})
    assert (position.qty, position.qty_available) == (qty, available)


def test_a_fill_is_read_with_the_time_of_its_execution() -> None:
    fill = parse.parse_fill(FILL)
    assert (fill.side, fill.qty, fill.price) == ("sell", Decimal(1), Decimal("86.87"))
    assert fill.at == dt.datetime(2026, 10, 8, 15, 10, 18, 912000, tzinfo=dt.UTC)


def test_clock_in_new_yorks_time_becomes_utc() -> None:
    clock = parse.parse_clock(CLOCK)
    assert clock.timestamp == dt.datetime(2026, 10, 8, 15, 10, 18, 909428, tzinfo=dt.UTC)
    assert clock.next_close == dt.datetime(2026, 10, 8, 20, 0, tzinfo=dt.UTC)
    with pytest.raises(parse.Malformed):
        parse.parse_clock({**CLOCK, "is_open": "true"})


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"])
def test_a_time_of_no_years_that_the_calendar_knows_is_malformed(moment: str) -> None:
    bodies: list[tuple[Any, dict[str, Any]]] = [
        *((parse.parse_clock, {**CLOCK, name: moment}) for name in ("timestamp", "next_open", "next_close")),
        (parse.parse_fill, {**FILL, "transaction_time": moment}),
        (lambda raw: parse.parse_quote("KO", raw), {"bp": 1, "ap": 2, "t": moment}),
        (parse.parse_trading_day, {"date": moment[:10], "open": "09:30", "close": "13:00"}),
    ]
    for parser, raw in bodies:
        with pytest.raises(parse.Malformed, match="lies in the year"):
            parser(raw)


def test_an_order_whose_time_of_submission_was_never_set_is_read() -> None:
    assert parse.parse_order({**ORDER, "submitted_at": "0001-01-01T00:00:00Z"}).submitted_at is None


@pytest.mark.parametrize(("day", "hour"), [("2026-11-27", 18), ("2026-07-02", 17)])
def test_a_calendar_day_counts_new_yorks_hours_summer_and_winter(day: str, hour: int) -> None:
    parsed = parse.parse_trading_day({"date": day, "open": "09:30", "close": "13:00", "session_open": "0400"})
    assert (parsed.close.hour, parsed.close.tzinfo) == (hour, dt.UTC)


def test_a_quotes_floats_keep_their_shortest_text() -> None:
    quote = parse.parse_quote("KO", QUOTE)
    assert (quote.bid, quote.ask) == (Decimal("86.86"), Decimal("86.88"))
    odd = parse.parse_quote("KO", {**QUOTE, "ap": 0, "bp": float("nan"), "as": None})
    assert odd.ask == 0
    assert odd.bid.is_nan()
    with pytest.raises(parse.Malformed):
        parse.parse_quote("KO", {**QUOTE, "ap": None})


def test_an_asset_without_permissions_has_none() -> None:
    asset = parse.parse_asset(ASSET)
    assert asset.tradable
    assert asset.has_options
    bare = parse.parse_asset({"symbol": "KO"})
    assert [bare.tradable, bare.shortable, bare.easy_to_borrow, bare.has_options] == [False] * 4
