"""Shares of both sides, by hand: what is a difference, what is a split or a person's, and on whose word it halts."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from kobe_jobs.trading.reconcile.compare import NOT_OURS, Reconciliation, compare_positions, is_split, without_noted
from kobe_jobs.trading.reconcile.difference import Difference
from kobe_resources.broker.protocol import BrokerOrder, BrokerPosition, OrderStatus
from kobe_resources.order_ledger import Position
from tests.support.builders.trading import ACCOUNT, OPENED, SESSION, SIGNAL_SESSION


def held(qty: str, **changes: Any) -> Position:
    """Ten shares of KO at $60, or others; negative when short."""
    shares = Decimal(qty)
    values: dict[str, Any] = {
        "id": "one", "account": ACCOUNT, "strategy": "rsi2", "symbol": "KO", "side": "long" if shares > 0 else "short",
        "signal_session": SIGNAL_SESSION, "entry_session": SESSION, "entry_qty": abs(shares), "entry_price": Decimal(60),
        "qty": abs(shares), "stop_distance": Decimal(2), "stop_price": Decimal(58), "split_factor": Decimal(1),
        "splits_through": SESSION, "bars_held": 1, "bars_through": None, "flag": None, "exit_session": None,
        "exit_qty": Decimal(0), "exit_value": Decimal(0), "exit_reason": None, "is_open": True, "opened_at": OPENED,
        "closed_at": None,
    }  # fmt: skip
    return Position(**{**values, **changes})


def there(qty: str, average: str = "60", unread: str = "", symbol: str = "KO") -> BrokerPosition:
    return BrokerPosition(symbol, Decimal(qty), Decimal(0), Decimal(average), unread)


@pytest.mark.parametrize(
    ("broker", "noted", "left"),
    [
        ("7", "4", "3"), ("4", "4", "0"), ("3", "4", "0"), ("-3", "4", "-3"), ("0", "4", "0"),
        ("-7", "-4", "-3"), ("-3", "-4", "0"), ("3", "-4", "3"), ("7", "0", "7"), ("-7", "0", "-7"),
    ],
)  # fmt: skip
def test_a_person_s_shares_are_taken_off_and_turn_nothing_round(broker: str, noted: str, left: str) -> None:
    assert without_noted(Decimal(broker), Decimal(noted)) == Decimal(left)


@pytest.mark.parametrize(
    ("ratio", "fall", "expected"),
    [
        ("2", "2", True), ("2", "1.7", True), ("2", "2.4", True), ("2", "1.6", False), ("2", "2.6", False),
        ("0.1", "0.1", True),
        ("1.1", "1.1", False), ("1.11", "1.11", True), ("0.9", "0.9", False), ("2", "0.5", False), ("2", "1", False),
        ("-2", "-2", False), ("2", "0", False),
    ],
)  # fmt: skip
def test_a_split_multiplies_the_shares_by_what_it_divides_the_price_by(ratio: str, fall: str, expected: bool) -> None:
    assert is_split(Decimal(ratio), Decimal(fall)) is expected


Row = tuple[str, str, bool]
"""Kind and symbol of a row, and whether it halts."""
COMPARED: dict[str, tuple[list[Position], list[BrokerPosition], Mapping[str, str], Mapping[str, str], list[Row]]] = {
    "the same shares": ([held("10")], [there("10")], {}, {}, []),
    "the same shares short": ([held("-10")], [there("-10")], {}, {}, []),
    "the other way round": ([held("10")], [there("-10")], {}, {}, [("position", "KO", True)]),
    "one more": ([held("10")], [there("11")], {}, {}, [("position", "KO", True)]),
    "one more, a person's": ([held("10")], [there("11")], {}, {"KO": "1"}, []),
    "fewer than ours, the person's gone": ([held("10")], [there("9")], {}, {"KO": "1"}, [("position", "KO", True)]),
    "none there": ([held("10")], [], {}, {}, [("position", "KO", True)]),
    "dust there alone": ([], [there("0.0000001")], {}, {}, []),
    "a stranger's": ([], [there("2")], {}, {}, [("position", "KO", True)]),
    "a stranger's, accepted": ([], [there("2")], {}, {"KO": "2"}, []),
    "ours that cannot be read": ([held("10")], [there("0", unread="qty")], {}, {}, [("position", "KO", True)]),
    "a stranger's that cannot be read": ([], [there("0", unread="qty")], {}, {}, [("position", "KO", False)]),
    "renamed": ([held("10")], [there("10", symbol="COKE")], {"KO": "COKE"}, {}, [("symbol", "KO", True)]),
    "a fraction that its split left": (
        [held("3.5", split_factor=Decimal(2))], [there("3")], {}, {}, [("position", "KO", False)]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", COMPARED)
def test_shares_that_differ_are_a_row_each_and_halt_unless_they_are_nobody_s_doubt(name: str) -> None:
    ours, theirs, renamed, noted, rows = COMPARED[name]
    found = compare_positions(ours, theirs, renamed, noted)
    assert [(row.kind, row.what, row.halts) for row in found] == rows


@pytest.mark.parametrize(
    ("broker", "words"),
    [
        (there("20", "30"), "this is a split, about 2 for 1"),
        (there("20", "60"), "20 shares"),
        (there("20", "0"), "20 shares"),
        (there("5", "120"), "this is a split, about 0.5 for 1"),
    ],
    ids=str,
)
def test_a_split_is_named_where_the_price_moved_with_the_shares(broker: BrokerPosition, words: str) -> None:
    (row,) = compare_positions([held("10")], [broker], {}, {})
    assert row.broker.endswith(words)


def test_a_split_that_the_ledger_knows_first_is_told_to_wait_for() -> None:
    (row,) = compare_positions([held("20", split_factor=Decimal(2))], [there("10")], {}, {})
    assert "has not booked the split yet" in row.broker


def test_shares_noted_as_a_person_s_are_named_beside_as_many_of_ours_and_are_no_split() -> None:
    (row,) = compare_positions([held("2")], [there("2")], {}, {"KO": "2"})
    assert (row.ledger, row.broker) == ("2 shares", "2 shares, of which 2 are noted as yours")


def order(side: str, filled: str, client_id: str = "hand", symbol: str = "KO") -> BrokerOrder:
    shares = Decimal(filled)
    return BrokerOrder(
        f"b-{client_id}", client_id, symbol, side, "market", shares, shares, None, OrderStatus.FILLED, "filled", None, None,
        OPENED,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("ours", "broker", "orders", "differs"),
    [
        ("10", "12", [order("buy", "2")], False),
        ("10", "13", [order("buy", "2")], True),
        ("10", "8", [order("sell", "2")], True),
        ("-10", "-12", [order("sell", "2")], False),
        ("-10", "-8", [order("buy", "2")], True),
        ("10", "12", [order("buy", "2", symbol="PEP")], True),
        ("10", "12", [order("buy", "2", client_id="ours")], True),
        ("10", "12", [order("buy", "3"), order("sell", "1")], False),
        ("10", "20", [], True),
    ],
)
def test_what_a_person_s_orders_add_to_ours_leaves_our_shares_as_they_are(
    ours: str, broker: str, orders: list[BrokerOrder], differs: bool
) -> None:
    rows = [Difference("position", "KO", f"{ours} shares", f"{broker} shares"), Difference("order", "hand", NOT_OURS, "filled")]
    snapshot = {"ledger": {"KO": ours}, "positions": {"KO": broker}}
    found = Reconciliation(tuple(rows), snapshot, orders=tuple(orders))
    assert found.differing == (frozenset({"KO"}) if differs else frozenset())
