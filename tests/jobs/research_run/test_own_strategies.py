"""A strategy in a file of one's own goes everywhere that Kobe's go: tables, folds, cluster, live path, trace, terminal."""

from __future__ import annotations

import contextlib
import inspect
import json
import pickle
import resource
import stat
import tomllib
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from distributed import LocalCluster
from typer.testing import CliRunner

from kobe_assets.api import walk_forward
from kobe_assets.graph.frames import trial_terms
from kobe_assets.graph.inputs import canonical_params, folds_of, grid_of, load_market, load_panel
from kobe_assets.graph.lineage import TABLES, code_versions
from kobe_assets.graph.own_code import OWN as OWN_MODULE
from kobe_assets.graph.own_strategies import own_files, source_record, strategies_of
from kobe_assets.report.analysis import stored_curves
from kobe_assets.report.analysis.conditions import in_words
from kobe_assets.report.analysis.heat_map import read_grids
from kobe_assets.report.analysis.one_run import run_book
from kobe_assets.report.analysis.stored_curves import compute_evidence
from kobe_assets.research.language import ListingBars, Strategy, custom
from kobe_assets.research.strategies import StrategyFault
from kobe_assets.research.walk_forward import Part, find_signals, grid_sets, run_trials
from kobe_assets.signals import signals_of
from kobe_assets.wf_folds import run_portfolio, run_studies
from kobe_jobs.cli.commands import strategies
from kobe_jobs.research_run import sweep
from kobe_jobs.research_run.stale import bring_up_to_date
from kobe_jobs.research_run.strategies import ReadsTheFuture
from kobe_jobs.research_run.strategy_check import check_strategy, unproven
from kobe_jobs.research_run.sweep import Sweep, Task, best_sets, plan_sweep, run_sweep, trials_of_fold
from kobe_jobs.trading.market_snapshot import load_market_snapshot
from kobe_jobs.trading.parity import replay as parity
from kobe_jobs.trading.parity.replay import replay
from kobe_jobs.trading.readiness.research_gate import missing_evidence
from kobe_jobs.trading.reporting.trace import trace
from kobe_resources.errors import KobeError, UsageError
from kobe_resources.order_ledger import OrderLedger
from kobe_resources.runtime.sql_files import read_sql
from kobe_resources.settings.load import changed_settings, load_settings
from kobe_resources.settings.models import Settings
from kobe_resources.settings.pins import research_pin
from kobe_resources.warehouse.store import Warehouse
from tests.support.builders.own_strategies import CUSTOM, GOOD, write_strategies
from tests.support.drivers.command import kobe

OWN = ("rsi4", "sma50", "atr10", "adx14", "spread", "strength")
TOML = """
[data]
vendor = "synthetic"
synthetic.symbols = 6
synthetic.sessions = 560
[strategy]
folder = "strategies"
[strategy.parameters.my_idea]
entry = 45
[simulation]
initial_cash = 1000
[sizing]
whole_shares = false
[walk_forward]
train = 126
"""


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with settings, a strategy, and a data folder that is computed up to the folds."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "kobe.toml").write_text(TOML, encoding="utf-8")
    write_strategies(folder, {"idea.py": GOOD})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KOBE_HOME", str(folder / "home"))
        patch.setenv("KOBE_CONFIG", str(folder / "kobe.toml"))
        bring_up_to_date(load_settings(), targets=("daily_bars", "universe", "indicators", "signals", "wf_folds"))
    return folder


