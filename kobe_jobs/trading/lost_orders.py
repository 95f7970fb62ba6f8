"""Recovery of orders that the ledger lost, as after the restore of an older backup, with their fills and positions.

An order is Kobe's where its id is the one that this ledger gives for a stored signal, or for the exit or stop of its position.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from kobe_jobs.trading.context import SessionContext, day_start
from kobe_jobs.trading.market_snapshot import load_market_snapshot
from kobe_jobs.trading.order_looks import FillTimes
from kobe_jobs.trading.roll_forward import apply_splits
from kobe_resources import calendar
from kobe_resources.broker.protocol import BrokerOrder, TimeInForce
from kobe_resources.calendar import NEW_YORK
from kobe_resources.order_ledger import OrderPlan, client_order_id
from kobe_resources.order_ledger import orders as book
from kobe_resources.order_ledger.positions import all_positions
from kobe_resources.order_ledger.sessions import last_reconciliation
from kobe_resources.order_ledger.settlement import settle
from kobe_resources.warehouse.store import Warehouse

OUR_PREFIX = "kobe-"
LOOK_BACK = dt.timedelta(days=45)
"""How far back the broker's orders are read where no agreement is on record."""
TRIES = 20
"""Numbers of the tags (stop.2, stop.3, …) that are tried for a session."""


@dataclass(frozen=True, slots=True)
class Lost:
    """An order at the broker that the ledger does not know, and what it was decided as."""

    order: BrokerOrder
    order_plan: OrderPlan


def recover_lost_orders(context: SessionContext, warehouse: Warehouse, reason: str) -> list[BrokerOrder]:
    """Write down the orders whose ids this ledger would give, with their fills, positions and stops; those that stay lost."""
    last = last_reconciliation(context.ledger, context.account, agreeing=True)
    since = dt.date.fromisoformat(last["session"]) if last else context.session - LOOK_BACK
    listed = {
        order.id: order for order in [*context.broker.orders("open"), *context.broker.orders("all", after=day_start(since))]
    }
    unknown = {
        order.client_order_id: order
        for order in sorted(listed.values(), key=lambda order: order.submitted_at or dt.datetime.min.replace(tzinfo=dt.UTC))
        if order.client_order_id.startswith(OUR_PREFIX) and not order.unread
        if book.find(context.ledger, order.client_order_id) is None
    }
    if not unknown:
        return []
    entries = [Lost(unknown[d.client_order_id], d) for d in _entry_plans(context, warehouse, unknown)]
    for lost in entries:
        _recover(context, lost, reason)
    # Exits and stops were decided after the splits that came before them.
    apply_splits(context)
    others = [Lost(unknown[d.client_order_id], d) for d in _closing_plans(context, unknown)]
    # Sales come before stops that rest: an exit is what took a stop away.
    for lost in sorted(others, key=lambda lost: not lost.order.is_terminal):
        _recover(context, lost, reason)
    return [order for order in unknown.values() if book.find(context.ledger, order.client_order_id) is None]


def shares_left(lost: Iterable[BrokerOrder]) -> dict[str, Decimal]:
    """Shares by symbol that orders have bought and not sold again, negative where they sold short."""
    left: dict[str, Decimal] = {}
    for order in lost:
        filled = order.filled_qty if order.side == "buy" else -order.filled_qty
        left[order.symbol] = left.get(order.symbol, Decimal(0)) + filled
    return {symbol: qty for symbol, qty in left.items() if qty}


def lacking_signals(warehouse: Warehouse, lost: Iterable[BrokerOrder]) -> list[BrokerOrder]:
    """The lost orders whose session of signals is not stored, so that `kobe report` may bring back what they were."""
    computed = set()
    if warehouse.rows("SELECT 1 FROM signals LIMIT 1"):
        computed = {row[0] for row in warehouse.rows("SELECT DISTINCT session FROM indicators")}
    times = [(order, order.submitted_at) for order in lost]
    return [order for order, at in times if at is None or calendar.latest_complete_session(at) not in computed]


