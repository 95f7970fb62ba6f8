"""Protective stops, one position at a time: what its stop carries, whether an order is it, and how one is set or taken away.

`protection` says when; what protects is what the broker shows, not what the ledger believes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal

from kobe_jobs.trading.context import Desk
from kobe_jobs.trading.executor import FillTimes, cancel, look_up, send, take_back
from kobe_resources.broker.protocol import BrokerOrder, BrokerPosition, OrderStatus, Quote
from kobe_resources.broker.quotes import SUB_DOLLAR_TICK, on_tick
from kobe_resources.order_ledger import Draft, Intent, OrderState, Position
from kobe_resources.order_ledger import orders as book
from kobe_resources.order_ledger.positions import position
from kobe_resources.order_ledger.sessions import last_reconciliation
from kobe_resources.order_ledger.states import UNSETTLED

LIVING = UNSETTLED | {OrderState.INTENT}
PROTECTING = frozenset({OrderStatus.NEW, OrderStatus.ACCEPTED, OrderStatus.HELD, OrderStatus.PARTIALLY_FILLED})
"""A stop in one of these will trigger. `pending_new` is no promise, and `pending_cancel` the opposite of one."""
SAME = Decimal("1e-6")
ONE_TICK = Decimal("0.0100001")
BEYOND_THE_MARKET = re.compile(
    r"stop.?price.*(less|greater|lower|higher|below|above|beyond|under)|(current|market|last) price", re.IGNORECASE
)
"""What a broker says that will not take a stop because it would trigger at once."""


@dataclass(frozen=True)
class AtBroker:
    """Open orders and positions as the broker told them last: one question each.

    noted, noted_orders: shares and open orders that a person has accepted as their own; they are not ours to protect.
    """

    orders: tuple[BrokerOrder, ...] = ()
    positions: dict[str, BrokerPosition] = field(default_factory=dict)
    noted: dict[str, Decimal] = field(default_factory=dict)
    noted_orders: frozenset[str] = frozenset()

    def order(self, client_id: str) -> BrokerOrder | None:
        """The open order with this id, or None."""
        return next((order for order in self.orders if order.client_order_id == client_id), None)

    def qty(self, symbol: str) -> Decimal:
        """Shares held of a symbol, negative when short, without those of a person."""
        row = self.positions.get(symbol)
        rest = (row.qty if row else Decimal(0)) - self.noted.get(symbol, Decimal(0))
        # What a person has sold of their own meanwhile turns no position of ours around.
        return rest if row and rest * row.qty > 0 and abs(rest) > SAME else Decimal(0)

    def stops(self, symbol: str) -> list[BrokerOrder]:
        """Open stop orders in a symbol."""
        return [order for order in self.orders if self.is_stop(order) and order.symbol == symbol]

    def is_stop(self, order: BrokerOrder) -> bool:
        """A stop, and none of a person's."""
        return order.kind == "stop" and order.id not in self.noted_orders

    def holds(self, held: Position) -> bool:
        """Does the broker hold exactly the shares that the ledger does?"""
        return _same(self.qty(held.symbol), held.signed_qty)

    def protects(self, symbol: str) -> bool:
        """Is there one stop, in force, for all shares of a symbol?"""
        qty, stops = self.qty(symbol), self.stops(symbol)
        if len(stops) != 1:
            return False
        leaves = "sell" if qty > 0 else "buy"
        return stops[0].side == leaves and stops[0].status in PROTECTING and _same(_rest(stops[0]), abs(qty))


def look(desk: Desk) -> AtBroker:
    """What the broker shows now. Raises BrokerUnavailable."""
    orders = desk.broker.orders("open")
    positions = desk.broker.positions()
    last = last_reconciliation(desk.ledger, desk.account, agreeing=True)
    noted = last["snapshot"].get("noted", {}) if last else {}
    return AtBroker(
        tuple(orders), {row.symbol: row for row in positions if abs(row.qty) > SAME},
        {symbol: Decimal(qty) for symbol, qty in noted.get("positions", {}).items()}, frozenset(noted.get("orders", ())),
    )  # fmt: skip


def is_protected(desk: Desk, held: Position, there: AtBroker) -> bool:
    """Does the broker show this position with its stop: its shares, at its price?"""
    if not there.holds(held) or not there.protects(held.symbol):
        return False
    order = there.stops(held.symbol)[0]
    ours = any(intent.client_order_id == order.client_order_id for intent in living_stops(desk, held))
    # A stop that a person placed for the same shares leaves no room for ours, and does its work.
    return not ours or _is_at_price(order, held)


def set_stop(desk: Desk, held: Position) -> None:
    """Send the position's stop, planned now or waiting to be sent. Raises what `executor.send` raises."""
    waiting = [intent for intent in living_stops(desk, held) if intent.state is OrderState.INTENT]
    for intent in waiting or [_plan_stop(desk, held)]:
        send(desk, intent.client_order_id)


