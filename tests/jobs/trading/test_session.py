"""A trading run over HTTP against the embedded broker: what it trades, refuses, protects, and when it does nothing."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import time
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from kobe_jobs.trading import admission
from kobe_jobs.trading import context as context_module
from kobe_jobs.trading import session as run_module
from kobe_jobs.trading.admission import NotConfirmed, StaleSignal
from kobe_jobs.trading.context import MarketShut, NotThisSession, SessionContext, TradingContext
from kobe_jobs.trading.market_snapshot import Split
from kobe_jobs.trading.readiness.preflight import NotReady
from kobe_jobs.trading.readiness.research_gate import EvidenceMissing
from kobe_jobs.trading.run_lock import AnotherRunTrades, trading_lock
from kobe_jobs.trading.session import trade_session
from kobe_resources.broker.exchange.embedded import EmbeddedBroker
from kobe_resources.broker.open import connect_embedded
from kobe_resources.broker.protocol import Unauthorized
from kobe_resources.kill_switch import KillSwitchOn
from kobe_resources.order_ledger import OrderState
from kobe_resources.order_ledger import orders as book
from kobe_resources.order_ledger.positions import all_positions, open_positions
from kobe_resources.order_ledger.sessions import claim_of
from tests.support.builders import small_market as market

ACCOUNT = "simulated:PA0EMBEDDED0"


class Died(BaseException):
    """A process that is killed: nothing of it goes on."""


def orders(embedded: EmbeddedBroker, kind: str = "limit") -> list[tuple[str, str, float, str]]:
    """(symbol, side, shares, status) of what the broker took, in order."""
    rows = embedded.book.state.rows("SELECT * FROM orders WHERE kind = ? ORDER BY seq", (kind,))
    return [(row["symbol"], row["side"], row["qty"], row["status"]) for row in rows]


def posts(embedded: EmbeddedBroker) -> int:
    """How many orders were posted."""
    return sum(request == ("POST", "/v2/orders") for request in embedded.requests())


def rewrite(context: TradingContext | SessionContext, *statements: str) -> None:
    """Change the ledger as no run does: to what a killed one leaves behind, say."""
    for statement in statements:
        context.ledger.connection.execute(statement)


def second_day(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    """Trade the entry day and stand at the next opening."""
    assert trade_session(rig).is_clean
    embedded.advance_to(market.EXIT_DAY, "open")


def test_entries_go_out_in_signal_order_within_the_budget_and_are_protected(
    rig: TradingContext, embedded: EmbeddedBroker
) -> None:
    summary = trade_session(rig)
    assert summary.is_clean, summary
    assert summary.waterfall() == [("signals", 6), ("refused: exceeds_daily_budget", -1), ("submitted", 5), ("filled", 5)]
    assert orders(embedded) == [(symbol, "buy", 3.0, "filled") for symbol in market.FIRST_ENTRIES[:5]]
    assert orders(embedded, "stop") == [(symbol, "sell", 3.0, "new") for symbol in market.FIRST_ENTRIES[:5]]
    assert Decimal(summary.budget_used) <= Decimal(repr(market.BUDGET))


def test_an_entry_carries_the_ask_and_a_tenth_of_a_percent_on_the_tick(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    trade_session(rig)
    first = book.of_session(rig.ledger, ACCOUNT, market.ENTRY_DAY)[0]
    ask = market.price_of("S00") * 1.0005
    assert first.limit_price == Decimal("20.04")
    assert float(first.filled_avg_price or 0) == pytest.approx(ask, rel=1e-12)
    held = open_positions(rig.ledger, ACCOUNT)[0]
    # 20.01 - 2.00 = 18.01, away from the market on the tick.
    assert held.stop_price == Decimal("18.01")


def test_exits_go_first_and_their_stops_are_cancelled_before_them(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    second_day(rig, embedded)
    summary = trade_session(rig)
    assert summary.is_clean, summary
    assert (summary.exits, summary.exits_filled) == ({"rsi_exit": 2}, 2)
    asked = [request for request in embedded.requests() if request[0] in ("POST", "DELETE")][10:]
    assert [method for method, _ in asked[:4]] == ["DELETE", "POST", "DELETE", "POST"]
    assert orders(embedded)[5:7] == [("S01", "sell", 3.0, "filled"), ("S02", "sell", 3.0, "filled")]


def test_a_symbol_that_left_at_this_open_is_not_entered_again(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    second_day(rig, embedded)
    assert trade_session(rig).refused == {"already_open": 1}


def test_a_stop_that_triggered_yesterday_closes_its_position_on_that_day(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    second_day(rig, embedded)
    summary = trade_session(rig)
    stopped = next(held for held in all_positions(rig.ledger, ACCOUNT) if held.symbol == market.STOPPED)
    assert (stopped.is_open, stopped.exit_reason, stopped.exit_session) == (False, "stop", market.ENTRY_DAY)
    assert f"{market.STOPPED} left by its stop on {market.ENTRY_DAY}, at {stopped.exit_price:.2f}" in summary.notes


def test_a_position_leaves_after_its_bars(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    quick = dataclasses.replace(
        rig,
        settings=market.make_settings().model_copy(
            update={"strategy": rig.settings.strategy.model_copy(update={"time_stop": 1})}
        ),
    )
    second_day(quick, embedded)
    summary = trade_session(quick)
    assert summary.exits == {"rsi_exit": 2, "time_stop": 2}


def test_thirteen_orders_take_less_than_five_seconds(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    symbols = market.SYMBOLS
    signals = tuple(market._signal(symbol, market.FIRST_SIGNALS, rank) for rank, symbol in enumerate(symbols))
    snapshot = market.make_snapshot(signals={market.FIRST_SIGNALS: signals})
    settings = market.make_settings().model_copy(
        update={"policy": rig.settings.policy.model_copy(update={"max_daily_notional": 1000.0})}
    )
    began = time.process_time()
    summary = trade_session(dataclasses.replace(rig, snapshot=snapshot, settings=settings))
    assert summary.submitted == 12
    assert posts(embedded) == 24
    assert time.process_time() - began < 5.0


def test_a_session_is_traded_once(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    trade_session(rig)
    before = posts(embedded)
    again = trade_session(rig)
    assert again.is_clean, again
    assert any("already traded" in note for note in again.notes)
    assert posts(embedded) == before


def test_a_run_beside_another_says_so_and_sends_nothing(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    with trading_lock(rig.ledger), pytest.raises(AnotherRunTrades, match="another run is trading"):
        trade_session(rig)
    assert posts(embedded) == 0


STALE = {
    "bars of two sessions ago": {"sessions": np.array(market.SESSIONS[:1], dtype="datetime64[D]")},
    "no indicators of the session before": {"computed": frozenset(market.SESSIONS[:1])},
    "signals computed from other bars": {"signals_fit_bars": False},
}


@pytest.mark.parametrize("name", STALE)
def test_older_signals_are_stale_and_nothing_is_sent(rig: TradingContext, embedded: EmbeddedBroker, name: str) -> None:
    with pytest.raises(StaleSignal, match="stale_signal"):
        trade_session(dataclasses.replace(rig, snapshot=market.make_snapshot(**STALE[name])))
    assert posts(embedded) == 0
    assert claim_of(rig.ledger, ACCOUNT, market.ENTRY_DAY) is None
    assert rig.ledger.rows("SELECT count(*) FROM audit WHERE kind = 'stale_signal'")[0][0] == 1


def test_another_session_than_the_clock_s_is_refused(rig: TradingContext) -> None:
    with pytest.raises(NotThisSession):
        trade_session(rig, market.EXIT_DAY)


def test_a_shut_market_gets_no_order(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    embedded.advance_to(market.ENTRY_DAY, "after")
    with pytest.raises(MarketShut):
        trade_session(rig)
    assert posts(embedded) == 0


def test_no_entry_goes_out_in_the_last_minutes(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    embedded.advance_to(market.ENTRY_DAY, "close")
    summary = trade_session(rig)
    assert posts(embedded) == 0
    assert "entries end" in summary.halted
    assert summary.pending == 5


def test_the_kill_switch_stops_a_run_before_it_begins(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    rig.kill_switch.turn_on("testing")
    with pytest.raises(KillSwitchOn, match="testing"):
        trade_session(rig)
    assert posts(embedded) == 0


class KillAt:
    """A kill switch that a person turns on while the n-th order is on its way."""

    def __init__(self, rig: TradingContext, at: int) -> None:
        self._inner = rig.broker
        self._switch = rig.kill_switch
        self._left = at

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def submit(self, request: Any) -> Any:
        answer = self._inner.submit(request)
        self._left -= 1
        if self._left == 0:
            self._switch.turn_on("in the middle")
        return answer


@pytest.mark.parametrize("at", [1, 3, 6])
def test_the_kill_switch_is_read_again_before_every_order(rig: TradingContext, embedded: EmbeddedBroker, at: int) -> None:
    summary = trade_session(dataclasses.replace(rig, broker_or_error=KillAt(rig, at)))  # type: ignore[arg-type]
    assert posts(embedded) == at
    assert "kill switch" in summary.halted
    assert not summary.is_clean
    claim = claim_of(rig.ledger, ACCOUNT, market.ENTRY_DAY)
    assert claim is not None
    assert claim.state == "halted"
    rig.kill_switch.turn_off()
    assert trade_session(rig).is_clean
    assert len(orders(embedded)) == 5
    assert len(orders(embedded, "stop")) == 5


def test_with_the_switch_on_no_protective_stop_is_taken_away(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    second_day(rig, embedded)

    class KillAfterReconciling(KillAt):
        def positions(self) -> Any:
            self._switch.turn_on("now")
            return self._inner.positions()

    summary = trade_session(dataclasses.replace(rig, broker_or_error=KillAfterReconciling(rig, 0)))  # type: ignore[arg-type]
    assert "kill switch" in summary.halted
    assert [status for *_, status in orders(embedded, "stop")] == ["new", "new", "new", "filled", "new"]


def test_shadow_decides_and_sends_nothing(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    shadow = connect_embedded(rig.settings, embedded, read_only=True)
    summary = trade_session(dataclasses.replace(rig, stage="shadow", broker_or_error=shadow))
    assert posts(embedded) == 0
    assert summary.refused == {"exceeds_daily_budget": 1}
    assert (summary.would_send, summary.submitted) == (5, 0)
    assert summary.is_clean
    decided = book.of_session(rig.ledger, "shadow:PA0EMBEDDED0", market.ENTRY_DAY)
    assert [(order.symbol, order.qty, order.limit_price) for order in decided][:2] == [
        ("S00", 3, Decimal("20.04")),
        ("S01", 3, Decimal("21.04")),
    ]


def test_a_difference_halts_entries_but_not_exits(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    second_day(rig, embedded)
    market.by_hand(embedded, "S11", "buy", "2", "by hand")
    summary = trade_session(rig)
    assert "S11" in summary.halted
    assert (summary.submitted, summary.exits_filled) == (0, 2)
    assert {(row["kind"], row["what"]) for row in summary.differences if row["halts"]} >= {
        ("position", "S11"),
        ("order", "by hand"),
    }
    assert "S11" not in {held.symbol for held in open_positions(rig.ledger, ACCOUNT)}


def test_bad_keys_stop_the_run_and_lose_nothing(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    embedded.faults.add({"kind": "401", "match": {"method": "POST", "path": "/v2/orders", "nth": 2}})
    with pytest.raises(Unauthorized):
        trade_session(rig)
    assert posts(embedded) == 2
    assert trade_session(rig).is_clean
    assert len(orders(embedded)) == 5


FATES: dict[str, tuple[dict[str, Any], OrderState]] = {
    "reset before": ({"kind": "reset", "when": "before"}, OrderState.FILLED),
    "reset after": ({"kind": "reset", "when": "after"}, OrderState.FILLED),
    "504 after": ({"kind": "504", "when": "after"}, OrderState.FILLED),
    "html instead of an order": ({"kind": "200_html", "when": "after"}, OrderState.FILLED),
    "late visibility": ({"kind": "late_visibility", "lookups": 3}, OrderState.FILLED),
    "later than we wait": ({"kind": "late_visibility", "lookups": 9}, OrderState.FILLED),
    "a refusal that is none": ({"kind": "wash_trade", "when": "after"}, OrderState.FILLED),
    "a refusal": ({"kind": "insufficient_buying_power"}, OrderState.REJECTED),
    "no fill": ({"kind": "no_fill"}, OrderState.CANCELED),
    "a part": ({"kind": "partial_fill", "share": 0.7}, OrderState.PARTIAL),
    "an unknown status": ({"kind": "unknown_status", "when": "after"}, OrderState.FILLED),
}


@pytest.mark.parametrize("name", FATES)
def test_an_order_in_trouble_ends_where_the_broker_has_it(rig: TradingContext, embedded: EmbeddedBroker, name: str) -> None:
    fault, state = FATES[name]
    embedded.faults.add({**fault, "match": {"method": "POST", "path": "/v2/orders", "symbol": "S01"}})
    summary = trade_session(rig)
    assert summary.is_clean, summary
    order = next(i for i in book.of_session(rig.ledger, ACCOUNT, market.ENTRY_DAY) if i.symbol == "S01" and i.tag == "entry")
    assert order.state is state
    assert sum(symbol == "S01" for symbol, *_ in orders(embedded)) == (0 if state is OrderState.REJECTED else 1)
    held = {row["symbol"]: row["qty"] for row in embedded.book.state.positions()}
    assert {p.symbol: float(p.qty) for p in open_positions(rig.ledger, ACCOUNT)} == held
    stops = {symbol: qty for symbol, _, qty, status in orders(embedded, "stop") if status == "new"}
    assert stops == held


def test_a_day_order_that_rests_is_cancelled_when_its_time_is_over(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    settings = market.make_settings(time_in_force="day")
    embedded.faults.add({"kind": "no_fill", "match": {"method": "POST", "path": "/v2/orders", "symbol": "S01"}})
    summary = trade_session(dataclasses.replace(rig, settings=settings))
    assert summary.is_clean, summary
    assert ("S01", "buy", 3.0, "canceled") in orders(embedded)
    assert (summary.filled, summary.unfilled) == (4, 1)


def test_a_refused_exit_is_told_and_tried_again_by_the_next_run(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    second_day(rig, embedded)
    embedded.faults.add({"settings": {"no_offer_until_s": 0}})
    embedded.faults.add({"kind": "not_tradable", "match": {"method": "POST", "path": "/v2/orders", "symbol": "S01"}})
    summary = trade_session(rig)
    assert "S01 shall leave and was not sold" in summary.halted
    assert summary.unprotected == ()
    assert trade_session(rig).is_clean
    assert [status for symbol, side, _, status in orders(embedded) if (symbol, side) == ("S01", "sell")] == ["filled"]


@pytest.mark.usefixtures("only_waiting_takes_time")
def test_an_exit_whose_fate_is_open_leaves_the_shares_protected_where_the_broker_still_has_them(
    rig: TradingContext, embedded: EmbeddedBroker
) -> None:
    second_day(rig, embedded)
    quick = dataclasses.replace(rig, settings=market.make_settings(resolve_timeout_s=0.2, not_placed_after_s=60))
    # The broker's own clock is real: quotes have an offer from the first question.
    embedded.faults.add({"settings": {"no_offer_until_s": 0}})
    embedded.faults.add(
        {"kind": "504", "when": "before", "match": {"method": "POST", "path": "/v2/orders", "symbol": "S01"}},
    )
    summary = trade_session(quick)
    assert not summary.is_clean
    assert summary.unprotected == ()
    assert "exit S01 is not settled" in summary.halted
    assert [status for symbol, *_, status in orders(embedded, "stop") if symbol == "S01"] == ["canceled", "new"]
    assert trade_session(rig).is_clean
    assert ("S01", "sell", 3.0, "filled") in orders(embedded)


def test_a_stop_that_turns_up_without_its_position_is_cancelled(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    second_day(rig, embedded)
    with rig.ledger.write() as write:
        write.execute(
            "UPDATE positions SET is_open = 0, exit_session = '2024-03-06', exit_reason = 'sold' WHERE symbol = 'S04'"
        )
    embedded.book.state.run("DELETE FROM positions WHERE symbol = 'S04'")
    embedded.book.state.run("UPDATE account SET cash = cash + 72")
    trade_session(rig)
    assert [status for symbol, *_, status in orders(embedded, "stop") if symbol == "S04"] == ["canceled"]


def test_a_position_leaves_by_the_rules_of_the_strategy_that_entered_it(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    second_day(rig, embedded)
    summary = trade_session(dataclasses.replace(rig, snapshot=market.make_snapshot(signals={})), strategy="ibs")
    assert summary.exits == {"rsi_exit": 2}


def test_a_crash_after_planning_decides_again_on_fresh_quotes(
    rig: TradingContext, embedded: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr("kobe_jobs.trading.entries.send", die)
        with pytest.raises(Died):
            trade_session(rig)
    planned = book.of_session(rig.ledger, ACCOUNT, market.ENTRY_DAY)
    assert {order.state for order in planned} == {OrderState.PLANNED, OrderState.DENIED}
    assert trade_session(rig).is_clean
    again = book.of_session(rig.ledger, ACCOUNT, market.ENTRY_DAY)[0]
    assert again.decision["decided_at"] >= planned[0].decision["decided_at"]
    assert rig.ledger.rows("SELECT count(*) FROM audit WHERE kind = 'planned_again'")[0][0] == 5


def test_what_was_never_sent_is_let_go_the_next_day(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    embedded.advance_to(market.ENTRY_DAY, "close")
    assert trade_session(rig).pending == 5
    embedded.advance_to(market.EXIT_DAY, "open")
    assert trade_session(rig).is_clean
    gone = [i for i in book.of_session(rig.ledger, ACCOUNT, market.ENTRY_DAY) if i.reason == "session_over"]
    assert len(gone) == 5
    assert not [symbol for symbol, *_ in orders(embedded) if symbol in ("S00", "S04")]


def test_a_split_is_applied_before_anything_is_compared(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    second_day(rig, embedded)
    embedded.book.state.split("S04", 2.0, whole=False, moves_stops=True, price=0.0, at="")
    snapshot = market.make_snapshot(splits={"S04": (Split("S04", market.EXIT_DAY, 1.0, 2.0),)})
    summary = trade_session(dataclasses.replace(rig, snapshot=snapshot))
    assert summary.is_clean, summary
    held = next(p for p in open_positions(rig.ledger, ACCOUNT) if p.symbol == "S04")
    assert (held.qty, held.split_factor) == (6, 2)


def test_a_stop_that_the_broker_did_not_split_is_replaced(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    second_day(rig, embedded)
    embedded.book.state.run("UPDATE positions SET qty = qty * 2 WHERE symbol = 'S04'")
    snapshot = market.make_snapshot(splits={"S04": (Split("S04", market.EXIT_DAY, 1.0, 2.0),)})
    assert trade_session(dataclasses.replace(rig, snapshot=snapshot)).is_clean
    rows = embedded.book.state.rows(
        "SELECT qty, stop_price, status FROM orders WHERE symbol = 'S04' AND kind = 'stop' ORDER BY seq"
    )
    # 24.01 - 2.40 = 21.61 before the split, half of it on the tick below after.
    assert [(row["qty"], row["stop_price"], row["status"]) for row in rows] == [(3.0, 21.61, "canceled"), (6.0, 10.8, "new")]


def test_a_split_that_nobody_told_us_of_halts_entries(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    second_day(rig, embedded)
    embedded.book.state.split("S04", 2.0, whole=False, moves_stops=True, price=0.0, at="")
    summary = trade_session(rig)
    assert "S04" in summary.halted
    assert summary.submitted == 0


@pytest.fixture
def _in_stored_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded broker's clock and calendar are not the machine's, which paper and live insist on."""
    monkeypatch.setattr(run_module, "check_ready", lambda *_: None)


