"""The ledger's orders: planned once under a deterministic id, claimed by one sender, moved only along the state machine.

Every change takes an open `Write` and leaves its audit record in it. Trusts its caller for the decision, not for the budget.
"""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from kobe_resources.broker.protocol import OrderKind, Side, TimeInForce
from kobe_resources.errors import KobeError
from kobe_resources.order_ledger.states import UNSETTLED, OrderState, check_move, client_order_id
from kobe_resources.order_ledger.store import OrderLedger, Write
from kobe_resources.settings.pins import canonical_json

ZERO = Decimal(0)
BUDGET_TOLERANCE = Decimal("1e-9")
POSTS_AT_MOST = 3
"""How often an entry or an exit is sent that the broker, asked afterwards, does not know."""
ENTRY, EXIT, STOP = "entry", "exit", "stop"
QUOTE_ENTRY, AUCTION_ENTRY, LIMIT_ENTRY = "quote", "auction", "limit"
"""How an entry meets the market, as its decision says: at the quote, in the opening auction, by a limit through the day."""


class BudgetExceeded(KobeError):
    """A reservation would take the session over its budget; the gate should have refused it."""


class UnknownOrder(KobeError):
    """No such order in the ledger."""


@dataclass(frozen=True, slots=True)
class OrderPlan:
    """A decided order, before it is written down. Prices and shares as traded; `decision` is what the trace shows."""

    account: str
    strategy: str
    session: dt.date
    signal_session: dt.date
    symbol: str
    side: Side
    tag: str
    kind: OrderKind
    time_in_force: TimeInForce
    qty: Decimal
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    stop_distance: Decimal | None = None
    reserved: Decimal = ZERO
    rank: int = 0
    position_id: str | None = None
    reason: str = ""
    decision: dict[str, Any] = field(default_factory=dict)

    @property
    def client_order_id(self) -> str:
        """The id that this decision has wherever and whenever it is taken."""
        return client_order_id(self.account, self.strategy, self.signal_session, self.symbol, self.side, self.tag)


@dataclass(frozen=True, slots=True)
class LedgerOrder:
    """An order as the ledger has it, a row of its table `intents`.

    tag: entry, exit or stop, with a number from the second try on (stop.2); the column `leg`.
    """

    client_order_id: str
    account: str
    strategy: str
    session: dt.date
    signal_session: dt.date
    symbol: str
    side: Side
    tag: str
    rank: int
    position_id: str | None
    kind: OrderKind
    time_in_force: TimeInForce
    qty: Decimal
    limit_price: Decimal | None
    stop_price: Decimal | None
    stop_distance: Decimal | None
    state: OrderState
    reason: str
    detail: str
    reserved: Decimal
    spent: Decimal
    filled_qty: Decimal
    filled_avg_price: Decimal | None
    broker_order_id: str | None
    acknowledged: bool
    posts: int
    owner: str | None
    misses: int
    first_missed_at: dt.datetime | None
    decision: dict[str, Any]
    config_pin: str
    run_id: str
    created_at: dt.datetime
    updated_at: dt.datetime

    @property
    def purpose(self) -> str:
        """entry, exit or stop, without the number of the try."""
        return self.tag.partition(".")[0]

    @property
    def works_all_day(self) -> bool:
        """Whether it is an entry whose limit waits for the market through its session, instead of a short while."""
        return self.purpose == ENTRY and self.decision.get("entry") == LIMIT_ENTRY


def text_of(value: Decimal) -> str:
    """A Decimal as plain digits, as the ledger and the wire hold it."""
    return format(value, "f")


def find(ledger: OrderLedger | Write, client_id: str) -> LedgerOrder | None:
    """The order with this id, or None."""
    rows = _select(ledger, "WHERE client_order_id = ?", (client_id,))
    return rows[0] if rows else None


