"""Signals: what each strategy wants after the close of a bar, in the order in which it wants it (rules, section 3).

Nothing here looks past bar `t`: indicators are views of the symbol's own bars `lag` places earlier.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kobe_assets.research.indicators import ATR_PERIOD, SMA_PERIOD, Indicators
from kobe_assets.research.panel import ROW_CLOSE, ROW_FACTOR, Bools, Floats, Indices, Ints, Panel
from kobe_assets.research.parallel import CORES, in_slices
from kobe_assets.research.strategies import Params, Reading, Strategy
from kobe_resources.jit import njit

SUSPECT_MOVE = math.log(1.45)
SUSPECT_CROWD = 3.0
CROWD_BARS = 20
QUARANTINE_BARS = 200
LONG, SHORT = 1, -1
SLICE = 1 << 16
"""Bars a thread reads at a time: few enough for its cache, enough to outweigh a call."""


@dataclass(frozen=True)
class Candidates:
    """Signals in trading order: by session, then score, then symbol.

    bar: (signals) flat bar index. side: +1 or -1. score: smaller is stronger. first: (sessions + 1) offsets by session.
    """

    bar: Ints
    side: NDArray[np.int8]
    score: Floats
    first: Ints


@dataclass(frozen=True)
class Readable:
    """Bars as strategies read them: everything about a bar that does not depend on a strategy's parameters.

    reading: views of length bars - lag; entry `j` belongs to bar `j + lag`. eligible: the same length, true where a signal
    may arise. lag: bars.
    """

    reading: Reading
    eligible: Bools
    lag: int


def suspects(panel: Panel) -> Ints:
    """Flat indices of suspect bars: a move over ±45 % without a crowd (rules, section 2)."""
    close, dollars = panel.close, panel.close * panel.volume
    ratio = close[1:] / close[:-1]
    # The wide band is cheap; the few bars outside it are judged by the rule itself.
    moved = np.flatnonzero((ratio > 1.4) | (ratio < 0.7)) + 1
    found = []
    for bar in moved:
        begin = panel.start[panel.symbol[bar]]
        if bar == begin or abs(math.log(close[bar] / close[bar - 1])) <= SUSPECT_MOVE:
            continue
        if dollars[bar] < SUSPECT_CROWD * np.median(dollars[max(begin, bar - CROWD_BARS) : bar]):
            found.append(bar)
    return np.array(found, dtype=np.int64)


def quarantined(panel: Panel) -> Bools:
    """(bars) true from a suspect bar through the 200 bars after it."""
    held = np.zeros(panel.bars, np.bool_)
    for bar in suspects(panel):
        held[bar : min(bar + QUARANTINE_BARS + 1, panel.start[panel.symbol[bar] + 1])] = True
    return held


def make_readable(panel: Panel, indicators: Indicators, tradable: Bools, lag: int, min_price: float) -> Readable:
    """Line closes up with indicators read `lag` bars late.

    tradable: (bars) true where the symbol is selected and not quarantined. min_price: dollars as traded.
    """
    size = max(panel.bars - lag, 0)
    reading = Reading(
        close=panel.close[lag:],
        rsi2=indicators.rsi2[:size],
        sma200=indicators.sma200[:size],
        atr14=indicators.atr14[:size],
        ibs=indicators.ibs[:size],
    )
    eligible = np.zeros(panel.bars, np.bool_)
    in_slices(
        len(panel.symbols),
        CORES,
        lambda begin, end: _eligible(panel.rows, panel.start, tradable, lag, min_price, begin, end, eligible),
    )
    return Readable(reading, eligible[lag:], lag)


def find_candidates(panel: Panel, readable: Readable, strategy: Strategy, params: Params) -> Candidates:
    """Every signal of `strategy` at one parameter set, in trading order."""
    found, _ = find_candidates_of_sets(panel, readable, strategy, [params])
    return found


def find_candidates_of_sets(
    panel: Panel, readable: Readable, strategy: Strategy, sets: list[Params]
) -> tuple[Candidates, list[Bools]]:
    """Signals of any of the parameter sets, and for each set which of them are its own; the order depends on no parameter."""
    lag = readable.lag
    slices = max(len(readable.eligible) // SLICE, 1)
    parts = in_slices(len(readable.eligible), slices, lambda begin, end: _wanted(readable, strategy, sets, begin, end))
    place = np.concatenate([part[0] for part in parts])
    side = np.concatenate([part[1] for part in parts])
    mine = [np.concatenate([part[2][k] for part in parts]) for k in range(len(sets))]
    at = _take(readable.reading, place)
    score = np.where(side == LONG, strategy.score_long(at), strategy.score_short(at))
    bar = place + lag
    session = panel.session[bar]
    first = np.concatenate([[0], np.cumsum(np.bincount(session, minlength=len(panel.sessions)))]).astype(np.int64)
    order = _by_session(session, first)
    in_slices(len(panel.sessions), CORES, lambda begin, end: _by_score(order, score, first, begin, end))
    return Candidates(bar[order], side[order], score[order], first), [kept[order] for kept in mine]


def _wanted(
    readable: Readable, strategy: Strategy, sets: list[Params], begin: int, end: int
) -> tuple[Ints, NDArray[np.int8], list[Bools]]:
    """Places in `begin`..`end` that some set wants, their sides, and which sets want each; one slice fits the cache."""
    reading, eligible = _take(readable.reading, slice(begin, end)), readable.eligible[begin:end]
    longs = [strategy.long(reading, params) for params in sets]
    shorts = [strategy.short(reading, params) for params in sets]
    long = np.logical_or.reduce(longs) & eligible
    place = np.flatnonzero(long | (np.logical_or.reduce(shorts) & eligible))
    side = np.where(long[place], np.int8(LONG), np.int8(SHORT))
    mine = [np.where(side == LONG, a[place], b[place]) for a, b in zip(longs, shorts, strict=True)]
    return place + begin, side, mine


def _take(reading: Reading, where: slice | Ints) -> Reading:
    return Reading(*(getattr(reading, name)[where] for name in ("close", "rsi2", "sma200", "atr14", "ibs")))


def leave_flags(panel: Panel, readable: Readable, strategy: Strategy, params: Params) -> NDArray[np.uint8]:
    """(bars) bit 1: a long wants out after this bar; bit 2: a short does."""
    flags = np.zeros(panel.bars, dtype=np.uint8)
    reading, lag = readable.reading, readable.lag
    wanted = strategy.leave_long(reading, params).view(np.uint8) | (strategy.leave_short(reading, params).view(np.uint8) << 1)
    flags[lag:] = wanted
    # The first `lag` bars of a symbol would read the symbol before it.
    for offset in range(lag):
        early = panel.start[:-1] + offset
        flags[early[early < panel.start[1:]]] = 0
    return flags


@njit
def _by_session(session: Indices, first: Ints) -> Ints:
    """A stable counting sort: within a session the order stays by symbol."""
    fill, order = first.copy(), np.empty(len(session), np.int64)
    for j in range(len(session)):
        order[fill[session[j]]] = j
        fill[session[j]] += 1
    return order


@njit
def _by_score(order: Ints, score: Floats, first: Ints, begin: int, end: int) -> None:
    """Sort each session's part of `order` by score, ties by symbol: a stable merge sort, runs doubling from one."""
    spare = np.empty(first[end] - first[begin], np.int64)
    for s in range(begin, end):
        since, until = first[s], first[s + 1]
        width = 1
        while width < until - since:
            for left in range(since, until, 2 * width):
                middle, right = min(left + width, until), min(left + 2 * width, until)
                a, b = left, middle
                for k in range(right - left):
                    if a < middle and (b >= right or score[order[a]] <= score[order[b]]):
                        spare[k] = order[a]
                        a += 1
                    else:
                        spare[k] = order[b]
                        b += 1
                for k in range(right - left):
                    order[left + k] = spare[k]
            width *= 2


@njit
def _eligible(
    rows: Floats, start: Ints, tradable: Bools, lag: int, min_price: float, first: int, last: int, eligible: Bools
) -> None:
    warm = max(SMA_PERIOD - 1, ATR_PERIOD) + lag
    for symbol in range(first, last):
        for bar in range(start[symbol] + warm, start[symbol + 1]):
            eligible[bar] = tradable[bar] and rows[bar, ROW_CLOSE] / rows[bar, ROW_FACTOR] >= min_price
