"""The vendor's rows as columns: what may be stored, and what is refused with its reason.

A row that cannot be a bar (or a split, or a ticker) is refused, never repaired but for rounding. Of two rows of one bar that
differ neither is known to be true, and both are refused. Trusts the client for whole answers, and nothing in them.
"""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

import numpy as np

from kobe_resources.market_data.local.columns import MOST_PRICE, MOST_RATIO, MOST_SHARES
from kobe_resources.market_data.over_network import RESUMES
from kobe_resources.market_data.polygon.errors import PolygonContradiction, PolygonIncomplete
from kobe_resources.market_data.rounding import widen

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]

PRICE_KEYS = {"open": "o", "high": "h", "low": "l", "close": "c"}
FIRST_MS, LAST_MS = 0, 4_102_444_800_000
"""1970 to 2100: a timestamp outside is in another unit."""
LONGEST_SYMBOL = 32
ROUNDING = 1e-6
"""Share of the price by which an open or a close may lie outside high and low."""
TWO_BARS = "two bars of one session that differ"
UNREADABLE = "control bytes or no ticker"
TRIES = 3
DIVIDEND_KINDS = {
    "SC": "special",
    "LT": "capital_gains",
    "ST": "capital_gains",
    **{kind: kind for kind in ("special", "supplemental", "irregular")},
}
"""The vendor's words, of the older path and of the newer; whatever else is regular."""


@dataclass(frozen=True)
class RefusedRow:
    """A row that is not stored; `symbol` is escaped to printable ASCII. row: as the vendor sent it, to tell two apart."""

    symbol: str
    session: dt.date | None
    reason: str
    row: str = field(default="", repr=False)


@dataclass(frozen=True)
class BarColumns:
    """Bars as equally long columns, ascending by symbol and session, one row a (symbol, session).

    symbols: object array. sessions: datetime64[D]. columns: open, high, low, close, volume, vwap, trades (NaN where the
    vendor gave none), float64. repeated: equal rows that were dropped. widened: rows whose high or low was moved to their
    open or close.
    """

    symbols: np.ndarray
    sessions: np.ndarray
    columns: dict[str, np.ndarray]
    refused: tuple[RefusedRow, ...] = ()
    repeated: int = 0
    widened: int = 0

    def __len__(self) -> int:
        return len(self.symbols)

    @property
    def unreadable(self) -> bool:
        """Whether a row is refused whose symbol cannot be read."""
        return any(refusal.reason == UNREADABLE for refusal in self.refused)


@dataclass(frozen=True)
class Listing:
    """Rows of a reference list that may be stored, as tuples, and those that may not."""

    rows: list[tuple[Any, ...]]
    refused: tuple[RefusedRow, ...] = field(default=())
    foreign: Counter[str] = field(default_factory=Counter)
    """Dividends by currency that are no dollars: sound rows, and left out."""


A = TypeVar("A", BarColumns, Listing)


def stable_read(ask: Callable[[], A]) -> A:
    """An answer without refused rows, or one whose refused rows came back the same, field by field.

    A row garbled on the way passes when asked again; one that the vendor holds so is refused for good.
    Raises PolygonIncomplete where every answer refuses other rows.
    """
    before: tuple[RefusedRow, ...] | None = None
    for _ in range(TRIES):
        answer = ask()
        if not answer.refused or answer.refused == before:
            return answer
        before = answer.refused
    raise PolygonIncomplete(f"Polygon sends other bad rows each time ({before[0].reason if before else ''})", RESUMES)


def is_symbol(text: object) -> bool:
    """Whether this may be stored as a ticker: printable ASCII without blanks, not too long."""
    return (
        isinstance(text, str) and 0 < len(text) <= LONGEST_SYMBOL and text.isascii() and text.isprintable() and " " not in text
    )


