"""indicators: RSI-2, SMA-200, ATR-14, IBS and what strategies declare, of the symbols that may trade."""

import dagster as dg
import duckdb
import numpy as np

from kobe_assets.graph.frames import indicators_frame
from kobe_assets.graph.inputs import keep_indicators, load_panel
from kobe_assets.graph.own_strategies import declared_indicators, strategies_of
from kobe_assets.graph.publish import preview, publish, versions_above
from kobe_assets.graph.table_schemas import table_schema
from kobe_assets.research.indicators import CANONICAL_COLUMNS, compute_indicators
from kobe_resources.resources import WarehouseResource
from kobe_resources.runtime.process_state import kept_process_state
from kobe_resources.settings.models import Settings
from kobe_resources.warehouse.store import fit_columns

ONE_ROW_A_BAR = dg.AssetCheckSpec(
    "one_row_a_bar",
    asset="indicators",
    blocking=True,
    description="Every bar of a symbol that may trade has one row of indicators, and none is infinite or out of its range.",
)
CHECKS = [ONE_ROW_A_BAR]
"""What must be true of the rows; `checks.runner` judges it in one step after the asset."""
DECLARED = "DOUBLE USING COMPRESSION uncompressed"
"""Type of a column that strategies declare: full numbers pack by a sixth at most, and trying takes longer than writing them."""


@dg.asset(
    deps=["daily_bars", "universe"],
    group_name="research",
    kinds={"duckdb", "numba"},
    owners=["team:kobe"],
    metadata={"dagster/column_schema": table_schema("indicators"), "dagster/table_name": "kobe.main.indicators"},
)
def indicators(
    context: dg.AssetExecutionContext, store: WarehouseResource, settings: dg.ResourceParam[Settings]
) -> dg.MaterializeResult[None]:
    """Indicators on split-adjusted bars, of every symbol that may trade, could once, or is held."""
    warehouse = store.open()
    inputs = versions_above(context, warehouse)
    panel = load_panel(warehouse)
    declared = declared_indicators(strategies_of(settings).values())
    with kept_process_state():
        computed = compute_indicators(panel, declared)
    frame = indicators_frame(panel, computed)

    def make_room(connection: duckdb.DuckDBPyConnection) -> None:
        columns = {"symbol": "VARCHAR NOT NULL", "session": "DATE NOT NULL", **dict.fromkeys(CANONICAL_COLUMNS, "DOUBLE")}
        fit_columns(connection, "indicators", {**columns, **dict.fromkeys(computed.others, DECLARED)})

    result = publish(
        context,
        warehouse,
        settings,
        inputs,
        {"indicators": frame},
        {
            "dagster/row_count": len(frame),
            "symbols": len(panel.symbols),
            "bars with rsi2": int(np.isfinite(frame["rsi2"]).sum()),
            "bars with sma200": int(np.isfinite(frame["sma200"]).sum()),
            **{f"bars with {name}": int(np.isfinite(column).sum()) for name, column in computed.others.items()},
            "latest": preview(frame[panel.session == len(panel.sessions) - 1]),
        },
        first=make_room,
    )
    if result.data_version is not None:
        keep_indicators(warehouse, panel, computed, result.data_version.value)
    return result
