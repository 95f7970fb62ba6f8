"""What the vendors on this machine share: they are read whole, and stored whole in one transaction when they changed."""

from __future__ import annotations

import dataclasses
import datetime as dt
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from kobe_resources.market_data.changes import Changes, Load, report_of
from kobe_resources.market_data.protocol import MarketDataError, Progress, SilentProgress, SyncReport
from kobe_resources.market_data.set_aside import judge_bars
from kobe_resources.market_data.store import current_source, last_load, refuse_other_source, replace_all, store_totals

if TYPE_CHECKING:
    import pandas as pd

    from kobe_resources.settings.models import DataSettings
    from kobe_resources.warehouse.store import Warehouse


MOST_TAKEN_BACK = 0.1
"""Share of the stored bars that a load takes back without asking."""


class LocalVendor(ABC):
    """A source that `read` gives in full, without calls and without waiting."""

    name: str
    judged = True
    """False where bars are invented, and the exchange's calendar and clock judge nothing."""

    def __init__(self, data: DataSettings) -> None:
        self.data = data
        self.notes: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """The stream of bars this is; bars of another stream are dropped, not revised."""
        return self.name

    @abstractmethod
    def fingerprint(self) -> str:
        """See Vendor.fingerprint."""

    @abstractmethod
    def read(self) -> Load:
        """All the source has within data.start … data.end; refuses what cannot be right (MarketDataError)."""

    def sync(self, warehouse: Warehouse, progress: Progress = SilentProgress(), force: bool = False) -> SyncReport:
        """Replace the store where the source changed, or where `force`; else leave it, edits and all.

        Raises MarketDataError where that would drop bars of files or of Polygon and `force` is not given.
        """
        began = time.perf_counter()
        fingerprint = self.fingerprint()
        skipped = not force and self._stands(warehouse, fingerprint)
        if not skipped and not force:
            refuse_other_source(warehouse, self.name)
        self.notes = ()
        changes = Changes() if skipped else self._replace(warehouse, fingerprint, progress, force)
        with warehouse.connect() as connection:
            totals = store_totals(connection)
        seconds = time.perf_counter() - began
        return report_of(self.name, changes, totals, seconds, skipped=skipped, notes=self.notes)

    def _stands(self, warehouse: Warehouse, fingerprint: str) -> bool:
        with warehouse.connect() as connection:
            source, load = current_source(connection), last_load(connection)
        return bool(source and load and source[0] == self.source and load.fingerprint == fingerprint)

    def _replace(self, warehouse: Warehouse, fingerprint: str, progress: Progress, force: bool) -> Changes:
        progress.start(f"reading {self.name}", 2, "steps")
        now = dt.datetime.now(dt.UTC)
        load = self.read()
        if load.widened:
            self.notes = (f"{load.widened:,} bars widened to their open or close",)
        if self.judged:
            load = _judged(load, now)
        if not len(load.bars):
            raise MarketDataError(
                f"{self.name} has no bars from {self.data.start or 'its start'} to {self.data.end or 'its end'}",
                "widen data.start and data.end",
            )
        progress.advance(note=f"{len(load.bars):,} bars read")
        most = 1.0 if force or self._narrower(warehouse) else MOST_TAKEN_BACK
        changes = replace_all(warehouse, load, self.name, self.source, fingerprint, now, most)
        progress.advance(note="stored")
        return changes

    def _narrower(self, warehouse: Warehouse) -> bool:
        """Whether the settings' own dates leave stored bars out."""
        with warehouse.connect() as connection:
            totals = store_totals(connection)
        first, last = totals.first_session, totals.last_session
        starts, ends = self.data.start, self.data.end
        return bool((starts and first and first < starts) or (ends and last and last > ends))


def _judged(load: Load, now: dt.datetime) -> Load:
    """The load without the bars that section 1 of the rules sets aside."""
    import pandas as pd

    judged = judge_bars(load.bars, now, whole=True)
    parts = [part for part in (load.aside, judged.aside) if part is not None and len(part)]
    aside = pd.concat(parts, ignore_index=True) if parts else load.aside
    return dataclasses.replace(load, bars=judged.bars, aside=aside)


def within_span(bars: pd.DataFrame, data: DataSettings) -> pd.DataFrame:
    """The bars of data.start … data.end, both included."""
    if data.start is not None:
        bars = bars[bars["session"] >= str(data.start)]
    if data.end is not None:
        bars = bars[bars["session"] <= str(data.end)]
    return bars
