"""Open and close that lie outside high and low by rounding: no error of the row; high and low are moved out to them."""

from __future__ import annotations

import numpy as np


def widen(columns: dict[str, np.ndarray], rounding: float) -> np.ndarray:
    """Move `high` and `low` out to an open or close that is no more than `rounding` of the price outside; which rows moved.

    columns: open, high, low, close, equally long; those of rows that are otherwise wrong are left as they are.
    """
    top, bottom = np.fmax(columns["open"], columns["close"]), np.fmin(columns["open"], columns["close"])
    high, low = columns["high"], columns["low"]
    sound = (low > 0) & (high >= low)
    up = sound & (top > high) & (top <= high * (1 + rounding))
    down = sound & (bottom < low) & (bottom >= low * (1 - rounding))
    columns["high"], columns["low"] = np.where(up, top, high), np.where(down, bottom, low)
    moved: np.ndarray = up | down
    return moved
