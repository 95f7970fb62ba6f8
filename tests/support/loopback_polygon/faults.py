"""What can happen to an answer on its way, and the script that says to which call it happens.

A fault is a function from the honest reply to the one that is sent; the script is deterministic for the same order of calls.
"""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson


@dataclass(frozen=True)
class Reply:
    """How one request is answered: after `wait_s` (None: never), `delivery` says how the bytes travel."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    wait_s: float | None = 0.0
    delivery: str = "whole"
    """whole; cut: half the body, then the connection closes; reset: no byte, then RST; drip: a byte at a time."""


Fault = Callable[[Reply, random.Random], Reply]


def refused(status: int, body: bytes = b"") -> Fault:
    """401, 403, 404, 429, 5xx … with the vendor's body unless another is given."""
    bodies = {
        401: b'{"status":"ERROR","request_id":"1","error":"Unknown API Key"}',
        403: b'{"status":"NOT_AUTHORIZED","request_id":"1","message":"You are not entitled to this data. Upgrade."}',
        404: b'{"status":"NOT_FOUND","request_id":"1","message":"Not Found"}',
    }
    return lambda reply, rng: Reply(status, body or bodies.get(status, b""), {"Content-Type": "application/json"})


def too_many(retry_after: str | None = None, body: bytes = b"") -> Fault:
    """429, with or without Retry-After and body."""
    headers = {"Retry-After": retry_after} if retry_after is not None else {}
    return lambda reply, rng: Reply(429, body, headers)


TOO_MANY_BODY = (
    b'{"status":"ERROR","request_id":"1","error":"You have exceeded the maximum requests per minute, please wait or upgrade."}'
)


def slow(seconds: float) -> Fault:
    """The honest answer, late."""
    return lambda reply, rng: replace(reply, wait_s=seconds)


def hang(reply: Reply, rng: random.Random) -> Reply:
    """No byte, ever; the connection stays open."""
    return replace(reply, wait_s=None)


def reset(reply: Reply, rng: random.Random) -> Reply:
    """The connection is reset before the answer."""
    return replace(reply, delivery="reset")


def cut_off(reply: Reply, rng: random.Random) -> Reply:
    """Half the announced bytes, then the end."""
    return replace(reply, delivery="cut")


def drip(reply: Reply, rng: random.Random) -> Reply:
    """Never silent and never done."""
    return replace(reply, delivery="drip")


def html(reply: Reply, rng: random.Random) -> Reply:
    """A proxy's page, with 200."""
    return Reply(200, b"<html><body><h1>Sign in to the network</h1></body></html>", {"Content-Type": "text/html"})


def error_status(reply: Reply, rng: random.Random) -> Reply:
    """An error inside a 200."""
    return replace(reply, body=b'{"status":"ERROR","request_id":"1","error":"Internal processing failure"}')


