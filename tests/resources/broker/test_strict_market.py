"""What Alpaca refuses, delays and changes, over HTTP: each strictness is a setting that a fault script turns on and off."""

from __future__ import annotations

import datetime as dt
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests

from kobe_resources.broker.exchange.bars import ExchangeSplit
from kobe_resources.broker.exchange.embedded import STRICT, EmbeddedBroker, StoredBars
from kobe_resources.broker.protocol import OrderRequest, OrderStatus, Refused
from kobe_resources.broker.quotes import QuoteProblem, judge_quote
from kobe_resources.errors import UsageError
from kobe_resources.settings.models import TradingSettings
from tests.resources.broker.conftest import SESSIONS, Open, flat_rows, limit_order, order, speak_to, status, stop_order
from tests.support.waiting import until

D1, D2, D3 = SESSIONS[:3]
KEY = {"APCA-API-KEY-ID": "k"}
SOON_S = 0.15
NEVER_S = 3600.0


def post(embedded: EmbeddedBroker, **fields: Any) -> requests.Response:
    """An order as raw HTTP, so that the refusal's own body can be read."""
    body = {"type": "limit", "time_in_force": "ioc", "symbol": "KO", "side": "buy", "qty": "1", **fields}
    return requests.post(f"{embedded.url}/v2/orders", json=body, headers=KEY, timeout=5)


# ------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("side", "stop", "words"),
    [("sell", "100.00", "less"), ("sell", "120.00", "less"), ("buy", "100.00", "greater"), ("buy", "80.00", "greater")],
)
def test_a_stop_that_the_market_has_passed_is_refused_in_alpacas_words(opened: Open, side: str, stop: str, words: str) -> None:
    embedded, broker = opened()
    enter, limit = ("buy", "101.00") if side == "sell" else ("sell", "99.00")
    broker.submit(limit_order("in", enter, limit=limit))
    answer = post(embedded, client_order_id="s", type="stop", time_in_force="gtc", side=side, stop_price=stop)
    assert answer.status_code == 422
    assert answer.json() == {
        "code": 42210000,
        "message": f"stop price must be {words} than current price",
        "market_price": "100",
        "stop_price": stop.removesuffix(".00"),
    }
    assert broker.orders("open") == []
    embedded.faults.add({"settings": {"checks_stop_side": False}})
    broker.submit(stop_order("s", side, stop=stop))


def test_an_order_that_could_meet_one_of_our_own_is_a_wash_trade(opened: Open) -> None:
    embedded, broker = opened()
    broker.submit(limit_order("in", qty="5"))
    stop = broker.submit(stop_order("stop", qty="3"))
    answer = post(embedded, client_order_id="more", limit_price="101")
    assert answer.status_code == 403
    assert answer.json() == {
        "code": 40310000,
        "message": "potential wash trade detected. use complex orders",
        "existing_order_id": stop.id,
        "reject_reason": "opposite side market/stop order exists",
    }
    broker.submit(limit_order("pep", symbol="PEP", limit="51.00"))
    broker.cancel(stop.id)
    broker.submit(OrderRequest("rest", "KO", "sell", Decimal(2), "limit", "gtc", Decimal("110.00")))
    with pytest.raises(Refused, match="wash trade"):
        broker.submit(limit_order("through", limit="110.00"))
    # Two limits that lie apart cannot meet.
    broker.submit(limit_order("below", limit="109.99"))


def test_shares_that_wait_behind_another_order_cannot_be_sold(opened: Open) -> None:
    embedded, broker = opened(settings={"cancel_after_s": NEVER_S})
    broker.submit(limit_order("in", qty="3"))
    stop = broker.submit(stop_order("stop", qty="3"))
    sale = {"side": "sell", "qty": "3", "limit_price": "99"}
    refused = post(embedded, client_order_id="out", **sale)
    assert refused.status_code == 403
    assert refused.json() == {
        "code": 40310000,
        "message": "insufficient qty available for order (requested: 3, available: 0)",
        "available": "0",
        "existing_qty": "3",
        "held_for_orders": "3",
        "related_orders": [stop.id],
        "symbol": "KO",
    }
    # Until the cancel is done the stop holds them.
    broker.cancel(stop.id)
    assert post(embedded, client_order_id="out", **sale).status_code == 403
    embedded.settle()
    assert post(embedded, client_order_id="out", **sale).status_code == 200
    assert broker.positions() == []


