"""What happens to an account beside its trades: cash that moves, fractions, strangers, and settings switched meanwhile."""

from __future__ import annotations

import dataclasses
import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from kobe_assets.research.strategies import STRATEGIES
from kobe_jobs.trading.bare_positions import ask_broker_state
from kobe_jobs.trading.context import SessionContext, TradingContext, open_session
from kobe_jobs.trading.fractions import settle_fractions
from kobe_jobs.trading.market_snapshot import Split
from kobe_jobs.trading.protection import judge
from kobe_jobs.trading.readiness import switching
from kobe_jobs.trading.readiness.switching import auction_finding, other_accounts_finding, quotes_finding, switching_finding
from kobe_jobs.trading.reconcile.accept import accept_differences
from kobe_jobs.trading.reconcile.compare import reconcile, reconcile_account
from kobe_jobs.trading.roll_forward import flag_untradable, name_odd_stops
from kobe_jobs.trading.session import trade_session
from kobe_resources.broker.exchange.embedded import EmbeddedBroker
from kobe_resources.broker.protocol import (
    BrokerActivity,
    BrokerError,
    BrokerFill,
    BrokerOrder,
    BrokerPosition,
    BrokerUnavailable,
    OrderStatus,
    Unauthorized,
)
from kobe_resources.order_ledger.positions import UNLISTED, open_positions, rescale
from kobe_resources.settings.models import Settings
from tests.jobs.trading.test_session import ACCOUNT, orders, second_day
from tests.support.builders import small_market as market

NOW = dt.datetime(2024, 3, 6, 15, 0, tzinfo=dt.UTC)
OPTION_ORDER = BrokerOrder(
    "o1", "by-hand", "", "buy", "limit", Decimal(0), Decimal(0), None, OrderStatus.NEW, "new", None, None, NOW,
    unread="mleg order: symbol is missing",
)  # fmt: skip


class Beside:
    """A broker in whose account something else goes on."""

    def __init__(self, inner: Any, **changes: Any) -> None:
        self._inner, self._changes = inner, changes

    def __getattr__(self, name: str) -> Any:
        change = self._changes.get(name)
        inner = getattr(self._inner, name)
        return inner if change is None else lambda *args, **kwargs: change(inner(*args, **kwargs))


@pytest.fixture
def traded(rig: TradingContext) -> TradingContext:
    """The small market's entry day, traded."""
    assert trade_session(rig).is_clean
    return rig


def session_of(rig: TradingContext, **changes: Any) -> SessionContext:
    made = open_session(dataclasses.replace(rig, broker_or_error=Beside(rig.broker, **changes)), "rsi2")  # type: ignore[arg-type]
    return made


def fee(amount: str) -> BrokerActivity:
    return BrokerActivity(f"fee {amount}", "FEE", "", Decimal(amount), NOW)


def less(amount: str) -> Any:
    return lambda account: dataclasses.replace(account, cash=account.cash - Decimal(amount))


def test_cash_that_an_activity_explains_is_told_and_halts_nothing(traded: TradingContext) -> None:
    context = session_of(traded, account=less("9"), activities=lambda rows: [*rows, fee("-9")])
    assert reconcile(context, "test").agrees
    assert "cash moved without a trade: fees −$9.00" in context.notes
    again = session_of(traded, account=less("9"), activities=lambda rows: [*rows, fee("-9")])
    assert reconcile(again, "test").agrees
    assert again.notes == []
    less_than_a_cent = session_of(traded, account=less("9"), activities=lambda rows: [*rows, fee("-9"), fee("-0.002")])
    assert reconcile(less_than_a_cent, "test").agrees
    assert less_than_a_cent.notes == []


def test_sessions_that_no_run_traded_are_named_by_the_next_one(traded: TradingContext, embedded: EmbeddedBroker) -> None:
    embedded.advance_to(market.SESSIONS[4], "open")
    summary = trade_session(traded)
    assert "not traded between 2024-03-06 and 2024-03-08: 2024-03-07" in summary.notes


def test_an_activity_that_is_cancelled_or_corrected_later_is_explained(traded: TradingContext) -> None:
    def morning(cash: str, amount: str) -> SessionContext:
        booked = dataclasses.replace(fee("-9"), amount=Decimal(amount))
        return session_of(traded, account=less(cash), activities=lambda rows: [*rows, booked])

    assert reconcile(morning("9", "-9"), "test").agrees
    corrected = morning("12", "-12")
    assert reconcile(corrected, "test").differences == ()
    assert "cash moved without a trade: fees −$3.00" in corrected.notes
    cancelled = morning("0", "0")
    assert reconcile(cancelled, "test").differences == ()
    assert "cash moved without a trade: fees $12.00" in cancelled.notes


