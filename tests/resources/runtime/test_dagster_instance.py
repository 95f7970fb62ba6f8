"""The Dagster instance lives under KOBE_HOME, is created once, and is the one a plain `dagster` finds in the project."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import uuid
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.storage import sql
from dagster._core.storage.event_log.sqlite import sqlite_event_log

from kobe_resources.runtime import dagster_instance as instance_module
from kobe_resources.runtime.dagster_instance import InstanceUnusable, dagster_home, is_alive, kept_open, open_instance
from kobe_resources.settings.load import PROJECT_ROOT
from tests.conftest import MADE

STUB = """
import dagster as dg

@dg.asset
def one():
    return 1

defs = dg.Definitions(assets=[one])
"""
OPEN_AND_COUNT = """
from kobe_resources.runtime.dagster_instance import open_instance
with open_instance() as instance:
    print(instance.get_runs_count())
"""


@dg.asset
def one() -> int:
    return 1


@pytest.fixture(autouse=True)
def _made_by_dagster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instance_module, "_prepare", MADE)


def environment(**changes: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("KOBE_", "DAGSTER_"))}
    return {**kept, **changes}


def test_storage_lies_under_kobe_home_with_the_projects_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOBE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "elsewhere"))
    with open_instance() as instance:
        assert instance.is_persistent
        assert not instance.telemetry_enabled
        assert not instance.nux_enabled
        assert instance.run_monitoring_enabled
        assert type(instance.run_coordinator).__name__ == "QueuedRunCoordinator"
    assert (tmp_path / "home/dagster/history/history/runs.db").is_file()
    assert not (tmp_path / "elsewhere").exists()
    written = yaml.safe_load((tmp_path / "home/dagster/dagster.yaml").read_text())
    assert written.keys() == yaml.safe_load((PROJECT_ROOT / "dagster.yaml").read_text()).keys()
    assert "warehouse/data" not in str(written)
    assert written["compute_logs"]["class"] == "LocalComputeLogManager", "runs of the UI keep what they print"


def test_a_run_in_this_process_starts_no_other_that_a_terminals_ctrl_c_could_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KOBE_HOME", str(tmp_path / "home"))

    def started(*what: object, **_: object) -> None:
        raise AssertionError(f"{what} was started")

    monkeypatch.setattr(subprocess, "Popen", started)
    with open_instance() as instance:
        assert (
            dg.Definitions(assets=[one]).resolve_implicit_global_asset_job_def().execute_in_process(instance=instance).success
        )
        said = [
            event.dagster_event.message for event in instance.all_logs(instance.get_runs()[0].run_id) if event.dagster_event
        ]
    assert not any("compute log capture" in str(line) for line in said), said


def test_several_first_uses_at_once_all_succeed(tmp_path: Path) -> None:
    env = environment(KOBE_HOME=str(tmp_path / "fresh"))
    started = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN_AND_COUNT], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    results = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0] * 3, results
    assert [out for out, _ in results] == ["0\n"] * 3, "nothing but the command's own output reaches stdout"


def test_a_runs_files_stay_open_until_it_has_ended_and_are_whole_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOBE_HOME", str(tmp_path / "home"))
    runs, run_id = tmp_path / "home/dagster/history/history/runs", str(uuid.uuid4())
    job = dg.Definitions(assets=[one]).resolve_implicit_global_asset_job_def()
    with open_instance() as instance:
        with kept_open(run_id):
            assert job.execute_in_process(instance=instance, run_id=run_id).success
            logs = {path.name for path in runs.glob("*-wal")}
            assert logs == {"index.db-wal", f"{run_id}.db-wal"}, "no event was copied into its file yet"
        assert not list(tmp_path.rglob("*-wal"))
        assert {event.dagster_event_type for event in instance.all_logs(run_id)} >= {dg.DagsterEventType.ASSET_MATERIALIZATION}


def test_the_events_of_a_run_share_one_engine_a_file_that_waits_for_no_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KOBE_HOME", str(tmp_path / "home"))
    made: list[str] = []

    def counted(url: str, **options: object) -> object:
        made.append(Path(url).stem)
        return sql.create_engine(url, **options)

    run_id = str(uuid.uuid4())
    job = dg.Definitions(assets=[one]).resolve_implicit_global_asset_job_def()
    with open_instance() as instance:
        monkeypatch.setattr(sqlite_event_log, "create_engine", counted)
        with kept_open(run_id):
            assert job.execute_in_process(instance=instance, run_id=run_id).success
            with instance.event_log_storage.index_connection() as connection:
                assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1, "NORMAL"
        assert sorted(made) == sorted(["index", run_id])
        with instance.event_log_storage.index_connection() as connection:
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2, "FULL again"


def test_plain_dagster_in_the_projects_root_shares_the_default_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(PROJECT_ROOT / "dagster.yaml", tmp_path)
    (tmp_path / "stub_graph.py").write_text(STUB)
    done = subprocess.run(
        [sys.executable, "-m", "dagster", "asset", "materialize", "--select", "*", "-m", "stub_graph"],
        cwd=tmp_path,
        env=environment(PYTHONPATH=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    monkeypatch.setattr(instance_module, "PROJECT_ROOT", tmp_path)
    monkeypatch.setattr(instance_module, "kobe_home", lambda: tmp_path / "warehouse" / "data" / "sample")
    with open_instance() as instance:
        assert instance.get_runs_count() == 1


def test_the_default_home_is_the_folder_dagster_yaml_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KOBE_HOME", raising=False)
    from kobe_resources.settings.load import kobe_home

    named = yaml.safe_load((PROJECT_ROOT / "dagster.yaml").read_text())["local_artifact_storage"]["config"]["base_dir"]
    assert PROJECT_ROOT / named == kobe_home() / "dagster"


def test_a_changed_configuration_is_brought_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOBE_HOME", str(tmp_path))
    written = dagster_home() / "dagster.yaml"
    before = written.stat().st_mtime_ns
    dagster_home()
    assert written.stat().st_mtime_ns == before, "unchanged, untouched"
    written.write_text("telemetry: {enabled: true}\n")
    dagster_home()
    assert yaml.safe_load(written.read_text())["telemetry"] == {"enabled": False}


def test_another_storage_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (PROJECT_ROOT / "dagster.yaml").read_text(encoding="utf-8")
    (tmp_path / "dagster.yaml").write_text(text.replace("  sqlite:", "  postgres:"), encoding="utf-8")
    monkeypatch.setenv("KOBE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(instance_module, "PROJECT_ROOT", tmp_path)
    with pytest.raises(InstanceUnusable, match=r"not SQLite: restore"):
        dagster_home()


def test_a_home_that_is_a_file_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").write_text("")
    monkeypatch.setenv("KOBE_HOME", str(tmp_path / "home"))
    with pytest.raises(InstanceUnusable, match=r"cannot be written.*set KOBE_HOME"):
        dagster_home()


def test_a_process_that_began_later_is_not_the_one_that_had_its_number() -> None:
    now = time.time()
    assert is_alive(os.getpid(), now)
    tells_when_one_began = Path("/proc/self/stat").exists()
    assert is_alive(os.getpid(), now - 1_000_000) is not tells_when_one_began
    with subprocess.Popen([sys.executable, "-c", "pass"]) as dead:
        pass
    assert not is_alive(dead.pid, now)


def test_runs_that_lost_their_process_end_and_others_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import json

    from dagster import DagsterRun, DagsterRunStatus, MetadataValue
    from dagster._core.events import EngineEventData

    from kobe_resources.runtime.dagster_instance import end_lost_runs

    monkeypatch.setenv("KOBE_HOME", str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", "pass"]) as dead:
        pass
    sockets = {
        "lost": "/tmp/kobe-ui-old/code.sock",
        "alive": "/tmp/kobe-ui-old/code.sock",
        "mine": "/tmp/kobe-ui-new/code.sock",
        "cli": "",
    }
    pids = {"lost": dead.pid, "alive": os.getpid(), "mine": dead.pid, "cli": dead.pid}
    with open_instance() as instance:
        for name, socket in sockets.items():
            tags = {".dagster/grpc_info": json.dumps({"host": "localhost", "socket": socket})} if socket else {}
            run = DagsterRun(job_name="trade_session", run_id=name, status=DagsterRunStatus.STARTED, tags=tags)
            instance.add_run(run)
            instance.report_engine_event("Started process", run, EngineEventData({"pid": MetadataValue.text(str(pids[name]))}))
        assert end_lost_runs(lambda socket: "kobe-ui-" in socket and "kobe-ui-new" not in socket) == ["lost"]
        states = {run.run_id: run.status for run in instance.get_runs()}
    assert states.pop("lost") == DagsterRunStatus.FAILURE
    assert set(states.values()) == {DagsterRunStatus.STARTED}
