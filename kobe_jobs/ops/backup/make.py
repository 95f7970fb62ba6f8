"""`kobe backup`: the data folder as one archive with a SHA-256 of every file, complete or absent.

The archive is read back before it gets its name. It holds no key: keys do not live in the data folder.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kobe_jobs.ops.backup.archive import FORMAT, MANIFEST, read_archive
from kobe_jobs.ops.backup.files import AUDIT, LEDGER, copy_home, holds_data, sha256_of
from kobe_resources.errors import KobeError, UsageError
from kobe_resources.runtime.atomic_files import sync_folder
from kobe_resources.runtime.locks import exclusive
from kobe_resources.settings.load import DATA_FOLDERS

STAGING = ".kobe-backup-"
GZIP_LEVEL = 1
"""The warehouse, by far the largest file, is compressed already."""


class BackupFailed(KobeError):
    """No archive was made; what was there before is untouched."""


@dataclass(frozen=True, slots=True)
class Backup:
    """An archive that was made. audit_problem: what is wrong with the audit chain it holds, '' where nothing is."""

    path: Path
    files: int
    size: int
    audit_problem: str
    removed: tuple[Path, ...] = ()


NAMED = "kobe-????????T????????????Z.tar.gz"
"""Archives that Kobe named, which sort by time."""


def make_backup(home: Path, target: Path | None = None, keep: int | None = None) -> Backup:
    """Archive `home` into `target`: a file to be, or a folder (default: beside the data folder, '<name>-backups').

    keep: how many archives to leave in that folder, the newest; others that Kobe named are removed afterwards.
    Raises BackupFailed or UsageError.
    """
    if not home.is_dir() or not holds_data(home):
        raise BackupFailed(f"{home} holds nothing to back up", "run `kobe report`, or set KOBE_HOME")
    path = _archive_path(home, target)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone_in(path.parent), _staging(path.parent) as staging:
            audit_problem, files = _stage(home, staging / "home")
            archive = staging / "archive"
            _write_archive(staging / "home", files, archive)
            read_archive(archive)
            archive.replace(path)
            sync_folder(path.parent)
    except OSError as error:
        raise BackupFailed(f"{path} cannot be made ({error})", "free space, mend permissions, or name another place") from error
    removed = _prune(path, keep) if keep else ()
    return Backup(path, len(files["files"]), path.stat().st_size, audit_problem, removed)


def default_folder(home: Path) -> Path:
    """The default folder of backups: beside the data folder, so that losing that does not lose them."""
    if home.parent == DATA_FOLDERS:
        return DATA_FOLDERS.with_name(f"{DATA_FOLDERS.name}-backups") / home.name
    return home.with_name(f"{home.name}-backups")


def newest_archive(home: Path) -> Path | None:
    """The newest archive in the default folder of backups; None where there is none, or none that may be looked at."""
    try:
        found = sorted(default_folder(home).glob(NAMED))
    except OSError:
        return None
    return found[-1] if found else None


def _archive_path(home: Path, target: Path | None) -> Path:
    place = (target or default_folder(home)).expanduser().absolute()
    if place.is_dir() or target is None or not place.suffix:
        place = place / f"kobe-{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%S%f}Z.tar.gz"
    if place.exists():
        raise UsageError(f"{place} exists", "name another file; a backup replaces none")
    if home.resolve() in place.resolve().parents:
        raise UsageError(f"{place} lies in the data folder itself", "name a place outside it")
    return place


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold the lock of backups, so that a half-written archive is one of a dead process and can be removed."""
    with exclusive(folder / ".kobe-backup.lock", BackupFailed(f"another backup into {folder} is running", "wait for it")):
        for leftover in folder.glob(f"{STAGING}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield


@contextlib.contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    staging = Path(tempfile.mkdtemp(prefix=STAGING, dir=folder))
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _stage(home: Path, staging: Path) -> tuple[str, dict[str, Any]]:
    """Copy the folder; (what is wrong with its audit chain, the manifest)."""
    names = copy_home(home, staging)
    head, problem = _audit_state(staging)
    described = {name: {"size": (staging / name).stat().st_size, "sha256": sha256_of(staging / name)} for name in names}
    manifest = {
        "format": FORMAT,
        "kobe": version("kobe"),
        "created": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "audit_head": head,
        "files": described,
    }
    return problem, manifest


def _audit_state(staging: Path) -> tuple[str, str]:
    """(head of the chain, what is wrong with it) of the copied ledger."""
    from kobe_resources.order_ledger import audit_chain

    if not (staging / LEDGER).is_file():
        return "", ""
    with contextlib.closing(audit_connection(staging / LEDGER)) as connection:
        found = audit_chain.verify(connection, staging / AUDIT)
    (staging / f"{AUDIT}.lock").unlink(missing_ok=True)
    return found.head, found.problem


def audit_connection(path: Path) -> Any:
    """A connection as the audit functions want it."""
    import sqlite3

    return sqlite3.connect(path, isolation_level=None)


def _write_archive(folder: Path, manifest: dict[str, Any], archive: Path) -> None:
    text = folder.parent / MANIFEST
    text.write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    descriptor = os.open(archive, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        with tarfile.open(fileobj=file, mode="w:gz", compresslevel=GZIP_LEVEL, format=tarfile.PAX_FORMAT) as tar:
            tar.add(text, MANIFEST, filter=_plain)
            for name in manifest["files"]:
                tar.add(folder / name, name, recursive=False, filter=_plain)
        file.flush()
        os.fsync(file.fileno())


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """The member without the names and numbers of this machine's users."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o600
    return member


def _prune(newest: Path, keep: int) -> tuple[Path, ...]:
    old = sorted(newest.parent.glob(NAMED), reverse=True)[keep:]
    removed = [path for path in old if path != newest]
    for path in removed:
        path.unlink(missing_ok=True)
    return tuple(removed)