def truncated(reply: Reply, rng: random.Random) -> Reply:
    """Half a JSON text, whole as HTTP."""
    return replace(reply, body=reply.body[: len(reply.body) // 2])


def false_empty(reply: Reply, rng: random.Random) -> Reply:
    """No bars though there are some: seen from the vendor under load."""
    empty = {"queryCount": 0, "resultsCount": 0, "count": 0, "results": None}
    return _edited(reply, lambda answer: answer | empty if "resultsCount" in answer else answer)


def wrong_count(reply: Reply, rng: random.Random) -> Reply:
    """More rows announced than sent."""
    return _edited(reply, lambda answer: {**answer, "resultsCount": answer.get("resultsCount", 0) + 1})


def lost_rows(reply: Reply, rng: random.Random) -> Reply:
    """The count is right, the rows are not all there; where nothing is counted nobody could tell, so all of them are."""
    counted = "resultsCount" in orjson.loads(reply.body)
    return _with_rows(reply, lambda rows: rows[:-1] if counted else rows)


def reordered(reply: Reply, rng: random.Random) -> Reply:
    """The same rows in another order."""
    return _with_rows(reply, lambda rows: rng.sample(rows, len(rows)))


def repeated(reply: Reply, rng: random.Random) -> Reply:
    """Some rows twice, equal, and counted so."""
    return _with_rows(reply, lambda rows: [*rows, *rng.sample(rows, min(3, len(rows)))], recount=True)


def contradictory(reply: Reply, rng: random.Random) -> Reply:
    """A row twice, with two volumes."""

    def twice(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        other = dict(rng.choice(rows))
        other["v"] = other.get("v", 0) + 1
        return [*rows, other]

    return _with_rows(reply, twice, recount=True)


def control_bytes(reply: Reply, rng: random.Random) -> Reply:
    """A ticker with a bell and a newline in it; a row without a ticker gets a price no market has."""

    def marred(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        victim = rng.randrange(len(rows))
        name = next((key for key in ("T", "ticker") if key in rows[victim]), None)
        change = {name: f"{rows[victim][name][:2]}\x07\n"} if name else {"c": -1.0}
        return [{**row, **change} if index == victim else row for index, row in enumerate(rows)]

    return _with_rows(reply, marred)


def next_url_to(url: str) -> Fault:
    """The next page lies at `url`."""
    return lambda reply, rng: _edited(reply, lambda answer: {**answer, "next_url": url})


def saying(**fields: Any) -> Fault:
    """The honest envelope with some fields changed."""
    return lambda reply, rng: _edited(reply, lambda answer: {**answer, **fields})


PASSING: tuple[Fault, ...] = (
    refused(500), refused(502), refused(503), too_many("0"), slow(0.02), reset, cut_off, html, error_status, truncated,
    false_empty, wrong_count, lost_rows, reordered, repeated, contradictory, control_bytes,
)  # fmt: skip
"""Faults that pass when asked again; none may leave a trace in the store."""


@dataclass
class _Rule:
    fault: Fault
    path: re.Pattern[str] | None
    calls: Collection[int] | None
    left: int | None


class FaultScript:
    """Decides call by call; calls count from 1, paths carry their query."""

    def __init__(self) -> None:
        self._rules: list[_Rule] = []
        self._share = 0.0
        self._faults: Sequence[Fault] = ()
        self._happened: set[tuple[str, Fault]] = set()
        self.rng = random.Random(0)
        self._lock = threading.Lock()

    def on(
        self, fault: Fault, path: str | None = None, calls: Collection[int] | None = None, times: int | None = None
    ) -> FaultScript:
        """`fault` for calls whose path matches `path` (regexp, searched) and whose number is in `calls`, `times` times."""
        self._rules.append(_Rule(fault, re.compile(path) if path else None, calls, times))
        return self

    def at_random(self, share: float, seed: int, faults: Sequence[Fault] = PASSING) -> FaultScript:
        """One of `faults` for a `share` of the calls that no rule names; each passes: it hits a path once only."""
        self._share, self._faults, self.rng = share, faults, random.Random(seed)
        return self

    def clear(self) -> None:
        """Be honest from now on."""
        with self._lock:
            self._rules.clear()
            self._share = 0.0

    def apply(self, number: int, path: str, honest: Reply) -> Reply:
        """The reply that is sent; `honest` itself where no fault hits."""
        with self._lock:
            fault = self._pick(number, path)
            return fault(honest, self.rng) if fault else honest

    def _pick(self, number: int, path: str) -> Fault | None:
        for rule in self._rules:
            hit = (rule.path is None or rule.path.search(path)) and (rule.calls is None or number in rule.calls)
            if hit and rule.left != 0:
                rule.left = None if rule.left is None else rule.left - 1
                return rule.fault
        if self.rng.random() >= self._share:
            return None
        fault = self.rng.choice(self._faults)
        if (path, fault) in self._happened:
            return None
        self._happened.add((path, fault))
        return fault


def _edited(reply: Reply, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Reply:
    """The reply with another envelope; only what was good can be spoilt."""
    if reply.status != 200:
        return reply
    return replace(reply, body=orjson.dumps(change(orjson.loads(reply.body))))


def _with_rows(reply: Reply, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]], recount: bool = False) -> Reply:
    """The reply with other rows; one without rows stays honest."""

    def edit(answer: dict[str, Any]) -> dict[str, Any]:
        if not answer.get("results"):
            return answer
        rows = change(answer["results"])
        counts = {key: len(rows) for key in ("resultsCount", "queryCount", "count") if key in answer} if recount else {}
        return {**answer, "results": rows, **counts}

    return _edited(reply, edit)
