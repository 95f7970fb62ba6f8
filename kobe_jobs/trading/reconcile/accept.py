"""Differences between ledger and broker that a person accepts: the ledger takes the broker's state, with the reason.

Afterwards the stops are set, changed or removed, so that every position is protected as it now is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import asdict
from decimal import ROUND_DOWN, Decimal
from typing import Any

from kobe_jobs.trading.context import SessionContext
from kobe_jobs.trading.executor import resolve
from kobe_jobs.trading.lost_orders import lacking_signals, recover_lost_orders, shares_left
from kobe_jobs.trading.order_looks import FillTimes
from kobe_jobs.trading.protection import protect
from kobe_jobs.trading.reconcile.compare import (
    NOT_OURS,
    Reconciliation,
    compare,
    compare_positions,
    is_split,
    ledger_order_of,
    without_noted,
)
from kobe_jobs.trading.reconcile.difference import Difference
from kobe_resources.broker.protocol import BrokerError, BrokerOrder, BrokerPosition, BrokerUnavailable
from kobe_resources.errors import KobeError
from kobe_resources.order_ledger import LedgerOrder, Position
from kobe_resources.order_ledger import orders as book
from kobe_resources.order_ledger.positions import SAME_SHARES, grow, leave, open_positions, rename
from kobe_resources.order_ledger.sessions import keep_reconciliation
from kobe_resources.order_ledger.settlement import OrderMismatch, book_late_fill, check_same, settle_as_reported
from kobe_resources.order_ledger.states import ENDED, UNSETTLED, IllegalMove
from kobe_resources.warehouse.store import Warehouse

ADJUSTED = "adjusted"


class CannotAccept(KobeError):
    """A difference that cannot be accepted, because the ledger would become wrong."""


def accept_differences(
    context: SessionContext, found: Reconciliation, reason: str, warehouse: Warehouse | None = None
) -> list[Difference]:
    """Change the ledger to the broker's state and set the stops; the rows that stay open.

    Own orders that the ledger lost are recovered (with a warehouse, where the signals are). An order with another symbol or
    size at the broker, or that filled after its end, is booked as the broker has it; a renamed symbol is followed. A position
    takes the broker's shares: fewer leave at the last known stop price, more come in at the broker's average. Shares and open
    orders without a position of ours are noted as the person's, but for those of lost orders that signals to come may name. A
    difference that is a split is refused, because the bars must bring it. Raises CannotAccept on an empty reason.
    """
    if not reason.strip():
        raise CannotAccept("a difference is accepted for a reason", 'kobe reconcile --accept "what happened"')
    coming = frozenset[str]() if warehouse is None else _recover(context, warehouse, found, reason)
    _settle_odd_orders(context, found, reason)
    _end_heirs(context, found)
    now = compare(context)
    splits = _follow(context, now, reason)
    _set_stops(context, frozenset(row.what for row in splits))
    after = compare(context, stops=True)
    noted = _noted(context, now, after, coming)
    rest = _left(context, now, after, noted)
    rest = [next((split for split in splits if (split.kind, split.what) == (row.kind, row.what)), row) for row in rest]
    agrees = all(row.kind == "stop" for row in rest)
    snapshot = {**after.snapshot, "noted": noted, "cash": after.snapshot["cash_seen"]}
    snapshot.pop("surplus", None)
    with context.ledger.write() as write:
        rows = [asdict(row) for row in found.differences]
        write.audit("accepted_differences", account=context.account, reason=reason, differences=rows, noted=noted)
        keep_reconciliation(write, context.account, context.session, "accepted", rows, snapshot, agrees=agrees)
    return rest


def _recover(context: SessionContext, warehouse: Warehouse, found: Reconciliation, reason: str) -> frozenset[str]:
    """Recover lost orders; the symbols of those that signals not stored yet may name. What is left of the others is noted."""
    lost = recover_lost_orders(context, warehouse, reason)
    there = {row.symbol: row.qty for row in found.positions}
    left = {symbol: qty for symbol, qty in shares_left(lost).items() if qty * there.get(symbol, Decimal(0)) > 0}
    coming = frozenset(order.symbol for order in lacking_signals(warehouse, lost)) & left.keys()
    for symbol, qty in sorted(left.items()):
        held = f"orders of Kobe's that this ledger has lost left {qty.normalize():f} shares of {symbol}"
        if symbol in coming:
            context.note(
                f"{held}, and the signals behind them are not stored: `kobe report`, then `kobe reconcile --accept` again"
            )
        else:
            context.note(f"{held}, which no stored signal explains: they count as yours, and no rule of Kobe's sells them")
    return coming


def _settle_odd_orders(context: SessionContext, found: Reconciliation, reason: str) -> None:
    """Apply orders of ours as the broker has them, as the person accepted; one that still works under a wrong symbol, or after
    its end, is cancelled first.
    """
    for theirs in found.orders:
        ours = book.find(context.ledger, theirs.client_order_id)
        if ours is None or ours.account != context.account or theirs.unread:
            continue
        if ours.state in ENDED and not theirs.is_terminal:
            # The broker once called it over, and it works: what it protects gets a stop that the ledger knows.
            theirs = _ended(context, theirs)
            if ours.purpose == book.STOP and ours.position_id is not None:
                context.lifted.add(ours.position_id)
        if _filled_late(context, found, ours, theirs):
            with context.ledger.write() as write:
                book_late_fill(write, ours.client_order_id, theirs, FillTimes(context).of(theirs, ours), reason)
            continue
        if ours.state not in UNSETTLED:
            continue
        try:
            check_same(context.ledger, ours, theirs)
        except OrderMismatch:
            if ours.symbol in found.renamed:
                continue
            order = _ended(context, theirs) if theirs.symbol != ours.symbol else theirs
            at = FillTimes(context).of(order, ours)
            try:
                with context.ledger.write() as write:
                    settle_as_reported(write, ours.client_order_id, order, at, reason)
            except (OrderMismatch, IllegalMove) as error:
                context.note(str(error))


def _filled_late(context: SessionContext, found: Reconciliation, ours: LedgerOrder, theirs: BrokerOrder) -> bool:
    """Whether an order of ours filled after the broker had called it over, and its shares came or went, and no others."""
    more, is_entry = theirs.filled_qty - ours.filled_qty, ours.purpose == book.ENTRY
    is_late = ours.posts and ours.state in ENDED and theirs.is_terminal and more > SAME_SHARES
    if not is_late or (theirs.symbol, theirs.side) != (ours.symbol, ours.side):
        return False
    held = {row.symbol: row for row in open_positions(context.ledger, context.account)}.get(ours.symbol)
    if (not is_entry) if held is None else held.id != (ours.client_order_id if is_entry else ours.position_id):
        return False
    there = next((row.qty for row in found.positions if row.symbol == ours.symbol), Decimal(0))
    beyond = there - Decimal(found.snapshot["noted"]["positions"].get(ours.symbol, "0")) - (held.signed_qty if held else 0)
    return abs(beyond - (more if ours.side == "buy" else -more)) <= SAME_SHARES


def _end_heirs(context: SessionContext, found: Reconciliation) -> None:
    """Cancel what the broker put in the place of an order of ours with other shares: it holds those that ours needs."""
    for order in found.orders:
        is_heir = order.replaces is not None and book.find(context.ledger, order.client_order_id) is None
        if is_heir and ledger_order_of(context, order.replaces or "") is not None:
            _ended(context, order)


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
    moves = [(held[row.what], now.renamed[row.what]) for row in now.differences if row.kind == "symbol"]
    if moves:
        with context.ledger.write() as write:
            rename(write, moves, reason)
    for row in now.differences:
        position = held.get(row.what)
        if position is not None and row.kind == "position":
            there = theirs.get(row.what)
            if there is not None and there.unread:
                context.note(f"what the broker holds of {row.what} cannot be read, so that nothing is accepted of it")
                continue
            if there is not None and _looks_split(context, position, there):
                text = f"{there.qty} shares: this is a split; bring bars and splits up to date, then `kobe reconcile`"
                splits.append(dataclasses.replace(row, broker=text))
                continue
            _take_shares(context, position, there, Decimal(now.snapshot["noted"]["positions"].get(row.what, "0")), reason)
    return splits


def _take_shares(
    context: SessionContext, held: Position, there: BrokerPosition | None, noted: Decimal, reason: str
) -> None:  # fmt: skip
    """Let a position carry the broker's shares, but for those of the person, and for a fraction that no stop could protect."""
    broker = Decimal(0) if there is None or abs(there.qty) <= SAME_SHARES else without_noted(there.qty, noted)
    fraction = _odd_fraction(context, held, broker)
    if fraction:
        context.note(f"{abs(fraction).normalize():f} of a share of {held.symbol} stays yours: Kobe protects whole shares")
    broker -= fraction
    if held.signed_qty * broker < 0:
        # The other way round no position of ours can be: the person has to end it at the broker.
        return
    change = abs(broker) - held.qty
    if not change:
        return
    with context.ledger.write() as write:
        if change < 0:
            leave(write, held.id, -change, max(held.stop_price, Decimal("0.0001")), context.session, ADJUSTED)
        elif there is not None:
            average = (abs(broker) * there.avg_entry_price - held.qty * held.entry_price) / change
            grow(write, held, change, average if average > 0 else there.avg_entry_price or held.entry_price)
        write.audit("position_adjusted", position=held.id, symbol=held.symbol, gone=str(-change), reason=reason)


