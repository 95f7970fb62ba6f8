"""Where bars come from: one protocol, five vendors (sample, synthetic, files, polygon, alpaca)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kobe_resources.market_data.protocol import MarketDataError, Progress, SilentProgress, SyncReport, Vendor

if TYPE_CHECKING:
    from kobe_resources.settings.models import Settings
    from kobe_resources.settings.secrets import Secrets

AGING = ("polygon", "alpaca")
"""Vendors whose market goes on: what is stored grows stale."""

__all__ = ["AGING", "MarketDataError", "Progress", "SilentProgress", "SyncReport", "Vendor", "open_vendor"]


def open_vendor(settings: Settings, secrets: Secrets) -> Vendor:
    """The vendor that `data.vendor` names; nothing is read or called yet."""
    if settings.data.vendor == "polygon":
        from kobe_resources.market_data.polygon.vendor import PolygonVendor

        return PolygonVendor(settings, secrets)
    if settings.data.vendor == "alpaca":
        from kobe_resources.market_data.alpaca.vendor import AlpacaVendor

        return AlpacaVendor(settings, secrets)
    if settings.data.vendor == "files":
        from kobe_resources.market_data.local.files import FilesVendor

        return FilesVendor(settings.data)
    if settings.data.vendor == "synthetic":
        from kobe_resources.market_data.local.synthetic import SyntheticVendor

        return SyntheticVendor(settings.data)
    from kobe_resources.market_data.local.sample import SampleVendor

    return SampleVendor(settings.data)
