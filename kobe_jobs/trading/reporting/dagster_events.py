"""What a trading run did, as Dagster's events on the external assets orders, fills and positions."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from kobe_jobs.trading.reporting.summary import RunSummary
from kobe_resources.errors import KobeError
from kobe_resources.runtime.event_log import get_logger
from kobe_resources.settings.load import kobe_home

if TYPE_CHECKING:
    import dagster as dg

log = get_logger("trading")
NUMBER = re.compile(r"-?\d+(\.\d+)?")
ORDER_COLUMNS = {
    "symbol": "symbol", "side": "side", "for": "leg", "shares": "qty", "order": "kind", "limit": "limit_price",
    "stop": "stop_price", "dollars": "dollars", "state": "state", "filled": "filled_qty", "at": "filled_avg_price",
    "why": "reason",
}  # fmt: skip
FILL_COLUMNS = {"symbol": "symbol", "side": "side", "for": "leg", "shares": "filled_qty", "price": "filled_avg_price"}
POSITION_COLUMNS = {
    "symbol": "symbol", "strategy": "strategy", "side": "side", "shares": "shares", "since": "entry_session", "entry": "entry",
    "stop": "stop", "bars held": "bars_held", "leaves": "flag",
}  # fmt: skip


def run_events(summary: RunSummary) -> list[dg.AssetMaterialization]:
    """One materialization an asset, each with its table, and with the whole summary."""
    import dagster as dg

    run = summary.as_json()
    common: dict[str, Any] = {
        "session": run["session"], "stage": run["stage"], "audit head": run["audit_head"], "config pin": run["config_pin"],
        "summary": dg.MetadataValue.json(run),
    }  # fmt: skip
    tables = _tables(summary)
    refused = [{"refused because": reason.replace("_", " "), "signals": str(n)} for reason, n in summary.refused.items()]
    facts: dict[str, dict[str, Any]] = {
        "orders": {
            "signals": summary.signals,
            "submitted": summary.submitted,
            **({"refused": _table(refused)} if refused else {}),
        },
        "fills": {"filled": summary.filled, "exits filled": summary.exits_filled},
        "positions": {"protected": summary.stops, "unprotected": ", ".join(summary.unprotected) or "none"},
    }
    return [dg.AssetMaterialization(asset, metadata={**tables[asset], **facts[asset], **common}) for asset in facts]


def _tables(summary: RunSummary) -> dict[str, dict[str, Any]]:
    """The rows of each asset as a table; without rows there is none."""
    orders, positions = ORDER_COLUMNS, POSITION_COLUMNS
    filled = [row for row in summary.orders if row["filled_avg_price"] is not None]
    rows = {
        "orders": [{name: _shown(row[key]) for name, key in orders.items()} for row in summary.orders],
        "fills": [{name: _shown(row[key]) for name, key in FILL_COLUMNS.items()} for row in filled],
        "positions": [{name: _shown(row[key]) for name, key in positions.items()} for row in summary.positions],
    }
    return {asset: {asset: _table(found)} if found else {} for asset, found in rows.items()}


def _table(rows: list[dict[str, Any]]) -> dg.TableMetadataValue:
    import dagster as dg

    columns = [dg.TableColumn(name) for name in rows[0]]
    return dg.MetadataValue.table([dg.TableRecord(row) for row in rows], dg.TableSchema(columns))


def _shown(value: Any) -> str:
    """A value as a person reads it; shares and prices, which rows hold as text, to four digits behind the point."""
    if isinstance(value, str) and NUMBER.fullmatch(value):
        return f"{Decimal(value):.4f}".rstrip("0").rstrip(".") if "." in value else value
    return "" if value is None else str(value)


def show_run(summary: RunSummary) -> None:
    """Let the UI show a run of the command line among its runs; where its history cannot take it, that is logged.

    The trading is over by then: the run that Dagster records only reports it, under the name of the job that does the same.
    """
    if not (kobe_home() / "dagster" / "history").is_dir():
        # A history without the research would call all of it unsynced.
        return
    import dagster as dg
    from sqlalchemy.exc import SQLAlchemyError

    from kobe_resources.runtime.dagster_instance import open_instance

    try:
        with open_instance() as instance:
            _reporting_job(summary).execute_in_process(
                instance=instance,
                raise_on_error=False,
                tags={"kobe/from": "command line", "kobe/session": str(summary.session)},
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            )
    except (KobeError, dg.DagsterError, SQLAlchemyError, OSError, RuntimeError, ValueError) as error:
        log.warning("a trading run could not be shown in the UI", reason=str(error))


def _reporting_job(summary: RunSummary) -> dg.JobDefinition:
    """A job that only reports a run: its events, and whether it left something open."""
    import dagster as dg

    @dg.op(name="trade", description="A run of `kobe trade`, told after it.")
    def tell() -> None:
        # Asked for, because Dagster cannot read the annotation of a parameter whose module imports it late.
        context = dg.OpExecutionContext.get()
        for event in run_events(summary):
            context.log_event(event)
        if not summary.is_clean:
            raise dg.Failure(summary.halted or "not everything is settled", allow_retries=False)

    @dg.job(name="trade_session", executor_def=dg.in_process_executor)
    def trade_session() -> None:
        tell()

    return trade_session
