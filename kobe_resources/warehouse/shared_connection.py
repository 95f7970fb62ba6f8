"""A DuckDB file kept open between uses, until another process asks for it.

Where a file is opened anew, what was read must be read again. But a process that has it open keeps every other out. So
one that waits says so in a file beside it, and the holder lets go, at once where nothing is being read or written, else
when that has ended.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb

from kobe_resources.warehouse import checkpoint_journal

WATCH_S = 0.05
RECENT_S = 2.0
"""Seconds after which a request to let go is stale: a waiting process renews it at least twice a second."""
IDLE_S = 5.0
"""Seconds without use after which the file is closed unasked, for programs that do not know how to ask."""

_kept: dict[Path, KeptOpen] = {}


class KeptOpen:
    """The open file of a process, for all its threads. path: the DuckDB file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._root: duckdb.DuckDBPyConnection | None = None
        self._uses = 0
        self._used = time.monotonic()

    @contextlib.contextmanager
    def connection(self, opened: Callable[[], duckdb.DuckDBPyConnection]) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection of its own to the open file; opened: opens it where it is shut. An error in the block shuts it."""
        with self._lock:
            self._root = self._root or opened()
            connection = self._root.cursor()
            self._uses += 1
        failed = True
        try:
            with contextlib.closing(connection):
                yield connection
            failed = False
        finally:
            with self._lock:
                self._uses -= 1
                self._used = time.monotonic()
                if not self._uses and (failed or is_wanted(self._path)):
                    self._shut()

    def watch(self, until: threading.Event) -> None:
        """Close the file while it is unused here and another process waits for it, or after IDLE_S; at the end, for good."""
        while not until.wait(WATCH_S):
            with self._lock:
                idle = time.monotonic() - self._used
                if not self._uses and (idle > IDLE_S or is_wanted(self._path)):
                    self._shut()
        with self._lock:
            self._shut()

    def _shut(self) -> None:
        if self._root is not None:
            checkpoint_journal.close(self._root, self._path)
            self._root = None


@contextlib.contextmanager
def keep_open(path: Path) -> Iterator[None]:
    """Within the block this process opens the warehouse at `path` once, as long as no other process asks for it.

    What is written goes to the file's log at once, and into the file itself when it is shut. A block within a block is the
    outer one's.
    """
    if path in _kept:
        yield
        return
    kept, ended = KeptOpen(path), threading.Event()
    watch = threading.Thread(target=kept.watch, args=(ended,), name="warehouse-watch", daemon=True)
    _kept[path] = kept
    watch.start()
    try:
        yield
    finally:
        del _kept[path]
        ended.set()
        watch.join()


def kept_open(path: Path) -> KeptOpen | None:
    """What keeps `path` open in this process, if anything does."""
    return _kept.get(path)


def ask_for(path: Path) -> None:
    """Ask the process that has the file open to close it."""
    with contextlib.suppress(OSError):
        _marker(path).touch()


def is_wanted(path: Path) -> bool:
    """Whether another process asked for the file just now."""
    try:
        return abs(time.time() - _marker(path).stat().st_mtime) < RECENT_S
    except OSError:
        return False


def withdraw(path: Path) -> None:
    """Remove this process's request; a process that still waits renews its own."""
    with contextlib.suppress(OSError):
        _marker(path).unlink()


def _marker(path: Path) -> Path:
    # Hidden, so that no copy of the folder takes it along.
    return path.with_name(f".{path.name}.wanted")
