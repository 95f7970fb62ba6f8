"""Reconciliation: every kind of difference is found and listed, late orders come in, and only a person's word lets one pass."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from kobe_jobs.trading.context import SessionContext, TradingContext, open_session
from kobe_jobs.trading.market_snapshot import Split
from kobe_jobs.trading.reconcile.accept import CannotAccept, accept_differences
from kobe_jobs.trading.reconcile.compare import Reconciliation, compare, reconcile
from kobe_jobs.trading.session import trade_session
from kobe_resources.broker.exchange.embedded import EmbeddedBroker
from kobe_resources.broker.protocol import OrderStatus
from kobe_resources.order_ledger import OrderState
from kobe_resources.order_ledger import orders as book
from kobe_resources.order_ledger.positions import open_positions, position
from kobe_resources.order_ledger.sessions import keep_reconciliation, last_reconciliation
from tests.jobs.trading.test_protection import cancel_stop
from tests.support.builders import small_market as market

ACCOUNT = "simulated:PA0EMBEDDED0"


@pytest.fixture
def context(rig: TradingContext, embedded: EmbeddedBroker) -> SessionContext:
    """After the entry day's run, both sides agreeing."""
    assert trade_session(rig).is_clean
    return open_session(rig, "rsi2")


def rows_of(found: Reconciliation) -> set[tuple[str, str]]:
    return {(row.kind, row.what) for row in found.differences if row.halts}


def test_both_sides_agree_after_a_run_and_the_snapshot_is_kept(context: SessionContext) -> None:
    assert reconcile(context, "by hand").agrees
    kept = last_reconciliation(context.ledger, ACCOUNT)
    assert kept is not None
    assert kept["snapshot"]["positions"] == kept["snapshot"]["ledger"] == {f"S0{n}": "3" for n in range(5)}
    assert kept["moment"] == "by hand"


def by_hand(symbol: str, side: str, qty: str) -> Callable[[EmbeddedBroker], object]:
    return lambda embedded: market.by_hand(embedded, symbol, side, qty)


def taken(embedded: EmbeddedBroker) -> None:
    embedded.book.state.run("UPDATE account SET cash = cash - 50")


def vanished(embedded: EmbeddedBroker) -> None:
    embedded.book.state.run("DELETE FROM positions WHERE symbol = 'S00'")


def flipped(embedded: EmbeddedBroker) -> None:
    embedded.book.state.run("UPDATE positions SET qty = -qty WHERE symbol = 'S00'")


