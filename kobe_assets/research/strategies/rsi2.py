"""Connors RSI-2: buy a two-day washout above the 200-day mean, sell short a two-day spike below it."""

from kobe_assets.research.language import atr, rsi, sma
from kobe_assets.research.strategies.base import Strategy

RSI2 = Strategy(
    name="rsi2",
    summary="Connors RSI-2: a two-day washout above the 200-day mean (short: a spike below it)",
    indicators={"rsi2": rsi(2), "sma200": sma(200), "atr14": atr(14)},
    parameters={"rsi_entry": 10.0, "rsi_exit": 70.0, "atr_stop": 2.0, "time_stop": 5.0},
    long=lambda at, p: (at.rsi2 <= p["rsi_entry"]) & (at.close > at.sma200),
    short=lambda at, p: (at.rsi2 >= 100 - p["rsi_entry"]) & (at.close < at.sma200),
    score_long=lambda at: at.rsi2,
    score_short=lambda at: 100 - at.rsi2,
    leave_long=lambda at, p: at.rsi2 >= p["rsi_exit"],
    leave_short=lambda at, p: at.rsi2 <= 100 - p["rsi_exit"],
    leave_reason="rsi_exit",
    stop="atr14",
    grid={"rsi_entry": (5, 10, 15), "atr_stop": (1.5, 2, 3), "time_stop": (3, 5, 10)},
)
