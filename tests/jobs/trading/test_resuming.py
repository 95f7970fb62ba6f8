"""What a run meets where another one stopped: other quotes, other signals, a late hour, a broker that comes and goes."""

from __future__ import annotations

import dataclasses
from decimal import Decimal
from typing import Any

import pytest

from kobe_jobs.trading.context import SessionContext, TradingContext
from kobe_jobs.trading.session import trade_session
from kobe_resources.broker.exchange.embedded import EmbeddedBroker
from kobe_resources.order_ledger import OrderState
from kobe_resources.order_ledger import orders as book
from kobe_resources.order_ledger.positions import open_positions
from tests.jobs.trading.test_session import ACCOUNT, orders, posts, second_day
from tests.support.builders import small_market as market


class Died(BaseException):
    """A process that is killed: nothing of it goes on."""


class Around:
    """The rig's (or context's) broker; a test overrides what it wants to be otherwise."""

    def __init__(self, rig: TradingContext | SessionContext) -> None:
        self.inner = rig.broker

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@pytest.fixture
def dying(rig: TradingContext, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lets a run die as it is about to send its n-th entry (from 0)."""
    from kobe_jobs.trading import entries

    whole = entries.send

    def run_until(number: int, rig: TradingContext = rig) -> None:
        left = number

        def send(*arguments: Any) -> Any:
            nonlocal left
            if left == 0:
                raise Died
            left -= 1
            return whole(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr("kobe_jobs.trading.entries.send", send)
            with pytest.raises(Died):
                trade_session(rig)

    return run_until


def test_dearer_quotes_after_a_crash_are_decided_again_within_a_budget_that_was_full(
    rig: TradingContext, embedded: EmbeddedBroker, dying: Any
) -> None:
    policy = rig.settings.policy.model_copy(update={"max_daily_notional": 331.0})
    rig = dataclasses.replace(rig, settings=rig.settings.model_copy(update={"policy": policy}))
    dying(0, rig)
    assert Decimal(330) < book.budget_used(rig.ledger, ACCOUNT, market.ENTRY_DAY) <= Decimal(331)

    class Dearer(Around):
        def quotes(self, symbols: Any) -> Any:
            by = Decimal("1.005")
            found = self.inner.quotes(symbols).items()
            return {symbol: dataclasses.replace(quote, bid=quote.bid * by, ask=quote.ask * by) for symbol, quote in found}

    summary = trade_session(dataclasses.replace(rig, broker_or_error=Dearer(rig)))  # type: ignore[arg-type]
    assert summary.is_clean, summary
    assert (summary.submitted, summary.refused) == (4, {"exceeds_daily_budget": 2})
    assert book.budget_used(rig.ledger, ACCOUNT, market.ENTRY_DAY) <= Decimal(331)


def test_an_intent_whose_signal_was_withdrawn_is_not_sent(rig: TradingContext, embedded: EmbeddedBroker, dying: Any) -> None:
    dying(0)
    signals = tuple(s for s in market.make_snapshot().signals_of(market.FIRST_SIGNALS) if s.symbol != "S01")
    restated = market.make_snapshot(signals={market.FIRST_SIGNALS: signals})
    summary = trade_session(dataclasses.replace(rig, snapshot=restated))
    assert summary.is_clean, summary
    assert summary.refused == {"signal_withdrawn": 1, "exceeds_daily_budget": 1}
    assert [symbol for symbol, *_ in orders(embedded)] == ["S00", "S02", "S03", "S04"]


def test_too_late_for_entries_is_not_too_late_for_protective_stops(
    rig: TradingContext, embedded: EmbeddedBroker, dying: Any
) -> None:
    dying(2)
    assert [symbol for symbol, *_ in orders(embedded)] == ["S00", "S01"]
    embedded.advance_to(market.ENTRY_DAY, "close")
    summary = trade_session(rig)
    assert "entries end" in summary.halted
    assert summary.unprotected == ()
    assert [(symbol, status) for symbol, *_, status in orders(embedded, "stop")] == [("S00", "new"), ("S01", "new")]
    assert summary.pending == 3


def test_a_broker_that_goes_silent_among_the_entries_leaves_no_position_without_its_stop(
    rig: TradingContext, embedded: EmbeddedBroker
) -> None:
    class Silent(Around):
        clocks = 0

        def clock(self) -> Any:
            self.clocks += len(orders(embedded)) == 2
            if self.clocks == 1:
                embedded.faults.add({"kind": "503", "match": {"method": "GET", "path": "/v2/clock"}, "times": 4})
                self.clocks += 1
            return self.inner.clock()

    summary = trade_session(dataclasses.replace(rig, broker_or_error=Silent(rig)))  # type: ignore[arg-type]
    assert "does not answer" in summary.halted
    assert (summary.filled, summary.unprotected) == (2, ())
    assert trade_session(rig).is_clean
    assert len(orders(embedded, "stop")) == len(orders(embedded)) == 5


def test_the_kill_switch_is_read_after_the_clock_has_kept_us_waiting(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    class Slow(Around):
        def clock(self) -> Any:
            clock = self.inner.clock()
            if len(orders(embedded)) == 2:
                rig.kill_switch.turn_on("while we waited")
            return clock

    summary = trade_session(dataclasses.replace(rig, broker_or_error=Slow(rig)))  # type: ignore[arg-type]
    assert "while we waited" in summary.halted
    assert posts(embedded) == 2


def test_a_cancel_is_on_the_chain_before_it_is_asked_for(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    second_day(rig, embedded)

    class Dies(Around):
        def cancel(self, order_id: str) -> None:
            self.inner.cancel(order_id)
            raise Died

    with pytest.raises(Died):
        trade_session(dataclasses.replace(rig, broker_or_error=Dies(rig)))  # type: ignore[arg-type]
    embedded.settle()
    assert ("S01", "sell", 3.0, "canceled") in orders(embedded, "stop")
    assert rig.ledger.rows("SELECT json_extract(body, '$.symbol') FROM audit WHERE kind = 'cancel_asked'")[0][0] == "S01"


def sell_by_hand(embedded: EmbeddedBroker, symbol: str, qty: str) -> None:
    """What a person does at the broker's own page: cancel the stop, sell."""
    stop = embedded.book.state.row("SELECT id FROM orders WHERE kind = 'stop' AND symbol = ? AND status = 'new'", (symbol,))
    assert stop is not None
    embedded.book.cancel(stop["id"])
    embedded.settle()
    market.by_hand(embedded, symbol, "sell", qty)


@pytest.mark.parametrize("qty", ["3", "1"])
def test_what_the_broker_no_longer_holds_is_neither_sold_nor_protected(
    rig: TradingContext, embedded: EmbeddedBroker, qty: str
) -> None:
    second_day(rig, embedded)
    for symbol in ("S01", "S04"):
        sell_by_hand(embedded, symbol, qty)
    before = posts(embedded)
    summary = trade_session(rig)
    assert summary.exits == {"rsi_exit": 1}, "S02 leaves, S01 is not there to be sold"
    assert posts(embedded) == before + 1
    assert all(row["qty"] > 0 for row in embedded.book.state.positions())
    assert {"S01", "S04"} == set(summary.unprotected)
    assert any("differ on S01" in note for note in summary.notes)


def test_more_at_the_broker_than_in_the_ledger_keeps_nobody_from_leaving(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    second_day(rig, embedded)
    # Alpaca takes no buy beside a stop; a transfer of shares looks the same to us.
    embedded.faults.add({"settings": {"refuses_wash_trades": False}})
    market.by_hand(embedded, "S01", "buy", "2")
    summary = trade_session(rig)
    assert "position S01" in summary.halted
    assert summary.exits_filled == 2


def trade_until_clean(rig: TradingContext, runs: int) -> None:
    """As many runs as it takes for everything to be settled, `runs` at most."""
    for _ in range(runs):
        summary = trade_session(rig)
        if summary.is_clean:
            return
    raise AssertionError(summary)


def test_an_order_given_up_too_early_is_found_by_its_id_while_no_list_shows_it(
    rig: TradingContext, embedded: EmbeddedBroker
) -> None:
    settings = market.make_settings(not_placed_after_s=0.01)
    embedded.faults.add(
        {"kind": "late_visibility", "lookups": 12, "answer": "duplicate_id", "match": {"method": "POST", "symbol": "S00"}}
    )
    quick = dataclasses.replace(rig, settings=settings)
    trade_until_clean(quick, 4)
    found = book.of_session(rig.ledger, ACCOUNT, market.ENTRY_DAY)[0]
    assert (found.symbol, found.state) == ("S00", OrderState.FILLED)


def test_a_refusal_of_the_second_post_says_nothing_of_the_first(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    embedded.faults.add(
        {"kind": "late_visibility", "lookups": 7, "match": {"method": "POST", "symbol": "S00"}},
        {"kind": "insufficient_buying_power", "match": {"method": "POST", "symbol": "S00", "nth": 2}},
    )
    trade_until_clean(rig, 3)
    found = book.of_session(rig.ledger, ACCOUNT, market.ENTRY_DAY)[0]
    assert (found.symbol, found.state, found.filled_qty) == ("S00", OrderState.FILLED, 3)
    assert [symbol for symbol, *_ in orders(embedded)].count("S00") == 1


def test_a_stop_given_up_yesterday_that_rests_at_the_broker_is_found_before_another_is_sent(
    rig: TradingContext, embedded: EmbeddedBroker
) -> None:
    embedded.faults.add({"kind": "late_visibility", "lookups": 1000, "match": {"method": "POST", "symbol": "S00", "nth": 2}})
    assert trade_session(rig).unprotected == ("S00",)
    embedded.advance_to(market.EXIT_DAY, "open")
    embedded.book.state.run("UPDATE orders SET hidden_lookups = 1 WHERE hidden_lookups > 0")
    summary = trade_session(rig)
    assert summary.is_clean, summary
    stops = [order for order in book.of_position(rig.ledger, _position_of(rig, "S00")) if order.purpose == book.STOP]
    assert [order.state for order in stops if order.state is OrderState.ACCEPTED] == [OrderState.ACCEPTED]


def _position_of(rig: TradingContext, symbol: str) -> str:
    return next(held.id for held in open_positions(rig.ledger, ACCOUNT) if held.symbol == symbol)


def test_an_entry_that_never_reached_the_broker_is_told(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    match = {"method": "POST", "path": "/v2/orders", "symbol": "S01"}
    embedded.faults.add({"kind": "503", "times": None, "match": match})
    settings = market.make_settings(resolve_timeout_s=1.0, not_placed_after_s=0.1)
    summary = trade_session(dataclasses.replace(rig, settings=settings))
    assert summary.is_clean, summary
    assert "the entry of S01 never reached the broker, in 2 tries" in str(summary.notes)
