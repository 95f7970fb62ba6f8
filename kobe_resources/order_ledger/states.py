"""The life of an order: its states, the moves between them, and the id that makes sending it twice impossible.

Pure; nothing here touches the database.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from enum import StrEnum

from kobe_resources.errors import KobeError


class IllegalMove(KobeError):
    """An order was asked to change in a way its state machine does not know."""


class OrderState(StrEnum):
    """Where an order stands. PARTIAL is an end: the order is over and filled in part."""

    PLANNED = "INTENT"
    SUBMITTING = "SUBMITTING"
    ACCEPTED = "ACCEPTED"
    UNKNOWN = "UNKNOWN"
    FILLED = "FILLED"
    PARTIAL = "PARTIAL"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    REJECTED = "REJECTED"
    NOT_PLACED = "NOT_PLACED"
    DENIED = "VETOED"
    """Refused before it was sent; the tables and the audit chain call it VETOED."""
    WOULD_SEND = "WOULD_SEND"
    """Decided in a stage that sends nothing; its fills are those of a paper book."""


S = OrderState
ENDED = frozenset({S.FILLED, S.PARTIAL, S.CANCELED, S.EXPIRED, S.REJECTED, S.DENIED, S.WOULD_SEND})
"""Nothing follows at the broker. NOT_PLACED is not among them: an order that shows up late is promoted."""

UNSETTLED = frozenset({S.SUBMITTING, S.ACCEPTED, S.UNKNOWN})
"""The broker may hold this order: only a look-up settles it."""

_SETTLED_BY_BROKER = frozenset({S.FILLED, S.PARTIAL, S.CANCELED, S.EXPIRED, S.REJECTED})

MOVES: dict[OrderState, frozenset[OrderState]] = {
    # An order that is to be sent again, or comes from a restored backup, may be found at the broker.
    S.PLANNED: frozenset({S.SUBMITTING, S.DENIED, S.ACCEPTED}) | _SETTLED_BY_BROKER,
    # Back to INTENT only for what provably never left: the claim is given back before the POST.
    S.SUBMITTING: frozenset({S.PLANNED, S.ACCEPTED, S.UNKNOWN, S.NOT_PLACED}) | _SETTLED_BY_BROKER,
    S.UNKNOWN: frozenset({S.ACCEPTED, S.NOT_PLACED}) | _SETTLED_BY_BROKER,
    # A stop whose cancel was asked, or that no look-up tells any more, counts as nothing until one does.
    S.ACCEPTED: frozenset({S.UNKNOWN}) | _SETTLED_BY_BROKER,
    # What never reached the broker may be sent again under the same id, which the broker takes once.
    S.NOT_PLACED: frozenset({S.ACCEPTED, S.PLANNED}) | _SETTLED_BY_BROKER,
    **{state: frozenset() for state in ENDED},
    # Nothing was sent: an entry that only a quote was missing for is decided again within its window.
    S.DENIED: frozenset({S.PLANNED}),
}


def check_move(client_order_id: str, old: OrderState, new: OrderState) -> None:
    """Raise IllegalMove unless the state machine knows old → new."""
    if new not in MOVES[old]:
        raise IllegalMove(f"order {client_order_id} cannot go from {old} to {new}", "see `kobe trace` for its history")


def client_order_id(account: str, strategy: str, signal_session: dt.date, symbol: str, side: str, tag: str) -> str:
    """The deterministic id of an order: the same decision has the same id in every process and after every crash."""
    parts = (account, strategy, signal_session.isoformat(), symbol, side, tag)
    # Length prefixes keep ("AB", "C") and ("A", "BC") apart.
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return "kobe-" + hashlib.sha256(text.encode()).hexdigest()[:40]
