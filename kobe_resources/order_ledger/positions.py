"""Positions: opened and closed by fills alone, aged by bars, rescaled by splits; every change in the caller's transaction.

Shares and prices, those of the entry too, are as traded now; `split_factor` is how many shares of today one share of the
entry day became. Which splits a position has lived through is what the chain says was applied to it, not a date.
"""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from typing import Literal

from kobe_resources.broker.quotes import on_tick, stop_price
from kobe_resources.order_ledger.orders import ENTRY, ZERO, LedgerOrder, text_of
from kobe_resources.order_ledger.states import UNSETTLED
from kobe_resources.order_ledger.store import OrderLedger, Write

DUST = Decimal("1e-9")
"""Shares that no broker can hold: the ninth decimal is its last."""
SAME_SHARES = Decimal("1e-6")
"""Two numbers of shares that lie no further apart differ by the noise of fractions alone; see also `is_same_qty`."""
UNLISTED = "delisted"
"""The flag of a position whose symbol has gone from the broker's list, or has no bars any more."""


@dataclass(frozen=True, slots=True)
class Position:
    """A position, open or closed; `id` is the client id of its entry, `flag` the reason of its exit at the next open."""

    id: str
    account: str
    strategy: str
    symbol: str
    side: Literal["long", "short"]
    signal_session: dt.date
    entry_session: dt.date
    entry_qty: Decimal
    entry_price: Decimal
    qty: Decimal
    stop_distance: Decimal
    stop_price: Decimal
    split_factor: Decimal
    splits_through: dt.date
    bars_held: int
    bars_through: dt.date | None
    flag: str | None
    exit_session: dt.date | None
    exit_qty: Decimal
    exit_value: Decimal
    exit_reason: str | None
    is_open: bool
    opened_at: dt.datetime
    closed_at: dt.datetime | None

    @property
    def signed_qty(self) -> Decimal:
        """Open shares, negative when short."""
        return self.qty if self.side == "long" else -self.qty

    @property
    def split_fraction(self) -> Decimal:
        """Open shares that a split left beyond whole ones; 0 for a position that no split has touched."""
        if self.split_factor == 1:
            return ZERO
        fraction = self.qty - self.qty.to_integral_value(ROUND_DOWN)
        return fraction if SAME_SHARES < fraction < 1 - SAME_SHARES else ZERO

    @property
    def exit_price(self) -> Decimal | None:
        """Average price of the shares that left."""
        return self.exit_value / self.exit_qty if self.exit_qty else None


def is_same_qty(one: Decimal, other: Decimal) -> bool:
    """The same number of shares, but for the noise of fractions: a millionth of a share, or of the larger number over one.

    For what a position and an order are compared by as a whole. Where the parts of a share that a split left decide, or
    whether an order is the one that was sent, the bound stays SAME_SHARES however many shares there are.
    """
    return abs(one - other) <= SAME_SHARES * max(abs(one), abs(other), Decimal(1))


def open_positions(ledger: OrderLedger | Write, account: str) -> list[Position]:
    """What the account holds, oldest first."""
    return _select(ledger, "WHERE account = ? AND is_open = 1 ORDER BY rowid", (account,))


def open_symbols(ledger: OrderLedger) -> set[str]:
    """What any account of this ledger holds."""
    return {row["symbol"] for row in ledger.rows("SELECT DISTINCT symbol FROM positions WHERE is_open = 1")}


def all_positions(ledger: OrderLedger | Write, account: str, strategy: str | None = None) -> list[Position]:
    """Every position ever, oldest first."""
    if strategy is None:
        return _select(ledger, "WHERE account = ? ORDER BY rowid", (account,))
    return _select(ledger, "WHERE account = ? AND strategy = ? ORDER BY rowid", (account, strategy))


def positions_since(ledger: OrderLedger | Write, account: str, session: dt.date) -> list[Position]:
    """What the account held at the close before `session`, or entered in it, oldest first."""
    sql = "WHERE account = ? AND (is_open = 1 OR exit_session >= ?) ORDER BY rowid"
    return _select(ledger, sql, (account, session.isoformat()))


def realised_before(ledger: OrderLedger | Write, account: str, session: dt.date) -> float:
    """Dollars that the positions closed before `session` made."""
    rows = ledger.connection.execute(
        "SELECT total(CASE side WHEN 'long' THEN 1 ELSE -1 END"
        " * (CAST(exit_value AS REAL) - CAST(exit_qty AS REAL) * CAST(entry_price AS REAL))) AS earned"
        " FROM positions WHERE account = ? AND is_open = 0 AND exit_session < ?",
        (account, session.isoformat()),
    ).fetchall()
    return float(rows[0]["earned"])


