"""Orders that a restored ledger has lost: taken back with their signals, and nobody's shares while those are not stored."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kobe_jobs.trading import lost_orders
from kobe_jobs.trading.context import SessionContext, TradingContext, open_session
from kobe_jobs.trading.reconcile.accept import accept_differences
from kobe_jobs.trading.reconcile.compare import reconcile_account
from kobe_jobs.trading.reconcile.difference import Difference
from kobe_jobs.trading.session import trade_session
from kobe_resources.broker.exchange.embedded import EmbeddedBroker
from kobe_resources.order_ledger.positions import open_positions
from kobe_resources.order_ledger.sessions import last_reconciliation
from kobe_resources.warehouse.store import Warehouse
from tests.support.builders import small_market as market

ACCOUNT = "simulated:PA0EMBEDDED0"


@pytest.fixture
def restored(rig: TradingContext, tmp_path: Path) -> Iterator[TradingContext]:
    """An empty ledger and an empty warehouse over the account that another ledger has traded with."""
    assert trade_session(rig).is_clean
    (tmp_path / "restored").mkdir()
    older = market.make_context(tmp_path / "restored", rig.broker, rig.settings)
    yield older
    older.ledger.close()


def store_signals(warehouse: Warehouse, *sessions: object, strategy: str = "rsi2") -> None:
    """As `kobe report` stores those of the small market."""
    for session in sessions:
        for signal in market.make_snapshot().signals[session]:
            warehouse.rows(
                "INSERT INTO signals (session, symbol, strategy, side, score, close, raw_close, stop_distance)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [session, signal.symbol, strategy, "long", signal.score, signal.close, signal.close, signal.stop_distance],
            )  # fmt: skip
            warehouse.rows("INSERT INTO indicators (symbol, session) VALUES (?, ?)", [signal.symbol, session])


def accepted(trading: TradingContext) -> tuple[SessionContext, list[Difference]]:
    context = open_session(trading, "rsi2")
    return context, accept_differences(context, reconcile_account(context, "test"), "restored", trading.warehouse)


def test_shares_of_lost_orders_are_nobody_s_until_their_signals_are_stored(restored: TradingContext) -> None:
    context, rest = accepted(restored)
    assert {row.what for row in rest if row.kind == "position"} == {f"S0{n}" for n in range(5)}
    assert str(context.notes).count("`kobe report`, then `kobe reconcile --accept` again") == 5
    kept = last_reconciliation(restored.ledger, ACCOUNT)
    assert kept is not None
    assert not kept["agrees"]
    assert (kept["snapshot"]["noted"]["positions"], kept["snapshot"]["noted"]["orders"]) == ({}, [])
    store_signals(restored.warehouse, market.FIRST_SIGNALS)
    assert accepted(restored)[1] == []
    assert {held.symbol: held.qty for held in open_positions(restored.ledger, ACCOUNT)} == {f"S0{n}": 3 for n in range(5)}
    assert reconcile_account(open_session(restored, "rsi2"), "after").agrees


def test_shares_of_lost_orders_that_no_signal_explains_are_noted_in_words(restored: TradingContext) -> None:
    store_signals(restored.warehouse, market.FIRST_SIGNALS, strategy="another")
    context, rest = accepted(restored)
    assert rest == []
    assert str(context.notes).count("which no stored signal explains: they count as yours") == 5
    assert open_positions(restored.ledger, ACCOUNT) == []


def test_a_kill_in_the_middle_of_an_accept_leaves_no_order_lost_for_good(
    restored: TradingContext, embedded: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_signals(restored.warehouse, market.FIRST_SIGNALS)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(lost_orders, "settle", killed)
        with pytest.raises(KeyboardInterrupt):
            accepted(restored)
    embedded.advance_to(market.EXIT_DAY, "open")
    assert accepted(restored)[1] == []
    there = {row["symbol"]: row["qty"] for row in embedded.book.state.positions()}
    assert there
    assert {held.symbol: held.qty for held in open_positions(restored.ledger, ACCOUNT)} == there
