"""What own bars hold, as far as the first settings depend on it: counts, years, prices, and how often a signal comes."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kobe_resources.settings.models import DataSettings, StrategySettings

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from kobe_assets.research.panel import Panel

USUAL = 0.9
"""A usual session is one of the nine in ten with the fewest signals."""
LOOKED_AT = 1000
"""Newest sessions whose signals are counted."""
DEAR = 0.9
"""The share of the symbols that a whole share should be affordable of."""


@dataclass(frozen=True)
class MarketLook:
    """What was seen. years: those of each symbol's last listing, fewest first.

    prices: (lowest, dear, highest) last closes in dollars; nine in ten symbols cost at most `dear`.
    signals, positions: entries that a usual session asks for, and positions that are open together then.
    """

    symbols: int
    sessions: int
    first: dt.date
    last: dt.date
    bars: int
    set_aside: int
    years: tuple[float, ...]
    prices: tuple[float, float, float]
    signals: int
    positions: int

    @property
    def usual_words(self) -> str:
        """What a usual session is like, as the end of a sentence."""
        asked = "1 entry" if self.signals == 1 else f"{self.signals:,} entries"
        held = "1 position is open" if self.positions == 1 else f"{self.positions:,} positions are open together"
        return f"asks for {asked}, and {held}"


def look_at_files(path: Path) -> MarketLook:
    """What own files hold, read and checked as a load would. Raises BadFile where a load would refuse them."""
    from kobe_resources.market_data.local.files import FilesVendor
    from kobe_resources.settings.models import FilesData

    load = FilesVendor(DataSettings(vendor="files", files=FilesData(path=path))).read()
    return look_at_bars(load.bars, 0 if load.aside is None else len(load.aside))


def look_at_bars(bars: pd.DataFrame, set_aside: int = 0) -> MarketLook:
    """The look at raw bars, as `panel_of_frame` takes them.

    Splits are not applied: a few jumps change no count that matters.
    """
    from kobe_assets.graph.given_bars import panel_of_frame

    panel = panel_of_frame(bars)
    # Of each symbol the last listing: a long gap begins another one, with a history of its own.
    last = np.flatnonzero(np.diff(panel.name, append=len(panel.names)))
    first_bar, last_bar = panel.start[last], panel.start[last + 1] - 1
    days = (panel.sessions[panel.session[last_bar]] - panel.sessions[panel.session[first_bar]]).astype(np.int64)
    closes = panel.raw_close[last_bar]
    signals, positions = usual_signals(panel)
    return MarketLook(
        symbols=len(panel.names),
        sessions=len(panel.sessions),
        first=panel.sessions[0].item(),
        last=panel.sessions[-1].item(),
        bars=panel.bars,
        set_aside=set_aside,
        years=tuple(np.sort(days / 365.25).tolist()),
        prices=(float(closes.min()), float(np.quantile(closes, DEAR)), float(closes.max())),
        signals=signals,
        positions=positions,
    )


def usual_signals(panel: Panel) -> tuple[int, int]:
    """(entries a usual session asks for, positions open together) of the default strategy's long side, at least one each."""
    from kobe_assets.research.indicators import SMA_PERIOD, compute_indicators
    from kobe_assets.research.signals import LONG, find_candidates, make_readable
    from kobe_assets.research.strategies.rsi2 import RSI2

    rules = StrategySettings()
    may_trade = np.ones(panel.bars, np.bool_)
    readable = make_readable(panel, compute_indicators(panel), may_trade, rules.indicator_lag_bars, rules.min_price)
    found = find_candidates(panel, readable, RSI2, RSI2.parameters)
    bar = found.bar[found.side == LONG]
    asks = np.zeros(panel.bar_at.shape, np.bool_)
    asks[panel.session[bar], panel.symbol[bar]] = True
    asks = asks[SMA_PERIOD:][-LOOKED_AT:]
    if not len(asks):
        return 1, 1
    held = asks.copy()
    for age in range(1, rules.time_stop):
        held[age:] |= asks[:-age]
    entries, positions = (max(1, int(np.quantile(flags.sum(axis=1), USUAL))) for flags in (asks, held))
    return entries, positions
