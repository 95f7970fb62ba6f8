"""The quarantine rule by hand, on and beside each of its bounds: which bars are suspect, and for how long nothing signals."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kobe_assets.research.quarantine import (
    QUARANTINE_BARS,
    RANGE_QUARANTINE_BARS,
    distrusted_moves,
    quarantined,
    suspect_bars,
    suspects,
)

CALM = 30
"""Bars at $100 and 1,000 shares before the one that is judged."""


def listing(bars: int = CALM, **last: float) -> dict[str, list[float]]:
    """Flat bars, and one more with other values; what is not given of it lies at its close."""
    close = last.get("close", 100.0)
    values = {"open": close, "high": max(close, last.get("open", close)), "low": min(close, last.get("open", close))}
    found = {name: [100.0] * bars + [{**values, "close": close, **last}[name]] for name in ("open", "high", "low", "close")}
    return {**found, "volume": [1000.0] * bars + [last.get("volume", 1000.0)]}


def bars_of(*listings: dict[str, list[float]]) -> Any:
    sizes = [len(one["close"]) for one in listings]
    columns = {name: np.array([value for one in listings for value in one[name]]) for name in listings[0]}
    symbol = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    return SimpleNamespace(start=np.concatenate([[0], np.cumsum(sizes)]), symbol=symbol, **columns)


HUGE = 1e9
JUDGED: dict[str, tuple[dict[str, float], bool]] = {
    "a rise by 1.45": ({"close": 145.0 - 1e-9}, False),
    "a rise by more": ({"close": 145.1}, True),
    "a fall to 1 / 1.45": ({"close": 100 / 1.45 + 1e-9}, False),
    "a fall to less": ({"close": 68.9}, True),
    "a rise with dollars and shares": ({"close": 146.0, "volume": 3001.0}, False),
    "a rise with three times the shares": ({"close": 146.0, "volume": 3000.0}, True),
    "a rise with dollars alone": ({"close": 290.0, "volume": 1100.0}, True),
    "a fall with shares alone": ({"close": 50.0, "volume": 5000.0}, True),
    "a fall with shares and dollars": ({"close": 50.0, "volume": 6001.0}, False),
    "three times, whatever volume": ({"close": 300.0, "volume": HUGE}, False),
    "over three times, whatever volume": ({"close": 300.1, "volume": HUGE}, True),
    "under a third, whatever volume": ({"close": 33.3, "volume": HUGE}, True),
    "a low at 0.55 of the lower of open and close": ({"open": 120.0, "close": 100.0, "low": 55.0 + 1e-9}, False),
    "a low under it": ({"open": 120.0, "close": 100.0, "low": 54.9}, True),
    "a low under 0.55 of the higher": ({"open": 120.0, "close": 100.0, "low": 60.0}, False),
    "a high at 1.8 of the higher of open and close": ({"open": 80.0, "close": 100.0, "high": 180.0}, False),
    "a high over it": ({"open": 80.0, "close": 100.0, "high": 180.1}, True),
    "a high over 1.8 of the lower": ({"open": 80.0, "close": 100.0, "high": 170.0}, False),
    "a low that a crowd made": ({"low": 40.0, "volume": 3001.0}, False),
}


@pytest.mark.parametrize("name", JUDGED)
def test_a_bar_is_suspect_beyond_a_bound_and_not_on_it(name: str) -> None:
    last, is_suspect = JUDGED[name]
    assert suspect_bars(bars_of(listing(), listing(**last))).tolist()[-1] is is_suspect


@pytest.mark.parametrize(("calm", "is_suspect"), [([1000.0] * 20, True), ([100.0] * 10 + [1000.0] * 10, False)])
def test_usual_are_the_medians_of_the_twenty_bars_before_and_no_others(calm: Sequence[float], is_suspect: bool) -> None:
    bars = bars_of(listing(bars=40, close=160.0, volume=2000.0))
    bars.volume[:20], bars.volume[20:40] = 10.0, calm
    assert suspect_bars(bars)[-1] == is_suspect


def test_of_a_listing_that_is_young_the_bars_that_there_are_are_usual() -> None:
    old, young = listing(close=100.0), listing(bars=2, close=160.0, volume=3001.0)
    old["volume"] = [1e6] * len(old["volume"])
    assert not suspect_bars(bars_of(old, young)).any()


def test_the_first_bar_of_a_listing_is_never_suspect() -> None:
    dear = {name: [10.0 * value for value in column] if name != "volume" else column for name, column in listing().items()}
    assert not suspect_bars(bars_of(listing(), dear)).any()


def after(bar: dict[str, float], calm: int) -> dict[str, list[float]]:
    """A listing with that bar after the flat ones, and flat ones at its close after it."""
    found = listing(**bar)
    for name, column in found.items():
        column += [1000.0 if name == "volume" else found["close"][CALM]] * calm
    return found


@pytest.mark.parametrize(
    ("bar", "length"), [({"close": 150.0}, QUARANTINE_BARS), ({"low": 40.0}, RANGE_QUARANTINE_BARS)], ids=["close", "range"]
)
def test_a_listing_is_silent_from_a_suspect_bar_through_the_last_one_of_its_quarantine(
    bar: dict[str, float], length: int
) -> None:
    held = quarantined(bars_of(after(bar, 250), listing()))
    assert np.flatnonzero(held).tolist() == list(range(CALM, CALM + length + 1))


@pytest.mark.parametrize(("calm", "in_force"), [(QUARANTINE_BARS, True), (QUARANTINE_BARS + 1, False)])
def test_a_quarantine_is_in_force_at_the_last_of_its_bars_and_ends_with_its_listing(calm: int, in_force: bool) -> None:
    bars = bars_of(after({"close": 150.0}, calm), listing(bars=250))
    assert suspects(bars).in_force.tolist() == [in_force]
    short = bars_of(after({"close": 150.0}, 10), listing(bars=250))
    assert quarantined(short).sum() == 11, "the next stock is not held for it"


def test_a_short_quarantine_inside_a_long_one_does_not_end_it() -> None:
    bars = bars_of(after({"close": 150.0}, 250))
    bars.low[CALM + 50] = 40.0
    assert np.flatnonzero(quarantined(bars)).tolist() == list(range(CALM, CALM + QUARANTINE_BARS + 1))


def test_a_move_is_distrusted_where_the_close_jumped_and_no_person_vouched_for_it() -> None:
    bars = bars_of(listing(close=150.0), listing(low=40.0), listing(close=150.0))
    bars.symbols = ("A", "B", "C")
    assert suspects(bars).bar.tolist() == [CALM, 2 * CALM + 1, 3 * CALM + 2]
    assert distrusted_moves(bars, suspects(bars), ["C"]).tolist() == [CALM]
