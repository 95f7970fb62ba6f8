"""Splits as a column gives them: 2, 0.1, 4:1, `4-for-1`, `10:1 reverse`; 0, 1 or nothing where there is none."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fractions import Fraction

NONE = ("", "0", "1", "null", "nan", "n/a", "na", "none", "-", "1:1", "1/1")
LARGEST_TERM = 1000
"""Terms of the ratio that a decimal number stands for: 0.3333 is one for three."""
_TERM = r"(\d+(?:[.,]\d+)*)"
_PAIR = re.compile(rf"{_TERM}\s*(:|/|-?\s*for\s*-?|to)\s*{_TERM}", re.IGNORECASE)
_THOUSANDS = re.compile(r"[1-9]\d{0,2}(,\d{3})+")

Row = tuple[str, float | None, float | None, bool]
"""text, split_from, split_to (None: no split), and whether it could not be read."""


def read_splits(texts: Iterable[str]) -> list[Row]:
    """What each text says: shares after for shares before, the new first, as every exporter of a column writes it."""
    return [_read(text) for text in texts]


def _read(text: str) -> Row:
    bare = text.strip().lower()
    if bare.replace(",", ".") in NONE:
        return text, None, None, False
    pair = _PAIR.search(bare)
    try:
        new, old = _pair(*pair.groups()) if pair else (float(bare.replace(",", ".")), 1.0)
        new, old = _directed(bare, new, old)
    except ValueError:
        return text, None, None, True
    if new == old or new == 0.0:
        return text, None, None, False
    if not (0 < new < float("inf") and 0 < old < float("inf")):
        return text, None, None, True
    return (text, *_terms(new, old), False)


def _pair(new: str, between: str, old: str) -> tuple[float, float]:
    """The two terms as numbers. Raises ValueError where `1,500` beside a plain term may be a thousand, or one and a half."""
    marked = [bool(_THOUSANDS.fullmatch(term)) for term in (new, old)]
    # In English words a comma marks thousands, and where both terms have one the ratio is the same; 1,000 is no way to write 1.
    if not (between.strip(" -") in ("for", "to") or all(marked)) and any(
        mark and term != "1,000" for mark, term in zip(marked, (new, old), strict=True)
    ):
        raise ValueError(new, old)
    terms = (term.replace(",", "") if mark else term.replace(",", ".") for mark, term in zip(marked, (new, old), strict=True))
    first, second = terms
    return float(first), float(second)


def _directed(words: str, new: float, old: float) -> tuple[float, float]:
    """The terms in the order that a word beside them says. Raises ValueError where two words contradict each other."""
    back, on = "reverse" in words, "forward" in words
    if back and on:
        raise ValueError(words)
    return (old, new) if (back and new > old) or (on and new < old) else (new, old)


def _terms(new: float, old: float) -> tuple[float, float]:
    """split_from and split_to as whole numbers where small ones say the same."""
    exact = Fraction(new) / Fraction(old)
    near = exact.limit_denominator(LARGEST_TERM) if exact < 1 else 1 / (1 / exact).limit_denominator(LARGEST_TERM)
    if near and abs(float(near / exact) - 1) < 1e-3 and max(near.numerator, near.denominator) <= LARGEST_TERM:
        return float(near.denominator), float(near.numerator)
    return old, new
