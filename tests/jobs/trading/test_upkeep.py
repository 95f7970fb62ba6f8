"""Before a run decides: splits by what was applied, bars counted from bars, positions without bars or without a strategy."""

from __future__ import annotations

import dataclasses
import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from kobe_jobs.trading import context as trading_context
from kobe_jobs.trading.context import SessionContext, TradingContext, open_session
from kobe_jobs.trading.executor import resolve
from kobe_jobs.trading.market_snapshot import Bars, MarketSnapshot, Split
from kobe_jobs.trading.reconcile.accept import accept_differences
from kobe_jobs.trading.reconcile.compare import reconcile, reconcile_account
from kobe_jobs.trading.roll_forward import age_positions, apply_splits, name_without_bars
from kobe_jobs.trading.session import trade_session
from kobe_resources.broker.exchange.clock import stamp
from kobe_resources.broker.exchange.embedded import EmbeddedBroker
from kobe_resources.order_ledger import Position
from kobe_resources.order_ledger.positions import open_positions
from tests.jobs.trading.test_session import rewrite
from tests.support.builders import small_market as market

ACCOUNT = "simulated:PA0EMBEDDED0"


@pytest.fixture
def context(rig: TradingContext, embedded: EmbeddedBroker) -> SessionContext:
    """The morning after the entry day."""
    assert trade_session(rig).is_clean
    embedded.advance_to(market.EXIT_DAY, "open")
    return open_session(rig, "rsi2")


def held(context: SessionContext, symbol: str = "S00") -> Position:
    return next(position for position in open_positions(context.ledger, ACCOUNT) if position.symbol == symbol)


def with_split(context: SessionContext, executed: dt.date) -> SessionContext:
    splits = {"S00": (Split("S00", executed, 1.0, 2.0),)}
    return dataclasses.replace(context, snapshot=dataclasses.replace(context.snapshot, splits=splits))


def shortened(bars: Bars, gone: dt.date) -> Bars:
    keep = bars.session != gone
    columns = {name: values[keep] for name, values in bars.indicators.items()}
    return Bars(bars.session[keep], bars.close[keep], bars.factor[keep], columns)


def without_bar(context: SessionContext, symbol: str, *days: dt.date) -> SessionContext:
    bars = context.snapshot.bars[symbol]
    for day in days:
        bars = shortened(bars, day)
    return dataclasses.replace(
        context, snapshot=dataclasses.replace(context.snapshot, bars={**context.snapshot.bars, symbol: bars})
    )


def test_a_split_that_the_files_bring_late_is_applied_and_only_once(context: SessionContext) -> None:
    assert apply_splits(context) == 0
    late = with_split(context, market.EXIT_DAY)
    assert apply_splits(late) == 1
    assert apply_splits(late) == 0
    moved = with_split(context, market.SESSIONS[4])
    assert apply_splits(dataclasses.replace(moved, hours=dataclasses.replace(context.hours, session=market.SESSIONS[4]))) == 0
    now = held(context)
    assert (now.qty, now.entry_qty, now.split_factor) == (6, 6, 2)
    assert now.entry_price * now.entry_qty == pytest.approx(Decimal("60.03"), abs=Decimal("0.01"))


