"""What is not ours, or cannot be read, costs one row or one symbol; what the broker says is taken as what it means."""

from __future__ import annotations

import datetime as dt
import json
import threading
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from kobe_resources.broker.alpaca.adapter import AlpacaBroker
from kobe_resources.broker.alpaca.parse import parse_asset
from kobe_resources.broker.protocol import BrokerUnavailable, NotEntitled, OrderStatus, Refused, Unauthorized, Unresolved
from tests.resources.broker.conftest import limit_order, speak_to

QUOTE = {"t": "2026-10-08T15:10:18.9Z", "ap": 100.1, "as": 1, "bp": 100.0, "bs": 1}
ORDER = {
    "id": "1", "client_order_id": "kobe-1", "submitted_at": "2026-10-08T15:10:18.908428548Z", "symbol": "KO", "qty": "1",
    "filled_qty": "0", "filled_avg_price": None, "type": "stop", "side": "sell", "time_in_force": "gtc", "limit_price": None,
    "stop_price": "60", "status": "new", "replaced_by": None, "replaces": None,
}  # fmt: skip
MULTI_LEG = {**ORDER, "id": "2", "client_order_id": "by-hand", "symbol": "", "side": "", "order_class": "mleg", "type": "limit"}
Answers = dict[tuple[str, str], Any]


@pytest.fixture
def canned() -> Iterator[tuple[Answers, AlpacaBroker]]:
    """A server of fixed answers by (method, path): (status, body), or a function of the query; and the adapter over it."""
    answers: Answers = {}

    class Canned(BaseHTTPRequestHandler):
        def answer(self) -> None:
            parts = urlsplit(self.path)
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            found = answers.get((self.command, parts.path), (404, {"code": 40410000, "message": "endpoint not found."}))
            query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
            status, body = found(query) if callable(found) else found
            raw = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_POST = answer  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Canned)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    broker = speak_to(f"http://127.0.0.1:{server.server_address[1]}")
    broker._account_confirmed = True
    yield answers, broker
    broker.close()
    server.shutdown()
    server.server_close()


def test_an_option_order_with_legs_is_one_row_and_not_the_end_of_the_list(canned: tuple[Answers, AlpacaBroker]) -> None:
    answers, broker = canned
    answers["GET", "/v2/orders"] = (200, [MULTI_LEG, ORDER, {"id": "3", "legs": []}])
    rows = {order.id: order for order in broker.orders("open")}
    assert rows["1"].unread == ""
    assert rows["2"].unread.startswith("mleg order")
    assert (rows["2"].client_order_id, rows["2"].status, rows["3"].status) == ("by-hand", OrderStatus.NEW, OrderStatus.UNKNOWN)


def test_a_row_that_cannot_be_read_is_a_row_and_not_the_end_of_the_list(canned: tuple[Answers, AlpacaBroker]) -> None:
    answers, broker = canned
    answers["GET", "/v2/orders"] = (200, [ORDER, {"symbol": "KO", "status": "new"}, None])
    assert [(order.client_order_id, bool(order.unread)) for order in broker.orders("open") if order.id != "1"] == [
        ("an order without an id", True)
    ]
    given = {"symbol": "KO", "qty": "3", "side": "long", "avg_entry_price": None}
    answers["GET", "/v2/positions"] = (200, [given, {"symbol": "PEP", "side": "long"}, "?"])
    rows = broker.positions()
    assert [(row.symbol, row.qty, row.avg_entry_price) for row in rows] == [("KO", 3, 0), ("PEP", 0, 0), ("?", 0, 0)]
    assert [bool(row.unread) for row in rows] == [False, True, True]


def test_a_malformed_quote_costs_its_symbol_only(canned: tuple[Answers, AlpacaBroker]) -> None:
    answers, broker = canned
    answers["GET", "/v2/stocks/quotes/latest"] = (200, {"quotes": {"KO": QUOTE, "PEP": {"t": "soon"}, "MO": None}})
    assert set(broker.quotes(["KO", "PEP", "MO"])) == {"KO"}


def test_a_symbol_that_the_data_host_does_not_know_costs_itself_only(canned: tuple[Answers, AlpacaBroker]) -> None:
    answers, broker = canned

    def quotes(query: dict[str, str]) -> Any:
        odd = [symbol for symbol in query["symbols"].split(",") if symbol.startswith("0")]
        return (400, {"message": f"invalid symbol: {odd[0]}"}) if odd else (200, {"quotes": {"KO": QUOTE}})

    answers["GET", "/v2/stocks/quotes/latest"] = quotes
    assert set(broker.quotes(["KO", "0029900E0", "00X"])) == {"KO"}
    assert broker.quotes(["00X"]) == {}


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, {"message": "unauthorized."}),
        (403, {"message": "forbidden."}),
        (422, {"code": 42210000, "message": "subscription does not permit querying recent SIP data"}),
    ],
)
def test_no_entitlement_to_quotes_names_the_feed(canned: tuple[Answers, AlpacaBroker], status: int, body: Any) -> None:
    answers, broker = canned
    answers["GET", "/v2/stocks/quotes/latest"] = (status, body)
    with pytest.raises(NotEntitled) as raised:
        broker.quotes(["KO"])
    assert "broker.feed" in raised.value.hint


