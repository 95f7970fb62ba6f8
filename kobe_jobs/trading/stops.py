"""Protective stops: every open position has one resting at the broker, for its shares at its price; none outlives it."""

from __future__ import annotations

from decimal import Decimal

from kobe_jobs.trading.desk import Desk
from kobe_jobs.trading.executor import FillTimes, cancel, look_up, send, take_back
from kobe_resources.broker.protocol import BrokerOrder
from kobe_resources.broker.quotes import on_tick
from kobe_resources.order_ledger import Draft, Intent, OrderState, Position
from kobe_resources.order_ledger import intents as book
from kobe_resources.order_ledger.positions import open_positions, position
from kobe_resources.order_ledger.states import UNSETTLED

LIVING = UNSETTLED | {OrderState.INTENT}
SAME = Decimal("1e-6")
ONE_TICK = Decimal("0.0100001")


def ensure_stops(desk: Desk) -> None:
    """Place the stops that are missing or no longer fit.

    Raises what `executor.send` raises when nothing more may be sent.
    """
    _remove_orphans(desk)
    held_there = [held for held in open_positions(desk.ledger, desk.account) if held.symbol not in desk.missing]
    positions = [held for held in held_there if not _is_leaving(desk, held)]
    resting = {order.client_order_id: order for order in desk.broker.orders("open")} if positions else {}
    for held in positions:
        _look_for_given_up(desk, held)
        living = living_stops(desk, held)
        for intent in living:
            if not _fits(intent, held, resting.get(intent.client_order_id)):
                remove_stop(desk, intent)
        current = position(desk.ledger, held.id)
        if current is None or not current.is_open or stop_order_price(current) <= 0:
            continue
        still = living_stops(desk, current)
        for intent in still or [_plan_stop(desk, current)]:
            if intent.state is OrderState.INTENT:
                send(desk, intent.client_order_id)


def _look_for_given_up(desk: Desk, held: Position) -> None:
    """A stop that was given up may rest at the broker after all, and would keep another from being taken."""
    for intent in book.of_position(desk.ledger, held.id):
        if intent.purpose == book.STOP and intent.state is OrderState.NOT_PLACED:
            look_up(desk, intent, FillTimes(desk))


def _remove_orphans(desk: Desk) -> None:
    """Cancel stops whose position is gone: triggered, they would open one the other way."""
    for intent in book.in_states(desk.ledger, desk.account, LIVING):
        if intent.purpose != book.STOP or intent.position_id is None:
            continue
        held = position(desk.ledger, intent.position_id)
        if held is None or not held.is_open:
            remove_stop(desk, intent)


def _is_leaving(desk: Desk, held: Position) -> bool:
    """An exit may be at the broker: a stop beside it could sell the same shares twice."""
    intents = book.of_position(desk.ledger, held.id)
    return any(intent.purpose == book.EXIT and intent.state in LIVING for intent in intents)


def unprotected(desk: Desk) -> list[str]:
    """Symbols whose position has no stop that the broker acknowledged."""
    bare = []
    for held in open_positions(desk.ledger, desk.account):
        states = [intent.state for intent in living_stops(desk, held)]
        if OrderState.ACCEPTED not in states and stop_order_price(held) > 0:
            bare.append(held.symbol)
    return bare


def living_stops(desk: Desk, held: Position) -> list[Intent]:
    """A position's stops that may still fill or be sent."""
    intents = book.of_position(desk.ledger, held.id)
    return [intent for intent in intents if intent.purpose == book.STOP and intent.state in LIVING]


def remove_stops(desk: Desk, held: Position) -> Position | None:
    """Take a position's stops away so that its shares can be sold; the position as it then is, None if it is still bound."""
    for intent in living_stops(desk, held):
        if not remove_stop(desk, intent):
            return None
    return position(desk.ledger, held.id)


def remove_stop(desk: Desk, intent: Intent) -> bool:
    """Cancel one stop, or take back one that was never sent; False where its fate stays open."""
    if intent.state is OrderState.INTENT:
        return take_back(desk, intent, "superseded")
    return cancel(desk, intent).state not in UNSETTLED


def stop_order_price(held: Position) -> Decimal:
    """The price that a stop order carries: the position's stop, on the tick away from the market."""
    return on_tick(float(held.stop_price), up=held.side == "short") if held.stop_price > 0 else Decimal(0)


def _fits(intent: Intent, held: Position, order: BrokerOrder | None) -> bool:
    """Does the order protect the shares at the price? Splits change both, and brokers do not all follow."""
    if intent.state is OrderState.INTENT:
        return intent.qty == held.qty and intent.stop_price == stop_order_price(held)
    if order is None:
        # Not seen among the open orders: resolution knows more than this list.
        return True
    rest = order.qty - order.filled_qty
    shares_fit = abs(rest - held.qty) <= SAME * max(held.qty, Decimal(1))
    return shares_fit and order.stop_price is not None and abs(order.stop_price - held.stop_price) <= ONE_TICK


def _plan_stop(desk: Desk, held: Position) -> Intent:
    earlier = [i for i in book.of_position(desk.ledger, held.id) if i.purpose == book.STOP]
    today = [i for i in earlier if i.signal_session == desk.signal_session]
    leg = book.STOP if not today else f"{book.STOP}.{len(today) + 1}"
    draft = Draft(
        account=desk.account, strategy=held.strategy, session=desk.day, signal_session=desk.signal_session,
        symbol=held.symbol, side="sell" if held.side == "long" else "buy", leg=leg, kind="stop", time_in_force="gtc",
        qty=held.qty, stop_price=stop_order_price(held), position_id=held.id, reason=book.STOP,
        decision={"position": held.id, "stop_distance": str(held.stop_distance)},
    )  # fmt: skip
    with desk.ledger.write() as write:
        last = today[-1] if today else None
        if last is not None and last.state is OrderState.NOT_PLACED and last.qty == held.qty:
            return book.rearm(write, last.client_order_id)
        return book.plan(write, draft)
