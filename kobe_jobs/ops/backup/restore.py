"""`kobe restore`: an archive becomes the data folder after all of it was checked; the old folder is moved aside, never removed.

An older ledger does not know the orders that came after it, so the kill switch is on in what was restored.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kobe_jobs.ops.backup.archive import read_archive, read_manifest
from kobe_jobs.ops.backup.files import AUDIT, LEDGER, WAREHOUSE, check_database, holds_data
from kobe_jobs.ops.backup.make import audit_connection
from kobe_resources.errors import KobeError
from kobe_resources.kill_switch import KillSwitch
from kobe_resources.runtime.atomic_files import private_folder, sync_folder
from kobe_resources.runtime.locks import exclusive

SPARE_BYTES = 100_000_000


class RestoreRefused(KobeError):
    """The data folder was not touched."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What was restored. aside: where the old folder is now. orders: True where a ledger turned the kill switch on."""

    files: int
    created: str
    aside: Path | None
    orders: bool
    audit_problem: str


def restore(archive: Path, home: Path, force: bool = False) -> Restored:
    """Make `home` what the archive holds. A folder with more in it than logs needs `force`; what was there is moved aside.

    Raises ArchiveRefused or RestoreRefused before anything of `home` changed.
    """
    home = home.absolute()
    manifest = read_manifest(archive)
    if holds_data(home) and not force:
        raise RestoreRefused(f"{home} is not empty", "--force moves it aside, or set another KOBE_HOME")
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        with _alone(home), _staging(home) as staging:
            _check_room(manifest, home.parent)
            read_archive(archive, staging)
            audit_problem = _check_content(staging, manifest)
            orders = (staging / LEDGER).exists() or (home / LEDGER).exists()
            if orders:
                _stop_trading(staging, archive)
            for folder in (staging, *(place for place in staging.rglob("*") if place.is_dir())):
                # The content of its files is on disk, their names are not.
                sync_folder(folder)
            # The locks themselves are no reason to keep a folder.
            worth_keeping = home.exists() and (not home.is_dir() or any(home.iterdir()))
            with _in_sole_use(home):
                aside = _swap(staging, home, worth_keeping)
    except OSError as error:
        raise RestoreRefused(f"{home} cannot be restored ({error})", "free space, or mend its permissions") from error
    return Restored(len(manifest["files"]), str(manifest.get("created", "")), aside, orders, audit_problem)


@contextlib.contextmanager
def _alone(home: Path) -> Iterator[None]:
    lock = home.with_name(f".{home.name}.restore.lock")
    with exclusive(lock, RestoreRefused(f"another restore of {home} is running", "wait for it")):
        for leftover in home.parent.glob(f".{home.name}.restoring-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield


@contextlib.contextmanager
def _staging(home: Path) -> Iterator[Path]:
    staging = home.with_name(f".{home.name}.restoring-{os.getpid()}")
    staging.mkdir(mode=0o700)
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _check_room(manifest: dict[str, Any], folder: Path) -> None:
    needed = sum(entry["size"] for entry in manifest["files"].values()) + SPARE_BYTES
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise RestoreRefused(f"{folder} has {free / 1e6:,.0f} MB free, {needed / 1e6:,.0f} are needed", "free space")


def _check_content(staging: Path, manifest: dict[str, Any]) -> str:
    """Open every database, refuse a newer warehouse; what is wrong with the audit chain ('' where nothing is)."""
    for name in manifest["files"]:
        check_database(staging / name)
    if (staging / WAREHOUSE).exists():
        from kobe_resources.warehouse.store import Warehouse

        # Migrates the copy, and refuses the schema of a newer Kobe.
        Warehouse(staging / WAREHOUSE).rows("SELECT 1")
    if not (staging / LEDGER).exists():
        return ""
    from kobe_resources.order_ledger import audit_chain

    with contextlib.closing(audit_connection(staging / LEDGER)) as connection:
        return audit_chain.verify(connection, staging / AUDIT, manifest.get("audit_head") or None).problem


def _stop_trading(staging: Path, archive: Path) -> None:
    switch = KillSwitch(staging / "KILL_SWITCH")
    if not switch.status().is_on:
        switch.turn_on(f"restored from {archive.name}: `kobe reconcile` against the broker, then `kobe kill off`")


@contextlib.contextmanager
def _in_sole_use(home: Path) -> Iterator[None]:
    """Refuse where a trading run, the UI with its daemon, or a writer is at work in the folder, and keep all of them out.

    Locks are made where they are missing: a first run could begin while the folder is swapped.
    """
    from kobe_resources.warehouse.store import Warehouse

    is_new, locks = not home.exists(), _locks_of(home)
    try:
        with contextlib.ExitStack() as stack:
            for lock, who in locks.items():
                private_folder(lock.parent)
                stack.enter_context(exclusive(lock, RestoreRefused(f"{who} uses {home}", "wait for it, or stop it first")))
            if (home / WAREHOUSE).exists():
                _refuse_busy(Warehouse(home / WAREHOUSE, lock_wait_s=1.0))
            yield
    except BaseException:
        if is_new:
            _remove_locks(home, locks)
        raise


def _locks_of(home: Path) -> dict[Path, str]:
    """The locks of a data folder, each with a name for its holder; none where the folder does not exist."""
    if home.exists() and not home.is_dir():
        return {}
    return {
        home / "trading.lock": "a trading run",
        home / "dagster" / "ui.lock": "`kobe ui`",
        home / f"{AUDIT}.lock": "a writer of the audit trail",
    }


def _remove_locks(home: Path, locks: Collection[Path]) -> None:
    """Remove the locks, and the folder where it was made for them, unless it holds another file by now."""
    if any(path.is_file() and path not in locks for path in home.rglob("*")):
        return
    for lock in locks:
        lock.unlink(missing_ok=True)
    for folder in (home / "dagster", home):
        with contextlib.suppress(OSError):
            folder.rmdir()


def _refuse_busy(warehouse: Any) -> None:
    from kobe_resources.warehouse.migrations import WarehouseUnusable
    from kobe_resources.warehouse.store import WarehouseBusy

    try:
        warehouse.rows("SELECT 1")
    except WarehouseBusy as error:
        raise RestoreRefused(error.what, "stop it first") from None
    except WarehouseUnusable:
        # A damaged warehouse is why people restore.
        return


def _swap(staging: Path, home: Path, worth_keeping: bool) -> Path | None:
    """Replace the data folder by two renames; after a crash between them both versions lie beside its place."""
    aside = home.with_name(f"{home.name}.before-restore-{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%S%f}Z")
    home.rename(aside)
    try:
        staging.rename(home)
    except OSError:
        aside.rename(home)
        raise
    if not worth_keeping:
        shutil.rmtree(aside, ignore_errors=True)
    sync_folder(home.parent)
    return aside if worth_keeping else None
