"""Signals: what each strategy wants after the close of a bar, in the order in which it wants it (rules, section 3).

Nothing here looks past bar `t`: indicators are views of the symbol's own bars `lag` places earlier.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kobe_assets.research.indicators import Indicators
from kobe_assets.research.panel import Bools, Floats, Indices, Ints, Panel
from kobe_assets.research.parallel import CORES, in_slices, in_threads
from kobe_assets.research.strategies import Params, Reading, Strategy
from kobe_assets.research.strategies.asking import satisfied, scored, true_of
from kobe_resources.runtime.jit import njit, njit_part

LONG, SHORT = 1, -1
IS_LONG, IS_SHORT = 1, 2
"""Bits of the sides that are wanted at a bar; between sets a bar may be both, and is then two signals."""
SLICE = 1 << 18
"""Bars a thread reads at a time: few enough to keep what lies between two steps small, enough to outweigh the calls."""
RUN = 8
"""Signals sorted by insertion before runs are merged."""


@dataclass(frozen=True)
class Candidates:
    """Signals in trading order: by session, then score, then symbol.

    side: (signals) +1 or -1. score: smaller is stronger. first: (sessions + 1) offsets by session.
    by_bar: (signals) their flat bar indices in order of bars, since a panel read in its own order
    is fetched ahead. order: (signals) which of them comes when.
    """

    side: NDArray[np.int8]
    score: Floats
    first: Ints
    by_bar: Ints
    order: Ints

    @cached_property
    def bar(self) -> Ints:
        """(signals) flat bar indices, in trading order."""
        return self.by_bar[self.order]


@dataclass(frozen=True)
class Readable:
    """Bars as strategies read them: everything about a bar that does not depend on a strategy's parameters.

    close: of the bars from `lag` on. indicators: entry `j` of a column belongs to bar `j + lag`. eligible: as long as close,
    true where a signal may arise. lag: bars. known: where a column is defined, by its name, first and last bar; strategies
    read the same columns in the same slices.
    """

    close: Floats
    indicators: Indicators
    eligible: Bools
    lag: int
    known: dict[tuple[str, int, int], Bools] = field(default_factory=dict, init=False, repr=False, compare=False)

    def reading(self, strategy: Strategy, begin: int, end: int, among: Bools | None = None) -> Reading:
        """What the strategy reads at `begin`..`end`, counted from bar `lag`. among: the only bars that are asked for."""
        columns = {name: self.indicators[name][begin:end] for name in strategy.indicators}
        for name, values in columns.items():
            if (name, begin, end) not in self.known:
                self.known[name, begin, end] = values == values
        return Reading(self.close[begin:end], columns, {name: self.known[name, begin, end] for name in columns}, among)


def make_readable(panel: Panel, indicators: Indicators, tradable: Bools, lag: int, min_price: float) -> Readable:
    """Line closes up with indicators read `lag` bars late.

    tradable: (bars) true where the symbol is selected and not quarantined. min_price: dollars as traded.
    """
    eligible = np.empty(panel.bars, np.bool_)

    def part(begin: int, end: int) -> None:
        # The first `lag` bars of a listing would read the one before it.
        _judge(panel.raw_close, tradable, panel.start[begin : end + 1], lag, min_price, eligible)

    in_slices(len(panel.symbols), CORES, part)
    return Readable(panel.close[lag:], indicators, eligible[lag:], lag)


@njit
def _judge(raw_close: Floats, tradable: Bools, start: Ints, warm: int, min_price: float, eligible: Bools) -> None:
    for symbol in range(len(start) - 1):
        ready = min(start[symbol] + warm, start[symbol + 1])
        eligible[start[symbol] : ready] = False
        some = slice(ready, start[symbol + 1])
        into, price, may = eligible[some], raw_close[some], tradable[some]
        for k in range(len(into)):
            into[k] = may[k] & (price[k] >= min_price)


def find_candidates(panel: Panel, readable: Readable, strategy: Strategy, params: Params) -> Candidates:
    """Every signal of `strategy` at one parameter set, in trading order."""
    found, _ = find_candidates_of_sets(panel, readable, strategy, [params])
    return found


def find_candidates_of_sets(
    panel: Panel, readable: Readable, strategy: Strategy, sets: list[Params]
) -> tuple[Candidates, list[Bools]]:
    """Signals of any of the parameter sets, and for each set which of them are its own; the order depends on no parameter."""
    slices = max(len(readable.eligible) // SLICE, 1)
    parts = in_slices(len(readable.eligible), slices, lambda begin, end: _wanted(panel, readable, strategy, sets, begin, end))
    bar, session, side, score = (np.concatenate([part[k] for part in parts]) for k in range(4))
    first, order, ranked = np.zeros(len(panel.sessions) + 1, np.int64), np.empty(len(bar), np.int64), np.empty(len(bar))
    most = _by_session(session, score, first, order, ranked)

    def part(begin: int, end: int) -> None:
        spare = Spare(np.empty(most, np.int64), np.empty(most), np.empty(most, np.int64), np.empty(most + 1, np.int64))
        _by_score(order, ranked, first, begin, end, spare)

    in_slices(len(panel.sessions), CORES, part)
    mine = (
        [np.ones(len(bar), np.bool_)]
        if len(sets) == 1
        else in_threads(lambda k: np.concatenate([part[4][k] for part in parts])[order], range(len(sets)))
    )
    return Candidates(side[order], ranked, first, bar, order), mine


def _wanted(
    panel: Panel, readable: Readable, strategy: Strategy, sets: list[Params], begin: int, end: int
) -> tuple[Ints, Indices, NDArray[np.int8], Floats, NDArray[np.bool_]]:
    """Bars that a set wants among `begin`..`end`: they, their sessions, sides, scores, and which of several sets want each."""
    reading = readable.reading(strategy, begin, end, readable.eligible[begin:end])
    levels = frozenset(name for name in (strategy.stop, strategy.limit) if name is not None)
    scores, reads = dict[str, Floats](), dict[str, frozenset[str]]()
    for what in ("long", "short"):
        has_side = getattr(strategy, what) is not None
        scores[what] = scored(strategy, f"score_{what}", reading) if has_side else np.zeros(end - begin)
        reads[what] = levels | reading.read
    sides, numbers = np.empty((len(sets), end - begin), np.uint8), dict[str, Bools]()

    def asked(what: str, params: Params) -> tuple[Bools, Bools]:
        """Where a condition says true, and where all that a signal of its side reads is defined."""
        found = true_of(strategy, what, reading, params)
        known = reading.defined(reading.read | reads[what])
        return found, known & numbers[what] if numbers else known

    while True:
        for params, into in zip(sets, sides, strict=True):
            _side(*asked("long", params), *asked("short", params), into)
        some = np.bitwise_or.reduce(sides, axis=0) if len(sets) > 1 else sides[0]
        at = np.flatnonzero(some != 0)
        twice = np.flatnonzero(some == IS_LONG | IS_SHORT) if len(sets) > 1 else at[:0]
        if len(twice):
            at = np.insert(at, np.searchsorted(at, twice, side="right"), twice)
        side, score = np.empty(len(at), np.int8), np.empty(len(at))
        mine = np.empty((len(sets) if len(sets) > 1 else 0, len(at)), np.bool_)
        if _describe(at, some, sides, scores["long"], scores["short"], side, score, mine):
            break
        # A score that is no number would have no place among the others. Few strategies have one, so it is looked for last.
        numbers = {what: np.isfinite(values) for what, values in scores.items()}
    bar = at + (begin + readable.lag)
    return bar, panel.session[bar], side, score, mine


@njit
def _side(long: Bools, fits_long: Bools, short: Bools, fits_short: Bools, side: NDArray[np.uint8]) -> None:
    """The side that one parameter set wants at each bar, in bits: within a set a long comes before a short."""
    for j in range(len(side)):
        is_long = long[j] & fits_long[j]
        side[j] = is_long * IS_LONG | (short[j] & fits_short[j] & ~is_long) * IS_SHORT


@njit
def _describe(
    place: Ints, some: NDArray[np.uint8], sides: NDArray[np.uint8], score_long: Floats, score_short: Floats,
    side: NDArray[np.int8], score: Floats, mine: NDArray[np.bool_],
) -> bool:  # fmt: skip
    """Side and score of each signal, and which sets want it; of two at one place the first is the long.

    False where a score is no number.
    """
    are_numbers = True
    for k in range(len(place)):
        j = place[k]
        is_long = (some[j] & IS_LONG) != 0 and (k == 0 or place[k - 1] != j)
        side[k], score[k] = (LONG, score_long[j]) if is_long else (SHORT, score_short[j])
        are_numbers &= np.isfinite(score[k])
    for s in range(len(mine)):
        for k in range(len(place)):
            mine[s, k] = (sides[s, place[k]] & (IS_LONG if side[k] == LONG else IS_SHORT)) != 0
    return are_numbers


def unscored(readable: Readable, strategy: Strategy, params: Params) -> Ints:
    """The bars at which a strategy wants in and has no score, though all that this reads is defined: they give no signal."""
    reading = readable.reading(strategy, 0, len(readable.close))
    found = np.zeros(len(readable.close), np.bool_)
    for side in ("long", "short"):
        if getattr(strategy, side) is not None:
            score = scored(strategy, f"score_{side}", reading)
            missing = reading.defined(reading.read) & readable.eligible & ~np.isfinite(score)
            found |= missing & satisfied(strategy, side, reading, params)
    return np.flatnonzero(found) + readable.lag


def leave_flags(panel: Panel, readable: Readable, strategy: Strategy, params: Params) -> NDArray[np.uint8]:
    """(bars) bit 1: a long wants out after this bar; bit 2: a short does."""
    if strategy.leave_long is None and strategy.leave_short is None:
        return np.zeros(panel.bars, np.uint8)
    flags, lag = np.empty(panel.bars, np.uint8), readable.lag
    flags[:lag] = 0

    def part(begin: int, end: int) -> None:
        reading = readable.reading(strategy, begin, end)
        long, short = (satisfied(strategy, what, reading, params) for what in ("leave_long", "leave_short"))
        _pack(long.view(np.uint8), short.view(np.uint8), flags[begin + lag : end + lag])

    in_slices(len(readable.eligible), max(len(readable.eligible) // SLICE, 1), part)
    # The first `lag` bars of a symbol would read the symbol before it.
    for offset in range(lag):
        early = panel.start[:-1] + offset
        flags[early[early < panel.start[1:]]] = 0
    return flags


@njit
def _pack(long: NDArray[np.uint8], short: NDArray[np.uint8], flags: NDArray[np.uint8]) -> None:
    for i in range(len(flags)):
        flags[i] = long[i] | (short[i] << 1)


@njit
def _by_session(session: Indices, score: Floats, first: Ints, order: Ints, ranked: Floats) -> int:
    """A stable counting sort: within a session the order stays by symbol; the most signals that any session has.

    first: zeros, which become the offsets by session.
    """
    for j in range(len(session)):
        first[session[j] + 1] += 1
    most: int = first.max()
    for s in range(1, len(first)):
        first[s] += first[s - 1]
    fill = first.copy()
    for j in range(len(session)):
        place = fill[session[j]]
        order[place], ranked[place] = j, score[j]
        fill[session[j]] = place + 1
    return most


class Spare(NamedTuple):
    """Room for the signals of one session, for a sort that moves them."""

    order: Ints
    score: Floats
    bucket: Ints
    fill: Ints


@njit
def _by_score(order: Ints, score: Floats, first: Ints, begin: int, end: int, spare: Spare) -> None:
    """Sort each session's part of `order` and `score` by score, ties by symbol.

    Signals fall into as many buckets as there are, evenly laid between the lowest and the highest score; few share one.
    """
    for s in range(begin, end):
        since, n = first[s], first[s + 1] - first[s]
        lowest, highest = np.inf, -np.inf
        for k in range(n):
            lowest, highest = min(lowest, score[since + k]), max(highest, score[since + k])
        scale = n / (highest - lowest)
        for k in range(n + 1):
            spare.fill[k] = 0
        for k in range(n):
            spare.order[k], spare.score[k] = order[since + k], score[since + k]
            height = (spare.score[k] - lowest) * scale
            # The highest, and what is no number, comes last.
            spare.bucket[k] = int(height) if 0.0 <= height < n else n - 1
            spare.fill[spare.bucket[k] + 1] += 1
        for k in range(n):
            spare.fill[k + 1] += spare.fill[k]
        for k in range(n):
            place = since + spare.fill[spare.bucket[k]]
            order[place], score[place] = spare.order[k], spare.score[k]
            spare.fill[spare.bucket[k]] += 1
        left = since
        for k in range(n):
            if since + spare.fill[k] > left + 1:
                _merge_sort(order, score, left, since + spare.fill[k], spare)
            left = since + spare.fill[k]


@njit_part
def _merge_sort(order: Ints, score: Floats, since: int, until: int, spare: Spare) -> None:
    """Stable: runs of `RUN` by insertion, then merges of neighbours."""
    for left in range(since, until, RUN):
        for k in range(left + 1, min(left + RUN, until)):
            item, value, hole = order[k], score[k], k
            while hole > left and score[hole - 1] > value:
                order[hole], score[hole] = order[hole - 1], score[hole - 1]
                hole -= 1
            order[hole], score[hole] = item, value
    width = RUN
    while width < until - since:
        for left in range(since, until - width, 2 * width):
            # Only the left run is moved out of the way; what is left of the right one already lies where it belongs.
            for k in range(width):
                spare.order[k], spare.score[k] = order[left + k], score[left + k]
            a, b, k, right = 0, left + width, left, min(left + 2 * width, until)
            while a < width:
                if b < right and score[b] < spare.score[a]:
                    order[k], score[k] = order[b], score[b]
                    b += 1
                else:
                    order[k], score[k] = spare.order[a], spare.score[a]
                    a += 1
                k += 1
        width *= 2
