"""The broker behind Alpaca's HTTP API, through alpaca-py in raw mode; the embedded broker is spoken to by the same code.

Reads are asked again for a while, orders are sent once. Trusts its caller for hosts that fit the stage (`hosts.hosts_of`);
that the account fits them is checked here, before the first order.
"""

from __future__ import annotations

import datetime as dt
import random
import re
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar
from urllib.parse import quote as url_quote

from kobe_resources.broker.alpaca import parse
from kobe_resources.broker.alpaca.replacements import followed, listed
from kobe_resources.broker.alpaca.transport import Answer, HardenedClient
from kobe_resources.broker.hosts import Hosts
from kobe_resources.broker.pacing import LONGEST_HOLD_S, Pace, urgent
from kobe_resources.broker.protocol import (
    Account,
    Asset,
    BrokerActivity,
    BrokerFill,
    BrokerOrder,
    BrokerPosition,
    BrokerUnavailable,
    Clock,
    DuplicateClientOrderId,
    NotEntitled,
    OrderRequest,
    OrderScope,
    Quote,
    Refused,
    SendsNothing,
    TradingDay,
    Unauthorized,
    Unresolved,
    WrongAccount,
)

T = TypeVar("T")

ORDERS_A_PAGE = 500
FILLS_A_PAGE = 100
SYMBOLS_A_CALL = 200
NOT_FOUND = 40410000
READ_ATTEMPTS = 4
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 2.0
BUSY_PAUSE = 0.25
"""The first pause behind a 429 that does not say how long to wait, in parts of what a call may take."""
PAPER_PREFIX = "PA"
INVALID_SYMBOL = re.compile(r"invalid symbol: ?(\S+)")
SUBSCRIPTION = "subscription does not permit"
REFUSALS = (400, 403, 404, 405, 422)
"""With a JSON message they say that the order was not taken."""
GATEWAY = "not found"
"""What a gateway says in its own JSON, before or behind a broker that may have taken the order."""
NO_DUPLICATE = "client_order_id must be unique"


