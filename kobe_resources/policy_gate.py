"""The policy gate: one decision for simulated and live entries alike; it can only veto or size, never add (rules, section 4.2).

A decision is `size_entry` (what the order alone decides) inside `admit_entry` (what the portfolio decides). The simulation
sizes each signal once and admits it in every run; live trading calls `decide_entry`, which is the two together.
It trusts its caller for the quote: `raw_fill` is the price as traded that the order expects to meet.
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
    "price_out_of_bounds",
    "shorts_disabled",
    "below_one_share",
    "exceeds_order_budget",
    "exceeds_daily_budget",
    "insufficient_cash",
    "not_finite",
)
ALREADY_OPEN, NO_BAR, PRICE_OUT_OF_BOUNDS, SHORTS_DISABLED, BELOW_ONE_SHARE = 1, 2, 3, 4, 5
EXCEEDS_ORDER_BUDGET, EXCEEDS_DAILY_BUDGET, INSUFFICIENT_CASH, NOT_FINITE = 6, 7, 8, 9

ON_TICK = 1e-6
"""A price nearer to a tick than this share of a tick counts as on it."""
BUDGET_TOLERANCE = 1e-9


class Limits(NamedTuple):
    """What the gate decides by: settings [policy], [simulation] and [trading], as plain floats (dollars, basis points)."""

    order_notional: float
    whole_shares: bool
    limit_offset_bps: float
    max_notional_per_order: float
    max_daily_notional: float
    min_price: float
    max_price: float
    allow_shorts: bool


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
def size_entry(limits: Limits, is_long: bool, raw_fill: float) -> tuple[int, float, float, float]:
    """The part of a decision that the order alone decides: (reason code, qty, limit, notional).

    raw_fill: dollars a share as traded. qty, limit and notional are 0 where the refusal came before they were known.
    """
    if not math.isfinite(raw_fill) or raw_fill <= 0.0:
        return NOT_FINITE, 0.0, 0.0, 0.0
    offset = limits.limit_offset_bps / 10000.0
    limit = round_to_tick(raw_fill * (1.0 + (offset if is_long else -offset)), is_long)
    if not (limits.min_price <= limit <= limits.max_price):
        return PRICE_OUT_OF_BOUNDS, 0.0, limit, 0.0
    if not is_long and not limits.allow_shorts:
        return SHORTS_DISABLED, 0.0, limit, 0.0
    qty = limits.order_notional / limit
    if limits.whole_shares:
        qty = math.floor(qty + 1e-9)
    notional = qty * limit
    # No branch: which of the two it is cannot be foretold, and a processor that guesses wrong waits for the division.
    too_large = notional > limits.max_notional_per_order * (1.0 + BUDGET_TOLERANCE)
    code = BELOW_ONE_SHARE if qty <= 0.0 else EXCEEDS_ORDER_BUDGET if too_large else ACCEPTED
    return code, qty, limit, notional


@njit
def admit_entry(
    limits: Limits, held: bool, has_quote: bool, sized: int, notional: float, spent_today: float, cash: float
) -> int:
    """The part of a decision that the portfolio decides, around a sized order: the first reason that holds, or 0."""
    if held:
        return ALREADY_OPEN
    if not has_quote:
        return NO_BAR
    if sized != ACCEPTED:
        return sized
    if not (math.isfinite(spent_today) and math.isfinite(cash)):
        return NOT_FINITE
    if spent_today + notional > limits.max_daily_notional * (1.0 + BUDGET_TOLERANCE):
        return EXCEEDS_DAILY_BUDGET
    if spent_today + notional > cash * (1.0 + BUDGET_TOLERANCE):
        return INSUFFICIENT_CASH
    return ACCEPTED


@njit
def decide_entry(
    limits: Limits,
    is_long: bool,
    held: bool,
    has_quote: bool,
    raw_fill: float,
    spent_today: float,
    cash: float,
) -> tuple[int, float, float, float]:
    """Judge one entry: (reason code, qty, limit, notional); code 0 is accepted, the others index `REASONS`.

    raw_fill: dollars a share as traded. spent_today: dollars of entries accepted this session. cash: dollars after exits.
    The first reason that holds is given.
    """
    sized, qty, limit, notional = size_entry(limits, is_long, raw_fill) if has_quote else (NO_BAR, 0.0, 0.0, 0.0)
    return admit_entry(limits, held, has_quote, sized, notional, spent_today, cash), qty, limit, notional