def range_bars(rows: Sequence[Row], symbol: str, start: dt.date, end: dt.date) -> BarColumns:
    """The bars of one symbol from a range answer; raises PolygonContradiction where one lies outside `start` … `end`."""
    bars = _bars(rows, np.full(len(rows), symbol, dtype=object))
    if len(bars) and not (np.datetime64(start) <= bars.sessions[0] and bars.sessions[-1] <= np.datetime64(end)):
        raise PolygonContradiction(f"Polygon sent bars of {symbol} outside {start} … {end}", RESUMES)
    return bars


def grouped_bars(rows: Sequence[Row], session: dt.date, wanted: Collection[str]) -> BarColumns:
    """The bars of `wanted` on one day of the market; raises PolygonContradiction where one is of another day.

    Bad rows of other symbols hold none up; one whose ticker cannot be read may be of any of them.
    """
    rows = [row for row in rows if not is_symbol(name := row.get("T")) or name in wanted]
    symbols = np.empty(len(rows), dtype=object)
    symbols[:] = [name if isinstance(name := row.get("T"), str) else "" for row in rows]
    bars = _bars(rows, symbols)
    if len(bars) and (bars.sessions != np.datetime64(session)).any():
        raise PolygonContradiction(f"Polygon sent bars of another day as those of {session}", RESUMES)
    return bars


def frame_of(parts: Sequence[BarColumns]) -> pd.DataFrame:
    """One frame of all parts: symbol, session, prices, volume, vwap, trades, as the store takes it."""
    import pandas as pd

    filled = [part for part in parts if len(part)]
    if not filled:
        return pd.DataFrame(columns=["symbol", "session", *PRICE_KEYS, "volume", "vwap", "trades"])
    columns: dict[str, Any] = {"symbol": np.concatenate([part.symbols for part in filled])}
    columns["session"] = np.concatenate([part.sessions for part in filled]).astype("datetime64[s]")
    for name in filled[0].columns:
        columns[name] = np.concatenate([part.columns[name] for part in filled])
    # An object column, because pandas' own string type costs a copy and the store reads both.
    return pd.DataFrame(columns | {"symbol": pd.Series(columns["symbol"], dtype=object)}, copy=False)


def split_rows(rows: Sequence[Row]) -> Listing:
    """(symbol, execution_date, split_from, split_to) of a splits answer, equal ones once."""
    kept: dict[tuple[Any, ...], None] = {}
    refused = []
    for row in rows:
        symbol, day = row.get("ticker"), _date(row.get("execution_date"))
        split_from, split_to = row.get("split_from"), row.get("split_to")
        if not is_symbol(symbol):
            refused.append(RefusedRow(printable(symbol), day, "split: no ticker", repr(row)))
        elif day is None:
            refused.append(RefusedRow(printable(symbol), None, "split: no execution date", repr(row)))
        elif not (_is_positive(split_from) and _is_positive(split_to)):
            refused.append(RefusedRow(printable(symbol), day, "split: ratio is not positive", repr(row)))
        elif max(split_from / split_to, split_to / split_from) > MOST_RATIO:
            refused.append(RefusedRow(printable(symbol), day, "split: ratio is more than any split", repr(row)))
        else:
            kept[(symbol, day, float(split_from), float(split_to))] = None
    return Listing(list(kept), tuple(refused))


def dividend_rows(rows: Sequence[Row], wanted: Collection[str]) -> Listing:
    """(symbol, ex_date, amount, kind, pay_date) of the `wanted` in a dividends answer, equal ones once; dollars only."""
    kept: dict[tuple[Any, ...], dt.date | None] = {}
    refused, foreign = [], Counter[str]()
    for row in rows:
        symbol, day, amount = row.get("ticker"), _date(row.get("ex_dividend_date")), row.get("cash_amount")
        if not isinstance(symbol, str) or symbol not in wanted:
            continue
        currency = row.get("currency") or "USD"
        if currency != "USD":
            foreign[printable(currency)] += 1
        elif day is None:
            refused.append(RefusedRow(printable(symbol), None, "dividend: no ex-date", repr(row)))
        elif not _is_positive(amount):
            refused.append(RefusedRow(printable(symbol), day, "dividend: amount is not positive", repr(row)))
        else:
            kind = DIVIDEND_KINDS.get(str(row.get("dividend_type") or row.get("distribution_type")), "regular")
            kept[(symbol, day, float(amount), kind)] = _date(row.get("pay_date"))
    return Listing([(*key, paid) for key, paid in kept.items()], tuple(refused), foreign)


