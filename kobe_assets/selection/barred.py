"""Symbols that are never selected whatever their evidence: contradictory or misdated splits, indices (no volume at all)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kobe_resources.runtime.sql_files import read_sql

if TYPE_CHECKING:
    import duckdb

    from kobe_resources.warehouse.store import Warehouse

HERE = Path(__file__).parent
ONE_SPLIT_DAYS = 14
"""Days within which the same ratio twice is one split, listed by its ex-date and by its pay date."""
SMALLEST_JUMP = 0.15
"""Log ratio under which a split's jump cannot be told from a day's move."""
MISDATED_DAYS = 45
"""Days from a split's listed date within which a jump of its ratio is that split."""


def barred_symbols(warehouse: Warehouse) -> dict[str, str]:
    """symbol → why it may not trade."""
    given = {"days": ONE_SPLIT_DAYS, "smallest": SMALLEST_JUMP, "misdated": MISDATED_DAYS}
    with warehouse.connect() as connection:
        find_contradictory_splits(connection)
        return dict(connection.execute(read_sql(HERE, "barred"), given).fetchall())


def find_contradictory_splits(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the table `contradictory_splits`: symbol, execution_date, split_from, split_to of splits that contradict another."""
    asked = f"CREATE OR REPLACE TEMP TABLE contradictory_splits AS {read_sql(HERE, 'contradictory_splits')}"
    connection.execute(asked, {"days": ONE_SPLIT_DAYS})
