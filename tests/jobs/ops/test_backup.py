"""Backup and restore: consistent under writers, whole under kills."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import random
import signal
import sqlite3
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from kobe_jobs.ops.backup.archive import ArchiveRefused, read_archive, read_manifest
from kobe_jobs.ops.backup.files import is_left_out
from kobe_jobs.ops.backup.make import BackupFailed, default_folder, make_backup
from kobe_jobs.ops.backup.restore import RestoreRefused, restore
from kobe_resources.errors import KobeError, UsageError
from kobe_resources.kill_switch import KillSwitch
from kobe_resources.order_ledger.store import OrderLedger
from kobe_resources.warehouse.store import Warehouse
from tests.support.builders.data_folder import fill, listing, store_candidates
from tests.support.drivers.command import kobe


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
from tests.support.builders.data_folder import record, store_pair
print("writing", flush=True)
number = 0
while True:
    number += 1
    record(f"note {number}")
    store_pair(str(number))
"""


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


def test_a_file_whose_name_no_archive_can_hold_is_named(home: Path) -> None:
    fill(home, orders=False)
    (home / "reports" / "a:b.html").write_text("x")
    with pytest.raises(KobeError, match=r"cannot hold.*rename"):
        make_backup(home)


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
    printed = json.loads(kobe("backup", str(tmp_path / "a.tar.gz"), "--json").out)
    assert printed["path"] == str(tmp_path / "a.tar.gz")
    assert printed["audit_problem"] == ""
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
