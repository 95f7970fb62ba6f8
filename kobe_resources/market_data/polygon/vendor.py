"""The vendor `polygon`: first load and daily top-up of raw bars, splits, candidates and option evidence.

Resumable at any point: coverage is kept a symbol in the warehouse, and a sync asks only for what is missing. Trusts the
client for whole answers and the store for the rows; the key stays in the client.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from kobe_resources.market_data.changes import report_of
from kobe_resources.market_data.over_network import hash_of_candidates, one_load_at_a_time, utc_now
from kobe_resources.market_data.polygon.checkpoints import VENDOR
from kobe_resources.market_data.polygon.client import TWIN_HOSTS
from kobe_resources.market_data.polygon.sync import Sync
from kobe_resources.market_data.protocol import Progress, SilentProgress, SyncReport
from kobe_resources.settings.pins import canonical_json

if TYPE_CHECKING:
    from kobe_resources.market_data.over_network import RetryBudget
    from kobe_resources.settings.models import Settings
    from kobe_resources.settings.secrets import Secrets
    from kobe_resources.warehouse.store import Warehouse


class PolygonVendor:
    """Polygon (Massive) by the settings `data.polygon`; nothing is called before `sync`."""

    name = VENDOR

    def __init__(
        self,
        settings: Settings,
        secrets: Secrets,
        now: Callable[[], dt.datetime] = utc_now,
        budget: RetryBudget | None = None,
    ) -> None:
        self._settings = settings
        self._key = secrets.polygon_api_key
        self._now = now
        self._budget = budget

    def fingerprint(self) -> str:
        """Of the host, the span as set, the manner of the first load and the candidates file's content."""
        data = self._settings.data
        host = data.polygon.base_url.split("//")[-1].strip("/")
        file = data.polygon.candidates
        content = hash_of_candidates(file, "data.polygon.candidates")
        parts = [
            "polygon" if host in TWIN_HOSTS else host,
            data.start,
            data.end,
            data.polygon.first_load,
            content,
        ]
        return hashlib.sha256(canonical_json(parts).encode()).hexdigest()[:16]

    def sync(self, warehouse: Warehouse, progress: Progress = SilentProgress(), force: bool = False) -> SyncReport:
        """Load what is missing, top up what is new, re-pull the last sessions; nothing where nothing can be new.

        force: ask again for the last sessions, for symbols whose bars have gaps and for sessions without a bar.

        Raises a PolygonError by class; what was committed stays, and the next sync goes on there.
        """
        began = time.perf_counter()
        with one_load_at_a_time(warehouse, VENDOR):
            sync = Sync(self._settings, warehouse, progress, self._now, force)
            sync.run(self._key.get_secret_value() if self._key else None, self.fingerprint(), self._budget)
        seconds = time.perf_counter() - began
        return report_of(
            self.name, sync.changes, sync.totals, seconds, skipped=sync.skipped, notes=sync.notes, calls=sync.calls
        )
