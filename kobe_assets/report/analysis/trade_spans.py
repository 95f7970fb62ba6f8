"""The order of the trades, and the spans of bars around them: around all, and around those that the page lists first.

Every book lists its ten best and ten worst trades; every fold as many as the budget of bars allows. It trusts the trades
to be the rows of wf_trades.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kobe_assets.research.metrics import YEAR
from kobe_assets.research.panel import Floats, Ints

if TYPE_CHECKING:
    import pandas as pd

ALL_FOLDS = 0
LISTED = 10
"""Best and worst trades listed over all folds."""
MAX_BARS = 12_000
"""Bars that a page carries at most for the folds' own lists, where it cannot carry those of all trades: about 0.1 MB."""
DAYS_BEFORE, DAYS_AFTER = 75, 25
"""Calendar days of bars shown around a trade: some 50 sessions of lead-in, some 16 of aftermath."""
SESSIONS_A_DAY = YEAR / 365.25
PRICE_DIGITS = 5
BEYOND = 1 << 32
"""Days that no calendar holds."""

Scope = tuple[str, str, int]


@dataclass(frozen=True)
class TradeRanking:
    """Row numbers of the sorted trades: (strategy, mode, fold) → (best first, worst first); fold 0 stands for all."""

    picks: Mapping[Scope, tuple[list[int], list[int]]]

    @property
    def rows(self) -> list[int]:
        """Every listed row once, ascending."""
        return sorted({row for pair in self.picks.values() for rows in pair for row in rows})


def sorted_trades(trades: pd.DataFrame) -> pd.DataFrame:
    """The trades in the one order that row numbers count in; sorting twice changes nothing."""
    keys = ["strategy", "mode", "fold", "entry_session", "symbol", "side", "exit_session", "pnl"]
    ranks = [_ranks(trades[key]) for key in keys]
    # To see that they are sorted already takes a tenth of sorting them.
    return trades.reset_index(drop=True) if _is_sorted(ranks) else trades.iloc[np.lexsort(ranks[::-1])].reset_index(drop=True)


def pick_trades(trades: pd.DataFrame) -> TradeRanking:
    """Choose the listed trades: winners as best, losers as worst, ties to the earlier row. trades: as `sorted_trades`."""
    pnl = trades["pnl"].to_numpy(float)
    overall = {(s, m, ALL_FOLDS): _extremes(pnl, first, last) for (s, m), first, last in runs_of(trades, ["strategy", "mode"])}
    ten = {key: _extremes(pnl, first, last) for key, first, last in runs_of(trades, ["strategy", "mode", "fold"])}
    for per_fold in (LISTED, 5, 3, 2, 1):
        cut = {key: (best[:per_fold], worst[:per_fold]) for key, (best, worst) in ten.items()}
        listing = TradeRanking({**overall, **cut})
        if _bars_in(windows_of(trades, listing)) <= MAX_BARS:
            return listing
    return TradeRanking(overall)


def windows_of(trades: pd.DataFrame, listing: TradeRanking | None = None) -> pd.DataFrame:
    """The spans of bars that trades need: symbol, since, until; disjoint within a symbol, in order.

    listing: of the trades that it lists; None: of all. trades: as `sorted_trades`.
    """
    import pandas as pd

    listed = trades if listing is None else trades.iloc[listing.rows]
    since = (pd.to_datetime(listed["signal_session"]) - pd.Timedelta(days=DAYS_BEFORE)).to_numpy()
    until = (pd.to_datetime(listed["exit_session"]) + pd.Timedelta(days=DAYS_AFTER)).to_numpy()
    symbol = _ranks(listed["symbol"])
    order = np.lexsort((since, symbol))
    since, until, symbol = since[order], until[order], symbol[order]
    # A window opens a new span where it starts after everything before it in the symbol has ended.
    begins = np.ones(len(order), np.bool_)
    begins[1:] = symbol[1:] != symbol[:-1]
    own, days = np.cumsum(begins), until.astype("datetime64[D]").astype(np.int64)
    # All days of a later symbol lie beyond those of an earlier one, so that one running maximum serves all.
    reach = np.maximum.accumulate(days + own * BEYOND) - own * BEYOND
    begins[1:] |= since[1:].astype("datetime64[D]").astype(np.int64) > reach[:-1]
    first = np.flatnonzero(begins)
    return pd.DataFrame(
        {
            "symbol": listed["symbol"].astype(object).to_numpy()[order[first]],
            "since": since[first],
            "until": np.maximum.reduceat(until, first) if len(first) else until,
        }
    )


def _extremes(pnl: Floats, first: int, last: int) -> tuple[list[int], list[int]]:
    """The `LISTED` best winners and worst losers among rows first..last−1."""
    best, worst = (first + _smallest(sign * pnl[first:last], LISTED) for sign in (-1.0, 1.0))
    return best[pnl[best] > 0].tolist(), worst[pnl[worst] <= 0].tolist()


def _smallest(values: Floats, most: int) -> Ints:
    """The places of the `most` smallest values, ties to the earlier place."""
    limit = np.partition(values, most - 1)[most - 1] if len(values) > most else np.inf
    at = np.flatnonzero(values <= limit)
    return at[np.argsort(values[at], kind="stable")][:most]


def runs_of(frame: pd.DataFrame, keys: list[str]) -> list[tuple[Any, int, int]]:
    """(key, first row, last row + 1) of each stretch of equal keys in a frame sorted by them."""
    if frame.empty:
        return []
    fresh = np.zeros(len(frame), dtype=bool)
    for key in keys:
        codes = _ranks(frame[key])
        fresh[1:] |= codes[1:] != codes[:-1]
    starts = [0, *np.flatnonzero(fresh).tolist()]
    named = frame[keys].iloc[starts].itertuples(index=False, name=None)
    return list(zip(named, starts, [*starts[1:], len(frame)], strict=True))


def _is_sorted(columns: Sequence[Any]) -> bool:
    """Whether rows ascend: by the first of the columns, where that is equal by the second, and so on."""
    equal = np.ones(max(len(columns[0]) - 1, 0), np.bool_)
    for column in columns:
        if (equal & (column[1:] < column[:-1])).any():
            return False
        equal &= column[1:] == column[:-1]
    return True


def _ranks(column: pd.Series[Any]) -> Any:
    """Numbers that order as the column's values do."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_datetime64_dtype(column):
        return column.to_numpy()
    if isinstance(column.dtype, pd.CategoricalDtype) and column.cat.categories.is_monotonic_increasing:
        return column.cat.codes.to_numpy()
    return pd.factorize(column, sort=True)[0]


def _bars_in(windows: pd.DataFrame) -> float:
    return float((windows["until"] - windows["since"]).dt.days.sum()) * SESSIONS_A_DAY
