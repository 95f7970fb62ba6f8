"""`kobe report` computes what is stale and nothing else; a small market's home is computed once and copied for each test."""

from __future__ import annotations

import contextlib
import re
import shutil
import sqlite3
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import dagster
import pytest

from kobe_assets.graph.lineage import recorded_versions, stored_version
from kobe_jobs.research_run.backtest import run_backtest
from kobe_jobs.research_run.stale import ComputationFailed, bring_up_to_date, run_assets
from kobe_jobs.trading.readiness.research_gate import missing_evidence
from kobe_resources.errors import UsageError
from kobe_resources.market_data import MarketDataError
from kobe_resources.market_data.local.synthetic import SyntheticVendor
from kobe_resources.settings.load import load_settings
from kobe_resources.settings.models import DataSettings, SyntheticData
from kobe_resources.warehouse import store
from kobe_resources.warehouse.shared_connection import keep_open
from kobe_resources.warehouse.store import Warehouse
from tests.support.ready import SMALL

TABLES = ("daily_bars", "universe", "indicators", "signals", "wf_folds", "wf_trades", "wf_equity", "kpis")
FIGURES = ("wf_folds", "wf_trades", "wf_equity", "kpis")
EVERYTHING = {"daily_bars", "universe", "indicators", "signals", "wf_folds", "kpi_report"}
SYMBOL, SESSION = "S00001", "2011-09-15"
"""A bar of the middle of a listing that has no suspect bar."""
BAR = f"symbol = '{SYMBOL}' AND session = '{SESSION}'"


@pytest.fixture(scope="module")
def computed_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("computed")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SMALL.items():
            patch.setenv(name, value)
        patch.setenv("KOBE_HOME", str(folder))
        assert set(bring_up_to_date(load_settings())) == EVERYTHING
    return folder


