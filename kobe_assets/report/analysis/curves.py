"""The chained out-of-sample curve by calendar: months, years, and a rolling Sharpe ratio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kobe_assets.report.analysis.results import Curve, Floats, StrategyResult, evidence_curve, matched_returns, on_sessions
from kobe_assets.research.metrics import YEAR

if TYPE_CHECKING:
    import pandas as pd

ROLLING_SESSIONS = 126
"""Half a year: long enough for a Sharpe ratio to mean something, short enough to see it change."""
FIGURE_DIGITS = 6


def tidy(values: Any, digits: int = FIGURE_DIGITS) -> list[float | None]:
    """Floats cut to significant digits, None where not finite: what the page embeds."""
    return [float(f"{v:.{digits}g}") if v - v == 0.0 else None for v in np.asarray(values, dtype=float).tolist()]


def tidy_one(value: float | None, digits: int = FIGURE_DIGITS) -> float | None:
    """One float as `tidy` would cut it."""
    return None if value is None else tidy([value], digits)[0]


def months(curve: pd.DataFrame) -> list[tuple[int, int, float]]:
    """(year, month, compounded return) of each month with a session."""
    if curve.empty:
        return []
    when = curve["session"].dt
    grown = (1.0 + curve["daily_return"]).groupby([when.year.rename("year"), when.month.rename("month")]).prod() - 1.0
    return [(int(year), int(month), float(value)) for (year, month), value in grown.items()]


def years(curve: pd.DataFrame, held: Floats | None) -> list[tuple[int, float, float | None]]:
    """(year, compounded return, compounded return of `held`'s daily returns) of each year with a session."""
    if curve.empty:
        return []
    which = curve["session"].dt.year.to_numpy()
    own = 1.0 + curve["daily_return"].to_numpy(float)
    other = np.full(len(own), np.nan) if held is None else 1.0 + held
    found = []
    for year in np.unique(which).tolist():
        rows = which == year
        held_return = float(np.prod(other[rows])) - 1.0
        found.append((int(year), float(np.prod(own[rows])) - 1.0, held_return if np.isfinite(held_return) else None))
    return found


def rolling_sharpe(returns: Floats, window: int = ROLLING_SESSIONS) -> Floats:
    """Annual Sharpe ratio of the last `window` returns at each session; NaN before the window is full or where it is flat."""
    rolled = np.full(len(returns), np.nan)
    if len(returns) < window:
        return rolled
    views = np.lib.stride_tricks.sliding_window_view(returns, window)
    spread = views.std(axis=1, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        rolled[window - 1 :] = np.where(spread > 1e-12, views.mean(axis=1) / spread * np.sqrt(YEAR), np.nan)
    return rolled


def curve_payload(book: StrategyResult, benchmark: Curve | None) -> dict[str, Any]:
    """The book's curves as the page draws them, all on the sessions of its chain but the ghost, which brings its own days."""
    from kobe_assets.report.page.csv_files import pack_days

    sessions = book.curve["session"].to_numpy()
    ghost = evidence_curve(book.evidence, "in_sample")
    matched = matched_returns(book, benchmark)
    return {
        "days": pack_days(sessions),
        "growth": tidy(book.curve["growth"]),
        "drawdown": tidy(book.curve["drawdown"], 4),
        "benchmark": tidy(on_sessions(benchmark, sessions)) if benchmark and len(sessions) else None,
        "matched": None if matched is None else tidy(np.cumprod(1.0 + matched)),
        "ghost": {"days": pack_days(ghost.sessions), "growth": tidy(ghost.growth)} if ghost else None,
        "rolling": tidy(rolling_sharpe(book.curve["daily_return"].to_numpy(float)), 4),
        "rolling_sessions": ROLLING_SESSIONS,
        "months": [[y, m, tidy_one(v, 4)] for y, m, v in months(book.curve)],
        "years": [[y, tidy_one(v, 4), tidy_one(h, 4)] for y, v, h in years(book.curve, matched)],
    }
