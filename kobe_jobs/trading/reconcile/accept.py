"""Differences between ledger and broker that a person accepts: the ledger takes the broker's state, with the reason.

Afterwards the stops are set, changed or removed, so that every position is protected as it now is.
"""

from __future__ import annotations

import dataclasses
from dataclasses import asdict
from decimal import Decimal
from typing import Any

from kobe_jobs.trading.context import SessionContext
from kobe_jobs.trading.executor import resolve
from kobe_jobs.trading.lost_orders import recover_lost_orders
from kobe_jobs.trading.order_looks import FillTimes
from kobe_jobs.trading.protection import protect
from kobe_jobs.trading.reconcile.compare import NOT_OURS, SAME_SHARES, Difference, Reconciliation, compare, is_split
from kobe_resources.broker.protocol import BrokerError, BrokerOrder, BrokerPosition, BrokerUnavailable
from kobe_resources.errors import KobeError
from kobe_resources.order_ledger import Position
from kobe_resources.order_ledger import orders as book
from kobe_resources.order_ledger.positions import grow, leave, open_positions, rename
from kobe_resources.order_ledger.sessions import keep_reconciliation
from kobe_resources.order_ledger.settlement import OrderMismatch, check_same, settle_as_told
from kobe_resources.order_ledger.states import UNSETTLED, IllegalMove
from kobe_resources.warehouse.store import Warehouse

ADJUSTED = "adjusted"


class CannotAccept(KobeError):
    """A difference that cannot be accepted, because the ledger would become wrong."""


def accept_differences(
    context: SessionContext, found: Reconciliation, reason: str, warehouse: Warehouse | None = None
) -> list[Difference]:
    """Change the ledger to the broker's state and set the stops; the rows that stay open.

    Own orders that the ledger lost are recovered (with a warehouse, where the signals are). An order with another symbol or
    size at the broker is booked as the broker has it; a renamed symbol is followed. A position takes the broker's shares: fewer
    leave at the last known stop price, more come in at the broker's average. Shares and open orders without a position of ours
    are noted as the person's. A difference that is a split is refused, because the bars must bring it. Raises CannotAccept on
    an empty reason.
    """
    if not reason.strip():
        raise CannotAccept("a difference is accepted for a reason", 'kobe reconcile --accept "what happened"')
    if warehouse is not None:
        recover_lost_orders(context, warehouse, reason)
    _settle_odd_orders(context, found, reason)
    now = compare(context)
    splits = _follow(context, now, reason)
    _set_stops(context, frozenset(row.what for row in splits))
    after = compare(context, stops=True)
    noted = _noted(context, now, after)
    rest = [row for row in after.differences if row.halts and not _is_accepted(row, now, noted)]
    rest = [next((split for split in splits if (split.kind, split.what) == (row.kind, row.what)), row) for row in rest]
    agrees = all(row.kind == "stop" for row in rest)
    snapshot = {**after.snapshot, "noted": noted, "cash": after.snapshot["cash_seen"]}
    snapshot.pop("surplus", None)
    with context.ledger.write() as write:
        rows = [asdict(row) for row in found.differences]
        write.audit("accepted_differences", account=context.account, reason=reason, differences=rows, noted=noted)
        keep_reconciliation(write, context.account, context.session, "accepted", rows, snapshot, agrees=agrees)
    return rest


def _settle_odd_orders(context: SessionContext, found: Reconciliation, reason: str) -> None:
    """Apply orders of ours as the broker has them, as the person accepted; one that still works under a wrong symbol is
    cancelled first.
    """
    for theirs in found.orders:
        intent = book.find(context.ledger, theirs.client_order_id)
        if intent is None or intent.account != context.account or intent.state not in UNSETTLED:
            continue
        try:
            check_same(context.ledger, intent, theirs)
        except OrderMismatch:
            if intent.symbol in found.renamed:
                continue
            order = _ended(context, theirs) if theirs.symbol != intent.symbol else theirs
            at = FillTimes(context).of(order, intent)
            try:
                with context.ledger.write() as write:
                    settle_as_told(write, intent.client_order_id, order, at, reason)
            except (OrderMismatch, IllegalMove) as error:
                context.note(str(error))


