"""The report's inputs, read whole from a warehouse in which everything is computed."""

from __future__ import annotations

from collections.abc import Mapping

from kobe_assets.report.analysis.inputs import ReportInputs, read_study, read_trades, with_figures
from kobe_resources.settings.models import Settings
from kobe_resources.warehouse.store import Warehouse


def read_inputs(warehouse: Warehouse, settings: Settings, versions: Mapping[str, str] | None = None) -> ReportInputs:
    """What `kobe report` makes its page of. versions: as in `with_figures`."""
    return with_figures(warehouse, read_study(warehouse, settings, read_trades(warehouse, settings)), versions)