def test_a_position_that_cannot_be_read_costs_its_own_symbol(traded: TradingContext) -> None:
    def unread(symbol: str) -> BrokerPosition:
        return BrokerPosition(symbol, Decimal(0), Decimal(0), Decimal(0), unread="qty is missing")

    ours = open_positions(traded.ledger, session_of(traded).account)[0]
    theirs = session_of(traded, positions=lambda rows: [*rows, unread("GIFT")])
    (row,) = reconcile(theirs, "test").differences
    assert (row.what, row.halts) == ("GIFT", False)
    assert "cannot be read: qty is missing" in row.broker
    odd = session_of(traded, positions=lambda rows: [unread(r.symbol) if r.symbol == ours.symbol else r for r in rows])
    found = reconcile(odd, "test")
    assert [(row.what, row.halts) for row in found.differences] == [(ours.symbol, True)]
    assert [row.what for row in accept_differences(odd, found, "mine") if row.kind == "position"] == [ours.symbol]
    assert open_positions(traded.ledger, odd.account)[0].qty == ours.qty


def test_a_loss_that_no_activity_explains_halts(traded: TradingContext) -> None:
    found = reconcile(session_of(traded, account=less("9")), "test")
    assert [(row.kind, row.halts) for row in found.differences] == [("cash", True)]


@pytest.mark.parametrize("failure", [BrokerUnavailable, Unauthorized])
@pytest.mark.parametrize(("loss", "halts"), [("4", False), ("400", True)])
def test_a_small_loss_is_told_where_activities_cannot_be_asked(
    traded: TradingContext, loss: str, halts: bool, failure: type[BrokerError]
) -> None:
    def silent(_: Any) -> Any:
        raise failure("the broker does not answer", "try again")

    found = reconcile(session_of(traded, account=less(loss), activities=silent), "test")
    assert [(row.kind, row.halts) for row in found.differences] == [("cash", halts)]


@pytest.mark.parametrize(
    ("status", "flag"), [("active", None), ("inactive", UNLISTED), ("soon_maybe", None), ("", None), (None, UNLISTED)]
)
def test_a_stock_is_sold_for_what_its_listing_is_only_where_the_broker_says_that_it_is_over(
    traded: TradingContext, status: str | None, flag: str | None
) -> None:
    def listed(asset: Any) -> Any:
        return None if status is None else dataclasses.replace(asset, status=status)

    context = session_of(traded, asset=listed)
    flag_untradable(context)
    assert {held.flag for held in open_positions(traded.ledger, context.account)} == {flag}
    assert ("which Kobe does not know" in str(context.notes)) == (status in ("soon_maybe", ""))


@pytest.mark.parametrize("unlisted", [True, False], ids=["unlisted", "not tradable"])
def test_a_stock_that_the_broker_takes_no_order_for_keeps_its_stop(
    rig: TradingContext, embedded: EmbeddedBroker, unlisted: bool
) -> None:
    second_day(rig, embedded)

    def refused(asset: Any) -> Any:
        return None if unlisted else dataclasses.replace(asset, tradable=False)

    summary = trade_session(dataclasses.replace(rig, broker_or_error=Beside(rig.broker, asset=refused)))  # type: ignore[arg-type]
    held = open_positions(rig.ledger, ACCOUNT)
    assert held
    assert {(row.symbol, float(row.qty)) for row in held} == {
        (symbol, qty) for symbol, _, qty, state in orders(embedded, "stop") if state == "new"
    }
    assert [symbol for symbol, side, *_ in orders(embedded) if side == "sell"] == []
    assert any("S01" in note and "its flag stays" in note for note in summary.notes)


def test_a_stock_that_is_listed_no_more_keeps_its_stop_in_later_sessions_too(
    rig: TradingContext, embedded: EmbeddedBroker
) -> None:
    second_day(rig, embedded)
    gone = dataclasses.replace(rig, broker_or_error=Beside(rig.broker, asset=lambda _: None))  # type: ignore[arg-type]
    trade_session(gone)
    embedded.advance_to(market.SESSIONS[4], "open")
    trade_session(gone)
    assert {held.symbol for held in open_positions(rig.ledger, ACCOUNT)} == {
        symbol for symbol, *_, state in orders(embedded, "stop") if state == "new"
    }
    assert [symbol for symbol, side, *_ in orders(embedded) if side == "sell"] == []


def test_a_stock_that_the_broker_says_nothing_of_leaves_all_the_same(rig: TradingContext, embedded: EmbeddedBroker) -> None:
    second_day(rig, embedded)

    def silent(_: Any) -> Any:
        raise BrokerUnavailable("the broker does not answer", "try again")

    trade_session(dataclasses.replace(rig, broker_or_error=Beside(rig.broker, asset=silent)))  # type: ignore[arg-type]
    assert ("S01", "sell", 3.0, "filled") in orders(embedded)


