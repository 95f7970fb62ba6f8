"""Settlement: what the broker tells of an order becomes the intent's state, its fills and its position, in one transaction.

The broker's answer is trusted only where it fits the intent; a look-up seen twice, late or out of order changes nothing.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from kobe_resources.broker.protocol import BrokerOrder, OrderStatus
from kobe_resources.errors import KobeError
from kobe_resources.order_ledger.intents import ENTRY, ZERO, Intent, get, move, text_of
from kobe_resources.order_ledger.positions import apply_fill
from kobe_resources.order_ledger.states import ENDED, OrderState
from kobe_resources.order_ledger.store import Write

NEW_YORK = ZoneInfo("America/New_York")


class OrderMismatch(KobeError):
    """The broker's order under our id is not the order we decided."""


def settle(write: Write, client_id: str, order: BrokerOrder, at: dt.datetime) -> Intent:
    """Bring the intent to what `order` says; its state, fills and position follow. at: when its last fill happened.

    Raises OrderMismatch where symbol or side differ, IllegalMove where an ended intent would come alive.
    """
    intent = get(write, client_id)
    if (order.symbol, order.side) != (intent.symbol, intent.side) or order.client_order_id != client_id:
        raise OrderMismatch(
            f"order {client_id} is {intent.side} {intent.symbol} in the ledger, {order.side} {order.symbol} at the broker",
            "stop trading and look at both: `kobe kill on`, `kobe trace`",
        )
    intent = _record_fills(write, intent, order, at)
    state, reason = _state_of(order)
    changes: dict[str, Any] = {}
    if intent.broker_order_id != order.id or not intent.acknowledged:
        changes |= {"broker_order_id": order.id, "acknowledged": 1}
    if state is intent.state:
        if changes:
            write.execute(
                "UPDATE intents SET broker_order_id = ?, acknowledged = 1 WHERE client_order_id = ?", (order.id, client_id)
            )
        return get(write, client_id)
    if state in ENDED:
        changes |= {"reserved": "0", "owner": None, "lease_until": None}
    if reason:
        changes["detail"] = reason
    told = {"status": order.raw_status, "request": order.request_id}
    return move(write, intent, state, "settled", told, **changes)


def _record_fills(write: Write, intent: Intent, order: BrokerOrder, at: dt.datetime) -> Intent:
    if order.filled_qty <= intent.filled_qty:
        return intent
    average = order.filled_avg_price
    if average is None or not average.is_finite() or average <= 0 or not order.filled_qty.is_finite():
        raise OrderMismatch(
            f"order {intent.client_order_id} filled {order.filled_qty} at {average}", "ask the broker what it means"
        )
    qty = order.filled_qty - intent.filled_qty
    before = intent.filled_qty * (intent.filled_avg_price or ZERO)
    price = (order.filled_qty * average - before) / qty if intent.filled_qty else average
    if price <= 0:
        # The broker rounds its averages: a tiny last part can come out at nothing.
        price = average
    session = intent.session if intent.purpose == ENTRY else at.astimezone(NEW_YORK).date()
    write.execute(
        "INSERT INTO fills (client_order_id, cum_qty, account, symbol, side, qty, price, session, at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            intent.client_order_id, text_of(order.filled_qty), intent.account, intent.symbol, intent.side, text_of(qty),
            text_of(price), session.isoformat(), at.isoformat(),
        ),
    )  # fmt: skip
    spent = _spent(intent, order.filled_qty, average)
    write.execute(
        "UPDATE intents SET filled_qty = ?, filled_avg_price = ?, spent = ?, reserved = ? WHERE client_order_id = ?",
        (
            text_of(order.filled_qty), text_of(average), text_of(spent),
            text_of(max(ZERO, intent.reserved + intent.spent - spent)), intent.client_order_id,
        ),
    )  # fmt: skip
    write.audit(
        "filled", order=intent.client_order_id, symbol=intent.symbol, side=intent.side, leg=intent.leg, qty=text_of(qty),
        price=text_of(price), cum_qty=text_of(order.filled_qty), at=at, request=order.request_id,
    )  # fmt: skip
    filled = get(write, intent.client_order_id)
    apply_fill(write, filled, qty, price, session)
    return filled


def _state_of(order: BrokerOrder) -> tuple[OrderState, str]:
    status, filled = order.status, order.filled_qty > 0
    if status is OrderStatus.FILLED:
        return (OrderState.FILLED, "") if order.filled_qty >= order.qty else (OrderState.PARTIAL, "filled short of its size")
    if status in (OrderStatus.CANCELED, OrderStatus.REPLACED):
        return (OrderState.PARTIAL if filled else OrderState.CANCELED), status.value
    if status is OrderStatus.EXPIRED:
        return (OrderState.PARTIAL if filled else OrderState.EXPIRED), status.value
    if status is OrderStatus.REJECTED:
        return (OrderState.PARTIAL if filled else OrderState.REJECTED), "rejected by the exchange"
    return OrderState.ACCEPTED, ""


def _spent(intent: Intent, filled: Decimal, average: Decimal) -> Decimal:
    """Dollars of the session's budget that a fill used up."""
    if intent.purpose != ENTRY:
        return ZERO
    # A short sale above its limit is luck, not budget: the gate judged it at the limit.
    return filled * (min(average, intent.limit_price) if intent.side == "sell" and intent.limit_price else average)
