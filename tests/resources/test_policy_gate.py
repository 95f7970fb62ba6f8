"""The policy gate by examples worked out by hand from section 4.2 of the rules: each reason, and both sides of each bound."""

from __future__ import annotations

import math
from typing import Any

import pytest

from kobe_resources.policy_gate import (
    AT_LIMIT,
    AT_OPENING_AUCTION,
    AT_QUOTE,
    BY_EQUITY,
    BY_RISK,
    FIXED,
    REASONS,
    Limits,
    Proposal,
    Standing,
    decide_entry,
    round_to_tick,
)

NO_LIMIT = math.inf
LIMITS = Limits(
    mode=FIXED, order_notional=75.0, fraction=0.02, whole_shares=True, limit_offset_bps=10.0, open_limit_bps=300.0,
    max_notional_per_order=75.0, max_daily_notional=1000.0, min_price=3.0, max_price=1000.0, allow_shorts=False, max_gap=0.25,
    max_positions=NO_LIMIT, max_order_fraction=NO_LIMIT, max_daily_fraction=NO_LIMIT, max_gross_exposure=NO_LIMIT,
)  # fmt: skip
"""The defaults of the rules."""
ORDER = Proposal(
    is_long=True, kind=AT_QUOTE, has_price=True, met=20.0, close=20.0, limit_distance=0.0, stop_distance=1.0, weight=1.0
)
"""20 × 1.001 = 20.02, and 75 / 20.02 = 3.7: three shares, $60.06."""
ACCOUNT = Standing(held=False, equity=100_000.0, positions=0, spent=0.0, gross=0.0, cash=100_000.0)


def reason(order: Proposal = ORDER, limits: Limits = LIMITS, account: Standing = ACCOUNT) -> str:
    return REASONS[decide_entry(limits, order, account)[0]]


def test_an_order_is_sized_on_its_limit() -> None:
    assert decide_entry(LIMITS, ORDER, ACCOUNT) == (0, 3.0, 20.02, pytest.approx(60.06))


@pytest.mark.parametrize(
    ("kind", "is_long", "limit"),
    [
        # 20.11 × 1.001 = 20.13011 and 20.11 × 0.999 = 20.08989, away from us.
        (AT_QUOTE, True, 20.14),
        (AT_QUOTE, False, 20.08),
        # 20.11 × 1.03 = 20.7133 and 20.11 × 0.97 = 19.5067, away from us.
        (AT_OPENING_AUCTION, True, 20.72),
        (AT_OPENING_AUCTION, False, 19.50),
        # 20.11 ∓ 1.005 = 19.105 and 21.115, towards us.
        (AT_LIMIT, True, 19.10),
        (AT_LIMIT, False, 21.12),
    ],
)
def test_the_limit_of_each_kind_of_entry(kind: int, is_long: bool, limit: float) -> None:
    order = ORDER._replace(kind=kind, is_long=is_long, met=20.11, close=20.11, limit_distance=1.005)
    assert decide_entry(LIMITS._replace(allow_shorts=True), order, ACCOUNT)[2] == limit


@pytest.mark.parametrize(
    ("price", "down", "up"),
    [(20.015, 20.01, 20.02), (0.50015, 0.5001, 0.5002), (0.99995, 0.9999, 1.0), (1.0, 1.0, 1.0), (1.005, 1.0, 1.01)],
)
def test_the_tick_is_a_cent_from_a_dollar_and_a_hundredth_of_one_below(price: float, down: float, up: float) -> None:
    assert (round_to_tick(price, False), round_to_tick(price, True)) == (down, up)


def test_a_price_nearer_to_a_tick_than_a_millionth_of_it_is_on_it() -> None:
    near, off = 20.01 + 0.9e-8, 20.01 + 1.1e-8
    assert (round_to_tick(near, True), round_to_tick(off, True)) == (20.01, 20.02)


