"""Everything the report is made of, read from the warehouse in one go; it trusts the tables to be as the schema says.

`build_report` sees nothing but `ReportInputs`: equal inputs give equal pages, and tests can invent them.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kobe_assets.graph.inputs import load_indicators, load_panel
from kobe_assets.graph.own_strategies import strategies_of
from kobe_assets.report.analysis.from_panel import DRAWN, MONEY_COLUMNS, as_read, bars_within, money_at_work
from kobe_assets.report.analysis.trade_spans import sorted_trades, windows_of
from kobe_assets.research.panel import PRICES
from kobe_resources.runtime.sql_files import read_sql
from kobe_resources.settings.models import Settings
from kobe_resources.settings.pins import research_pin

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

    from kobe_assets.research.panel import Floats
    from kobe_assets.research.walk_forward import Market
    from kobe_resources.warehouse.store import Warehouse

Evidence = Mapping[tuple[str, str], Mapping[str, Any]]

STANDARD_STOP = "atr14"
"""The indicator that the stops of Kobe's own strategies lie a multiple of away."""
UNIVERSE = ("universe", "benchmark")
DATA = ("data", "")
"""Owners of the evidence that belongs to no strategy."""

PACKAGES = ("kobe", "numpy", "numba", "pandas", "duckdb", "plotly", "dagster")
_HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class ReportInputs:
    """The tables (columns as in warehouse/schema) and what else the page shows.

    trades: wf_trades as `sorted_trades`, plus `signal_atr`, the indicator its stop was set by (mostly an ATR), in adjusted
    dollars, NaN without a stop. bars: adjusted bars around the trades, with the indicators that every chart draws; of the
    others, `bar` is the place in their column of `indicators`. holdings: strategy, mode, fold, session, positions and dollars
    invested at the close. spans: one row a source of bars. dollar_volume: symbol, year, median_usd. trial_counts: strategy,
    recorded, parameter_sets, runs. revisions: bar_revisions, empty where the warehouse has none.
    evidence: (strategy, mode) → name → value. pins and versions: name → text.
    """

    settings: Settings
    folds: pd.DataFrame
    trades: pd.DataFrame
    equity: pd.DataFrame
    trials: pd.DataFrame
    trial_counts: pd.DataFrame
    kpis: pd.DataFrame
    kpi_reasons: pd.DataFrame
    universe: pd.DataFrame
    splits: pd.DataFrame
    spans: pd.DataFrame
    dollar_volume: pd.DataFrame
    bars: pd.DataFrame
    revisions: pd.DataFrame
    holdings: pd.DataFrame
    indicators: Mapping[str, Floats] = field(default_factory=dict)
    evidence: Evidence = field(default_factory=dict)
    pins: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


def read_trades(warehouse: Warehouse, settings: Settings) -> pd.DataFrame:
    """The table wf_trades in the order of `sorted_trades`, names as categories, and `signal_atr` as in ReportInputs."""
    names = ("strategy", "mode", "entered_by", "symbol", "side", "exit_reason")
    found = warehouse.frame("SELECT * FROM wf_trades").astype(dict.fromkeys(names, "category"))
    found["signal_atr"] = np.full(len(found), np.nan)
    if len(found):
        panel = load_panel(warehouse)
        indicators, lag = load_indicators(warehouse, panel), settings.strategy.indicator_lag_bars
        found["signal_atr"] = as_read(panel, indicators[STANDARD_STOP], found, lag)
        for strategy in strategies_of(settings).values():
            if strategy.stop != STANDARD_STOP:
                mine = (found["entered_by"] == strategy.name).to_numpy()
                own = np.nan if strategy.stop is None else as_read(panel, indicators[strategy.stop], found[mine], lag)
                found.loc[mine, "signal_atr"] = own
    return sorted_trades(found)


