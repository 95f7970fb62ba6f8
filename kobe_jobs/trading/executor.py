"""The executor: claim, POST once, resolve. An order whose fate is unknown is not a rejected order, and none is sent twice.

Every step is durable before the next begins, so that a run killed anywhere leaves the ledger saying what the broker may hold.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import time
from collections.abc import Iterator

from kobe_jobs.trading.context import LEASE_S, Desk, MarketShut, NotThisSession, day_start
from kobe_resources.broker.pacing import order_ahead, urgent
from kobe_resources.broker.protocol import (
    BrokerFill,
    BrokerOrder,
    BrokerUnavailable,
    DuplicateClientOrderId,
    OrderRequest,
    OrderStatus,
    Refused,
    SendsNothing,
    Unauthorized,
    Unresolved,
    WrongAccount,
)
from kobe_resources.errors import KobeError
from kobe_resources.kill_switch import KillSwitchOn
from kobe_resources.order_ledger import IllegalMove, Intent, OrderState
from kobe_resources.order_ledger import orders as book
from kobe_resources.order_ledger.settlement import OrderMismatch, settle
from kobe_resources.order_ledger.states import UNSETTLED
from kobe_resources.order_ledger.store import Write
from kobe_resources.runtime.event_log import event_context, get_logger

MISSES_BEFORE_NOT_PLACED = 3
MANY_ORDERS = 2
"""From so many on, the list of open orders is asked for first: it spares a look-up each."""
SLOWER, SLOWEST = 1.5, 16
"""Each pause between two looks is longer than the one before, up to so many times the first."""
RESTING = frozenset({OrderStatus.NEW, OrderStatus.ACCEPTED, OrderStatus.HELD, OrderStatus.PARTIALLY_FILLED})
"""What a look-up says of a stop that protects; pending_new, pending_cancel and all else may end as nothing."""
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
        answer = _post(desk, intent)
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
        # It proves that the order is there, seen or not.
        return _doubt(desk, intent, "the broker knows this id already", error.request_id, is_there=True)
    except Unresolved as error:
        return _doubt(desk, intent, error.cause, error.request_id)
    with ledger.write() as write:
        current = book.get(write, client_id)
        if current.state is not OrderState.SUBMITTING:
            # A reconciliation beside us saw the order first.
            return current
        return _accept(write, current, answer)


def resolve(desk: Desk, timeout_s: float | None = None) -> list[Intent]:
    """Ask for every unsettled order until each is settled or rests as it should; those that are not when time is over.

    A stop rests as it should where the broker's answer, now, shows it alive; one that no answer showed is UNKNOWN afterwards.
    """
    times, cancels = FillTimes(desk), _Cancels(desk)
    asked_again: set[str] = set()
    waiting: list[Intent] = []
    for _ in _rounds(desk, timeout_s):
        seen = _look_at_all(desk, times)
        open_ends = [(intent, order) for intent, order in seen if not _is_at_rest(intent, order)]
        waiting = [intent for intent, _ in open_ends]
        if not waiting:
            return []
        for intent, order in open_ends:
            if _is_overdue(desk, intent):
                cancels.ask(intent, order)
            if intent.client_order_id not in asked_again and _is_hidden(desk, intent):
                asked_again.add(intent.client_order_id)
                _ask_again(desk, intent)
    return [_doubt_protection(desk, intent) for intent in waiting]


def look_up(desk: Desk, intent: Intent, times: FillTimes) -> Intent:
    """One look at one order, and what follows from it."""
    return _look(desk, intent, times)[0]


def take_in(desk: Desk, intent: Intent, order: BrokerOrder, times: FillTimes) -> Intent:
    """Bring the ledger to what the broker says of an order."""
    at = times.of(order, intent) if order.filled_qty > intent.filled_qty else dt.datetime.now(dt.UTC)
    with desk.ledger.write() as write:
        current = book.get(write, intent.client_order_id)
        if current.state is OrderState.UNKNOWN and current.broker_order_id == order.id and _tells_nothing(current, order):
            return current
        settled = settle(write, intent.client_order_id, order, at)
        if settled.state is OrderState.ACCEPTED and _tells_nothing(settled, order):
            told = {"status": order.raw_status, "request": order.request_id}
            return book.move(write, settled, OrderState.UNKNOWN, "not_resting", told)
        return settled


def cancel(desk: Desk, intent: Intent, timeout_s: float | None = None) -> Intent:
    """Cancel an order and wait until the broker says what became of it; it may turn out filled. Cancels pass a kill switch."""
    times, cancels = FillTimes(desk), _Cancels(desk)
    order: BrokerOrder | None = None
    with urgent():
        current = book.get(desk.ledger, intent.client_order_id)
        if current.state is not OrderState.ACCEPTED:
            current, order = _look(desk, current, times)
        for _ in _rounds(desk, timeout_s):
            if current.state not in UNSETTLED:
                return current
            cancels.ask(current, order)
            current, order = _look(desk, current, times)
            if current.state not in UNSETTLED:
                return current
    return current if _is_at_rest(current, order) else _doubt_protection(desk, current)


def take_back(desk: Desk, intent: Intent, reason: str) -> bool:
    """Veto an intent that waits to be sent; False where it turns out to be at the broker, or nobody can tell."""
    if intent.posts:
        # It was sent once and not found then: one more look before it is forgotten.
        try:
            order = desk.broker.order_by_client_id(intent.client_order_id)
        except BrokerUnavailable:
            return False
        if order is not None:
            with contextlib.suppress(OrderMismatch, IllegalMove):
                take_in(desk, intent, order, FillTimes(desk))
            return False
    with desk.ledger.write() as write:
        book.move(write, intent, OrderState.VETOED, "vetoed", reason=reason, reserved="0")
    return True


class FillTimes:
    """When orders filled, from the broker's executions, which are asked for only where a date hangs on them.

    One for the orders of one moment: clock and executions are asked for once.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._now: dt.datetime | None = None
        self._fills: dict[dt.date, list[BrokerFill]] = {}

    def of(self, order: BrokerOrder, intent: Intent) -> dt.datetime:
        """When the order last filled: an order that rests may have done so on another day than this."""
        if intent.time_in_force != "gtc" and intent.session == self._desk.day:
            return self._clock()
        times = self._executed(order, intent.session)
        if not times:
            # It may have filled since they were asked for.
            self._fills.pop(intent.session, None)
            times = self._executed(order, intent.session)
        return max(times, default=None) or self._clock()

    def _executed(self, order: BrokerOrder, since: dt.date) -> list[dt.datetime]:
        if since not in self._fills:
            self._fills[since] = self._desk.broker.fills(day_start(since))
        return [fill.at for fill in self._fills[since] if fill.order_id == order.id]

    def _clock(self) -> dt.datetime:
        if self._now is None:
            self._now = self._desk.broker.clock().timestamp
        return self._now


