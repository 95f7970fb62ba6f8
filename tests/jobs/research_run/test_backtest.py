"""`kobe backtest`: parameters changed by hand are tried, refused in words where they make no sense, and counted."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from kobe_jobs.research_run.backtest import parse_changes, run_backtest
from kobe_resources.errors import UsageError
from kobe_resources.settings.models import Settings
from kobe_resources.warehouse.store import Warehouse
from tests.support.builders.replay_market import random_warehouse


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Settings, Warehouse]:
    settings, warehouse = random_warehouse(tmp_path, 10, 290)
    monkeypatch.setenv("KOBE_HOME", str(warehouse.path.parent))
    return settings, warehouse


def test_a_parameter_that_is_set_trades_and_counts_as_a_try(stored: tuple[Settings, Warehouse], tmp_path: Path) -> None:
    settings, warehouse = stored
    changed = parse_changes(settings, "ibs", ["time_stop=1"])
    summary = run_backtest(settings, "ibs", None, None, tmp_path / "out", changed)
    assert summary["params"]["time_stop"] == 1.0
    trades = pd.read_csv(tmp_path / "out" / "trade_list.csv")
    assert trades["bars_held"].max() == 1
    (row,) = warehouse.rows("SELECT strategy, fold, train_sharpe, params->>'time_stop' FROM wf_trials")
    assert (row[0], row[1], float(row[3])) == ("ibs", 0, 1.0)
    assert row[2] is None or row[2] != row[2]


def test_the_canonical_parameters_over_all_sessions_count_nothing(stored: tuple[Settings, Warehouse], tmp_path: Path) -> None:
    settings, warehouse = stored
    summary = run_backtest(settings, "ibs", None, None, tmp_path / "out")
    days = warehouse.rows("SELECT min(session), max(session), count(DISTINCT session) FROM daily_bars")[0]
    assert (summary["start"], summary["end"], summary["sessions"]) == (str(days[0]), str(days[1]), days[2])
    assert warehouse.rows("SELECT count(*) FROM wf_trials") == [(0,)]


def test_a_book_names_its_parameters_by_strategy(stored: tuple[Settings, Warehouse], tmp_path: Path) -> None:
    portfolio = {"strategies": {"ibs": 1.0, "rsi2": 0.5}}
    settings = Settings.model_validate(stored[0].model_dump() | {"portfolio": portfolio})
    changed = parse_changes(settings, "portfolio", ["ibs.time_stop=1"])
    summary = run_backtest(settings, "portfolio", None, None, tmp_path / "out", changed)
    assert (summary["params"]["ibs"]["time_stop"], summary["params"]["rsi2"]["time_stop"]) == (1.0, settings.strategy.time_stop)
    trades = pd.read_csv(tmp_path / "out" / "trade_list.csv")
    assert {"ibs"} <= set(trades["entered_by"]) <= {"ibs", "rsi2"}
    assert trades.loc[trades["entered_by"] == "ibs", "bars_held"].max() == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rsi_entri=5", "rsi2 has no parameter 'rsi_entri'"),
        ("rsi_entry", "names no number"),
        ("rsi_entry=much", "names no number"),
        ("rsi_entry=nan", "positive numbers"),
        ("time_stop=-1", "positive numbers"),
    ],
)
def test_a_change_that_makes_no_sense_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_changes(Settings(), "rsi2", [text])
