"""universe: the evidence of every candidate, and which of them may trade."""

import dagster as dg
import pandas as pd

from kobe_assets.graph.own_strategies import read_of
from kobe_assets.graph.publish import preview, publish, versions_above
from kobe_assets.graph.table_schemas import table_schema
from kobe_assets.selection.eligibility import build_universe
from kobe_assets.selection.membership import build_membership
from kobe_resources.resources import LedgerResource, WarehouseResource
from kobe_resources.settings.models import Settings

NO_MEMBERSHIP = pd.DataFrame(columns=["symbol", "from", "to"])
"""A static list has no membership over time."""


@dg.asset(
    deps=["daily_bars"],
    group_name="market_data",
    kinds={"duckdb", "python"},
    owners=["team:kobe"],
    metadata={"dagster/column_schema": table_schema("universe"), "dagster/table_name": "kobe.main.universe"},
)
def universe(
    context: dg.AssetExecutionContext,
    store: WarehouseResource,
    ledger: LedgerResource,
    settings: dg.ResourceParam[Settings],
) -> dg.MaterializeResult[None]:
    """Every candidate with its evidence (history, dollar volume, options); the selected ones, or the reason why not."""
    warehouse = store.open()
    inputs = versions_above(context, warehouse)
    candidates = build_universe(warehouse, settings)
    selected = candidates[candidates["selected"]]
    members = build_membership(warehouse, settings) if settings.universe.membership == "point_in_time" else NO_MEMBERSHIP
    # A position may outlive its selection, and leaves by its indicators.
    panel = sorted(
        {
            *selected["symbol"],
            *members["symbol"],
            *ledger.held(),
            *filter(None, [settings.report.benchmark]),
            *read_of(settings),
        }
    )
    tables = {
        "universe": candidates,
        "universe_membership": members,
        "panel_symbols": pd.DataFrame({"symbol": panel}, dtype=object),
    }
    return publish(
        context,
        warehouse,
        settings,
        inputs,
        tables,
        {
            "dagster/row_count": len(candidates),
            "selected": len(selected),
            "rejected": len(candidates) - len(selected),
            "shortest history of the selected (years)": float(selected["years"].min()) if len(selected) else 0.0,
            "median dollar volume of the selected": float(selected["adv_usd"].median()) if len(selected) else 0.0,
            "candidates": preview(candidates),
        },
    )
