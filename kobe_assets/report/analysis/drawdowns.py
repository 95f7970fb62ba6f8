"""The falls of the account from a peak: how deep, how long down, how long until the peak was reached again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kobe_assets.report.analysis.curves import tidy_one

if TYPE_CHECKING:
    import pandas as pd

LISTED = 10


@dataclass(frozen=True)
class Drawdown:
    """One fall. peak: the session of the high before it, "" where it is the start. recovered: "" while it lasts.

    depth: ≤ 0, at the trough. down, up: sessions from peak to trough, from trough to recovery or to the end.
    """

    peak: str
    trough: str
    recovered: str
    depth: float
    down: int
    up: int

    @property
    def sessions(self) -> int:
        """Sessions under water."""
        return self.down + self.up


def drawdowns(curve: pd.DataFrame, count: int = LISTED) -> list[Drawdown]:
    """The `count` deepest falls of a curve (columns session, drawdown), deepest first, equal ones in order of time."""
    fall = curve["drawdown"].to_numpy(float)
    under = np.concatenate(([False], fall < 0, [False]))
    begins, ends = np.flatnonzero(~under[:-1] & under[1:]), np.flatnonzero(under[:-1] & ~under[1:])
    days = [str(day)[:10] for day in curve["session"].to_numpy().astype("datetime64[D]")]
    found = [_drawdown(fall, days, int(begin), int(end)) for begin, end in zip(begins, ends, strict=True)]
    return sorted(found, key=lambda one: one.depth)[:count]


def drawdown_payload(curve: pd.DataFrame) -> list[list[Any]]:
    """The deepest falls of a curve as the page lists them."""
    return [[d.peak, d.trough, d.recovered, tidy_one(d.depth, 4), d.down, d.up] for d in drawdowns(curve)]


def longest_underwater(curve: pd.DataFrame) -> int:
    """Sessions of the longest fall of a curve, 0 where it never fell."""
    return max((one.sessions for one in drawdowns(curve, len(curve))), default=0)


def _drawdown(fall: np.ndarray, days: list[str], begin: int, end: int) -> Drawdown:
    """The fall whose sessions under water are begin..end−1."""
    trough = begin + int(np.argmin(fall[begin:end]))
    over = end < len(days)
    return Drawdown(
        peak=days[begin - 1] if begin else "",
        trough=days[trough],
        recovered=days[end] if over else "",
        depth=float(fall[trough]),
        down=trough - begin + 1,
        up=end - trough if over else end - 1 - trough,
    )
