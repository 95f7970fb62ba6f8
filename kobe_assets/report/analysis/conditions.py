"""A strategy's conditions in words: the declaration is called with names instead of numbers, and says what it compares.

So the sentence cannot differ from the code that traded. What cannot be followed (a branch, a function of arrays) gives None.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kobe_resources.runtime.process_state import kept_process_state

NAMES = {
    "close": "the close",
    "rsi2": "RSI(2)",
    "ibs": "IBS",
    "sma200": "the 200-day average",
    "atr14": "ATR(14)",
}
"""Indicators that have a common name; others keep the name of their declaration."""
_ATOM = 3
"""Binds tighter than any operator."""


class Words:
    """A number or condition that is written down instead of computed. binds: how tightly its last operator does."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, text: str, binds: float = _ATOM) -> None:
        self.text, self.binds = text, binds

    def __bool__(self) -> bool:
        raise TypeError("a condition in words is neither true nor false")

    def __array_ufunc__(self, function: Any, method: str, *given: Any, **_: Any) -> Words:
        operator = _UFUNCS.get(function.__name__)
        if method == "__call__" and operator and len(given) == 2:
            return _joined(operator, *given)
        return Words(f"{function.__name__}({', '.join(_text(one) for one in given)})")

    def __abs__(self) -> Words:
        return Words(f"|{self.text}|")

    def __invert__(self) -> Words:
        return Words(f"not ({self.text})")

    def __neg__(self) -> Words:
        return Words(f"−{_text(self, 2)}", 2)


_OPERATORS = {
    "and": ("and", 0), "or": ("or", -1), "lt": ("<", 1), "le": ("≤", 1), "gt": (">", 1), "ge": ("≥", 1),
    "eq": ("=", 1), "ne": ("≠", 1), "add": ("+", 1.5), "sub": ("−", 1.5), "mul": ("×", 2), "truediv": ("/", 2),
    "pow": ("^", 2.5),
}  # fmt: skip
"""Python's operator → how it is written, and how tightly it binds."""
_UFUNCS = {
    "logical_and": "and", "bitwise_and": "and", "logical_or": "or", "bitwise_or": "or", "less": "lt", "less_equal": "le",
    "greater": "gt", "greater_equal": "ge", "equal": "eq", "not_equal": "ne", "add": "add", "subtract": "sub",
    "multiply": "mul", "divide": "truediv", "power": "pow",
}  # fmt: skip


def _joined(name: str, left: Any, right: Any) -> Words:
    sign, binds = _OPERATORS[name]
    if name == "and":
        # A condition that holds two others may say one thing twice.
        clauses = dict.fromkeys(clause for side in (left, right) for clause in _clauses(side))
        return Words(" and ".join(clauses), binds if len(clauses) > 1 else 1)
    return Words(f"{_text(left, binds)} {sign} {_text(right, binds, strict=True)}", binds)


def _clauses(side: Any) -> list[str]:
    if isinstance(side, Words) and side.binds == _OPERATORS["and"][1]:
        return side.text.split(" and ")
    return [_text(side, _OPERATORS["and"][1])]


def _text(value: Any, binds: float = -2, strict: bool = False) -> str:
    """The value in words, in brackets where the operator around it binds tighter than its own."""
    if isinstance(value, Words):
        loose = value.binds < binds or (strict and value.binds == binds and binds > 1)
        return f"({value.text})" if loose else value.text
    number = np.asarray(value)
    return f"{float(number):.6g}".replace("-", "−") if number.ndim == 0 and number.dtype.kind in "iufb" else str(value)


def _operator(name: str, swapped: bool) -> Callable[[Words, Any], Words]:
    return lambda own, other: _joined(name, other, own) if swapped else _joined(name, own, other)


for _name in _OPERATORS:
    setattr(Words, f"__{_name}__", _operator(_name, False))
    if _name not in ("lt", "le", "gt", "ge", "eq", "ne"):
        setattr(Words, f"__r{_name}__", _operator(_name, True))


class _At:
    """What a declaration reads: every name gives itself."""

    def __getattr__(self, name: str) -> Words:
        if name.startswith("__"):
            raise AttributeError(name)
        return Words(NAMES.get(name, name))


@kept_process_state()
def in_words(condition: Callable[..., Any], params: Mapping[str, float | Words] | None = None) -> str | None:
    """What `condition` compares, with the values of `params`; None where it cannot be followed.

    params: None for a score, which reads none.
    """
    try:
        said = condition(_At()) if params is None else condition(_At(), params)
    except Exception:  # noqa: BLE001  a declaration is a person's own code and may do anything with what it is given
        return None
    return re.sub(r"\s+", " ", said.text) if isinstance(said, Words) else None
