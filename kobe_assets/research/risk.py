"""What a trade risked: its protective stop as set at the fill (rules, section 4.2). It trusts its caller for equal lengths."""

from __future__ import annotations

import numpy as np

from kobe_assets.research.panel import Bools, Floats
from kobe_resources.policy_gate import round_to_tick
from kobe_resources.runtime.jit import njit


def initial_stops(entry: Floats, long: Bools, factor: Floats, distance: Floats) -> Floats:
    """(trades) stops in adjusted dollars, on the tick of the price as traded, away from the market; NaN where not known.

    entry: fills in adjusted dollars. factor: adjusted over traded price at the fill. distance: dollars from fill to stop.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        wanted = np.where(long, entry - distance, entry + distance) / factor
    stops: Floats = _round_away(wanted, long) * factor
    return stops


@njit
def _round_away(prices: Floats, long: Bools) -> Floats:
    """Stops as traded, on the tick: down for longs, up for shorts; NaN stays."""
    rounded = np.full(len(prices), np.nan)
    for i in range(len(prices)):
        if np.isfinite(prices[i]):
            rounded[i] = round_to_tick(prices[i], not long[i])
    return rounded