def test_a_stop_that_sold_a_part_before_a_split_goes_on_for_the_rest(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    assert trade_session(rig).is_clean
    state = embedded.book.state

    def sell(shares: float) -> None:
        order = next(row for row in state.open_orders("S00") if row["kind"] == "stop")
        state.book_fill(order, shares, order["stop_price"], stamp(embedded.book.now()))

    sell(1.0)
    embedded.advance_to(market.EXIT_DAY, "open")
    state.split("S00", 2.0, whole=False, moves_stops=True, price=0.0, at=stamp(embedded.book.now()))
    sell(1.0)
    assert rig.snapshot is not None
    snapshot = dataclasses.replace(rig.snapshot, splits={"S00": (Split("S00", market.EXIT_DAY, 1.0, 2.0),)}, signals={})
    summary = trade_session(dataclasses.replace(rig, snapshot=snapshot))
    assert summary.is_clean, summary
    # Of three shares two were left, which became four, of which one was sold.
    position = next(p for p in open_positions(rig.ledger, ACCOUNT) if p.symbol == "S00")
    assert position.qty == 3
    assert [(row["qty"] - row["filled_qty"], row["kind"]) for row in state.open_orders("S00")] == [(3.0, "stop")]


def test_two_splits_of_one_ratio_between_two_runs_are_both_applied(context: SessionContext) -> None:
    before = held(context).qty
    twice = (Split("S00", market.EXIT_DAY, 1.0, 2.0), Split("S00", market.SESSIONS[5], 1.0, 2.0))
    later = dataclasses.replace(
        context,
        snapshot=dataclasses.replace(context.snapshot, splits={"S00": twice}),
        hours=dataclasses.replace(context.hours, session=market.SESSIONS[5]),
        today=market.SESSIONS[5],
    )
    assert apply_splits(later) == 2
    assert held(later).qty == 4 * before


def test_looking_only_counts_a_split_without_applying_it(context: SessionContext, embedded: EmbeddedBroker) -> None:
    embedded.book.state.split("S00", 2.0, whole=False, moves_stops=True, price=0.0, at="")
    late = with_split(context, market.EXIT_DAY)
    found = reconcile_account(late, "preflight", look_only=True)
    assert "S00" not in found.differing
    assert held(context).qty == 3


def test_a_difference_that_is_a_split_is_told_and_not_accepted(context: SessionContext, embedded: EmbeddedBroker) -> None:
    embedded.book.state.split("S00", 10.0, whole=False, moves_stops=True, price=0.0, at="")
    found = reconcile(context, "by hand")
    assert "this is a split" in found.describe()
    assert found.differing >= {"S00"}
    rest = accept_differences(context, found, "odd")
    assert any("this is a split" in row.broker for row in rest if row.what == "S00")
    assert held(context).qty == 3
    resting = embedded.book.state.rows("SELECT qty FROM orders WHERE kind = 'stop' AND status = 'new' AND symbol = 'S00'")
    assert [row["qty"] for row in resting] == [30.0], "the broker's stop was not touched"


def test_bars_that_come_late_are_counted_in(context: SessionContext) -> None:
    later = dataclasses.replace(context, signal_session=market.SESSIONS[4])
    age_positions(without_bar(later, "S00", market.EXIT_DAY))
    assert held(context).bars_held == 2
    age_positions(later)
    assert held(context).bars_held == 3


def test_a_stock_without_bars_is_told_then_a_person_is_asked(context: SessionContext) -> None:
    first = without_bar(context, "S00", market.ENTRY_DAY)
    assert name_without_bars(first) == ""
    assert any("S00" in note for note in first.notes)
    second = without_bar(
        dataclasses.replace(context, signal_session=market.EXIT_DAY, notes=[]), "S00", market.ENTRY_DAY, market.EXIT_DAY
    )
    assert "S00" in name_without_bars(second)
    assert name_without_bars(dataclasses.replace(context, notes=[])) == ""


def test_bars_are_read_of_what_a_killed_run_may_have_bought(
    context: SessionContext, rig: TradingContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*asked: Any) -> MarketSnapshot:
        full, also = market.make_snapshot(signals={}), asked[-1]
        return dataclasses.replace(full, bars={symbol: bars for symbol, bars in full.bars.items() if symbol in also})

    monkeypatch.setattr(trading_context, "load_market_snapshot", load)
    unbooked = "state = 'SUBMITTING', filled_qty = '0', broker_order_id = NULL, acknowledged = 0"
    rewrite(
        context,
        f"UPDATE intents SET {unbooked} WHERE leg = 'entry' AND symbol = 'S00'",
        "DELETE FROM positions WHERE symbol = 'S00'",
        "DELETE FROM fills WHERE symbol = 'S00'",
    )
    later = open_session(dataclasses.replace(rig, snapshot=None), "rsi2")
    resolve(later)
    assert held(later).qty == 3
    assert name_without_bars(later) == ""
    assert later.notes == [], "its bars are there"
    age_positions(later)
    assert held(later).bars_held == 1


@pytest.mark.parametrize(
    ("close", "released", "flag"),
    [(30.0, (), "suspect"), (30.0, ("S00",), None), (10.0, (), None)],
    ids=["a gain", "released by a person", "a loss"],
)
def test_a_position_leaves_behind_a_gain_that_is_doubted(
    context: SessionContext, close: float, released: tuple[str, ...], flag: str | None
) -> None:
    bars = context.snapshot.bars["S00"]
    day = bars.session == np.datetime64(market.ENTRY_DAY)
    odd = dataclasses.replace(bars, close=np.where(day, close, bars.close), suspect=day)
    universe = context.settings.universe.model_copy(update={"release": released})
    later = dataclasses.replace(
        context, settings=context.settings.model_copy(update={"universe": universe}),
        snapshot=dataclasses.replace(context.snapshot, bars={**context.snapshot.bars, "S00": odd}),
    )  # fmt: skip
    age_positions(later)
    assert held(context).flag == flag


def test_a_position_of_a_strategy_that_is_gone_is_named_and_leaves_by_no_rule(context: SessionContext) -> None:
    with context.ledger.write() as write:
        write.execute("UPDATE positions SET strategy = 'gone' WHERE symbol = 'S01'")
    later = dataclasses.replace(context, signal_session=market.SESSIONS[-1])
    age_positions(later)
    assert held(context, "S01").flag is None
    assert held(context, "S02").flag == "rsi_exit"
    assert any("'gone'" in note and "S01" in note for note in later.notes)


def test_a_bare_position_is_named_by_the_comparison_of_the_account(context: SessionContext, embedded: EmbeddedBroker) -> None:
    stop = embedded.book.state.row("SELECT id FROM orders WHERE kind = 'stop' AND symbol = 'S00'")
    assert stop is not None
    embedded.book.cancel(stop["id"])
    found = reconcile_account(context, "by hand")
    assert not found.agrees
    assert ("stop", "S00") in {(row.kind, row.what) for row in found.differences}
    assert accept_differences(context, found, "the broker lost it") == []
    assert reconcile_account(context, "after").agrees
