"""A DuckDB file torn for real: the kernel cuts a write short and kills the writer, and the next to open it loses nothing."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
import threading
from pathlib import Path

import duckdb
import pytest

from kobe_resources.warehouse import checkpoint_journal
from kobe_resources.warehouse.store import Warehouse
from tests.conftest import WRITE_EMPTY

WRITE = """
import resource, signal, sys
from pathlib import Path
from kobe_resources.warehouse import checkpoint_journal as duckdb_file
from kobe_resources.warehouse.store import Warehouse

def cut_writes_at(size):
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

def write(path, number):
    # Without rows, so that metadata is all that a checkpoint writes.
    with Warehouse(path).transaction() as connection:
        connection.execute(f"CREATE TABLE more_{number} (x INTEGER)")

path = Path(sys.argv[1])
"""
TORN = (
    WRITE
    + """
real = duckdb_file._write_journal
def then_cut(*arguments):
    real(*arguments)
    cut_writes_at(int(sys.argv[2]))
duckdb_file._write_journal = then_cut
write(path, 1)
"""
)
KILLED_AT_THE_END = (
    WRITE
    + """
import os
Path.unlink = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
write(path, 1)
"""
)
KILLED_AT_THE_BEGINNING = WRITE + "\ncut_writes_at(int(sys.argv[2]))\nwrite(path, 1)"


@pytest.fixture(autouse=True)
def _new_files_are_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_journal, "_write_empty", WRITE_EMPTY)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A warehouse with a row, closed."""
    warehouse = Warehouse(tmp_path / "kobe.duckdb")
    note(warehouse, "0")
    return warehouse.path


def note(warehouse: Warehouse, name: str) -> None:
    with warehouse.transaction() as connection:
        connection.execute("INSERT INTO kpi_reasons VALUES (?, '', '', '')", [name])


def names(path: Path, read_only: bool = False) -> list[str]:
    """What the processes wrote that ended, or died after their commit."""
    made = "SELECT table_name[6:] FROM duckdb_tables() WHERE table_name LIKE 'more%'"
    rows = Warehouse(path, read_only=read_only).rows(f"SELECT strategy FROM kpi_reasons UNION {made} ORDER BY 1")
    return [name for (name,) in rows]


def killed(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def opens_elsewhere(path: Path) -> bool:
    """Does a process that knows nothing of Kobe get the file?"""
    return killed("import duckdb, sys; duckdb.connect(sys.argv[1]).close()", path).returncode == 0


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("written", [4_096, 45_056, 65_536])
def test_a_torn_block_of_metadata_is_put_back(path: Path, written: int, read_only: bool) -> None:
    done = killed(TORN, path, checkpoint_journal.HEADERS + written)
    assert done.returncode == -signal.SIGXFSZ, done.stderr
    torn = path.read_bytes()
    with pytest.raises(duckdb.Error, match="Corrupt database file"):
        duckdb.connect(str(path))

    assert names(path, read_only) == ["0", "1"], "what was committed is there"
    assert not list(path.parent.glob(".*journal*"))
    assert path.read_bytes() != torn
    note(Warehouse(path), "2")
    assert names(path) == ["0", "1", "2"]
    assert files(path.parent) == [".kobe.duckdb.lock", "kobe.duckdb"]


def test_killed_again_and_again_it_still_loses_nothing(path: Path) -> None:
    for number in range(2, 8):
        script = TORN.replace("write(path, 1)", f"write(path, {number})")
        assert killed(script, path, checkpoint_journal.HEADERS + number * 16_384).returncode == -signal.SIGXFSZ
    assert names(path) == ["0", *map(str, range(2, 8))]


def test_a_checkpoint_that_came_to_its_end_is_not_undone(path: Path) -> None:
    assert killed(KILLED_AT_THE_END, path).returncode == -signal.SIGKILL
    assert (path.parent / ".kobe.duckdb.journal").exists()
    whole = path.read_bytes()
    with Warehouse(path).connect():
        assert path.read_bytes() == whole
        assert not (path.parent / ".kobe.duckdb.journal").exists()
    assert names(path) == ["0", "1"]


def test_a_journal_is_of_one_database_only(path: Path, tmp_path: Path) -> None:
    assert killed(TORN, path, checkpoint_journal.HEADERS + 4_096).returncode == -signal.SIGXFSZ
    other = tmp_path / "other" / "kobe.duckdb"
    note(Warehouse(other), "other")
    (path.parent / ".kobe.duckdb.journal").rename(other.parent / ".kobe.duckdb.journal")
    whole = other.read_bytes()
    with Warehouse(other).connect():
        assert other.read_bytes() == whole
    assert names(other) == ["other"]
    assert not (other.parent / ".kobe.duckdb.journal").exists()


def test_a_journal_in_use_is_let_alone(path: Path) -> None:
    hold = WRITE + "\nduckdb_file.Path.unlink = lambda *_, **__: (print('held', flush=True), input())\nwrite(path, 1)"
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        journal = path.parent / ".kobe.duckdb.journal"
        content = journal.read_bytes()
        with pytest.raises(duckdb.IOException, match="Could not set lock"):
            checkpoint_journal.connect(path)
        assert journal.read_bytes() == content
        holder.kill()
    assert names(path) == ["0", "1"]


@pytest.mark.parametrize("written", [0, 4_096, 8_192])
def test_a_file_half_created_is_created_anew(tmp_path: Path, written: int) -> None:
    path = tmp_path / "kobe.duckdb"
    assert killed(KILLED_AT_THE_BEGINNING, path, written).returncode == -signal.SIGXFSZ
    assert not path.exists()
    assert names(path) == []
    assert files(tmp_path) == [".kobe.duckdb.lock", "kobe.duckdb"]


def test_two_that_create_it_get_one_file(tmp_path: Path) -> None:
    script = WRITE + "\nwrite(path, int(sys.argv[2]))"
    path = tmp_path / "kobe.duckdb"
    writers = [subprocess.Popen([sys.executable, "-c", script, str(path), str(k)]) for k in range(3)]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0, 0]
    assert names(path) == ["0", "1", "2"]


