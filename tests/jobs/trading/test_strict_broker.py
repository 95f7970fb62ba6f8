"""The order path over a broker that is as slow and as strict as Alpaca: each habit is turned on by the fault script."""

from __future__ import annotations

import dataclasses
from decimal import Decimal
from typing import Any

import pytest

from kobe_jobs.trading.context import TradingContext
from kobe_jobs.trading.market_snapshot import Split
from kobe_jobs.trading.reporting.summary import RunSummary
from kobe_jobs.trading.session import trade_session
from kobe_resources.broker.exchange.bars import ExchangeSplit
from kobe_resources.broker.exchange.embedded import SIMULATED, EmbeddedBroker
from kobe_resources.order_ledger.positions import open_positions
from tests.support.builders import small_market as market

ACCOUNT = "simulated:PA0EMBEDDED0"
SLOW = {"new_after_s": 0.1, "fill_after_s": 0.1, "cancel_after_s": 0.15}


def protected(embedded: EmbeddedBroker) -> dict[str, tuple[float, float | None]]:
    """Symbol to shares and stop price of every position; the law: each has one stop that works, for all of it."""
    rows = embedded.book.state.rows("SELECT * FROM positions ORDER BY symbol")
    stops = [order for order in embedded.book.state.open_orders() if order["kind"] == "stop"]
    assert {(row["symbol"], row["qty"]) for row in rows} == {(stop["symbol"], stop["qty"]) for stop in stops}
    assert len(stops) == len(rows)
    assert {stop["status"] for stop in stops} <= {"new", "accepted"}
    return {stop["symbol"]: (stop["qty"], stop["stop_price"]) for stop in stops}


@pytest.mark.parametrize(
    "settings",
    [SLOW, {"spread_bps": 30}, {"not_shortable": ["*"]}, {"cash_in_lieu": True, "splits_move_stop_prices": False}],
)
def test_two_sessions_end_with_every_position_protected(
    rig: TradingContext, embedded: EmbeddedBroker, settings: dict[str, Any]
) -> None:
    embedded.faults.add({"settings": settings})
    for day in (market.ENTRY_DAY, market.EXIT_DAY):
        embedded.advance_to(day, "open")
        summary = trade_session(rig)
        assert summary.is_clean, summary
        embedded.settle()
        assert protected(embedded)
        embedded.advance_to(day, "close")
    assert not set(market.LEAVING) & set(protected(embedded))


def test_after_a_split_a_stop_that_kept_its_price_is_replaced_at_the_new_one(
    rig: TradingContext, embedded: EmbeddedBroker
) -> None:
    trade_session(rig)
    embedded.advance_to(market.EXIT_DAY, "open")
    assert protected(embedded)["S04"] == (3.0, 21.61)
    embedded.book.state.split("S04", 2.0, whole=True, moves_stops=False, price=12.0, at="2024-03-07T14:00:00Z")
    assert protected(embedded)["S04"] == (6.0, 21.61)
    snapshot = market.make_snapshot(splits={"S04": (Split("S04", market.EXIT_DAY, 1.0, 2.0),)})
    assert trade_session(dataclasses.replace(rig, snapshot=snapshot)).is_clean
    assert protected(embedded)["S04"] == (6.0, 10.8)


def test_in_stage_simulated_a_split_that_leaves_a_fraction_leaves_no_position_bare(
    rig: TradingContext, embedded: EmbeddedBroker
) -> None:
    trade_session(rig)
    # The stage's own strictness from here on.
    embedded.faults.strictness = SIMULATED
    embedded.advance_to(market.EXIT_DAY, "open")
    embedded.book._split(ExchangeSplit("S04", market.EXIT_DAY, 1.5), embedded.moment)
    snapshot = market.make_snapshot(splits={"S04": (Split("S04", market.EXIT_DAY, 2.0, 3.0),)}, signals={})
    summary = trade_session(dataclasses.replace(rig, snapshot=snapshot))
    assert summary.is_clean, summary
    assert "the split of S04 left 0.5 of a share" in str(summary.notes)
    assert protected(embedded)["S04"][0] == 4.0


def over_a_kept_fraction(rig: TradingContext, embedded: EmbeddedBroker, symbol: str) -> tuple[TradingContext, RunSummary]:
    """(rig, summary) of the session after a 3-for-2 split, whose half share the broker keeps and trades by day alone."""
    trade_session(rig)
    embedded.faults.add({"settings": {"cash_in_lieu": False, "fractions_only_by_day": True, "no_offer_until_s": 0}})
    embedded.advance_to(market.EXIT_DAY, "open")
    embedded.book._split(ExchangeSplit(symbol, market.EXIT_DAY, 1.5), embedded.moment)
    told = market.make_snapshot(splits={symbol: (Split(symbol, market.EXIT_DAY, 2.0, 3.0),)}, signals={})
    morning = dataclasses.replace(rig, snapshot=told, settings=market.make_settings(resolve_timeout_s=0.1))
    return morning, trade_session(morning)


@pytest.mark.usefixtures("only_waiting_takes_time")
def test_a_fraction_that_the_broker_keeps_after_a_split_is_named_with_its_mend(
    rig: TradingContext, embedded: EmbeddedBroker
) -> None:
    morning, summary = over_a_kept_fraction(rig, embedded, "S04")
    assert summary.is_clean, summary
    notes = "\n".join(summary.notes)
    assert "was refused" not in notes
    assert "the broker keeps 0.5 of a share of S04 that its split left" in notes
    assert [order["qty"] for order in embedded.book.state.open_orders() if order["symbol"] == "S04"] == [4.0]
    embedded.book.state.run("UPDATE positions SET qty = 4.0 WHERE symbol = 'S04'")
    again = trade_session(morning)
    assert "keeps" not in "\n".join(again.notes)
    assert protected(embedded)["S04"][0] == 4.0


@pytest.mark.usefixtures("only_waiting_takes_time")
def test_of_shares_with_a_fraction_that_the_broker_keeps_the_whole_ones_leave(
    rig: TradingContext, embedded: EmbeddedBroker
) -> None:
    morning, summary = over_a_kept_fraction(rig, embedded, "S01")
    assert "S01" in market.LEAVING
    assert {held.symbol: held.qty for held in open_positions(rig.ledger, ACCOUNT)}["S01"] == Decimal("0.5")
    assert "S01 has no protective stop" in summary.halted
    posts = embedded.requests().count(("POST", "/v2/orders"))
    trade_session(morning)
    assert embedded.requests().count(("POST", "/v2/orders")) == posts, "half a share takes no order"
    embedded.book.state.run("DELETE FROM positions WHERE symbol = 'S01'")
    assert trade_session(morning).is_clean
