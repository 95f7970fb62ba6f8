"""The chained out-of-sample curve by calendar: months, years, and a rolling Sharpe ratio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kobe_assets.report.analysis.results import Curve, StrategyResult, evidence_curve, matched_returns, on_sessions
from kobe_assets.research.metrics import YEAR
from kobe_assets.research.panel import Floats

if TYPE_CHECKING:
    import pandas as pd

ROLLING_SESSIONS = 126
"""Half a year: long enough for a Sharpe ratio to mean something, short enough to see it change."""
FIGURE_DIGITS = 6
MILLIONTHS, THOUSANDTHS, HUNDREDTHS = 1e6, 1e3, 1e2


def tidy(values: Any, digits: int = FIGURE_DIGITS) -> list[float | None]:
    """Floats cut to significant digits, None where not finite: what the page embeds."""
    return [float(f"{v:.{digits}g}") if v - v == 0.0 else None for v in np.asarray(values, dtype=float).tolist()]


def tidy_one(value: float | None, digits: int = FIGURE_DIGITS) -> float | None:
    """One float as `tidy` would cut it."""
    return None if value is None else tidy([value], digits)[0]


def pack_days(sessions: Any) -> list[int]:
    """Sessions as days since 1970, each after the first as the distance from the one before."""
    days = np.asarray(sessions, dtype="datetime64[D]").astype(np.int64)
    return [int(day) for day in np.diff(days, prepend=0)]


def differences(values: Floats) -> list[int | None]:
    """Each defined value as its distance from the defined one before it; null where undefined."""
    known = np.isfinite(values)
    whole = np.rint(values[known]).astype(np.int64)
    steps = iter(np.diff(whole, prepend=0).tolist())
    return [next(steps) if defined else None for defined in known.tolist()]


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


def exposure_of(book: StrategyResult) -> tuple[Floats, Floats] | None:
    """Share of the account in the market, and positions, at the close of each session of the chain; None where unknown."""
    if book.curve.empty or book.holdings.empty:
        return None
    keys = ["fold", "session"]
    found = book.curve[[*keys, "equity"]].merge(book.holdings[[*keys, "positions", "invested"]], on=keys, how="left")
    equity = found["equity"].to_numpy(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(equity > 0, found["invested"].fillna(0.0).to_numpy(float) / equity, 0.0)
    return share, found["positions"].fillna(0).to_numpy(float)


def curve_payload(book: StrategyResult, benchmark: Curve | None) -> dict[str, Any]:
    """The book's curves as the page draws them, all on the sessions of its chain but the ghost, which brings its own days.

    Growth in millionths, exposure in thousandths, the rolling ratio in hundredths, each as the distance from the value before.
    What follows from these, falls and holding with the share `at_work` of the money, static/core.js works out.
    """
    ghost = evidence_curve(book.evidence, "in_sample")
    matched = matched_returns(book, benchmark)
    at_work = exposure_of(book)
    return {
        "growth": differences(book.curve["growth"].to_numpy(float) * MILLIONTHS),
        "at_work": None if matched is None else tidy_one(book.figure("exposure")),
        "ghost": {"days": pack_days(ghost.sessions), "growth": differences(ghost.growth * MILLIONTHS)} if ghost else None,
        "exposure": None if at_work is None else differences(at_work[0] * THOUSANDTHS),
        "positions": None if at_work is None else differences(at_work[1]),
        "rolling": differences(rolling_sharpe(book.curve["daily_return"].to_numpy(float)) * HUNDREDTHS),
        "rolling_sessions": ROLLING_SESSIONS,
        **calendar_payload(book.curve, matched),
    }


def calendar_payload(curve: pd.DataFrame, held: Floats | None = None) -> dict[str, Any]:
    """Months and years of a curve as the page draws them. held: daily returns beside it."""
    return {
        "months": [[y, m, tidy_one(v, 4)] for y, m, v in months(curve)],
        "years": [[y, tidy_one(v, 4), tidy_one(h, 4)] for y, v, h in years(curve, held)],
    }


def chain_payload(book: StrategyResult, benchmark: Curve | None, chosen: Curve | None = None) -> dict[str, Any]:
    """The sessions of the book's chain and buy and hold on them, of the universe and of what was chosen beside it.

    Books over the same sessions share them.
    """
    sessions = book.curve["session"].to_numpy()

    def on_them(curve: Curve | None) -> list[int | None] | None:
        return differences(on_sessions(curve, sessions) * MILLIONTHS) if curve and len(sessions) else None

    return {"days": pack_days(sessions), "benchmark": on_them(benchmark), "chosen": on_them(chosen)}
