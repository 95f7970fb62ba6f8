"""The asset checks: what must be true of bars, universe, signals, folds and report before anything is computed from them.

Blocking where a wrong number could follow. The arithmetic is in `bars` and `research`; here it meets Dagster, and the
outcome is kept in `check_results` beside the data it judged.
"""

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import dagster as dg
import duckdb
import pandas as pd

from kobe_assets import indicators, kpi_report, signals, wf_folds
from kobe_assets.checks.bars import check_bars, check_universe
from kobe_assets.checks.doctor import EVERYTHING, doubts_of
from kobe_assets.checks.findings import FINDINGS, UNIVERSE_FINDINGS, DataFinding
from kobe_assets.checks.research import (
    cash_is_conserved,
    describe_leak_with_place,
    entries_follow_signals,
    figures_are_complete,
    signals_read_no_future,
    windows_are_disjoint,
)
from kobe_assets.graph.doubts import keep_doubts
from kobe_assets.graph.inputs import ForeignIndicators, canonical_params, load_indicators, load_market, load_panel, studied
from kobe_assets.graph.lineage import record_checks
from kobe_assets.graph.own_strategies import strategies_of
from kobe_assets.graph.publish import preview
from kobe_assets.indicators import ONE_ROW_A_BAR
from kobe_assets.kpi_report import FIGURES_COMPLETE
from kobe_assets.research.walk_forward import CANONICAL, OPTIMIZED
from kobe_assets.signals import NO_LOOKAHEAD
from kobe_assets.wf_folds import CASH_CONSERVED, DISJOINT_WINDOWS, FILLS_FOLLOW_SIGNALS
from kobe_resources.resources import WarehouseResource
from kobe_resources.settings.models import BOOK, Settings
from kobe_resources.warehouse.store import Warehouse


def all_checks() -> list[dg.AssetChecksDefinition]:
    """One check definition an asset."""
    return [bars_checks, universe_checks, indicator_checks, signal_checks, fold_checks, report_checks]


def _specs(asset: str, rules: Mapping[str, tuple[bool, str]]) -> list[dg.AssetCheckSpec]:
    return [
        dg.AssetCheckSpec(name, asset=asset, blocking=blocking, description=words) for name, (blocking, words) in rules.items()
    ]


def _conclude(
    warehouse: Warehouse,
    asset: str,
    findings: Sequence[DataFinding],
    also: Callable[[duckdb.DuckDBPyConnection], None] = lambda _: None,
) -> Iterator[dg.AssetCheckResult]:
    """Store the outcome beside the data, then report it to Dagster. also: writes to bar_doubts in the same transaction."""
    now = dt.datetime.now(dt.UTC)
    with warehouse.transaction({"check_results", "asset_versions", "bar_doubts"}) as connection:
        connection.execute("DELETE FROM check_results WHERE asset = ?", [asset])
        connection.executemany(
            "INSERT INTO check_results VALUES (?, ?, ?, ?, ?, ?, ?)",
            [[asset, f.name, f.severity, f.ok, f.count, f.seen, now] for f in findings],
        )
        also(connection)
        record_checks(connection, asset, all(f.ok for f in findings if f.blocks))
    for finding in findings:
        yield dg.AssetCheckResult(
            passed=finding.ok,
            asset_key=asset,
            check_name=finding.name,
            severity=dg.AssetCheckSeverity.ERROR if finding.blocks else dg.AssetCheckSeverity.WARN,
            description=finding.seen,
            metadata={"count": finding.count, "worst offenders": preview(finding.offenders, 20)},
        )


def _finding(spec: dg.AssetCheckSpec, problems: pd.DataFrame) -> DataFinding:
    words = spec.description or ""
    said = words if problems.empty else f"{len(problems)} found: " + ", ".join(str(v) for v in problems.iloc[0].tolist())[:200]
    return DataFinding(spec.name, problems.empty, said, blocks=spec.blocking, count=len(problems), offenders=problems.head(20))


@dg.multi_asset_check(name="daily_bars_checks", specs=_specs("daily_bars", FINDINGS))
def bars_checks(store: WarehouseResource, settings: dg.ResourceParam[Settings]) -> Iterator[dg.AssetCheckResult]:
    """What can be wrong with stored bars and splits."""
    warehouse = store.open()
    findings = check_bars(warehouse, settings, most=EVERYTHING)
    doubts = doubts_of(findings, settings.data.vendor)
    yield from _conclude(warehouse, "daily_bars", findings, lambda connection: keep_doubts(connection, doubts))


