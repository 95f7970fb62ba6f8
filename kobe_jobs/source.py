"""The state of the vendor's source, as part of the version of daily_bars: when it changes, bars are loaded or topped up."""

from __future__ import annotations

import datetime as dt

from kobe_resources.market_data import MarketDataError, open_vendor
from kobe_resources.settings import Settings, load_secrets

VENDOR_DELAY = dt.timedelta(minutes=30)
"""How long after a close the vendor has the session's bars."""


def source_fingerprint(settings: Settings) -> str:
    """The vendor's fingerprint; of a market that goes on, with the latest session that it has.

    Without a key nothing can be topped up, and what is stored counts as it is. Raises MarketDataError.
    """
    secrets = load_secrets()
    fingerprint = open_vendor(settings, secrets).fingerprint()
    if settings.data.vendor == "polygon" and settings.data.end is None and secrets.polygon_api_key:
        from kobe_resources.calendar import latest_complete_session

        return f"{fingerprint}:{latest_complete_session(dt.datetime.now(dt.UTC), VENDOR_DELAY)}"
    return fingerprint


def lenient_fingerprint(settings: Settings) -> str:
    """`source_fingerprint`, or why the source cannot be read: it then fails where it is loaded, not where it is shown."""
    try:
        return source_fingerprint(settings)
    except MarketDataError as error:
        return f"unreadable: {error}"
