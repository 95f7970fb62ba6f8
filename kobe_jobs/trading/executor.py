"""The executor: claim, POST once, resolve. An order whose fate is unknown is not a rejected order, and none is sent twice.

Every step is durable before the next begins, so that a run killed anywhere leaves the ledger saying what the broker may hold.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator

from kobe_jobs.trading.bare_positions import PROTECTING
from kobe_jobs.trading.context import MarketShut, NotThisSession, SessionContext, polls
from kobe_jobs.trading.order_looks import FillTimes, apply_broker_order, is_missed, look_at, look_at_all
from kobe_resources.broker.pacing import order_ahead, urgent
from kobe_resources.broker.protocol import (
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
from kobe_resources.order_ledger import IllegalMove, LedgerOrder, OrderState
from kobe_resources.order_ledger import orders as book
from kobe_resources.order_ledger.settlement import OrderMismatch
from kobe_resources.order_ledger.states import UNSETTLED
from kobe_resources.order_ledger.store import Write
from kobe_resources.runtime.event_log import event_context, get_logger

SLOWER, SLOWEST = 1.5, 16
"""Each pause between two looks is longer than the one before, up to so many times the first."""
log = get_logger("trading")


def send(context: SessionContext, client_id: str) -> LedgerOrder:
    """Claim an order and POST it once; what is known afterwards (its fills are not).

    Raises what stops the run: KillSwitchOn, MarketShut, NotThisSession, BrokerUnavailable (nothing was sent, the order
    waits), Unauthorized, WrongAccount. An order that another run has claimed is left as it is.
    """
    ledger = context.ledger
    with ledger.write() as write:
        order = book.claim(write, client_id, ledger.owner)
    if order is None:
        return book.get(ledger, client_id)
    try:
        answer = _post(context, order)
    except (KillSwitchOn, MarketShut, NotThisSession, BrokerUnavailable, WrongAccount, SendsNothing) as error:
        with ledger.write() as write:
            if book.get(write, client_id).state is OrderState.SUBMITTING:
                book.release(write, client_id, ledger.owner, str(error))
        raise
    except Unauthorized as error:
        # A 401 should prove that nothing was placed; a look-up with keys that work costs nothing, a lost order does.
        _doubt(context, order, str(error), error.request_id)
        raise
    except Refused as error:
        return _refused(context, order, error)
    except DuplicateClientOrderId as error:
        # It proves that the order is there, seen or not.
        return _doubt(context, order, "the broker knows this id already", error.request_id, is_there=True)
    except Unresolved as error:
        return _doubt(context, order, error.cause, error.request_id)
    with ledger.write() as write:
        current = book.get(write, client_id)
        if current.state is not OrderState.SUBMITTING:
            # A reconciliation beside us saw the order first.
            return current
        return _accept(write, current, answer)


def resolve(context: SessionContext, timeout_s: float | None = None) -> list[LedgerOrder]:
    """Ask for every unsettled order until each is settled or rests as it should; those that are not when time is over.

    A stop rests as it should where the broker's answer, now, shows it alive; one that no answer showed is UNKNOWN afterwards.
    """
    times, cancels = FillTimes(context), _Cancels(context)
    asked_again: set[str] = set()
    waiting: list[LedgerOrder] = []
    for _ in _looks(context, timeout_s):
        seen = look_at_all(context, times)
        open_ends = [(ours, order) for ours, order in seen if not _is_at_rest(context, ours, order)]
        waiting = [ours for ours, _ in open_ends]
        if not waiting:
            return []
        for ours, order in open_ends:
            if _is_overdue(context, ours):
                cancels.ask(ours, order)
            if ours.client_order_id not in asked_again and _is_hidden(context, ours):
                asked_again.add(ours.client_order_id)
                _ask_again(context, ours)
    return [_doubt_protection(context, ours) for ours in waiting]


def cancel(context: SessionContext, ours: LedgerOrder, timeout_s: float | None = None) -> LedgerOrder:
    """Cancel an order and wait until the broker says what became of it; it may turn out filled. Cancels pass a kill switch."""
    times, cancels = FillTimes(context), _Cancels(context)
    order: BrokerOrder | None = None
    with urgent():
        current = book.get(context.ledger, ours.client_order_id)
        if current.state is not OrderState.ACCEPTED:
            current, order = look_at(context, current, times)
        for _ in _looks(context, timeout_s):
            if current.state not in UNSETTLED:
                return current
            cancels.ask(current, order)
            current, order = look_at(context, current, times)
            if current.state not in UNSETTLED:
                return current
    return current if _is_at_rest(context, current, order) else _doubt_protection(context, current)


def cancel_unsent(context: SessionContext, ours: LedgerOrder, reason: str) -> bool:
    """Deny an order that waits to be sent; False where the broker has it, or cannot be asked."""
    if ours.posts:
        # It was sent once and not found then: one more look before it is forgotten.
        try:
            order = context.broker.order_by_client_id(ours.client_order_id)
        except BrokerUnavailable:
            return False
        if order is not None:
            with contextlib.suppress(OrderMismatch, IllegalMove):
                apply_broker_order(context, ours, order, FillTimes(context))
            return False
    with context.ledger.write() as write:
        book.move(write, ours, OrderState.DENIED, "vetoed", reason=reason, reserved="0")
    return True


class _Cancels:
    """The cancels that were asked for: each once, until its answer is known."""

    def __init__(self, context: SessionContext) -> None:
        self._context = context
        self._taken: set[str] = set()
        self._unclear: set[str] = set()

    def ask(self, ours: LedgerOrder, order: BrokerOrder | None) -> None:
        """Ask for a cancel unless one is under way; one whose answer was lost or a no is repeated after a look-up.

        order: what the last look-up returned, if anything.
        """
        client_id = ours.client_order_id
        is_leaving = order is not None and order.status is OrderStatus.PENDING_CANCEL
        if is_leaving or client_id in self._taken or (client_id in self._unclear and order is None):
            return
        (self._taken if _ask_to_cancel(self._context, ours) else self._unclear).add(client_id)


def _request(order: LedgerOrder) -> OrderRequest:
    return OrderRequest(
        order.client_order_id, order.symbol, order.side, order.qty, order.kind, order.time_in_force,
        order.limit_price, order.stop_price,
    )  # fmt: skip


def _post(context: SessionContext, order: LedgerOrder) -> BrokerOrder:
    """Look at clock and kill switch, and send; nothing waits between the two. Exits follow a stop's cancel: they are urgent."""
    is_entry = order.purpose == book.ENTRY
    with order_ahead(is_urgent=not is_entry):
        context.check_order(order)
        return context.broker.submit(_request(order))


