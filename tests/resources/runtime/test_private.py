"""What tells of orders is its owner's alone, under any umask, and where it lay open before."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kobe_resources.kill_switch import KillSwitch
from kobe_resources.order_ledger.store import OrderLedger
from kobe_resources.runtime.atomic_files import FOR_OTHERS, keep_private, private_folder, write_whole
from kobe_resources.runtime.event_log import events_path, get_logger


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The data folder to be, under a umask that lets everybody read."""
    home = tmp_path / "deep" / "data"
    monkeypatch.setenv("KOBE_HOME", str(home))
    before = os.umask(0o022)
    yield home
    os.umask(before)


def write_everything() -> None:
    with OrderLedger() as ledger:
        with ledger.write() as write:
            write.audit("note", text="x")
        ledger.copy_audit()
        # While it is open its -wal and -shm are there.
        get_logger("test").warning("something")
        KillSwitch().turn_on("test")


def open_to_others(folder: Path) -> list[str]:
    """What others may enter, read or write."""
    return [str(path) for path in (folder, *folder.rglob("*")) if path.lstat().st_mode & 0o077]


def test_what_is_made_is_private_under_any_umask(home: Path) -> None:
    with OrderLedger() as ledger:
        with ledger.write() as write:
            write.audit("note", text="x")
        write_everything()
        assert (home / "orders.sqlite-wal").exists()
        assert open_to_others(home) == []
    assert home.stat().st_mode & 0o777 == 0o700
    assert events_path().stat().st_mode & 0o777 == 0o600


def test_every_command_closes_what_lay_open(home: Path) -> None:
    write_everything()
    for path in (home, *home.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    subprocess.run([sys.executable, "-m", "kobe_jobs.cli", "kill", "status"], check=False, capture_output=True)
    assert open_to_others(home) == []


def test_a_ledger_that_lay_open_is_closed_when_it_is_used(home: Path) -> None:
    write_everything()
    for name in ("orders.sqlite", "audit.jsonl", "audit.jsonl.lock"):
        (home / name).chmod(0o666)
    write_everything()
    assert open_to_others(home) == []


def test_a_folder_that_is_none_of_ours_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "mine.txt").write_text("x")
    (tmp_path / "mine.txt").chmod(0o644)
    keep_private(tmp_path)
    assert tmp_path.stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "mine.txt").stat().st_mode & 0o777 == 0o644


def test_a_link_in_the_folder_changes_nothing_elsewhere(home: Path, tmp_path: Path) -> None:
    write_everything()
    other = tmp_path / "other.jsonl"
    other.write_text("x")
    other.chmod(0o644)
    (home / "logs" / "linked.jsonl").symlink_to(other)
    keep_private(home)
    assert other.stat().st_mode & 0o777 == 0o644


def test_a_file_replaced_whole_and_its_name_are_on_disk_when_the_call_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    write_whole(tmp_path / "file", b"content")
    assert synced == [(tmp_path / "file").stat().st_ino, tmp_path.stat().st_ino]


def test_a_file_that_cannot_be_replaced_leaves_no_draft(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_whole(tmp_path / "file", b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_a_file_for_others_has_the_permissions_that_the_umask_leaves(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write_whole(tmp_path / "file", b"content", mode=FOR_OTHERS)
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_file_replaced_whole_is_private(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        private_folder(tmp_path / "a" / "b")
        write_whole(tmp_path / "a" / "b" / "x", b"x")
    finally:
        os.umask(before)
    assert open_to_others(tmp_path / "a") == []
