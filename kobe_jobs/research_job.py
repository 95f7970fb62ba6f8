"""Jobs of the research path."""

from __future__ import annotations

import dagster as dg


def research_jobs() -> list[dg.UnresolvedAssetJobDefinition]:
    """`wf_report` computes everything up to the report, `refresh` the bars and what depends on them up to the signals."""
    return [
        dg.define_asset_job(
            "wf_report",
            selection=dg.AssetSelection.assets("kpi_report").upstream(),
            description="Everything up to the walk-forward report; Kobe's command line runs only what is stale of it.",
        ),
        dg.define_asset_job(
            "refresh",
            selection=dg.AssetSelection.assets("signals").upstream(),
            description="Top up bars and bring universe, indicators and signals up to date.",
        ),
    ]
