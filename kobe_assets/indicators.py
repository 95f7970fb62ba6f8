"""indicators: RSI-2, SMA-200, ATR-14 and IBS of the symbols that may trade."""

import dagster as dg
import numpy as np

from kobe_assets.graph.frames import indicators_frame
from kobe_assets.graph.inputs import load_panel
from kobe_assets.graph.publish import preview, publish
from kobe_assets.graph.table_schemas import table_schema
from kobe_assets.research.indicators import compute_indicators
from kobe_resources.resources import WarehouseResource
from kobe_resources.settings.models import Settings

ONE_ROW_A_BAR = dg.AssetCheckSpec(
    "one_row_a_bar",
    asset="indicators",
    blocking=True,
    description="Every bar of a symbol that may trade has one row of indicators, and none is infinite or out of its range.",
)
CHECKS = [ONE_ROW_A_BAR]
"""What must be true of the rows; `checks.runner` judges it in one step after the asset."""


@dg.asset(
    deps=["daily_bars", "universe"],
    group_name="research",
    kinds={"duckdb", "numba"},
    owners=["team:kobe"],
    metadata={"dagster/column_schema": table_schema("indicators"), "dagster/table_name": "kobe.main.indicators"},
)
def indicators(
    context: dg.AssetExecutionContext, store: WarehouseResource, settings: dg.ResourceParam[Settings]
) -> dg.MaterializeResult:
    """Indicators on split-adjusted bars, of every symbol that may trade, could once, or is held."""
    warehouse = store.open()
    panel = load_panel(warehouse)
    frame = indicators_frame(panel, compute_indicators(panel))
    return publish(
        context,
        warehouse,
        settings,
        {"indicators": frame},
        {
            "dagster/row_count": len(frame),
            "symbols": len(panel.symbols),
            "bars with rsi2": int(np.isfinite(frame["rsi2"]).sum()),
            "bars with sma200": int(np.isfinite(frame["sma200"]).sum()),
            "latest": preview(frame[panel.session == len(panel.sessions) - 1]),
        },
    )
