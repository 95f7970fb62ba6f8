"""Which orders the embedded broker takes: Alpaca's refusals, in its words and with its codes. Reads the state, changes nothing.

Where several hold, the first counts. The caller holds the state's transaction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kobe_resources.broker.embedded.market import Market, Moment, Terms
from kobe_resources.broker.embedded.state import DUST, State
from kobe_resources.broker.protocol import MAX_CLIENT_ORDER_ID

BAD_REQUEST = 40010001
FORBIDDEN = 40310000
UNPROCESSABLE = 42210000
SHUT = "ioc orders are only accepted during market hours"
BUDGET_TOLERANCE = 1e-6
"""Wider than the gate's own: what the gate let pass for rounding must not fail here."""
ON_TICK = 1e-6
"""A price this near to a tick, or to a limit, as a share of the tick, is on it (rules, section 4.2)."""


class Refusal(Exception):
    """An HTTP status with Alpaca's code and message."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Ticket:
    """An order that was taken: checked fields, and whether it opens or adds to a position."""

    client_order_id: str
    symbol: str
    side: str
    kind: str
    time_in_force: str
    qty: float
    limit_price: float | None
    stop_price: float | None
    opens: bool


def check_order(fields: Mapping[str, Any], state: State, market: Market, terms: Terms, moment: Moment) -> Ticket:
    """The ticket of the posted `fields`; raises Refusal."""
    client_order_id = str(fields.get("client_order_id") or "")
    if not 0 < len(client_order_id) <= MAX_CLIENT_ORDER_ID:
        raise Refusal(422, BAD_REQUEST, "client_order_id must be no more than 128 characters")
    if state.order_by_client_id(client_order_id) is not None:
        raise Refusal(422, BAD_REQUEST, "client_order_id must be unique")
    side = _choice(fields, "side", ("buy", "sell"))
    kind = _choice(fields, "type", ("market", "limit", "stop"))
    time_in_force = _choice(fields, "time_in_force", ("day", "gtc", "ioc"))
    qty = _number(fields, "qty")
    limit_price = _number(fields, "limit_price") if kind == "limit" else None
    stop_price = _number(fields, "stop_price") if kind == "stop" else None
    for price in (limit_price, stop_price):
        _check_tick(price)
    symbol = str(fields.get("symbol") or "")
    if symbol not in market.bars.symbols:
        raise Refusal(422, UNPROCESSABLE, f'asset "{symbol}" not found')
    if not market.is_listed(symbol, moment):
        raise Refusal(422, UNPROCESSABLE, f'asset "{symbol}" is not tradable')
    if time_in_force == "ioc" and kind == "stop":
        raise Refusal(422, BAD_REQUEST, "invalid time in force for stop order")
    if time_in_force == "ioc" and not moment.is_open:
        raise Refusal(422, UNPROCESSABLE, SHUT)
    signed = qty if side == "buy" else -qty
    held = state.position(symbol)
    if held * signed < 0:
        qty = _closing_qty(state, symbol, held, qty)
        opens = False
    else:
        opens = True
        if side == "sell" and not terms.shorting_enabled:
            raise Refusal(403, FORBIDDEN, "account is not allowed to short")
    closes_all = not opens and qty == abs(held)
    if qty != math.floor(qty) and not (terms.fractional or closes_all):
        if time_in_force != "day":
            raise Refusal(422, UNPROCESSABLE, "fractional orders must be DAY orders")
        if opens and side == "sell":
            raise Refusal(422, UNPROCESSABLE, "fractional orders cannot be sold short")
    if opens:
        _check_buying_power(state, market, moment, symbol, side, qty, limit_price or stop_price)
    return Ticket(client_order_id, symbol, side, kind, time_in_force, qty, limit_price, stop_price, opens)


def buying_power(state: State) -> float:
    """Cash that no open order has spoken for (a cash account: nothing is lent)."""
    reserved = sum(
        (order["qty"] - order["filled_qty"]) * (order["limit_price"] or order["stop_price"] or 0.0)
        for order in state.open_orders()
        if order["opens"]
    )
    return max(float(state.account()["cash"]) - reserved, 0.0)


def available(state: State, symbol: str, held: float) -> float:
    """Shares of a position that no open order holds, without sign."""
    closing_side = "sell" if held > 0 else "buy"
    promised = sum(order["qty"] - order["filled_qty"] for order in state.open_orders(symbol) if order["side"] == closing_side)
    return max(abs(held) - promised, 0.0)


def tick_size(price: float) -> float:
    """The exchange's smallest step at `price`, in dollars."""
    return 0.01 if price >= 1.0 else 0.0001


def _closing_qty(state: State, symbol: str, held: float, qty: float) -> float:
    """The shares that close: what was asked, or the very position where only rounding lies between."""
    free = available(state, symbol, held)
    if abs(qty - free) <= DUST * abs(held):
        return free
    if qty > free:
        # One order cannot cross zero either: the rest would open the other way.
        message = f"insufficient qty available for order (requested: {qty:g}, available: {free:g})"
        raise Refusal(403, FORBIDDEN, message)
    return qty


def _check_buying_power(
    state: State, market: Market, moment: Moment, symbol: str, side: str, qty: float, price: float | None
) -> None:
    quote = market.quote(symbol, moment)
    if price is None and quote is not None:
        price = quote.ask if side == "buy" else quote.bid
    if price is not None and qty * price > buying_power(state) * (1.0 + BUDGET_TOLERANCE):
        raise Refusal(403, FORBIDDEN, "insufficient buying power")


def _check_tick(price: float | None) -> None:
    if price is None:
        return
    ticks = price / tick_size(price)
    if abs(ticks - round(ticks)) > ON_TICK:
        raise Refusal(
            422, UNPROCESSABLE, f"invalid price {price}. sub-penny increment does not fulfill minimum pricing criteria"
        )


def _choice(fields: Mapping[str, Any], name: str, known: tuple[str, ...]) -> str:
    value = fields.get(name)
    if value not in known:
        raise Refusal(422, BAD_REQUEST, f"invalid {name}")
    return str(value)


def _number(fields: Mapping[str, Any], name: str) -> float:
    try:
        value = float(fields.get(name) or "nan")
    except (TypeError, ValueError):
        value = math.nan
    if not (math.isfinite(value) and value > 0.0):
        raise Refusal(422, BAD_REQUEST, f"{name} must be > 0")
    return value
