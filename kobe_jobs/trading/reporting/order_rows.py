"""Orders as rows: plain values for a run's summary and for the list that `kobe trace` begins with."""

from __future__ import annotations

from typing import Any

from kobe_resources.order_ledger import Intent, OrderLedger
from kobe_resources.order_ledger import orders as book
from kobe_resources.order_ledger.orders import text_of


def latest_orders(ledger: OrderLedger, count: int) -> list[dict[str, Any]]:
    """The last `count` orders that were decided, in whatever stage, newest first."""
    return [order_row(intent) for intent in book.latest(ledger, count)]


def order_row(intent: Intent) -> dict[str, Any]:
    """One order; shares and prices as text, `reason` why it was decided or refused, `detail` in the broker's words."""
    average = intent.filled_avg_price
    return {
        "client_order_id": intent.client_order_id, "session": intent.session.isoformat(),
        "stage": intent.account.partition(":")[0], "symbol": intent.symbol, "side": intent.side, "qty": text_of(intent.qty),
        "leg": intent.leg, "kind": intent.kind, "state": str(intent.state), "reason": intent.reason,
        "detail": intent.detail,
        "filled_qty": text_of(intent.filled_qty), "filled_avg_price": None if average is None else text_of(average),
    }  # fmt: skip
