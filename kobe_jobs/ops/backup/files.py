"""Consistent copies of the data folder's files while other processes go on writing.

Every file of the folder is copied but the file of keys.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import sqlite3
import unicodedata
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from kobe_resources.errors import KobeError
from kobe_resources.warehouse import checkpoint_journal

SQLITE_HEADER = b"SQLite format 3\0"
LEDGER = "orders.sqlite"
AUDIT = "audit.jsonl"
WAREHOUSE = "kobe.duckdb"
LEFT_OUT_NAMES = {"dagster/dagster.yaml"}
"""Files that are written anew in each place where the folder stands."""
LEFT_OUT_FOLDERS = {"compiled", "pace"}
"""Machine code, where an older Kobe kept it (numba runs what it reads there), and the calls of the last minute."""
BY_THE_WAY = {"logs", *LEFT_OUT_FOLDERS}
"""Names in a data folder that holds no data: what every command leaves behind."""
LEFT_OUT_ENDINGS = (".lock", "-wal", "-shm", "-journal", ".wal", ".tmp", ".nbi", ".nbc", ".pyc")
"""Locks and journals belong to running processes; the last three are compiled code, wherever it lies."""
REMADE = re.compile(r"reports/(kpi_report-[^/]+\.html|data-[^/]+/.+)")
"""Earlier reports and the data beside them: many megabytes that a computation makes again. An older backup may hold some."""
LOCK_WAIT_S = 30.0


class CopyDamaged(KobeError):
    """A database of the data folder, or its copy, does not read back."""


def copy_home(home: Path, into: Path) -> list[str]:
    """Copy every file of `home` under `into`, databases through their own means; the names copied, sorted.

    Ledger and audit copy are taken under the audit's lock, so that neither has a record that the other lacks.
    """
    from kobe_resources.order_ledger import audit_chain

    names = list(_names(home))
    with audit_chain.lock_of(home / AUDIT) if AUDIT in names else contextlib.nullcontext():
        for name in (AUDIT, LEDGER):
            if name in names:
                _copy(home / name, into / name)
    copied = [name for name in names if name in (AUDIT, LEDGER) or _copy(home / name, into / name)]
    return sorted(copied)


def holds_data(home: Path) -> bool:
    """Whether the folder holds data; locks and logs, which every command leaves behind, are none."""
    return home.exists() and (not home.is_dir() or any(entry.name not in BY_THE_WAY for entry in home.iterdir()))


def is_left_out(name: str) -> bool:
    """Whether a backup leaves out a file of this name; case does not count, as on some disks."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    parts = folded.split("/")
    return (
        folded in LEFT_OUT_NAMES
        or parts[0] in LEFT_OUT_FOLDERS
        or folded.endswith(LEFT_OUT_ENDINGS)
        or any(part.startswith(".") for part in parts)
    )


def is_safe_name(name: str) -> bool:
    """Whether it is a relative path with slashes that stays where it is put, on any machine, and prints as one line."""
    parts = PurePosixPath(name).parts
    return (
        bool(parts)
        and name == "/".join(parts)
        and not name.startswith("/")
        and not any(part in ("..", ".") for part in parts)
        and not any(character in "\\:" or unicodedata.category(character) in ("Cc", "Cs") for character in name)
    )


def sha256_of(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_database(path: Path) -> None:
    """Read a database file through its engine. Raises CopyDamaged; other files pass."""
    if path.name == WAREHOUSE:
        _check_duckdb(path)
    elif is_sqlite(path):
        _check_sqlite(path)


def is_sqlite(path: Path) -> bool:
    """Whether the file begins as an SQLite database does."""
    with path.open("rb") as file:
        return file.read(len(SQLITE_HEADER)) == SQLITE_HEADER


def _names(home: Path) -> Iterator[str]:
    """Names of the files to copy, relative to `home`, with slashes."""
    named_keys = os.environ.get("KOBE_ENV_FILE")
    keys = Path(named_keys).resolve() if named_keys else None
    for folder, folders, files in os.walk(home):
        skipped = LEFT_OUT_FOLDERS if Path(folder) == home else set()
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in skipped)
        for link in [name for name in folders if (Path(folder) / name).is_symlink()]:
            raise KobeError(
                f"{Path(folder) / link} is a link to another folder, which a backup would leave out",
                "move that folder into the data folder, or remove the link",
            )
        for file in files:
            path = Path(folder) / file
            name = path.relative_to(home).as_posix()
            if is_left_out(name) or REMADE.fullmatch(name):
                continue
            if path.is_file() and path.resolve() != keys:
                if not is_safe_name(name):
                    raise KobeError(f"{str(path)!r} has a name that an archive cannot hold", "rename it, or move it elsewhere")
                yield name


def _copy(source: Path, target: Path) -> bool:
    """Copy one file; False where it was removed before it could be read (a rotated log, a purged run)."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        if source.name == WAREHOUSE:
            _copy_duckdb(source, target)
        elif is_sqlite(source):
            _copy_sqlite(source, target)
        else:
            shutil.copyfile(source, target)
    except FileNotFoundError:
        target.unlink(missing_ok=True)
        return False
    target.chmod(0o600)
    return True


def _copy_duckdb(source: Path, target: Path) -> None:
    from kobe_resources.warehouse.store import Warehouse

    # While we hold the file no other process can open it.
    with Warehouse(source, LOCK_WAIT_S).connect() as connection:
        checkpoint_journal.checkpoint(connection, source)
        checkpoint_journal.copy(source, target)
    _check_duckdb(target)


def _copy_sqlite(source: Path, target: Path) -> None:
    try:
        # mode=rw: a database that went away must not be made anew.
        with (
            contextlib.closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True, timeout=LOCK_WAIT_S)) as old,
            contextlib.closing(sqlite3.connect(target)) as new,
        ):
            old.backup(new)
            # One file without a journal beside it.
            new.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.Error as error:
        if not source.exists():
            raise FileNotFoundError(source) from error
        raise CopyDamaged(f"{source} cannot be read as a database ({error})", "move it away, or restore it") from error
    _check_sqlite(target)


def _check_duckdb(path: Path) -> None:
    import duckdb

    try:
        with contextlib.closing(duckdb.connect(str(path), read_only=True)) as connection:
            connection.execute("SELECT count(*) FROM schema_migrations").fetchall()
    except duckdb.Error as error:
        raise CopyDamaged(f"{path.name} does not open ({error})", "try an older backup") from error


def _check_sqlite(path: Path) -> None:
    try:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        found = str(error)
    if found != "ok":
        raise CopyDamaged(f"{path.name} is damaged ({found})", "try an older backup")
