"""Reconciliation: the ledger against the broker, order by order, fill by fill, share by share, and the cash.

Finds and reports differences; the ledger changes only by the broker's answers about orders that Kobe decided.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from decimal import Decimal
from typing import Any

from kobe_jobs.trading.bare_positions import (
    AtBroker,
    broker_state_of,
    find_gaps,
    find_lifted,
    lifted_text,
    rest_of,
    stop_order_price,
)
from kobe_jobs.trading.context import SessionContext, day_start
from kobe_jobs.trading.fractions import is_rounded, settle_fractions
from kobe_jobs.trading.lost_orders import OUR_PREFIX
from kobe_jobs.trading.order_looks import FillTimes, apply_broker_order, look_up
from kobe_jobs.trading.reconcile.cash import compare_cash
from kobe_jobs.trading.reconcile.difference import Difference
from kobe_jobs.trading.renames import fitting_renames
from kobe_jobs.trading.roll_forward import apply_splits, as_split, find_booked, ratio_of
from kobe_resources.broker.protocol import (
    TERMINAL_STATUSES,
    BrokerFill,
    BrokerOrder,
    BrokerPosition,
    BrokerUnavailable,
    is_stock,
)
from kobe_resources.order_ledger import IllegalMove, LedgerOrder, OrderState, Position
from kobe_resources.order_ledger import orders as book
from kobe_resources.order_ledger.positions import SAME_SHARES, is_same_qty, open_positions
from kobe_resources.order_ledger.sessions import keep_reconciliation, last_reconciliation, noted_of
from kobe_resources.order_ledger.settlement import OrderMismatch, check_same
from kobe_resources.order_ledger.states import ENDED, UNSETTLED

LOOKS = 3
LONGEST_PAUSE_S = 2.0
SPLIT_AT_LEAST, SPLIT_NEAR = Decimal("0.1"), Decimal("0.2")
"""A split changes shares by a tenth or more, and the price by the same ratio but for what the market moved meanwhile."""
NOT_OURS = "not decided here"


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The rows, and what both sides said. renamed: old symbol → the one that the broker holds the shares under now."""

    differences: tuple[Difference, ...]
    snapshot: dict[str, Any]
    promoted: int = 0
    orders: tuple[BrokerOrder, ...] = ()
    positions: tuple[BrokerPosition, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)

    @property
    def agrees(self) -> bool:
        """Whether no difference halts trading."""
        return not any(row.halts for row in self.differences)

    @property
    def differing(self) -> frozenset[str]:
        """Symbols of which the two sides do not hold the same shares; those do not count that a person's order adds to ours."""
        wanted = {row.what for row in self.differences if row.kind in ("position", "symbol")}
        return frozenset(symbol for symbol in wanted if not self._is_added_by_hand(symbol))

    def _is_added_by_hand(self, symbol: str) -> bool:
        """Whether orders that are not Kobe's explain the surplus at the broker; then it is no split."""
        foreign = {row.what for row in self.differences if row.kind == "order" and row.ledger == NOT_OURS}
        added = sum(
            (
                order.filled_qty if order.side == "buy" else -order.filled_qty
                for order in self.orders
                if order.symbol == symbol and order.client_order_id in foreign
            ),
            Decimal(0),
        )
        ours = Decimal(self.snapshot.get("ledger", {}).get(symbol, "0"))
        there = Decimal(self.snapshot.get("positions", {}).get(symbol, "0"))
        return added * ours > 0 and abs(ours + added - there) <= SAME_SHARES

    def describe(self) -> str:
        """The halting rows in one line."""
        return "; ".join(
            f"{row.kind} {row.what}: ledger {row.ledger}, broker {row.broker}" for row in self.differences if row.halts
        )


def reconcile_account(context: SessionContext, moment: str, look_only: bool = False) -> Reconciliation:
    """Both sides with the splits applied, and the stop of every position: what the command, the job and preflight compare.

    look_only: nothing is written, no late order applied, and pending splits count as if they were applied.
    """
    if not context.sends:
        # A paper book has no other side.
        return Reconciliation((), {})
    if look_only:
        return compare(context, promote=False, stops=True)
    apply_splits(context)
    settle_fractions(context)
    return reconcile(context, moment, stops=True)


