"""The executor: claim, POST once, resolve. An order whose fate is unknown is not a rejected order, and none is sent twice.

Every step is durable before the next begins, so that a run killed anywhere leaves the ledger saying what the broker may hold.
"""

from __future__ import annotations

import datetime as dt

from kobe_jobs.trading.desk import LEASE_S, Desk, MarketShut, NotThisSession, day_start, polls
from kobe_resources.broker.protocol import (
    BrokerOrder,
    BrokerUnavailable,
    DuplicateClientOrderId,
    OrderRequest,
    Refused,
    SendsNothing,
    Unauthorized,
    Unresolved,
    WrongAccount,
)
from kobe_resources.event_log import event_context, get_logger
from kobe_resources.kill_switch import KillSwitchOn
from kobe_resources.order_ledger import IllegalMove, Intent, OrderState
from kobe_resources.order_ledger import intents as book
from kobe_resources.order_ledger.settlement import OrderMismatch, settle
from kobe_resources.order_ledger.states import UNSETTLED

MISSES_BEFORE_NOT_PLACED = 3
MANY_STOPS = 2
log = get_logger("trading")


def send(desk: Desk, client_id: str) -> Intent:
    """Claim an intent and POST it once; what is known afterwards (its fills are not).

    Raises what stops the run: KillSwitchOn, MarketShut, NotThisSession, BrokerUnavailable (nothing was sent, the intent
    waits), Unauthorized, WrongAccount. Somebody else's claim is left alone.
    """
    ledger = desk.ledger
    with ledger.write() as write:
        intent = book.claim(write, client_id, ledger.owner, LEASE_S)
    if intent is None:
        return book.get(ledger, client_id)
    try:
        desk.check_intent(intent)
        answer = desk.broker.submit(_request(intent))
    except (KillSwitchOn, MarketShut, NotThisSession, BrokerUnavailable, WrongAccount, SendsNothing) as error:
        with ledger.write() as write:
            if book.get(write, client_id).state is OrderState.SUBMITTING:
                book.give_back(write, client_id, ledger.owner, str(error))
        raise
    except Unauthorized as error:
        # A 401 should prove that nothing was placed; a look-up with keys that work costs nothing, a lost order does.
        _doubt(desk, intent, str(error), error.request_id)
        raise
    except Refused as error:
        return _refused(desk, intent, error)
    except DuplicateClientOrderId as error:
        # The broker has taken an order under this id: whatever look-ups say, it is never one that was not placed.
        return _doubt(desk, intent, "the broker knows this id already", error.request_id, acknowledged=1)
    except Unresolved as error:
        return _doubt(desk, intent, error.cause, error.request_id)
    with ledger.write() as write:
        current = book.get(write, client_id)
        if current.state is not OrderState.SUBMITTING:
            # A reconciliation beside us saw the order first.
            return current
        told = {"status": answer.raw_status, "request": answer.request_id}
        return book.move(
            write, intent, OrderState.ACCEPTED, "accepted", told, broker_order_id=answer.id, acknowledged=1, owner=None,
            lease_until=None,
        )  # fmt: skip


def resolve(desk: Desk, timeout_s: float | None = None) -> list[Intent]:
    """Ask for every unsettled order until each is settled or rests as it should; those that are not when time is over."""
    trading = desk.settings.trading
    times = FillTimes(desk)
    waiting: list[Intent] = []
    for _ in polls(trading.resolve_timeout_s if timeout_s is None else timeout_s, trading.poll_s):
        unsettled = _to_resolve(desk)
        resting = _resting(desk, unsettled)
        asked = [intent for intent in unsettled if intent.client_order_id not in resting]
        waiting = [intent for intent in asked if not _is_at_rest(look_up(desk, intent, times))]
        if not waiting:
            return []
        _cancel_overdue(desk, waiting)
    return waiting


