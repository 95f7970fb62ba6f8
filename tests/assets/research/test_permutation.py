"""Drawn entries against the plain reference, and what a draw promises: as many a session, from all that could be traded."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kobe_assets.research import simulation as sim
from kobe_assets.research.panel import Floats
from kobe_assets.research.permutation import Entered, Permuted, p_value, permute_entries
from kobe_assets.research.robustness import Plan, Rehearsal
from kobe_assets.research.strategies import STRATEGIES
from kobe_assets.research.walk_forward import Fold, simulate_window
from tests.support.drivers.product import Product, from_panel, panel_of, with_limit
from tests.support.reference.figures import daily_returns, sharpe
from tests.support.reference.indicators import indicators_of
from tests.support.reference.market import build_market
from tests.support.reference.parameters import CANONICAL
from tests.support.reference.random_markets import random_market, random_terms
from tests.support.reference.simulate import simulate_book

FIRST = 205
"""The session the test windows of these markets begin with: indicators are warm."""
SEEDS = range(40)
Books = dict[str, tuple[Rehearsal, Entered]]


class Drawn:
    """One strategy on one random market: its own run, and runs of drawn entries."""

    def __init__(self, seed: int, p: dict[str, Any], runs: int = 3, strategy: str = "ibs") -> None:
        given = random_market(seed, sessions=300)
        self.market = build_market(given["raw_bars"], given["splits"], given["dividends"])
        self.indicators = {symbol: indicators_of(bars) for symbol, bars in self.market["bars"].items()}
        self.selected, self.strategy, self.p = given["selected"], strategy, p
        self.product: Product = from_panel(panel_of(self.market), p, self.selected)
        market, params = self.product.market, self.product.params(strategy)
        self.fold = Fold(1, 0, FIRST - 1, FIRST, len(market.panel.sessions) - 1)
        self.readable = market.readable()
        self.plan = Rehearsal(market, Plan(with_limit(strategy), (self.fold,), (params,)), self.readable)
        places = self.product_run().places
        order = np.argsort(places[:, sim.T_ENTRY], kind="stable")
        columns = [(places[order, column],) for column in (sim.T_ENTRY, sim.T_STRATEGY, sim.T_SIDE)]
        self.entered = Entered(*columns)
        self.found = self.draw(runs)

    def product_run(self) -> sim.Outcome:
        params = self.product.params(self.strategy)
        return simulate_window(self.product.market, with_limit(self.strategy), params, self.fold.test_start, self.fold.test_end)

    def draw(self, runs: int, seed: int = 7) -> Permuted:
        books: Books = {"book": (self.plan, self.entered)}
        return permute_entries(books, self.readable, runs, {"book": seed}, keep=True)["book"]

    def by_the_reference(
        self, found: Permuted, run: int, entered: Entered, parts: list[tuple[str, dict[str, Any]]]
    ) -> dict[str, Any]:
        """The reference's simulation of what a run drew for these (strategy, parameters)."""
        panel, asked = self.product.market.panel, zip(entered.session[0], entered.strategy[0], entered.side[0], strict=True)
        signals: list[dict[Any, list[dict[str, Any]]]] = [{} for _ in parts]
        assert found.picked is not None
        # Within a session the draw goes by strategy, then side.
        for bar, (_, k, side) in zip(found.picked[run], sorted(asked), strict=True):
            if bar < 0:
                continue
            symbol, session = panel.symbols[panel.symbol[bar]], panel.sessions[panel.session[bar] - 1].item()
            t = [own["session"] for own in self.market["bars"][symbol]].index(session)
            atr, own = self.indicators[symbol]["atr14"][t - self.p["indicator_lag_bars"]], parts[k][1]
            stop = None if own["atr_stop"] is None else own["atr_stop"] * atr
            row = {"session": session, "symbol": symbol, "side": "long" if side > 0 else "short", "stop_distance": stop}
            row |= {"close": self.market["bars"][symbol][t]["close"], "atr14": atr}
            signals[k].setdefault(session, []).append(row)
        days = self.market["sessions"]
        books = [(name, own, drawn) for (name, own), drawn in zip(parts, signals, strict=True)]
        return simulate_book(self.market, self.indicators, books, self.p, days[self.fold.test_start], days[self.fold.test_end])


def compare(one: Drawn, found: Permuted, entered: Entered, parts: list[tuple[str, dict[str, Any]]]) -> int:
    """Hold every run against the reference; how many have a Sharpe ratio."""
    compared = 0
    for run, ratio in enumerate(found.sharpe):
        theirs = one.by_the_reference(found, run, entered, parts)
        assert theirs["refused"] == {}, "nothing is drawn that the gate or the market refuses"
        slow = sharpe(daily_returns([value for _, value in theirs["equity"]], one.p["initial_cash"]))
        assert ratio == pytest.approx(slow or 0.0, abs=1e-6), (one.p, run)
        compared += slow is not None
    return compared


@pytest.fixture(scope="module")
def drawn() -> list[Drawn]:
    """One a random market, with sizes, entries, costs and limits of every kind."""
    made = [Drawn(seed, random_terms(seed) | {"max_gap": None}) for seed in SEEDS]
    assert sum(one.found.wanted for one in made) > 500
    kinds = {(one.p["entry"], one.p["limit_atr"] is None, one.p["mode"]) for one in made if one.found.wanted}
    assert len(kinds) > 6, "auctions, limit entries, sizes by equity and by risk are among them"
    return made


