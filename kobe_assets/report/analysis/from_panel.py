"""What the report reads of the bars in memory: bars around the trades, indicators as a trade's signal read them, money at work.

The panel and the indicators are loaded for the figures anyway; to ask the warehouse for a million of their rows again, sorted
and with names, takes longer than all figures of a book. It trusts trades to be the rows of wf_trades.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kobe_assets.report.analysis.trade_spans import runs_of
from kobe_assets.research.panel import PRICES

if TYPE_CHECKING:
    from kobe_assets.research.indicators import Indicators
    from kobe_assets.research.panel import Floats, Ints, Panel

DRAWN = ("sma200", "rsi2")
"""Indicators that the chart of every trade draws."""
BOOK = ["strategy", "mode", "fold"]
MONEY_COLUMNS = [*BOOK, "session", "positions", "invested"]
STORED = "datetime64[us]"
"""Dates as the warehouse gives them."""


def bars_within(panel: Panel, indicators: Indicators, windows: pd.DataFrame) -> pd.DataFrame:
    """Adjusted bars inside the windows (symbol, since, until; disjoint), by symbol, then session.

    With the indicators of `DRAWN`; of the others, which few charts draw, `bar` is the place in their columns.
    """
    since, until = (_days(windows[name]) for name in ("since", "until"))
    place, known = _places(panel, windows["symbol"])
    days, sessions = _session_days(panel), len(panel.sessions)
    at = panel.name[panel.symbol].astype(np.int64)
    at *= sessions
    at += panel.session
    begin = np.searchsorted(at, (place * sessions + np.searchsorted(days, since))[known])
    end = np.searchsorted(at, (place * sessions + np.searchsorted(days, until, side="right"))[known])
    order = np.argsort(begin)
    bar = _ranges(begin[order], end[order])
    return pd.DataFrame(
        {
            "symbol": pd.Categorical.from_codes(panel.name[panel.symbol[bar]], list(panel.names)),
            "session": panel.sessions[panel.session[bar]].astype(STORED),
            **{name: getattr(panel, name)[bar] for name in PRICES},
            **{name: indicators[name][bar] for name in DRAWN},
            "bar": bar,
        },
        copy=False,
    )


def as_read(panel: Panel, values: Floats, trades: pd.DataFrame, lag: int) -> Floats:
    """(trades) what an indicator was `lag` bars of the symbol before the signal's; NaN where there is no such bar."""
    place, known = _places(panel, trades["symbol"])
    days, signal = _session_days(panel), _days(trades["signal_session"])
    session = np.minimum(np.searchsorted(days, signal), len(days) - 1)
    bar = np.where(known & (days[session] == signal), panel.bars_at(place, session), -1)
    read = bar - lag
    # Bars of one symbol lie side by side, those of the one before it ahead of them.
    own = (bar >= 0) & (read >= 0) & (panel.name[panel.symbol[read]] == place)
    return np.where(own, values[read], np.nan)


def money_at_work(panel: Panel, trades: pd.DataFrame, equity: pd.DataFrame) -> pd.DataFrame:
    """Positions and dollars in the market at the close of each session: strategy, mode, fold, session, positions, invested.

    A symbol without a bar counts with its last close since the entry, else with the entry's price. An exit happens at the open,
    in the bar, or at the close: at that close it is no position any more. trades: as `sorted_trades`. equity: rows of
    wf_equity, the sessions of each fold.
    """
    days, sessions = _session_days(panel), len(panel.sessions)
    runs = runs_of(trades, BOOK)
    book = np.repeat(np.arange(len(runs)), [end - begin for _, begin, end in runs])
    books = trades[BOOK].iloc[[begin for _, begin, _ in runs]].astype({"strategy": str, "mode": str})
    has_equity = np.zeros((len(books) + 1, sessions), np.bool_)
    known = pd.MultiIndex.from_frame(books).get_indexer(pd.MultiIndex.from_frame(equity[BOOK]))
    has_equity[known, np.searchsorted(days, _days(equity["session"]))] = True
    entry, leave = (np.searchsorted(days, _days(trades[f"{name}_session"])) for name in ("entry", "exit"))
    held = np.maximum(leave - entry, 0)
    trade, session = np.repeat(np.arange(len(trades)), held), _ranges(entry, entry + held)
    place, _ = _places(panel, trades["symbol"])
    bar = panel.bars_at(place[trade], session)
    first = np.repeat(np.cumsum(held) - held, held)
    last = np.maximum.accumulate(np.where(bar >= 0, np.arange(len(bar)), -1)) if len(bar) else bar
    close = np.where(last >= first, panel.close[bar[np.maximum(last, 0)]], trades["entry_price"].to_numpy(float)[trade])
    worth = np.abs(trades["shares"].to_numpy(float))[trade] * close
    counted = has_equity[book[trade], session]
    key, worth = (book[trade] * sessions + session)[counted], worth[counted]
    # Of every book and session, held or not.
    size = len(books) * sessions
    positions = np.bincount(key, minlength=size)
    # From the least up, so that the sum depends on no order of the rows.
    order = np.argsort(worth)
    invested = np.bincount(key[order], weights=worth[order], minlength=size)
    cells = np.flatnonzero(positions)
    owner = books.iloc[cells // sessions].reset_index(drop=True)
    return owner.assign(
        session=panel.sessions[cells % sessions].astype(STORED),
        positions=positions[cells].astype(np.int32),
        invested=invested[cells],
    )


def _places(panel: Panel, symbols: pd.Series[Any]) -> tuple[Ints, Any]:
    """Each symbol's place among the panel's names (0 without one), and whether it has one."""
    codes, names = pd.factorize(symbols)
    found = pd.Index(panel.names).get_indexer(pd.Index(names).astype(object))
    place = found[codes].astype(np.int64) if len(found) else np.zeros(len(codes), np.int64)
    return np.maximum(place, 0), place >= 0


def _ranges(begin: Ints, end: Ints) -> Ints:
    """The whole numbers from each of `begin` to before its `end`, one range after the other."""
    length = end - begin
    if not length.sum():
        return np.empty(0, np.int64)
    return np.repeat(begin - (np.cumsum(length) - length), length) + np.arange(length.sum())


def _session_days(panel: Panel) -> Ints:
    return panel.sessions.astype("datetime64[D]").astype(np.int64)


def _days(column: pd.Series[Any]) -> Ints:
    days: Ints = pd.to_datetime(column).to_numpy().astype("datetime64[D]").astype(np.int64)
    return days
