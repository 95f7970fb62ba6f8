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
from kobe_resources.broker.protocol import Side
from kobe_resources.broker.quotes import exit_limit
from kobe_resources.order_ledger import LedgerOrder, OrderPlan, OrderState, Position
from kobe_resources.order_ledger import orders as book
from kobe_resources.order_ledger.paper import fill_on_paper
from kobe_resources.order_ledger.positions import open_positions, position
from kobe_resources.runtime.sql_files import read_sql
from kobe_resources.warehouse.store import Warehouse

HERE = Path(__file__).parent
ZERO = Decimal(0)


class PaperBar(NamedTuple):
    """One bar as traded in the terms of the session that is traded now."""

    session: dt.date
    open: float
    high: float
    low: float


def follow_bars(context: SessionContext) -> None:
    """Let what the bars since the last run decided happen: waiting entries fill, then stops. Nothing where orders are sent."""
    if context.sends:
        return
    warehouse = Warehouse()
    for order in _waiting(context):
        _fill_from_bar(context, order, _bars(context, warehouse, order.symbol, order.session, order.session))
    for held in open_positions(context.ledger, context.account):
        after = held.bars_through or held.entry_session - dt.timedelta(days=1)
        first = max(held.entry_session, after + dt.timedelta(days=1))
        _stop_in(context, held, _bars(context, warehouse, held.symbol, first, context.signal_session))


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
    """Dollars that the paper book has left of the simulation's initial cash."""
    cash = Decimal(repr(context.settings.simulation.initial_cash))
    for row in context.ledger.rows("SELECT side, qty, price FROM fills WHERE account = ?", (context.account,)):
        worth = Decimal(row["qty"]) * Decimal(row["price"])
        cash += worth if row["side"] == "sell" else -worth
    return max(cash, ZERO)


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
        slip, is_buy, limit = context.settings.costs.slippage_bps / 10_000, order.side == "buy", float(order.limit_price)
        bar = bars[0]
        if order.time_in_force == "opg":
            met = bar.open * (1.0 + slip if is_buy else 1.0 - slip)
            is_filled = bar.open <= limit if is_buy else bar.open >= limit
        else:
            met = min(bar.open, limit) if is_buy else max(bar.open, limit)
            is_filled = bar.low <= limit if is_buy else bar.high >= limit
        if is_filled:
            _enter(context, order, Decimal(repr(met)), bar.session)
            return
    with context.ledger.write() as write:
        # It met nothing, and its dollars are free.
        book.free_reservation(write, order)


def _stop_in(context: SessionContext, held: Position, bars: list[PaperBar]) -> None:
    """Leave at the first bar that went through the stop: at the stop, or at an open beyond it, less the slippage."""
    stops = [
        i for i in book.of_position(context.ledger, held.id) if i.purpose == book.STOP and i.state is OrderState.WOULD_SEND
    ]
    level, is_long = float(held.stop_price), held.side == "long"
    hit = next((bar for bar in bars if (bar.low <= level if is_long else bar.high >= level)), None)
    if hit is None or not stops or not level > 0:
        return
    slip = context.settings.costs.slippage_bps / 10_000
    met = min(hit.open, level) * (1.0 - slip) if is_long else max(hit.open, level) * (1.0 + slip)
    with context.ledger.write() as write:
        # The stop was written down in shares of its day; a split since has changed both.
        write.execute(
            "UPDATE intents SET qty = ? WHERE client_order_id = ?", (book.text_of(held.qty), stops[-1].client_order_id)
        )
        fill_on_paper(write, book.get(write, stops[-1].client_order_id), Decimal(repr(met)), hit.session)
    context.note(f"{held.symbol} would have left at its stop in session {hit.session}")


def _bars(context: SessionContext, warehouse: Warehouse, symbol: str, first: dt.date, last: dt.date) -> list[PaperBar]:
    """The stored bars of some sessions, in the terms of the session that is traded now; adjusted ones know every split."""
    rows = warehouse.rows(read_sql(HERE, "paper_bars"), {"symbol": symbol, "first": first, "last": last})
    now = context.evidence.factor(symbol, context.session)
    return [PaperBar(row[0], *(float(price) / now for price in row[1:])) for row in rows if all(map(math.isfinite, row[1:]))]
