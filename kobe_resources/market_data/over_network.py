"""What the vendors that are asked over a network share: clock, one load at a time, age of a list, prints of lists and files."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kobe_resources.market_data.protocol import MarketDataError
from kobe_resources.runtime.atomic_files import private_folder
from kobe_resources.runtime.locks import exclusive
from kobe_resources.settings.pins import canonical_json
from kobe_resources.warehouse.shared_connection import keep_open

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb

    from kobe_resources.warehouse.store import Warehouse

RESUMES = "run `kobe bars refresh` again, it goes on where this stopped"
"""The remedy of whatever stops a load half way."""
SURELY_PUBLISHED_AFTER = dt.timedelta(hours=24)
"""What a session lacks this long after its close is not late any more."""
LIST_LASTS = dt.timedelta(days=30)
"""A vendor's list of stocks is read anew after this long."""
SHOWN_NAMES = 10


@dataclass(frozen=True)
class RetryBudget:
    """How long a call may take, and how often it is repeated after which failure; seconds.

    total_s bounds one call from first to last byte: a server that drips would outlast any read timeout. first_answer_s: where
    nothing was ever answered, there is no network or a wrong host, and no call is repeated after so long.
    """

    connect_s: float = 10.0
    read_s: float = 30.0
    total_s: float = 180.0
    first_answer_s: float = 8.0
    rate_wait_s: float = 60.0
    longest_rate_wait_s: float = 600.0
    first_backoff_s: float = 0.5
    longest_backoff_s: float = 30.0
    after_rate: int = 8
    after_server: int = 6
    after_transport: int = 6
    after_malformed: int = 3
    after_empty: int = 1

    def after_limit(self, wait_s: float | None) -> int:
        """How often a call is repeated that the vendor's rate refused, with a wait of so long."""
        return 0 if (wait_s or 0.0) > self.longest_rate_wait_s else self.after_rate


def utc_now() -> dt.datetime:
    """The clock of everything but tests."""
    return dt.datetime.now(dt.UTC)


def hash_of(values: Sequence[object]) -> str:
    """A short print of plain values: it says for what a stored mark stands."""
    return hashlib.sha256(canonical_json(values).encode()).hexdigest()[:16]


def hash_of_candidates(file: Path | None, setting: str) -> str | None:
    """A hash of the candidates file's content, None without one. Raises MarketDataError where it cannot be read."""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest() if file else None
    except OSError as error:
        raise MarketDataError(f"{setting} cannot be read ({error})", "name a readable CSV") from error


def candidates_without_bars(connection: duckdb.DuckDBPyConnection) -> tuple[str, ...]:
    """A line on the candidates that have no bars; none where all have some."""
    rows = connection.execute("SELECT symbol FROM candidates ANTI JOIN daily_bars USING (symbol) ORDER BY symbol").fetchall()
    names = ", ".join(row[0] for row in rows[:SHOWN_NAMES]) + (", …" if len(rows) > SHOWN_NAMES else "")
    return (f"{len(rows):,} candidates of the file have no bars: {names}",) if rows else ()


@contextlib.contextmanager
def one_load_at_a_time(warehouse: Warehouse, vendor: str) -> Iterator[None]:
    """Hold the data folder's lock of this vendor, and its database open.

    Two loads at once would ask for everything twice, at twice the plan's rate. Raises MarketDataError where another holds it.
    """
    private_folder(warehouse.path.parent)
    refusal = MarketDataError(f"another process is loading from {vendor.title()}", "wait for it, or stop it")
    with exclusive(warehouse.path.with_suffix(f".{vendor}.lock"), refusal), keep_open(warehouse.path):
        yield
