"""Exits: positions with a flag leave at the open, their protective stop cancelled first (rules, section 4.1)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from kobe_jobs.trading.desk import Desk
from kobe_jobs.trading.executor import resolve, send
from kobe_jobs.trading.stops import remove_stops
from kobe_resources.broker.protocol import Quote
from kobe_resources.broker.quotes import exit_limit
from kobe_resources.order_ledger import Draft, Intent, OrderState, Position
from kobe_resources.order_ledger import intents as book
from kobe_resources.order_ledger.positions import open_positions
from kobe_resources.order_ledger.states import UNSETTLED

POSTS_AT_MOST = 3


def exit_flagged(desk: Desk) -> list[Intent]:
    """Sell (or buy back) every flagged position at the quote; the exit orders of this session.

    A position without a usable quote, or that the broker does not hold, keeps its flag. Raises what `executor.send` raises.
    """
    flagged = [held for held in open_positions(desk.ledger, desk.account) if held.flag and held.symbol not in desk.missing]
    return leave_positions(desk, flagged, book.EXIT)


def leave_positions(desk: Desk, leaving: Iterable[Position], leg: str, any_age: bool = False) -> list[Intent]:
    """Send an exit for each position under the leg's name, for the reason of its flag.

    any_age: an old quote is good enough, because no newer one will come.
    """
    positions = [held for held in leaving if not _is_over(desk, held, leg)]
    if not positions:
        return []
    clock = desk.check_may_send(is_entry=False)
    quotes = desk.quotes(held.symbol for held in positions)
    sent = []
    for held in positions:
        quote = quotes.get(held.symbol)
        veto = desk.judge_for_exit(quote, clock.timestamp, any_age)
        if quote is None or veto is not None:
            desk.note(f"{held.symbol} shall leave ({held.flag}) but has {veto or 'no quote'}: its flag stays")
            continue
        # Read again before the stop goes: with the switch on, the stop is all that is left.
        desk.check_may_send(is_entry=False)
        free = remove_stops(desk, held)
        if free is None:
            desk.note(f"the stop of {held.symbol} could not be cancelled: it stays, and so does the position")
        elif free.is_open and not _is_over(desk, free, leg):
            sent.append(send(desk, _plan_exit(desk, free, leg, quote, clock.timestamp).client_order_id))
    waiting = resolve(desk)
    for intent in waiting:
        desk.note(f"exit or entry {intent.client_order_id} of {intent.symbol} is not settled yet")
    ended = [book.get(desk.ledger, intent.client_order_id) for intent in sent]
    for intent in ended:
        if intent.state not in (OrderState.FILLED, *UNSETTLED):
            desk.note(f"the exit of {intent.symbol} ended {intent.state}: {intent.detail or 'no fill'}; its flag stays")
    return ended


def _is_over(desk: Desk, held: Position, leg: str) -> bool:
    """An exit that met the market and was not filled is not tried again in the same session."""
    known = book.find(desk.ledger, _draft(desk, held, leg).client_order_id)
    if known is None or known.state is OrderState.INTENT:
        return False
    # It goes out again as it was, or not at all: the first one may yet turn up.
    may_go_again = known.state is OrderState.NOT_PLACED and known.posts < POSTS_AT_MOST and known.qty == held.qty
    return not may_go_again


def _plan_exit(desk: Desk, held: Position, leg: str, quote: Quote, now: dt.datetime) -> Intent:
    draft = _draft(desk, held, leg, quote, now)
    with desk.ledger.write() as write:
        known = book.find(write, draft.client_order_id)
        if known is None:
            return book.plan(write, draft)
        if known.state is OrderState.NOT_PLACED:
            return book.rearm(write, known.client_order_id)
        return book.replan(write, draft)


def _draft(desk: Desk, held: Position, leg: str, quote: Quote | None = None, now: dt.datetime | None = None) -> Draft:
    is_long = held.side == "long"
    trading = desk.settings.trading
    decision = {"position": held.id, "flag": held.flag, "bars_held": held.bars_held}
    if quote is not None:
        decision |= {"bid": str(quote.bid), "ask": str(quote.ask), "quoted_at": str(quote.timestamp), "decided_at": str(now)}
    return Draft(
        account=desk.account, strategy=held.strategy, session=desk.day, signal_session=desk.signal_session,
        symbol=held.symbol, side="sell" if is_long else "buy", leg=leg, kind="limit", time_in_force=trading.time_in_force,
        qty=held.qty, limit_price=None if quote is None else exit_limit(quote, is_long, trading), position_id=held.id,
        reason=held.flag or leg, decision=decision,
    )  # fmt: skip
