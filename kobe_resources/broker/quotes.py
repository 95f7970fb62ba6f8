"""What a quote must be before an order may lean on it, and the limit prices that follow from it.

Trusts its caller for `now`: the broker's clock, in the broker's time.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from enum import StrEnum

from kobe_resources.broker.protocol import Quote
from kobe_resources.policy_gate import round_to_tick
from kobe_resources.settings.models import TradingSettings

ONE_DOLLAR = Decimal(1)
CENT = Decimal("0.01")
SUB_DOLLAR_TICK = Decimal("0.0001")


NO_QUOTE = "no_quote"
"""The reason of an order that had no quote good enough; its cause is a QuoteProblem."""


class QuoteProblem(StrEnum):
    """Why a quote is not good enough: the cause behind `NO_QUOTE`."""

    MISSING = "quote_missing"
    NOT_FINITE = "quote_not_finite"
    ONE_SIDED = "quote_one_sided"
    CROSSED = "quote_crossed"
    STALE = "quote_stale"
    WIDE = "quote_wide_spread"


def judge_quote(quote: Quote | None, now: dt.datetime, trading: TradingSettings) -> QuoteProblem | None:
    """The first reason against `quote`, or None. One from the future is as bad as an old one; bid = ask is good."""
    if quote is None:
        return QuoteProblem.MISSING
    if not (quote.bid.is_finite() and quote.ask.is_finite()):
        return QuoteProblem.NOT_FINITE
    if quote.bid <= 0 or quote.ask <= 0:
        return QuoteProblem.ONE_SIDED
    if quote.bid > quote.ask:
        return QuoteProblem.CROSSED
    if abs((now - quote.timestamp).total_seconds()) > trading.max_quote_age_s:
        return QuoteProblem.STALE
    middle = (quote.bid + quote.ask) / 2
    if (quote.ask - quote.bid) / middle * 10_000 > Decimal(repr(trading.max_spread_bps)):
        return QuoteProblem.WIDE
    return None


def exit_limit(quote: Quote, is_long: bool, offset_bps: float) -> Decimal:
    """The limit of an exit: a long sells below the bid, a short buys above the ask; never less than one tick."""
    is_buy = not is_long
    # As `policy_gate.limit_price` computes an entry's.
    offset = offset_bps / 10_000.0
    price = float(quote.ask) * (1.0 + offset) if is_buy else float(quote.bid) * (1.0 - offset)
    return max(on_tick(price, up=is_buy), SUB_DOLLAR_TICK)


def stop_price(fill_price: float, stop_distance: float, is_long: bool) -> Decimal:
    """The protective stop as traded: `stop_distance` dollars from the fill, on the tick away from the market (long down)."""
    level = fill_price - stop_distance if is_long else fill_price + stop_distance
    return on_tick(level, up=not is_long)


def on_tick(price: float, up: bool) -> Decimal:
    """`price` on the exchange's grid, exact: two decimals from $1, four below."""
    rounded = Decimal(repr(float(round_to_tick(price, up))))
    return rounded.quantize(CENT if rounded >= ONE_DOLLAR else SUB_DOLLAR_TICK)
