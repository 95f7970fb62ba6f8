"""A trading run of the command line, as the Dagster UI shows it."""

from __future__ import annotations

import dataclasses
import datetime as dt
from decimal import Decimal
from pathlib import Path

import dagster as dg
import pytest

from kobe_jobs.cli.output import show_summary
from kobe_jobs.trading.reporting import alerts
from kobe_jobs.trading.reporting.dagster_events import show_run
from kobe_jobs.trading.reporting.order_rows import order_row
from kobe_jobs.trading.reporting.summary import RunSummary
from kobe_resources.alerts import AlertMessage
from kobe_resources.order_ledger import OrderLedger
from kobe_resources.order_ledger import orders as book
from kobe_resources.runtime.dagster_instance import open_instance
from kobe_resources.settings.models import Settings
from tests.support.builders.trading import order_plan

SUMMARY = RunSummary(
    run_id="0123456789ab", stage="simulated", account="A", strategy="rsi2", session=dt.date(2024, 1, 3),
    signal_session=dt.date(2024, 1, 2), signals=2, refused={"no_bar": 1}, submitted=1, filled=1, unfilled=0, unsettled=0,
    pending=0, exits={}, exits_filled=0, stops=1, unprotected=(), budget_used="75.00", orphans=(), differences=(),
    config_pin="pin", audit_head="6:ab",
)  # fmt: skip


def test_runs_of_the_command_line_appear_under_runs_and_in_the_assets_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KOBE_HOME", str(tmp_path))
    show_run(SUMMARY)
    assert not (tmp_path / "dagster").exists()
    with open_instance():
        pass
    show_run(SUMMARY)
    show_run(dataclasses.replace(SUMMARY, halted="the kill switch is on"))
    with open_instance() as instance:
        runs = instance.get_runs()
        assert [(run.job_name, run.status.value) for run in runs] == [
            ("trade_session", "FAILURE"),
            ("trade_session", "SUCCESS"),
        ]
        assert {run.tags["kobe/session"] for run in runs} == {"2024-01-03"}
        for asset in ("orders", "fills", "positions"):
            event = instance.get_latest_materialization_event(dg.AssetKey(asset))
            assert event is not None
            assert event.run_id == runs[0].run_id


def test_each_outcome_of_a_session_is_told_in_its_own_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """With orders for the open a session has a run before it and one after it: the second tells what was filled."""
    messages: list[AlertMessage] = []
    monkeypatch.setattr(alerts, "send_alert", lambda _, message: messages.append(message) or True)
    waiting = dataclasses.replace(SUMMARY, filled=0, working=1, stops=0)
    for summary in (waiting, waiting, SUMMARY):
        alerts.alert_of_run(Settings(), summary)
    assert [message.text for message in messages[1:]] == [
        "2 signals, 1 refused, 1 sent, 1 waiting, 0 filled; $75.00 of the budget used, 0 stops stand",
        "2 signals, 1 refused, 1 sent, 1 filled; $75.00 of the budget used, 1 stop stands",
    ]
    assert messages[0].key == messages[1].key != messages[2].key


def test_the_message_of_a_run_holds_its_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a stop sold since the last run stands in the notes alone: no order of the session tells of it."""
    messages: list[AlertMessage] = []
    monkeypatch.setattr(alerts, "send_alert", lambda _, message: messages.append(message) or True)
    alerts.alert_of_run(Settings(), dataclasses.replace(SUMMARY, notes=("AAA left by its stop on 2024-01-02, at 57.50",)))
    assert messages[0].text.splitlines()[1:] == ["AAA left by its stop on 2024-01-02, at 57.50"]


def test_an_order_that_would_be_sent_shows_its_limit_its_stop_and_its_dollars(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with OrderLedger(tmp_path / "orders.sqlite") as ledger, ledger.write() as write:
        entry = book.would_send(write, order_plan(qty=Decimal("1.25")))
        stop = order_plan(
            tag="stop", side="sell", kind="stop", time_in_force="gtc", limit_price=None, stop_price=Decimal("57.5")
        )
        rows = tuple(order_row(order) for order in (entry, book.would_send(write, stop)))
    show_summary(dataclasses.replace(SUMMARY, stage="shadow", would_send=1, orders=rows), as_json=False)
    shown = capsys.readouterr().out
    assert "limit 60.00" in shown
    assert "$75.00" in shown
    assert "stop 57.50" in shown
    assert [row["dollars"] for row in rows] == ["75.00", None]
