"""The figures of a curve and its trades (rules, section 6); None where a figure is undefined."""

from __future__ import annotations

import math

import numpy as np

from kobe_assets.research.panel import Floats

YEAR = 252
"""Sessions a year, for annualising."""

FIGURES = (
    "sharpe", "sortino", "cagr", "volatility", "max_drawdown", "calmar",
    "win_rate", "profit_factor", "expectancy", "exposure", "net_pnl",
)  # fmt: skip

WHY_UNDEFINED = {
    "sharpe": "fewer than two sessions, or returns that never vary",
    "sortino": "no losing session",
    "cagr": "no session",
    "volatility": "fewer than two sessions",
    "max_drawdown": "no session",
    "calmar": "no drawdown",
    "win_rate": "no trade",
    "profit_factor": "no losing trade",
    "expectancy": "no trade",
    "exposure": "no session",
}


def why_undefined(name: str, has_trades: bool) -> str:
    """Why a figure has no value: without a trade there is no losing one either, but that is not the reason."""
    return WHY_UNDEFINED["win_rate"] if name == "profit_factor" and not has_trades else WHY_UNDEFINED[name]


def daily_returns(equity: Floats, initial_cash: float) -> Floats:
    """(…, sessions) simple returns of equity curves; the day before the first is `initial_cash`.

    None is below -1, and after an equity of 0 or less they are 0: what is lost cannot be lost again.
    """
    before = np.empty_like(equity)
    before[..., :1], before[..., 1:] = initial_cash, equity[..., :-1]
    if equity.min(initial=np.inf) > 0.0:
        returns: Floats = equity / before - 1.0
        return returns
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(before > 0.0, np.maximum(equity / before - 1.0, -1.0), 0.0)


def chain_returns(returns: Floats) -> Floats:
    """(…, sessions) the returns of windows in a row, 0 after one of -1: a chain that is at 0 stays there."""
    if returns.min(initial=0.0) > -1.0:
        return returns
    is_lost = np.maximum.accumulate(returns <= -1.0, axis=-1)
    stays = np.zeros_like(is_lost)
    stays[..., 1:] = is_lost[..., :-1]
    return np.where(stays, 0.0, returns)


def sharpe(returns: Floats) -> float:
    """Annualised Sharpe ratio; NaN with fewer than two returns or where they never vary."""
    deviation = returns.std(ddof=1) if len(returns) > 1 else 0.0
    return float(returns.mean() / deviation * math.sqrt(YEAR)) if deviation > 0 else math.nan


def sharpe_of_each(returns: Floats) -> Floats:
    """(curves) the Sharpe ratio of every row of (curves, sessions) returns, to the bit that of `sharpe`."""
    if returns.shape[1] < 2:
        return np.full(len(returns), math.nan)
    deviation = returns.std(axis=1, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(deviation > 0, returns.mean(axis=1) / deviation * math.sqrt(YEAR), math.nan)


def curve_figures(returns: Floats) -> dict[str, float | None]:
    """Sharpe, Sortino, CAGR, volatility, maximum drawdown and Calmar of daily returns.

    Growth is compounded from the returns, so that a chain of folds and a single window are judged alike; what is ruined grows
    by -1 a year.
    """
    n = len(returns)
    if n == 0:
        return dict.fromkeys(("sharpe", "sortino", "cagr", "volatility", "max_drawdown", "calmar"))
    growth = np.cumprod(1.0 + returns)
    mean = float(returns.mean())
    deviation = float(returns.std(ddof=1)) if n > 1 else 0.0
    downside = math.sqrt(float(np.mean(np.minimum(returns, 0.0) ** 2)))
    cagr = float(growth[-1] ** (YEAR / n) - 1.0)
    peak = np.maximum.accumulate(np.concatenate([[1.0], growth]))[1:]
    drawdown = float(min(np.min(growth / peak - 1.0), 0.0))
    return {
        "sharpe": sharpe(returns) if deviation > 0 else None,
        "sortino": mean / downside * math.sqrt(YEAR) if downside > 0 else None,
        "cagr": cagr,
        "volatility": deviation * math.sqrt(YEAR) if n > 1 else None,
        "max_drawdown": drawdown,
        "calmar": cagr / -drawdown if drawdown < 0 else None,
    }


def trade_figures(pnl: Floats) -> dict[str, float | None]:
    """Win rate, profit factor and expectancy (dollars) of the trades' profits and losses."""
    if len(pnl) == 0:
        return {"win_rate": None, "profit_factor": None, "expectancy": None}
    won, lost = float(pnl[pnl > 0].sum()), float(-pnl[pnl <= 0].sum())
    return {
        "win_rate": float(np.mean(pnl > 0)),
        "profit_factor": won / lost if lost > 0 else None,
        "expectancy": float(pnl.mean()),
    }


def all_figures(equity: Floats, exposure: Floats, pnl: Floats, initial_cash: float) -> dict[str, float | None]:
    """Every figure of a window, in the order of `FIGURES`."""
    found = {
        **curve_figures(daily_returns(equity, initial_cash)),
        **trade_figures(pnl),
        "exposure": float(exposure.mean()) if len(exposure) else None,
        "net_pnl": float(equity[-1] - initial_cash) if len(equity) else 0.0,
    }
    return {name: found[name] for name in FIGURES}
