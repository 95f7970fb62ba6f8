"""The ledger's own book in dollars: what the gate calls equity, and what the account holds beside the order at hand.

Never the account's figures: other money may lie there, and the simulation knows nothing of it (rules, section 4).
"""

from __future__ import annotations

import datetime as dt
import math

from kobe_jobs.trading.context import SessionContext, needs_equity
from kobe_jobs.trading.moments import RunMoment
from kobe_jobs.trading.running_costs import costs_through
from kobe_resources.order_ledger import OrderLedger, Position, Write
from kobe_resources.order_ledger import orders as book
from kobe_resources.order_ledger.positions import positions_since, realised_before
from kobe_resources.policy_gate import Standing


def standing_of(context: SessionContext, source: OrderLedger | Write, cash: float) -> Standing:
    """The account before the session's first entry. cash: dollars after the exits."""
    held = [p for p in positions_since(source, context.account, context.session) if p.entry_session < context.session]
    # What leaves in the auction has left, when its entries are filled.
    still_open = [p for p in held if p.is_open and not _leaves_in_auction(context, source, p)]
    equity, gross = context.settings.simulation.initial_cash, 0.0
    if needs_equity(context.limits):
        equity += realised_before(source, context.account, context.session)
        equity += math.fsum(_gain_at_close(context, p, context.signal_session) for p in held)
        equity += costs_through(context, source, context.signal_session)
        gross = math.fsum(float(p.qty) * last_close(context, p, context.signal_session) for p in still_open)
    return Standing(held=False, equity=equity, positions=len(still_open), spent=0.0, gross=gross, cash=cash)


def _leaves_in_auction(context: SessionContext, source: OrderLedger | Write, held: Position) -> bool:
    if context.moment is not RunMoment.BEFORE_OPEN:
        return False
    exits = [order for order in book.of_position(source, held.id) if order.purpose == book.EXIT]
    return any(context.is_working(order) for order in exits)


def _gain_at_close(context: SessionContext, held: Position, session: dt.date) -> float:
    """Profit of a position that was open at the close of `session`, though it may have left since."""
    shares = float(held.qty + held.exit_qty)
    side = 1.0 if held.side == "long" else -1.0
    return side * shares * (last_close(context, held, session) - float(held.entry_price))


def last_close(context: SessionContext, held: Position, session: dt.date) -> float:
    """The last close up to `session` in dollars as traded today; the price of the entry where no bar is known."""
    bars = context.snapshot.bars.get(held.symbol)
    count = 0 if bars is None else bars.count(dt.date.min, session)
    if bars is None or not count:
        return float(held.entry_price)
    return float(bars.close[count - 1]) / context.snapshot.factor(held.symbol, context.session)
