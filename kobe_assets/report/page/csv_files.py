"""Which trades the page lists one by one, and the bars around them, packed small.

Every book lists its ten best and ten worst trades; every fold as many as the budget of bars allows. It trusts the trades
to be the rows of wf_trades.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kobe_assets.research.metrics import YEAR
from kobe_assets.research.panel import Floats

if TYPE_CHECKING:
    import pandas as pd

ALL_FOLDS = 0
LISTED = 10
"""Best and worst trades listed over all folds."""
MAX_BARS = 30_000
"""Bars embedded at most for the folds' own lists: about 0.8 MB of the page."""
DAYS_BEFORE, DAYS_AFTER = 75, 25
"""Calendar days of bars shown around a trade: some 50 sessions of lead-in, some 16 of aftermath."""
SESSIONS_A_DAY = YEAR / 365.25
PRICE_DIGITS = 5

Scope = tuple[str, str, int]
_PACKED = {"o": "open", "h": "high", "l": "low", "c": "close", "m": "sma200", "r": "rsi2"}


@dataclass(frozen=True)
class TradeRanking:
    """Row numbers of the sorted trades: (strategy, mode, fold) → (best first, worst first); fold 0 stands for all."""

    picks: Mapping[Scope, tuple[list[int], list[int]]]
    per_fold: int

    @property
    def rows(self) -> list[int]:
        """Every listed row once, ascending."""
        return sorted({row for pair in self.picks.values() for rows in pair for row in rows})


def sorted_trades(trades: pd.DataFrame) -> pd.DataFrame:
    """The trades in the one order that row numbers count in; sorting twice changes nothing."""
    keys = ["strategy", "mode", "fold", "entry_session", "symbol", "side", "exit_session", "pnl"]
    order = np.lexsort([_ranks(trades[key]) for key in reversed(keys)])
    return trades.iloc[order].reset_index(drop=True)


def pick_trades(trades: pd.DataFrame) -> TradeRanking:
    """Choose the listed trades: winners as best, losers as worst, ties to the earlier row. trades: as `sorted_trades`."""
    pnl = trades["pnl"].to_numpy(float)
    overall = {(s, m, ALL_FOLDS): _extremes(pnl, first, last) for (s, m), first, last in _runs(trades, ["strategy", "mode"])}
    ten = {key: _extremes(pnl, first, last) for key, first, last in _runs(trades, ["strategy", "mode", "fold"])}
    for per_fold in (LISTED, 5, 3, 2, 1):
        cut = {key: (best[:per_fold], worst[:per_fold]) for key, (best, worst) in ten.items()}
        listing = TradeRanking({**overall, **cut}, per_fold)
        if _bars_in(windows_of(trades, listing)) <= MAX_BARS:
            return listing
    return TradeRanking(overall, 0)


def windows_of(trades: pd.DataFrame, listing: TradeRanking) -> pd.DataFrame:
    """The spans of bars the listed trades need: symbol, since, until; disjoint within a symbol, in order."""
    import pandas as pd

    listed = trades.iloc[listing.rows]
    spans = pd.DataFrame(
        {
            "symbol": listed["symbol"].astype(object),
            "since": pd.to_datetime(listed["signal_session"]) - pd.Timedelta(days=DAYS_BEFORE),
            "until": pd.to_datetime(listed["exit_session"]) + pd.Timedelta(days=DAYS_AFTER),
        }
    ).sort_values(["symbol", "since"], kind="stable")
    # A window opens a new span where it starts after everything before it in the symbol has ended.
    reach = spans.groupby("symbol")["until"].cummax()
    fresh = ~(spans["since"] <= reach.groupby(spans["symbol"]).shift(fill_value=pd.Timestamp.min))
    merged = spans.groupby(["symbol", fresh.cumsum().rename("span")], sort=False)
    return merged.agg(since=("since", "min"), until=("until", "max")).reset_index()[["symbol", "since", "until"]]


def pack_bars(bars: pd.DataFrame, windows: pd.DataFrame, declared: Collection[str] = ()) -> dict[str, list[dict[str, Any]]]:
    """The bars inside each window as differences of scaled whole numbers: symbol → [run], in order.

    A run: d days since 1970, o h l c prices times 10^k, m sma200 likewise, r rsi2 times 10 (null where undefined); x the
    columns `declared`, each [k, values times 10^k].
    """
    packed: dict[str, list[dict[str, Any]]] = {}
    bars = bars.sort_values(["symbol", "session"], kind="stable")
    days = bars["session"].to_numpy().astype("datetime64[D]")
    columns = {short: bars[name].to_numpy(float) for short, name in _PACKED.items()}
    others = {name: bars[name].to_numpy(float) for name in declared if name in bars}
    where = {symbol: (first, last) for (symbol,), first, last in _runs(bars, ["symbol"])}
    since, until = (windows[name].to_numpy().astype("datetime64[D]") for name in ("since", "until"))
    for symbol, low, high in zip(windows["symbol"], since, until, strict=True):
        first, last = where.get(symbol, (0, 0))
        begin = first + int(np.searchsorted(days[first:last], low, side="left"))
        end = first + int(np.searchsorted(days[first:last], high, side="right"))
        if end > begin:
            run = {short: values[begin:end] for short, values in columns.items()}
            own = {name: _pack_own(values[begin:end]) for name, values in others.items()}
            packed.setdefault(str(symbol), []).append(_pack_run(days[begin:end], run) | ({"x": own} if own else {}))
    return packed


def pack_days(sessions: Any) -> list[int]:
    """Sessions as days since 1970, each after the first as the distance from the one before."""
    days = np.asarray(sessions, dtype="datetime64[D]").astype(np.int64)
    return [int(day) for day in np.diff(days, prepend=0)]


def _pack_run(days: Any, run: Mapping[str, Floats]) -> dict[str, Any]:
    top = float(run["h"].max())
    scale = max(0, PRICE_DIGITS - 1 - int(np.floor(np.log10(top)))) if top > 0 else 2
    prices = {short: _differences(values * 10.0**scale) for short, values in run.items() if short != "r"}
    return {"k": scale, "d": pack_days(days), **prices, "r": _differences(run["r"] * 10.0)}


def _pack_own(values: Floats) -> list[Any]:
    """[k, differences of the values times 10^k], with as many digits as prices have."""
    top = float(np.nanmax(np.abs(values), initial=0.0))
    scale = PRICE_DIGITS - 1 - int(np.floor(np.log10(top))) if top > 0 else 2
    return [scale, _differences(values * 10.0**scale)]


def _differences(values: Floats) -> list[int | None]:
    """Each defined value as its distance from the defined one before it; null where undefined."""
    known = np.isfinite(values)
    whole = np.rint(values[known]).astype(np.int64)
    steps = iter(np.diff(whole, prepend=0).tolist())
    return [next(steps) if defined else None for defined in known.tolist()]


def _extremes(pnl: Floats, first: int, last: int) -> tuple[list[int], list[int]]:
    """The `LISTED` best winners and worst losers among rows first..last−1."""
    order = first + np.argsort(pnl[first:last], kind="stable")
    falling = first + np.argsort(-pnl[first:last], kind="stable")
    best, worst = falling[:LISTED], order[:LISTED]
    return best[pnl[best] > 0].tolist(), worst[pnl[worst] <= 0].tolist()


def _runs(frame: pd.DataFrame, keys: list[str]) -> list[tuple[Any, int, int]]:
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
