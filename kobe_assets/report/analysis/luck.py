"""The evidence of the luck question beside the figures: resampling, entry permutation, heat maps, and the tries counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kobe_assets.graph.inputs import canonical_params
from kobe_assets.graph.lineage import TABLES
from kobe_assets.graph.own_strategies import strategies_of
from kobe_assets.report.analysis.curves import tidy_one
from kobe_assets.report.analysis.heat_map import read_grids
from kobe_assets.report.analysis.permutation import permutations
from kobe_assets.report.analysis.resampling import resampling, seed_of
from kobe_assets.report.analysis.results import as_number
from kobe_assets.report.analysis.tries import tries_on_record
from kobe_assets.research.parallel import in_threads
from kobe_resources.runtime.sql_files import read_sql
from kobe_resources.settings.pins import draws_pin, research_pin

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pandas as pd

    from kobe_assets.research.robustness import Rehearsal
    from kobe_assets.research.signals import Readable
    from kobe_resources.settings.models import Settings
    from kobe_resources.warehouse.store import Warehouse

HERE = Path(__file__).parent
MOST_TRIES = 200
"""Tries listed one by one, the best in training first; all of them are counted."""
Key = tuple[str, str]


def luck_evidence(
    warehouse: Warehouse,
    settings: Settings,
    trades: pd.DataFrame,
    rehearsals: Mapping[Key, Rehearsal],
    own: Mapping[Key, float | None],
    readable: Readable,
    meanwhile: Callable[[], None],
) -> dict[Key, dict[str, Any]]:
    """Owner → name → value, as the table `evidence` holds it. own: (strategy, mode) → Sharpe ratio out of sample.

    meanwhile: what the caller's thread does while the others draw entries.
    """
    seed, cash = draws_pin(settings), settings.simulation.initial_cash
    with warehouse.connect():
        equity = warehouse.frame("SELECT strategy, mode, fold, session, equity FROM wf_equity ORDER BY strategy, mode, session")
        version = warehouse.content_version(*TABLES["daily_bars"])
        canonical = {name: canonical_params(settings, strategy) for name, strategy in strategies_of(settings).items()}
        grids = read_grids(warehouse, research_pin(settings), version, canonical)
        tries = tries_of(warehouse, settings, version)

    def drawn(key: Key) -> dict[str, Any] | None:
        mine, curve = (frame[(frame["strategy"] == key[0]) & (frame["mode"] == key[1])] for frame in (trades, equity))
        return resampling(mine, curve, cash, settings.report.resamples, seed_of(seed, "resampling", *key))

    found: dict[Key, dict[str, Any]] = {key: {} for key in rehearsals}
    for key, details in zip(rehearsals, in_threads(drawn, rehearsals), strict=True):
        if details is not None:
            found[key]["resampling"] = details
    runs = settings.report.permutations
    for key, details in permutations(trades, rehearsals, own, readable, runs, seed, meanwhile).items():
        found[key]["permutation"] = details
    for grid in grids:
        found[grid.strategy, ""] = {"heat_map": grid.payload()}
    found["tries", ""] = {"tries": tries}
    return found


def tries_of(warehouse: Warehouse, settings: Settings, version: str) -> dict[str, Any]:
    """What the deflated Sharpe ratio counts (rules, section 6): by strategy how many, and the best of them one by one."""
    rows = warehouse.frame(read_sql(HERE, "trial_sharpes"), {"version": version, "vendor": settings.data.vendor})
    rows = rows.assign(sharpe=rows["sharpe"].astype(float))
    ranked = rows.sort_values(["sharpe", "strategy", "params"], ascending=[False, True, True], na_position="last")
    return {
        "count": len(rows),
        "unknown": int(rows["sharpe"].isna().sum()),
        "variance": tries_on_record(warehouse, settings, version).variance,
        "strategies": [
            [str(name), len(own), int(own["terms"].nunique()), tidy_one(as_number(own["sharpe"].max()), 4)]
            for name, own in rows.groupby("strategy")
        ],
        "listed": [
            [row.strategy, json.loads(row.params), row.terms, tidy_one(as_number(row.sharpe), 4)]
            for row in ranked.head(MOST_TRIES).itertuples()
        ],
    }
