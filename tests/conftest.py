"""Fixtures for every test: a data folder of its own, and no setting of the person who runs the tests."""

from __future__ import annotations

import gc
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from kobe_jobs.cli.main import COLLECT_EVERY
from kobe_resources.runtime import dagster_instance
from kobe_resources.warehouse import checkpoint_journal
from kobe_resources.warehouse.shared_connection import keep_open
from kobe_resources.warehouse.store import Warehouse
from tests.support import dagster_storage

if TYPE_CHECKING:
    from dagster import DagsterInstance
    from duckdb import DuckDBPyConnection

TERMINAL = ("COLUMNS", "LINES")
"""What readline leaves in the environment of a test worker: the width of a terminal that it does not have."""
SECRETS = ("POLYGON_API_KEY", "ALPACA_API_KEY_ID", "ALPACA_API_SECRET_KEY", "KOBE_ENV_FILE")
MADE = dagster_instance._prepare
"""How Kobe has Dagster make the storage of its instance: what the tests of just that work with."""
PREPARED = dagster_instance._prepared
"""What precedes every instance of Kobe's."""
WRITE_EMPTY = checkpoint_journal._write_empty
"""How Kobe makes a new DuckDB file: what the tests of just that work with."""

# How long a machine takes is not what a property says; where it matters, a test measures.
settings.register_profile("kobe", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kobe")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell script that starts the tests with `&` leaves them, and all that they start, deaf to the interrupts they send.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    for name in list(os.environ):
        if (name.startswith("KOBE_") and name != "KOBE_HOME") or name in (*SECRETS, *TERMINAL):
            monkeypatch.delenv(name)
    if "KOBE_HOME" not in os.environ:
        monkeypatch.setenv("KOBE_HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture(scope="session", autouse=True)
def _dagster_storage_is_made_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A new data folder in this process gets a copy of what Dagster made for the first: its migrations take half a second."""
    first = tmp_path_factory.mktemp("dagster") / "history"

    def copied(home: Path, version: str) -> None:
        history = home / "history"
        if first.is_dir() and not history.exists():
            try:
                shutil.copytree(first, history)
                (home / "storage_version").write_text(version, encoding="utf-8")
                return
            except OSError:
                shutil.rmtree(history, ignore_errors=True)
        is_new = not history.exists()
        instance = MADE(home, version)
        if instance is not None:
            instance.dispose()
        if is_new:
            whole: Path = shutil.copytree(history, first.with_name("copying"))
            whole.rename(first)

    def prepared() -> DagsterInstance | None:
        # Here, since a file of tests that opens no instance need not import Dagster.
        if not kept:
            kept.append(True)
            dagster_storage.keep(patch)
        return PREPARED()

    kept: list[bool] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dagster_instance, "_prepare", copied)
        patch.setattr(dagster_instance, "_prepared", prepared)
        yield


@pytest.fixture(scope="session", autouse=True)
def _tables_are_made_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A new warehouse in this process is a copy of one that is migrated: the migrations take a tenth of a second."""
    first = tmp_path_factory.mktemp("warehouse") / "migrated.duckdb"
    Warehouse(first).rows("SELECT 1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint_journal, "_write_empty", lambda path: shutil.copyfile(first, path))
        yield


@pytest.fixture
def warehouses_stay_open(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each file that a test writes is opened once in it, as a command of Kobe's does: an opening takes 30 ms.

    Not for tests in which another process, or a copy, must find all in the file itself.
    """

    @contextmanager
    def connect(warehouse: Warehouse) -> Iterator[DuckDBPyConnection]:
        if not warehouse.read_only:
            stack.enter_context(keep_open(warehouse.path))
        with opened(warehouse) as connection:
            yield connection

    opened = Warehouse.connect
    with ExitStack() as stack:
        monkeypatch.setattr(Warehouse, "connect", connect)
        yield


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty KOBE_HOME."""
    folder = tmp_path / "home"
    monkeypatch.setenv("KOBE_HOME", str(folder))
    return folder


@pytest.fixture
def no_collection() -> Iterator[None]:
    """No garbage collection: one at the bottom of a recursion would call Hypothesis's callback, which then fails there, too."""
    gc.disable()
    yield
    gc.enable()


def pytest_collection_finish() -> None:
    """Collect garbage as seldom as the command line does: the hundreds of thousands of objects that imports make are none."""
    gc.set_threshold(COLLECT_EVERY)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Benchmarks measure and are no tests: `make bench` runs them, `make test` does not even collect them."""
    return True if collection_path.name == "benchmarks" and not config.getoption("--benchmark-only") else None