def test_more_than_the_buying_power_is_refused_with_both_numbers(opened: Open) -> None:
    embedded, broker = opened(initial_cash=1000.0)
    broker.submit(OrderRequest("rest", "PEP", "buy", Decimal(4), "limit", "gtc", Decimal("40.00")))
    answer = post(embedded, client_order_id="much", qty="9", limit_price="101")
    assert answer.status_code == 403
    assert answer.json() == {
        "code": 40310000,
        "message": "insufficient buying power",
        "buying_power": "840",
        "cost_basis": "909",
    }


def test_market_orders_that_wait_for_the_open_reserve_cash_too(opened: Open) -> None:
    embedded, broker = opened(initial_cash=1000.0)
    embedded.advance_to(D2, "pre_open")
    broker.submit(OrderRequest("one", "KO", "buy", Decimal(6), "market", "day"))
    assert status(broker, "one") is OrderStatus.ACCEPTED
    with pytest.raises(Refused, match="insufficient buying power"):
        broker.submit(OrderRequest("two", "KO", "buy", Decimal(6), "market", "day"))
    embedded.advance_to(D2, "open")
    assert status(broker, "one") is OrderStatus.FILLED


def test_fractions_need_a_day_order_even_to_close(opened: Open) -> None:
    _, broker = opened()
    broker.submit(OrderRequest("in", "KO", "buy", Decimal("1.5"), "limit", "day", Decimal("101.00")))
    for request in (
        limit_order("ioc", "sell", "1.5", "99.00"),
        stop_order("gtc", qty="1.5"),
        OrderRequest("stop", "KO", "sell", Decimal("1.5"), "stop", "day", stop_price=Decimal(96)),
    ):
        with pytest.raises(Refused, match="fractional"):
            broker.submit(request)
    broker.submit(OrderRequest("out", "KO", "sell", Decimal("1.5"), "limit", "day", Decimal("99.00")))
    assert broker.positions() == []


def test_symbols_that_cannot_be_shorted(opened: Open) -> None:
    embedded, broker = opened(settings={"not_shortable": ["K*"], "hard_to_borrow": ["PEP"]})
    with pytest.raises(Refused, match='asset "KO" cannot be sold short'):
        broker.submit(limit_order("ko", "sell", limit="99.00"))
    with pytest.raises(Refused, match='only day orders are allowed for hard-to-borrow asset "PEP"'):
        broker.submit(limit_order("pep", "sell", limit="49.00", symbol="PEP"))
    broker.submit(OrderRequest("day", "PEP", "sell", Decimal(1), "limit", "day", Decimal("49.00")))
    ko, pep = broker.asset("KO"), broker.asset("PEP")
    assert ko is not None
    assert pep is not None
    assert (ko.shortable, pep.shortable) == (False, True)
    body = requests.get(f"{embedded.url}/v2/assets/PEP", headers=KEY, timeout=5).json()
    assert (body["easy_to_borrow"], body["borrow_status"]) == (False, "hard_to_borrow")
    # What is held may be sold all the same.
    broker.submit(limit_order("in"))
    broker.submit(limit_order("out", "sell", limit="99.00"))


# ------------------------------------------------------------------------------------------------ splits


