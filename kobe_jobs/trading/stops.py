"""Protective stops, one position at a time: how one is set or taken away, and what may stand in its way.

`protection` decides when. `bare_positions` decides what protects, from the broker's orders and not the ledger's.
"""

from __future__ import annotations

import re

from kobe_jobs.trading.bare_positions import AtBroker, is_at_price, rest_of, stop_order_price
from kobe_jobs.trading.context import SessionContext
from kobe_jobs.trading.executor import cancel, cancel_unsent, send
from kobe_jobs.trading.fractions import order_qty
from kobe_jobs.trading.moments import RunMoment
from kobe_jobs.trading.order_looks import FillTimes, look_up
from kobe_resources.broker.protocol import BrokerOrder, OrderStatus, Quote
from kobe_resources.order_ledger import LedgerOrder, OrderPlan, OrderState, Position
from kobe_resources.order_ledger import orders as book
from kobe_resources.order_ledger.positions import SAME_SHARES, is_same_qty, position
from kobe_resources.order_ledger.states import UNSETTLED

LIVING = UNSETTLED | {OrderState.PLANNED}
BEYOND_THE_MARKET = re.compile(
    r"stop.?price.*(less|greater|lower|higher|below|above|beyond|under)|(current|market|last) price", re.IGNORECASE
)
"""What a broker says that will not take a stop because it would trigger at once."""


def set_stop(context: SessionContext, held: Position) -> None:
    """Send the position's stop, planned now or waiting to be sent; a refusal is noted. Raises what `executor.send` raises.

    For less than a share the broker takes none.
    """
    if not order_qty(context, held):
        return
    waiting = [order for order in living_stops(context, held) if order.state is OrderState.PLANNED]
    for order in waiting or [_plan_stop(context, held)]:
        sent = send(context, order.client_order_id)
        if sent.state is OrderState.REJECTED:
            context.note(f"the stop of {held.symbol} was refused: {sent.detail}")


def remove_misfits(context: SessionContext, held: Position, there: AtBroker) -> None:
    """Take away the position's stops that no longer fit it: splits and partial exits change shares and price."""
    for ours in living_stops(context, held):
        if ours.state is OrderState.PLANNED:
            if ours.qty != order_qty(context, held) or ours.stop_price != stop_order_price(held):
                remove_stop(context, ours)
            continue
        order = there.order(ours.client_order_id)
        # An order that is missing from the list or pending cancel is decided by a look-up.
        fits = order is None or (is_same_qty(rest_of(order), order_qty(context, held)) and is_at_price(order, held))
        if not fits and order is not None and order.status is not OrderStatus.PENDING_CANCEL:
            remove_stop(context, ours)


def look_for_lost(context: SessionContext, held: Position, there: AtBroker) -> None:
    """Look up the position's exits and stops that the open orders do not show, given up ones too: they may be there."""
    for order in book.of_position(context.ledger, held.id):
        if order.purpose == book.ENTRY or there.order(order.client_order_id) is not None:
            continue
        if order.state in UNSETTLED or order.state is OrderState.NOT_PLACED:
            look_up(context, order, FillTimes(context))


def may_have_exit(context: SessionContext, held: Position, there: AtBroker) -> bool:
    """Whether an exit may be at the broker, so that a stop beside it could sell the same shares twice.

    One whose fate is unknown is not, where the broker holds all shares and none of them for an order.
    """
    exits = [order for order in book.of_position(context.ledger, held.id) if order.purpose == book.EXIT]
    if any(order.state is OrderState.ACCEPTED for order in exits):
        return True
    sent = (OrderState.SUBMITTING, OrderState.UNKNOWN, OrderState.NOT_PLACED)
    if not any(order.state in sent or (order.state is OrderState.PLANNED and order.posts) for order in exits):
        return False
    row = there.positions.get(held.symbol)
    return row is None or not there.holds(held) or row.qty_available < held.qty - SAME_SHARES


