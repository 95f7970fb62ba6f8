"""Fractions of shares that a split leaves: the broker pays them in cash, and the ledger lets them go.

A reverse split can leave less than one share, and with it nothing of the position.
"""

from __future__ import annotations

from decimal import ROUND_DOWN, Decimal

from kobe_jobs.trading.context import SessionContext
from kobe_jobs.trading.equity import last_close
from kobe_resources.order_ledger import Position
from kobe_resources.order_ledger.positions import leave, open_positions

CASH_IN_LIEU = "cash_in_lieu"
SAME_SHARES = Decimal("1e-6")


def settle_fractions(context: SessionContext) -> None:
    """Let the fractions go that splits left of our positions and that the broker does not hold any more."""
    odd = [held for held in open_positions(context.ledger, context.account) if _fraction_of(held)]
    if not odd or not context.sends:
        return
    there = {row.symbol: row.qty for row in context.broker.positions()}
    for held in odd:
        if not is_paid_in_cash(held, there.get(held.symbol, Decimal(0))):
            continue
        fraction = _fraction_of(held)
        price = Decimal(repr(last_close(context, held, context.signal_session)))
        with context.ledger.write() as write:
            leave(write, held.id, fraction, price, context.session, CASH_IN_LIEU)
        context.note(
            f"the split of {held.symbol} left {fraction.normalize():f} of a share, which the broker pays in cash in lieu"
        )


def is_paid_in_cash(held: Position, there: Decimal) -> bool:
    """Does the broker hold a position but for the fraction of a share that its split left? there: shares, signed."""
    fraction = _fraction_of(held)
    if not fraction:
        return False
    whole = held.qty - fraction if held.side == "long" else fraction - held.qty
    return abs(there - whole) <= SAME_SHARES


def _fraction_of(held: Position) -> Decimal:
    """What a split left beyond whole shares; 0 for a position that no split has touched."""
    if held.split_factor == 1:
        return Decimal(0)
    fraction = held.qty - held.qty.to_integral_value(ROUND_DOWN)
    return fraction if SAME_SHARES < fraction < 1 - SAME_SHARES else Decimal(0)
