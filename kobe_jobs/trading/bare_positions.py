"""Which positions are bare, and which stops have no position, as the broker shows them now; changes nothing.

A run, reconciliation, preflight and health all ask here. It imports no strategy, because health must load without one.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from kobe_resources.broker.protocol import Broker, BrokerOrder, BrokerPosition, OrderStatus, is_stock
from kobe_resources.broker.quotes import SUB_DOLLAR_TICK, on_tick
from kobe_resources.calendar import NEW_YORK, REGULAR_OPEN
from kobe_resources.order_ledger import OrderLedger, OrderState, Position
from kobe_resources.order_ledger import orders as book
from kobe_resources.order_ledger.positions import SAME_SHARES, is_same_qty, open_positions
from kobe_resources.order_ledger.sessions import last_reconciliation, noted_of
from kobe_resources.runtime.sql_files import read_sql

PROTECTING = frozenset({OrderStatus.NEW, OrderStatus.ACCEPTED, OrderStatus.HELD, OrderStatus.PARTIALLY_FILLED})
"""A stop in one of these will trigger. `pending_new` is no promise, and `pending_cancel` the opposite of one."""
NO_SHARE = Decimal(0)
ONE_TICK = Decimal("0.0100001")
PROTECTED = "every position has its stop, every stop its position"
LIFTED = "stop_lifted"
"""The kind of the record that a stop was taken away for a split of the next open."""


@dataclass(frozen=True)
class AtBroker:
    """Open orders and positions as the broker returned them last, with one request each.

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
        return rest if row and rest * row.qty > 0 and abs(rest) > SAME_SHARES else Decimal(0)

    def stops(self, symbol: str) -> list[BrokerOrder]:
        """Open stop orders in a symbol."""
        return [order for order in self.orders if self.is_stop(order) and order.symbol == symbol]

    def leaves_in_auction(self, held: Position) -> bool:
        """Whether an order rests that takes all shares of a position out at the next opening auction."""
        side = "sell" if held.side == "long" else "buy"
        resting = [o for o in self.orders if (o.symbol, o.side, o.time_in_force) == (held.symbol, side, "opg")]
        return len(resting) == 1 and not resting[0].is_terminal and _closes_whole(resting[0], held.qty, held.split_fraction)

    def is_stop(self, order: BrokerOrder) -> bool:
        """Whether it is a stop of a stock, and none of a person's."""
        is_ours_to_judge = order.id not in self.noted_orders and is_stock(order.symbol, order.asset_class)
        return order.kind == "stop" and bool(order.symbol) and is_ours_to_judge

    def holds(self, held: Position) -> bool:
        """Whether the broker holds exactly the shares that the ledger does."""
        return is_same_qty(self.qty(held.symbol), held.signed_qty)

    def protects(self, symbol: str, fraction: Decimal = NO_SHARE) -> bool:
        """Whether there is one stop, in force, for all shares of a symbol, or all but a fraction that a split left."""
        qty, stops = self.qty(symbol), self.stops(symbol)
        if len(stops) != 1:
            return False
        leaves = "sell" if qty > 0 else "buy"
        return stops[0].side == leaves and stops[0].status in PROTECTING and _closes_whole(stops[0], abs(qty), fraction)


@dataclass(frozen=True, slots=True)
class Bare:
    """A symbol whose shares have no stop for all of them at the right price.

    held: the ledger's position; None where only the broker holds the symbol. seen: the stops that are there.
    """

    symbol: str
    held: Position | None
    seen: str


@dataclass(frozen=True, slots=True)
class Gaps:
    """Positions without their stop, and orphans: stops without a position that they would close."""

    bare: tuple[Bare, ...]
    orphans: tuple[BrokerOrder, ...]


def ask_broker_state(broker: Broker, ledger: OrderLedger, account: str) -> AtBroker:
    """What the broker shows now. account: 'stage:number'. Raises BrokerUnavailable."""
    return broker_state_of(broker.orders("open"), broker.positions(), ledger, account)


