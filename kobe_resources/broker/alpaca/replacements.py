"""Orders that replaced another one, listed under the client id of the first, by which its sender finds them.

At Alpaca a move in the dashboard, or a market event, ends an order as `replaced` and goes on with another one under ids of its
own. It counts as the same order only where symbol, side, kind and the shares that were left agree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

from kobe_resources.broker.protocol import BrokerOrder, OrderStatus

Fetch = Callable[[str], BrokerOrder | None]
"""An order by the broker's id; None where there is none."""
LONGEST_CHAIN = 20


def followed(order: BrokerOrder, fetch: Fetch) -> BrokerOrder:
    """The order that `order` lives on as, under its client id; `order` itself where nothing took its place."""
    for _ in range(LONGEST_CHAIN):
        if order.status is not OrderStatus.REPLACED or order.replaced_by is None:
            return order
        heir = fetch(order.replaced_by)
        if heir is None or not _takes_over(order, heir):
            return order
        order = _joined(order, heir)
    return order


def listed(orders: list[BrokerOrder], fetch: Fetch) -> list[BrokerOrder]:
    """A list in which every order that took another's place stands once, under the client id of the first."""
    known = {order.id: order for order in orders}

    def find(order_id: str) -> BrokerOrder | None:
        if order_id not in known:
            found = fetch(order_id)
            if found is None:
                return None
            known[order_id] = found
        return known[order_id]

    by_id: dict[str, BrokerOrder] = {}
    for order in orders:
        current = followed(_first(order, find), find)
        # One whose shares do not agree stands for itself.
        current = current if order.id in (current.id, *current.earlier_ids) else followed(order, find)
        by_id.setdefault(current.id, current)
    return list(by_id.values())


def _first(order: BrokerOrder, fetch: Fetch) -> BrokerOrder:
    """The first of the orders in whose place this one is."""
    for _ in range(LONGEST_CHAIN):
        before = fetch(order.replaces) if order.replaces else None
        if before is None:
            return order
        order = before
    return order


def _takes_over(order: BrokerOrder, heir: BrokerOrder) -> bool:
    same = (order.symbol, order.side, order.kind) == (heir.symbol, heir.side, heir.kind)
    return same and not heir.unread and heir.qty == order.qty - order.filled_qty


def _joined(order: BrokerOrder, heir: BrokerOrder) -> BrokerOrder:
    """The heir as the order that goes on: under its client id, with what it had filled before."""
    filled = order.filled_qty + heir.filled_qty
    worth = sum(
        (part.filled_qty * part.filled_avg_price for part in (order, heir) if part.filled_avg_price is not None), Decimal(0)
    )
    return replace(
        heir, client_order_id=order.client_order_id, qty=order.qty, filled_qty=filled,
        filled_avg_price=worth / filled if filled else None, submitted_at=order.submitted_at,
        earlier_ids=(*order.earlier_ids, order.id),
    )  # fmt: skip
