"""Where two runs differ: the first difference in words, or None. Prices and dollars agree to a relative 1e-9."""

from __future__ import annotations

import math
from typing import Any

RELATIVE = 1e-9
TRADE_WORDS = ("entered_by", "symbol", "side", "signal_session", "entry_session", "exit_session", "exit_reason", "bars_held")
TRADE_NUMBERS = ("entry_price", "exit_price", "shares", "qty")
SIGNAL_WORDS = ("session", "symbol", "side")
SIGNAL_NUMBERS = ("score", "close", "raw_close", "stop_distance", "rsi2", "ibs", "sma200", "atr14")


def same_number(ours: float | None, theirs: float | None, scale: float = 0.0) -> bool:
    """Both undefined, or equal to a relative 1e-9 of themselves or of `scale`."""
    if ours is None or theirs is None:
        return ours is theirs
    return math.isclose(ours, theirs, rel_tol=RELATIVE, abs_tol=RELATIVE * scale)


def difference_of_runs(ours: dict[str, Any], theirs: dict[str, Any]) -> str | None:
    """Trades, refusals, equity and exposure."""
    return (
        difference_of_rows(ours["trades"], theirs["trades"], TRADE_WORDS, TRADE_NUMBERS)
        or _difference_of_profits(ours["trades"], theirs["trades"])
        or _difference_of_refusals(ours["refused"], theirs["refused"])
        or _difference_of_days(ours, theirs)
    )


def difference_of_signals(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> str | None:
    return difference_of_rows(ours, theirs, SIGNAL_WORDS, SIGNAL_NUMBERS, scale=1e-3)


def difference_of_rows(
    ours: list[dict[str, Any]],
    theirs: list[dict[str, Any]],
    words: tuple[str, ...],
    numbers: tuple[str, ...],
    scale: float = 0.0,
) -> str | None:
    for i, (a, b) in enumerate(zip(ours, theirs, strict=False)):
        for name in words:
            if a[name] != b[name]:
                return f"row {i}: {name} is {a[name]}, not {b[name]} (of {a} and {b})"
        for name in numbers:
            if not same_number(a[name], b[name], scale):
                return f"row {i}: {name} is {a[name]!r}, not {b[name]!r} (of {a} and {b})"
    if len(ours) != len(theirs):
        return f"{len(ours)} rows, not {len(theirs)}"
    return None


def _difference_of_profits(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> str | None:
    """A profit is a small difference of large numbers: it agrees to 1e-9 of what was traded."""
    for a, b in zip(ours, theirs, strict=True):
        for name in ("fees", "dividends", "pnl"):
            if not same_number(a[name], b[name], scale=a["shares"] * a["entry_price"]):
                return f"{name} of {a['symbol']} at {a['entry_session']} is {a[name]!r}, not {b[name]!r}"
    return None


def _difference_of_refusals(ours: dict[str, int], theirs: dict[str, int]) -> str | None:
    return None if ours == theirs else f"refused {ours}, not {theirs}"


def _difference_of_days(ours: dict[str, Any], theirs: dict[str, Any]) -> str | None:
    for (day, mine), (other_day, other) in zip(ours["equity"], theirs["equity"], strict=True):
        if day != other_day or not same_number(mine, other):
            return f"equity of {day} is {mine!r}, not {other!r} of {other_day}"
    for (day, _), mine, other in zip(ours["equity"], ours["exposure"], theirs["exposure"], strict=True):
        if not same_number(mine, other, scale=1.0):
            return f"exposure of {day} is {mine!r}, not {other!r}"
    return None


def difference_of_figures(ours: dict[str, float | None], theirs: dict[str, float | None], cash: float) -> str | None:
    """Ratios of tiny daily returns lose digits that equity has: they agree to 1e-6, dollars to 1e-9 of the cash."""
    for name, value in theirs.items():
        mine = ours[name]
        if mine is None or value is None:
            if mine is not value:
                return f"{name} is {mine!r}, not {value!r}"
        elif not math.isclose(mine, value, rel_tol=1e-6, abs_tol=cash * 1e-9 if name == "net_pnl" else 1e-9):
            return f"{name} is {mine!r}, not {value!r}"
    return None
