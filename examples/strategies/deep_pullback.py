"""Buy a two-day washout not far above the 200-day mean; the ATR stop and the time stop are the only ways out.

Copy it to kobe_assets/research/strategies/ and name it in `_declared` of that package.
"""

from kobe_assets.research.strategies.base import Strategy, never

DEEP_PULLBACK = Strategy(
    name="deep_pullback",
    summary="A two-day washout within two ATR of the 200-day mean, above it; long only",
    reads=("rsi_entry",),
    parameters={"atrs_above": 2.0},
    long=lambda at, p: (
        (at.rsi2 <= p["rsi_entry"]) & (at.close > at.sma200) & (at.close < at.sma200 + p["atrs_above"] * at.atr14)
    ),
    short=never,
    score_long=lambda at: at.rsi2,
    score_short=lambda at: at.rsi2,
    grid={"rsi_entry": (5, 10, 15), "atrs_above": (1, 2, 3), "time_stop": (3, 5, 10)},
)
