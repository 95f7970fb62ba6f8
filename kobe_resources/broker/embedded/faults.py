"""Faults by script: which request meets which trouble, before or after the broker accepted it.

A script is a list of entries such as
    {"match": {"method": "POST", "path": "/v2/orders", "symbol": "AAPL", "nth": 2}, "when": "after", "kind": "reset"}
`nth` counts the requests that match (from 1), `times` says how many in a row are hit (1; null: all from there on).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from kobe_resources.errors import UsageError

# What goes over the wire instead of the answer: (status, content type, body).
JSON, HTML = "application/json", "text/html"
PAGE = "<html><body><h1>503 Service Temporarily Unavailable</h1></body></html>"
CANNED: dict[str, tuple[int, str, str]] = {
    "500": (500, JSON, '{"code":50010000,"message":"internal server error occurred"}'),
    "502": (502, HTML, "<html><body>502 Bad Gateway</body></html>"),
    "503": (503, JSON, '{"code":50310000,"message":"service unavailable"}'),
    "504": (504, JSON, '{"message":"endpoint request timed out"}'),
    "503_html": (503, HTML, PAGE),
    "200_html": (200, HTML, "<html><body>Welcome</body></html>"),
    "200_empty": (200, JSON, ""),
    "200_list": (200, JSON, "[]"),
    "bad_json": (200, JSON, '{"id": "61e69015-'),
    "403_html": (403, HTML, "<html><body>403 Forbidden</body></html>"),
    "404_gateway": (404, JSON, '{"message":"Not Found"}'),
    "302": (302, JSON, '{"message":"moved"}'),
    "401": (401, JSON, '{"message":"unauthorized."}'),
    "429": (429, JSON, '{"code":42910000,"message":"rate limit exceeded"}'),
    "duplicate_id": (422, JSON, '{"code":40010001,"message":"client_order_id must be unique"}'),
    "insufficient_buying_power": (403, JSON, '{"code":40310000,"message":"insufficient buying power"}'),
    "not_tradable": (422, JSON, '{"code":42210000,"message":"asset is not tradable"}'),
    "wash_trade": (403, JSON, '{"code":40310000,"message":"potential wash trade detected. use complex orders"}'),
}
SILENT = ("reset", "hang")
# The answer is the broker's own, but changed.
CHANGED = ("unknown_status", "wrong_id", "market_closed", "wrong_account")
# The broker itself behaves otherwise.
BEHAVIOUR = ("partial_fill", "no_fill", "late_visibility")
KINDS = (*CANNED, *SILENT, *CHANGED, *BEHAVIOUR)


@dataclass
class Fault:
    """One entry of a script; counts its own matches.

    seconds: how long a `hang` lasts, or a late order stays hidden. lookups: how many look-ups a late order misses.
    share: the part a `partial_fill` fills. answer: what the POST of a late order is told (a kind of CANNED, SILENT or "ok").
    """

    kind: str
    when: str = "before"
    method: str = "*"
    path: str = "*"
    symbol: str = "*"
    nth: int = 1
    times: int | None = 1
    seconds: float = 0.0
    lookups: int = 0
    share: float = 0.5
    answer: str = "504"
    matched: int = field(default=0, compare=False)
    fired: int = field(default=0, compare=False)

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Fault:
        """From a script's entry; UsageError where it says something unknown."""
        try:
            fault = cls(**{key: value for key, value in entry.items() if key != "match"}, **entry.get("match", {}))
        except TypeError as error:
            raise UsageError(f"fault {dict(entry)}: {error}", "see kobe_resources/broker/embedded/faults.py") from None
        unknown_answer = fault.answer not in (*CANNED, *SILENT, "ok")
        if fault.kind not in KINDS or fault.when not in ("before", "after") or unknown_answer:
            raise UsageError(f"fault {dict(entry)} is not known", f"kinds: {', '.join(KINDS)}; when: before, after")
        return fault

    def hits(self, method: str, path: str, symbol: str) -> bool:
        """Count the request if it matches; True where its turn has come."""
        wanted = ((method, self.method), (path, self.path), (symbol, self.symbol))
        if not all(fnmatchcase(value, pattern) for value, pattern in wanted):
            return False
        self.matched += 1
        due = self.matched >= self.nth and (self.times is None or self.matched < self.nth + self.times)
        self.fired += due
        return due


class FaultScript:
    """The faults in force; the first that hits a request is the one it meets."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._lock = threading.Lock()
        self._faults = list(faults)

    def add(self, *entries: Mapping[str, Any]) -> None:
        """Add entries of a script."""
        faults = [Fault.of(entry) for entry in entries]
        with self._lock:
            self._faults.extend(faults)

    def clear(self) -> None:
        """No more faults."""
        with self._lock:
            self._faults.clear()

    def meet(self, method: str, path: str, symbol: str) -> Fault | None:
        """The fault this request meets, or None."""
        with self._lock:
            hits = [fault for fault in self._faults if fault.hits(method, path, symbol)]
        return hits[0] if hits else None

    def fired(self) -> list[tuple[str, int]]:
        """(kind, how often it struck) of every entry."""
        with self._lock:
            return [(fault.kind, fault.fired) for fault in self._faults]
