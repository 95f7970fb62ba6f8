"""The warehouse with real files and real other processes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest

from kobe_resources.warehouse import checkpoint_journal, store
from kobe_resources.warehouse.migrations import SCHEMA_FOLDER, WarehouseUnusable, migrate
from kobe_resources.warehouse.shared_connection import keep_open
from kobe_resources.warehouse.store import Warehouse, WarehouseBusy, insert, quoted, refill
from tests.conftest import WRITE_EMPTY

HOLD = "import duckdb, sys, time; c = duckdb.connect(sys.argv[1]); print('held', flush=True); time.sleep(float(sys.argv[2]))"


@pytest.fixture(autouse=True)
def _new_files_are_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_journal, "_write_empty", WRITE_EMPTY)


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    found = Warehouse(tmp_path / "kobe.duckdb", lock_wait_s=0.5)
    found.rows("SELECT 1")
    return found


def holder(path: Path, seconds: float) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path), str(seconds)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def bars(symbol: str, closes: list[float]) -> pd.DataFrame:
    days = pd.bdate_range("2020-01-06", periods=len(closes))
    frame = pd.DataFrame(
        {"symbol": symbol, "session": days, "volume": 100.0, "source": "test", "fetched_at": pd.Timestamp.now("UTC")}
    )
    return frame.assign(**dict.fromkeys(("open", "high", "low", "close"), closes))


def test_every_migration_is_applied_once_and_recorded(warehouse: Warehouse) -> None:
    again = Warehouse(warehouse.path)
    files = sorted(path.name for path in SCHEMA_FOLDER.glob("*.sql"))
    assert [row[0] for row in again.rows("SELECT name FROM schema_migrations ORDER BY version")] == files


def test_a_newer_schema_is_refused_in_one_line(warehouse: Warehouse) -> None:
    warehouse.rows("INSERT INTO schema_migrations VALUES (999, '999_future.sql', now())")
    with pytest.raises(WarehouseUnusable, match=r"schema version 999.*update Kobe") as caught:
        Warehouse(warehouse.path).rows("SELECT 1")
    assert "\n" not in str(caught.value)


def test_a_migration_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = tmp_path / "schema"
    folder.mkdir()
    (folder / "001_good.sql").write_text("CREATE TABLE good (x INTEGER);")
    (folder / "002_bad.sql").write_text("CREATE TABLE half (x INTEGER); SELECT no_such_function();")
    connection = duckdb.connect()
    with pytest.raises(duckdb.Error):
        migrate(connection, folder)
    assert connection.execute("SELECT version FROM schema_migrations").fetchall() == [(1,)]
    assert {row[0] for row in connection.execute("SHOW TABLES").fetchall()} == {"good", "schema_migrations"}


def test_a_held_file_is_waited_for(warehouse: Warehouse) -> None:
    patient = Warehouse(warehouse.path, lock_wait_s=20)
    process = holder(warehouse.path, 1.0)
    assert patient.rows("SELECT 42") == [(42,)]
    process.wait()


def test_past_the_deadline_the_error_names_the_holder(warehouse: Warehouse) -> None:
    process = holder(warehouse.path, 30)
    began = time.monotonic()
    with pytest.raises(WarehouseBusy, match=f"PID {process.pid}") as caught:
        warehouse.rows("SELECT 1")
    process.kill()
    process.wait()
    assert time.monotonic() - began < 5
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_warehouse_is_named(tmp_path: Path) -> None:
    (tmp_path / "kobe.duckdb").write_bytes(b"not a database" * 1000)
    with pytest.raises(WarehouseUnusable, match="cannot be opened"):
        Warehouse(tmp_path / "kobe.duckdb").rows("SELECT 1")


def test_a_damaged_block_is_named_in_one_line_when_it_is_read(warehouse: Warehouse) -> None:
    warehouse.rows("CREATE TABLE many AS SELECT hash(i) AS x FROM range(200_000) r(i)")
    content = bytearray(warehouse.path.read_bytes())
    content[-300_000] ^= 0xFF
    warehouse.path.write_bytes(content)
    with pytest.raises(WarehouseUnusable, match=r"cannot be read or written \(Corrupt database file.*\): restore") as caught:
        warehouse.rows("SELECT sum(x) FROM many")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "sql",
    ["SELECT * FROM read_csv('{folder}/none.csv')", "COPY (SELECT 1) TO '{folder}/none/x.csv'", "ATTACH '{folder}/none/x.db'"],
)
def test_an_error_of_a_statement_is_none_of_the_warehouse(warehouse: Warehouse, tmp_path: Path, sql: str) -> None:
    with pytest.raises(duckdb.IOException, match="none"):
        warehouse.rows(sql.format(folder=tmp_path))
    with pytest.raises(duckdb.IOException, match="none"), warehouse.transaction() as connection:
        connection.execute(sql.format(folder=tmp_path))
    assert warehouse.rows("SELECT 1") == [(1,)]


class Failing:
    """A connection one of whose statements fails."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, statement: str, words: str) -> None:
        self.connection, self.statement, self.words = connection, statement, words

    def execute(self, sql: str, *given: Any) -> Any:
        if sql == self.statement:
            raise duckdb.IOException(self.words)
        return self.connection.execute(sql, *given)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.connection, name)


