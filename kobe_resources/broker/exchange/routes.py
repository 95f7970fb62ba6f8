"""What the embedded broker answers to each request of Alpaca's API: routes, paging, and the faults that change an answer."""

from __future__ import annotations

import datetime as dt
import hmac
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from kobe_resources.broker.exchange import bodies
from kobe_resources.broker.exchange.clock import stamp
from kobe_resources.broker.exchange.faults import QUOTES, Fault
from kobe_resources.broker.exchange.matching import Book
from kobe_resources.broker.exchange.order_rules import SHUT, UNPROCESSABLE, Refusal
from kobe_resources.broker.exchange.state import WORKING, Row

NEW_STATUS = "awaiting_moonrise"
FOREIGN_NUMBER = "123456789"
ORDERS_DEFAULT, ORDERS_MOST = 50, 500
FILLS_MOST = 100
STALE = dt.timedelta(hours=1)
FILLS = """
SELECT f.*, o.hidden_lookups, o.hidden_until FROM fills f JOIN orders o ON o.id = f.order_id
WHERE f.at > :after AND :way * f.seq > coalesce((SELECT :way * seq FROM fills WHERE id = :token), -1e18)
ORDER BY :way * f.seq LIMIT :size"""
ACTIVITIES = """
SELECT * FROM activities
WHERE at > :after AND :kind IN ('', kind)
AND :way * seq > coalesce((SELECT :way * seq FROM activities WHERE id = :token), -1e18)
ORDER BY :way * seq LIMIT :size"""


class Request(NamedTuple):
    """A request taken apart; `path` is unquoted and without the query."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    key_id: str | None


class Reply(NamedTuple):
    """A status and its JSON; None is an empty body."""

    status: int
    body: Any


UNAUTHORIZED = Reply(401, {"message": "unauthorized."})


def holds_key(request: Request, book: Book) -> bool:
    """Whether the request has a key: any, or the one of the terms."""
    wanted = book.terms.key_id
    return bool(request.key_id) and (wanted is None or hmac.compare_digest(str(request.key_id).encode(), wanted.encode()))


def answer(request: Request, book: Book, fault: Fault | None) -> Reply:
    """The reply to one request, as `fault` lets it be."""
    if not holds_key(request, book):
        return UNAUTHORIZED
    kind = fault.kind if fault else ""
    if kind == "market_closed" and request.method == "POST":
        return Reply(422, {"code": UNPROCESSABLE, "message": SHUT})
    try:
        book.settle()
        reply = _route(request)(request, book, fault)
    except Refusal as refusal:
        reply = Reply(refusal.status, refusal.body)
    return _changed(_renamed(reply, book), kind)


def _renamed(reply: Reply, book: Book) -> Reply:
    """With the symbols that are in use by now."""
    if not book.strictness.renames:
        return reply
    for body in reply.body if isinstance(reply.body, list) else [reply.body]:
        if isinstance(body, dict) and "symbol" in body:
            body["symbol"] = book.strictness.outward(body["symbol"])
    return reply


def _route(request: Request) -> Callable[[Request, Book, Fault | None], Reply]:
    found = ROUTES.get((request.method, request.path))
    if found is not None:
        return found
    for method, prefix, handler in PREFIXES:
        if request.method == method and request.path.startswith(prefix):
            return handler
    raise Refusal(404, 40410000, "endpoint not found.")


def _changed(reply: Reply, kind: str) -> Reply:
    """The broker's own answer with one thing in it that should not be."""
    body = reply.body
    if kind == "unknown_status" and isinstance(body, dict) and "status" in body:
        return Reply(reply.status, {**body, "status": NEW_STATUS})
    if kind == "wrong_id" and isinstance(body, dict) and "client_order_id" in body:
        return Reply(reply.status, {**body, "client_order_id": "somebody-else"})
    if kind == "wrong_account" and isinstance(body, dict) and "account_number" in body:
        return Reply(reply.status, {**body, "account_number": FOREIGN_NUMBER})
    if kind == "market_closed" and isinstance(body, dict) and "is_open" in body:
        return Reply(reply.status, {**body, "is_open": False})
    return reply


