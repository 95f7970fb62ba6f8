"""Several strategies in one account are a book of their own: in folds, trades, figures and report."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kobe_assets.graph.frames import indicators_frame, trials_frame
from kobe_assets.graph.inputs import load_market, load_panel, parts_of
from kobe_assets.report.analysis.inputs import evidence_frame, read_trades
from kobe_assets.report.analysis.stored_curves import compute_evidence, compute_kpis
from kobe_assets.report.analysis.verdict import verdict_rows
from kobe_assets.report.page.page import build_report
from kobe_assets.research.indicators import compute_indicators
from kobe_assets.research.metrics import daily_returns
from kobe_assets.research.robustness import Plan, Rehearsal
from kobe_assets.research.walk_forward import simulate_book
from kobe_assets.signals import signals_of
from kobe_assets.wf_folds import run_portfolio, run_studies, study_tables
from kobe_resources.market_data.local.synthetic import SyntheticVendor
from kobe_resources.settings.models import BOOK, Settings
from kobe_resources.settings.pins import research_pin
from kobe_resources.warehouse.store import Warehouse
from tests.support.builders.report_inputs import read_inputs

SETTINGS = Settings.model_validate(
    {
        "data": {"vendor": "synthetic", "synthetic": {"symbols": 12, "sessions": 620}},
        "universe": {"min_symbols": 1, "min_years": 1.0, "require_options": False},
        "portfolio": {"strategies": {"ibs": 1.0, "rsi2": 0.5}},
    }
)


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    folder: Path = tmp_path_factory.mktemp("portfolio")
    warehouse = Warehouse(folder / "kobe.duckdb")
    SyntheticVendor(SETTINGS.data).sync(warehouse)
    panel = load_panel(warehouse)
    universe = pd.DataFrame({"symbol": list(panel.symbols), "selected": True})
    warehouse.replace({"indicators": indicators_frame(panel, compute_indicators(panel)), "universe": universe})
    market = load_market(warehouse, SETTINGS)
    studies = run_studies(market, SETTINGS)
    portfolio = run_portfolio(market, SETTINGS, studies)
    trials = pd.concat([trials_frame(study, research_pin(SETTINGS), "data", dt.datetime.now(dt.UTC)) for study in studies])
    tables = study_tables(studies, market, SETTINGS, portfolio)
    warehouse.replace({"signals": signals_of(market, SETTINGS), "wf_trials": trials} | tables)
    evidence = compute_evidence(warehouse, market, SETTINGS)
    kpis, reasons = compute_kpis(warehouse, read_trades(warehouse, SETTINGS), SETTINGS, evidence)
    warehouse.replace({"kpis": kpis, "kpi_reasons": reasons, "evidence": evidence_frame(evidence)})
    return warehouse


def test_each_trade_of_the_book_says_which_strategy_entered_it(warehouse: Warehouse) -> None:
    trades = warehouse.frame("SELECT * FROM wf_trades WHERE strategy = ?", [BOOK])
    assert set(trades["entered_by"]) == {"ibs", "rsi2"}
    assert set(trades["mode"]) == {"canonical", "optimized"}
    held = trades.sort_values(["mode", "fold", "symbol", "entry_session"])
    again = held[held.duplicated(["mode", "fold", "symbol"]) & (held["entry_session"] <= held["exit_session"].shift())]
    assert again.empty, "a symbol is held once, whichever strategy wants it"
    alone = warehouse.frame("SELECT * FROM wf_trades WHERE strategy <> ?", [BOOK])
    assert (alone["entered_by"] == alone["strategy"]).all()


def test_a_weight_scales_the_orders_of_its_strategy(warehouse: Warehouse) -> None:
    trades = warehouse.frame("SELECT entered_by, max(qty * entry_price * qty / shares / qty) AS largest FROM wf_trades "
                             "WHERE strategy = ? GROUP BY entered_by", [BOOK]).set_index("entered_by")["largest"]  # fmt: skip
    assert trades["rsi2"] <= 75.0 / 2 * 1.001
    assert trades["ibs"] > 75.0 / 2


def test_the_optimized_book_takes_each_strategys_own_choice_of_the_fold(warehouse: Warehouse) -> None:
    rows = warehouse.frame("SELECT strategy, fold, params FROM wf_folds WHERE mode = 'optimized'")
    chosen = {(row.strategy, row.fold): json.loads(row.params) for row in rows.itertuples()}
    for fold in {fold for _, fold in chosen}:
        expected = {f"{name}.{key}": v for name in ("ibs", "rsi2") for key, v in chosen[name, fold].items()}
        assert chosen[BOOK, fold] == expected


def test_the_rehearsal_of_a_weighted_book_at_its_own_cost_is_the_book(warehouse: Warehouse) -> None:
    market, parts = load_market(warehouse, SETTINGS), parts_of(SETTINGS)
    studies = {study.strategy.name: study for study in run_studies(market, SETTINGS)}
    folds = studies["ibs"].folds
    params = [[result.params for result in studies[part.strategy.name].canonical] for part in parts]
    (first, *beside), weights = zip([part.strategy for part in parts], map(tuple, params), strict=True), [1.0, 0.5]
    assert [part.weight for part in parts] == weights
    rehearsal = Rehearsal(market, Plan(first[0], folds, first[1], tuple(beside), tuple(weights)))

    def chained(windows: list[tuple[int, int]]) -> np.ndarray:
        books = [simulate_book(market, parts, [own[k] for own in params], *window) for k, window in enumerate(windows)]
        return np.concatenate([daily_returns(book.equity, market.costs.initial_cash) for book in books])

    np.testing.assert_array_equal(rehearsal.out_of_sample(), chained([(fold.test_start, fold.test_end) for fold in folds]))
    np.testing.assert_array_equal(rehearsal.in_training(), chained([(fold.train_start, fold.train_end) for fold in folds]))
    assert rehearsal.out_of_sample().any()


def test_the_book_is_judged_and_shown(warehouse: Warehouse) -> None:
    kpis = warehouse.frame("SELECT figure, value FROM kpis WHERE strategy = ? AND mode = 'canonical'", [BOOK])
    figures = kpis.set_index("figure")["value"]
    trades = warehouse.frame("SELECT * FROM wf_trades WHERE strategy = ? AND mode = 'canonical'", [BOOK])
    assert figures["trades"] == len(trades)
    assert np.isfinite(figures["sharpe"])
    inputs = read_inputs(warehouse, SETTINGS, {})
    assert BOOK in {row.strategy for row in verdict_rows(inputs)}
    assert BOOK in build_report(inputs, dt.datetime.now(dt.UTC))
