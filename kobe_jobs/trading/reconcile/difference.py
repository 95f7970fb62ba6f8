"""A row on which ledger and broker disagree."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Difference:
    """One row on which the sides disagree: order, fill, position, symbol, stop or cash. A `halts=False` row is told and stops
    nothing.
    """

    kind: str
    what: str
    ledger: str
    broker: str
    halts: bool = True
