"""The notebook door: tables as they are stored, returns that other libraries take, and nothing written or injected."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kobe_resources import open_warehouse
from kobe_resources.errors import UsageError
from kobe_resources.settings.load import PROJECT_ROOT
from kobe_resources.warehouse.notebook import NothingStored
from kobe_resources.warehouse.store import Warehouse

DAYS = [day.date() for day in pd.bdate_range("2024-01-02", periods=6)]
HOSTILE = "x'; DROP TABLE daily_bars; --"
NOTEBOOK = PROJECT_ROOT / "examples" / "walk_forward.ipynb"


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Warehouse:
    """Two folds of three sessions, two modes, two symbols, one of them named by an enemy."""
    monkeypatch.setenv("KOBE_HOME", str(tmp_path / "home"))
    figures = dict.fromkeys(("sharpe", "cagr", "max_drawdown", "win_rate", "exposure"), 0.1)
    keys = [{"strategy": "rsi2", "mode": mode} for mode in ("canonical", "optimized")]
    windows = [(1, DAYS[:3]), (2, DAYS[3:])]
    folds: list[dict[str, Any]] = [
        {
            **key,
            "fold": fold,
            "train_start": DAYS[0],
            "train_end": DAYS[0],
            "test_start": days[0],
            "test_end": days[-1],
            "params": "{}",
            "refused": "{}",
        }
        for key in keys
        for fold, days in windows
    ]
    # Stored out of order: the order of rows in a table means nothing.
    equity: list[dict[str, Any]] = [
        {**key, "fold": fold, "session": day, "equity": 1000.0, "daily_return": 0.01 * (DAYS.index(day) + 1)}
        for key in keys
        for fold, days in reversed(windows)
        for day in reversed(days)
    ]
    trade = {
        **{"fold": 1, "symbol": "KO", "side": "long", "signal_session": DAYS[0], "entry_session": DAYS[1], "entry_price": 1.0},
        **{"exit_session": DAYS[2], "exit_price": 2.0, "exit_reason": "time_stop", "shares": 1.0, "qty": 1.0, "pnl": 1.0},
        **{"entered_by": "rsi2", "fees": 0.0, "dividends": 0.0},
        **{"bars_held": 2, "mae": 0.0, "mfe": 1.0},
    }
    bar = {
        **dict.fromkeys(("open", "high", "low", "close", "volume"), 10.0),
        "source": "test",
        "fetched_at": dt.datetime.now(dt.UTC),
    }
    warehouse = Warehouse()
    warehouse.replace(
        {
            "wf_folds": pd.DataFrame(folds),
            "wf_equity": pd.DataFrame(equity),
            "wf_trades": pd.DataFrame([{**key, **trade} for key in keys]),
            "kpis": pd.DataFrame([{**key, "figure": name, "value": value} for key in keys for name, value in figures.items()]),
            "daily_bars": pd.DataFrame(
                [{"symbol": symbol, "session": day, **bar} for symbol in ("KO", HOSTILE) for day in DAYS]
            ),
        }
    )
    return warehouse


def test_returns_are_a_plain_daily_series_in_order(stored: Warehouse) -> None:
    returns = open_warehouse().returns("rsi2", "optimized")
    assert isinstance(returns.index, pd.DatetimeIndex)
    assert returns.index.tz is None
    assert str(returns.index.dtype) == "datetime64[ns]"
    assert returns.index.is_monotonic_increasing
    assert returns.index.is_unique
    assert list(returns.index.date) == DAYS
    assert returns.name == "rsi2 optimized"
    assert returns.dtype == np.float64
    assert list(returns.round(4)) == [0.01, 0.02, 0.03, 0.04, 0.05, 0.06]


def test_returns_of_what_is_not_there_name_the_mend(stored: Warehouse) -> None:
    with pytest.raises(NothingStored, match="kobe report"):
        open_warehouse().returns("rsi2", "no such mode")


def test_tables_can_be_narrowed(stored: Warehouse) -> None:
    tables = open_warehouse(stored.path)
    assert len(tables.daily_bars()) == 12
    assert len(tables.daily_bars("KO")) == 6
    assert list(tables.adjusted_bars(["KO"], start=DAYS[1], end="2024-01-05")["session"].dt.date) == DAYS[1:4]
    assert set(tables.folds("rsi2", "canonical")["mode"]) == {"canonical"}
    assert len(tables.trades()) == 2
    assert tables.signals().empty
    assert {"daily_bars", "adjusted_bars", "wf_equity"} <= set(tables.names())


def test_sql_in_a_symbol_stays_a_symbol(stored: Warehouse) -> None:
    tables = open_warehouse()
    assert len(tables.daily_bars(HOSTILE)) == 6
    assert tables.daily_bars("' OR 1=1 --").empty
    assert tables.returns("rsi2").notna().all()
    with pytest.raises(NothingStored):
        tables.returns("' OR 1=1 --")
    assert len(tables.query("SELECT * FROM daily_bars WHERE symbol = ?", [HOSTILE])) == 6


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM daily_bars",
        "COPY daily_bars TO '{file}'",
        "SELECT 1; COPY daily_bars TO '{file}'",
        "EXPLAIN ANALYZE COPY daily_bars TO '{file}'",
        "COPY (PIVOT daily_bars ON symbol USING max(close)) TO '{file}'",
        "EXPORT DATABASE '{file}'",
        "ATTACH '{file}' AS other",
    ],
)
def test_nothing_can_be_written(sql: str, stored: Warehouse, tmp_path: Path) -> None:
    there = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match="no SELECT"):
        open_warehouse().query(sql.format(file=tmp_path / "mine"))
    assert sorted(tmp_path.rglob("*")) == there
    assert len(open_warehouse().daily_bars()) == 12


@pytest.mark.parametrize(
    "sql",
    [
        "FROM daily_bars",
        "WITH bars AS (SELECT * FROM daily_bars) SELECT * FROM bars",
        "DESCRIBE daily_bars",
        "SUMMARIZE daily_bars",
        "PIVOT daily_bars ON symbol IN ('A') USING max(close)",
        "VALUES (1)",
    ],
)
def test_every_way_to_write_a_select_is_answered(sql: str, stored: Warehouse) -> None:
    assert len(open_warehouse().query(sql)) > 0


def test_frames_are_copies(stored: Warehouse) -> None:
    tables = open_warehouse()
    frame = tables.kpis()
    frame["value"] = -1.0
    assert (tables.kpis()["value"] == 0.1).all()


def test_a_missing_warehouse_is_named_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(NothingStored, match="kobe report"):
        open_warehouse(tmp_path / "none" / "kobe.duckdb")
    assert not (tmp_path / "none").exists()


def test_importing_the_package_stays_light() -> None:
    code = "import sys, kobe_resources; print([name for name in ('duckdb', 'pandas', 'pydantic') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_example_notebook_runs(stored: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "jupyter"))
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells), "outputs are stripped"
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("application/vnd.plotly.v1+json" in output.get("data", {}) for output in shown)
    assert any("time_stop" in str(output.get("data", {}).get("text/plain")) for output in shown)