def reconcile(context: SessionContext, moment: str, stops: bool = False) -> Reconciliation:
    """Compare, apply late orders, keep the snapshot. A difference is looked at again first, because fills may be in flight, or
    cash behind them, and a list may have been read while it changed.

    stops: every position must have its stop at the broker too; a trading run, which sets them, asks without.
    """
    found = compare(context, stops=stops)
    for look in range(1, LOOKS):
        if found.agrees and not any(row.kind == "cash" for row in found.differences):
            break
        time.sleep(min(2 * look * context.settings.trading.poll_s, LONGEST_PAUSE_S))
        for order in _open_questions(context):
            look_up(context, order, FillTimes(context))
        again = compare(context, stops=stops)
        found = replace(again, promoted=found.promoted + again.promoted)
    with context.ledger.write() as write:
        rows = [asdict(row) for row in found.differences]
        # A stop that is missing is no doubt about what is held: the comparison stands as the next one's ground.
        agrees = not any(row.halts and row.kind != "stop" for row in found.differences)
        keep_reconciliation(write, context.account, context.session, moment, rows, found.snapshot, agrees=agrees)
    return found


def compare(context: SessionContext, promote: bool = True, stops: bool = False) -> Reconciliation:
    """Both sides as they are now. promote: apply the broker's state to late orders of ours; nothing else is written."""
    last = last_reconciliation(context.ledger, context.account, agreeing=True)
    since = _horizon(context)
    opened = context.broker.orders("open")
    orders = _orders_since(context, since, opened, last)
    noted = _noted_now(context, last, orders)
    executed = context.broker.fills(day_start(since))
    orders += _filled_since(context, executed, orders)
    promoted, order_rows = _compare_orders(context, orders, promote)
    others = {order.id for order in orders if not is_stock(order.symbol, order.asset_class)}
    fills = [row for row in executed if is_stock(row.symbol) and row.order_id not in others]
    positions = [row for row in context.broker.positions() if is_stock(row.symbol, row.asset_class)]
    cash_rows, cash_details = compare_cash(context, context.broker.account().cash, last)
    find_booked(context)
    held = [as_split(context, position) for position in open_positions(context.ledger, context.account)]
    renamed = _renamed(context, held, orders, positions)
    rows = [
        *(row for row in order_rows if not _is_explained(context, row, orders, renamed)),
        *_compare_fills(context, fills, [order for order in orders if _is_since(order, since)]),
        *compare_positions(held, positions, renamed, noted["positions"]),
        *cash_rows,
    ]
    if stops and context.sends:
        state = broker_state_of(opened, positions, context.ledger, context.account)
        there = replace(state, noted={symbol: Decimal(qty) for symbol, qty in noted["positions"].items()})
        rows += compare_stops(context, held, there, {row.what for row in rows if row.kind in ("position", "symbol")})
    snapshot = {
        "orders": [
            [order.id, order.client_order_id, order.symbol, order.raw_status, str(order.filled_qty)] for order in orders
        ],
        "positions": {row.symbol: str(row.qty) for row in positions},
        "ledger": {position.symbol: str(position.signed_qty) for position in held},
        "noted": noted,
        "noted_through": str(context.splits_through),
        **cash_details,
    }
    return Reconciliation(tuple(rows), snapshot, promoted, tuple(orders), tuple(positions), renamed)


def _noted_now(context: SessionContext, last: Mapping[str, Any] | None, orders: list[BrokerOrder]) -> dict[str, Any]:
    """What a person accepted as theirs at the last agreement; shares multiplied by the splits since, and with what orders of
    the person have bought or sold of them: such a sale takes nothing from a position of ours beside them.
    """
    noted = noted_of(last)
    if last is None:
        return noted
    since = dt.date.fromisoformat(last["snapshot"].get("noted_through") or str(last["session"]))
    before = {order_id: Decimal(filled) for order_id, _, _, _, filled in last["snapshot"]["orders"]}
    for symbol, qty in noted["positions"].items():
        splits = context.snapshot.splits_between(symbol, since, context.splits_through)
        theirs = math.prod((ratio_of(split) for split in splits), start=Decimal(qty))
        trades = [order for order in orders if order.symbol == symbol and _is_of_person(context, order)]
        left = theirs + sum((_filled_since_then(order, before) for order in trades), Decimal(0))
        noted["positions"][symbol] = book.text_of(left if left * theirs > 0 else Decimal(0))
    return noted


def _is_of_person(context: SessionContext, order: BrokerOrder) -> bool:
    """Whether neither this ledger, nor one that it was restored from, has sent the order, nor the broker in place of one."""
    ours = book.find(context.ledger, order.client_order_id)
    if (ours is not None and ours.account == context.account) or order.client_order_id.startswith(OUR_PREFIX):
        return False
    return order.replaces is None or ledger_order_of(context, order.replaces) is None


