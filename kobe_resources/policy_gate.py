"""The policy gate: one decision for simulated and live entries; it can only refuse or size, never add (rules, section 4.2).

A decision prices one proposed order, sizes it on its limit, and admits it to what the account may still do; the first reason
that holds is given. The simulation prices each signal once and sizes and admits it in every run; live trading calls
`decide_entry`, which is the three together. The gate trusts its caller for the proposal's prices, which are dollars a share as
traded on the entry's day.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from kobe_resources.runtime.jit import njit

ACCEPTED = 0
REASONS: tuple[str, ...] = (
    "accepted",
    "already_open",
    "no_bar",
    "no_stop",
    "price_out_of_bounds",
    "gap_too_wide",
    "shorts_disabled",
    "below_one_share",
    "exceeds_order_budget",
    "too_many_positions",
    "exceeds_daily_budget",
    "exceeds_exposure",
    "insufficient_cash",
    "beyond_limit",
    "not_reached",
    "not_finite",
)
(
    ALREADY_OPEN, NO_BAR, NO_STOP, PRICE_OUT_OF_BOUNDS, GAP_TOO_WIDE, SHORTS_DISABLED, BELOW_ONE_SHARE, EXCEEDS_ORDER_BUDGET,
    TOO_MANY_POSITIONS, EXCEEDS_DAILY_BUDGET, EXCEEDS_EXPOSURE, INSUFFICIENT_CASH, BEYOND_LIMIT, NOT_REACHED, NOT_FINITE,
) = range(1, 16)  # fmt: skip

FIXED, BY_EQUITY, BY_RISK = 0, 1, 2
SIZING_MODES = {"fixed": FIXED, "equity": BY_EQUITY, "risk": BY_RISK}

AT_QUOTE, AT_OPENING_AUCTION, AT_LIMIT = 0, 1, 2
"""Kinds of entry: an IOC order at the quote, an order in the opening auction, a limit order that works through the session."""

ON_TICK = 1e-6
"""A price nearer to a tick than this share of a tick counts as on it."""
TOLERANCE = 1.0 + 1e-9
"""A budget may be passed by this factor: the rounding of float arithmetic is no excess."""


class Limits(NamedTuple):
    """What the gate decides by, as plain floats: settings [sizing], [execution] and [policy]; an absent limit is infinite.

    mode: FIXED, BY_EQUITY or BY_RISK. order_notional, max_notional_per_order, max_daily_notional, min_price, max_price:
    dollars. fraction, max_order_fraction, max_daily_fraction, max_gross_exposure: shares of equity. max_gap: share of the
    signal's close.
    """

    mode: int
    order_notional: float
    fraction: float
    whole_shares: bool
    limit_offset_bps: float
    open_limit_bps: float
    max_notional_per_order: float
    max_daily_notional: float
    min_price: float
    max_price: float
    allow_shorts: bool
    max_gap: float
    max_positions: float
    max_order_fraction: float
    max_daily_fraction: float
    max_gross_exposure: float


class Proposal(NamedTuple):
    """One entry that a signal asks for; prices and distances in dollars a share as traded on the day of the entry.

    kind: AT_QUOTE, AT_OPENING_AUCTION or AT_LIMIT. has_price: False where nothing is traded or quoted. met: the price that an
    order AT_QUOTE expects to be filled at. close: the signal's close. limit_distance: from the close to the limit of an order
    AT_LIMIT. stop_distance: from the fill to the stop, NaN without one. weight: the strategy's part of the account.
    """

    is_long: bool
    kind: int
    has_price: bool
    met: float
    close: float
    limit_distance: float
    stop_distance: float
    weight: float


class Standing(NamedTuple):
    """The account as an entry meets it, after the exits of the open.

    held: the symbol held a position at the close before, or an order for it was accepted. equity: dollars at the close
    before. positions: open ones and accepted entries. spent: dollars of accepted entries of the session. gross: dollars of
    open positions at their last closes. cash: dollars.
    """

    held: bool
    equity: float
    positions: int
    spent: float
    gross: float
    cash: float


@njit
def round_to_tick(price: float, up: bool) -> float:
    """`price` on the exchange's grid ($0.01 from $1, $0.0001 below), rounded up or down."""
    per_dollar = 100.0 if price >= 1.0 else 10000.0
    ticks = price * per_dollar
    nearest = nearest_whole(ticks)
    if abs(ticks - nearest) < ON_TICK:
        return nearest / per_dollar
    return (math.ceil(ticks) if up else math.floor(ticks)) / per_dollar