MOVED: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    # What an order meets, then the limits, then the account; each bound once just reached and once passed.
    ("already_open", {}, {}, {"held": True}),
    ("no_bar", {"has_price": False}, {}, {}),
    ("not_finite", {"met": 0.0}, {}, {}),
    ("not_finite", {"met": math.nan}, {}, {}),
    ("not_finite", {"kind": AT_OPENING_AUCTION, "close": 0.0}, {}, {}),
    ("accepted", {"kind": AT_OPENING_AUCTION, "met": 0.0}, {}, {}),
    ("no_stop", {"stop_distance": math.nan}, {"mode": BY_RISK}, {}),
    ("no_stop", {"stop_distance": 0.0}, {"mode": BY_RISK}, {}),
    ("accepted", {"stop_distance": math.nan}, {}, {}),
    ("accepted", {}, {"min_price": 20.02}, {}),
    ("price_out_of_bounds", {}, {"min_price": 20.03}, {}),
    ("accepted", {}, {"max_price": 20.02}, {}),
    ("price_out_of_bounds", {}, {"max_price": 20.01}, {}),
    ("accepted", {"met": 25.0}, {}, {}),
    ("gap_too_wide", {"met": 25.01}, {}, {}),
    ("accepted", {"met": 15.0}, {}, {}),
    ("gap_too_wide", {"met": 14.99}, {}, {}),
    ("accepted", {"kind": AT_OPENING_AUCTION, "met": 40.0}, {}, {}),
    ("shorts_disabled", {"is_long": False}, {}, {}),
    ("accepted", {"is_long": False}, {"allow_shorts": True}, {}),
    ("below_one_share", {}, {"order_notional": 20.01}, {}),
    ("accepted", {}, {"order_notional": 20.02}, {}),
    ("below_one_share", {"weight": 0.0}, {"whole_shares": False}, {}),
    ("accepted", {}, {"max_notional_per_order": 60.06}, {}),
    ("exceeds_order_budget", {}, {"max_notional_per_order": 60.05}, {}),
    ("accepted", {}, {"max_order_fraction": 0.0006006}, {}),
    ("exceeds_order_budget", {}, {"max_order_fraction": 0.0006005}, {}),
    ("accepted", {}, {"max_positions": 3.0}, {"positions": 2}),
    ("too_many_positions", {}, {"max_positions": 3.0}, {"positions": 3}),
    ("accepted", {}, {}, {"spent": 939.94}),
    ("exceeds_daily_budget", {}, {}, {"spent": 939.95}),
    ("accepted", {}, {"max_daily_fraction": 0.005}, {"spent": 439.94}),
    ("exceeds_daily_budget", {}, {"max_daily_fraction": 0.005}, {"spent": 439.95}),
    ("accepted", {}, {"max_gross_exposure": 0.5}, {"gross": 49_900.0, "spent": 39.94}),
    ("exceeds_exposure", {}, {"max_gross_exposure": 0.5}, {"gross": 49_900.0, "spent": 39.95}),
    ("accepted", {}, {}, {"cash": 160.06, "spent": 100.0}),
    ("insufficient_cash", {}, {}, {"cash": 160.05, "spent": 100.0}),
    # The rounding of float arithmetic, a billionth of the budget, is no excess; more is.
    ("accepted", {}, {"max_notional_per_order": 60.06 * (1 - 5e-10)}, {}),
    ("exceeds_order_budget", {}, {"max_notional_per_order": 60.06 * (1 - 2e-9)}, {}),
    ("accepted", {}, {"max_daily_notional": 60.06 * (1 - 5e-10)}, {}),
    ("exceeds_daily_budget", {}, {"max_daily_notional": 60.06 * (1 - 2e-9)}, {}),
    ("accepted", {}, {"max_gross_exposure": 0.0006006 * (1 - 5e-10)}, {}),
    ("exceeds_exposure", {}, {"max_gross_exposure": 0.0006006 * (1 - 2e-9)}, {}),
    ("accepted", {}, {}, {"cash": 60.06 * (1 - 5e-10)}),
    ("insufficient_cash", {}, {}, {"cash": 60.06 * (1 - 2e-9)}),
    ("not_finite", {}, {}, {"cash": math.nan}),
    ("not_finite", {}, {"order_notional": math.inf, "max_notional_per_order": math.inf, "whole_shares": False}, {}),
    ("insufficient_cash", {}, {}, {"equity": 0.0}),
    ("insufficient_cash", {}, {}, {"equity": -1.0}),
]