def test_an_order_about_options_is_a_row_and_halts_nothing(traded: TradingContext) -> None:
    option = BrokerPosition("KO261218C00060000", Decimal(2), Decimal(2), Decimal(1))
    context = session_of(traded, orders=lambda rows: [*rows, OPTION_ORDER], positions=lambda rows: [*rows, option])
    found = reconcile(context, "test")
    assert [(row.what, row.broker, row.halts) for row in found.differences] == [
        ("by-hand", "mleg order: symbol is missing", False)
    ]


def test_an_option_held_beside_our_stocks_needs_no_stop(traded: TradingContext) -> None:
    option = BrokerPosition("KO261218C00060000", Decimal(2), Decimal(2), Decimal(1))
    context = session_of(traded, positions=lambda rows: [*rows, option])
    assert judge(context, ask_broker_state(context.broker, context.ledger, context.account)).is_whole


def test_coins_and_options_are_rows_and_halt_nothing_and_need_no_stop(traded: TradingContext) -> None:
    coins = dataclasses.replace(
        OPTION_ORDER, id="o2", client_order_id="coins", symbol="BTCUSD", asset_class="crypto", unread="", qty=Decimal("0.5")
    )
    stops = [
        dataclasses.replace(OPTION_ORDER, id="o3", client_order_id="leg", kind="stop"),
        dataclasses.replace(coins, id="o4", client_order_id="guard", kind="stop", side="sell"),
        dataclasses.replace(coins, id="o5", client_order_id="pair", symbol="ETH/USD", asset_class=""),
    ]
    held = BrokerPosition("BTCUSD", Decimal("0.0123"), Decimal("0.0123"), Decimal(60000), asset_class="crypto")
    bought = BrokerFill("f1", "o2", "BTCUSD", "buy", Decimal("0.0123"), Decimal(60000), NOW)
    context = session_of(
        traded,
        orders=lambda rows: [*rows, coins, *stops],
        positions=lambda rows: [*rows, held],
        fills=lambda rows: [*rows, bought],
    )
    found = reconcile_account(context, "test")
    assert [(row.kind, row.what, row.halts) for row in found.differences] == [
        ("order", name, False) for name in ("coins", "leg", "guard", "pair")
    ]
    assert judge(context, ask_broker_state(context.broker, context.ledger, context.account)).is_whole
    stock = dataclasses.replace(coins, asset_class="us_equity", symbol="GME")
    assert not reconcile(session_of(traded, orders=lambda rows: [*rows, stock]), "test").agrees


@pytest.mark.parametrize(("rounding", "words"), [("ROUND_DOWN", "cash in lieu"), ("ROUND_UP", "rounded up")])
def test_a_fraction_that_a_split_left_follows_what_the_broker_made_of_it(
    traded: TradingContext, rounding: str, words: str
) -> None:
    held = open_positions(traded.ledger, session_of(traded).account)[0]
    with traded.ledger.write() as write:
        rescale(write, held, Decimal(2), Decimal(1), market.ENTRY_DAY)
    half = held.qty / 2
    assert half != half.to_integral_value()

    def paid(rows: list[BrokerPosition]) -> list[BrokerPosition]:
        whole = half.to_integral_value(rounding=rounding)
        return [dataclasses.replace(row, qty=whole) if row.symbol == held.symbol else row for row in rows]

    context = session_of(traded, positions=paid)
    row = next(row for row in reconcile_account(context, "test", look_only=True).differences if row.kind == "position")
    assert (row.what, row.halts) == (held.symbol, False)
    settle_fractions(context)
    left = {p.symbol: p.qty for p in open_positions(context.ledger, context.account)}
    assert left.get(held.symbol, Decimal(0)) == half.to_integral_value(rounding=rounding)
    assert words in str(context.notes)
    assert not [row for row in reconcile_account(context, "again").differences if row.kind == "position"]


def test_a_stop_that_filled_on_an_ex_date_is_told_as_suspicious(traded: TradingContext, embedded: EmbeddedBroker) -> None:
    embedded.advance_to(market.ENTRY_DAY, "close")
    splits = {market.STOPPED: (Split(market.STOPPED, market.ENTRY_DAY, 1.0, 2.0),)}
    assert trade_session(traded).is_clean
    context = session_of(traded)
    context.snapshot = dataclasses.replace(context.snapshot, splits=splits)
    name_odd_stops(context)
    assert f"suspicious: the stop of {market.STOPPED}" in str(context.notes)


