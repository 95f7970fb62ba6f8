"""The ledger's file: one durable SQLite database, shared by processes; a change and its audit record are one transaction.

DuckDB cannot be the order store: while one process writes, it refuses every other one, readers too.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import secrets
import socket
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kobe_resources.errors import KobeError, with_earlier
from kobe_resources.order_ledger import audit_chain as audit
from kobe_resources.order_ledger import audit_rows
from kobe_resources.runtime.atomic_files import private_file, private_folder
from kobe_resources.runtime.event_log import get_logger
from kobe_resources.settings.load import kobe_home

SCHEMA = Path(__file__).with_name("schema.sql")
VERSION, UNWATCHED = 2, 1
"""What is current, and a ledger whose chain does not hold what changed in its tables: an older Kobe's, or one to throw away."""
BUSY_WAIT_S = 30.0
LOGGED = ("symbol", "side", "leg", "qty", "price", "old", "new", "reason", "detail")
"""The keys of an order's audit record that the event log repeats."""
log = get_logger("ledger")


class LedgerBusy(KobeError):
    """Another process kept the ledger locked past the deadline."""


class LedgerUnusable(KobeError):
    """The ledger is damaged, from a newer Kobe, or cannot be written."""


class Write:
    """One open write transaction. A caller that changes a row through it also calls `audit`: both commit, or neither."""

    def __init__(self, connection: sqlite3.Connection, pin: str, run_id: str) -> None:
        self.connection = connection
        self.pin = pin
        self.run_id = run_id
        self.now = dt.datetime.now(dt.UTC)
        self.order_records: list[tuple[str, dict[str, Any]]] = []
        self._records: list[tuple[str, dict[str, Any]]] = []

    def execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> sqlite3.Cursor:
        """Run one statement inside the transaction."""
        return self.connection.execute(sql, parameters)

    def audit(self, kind: str, **body: Any) -> None:
        """Add a record to the chain with this transaction."""
        self._records.append((kind, {"run": self.run_id, **body} if self.run_id else body))
        if "order" in body:
            self.order_records.append((kind, body))

    def finish(self, rows: audit_rows.Rows) -> None:
        """Write the records, the last of them with the `rows` that the transaction changed."""
        if rows and not self._records:
            self.audit("rows_changed")
        for kind, body in self._records[:-1]:
            audit.append(self.connection, kind, body, self.pin)
        for kind, body in self._records[-1:]:
            audit.append(self.connection, kind, {**body, audit_rows.ROWS: rows} if rows else body, self.pin)


