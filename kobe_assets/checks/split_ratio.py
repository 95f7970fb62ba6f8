"""Which split a move of the price looks like; pure."""

from __future__ import annotations

import math
from typing import NamedTuple

NEAR = 0.04
"""Log distance within which a day's own move leaves the ratio recognisable."""
NEAR_USUAL = 0.08
"""The same for a split that many companies do, where the number of shares follows it: two witnesses."""
SMALLEST = 0.12
"""Log ratio under which any move looks like some split."""


class SplitLike(NamedTuple):
    """A split as splits.csv writes it."""

    split_from: float
    split_to: float

    @property
    def text(self) -> str:
        """The ratio as announcements write it: 10 for 1."""
        return f"{self.split_to:g} for {self.split_from:g}"


RATIOS = tuple(
    SplitLike(float(before), float(after))
    for before, after in (
        *((1, n) for n in (2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 25, 30, 40, 50, 100)),
        *((2, 3), (3, 4), (4, 5), (5, 6), (2, 5), (3, 5)),
        *((n, 1) for n in (2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 40, 50, 100, 200)),
        *((3, 2), (4, 3)),
    )
)
"""Splits that companies do, the plain ones first."""
USUAL = {2.0, 3.0, 4.0, 5.0, 10.0, 20.0}
"""Shares for one, or one for so many, of the splits that many companies do."""


def split_like(ratio: float, shares: float | None = None, usual_shares: float | None = None) -> SplitLike | None:
    """The split that would explain a close of `ratio` times the one before; None where none is near.

    shares, usual_shares: what was traded that day and before it; where the number of shares did not follow the ratio, it was
    a misprint or another unit, and no split.
    """
    move = math.log(ratio)
    if abs(move) < SMALLEST:
        return None
    if shares is not None and usual_shares is not None:
        if not (shares > 0 and usual_shares > 0):
            return None
        grown = math.log(shares / usual_shares)
        if abs(grown + move) > abs(grown):
            return None
    best = min(RATIOS, key=lambda split: abs(math.log(split.split_from / split.split_to) - move))
    is_usual = shares is not None and max(best.split_from / best.split_to, best.split_to / best.split_from) in USUAL
    near = NEAR_USUAL if is_usual else NEAR
    return best if abs(math.log(best.split_from / best.split_to) - move) <= near else None
