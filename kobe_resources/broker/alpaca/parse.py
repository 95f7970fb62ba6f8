"""Alpaca's JSON bodies read into Kobe's values: tolerant of what is new, strict about what Kobe acts on.

Raises Malformed, never KeyError or a Decimal's own signal.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

from kobe_resources import calendar
from kobe_resources.broker.protocol import (
    Account,
    Asset,
    BrokerActivity,
    BrokerFill,
    BrokerOrder,
    BrokerPosition,
    Clock,
    OrderStatus,
    Quote,
    Side,
    TradingDay,
)
from kobe_resources.calendar import NEW_YORK

ZERO = Decimal(0)
KNOWN_YEARS = range(calendar.FIRST_DAY.year, calendar.LAST_DAY.year + 1)
NO_TIME = "0001-01-01"
"""How the broker's language writes a time that was never set; New York's would lie before the first year there is."""
NO_ID = "an order without an id"
T = TypeVar("T")


class Malformed(ValueError):
    """A body lacks what Kobe acts on; says the field, never the body."""


def parse_clock(raw: Any) -> Clock:
    """`GET /v2/clock`."""
    body = _mapping(raw, "clock")
    return Clock(_time(body, "timestamp"), _flag(body, "is_open"), _time(body, "next_open"), _time(body, "next_close"))


def parse_trading_day(raw: Any) -> TradingDay:
    """One entry of `GET /v2/calendar`, whose hours are New York's."""
    body = _mapping(raw, "calendar day")
    try:
        session = dt.date.fromisoformat(_text(body, "date"))
        _check_year(session, "date")
        open_, close = (dt.time.fromisoformat(_text(body, name)) for name in ("open", "close"))
    except ValueError as error:
        raise Malformed(f"calendar day: {error}") from None
    return TradingDay(session, _new_york(session, open_), _new_york(session, close))


def parse_calendar(raw: Any, start: dt.date, end: dt.date) -> list[TradingDay]:
    """`GET /v2/calendar`, the sessions from `start` to `end` in order; an odd row costs itself where it is no session's.

    Malformed where a session stands in no row that can be read: the one before it would pass for yesterday's.
    """
    rows = parse_list(raw, "calendar")
    days = sorted(readable(rows, parse_trading_day), key=lambda day: day.session)
    if len(days) < len(rows):
        known = {day.session for day in days}
        for session in calendar.sessions(start, end).tolist():
            if session not in known:
                raise Malformed(f"calendar day: {session} stands in no row that can be read")
    return [day for day in days if start <= day.session <= end]


def parse_account(raw: Any) -> Account:
    """`GET /v2/account`; a missing block counts as a block, and missing buying power as none."""
    body = _mapping(raw, "account")
    return Account(
        id=_text(body, "id"),
        number=_text(body, "account_number"),
        status=_text(body, "status"),
        cash=_number(body, "cash"),
        equity=_number_or_none(body, "equity") or ZERO,
        buying_power=_number_or_none(body, "buying_power") or ZERO,
        shorting_enabled=body.get("shorting_enabled") is True,
        trading_blocked=body.get("trading_blocked") is not False,
        account_blocked=body.get("account_blocked") is not False,
        trade_suspended_by_user=body.get("trade_suspended_by_user") is True,
    )


def parse_asset(raw: Any) -> Asset:
    """One asset; a missing permission counts as not given."""
    body = _mapping(raw, "asset")
    attributes = body.get("attributes")
    return Asset(
        symbol=_text(body, "symbol"),
        name=_text_or(body, "name", ""),
        status=_text_or(body, "status", ""),
        tradable=body.get("tradable") is True,
        shortable=body.get("shortable") is True,
        easy_to_borrow=_is_easy_to_borrow(body),
        has_options=isinstance(attributes, list) and "has_options" in attributes,
    )


def parse_quote(symbol: str, raw: Any) -> Quote:
    """A latest quote; numbers may be anything here, `judge_quote` decides."""
    body = _mapping(raw, "quote")
    bid, ask = (_number(body, name, finite=False) for name in ("bp", "ap"))
    return Quote(symbol, bid, ask, _time(body, "t"))


