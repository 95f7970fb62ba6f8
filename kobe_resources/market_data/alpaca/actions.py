"""Alpaca's corporate actions as splits, dividends and the rest, and the names that a company bore.

A row is judged by itself: one that cannot be read is refused and the others count. Kinds that are unknown here are counted
and named. Trusts the client for whole pages, and nothing in them.
"""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

from kobe_resources.market_data.local.columns import MOST_RATIO
from kobe_resources.market_data.polygon.rows import RefusedRow, is_symbol, printable

SPLITS = ("forward_splits", "reverse_splits", "stock_dividends")
DIVIDENDS = "cash_dividends"
OTHERS: dict[str, tuple[str, str, tuple[str, ...], tuple[str, ...]]] = {
    "unit_splits": ("unit_split", "old_symbol", ("new_symbol",), ("new_rate", "old_rate")),
    "spin_offs": ("spin_off", "source_symbol", ("new_symbol",), ("new_rate", "source_rate")),
    "cash_mergers": ("cash_merger", "acquiree_symbol", ("acquirer_symbol",), ("rate",)),
    "stock_mergers": ("stock_merger", "acquiree_symbol", ("acquirer_symbol",), ("acquirer_rate", "acquiree_rate")),
    "stock_and_cash_mergers": (
        "stock_and_cash_merger",
        "acquiree_symbol",
        ("acquirer_symbol",),
        ("acquirer_rate", "acquiree_rate"),
    ),
    "name_changes": ("name_change", "old_symbol", ("new_symbol",), ()),
    "worthless_removals": ("worthless_removal", "symbol", (), ("rate",)),
    "redemptions": ("redemption", "symbol", (), ("rate",)),
    "rights_distributions": ("rights_distribution", "source_symbol", ("new_symbol",), ("rate",)),
}
"""The vendor's key → kind, whose it is, the other symbol, and the rate (a quotient of two where two are named)."""
MARKET_KINDS = ("forward_split", "reverse_split", "stock_dividend", *(kind for kind, *_ in OTHERS.values()))
"""The vendor's words for all but cash dividends, of which there are too many to ask for the whole market's."""
DATES = ("ex_date", "effective_date", "process_date")
ENDS = ("cash_merger", "stock_merger", "stock_and_cash_merger", "worthless_removal")
LARGEST_DENOMINATOR = 100
ROUNDED = 1e-5
"""The vendor writes rates with five decimals."""


class SplitAction(NamedTuple):
    """A split as the store takes it."""

    symbol: str
    execution_date: dt.date
    split_from: float
    split_to: float


class Dividend(NamedTuple):
    """A cash dividend as the store takes it."""

    symbol: str
    ex_date: dt.date
    amount: float
    kind: str
    pay_date: dt.date | None


class Action(NamedTuple):
    """Anything else that happened to a company."""

    symbol: str
    ex_date: dt.date
    kind: str
    other_symbol: str | None
    rate: float | None


@dataclass
class Actions:
    """What some pages came to, each row once. unknown, foreign: rows by kind, by currency, that are only counted."""

    splits: dict[SplitAction, None] = field(default_factory=dict)
    dividends: dict[Dividend, None] = field(default_factory=dict)
    others: dict[Action, None] = field(default_factory=dict)
    refused: dict[RefusedRow, None] = field(default_factory=dict)
    unknown: Counter[str] = field(default_factory=Counter)
    foreign: Counter[str] = field(default_factory=Counter)

    def add(self, page: Mapping[str, list[Any]]) -> None:
        """Take in one page."""
        for key, rows in page.items():
            if key not in OTHERS and key not in SPLITS and key != DIVIDENDS:
                self.unknown[printable(key)] += len(rows)
                continue
            for row in rows:
                self._add(key, row if isinstance(row, dict) else {})

    def _add(self, key: str, row: dict[str, Any]) -> None:
        day = next((day for name in DATES if (day := _date(row.get(name)))), None)
        whose = "symbol" if key in SPLITS or key == DIVIDENDS else OTHERS[key][1]
        symbol = row.get(whose, row.get("symbol"))
        if not is_symbol(symbol) or day is None:
            self._refuse(key, symbol, day, "no symbol or no date", row)
        elif key == DIVIDENDS:
            self._add_dividend(str(symbol), row)
        elif key in SPLITS:
            self._add_split(key, str(symbol), day, row)
        else:
            self.others[_other(key, str(symbol), day, row)] = None

    def _add_split(self, key: str, symbol: str, day: dt.date, row: dict[str, Any]) -> None:
        rate = _positive(row.get("rate"))
        before, after = _positive(row.get("old_rate")), _positive(row.get("new_rate"))
        if key == "stock_dividends":
            before, after = 1.0, None if rate is None else 1.0 + rate
        if before is None or after is None:
            self._refuse(key, symbol, day, "rate is not positive", row)
            return
        if max(before / after, after / before) > MOST_RATIO:
            self._refuse(key, symbol, day, "rate is more than any split", row)
            return
        self.splits[SplitAction(symbol, day, *ratio(before, after))] = None
        renamed = row.get("new_symbol")
        if is_symbol(renamed) and renamed != symbol:
            self.others[Action(symbol, day, "name_change", str(renamed), None)] = None

    def _add_dividend(self, symbol: str, row: dict[str, Any]) -> None:
        # Never another date: the process date of a dividend is the day on which it is paid.
        day, amount = _date(row.get("ex_date")), _positive(row.get("rate"))
        currency = row.get("currency") or "USD"
        if currency != "USD":
            self.foreign[printable(currency)] += 1
        elif day is None or amount is None:
            self._refuse(DIVIDENDS, symbol, day, "no ex-date or no amount", row)
        else:
            kind = row.get("sub_type") if isinstance(row.get("sub_type"), str) else None
            kind = kind or ("special" if row.get("special") is True else "regular")
            self.dividends[Dividend(symbol, day, amount, printable(kind), _date(row.get("payable_date")))] = None

    def _refuse(self, key: str, symbol: object, day: dt.date | None, why: str, row: dict[str, Any]) -> None:
        self.refused[RefusedRow(printable(symbol or ""), day, f"{key}: {why}", repr(row))] = None


