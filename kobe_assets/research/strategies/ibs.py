"""Internal bar strength: buy a close near the bar's low above the 200-day mean, sell short one near its high below it."""

from kobe_assets.research.language import atr, ibs, sma
from kobe_assets.research.strategies.base import Strategy

IBS = Strategy(
    name="ibs",
    summary="Internal bar strength: a close near the low above the 200-day mean (short: near the high below it)",
    indicators={"ibs": ibs(), "sma200": sma(200), "atr14": atr(14)},
    parameters={"ibs_entry": 0.2, "atr_stop": 2.0, "time_stop": 5.0},
    long=lambda at, p: (at.ibs < p["ibs_entry"]) & (at.close > at.sma200),
    short=lambda at, p: (at.ibs > 1 - p["ibs_entry"]) & (at.close < at.sma200),
    score_long=lambda at: at.ibs,
    score_short=lambda at: 1 - at.ibs,
    stop="atr14",
    grid={"ibs_entry": (0.1, 0.2, 0.3), "atr_stop": (1.5, 2, 3), "time_stop": (3, 5, 10)},
)