@pytest.fixture
def home(computed_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    shutil.copytree(computed_home, folder)
    for name, value in SMALL.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("KOBE_HOME", str(folder))
    return folder


def test_a_second_report_computes_nothing(home: Path) -> None:
    assert bring_up_to_date(load_settings()) == []


@pytest.mark.parametrize(
    ("asset", "computes"),
    [
        ("universe", "build_universe"),
        ("indicators", "compute_indicators"),
        ("signals", "signals_of"),
        ("wf_folds", "run_studies"),
        ("kpi_report", "compute_evidence"),
    ],
)
def test_what_another_process_changes_while_an_asset_computes_leaves_it_stale(
    home: Path, monkeypatch: pytest.MonkeyPatch, asset: str, computes: str
) -> None:
    module = import_module(f"kobe_assets.{asset}")
    compute = getattr(module, computes)

    def meanwhile(*given: Any) -> Any:
        with Warehouse().transaction() as connection:
            connection.execute("UPDATE daily_bars SET volume = volume + 1 WHERE " + BAR)
            connection.execute(
                "UPDATE asset_versions SET data_version = ? WHERE asset = 'daily_bars'",
                [stored_version(connection, "daily_bars")],
            )
        return compute(*given)

    with Warehouse().connect() as connection:
        before = recorded_versions(connection)["daily_bars"].data_version
    with monkeypatch.context() as patch:
        patch.setattr(module, computes, meanwhile)
        run_assets(load_settings(), [asset])
    with Warehouse().connect() as connection:
        known = recorded_versions(connection)
    assert known["daily_bars"].data_version != before
    assert known[asset].inputs["daily_bars"] == before
    assert asset in bring_up_to_date(load_settings())
    assert bring_up_to_date(load_settings()) == []


def test_a_try_by_hand_is_charged_by_the_next_report_once(home: Path, tmp_path: Path) -> None:
    def charged() -> float:
        return float(Warehouse().rows("SELECT any_value(value) FROM kpis WHERE figure = 'dsr_trials'")[0][0])

    before = charged()
    for days in (7.0, 7.0, 8.0):
        run_backtest(load_settings(), "ibs", None, None, tmp_path / "out", {"time_stop": days})
    assert bring_up_to_date(load_settings()) == ["kpi_report"]
    assert charged() == before + 2
    assert bring_up_to_date(load_settings()) == []
    run_backtest(load_settings(), "ibs", None, None, tmp_path / "out", {"time_stop": 8.0})
    assert bring_up_to_date(load_settings()) == []
    with Warehouse().transaction() as connection:
        connection.execute("UPDATE wf_trials SET train_sharpe = -9 WHERE strategy = 'rsi2' AND params ->> 'rsi_entry' = '5.0'")
    assert bring_up_to_date(load_settings()) == ["kpi_report"], "as many tries, spread otherwise"
    assert bring_up_to_date(load_settings()) == []


def test_a_history_that_cannot_be_written_is_told_by_the_error_alone(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = dagster.DagsterInstance.handle_new_event
    events = []

    def full(instance: dagster.DagsterInstance, event: dagster.EventLogEntry, **given: Any) -> Any:
        events.append(event)
        if event.dagster_event and event.dagster_event.is_step_success:
            raise sqlite3.OperationalError("database or disk is full")
        return store(instance, event, **given)

    monkeypatch.setattr(dagster.DagsterInstance, "handle_new_event", full)
    with pytest.raises(Exception, match="disk is full"):
        bring_up_to_date(load_settings(), force=True)
    assert len(events) > 10
    assert capsys.readouterr().err == ""


def test_a_simulation_setting_makes_folds_and_report_stale_and_nothing_else(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Warehouse().rows("SELECT sum(net_pnl) FROM wf_folds")
    monkeypatch.setenv("KOBE_COSTS__SLIPPAGE_BPS", "9")
    assert bring_up_to_date(load_settings()) == ["wf_folds", "kpi_report"]
    assert Warehouse().rows("SELECT sum(net_pnl) FROM wf_folds") != before


def test_the_strategies_that_are_studied_are_those_of_the_settings_and_of_a_book_of_several(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def books() -> set[str]:
        assert bring_up_to_date(load_settings()) == ["wf_folds", "kpi_report"]
        found = {table: {row[0] for row in Warehouse().rows(f"SELECT DISTINCT strategy FROM {table}")} for table in FIGURES}
        assert len(set(map(frozenset, found.values()))) == 1, found
        return found["kpis"]

    monkeypatch.setenv("KOBE_WALK_FORWARD__STRATEGIES", '["ibs"]')
    assert books() == {"ibs"}
    assert "leaves it out" in missing_evidence(Warehouse(), load_settings(), "rsi2")
    monkeypatch.setenv("KOBE_PORTFOLIO__STRATEGIES", '{"rsi2": 0.5, "ibs": 0.5}')
    assert books() == {"ibs", "rsi2", "portfolio"}
    monkeypatch.setenv("KOBE_WALK_FORWARD__STRATEGIES", '["ibss"]')
    with pytest.raises(UsageError, match="did you mean ibs"):
        bring_up_to_date(load_settings())


def test_a_strategy_setting_leaves_bars_universe_and_indicators_alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOBE_STRATEGY__RSI_ENTRY", "12")
    assert bring_up_to_date(load_settings()) == ["signals", "wf_folds", "kpi_report"]


def test_one_changed_bar_recomputes_what_depends_on_it_and_stays(home: Path) -> None:
    Warehouse().rows(f"UPDATE daily_bars SET close = close * 0.999 WHERE {BAR}")
    edited = Warehouse().rows(f"SELECT close FROM daily_bars WHERE {BAR}")
    computed = bring_up_to_date(load_settings())
    assert computed[0] == "daily_bars"
    assert {"indicators", "signals"} <= set(computed)
    assert Warehouse().rows(f"SELECT close FROM daily_bars WHERE {BAR}") == edited
    assert bring_up_to_date(load_settings()) == []


def test_a_universe_without_anybody_gets_no_verdict(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOBE_UNIVERSE__MIN_YEARS", "50")
    before = Warehouse().content_version("kpis")
    with pytest.raises(ComputationFailed, match=r"any_selected .*no candidate is selected \(3 too_few_years\).*universe show"):
        bring_up_to_date(load_settings())
    assert Warehouse().content_version("kpis") == before
    assert Warehouse().rows("SELECT count(*) FROM universe WHERE selected") == [(0,)]


def test_force_computes_everything(home: Path) -> None:
    assert set(bring_up_to_date(load_settings(), force=True)) == EVERYTHING


def test_force_does_not_replace_bars_that_took_hours_to_load(home: Path) -> None:
    before = Warehouse().content_version("daily_bars")
    Warehouse().rows("UPDATE bar_epochs SET source = 'polygon'")
    with pytest.raises(MarketDataError, match=r"loaded from polygon, and data\.vendor is synthetic: .* use another KOBE_HOME"):
        bring_up_to_date(load_settings(), force=True)
    assert Warehouse().content_version("daily_bars") == before


def test_a_lost_page_is_written_again_without_the_rest(home: Path) -> None:
    (home / "reports" / "kpi_report.html").unlink()
    assert bring_up_to_date(load_settings()) == ["kpi_report"]


def test_a_page_without_the_data_beside_it_is_written_again(home: Path) -> None:
    page = home / "reports" / "kpi_report.html"
    beside = home / "reports" / "data-0123456789ab"
    page.write_bytes(re.sub(rb'"data": ?"[^"]*"', b'"data": "data-0123456789ab"', page.read_bytes(), count=1))
    beside.mkdir()
    assert bring_up_to_date(load_settings()) == []
    beside.rmdir()
    assert bring_up_to_date(load_settings()) == ["kpi_report"]


def test_a_lost_history_is_written_again(home: Path) -> None:
    shutil.rmtree(home / "dagster")
    assert set(bring_up_to_date(load_settings())) == EVERYTHING
    assert bring_up_to_date(load_settings()) == []


@pytest.mark.parametrize(
    ("table", "asset"),
    [
        ("universe", "universe"),
        ("indicators", "indicators"),
        ("signals", "signals"),
        ("wf_trades", "wf_folds"),
        ("wf_equity", "wf_folds"),
        ("kpis", "kpi_report"),
    ],
)
def test_rows_that_went_missing_come_back(home: Path, table: str, asset: str) -> None:
    before = Warehouse().content_version(table)
    Warehouse().rows(f"DELETE FROM {table} WHERE rowid % 3 = 1")
    assert bring_up_to_date(load_settings()) == [asset]
    assert Warehouse().content_version(table) == before


def test_a_candidate_that_loses_its_options_leaves_the_universe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = DataSettings(vendor="synthetic", synthetic=SyntheticData(symbols=3, sessions=500, seed=3))
    bars = SyntheticVendor(data).read().bars
    columns = ["symbol", "session", "open", "high", "low", "close", "volume"]
    bars[columns].to_csv(tmp_path / "bars.csv", index=False, date_format="%Y-%m-%d")
    first, *others = sorted(set(bars["symbol"]))
    candidates = tmp_path / "candidates.csv"
    candidates.write_text("symbol,has_options\n" + "".join(f"{symbol},true\n" for symbol in (first, *others)))
    monkeypatch.setenv("KOBE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KOBE_DATA__VENDOR", "files")
    monkeypatch.setenv("KOBE_DATA__FILES__PATH", str(tmp_path))
    monkeypatch.setenv("KOBE_UNIVERSE__MIN_YEARS", "0")
    targets = ("daily_bars", "universe", "indicators")
    bring_up_to_date(load_settings(), targets=targets)
    candidates.write_text(candidates.read_text().replace(f"{first},true", f"{first},false"))
    assert "universe" in bring_up_to_date(load_settings(), targets=targets)
    assert Warehouse().rows("SELECT symbol FROM universe WHERE NOT selected") == [(first,)]
    assert bring_up_to_date(load_settings(), targets=targets) == []


def test_a_released_symbol_makes_everything_below_the_bars_stale(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOBE_UNIVERSE__RELEASE", f'{{"{SYMBOL}": "looked at"}}')
    # The symbol was never in quarantine, so that neither universe nor signals change; the grid's other sets might have.
    assert bring_up_to_date(load_settings()) == ["universe", "signals", "wf_folds", "kpi_report"]


def test_a_failed_blocking_check_stops_everything_below_and_is_not_forgotten(home: Path) -> None:
    Warehouse().rows(f"INSERT INTO daily_bars SELECT * FROM daily_bars WHERE {BAR}")
    folds = Warehouse().content_version("wf_folds", "signals")
    for _ in range(2):
        with pytest.raises(ComputationFailed, match=rf"duplicate_bars.*symbol {SYMBOL}, session {SESSION}.*kobe ui"):
            bring_up_to_date(load_settings())
    assert Warehouse().content_version("wf_folds", "signals") == folds


def test_no_version_that_a_run_remembers_is_an_old_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    remembered = Warehouse.content_version

    def checked(warehouse: Warehouse, *tables: str) -> str:
        known = remembered(warehouse, *tables)
        with warehouse.connect() as connection:
            assert known == store.content_version(connection, *tables), tables
        asked.extend(tables)
        return known

    monkeypatch.setattr(store, "TICK_NS", -1)
    monkeypatch.setattr(Warehouse, "content_version", checked)
    with keep_open(Warehouse().path):
        assert set(bring_up_to_date(load_settings(), force=True)) == EVERYTHING
        monkeypatch.setenv("KOBE_UNIVERSE__CAP", "2")
        assert "indicators" in bring_up_to_date(load_settings())
    assert {"daily_bars", "universe", "indicators"} <= set(asked)


def test_runs_killed_at_any_moment_leave_whole_tables_and_the_next_one_finishes(
    home: Path, computed_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {table: Warehouse().content_version(table) for table in TABLES}
    monkeypatch.setenv("KOBE_COSTS__SLIPPAGE_BPS", "9")
    for seconds in (1.0, 2.5, 4.0):
        process = subprocess.Popen([sys.executable, "-m", "kobe_jobs.cli", "report", "--force"], stderr=subprocess.DEVNULL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        process.kill()
        process.wait()
        with Warehouse().connect() as connection:
            counts = {t: connection.execute(f"SELECT count(*) FROM {t}").fetchall()[0][0] for t in TABLES}
        assert all(counts.values()), counts
    bring_up_to_date(load_settings())
    after = {table: Warehouse().content_version(table) for table in TABLES}
    assert {table for table in TABLES if after[table] != before[table]} == {"wf_folds", "wf_trades", "wf_equity", "kpis"}
    assert bring_up_to_date(load_settings()) == []
