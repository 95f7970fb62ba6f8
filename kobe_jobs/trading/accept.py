"""A person's word on a difference between ledger and broker: what they accept is written down with their reason.

Only the ledger gives way: what the broker holds without us is for the person to sell there.
"""

from __future__ import annotations

from decimal import Decimal

from kobe_jobs.trading.desk import Desk
from kobe_jobs.trading.reconcile import NOT_OURS, Difference, Reconciliation
from kobe_jobs.trading.stops import remove_stops
from kobe_resources.broker.protocol import TERMINAL_STATUSES
from kobe_resources.errors import KobeError
from kobe_resources.order_ledger.positions import leave, open_positions
from kobe_resources.order_ledger.sessions import keep_reconciliation

ADJUSTED = "adjusted"


class CannotAccept(KobeError):
    """A difference that the ledger cannot give way on."""


def accept_differences(desk: Desk, found: Reconciliation, reason: str) -> list[Difference]:
    """Let the ledger give way on positions that are smaller at the broker, on cash, and on orders that a person placed there
    and that are over; the rows that stay open.

    A position that the broker has less of leaves the ledger at its last known stop price. Raises CannotAccept on an empty
    reason.
    """
    if not reason.strip():
        raise CannotAccept("a difference is accepted for a reason", 'kobe reconcile --accept "what happened"')
    theirs = {symbol: Decimal(qty) for symbol, qty in found.snapshot["positions"].items()}
    orders = [order for order in found.snapshot["orders"] if order[3] in TERMINAL_STATUSES]
    ended = {name for broker_id, client_id, *_ in orders for name in (broker_id, client_id)}
    rest = []
    for row in found.differences:
        if row.kind == "cash":
            continue
        if row.ledger == NOT_OURS and row.what in ended:
            continue
        if row.kind == "position" and _shrink(desk, row.what, theirs.get(row.what, Decimal(0)), reason):
            continue
        if row.halts:
            rest.append(row)
    with desk.ledger.write() as write:
        rows = [{"kind": row.kind, "what": row.what, "ledger": row.ledger, "broker": row.broker} for row in found.differences]
        write.audit("accepted_differences", account=desk.account, reason=reason, differences=rows)
        keep_reconciliation(write, desk.account, desk.day, "accepted", rows, found.snapshot, agrees=not rest)
    return rest


def _shrink(desk: Desk, symbol: str, broker: Decimal, reason: str) -> bool:
    held = next((p for p in open_positions(desk.ledger, desk.account) if p.symbol == symbol), None)
    if held is None or held.signed_qty * broker < 0 or abs(broker) > held.qty:
        return False
    free = remove_stops(desk, held)
    if free is None or not free.is_open:
        return False
    gone = free.qty - abs(broker)
    with desk.ledger.write() as write:
        leave(write, free.id, gone, max(free.stop_price, Decimal("0.0001")), desk.day, ADJUSTED)
        write.audit("position_adjusted", position=free.id, symbol=symbol, gone=str(gone), reason=reason)
    return True
