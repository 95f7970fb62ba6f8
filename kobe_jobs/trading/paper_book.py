"""Stage shadow follows what it would have done: a paper book with fills, stops, exits and profit, so that it rehearses days.

An entry at the quote is filled at once, at the side of the quote that it meets; one for the auction, or with a limit, by the
bar of its session when that is stored; a stop by the bars since. All of it lies in the ledger under the stage's own account.
"""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from kobe_jobs.trading.context import SessionContext
from kobe_jobs.trading.roll_forward import apply_splits
from kobe_jobs.trading.running_costs import costs_through
from kobe_resources.broker.exchange.state import billionths
from kobe_resources.broker.protocol import Side
from kobe_resources.broker.quotes import exit_limit
from kobe_resources.order_ledger import LedgerOrder, OrderPlan, OrderState, Position
from kobe_resources.order_ledger import orders as book
from kobe_resources.order_ledger.fills import cash_of_fills
from kobe_resources.order_ledger.paper import fill_on_paper
from kobe_resources.order_ledger.positions import open_positions, position
from kobe_resources.runtime.sql_files import read_sql
from kobe_resources.warehouse.store import Warehouse

HERE = Path(__file__).parent
ZERO = Decimal(0)


class PaperBar(NamedTuple):
    """One bar as traded, in the terms of one session."""

    session: dt.date
    open: float
    high: float
    low: float
    close: float


def follow_bars(context: SessionContext) -> None:
    """Let what the bars since the last run decided happen: waiting entries fill, then stops. Nothing where orders are sent."""
    if context.sends:
        return
    warehouse = Warehouse()
    for order in _waiting(context):
        days = order.session, order.session
        _fill_from_bar(context, order, _bars(context, warehouse, order.symbol, days, order.session))
    # A split since the session of what has filled now.
    apply_splits(context)
    for held in open_positions(context.ledger, context.account):
        after = held.bars_through or held.entry_session - dt.timedelta(days=1)
        first = max(held.entry_session, after + dt.timedelta(days=1))
        days = first, context.signal_session
        _stop_in(context, held, _bars(context, warehouse, held.symbol, days, context.session))


def leave_on_paper(context: SessionContext) -> None:
    """Fill an exit for every flagged position at the quote; one without a usable quote keeps its flag."""
    flagged = [held for held in open_positions(context.ledger, context.account) if held.flag]
    if not flagged:
        return
    quotes, now = context.usable_quotes([held.symbol for held in flagged], context.judge_for_exit)
    for held in flagged:
        quote = quotes.get(held.symbol)
        problem = context.judge_for_exit(quote, now)
        if quote is None or problem is not None:
            context.note(f"{held.symbol} shall leave ({held.flag}) but has {problem or 'no quote'}: its flag stays")
            continue
        is_long = held.side == "long"
        decision = {
            "position": held.id,
            "flag": held.flag,
            "bid": str(quote.bid),
            "ask": str(quote.ask),
            "quoted_at": str(quote.timestamp),
        }
        plan = OrderPlan(
            account=context.account, strategy=held.strategy, session=context.session, signal_session=context.signal_session,
            symbol=held.symbol, side="sell" if is_long else "buy", tag=book.EXIT, kind="limit",
            time_in_force=context.settings.trading.time_in_force, qty=held.qty,
            limit_price=exit_limit(quote, is_long, context.limits.limit_offset_bps), position_id=held.id,
            reason=held.flag or book.EXIT, decision=decision,
        )  # fmt: skip
        with context.ledger.write() as write:
            fill_on_paper(write, book.would_send(write, plan), quote.bid if is_long else quote.ask, context.session)


def enter_on_paper(context: SessionContext) -> None:
    """Fill the session's entries that would be sent at the quote, each with the stop that would be set."""
    for order in book.of_session(context.ledger, context.account, context.session):
        quote = order.decision.get("quote")
        if order.purpose != book.ENTRY or order.state is not OrderState.WOULD_SEND or order.filled_qty or quote is None:
            continue
        is_buy, limit = order.side == "buy", order.limit_price or ZERO
        price = Decimal(quote["ask" if is_buy else "bid"])
        if order.time_in_force != "opg" and (price <= limit if is_buy else price >= limit):
            _enter(context, order, price, context.session)


def paper_cash(context: SessionContext) -> Decimal:
    """Dollars that the paper book has left of the simulation's initial cash, after the costs of the rules."""
    costs = costs_through(context, context.ledger, context.session)
    moved, _ = cash_of_fills(context.ledger, context.account)
    return max(Decimal(repr(context.settings.simulation.initial_cash)) + Decimal(repr(costs)) + moved, ZERO)


