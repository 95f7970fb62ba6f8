"""What the trades of a book look like: results in units of risk, exits, holding, excursions, and how few made the profit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from kobe_assets.report.analysis.criteria import TOP_TRADES, top_share
from kobe_assets.report.analysis.curves import tidy, tidy_one
from kobe_assets.report.analysis.results import StrategyResult
from kobe_assets.research.panel import Floats, Ints

R_EDGES = np.arange(-3.0, 4.01, 0.25)
"""Results beyond the ends are counted in the outer bins."""
MAX_BARS_SHOWN = 20
"""Trades that were held longer are counted with it."""
EXCURSIONS_SHOWN = 800
"""Points of the excursion chart; of more trades, evenly spaced ones in order of entry."""
WITHOUT_BEST = 20
TOP_SYMBOLS = 5
ENDS_SHOWN = 10
"""Symbols that are shown from each end of their ranking by profit."""

EXIT_MEANING = {
    "stop": "the protective stop was hit",
    "rsi_exit": "the rebound came: RSI back above its exit level",
    "time_stop": "held as long as allowed",
    "delisted": "the symbol stopped trading",
    "window_end": "the test window ended",
}


def summary(trades: pd.DataFrame) -> dict[str, Any]:
    """Histogram of R, exits (count, profit) and holding of a set of trades."""
    return _summaries(trades, [np.arange(len(trades))])[0]


def _summaries(trades: pd.DataFrame, parts: Sequence[Ints]) -> list[dict[str, Any]]:
    """The summaries of some rows each; the columns are taken out of the table once for all of them."""
    r, pnl = trades["r"].to_numpy(float), trades["pnl"].to_numpy(float)
    held = np.clip(trades["bars_held"].to_numpy(int), 0, MAX_BARS_SHOWN)
    codes, reasons = _reasons(trades)
    return [_summary(r[rows], pnl[rows], held[rows], codes[rows], reasons) for rows in parts]


def _summary(r: Floats, pnl: Floats, held: Ints, codes: Ints, reasons: Sequence[tuple[str, int]]) -> dict[str, Any]:
    known = r[np.isfinite(r)]
    return {
        "n": len(r),
        "won": int((pnl > 0).sum()),
        "pnl": tidy_one(float(pnl.sum())),
        "mean_r": tidy_one(float(known.mean()) if len(known) else None, 4),
        "r": np.histogram(np.clip(known, R_EDGES[0], R_EDGES[-1] - 1e-9), R_EDGES)[0].tolist(),
        "held": np.bincount(held, minlength=1).tolist(),
        "exits": [[name, count, tidy_one(profit)] for name, count, profit in _by_exit(pnl, codes, reasons)],
    }


def by_exit(trades: pd.DataFrame) -> list[tuple[str, int, float]]:
    """(reason, trades, profit) of each reason that a trade left for, in order of its name."""
    return _by_exit(trades["pnl"].to_numpy(float), *_reasons(trades))


def _reasons(trades: pd.DataFrame) -> tuple[Ints, list[tuple[str, int]]]:
    """The code of each trade's reason, and (reason, code) in order of the name."""
    codes, names = pd.factorize(trades["exit_reason"])
    return codes, sorted((str(name), code) for code, name in enumerate(names))


def _by_exit(pnl: Floats, codes: Ints, reasons: Sequence[tuple[str, int]]) -> list[tuple[str, int, float]]:
    parts = ((name, pnl[codes == code]) for name, code in reasons)
    return [(name, len(part), float(part.sum())) for name, part in parts if len(part)]


def why_none_averaged(name: str, has_trades: bool) -> str:
    """Why `wins_and_losses` has no such average."""
    return f"no {'winning' if name == 'average_win' else 'losing'} trade" if has_trades else "no trade"


def wins_and_losses(pnl: Floats) -> dict[str, float | None]:
    """Average win, average loss and the longest run of losses, of profits in order; None where there is none to average.

    A trade is lost unless it made money, as in the win rate.
    """
    lost = pnl <= 0
    run = longest = 0
    for one in lost.tolist():
        run = run + 1 if one else 0
        longest = max(longest, run)
    return {
        "average_win": float(pnl[~lost].mean()) if (~lost).any() else None,
        "average_loss": float(pnl[lost].mean()) if lost.any() else None,
        "longest_losing_run": longest,
    }


def without_best(trades: pd.DataFrame) -> list[float]:
    """Net profit after taking away the best 0, 1, 2, … `WITHOUT_BEST` trades."""
    pnl = np.sort(trades["pnl"].to_numpy(float))[::-1]
    taken = np.concatenate(([0.0], np.cumsum(pnl[:WITHOUT_BEST])))
    return [float(pnl.sum() - gone) for gone in taken]


def by_symbol(trades: pd.DataFrame) -> list[tuple[str, int, float]]:
    """(symbol, trades, profit), most profitable first."""
    table = trades.groupby("symbol", sort=True, observed=True)["pnl"].agg(["size", "sum"])
    table = table.sort_values("sum", ascending=False, kind="stable")
    return [(str(symbol), int(size), float(total)) for symbol, size, total in table.itertuples(name=None)]


def symbol_share(symbols: list[tuple[str, int, float]]) -> float | None:
    """Share of the net profit that the best `TOP_SYMBOLS` symbols made; None where there is no net profit."""
    total = sum(profit for _, _, profit in symbols)
    return sum(profit for _, _, profit in symbols[:TOP_SYMBOLS]) / total if total > 0 else None


def trade_payload(book: StrategyResult) -> dict[str, Any]:
    """The trades as the page draws them; key "0" stands for all folds."""
    symbols = by_symbol(book.trades)
    of_fold = book.trades["fold"].to_numpy(np.int64)
    folds = np.unique(of_fold)
    whole, *parts = _summaries(book.trades, [np.arange(len(of_fold)), *(np.flatnonzero(of_fold == fold) for fold in folds)])
    shown = excursions(book.trades)
    return {
        "r_edges": R_EDGES.tolist(),
        "held_most": MAX_BARS_SHOWN,
        "by_fold": {"0": whole, **{str(fold): part for fold, part in zip(folds.tolist(), parts, strict=True)}},
        "points": {
            "fold": shown["fold"].astype(int).tolist(),
            "mae": tidy(shown["mae_r"], 3),
            "mfe": tidy(shown["mfe_r"], 3),
            "r": tidy(shown["r"], 3),
            "of": len(book.trades),
        },
        "without_best": tidy(without_best(book.trades)),
        "top_share": tidy_one(top_share(book), 4),
        "top_trades": TOP_TRADES,
        "symbol_share": tidy_one(symbol_share(symbols), 4),
        "top_symbols": TOP_SYMBOLS,
        "symbols": [[name, count, tidy_one(profit)] for name, count, profit in _ends(symbols)],
        "symbol_count": len(symbols),
    }


def excursions(trades: pd.DataFrame) -> pd.DataFrame:
    """The trades whose excursions are drawn: all that have a risk, or `EXCURSIONS_SHOWN` of them spaced evenly."""
    ordered = trades[np.isfinite(trades["r"].to_numpy(float))]
    if len(ordered) <= EXCURSIONS_SHOWN:
        return ordered
    return ordered.iloc[np.linspace(0, len(ordered) - 1, EXCURSIONS_SHOWN).round().astype(int)]


def _ends(symbols: list[tuple[str, int, float]]) -> list[tuple[str, int, float]]:
    """The best and the worst, or all where there are few."""
    return symbols if len(symbols) <= 2 * ENDS_SHOWN else symbols[:ENDS_SHOWN] + symbols[-ENDS_SHOWN:]
