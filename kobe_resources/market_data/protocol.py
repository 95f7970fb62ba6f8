"""What a vendor of bars is: a name, a fingerprint of its source, and a `sync` that brings the warehouse up to it.

Vendors trust their caller for the warehouse; nothing else. What they store is raw (as traded); the store is the truth
from then on: an unchanged source is not loaded again, so that an edit made in the warehouse stays.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from kobe_resources.errors import KobeError

if TYPE_CHECKING:
    from kobe_resources.warehouse.store import Warehouse


class MarketDataError(KobeError):
    """Bars that cannot be had, or that are refused."""


class Progress(Protocol):
    """How far a load is; the CLI draws it, everything else passes `SilentProgress`."""

    def start(self, what: str, total: int, unit: str) -> None:
        """A new phase of `total` units begins; the one before it, if any, is over."""

    def advance(self, count: int = 1, note: str = "") -> None:
        """`count` more units are durable; `note` is a few words for the person watching."""


class SilentProgress:
    """Progress that is shown nowhere."""

    def start(self, what: str, total: int, unit: str) -> None:
        """Draws nothing."""

    def advance(self, count: int = 1, note: str = "") -> None:
        """Draws nothing."""


@dataclass(frozen=True)
class SyncReport:
    """What one `sync` did and what the store holds after it.

    added, changed, unchanged, removed: bars. revisions: rows written to `bar_revisions` (one a changed field).
    symbols, sessions, bars, first_session, last_session: the store afterwards. calls: requests to the vendor's API.
    """

    vendor: str
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0
    revisions: int = 0
    symbols: int = 0
    sessions: int = 0
    bars: int = 0
    first_session: dt.date | None = None
    last_session: dt.date | None = None
    calls: int = 0
    seconds: float = 0.0
    skipped: bool = False
    """True where the source's fingerprint was the stored one and nothing was read."""
    notes: tuple[str, ...] = ()
    """What the person should know of this load, a line each."""


class Vendor(Protocol):
    """A source of raw daily bars, splits and candidates."""

    @property
    def name(self) -> str:
        """The word of the setting `data.vendor`; also `daily_bars.source`, where the vendor has one stream of bars."""

    def fingerprint(self) -> str:
        """Changes exactly when stored bars must be loaded anew from this source.

        Local vendors: settings and a hash of the files' content, or the seed. Polygon: host, span and candidates.
        Raises MarketDataError where the source cannot be read.
        """

    def sync(self, warehouse: Warehouse, progress: Progress = SilentProgress(), force: bool = False) -> SyncReport:
        """Load or top up daily_bars, splits, candidates and option evidence; one transaction a checkpoint.

        With an unchanged fingerprint a local vendor stores nothing; `force` reads the source all the same.
        Raises MarketDataError; whatever a checkpoint had made durable stays.
        """
