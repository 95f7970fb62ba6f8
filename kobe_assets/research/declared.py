"""What a declared indicator is, and its column on a panel: of one listing, of another symbol, or ranked (rules, section 2).

It trusts `language.py` for declarations that make sense; what a person's own function gives is checked.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kobe_assets.research.faults import BadDeclaration, StrategyFault, is_a_fault, line_of, one_line, place_of
from kobe_assets.research.panel import Floats, Ints, Panel
from kobe_assets.research.parallel import CORES, in_slices

PRICE_NAMES = ("open", "high", "low", "close", "volume", "dollar_volume")
"""What of a bar an indicator may be computed over, by name."""
CANONICAL = {"rsi(2)": "rsi2", "sma(200)": "sma200", "atr(14)": "atr14", "ibs()": "ibs"}
"""Declarations of the columns that are always there and have rules of their own, by their words."""


@dataclass(frozen=True)
class ListingBars:
    """One listing's bars in order, as read-only arrays: adjusted prices and volume, and the sessions (datetime64[D])."""

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    session: Any

    @property
    def dollar_volume(self) -> Floats:
        """close × volume, dollars."""
        return np.asarray(self.close * self.volume)

    def __len__(self) -> int:
        return len(self.close)


OverListing = Callable[[ListingBars], Any]


@dataclass(frozen=True)
class Indicator:
    """A declared column. Two are equal where they say the same and, of `custom`, mean the same function.

    words: the declaration as written. over: computes it from one listing's bars; None where `inner` is read instead. function:
    a person's own. inner, symbol: the column of another symbol; inner alone: the rank of it among the listings. warmup: how
    many first bars are undefined whatever `over` gives. is_price: lies on the scale of the listing's prices. place: file and
    line of the `custom` that declares it.
    """

    words: str
    over: OverListing | None = field(default=None, compare=False, repr=False)
    function: Callable[..., Any] | None = None
    inner: Indicator | None = None
    symbol: str | None = None
    warmup: int = 0
    is_price: bool = field(default=False, compare=False)
    place: str = field(default="", compare=False, repr=False)

    def of(self, symbol: str) -> Indicator:
        """The same of another symbol, at its bar of the same session; undefined where it has none."""
        if not (isinstance(symbol, str) and symbol.strip()):
            raise BadDeclaration(f'{self.words}.of({symbol!r}): name a symbol, .of("SPY")')
        return Indicator(f'{self.words}.of("{symbol}")', inner=self, symbol=symbol, place=self.place)

    def __str__(self) -> str:
        return self.words


def is_number(value: Any) -> bool:
    """Whether a value is a finite number that a float holds, of Python or of numpy; True and False are none."""
    real = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    return real and bool(abs(value) <= sys.float_info.max)


def series(bars: ListingBars, what: str | Indicator) -> Floats:
    """A price of the bars, or an indicator of them, as TA-Lib takes it."""
    values = getattr(bars, what) if isinstance(what, str) else values_of(what, bars)
    return np.ascontiguousarray(values, dtype=np.float64)


def check_series(what: Any, of: str) -> None:
    """Raise BadDeclaration where `what` is neither a price nor an indicator of the listing itself."""
    if isinstance(what, Indicator) and what.over is not None:
        return
    if not (isinstance(what, str) and what in PRICE_NAMES):
        text = what.words if isinstance(what, Indicator) else repr(what)
        raise BadDeclaration(f"{of} reads {text}: name one of {', '.join(PRICE_NAMES)}, or an indicator of the listing itself")


def function_of(indicator: Indicator) -> Callable[..., Any] | None:
    """The function of a person's own that lies in a declaration, however deep."""
    if indicator.function is not None or indicator.inner is None:
        return indicator.function
    return function_of(indicator.inner)


def symbols_of(indicator: Indicator) -> frozenset[str]:
    """The other symbols that a declaration reads."""
    inner = symbols_of(indicator.inner) if indicator.inner is not None else frozenset()
    return inner | ({indicator.symbol} if indicator.symbol else frozenset())


def values_of(indicator: Indicator, bars: ListingBars) -> Floats:
    """(bars) what an indicator of one listing gives, NaN where undefined. Raises StrategyFault where a person's own fails."""
    found = np.array(_given_by(indicator, bars), dtype=np.float64)
    found[~np.isfinite(found)] = np.nan
    found[: indicator.warmup] = np.nan
    return found


def _given_by(indicator: Indicator, bars: ListingBars) -> Any:
    """(bars) what its function gives: numbers, one for each bar. Raises StrategyFault."""
    assert indicator.over is not None
    try:
        with np.errstate(all="ignore"):
            values = unmasked(indicator.over(bars))
    except StrategyFault:
        raise
    except BaseException as error:
        # A person's own function may raise anything; of the language's own only TA-Lib does.
        if not is_a_fault(error):
            raise
        place = place_of(error, line_of(indicator.function, indicator.place))
        raise StrategyFault(f"the indicator {indicator} fails at {place} ({one_line(error)}): {OVER_A_LISTING}") from error
    if values.shape != (len(bars),) or values.dtype.kind not in "fiub":
        what = f"{values.dtype} of shape {values.shape}"
        place = line_of(indicator.function, indicator.place) if indicator.function else indicator.words
        raise StrategyFault(f"the indicator {indicator} at {place} gives {what} for {len(bars)} bars: {OVER_A_LISTING}")
    return values


def unmasked(given: Any) -> Any:
    """What a person's function gives as an array; where a masked array hides a value, that is undefined, and false.

    `asarray` would bring out the number under the mask, which the person took away.
    """
    if isinstance(given, np.ma.MaskedArray) and given.dtype.kind in "fiub":
        return np.ma.filled(given, False) if given.dtype == np.bool_ else np.ma.filled(given.astype(np.float64), np.nan)
    return np.asarray(given)