def test_a_drawn_run_is_worth_what_the_reference_makes_of_its_entries(drawn: list[Drawn]) -> None:
    assert sum(compare(one, one.found, one.entered, [(one.strategy, one.p)]) for one in drawn) > 40


def test_as_many_entries_a_session_as_the_book_made_each_another_symbol_and_none_that_is_held(drawn: list[Drawn]) -> None:
    short = 0
    for one in drawn:
        assert one.found.picked is not None
        panel = one.product.market.panel
        wanted = Counter(one.entered.session[0].tolist())
        for run, picked in enumerate(one.found.picked):
            made = picked[picked >= 0]
            assert len(made) == one.found.entries[run]
            assert len(set(zip(panel.session[made].tolist(), panel.symbol[made].tolist(), strict=True))) == len(made)
            counts = Counter(panel.session[made].tolist())
            assert all(counts[day] <= wanted[day] for day in counts)
            short += len(picked) - len(made)
    total = sum(one.found.wanted * len(one.found.entries) for one in drawn)
    assert short < 0.35 * total, "of few symbols, most of them held, not everything can be drawn"


def test_every_symbol_that_could_be_traded_is_drawn_as_often() -> None:
    many = Drawn(
        8, CANONICAL | {"order_notional": 500.0, "max_notional_per_order": None, "max_daily_notional": None}, runs=2000
    )
    assert many.found.picked is not None
    panel, eligible = many.product.market.panel, np.zeros(many.product.market.panel.bars, np.bool_)
    eligible[many.readable.lag :] = many.readable.eligible
    day = int(many.entered.session[0][0])
    first = many.found.picked[:, : int((many.entered.session[0] == day).sum())]
    offered = [s for s in range(len(panel.symbols)) if panel.bar_at[day, s] >= 0 and eligible[panel.bar_at[day - 1, s]]]
    counts = Counter(panel.symbol[first.ravel()].tolist())
    assert sorted(counts) == offered, "all of them, and nothing else"
    expected = first.size / len(offered)
    assert all(abs(count - expected) < 5 * expected**0.5 for count in counts.values())


def test_the_same_seed_draws_the_same_and_another_one_something_else() -> None:
    one = Drawn(3, CANONICAL)
    again, other = one.draw(3), one.draw(3, seed=8)
    assert again.sharpe.tolist() == one.found.sharpe.tolist()
    assert other.sharpe.tolist() != one.found.sharpe.tolist()


def test_a_portfolio_draws_for_each_strategy_and_side_at_its_weight() -> None:
    p = CANONICAL | {"allow_shorts": True}
    one = Drawn(3, p)
    market, fold = one.product.market, one.fold
    parts = [(with_limit(name), (one.product.params(name),)) for name in ("rsi2", "ibs")]
    plan = Plan(parts[0][0], (fold,), parts[0][1], (parts[1],), (1.0, 0.5))
    rehearsal = Rehearsal(market, plan, one.readable)
    days = np.repeat(np.arange(fold.test_start + 5, fold.test_end, 4), 3)
    entered = Entered((days,), (np.tile([0, 1, 1], len(days) // 3),), (np.tile([1, -1, 1], len(days) // 3),))
    found = permute_entries({"book": (rehearsal, entered)}, one.readable, 5, {"book": 1}, keep=True)["book"]
    assert found.wanted == len(days)
    assert compare(one, found, entered, [("rsi2", p), ("ibs", p | {"weight": 0.5})]) == 5
    assert (found.entries > 0.4 * len(days)).all()


def test_a_strategy_without_a_stop_draws_the_same_whatever_was_read_for_another_that_has_one() -> None:
    without = Drawn(3, CANONICAL | {"atr_stop": None})
    assert without.entered.session[0].size > 5
    params = {name: value for name, value in without.product.params("ibs").items() if name != "atr_stop"}
    stopless = replace(STRATEGIES["ibs"], stop=None, parameters=params, grid={})
    plan = Plan(stopless, (without.fold,), (params,))
    alone = Rehearsal(without.product.market, plan, without.readable), without.entered
    with_stop = Drawn(3, CANONICAL)
    books = {"first": (with_stop.plan, with_stop.entered), "second": alone}
    found = permute_entries(books, without.readable, 5, dict.fromkeys(books, 7), keep=True)["second"]
    expected = permute_entries({"second": alone}, without.readable, 5, {"second": 7}, keep=True)["second"]
    assert found.sharpe.tolist() == expected.sharpe.tolist()
    assert found.picked is not None
    assert found.picked.tolist() == expected.picked.tolist()  # type: ignore[union-attr]


def p_slowly(own: float, others: Floats) -> float:
    return (sum(1 for other in others if other >= own) + 1) / (len(others) + 1)


def test_the_p_value_counts_the_strategy_itself_and_ties_against_it() -> None:
    others = np.array([0.1, 0.5, 0.5, 0.9])
    for own in (0.0, 0.2, 0.5, 0.9, 1.0):
        assert p_value(own, others) == p_slowly(own, others)
    assert p_value(2.0, others) == 1 / 5
    assert p_value(0.5 + 1e-12, others) == 4 / 5, "what differs by rounding is a tie"