@dg.multi_asset_check(name="universe_checks", specs=_specs("universe", UNIVERSE_FINDINGS))
def universe_checks(store: WarehouseResource, settings: dg.ResourceParam[Settings]) -> Iterator[dg.AssetCheckResult]:
    """Whether the universe covers what the settings ask for."""
    warehouse = store.open()
    yield from _conclude(warehouse, "universe", check_universe(warehouse, settings))


@dg.multi_asset_check(name="indicators_checks", specs=indicators.CHECKS)
def indicator_checks(store: WarehouseResource) -> Iterator[dg.AssetCheckResult]:
    """Whether the indicators are those of the bars."""
    warehouse = store.open()
    with warehouse.connect():
        rows = warehouse.frame(
            "SELECT * FROM indicators WHERE NOT coalesce(rsi2 BETWEEN 0 AND 100.000001 AND ibs BETWEEN 0 AND 1, TRUE) "
            "OR NOT coalesce(isfinite(sma200) AND sma200 > 0 AND isfinite(atr14) AND atr14 >= 0, TRUE) LIMIT 1000"
        )
        try:
            load_indicators(warehouse, load_panel(warehouse))
        except ForeignIndicators:
            # Only now is it worth the time to ask which.
            unpaired = warehouse.frame(
                "SELECT symbol, session, i.* EXCLUDE (symbol, session) "
                "FROM (SELECT symbol, session FROM daily_bars SEMI JOIN panel_places USING (symbol)) b "
                "FULL JOIN indicators i USING (symbol, session) WHERE b.symbol IS NULL OR i.symbol IS NULL UNION ALL "
                "SELECT * FROM indicators QUALIFY count(*) OVER (PARTITION BY symbol, session) > 1 LIMIT 1000"
            )
            rows = pd.concat([rows, unpaired], ignore_index=True)
    yield from _conclude(warehouse, "indicators", [_finding(ONE_ROW_A_BAR, rows)])


@dg.multi_asset_check(name="signals_checks", specs=signals.CHECKS)
def signal_checks(store: WarehouseResource, settings: dg.ResourceParam[Settings]) -> Iterator[dg.AssetCheckResult]:
    """Whether no signal reads the future."""
    warehouse = store.open()
    market = load_market(warehouse, settings)
    known = strategies_of(settings)
    leak = signals_read_no_future(market, {n: canonical_params(settings, s) for n, s in known.items()}, strategies=known)
    problems = pd.DataFrame([vars(leak)] if leak else [], columns=["cut", "change", "symbol", "session", "column"])
    finding = _finding(NO_LOOKAHEAD, problems)
    if leak:
        finding = replace(finding, seen=describe_leak_with_place(leak, known))
    yield from _conclude(warehouse, "signals", [finding])


@dg.multi_asset_check(name="wf_folds_checks", specs=wf_folds.CHECKS)
def fold_checks(store: WarehouseResource, settings: dg.ResourceParam[Settings]) -> Iterator[dg.AssetCheckResult]:
    """Whether the folds are honest: unseen windows, conserved cash, fills after signals."""
    warehouse = store.open()
    with warehouse.connect():
        folds, trades, equity = (warehouse.frame(f"SELECT * FROM {name}") for name in ("wf_folds", "wf_trades", "wf_equity"))  # noqa: S608
        panel = load_panel(warehouse)
    cash = settings.simulation.initial_cash
    findings = [
        _finding(DISJOINT_WINDOWS, windows_are_disjoint(folds, trades)),
        _finding(CASH_CONSERVED, cash_is_conserved(folds, trades, equity, cash)),
        _finding(
            FILLS_FOLLOW_SIGNALS,
            entries_follow_signals(
                panel,
                trades,
                settings.costs.slippage_bps / 10_000,
                [s.name for s in strategies_of(settings).values() if "limit_atr" in s.parameters],
            ),
        ),
    ]
    yield from _conclude(warehouse, "wf_folds", findings)


@dg.multi_asset_check(name="kpi_report_checks", specs=kpi_report.CHECKS)
def report_checks(store: WarehouseResource, settings: dg.ResourceParam[Settings]) -> Iterator[dg.AssetCheckResult]:
    """Whether every figure is there."""
    warehouse = store.open()
    names = dict.fromkeys([*studied(settings), *([BOOK] if settings.portfolio.book == BOOK else [])])
    books = [(name, mode) for name in names for mode in (CANONICAL, OPTIMIZED)]
    with warehouse.connect():
        kpis, reasons = warehouse.frame("SELECT * FROM kpis"), warehouse.frame("SELECT * FROM kpi_reasons")
    problems = figures_are_complete(kpis, reasons, books)
    yield from _conclude(warehouse, "kpi_report", [_finding(FIGURES_COMPLETE, problems)])
