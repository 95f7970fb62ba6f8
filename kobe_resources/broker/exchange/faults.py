"""Faults by script: which request meets which trouble, before or after the broker accepted it.

A script is a list of entries such as
    {"match": {"method": "POST", "path": "/v2/orders", "symbol": "AAPL", "nth": 2}, "when": "after", "kind": "reset"}
`nth` counts the requests that match (from 1), `times` says how many in a row are hit (1; null: all from there on). A request
for quotes matches where one of its symbols does. An entry {"settings": {…}} changes how strict the broker is (strictness.py).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from kobe_resources.broker.exchange.strictness import PROMPT, Strictness
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
QUOTES = ("no_quote", "stale_quote", "wide_quote", "crossed_quote", "one_sided_quote")
CHANGED = ("unknown_status", "wrong_id", "market_closed", "wrong_account", *QUOTES)
# The broker itself behaves otherwise: what becomes of an order that is sent, and of a cancel.
OF_ORDERS = ("partial_fill", "no_fill", "late_visibility", "slow_new", "slow_fill", "late_reject", "late_cancel")
OF_CANCELS = ("slow_cancel", "fill_on_cancel")
BEHAVIOUR = (*OF_ORDERS, *OF_CANCELS)
KINDS = (*CANNED, *SILENT, *CHANGED, *BEHAVIOUR)


@dataclass
class Fault:
    """One entry of a script; counts its own matches.

    seconds: how long a `hang` lasts, a late order stays hidden, an order takes to be new (`slow_new`), to fill (`slow_fill`),
    to be rejected after all (`late_reject`), to end of itself (`late_cancel`), or a cancel to be done (`slow_cancel`), or to be
    overtaken by a fill (`fill_on_cancel`). lookups: how many look-ups a late order misses.
    share: the part a `partial_fill` fills. answer: what answers the POST of a late order (a kind of CANNED, SILENT or "ok").
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
            raise UsageError(f"fault {dict(entry)}: {error}", "see kobe_resources/broker/exchange/faults.py") from None
        unknown_answer = fault.answer not in (*CANNED, *SILENT, "ok")
        if fault.kind not in KINDS or fault.when not in ("before", "after") or unknown_answer:
            raise UsageError(f"fault {dict(entry)} is not known", f"kinds: {', '.join(KINDS)}; when: before, after")
        return fault

    def hits(self, method: str, path: str, symbols: Sequence[str]) -> bool:
        """Count the request if it matches; True where its turn has come."""
        if not (fnmatchcase(method, self.method) and fnmatchcase(path, self.path) and any(map(self.names, symbols))):
            return False
        self.matched += 1
        due = self.matched >= self.nth and (self.times is None or self.matched < self.nth + self.times)
        self.fired += due
        return due

    def names(self, symbol: str) -> bool:
        """The fault is about this symbol, too."""
        return fnmatchcase(symbol, self.symbol)


class FaultScript:
    """The faults in force, the first that hits a request being the one it meets, and how strict the broker is."""

    def __init__(self, strictness: Strictness = PROMPT) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._unchanged = strictness
        self.strictness = strictness

    def add(self, *entries: Mapping[str, Any]) -> None:
        """Add entries of a script: all of them, or none where one is not known."""
        faults: list[Fault] = []
        with self._lock:
            strictness = self.strictness
            for entry in entries:
                if not isinstance(entry, Mapping):
                    raise UsageError(f"{entry!r} is no entry of a fault script", "write it as a JSON object")
                if set(entry) == {"settings"}:
                    strictness = strictness.changed(entry["settings"])
                else:
                    faults.append(Fault.of(entry))
            self.strictness = strictness
            self._faults.extend(faults)

    def clear(self) -> None:
        """No more faults, and as strict as at the start."""
        with self._lock:
            self._faults.clear()
            self.strictness = self._unchanged

    def meet(self, method: str, path: str, symbols: Sequence[str]) -> Fault | None:
        """The fault this request meets, or None."""
        with self._lock:
            hits = [fault for fault in self._faults if fault.hits(method, path, symbols)]
        return hits[0] if hits else None

    def fired(self) -> list[tuple[str, int]]:
        """(kind, how often it struck) of every entry."""
        with self._lock:
            return [(fault.kind, fault.fired) for fault in self._faults]