def parse_order(raw: Any, request_id: str | None = None) -> BrokerOrder:
    """An order as the answers to POST, look-up and list give it."""
    body = _mapping(raw, "order")
    raw_status = _text(body, "status")
    try:
        status = OrderStatus(raw_status)
    except ValueError:
        status = OrderStatus.UNKNOWN
    return BrokerOrder(
        id=_text(body, "id"),
        client_order_id=_text(body, "client_order_id"),
        symbol=_text(body, "symbol"),
        side=_side(body),
        kind=_text_or(body, "type", "") or _text(body, "order_type"),
        qty=_number_or_none(body, "qty") or ZERO,
        filled_qty=_number_or_none(body, "filled_qty") or ZERO,
        filled_avg_price=_number_or_none(body, "filled_avg_price"),
        status=status,
        raw_status=raw_status,
        limit_price=_number_or_none(body, "limit_price"),
        stop_price=_number_or_none(body, "stop_price"),
        submitted_at=_time(body, "submitted_at") if _was_set(body.get("submitted_at")) else None,
        request_id=request_id,
        time_in_force=_text_or(body, "time_in_force", ""),
        replaced_by=_text_or(body, "replaced_by", "") or None,
        replaces=_text_or(body, "replaces", "") or None,
        asset_class=_text_or(body, "asset_class", ""),
    )


def parse_order_row(raw: Any) -> BrokerOrder:
    """A row of a list of orders; one that says too little, as of an option order with legs, is marked as unread."""
    try:
        return parse_order(raw)
    except Malformed as error:
        body = raw if isinstance(raw, dict) else {}
        order_id = _text_or(body, "id", "")
        status = _text_or(body, "status", "")
        return BrokerOrder(
            id=order_id, client_order_id=_text_or(body, "client_order_id", "") or order_id or NO_ID,
            symbol=_text_or(body, "symbol", ""), side="buy", kind=_text_or(body, "type", ""), qty=ZERO, filled_qty=ZERO,
            filled_avg_price=None, status=OrderStatus(status) if status in set(OrderStatus) else OrderStatus.UNKNOWN,
            raw_status=status, limit_price=None, stop_price=None, submitted_at=_time_or_none(body, "submitted_at"),
            unread=f"{_text_or(body, 'order_class', '') or 'odd'} order: {error}",
            asset_class=_text_or(body, "asset_class", ""),
        )  # fmt: skip


def parse_position(raw: Any) -> BrokerPosition:
    """A position; the sign of `qty` follows `side`, whichever sign the number carries."""
    body = _mapping(raw, "position")
    side = _text(body, "side")
    if side not in ("long", "short"):
        raise Malformed("position: side is neither long nor short")
    size = abs(_number(body, "qty"))
    available = _number_or_none(body, "qty_available")
    return BrokerPosition(
        symbol=_text(body, "symbol"),
        qty=size if side == "long" else -size,
        qty_available=size if available is None else abs(available),
        avg_entry_price=_number_or_none(body, "avg_entry_price") or ZERO,
        asset_class=_text_or(body, "asset_class", ""),
    )


def parse_position_row(raw: Any) -> BrokerPosition:
    """A row of the list of positions; one that cannot be read is marked as unread and holds no shares."""
    try:
        return parse_position(raw)
    except Malformed as error:
        body = raw if isinstance(raw, dict) else {}
        kind = _text_or(body, "asset_class", "")
        return BrokerPosition(_text_or(body, "symbol", "") or "?", ZERO, ZERO, ZERO, unread=str(error), asset_class=kind)


def parse_fill(raw: Any) -> BrokerFill:
    """One activity of type FILL."""
    body = _mapping(raw, "fill")
    return BrokerFill(
        id=_text(body, "id"),
        order_id=_text(body, "order_id"),
        symbol=_text(body, "symbol"),
        side=_side(body),
        qty=abs(_number(body, "qty")),
        price=_number(body, "price"),
        at=_time(body, "transaction_time"),
    )


