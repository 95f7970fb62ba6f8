"""Stops of positions whose split takes effect at the next open: gone by then, set again after it.

At Alpaca a split changes a resting stop's shares and not its price, so that the first trade of the ex-date would trigger it. A
run of the session before it lets the stop end with the close, so that no other run has to come. One that rests all the same is
lifted by any run while the market is shut, when no stop could trigger.
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from decimal import Decimal

from kobe_jobs.trading.bare_positions import LIFTED, ask_broker_state, ending_text, lifted_text
from kobe_jobs.trading.context import SessionContext
from kobe_jobs.trading.moments import RunMoment
from kobe_jobs.trading.roll_forward import ratio_of
from kobe_jobs.trading.stops import ends_with_close, living_stops, remove_stops, set_stop
from kobe_resources.order_ledger import OrderState, Position
from kobe_resources.order_ledger.positions import SAME_SHARES, open_positions


@dataclass(frozen=True, slots=True)
class SplitAhead:
    """A split that takes effect at the open of `session`. executed: its date, which may be a day without a session."""

    executed: dt.date
    session: dt.date
    ratio: Decimal


def split_ahead(context: SessionContext, symbol: str) -> SplitAhead | None:
    """The split of the symbol that takes effect at the open that comes next; None while the market is open, or without one."""
    if context.moment in (RunMoment.BEFORE_OPEN, RunMoment.SHUT):
        after, through = context.signal_session, context.session
    elif context.moment is RunMoment.AFTER_CLOSE and context.next_session is not None:
        after, through = context.session, context.next_session
    else:
        return None
    splits = context.snapshot.splits_between(symbol, after, through)
    if not splits:
        return None
    ratio = math.prod((ratio_of(split) for split in splits), start=Decimal(1))
    return SplitAhead(splits[0].execution_date, through, ratio)


def lift_stops(context: SessionContext) -> None:
    """Take away the stops that a split of the coming session would leave at a price of other shares; while the market is open,
    let them end with its close.

    No stop is touched where ledger and broker hold other shares for another reason than the split, on which one of the two may
    be ahead of the other.
    """
    if context.moment is RunMoment.OPEN:
        _end_with_close(context)
        return
    coming = [(held, split_ahead(context, held.symbol)) for held in open_positions(context.ledger, context.account)]
    if not any(split for _, split in coming):
        return
    there = ask_broker_state(context.broker, context.ledger, context.account)
    for held, split in coming:
        if split is None:
            continue
        if not _is_same_but_split(held, there.qty(held.symbol), split.ratio):
            context.trouble(
                f"ledger and broker differ on {held.symbol}: its stop is not touched, and may sell at the open of"
                f" {split.session}, when its split takes effect"
            )
        elif remove_stops(context, held) is None:
            context.trouble(
                f"the stop of {held.symbol} could not be lifted before its split of {split.executed}: it may sell at the open"
            )
        else:
            _record(context, held, split.session)
            context.note(lifted_text(held.symbol, split.session))


def _end_with_close(context: SessionContext) -> None:
    """Put a stop of the day in the place of each that would outlive the session before a split."""
    held_over = [held for held in open_positions(context.ledger, context.account) if ends_with_close(context, held)]
    if not held_over or context.kill_switch.status().is_on:
        # With the switch on what protects is left alone; a run of the evening lifts it, which takes a cancel only.
        return
    there = ask_broker_state(context.broker, context.ledger, context.account)
    for held in held_over:
        if held.flag or held.symbol in context.missing or not there.holds(held):
            continue
        lasting = [order for order in living_stops(context, held) if order.time_in_force != "day"]
        if lasting:
            still = remove_stops(context, held)
            if still is None or not still.is_open:
                continue
            set_stop(context, still)
    record_endings(context)


def record_endings(context: SessionContext) -> None:
    """Write down which stops end with this close on purpose, those of the session's own entries included."""
    for held in open_positions(context.ledger, context.account):
        if context.next_session is None or not ends_with_close(context, held):
            continue
        stops = [order for order in living_stops(context, held) if order.state is OrderState.ACCEPTED]
        if stops and all(order.time_in_force == "day" for order in stops):
            _record(context, held, context.next_session)
            context.note(ending_text(held.symbol, context.next_session))


def _is_same_but_split(held: Position, there: Decimal, ratio: Decimal) -> bool:
    """Whether the broker holds the ledger's shares, before or after the split, but for the fraction that it leaves."""
    if abs(there - held.signed_qty) <= SAME_SHARES:
        return True
    return any(abs(there - held.signed_qty * by) < 1 and there * held.signed_qty > 0 for by in (1, ratio, 1 / ratio))


def _record(context: SessionContext, held: Position, session: dt.date) -> None:
    """Write down that this position has no stop on purpose, once: reconciliation, preflight and health know it by that."""
    with context.ledger.write() as write:
        known = write.execute(
            "SELECT 1 FROM audit WHERE kind = ? AND json_extract(body, '$.position') = ? AND json_extract(body, '$.until') = ?",
            (LIFTED, held.id, session.isoformat()),
        ).fetchone()
        if known is None:
            write.audit(LIFTED, position=held.id, symbol=held.symbol, until=session)


def waiting_for_split(context: SessionContext) -> frozenset[str]:
    """Symbols held without a stop on purpose, until the open at which their split takes effect."""
    held = {position.symbol for position in open_positions(context.ledger, context.account)}
    return frozenset(symbol for symbol in held if split_ahead(context, symbol) is not None)
