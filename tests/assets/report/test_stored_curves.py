"""The figures of `kpis` and the curves of `evidence` say one thing: what the page draws and what the table holds agree."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kobe_assets.report.analysis.inputs import read_inputs
from kobe_assets.report.analysis.results import Book, books_of
from kobe_assets.report.analysis.stored_curves import trial_sharpes
from kobe_assets.research.overfitting import sqn
from kobe_jobs.research_run.stale import bring_up_to_date
from kobe_resources.settings.models import Settings, load_settings
from kobe_resources.warehouse.store import Warehouse

SETTINGS = {
    "DATA__VENDOR": "synthetic",
    "DATA__SYNTHETIC__SYMBOLS": "12",
    "DATA__SYNTHETIC__SESSIONS": "620",
    "POLICY__ALLOW_SHORTS": "true",
    "SIMULATION__INITIAL_CASH": "500",
    "COSTS__SLIPPAGE_BPS": "10",
    "SIZING__WHOLE_SHARES": "false",
}


@pytest.fixture(scope="module")
def settings() -> Settings:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SETTINGS.items():
            patch.setenv(f"KOBE_{name}", value)
        return load_settings()


@pytest.fixture(scope="module")
def books(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> list[Book]:
    home: Path = tmp_path_factory.mktemp("kpis")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KOBE_HOME", str(home))
        bring_up_to_date(settings)
        found = books_of(read_inputs(Warehouse(), settings))
    assert len(found) == 6
    assert all(len(book.trades) > 10 for book in found)
    return found


def test_the_system_quality_is_that_of_the_results_in_risk_which_the_page_shows(books: list[Book]) -> None:
    for book in books:
        shown = sqn(book.trades["pnl"].to_numpy(float), book.trades["risk"].to_numpy(float))
        assert book.figures["sqn"] == pytest.approx(shown, rel=1e-12)


def test_the_cost_step_that_was_paid_is_the_curve_itself(books: list[Book], settings: Settings) -> None:
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
            "data_version": np.repeat(["one", "two"] * 20, folds),
            "recorded_at": dt.datetime(2026, 1, 2, tzinfo=dt.UTC),
        }
    )
    found = []
    for name, rows in {"as they came": trials, "shuffled": trials.sample(frac=1, random_state=3)}.items():
        warehouse = Warehouse(tmp_path / f"{name}.duckdb")
        warehouse.replace({"wf_trials": rows})
        found.append(trial_sharpes(warehouse).tolist())
    assert len(found[0]) == 20
    assert found[0] == found[1]
