"""The sweep keeps every try, goes on where it stood, and gives the same bits on a cluster whose worker dies."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from kobe_jobs.cli.main import app
from kobe_jobs.research_run.stale import bring_up_to_date
from kobe_jobs.research_run.sweep import ClusterLost, Sweep, best_sets, plan_sweep, run_sweep
from kobe_resources.errors import UsageError
from kobe_resources.settings.load import load_settings
from kobe_resources.settings.models import Settings
from kobe_resources.warehouse.store import Warehouse

SMALL = {"DATA__VENDOR": "synthetic", "DATA__SYNTHETIC__SYMBOLS": "30", "DATA__SYNTHETIC__SESSIONS": "760"}
SWEEP_IN_A_CHILD = """
from kobe_jobs.research_run.sweep import plan_sweep, run_sweep
from kobe_resources.settings.load import load_settings
from kobe_resources.warehouse.store import Warehouse
import time
def tell(count):
    print(count, flush=True)
    time.sleep(0.3)
run_sweep(load_settings(), Warehouse(), plan_sweep(load_settings(), Warehouse()), tell)
"""


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the bars, the universe and the indicators that a sweep reads."""
    folder = tmp_path_factory.mktemp("computed") / "home"
    with pytest.MonkeyPatch.context() as patch:
        stand_in(folder, patch)
        bring_up_to_date(load_settings(), targets=("daily_bars", "universe", "indicators"))
    return folder


@pytest.fixture(scope="module")
def swept(computed: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Sweep, pd.DataFrame]:
    """A copy of it that was swept through in this process, what had been planned, and every try."""
    folder = tmp_path_factory.mktemp("swept") / "home"
    shutil.copytree(computed, folder)
    with pytest.MonkeyPatch.context() as patch:
        stand_in(folder, patch)
        plan = plan_sweep(load_settings(), Warehouse())
        found = sweep(load_settings())
    return folder, plan, found


@pytest.fixture
def whole(swept: tuple[Path, Sweep, pd.DataFrame]) -> pd.DataFrame:
    """Every try of that sweep."""
    return swept[2]


