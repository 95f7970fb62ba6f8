"""The market a loopback Polygon serves: bars, splits, tickers and options in the vendor's shapes, as JSON bytes.

Shapes follow the vendor's public documentation; numbers round-trip exactly. Trusts the test that fills it.
"""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
import orjson
import pandas as pd

from kobe_resources import calendar

Row = dict[str, Any]
REQUEST_ID = "6a7e466379af0a71039d60cc78e72282"


class Market:
    """Raw daily bars (symbol, session, open, high, low, close, volume and optionally vwap, trades) and what goes with them.

    splits: symbol, execution_date, split_from, split_to. tickers: rows of /v3/reference/tickers; by default one active
    common stock a symbol. optionable: the symbols with listed options; by default all.
    """

    def __init__(
        self,
        bars: pd.DataFrame,
        splits: pd.DataFrame | None = None,
        tickers: list[Row] | None = None,
        optionable: Collection[str] | None = None,
        dividends: list[Row] | None = None,
    ) -> None:
        self.bars = bars.assign(session=pd.to_datetime(bars["session"])).sort_values(["symbol", "session"], ignore_index=True)
        self.splits = [_split_row(row) for row in splits.itertuples()] if splits is not None else []
        self.splits.sort(key=lambda row: (row["execution_date"], row["ticker"]))
        self._by_symbol = {str(symbol): group for symbol, group in self.bars.groupby("symbol", sort=True)}
        self._by_session = {session.date(): group for session, group in self.bars.groupby("session")}
        self.tickers = tickers if tickers is not None else [ticker_row(symbol) for symbol in self.symbols]
        self.optionable = set(self.symbols if optionable is None else optionable)
        self.dividends = sorted(dividends or [], key=lambda row: (row["ex_dividend_date"], row["ticker"]))
        self._bodies: dict[tuple[str, ...], bytes] = {}

    @property
    def symbols(self) -> list[str]:
        """Every symbol with a bar, in order."""
        return list(self._by_symbol)

    def prepare(self, start: dt.date, end: dt.date, days: Iterable[dt.date] = ()) -> None:
        """Build the answers of one span (and of some grouped days) ahead, so that serving them costs nothing."""
        for symbol in self.symbols:
            self.range_body(symbol, start, end)
        for day in days:
            self.grouped_body(day)

    def range_body(self, symbol: str, start: dt.date, end: dt.date, adjusted: bool = False) -> bytes:
        """/v2/aggs/ticker/{symbol}/range/1/day/{start}/{end}."""
        key = ("range", symbol, str(start), str(end), str(adjusted))
        if key not in self._bodies:
            group = self._by_symbol.get(symbol)
            if group is None:
                rows = []
            else:
                rows = _rows(group[(group["session"] >= str(start)) & (group["session"] <= str(end))], "00:00", named=False)
            self._bodies[key] = orjson.dumps({"ticker": symbol, **_aggregates(rows, adjusted)})
        return self._bodies[key]

    def grouped_body(self, day: dt.date, adjusted: bool = False) -> bytes:
        """/v2/aggs/grouped/locale/us/market/stocks/{day}; a day without trading has a count of 0 and no rows."""
        key = ("grouped", str(day), str(adjusted))
        if key not in self._bodies:
            group = self._by_session.get(day)
            rows = [] if group is None else _rows(group, "16:00", named=True)
            self._bodies[key] = orjson.dumps(_aggregates(rows, adjusted))
        return self._bodies[key]

    def dividends_body(self, query: dict[str, str], url: str, path: str) -> bytes:
        """/v3/reference/dividends, or /stocks/v1/dividends, paged."""
        since, until = query.get("ex_dividend_date.gte", ""), query.get("ex_dividend_date.lte", "9999")
        rows = [row for row in self.dividends if since <= row["ex_dividend_date"] <= until]
        return _page(rows, query, url, path, counted=False)

    def splits_body(self, query: dict[str, str], url: str, path: str = "/v3/reference/splits") -> bytes:
        """/v3/reference/splits, or /stocks/v1/splits, paged."""
        since, until = query.get("execution_date.gte", ""), query.get("execution_date.lte", "9999")
        rows = [row for row in self.splits if since <= row["execution_date"] <= until]
        return _page(rows, query, url, path, counted=False)

    def tickers_body(self, query: dict[str, str], url: str) -> bytes:
        """/v3/reference/tickers, paged."""
        wanted = query.get("active", "true") == "true"
        rows = [row for row in self.tickers if row["active"] is wanted and query.get("type") in (None, row["type"])]
        return _page(rows, query, url, "/v3/reference/tickers", counted=True)

    def contracts_body(self, symbol: str) -> bytes:
        """/v3/reference/options/contracts?underlying_ticker={symbol}&limit=1."""
        rows = [_contract_row(symbol)] if symbol in self.optionable else []
        return orjson.dumps({"results": rows, "status": "OK", "request_id": REQUEST_ID})


