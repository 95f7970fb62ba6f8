"""Rules section 6: the figures of one equity curve and its trades; None where a figure is undefined.

Readings
- Without trades win_rate, profit_factor and expectancy are undefined (0/0), as is volatility for fewer than two returns.
- A curve that ends at 0 has a cagr of -1.
- profit_factor is undefined where the others sum to 0, even if a trade of pnl 0 is among them.
- A chained curve starts at initial_cash and grows by the folds' daily returns; trade figures and exposure pool the folds' own.
- exposure is taken after the session's steps: 0 on the last session of a window.
"""

from __future__ import annotations

import math
from typing import Any

Value = float | None


def daily_returns(equity: list[float], initial_cash: float) -> list[float]:
    pairs = zip([initial_cash, *equity], equity, strict=False)
    return [max(now / before - 1, -1.0) if before > 0 else 0.0 for before, now in pairs]


def mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def deviation(values: list[float]) -> Value:
    """Standard deviation, ddof 1."""
    if len(values) < 2:
        return None
    middle = mean(values)
    return math.sqrt(math.fsum((x - middle) ** 2 for x in values) / (len(values) - 1))


def sharpe(returns: list[float]) -> Value:
    spread = deviation(returns)
    return mean(returns) / spread * math.sqrt(252) if spread else None


def max_drawdown(equity: list[float], initial_cash: float) -> float:
    peak, worst = initial_cash, 0.0
    for value in equity:
        peak = max(peak, value)
        worst = min(worst, value / peak - 1)
    return worst


def figures_of(returns: list[float], pnls: list[float], exposure: list[float], initial_cash: float) -> dict[str, Value]:
    equity, value = [], initial_cash
    for r in returns:
        value *= 1 + r
        equity.append(value)
    n = len(returns)
    downside = math.sqrt(mean([min(r, 0.0) ** 2 for r in returns]))
    spread = deviation(returns)
    cagr = (equity[-1] / initial_cash) ** (252 / n) - 1
    drawdown = max_drawdown(equity, initial_cash)
    wins = [x for x in pnls if x > 0]
    losses = -math.fsum(x for x in pnls if not x > 0)
    return {
        "sharpe": sharpe(returns),
        "sortino": mean(returns) / downside * math.sqrt(252) if downside else None,
        "cagr": cagr,
        "volatility": None if spread is None else spread * math.sqrt(252),
        "max_drawdown": drawdown,
        "calmar": cagr / -drawdown if drawdown else None,
        "win_rate": len(wins) / len(pnls) if pnls else None,
        "profit_factor": math.fsum(wins) / losses if losses else None,
        "expectancy": mean(pnls) if pnls else None,
        "exposure": mean(exposure),
        "net_pnl": equity[-1] - initial_cash,
    }


def figures_of_run(run: dict[str, Any], initial_cash: float) -> dict[str, Value]:
    returns = daily_returns([value for _, value in run["equity"]], initial_cash)
    figures = figures_of(returns, [t["pnl"] for t in run["trades"]], run["exposure"], initial_cash)
    # A ruin may end below zero, where no chain of returns leads.
    return figures | {"net_pnl": run["equity"][-1][1] - initial_cash}
