"""The warehouse: one DuckDB file, numbered migrations, short connections, and tables replaced in one transaction.

A DuckDB file open for writing in one process refuses every other process, so a connection is opened for the statement
and closed, or kept until another process asks (`kept_open`); a process that finds the file taken waits up to a deadline and
then names the holder. Compute happens outside.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from kobe_resources.errors import KobeError, is_interrupt
from kobe_resources.runtime.atomic_files import private_folder
from kobe_resources.settings.load import kobe_home
from kobe_resources.warehouse import checkpoint_journal
from kobe_resources.warehouse.migrations import WarehouseUnusable, migrate
from kobe_resources.warehouse.shared_connection import ask_for, kept_open, withdraw

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from tenacity import RetryCallState

LOCK_WAIT_S = 30.0
TELL_AFTER_S = 1.0


@dataclass
class LockPatience:
    """How long this process waits for a file that another holds, and what it says to a person meanwhile.

    tell: called once, after a second of waiting, with what is waited for; a terminal shows it.
    """

    wait_s: float = LOCK_WAIT_S
    tell: Callable[[str], None] = lambda text: None


PATIENCE = LockPatience()
"""The command line sets it: a person waits less long than a scheduled run."""
MOMENTS = ("fetched_at", "seen_at", "recorded_at")
"""Columns that say when a row came, not what it says."""
CORRUPT = "Corrupt database file"
"""How DuckDB names a block that fails its checksum, in an error of no class of its own."""
START_ANEW = "restore a backup, or move the file, and its .wal if there is one, away and run again"
MENDS = {
    CORRUPT: START_ANEW,
    "Permission denied|Read-only file system|Operation not permitted": "mend its permissions, or set KOBE_HOME",
    "No space left|not enough space|disk quota": "free space on its disk; nothing that was committed is lost",
    "Out of Memory": "end other programs, or ask for less at once; what is stored is unharmed",
    "different configuration": "close the connection that this process has to it: one reads only, the other does not",
}
"""What to do, by the words of DuckDB or of the system."""

_one_migrates = threading.Lock()
TICK_NS = 20_000_000
"""More than what passes between two times that a file system can tell apart."""
_hashed: dict[tuple[Path, str], tuple[object, tuple[Any, ...] | None]] = {}
"""Path and table → the stamp of the file at which its rows were hashed, and what came of it."""


class WarehouseBusy(KobeError):
    """Another process held the file past the deadline."""


class Warehouse:
    """The DuckDB file at `path`; created and migrated at first use.

    lock_wait_s: seconds to wait for another process before WarehouseBusy, None: those of this process. read_only: the file
    must be there, and is neither migrated nor written, whatever the query.
    """

    def __init__(self, path: Path | None = None, lock_wait_s: float | None = None, read_only: bool = False) -> None:
        self.path = path or kobe_home() / "kobe.duckdb"
        self.lock_wait_s = PATIENCE.wait_s if lock_wait_s is None else lock_wait_s
        self.read_only = read_only
        self._migrated = read_only
        self._held = threading.local()

    @contextlib.contextmanager
    def connect(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection for a few statements; keep computation outside it.

        A `connect` inside the block, in the same thread, gives another connection to the file that is open already.
        """
        outer = getattr(self._held, "connection", None)
        if outer is not None:
            with contextlib.closing(outer.cursor()) as connection:
                _configure(connection)
                yield connection
            return
        if not self.read_only:
            private_folder(self.path.parent)
        kept, is_callers = None if self.read_only else kept_open(self.path), False
        try:
            with kept.connection(self._open) if kept else self._opened() as connection:
                _configure(connection)
                if not self._migrated:
                    with _one_migrates:
                        migrate(connection)
                    self._migrated = True
                self._held.connection = connection
                is_callers = True
                yield connection
                is_callers = False
        except duckdb.Error as error:
            # A statement of the caller's may name another file, which is no fault of this one.
            names_another = is_callers and isinstance(error, duckdb.IOException) and self.path.name not in str(error)
            if not _is_of_a_file(error) or (names_another and CORRUPT not in str(error)):
                raise
            raise self._unusable(error) from error
        except RuntimeError as error:
            # DuckDB takes the signal for itself; an interrupt must not look like a failure that a caller may survive.
            if is_interrupt(error):
                raise KeyboardInterrupt from error
            raise
        finally:
            self._held.connection = None

    @contextlib.contextmanager
    def transaction(self, writes: Collection[str] | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection inside BEGIN … COMMIT; an exception, or death, leaves the file as it was.

        writes: every table that the block may write, where it says so: the hashes of all others stay known.
        """
        with self.connect() as connection:
            before = file_stamp(self.path)
            connection.execute("BEGIN")
            try:
                yield connection
            except BaseException:
                # DuckDB may have ended the transaction with the error; to fail here would hide that.
                with contextlib.suppress(duckdb.Error):
                    connection.execute("ROLLBACK")
                raise
            try:
                connection.execute("COMMIT")
                checkpoint_journal.checkpoint_beyond(checkpoint_journal.LOG_LIMIT, connection, self.path)
            except duckdb.Error as error:
                if not _is_of_a_file(error):
                    raise
                raise self._unusable(error) from error
            self._note_commit(before, writes)

    def _unusable(self, error: duckdb.Error) -> WarehouseUnusable:
        what = f"{self.path} cannot be read or written ({str(error).splitlines()[0]})"
        return WarehouseUnusable(what, _mend(error, f"see that its disk has room; if it has, {START_ANEW}"))

    def _note_commit(self, before: object, writes: Collection[str] | None) -> None:
        """Carry the hashes that were right before a commit over it, but for those of the tables that it wrote."""
        after = file_stamp(self.path)
        for (path, table), (stamp, rows) in list(_hashed.items()):
            if path != self.path:
                continue
            if stamp == before and writes is not None and table not in writes:
                _hashed[path, table] = after, rows
            else:
                _hashed.pop((path, table), None)

    def frame(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None) -> pd.DataFrame:
        """The rows of a query as a DataFrame (dates as datetime64, JSON as text)."""
        with self.connect() as connection:
            return connection.execute(sql, parameters or []).df()

    def arrays(self, sql: str) -> dict[str, Any]:
        """The rows of a query as one numpy array a column (masked where SQL had NULL)."""
        with self.connect() as connection:
            return connection.execute(sql).fetchnumpy()

    def rows(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """The rows of a query as tuples."""
        with self.connect() as connection:
            return connection.execute(sql, parameters or []).fetchall()

    def replace(self, tables: Mapping[str, pd.DataFrame]) -> dict[str, int]:
        """Replace whole tables, all of them in one transaction; rows written by table name.

        Columns are matched by name; a column the frame lacks becomes NULL. Killed half way, the old rows stay.
        """
        with self.transaction(tables) as connection:
            return {name: refill(connection, name, frame) for name, frame in tables.items()}

    def content_version(self, *tables: str) -> str:
        """A hash of the rows of `tables`, whatever their order: the data version that staleness compares.

        `fetched_at`, `seen_at` and `recorded_at` do not count: the same bars fetched again are the same data. A table is
        hashed again only where the file or its log was written since by what did not say which tables it writes, or wrote
        this one; what a caller has not committed yet is not seen.
        """
        with self.connect() as connection:
            stamp, rows = file_stamp(self.path), {}
            for table in tables:
                known = _hashed.get((self.path, table))
                rows[table] = known[1] if known and known[0] == stamp else _hash_of_rows(connection, table)
                # A commit that follows within a tick of the file's time might leave the stamp as it is.
                if time.time_ns() - max((written for _, written, _ in stamp), default=time.time_ns()) > TICK_NS:
                    _hashed[self.path, table] = stamp, rows[table]
            return _digest(rows.items())

    @contextlib.contextmanager
    def _opened(self) -> Iterator[duckdb.DuckDBPyConnection]:
        connection = self._open()
        try:
            yield connection
        finally:
            if self.read_only:
                connection.close()
            else:
                checkpoint_journal.close(connection, self.path)

    def _open(self) -> duckdb.DuckDBPyConnection:
        from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

        retrying = Retrying(
            retry=retry_if_exception(_is_lock_conflict),
            stop=stop_after_delay(self.lock_wait_s),
            wait=wait_random_exponential(multiplier=0.02, max=0.5),
            before_sleep=self._while_waiting(),
            reraise=True,
        )
        try:
            connection: duckdb.DuckDBPyConnection = retrying(checkpoint_journal.connect, self.path, self.read_only)
        except (duckdb.Error, OSError) as error:
            if _is_lock_conflict(error):
                raise WarehouseBusy(
                    f"{self.path} is in use by {_holder(error)} for more than {self.lock_wait_s:g} s",
                    "wait for it, or stop that process",
                ) from None
            raise WarehouseUnusable(f"{self.path} cannot be opened ({error})", _mend(error, START_ANEW)) from error
        finally:
            if retrying.statistics.get("attempt_number", 1) > 1:
                withdraw(self.path)
        return connection

    def _while_waiting(self) -> Callable[[RetryCallState], None]:
        """Before each pause: ask the holder for the file; once, after a second, say what is waited for."""
        began, is_said = time.monotonic(), False

        def ask(state: RetryCallState) -> None:
            nonlocal is_said
            ask_for(self.path)
            if not is_said and time.monotonic() - began > TELL_AFTER_S:
                is_said = True
                error = state.outcome.exception() if state.outcome else None
                PATIENCE.tell(f"waiting up to {self.lock_wait_s:g} s for {_holder(error)}, which has {self.path} open")

        return ask


def _configure(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("SET TimeZone = 'UTC'")
    # Standard output belongs to the command. In a notebook the setting is refused, and there is no bar either.
    with contextlib.suppress(duckdb.InvalidInputException):
        connection.execute("SET enable_progress_bar = false")


def content_version(connection: duckdb.DuckDBPyConnection, *tables: str) -> str:
    """`Warehouse.content_version` on an open connection, so that a version is taken in the transaction that writes."""
    return _digest((table, _hash_of_rows(connection, table)) for table in tables)


def _hash_of_rows(connection: duckdb.DuckDBPyConnection, table: str) -> tuple[Any, ...] | None:
    columns = ", ".join(quoted(n) for n in columns_of(connection, table) if n not in MOMENTS)
    # Columns come from the schema and are quoted; nothing of a user reaches this text.
    sql = f"SELECT count(*), bit_xor(h), sum(h >> 24) FROM (SELECT hash({columns}) AS h FROM {quoted(table)})"  # noqa: S608
    return connection.execute(sql).fetchone()


def _digest(hashed: Iterable[tuple[str, tuple[Any, ...] | None]]) -> str:
    digest = hashlib.sha256()
    for named in hashed:
        digest.update(repr(named).encode())
    return digest.hexdigest()[:16]


def file_stamp(path: Path) -> tuple[tuple[int, int, int], ...]:
    """What changes with every commit to the file at `path`: size, time and number of it and of its log.

    To be asked while a connection to the file is open: then no other process writes to it.
    """
    stamps: list[tuple[int, int, int]] = []
    for file in (path, path.with_name(f"{path.name}.wal")):
        with contextlib.suppress(FileNotFoundError):
            found = file.stat()
            stamps.append((found.st_size, found.st_mtime_ns, found.st_ino))
    return tuple(stamps)


def columns_of(connection: duckdb.DuckDBPyConnection, table: str) -> list[str]:
    """The column names of a table or view, in order."""
    try:
        described = connection.execute(f"SELECT * FROM {quoted(table)} LIMIT 0").description  # noqa: S608
    except duckdb.CatalogException:
        raise WarehouseUnusable(f"the warehouse has no table {table!r}", "see warehouse/schema for its tables") from None
    return [column[0] for column in described or ()]


def insert(connection: duckdb.DuckDBPyConnection, table: str, frame: pd.DataFrame, in_order: bool = True) -> int:
    """Append the rows of `frame` to `table`, columns matched by name; rows written.

    in_order: the rows lie in the table as in the frame. Of millions that every reader finds by their keys, it takes DuckDB
    twice as long to write them so.
    """
    known = columns_of(connection, table)
    unknown = [name for name in frame.columns if name not in known]
    if unknown:
        raise WarehouseUnusable(f"table {table!r} has no column {unknown[0]!r}", "add a migration in warehouse/schema")
    names = ", ".join(quoted(str(name)) for name in frame.columns)
    connection.register("incoming_rows", frame)
    try:
        if not in_order:
            connection.execute("SET SESSION preserve_insertion_order = false")
        connection.execute(f"INSERT INTO {quoted(table)} ({names}) SELECT {names} FROM incoming_rows")  # noqa: S608
        if not in_order:
            connection.execute("SET SESSION preserve_insertion_order = true")
    finally:
        # Where the rows were refused DuckDB refuses this too, and would hide why.
        with contextlib.suppress(duckdb.Error):
            connection.unregister("incoming_rows")
    return len(frame)


def floats_of(column: Any) -> np.ndarray:
    """A column that DuckDB gave as numpy, as float64, NaN where SQL had NULL."""
    import numpy as np

    if isinstance(column, np.ma.MaskedArray):
        column = column.filled(np.nan)
    return np.asarray(column, dtype=np.float64)


def quoted(identifier: str) -> str:
    """`identifier` as a quoted SQL name."""
    return '"' + identifier.replace('"', '""') + '"'


def refill(connection: duckdb.DuckDBPyConnection, table: str, frame: pd.DataFrame, in_order: bool = True) -> int:
    """Replace the rows of `table` inside the caller's transaction; rows written. in_order: as `insert`."""
    connection.execute(f"DELETE FROM {quoted(table)}")  # noqa: S608
    return insert(connection, table, frame, in_order) if len(frame) else 0


def fit_columns(connection: duckdb.DuckDBPyConnection, table: str, wanted: Mapping[str, str]) -> None:
    """Empty `table` and give it these columns (name → type) where it has others, inside the caller's transaction."""
    if columns_of(connection, table) != list(wanted):
        columns = ", ".join(f"{quoted(name)} {kind}" for name, kind in wanted.items())
        connection.execute(f"CREATE OR REPLACE TABLE {quoted(table)} ({columns})")


def _is_lock_conflict(error: BaseException) -> bool:
    # The whole phrase: a path, or a damaged block, may hold the word alone.
    return isinstance(error, duckdb.IOException) and "could not set lock" in str(error).lower()


def _is_of_a_file(error: duckdb.Error) -> bool:
    return CORRUPT in str(error) or isinstance(error, (duckdb.OperationalError, duckdb.FatalException, duckdb.InternalError))


def _mend(error: Exception, otherwise: str) -> str:
    for words, hint in MENDS.items():
        if re.search(words, str(error)):
            return hint
    return otherwise


def _holder(error: BaseException | None) -> str:
    found = re.search(r"held in (.+?) \(PID (\d+)\)", str(error))
    return f"PID {found[2]} ({found[1]})" if found else "another process"