def _ended(context: SessionContext, order: BrokerOrder) -> BrokerOrder:
    """The order as a look-up shows it after its cancel was asked for."""
    if order.is_terminal or not context.sends:
        return order
    try:
        context.broker.cancel(order.id)
        return context.broker.order_by_client_id(order.client_order_id) or order
    except BrokerError as error:
        context.note(str(error))
        return order


def _follow(context: SessionContext, now: Reconciliation, reason: str) -> list[Difference]:
    """Change positions to the broker's symbols and shares; the rows of those that are splits."""
    held = {position.symbol: position for position in open_positions(context.ledger, context.account)}
    theirs = {row.symbol: row for row in now.positions}
    splits = []
    for row in now.differences:
        position = held.get(row.what)
        if position is None:
            continue
        if row.kind == "symbol":
            with context.ledger.write() as write:
                rename(write, position, now.renamed[row.what], reason)
        elif row.kind == "position":
            there = theirs.get(row.what)
            if there is not None and _looks_split(context, position, there):
                text = f"{there.qty} shares: this is a split; bring bars and splits up to date, then `kobe reconcile`"
                splits.append(dataclasses.replace(row, broker=text))
                continue
            _take_shares(context, position, there, reason)
    return splits


def _take_shares(context: SessionContext, held: Position, there: BrokerPosition | None, reason: str) -> None:
    broker = Decimal(0) if there is None or abs(there.qty) <= SAME_SHARES else there.qty
    if held.signed_qty * broker < 0:
        # The other way round no position of ours can be: the person has to end it at the broker.
        return
    change = abs(broker) - held.qty
    with context.ledger.write() as write:
        if change < 0:
            leave(write, held.id, -change, max(held.stop_price, Decimal("0.0001")), context.session, ADJUSTED)
        elif there is not None:
            average = (abs(broker) * there.avg_entry_price - held.qty * held.entry_price) / change
            grow(write, held, change, average if average > 0 else there.avg_entry_price)
        write.audit("position_adjusted", position=held.id, symbol=held.symbol, gone=str(-change), reason=reason)


def _looks_split(context: SessionContext, held: Position, there: BrokerPosition) -> bool:
    """Shares that multiplied by what a price fell by: the broker's average, or the quote against the last stored close."""
    ratio = there.qty / held.signed_qty
    if there.avg_entry_price > 0 and is_split(ratio, held.entry_price / there.avg_entry_price):
        return True
    bars = context.evidence.bars.get(held.symbol)
    if bars is None or not len(bars.session):
        return False
    try:
        quote = context.quotes([held.symbol]).get(held.symbol)
    except BrokerUnavailable:
        return False
    if quote is None or not (quote.bid.is_finite() and quote.bid > 0):
        return False
    close = Decimal(repr(float(bars.close[-1] / bars.factor[-1])))
    return is_split(ratio, close / quote.bid)


def _set_stops(context: SessionContext, differing: frozenset[str]) -> None:
    """Stops as the positions now ask; where none may be sent (shut market, kill switch), the rows that stay say so."""
    context.missing = differing
    if not context.sends:
        return
    try:
        resolve(context)
        found = protect(context, context.settings.trading.resolve_timeout_s)
        if not found.is_whole:
            context.note(f"stops are not all set: {found.describe()}")
    except KobeError as error:
        context.note(f"stops are not all set: {error}")


def _noted(context: SessionContext, now: Reconciliation, after: Reconciliation) -> dict[str, Any]:
    """What stays a person's own at the broker: all shares of symbols without a position of ours, and their open orders."""
    known = after.snapshot["noted"]
    held = {position.symbol for position in open_positions(context.ledger, context.account)}
    there = {row.symbol: str(row.qty) for row in after.positions if row.symbol not in held and abs(row.qty) > SAME_SHARES}
    foreign = {row.what for row in now.differences if row.ledger == NOT_OURS}
    opened = [order.id for order in after.orders if not order.is_terminal and order.client_order_id in foreign]
    kept = {symbol: qty for symbol, qty in known["positions"].items() if symbol in held}
    return {"positions": {**kept, **there}, "orders": sorted({*known["orders"], *opened})}


def _is_accepted(row: Difference, now: Reconciliation, noted: dict[str, Any]) -> bool:
    """True where this row was among those that the person accepted."""
    if row.kind == "cash" or row.ledger == NOT_OURS:
        return any((other.kind, other.what) == (row.kind, row.what) for other in now.differences)
    return row.kind == "position" and row.what in noted["positions"] and row.ledger.startswith("0 ")