def look_up(desk: Desk, intent: Intent, times: FillTimes) -> Intent:
    """One look at one order, and what follows from it."""
    if not may_touch(desk, intent):
        return intent
    try:
        order = desk.broker.order_by_client_id(intent.client_order_id)
        if order is not None:
            return take_in(desk, intent, order, times)
        with desk.ledger.write() as write:
            missed = book.miss(write, intent.client_order_id)
        if _is_given_up(desk, missed) and not _is_listed(desk, intent):
            with desk.ledger.write() as write:
                current = book.get(write, intent.client_order_id)
                if current.state not in (OrderState.SUBMITTING, OrderState.UNKNOWN):
                    return current
                return book.move(write, current, OrderState.NOT_PLACED, "not_placed", owner=None, lease_until=None)
        return missed
    except BrokerUnavailable as error:
        reason = str(error)
    except (OrderMismatch, IllegalMove) as error:
        # An answer that does not fit costs this one look: asked again it may, and the other orders are no worse for it.
        reason = str(error)
        desk.note(reason)
    with event_context(order_id=intent.client_order_id):
        log.warning("an order could not be looked up", reason=reason)
    return book.get(desk.ledger, intent.client_order_id)


def take_in(desk: Desk, intent: Intent, order: BrokerOrder, times: FillTimes) -> Intent:
    """Bring the ledger to what the broker says of an order."""
    at = times.of(order, intent) if order.filled_qty > intent.filled_qty else dt.datetime.now(dt.UTC)
    with desk.ledger.write() as write:
        return settle(write, intent.client_order_id, order, at)


def cancel(desk: Desk, intent: Intent, timeout_s: float | None = None) -> Intent:
    """Cancel an order and wait until the broker says what became of it; it may turn out filled. Cancels pass a kill switch."""
    trading = desk.settings.trading
    times = FillTimes(desk)
    current = intent
    for _ in polls(trading.resolve_timeout_s if timeout_s is None else timeout_s, trading.poll_s):
        current = look_up(desk, current, times)
        if current.state not in UNSETTLED or current.broker_order_id is None:
            break
        _ask_to_cancel(desk, current)
        current = look_up(desk, current, times)
        if current.state not in UNSETTLED:
            break
    return current


def take_back(desk: Desk, intent: Intent, reason: str) -> bool:
    """Veto an intent that waits to be sent; False where it turns out to be at the broker, or nobody can tell."""
    if intent.posts:
        # It was sent once and not found then: one more look before it is forgotten.
        try:
            order = desk.broker.order_by_client_id(intent.client_order_id)
        except BrokerUnavailable:
            return False
        if order is not None:
            take_in(desk, intent, order, FillTimes(desk))
            return False
    with desk.ledger.write() as write:
        book.move(write, intent, OrderState.VETOED, "vetoed", reason=reason, reserved="0")
    return True