@pytest.mark.usefixtures("_in_stored_time")
def test_live_asks_for_the_phrase_and_sends_nothing_without_it(
    rig: TradingContext, embedded: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "check_evidence", lambda *_: None)
    live = dataclasses.replace(rig, stage="live")
    for typed in ("", "yes", "trade live"):
        with pytest.raises(NotConfirmed, match="trade live 2024-03-06 PA0EMBEDDED0"):
            trade_session(live, confirm=lambda _, typed=typed: typed)
    assert posts(embedded) == 0
    assert trade_session(live, confirm=lambda phrase: phrase).filled == 5


@pytest.mark.usefixtures("_in_stored_time")
@pytest.mark.parametrize("stage", ["paper", "live"])
def test_without_evidence_neither_paper_nor_live_trades(rig: TradingContext, embedded: EmbeddedBroker, stage: Any) -> None:
    with pytest.raises(EvidenceMissing, match="no walk-forward folds"):
        trade_session(dataclasses.replace(rig, stage=stage))
    assert posts(embedded) == 0


def test_a_blocked_account_is_refused_before_anything_else(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    with pytest.raises(NotReady, match=r"account: .*trading is blocked"):
        trade_session(market.with_blocked_account(rig))
    assert posts(embedded) == 0


def test_a_chain_that_does_not_hold_is_refused(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    second_day(rig, embedded)
    before = posts(embedded)
    rig.ledger.connection.execute("UPDATE audit SET body = body || ' ' WHERE seq = 9")
    with pytest.raises(NotReady, match="record 9 was changed"):
        trade_session(rig)
    assert posts(embedded) == before


@pytest.mark.parametrize("stage", ["paper", "live"])
def test_a_clock_that_is_not_the_broker_s_is_refused(rig: TradingContext, embedded: EmbeddedBroker, stage: Any) -> None:
    with pytest.raises(NotReady, match=r"clock: .* s from the broker's"):
        trade_session(dataclasses.replace(rig, stage=stage))
    assert posts(embedded) == 0


def test_a_switch_that_was_only_touched_is_on_the_chain_once_a_run_met_it(
    rig: TradingContext, embedded: EmbeddedBroker
) -> None:
    rig.kill_switch.path.touch()
    with pytest.raises(KillSwitchOn):
        trade_session(rig)
    body = json.loads(rig.ledger.rows("SELECT body FROM audit WHERE kind = 'run_failed'")[0]["body"])
    assert (body["error"], body["session"]) == ("KillSwitchOn", str(market.ENTRY_DAY))
    assert rig.ledger.verify_audit().not_copied == 0


def test_a_change_of_settings_is_on_the_chain(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    trade_session(rig)
    trade_session(rig)
    rows = rig.ledger.rows("SELECT body FROM audit WHERE kind = 'settings'")
    assert len(rows) == 1
    assert json.loads(rows[0]["body"])["settings"]["policy"]["max_daily_notional"] == market.BUDGET
    rig.ledger.pin = "cd"
    embedded.advance_to(market.EXIT_DAY, "open")
    trade_session(rig)
    assert rig.ledger.rows("SELECT count(*) FROM audit WHERE kind = 'settings'")[0][0] == 2


def test_the_copy_of_the_chain_is_complete_when_the_run_ends(rig: TradingContext) -> None:
    summary = trade_session(rig)
    found = rig.ledger.verify_audit(summary.audit_head)
    assert found.holds
    assert found.not_copied == 0


@pytest.fixture
def _hasty(monkeypatch: pytest.MonkeyPatch, embedded: EmbeddedBroker) -> None:
    """Quotes that do not come are not waited for, and those that come are there at once."""
    embedded.faults.add({"settings": {"no_offer_until_s": 0}})
    monkeypatch.setattr(context_module, "QUOTE_PATIENCE_S", 0.1)


QUOTES: dict[str, dict[str, Any]] = {
    "quote_one_sided": {"bid": Decimal(0)},
    "quote_crossed": {"bid": Decimal(900), "ask": Decimal(899)},
    "quote_stale": {"timestamp": dt.datetime(2024, 3, 5, 21, 0, tzinfo=dt.UTC)},
    "quote_not_finite": {"ask": Decimal("NaN")},
    "quote_wide_spread": {"bid": Decimal(80), "ask": Decimal(120)},
}


@pytest.mark.parametrize("veto", QUOTES)
@pytest.mark.usefixtures("_hasty")
def test_a_quote_that_cannot_be_leaned_on_is_no_quote_for_the_gate(
    rig: TradingContext, embedded: EmbeddedBroker, veto: str
) -> None:
    inner: Any = rig.broker

    class Odd:
        def __getattr__(self, name: str) -> Any:
            return getattr(inner, name)

        def quotes(self, symbols: Any) -> Any:
            found = inner.quotes(symbols)
            return {s: dataclasses.replace(q, **QUOTES[veto]) if s == "S01" else q for s, q in found.items()}

    # The spread of a broker in stored bars is the slippage of the settings; one at an address has its own.
    at_address = rig.settings.broker.model_copy(update={"base_url": "http://127.0.0.1:1"})
    rig = dataclasses.replace(rig, settings=rig.settings.model_copy(update={"broker": at_address}))
    summary = trade_session(dataclasses.replace(rig, broker_or_error=Odd()))  # type: ignore[arg-type]
    assert summary.refused == {"no_quote": 1}
    refused = next(i for i in book.of_session(rig.ledger, ACCOUNT, market.ENTRY_DAY) if i.symbol == "S01")
    assert (refused.reason, refused.detail) == ("no_quote", veto)
    assert summary.submitted == 5
    assert summary.is_clean, summary
    # With a quote after all, it is the one order that was missing, if the budget still has room for it.
    assert trade_session(rig).refused == {"exceeds_daily_budget": 1}


@pytest.mark.usefixtures("_hasty")
def test_a_symbol_without_a_quote_keeps_its_exit_flag_and_its_stop(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    second_day(rig, embedded)
    inner: Any = rig.broker

    class Silent:
        def __getattr__(self, name: str) -> Any:
            return getattr(inner, name)

        def quotes(self, symbols: Any) -> Any:
            return {symbol: quote for symbol, quote in inner.quotes(symbols).items() if symbol != "S01"}

    summary = trade_session(dataclasses.replace(rig, broker_or_error=Silent()))  # type: ignore[arg-type]
    assert summary.exits == {"rsi_exit": 1}
    assert any("S01" in note and "its flag stays" in note for note in summary.notes)
    kept = next(held for held in open_positions(rig.ledger, ACCOUNT) if held.symbol == "S01")
    assert kept.flag == "rsi_exit"
    assert ("S01", "sell", 3.0, "new") in orders(embedded, "stop")
    assert "S01 shall leave and was not sold" in summary.halted
    assert trade_session(rig).is_clean, "the session was left open for it"
    assert ("S01", "sell", 3.0, "filled") in orders(embedded)


@pytest.fixture
def fractional(rig: TradingContext) -> TradingContext:
    settings = rig.settings
    sizing = settings.sizing.model_copy(update={"whole_shares": False})
    return dataclasses.replace(rig, settings=settings.model_copy(update={"sizing": sizing}))


@pytest.mark.usefixtures("_in_stored_time")
def test_parts_of_shares_are_kept_from_paper_because_nothing_could_protect_them(
    fractional: TradingContext, embedded: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "check_evidence", lambda *_: None)
    summary = trade_session(dataclasses.replace(fractional, stage="paper"))
    assert posts(embedded) == 0
    assert summary.refused == {"fractional_not_protected": 6}


def test_the_summary_is_plain_json(rig: TradingContext) -> None:
    summary = trade_session(rig).as_json()
    assert json.loads(json.dumps(summary)) == summary
    assert summary["session"] == str(market.ENTRY_DAY)
    assert dt.date.fromisoformat(summary["signal_session"]) == market.FIRST_SIGNALS
