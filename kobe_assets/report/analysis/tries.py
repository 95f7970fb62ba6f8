"""Every try on record, as the deflated Sharpe ratio counts it (rules, section 6), and whether the stored figures know of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kobe_assets.graph.lineage import TABLES
from kobe_assets.research.metrics import YEAR
from kobe_assets.research.overfitting import variance_of_tries
from kobe_resources.runtime.sql_files import read_sql

if TYPE_CHECKING:
    from kobe_assets.research.panel import Floats
    from kobe_resources.settings.models import Settings
    from kobe_resources.warehouse.store import Warehouse

HERE = Path(__file__).parent


class Tries(NamedTuple):
    """Every distinct try on a warehouse's vendor. sharpe: per session, NaN where it is not known on today's bars.

    since: when it was first known on them, NaT where it is not. A try's ratio is the mean over the folds it was trained on;
    cash, sizing, costs and policy make no new try.
    """

    sharpe: Floats
    since: Any

    @property
    def variance(self) -> float | None:
        """V of the deflated Sharpe ratio."""
        return variance_of_tries(self.sharpe, self.since)


def tries_on_record(warehouse: Warehouse, settings: Settings, version: str | None = None) -> Tries:
    """The tries that the deflated Sharpe ratio counts. version: of the stored bars, where the caller knows it."""
    version = version or warehouse.content_version(*TABLES["daily_bars"])
    rows = warehouse.rows(read_sql(HERE, "trial_sharpes"), {"version": version, "vendor": settings.data.vendor})
    since = [None if row[3] is None else row[3].replace(tzinfo=None) for row in rows]
    sharpe = [np.nan if row[4] is None else row[4] for row in rows]
    return Tries(np.array(sharpe, dtype=float) / np.sqrt(YEAR), np.array(since, dtype="datetime64[us]"))


def figures_know_all_tries(warehouse: Warehouse, settings: Settings) -> bool:
    """Whether the stored figures were made of as many tries as are on record, as widely spread; True where none are stored.

    A sweep and `kobe backtest --set` make tries that no fold knows of.
    """
    known = warehouse.rows("SELECT value FROM evidence WHERE strategy = 'tries' AND name = 'tries'")
    versions = warehouse.rows("SELECT data_version FROM asset_versions WHERE asset = 'daily_bars'")
    if not known or not versions:
        return True
    stored = json.loads(known[0][0])
    tries = tries_on_record(warehouse, settings, versions[0][0])
    return bool(stored["count"] == len(tries.sharpe) and stored.get("variance", np.nan) == tries.variance)
