"""What a trading run did, as Dagster's events on the external assets orders, fills and positions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kobe_jobs.trading.reporting.summary import RunSummary
from kobe_resources.errors import KobeError
from kobe_resources.runtime.event_log import get_logger
from kobe_resources.settings.load import kobe_home

if TYPE_CHECKING:
    import dagster as dg

log = get_logger("trading")


def run_events(summary: RunSummary) -> list[dg.AssetMaterialization]:
    """One materialization an asset, each with the whole summary."""
    import dagster as dg

    run = summary.as_json()
    common: dict[str, Any] = {
        "session": run["session"], "stage": run["stage"], "audit head": run["audit_head"], "config pin": run["config_pin"],
        "summary": dg.MetadataValue.json(run),
    }  # fmt: skip
    facts: dict[str, dict[str, Any]] = {
        "orders": {"signals": summary.signals, "submitted": summary.submitted, "refused": summary.refused},
        "fills": {"filled": summary.filled, "exits filled": summary.exits_filled},
        "positions": {"protected": summary.stops, "unprotected": list(summary.unprotected)},
    }
    return [dg.AssetMaterialization(asset, metadata={**common, **facts[asset]}) for asset in facts]


def show_run(summary: RunSummary) -> None:
    """Let the UI know of a run that no job of it made; a history that cannot take it is logged, the run stands all the same."""
    if not (kobe_home() / "dagster" / "history").is_dir():
        # A history without the research would call all of it unsynced.
        return
    import dagster as dg
    from sqlalchemy.exc import SQLAlchemyError

    from kobe_resources.runtime.dagster_instance import open_instance

    try:
        with open_instance() as instance:
            for event in run_events(summary):
                instance.report_runless_asset_event(event)
    except (KobeError, dg.DagsterError, SQLAlchemyError, OSError, RuntimeError, ValueError) as error:
        log.warning("a trading run could not be shown in the UI", reason=str(error))
