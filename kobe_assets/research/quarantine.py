"""The quarantine rule (rules, section 2): which bars are suspect, and for how long the listing then gives no signals.

Signals, universe, checks, report and trading all ask here. It trusts its caller for adjusted bars sorted by listing, then
session. A missed split moves the price without dollars, a misprint without shares; a real crash draws both.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import NamedTuple, Protocol

import numpy as np

from kobe_assets.research.panel import Bools, Floats, Indices, Ints, Panel
from kobe_assets.research.parallel import in_slices

SUSPECT_MOVE = math.log(1.45)
IMPOSSIBLE_RATIO = 3.0
"""Ratio of two closes in a row, up or down, that no unusual volume explains: another company, or another unit."""
LOWEST_LOW, HIGHEST_HIGH = 0.55, 1.8
"""Multiples of the lower and the higher of open and close beyond which a low or a high is doubted."""
CROWD_VOLUME = 3.0
"""Multiple of the usual dollars, and of the usual shares, above which a move is confirmed by the market."""
CROWD_BARS = 20
QUARANTINE_BARS, RANGE_QUARANTINE_BARS = 200, 60
"""Bars without signals after a suspect jump of the close, and after a suspect range (by then ATR has forgotten it)."""
SILENT_MOVE = 12.0
"""Usual days (medians of the moves before) from which a move without unusual volume counts: a split left out, a spin-off."""
SMALLEST_FALL, SMALLEST_RISE = 0.05, 0.1
"""Log returns under which none is told: good news moves a price so far, on no more than the usual volume."""
ODD_PRINT = 1.25
"""Multiple of the higher of two closes in a row, or of the lower, beyond which a price between them is told."""
PASSING_CROWD = 2.0
"""Multiple of the shares of the bars after it that a crowd draws at least: where so many stay, they are another company's."""
FEWEST_MOVES = 10
"""Moves before a bar from which their median is usual."""
SLICE = 1 << 18


class AdjustedBars(Protocol):
    """Adjusted bars as flat arrays. start: (listings + 1) offsets. symbol: (bars) place of the listing. The rest: (bars)."""

    @property
    def start(self) -> Ints: ...
    @property
    def symbol(self) -> Indices: ...
    @property
    def open(self) -> Floats: ...
    @property
    def high(self) -> Floats: ...
    @property
    def low(self) -> Floats: ...
    @property
    def close(self) -> Floats: ...
    @property
    def volume(self) -> Floats: ...


class Suspects(NamedTuple):
    """Suspect bars in order of listing and session, and what the rule saw of each.

    bar: flat index. last: flat index of the last bar without signals; `end`, where the listing's bars end, may come before it.
    move: log return of the close. jump: the close is what is suspect, else the range. stretch: how many times the low lies
    under, or the high over, open and close (at least 1). dollars, shares: what was traded; usual, usual_shares: the medians
    of the bars before.
    """

    bar: Ints
    last: Ints
    end: Ints
    move: Floats
    jump: Bools
    stretch: Floats
    dollars: Floats
    usual: Floats
    shares: Floats
    usual_shares: Floats

    @property
    def in_force(self) -> Bools:
        """Whether the listing's last bar is still in quarantine."""
        return self.last >= self.end - 1


def distrusted_moves(panel: Panel, found: Suspects, released: Collection[str]) -> Ints:
    """Flat indices of the bars whose suspect move of the close no person vouched for; a suspect range moves no close.

    released: symbols that a person vouched for.
    """
    bars = found.bar[found.jump]
    vouched = [panel.symbols[place] in released for place in panel.symbol[bars]]
    return bars[~np.array(vouched, np.bool_)]


