"""Whether a day without a market is one that the vendor lacks, or an answer that was emptied under load.

The calendar says the exchange was open; it knows nothing of closures announced since, nor where the vendor's history
begins. Bars of single symbols do: an answer with rows has never been seen to lack some.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Collection
from typing import TYPE_CHECKING

from kobe_resources.market_data.over_network import RESUMES
from kobe_resources.market_data.polygon.errors import PolygonIncomplete, PolygonMalformed, PolygonNotFound
from kobe_resources.market_data.polygon.rows import range_bars

if TYPE_CHECKING:
    from kobe_resources.market_data.polygon.client import PolygonClient
    from kobe_resources.market_data.polygon.plan import Span

PROBES = 20
"""Symbols asked about a missing day: that many do not all lack a bar by chance."""


class Probes:
    """Some of `symbols` over the whole `span`, asked once, and only when a day needs it; for several threads."""

    def __init__(self, client: PolygonClient, symbols: Collection[str], span: Span) -> None:
        ordered = sorted(symbols)
        count = min(PROBES, len(ordered))
        self._symbols = [ordered[index * len(ordered) // count] for index in range(count)]
        self._client = client
        self._span = span
        self._sessions: frozenset[dt.date] | None = None
        self._lock = threading.Lock()

    def have_denied(self, day: dt.date) -> bool:
        """Whether it is known already, without a call, that the vendor lacks `day`."""
        return self._sessions is not None and self._lacks(self._sessions, day)

    def must_deny(self, day: dt.date) -> None:
        """Raise PolygonIncomplete unless the vendor has later bars of the probes and none on `day`."""
        with self._lock:
            if self._sessions is None:
                self._sessions = frozenset().union(*map(self._traded, self._symbols))
        if not self._lacks(self._sessions, day):
            raise PolygonIncomplete(f"Polygon sends no bars for {day}, a session of the exchange", RESUMES)

    def _traded(self, symbol: str) -> set[dt.date]:
        try:
            return set(range_bars(self._client.range_bars(symbol, *self._span), symbol, *self._span).sessions.tolist())
        except (PolygonMalformed, PolygonIncomplete, PolygonNotFound):
            return set()

    @staticmethod
    def _lacks(sessions: frozenset[dt.date], day: dt.date) -> bool:
        return day not in sessions and any(session > day for session in sessions)
