"""`kobe backtest`: parameters changed by hand are tried, refused in words where they make no sense, and counted."""

from __future__ import annotations

import datetime as dt
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kobe_assets.graph.inputs import load_market, market_and_version
from kobe_assets.graph.lineage import TABLES
from kobe_assets.graph.own_strategies import strategies_of
from kobe_assets.report.analysis.one_run import run_book
from kobe_assets.research.panel import ROW_DIVIDEND, ROW_FACTOR
from kobe_jobs.research_run import backtest
from kobe_jobs.research_run.backtest import describe_replaced, earlier_run, parse_changes, run_backtest
from kobe_jobs.research_run.strategy_check import check_strategy
from kobe_resources.errors import UsageError
from kobe_resources.settings.load import changed_settings
from kobe_resources.settings.models import Settings
from kobe_resources.warehouse import checkpoint_journal
from kobe_resources.warehouse.store import Warehouse
from tests.support.builders.replay_market import random_warehouse


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Warehouse]:
    """A random market, made once."""
    return random_warehouse(tmp_path_factory.mktemp("drawn"), 10, 290)


@pytest.fixture
def stored(drawn: tuple[Settings, Warehouse], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Settings, Warehouse]:
    """A copy of it, in KOBE_HOME."""
    settings, warehouse = drawn
    shutil.copy(warehouse.path, tmp_path)
    monkeypatch.setenv("KOBE_HOME", str(tmp_path))
    return settings, Warehouse(tmp_path / warehouse.path.name)


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


def test_the_version_named_is_that_of_the_bars_it_ran_on(
    stored: tuple[Settings, Warehouse], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, warehouse = stored
    before = warehouse.content_version(*TABLES["daily_bars"])

    def meanwhile(*given: Any) -> Any:
        with warehouse.transaction() as connection:
            connection.execute("UPDATE daily_bars SET volume = volume + 1")
        return run_book(*given)

    monkeypatch.setattr(backtest, "run_book", meanwhile)
    summary = run_backtest(settings, "ibs", None, None, tmp_path / "out", {"time_stop": 1.0})
    assert summary["data_version"] == before != warehouse.content_version(*TABLES["daily_bars"])
    assert warehouse.rows("SELECT DISTINCT data_version FROM wf_trials") == [(before,)]


def test_market_and_version_are_read_while_no_other_process_can_write(stored: tuple[Settings, Warehouse]) -> None:
    settings, warehouse = stored
    opened: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Warehouse, "_open", lambda warehouse: opened.append(1) or checkpoint_journal.connect(warehouse.path))
        market, version = market_and_version(warehouse, settings)
    assert len(opened) == 1
    assert (market, version) == (load_market(warehouse, settings), warehouse.content_version(*TABLES["daily_bars"]))


def test_a_setting_is_no_parameter_and_is_told_where_it_goes() -> None:
    with pytest.raises(UsageError, match=r"names a setting: write --set atr_stop=2$"):
        parse_changes(Settings(), "ibs", ["strategy.parameters.ibs.atr_stop=2"])
    with pytest.raises(UsageError, match="KOBE_STRATEGY__PARAMETERS__RSI2__ATR_STOP=2"):
        parse_changes(Settings(), "ibs", ["strategy.parameters.rsi2.atr_stop=2"])
    with pytest.raises(UsageError, match=r"costs.slippage_bps is a setting: write KOBE_COSTS__SLIPPAGE_BPS=10 before"):
        parse_changes(Settings(), "ibs", ["costs.slippage_bps=10"])


def test_the_canonical_parameters_over_all_sessions_count_nothing(stored: tuple[Settings, Warehouse], tmp_path: Path) -> None:
    settings, warehouse = stored
    summary = run_backtest(settings, "ibs", None, None, tmp_path / "out")
    days = warehouse.rows("SELECT min(session), max(session), count(DISTINCT session) FROM daily_bars")[0]
    assert (summary["start"], summary["end"], summary["sessions"]) == (str(days[0]), str(days[1]), days[2])
    assert warehouse.rows("SELECT count(*) FROM wf_trials") == [(0,)]


