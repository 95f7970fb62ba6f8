"""The Dagster doors: what a run uses from outside, as typed resources; the only module that subclasses one.

A resource opens nothing until it is asked, so that a graph loads without a warehouse, a broker or a key.
"""

import contextlib
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from kobe_resources.broker.open import open_broker
from kobe_resources.broker.protocol import Broker
from kobe_resources.market_data import Vendor, open_vendor
from kobe_resources.order_ledger import OrderLedger
from kobe_resources.order_ledger.positions import open_symbols
from kobe_resources.settings.models import Settings
from kobe_resources.settings.pins import config_pin
from kobe_resources.settings.secrets import load_secrets
from kobe_resources.warehouse.store import Warehouse


class SettingsResource(dg.ConfigurableResource[Settings]):
    """The settings of a run; bodies ask for `dg.ResourceParam[Settings]` and get them checked and frozen."""

    given: dg.ResourceDependency[Settings]

    def create_resource(self, context: dg.InitResourceContext) -> Settings:  # noqa: ARG002  the base class names it
        """The settings themselves."""
        settings: Settings = self.given
        return settings


class WarehouseResource(dg.ConfigurableResource[Any]):
    """The DuckDB file that every table of the research graph is in."""

    path: str = Field(default="", description="The DuckDB file; empty: kobe.duckdb in KOBE_HOME.")

    def open(self) -> Warehouse:
        """The warehouse; connections are opened by the statement."""
        return Warehouse(Path(self.path) if self.path else None)


class VendorResource(dg.ConfigurableResource[Any]):
    """The source of bars that `data.vendor` names."""

    settings: dg.ResourceDependency[Settings]

    def open(self) -> Vendor:
        """The vendor with the keys of the environment; it reads and calls nothing yet."""
        return open_vendor(self.settings, load_secrets())


class BrokerResource(dg.ConfigurableResource[Any]):
    """The broker of the stage of the settings."""

    settings: dg.ResourceDependency[Settings]

    @contextlib.contextmanager
    def open(self, leave_clock: bool = False) -> Iterator[Broker]:
        """The broker, closed at the end of the block. leave_clock: as in `open_broker`. Raises what `open_broker` raises."""
        with contextlib.closing(open_broker(self.settings, load_secrets(), self.settings.broker.stage, leave_clock)) as broker:
            yield broker


class LedgerResource(dg.ConfigurableResource[Any]):
    """The order ledger of the data folder, with the pin of the settings on its records."""

    settings: dg.ResourceDependency[Settings]

    def open(self, run_id: str = "") -> OrderLedger:
        """The ledger; close it, or use it as a context. run_id: named in its records, one of its own where empty."""
        return OrderLedger(pin=config_pin(self.settings), run_id=run_id or uuid.uuid4().hex[:12])

    def held(self) -> set[str]:
        """Symbols of the ledger's open positions; none where no order was ever decided."""
        with self.open() as ledger:
            return open_symbols(ledger) if ledger.path.is_file() else set()


NextOrders = Callable[[Settings, Warehouse], Mapping[str, Any] | None]
"""What the next run would send, as plain data; None where nothing is known of it."""


def no_orders(_: Settings, __: Warehouse) -> Mapping[str, Any] | None:
    """Nothing is known of the next run: for a graph without the trading side."""
    return None


def resources_of(settings: Settings, next_orders: NextOrders = no_orders) -> dict[str, Any]:
    """Every resource under these settings, by the key that assets, checks, ops and sensors ask for.

    next_orders: how the report learns what the trading side would do, which it may not import.
    """
    given = SettingsResource(given=dg.ResourceDefinition.hardcoded_resource(settings))
    return {
        "settings": given,
        "store": WarehouseResource(),
        "vendor": VendorResource(settings=given),
        "broker": BrokerResource(settings=given),
        "ledger": LedgerResource(settings=given),
        "next_orders": dg.ResourceDefinition.hardcoded_resource(next_orders),
    }
