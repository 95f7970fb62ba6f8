"""Alpaca's market data API: pages of daily bars and of corporate actions, and the list of assets, on the broker's transport.

Answers come back as the vendor's own rows, one checked page at a time; a failure is a typed error, never an empty page.
Trusts its caller for symbols; nothing of the vendor's.
"""

from __future__ import annotations

import datetime as dt
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from kobe_resources.broker.alpaca.transport import HardenedClient
from kobe_resources.broker.hosts import UrlRefusals, plain_url
from kobe_resources.broker.pacing import Pace, urgent
from kobe_resources.errors import UsageError
from kobe_resources.market_data.alpaca.errors import (
    AlpacaAuthError,
    AlpacaError,
    AlpacaMalformed,
    AlpacaRateError,
    error_of,
    retries_after,
)
from kobe_resources.market_data.over_network import RESUMES, RetryBudget

T = TypeVar("T")
Row = dict[str, Any]

BARS_A_PAGE = 10_000
ACTIONS_A_PAGE = 1000
MAX_PAGES = 5000
SAMPLE_WORKS = "the sample works without keys"


class Keys(NamedTuple):
    """The two keys of an account."""

    key_id: str
    secret: str


class BarsCall(NamedTuple):
    """Symbols whose daily bars are asked for: from midnight of `first` to `end` (aware), as the companies that bore these
    names on `asof`.
    """

    symbols: tuple[str, ...]
    first: dt.datetime
    end: dt.datetime
    asof: dt.date


class AlpacaDataClient:
    """A client of the data host and the assets host with one pair of keys; not for several threads; close() when done.

    pace: what every call waits for; None: no pacing. Every method raises an AlpacaError by class once the retries of that
    class are spent.
    """

    def __init__(
        self, keys: Keys | None, base_url: str, assets_url: str, pace: Pace | None = None, budget: RetryBudget | None = None
    ) -> None:
        from alpaca.common.rest import RESTClient

        self.calls = 0
        keys = _checked(keys)
        self._budget = budget or RetryBudget(total_s=60.0)
        self._random = random.Random()
        self._is_answered = False

        def line(url: str, version: str) -> HardenedClient:
            client = RESTClient(url, keys.key_id, keys.secret, api_version=version, raw_data=True)
            return HardenedClient(client, self._budget.total_s, (keys.secret, keys.key_id), pace)

        data = _origin(base_url, "data.alpaca.base_url")
        self._bars = line(data, "v2")
        self._actions = line(data, "v1")
        self._assets = line(_origin(assets_url, "data.alpaca.assets_url"), "v2")

    def close(self) -> None:
        """Close the connections."""
        for line in (self._bars, self._actions, self._assets):
            line.close()

    def bars_page(self, call: BarsCall, token: str | None) -> tuple[dict[str, list[Any]], str | None]:
        """Rows by symbol, and the token of the next page: only None ends, however short a page is."""
        wanted = {
            "symbols": ",".join(call.symbols),
            "timeframe": "1Day",
            "start": _utc(call.first),
            "end": _utc(call.end),
            "limit": str(BARS_A_PAGE),
            "adjustment": "raw",
            "feed": "sip",
            "asof": call.asof.isoformat(),
            "sort": "asc",
            **({"page_token": token} if token else {}),
        }
        where = f"the bars of {call.symbols[0]}" + (f" and {len(call.symbols) - 1} more" if len(call.symbols) > 1 else "")

        def read(body: Any) -> tuple[dict[str, list[Any]], str | None]:
            rows = _by_name(body, "bars", where)
            strangers = rows.keys() - set(call.symbols)
            if strangers:
                raise AlpacaMalformed(f"Alpaca sent bars of {min(strangers)!r}, which nobody asked for", RESUMES)
            return rows, _next_token(body, where)

        return self._ask(self._bars, "/stocks/bars", wanted, where, read)

    def actions(
        self, kinds: Sequence[str], first: dt.date, last: dt.date, symbols: Sequence[str] = ()
    ) -> Iterator[dict[str, list[Any]]]:
        """Pages of corporate actions whose process date lies in `first` … `last`, rows by the vendor's key.

        kinds: the vendor's words, singular. symbols: of these alone; none: of the market.
        """
        where = "the corporate actions" + (f" of {symbols[0]} and others" if symbols else "")
        wanted = {
            "types": ",".join(kinds),
            "start": first.isoformat(),
            "end": last.isoformat(),
            "limit": str(ACTIONS_A_PAGE),
            "sort": "asc",
            **({"symbols": ",".join(symbols)} if symbols else {}),
        }

        def read(body: Any) -> tuple[dict[str, list[Any]], str | None]:
            return _by_name(body, "corporate_actions", where), _next_token(body, where)

        def page(token: str | None) -> tuple[dict[str, list[Any]], str | None]:
            return self._ask(
                self._actions, "/corporate-actions", {**wanted, **({"page_token": token} if token else {})}, where, read
            )

        return follow(page, where)

    def assets(self) -> list[Row]:
        """Every active US stock and fund."""

        def read(body: Any) -> list[Row]:
            if not isinstance(body, list) or not all(isinstance(row, dict) for row in body):
                raise AlpacaMalformed("Alpaca answered with no list of assets", RESUMES)
            if not body:
                raise AlpacaMalformed("Alpaca lists no assets", RESUMES)
            return body

        wanted = {"status": "active", "asset_class": "us_equity"}
        return self._ask(self._assets, "/assets", wanted, "the list of assets", read)

    def _ask(self, line: HardenedClient, path: str, wanted: dict[str, str], where: str, read: Callable[[Any], T]) -> T:
        """What `read` makes of the answer, asked again as often as the class of each failure allows."""
        failures: Counter[type[AlpacaError]] = Counter()
        began = time.monotonic()
        while True:
            self.calls += 1
            # All of the budget: no part of it is kept back for stops and cancels, which have another.
            with urgent():
                answer = line.get(path, wanted)
            error = error_of(answer, where)
            self._is_answered = self._is_answered or answer.status is not None
            if error is None:
                try:
                    return read(answer.body)
                except AlpacaMalformed as malformed:
                    error = malformed
            failures[type(error)] += 1
            if failures[type(error)] > retries_after(error, self._budget):
                raise error
            wait_s = self._wait_s(error, failures[type(error)])
            if not self._is_answered and time.monotonic() - began + wait_s > self._budget.first_answer_s:
                raise error
            time.sleep(wait_s)

    def _wait_s(self, error: AlpacaError, failures: int) -> float:
        budget = self._budget
        if isinstance(error, AlpacaRateError):
            return budget.rate_wait_s if error.wait_s is None else error.wait_s
        longest = min(budget.longest_backoff_s, budget.first_backoff_s * 2.0 ** (failures - 1))
        return longest * self._random.uniform(0.5, 1.0)


