"""Faults planted into the product's inputs and orders: the comparison with the reference must catch every one.

A comparison that never fails proves nothing; each fault here is one that has been made in some backtest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from kobe_assets.research.entry_queue import SUSPECT, Entries, Feed, find_entries, make_feed, price_entries
from kobe_assets.research.panel import ROW_CLOSE, ROW_FACTOR, ROW_OPEN, ROW_SESSION
from kobe_assets.research.signals import find_candidates, leave_flags
from kobe_assets.research.simulation import simulate, terms_of
from kobe_assets.research.walk_forward import Market
from tests.support.drivers.agreement import difference_of_runs
from tests.support.drivers.product import Product, from_panel, outcome_of, panel_of, with_limit
from tests.support.reference.indicators import indicators_of
from tests.support.reference.market import build_market
from tests.support.reference.parameters import CANONICAL
from tests.support.reference.random_markets import random_market
from tests.support.reference.signals import signals_of
from tests.support.reference.simulate import simulate as reference_run

SEEDS = tuple(range(8))
PARAMETERS = CANONICAL | {
    "allow_shorts": True,
    "rsi_entry": 35.0,
    "atr_stop": 1.0,
    "max_price": 5000.0,
    "order_notional": 500.0,
    "max_notional_per_order": 600.0,
    "max_daily_notional": 1000.0,
}


@dataclass(frozen=True)
class Plan:
    """What a fault may change: the market's parts, and the kernel's feed."""

    product: Callable[[Product], Product] = lambda ours: ours
    feed: Callable[[Market, Feed], Feed] = lambda _, feed: feed


def with_indicators(change: Callable[[np.ndarray], np.ndarray], *names: str) -> Plan:
    """Each symbol's column goes through `change`."""

    def product(ours: Product) -> Product:
        market = ours.market
        starts = market.panel.start[1:-1]
        columns = {
            name: np.concatenate([change(own) for own in np.split(getattr(market.indicators, name), starts)]) for name in names
        }
        return replace(ours, market=replace(market, indicators=replace(market.indicators, **columns)))

    return Plan(product)


def tomorrow(values: np.ndarray) -> np.ndarray:
    return np.concatenate([values[1:], values[-1:]])


def centred(values: np.ndarray) -> np.ndarray:
    return np.convolve(values, np.ones(3) / 3, mode="same")


def whole_column_mean(values: np.ndarray) -> np.ndarray:
    known = values[~np.isnan(values)]
    return np.where(np.isnan(values), np.nan, known.mean() if len(known) else np.nan)


def at_bars(market: Market, feed: Feed, bar: np.ndarray) -> Feed:
    """The same entries, filled in other bars."""
    opened, factor = feed.rows[bar, ROW_OPEN], feed.rows[bar, ROW_FACTOR]
    moved = feed.entries._replace(bar=bar, open=opened, factor=factor)
    return feed._replace(entries=price_entries(moved, market.costs, market.limits, False))


def same_bar_fill(market: Market, feed: Feed) -> Feed:
    """A signal of the close of t fills at the open of t."""
    first = np.concatenate([feed.first[1:], feed.first[-1:]])
    bar = np.full(len(feed.entries.bar), -1)
    for d in range(len(market.panel.sessions)):
        for j in range(feed.first[d], feed.first[d + 1]):
            bar[j] = market.panel.bar_at[d, feed.entries.symbol[j]]
    return at_bars(market, feed._replace(first=first), bar)


def next_bar_of_the_symbol(market: Market, feed: Feed) -> Feed:
    """Where the next session has no bar, the order waits for the next bar instead of being refused."""
    bar = feed.entries.bar.copy()
    for d in range(len(market.panel.sessions)):
        for j in range(feed.first[d], feed.first[d + 1]):
            after = market.panel.bar_at[d, feed.entries.symbol[j]] + 1
            if after < market.panel.start[feed.entries.symbol[j] + 1]:
                bar[j] = after
    return at_bars(market, feed, bar)


def close_for_open(market: Market, feed: Feed) -> Feed:
    rows = feed.rows.copy()
    rows[:, ROW_OPEN] = rows[:, ROW_CLOSE]
    return at_bars(market, feed._replace(rows=rows), feed.entries.bar)


def weakest_first(market: Market, feed: Feed) -> Feed:
    order = np.arange(len(feed.entries.bar))
    for d in range(len(market.panel.sessions)):
        order[feed.first[d] : feed.first[d + 1]] = order[feed.first[d] : feed.first[d + 1]][::-1]
    return feed._replace(entries=Entries(*(column[order] for column in feed.entries)))


def sized_on_the_adjusted_price(market: Market, feed: Feed) -> Feed:
    """Shares, price bounds and budgets judged on adjusted prices instead of prices as traded."""
    adjusted = price_entries(feed.entries._replace(factor=np.ones(len(feed.entries.bar))), market.costs, market.limits, False)
    return feed._replace(entries=feed.entries._replace(code=adjusted.code, price=adjusted.price, qty=adjusted.qty))


