"""How an asset's result becomes visible: its tables and their version in one transaction, then the event for Dagster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg

from kobe_assets.graph.lineage import record_version, recorded_versions, stored_version
from kobe_resources.market_data.store import refuse_other_source
from kobe_resources.runtime.event_log import get_logger
from kobe_resources.settings.pins import research_pin
from kobe_resources.warehouse.store import refill

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import duckdb
    import pandas as pd

    from kobe_resources.settings.models import Settings
    from kobe_resources.warehouse.store import Warehouse


UNORDERED = frozenset({"indicators"})
"""Tables of a row a bar, whose readers find them by symbol and session."""
log = get_logger("assets")


def versions_above(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dict[str, str]:
    """Asset → data version, of those that this one depends on; to be asked before anything of theirs is read.

    Where another process writes one of them while this asset computes, what is published names the version from before, and
    stays stale.
    """
    with warehouse.connect() as connection:
        known = recorded_versions(connection)
    above = [dep.asset_key.to_user_string() for dep in context.assets_def.get_asset_spec(context.asset_key).deps]
    return {name: known[name].data_version for name in above if name in known}


def publish(
    context: dg.AssetExecutionContext,
    warehouse: Warehouse,
    settings: Settings,
    inputs: Mapping[str, str],
    tables: Mapping[str, pd.DataFrame],
    metadata: dict[str, Any],
    also: Callable[[duckdb.DuckDBPyConnection], None] = lambda _: None,
    first: Callable[[duckdb.DuckDBPyConnection], None] = lambda _: None,
) -> dg.MaterializeResult[None]:
    """Replace `tables` in one transaction and report the version of the asset's. inputs: as `versions_above` gave them.

    first, also: more writes of the same transaction, before and after: to these tables, and to wf_trials.
    """
    refuse_other_source(warehouse, settings.data.vendor)
    with warehouse.transaction({*tables, "wf_trials", "asset_versions"}) as connection:
        first(connection)
        for name, frame in tables.items():
            refill(connection, name, frame, name not in UNORDERED)
        also(connection)
        version = stored_version(connection, context.asset_key.to_user_string())
        note_version(connection, context, version, settings, inputs)
    plain = {name: four_digits(value) if isinstance(value, float) else value for name, value in metadata.items()}
    return dg.MaterializeResult(data_version=dg.DataVersion(version), metadata=plain)


def note_version(
    connection: duckdb.DuckDBPyConnection,
    context: dg.AssetExecutionContext,
    version: str,
    settings: Settings,
    inputs: Mapping[str, str],
) -> None:
    """Say in the warehouse which version the asset's tables now hold, and from which versions they were computed."""
    spec = context.assets_def.get_asset_spec(context.asset_key)
    record_version(
        connection,
        context.asset_key.to_user_string(),
        version,
        spec.code_version or "",
        research_pin(settings),
        context.run_id,
        inputs,
    )
    log.info("an asset was computed", asset=context.asset_key.to_user_string(), version=version, run_id=context.run_id)


def preview(frame: pd.DataFrame, rows: int = 8) -> dg.MetadataValue:
    """The first rows as a table that the UI draws."""
    records = [
        dg.TableRecord({str(name): _plain(value) for name, value in row.items()})
        for row in frame.head(rows).to_dict(orient="records")
    ]
    return dg.MetadataValue.table(records) if records else dg.MetadataValue.text("no rows")


def four_digits(value: float) -> float:
    """`value` to four digits, and never coarser than cents: what a person reads off a page of the UI."""
    return round(value, 2) if abs(value) >= 100.0 else float(f"{value:.4g}")


def _plain(value: Any) -> str | int | float | bool:
    if hasattr(value, "item"):
        value = value.item()
    if value is None or value != value:
        return ""
    if isinstance(value, float):
        return four_digits(value)
    return value if isinstance(value, bool | int) else str(value)[:200].removesuffix(" 00:00:00")
