"""The dated regulatory fees as the simulation takes them, from the table that the embedded broker bills by."""

from __future__ import annotations

from functools import cache

import numpy as np

from kobe_assets.research.costs import Rate
from kobe_resources.broker.fees import fee_rates


@cache
def fee_table() -> tuple[Rate, ...]:
    """The dated rates, oldest first within a kind; cap is 0 where the kind has none."""
    return tuple(Rate(row.kind, np.datetime64(row.since, "D"), row.rate, row.cap) for row in fee_rates())
