"""The trades and the bars around them, packed: inside the page where they are few, else in files beside it.

A page opened from disk may fetch nothing, and a script beside it could do anything; a style sheet is the one kind of file
that it may load and that only holds data. So the files beside the page are style sheets with one long text each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from kobe_assets.report.analysis.trade_spans import BEYOND, PRICE_DIGITS, pick_trades, sorted_trades, windows_of
from kobe_assets.report.page.packing import Numbers, block, folded, pack_block, steps
from kobe_assets.report.page.trade_list import pack_trades
from kobe_assets.research.panel import PRICES, Bools, Floats, Ints
from kobe_assets.research.parallel import in_threads

if TYPE_CHECKING:
    import pandas as pd

    from kobe_assets.report.analysis.inputs import ReportInputs
    from kobe_assets.report.analysis.results import StrategyResult

BARS_INSIDE = 40_000
"""Bars that a page carries itself: about 0.35 MB."""
BARS_A_FILE = 25_000
"""Bars of a file beside the page, unless one symbol has more: unpacked in a moment, and dozens of files, not thousands."""
TRADES_INSIDE = 1_000_000
"""Letters of packed trades that a page carries itself, those of the book it opens with first."""
Drawn = Mapping[str, Collection[str]]
"""Indicators that only some strategies have: name → the strategies whose charts draw it."""
NOTHING: Drawn = {}
INDICATORS = {"sma200": 0.0, "rsi2": 10.0}
"""Indicator → scale of its whole numbers; 0: that of the prices."""


@dataclass(frozen=True)
class PackedData:
    """bars: the block of bars in the page. trades: book → its block in the page.

    beside: file name → its content, in the folder `folder`; empty where the page holds everything. bar_files: symbol → file;
    trade_files: book → file.
    """

    bars: str
    trades: Mapping[str, str]
    beside: Mapping[str, str]
    bar_files: Mapping[str, str]
    trade_files: Mapping[str, str]
    folder: str


def packed_data(inputs: ReportInputs, books: Sequence[StrategyResult], opened: str, declared: Drawn = NOTHING) -> PackedData:
    """All trades of the books and the bars around them. opened: the key of the book whose trades stay inside.

    declared: further columns of the bars that charts draw.
    """
    beside: dict[str, str] = {}
    trades, trade_files = _trades(books, opened, beside)
    bars, bar_files = _bars(inputs, beside, declared)
    digest = hashlib.sha256()
    for name, text in beside.items():
        digest.update(f"{name}{text}".encode())
    return PackedData(bars, trades, beside, bar_files, trade_files, f"data-{digest.hexdigest()[:12]}" if beside else "")


def _trades(books: Sequence[StrategyResult], opened: str, beside: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """(book → block inside, book → file); what does not fit inside is added to `beside`."""
    inside: dict[str, str] = {}
    files: dict[str, str] = {}
    room = TRADES_INSIDE
    blocks = in_threads(lambda book: pack_trades(book.trades), books)
    ordered = sorted(zip(range(len(books)), books, blocks, strict=True), key=lambda item: item[1].key != opened)
    for number, book, packed in ordered:
        if book.key == opened or len(packed) <= room:
            inside[book.key] = packed
            room -= len(packed)
        else:
            files[book.key] = f"trades-{number}.css"
            beside[files[book.key]] = _sheet(packed)
    return inside, files


def _bars(inputs: ReportInputs, beside: dict[str, str], declared: Drawn) -> tuple[str, dict[str, str]]:
    """(block inside, symbol → file); where not all fit inside, all are added to `beside`, and the listed trades' stay."""
    columns = {name: inputs.indicators[name] for name in declared if name in inputs.indicators and name not in INDICATORS}
    bars = _Bars.of(inputs.bars, columns).only_where_drawn(inputs.trades, declared)
    if len(bars.days) <= BARS_INSIDE:
        return pack_block(bars.block(list(bars.rows))), {}
    files: dict[str, str] = {}
    groups = bars.groups(BARS_A_FILE)
    # zlib lets other threads work meanwhile.
    packed = in_threads(lambda symbols: pack_block(bars.block(symbols)), groups)
    for number, (symbols, text) in enumerate(zip(groups, packed, strict=True)):
        name = f"bars-{number}.css"
        files.update(dict.fromkeys(symbols, name))
        beside[name] = _sheet(text)
    ordered = sorted_trades(inputs.trades)
    inside = bars.within(windows_of(ordered, pick_trades(ordered)))
    return pack_block(inside.block(list(inside.rows))), files


