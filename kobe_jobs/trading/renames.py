"""Positions whose symbol was changed: followed where the vendor names the change and the broker shows the shares under it."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from kobe_jobs.trading.context import SessionContext
from kobe_resources.order_ledger import Position
from kobe_resources.order_ledger.positions import is_same_qty, open_positions, rename


def follow_renames(context: SessionContext) -> None:
    """Let positions carry the newest symbol of their `name_change`s, once the broker holds the very shares under it.

    One may take the name that another gives up on the same day; else the broker must hold none under the old one.
    """
    held = open_positions(context.ledger, context.account)
    names = {p.id: context.snapshot.names_of(p.symbol, p.entry_session, context.session)[-1] for p in held}
    renamed = {p.symbol: names[p.id] for p in held if names[p.id] != p.symbol}
    if not renamed or not context.sends:
        return
    there = {row.symbol: row.qty for row in context.broker.positions()}
    moves = fitting_renames(held, renamed, there)
    moves = [(p, name) for p, name in moves if is_same_qty(there.get(name, Decimal(0)), p.signed_qty)]
    if not moves:
        return
    with context.ledger.write() as write:
        rename(write, moves, "name_change: " + ", ".join(f"{p.symbol} is {name}" for p, name in moves))
    for position, symbol in moves:
        day = context.snapshot.renames[position.symbol][0]
        context.note(f"{position.symbol} is called {symbol} since {day}: its position goes on under that name")


def fitting_renames(
    held: list[Position], renamed: Mapping[str, str], there: Mapping[str, Decimal]
) -> list[tuple[Position, str]]:  # fmt: skip
    """The positions of `held` with the names that they may take, together. renamed: old to new; there: shares by symbol.

    A name is taken by one position and given up by another, or free on its side; what must stay makes others stay.
    """
    moves = {p.symbol: (p, renamed[p.symbol]) for p in held if p.symbol in renamed}
    names = {p.symbol for p in held}
    while True:
        taken = [new for _, new in moves.values()]
        stuck = [
            old for old, (_, new) in moves.items()
            if taken.count(new) > 1 or (new in names and new not in moves) or (old in there and old not in taken)
        ]  # fmt: skip
        if not stuck:
            return list(moves.values())
        for old in stuck:
            del moves[old]