def get(ledger: OrderLedger | Write, client_id: str) -> LedgerOrder:
    """The order with this id; raises UnknownOrder."""
    found = find(ledger, client_id)
    if found is None:
        raise UnknownOrder(f"the ledger has no order {client_id}", "see `kobe reconcile`")
    return found


def of_session(ledger: OrderLedger | Write, account: str, session: dt.date) -> list[LedgerOrder]:
    """Every order of a session, in the order they were decided."""
    return _select(ledger, "WHERE account = ? AND session = ? ORDER BY rowid", (account, session.isoformat()))


def latest(ledger: OrderLedger | Write, count: int) -> list[LedgerOrder]:
    """The last `count` orders of every account, newest first."""
    return _select(ledger, "ORDER BY rowid DESC LIMIT ?", (count,))


def in_states(ledger: OrderLedger | Write, account: str, states: Iterable[OrderState]) -> list[LedgerOrder]:
    """Every order in one of the states, oldest first."""
    wanted = sorted(str(state) for state in states)
    marks = ", ".join("?" * len(wanted))
    return _select(ledger, f"WHERE account = ? AND state IN ({marks}) ORDER BY rowid", (account, *wanted))


def unsettled(ledger: OrderLedger | Write, account: str) -> list[LedgerOrder]:
    """The orders that the broker may hold."""
    return in_states(ledger, account, UNSETTLED)


def of_position(ledger: OrderLedger | Write, position_id: str) -> list[LedgerOrder]:
    """Entry, exits and stops of a position, oldest first."""
    return _select(ledger, "WHERE position_id = ? OR client_order_id = ? ORDER BY rowid", (position_id, position_id))


def budget_used(ledger: OrderLedger | Write, account: str, session: dt.date) -> Decimal:
    """Dollars that the session's entries have spent or may still spend."""
    rows = _rows(
        ledger, "SELECT reserved, spent FROM intents WHERE account = ? AND session = ?", (account, session.isoformat())
    )
    return sum((Decimal(row["reserved"]) + Decimal(row["spent"]) for row in rows), ZERO)


def plan(write: Write, planned: OrderPlan, budget: Decimal | None = None) -> LedgerOrder:
    """Write the plan down as INTENT, its dollars reserved; an order that is there already is returned as it is.

    budget: dollars of the session; BudgetExceeded beyond it, whatever the gate said.
    """
    known = find(write, planned.client_order_id)
    if known:
        return known
    _check_budget(write, planned, budget)
    _insert(write, planned, OrderState.PLANNED)
    write.audit("planned", **_plan_details(planned), reserved=text_of(planned.reserved))
    return get(write, planned.client_order_id)


def deny(write: Write, planned: OrderPlan, reason: str, detail: str = "") -> LedgerOrder:
    """Write the plan down as denied, with its reason; nothing is reserved."""
    known = find(write, planned.client_order_id)
    if known:
        return known
    _insert(write, planned, OrderState.DENIED, reason, detail)
    write.audit("vetoed", **_plan_details(planned), reason=reason, detail=detail)
    return get(write, planned.client_order_id)


def would_send(write: Write, planned: OrderPlan) -> LedgerOrder:
    """Write the plan down as WOULD_SEND, its dollars reserved; an order that is there already is returned as it is."""
    known = find(write, planned.client_order_id)
    if known:
        return known
    _insert(write, planned, OrderState.WOULD_SEND)
    write.audit("would_send", **_plan_details(planned), reserved=text_of(planned.reserved))
    return get(write, planned.client_order_id)


def free_reservation(write: Write, order: LedgerOrder) -> None:
    """Free the reservation of an order that `replan` or a denial is about to settle in the same transaction."""
    write.execute("UPDATE intents SET reserved = '0' WHERE client_order_id = ?", (order.client_order_id,))