def test_a_run_that_takes_the_place_of_another_names_it(stored: tuple[Settings, Warehouse], tmp_path: Path) -> None:
    settings, _ = stored
    out = tmp_path / "out"
    assert earlier_run(out) is None
    first = run_backtest(settings, "ibs", None, None, out, {"time_stop": 3.0})
    assert describe_replaced(earlier_run(out), first) == ""
    assert "from 2" in describe_replaced(earlier_run(out), {**first, "config_pin": "another"})
    second = run_backtest(settings, "ibs", None, None, tmp_path / "beside")
    told = describe_replaced(earlier_run(out), second)
    assert told == f"ibs from {first['start']} to {first['end']}, atr_stop 2.0, ibs_entry 0.2, time_stop 3.0"
    (out / "summary.json").write_text("[]")
    assert describe_replaced(earlier_run(out), second) == ""


def test_holding_the_same_stocks_stands_beside_it_as_in_the_report(stored: tuple[Settings, Warehouse], tmp_path: Path) -> None:
    settings, warehouse = stored
    market = load_market(warehouse, settings)
    panel, cash = market.panel, settings.simulation.initial_cash
    summary = run_backtest(settings, "ibs", None, None, tmp_path / "out")
    # By hand: every stock that may trade and has a bar on the first session, held to its last.
    grown = []
    for place in np.unique(panel.symbol[market.tradable]):
        bars = slice(panel.start[place], panel.start[place + 1])
        if panel.session[bars][0] == 0:
            reinvested = panel.rows[bars, ROW_DIVIDEND][1:] * panel.rows[bars, ROW_FACTOR][1:] / panel.close[bars][1:]
            grown.append(panel.close[bars][-1] / panel.close[bars][0] * np.prod(1.0 + reinvested))
    assert grown
    assert summary["held"]["final_equity"] == pytest.approx(cash * np.mean(grown))
    assert summary["held"]["max_drawdown"] < 0
    text = f"made ${summary['held']['final_equity']:,.0f} of it"
    assert text in (tmp_path / "out" / "backtest.html").read_text(encoding="utf-8")


def test_a_book_names_its_parameters_by_strategy(stored: tuple[Settings, Warehouse], tmp_path: Path) -> None:
    portfolio = {"strategies": {"ibs": 1.0, "rsi2": 0.5}}
    settings = Settings.model_validate(stored[0].model_dump() | {"portfolio": portfolio})
    changed = parse_changes(settings, "portfolio", ["ibs.time_stop=1"])
    summary = run_backtest(settings, "portfolio", None, None, tmp_path / "out", changed)
    assert (summary["params"]["ibs"]["time_stop"], summary["params"]["rsi2"]["time_stop"]) == (1.0, settings.strategy.time_stop)
    trades = pd.read_csv(tmp_path / "out" / "trade_list.csv")
    assert {"ibs"} <= set(trades["entered_by"]) <= {"ibs", "rsi2"}
    assert trades.loc[trades["entered_by"] == "ibs", "bars_held"].max() == 1


AHEAD = """\
import numpy as np

from kobe_assets.research.language import Strategy

AHEAD = Strategy(
    name="ahead",
    summary="For tests",
    indicators={},
    parameters={"time_stop": 2},
    long=lambda at, p: np.roll(at.close, -2) > 1.01 * at.close,
    score_long=lambda at: at.close,
)
"""


def test_it_says_whether_the_strategy_reads_the_future(stored: tuple[Settings, Warehouse], tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "ahead.py").write_text(AHEAD)
    settings = changed_settings(stored[0], {"strategy.folder": tmp_path / "own"})
    summary = run_backtest(settings, "ahead", None, None, tmp_path / "out")
    assert summary["trades"] > 5
    assert "the entries of ahead" in summary["lookahead"]
    assert f"({tmp_path / 'own' / 'ahead.py'}:5)" in summary["lookahead"]
    assert "so its figures mean nothing: the entries of ahead" in (tmp_path / "out" / "backtest.html").read_text()
    assert run_backtest(settings, "ibs", None, None, tmp_path / "out")["lookahead"] is None
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["lookahead"] is None


