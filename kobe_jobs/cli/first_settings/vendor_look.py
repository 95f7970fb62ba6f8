"""Whether the keys open the vendor, and what the plan behind them gives: one call, or two, before settings are written."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from kobe_resources.settings.models import AlpacaData, PolygonData
from kobe_resources.settings.secrets import Secrets

TEN_YEARS, FREE_YEARS = 3653, 2
LIVE_ASSETS = "https://api.alpaca.markets"
NO_ANSWER = "did not answer, so the keys are not proven"


@dataclass(frozen=True)
class VendorLook:
    """note: what was seen, in a line. reaches_ten_years: what the plan has. assets_url: the host that knows the keys."""

    note: str
    reaches_ten_years: bool = True
    assets_url: str | None = None


def look_at_polygon(polygon: PolygonData, secrets: Secrets) -> VendorLook:
    """How far back the key's plan reaches. Raises PolygonAuthError where the vendor does not know the key."""
    from kobe_resources.market_data.over_network import RetryBudget
    from kobe_resources.market_data.polygon.client import PolygonClient
    from kobe_resources.market_data.polygon.errors import PolygonAuthError, PolygonEntitlementError, PolygonError

    key = secrets.polygon_api_key
    once = RetryBudget(total_s=30.0, after_rate=0, after_server=1, after_transport=1, after_malformed=1, after_empty=0)
    client = PolygonClient(key.get_secret_value() if key else None, polygon.base_url, 0, 1, once)
    then = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=TEN_YEARS)
    try:
        rows = client.range_bars("SPY", then, then + dt.timedelta(days=14), twice=False)
    except PolygonEntitlementError:
        rows = []
    except PolygonAuthError:
        raise
    except PolygonError:
        return VendorLook(f"Polygon {NO_ANSWER}; written for a plan with ten years")
    finally:
        client.close()
    if rows:
        return VendorLook("the key is good, and its plan has ten years of bars")
    return VendorLook(f"the key is good, and its plan has about {FREE_YEARS} years of bars", reaches_ten_years=False)


def look_at_alpaca(alpaca: AlpacaData, secrets: Secrets) -> VendorLook:
    """Whose keys these are: of a paper or of a live account. Raises AlpacaAuthError where neither host knows them."""
    from kobe_resources.market_data.alpaca.errors import AlpacaAuthError, AlpacaError

    try:
        count = _tradable(alpaca, secrets, alpaca.assets_url)
        return VendorLook(f"the keys are good: {count:,} assets are listed")
    except AlpacaAuthError:
        if alpaca.assets_url != AlpacaData().assets_url:
            raise
    except AlpacaError:
        return VendorLook(f"Alpaca {NO_ANSWER}")
    try:
        count = _tradable(alpaca, secrets, LIVE_ASSETS)
    except AlpacaAuthError:
        raise
    except AlpacaError:
        return VendorLook(f"Alpaca {NO_ANSWER}")
    return VendorLook(f"the keys are those of a live account: {count:,} assets are listed", assets_url=LIVE_ASSETS)


def _tradable(alpaca: AlpacaData, secrets: Secrets, assets_url: str) -> int:
    from kobe_resources.market_data.alpaca.client import AlpacaDataClient, Keys
    from kobe_resources.market_data.over_network import RetryBudget

    key_id, secret = secrets.alpaca_api_key_id, secrets.alpaca_api_secret_key
    keys = Keys(key_id.get_secret_value(), secret.get_secret_value()) if key_id and secret else None
    once = RetryBudget(total_s=30.0, after_rate=0, after_server=1, after_transport=1, after_malformed=1)
    client = AlpacaDataClient(keys, alpaca.base_url, assets_url, None, once)
    try:
        return len(client.assets())
    finally:
        client.close()
