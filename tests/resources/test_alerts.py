"""Alerts reach a service on loopback: retried, never twice, within a deadline, and no address of one shows anywhere."""

from __future__ import annotations

import datetime as dt
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from kobe_jobs.cli.main import app
from kobe_jobs.trading.reconcile.difference import Difference
from kobe_jobs.trading.reporting.alerts import alert_of_differences
from kobe_resources import alerts
from kobe_resources.alerts import AlertMessage, send_alert, send_test
from kobe_resources.errors import UsageError
from kobe_resources.runtime.event_log import events_path, get_logger, hide, redact
from kobe_resources.settings.load import load_settings
from kobe_resources.settings.models import Settings
from kobe_resources.settings.pins import config_pin

TOKEN = "a1b2c3-token-of-the-phone"
MESSAGE = AlertMessage(frozenset({"halted"}), "a trading run was halted", {"reason": "a stop is missing", "run": "7"})


class Phone:
    """A service that keeps what it receives; `answers` are what it says first: a status, "drop" or "hang"."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.answers: list[int | str] = []
        phone = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                phone.received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                answer = phone.answers.pop(0) if phone.answers else 200
                if answer == "hang":
                    time.sleep(3)
                elif answer != "drop":
                    self.send_response(int(answer))
                    self.send_header("Content-Length", "0")
                    self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self.server.server_port}/{TOKEN}"


@pytest.fixture
def phone(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Phone]:
    monkeypatch.setattr(alerts, "PAUSES_S", (0.01, 0.01))
    phone = Phone()
    yield phone
    phone.server.shutdown()
    phone.server.server_close()


def with_addresses(*urls: str, **more: Any) -> Settings:
    return Settings.model_validate({"alerts": {"urls": list(urls), **more}})


def test_a_message_arrives_with_its_facts_and_only_once(phone: Phone) -> None:
    settings = with_addresses(phone.url)
    assert send_alert(settings, MESSAGE)
    assert send_alert(settings, AlertMessage(MESSAGE.kinds, MESSAGE.what, {**MESSAGE.facts, "run": "8"}))
    (message,) = phone.received
    assert message["title"] == "Kobe: a trading run was halted"
    assert "reason: a stop is missing" in message["message"]
    assert message["type"] == "failure"


def test_that_the_switch_is_off_again_is_good_news(phone: Phone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOBE_ALERTS__URLS", json.dumps([phone.url]))
    monkeypatch.setenv("KOBE_ALERTS__ON", '["kill"]')
    for command in ("on", "off"):
        assert CliRunner().invoke(app, ["kill", command]).exit_code == 0
    assert [message["type"] for message in phone.received] == ["failure", "success"]


def test_a_secret_in_a_persons_reason_is_sent_nowhere(phone: Phone) -> None:
    settings = with_addresses(phone.url, on=["kill"])
    what = f"the kill switch is on: {TOKEN} leaked"
    assert send_alert(settings, AlertMessage(frozenset({"kill"}), what))
    assert send_alert(settings, AlertMessage(frozenset({"kill"}), f"{what} twice", {"by": TOKEN}, text=TOKEN))
    assert len(phone.received) == 2
    assert TOKEN not in str(phone.received)
    assert "leaked" in phone.received[0]["title"]


def test_a_difference_is_sent_with_both_sides_and_once_a_day(phone: Phone) -> None:
    settings = with_addresses(phone.url, on=["difference"])
    rows = [Difference("cash", "account", "$100.00", "$50.00"), Difference("order", "mine", "none", "new", halts=False)]
    assert alert_of_differences(settings, "paper:PA1", rows)
    later = [Difference("cash", "account", "$100.00", "$51.00")]
    assert alert_of_differences(settings, "paper:PA1", later)
    assert alert_of_differences(settings, "paper:PA1", rows[1:]), "what halts nothing is no alert"
    (message,) = phone.received
    assert "cash account: ledger $100.00, broker $50.00" in message["message"]


def test_what_was_not_taken_is_tried_again(phone: Phone) -> None:
    phone.answers = [503, 500]
    assert send_alert(with_addresses(phone.url), MESSAGE)
    assert len(phone.received) == 3


@pytest.mark.parametrize("is_webhook", [False, True])
@pytest.mark.parametrize("answer", ["drop", "hang"])
def test_what_may_have_arrived_is_not_sent_twice(
    phone: Phone, monkeypatch: pytest.MonkeyPatch, answer: str, is_webhook: bool
) -> None:
    monkeypatch.setattr(alerts, "WEBHOOK_TIMEOUT_S", 0.2)
    phone.answers = [answer]
    webhook = Settings.model_validate({"trading": {"alert_webhook": phone.url.replace("json:", "http:")}})
    settings = webhook if is_webhook else with_addresses(phone.url)
    assert not send_alert(settings, MESSAGE, deadline_s=1.0)
    assert send_alert(settings, MESSAGE), "nothing is left to tell"
    assert len(phone.received) == 1


def test_what_surely_did_not_arrive_is_sent_by_the_next(phone: Phone) -> None:
    phone.answers = [500, 500, 500]
    assert not send_alert(with_addresses(phone.url), MESSAGE)
    assert send_alert(with_addresses(phone.url), MESSAGE)
    assert len(phone.received) == 4


def test_an_address_that_is_dead_holds_up_no_other_which_is_sent_it_once(phone: Phone) -> None:
    settings = with_addresses("json://127.0.0.1:9/dead-secret-8888", phone.url)
    for _ in range(2):
        assert not send_alert(settings, MESSAGE)
    assert len(phone.received) == 1


def test_a_service_that_hangs_costs_the_deadline_and_no_more(phone: Phone) -> None:
    phone.answers = ["hang"]
    began = time.monotonic()
    assert not send_alert(with_addresses(phone.url), MESSAGE, deadline_s=0.5)
    assert time.monotonic() - began < 1.5


def test_a_service_that_breaks_fails_no_run(phone: Phone, monkeypatch: pytest.MonkeyPatch) -> None:
    import apprise

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError(f"cannot talk to {phone.url}")

    monkeypatch.setattr(apprise.Apprise, "instantiate", broken)
    assert not send_alert(with_addresses(phone.url), MESSAGE)
    assert "RuntimeError" in events_path().read_text()
    assert TOKEN not in events_path().read_text()


def test_only_what_is_wished_for_is_sent(phone: Phone) -> None:
    settings = with_addresses(phone.url, on=["unprotected"])
    assert send_alert(settings, MESSAGE)
    assert phone.received == []
    assert send_alert(settings, AlertMessage(frozenset({"halted", "unprotected"}), "bare"))
    assert len(phone.received) == 1
    assert set(Settings().alerts.on) == {"failed", "halted", "run", "kill", "unprotected", "difference"}


def test_a_message_repeats_on_another_day_in_new_york_and_not_on_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def identity_at(moment: str) -> str:
        class At(dt.datetime):
            @classmethod
            def now(cls, tz: dt.tzinfo | None = None) -> Any:
                return dt.datetime.fromisoformat(moment).astimezone(tz)

        with monkeypatch.context() as patch:
            patch.setattr(alerts.dt, "datetime", At)
            return MESSAGE.identity

    afternoon, evening, next_day = (f"2024-03-0{hour}:00+00:00" for hour in ("5T20", "6T03", "6T06"))
    assert identity_at(afternoon) == identity_at(evening) != identity_at(next_day)


@pytest.mark.parametrize(
    ("kind", "shown"),
    [(kind, "failure") for kind in ("failed", "halted", "kill", "unprotected", "difference")] + [("run", "info")],
)
def test_what_is_wrong_looks_wrong(phone: Phone, kind: Any, shown: str) -> None:
    assert send_alert(with_addresses(phone.url, on=[kind]), AlertMessage(frozenset({kind}), "it happened"))
    assert [message["type"] for message in phone.received] == [shown]


def hooked(phone: Phone) -> Settings:
    return Settings.model_validate({"trading": {"alert_webhook": phone.url.replace("json:", "http:")}})


@pytest.mark.parametrize("kind", ["failed", "halted", "run", "kill"])
def test_the_webhook_gets_what_failed_and_what_was_halted_alone_without_secrets(phone: Phone, kind: Any) -> None:
    hide("told-in-confidence")
    assert send_alert(hooked(phone), AlertMessage(frozenset({kind}), "it happened", {"by": "told-in-confidence"}))
    assert len(phone.received) == (1 if kind in ("failed", "halted") else 0)
    assert "told-in-confidence" not in str(phone.received)


@pytest.mark.parametrize("status", [302, 500])
def test_a_webhook_that_does_not_take_a_message_is_asked_again(phone: Phone, status: int) -> None:
    phone.answers = [status] * 4
    assert not send_alert(hooked(phone), MESSAGE)
    assert f"it answered {status}" in events_path().read_text()
    assert send_alert(hooked(phone), MESSAGE)
    assert len(phone.received) == 5


def test_a_record_that_was_torn_holds_no_alert_back(phone: Phone, home: Path) -> None:
    (home / "logs").mkdir(parents=True, exist_ok=True)
    (home / "logs" / "alerts.json").write_text('{"torn')
    assert send_alert(with_addresses(phone.url), MESSAGE)


def test_the_record_forgets_what_was_sent_over_a_week_ago(phone: Phone, home: Path) -> None:
    (home / "logs").mkdir(parents=True, exist_ok=True)
    now = dt.datetime.now(dt.UTC)
    ages = {f"{age} days": {"at": (now - dt.timedelta(days=age)).isoformat(), "to": []} for age in (6, 8)}
    (home / "logs" / "alerts.json").write_text(json.dumps(ages))
    assert send_alert(with_addresses(phone.url), MESSAGE)
    assert set(json.loads((home / "logs" / "alerts.json").read_text())) == {"6 days", MESSAGE.identity}


def test_one_message_of_many_processes_at_once(phone: Phone) -> None:
    settings = with_addresses(phone.url)
    threads = [threading.Thread(target=send_alert, args=(settings, MESSAGE)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(phone.received) == 1


def test_a_record_that_cannot_be_kept_holds_no_alert_back(phone: Phone, home: Path) -> None:
    (home / "logs" / "alerts.json").mkdir(parents=True)
    assert send_alert(with_addresses(phone.url), MESSAGE)
    assert len(phone.received) == 1


def test_addresses_are_secrets(phone: Phone, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither log, pin, settings as text or JSON, record, nor reason shows one, wherever it comes from."""
    config, keys = tmp_path / "kobe.toml", tmp_path / "keys.env"
    without = config_pin(load_settings())
    config.write_text(f'[alerts]\nurls = ["{phone.url}", "json://me:AAbbccddeeffgg@127.0.0.1:9/"]\n')
    monkeypatch.setenv("KOBE_CONFIG", str(config))
    settings = load_settings()
    assert config_pin(settings) == without
    assert TOKEN not in repr(settings) + settings.model_dump_json()
    get_logger("before").error("cannot reach", url=phone.url, path=f"/{TOKEN}", bot="AAbbccddeeffgg")
    (_, second) = send_test(settings, deadline_s=3)[:2]
    assert TOKEN not in repr(second)
    assert phone.received[0]["title"] == "Kobe: a test message from Kobe"
    logged = "".join(path.read_text() for path in (home / "logs").glob("*.json*"))
    assert TOKEN not in logged
    assert "AAbbccddeeffgg" not in logged
    assert redact("127.0.0.1 api.telegram.org") == "127.0.0.1 api.telegram.org"
    monkeypatch.delenv("KOBE_CONFIG")
    for given in (phone.url, json.dumps([phone.url])):
        monkeypatch.setenv("KOBE_ALERTS__URLS", given)
        assert [done.taken for done in send_test(load_settings())] == [True]
    monkeypatch.delenv("KOBE_ALERTS__URLS")
    keys.write_text(f"KOBE_ALERTS__URLS={phone.url}\n")
    monkeypatch.setenv("KOBE_ENV_FILE", str(keys))
    assert [done.taken for done in send_test(load_settings())] == [True]


def test_a_bad_address_is_named_by_its_place(phone: Phone) -> None:
    bad, good = send_test(with_addresses("nothing-secret-4711", phone.url))
    assert (bad.address, bad.taken) == ("address 1 (no address)", False)
    assert "Apprise cannot read it" in bad.reason
    assert good.taken


def test_a_list_that_cannot_be_read_is_refused_without_its_text(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOBE_ALERTS__URLS", f'["json://x/{TOKEN}"')
    with pytest.raises(UsageError) as caught:
        load_settings()
    assert "alerts.urls" in str(caught.value)
    assert TOKEN not in str(caught.value)


def test_no_address_is_said_in_a_line(home: Path) -> None:
    with pytest.raises(UsageError, match="no address is set"):
        send_test(Settings())
