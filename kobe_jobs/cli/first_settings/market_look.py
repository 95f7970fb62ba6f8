"""What own bars hold, as far as the first settings depend on it: counts, years, prices, and how often a signal comes."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kobe_resources.settings.models import DataSettings

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

USUAL = 0.9
"""A usual session is one of the nine in ten with the fewest signals."""
LOOKED_AT = 1000
"""Newest sessions whose signals are counted."""
HELD = 5
"""Sessions that a position is open at most, by the default time stop."""
TREND, OVERSOLD = 200, 10.0
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
    """The look at raw bars (symbol, session, close). Splits are not applied: a few jumps change no count that matters here."""
    import pandas as pd

    bars = bars.assign(session=pd.to_datetime(bars["session"]))
    spans = _last_listings(bars)
    years = ((spans["max"] - spans["min"]).dt.days / 365.25).sort_values()
    last = bars.sort_values("session").groupby("symbol")["close"].last()
    signals, positions = usual_signals(bars)
    sessions = bars["session"]
    return MarketLook(
        symbols=len(spans),
        sessions=int(sessions.nunique()),
        first=sessions.min().date(),
        last=sessions.max().date(),
        bars=len(bars),
        set_aside=set_aside,
        years=tuple(float(value) for value in years),
        prices=(float(last.min()), float(last.quantile(DEAR)), float(last.max())),
        signals=signals,
        positions=positions,
    )


def _last_listings(bars: pd.DataFrame) -> pd.DataFrame:
    """First and last session of each symbol's last listing: a long gap begins another one, with a history of its own."""
    from kobe_assets.research.panel import LISTING_GAP

    bars = bars.sort_values(["symbol", "session"])
    place = bars["session"].rank(method="dense")
    gap = place.groupby(bars["symbol"]).diff() > LISTING_GAP + 1
    listing = gap.groupby(bars["symbol"]).cumsum()
    last = listing == listing.groupby(bars["symbol"]).transform("max")
    return bars[last].groupby("symbol")["session"].agg(["min", "max"])


def usual_signals(bars: pd.DataFrame) -> tuple[int, int]:
    """(entries a usual session asks for, positions open together) of the default strategy's long side, at least one each."""
    closes = bars.pivot_table(index="session", columns="symbol", values="close").iloc[-LOOKED_AT - TREND :]
    change = closes.diff()
    up, down = (part.ewm(alpha=0.5, adjust=False).mean() for part in (change.clip(lower=0), -change.clip(upper=0)))
    asks = (100 * up / (up + down) <= OVERSOLD) & (closes > closes.rolling(TREND).mean())
    counted = asks.iloc[TREND:]
    if not len(counted):
        return 1, 1
    held = counted.rolling(HELD, min_periods=1).max()
    return tuple(max(1, int(frame.sum(axis=1).quantile(USUAL))) for frame in (counted, held))  # type: ignore[return-value]