class Names:
    """Which company bore which symbol when, by its name changes."""

    def __init__(self, actions: Iterable[Action]) -> None:
        self._changes: dict[str, list[tuple[dt.date, str]]] = {}
        for action in sorted(actions, key=lambda action: action.ex_date):
            if action.kind == "name_change" and action.other_symbol and action.other_symbol != action.symbol:
                self._changes.setdefault(action.symbol, []).append((action.ex_date, action.other_symbol))

    def later(self, symbol: str, day: dt.date) -> list[tuple[dt.date, str]]:
        """The names that the bearer of `symbol` on `day` took afterwards, each with its first day."""
        found: list[tuple[dt.date, str]] = []
        while True:
            change = next((change for change in self._changes.get(symbol, ()) if change[0] > day), None)
            if change is None or change in found:
                return found
            found.append(change)
            day, symbol = change

    def bearer(self, symbol: str, day: dt.date, candidates: Collection[str]) -> str | None:
        """The candidate that is the company which bore `symbol` on `day`, its latest name first; None where none is."""
        names = [symbol, *(name for _, name in self.later(symbol, day))]
        return next((name for name in reversed(names) if name in candidates), None)

    def given_up(self, symbol: str, candidates: Collection[str]) -> dt.date | None:
        """Since when the bars under `symbol` are no longer those of another candidate's former name; None where they never
        were.
        """
        days = [day for day, _ in self._changes.get(symbol, ())]
        eve = dt.timedelta(days=1)
        return max((day for day in days if self.bearer(symbol, day - eve, candidates) not in (symbol, None)), default=None)

    def last_left(self, symbol: str) -> dt.date | None:
        """The last day on which a company gave `symbol` up for good; None where none did."""
        changes = self._changes.get(symbol)
        if not changes:
            return None
        day = changes[-1][0]
        return None if any(name == symbol for _, name in self.later(symbol, day - dt.timedelta(days=1))) else day

    def former(self, candidates: Collection[str]) -> set[str]:
        """Symbols under which companies of the candidates once traded."""
        eve = dt.timedelta(days=1)
        return {
            symbol
            for symbol, changes in self._changes.items()
            if any(self.bearer(symbol, day - eve, candidates) for day, _ in changes)
        }


def ratio(before: float, after: float) -> tuple[float, float]:
    """A split's two sides; a rate that was cut to five decimals becomes the small ratio that it stands for."""
    if before.is_integer() and after.is_integer():
        return before, after
    quotient = after / before
    whole = round(1.0 / quotient)
    if quotient < 1.0 and abs(1.0 / whole - quotient) <= ROUNDED:
        return float(whole), 1.0
    near = Fraction(quotient).limit_denominator(LARGEST_DENOMINATOR)
    if near > 0 and abs(float(near) - quotient) <= ROUNDED * (1.0 + quotient):
        return float(near.denominator), float(near.numerator)
    return before, after


def _other(key: str, symbol: str, day: dt.date, row: dict[str, Any]) -> Action:
    kind, _, others, rates = OTHERS[key]
    other = next((str(row[name]) for name in others if is_symbol(row.get(name))), None)
    numbers = [_positive(row.get(name)) for name in rates]
    rate = numbers[0] if numbers else None
    if rate is not None and len(numbers) > 1:
        rate = rate / numbers[1] if numbers[1] is not None else None
    return Action(symbol, day, kind, other, rate)


def _date(text: object) -> dt.date | None:
    try:
        return dt.date.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _positive(value: object) -> float | None:
    """A positive number, also where it is written as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number > 0 else None
