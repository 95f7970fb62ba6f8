"""The embedded broker's state in one SQLite file: rows in and out, transactions, nothing decided.

Two servers over the same folder share it: whatever reads before it writes does so inside `transaction()`.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import math
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from kobe_resources.broker.exchange.clock import Moment, Phase
from kobe_resources.errors import KobeError
from kobe_resources.runtime.atomic_files import private_folder

SCHEMA = Path(__file__).with_name("state.sql")
OUTSIDE = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}
"""Kinds of error that say nothing of what is stored."""
ROOM = "see that its disk has room and that you may write there"
AFRESH = "remove the folder to start afresh; where it belongs to KOBE_HOME, `kobe account reset` does it"
BUSY_TIMEOUT_S = 20.0
OPEN_STATUSES = ("pending_new", "accepted", "new", "partially_filled", "pending_cancel")
WORKING = "status IN ('pending_new', 'accepted', 'new', 'partially_filled', 'pending_cancel')"
"""In the words of the index, which counts only for a query that has them too."""
ENDS = {"expired": "expired_at", "rejected": "failed_at", "canceled": "canceled_at", "replaced": "replaced_at"}
LATER_COLUMNS = {
    "account": {"initial_cash": "REAL", "vendor": "TEXT"},
    "orders": {"failed_at": "TEXT", "reserve": "REAL", "replaces": "TEXT", "replaced_by": "TEXT", "replaced_at": "TEXT"},
}
"""What a state of an earlier version lacks."""
DUST = 1e-9
"""Shares below this, relative to the order that left them, are rounding and not a position."""

ON_TICK = 1e-6
"""A price this near to a tick, or to a limit, as a share of the tick, is on it (rules, section 4.2)."""

Row = sqlite3.Row


class StateUnusable(KobeError):
    """The file is none of ours, damaged, or cannot be written."""


class State:
    """The SQLite file of `folder`; created with `cash` dollars and standing at `start` where there is none."""

    def __init__(self, folder: Path, account_number: str, cash: float, start: Moment, vendor: str = "") -> None:
        private_folder(folder)
        self.folder = folder
        self._lock = threading.RLock()
        self._depth = 0
        try:
            self._db = sqlite3.connect(
                folder / "broker.sqlite", timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA journal_mode = WAL")
            # A killed process loses nothing; only a power cut could, and this money is play money.
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.executescript(SCHEMA.read_text(encoding="utf-8"))
            with self.transaction():
                self._add_later_columns()
                if self.row("SELECT 1 FROM account") is None:
                    self._create_account(account_number, cash, start, vendor)
        except sqlite3.Error as error:
            # The low byte is the kind. A disk that is full is no reason to throw an account away.
            is_outside = getattr(error, "sqlite_errorcode", 0) & 0xFF in OUTSIDE
            raise StateUnusable(
                f"the embedded broker cannot use {folder} ({error})",
                ROOM if is_outside else AFRESH,
            ) from error

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, alone; nests into the outer one."""
        with self._lock:
            if self._depth:
                yield
                return
            self._db.execute("BEGIN IMMEDIATE")
            self._depth = 1
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                # A full or failing disk has ended the transaction already.
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            finally:
                self._depth = 0

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Everything as it was before, transactions of the block included, where the block raises."""
        with contextlib.closing(sqlite3.connect(":memory:", check_same_thread=False)) as before:
            with self._lock:
                self._db.backup(before)
            try:
                yield
            except BaseException:
                with self._lock:
                    before.backup(self._db)
                raise

    def renew(self, account_number: str, cash: float, start: Moment, vendor: str) -> None:
        """A fresh account without orders, at once or not at all; what was there is gone from this file."""
        with self.transaction():
            for table in ("orders", "positions", "fills", "plans", "activities", "account"):
                self.run(f"DELETE FROM {table}")  # noqa: S608
            self._create_account(account_number, cash, start, vendor)

    def copy_to(self, path: Path) -> None:
        """Write everything into a new file, which is whole or not there."""
        draft = path.with_name(path.name + ".new")
        draft.unlink(missing_ok=True)
        with contextlib.closing(sqlite3.connect(draft)) as copy, self._lock:
            self._db.backup(copy)
        draft.replace(path)

    def rows(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[Row]:
        """The rows of a query."""
        with self._lock:
            return self._db.execute(sql, parameters).fetchall()

    def row(self, sql: str, parameters: Sequence[Any] = ()) -> Row | None:
        """The first row of a query."""
        with self._lock:
            return cast("Row | None", self._db.execute(sql, parameters).fetchone())

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """A statement; inside a transaction where it must not stand alone."""
        with self._lock:
            self._db.execute(sql, parameters)

    def account(self) -> Row:
        """The one account."""
        row = self.row("SELECT * FROM account")
        assert row is not None
        return row

    def moment(self) -> Moment:
        """Where the clock stands."""
        row = self.account()
        return Moment(dt.date.fromisoformat(row["session"]), cast(Phase, row["phase"]), row["ticks"])

    def set_moment(self, moment: Moment) -> None:
        """Set the clock."""
        self.run(
            "UPDATE account SET session = ?, phase = ?, ticks = ?", (moment.session.isoformat(), moment.phase, moment.ticks)
        )

    def order(self, order_id: str) -> Row | None:
        """By the broker's id."""
        return self.row("SELECT * FROM orders WHERE id = ?", (order_id,))

    def order_by_client_id(self, client_order_id: str) -> Row | None:
        """By our id."""
        return self.row("SELECT * FROM orders WHERE client_order_id = ?", (client_order_id,))

    def open_orders(self, symbol: str | None = None) -> list[Row]:
        """Orders that may still fill, oldest first."""
        sql = f"SELECT * FROM orders WHERE {WORKING} AND (?1 IS NULL OR symbol = ?1) ORDER BY seq"  # noqa: S608
        return self.rows(sql, (symbol,))

    def plan(self, order_id: str, due: float, step: str, share: float) -> None:
        """Let a step of an order come at `due`, seconds since 1970."""
        self.run("INSERT INTO plans (order_id, due, step, share) VALUES (?, ?, ?, ?)", (order_id, due, step, share))

    def next_due(self) -> float | None:
        """When the next planned step comes."""
        row = self.row("SELECT min(due) AS due FROM plans")
        return row["due"] if row else None

    def take_plan(self, until: float) -> Row | None:
        """The first step that is due, off the list."""
        row = self.row("SELECT * FROM plans WHERE due <= ? ORDER BY due, seq LIMIT 1", (until,))
        if row is not None:
            self.run("DELETE FROM plans WHERE seq = ?", (row["seq"],))
        return row

    def positions(self) -> list[Row]:
        """Everything held, by symbol."""
        return self.rows("SELECT * FROM positions ORDER BY symbol")

    def position(self, symbol: str) -> float:
        """Shares held, negative when short."""
        row = self.row("SELECT qty FROM positions WHERE symbol = ?", (symbol,))
        return row["qty"] if row else 0.0

    def hide(self, order_id: str, lookups: int, seconds: float) -> None:
        """Let look-ups miss the order for so many times, and for so long."""
        self.run(
            "UPDATE orders SET hidden_lookups = ?, hidden_until = ? WHERE id = ?",
            (lookups, time.time() + seconds if seconds else 0.0, order_id),
        )

    def book_fill(self, order: Row, qty: float, price: float, at: str) -> Row:
        """Book one execution: fill, order, position and cash; the order as it then is. Inside a transaction."""
        filled = order["filled_qty"] + qty
        leaves = order["qty"] - filled
        if abs(leaves) <= DUST * order["qty"]:
            filled, leaves = order["qty"], 0.0
        earlier = order["filled_qty"] * (order["filled_avg_price"] or 0.0)
        # A cancel that waits goes on waiting for the rest.
        part = "pending_cancel" if order["status"] == "pending_cancel" else "partially_filled"
        status = part if leaves else "filled"
        average = price if not order["filled_qty"] else (earlier + qty * price) / filled
        self.run(
            "UPDATE orders SET filled_qty = ?, filled_avg_price = ?, status = ?, filled_at = ?, updated_at = ? WHERE id = ?",
            (filled, average, status, at, at, order["id"]),
        )
        if not leaves:
            self.run("DELETE FROM plans WHERE order_id = ?", (order["id"],))
        self.run(
            "INSERT INTO fills (id, order_id, symbol, side, qty, price, cum_qty, leaves_qty, at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (f"{at}::{uuid.uuid4()}", order["id"], order["symbol"], order["side"], qty, price, filled, leaves, at),
        )
        signed = qty if order["side"] == "buy" else -qty
        self.run("UPDATE account SET cash = cash - ?", (signed * price,))
        self._move_position(order["symbol"], signed, price)
        booked = self.order(order["id"])
        assert booked is not None
        return booked

    def set_status(self, order_id: str, status: str, at: str) -> None:
        """Another status of an order that goes on."""
        self.run("UPDATE orders SET status = ?, updated_at = ? WHERE id = ?", (status, at, order_id))

    def end_order(self, order_id: str, status: str, at: str) -> None:
        """Cancel, expire or reject; nothing more will happen to it."""
        sql = f"UPDATE orders SET status = ?, updated_at = ?, {ENDS[status]} = ? WHERE id = ?"  # noqa: S608
        self.run(sql, (status, at, at, order_id))
        self.run("DELETE FROM plans WHERE order_id = ?", (order_id,))

    def replace(self, order: Row, changes: dict[str, float], at: str) -> Row:
        """A new order for what is left of an open one, which ends as `replaced`; the new one. Inside a transaction."""
        new_id = str(uuid.uuid4())
        values = {**dict(order), "qty": order["qty"] - order["filled_qty"], **changes}
        values |= {"id": new_id, "client_order_id": str(uuid.uuid4()), "filled_qty": 0.0, "filled_avg_price": None}
        values |= {"status": "new", "replaces": order["id"], "submitted_at": at, "updated_at": at}
        values.pop("seq")
        names = ", ".join(values)
        marks = ", ".join(f":{name}" for name in values)
        self.end_order(order["id"], "replaced", at)
        self.run("UPDATE orders SET replaced_by = ? WHERE id = ?", (new_id, order["id"]))
        with self._lock:
            self._db.execute(f"INSERT INTO orders ({names}) VALUES ({marks})", values)  # noqa: S608
        made = self.order(new_id)
        assert made is not None
        return made

    def split(self, symbol: str, ratio: float, whole: bool, moves_stops: bool, price: float, at: str) -> None:
        """`ratio` new shares for one: position and open orders follow; an order that has no share left is cancelled.

        whole: cash at `price` a new share pays for the fraction that is left. moves_stops: the prices of stops follow, too.
        """
        held = self.position(symbol)
        if held:
            kept = whole_shares(held * ratio) if whole else held * ratio
            if whole and abs(held * ratio - kept) > DUST * abs(held * ratio):
                left = held * ratio - kept
                self.move_cash("CIL", left * price, at, "cash in lieu of fractional shares", symbol, left, price)
            self._resize_position(symbol, kept, ratio)
        for order in self.open_orders(symbol):
            rest = (order["qty"] - order["filled_qty"]) * ratio
            rest = whole_shares(rest) if whole else rest
            if not rest:
                self.end_order(order["id"], "canceled", at)
                continue
            # What has filled has filled. A resting limit is adjusted, and lies on the tick away from the market.
            self.run(
                "UPDATE orders SET qty = filled_qty + ?1, limit_price = ?2, reserve = reserve / ?3, "
                "stop_price = stop_price / ?4 WHERE id = ?5",
                (
                    rest,
                    order["limit_price"] and on_tick(order["limit_price"] / ratio, up=order["side"] == "sell"),
                    ratio,
                    ratio if moves_stops else 1.0,
                    order["id"],
                ),
            )

    def move_cash(self, kind: str, amount: float, at: str, description: str, symbol: str, qty: float, price: float) -> None:
        """Book cash that comes, or goes where negative, without a trade, with the activity that records it."""
        self.run("UPDATE account SET cash = cash + ?", (amount,))
        self.run(
            "INSERT INTO activities (id, kind, symbol, qty, price, amount, description, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (f"{at}::{uuid.uuid4()}", kind, symbol, qty, price, amount, description, at),
        )

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def _move_position(self, symbol: str, signed: float, price: float) -> None:
        row = self.row("SELECT qty, avg_entry_price FROM positions WHERE symbol = ?", (symbol,))
        held, average = (row["qty"], row["avg_entry_price"]) if row else (0.0, price)
        after = held + signed
        if abs(after) <= DUST * abs(signed):
            self.run("DELETE FROM positions WHERE symbol = ?", (symbol,))
            return
        if held * signed > 0:
            average = (held * average + signed * price) / after
        self.run(
            "INSERT INTO positions VALUES (?1, ?2, ?3) ON CONFLICT (symbol) DO UPDATE SET qty = ?2, avg_entry_price = ?3",
            (symbol, after, average),
        )

    def _resize_position(self, symbol: str, qty: float, ratio: float) -> None:
        if qty:
            sql = "UPDATE positions SET qty = ?, avg_entry_price = avg_entry_price / ? WHERE symbol = ?"
            self.run(sql, (qty, ratio, symbol))
        else:
            self.run("DELETE FROM positions WHERE symbol = ?", (symbol,))

    def _create_account(self, number: str, cash: float, start: Moment, vendor: str) -> None:
        self.run(
            "INSERT INTO account (one, id, number, cash, session, phase, ticks, initial_cash, vendor) "
            "VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?)",
            (str(uuid.uuid4()), number, cash, start.session.isoformat(), start.phase, start.ticks, cash, vendor),
        )

    def _add_later_columns(self) -> None:
        for table, columns in LATER_COLUMNS.items():
            known = {row["name"] for row in self.rows("SELECT name FROM pragma_table_info(?)", (table,))}
            for name, kind in columns.items():
                if name not in known:
                    self.run(f"ALTER TABLE {table} ADD COLUMN {name} {kind}")
        # Until then only fills moved cash; rounding to cents takes away what floats added.
        self.run(
            "UPDATE account SET initial_cash = round(cash + (SELECT coalesce(sum(iif(side = 'buy', qty, -qty) * price), 0) "
            "FROM fills), 2) WHERE initial_cash IS NULL"
        )
        if self.row("SELECT 1 FROM sqlite_master WHERE name = 'cash_in_lieu'") is not None:
            # Of an earlier version, which knew no other activity.
            self.run(
                "INSERT INTO activities (id, kind, symbol, qty, price, amount, description, at) SELECT id, 'CIL', symbol, qty,"
                " price, qty * price, 'cash in lieu of fractional shares', at FROM cash_in_lieu ORDER BY seq"
            )
            self.run("DROP TABLE cash_in_lieu")


def whole_shares(shares: float) -> float:
    """Whole shares, towards zero; a float's noise under one is one."""
    near = round(shares)
    return float(near) if abs(shares - near) <= DUST * max(abs(shares), 1.0) else float(math.trunc(shares))


def tick_size(price: float) -> float:
    """The exchange's smallest step at `price`, in dollars."""
    return 0.01 if price >= 1.0 else 0.0001


def on_tick(price: float, up: bool) -> float:
    """The price on its tick, or on the next one up or down."""
    ticks = price / tick_size(price)
    near = round(ticks)
    if abs(ticks - near) > ON_TICK:
        near = math.ceil(ticks) if up else math.floor(ticks)
    return round(near * tick_size(price), 4)


def billionths(price: float) -> float:
    """A price in billionths of a dollar, free of rounding noise, as the rules compare a limit with the market."""
    return math.floor(price * 1e9 + 0.5)
