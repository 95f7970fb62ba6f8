"""The state of the vendor's source, as part of the version of daily_bars: when it changes, bars are loaded or topped up."""

from __future__ import annotations

import datetime as dt

from kobe_resources.market_data import AGING, MarketDataError, open_vendor
from kobe_resources.settings.models import Settings
from kobe_resources.settings.secrets import load_secrets
from kobe_resources.warehouse.store import Warehouse


def source_fingerprint(settings: Settings) -> str:
    """The vendor's fingerprint. Raises MarketDataError where the source cannot be read."""
    return open_vendor(settings, load_secrets()).fingerprint()


def needs_top_up(settings: Settings, warehouse: Warehouse, now: dt.datetime) -> bool:
    """Whether a market that goes on has a session at `now` (aware) that is not stored yet.

    Without a key nothing can be topped up, and what is stored counts as it is.
    """
    if settings.data.vendor not in AGING or settings.data.end is not None or not _has_key(settings.data.vendor):
        return False
    from kobe_resources.calendar import BARS_PUBLISHED_AFTER, latest_complete_session

    stored = warehouse.rows("SELECT max(session) FROM daily_bars")[0][0]
    return stored is None or stored < latest_complete_session(now, BARS_PUBLISHED_AFTER)


def _has_key(vendor: str) -> bool:
    secrets = load_secrets()
    return bool(secrets.polygon_api_key if vendor == "polygon" else secrets.alpaca_api_key_id and secrets.alpaca_api_secret_key)


def lenient_fingerprint(settings: Settings) -> str:
    """`source_fingerprint`, or why the source cannot be read: it then fails where it is loaded, not where it is shown."""
    try:
        return source_fingerprint(settings)
    except MarketDataError as error:
        return f"unreadable: {error}"
