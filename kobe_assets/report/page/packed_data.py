"""The trades and the bars around them, packed: inside the page where they are few, else in files beside it.

A page opened from disk may fetch nothing, and a script beside it could do anything; a style sheet is the one kind of file
that it may load and that only holds data. So the files beside the page are style sheets with one long text each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kobe_assets.report.page.csv_files import PRICE_DIGITS, pick_trades, runs_of, sorted_trades, windows_of
from kobe_assets.report.page.packing import Numbers, block, folded, pack_bytes, steps
from kobe_assets.report.page.trade_list import pack_trades
from kobe_assets.research.panel import Floats

if TYPE_CHECKING:
    import pandas as pd

    from kobe_assets.report.analysis.inputs import ReportInputs
    from kobe_assets.report.analysis.results import StrategyResult

BARS_INSIDE = 40_000
"""Bars that a page carries itself: about 0.35 MB."""
TRADES_INSIDE = 1_000_000
"""Letters of packed trades that a page carries itself, those of the book it opens with first."""
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


def packed_data(inputs: ReportInputs, books: Sequence[StrategyResult], opened: str) -> PackedData:
    """All trades of the books and the bars around them. opened: the key of the book whose trades stay inside."""
    beside: dict[str, str] = {}
    trades, trade_files = _trades(books, opened, beside)
    bars, bar_files = _bars(inputs, beside)
    digest = hashlib.sha256("".join(f"{name}{text}" for name, text in beside.items()).encode()).hexdigest()
    return PackedData(bars, trades, beside, bar_files, trade_files, f"data-{digest[:12]}" if beside else "")


def _trades(books: Sequence[StrategyResult], opened: str, beside: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """(book → block inside, book → file); what does not fit inside is added to `beside`."""
    inside: dict[str, str] = {}
    files: dict[str, str] = {}
    room = TRADES_INSIDE
    for number, book in sorted(enumerate(books), key=lambda item: item[1].key != opened):
        packed = pack_trades(book.trades)
        if book.key == opened or len(packed) <= room:
            inside[book.key] = packed
            room -= len(packed)
        else:
            files[book.key] = f"trades-{number}.css"
            beside[files[book.key]] = _sheet(packed)
    return inside, files


def _bars(inputs: ReportInputs, beside: dict[str, str]) -> tuple[str, dict[str, str]]:
    """(block inside, symbol → file); where not all fit inside, all are added to `beside`, and the listed trades' stay."""
    bars = _Bars.of(inputs.bars)
    if len(bars.days) <= BARS_INSIDE:
        return pack_bytes(bars.block(list(bars.rows))), {}
    files: dict[str, str] = {}
    for number, symbol in enumerate(bars.rows):
        files[symbol] = f"bars-{number}.css"
        beside[files[symbol]] = _sheet(pack_bytes(bars.block([symbol])))
    ordered = sorted_trades(inputs.trades)
    inside = bars.within(windows_of(ordered, pick_trades(ordered)))
    return pack_bytes(inside.block(list(inside.rows))), files


def _sheet(packed: str) -> str:
    return f'#packed{{--packed:"{packed}"}}\n'


@dataclass(frozen=True)
class _Bars:
    """Bars as arrays sorted by symbol and time. days: since 1970. rows: symbol → its first row, and the row after its last."""

    days: Floats
    values: Mapping[str, Floats]
    rows: Mapping[str, tuple[int, int]]

    @classmethod
    def of(cls, frame: pd.DataFrame) -> _Bars:
        """The rows of a table, in any order."""
        frame = frame.sort_values(["symbol", "session"], kind="stable")
        rows = {str(symbol): (first, last) for (symbol,), first, last in runs_of(frame, ["symbol"])}
        values = {name: frame[name].to_numpy(float) for name in ("open", "high", "low", "close", *INDICATORS)}
        return cls(frame["session"].to_numpy().astype("datetime64[D]").astype(float), values, rows)

    def within(self, windows: pd.DataFrame) -> _Bars:
        """The bars inside the windows (symbol, since, until), which are disjoint."""
        since, until = (windows[name].to_numpy().astype("datetime64[D]").astype(float) for name in ("since", "until"))
        keep = np.zeros(len(self.days), dtype=bool)
        for symbol, low, high in zip(windows["symbol"], since, until, strict=True):
            first, last = self.rows.get(str(symbol), (0, 0))
            keep[
                first + np.searchsorted(self.days[first:last], low) : first
                + np.searchsorted(self.days[first:last], high, "right")
            ] = True
        kept = np.concatenate(([0], np.cumsum(keep))).tolist()
        rows = {symbol: (kept[first], kept[last]) for symbol, (first, last) in self.rows.items() if kept[first] < kept[last]}
        return _Bars(self.days[keep], {name: values[keep] for name, values in self.values.items()}, rows)

    def block(self, symbols: Sequence[str]) -> bytes:
        """Header: symbol → [bars, decimals of its prices]; for each symbol the columns of `_columns`."""
        decimals = {symbol: _decimals(float(self.values["high"][slice(*self.rows[symbol])].max())) for symbol in symbols}
        columns = [one for symbol in symbols for one in self._columns(slice(*self.rows[symbol]), 10.0 ** decimals[symbol])]
        sizes = {symbol: [self.rows[symbol][1] - self.rows[symbol][0], decimals[symbol]] for symbol in symbols}
        return block({"symbols": sizes, "indicators": list(INDICATORS)}, columns)

    def _columns(self, rows: slice, scale: float) -> list[Numbers]:
        """Day, close; open, high and low as distances from the close; then the indicators."""
        own = {name: values[rows] for name, values in self.values.items()}
        close = np.rint(own["close"] * scale)
        near = [folded(np.rint(own[name] * scale) - close) for name in ("open", "high", "low")]
        others = [steps(own[name], factor or scale) for name, factor in INDICATORS.items()]
        return [steps(self.days[rows]), steps(close), *near, *others]


def _decimals(top: float) -> int:
    return max(0, PRICE_DIGITS - 1 - int(np.floor(np.log10(top)))) if top > 0 else 2
