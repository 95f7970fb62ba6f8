"""Migrations: an interrupt that comes as a transaction ends is an interrupt, and no fault of the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

from kobe_resources.warehouse.migrations import migrate


class InterruptedAfterCommit:
    """A connection that is interrupted once it has committed for the first time."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection

    def execute(self, sql: str, *rest: Any) -> Any:
        found = self.connection.execute(sql, *rest)
        if sql == "COMMIT":
            raise KeyboardInterrupt
        return found


def test_an_interrupt_just_after_a_commit_is_reported_as_one_and_the_next_run_goes_on(tmp_path: Path) -> None:
    (tmp_path / "001_one.sql").write_text("CREATE TABLE one (x INTEGER)", encoding="utf-8")
    (tmp_path / "002_two.sql").write_text("CREATE TABLE two (x INTEGER)", encoding="utf-8")
    with duckdb.connect() as connection:
        with pytest.raises(KeyboardInterrupt):
            migrate(InterruptedAfterCommit(connection), tmp_path)  # type: ignore[arg-type]
        migrate(connection, tmp_path)
        applied = connection.execute("SELECT version FROM schema_migrations ORDER BY version").fetchall()
        assert applied == [(1,), (2,)]
        assert connection.execute("SELECT count(*) FROM two").fetchall() == [(0,)]