def ticker_rows(rows: Sequence[Row]) -> Listing:
    """(symbol, name, type, active) of a tickers answer, one row a symbol: of two, the active one."""
    kept: dict[str, tuple[Any, ...]] = {}
    refused = []
    for row in rows:
        symbol, name, kind, active = (row.get(key) for key in ("ticker", "name", "type", "active"))
        if not is_symbol(symbol):
            refused.append(RefusedRow(printable(symbol), None, f"ticker: {UNREADABLE}", repr(row)))
        elif symbol not in kept or active is True:
            kept[str(symbol)] = (symbol, _clean(name), _clean(kind), active is True)
    return Listing([kept[symbol] for symbol in sorted(kept)], tuple(refused))


def printable(value: object) -> str:
    """Whatever the vendor sent where a ticker belongs, escaped and shortened: safe in a table, a log, a terminal."""
    text = value if isinstance(value, str) else repr(value)
    return text.encode("unicode_escape").decode("ascii")[:LONGEST_SYMBOL]


def _bars(rows: Sequence[Row], symbols: np.ndarray) -> BarColumns:
    stamps, good_stamps = _numbers(rows, "t", float("nan"))
    good_stamps &= (stamps >= FIRST_MS) & (stamps < LAST_MS)
    sessions = _sessions(np.where(good_stamps, stamps, 0))
    columns: dict[str, np.ndarray] = {}
    numeric = np.ones(len(rows), dtype=bool)
    for name, short in {**PRICE_KEYS, "volume": "v"}.items():
        columns[name], good = _numbers(rows, short, float("nan"))
        numeric &= good
    for name, short in {"vwap": "vw", "trades": "n"}.items():
        values, _ = _numbers(rows, short, float("nan"))
        kept = (values > 0) & (values <= MOST_PRICE) if name == "vwap" else (values >= 0) & (values <= MOST_SHARES)
        columns[name] = np.where(kept, values, np.nan)
    widened = widen(columns, ROUNDING)
    reasons = _reasons(columns, symbols, numeric, good_stamps)
    refused = tuple(
        RefusedRow(
            printable(symbols[index]), sessions[index].item() if good_stamps[index] else None, reasons[index], repr(rows[index])
        )
        for index in np.flatnonzero(reasons.astype(bool)).tolist()
    )
    good = ~reasons.astype(bool)
    bars = _taken(BarColumns(symbols, sessions, columns), good, refused, 0)
    return replace(_without_repeats(_sorted(bars)), widened=int((widened & good).sum()))


def _numbers(rows: Sequence[Row], key: str, missing: float) -> tuple[np.ndarray, np.ndarray]:
    """The values of a field as float64, and which of them were finite numbers (others are `missing`)."""
    values = [row.get(key) for row in rows]
    if set(map(type, values)) <= {int, float}:
        numbers = np.array(values, dtype=np.float64)
    else:
        numbers = np.array([value if type(value) in (int, float) else missing for value in values], dtype=np.float64)
    return numbers, np.isfinite(numbers)