def broker_state_of(
    orders: Iterable[BrokerOrder], positions: Iterable[BrokerPosition], ledger: OrderLedger, account: str
) -> AtBroker:
    """What the broker has shown, beside what a person has accepted as their own, as the last comparison found it; options and
    coins are never ours.
    """
    noted = noted_of(last_reconciliation(ledger, account))
    return AtBroker(
        tuple(orders),
        {row.symbol: row for row in positions if abs(row.qty) > SAME_SHARES and is_stock(row.symbol, row.asset_class)},
        {symbol: Decimal(qty) for symbol, qty in noted["positions"].items()}, frozenset(noted["orders"]),
    )  # fmt: skip


def find_gaps(ledger: OrderLedger, held: Iterable[Position], there: AtBroker) -> Gaps:
    """Positions without their stop and stops without their position. held: the ledger's open positions."""
    ours = {position.symbol: position for position in held}
    bare = []
    for symbol in sorted(ours.keys() | {symbol for symbol in there.positions if there.qty(symbol)}):
        position = ours.get(symbol)
        if not (there.protects(symbol) if position is None else is_protected(ledger, position, there)):
            bare.append(Bare(symbol, position, _stops_text(there.stops(symbol))))
    orphans = [order for order in there.orders if there.is_stop(order) and not _closes(order, there)]
    return Gaps(tuple(bare), tuple(orphans))


def is_protected(ledger: OrderLedger, held: Position, there: AtBroker) -> bool:
    """Whether the broker shows this position with its stop: its shares, at its price. A fraction of a share that a split left
    may be without, because a broker that trades whole ones takes no stop for it.

    One that leaves in the coming auction needs none: stops do not trigger before it.
    """
    if there.holds(held) and there.leaves_in_auction(held):
        return True
    if not there.holds(held) or not there.protects(held.symbol, held.split_fraction):
        return False
    order = there.stops(held.symbol)[0]
    ours = book.find(ledger, order.client_order_id)
    # A stop that a person placed for the same shares leaves no room for ours, and does its work.
    return ours is None or ours.position_id != held.id or is_at_price(order, held)


@dataclass(frozen=True, slots=True)
class Unguarded:
    """A position without its stop, or a stop without its position, in words.

    differs: ledger and broker hold other shares of it, so that no run touches its stop.
    """

    text: str
    differs: bool


def mend_of(unguarded: Iterable[Unguarded]) -> str:
    """What brings the stops back: a run, or where ledger and broker differ a person's word."""
    mends = {
        row.differs: "`kobe reconcile` lists what differs" if row.differs else "`kobe trade` while the market is open mends it"
        for row in unguarded
    }
    return ", ".join(mends[differs] for differs in sorted(mends))


def find_unguarded(ledger: OrderLedger, account: str, broker: Broker) -> list[Unguarded]:
    """Each position of the ledger that the broker holds and does not protect, and each stop that would open one. A stop that
    was lifted for a split is none of them.

    Raises BrokerError where the broker does not answer: not knowing is not protected.
    """
    unguarded = _unguarded(ledger, account, broker)
    # A stop that filled between the two questions of a look has taken its position with it.
    return _unguarded(ledger, account, broker) if unguarded else []


def find_lifted(ledger: OrderLedger, account: str, broker: Broker) -> dict[str, dt.date]:
    """Symbols held without a stop on purpose, with the day of the split that it was taken away for; over with that day's open.

    As the runs recorded it, so that it is known where no bars are read. Raises BrokerUnavailable.
    """
    ids = {position.id: position.symbol for position in open_positions(ledger, account)}
    bodies = [json.loads(row["body"]) for row in ledger.rows("SELECT body FROM audit WHERE kind = ?", (LIFTED,))]
    days = {ids[body["position"]]: dt.date.fromisoformat(body["until"]) for body in bodies if body["position"] in ids}
    if not days:
        return {}
    clock = broker.clock()
    if clock.is_open:
        # Until the close before it every position has its stop.
        return {}
    return {symbol: day for symbol, day in days.items() if clock.timestamp < dt.datetime.combine(day, REGULAR_OPEN, NEW_YORK)}


