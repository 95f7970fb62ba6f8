"""The one code location: assets, checks, jobs, schedules, sensors and the resources they stand on.

Importing this reads no settings and compiles nothing; Dagster calls `defs` when it loads the location.
"""

from __future__ import annotations

import datetime as dt
import warnings
from collections.abc import Mapping
from typing import Any

import dagster as dg

from kobe_resources.market_data import AGING
from kobe_resources.settings.load import load_settings
from kobe_resources.settings.models import Settings
from kobe_resources.warehouse.store import Warehouse

# Dagster's own failure sensor passes a parameter that Dagster calls beta; a person at the terminal can do nothing about it.
warnings.filterwarnings("ignore", message="Parameter `owners`", category=dg.BetaWarning)

DAILY = dg.FreshnessPolicy.time_window(fail_window=dt.timedelta(days=5), warn_window=dt.timedelta(days=4))


@dg.definitions
def defs() -> dg.Definitions:
    """Everything under the settings in force."""
    from kobe_resources.runtime.event_log import configure_logging

    configure_logging()
    return build_definitions(load_settings())


def build_definitions(settings: Settings) -> dg.Definitions:
    """Everything under these settings; a change of them shows as stale assets."""
    from kobe_assets.checks.runner import all_checks
    from kobe_jobs.research_job import research_definitions
    from kobe_jobs.trading_job import trading_definitions
    from kobe_resources.resources import resources_of

    graph = dg.Definitions(
        assets=versioned(settings),
        asset_checks=all_checks(),
        resources=resources_of(settings, _next_orders),
        executor=dg.in_process_executor,
    )
    return dg.Definitions.merge(graph, research_definitions(), trading_definitions())


def _next_orders(settings: Settings, warehouse: Warehouse) -> Mapping[str, Any] | None:
    from kobe_jobs.trading.tomorrow import next_orders

    return next_orders(settings, warehouse)


def versioned(settings: Settings) -> list[dg.AssetsDefinition]:
    """The research assets with the code versions of these settings."""
    from kobe_assets.daily_bars import daily_bars
    from kobe_assets.indicators import indicators
    from kobe_assets.kpi_report import kpi_report
    from kobe_assets.signals import signals
    from kobe_assets.universe import universe
    from kobe_assets.wf_folds import wf_folds

    versions = _known_versions(settings)

    def stamp(spec: dg.AssetSpec) -> dg.AssetSpec:
        stamped = spec.replace_attributes(code_version=versions[spec.key.to_user_string()])
        # A file or the sample does not age; a vendor's market does, and a long weekend is four days.
        aging = settings.data.vendor in AGING
        return stamped.replace_attributes(freshness_policy=DAILY) if aging else stamped

    return [asset.map_asset_specs(stamp) for asset in (daily_bars, universe, indicators, signals, wf_folds, kpi_report)]


def _known_versions(settings: Settings) -> dict[str, str]:
    """The code versions; where a strategy is broken, none is known, and what is asked to compute says why."""
    from kobe_assets.graph.lineage import DEPENDS, code_versions
    from kobe_assets.research.faults import StrategyBroken, StrategyFault
    from kobe_jobs.research_run.vendor_freshness import lenient_fingerprint

    try:
        return code_versions(settings, lenient_fingerprint(settings))
    except (StrategyBroken, StrategyFault):
        return dict.fromkeys(DEPENDS, "a strategy is broken")
