"""A strategy is a declaration: a fourth one, registered here and nowhere else, trades, is judged and is shown."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kobe_assets.graph.frames import indicators_frame, trials_frame
from kobe_assets.graph.inputs import load_market
from kobe_assets.report.analysis.inputs import evidence_frame, read_trades
from kobe_assets.report.analysis.stored_curves import compute_evidence, compute_kpis
from kobe_assets.report.analysis.verdict import verdict_rows
from kobe_assets.report.page.page import build_report
from kobe_assets.research.faults import BadDeclaration, TakesTooLong
from kobe_assets.research.language import atr, ibs
from kobe_assets.research.strategies import STRATEGIES, Strategy
from kobe_assets.signals import signals_of
from kobe_assets.wf_folds import run_studies, study_tables
from kobe_resources.market_data.local.synthetic import SyntheticVendor
from kobe_resources.runtime.deadline import stopped_after
from kobe_resources.settings.models import Settings
from kobe_resources.settings.pins import research_pin
from kobe_resources.warehouse.store import Warehouse
from tests.support.builders.report_inputs import read_inputs

NAME = "low_close"
LOW_CLOSE = Strategy(
    name=NAME,
    summary="A close in the lowest part of the bar, held until it is in the highest",
    indicators={"ibs": ibs(), "atr14": atr(14)},
    parameters={"ibs_entry": 0.2, "depth": 0.5, "atr_stop": 2.0, "time_stop": 5},
    long=lambda at, p: at.ibs < p["ibs_entry"] * p["depth"],
    short=lambda at, p: at.ibs > 1 - p["ibs_entry"] * p["depth"],
    score_long=lambda at: at.ibs,
    score_short=lambda at: 1 - at.ibs,
    leave_long=lambda at, _: at.ibs > 0.9,
    leave_reason="high_close",
    stop="atr14",
    grid={"depth": (0.5, 1.0), "time_stop": (2, 4)},
)
PLAIN = Strategy(
    name="plain",
    summary="A close in the lowest part of the bar, held for three bars: nothing to choose, and no stop",
    indicators={"ibs": ibs()},
    parameters={"time_stop": 3},
    long=lambda at, p: at.ibs < 0.2,
    score_long=lambda at: at.ibs,
)
NEVER = Strategy(
    name="never",
    summary="Nothing closes under its low: it never trades",
    indicators={"ibs": ibs()},
    parameters={"time_stop": 3},
    long=lambda at, p: at.ibs < -1.0,
    score_long=lambda at: at.ibs,
)
SETTINGS = Settings.model_validate(
    {
        "data": {"vendor": "synthetic", "synthetic": {"symbols": 12, "sessions": 620}},
        "universe": {"min_symbols": 1, "min_years": 1.0, "require_options": False},
    }
)


@pytest.fixture
def warehouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Warehouse:
    """A small market computed up to the figures, with three more strategies in the register."""
    monkeypatch.setitem(STRATEGIES, NAME, LOW_CLOSE)
    monkeypatch.setitem(STRATEGIES, PLAIN.name, PLAIN)
    monkeypatch.setitem(STRATEGIES, NEVER.name, NEVER)
    import pandas as pd

    from kobe_assets.graph.inputs import load_panel
    from kobe_assets.research.indicators import compute_indicators

    warehouse = Warehouse(tmp_path / "kobe.duckdb")
    SyntheticVendor(SETTINGS.data).sync(warehouse)
    panel = load_panel(warehouse)
    universe = pd.DataFrame({"symbol": list(panel.symbols), "selected": True})
    warehouse.replace({"indicators": indicators_frame(panel, compute_indicators(panel)), "universe": universe})
    market = load_market(warehouse, SETTINGS)
    studies = run_studies(market, SETTINGS)
    trials = pd.concat([trials_frame(study, research_pin(SETTINGS), "data", dt.datetime.now(dt.UTC)) for study in studies])
    warehouse.replace({"signals": signals_of(market, SETTINGS), "wf_trials": trials} | study_tables(studies, market, SETTINGS))
    evidence = compute_evidence(warehouse, market, SETTINGS)
    kpis, reasons = compute_kpis(warehouse, read_trades(warehouse, SETTINGS), SETTINGS, evidence)
    warehouse.replace({"kpis": kpis, "kpi_reasons": reasons, "evidence": evidence_frame(evidence)})
    return warehouse


def test_a_strategy_that_never_trades_is_told_that_it_has_no_sharpe_ratio(warehouse: Warehouse) -> None:
    reasons = dict(warehouse.rows("SELECT figure, reason FROM kpi_reasons WHERE strategy = 'never' AND mode = 'canonical'"))
    assert reasons["min_trl_years"] == "no Sharpe ratio"
    assert reasons["profit_factor"] == "no trade"


def test_a_registered_declaration_is_in_signals_folds_trials_figures_and_report(warehouse: Warehouse) -> None:
    signals = warehouse.frame("SELECT * FROM signals WHERE strategy = ?", [NAME])
    assert len(signals) > 100
    assert (signals.loc[signals["side"] == "long", "ibs"] < 0.2 * 0.5).all()

    folds = warehouse.frame("SELECT * FROM wf_folds WHERE strategy = ? ORDER BY mode, fold", [NAME])
    assert set(folds["mode"]) == {"canonical", "optimized"}
    assert set(folds.loc[folds["mode"] == "canonical", "params"]) == {
        '{"atr_stop":2.0,"depth":0.5,"ibs_entry":0.2,"time_stop":5.0}'
    }
    trials = warehouse.frame("SELECT * FROM wf_trials WHERE strategy = ?", [NAME])
    # The grid has four sets, and the fixed parameters are none of them.
    assert trials["trial"].value_counts().to_dict() == dict.fromkeys(range(5), folds["fold"].nunique())
    trades = warehouse.frame("SELECT * FROM wf_trades WHERE strategy = ?", [NAME])
    assert len(trades) > 20
    assert "high_close" in set(trades["exit_reason"])

    kpis = warehouse.frame("SELECT * FROM kpis WHERE strategy = ? AND mode = 'canonical'", [NAME]).set_index("figure")["value"]
    assert np.isfinite(kpis["net_pnl"])
    assert kpis["trades"] == (trades["mode"] == "canonical").sum()

    inputs = read_inputs(warehouse, SETTINGS, {})
    assert NAME in {row.strategy for row in verdict_rows(inputs)}
    assert NAME in build_report(inputs, dt.datetime.now(dt.UTC))


def test_where_both_modes_trade_the_same_they_have_the_same_evidence(warehouse: Warehouse) -> None:
    """And as much of it as a strategy that has something to choose."""
    rows = warehouse.frame("SELECT strategy, mode, name, value FROM evidence WHERE strategy IN (?, ?)", [NAME, PLAIN.name])
    evidence = {key: dict(zip(own["name"], own["value"], strict=True)) for key, own in rows.groupby(["strategy", "mode"])}
    assert evidence[PLAIN.name, "optimized"] == evidence[PLAIN.name, "canonical"]
    assert {"permutation", "resampling", "cost_sensitivity", "in_sample"} <= evidence[PLAIN.name, "optimized"].keys()
    assert evidence[NAME, "optimized"]["cost_sensitivity"] != evidence[NAME, "canonical"]["cost_sensitivity"]
    figures = warehouse.frame("SELECT mode, figure, value FROM kpis WHERE strategy = ?", [PLAIN.name])
    one, other = (own.set_index("figure")["value"] for _, own in figures.groupby("mode"))
    assert one.equals(other)
    assert one["permutation_p"] > 0


def test_the_other_strategies_are_untouched_by_it(warehouse: Warehouse) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(STRATEGIES, NAME)
        patch.delitem(STRATEGIES, PLAIN.name)
        market = load_market(warehouse, SETTINGS)
        alone = study_tables(run_studies(market, SETTINGS), market, SETTINGS)["wf_trades"]
    stored = warehouse.frame("SELECT strategy, pnl FROM wf_trades WHERE strategy NOT IN (?, ?)", [NAME, PLAIN.name])
    assert sorted(zip(alone["strategy"], alone["pnl"], strict=True)) == sorted(
        zip(stored["strategy"], stored["pnl"], strict=True)
    )


@pytest.mark.parametrize("values", [range(10**18), itertools.count()], ids=["huge", "endless"])
def test_a_grid_of_more_values_than_the_memory_holds_is_refused_at_once(values: Iterable[int]) -> None:
    with pytest.raises(BadDeclaration, match="more than 50,000 values"), stopped_after(20.0, TakesTooLong):
        replace(LOW_CLOSE, grid={"depth": values})  # type: ignore[dict-item]
