"""The embedded broker as a process, killed and restarted, shared by two, and fast enough to be waited for."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
import requests

from kobe_resources.broker.exchange.embedded import EmbeddedBroker, Terms
from kobe_resources.broker.protocol import BrokerError, DuplicateClientOrderId, OrderStatus, Unresolved
from kobe_resources.errors import KobeError
from tests.resources.broker.conftest import FIRST, SESSIONS, flat_rows, limit_order, speak_to, stop_order, stored

KEY = {"APCA-API-KEY-ID": "k"}


@pytest.fixture
def bars_file(tmp_path: Path) -> Path:
    path = tmp_path / "bars.json"
    rows = [[symbol, session.isoformat(), *prices] for symbol, session, *prices in flat_rows("KO")]
    content = {"bars": rows, "splits": [["KO", SESSIONS[2].isoformat(), 2.0]], "terms": {"initial_cash": 777.0}}
    content["terms"]["strictness"] = {"refuses_wash_trades": False}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@contextlib.contextmanager
def process(folder: Path, bars: Path, *more: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The broker as a process, and its URL."""
    address = folder / "address.json"
    address.unlink(missing_ok=True)
    command = [sys.executable, "-m", "kobe_resources.broker.exchange", "--folder", str(folder), "--bars", str(bars), *more]
    running = subprocess.Popen(command)
    try:
        deadline = time.monotonic() + 60
        while not address.is_file():
            assert running.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        content = json.loads(address.read_text(encoding="utf-8"))
        assert content["pid"] == running.pid
        yield running, content["url"]
    finally:
        running.kill()
        running.wait()


def test_a_killed_process_loses_no_order_and_forgets_no_time(tmp_path: Path, bars_file: Path) -> None:
    folder = tmp_path / "broker"
    with process(folder, bars_file, "--session", FIRST.isoformat()) as (running, url):
        broker = speak_to(url)
        assert broker.account().cash == Decimal(777)
        broker.submit(limit_order("a", qty="2"))
        broker.submit(stop_order("stop", qty="2", stop="40.00"))
        script = [{"match": {"method": "POST", "path": "/v2/orders"}, "when": "after", "kind": "hang"}]
        assert requests.post(f"{url}/embedded/faults", json=script, headers=KEY, timeout=5).json() == [["hang", 0]]
        victim = speak_to(url)
        victim.account()
        errors: list[BrokerError] = []

        def send() -> None:
            try:
                victim.submit(limit_order("b"))
            except BrokerError as error:
                errors.append(error)

        sender = threading.Thread(target=send)
        sender.start()
        while broker.order_by_client_id("b") is None:
            time.sleep(0.01)
        os.kill(running.pid, signal.SIGKILL)
        sender.join(10)
        assert [type(error) for error in errors] == [Unresolved]
    with process(folder, bars_file) as (running, url):
        broker = speak_to(url)
        assert broker.clock().timestamp.date() == FIRST
        assert [order.client_order_id for order in broker.orders()] == ["a", "stop", "b"]
        found = broker.order_by_client_id("b")
        assert found is not None
        assert found.status is OrderStatus.FILLED
        with pytest.raises(DuplicateClientOrderId):
            broker.submit(limit_order("b"))
        target = {"session": SESSIONS[2].isoformat(), "phase": "open"}
        answer = requests.post(f"{url}/embedded/advance", json=target, headers=KEY, timeout=5)
        assert answer.status_code == 200
        assert broker.positions()[0].qty == Decimal(6)
        running.send_signal(signal.SIGTERM)
        assert running.wait(10) == 0


def test_its_own_paths_refuse_what_makes_no_sense(embedded: EmbeddedBroker) -> None:
    for method, path, body, status in (
        ("POST", "advance", {"session": "2024-07-04"}, 422),
        ("POST", "advance", {"session": "soon"}, 422),
        ("POST", "advance", {}, 404),
        ("POST", "faults", [{"kind": "meteor"}], 422),
        ("POST", "faults", [["reset"]], 422),
        ("POST", "faults", [{"settings": {"moon": True}}], 422),
        ("GET", "treasure", None, 404),
        ("GET", "requests", None, 200),
        ("DELETE", "faults", None, 200),
    ):
        url = f"{embedded.url}/embedded/{path}"
        assert requests.request(method, url, json=body, headers=KEY, timeout=5).status_code == status
    assert requests.get(f"{embedded.url}/v2/nothing", headers=KEY, timeout=5).status_code == 404
    assert requests.get(f"{embedded.url}/v2/clock", timeout=5).status_code == 401