def _reasons(columns: dict[str, np.ndarray], symbols: np.ndarray, numeric: np.ndarray, stamped: np.ndarray) -> np.ndarray:
    """Why each row is refused, the first reason that holds; "" where it is a bar."""
    open_, high, low, close = (columns[name] for name in PRICE_KEYS)
    names = {symbol: is_symbol(symbol) for symbol in set(symbols)}
    named = np.fromiter(map(names.__getitem__, symbols), dtype=bool, count=len(symbols))
    positive = (open_ > 0) & (high > 0) & (low > 0) & (close > 0) & (columns["volume"] >= 0)
    ordered = (high >= np.maximum(open_, close)) & (low <= np.minimum(open_, close)) & (high >= low)
    reasons = [
        (~named, UNREADABLE),
        (~stamped, "timestamp"),
        (~numeric, "not a finite number"),
        (~positive, "not positive"),
        *beyond_reason(columns),
        (~ordered, "open, high, low, close out of order"),
    ]
    return np.select([condition for condition, _ in reasons], [reason for _, reason in reasons], default="").astype(object)


def beyond_reason(columns: dict[str, np.ndarray]) -> list[tuple[np.ndarray, str]]:
    """Which rows have more shares, or a higher price, than there are: a slip that would spoil every average over it."""
    highest = np.maximum.reduce([columns[name] for name in PRICE_KEYS])
    return [
        (columns["volume"] > MOST_SHARES, "more shares than there are"),
        (highest > MOST_PRICE, "a price that no share costs"),
    ]


def _sessions(stamps_ms: np.ndarray) -> np.ndarray:
    """The New York dates of timestamps in UTC milliseconds, as datetime64[D]."""
    import pandas as pd

    index = pd.DatetimeIndex(stamps_ms.astype("int64").astype("datetime64[ms]")).tz_localize("UTC")
    local: np.ndarray = index.tz_convert("America/New_York").tz_localize(None).to_numpy()
    return local.astype("datetime64[D]")


def _sorted(bars: BarColumns) -> BarColumns:
    after = (bars.symbols[1:] > bars.symbols[:-1]) | (
        (bars.symbols[1:] == bars.symbols[:-1]) & (bars.sessions[1:] > bars.sessions[:-1])
    )
    if after.all():
        return bars
    order = np.lexsort((bars.sessions, bars.symbols.astype(str)))
    return _taken(bars, order, bars.refused, bars.repeated)


def _without_repeats(bars: BarColumns) -> BarColumns:
    """Equal rows once; of rows of one bar that differ none, and one refusal."""
    if len(bars) < 2:
        return bars
    again = np.zeros(len(bars), dtype=bool)
    again[1:] = (bars.symbols[1:] == bars.symbols[:-1]) & (bars.sessions[1:] == bars.sessions[:-1])
    if not again.any():
        return bars
    differ = np.zeros(len(bars), dtype=bool)
    for values in bars.columns.values():
        differ[1:] |= again[1:] & ~np.isclose(values[1:], values[:-1], rtol=0, atol=0, equal_nan=True)
    group = np.cumsum(~again)
    wrong = np.isin(group, group[differ])
    found = [
        RefusedRow(
            printable(bars.symbols[place]), bars.sessions[place].item(), TWO_BARS, repr(_rows_of(bars, group == group[place]))
        )
        for place in np.flatnonzero(wrong & ~again).tolist()
    ]
    return _taken(bars, ~again & ~wrong, (*bars.refused, *found), int((again & ~wrong).sum()))


def _rows_of(bars: BarColumns, which: np.ndarray) -> dict[str, list[float]]:
    """Some rows as their columns."""
    return {name: values[which].tolist() for name, values in bars.columns.items()}


def _taken(bars: BarColumns, which: np.ndarray, refused: tuple[RefusedRow, ...], repeated: int) -> BarColumns:
    columns = {name: values[which] for name, values in bars.columns.items()}
    return BarColumns(bars.symbols[which], bars.sessions[which], columns, refused, repeated)


def _date(text: object) -> dt.date | None:
    try:
        return dt.date.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _is_positive(value: object) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0


def _clean(text: object) -> str | None:
    """A name or a type without control characters; None where there is none."""
    if not isinstance(text, str):
        return None
    return "".join(letter for letter in text if letter.isprintable()).strip()[:200] or None
