"""What Dagster's storage works out anew for each connection and each run, kept for the process: half of what an event costs.

A process of its own pays for it; the hundreds of runs of a test worker need not. Nothing of a database is kept: an engine
here holds no connection, only the statements it has compiled, and a directory of migrations is that of the installed Dagster.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pytest


def keep(patch: pytest.MonkeyPatch) -> None:
    """From now on give out one engine an address, and read the migrations once."""
    from alembic.script import ScriptDirectory
    from dagster._core.storage.event_log.sqlite import sqlite_event_log
    from dagster._core.storage.runs.sqlite import sqlite_run_storage
    from dagster._core.storage.schedules.sqlite import sqlite_schedule_storage
    from sqlalchemy import Engine, create_engine
    from sqlalchemy.pool import NullPool

    @lru_cache(maxsize=32)
    def engine(address: str, timeout: float | None) -> Engine:
        return create_engine(address, poolclass=NullPool, connect_args={} if timeout is None else {"timeout": timeout})

    def engine_of(address: str, poolclass: Any, connect_args: dict[str, Any] | None = None) -> Engine:
        assert poolclass is NullPool
        return engine(address, **{"timeout": None, **(connect_args or {})})

    for module in (sqlite_event_log, sqlite_run_storage, sqlite_schedule_storage):
        patch.setattr(module, "create_engine", engine_of)
    patch.setattr(ScriptDirectory, "from_config", lru_cache(ScriptDirectory.from_config))
