"""The panel: adjusted bars of all symbols as flat arrays, symbol after symbol, with a dense session × symbol index.

It trusts its caller for clean bars (no jump that is none, ordered OHLC): the asset checks see to that.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kobe_assets.research.parallel import in_slices

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Indices = NDArray[np.int32]
Bools = NDArray[np.bool_]
Integers = NDArray[np.integer[Any]]

PRICES = ("open", "high", "low", "close")
ROW_OPEN, ROW_HIGH, ROW_LOW, ROW_CLOSE, ROW_FACTOR, ROW_SESSION, ROW_FOLLOWS, ROW_DIVIDEND = range(8)
LISTING_GAP = 10
"""Sessions without a bar beyond which a symbol's listing is over: its next bar belongs to another (rules, section 1)."""
SLICE = 1 << 15
"""Bars that are copied at a time."""
RAW_DECIMALS = 9
"""Decimals of a dollar that prices as traded are known to: far finer than any tick."""


@dataclass(frozen=True)
class Panel:
    """Adjusted bars, sorted by listing (rules, section 1), then session; `symbol` in what follows is a place among listings.

    symbols: the listings' names, sorted; a symbol with several listings is there as often, in order of time. sessions:
    datetime64[D], the session list. start: (symbols + 1) offsets into the flat arrays. symbol, session: (bars) indices.
    rows: (bars, 8) open, high, low, close, factor, session index, whether the row before is the same listing's bar of the
    session before (1.0 or 0.0), and the dividends that a holder since the bar before is paid (dollars a share as traded): a
    bar is one cache line of the kernel.
    high, low, close, volume: (bars) adjusted. raw_close: (bars) as traded. bar_at: (sessions, symbols) flat index, or -1.
    outside: symbols that are here to be read, held or compared with, and may not trade: no rank counts them.
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
    outside: frozenset[str] = frozenset()

    @property
    def bars(self) -> int:
        """How many bars there are."""
        return len(self.symbol)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Each symbol once, sorted."""
        return tuple(dict.fromkeys(self.symbols))

    @cached_property
    def name(self) -> Indices:
        """(listings) the place of the listing's symbol in `names`."""
        fresh = [a != b for a, b in zip(self.symbols, (None, *self.symbols[:-1]), strict=True)]
        return (np.cumsum(fresh) - 1).astype(np.int32)

    @cached_property
    def spans(self) -> dict[str, slice]:
        """symbol → its bars, those of all its listings."""
        last = np.searchsorted(self.name, np.arange(len(self.names)), side="right")
        first = np.concatenate([[0], last[:-1]]).astype(np.int64) if len(last) else last
        edges = zip(self.start[first].tolist(), self.start[last].tolist(), strict=True)
        return {name: slice(begin, end) for name, (begin, end) in zip(self.names, edges, strict=True)}

    def bars_at(self, name: Integers, session: Integers) -> Ints:
        """The flat index of each (place in `names`, session index), or -1: of whichever listing has a bar there."""
        place = np.searchsorted(self.name, name, side="right") - 1
        bar = self.bar_at[session, place].astype(np.int64)
        while len(self.names) < len(self.symbols):
            earlier = np.flatnonzero((bar < 0) & (place > 0) & (self.name[place - 1] == name))
            if not len(earlier):
                break
            place[earlier] -= 1
            bar[earlier] = self.bar_at[np.asarray(session)[earlier], place[earlier]]
        return bar

    @property
    def open(self) -> Floats:
        """(bars) adjusted; a view of `rows`."""
        return self.rows[:, ROW_OPEN]

    def last_session_of(self) -> Ints:
        """(symbols) the session index of each symbol's very last stored bar."""
        return self.session[self.start[1:] - 1].astype(np.int64)


def build_panel(
    symbols: tuple[str, ...],
    sessions: NDArray[np.datetime64],
    symbol: Integers,
    session: Integers,
    columns: dict[str, Floats],
    dividends: Floats | None = None,
) -> Panel:
    """Sort bars that come in any order into a panel.

    symbol, session: (bars) indices into the sorted `symbols` and `sessions`; where two bars of a symbol have more than
    LISTING_GAP sessions between them, another listing begins. columns: (bars) adjusted open, high, low,
    close, volume and the factor. dividends: (bars) dollars a share as traded. Raises ValueError when a (symbol, session)
    occurs twice, a symbol has no bar, or a value is no number that it can be: what arithmetic would make of it could pass
    for a result.
    """
    _refuse_impossible(columns, symbols, sessions, symbol, session)
    order, present, counts = _sorted_order(symbols, sessions, symbol, session)
    sorted_symbol = np.repeat(np.arange(len(symbols), dtype=np.int32), counts)
    sorted_session = session[order].astype(np.int32)
    apart = np.flatnonzero((np.diff(sorted_session) > LISTING_GAP + 1) & (np.diff(sorted_symbol) == 0)) + 1
    if len(apart):
        symbols, counts, sorted_symbol = _listings(symbols, sorted_symbol, apart)
    follows = np.zeros(len(order), np.bool_)
    follows[1:] = (sorted_symbol[1:] == sorted_symbol[:-1]) & (sorted_session[1:] == sorted_session[:-1] + 1)
    # Stored bars come sorted: then nothing is looked up, and what was read is kept, since memory that is new is slow.
    is_sorted = bool((order[1:] > order[:-1]).all())
    kept = (columns[name] if is_sorted else columns[name][order] for name in ("high", "low", "close", "volume"))
    high, low, close, volume = map(np.ascontiguousarray, kept)
    rows, raw_close = _kernel_rows(columns, dividends, None if is_sorted else order, sorted_session, follows)
    if len(apart):
        flat = np.full(len(symbols) * len(sessions), -1, np.int32)
        flat[sorted_symbol.astype(np.int64) * len(sessions) + sorted_session] = np.arange(len(order), dtype=np.int32)
    else:
        flat = np.where(present, np.cumsum(present, dtype=np.int32) - np.int32(1), np.int32(-1))
    return Panel(
        symbols=symbols,
        sessions=sessions,
        start=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        symbol=sorted_symbol,
        session=sorted_session,
        rows=rows,
        high=high,
        low=low,
        close=close,
        volume=volume,
        raw_close=raw_close,
        bar_at=np.ascontiguousarray(flat.reshape(len(symbols), len(sessions)).T),
    )