def suspects(bars: AdjustedBars) -> Suspects:
    """The bars whose close jumped, or whose low or high lies far out, without unusual volume in dollars and shares."""
    bar = _doubtful(bars)
    before, close = bars.close[bar - 1], bars.close[bar]
    move = np.array([math.log(ratio) for ratio in close / before], np.float64)
    low, high = np.minimum(bars.open[bar], close), np.maximum(bars.open[bar], close)
    impossible = (close > IMPOSSIBLE_RATIO * before) | (close * IMPOSSIBLE_RATIO < before)
    jumped = np.abs(move) > SUSPECT_MOVE
    stretched = (bars.low[bar] < LOWEST_LOW * low) | (bars.high[bar] > HIGHEST_HIGH * high)
    shares, dollars = bars.volume[bar], close * bars.volume[bar]
    usual, usual_shares = _usual(bars, bar)
    crowd = (dollars > CROWD_VOLUME * usual) & (shares > CROWD_VOLUME * usual_shares)
    found = impossible | ((jumped | stretched) & ~crowd)
    jump = impossible | jumped
    length = np.where(jump, QUARANTINE_BARS, RANGE_QUARANTINE_BARS)
    stretch = np.maximum(low / bars.low[bar], bars.high[bar] / high)
    end = bars.start[bars.symbol[bar] + 1]
    every = Suspects(bar, bar + length, end, move, jump, stretch, dollars, usual, shares, usual_shares)
    return Suspects._make(column[found] for column in every)


def suspect_bars(bars: AdjustedBars) -> Bools:
    """(bars) true at every suspect bar itself: what no profit may come from."""
    flags = np.zeros(len(bars.symbol), np.bool_)
    flags[suspects(bars).bar] = True
    return flags


def quarantined(bars: AdjustedBars, found: Suspects | None = None) -> Bools:
    """(bars) true from a suspect bar through the last bar without signals after it. found: `suspects(bars)`, where known."""
    held, found = np.zeros(len(bars.symbol), np.bool_), found or suspects(bars)
    # A short quarantine may begin inside a longer one and end before it.
    until = np.maximum.accumulate(np.minimum(found.last + 1, found.end)) if len(found.bar) else found.end
    # Overlapping ones are one: in noise nearly every bar is suspect.
    apart = np.concatenate([[True], found.bar[1:] > until[:-1], [True]])
    for begin, end in zip(found.bar[apart[:-1]], until[apart[1:]], strict=True) if len(until) else ():
        held[begin:end] = True
    return held


class SilentMoves(NamedTuple):
    """Moves of the close without the volume that a real one draws.

    bar: flat index. move: log return. usual: median of the absolute moves of the bars before. stays: the volume is unusual,
    and stays so high: that is no crowd that a move drew, but the usual volume of what trades from then on.
    """

    bar: Ints
    move: Floats
    usual: Floats
    stays: Bools


def silent_moves(bars: AdjustedBars, found: Suspects) -> SilentMoves:
    """Closes that moved by SILENT_MOVE usual days without unusual volume; suspect jumps, as `found`, are not reported again."""
    with np.errstate(divide="ignore", invalid="ignore"):
        move = np.log(bars.close[1:] / bars.close[:-1])
    bar = np.flatnonzero((move < -SMALLEST_FALL) | (move > SMALLEST_RISE)) + 1
    far, usual = _far(bars, bar, np.abs(move[bar - 1]), move, found)
    crowd = _crowd(bars, far)
    stays = crowd & (np.abs(move[far - 1]) > SUSPECT_MOVE) & _stays(bars, far)
    reported = ~crowd | stays
    return SilentMoves(far[reported], move[far - 1][reported], usual[reported], stays[reported])


class OddPrints(NamedTuple):
    """Opens, highs and lows far out of the closes before and after them, without the volume that a real one draws.

    bar: flat index. ratio: the price over the nearer close. is_open: the open itself lies so far out.
    """

    bar: Ints
    ratio: Floats
    is_open: Bools


def odd_prints(bars: AdjustedBars, found: Suspects) -> OddPrints:
    """Bars with such a print by SILENT_MOVE usual days; suspect bars, as `found`, are not reported again."""
    top, bottom = np.maximum(bars.close[1:], bars.close[:-1]), np.minimum(bars.close[1:], bars.close[:-1])
    bar = np.flatnonzero((bars.high[1:] > ODD_PRINT * top) | (bars.low[1:] * ODD_PRINT < bottom)) + 1
    with np.errstate(divide="ignore", invalid="ignore"):
        over, under = bars.high[bar] / top[bar - 1], bars.low[bar] / bottom[bar - 1]
        ratio = np.where(over * under > 1.0, over, under)
        move = np.log(bars.close[1:] / bars.close[:-1])
        bar, _ = _far(bars, bar, np.abs(np.log(ratio)), move, found)
        bar = bar[~_crowd(bars, bar)]
        over, under = bars.high[bar] / top[bar - 1], bars.low[bar] / bottom[bar - 1]
    ratio = np.where(over * under > 1.0, over, under)
    opened = bars.open[bar]
    is_open = (opened > ODD_PRINT * top[bar - 1]) | (opened * ODD_PRINT < bottom[bar - 1])
    return OddPrints(bar, ratio, is_open)


