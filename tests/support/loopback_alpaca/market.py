"""The market a loopback Alpaca serves: bars, corporate actions and assets in the vendor's shapes, as JSON bytes.

Shapes follow the vendor's public documentation; numbers round-trip exactly. Trusts the test that fills it.
"""

from __future__ import annotations

import base64
import datetime as dt
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pandas as pd

from tests.support.loopback_polygon.market import random_market

Row = dict[str, Any]
NEW_YORK = ZoneInfo("America/New_York")
VALID = re.compile(r"[A-Z]{1,6}(\.[A-Z]{1,4})?")
LEFT_BEHIND = 27
"""A name that nobody bears any more still answers with so many of its last bars."""


@dataclass(frozen=True)
class Rename:
    """From `day` on the company that was `old` is `new`."""

    old: str
    new: str
    day: dt.date


class RecentPrices(Exception):
    """The free plan does not give what was asked."""


class InvalidSymbol(Exception):
    """A symbol that the vendor takes for none."""


@dataclass
class AlpacaMarket:
    """Raw daily bars under the name that each company bears last (symbol, session, open … volume, vwap, trades).

    placeholders: (symbol, session) → the close that is sent though nobody traded. actions: key → rows, as the vendor has them.
    now: its clock, which decides what is too recent.
    """

    bars: pd.DataFrame
    renames: tuple[Rename, ...] = ()
    actions: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    assets: list[Row] = field(default_factory=list)
    placeholders: dict[tuple[str, dt.date], float] = field(default_factory=dict)
    now: dt.datetime = dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.UTC)

    def __post_init__(self) -> None:
        self.bars = self.bars.assign(session=pd.to_datetime(self.bars["session"])).sort_values(
            ["symbol", "session"], ignore_index=True
        )
        self._rows = {
            str(symbol): [_bar_row(row) for row in group.itertuples()] for symbol, group in self.bars.groupby("symbol")
        }
        for (symbol, session), close in self.placeholders.items():
            self._rows.setdefault(symbol, []).append((session, placeholder_row(session, close)))
            self._rows[symbol].sort(key=lambda row: row[0])
        if not self.assets:
            self.assets = [asset_row(symbol) for symbol in sorted(self._rows)]
        for rename in self.renames:
            self.actions["name_changes"].append(name_change_row(rename))

    def bars_body(self, query: dict[str, str]) -> bytes:
        """/v2/stocks/bars. Raises InvalidSymbol, RecentPrices."""
        symbols = sorted(set(query["symbols"].split(",")))
        for symbol in symbols:
            if not VALID.fullmatch(symbol):
                raise InvalidSymbol(symbol)
        start, end = _moment(query["start"]), _moment(query["end"])
        if query.get("feed", "sip") == "sip" and end > self.now - dt.timedelta(minutes=15):
            raise RecentPrices
        asof = query.get("asof") or self.now.astimezone(NEW_YORK).date().isoformat()
        found = [(symbol, row) for symbol in symbols for _, row in self._of(symbol, asof) if start <= _moment(row["t"]) <= end]
        page, token = _page(found, query, 1000)
        rows: dict[str, list[Row]] = {}
        for symbol, row in page:
            rows.setdefault(symbol, []).append(row)
        return orjson.dumps({"bars": rows, "next_page_token": token})

    def actions_body(self, query: dict[str, str]) -> bytes:
        """/v1/corporate-actions: by process date, of some symbols or of all; a kind that nobody asked for may come too."""
        kinds = {kind + "s" for kind in query["types"].split(",")}
        symbols = set(query["symbols"].split(",")) if query.get("symbols") else None
        found = [
            (key, row)
            for key, rows in sorted(self.actions.items())
            for row in rows
            if (key in kinds or (key not in KEYS and symbols is None))
            and query["start"] <= row["process_date"] <= query["end"]
            and (symbols is None or symbols & set(_symbols_of(row)))
        ]
        page, token = _page(found, query, 100)
        rows: dict[str, list[Row]] = {}
        for key, row in page:
            rows.setdefault(key, []).append(row)
        return orjson.dumps({"corporate_actions": rows, "next_page_token": token})

    def _of(self, symbol: str, asof: str) -> Iterator[tuple[dt.date, Row]]:
        """The bars under `symbol` as the company that bore it on `asof` had them, under its earlier names too."""
        if asof == "-":
            yield from self._by_text(symbol)
            return
        day = dt.date.fromisoformat(asof)
        for rename in self.renames:
            if rename.old == symbol:
                before = [row for row in self._rows.get(rename.new, []) if row[0] < rename.day]
                yield from before if day < rename.day else before[-LEFT_BEHIND:]
        yield from self._rows.get(symbol, [])

    def _by_text(self, symbol: str) -> Iterator[tuple[dt.date, Row]]:
        for rename in self.renames:
            if rename.old == symbol:
                yield from (row for row in self._rows.get(rename.new, []) if row[0] < rename.day)
        since = max((rename.day for rename in self.renames if rename.new == symbol), default=dt.date.min)
        yield from (row for row in self._rows.get(symbol, []) if row[0] >= since)


