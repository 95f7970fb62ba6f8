"""When did it work: above or below the universe's 200-day average, in calm or stormy markets, and through known crises.

The universe is the equal-weight buy-and-hold curve. A day's regime is known at the close before it; the volatility terciles
are cut over the whole sample, so they describe and could not have been traded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from kobe_assets.report.analysis.curves import tidy_one
from kobe_assets.report.analysis.results import Curve, StrategyResult, matched_returns, on_sessions, returns_of, sharpe
from kobe_assets.research.metrics import YEAR
from kobe_assets.research.panel import Floats

TREND_SESSIONS = 200
VOLATILITY_SESSIONS = 20

CRISES = (
    ("Dot-com crash", "2000-03-27", "2002-10-09"),
    ("September 2001", "2001-09-10", "2001-09-21"),
    ("Financial crisis", "2007-10-10", "2009-03-09"),
    ("Flash crash and Greece", "2010-04-26", "2010-07-02"),
    ("Euro and US downgrade", "2011-07-25", "2011-10-03"),
    ("Yuan and oil", "2015-08-18", "2016-02-11"),
    ("Volatility spike", "2018-01-29", "2018-02-08"),
    ("Late 2018", "2018-09-21", "2018-12-24"),
    ("Covid", "2020-02-20", "2020-03-23"),
    ("Rates", "2022-01-04", "2022-10-12"),
    ("Tariffs", "2025-02-20", "2025-04-08"),
)
"""First session after a peak of the S&P 500 (a local one from 2011 to 2018) to its trough; 2001-09: around the closure."""


@dataclass(frozen=True)
class Regime:
    """A book in one kind of market: sessions, share of them, its return and Sharpe there, and buy-and-hold's return.

    own, held: compounded over the regime's sessions; matched: held with as much money at work
    as the book. worst: deepest fall inside a crisis, None for the other kinds.
    """

    kind: str
    name: str
    sessions: int
    share: float
    own: float
    sharpe: float | None
    held: float | None
    matched: float | None = None
    worst: float | None = None

    def pace(self, total: float | None) -> float | None:
        """A return over the regime's sessions as a yearly pace; a crisis stays as it was."""
        if total is None or self.kind == "crisis" or self.sessions == 0 or total <= -1.0:
            return total
        return float((1.0 + total) ** (YEAR / self.sessions) - 1.0)


class _Daily(NamedTuple):
    """Daily returns over the chain: the book's, buy-and-hold's, and that with as much money at work."""

    sessions: Any
    own: Floats
    held: Floats
    matched: Floats | None


def regimes_of(book: StrategyResult, benchmark: Curve | None) -> tuple[list[Regime], str]:
    """The regimes of the book's chain, and why there are none or fewer."""
    if book.curve.empty:
        return [], "no out-of-sample sessions"
    if benchmark is None:
        return [], "no buy-and-hold curve of the universe in this run"
    sessions = book.curve["session"].to_numpy().astype("datetime64[D]")
    daily = _Daily(
        sessions,
        book.curve["daily_return"].to_numpy(float),
        returns_of(on_sessions(benchmark, sessions)),
        matched_returns(book, benchmark),
    )
    found = [*_trend(benchmark, daily), *_volatility(benchmark, daily), *_crises(daily)]
    return found, "" if found else "the buy-and-hold curve is shorter than the 200 sessions its average needs"


def regime_payload(regimes: list[Regime]) -> list[list[Any]]:
    """Regimes as the page draws them: kind, name, own and matched return a year (of the span for crises), Sharpe."""
    rows = []
    for regime in regimes:
        own, held = (tidy_one(regime.pace(total), 4) for total in (regime.own, regime.matched))
        rows.append([regime.kind, regime.name, own, held, tidy_one(regime.sharpe, 3)])
    return rows


def _trend(benchmark: Curve, daily: _Daily) -> list[Regime]:
    average = np.full(len(benchmark), np.nan)
    if len(benchmark) >= TREND_SESSIONS:
        sums = np.cumsum(np.concatenate(([0.0], benchmark.growth)))
        average[TREND_SESSIONS - 1 :] = (sums[TREND_SESSIONS:] - sums[:-TREND_SESSIONS]) / TREND_SESSIONS
    gap = _known_before(benchmark, benchmark.growth - average, daily.sessions)
    pairs = (("above its 200-day average", gap > 0), ("below its 200-day average", gap <= 0))
    return [_regime("trend", name, rows, daily) for name, rows in pairs if rows.any()]


def _volatility(benchmark: Curve, daily: _Daily) -> list[Regime]:
    moves = np.diff(np.log(benchmark.growth), prepend=np.nan)
    swing = np.full(len(benchmark), np.nan)
    if len(moves) > VOLATILITY_SESSIONS:
        swing[VOLATILITY_SESSIONS:] = np.lib.stride_tricks.sliding_window_view(moves[1:], VOLATILITY_SESSIONS).std(
            axis=1, ddof=1
        )
    level = _known_before(benchmark, swing, daily.sessions)
    known = level[np.isfinite(level)]
    if not len(known):
        return []
    low, high = np.quantile(known, (1 / 3, 2 / 3))
    thirds = (("calm third", level <= low), ("middle third", (level > low) & (level <= high)), ("stormy third", level > high))
    return [_regime("volatility", name, rows, daily) for name, rows in thirds if rows.any()]


def _crises(daily: _Daily) -> list[Regime]:
    found, sessions = [], daily.sessions
    for name, since, until in CRISES:
        rows = (sessions >= np.datetime64(since)) & (sessions <= np.datetime64(until))
        if rows.any():
            growth = np.cumprod(1.0 + daily.own[rows])
            worst = float(np.min(growth / np.maximum.accumulate(np.concatenate(([1.0], growth)))[1:] - 1.0))
            whole = sessions[0] <= np.datetime64(since) and sessions[-1] >= np.datetime64(until)
            label = f"{name} ({since[:7]} to {until[:7]}{'' if whole else ', in part'})"
            found.append(_regime("crisis", label, rows, daily, worst))
    return found


def _regime(kind: str, name: str, rows: Any, daily: _Daily, worst: float | None = None) -> Regime:
    return Regime(
        kind=kind,
        name=name,
        sessions=int(rows.sum()),
        share=float(rows.mean()),
        own=float(np.prod(1.0 + daily.own[rows])) - 1.0,
        sharpe=sharpe(daily.own[rows]),
        held=_compounded(daily.held[rows]),
        matched=None if daily.matched is None else _compounded(daily.matched[rows]),
        worst=worst,
    )


def _compounded(returns: Floats) -> float | None:
    total = float(np.prod(1.0 + returns)) - 1.0
    return total if np.isfinite(total) else None


def _known_before(benchmark: Curve, values: Floats, sessions: Any) -> Floats:
    """The value at the last benchmark session before each session; NaN where there is none."""
    at = np.searchsorted(benchmark.sessions, sessions, side="left") - 1
    return np.where(at >= 0, values[np.maximum(at, 0)], np.nan)
