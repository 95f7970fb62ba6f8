"""The embedded broker's answers in Alpaca's JSON shapes: numbers as text (floats in quotes), ids as UUIDs."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from kobe_resources.broker.exchange.clock import MarketQuote, stamp
from kobe_resources.broker.exchange.matching import Book
from kobe_resources.broker.exchange.order_rules import available, buying_power, number
from kobe_resources.broker.exchange.state import Row
from kobe_resources.broker.protocol import TradingDay
from kobe_resources.calendar import NEW_YORK

NAMESPACE = uuid.UUID("6d1f9a52-3c0e-5a0b-9d34-8c6f3a0d9c11")


def asset_id(symbol: str) -> str:
    """The same id for the same symbol, always."""
    return str(uuid.uuid5(NAMESPACE, symbol))


def account_body(book: Book) -> dict[str, Any]:
    """`GET /v2/account`."""
    account, moment = book.state.account(), book.state.moment()
    values = [
        row["qty"] * (book.market.price(row["symbol"], moment) or row["avg_entry_price"]) for row in book.state.positions()
    ]
    equity = account["cash"] + sum(values)
    return {
        "id": account["id"],
        "account_number": account["number"],
        "status": "ACTIVE",
        "currency": "USD",
        "cash": number(account["cash"]),
        "equity": number(equity),
        "last_equity": number(equity),
        "portfolio_value": number(equity),
        "buying_power": number(buying_power(book.state)),
        "multiplier": "1",
        "shorting_enabled": book.terms.shorting_enabled,
        "long_market_value": number(sum(value for value in values if value > 0)),
        "short_market_value": number(sum(value for value in values if value < 0)),
        "trading_blocked": False,
        "account_blocked": False,
        "transfers_blocked": False,
        "trade_suspended_by_user": False,
    }


def clock_body(book: Book) -> dict[str, Any]:
    """`GET /v2/clock`, in New York's time."""
    moment = book.state.moment()
    now = book.market.instant(moment)
    return {
        "timestamp": now.astimezone(NEW_YORK).isoformat(),
        "is_open": moment.is_open,
        "next_open": book.market.next_open(now).astimezone(NEW_YORK).isoformat(),
        "next_close": book.market.next_close(now).astimezone(NEW_YORK).isoformat(),
    }


def day_body(day: TradingDay) -> dict[str, Any]:
    """One day of `GET /v2/calendar`."""
    hours = {name: at.astimezone(NEW_YORK).strftime("%H:%M") for name, at in (("open", day.open), ("close", day.close))}
    return {"date": day.session.isoformat(), **hours, "session_open": "0400", "session_close": "2000"}


def asset_body(book: Book, symbol: str) -> dict[str, Any]:
    """One asset."""
    listed = book.market.is_listed(symbol, book.state.moment())
    shortable = listed and book.terms.shorting_enabled and book.strictness.is_shortable(symbol)
    easy = shortable and not book.strictness.is_hard_to_borrow(symbol)
    return {
        "id": asset_id(symbol),
        "class": "us_equity",
        "exchange": "NASDAQ",
        "symbol": symbol,
        "name": symbol,
        "status": "active" if listed else "inactive",
        "tradable": listed and not (book.strictness.names_halts and _is_halted(book, symbol)),
        "marginable": True,
        "shortable": shortable,
        "easy_to_borrow": easy,
        "borrow_status": "easy_to_borrow" if easy else "hard_to_borrow",
        "fractionable": True,
        "attributes": ["has_options"],
    }


def _is_halted(book: Book, symbol: str) -> bool:
    """Nothing of the symbol is traded in the session of the clock, or, of an evening, in the next."""
    moment = book.state.moment()
    coming = book.market.step_after(moment).session if moment.phase == "evening" else moment.session
    return coming <= book.market.bars.last_session and book.market.bar(symbol, coming) is None


