"""wf_folds: every strategy on every fold, at fixed parameters and at the best in training."""

import datetime as dt

import dagster as dg
import duckdb
import pandas as pd

from kobe_assets.graph.frames import equity_frame, folds_frame, stacked, trades_frame, trials_frame
from kobe_assets.graph.inputs import canonical_params, folds_of, grid_of, market_and_version, parts_of, studied
from kobe_assets.graph.publish import preview, publish, versions_above
from kobe_assets.graph.table_schemas import table_schema
from kobe_assets.research.strategies import Strategy
from kobe_assets.research.walk_forward import (
    CANONICAL,
    OPTIMIZED,
    Market,
    PortfolioStudy,
    Study,
    walk_forward,
    walk_portfolio,
)
from kobe_resources.resources import WarehouseResource
from kobe_resources.runtime.process_state import kept_process_state
from kobe_resources.settings.models import BOOK, Settings
from kobe_resources.settings.pins import research_pin
from kobe_resources.warehouse.store import insert

DISJOINT_WINDOWS = dg.AssetCheckSpec(
    "disjoint_windows",
    asset="wf_folds",
    blocking=True,
    description="Test windows are disjoint and after their training; every trade lies in its test window.",
)
CASH_CONSERVED = dg.AssetCheckSpec(
    "cash_conserved",
    asset="wf_folds",
    blocking=True,
    description="Final equity is initial cash plus Σ pnl, to the cent, in every fold.",
)
FILLS_FOLLOW_SIGNALS = dg.AssetCheckSpec(
    "fills_follow_signals",
    asset="wf_folds",
    blocking=True,
    description="Every entry is filled at the open of the session after its signal, at the quote and slippage.",
)
CHECKS = [DISJOINT_WINDOWS, CASH_CONSERVED, FILLS_FOLLOW_SIGNALS]
"""What must be true of the rows; `checks.runner` judges it in one step after the asset."""


@dg.asset(
    deps=["daily_bars", "universe", "indicators", "signals"],
    group_name="evidence",
    kinds={"duckdb", "numba"},
    owners=["team:kobe"],
    metadata={"dagster/column_schema": table_schema("wf_folds"), "dagster/table_name": "kobe.main.wf_folds"},
)
def wf_folds(
    context: dg.AssetExecutionContext, store: WarehouseResource, settings: dg.ResourceParam[Settings]
) -> dg.MaterializeResult[None]:
    """Walk-forward folds: train, choose, and trade sessions that no choice has seen; trades, equity and every trial kept."""
    warehouse = store.open()
    inputs = versions_above(context, warehouse)
    market, version = market_and_version(warehouse, settings)
    studies = run_studies(market, settings)
    tables = study_tables(studies, market, settings, run_portfolio(market, settings, studies))
    folds = tables["wf_folds"]

    def keep_trials(connection: duckdb.DuckDBPyConnection) -> None:
        now = dt.datetime.now(dt.UTC)
        for study in studies:
            insert(connection, "wf_trials", trials_frame(study, research_pin(settings), version, now, settings))

    return publish(
        context,
        warehouse,
        settings,
        inputs,
        tables,
        {
            "dagster/row_count": len(folds),
            "folds": int(folds["fold"].max()),
            "trades": len(tables["wf_trades"]),
            "trials": sum(study.trials.size for study in studies),
            **{
                f"{strategy} {mode} net_pnl": float(part["net_pnl"].sum())
                for (strategy, mode), part in folds.groupby(["strategy", "mode"])
            },
            "latest folds": preview(folds[folds["fold"] == folds["fold"].max()]),
        },
        also=keep_trials,
    )


@kept_process_state()
def run_studies(market: Market, settings: Settings) -> list[Study]:
    """Every strategy that is studied over all folds of the settings."""
    folds = folds_of(settings, market.panel)
    readable = market.readable()
    return [
        walk_forward(market, strategy, canonical_params(settings, strategy), folds, grid_of(settings, strategy), readable)
        for strategy in studied(settings).values()
    ]


@kept_process_state()
def run_portfolio(market: Market, settings: Settings, studies: list[Study]) -> PortfolioStudy | None:
    """The book that the strategies of [portfolio] trade together; None where one trades alone."""
    if settings.portfolio.book != BOOK:
        return None
    own = {study.strategy.name: study for study in studies}
    return walk_portfolio(market, parts_of(settings), [own[name] for name in settings.portfolio.strategies], market.readable())


def study_tables(
    studies: list[Study], market: Market, settings: Settings, portfolio: PortfolioStudy | None = None
) -> dict[str, pd.DataFrame]:
    """The tables wf_folds, wf_trades and wf_equity."""
    cash, panel = settings.simulation.initial_cash, market.panel
    books: list[tuple[str, list[Strategy], Study | PortfolioStudy]] = [(s.strategy.name, [s.strategy], s) for s in studies]
    if portfolio is not None:
        books.append((BOOK, [part.strategy for part in portfolio.parts], portfolio))
    parts = [
        (name, strategies, mode, results)
        for name, strategies, study in books
        for mode, results in ((CANONICAL, study.canonical), (OPTIMIZED, study.optimized))
    ]
    return {
        "wf_folds": pd.concat([folds_frame(name, study, panel, cash) for name, _, study in books], ignore_index=True),
        "wf_trades": stacked([trades_frame(name, some, mode, results, panel) for name, some, mode, results in parts]),
        "wf_equity": stacked([equity_frame(name, mode, results, panel, cash) for name, _, mode, results in parts]),
    }
