"""signals: what each strategy wants after the close of every session, at the canonical parameters."""

import dagster as dg
import pandas as pd

from kobe_assets.graph.frames import in_order_of_sessions, signals_frame
from kobe_assets.graph.inputs import canonical_params, load_market
from kobe_assets.graph.own_strategies import strategies_of
from kobe_assets.graph.publish import preview, publish, versions_above
from kobe_assets.graph.table_schemas import table_schema
from kobe_assets.research.signals import find_candidates
from kobe_assets.research.walk_forward import Market
from kobe_resources.resources import WarehouseResource
from kobe_resources.runtime.process_state import kept_process_state
from kobe_resources.settings.models import Settings

NO_LOOKAHEAD = dg.AssetCheckSpec(
    "no_lookahead",
    asset="signals",
    blocking=True,
    description="Recomputed on bars cut off at several dates, and on a future of noise, the past is identical.",
)
CHECKS = [NO_LOOKAHEAD]
"""What must be true of the rows; `checks.runner` judges it in one step after the asset."""


@dg.asset(
    deps=["daily_bars", "universe", "indicators"],
    group_name="research",
    kinds={"duckdb", "numba"},
    owners=["team:kobe"],
    metadata={"dagster/column_schema": table_schema("signals"), "dagster/table_name": "kobe.main.signals"},
)
def signals(
    context: dg.AssetExecutionContext, store: WarehouseResource, settings: dg.ResourceParam[Settings]
) -> dg.MaterializeResult[None]:
    """Long and short signals of every strategy, strongest first within a session; selected symbols only, none in quarantine."""
    warehouse = store.open()
    inputs = versions_above(context, warehouse)
    market = load_market(warehouse, settings)
    frame = signals_of(market, settings)
    last = market.panel.sessions[-1]
    latest = frame[frame["session"] == last]
    return publish(
        context,
        warehouse,
        settings,
        inputs,
        {"signals": frame},
        {
            "dagster/row_count": len(frame),
            "session": str(last),
            "signals of the latest session": len(latest),
            **{
                f"{name} {side}": int(((frame["strategy"] == name) & (frame["side"] == side)).sum())
                for name in strategies_of(settings)
                for side in ("long", "short")
            },
            "latest": preview(latest),
        },
    )


@kept_process_state()
def signals_of(market: Market, settings: Settings) -> pd.DataFrame:
    """The signals table of a market at the canonical parameters."""
    readable = market.readable()
    frames = []
    for _, strategy in sorted(strategies_of(settings).items()):
        params = canonical_params(settings, strategy)
        frames.append(signals_frame(market, strategy, find_candidates(market.panel, readable, strategy, params), params))
    return in_order_of_sessions(frames)