def parse_activity(raw: Any) -> BrokerActivity:
    """One activity that is no trade; one that was cancelled moved nothing in the end."""
    body = _mapping(raw, "activity")
    is_cancelled = _text_or(body, "status", "executed") == "canceled"
    day = _text_or(body, "created_at", "") or _text(body, "date")
    return BrokerActivity(
        id=_text(body, "id"),
        kind=_text(body, "activity_type"),
        symbol=_text_or(body, "symbol", ""),
        amount=ZERO if is_cancelled else _number(body, "net_amount"),
        at=_moment(day, "created_at"),
        description=_text_or(body, "description", ""),
    )


def readable(rows: list[Any], parser: Callable[[Any], T]) -> list[T]:
    """What `parser` can read of the rows; for lists of which one odd row must not hide the others."""
    found = []
    for row in rows:
        try:
            found.append(parser(row))
        except Malformed:
            continue
    return found


def parse_list(raw: Any, what: str) -> list[Any]:
    """A JSON list."""
    if not isinstance(raw, list):
        raise Malformed(f"{what}: not a list")
    return raw


def _mapping(raw: Any, what: str) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise Malformed(f"{what}: not an object")
    return raw


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise Malformed(f"{name} is missing")
    return value


def _text_or(body: dict[str, Any], name: str, default: str) -> str:
    value = body.get(name)
    return value if isinstance(value, str) else default


def _flag(body: dict[str, Any], name: str) -> bool:
    value = body.get(name)
    if not isinstance(value, bool):
        raise Malformed(f"{name} is neither true nor false")
    return value


def _number(body: dict[str, Any], name: str, finite: bool = True) -> Decimal:
    value = body.get(name)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise Malformed(f"{name} is not a number")
    try:
        # repr of a float is the shortest text that means it: 86.88 stays 86.88.
        number = Decimal(repr(value) if isinstance(value, float) else value)
    except InvalidOperation:
        raise Malformed(f"{name} is not a number") from None
    if finite and not number.is_finite():
        raise Malformed(f"{name} is not finite")
    return number


def _number_or_none(body: dict[str, Any], name: str) -> Decimal | None:
    return None if body.get(name) is None else _number(body, name)


def _is_easy_to_borrow(body: dict[str, Any]) -> bool:
    """`borrow_status` replaces `easy_to_borrow`; where it is given, it decides."""
    status = body.get("borrow_status")
    return status == "easy_to_borrow" if isinstance(status, str) and status else body.get("easy_to_borrow") is True


def _time(body: dict[str, Any], name: str) -> dt.datetime:
    moment = _parsed(_text(body, name), name)
    if moment.tzinfo is None:
        raise Malformed(f"{name} has no time zone")
    return moment.astimezone(dt.UTC)


def _was_set(value: Any) -> bool:
    return bool(value) and not str(value).startswith(NO_TIME)


def _time_or_none(body: dict[str, Any], name: str) -> dt.datetime | None:
    try:
        return _time(body, name)
    except Malformed:
        return None


def _moment(text: str, name: str) -> dt.datetime:
    """A time, or the start of a New York day where only a date is given."""
    moment = _parsed(text, name)
    return moment.astimezone(dt.UTC) if moment.tzinfo else moment.replace(tzinfo=NEW_YORK).astimezone(dt.UTC)


def _parsed(text: str, name: str) -> dt.datetime:
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise Malformed(f"{name} is not a time") from None
    _check_year(moment, name)
    return moment


def _check_year(day: dt.date, name: str) -> None:
    if day.year not in KNOWN_YEARS:
        raise Malformed(f"{name} lies in the year {day.year}")


def _new_york(session: dt.date, hour: dt.time) -> dt.datetime:
    return dt.datetime.combine(session, hour, NEW_YORK).astimezone(dt.UTC)


def _side(body: dict[str, Any]) -> Side:
    # Fills of short sales say "sell_short", their buy-backs "buy_to_cover" on some venues.
    value = _text(body, "side")
    if value.startswith("buy"):
        return "buy"
    if value.startswith("sell"):
        return "sell"
    raise Malformed("side is neither buy nor sell")