def _sheet(packed: str) -> str:
    return f'#packed{{--packed:"{packed}"}}\n'


@dataclass(frozen=True)
class _Bars:
    """Bars as arrays sorted by symbol and time. days: since 1970. rows: symbol → its first row, and the row after its last.

    declared: the indicators that only some strategies have, whole columns. bar: the place of each row in them. drawn: each of
    them → the rows in which it counts; those of the same strategies share them.
    """

    days: Floats
    values: Mapping[str, Floats]
    bar: Ints
    rows: Mapping[str, tuple[int, int]]
    declared: Mapping[str, Floats]
    drawn: Mapping[str, Bools]

    @classmethod
    def of(cls, frame: pd.DataFrame, declared: Mapping[str, Floats]) -> _Bars:
        """The rows of a table, in any order."""
        code, names = _codes(frame["symbol"])
        days = frame["session"].to_numpy().astype("datetime64[D]").astype(float)
        values = {name: frame[name].to_numpy(float) for name in (*PRICES, *INDICATORS)}
        bar, step = frame["bar"].to_numpy(np.int64), np.diff(code)
        if (step < 0).any() or (np.diff(days)[step == 0] < 0).any():
            order = np.lexsort((days, code))
            values = {name: column[order] for name, column in values.items()}
            code, days, bar = code[order], days[order], bar[order]
        first, last = (np.searchsorted(code, np.arange(len(names)), side).tolist() for side in ("left", "right"))
        return cls(days, values, bar, dict(zip(names, zip(first, last, strict=True), strict=True)), declared, {})

    def only_where_drawn(self, trades: pd.DataFrame, declared: Drawn) -> _Bars:
        """The same with each of `declared` undefined but around the trades of the strategies that draw it.

        The chart of another strategy's trade does not draw it, and what is undefined takes no room and no time to pack.
        """
        inside = {
            strategies: self._inside(windows_of(trades[trades["entered_by"].isin(strategies)]))
            for strategies in {frozenset(declared[name]) for name in self.declared}
        }
        return replace(self, drawn={name: inside[frozenset(declared[name])] for name in self.declared})

    def within(self, windows: pd.DataFrame) -> _Bars:
        """The bars inside the windows (symbol, since, until), which are disjoint."""
        keep = np.flatnonzero(self._inside(windows))
        first, last = (np.searchsorted(keep, place).tolist() for place in np.array([*self.rows.values()]).reshape(-1, 2).T)
        rows = {symbol: own for symbol, own in zip(self.rows, zip(first, last, strict=True), strict=True) if own[0] < own[1]}
        values = {name: column[keep] for name, column in self.values.items()}
        drawn = {name: mask[keep] for name, mask in self.drawn.items()}
        return replace(self, days=self.days[keep], values=values, bar=self.bar[keep], rows=rows, drawn=drawn)

    def _inside(self, windows: pd.DataFrame) -> Bools:
        """(bars) true inside the windows."""
        place = {symbol: at * float(BEYOND) for at, symbol in enumerate(self.rows)}
        own = np.array([place.get(str(symbol), np.nan) for symbol in windows["symbol"]], dtype=float)
        since, until = (windows[name].to_numpy().astype("datetime64[D]").astype(float) + own for name in ("since", "until"))
        known = ~np.isnan(own)
        # All days of a later symbol lie beyond those of an earlier one, so that one search serves all.
        length = np.array([last - first for first, last in self.rows.values()], np.int64)
        days = self.days + np.repeat(list(place.values()), length)
        begins = np.bincount(np.searchsorted(days, since[known]), minlength=len(days) + 1)
        ends = np.bincount(np.searchsorted(days, until[known], "right"), minlength=len(days) + 1)
        return np.asarray(np.cumsum(begins - ends)[:-1] > 0)

    def groups(self, most: int) -> list[list[str]]:
        """The symbols in order, together as long as they have at most so many bars."""
        found: list[list[str]] = []
        room = 0
        for symbol, (first, last) in self.rows.items():
            if not found or last - first > room:
                found.append([])
                room = most
            found[-1].append(symbol)
            room -= last - first
        return found

    def block(self, symbols: Sequence[str]) -> bytes:
        """Header: symbol → [bars, decimals of its prices, of each of `declared`]; for each symbol the columns of `_numbers`.

        symbols: neighbours in `rows`.
        """
        numbers, decimals = self._numbers(symbols)
        length = [self.rows[s][1] - self.rows[s][0] for s in symbols]
        end = np.cumsum([0, *length]).tolist()
        sizes = {s: [bars, *places] for s, bars, places in zip(symbols, length, decimals, strict=True)}
        header = {"symbols": sizes, "indicators": list(INDICATORS), "declared": list(self.declared)}
        return block(header, (column for own in pairwise(end) for column in numbers[:, slice(*own)]))

    def _numbers(self, symbols: Sequence[str]) -> tuple[Numbers, list[list[int]]]:
        """(columns, bars of the symbols) whole numbers, and for each symbol the decimals of its prices, of each of `declared`.

        Columns: day, close; open, high and low as distances from the close; the indicators; `declared`. The symbols of a file
        together: of one there is too little for a call of numpy, and what all have would have to be brought into the cache
        for each step anew.
        """
        if not symbols:
            return np.empty((5 + len(INDICATORS) + len(self.declared), 0), np.uint32), []
        own = slice(self.rows[symbols[0]][0], self.rows[symbols[-1]][1])
        days, values = self.days[own], {name: column[own] for name, column in self.values.items()}
        first = np.array([self.rows[symbol][0] - own.start for symbol in symbols])
        digits = [_decimals(top) for top in np.maximum.reduceat(values["high"], first).tolist()]
        scale = np.repeat([10.0**places for places in digits], np.diff(np.append(first, len(days))))
        close = np.rint(values["close"] * scale)
        columns = [steps(days, begins=first), steps(close, begins=first)]
        columns += [folded(np.rint(values[name] * scale) - close) for name in ("open", "high", "low")]
        columns += [steps(values[name], factor or scale, first) for name, factor in INDICATORS.items()]
        declared = [self._declared(name, own, first) for name in self.declared]
        columns += [column for column, _ in declared]
        decimals = [digits, *(places for _, places in declared)]
        return np.array(columns), [list(places) for places in zip(*decimals, strict=True)]

    def _declared(self, name: str, own: slice, first: Ints) -> tuple[Numbers, list[int]]:
        """The column of `name` in the rows `own`, and for each symbol its decimals. first: the symbols' first rows of them."""
        drawn = np.flatnonzero(self.drawn[name][own])
        values, first = self.declared[name][self.bar[own][drawn]], np.searchsorted(drawn, first)
        length = np.diff(np.append(first, len(drawn)))
        # Of a symbol without a row `reduceat` would take the next one's.
        tops, some = np.zeros(len(first)), length > 0
        tops[some] = np.nan_to_num(np.fmax.reduceat(np.abs(values), first[some]), nan=0.0)
        decimals = [_decimals(top) for top in tops.tolist()]
        column = np.zeros(own.stop - own.start, np.uint32)
        column[drawn] = steps(values, np.repeat([10.0**places for places in decimals], length), first)
        return column, decimals


def _codes(symbols: pd.Series[Any]) -> tuple[Any, list[str]]:
    """Each row's place among the symbols, and the symbols in order."""
    import pandas as pd

    if isinstance(symbols.dtype, pd.CategoricalDtype) and symbols.cat.categories.is_monotonic_increasing:
        codes = symbols.cat.codes.to_numpy()
        found = np.flatnonzero(np.bincount(codes))
        place = np.zeros(len(symbols.cat.categories), np.int64)
        place[found] = np.arange(len(found))
        return place[codes], [str(name) for name in symbols.cat.categories[found]]
    codes, names = pd.factorize(symbols.astype(object), sort=True)
    return codes, [str(name) for name in names]


def _decimals(top: float) -> int:
    return max(0, PRICE_DIGITS - 1 - int(np.floor(np.log10(top)))) if top > 0 else 2
