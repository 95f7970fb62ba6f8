"""Fractions of shares that a split leaves: paid in cash or rounded up at the broker, and the ledger follows.

A reverse split can leave less than one share, and with it nothing of the position.
"""

from __future__ import annotations

from decimal import ROUND_DOWN, Decimal

from kobe_jobs.trading.context import SessionContext
from kobe_jobs.trading.equity import last_close
from kobe_resources.order_ledger import Position
from kobe_resources.order_ledger.positions import SAME_SHARES, grow, leave, open_positions

CASH_IN_LIEU = "cash_in_lieu"


def settle_fractions(context: SessionContext) -> None:
    """Let the fractions go that splits left of our positions and that the broker does not hold any more.

    Some companies round a fraction up to a whole share instead; then the rest of it comes in, at the last close as well.
    """
    odd = [held for held in open_positions(context.ledger, context.account) if _fraction_of(held)]
    if not odd or not context.sends:
        return
    rows = context.broker.positions()
    there, unread = {row.symbol: row.qty for row in rows}, {row.symbol for row in rows if row.unread}
    for held in odd:
        broker = there.get(held.symbol, Decimal(0))
        if held.symbol in unread or not is_rounded(held, broker):
            continue
        fraction = _fraction_of(held)
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
    """Does the broker hold a position but for the fraction of a share that its split left, or that fraction rounded up?

    there: shares, signed.
    """
    fraction = _fraction_of(held)
    if not fraction:
        return False
    signed = there if held.side == "long" else -there
    return any(abs(signed - whole) <= SAME_SHARES for whole in (held.qty - fraction, held.qty - fraction + 1))


def _fraction_of(held: Position) -> Decimal:
    """What a split left beyond whole shares; 0 for a position that no split has touched."""
    if held.split_factor == 1:
        return Decimal(0)
    fraction = held.qty - held.qty.to_integral_value(ROUND_DOWN)
    return fraction if SAME_SHARES < fraction < 1 - SAME_SHARES else Decimal(0)