@njit
def nearest_whole(value: float) -> float:
    """The nearest whole number (halves up)."""
    return math.floor(value + 0.5)


@njit
def limit_price(limits: Limits, order: Proposal) -> float:
    """The limit that an order is sized, judged and sent at: on the tick away from us, or towards us for an order AT_LIMIT."""
    side = 1.0 if order.is_long else -1.0
    if order.kind == AT_LIMIT:
        return round_to_tick(order.close - side * order.limit_distance, not order.is_long)
    if order.kind == AT_OPENING_AUCTION:
        return round_to_tick(order.close * (1.0 + side * (limits.open_limit_bps / 10000.0)), order.is_long)
    return round_to_tick(order.met * (1.0 + side * (limits.limit_offset_bps / 10000.0)), order.is_long)


@njit
def price_entry(limits: Limits, order: Proposal) -> tuple[int, float]:
    """The part of a decision that the order alone decides: (reason code, limit); the limit is 0 where it was not reached."""
    price = order.met if order.kind == AT_QUOTE else order.close
    if not (math.isfinite(price) and price > 0.0):
        return NOT_FINITE, 0.0
    if limits.mode == BY_RISK and not order.stop_distance > 0.0:
        return NO_STOP, 0.0
    limit = limit_price(limits, order)
    if not (limits.min_price <= limit <= limits.max_price):
        return PRICE_OUT_OF_BOUNDS, limit
    if order.kind == AT_QUOTE and not abs(order.met - order.close) <= limits.max_gap * order.close * TOLERANCE:
        return GAP_TOO_WIDE, limit
    if not order.is_long and not limits.allow_shorts:
        return SHORTS_DISABLED, limit
    return ACCEPTED, limit


@njit
def size_entry(limits: Limits, weight: float, stop_distance: float, limit: float, equity: float) -> tuple[int, float, float]:
    """The part that the account's equity decides, of an order priced at `limit`: (reason code, qty, notional)."""
    dollars = limits.order_notional if limits.mode == FIXED else limits.fraction * equity
    qty = weight * dollars / (stop_distance if limits.mode == BY_RISK else limit)
    if limits.whole_shares:
        qty = math.floor(qty + 1e-9)
    notional = qty * limit
    if not math.isfinite(notional):
        return NOT_FINITE, 0.0, 0.0
    if qty <= 0.0:
        return BELOW_ONE_SHARE, qty, notional
    # An absent limit times a lost account would be the tightest of all.
    share = limits.max_order_fraction * equity if limits.max_order_fraction < math.inf else math.inf
    is_large = notional > min(limits.max_notional_per_order, share) * TOLERANCE
    return EXCEEDS_ORDER_BUDGET if is_large else ACCEPTED, qty, notional


@njit
def admit_entry(limits: Limits, account: Standing, notional: float) -> int:
    """The part of a decision that the session's other orders decide, around a sized order: the first reason, or 0."""
    wanted = account.spent + notional
    if not (math.isfinite(wanted) and math.isfinite(account.cash)):
        return NOT_FINITE
    if not account.equity > 0.0:
        # A share of nothing, of which an absent limit would be infinitely many, is no budget.
        return INSUFFICIENT_CASH
    if account.positions >= limits.max_positions:
        return TOO_MANY_POSITIONS
    if wanted > min(limits.max_daily_notional, limits.max_daily_fraction * account.equity) * TOLERANCE:
        return EXCEEDS_DAILY_BUDGET
    if account.gross + wanted > limits.max_gross_exposure * account.equity * TOLERANCE:
        return EXCEEDS_EXPOSURE
    if wanted > account.cash * TOLERANCE:
        return INSUFFICIENT_CASH
    return ACCEPTED


@njit
def decide_entry(limits: Limits, order: Proposal, account: Standing) -> tuple[int, float, float, float]:
    """Judge one entry: (reason code, qty, limit, notional); code 0 is accepted, the others index `REASONS`.

    qty: shares as traded. limit: dollars a share. What the market then says of an accepted order (beyond_limit, not_reached)
    is no decision of the gate.
    """
    if account.held:
        return ALREADY_OPEN, 0.0, 0.0, 0.0
    if not order.has_price:
        return NO_BAR, 0.0, 0.0, 0.0
    code, limit = price_entry(limits, order)
    if code != ACCEPTED:
        return code, 0.0, limit, 0.0
    code, qty, notional = size_entry(limits, order.weight, order.stop_distance, limit, account.equity)
    if code == ACCEPTED:
        code = admit_entry(limits, account, notional)
    return code, qty, limit, notional