def read_study(warehouse: Warehouse, settings: Settings, trades: pd.DataFrame, market: Market | None = None) -> ReportInputs:
    """The inputs but for figures and evidence, which are empty: they may not be known yet.

    trades: what `read_trades` gave. market: what the stored bars make, where the caller has it.
    """
    import pandas as pd

    with warehouse.connect() as connection:
        read = _Reader(connection)
        frames = {
            "folds": read.sql("SELECT * FROM wf_folds ORDER BY strategy, mode, fold"),
            "equity": read.sql("SELECT * FROM wf_equity ORDER BY strategy, mode, fold, session"),
            "trials": read.file("trials"),
            "trial_counts": read.file("trial_counts"),
            "universe": read.sql("SELECT * FROM universe ORDER BY selected DESC, rank NULLS LAST, symbol"),
            "splits": read.sql("SELECT * FROM splits ORDER BY symbol, execution_date"),
            "spans": read.file("bars_span"),
            "dollar_volume": read.file("dollar_volume"),
            "revisions": read.revisions(),
        }
        frames["bars"], frames["holdings"], indicators = _in_the_market(warehouse, market, trades, frames["equity"])
    frames["kpis"] = pd.DataFrame(columns=["strategy", "mode", "figure", "value"])
    frames["kpi_reasons"] = pd.DataFrame(columns=["strategy", "mode", "figure", "reason"])
    return ReportInputs(settings=settings, trades=trades, indicators=indicators, **frames)


def with_figures(warehouse: Warehouse, study: ReportInputs, versions: Mapping[str, str] | None = None) -> ReportInputs:
    """The inputs whole, figures and evidence as stored.

    versions: further lines for the appendix (code version, commit, data versions that are known already).
    Raises WarehouseBusy or WarehouseUnusable as every reader of the warehouse does.
    """
    with warehouse.connect() as connection:
        read = _Reader(connection)
        return replace(
            study,
            kpis=read.sql("SELECT * FROM kpis ORDER BY strategy, mode, figure"),
            kpi_reasons=read.sql("SELECT * FROM kpi_reasons ORDER BY strategy, mode, figure"),
            evidence=read.evidence(),
            pins={"research": research_pin(study.settings)},
            versions={**package_versions(), **(versions or {})},
        )


def package_versions() -> dict[str, str]:
    """Python and the packages whose version can move a number."""
    return {"Python": platform.python_version()} | {name: importlib.metadata.version(name) for name in PACKAGES}


def evidence_frame(evidence: Evidence) -> pd.DataFrame:
    """`evidence` as rows of the table `evidence`; a number that JSON cannot hold becomes null."""
    import pandas as pd

    rows = [
        (strategy, mode, name, _as_json(value))
        for (strategy, mode), values in sorted(evidence.items())
        for name, value in sorted(values.items())
    ]
    return pd.DataFrame(rows, columns=["strategy", "mode", "name", "value"])


def _as_json(value: Any) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return json.dumps(finite(value))


def finite(value: Any) -> Any:
    """`value` with plain Python numbers, dates as text, and None where a float is not finite: what JSON can hold."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if hasattr(value, "tolist"):
        return finite(value.tolist())
    if isinstance(value, float):
        return value if value - value == 0.0 else None
    return value.isoformat()[:10] if hasattr(value, "isoformat") else value


def _in_the_market(
    warehouse: Warehouse, market: Market | None, trades: pd.DataFrame, equity: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Floats]]:
    """Bars around the trades, the money that they held at each close, and all indicators; empty without trades."""
    import pandas as pd

    if trades.empty:
        bars = pd.DataFrame(columns=["symbol", "session", *PRICES, *DRAWN, "bar"])
        return bars, pd.DataFrame(columns=MONEY_COLUMNS), {}
    panel = market.panel if market else load_panel(warehouse)
    indicators = market.indicators if market else load_indicators(warehouse, panel)
    bars = bars_within(panel, indicators, windows_of(trades))
    return bars, money_at_work(panel, trades, equity), {name: indicators[name] for name in indicators.names}


class _Reader:
    """Queries on one open connection."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection

    def sql(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pd.DataFrame:
        return self.connection.execute(sql, parameters or {}).df()

    def file(self, name: str) -> pd.DataFrame:
        return self.sql(read_sql(_HERE, name))

    def revisions(self) -> pd.DataFrame:
        import pandas as pd

        known = "SELECT count(*) FROM information_schema.tables WHERE table_name = 'bar_revisions'"
        if not self.connection.execute(known).fetchall()[0][0]:
            return pd.DataFrame(columns=["symbol", "session", "field", "old", "new", "seen_at"])
        return self.sql("SELECT * FROM bar_revisions ORDER BY ALL")

    def evidence(self) -> dict[tuple[str, str], dict[str, Any]]:
        found: dict[tuple[str, str], dict[str, Any]] = {}
        sql = "SELECT strategy, mode, name, CAST(value AS VARCHAR) FROM evidence ORDER BY ALL"
        for strategy, mode, name, value in self.connection.execute(sql).fetchall():
            found.setdefault((strategy, mode), {})[name] = json.loads(value)
        return found
