"""A loopback HTTP server of Alpaca's API over a `Book`: trading and data paths, and a few of its own under /embedded.

Only ever bound to 127.0.0.1. A request must name a loopback host and hold a key (any, or the one of `Terms.key_id`); its own
paths want its very address as Host, and as Origin where there is one: no page of a browser comes near the clock.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import math
import socket
import struct
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from kobe_resources.broker.exchange import bodies
from kobe_resources.broker.exchange.faults import CANNED, JSON, Fault, FaultScript
from kobe_resources.broker.exchange.matching import Book
from kobe_resources.broker.exchange.routes import UNAUTHORIZED, Reply, Request, answer, holds_key
from kobe_resources.errors import KobeError

HANG_S = 3600.0
LONGEST_BODY = 1 << 20
REQUESTS_KEPT = 100_000
PHRASES = {200: "OK", 204: "No Content", 302: "Found"}
MINUTE_S = 60.0
STANDARD_LIMIT = 200


FORBIDDEN_HOST = Reply(403, {"message": "forbidden."})


class Meter:
    """Counts requests by the minute, from the first one on, for the whole account.

    A clock that moves on to another session lets the minute pass too, however little real time that took.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._session = dt.date.min
        self._ends = 0.0
        self._taken = 0

    def take(self, limit: int | None, session: dt.date) -> tuple[bool, dict[str, str]]:
        """Whether one more request may pass, and the headers with how many are left until when."""
        if limit is None:
            return True, {"X-RateLimit-Limit": str(STANDARD_LIMIT)}
        with self._lock:
            now = time.time()
            if session != self._session or not now < self._ends <= now + MINUTE_S:
                self._session, self._ends, self._taken = session, now + MINUTE_S, 0
            passes = self._taken < limit
            self._taken += passes
            left, ends = limit - self._taken, self._ends
        headers = {"X-RateLimit-Limit": limit, "X-RateLimit-Remaining": max(left, 0), "X-RateLimit-Reset": math.ceil(ends)}
        return passes, {name: str(value) for name, value in headers.items()}


class BrokerServer(ThreadingHTTPServer):
    """Serves `book` on 127.0.0.1:`port` (0: any free one) until `stop`."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, book: Book, faults: FaultScript, port: int = 0) -> None:
        self.book = book
        self.faults = faults
        self.meter = Meter()
        self.stopping = threading.Event()
        self.requests: deque[tuple[str, str]] = deque(maxlen=REQUESTS_KEPT)
        self._connections: set[socket.socket] = set()
        self._connections_lock = threading.Lock()
        super().__init__(("127.0.0.1", port), Handler)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def stop(self) -> None:
        """Stop listening and cut every connection; the caller closes the book."""
        self.stopping.set()
        self.shutdown()
        self.server_close()
        with self._connections_lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection, so that `stop` can cut it."""
        with self._connections_lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget the connection."""
        with self._connections_lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing: a client that closed its connection is no error of the server."""


