"""A call ends when its time is over, wherever a server drips: in its headers, its body, or a body without a length."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import urllib3

from kobe_resources.broker.protocol import BrokerUnavailable, Unresolved
from kobe_resources.market_data.over_network import RetryBudget
from kobe_resources.market_data.polygon.client import PolygonClient
from kobe_resources.market_data.polygon.errors import PolygonTransportError
from kobe_resources.runtime.call_deadline import BOUNDED_POOLS, Deadline
from tests.resources.broker.conftest import limit_order, speak_to

TIME_S = 0.5
JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
DRIPS = {
    "status": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "headers": b"X-Long: " + b"x" * 4000,
    "body": b"Content-Length: 4000\r\n\r\n",
    "no_length": b"Connection: close\r\n\r\n[]",
    "chunks": b"Transfer-Encoding: chunked\r\n\r\n",
}


@contextlib.contextmanager
def dripping(kind: str) -> Iterator[str]:
    """A server that sends the beginning at once, and then a byte every 50 ms for as long as it is listened to."""
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def drip(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.recv(65536)
            if kind != "status":
                connection.sendall(JSON + DRIPS[kind][: len(DRIPS[kind]) - 3990 if kind == "headers" else None])
            slow = DRIPS["status"] if kind == "status" else b"1\r\n \r\n" * 600 if kind == "chunks" else b" " * 4000
            for byte in slow:
                if stop.wait(0.05):
                    return
                connection.sendall(bytes([byte]))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=drip, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    stop.set()
    listener.close()


@pytest.mark.parametrize("kind", DRIPS)
def test_a_drip_ends_with_the_time_of_the_call(kind: str) -> None:
    with dripping(kind) as url:
        broker = speak_to(url, TIME_S)
        broker._account_confirmed = True
        began = time.monotonic()
        with pytest.raises(Unresolved, match="timeout"):
            broker.submit(limit_order("a"))
        assert time.monotonic() - began < 3 * TIME_S
        began = time.monotonic()
        with pytest.raises(BrokerUnavailable, match="timeout"):
            broker.positions()
        assert time.monotonic() - began < 8 * TIME_S
        with pytest.raises(Unresolved, match="timeout"):
            broker.cancel("x")
        broker.close()


@pytest.mark.parametrize("kind", list(DRIPS))
def test_a_drip_of_a_vendor_s_ends_with_the_time_of_the_call(kind: str) -> None:
    with dripping(kind) as url:
        client = PolygonClient("k" * 20, url, 0, 1, RetryBudget(read_s=10.0, total_s=TIME_S, after_transport=0))
        began = time.monotonic()
        with pytest.raises(PolygonTransportError, match="drips in too slowly"):
            client.range_bars("ALFA", dt.date(2026, 1, 2), dt.date(2026, 1, 5))
        assert time.monotonic() - began < 8 * TIME_S
        client.close()


def test_a_call_within_its_time_is_left_alone_and_so_is_the_next_on_its_connection() -> None:
    pool = urllib3.PoolManager()
    pool.pool_classes_by_scheme = BOUNDED_POOLS
    listener = socket.create_server(("127.0.0.1", 0))
    accepted: list[socket.socket] = []

    def serve() -> None:
        connection, _ = listener.accept()
        accepted.append(connection)
        with contextlib.suppress(OSError):
            while connection.recv(65536):
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    threading.Thread(target=serve, daemon=True).start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    for _ in range(2):
        with Deadline(0.2) as deadline:
            assert pool.request("GET", url).data == b"{}"
        time.sleep(0.4)
        assert not deadline.is_over
    assert pool.request("GET", url).data == b"{}"
    assert len(accepted) == 1
    pool.clear()
    accepted[0].close()
    listener.close()


def test_a_handshake_that_drips_ends_too() -> None:
    with dripping("status") as url:
        pool = urllib3.PoolManager(retries=False, timeout=10.0)
        pool.pool_classes_by_scheme = BOUNDED_POOLS
        began = time.monotonic()
        with Deadline(TIME_S), pytest.raises(urllib3.exceptions.HTTPError):
            pool.request("GET", url.replace("http:", "https:"))
        assert time.monotonic() - began < 3 * TIME_S
        pool.clear()


def test_a_forked_process_has_deadlines_too() -> None:
    with dripping("body") as url:
        broker = speak_to(url, TIME_S)
        with pytest.raises(BrokerUnavailable):
            broker.positions()
        child = os.fork()
        if child == 0:
            code = 1
            with contextlib.suppress(BrokerUnavailable):
                began = time.monotonic()
                speak_to(url, TIME_S).positions()
            if time.monotonic() - began < 8 * TIME_S:
                code = 0
            os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        broker.close()
