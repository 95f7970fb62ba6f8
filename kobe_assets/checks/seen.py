"""What an offender of a check reads as, before it is weighed, and what a person can do by where the bars come from."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from kobe_resources.market_data import AGING


class Seen(NamedTuple):
    """What an offender comes to, before it is known whether its symbol may trade and what traded over it."""

    kind: str
    rank: int
    seen: str
    effect: str
    mend: str
    symbol: str = ""
    session: Any = None
    until: Any = None
    size: float = 0.0


def day_of(value: Any) -> dt.date | None:
    """A date of whatever a frame holds; None for NaT and None."""
    if value is None or value != value:
        return None
    day = value.date() if hasattr(value, "date") else value
    return day if isinstance(day, dt.date) else None


class Mends:
    """What a person can do, by where the bars come from."""

    def __init__(self, vendor: str) -> None:
        self.vendor = vendor
        self.own = vendor == "files"

    def bar(self, symbol: str) -> str:
        """For a bar that is wrong."""
        where = "mend the row in the file" if self.own else f"tell {self.vendor}, then {self.again(symbol)}"
        return f'{where}; if it is true: [universe] release.{symbol} = "why"'

    def again(self, symbol: str) -> str:
        """For a bar that may be another at its source: over a network old bars are asked for by symbol alone."""
        return (
            f"`kobe bars refresh --symbol {symbol}` asks for its bars again"
            if self.vendor in AGING
            else "`kobe bars refresh --force`"
        )

    def split(self, symbol: str, day: dt.date | None, before: float, after: float) -> str:
        """For a split that is not listed."""
        if self.own:
            return f"add {symbol},{day},{before:g},{after:g} to splits.csv"
        return f"`kobe bars refresh --force` asks {self.vendor} again; own files can list it in splits.csv"

    def right_split(self, symbol: str, day: dt.date | None, before: float, after: float, listed: dt.date | None = None) -> str:
        """For a split that is listed with another ratio, or for another day, `listed`."""
        if self.own:
            return f"write {symbol},{day},{before:g},{after:g} in splits.csv instead of its row of {listed or day}"
        return self.split_row(symbol)

    def no_split(self, symbol: str, listed: dt.date | None) -> str:
        """For a split that is listed and leaves no trace in the prices: there was none, or they are adjusted for it."""
        if self.own:
            return f"take the row of {symbol} of {listed} out of splits.csv, or mend its day; adjusted prices: give raw ones"
        return self.split_row(symbol)

    def split_row(self, symbol: str) -> str:
        """For a split that is listed wrongly."""
        return (
            f"mend the row of {symbol} in splits.csv" if self.own else f"tell {self.vendor}, then `kobe bars refresh --force`"
        )

    def load(self) -> str:
        """For bars that lack."""
        return "add the rows to the file" if self.own else "`kobe bars refresh --force` asks again for what lacks"


Reader = Callable[[Mapping[str, Any], Mends], Iterator[Seen]]


def plain(kind: str, rank: int, effect: str, mend: str, seen: Callable[[Mapping[str, Any]], str]) -> Reader:
    """A reader of rows that are about one symbol and day and say all themselves."""

    def read(row: Mapping[str, Any], _: Mends) -> Iterator[Seen]:
        day = next((row[name] for name in ("session", "execution_date", "first_session") if name in row), None)
        yield Seen(kind, rank, seen(row), effect, mend, row.get("symbol") or row.get("example") or "", day)

    return read
