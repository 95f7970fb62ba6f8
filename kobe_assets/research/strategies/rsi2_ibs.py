"""Both at the same bar: RSI-2 and internal bar strength must agree."""

from kobe_assets.research.language import atr, ibs, rsi, sma
from kobe_assets.research.strategies.base import Strategy

RSI2_IBS = Strategy(
    name="rsi2_ibs",
    summary="RSI-2 and internal bar strength at the same bar",
    indicators={"rsi2": rsi(2), "ibs": ibs(), "sma200": sma(200), "atr14": atr(14)},
    parameters={"rsi_entry": 10.0, "rsi_exit": 70.0, "ibs_entry": 0.2, "atr_stop": 2.0, "time_stop": 5.0},
    long=lambda at, p: (at.rsi2 <= p["rsi_entry"]) & (at.ibs < p["ibs_entry"]) & (at.close > at.sma200),
    short=lambda at, p: (at.rsi2 >= 100 - p["rsi_entry"]) & (at.ibs > 1 - p["ibs_entry"]) & (at.close < at.sma200),
    score_long=lambda at: at.rsi2,
    score_short=lambda at: 100 - at.rsi2,
    leave_long=lambda at, p: at.rsi2 >= p["rsi_exit"],
    leave_short=lambda at, p: at.rsi2 <= 100 - p["rsi_exit"],
    leave_reason="rsi_exit",
    stop="atr14",
    grid={"rsi_entry": (5, 10, 15), "ibs_entry": (0.1, 0.2, 0.3), "time_stop": (3, 5, 10)},
)
