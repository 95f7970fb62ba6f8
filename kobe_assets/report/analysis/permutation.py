"""Where a book stands among runs that entered as often, but whatever they drew: the evidence `permutation`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kobe_assets.report.analysis.curves import tidy, tidy_one
from kobe_assets.report.analysis.resampling import seed_of
from kobe_assets.research.permutation import ROUNDING, Entered, permute_entries
from kobe_assets.research.permutation import p_value as share_as_good

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from kobe_assets.research.permutation import Permuted
    from kobe_assets.research.robustness import Rehearsal
    from kobe_assets.research.signals import Readable
    from kobe_assets.research.walk_forward import Fold, Market

TAILS = (5, 50, 95)
BINS = 30
Key = tuple[str, str]


def entered_of(trades: pd.DataFrame, strategies: Sequence[str], folds: Sequence[Fold], market: Market) -> Entered:
    """What one book's rows of wf_trades entered. strategies: of its plan, in order."""
    days = market.panel.sessions.astype("datetime64[D]")
    session = np.searchsorted(days, pd.to_datetime(trades["entry_session"]).to_numpy().astype("datetime64[D]"))
    strategy = trades["entered_by"].map({name: at for at, name in enumerate(strategies)}).to_numpy(np.int64)
    side = np.where(trades["side"].to_numpy() == "long", 1, -1)
    order = np.lexsort((side, strategy, session))
    rows = [order[trades["fold"].to_numpy()[order] == fold.number] for fold in folds]
    return Entered(*(tuple(column[own] for own in rows) for column in (session, strategy, side)))


def permutations(
    trades: pd.DataFrame,
    rehearsals: Mapping[Key, Rehearsal],
    own: Mapping[Key, float | None],
    readable: Readable,
    runs: int,
    pin: str,
    meanwhile: Callable[[], None] = lambda: None,
) -> dict[Key, dict[str, Any]]:
    """The evidence of every book that has trades and a Sharpe ratio. own: (strategy, mode) → Sharpe ratio out of sample.

    None of a book whose every drawn run is its own: where nothing else could have been traded, a p-value of 1 says nothing.
    """
    asked = {}
    for key, rehearsal in rehearsals.items():
        mine = trades[(trades["strategy"] == key[0]) & (trades["mode"] == key[1])]
        if len(mine) and runs and own.get(key) is not None:
            names = [strategy.name for strategy, _ in rehearsal.plan.parts]
            asked[key] = rehearsal, entered_of(mine, names, rehearsal.plan.folds, rehearsal.market)
    seeds = {key: seed_of(pin, "permutation", *key) for key in asked}
    drawn = permute_entries(asked, readable, runs, seeds, meanwhile=meanwhile)
    others = {key: found for key, found in drawn.items() if np.abs(found.sharpe - float(own[key] or 0.0)).max() > ROUNDING}
    return {key: _details(found, float(own[key] or 0.0), seeds[key]) for key, found in others.items()}


def _details(found: Permuted, own: float, seed: int) -> dict[str, Any]:
    counts, edges = np.histogram(found.sharpe, bins=BINS)
    percentiles = zip(TAILS, np.percentile(found.sharpe, TAILS), strict=True)
    return {
        "permutations": len(found.sharpe),
        "seed": seed,
        "own": own,
        "p": share_as_good(own, found.sharpe),
        "percentiles": {str(p): tidy_one(float(value)) for p, value in percentiles},
        "edges": tidy(edges),
        "counts": counts.tolist(),
        "entries": found.wanted,
        "drawn_entries": float(found.entries.mean()),
    }
