"""Positions without their protective stop, and stops without their position, as the broker tells now; changes nothing.

Health asks this too, so it imports no strategy.
"""

from __future__ import annotations

from decimal import Decimal

from kobe_resources.broker.protocol import Broker, BrokerOrder, OrderStatus
from kobe_resources.order_ledger import OrderLedger, Position
from kobe_resources.order_ledger import orders as book
from kobe_resources.order_ledger.positions import open_positions

PROTECTING = frozenset({OrderStatus.NEW, OrderStatus.ACCEPTED, OrderStatus.HELD, OrderStatus.PARTIALLY_FILLED})
"""A stop counts while it is in one of these; with a cancel under way it may be gone the next moment."""
SAME = Decimal("1e-6")


def find_unguarded(ledger: OrderLedger, account: str, broker: Broker) -> list[str]:
    """One text for each open position of the ledger that the broker holds and does not protect, and for each stop of ours
    that would open a position.

    account: 'stage:number'. Raises BrokerError where the broker does not answer: not knowing is not protected.
    """
    held = [position for position in open_positions(ledger, account) if position.stop_price > 0]
    stops = [order for order in broker.orders("open") if order.kind == "stop"]
    there = _held_there(broker)
    bare = [position for position in held if _is_bare(position, there, stops)]
    if bare:
        # A stop that filled between the two questions has taken its position with it.
        there = _held_there(broker)
        bare = [position for position in bare if _is_bare(position, there, stops)]
    told = [f"{position.symbol} has no protective stop at the broker ({position.qty} shares)" for position in bare]
    for order in stops:
        intent = book.find(ledger, order.client_order_id)
        if intent is not None and intent.account == account and not _closes(order, there):
            told.append(f"a stop of {order.symbol} rests at the broker without its position")
    return told


def _held_there(broker: Broker) -> dict[str, Decimal]:
    return {row.symbol: row.qty for row in broker.positions() if abs(row.qty) > SAME}


def _is_bare(position: Position, there: dict[str, Decimal], stops: list[BrokerOrder]) -> bool:
    qty = there.get(position.symbol, Decimal(0))
    if qty * position.signed_qty <= 0:
        # The broker does not hold it: a difference, which reconciliation tells.
        return False
    covered = sum(
        (
            order.qty - order.filled_qty
            for order in stops
            if order.symbol == position.symbol and order.status in PROTECTING and _closes(order, there)
        ),
        Decimal(0),
    )
    return covered < min(abs(qty), position.qty) * (1 - SAME)


def _closes(order: BrokerOrder, there: dict[str, Decimal]) -> bool:
    qty = there.get(order.symbol, Decimal(0))
    return qty > 0 if order.side == "sell" else qty < 0
