"""Reconciliation: the ledger against the broker, order by order, fill by fill, share by share, and the cash.

Finds differences and says them; nothing of the broker's is adopted but what belongs to an order we decided.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from kobe_jobs.trading.desk import Desk, day_start
from kobe_jobs.trading.executor import FillTimes, look_up, may_touch, take_in
from kobe_resources.broker.protocol import TERMINAL_STATUSES, BrokerFill, BrokerOrder, BrokerPosition
from kobe_resources.order_ledger import IllegalMove, Intent, OrderState
from kobe_resources.order_ledger import intents as book
from kobe_resources.order_ledger.positions import open_positions
from kobe_resources.order_ledger.sessions import keep_reconciliation, last_reconciliation
from kobe_resources.order_ledger.settlement import OrderMismatch
from kobe_resources.order_ledger.states import ENDED, UNSETTLED

SAME_SHARES = Decimal("1e-6")
CASH_NOISE = Decimal("1.00")
"""Dollars by which fees and the broker's rounding may move cash between two looks."""
LOOKS = 3
NOT_OURS = "not decided here"


@dataclass(frozen=True, slots=True)
class Difference:
    """One row on which the sides disagree: order, fill, position or cash. A `halts=False` row is told and stops nothing."""

    kind: str
    what: str
    ledger: str
    broker: str
    halts: bool = True


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The rows, and what both sides said."""

    differences: tuple[Difference, ...]
    snapshot: dict[str, Any]
    promoted: int = 0

    @property
    def agrees(self) -> bool:
        """Nothing that halts."""
        return not any(row.halts for row in self.differences)

    @property
    def missing(self) -> frozenset[str]:
        """Symbols of which the broker holds less than the ledger."""
        ours, theirs = self.snapshot.get("ledger", {}), self.snapshot.get("positions", {})
        return frozenset(symbol for symbol, qty in ours.items() if _falls_short(Decimal(qty), Decimal(theirs.get(symbol, "0"))))

    def told(self) -> str:
        """The halting rows in one line."""
        return "; ".join(
            f"{row.kind} {row.what}: ledger {row.ledger}, broker {row.broker}" for row in self.differences if row.halts
        )


def reconcile(desk: Desk, moment: str) -> Reconciliation:
    """Compare, promote late orders, keep the snapshot; looks again before it believes a difference, for fills in flight."""
    found = compare(desk)
    for _ in range(LOOKS - 1):
        if found.agrees:
            break
        for intent in _open_questions(desk):
            look_up(desk, intent, FillTimes(desk))
        found = compare(desk)
    with desk.ledger.write() as write:
        rows = [asdict(row) for row in found.differences]
        keep_reconciliation(write, desk.account, desk.day, moment, rows, found.snapshot, agrees=found.agrees)
    return found


def compare(desk: Desk, promote: bool = True) -> Reconciliation:
    """Both sides as they are now. promote: take in what became of late orders of ours; nothing else is written."""
    since = day_start(_horizon(desk))
    orders = desk.broker.orders("all", after=since)
    promoted, order_rows = _compare_orders(desk, orders, promote)
    fills = desk.broker.fills(since)
    positions = desk.broker.positions()
    cash = desk.broker.account().cash
    cash_rows, cash_told = _compare_cash(desk, cash)
    rows = (*order_rows, *_compare_fills(desk, fills, orders), *_compare_positions(desk, positions), *cash_rows)
    snapshot = {
        "orders": [
            [order.id, order.client_order_id, order.symbol, order.raw_status, str(order.filled_qty)] for order in orders
        ],
        "positions": {row.symbol: str(row.qty) for row in positions},
        "ledger": {held.symbol: str(held.signed_qty) for held in open_positions(desk.ledger, desk.account)},
        **cash_told,
    }
    return Reconciliation(rows, snapshot, promoted)


def _open_questions(desk: Desk) -> list[Intent]:
    """Orders whose look-up may explain a difference; one that was given up may be there before the list shows it."""
    since = _horizon(desk)
    given_up = book.in_states(desk.ledger, desk.account, [OrderState.NOT_PLACED])
    return [*book.unsettled(desk.ledger, desk.account), *(intent for intent in given_up if intent.session >= since)]


def _horizon(desk: Desk) -> dt.date:
    """The first day whose orders are still open questions: the last agreement, or an older unsettled order."""
    days = [desk.day]
    last = last_reconciliation(desk.ledger, desk.account, agreeing=True)
    if last is not None:
        days.append(dt.date.fromisoformat(last["session"]))
    waiting = book.in_states(desk.ledger, desk.account, [OrderState.UNKNOWN, OrderState.SUBMITTING])
    return min([*days, *(intent.session for intent in waiting)])


def _compare_orders(desk: Desk, orders: list[BrokerOrder], promote: bool) -> tuple[int, list[Difference]]:
    promoted, rows = 0, []
    times = FillTimes(desk)
    accepted = _accepted_orders(desk)
    for order in orders:
        intent = book.find(desk.ledger, order.client_order_id)
        if intent is None or intent.account != desk.account:
            if (order.filled_qty > 0 or not order.is_terminal) and order.id not in accepted:
                told = f"{order.side} {order.qty} {order.symbol} {order.raw_status}"
                rows.append(Difference("order", order.client_order_id, NOT_OURS, told))
            continue
        late = intent.state in (OrderState.NOT_PLACED, OrderState.INTENT)
        is_open = (late or intent.state in UNSETTLED) and promote and may_touch(desk, intent)
        try:
            current = take_in(desk, intent, order, times) if is_open else intent
        except (OrderMismatch, IllegalMove) as error:
            rows.append(Difference("order", intent.client_order_id, str(intent.state), str(error)))
            continue
        promoted += late and is_open
        if current.state in ENDED and (not order.is_terminal or order.filled_qty != current.filled_qty):
            told = f"{order.raw_status}, {order.filled_qty} filled"
            rows.append(Difference("order", intent.client_order_id, f"{current.state}, {current.filled_qty} filled", told))
    return promoted, rows


def _compare_fills(desk: Desk, fills: list[BrokerFill], orders: list[BrokerOrder]) -> list[Difference]:
    """Executions of the orders seen, and executions of nobody's."""
    ours = {order.id: order.client_order_id for order in orders}
    executed: dict[str, Decimal] = {}
    for fill in fills:
        executed[fill.order_id] = executed.get(fill.order_id, Decimal(0)) + fill.qty
    accepted = _accepted_orders(desk)
    rows = []
    for order_id, qty in executed.items():
        intent = book.find(desk.ledger, ours[order_id]) if order_id in ours else _by_broker_id(desk, order_id)
        if intent is None:
            if order_id not in accepted:
                rows.append(Difference("fill", order_id, NOT_OURS, f"{qty} shares"))
        elif qty > intent.filled_qty + SAME_SHARES:
            rows.append(Difference("fill", intent.client_order_id, f"{intent.filled_qty} shares", f"{qty} shares"))
    for order_id, client_id in ours.items():
        intent = book.find(desk.ledger, client_id)
        told = executed.get(order_id, Decimal(0))
        if intent is not None and intent.filled_qty > told + SAME_SHARES:
            # The list of executions may lag behind the orders.
            rows.append(Difference("fill", client_id, f"{intent.filled_qty} shares", f"{told} shares listed", halts=False))
    return rows


