"""A row on which ledger and broker disagree."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Difference:
    """One row on which the sides disagree: order, fill, position, symbol, stop or cash.

    halts: False where the row is reported only, and trading goes on.
    """

    kind: str
    what: str
    ledger: str
    broker: str
    halts: bool = True