def remove_misfits(desk: Desk, held: Position, there: AtBroker) -> None:
    """Take away the position's stops that no longer fit it: splits and partial exits change shares and price."""
    for intent in living_stops(desk, held):
        if intent.state is OrderState.INTENT:
            if intent.qty != held.qty or intent.stop_price != stop_order_price(held):
                remove_stop(desk, intent)
            continue
        order = there.order(intent.client_order_id)
        # One that is not listed, or on its way out, is for a look-up to tell; it is none of this list's business.
        fits = order is None or (_same(_rest(order), held.qty) and _is_at_price(order, held))
        if not fits and order is not None and order.status is not OrderStatus.PENDING_CANCEL:
            remove_stop(desk, intent)


def look_for_lost(desk: Desk, held: Position, there: AtBroker) -> None:
    """Look up the position's exits and stops that the open orders do not show, given up ones too: they may be there."""
    for intent in book.of_position(desk.ledger, held.id):
        if intent.purpose == book.ENTRY or there.order(intent.client_order_id) is not None:
            continue
        if intent.state in UNSETTLED or intent.state is OrderState.NOT_PLACED:
            look_up(desk, intent, FillTimes(desk))


def may_have_exit(desk: Desk, held: Position, there: AtBroker) -> bool:
    """May an exit be at the broker, so that a stop beside it could sell the same shares twice?

    One whose fate is unknown is not, where the broker holds all shares and none of them for an order.
    """
    exits = [intent for intent in book.of_position(desk.ledger, held.id) if intent.purpose == book.EXIT]
    if any(intent.state is OrderState.ACCEPTED for intent in exits):
        return True
    sent = (OrderState.SUBMITTING, OrderState.UNKNOWN, OrderState.NOT_PLACED)
    if not any(intent.state in sent or (intent.state is OrderState.INTENT and intent.posts) for intent in exits):
        return False
    row = there.positions.get(held.symbol)
    return row is None or not there.holds(held) or row.qty_available < held.qty - SAME


def is_passed(desk: Desk, held: Position, quote: Quote | None) -> bool:
    """Has the market gone through the position's stop price: does the quote, or the broker's refusal of a stop, say so?"""
    price = stop_order_price(held)
    is_long = held.side == "long"
    has_quote = quote is not None and quote.bid.is_finite() and quote.ask.is_finite() and quote.bid > 0 and quote.ask > 0
    if quote is not None and has_quote and ((quote.ask <= price) if is_long else (quote.bid >= price)):
        return True
    refused = [i for i in _stops_of(desk, held) if i.session == desk.day and i.state is OrderState.REJECTED]
    return bool(refused) and not refused[-1].acknowledged and bool(BEYOND_THE_MARKET.search(refused[-1].detail))


def living_stops(desk: Desk, held: Position) -> list[Intent]:
    """A position's stops that may still fill or be sent."""
    return [intent for intent in _stops_of(desk, held) if intent.state in LIVING]


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
    if intent.position_id is not None:
        desk.lifted.add(intent.position_id)
    return cancel(desk, intent).state not in UNSETTLED


def stop_order_price(held: Position) -> Decimal:
    """The price that a stop order carries: the position's stop on the tick away from the market, one tick at least."""
    if held.stop_price <= 0:
        return SUB_DOLLAR_TICK
    return max(on_tick(float(held.stop_price), up=held.side == "short"), SUB_DOLLAR_TICK)


def _stops_of(desk: Desk, held: Position) -> list[Intent]:
    return [intent for intent in book.of_position(desk.ledger, held.id) if intent.purpose == book.STOP]


def _rest(order: BrokerOrder) -> Decimal:
    return order.qty - order.filled_qty


def _same(one: Decimal, other: Decimal) -> bool:
    return abs(one - other) <= SAME * max(abs(one), abs(other), Decimal(1))


def _is_at_price(order: BrokerOrder, held: Position) -> bool:
    return order.stop_price is not None and abs(order.stop_price - stop_order_price(held)) <= ONE_TICK


def _plan_stop(desk: Desk, held: Position) -> Intent:
    today = [i for i in _stops_of(desk, held) if i.signal_session == desk.signal_session]
    leg = book.STOP if not today else f"{book.STOP}.{len(today) + 1}"
    draft = Draft(
        account=desk.account, strategy=held.strategy, session=desk.day, signal_session=desk.signal_session,
        symbol=held.symbol, side="sell" if held.side == "long" else "buy", leg=leg, kind="stop", time_in_force="gtc",
        qty=held.qty, stop_price=stop_order_price(held), position_id=held.id, reason=book.STOP,
        decision={"position": held.id, "stop_distance": str(held.stop_distance)},
    )  # fmt: skip
    with desk.ledger.write() as write:
        last = today[-1] if today else None
        fits = last is not None and (last.qty, last.stop_price) == (held.qty, draft.stop_price)
        if last is not None and last.state is OrderState.NOT_PLACED and fits:
            return book.rearm(write, last.client_order_id)
        return book.plan(write, draft)
