"""Polygon over HTTP: the only module that knows the package polygon-api-client (its successor `massive` is the same API).

Answers come back as the vendor's own rows, whole or not at all: every envelope is checked, every page is read, and a
failure is a typed error, never an empty list. Trusts its caller for symbols; nothing of the vendor's.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import urllib3

from kobe_resources.broker.hosts import UrlRefusals, plain_url
from kobe_resources.errors import UsageError
from kobe_resources.market_data.over_network import RESUMES, RetryBudget
from kobe_resources.market_data.polygon.envelope import Row, check_bars, read_envelope
from kobe_resources.market_data.polygon.errors import (
    SAMPLE_WORKS,
    PolygonAuthError,
    PolygonEmpty,
    PolygonIncomplete,
    PolygonMalformed,
    PolygonNotFound,
)
from kobe_resources.market_data.polygon.pacing import RetryPolicy, TokenBucket
from kobe_resources.market_data.polygon.transport import TypedPool
from kobe_resources.runtime.call_deadline import BOUNDED_POOLS

T = TypeVar("T")

TWIN_HOSTS = frozenset({"api.polygon.io", "api.massive.com"})
"""One vendor under its old and its new name: either may name the other in `next_url`. We stay on ours all the same."""
RANGE_LIMIT = 50_000
PAGE_LIMIT = 1000
NEWER_PAGE_LIMIT = 5000
MAX_PAGES = 1000


class PolygonClient:
    """Calls the end-of-day endpoints with one key; thread-safe, close() when done.

    key: POLYGON_API_KEY; surrounding blanks are stripped. in_flight: connections kept open.
    Every method raises a PolygonError by class once the retries of that class are spent.
    """

    def __init__(
        self, key: str | None, base_url: str, calls_per_minute: float, in_flight: int, budget: RetryBudget | None = None
    ) -> None:
        self._key = _checked_key(key)
        self._base_url = _checked_base_url(base_url)
        self._bucket = TokenBucket(calls_per_minute)
        budget = budget or RetryBudget()
        self._retry = RetryPolicy(self._bucket, budget)
        self._sdk = _quiet_sdk(self._key, self._base_url, in_flight, budget)
        self._pool: TypedPool = self._sdk.client
        self._moved: set[str] = set()

    @property
    def calls(self) -> int:
        """Requests sent so far, retries included."""
        return self._pool.sent

    def reread(self, read: Callable[[], T]) -> T:
        """`read()`, which calls this client and reads its rows, again where they contradict each other.

        As often as after a malformed answer; whatever else `read` raises, the call itself was repeated for.
        """
        return self._retry.reread(read)

    def due_s(self, calls: int) -> float:
        """Seconds until the plan's rate lets the last of `calls` more go."""
        return self._bucket.due_s(calls)

    def stop(self) -> None:
        """Wake every thread that waits for a token or a retry, with Stopped; no call is sent afterwards."""
        self._bucket.stop()

    def close(self) -> None:
        """Stop, and close the connections."""
        self.stop()
        self._pool.clear()

    def range_bars(self, symbol: str, start: dt.date, end: dt.date, twice: bool = True) -> list[Row]:
        """Raw daily bars of one symbol, `start` to `end` included, ascending as the vendor orders them.

        twice: ask again, as after a malformed answer, before believing that there are none.
        """

        def first() -> Any:
            return self._sdk.list_aggs(
                quote(symbol, safe=""),
                1,
                "day",
                start.isoformat(),
                end.isoformat(),
                adjusted=False,
                sort="asc",
                limit=RANGE_LIMIT,
                raw=True,
            )

        return self._pages(first, f"the bars of {symbol}", lambda answer: check_bars(answer, symbol), twice)

    def grouped_day(self, session: dt.date, twice: bool = True) -> list[Row]:
        """Raw bars of the whole market on one date; none on a day without trading.

        twice: ask again, as after a malformed answer, before believing that there are none; False for a day that may not
        be published yet.
        """

        def first() -> Any:
            return self._sdk.get_grouped_daily_aggs(session.isoformat(), adjusted=False, raw=True)

        return self._pages(first, f"the market of {session}", lambda answer: check_bars(answer, None), twice, True)

    def splits(self, start: dt.date, end: dt.date, twice: bool = True) -> list[Row]:
        """Splits with an execution date from `start` to `end` included, future ones too."""

        def first() -> Any:
            return self._sdk.list_splits(
                execution_date_gte=start.isoformat(),
                execution_date_lte=end.isoformat(),
                limit=PAGE_LIMIT,
                sort="execution_date",
                order="asc",
                raw=True,
            )

        return self._listed(first, "splits", "execution_date", start, end, twice)

    def dividends(self, start: dt.date, end: dt.date, twice: bool = True) -> list[Row]:
        """Cash dividends with an ex-date from `start` to `end` included, announced ones too."""

        def first() -> Any:
            return self._sdk.list_dividends(
                ex_dividend_date_gte=start.isoformat(),
                ex_dividend_date_lte=end.isoformat(),
                limit=PAGE_LIMIT,
                sort="ex_dividend_date",
                order="asc",
                raw=True,
            )

        return self._listed(first, "dividends", "ex_dividend_date", start, end, twice)

    def _listed(self, first: Callable[[], Any], what: str, date: str, start: dt.date, end: dt.date, twice: bool) -> list[Row]:
        """All pages of a reference list, by its newer path where the vendor has nothing at the older one any more."""

        def newer() -> Any:
            wanted = {f"{date}.gte": start.isoformat(), f"{date}.lte": end.isoformat()}
            # The SDK knows the older paths only.
            return self._sdk._get(
                path=f"/stocks/v1/{what}", params={**wanted, "limit": NEWER_PAGE_LIMIT, "sort": "ticker.asc"}, raw=True
            )

        if what not in self._moved:
            try:
                return self._pages(first, f"the {what}", twice=twice)
            except PolygonNotFound:
                self._moved.add(what)
        return self._pages(newer, f"the {what}", twice=twice)

    def tickers(self, active: bool = True) -> list[Row]:
        """Every ticker of a common stock."""

        def first() -> Any:
            return self._sdk.list_tickers(market="stocks", type="CS", active=active, limit=PAGE_LIMIT, raw=True)

        return self._pages(first, "the tickers")

    def has_options(self, symbol: str) -> bool:
        """Whether the vendor lists an unexpired options contract on the symbol; that there is none, it must say twice."""
        where = f"the options of {symbol}"
        # Contracts of class shares have been seen under BRK/B for BRK.B.
        for spelled in dict.fromkeys((symbol, symbol.replace(".", "/"))):
            first = partial(self._sdk.list_options_contracts, underlying_ticker=spelled, limit=1, raw=True)
            rows, _ = self._first_page(first, where)
            if any(str(row.get("underlying_ticker", symbol)).replace("/", ".") != symbol for row in rows):
                raise PolygonMalformed(f"Polygon gave options of another symbol as {where}", RESUMES)
            if rows:
                return True
        return False

    def _pages(
        self,
        first: Callable[[], Any],
        where: str,
        check: Callable[[Row], None] = lambda answer: None,
        twice: bool = True,
        is_session: bool = False,
    ) -> list[Row]:
        """The rows of all pages. A page that fails fails the listing: half a list would pass for a whole one."""
        rows, next_path = self._first_page(first, where, check, twice, is_session)
        seen: set[str] = set()
        while next_path is not None:
            if next_path in seen or len(seen) >= MAX_PAGES:
                raise PolygonIncomplete(f"the pages of {where} never end", RESUMES)
            seen.add(next_path)
            # The SDK's own pager drops what it cannot read, and its public methods take no next_url.
            ask = partial(self._sdk._get, path=next_path, raw=True)
            page, next_path = self._rows(self._ask(ask, where, check), where)
            rows = rows + page
        return rows

    def _first_page(
        self,
        first: Callable[[], Any],
        where: str,
        check: Callable[[Row], None] = lambda answer: None,
        twice: bool = True,
        is_session: bool = False,
    ) -> tuple[list[Row], str | None]:
        """Rows and next page; without rows only where the vendor says so again after a wait."""

        def checked(answer: Row) -> None:
            check(answer)
            if twice and not answer.get("results"):
                # Under load the vendor has answered OK with no rows for symbols that have some (polygon-io/issues#2).
                raise PolygonEmpty(f"Polygon answered with no rows for {where}", is_session)

        try:
            return self._rows(self._ask(first, where, checked), where)
        except PolygonEmpty:
            return [], None

    def _ask(self, ask: Callable[[], Any], where: str, check: Callable[[Row], None] = lambda answer: None) -> Row:
        def once() -> Row:
            answer = read_envelope(ask().data, where, self._key)
            check(answer)
            self._next_path(answer, where)
            return answer

        return self._retry(once)

    def _rows(self, answer: Row, where: str) -> tuple[list[Row], str | None]:
        return answer.get("results") or [], self._next_path(answer, where)

    def _next_path(self, answer: Row, where: str) -> str | None:
        """Path and query of the next page; the host of `next_url` must be ours, and only ours is ever asked."""
        url = answer.get("next_url")
        if not url:
            return None
        if not isinstance(url, str):
            raise PolygonMalformed(f"the next page of {where} has no address", RESUMES)
        try:
            parts, own = urlsplit(url), urlsplit(self._base_url)
        except ValueError:
            raise PolygonMalformed(f"the next page of {where} has no address", RESUMES) from None
        twins = {parts.hostname, own.hostname} <= TWIN_HOSTS
        if not twins and (parts.hostname, parts.port) != (own.hostname, own.port):
            raise PolygonMalformed(f"the next page of {where} lies on another host", RESUMES)
        return f"{parts.path}?{parts.query}" if parts.query else parts.path


