"""A disk that fills during a run: the run ends in an error of ours, and the alert that goes out has the first reason in it."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from kobe_jobs.trading.context import TradingContext
from kobe_jobs.trading.reporting.alerts import alert
from kobe_jobs.trading.session import trade_session
from kobe_resources.errors import KobeError, with_earlier
from kobe_resources.order_ledger import audit_chain
from kobe_resources.order_ledger.store import LedgerUnusable, OrderLedger
from kobe_resources.runtime.event_log import events_path


def no_space(*_: object, **__: object) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_disk_that_fills_under_the_audit_copy_hides_no_reason(rig: TradingContext, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.kill_switch.turn_on("no trading today")
    copy, calls = audit_chain.copy_out, []

    def copy_once(*arguments: Any) -> Any:
        calls.append(1)
        return copy(*arguments) if len(calls) == 1 else no_space()

    monkeypatch.setattr(audit_chain, "copy_out", copy_once)
    with pytest.raises(LedgerUnusable) as caught:
        trade_session(rig)
    assert len(calls) > 1
    assert "no trading today" in str(caught.value)
    assert "No space left on device" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_ledger_that_cannot_be_read_is_an_error_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOBE_HOME", str(tmp_path))

    class Full:
        def execute(self, *_: object) -> None:
            raise sqlite3.OperationalError("database or disk is full")

        def close(self) -> None:
            pass

    with OrderLedger() as ledger:
        ledger._connection = Full()  # type: ignore[assignment]
        with pytest.raises(LedgerUnusable, match="disk is full"):
            ledger.rows("SELECT 1")


def test_the_reason_before_is_told_once() -> None:
    def fail() -> None:
        try:
            raise KobeError("the broker is gone", "wait")
        finally:
            no_space()

    with pytest.raises(OSError, match="No space") as caught:
        fail()
    assert with_earlier(caught.value, "the disk is full") == "the broker is gone; then the disk is full"
    assert with_earlier(caught.value, "x: the broker is gone") == "x: the broker is gone"
    assert with_earlier(OSError("x"), "x") == "x"


def test_an_alert_goes_out_though_the_log_cannot_be_written(rig: TradingContext, monkeypatch: pytest.MonkeyPatch) -> None:
    import requests

    posted: list[Any] = []

    class Answer:
        status_code = 200

    monkeypatch.setattr(requests.Session, "post", lambda _self, url, json, **_: posted.append((url, json)) or Answer())
    monkeypatch.setattr("kobe_resources.runtime.event_log._append", no_space)
    trading = rig.settings.trading.model_copy(update={"alert_webhook": "https://hooks.example/x/secretpath"})
    settings = rig.settings.model_copy(update={"trading": trading})
    assert alert(settings, "a trading run failed", reason="No space left on device")
    ((_, body),) = posted
    assert body["reason"] == "No space left on device"
    assert not events_path().exists()