def replan(write: Write, planned: OrderPlan, budget: Decimal | None = None) -> LedgerOrder:
    """Give an order that was never claimed the fresh price, size and reservation of `planned`."""
    known = get(write, planned.client_order_id)
    if known.state is not OrderState.PLANNED or known.posts:
        return known
    free_reservation(write, known)
    _check_budget(write, planned, budget)
    write.execute(
        "UPDATE intents SET qty = :qty, limit_price = :limit, stop_price = :stop, reserved = :reserved, decision = :decision,"
        " updated_at = :now WHERE client_order_id = :id",
        {
            "id": known.client_order_id, "qty": text_of(planned.qty), "limit": _text(planned.limit_price),
            "stop": _text(planned.stop_price), "reserved": text_of(planned.reserved),
            "decision": canonical_json(planned.decision), "now": write.now.isoformat(),
        },
    )  # fmt: skip
    write.audit("planned_again", **_plan_details(planned), reserved=text_of(planned.reserved))
    return get(write, known.client_order_id)


def claim(write: Write, client_id: str, owner: str) -> LedgerOrder | None:
    """INTENT → SUBMITTING for `owner`; None where another run was faster. The holder of the claim may POST once."""
    order = get(write, client_id)
    if order.state is not OrderState.PLANNED:
        return None
    return move(
        write, order, OrderState.SUBMITTING, "submitting",
        owner=owner, posts=order.posts + 1, misses=0, first_missed_at=None,
    )  # fmt: skip


def release(write: Write, client_id: str, owner: str, why: str) -> LedgerOrder:
    """SUBMITTING → INTENT by its owner, when provably nothing was sent."""
    order = get(write, client_id)
    if order.owner != owner:
        raise KobeError(f"order {client_id} is claimed by {order.owner}", "only its owner may give it back")
    return move(
        write, order, OrderState.PLANNED, "claim_returned",
        detail=why, owner=None, posts=max(0, order.posts - 1),
    )  # fmt: skip


def retry(write: Write, client_id: str) -> LedgerOrder:
    """NOT_PLACED → INTENT, to be sent again as it was under the same id.

    The broker takes an id only once, for ever: should the first order turn up after all, the second is refused.
    """
    order = get(write, client_id)
    return move(write, order, OrderState.PLANNED, "rearmed", owner=None)


def reconsider(write: Write, client_id: str) -> LedgerOrder:
    """Denied → INTENT for an entry that nothing but a quote was missing for; its caller decides it anew at once."""
    order = get(write, client_id)
    return move(write, order, OrderState.PLANNED, "reconsidered", reason="", detail="")


def miss(write: Write, client_id: str) -> LedgerOrder:
    """Note that a look-up did not find the order."""
    order = get(write, client_id)
    first = order.first_missed_at or write.now
    write.execute(
        "UPDATE intents SET misses = misses + 1, first_missed_at = ? WHERE client_order_id = ?", (first.isoformat(), client_id)
    )
    return get(write, client_id)


def move(
    write: Write, order: LedgerOrder, state: OrderState, kind: str, details: Mapping[str, Any] | None = None, **changes: Any
) -> LedgerOrder:
    """Move an order along the state machine, with the columns that change and the audit record `kind`.

    details: what only the record shall hold.
    Raises IllegalMove. The row's state is read again inside the transaction: who comes second meets the new one.
    """
    current = get(write, order.client_order_id)
    check_move(order.client_order_id, current.state, state)
    values = {**changes, "state": str(state), "updated_at": write.now.isoformat()}
    assignments = ", ".join(f"{_column(name)} = :{name}" for name in values)
    # The names are columns of the table, checked by _column; values travel as parameters.
    sql = f"UPDATE intents SET {assignments} WHERE client_order_id = :_id"  # noqa: S608
    write.execute(sql, {**values, "_id": order.client_order_id})
    body = {"order": order.client_order_id, "symbol": order.symbol, "leg": order.tag, **(details or {}), **changes}
    write.audit(kind, **body, old=str(current.state), new=str(state))
    return get(write, order.client_order_id)


