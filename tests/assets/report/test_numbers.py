"""The numbers behind the charts, against plain computations."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from kobe_assets.report.analysis import regimes as regimes_module
from kobe_assets.report.analysis.curves import months, rolling_sharpe, years
from kobe_assets.report.analysis.flow import by_frequency, capacity, flow
from kobe_assets.report.analysis.folds import fit, parameter_path
from kobe_assets.report.analysis.inputs import ReportInputs
from kobe_assets.report.analysis.metrics_glossary import show, show_bar
from kobe_assets.report.analysis.regimes import regimes_of
from kobe_assets.report.analysis.results import (
    Curve,
    StrategyResult,
    benchmark_of,
    books_of,
    matched_returns,
    on_sessions,
    sharpe,
)
from kobe_assets.report.analysis.trade_stats import excursions, summary, without_best
from kobe_assets.report.analysis.verdict import context_of
from kobe_assets.report.page.context import details_of, window_rows
from kobe_resources.policy_gate import round_to_tick


@pytest.fixture(scope="module")
def books(inputs: ReportInputs) -> list[StrategyResult]:
    return books_of(inputs)


def test_there_is_a_book_for_every_strategy_and_mode(books: list[StrategyResult]) -> None:
    assert [book.key for book in books] == [
        "ibs|canonical", "ibs|optimized", "rsi2|canonical", "rsi2|optimized", "rsi2_ibs|canonical", "rsi2_ibs|optimized",
    ]  # fmt: skip


def test_the_chain_compounds_daily_returns_across_folds(books: list[StrategyResult]) -> None:
    curve = books[0].curve
    level, peak = 1.0, 1.0
    for row in curve.itertuples():
        level *= 1 + row.daily_return
        peak = max(peak, level)
        assert row.growth == pytest.approx(level)
        assert row.drawdown == pytest.approx(level / peak - 1)


def test_months_and_years_compound_to_the_whole(books: list[StrategyResult], inputs: ReportInputs) -> None:
    curve = books[2].curve
    total = curve["growth"].iloc[-1]
    assert np.prod([1 + value for _, _, value in months(curve)]) == pytest.approx(total)
    yearly = years(curve, matched_returns(books[2], benchmark_of(inputs)))
    assert np.prod([1 + own for _, own, _ in yearly]) == pytest.approx(total)
    assert all(held is not None for _, _, held in yearly)
    assert all(held is None for _, _, held in years(curve, None))


def test_rolling_sharpe_is_the_sharpe_of_each_window() -> None:
    returns = np.random.default_rng(1).normal(0.001, 0.01, 200)
    rolled = rolling_sharpe(returns, 50)
    assert np.isnan(rolled[:49]).all()
    assert rolled[49] == pytest.approx(sharpe(returns[:50]))
    assert rolled[-1] == pytest.approx(sharpe(returns[-50:]))
    assert np.isnan(rolling_sharpe(np.zeros(60), 50)).all()


def test_buy_and_hold_starts_at_the_close_before_the_first_session() -> None:
    curve = Curve(np.array(["2020-01-01", "2020-01-02", "2020-01-03"], dtype="datetime64[D]"), np.array([2.0, 3.0, 4.5]))
    days = np.array(["2020-01-02", "2020-01-03", "2020-01-06"], dtype="datetime64[D]")
    assert on_sessions(curve, days).tolist() == [1.5, 2.25, 2.25]
    assert np.isnan(on_sessions(curve, np.array(["2019-12-30"], dtype="datetime64[D]"))).all()


def test_risk_lies_between_the_fill_and_the_stop_on_the_tick_away_from_the_market(books: list[StrategyResult]) -> None:
    book = books[3]
    params = dict(zip(book.folds["fold"], book.folds["params"], strict=True))
    for row in book.trades.iloc[::53].itertuples():
        factor = row.qty / row.shares
        wanted = (row.entry_price - params[row.fold]["atr_stop"] * row.signal_atr) / factor
        assert row.stop == pytest.approx(round_to_tick(wanted, False) * factor, abs=1e-12)
        assert row.r == pytest.approx(row.pnl / ((row.entry_price - row.stop) * row.shares))
    stopped = book.trades[book.trades["exit_reason"] == "stop"]
    assert len(stopped) > 20
    # A stop hit inside the bar loses one R and a little slippage; gaps lose more, nothing loses less.
    assert stopped["r"].max() == pytest.approx(-1.0, abs=0.05)


def test_a_short_has_its_stop_above_the_fill(inputs: ReportInputs) -> None:
    flipped = dataclasses.replace(inputs, trades=inputs.trades.head(30).assign(side="short"))
    trades = books_of(flipped)[0].trades
    assert (trades["stop"] > trades["entry_price"]).all()


def test_a_trade_without_an_atr_has_no_risk_and_leaves_the_others_alone(inputs: ReportInputs) -> None:
    trades = inputs.trades.copy()
    trades.loc[trades.index[:5], "signal_atr"] = np.nan
    book = books_of(dataclasses.replace(inputs, trades=trades))[0]
    assert book.trades["r"].isna().sum() == 5
    assert sum(summary(book.trades)["r"]) == len(book.trades) - 5


def test_the_waterfall_adds_up_in_every_fold(books: list[StrategyResult]) -> None:
    for book in books:
        steps = flow(book)
        assert len(steps) == len(book.folds) + 1
        for step in steps:
            assert step["signals"] - sum(count for _, count in step["refused"]) == step["traded"]
        assert steps[0]["signals"] == sum(step["signals"] for step in steps[1:])


def test_a_parameter_that_training_changes_is_told_in_the_test_windows_and_not_as_fixed(
    books: list[StrategyResult], inputs: ReportInputs
) -> None:
    book = next(book for book in books if book.key == "rsi2|optimized")
    first = book.folds["params"].iloc[0]
    folds = book.folds.assign(params=[{**first, "rsi_entry_long": 5.0 + k} for k in range(len(book.folds))])
    book = dataclasses.replace(book, folds=folds)
    fixed = details_of(book, inputs, context_of(inputs))["fixed"]
    assert "rsi_entry_long" not in fixed
    assert f"atr_stop {first['atr_stop']:g}" in fixed
    assert [row[3] for row in window_rows(book)] == [f"rsi_entry_long {5 + k}" for k in range(len(folds))]


def test_what_was_accepted_is_no_refusal() -> None:
    refused = by_frequency({"accepted": 9, "no_bar": 0, "not_reached": 2, "beyond_limit": 3, "already_open": 2})
    assert list(refused.items()) == [("beyond_limit", 3), ("already_open", 2), ("not_reached", 2)]


def test_capacity_scales_orders_until_one_in_twenty_reaches_a_hundredth_of_the_day(books: list[StrategyResult]) -> None:
    found = capacity(books[0])
    assert found is not None
    assert sum(found["counts"]) == len(books[0].trades)
    assert found["p95"] * found["room"] == pytest.approx(0.01)
    assert found["order"] == pytest.approx(75.0, rel=1e-6)


def test_the_line_through_folds_is_least_squares() -> None:
    x, y = np.array([0.1, 0.5, 0.9, 1.4]), np.array([1.0, 0.2, 0.7, -0.3])
    line = fit([(i, float(a), float(b)) for i, (a, b) in enumerate(zip(x, y, strict=True))])
    assert line is not None
    assert [line.slope, line.intercept] == pytest.approx(np.polyfit(x, y, 1).tolist())
    assert line.r == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert fit([(1, 0.0, 1.0), (2, 1.0, 1.0)]) is None
    assert fit([(i, 1.0, float(i)) for i in range(5)]) is None


def test_parameters_that_change_come_first(books: list[StrategyResult]) -> None:
    path = parameter_path(books[1])
    assert set(path) == {"atr_stop", "ibs_entry", "time_stop"}
    assert all(len(values) == len(books[1].folds) for values in path.values())
    assert all(len(set(values)) == 1 for values in parameter_path(books[0]).values())


def test_profit_without_the_best_trades_takes_them_away_one_by_one(books: list[StrategyResult]) -> None:
    pnl = sorted(books[0].trades["pnl"], reverse=True)
    left = without_best(books[0].trades)
    assert left[0] == pytest.approx(sum(pnl))
    assert left[3] == pytest.approx(sum(pnl[3:]))
    assert len(left) == 21


def test_excursions_are_thinned_evenly_and_keep_their_order(books: list[StrategyResult]) -> None:
    many = pd.concat([books[0].trades] * 3, ignore_index=True)
    shown = excursions(many)
    assert len(shown) == 800
    assert shown.index.is_monotonic_increasing
    assert shown.index[0] == 0
    assert shown.index[-1] == len(many) - 1


def test_regimes_cover_the_chain_and_know_only_the_close_before(
    books: list[StrategyResult], inputs: ReportInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    benchmark = benchmark_of(inputs)
    book = books[0]
    found, why = regimes_of(book, benchmark)
    assert why == ""
    for kind in ("trend", "volatility"):
        assert sum(regime.sessions for regime in found if regime.kind == kind) == len(book.curve)
        compounded = np.prod([1 + regime.own for regime in found if regime.kind == kind])
        assert compounded == pytest.approx(book.curve["growth"].iloc[-1])
    thirds = [regime.sessions for regime in found if regime.kind == "volatility"]
    assert max(thirds) - min(thirds) <= 2
    # The last session's own market move must not decide the last session's regime.
    assert benchmark is not None
    moved = Curve(benchmark.sessions, np.append(benchmark.growth[:-1], benchmark.growth[-1] * 0.2))
    monkeypatch.setattr(regimes_module, "CRISES", ())
    assert [r.sessions for r in regimes_of(book, moved)[0]] == [r.sessions for r in found if r.kind != "crisis"]


def test_a_crisis_is_judged_from_its_own_first_session(books: list[StrategyResult], inputs: ReportInputs) -> None:
    found, _ = regimes_of(books[0], benchmark_of(inputs))
    crisis = next(regime for regime in found if regime.name.startswith("Flash crash"))
    curve = books[0].curve
    rows = curve[(curve["session"] >= "2010-04-26") & (curve["session"] <= "2010-07-02")]
    assert crisis.sessions == len(rows)
    growth = (1 + rows["daily_return"]).cumprod()
    assert crisis.worst == pytest.approx(min(0.0, float((growth / growth.cummax().clip(lower=1)).min() - 1)))


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "ratio", "–"), (float("nan"), "ratio", "–"),
        (-0.256, "percent", "−25.6 %"), (0.0000045, "percent", "0.00045 %"),
        (0.9995, "percent", "99.950 %"), (0.9999955, "percent", "99.99955 %"), (-0.9999, "percent", "−99.990 %"),
        (1.0, "percent", "100.0 %"), (1.0 - 2e-16, "percent", "100.0 %"), (0.999, "percent", "99.9 %"),
        (1234.5, "money", "$1,234"), (-3.456, "money", "−$3.46"), (-0.001, "cents", "$0.00"),
        (1234.5, "gain", "+$1,234.50"), (-3.456, "gain", "−$3.46"), (0.001, "gain", "$0.00"), (-0.001, "gain", "$0.00"),
        (0.99999, "probability", ">0.999"),
        (12.34, "bps", "12.3 bps"), (2.7, "years", "2.7 years"), (1234567.0, "count", "1,234,567"), (0.0, "percent", "0.0 %"),
    ],
)  # fmt: skip
def test_numbers_are_written_for_people(value: float | None, unit: str, text: str) -> None:
    assert show(value, unit) == text


def test_thresholds_carry_no_zeros_that_say_nothing() -> None:
    assert [show_bar(0.95, "probability"), show_bar(0.5, "percent"), show_bar(10.0, "bps"), show_bar(100, "count")] == [
        "0.95", "50 %", "10 bps", "100",
    ]  # fmt: skip