def position(ledger: OrderLedger | Write, position_id: str) -> Position | None:
    """The position with this id, or None."""
    found = _select(ledger, "WHERE id = ?", (position_id,))
    return found[0] if found else None


def held_symbols(ledger: OrderLedger | Write, account: str, session: dt.date) -> set[str]:
    """Symbols that may not be entered in `session`: held at the close before it, or entered in it (rules, section 4.2)."""
    rows = ledger.connection.execute(
        "SELECT symbol FROM positions WHERE account = ? AND (is_open = 1 OR entry_session = ? OR exit_session >= ?)",
        (account, session.isoformat(), session.isoformat()),
    ).fetchall()
    return {row["symbol"] for row in rows}


def enter(write: Write, order: LedgerOrder, qty: Decimal, price: Decimal) -> None:
    """Book a fill of an entry at `price`: open its position, or add to it."""
    side = "long" if order.side == "buy" else "short"
    distance = order.stop_distance or ZERO
    known = position(write, order.client_order_id)
    if known is None:
        session = order.session.isoformat()
        stop = stop_price(float(price), float(distance), side == "long")
        write.execute(
            "INSERT INTO positions (id, account, strategy, symbol, side, signal_session, entry_session, entry_qty, entry_price,"
            " qty, stop_distance, stop_price, splits_through, opened_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                order.client_order_id, order.account, order.strategy, order.symbol, side, order.signal_session.isoformat(),
                session, text_of(qty), text_of(price), text_of(qty), text_of(distance), text_of(stop), session,
                write.now.isoformat(),
            ),
        )  # fmt: skip
    else:
        total = known.entry_qty + qty
        average = (known.entry_qty * known.entry_price + qty * price) / total
        stop = stop_price(float(average), float(distance), side == "long")
        write.execute(
            "UPDATE positions SET entry_qty = ?, entry_price = ?, qty = ?, stop_price = ?, is_open = 1, closed_at = NULL"
            " WHERE id = ?",
            (text_of(total), text_of(average), text_of(known.qty + qty), text_of(stop), known.id),
        )
    write.audit("position_entered", position=order.client_order_id, symbol=order.symbol, qty=text_of(qty), price=text_of(price))


def leave(write: Write, position_id: str, qty: Decimal, price: Decimal, session: dt.date, reason: str) -> None:
    """Shares of a position left at `price`; with the last of them it closes."""
    known = position(write, position_id)
    if known is None:
        return
    rest = known.qty - qty
    over = -rest if rest < -DUST else ZERO
    is_open = rest > DUST
    write.execute(
        "UPDATE positions SET qty = ?, exit_qty = ?, exit_value = ?, exit_session = ?, exit_reason = ?, is_open = ?,"
        " closed_at = ? WHERE id = ?",
        (
            text_of(rest if is_open else ZERO), text_of(known.exit_qty + qty), text_of(known.exit_value + qty * price),
            session.isoformat(), reason, int(is_open), None if is_open else write.now.isoformat(), position_id,
        ),
    )  # fmt: skip
    write.audit(
        "position_left", position=position_id, symbol=known.symbol, qty=text_of(qty), price=text_of(price), reason=reason,
        rest=text_of(rest),
    )  # fmt: skip
    if over:
        # The broker sold more than we held: reconciliation will show a position that is not ours.
        write.audit("overfilled", position=position_id, symbol=known.symbol, by=text_of(over))


def age(write: Write, known: Position, bars: int, through: dt.date, flag: str | None) -> None:
    """Set the bars held to `bars`, counted through session `through`; a flag once set stays."""
    write.execute(
        "UPDATE positions SET bars_held = ?, bars_through = ?, flag = coalesce(flag, ?) WHERE id = ?",
        (bars, through.isoformat(), flag, known.id),
    )
    if flag and not known.flag:
        write.audit("flagged", position=known.id, symbol=known.symbol, reason=flag, bars_held=bars)


def flag_for_exit(write: Write, known: Position, reason: str) -> None:
    """Flag a position for exit at the next open, independent of its bars."""
    write.execute("UPDATE positions SET flag = ? WHERE id = ?", (reason, known.id))
    write.audit("flagged", position=known.id, symbol=known.symbol, reason=reason, bars_held=known.bars_held)