class AlpacaBroker:
    """A `Broker` over one account of one host.

    timeout_s: seconds a call may take. Reads are repeated up to READ_ATTEMPTS times within 2 × timeout_s, or until the broker
    counts anew. pace: what every call waits for; none where the broker behind counts no calls. read_only: `submit` and
    `cancel` raise SendsNothing, for a stage that only looks.
    """

    def __init__(
        self,
        hosts: Hosts,
        key_id: str,
        secret_key: str,
        feed: str = "iex",
        timeout_s: float = 10.0,
        pace: Pace | None = None,
        read_only: bool = False,
    ) -> None:
        from alpaca.data.historical.stock import StockHistoricalDataClient
        from alpaca.trading.client import TradingClient

        trading = TradingClient(key_id, secret_key, paper=not hosts.is_live, raw_data=True, url_override=hosts.trading_url)
        data = StockHistoricalDataClient(key_id, secret_key, raw_data=True, url_override=hosts.data_url)
        self.hosts = hosts
        self.read_only = read_only
        self._feed = feed
        self._timeout_s = timeout_s
        self._trading = HardenedClient(trading, timeout_s, (secret_key, key_id), pace)
        self._data = HardenedClient(data, timeout_s, (secret_key, key_id), pace)
        self._account_confirmed = False

    def clock(self) -> Clock:
        """The broker's time and whether the market is open."""
        return self._read("/clock", None, parse.parse_clock)

    def calendar(self, start: dt.date, end: dt.date) -> list[TradingDay]:
        """Sessions from `start` to `end`, both included, in order."""
        asked = {"start": start.isoformat(), "end": end.isoformat()}
        return self._read("/calendar", asked, lambda body: parse.parse_calendar(body, start, end))

    def account(self) -> Account:
        """The account; WrongAccount where a live host answers with a paper account, or the reverse."""
        account = self._read("/account", None, parse.parse_account)
        if account.number.startswith(PAPER_PREFIX) is self.hosts.is_live:
            found = "a paper" if self.hosts.is_live else "no paper"
            raise WrongAccount(
                f"{self.hosts.trading_url} answers with {found} account ({account.number})",
                "use the keys of the stage; nothing was sent",
            )
        self._account_confirmed = True
        return account

    def asset(self, symbol: str) -> Asset | None:
        """What is known of a symbol; None where the broker has no such asset."""
        answer = self._ask(self._trading, f"/assets/{url_quote(symbol, safe='')}", None)
        if _is_absent(answer):
            return None
        return self._understood(answer, parse.parse_asset)

    def assets(self) -> list[Asset]:
        """Every active US equity."""
        return self._read(
            "/assets",
            {"status": "active", "asset_class": "us_equity"},
            lambda body: parse.readable(parse.parse_list(body, "assets"), parse.parse_asset),
        )

    def quotes(self, symbols: Iterable[str]) -> dict[str, Quote]:
        """The latest quote of each symbol; a symbol without one, or with one that cannot be read, is absent."""
        wanted = sorted(set(symbols))
        found: dict[str, Quote] = {}
        for at in range(0, len(wanted), SYMBOLS_A_CALL):
            found.update(self._quotes_of(wanted[at : at + SYMBOLS_A_CALL]))
        return found

    def submit(self, request: OrderRequest) -> BrokerOrder:
        """Send one order, once; see `Broker.submit` for what each error means."""
        self._check_sends(f"send {request.symbol}")
        if not self._account_confirmed:
            self.account()
        answer = self._trading.post("/orders", order_fields(request))
        if answer.ok:
            try:
                order = parse.parse_order(answer.body, answer.request_id)
            except parse.Malformed as error:
                raise Unresolved(f"an answer without an order: {error}", answer.request_id) from None
            if order.client_order_id != request.client_order_id:
                raise Unresolved("an answer about another order", answer.request_id)
            return order
        raise _refusal_or_doubt(answer)

    def order_by_client_id(self, client_order_id: str) -> BrokerOrder | None:
        """The order with this id; None where the broker does not know it (yet)."""
        answer = self._ask(self._trading, "/orders:by_client_order_id", {"client_order_id": client_order_id})
        if _is_unknown_order(answer):
            return None
        order = self._understood(answer, lambda body: parse.parse_order(body, answer.request_id))
        if order.client_order_id != client_order_id:
            raise BrokerUnavailable("the broker answered about another order", "try again", answer.request_id)
        return followed(order, self._order_by_id)

    def orders(self, status: OrderScope = "all", after: dt.datetime | None = None) -> list[BrokerOrder]:
        """Every order submitted after `after`, oldest first, all pages."""
        found: dict[str, BrokerOrder] = {}
        since = after
        while True:
            params = {"status": status, "limit": str(ORDERS_A_PAGE), "direction": "asc", "nested": "false"}
            if since is not None:
                params["after"] = since.isoformat()
            answer = self._ask(self._trading, "/orders", params)
            page = self._understood(answer, _parse_orders)
            new = [order for order in page if order.id not in found]
            found.update((order.id, order) for order in page)
            latest = max((order.submitted_at for order in page if order.submitted_at), default=None)
            if not new or latest is None:
                # A short page is not the end: only one that tells nothing new is.
                if len(page) < ORDERS_A_PAGE:
                    break
                raise BrokerUnavailable("the broker's order list does not page on", "try again", answer.request_id)
            # Our clock reads microseconds, theirs nanoseconds: step back, so that a tie over a page's edge is not lost.
            since = latest - dt.timedelta(microseconds=1)
        return sorted(
            listed(list(found.values()), self._order_by_id),
            key=lambda order: (order.submitted_at or dt.datetime.min.replace(tzinfo=dt.UTC), order.id),
        )

    def positions(self) -> list[BrokerPosition]:
        """Everything held."""
        return self._read(
            "/positions", None, lambda body: [parse.parse_position_row(row) for row in parse.parse_list(body, "positions")]
        )

    def fills(self, after: dt.datetime | None = None) -> list[BrokerFill]:
        """Every execution after `after`, oldest first, all pages."""
        found: dict[str, BrokerFill] = {}
        params = {"direction": "asc", "page_size": str(FILLS_A_PAGE)}
        if after is not None:
            params["after"] = after.isoformat()
        while True:
            answer = self._ask(self._trading, "/account/activities/FILL", params)
            page = self._understood(answer, _parse_fills)
            new = [fill for fill in page if fill.id not in found]
            found.update((fill.id, fill) for fill in new)
            if not new:
                if len(page) < FILLS_A_PAGE:
                    return list(found.values())
                raise BrokerUnavailable("the broker's list of fills does not page on", "try again", answer.request_id)
            params = {**params, "page_token": page[-1].id}

    def activities(self, after: dt.datetime | None = None) -> list[BrokerActivity]:
        """What moved cash without a trade after `after`, oldest first, all pages; see `Broker.activities`."""
        found: dict[str, BrokerActivity] = {}
        params = {"category": "non_trade_activity", "direction": "asc", "page_size": str(FILLS_A_PAGE)}
        if after is not None:
            params["after"] = after.isoformat()
        seen: set[str] = set()
        while True:
            answer = self._ask(self._trading, "/account/activities", params)
            page = self._understood(answer, lambda body: parse.parse_list(body, "activities"))
            ids = [str(row.get("id", "")) for row in page if isinstance(row, dict)]
            if not set(ids) - seen:
                return list(found.values())
            seen |= set(ids)
            found.update((row.id, row) for row in parse.readable(page, parse.parse_activity))
            params = {**params, "page_token": ids[-1]}

    def cancel(self, order_id: str) -> None:
        """Ask for a cancel by the broker's id; see `Broker.cancel`."""
        self._check_sends("cancel orders")
        with urgent():
            answer = self._trading.delete(f"/orders/{url_quote(order_id, safe='')}")
        if answer.ok:
            return
        if _is_absent(answer):
            raise Refused(answer.code, answer.message, answer.request_id)
        raise _refusal_or_doubt(answer)

    def close(self) -> None:
        """Close the connections."""
        self._trading.close()
        self._data.close()

    def _quotes_of(self, symbols: list[str]) -> dict[str, Quote]:
        """Quotes of one call; a symbol that the data host cannot read costs itself and not the others."""
        while symbols:
            answer = self._ask(self._data, "/stocks/quotes/latest", {"symbols": ",".join(symbols), "feed": self._feed})
            odd = INVALID_SYMBOL.search(answer.message) if answer.status == 400 else None
            left = [symbol for symbol in symbols if odd is None or symbol != odd.group(1)]
            if odd is None or len(left) == len(symbols):
                quotes = self._understood(answer, _parse_quotes)
                return {symbol: quotes[symbol] for symbol in symbols if symbol in quotes}
            symbols = left
        return {}

    def _order_by_id(self, order_id: str) -> BrokerOrder | None:
        answer = self._ask(self._trading, f"/orders/{url_quote(order_id, safe='')}", None)
        if _is_unknown_order(answer):
            return None
        order = self._understood(answer, parse.parse_order_row)
        if order.id != order_id:
            raise BrokerUnavailable("the broker answered about another order", "try again", answer.request_id)
        return order

    def _check_sends(self, what: str) -> None:
        if self.read_only:
            raise SendsNothing(f"stage shadow does not {what}", "set broker.stage to simulated, paper or live to send orders")

    def _read(self, path: str, params: dict[str, str] | None, parser: Callable[[Any], T]) -> T:
        return self._understood(self._ask(self._trading, path, params), parser)

    def _ask(self, line: HardenedClient, path: str, params: dict[str, str] | None) -> Answer:
        """GET until it answers, or the attempts or the time are used up; the last answer."""
        began = time.monotonic()
        for attempt in range(1, READ_ATTEMPTS + 1):
            answer = line.get(path, params)
            is_settled = not answer.may_pass and not (answer.ok and answer.body is None)
            # Who says when it counts anew is waited for, whatever a call may take.
            limit = 2 * self._timeout_s if answer.reset_s is None else max(2 * self._timeout_s, LONGEST_HOLD_S)
            left = began + limit - time.monotonic()
            pause = self._pause(answer, attempt, left)
            if is_settled or attempt == READ_ATTEMPTS or pause > left:
                break
            time.sleep(pause)
        if line is self._data and (answer.status in (401, 403) or SUBSCRIPTION in answer.message.lower()):
            raise NotEntitled(
                f"the data host gives no quotes of the feed {self._feed!r} to these keys (HTTP {answer.status}"
                f"{': ' + answer.message if answer.message else ''})",
                'check the keys, or set broker.feed = "iex", which every plan has',
                answer.request_id,
            )
        if answer.status in (401, 403) and not answer.may_pass and _is_own_answer(answer):
            raise _unauthorized(answer)
        return answer

    def _pause(self, answer: Answer, attempt: int, left: float) -> float:
        """Seconds before a read is tried again, of the `left` ones."""
        if answer.reset_s is not None:
            return answer.reset_s
        if answer.status == 429:
            return min(self._timeout_s * BUSY_PAUSE * 2.0 ** (attempt - 1), max(left, 0.0))
        return random.uniform(0.0, min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**attempt))

    def _understood(self, answer: Answer, parser: Callable[[Any], T]) -> T:
        if not answer.ok:
            detail = f": {answer.message}" if answer.message else ""
            raise BrokerUnavailable(f"the broker does not answer ({answer.problem}{detail})", "try again", answer.request_id)
        try:
            return parser(answer.body)
        except parse.Malformed as error:
            problem = str(error)
        raise BrokerUnavailable(f"the broker's answer cannot be read ({problem})", "try again", answer.request_id)


