"""Which calls bring the store up to a span: symbols in batches by span and by the day on which they bore their names.

Pure arithmetic on what is covered, no clock, no vendor, no warehouse.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from kobe_resources.market_data.alpaca.actions import ENDS, Action, Names
from kobe_resources.market_data.alpaca.client import BARS_A_PAGE
from kobe_resources.market_data.polygon.plan import DAY, Span, usable

ROWS_A_BATCH = 125_000
"""A batch is a checkpoint: about a dozen pages, so that little is lost with a process."""
SYMBOLS_A_BATCH = 200
"""What one address holds."""
REREAD_SESSIONS = 5
"""Volume grows after the close and rows are put right for some days: so many sessions are read once more."""


class Ask(NamedTuple):
    """Sessions to ask for, and as whose name on which day."""

    span: Span
    asof: dt.date


class SymbolBatch(NamedTuple):
    """One call of the plan: `covers` is what its symbols are complete for once it is stored."""

    symbols: tuple[str, ...]
    ask: Ask
    covers: Span


class Lives(NamedTuple):
    """What is known of the companies behind the symbols. active: the symbols listed today; None where not asked for."""

    names: Names
    ends: Mapping[str, dt.date]
    active: frozenset[str] | None


def lives_of(actions: Iterable[Action], active: frozenset[str] | None) -> Lives:
    """Names and last sessions by the corporate actions."""
    known = list(actions)
    ends = {action.symbol: action.ex_date for action in sorted(known, key=lambda each: each.ex_date) if action.kind in ENDS}
    return Lives(Names(known), ends, active)


def asks_of(
    symbol: str, span: Span, candidates: Collection[str], lives: Lives, today: dt.date
) -> list[tuple[Span, Ask | None]]:
    """How the bars of one symbol are asked for, so that every company is loaded once: parts of the span, each with its call.

    A name that another candidate once bore counts from the day on which it was given up: None stands for the days before,
    which need no call. A name that was given up otherwise is asked for as of its last day, and from then on as of today, should
    another company bear it. Every other one, as of today, brings the bars of its former names.
    """
    given_up = lives.names.given_up(symbol, candidates)
    is_listed = lives.active is not None and symbol in lives.active
    left = given_up or (None if is_listed else lives.names.last_left(symbol) or lives.ends.get(symbol))
    if left is None or left <= span.first:
        return [(span, Ask(span, today))]
    before = Span(span.first, min(span.last, left - DAY))
    parts = [(before, None if given_up else Ask(before, left - DAY))]
    if left <= span.last:
        since = Span(left, span.last)
        parts.append((since, Ask(since, today)))
    return parts


def missing_spans(
    coverage: Mapping[str, Span], symbols: Sequence[str], span: Span, sessions: Sequence[dt.date], reread: bool
) -> dict[str, list[Span]]:
    """What each symbol lacks of `span`; where it is topped up its last covered sessions are read once more.

    reread: read these again of every symbol, complete or not.
    """
    found: dict[str, list[Span]] = {}
    for symbol in symbols:
        known = usable(coverage.get(symbol), span)
        if known is None:
            found[symbol] = [span]
            continue
        spans = [Span(span.first, known.first - DAY)] if span.first < known.first else []
        if known.last < span.last or reread:
            covered = [day for day in sessions if day <= known.last][-REREAD_SESSIONS:]
            spans.append(Span(covered[0] if covered else span.first, span.last))
        found[symbol] = spans
    return found


def batches_of(
    missing: Mapping[str, Sequence[Span]],
    candidates: Collection[str],
    lives: Lives,
    sessions: Sequence[dt.date],
    today: dt.date,
) -> list[SymbolBatch]:
    """The calls, each for symbols that lack the same span and are asked for in the same way; the longest spans first."""
    groups: dict[tuple[Span, Ask | None], list[str]] = {}
    for symbol, spans in missing.items():
        for span in spans:
            for part in asks_of(symbol, span, candidates, lives, today):
                groups.setdefault(part, []).append(symbol)
    batches: list[SymbolBatch] = []
    nothing = Ask(Span(dt.date.max, dt.date.min), today)
    for (span, ask), symbols in sorted(groups.items(), key=lambda group: (group[0][0], group[1])):
        size = max(1, min(SYMBOLS_A_BATCH, ROWS_A_BATCH // max(1, rows_of(ask, sessions)))) if ask else len(symbols)
        batches += [
            SymbolBatch(tuple(symbols[place : place + size]), ask or nothing, span) for place in range(0, len(symbols), size)
        ]
    return batches


def rows_of(ask: Ask | None, sessions: Sequence[dt.date]) -> int:
    """How many bars a symbol has at most."""
    return sum(ask.span.first <= day <= ask.span.last for day in sessions) if ask else 0


def calls_of(batches: Sequence[SymbolBatch], sessions: Sequence[dt.date]) -> int:
    """How many pages that comes to at most, for the estimate."""
    return sum(max(1, math.ceil(len(batch.symbols) * rows_of(batch.ask, sessions) / BARS_A_PAGE)) for batch in batches)