def _odd_fraction(context: SessionContext, held: Position, broker: Decimal) -> Decimal:
    """What of the broker's shares stays the person's, where Kobe trades whole shares: a reinvested dividend, say; signed."""
    whole = broker.to_integral_value(ROUND_DOWN)
    return broker - whole if context.limits.whole_shares and held.qty == held.qty.to_integral_value() else Decimal(0)


def _looks_split(context: SessionContext, held: Position, there: BrokerPosition) -> bool:
    """Shares that multiplied by what a price fell by: the broker's average, or the quote against the last stored close."""
    ratio = there.qty / held.signed_qty
    if there.avg_entry_price > 0 and is_split(ratio, held.entry_price / there.avg_entry_price):
        return True
    bars = context.snapshot.bars.get(held.symbol)
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


def _noted(
    context: SessionContext, now: Reconciliation, after: Reconciliation, coming: Collection[str]
) -> dict[str, Any]:  # fmt: skip
    """What stays a person's own at the broker: all shares of symbols without a position of ours, what the broker holds beyond
    one, and their open orders; and our ended orders that the exchange has corrected since.

    coming: symbols whose shares and orders may yet be ours.
    """
    known = after.snapshot["noted"]
    held = {position.symbol: position for position in open_positions(context.ledger, context.account)}
    there = {row.symbol: row.qty for row in after.positions if abs(row.qty) > SAME_SHARES}
    positions = {
        symbol: known["positions"][symbol] if symbol in coming else str(qty)
        for symbol, qty in there.items()
        if symbol not in held and (symbol not in coming or symbol in known["positions"])
    }
    for symbol, position in held.items():
        beyond = there.get(symbol, Decimal(0)) - position.signed_qty
        if symbol in known["positions"] or _odd_fraction(context, position, there.get(symbol, Decimal(0))) == beyond != 0:
            positions[symbol] = str(beyond) if beyond * position.signed_qty > 0 else known["positions"].get(symbol, "0")
    foreign = {row.what for row in now.differences if row.ledger == NOT_OURS}
    opened = [order.id for order in after.orders if not order.is_terminal and order.client_order_id in foreign]
    fills = [row.what for row in now.differences if row.kind == "fill" and row.ledger == NOT_OURS]
    lost = {order.id for order in after.orders if order.symbol in coming}
    orders = {*opened, *fills, *_corrected(context, after)} - lost
    return {"positions": positions, "orders": sorted({*known["orders"], *orders})}