def test_reopened_in_the_same_folder_it_goes_on(tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path, stored(), Terms(initial_cash=5000.0)) as embedded:
        embedded.advance_to(FIRST, "open")
        broker = speak_to(embedded.url)
        broker.submit(limit_order("a", qty="2"))
        broker.submit(stop_order("stop", qty="2"))
        account = broker.account()
    with EmbeddedBroker(tmp_path, stored(), Terms(initial_cash=9.0)) as embedded:
        broker = speak_to(embedded.url)
        assert broker.account() == account
        assert [order.client_order_id for order in broker.orders("open")] == ["stop"]
        embedded.advance_to(FIRST, "close")
        assert broker.positions() == []


def test_two_servers_over_one_folder_take_an_order_once(tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path, stored()) as one, EmbeddedBroker(tmp_path, stored()) as two:
        one.advance_to(FIRST, "open")
        outcomes: list[str] = []

        def send(url: str) -> None:
            broker = speak_to(url)
            for i in range(20):
                try:
                    broker.submit(limit_order(f"o{i}"))
                    outcomes.append("taken")
                except DuplicateClientOrderId:
                    outcomes.append("duplicate")

        senders = [threading.Thread(target=send, args=(server.url,)) for server in (one, two, one, two)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join(30)
        assert (outcomes.count("taken"), outcomes.count("duplicate")) == (20, 60)
        assert speak_to(two.url).positions()[0].qty == Decimal(20)


def test_a_run_of_13_orders_takes_less_than_five_seconds(embedded: EmbeddedBroker) -> None:
    broker = speak_to(embedded.url)
    started = time.monotonic()
    for i in range(13):
        broker.clock()
        broker.quotes(["KO"])
        broker.submit(limit_order(f"o{i}"))
        broker.order_by_client_id(f"o{i}")
    for i in range(13):
        broker.submit(stop_order(f"s{i}"))
    assert time.monotonic() - started < 5.0
    assert len(broker.orders()) == 26


def test_a_folder_that_cannot_be_used_says_so(tmp_path: Path) -> None:
    (tmp_path / "broker.sqlite").write_bytes(b"this is no database, however long it may be" * 50)
    with pytest.raises(KobeError, match="remove the folder"):
        EmbeddedBroker(tmp_path, stored())


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({**KEY}, 200),
        ({**KEY, "Origin": "{url}"}, 200),
        ({**KEY, "Origin": "https://evil.example"}, 403),
        ({**KEY, "Origin": "null"}, 403),
        ({**KEY, "Origin": "http://127.0.0.1:1"}, 403),
        ({**KEY, "Host": "evil.example"}, 403),
        ({**KEY, "Host": "evil.example:{port}"}, 403),
        ({**KEY, "Host": "127.0.0.1:1"}, 403),
        ({**KEY, "Host": "localhost:{port}"}, 200),
        ({**KEY, "Host": "[::1"}, 403),
    ],
)
def test_its_own_paths_want_the_key_and_its_own_host_and_origin(
    embedded: EmbeddedBroker, headers: dict[str, str], status: int
) -> None:
    port = embedded.url.rpartition(":")[2]
    sent = {name: value.format(url=embedded.url, port=port) for name, value in headers.items()}
    for method, path, body in (("POST", "advance", {"session": "2024-07-02"}), ("GET", "requests", None)):
        answer = requests.request(method, f"{embedded.url}/embedded/{path}", json=body, headers=sent, timeout=5)
        assert answer.status_code == status
    assert (embedded.moment.session == SESSIONS[1]) == (status == 200)


def test_with_a_key_of_its_own_no_other_will_do(tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path, stored(), Terms(key_id="mine")) as embedded:
        for key, status in (("mine", 200), ("other", 401), ("ключ", 401)):
            for path in ("/embedded/requests", "/v2/clock"):
                headers = {"APCA-API-KEY-ID": key.encode()}
                assert requests.get(embedded.url + path, headers=headers, timeout=5).status_code == status


def test_a_name_that_was_bent_to_point_here_reads_nothing(embedded: EmbeddedBroker) -> None:
    for host in ("evil.example", "evil.example:80", "", "[::1"):
        assert requests.get(f"{embedded.url}/v2/positions", headers={**KEY, "Host": host}, timeout=5).status_code == 403
