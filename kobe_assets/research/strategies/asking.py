"""Asking a strategy: its conditions and scores over bars, with every fault of a declaration reported in one line.

A condition holds only where everything that it read is defined, however it is written: `~(at.x > 3)` too (rules, section 2).
"""

from __future__ import annotations

from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kobe_assets.research.declared import PRICE_NAMES, ListingBars, read_only, unmasked, values_of
from kobe_assets.research.faults import StrategyFault, is_a_fault, line_of, one_line, place_of
from kobe_assets.research.panel import Bools, Floats, Ints
from kobe_assets.research.strategies.base import Params, Reading, Strategy

TRIAL_BARS = 300
EARLIER = ("shift", "rolling", "diff", "pct_change", "ewm", "expanding")
"""Methods of pandas that read earlier bars, which the arrays of `at` do not have."""


def satisfied(strategy: Strategy, what: str, at: Reading, params: Params) -> Bools:
    """Where a condition (long, short, leave_long, leave_short) holds and all that it read is defined; nowhere without one.

    Raises StrategyFault.
    """
    return np.logical_and(true_of(strategy, what, at, params), at.defined(at.read))


def true_of(strategy: Strategy, what: str, at: Reading, params: Params) -> Bools:
    """Where a condition says true, whether or not what it read is defined; what it read is left in `at.read`.

    Raises StrategyFault.
    """
    at.forget()
    if getattr(strategy, what) is None:
        return np.zeros(len(at), np.bool_)
    found: Bools = _called(strategy, what, at, params)
    if found.dtype != np.bool_:
        raise StrategyFault(f"{_whose(strategy, what)} gives {found.dtype} and not true or false: compare, at.x > 0")
    return found


def scored(strategy: Strategy, what: str, at: Reading) -> Floats:
    """A score (score_long, score_short) of every bar, smaller is stronger; what it read is left in `at.read`."""
    at.forget()
    found: NDArray[Any] = _called(strategy, what, at)
    if found.dtype.kind not in "fiu":
        raise StrategyFault(f"{_whose(strategy, what)} gives {found.dtype} and not a number for each bar")
    return found.astype(np.float64, copy=False)


CONDITIONS, SCORES = ("long", "short", "leave_long", "leave_short"), ("score_long", "score_short")


def mixed_bar(strategy: Strategy, at: Reading, params: Params, order: Ints) -> tuple[str, int] | None:
    """Which condition or score gives a bar another answer when the bars stand in `order`, and that bar; None where none does.

    Each is asked about many bars of many listings at once, and must answer for each of them by what it reads there.
    """
    other = Reading(at.close[order], {name: getattr(at, name)[order] for name in strategy.indicators})
    for what in (*CONDITIONS, *SCORES):
        if getattr(strategy, what) is None:
            continue
        if what in SCORES:
            straight, moved = (scored(strategy, what, one) for one in (at, other))
        else:
            straight, moved = (satisfied(strategy, what, one, params).astype(np.float64) for one in (at, other))
        differs = ~np.isclose(straight[order], moved, rtol=1e-9, atol=0.0, equal_nan=True)
        if differs.any():
            return what, int(order[differs].min())
    return None


def try_out(strategy: Strategy) -> None:
    """Run every function of a declaration once, on invented bars. Raises StrategyFault."""
    rng = np.random.default_rng(5)
    close = 50.0 * np.exp(np.cumsum(rng.normal(0.0, 0.02, TRIAL_BARS)))
    spread = close * np.abs(rng.normal(0.0, 0.01, (2, TRIAL_BARS)))
    sessions, volume = np.datetime64("2001-01-02") + np.arange(TRIAL_BARS), np.full(TRIAL_BARS, 1e6)
    columns = (close - spread[0], close + spread[1], close - spread.sum(axis=0), close, volume, sessions)
    bars = ListingBars(*map(read_only, columns))
    for indicator in strategy.indicators.values():
        while indicator.inner is not None:
            indicator = indicator.inner
        if indicator.function is not None:
            values_of(indicator, bars)
    at = Reading(close, {name: rng.normal(size=TRIAL_BARS) for name in strategy.indicators})
    for what in CONDITIONS:
        satisfied(strategy, what, at, strategy.parameters)
    for what in SCORES:
        if getattr(strategy, what) is not None:
            scored(strategy, what, at)


def _called(strategy: Strategy, what: str, at: Reading, *params: Params) -> Any:
    function = getattr(strategy, what)
    try:
        # A condition that wrote into the parameters would change what every later one is asked with.
        # What is undefined is no number, and no news.
        with np.errstate(all="ignore"):
            found = unmasked(function(at, *(MappingProxyType(one) for one in params)))
    except StrategyFault:
        raise
    except BaseException as error:
        # A person's own declaration may raise anything.
        if not is_a_fault(error):
            raise
        place = place_of(error, line_of(function, strategy.place))
        raise StrategyFault(
            f"the strategy {strategy.name} fails at {place} ({one_line(error)}){_meant(error, strategy, what)}: "
            f"`at` has {', '.join(('close', *strategy.indicators))}; `p` has {', '.join(strategy.parameters) or 'nothing'}"
        ) from error
    if found.shape != (len(at),):
        raise StrategyFault(
            f"{_whose(strategy, what)} gives {'one value' if found.shape == () else f'the shape {found.shape}'} for {len(at)}"
            " bars: it gets arrays and returns one value for each bar"
        )
    return found


def _whose(strategy: Strategy, what: str) -> str:
    return f"{what} of the strategy {strategy.name} at {line_of(getattr(strategy, what), strategy.place)}"


def _meant(error: BaseException, strategy: Strategy, what: str) -> str:
    """What was probably meant: by a name that is not there, by words that numpy does not take, by other arguments."""
    said = str(error)
    if isinstance(error, ValueError | TypeError) and ("truth value of an array" in said or "bitwise" in said):
        return ", join comparisons by & (and), | (or), ~ (not), each in brackets"
    if isinstance(error, TypeError) and "positional argument" in said:
        return f", write {what}=lambda {'at' if what in SCORES else 'at, p'}: …"
    if isinstance(error, TypeError) and "'Reading' object is not subscriptable" in said:
        return f", write at.{next(iter(strategy.indicators), 'close')}"
    if isinstance(error, AttributeError) and "'numpy.ndarray'" in said and error.name in EARLIER:
        return f', there is no {error.name}; what needs earlier bars is an indicator: price("close") or custom(function)'
    if isinstance(error, TypeError) and "'Indicator'" in said:
        return ", declare it under indicators and read it from at"
    if isinstance(error, AttributeError) and "'mappingproxy'" in said and error.name in strategy.parameters:
        return f', write p["{error.name}"]'
    if isinstance(error, NameError) and error.name in ("close", *strategy.indicators):
        return f", write at.{error.name}"
    if isinstance(error, NameError) and error.name in strategy.parameters:
        return f', write p["{error.name}"]'
    known = strategy.parameters if isinstance(error, KeyError) else ("close", *strategy.indicators)
    wrong = said.split("'")[1:2] if isinstance(error, AttributeError | KeyError) else []
    if isinstance(error, AttributeError) and wrong and wrong[0] in PRICE_NAMES:
        return f', declare it under indicators: price("{wrong[0]}")'
    close = get_close_matches(wrong[0], list(known), 1) if wrong else []
    return f", did you mean {close[0]}?" if close else ""