def order_body(row: Row) -> dict[str, Any]:
    """An order, as look-ups return it."""
    closing = {"buy": "buy_to_close", "sell": "sell_to_close"}
    opening = {"buy": "buy_to_open", "sell": "sell_to_open"}
    return {
        "id": row["id"],
        "client_order_id": row["client_order_id"],
        "created_at": row["submitted_at"],
        "updated_at": row["updated_at"],
        "submitted_at": row["submitted_at"],
        "filled_at": row["filled_at"] if row["status"] == "filled" else None,
        "expired_at": row["expired_at"],
        "canceled_at": row["canceled_at"],
        "failed_at": row["failed_at"],
        "replaced_at": row["replaced_at"],
        "replaced_by": row["replaced_by"],
        "replaces": row["replaces"],
        "asset_id": asset_id(row["symbol"]),
        "symbol": row["symbol"],
        "asset_class": "us_equity",
        "notional": None,
        "qty": number(row["qty"]),
        "filled_qty": number(row["filled_qty"]),
        "filled_avg_price": number(row["filled_avg_price"]),
        "order_class": "",
        "order_type": row["kind"],
        "type": row["kind"],
        "side": row["side"],
        "time_in_force": row["time_in_force"],
        "limit_price": number(row["limit_price"]),
        "stop_price": number(row["stop_price"]),
        "status": row["status"],
        "extended_hours": False,
        "legs": None,
        "trail_percent": None,
        "trail_price": None,
        "hwm": None,
        "subtag": None,
        "source": None,
        "position_intent": (opening if row["opens"] else closing)[row["side"]],
    }


def accepted_body(row: Row) -> dict[str, Any]:
    """An order as the answer to its POST: pending, even where it has filled meanwhile."""
    return {
        **order_body(row),
        "status": "pending_new",
        "filled_qty": "0",
        "filled_avg_price": None,
        "filled_at": None,
        "canceled_at": None,
        "failed_at": None,
        "updated_at": row["submitted_at"],
    }


def position_body(book: Book, row: Row) -> dict[str, Any]:
    """One position."""
    qty, average = row["qty"], row["avg_entry_price"]
    price = book.market.price(row["symbol"], book.state.moment()) or average
    free = available(book.state, row["symbol"], qty)
    return {
        "asset_id": asset_id(row["symbol"]),
        "symbol": row["symbol"],
        "exchange": "NASDAQ",
        "asset_class": "us_equity",
        "avg_entry_price": number(average),
        "qty": number(qty),
        "qty_available": number(free if qty > 0 else -free),
        "side": "long" if qty > 0 else "short",
        "market_value": number(qty * price),
        "cost_basis": number(qty * average),
        "unrealized_pl": number(qty * (price - average)),
        "unrealized_plpc": number((price / average - 1.0) * (1.0 if qty > 0 else -1.0)),
        "current_price": number(price),
        "lastday_price": number(price),
        "change_today": "0",
    }


def fill_body(row: Row) -> dict[str, Any]:
    """One activity of type FILL."""
    return {
        "activity_type": "FILL",
        "id": row["id"],
        "order_id": row["order_id"],
        "symbol": row["symbol"],
        "side": row["side"],
        "qty": number(row["qty"]),
        "cum_qty": number(row["cum_qty"]),
        "leaves_qty": number(row["leaves_qty"]),
        "price": number(row["price"]),
        "order_status": "partially_filled" if row["leaves_qty"] else "filled",
        "type": "partial_fill" if row["leaves_qty"] else "fill",
        "transaction_time": row["at"],
    }


def activity_body(row: Row) -> dict[str, Any]:
    """One activity that is no trade."""
    about = {"symbol": row["symbol"], "qty": number(row["qty"]), "per_share_amount": number(row["price"])}
    return {
        "activity_type": row["kind"],
        "id": row["id"],
        "date": row["at"][:10],
        "created_at": row["at"],
        **(about if row["symbol"] else {}),
        "net_amount": number(row["amount"]),
        "description": row["description"],
        "status": "executed",
    }


def quote_body(quote: MarketQuote) -> dict[str, Any]:
    """A latest quote; prices are JSON numbers here, as on Alpaca's wire."""
    return {
        "t": stamp(quote.at),
        "ax": "V",
        "ap": quote.ask,
        "as": 1 if quote.ask else 0,
        "bx": "V",
        "bp": quote.bid,
        "bs": 1,
        "c": ["R"],
        "z": "C",
    }


def parse_time(text: str) -> dt.datetime | None:
    """A time of a query; None where it is none."""
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