@pytest.fixture
def settings(computed: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("KOBE_HOME", str(computed / "home"))
    monkeypatch.setenv("KOBE_CONFIG", str(computed / "kobe.toml"))
    return load_settings()


def test_declared_indicators_are_columns_and_signals_carry_them_as_read(settings: Settings) -> None:
    warehouse = Warehouse()
    table = warehouse.frame("SELECT * FROM indicators ORDER BY symbol, session")
    assert list(table.columns) == ["symbol", "session", "rsi2", "sma200", "atr14", "ibs", *OWN]
    signals = warehouse.frame("SELECT * FROM signals WHERE strategy = 'my_idea'")
    assert len(signals) > 30
    lagged = table.groupby("symbol")[list(OWN)].shift(1).assign(symbol=table["symbol"], session=table["session"])
    joined = signals.merge(lagged, on=["symbol", "session"])
    for row in joined.to_dict(orient="records"):
        values = json.loads(row["values"])
        assert values == {name: row[name] if row[name] == row[name] else None for name in OWN}
        assert row["score"] == values["rsi4"] <= 45
        assert row["stop_distance"] == 2.5 * values["atr10"]
    assert warehouse.rows("SELECT count(*) FROM signals WHERE strategy = 'rsi2' AND \"values\" IS NOT NULL") == [(0,)]


WRITES = """
import os
import sys
import warnings
from pprint import pprint


def wants(at, p):
    sys.stdout.write("asked ")
    sys.stdout.writelines(["asked "])
    pprint("asked")
    os.chdir("/")
    warnings.simplefilter("error")
    return at.rsi4 <= p["entry"]
"""


@pytest.fixture
def careless(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """The same, but the conditions of the strategy write to standard output, and change what belongs to the process."""
    monkeypatch.chdir(tmp_path)
    mine, names = strategies_of(settings)["my_idea"], dict[str, Any](__name__=f"{OWN_MODULE}of_this_test")
    before = {what: getattr(mine, what) for what in ("long", "leave_long")}
    exec(WRITES, names)
    # The object is kept for as long as the process runs, and its file is what the tables stand on.
    for what in before:
        object.__setattr__(mine, what, names["wants"])
    yield settings
    for what, function in before.items():
        object.__setattr__(mine, what, function)


@pytest.mark.usefixtures("careless")
def test_what_a_function_of_ones_own_writes_is_no_part_of_an_answer() -> None:
    ended = kobe("strategies", "check", "my_idea", "--json")
    assert json.loads(ended.out)["name"] == "my_idea"
    assert ended.err.count("asked") > 3


def test_what_a_condition_changes_of_the_process_is_as_before(careless: Settings) -> None:
    warehouse = Warehouse()
    market, mine = load_market(warehouse, careless), strategies_of(careless)["my_idea"]
    params, fold = canonical_params(careless, mine), folds_of(careless, market.panel)[0]
    first, last = (market.panel.sessions[k].item() for k in (-60, -1))
    bars = next(iter(load_market_snapshot(warehouse, ["my_idea"], first, last).bars.values()))
    together = changed_settings(careless, {"portfolio.strategies": {"my_idea": 0.5, "rsi2": 0.5}})
    without_luck = changed_settings(careless, {"report.permutations": 0})
    before, changed = (Path.cwd(), list(warnings.filters)), []
    for ask in (
        lambda: signals_of(market, careless),
        lambda: run_studies(market, careless),
        lambda: run_portfolio(market, together, run_studies(market, together)),
        lambda: run_book(market, "my_idea", [Part(mine, 1.0)], [params]),
        lambda: parity.simulate_window(market, careless, [Part(mine, 1.0)], 100, 200),
        lambda: check_strategy(careless, mine),
        lambda: run_sweep(careless, warehouse, Sweep(market, "pin", "version", (Task(mine, (params,), (fold,)),), 1)),
        lambda: trials_of_fold(market, "my_idea", (params,), fold, own_files(careless)),
        lambda: bars.exit_signals(mine, params, 1, True, first, last),
        lambda: compute_evidence(warehouse, market, without_luck),
        lambda: in_words(mine.long, params),
        lambda: walk_forward("my_idea", check=False),
    ):
        # What a market was asked before is not looked for again.
        market.found.clear()
        with contextlib.chdir(Path.cwd()), warnings.catch_warnings():
            ask()
            if (Path.cwd(), warnings.filters) != before:
                changed.append(inspect.getsource(ask).strip())
    assert changed == []


def test_it_has_folds_and_trades_of_its_own(settings: Settings, tmp_path: Path) -> None:
    trades = Warehouse().frame("SELECT * FROM wf_trades WHERE strategy = 'my_idea' AND mode = 'canonical'")
    assert len(trades) > 5
    assert set(trades["exit_reason"]) >= {"rebound"}
    session = trades["entry_session"].iloc[0].date()
    with OrderLedger(tmp_path / "orders.sqlite") as ledger:
        name = f"sim:my_idea:canonical:{trades['symbol'].iloc[0]}:{session}"
        found = trace(ledger, Warehouse(), name, strategies_of(settings)).as_json()
    read = json.loads(found["signal"][0]["values"])
    assert set(read) == set(OWN)
    assert set(OWN) <= set(found["bars"][0])
    lines = found["in_words"]
    assert lines[0].startswith("Signal: my_idea said buy ")
    assert all(f"{name} {value:.4g}" in lines[1] for name, value in read.items())
    told = {"ibs": "IBS", "rsi2": "RSI(2)", "sma200": "200-day average", "atr14": "ATR"}
    declared = strategies_of(settings)["my_idea"].indicators
    assert {name for name, word in told.items() if word in lines[1]} == told.keys() & declared.keys()


def test_an_indicator_that_is_called_as_a_price_is_traced_beside_it(settings: Settings, tmp_path: Path) -> None:
    warehouse = Warehouse()
    ((symbol, day),) = warehouse.rows("SELECT symbol, entry_session::DATE FROM wf_trades WHERE strategy = 'my_idea' LIMIT 1")
    with warehouse.transaction() as connection:
        connection.execute("ALTER TABLE indicators ADD COLUMN low DOUBLE DEFAULT -7")
    try:
        with OrderLedger(tmp_path / "orders.sqlite") as ledger:
            bar = trace(ledger, warehouse, f"sim:my_idea:canonical:{symbol}:{day}").as_json()["bars"][0]
    finally:
        with warehouse.transaction() as connection:
            connection.execute("ALTER TABLE indicators DROP COLUMN low")
    assert bar["indicator low"] == -7
    assert 0 < bar["low"] <= bar["close"]


def test_a_simulated_trade_of_the_book_is_traced_to_the_strategy_that_entered_it(
    settings: Settings, computed: Path, tmp_path: Path
) -> None:
    warehouse = Warehouse()
    with warehouse.transaction() as connection:
        one = "SELECT * REPLACE ('portfolio' AS strategy) FROM wf_trades WHERE strategy = 'my_idea' LIMIT 1"
        connection.execute(f"INSERT INTO wf_trades {one}")
    try:
        ((mode, symbol, day),) = warehouse.rows(
            "SELECT mode, symbol, entry_session::DATE FROM wf_trades WHERE strategy = 'portfolio'"
        )
        with OrderLedger(tmp_path / "orders.sqlite") as ledger:
            found = trace(ledger, warehouse, f"sim:portfolio:{mode}:{symbol}:{day}").as_json()
    finally:
        with warehouse.transaction() as connection:
            connection.execute("DELETE FROM wf_trades WHERE strategy = 'portfolio'")
    assert found["in_words"][0].startswith("Signal: my_idea said buy ")
    assert found["signal"][0]["strategy"] == "my_idea"
    assert "rsi4" in found["in_words"][1]


def test_a_worker_of_a_cluster_needs_no_file_of_it(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    market, strategy = load_market(Warehouse(), settings), strategies_of(settings)["my_idea"]
    sets = grid_sets(strategy, canonical_params(settings, strategy), grid_of(settings, strategy))
    fold = folds_of(settings, market.panel)[0]
    feeds = find_signals(market, market.readable(), strategy, sets).priced(market).feeds(range(len(sets)), trial=True)
    sent = pickle.loads(pickle.dumps((market, "my_idea", sets, fold, own_files(settings))))
    monkeypatch.setenv("KOBE_CONFIG", "/nowhere/kobe.toml")
    np.testing.assert_array_equal(trials_of_fold(*sent), run_trials(market, (fold,), feeds, sets))


def test_the_live_path_gives_its_trades(settings: Settings) -> None:
    days = Warehouse().rows("SELECT DISTINCT session FROM daily_bars ORDER BY session")
    found = replay(settings, Warehouse(), days[-60][0], days[-41][0], "my_idea")
    assert found.agrees
    assert found.simulated


def test_an_edit_makes_stale_what_stands_on_it_and_nothing_else(settings: Settings, computed: Path, tmp_path: Path) -> None:
    def versions(*texts: str) -> dict[str, str]:
        folder = write_strategies(tmp_path, {f"f{k}.py": text for k, text in enumerate(texts)})
        return code_versions(settings.model_copy(update={"strategy": settings.strategy.model_copy(update={"folder": folder})}))

    plain = GOOD.replace("custom(spread)", "atr(5)")
    for text, old, new, changed in (
        (plain, 'summary="For', 'summary="Only for', {"signals", "wf_folds", "kpi_report"}),
        (plain, "rsi(4)", "rsi(5)", {"indicators", "signals", "wf_folds", "kpi_report"}),
        (plain, "rsi(4)", 'rsi(4).of("SPY")', {"universe", "indicators", "signals", "wf_folds", "kpi_report"}),
        (GOOD, "bars.high - bars.low", "bars.high + bars.low", {"indicators", "signals", "wf_folds", "kpi_report"}),
        (f"{plain}\nimport f1\n", None, "X = 1\n", {"signals", "wf_folds", "kpi_report"}),
    ):
        before = versions(text, "")
        after = versions(text, new) if old is None else versions(text.replace(old, new), "")
        assert {name for name in before if before[name] != after[name]} == changed, new
    everything = {"indicators", "signals", "wf_folds", "kpi_report"}
    for own, declared in (
        ("from functools import partial\n", "custom(partial(lambda k, bars: bars.high * k, 3))"),
        (
            "class Times:\n    def __init__(self, k): self.k = k\n    def __call__(self, bars): return bars.high * self.k\n",
            "custom(Times(3))",
        ),
        ("from f1 import times\n", "custom(times(3))"),
        ("from f1 import times\n", "rank(custom(times(3)))"),
        ("from f1 import times\n", 'custom(times(3)).of("SPY")'),
    ):
        text, beside = (
            f"{own}\n{GOOD.replace('custom(spread)', declared)}",
            "def times(k):\n    return lambda bars: bars.high * k\n",
        )
        before = versions(text, beside)
        after = versions(text.replace("(3)", "(4)").replace("k, 3", "k, 4"), beside)
        assert {name for name in before if before[name] != after[name]} == everything, declared
    assert versions(text, beside) == versions(text, beside), "unchanged"


def test_the_gate_and_the_record_know_its_source(settings: Settings, computed: Path) -> None:
    record = source_record(settings, "my_idea")
    assert record is not None
    assert record["files"] == {"idea.py": GOOD}
    assert source_record(settings, "rsi2") is None
    file = computed / "strategies" / "idea.py"
    try:
        file.write_text(GOOD.replace("For tests", "Changed"), encoding="utf-8")
        assert "another source of 'my_idea'" in missing_evidence(Warehouse(), settings, "my_idea")
        assert "another source" not in missing_evidence(Warehouse(), settings, "rsi2")
    finally:
        file.write_text(GOOD, encoding="utf-8")
    assert "another source" not in missing_evidence(Warehouse(), settings, "my_idea")


def test_a_sweep_of_an_edited_strategy_begins_anew(settings: Settings, computed: Path) -> None:
    file = computed / "strategies" / "idea.py"
    assert plan_sweep(settings, Warehouse(), ["my_idea"]).left == 0, "the folds have tried all"
    try:
        file.write_text(GOOD.replace("at.close > at.sma50", "at.close < at.sma50"), encoding="utf-8")
        assert plan_sweep(settings, Warehouse(), ["my_idea"]).left > 0
        assert plan_sweep(settings, Warehouse(), ["rsi2"]).left == 0
    finally:
        file.write_text(GOOD, encoding="utf-8")


def test_a_fault_of_a_strategy_on_a_cluster_is_told_as_here_and_tried_once(
    settings: Settings, computed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def counted(*given: Any) -> Any:
        tried.append(given[3].number)
        return trials_of_fold(*given)

    monkeypatch.setattr(sweep, "trials_of_fold", counted)
    file = computed / "strategies" / "idea.py"
    try:
        # The canonical entry is 45: only a set of the grid meets the fault.
        file.write_text(GOOD.replace('(at.rsi4 <= p["entry"])', '(at.rsi4 <= 1 / (p["entry"] - 30))'), encoding="utf-8")
        plan = plan_sweep(settings, Warehouse(), ["my_idea"])
        with pytest.raises(StrategyFault) as here:
            run_sweep(settings, Warehouse(), plan)
        with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster:
            there = {"compute.engine": "dask", "compute.scheduler": cluster.scheduler_address}
            with pytest.raises(StrategyFault) as found:
                run_sweep(changed_settings(settings, there), Warehouse(), plan)
    finally:
        file.write_text(GOOD, encoding="utf-8")
    assert str(found.value) == str(here.value)
    assert "ZeroDivisionError" in str(here.value)
    assert len(tried) == len(set(tried)) >= 1


def test_fixed_parameters_outside_the_grid_are_a_try_and_no_cell_of_the_grid(settings: Settings) -> None:
    warehouse = Warehouse()
    trials = warehouse.frame(
        "SELECT fold, trial, params::VARCHAR AS params, train_sharpe FROM wf_trials "
        "WHERE strategy = 'my_idea' AND fold > 0 AND (config_pin, terms) = (?, ?)",
        [research_pin(settings), trial_terms(settings, strategies_of(settings)["my_idea"])],
    )
    fixed = trials[trials["trial"] == 0]
    assert {json.loads(text)["entry"] for text in fixed["params"]} == {45.0}
    assert {json.loads(text)["entry"] for text in trials.loc[trials["trial"] > 0, "params"]} == {30.0, 40.0}
    folds = warehouse.frame("SELECT fold, train_sharpe FROM wf_folds WHERE strategy = 'my_idea' AND mode = 'canonical'")
    both = fixed.merge(folds, on="fold", validate="1:1")
    assert len(both) == len(folds) > 3
    assert both["train_sharpe_x"].equals(both["train_sharpe_y"])
    version = warehouse.content_version(*TABLES["daily_bars"])
    counted = warehouse.frame(read_sql(stored_curves.HERE, "trial_sharpes"), {"version": version, "vendor": "synthetic"})
    (mean,) = (row.sharpe for row in counted.dropna().itertuples() if row.params == fixed["params"].iloc[0])
    assert mean == pytest.approx(fixed["train_sharpe"].mean())
    plan = plan_sweep(settings, warehouse, ["my_idea"])
    assert all(json.loads(row["params"])["entry"] < 45 for row in best_sets(warehouse, plan, most=10))
    (grid,) = (one for one in read_grids(warehouse, plan.pin, plan.data_version, {}) if one.strategy == "my_idea")
    assert (grid.axes["entry"], len(grid.sets)) == ([30.0, 40.0], 4)


def test_a_sweep_of_what_reads_the_future_is_refused_and_records_nothing(settings: Settings, computed: Path) -> None:
    file, before = computed / "strategies" / "idea.py", Warehouse().rows("SELECT count(*) FROM wf_trials")
    try:
        file.write_text(GOOD.replace("return bars.high - bars.low", "return bars.close[::-1].copy()"), encoding="utf-8")
        bring_up_to_date(load_settings(), targets=("daily_bars", "universe", "indicators"))
        plan = plan_sweep(settings, Warehouse(), ["my_idea"])
        assert plan.left > 0
        with pytest.raises(ReadsTheFuture, match=rf"reads the future, the indicator spread .*idea\.py:{CUSTOM - 1}\)"):
            run_sweep(settings, Warehouse(), plan)
    finally:
        file.write_text(GOOD, encoding="utf-8")
        bring_up_to_date(load_settings(), targets=("daily_bars", "universe", "indicators"))
    assert Warehouse().rows("SELECT count(*) FROM wf_trials") == before


def run(*arguments: str) -> str:
    app = typer.Typer()
    strategies.register(app)

    @app.callback()
    def root() -> None:
        pass

    result = CliRunner().invoke(app, ["strategies", *arguments], catch_exceptions=False, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.output


def test_list_says_what_is_registered_from_where_and_whether_it_trades(settings: Settings, computed: Path) -> None:
    rows = {row["name"]: row for row in json.loads(run("list", "--json"))}
    assert list(rows) == ["ibs", "my_idea", "rsi2", "rsi2_ibs"]
    assert (rows["rsi2"]["from"], rows["rsi2"]["weight"]) == ("Kobe", 1.0)
    assert (rows["my_idea"]["weight"], rows["my_idea"]["parameters"]["entry"]) == (None, 45.0)
    assert rows["my_idea"]["from"].startswith(str(computed / "strategies" / "idea.py:"))
    assert "my_idea" in run("list")
    idle = computed / "strategies" / "idle.py"
    try:
        idle.write_text("IDEAS = []\n", encoding="utf-8")
        assert f"{idle} declares no strategy" in run("list")
    finally:
        idle.unlink()


def test_the_warm_up_waits_for_what_an_entry_reads_alone(settings: Settings, computed: Path) -> None:
    file = computed / "strategies" / "idea.py"
    try:
        file.write_text(GOOD.replace('"spread": custom(spread)', '"spread": sma(80).of("NONE")'), encoding="utf-8")
        facts = json.loads(run("check", "my_idea", "--json"))
    finally:
        file.write_text(GOOD, encoding="utf-8")
        bring_up_to_date(load_settings(), targets=("daily_bars", "universe", "indicators"))
    assert {one["name"]: one["first"] for one in facts["indicators"]}["spread"] is None
    assert facts["warmup"] == 50
    assert facts["signals"]["long"] > 10


def test_check_proves_and_measures(settings: Settings) -> None:
    facts = json.loads(run("check", "my_idea", "--json"))
    assert facts["leak"] == ""
    assert facts["warmup"] == 50
    assert facts["signals"]["long"] > 10
    assert facts["trades"] > 5
    assert {one["name"]: one["first"] for one in facts["indicators"]} == {
        "rsi4": 4, "sma50": 49, "atr10": 10, "adx14": 27, "spread": 0, "strength": 20
    }  # fmt: skip
    text = run("check", "my_idea")
    assert "reads no future" in text
    assert "note: spread: the proof sees what is computed from the bars, not what a function loads by itself" in text


def test_check_says_where_an_indicator_comes_from_no_price(settings: Settings) -> None:
    panel = load_panel(Warehouse())
    table = {
        (float(close), str(day)): n
        for n, (close, day) in enumerate(zip(panel.close, panel.sessions[panel.session], strict=True))
    }

    def weekday(bars: ListingBars) -> np.ndarray:
        return bars.session.astype(np.int64) % 7

    def known(bars: ListingBars) -> list[float]:
        return [table.get((float(x), str(day)), np.nan) for x, day in zip(bars.close, bars.session, strict=True)]

    functions = {"weekday": custom(weekday), "known": custom(known), "range": custom(lambda bars: bars.high - bars.low)}
    strategy = Strategy(
        name="one", summary="", indicators=functions, long=lambda at, p: at.known > 1.0, score_long=lambda at: at.close
    )
    first, *notes = unproven(panel, strategy)
    assert first.startswith("weekday, known, range: the proof sees")
    assert [note.partition(":")[0] for note in notes] == [
        "weekday is the same whatever the prices are",
        "known is undefined on any other prices",
    ]


def test_check_says_that_short_sales_are_refused(settings: Settings) -> None:
    def notes(**policy: bool) -> str:
        changed = Settings.model_validate(settings.model_dump() | {"policy": settings.policy.model_dump() | policy})
        return " ".join(check_strategy(changed, strategies_of(changed)["ibs"]).notes)

    assert "policy.allow_shorts" in notes(allow_shorts=False)
    assert "policy.allow_shorts" not in notes(allow_shorts=True)


def test_new_writes_a_template_that_runs_as_it_is(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, computed: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    run("new", "first_idea")
    settings = load_settings()
    assert settings.strategy.folder == tmp_path / "strategies"
    assert "first_idea" in strategies_of(settings)
    run("new", "second_idea")
    run("new", "the_third_idea_has_a_name_of_forty_lette")
    assert {"first_idea", "second_idea", "the_third_idea_has_a_name_of_forty_lette"} <= strategies_of(settings).keys()
    with pytest.raises(KobeError, match="is taken by"):
        run("new", "first_idea")
    with pytest.raises(KobeError, match="is taken"):
        run("new", "rsi2")
    with pytest.raises(KobeError, match="no name"):
        run("new", "My Idea")
    monkeypatch.setenv("KOBE_HOME", str(computed / "home"))
    (tmp_path / "kobe.toml").write_text(TOML.replace("[strategy.parameters.my_idea]\nentry = 45\n", ""), encoding="utf-8")
    facts = json.loads(run("check", "first_idea", "--json"))
    assert facts["leak"] == ""
    assert facts["trades"] > 0


@pytest.mark.parametrize(
    "before",
    [
        '[data]\nvendor = "sample"  # [strategy] is below\n',
        "# mine\r\n[strategy]   # parameters\r\nrsi_entry = 5\r\n\r\n[data]\r\nvendor = 'sample'\r\n",
        "[strategy.parameters.rsi2]\nrsi_entry = 5\n\n[simulation]\ninitial_cash = 1000",
        "",
    ],
)
def test_new_names_its_folder_in_the_settings_and_changes_nothing_else(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "kobe.toml"
    path.write_bytes(before.encode())
    path.chmod(0o640)
    assert 'folder = "strategies"' in run("new", "first_idea")
    after = path.read_bytes().decode()
    wanted = tomllib.loads(before)
    assert tomllib.loads(after) == {**wanted, "strategy": {**wanted.get("strategy", {}), "folder": "strategies"}}
    assert [line for line in before.splitlines() if line not in after.splitlines()] == []
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert "first_idea" in strategies_of(load_settings())


def test_on_a_full_disk_new_says_so_and_leaves_no_empty_file(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kobe.toml").write_text('[strategy]\nfolder = "strategies"\n', encoding="utf-8")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, before[1]))
    try:
        with pytest.raises(KobeError, match=r"cannot be written .*: free space, mend permissions") as raised:
            run("new", "first_idea")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not isinstance(raised.value, UsageError), "exit code 1: nothing was used wrongly"
    assert list((tmp_path / "strategies").iterdir()) == []


@pytest.mark.parametrize("before", ["strategy = { rsi_entry = 5 }\n", "strategy.rsi_entry = 5\n"])
def test_settings_that_take_no_line_are_left_alone_and_the_line_is_said(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kobe.toml").write_text(before, encoding="utf-8")
    with pytest.raises(KobeError, match=r'write folder = "strategies" under \[strategy\] in .*kobe.toml'):
        run("new", "first_idea")
    assert (tmp_path / "kobe.toml").read_text(encoding="utf-8") == before
    assert not (tmp_path / "strategies").exists()


def test_a_symbol_that_is_read_and_has_no_bars_is_told_by_report_and_backtest(
    settings: Settings, tmp_path: Path, computed: Path
) -> None:
    from kobe_assets.checks.bars import check_universe
    from kobe_assets.graph.inputs import load_market
    from kobe_assets.report.analysis.one_run import run_book
    from kobe_assets.research.walk_forward import Part

    (found,) = [finding for finding in check_universe(Warehouse(), settings) if finding.name == "symbols_read"]
    assert found.ok
    text = GOOD.replace("sma(50)", 'sma(50).of("SPY")')
    other = settings.model_copy(
        update={"strategy": settings.strategy.model_copy(update={"folder": write_strategies(tmp_path, {"idea.py": text})})}
    )
    (found,) = [finding for finding in check_universe(Warehouse(), other) if finding.name == "symbols_read"]
    assert (found.ok, found.blocks) == (False, False)
    assert "SPY (my_idea)" in found.seen
    market, strategy = load_market(Warehouse(), Settings()), strategies_of(other)["my_idea"]
    undefined = np.full(market.panel.bars, np.nan)
    indicators = replace(market.indicators, others=dict.fromkeys(strategy.indicators, undefined))
    run = run_book(replace(market, indicators=indicators), "my_idea", [Part(strategy, 1.0)], [strategy.parameters])
    assert "no bars of SPY are stored: what reads it is undefined everywhere" in run.notes(other)
