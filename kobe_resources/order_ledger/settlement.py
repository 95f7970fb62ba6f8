"""Settlement: the broker's answer about an order applied to the ledger's: its state, fills and position at once.

The broker's answer is trusted only where it fits the order; a look-up seen twice, late or out of order changes nothing.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from decimal import Decimal
from typing import Any

from kobe_resources.broker.protocol import BrokerOrder, OrderStatus
from kobe_resources.calendar import NEW_YORK
from kobe_resources.errors import KobeError
from kobe_resources.order_ledger.fills import insert_fill
from kobe_resources.order_ledger.orders import ENTRY, STOP, ZERO, LedgerOrder, get, move, text_of
from kobe_resources.order_ledger.positions import SAME_SHARES, apply_fill, position, split_ratio_since
from kobe_resources.order_ledger.states import ENDED, OrderState
from kobe_resources.order_ledger.store import OrderLedger, Write

SAME_PRICE = Decimal("1e-6")


class OrderMismatch(KobeError):
    """The broker's order under our id is not the order we decided."""


def settle(write: Write, client_id: str, order: BrokerOrder, at: dt.datetime) -> LedgerOrder:
    """Bring the ledger's order to what the broker's says: its state, fills and position. at: when its last fill happened.

    Raises OrderMismatch where it is another order than ours or contradicts itself, IllegalMove where an ended one would come
    alive; then nothing is booked.
    """
    ours = get(write, client_id)
    check_same(write, ours, order)
    size = order.qty if order.qty > 0 else ours.qty
    # Of a stop that rests a split multiplies what is left, and not what had filled before.
    least, most = (ZERO, order.filled_qty) if ours.purpose == STOP else (size - SAME_SHARES, size + SAME_SHARES)
    if order.filled_qty > most or (order.status is OrderStatus.FILLED and order.filled_qty <= least):
        raise OrderMismatch(
            f"order {client_id} is called {order.raw_status}, with {order.filled_qty} of {size} shares",
            "ask the broker what it means",
        )
    ours = _record_fills(write, ours, order, at)
    state, reason = _state_of(order)
    changes: dict[str, Any] = {}
    if ours.broker_order_id != order.id or not ours.acknowledged:
        changes |= {"broker_order_id": order.id, "acknowledged": 1}
    if state is ours.state:
        if changes:
            write.execute(
                "UPDATE intents SET broker_order_id = ?, acknowledged = 1 WHERE client_order_id = ?", (order.id, client_id)
            )
        return get(write, client_id)
    if state in ENDED:
        changes |= {"reserved": "0", "owner": None}
    if reason:
        changes["detail"] = reason
    details = {"status": order.raw_status, "request": order.request_id}
    return move(write, ours, state, "settled", details, **changes)


def settle_as_reported(write: Write, client_id: str, order: BrokerOrder, at: dt.datetime, reason: str) -> LedgerOrder:
    """`settle` on a person's word, where the order under our id has another symbol, size or limit: the broker's hold.

    Raises OrderMismatch where the side differs, or a fill has no price.
    """
    ours = get(write, client_id)
    limit = ours.limit_price if order.limit_price is None else order.limit_price
    if ours.purpose == ENTRY:
        write.execute(
            "UPDATE intents SET qty = ?, limit_price = ? WHERE client_order_id = ?",
            (text_of(order.qty), None if limit is None else text_of(limit), client_id),
        )
    write.audit(
        "order_accepted", order=client_id, symbol=ours.symbol, told_symbol=order.symbol, qty=text_of(order.qty),
        limit_price=None if limit is None else text_of(limit), reason=reason,
    )  # fmt: skip
    return settle(write, client_id, replace(order, symbol=ours.symbol), at)


def book_late_fill(write: Write, client_id: str, order: BrokerOrder, at: dt.datetime, reason: str) -> LedgerOrder:
    """Book on a person's word what the broker filled of an order after it had ended: its fills, its position and its state.

    The state machine lets nothing follow an end: only a person may say that the broker's word was not the last.
    Raises OrderMismatch where it is another order than ours, or a fill has no price.
    """
    ours = get(write, client_id)
    check_same(write, ours, order)
    write.audit("late_fill_accepted", order=client_id, symbol=ours.symbol, filled_qty=text_of(order.filled_qty), reason=reason)
    ours = _record_fills(write, ours, order, at)
    state = OrderState.FILLED if ours.filled_qty >= ours.qty else OrderState.PARTIAL
    write.execute("UPDATE intents SET state = ?, reserved = '0' WHERE client_order_id = ?", (state, client_id))
    return get(write, client_id)


