"""Who may be at work on a data folder at once: one trading run, and reconciliations that a run waits for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from kobe_jobs.trading import run_lock
from kobe_jobs.trading.context import TradingContext
from kobe_jobs.trading.run_lock import AnotherRunTrades, ReconciliationGoesOn, trading_lock
from kobe_jobs.trading.session import trade_session
from kobe_resources.order_ledger import OrderLedger
from tests.support.waiting import until


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_lock, "BRIEF_WAIT_S", 0.05)


def reconciling(rig: TradingContext, done: threading.Event) -> threading.Thread:
    """Another process's reconciliation, which ends with `done`."""
    begun = threading.Event()

    def hold() -> None:
        with OrderLedger(rig.ledger.path) as ledger, trading_lock(ledger, reconciles=True):
            begun.set()
            done.wait(20)

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    assert begun.wait(20)
    return thread


def later(act: Callable[[], None]) -> None:
    threading.Timer(0.5, act).start()


def test_a_run_waits_for_a_reconciliation_and_says_so(rig: TradingContext, capsys: pytest.CaptureFixture[str]) -> None:
    done = threading.Event()
    thread = reconciling(rig, done)
    later(done.set)
    summary = trade_session(rig)
    thread.join()
    assert summary.is_clean
    assert summary.filled > 0
    assert "waited for a reconciliation" in summary.notes[0]
    assert capsys.readouterr().err.count("waiting for it") == 1


def test_a_reconciliation_that_never_ends_costs_the_session_loudly(
    rig: TradingContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_lock, "RECONCILIATION_WAIT_S", 0.3)
    done = threading.Event()
    thread = reconciling(rig, done)
    started = time.monotonic()
    with pytest.raises(ReconciliationGoesOn, match="has held the ledger"):
        trade_session(rig)
    assert time.monotonic() - started < 10
    done.set()
    thread.join()
    assert trade_session(rig).is_clean, "the locks are free again"


def test_a_second_trading_run_is_refused_at_once_even_while_the_first_waits(
    rig: TradingContext, capsys: pytest.CaptureFixture[str]
) -> None:
    done = threading.Event()
    thread = reconciling(rig, done)
    with OrderLedger(rig.ledger.path) as other:
        first = threading.Event()

        def trade() -> None:
            with OrderLedger(rig.ledger.path) as ledger, trading_lock(ledger):
                first.set()

        waiting = threading.Thread(target=trade, daemon=True)
        waiting.start()
        until(lambda: "waiting for it" in capsys.readouterr().err)
        with pytest.raises(AnotherRunTrades), trading_lock(other):
            pass
        done.set()
        assert first.wait(20)
    waiting.join()
    thread.join()


def test_a_reconciliation_is_refused_while_a_run_trades(rig: TradingContext) -> None:
    with trading_lock(rig.ledger), OrderLedger(rig.ledger.path) as other, pytest.raises(AnotherRunTrades):
        trading_lock(other, reconciles=True).__enter__()