def _filled_since_then(order: BrokerOrder, before: Mapping[str, Decimal]) -> Decimal:
    """Signed shares that an order has filled since `before`: shares by the broker's id."""
    filled = order.filled_qty - max(before.get(known, Decimal(0)) for known in (order.id, *order.earlier_ids))
    return filled if order.side == "buy" else -filled


def compare_stops(context: SessionContext, held: list[Position], there: AtBroker, differing: set[str]) -> list[Difference]:
    """Positions without their stop, and our stops without a position; symbols that differ otherwise are left out.

    A stop that was lifted for a split of the next open is noted.
    """
    gaps = find_gaps(context.ledger, held, there)
    lifted = find_lifted(context.ledger, context.account, context.broker) if gaps.bare else {}
    rows = []
    for bare in gaps.bare:
        position = bare.held
        if bare.symbol in lifted:
            context.note(lifted_text(bare.symbol, lifted[bare.symbol]))
            continue
        if position is not None and bare.symbol not in differing and not _is_leaving(context, position, there):
            wanted = f"stop for {position.qty} shares at {stop_order_price(position)}"
            rows.append(Difference("stop", bare.symbol, wanted, bare.seen))
    for order in gaps.orphans:
        # An order that the ledger does not know has a row of its own already.
        if order.symbol not in differing and book.find(context.ledger, order.client_order_id) is not None:
            rows.append(Difference("stop", order.symbol, "no position", f"a stop to {order.side} {rest_of(order)} rests"))
    return rows


def _open_questions(context: SessionContext) -> list[LedgerOrder]:
    """Orders whose look-up may explain a difference; one that was given up may be there before the list shows it."""
    since = _horizon(context)
    given_up = book.in_states(context.ledger, context.account, [OrderState.NOT_PLACED])
    return [*book.unsettled(context.ledger, context.account), *(order for order in given_up if order.session >= since)]


def _horizon(context: SessionContext) -> dt.date:
    """The first day whose orders are still open questions: the last agreement, or an older unsettled order."""
    days = [context.session]
    last = last_reconciliation(context.ledger, context.account, agreeing=True)
    if last is not None:
        days.append(dt.date.fromisoformat(last["session"]))
    waiting = book.in_states(context.ledger, context.account, [OrderState.UNKNOWN, OrderState.SUBMITTING])
    return min([*days, *(order.session for order in waiting)])


def _orders_since(
    context: SessionContext, since: dt.date, opened: list[BrokerOrder], last: Mapping[str, Any] | None
) -> list[BrokerOrder]:
    """Orders sent since a day, older ones that still work, and those that neither list holds: unsettled ones of ours, and a
    person's that worked at the last agreement.
    """
    listed = context.broker.orders("all", after=day_start(since))
    found = {order.id: order for order in [*opened, *listed]}
    names = {order.client_order_id for order in found.values()}
    wanted = [ours.client_order_id for ours in book.in_states(context.ledger, context.account, [OrderState.ACCEPTED])]
    rows = last["snapshot"]["orders"] if last else ()
    worked = [client_id for _, client_id, _, status, _ in rows if status not in TERMINAL_STATUSES]
    wanted += [client_id for client_id in worked if book.find(context.ledger, client_id) is None]
    for client_id in wanted:
        if client_id not in names:
            with contextlib.suppress(BrokerUnavailable):
                order = context.broker.order_by_client_id(client_id)
                if order is not None:
                    found[order.id] = order
    return list(found.values())


def _filled_since(context: SessionContext, fills: list[BrokerFill], orders: list[BrokerOrder]) -> list[BrokerOrder]:
    """Orders of ours behind the executions that stand in no list, because they were sent before: looked up."""
    listed = {order_id for order in orders for order_id in (order.id, *order.earlier_ids)}
    found = []
    for order_id in sorted({fill.order_id for fill in fills} - listed):
        ours = ledger_order_of(context, order_id)
        if ours is not None:
            with contextlib.suppress(BrokerUnavailable):
                order = context.broker.order_by_client_id(ours.client_order_id)
                found += [order] if order is not None else []
    return found


def _is_since(order: BrokerOrder, since: dt.date) -> bool:
    return order.submitted_at is None or order.submitted_at >= day_start(since)


