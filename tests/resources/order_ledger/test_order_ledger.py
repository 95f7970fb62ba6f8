"""The order ledger: ids, moves, budget, fills, positions, claims; one transaction with the audit record or nothing."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import itertools
import json
import sqlite3
import tempfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kobe_resources.errors import KobeError
from kobe_resources.order_ledger import IllegalMove, LedgerBusy, LedgerUnusable, OrderLedger, OrderState, client_order_id
from kobe_resources.order_ledger import orders as book
from kobe_resources.order_ledger.positions import held_symbols, open_positions, position, rescale
from kobe_resources.order_ledger.sessions import BegunOtherwise, SessionTaken, claim_of, claim_session, end_session
from kobe_resources.order_ledger.settlement import OrderMismatch, settle
from kobe_resources.order_ledger.states import MOVES, check_move
from tests.support.builders.trading import ACCOUNT, OPENED, SESSION, SIGNAL_SESSION, answer, order_plan
from tests.support.drivers.ledger_child import all_at_once, reserve

BUDGET = Decimal(1000)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[OrderLedger]:
    with OrderLedger(tmp_path / "orders.sqlite", pin="ab12", run_id="run-1") as ledger:
        yield ledger


def submitted(ledger: OrderLedger, symbol: str = "KO", **changes: object) -> book.LedgerOrder:
    with ledger.write() as write:
        order = book.plan(write, order_plan(symbol, **changes), BUDGET)
        claimed = book.claim(write, order.client_order_id, "me")
    assert claimed
    return claimed


def test_the_id_depends_on_every_part_and_on_nothing_else() -> None:
    parts = (ACCOUNT, "rsi2", SIGNAL_SESSION, "KO", "buy", "entry")
    same = client_order_id(*parts)
    assert same == client_order_id(*parts)
    assert len(same) <= 128
    others = [
        client_order_id(*parts[:place], other, *parts[place + 1 :])  # type: ignore[arg-type]
        for place, other in enumerate(("live:1", "ibs", SESSION, "PEP", "sell", "exit"))
    ]
    assert len({same, *others}) == 7


@given(st.lists(st.text(max_size=4), min_size=5, max_size=5), st.lists(st.text(max_size=4), min_size=5, max_size=5))
def test_different_parts_never_share_an_id(one: list[str], two: list[str]) -> None:
    first = client_order_id(one[0], one[1], SESSION, *one[2:])
    second = client_order_id(two[0], two[1], SESSION, *two[2:])
    assert (first == second) == (one == two)


@pytest.mark.parametrize(("old", "new"), itertools.product(OrderState, OrderState))
def test_moves_outside_the_state_machine_are_refused(old: OrderState, new: OrderState) -> None:
    if new in MOVES[old]:
        check_move("x", old, new)
    else:
        with pytest.raises(IllegalMove):
            check_move("x", old, new)


def test_ended_orders_stay_ended_and_only_an_unclaimed_one_is_vetoed() -> None:
    for state in ("FILLED", "PARTIAL", "CANCELED", "EXPIRED", "REJECTED"):
        assert not MOVES[OrderState(state)]
    # What was refused for want of a quote may be decided again.
    assert MOVES[OrderState.DENIED] == {OrderState.PLANNED}
    assert [state for state in OrderState if OrderState.DENIED in MOVES[state]] == [OrderState.PLANNED]
    assert [state for state in OrderState if OrderState.PLANNED in MOVES[state]] == [
        OrderState.SUBMITTING,
        OrderState.NOT_PLACED,
        OrderState.DENIED,
    ]


def test_a_refused_move_leaves_row_and_chain_as_they_were(ledger: OrderLedger) -> None:
    order = submitted(ledger)
    before = (ledger.audit_head(), book.get(ledger, order.client_order_id))
    with pytest.raises(IllegalMove), ledger.write() as write:  # noqa: PT012 - the first of two moves must be undone
        book.move(write, order, OrderState.ACCEPTED, "accepted", detail="ok")
        book.move(write, order, OrderState.DENIED, "vetoed")
    assert (ledger.audit_head(), book.get(ledger, order.client_order_id)) == before


def test_planning_the_same_decision_again_changes_nothing(ledger: OrderLedger) -> None:
    first = submitted(ledger)
    with ledger.write() as write:
        again = book.plan(write, order_plan(qty=Decimal(5), reserved=Decimal(300)), BUDGET)
    assert again == first


def test_a_damaged_page_is_said_in_plain_words_by_every_statement(ledger: OrderLedger) -> None:
    for symbol in ("KO", "PEP", "XOM", "CVX"):
        submitted(ledger, symbol)
    ledger.close()
    with contextlib.closing(sqlite3.connect(ledger.path)) as plain:
        pages = plain.execute("SELECT rootpage FROM sqlite_master WHERE name IN ('audit', 'fills')").fetchall()
        (size,) = plain.execute("PRAGMA page_size").fetchone()
        plain.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with ledger.path.open("r+b") as file:
        for (page,) in pages:
            file.seek((page - 1) * size)
            file.write(b"\xff" * size)
    with pytest.raises(LedgerUnusable, match="restore a backup"):
        ledger.rows("SELECT * FROM fills")
    with pytest.raises(LedgerUnusable, match="restore a backup"), ledger.write() as write:
        write.audit("note", number=1)


def test_a_full_disk_is_said_in_plain_words_and_leaves_the_ledger_as_it_was(ledger: OrderLedger) -> None:
    submitted(ledger)
    head = ledger.audit_head()
    pages = ledger.rows("PRAGMA page_count")[0][0]
    ledger.connection.execute(f"PRAGMA max_page_count = {pages + 1}")
    with pytest.raises(LedgerUnusable, match="disk is full"), ledger.write() as write:
        write.audit("noted", text="x" * 100_000)
    assert ledger.audit_head() == head
    with ledger.write() as write:
        write.audit("noted", text="there is room again")


def test_only_one_claim_succeeds(ledger: OrderLedger) -> None:
    order = submitted(ledger)
    with ledger.write() as write:
        assert book.claim(write, order.client_order_id, "other") is None
    assert book.get(ledger, order.client_order_id).owner == "me"


def test_a_claim_is_given_back_by_its_owner_only(ledger: OrderLedger) -> None:
    order = submitted(ledger)
    with pytest.raises(KobeError, match="claimed by me"), ledger.write() as write:
        book.release(write, order.client_order_id, "other", "closed")
    with ledger.write() as write:
        given = book.release(write, order.client_order_id, "me", "closed")
    assert (given.state, given.posts, given.reserved) == (OrderState.PLANNED, 0, Decimal("60.00"))


def test_a_reservation_beyond_the_budget_is_refused_whatever_the_gate_said(ledger: OrderLedger) -> None:
    for number in range(16):
        submitted(ledger, f"S{number}")
    assert book.budget_used(ledger, ACCOUNT, SESSION) == 960
    with pytest.raises(book.BudgetExceeded), ledger.write() as write:
        book.plan(write, order_plan("KO"), BUDGET)
    assert book.find(ledger, order_plan("KO").client_order_id) is None
    with ledger.write() as write:
        book.plan(write, order_plan("KO", session=SESSION + dt.timedelta(1), signal_session=SESSION), BUDGET)


def test_the_reserve_becomes_the_filled_value(ledger: OrderLedger) -> None:
    order = submitted(ledger, qty=Decimal(3), reserved=Decimal(180))
    with ledger.write() as write:
        part = settle(write, order.client_order_id, answer(order, "partially_filled", "1", "59.5"), OPENED)
    assert (part.state, part.spent, part.reserved) == (OrderState.ACCEPTED, Decimal("59.5"), Decimal("120.5"))
    with ledger.write() as write:
        over = settle(write, order.client_order_id, answer(order, "canceled", "2", "59.75"), OPENED)
    assert (over.state, over.spent, over.reserved) == (OrderState.PARTIAL, Decimal("119.5"), Decimal(0))
    assert book.budget_used(ledger, ACCOUNT, SESSION) == Decimal("119.5")


def test_an_order_that_was_not_placed_keeps_its_dollars_for_the_session(ledger: OrderLedger) -> None:
    order = submitted(ledger)
    with ledger.write() as write:
        book.move(write, order, OrderState.NOT_PLACED, "not_placed")
    assert book.budget_used(ledger, ACCOUNT, SESSION) == Decimal("60.00")
    with ledger.write() as write:
        late = settle(write, order.client_order_id, answer(order, "filled", "1", "59.9"), OPENED)
    assert (late.state, book.budget_used(ledger, ACCOUNT, SESSION)) == (OrderState.FILLED, Decimal("59.9"))


def test_an_order_that_was_not_placed_goes_out_again_as_it_was_or_not_at_all(ledger: OrderLedger) -> None:
    order = submitted(ledger)
    with ledger.write() as write:
        book.move(write, order, OrderState.NOT_PLACED, "not_placed")
        again = book.retry(write, order.client_order_id)
    assert (again.state, again.reserved, again.posts) == (OrderState.PLANNED, Decimal("60.00"), 1)
    with ledger.write() as write:
        kept = book.replan(write, order_plan(qty=Decimal(2), reserved=Decimal(120)), BUDGET)
    assert kept == again, "the first order may yet turn up: the second must be the same"
    with pytest.raises(IllegalMove), ledger.write() as write:
        book.retry(write, order.client_order_id)


STATUSES = {
    ("filled", "1"): OrderState.FILLED,
    ("canceled", "0"): OrderState.CANCELED,
    ("expired", "0"): OrderState.EXPIRED,
    ("rejected", "0"): OrderState.REJECTED,
    ("replaced", "0"): OrderState.CANCELED,
    ("canceled", "0.5"): OrderState.PARTIAL,
    ("expired", "0.5"): OrderState.PARTIAL,
    ("rejected", "0.5"): OrderState.PARTIAL,
    ("replaced", "0.5"): OrderState.PARTIAL,
    ("new", "0"): OrderState.ACCEPTED,
    ("pending_cancel", "0.5"): OrderState.ACCEPTED,
    ("unknown", "0"): OrderState.ACCEPTED,
}


@pytest.mark.parametrize(("status", "filled"), STATUSES)
def test_a_status_is_classed_by_what_was_filled(ledger: OrderLedger, status: str, filled: str) -> None:
    order = submitted(ledger)
    average = None if filled == "0" else "59.9"
    with ledger.write() as write:
        settled = settle(write, order.client_order_id, answer(order, status, filled, average), OPENED)
    assert settled.state is STATUSES[status, filled]
    assert settled.acknowledged


@pytest.mark.parametrize("filled", ["0", "0.5"])
@pytest.mark.parametrize("tag", [book.ENTRY, book.EXIT])
def test_an_order_that_is_called_filled_without_its_shares_is_not_over(ledger: OrderLedger, filled: str, tag: str) -> None:
    order = submitted(ledger, tag=tag)
    with pytest.raises(OrderMismatch, match="called filled"), ledger.write() as write:
        settle(write, order.client_order_id, answer(order, "filled", filled, "59.9"), OPENED)
    with ledger.write() as write:
        assert settle(write, order.client_order_id, answer(order, "filled", "1", "59.9"), OPENED).state is OrderState.FILLED


@pytest.mark.parametrize("status", ["filled", "partially_filled", "canceled"])
@pytest.mark.parametrize("tag", [book.ENTRY, book.EXIT])
def test_an_answer_with_more_shares_than_the_order_has_books_nothing(ledger: OrderLedger, status: str, tag: str) -> None:
    order = submitted(ledger, tag=tag)
    with pytest.raises(OrderMismatch, match="with 1000 of 1 shares"), ledger.write() as write:
        settle(write, order.client_order_id, answer(order, status, "1000", "59.9"), OPENED)
    assert book.get(ledger, order.client_order_id).filled_qty == 0


@pytest.mark.parametrize("changes", [{"symbol": "PEP"}, {"side": "sell"}, {"client_order_id": "kobe-other"}])
def test_an_answer_about_another_order_is_refused(ledger: OrderLedger, changes: dict[str, str]) -> None:
    order = submitted(ledger)
    with pytest.raises(OrderMismatch), ledger.write() as write:
        settle(write, order.client_order_id, answer(order, "filled", "1", "59.9", **changes), OPENED)
    assert book.get(ledger, order.client_order_id).state is OrderState.SUBMITTING


@given(st.permutations([("0", None), ("1", "60"), ("3", "60.10"), ("3", "60.10"), ("7", "60.02"), ("10", "60.05")]))
def test_looks_in_any_order_twice_or_missed_give_the_last_total(looks: list[tuple[str, str | None]]) -> None:
    with tempfile.TemporaryDirectory() as folder, OrderLedger(Path(folder) / "orders.sqlite", disposable=True) as ledger:
        order = submitted(ledger, qty=Decimal(10), reserved=Decimal(601))
        for filled, average in looks:
            with ledger.write() as write:
                settle(write, order.client_order_id, answer(order, "partially_filled", filled, average), OPENED)
        with ledger.write() as write:
            final = settle(write, order.client_order_id, answer(order, "filled", "10", "60.05"), OPENED)
        fills = ledger.rows("SELECT qty, price FROM fills")
        held = open_positions(ledger, ACCOUNT)[0]
    assert (final.state, final.spent) == (OrderState.FILLED, Decimal("600.50"))
    assert sum(Decimal(fill["qty"]) for fill in fills) == held.qty == 10
    assert abs(held.entry_price - Decimal("60.05")) < Decimal("1e-9")
    assert held.stop_price == Decimal("57.55")


def test_a_position_closes_with_its_last_share_and_knows_why(ledger: OrderLedger) -> None:
    entry = submitted(ledger, qty=Decimal(2), reserved=Decimal(120))
    with ledger.write() as write:
        settle(write, entry.client_order_id, answer(entry, "filled", "2", "60"), OPENED)
    leave = submitted(
        ledger,
        side="sell",
        tag="exit",
        qty=Decimal(2),
        reserved=Decimal(0),
        position_id=entry.client_order_id,
        reason="rsi_exit",
    )
    with ledger.write() as write:
        settle(write, leave.client_order_id, answer(leave, "canceled", "1", "61"), OPENED)
    half = position(ledger, entry.client_order_id)
    assert half
    assert (half.is_open, half.qty, half.exit_qty) == (True, 1, 1)
    stop = submitted(
        ledger, side="sell", tag="stop", qty=Decimal(1), reserved=Decimal(0), position_id=entry.client_order_id,
        kind="stop", limit_price=None, stop_price=Decimal("57.5"),
    )  # fmt: skip
    later = OPENED + dt.timedelta(days=2)
    with ledger.write() as write:
        settle(write, stop.client_order_id, answer(stop, "filled", "1", "57"), later)
    closed = position(ledger, entry.client_order_id)
    assert closed
    assert (closed.is_open, closed.exit_reason, closed.exit_price) == (False, "stop", Decimal(59))
    assert closed.exit_session == dt.date(2024, 3, 7)


def test_a_symbol_counts_as_held_if_it_left_or_came_in_this_very_session(ledger: OrderLedger) -> None:
    entry = submitted(ledger)
    with ledger.write() as write:
        settle(write, entry.client_order_id, answer(entry, "filled", "1", "60"), OPENED)
        write.execute("UPDATE positions SET is_open = 0, exit_session = '2024-03-08'")
    for day, held in ((5, {"KO"}), (6, {"KO"}), (8, {"KO"}), (9, set())):
        assert held_symbols(ledger, ACCOUNT, dt.date(2024, 3, day)) == held


def test_a_split_changes_shares_and_prices_but_neither_worth_nor_risk(ledger: OrderLedger) -> None:
    entry = submitted(ledger, qty=Decimal(3), reserved=Decimal(180))
    with ledger.write() as write:
        settle(write, entry.client_order_id, answer(entry, "filled", "3", "60"), OPENED)
    with ledger.write() as write:
        rescale(write, open_positions(write, ACCOUNT)[0], Decimal(1), Decimal(2), dt.date(2024, 3, 6))
    held = open_positions(ledger, ACCOUNT)[0]
    assert (held.qty, held.stop_price, held.split_factor) == (6, Decimal("28.75"), 2)
    assert held.entry_price * held.entry_qty == 180


def test_state_and_audit_are_one_transaction(ledger: OrderLedger) -> None:
    order = submitted(ledger)
    head = ledger.audit_head()
    with pytest.raises(RuntimeError), ledger.write() as write:  # noqa: PT012 - the work before the death is the test
        book.move(write, order, OrderState.UNKNOWN, "unknown")
        raise RuntimeError("died here")
    assert book.get(ledger, order.client_order_id).state is OrderState.SUBMITTING
    assert ledger.audit_head() == head
    # A chain that cannot be written stops the change too.
    ledger.connection.execute("CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT raise(ABORT, 'disk full'); END")
    with pytest.raises(sqlite3.IntegrityError), ledger.write() as write:
        book.move(write, order, OrderState.UNKNOWN, "unknown")
    assert book.get(ledger, order.client_order_id).state is OrderState.SUBMITTING


def test_every_change_of_an_order_is_on_the_chain(ledger: OrderLedger) -> None:
    order = submitted(ledger)
    with ledger.write() as write:
        settle(write, order.client_order_id, answer(order, "filled", "1", "60"), OPENED)
    rows = ledger.rows("SELECT kind, body, pin FROM audit ORDER BY seq")
    assert [row["kind"] for row in rows] == ["planned", "submitting", "filled", "position_entered", "settled"]
    assert {row["pin"] for row in rows} == {"ab12"}
    assert all(json.loads(row["body"])["run"] == "run-1" for row in rows)


def test_a_session_is_traded_once(ledger: OrderLedger) -> None:
    with ledger.write() as write:
        claim_session(write, ACCOUNT, SESSION, "rsi2", "one")
        assert claim_session(write, "paper:PA1", SESSION, "rsi2", "two").owner == "two"
        end_session(write, ACCOUNT, SESSION, "done", "")
    with pytest.raises(SessionTaken, match="already traded"), ledger.write() as write:
        claim_session(write, ACCOUNT, SESSION, "rsi2", "two")


@pytest.mark.parametrize("how", ["died", "halted"])
def test_a_half_done_session_is_resumed(ledger: OrderLedger, how: str) -> None:
    with ledger.write() as write:
        claim_session(write, ACCOUNT, SESSION, "rsi2", "one")
        if how == "halted":
            end_session(write, ACCOUNT, SESSION, "halted", "kill switch")
    with ledger.write() as write:
        claim = claim_session(write, ACCOUNT, SESSION, "rsi2", "two")
    assert (claim.owner, claim.state, claim.runs) == ("two", "running", 2)


def test_a_session_is_finished_with_the_strategy_it_was_begun_with(ledger: OrderLedger) -> None:
    with ledger.write() as write:
        claim_session(write, ACCOUNT, SESSION, "rsi2", "one")
    with pytest.raises(BegunOtherwise, match="'rsi2'"), ledger.write() as write:
        claim_session(write, ACCOUNT, SESSION, "ibs", "two")
    assert claim_of(ledger, ACCOUNT, SESSION)


def test_what_was_written_is_there_after_reopening(ledger: OrderLedger) -> None:
    order = submitted(ledger)
    with OrderLedger(ledger.path) as again:
        assert book.get(again, order.client_order_id) == order
        assert book.budget_used(again, ACCOUNT, SESSION) == Decimal("60.00")


def test_the_file_is_durable(ledger: OrderLedger) -> None:
    assert ledger.connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert ledger.connection.execute("PRAGMA synchronous").fetchone()[0] == 2


def test_a_locked_ledger_says_so_after_its_deadline(ledger: OrderLedger) -> None:
    ledger.connection.execute("BEGIN IMMEDIATE")
    with OrderLedger(ledger.path, busy_wait_s=0.1) as other, pytest.raises(LedgerBusy, match="locked"), other.write():
        pass
    ledger.connection.execute("ROLLBACK")


def test_a_ledger_of_a_newer_kobe_or_of_garbage_is_refused(ledger: OrderLedger, tmp_path: Path) -> None:
    ledger.connection.execute("UPDATE ledger_version SET version = 99")
    with OrderLedger(ledger.path) as other, pytest.raises(LedgerUnusable, match="update Kobe"):
        other.rows("SELECT 1")
    (tmp_path / "other.sqlite").write_bytes(b"no database" * 500)
    with OrderLedger(tmp_path / "other.sqlite") as broken, pytest.raises(LedgerUnusable, match="backup"):
        broken.rows("SELECT 1")


def test_five_processes_reserve_without_ever_passing_the_budget(tmp_path: Path) -> None:
    path = tmp_path / "orders.sqlite"
    assert all_at_once(reserve, path) == [0] * 5
    with OrderLedger(path) as ledger:
        assert book.budget_used(ledger, ACCOUNT, SESSION) == 960
        assert len(book.of_session(ledger, ACCOUNT, SESSION)) == 16
        assert ledger.verify_audit().holds


def test_intents_round_trip_through_the_file(ledger: OrderLedger) -> None:
    given = order_plan(qty=Decimal("1.234567891"), limit_price=Decimal("0.5001"), rank=3, decision={"ask": "0.5"})
    with ledger.write() as write:
        made = book.plan(write, given)
    shared = {field.name for field in dataclasses.fields(given)} & set(book.LedgerOrder.__dataclass_fields__)
    for name in shared:
        assert getattr(made, name) == getattr(given, name), name