class _Cancels:
    """The cancels that were asked for: each once, until its answer is known."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._taken: set[str] = set()
        self._unclear: set[str] = set()

    def ask(self, intent: Intent, order: BrokerOrder | None) -> None:
        """Ask for a cancel unless one is under way; one whose answer was lost or a no is repeated after a look-up.

        order: what the last look told, if it told anything.
        """
        client_id = intent.client_order_id
        is_leaving = order is not None and order.status is OrderStatus.PENDING_CANCEL
        if is_leaving or client_id in self._taken or (client_id in self._unclear and order is None):
            return
        (self._taken if _ask_to_cancel(self._desk, intent) else self._unclear).add(client_id)


def _request(intent: Intent) -> OrderRequest:
    return OrderRequest(
        intent.client_order_id, intent.symbol, intent.side, intent.qty, intent.kind, intent.time_in_force,
        intent.limit_price, intent.stop_price,
    )  # fmt: skip


def _post(desk: Desk, intent: Intent) -> BrokerOrder:
    """Look at clock and kill switch, and send; nothing waits between the two. Exits follow a stop's cancel: they are urgent."""
    is_entry = intent.purpose == book.ENTRY
    with order_ahead(is_urgent=not is_entry):
        desk.check_intent(intent)
        return desk.broker.submit(_request(intent))


def _accept(write: Write, intent: Intent, answer: BrokerOrder) -> Intent:
    told = {"status": answer.raw_status, "request": answer.request_id}
    return book.move(
        write, intent, OrderState.ACCEPTED, "accepted", told, broker_order_id=answer.id, acknowledged=1, owner=None,
        lease_until=None,
    )  # fmt: skip


def _doubt(desk: Desk, intent: Intent, cause: str, request_id: str | None, is_there: bool = False) -> Intent:
    with event_context(order_id=intent.client_order_id):
        log.warning("the fate of an order is unknown", cause=cause)
    with desk.ledger.write() as write:
        current = book.get(write, intent.client_order_id)
        if current.state is not OrderState.SUBMITTING:
            return current
        changes = {"acknowledged": 1} if is_there else {}
        return book.move(write, current, OrderState.UNKNOWN, "unknown", {"request": request_id}, detail=cause, **changes)