def _compare_orders(context: SessionContext, orders: list[BrokerOrder], promote: bool) -> tuple[int, list[Difference]]:
    promoted, rows = 0, []
    times = FillTimes(context)
    accepted, noted = _accepted_orders(context), _noted_orders(context)
    for order in orders:
        ours = book.find(context.ledger, order.client_order_id)
        if ours is None or ours.account != context.account:
            if (order.filled_qty > 0 or not order.is_terminal) and order.id not in accepted:
                seen = order.unread or f"{order.side} {order.qty} {order.symbol} {order.raw_status}"
                # An order about no stock moves no share of ours; what it does to the cash, the cash tells.
                halts = bool(order.symbol) and is_stock(order.symbol, order.asset_class)
                rows.append(Difference("order", order.client_order_id, NOT_OURS, seen, halts))
            continue
        late = ours.state in (OrderState.NOT_PLACED, OrderState.PLANNED)
        is_open = late or ours.state in UNSETTLED
        if order.unread:
            # What it filled cannot be told from it; executions and shares are compared all the same.
            rows.append(Difference("order", ours.client_order_id, str(ours.state), f"cannot be read: {order.unread}", is_open))
            continue
        applies = is_open and promote
        try:
            if is_open:
                check_same(context.ledger, ours, order)
            current = apply_broker_order(context, ours, order, times) if applies else ours
        except (OrderMismatch, IllegalMove) as error:
            rows.append(Difference("order", ours.client_order_id, str(ours.state), error.what))
            continue
        promoted += late and applies
        if current.state in ENDED and (not order.is_terminal or order.filled_qty != current.filled_qty):
            if order.is_terminal and order.id in noted:
                # The exchange took a trade back, or corrected it, and a person has accepted that.
                continue
            seen = f"{order.raw_status}, {order.filled_qty} filled"
            rows.append(Difference("order", ours.client_order_id, f"{current.state}, {current.filled_qty} filled", seen))
    return promoted, rows


def _compare_fills(context: SessionContext, fills: list[BrokerFill], orders: list[BrokerOrder]) -> list[Difference]:
    """Differences between the fills of the ledger and the broker's executions, those of unknown orders included."""
    client_ids = {order.id: order.client_order_id for order in orders}
    current = {earlier: order.id for order in orders for earlier in order.earlier_ids}
    executed: dict[str, Decimal] = {}
    for fill in fills:
        # Executions of an order that took another's place count with the first one's.
        order_id = current.get(fill.order_id, fill.order_id)
        executed[order_id] = executed.get(order_id, Decimal(0)) + fill.qty
    accepted = _accepted_orders(context)
    noted = _noted_orders(context)
    rows = []
    for order_id, qty in executed.items():
        ours = book.find(context.ledger, client_ids[order_id]) if order_id in client_ids else ledger_order_of(context, order_id)
        if ours is None:
            if order_id not in accepted:
                rows.append(Difference("fill", order_id, NOT_OURS, f"{qty} shares"))
        elif qty > ours.filled_qty + SAME_SHARES and order_id not in noted:
            rows.append(Difference("fill", ours.client_order_id, f"{ours.filled_qty} shares", f"{qty} shares"))
    for order_id, client_id in client_ids.items():
        ours = book.find(context.ledger, client_id)
        listed = executed.get(order_id, Decimal(0))
        if ours is not None and ours.filled_qty > listed + SAME_SHARES:
            # The list of executions may lag behind the orders.
            rows.append(Difference("fill", client_id, f"{ours.filled_qty} shares", f"{listed} shares listed", halts=False))
    return rows


def compare_positions(
    held: list[Position], positions: list[BrokerPosition], renamed: Mapping[str, str], noted: Mapping[str, str]
) -> list[Difference]:
    """Shares by symbol; those that a person noted as theirs are taken off, and a symbol that changed is one row."""
    ours = {position.symbol: position for position in held}
    theirs = {row.symbol: row for row in positions}
    unread = {row.symbol: f"a position that cannot be read: {row.unread}" for row in positions if row.unread}
    rows = [Difference("position", what, NOT_OURS, seen, halts=False) for what, seen in unread.items() if what not in ours]
    rows += [
        Difference("symbol", old, f"{ours[old].signed_qty} {old}", f"{theirs[new].qty} {new}: renamed, `--accept` follows it")
        for old, new in renamed.items()
    ]
    for symbol in sorted((ours.keys() | theirs.keys()) - renamed.keys() - set(renamed.values())):
        ledger = ours[symbol].signed_qty if symbol in ours else Decimal(0)
        there = theirs[symbol].qty if symbol in theirs else Decimal(0)
        theirs_own = Decimal(noted.get(symbol, "0"))
        broker = without_noted(there, theirs_own)
        if not is_same_qty(ledger, broker):
            if symbol in ours and is_rounded(ours[symbol], broker):
                text = f"{there} shares: its split left a fraction, which is paid in cash or rounded up"
                rows.append(Difference("position", symbol, f"{ledger} shares", text, halts=False))
                continue
            own = f", of which {theirs_own} are noted as yours" if theirs_own else ""
            is_both = symbol in ours and symbol in theirs
            split = split_text(ours[symbol], replace(theirs[symbol], qty=broker)) if is_both else ""
            rows.append(Difference("position", symbol, f"{ledger} shares", unread.get(symbol) or f"{there} shares{own}{split}"))
    return rows


