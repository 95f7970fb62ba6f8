"""Which quotes are good enough, and the limits that follow from them."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kobe_assets.graph.inputs import limits_of
from kobe_resources.broker.protocol import Quote
from kobe_resources.broker.quotes import QuoteProblem, exit_limit, judge_quote, on_tick, stop_price
from kobe_resources.policy_gate import AT_QUOTE, Proposal, Standing, decide_entry
from kobe_resources.settings.models import Settings, TradingSettings

NOW = dt.datetime(2026, 10, 8, 13, 30, 5, tzinfo=dt.UTC)
TRADING = TradingSettings(max_quote_age_s=30.0, max_spread_bps=100.0)


def quote(bid: str = "99.95", ask: str = "100.05", age_s: float = 1.0) -> Quote:
    return Quote("KO", Decimal(bid), Decimal(ask), NOW - dt.timedelta(seconds=age_s))


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (quote(), None),
        (quote(age_s=30.0), None),
        (quote(age_s=30.001), QuoteProblem.STALE),
        (quote(age_s=-31.0), QuoteProblem.STALE),
        (quote(age_s=-2.0), None),
        (None, QuoteProblem.MISSING),
        (quote(ask="0"), QuoteProblem.ONE_SIDED),
        (quote(bid="0"), QuoteProblem.ONE_SIDED),
        (quote(bid="-1"), QuoteProblem.ONE_SIDED),
        (quote(bid="100.06"), QuoteProblem.CROSSED),
        (quote(bid="100.05"), None),
        (quote(bid="NaN"), QuoteProblem.NOT_FINITE),
        (quote(ask="Infinity"), QuoteProblem.NOT_FINITE),
        (quote(bid="99.50", ask="100.50"), None),
        (quote(bid="99.49", ask="100.51"), QuoteProblem.WIDE),
        (quote(ask="0", age_s=1000), QuoteProblem.ONE_SIDED),
    ],
)
def test_a_quote_is_judged(given: Quote | None, problem: QuoteProblem | None) -> None:
    assert judge_quote(given, NOW, TRADING) is problem


@pytest.mark.parametrize(
    ("bid", "ask", "buy", "sell"),
    [
        ("100.00", "100.05", "100.16", "99.90"),
        ("10.00", "10.00", "10.01", "9.99"),
        ("0.5000", "0.5000", "0.5005", "0.4995"),
        ("0.9995", "0.9995", "1.01", "0.9985"),
        ("1.0005", "1.0005", "1.01", "0.9994"),
        ("5.00", "5.0003", "5.01", "4.99"),
    ],
)
def test_limits_lie_beyond_the_quote_on_the_tick(bid: str, ask: str, buy: str, sell: str) -> None:
    market = quote(bid, ask)
    assert str(exit_limit(market, False, 10.0)) == buy
    assert str(exit_limit(market, True, 10.0)) == sell


def test_limits_have_two_decimals_from_a_dollar_and_four_below() -> None:
    assert on_tick(12.3, up=True).as_tuple().exponent == -2
    assert on_tick(0.3, up=True).as_tuple().exponent == -4
    assert str(on_tick(0.99999, up=True)) == "1.00"


def test_a_stop_lies_away_from_the_market() -> None:
    assert str(stop_price(100.05, 3.333, is_long=True)) == "96.71"
    assert str(stop_price(100.05, 3.333, is_long=False)) == "103.39"


@settings(max_examples=200, deadline=None)
@given(ask=st.floats(3.5, 900.0), offset=st.sampled_from([0.0, 1.0, 10.0, 50.0]), is_long=st.booleans())
def test_an_exit_has_the_limit_that_the_gate_gives_an_entry_of_the_same_side(ask: float, offset: float, is_long: bool) -> None:
    policy = {
        "max_notional_per_order": 1e9,
        "max_daily_notional": 1e9,
        "min_price": 0.01,
        "max_price": 1e9,
        "allow_shorts": True,
    }
    settings = {"policy": policy, "sizing": {"order_notional": 1e6}, "execution": {"limit_offset_bps": offset}}
    order = Proposal(is_long, AT_QUOTE, True, ask, ask, 0.0, 1.0, 1.0)
    account = Standing(False, 1e9, 0, 0.0, 0.0, 1e9)
    _, _, judged, _ = decide_entry(limits_of(Settings.model_validate(settings)), order, account)
    market = quote(repr(ask), repr(ask))
    sent = exit_limit(market, not is_long, offset)
    assert float(sent) == judged