def _submit(request: Request, book: Book, fault: Fault | None) -> Reply:
    fields = request.body if isinstance(request.body, dict) else {}
    symbol = book.strictness.inward(str(fields.get("symbol") or ""))
    if symbol is None:
        raise Refusal(422, UNPROCESSABLE, f'asset "{fields["symbol"]}" not found')
    return Reply(200, bodies.accepted_body(book.submit({**fields, "symbol": symbol}, fault)))


def _by_client_id(request: Request, book: Book, _: Fault | None) -> Reply:
    client_order_id = request.query.get("client_order_id", "")
    with book.state.transaction():
        row = book.state.order_by_client_id(client_order_id)
        if row is not None and row["hidden_lookups"] > 0:
            book.state.hide(row["id"], row["hidden_lookups"] - 1, 0.0)
            row = None
    if row is None or not _is_visible(row):
        raise Refusal(404, 40410000, f"order not found for {client_order_id}")
    return Reply(200, bodies.order_body(row))


def _by_id(request: Request, book: Book, _: Fault | None) -> Reply:
    order_id = request.path.removeprefix("/v2/orders/")
    row = book.state.order(order_id)
    if row is None or not _is_visible(row):
        raise Refusal(404, 40410000, f"order not found for {order_id}")
    return Reply(200, bodies.order_body(row))


def _cancel(request: Request, book: Book, fault: Fault | None) -> Reply:
    book.cancel(request.path.removeprefix("/v2/orders/"), fault)
    return Reply(204, None)


def _replace(request: Request, book: Book, _: Fault | None) -> Reply:
    fields = request.body if isinstance(request.body, dict) else {}
    return Reply(200, bodies.order_body(book.replace(request.path.removeprefix("/v2/orders/"), fields)))


def _list_orders(request: Request, book: Book, _: Fault | None) -> Reply:
    query = request.query
    scope = {
        "open": WORKING,
        "closed": f"NOT ({WORKING})",
        "all": "1",
    }.get(query.get("status", "open"))
    if scope is None:
        raise Refusal(422, 40010001, "invalid status")
    direction = "ASC" if query.get("direction", "desc") == "asc" else "DESC"
    limit = min(_whole(query.get("limit"), ORDERS_DEFAULT), ORDERS_MOST)
    after = bodies.parse_time(query["after"]) if "after" in query else None
    # Both words are chosen above; nothing of the request reaches this text.
    sql = f"SELECT * FROM orders WHERE {scope} AND submitted_at > ? ORDER BY seq {direction} LIMIT ?"  # noqa: S608
    rows = book.state.rows(sql, (stamp(after) if after else "", limit))
    return Reply(200, [bodies.order_body(row) for row in rows if _is_visible(row)])


def _page_of(request: Request) -> dict[str, Any]:
    """What a query for a page of FILLS or ACTIVITIES says: after which time and which id, which way, and how many."""
    query = request.query
    after = bodies.parse_time(query["after"]) if "after" in query else None
    return {
        "after": stamp(after) if after else "",
        "token": query.get("page_token"),
        "way": 1 if query.get("direction", "desc") == "asc" else -1,
        "size": min(_whole(query.get("page_size"), FILLS_MOST), FILLS_MOST),
    }


def _fills(request: Request, book: Book, _: Fault | None) -> Reply:
    rows = book.state.rows(FILLS, _page_of(request))
    return Reply(200, [bodies.fill_body(row) for row in rows if _is_visible(row)])


def _quotes(request: Request, book: Book, fault: Fault | None) -> Reply:
    wanted = {}
    for symbol in request.query.get("symbols", "").split(","):
        inward = book.strictness.inward(symbol) if symbol else None
        if inward is not None:
            wanted[inward] = symbol
    found = {wanted[name]: bodies.quote_body(quote) for name, quote in book.quotes(list(wanted)).items()}
    if fault is not None and fault.kind in QUOTES:
        found = {symbol: _odd_quote(fault.kind, body) if fault.names(symbol) else body for symbol, body in found.items()}
    return Reply(200, {"quotes": {symbol: body for symbol, body in found.items() if body}})


