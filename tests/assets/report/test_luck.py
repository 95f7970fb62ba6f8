"""One small report, its evidence of luck and of the portfolio held against plain computations from the stored tables."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kobe_assets.report.analysis import permutation as permutation_module
from kobe_assets.report.analysis.cautions import cautions_of
from kobe_assets.report.analysis.heat_map import heat_map, maps_of, stored_grids
from kobe_assets.report.analysis.inputs import ReportInputs
from kobe_assets.report.analysis.resampling import resampling, seed_of, session_returns
from kobe_assets.report.analysis.results import books_of, chosen_benchmark_of, on_sessions
from kobe_assets.report.analysis.verdict import FREE_SHORTS, LEFT_OUT, NO_DIVIDENDS, NO_FEES, caveats, context_of
from kobe_assets.report.page.context import details_of
from kobe_assets.report.page.luck_parts import portfolio_payload
from kobe_assets.report.page.page import build_report
from kobe_assets.research.permutation import Permuted
from kobe_jobs.research_run.stale import bring_up_to_date
from kobe_resources.settings.load import load_settings
from kobe_resources.settings.pins import research_pin
from kobe_resources.warehouse.store import Warehouse
from tests.support.builders.fabricate import NOW
from tests.support.builders.report_inputs import read_inputs
from tests.support.unpack import payload_of

HELD = "S00003"
SETTINGS = {
    "DATA__VENDOR": "synthetic",
    "DATA__SYNTHETIC__SYMBOLS": "10",
    "DATA__SYNTHETIC__SESSIONS": "640",
    "PORTFOLIO__STRATEGIES": '{"ibs": 1.0, "rsi2": 1.0}',
    "SIMULATION__INITIAL_CASH": "2000",
    "SIZING__WHOLE_SHARES": "false",
    "POLICY__ALLOW_SHORTS": "true",
    "REPORT__BENCHMARK": HELD,
    "REPORT__RESAMPLES": "200",
    "REPORT__PERMUTATIONS": "30",
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> ReportInputs:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SETTINGS.items():
            patch.setenv(f"KOBE_{name}", value)
        patch.setenv("KOBE_HOME", str(tmp_path_factory.mktemp("luck")))
        settings = load_settings()
        bring_up_to_date(settings)
        return read_inputs(Warehouse(), settings)


@pytest.fixture(scope="module")
def tables(inputs: ReportInputs) -> dict[str, pd.DataFrame]:
    return {"trials": inputs.trials, "folds": inputs.folds, "equity": inputs.equity, "trades": inputs.trades}


def of(frame: pd.DataFrame, strategy: str, mode: str) -> pd.DataFrame:
    return frame[(frame["strategy"] == strategy) & (frame["mode"] == mode)]


def test_a_heat_map_is_the_table_of_trials(inputs: ReportInputs, tables: dict[str, pd.DataFrame]) -> None:
    for grid in stored_grids(inputs.evidence):
        mine = tables["trials"][tables["trials"]["strategy"] == grid.strategy]
        ratios: dict[str, list[float]] = {}
        for params, ratio in zip(mine["params"], mine["train_sharpe"], strict=True):
            ratios.setdefault(params, []).append(ratio)
        means = {params: float(np.nanmean(own)) for params, own in ratios.items() if not np.isnan(own).all()}
        chosen = of(tables["folds"], grid.strategy, "optimized")
        for found in maps_of(grid):
            for j, down in enumerate(grid.axes[found.down]):
                for i, across in enumerate(grid.axes[found.across]):
                    wanted = {found.across: across, found.down: down}

                    def fits(text: str, wanted: dict[str, float] = wanted) -> bool:
                        return all(json.loads(text)[name] == value for name, value in wanted.items())

                    best = max((mean for params, mean in means.items() if fits(params)), default=None)
                    assert found.mean[j][i] == (best if best is None else pytest.approx(best, rel=1e-5))
                    traded = chosen[[fits(params) for params in chosen["params"]]]
                    assert found.traded[j][i] == traded["fold"].tolist()
                    unseen = traded["sharpe"].dropna()
                    assert found.unseen[j][i] == (pytest.approx(unseen.mean(), rel=1e-4) if len(unseen) else None)
        assert grid.canonical is not None
        assert heat_map(grid, *grid.pairs()[0]).canonical is not None


def test_an_entry_session_earns_what_its_trades_do_on_the_equity_before(
    inputs: ReportInputs, tables: dict[str, pd.DataFrame]
) -> None:
    cash = inputs.settings.simulation.initial_cash
    for book in books_of(inputs):
        trades, equity = of(tables["trades"], book.strategy, book.mode), of(tables["equity"], book.strategy, book.mode)
        slow = []
        for (fold, day), own in trades.groupby(["fold", "entry_session"], observed=True):
            earlier = equity[(equity["fold"] == fold) & (equity["session"] < day)]
            slow.append(own["pnl"].sum() / (earlier["equity"].iloc[-1] if len(earlier) else cash))
        assert session_returns(trades, equity, cash) == pytest.approx(np.array(slow), rel=1e-12)


def test_resampling_is_that_of_a_plain_loop(inputs: ReportInputs, tables: dict[str, pd.DataFrame]) -> None:
    cash, pin = inputs.settings.simulation.initial_cash, research_pin(inputs.settings)
    trades, equity = (of(tables[name], "ibs", "optimized") for name in ("trades", "equity"))
    returns = session_returns(trades, equity, cash)
    rng, ends, falls = np.random.default_rng(seed_of(pin, "resampling", "ibs", "optimized")), [], []
    for _ in range(200):
        levels = cash * np.cumprod([1.0, *(1 + returns[int(rng.random() * len(returns))] for _ in returns)])
        ends.append(levels[-1])
        falls.append((levels / np.maximum.accumulate(levels) - 1).min())
    details = inputs.evidence["ibs", "optimized"]["resampling"]
    for name, values in (("end", ends), ("worst", falls)):
        for percent, value in details[name]["percentiles"].items():
            assert value == pytest.approx(np.percentile(values, float(percent)), rel=1e-5)
    for fall, chance in details["chance"].items():
        assert chance == pytest.approx(np.mean([value <= -float(fall) for value in falls]))
    assert details["loses"] == pytest.approx(np.mean([value < cash for value in ends]))
    assert details["fan"]["50"][-1] == details["end"]["percentiles"]["50"]


def test_trades_of_one_open_have_no_other_order_and_no_chance_of_a_fall_is_told(
    inputs: ReportInputs, tables: dict[str, pd.DataFrame]
) -> None:
    trades, equity = (of(tables[name], "ibs", "canonical") for name in ("trades", "equity"))
    days = trades[["fold", "entry_session"]].drop_duplicates()
    assert resampling(trades.merge(days.head(1)), equity, 1000.0, 10, 1) is None
    assert resampling(trades.merge(days.head(2)), equity, 1000.0, 10, 1) is not None
    own = inputs.trades.merge(days.head(1).assign(strategy="ibs", mode="canonical"))
    bare = {**inputs.evidence, ("ibs", "canonical"): {**inputs.evidence["ibs", "canonical"], "resampling": None}}
    payload = payload_of(build_report(dataclasses.replace(inputs, trades=own, evidence=bare), NOW))
    assert payload["books"]["ibs|canonical"]["why"]["fan"] == "All trades entered at one open: there is no other order."


@pytest.mark.parametrize(("drawn", "said"), [(8.6, False), (9.0, False), (8.4, True)])
def test_entries_are_called_missing_only_where_the_numbers_beside_it_say_so(
    inputs: ReportInputs, drawn: float, said: bool
) -> None:
    details = {**inputs.evidence["ibs", "canonical"]["permutation"], "entries": 9, "drawn_entries": drawn}
    evidence = {
        key: {name: own for name, own in found.items() if name != "permutation"} for key, found in inputs.evidence.items()
    }
    evidence["ibs", "canonical"]["permutation"] = details
    page = build_report(dataclasses.replace(inputs, evidence=evidence), NOW)
    assert f"A drawn run made {drawn:.0f} of 9 entries" in page
    assert ("the others found nothing left" in page) is said


def test_the_permutation_is_a_figure_and_stands_on_the_books_own_ratio(inputs: ReportInputs) -> None:
    for book in books_of(inputs):
        details: dict[str, Any] = book.evidence["permutation"]
        assert details["permutations"] == 30
        assert details["own"] == pytest.approx(book.figures["sharpe"], rel=1e-9)
        assert details["p"] == book.figures["permutation_p"]
        assert details["entries"] == len(book.trades)
        assert details["drawn_entries"] <= details["entries"]
        assert sum(details["counts"]) == 30


@pytest.mark.parametrize(("others", "measured"), [([0.5, 0.5], False), ([0.5, 0.1], True), ([0.9, 0.9], True)])
def test_where_nothing_else_could_be_drawn_nothing_is_said_of_chance(
    inputs: ReportInputs, monkeypatch: pytest.MonkeyPatch, others: list[float], measured: bool
) -> None:
    key = ("ibs", "canonical")
    drawn = Permuted(np.array(others), np.array([3, 3]), 3)
    monkeypatch.setattr(permutation_module, "permute_entries", lambda *_, **__: {key: drawn})
    monkeypatch.setattr(permutation_module, "entered_of", lambda *_: None)
    rehearsal: Any = SimpleNamespace(plan=SimpleNamespace(parts=[], folds=[]), market=None)
    nothing: Any = None
    found = permutation_module.permutations(inputs.trades, {key: rehearsal}, {key: 0.5}, nothing, 2, "pin")
    assert (key in found) is measured


def test_every_try_that_is_counted_is_listed(inputs: ReportInputs) -> None:
    tries = inputs.evidence["tries", ""]["tries"]
    assert {book.figures["dsr_trials"] for book in books_of(inputs)} == {float(tries["count"])}
    assert sum(count for _, count, _, _ in tries["strategies"]) == tries["count"] == len(tries["listed"]) == 81


def test_the_combined_book_comes_first_and_is_judged_by_every_gate(inputs: ReportInputs) -> None:
    books = books_of(inputs)
    assert [book.strategy for book in books[:2]] == ["portfolio", "portfolio"]
    worst = max(books[k].evidence["pbo"]["pbo"] for k in range(len(books)) if books[k].strategy in ("ibs", "rsi2"))
    assert books[0].figures["pbo"] == worst


def test_correlations_and_what_each_adds(inputs: ReportInputs, tables: dict[str, pd.DataFrame]) -> None:
    books = {(book.strategy, book.mode): book for book in books_of(inputs)}
    for mode, portfolio in portfolio_payload(list(books.values())).items():
        days = {name: of(tables["equity"], name, mode)["daily_return"].to_numpy() for name in portfolio["names"]}
        slow = np.corrcoef([days[name] for name in portfolio["names"]])
        assert np.array(portfolio["correlation"], dtype=float) == pytest.approx(slow, abs=1e-12)
        assert portfolio["whole"]["sharpe"] == pytest.approx(books["portfolio", mode].figures["sharpe"], rel=1e-9)
        # Of two strategies of the same weight, without the one the other trades alone.
        for row, other in zip(portfolio["adds"], ("rsi2", "ibs"), strict=True):
            alone = books[other, mode].figures
            for name in ("sharpe", "cagr", "max_drawdown"):
                assert row["without"][name] == pytest.approx(alone[name], rel=1e-9)
        assert sum(row["pnl"] for row in portfolio["adds"]) == pytest.approx(books["portfolio", mode].trades["pnl"].sum())
        assert sum(row["trades"] for row in portfolio["adds"]) == len(books["portfolio", mode].trades)


def test_a_chosen_benchmark_is_the_holding_of_one_symbol(inputs: ReportInputs) -> None:
    curve = chosen_benchmark_of(inputs)
    assert curve is not None
    book = books_of(inputs)[0]
    held = on_sessions(curve, book.curve["session"].to_numpy())
    bars = inputs.bars[inputs.bars["symbol"] == HELD].set_index("session")["close"]
    shared = [k for k, day in enumerate(book.curve["session"]) if day in bars.index][:40]
    closes = bars.loc[book.curve["session"].iloc[shared]].to_numpy(float)
    assert len(shared) > 5
    assert held[shared] / held[shared[0]] == pytest.approx(closes / closes[0], rel=1e-9)
    assert f"{HELD}, held, would have made it $" in details_of(book, inputs, context_of(inputs))["story"]
    payload = payload_of(build_report(inputs, NOW))
    assert payload["chosen"] == HELD
    assert len(payload["chains"][payload["books"][book.key]["chain"]]["chosen"]) == len(book.curve)


def test_a_benchmark_without_bars_is_said(inputs: ReportInputs) -> None:
    settings = inputs.settings.model_copy(update={"report": inputs.settings.report.model_copy(update={"benchmark": "SPY"})})
    without = {owner: {k: v for k, v in own.items() if k != "chosen"} for owner, own in inputs.evidence.items()}
    (said,) = [caution for caution in cautions_of(settings, [], without) if caution.name == "no_benchmark"]
    assert "SPY, of which no bars are stored" in said.text
    assert "no_benchmark" not in [caution.name for caution in cautions_of(inputs.settings, [], inputs.evidence)]


def test_caveats_follow_what_is_paid(inputs: ReportInputs) -> None:
    book = books_of(inputs)[0]
    assert [text for text in caveats(book, inputs) if text in (NO_DIVIDENDS, FREE_SHORTS, NO_FEES)] == [
        NO_DIVIDENDS,
        FREE_SHORTS,
    ]
    assert caveats(book, inputs)[-1] == LEFT_OUT
    costs = inputs.settings.costs.model_copy(update={"borrow_rate": 0.03, "regulatory_fees": False})
    paid = dataclasses.replace(
        inputs,
        settings=inputs.settings.model_copy(update={"costs": costs}),
        evidence={**inputs.evidence, ("data", ""): {**inputs.evidence["data", ""], "dividends": 3}},
    )
    assert [text for text in caveats(book, paid) if text in (NO_DIVIDENDS, FREE_SHORTS, NO_FEES)] == [NO_FEES]


def test_seeds_differ_by_book_and_are_those_of_the_pin() -> None:
    seeds = {seed_of(pin, what, "ibs", mode) for pin in "ab" for what in ("x", "y") for mode in ("canonical", "optimized")}
    assert len(seeds) == 8
    assert seed_of("a", "x", "ibs", "canonical") == 74082040335674, "the same in every process"


def test_a_page_needs_none_of_it(inputs: ReportInputs) -> None:
    bare = dataclasses.replace(inputs, evidence={})
    html = build_report(bare, NOW)
    assert "Nothing was drawn" in json.dumps(payload_of(html))
    assert 'id="tries"' not in html