def one_session_late(market: Market, feed: Feed) -> Feed:
    """Delistings known a session late."""
    return feed._replace(last_session=feed.last_session + 1)


def with_settings(**changes: float) -> Plan:
    def product(ours: Product) -> Product:
        market = ours.market
        limits = {name: value for name, value in changes.items() if name in market.limits._fields}
        costs = {name: value for name, value in changes.items() if name in market.costs._fields}
        rest = {name: value for name, value in changes.items() if name not in limits | costs}
        changed = replace(market, limits=market.limits._replace(**limits), costs=market.costs._replace(**costs), **rest)
        return replace(ours, market=changed)

    return Plan(product)


FAULTS = {
    "rsi2 shifted by -1": with_indicators(tomorrow, "rsi2"),
    "sma200 shifted by -1": with_indicators(tomorrow, "sma200"),
    "atr14 shifted by -1": with_indicators(tomorrow, "atr14"),
    "rsi2 from a centred window": with_indicators(centred, "rsi2"),
    "sma200 a mean of the whole column": with_indicators(whole_column_mean, "sma200"),
    "indicators not lagged": with_settings(lag=0),
    "indicators lagged twice": with_settings(lag=2),
    "filled in the signal's own bar": Plan(feed=same_bar_fill),
    "filled at the close": Plan(feed=close_for_open),
    "an order outlives a session without a bar": Plan(feed=next_bar_of_the_symbol),
    "weakest signal first": Plan(feed=weakest_first),
    "sized on adjusted prices": Plan(feed=sized_on_the_adjusted_price),
    "delisted a session late": Plan(feed=one_session_late),
    "exits by condition ignored": Plan(feed=lambda _, feed: feed._replace(leave=np.zeros_like(feed.leave))),
    "long and short exits swapped": Plan(
        feed=lambda _, feed: feed._replace(
            leave=((feed.leave & 1) << 1 | (feed.leave & 2) >> 1 | feed.leave & 4).astype(np.uint8)
        )
    ),
    "stop from an ATR of half the size": Plan(
        feed=lambda _, feed: feed._replace(entries=feed.entries._replace(stop=feed.entries.stop / 2))
    ),
    "no slippage": with_settings(slippage=0.0),
    "slippage in basis points of a percent": with_settings(slippage=5e-6),
    "limit at the fill": with_settings(limit_offset_bps=0.0),
    "daily budget ignored": with_settings(max_daily_notional=1e9),
    "shorts refused": with_settings(allow_shorts=False),
    "fractional shares": with_settings(whole_shares=False),
    "a symbol's quarantine ignored": Plan(
        lambda ours: replace(ours, market=replace(ours.market, tradable=np.ones_like(ours.market.tradable)))
    ),
}


@dataclass(frozen=True)
class Case:
    ours: Product
    expected: dict[str, Any]


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    """A few markets, and what the reference makes of `rsi2` on them."""
    found = []
    for seed in SEEDS:
        given = random_market(seed)
        market = build_market(given["raw_bars"], given["splits"])
        indicators = {symbol: indicators_of(bars) for symbol, bars in market["bars"].items()}
        days = market["sessions"]
        signals = signals_of(market, indicators, "rsi2", PARAMETERS, given["selected"])
        expected = reference_run(market, indicators, signals, "rsi2", PARAMETERS, days[0], days[-1])
        found.append(Case(from_panel(panel_of(market), PARAMETERS, given["selected"]), expected))
    return found


def run_with(plan: Plan, ours: Product) -> dict[str, Any]:
    ours = plan.product(ours)
    market, params, strategy = ours.market, ours.params("rsi2"), with_limit("rsi2")
    panel, readable = market.panel, market.readable()
    found = find_candidates(panel, readable, strategy, params)
    leave = leave_flags(panel, readable, strategy, params)
    leave[market.suspect] |= SUSPECT
    entries = find_entries(panel, found, market.indicators.atr14, None, market.lag)
    feed = make_feed(panel, found.first, price_entries(entries, market.costs, market.limits, False), leave)
    last = len(panel.sessions) - 1
    outcome = simulate(plan.feed(market, feed), 0, last, terms_of([dict(params)]), market.costs, market.limits)
    return outcome_of(market, "rsi2", outcome, 0, last)


def test_without_a_fault_nothing_differs(cases: list[Case]) -> None:
    assert [difference_of_runs(run_with(Plan(), case.ours), case.expected) for case in cases] == [None] * len(cases)


@pytest.mark.parametrize("fault", FAULTS)
def test_the_reference_catches(fault: str, cases: list[Case]) -> None:
    assert any(difference_of_runs(run_with(FAULTS[fault], case.ours), case.expected) for case in cases)


def test_a_bar_of_the_wrong_session_would_be_caught(cases: list[Case]) -> None:
    """The kernel finds a position's next bar by its session index: off by one, it would trade on other days."""
    late = Plan(feed=lambda _, feed: feed._replace(rows=feed.rows + np.eye(1, 8, ROW_SESSION)))
    assert any(difference_of_runs(run_with(late, case.ours), case.expected) for case in cases)
