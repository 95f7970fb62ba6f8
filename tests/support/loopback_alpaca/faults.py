"""What can happen to an answer of Alpaca on its way, beyond what can happen to any."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson

from tests.support.loopback_polygon.faults import Fault, Reply, cut_off, html, refused, reset, slow, truncated

Edit = Callable[[dict[str, Any], random.Random], dict[str, Any]]


def too_many(seconds: float) -> Fault:
    """429 whose reset header says when to come again."""
    headers = {"Content-Type": "application/json", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(seconds)}
    return lambda reply, rng: Reply(429, b'{"message":"too many requests."}', headers)


def edited(edit: Edit) -> Fault:
    """The honest envelope, changed; what is no envelope of rows stays honest."""

    def fault(reply: Reply, rng: random.Random) -> Reply:
        answer = orjson.loads(reply.body) if reply.status == 200 else None
        return replace(reply, body=orjson.dumps(edit(answer, rng))) if isinstance(answer, dict) else reply

    return fault


def _spoil(change: dict[str, Any]) -> Edit:
    def edit(answer: dict[str, Any], rng: random.Random) -> dict[str, Any]:
        bars = answer.get("bars")
        if bars:
            rows = bars[rng.choice(sorted(bars))]
            place = rng.randrange(len(rows))
            rows[place] = {**rows[place], **change}
        return answer

    return edit


def _error_in_200(answer: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    return {"message": "internal server error", "code": 50010000}


def _no_token(answer: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    return {key: value for key, value in answer.items() if key != "next_page_token"}


def _repeated(answer: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    for rows in (answer.get("bars") or {}).values():
        rows.append(rows[-1])
    return answer


def _empty(answer: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    return {"bars": None, "next_page_token": None} if "bars" in answer else answer


def _cut_short(answer: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """Half the rows, and no word of more."""
    if not answer.get("bars"):
        return answer
    flat = [(symbol, row) for symbol, rows in answer["bars"].items() for row in rows]
    kept: dict[str, list[Any]] = {}
    for symbol, row in flat[: len(flat) // 2]:
        kept.setdefault(symbol, []).append(row)
    return {"bars": kept, "next_page_token": None}


error_in_200, no_token, repeated = edited(_error_in_200), edited(_no_token), edited(_repeated)
empty, cut_short = edited(_empty), edited(_cut_short)
no_price, no_moment = edited(_spoil({"c": None})), edited(_spoil({"t": "yesterday"}))

PASSING: tuple[Fault, ...] = (
    refused(500), refused(503), too_many(0.01), slow(0.02), reset, cut_off, html, truncated,
    error_in_200, no_token, repeated, empty, cut_short, no_price, no_moment,
)  # fmt: skip
"""Faults that pass when asked again; none may leave a trace in the store."""