def test_an_odd_row_of_the_calendar_costs_itself_only_where_no_session_is_lost(canned: tuple[Answers, AlpacaBroker]) -> None:
    answers, broker = canned
    start, end = dt.date(2026, 10, 5), dt.date(2026, 10, 9)
    week = [{"date": f"2026-10-{day:02}", "open": "09:30", "close": "16:00"} for day in range(5, 10)]
    answers["GET", "/v2/calendar"] = (200, [{**week[0], "date": "2026-10-99"}, *week, {"date": "2026-10-10"}, None])
    assert [row.session.day for row in broker.calendar(start, end)] == [5, 6, 7, 8, 9]
    # Without the 8th, the 7th would pass for the session before the 9th, and its signals for yesterday's.
    answers["GET", "/v2/calendar"] = (200, [*week[:3], {"date": "2026-10-08", "open": None}, week[4]])
    with pytest.raises(BrokerUnavailable, match="2026-10-08 stands in no row that can be read"):
        broker.calendar(start, end)


@pytest.mark.parametrize("status", [401, 403])
def test_a_question_refused_to_the_keys_says_so(canned: tuple[Answers, AlpacaBroker], status: int) -> None:
    answers, broker = canned
    answers["GET", "/v2/positions"] = (status, {"message": "forbidden."})
    with pytest.raises(Unauthorized, match=str(status)):
        broker.positions()


@pytest.mark.parametrize("status", [400, 403, 404, 405, 422])
def test_a_no_in_the_brokers_json_is_a_refusal(canned: tuple[Answers, AlpacaBroker], status: int) -> None:
    answers, broker = canned
    answers["POST", "/v2/orders"] = (status, {"message": "asset KO is not what you think"})
    with pytest.raises(Refused, match="not what you think"):
        broker.submit(limit_order("a"))
    answers["POST", "/v2/orders"] = (status, ["no"])
    with pytest.raises(Unresolved):
        broker.submit(limit_order("b"))


def test_any_404_with_json_at_a_look_up_is_an_order_that_is_not_there(canned: tuple[Answers, AlpacaBroker]) -> None:
    answers, broker = canned
    answers["GET", "/v2/orders:by_client_order_id"] = (404, {"message": "no such order"})
    assert broker.order_by_client_id("a") is None
    answers["GET", "/v2/orders:by_client_order_id"] = (404, ["?"])
    with pytest.raises(BrokerUnavailable):
        broker.order_by_client_id("a")


def test_activities_are_read_page_by_page_and_odd_ones_left_out(canned: tuple[Answers, AlpacaBroker]) -> None:
    answers, broker = canned
    rows = [
        {"activity_type": "FEE", "id": "1", "date": "2026-10-08", "net_amount": "-9", "status": "executed"},
        {"activity_type": "DIV", "id": "2", "created_at": "2026-10-09T05:00:00Z", "net_amount": "1.02", "symbol": "KO"},
        {"activity_type": "JNLC", "id": "3", "date": "2026-10-09", "net_amount": "a lot"},
        {"activity_type": "CSD", "id": "4", "date": "2026-10-09", "net_amount": "50", "status": "canceled"},
        {"activity_type": "INT", "id": "5", "date": "2026-10-10", "net_amount": "0.5"},
    ]

    def page(query: dict[str, str]) -> Any:
        assert query["category"] == "non_trade_activity"
        left = [row for row in rows if row["id"] > query.get("page_token", "")]
        return 200, left[:2]

    answers["GET", "/v2/account/activities"] = page
    assert [(row.kind, row.amount) for row in broker.activities()] == [
        ("FEE", Decimal(-9)),
        ("DIV", Decimal("1.02")),
        ("CSD", Decimal(0)),
        ("INT", Decimal("0.5")),
    ]


@pytest.mark.parametrize(
    ("given", "easy"),
    [
        ({"easy_to_borrow": True}, True),
        ({"easy_to_borrow": True, "borrow_status": "hard_to_borrow"}, False),
        ({"borrow_status": "easy_to_borrow"}, True),
        ({}, False),
    ],
)
def test_the_status_of_borrowing_decides_where_it_is_given(given: dict[str, Any], easy: bool) -> None:
    assert parse_asset({"symbol": "KO", **given}).easy_to_borrow is easy