def test_positions_leave_by_the_rules_that_they_were_entered_with(traded: TradingContext, embedded: EmbeddedBroker) -> None:
    embedded.advance_to(market.EXIT_DAY, "open")
    switched = changed(traded.settings, rsi_exit=95.0)
    context = open_session(dataclasses.replace(traded, settings=switched), "rsi2")
    finding = switching_finding(context)
    assert not finding.ok
    assert "leaves by the rules it was entered with (rsi2: rsi_exit 70)" in finding.seen
    summary = trade_session(dataclasses.replace(traded, settings=switched))
    assert summary.exits == {"rsi_exit": len(market.LEAVING)}


def test_a_position_of_no_registered_strategy_is_told_with_what_to_do(traded: TradingContext, monkeypatch: Any) -> None:
    others = {name: strategy for name, strategy in STRATEGIES.items() if name != "rsi2"}
    monkeypatch.setattr(switching, "readable_strategies", lambda _: (others, ""))
    finding = switching_finding(session_of(traded))
    assert "is not registered" in finding.seen
    assert "register the strategy" in finding.hint
    assert "nothing to do" not in finding.hint


def test_a_position_whose_strategy_cannot_be_asked_any_more_keeps_no_other_from_leaving(
    traded: TradingContext, embedded: EmbeddedBroker
) -> None:
    odd, *others = market.LEAVING
    with traded.ledger.write() as write:
        write.execute(
            "UPDATE intents SET decision = json_set(decision, '$.rules.params', json('{}')) WHERE symbol = ? AND leg = 'entry'",
            (odd,),
        )
    embedded.advance_to(market.EXIT_DAY, "open")
    summary = trade_session(traded)
    assert summary.exits == {"rsi_exit": len(others)}
    told = f"no rule to leave by, the stop stays: {odd}; with the parameters of the entry the strategy rsi2 fails"
    assert told in summary.halted
    assert summary.unprotected == ()


def test_a_renamed_position_is_followed_once_the_broker_shows_it(traded: TradingContext, embedded: EmbeddedBroker) -> None:
    old = open_positions(traded.ledger, session_of(traded).account)[0].symbol
    embedded.advance_to(market.EXIT_DAY, "open")
    embedded.faults.add({"settings": {"renames": {old: "NEW"}}})
    assert traded.snapshot is not None
    snapshot = dataclasses.replace(traded.snapshot, renames={old: (market.EXIT_DAY, "NEW")}, signals={})
    summary = trade_session(dataclasses.replace(traded, snapshot=snapshot))
    names = {held.symbol for held in open_positions(traded.ledger, summary.account)}
    assert "NEW" in names
    assert old not in names
    assert f"{old} is called NEW since {market.EXIT_DAY}" in str(summary.notes)
    assert summary.unprotected == ()


def changed(settings: Settings, **strategy: Any) -> Settings:
    return settings.model_copy(update={"strategy": settings.strategy.model_copy(update=strategy)})


def test_preflight_says_what_paper_does_with_auction_orders_and_what_other_accounts_hold(traded: TradingContext) -> None:
    auction = traded.settings.model_copy(update={"execution": traded.settings.execution.model_copy(update={"entry": "opg"})})
    on_paper = auction_finding(dataclasses.replace(traded, settings=auction, stage="paper"))
    assert (on_paper.ok, on_paper.blocks) == (False, False)
    assert "expire" in on_paper.seen
    assert auction_finding(traded).ok
    assert other_accounts_finding(traded).ok
    elsewhere = other_accounts_finding(dataclasses.replace(traded, stage="paper"))
    assert "simulated:PA0EMBEDDED0 holds" in elsewhere.seen
    assert quotes_finding(session_of(traded)).ok


def test_a_book_of_two_strategies_trades_through_one_gate(rig: TradingContext, tmp_path: Path) -> None:
    snapshot = rig.snapshot
    assert snapshot is not None
    own = snapshot.signals[market.FIRST_SIGNALS]
    mixed = [
        dataclasses.replace(signal, strategy=name)
        for pair in zip(own, own, strict=True)
        for signal, name in zip(pair, ("rsi2", "ibs"), strict=True)
    ]
    portfolio = rig.settings.portfolio.model_copy(update={"strategies": {"rsi2": 1.0, "ibs": 0.5}})
    book = dataclasses.replace(
        rig,
        settings=rig.settings.model_copy(update={"portfolio": portfolio}),
        snapshot=dataclasses.replace(snapshot, signals={market.FIRST_SIGNALS: tuple(mixed)}),
    )
    summary = trade_session(book)
    assert summary.is_clean, summary
    assert summary.strategy == "portfolio"
    assert summary.refused["already_open"] >= summary.filled
    assert {held.strategy for held in open_positions(book.ledger, summary.account)} == {"rsi2"}
    assert float(summary.budget_used) <= market.BUDGET
