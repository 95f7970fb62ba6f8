"""What the days of a run were like: the worst of them, and how they moved with holding."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kobe_assets.report.analysis.correlation import correlations

if TYPE_CHECKING:
    from kobe_assets.research.panel import Floats

TAIL = 20
"""The worst session in so many is the tail."""
WHY_UNDEFINED = {
    "value_at_risk": f"fewer than {TAIL} sessions",
    "expected_shortfall": f"fewer than {TAIL} sessions",
    "beta": "what is held never moves",
    "correlation": "the account, or what is held, never moves",
}


def worst_days(returns: Floats) -> dict[str, float | None]:
    """Of the worst session in twenty (rounded up) the mildest return and the mean; None of fewer sessions than twenty.

    So many days, and not all at or below a quantile: a strategy that is seldom in the market has a quantile of 0, and its idle
    days would water the mean down.
    """
    if len(returns) < TAIL:
        return {"value_at_risk": None, "expected_shortfall": None}
    worst = np.sort(returns)[: -(-len(returns) // TAIL)]
    return {"value_at_risk": float(worst[-1]), "expected_shortfall": float(worst.mean())}


def beside_holding(returns: Floats, held: Floats) -> dict[str, float | None]:
    """How daily returns move with those of holding: slope (covariance / variance of holding), and correlation."""
    moves = len(held) > 1 and np.ptp(held) > 0
    return {
        "beta": float(np.cov(returns, held)[0, 1] / np.var(held, ddof=1)) if moves else None,
        "correlation": correlations({"own": returns, "held": held})[0][1],
    }
