"""Trades that no rule of the strategy ended: cut by the end of a test window, or by the end of the listing."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from kobe_assets.report.analysis.metrics_glossary import show
from kobe_assets.report.analysis.results import StrategyResult

NAMED = 5
"""Ends of listings that are named; of more, their number."""


def told_cuts(book: StrategyResult) -> list[str]:
    """Sentences on the trades of a book that were cut; none where none was."""
    return [text for text in (_cut_by_windows(book), _ended(book)) if text]


def told_ruin(book: StrategyResult) -> list[str]:
    """A sentence on the test windows in which nothing of the account was left; none where there was none."""
    folds = book.trades.loc[book.trades["exit_reason"] == "ruin", "fold"].nunique()
    if not folds:
        return []
    windows = "a test window" if folds == 1 else f"{folds:,} test windows"
    return [f"In {windows} the account was ruined: nothing was left, every position was closed and nothing more was traded."]


def cost_of_zero(trades: pd.DataFrame) -> float:
    """Dollars that the trades with these ends would have made less, had the stock been worth nothing instead of its last close.

    Shorts would have made more. Slippage is in the exit price, fees stay.
    """
    side = (trades["side"] == "long").map({True: 1.0, False: -1.0}).astype(float)
    return float((side * trades["shares"] * trades["exit_price"]).sum())


def ended_listings(trades: pd.DataFrame) -> pd.DataFrame:
    """The trades that left because their listing ended."""
    return trades[trades["exit_reason"] == "delisted"]


def most_lost_at_zero(books: Iterable[StrategyResult]) -> str:
    """Of all books the one that zero for ended listings would have cost most, in words; empty where no trade ended so."""
    told = [(cost_of_zero(own), book, own) for book in books if len(own := ended_listings(book.trades))]
    if not told:
        return ""
    cost, book, own = max(told, key=lambda item: item[0])
    ended = "1 trade" if len(own) == 1 else f"{len(own):,} trades"
    return (
        f"{ended} of {book.strategy} {book.mode} ended with the listing, at its last close ({_named(own)}); "
        f"{_at_zero(cost)}, of a net profit of {show(float(book.trades['pnl'].sum()), 'money')} before chaining"
    )


def _cut_by_windows(book: StrategyResult) -> str:
    trades = book.trades
    cut = trades[trades["exit_reason"] == "window_end"]
    if cut.empty:
        return ""
    # The last window ends where the bars end: that is no border, and its positions are still to come to their end.
    last = cut["fold"] == (book.folds["fold"].max() if len(book.folds) else cut["fold"].max())
    at_borders, open_now = cut[~last], int(last.sum())
    said = (
        f"{len(at_borders):,} of {len(trades):,} trades were cut by the end of a test window and closed at its last price, "
        f"{show(float(at_borders['pnl'].sum()), 'money')} in all"
    )
    return f"{said}; {open_now} more were still open at the last session." if open_now else f"{said}."


def _ended(book: StrategyResult) -> str:
    own = ended_listings(book.trades)
    if own.empty:
        return ""
    ended = "1 trade" if len(own) == 1 else f"{len(own):,} trades"
    return f"{ended} ended with the listing, at its last close: {_named(own)}; {_at_zero(cost_of_zero(own))}."


def _at_zero(cost: float) -> str:
    return f"at zero instead it would have made {show(abs(cost), 'money')} {'less' if cost >= 0 else 'more'}"


def _named(trades: pd.DataFrame) -> str:
    pairs = zip(trades["exit_session"], trades["symbol"], strict=True)
    ends = sorted({(pd.Timestamp(day).date().isoformat(), str(name)) for day, name in pairs})
    named = ", ".join(f"{name} on {day}" for day, name in ends[:NAMED])
    return f"{named} and {len(ends) - NAMED} more" if len(ends) > NAMED else named