def test_signals_without_a_score_are_counted(stored: tuple[Settings, Warehouse], tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    text = AHEAD.replace("np.roll(at.close, -2) > 1.01 * at.close", "at.close > 0")
    (tmp_path / "own" / "ahead.py").write_text(text.replace("at.close,\n)", "np.where(at.close > 20, np.nan, at.close),\n)"))
    settings = changed_settings(stored[0], {"strategy.folder": tmp_path / "own"})
    panel = load_market(stored[1], settings).panel
    sessions = [panel.sessions[k].item() for k in (50, 99)]
    (note,) = (n for n in run_backtest(settings, "ahead", *sessions, tmp_path / "out")["notes"] if "score" in n)
    inside = (panel.session >= 50) & (panel.session < 100) & (panel.close > 20)
    assert note == f"{inside.sum():,} times ahead wanted in and gave no signal: its score is no number there"
    assert any("wanted in and gave no signal" in n for n in check_strategy(settings, strategies_of(settings)["ahead"]).notes)


def test_stops_that_the_entry_itself_reaches_are_told(stored: tuple[Settings, Warehouse], tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    text = AHEAD.replace("np.roll(at.close, -2) > 1.01 * at.close", "at.ibs < 0.5").replace(
        "import Strategy", "import Strategy, ibs"
    )
    text = text.replace("indicators={}", 'indicators={"ibs": ibs()}, stop="ibs"').replace(
        '"time_stop": 2', '"time_stop": 2, "atr_stop": 1.0'
    )
    (tmp_path / "own" / "ahead.py").write_text(text)
    settings = changed_settings(stored[0], {"strategy.folder": tmp_path / "own"})
    (note,) = (n for n in run_backtest(settings, "ahead", None, None, tmp_path / "out")["notes"] if "stop=" in n)
    assert re.fullmatch(
        r"[1-9][\d,]* of [1-9][\d,]* signals of ahead have ibs at zero or below, and so a stop that the entry itself reaches: "
        r"name an indicator for stop= that is always above zero",
        note,
    )
    backward, wanted = (int(number.replace(",", "")) for number in re.findall(r"[\d,]+(?= of | signals)", note))
    assert 0 < backward < wanted
    assert note in check_strategy(settings, strategies_of(settings)["ahead"]).notes


def test_it_warns_of_what_it_stands_on_and_not_of_what_an_earlier_report_found(
    stored: tuple[Settings, Warehouse], tmp_path: Path
) -> None:
    settings, warehouse = stored
    with warehouse.transaction() as connection:
        for asset, check in (("universe", "enough_symbols"), ("signals", "no_lookahead"), ("wf_folds", "cash_conserved")):
            connection.execute("INSERT INTO check_results VALUES (?, ?, 'warning', FALSE, 1, '', now())", [asset, check])
    summary = run_backtest(settings, "ibs", None, None, tmp_path / "out")
    assert [warning["name"] for warning in summary["warnings"]] == ["enough_symbols"]


def test_nothing_is_cut_in_silence(stored: tuple[Settings, Warehouse], tmp_path: Path) -> None:
    settings, warehouse = stored
    (first, last) = warehouse.rows("SELECT min(session), max(session) FROM daily_bars")[0]
    universe = warehouse.frame("SELECT * FROM universe").assign(selected=lambda rows: rows["symbol"] != "S00")
    warehouse.replace({"universe": universe})
    summary = run_backtest(settings, "ibs", dt.date(1980, 1, 1), dt.date(2080, 1, 1), tmp_path / "out")
    bars = f"the bars run from {first} to {last}"
    assert summary["notes"][:2] == [
        f"the window begins on {first} and not on 1980-01-01: {bars}",
        f"the window ends on {last} and not on 2080-01-01: {bars}",
    ]
    assert [note for note in summary["notes"] if "may not trade" in note] == [
        f"1 of {len(universe)} symbols with bars may not trade (universe, quarantine): S00"
    ]
    (refused,) = (note for note in summary["notes"] if "refused" in note)
    count = sum(summary["refused"].values())
    assert refused.startswith(f"{count:,} of ")
    assert all(f"{reason} {n:,}" in refused for reason, n in summary["refused"].items())
    trades = pd.read_csv(tmp_path / "out" / "trade_list.csv")
    open_at_end = int((trades["exit_reason"] == "window_end").sum())
    assert open_at_end == sum(int(note.split()[0]) for note in summary["notes"] if "still open" in note)
    page = (tmp_path / "out" / "backtest.html").read_text()
    assert f"The window ends on {last} and not on 2080-01-01: {bars}." in page


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rsi_entri=5", "rsi2 has no parameter 'rsi_entri'"),
        ("rsi_entry", "names no number"),
        ("rsi_entry=much", "names no number"),
        ("rsi_entry=nan", "positive numbers"),
        ("time_stop=-1", "positive numbers: write it as --set time_stop=5$"),
        ("time_stop=many", "names no number: write it as --set time_stop=5$"),
    ],
)
def test_a_change_that_makes_no_sense_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_changes(Settings(), "rsi2", [text])