def _quiet_sdk(key: str, base_url: str, in_flight: int, budget: RetryBudget) -> Any:
    """The vendor's client with its traps closed: no retry, no endless wait, no log on stdout, room for every thread."""
    from polygon import RESTClient

    for name in ("RESTClient", "WebSocketClient"):
        logger = logging.getLogger(name)
        for handler in [each for each in logger.handlers if type(each) is logging.StreamHandler]:
            logger.removeHandler(handler)
    sdk: Any = RESTClient(api_key=key, base=base_url, retries=0)
    # The SDK ignores its own timeout arguments; only the pool's keywords reach a connection.
    sdk.client.connection_pool_kw["timeout"] = urllib3.Timeout(connect=budget.connect_s, read=budget.read_s)
    sdk.client.connection_pool_kw["maxsize"] = in_flight
    sdk.client.pool_classes_by_scheme = BOUNDED_POOLS
    sdk.client = TypedPool(sdk.client, key, budget)
    return sdk


def _checked_key(key: str | None) -> str:
    stripped = (key or "").strip()
    if not stripped:
        raise PolygonAuthError(
            "POLYGON_API_KEY is not set",
            "get a key at polygon.io and set it in the environment or the file named by KOBE_ENV_FILE; "
            f'{SAMPLE_WORKS} (data.vendor = "sample")',
        )
    if not (stripped.isascii() and stripped.isprintable()) or " " in stripped:
        raise PolygonAuthError("POLYGON_API_KEY holds characters no key has", "copy it again from the dashboard of polygon.io")
    return stripped


def _checked_base_url(base_url: str) -> str:
    """The host to ask, without a trailing slash; the key must not travel in the clear, except on this machine."""
    no_address = UsageError("data.polygon.base_url is no address", "set it to https://api.polygon.io")
    in_the_clear = UsageError("data.polygon.base_url would send the key unencrypted", "use https://")
    return plain_url(base_url, UrlRefusals(no_address, no_address, in_the_clear), may_have_path=True)