@pytest.mark.parametrize(
    ("statement", "words"),
    [("COMMIT", "Failed to commit: disk quota"), ("SELECT 7", 'Could not read from file "/x/kobe.duckdb": disk quota')],
)
def test_a_commit_that_fails_and_a_statement_that_names_the_file_are_faults_of_it(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, statement: str, words: str
) -> None:
    connect = checkpoint_journal.connect
    monkeypatch.setattr(checkpoint_journal, "connect", lambda *given: Failing(connect(*given), statement, words))
    with pytest.raises(WarehouseUnusable, match="free space on its disk"), warehouse.transaction() as connection:
        connection.execute("SELECT 7")


def test_a_file_that_cannot_be_opened_is_no_lock_though_its_path_says_so(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()
    with pytest.raises(WarehouseUnusable, match="cannot be opened"):
        Warehouse(tmp_path / "lock", lock_wait_s=0.2).rows("SELECT 1")


def test_a_folder_that_may_not_be_written_asks_for_permissions_and_not_for_a_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise duckdb.IOException(f'IO Error: Cannot open file "{tmp_path}/kobe.duckdb": Read-only file system')

    # Root may write anywhere, so that only DuckDB's words can be played back.
    monkeypatch.setattr(duckdb, "connect", refuse)
    with pytest.raises(WarehouseUnusable, match="mend its permissions"):
        Warehouse(tmp_path / "kobe.duckdb").rows("SELECT 1")


def test_a_full_disk_asks_for_room_and_not_for_a_backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise duckdb.IOException('IO Error: Could not write file "kobe.duckdb": No space left on device')

    monkeypatch.setattr(duckdb, "connect", refuse)
    with pytest.raises(WarehouseUnusable, match="free space on its disk"):
        Warehouse(tmp_path / "kobe.duckdb").rows("SELECT 1")


def test_a_reader_within_a_writer_is_told_to_close_it(warehouse: Warehouse) -> None:
    with warehouse.connect(), pytest.raises(WarehouseUnusable, match="close the connection that this process has"):
        Warehouse(warehouse.path, read_only=True).rows("SELECT 1")


def test_threads_that_find_no_warehouse_get_one(tmp_path: Path) -> None:
    errors = []

    def look() -> None:
        try:
            Warehouse(tmp_path / "kobe.duckdb").rows("SELECT 1")
        except Exception as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_tables_are_replaced_together_or_not_at_all(warehouse: Warehouse) -> None:
    warehouse.replace({"daily_bars": bars("A", [1.0, 2.0])})
    broken = pd.DataFrame({"symbol": ["A"], "no_such_column": [1]})
    with pytest.raises(WarehouseUnusable, match="no_such_column"):
        warehouse.replace({"daily_bars": bars("B", [3.0]), "splits": broken})
    assert warehouse.rows("SELECT DISTINCT symbol FROM daily_bars") == [("A",)]


def test_rows_in_any_order_are_all_there_and_the_next_ones_lie_in_theirs(warehouse: Warehouse) -> None:
    frame = pd.DataFrame({"number": np.arange(400_000)[::-1]})
    with warehouse.transaction() as connection:
        connection.execute("CREATE TABLE counted (number BIGINT)")
        assert insert(connection, "counted", frame, in_order=False) == 400_000
        assert connection.execute("SELECT count(DISTINCT number), sum(number) FROM counted").fetchall() == [
            (400_000, 400_000 * 399_999 // 2)
        ]
        assert refill(connection, "counted", frame) == 400_000
        found = connection.execute("SELECT number FROM counted").fetchnumpy()["number"]
    assert (found == frame["number"].to_numpy()).all()


def test_rows_that_are_refused_are_named_as_that(warehouse: Warehouse) -> None:
    frame = pd.DataFrame({"strategy": ["s"], "mode": ["m"], "name": ["n"], "value": [None]})
    with pytest.raises(duckdb.ConstraintException, match="NOT NULL constraint failed: evidence"):
        warehouse.replace({"evidence": frame})


def test_a_process_killed_inside_a_transaction_leaves_the_old_rows(warehouse: Warehouse) -> None:
    warehouse.replace({"daily_bars": bars("A", [1.0, 2.0])})
    script = (
        "import sys, time; from pathlib import Path; from kobe_resources.warehouse.store import Warehouse\n"
        "with Warehouse(Path(sys.argv[1])).transaction() as c:\n"
        "    c.execute('DELETE FROM daily_bars'); print('deleted', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(warehouse.path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "deleted\n"
    process.kill()
    process.wait()
    assert warehouse.rows("SELECT count(*) FROM daily_bars") == [(2,)]


def test_the_content_version_ignores_order_and_arrival_but_no_value(warehouse: Warehouse) -> None:
    rows = bars("A", [1.0, 2.0, 3.0])
    versions = []
    for frame in (
        rows,
        rows.sample(frac=1, random_state=1).assign(fetched_at=pd.Timestamp("2001-01-01", tz="UTC")),
        rows.assign(close=[1.0, 2.0, 3.0000001]),
    ):
        warehouse.replace({"daily_bars": frame})
        versions.append(warehouse.content_version("daily_bars"))
    assert versions[0] == versions[1] != versions[2]


def test_a_version_is_remembered_once_the_next_commit_has_another_time(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []
    real = store._hash_of_rows
    monkeypatch.setattr(store, "_hash_of_rows", lambda connection, table: hashed.append(table) or real(connection, table))
    warehouse.rows("SELECT 1")
    for tick_ns, expected in ((10**18, 2), (-1, 1)):
        monkeypatch.setattr(store, "TICK_NS", tick_ns)
        assert warehouse.content_version("splits") == warehouse.content_version("splits")
        assert len(hashed) == expected
        hashed.clear()


def test_a_version_follows_what_is_committed_and_nothing_else(warehouse: Warehouse) -> None:
    warehouse.replace({"daily_bars": bars("A", [1.0, 2.0])})
    first = warehouse.content_version("daily_bars", "splits")
    assert Warehouse(warehouse.path).content_version("daily_bars", "splits") == first
    with warehouse.transaction() as connection:
        connection.execute("UPDATE daily_bars SET close = close + 1")
        assert warehouse.content_version("daily_bars", "splits") == first
    assert warehouse.content_version("daily_bars", "splits") != first
    with warehouse.transaction() as connection:
        connection.execute("UPDATE daily_bars SET close = close - 1")
    assert warehouse.content_version("daily_bars", "splits") == first


def test_a_commit_that_says_what_it_writes_leaves_the_versions_of_other_tables_known(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "TICK_NS", -1)
    hashed: list[str] = []
    real = store._hash_of_rows
    monkeypatch.setattr(store, "_hash_of_rows", lambda connection, table: hashed.append(table) or real(connection, table))
    with keep_open(warehouse.path):
        warehouse.replace({"daily_bars": bars("A", [1.0, 2.0])})
        first = warehouse.content_version("daily_bars"), warehouse.content_version("splits")
        hashed.clear()
        with warehouse.transaction({"daily_bars"}) as connection:
            connection.execute("UPDATE daily_bars SET close = close + 1")
        assert warehouse.content_version("splits") == first[1]
        assert warehouse.content_version("daily_bars") != first[0]
        assert hashed == ["daily_bars"]
        with warehouse.transaction() as connection:
            connection.execute("UPDATE daily_bars SET close = close - 1")
        assert (warehouse.content_version("daily_bars"), warehouse.content_version("splits")) == first
        assert hashed == ["daily_bars", "daily_bars", "splits"], "of one that does not say so nothing stays known"
        with contextlib.suppress(ValueError), warehouse.transaction(set()):
            raise ValueError
        # A change that nobody announced, right before one that was: the file had another stamp by then.
        warehouse.rows("UPDATE daily_bars SET close = close + 1")
        with warehouse.transaction({"splits"}):
            pass
        assert warehouse.content_version("daily_bars") != first[0]


def test_adjusted_bars_follow_the_rules(warehouse: Warehouse) -> None:
    """Two splits on the way, one on the last stored session, one announced for later (rules, section 1)."""
    frame = bars("A", [8.0, 8.0, 4.0, 4.0, 2.0])
    days = list(frame["session"].dt.date)
    splits = [(days[2], 1, 2), (days[4], 1, 2), (days[4] + pd.Timedelta(days=9), 1, 10)]
    warehouse.replace({"daily_bars": pd.concat([frame, bars("B", [5.0])])})
    for day, before, after in splits:
        warehouse.rows("INSERT INTO splits VALUES ('A', ?, ?, ?, 'test')", [day, before, after])
    found = warehouse.rows("SELECT close, factor, volume FROM adjusted_bars WHERE symbol = 'A' ORDER BY session")
    assert found == [(2.0, 0.25, 400.0), (2.0, 0.25, 400.0), (2.0, 0.5, 200.0), (2.0, 0.5, 200.0), (2.0, 1.0, 100.0)]
    assert warehouse.rows("SELECT close, factor FROM adjusted_bars WHERE symbol = 'B'") == [(5.0, 1.0)]


def test_identifiers_are_quoted() -> None:
    assert quoted('x"; DROP TABLE y; --') == '"x""; DROP TABLE y; --"'


def test_an_interrupt_in_a_query_is_an_interrupt(warehouse: Warehouse) -> None:
    # A worker of the tests ignores interrupts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()

    def ask() -> None:
        with warehouse.connect() as connection:
            # With one thread DuckDB looks for signals between chunks; with more it may only wait for the others' end.
            connection.execute("SET threads = 1")
            connection.execute("SELECT sum(hash(range)) FROM range(10000000000)")

    try:
        with pytest.raises(KeyboardInterrupt):
            ask()
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)
    assert warehouse.rows("SELECT 1") == [(1,)]


def test_a_person_is_told_what_is_waited_for(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(store.PATIENCE, "tell", lines.append)
    monkeypatch.setattr(store, "TELL_AFTER_S", 0.1)
    process = holder(warehouse.path, 30)
    with pytest.raises(WarehouseBusy):
        Warehouse(warehouse.path, lock_wait_s=1.0).rows("SELECT 1")
    process.kill()
    process.wait()
    assert [f"PID {process.pid}" in line for line in lines] == [True]