def _accept(write: Write, order: LedgerOrder, answer: BrokerOrder) -> LedgerOrder:
    details = {"status": answer.raw_status, "request": answer.request_id}
    return book.move(
        write, order, OrderState.ACCEPTED, "accepted", details, broker_order_id=answer.id, acknowledged=1, owner=None,
    )  # fmt: skip


def _doubt(
    context: SessionContext, order: LedgerOrder, cause: str, request_id: str | None, is_there: bool = False
) -> LedgerOrder:
    with event_context(order_id=order.client_order_id):
        log.warning("the fate of an order is unknown", cause=cause)
    with context.ledger.write() as write:
        current = book.get(write, order.client_order_id)
        if current.state is not OrderState.SUBMITTING:
            return current
        changes = {"acknowledged": 1} if is_there else {}
        return book.move(write, current, OrderState.UNKNOWN, "unknown", {"request": request_id}, detail=cause, **changes)


def _refused(context: SessionContext, ours: LedgerOrder, error: Refused) -> LedgerOrder:
    """The order after a refused POST: rejected once a look-up does not find it at the broker, where it may be all the same.

    The answer is about this POST only. An earlier one of the same order may still arrive, so the order stays unknown.
    """
    doubted = _doubt(context, ours, error.message, error.request_id)
    try:
        order = context.broker.order_by_client_id(ours.client_order_id)
    except BrokerUnavailable:
        return doubted
    if order is not None:
        try:
            return apply_broker_order(context, doubted, order, FillTimes(context))
        except (OrderMismatch, IllegalMove) as odd:
            context.note(str(odd))
            return doubted
    if ours.posts > 1:
        return doubted
    with context.ledger.write() as write:
        current = book.get(write, ours.client_order_id)
        if current.state is not OrderState.UNKNOWN:
            return current
        return book.move(
            write, current, OrderState.REJECTED, "rejected", {"code": error.code, "request": error.request_id},
            detail=error.message, reserved="0", owner=None,
        )  # fmt: skip


