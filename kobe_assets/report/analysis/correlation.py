"""The strategies beside each other and in one book: how alike their days are, and what each adds to the book."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kobe_assets.report.analysis.results import StrategyResult, as_number, parse_object
from kobe_assets.research.metrics import curve_figures
from kobe_assets.research.robustness import Plan, Rehearsal
from kobe_resources.settings.models import BOOK

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from kobe_assets.research.panel import Floats
    from kobe_assets.research.walk_forward import Found, Market

SHOWN = ("sharpe", "cagr", "max_drawdown")
UNKNOWN: dict[str, float | None] = dict.fromkeys(SHOWN)


def correlations(returns: Mapping[str, Floats]) -> list[list[float | None]]:
    """Correlation of daily returns of every two names, on the same sessions; None where one of them never varies."""
    series = list(returns.values())

    def of(a: Floats, b: Floats) -> float | None:
        if len(a) < 2 or len(a) != len(b) or np.ptp(a) == 0 or np.ptp(b) == 0:
            return None
        return as_number(np.corrcoef(a, b)[0, 1])

    return [[of(a, b) for b in series] for a in series]


def without_each(market: Market, plan: Plan, signals: Mapping[str, Found]) -> dict[str, Any]:
    """The book's figures out of sample, whole and without each of its strategies in turn, all else as it was.

    signals: of each strategy on this market.
    """
    parts = plan.parts

    def figures(kept: Sequence[int]) -> dict[str, float | None]:
        some = [parts[k] for k in kept]
        rest = Plan(some[0][0], plan.folds, some[0][1], tuple(some[1:]), tuple(plan.weights[k] for k in kept))
        found = curve_figures(Rehearsal(market, rest, found=signals).out_of_sample())
        return {name: found[name] for name in SHOWN}

    everything = range(len(parts))
    # Nothing is left without the only one.
    left_out = everything if len(parts) > 1 else ()
    without = {parts[k][0].name: figures([other for other in everything if other != k]) for k in left_out}
    return {"whole": figures(everything), "without": without}


def portfolio_of(books: Sequence[StrategyResult], mode: str) -> dict[str, Any] | None:
    """What the page says of the strategies together in one mode; None with fewer than two books.

    names, correlation: of the strategies alone. adds: a row for each strategy of the combined book: trades, profit (dollars)
    and its share in it, correlation with the rest, and what the book's figures would be without it.
    """
    alone = {book.strategy: book for book in books if book.mode == mode and book.strategy != BOOK and len(book.curve)}
    combined = next((book for book in books if (book.strategy, book.mode) == (BOOK, mode)), None)
    if len(alone) < 2 and combined is None:
        return None
    returns = {name: book.curve["daily_return"].to_numpy(float) for name, book in alone.items()}
    return {
        "mode": mode,
        "names": list(returns),
        "correlation": correlations(returns),
        "adds": _adds(combined, returns) if combined is not None else [],
        "whole": UNKNOWN | (_measured(combined).get("whole", {}) if combined is not None else {}),
    }


def _measured(book: StrategyResult) -> dict[str, Any]:
    return parse_object(book.evidence.get("portfolio"))


def _adds(book: StrategyResult, returns: Mapping[str, Floats]) -> list[dict[str, Any]]:
    measured = _measured(book).get("without", {})
    pnl: pd.Series[Any] = book.trades["pnl"].groupby(book.trades["entered_by"].astype(str)).sum()
    counts = book.trades["entered_by"].astype(str).value_counts()
    total = float(book.trades["pnl"].sum())
    rows = []
    for name in measured or sorted(pnl.index):
        others = [series for other, series in returns.items() if other != name and other in measured]
        rest = (
            correlations({"own": returns[name], "rest": np.sum(others, axis=0)})[0][1] if name in returns and others else None
        )
        own = float(pnl.get(name, 0.0))
        rows.append(
            {
                "strategy": name,
                "trades": int(counts.get(name, 0)),
                "pnl": own,
                "share": own / total if total > 0 else None,
                "with_rest": rest,
                "without": UNKNOWN | measured.get(name, {}),
            }
        )
    return rows
