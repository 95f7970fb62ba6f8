"""The dated regulatory fees of fees.csv, which stays data because rates change by notice and not by release.

`sec` in dollars a million of proceeds, `taf` in dollars a share with a cap an order, each from `since` until the next row of
its kind; before the first row of a kind its first row holds.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

import numpy as np

from kobe_assets.research.costs import Rate


@cache
def fee_table() -> tuple[Rate, ...]:
    """The dated rates, oldest first within a kind; cap is 0 where the kind has none."""
    with Path(__file__).with_name("fees.csv").open(encoding="utf-8", newline="") as lines:
        rows = [
            Rate(row["kind"], np.datetime64(row["since"], "D"), float(row["rate"]), float(row["cap"] or 0.0))
            for row in csv.DictReader(lines)
        ]
    return tuple(sorted(rows))
