"""The account's cash against the ledger's fills and what moved cash without one: dividends, interest, fees, deposits.

What neither fills nor the account's activities explain is a difference; a loss of it halts.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from kobe_jobs.trading.context import SessionContext, day_start
from kobe_jobs.trading.reconcile.difference import Difference
from kobe_resources.broker.protocol import BrokerActivity, BrokerUnavailable, Unauthorized
from kobe_resources.order_ledger.fills import cash_of_fills

CASH_NOISE = Decimal("1.00")
"""Dollars by which the broker's rounding may move cash between two looks."""
CENT = Decimal("0.01")
SMALL_LOSS = Decimal("0.001")
"""Where the account's activities cannot be asked, a loss of so small a part of the cash is told and halts nothing: fees and
interest are of that size."""
LATE_DAYS = 7
"""An activity may be booked so many days after the day it is told for."""
KINDS = {"DIV": "dividends", "FEE": "fees", "INT": "interest", "CSD": "deposits", "CSW": "withdrawals", "CIL": "cash in lieu"}


def compare_cash(
    context: SessionContext, cash: Decimal, last: Mapping[str, Any] | None
) -> tuple[list[Difference], dict[str, Any]]:
    """Cash must have moved by our fills and the activities since the last agreement; more than that is reported, less halts.

    last: the last agreement. The rows, and what the next comparison starts from. More cash than is explained is the ground of
    the next comparison only where a later session still sees it: at once it may be an account that lags behind its fills, and
    would call the true cash a loss ever after.
    """
    ground = last["snapshot"] if last else {}
    moved, through = cash_of_fills(context.ledger, context.account, ground.get("fills_through", 0))
    activities = _activities(context, last)
    details: dict[str, Any] = {"cash": str(cash), "cash_seen": str(cash), "fills_through": through}
    if activities is not None:
        details["activities"] = {row.id: str(row.amount) for row in activities}
    if last is None:
        return [], details
    new = _new(activities or [], last)
    expected = Decimal(ground["cash"]) + moved + sum((amount for _, amount in new), Decimal(0))
    described = "" if context.ledger.disposable else _described(new)
    if described:
        context.note(f"cash moved without a trade: {described}")
    surplus = cash - expected
    if abs(surplus) <= CASH_NOISE:
        return [], details
    is_small = activities is None and abs(surplus) <= SMALL_LOSS * abs(expected)
    seen = _dollars(cash) + (", and the account's activities cannot be asked" if activities is None else "")
    difference = Difference("cash", "account", _dollars(expected), seen, halts=surplus < 0 and not is_small)
    if surplus < 0:
        return [difference], details
    before = ground.get("surplus")
    is_known = before is not None and abs(Decimal(before["amount"]) - surplus) <= CASH_NOISE
    since = before["since"] if before is not None and is_known else context.session.isoformat()
    if since < context.session.isoformat():
        return [difference], details
    return [difference], {**details, "cash": str(expected), "surplus": {"amount": str(surplus), "since": since}}


def _activities(context: SessionContext, last: Mapping[str, Any] | None) -> list[BrokerActivity] | None:
    """What moved cash of late; None where the broker does not say."""
    since = dt.date.fromisoformat(last["session"]) if last else context.session
    try:
        return context.broker.activities(day_start(since - dt.timedelta(days=LATE_DAYS)))
    except (BrokerUnavailable, Unauthorized):
        # Keys that may ask for nothing else either have failed before.
        return None


def _new(activities: list[BrokerActivity], last: Mapping[str, Any]) -> list[tuple[str, Decimal]]:
    """(kind, dollars) that the last agreement had not seen: new activities, and what was cancelled or corrected since.

    Of an agreement that saw none, those of its day and later count.
    """
    known = last["snapshot"].get("activities")
    if known is None:
        begun = day_start(dt.date.fromisoformat(last["session"]))
        return [(row.kind, row.amount) for row in activities if row.at >= begun and row.amount]
    if not isinstance(known, dict):
        # Of an earlier Kobe, which kept no amounts.
        known = {row.id: row.amount for row in activities if row.id in set(known)}
    moved = [(row.kind, row.amount - Decimal(known.get(row.id, 0))) for row in activities]
    return [(kind, amount) for kind, amount in moved if amount]


def _described(rows: list[tuple[str, Decimal]]) -> str:
    """Dollars by kind, in words, but for less than a cent."""
    totals: dict[str, Decimal] = {}
    for kind, amount in rows:
        name = KINDS.get(kind, kind)
        totals[name] = totals.get(name, Decimal(0)) + amount
    return ", ".join(f"{name} {_dollars(amount)}" for name, amount in sorted(totals.items()) if abs(amount) >= CENT)


def _dollars(amount: Decimal) -> str:
    return ("−" if amount < 0 else "") + f"${abs(amount):,.2f}"