def check_same(source: OrderLedger | Write, ours: LedgerOrder, order: BrokerOrder) -> None:
    """Raise OrderMismatch unless the broker's order is the one we decided: symbol, side, and the size and limit of an entry.

    An order that rests may have been resized by a split, so that its size counts only where shares of it left.
    """
    hint = "explain it, then `kobe reconcile --accept` with the reason"
    if order.unread:
        # Its state may be readable, and its shares are not: nothing of it is booked.
        raise OrderMismatch(f"order {ours.client_order_id} of {ours.symbol} cannot be read: {order.unread}", "look again later")
    decided, there = f"{ours.side} {ours.symbol}", f"{order.side} {order.symbol}"
    if decided != there or order.client_order_id != ours.client_order_id:
        raise OrderMismatch(f"order {ours.client_order_id} is {decided} in the ledger, {there} at the broker", hint)
    has_size = order.qty.is_finite() and order.qty > 0
    if ours.purpose == ENTRY:
        if (has_size and abs(order.qty - ours.qty) > SAME_SHARES) or not _same_limit(ours, order):
            raise OrderMismatch(
                f"order {ours.client_order_id} of {ours.symbol} has another size or limit at the broker:"
                f" {ours.qty} shares at {ours.limit_price} in the ledger, {order.qty} at {order.limit_price} there",
                "another Kobe may trade on this account; " + hint,
            )
    elif has_size and order.filled_qty > ours.filled_qty and not _same_size(source, ours, order):
        raise OrderMismatch(
            f"order {ours.client_order_id} of {ours.symbol} fills for {order.qty} shares at the broker, {ours.qty} in the"
            " ledger: a split that the bars do not know yet?",
            "bring bars and splits up to date: `kobe report`",
        )


def _same_limit(ours: LedgerOrder, order: BrokerOrder) -> bool:
    decided, there = ours.limit_price, order.limit_price
    return decided is None or there is None or abs(decided - there) <= SAME_PRICE


def _same_size(source: OrderLedger | Write, ours: LedgerOrder, order: BrokerOrder) -> bool:
    if abs(order.qty - ours.qty) <= SAME_SHARES:
        return True
    held = position(source, ours.position_id) if ours.position_id else None
    if held is None:
        return False
    # What had left before a split is not multiplied; parts of shares that a split leaves over are paid in cash.
    ratio, gone = split_ratio_since(source, held, ours.session), min(order.filled_qty, ours.qty)
    ends = sorted((ours.qty * ratio, gone + (ours.qty - gone) * ratio))
    return ends[0] - 1 < order.qty < ends[1] + 1


def _record_fills(write: Write, ours: LedgerOrder, order: BrokerOrder, at: dt.datetime) -> LedgerOrder:
    if order.filled_qty <= ours.filled_qty:
        return ours
    average = order.filled_avg_price
    if average is None or not average.is_finite() or average <= 0 or not order.filled_qty.is_finite():
        raise OrderMismatch(
            f"order {ours.client_order_id} filled {order.filled_qty} at {average}", "ask the broker what it means"
        )
    qty = order.filled_qty - ours.filled_qty
    before = ours.filled_qty * (ours.filled_avg_price or ZERO)
    price = (order.filled_qty * average - before) / qty if ours.filled_qty else average
    if price <= 0:
        # The broker rounds its averages: a tiny last part can come out at nothing.
        price = average
    session = ours.session if ours.purpose == ENTRY else at.astimezone(NEW_YORK).date()
    insert_fill(write, ours, order.filled_qty, qty, price, session, at)
    spent = _spent(ours, order.filled_qty, average)
    write.execute(
        "UPDATE intents SET filled_qty = ?, filled_avg_price = ?, spent = ?, reserved = ? WHERE client_order_id = ?",
        (
            text_of(order.filled_qty), text_of(average), text_of(spent),
            text_of(max(ZERO, ours.reserved + ours.spent - spent)), ours.client_order_id,
        ),
    )  # fmt: skip
    write.audit(
        "filled", order=ours.client_order_id, symbol=ours.symbol, side=ours.side, leg=ours.tag, qty=text_of(qty),
        price=text_of(price), cum_qty=text_of(order.filled_qty), at=at, request=order.request_id,
    )  # fmt: skip
    filled = get(write, ours.client_order_id)
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


def _spent(order: LedgerOrder, filled: Decimal, average: Decimal) -> Decimal:
    """Dollars of the session's budget that a fill used up."""
    if order.purpose != ENTRY:
        return ZERO
    # A short sale above its limit is luck, not budget: the gate judged it at the limit.
    return filled * (min(average, order.limit_price) if order.side == "sell" and order.limit_price else average)