def test_a_splits_shares_follow_and_its_stop_price_does_not(opened: Open) -> None:
    rows = (("A", D1, 100.0, 101.0, 99.0, 100.0), ("A", D2, 10.0, 10.5, 9.9, 10.0))
    embedded, broker = opened(*rows, splits=(ExchangeSplit("A", D2, 10.0),))
    broker.submit(limit_order("in", qty="3", symbol="A"))
    broker.submit(stop_order("stop", qty="3", symbol="A", stop="96.00"))
    embedded.advance_to(D2, "open")
    assert broker.positions()[0].qty == Decimal(30)
    assert (order(broker, "stop").qty, order(broker, "stop").stop_price) == (Decimal(30), Decimal(96))
    # As it happened with NVDA on 2024-06-10: the stop sells it all at the open.
    embedded.advance_to(D2, "close")
    assert order(broker, "stop").filled_avg_price == Decimal(repr(10.0 * (1 - 0.0005)))
    assert broker.positions() == []


@pytest.mark.parametrize(
    ("ratio", "qty", "shares", "left"),
    [(1.5, 3, 4, 0.5), (0.1, 29, 2, 0.9), (0.1, 30, 3, 0.0), (0.1, 9, 0, 0.9), (2.0, 3, 6, 0)],
)
def test_fractions_of_a_split_become_cash(opened: Open, ratio: float, qty: int, shares: int, left: float) -> None:
    price = 100.0 / ratio
    rows = (("A", D1, 100.0, 101.0, 99.0, 100.0), ("A", D2, price, price * 1.01, price * 0.99, price))
    embedded, broker = opened(*rows, splits=(ExchangeSplit("A", D2, ratio),))
    broker.submit(limit_order("in", qty=str(qty), symbol="A"))
    broker.submit(stop_order("stop", qty=str(qty), symbol="A", stop="5.00"))
    before = float(broker.account().cash)
    embedded.advance_to(D2, "open")
    assert [float(position.qty) for position in broker.positions()] == ([shares] if shares else [])
    assert float(broker.account().cash) == pytest.approx(before + left * price)
    if shares:
        assert order(broker, "stop").qty == shares
    else:
        assert status(broker, "stop") is OrderStatus.CANCELED
    activities = requests.get(f"{embedded.url}/v2/account/activities", headers=KEY, timeout=5).json()
    assert [(row["activity_type"], row["symbol"]) for row in activities] == ([("CIL", "A")] if left else [])
    assert sum(float(row["net_amount"]) for row in activities) == pytest.approx(left * price)


def test_a_short_owes_the_cash_in_lieu(opened: Open) -> None:
    rows = (("A", D1, 100.0, 101.0, 99.0, 100.0), ("A", D2, 200.0, 201.0, 199.0, 200.0))
    embedded, broker = opened(*rows, splits=(ExchangeSplit("A", D2, 0.5),))
    broker.submit(limit_order("in", "sell", "3", "99.00", "A"))
    before = float(broker.account().cash)
    embedded.advance_to(D2, "pre_open")
    assert broker.positions()[0].qty == Decimal(-1)
    assert float(broker.account().cash) == pytest.approx(before - 0.5 * 200.0)


def test_what_an_order_has_sold_before_a_split_stays_sold(opened: Open) -> None:
    rows = (("A", D1, 100.0, 101.0, 99.0, 100.0), ("A", D2, 50.0, 51.0, 49.0, 50.0))
    embedded, broker = opened(*rows, splits=(ExchangeSplit("A", D2, 2.0),))
    broker.submit(limit_order("in", qty="5", symbol="A"))
    embedded.advance_to(D1, "close")
    embedded.faults.add({"kind": "partial_fill", "share": 0.4, "match": {"method": "POST", "path": "/v2/orders"}})
    broker.submit(OrderRequest("out", "A", "sell", Decimal(5), "limit", "gtc", Decimal("99.00")))
    assert (order(broker, "out").filled_qty, broker.positions()[0].qty) == (2, 3)
    embedded.advance_to(D2, "pre_open")
    rest = order(broker, "out")
    assert (rest.filled_qty, rest.qty, rest.limit_price) == (2, 8, Decimal("49.5"))
    assert (broker.positions()[0].qty, broker.positions()[0].qty_available) == (6, 0)
    embedded.advance_to(D2, "open")
    assert broker.positions() == []


