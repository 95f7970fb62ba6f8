"""How the adapter talks: bounded in time, past every proxy, without hidden repeats, and with closed lips about keys."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import threading
import traceback
from collections.abc import Callable, Iterator

import pytest
from requests.adapters import HTTPAdapter

from kobe_resources.broker.alpaca.adapter import AlpacaBroker
from kobe_resources.broker.alpaca.transport import CONNECT_TIMEOUT_S, TimedAdapter
from kobe_resources.broker.exchange.embedded import EmbeddedBroker
from kobe_resources.broker.exchange.faults import CANNED, CHANGED, SILENT
from kobe_resources.broker.protocol import BrokerError, BrokerUnavailable, Unresolved
from kobe_resources.settings.models import BrokerSettings
from tests.resources.broker.conftest import KEY_ID, SECRET, SHORT_TIMEOUT_S, limit_order, speak_to, stop_order
from tests.resources.broker.test_bodies import ORDER

PROXY_VARIABLES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


@contextlib.contextmanager
def raw_server(answer: bytes) -> Iterator[str]:
    """A server that sends `answer` to whoever connects and then keeps silent."""
    listener = socket.create_server(("127.0.0.1", 0))
    held: list[socket.socket] = []

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                held.append(connection)
                connection.recv(65536)
                connection.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()
    for connection in held:
        connection.close()


def test_every_call_carries_a_timeout(embedded: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    send = HTTPAdapter.send

    def spy(self: HTTPAdapter, request: object, *args: object, **options: object) -> object:
        seen.append(options.get("timeout"))
        return send(self, request, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(HTTPAdapter, "send", spy)
    broker = speak_to(embedded.url, 7.5)
    broker.clock()
    broker.quotes(["KO"])
    broker.submit(limit_order("a", qty="2"))
    broker.cancel(broker.submit(stop_order("b")).id)
    assert len(seen) == 6
    assert set(seen) == {(CONNECT_TIMEOUT_S, 7.5)}


def test_the_sdk_is_told_not_to_repeat_and_to_ignore_the_environment(broker: AlpacaBroker) -> None:
    for line in (broker._trading, broker._data):
        assert line._client._retry == 0
        assert line._client._session.trust_env is False
        adapter = line._client._session.get_adapter("https://api.alpaca.markets/v2/orders")
        assert isinstance(adapter, TimedAdapter)
        assert adapter.max_retries.total == 0


def test_the_default_timeout_is_a_setting() -> None:
    assert BrokerSettings().timeout_s == 10.0


def test_proxy_variables_are_ignored(embedded: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXY_VARIABLES:
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    broker = speak_to(embedded.url, SHORT_TIMEOUT_S)
    assert broker.clock().is_open
    broker.submit(limit_order("a"))
    assert broker.quotes(["KO"])


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n\xff\xfe\x00[[{",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"[" * 100_000,
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n42",
        b"HTTP/1.1 307 Go\r\nLocation: http://127.0.0.1:9/v2/orders\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 422 No\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 422 No\r\nContent-Length: 12\r\n\r\n<html>no</ht",
        b'HTTP/1.1 403 No\r\nContent-Length: 15\r\n\r\n{"message":null',
    ],
    ids=lambda answer: repr(answer[-24:]),
)
@pytest.mark.usefixtures("no_collection")
def test_whatever_a_server_sends_an_order_is_unresolved_and_a_read_unavailable(answer: bytes) -> None:
    with raw_server(answer) as url:
        broker = speak_to(url, SHORT_TIMEOUT_S)
        broker._account_confirmed = True
        with pytest.raises(Unresolved):
            broker.submit(limit_order("a"))
        with pytest.raises(BrokerUnavailable):
            broker.order_by_client_id("a")
        broker.close()


def test_a_redirection_is_no_answer_even_with_the_order_in_its_body() -> None:
    body = json.dumps({**ORDER, "client_order_id": "a"}).encode()
    with raw_server(b"HTTP/1.1 307 Go\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)) as url:
        broker = speak_to(url, SHORT_TIMEOUT_S)
        broker._account_confirmed = True
        with pytest.raises(Unresolved, match="307"):
            broker.submit(limit_order("a"))
        with pytest.raises(BrokerUnavailable, match="307"):
            broker.order_by_client_id("a")


def test_keys_are_in_no_error_and_no_log(embedded: EmbeddedBroker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    echo = f'{{"code":1,"message":"bad key {KEY_ID} and {SECRET}"}}'.encode()
    with raw_server(b"HTTP/1.1 422 No\r\nContent-Length: %d\r\n\r\n%b" % (len(echo), echo)) as echoing:
        errors = [*_errors(speak_to(echoing, SHORT_TIMEOUT_S))]
    for kind in [*CANNED, *SILENT, *CHANGED]:
        embedded.faults.clear()
        embedded.faults.add({"match": {"path": "/v2/orders*", "times": None}, "kind": kind})
        errors += _errors(speak_to(embedded.url, SHORT_TIMEOUT_S))
    errors += _errors(speak_to("http://127.0.0.1:9", SHORT_TIMEOUT_S))
    assert len(errors) > 2 * len(CANNED)
    logged = "\n".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
    assert "/v2/orders" in logged
    for text in [*errors, logged]:
        assert KEY_ID not in text
        assert SECRET not in text


def _errors(broker: AlpacaBroker) -> Iterator[str]:
    """Everything a handler, a logger or a traceback could tell of each error."""
    broker._account_confirmed = True
    assert SECRET not in repr(broker)
    for call in (lambda: broker.submit(limit_order("a")), lambda: broker.order_by_client_id("a"), lambda: broker.cancel("x")):
        error = _error_of(call)
        if error is None:
            continue
        # The SDK's error holds the request and its headers: it must not even hang behind ours.
        assert error.__cause__ is None
        assert not hasattr(error.__context__, "request")
        yield "".join(traceback.format_exception(error)) + repr(error) + repr(error.args) + repr(error.__dict__)


def _error_of(call: Callable[[], object]) -> BrokerError | None:
    try:
        call()
    except BrokerError as error:
        return error
    return None