def unproven(ledger: OrderLedger, account: str) -> list[str]:
    """Symbols, as the ledger alone knows: positions without a stop that the broker accepted, and entries that may have filled.

    Not those whose stop a split has lifted.
    """
    accepted = book.in_states(ledger, account, {OrderState.ACCEPTED})
    stopped = {order.position_id for order in accepted if order.purpose == book.STOP}
    lifted = {row.position_id for row in still_lifted(ledger, account)}
    held = {row.symbol for row in open_positions(ledger, account) if row.id not in stopped | lifted}
    filling = {order.symbol for order in book.unsettled(ledger, account) if order.purpose == book.ENTRY}
    return sorted(held | filling)


@dataclass(frozen=True, slots=True)
class Lifted:
    """An open position whose stop was taken away for a split of the session `until`, and that has had none since."""

    position_id: str
    symbol: str
    until: dt.date


def still_lifted(ledger: OrderLedger, account: str) -> list[Lifted]:
    """Positions without the stop that a split took away, as the ledger knows it. account: a pattern of LIKE."""
    rows = ledger.rows(read_sql(Path(__file__).parent, "still_lifted"), (account,))
    return [Lifted(row["id"], row["symbol"], dt.date.fromisoformat(row["until"])) for row in rows]


def lifted_text(symbol: str, executed: dt.date) -> str:
    """Why a position has no stop, in words."""
    return f"{symbol} has no stop until the open of {executed}, when its split takes effect: then it is set at the new price"


def ending_text(symbol: str, executed: dt.date) -> str:
    """Why a stop is good for a day, in words."""
    return f"{symbol} splits at the open of {executed}: its stop ends with the close before it, and is set again after it"


def _unguarded(ledger: OrderLedger, account: str, broker: Broker) -> list[Unguarded]:
    there = ask_broker_state(broker, ledger, account)
    held = open_positions(ledger, account)
    gaps, differing = find_gaps(ledger, held, there), {row.symbol for row in held if not there.holds(row)}
    filling = {order.symbol for order in book.unsettled(ledger, account) if order.purpose == book.ENTRY}
    # What the broker does not hold, or holds alone, is a difference: reconciliation tells it. Not so what an entry of ours
    # may have bought since the last run.
    bare = [
        row
        for row in gaps.bare
        if (there.qty(row.symbol) * row.held.signed_qty > 0 if row.held is not None else row.symbol in filling)
    ]
    lifted = find_lifted(ledger, account, broker) if bare else {}
    bare = [row for row in bare if row.symbol not in lifted]
    rows = [
        (row.symbol, f"{row.symbol} has no protective stop at the broker for its {abs(there.qty(row.symbol))} shares")
        for row in bare
    ]
    rows += [(order.symbol, f"a stop of {order.symbol} rests at the broker without its position") for order in gaps.orphans]
    return [Unguarded(text, symbol in differing) for symbol, text in rows]


def stop_order_price(held: Position) -> Decimal:
    """The price that a stop order carries: the position's stop on the tick away from the market, one tick at least."""
    if held.stop_price <= 0:
        return SUB_DOLLAR_TICK
    return max(on_tick(float(held.stop_price), up=held.side == "short"), SUB_DOLLAR_TICK)


def is_at_price(order: BrokerOrder, held: Position) -> bool:
    """Whether a stop order waits at the position's stop, but for a tick of rounding."""
    return order.stop_price is not None and abs(order.stop_price - stop_order_price(held)) <= ONE_TICK


def rest_of(order: BrokerOrder) -> Decimal:
    """Shares of an order that are not filled."""
    return order.qty - order.filled_qty


def _closes_whole(order: BrokerOrder, qty: Decimal, fraction: Decimal) -> bool:
    """Whether what is left of an order is for `qty` shares, or for the whole ones of them."""
    whole = qty - fraction
    return is_same_qty(rest_of(order), qty) or (whole >= 1 and is_same_qty(rest_of(order), whole))


def _closes(order: BrokerOrder, there: AtBroker) -> bool:
    qty = there.qty(order.symbol)
    return qty > 0 if order.side == "sell" else qty < 0


def _stops_text(stops: list[BrokerOrder]) -> str:
    return ", ".join(f"{stop.raw_status} for {rest_of(stop)} at {stop.stop_price}" for stop in stops) or "no stop"