def follow(page: Callable[[str | None], tuple[Any, str | None]], where: str) -> Iterator[Any]:
    """The pages from the first to the one that names no next. Raises AlpacaMalformed where they go round in a circle."""
    token: str | None = None
    seen: set[str] = set()
    while True:
        rows, token = page(token)
        yield rows
        if token is None:
            return
        if token in seen or len(seen) >= MAX_PAGES:
            raise AlpacaMalformed(f"the pages of {where} never end", RESUMES)
        seen.add(token)


def _by_name(body: Any, key: str, where: str) -> dict[str, list[Any]]:
    """The rows of an envelope by symbol or kind; `null` stands for none."""
    if not isinstance(body, Mapping) or key not in body:
        raise AlpacaMalformed(f"Alpaca answered without {key} for {where}", RESUMES)
    found = body[key] or {}
    if not isinstance(found, Mapping) or not all(rows is None or isinstance(rows, list) for rows in found.values()):
        raise AlpacaMalformed(f"Alpaca answered with rows that are no rows for {where}", RESUMES)
    return {str(name): rows or [] for name, rows in found.items()}


def _next_token(body: Mapping[str, Any], where: str) -> str | None:
    """None only where the vendor says so: an answer without the word may be half of one."""
    token = body.get("next_page_token", "")
    if token is None or (isinstance(token, str) and token):
        return token
    raise AlpacaMalformed(f"Alpaca does not say whether there is another page of {where}", RESUMES)


def _utc(moment: dt.datetime) -> str:
    return f"{moment.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%SZ}"


def _checked(keys: Keys | None) -> Keys:
    if keys is None:
        raise AlpacaAuthError(
            "ALPACA_API_KEY_ID and ALPACA_API_SECRET_KEY are not set",
            "get free keys at alpaca.markets and set them in the environment or the file named by KOBE_ENV_FILE; "
            f'{SAMPLE_WORKS} (data.vendor = "sample")',
        )
    for key in keys:
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise AlpacaAuthError("an Alpaca key holds characters no key has", "copy it again from the account's page")
    return keys


def _origin(url: str, setting: str) -> str:
    """scheme://host[:port]; the keys must not travel in the clear, except on this machine."""
    hint = f"write {setting} as https://host, without a path"
    refusals = UrlRefusals(
        UsageError(f"{setting} is no address", hint),
        UsageError(f"{setting} is no plain host", hint),
        UsageError(f"{setting} would send the keys unencrypted", "use https://"),
    )
    return plain_url(url, refusals)
