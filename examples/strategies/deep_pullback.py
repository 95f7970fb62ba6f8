"""Wait with a limit order below the close of an oversold stock that is strong among the others; without a protective stop.

Copy it to [strategy] folder. It shows a function of TA-Lib, an indicator of one's own, a rank among the listings, a limit
entry, and exits by time and by condition alone.
"""

import numpy as np

from kobe_assets.research.language import Strategy, atr, custom, rank, roc, rsi, talib


def below_peak(bars):
    """How far each close lies under the highest so far, 0 to 1. Bar i may read the bars up to i only: `check` proves it."""
    return 1 - bars.close / np.maximum.accumulate(bars.close)


DEEP_PULLBACK = Strategy(
    name="deep_pullback",
    summary="A fall of the strong: oversold, not far under its peak, bought at a limit; long only",
    indicators={
        "rsi3": rsi(3),
        "atr14": atr(14),
        "adx14": talib("ADX", timeperiod=14),
        "below_peak": custom(below_peak, warmup=100),
        "strength": rank(roc(120)),
    },
    parameters={"rsi_entry": 20.0, "rsi_exit": 60.0, "deepest": 0.4, "limit_atr": 0.25, "time_stop": 10},
    long=lambda at, p: (at.rsi3 < p["rsi_entry"]) & (at.below_peak < p["deepest"]) & (at.strength >= 0.5) & (at.adx14 > 15),
    score_long=lambda at: at.rsi3,
    leave_long=lambda at, p: at.rsi3 > p["rsi_exit"],
    leave_reason="rebound",
    limit="atr14",  # limit_atr times it below the close, for one session
    grid={"rsi_entry": (10, 20, 30), "limit_atr": (0, 0.25, 0.5)},
)