CELLS = 100_000
"""Bars that are ranked together: enough for a call of numpy to be worth it, and few enough to stay in the cache."""
OVER_A_LISTING = (
    "it takes the bars of one listing, however few (bars.open, .high, .low, .close, .volume, .dollar_volume, .session), and"
    " returns one number for each (NaN where undefined)"
)


def declared_columns(panel: Panel, declared: Mapping[str, Indicator], canonical: Mapping[str, Floats]) -> dict[str, Floats]:
    """name → (bars) column of each declaration, in the panel's flat order, unlagged; what is declared twice is computed once.

    canonical: the columns of CANONICAL by name.
    """
    known = _over_listings(panel, [_innermost(indicator) for indicator in declared.values()])
    return {name: _column(panel, indicator, canonical, known) for name, indicator in declared.items()}


def _column(panel: Panel, indicator: Indicator, canonical: Mapping[str, Floats], known: dict[Indicator, Floats]) -> Floats:
    """(bars) the column of one declaration; what it is made from is added to `known`.

    Inside `declared_columns` a function that calls itself would hold itself, and all columns with it, long after they serve.
    """
    if _is_canonical(indicator):
        return canonical[CANONICAL[indicator.words]]
    if indicator not in known and indicator.inner is not None:
        inner = _column(panel, indicator.inner, canonical, known)
        known[indicator] = _ranks(panel, inner) if indicator.symbol is None else _of_symbol(panel, inner, indicator.symbol)
    return known[indicator]


def _is_canonical(indicator: Indicator) -> bool:
    return indicator.words in CANONICAL and indicator.inner is None and indicator.function is None


def _innermost(indicator: Indicator) -> Indicator:
    """What a declaration reads of single listings; itself, where it is one of them."""
    return indicator if indicator.inner is None else _innermost(indicator.inner)


def listing_bars(panel: Panel, listing: int) -> ListingBars:
    """The bars of one listing of the panel, as read-only arrays."""
    own = slice(*panel.start[listing : listing + 2])
    prices = np.ascontiguousarray(panel.open[own]), panel.high[own], panel.low[own], panel.close[own]
    return ListingBars(*map(read_only, (*prices, panel.volume[own], panel.sessions[panel.session[own]])))


def read_only(column: Any) -> Any:
    """The same values, that nothing can be written into: other strategies read them too. Of a flag alone a function of a
    person's own could rid itself, so the view stands on memory that gives no leave to write."""
    # Dates have no buffer of their own.
    plain = column.view(np.int64) if column.dtype.kind == "M" else column
    return np.asarray(memoryview(plain).toreadonly()).view(column.dtype)


def _over_listings(panel: Panel, indicators: Iterable[Indicator]) -> dict[Indicator, Floats]:
    """The columns of those that are not always there."""
    found = {indicator: np.empty(panel.bars) for indicator in indicators if not _is_canonical(indicator)}

    def part(begin: int, end: int) -> None:
        for listing in range(begin, end):
            bars, own = listing_bars(panel, listing), slice(*panel.start[listing : listing + 2])
            for indicator, column in found.items():
                column[own] = _given_by(indicator, bars)
                column[own][: indicator.warmup] = np.nan
        # Of all its listings at once: of one there is too little for a call of numpy.
        whole = slice(panel.start[begin], panel.start[end])
        for column in found.values():
            column[whole][np.isinf(column[whole])] = np.nan

    if found:
        in_slices(len(panel.symbols), CORES, part)
    return found


def _of_symbol(panel: Panel, values: Floats, symbol: str) -> Floats:
    """(bars) the values at the symbol's bar of the same session."""
    if symbol not in panel.names:
        return np.full(panel.bars, np.nan)
    sessions = np.arange(len(panel.sessions))
    bar = panel.bars_at(np.full(len(sessions), panel.names.index(symbol)), sessions)
    at_session = np.where(bar >= 0, values[np.maximum(bar, 0)], np.nan)
    return np.asarray(at_session[panel.session])


def _ranks(panel: Panel, values: Floats) -> Floats:
    """(bars) the percent rank among the listings of the session that may trade; of one that may not, among them and itself."""
    found = np.full(panel.bars, np.nan)
    listings = len(panel.symbols)
    counts = np.array([name not in panel.outside for name in panel.symbols], np.bool_)

    def part(begin: int, end: int) -> None:
        bars = panel.bar_at[begin:end]
        order = np.argsort(np.where(bars >= 0, values[bars], np.nan), axis=1)
        bars, inside = np.take_along_axis(bars, order, axis=1), counts[order]
        # A row is a session from its lowest value up; what is undefined comes last.
        ordered = np.where(bars >= 0, values[bars], np.nan)
        defined = ~np.isnan(ordered)
        inside &= defined
        through: Ints = np.cumsum(inside, axis=1)
        place = np.arange(listings)
        differs = np.ones((end - begin, listings + 1), np.bool_)
        differs[:, 1:-1] = ordered[:, 1:] != ordered[:, :-1]
        first = np.maximum.accumulate(np.where(differs[:, :-1], place, 0), axis=1)
        last = np.minimum.accumulate(np.where(differs[:, 1:], place, listings)[:, ::-1], axis=1)[:, ::-1]
        below: Ints = np.take_along_axis(through - inside, first, axis=1)
        others: Ints = through[:, -1:] - inside
        # Equal values share the mean of their ranks, counted from 0.
        with np.errstate(invalid="ignore"):
            ranks = (below + np.take_along_axis(through, last, axis=1) - inside) / 2.0 / others
        found[bars[defined]] = ranks[defined]

    if panel.bars:
        in_slices(len(panel.sessions), max(CORES, panel.bar_at.size // CELLS), part)
    return found
