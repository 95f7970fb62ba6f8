"""Backup and restore: consistent under writers, whole under kills, and no archive is trusted."""

from __future__ import annotations

import contextlib
import datetime as dt
import gzip
import hashlib
import io
import json
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kobe_jobs.ops.backup.archive import ArchiveRefused, read_archive, read_manifest
from kobe_jobs.ops.backup.files import is_left_out, is_safe_name
from kobe_jobs.ops.backup.make import BackupFailed, default_folder, make_backup
from kobe_jobs.ops.backup.restore import RestoreRefused, restore
from kobe_resources.errors import KobeError, UsageError
from kobe_resources.kill_switch import KillSwitch
from kobe_resources.order_ledger.store import OrderLedger
from kobe_resources.warehouse.store import Warehouse
from tests.support.drivers.command import kobe


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "data"
    monkeypatch.setenv("KOBE_HOME", str(home))
    return home


def fill(home: Path, orders: bool = True) -> None:
    """A data folder with one of everything."""
    store_candidates("AAA")
    if orders:
        record("first")
    (home / "reports").mkdir()
    (home / "reports" / "kpi_report.html").write_text("the report")
    (home / "logs").mkdir()
    (home / "logs" / "events.jsonl").write_text('{"event": "x"}\n')
    history = home / "dagster" / "history" / "history"
    history.mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(history / "runs.db")) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE runs (id TEXT)")
        connection.execute("INSERT INTO runs VALUES ('run-1')")
        connection.commit()
    (home / "dagster" / "dagster.yaml").write_text("storage: elsewhere\n")


def store_candidates(stamp: str) -> None:
    import pandas as pd

    Warehouse().replace({"candidates": pd.DataFrame({"symbol": [stamp], "source": [stamp]})})


def record(text: str) -> None:
    with OrderLedger() as ledger:
        with ledger.write() as write:
            write.audit("note", text=text)
        ledger.copy_audit()


