"""What the vendors that are asked over a network share: clock, one load at a time, the candidates file in a fingerprint."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from kobe_resources.market_data.protocol import MarketDataError
from kobe_resources.runtime.atomic_files import private_folder
from kobe_resources.warehouse.shared_connection import keep_open

if TYPE_CHECKING:
    from pathlib import Path

    from kobe_resources.warehouse.store import Warehouse


def utc_now() -> dt.datetime:
    """The clock of everything but tests."""
    return dt.datetime.now(dt.UTC)


def hash_of_candidates(file: Path | None, setting: str) -> str | None:
    """A hash of the candidates file's content, None without one. Raises MarketDataError where it cannot be read."""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest() if file else None
    except OSError as error:
        raise MarketDataError(f"{setting} cannot be read ({error})", "name a readable CSV") from error


@contextlib.contextmanager
def one_load_at_a_time(warehouse: Warehouse, vendor: str) -> Iterator[None]:
    """Hold the data folder's lock of this vendor, and its database open.

    Two loads at once would ask for everything twice, at twice the plan's rate. Raises MarketDataError where another holds it.
    """
    from filelock import FileLock, Timeout

    private_folder(warehouse.path.parent)
    lock = FileLock(warehouse.path.with_suffix(f".{vendor}.lock"), timeout=0, mode=0o600)
    try:
        lock.acquire()
    except Timeout:
        raise MarketDataError(f"another process is loading from {vendor.title()}", "wait for it, or stop it") from None
    try:
        with keep_open(warehouse.path):
            yield
    finally:
        lock.release()