class Handler(BaseHTTPRequestHandler):
    """One connection, kept alive."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: BrokerServer
    _answer_headers: dict[str, str]
    """Headers of the answer that is due."""

    def do_GET(self) -> None:
        """A question."""
        self._serve()

    def do_POST(self) -> None:
        """An order, or a request to the server itself."""
        self._serve()

    def do_DELETE(self) -> None:
        """A cancel."""
        self._serve()

    def do_PATCH(self) -> None:
        """Another order in the place of one."""
        self._serve()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is logged: headers hold keys."""

    def _serve(self) -> None:
        request = self._read()
        if request is None:
            return
        self._answer_headers = {}
        if request.path.startswith("/embedded/"):
            self._control(request)
            return
        if not self._is_local():
            self._send(FORBIDDEN_HOST)
            return
        self.server.requests.append((request.method, request.path))
        limit, session = self.server.faults.strictness.requests_a_minute, self.server.book.state.moment().session
        passes, self._answer_headers = self.server.meter.take(limit, session)
        if not passes:
            self._strike("429", 0.0)
            return
        fault = self.server.faults.meet(request.method, request.path, self._symbols_of(request))
        if fault is not None and fault.when == "before" and self._strike(fault.kind, fault.seconds):
            return
        reply = self._answered(request, fault)
        if fault is not None:
            kind = fault.answer if fault.kind == "late_visibility" else fault.kind
            if (fault.when == "after" or fault.kind == "late_visibility") and self._strike(kind, fault.seconds):
                return
        self._send(reply)

    def _read(self) -> Request | None:
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 <= length <= LONGEST_BODY:
            self.close_connection = True
            return None
        raw = self.rfile.read(length)
        parts = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        try:
            body = json.loads(raw) if raw else {}
        except ValueError:
            body = {}
        return Request(self.command, unquote(parts.path), query, body, self.headers.get("APCA-API-KEY-ID"))

    def _answered(self, request: Request, fault: Fault | None) -> Reply:
        try:
            return answer(request, self.server.book, fault)
        except KobeError as error:
            return Reply(422, {"message": str(error)})

    def _is_local(self) -> bool:
        """Whether the request names this machine, which a page of another site and a rebound DNS name do not."""
        host, _, port = (self.headers.get("Host") or "").partition(":")
        return host.lower() in ("127.0.0.1", "localhost") and (not port or port.isdecimal())

    def _symbols_of(self, request: Request) -> list[str]:
        """The symbols a request is about; one empty text where it is about none."""
        if request.path == "/v2/stocks/quotes/latest":
            return request.query.get("symbols", "").split(",")
        return [self._symbol_of(request)]

    def _symbol_of(self, request: Request) -> str:
        if isinstance(request.body, dict) and request.body.get("symbol"):
            return str(request.body["symbol"])
        state = self.server.book.state
        if request.path == "/v2/orders:by_client_order_id":
            row = state.order_by_client_id(request.query.get("client_order_id", ""))
        elif request.path.startswith("/v2/orders/"):
            row = state.order(request.path.removeprefix("/v2/orders/"))
        else:
            return request.path.removeprefix("/v2/assets/") if request.path.startswith("/v2/assets/") else ""
        return str(row["symbol"]) if row else ""

    def _strike(self, kind: str, seconds: float) -> bool:
        """Do what the fault says instead of answering; False where it leaves the answer alone."""
        if kind == "reset":
            self._reset()
        elif kind == "hang":
            self.server.stopping.wait(seconds or HANG_S)
            self._reset()
        elif kind in CANNED:
            status, content_type, text = CANNED[kind]
            self._write(status, content_type, text.encode())
        else:
            return False
        return True

    def _reset(self) -> None:
        """Cut the connection with a RST, as a dying server or a firewall does."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.rfile.close()
        self.connection.close()

    def _send(self, reply: Reply) -> None:
        body = b"" if reply.body is None else json.dumps(reply.body).encode()
        self._write(reply.status, JSON, body)

    def _write(self, status: int, content_type: str, body: bytes) -> None:
        headers = "".join(f"{name}: {value}\r\n" for name, value in self._answer_headers.items())
        head = (
            f"HTTP/1.1 {status} {PHRASES.get(status, 'Error')}\r\nContent-Type: {content_type}\r\n"
            f"X-Request-ID: {uuid.uuid4().hex}\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
        )
        try:
            self.wfile.write(head.encode() + body)
        except OSError:
            self.close_connection = True

    def _control(self, request: Request) -> None:
        """The server's own paths: advance the clock, add or clear faults, list what happened."""
        own = {self.server.url, self.server.url.replace("127.0.0.1", "localhost")}
        origin = self.headers.get("Origin")
        if f"http://{self.headers.get('Host')}" not in own or (origin is not None and origin not in own):
            self._send(FORBIDDEN_HOST)
            return
        if not holds_key(request, self.server.book):
            self._send(UNAUTHORIZED)
            return
        try:
            self._send(Reply(200, CONTROLS[request.method, request.path](self.server, request.body)))
        except KeyError:
            self._send(Reply(404, {"message": f"no such path, or a field is missing: {request.path}"}))
        except (KobeError, ValueError, TypeError) as error:
            self._send(Reply(422, {"message": str(error)}))


def _advance(server: BrokerServer, body: dict[str, Any]) -> Any:
    server.book.advance_to(dt.date.fromisoformat(body["session"]), body.get("phase", "open"))
    return bodies.clock_body(server.book)


def _settle(server: BrokerServer, _: Any) -> Any:
    server.book.settle(everything=True)
    return bodies.clock_body(server.book)


def _add_faults(server: BrokerServer, body: Any) -> Any:
    server.faults.add(*body)
    return server.faults.fired()


def _clear_faults(server: BrokerServer, _: Any) -> Any:
    server.faults.clear()
    return []


CONTROLS: dict[tuple[str, str], Callable[[BrokerServer, Any], Any]] = {
    ("POST", "/embedded/advance"): _advance,
    ("POST", "/embedded/faults"): _add_faults,
    ("DELETE", "/embedded/faults"): _clear_faults,
    ("GET", "/embedded/faults"): lambda server, _: server.faults.fired(),
    ("POST", "/embedded/settle"): _settle,
    ("GET", "/embedded/requests"): lambda server, _: list(server.requests),
}
