"""Trades that no rule of the strategy ended: cut by the end of a test window, or by the end of the listing."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from kobe_assets.report.analysis.metrics_glossary import show
from kobe_assets.report.analysis.results import StrategyResult

NAMED = 5
"""Ends of listings that are named; of more, their number."""


def describe_cuts(book: StrategyResult) -> list[str]:
    """Sentences on the trades of a book that were cut; none where none was."""
    return [text for text in (_cut_by_windows(book), _ended(book)) if text]


def describe_ruin(book: StrategyResult) -> list[str]:
    """A sentence on the test windows in which nothing of the account was left; none where there was none."""
    left = book.curve.groupby("fold")["equity"].last() if len(book.curve) else pd.Series(dtype=float)
    lost = left[left <= 0]
    if lost.empty:
        return []
    windows = "a test window" if len(lost) == 1 else f"{len(lost):,} of {len(left):,} test windows"
    return [f"In {windows} the account was ruined: {describe_debt(float(lost.min()))}."]


def describe_debt(equity: float) -> str:
    """What a ruin left, the last and least equity being `equity` dollars, and what follows from it."""
    debt = f"up to {show(-equity, 'money')} were owed in the end" if equity < 0 else "nothing was left"
    return f"{debt}, every position was closed and nothing more was traded"


def cost_of_zero(trades: pd.DataFrame, side: str = "long") -> float:
    """Dollars that longs would have made less (shorts more), had the stock been worth nothing instead of its last close.

    trades: those that ended with their listing. Slippage is in the exit price, fees stay.
    """
    own = trades[trades["side"] == side]
    return float((own["shares"] * own["exit_price"]).sum())


def ended_listings(trades: pd.DataFrame) -> pd.DataFrame:
    """The trades that left because their listing ended."""
    return trades[trades["exit_reason"] == "delisted"]


def most_lost_at_zero(books: Iterable[StrategyResult]) -> str:
    """Of all books the one that zero for ended listings would have cost most, in words; empty where no trade ended so."""
    costs = [(cost_of_zero(own), book, own) for book in books if len(own := ended_listings(book.trades))]
    if not costs:
        return ""
    _, book, own = max(costs, key=lambda item: item[0])
    ended = "1 trade" if len(own) == 1 else f"{len(own):,} trades"
    return (
        f"{ended} of {book.strategy} {book.mode} ended with the listing, at its last close ({_named(own)}); "
        f"{_at_zero(own)}, of a net profit of {show(float(book.trades['pnl'].sum()), 'money')} before chaining"
    )


def _cut_by_windows(book: StrategyResult) -> str:
    trades = book.trades
    cut = trades[trades["exit_reason"] == "window_end"]
    if cut.empty:
        return ""
    # The last window ends where the bars end: that is no border, and its positions are still to come to their end.
    last = cut["fold"] == (book.folds["fold"].max() if len(book.folds) else cut["fold"].max())
    at_borders, open_now = cut[~last], int(last.sum())
    were = "was" if open_now == 1 else "were"
    if at_borders.empty:
        return f"{open_now:,} of {len(trades):,} trades {were} still open at the last session."
    said = (
        f"{len(at_borders):,} of {len(trades):,} trades {'was' if len(at_borders) == 1 else 'were'} cut by the end of a test "
        f"window and closed at its last price, {show(float(at_borders['pnl'].sum()), 'money')} in all"
    )
    return f"{said}; {open_now:,} more {were} still open at the last session." if open_now else f"{said}."


def _ended(book: StrategyResult) -> str:
    own = ended_listings(book.trades)
    if own.empty:
        return ""
    ended = "1 trade" if len(own) == 1 else f"{len(own):,} trades"
    return f"{ended} ended with the listing, at its last close: {_named(own)}; {_at_zero(own)}."


def _at_zero(ended: pd.DataFrame) -> str:
    # Apart: a short that gains must not hide what the longs would have lost.
    ways = {"long": "less", "short": "more"}
    sides = [side for side in ways if side in set(ended["side"])]
    changes = [f"{show(cost_of_zero(ended, side), 'money')} {ways[side]} on its {side}s" for side in sides]
    return f"at zero instead it would have made {' and '.join(changes)}"


def _named(trades: pd.DataFrame) -> str:
    pairs = zip(trades["exit_session"], trades["symbol"], strict=True)
    ends = sorted({(pd.Timestamp(day).date().isoformat(), str(name)) for day, name in pairs})
    named = ", ".join(f"{name} on {day}" for day, name in ends[:NAMED])
    return f"{named} and {len(ends) - NAMED} more" if len(ends) > NAMED else named
