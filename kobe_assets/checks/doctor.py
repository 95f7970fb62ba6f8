"""Every doubt about the stored bars in one list, worst first: what was seen, what it does to a result, and the mend.

`doubts_of` is pure: it turns the findings of the checks into rows, so that the command, the page and the checks say the
same. What the rows moved is read from the stored universe and trades.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import TYPE_CHECKING

from kobe_assets.checks.bars import check_bars
from kobe_assets.checks.doubt_rows import READERS
from kobe_assets.checks.findings import DataFinding
from kobe_assets.checks.seen import Mends, Seen, day_of
from kobe_assets.graph.doubts import Doubt, by_weight, weighed

if TYPE_CHECKING:
    from kobe_resources.settings.models import Settings
    from kobe_resources.warehouse.store import Warehouse

EVERYTHING = 1_000_000
"""Offenders of a check that are read."""


def diagnose(warehouse: Warehouse, settings: Settings, now: dt.datetime | None = None) -> list[Doubt]:
    """The doubts about what the store holds now, worst first. Raises KobeError on an empty store."""
    with warehouse.connect():
        findings = check_bars(warehouse, settings, now, most=EVERYTHING)
        return weighed(warehouse, doubts_of(findings, settings.data.vendor))


def doubts_of(findings: Iterable[DataFinding], vendor: str) -> list[Doubt]:
    """The rows of what the checks found. vendor: whose bars they are, since the mend lies there."""
    rows = []
    for finding in findings:
        if finding.name in READERS:
            read, mends = READERS[finding.name], Mends(vendor)
            rows += [seen for row in finding.offenders.to_dict(orient="records") for seen in read(row, mends)]
    return sorted(map(_doubt, rows), key=by_weight)


def _doubt(seen: Seen) -> Doubt:
    days = day_of(seen.session), day_of(seen.until)
    return Doubt(seen.kind, seen.symbol, *days, seen.seen, seen.effect, seen.mend, seen.rank, float(seen.size))