@pytest.fixture
def settings(computed: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Of a copy of what was computed, in KOBE_HOME."""
    shutil.copytree(computed, home)
    stand_in(home, monkeypatch)
    return load_settings()


@pytest.fixture
def settings_of_swept(swept: tuple[Path, Sweep, pd.DataFrame], home: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Of a copy of what was swept through, in KOBE_HOME."""
    shutil.copytree(swept[0], home)
    stand_in(home, monkeypatch)
    return load_settings()


def stand_in(home: Path, patch: pytest.MonkeyPatch) -> None:
    """Make `home` the data folder, of bars of the small market."""
    patch.setenv("KOBE_HOME", str(home))
    for name, value in SMALL.items():
        patch.setenv(f"KOBE_{name}", value)


def sweep(settings: Settings) -> pd.DataFrame:
    warehouse = Warehouse()
    run_sweep(settings, warehouse, plan_sweep(settings, warehouse))
    return trials()


def trials() -> pd.DataFrame:
    columns = "strategy, fold, trial, params::VARCHAR AS params, train_sharpe, config_pin, data_version"
    return Warehouse().frame(f"SELECT {columns} FROM wf_trials ORDER BY ALL")


def test_every_set_of_every_fold_is_kept_once_with_pin_and_version(
    settings_of_swept: Settings, swept: tuple[Path, Sweep, pd.DataFrame]
) -> None:
    settings, (_, plan, found) = settings_of_swept, swept
    folds = len(plan.tasks[0].folds)
    assert folds == 5
    assert len(found) == plan.total == folds * 27 * 3
    assert not found.duplicated(["strategy", "fold", "trial"]).any()
    assert set(found["config_pin"]) == {plan.pin}
    assert set(found["data_version"]) == {plan.data_version}
    assert plan_sweep(settings, Warehouse()).left == 0
    assert len(sweep(settings)) == len(found), "what is on record is not run again"
    best = best_sets(Warehouse(), plan, most=1)
    assert [row["strategy"] for row in best] == ["rsi2", "ibs", "rsi2_ibs"]
    assert {(row["unseen"], row["unseen_folds"]) for row in best} == {(None, 0)}, "no fold has traded"
    assert best[0]["mean"] == pytest.approx(found[found["strategy"] == "rsi2"].groupby("params")["train_sharpe"].mean().max())


def test_a_set_that_never_has_a_ratio_and_a_fold_in_which_none_has_one_are_told(
    settings_of_swept: Settings, swept: tuple[Path, Sweep, pd.DataFrame]
) -> None:
    warehouse, (_, plan, _) = Warehouse(), swept
    with warehouse.transaction() as connection:
        connection.execute("UPDATE wf_trials SET train_sharpe = NULL WHERE strategy = 'ibs' AND fold = 1")
        connection.execute("UPDATE wf_trials SET train_sharpe = NULL WHERE strategy = 'rsi2'")
    rows = best_sets(warehouse, plan, most=100)
    assert {row["mean"] for row in rows if row["strategy"] == "rsi2"} == {None}
    assert {(row["strategy"], row["rated_folds"]) for row in rows} == {("rsi2", 0), ("ibs", 4), ("rsi2_ibs", 5)}
    assert sum(row["won"] for row in rows if row["strategy"] == "ibs") == 4
    assert sum(row["won"] for row in rows if row["strategy"] == "rsi2_ibs") == 5


def test_the_report_trains_on_the_same_numbers(settings: Settings, whole: pd.DataFrame) -> None:
    assert trials().empty
    bring_up_to_date(settings, targets=("daily_bars", "universe", "indicators", "signals", "wf_folds"))
    pd.testing.assert_frame_equal(trials(), whole, check_exact=True)


def test_a_sweep_draws_its_heat_maps_in_the_terminal_as_json_and_as_a_picture(settings: Settings, home: Path) -> None:
    def kobe(*more: str) -> str:
        done = CliRunner().invoke(app, ["sweep", "--strategy", "ibs", "--heatmap", *more])
        assert done.exit_code == 0, done.output
        return done.stdout

    shown = kobe()
    assert "ibs: ibs_entry down, atr_stop across; plateau" in shown
    assert shown.count("★") >= 3, "the best of each of three pairs"
    printed = json.loads(kobe("--json"))
    (grid,) = printed["heat_maps"]
    picture = home / "reports" / "heat_map.svg"
    assert printed["picture"] == str(picture)
    assert picture.read_text(encoding="utf-8").startswith("<svg")
    rows = Warehouse().rows("SELECT params::VARCHAR, avg(train_sharpe) FROM wf_trials WHERE strategy = 'ibs' GROUP BY ALL")
    best = max(ratio for _, ratio in rows if ratio == ratio)
    assert max(value for value in grid["mean"] if value is not None) == pytest.approx(best, rel=1e-5)
    assert grid["folds"] == [], "nothing was traded of them yet"
    assert {(found["across"], found["down"]) for found in grid["maps"]} == {
        ("atr_stop", "ibs_entry"), ("atr_stop", "time_stop"), ("ibs_entry", "time_stop")
    }  # fmt: skip


def test_a_sweep_that_was_killed_goes_on_where_it_stood(settings: Settings, whole: pd.DataFrame) -> None:
    child = subprocess.Popen([sys.executable, "-c", SWEEP_IN_A_CHILD], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    child.stdout.readline()
    child.kill()
    child.wait()
    kept = len(trials())
    assert 0 < kept < len(whole)
    assert plan_sweep(settings, Warehouse()).left == len(whole) - kept
    pd.testing.assert_frame_equal(sweep(settings), whole, check_exact=True)


def test_another_grid_is_another_sweep(settings_of_swept: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert plan_sweep(settings_of_swept, Warehouse(), ["ibs"]).left == 0
    config = tmp_path / "kobe.toml"
    config.write_text("[walk_forward.grid.ibs]\nibs_entry = [0.15, 0.25]\n")
    monkeypatch.setenv("KOBE_CONFIG", str(config))
    plan = plan_sweep(load_settings(), Warehouse(), ["ibs"])
    assert plan.left == plan.total == 5 * 2


def test_an_unknown_strategy_and_a_missing_scheduler_are_usage_errors(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="no strategy 'magic'"):
        plan_sweep(settings, Warehouse(), ["magic"])
    monkeypatch.setenv("KOBE_COMPUTE__ENGINE", "dask")
    with pytest.raises(UsageError, match=r"compute\.scheduler"):
        sweep(load_settings())


def test_a_missing_extra_is_installed_into_the_clone(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOBE_COMPUTE__ENGINE", "dask")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match=r"--editable '\.\[scale\]'"):
        sweep(load_settings())


class Cluster:
    """A scheduler and its workers, each a process of its own on loopback."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workers: list[subprocess.Popen[bytes]] = []
        self.started = 0
        file = folder / "scheduler.json"
        self.scheduler = self._start("scheduler", "--port", "0", "--scheduler-file", str(file))
        deadline = time.monotonic() + 60
        while not file.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        self.address = str(json.loads(file.read_text())["address"])

    def _start(self, what: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", "--host", "127.0.0.1", "--no-dashboard", *arguments]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def have(self, count: int) -> None:
        """Let so many workers be connected: one that a test has killed is started anew, one too many is killed."""
        from distributed import Client

        self.workers = [worker for worker in self.workers if worker.poll() is None]
        while len(self.workers) > count:
            _end(self.workers.pop())
        while len(self.workers) < count:
            self.started += 1
            local = str(self.folder / f"worker{self.started}")
            of_two = ("--nthreads", "1", "--no-nanny", "--local-directory", local)
            self.workers.append(self._start("worker", *of_two, self.address))
        with Client(self.address, timeout=60, set_as_default=False) as client:
            deadline = time.monotonic() + 90
            while (found := len(client.scheduler_info(n_workers=-1)["workers"])) != count:
                assert time.monotonic() < deadline, found
                time.sleep(0.1)

    def end(self) -> None:
        for process in (*self.workers, self.scheduler):
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster without workers."""
    found = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        yield found
    finally:
        found.end()


@pytest.fixture
def cluster(scheduler: Cluster) -> Cluster:
    """It, with two workers."""
    scheduler.have(2)
    return scheduler


def kill_one(cluster: Cluster) -> None:
    cluster.workers[0].kill()


def kill_the_only_holder_of_the_market(cluster: Cluster) -> None:
    """Dask keeps one copy of what was given to every worker, and drops the others within seconds."""
    from distributed import Client

    with Client(cluster.address, timeout=60, set_as_default=False) as client:
        deadline = time.monotonic() + 60
        while True:
            holders = {key: at for key, at in client.who_has().items() if key.startswith("Market-")}
            if len(holders) == 1 and len(only := next(iter(holders.values()))) == 1:
                break
            assert time.monotonic() < deadline, holders
            time.sleep(0.2)
        pids = client.run(os.getpid)
    os.kill(pids[only[0]], signal.SIGKILL)


@pytest.mark.parametrize("kill", [kill_one, kill_the_only_holder_of_the_market])
def test_a_cluster_that_loses_a_worker_gives_the_same_bits(
    settings: Settings,
    whole: pd.DataFrame,
    cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch,
    kill: Callable[[Cluster], None],
) -> None:
    monkeypatch.setenv("KOBE_COMPUTE__ENGINE", "dask")
    monkeypatch.setenv("KOBE_COMPUTE__SCHEDULER", cluster.address)
    remote = load_settings()
    plan = plan_sweep(remote, Warehouse())
    assert plan.left == len(whole), "where a sweep runs is not part of its pin"
    counts: list[int] = []

    def done(count: int) -> None:
        counts.append(count)
        if len(counts) == 1:
            kill(cluster)

    run_sweep(remote, Warehouse(), plan, done)
    assert sum(counts) == plan.total
    pd.testing.assert_frame_equal(trials(), whole, check_exact=True)


def test_a_cluster_whose_workers_all_die_ends_in_one_line_and_keeps_what_was_finished(
    settings: Settings, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kobe_jobs.research_run.sweep.CONNECT_S", 2)
    monkeypatch.setenv("KOBE_COMPUTE__ENGINE", "dask")
    monkeypatch.setenv("KOBE_COMPUTE__SCHEDULER", cluster.address)
    remote = load_settings()
    plan = plan_sweep(remote, Warehouse())
    counts: list[int] = []

    def done(count: int) -> None:
        counts.append(count)
        for worker in cluster.workers:
            worker.kill()

    with pytest.raises(ClusterLost, match=f"every worker of {cluster.address} is gone|no worker is connected"):
        run_sweep(remote, Warehouse(), plan, done)
    assert 0 < sum(counts) < plan.total
    assert plan_sweep(remote, Warehouse()).left == plan.total - sum(counts)


def test_a_scheduler_without_workers_says_how_to_start_one(
    settings: Settings, scheduler: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kobe_jobs.research_run.sweep.CONNECT_S", 3)
    scheduler.have(0)
    monkeypatch.setenv("KOBE_COMPUTE__ENGINE", "dask")
    monkeypatch.setenv("KOBE_COMPUTE__SCHEDULER", scheduler.address)
    with pytest.raises(
        ClusterLost, match=f"no worker is connected to {scheduler.address}: start one: dask worker {scheduler.address}"
    ):
        sweep(load_settings())
    assert trials().empty


def test_a_scheduler_that_is_not_there_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kobe_jobs.research_run.sweep.CONNECT_S", 1)
    monkeypatch.setenv("KOBE_COMPUTE__ENGINE", "dask")
    monkeypatch.setenv("KOBE_COMPUTE__SCHEDULER", "tcp://127.0.0.1:9")
    with pytest.raises(ClusterLost, match=r"tcp://127\.0\.0\.1:9"):
        sweep(load_settings())
    assert trials().empty