def without_noted(there: Decimal, noted: Decimal) -> Decimal:
    """The broker's shares less those of the person, who may have sold some of theirs since."""
    if noted > 0:
        return max(there - noted, Decimal(0)) if there > 0 else there
    return min(there - noted, Decimal(0)) if there < 0 else there


def split_text(held: Position, there: BrokerPosition) -> str:
    """Says that a difference is a split where the broker divided its price by what it multiplied the shares by, or ''."""
    if abs(there.qty * held.split_factor - held.signed_qty) <= SAME_SHARES:
        return ": it has not booked the split yet, look again later"
    ratio = there.qty / held.signed_qty
    price = there.avg_entry_price
    return f": this is a split, about {ratio:.4g} for 1" if price > 0 and is_split(ratio, held.entry_price / price) else ""


def is_split(ratio: Decimal, fall: Decimal) -> bool:
    """Whether the price fell by what the shares multiplied by. ratio: shares now for one. fall: price before / price now."""
    return ratio > 0 and fall > 0 and abs(ratio - 1) > SPLIT_AT_LEAST and abs(ratio / fall - 1) < SPLIT_NEAR


def _renamed(
    context: SessionContext, held: list[Position], orders: list[BrokerOrder], positions: list[BrokerPosition]
) -> dict[str, str]:
    """Old symbol → new one, where an order of a position carries the new one at the broker, which holds shares there."""
    theirs = {row.symbol: row.qty for row in positions if abs(row.qty) > SAME_SHARES}
    by_id = {position.id: position for position in held}
    renamed = {}
    for order in orders:
        ours = book.find(context.ledger, order.client_order_id)
        position = by_id.get(ours.position_id or ours.client_order_id) if ours is not None else None
        if position is not None and order.symbol not in ("", position.symbol):
            renamed[position.symbol] = order.symbol
    moves = fitting_renames(held, renamed, theirs)
    # Other shares than ours may be a split of the same day: what they are, the row of their difference asks afterwards.
    return {held.symbol: name for held, name in moves if theirs.get(name, Decimal(0)) * held.signed_qty > 0}


def _is_explained(
    context: SessionContext, row: Difference, orders: list[BrokerOrder], renamed: Mapping[str, str]
) -> bool:  # fmt: skip
    """Whether a row of orders only says again that a symbol was renamed: with the old one the order is the one decided."""
    ours = book.find(context.ledger, row.what)
    order = next((order for order in orders if order.client_order_id == row.what), None)
    if ours is None or order is None or ours.state in ENDED or renamed.get(ours.symbol) != order.symbol:
        return False
    with contextlib.suppress(OrderMismatch):
        check_same(context.ledger, ours, replace(order, symbol=ours.symbol))
        return True
    return False


def _is_leaving(context: SessionContext, held: Position, there: AtBroker) -> bool:
    """Whether an exit of it works at the broker, as the broker's own list shows; one of unknown fate sells nothing."""
    exits = [order for order in book.of_position(context.ledger, held.id) if order.purpose == book.EXIT]
    return any(there.order(order.client_order_id) is not None for order in exits)


def _accepted_orders(context: SessionContext) -> set[str]:
    """Broker ids of a person's own orders that were accepted: ended at the last agreement, or noted while they worked."""
    last = last_reconciliation(context.ledger, context.account, agreeing=True)
    orders = last["snapshot"]["orders"] if last else ()
    ended = {broker_id for broker_id, _, _, status, _ in orders if status in TERMINAL_STATUSES}
    return ended | _noted_orders(context)


def _noted_orders(context: SessionContext) -> set[str]:
    """Broker ids of orders that a person has accepted as they are."""
    return set(noted_of(last_reconciliation(context.ledger, context.account, agreeing=True))["orders"])


def ledger_order_of(context: SessionContext, order_id: str) -> LedgerOrder | None:
    """Our order with this id at the broker, or None."""
    rows = context.ledger.rows(
        "SELECT client_order_id FROM intents WHERE account = ? AND broker_order_id = ?", (context.account, order_id)
    )
    return book.find(context.ledger, rows[0]["client_order_id"]) if rows else None
