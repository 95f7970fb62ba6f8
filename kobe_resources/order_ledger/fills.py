"""Rows of fills: one a step in which an order's filled shares grew, and the cash that they moved."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

from kobe_resources.order_ledger.orders import ZERO, LedgerOrder, text_of
from kobe_resources.order_ledger.store import OrderLedger, Write


def insert_fill(
    write: Write, order: LedgerOrder, cum_qty: Decimal, qty: Decimal, price: Decimal, session: dt.date, at: dt.datetime
) -> None:
    """Add the fill of `qty` shares that brought an order to `cum_qty`; its position is `positions.apply_fill`'s to change."""
    write.execute(
        "INSERT INTO fills (client_order_id, cum_qty, account, symbol, side, qty, price, session, at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            order.client_order_id, text_of(cum_qty), order.account, order.symbol, order.side, text_of(qty), text_of(price),
            session.isoformat(), at.isoformat(),
        ),
    )  # fmt: skip


def cash_of_fills(ledger: OrderLedger, account: str, after: int = 0) -> tuple[Decimal, int]:
    """(dollars that an account's fills moved, the number of the last of them). after: the number of one; later ones count."""
    rows = ledger.rows(
        "SELECT rowid, side, qty, price FROM fills WHERE account = ? AND rowid > ? ORDER BY rowid", (account, after)
    )
    moved = sum(((1 if row["side"] == "sell" else -1) * Decimal(row["qty"]) * Decimal(row["price"]) for row in rows), ZERO)
    return moved, rows[-1]["rowid"] if rows else after
