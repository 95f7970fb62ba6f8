"""A warehouse kept open: opened once, given up to whoever asks, never lost to an error."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import duckdb
import pytest

from kobe_resources.warehouse import shared_connection
from kobe_resources.warehouse.shared_connection import keep_open
from kobe_resources.warehouse.store import Warehouse, WarehouseBusy

OTHER = """
import sys, time
from pathlib import Path
from kobe_resources.warehouse.store import Warehouse
began = time.monotonic()
with Warehouse(Path(sys.argv[1]), lock_wait_s=float(sys.argv[2])).transaction() as connection:
    connection.execute("INSERT INTO kpi_reasons VALUES ('other', '', '', '')")
print(time.monotonic() - began)
"""


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    warehouse = Warehouse(tmp_path / "kobe.duckdb")
    assert names(warehouse) == []
    return warehouse


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How often DuckDB opened a file."""
    calls, real = [], duckdb.connect

    def connect(path: str, **options: bool) -> duckdb.DuckDBPyConnection:
        calls.append(path)
        return real(path, **options)

    monkeypatch.setattr(duckdb, "connect", connect)
    return calls


def names(warehouse: Warehouse) -> list[str]:
    return [row[0] for row in warehouse.rows("SELECT strategy FROM kpi_reasons ORDER BY strategy")]


def note(warehouse: Warehouse, name: str) -> None:
    with warehouse.transaction() as connection:
        connection.execute("INSERT INTO kpi_reasons VALUES (?, '', '', '')", [name])


def other_process(warehouse: Warehouse, seconds: float = 20) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", OTHER, str(warehouse.path), str(seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_it_is_opened_once_and_shut_at_the_end(warehouse: Warehouse, opened: list[str]) -> None:
    with keep_open(warehouse.path):
        note(warehouse, "one")
        note(Warehouse(warehouse.path), "two")
        assert names(warehouse) == ["one", "two"]
        with pytest.raises(duckdb.IOException, match="lock"):
            held_elsewhere(warehouse.path)
    assert len(opened) == 1
    held_elsewhere(warehouse.path)
    assert names(warehouse) == ["one", "two"]
    assert len(opened) == 2, "outside, by the statement"


def held_elsewhere(path: Path) -> None:
    """Open and close in a process that knows nothing of Kobe."""
    code = "import duckdb, sys; duckdb.connect(sys.argv[1]).close()"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise duckdb.IOException(done.stderr)


def test_a_process_that_asks_gets_it_while_we_compute(warehouse: Warehouse, opened: list[str]) -> None:
    with keep_open(warehouse.path):
        note(warehouse, "before")
        # Computing: nothing of ours touches the file.
        output, complaint = other_process(warehouse).communicate(timeout=60)
        assert not complaint
        assert float(output) < shared_connection.IDLE_S - 1
        note(warehouse, "since")
        assert names(warehouse) == ["before", "other", "since"]
    assert not list(warehouse.path.parent.glob(".*.wanted"))
    assert len(opened) == 2


def test_a_process_that_asks_waits_for_what_is_being_written(warehouse: Warehouse) -> None:
    with keep_open(warehouse.path):
        with warehouse.transaction() as connection:
            connection.execute("INSERT INTO kpi_reasons VALUES ('half', '', '', '')")
            other = other_process(warehouse)
            asked(warehouse.path)
            time.sleep(0.5)
            assert other.poll() is None
        output, complaint = other.communicate(timeout=60)
        assert not complaint
        assert float(output) > 0.4
        assert names(warehouse) == ["half", "other"]


def test_a_process_that_asks_in_vain_names_us(warehouse: Warehouse) -> None:
    with keep_open(warehouse.path), warehouse.connect():
        other = other_process(warehouse, seconds=0.5)
        _, complaint = other.communicate(timeout=60)
    assert WarehouseBusy.__name__ in complaint
    assert "is in use by PID" in complaint


def test_an_error_in_a_use_leaves_the_next_a_sound_file(warehouse: Warehouse, opened: list[str]) -> None:
    with keep_open(warehouse.path):
        with pytest.raises(duckdb.ConversionException), warehouse.transaction() as connection:
            connection.execute("INSERT INTO kpi_reasons VALUES ('lost', '', '', ''); SELECT 'x'::INTEGER")
        note(warehouse, "kept")
        assert names(warehouse) == ["kept"]
    assert len(opened) == 2


def test_a_file_long_unused_is_shut(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_connection, "IDLE_S", 0.2)
    with keep_open(warehouse.path):
        note(warehouse, "one")
        deadline = time.monotonic() + 20
        while True:
            try:
                held_elsewhere(warehouse.path)
                break
            except duckdb.IOException:
                assert time.monotonic() < deadline


def test_a_block_within_a_block_is_the_outer_ones(warehouse: Warehouse, opened: list[str]) -> None:
    with keep_open(warehouse.path):
        with keep_open(warehouse.path):
            note(warehouse, "inner")
        note(warehouse, "outer")
        assert names(warehouse) == ["inner", "outer"]
    assert len(opened) == 1
    held_elsewhere(warehouse.path)


def test_threads_share_it_and_none_is_shut_out(warehouse: Warehouse, opened: list[str]) -> None:
    def work(k: int) -> None:
        for n in range(5):
            note(warehouse, f"{k}-{n}")

    with keep_open(warehouse.path):
        threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(names(warehouse)) == 20
    assert len(opened) == 1


def asked(path: Path) -> None:
    """Wait until somebody asks for the file."""
    deadline = time.monotonic() + 20
    while not shared_connection.is_wanted(path):
        assert time.monotonic() < deadline
        time.sleep(0.01)
