"""The embedded broker's state in one SQLite file: rows in and out, transactions, nothing decided.

Two servers over the same folder share it: whatever reads before it writes does so inside `transaction()`.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from kobe_resources.broker.embedded.market import Moment, Phase
from kobe_resources.durable import private_folder
from kobe_resources.errors import KobeError

SCHEMA = Path(__file__).with_name("state.sql")
BUSY_TIMEOUT_S = 20.0
OPEN_STATUSES = ("new", "partially_filled")
DUST = 1e-9
"""Shares below this, relative to the order that left them, are rounding and not a position."""

Row = sqlite3.Row


class State:
    """The SQLite file of `folder`; created with `cash` dollars and standing at `start` where there is none."""

    def __init__(self, folder: Path, account_number: str, cash: float, start: Moment) -> None:
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
            self._db.execute(
                "INSERT INTO account VALUES (1, ?, ?, ?, ?, ?, 0) ON CONFLICT DO NOTHING",
                (str(uuid.uuid4()), account_number, cash, start.session.isoformat(), start.phase),
            )
        except sqlite3.Error as error:
            raise KobeError(
                f"the embedded broker cannot use {folder} ({error})", "remove the folder to start afresh"
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

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
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
        return self.rows(
            "SELECT * FROM orders WHERE status IN ('new', 'partially_filled') AND (?1 IS NULL OR symbol = ?1) ORDER BY seq",
            (symbol,),
        )

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

    def book_fill(self, order: Row, qty: float, price: float, at: str) -> None:
        """Book one execution: fill, order, position and cash; inside a transaction."""
        filled = order["filled_qty"] + qty
        leaves = order["qty"] - filled
        if abs(leaves) <= DUST * order["qty"]:
            filled, leaves = order["qty"], 0.0
        earlier = order["filled_qty"] * (order["filled_avg_price"] or 0.0)
        average = price if not order["filled_qty"] else (earlier + qty * price) / filled
        self.run(
            "UPDATE orders SET filled_qty = ?, filled_avg_price = ?, status = ?, filled_at = ?, updated_at = ? WHERE id = ?",
            (filled, average, "partially_filled" if leaves else "filled", at, at, order["id"]),
        )
        self.run(
            "INSERT INTO fills (id, order_id, symbol, side, qty, price, cum_qty, leaves_qty, at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (f"{at}::{uuid.uuid4()}", order["id"], order["symbol"], order["side"], qty, price, filled, leaves, at),
        )
        signed = qty if order["side"] == "buy" else -qty
        self.run("UPDATE account SET cash = cash - ?", (signed * price,))
        self._move_position(order["symbol"], signed, price)

    def end_order(self, order_id: str, status: str, at: str) -> None:
        """Cancel or expire."""
        column = "expired_at" if status == "expired" else "canceled_at"
        sql = f"UPDATE orders SET status = ?, updated_at = ?, {column} = ? WHERE id = ?"  # noqa: S608
        self.run(sql, (status, at, at, order_id))

    def split(self, symbol: str, ratio: float) -> None:
        """`ratio` new shares for one: positions and open orders follow; cash does not move."""
        self.run(
            "UPDATE positions SET qty = qty * ?1, avg_entry_price = avg_entry_price / ?1 WHERE symbol = ?2", (ratio, symbol)
        )
        self.run(
            "UPDATE orders SET qty = qty * ?1, filled_qty = filled_qty * ?1, limit_price = limit_price / ?1, "
            "stop_price = stop_price / ?1 WHERE symbol = ?2 AND status IN ('new', 'partially_filled')",
            (ratio, symbol),
        )

    def close(self) -> None:
        """Let go of the file."""
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