def _enter(context: SessionContext, order: LedgerOrder, price: Decimal, session: dt.date) -> None:
    """Fill an entry, and write down the stop that would be set behind it."""
    with context.ledger.write() as write:
        fill_on_paper(write, order, price, session)
        held = position(write, order.client_order_id)
        if held is None or held.stop_price <= 0:
            return
        side: Side = "sell" if held.side == "long" else "buy"
        stop = OrderPlan(
            account=context.account, strategy=held.strategy, session=session, signal_session=order.signal_session,
            symbol=held.symbol, side=side, tag=book.STOP, kind="stop", time_in_force="gtc", qty=held.qty,
            stop_price=held.stop_price, position_id=held.id, reason=book.STOP,
        )  # fmt: skip
        book.would_send(write, stop)


def _waiting(context: SessionContext) -> list[LedgerOrder]:
    """Entries of earlier sessions that the market was to fill in its own time; their bars may be stored by now."""
    found = book.in_states(context.ledger, context.account, [OrderState.WOULD_SEND])
    return [
        i for i in found if i.purpose == book.ENTRY and not i.filled_qty and i.session <= context.signal_session and i.reserved
    ]


def _fill_from_bar(context: SessionContext, order: LedgerOrder, bars: list[PaperBar]) -> None:
    if bars and order.limit_price is not None:
        met = _met(order, bars[0], float(order.limit_price), context.settings.costs.slippage_bps / 10_000)
        if met is not None:
            _enter(context, order, Decimal(repr(met)), bars[0].session)
            return
    with context.ledger.write() as write:
        # It met nothing, and its dollars are free.
        book.free_reservation(write, order)


def _met(order: LedgerOrder, bar: PaperBar, limit: float, slip: float) -> float | None:
    """The price at which an entry's bar fills it; None where it does not: a touch fills no limit (rules, section 4.2)."""
    side = 1.0 if order.side == "buy" else -1.0
    at_open = bar.open * (1.0 + side * slip)
    if not _is_filled_late(order, bar, limit):
        return at_open if order.time_in_force == "opg" else side * min(side * at_open, side * limit)
    best = bar.low if order.side == "buy" else bar.high
    is_reached = order.time_in_force != "opg" and side * (billionths(best) - billionths(limit)) < 0
    return limit if is_reached else None


def _is_filled_late(order: LedgerOrder, bar: PaperBar, limit: float) -> bool:
    """Whether the bar opens beyond the order's limit, so that it fills after the open, if at all."""
    side = 1.0 if order.side == "buy" else -1.0
    return side * (billionths(bar.open) - billionths(limit)) > 0


def _went_through(held: Position, entry: LedgerOrder | None, bar: PaperBar, level: float) -> float | None:
    """The price at which a stop leaves in a bar, before the slippage; None where the bar did not go through it.

    In the bar of an entry that filled after the open only the close tells: what came first is unknown (rules, section 4.4).
    """
    side = 1.0 if held.side == "long" else -1.0
    if bar.session == held.entry_session and entry is not None and entry.works_all_day and entry.limit_price is not None:
        limit = float(entry.limit_price / held.split_factor)
        if _is_filled_late(entry, bar, limit):
            return level if side * (bar.close - level) < 0.0 else None
    worst = bar.low if side > 0.0 else bar.high
    return side * min(side * bar.open, side * level) if side * (worst - level) <= 0.0 else None


def _stop_in(context: SessionContext, held: Position, bars: list[PaperBar]) -> None:
    """Leave at the first bar that went through the stop: at the stop, or at an open beyond it, less the slippage."""
    stops = [
        i for i in book.of_position(context.ledger, held.id) if i.purpose == book.STOP and i.state is OrderState.WOULD_SEND
    ]
    level, is_long = float(held.stop_price), held.side == "long"
    if not stops or not level > 0:
        return
    entry = book.find(context.ledger, held.id)
    hit, left = next(((bar, at) for bar in bars if (at := _went_through(held, entry, bar, level)) is not None), (None, 0.0))
    if hit is None:
        return
    slip = context.settings.costs.slippage_bps / 10_000
    met = left * (1.0 - slip if is_long else 1.0 + slip)
    with context.ledger.write() as write:
        # The stop was written down in shares of its day; a split since has changed both.
        write.execute(
            "UPDATE intents SET qty = ? WHERE client_order_id = ?", (book.text_of(held.qty), stops[-1].client_order_id)
        )
        fill_on_paper(write, book.get(write, stops[-1].client_order_id), Decimal(repr(met)), hit.session)
    context.note(f"{held.symbol} would have left at its stop in session {hit.session}")


def _bars(
    context: SessionContext, warehouse: Warehouse, symbol: str, days: tuple[dt.date, dt.date], terms: dt.date
) -> list[PaperBar]:  # fmt: skip
    """The stored bars of some sessions, in the terms of the session `terms`; adjusted ones know every split."""
    rows = warehouse.rows(read_sql(HERE, "paper_bars"), {"symbol": symbol, "first": days[0], "last": days[1]})
    now = context.snapshot.factor(symbol, terms)
    return [PaperBar(row[0], *(float(price) / now for price in row[1:])) for row in rows if all(map(math.isfinite, row[1:]))]