def _odd_quote(kind: str, body: dict[str, Any]) -> dict[str, Any]:
    """A quote that is wrong in the way the script asks for."""
    bid, ask = body["bp"], body["ap"]
    at = bodies.parse_time(body["t"])
    changes: dict[str, dict[str, Any]] = {
        "stale_quote": {"t": stamp((at or dt.datetime.now(dt.UTC)) - STALE)},
        "wide_quote": {"bp": bid * 0.8, "ap": ask * 1.25},
        "crossed_quote": {"bp": ask * 1.01, "ap": bid * 0.99},
        "one_sided_quote": {"ap": 0, "as": 0},
    }
    return {**body, **changes[kind]} if kind in changes else {}


def _calendar(request: Request, book: Book, _: Fault | None) -> Reply:
    start = dt.date.fromisoformat(request.query.get("start", "0001-01-01"))
    end = dt.date.fromisoformat(request.query.get("end", "9999-12-31"))
    return Reply(200, [bodies.day_body(day) for day in book.market.bars.days if start <= day.session <= end])


def _asset(request: Request, book: Book, _: Fault | None) -> Reply:
    asked = request.path.removeprefix("/v2/assets/")
    symbol = book.strictness.inward(asked)
    if symbol is None or symbol not in book.market.bars.symbols:
        raise Refusal(404, 40410000, f"asset not found for {asked}")
    return Reply(200, bodies.asset_body(book, symbol))


def _assets(request: Request, book: Book, _: Fault | None) -> Reply:
    # A new name with bars of its own is the asset that had the old one.
    taken = set(book.strictness.renames.values())
    assets = [bodies.asset_body(book, symbol) for symbol in book.market.bars.symbols if symbol not in taken]
    wanted = request.query.get("status")
    return Reply(200, [asset for asset in assets if wanted in (None, asset["status"])])


def _positions(_: Request, book: Book, __: Fault | None) -> Reply:
    return Reply(200, [bodies.position_body(book, row) for row in book.state.positions()])


def _activities(request: Request, book: Book, _: Fault | None) -> Reply:
    """What moved cash without a trade: dividends, fees, cash in lieu; newest first unless asked otherwise."""
    kind = request.path.removeprefix("/v2/account/activities").strip("/") or request.query.get("activity_types", "")
    rows = book.state.rows(ACTIVITIES, {**_page_of(request), "kind": kind})
    return Reply(200, [bodies.activity_body(row) for row in rows])


def _is_visible(row: Row) -> bool:
    return bool(row["hidden_lookups"] <= 0 and row["hidden_until"] <= time.time())


def _whole(text: str | None, default: int) -> int:
    return int(text) if text and text.isdigit() and int(text) > 0 else default


ROUTES: dict[tuple[str, str], Callable[[Request, Book, Fault | None], Reply]] = {
    ("GET", "/v2/account"): lambda _, book, __: Reply(200, bodies.account_body(book)),
    ("GET", "/v2/clock"): lambda _, book, __: Reply(200, bodies.clock_body(book)),
    ("GET", "/v2/calendar"): _calendar,
    ("GET", "/v2/assets"): _assets,
    ("GET", "/v2/positions"): _positions,
    ("GET", "/v2/orders"): _list_orders,
    ("POST", "/v2/orders"): _submit,
    ("GET", "/v2/orders:by_client_order_id"): _by_client_id,
    ("GET", "/v2/account/activities"): _activities,
    ("GET", "/v2/account/activities/FILL"): _fills,
    ("GET", "/v2/stocks/quotes/latest"): _quotes,
}
PREFIXES: tuple[tuple[str, str, Callable[[Request, Book, Fault | None], Reply]], ...] = (
    ("GET", "/v2/account/activities/", _activities),
    ("GET", "/v2/orders/", _by_id),
    ("DELETE", "/v2/orders/", _cancel),
    ("PATCH", "/v2/orders/", _replace),
    ("GET", "/v2/assets/", _asset),
)