def _far(bars: AdjustedBars, bar: Ints, size: Floats, move: Floats, found: Suspects) -> tuple[Ints, Floats]:
    """Those of the bars whose size (log) is SILENT_MOVE usual days and that are not suspect; and the usual days.

    move: the log return of every bar but the first.
    """
    # Moves before it of its own listing; of few, none is usual.
    before = np.minimum(bar - bars.start[bars.symbol[bar]] - 1, CROWD_BARS)
    bar, size, before = (column[before >= FEWEST_MOVES] for column in (bar, size, before))
    usual = np.empty(len(bar))
    for count in np.unique(before):
        same = before == count
        usual[same] = np.median(np.abs(move[bar[same][:, None] - 1 - np.arange(1, count + 1)]), axis=1)
    # Where nothing moved before, nothing is usual.
    far = (usual > 0) & (size > SILENT_MOVE * usual) & ~np.isin(bar, found.bar)
    return bar[far], usual[far]


def _crowd(bars: AdjustedBars, bar: Ints) -> Bools:
    """Whether each of `bar` drew unusual dollars and shares."""
    dollars, shares = _usual(bars, bar)
    volume = bars.volume[bar]
    return (bars.close[bar] * volume > CROWD_VOLUME * dollars) & (volume > CROWD_VOLUME * shares)


def _stays(bars: AdjustedBars, bar: Ints) -> Bools:
    """Whether the shares of each of `bar` are no more than usual by those of the CROWD_BARS after it, of its listing."""
    found = np.zeros(len(bar), np.bool_)
    inside = np.flatnonzero(bar + CROWD_BARS < bars.start[bars.symbol[bar] + 1])
    after = np.median(bars.volume[bar[inside][:, None] + np.arange(1, CROWD_BARS + 1)], axis=1)
    found[inside] = bars.volume[bar[inside]] < PASSING_CROWD * after
    return found


def _doubtful(bars: AdjustedBars) -> Ints:
    """Flat indices of the bars that the rule has to judge: the cheap tests here are wider than its own."""

    def part(begin: int, end: int) -> Ints:
        since = max(begin, 1)
        if since >= end:
            return np.empty(0, np.int64)
        opened, close, before = bars.open[since:end], bars.close[since:end], bars.close[since - 1 : end - 1]
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = close / before
            wide = (ratio > 1.4) | (ratio < 0.7)
            wide |= bars.low[since:end] < 0.56 * np.minimum(opened, close)
            wide |= bars.high[since:end] > 1.79 * np.maximum(opened, close)
            wide &= (ratio > 0.0) & np.isfinite(ratio)
        return np.flatnonzero(wide) + since

    parts = in_slices(len(bars.symbol), len(bars.symbol) // SLICE + 1, part)
    bar = np.concatenate(parts).astype(np.int64)
    return bar[bar > bars.start[bars.symbol[bar]]]


def _usual(bars: AdjustedBars, bar: Ints) -> tuple[Floats, Floats]:
    """The medians of dollars and of shares over up to CROWD_BARS bars of the listing before each of `bar`."""
    dollars, shares = np.empty(len(bar)), np.empty(len(bar))
    # AdjustedBars with as many others before them have their medians taken together.
    before = np.minimum(bar - bars.start[bars.symbol[bar]], CROWD_BARS)
    for count in np.unique(before):
        same = before == count
        window = bar[same][:, None] - np.arange(1, count + 1)
        dollars[same] = np.median(bars.close[window] * bars.volume[window], axis=1)
        shares[same] = np.median(bars.volume[window], axis=1)
    return dollars, shares
