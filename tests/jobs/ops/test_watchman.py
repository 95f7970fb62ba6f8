"""The health server tells by itself what nothing else could: a dead daemon, a session without a run."""

from __future__ import annotations

import datetime as dt
import re
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from kobe_jobs.cli.reference.pages import metrics_page
from kobe_jobs.ops.health import watchman
from kobe_jobs.ops.health.checks import METRICS, Question, Watch
from kobe_jobs.ops.health.server import health_app
from kobe_jobs.ops.health.watchman import Watchman, ask_session_run, message_of
from kobe_resources.alerts import AlertMessage
from kobe_resources.findings import Finding
from kobe_resources.kill_switch import KillSwitch
from kobe_resources.order_ledger.sessions import claim_session
from kobe_resources.order_ledger.states import OrderState
from kobe_resources.order_ledger.store import OrderLedger
from kobe_resources.runtime.report_site import listen_on, serving
from kobe_resources.settings.models import Settings

MORNING = dt.datetime(2026, 11, 27, 15, 1, tzinfo=dt.UTC)
"""10:01 in New York, on a half day."""


@pytest.fixture
def paper(home: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("ALPACA_API_KEY_ID", "a-key-id")
    monkeypatch.setenv("ALPACA_API_SECRET_KEY", "a-secret-key")
    return Settings.model_validate({"broker": {"stage": "paper"}})


def claim(home: Path, account: str, session: dt.date) -> None:
    with OrderLedger(home / "orders.sqlite") as ledger, ledger.write() as write:
        claim_session(write, account, session, "rsi2", "here")


def test_a_session_without_a_run_by_ten_is_told(paper: Settings, home: Path) -> None:
    assert not ask_session_run(paper, MORNING).ok
    assert ask_session_run(paper, MORNING - dt.timedelta(minutes=2)).ok
    assert ask_session_run(paper, MORNING.replace(hour=19)).ok, "shut at 13:00 on a half day"
    claim(home, "live:1", dt.date(2026, 11, 27))
    claim(home, "paper:1", dt.date(2026, 11, 25))
    answer = ask_session_run(paper, MORNING)
    assert not answer.ok
    assert "2026-11-27" in answer.seen
    claim(home, "paper:1", dt.date(2026, 11, 27))
    assert ask_session_run(paper, MORNING).ok


def test_a_stage_that_keeps_no_time_of_its_own_is_not_asked(home: Path) -> None:
    assert ask_session_run(Settings(), MORNING).ok


def test_a_daemon_that_never_ran_is_no_news_and_one_that_died_is() -> None:
    assert message_of(Finding("daemon", False, "no daemon has run")) == []
    metrics = {"daemon_heartbeat_age_seconds": 540.0}
    dead = Finding("daemon", False, "the last heartbeat is 0:09:00 old", metrics=metrics)
    (message,) = message_of(dead)
    assert "daemon is dead" in message.what
    assert "0:09:00" in message.body


def test_a_switch_that_was_turned_off_meanwhile_is_no_alert(home: Path) -> None:
    assert message_of(Finding("kill_switch", False, "on: lunch")) == []


def test_what_is_wrong_at_two_looks_in_a_row_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[AlertMessage] = []
    monkeypatch.setattr(watchman, "send_alert", lambda _settings, message: sent.append(message))
    answers: list[Any] = [Finding("daemon", False, "old", metrics={"daemon_heartbeat_age_seconds": 300.0})]
    monkeypatch.setattr(watchman, "ask_daemon", lambda: answers[0])
    watch = Watchman(Settings())
    assert watch.look() == []
    answers[0] = Finding("daemon", True, "4 daemons beat", metrics={"daemon_heartbeat_age_seconds": 3.0})
    assert watch.look() == []
    answers[0] = Finding("daemon", False, "old", metrics={"daemon_heartbeat_age_seconds": 300.0})
    KillSwitch().turn_on("lunch")
    assert watch.look() == []
    assert [message.what.partition(":")[0] for message in watch.look()] == ["the daemon is dead", "the kill switch is on"]
    assert len(sent) == 2


def test_orders_by_state_are_one_metric_and_the_account_is_measured() -> None:
    audit = Question("audit", lambda: Finding("audit", True, "", metrics={"orders_filled": 2, "orders_vetoed": 1}))
    account = Question("account", lambda: Finding("account", True, "", metrics={"equity": 1002.5, "positions": 1}))
    app, listener = health_app(Watch([audit]), ["127.0.0.1"], {"version": "1"}, Watch([account])), listen_on(0, "")
    port = listener.getsockname()[1]
    with serving(app, listener), urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        text = answer.read().decode()
    assert 'kobe_orders{state="filled"} 2.0' in text
    assert 'kobe_orders{state="vetoed"} 1.0' in text
    assert text.count("# TYPE kobe_orders gauge") == 1
    assert "kobe_equity 1002.5" in text
    assert 'check="account"' not in text, "it decides nothing"


def test_the_reference_names_the_metrics_of_an_answer_and_no_other() -> None:
    every = {**dict.fromkeys(METRICS, 1), **{f"orders_{state}": 1 for state in OrderState}}
    watch = Watch([Question("all", lambda: Finding("all", True, "", metrics=every))])
    app, listener = health_app(watch, ["127.0.0.1"], {"version": "1"}), listen_on(0, "")
    port = listener.getsockname()[1]
    with serving(app, listener), urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    exported = {sample.name: set(sample.labels) for family in families for sample in family.samples}
    listed = dict(re.findall(r"^\| `(kobe_\w+)(?:\{(\w+)=.*\})?` \|", metrics_page(), re.MULTILINE))
    assert set(listed) == set(exported)
    assert {name for name, label in listed.items() if label} == {"kobe_orders"}
    assert exported["kobe_orders"] == {listed["kobe_orders"]}
