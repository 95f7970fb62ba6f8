"""The panel: adjusted bars of all symbols as flat arrays, symbol after symbol, with a dense session × symbol index.

It trusts its caller for clean bars (finite, positive, ordered OHLC): the asset checks see to that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Indices = NDArray[np.int32]
Bools = NDArray[np.bool_]

ROW_OPEN, ROW_HIGH, ROW_LOW, ROW_CLOSE, ROW_FACTOR, ROW_SESSION, ROW_FOLLOWS = range(7)


@dataclass(frozen=True)
class Panel:
    """Adjusted bars, sorted by symbol, then session.

    symbols: sorted names. sessions: datetime64[D], the session list. start: (symbols + 1) offsets into the flat arrays.
    symbol, session: (bars) indices. rows: (bars, 8) open, high, low, close, factor, session index, whether the row before
    is the same symbol's bar of the session before (1.0 or 0.0), and padding, so that a bar is one cache line of the kernel.
    high, low, close, volume: (bars) adjusted. raw_close: (bars) as traded. bar_at: (sessions, symbols) flat index, or -1.
    """

    symbols: tuple[str, ...]
    sessions: NDArray[np.datetime64]
    start: Ints
    symbol: Indices
    session: Indices
    rows: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    raw_close: Floats
    bar_at: Indices

    @property
    def bars(self) -> int:
        """How many bars there are."""
        return len(self.symbol)

    def last_session_of(self) -> Ints:
        """(symbols) the session index of each symbol's very last stored bar."""
        return self.session[self.start[1:] - 1].astype(np.int64)

    def session_index(self, session: np.datetime64) -> int:
        """The index of the first session on or after `session`."""
        return int(np.searchsorted(self.sessions, session))


def build_panel(
    symbols: tuple[str, ...],
    sessions: NDArray[np.datetime64],
    symbol: Ints,
    session: Ints,
    columns: dict[str, Floats],
) -> Panel:
    """Sort bars that come in any order into a panel.

    symbol, session: (bars) indices into the sorted `symbols` and `sessions`; columns: (bars) adjusted open, high, low,
    close, volume and the factor. Raises ValueError when a (symbol, session) occurs twice or a symbol has no bar.
    """
    place = np.full(len(symbols) * len(sessions), -1, dtype=np.int32)
    place[symbol * np.int64(len(sessions)) + session] = np.arange(len(symbol), dtype=np.int32)
    order = place[place >= 0]
    if len(order) != len(symbol):
        raise ValueError(f"{len(symbol) - len(order)} bars repeat a (symbol, session)")
    counts = np.bincount(symbol, minlength=len(symbols))
    if len(counts) and counts.min() == 0:
        raise ValueError(f"{symbols[int(counts.argmin())]} has no bar")
    sorted_symbol = symbol[order].astype(np.int32)
    sorted_session = session[order].astype(np.int32)
    rows = _aligned_rows(len(symbol))
    for index, name in enumerate(("open", "high", "low", "close", "factor")):
        rows[:, index] = columns[name][order]
    rows[:, ROW_SESSION] = sorted_session
    rows[1:, ROW_FOLLOWS] = (sorted_symbol[1:] == sorted_symbol[:-1]) & (sorted_session[1:] == sorted_session[:-1] + 1)
    bar_at = np.full((len(sessions), len(symbols)), -1, dtype=np.int32)
    bar_at[sorted_session, sorted_symbol] = np.arange(len(symbol), dtype=np.int32)
    return Panel(
        symbols=symbols,
        sessions=sessions,
        start=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        symbol=sorted_symbol,
        session=sorted_session,
        rows=rows,
        high=np.ascontiguousarray(rows[:, ROW_HIGH]),
        low=np.ascontiguousarray(rows[:, ROW_LOW]),
        close=np.ascontiguousarray(rows[:, ROW_CLOSE]),
        volume=np.ascontiguousarray(columns["volume"][order]),
        raw_close=rows[:, ROW_CLOSE] / rows[:, ROW_FACTOR],
        bar_at=bar_at,
    )


def _aligned_rows(bars: int) -> Floats:
    """(bars, 8) zeros whose rows start on cache lines."""
    room = np.zeros(bars * 8 + 8)
    skip = (-room.ctypes.data // 8) % 8
    return room[skip : skip + bars * 8].reshape(bars, 8)