def listing(folder: Path) -> dict[str, str]:
    """Name and hash of every plain file but locks and journals."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith((".lock", "-wal", "-shm", ".wal", ".journal", ".journal.new"))
    }


def test_a_restored_folder_holds_everything(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(home)
    made = make_backup(home)
    assert made.path.parent == default_folder(home)
    assert made.path.stat().st_mode & 0o077 == 0
    assert made.audit_problem == ""
    elsewhere = tmp_path / "new" / "place"
    result = restore(made.path, elsewhere)
    monkeypatch.setenv("KOBE_HOME", str(elsewhere))
    assert Warehouse().rows("SELECT symbol FROM candidates") == [("AAA",)]
    with OrderLedger() as ledger:
        assert ledger.verify_audit().holds
    assert (elsewhere / "reports/kpi_report.html").read_text() == "the report"
    with contextlib.closing(sqlite3.connect(elsewhere / "dagster/history/history/runs.db")) as connection:
        assert connection.execute("SELECT id FROM runs").fetchall() == [("run-1",)]
    assert not (elsewhere / "dagster/dagster.yaml").exists(), "it names the old place"
    assert result.files == made.files == len(read_manifest(made.path)["files"])


def test_restore_without_an_archive_or_with_a_wrong_name_names_the_newest(home: Path, tmp_path: Path) -> None:
    for words, code in (((), 2), (("nothing.tar.gz",), 1)):
        ended = kobe("restore", *words)
        assert ended.code == code
        assert ended.err.strip().endswith("name an archive of `kobe backup`")
    fill(home)
    make_backup(home)
    newest = make_backup(home).path
    for words, code in (((), 2), (("nothing.tar.gz",), 1)):
        ended = kobe("restore", *words)
        assert ended.code == code
        assert f"`kobe restore {newest}` is the newest" in ended.err


def test_a_restored_ledger_comes_with_the_kill_switch_on(home: Path, tmp_path: Path) -> None:
    fill(home)
    restored = restore(make_backup(home).path, tmp_path / "other")
    assert restored.orders
    status = KillSwitch(tmp_path / "other" / "KILL_SWITCH").status()
    assert status.is_on
    assert "kobe reconcile" in status.reason


def test_research_alone_comes_back_without_the_kill_switch(home: Path, tmp_path: Path) -> None:
    fill(home, orders=False)
    assert not restore(make_backup(home).path, tmp_path / "other").orders
    assert not KillSwitch(tmp_path / "other" / "KILL_SWITCH").status().is_on


def test_a_full_folder_is_moved_aside_only_with_force(home: Path) -> None:
    fill(home)
    archive = make_backup(home).path
    store_candidates("LATER")
    before = listing(home)
    with pytest.raises(RestoreRefused, match=r"not empty.*--force"):
        restore(archive, home)
    assert listing(home) == before
    result = restore(archive, home, force=True)
    assert Warehouse().rows("SELECT symbol FROM candidates") == [("AAA",)]
    assert result.aside is not None
    assert listing(result.aside) == before, "the old folder is whole beside it"


@pytest.mark.parametrize("is_there", [False, True])
def test_a_failed_restore_is_not_in_the_way_of_the_next(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    fill(home)
    archive = make_backup(home).path
    new = tmp_path / "new"
    if is_there:
        new.mkdir()
    monkeypatch.setenv("KOBE_HOME", str(new))
    torn = tmp_path / "torn.tar.gz"
    torn.write_bytes(archive.read_bytes()[:2000])
    failed = kobe("restore", str(torn))
    assert failed.code == 1
    assert "nothing was changed" in failed.err
    assert new.exists() == is_there
    assert kobe("restore", str(archive)).code == 0
    assert Warehouse().rows("SELECT symbol FROM candidates") == [("AAA",)]
    said = [path for aside in tmp_path.glob("new.before-restore-*") for path in aside.rglob("events.jsonl")]
    assert len(said) == is_there, "what was logged is kept"


def test_an_archive_that_is_none_is_named_before_the_folder_is_looked_at(home: Path, tmp_path: Path) -> None:
    fill(home)
    with pytest.raises(ArchiveRefused, match="is no file"):
        restore(tmp_path / "none.tar.gz", home)


def test_a_folder_with_nothing_but_logs_is_not_backed_up(home: Path) -> None:
    (home / "logs").mkdir(parents=True)
    (home / "logs" / "events.jsonl").write_text('{"event": "x"}\n')
    with pytest.raises(BackupFailed, match="nothing to back up"):
        make_backup(home)


WRITER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.jobs.ops.test_backup import record, store_pair
print("writing", flush=True)
number = 0
while True:
    number += 1
    record(f"note {number}")
    store_pair(str(number))
"""


def store_pair(stamp: str) -> None:
    """Two tables that must always tell the same."""
    import pandas as pd

    Warehouse().replace(
        {
            "candidates": pd.DataFrame({"symbol": [stamp], "source": ["x"]}),
            "kpi_reasons": pd.DataFrame({"strategy": [stamp], "mode": "x", "figure": "x", "reason": "x"}),
        }
    )