def _compare_positions(desk: Desk, positions: list[BrokerPosition]) -> list[Difference]:
    ours = {held.symbol: held.signed_qty for held in open_positions(desk.ledger, desk.account)}
    theirs = {row.symbol: row.qty for row in positions if abs(row.qty) > SAME_SHARES}
    rows = []
    for symbol in sorted(ours.keys() | theirs.keys()):
        ledger, broker = ours.get(symbol, Decimal(0)), theirs.get(symbol, Decimal(0))
        if abs(ledger - broker) > SAME_SHARES * max(abs(ledger), Decimal(1)):
            rows.append(Difference("position", symbol, f"{ledger} shares", f"{broker} shares"))
    return rows


def _falls_short(ledger: Decimal, broker: Decimal) -> bool:
    """The broker holds less than the ledger says, or holds it the other way."""
    gap = ledger - broker if ledger > 0 else broker - ledger
    return gap > SAME_SHARES * max(abs(ledger), Decimal(1))


def _compare_cash(desk: Desk, cash: Decimal) -> tuple[list[Difference], dict[str, Any]]:
    """Cash must have moved by our fills since the last agreement; more than that is told, less halts."""
    last = last_reconciliation(desk.ledger, desk.account, agreeing=True)
    rows = desk.ledger.rows(
        "SELECT rowid, side, qty, price FROM fills WHERE account = ? AND rowid > ? ORDER BY rowid",
        (desk.account, last["snapshot"]["fills_through"] if last else 0),
    )
    moved = sum(
        ((1 if row["side"] == "sell" else -1) * Decimal(row["qty"]) * Decimal(row["price"]) for row in rows), Decimal(0)
    )
    through = rows[-1]["rowid"] if rows else (last["snapshot"]["fills_through"] if last else 0)
    told = {"cash": str(cash), "fills_through": through}
    if last is None:
        return [], told
    expected = Decimal(last["snapshot"]["cash"]) + moved
    if abs(cash - expected) <= CASH_NOISE:
        return [], told
    return [Difference("cash", "account", f"${expected:.2f}", f"${cash:.2f}", halts=cash < expected)], told


def _accepted_orders(desk: Desk) -> set[str]:
    """Broker ids of ended orders of nobody's that were there at the last agreement: a person has accepted them."""
    last = last_reconciliation(desk.ledger, desk.account, agreeing=True)
    orders = last["snapshot"]["orders"] if last else ()
    return {broker_id for broker_id, _, _, status, _ in orders if status in TERMINAL_STATUSES}


def _by_broker_id(desk: Desk, order_id: str) -> Intent | None:
    rows = desk.ledger.rows(
        "SELECT client_order_id FROM intents WHERE account = ? AND broker_order_id = ?", (desk.account, order_id)
    )
    return book.find(desk.ledger, rows[0]["client_order_id"]) if rows else None
