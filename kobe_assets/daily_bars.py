"""daily_bars: raw bars and splits from the vendor; the truth that everything else is derived from."""

from pathlib import Path
from typing import Any

import dagster as dg

from kobe_assets.graph.lineage import stored_version
from kobe_assets.graph.publish import note_version, preview
from kobe_assets.graph.table_schemas import table_schema
from kobe_resources.market_data.store import refuse_other_source
from kobe_resources.resources import VendorResource, WarehouseResource
from kobe_resources.runtime.sql_files import read_sql
from kobe_resources.settings.models import Settings

FORCE_TAG = "kobe/force"
"""A run with this tag loads from the source even where its fingerprint has not changed."""


HERE = Path(__file__).parent


@dg.asset(
    group_name="market_data",
    kinds={"duckdb", "python"},
    owners=["team:kobe"],
    metadata={"dagster/column_schema": table_schema("daily_bars"), "dagster/table_name": "kobe.main.daily_bars"},
)
def daily_bars(
    context: dg.AssetExecutionContext,
    store: WarehouseResource,
    vendor: VendorResource,
    settings: dg.ResourceParam[Settings],
) -> dg.MaterializeResult[None]:
    """Daily bars as traded, with splits kept apart, from the vendor of the settings.

    An unchanged source is not loaded again, so that what is stored stays as it is; what a vendor restates is kept in
    bar_revisions.
    """
    warehouse = store.open()
    source = vendor.open()
    # `kobe report --force` asks to compute again; to give up bars is asked of `kobe bars refresh --force`.
    refuse_other_source(warehouse, source.name)
    report = source.sync(warehouse, force=FORCE_TAG in context.run_tags)
    with warehouse.transaction({"asset_versions"}) as connection:
        version = stored_version(connection, "daily_bars")
        note_version(connection, context, version, settings, {})
    with warehouse.connect():
        return dg.MaterializeResult(data_version=dg.DataVersion(version), metadata=_facts(warehouse.frame, report))


def _facts(frame: Any, report: Any) -> dict[str, Any]:
    facts = frame(read_sql(HERE / "graph", "bars_facts")).iloc[0]
    return {
        "dagster/row_count": int(facts["bars"]),
        "symbols": int(facts["symbols"]),
        "sessions": int(facts["sessions"]),
        "first session": str(facts["first_session"])[:10],
        "last session": str(facts["last_session"])[:10],
        "bars added": report.added,
        "bars restated": report.changed,
        "bars taken back": report.removed,
        "vendor": report.vendor,
        "latest session": preview(frame("SELECT * FROM daily_bars WHERE session = (SELECT max(session) FROM daily_bars)")),
    }
