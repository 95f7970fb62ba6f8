"""The quarantine rule (rules, section 2): which bars are suspect, and for how long the symbol then gives no signals.

Signals, universe, checks and report all ask here. It trusts its caller for bars sorted by symbol, then session.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import numpy as np

from kobe_assets.research.panel import Bools, Floats, Indices, Ints

SUSPECT_MOVE = math.log(1.45)
CROWD_VOLUME = 3.0
"""Multiple of the usual dollar volume from which a move is confirmed by the market."""
CROWD_BARS = 20
QUARANTINE_BARS = 200


class AdjustedBars(Protocol):
    """Adjusted bars as flat arrays. start: (symbols + 1) offsets. symbol: (bars) place of the symbol. close, volume: (bars)."""

    @property
    def start(self) -> Ints: ...
    @property
    def symbol(self) -> Indices: ...
    @property
    def close(self) -> Floats: ...
    @property
    def volume(self) -> Floats: ...


class Suspects(NamedTuple):
    """Suspect bars in order of symbol and session, and what the rule saw of each.

    bar: flat index. last: flat index of the last bar without signals; `end`, where the symbol's bars end, may come before it.
    move: log return of the close. dollars: dollar volume. usual: its median over the bars before.
    """

    bar: Ints
    last: Ints
    end: Ints
    move: Floats
    dollars: Floats
    usual: Floats

    @property
    def in_force(self) -> Bools:
        """True where the symbol's last bar is still in quarantine."""
        return self.last >= self.end - 1


def suspects(bars: AdjustedBars) -> Suspects:
    """The bars whose close moved more than ±45 % without unusual volume: a missed split moves the price, and no dollars."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = bars.close[1:] / bars.close[:-1]
    # The wide band is cheap; the few bars outside it are judged by the rule itself.
    bar = np.flatnonzero((ratio > 1.4) | (ratio < 0.7)) + 1
    bar = bar[(bar > bars.start[bars.symbol[bar]]) & (ratio[bar - 1] > 0.0) & np.isfinite(ratio[bar - 1])]
    move = np.array([math.log(value) for value in ratio[bar - 1]], np.float64)
    bar, move = bar[np.abs(move) > SUSPECT_MOVE], move[np.abs(move) > SUSPECT_MOVE]
    dollars, usual = bars.close[bar] * bars.volume[bar], np.empty(len(bar))
    # Bars with as many others before them have their medians taken together.
    before = np.minimum(bar - bars.start[bars.symbol[bar]], CROWD_BARS)
    for count in np.unique(before):
        same = before == count
        window = bar[same][:, None] - np.arange(1, count + 1)
        usual[same] = np.median(bars.close[window] * bars.volume[window], axis=1)
    found = dollars < CROWD_VOLUME * usual
    bar = bar[found]
    return Suspects(bar, bar + QUARANTINE_BARS, bars.start[bars.symbol[bar] + 1], move[found], dollars[found], usual[found])


def quarantined(bars: AdjustedBars) -> Bools:
    """(bars) true from a suspect bar through the 200 bars after it."""
    held, found = np.zeros(len(bars.symbol), np.bool_), suspects(bars)
    until = np.minimum(found.last + 1, found.end)
    # Overlapping ones are one: in noise nearly every bar is suspect.
    apart = np.concatenate([[True], found.bar[1:] > until[:-1], [True]])
    for begin, end in zip(found.bar[apart[:-1]], until[apart[1:]], strict=True) if len(until) else ():
        held[begin:end] = True
    return held
