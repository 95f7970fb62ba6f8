"""Fills: what the market makes of an order, from one bar; prices adjusted where nothing else is said (rules, section 4).

The steps that ask for them, and the book that they change, are in `simulation`.
"""

from __future__ import annotations

import numpy as np

from kobe_assets.research.costs import Charges, fill_fees
from kobe_resources.policy_gate import (
    ACCEPTED,
    AT_OPENING_AUCTION,
    BEYOND_LIMIT,
    NOT_REACHED,
    nearest_whole,
    round_to_tick,
)
from kobe_resources.runtime.jit import njit_part

AS_TRADED = 1e9
"""Prices as traded are compared in units of a billionth of a dollar: an adjusted price divided by its factor is off by less."""


@njit_part
def met_at_limit(
    kind: int, side: float, opened: float, best: float, fill: float, factor: float, limit: float
) -> tuple[int, float, bool]:
    """What the market says of an accepted order with a limit: (reason code, fill in adjusted dollars, filled after the open).

    opened, best, fill: the open, the bar's best price for us and the fill at the open, adjusted. limit: as traded.
    """
    beyond = side * (_as_traded(opened, factor) - _as_traded(limit, 1.0))
    if kind == AT_OPENING_AUCTION:
        return BEYOND_LIMIT if beyond > 0.0 else ACCEPTED, fill, False
    bound = limit * factor
    if beyond <= 0.0:
        return ACCEPTED, min(fill, bound) if side > 0.0 else max(fill, bound), False
    is_reached = side * (_as_traded(best, factor) - _as_traded(limit, 1.0)) < 0.0
    return ACCEPTED if is_reached else NOT_REACHED, bound, True


@njit_part
def _as_traded(price: float, factor: float) -> float:
    """A price as traded in billionths of a dollar, free of the rounding noise of its factor."""
    return nearest_whole(price / factor * AS_TRADED)


@njit_part
def stop_level(side: float, fill: float, distance: float, factor: float) -> float:
    """The protective stop in adjusted dollars, on the tick away from the market; beyond every price without a distance."""
    if np.isnan(distance):
        return -side * np.inf
    return round_to_tick((fill - side * distance) / factor, side < 0.0) * factor


@njit_part
def is_stopped(side: float, low: float, high: float, close: float, stop: float, is_late: bool) -> bool:
    """Whether the bar reaches the stop; of a position filled after the open only the close is known to come after its fill."""
    if is_late:
        return side * (close - stop) < 0.0
    return low <= stop if side > 0.0 else high >= stop


@njit_part
def stop_fill(side: float, opened: float, stop: float) -> float:
    """The price before slippage at which a stop fills: the stop, or the open where that lies beyond it.

    Of a position filled after the open it is the stop: the open lay on the other side of the limit, and that of the stop.
    """
    return min(opened, stop) if side > 0.0 else max(opened, stop)


@njit_part
def exit_price(charges: Charges, side: float, quote: float, holding: float, factor: float) -> tuple[float, float]:
    """(adjusted price after slippage, fees in dollars) of leaving at `quote`."""
    price = quote * (1.0 - side * charges.slippage)
    return price, fill_fees(charges, side > 0.0, holding * factor, price / factor)