def order_fields(request: OrderRequest) -> dict[str, str]:
    """The body of `POST /v2/orders`; numbers as text, so that no float rounds them on the way."""
    fields = {
        "client_order_id": request.client_order_id,
        "symbol": request.symbol,
        "side": request.side,
        "qty": format(request.qty, "f"),
        "type": request.kind,
        "time_in_force": request.time_in_force,
    }
    if request.limit_price is not None:
        fields["limit_price"] = format(request.limit_price, "f")
    if request.stop_price is not None:
        fields["stop_price"] = format(request.stop_price, "f")
    return fields


def _refusal_or_doubt(answer: Answer) -> Exception:
    """What a failed POST or DELETE proves: only a 401, or a refusal with Alpaca's JSON, proves anything."""
    if answer.status == 401:
        return _unauthorized(answer)
    if answer.status in REFUSALS and answer.message and not _is_gateway(answer):
        if NO_DUPLICATE in answer.message.lower():
            return DuplicateClientOrderId(
                "the broker already has an order with this client id", "look it up", answer.request_id
            )
        return Refused(answer.code, answer.message, answer.request_id)
    return Unresolved(answer.problem, answer.request_id)


def _unauthorized(answer: Answer) -> Unauthorized:
    return Unauthorized(
        f"the broker does not accept the keys ({answer.status})",
        "check ALPACA_API_KEY_ID and ALPACA_API_SECRET_KEY, and that they belong to the stage",
        answer.request_id,
    )


