"""Fractions of shares that a split leaves: paid in cash or rounded up at the broker, and the ledger follows.

A reverse split can leave less than one share, and with it nothing of the position.
"""

from __future__ import annotations

from decimal import ROUND_DOWN, Decimal

from kobe_jobs.trading.context import SessionContext
from kobe_jobs.trading.equity import last_close
from kobe_resources.order_ledger import Position
from kobe_resources.order_ledger.positions import SAME_SHARES, grow, is_same_qty, leave, open_positions

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
        broker, fraction = there.get(held.symbol, Decimal(0)), _fraction_of(held)
        if held.symbol in unread or not is_rounded(held, broker):
            if _is_kept(context, held, broker):
                end = "sell" if held.side == "long" else "buy back"
                context.note(
                    f"the broker keeps {fraction.normalize():f} of a share of {held.symbol} that its split left, for which it"
                    f" takes no stop: {end} that part there, then `kobe reconcile --accept` with the reason"
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
    fraction = _fraction_of(held)
    if not fraction:
        return False
    signed = there if held.side == "long" else -there
    return any(abs(signed - whole) <= SAME_SHARES for whole in (held.qty - fraction, held.qty - fraction + 1))


def _is_kept(context: SessionContext, held: Position, there: Decimal) -> bool:
    """Whether a broker that trades whole shares for us still holds the fraction; the simulation's takes orders of fractions."""
    trades_whole = context.limits.whole_shares and not context.ledger.disposable
    return trades_whole and is_same_qty(there, held.signed_qty)


def _fraction_of(held: Position) -> Decimal:
    """What a split left beyond whole shares; 0 for a position that no split has touched."""
    if held.split_factor == 1:
        return Decimal(0)
    fraction = held.qty - held.qty.to_integral_value(ROUND_DOWN)
    return fraction if SAME_SHARES < fraction < 1 - SAME_SHARES else Decimal(0)
