"""Buy a close near the bar's low in an upward trend, leave at the first close near the high. Copy it to [strategy] folder."""

from kobe_assets.research.language import Strategy, atr, ibs, sma

WEAK_CLOSE = Strategy(
    name="weak_close",
    summary="A weak close, out again at the first strong one",
    indicators={"ibs": ibs(), "sma100": sma(100), "atr10": atr(10)},
    parameters={"ibs_entry": 0.2, "ibs_exit": 0.8, "atr_stop": 2.0, "time_stop": 5},
    long=lambda at, p: (at.ibs < p["ibs_entry"]) & (at.close > at.sma100),
    short=lambda at, p: (at.ibs > 1 - p["ibs_entry"]) & (at.close < at.sma100),
    score_long=lambda at: at.ibs,  # smaller is stronger
    score_short=lambda at: 1 - at.ibs,
    leave_long=lambda at, p: at.ibs > p["ibs_exit"],  # besides the stop and the time stop
    leave_short=lambda at, p: at.ibs < 1 - p["ibs_exit"],
    leave_reason="strong_close",
    stop="atr10",  # atr_stop times it away from the fill
    grid={"ibs_entry": (0.1, 0.2, 0.3), "ibs_exit": (0.7, 0.8, 0.9)},
)
