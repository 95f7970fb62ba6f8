"""What the ledger's positions have cost and earned beside their prices: fees, dividends, borrowing, by the simulation's rules.

Computed anew from fills, settings and stored tables, so that the gate's equity is the simulation's (rules, section 4); what the
broker really billed is in the account's activities.
"""

from __future__ import annotations

import datetime as dt
import math

import numpy as np

from kobe_jobs.trading.context import SessionContext
from kobe_resources.broker.exchange.billing import Billing
from kobe_resources.broker.open import billing_of
from kobe_resources.order_ledger import OrderLedger, Position, Write
from kobe_resources.order_ledger.positions import all_positions


def costs_through(context: SessionContext, source: OrderLedger | Write, session: dt.date) -> float:
    """Dollars of dividends less fees and borrowing of every position through the close of `session`."""
    billing = billing_of(context.settings)
    fees = _fees(source, context.account, billing, session)
    positions = [held for held in all_positions(source, context.account) if held.entry_session <= session]
    received = math.fsum(_dividends(context, held, session) for held in positions)
    borrowed = math.fsum(_borrowing(context, held, session, billing) for held in positions) if billing.borrow_rate else 0.0
    return received - fees - borrowed


def _fees(source: OrderLedger | Write, account: str, billing: Billing, session: dt.date) -> float:
    """What the fills of each order and session were charged."""
    rows = source.connection.execute(
        "SELECT client_order_id, side, session, total(CAST(qty AS REAL)) AS qty,"
        " total(CAST(qty AS REAL) * CAST(price AS REAL)) AS worth FROM fills WHERE account = ? AND session <= ?"
        " GROUP BY client_order_id, side, session",
        (account, session.isoformat()),
    ).fetchall()
    return math.fsum(
        billing.of_order(row["side"] == "sell", row["qty"], row["worth"] / row["qty"], dt.date.fromisoformat(row["session"]))
        for row in rows
        if row["qty"]
    )


def _dividends(context: SessionContext, held: Position, session: dt.date) -> float:
    """What was held at the bar before an ex-date is paid at the first bar from it on; a short pays."""
    bars, paid = context.evidence.bars.get(held.symbol), context.evidence.dividends.get(held.symbol, ())
    if bars is None or not paid:
        return 0.0
    last = min(session, held.exit_session) if held.exit_session is not None and not held.is_open else session
    days = bars.session[(bars.session > np.datetime64(held.entry_session)) & (bars.session <= np.datetime64(last))]
    side = 1.0 if held.side == "long" else -1.0
    total = 0.0
    for ex_date, amount in paid:
        place = int(np.searchsorted(days, np.datetime64(ex_date)))
        if ex_date > held.entry_session and place < len(days):
            total += side * _shares_on(context, held, days[place].item()) * amount
    return total


def _borrowing(context: SessionContext, held: Position, session: dt.date, billing: Billing) -> float:
    """What a short has paid for each night that it was open."""
    bars = context.evidence.bars.get(held.symbol)
    if held.side == "long" or bars is None:
        return 0.0
    sessions = context.evidence.sessions
    total = 0.0
    for place in np.flatnonzero((sessions >= np.datetime64(held.entry_session)) & (sessions <= np.datetime64(session))):
        night: dt.date = sessions[place].item()
        is_gone = not held.is_open and held.exit_session is not None and held.exit_session <= night
        seen = bars.count(dt.date.min, night)
        following = sessions[place + 1].item() if place + 1 < len(sessions) else context.session
        if not is_gone and seen:
            close = float(bars.close[seen - 1])
            adjusted = _shares_on(context, held, night) / context.evidence.factor(held.symbol, night)
            total += billing.of_borrowing(adjusted * close, (following - night).days)
    return total


def _shares_on(context: SessionContext, held: Position, day: dt.date) -> float:
    """The position's shares as traded on a day: those of its entry, over the splits since."""
    evidence = context.evidence
    entered = float(held.entry_qty / held.split_factor)
    return entered / evidence.factor(held.symbol, held.entry_session) * evidence.factor(held.symbol, day)
