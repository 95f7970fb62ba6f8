"""The dated regulatory fees of fees.csv, which stays data because rates change by notice and not by release.

`sec` in dollars a million of proceeds, `taf` in dollars a share with a cap an order, each from `since` until the next row of
its kind; before the first row of a kind its first row holds. The simulation and the embedded broker bill by the same rows.
"""

from __future__ import annotations

import csv
import datetime as dt
from functools import cache
from pathlib import Path
from typing import NamedTuple


class FeeRate(NamedTuple):
    """A row: kind "sec" or "taf", since when, the rate, and the most that an order is charged (0: no such cap)."""

    kind: str
    since: dt.date
    rate: float
    cap: float


@cache
def fee_rates() -> tuple[FeeRate, ...]:
    """Every row, oldest first within a kind."""
    with Path(__file__).with_name("fees.csv").open(encoding="utf-8", newline="") as lines:
        rows = [
            FeeRate(row["kind"], dt.date.fromisoformat(row["since"]), float(row["rate"]), float(row["cap"] or 0.0))
            for row in csv.DictReader(lines)
        ]
    return tuple(sorted(rows))
