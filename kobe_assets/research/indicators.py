"""RSI(2), SMA(200), ATR(14) and IBS of every symbol (rules, section 2); NaN where undefined.

TA-Lib's RSI, SMA and ATR agree to rounding; a flat series is undefined here where TA-Lib says RSI 0, a false "buy".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kobe_assets.research.panel import Floats, Ints, Panel
from kobe_assets.research.parallel import CORES, in_slices
from kobe_resources.jit import njit, njit_part

RSI_PERIOD = 2
SMA_PERIOD = 200
ATR_PERIOD = 14
FLAT = 1e-8
"""Average gain + loss (dollars) at or below which an RSI means nothing."""


@dataclass(frozen=True)
class Indicators:
    """(bars) arrays in the panel's flat order, unlagged; NaN where undefined."""

    rsi2: Floats
    sma200: Floats
    atr14: Floats
    ibs: Floats


def compute_indicators(panel: Panel) -> Indicators:
    """All indicators of all symbols; each symbol's bars are taken in a row, whatever sessions it missed."""
    rsi2, sma200, atr14, ibs = (np.empty(panel.bars) for _ in range(4))

    def part(begin: int, end: int) -> None:
        _indicators(panel.high, panel.low, panel.close, panel.start, begin, end, rsi2, sma200, atr14, ibs)

    in_slices(len(panel.symbols), CORES, part)
    return Indicators(rsi2, sma200, atr14, ibs)


@njit
def _indicators(
    highs: Floats, lows: Floats, closes: Floats, start: Ints, first: int, last: int,
    rsi2: Floats, sma200: Floats, atr14: Floats, ibs: Floats,
) -> None:  # fmt: skip
    for symbol in range(first, last):
        begin, end = start[symbol], start[symbol + 1]
        gain = loss = atr = total = carry = 0.0
        equal = 0
        for bar in range(begin, end):
            i = bar - begin
            high, low, close = highs[bar], lows[bar], closes[bar]
            ibs[bar] = (close - low) / (high - low) if high > low else np.nan
            rsi2[bar] = sma200[bar] = atr14[bar] = np.nan

            # Neumaier's running sum keeps the mean of 200 closes exact to rounding after any number of bars.
            total, carry = _add(total, carry, close)
            if i >= SMA_PERIOD:
                total, carry = _add(total, carry, -closes[bar - SMA_PERIOD])
            equal = equal + 1 if i > 0 and close == closes[bar - 1] else 1
            if i >= SMA_PERIOD - 1:
                sma200[bar] = close if equal >= SMA_PERIOD else (total + carry) / SMA_PERIOD

            if i == 0:
                continue
            before = closes[bar - 1]
            change = close - before
            up, down = max(change, 0.0), max(-change, 0.0)
            if i <= RSI_PERIOD:
                gain += up / RSI_PERIOD
                loss += down / RSI_PERIOD
            else:
                gain = (gain * (RSI_PERIOD - 1) + up) / RSI_PERIOD
                loss = (loss * (RSI_PERIOD - 1) + down) / RSI_PERIOD
            if i >= RSI_PERIOD and gain + loss > FLAT:
                rsi2[bar] = 100.0 * gain / (gain + loss)

            true_range = max(high - low, max(abs(high - before), abs(low - before)))
            if i <= ATR_PERIOD:
                atr += true_range / ATR_PERIOD
            else:
                atr = (atr * (ATR_PERIOD - 1) + true_range) / ATR_PERIOD
            if i >= ATR_PERIOD:
                atr14[bar] = atr


@njit_part
def _add(total: float, carry: float, value: float) -> tuple[float, float]:
    grown = total + value
    if abs(total) >= abs(value):
        return grown, carry + ((total - grown) + value)
    return grown, carry + ((value - grown) + total)
