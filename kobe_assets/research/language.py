"""The language of indicators: what a strategy declares by name, each a column of one listing's bars, or of the panel.

TA-Lib computes what it has; `rsi(2)`, `sma(200)`, `atr(14)` and `ibs()` are the canonical columns with rules of their own
(rules, section 2). Every function here describes a column and computes none.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from kobe_assets.research.declared import PRICE_NAMES, Indicator, ListingBars, OverListing, check_series, is_number, series
from kobe_assets.research.faults import BadDeclaration
from kobe_assets.research.panel import PRICES, Floats
from kobe_assets.research.strategies.base import Strategy

if TYPE_CHECKING:
    from types import ModuleType

FLAT = 1e-8
"""Average gain + loss (dollars) at or below which an RSI means nothing."""
MOST_BARS = 100_000
"""Bars that an indicator may look back: more than any listing has; TA-Lib takes no more, and says so only when it computes."""


def rsi(n: int, price: str | Indicator = "close") -> Indicator:
    """Wilder's RSI over n changes, 0 to 100; undefined where nothing moved."""
    n = _whole("rsi", n, 2)
    return _over(f"rsi({n}{_named(price)})", price, lambda x: _rsi(x, n))


def sma(n: int, price: str | Indicator = "close") -> Indicator:
    """The mean of the last n closes, or of another price."""
    n = _whole("sma", n, 2)
    return _over(f"sma({n}{_named(price)})", price, lambda x: _mean(x, n), _is_a_price(price))


def ema(n: int, price: str | Indicator = "close") -> Indicator:
    """The exponential mean with weight 2 / (n + 1), begun with the mean of the first n."""
    n = _whole("ema", n, 2)
    return _over(f"ema({n}{_named(price)})", price, lambda x: _talib().EMA(x, n), _is_a_price(price))


def atr(n: int) -> Indicator:
    """Wilder's average true range, dollars a share."""
    n = _whole("atr", n, 1)
    return Indicator(f"atr({n})", lambda bars: _talib().ATR(bars.high, bars.low, bars.close, n))


def ibs() -> Indicator:
    """Where the close lies in the bar, 0 to 1; undefined where high and low are equal."""

    def over(bars: ListingBars) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray((bars.close - bars.low) / (bars.high - bars.low))

    return Indicator("ibs()", over)


def roc(n: int, price: str | Indicator = "close") -> Indicator:
    """The change over n bars in percent."""
    n = _whole("roc", n, 1)
    return _over(f"roc({n}{_named(price)})", price, lambda x: _talib().ROC(x, n))


def stdev(n: int, price: str | Indicator = "close") -> Indicator:
    """The standard deviation of the last n closes, divided by n and not by n - 1, as TA-Lib's STDDEV."""
    n = _whole("stdev", n, 2)
    return _over(f"stdev({n}{_named(price)})", price, lambda x: _talib().STDDEV(x, n))


