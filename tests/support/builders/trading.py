"""Small values for the tests of the trading path."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

from kobe_resources.broker.protocol import BrokerOrder, OrderStatus
from kobe_resources.order_ledger import LedgerOrder, OrderPlan

ACCOUNT = "simulated:PA1"
SIGNAL_SESSION = dt.date(2024, 3, 4)
SESSION = dt.date(2024, 3, 5)
OPENED = dt.datetime(2024, 3, 5, 14, 30, tzinfo=dt.UTC)


def order_plan(symbol: str = "KO", **changes: Any) -> OrderPlan:
    """A long entry of one share at $60."""
    values: dict[str, Any] = {
        "account": ACCOUNT, "strategy": "rsi2", "session": SESSION, "signal_session": SIGNAL_SESSION, "symbol": symbol,
        "side": "buy", "tag": "entry", "kind": "limit", "time_in_force": "ioc", "qty": Decimal(1),
        "limit_price": Decimal("60.00"), "stop_distance": Decimal("2.5"), "reserved": Decimal("60.00"),
    }  # fmt: skip
    return OrderPlan(**{**values, **changes})


def answer(order: LedgerOrder, status: str, filled: str = "0", average: str | None = None, **changes: Any) -> BrokerOrder:
    """What the broker tells of an order's order."""
    values: dict[str, Any] = {
        "id": f"b-{order.client_order_id}", "client_order_id": order.client_order_id, "symbol": order.symbol,
        "side": order.side, "kind": order.kind, "qty": order.qty, "filled_qty": Decimal(filled),
        "filled_avg_price": None if average is None else Decimal(average), "status": OrderStatus(status), "raw_status": status,
        "limit_price": order.limit_price, "stop_price": order.stop_price, "submitted_at": OPENED,
    }  # fmt: skip
    return BrokerOrder(**{**values, **changes})
