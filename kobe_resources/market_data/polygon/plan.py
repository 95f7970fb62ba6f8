"""Which calls bring the store up to a span: pure arithmetic on what is covered, no clock, no vendor, no warehouse.

A symbol's coverage is one unbroken span: what lies between its ends is stored as far as the vendor has it. Trusts its
caller for sessions in ascending order that reach from the span's first day to its last.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

DAY = dt.timedelta(days=1)


class Span(NamedTuple):
    """Days from `first` to `last`, both included."""

    first: dt.date
    last: dt.date


class RangeCall(NamedTuple):
    """One symbol, one span, one call."""

    symbol: str
    span: Span


@dataclass(frozen=True)
class LoadPlan:
    """ranges: calls of one symbol. days: calls of the whole market, ascending, which bring `day_symbols` to the end."""

    ranges: tuple[RangeCall, ...]
    days: tuple[dt.date, ...]
    day_symbols: frozenset[str]


def plan_calls(
    coverage: Mapping[str, Span],
    symbols: Collection[str],
    span: Span,
    sessions: Sequence[dt.date],
    first_load: Literal["range", "grouped"],
) -> LoadPlan:
    """The fewest calls that cover `span` for `symbols`, in the manner that `first_load` asks for.

    range: a symbol never loaded gets one call; those that lag get days of the market where these are fewer. grouped:
    everybody is brought forward by days, except the few that lag behind the others.
    """
    ranges: list[RangeCall] = []
    reached: dict[str, int] = {}
    for symbol in sorted(symbols):
        known = usable(coverage.get(symbol), span)
        if known and span.first < known.first:
            ranges.append(RangeCall(symbol, Span(span.first, known.first - DAY)))
        if known is None and first_load == "range":
            ranges.append(RangeCall(symbol, span))
        else:
            reached[symbol] = bisect_right(sessions, known.last) if known else 0
    cut = _cut(Counter(reached.values()), len(sessions), first_load)
    for symbol, position in reached.items():
        if position < cut:
            known = usable(coverage.get(symbol), span)
            ranges.append(RangeCall(symbol, Span(known.last + DAY, span.last) if known else span))
    forward = frozenset(symbol for symbol, position in reached.items() if cut <= position < len(sessions))
    return LoadPlan(tuple(ranges), tuple(sessions[cut:]) if forward else (), forward)


def usable(known: Span | None, span: Span) -> Span | None:
    """The coverage where it overlaps `span`. Elsewhere it says nothing of it, and joined to it would claim a gap as covered."""
    return known if known and known.first <= span.last and span.first <= known.last else None


def merged(known: Span | None, added: Span) -> Span:
    """The coverage after `added`: one span with what it touches or overlaps, else itself."""
    if known is None or added.last + DAY < known.first or known.last + DAY < added.first:
        return added
    return Span(min(known.first, added.first), max(known.last, added.last))


def _cut(crowd: Counter[int], sessions: int, first_load: Literal["range", "grouped"]) -> int:
    """From which session on days of the market are called; symbols that reached less far get a range call each.

    crowd: how many symbols reached how many of the `sessions`.
    """
    if not crowd:
        return sessions
    if first_load == "grouped":
        bulk = min(crowd, key=lambda position: (-crowd[position], position))
        first = min(crowd)
        stragglers = sum(count for position, count in crowd.items() if position < bulk)
        return bulk if stragglers < bulk - first else first

    def calls(cut: int) -> int:
        return sessions - cut + sum(count for position, count in crowd.items() if position < cut)

    return min([*crowd, sessions], key=lambda cut: (calls(cut), cut))
