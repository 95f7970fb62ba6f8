"""What else the same trades could have come to: the evidence `resampling` of a book, and its part of the page."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from kobe_assets.report.analysis.curves import tidy, tidy_one
from kobe_assets.research.resampling import resample

if TYPE_CHECKING:
    import pandas as pd

    from kobe_assets.research.panel import Floats

FAN = (5, 25, 50, 75, 95)
"""Percentiles of wealth that the fan shows."""
TAILS = (5, 50, 95)
FALLS = (0.1, 0.2, 0.3)
"""Falls from a peak whose chance is told."""
BINS = 40


def seed_of(pin: str, what: str, strategy: str, mode: str) -> int:
    """The seed of one book's draws: equal settings draw alike on every machine. pin: as `draws_pin`."""
    return int.from_bytes(hashlib.sha256(f"{pin}|{what}|{strategy}|{mode}".encode()).digest()[:6], "big")


def session_returns(trades: pd.DataFrame, equity: pd.DataFrame, initial_cash: float) -> Floats:
    """(entry sessions, in order) profit of the trades entered at that open, over the fold's equity at the close before.

    trades, equity: one book's rows of wf_trades and wf_equity.
    """
    import pandas as pd

    days = equity.sort_values(["fold", "session"], kind="stable")
    before = days.groupby("fold")["equity"].shift().fillna(initial_cash).to_numpy(float)
    index = pd.MultiIndex.from_arrays([days["fold"], pd.to_datetime(days["session"])])
    pnl = trades.groupby(["fold", "entry_session"], sort=True)["pnl"].sum()
    base = pd.Series(before, index=index).reindex(pnl.index).to_numpy(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.where(base > 0, pnl.to_numpy(float) / base, 0.0)
    return np.maximum(found, -1.0)


def resampling(
    trades: pd.DataFrame, equity: pd.DataFrame, initial_cash: float, resamples: int, seed: int
) -> dict[str, Any] | None:
    """The evidence of one book; None where nothing is to be drawn, or from fewer than two entry sessions.

    steps, fan (percentile → dollars), actual (the real order, dollars); end and worst: percentiles and a histogram;
    chance: fall → share of histories that fell so far; loses: share that end below the start.
    """
    returns = session_returns(trades, equity, initial_cash)
    # Of one entry session every history is the same, and would say that no fall can come.
    found = resample(returns, resamples, seed) if len(returns) > 1 else None
    if found is None:
        return None
    order = np.concatenate([[1.0], np.cumprod(1.0 + returns)])
    fan = np.percentile(found.levels, FAN, axis=1) * initial_cash
    return {
        "resamples": resamples,
        "seed": seed,
        "entry_sessions": len(returns),
        "steps": found.steps.tolist(),
        "fan": {str(p): tidy(level) for p, level in zip(FAN, fan, strict=True)},
        "actual": tidy(order[found.steps] * initial_cash),
        "end": _distribution(found.end * initial_cash),
        "worst": _distribution(found.worst),
        "chance": {f"{fall:g}": float(np.mean(found.worst <= -fall)) for fall in FALLS},
        "loses": float(np.mean(found.end < 1.0)),
    }


def _distribution(values: Floats) -> dict[str, Any]:
    counts, edges = np.histogram(values, bins=BINS)
    percentiles = zip(TAILS, np.percentile(values, TAILS), strict=True)
    return {
        "percentiles": {str(p): tidy_one(float(value)) for p, value in percentiles},
        "edges": tidy(edges),
        "counts": counts.tolist(),
    }
