"""Buy a close near the bar's low, leave at the first close near its high: a condition and a parameter of its own.

Copy it to kobe_assets/research/strategies/ and name it in `_declared` of that package.
"""

from kobe_assets.research.strategies.base import Strategy

WEAK_CLOSE = Strategy(
    name="weak_close",
    summary="A weak close, out again at the first strong one",
    reads=("ibs_entry",),  # settings of [strategy] that the conditions use
    parameters={"ibs_exit": 0.8},  # parameters only this strategy has, with canonical values
    long=lambda at, p: (at.ibs < p["ibs_entry"]) & (at.close > at.sma200),
    short=lambda at, p: (at.ibs > 1 - p["ibs_entry"]) & (at.close < at.sma200),
    score_long=lambda at: at.ibs,  # smaller is stronger
    score_short=lambda at: 1 - at.ibs,
    leave_long=lambda at, p: at.ibs > p["ibs_exit"],  # besides the ATR stop and the time stop that all share
    leave_short=lambda at, p: at.ibs < 1 - p["ibs_exit"],
    leave_reason="ibs_exit",
    grid={"ibs_entry": (0.1, 0.2, 0.3), "ibs_exit": (0.7, 0.8, 0.9)},
)
