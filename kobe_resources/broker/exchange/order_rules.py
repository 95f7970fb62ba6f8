"""Which orders the embedded broker takes: Alpaca's refusals, in its words and with its codes. Reads the state, changes nothing.

Where several hold, the first counts. The caller holds the state's transaction. Numbers beside a message are text, as there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from kobe_resources.broker.exchange.clock import ExchangeMarket, Moment, Terms
from kobe_resources.broker.exchange.state import DUST, ON_TICK, Row, State, tick_size
from kobe_resources.broker.exchange.strictness import Strictness
from kobe_resources.broker.protocol import MAX_CLIENT_ORDER_ID

BAD_REQUEST = 40010001
FORBIDDEN = 40310000
UNPROCESSABLE = 42210000
SHUT = "ioc orders are only accepted during market hours"
NO_AUCTION = "opg orders must be submitted after 7:00pm and before 9:28am"
BUDGET_TOLERANCE = 1e-6
"""Wider than the gate's own: what the gate let pass for rounding must not fail here."""


class Refusal(Exception):
    """An HTTP status with Alpaca's code and message, and further facts of its body."""

    def __init__(self, status: int, code: int, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.facts = facts

    @property
    def body(self) -> dict[str, Any]:
        """As it goes over the wire."""
        return {"code": self.code, "message": self.message, **self.facts}


@dataclass(frozen=True, slots=True)
class Ticket:
    """An order that was taken: checked fields, whether it opens or adds to a position, and what it reserves a share then."""

    client_order_id: str
    symbol: str
    side: str
    kind: str
    time_in_force: str
    qty: float
    limit_price: float | None
    stop_price: float | None
    opens: bool
    reserve: float | None


def check_order(fields: Mapping[str, Any], state: State, market: ExchangeMarket, terms: Terms, moment: Moment) -> Ticket:
    """The ticket of the posted `fields`; raises Refusal."""
    client_order_id = str(fields.get("client_order_id") or "")
    if not 0 < len(client_order_id) <= MAX_CLIENT_ORDER_ID:
        raise Refusal(422, BAD_REQUEST, "client_order_id must be no more than 128 characters")
    if state.order_by_client_id(client_order_id) is not None:
        raise Refusal(422, BAD_REQUEST, "client_order_id must be unique")
    side = _choice(fields, "side", ("buy", "sell"))
    kind = _choice(fields, "type", ("market", "limit", "stop"))
    time_in_force = _choice(fields, "time_in_force", ("day", "gtc", "ioc", "opg"))
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
    if time_in_force in ("ioc", "opg") and kind == "stop":
        raise Refusal(422, BAD_REQUEST, "invalid time in force for stop order")
    if time_in_force == "opg" and not market.takes_auction_orders(moment):
        raise Refusal(422, UNPROCESSABLE, NO_AUCTION)
    if time_in_force == "ioc" and not moment.is_open:
        raise Refusal(422, UNPROCESSABLE, SHUT)
    signed = qty if side == "buy" else -qty
    held = state.position(symbol)
    rules = market.script.strictness
    opens = held * signed >= 0
    if opens and side == "sell":
        _check_short(symbol, time_in_force, terms, rules)
    if rules.refuses_wash_trades:
        _check_wash_trade(state, symbol, side, limit_price)
    if not opens:
        qty = _closing_qty(state, symbol, held, qty)
    if qty != math.floor(qty) and not terms.fractional:
        is_close = not opens and qty == abs(held) and not rules.fractions_only_by_day
        if not is_close:
            _check_fraction(kind, time_in_force, is_short=opens and side == "sell")
    if stop_price is not None and rules.checks_stop_side:
        _check_stop_side(side, stop_price, market.price(symbol, moment))
    reserve = _reserve(market, moment, symbol, side, limit_price or stop_price) if opens else None
    if reserve is not None:
        _check_buying_power(state, qty * reserve)
    return Ticket(client_order_id, symbol, side, kind, time_in_force, qty, limit_price, stop_price, opens, reserve)


def buying_power(state: State) -> float:
    """Cash that no open order has spoken for (a cash account: nothing is lent)."""
    reserved: float = sum(
        (order["qty"] - order["filled_qty"]) * (order["reserve"] or order["limit_price"] or order["stop_price"] or 0.0)
        for order in state.open_orders()
        if order["opens"]
    )
    return max(float(state.account()["cash"]) - reserved, 0.0)


def available(state: State, symbol: str, held: float) -> float:
    """Shares of a position that no open order holds, without sign."""
    promised: float = sum(order["qty"] - order["filled_qty"] for order in _closing_orders(state, symbol, held))
    return max(abs(held) - promised, 0.0)


def number(value: float | None) -> str | None:
    """A float as text that means exactly it, without an exponent: 86.88 -> "86.88", 1.0 -> "1"."""
    if value is None:
        return None
    text = format(Decimal(repr(float(value))), "f")
    return text.removesuffix(".0")


def _closing_orders(state: State, symbol: str, held: float) -> list[Row]:
    side = "sell" if held > 0 else "buy"
    return [order for order in state.open_orders(symbol) if order["side"] == side]


def _closing_qty(state: State, symbol: str, held: float, qty: float) -> float:
    """The shares that close: what was asked, or the very position where only rounding lies between."""
    free = available(state, symbol, held)
    if free > 0.0 and abs(qty - free) <= DUST * abs(held):
        return free
    if qty > free:
        # One order cannot cross zero either: the rest would open the other way.
        raise Refusal(
            403,
            FORBIDDEN,
            f"insufficient qty available for order (requested: {number(qty)}, available: {number(free)})",
            available=number(free),
            existing_qty=number(held),
            held_for_orders=number(abs(held) - free),
            symbol=symbol,
            related_orders=[order["id"] for order in _closing_orders(state, symbol, held)],
        )
    return qty


def _check_short(symbol: str, time_in_force: str, terms: Terms, rules: Strictness) -> None:
    if not terms.shorting_enabled:
        raise Refusal(403, FORBIDDEN, "account is not allowed to short")
    if not rules.is_shortable(symbol):
        raise Refusal(422, UNPROCESSABLE, f'asset "{symbol}" cannot be sold short')
    if rules.is_hard_to_borrow(symbol) and time_in_force != "day":
        raise Refusal(422, UNPROCESSABLE, f'only day orders are allowed for hard-to-borrow asset "{symbol}"')


def _check_wash_trade(state: State, symbol: str, side: str, limit_price: float | None) -> None:
    """No order beside an open one the other way that it could meet: only two limits that lie apart cannot."""
    for order in state.open_orders(symbol):
        theirs = order["limit_price"]
        if order["side"] == side:
            continue
        if limit_price is None or theirs is None:
            reason = "opposite side limit order exists" if theirs is not None else "opposite side market/stop order exists"
        elif (limit_price >= theirs) if side == "buy" else (limit_price <= theirs):
            reason = "opposite side limit order exists"
        else:
            continue
        message = "potential wash trade detected. use complex orders"
        raise Refusal(403, FORBIDDEN, message, existing_order_id=order["id"], reject_reason=reason)


def _check_fraction(kind: str, time_in_force: str, is_short: bool) -> None:
    if time_in_force != "day":
        raise Refusal(422, UNPROCESSABLE, "fractional orders must be DAY orders")
    if kind == "stop":
        raise Refusal(422, UNPROCESSABLE, "fractional orders must be market or limit orders")
    if is_short:
        raise Refusal(422, UNPROCESSABLE, "fractional orders cannot be sold short")


def _check_stop_side(side: str, stop_price: float, price: float | None) -> None:
    if price is None or (stop_price < price if side == "sell" else stop_price > price):
        return
    where = "less" if side == "sell" else "greater"
    raise Refusal(
        422,
        UNPROCESSABLE,
        f"stop price must be {where} than current price",
        market_price=number(price),
        stop_price=number(stop_price),
    )


def _reserve(market: ExchangeMarket, moment: Moment, symbol: str, side: str, price: float | None) -> float | None:
    """Dollars a share that the order reserves; None where no price is known."""
    if price is not None:
        return price
    quote = market.quote(symbol, moment)
    if quote is None:
        return market.price(symbol, moment)
    return (quote.ask if side == "buy" else quote.bid) or market.price(symbol, moment)


def _check_buying_power(state: State, cost: float) -> None:
    power = buying_power(state)
    if cost > power * (1.0 + BUDGET_TOLERANCE):
        raise Refusal(
            403, FORBIDDEN, "insufficient buying power", buying_power=number(power), cost_basis=number(cost)
        )  # fmt: skip


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
