"""Stops of positions whose split takes effect at the next open: lifted the evening before, set again after it.

At Alpaca a split changes a resting stop's shares and not its price, so that the first trade of the ex-date would trigger it. A
stop is lifted once the session is over, never earlier; between the two the market is shut and no stop could trigger.
"""

from __future__ import annotations

import datetime as dt

from kobe_jobs.trading.bare_positions import LIFTED, lifted_text
from kobe_jobs.trading.context import SessionContext
from kobe_jobs.trading.moments import RunMoment
from kobe_jobs.trading.stops import remove_stops
from kobe_resources.order_ledger import Position
from kobe_resources.order_ledger.positions import open_positions


def split_ahead(context: SessionContext, symbol: str) -> dt.date | None:
    """When a split of the symbol takes effect at the open that comes next; None while the market is open, or without one."""
    if context.moment is RunMoment.BEFORE_OPEN:
        after, through = context.signal_session, context.session
    elif context.moment is RunMoment.AFTER_CLOSE and context.next_session is not None:
        after, through = context.session, context.next_session
    else:
        return None
    splits = context.evidence.splits_between(symbol, after, through)
    return splits[0].execution_date if splits else None


def lift_stops(context: SessionContext) -> None:
    """Take away the stops that a split of the coming session would leave at a price of other shares."""
    for held in open_positions(context.ledger, context.account):
        executed = split_ahead(context, held.symbol)
        if executed is None or held.symbol in context.missing:
            continue
        if remove_stops(context, held) is None:
            context.trouble(
                f"the stop of {held.symbol} could not be lifted before its split of {executed}: it may sell at the open"
            )
        else:
            _record(context, held, executed)
            context.note(lifted_text(held.symbol, executed))


def _record(context: SessionContext, held: Position, executed: dt.date) -> None:
    """Write down that this position has no stop on purpose, once: reconciliation, preflight and health know it by that."""
    with context.ledger.write() as write:
        known = write.execute(
            "SELECT 1 FROM audit WHERE kind = ? AND json_extract(body, '$.position') = ? AND json_extract(body, '$.until') = ?",
            (LIFTED, held.id, executed.isoformat()),
        ).fetchone()
        if known is None:
            write.audit(LIFTED, position=held.id, symbol=held.symbol, until=executed)


def waiting_for_split(context: SessionContext) -> frozenset[str]:
    """Symbols held without a stop on purpose, until the open at which their split takes effect."""
    held = {position.symbol for position in open_positions(context.ledger, context.account)}
    return frozenset(symbol for symbol in held if split_ahead(context, symbol) is not None)
