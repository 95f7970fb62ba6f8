"""Health: every question tells good from bad on the real thing, none hangs the page, none tells a secret."""

from __future__ import annotations

import ast
import datetime as dt
import http.client
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from kobe_jobs.ops.health import checks as health
from kobe_jobs.ops.health.checks import Question, Watch
from kobe_resources.findings import Finding, is_ready
from kobe_resources.kill_switch import KillSwitch
from kobe_resources.order_ledger.store import OrderLedger
from kobe_resources.settings.load import PROJECT_ROOT, load_settings
from kobe_resources.settings.models import Settings
from kobe_resources.warehouse.store import Warehouse
from tests.support.drivers.command import Ended, kobe
from tests.support.ready import SMALL
from tests.support.waiting import until

HOLD = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KOBE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def store_bars(last: dt.date) -> None:
    import pandas as pd

    bar = dict.fromkeys(("open", "high", "low", "close", "volume"), 10.0)
    row = {"symbol": "KO", "session": last, **bar, "source": "test", "fetched_at": dt.datetime.now(dt.UTC)}
    Warehouse().replace({"daily_bars": pd.DataFrame([row])})


def settings_with(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return load_settings()


def test_a_missing_warehouse_is_named_and_not_made(home: Path) -> None:
    answer = health.ask_warehouse()
    assert not answer.ok
    assert "kobe report" in answer.seen
    assert not health.ask_bars(load_settings()).ok
    assert not home.exists(), "looking leaves nothing behind"


def test_a_warehouse_that_opens_is_well() -> None:
    store_bars(dt.date(2013, 1, 2))
    answer = health.ask_warehouse()
    assert answer.ok
    assert answer.metrics["bars"] == 1


def test_a_held_warehouse_names_its_holder(monkeypatch: pytest.MonkeyPatch) -> None:
    store_bars(dt.date(2013, 1, 2))
    monkeypatch.setattr(health, "LOCK_WAIT_S", 0.3)
    command = [sys.executable, "-c", HOLD, str(Warehouse().path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        (check,) = Watch([Question("warehouse", health.ask_warehouse)]).look()
        holder.communicate("")
    assert not check.ok
    assert f"PID {holder.pid}" in check.seen


def test_a_damaged_warehouse_is_a_failed_check(home: Path) -> None:
    home.mkdir()
    (home / "kobe.duckdb").write_bytes(b"no database" * 1000)
    (check,) = Watch([Question("warehouse", health.ask_warehouse)]).look()
    assert not check.ok
    assert "cannot be opened" in check.seen


def test_old_bars_are_stale_for_a_vendor_that_has_newer_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    store_bars(dt.date(2013, 1, 2))
    assert health.ask_bars(load_settings()).ok, "the sample ends when it ends"
    stale = health.ask_bars(settings_with(monkeypatch, KOBE_DATA__VENDOR="polygon"))
    assert not stale.ok
    assert "kobe bars refresh" in stale.seen


def test_old_bars_of_own_files_are_a_warning_with_their_date(monkeypatch: pytest.MonkeyPatch) -> None:
    store_bars(dt.date(2013, 1, 2))
    own = settings_with(monkeypatch, KOBE_DATA__VENDOR="files")
    (check,) = Watch([Question("bars", lambda: health.ask_bars(own))]).look()
    assert (check.ok, check.blocks) == (False, False)
    assert re.fullmatch(
        r"the last stored session is 2013-01-02, \d+ months ago: own files are as new as you bring them", check.seen
    )
    replayed = health.ask_bars(settings_with(monkeypatch, KOBE_DATA__VENDOR="files", KOBE_BROKER__STAGE="simulated"))
    assert (replayed.ok, replayed.seen) == (True, "the last stored session is 2013-01-02")


def test_a_changed_audit_record_is_found(home: Path) -> None:
    assert health.ask_audit().ok, "no ledger, nothing to doubt"
    assert not (home / "orders.sqlite").exists(), "looking leaves nothing behind"
    with OrderLedger() as ledger:
        with ledger.write() as write:
            write.audit("note", text="one")
            write.audit("note", text="two")
        ledger.copy_audit()
    good = health.ask_audit()
    assert good.ok
    assert good.metrics["audit_records"] >= 2
    with sqlite3.connect(home / "orders.sqlite") as connection:
        connection.execute("UPDATE audit SET body = replace(body, 'one', 'uno')")
    connection.close()
    assert not health.ask_audit().ok


def test_the_kill_switch_makes_it_unready_and_says_why() -> None:
    assert health.ask_kill_switch().ok
    KillSwitch().turn_on("drill")
    answer = health.ask_kill_switch()
    assert not answer.ok
    assert "drill" in answer.seen
    assert answer.metrics == {"kill_switch": 1}


def test_an_unreachable_broker_is_a_failed_check_without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPACA_API_KEY_ID", "PKVERYSECRET1")
    monkeypatch.setenv("ALPACA_API_SECRET_KEY", "sk-very-secret-2")
    chosen = settings_with(monkeypatch, KOBE_BROKER__STAGE="simulated", KOBE_BROKER__BASE_URL="http://127.0.0.1:9")
    (check,) = Watch([Question("broker", lambda: health.ask_broker(chosen))]).look()
    assert not check.ok
    assert "SECRET" not in check.seen.upper()


def test_a_broker_that_answers_is_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kobe_resources.broker.exchange.embedded import EmbeddedBroker, StoredBars, Terms

    rows = [("KO", day, 10.0, 11.0, 9.0, 10.0) for day in (dt.date(2024, 1, 2), dt.date(2024, 1, 3))]
    with EmbeddedBroker(tmp_path / "broker", StoredBars.of_rows(rows, []), Terms()) as embedded:
        answer = health.ask_broker(
            settings_with(monkeypatch, KOBE_BROKER__STAGE="simulated", KOBE_BROKER__BASE_URL=embedded.url)
        )
    assert answer.ok
    assert "simulated answers" in answer.seen


def test_a_broker_that_no_stage_contacts_is_not_asked() -> None:
    assert "embedded" in health.ask_broker(load_settings()).seen


def test_daemons_must_have_beaten_lately() -> None:
    from dagster._daemon.types import DaemonHeartbeat

    from kobe_resources.runtime.dagster_instance import open_instance

    assert "kobe ui" in health.ask_daemon().seen
    with open_instance() as instance:
        assert "kobe ui" in health.ask_daemon().seen
        instance.add_daemon_heartbeat(DaemonHeartbeat(time.time() - 900, "SENSOR", "old", []))
        old = health.ask_daemon()
        instance.add_daemon_heartbeat(DaemonHeartbeat(time.time(), "SENSOR", "new", []))
        fresh = health.ask_daemon()
    assert not old.ok
    assert "0:15:" in old.seen
    assert fresh.ok


def test_a_full_disk_is_a_failed_check(monkeypatch: pytest.MonkeyPatch) -> None:
    assert health.ask_disk().metrics["disk_free_bytes"] > 0
    monkeypatch.setattr(health, "LEAST_FREE_TO_BE_READY", 10**18)
    assert not health.ask_disk().ok


def test_an_open_key_file_warns_but_does_not_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = tmp_path / "keys.env"
    keys.write_text("POLYGON_API_KEY=abc\n")
    keys.chmod(0o640)
    monkeypatch.setenv("KOBE_ENV_FILE", str(keys))
    checks = Watch([Question("key_file", health.ask_key_file, blocking=False)]).look()
    assert not checks[0].ok
    assert is_ready(checks)
    keys.chmod(0o600)
    assert health.ask_key_file().ok


def test_a_question_that_hangs_is_bounded_and_not_asked_again() -> None:
    release, asked = threading.Event(), []

    def hang() -> Finding:
        asked.append(1)
        release.wait(30)
        return Finding("asked", True, "at last")

    watch = Watch([Question("slow", hang), Question("quick", lambda: Finding("asked", True, "here"))], limit_s=0.2, keep_s=0.0)
    started = time.monotonic()
    first, second = watch.look(), watch.look()
    assert time.monotonic() - started < 2.0
    assert [check.ok for check in first] == [False, True]
    assert "no answer" in second[0].seen
    assert len(asked) == 1
    release.set()
    until(lambda: watch.look()[0].ok)
    assert watch.look()[0].ok
    assert len(asked) > 1, "asked anew once it ended"


def test_a_question_that_breaks_is_a_failed_check_without_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYGON_API_KEY", "key-that-must-not-show")

    def broken() -> Finding:
        raise RuntimeError("url?apiKey=key-that-must-not-show")

    (check,) = Watch([Question("broken", broken)]).look()
    assert not check.ok
    assert check.seen == "RuntimeError: url?apiKey=[redacted]"


def test_answers_are_kept_for_a_while() -> None:
    asked: list[int] = []

    def count() -> Finding:
        asked.append(1)
        return Finding("asked", True, "")

    watch = Watch([Question("counted", count)], keep_s=60)
    watch.look()
    watch.look()
    assert len(asked) == 1


SERVE = "import typer; from kobe_jobs.cli.commands import ops; app = typer.Typer(); ops.register(app); app()"


@pytest.fixture
def server(home: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    store_bars(dt.date(2013, 1, 2))
    KillSwitch().turn_on("maintenance")
    env = {**os.environ, "KOBE_HOME": str(home)}
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, "health", "--serve", "--port", "0"],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"http://127\.0\.0\.1:(\d+)/readiness", line)
    assert found, line + process.communicate()[1]
    yield process, int(found[1])
    process.kill()
    process.communicate()


def ask(port: int, path: str, host: str = "127.0.0.1") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path, headers={"Host": host})
    answer = connection.getresponse()
    status, body = answer.status, answer.read().decode()
    connection.close()
    return status, body


def test_the_server_tells_alive_ready_and_metrics_on_loopback(server: tuple[subprocess.Popen[str], int]) -> None:
    import psutil

    process, port = server
    assert ask(port, "/liveness") == (200, '{"alive":true}')
    status, body = ask(port, "/readiness")
    shown: dict[str, Any] = json.loads(body)
    by_name = {check["name"]: check for check in shown["checks"]}
    assert status == 503
    assert shown["ready"] is False
    assert by_name["warehouse"]["ok"] is True
    assert "maintenance" in by_name["kill_switch"]["reason"]
    assert set(by_name) == {"warehouse", "bars", "audit", "broker", "protection", "kill_switch", "daemon", "disk", "key_file"}

    status, body = ask(port, "/metrics")
    samples = {
        (s.name, s.labels.get("check")): s.value for family in text_string_to_metric_families(body) for s in family.samples
    }
    assert status == 200
    assert samples["kobe_ready", None] == 0
    assert samples["kobe_check_ok", "warehouse"] == 1
    assert samples["kobe_check_ok", "kill_switch"] == 0
    assert samples["kobe_kill_switch", None] == 1
    assert samples["kobe_bars", None] == 1
    assert 'stage="shadow"' in body

    assert ask(port, "/readiness", host="evil.example")[0] == 400
    addresses = {
        one.laddr.ip for one in psutil.Process(process.pid).net_connections("inet") if one.status == psutil.CONN_LISTEN
    }
    assert addresses == {"127.0.0.1"}
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


def test_every_metric_is_told_in_the_readme_and_no_other() -> None:
    listed = dict(
        re.findall(r"^\| `kobe_(\w+)` \| (.+) \|$", (PROJECT_ROOT / "OPERATING.md").read_text(encoding="utf-8"), re.M)
    )
    assert {name: text for name, text in listed.items() if name not in {"info", "ready"}} == health.METRICS
    code = ast.parse(Path(health.__file__).read_text(encoding="utf-8"))
    asked = [node for node in code.body if isinstance(node, ast.FunctionDef) and node.name.startswith("ask_")]
    keys = [key for one in asked for node in ast.walk(one) if isinstance(node, ast.Dict) for key in node.keys]
    measured = {key.value for key in keys if isinstance(key, ast.Constant)}
    assert measured == set(health.METRICS)


def test_the_command_exits_1_and_lists_reasons(home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SERVE, "health", "--json"],
        env={**os.environ, "KOBE_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    shown = json.loads(done.stdout)
    assert done.returncode == 1
    assert shown["ready"] is False
    assert any("kobe report" in check["reason"] for check in shown["checks"])


IMPORTS_OF_THREADS = """
import sys, threading
from kobe_jobs.ops.health.checks import Watch, questions
from kobe_resources.settings.load import load_settings

class Seen:
    def find_spec(self, name, path=None, target=None):
        if threading.current_thread() is not threading.main_thread():
            found.setdefault(threading.current_thread().name, set()).add(name.split(".")[0])

found = {}
watch = Watch(questions(load_settings()))
sys.meta_path.insert(0, Seen())
checks = watch.look()
assert len(checks) > 7
print([sorted(names) for names in found.values()])
"""


def test_no_two_questions_import_the_same_package_at_once() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS_OF_THREADS], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    packages = [name for names in ast.literal_eval(done.stdout) for name in names]
    assert not [name for name in packages if name.startswith("kobe_")]
    assert not [name for name in packages if packages.count(name) > 1]


def test_a_deadlock_of_imports_is_asked_again() -> None:
    class _DeadlockError(RuntimeError):
        pass

    asked: list[int] = []

    def ask() -> Finding:
        asked.append(1)
        if len(asked) < 3:
            raise _DeadlockError("deadlock detected by _ModuleLock('x')")
        return Finding("asked", True, "well")

    (check,) = Watch([Question("odd", ask)]).look()
    assert check.ok
    assert check.seen == "well"


BROKEN_STRATEGY = """
import json, os, sys

class Typo:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("kobe_assets.research.strategies.") and name.rsplit(".", 1)[1] not in ("asking", "base", "register"):
            raise SyntaxError("invalid syntax", ("rsi2.py", 3, 1, "a b"))

sys.meta_path.insert(0, Typo())
from tests.support.drivers.command import kobe
rows = []
for home, words in json.loads(sys.argv[1]):
    os.environ["KOBE_HOME"] = home
    ended = kobe(*words)
    rows.append([ended.code, ended.out, ended.err])
    assert "kobe_assets.research.strategies.rsi2" not in sys.modules
print(json.dumps(rows))
"""


def test_a_typo_in_a_strategy_stops_no_command_that_needs_none(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SMALL.items():
        monkeypatch.setenv(name, value)
    assert kobe("report").code == 0
    archive, new = str(tmp_path / "archive.tar.gz"), str(tmp_path / "new")
    fine = (
        ("kill", "on", "test"),
        ("kill", "status"),
        ("kill", "off"),
        ("reconcile",),
        ("audit", "verify"),
        ("audit", "head"),
        ("backup", archive),
        ("trace",),
    )
    walk = [*((str(home), words) for words in fine), (str(home), ("health",)), (new, ("restore", archive))]
    walk.append((str(home), ("report", "--force")))
    process = subprocess.run(
        [sys.executable, "-c", BROKEN_STRATEGY, json.dumps(walk)],
        env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT)}, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    *done, health, restored, refused = (Ended(*one) for one in json.loads(process.stdout))
    assert [(words, one.err) for words, one in zip(fine, done, strict=True) if one.code] == []
    assert "kill_switch" in health.out
    assert restored.code == 0
    assert refused.code == 1
    assert "rsi2.py:3" in refused.line
