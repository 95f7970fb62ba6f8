"""The numbered migrations of warehouse/schema, each applied once and in a transaction of its own."""

from __future__ import annotations

import contextlib
import datetime as dt
from pathlib import Path

import duckdb

from kobe_resources.errors import KobeError
from kobe_resources.settings.load import PROJECT_ROOT

SCHEMA_FOLDER = PROJECT_ROOT / "warehouse" / "schema"


class WarehouseUnusable(KobeError):
    """The file is damaged, from a newer Kobe, or its folder cannot be written."""


def migrate(connection: duckdb.DuckDBPyConnection, folder: Path = SCHEMA_FOLDER) -> None:
    """Apply the numbered migrations of `folder` that the file has not seen, each in one transaction.

    Raises WarehouseUnusable when the file was written by a newer Kobe than this one.
    """
    connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_migrations "
        "(version INTEGER NOT NULL, name VARCHAR NOT NULL, applied_at TIMESTAMPTZ NOT NULL)"
    )
    applied = {row[0] for row in connection.execute("SELECT version FROM schema_migrations").fetchall()}
    known = {int(path.name.split("_")[0]): path for path in sorted(folder.glob("[0-9]*.sql"))}
    newer = applied - known.keys()
    if newer:
        raise WarehouseUnusable(
            f"the warehouse has schema version {max(newer)}, this Kobe knows {max(known)}",
            "update Kobe, or use another KOBE_HOME",
        )
    for version in sorted(known.keys() - applied):
        connection.execute("BEGIN")
        try:
            connection.execute(known[version].read_text(encoding="utf-8"))
            connection.execute(
                "INSERT INTO schema_migrations VALUES (?, ?, ?)",
                [version, known[version].name, dt.datetime.now(dt.UTC)],
            )
            connection.execute("COMMIT")
        except BaseException:
            # An interrupt may come when the transaction is over already; to roll back then would hide it.
            with contextlib.suppress(duckdb.Error):
                connection.execute("ROLLBACK")
            raise
