"""Settlement: what an answer of the broker changes in the ledger, and which answers it does not believe."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from kobe_resources.broker.protocol import BrokerOrder
from kobe_resources.order_ledger import OrderLedger, OrderState
from kobe_resources.order_ledger import orders as book
from kobe_resources.order_ledger.positions import open_positions, position, rescale
from kobe_resources.order_ledger.settlement import OrderMismatch, book_late_fill, settle
from tests.support.builders.trading import ACCOUNT, OPENED, SESSION, answer, order_plan

BUDGET = Decimal(1000)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[OrderLedger]:
    with OrderLedger(tmp_path / "orders.sqlite", disposable=True) as ledger:
        yield ledger


def submitted(ledger: OrderLedger, **changes: object) -> book.LedgerOrder:
    with ledger.write() as write:
        order = book.plan(write, order_plan(**changes), BUDGET)
        claimed = book.claim(write, order.client_order_id, "me")
    assert claimed
    return claimed


def settled(ledger: OrderLedger, order: book.LedgerOrder, told: BrokerOrder, at: dt.datetime = OPENED) -> book.LedgerOrder:
    with ledger.write() as write:
        return settle(write, order.client_order_id, told, at)


def bought(ledger: OrderLedger, qty: str = "3", price: str = "60") -> str:
    """A long position; its id."""
    entry = submitted(ledger, qty=Decimal(qty), reserved=Decimal(qty) * 60)
    settled(ledger, entry, answer(entry, "filled", qty, price))
    return entry.client_order_id


def leaving(ledger: OrderLedger, position_id: str, qty: str = "3", tag: str = book.EXIT) -> book.LedgerOrder:
    kind = {"kind": "stop", "limit_price": None, "stop_price": Decimal("57.5")} if tag == book.STOP else {}
    return submitted(
        ledger, side="sell", tag=tag, qty=Decimal(qty), reserved=Decimal(0), position_id=position_id, reason="rsi_exit", **kind
    )


@pytest.mark.parametrize("average", [None, "0", "-1", "NaN", "Infinity"])
def test_a_fill_without_a_price_is_not_believed(ledger: OrderLedger, average: str | None) -> None:
    order = submitted(ledger)
    with pytest.raises(OrderMismatch, match="filled 1 at"):
        settled(ledger, order, answer(order, "filled", "1", average))
    assert open_positions(ledger, ACCOUNT) == []


def test_shares_without_end_are_not_believed(ledger: OrderLedger) -> None:
    order = submitted(ledger)
    with pytest.raises(OrderMismatch, match="Infinity of 1 shares"):
        settled(ledger, order, answer(order, "partially_filled", "Infinity", "60"))


def test_a_stop_that_is_called_filled_without_a_share_is_not_believed(ledger: OrderLedger) -> None:
    stop = leaving(ledger, bought(ledger), tag=book.STOP)
    with pytest.raises(OrderMismatch, match="called filled"):
        settled(ledger, stop, answer(stop, "filled", "0", "57.5"))


@pytest.mark.parametrize("changes", [{"qty": Decimal(2)}, {"limit_price": Decimal("60.01")}])
def test_an_entry_of_another_size_or_limit_is_not_ours(ledger: OrderLedger, changes: dict[str, Decimal]) -> None:
    order = submitted(ledger)
    with pytest.raises(OrderMismatch, match="another size or limit"):
        settled(ledger, order, answer(order, "new", **changes))


@pytest.mark.parametrize("limit", [None, Decimal("60.000000001")])
def test_a_limit_that_is_not_told_or_differs_by_noise_is_ours(ledger: OrderLedger, limit: Decimal | None) -> None:
    order = submitted(ledger)
    assert settled(ledger, order, answer(order, "new", limit_price=limit)).state is OrderState.ACCEPTED


def test_an_exit_that_fills_for_another_size_is_not_ours_without_a_split(ledger: OrderLedger) -> None:
    order = leaving(ledger, bought(ledger))
    with pytest.raises(OrderMismatch, match="fills for 6 shares"):
        settled(ledger, order, answer(order, "filled", "6", "31", qty=Decimal(6)))
    nobodys = submitted(ledger, side="sell", tag="exit.2", reserved=Decimal(0))
    with pytest.raises(OrderMismatch, match="fills for 2 shares"):
        settled(ledger, nobodys, answer(nobodys, "filled", "2", "60", qty=Decimal(2)))


@pytest.mark.parametrize(("resized", "is_ours"), [("6", True), ("6.5", True), ("7", False), ("3", True), ("2", False)])
def test_a_stop_that_a_split_resized_is_ours_within_a_share(ledger: OrderLedger, resized: str, is_ours: bool) -> None:
    held = bought(ledger)
    stop = leaving(ledger, held, tag=book.STOP)
    with ledger.write() as write:
        rescale(write, open_positions(write, ACCOUNT)[0], Decimal(1), Decimal(2), SESSION + dt.timedelta(1))
    told = answer(stop, "filled", resized, "28.75", qty=Decimal(resized))
    if is_ours:
        assert settled(ledger, stop, told, OPENED + dt.timedelta(1)).filled_qty == Decimal(resized)
    else:
        with pytest.raises(OrderMismatch, match="a split that the bars do not know yet"):
            settled(ledger, stop, told, OPENED + dt.timedelta(1))


def test_shares_that_left_before_a_split_count_in_shares_and_dollars_of_now(ledger: OrderLedger) -> None:
    """3 shares bought at 60 are 6 at 30 after 1 for 2; 1 that left for 61 before it was told are 2 at 30.50."""
    held = bought(ledger)
    order = leaving(ledger, held)
    with ledger.write() as write:
        rescale(write, open_positions(write, ACCOUNT)[0], Decimal(1), Decimal(2), SESSION + dt.timedelta(1))
    settled(ledger, order, answer(order, "canceled", "1", "61"))
    rest = position(ledger, held)
    assert rest
    assert (rest.qty, rest.exit_qty, rest.exit_price) == (4, 2, Decimal("30.5"))


def test_an_average_that_the_broker_rounded_gives_no_part_for_nothing(ledger: OrderLedger) -> None:
    """10 shares at 60.05 are $600.50; 10.0005 at 60.046 are $600.49, so that the last part would have brought money."""
    order = submitted(ledger, qty=Decimal(11), reserved=Decimal(660))
    for filled, average in (("10", "60.05"), ("10.0005", "60.046")):
        settled(ledger, order, answer(order, "partially_filled", filled, average))
    assert [Decimal(row["price"]) for row in ledger.rows("SELECT price FROM fills ORDER BY rowid")] == [
        Decimal("60.05"),
        Decimal("60.046"),
    ]


def test_an_exit_belongs_to_the_day_of_new_york_and_an_entry_to_its_session(ledger: OrderLedger) -> None:
    entry = submitted(ledger)
    settled(ledger, entry, answer(entry, "filled", "1", "60"), OPENED + dt.timedelta(1))
    order = leaving(ledger, entry.client_order_id, "1")
    # 01:00 UTC on the 7th is the evening of the 6th there.
    settled(ledger, order, answer(order, "filled", "1", "61"), dt.datetime(2024, 3, 7, 1, tzinfo=dt.UTC))
    sessions = [row["session"] for row in ledger.rows("SELECT session FROM fills ORDER BY rowid")]
    assert sessions == ["2024-03-05", "2024-03-06"]


def test_a_short_sale_above_its_limit_uses_no_more_budget_than_it_was_judged_on(ledger: OrderLedger) -> None:
    order = submitted(ledger, side="sell")
    assert settled(ledger, order, answer(order, "filled", "1", "61")).spent == 60


def test_a_fill_dearer_than_its_reserve_leaves_nothing_reserved(ledger: OrderLedger) -> None:
    order = submitted(ledger, qty=Decimal(2), reserved=Decimal(60))
    part = settled(ledger, order, answer(order, "partially_filled", "1", "60.5"))
    assert (part.spent, part.reserved) == (Decimal("60.5"), 0)


def test_an_order_that_ended_reserves_nothing_and_belongs_to_no_run(ledger: OrderLedger) -> None:
    order = submitted(ledger)
    assert order.owner == "me"
    ended = settled(ledger, order, answer(order, "canceled"))
    assert (ended.reserved, ended.owner) == (0, None)


@pytest.mark.parametrize(("filled", "state"), [("1", OrderState.PARTIAL), ("3", OrderState.FILLED)])
def test_a_late_fill_on_a_person_s_word_is_booked_with_its_state(ledger: OrderLedger, filled: str, state: OrderState) -> None:
    order = submitted(ledger, qty=Decimal(3), reserved=Decimal(180))
    settled(ledger, order, answer(order, "canceled"))
    with ledger.write() as write:
        late = book_late_fill(write, order.client_order_id, answer(order, "canceled", filled, "60"), OPENED, "seen")
    assert (late.state, late.reserved, late.spent) == (state, 0, 60 * Decimal(filled))
    assert open_positions(ledger, ACCOUNT)[0].qty == Decimal(filled)
    with pytest.raises(OrderMismatch), ledger.write() as write:
        book_late_fill(write, order.client_order_id, answer(order, "filled", "3", "60", symbol="PEP"), OPENED, "seen")
