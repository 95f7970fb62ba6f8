"""Rules section 2: indicators of one symbol's adjusted bars taken in a row, and its quarantined bars; undefined is None.

Readings
- sma200 is the exact mean, rounded once: a flat series is its own mean, and neither `close > sma200` nor `<` holds.
- The median of the quarantine needs at least one earlier bar; with medians of 0 any volume is a crowd.
- The quarantine of a suspect bar s covers bars s .. s+200 (s+60 for a range); it is judged at the deciding bar t, not t - lag.
- A bar whose close and range are both suspect is a jump. A crowd needs more than 3 times both medians: equal is none.
"""

from __future__ import annotations

import math
import statistics
from typing import Any

Bar = dict[str, Any]
Value = float | None


def rsi2(bars: list[Bar]) -> list[Value]:
    values: list[Value] = [None] * len(bars)
    gain = loss = 0.0
    for i in range(2, len(bars)):
        if i == 2:
            changes = [bars[1]["close"] - bars[0]["close"], bars[2]["close"] - bars[1]["close"]]
            gain = sum(max(x, 0.0) for x in changes) / 2
            loss = sum(max(-x, 0.0) for x in changes) / 2
        else:
            change = bars[i]["close"] - bars[i - 1]["close"]
            gain = (gain * 1 + max(change, 0.0)) / 2
            loss = (loss * 1 + max(-change, 0.0)) / 2
        if gain + loss > 1e-8:
            values[i] = 100 * gain / (gain + loss)
    return values


def sma200(bars: list[Bar]) -> list[Value]:
    """Exact: closes are whole multiples of 2^-200, and a quotient of integers is rounded once."""
    unit = 2**200
    values: list[Value] = [None] * len(bars)
    exact = [numerator * (unit // denominator) for numerator, denominator in (b["close"].as_integer_ratio() for b in bars)]
    total = 0
    for i, close in enumerate(exact):
        total += close
        if i >= 200:
            total -= exact[i - 200]
        if i >= 199:
            values[i] = total / (200 * unit)
    return values


def true_range(bar: Bar, before: Bar) -> float:
    return max(bar["high"] - bar["low"], abs(bar["high"] - before["close"]), abs(bar["low"] - before["close"]))


def atr14(bars: list[Bar]) -> list[Value]:
    values: list[Value] = [None] * len(bars)
    if len(bars) <= 14:
        return values
    atr = sum(true_range(bars[i], bars[i - 1]) for i in range(1, 15)) / 14
    values[14] = atr
    for i in range(15, len(bars)):
        atr = (13 * atr + true_range(bars[i], bars[i - 1])) / 14
        values[i] = atr
    return values


def ibs(bars: list[Bar]) -> list[Value]:
    return [None if bar["high"] == bar["low"] else (bar["close"] - bar["low"]) / (bar["high"] - bar["low"]) for bar in bars]


def is_crowd(bars: list[Bar], t: int) -> bool:
    before = bars[max(0, t - 20) : t]
    dollars = statistics.median(bar["close"] * bar["volume"] for bar in before)
    shares = statistics.median(bar["volume"] for bar in before)
    return bars[t]["close"] * bars[t]["volume"] > 3 * dollars and bars[t]["volume"] > 3 * shares


def suspicion(bars: list[Bar], t: int) -> str:
    """ "jump", "range" or nothing; the first bar is never suspect."""
    if t == 0:
        return ""
    bar, before = bars[t], bars[t - 1]["close"]
    if bar["close"] > 3 * before or bar["close"] < before / 3:
        return "jump"
    jumped = abs(math.log(bar["close"] / before)) > math.log(1.45)
    inner, outer = min(bar["open"], bar["close"]), max(bar["open"], bar["close"])
    stretched = bar["low"] < 0.55 * inner or bar["high"] > 1.8 * outer
    if (jumped or stretched) and not is_crowd(bars, t):
        return "jump" if jumped else "range"
    return ""


def suspicions_of(bars: list[Bar]) -> list[str]:
    return [suspicion(bars, t) for t in range(len(bars))]


def quarantined(suspicions: list[str]) -> list[bool]:
    """True where the listing gives no signal: a suspect bar and the 200 bars after a jump, 60 after a range."""
    held = [False] * len(suspicions)
    for t, kind in enumerate(suspicions):
        if kind:
            for after in range(t, min(t + (200 if kind == "jump" else 60) + 1, len(suspicions))):
                held[after] = True
    return held


def indicators_of(bars: list[Bar]) -> dict[str, list[Any]]:
    suspicions = suspicions_of(bars)
    return {
        "rsi2": rsi2(bars),
        "sma200": sma200(bars),
        "atr14": atr14(bars),
        "ibs": ibs(bars),
        "suspect": [kind != "" for kind in suspicions],
        "quarantined": quarantined(suspicions),
    }
