"""The file that `kobe strategies new` writes: a strategy that runs as it is, each line of it explained."""

TEMPLATE = '''\
"""NAME: say here what the idea is, and why it should make money after costs."""

from kobe_assets.research.language import Strategy, atr, custom, rank, roc, rsi, sma, talib


def closes_up(bars):
    """An indicator of one's own: how many of the last 5 closes rose.

    It gets all bars of one listing, oldest first: bars.open, .high, .low, .close, .volume, .dollar_volume (adjusted for
    splits) and .session; and returns one number for each bar, NaN where there is none. Bar i may read the bars up to i and
    no later one: `kobe strategies check NAME` proves that it does not.
    """
    rose = (bars.close[1:] > bars.close[:-1]).astype(float)
    counts = [float("nan")] * 5 + [rose[i - 5 : i].sum() for i in range(5, len(bars))]
    return counts[: len(bars)]


STRATEGY = Strategy(
    name="NAME",
    summary="A pullback of a strong stock, bought cheap and sold on the rebound",
    # What it reads, each under a name of its own choice. There are rsi, sma, ema, atr, ibs, roc, stdev, zscore, highest,
    # lowest, percent_rank, connors_rsi, price("volume"), every function of TA-Lib, custom(function), rank(x) among all
    # stocks of the day, and x.of("SPY") for another symbol's. docs/strategies.md says what each is.
    indicators={
        "rsi4": rsi(4),
        "sma100": sma(100),
        "atr10": atr(10),
        "adx14": talib("ADX", timeperiod=14),
        "strength": rank(roc(60)),
        "closes_up": custom(closes_up),
    },
    # Numbers that the functions below use as p["…"]. Three have a meaning of their own: atr_stop is how many times the
    # indicator `stop` the protective stop lies away, time_stop how many bars a position is held at most, limit_atr the same
    # for `limit`.
    parameters={"entry": 30.0, "leave": 60.0, "trend": 15.0, "atr_stop": 2.5, "time_stop": 10},
    # When it wants in. `at` has the close of the bar, and the indicators as they were one bar before: arrays with a value
    # for each bar. Put each comparison in brackets, joined by & (and), | (or), ~ (not).
    long=lambda at, p: (at.rsi4 <= p["entry"]) & (at.close > at.sma100) & (at.adx14 > p["trend"]) & (at.closes_up < 4),
    short=None,
    # Which of a day's signals comes first: the smallest.
    score_long=lambda at: at.rsi4 - 10 * at.strength,
    # When it wants out, at the next open; besides the stop and the time stop.
    leave_long=lambda at, p: at.rsi4 >= p["leave"],
    leave_reason="rebound",
    stop="atr10",  # None: no protective stop; then take atr_stop out of the parameters
    # limit="atr10", with the parameter limit_atr: buy at a limit that many below the close, instead of at the open.
    # What walk-forward and `kobe sweep` try. Every try counts against the result, so try few.
    grid={"entry": (20, 30, 40), "atr_stop": (2, 3)},
)
'''


def template_of(name: str) -> str:
    """The file of a new strategy."""
    return TEMPLATE.replace("NAME", name)
