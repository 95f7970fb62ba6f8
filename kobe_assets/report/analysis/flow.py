"""From signals to trades: what was refused and why, and how big an order is beside what the market trades.

A signal of the session before the test window counts when it meets the window's first open, as in rules section 4.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from kobe_assets.report.analysis.results import StrategyResult
from kobe_assets.research.panel import Floats

MEANING = {
    "already_open": "the symbol was held already",
    "no_bar": "the symbol did not trade at that open",
    "no_stop": "there was no stop to size it by",
    "price_out_of_bounds": "the price was outside the allowed bounds",
    "gap_too_wide": "the open was too far from the signal's close",
    "shorts_disabled": "short sales are switched off",
    "below_one_share": "the order would not buy one whole share",
    "exceeds_order_budget": "more than one order may carry",
    "too_many_positions": "as many positions as allowed were open",
    "exceeds_daily_budget": "the day's budget was used up",
    "exceeds_exposure": "more than all positions together may be worth",
    "insufficient_cash": "not enough cash was left",
    "beyond_limit": "the auction opened beyond the limit",
    "not_reached": "the price did not come to the limit",
    "not_finite": "a price was missing or senseless",
}
MONEY_REASONS = (
    *("price_out_of_bounds", "below_one_share", "exceeds_order_budget", "too_many_positions", "exceeds_daily_budget"),
    *("exceeds_exposure", "insufficient_cash"),
)
"""Refusals that a bigger budget would lift."""
TARGET_SHARE = 0.01
"""Share of a day's dollar volume above which an order is no longer small."""


def refusals(book: StrategyResult) -> dict[str, int]:
    """Refused signals of all folds by reason, most frequent first."""
    total: Counter[str] = Counter()
    for refused in book.folds["refused"].tolist():
        total.update(by_frequency(refused))
    return by_frequency(total)


def by_frequency(refused: Mapping[str, Any]) -> dict[str, int]:
    """Refused signals by reason as a fold's `refused` tells them, most frequent first."""
    counts = {str(reason): int(count) for reason, count in refused.items() if count and reason != "accepted"}
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def traded(book: StrategyResult) -> Counter[int]:
    """Fold → signals that became trades (fold 0: all folds)."""
    folds, counts = np.unique(book.trades["fold"].to_numpy(np.int64), return_counts=True)
    return Counter({0: len(book.trades), **dict(zip(folds.tolist(), counts.tolist(), strict=True))})


def flow(book: StrategyResult) -> list[dict[str, Any]]:
    """The waterfall of refusals, of all folds and of each: fold, signals, traded, refused [[reason, count], …]."""
    of_folds = zip(book.folds["fold"].tolist(), map(by_frequency, book.folds["refused"].tolist()), strict=True)
    trades = traded(book)
    return [
        {
            "fold": fold,
            "signals": trades[fold] + sum(refused.values()),
            "traded": trades[fold],
            "refused": list(refused.items()),
        }
        for fold, refused in [(0, refusals(book)), *of_folds]
    ]


def participation(book: StrategyResult) -> Floats:
    """Each trade's entry dollars over the symbol's median dollar volume of that year; trades without one are left out."""
    shares = book.trades["day_share"].to_numpy(float)
    return np.asarray(shares[np.isfinite(shares) & (shares > 0)])


def capacity(book: StrategyResult) -> dict[str, Any] | None:
    """Order size beside the market: quantiles, a histogram in powers of ten, and how far orders could grow.

    room: how many times larger every order could be until the 95th percentile reaches `TARGET_SHARE` of a day's volume.
    """
    shares = participation(book)
    if not len(shares):
        return None
    low, high = np.floor(np.log10(shares.min()) * 2) / 2, np.ceil(np.log10(shares.max()) * 2) / 2
    edges = np.arange(low, max(high, low + 0.25) + 0.125, 0.25)
    counts = np.histogram(np.clip(np.log10(shares), edges[0], edges[-1]), edges)[0]
    median, most = (float(q) for q in np.quantile(shares, (0.5, 0.95)))
    order = float(book.trades["notional"].median())
    return {
        "edges": edges.tolist(), "counts": counts.tolist(), "median": median, "p95": most, "order": order,
        "room": TARGET_SHARE / most, "order_at_target": order * TARGET_SHARE / most, "trades": len(shares),
    }  # fmt: skip
