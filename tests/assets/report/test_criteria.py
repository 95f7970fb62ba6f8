"""The gates and the words of the verdict."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kobe_assets.report.analysis.cautions import cautions_of, most_refused, remedy_for
from kobe_assets.report.analysis.criteria import GATES, QUESTIONS, Context, benchmark_sharpe, judge, top_share
from kobe_assets.report.analysis.inputs import ReportInputs
from kobe_assets.report.analysis.metrics_glossary import show, show_range
from kobe_assets.report.analysis.results import StrategyResult, benchmark_of, books_of, on_sessions, returns_of, sharpe
from kobe_assets.report.analysis.verdict import (
    UNPROVEN,
    UNWORTHY,
    WORTHY,
    caveats,
    context_of,
    headline,
    kpi_markdown,
    story,
    verdict_of,
    verdict_rows,
)
from kobe_assets.report.page.appendix import data_facts
from kobe_assets.research.metrics import chain_returns
from kobe_resources.settings.models import (
    AlpacaData,
    DataSettings,
    PolicySettings,
    Settings,
    SizingSettings,
    UniverseSettings,
)

WINNING = {
    "net_pnl": 500.0, "sharpe": 3.0, "break_even_bps": 10.0, "sharpe_lo": 0.01, "dsr": 0.95, "pbo": 0.5, "min_trl_years": 1.0,
    "permutation_p": 0.05,
}  # fmt: skip


@pytest.fixture(scope="module")
def book(inputs: ReportInputs) -> StrategyResult:
    """A book that passes every gate, just so where a bar is inclusive."""
    found = books_of(inputs)[0]
    trades = found.trades.assign(pnl=np.where(np.arange(len(found.trades)) % 3 == 0, -0.5, 1.0))
    return dataclasses.replace(found, figures={**found.figures, **WINNING}, trades=trades)


@pytest.fixture(scope="module")
def context(inputs: ReportInputs) -> Context:
    return context_of(inputs)


def state(book: StrategyResult, context: Context, name: str) -> str:
    return next(result.state for result in judge(book, context) if result.gate.name == name)


def with_figures(book: StrategyResult, **figures: float | None) -> StrategyResult:
    return dataclasses.replace(book, figures={**book.figures, **figures})


def test_a_book_without_a_trade_is_said_to_have_made_none_not_to_have_lost(book: StrategyResult, context: Context) -> None:
    idle = dataclasses.replace(
        with_figures(book, net_pnl=0.0, sharpe=None, exposure=0.0, permutation_p=None), trades=book.trades.iloc[:0]
    )
    assert verdict_of(idle, context).sentence == "It never traded, so there is nothing to judge."
    text = story(idle, context.benchmark, 1000.0)
    assert "it made no trade: $1,000 stayed $1,000." in text
    assert "would have made it" in text
    assert "no more money at work" not in text
    assert "fall" not in text


def test_ruin_is_told_with_the_number_of_its_windows(book: StrategyResult, inputs: ReportInputs) -> None:
    assert not any("ruined" in text for text in caveats(book, inputs))
    folds = book.curve["fold"].nunique()
    for left, words in ((0.0, "nothing was left"), (-250.0, "up to $250 were owed in the end")):
        # Where stops had closed everything before, no trade says `ruin`.
        curve = book.curve.assign(equity=np.where(book.curve["fold"] <= 2, left, book.curve["equity"]))
        text = " ".join(caveats(dataclasses.replace(book, curve=curve), inputs))
        assert f"In 2 of {folds} test windows the account was ruined: {words}, every position" in text
        assert "lay idle" not in " ".join(caveats(with_figures(dataclasses.replace(book, curve=curve), exposure=0.0), inputs))


def test_a_chain_that_is_at_0_stays_there_in_every_figure() -> None:
    returns = np.array([0.1, -1.0, 0.5, -1.0, 0.2])
    assert chain_returns(returns).tolist() == [0.1, -1.0, 0.0, 0.0, 0.0]
    assert chain_returns(np.array([[0.1, 0.2], [-1.0, 0.2]])).tolist() == [[0.1, 0.2], [-1.0, 0.0]]
    assert chain_returns(np.array([])).tolist() == []


def test_no_minus_stands_before_a_zero_and_a_range_of_nothing_is_one_dash() -> None:
    assert [show(v, unit) for v, unit in ((-0.0, "percent"), (-0.001, "ratio"), (-0.01, "ratio"))] == ["0.0 %", "0.00", "−0.01"]
    assert show_range(None, None, "ratio") == show(None, "ratio")
    assert show_range(-1.0, 1.0, "ratio") == "−1.00 to 1.00"


def test_a_book_that_clears_every_bar_has_earned_a_trial_on_paper_and_no_more(book: StrategyResult, context: Context) -> None:
    verdict = verdict_of(book, context)
    assert [result.gate.name for result in verdict.results if result.state != "pass"] == []
    assert verdict.worthy
    assert verdict.word == WORTHY
    assert "not yet with money" in verdict.sentence


@pytest.mark.parametrize(
    ("gate", "figures"),
    [
        ("profit", {"net_pnl": 0.0}), ("beats_holding", {"sharpe": -2.0}), ("survives_costs", {"break_even_bps": 9.99}),
        ("low_end", {"sharpe_lo": 0.0}), ("deflated", {"dsr": 0.9499}), ("overfit", {"pbo": 0.5001}),
        ("long_enough", {"min_trl_years": 99.0}), ("permutation", {"permutation_p": 0.0501}),
    ],
)  # fmt: skip
def test_a_hair_under_a_bar_is_a_no(book: StrategyResult, context: Context, gate: str, figures: dict[str, float]) -> None:
    failed = verdict_of(with_figures(book, **figures), context)
    assert [result.gate.name for result in failed.results if result.state == "fail"] == [gate]
    assert failed.word == UNWORTHY
    assert not failed.worthy


@pytest.mark.parametrize(
    ("gate", "figure", "bar", "inside", "at_bar"),
    [
        ("profit", "net_pnl", 0.0, 1.0, "fail"), ("survives_costs", "break_even_bps", 10.0, 99.0, "pass"),
        ("low_end", "sharpe_lo", 0.0, 1.0, "fail"), ("deflated", "dsr", 0.95, 1.0, "pass"),
        ("overfit", "pbo", 0.5, 0.0, "pass"), ("permutation", "permutation_p", 0.05, 0.0, "pass"),
    ],
)  # fmt: skip
def test_a_bar_is_decided_to_the_last_digit(
    book: StrategyResult, context: Context, gate: str, figure: str, bar: float, inside: float, at_bar: str
) -> None:
    within, beyond = (float(np.nextafter(bar, bar + way)) for way in (inside - bar, bar - inside))
    states = [state(with_figures(book, **{figure: value}), context, gate) for value in (within, bar, beyond)]
    assert states == ["pass", at_bar, "fail"]
    assert state(with_figures(book, **{figure: None}), context, gate) == "unknown"


def test_a_portfolio_of_which_a_part_was_not_measured_is_not_said_to_be_unfitted(
    book: StrategyResult, context: Context
) -> None:
    def gate(pbo: float, without: list[str]) -> tuple[str, str]:
        part = dataclasses.replace(
            with_figures(book, pbo=pbo), evidence={**book.evidence, "pbo": {"pbo": pbo, "without": without}}
        )
        return next((result.state, result.why) for result in judge(part, context) if result.gate.name == "overfit")

    assert gate(0.1, []) == ("pass", "")
    why = "a part was not measured, without two parameter sets that differ: dips, fade"
    assert gate(0.1, ["dips", "fade"]) == ("unknown", why)
    assert gate(0.6, ["dips"])[0] == "fail"


def test_a_book_is_as_long_as_it_needs_and_as_good_as_holding_to_the_last_digit(book: StrategyResult, context: Context) -> None:
    holding = benchmark_sharpe(book, context.benchmark)
    assert holding is not None
    for gate, figure, bar, worse in (
        ("beats_holding", "sharpe", holding, -np.inf),
        ("long_enough", "min_trl_years", book.years, np.inf),
    ):
        assert state(with_figures(book, **{figure: bar}), context, gate) == "pass"
        assert state(with_figures(book, **{figure: float(np.nextafter(bar, worse))}), context, gate) == "fail"


def test_the_five_best_trades_may_make_half_of_the_profit_and_no_more(book: StrategyResult, context: Context) -> None:
    def earning(*pnl: float) -> StrategyResult:
        return dataclasses.replace(book, trades=book.trades.head(len(pnl)).assign(pnl=pnl))

    assert state(earning(*[1.0] * 10), context, "not_a_few") == "pass"
    assert state(earning(*[1.0] * 9), context, "not_a_few") == "fail"
    assert state(earning(1.0, -1.0), context, "not_a_few") == "unknown"


def test_orders_may_be_a_hundredth_of_a_day_and_no_more(book: StrategyResult, context: Context) -> None:
    for share, expected in ((0.01, "pass"), (float(np.nextafter(0.01, 1.0)), "fail"), (np.nan, "unknown")):
        assert state(dataclasses.replace(book, trades=book.trades.assign(day_share=share)), context, "liquid") == expected


def test_what_cannot_be_measured_has_not_passed_and_says_why(book: StrategyResult, context: Context) -> None:
    blind = dataclasses.replace(with_figures(book, dsr=None), reasons={"dsr": "no recorded trials"})
    verdict = verdict_of(blind, context)
    result = next(result for result in verdict.results if result.gate.name == "deflated")
    assert (result.state, result.value, result.why) == ("unknown", "not measured", "no recorded trials")
    assert verdict.word == UNPROVEN
    assert verdict.answers == {"money": "yes", "luck": "unknown", "trade": "yes"}


def test_missing_figures_make_every_gate_that_needs_them_unknown_and_never_break(book: StrategyResult) -> None:
    bare = dataclasses.replace(book, figures={}, reasons={}, evidence={}, trades=book.trades.iloc[:0])
    blind = Context(context_settings(), None)
    states = {result.gate.name: result.state for result in judge(bare, blind)}
    assert states.pop("enough_trades") == "fail"
    assert states.pop("sound_bars") == "pass"
    assert set(states.values()) == {"unknown"}


def context_settings() -> Any:
    from tests.support.builders.fabricate import settings_for

    return settings_for(8)


def test_trades_over_bars_that_look_wrong_prove_nothing(book: StrategyResult, context: Context) -> None:
    verdict = verdict_of(book, dataclasses.replace(context, doubted=("BRAV on 2020-12-23", "GOLF on 2021-01-04")))
    assert verdict.word == UNPROVEN
    (gate,) = (result for result in verdict.results if result.state != "pass")
    assert gate.gate.name == "sound_bars"
    assert gate.why == "trades lay over 2 bars that look wrong (BRAV on 2020-12-23): mend or release, see `kobe bars doctor`"


def test_break_even_beyond_the_dearest_cost_tried_passes_as_more_than_that(book: StrategyResult, context: Context) -> None:
    points = [{"bps": bps, "sharpe": 2.0 - bps / 40} for bps in (0, 5, 10, 20, 40)]
    steady = dataclasses.replace(with_figures(book, break_even_bps=None), evidence={"cost_sensitivity": points})
    result = next(result for result in judge(steady, context) if result.gate.name == "survives_costs")
    assert (result.state, result.value) == ("pass", "over 40.0 bps")
    few = dataclasses.replace(steady, evidence={"cost_sensitivity": points[:2]})
    nearly = next(result for result in judge(few, context) if result.gate.name == "survives_costs")
    assert (nearly.state, nearly.value, nearly.short) == ("fail", "over 5.0 bps", "at most 5.0 bps short")
    assert nearly.change.startswith("A fill would have to earn up to 5.0 bps more:")
    mixed = [{"bps": point["bps"], "sharpe": (-1.0) ** k} for k, point in enumerate(points)]
    assert state(dataclasses.replace(steady, evidence={"cost_sensitivity": mixed}), context, "survives_costs") == "unknown"
    losing = [{"bps": point["bps"], "sharpe": -1.0} for point in points]
    hopeless = dataclasses.replace(steady, evidence={"cost_sensitivity": losing})
    failed = next(result for result in judge(hopeless, context) if result.gate.name == "survives_costs")
    assert (failed.state, failed.value, failed.short) == ("fail", "under 0.0 bps", "more than 10.0 bps short")
    assert failed.change.startswith("A fill would have to earn more than 10.0 bps more:")


def test_the_benchmark_is_judged_on_exactly_the_books_sessions(book: StrategyResult, inputs: ReportInputs) -> None:
    benchmark = benchmark_of(inputs)
    assert benchmark is not None
    returns = returns_of(on_sessions(benchmark, book.curve["session"].to_numpy()))
    assert len(returns) == len(book.curve)
    assert benchmark_sharpe(book, benchmark) == pytest.approx(sharpe(returns))


def test_five_trades_that_make_more_than_half_the_profit_fail(book: StrategyResult, context: Context) -> None:
    pnl = np.full(len(book.trades), 0.01)
    pnl[:5] = 100.0
    assert state(dataclasses.replace(book, trades=book.trades.assign(pnl=pnl)), context, "not_a_few") == "fail"
    assert top_share(dataclasses.replace(book, trades=book.trades.assign(pnl=-1.0))) is None


def test_too_few_trades_fail(book: StrategyResult, context: Context) -> None:
    assert state(dataclasses.replace(book, trades=book.trades.head(100)), context, "enough_trades") == "pass"
    assert state(dataclasses.replace(book, trades=book.trades.head(99)), context, "enough_trades") == "fail"


def test_a_budget_that_takes_less_than_half_of_what_it_could_is_no_reason_against_it_but_is_said(
    book: StrategyResult, context: Context, inputs: ReportInputs
) -> None:
    refused = [{"exceeds_daily_budget": 3 * len(book.trades)}] + [{} for _ in range(len(book.folds) - 1)]
    starved = dataclasses.replace(book, folds=book.folds.assign(refused=refused))
    assert verdict_of(starved, context).worthy
    said = next(caution.text for caution in cautions_of(inputs.settings, [starved]) if caution.name == "refused_signals")
    assert said.startswith("75.0 % of the signals that were free to trade were refused, 75.0 % as exceeds_daily_budget")
    assert said.endswith("the strongest were traded first, so another budget trades others")
    assert any("the strongest were traded first" in text for text in caveats(starved, inputs))
    switched_off = [{"shorts_disabled": 10_000}] + [{} for _ in range(len(book.folds) - 1)]
    free = dataclasses.replace(book, folds=book.folds.assign(refused=switched_off))
    assert "refused_signals" not in [caution.name for caution in cautions_of(inputs.settings, [free])]


def test_trades_that_windows_cut_are_counted_apart_from_those_open_at_the_last_session(
    book: StrategyResult, inputs: ReportInputs
) -> None:
    last = int(book.folds["fold"].max())
    trades = book.trades.assign(exit_reason="time_stop")
    early, late = trades.index[trades["fold"] < last][:3], trades.index[trades["fold"] == last][:2]
    trades.loc[[*early, *late], "exit_reason"] = "window_end"
    trades.loc[early, "pnl"] = (1.0, 2.5, -4.0)
    assert (
        f"3 of {len(trades)} trades were cut by the end of a test window and closed at its last price, −$0.50 in all; "
        "2 more were still open at the last session."
    ) in caveats(dataclasses.replace(book, trades=trades), inputs)
    # Where no window cut one, nothing is said of such trades and their profit.
    for open_now, were in ((late, "were"), (late[:1], "was")):
        reasons = np.where(trades.index.isin(open_now), "window_end", "time_stop")
        said = caveats(dataclasses.replace(book, trades=trades.assign(exit_reason=reasons)), inputs)
        assert f"{len(open_now)} of {len(trades)} trades {were} still open at the last session." in said
    uncut = dataclasses.replace(book, trades=trades.assign(exit_reason="time_stop"))
    assert not any("cut by the end" in text for text in caveats(uncut, inputs))


def test_exits_with_the_listing_are_named_with_what_zero_would_have_cost(book: StrategyResult, inputs: ReportInputs) -> None:
    trades = book.trades.assign(exit_reason="time_stop", side="long")
    first, second = trades.index[:2]
    for row, side, shares, price in ((first, "long", 10.0, 30.0), (second, "short", 4.0, 20.0)):
        trades.loc[row, ["exit_reason", "side", "shares", "exit_price"]] = ["delisted", side, shares, price]
    trades = trades.astype({"shares": float, "exit_price": float})
    ended = dataclasses.replace(book, trades=trades)
    own = trades.loc[[first, second]].sort_values("exit_session")
    named = ", ".join(f"{row.symbol} on {row.exit_session:%Y-%m-%d}" for row in own.itertuples())
    assert (
        f"2 trades ended with the listing, at its last close: {named}; at zero instead it would have made "
        "$300 less on its longs and $80.00 more on its shorts."
    ) in caveats(ended, inputs)
    (said,) = (caution.text for caution in cautions_of(inputs.settings, [book, ended]) if caution.name == "ended_listings")
    assert "2 trades of " in said
    assert "$300 less on its longs and $80.00 more on its shorts, of a net profit of $" in said
    lasting = dataclasses.replace(book, trades=trades.assign(exit_reason="time_stop"))
    assert "ended_listings" not in [caution.name for caution in cautions_of(inputs.settings, [lasting])]
    assert not any("ended with the listing" in text for text in caveats(lasting, inputs))


def test_orders_that_are_a_big_part_of_a_day_fail(book: StrategyResult, context: Context) -> None:
    share = np.where(np.arange(len(book.trades)) % 10 == 0, 0.02, 1e-6)
    assert state(dataclasses.replace(book, trades=book.trades.assign(day_share=share)), context, "liquid") == "fail"
    rare = np.where(np.arange(len(book.trades)) % 50 == 0, 0.02, 1e-6)
    assert state(dataclasses.replace(book, trades=book.trades.assign(day_share=rare)), context, "liquid") == "pass"


def test_a_loss_is_called_a_loss_whatever_else_failed(book: StrategyResult, context: Context) -> None:
    assert verdict_of(with_figures(book, net_pnl=-1.0, dsr=0.1), context).sentence == "It lost money after costs."


def test_the_sentence_names_one_reason_a_question(book: StrategyResult, context: Context) -> None:
    sentence = verdict_of(with_figures(book, break_even_bps=1.0, sharpe_lo=-1.0, dsr=0.1, pbo=0.9), context).sentence
    assert (
        sentence == "Costs twice as high as assumed would eat the profit, and luck explains the result as well as skill does."
    )


def test_the_headline_speaks_for_the_whole_page(book: StrategyResult, context: Context) -> None:
    good, bad = verdict_of(book, context), verdict_of(with_figures(book, net_pnl=-1.0), context)
    blind = verdict_of(with_figures(book, dsr=None), context)
    assert headline([]) == "Nothing has been tested yet."
    assert headline([bad, bad]) == "None of these strategies deserves money."
    assert headline([bad]) == "This strategy does not deserve money."
    assert headline([blind, blind]) == "There is not enough evidence to trust any of these strategies with money."
    assert headline([blind]) == "There is not enough evidence to trust this strategy with money."
    assert headline([good]) == "This strategy is worth a trial on paper."
    assert headline([good, bad, bad]) == f"Worth a trial on paper: {book.title}. The others do not deserve money."
    assert headline([good, bad]) == f"Worth a trial on paper: {book.title}. The other does not deserve money."
    assert headline([good, blind, bad]) == f"Worth a trial on paper: {book.title}. The others do not deserve money."
    # What could not be measured is not called unworthy, here as little as in its row.
    assert headline([good, blind]) == f"Worth a trial on paper: {book.title}. There is not enough evidence for the other."
    assert headline([good, blind, blind]).endswith("There is not enough evidence for the others.")


def test_the_story_is_told_in_dollars(book: StrategyResult, inputs: ReportInputs) -> None:
    text = story(book, benchmark_of(inputs), 1000.0)
    end = book.curve["growth"].iloc[-1] * 1000
    assert f"${end:,.0f}" in text
    assert f"in {len(book.trades):,} trades" in text
    assert "and held, would have made it" in text
    assert "and held" not in story(book, None, 1000.0)
    still = dataclasses.replace(book, curve=book.curve.assign(growth=1.0000004))
    assert "it turned $100,000 into $100,000.04 after costs" in story(still, None, 100_000.0)


@pytest.mark.parametrize(("file", "words"), [(None, 'name says "common stock"'), (Path("my.csv"), "the symbols of my.csv")])
def test_the_page_says_how_alpacas_candidates_were_chosen(inputs: ReportInputs, file: Path | None, words: str) -> None:
    data = DataSettings(vendor="alpaca", alpaca=AlpacaData(candidates=file))
    facts = data_facts(dataclasses.replace(inputs, settings=inputs.settings.model_copy(update={"data": data})))
    assert words in dict(facts)["Candidates"]


def test_survivors_few_stocks_and_idle_money_are_owned_up_to(book: StrategyResult, inputs: ReportInputs) -> None:
    inputs = dataclasses.replace(inputs, settings=inputs.settings.model_copy(update={"data": DataSettings(vendor="files")}))
    texts = caveats(with_figures(book, exposure=0.03), inputs)
    assert any("companies that failed are missing" in text for text in texts)
    assert any("Only 8 stocks" in text for text in texts)
    assert any("97.0 % of the account lay idle" in text for text in texts)
    assert any("99.9987 % of the account lay idle" in text for text in caveats(with_figures(book, exposure=1.3e-5), inputs))
    lost = caveats(with_figures(book, exposure=0.03, net_pnl=-1.0), inputs)
    assert any("earned nothing, so a loss a year looks small" in text for text in lost)
    settings = inputs.settings.model_copy(update={"universe": UniverseSettings(membership="point_in_time")})
    lasting = dataclasses.replace(inputs, settings=settings)
    assert any("ever stopped trading: companies that failed are missing" in text for text in caveats(book, lasting))
    assert "none ever stopped trading" in dict(data_facts(lasting))["Survivorship"]
    universe = inputs.universe.copy()
    universe.loc[0, "last_session"] -= pd.Timedelta(days=40)
    honest = dataclasses.replace(lasting, universe=universe)
    assert not any("companies that failed are missing" in text for text in caveats(book, honest))
    assert f"; 1 of {len(universe)} candidates stopped trading" in dict(data_facts(honest))["Survivorship"]


def test_invented_bars_are_called_invented_and_no_list_of_survivors(book: StrategyResult, inputs: ReportInputs) -> None:
    texts = caveats(book, inputs)
    assert any("prove nothing about markets" in text for text in texts)
    assert not any("companies that failed are missing" in text for text in texts)
    assert [caution.name for caution in cautions_of(inputs.settings, [book])] == ["synthetic_bars"]


def test_failed_checks_stand_among_what_to_know_before_believing(book: StrategyResult, inputs: ReportInputs) -> None:
    assert "The check missing_sessions did not pass: sessions without a bar." in caveats(book, inputs)
    assert not any("bars_unique" in text for text in caveats(book, inputs))


def test_when_most_signals_are_refused_the_largest_reason_and_its_remedy_are_named(
    book: StrategyResult, inputs: ReportInputs
) -> None:
    def refusing(**counts: int) -> StrategyResult:
        refused = [counts, *([{}] * (len(book.folds) - 1))]
        return dataclasses.replace(book, folds=book.folds.assign(refused=refused))

    trades = len(book.trades)
    settings = inputs.settings
    said = most_refused([refusing(below_one_share=3 * trades, insufficient_cash=trades, already_open=9 * trades)], settings)
    assert said.startswith("80.0 % of the signals that were free to trade were refused, 60.0 % as below_one_share (")
    assert "raise sizing.order_notional and the limits of an order in [policy]" in said
    assert most_refused([refusing(below_one_share=trades)], settings) == ""
    assert most_refused([refusing(already_open=9 * trades, shorts_disabled=9 * trades)], settings) == ""
    poor = refusing(insufficient_cash=3 * trades)
    assert any("raise simulation.initial_cash" in text for text in caveats(poor, inputs))
    assert [caution.name for caution in cautions_of(inputs.settings, [poor])] == ["synthetic_bars", "refused_signals"]


def test_a_strategy_whose_every_signal_was_refused_is_named_with_the_reason_and_the_remedy(
    book: StrategyResult, inputs: ReportInputs
) -> None:
    refused = [{"no_stop": 40, "already_open": 2}, *([{}] * (len(book.folds) - 1))]
    silent = dataclasses.replace(book, strategy="silent", trades=book.trades.iloc[:0], folds=book.folds.assign(refused=refused))
    (said,) = (one.text for one in cautions_of(inputs.settings, [book, silent]) if one.name == "no_trade")
    assert said.startswith("silent made no trade: every signal was refused, most as no_stop (")
    assert said.endswith("; give the strategy a stop, or set sizing.mode to fixed or equity")
    idle = dataclasses.replace(silent, folds=book.folds.assign(refused=[{}] * len(book.folds)))
    assert "no_trade" not in [one.name for one in cautions_of(inputs.settings, [book, idle])]


def test_the_remedy_of_a_refusal_names_the_settings_in_force() -> None:
    fixed = Settings()
    limits = PolicySettings(max_daily_notional=None, max_daily_fraction=0.25, max_gross_exposure=1.0)
    fitted = fixed.model_copy(update={"sizing": SizingSettings(mode="equity"), "policy": limits})
    assert remedy_for("exceeds_daily_budget", fixed) == "raise policy.max_daily_notional, or lower sizing.order_notional"
    assert remedy_for("exceeds_daily_budget", fitted) == "raise policy.max_daily_fraction, or lower sizing.fraction"
    assert remedy_for("exceeds_exposure", fitted) == "raise policy.max_gross_exposure, or lower sizing.fraction"
    assert remedy_for("already_open", fitted) == ""


def test_every_gate_has_a_question_a_reason_a_bar_and_a_source() -> None:
    assert {gate.question for gate in GATES} == set(QUESTIONS)
    assert len({gate.name for gate in GATES}) == len(GATES)
    for gate in GATES:
        assert all((gate.label, gate.meaning, gate.bar, gate.source, gate.blame)), gate.name
        assert gate.blame[0].islower()


def test_a_question_asks_what_its_gates_ask() -> None:
    asked = {gate.name for gate in GATES if gate.question == "money"}
    assert asked == {"profit", "beats_holding", "survives_costs"}
    assert QUESTIONS["money"] == "Does it clear its costs with room, and beat holding?"


def test_the_terminals_rows_repeat_the_figures(inputs: ReportInputs) -> None:
    rows = verdict_rows(inputs)
    kpis = inputs.kpis.set_index(["strategy", "mode", "figure"])["value"]
    counts = inputs.trades.groupby(["strategy", "mode"]).size()
    assert len(rows) == 6
    for row in rows:
        assert row.sharpe == kpis[(row.strategy, row.mode, "sharpe")]
        assert row.trades == counts[(row.strategy, row.mode)]
        assert 0 <= row.gates_passed <= row.gates == len(GATES)
        assert row.verdict in (WORTHY, UNWORTHY, UNPROVEN)


def test_markdown_cells_hold_no_markdown_of_the_data(inputs: ReportInputs) -> None:
    evil = "a|b <img> [x](y)"
    hostile = dataclasses.replace(inputs, kpis=pd.DataFrame([[evil, "m", "sharpe", 1.0]], columns=inputs.kpis.columns))
    table = kpi_markdown(verdict_rows(hostile))
    line = next(line for line in table.splitlines() if "img" in line)
    assert "a\\|b &lt;img&gt; \\[x\\](y)" in line
    assert line.replace("\\|", "").count("|") == 10


def test_no_cell_of_the_verdict_table_can_break_into_two_lines(inputs: ReportInputs) -> None:
    table = kpi_markdown(verdict_rows(inputs))
    assert len(table.splitlines()) == 2 + len(verdict_rows(inputs))
    cells = [cell.strip() for line in table.splitlines() for cell in line.strip("| ").split(" | ")]
    assert "does\u00a0not\u00a0deserve\u00a0money" in cells
    assert not any(" " in cell for cell in cells)
