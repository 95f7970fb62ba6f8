"""Symbols that are never selected whatever their evidence: contradictory splits, and indices (no volume at all)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kobe_resources.runtime.sql_files import read_sql

if TYPE_CHECKING:
    from kobe_resources.warehouse.store import Warehouse

HERE = Path(__file__).parent
ONE_SPLIT_DAYS = 14
"""Days within which the same ratio twice is one split, listed by its ex-date and by its pay date."""


def barred_symbols(warehouse: Warehouse) -> dict[str, str]:
    """symbol → why it may not trade."""
    return dict(warehouse.rows(read_sql(HERE, "barred"), {"days": ONE_SPLIT_DAYS}))
