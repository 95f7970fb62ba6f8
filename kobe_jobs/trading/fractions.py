"""Fractions of shares that a split leaves: paid in cash or rounded up at the broker, and the ledger follows.

A reverse split can leave less than one share, and with it nothing of the position.
"""

from __future__ import annotations

from decimal import Decimal

from kobe_jobs.trading.context import SessionContext
from kobe_jobs.trading.equity import last_close
from kobe_resources.order_ledger import Position
from kobe_resources.order_ledger.positions import SAME_SHARES, grow, is_same_qty, leave, open_positions

CASH_IN_LIEU = "cash_in_lieu"


def settle_fractions(context: SessionContext) -> None:
    """Let the fractions go that splits left of our positions and that the broker does not hold any more.

    Some companies round a fraction up to a whole share instead; then the rest of it comes in, at the last close as well.
    """
    odd = [held for held in open_positions(context.ledger, context.account) if held.split_fraction]
    if not odd or not context.sends:
        return
    rows = context.broker.positions()
    there, unread = {row.symbol: row.qty for row in rows}, {row.symbol for row in rows if row.unread}
    for held in odd:
        broker, fraction = there.get(held.symbol, Decimal(0)), held.split_fraction
        if held.symbol in unread or not is_rounded(held, broker):
            if order_qty(context, held) < held.qty and is_same_qty(broker, held.signed_qty):
                end = "sell" if held.side == "long" else "buy back"
                context.note(
                    f"the broker keeps {fraction.normalize():f} of a share of {held.symbol} that its split left, for which it"
                    f" takes no stop and no exit of ours: {end} it there, then `kobe reconcile --accept` with the reason"
                )
            continue
        price = Decimal(repr(last_close(context, held, context.signal_session)))
        is_up = abs(broker) > held.qty
        with context.ledger.write() as write:
            if is_up:
                grow(write, held, 1 - fraction, price)
            else:
                leave(write, held.id, fraction, price, context.session, CASH_IN_LIEU)
        what = "rounded up to a whole one" if is_up else "which the broker pays in cash in lieu"
        context.note(f"the split of {held.symbol} left {fraction.normalize():f} of a share, {what}")


def is_rounded(held: Position, there: Decimal) -> bool:
    """Whether the broker holds a position but for the fraction of a share that its split left, or that fraction rounded up.

    there: shares, signed.
    """
    fraction = held.split_fraction
    if not fraction:
        return False
    signed = there if held.side == "long" else -there
    return any(abs(signed - whole) <= SAME_SHARES for whole in (held.qty - fraction, held.qty - fraction + 1))


def order_qty(context: SessionContext, held: Position) -> Decimal:
    """Shares that an order may carry which closes a position: whole ones, where the broker trades no others for us; 0 for less
    than one. The simulation's takes orders of fractions.
    """
    return held.qty - held.split_fraction if context.limits.whole_shares and not context.ledger.disposable else held.qty
