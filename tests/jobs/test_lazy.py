"""`kobe report` computes what is stale and nothing else; the sample's home is computed once and copied for each test."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kobe_jobs.lazy import ComputationFailed, bring_up_to_date
from kobe_resources.settings import load_settings
from kobe_resources.warehouse import Warehouse

TABLES = ("daily_bars", "universe", "indicators", "signals", "wf_folds", "wf_trades", "wf_equity", "kpis")
EVERYTHING = {"daily_bars", "universe", "indicators", "signals", "wf_folds", "kpi_report"}


@pytest.fixture(scope="module")
def computed_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("computed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KOBE_HOME", str(folder))
        assert set(bring_up_to_date(load_settings())) == EVERYTHING
    return folder


@pytest.fixture
def home(computed_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    shutil.copytree(computed_home, folder)
    monkeypatch.setenv("KOBE_HOME", str(folder))
    return folder


def test_a_second_report_computes_nothing(home: Path) -> None:
    assert bring_up_to_date(load_settings()) == []


def test_a_simulation_setting_makes_folds_and_report_stale_and_nothing_else(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Warehouse().rows("SELECT sum(net_pnl) FROM wf_folds")
    monkeypatch.setenv("KOBE_SIMULATION__SLIPPAGE_BPS", "9")
    assert bring_up_to_date(load_settings()) == ["wf_folds", "kpi_report"]
    assert Warehouse().rows("SELECT sum(net_pnl) FROM wf_folds") != before


def test_a_strategy_setting_leaves_bars_universe_and_indicators_alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOBE_STRATEGY__RSI_ENTRY", "12")
    assert bring_up_to_date(load_settings()) == ["signals", "wf_folds", "kpi_report"]


def test_one_changed_bar_recomputes_what_depends_on_it_and_stays(home: Path) -> None:
    Warehouse().rows("UPDATE daily_bars SET close = close * 0.999 WHERE symbol = 'IBM' AND session = '2008-03-10'")
    edited = Warehouse().rows("SELECT close FROM daily_bars WHERE symbol = 'IBM' AND session = '2008-03-10'")
    computed = bring_up_to_date(load_settings())
    assert computed[0] == "daily_bars"
    assert {"indicators", "signals"} <= set(computed)
    assert Warehouse().rows("SELECT close FROM daily_bars WHERE symbol = 'IBM' AND session = '2008-03-10'") == edited
    assert bring_up_to_date(load_settings()) == []


def test_force_computes_everything(home: Path) -> None:
    assert set(bring_up_to_date(load_settings(), force=True)) == EVERYTHING


def test_a_lost_page_is_written_again_without_the_rest(home: Path) -> None:
    (home / "reports" / "kpi_report.html").unlink()
    assert bring_up_to_date(load_settings()) == ["kpi_report"]


def test_a_failed_blocking_check_stops_everything_below_and_is_not_forgotten(home: Path) -> None:
    Warehouse().rows("INSERT INTO daily_bars SELECT * FROM daily_bars WHERE symbol = 'IBM' AND session = '2008-03-10'")
    folds = Warehouse().content_version("wf_folds", "signals")
    for _ in range(2):
        with pytest.raises(ComputationFailed, match="duplicate_bars"):
            bring_up_to_date(load_settings())
    assert Warehouse().content_version("wf_folds", "signals") == folds


def test_runs_killed_at_any_moment_leave_whole_tables_and_the_next_one_finishes(
    home: Path, computed_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {table: Warehouse().content_version(table) for table in TABLES}
    monkeypatch.setenv("KOBE_SIMULATION__SLIPPAGE_BPS", "9")
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
