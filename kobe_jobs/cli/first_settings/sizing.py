"""Orders that fit: the share of the account that one is, so that a usual session's signals are taken and a share is paid."""

from __future__ import annotations

import math
from dataclasses import dataclass

SMALLEST, LARGEST = 0.002, 0.25
"""Shares of the account that one order is, at least and at most."""
ROOM = 1.25
"""The account may shrink, or a price rise, by so much before the dear symbols cost more than an order."""
A_SESSION = 0.25
"""Share of the account that one session's entries may carry, at least."""


@dataclass(frozen=True)
class FittingSizes:
    """fraction: of the account, an order. daily_fraction: of the account, a session's entries. max_price: dollars."""

    fraction: float
    daily_fraction: float
    whole_shares: bool
    max_price: float


def fitting_sizes(cash: float, dear: float, highest: float, signals: int, positions: int) -> FittingSizes:
    """Sizes for an account of `cash` dollars, symbols of which nine in ten cost at most `dear`, the highest `highest`.

    The account is shared out over the positions that are open together in a usual session. Where a share would then cost more
    than an order, orders are larger and fewer: the strongest signals come first. Where that is not enough, parts of shares.
    """
    shared = 1 / max(1, positions)
    affordable = dear * ROOM / cash
    fraction = _tidy(min(LARGEST, max(SMALLEST, shared, affordable)))
    daily = min(1.0, max(A_SESSION, math.ceil(20 * signals * fraction) / 20))
    return FittingSizes(fraction, daily, fraction * cash >= dear, _ceiling(highest))


def _tidy(fraction: float) -> float:
    """Two digits that a person reads at once, never below what is needed by more than a rounding."""
    step = 10.0 ** (math.floor(math.log10(fraction)) - 1)
    return round(round(fraction / step) * step, 6)


def _ceiling(highest: float) -> float:
    """The highest limit price: the built-in 1000, or twice the dearest symbol's close in round numbers."""
    if highest * ROOM <= 1000:
        return 1000.0
    step = 10.0 ** math.floor(math.log10(2 * highest))
    return float(math.ceil(2 * highest / step) * step)