def _entry_plans(context: SessionContext, warehouse: Warehouse, unknown: dict[str, BrokerOrder]) -> Iterator[OrderPlan]:
    """The entries among the unknown orders, from the stored signals of every strategy."""
    first = min(_sent_on(context, order) for order in unknown.values()) - dt.timedelta(days=10)
    # The names that the signals bear: no strategy is imported to look after an account.
    for (name,) in warehouse.rows("SELECT DISTINCT strategy FROM signals ORDER BY strategy"):
        snapshot = load_market_snapshot(warehouse, name, first, context.signal_session)
        for session, signals in sorted(snapshot.signals.items()):
            for rank, signal in enumerate(signals, start=1):
                side = "buy" if signal.is_long else "sell"
                order = unknown.get(client_order_id(context.account, name, session, signal.symbol, side, book.ENTRY))
                if order is None:
                    continue
                # Orders for the auction may have gone out the evening before.
                day = max(_sent_on(context, order), _session_after(context, session))
                is_limit = order.time_in_force == "day" != context.settings.trading.time_in_force
                distance = signal.stop_distance / snapshot.factor(signal.symbol, day)
                yield OrderPlan(
                    account=context.account, strategy=name, session=day, signal_session=session, symbol=signal.symbol,
                    side=order.side, tag=book.ENTRY, kind="limit", time_in_force=_time_in_force(context, order),
                    qty=order.qty, limit_price=order.limit_price, stop_distance=Decimal(repr(distance)), rank=rank,
                    decision={
                        "taken_back": order.id, "signal": {"score": signal.score, "stop_distance": signal.stop_distance},
                        "entry": book.LIMIT_ENTRY if is_limit else book.QUOTE_ENTRY,
                    },
                )  # fmt: skip


def _closing_plans(context: SessionContext, unknown: dict[str, BrokerOrder]) -> Iterator[OrderPlan]:
    """Exits and stops among the unknown orders, of positions that the ledger has (again)."""
    sessions: list[dt.date] = context.snapshot.sessions.tolist()
    tags = [tag if number == 1 else f"{tag}.{number}" for tag in (book.EXIT, book.STOP) for number in range(1, TRIES + 1)]
    for held in all_positions(context.ledger, context.account):
        side = "sell" if held.side == "long" else "buy"
        for session in [day for day in sessions if held.signal_session <= day <= context.signal_session]:
            for tag in tags:
                order = unknown.get(client_order_id(context.account, held.strategy, session, held.symbol, side, tag))
                if order is None:
                    continue
                is_stop = tag.startswith(book.STOP)
                sent = _sent_on(context, order)
                yield OrderPlan(
                    account=context.account, strategy=held.strategy, signal_session=session,
                    session=sent if is_stop else max(sent, _session_after(context, session)),
                    symbol=held.symbol, side=order.side, tag=tag,
                    kind="stop" if is_stop else "market" if order.kind == "market" else "limit",
                    time_in_force="gtc" if is_stop and order.time_in_force != "day" else _time_in_force(context, order),
                    qty=order.qty,
                    limit_price=order.limit_price, stop_price=order.stop_price, position_id=held.id,
                    reason=book.STOP if is_stop else (held.flag or book.EXIT),
                    decision={"position": held.id, "taken_back": order.id},
                )  # fmt: skip


def _session_after(context: SessionContext, signal_session: dt.date) -> dt.date:
    """The session that trades the signals of `signal_session`."""
    later = context.snapshot.sessions[context.snapshot.sessions > np.datetime64(signal_session)]
    return later[0].item() if len(later) else context.session


def _time_in_force(context: SessionContext, order: BrokerOrder) -> TimeInForce:
    known: dict[str, TimeInForce] = {"opg": "opg", "day": "day", "ioc": "ioc"}
    return known.get(order.time_in_force, context.settings.trading.time_in_force)


def _recover(context: SessionContext, lost: Lost, reason: str) -> None:
    at = FillTimes(context).of(lost.order, lost.order_plan) if lost.order.filled_qty > 0 else dt.datetime.now(dt.UTC)
    with context.ledger.write() as write:
        # At once: an order that is written down and not settled is neither lost nor looked up by the next try.
        order = book.plan(write, lost.order_plan)
        write.execute("UPDATE intents SET posts = 1 WHERE client_order_id = ?", (order.client_order_id,))
        write.audit("taken_back", order=order.client_order_id, symbol=order.symbol, leg=order.tag, reason=reason)
        settle(write, order.client_order_id, lost.order, at)


def _sent_on(context: SessionContext, order: BrokerOrder) -> dt.date:
    return context.session if order.submitted_at is None else order.submitted_at.astimezone(NEW_YORK).date()
