"""Positions: what fills, splits, flags and new names make of them, by figures worked out by hand."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Literal

import pytest

from kobe_resources.order_ledger import OrderLedger
from kobe_resources.order_ledger import orders as book
from kobe_resources.order_ledger.fills import cash_of_fills
from kobe_resources.order_ledger.positions import (
    UNLISTED,
    Position,
    age,
    apply_fill,
    flag_for_exit,
    is_same_qty,
    leave,
    position,
    positions_since,
    realised_before,
    rename,
    rescale,
)
from kobe_resources.order_ledger.settlement import settle
from tests.support.builders.trading import ACCOUNT, OPENED, SESSION, answer, order_plan

NEXT = SESSION + dt.timedelta(1)
Side = Literal["buy", "sell"]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[OrderLedger]:
    with OrderLedger(tmp_path / "orders.sqlite", disposable=True) as ledger:
        yield ledger


def entered(ledger: OrderLedger, side: Side = "buy", symbol: str = "KO") -> str:
    """Three shares at 60, their stop 2.50 away; the id."""
    with ledger.write() as write:
        plan = order_plan(symbol, side=side, qty=Decimal(3), reserved=Decimal(180))
        order = book.plan(write, plan, Decimal(1000))
        book.claim(write, order.client_order_id, "me")
        settle(write, order.client_order_id, answer(order, "filled", "3", "60"), OPENED)
    return order.client_order_id


def of(ledger: OrderLedger, position_id: str) -> Position:
    found = position(ledger, position_id)
    assert found
    return found


def left(ledger: OrderLedger, position_id: str, qty: str, price: str, session: dt.date = SESSION) -> Position:
    with ledger.write() as write:
        leave(write, position_id, Decimal(qty), Decimal(price), session, "stop")
    return of(ledger, position_id)


def split(ledger: OrderLedger, position_id: str, before: int, after: int) -> Position:
    with ledger.write() as write:
        rescale(write, of(ledger, position_id), Decimal(before), Decimal(after), NEXT)
    return of(ledger, position_id)


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [("3", "3.000001", True), ("3", "3.00001", False), ("2000000", "2000001.9", True), ("2000000", "2000003", False)],
)
def test_two_numbers_of_shares_are_the_same_within_a_millionth(one: str, other: str, is_same: bool) -> None:
    assert is_same_qty(Decimal(one), Decimal(other)) == is_same_qty(Decimal(other), Decimal(one)) == is_same


def test_what_left_in_a_session_was_held_at_the_close_before_it(ledger: OrderLedger) -> None:
    held = left(ledger, entered(ledger), "3", "61", NEXT)
    assert [row.id for row in positions_since(ledger, ACCOUNT, NEXT)] == [held.id]
    assert positions_since(ledger, ACCOUNT, NEXT + dt.timedelta(1)) == []


def test_profit_counts_from_the_session_after_the_one_that_it_was_made_in(ledger: OrderLedger) -> None:
    """A long sold 1 higher made 3 × 1, a short bought 2 lower 3 × 2."""
    left(ledger, entered(ledger), "3", "61")
    left(ledger, entered(ledger, "sell", "PEP"), "3", "58", NEXT)
    days = [SESSION + dt.timedelta(n) for n in range(3)]
    assert [realised_before(ledger, ACCOUNT, day) for day in days] == [0.0, 3.0, 9.0]


def test_the_cash_of_fills_is_counted_from_the_one_after_the_last_seen(ledger: OrderLedger) -> None:
    entered(ledger)
    first, seen = cash_of_fills(ledger, ACCOUNT)
    assert first == -180
    assert cash_of_fills(ledger, ACCOUNT, seen) == (0, seen)
    entered(ledger, "sell", "PEP")
    assert cash_of_fills(ledger, ACCOUNT, seen) == (180, seen + 1)


def test_shares_that_no_broker_can_hold_close_a_position(ledger: OrderLedger) -> None:
    held = left(ledger, entered(ledger), "2.9999999995", "61")
    assert (held.is_open, held.qty) == (False, 0)
    other = left(ledger, entered(ledger, symbol="PEP"), "2.999999998", "61")
    assert (other.is_open, other.qty) == (True, Decimal("2e-9"))


def test_a_late_fill_of_its_entry_opens_a_position_again(ledger: OrderLedger) -> None:
    held = left(ledger, entered(ledger), "3", "61")
    assert held.closed_at
    with ledger.write() as write:
        apply_fill(write, book.get(write, held.id), Decimal(1), Decimal(64), SESSION)
    again = of(ledger, held.id)
    assert (again.is_open, again.closed_at, again.qty, again.entry_price) == (True, None, 1, 61)
    assert again.stop_price == Decimal("58.5")


def test_the_first_flag_of_the_bars_stays_and_another_word_replaces_it(ledger: OrderLedger) -> None:
    held = of(ledger, entered(ledger))
    with ledger.write() as write:
        age(write, held, 4, SESSION, "rsi_exit")
        age(write, of(ledger, held.id), 5, NEXT, "time_stop")
    assert (of(ledger, held.id).flag, of(ledger, held.id).bars_held) == ("rsi_exit", 5)
    with ledger.write() as write:
        flag_for_exit(write, held, UNLISTED)
    assert of(ledger, held.id).flag == UNLISTED


@pytest.mark.parametrize(("side", "stop"), [("buy", "57.5"), ("sell", "62.5")])
def test_a_split_leaves_a_stop_where_it_divides_it_and_free_of_noise(ledger: OrderLedger, side: Side, stop: str) -> None:
    """57.50 for three to one is 172.50; for one to three 19.1666..., which stays: the order that carries it is rounded."""
    held = split(ledger, entered(ledger, side), 3, 1)
    assert held.stop_price == Decimal(stop) * 3
    other = split(ledger, entered(ledger, side, "PEP"), 1, 3)
    assert abs(other.stop_price - Decimal(stop) / 3) < Decimal("1e-20")


def test_what_had_left_before_a_split_is_split_too_and_its_dollars_stay(ledger: OrderLedger) -> None:
    held = entered(ledger)
    left(ledger, held, "1", "61")
    found = split(ledger, held, 1, 2)
    assert (found.qty, found.exit_qty, found.exit_price, found.exit_value) == (4, 2, Decimal("30.5"), 61)


def test_a_fill_of_the_day_of_a_split_counts_in_shares_of_that_day(ledger: OrderLedger) -> None:
    held = entered(ledger)
    with ledger.write() as write:
        plan = order_plan(side="sell", tag="exit", qty=Decimal(6), reserved=Decimal(0), position_id=held)
        order = book.plan(write, plan, Decimal(1000))
    split(ledger, held, 1, 2)
    with ledger.write() as write:
        apply_fill(write, order, Decimal(6), Decimal(31), NEXT)
    found = of(ledger, held)
    assert (found.is_open, found.exit_qty, found.exit_price) == (False, 6, 31)


def test_a_new_name_ends_the_flag_of_one_that_was_gone_and_no_other(ledger: OrderLedger) -> None:
    gone, leaving = entered(ledger), entered(ledger, symbol="PEP")
    with ledger.write() as write:
        flag_for_exit(write, of(ledger, gone), UNLISTED)
        flag_for_exit(write, of(ledger, leaving), "time_stop")
    with ledger.write() as write:
        # Each takes the name that the other gives up.
        rename(write, [(of(ledger, gone), "PEP"), (of(ledger, leaving), "KO")], "renamed")
    found = [of(ledger, gone), of(ledger, leaving)]
    assert [(row.symbol, row.flag) for row in found] == [("PEP", None), ("KO", "time_stop")]