def test_a_backup_under_writers_is_consistent(home: Path, tmp_path: Path) -> None:
    root = str(Path(__file__).parents[3])
    with subprocess.Popen([sys.executable, "-c", WRITER, root], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "writing\n"
        while not (home / "audit.jsonl").exists() or not (home / "kobe.duckdb").exists():
            time.sleep(0.05)
        stamps = []
        for number in range(2):
            made = make_backup(home, tmp_path / f"{number}.tar.gz")
            assert made.audit_problem == ""
            place = tmp_path / f"restored-{number}"
            assert restore(made.path, place).audit_problem == ""
            copy = Warehouse(place / "kobe.duckdb")
            (one,), (two,) = copy.rows("SELECT symbol FROM candidates"), copy.rows("SELECT strategy FROM kpi_reasons")
            assert one == two
            stamps.append(int(one[0]))
        writer.kill()
    assert stamps == sorted(set(stamps)), "the writer went on meanwhile"


def wait_for(folder: Path, pattern: str) -> None:
    """Until the child is in the middle of its work."""
    deadline = time.monotonic() + 60
    while not list(folder.glob(pattern)):
        assert time.monotonic() < deadline
        time.sleep(0.005)


BACKUP = """
import sys
from pathlib import Path
from kobe_jobs.ops.backup.make import make_backup
import filelock, duckdb, kobe_resources.order_ledger.audit_chain, kobe_resources.warehouse.store
print("ready", flush=True)
make_backup(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_a_killed_backup_leaves_no_archive_and_the_next_one_cleans_up(home: Path, tmp_path: Path) -> None:
    fill(home)
    (home / "reports" / "large.bin").write_bytes(random.Random(1).randbytes(12_000_000))
    before = listing(home)
    target = tmp_path / "backups"
    target.mkdir()
    leftovers = 0
    for delay in (0.0, 0.1, 0.25):
        with subprocess.Popen(
            [sys.executable, "-c", BACKUP, str(home), str(target)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            wait_for(target, ".kobe-backup-*")
            time.sleep(delay)
            process.kill()
        for archive in target.glob("*.tar.gz"):
            read_archive(archive)
        leftovers += len(list(target.glob(".kobe-backup-*")))
    assert leftovers, "at least one was killed half way"
    assert listing(home) == before
    made = make_backup(home, target)
    read_archive(made.path)
    assert not list(target.glob(".kobe-backup-*"))


RESTORE = """
import sys
from pathlib import Path
from kobe_jobs.ops.backup.files import is_left_out, is_safe_name
from kobe_jobs.ops.backup.restore import restore
print("ready", flush=True)
restore(Path(sys.argv[1]), Path(sys.argv[2]), force=True)
"""


def test_a_killed_restore_leaves_the_old_folder_or_the_new_one(home: Path, tmp_path: Path) -> None:
    fill(home)
    (home / "reports" / "large.bin").write_bytes(random.Random(1).randbytes(12_000_000))
    archive = make_backup(home).path
    (home / "reports" / "later.html").write_text("later")
    before = listing(home)
    for delay in (0.0, 0.1, 0.3):
        with subprocess.Popen(
            [sys.executable, "-c", RESTORE, str(archive), str(home)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            wait_for(home.parent, ".data.restoring-*")
            time.sleep(delay)
            process.kill()
        folders = [home, *home.parent.glob("data.before-restore-*")]
        assert any(folder.exists() and listing(folder).items() >= before.items() for folder in folders), "nothing is lost"
        if home.exists() and "reports/later.html" not in listing(home):
            assert KillSwitch(home / "KILL_SWITCH").status().is_on
    restore(archive, home, force=True)
    assert not list(home.parent.glob(".data.restoring-*"))


def craft(path: Path, members: list[tuple[tarfile.TarInfo, bytes]], files: dict[str, Any] | None = None, form: int = 1) -> Path:
    """An archive as an attacker would write it."""
    named = files if files is not None else {info.name: describe(data) for info, data in members}
    manifest = json.dumps({"format": form, "files": named}).encode()
    with tarfile.open(path, "w:gz") as tar:
        for info, data in [(tarfile.TarInfo("manifest.json"), manifest), *members]:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def describe(data: bytes) -> dict[str, Any]:
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def link(name: str, to: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info


@pytest.mark.parametrize(
    "name", ["../escaped", "a/../../escaped", "/tmp/escaped", "..", "a/./b", "a//b", "C:\\x", "a\\..\\b", "", "a\0b", "./a"]
)
def test_names_that_could_leave_the_folder_are_unsafe(name: str) -> None:
    assert not is_safe_name(name)


@pytest.mark.parametrize("name", ["kobe.duckdb", "reports/kpi_report.html", "a b/ü.html", "..x/y"])
def test_plain_names_are_safe(name: str) -> None:
    assert is_safe_name(name)


@pytest.mark.parametrize("name", ["../escaped.html", "/tmp/kobe-escaped.html", "reports/../../escaped.html"])
def test_a_path_that_leaves_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    archive = craft(tmp_path / "evil.tar.gz", [(tarfile.TarInfo(name), b"x")])
    with pytest.raises(ArchiveRefused, match="outside the data folder"):
        restore(archive, tmp_path / "deep" / "home")
    assert not list(tmp_path.rglob("*escaped*"))
    assert not Path("/tmp/kobe-escaped.html").exists()
    assert not (tmp_path / "deep" / "home").exists()


@pytest.mark.parametrize(
    ("craft_members", "why"),
    [
        (lambda: [(link("reports", "/etc", tarfile.SYMTYPE), b""), (tarfile.TarInfo("reports/x"), b"x")], "no plain file"),
        (lambda: [(link("a", "/etc/passwd", tarfile.LNKTYPE), b"")], "no plain file"),
        (lambda: [(link("pipe", "", tarfile.FIFOTYPE), b"")], "no plain file"),
        (lambda: [(link("folder", "", tarfile.DIRTYPE), b"")], "no plain file"),
        (lambda: [(tarfile.TarInfo("a"), b"x"), (tarfile.TarInfo("a"), b"x")], "twice"),
    ],
)
def test_odd_members_are_refused(tmp_path: Path, craft_members: Callable[[], Any], why: str) -> None:
    archive = craft(tmp_path / "evil.tar.gz", craft_members())
    with pytest.raises(ArchiveRefused, match=why):
        restore(archive, tmp_path / "deep" / "home")
    assert not (tmp_path / "deep" / "home").exists()


@pytest.mark.parametrize(
    "name",
    [
        "compiled/numba-000000000000/x/y.nbi",
        "Compiled/x.html",
        "cache/numba/y.nbc",
        "reports/y.NBI",
        "dagster/dagster.yaml",
        "DAGSTER/Dagster.yaml",
        ".kobe.duckdb.journal",
        "reports/.hidden/x",
        "__pycache__/x.pyc",
        "kobe.duckdb.wal",
        "orders.sqlite-wal",
        "trading.lock",
    ],
)
def test_what_a_backup_leaves_out_is_refused(tmp_path: Path, name: str) -> None:
    archive = craft(tmp_path / "evil.tar.gz", [(tarfile.TarInfo(name), b"x")])
    with pytest.raises(ArchiveRefused, match="no backup holds"):
        restore(archive, tmp_path / "deep" / "home")
    assert not (tmp_path / "deep").exists()


@pytest.mark.parametrize("pair", [("a.html", "A.HTML"), ("\u00fc.html", "u\u0308.html"), ("ss", "\u00df")])
def test_two_names_that_can_be_one_file_are_refused(tmp_path: Path, pair: tuple[str, str]) -> None:
    archive = craft(tmp_path / "evil.tar.gz", [(tarfile.TarInfo(name), b"x") for name in pair])
    with pytest.raises(ArchiveRefused, match="can be one file"):
        restore(archive, tmp_path / "deep" / "home")


def test_a_file_that_is_also_a_folder_is_refused(tmp_path: Path) -> None:
    archive = craft(tmp_path / "evil.tar.gz", [(tarfile.TarInfo(name), b"x") for name in ("a", "a/b")])
    with pytest.raises(ArchiveRefused, match="as a file and as a folder"):
        restore(archive, tmp_path / "home")


@pytest.mark.parametrize(
    "manifest",
    [
        b'{"format": 1, "files": {"a": {"size": NaN, "sha256": "%s"}}}' % (b"0" * 64),
        b'{"format": 1, "files": {"a": {"size": Infinity, "sha256": "%s"}}}' % (b"0" * 64),
        b'{"format": 1, "files": {"a": {"size": 1%s, "sha256": "%s"}}}' % (b"0" * 400, b"0" * 64),
        b'{"format": 1, "files": {"a": {"size": 1%s, "sha256": "%s"}}}' % (b"0" * 6000, b"0" * 64),
        b'{"format": 1, "files": {"a": {"size": -1, "sha256": "%s"}}}' % (b"0" * 64),
        b'{"format": 1, "files": {"a": {"size": true, "sha256": "%s"}}}' % (b"0" * 64),
        b'{"format": 1, "files": {"a": {"size": 1, "sha256": "x"}}}',
        b'{"format": 1, "files": {"a": [1]}}',
        b'{"format": 1, "files": {}, "files": {}}',
        b'{"format": 1, "files": {}, "created": 5}',
        b'{"format": 1, "files": {}, "created": "\\u001b[2J"}',
        b'{"format": 1, "files": {}, "audit_head": {}}',
        b'{"format": true, "files": {}}',
        b'{"format": 1%s, "files": {}}' % (b"0" * 400),
        b'{"format": [[]], "files": {}}',
        b'{"format": 1, "files": ' + b"[" * 100_000,
        b'{"a":' * 100_000,
        b"\xff\xfe",
        b"[]",
        b"",
    ],
)
@pytest.mark.usefixtures("no_collection")
def test_an_odd_manifest_is_one_line(tmp_path: Path, manifest: bytes) -> None:
    archive = tmp_path / "odd.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        info = tarfile.TarInfo("manifest.json")
        info.size = len(manifest)
        tar.addfile(info, io.BytesIO(manifest))
    with pytest.raises(ArchiveRefused, match="unreadable manifest") as caught:
        restore(archive, tmp_path / "home")
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("name", ["\ud800", "a\udc80", "a\nb", "a\x1b[2Jb"])
def test_a_name_that_no_line_can_show_is_refused(tmp_path: Path, name: str) -> None:
    archive = craft(tmp_path / "evil.tar.gz", [], {name: describe(b"x")})
    with pytest.raises(ArchiveRefused, match="outside the data folder") as caught:
        restore(archive, tmp_path / "home")
    assert str(caught.value).isprintable()


def test_a_sparse_file_is_refused_however_large_it_says_it_is(tmp_path: Path) -> None:
    info = tarfile.TarInfo("reports/x.html")
    info.pax_headers = {"GNU.sparse.size": str(1 << 40), "GNU.sparse.map": f"{(1 << 40) - 1},1"}
    archive = craft(tmp_path / "evil.tar.gz", [(info, b"x")], {"reports/x.html": {"size": 1 << 40, "sha256": "0" * 64}})
    with pytest.raises(ArchiveRefused, match="no plain file"):
        read_archive(archive)


def raw_header(kind: bytes, size: int) -> bytes:
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    "content",
    [
        raw_header(tarfile.XHDTYPE, 1 << 40),
        raw_header(tarfile.GNUTYPE_LONGNAME, 1 << 40),
        raw_header(tarfile.XGLTYPE, 0) * 5000,
        raw_header(tarfile.XHDTYPE, 5000) + (b"9" * 5000 + b" path=x\n").ljust(5120, b"\0"),
    ],
)
def test_headers_that_would_fill_memory_or_stack_are_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    archive = tmp_path / "evil.tar.gz"
    archive.write_bytes(gzip.compress(content + bytes(10_240)))
    with pytest.raises(ArchiveRefused) as caught:
        restore(archive, tmp_path / "home")
    assert "\n" not in str(caught.value)


def test_a_file_whose_name_no_archive_can_hold_is_named(home: Path) -> None:
    fill(home, orders=False)
    (home / "reports" / "a:b.html").write_text("x")
    with pytest.raises(KobeError, match=r"cannot hold.*rename"):
        make_backup(home)


def test_what_the_manifest_does_not_tell_is_refused(tmp_path: Path) -> None:
    one = tarfile.TarInfo("a")
    with pytest.raises(ArchiveRefused, match="does not name"):
        read_archive(craft(tmp_path / "1.tar.gz", [(one, b"x")], {}))
    with pytest.raises(ArchiveRefused, match="SHA-256"):
        read_archive(craft(tmp_path / "2.tar.gz", [(one, b"x")], {"a": describe(b"y")}))
    with pytest.raises(ArchiveRefused, match="size"):
        read_archive(craft(tmp_path / "3.tar.gz", [(one, b"x")], {"a": describe(b"xx")}))
    with pytest.raises(ArchiveRefused, match="lacks b"):
        read_archive(craft(tmp_path / "4.tar.gz", [(one, b"x")], {"a": describe(b"x"), "b": describe(b"")}))
    with pytest.raises(ArchiveRefused, match="format 2"):
        read_archive(craft(tmp_path / "5.tar.gz", [], {}, form=2))
    with pytest.raises(ArchiveRefused, match="unreadable manifest"):
        read_archive(craft(tmp_path / "6.tar.gz", [], {"a": {"size": "1"}}))


def test_every_flipped_or_missing_byte_is_found_before_anything_is_touched(home: Path, tmp_path: Path) -> None:
    fill(home)
    good = make_backup(home).path.read_bytes()
    plain = gzip.decompress(good)
    before = listing(home)
    chance = random.Random(7)
    broken = tmp_path / "broken.tar.gz"
    for _ in range(12):
        flipped = bytearray(good)
        flipped[chance.randrange(20, len(good))] ^= 1 << chance.randrange(8)
        cut = good[: chance.randrange(1, len(good))]
        start = chance.randrange(512, 20_000)
        repacked = gzip.compress(plain[:start] + bytes([plain[start] ^ 1]) + plain[start + 1 :], 1)
        for damaged in (bytes(flipped), cut, repacked):
            broken.write_bytes(damaged)
            if refused(broken, tmp_path / "other"):
                assert not (tmp_path / "other").exists()
                continue
            # A flip in what carries no content (a time stamp, padding) must still give the same folder.
            content = {name: told["sha256"] for name, told in read_manifest(broken)["files"].items() if name != "kobe.duckdb"}
            assert content.items() <= listing(tmp_path / "other").items()
            shutil.rmtree(tmp_path / "other")
    assert listing(home) == before


def refused(archive: Path, home: Path) -> bool:
    try:
        restore(archive, home)
    except ArchiveRefused:
        return True
    return False


def test_a_file_that_is_no_archive_is_refused_in_one_line(tmp_path: Path) -> None:
    stranger = tmp_path / "x.tar.gz"
    stranger.write_text("not an archive")
    with pytest.raises(ArchiveRefused, match="damaged"):
        restore(stranger, tmp_path / "home")
    with pytest.raises(ArchiveRefused, match="is no file"):
        restore(tmp_path / "nowhere.tar.gz", tmp_path / "home")


def test_a_warehouse_of_a_newer_kobe_is_refused(home: Path, tmp_path: Path) -> None:
    fill(home)
    with Warehouse().transaction() as connection:
        connection.execute("INSERT INTO schema_migrations VALUES (999, 'x', ?)", [dt.datetime.now(dt.UTC)])
    with pytest.raises(KobeError, match="schema version 999"):
        make_backup(home)


@pytest.mark.parametrize(("lock", "who"), [("dagster/ui.lock", "kobe ui"), ("trading.lock", "a trading run")])
def test_restore_refuses_a_folder_that_is_in_use(home: Path, lock: str, who: str) -> None:
    from filelock import FileLock

    fill(home)
    archive = make_backup(home).path
    before = listing(home)
    with FileLock(home / lock), pytest.raises(RestoreRefused, match=who):
        restore(archive, home, force=True)
    assert listing(home) == before


@pytest.mark.parametrize("is_there", [False, True])
def test_restore_keeps_a_first_trading_run_out_where_no_lock_is_yet(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    from filelock import FileLock, Timeout

    from kobe_jobs.ops.backup import restore as backup_restore

    fill(home)
    archive, new = make_backup(home).path, tmp_path / "new"
    if is_there:
        new.mkdir()
    swap, tried = backup_restore._swap, []

    def swap_while_another_begins(staging: Path, place: Path, worth_keeping: bool) -> Path | None:
        for name in ("trading.lock", "dagster/ui.lock"):
            with pytest.raises(Timeout), FileLock(place / name, timeout=0):
                pass
            tried.append(name)
        return swap(staging, place, worth_keeping)

    monkeypatch.setattr(backup_restore, "_swap", swap_while_another_begins)
    assert restore(archive, new).aside is None
    assert len(tried) == 2
    assert not list(tmp_path.glob("new.before-restore-*")), "locks alone are no reason to keep a folder"


def test_a_swap_that_fails_leaves_no_folder_where_there_was_none(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kobe_jobs.ops.backup import restore as backup_restore

    fill(home)
    archive = make_backup(home).path

    def fail(*_: object) -> None:
        raise OSError(5, "the disk fails")

    monkeypatch.setattr(backup_restore, "_swap", fail)
    with pytest.raises(RestoreRefused, match="the disk fails"):
        restore(archive, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_broken_audit_chain_is_backed_up_as_evidence_and_named(home: Path, tmp_path: Path) -> None:
    fill(home)
    text = (home / "audit.jsonl").read_text()
    (home / "audit.jsonl").write_text(text.replace("first", "forged"))
    made = make_backup(home)
    assert "audit.jsonl" in made.audit_problem
    assert "audit.jsonl" in restore(made.path, tmp_path / "other").audit_problem


def test_the_key_file_never_enters_a_backup(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(home)
    (home / "keys.env").write_text("POLYGON_API_KEY=very-secret\n")
    monkeypatch.setenv("KOBE_ENV_FILE", str(home / "keys.env"))
    assert "keys.env" not in read_manifest(make_backup(home).path)["files"]


def test_earlier_reports_stay_out_of_a_backup_but_an_archive_may_hold_some(home: Path, tmp_path: Path) -> None:
    fill(home, orders=False)
    reports = home / "reports"
    (reports / "kpi_report-0123456789ab.html").write_text("earlier")
    (reports / "data-0123456789ab").mkdir()
    (reports / "data-0123456789ab" / "bars-0.css").write_text("bars")
    with tarfile.open(make_backup(home, tmp_path / "out").path) as archive:
        names = archive.getnames()
    assert any(name.endswith("reports/kpi_report.html") for name in names)
    assert not any("kpi_report-" in name or "data-" in name for name in names)
    assert not is_left_out("reports/kpi_report-0123456789ab.html")


def test_places_where_a_backup_must_not_go(home: Path, tmp_path: Path) -> None:
    with pytest.raises(BackupFailed, match="nothing to back up"):
        make_backup(home)
    fill(home)
    with pytest.raises(UsageError, match="data folder itself"):
        make_backup(home, home / "backups" / "x.tar.gz")
    (tmp_path / "there.tar.gz").write_text("mine")
    with pytest.raises(UsageError, match="replaces none"):
        make_backup(home, tmp_path / "there.tar.gz")
    (home / "linked").symlink_to(tmp_path)
    with pytest.raises(KobeError, match="link to another folder"):
        make_backup(home, tmp_path / "x.tar.gz")


def test_only_the_newest_are_kept_and_only_kobes_own_are_removed(home: Path, tmp_path: Path) -> None:
    fill(home, orders=False)
    target = tmp_path / "backups"
    target.mkdir()
    (target / "mine.tar.gz").write_text("mine")
    made = [make_backup(home, target, keep=2).path for _ in range(3)]
    assert sorted(path.name for path in target.glob("*.tar.gz")) == sorted(["mine.tar.gz", made[1].name, made[2].name])


def test_the_commands_say_what_they_did(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(home)
    monkeypatch.setenv("KOBE_HOME", str(home))
    told = json.loads(kobe("backup", str(tmp_path / "a.tar.gz"), "--json").out)
    assert told["path"] == str(tmp_path / "a.tar.gz")
    assert told["audit_problem"] == ""
    monkeypatch.setenv("KOBE_HOME", str(tmp_path / "other"))
    said = kobe("restore", str(tmp_path / "a.tar.gz"))
    assert said.code == 0
    assert "kill switch is on" in said.out
    assert str(tmp_path / "other") in said.out


def test_an_interrupted_backup_cleans_up_after_itself(home: Path, tmp_path: Path) -> None:
    fill(home)
    (home / "reports" / "large.bin").write_bytes(random.Random(1).randbytes(12_000_000))
    target = tmp_path / "backups"
    target.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", BACKUP, str(home), str(target)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        wait_for(target, ".kobe-backup-*/home")
        process.send_signal(signal.SIGINT)
    assert process.returncode != 0
    assert not list(target.glob(".kobe-backup-*"))
