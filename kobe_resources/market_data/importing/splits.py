"""Splits as a column of bars gives them: 2, 0.1, 4:1, 4/1, `4-for-1`; 0, 1 or nothing where there is none."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fractions import Fraction

NONE = ("", "0", "1", "null", "nan", "n/a", "na", "none", "-", "1:1", "1/1")
LARGEST_TERM = 1000
"""Terms of the ratio that a decimal number stands for: 0.3333 is one for three."""
_PAIR = re.compile(r"(\d+(?:\.\d+)?)\s*(?::|/|-?\s*for\s*-?|to)\s*(\d+(?:\.\d+)?)", re.IGNORECASE)

Row = tuple[str, float | None, float | None, bool]
"""text, split_from, split_to (None: no split), and whether it could not be read."""


def read_splits(texts: Iterable[str]) -> list[Row]:
    """What each text says: shares after for shares before, the new first, as every exporter of a column writes it."""
    return [_read(text) for text in texts]


def _read(text: str) -> Row:
    bare = text.strip().lower().replace(",", ".")
    if bare in NONE:
        return text, None, None, False
    pair = _PAIR.search(bare)
    try:
        new, old = (float(pair[1]), float(pair[2])) if pair else (float(bare), 1.0)
    except ValueError:
        return text, None, None, True
    if new == old or new == 0.0:
        return text, None, None, False
    if not (0 < new < float("inf") and 0 < old < float("inf")):
        return text, None, None, True
    return (text, *_terms(new, old), False)


def _terms(new: float, old: float) -> tuple[float, float]:
    """split_from and split_to as whole numbers where small ones say the same."""
    exact = Fraction(new) / Fraction(old)
    near = exact.limit_denominator(LARGEST_TERM) if exact < 1 else 1 / (1 / exact).limit_denominator(LARGEST_TERM)
    if near and abs(float(near / exact) - 1) < 1e-3 and max(near.numerator, near.denominator) <= LARGEST_TERM:
        return float(near.denominator), float(near.numerator)
    return old, new
