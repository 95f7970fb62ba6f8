"""kpi_report: the figures of the chained out-of-sample curves, how much of them is luck, and the page."""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import dagster as dg

from kobe_assets.graph.inputs import load_market
from kobe_assets.graph.lineage import recorded_versions
from kobe_assets.graph.publish import four_digits, publish, versions_above
from kobe_assets.graph.table_schemas import table_schema
from kobe_assets.report.analysis.cautions import Caution, cautions_of
from kobe_assets.report.analysis.heat_map import stored_grids
from kobe_assets.report.analysis.inputs import ReportInputs, evidence_frame, read_study, read_trades, with_figures
from kobe_assets.report.analysis.results import StrategyResult, books_of, books_with_figures
from kobe_assets.report.analysis.stored_curves import compute_evidence, compute_kpis
from kobe_assets.report.analysis.verdict import VerdictRow, kpi_markdown, verdict_rows
from kobe_assets.report.page.heat_map_picture import heat_map_markdown
from kobe_assets.report.page.packed_data import PackedData
from kobe_assets.report.page.page import PAGE, build_report, packed_of, page_template, write_report
from kobe_resources.resources import NextOrders, WarehouseResource
from kobe_resources.runtime.report_site import report_link
from kobe_resources.settings.load import kobe_home
from kobe_resources.settings.models import Settings
from kobe_resources.warehouse.store import Warehouse, insert

FIGURES_COMPLETE = dg.AssetCheckSpec(
    "figures_complete",
    asset="kpi_report",
    blocking=True,
    description="Every figure is there: finite, or null with a reason.",
)
CHECKS = [FIGURES_COMPLETE]
"""What must be true of the rows; `checks.runner` judges it in one step after the asset."""


@dg.asset(
    deps=["daily_bars", "universe", "signals", "wf_folds"],
    group_name="evidence",
    kinds={"duckdb", "plotly"},
    owners=["team:kobe"],
    metadata={"dagster/column_schema": table_schema("kpis"), "dagster/table_name": "kobe.main.kpis"},
)
def kpi_report(
    context: dg.AssetExecutionContext,
    store: WarehouseResource,
    settings: dg.ResourceParam[Settings],
    next_orders: dg.ResourceParam[NextOrders],
) -> dg.MaterializeResult[None]:
    """Does it clear costs and beat holding, is it luck, can it be traded: figures of every strategy, and one HTML page."""
    warehouse = store.open()
    above = versions_above(context, warehouse)
    market = load_market(warehouse, settings)
    trades = read_trades(warehouse, settings)
    made: list[tuple[ReportInputs, list[StrategyResult], PackedData, Mapping[str, Any] | None]] = []

    def meanwhile() -> None:
        """What the page needs but the figures: work of one thread, while the others draw entries."""
        page_template(PAGE)
        study = read_study(warehouse, settings, trades, market)
        books = books_of(study)
        made.append((study, books, packed_of(study, books), next_orders(settings, warehouse)))

    evidence = compute_evidence(warehouse, market, settings, trades, meanwhile)
    kpis, reasons = compute_kpis(warehouse, trades, settings, evidence)
    result = publish(
        context,
        warehouse,
        settings,
        above,
        {"kpis": kpis, "kpi_reasons": reasons, "evidence": evidence_frame(evidence)},
        {},
    )
    study, books, packed, orders = made.pop()
    inputs = with_figures(warehouse, study, _versions(warehouse))
    books = books_with_figures(books, inputs)
    page = build_report(inputs, dt.datetime.now(dt.UTC), books, packed, orders)
    path = write_report(page, kobe_home() / "reports", packed, settings.report.keep)
    rows = verdict_rows(inputs, books)
    _store_verdict(warehouse, rows, cautions_of(settings, books, inputs.evidence))
    sharpes = kpis[(kpis["figure"] == "sharpe") & kpis["value"].notna()]
    return result._replace(
        metadata={
            "dagster/row_count": len(kpis),
            "verdict": dg.MetadataValue.md(kpi_markdown(rows)),
            "heat map": dg.MetadataValue.md(heat_map_markdown(stored_grids(inputs.evidence))),
            "report": dg.MetadataValue.url(report_link(path.name)),
            "file": dg.MetadataValue.path(str(path)),
            **{f"sharpe {s} {m}": four_digits(v) for s, m, v in sharpes[["strategy", "mode", "value"]].to_numpy()},
        }
    )


def _versions(warehouse: Warehouse) -> dict[str, str]:
    """The recorded code and data version of every asset, as the page lists them."""
    with warehouse.connect() as connection:
        made_by = recorded_versions(connection)
    return {
        **{f"code: {name}": version.code_version for name, version in made_by.items()},
        **{f"data: {name}": version.data_version for name, version in made_by.items()},
    }


def _store_verdict(warehouse: Warehouse, rows: Iterable[VerdictRow], cautions: Iterable[Caution]) -> None:
    """Add the verdict and the cautions of the page to `evidence`, from where the command prints them."""
    verdict = {"verdict": [asdict(row) for row in rows], "cautions": [asdict(caution) for caution in cautions]}
    with warehouse.transaction({"evidence"}) as connection:
        insert(connection, "evidence", evidence_frame({("report", ""): verdict}))