def random_market(symbols: int, sessions: int, seed: int, end: dt.date) -> Market:
    """Random walks on the last XNYS sessions up to `end`; prices as traded, four decimals, volumes that are no integers."""
    random = np.random.default_rng(seed)
    days = calendar.sessions(end - dt.timedelta(days=10 + sessions * 2), end)[-sessions:].astype("datetime64[s]")
    shape = (symbols, len(days))
    close = 20.0 * np.exp(np.cumsum(random.normal(0.0, 0.02, shape), axis=1))
    open_ = close * np.exp(random.normal(0.0, 0.005, shape))
    high = np.maximum(open_, close) * np.exp(np.abs(random.normal(0.0, 0.005, shape)))
    low = np.minimum(open_, close) * np.exp(-np.abs(random.normal(0.0, 0.005, shape)))
    bars = {name: values.round(4).ravel() for name, values in (("open", open_), ("close", close), ("high", high), ("low", low))}
    names = np.array([f"S{number:05d}" for number in range(symbols)], dtype=object)
    frame = pd.DataFrame({"symbol": np.repeat(names, len(days)), "session": np.tile(days, symbols), **bars})
    frame["volume"] = random.integers(100_000, 50_000_000, shape).ravel() + 0.5
    frame["vwap"] = ((frame["high"] + frame["low"]) / 2).round(4)
    frame["trades"] = random.integers(100, 500_000, shape).ravel()
    return Market(frame)


def ticker_row(symbol: str, kind: str = "CS", active: bool = True) -> Row:
    """One row of /v3/reference/tickers."""
    row: Row = {
        "ticker": symbol,
        "name": f"{symbol} Incorporated",
        "market": "stocks",
        "locale": "us",
        "primary_exchange": "XNYS",
        "type": kind,
        "active": active,
        "currency_name": "usd",
        "cik": "0001090872",
        "composite_figi": "BBG000BWQYZ5",
        "share_class_figi": "BBG001SCTQY4",
        "last_updated_utc": "2021-04-25T00:00:00Z",
    }
    return row if active else {**row, "delisted_utc": "2019-06-03T00:00:00Z"}


def dividend_row(ticker: str, ex_date: str, amount: float, kind: str = "CD", **more: Any) -> Row:
    """One row of /v3/reference/dividends."""
    return {
        "cash_amount": amount,
        "currency": "USD",
        "declaration_date": ex_date,
        "dividend_type": kind,
        "ex_dividend_date": ex_date,
        "frequency": 4,
        "id": f"E{ticker}{ex_date}{amount}{kind}",
        "pay_date": ex_date,
        "record_date": ex_date,
        "ticker": ticker,
        **more,
    }


def cursor_of(offset: int, query: dict[str, str]) -> str:
    """An opaque cursor, as the vendor's look."""
    return base64.urlsafe_b64encode(orjson.dumps([offset, query])).decode().rstrip("=")


def opened_cursor(cursor: str) -> tuple[int, dict[str, str]]:
    """What `cursor_of` closed in."""
    offset, query = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    return offset, query


def _rows(group: pd.DataFrame, clock: str, named: bool) -> list[Row]:
    hour = pd.Timedelta(clock + ":00")
    stamps = (group["session"].dt.tz_localize("America/New_York") + hour).dt.tz_convert("UTC")
    columns: dict[str, list[Any]] = {"T": group["symbol"].tolist()} if named else {}
    columns["v"] = group["volume"].tolist()
    if "vwap" in group:
        columns["vw"] = group["vwap"].tolist()
    columns |= {short: group[name].tolist() for short, name in zip("ochl", ("open", "close", "high", "low"), strict=True)}
    columns["t"] = stamps.dt.tz_localize(None).to_numpy().astype("datetime64[ms]").astype(int).tolist()
    if "trades" in group:
        columns["n"] = group["trades"].tolist()
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _aggregates(rows: list[Row], adjusted: bool) -> Row:
    head: Row = {"queryCount": len(rows), "resultsCount": len(rows), "adjusted": adjusted}
    tail: Row = {"status": "OK", "request_id": REQUEST_ID}
    return {**head, "results": rows, **tail, "count": len(rows)} if rows else {**head, **tail}


def _page(rows: list[Row], query: dict[str, str], url: str, path: str, counted: bool) -> bytes:
    offset, asked = opened_cursor(query["cursor"]) if "cursor" in query else (0, query)
    limit = int(asked.get("limit", "10"))
    page = rows[offset : offset + limit]
    answer: Row = {"results": page, "status": "OK", "request_id": REQUEST_ID}
    if counted:
        answer["count"] = len(page)
    if offset + limit < len(rows):
        answer["next_url"] = f"{url}{path}?cursor={cursor_of(offset + limit, asked)}"
    return orjson.dumps(answer)


def _split_row(row: Any) -> Row:
    return {
        "id": f"E{abs(hash((row.symbol, str(row.execution_date)))):x}",
        "execution_date": str(row.execution_date)[:10],
        "split_from": row.split_from,
        "split_to": row.split_to,
        "ticker": row.symbol,
    }


def _contract_row(symbol: str) -> Row:
    return {
        "cfi": "OCASPS",
        "contract_type": "call",
        "exercise_style": "american",
        "expiration_date": "2027-01-15",
        "primary_exchange": "BATO",
        "shares_per_contract": 100,
        "strike_price": 85,
        "ticker": f"O:{symbol}270115C00085000",
        "underlying_ticker": symbol,
    }
