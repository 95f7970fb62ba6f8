"""What the embedded broker charges: commissions and regulatory fees on fills, borrowing on shorts (rules, section 4).

A broker's own bill, apart from the simulation's arithmetic, so that a replay proves the one by the other.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from kobe_resources.broker.fees import FeeRate

DAYS_A_YEAR = 360.0
"""Brokers count a year of borrowing as 360 days."""


@dataclass(frozen=True, slots=True)
class Billing:
    """A price list. per_order, per_share, minimum: dollars of commission. borrow_rate: a year. rates: dated, oldest first."""

    per_order: float = 0.0
    per_share: float = 0.0
    minimum: float = 0.0
    borrow_rate: float = 0.0
    rates: tuple[FeeRate, ...] = ()

    def of_order(self, is_sale: bool, qty: float, price: float, session: dt.date) -> float:
        """Dollars for an order that has filled `qty` shares at `price` on average; 0 where nothing has."""
        if not qty:
            return 0.0
        fees = max(self.per_order + self.per_share * qty, self.minimum)
        if is_sale:
            sec, taf = self._in_force("sec", session), self._in_force("taf", session)
            fees += (sec.rate / 1e6 * qty * price if sec else 0.0) + (min(taf.rate * qty, taf.cap) if taf else 0.0)
        return fees

    def of_borrowing(self, worth: float, nights: int) -> float:
        """Dollars for `worth` dollars of borrowed shares over so many nights."""
        return self.borrow_rate * nights / DAYS_A_YEAR * worth

    def _in_force(self, kind: str, session: dt.date) -> FeeRate | None:
        rows = [rate for rate in self.rates if rate.kind == kind]
        begun = [rate for rate in rows if rate.since <= session]
        return begun[-1] if begun else rows[0] if rows else None


FREE = Billing()