@pytest.mark.parametrize(("expected", "order", "limits", "account"), MOVED)
def test_each_bound_is_met_on_one_side_and_refused_on_the_other(
    expected: str, order: dict[str, Any], limits: dict[str, Any], account: dict[str, Any]
) -> None:
    changed = (ORDER._replace(**order), LIMITS._replace(**limits), ACCOUNT._replace(**account))
    assert reason(*changed) == expected


def test_the_first_reason_in_the_order_of_the_rules_is_given() -> None:
    """Everything is wrong at once; one fault after another is taken away."""
    order = ORDER._replace(is_long=False, met=2000.0, stop_distance=0.0, has_price=False)
    limits = LIMITS._replace(
        mode=BY_RISK,
        fraction=1e-9,
        max_notional_per_order=0.5,
        max_positions=1.0,
        max_daily_notional=1.0,
        max_gross_exposure=0.0,
    )
    account = ACCOUNT._replace(held=True, positions=1, cash=0.0)
    mended: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
        ({}, {}, {}),
        ({}, {}, {"held": False}),
        ({"has_price": True}, {}, {}),
        ({"stop_distance": 1.0}, {}, {}),
        ({}, {"max_price": 1e6}, {}),
        ({}, {"max_gap": 1e6}, {}),
        ({}, {"allow_shorts": True}, {}),
        ({}, {"mode": FIXED, "order_notional": 5000.0}, {}),
        ({}, {"max_notional_per_order": 1e6}, {}),
        ({}, {}, {"positions": 0}),
        ({}, {"max_daily_notional": 1e6}, {}),
        ({}, {"max_gross_exposure": 1.0}, {}),
        ({}, {}, {"cash": 1e6}),
    ]
    found = []
    for of_order, of_limits, of_account in mended:
        order, limits, account = order._replace(**of_order), limits._replace(**of_limits), account._replace(**of_account)
        found.append(reason(order, limits, account))
    assert found == [
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
        "accepted",
    ]


@pytest.mark.parametrize(
    ("limits", "order", "qty"),
    [
        # 0.5 × 75 / 20.02 = 1.87; by equity 0.02 × 100,000 / 20.02 = 99.9; by risk 0.02 × 100,000 / 1.6 = 1250.
        ({}, {"weight": 0.5}, 1.0),
        ({"mode": BY_EQUITY}, {}, 99.0),
        ({"mode": BY_RISK}, {"stop_distance": 1.6}, 1250.0),
        # 60.06 / 20.02 is 2.9999999999999996 in float arithmetic: the rules add 1e-9 before they floor.
        ({"order_notional": 60.06}, {}, 3.0),
    ],
)
def test_the_size_follows_the_mode_and_the_weight(limits: dict[str, Any], order: dict[str, Any], qty: float) -> None:
    wide = LIMITS._replace(max_notional_per_order=1e9, max_daily_notional=1e9)
    found = decide_entry(wide._replace(**limits), ORDER._replace(**order), ACCOUNT)
    assert found[:2] == (0, qty)


def test_without_whole_shares_nothing_is_floored() -> None:
    code, qty, limit, notional = decide_entry(LIMITS._replace(whole_shares=False), ORDER, ACCOUNT)
    assert (code, limit) == (0, 20.02)
    assert (qty, notional) == (pytest.approx(75 / 20.02), pytest.approx(75.0))