def _refused(desk: Desk, intent: Intent, error: Refused) -> Intent:
    """A refusal is believed after one look: an order that is there all the same is worth more than the message.

    The answer is about this POST only. An earlier one of the same intent may still arrive, so the intent stays unknown.
    """
    doubted = _doubt(desk, intent, error.message, error.request_id)
    try:
        order = desk.broker.order_by_client_id(intent.client_order_id)
    except BrokerUnavailable:
        return doubted
    if order is not None:
        try:
            return take_in(desk, doubted, order, FillTimes(desk))
        except (OrderMismatch, IllegalMove) as odd:
            desk.note(str(odd))
            return doubted
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


def _look_at_all(desk: Desk, times: FillTimes) -> list[tuple[Intent, BrokerOrder | None]]:
    """Every unsettled order with what the broker tells of it: one list, and a look-up for those that it leaves open."""
    unsettled = _to_resolve(desk)
    listed = _open_orders(desk) if len(unsettled) >= MANY_ORDERS else {}
    seen: list[tuple[Intent, BrokerOrder | None]] = []
    for intent in unsettled:
        order = listed.get(intent.client_order_id)
        # A list may be older than a cancel that was asked.
        in_doubt = intent.purpose == book.STOP and intent.state is OrderState.UNKNOWN
        if order is None or in_doubt:
            seen.append(_look(desk, intent, times))
        elif _is_news(intent, order):
            seen.append((take_in(desk, intent, order, times), order))
        else:
            seen.append((intent, order))
    return seen


def _open_orders(desk: Desk) -> dict[str, BrokerOrder]:
    try:
        return {order.client_order_id: order for order in desk.broker.orders("open")}
    except BrokerUnavailable:
        return {}


def _look(desk: Desk, intent: Intent, times: FillTimes) -> tuple[Intent, BrokerOrder | None]:
    """One look-up: the intent as it then is, and the order where one was told."""
    if not may_touch(desk, intent):
        return intent, None
    try:
        with urgent(intent.purpose == book.STOP):
            order = desk.broker.order_by_client_id(intent.client_order_id)
            if order is not None:
                return take_in(desk, intent, order, times), order
        with desk.ledger.write() as write:
            missed = book.miss(write, intent.client_order_id)
        if _is_given_up(desk, missed) and not _is_listed(desk, intent):
            with desk.ledger.write() as write:
                current = book.get(write, intent.client_order_id)
                if current.state not in (OrderState.SUBMITTING, OrderState.UNKNOWN):
                    return current, None
                return book.move(write, current, OrderState.NOT_PLACED, "not_placed", owner=None, lease_until=None), None
        return missed, None
    except (OrderMismatch, IllegalMove) as error:
        # An answer that does not fit costs this look: reconciliation names it, and the next look may read better.
        desk.note(str(error))
        reason = str(error)
    except BrokerUnavailable as error:
        reason = str(error)
    with event_context(order_id=intent.client_order_id):
        log.warning("an order could not be looked up", reason=reason)
    return book.get(desk.ledger, intent.client_order_id), None


def _is_news(intent: Intent, order: BrokerOrder) -> bool:
    known = intent.state is OrderState.ACCEPTED and intent.broker_order_id == order.id
    same = known and order.filled_qty == intent.filled_qty and not order.is_terminal
    return not same or _tells_nothing(intent, order)


def _tells_nothing(intent: Intent, order: BrokerOrder) -> bool:
    """A stop that is neither over nor at rest (pending_new, pending_cancel): it protects nothing yet, or nothing any more."""
    is_stop = intent.purpose == book.STOP and order.filled_qty == intent.filled_qty
    return is_stop and not order.is_terminal and order.status not in RESTING


def _rounds(desk: Desk, timeout_s: float | None) -> Iterator[None]:
    """A round of looks now and then again, ever more slowly, until the time is over; at least one."""
    trading = desk.settings.trading
    deadline = time.monotonic() + (trading.resolve_timeout_s if timeout_s is None else timeout_s)
    pause = trading.poll_s
    while True:
        yield
        left = deadline - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(pause, left))
        pause = min(pause * SLOWER, trading.poll_s * SLOWEST)