def zscore(n: int, price: str | Indicator = "close") -> Indicator:
    """How many standard deviations the close lies above the mean of the last n; undefined where they are all equal."""
    n = _whole("zscore", n, 2)

    def over(x: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray((x - _mean(x, n)) / _talib().STDDEV(x, n))

    return _over(f"zscore({n}{_named(price)})", price, over)


def highest(n: int, price: str | Indicator = "high") -> Indicator:
    """The highest high of the last n bars, or the highest of another price."""
    n = _whole("highest", n, 2)
    return _over(f"highest({n}{_named(price, 'high')})", price, lambda x: _talib().MAX(x, n), _is_a_price(price))


def lowest(n: int, price: str | Indicator = "low") -> Indicator:
    """The lowest low of the last n bars, or the lowest of another price."""
    n = _whole("lowest", n, 2)
    return _over(f"lowest({n}{_named(price, 'low')})", price, lambda x: _talib().MIN(x, n), _is_a_price(price))


def percent_rank(n: int, price: str | Indicator = "close") -> Indicator:
    """What percentage of the n bars before had a lower close, 0 to 100."""
    n = _whole("percent_rank", n, 1)
    return _over(f"percent_rank({n}{_named(price)})", price, lambda x: _percent_rank(x, n))


def connors_rsi(rsi: int = 3, streak: int = 2, rank: int = 100) -> Indicator:
    """Connors RSI, 0 to 100: the mean of the RSI of the close, of the RSI of the streak of closes up or down, and of the
    percent rank of the day's change among the `rank` days before (Connors, Radtke and Alvarez, 2012)."""
    rsi, streak, rank = (_whole("connors_rsi", *given) for given in ((rsi, 2), (streak, 2), (rank, 1)))

    def over(bars: ListingBars) -> Floats:
        close = bars.close
        return np.asarray(
            (_rsi(close, rsi) + _rsi(_streaks(close), streak) + _percent_rank(_talib().ROC(close, 1), rank)) / 3.0
        )

    return Indicator(f"connors_rsi({rsi}, {streak}, {rank})", over)


def price(name: str) -> Indicator:
    """A price of the bar itself, or its volume (shares) or dollar volume; adjusted, and lagged like any indicator."""
    if name not in PRICE_NAMES:
        raise BadDeclaration(f"price({name!r}): there are {', '.join(PRICE_NAMES)}")
    return Indicator(f'price("{name}")', lambda bars: getattr(bars, name), is_price=_is_a_price(name))


def talib(name: str, /, output: str | int = 0, **parameters: Any) -> Indicator:
    """Any function of TA-Lib by its name, with its parameters by theirs: talib("ADX", timeperiod=14).

    output: of a function with several, its name or place: talib("MACD", output="macdsignal"). What it reads can be named too,
    as a price or an indicator: talib("CORREL", price0="close", price1="volume", timeperiod=20).
    """
    from kobe_assets.research.talib_functions import describe

    found = describe(name, output, parameters)
    return Indicator(found.words, found.over, is_price=found.is_price)


def custom(function: OverListing, warmup: int | None = None) -> Indicator:
    """A function of one's own over one listing's bars: given a ListingBars, it returns a number for each bar.

    It sees all bars of the listing, and may let bar i depend on the bars up to i only: the no-lookahead check proves it.
    warmup: how many first bars are undefined; None: those for which it gives NaN.
    """
    if not callable(function):
        raise BadDeclaration(f"custom({function!r}): give a function that takes one listing's bars")
    first = 0 if warmup is None else _whole("warmup of custom", warmup, 0)
    name = getattr(function, "__name__", type(function).__name__)
    words = f"custom({name})" if warmup is None else f"custom({name}, warmup={first})"
    caller = sys._getframe(1)
    place = f"{caller.f_code.co_filename}:{caller.f_lineno}"
    return Indicator(words, function, function=function, warmup=first, place=place)


def rank(indicator: Indicator) -> Indicator:
    """The percent rank of an indicator among the listings of the panel in the session, 0 (lowest) to 1 (highest).

    Equal values share their mean rank; undefined where fewer than two listings have a value. A symbol that may not trade, such
    as a benchmark, has a rank and is not counted in another's: it would move them all.
    """
    if not isinstance(indicator, Indicator):
        raise BadDeclaration(f"rank({indicator!r}): give an indicator, rank(roc(20))")
    return Indicator(f"rank({indicator.words})", inner=indicator, place=indicator.place)


def _over(words: str, price: str | Indicator, values: Callable[[Floats], Any], is_price: bool = False) -> Indicator:
    """An indicator of one price, or of another indicator."""
    check_series(price, words)
    own, place = (price.function, price.place) if isinstance(price, Indicator) else (None, "")
    return Indicator(words, lambda bars: values(series(bars, price)), function=own, is_price=is_price, place=place)


def _whole(name: str, n: Any, least: int) -> int:
    if not is_number(n) or n != int(n) or not least <= n <= MOST_BARS:
        raise BadDeclaration(f"{name}({n!r}): give a whole number of bars, {least} to {MOST_BARS:,}")
    return int(n)


def _named(price: Any, usual: str = "close") -> str:
    if price == usual:
        return ""
    return f", price={price.words}" if isinstance(price, Indicator) else f', price="{price}"'


def _is_a_price(price: Any) -> bool:
    return price.is_price if isinstance(price, Indicator) else price in PRICES


def _rsi(x: Floats, n: int) -> Floats:
    """TA-Lib's, but undefined where it says 0 because nothing moved: the ATR of bars without a range is the mean move."""
    talib = _talib()
    return np.where(talib.ATR(x, x, x, n) > FLAT, talib.RSI(x, n), np.nan)


def _percent_rank(x: Floats, n: int) -> Floats:
    found = np.full(len(x), np.nan)
    if len(x) > n:
        before = np.lib.stride_tricks.sliding_window_view(x[:-1], n)
        found[n:] = 100.0 * np.mean(before < x[n:, None], axis=1)
        found[n:][np.isnan(before).any(axis=1) | np.isnan(x[n:])] = np.nan
    return found


def _streaks(close: Floats) -> Floats:
    """How many closes in a row rose (positive) or fell (negative); 0 where one equals the one before."""
    direction = np.sign(np.diff(close, prepend=close[:1]))
    turns = np.flatnonzero(np.diff(direction, prepend=np.nan) != 0)
    begun = np.repeat(turns, np.diff(turns, append=len(close)))
    return np.asarray(direction * (np.arange(len(close)) - begun + 1))


def _mean(values: Floats, n: int) -> Floats:
    """The mean of the last n, exact: TA-Lib's running sum drifts past a close that lies on it. Compiled only when asked."""
    from kobe_assets.research.means import mean_of_last

    return mean_of_last(values, n)


@cache
def _talib() -> ModuleType:
    """TA-Lib, imported where something is computed: it takes half a second."""
    import talib

    return talib


__all__ = [
    "Indicator", "ListingBars", "Strategy", "atr", "connors_rsi", "custom", "ema", "highest", "ibs", "lowest", "percent_rank",
    "price", "rank", "roc", "rsi", "sma", "stdev", "talib", "zscore",
]  # fmt: skip
