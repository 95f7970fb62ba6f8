"""The mean of the last n values, exact to rounding after any number of bars: a close that lies on its mean is not above it."""

from __future__ import annotations

import numpy as np

from kobe_assets.research.panel import Floats
from kobe_resources.runtime.jit import njit, njit_part


@njit
def mean_of_last(values: Floats, n: int) -> Floats:
    """(bars) the plain mean of each n values in a row, NaN before the first n; a NaN among them begins anew after it."""
    found = np.full(len(values), np.nan)
    total = carry = 0.0
    known = equal = 0
    for i in range(len(values)):
        if np.isnan(values[i]):
            total = carry = 0.0
            known = equal = 0
            continue
        leaving = values[i - n] if known >= n else 0.0
        step, lost = add(values[i], -leaving)
        total, lost_too = add(total, step)
        carry += lost + lost_too
        equal = equal + 1 if known > 0 and values[i] == values[i - 1] else 1
        known += 1
        if known >= n:
            found[i] = values[i] if equal >= n else (total + carry) / n
    return found


@njit_part
def add(a: float, b: float) -> tuple[float, float]:
    """The rounded sum and what rounding lost of it, exactly (Knuth's two-sum)."""
    total = a + b
    of_b = total - a
    return total, (a - (total - of_b)) + (b - of_b)
