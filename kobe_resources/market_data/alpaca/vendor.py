"""The vendor `alpaca`: first load and daily top-up of raw bars, splits, dividends, corporate actions and candidates.

Resumable at any point: coverage is kept a symbol in the warehouse, and a sync asks only for what is missing. Trusts the
client for whole pages and the store for the rows; the keys stay in the client.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from kobe_resources.market_data.alpaca.load import VENDOR
from kobe_resources.market_data.alpaca.sync import AlpacaSync
from kobe_resources.market_data.changes import report_of
from kobe_resources.market_data.over_network import RetryBudget, hash_of_candidates, one_load_at_a_time, utc_now
from kobe_resources.market_data.protocol import Progress, SilentProgress, SyncReport
from kobe_resources.settings.pins import canonical_json

if TYPE_CHECKING:
    from pathlib import Path

    from kobe_resources.market_data.alpaca.client import AlpacaDataClient
    from kobe_resources.settings.models import Settings
    from kobe_resources.settings.secrets import Secrets
    from kobe_resources.warehouse.store import Warehouse


class AlpacaVendor:
    """Alpaca by the settings `data.alpaca`; nothing is called before `sync`."""

    name = VENDOR

    def __init__(
        self,
        settings: Settings,
        secrets: Secrets,
        now: Callable[[], dt.datetime] = utc_now,
        budget: RetryBudget | None = None,
    ) -> None:
        self._settings = settings
        self._secrets = secrets
        self._now = now
        self._budget = budget

    def fingerprint(self) -> str:
        """Of the host, the span as set and the candidates file's content."""
        data = self._settings.data
        file = data.alpaca.candidates
        content = hash_of_candidates(file, "data.alpaca.candidates")
        parts = [VENDOR, data.alpaca.base_url.split("//")[-1].strip("/"), data.start, data.end, content]
        return hashlib.sha256(canonical_json(parts).encode()).hexdigest()[:16]

    def sync(self, warehouse: Warehouse, progress: Progress = SilentProgress(), force: bool = False) -> SyncReport:
        """Load what is missing, top up what is new, read the last sessions once more; nothing where nothing can be new.

        force: read the last sessions and the corporate actions again though they were read.

        Raises an AlpacaError by class; what was committed stays, and the next sync goes on there.
        """
        began = time.perf_counter()
        sync = AlpacaSync(self._settings, warehouse, progress, self._now, force)
        with one_load_at_a_time(warehouse, VENDOR):
            calls = sync.run(lambda: self._client(warehouse.path.parent), self.fingerprint())
        seconds = time.perf_counter() - began
        return report_of(self.name, sync.changes, sync.totals, seconds, skipped=sync.skipped, notes=sync.notes, calls=calls)

    def _client(self, folder: Path) -> AlpacaDataClient:
        from kobe_resources.market_data.alpaca.client import AlpacaDataClient, Keys
        from kobe_resources.market_data.alpaca.pacing import bars_pace

        key_id, secret = self._secrets.alpaca_api_key_id, self._secrets.alpaca_api_secret_key
        keys = Keys(key_id.get_secret_value(), secret.get_secret_value()) if key_id and secret else None
        alpaca = self._settings.data.alpaca
        pace = bars_pace(alpaca.calls_per_minute, alpaca.base_url, folder)
        return AlpacaDataClient(keys, alpaca.base_url, alpaca.assets_url, pace, self._budget)