# ------------------------------------------------------------------------------------------------ pace, quotes, names


def test_200_requests_a_minute_and_headers_that_say_so(opened: Open) -> None:
    embedded, _ = opened(settings={"requests_a_minute": 200})
    began = time.time()
    with requests.Session() as session:
        answers = [session.get(f"{embedded.url}/v2/clock", headers=KEY, timeout=5) for _ in range(203)]
    assert [answer.status_code for answer in answers] == [200] * 200 + [429] * 3
    assert [int(answer.headers["X-RateLimit-Remaining"]) for answer in answers] == [*range(199, -1, -1), 0, 0, 0]
    assert {answer.headers["X-RateLimit-Limit"] for answer in answers} == {"200"}
    (reset,) = {int(answer.headers["X-RateLimit-Reset"]) for answer in answers}
    assert began + 60 <= reset <= time.time() + 61
    assert answers[-1].json() == {"code": 42910000, "message": "rate limit exceeded"}
    assert answers[-1].headers["X-Request-ID"]
    embedded.advance_to(embedded.book.market.bars.days[-1].session, "open")
    other = requests.get(f"{embedded.url}/v2/clock", headers=KEY, timeout=5)
    assert other.headers["X-RateLimit-Remaining"] == "199", "a session later more than a minute is over"
    embedded.faults.clear()
    assert requests.get(f"{embedded.url}/v2/clock", headers=KEY, timeout=5).status_code == 200


def test_nobody_offers_in_the_first_seconds(opened: Open) -> None:
    _, broker = opened(settings={"no_offer_until_s": 5})
    broker.submit(limit_order("early"))
    assert status(broker, "early") is OrderStatus.CANCELED
    asked = 0
    while (quote := broker.quotes(["KO", "PEP"])["KO"]).ask == 0:
        assert quote.bid > 0
        assert judge_quote(quote, broker.clock().timestamp, TradingSettings()) is not None
        asked += 1
        assert asked < 10
    assert asked == 4
    assert float(quote.ask) == pytest.approx(100.0 * (1 + 0.0005))
    assert judge_quote(quote, broker.clock().timestamp, TradingSettings()) is None
    broker.submit(limit_order("later"))
    assert status(broker, "later") is OrderStatus.FILLED


def test_a_spread_of_its_own_is_quoted_and_traded_at(opened: Open) -> None:
    _, broker = opened(settings={"spread_bps": 40}, slippage_bps=0.0)
    quote = broker.quotes(["KO"])["KO"]
    assert (float(quote.bid), float(quote.ask)) == (pytest.approx(99.8), pytest.approx(100.2))
    broker.submit(limit_order("in"))
    assert order(broker, "in").filled_avg_price == quote.ask


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("stale_quote", QuoteProblem.STALE),
        ("wide_quote", QuoteProblem.WIDE),
        ("crossed_quote", QuoteProblem.CROSSED),
        ("one_sided_quote", QuoteProblem.ONE_SIDED),
        ("no_quote", None),
    ],
)
def test_odd_quotes_of_one_symbol(opened: Open, kind: str, problem: QuoteProblem | None) -> None:
    embedded, broker = opened()
    embedded.faults.add({"kind": kind, "match": {"path": "/v2/stocks/quotes/latest", "symbol": "KO"}})
    quotes, now = broker.quotes(["KO", "PEP"]), broker.clock().timestamp
    assert judge_quote(quotes["PEP"], now, TradingSettings()) is None
    assert ("KO" in quotes) == (problem is not None)
    if problem is not None:
        assert judge_quote(quotes["KO"], now, TradingSettings()) is problem
    assert judge_quote(broker.quotes(["KO"])["KO"], now, TradingSettings()) is None


