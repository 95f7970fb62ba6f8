"""The asset checks: what must be true of bars, universe, signals, folds and report before anything stands on them.

Blocking where a wrong number could follow. The arithmetic is in `bars` and `research`; here it meets Dagster, and the
outcome is kept in `check_results` beside the data it judged.
"""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence

import dagster as dg
import pandas as pd

from kobe_assets.checks.bars import FINDINGS, UNIVERSE_FINDINGS, Finding, check_bars, check_universe
from kobe_assets.checks.research import (
    cash_is_conserved,
    entries_follow_signals,
    figures_are_complete,
    signals_read_no_future,
    windows_are_disjoint,
)
from kobe_assets.graph.inputs import ForeignIndicators, canonical_params, load_indicators, load_market, load_panel
from kobe_assets.graph.lineage import record_checks
from kobe_assets.graph.publish import Store, preview
from kobe_assets.research.strategies import STRATEGIES
from kobe_assets.research.walk_forward import CANONICAL, OPTIMIZED
from kobe_resources.settings.models import Settings
from kobe_resources.warehouse.store import Warehouse

Checks = Mapping[str, tuple[bool, str]]

INDICATOR_CHECKS: Checks = {
    "one_row_a_bar": (True, "Every stored bar has one row of indicators, and none is infinite or out of its range."),
}
SIGNAL_CHECKS: Checks = {
    "no_lookahead": (True, "Recomputed on bars cut off at several dates, and on a future of noise, the past is identical."),
}
FOLD_CHECKS: Checks = {
    "disjoint_windows": (True, "Test windows are disjoint and after their training; every trade lies in its test window."),
    "cash_conserved": (True, "Final equity is initial cash plus Σ pnl, to the cent, in every fold."),
    "fills_follow_signals": (
        True,
        "Every entry is filled at the open of the session after its signal, at the quote and slippage.",
    ),
}
REPORT_CHECKS: Checks = {
    "figures_complete": (True, "Every figure is there: finite, or null with a reason."),
}


def all_checks() -> list[dg.AssetChecksDefinition]:
    """One check definition an asset."""
    return [bars_checks, universe_checks, indicator_checks, signal_checks, fold_checks, report_checks]


def _specs(asset: str, checks: Checks) -> list[dg.AssetCheckSpec]:
    return [
        dg.AssetCheckSpec(name, asset=asset, blocking=blocking, description=words) for name, (blocking, words) in checks.items()
    ]


def _conclude(warehouse: Warehouse, asset: str, findings: Sequence[Finding]) -> Iterator[dg.AssetCheckResult]:
    """Keep the outcome beside the data, then tell Dagster."""
    now = dt.datetime.now(dt.UTC)
    with warehouse.transaction() as connection:
        connection.execute("DELETE FROM check_results WHERE asset = ?", [asset])
        connection.executemany(
            "INSERT INTO check_results VALUES (?, ?, ?, ?, ?, ?, ?)",
            [[asset, f.name, f.severity, f.passed, f.count, f.description, now] for f in findings],
        )
        record_checks(connection, asset, all(f.passed for f in findings if f.severity == "blocking"))
    for finding in findings:
        yield dg.AssetCheckResult(
            passed=finding.passed,
            asset_key=asset,
            check_name=finding.name,
            severity=dg.AssetCheckSeverity.ERROR if finding.severity == "blocking" else dg.AssetCheckSeverity.WARN,
            description=finding.description,
            metadata={"count": finding.count, "worst offenders": preview(finding.offenders, 20)},
        )


def _finding(checks: Checks, name: str, problems: pd.DataFrame) -> Finding:
    blocking, words = checks[name]
    said = words if problems.empty else f"{len(problems)} found: " + ", ".join(str(v) for v in problems.iloc[0].tolist())[:200]
    return Finding(name, "blocking" if blocking else "warning", problems.empty, len(problems), problems.head(20), said)


@dg.multi_asset_check(name="daily_bars_checks", specs=_specs("daily_bars", FINDINGS))
def bars_checks(store: Store, settings: dg.ResourceParam[Settings]) -> Iterator[dg.AssetCheckResult]:
    """What can be wrong with stored bars and splits."""
    warehouse = store.open()
    yield from _conclude(warehouse, "daily_bars", check_bars(warehouse, settings))