def test_checkpoint_and_copy_leave_the_lock_on(path: Path, tmp_path: Path) -> None:
    with Warehouse(path).connect() as connection:
        connection.execute("INSERT INTO kpi_reasons VALUES ('1', '', '', '')")
        checkpoint_journal.checkpoint(connection, path)
        checkpoint_journal.copy(path, tmp_path / "copy.duckdb")
        assert not opens_elsewhere(path)
    assert opens_elsewhere(path)
    assert names(tmp_path / "copy.duckdb") == ["0", "1"]


def test_a_checkpoint_that_fails_leaves_the_log(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint_journal, "write_whole", full)
        note(Warehouse(path), "1")
    assert "no checkpoint ([Errno 28] No space left on device)" in caplog.text
    log = path.with_name("kobe.duckdb.wal")
    assert log.stat().st_size > 0
    assert names(path) == ["0", "1"]
    assert not log.exists()


def test_a_long_log_is_brought_in_at_a_commit(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = path.with_name("kobe.duckdb.wal")
    warehouse = Warehouse(path)
    with warehouse.connect():
        note(warehouse, "1")
        assert log.stat().st_size > 0
        monkeypatch.setattr(checkpoint_journal, "LOG_LIMIT", 10)
        note(warehouse, "2")
        assert not log.exists()


def test_threads_write_and_close_while_others_do(path: Path) -> None:
    def work(k: int) -> None:
        for n in range(8):
            note(Warehouse(path), f"{k}-{n}")

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(names(path)) == 1 + 4 * 8
    assert files(path.parent) == [".kobe.duckdb.lock", "kobe.duckdb"]


@pytest.mark.parametrize("content", [b"", b"garbage", b"x" * 300_000])
def test_a_journal_that_is_none_is_dropped(path: Path, content: bytes) -> None:
    journal = path.parent / ".kobe.duckdb.journal"
    journal.write_bytes(content)
    assert names(path) == ["0"]
    assert not journal.exists()


def test_a_log_whose_file_was_moved_away_is_set_aside(path: Path) -> None:
    script = WRITE + "\nimport os\nduckdb_file.checkpoint = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\nwrite(path, 1)"
    assert killed(script, path).returncode == -signal.SIGKILL
    log = path.with_name("kobe.duckdb.wal").read_bytes()
    path.rename(path.with_name("away.duckdb"))
    assert names(path) == []
    (left,) = path.parent.glob("left-*-kobe.duckdb.wal")
    assert left.read_bytes() == log


def test_a_file_replaced_under_an_open_connection_is_logged_and_no_error(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Warehouse(path).connect() as connection:
        connection.execute("INSERT INTO kpi_reasons VALUES ('1', '', '', '')")
        path.rename(path.with_name("away.duckdb"))
        path.write_bytes(b"")
    assert "another file stands where the open one was" in caplog.text


def test_a_connection_that_cannot_be_set_up_is_closed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Refusing] = []

    class Refusing:
        def __init__(self, real: duckdb.DuckDBPyConnection) -> None:
            self.real = real
            opened.append(self)

        def execute(self, *_: object) -> None:
            raise duckdb.FatalException("given up")

        def close(self) -> None:
            self.real.close()

    real = duckdb.connect
    with monkeypatch.context() as patched:
        patched.setattr(duckdb, "connect", lambda *a, **k: Refusing(real(*a, **k)))
        with pytest.raises(duckdb.FatalException):
            checkpoint_journal.connect(path)
    assert len(opened) == 1
    assert opens_elsewhere(path)


@pytest.mark.parametrize(
    ("offset", "number"),
    [(12, 1000), (12, 0), (12, 69), (4096 + 56, 70), (8192 + 56, 1 << 40), (8, 0x4B435545)],
)
def test_a_storage_version_that_is_not_known_is_neither_mended_nor_checkpointed(path: Path, offset: int, number: int) -> None:
    size = 4 if offset == 8 else 8
    headers = bytearray(path.read_bytes()[: checkpoint_journal.HEADERS])
    headers[offset : offset + size] = number.to_bytes(size, "little")
    content = bytes(headers) + path.read_bytes()[checkpoint_journal.HEADERS :]
    path.write_bytes(content)
    block = (checkpoint_journal.HEADERS, b"x" * 100)
    parts = [(0, bytes(headers)), block]
    journal = b"".join(checkpoint_journal.RECORD.pack(at, len(data)) + data for at, data in parts)
    checkpoint_journal._journal(path).write_bytes(journal)
    with pytest.raises(checkpoint_journal.StorageUnknown, match=r"storage version.*restore a backup") as caught:
        checkpoint_journal.connect(path)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == content, "not a byte was written"
    assert checkpoint_journal._journal(path).exists()


def test_no_checkpoint_is_made_in_a_layout_that_is_not_known(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_journal, "KNOWN_VERSIONS", frozenset({64}))
    with Warehouse(path).transaction() as connection:
        connection.execute("CREATE TABLE later (x INTEGER)")
        before = path.read_bytes()
        with pytest.raises(checkpoint_journal.StorageUnknown):
            checkpoint_journal.checkpoint(connection, path)
    assert path.read_bytes() == before
    assert Warehouse(path).rows("SELECT count(*) FROM later") == [(0,)], "the log has it"


def test_what_this_duckdb_writes_is_known(path: Path) -> None:
    checkpoint_journal._check_version(path.read_bytes()[: checkpoint_journal.HEADERS], path)
