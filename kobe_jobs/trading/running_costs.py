"""What the ledger's positions have cost and earned beside their prices: fees, dividends, borrowing, by the simulation's rules.

Computed anew from fills, settings and stored tables, so that the gate's equity, and the one that the account page shows, is the
simulation's (rules, section 4); what the broker really billed is in the account's activities.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable

import numpy as np

from kobe_jobs.trading.context import SessionContext
from kobe_jobs.trading.market_snapshot import MarketSnapshot
from kobe_resources.broker.exchange.billing import Billing
from kobe_resources.broker.open import billing_of
from kobe_resources.order_ledger import OrderLedger, Position, Write
from kobe_resources.order_ledger.positions import all_positions
from kobe_resources.settings.models import Settings


def costs_through(context: SessionContext, source: OrderLedger | Write, session: dt.date) -> float:
    """Dollars of dividends less fees and borrowing of every position through the close of `session`."""
    held = all_positions(source, context.account)
    days = session, context.session
    return math.fsum(
        dollars for _, dollars in moved_by_costs(context.settings, context.snapshot, source, held, context.account, days)
    )


def moved_by_costs(
    settings: Settings, snapshot: MarketSnapshot, source: OrderLedger | Write, every: Iterable[Position], account: str,
    through: tuple[dt.date, dt.date],
) -> list[tuple[dt.date, float]]:  # fmt: skip
    """(session, dollars) of each dividend, fee and night of borrowing of the positions `every`; negative where they left.

    through: the last session, and the one after it, up to which a short is borrowed.
    """
    billing = billing_of(settings)
    moved = [(day, -fee) for day, fee in _fees(source, account, billing, through[0])]
    for held in every:
        moved += _dividends(snapshot, held, through[0])
        if billing.borrow_rate:
            moved += _borrowing(snapshot, held, billing, through)
    return moved


def _fees(source: OrderLedger | Write, account: str, billing: Billing, last: dt.date) -> list[tuple[dt.date, float]]:
    """What the fills of each order and session were charged."""
    rows = source.connection.execute(
        "SELECT client_order_id, side, session, total(CAST(qty AS REAL)) AS qty,"
        " total(CAST(qty AS REAL) * CAST(price AS REAL)) AS worth FROM fills WHERE account = ? AND session <= ?"
        " GROUP BY client_order_id, side, session",
        (account, last.isoformat()),
    ).fetchall()
    return [
        (day, billing.of_order(row["side"] == "sell", row["qty"], row["worth"] / row["qty"], day))
        for row in rows
        if row["qty"] and (day := dt.date.fromisoformat(row["session"]))
    ]


def _dividends(snapshot: MarketSnapshot, held: Position, last: dt.date) -> list[tuple[dt.date, float]]:
    """What was held at the bar before an ex-date is paid at the first bar from it on; a short pays."""
    bars, paid = snapshot.bars.get(held.symbol), snapshot.dividends.get(held.symbol, ())
    if bars is None or not paid:
        return []
    last = min(last, held.exit_session) if held.exit_session is not None and not held.is_open else last
    days = bars.session[(bars.session > np.datetime64(held.entry_session)) & (bars.session <= np.datetime64(last))]
    side = 1.0 if held.side == "long" else -1.0
    moved = []
    for ex_date, amount in paid:
        place = int(np.searchsorted(days, np.datetime64(ex_date)))
        if ex_date > held.entry_session and place < len(days):
            day: dt.date = days[place].item()
            moved.append((day, side * _shares_on(snapshot, held, day) * amount))
    return moved


def _borrowing(
    snapshot: MarketSnapshot, held: Position, billing: Billing, through: tuple[dt.date, dt.date]
) -> list[tuple[dt.date, float]]:  # fmt: skip
    """What a short has paid for each night that it was open."""
    bars = snapshot.bars.get(held.symbol)
    if held.side == "long" or bars is None:
        return []
    sessions, (last, following) = snapshot.sessions, through
    moved = []
    for place in np.flatnonzero((sessions >= np.datetime64(held.entry_session)) & (sessions <= np.datetime64(last))):
        night: dt.date = sessions[place].item()
        is_gone = not held.is_open and held.exit_session is not None and held.exit_session <= night
        seen = bars.count(dt.date.min, night)
        after = sessions[place + 1].item() if place + 1 < len(sessions) else following
        if not is_gone and seen:
            close = float(bars.close[seen - 1])
            adjusted = _shares_on(snapshot, held, night) / snapshot.factor(held.symbol, night)
            moved.append((night, -billing.of_borrowing(adjusted * close, (after - night).days)))
    return moved


def _shares_on(snapshot: MarketSnapshot, held: Position, day: dt.date) -> float:
    """The position's shares as traded on a day: those of its entry, over the splits since."""
    entered = float(held.entry_qty / held.split_factor)
    return entered / snapshot.factor(held.symbol, held.entry_session) * snapshot.factor(held.symbol, day)