def _looks(context: SessionContext, timeout_s: float | None) -> Iterator[float]:
    """Seconds left, once for each round of looks at orders."""
    trading = context.settings.trading
    timeout_s = trading.resolve_timeout_s if timeout_s is None else timeout_s
    return polls(timeout_s, trading.poll_s, trading.poll_s * SLOWEST, SLOWER)


def _is_at_rest(context: SessionContext, ours: LedgerOrder, order: BrokerOrder | None) -> bool:
    """Settled, or an order that waits for the market as it should, which the broker has just shown alive."""
    if ours.state not in UNSETTLED:
        return True
    is_alive = order is not None and order.status in PROTECTING
    waits = ours.purpose == book.STOP or context.is_working(ours)
    return ours.state is OrderState.ACCEPTED and waits and is_alive


def _doubt_protection(context: SessionContext, order: LedgerOrder) -> LedgerOrder:
    """The stop as UNKNOWN where no answer of the broker showed it working: an unseen stop must not count as protection."""
    with context.ledger.write() as write:
        current = book.get(write, order.client_order_id)
        if current.purpose != book.STOP or current.state is not OrderState.ACCEPTED:
            return current
        return book.move(write, current, OrderState.UNKNOWN, "not_seen", {"broker": current.broker_order_id})


def _is_hidden(context: SessionContext, order: LedgerOrder) -> bool:
    """Whether the broker refused the id as a duplicate and no look-up finds the order."""
    unseen = order.state is OrderState.UNKNOWN and order.acknowledged and order.broker_order_id is None
    return unseen and order.session == context.session and context.sends and is_missed(context, order)


def _ask_again(context: SessionContext, order: LedgerOrder) -> None:
    """Send an order that no look-up finds once more under its id: the broker takes an id once, so its answer proves which."""
    with context.ledger.write() as write:
        write.audit("asked_again", order=order.client_order_id, symbol=order.symbol, leg=order.tag)
    try:
        answer = _post(context, order)
    except Unauthorized:
        raise
    except KobeError as error:
        log.info("an order that the broker knows is still hidden", order_id=order.client_order_id, reason=str(error))
        return
    with context.ledger.write() as write:
        current = book.get(write, order.client_order_id)
        if current.state is OrderState.UNKNOWN:
            _accept(write, current, answer)


def _is_overdue(context: SessionContext, order: LedgerOrder) -> bool:
    """An order that neither protects nor waits for the market as it should is cancelled when its time is over."""
    age = (dt.datetime.now(dt.UTC) - order.updated_at).total_seconds()
    is_alive = order.state is OrderState.ACCEPTED and order.purpose != book.STOP and not context.is_working(order)
    return is_alive and age >= context.settings.trading.cancel_after_s


def _ask_to_cancel(context: SessionContext, order: LedgerOrder) -> bool:
    """Ask for a cancel; False where it was refused or not answered, after which only a look-up shows the order's state."""
    if order.broker_order_id is None or not context.sends:
        return False
    with context.ledger.write() as write:
        current = book.get(write, order.client_order_id)
        if current.purpose == book.STOP and current.state is OrderState.ACCEPTED:
            book.move(write, current, OrderState.UNKNOWN, "cancel_asked")
        else:
            write.audit("cancel_asked", order=order.client_order_id, symbol=order.symbol, leg=order.tag)
    try:
        context.broker.cancel(order.broker_order_id)
    except (Refused, Unresolved, BrokerUnavailable) as error:
        log.info("a cancel was not taken", order_id=order.client_order_id, reason=str(error))
        return False
    return True
