"""A data folder with one of everything, and what it holds."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from pathlib import Path

from kobe_resources.order_ledger.store import OrderLedger
from kobe_resources.warehouse.store import Warehouse


def fill(home: Path, orders: bool = True) -> None:
    """Put one of everything into the data folder `home`, which KOBE_HOME names. orders: a ledger too."""
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
    """One candidate, `stamp`, in the warehouse."""
    import pandas as pd

    Warehouse().replace({"candidates": pd.DataFrame({"symbol": [stamp], "source": [stamp]})})


def store_pair(stamp: str) -> None:
    """Two tables that must always tell the same."""
    import pandas as pd

    Warehouse().replace(
        {
            "candidates": pd.DataFrame({"symbol": [stamp], "source": ["x"]}),
            "kpi_reasons": pd.DataFrame({"strategy": [stamp], "mode": "x", "figure": "x", "reason": "x"}),
        }
    )


def record(text: str) -> None:
    """A note on the audit chain, and its copy."""
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
