"""A proof by trial that a computation reads no future: take the future away, or replace it with noise, and compare the past.

A value that changes when only later bars change was read from them. What a check of this kind cannot see is a leak that
needs no bars, such as a universe of today's survivors; the report says so.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from kobe_assets.research.panel import (
    ROW_CLOSE,
    ROW_FACTOR,
    ROW_HIGH,
    ROW_LOW,
    ROW_OPEN,
    Bools,
    Floats,
    Ints,
    Panel,
    build_panel,
)
from kobe_assets.research.parallel import in_threads

TOLERANCE = 1e-9
"""Of a value, or of what is usual in its column: what adds up many bars, as a Fourier transform does, rounds by their size,
and a difference of two such sums that is nearly 0 is all rounding."""
NOISE = 0.05
"""Of a log price: enough to move every indicator, too little to look like a bad print on every other bar."""
TRUNCATED, NOISY = "truncated", "noise"
SEED = 7
"""Of the noise; each cut adds its own number to it."""

Compute = Callable[[Panel], Sequence[Floats]]
"""Columns of a panel, each (bars); the value of bar i may depend on bars up to it."""


@dataclass(frozen=True)
class Leak:
    """A past value that changed with the future: which cut, how it was changed, and the first bar that differs.

    change: truncated, noise; again, where the same bars give another value each time, and nothing can be proven; or order,
    where the bars in another order give another value.
    """

    cut: str
    change: str
    symbol: str
    session: str
    column: int


def find_leak(panel: Panel, compute: Compute, cuts: Sequence[int], early: Sequence[int] = ()) -> Leak | None:
    """Compare `compute` on the whole panel with truncated and scrambled futures after each cut (session index).

    early: cuts after which the future is scrambled only, since what is left of the panel would be too little for a function
    that serves well on all bars; what fills its first values from later ones shows nowhere else.
    """
    whole = compute(panel)
    rounding = [TOLERANCE * _usual(column) for column in whole]

    def first_that_differs(tried: tuple[int, str]) -> Leak | None:
        cut, change = tried
        past = np.flatnonzero(panel.session <= cut)
        theirs = compute(truncate(panel, cut) if change == TRUNCATED else scramble(panel, cut, SEED + cut))
        first: list[tuple[int, int]] = []
        for place, (mine, other) in enumerate(zip(whole, theirs, strict=True)):
            then, now = mine[past], other if change == TRUNCATED else other[past]
            # Nearly always all of them are equal, which is found sooner than what is near.
            if not np.array_equal(then, now, equal_nan=True):
                near = np.isclose(then, now, rtol=TOLERANCE, atol=rounding[place], equal_nan=True)
                first += [] if near.all() else [(int(np.argmin(near)), place)]
        if not first:
            return None
        row, column = min(first)
        bar = int(past[row])
        session = str(panel.sessions[panel.session[bar]])
        return Leak(str(panel.sessions[cut]), change, panel.symbols[panel.symbol[bar]], session, column)

    trials = [*((cut, NOISY) for cut in early), *((cut, change) for cut in cuts for change in (TRUNCATED, NOISY))]
    found = next((leak for leak in in_threads(first_that_differs, trials) if leak), None)
    if found and not np.array_equal(whole[found.column], compute(panel)[found.column], equal_nan=True):
        return replace(found, change="again")
    return found


def _usual(column: Floats) -> float:
    """The median size of a column's defined values, which no outlier moves; 0 without one."""
    known = np.abs(column[np.isfinite(column)])
    return float(np.median(known)) if len(known) else 0.0


def some_symbols(panel: Panel, most_bars: int, always: Collection[str] = ()) -> Panel:
    """The panel, or evenly spread symbols of it with about `most_bars` bars, since the same code reads every symbol.

    always: symbols that the others read.
    """
    if panel.bars <= most_bars:
        return panel
    chosen = np.unique(np.linspace(0, len(panel.symbols) - 1, max(len(panel.symbols) * most_bars // panel.bars, 1)).astype(int))
    chosen = np.union1d(chosen, [k for k, name in enumerate(panel.symbols) if name in always]).astype(int)
    place = np.full(len(panel.symbols), -1, np.int64)
    place[chosen] = np.arange(len(chosen))
    kept = place[panel.symbol] >= 0
    # The last session may be one on which none of them traded; the list of sessions stays.
    names, last = tuple(panel.symbols[k] for k in chosen), len(panel.sessions) - 1
    return _panel_of(panel, kept, names, place, panel.rows[kept], panel.volume[kept], last)


def truncate(panel: Panel, cut: int) -> Panel:
    """The panel as if no session after `cut` had happened; symbols that had not begun are gone."""
    kept = panel.session <= cut
    present = np.unique(panel.symbol[kept])
    place = np.full(len(panel.symbols), -1, np.int64)
    place[present] = np.arange(len(present))
    return _panel_of(panel, kept, tuple(panel.symbols[k] for k in present), place, panel.rows[kept], panel.volume[kept], cut)


def scramble(panel: Panel, cut: int, seed: int) -> Panel:
    """The panel with every bar after `cut` replaced by noise of the same shape."""
    rng = np.random.default_rng(seed)
    rows, volume = panel.rows.copy(), panel.volume.copy()
    future = np.flatnonzero(panel.session > cut)
    for column in (ROW_OPEN, ROW_CLOSE):
        rows[future, column] *= np.exp(rng.normal(0.0, NOISE, len(future)))
    spread = np.exp(np.abs(rng.normal(0.0, 0.1, (2, len(future)))))
    rows[future, ROW_HIGH] = np.maximum(rows[future, ROW_OPEN], rows[future, ROW_CLOSE]) * spread[0]
    rows[future, ROW_LOW] = np.minimum(rows[future, ROW_OPEN], rows[future, ROW_CLOSE]) / spread[1]
    volume[future] *= np.exp(rng.normal(0.0, 1.0, len(future)))
    kept = np.ones(panel.bars, np.bool_)
    return _panel_of(panel, kept, panel.symbols, np.arange(len(panel.symbols)), rows, volume, len(panel.sessions) - 1)


def _panel_of(
    panel: Panel, kept: Bools, symbols: tuple[str, ...], place: Ints, rows: Floats, volume: Floats, cut: int
) -> Panel:
    columns = {"open": ROW_OPEN, "high": ROW_HIGH, "low": ROW_LOW, "close": ROW_CLOSE, "factor": ROW_FACTOR}
    found = build_panel(
        symbols,
        panel.sessions[: cut + 1],
        place[panel.symbol[kept]].astype(np.int64),
        panel.session[kept].astype(np.int64),
        {**{name: rows[:, column] for name, column in columns.items()}, "volume": volume},
    )
    return replace(found, outside=panel.outside)