class OrderLedger:
    """The ledger at `path` (default: orders.sqlite in the data folder), for one thread; made at first use.

    pin: config pin that the audit records carry. run_id: which run writes. disposable: no waiting for the disk, for a
    ledger that is thrown away (a replay's).
    """

    def __init__(
        self,
        path: Path | None = None,
        pin: str = "",
        run_id: str = "",
        busy_wait_s: float = BUSY_WAIT_S,
        disposable: bool = False,
    ) -> None:
        self.path = path or kobe_home() / "orders.sqlite"
        self.audit_path = self.path.with_name("audit.jsonl")
        self.pin = pin
        self.run_id = run_id
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._busy_wait_s = busy_wait_s
        self.disposable = disposable
        self.healed = ""
        self._connection: sqlite3.Connection | None = None

    @property
    def connection(self) -> sqlite3.Connection:
        """The open connection; use it for reading, and `write` for everything else."""
        if self._connection is None:
            self._connection = self._open()
        return self._connection

    def rows(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[sqlite3.Row]:
        """The rows of a query."""
        try:
            return self.connection.execute(sql, parameters).fetchall()
        except sqlite3.DatabaseError as error:
            if not _is_of_the_file(error):
                raise
            raise self._explain(error) from error

    @contextlib.contextmanager
    def write(self) -> Iterator[Write]:
        """BEGIN IMMEDIATE … COMMIT: writers of all processes queue here; an exception, or death, changes nothing.

        What was committed of an order goes to the event log too, under its id.
        """
        connection = self.connection
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.DatabaseError as error:
            raise self._explain(error) from error
        write = Write(connection, self.pin, self.run_id)
        try:
            if not self.disposable:
                audit_rows.forget(connection)
            yield write
            write.finish({} if self.disposable else audit_rows.taken(connection))
            connection.execute("COMMIT")
        except BaseException as error:
            # A full or failing disk has ended the transaction already.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if _is_of_the_file(error):
                raise self._explain(error) from error
            raise
        if not self.disposable:
            self._log(write)

    def copy_audit(self) -> int:
        """Bring audit.jsonl up to the chain; records appended. Raises AuditDiffers where they contradict each other.

        Where records had been cut off the file, `healed` says so afterwards.
        """
        try:
            done = audit.copy_out(self.connection, self.audit_path)
        except (OSError, sqlite3.DatabaseError) as error:
            raise self._explain(error) from error
        if done.lost:
            self.healed = f"{done.lost} records had been cut off {self.audit_path}; they were copied again from the ledger"
            log.error("audit.jsonl was cut", reason=self.healed)
        return done.appended

    def verify_audit(self, anchor: str | None = None) -> audit.Verification:
        """Check chain, head, tables, copy and anchor."""
        try:
            return audit.verify(self.connection, self.audit_path, anchor)
        except sqlite3.Error as error:
            raise self._explain(error) from error

    def audit_head(self) -> str:
        """The end of the chain as 'seq:hash'."""
        return audit.head(self.connection)

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> OrderLedger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _log(self, write: Write) -> None:
        for kind, body in write.order_records:
            known = {name: body[name] for name in LOGGED if body.get(name)}
            log.info(f"order {kind}", order_id=body["order"], run_id=self.run_id, **known)

    def _open(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = None
        try:
            private_folder(self.path.parent)
            # Its -wal and -shm take its mode.
            private_file(self.path)
            connection = sqlite3.connect(self.path, timeout=self._busy_wait_s, isolation_level=None)
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA foreign_keys = ON")
            self._make_durable(connection)
            _prepare(connection, self.path, VERSION if not self.disposable else UNWATCHED)
            if not self.disposable:
                audit_rows.watch(connection)
        except (OSError, sqlite3.Error) as error:
            if connection is not None:
                connection.close()
            raise self._explain(error) from error
        except LedgerUnusable:
            if connection is not None:
                connection.close()
            raise
        return connection

    def _make_durable(self, connection: sqlite3.Connection) -> None:
        deadline = time.monotonic() + self._busy_wait_s
        while True:
            try:
                # The switch to WAL does not wait for other processes by itself.
                connection.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError as error:
                # A file that may only be read stays so; a lock is let go of.
                if not _is_locked(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        connection.execute(f"PRAGMA synchronous = {'OFF' if self.disposable else 'FULL'}")

    def _explain(self, error: BaseException) -> KobeError:
        if _is_locked(error):
            return LedgerBusy(
                f"{self.path} was locked by another process for {self._busy_wait_s:g} s", "wait for it, or stop that process"
            )
        hint = "see that its disk has room and that you may write there, or restore a backup"
        return LedgerUnusable(with_earlier(error, f"{self.path} cannot be used ({error})"), hint)


def _is_locked(error: BaseException) -> bool:
    """Whether SQLite says that another connection holds the file."""
    if not isinstance(error, sqlite3.OperationalError):
        return False
    # The low byte is the code itself, the others say more of it. An error of the module has none.
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _is_of_the_file(error: BaseException) -> bool:
    """Whether SQLite says that the file is locked, full, damaged or gone, and not that a row or a statement is wrong."""
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError)


def _prepare(connection: sqlite3.Connection, path: Path, version: int) -> None:
    """Make the tables of `version` where they are missing, bring an older ledger up to it, refuse one of a newer Kobe."""
    known = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'ledger_version'").fetchone()[0]
    found = connection.execute("SELECT max(version) FROM ledger_version").fetchone()[0] if known else None
    if found is None:
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in SCHEMA.read_text(encoding="utf-8").split(";\n"):
                connection.execute(statement)
            connection.execute("INSERT OR IGNORE INTO audit_head VALUES (1, 0, ?, 0)", (audit.GENESIS,))
            if connection.execute("SELECT count(*) FROM ledger_version").fetchone()[0] == 0:
                connection.execute("INSERT INTO ledger_version VALUES (?)", (version,))
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    elif found > VERSION:
        raise LedgerUnusable(
            f"{path} has ledger version {found}, this Kobe knows {VERSION}", "update Kobe, or use another KOBE_HOME"
        )
    elif found < version:
        _take_over(connection)


def _take_over(connection: sqlite3.Connection) -> None:
    """Put every row of an older Kobe's ledger on the chain, which records each change from then on.

    Not where the chain has rows already: then the version was set back by hand, and `verify` reports it.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        is_older = connection.execute("SELECT max(version) FROM ledger_version").fetchone()[0] < VERSION
        recorded = connection.execute(
            "SELECT count(*) FROM audit WHERE instr(body, ?)", (f'"{audit_rows.ROWS}":{{',)
        ).fetchone()[0]
        if is_older and not recorded:
            rows = audit_rows.whole(connection)
            if rows:
                audit.append(connection, "rows_taken_over", {audit_rows.ROWS: rows}, "")
            connection.execute("UPDATE ledger_version SET version = ?", (VERSION,))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
