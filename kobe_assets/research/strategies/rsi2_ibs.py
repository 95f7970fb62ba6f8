"""Both at the same bar: RSI-2 and internal bar strength must agree."""

from kobe_assets.research.strategies.base import Strategy
from kobe_assets.research.strategies.ibs import IBS
from kobe_assets.research.strategies.rsi2 import RSI2

RSI2_IBS = Strategy(
    name="rsi2_ibs",
    summary="RSI-2 and internal bar strength at the same bar",
    reads=(*RSI2.reads, *IBS.reads),
    long=lambda at, p: RSI2.long(at, p) & IBS.long(at, p),
    short=lambda at, p: RSI2.short(at, p) & IBS.short(at, p),
    score_long=RSI2.score_long,
    score_short=RSI2.score_short,
    leave_long=RSI2.leave_long,
    leave_short=RSI2.leave_short,
    leave_reason=RSI2.leave_reason,
    grid={"rsi_entry": (5, 10, 15), "ibs_entry": (0.1, 0.2, 0.3), "time_stop": (3, 5, 10)},
)