def _is_gateway(answer: Answer) -> bool:
    """Whether a 404 need not be the broker's own, so that it says nothing of an order."""
    return answer.status == 404 and answer.code is None and answer.message.lower() == GATEWAY


def _is_unknown_order(answer: Answer) -> bool:
    """Whether Alpaca itself says that there is no such order."""
    return _is_absent(answer) or (answer.status == 404 and bool(answer.message) and not _is_gateway(answer))


def _is_own_answer(answer: Answer) -> bool:
    """Whether a 403 is in Alpaca's JSON: a page of HTML is a firewall's, and may pass."""
    return answer.status == 401 or bool(answer.message)


def _is_absent(answer: Answer) -> bool:
    """Whether it is a 404 in Alpaca's own words: a gateway's 404 says nothing of an order."""
    in_own_words = answer.code == NOT_FOUND or "not found for" in answer.message.lower()
    return answer.status == 404 and in_own_words


def _parse_quotes(body: Any) -> dict[str, Quote]:
    quotes = body.get("quotes") if isinstance(body, dict) else None
    if quotes is None and isinstance(body, dict):
        quotes = {}
    if not isinstance(quotes, dict):
        raise parse.Malformed("quotes: not an object")
    read = parse.readable([(symbol, raw) for symbol, raw in quotes.items() if raw], lambda row: parse.parse_quote(*row))
    return {quote.symbol: quote for quote in read}


def _parse_orders(body: Any) -> list[BrokerOrder]:
    return [parse.parse_order_row(order) for order in parse.parse_list(body, "orders")]


def _parse_fills(body: Any) -> list[BrokerFill]:
    return parse.readable(parse.parse_list(body, "fills"), parse.parse_fill)