def _to_resolve(desk: Desk) -> list[Intent]:
    return [intent for intent in book.unsettled(desk.ledger, desk.account) if may_touch(desk, intent)]


def may_touch(desk: Desk, intent: Intent) -> bool:
    """A claim whose owner lives is its owner's; alone, every other owner is dead."""
    if intent.state is not OrderState.SUBMITTING or desk.alone or intent.owner == desk.ledger.owner:
        return True
    return intent.lease_until is None or intent.lease_until < dt.datetime.now(dt.UTC)


def _is_at_rest(intent: Intent, order: BrokerOrder | None) -> bool:
    """Settled, or a protective stop that the broker has just shown alive."""
    if intent.state not in UNSETTLED:
        return True
    is_alive = order is not None and order.status in RESTING
    return intent.state is OrderState.ACCEPTED and intent.time_in_force == "gtc" and is_alive


def _doubt_protection(desk: Desk, intent: Intent) -> Intent:
    """A stop that no answer showed at rest counts as nothing until one does."""
    with desk.ledger.write() as write:
        current = book.get(write, intent.client_order_id)
        if current.purpose != book.STOP or current.state is not OrderState.ACCEPTED:
            return current
        return book.move(write, current, OrderState.UNKNOWN, "not_seen", {"broker": current.broker_order_id})


def _is_given_up(desk: Desk, intent: Intent) -> bool:
    """Not seen for long. An order that the broker named a duplicate is there: only the end of its session lets it go."""
    is_there = intent.acknowledged and (intent.broker_order_id is not None or intent.session >= desk.day)
    return not is_there and _is_missed(desk, intent)


def _is_missed(desk: Desk, intent: Intent) -> bool:
    if intent.first_missed_at is None or intent.misses < MISSES_BEFORE_NOT_PLACED:
        return False
    waited = (dt.datetime.now(dt.UTC) - intent.first_missed_at).total_seconds()
    return waited >= desk.settings.trading.not_placed_after_s


def _is_hidden(desk: Desk, intent: Intent) -> bool:
    """The broker knows the id and shows no order."""
    unseen = intent.state is OrderState.UNKNOWN and intent.acknowledged and intent.broker_order_id is None
    return unseen and intent.session == desk.day and desk.alone and desk.sends and _is_missed(desk, intent)


def _ask_again(desk: Desk, intent: Intent) -> None:
    """Send a hidden order once more under its id: the broker takes an id once, so the answer tells whether it is there."""
    with desk.ledger.write() as write:
        write.audit("asked_again", order=intent.client_order_id, symbol=intent.symbol, leg=intent.leg)
    try:
        answer = _post(desk, intent)
    except Unauthorized:
        raise
    except KobeError as error:
        log.info("an order that the broker knows is still hidden", order_id=intent.client_order_id, reason=str(error))
        return
    with desk.ledger.write() as write:
        current = book.get(write, intent.client_order_id)
        if current.state is OrderState.UNKNOWN:
            _accept(write, current, answer)


def _is_listed(desk: Desk, intent: Intent) -> bool:
    orders = desk.broker.orders("all", after=day_start(intent.session))
    return any(order.client_order_id == intent.client_order_id for order in orders)


def _is_overdue(desk: Desk, intent: Intent) -> bool:
    """A DAY order, or an IOC order that the broker keeps alive, is cancelled when its time is over."""
    age = (dt.datetime.now(dt.UTC) - intent.updated_at).total_seconds()
    is_alive = intent.state is OrderState.ACCEPTED and intent.time_in_force != "gtc"
    return is_alive and age >= desk.settings.trading.cancel_after_s


def _ask_to_cancel(desk: Desk, intent: Intent) -> bool:
    """Ask for a cancel; False where the answer is a no, or none: only a look-up can tell."""
    if intent.broker_order_id is None or not desk.sends:
        return False
    with desk.ledger.write() as write:
        current = book.get(write, intent.client_order_id)
        if current.purpose == book.STOP and current.state is OrderState.ACCEPTED:
            book.move(write, current, OrderState.UNKNOWN, "cancel_asked")
        else:
            write.audit("cancel_asked", order=intent.client_order_id, symbol=intent.symbol, leg=intent.leg)
    try:
        desk.broker.cancel(intent.broker_order_id)
    except (Refused, Unresolved, BrokerUnavailable) as error:
        log.info("a cancel was not taken", order_id=intent.client_order_id, reason=str(error))
        return False
    return True