def test_a_renamed_symbol_keeps_position_order_and_asset_under_its_new_name(opened: Open) -> None:
    embedded, broker = opened(("META", D3, 104.0, 106.0, 90.0, 105.0))
    broker.submit(limit_order("in", qty="2"))
    broker.submit(stop_order("stop", qty="2"))
    asset = requests.get(f"{embedded.url}/v2/assets/KO", headers=KEY, timeout=5).json()
    embedded.faults.add({"settings": {"renames": {"KO": "META"}}})
    assert [position.symbol for position in broker.positions()] == ["META"]
    assert {found.symbol for found in broker.orders()} == {"META"}
    assert order(broker, "stop").symbol == "META"
    assert [fill.symbol for fill in broker.fills()] == ["META"]
    assert list(broker.quotes(["KO", "META"])) == ["META"]
    assert broker.asset("KO") is None
    assert requests.get(f"{embedded.url}/v2/assets/META", headers=KEY, timeout=5).json()["id"] == asset["id"]
    assert [found.symbol for found in broker.assets()] == ["META", "PEP"]
    with pytest.raises(Refused, match='asset "KO" not found'):
        broker.submit(limit_order("old"))
    with pytest.raises(Refused, match="insufficient qty"):
        broker.submit(limit_order("held", "sell", "2", "99.00", "META"))
    # Bars that come under the new name are its bars.
    embedded.advance_to(D3, "close")
    assert (status(broker, "stop"), broker.positions()) == (OrderStatus.FILLED, [])


@pytest.mark.parametrize(
    "settings",
    [
        {"moon": True},
        {"cash_in_lieu": 1},
        {"new_after_s": -1},
        {"new_after_s": float("nan")},
        {"requests_a_minute": 0},
        {"not_shortable": "KO"},
        {"renames": {"A": "B", "B": "C"}},
        {"renames": {"A": "C", "B": "C"}},
    ],
)
def test_a_setting_that_makes_no_sense_changes_nothing(opened: Open, settings: dict[str, Any]) -> None:
    embedded, _ = opened()
    before = embedded.faults.strictness
    with pytest.raises(UsageError):
        embedded.faults.add({"settings": {"cash_in_lieu": False}}, {"settings": settings})
    assert embedded.faults.strictness == before


def test_clearing_the_script_gives_back_the_strictness_of_the_start(opened: Open) -> None:
    embedded, _ = opened(strictness=STRICT)
    embedded.faults.add({"settings": {"requests_a_minute": 3}})
    embedded.faults.clear()
    assert embedded.faults.strictness == STRICT


def test_two_servers_over_one_folder_do_a_planned_step_once(tmp_path: Path) -> None:
    bars = StoredBars.of_rows(flat_rows("KO"))
    script = [{"settings": {"new_after_s": SOON_S}}]
    with EmbeddedBroker(tmp_path, bars, None, script) as one, EmbeddedBroker(tmp_path, bars) as two:
        one.advance_to(D1, "open")
        brokers = speak_to(one.url), speak_to(two.url)
        brokers[0].submit(limit_order("in", qty="2"))
        assert status(brokers[1], "in") is OrderStatus.PENDING_NEW
        until(lambda: status(brokers[1], "in") is OrderStatus.FILLED)
        assert [float(fill.qty) for fill in brokers[0].fills()] == [2.0]


def test_a_plan_outlives_the_server(tmp_path: Path) -> None:
    bars = StoredBars.of_rows(flat_rows("KO"))
    with EmbeddedBroker(tmp_path, bars, None, [{"settings": {"new_after_s": SOON_S}}]) as embedded:
        embedded.advance_to(D1, "open")
        speak_to(embedded.url).submit(limit_order("in"))
    with EmbeddedBroker(tmp_path, bars) as embedded:
        broker = speak_to(embedded.url)
        until(lambda: status(broker, "in") is OrderStatus.FILLED)
        assert embedded.moment.session == dt.date(2024, 7, 1)
