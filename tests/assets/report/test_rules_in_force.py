"""The rules in words: what the declaration compares, with the values in force."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kobe_assets.graph.own_strategies import strategies_of
from kobe_assets.report.analysis import rules_in_force as rules_module
from kobe_assets.report.analysis.conditions import Words, in_words
from kobe_assets.report.analysis.drawdowns import drawdowns
from kobe_assets.report.analysis.inputs import ReportInputs
from kobe_assets.report.analysis.results import StrategyResult, books_of
from kobe_assets.report.analysis.rules_in_force import rules_in_force
from kobe_assets.research.strategies import Strategy
from kobe_resources.settings.models import BOOK, Settings

P = {"entry": 10.0, "room": Words("room")}


def branch(at: Any, p: Any) -> Any:
    return at.close > 5 if at.rsi2 > 3 else at.close < 5


@pytest.mark.parametrize(
    ("condition", "text"),
    [
        (lambda at, p: (at.rsi2 <= p["entry"]) & (at.close > at.sma200), "RSI(2) ≤ 10 and the close > the 200-day average"),
        (lambda at, p: at.rsi2 >= 100 - p["entry"], "RSI(2) ≥ 90"),
        (lambda at, p: at.adx14 > p["room"] * 2, "adx14 > room × 2"),
        (lambda at, p: (at.ibs < 0.2) | ~(at.close > 3), "IBS < 0.2 or not (the close > 3)"),
        (lambda at, p: (at.close - at.low20) / at.atr14 < -1.5, "(the close − low20) / ATR(14) < −1.5"),
        (lambda at, p: at.close - (at.a - at.b) > 0, "the close − (a − b) > 0"),
        (lambda at, p: at.close * (at.a + at.b) > 0, "the close × (a + b) > 0"),
        (lambda at, p: np.log(at.close) > np.float64(2), "log(the close) > 2"),
        (lambda at, p: np.logical_and(at.close > 1, at.ibs < 1), "the close > 1 and IBS < 1"),
        (lambda at, p: (at.close > 1) & ((at.ibs < 1) & (at.close > 1)), "the close > 1 and IBS < 1"),
        (lambda at, p: ((at.ibs < 1) | (at.ibs > 2)) & (at.close > 1), "(IBS < 1 or IBS > 2) and the close > 1"),
        (branch, None),
        (lambda at, p: p["not there"] > at.close, None),
        (lambda at, p: np.isnan(at.close).any(), None),
    ],
)  # fmt: skip
def test_a_condition_says_what_it_compares(condition: Callable[..., Any], text: str | None) -> None:
    assert in_words(condition, P) == text


@pytest.fixture(scope="module")
def books(inputs: ReportInputs) -> dict[str, StrategyResult]:
    return {book.key: book for book in books_of(inputs)}


def test_every_rule_stands_with_its_value(books: dict[str, StrategyResult], inputs: ReportInputs) -> None:
    said = dict(rules_in_force(books["rsi2|canonical"], inputs.settings))
    assert list(said) == ["Entry", "Exit", "Stop", "Strongest first", "Size", "Order", "Costs"]
    params = books["rsi2|canonical"].folds["params"].iloc[0]
    assert f"RSI(2) ≤ {params['rsi_entry']:g} and the close > the 200-day average" in said["Entry"]
    assert "short sales are switched off" in said["Entry"]
    assert f"after {params['time_stop']:g} bars" in said["Exit"]
    assert f"{params['atr_stop']:g} × ATR(14)" in said["Stop"]
    assert "$75 an order" in said["Size"]
    assert "10 bps beyond the quote" in said["Order"]
    assert "5.0 bps of slippage" in said["Costs"]


def test_parameters_that_change_keep_their_names_and_tell_their_values(
    books: dict[str, StrategyResult], inputs: ReportInputs
) -> None:
    said = dict(rules_in_force(books["ibs|optimized"], inputs.settings))
    assert "IBS < ibs_entry" in said["Entry"]
    assert "ibs_entry 0.1 or 0.2 or 0.3" in said["Chosen in training"]


def test_settings_change_the_sentences(books: dict[str, StrategyResult]) -> None:
    settings = Settings(
        policy={"allow_shorts": True, "max_positions": 7}, execution={"entry": "opg"},
        sizing={"mode": "risk", "fraction": 0.01},
        costs={"commission_per_order": 1.0, "regulatory_fees": False, "borrow_rate": 0.03},
    )  # fmt: skip
    book = books["rsi2|canonical"]
    exits = [params | {"rsi_exit": 65.0} for params in book.folds["params"]]
    said = dict(rules_in_force(dataclasses.replace(book, folds=book.folds.assign(params=exits)), settings))
    assert "sells short after RSI(2) ≥" in said["Entry"]
    assert said["Exit"].startswith("At the open after a close with RSI(2) ≥ 65, for a short with RSI(2) ≤ 35, ")
    assert said["Order"].startswith("In the opening auction, with a limit 300 bps")
    assert "1.0 % of the account at risk down to the stop" in said["Size"]
    assert "at most 7 positions" in said["Size"]
    assert "a commission of $1 a fill" in said["Costs"]
    assert "SEC" not in said["Costs"]
    assert "3.0 % a year for shorts" in said["Costs"]


def test_a_limit_entry_is_told_as_one(books: dict[str, StrategyResult], inputs: ReportInputs, monkeypatch: Any) -> None:
    rsi2 = strategies_of(inputs.settings)["rsi2"]
    patient = dataclasses.replace(rsi2, parameters={**rsi2.parameters, "limit_atr": 0.5}, limit="atr14", short=None)
    monkeypatch.setattr(rules_module, "strategies_of", lambda _: {"rsi2": patient})
    book = books["rsi2|canonical"]
    limits = [params | {"limit_atr": 0.5} for params in book.folds["params"]]
    said = dict(rules_in_force(dataclasses.replace(book, folds=book.folds.assign(params=limits)), inputs.settings))
    assert said["Limit"] == "It buys 0.5 × ATR(14) below the signal's close or not at all, for one session."
    assert "at the next open" not in said["Entry"]
    assert said["Order"] == "A limit order for one session, at the price above."


def test_what_only_sells_short_says_when_and_where(
    books: dict[str, StrategyResult], inputs: ReportInputs, monkeypatch: Any
) -> None:
    rsi2 = strategies_of(inputs.settings)["rsi2"]
    bear = dataclasses.replace(rsi2, long=None, leave_long=None)
    shy = dataclasses.replace(bear, parameters={**rsi2.parameters, "limit_atr": 0.5}, limit="atr14")
    shorts = inputs.settings.model_copy(update={"policy": Settings(policy={"allow_shorts": True}).policy})
    book = books["rsi2|canonical"]

    def rules(strategy: Strategy) -> dict[str, str]:
        monkeypatch.setattr(rules_module, "strategies_of", lambda _: {"rsi2": strategy})
        params = [own | {"limit_atr": 0.5, "rsi_exit": 70.0} for own in book.folds["params"]]
        return dict(rules_in_force(dataclasses.replace(book, folds=book.folds.assign(params=params)), shorts))

    said = rules(bear)
    assert said["Entry"].startswith("Sells short at the next open after a close with RSI(2) ≥ 90")
    assert said["Exit"].startswith("At the open after a close with RSI(2) ≤ 30, ")
    said = rules(shy)
    assert said["Entry"].startswith("Sells short in the next session after a close with RSI(2) ≥ 90")
    assert said["Limit"] == "It sells short 0.5 × ATR(14) above the signal's close or not at all, for one session."
    both = rules(dataclasses.replace(rsi2, leave_long=None))
    assert both["Exit"].startswith("For a short at the open after a close with RSI(2) ≤ 30, ")


def test_a_portfolio_tells_its_weights_and_whose_turn_it_is(books: dict[str, StrategyResult]) -> None:
    settings = Settings(portfolio={"strategies": {"rsi2": 0.5, "ibs": 1.0}})
    book = books["rsi2|canonical"]
    both = [{f"{name}.{key}": v for name in ("rsi2", "ibs") for key, v in params.items()} for params in book.folds["params"]]
    said = dict(rules_in_force(dataclasses.replace(book, strategy=BOOK, folds=book.folds.assign(params=both)), settings))
    assert said["Size"].startswith("$75 an order, rsi2 × 0.5, ibs × 1, ")
    assert said["In turn"] == "First the best signal of each (rsi2, ibs), then each one's second, and so on."


def test_limits_as_shares_of_the_account_and_the_least_commission_are_told(books: dict[str, StrategyResult]) -> None:
    settings = Settings(
        policy={"max_order_fraction": 0.05, "max_daily_fraction": 0.2},
        costs={"commission_per_share": 0.005, "commission_minimum": 1.0},
    )
    said = dict(rules_in_force(books["rsi2|canonical"], settings))
    assert "at most 5.0 % of the account an order" in said["Size"]
    assert "at most 20.0 % of the account in entries of a session" in said["Size"]
    assert "$0.005 a share, at least $1 a fill" in said["Costs"]


def test_a_book_that_no_declaration_is_known_of_has_no_rules(books: dict[str, StrategyResult], inputs: ReportInputs) -> None:
    import dataclasses

    assert rules_in_force(dataclasses.replace(books["ibs|canonical"], strategy="gone"), inputs.settings) == []


def test_falls_are_listed_deepest_first_with_their_lengths() -> None:
    growth = pd.Series([0.99, 1.0, 1.1, 1.05, 0.9, 1.0, 1.1, 1.2, 1.1])
    curve = pd.DataFrame(
        {"session": pd.bdate_range("2020-01-01", periods=9), "drawdown": growth / growth.cummax().clip(lower=1) - 1}
    )
    deepest, last, first = drawdowns(curve)
    assert (deepest.peak, deepest.trough, deepest.recovered) == ("2020-01-03", "2020-01-07", "2020-01-09")
    assert (deepest.down, deepest.up) == (2, 2)
    assert deepest.depth == pytest.approx(0.9 / 1.1 - 1)
    assert (last.recovered, last.down, last.up) == ("", 1, 0)
    assert (first.peak, first.recovered, first.down, first.up) == ("", "2020-01-02", 1, 1)
    assert drawdowns(curve, 1) == [deepest]
    assert drawdowns(curve.iloc[:0]) == []
