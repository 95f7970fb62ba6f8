"""Files that are on disk, whole, when the call returns: what a kill or a power cut leaves is the old content or the new.

And those that are the owner's alone, whatever the umask: the data folder, its ledger, audit copy, locks and logs.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

OTHERS = stat.S_IRWXG | stat.S_IRWXO
OWNER_ALONE, FOR_OTHERS = 0o600, 0o666
"""Permissions of a new file: the owner's alone, or what the umask leaves."""


def write_whole(path: Path, content: bytes, draft: Path | None = None, mode: int = OWNER_ALONE) -> None:
    """Replace `path` in one step. draft: where to write first, in the same folder (default: a hidden name of this thread's).

    mode: the permissions of the new file, less those that the umask takes.
    """
    draft = draft or path.with_name(f".{path.name}.{os.getpid()}-{threading.get_native_id()}.tmp")
    try:
        with open(draft, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Put a folder's names on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def private_folder(folder: Path) -> None:
    """Make the folder, and those above it that are missing, so that only their owner may enter."""
    for missing in [place for place in reversed((folder, *folder.parents)) if not place.exists()]:
        missing.mkdir(mode=0o700, exist_ok=True)
    # Refuses a file of that name.
    folder.mkdir(mode=0o700, exist_ok=True)


def private_file(path: Path) -> None:
    """Make an empty file where there is none; only its owner may read or write it.

    A file that is there is never opened: closing it would end the locks that SQLite holds on it in this process.
    """
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        _narrow(path)


def keep_private(home: Path) -> None:
    """Take from others their permissions on a data folder of ours and on the records of orders in it."""
    if not any((home / name).exists() for name in ("kobe.duckdb", "orders.sqlite", "logs", "dagster")):
        # A folder that Kobe has not written to yet may be anything, a home directory say.
        return
    for path in (home, *_telling(home)):
        _narrow(path)


def _telling(home: Path) -> Iterator[Path]:
    for pattern in ("orders.sqlite*", "audit.jsonl*", "KILL_SWITCH", "*.lock", ".*.lock", "dagster/*.lock", "logs", "logs/*"):
        yield from home.glob(pattern)
    yield from home.glob("broker*/*")


def _narrow(path: Path) -> None:
    # Another's file, or one that went away meanwhile, is left alone.
    with contextlib.suppress(OSError):
        found = path.lstat()
        is_ours = found.st_uid == os.geteuid() and not found.st_mode & stat.S_ISVTX
        if is_ours and found.st_mode & OTHERS and not stat.S_ISLNK(found.st_mode):
            path.chmod(stat.S_IMODE(found.st_mode) & ~OTHERS)
