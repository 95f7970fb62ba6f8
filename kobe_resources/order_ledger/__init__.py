"""The order ledger: orders, fills, positions, budgets, session claims and the audit chain, in one SQLite file."""

from kobe_resources.order_ledger.orders import LedgerOrder, OrderPlan
from kobe_resources.order_ledger.positions import Position
from kobe_resources.order_ledger.states import IllegalMove, OrderState, client_order_id
from kobe_resources.order_ledger.store import LedgerBusy, LedgerUnusable, OrderLedger, Write

__all__ = [
    "IllegalMove",
    "LedgerBusy",
    "LedgerOrder",
    "LedgerUnusable",
    "OrderLedger",
    "OrderPlan",
    "OrderState",
    "Position",
    "Write",
    "client_order_id",
]