def rescale(write: Write, known: Position, split_from: Decimal, split_to: Decimal, through: dt.date) -> None:
    """Apply a split: shares are multiplied and prices divided, so that worth and risk stay."""
    ratio = split_to / split_from
    exact = float(known.stop_price / ratio)
    stop = known.stop_price / ratio
    # A stop off the tick by a float's noise is on it.
    near = on_tick(exact, up=known.side == "short") if exact > 0 else stop
    stop = near if abs(near - stop) < Decimal("1e-6") else stop
    write.execute(
        "UPDATE positions SET entry_qty = ?, entry_price = ?, qty = ?, exit_qty = ?, stop_distance = ?, stop_price = ?,"
        " split_factor = ?, splits_through = ? WHERE id = ?",
        (
            text_of(known.entry_qty * ratio), text_of(known.entry_price / ratio), text_of(known.qty * ratio),
            text_of(known.exit_qty * ratio), text_of(known.stop_distance / ratio), text_of(stop),
            text_of(known.split_factor * ratio), through.isoformat(), known.id,
        ),
    )  # fmt: skip
    write.audit(
        "split_applied", position=known.id, symbol=known.symbol, split_from=text_of(split_from), split_to=text_of(split_to),
        through=through,
    )  # fmt: skip


def applied_splits(source: OrderLedger | Write, position_id: str) -> list[tuple[dt.date, Decimal]]:
    """(execution date, new shares for one) of every split that a position was rescaled by, as the chain has it."""
    bodies = [
        json.loads(row["body"])
        for row in source.connection.execute("SELECT body FROM audit WHERE kind = 'split_applied'").fetchall()
    ]
    return [
        (dt.date.fromisoformat(body["through"]), Decimal(body["split_to"]) / Decimal(body["split_from"]))
        for body in bodies
        if body["position"] == position_id
    ]


def split_ratio_since(source: OrderLedger | Write, known: Position, session: dt.date) -> Decimal:
    """Shares of now that one share of `session` became by the splits applied to the position."""
    ratio = Decimal(1)
    if known.split_factor != 1:
        for executed, step in applied_splits(source, known.id):
            ratio *= step if executed > session else 1
    return ratio


def grow(write: Write, known: Position, qty: Decimal, price: Decimal) -> None:
    """Take shares that came without an order of ours into a position, at `price`; its stop stays where it is."""
    total = known.entry_qty + qty
    average = (known.entry_qty * known.entry_price + qty * price) / total
    write.execute(
        "UPDATE positions SET entry_qty = ?, entry_price = ?, qty = ? WHERE id = ?",
        (text_of(total), text_of(average), text_of(known.qty + qty), known.id),
    )
    write.audit("position_entered", position=known.id, symbol=known.symbol, qty=text_of(qty), price=text_of(price))


def rename(write: Write, moves: Sequence[tuple[Position, str]], reason: str) -> None:
    """Change the symbols of positions, and of their orders that may still fill, to the broker's new ones.

    All at once, because a new name may be the one that another of them gives up.
    """
    for known, _ in moves:
        write.execute("UPDATE positions SET symbol = id WHERE id = ?", (known.id,))
    for known, symbol in moves:
        _rename(write, known, symbol, reason)


def _rename(write: Write, known: Position, symbol: str, reason: str) -> None:
    # What the broker had no longer listed was listed under its new name.
    write.execute("UPDATE positions SET symbol = ?, flag = nullif(flag, ?) WHERE id = ?", (symbol, UNLISTED, known.id))
    states = sorted(str(state) for state in UNSETTLED)
    marks = ", ".join("?" * len(states))
    write.execute(
        f"UPDATE intents SET symbol = ? WHERE position_id = ? AND state IN ({marks})",  # noqa: S608
        (symbol, known.id, *states),
    )
    write.audit("position_renamed", position=known.id, symbol=symbol, old_symbol=known.symbol, reason=reason)


def apply_fill(write: Write, order: LedgerOrder, qty: Decimal, price: Decimal, session: dt.date) -> None:
    """Let a fill of `order` open or close what it belongs to; shares that left before a split count in shares of now."""
    if order.purpose == ENTRY:
        enter(write, order, qty, price)
        return
    known = position(write, order.position_id) if order.position_id else None
    if known is not None:
        ratio = split_ratio_since(write, known, session)
        leave(write, known.id, qty * ratio, price / ratio, session, order.reason or order.purpose)


_SELECT = "SELECT * FROM positions "


def _select(source: OrderLedger | Write, where: str, parameters: tuple[str, ...]) -> list[Position]:
    return [_position(row) for row in source.connection.execute(_SELECT + where, parameters)]


def _position(row: sqlite3.Row) -> Position:
    values = dict(row)
    for name in ("entry_qty", "entry_price", "qty", "stop_distance", "stop_price", "split_factor", "exit_qty", "exit_value"):
        values[name] = Decimal(values[name])
    for name in ("signal_session", "entry_session", "splits_through", "bars_through", "exit_session"):
        values[name] = None if values[name] is None else dt.date.fromisoformat(values[name])
    for name in ("opened_at", "closed_at"):
        values[name] = None if values[name] is None else dt.datetime.fromisoformat(values[name])
    values["is_open"] = bool(values["is_open"])
    return Position(**values)
