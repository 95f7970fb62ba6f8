"""RSI(2), SMA(200), ATR(14), IBS and what strategies declare, of every symbol (rules, section 2); NaN where undefined.

TA-Lib's RSI, SMA and ATR agree to rounding; a flat series is undefined here where TA-Lib says RSI 0, a false "buy".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from kobe_assets.research.declared import Indicator, declared_columns
from kobe_assets.research.means import add
from kobe_assets.research.panel import Floats, Ints, Panel
from kobe_assets.research.parallel import CORES, in_slices
from kobe_resources.runtime.jit import njit, njit_part

CANONICAL_COLUMNS = ("rsi2", "sma200", "atr14", "ibs")
RSI_PERIOD = 2
SMA_PERIOD = 200
ATR_PERIOD = 14
ATR_KEPT = (ATR_PERIOD - 1) / ATR_PERIOD
ATR_NEW = 1 / ATR_PERIOD
"""Wilder's smoothing with the division outside the recursion, so that no bar waits for the division of the one before."""
FLAT = 1e-8
"""Average gain + loss (dollars) at or below which an RSI means nothing."""


@dataclass(frozen=True)
class Indicators:
    """(bars) arrays in the panel's flat order, unlagged; NaN where undefined. others: what strategies declare, by name."""

    rsi2: Floats
    sma200: Floats
    atr14: Floats
    ibs: Floats
    others: Mapping[str, Floats] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Floats:
        column: Floats = getattr(self, name) if name in CANONICAL_COLUMNS else self.others[name]
        return column

    @property
    def names(self) -> tuple[str, ...]:
        """The columns: the canonical ones, then the declared."""
        return (*CANONICAL_COLUMNS, *self.others)


def compute_indicators(panel: Panel, declared: Mapping[str, Indicator] | None = None) -> Indicators:
    """All indicators of all symbols; each symbol's bars are taken in a row, whatever sessions it missed.

    declared: name → declaration, beside the canonical columns that are always there.
    """
    rsi2, sma200, atr14, ibs = (np.empty(panel.bars) for _ in range(4))

    def part(begin: int, end: int) -> None:
        _indicators(panel.high, panel.low, panel.close, panel.start, begin, end, rsi2, sma200, atr14, ibs)

    in_slices(len(panel.symbols), CORES, part)
    canonical = dict(zip(CANONICAL_COLUMNS, (rsi2, sma200, atr14, ibs), strict=True))
    wanted = {name: own for name, own in (declared or {}).items() if name not in canonical}
    return Indicators(**canonical, others=declared_columns(panel, wanted, canonical))


@njit
def _indicators(
    highs: Floats, lows: Floats, closes: Floats, start: Ints, first: int, last: int,
    rsi2: Floats, sma200: Floats, atr14: Floats, ibs: Floats,
) -> None:  # fmt: skip
    for symbol in range(first, last):
        begin, end = start[symbol], start[symbol + 1]
        some = slice(begin, end)
        _one_symbol(highs[some], lows[some], closes[some], rsi2[some], sma200[some], atr14[some], ibs[some])


@njit_part
def _one_symbol(
    high: Floats, low: Floats, close: Floats, rsi2: Floats, sma200: Floats, atr14: Floats, ibs: Floats
) -> None:  # fmt: skip
    gain = loss = atr = total = carry = 0.0
    equal = 0
    for i in range(len(close)):
        ibs[i] = (close[i] - low[i]) / (high[i] - low[i]) if high[i] > low[i] else np.nan
        rsi2[i] = sma200[i] = atr14[i] = np.nan

        # A sum that carries its rounding errors keeps the mean of 200 closes exact to rounding after any number of bars.
        leaving = close[i - SMA_PERIOD] if i >= SMA_PERIOD else 0.0
        step, lost = add(close[i], -leaving)
        total, lost_too = add(total, step)
        carry += lost + lost_too
        equal = equal + 1 if i > 0 and close[i] == close[i - 1] else 1
        if i >= SMA_PERIOD - 1:
            sma200[i] = close[i] if equal >= SMA_PERIOD else (total + carry) / SMA_PERIOD

        if i == 0:
            continue
        before = close[i - 1]
        change = close[i] - before
        up, down = max(change, 0.0), max(-change, 0.0)
        if i <= RSI_PERIOD:
            gain += up / RSI_PERIOD
            loss += down / RSI_PERIOD
        else:
            gain = (gain * (RSI_PERIOD - 1) + up) / RSI_PERIOD
            loss = (loss * (RSI_PERIOD - 1) + down) / RSI_PERIOD
        if i >= RSI_PERIOD and gain + loss > FLAT:
            rsi2[i] = 100.0 * gain / (gain + loss)

        true_range = max(high[i], before) - min(low[i], before)
        atr = (atr if i <= ATR_PERIOD else atr * ATR_KEPT) + true_range * ATR_NEW
        if i >= ATR_PERIOD:
            atr14[i] = atr