def _sorted_order(
    symbols: tuple[str, ...], sessions: NDArray[np.datetime64], symbol: Integers, session: Integers
) -> tuple[Indices, Bools, Ints]:
    """The order that sorts the bars by symbol, then session; (symbols × sessions) whether a bar is there; each symbol's bars.

    Raises ValueError when a (symbol, session) occurs twice, or a symbol has no bar.
    """
    place = np.full(len(symbols) * len(sessions), -1, dtype=np.int32)
    place[symbol.astype(np.int64) * len(sessions) + session] = np.arange(len(symbol), dtype=np.int32)
    present = place >= 0
    order = place[present]
    if len(order) != len(symbol):
        raise ValueError(f"{len(symbol) - len(order)} bars repeat a (symbol, session)")
    counts = np.bincount(symbol, minlength=len(symbols))
    if len(counts) and counts.min() == 0:
        raise ValueError(f"{symbols[int(counts.argmin())]} has no bar")
    return order, present, counts


def _kernel_rows(
    columns: dict[str, Floats], dividends: Floats | None, order: Indices | None, session: Indices, follows: Bools
) -> tuple[Floats, Floats]:
    """The panel's `rows` and `raw_close`. order: what sorts the columns, None where they are sorted; the others are sorted."""
    rows, raw_close = _aligned_rows(len(session)), np.empty(len(session))

    def part(begin: int, end: int) -> None:
        # A few bars at a time: their rows stay in the cache while column after column goes in.
        some: Any = slice(begin, end) if order is None else order[begin:end]
        into = rows[begin:end]
        for index, name in enumerate((*PRICES, "factor")):
            into[:, index] = columns[name][some]
        into[:, ROW_SESSION], into[:, ROW_FOLLOWS] = session[begin:end], follows[begin:end]
        if dividends is not None:
            into[:, ROW_DIVIDEND] = dividends[some]
        # Without the rounding noise of a later split: a close at the very limit is at the limit.
        np.round(into[:, ROW_CLOSE] / into[:, ROW_FACTOR], RAW_DECIMALS, out=raw_close[begin:end])

    in_slices(len(session), len(session) // SLICE + 1, part)
    return rows, raw_close


def _listings(symbols: tuple[str, ...], symbol: Indices, apart: Ints) -> tuple[tuple[str, ...], Ints, Indices]:
    """Names, numbers of bars, and (bars) places of the listings; one begins with each symbol and at each of `apart`."""
    begins = np.zeros(len(symbol), np.bool_)
    begins[0] = True
    begins[1:] = symbol[1:] != symbol[:-1]
    begins[apart] = True
    place = (np.cumsum(begins) - 1).astype(np.int32)
    return tuple(symbols[k] for k in symbol[begins]), np.bincount(place), place


def _refuse_impossible(
    columns: dict[str, Floats], symbols: tuple[str, ...], sessions: NDArray[np.datetime64], symbol: Integers, session: Integers
) -> None:
    for name, values in columns.items():
        lowest, highest = values.min(initial=np.inf), values.max(initial=0.0)
        if (lowest > 0.0 or (name == "volume" and lowest == 0.0)) and highest < np.inf:
            continue
        wrong = ~(np.isfinite(values) & ((values >= 0.0) if name == "volume" else (values > 0.0)))
        first = int(wrong.argmax())
        raise ValueError(
            f"{int(wrong.sum())} bars with an impossible {name}, the first {values[first]} "
            f"of {symbols[symbol[first]]} at {sessions[session[first]]}"
        )


def _aligned_rows(bars: int) -> Floats:
    """(bars, 8) zeros whose rows start on cache lines."""
    room = np.zeros(bars * 8 + 8)
    skip = (-room.ctypes.data // 8) % 8
    return room[skip : skip + bars * 8].reshape(bars, 8)
