"""What trading costs: slippage, commissions, regulatory fees on sales by date, the borrowing of shorts (rules, section 4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kobe_assets.research.panel import Floats
from kobe_resources.runtime.jit import njit_part

DAYS_A_YEAR = 360.0
"""Brokers count a year of borrowing as 360 days."""


class Rate(NamedTuple):
    """A fee from a date on. kind: "sec" (rate in dollars a million of proceeds) or "taf" (dollars a share, cap an order)."""

    kind: str
    since: np.datetime64
    rate: float
    cap: float


class Costs(NamedTuple):
    """What a portfolio starts with and pays: dollars, slippage as a fraction of the price, borrow_rate a year.

    sec: (sessions) SEC fee as a fraction of a sale's proceeds. taf, taf_cap: (sessions) FINRA fee, dollars a share sold and at
    most an order; zeros where regulatory fees are switched off. nights: (sessions) calendar days to the next session.
    """

    initial_cash: float
    slippage: float
    commission_per_order: float
    commission_per_share: float
    commission_minimum: float
    borrow_rate: float
    sec: Floats
    taf: Floats
    taf_cap: Floats
    nights: Floats


def make_costs(
    sessions: NDArray[np.datetime64],
    initial_cash: float,
    slippage: float,
    commission_per_order: float = 0.0,
    commission_per_share: float = 0.0,
    commission_minimum: float = 0.0,
    borrow_rate: float = 0.0,
    fee_table: Sequence[Rate] = (),
) -> Costs:
    """The costs of a portfolio over the session list, its dated fees looked up for every session.

    fee_table: oldest first within a kind; empty: no regulatory fees.
    """
    nights = np.zeros(len(sessions))
    nights[:-1] = np.diff(sessions.astype("datetime64[D]")).astype(np.float64)
    return Costs(
        float(initial_cash),
        float(slippage),
        float(commission_per_order),
        float(commission_per_share),
        float(commission_minimum),
        float(borrow_rate),
        _rates(fee_table, "sec", sessions, lambda rate: rate.rate) / 1e6,
        _rates(fee_table, "taf", sessions, lambda rate: rate.rate),
        _rates(fee_table, "taf", sessions, lambda rate: rate.cap),
        nights,
    )


def _rates(table: Sequence[Rate], kind: str, sessions: NDArray[np.datetime64], value: Callable[[Rate], float]) -> Floats:
    """(sessions) the value in force at each session of the rates of a kind; zeros where the table has none."""
    rows = [rate for rate in table if rate.kind == kind]
    if not rows:
        return np.zeros(len(sessions))
    since = np.array([rate.since for rate in rows], dtype="datetime64[D]")
    values = np.array([value(rate) for rate in rows])
    return values[np.maximum(np.searchsorted(since, sessions.astype("datetime64[D]"), side="right") - 1, 0)]


class Charges(NamedTuple):
    """The costs of one session as plain numbers, which compiled code passes on without counting references to arrays."""

    slippage: float
    per_order: float
    per_share: float
    minimum: float
    sec: float
    taf: float
    taf_cap: float


@njit_part
def charges_of(costs: Costs, session: int) -> Charges:
    """What a fill of `session` (index) costs."""
    return Charges(
        costs.slippage, costs.commission_per_order, costs.commission_per_share, costs.commission_minimum, costs.sec[session],
        costs.taf[session], costs.taf_cap[session],
    )  # fmt: skip


@njit_part
def fill_fees(charges: Charges, is_sale: bool, qty: float, price: float) -> float:
    """Dollars charged on one fill of `qty` shares at `price`, both as traded."""
    fees = max(charges.per_order + charges.per_share * qty, charges.minimum)
    if is_sale:
        fees += charges.sec * qty * price + min(charges.taf * qty, charges.taf_cap)
    return fees