class FillTimes:
    """When orders filled, from the broker's executions, which are asked for only where a date hangs on them."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def of(self, order: BrokerOrder, intent: Intent) -> dt.datetime:
        """When the order last filled: an order that rests may have done so on another day than this."""
        now = self._desk.broker.clock().timestamp
        if intent.time_in_force != "gtc" and intent.session == self._desk.day:
            return now
        since = day_start(intent.session)
        times = [fill.at for fill in self._desk.broker.fills(since) if fill.order_id == order.id]
        return max(times, default=now)


def _request(intent: Intent) -> OrderRequest:
    return OrderRequest(
        intent.client_order_id, intent.symbol, intent.side, intent.qty, intent.kind, intent.time_in_force,
        intent.limit_price, intent.stop_price,
    )  # fmt: skip


def _doubt(desk: Desk, intent: Intent, cause: str, request_id: str | None, **changes: int) -> Intent:
    with event_context(order_id=intent.client_order_id):
        log.warning("the fate of an order is unknown", cause=cause)
    with desk.ledger.write() as write:
        current = book.get(write, intent.client_order_id)
        if current.state is not OrderState.SUBMITTING:
            return current
        return book.move(write, current, OrderState.UNKNOWN, "unknown", {"request": request_id}, detail=cause, **changes)


def _refused(desk: Desk, intent: Intent, error: Refused) -> Intent:
    """A refusal is believed after one look: an order that is there all the same is worth more than the message.

    It speaks of its own POST only: an earlier one of the same intent may yet turn up, so that intent stays unknown.
    """
    doubted = _doubt(desk, intent, error.message, error.request_id)
    try:
        order = desk.broker.order_by_client_id(intent.client_order_id)
    except BrokerUnavailable:
        return doubted
    if order is not None:
        return take_in(desk, doubted, order, FillTimes(desk))
    if intent.posts > 1:
        return doubted
    with desk.ledger.write() as write:
        current = book.get(write, intent.client_order_id)
        if current.state is not OrderState.UNKNOWN:
            return current
        return book.move(
            write, current, OrderState.REJECTED, "rejected", {"code": error.code, "request": error.request_id},
            detail=error.message, reserved="0", owner=None, lease_until=None,
        )  # fmt: skip


def _resting(desk: Desk, unsettled: list[Intent]) -> set[str]:
    """Stops that rest at the broker unchanged: one list instead of a look-up each."""
    stops = {intent.client_order_id: intent for intent in unsettled if _is_at_rest(intent)}
    if len(stops) < MANY_STOPS:
        return set()
    try:
        orders = desk.broker.orders("open")
    except BrokerUnavailable:
        return set()
    return {
        order.client_order_id
        for order in orders
        if order.client_order_id in stops and order.filled_qty == stops[order.client_order_id].filled_qty
    }


def _to_resolve(desk: Desk) -> list[Intent]:
    return [intent for intent in book.unsettled(desk.ledger, desk.account) if may_touch(desk, intent)]


def may_touch(desk: Desk, intent: Intent) -> bool:
    """A claim whose owner lives is its owner's; alone, every other owner is dead."""
    if intent.state is not OrderState.SUBMITTING or desk.alone or intent.owner == desk.ledger.owner:
        return True
    return intent.lease_until is None or intent.lease_until < dt.datetime.now(dt.UTC)


def _is_at_rest(intent: Intent) -> bool:
    """Settled, or a protective stop that waits at the broker."""
    return intent.state not in UNSETTLED or (intent.state is OrderState.ACCEPTED and intent.time_in_force == "gtc")


def _is_given_up(desk: Desk, intent: Intent) -> bool:
    if intent.acknowledged or intent.first_missed_at is None or intent.misses < MISSES_BEFORE_NOT_PLACED:
        return False
    waited = (dt.datetime.now(dt.UTC) - intent.first_missed_at).total_seconds()
    return waited >= desk.settings.trading.not_placed_after_s


def _is_listed(desk: Desk, intent: Intent) -> bool:
    orders = desk.broker.orders("all", after=day_start(intent.session))
    return any(order.client_order_id == intent.client_order_id for order in orders)


def _cancel_overdue(desk: Desk, waiting: list[Intent]) -> None:
    """A DAY order, or an IOC order that the broker keeps alive, is cancelled when its time is over."""
    now = dt.datetime.now(dt.UTC)
    for intent in waiting:
        age = (now - intent.updated_at).total_seconds()
        is_alive = intent.state is OrderState.ACCEPTED and intent.time_in_force != "gtc"
        if is_alive and age >= desk.settings.trading.cancel_after_s:
            _ask_to_cancel(desk, intent)


def _ask_to_cancel(desk: Desk, intent: Intent) -> None:
    if intent.broker_order_id is None or not desk.sends:
        return
    with desk.ledger.write() as write:
        write.audit("cancel_asked", order=intent.client_order_id, symbol=intent.symbol, leg=intent.leg)
    try:
        desk.broker.cancel(intent.broker_order_id)
    except (Refused, Unresolved, BrokerUnavailable) as error:
        # Filled meanwhile, gone, or unclear: only the look-up that follows can tell.
        log.info("a cancel was not taken", order_id=intent.client_order_id, reason=str(error))
