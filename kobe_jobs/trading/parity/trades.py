"""The ledger's positions as trades in adjusted prices, so that they can be laid beside simulated ones."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from kobe_jobs.trading.entries import SHARE
from kobe_jobs.trading.market_snapshot import MarketSnapshot
from kobe_jobs.trading.parity.compare import Fate, Trade
from kobe_resources.order_ledger import OrderLedger, OrderState, Position
from kobe_resources.order_ledger import orders as book
from kobe_resources.order_ledger.positions import all_positions

if TYPE_CHECKING:
    import pandas as pd


def ledger_trades(ledger: OrderLedger, account: str, strategy: str | None, snapshot: MarketSnapshot) -> list[Trade]:
    """Every position of the account and strategy (none: of all), open ones with no exit."""
    return [ledger_trade(held, snapshot) for held in all_positions(ledger, account, strategy)]


def ledger_fates(ledger: OrderLedger, account: str, strategy: str | None) -> dict[tuple[str, dt.date], Fate]:
    """What became of every signal that was decided, by (symbol, signal session). strategy: none for all of a book.

    Of two strategies' signals in one symbol the one that was not refused counts.
    """
    rows = ledger.rows(
        "SELECT client_order_id FROM intents WHERE account = ?1 AND ?2 IN ('', strategy) AND leg = ?3"
        " ORDER BY state = 'VETOED' DESC, rowid",
        (account, strategy or "", book.ENTRY),
    )
    missed: dict[str, set[dt.date]] = {}
    for row in ledger.rows("SELECT position_id, session, leg, state FROM intents WHERE account = ?", (account,)):
        if row["leg"].startswith(book.EXIT) and row["state"] != OrderState.FILLED:
            missed.setdefault(row["position_id"], set()).add(dt.date.fromisoformat(row["session"]))
    fates = {}
    for row in rows:
        entry = book.get(ledger, row["client_order_id"])
        key = (entry.symbol, entry.signal_session)
        fates[key] = Fate(str(entry.state), entry.reason, frozenset(missed.get(entry.client_order_id, ())))
    return fates


def simulated_trades(frame: pd.DataFrame) -> list[Trade]:
    """Rows of `book_trades` as trades."""
    return [
        Trade(
            symbol=str(row.symbol), side=str(row.side), signal_session=row.signal_session.date(),
            entry_session=row.entry_session.date(), entry_price=float(row.entry_price), shares=float(row.shares),
            exit_session=row.exit_session.date(), exit_price=float(row.exit_price), exit_reason=str(row.exit_reason),
        )
        for row in frame.itertuples(index=False)
    ]  # fmt: skip


def ledger_trade(held: Position, snapshot: MarketSnapshot) -> Trade:
    """A position as a trade in adjusted prices; its prices are stored in today's shares, and returned as of the entry day."""
    entry_factor = snapshot.factor(held.symbol, held.entry_session)
    closed = not held.is_open and held.exit_session is not None and held.exit_price is not None
    exit_price = None
    if closed and held.exit_price is not None:
        # A stop that filled on the eve of a split may be booked after it, in shares of then, as the entry is.
        exit_price = float(held.exit_price * held.split_factor) * entry_factor
    return Trade(
        symbol=held.symbol, side=held.side, signal_session=held.signal_session, entry_session=held.entry_session,
        entry_price=float(held.entry_price * held.split_factor) * entry_factor,
        shares=float(held.entry_qty / held.split_factor) / entry_factor,
        exit_session=held.exit_session if closed else None, exit_price=exit_price,
        exit_reason=held.exit_reason if closed else None, share_step=float(SHARE) / entry_factor,
    )  # fmt: skip