DIFFERENCES: dict[str, tuple[Callable[[EmbeddedBroker], object], tuple[str, str]]] = {
    "a position of nobody's": (by_hand("S11", "buy", "2"), ("position", "S11")),
    "an order of nobody's": (by_hand("S11", "buy", "2"), ("order", "hand S11")),
    "a position that is gone": (vanished, ("position", "S00")),
    "a position on the other side": (flipped, ("position", "S00")),
    "cash that is gone": (taken, ("cash", "account")),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_a_difference_is_listed_and_not_adopted(context: SessionContext, embedded: EmbeddedBroker, name: str) -> None:
    change, row = DIFFERENCES[name]
    before = open_positions(context.ledger, ACCOUNT)
    change(embedded)
    found = reconcile(context, "by hand")
    assert row in rows_of(found)
    assert row[1] in found.describe()
    assert open_positions(context.ledger, ACCOUNT) == before
    assert row in rows_of(reconcile(context, "again")), "a second look does not make it right"
    record = context.ledger.rows("SELECT body FROM audit WHERE kind = 'reconciled' ORDER BY seq DESC LIMIT 1")[0]
    assert not json.loads(record["body"])["agrees"]


def test_an_execution_that_we_do_not_know_is_listed(context: SessionContext, embedded: EmbeddedBroker) -> None:
    by_hand("S11", "buy", "2")(embedded)
    by_hand("S10", "buy", "1")(embedded)
    assert sum(kind == "fill" for kind, _ in rows_of(compare(context))) == 2


def test_money_that_came_in_is_told_and_is_the_ground_only_from_a_later_session(
    context: SessionContext, embedded: EmbeddedBroker
) -> None:
    embedded.book.state.run("UPDATE account SET cash = cash + 12")
    for moment in ("by hand", "again"):
        found = reconcile(context, moment)
        assert found.agrees
        assert [row.kind for row in found.differences] == ["cash"]
    embedded.advance_to(market.ENTRY_DAY, "close")
    embedded.advance_to(market.EXIT_DAY, "open")
    later = dataclasses.replace(context, hours=dataclasses.replace(context.hours, session=market.EXIT_DAY))
    assert reconcile(later, "a day later").agrees
    assert not reconcile(later, "and again").differences


def test_cash_that_lags_behind_its_fills_does_not_become_the_ground(context: SessionContext, embedded: EmbeddedBroker) -> None:
    """An account answer from before the fills would call the true cash a loss ever after."""
    embedded.book.state.run("UPDATE account SET cash = cash + 300")
    assert reconcile(context, "while it lags").agrees
    embedded.book.state.run("UPDATE account SET cash = cash - 300")
    assert not reconcile(context, "caught up").differences


def test_cash_that_lags_for_a_moment_is_looked_at_again(context: SessionContext, embedded: EmbeddedBroker) -> None:
    inner: Any = context.broker
    stale = dataclasses.replace(inner.account(), cash=Decimal(1))
    asked: list[int] = []

    class Lagging:
        def __getattr__(self, name: str) -> Any:
            return getattr(inner, name)

        def account(self) -> Any:
            asked.append(1)
            return stale if len(asked) == 1 else inner.account()

    context.broker = Lagging()  # type: ignore[assignment]
    assert not reconcile(context, "by hand").differences


def test_cents_of_fees_are_no_difference(context: SessionContext, embedded: EmbeddedBroker) -> None:
    embedded.book.state.run("UPDATE account SET cash = cash - 0.35")
    assert not reconcile(context, "by hand").differences


def test_an_order_that_shows_up_late_is_promoted_with_its_fill(context: SessionContext, embedded: EmbeddedBroker) -> None:
    order = book.of_session(context.ledger, ACCOUNT, market.ENTRY_DAY)[0]
    with context.ledger.write() as write:
        write.execute("DELETE FROM positions WHERE id = ?", (order.client_order_id,))
        write.execute("DELETE FROM fills WHERE client_order_id = ?", (order.client_order_id,))
        write.execute(
            "UPDATE intents SET state = 'NOT_PLACED', filled_qty = '0', spent = '0', reserved = '60', acknowledged = 0"
            " WHERE client_order_id = ?", (order.client_order_id,),
        )  # fmt: skip
    found = reconcile(context, "by hand")
    assert found.promoted == 1
    assert found.agrees, found.describe()
    late = book.get(context.ledger, order.client_order_id)
    assert (late.state, late.filled_qty) == (OrderState.FILLED, 3)
    assert position(context.ledger, order.client_order_id)


def test_looking_only_promotes_nothing(context: SessionContext, embedded: EmbeddedBroker) -> None:
    with context.ledger.write() as write:
        write.execute("UPDATE intents SET state = 'NOT_PLACED' WHERE leg = 'stop' AND symbol = 'S00'")
    head = context.ledger.audit_head()
    compare(context, promote=False)
    assert context.ledger.audit_head() == head


def test_a_person_accepts_what_the_broker_no_longer_has(context: SessionContext, embedded: EmbeddedBroker) -> None:
    vanished(embedded)
    rest = accept_differences(context, reconcile(context, "by hand"), "sold by hand at the context")
    assert rest == []
    gone = next(p for p in context.ledger.rows("SELECT * FROM positions WHERE symbol = 'S00'"))
    assert (gone["is_open"], gone["exit_reason"]) == (0, "adjusted")
    assert reconcile(context, "after").agrees
    record = context.ledger.rows("SELECT body FROM audit WHERE kind = 'accepted_differences'")[0]
    assert json.loads(record["body"])["reason"] == "sold by hand at the context"


def test_what_the_broker_holds_without_us_is_noted_as_the_person_s(context: SessionContext, embedded: EmbeddedBroker) -> None:
    by_hand("S11", "buy", "2")(embedded)
    assert accept_differences(context, reconcile(context, "by hand"), "mine, bought at the broker's page") == []
    assert not reconcile(context, "again").differences
    assert "S11" not in {held.symbol for held in open_positions(context.ledger, ACCOUNT)}
    record = context.ledger.rows("SELECT body FROM audit WHERE kind = 'accepted_differences'")[0]
    assert json.loads(record["body"])["noted"]["positions"] == {"S11": "2"}
    embedded.book.state.run("UPDATE positions SET qty = 1 WHERE symbol = 'S11'")
    found = reconcile(context, "a part of it was sold")
    assert ("position", "S11") not in rows_of(found), "the person may sell what is theirs"
    embedded.book.state.run("UPDATE positions SET qty = 7 WHERE symbol = 'S11'")
    assert ("position", "S11") in rows_of(reconcile(context, "more of it than was accepted"))


def test_more_of_what_we_hold_comes_into_the_position_with_its_stop(context: SessionContext, embedded: EmbeddedBroker) -> None:
    embedded.book.state.run("UPDATE positions SET qty = 5 WHERE symbol = 'S00'")
    found = reconcile(context, "by hand")
    assert ("position", "S00") in rows_of(found)
    assert found.differing == {"S00"}
    assert accept_differences(context, found, "two more, bought by hand") == []
    held = next(held for held in open_positions(context.ledger, ACCOUNT) if held.symbol == "S00")
    assert (held.qty, held.entry_qty) == (5, 5)
    assert stops_at(embedded, "S00") == [5.0]


@pytest.mark.parametrize(
    ("side", "qty", "ours", "theirs"),
    [("sell", "2", 3, "2"), ("sell", "4", 3, "0"), ("sell", "5", 2, "0"), ("sell", "7", 0, None), ("buy", "2", 3, "6")],
)
def test_what_a_person_trades_is_taken_from_their_shares_before_ours(
    rig: TradingContext, embedded: EmbeddedBroker, side: str, qty: str, ours: int, theirs: str | None
) -> None:
    context = with_shares_of_a_person(rig, embedded)
    cancel_stop(embedded, "S00")
    embedded.settle()
    market.by_hand(embedded, "S00", side, qty, "my own trade")
    found = reconcile(context, "by hand")
    assert ("order", "my own trade") in rows_of(found)
    assert (("position", "S00") in rows_of(found)) is (ours < 3), "a difference only where ours are gone too"
    assert accept_differences(context, found, "I traded my own") == []
    assert sum(held.qty for held in open_positions(context.ledger, ACCOUNT) if held.symbol == "S00") == ours
    assert stops_at(embedded, "S00") == ([float(ours)] if ours else [])
    again = reconcile(context, "again")
    assert again.agrees
    assert again.snapshot["noted"]["positions"].get("S00") == theirs


def test_a_standing_order_of_a_person_that_fills_later_leaves_ours_alone(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    context = with_shares_of_a_person(rig, embedded)
    fields = {"client_order_id": "hand", "symbol": "S00", "side": "sell", "type": "limit", "time_in_force": "gtc"}
    embedded.book.submit({**fields, "qty": "3", "limit_price": "9999.00"})
    assert accept_differences(context, reconcile(context, "by hand"), "my own standing order") == []
    embedded.advance_to(market.EXIT_DAY, "open")
    state = embedded.book.state
    state.run("UPDATE orders SET status = 'filled', filled_qty = qty WHERE client_order_id = 'hand'")
    state.run("UPDATE positions SET qty = qty - 3 WHERE symbol = 'S00'")
    later = open_session(rig, "rsi2")
    found = reconcile(later, "it filled")
    assert ("position", "S00") not in rows_of(found)
    assert found.snapshot["noted"]["positions"] == {"S00": "1"}


def with_shares_of_a_person(rig: TradingContext, embedded: EmbeddedBroker) -> SessionContext:
    """After the entry day's run, with four accepted shares of a person beside our three of S00."""
    by_hand("S00", "buy", "4")(embedded)
    context = open_session(rig, "rsi2")
    assert accept_differences(context, reconcile(context, "by hand"), "mine") == []
    assert trade_session(rig).is_clean
    return open_session(rig, "rsi2")


def stops_at(embedded: EmbeddedBroker, symbol: str) -> list[float]:
    """Shares of the stops that rest at the broker."""
    sql = "SELECT qty FROM orders WHERE kind = 'stop' AND status = 'new' AND symbol = ?"
    return [row["qty"] for row in embedded.book.state.rows(sql, (symbol,))]


def test_orders_that_a_person_placed_and_that_are_over_can_be_accepted(
    context: SessionContext, embedded: EmbeddedBroker
) -> None:
    cancel_stop(embedded, "S00")
    embedded.settle()
    by_hand("S00", "sell", "3")(embedded)
    found = reconcile(context, "by hand")
    assert {("order", "hand S00"), ("position", "S00")} <= rows_of(found)
    assert accept_differences(context, found, "sold at the broker's page") == []
    assert reconcile(context, "after").agrees, "what was accepted comes up no more"
    embedded.advance_to(market.EXIT_DAY, "open")
    by_hand("S11", "buy", "2")(embedded)
    assert ("order", "hand S11") in rows_of(reconcile(context, "another"))
    assert ("order", "hand S00") not in rows_of(reconcile(context, "another"))


def test_an_open_order_of_a_person_is_noted_and_halts_no_more(context: SessionContext, embedded: EmbeddedBroker) -> None:
    fields = {"client_order_id": "hand", "symbol": "S11", "side": "buy", "type": "limit", "time_in_force": "gtc"}
    embedded.book.submit({**fields, "qty": "1", "limit_price": "5.00"})
    found = reconcile(context, "by hand")
    assert rows_of(found) == {("order", "hand")}
    assert accept_differences(context, found, "my own standing order") == []
    assert not reconcile(context, "again").differences
    assert not reconcile(context, "and again").differences, "the note outlives the next agreement"


def test_a_fraction_beside_whole_shares_stays_the_person_s(context: SessionContext, embedded: EmbeddedBroker) -> None:
    embedded.book.state.run("UPDATE positions SET qty = 3.5 WHERE symbol = 'S00'")
    assert accept_differences(context, reconcile(context, "by hand"), "a dividend was reinvested") == []
    held = next(held for held in open_positions(context.ledger, ACCOUNT) if held.symbol == "S00")
    assert held.qty == 3, "no stop could protect the half"
    assert stops_at(embedded, "S00") == [3.0]
    assert not reconcile(context, "again", stops=True).differences


def agreed_in_the_next_session(
    context: SessionContext, rig: TradingContext, embedded: EmbeddedBroker
) -> SessionContext:  # fmt: skip
    """The context of the session after, which ledger and broker were found to agree in."""
    embedded.advance_to(market.EXIT_DAY, "open")
    later = open_session(rig, "rsi2")
    last = last_reconciliation(context.ledger, ACCOUNT, agreeing=True)
    assert last is not None
    with context.ledger.write() as write:
        keep_reconciliation(write, ACCOUNT, market.EXIT_DAY, "by hand", [], last["snapshot"], agrees=True)
    return later


def id_of(context: SessionContext, symbol: str, purpose: str) -> str:
    """Our id of a symbol's order."""
    row = context.ledger.rows("SELECT client_order_id FROM intents WHERE symbol = ? AND leg = ?", (symbol, purpose))[0]
    return str(row["client_order_id"])


@pytest.mark.parametrize("sessions", [0, 1])
def test_an_entry_that_filled_after_it_was_called_over_is_ours_again_on_a_person_s_word(
    context: SessionContext, embedded: EmbeddedBroker, rig: TradingContext, sessions: int
) -> None:
    cancel_stop(embedded, "S00")
    embedded.settle()
    ledger, unfilled = context.ledger, "state = 'CANCELED', filled_qty = '0', filled_avg_price = NULL"
    for statement in (
        f"UPDATE intents SET {unfilled} WHERE symbol = 'S00' AND leg = 'entry'",
        "DELETE FROM fills WHERE symbol = 'S00'",
        "DELETE FROM positions WHERE symbol = 'S00'",
        "DELETE FROM intents WHERE symbol = 'S00' AND leg <> 'entry'",
    ):
        ledger.connection.execute(statement)
    if sessions:
        # The last agreement is younger than the order, and so is its execution.
        context = agreed_in_the_next_session(context, rig, embedded)
        embedded.book.state.run("UPDATE fills SET at = ? WHERE symbol = 'S00'", (f"{market.EXIT_DAY}T15:00:00+00:00",))
    found = reconcile(context, "by hand")
    assert {("position", "S00"), ("order", id_of(context, "S00", book.ENTRY))} <= rows_of(found)
    assert accept_differences(context, found, "the broker's report came late") == []
    held = next(held for held in open_positions(ledger, ACCOUNT) if held.symbol == "S00")
    assert (held.qty, str(book.get(ledger, held.id).state)) == (3, "FILLED")
    assert stops_at(embedded, "S00") == [3.0]
    again = reconcile(context, "again", stops=True)
    assert again.agrees
    assert again.snapshot["noted"]["positions"] == {}, "nothing of it is the person's"


def test_a_sale_that_came_late_is_booked_at_its_own_price(context: SessionContext, embedded: EmbeddedBroker) -> None:
    embedded.advance_to(market.ENTRY_DAY, "close")
    assert reconcile(context, "the stop has sold").agrees
    ledger, stop = context.ledger, book.get(context.ledger, id_of(context, market.STOPPED, book.STOP))
    held = position(ledger, str(stop.position_id))
    assert held is not None
    for statement, key in (
        ("UPDATE intents SET state = 'CANCELED', filled_qty = '0', filled_avg_price = NULL WHERE client_order_id = ?", stop),
        ("DELETE FROM fills WHERE client_order_id = ?", stop),
    ):
        ledger.connection.execute(statement, (key.client_order_id,))
    opened = "is_open = 1, qty = entry_qty, exit_qty = '0', exit_value = '0', exit_reason = NULL, stop_price = '1'"
    ledger.connection.execute(f"UPDATE positions SET {opened} WHERE id = ?", (held.id,))
    found = reconcile(context, "by hand")
    assert ("position", market.STOPPED) in rows_of(found)
    assert accept_differences(context, found, "the broker's report came late") == []
    sold = position(ledger, held.id)
    assert sold is not None
    assert (sold.is_open, sold.exit_price, sold.exit_reason) == (False, held.exit_price, book.STOP), "not at the stop's price"
    assert reconcile(context, "again").agrees


def test_shares_of_a_person_are_multiplied_by_a_split_as_ours_are(
    context: SessionContext, embedded: EmbeddedBroker, rig: TradingContext
) -> None:
    by_hand("S11", "buy", "2")(embedded)
    assert accept_differences(context, reconcile(context, "by hand"), "mine") == []
    embedded.advance_to(market.EXIT_DAY, "open")
    embedded.book.state.run("UPDATE positions SET qty = 4 WHERE symbol = 'S11'")
    assert ("position", "S11") in rows_of(compare(open_session(rig, "rsi2")))
    later = open_session(rig, "rsi2")
    split = Split("S11", market.EXIT_DAY, 1.0, 2.0)
    later.snapshot = dataclasses.replace(later.snapshot, splits={**later.snapshot.splits, "S11": (split,)})
    found = reconcile(later, "after the split")
    assert ("position", "S11") not in rows_of(found)
    assert found.snapshot["noted"]["positions"] == {"S11": "4"}
    assert reconcile(later, "again").snapshot["noted"]["positions"] == {"S11": "4"}, "once, and no more"


def test_no_entry_trades_against_shares_of_a_person(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    by_hand("S00", "sell", "2")(embedded)
    context = open_session(rig, "rsi2")
    assert accept_differences(context, reconcile(context, "by hand"), "my own short") == []
    summary = trade_session(rig)
    assert summary.is_clean, summary
    denied = {order["symbol"]: order["reason"] for order in summary.orders if order["state"] == OrderState.DENIED}
    assert denied["S00"] == "yours_other_side"
    assert embedded.book.state.row("SELECT qty FROM positions WHERE symbol = 'S00'")["qty"] == -2  # type: ignore[index]
    assert "S00" not in {held.symbol for held in open_positions(context.ledger, ACCOUNT)}


@pytest.mark.parametrize("filled", [0, 1])
def test_a_trade_that_the_exchange_took_back_can_be_accepted(
    context: SessionContext, embedded: EmbeddedBroker, filled: int
) -> None:
    state = embedded.book.state
    order = state.row("SELECT id FROM orders WHERE symbol = 'S00' AND side = 'buy'")
    assert order is not None
    state.run("UPDATE orders SET status = 'canceled', filled_qty = ? WHERE id = ?", (filled, order["id"]))
    state.run("UPDATE positions SET qty = ? WHERE symbol = 'S00'", (filled,)) if filled else vanished(embedded)
    found = reconcile(context, "by hand")
    assert ("position", "S00") in rows_of(found)
    assert any(kind == "order" for kind, _ in rows_of(found))
    assert accept_differences(context, found, "the exchange cancelled the trade") == []
    assert reconcile(context, "again").agrees, "what was accepted comes up no more"


def test_what_took_our_stop_s_place_with_other_shares_gives_way_to_ours(
    context: SessionContext, embedded: EmbeddedBroker
) -> None:
    inner, stop = context.broker, next(order for order in context.broker.orders("open") if order.symbol == "S00")
    embedded.book.state.run("UPDATE orders SET client_order_id = 'heir', qty = 1 WHERE id = ?", (stop.id,))
    old = dataclasses.replace(
        stop, id="the first", status=OrderStatus.REPLACED, raw_status="replaced", replaced_by=stop.id, filled_qty=Decimal(0)
    )
    context.ledger.connection.execute("UPDATE intents SET broker_order_id = 'the first' WHERE broker_order_id = ?", (stop.id,))

    class Replacing:
        def __getattr__(self, name: str) -> Any:
            return getattr(inner, name)

        def orders(self, *arguments: Any, **after: Any) -> Any:
            found = inner.orders(*arguments, **after)
            found = [dataclasses.replace(o, replaces="the first") if o.client_order_id == "heir" else o for o in found]
            return found if "open" in arguments else [*found, old]

        def order_by_client_id(self, client_id: str) -> Any:
            return old if client_id == old.client_order_id else inner.order_by_client_id(client_id)

    context.broker = Replacing()  # type: ignore[assignment]
    found = reconcile(context, "by hand")
    assert ("order", "heir") in rows_of(found)
    assert accept_differences(context, found, "the broker made it smaller") == []
    assert stops_at(embedded, "S00") == [3.0]


@pytest.mark.parametrize("is_switch_on", [False, True])
def test_a_stop_that_works_though_it_was_called_over_gives_way_to_one_that_the_ledger_knows(
    context: SessionContext, embedded: EmbeddedBroker, is_switch_on: bool
) -> None:
    context.ledger.connection.execute("UPDATE intents SET state = 'EXPIRED' WHERE symbol = 'S00' AND leg = 'stop'")
    if is_switch_on:
        context.kill_switch.turn_on("a look around")
    found = reconcile(context, "by hand")
    assert {kind for kind, _ in rows_of(found)} == {"order"}
    assert accept_differences(context, found, "it was never over") == []
    assert stops_at(embedded, "S00") == [3.0]
    assert reconcile(context, "again", stops=True).agrees


def test_accepting_needs_a_reason(context: SessionContext, embedded: EmbeddedBroker) -> None:
    taken(embedded)
    found = reconcile(context, "by hand")
    with pytest.raises(CannotAccept):
        accept_differences(context, found, "  ")
    assert accept_differences(context, found, "a fee of the broker's") == []
    assert reconcile(context, "again").agrees


def test_a_fill_between_two_looks_is_no_difference(context: SessionContext, embedded: EmbeddedBroker) -> None:
    """A stop that triggers while we compare is found by the second look."""
    calls: list[int] = []
    inner: Any = context.broker

    class Racing:
        def __getattr__(self, name: str) -> Any:
            return getattr(inner, name)

        def positions(self) -> Any:
            if not calls:
                calls.append(1)
                embedded.advance_to(market.ENTRY_DAY, "close")
            return inner.positions()

    context.broker = Racing()  # type: ignore[assignment]
    assert reconcile(context, "by hand").agrees
    assert market.STOPPED not in {held.symbol for held in open_positions(context.ledger, ACCOUNT)}
    assert sum((held.qty for held in open_positions(context.ledger, ACCOUNT)), Decimal(0)) == 12
