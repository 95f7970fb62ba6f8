"""Orders as rows: plain values for a run's summary and for the list that `kobe trace` begins with."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from kobe_resources.order_ledger import LedgerOrder, OrderLedger, Position
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
    return [order_row(order) for order in book.latest(ledger, count)]


def order_row(order: LedgerOrder) -> dict[str, Any]:
    """One order; shares and prices as text, `reason` why it was decided or refused, `detail` in the broker's words.

    dollars: what an entry costs at its limit; None for other orders.
    """
    average = order.filled_avg_price
    is_entry = order.purpose == book.ENTRY and order.limit_price is not None and order.qty
    dollars = order.qty * order.limit_price if is_entry and order.limit_price is not None else None
    return {
        "client_order_id": order.client_order_id, "session": order.session.isoformat(),
        "stage": order.account.partition(":")[0], "symbol": order.symbol, "side": order.side, "qty": text_of(order.qty),
        "leg": order.tag, "kind": order.kind, "limit_price": _text(order.limit_price),
        "stop_price": _text(order.stop_price), "dollars": None if dollars is None else f"{dollars:.2f}",
        "state": str(order.state), "reason": order.reason, "detail": order.detail,
        "filled_qty": text_of(order.filled_qty), "filled_avg_price": None if average is None else text_of(average),
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