SPLITS = {"forward_splits", "reverse_splits", "unit_splits", "stock_dividends"}
MERGERS = {"cash_mergers", "stock_mergers", "stock_and_cash_mergers", "redemptions", "worthless_removals"}
KEYS = SPLITS | MERGERS | {"cash_dividends", "spin_offs", "name_changes", "rights_distributions"}
"""What may be asked for by name."""


def alpaca_market(symbols: int, sessions: int, seed: int, end: dt.date, **more: Any) -> AlpacaMarket:
    """Random walks under the names AAAA, AAAB, …"""
    bars = random_market(symbols, sessions, seed, end).bars
    names = {old: letters(number) for number, old in enumerate(sorted(bars["symbol"].unique()))}
    return AlpacaMarket(bars.assign(symbol=bars["symbol"].map(names), volume=bars["volume"].round()), **more)


def letters(number: int) -> str:
    """AAAA, AAAB, … in order."""
    return "".join(chr(65 + number // 26**place % 26) for place in (3, 2, 1, 0))


def placeholder_row(session: dt.date, close: float) -> Row:
    """What is sent for a day on which nobody traded."""
    return {"c": close, "h": close, "l": close, "n": 0, "o": close, "t": stamp(session), "v": 0, "vw": 0}


def stamp(session: dt.date) -> str:
    """Midnight in New York, as UTC."""
    moment = dt.datetime.combine(session, dt.time(), NEW_YORK).astimezone(dt.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def asset_row(symbol: str, name: str | None = None, options: bool = True, **more: Any) -> Row:
    """One row of /v2/assets."""
    return {
        "id": f"id-{symbol}",
        "class": "us_equity",
        "exchange": "NYSE",
        "symbol": symbol,
        "name": name or f"{symbol} Inc. Common Stock",
        "status": "active",
        "tradable": True,
        "attributes": ["fractional_eh_enabled", *(["has_options"] if options else [])],
        **more,
    }


def name_change_row(rename: Rename) -> Row:
    """One row of `name_changes`."""
    return {
        "id": f"nc-{rename.old}-{rename.day}",
        "old_symbol": rename.old,
        "old_cusip": "30303M102",
        "new_symbol": rename.new,
        "new_cusip": "30303M102",
        "process_date": str(rename.day),
    }


def split_row(symbol: str, ex_date: str, old: float, new: float, process_date: str | None = None) -> Row:
    """One row of `forward_splits` or `reverse_splits`."""
    return {
        "id": f"s-{symbol}-{ex_date}",
        "symbol": symbol,
        "cusip": "037833100",
        "old_rate": old,
        "new_rate": new,
        "ex_date": ex_date,
        "process_date": process_date or ex_date,
    }


def dividend_row(symbol: str, ex_date: str, rate: float, process_date: str | None = None, **more: Any) -> Row:
    """One row of `cash_dividends`; the process date is that of the payment."""
    return {
        "id": f"d-{symbol}-{ex_date}-{rate}",
        "symbol": symbol,
        "cusip": "037833100",
        "rate": rate,
        "special": False,
        "foreign": False,
        "ex_date": ex_date,
        "record_date": ex_date,
        "payable_date": process_date or ex_date,
        "process_date": process_date or ex_date,
        **more,
    }


def _symbols_of(row: Row) -> list[str]:
    return [value for key, value in row.items() if key == "symbol" or key.endswith("_symbol")]


def _bar_row(row: Any) -> tuple[dt.date, Row]:
    session = row.session.date()
    return session, {
        "c": row.close,
        "h": row.high,
        "l": row.low,
        "n": int(row.trades),
        "o": row.open,
        "t": stamp(session),
        "v": int(row.volume),
        "vw": row.vwap,
    }


def _moment(text: str) -> dt.datetime:
    if len(text) == 10:
        return dt.datetime.combine(dt.date.fromisoformat(text), dt.time(), dt.UTC)
    return dt.datetime.fromisoformat(text)


def _page(found: list[Any], query: dict[str, str], default: int) -> tuple[list[Any], str | None]:
    """A page and the token of the next; the offset is the token."""
    offset = int(base64.urlsafe_b64decode(query["page_token"])) if query.get("page_token") else 0
    limit = int(query.get("limit", default))
    more = offset + limit < len(found)
    return found[offset : offset + limit], base64.urlsafe_b64encode(str(offset + limit).encode()).decode() if more else None
