"""What would have to change: that a gate passes at the number its remedy names."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from kobe_assets.report.analysis.criteria import GATES, judge
from kobe_assets.report.analysis.inputs import ReportInputs
from kobe_assets.report.analysis.remedies import REMEDIES, distance, remedy, sharpe_to_pass
from kobe_assets.report.analysis.results import StrategyResult, books_of
from kobe_assets.report.analysis.verdict import context_of, verdict_rows
from kobe_assets.research.overfitting import deflated_sharpe, moments

ANNUAL = 252**0.5


@pytest.fixture(scope="module")
def book(inputs: ReportInputs) -> StrategyResult:
    return books_of(inputs)[0]


def test_every_gate_has_a_remedy_and_every_failure_its_distance(inputs: ReportInputs) -> None:
    # Bars in doubt are never a failure: they are not measured, and the reason names the mend.
    assert {gate.name for gate in GATES} == REMEDIES.keys() | {"sound_bars"}
    failures = [result for book in books_of(inputs) for result in judge(book, context_of(inputs)) if result.state == "fail"]
    assert len(failures) > 10
    for result in failures:
        assert result.distance is not None
        assert result.distance >= 0
        assert result.short.endswith(("short", "over"))
        assert result.change.endswith(".")


def test_the_terminals_rows_carry_what_failed_and_what_was_not_measured(inputs: ReportInputs) -> None:
    for row in verdict_rows(inputs):
        assert len(row.failed) == row.gates - row.gates_passed
        for gate in row.failed:
            assert (gate.state == "fail") == (gate.distance is not None)
            assert gate.change


def test_a_gate_that_was_not_measured_is_named_with_its_reason(book: StrategyResult, inputs: ReportInputs) -> None:
    blind = dataclasses.replace(book, figures={**book.figures, "pbo": None}, reasons={"pbo": "one set alone"})
    (row,) = verdict_rows(inputs, [blind])
    (named,) = (gate for gate in row.failed if gate.gate == "overfit")
    assert (named.state, named.shown, named.change) == ("unknown", "not measured", "One set alone.")


@pytest.mark.parametrize(
    ("value", "bar", "sign", "far"), [(0.3, 0.95, "≥", 0.65), (-2.0, 0.0, ">", 2.0), (0.4, 0.05, "≤", 0.35)]
)
def test_distance_is_above_zero_on_the_wrong_side(value: float, bar: float, sign: str, far: float) -> None:
    assert distance(value, bar, sign, "ratio")[0] == pytest.approx(far)


@pytest.mark.parametrize(
    ("value", "bar", "sign", "unit", "text"),
    [
        (11.151, 27.149, "≥", "years", "15.9 years short"),
        (0.254, 0.888, "≥", "ratio", "0.64 short"),
        (-0.266, 0.0, ">", "ratio", "0.27 short"),
        (0.7354, 0.5, "≤", "percent", "23.5 % over"),
        (0.0896, 0.0, "≤", "percent", "9.0 % over"),
        (1234.4, 1300.6, "≥", "money", "$67.00 short"),
        (0.9499999, 0.95, "≥", "probability", "<0.001 short"),
        (0.0002, 0.05, "≥", "probability", "0.050 short"),
        (0.6384, 0.6391, "≥", "ratio", "<0.01 short"),
        (-0.003, 0.0, ">", "money", "<$0.01 short"),
        (4.6901, 4.7099, "≥", "years", "<0.1 years short"),
        (0.0, 0.0, ">", "money", "$0.00 short"),
    ],
)
def test_a_distance_is_that_of_the_numbers_beside_it(value: float, bar: float, sign: str, unit: str, text: str) -> None:
    assert distance(value, bar, sign, unit)[1] == text


def test_the_named_sharpe_ratio_is_the_one_at_which_the_deflated_one_passes(book: StrategyResult) -> None:
    returns = book.curve["daily_return"].to_numpy(float)
    shape = moments(returns)
    assert shape is not None
    variance = (0.6 / ANNUAL) ** 2
    dsr = deflated_sharpe(shape.sharpe, shape.n, shape.skew, shape.kurtosis, 81, variance)
    known = dataclasses.replace(book, figures={**book.figures, "dsr": dsr})
    needed = sharpe_to_pass(known, 0.95)
    assert needed is not None
    assert deflated_sharpe(needed / ANNUAL, shape.n, shape.skew, shape.kurtosis, 81, variance) == pytest.approx(0.95, abs=1e-6)
    assert sharpe_to_pass(dataclasses.replace(book, figures={**book.figures, "dsr": 0.0}), 0.95) is None


def test_profit_is_short_by_so_much_a_trade(book: StrategyResult) -> None:
    trades = book.trades.head(50).assign(pnl=-2.0)
    # The chained profit is not the sum of trades that each window made from the same cash.
    assert remedy("profit", dataclasses.replace(book, trades=trades), -30.0, 0.0).startswith("Each of its 50 trades")
    assert "$2.00 more" in remedy("profit", dataclasses.replace(book, trades=trades), -30.0, 0.0)
    one = dataclasses.replace(book, trades=trades.head(1))
    assert remedy("profit", one, -30.0, 0.0) == "Its only trade would have to earn $2.00 more after costs."
    won = dataclasses.replace(book, trades=trades.assign(pnl=1.0))
    assert remedy("profit", won, -30.0, 0.0).startswith("Its trades earned $50.00 in windows of equal cash")
    assert remedy("profit", dataclasses.replace(book, trades=trades.iloc[:0]), 0.0, 0.0) == "It would have to trade."


def test_too_few_permutations_to_tell_are_named(book: StrategyResult) -> None:
    few = dataclasses.replace(book, evidence={"permutation": {"permutations": 10}})
    assert "report.permutations to 19 or more" in remedy("permutation", few, 1 / 11, 0.05)
    many = dataclasses.replace(book, evidence={"permutation": {"permutations": 100}})
    assert remedy("permutation", many, 30 / 101, 0.05).startswith("At most 4 of 100 drawn runs may do as well, and 29 did")


def test_what_is_left_without_the_five_best(book: StrategyResult) -> None:
    pnl = np.array([50.0, 40.0, 30.0, 20.0, 10.0, 5.0, -55.0])
    few = dataclasses.replace(book, trades=pd.DataFrame({"pnl": pnl}))
    assert "$-50" not in remedy("not_a_few", few, 1.5, 0.5)
    assert "−$50.00 is left" in remedy("not_a_few", few, 1.5, 0.5)


def test_a_book_of_five_trades_has_no_others_that_could_earn_more(book: StrategyResult) -> None:
    fewer = dataclasses.replace(book, trades=book.trades.head(5))
    said = "It would have to make more than five trades: beside these there are no others."
    assert remedy("not_a_few", fewer, 1.0, 0.5) == said
    assert "The other trades" in remedy("not_a_few", dataclasses.replace(book, trades=book.trades.head(6)), 0.9, 0.5)


def test_a_range_narrows_with_the_square_root_of_the_years(book: StrategyResult) -> None:
    known = dataclasses.replace(book, figures={**book.figures, "sharpe": 1.0})
    needed = f"{4 * book.years:.1f} years instead of {book.years:.1f} years of unseen sessions."
    assert remedy("low_end", known, -1.0, 0.0) == f"A Sharpe ratio of about 2.00 instead of 1.00, or some {needed}"


def test_one_trade_that_is_missing_is_one_trade(book: StrategyResult) -> None:
    assert remedy("enough_trades", book, 99.0, 100.0).startswith("1 more trade: ")
    assert remedy("enough_trades", book, 98.0, 100.0).startswith("2 more trades: ")


def test_what_is_nearly_enough_is_never_called_enough(book: StrategyResult) -> None:
    near = remedy("beats_holding", book, 0.6384, 0.6391)
    assert near == "The same profit with 0.11 % less swing, or 0.11 % more profit with as much."
    far = remedy("beats_holding", book, 0.28, 0.64)
    assert far == "The same profit with 56.2 % less swing, or 128.6 % more profit with as much."
    assert "in 50 % of halvings, not 49.9 %:" in remedy("overfit", book, 6436 / 12870, 0.5)
    assert "in 50 % of halvings, not 40.0 %:" in remedy("overfit", book, 0.6, 0.5)
    known = dataclasses.replace(book, figures={**book.figures, "sharpe": 1.0})
    nearly = remedy("low_end", known, -0.0001, 0.0)
    assert nearly == f"A Sharpe ratio of a little above 1.00, or a little above {book.years:.1f} years of unseen sessions."
    cheap = dataclasses.replace(book, trades=book.trades.head(10).assign(pnl=-0.001))
    assert remedy("profit", cheap, -0.01, 0.0) == "Each of its 10 trades would have to earn <$0.01 more after costs."
