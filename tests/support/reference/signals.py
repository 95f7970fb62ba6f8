"""Rules section 3: what each strategy says after the close of every session.

Signals are {session: [signal, ...]} in the order of the rules; a signal is a dict.

Readings
- A signal at the last session of the list exists, although no session follows to trade it.
- With lag 0 the indicators of bar t itself are read.
- A released symbol ignores its quarantine wholly.
- Thresholds mirror in floating point as written: 100 - rsi_entry, 1 - ibs_entry.
"""

from __future__ import annotations

from typing import Any

from tests.support.reference.market import symbol_of

Signals = dict[Any, list[dict[str, Any]]]


def side_of(strategy: str, close: float, sma: float, rsi: float | None, ibs: float | None, p: dict[str, Any]) -> str | None:
    """ "long", "short" or None. An undefined indicator satisfies nothing."""
    rsi_says_long = close > sma and rsi is not None and rsi <= p["rsi_entry"]
    rsi_says_short = close < sma and rsi is not None and rsi >= 100 - p["rsi_entry"]
    ibs_says_long = close > sma and ibs is not None and ibs < p["ibs_entry"]
    ibs_says_short = close < sma and ibs is not None and ibs > 1 - p["ibs_entry"]
    says_long, says_short = {
        "rsi2": (rsi_says_long, rsi_says_short),
        "ibs": (ibs_says_long, ibs_says_short),
        "rsi2_ibs": (rsi_says_long and ibs_says_long, rsi_says_short and ibs_says_short),
    }[strategy]
    return "long" if says_long else "short" if says_short else None


def score_of(strategy: str, side: str, rsi: float | None, ibs: float | None) -> float:
    if strategy == "ibs":
        assert ibs is not None
        return ibs if side == "long" else 1 - ibs
    assert rsi is not None
    return rsi if side == "long" else 100 - rsi


def signals_of(
    market: dict[str, Any],
    indicators: dict[str, dict[str, list[Any]]],
    strategy: str,
    p: dict[str, Any],
    selected: set[str] | None = None,
    released: frozenset[str] = frozenset(),
) -> Signals:
    """selected: the universe, None for every symbol. released: symbols whose quarantine a setting lifts."""
    by_session: Signals = {}
    for listing, bars in market["bars"].items():
        symbol = symbol_of(listing)
        if selected is not None and symbol not in selected:
            continue
        own = indicators[listing]
        for t, bar in enumerate(bars):
            read = t - p["indicator_lag_bars"]
            if read < 0 or own["sma200"][read] is None or own["atr14"][read] is None:
                continue
            if own["quarantined"][t] and symbol not in released:
                continue
            raw_close = bar["close"] / bar["factor"]
            if not raw_close >= p["signal_min_price"]:
                continue
            rsi, ibs, sma, atr = (own[name][read] for name in ("rsi2", "ibs", "sma200", "atr14"))
            side = side_of(strategy, bar["close"], sma, rsi, ibs, p)
            if side is None:
                continue
            by_session.setdefault(bar["session"], []).append(
                {
                    "session": bar["session"],
                    "symbol": symbol,
                    "side": side,
                    "score": score_of(strategy, side, rsi, ibs),
                    "close": bar["close"],
                    "raw_close": raw_close,
                    "stop_distance": None if p["atr_stop"] is None else p["atr_stop"] * atr,
                    "rsi2": rsi,
                    "ibs": ibs,
                    "sma200": sma,
                    "atr14": atr,
                }
            )
    for signals in by_session.values():
        signals.sort(key=lambda s: (s["score"], s["symbol"]))
    return by_session
