"""Positions whose symbol was changed: followed where the vendor names the change and the broker shows the shares under it."""

from __future__ import annotations

from kobe_jobs.trading.context import SessionContext
from kobe_resources.order_ledger.positions import open_positions, rename

SAME_SHARES = 1e-6


def follow_renames(context: SessionContext) -> None:
    """Let positions carry the new symbol of a `name_change`, once the broker holds the very shares under it and none under
    the old one.
    """
    held = [p for p in open_positions(context.ledger, context.account) if p.symbol in context.evidence.renames]
    if not held or not context.sends:
        return
    there = {row.symbol: row.qty for row in context.broker.positions()}
    names = {position.symbol for position in held}
    for position in held:
        day, symbol = context.evidence.renames[position.symbol]
        is_there = abs(float(there.get(symbol, 0) - position.signed_qty)) <= SAME_SHARES
        if not is_there or position.symbol in there or symbol in names or not position.entry_session < day <= context.session:
            continue
        with context.ledger.write() as write:
            rename(write, position, symbol, f"name_change of {day}")
        context.note(f"{position.symbol} is called {symbol} since {day}: its position goes on under that name")