def bound_by(context: SessionContext, held: Position, there: AtBroker) -> BrokerOrder | None:
    """An open order that this ledger does not know and that binds shares of a position, so that its stop would be refused."""
    row, side = there.positions.get(held.symbol), "sell" if held.side == "long" else "buy"
    if row is None or row.qty_available >= held.qty - SAME_SHARES:
        return None
    resting = [order for order in there.orders if (order.symbol, order.side) == (held.symbol, side)]
    return next((order for order in resting if book.find(context.ledger, order.client_order_id) is None), None)


def is_passed(context: SessionContext, held: Position, quote: Quote | None) -> bool:
    """Whether the market has gone through the position's stop price, as the quote or the broker's refusal of a stop says."""
    price = stop_order_price(held)
    is_long = held.side == "long"
    has_quote = quote is not None and quote.bid.is_finite() and quote.ask.is_finite() and quote.bid > 0 and quote.ask > 0
    if quote is not None and has_quote and ((quote.ask <= price) if is_long else (quote.bid >= price)):
        return True
    refused = [i for i in _stops_of(context, held) if i.session == context.session and i.state is OrderState.REJECTED]
    return bool(refused) and not refused[-1].acknowledged and bool(BEYOND_THE_MARKET.search(refused[-1].detail))


def ends_with_close(context: SessionContext, held: Position) -> bool:
    """Whether the position's stop is to end with this session's close, because a split takes effect at the next open.

    At Alpaca the split would leave it at the old price. A replay's broker moves the price.
    """
    if context.moment is not RunMoment.OPEN or context.next_session is None or context.ledger.disposable:
        return False
    return bool(context.snapshot.splits_between(held.symbol, context.session, context.next_session))


def living_stops(context: SessionContext, held: Position) -> list[LedgerOrder]:
    """A position's stops that may still fill or be sent."""
    return [order for order in _stops_of(context, held) if order.state in LIVING]


def remove_stops(context: SessionContext, held: Position) -> Position | None:
    """Cancel a position's stops so that its shares can be sold; the position afterwards, None where a stop still binds them."""
    for order in living_stops(context, held):
        if not remove_stop(context, order):
            return None
    return position(context.ledger, held.id)


def remove_stop(context: SessionContext, order: LedgerOrder) -> bool:
    """Cancel one stop, or deny one that was never sent; False where its state stays open."""
    if order.state is OrderState.PLANNED:
        return cancel_unsent(context, order, "superseded")
    if order.position_id is not None:
        context.lifted.add(order.position_id)
    return cancel(context, order).state not in UNSETTLED


def _stops_of(context: SessionContext, held: Position) -> list[LedgerOrder]:
    return [order for order in book.of_position(context.ledger, held.id) if order.purpose == book.STOP]


def _plan_stop(context: SessionContext, held: Position) -> LedgerOrder:
    today = [i for i in _stops_of(context, held) if i.signal_session == context.signal_session]
    tag = book.STOP if not today else f"{book.STOP}.{len(today) + 1}"
    order_plan = OrderPlan(
        account=context.account, strategy=held.strategy, session=context.session, signal_session=context.signal_session,
        symbol=held.symbol, side="sell" if held.side == "long" else "buy", tag=tag, kind="stop",
        time_in_force="day" if ends_with_close(context, held) else "gtc", qty=order_qty(context, held),
        stop_price=stop_order_price(held), position_id=held.id, reason=book.STOP,
        decision={"position": held.id, "stop_distance": str(held.stop_distance)},
    )  # fmt: skip
    with context.ledger.write() as write:
        last = today[-1] if today else None
        fits = last is not None and (last.qty, last.stop_price) == (order_plan.qty, order_plan.stop_price)
        if last is not None and last.state is OrderState.NOT_PLACED and fits:
            return book.retry(write, last.client_order_id)
        return book.plan(write, order_plan)