def _corrected(context: SessionContext, after: Reconciliation) -> list[str]:
    """Broker ids of our ended orders whose fills are others at the broker now: nothing can follow them any more."""
    differing = {row.what for row in after.differences if row.kind in ("order", "fill")}
    found = []
    for order in after.orders:
        ours = book.find(context.ledger, order.client_order_id) if order.client_order_id in differing else None
        if ours is not None and ours.state in ENDED and order.is_terminal:
            found.append(order.id)
    return found


def _left(
    context: SessionContext, now: Reconciliation, after: Reconciliation, noted: dict[str, Any]
) -> list[Difference]:  # fmt: skip
    """The rows that halt still, with what the person has accepted."""
    ids = {order.client_order_id: order.id for order in after.orders}
    held = open_positions(context.ledger, context.account)
    shares = {row.what for row in compare_positions(held, list(after.positions), after.renamed, noted["positions"])}
    rows = [row for row in after.differences if row.halts and not _is_accepted(row, now, noted, ids)]
    return [row for row in rows if row.kind != "position" or row.what in shares]


def _is_accepted(row: Difference, now: Reconciliation, noted: dict[str, Any], ids: Mapping[str, str]) -> bool:
    """Whether this row was among those that the person accepted. ids: the broker's of each order."""
    if row.kind in ("order", "fill") and ids.get(row.what) in noted["orders"]:
        return True
    is_theirs = row.kind == "cash" or row.ledger == NOT_OURS
    return is_theirs and any((other.kind, other.what) == (row.kind, row.what) for other in now.differences)
