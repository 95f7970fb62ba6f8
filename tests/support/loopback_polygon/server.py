"""A Polygon on 127.0.0.1: real HTTP/1.1 with keep-alive and gzip, one key, the end-of-day endpoints, faults by script."""

from __future__ import annotations

import contextlib
import datetime as dt
import gzip
import os
import re
import socket
import struct
import threading
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import parse_qsl, unquote, urlsplit

import orjson

from tests.support.loopback_polygon.faults import FaultScript, Reply, refused
from tests.support.loopback_polygon.market import Market, opened_cursor

KEY = "loopback-key-31415926535897"
RANGE = re.compile(r"/v2/aggs/ticker/([^/]+)/range/1/day/(\d{4}-\d\d-\d\d)/(\d{4}-\d\d-\d\d)")
REFUSED = b"the plan does not cover it"
OUTSIDE_PLAN = b'{"status":"NOT_AUTHORIZED","message":"Your plan doesn\'t include this data timeframe."}'
GROUPED = re.compile(r"/v2/aggs/grouped/locale/us/market/stocks/(\d{4}-\d\d-\d\d)")


@dataclass(frozen=True)
class Call:
    """One request as it arrived, and the status that was sent (0: none was)."""

    number: int
    path: str
    query: str
    status: int
    honest: bool


class LoopbackPolygon:
    """Serves `market` while the `with` block runs; `calls` and `connections` say what was asked."""

    def __init__(self, market: Market, faults: FaultScript | None = None, key: str = KEY, zipped: bool = True) -> None:
        self.market = market
        self.faults = faults or FaultScript()
        self.key = key
        self.calls: list[Call] = []
        self.connections = 0
        self.plan_from: dt.date | None = None
        """The first day of the plan; `refuses_early`: what begins before it is refused as a whole, instead of cut."""
        self.refuses_early = False
        self.moved = False
        """Do splits and dividends lie at their newer paths, and nothing at the older ones."""
        self.stopping = threading.Event()
        self._zipped = zipped
        self._zipped_bodies: dict[bytes, bytes] = {}
        self._number = 0
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"loopback": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        """What data.polygon.base_url must be."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> LoopbackPolygon:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def paths(self, pattern: str, honest: bool = False) -> list[str]:
        """The paths asked that match `pattern` (regexp), in order; `honest`: only those answered without a fault."""
        return [call.path for call in self.calls if re.search(pattern, call.path) and (call.honest or not honest)]

    def forget(self) -> None:
        """Start counting anew."""
        with self._lock:
            self.calls.clear()

    def answer(self, target: str, authorization: str) -> Reply:
        """The reply to one request, faults included, noted in `calls`."""
        parts = urlsplit(target)
        with self._lock:
            self._number += 1
            number = self._number
        honest = self._honest(parts.path, dict(parse_qsl(parts.query)), authorization)
        reply = self.faults.apply(number, target, honest)
        with self._lock:
            status = 0 if reply.wait_s is None or reply.delivery == "reset" else reply.status
            self.calls.append(Call(number, unquote(parts.path), parts.query, status, reply is honest))
        return reply

    def credential(self, headers: Message) -> str:
        """What a request shows for a key."""
        return headers.get("Authorization", "")

    def zipped(self, body: bytes) -> bytes:
        """`body` as gzip, kept, so that a prepared market costs no compression while it is measured."""
        if not self._zipped or len(body) < 1000:
            return body
        if body not in self._zipped_bodies:
            self._zipped_bodies[body] = gzip.compress(body, 1)
        return self._zipped_bodies[body]

    def _honest(self, path: str, query: dict[str, str], authorization: str) -> Reply:
        if authorization != f"Bearer {self.key}":
            return refused(401)(Reply(401, b""), self.faults.rng)
        body = self._body(path, query)
        if body is REFUSED:
            return refused(403, OUTSIDE_PLAN)(Reply(403, b""), self.faults.rng)
        if body is None:
            return refused(404)(Reply(404, b""), self.faults.rng)
        return Reply(200, body, {"Content-Type": "application/json"})

    def _body(self, path: str, query: dict[str, str]) -> bytes | None:
        adjusted = query.get("adjusted", "true") == "true"
        if found := RANGE.fullmatch(path):
            start, end = dt.date.fromisoformat(found[2]), dt.date.fromisoformat(found[3])
            if self.plan_from and (end < self.plan_from or (self.refuses_early and start < self.plan_from)):
                return REFUSED
            start = max(start, self.plan_from or start)
            return self.market.range_body(unquote(found[1]), start, end, adjusted)
        if found := GROUPED.fullmatch(path):
            day = dt.date.fromisoformat(found[1])
            return REFUSED if self.plan_from and day < self.plan_from else self.market.grouped_body(day, adjusted)
        asked = opened_cursor(query["cursor"])[1] | query if "cursor" in query else query
        if path == ("/stocks/v1/splits" if self.moved else "/v3/reference/splits"):
            return self.market.splits_body(asked, self.url, path)
        if path == ("/stocks/v1/dividends" if self.moved else "/v3/reference/dividends"):
            return self.market.dividends_body(asked, self.url, path)
        if path == "/v3/reference/tickers":
            return self.market.tickers_body(asked, self.url)
        if path == "/v3/reference/options/contracts":
            return self.market.contracts_body(asked["underlying_ticker"])
        if path == "/v1/marketstatus/upcoming":
            return orjson.dumps([{"date": "2026-11-26", "exchange": "NYSE", "name": "Thanksgiving", "status": "closed"}])
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    loopback: LoopbackPolygon

    def setup(self) -> None:
        super().setup()
        self.loopback.connections += 1

    def do_GET(self) -> None:
        reply = self.loopback.answer(self.path, self.loopback.credential(self.headers))
        if self.loopback.stopping.wait(3600.0 if reply.wait_s is None else reply.wait_s) or reply.wait_s is None:
            self.close_connection = True
            return
        if reply.delivery == "reset":
            self._reset()
            return
        with contextlib.suppress(ConnectionError):
            self._send(reply)

    def _send(self, reply: Reply) -> None:
        body = reply.body
        self.send_response(reply.status)
        if reply.delivery == "whole" and "gzip" in self.headers.get("Accept-Encoding", ""):
            body = self.loopback.zipped(body)
            if body is not reply.body:
                self.send_header("Content-Encoding", "gzip")
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if reply.delivery == "drip":
            self._drip(body)
        else:
            self.wfile.write(body if reply.delivery == "whole" else body[: len(body) // 2])
        self.wfile.flush()
        self.close_connection = self.close_connection or reply.delivery != "whole"

    def _drip(self, body: bytes) -> None:
        for index in range(len(body)):
            self.wfile.write(body[index : index + 1])
            self.wfile.flush()
            if self.loopback.stopping.wait(0.05):
                return

    def _reset(self) -> None:
        """Close with RST: a linger of zero, and the descriptor itself, for the streams still hold the socket."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())

    def log_message(self, format: str, *args: object) -> None:
        """Requests are in `LoopbackPolygon.calls`."""
