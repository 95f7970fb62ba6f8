"""Orders as rows: plain values for a run's summary and for the list that `kobe trace` begins with."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from kobe_resources.order_ledger import Intent, OrderLedger, Position
from kobe_resources.order_ledger import orders as book
from kobe_resources.order_ledger.orders import text_of

STATE_WORDS = {
    "INTENT": "decided", "SUBMITTING": "being sent", "ACCEPTED": "working", "UNKNOWN": "not known", "FILLED": "filled",
    "PARTIAL": "filled in part", "CANCELED": "cancelled", "EXPIRED": "expired", "REJECTED": "rejected",
    "NOT_PLACED": "not placed", "VETOED": "refused", "WOULD_SEND": "would be sent",
}  # fmt: skip
"""States as a person reads them; rows and JSON keep the ledger's own."""


def latest_orders(ledger: OrderLedger, count: int) -> list[dict[str, Any]]:
    """The last `count` orders that were decided, in whatever stage, newest first."""
    return [order_row(intent) for intent in book.latest(ledger, count)]


def order_row(intent: Intent) -> dict[str, Any]:
    """One order; shares and prices as text, `reason` why it was decided or refused, `detail` in the broker's words."""
    average = intent.filled_avg_price
    return {
        "client_order_id": intent.client_order_id, "session": intent.session.isoformat(),
        "stage": intent.account.partition(":")[0], "symbol": intent.symbol, "side": intent.side, "qty": text_of(intent.qty),
        "leg": intent.leg, "kind": intent.kind, "limit_price": _text(intent.limit_price),
        "stop_price": _text(intent.stop_price), "state": str(intent.state), "reason": intent.reason,
        "detail": intent.detail,
        "filled_qty": text_of(intent.filled_qty), "filled_avg_price": None if average is None else text_of(average),
    }  # fmt: skip


def _text(price: Decimal | None) -> str | None:
    return None if price is None else text_of(price)


def position_row(held: Position) -> dict[str, Any]:
    """One position; shares and prices as text, `flag` why it leaves at the next open."""
    return {
        "symbol": held.symbol, "strategy": held.strategy, "side": held.side, "shares": text_of(held.qty),
        "entry_session": held.entry_session.isoformat(), "entry": text_of(held.entry_price), "stop": text_of(held.stop_price),
        "bars_held": held.bars_held, "flag": held.flag or "",
    }  # fmt: skip
