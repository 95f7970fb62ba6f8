"""Alpaca's bars as columns: what may be stored, what is widened by rounding, what is dropped as no trade, what is refused.

The session of a row is the New York date of its `t`, 04:00Z in summer and 05:00Z in winter. Trusts the client for whole
pages, and nothing in them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kobe_resources.calendar import NEW_YORK
from kobe_resources.market_data.local.columns import MOST_PRICE, MOST_SHARES
from kobe_resources.market_data.polygon.rows import TWO_BARS, BarColumns, RefusedRow, beyond_reason, printable
from kobe_resources.market_data.rounding import widen

FIELDS = {"open": "o", "high": "h", "low": "l", "close": "c", "volume": "v", "vwap": "vw", "trades": "n"}
LARGEST = 1e300
ROUNDING = 0.01
"""Trade conditions move open and close but not high and low: so far outside them is no error of the row."""


@dataclass(frozen=True)
class Page:
    """Rows of one page as equally long columns, in the vendor's order; the columns are those of `BarColumns`.

    placeholders: rows that say nobody traded. widened: rows whose high or low was moved to their open or close.
    """

    symbols: np.ndarray
    sessions: np.ndarray
    columns: dict[str, np.ndarray]
    refused: tuple[RefusedRow, ...] = ()
    placeholders: int = 0
    widened: int = 0


@dataclass(frozen=True)
class ReadBars:
    """The pages of one call together: bars ascending, one row a (symbol, session), and what became of the others."""

    bars: BarColumns
    placeholders: int = 0
    widened: int = 0
    last: dict[str, dt.date] = field(default_factory=dict)
    """The last session of each symbol that has a bar."""


class Sessions:
    """`t` → New York date, remembered: a page has few of them, and each many times."""

    def __init__(self) -> None:
        self._known: dict[str, dt.date | None] = {}

    def of(self, stamp: object) -> dt.date | None:
        """None where `stamp` is no moment with a zone."""
        if not isinstance(stamp, str):
            return None
        if stamp not in self._known:
            self._known[stamp] = _session(stamp)
        return self._known[stamp]


def _session(stamp: str) -> dt.date | None:
    try:
        moment = dt.datetime.fromisoformat(stamp)
    except ValueError:
        return None
    return moment.astimezone(NEW_YORK).date() if moment.tzinfo and 1970 <= moment.year < 2100 else None


def read_page(rows: Mapping[str, Sequence[Any]], first: dt.date, last: dt.date, sessions: Sessions) -> Page:
    """The rows of a page, each by itself; those outside `first` … `last` were not asked for and are left out."""
    flat = [(symbol, row) for symbol, of_symbol in rows.items() for row in of_symbol]
    days = [sessions.of(row.get("t")) if isinstance(row, dict) else None for _, row in flat]
    kept = [place for place, day in enumerate(days) if day is None or first <= day <= last]
    fields = [row if isinstance(row := flat[place][1], dict) else {} for place in kept]
    symbols = np.array([flat[place][0] for place in kept], dtype=object)
    dated = np.array([days[place] is not None for place in kept], dtype=bool)
    stamps = np.array([days[place] or first for place in kept], dtype="datetime64[D]")
    columns = {name: _numbers([row.get(short) for row in fields]) for name, short in FIELDS.items()}
    empty = (columns["volume"] == 0) & (columns["trades"] == 0)
    widened = widen(columns, ROUNDING) & ~empty
    reasons = np.where(empty, "", _reasons(columns, dated))
    refused = tuple(
        RefusedRow(
            printable(symbols[place]), stamps[place].item() if dated[place] else None, reasons[place], repr(fields[place])
        )
        for place in np.flatnonzero(reasons != "").tolist()
    )
    good = (reasons == "") & ~empty
    priced, counted = columns["vwap"], columns["trades"]
    columns["vwap"] = np.where((priced > 0) & (priced <= MOST_PRICE), priced, np.nan)
    columns["trades"] = np.where((counted >= 0) & (counted <= MOST_SHARES), np.floor(counted), np.nan)
    taken = {name: values[good] for name, values in columns.items()}
    return Page(symbols[good], stamps[good], taken, refused, int(empty.sum()), int((widened & good).sum()))


def join_pages(pages: Sequence[Page]) -> ReadBars:
    """All pages of a call. A row given twice counts once; of two rows of one bar that differ, neither is taken."""
    symbols = np.concatenate([page.symbols for page in pages])
    sessions = np.concatenate([page.sessions for page in pages])
    columns = {name: np.concatenate([page.columns[name] for page in pages]) for name in FIELDS}
    refused = [refusal for page in pages for refusal in page.refused]
    order = np.lexsort((sessions, symbols.astype(str)))
    symbols, sessions = symbols[order], sessions[order]
    columns = {name: values[order] for name, values in columns.items()}
    again = np.zeros(len(symbols), dtype=bool)
    again[1:] = (symbols[1:] == symbols[:-1]) & (sessions[1:] == sessions[:-1])
    wrong = np.zeros(len(symbols), dtype=bool)
    if again.any():
        differ = np.zeros(len(symbols), dtype=bool)
        for values in columns.values():
            differ[1:] |= again[1:] & ~((values[1:] == values[:-1]) | (np.isnan(values[1:]) & np.isnan(values[:-1])))
        group = np.cumsum(~again)
        wrong = np.isin(group, group[differ])
        for number in np.unique(group[differ]).tolist():
            place = int(np.flatnonzero(group == number)[0])
            rows = {name: values[group == number].tolist() for name, values in columns.items()}
            refused.append(RefusedRow(printable(symbols[place]), sessions[place].item(), TWO_BARS, repr(rows)))
    good = ~again & ~wrong
    bars = BarColumns(symbols[good], sessions[good], {name: values[good] for name, values in columns.items()}, tuple(refused))
    ends = np.flatnonzero(np.append(bars.symbols[1:] != bars.symbols[:-1], True)) if len(bars) else np.zeros(0, dtype=int)
    last = {str(bars.symbols[place]): bars.sessions[place].item() for place in ends.tolist()}
    return ReadBars(bars, sum(page.placeholders for page in pages), sum(page.widened for page in pages), last)


def _numbers(values: list[Any]) -> np.ndarray:
    """As float64, NaN where there is no finite number."""
    if not set(map(type, values)) <= {int, float}:
        values = [value if type(value) in (int, float) else np.nan for value in values]
    try:
        numbers = np.array(values, dtype=np.float64)
    except OverflowError:
        # A whole number of hundreds of digits is no float.
        numbers = np.array([value if abs(value) < LARGEST else np.nan for value in values], dtype=np.float64)
    return np.where(np.isfinite(numbers), numbers, np.nan)


def _reasons(columns: dict[str, np.ndarray], dated: np.ndarray) -> np.ndarray:
    """Why each row is refused, the first reason that holds; "" where it is a bar."""
    open_, high, low, close, volume = (columns[name] for name in ("open", "high", "low", "close", "volume"))
    numeric = np.isfinite(open_) & np.isfinite(high) & np.isfinite(low) & np.isfinite(close) & np.isfinite(volume)
    positive = (open_ > 0) & (high > 0) & (low > 0) & (close > 0) & (volume >= 0)
    ordered = (high >= np.maximum(open_, close)) & (low <= np.minimum(open_, close)) & (high >= low)
    reasons = [
        (~dated, "timestamp"),
        (~numeric, "not a finite number"),
        (~positive, "not positive"),
        *beyond_reason(columns),
        (~ordered, "open, high, low, close out of order"),
    ]
    return np.select([wrong for wrong, _ in reasons], [reason for _, reason in reasons], default="").astype(object)