@dg.multi_asset_check(name="universe_checks", specs=_specs("universe", UNIVERSE_FINDINGS))
def universe_checks(store: Store, settings: dg.ResourceParam[Settings]) -> Iterator[dg.AssetCheckResult]:
    """Does the universe cover what the settings ask for."""
    warehouse = store.open()
    yield from _conclude(warehouse, "universe", check_universe(warehouse, settings))


@dg.multi_asset_check(name="indicators_checks", specs=_specs("indicators", INDICATOR_CHECKS))
def indicator_checks(store: Store) -> Iterator[dg.AssetCheckResult]:
    """Are the indicators those of the bars."""
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
                "SELECT symbol, session, i.* EXCLUDE (symbol, session) FROM daily_bars b FULL JOIN indicators i "
                "USING (symbol, session) WHERE b.symbol IS NULL OR i.symbol IS NULL UNION ALL "
                "SELECT * FROM indicators QUALIFY count(*) OVER (PARTITION BY symbol, session) > 1 LIMIT 1000"
            )
            rows = pd.concat([rows, unpaired], ignore_index=True)
    yield from _conclude(warehouse, "indicators", [_finding(INDICATOR_CHECKS, "one_row_a_bar", rows)])


@dg.multi_asset_check(name="signals_checks", specs=_specs("signals", SIGNAL_CHECKS))
def signal_checks(store: Store, settings: dg.ResourceParam[Settings]) -> Iterator[dg.AssetCheckResult]:
    """Does any signal read the future."""
    warehouse = store.open()
    market = load_market(warehouse, settings)
    leak = signals_read_no_future(market, {name: canonical_params(settings, s) for name, s in STRATEGIES.items()})
    problems = pd.DataFrame([vars(leak)] if leak else [], columns=["cut", "change", "symbol", "session", "column"])
    yield from _conclude(warehouse, "signals", [_finding(SIGNAL_CHECKS, "no_lookahead", problems)])


@dg.multi_asset_check(name="wf_folds_checks", specs=_specs("wf_folds", FOLD_CHECKS))
def fold_checks(store: Store, settings: dg.ResourceParam[Settings]) -> Iterator[dg.AssetCheckResult]:
    """Are the folds honest: unseen windows, conserved cash, fills after signals."""
    warehouse = store.open()
    with warehouse.connect():
        folds, trades, equity = (warehouse.frame(f"SELECT * FROM {name}") for name in ("wf_folds", "wf_trades", "wf_equity"))  # noqa: S608
        panel = load_panel(warehouse)
    cash = settings.simulation.initial_cash
    findings = [
        _finding(FOLD_CHECKS, "disjoint_windows", windows_are_disjoint(folds, trades)),
        _finding(FOLD_CHECKS, "cash_conserved", cash_is_conserved(folds, trades, equity, cash)),
        _finding(
            FOLD_CHECKS,
            "fills_follow_signals",
            entries_follow_signals(
                panel,
                trades,
                settings.costs.slippage_bps / 10_000,
                [s.name for s in STRATEGIES.values() if "limit_atr" in s.parameters],
            ),
        ),
    ]
    yield from _conclude(warehouse, "wf_folds", findings)


@dg.multi_asset_check(name="kpi_report_checks", specs=_specs("kpi_report", REPORT_CHECKS))
def report_checks(store: Store, settings: dg.ResourceParam[Settings]) -> Iterator[dg.AssetCheckResult]:
    """Is every figure there."""
    warehouse = store.open()
    names = dict.fromkeys([*STRATEGIES, settings.portfolio.book])
    books = [(name, mode) for name in names for mode in (CANONICAL, OPTIMIZED)]
    with warehouse.connect():
        kpis, reasons = warehouse.frame("SELECT * FROM kpis"), warehouse.frame("SELECT * FROM kpi_reasons")
    problems = figures_are_complete(kpis, reasons, books)
    yield from _conclude(warehouse, "kpi_report", [_finding(REPORT_CHECKS, "figures_complete", problems)])
