"""The figures of `kpis` and the curves of `evidence` say one thing: what the page draws and what the table holds agree."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kobe_assets.graph.frames import trial_rows
from kobe_assets.graph.lineage import TABLES
from kobe_assets.report.analysis.criteria import judge
from kobe_assets.report.analysis.results import StrategyResult, books_of
from kobe_assets.report.analysis.stored_curves import NO_STOP, WHY, why_null
from kobe_assets.report.analysis.tries import Tries, figures_know_all_tries, tries_on_record
from kobe_assets.report.analysis.verdict import context_of
from kobe_assets.research.overfitting import min_track_record_length, moments, psr, sharpe_interval, sqn
from kobe_assets.research.strategies import STRATEGIES
from kobe_assets.research.walk_forward import make_folds
from kobe_jobs.research_run.stale import bring_up_to_date
from kobe_resources.settings.load import load_settings
from kobe_resources.settings.models import Settings
from kobe_resources.warehouse.store import Warehouse
from tests.support.builders.report_inputs import read_inputs

SETTINGS = {
    "DATA__VENDOR": "synthetic",
    "DATA__SYNTHETIC__SYMBOLS": "12",
    "DATA__SYNTHETIC__SESSIONS": "620",
    "POLICY__ALLOW_SHORTS": "true",
    "SIMULATION__INITIAL_CASH": "500",
    "COSTS__SLIPPAGE_BPS": "10",
    "SIZING__WHOLE_SHARES": "false",
    "REPORT__RESAMPLES": "0",
    "REPORT__PERMUTATIONS": "0",
}


@pytest.fixture(scope="module")
def settings() -> Settings:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SETTINGS.items():
            patch.setenv(f"KOBE_{name}", value)
        return load_settings()


@pytest.fixture(scope="module")
def books(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> list[StrategyResult]:
    home: Path = tmp_path_factory.mktemp("kpis")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KOBE_HOME", str(home))
        bring_up_to_date(settings)
        found = books_of(read_inputs(Warehouse(), settings))
    assert len(found) == 6
    assert all(len(book.trades) > 10 for book in found)
    return found


def test_the_system_quality_is_that_of_the_results_in_risk_which_the_page_shows(books: list[StrategyResult]) -> None:
    for book in books:
        shown = sqn(book.trades["pnl"].to_numpy(float), book.trades["risk"].to_numpy(float))
        assert book.figures["sqn"] == pytest.approx(shown, rel=1e-12)


def test_what_is_told_of_a_book_follows_from_its_trades_and_days(books: list[StrategyResult]) -> None:
    for book in books:
        days, trades, told = book.curve, book.trades, book.figures
        returns = days["daily_return"].to_numpy()
        shape = moments(returns)
        assert shape is not None
        dollars = float((trades["shares"] * (trades["entry_price"] + trades["exit_price"])).sum())
        needed = min_track_record_length(shape.sharpe, shape.skew, shape.kurtosis)
        expected = {
            "trades": len(trades),
            "avg_holding": trades["bars_held"].sum() / len(trades),
            "net_pnl": 500.0 * (float(np.prod(1.0 + returns)) - 1.0),
            "turnover": dollars / (2.0 * days["equity"].mean()) * 252 / len(returns),
            "psr": psr(shape.sharpe, shape.n, shape.skew, shape.kurtosis),
        }
        assert {name: told[name] for name in expected} == pytest.approx(expected, rel=1e-9)
        assert told["min_trl_years"] == (None if needed is None else pytest.approx(needed / 252, rel=1e-9))
        assert (told["sharpe_lo"], told["sharpe_hi"]) == sharpe_interval(returns)
        grown = float(np.prod(1.0 + returns)) ** (252 / len(returns)) - 1.0
        trained = book.evidence["trained_annual"]
        assert told["wfe"] == (pytest.approx(grown / trained, rel=1e-9) if trained > 0 else None)


def test_the_cost_step_that_was_paid_is_the_curve_itself(books: list[StrategyResult], settings: Settings) -> None:
    for book in books:
        paid = next(step for step in book.evidence["cost_sensitivity"] if step["bps"] == settings.costs.slippage_bps)
        assert paid["sharpe"] == pytest.approx(book.figures["sharpe"], rel=1e-9)
        assert paid["net_pnl"] == pytest.approx(book.figures["net_pnl"], rel=1e-9)


def test_trials_count_the_same_to_the_last_digit_in_whatever_order_they_were_recorded(tmp_path: Path) -> None:
    rng = np.random.default_rng(11)
    folds = 50
    trials = pd.DataFrame(
        {
            "strategy": "rsi2",
            "fold": np.tile(np.arange(1, folds + 1), 40),
            "trial": np.repeat(np.arange(1, 41), folds),
            "params": np.repeat([f'{{"rsi_entry":{k}}}' for k in range(20)], 2 * folds),
            "train_sharpe": rng.normal(0, 1, 40 * folds),
            "config_pin": "pin",
            "data_version": Warehouse(tmp_path / "empty.duckdb").content_version(*TABLES["daily_bars"]),
            "recorded_at": dt.datetime(2026, 1, 2, tzinfo=dt.UTC),
        }
    )
    found = []
    for name, rows in {"as they came": trials, "shuffled": trials.sample(frac=1, random_state=3)}.items():
        warehouse = Warehouse(tmp_path / f"{name}.duckdb")
        warehouse.replace({"wf_trials": rows})
        found.append(tries_on_record(warehouse, Settings()).sharpe.tolist())
    assert len(found[0]) == 20
    assert found[0] == found[1]


def test_a_try_is_counted_once_by_what_it_tried_and_never_by_cash_costs_or_bars_that_were_mended(tmp_path: Path) -> None:
    warehouse, settings = Warehouse(tmp_path / "kobe.duckdb"), Settings()
    now, version = dt.datetime(2026, 1, 2, tzinfo=dt.UTC), warehouse.content_version(*TABLES["daily_bars"])
    folds, sets = make_folds(30, 5, 10, 5, False), ({"rsi_entry": 5.0}, {"rsi_entry": 10.0})
    rsi2 = STRATEGIES["rsi2"]

    def tried(pin: str, bars: str, level: float, chosen: Settings, later: int = 0) -> pd.DataFrame:
        sharpes = np.full((len(folds), len(sets)), level) * [1.0, 2.0]
        return trial_rows(rsi2, folds, sets, sharpes, pin, bars, now + dt.timedelta(days=later), chosen)

    def counted(*rows: pd.DataFrame) -> list[float]:
        warehouse.replace({"wf_trials": pd.concat(rows)})
        return sorted(round(float(x) * 252**0.5, 9) for x in tries_on_record(warehouse, settings).sharpe)

    mine = tried("pin", version, 0.5, settings)
    assert counted(mine) == [0.5, 1.0]
    richer = settings.model_copy(update={"simulation": settings.simulation.model_copy(update={"initial_cash": 5.0})})
    assert counted(mine, tried("other pin", version, 0.7, richer, later=1)) == [0.7, 1.4], "the latest ratio of the same try"
    other = settings.model_copy(update={"data": settings.data.model_copy(update={"vendor": "synthetic"})})
    assert counted(mine, tried("sample", version, 9.0, other)) == [0.5, 1.0]
    assert counted(mine, tried("pin", "bars that were wrong", 9.0, settings, later=-1)) == [0.5, 1.0]
    lag = settings.model_copy(update={"strategy": settings.strategy.model_copy(update={"indicator_lag_bars": 2})})
    assert counted(mine, tried("pin", version, 3.0, lag)) == [0.5, 1.0, 3.0, 6.0]
    gone = counted(tried("pin", "bars that were wrong", 9.0, settings))
    assert len(gone) == 2
    assert np.isnan(gone).all(), "counted, and without a ratio"


def test_a_ratio_that_comes_later_never_makes_the_tries_look_less_spread(tmp_path: Path) -> None:
    warehouse, settings, rsi2 = Warehouse(tmp_path / "kobe.duckdb"), Settings(), STRATEGIES["rsi2"]
    version = warehouse.content_version(*TABLES["daily_bars"])
    folds = make_folds(30, 5, 10, 5, False)
    wide = [{"rsi_entry": value} for value in (5.0, 10.0, 15.0)]
    near = [{"rsi_entry": 20.0 + value} for value in range(19)]

    def tried(day: int, sets: list[dict[str, float]], level: list[float]) -> pd.DataFrame:
        now = dt.datetime(2026, 1, day, tzinfo=dt.UTC)
        return trial_rows(rsi2, folds, sets, np.tile(level, (len(folds), 1)), "pin", version, now, settings)

    by_hand, report = tried(1, near, [np.nan] * 19), tried(2, wide, [-1.0, 0.5, 2.0])
    warehouse.replace({"wf_trials": pd.concat([by_hand, report])})
    before = tries_on_record(warehouse, settings)
    warehouse.replace({"wf_trials": pd.concat([by_hand, report, tried(3, near, [0.5] * 19)])})
    after = tries_on_record(warehouse, settings)
    assert len(before.sharpe) == len(after.sharpe) == 22
    assert np.isfinite(after.sharpe).sum() == 22
    assert before.variance == after.variance, "made known later, as close together as tries can be"


def test_a_try_has_the_mean_of_its_folds_and_the_day_of_its_own_windows(tmp_path: Path) -> None:
    warehouse, settings, rsi2 = Warehouse(tmp_path / "kobe.duckdb"), Settings(), STRATEGIES["rsi2"]
    version = warehouse.content_version(*TABLES["daily_bars"])
    folds = make_folds(30, 5, 10, 5, False)
    lag = settings.model_copy(update={"strategy": settings.strategy.model_copy(update={"indicator_lag_bars": 2})})

    def tried(day: int, chosen: Settings) -> pd.DataFrame:
        now, level = dt.datetime(2026, 1, day, 12, tzinfo=dt.UTC), np.arange(float(len(folds)))[:, None]
        return trial_rows(rsi2, folds, [{"rsi_entry": 5.0}], level, "pin", version, now, chosen)

    warehouse.replace({"wf_trials": pd.concat([tried(1, settings), tried(5, lag)])})
    tries = tries_on_record(warehouse, settings)
    assert (tries.sharpe * 252**0.5).tolist() == pytest.approx([(len(folds) - 1) / 2] * 2)
    assert sorted(str(day)[:10] for day in tries.since) == ["2026-01-01", "2026-01-05"]


@pytest.mark.parametrize(("count", "variance", "known"), [(2, 2.0, True), (1, 2.0, False), (2, 1.0, False)])
def test_figures_are_stale_where_tries_came_or_are_spread_otherwise(
    monkeypatch: pytest.MonkeyPatch, count: int, variance: float, known: bool
) -> None:
    stored = {
        "SELECT value FROM evidence": [(f'{{"count": {count}, "variance": {variance}}}',)],
        "SELECT data_version": [("version",)],
    }
    monkeypatch.setattr(Warehouse, "rows", lambda _, text: next(rows for head, rows in stored.items() if text.startswith(head)))
    tries = Tries(np.array([0.0, 2.0]), np.array(["2026-01-01"] * 2, dtype="datetime64[us]"))
    monkeypatch.setattr("kobe_assets.report.analysis.tries.tries_on_record", lambda *_: tries)
    assert figures_know_all_tries(Warehouse(), Settings()) is known


def test_a_strategy_without_a_stop_has_no_system_quality_for_that_reason_and_no_other() -> None:
    def of(*distance: float) -> str:
        return why_null("sqn", {"sqn": None}, pd.DataFrame({"stop_distance": distance}))

    assert of(np.nan, np.nan, np.nan) == NO_STOP
    assert of() == of(1.0) == of(1.0, 1.0) == WHY["sqn"]


def test_a_portfolio_names_the_strategies_of_which_overfitting_could_not_be_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    together = {
        "PORTFOLIO__STRATEGIES": '{"rsi2": 0.5, "ibs": 0.5}',
        "WALK_FORWARD__STRATEGIES": '["rsi2", "ibs"]',
        "WALK_FORWARD__GRID": '{"ibs": {"ibs_entry": [0.2]}}',
    }
    for name, value in {**SETTINGS, **together}.items():
        monkeypatch.setenv(f"KOBE_{name}", value)
    monkeypatch.setenv("KOBE_HOME", str(tmp_path))
    settings = load_settings()
    bring_up_to_date(settings)
    inputs = read_inputs(Warehouse(), settings)
    found = {book.strategy: book for book in books_of(inputs)}
    assert found["ibs"].figures["pbo"] is None
    assert found["portfolio"].figures["pbo"] == found["rsi2"].figures["pbo"]
    assert found["portfolio"].evidence["pbo"]["without"] == ["ibs"]
    states = {key: {r.gate.name: r.state for r in judge(book, context_of(inputs))}["overfit"] for key, book in found.items()}
    assert states["ibs"] == "unknown"
    assert states["portfolio"] != "pass"