def _check_budget(write: Write, planned: OrderPlan, budget: Decimal | None) -> None:
    if budget is None or not planned.reserved:
        return
    wanted = budget_used(write, planned.account, planned.session) + planned.reserved
    if wanted > budget * (1 + BUDGET_TOLERANCE):
        raise BudgetExceeded(
            f"{planned.symbol} would take session {planned.session} to ${wanted:.2f} of ${budget:.2f}",
            "nothing was reserved",
        )


def _insert(write: Write, planned: OrderPlan, state: OrderState, reason: str = "", detail: str = "") -> None:
    now = write.now.isoformat()
    row = {
        "client_order_id": planned.client_order_id, "account": planned.account, "strategy": planned.strategy,
        "session": planned.session.isoformat(), "signal_session": planned.signal_session.isoformat(),
        "symbol": planned.symbol, "side": planned.side, "leg": planned.tag, "rank": planned.rank,
        "position_id": planned.position_id,
        "kind": planned.kind, "time_in_force": planned.time_in_force, "qty": text_of(planned.qty),
        "limit_price": _text(planned.limit_price), "stop_price": _text(planned.stop_price),
        "stop_distance": _text(planned.stop_distance), "state": str(state),
        "reason": reason or planned.reason, "detail": detail,
        "reserved": text_of(planned.reserved) if state in (OrderState.PLANNED, OrderState.WOULD_SEND) else "0",
        "decision": canonical_json(planned.decision), "config_pin": write.pin, "run_id": write.run_id,
        "created_at": now, "updated_at": now,
    }  # fmt: skip
    names = ", ".join(row)
    marks = ", ".join(f":{name}" for name in row)
    write.execute(f"INSERT INTO intents ({names}) VALUES ({marks})", row)  # noqa: S608


def _plan_details(planned: OrderPlan) -> dict[str, Any]:
    return {
        "order": planned.client_order_id, "symbol": planned.symbol, "side": planned.side, "leg": planned.tag,
        "session": planned.session, "signal_session": planned.signal_session, "strategy": planned.strategy,
        "qty": text_of(planned.qty), "limit_price": _text(planned.limit_price), "stop_price": _text(planned.stop_price),
        "decision": planned.decision,
    }  # fmt: skip


_COLUMNS = frozenset(LedgerOrder.__dataclass_fields__)


def _column(name: str) -> str:
    if name not in _COLUMNS:
        raise ValueError(f"intents have no column {name!r}")
    return name


def _text(value: Decimal | None) -> str | None:
    return None if value is None else text_of(value)


def _rows(source: OrderLedger | Write, sql: str, parameters: tuple[Any, ...]) -> list[sqlite3.Row]:
    return source.connection.execute(sql, parameters).fetchall()


_SELECT = "SELECT * FROM intents "


def _select(source: OrderLedger | Write, tail: str, parameters: tuple[Any, ...]) -> list[LedgerOrder]:
    return [_order_of_row(row) for row in _rows(source, _SELECT + tail, parameters)]


def _order_of_row(row: sqlite3.Row) -> LedgerOrder:
    values = dict(row)
    for name in ("session", "signal_session"):
        values[name] = dt.date.fromisoformat(values[name])
    for name in ("qty", "limit_price", "stop_price", "stop_distance", "reserved", "spent", "filled_qty", "filled_avg_price"):
        values[name] = None if values[name] is None else Decimal(values[name])
    # A column that nothing reads any more.
    del values["lease_until"]
    for name in ("first_missed_at", "created_at", "updated_at"):
        values[name] = None if values[name] is None else dt.datetime.fromisoformat(values[name])
    values["tag"] = values.pop("leg")
    values["state"] = OrderState(values["state"])
    values["acknowledged"] = bool(values["acknowledged"])
    values["decision"] = json.loads(values["decision"])
    return LedgerOrder(**values)
