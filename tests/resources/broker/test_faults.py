"""Every trouble on the wire becomes the error that says what is known: never Refused where the order may exist."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kobe_resources.broker.alpaca.adapter import READ_ATTEMPTS, AlpacaBroker
from kobe_resources.broker.exchange.embedded import EmbeddedBroker, Terms
from kobe_resources.broker.protocol import (
    BrokerError,
    BrokerUnavailable,
    DuplicateClientOrderId,
    OrderStatus,
    Refused,
    Unauthorized,
    Unresolved,
)
from kobe_resources.errors import UsageError
from tests.resources.broker.conftest import FIRST, SHORT_TIMEOUT_S, limit_order, speak_to, stop_order, stored

POST = {"method": "POST", "path": "/v2/orders"}
UNKNOWN_OUTCOMES = [
    *("reset", "hang", "500", "502", "503", "504", "503_html", "200_html", "200_empty", "200_list", "bad_json"),
    *("302", "429", "403_html", "404_gateway"),
]
CERTAIN = [
    ("insufficient_buying_power", Refused),
    ("not_tradable", Refused),
    ("wash_trade", Refused),
    ("market_closed", Refused),
    ("duplicate_id", DuplicateClientOrderId),
    ("401", Unauthorized),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    folder: Path = tmp_path_factory.mktemp("broker")
    with EmbeddedBroker(folder, stored(), Terms(initial_cash=1e9)) as broker:
        broker.advance_to(FIRST, "open")
        yield broker


@pytest.fixture
def adapter(server: EmbeddedBroker) -> Iterator[AlpacaBroker]:
    server.faults.clear()
    broker = speak_to(server.url, SHORT_TIMEOUT_S)
    broker.account()
    yield broker
    server.faults.clear()
    broker.close()


@pytest.fixture
def patient(server: EmbeddedBroker) -> Iterator[AlpacaBroker]:
    """For answers that come: on a busy machine later than those that hang are waited for."""
    server.faults.clear()
    with contextlib.closing(speak_to(server.url)) as broker:
        broker.account()
        yield broker
    server.faults.clear()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kind", UNKNOWN_OUTCOMES)
def test_an_unclear_answer_to_an_order_is_unresolved_and_the_order_is_sent_once(
    server: EmbeddedBroker, adapter: AlpacaBroker, kind: str, when: str
) -> None:
    client_id = f"{kind}-{when}"
    posts = server.requests().count(("POST", "/v2/orders"))
    server.faults.add({"match": POST, "when": when, "kind": kind})
    started = time.monotonic()
    with pytest.raises(Unresolved) as raised:
        adapter.submit(limit_order(client_id))
    assert time.monotonic() - started < 4 * SHORT_TIMEOUT_S
    assert raised.value.cause
    assert server.requests().count(("POST", "/v2/orders")) == posts + 1
    found = adapter.order_by_client_id(client_id)
    assert (found is not None) == (when == "after")


def test_a_timeout_names_itself(server: EmbeddedBroker, adapter: AlpacaBroker) -> None:
    server.faults.add({"match": POST, "kind": "hang"})
    with pytest.raises(Unresolved, match="timeout"):
        adapter.submit(limit_order("hang-named"))


def test_an_answer_about_another_order_is_unresolved(server: EmbeddedBroker, adapter: AlpacaBroker) -> None:
    server.faults.add({"match": POST, "kind": "wrong_id"})
    with pytest.raises(Unresolved, match="another order"):
        adapter.submit(limit_order("mine"))
    assert adapter.order_by_client_id("mine") is not None


@pytest.mark.parametrize(("kind", "error"), CERTAIN)
def test_a_clear_no_is_typed_and_nothing_was_placed(
    server: EmbeddedBroker, patient: AlpacaBroker, kind: str, error: type[BrokerError]
) -> None:
    server.faults.add({"match": POST, "kind": kind})
    with pytest.raises(error) as raised:
        patient.submit(limit_order(f"no-{kind}"))
    assert type(raised.value) is error
    assert raised.value.request_id
    assert patient.order_by_client_id(f"no-{kind}") is None


def test_a_duplicate_reported_after_acceptance_is_still_found(server: EmbeddedBroker, adapter: AlpacaBroker) -> None:
    server.faults.add({"match": POST, "when": "after", "kind": "duplicate_id"})
    with pytest.raises(DuplicateClientOrderId):
        adapter.submit(limit_order("twice"))
    assert adapter.order_by_client_id("twice") is not None


def test_an_unknown_status_is_kept_as_text_and_is_not_terminal(server: EmbeddedBroker, adapter: AlpacaBroker) -> None:
    server.faults.add({"match": POST, "kind": "unknown_status"}, {"match": {"path": "/v2/orders:*"}, "kind": "unknown_status"})
    answered = adapter.submit(limit_order("moon"))
    looked_up = adapter.order_by_client_id("moon")
    assert looked_up is not None
    for order in (answered, looked_up):
        assert order.status is OrderStatus.UNKNOWN
        assert order.raw_status == "awaiting_moonrise"
        assert not order.is_terminal
    settled = adapter.order_by_client_id("moon")
    assert settled is not None
    assert settled.is_terminal


@pytest.mark.parametrize("share", [0.5, 0.0])
def test_a_partly_filled_ioc_order_is_cancelled_with_what_it_got(
    server: EmbeddedBroker, adapter: AlpacaBroker, share: float
) -> None:
    client_id = f"part-{share}"
    server.faults.add({"match": POST, "kind": "partial_fill", "share": share})
    adapter.submit(limit_order(client_id, qty="5", limit="51.00", symbol="PEP"))
    found = adapter.order_by_client_id(client_id)
    assert found is not None
    assert found.status is OrderStatus.CANCELED
    assert found.filled_qty == int(5 * share)
    assert (found.filled_avg_price is None) == (share == 0.0)


def test_a_late_order_is_missing_everywhere_and_then_appears(server: EmbeddedBroker, adapter: AlpacaBroker) -> None:
    server.faults.add({"match": POST, "kind": "late_visibility", "lookups": 2, "answer": "reset"})
    with pytest.raises(Unresolved):
        adapter.submit(limit_order("late"))
    assert "late" not in {order.client_order_id for order in adapter.orders()}
    assert adapter.order_by_client_id("late") is None
    assert adapter.order_by_client_id("late") is None
    found = adapter.order_by_client_id("late")
    assert found is not None
    assert found.status is OrderStatus.FILLED
    assert "late" in {order.client_order_id for order in adapter.orders()}
    assert found.id in {fill.order_id for fill in adapter.fills()}


def test_a_late_order_appears_after_a_time(server: EmbeddedBroker, adapter: AlpacaBroker) -> None:
    server.faults.add({"match": POST, "kind": "late_visibility", "seconds": 0.3, "answer": "ok"})
    adapter.submit(limit_order("later"))
    assert adapter.order_by_client_id("later") is None
    deadline = time.monotonic() + 5
    while adapter.order_by_client_id("later") is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("kind", ["reset", "500", "504", "503_html", "200_html", "200_empty", "bad_json", "429"])
def test_a_read_gets_over_a_passing_trouble(server: EmbeddedBroker, adapter: AlpacaBroker, kind: str) -> None:
    server.faults.add({"match": {"path": "/v2/clock", "times": 2}, "kind": kind})
    assert adapter.clock().is_open


@pytest.mark.parametrize("kind", ["reset", "500", "200_html", "200_empty", "429", "302", "403_html"])
def test_a_read_that_never_succeeds_is_unavailable(server: EmbeddedBroker, adapter: AlpacaBroker, kind: str) -> None:
    server.faults.add({"match": {"path": "/v2/positions", "times": None}, "kind": kind})
    asked = server.requests().count(("GET", "/v2/positions"))
    with pytest.raises(BrokerUnavailable):
        adapter.positions()
    repeats = server.requests().count(("GET", "/v2/positions")) - asked
    assert repeats == (1 if kind in ("302", "403_html") else READ_ATTEMPTS)


def test_a_read_that_hangs_ends(server: EmbeddedBroker, adapter: AlpacaBroker) -> None:
    server.faults.add({"match": {"path": "/v2/positions", "times": None}, "kind": "hang"})
    started = time.monotonic()
    with pytest.raises(BrokerUnavailable, match="timeout"):
        adapter.positions()
    assert time.monotonic() - started < 6 * SHORT_TIMEOUT_S


@pytest.mark.parametrize("kind", ["404_gateway", "200_list", "wrong_id"])
def test_a_lookup_never_says_absent_on_a_strange_answer(server: EmbeddedBroker, adapter: AlpacaBroker, kind: str) -> None:
    adapter.submit(limit_order(f"here-{kind}"))
    server.faults.add({"match": {"path": "/v2/orders:*", "times": None}, "kind": kind})
    with pytest.raises(BrokerUnavailable):
        adapter.order_by_client_id(f"here-{kind}")


@pytest.mark.parametrize("kind", ["404_gateway", "200_list"])
def test_a_replaced_order_has_not_ended_on_a_strange_answer(server: EmbeddedBroker, adapter: AlpacaBroker, kind: str) -> None:
    adapter.submit(limit_order(f"in-{kind}"))
    stop = adapter.submit(stop_order(f"moved-{kind}"))
    heir = server.book.replace(stop.id, {"stop_price": "80"})
    server.faults.add({"match": {"method": "GET", "path": f"/v2/orders/{heir['id']}", "times": None}, "kind": kind})
    with pytest.raises(BrokerUnavailable):
        adapter.order_by_client_id(stop.client_order_id)
    server.faults.clear()
    found = adapter.order_by_client_id(stop.client_order_id)
    assert found is not None
    assert (found.id, found.status) == (heir["id"], OrderStatus.NEW)
    adapter.cancel(found.id)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kind", ["reset", "504", "503_html", "429"])
def test_an_unclear_cancel_is_unresolved_and_may_be_asked_again(
    server: EmbeddedBroker, adapter: AlpacaBroker, kind: str, when: str
) -> None:
    adapter.submit(limit_order(f"in-{kind}-{when}"))
    order = adapter.submit(stop_order(f"stop-{kind}-{when}"))
    server.faults.add({"match": {"method": "DELETE"}, "when": when, "kind": kind})
    with pytest.raises(Unresolved):
        adapter.cancel(order.id)
    if when == "after":
        with pytest.raises(Refused):
            adapter.cancel(order.id)
    else:
        adapter.cancel(order.id)
    found = adapter.order_by_client_id(order.client_order_id)
    assert found is not None
    assert found.status is OrderStatus.CANCELED


def test_faults_strike_the_request_they_name(server: EmbeddedBroker, adapter: AlpacaBroker) -> None:
    server.faults.add({"match": {**POST, "symbol": "PEP", "nth": 2}, "kind": "not_tradable"})
    for client_id, symbol, limit in (("n1", "PEP", "51.00"), ("n2", "KO", "101.00")):
        adapter.submit(limit_order(client_id, symbol=symbol, limit=limit))
    with pytest.raises(Refused):
        adapter.submit(limit_order("n3", symbol="PEP", limit="51.00"))
    adapter.submit(limit_order("n4", symbol="PEP", limit="51.00"))
    assert server.faults.fired() == [("not_tradable", 1)]


def test_the_clock_can_say_that_the_market_is_shut(server: EmbeddedBroker, adapter: AlpacaBroker) -> None:
    server.faults.add({"match": {"path": "/v2/clock"}, "kind": "market_closed"})
    assert not adapter.clock().is_open
    assert adapter.clock().is_open


@pytest.mark.parametrize("entry", [{"kind": "meteor"}, {"kind": "reset", "when": "during"}, {"kind": "reset", "who": 1}])
def test_a_script_that_says_something_unknown_is_refused(server: EmbeddedBroker, entry: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        server.faults.add(entry)


def test_nobody_listening_is_unresolved_for_orders_and_unavailable_for_reads(tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path, stored()) as gone:
        gone.advance_to(FIRST, "open")
        adapter = speak_to(gone.url, SHORT_TIMEOUT_S)
        adapter.account()
    with pytest.raises(Unresolved):
        adapter.submit(limit_order("a"))
    with pytest.raises(BrokerUnavailable):
        adapter.clock()
    fresh = speak_to(gone.url, SHORT_TIMEOUT_S)
    with pytest.raises(BrokerUnavailable):
        fresh.submit(limit_order("a"))
