"""Trading's jobs in Dagster: what a run shows and refuses, what the lineage shows, and whom a failure alerts."""

from __future__ import annotations

import datetime as dt
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from kobe_jobs import trading_job
from kobe_jobs.trading.reporting.alerts import alert
from kobe_jobs.trading_job import trading_definitions
from kobe_resources.kill_switch import KillSwitch
from kobe_resources.order_ledger import OrderLedger
from kobe_resources.resources import resources_of
from kobe_resources.settings.models import Settings
from tests.support.builders.replay_market import random_warehouse

pytestmark = pytest.mark.usefixtures("warehouses_stay_open")


@pytest.fixture(autouse=True)
def _noon(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setattr(trading_job, "_now", lambda: dt.datetime(2024, 3, 6, 17, 0, tzinfo=dt.UTC))


def definitions(settings: Settings) -> dg.Definitions:
    """Trading's own definitions behind a stand-in for the research assets."""

    @dg.asset
    def signals() -> None:
        """Nothing."""

    research = dg.Definitions(assets=[signals], resources=resources_of(settings))
    return dg.Definitions.merge(research, trading_definitions())


def test_everything_loads_and_trading_is_no_asset() -> None:
    loaded = definitions(Settings(broker={"stage": "paper"}))
    dg.Definitions.validate_loadable(loaded)
    graph = loaded.resolve_asset_graph()
    assert {key.to_user_string() for key in graph.materializable_asset_keys} == {"signals"}
    assert graph.get(dg.AssetKey("orders")).parent_keys == {dg.AssetKey("signals")}
    for name in ("trade_session", "reconcile"):
        assert loaded.resolve_job_def(name).tags["kobe/trading"] == "true"


@pytest.fixture
def simulated(home: Path) -> Settings:
    """The stage simulated over a random market in KOBE_HOME."""
    settings, _ = random_warehouse(home, 10, 290)
    return settings.model_copy(update={"broker": settings.broker.model_copy(update={"stage": "simulated"})})


def run(settings: Settings, job: str, instance: dg.DagsterInstance, **config: str) -> Any:
    run_config = {"ops": {"trade": {"config": config}}} if config else None
    return definitions(settings).resolve_job_def(job).execute_in_process(run_config, instance=instance, raise_on_error=False)


def failure_of(result: Any) -> str:
    found = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    return str(found[0].user_failure_data.description)


def test_a_run_shows_what_it_did_and_a_second_one_only_looks_after_it(
    simulated: Settings, instance: dg.DagsterInstance
) -> None:
    first = run(simulated, "trade_session", instance)
    assert first.success
    shown = instance.fetch_materializations(dg.AssetKey("orders"), limit=1).records[0].asset_materialization
    assert shown is not None
    assert {"audit head", "config pin", "summary", "session", "stage"} <= set(shown.metadata)
    session = str(shown.metadata["session"].value)
    assert run(simulated, "trade_session", instance, session=session).success
    again = instance.fetch_materializations(dg.AssetKey("orders"), limit=1).records[0].asset_materialization
    assert again is not None
    assert "already traded" in str(again.metadata["summary"])
    assert run(simulated, "trade_session", instance).success, "no session is left: nothing to do is no failure"
    assert run(simulated, "reconcile", instance).success
    judged = run(simulated, "parity", instance)
    assert judged.success
    assert [(one.passed, one.description) for one in judged.get_asset_check_evaluations()] == [(True, None)]


def test_parity_does_not_pass_on_nothing(simulated: Settings, instance: dg.DagsterInstance) -> None:
    judged = run(simulated, "parity", instance)
    assert judged.success
    (found,) = judged.get_asset_check_evaluations()
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert found.description == "not compared: no session was traded yet"


def test_a_run_asked_for_in_another_stage_does_not_go_out(simulated: Settings, instance: dg.DagsterInstance) -> None:
    failure = failure_of(run(simulated, "trade_session", instance, stage="paper"))
    assert "asked for in stage paper" in failure
    assert "leave its stage empty, or set broker.stage to paper" in failure


def test_a_session_that_is_no_date_is_refused_in_one_line(simulated: Settings, instance: dg.DagsterInstance) -> None:
    assert "write it as YYYY-MM-DD" in failure_of(run(simulated, "trade_session", instance, session="2024-13-01"))


class Webhook:
    """A loopback server that keeps what is posted to it."""

    def __init__(self, status: int = 200) -> None:
        self.posted: list[dict[str, Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                outer.posted.append(json.loads(self.rfile.read(length)))
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    server = Webhook()
    yield server
    server.close()


def with_webhook(settings: Settings, url: str) -> Settings:
    return settings.model_copy(update={"trading": settings.trading.model_copy(update={"alert_webhook": url})})


def test_a_failed_run_alerts(simulated: Settings, instance: dg.DagsterInstance, webhook: Webhook, home: Path) -> None:
    KillSwitch().turn_on("no trading today")
    assert not run(with_webhook(simulated, webhook.url), "trade_session", instance).success
    assert len(webhook.posted) == 1
    assert "no trading today" in webhook.posted[0]["reason"]
    assert "no trading today" in (home / "logs" / "events.jsonl").read_text()


def test_a_session_that_is_done_and_protected_alerts_nobody(
    simulated: Settings, instance: dg.DagsterInstance, webhook: Webhook
) -> None:
    settings = with_webhook(simulated, webhook.url)
    assert run(settings, "trade_session", instance).success
    event = instance.fetch_materializations(dg.AssetKey("orders"), limit=1).records[0].asset_materialization
    assert event is not None
    assert run(settings, "trade_session", instance, session=str(event.metadata["session"].value)).success
    assert webhook.posted == []


def test_a_session_begun_with_another_strategy_alerts(
    simulated: Settings, instance: dg.DagsterInstance, webhook: Webhook, home: Path
) -> None:
    settings = with_webhook(simulated, webhook.url)
    assert run(settings, "trade_session", instance).success
    with OrderLedger(home / "orders.sqlite") as ledger, ledger.write() as write:
        write.execute("UPDATE session_claims SET state = 'halted', strategy = 'another'")
    assert not run(settings, "trade_session", instance).success
    assert "begun with strategy 'another'" in webhook.posted[0]["reason"]


def test_an_audit_copy_that_was_cut_and_healed_alerts(
    simulated: Settings, instance: dg.DagsterInstance, webhook: Webhook, home: Path
) -> None:
    settings = with_webhook(simulated, webhook.url)
    assert run(settings, "trade_session", instance).success
    copy = home / "audit.jsonl"
    copy.write_bytes(b"".join(copy.read_bytes().splitlines(keepends=True)[:3]))
    assert run(settings, "reconcile", instance).success
    assert "had been cut off" in webhook.posted[0]["reason"]
    assert webhook.posted[0]["text"] == "kobe: audit.jsonl had been cut"


def test_an_alert_that_cannot_be_delivered_raises_nothing_and_is_logged(home: Path) -> None:
    settings = with_webhook(Settings(), "http://127.0.0.1:9/secret-token")
    assert alert(settings, "it failed", reason="why") is False
    log = (home / "logs" / "events.jsonl").read_text()
    assert "could not be delivered" in log
    assert "secret-token" not in log


def test_no_secret_leaves_with_an_alert(webhook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPACA_API_SECRET_KEY", "very-secret-value")
    assert alert(with_webhook(Settings(), webhook.url), "it failed", reason="key very-secret-value was refused")
    assert "very-secret-value" not in json.dumps(webhook.posted)
